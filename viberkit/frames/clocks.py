"""The resolution of clocks, estimated from the times that they wrote."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.frames.columns import EVENTS

#: In microseconds.
SECOND = 1_000_000
_BLOCKS, _ROWS = 100, 50  # of the sample
_LEAST, _WINDOW = 10, 8  # times of a clock; differences of which the common divisor is taken
_FOLLOWS = 0.6  # how evenly a finer clock follows one that is exact: 0 for any time of its step, 1 for always the same
_COLUMNS = ("source", "state", "happened_at", "not_before")


def resolutions(events: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The resolution, in microseconds, of the clock of each source and state, estimated from a sample.

    Times that are known from polling do not count, and a clock with fewer than ten times is not estimated. A clock is
    exact where the times are those of a schedule, such as messages sent at full minutes: if only *accepted* is coarse
    while the other states of its source are not, or if a finer clock always follows after the same time.
    """
    starts = np.linspace(0, max(len(events) - _ROWS, 0), min(len(events) // _ROWS + 1, _BLOCKS)).astype(np.int64)
    rows = np.unique(starts[:, None] + np.arange(min(_ROWS, len(events))))
    sample = {name: values.iloc[rows] for name in _COLUMNS if (values := events.get(name)) is not None}
    source, state = (EVENTS[name].cast(sample.get(name, pd.Series("", range(len(rows))))) for name in _COLUMNS[:2])
    times = EVENTS["happened_at"].cast(sample["happened_at"])
    usable = (times.notna() & state.notna()).to_numpy()
    if "not_before" in sample:
        usable = usable & sample["not_before"].isna().to_numpy()
    at, count = times.astype("int64").to_numpy(), len(state.cat.categories) + 1
    code = (source.cat.codes.to_numpy("int64") + 1) * count + state.cat.codes.to_numpy()
    sources, states = ["", *source.cat.categories], [*state.cat.categories]
    parts = {int(clock): at[usable & (code == clock)] for clock in np.unique(code[usable])}
    sizes = {clock: size for clock, part in parts.items() if (size := resolution(part))}
    for clock in [clock for clock, size in sizes.items() if size >= SECOND]:
        of_source = [size for other, size in sizes.items() if other // count == clock // count]
        if states[clock % count] == "accepted" and min(of_source) < sizes[clock]:
            sizes[clock] = 1
            continue
        ids = events["message_id"].iloc[rows].reset_index(drop=True)
        finer = np.isin(code, [other for other, size in sizes.items() if size < sizes[clock]]) & usable
        first = pd.Series(at, ids)[usable & (code == clock)].groupby(level=0).min()
        after = (pd.Series(at, ids)[finer] - first).dropna()
        if len(after) >= _LEAST and abs(np.exp(2j * np.pi * after / sizes[clock]).mean()) > _FOLLOWS:
            sizes[clock] = 1
    return {(str(sources[clock // count]), str(states[clock % count])): size for clock, size in sizes.items()}


def resolution(times: npt.NDArray[np.int64]) -> int:
    """The step of a clock in microseconds: the median divisor of neighbouring differences.

    It is 0 if there are too few times, or if they follow each other in equal steps, as those of a schedule do.

    >>> resolution(np.arange(50) ** 2 * 60_000_000)
    60000000
    """
    distinct = np.unique(times)
    if len(distinct) < _LEAST:
        return 0
    steps = np.diff(distinct)
    if len(distinct) > 0.95 * len(times) and np.unique(steps, return_counts=True)[1].max() > 0.8 * len(steps):
        return 0
    windows = np.gcd.reduce(steps[: len(steps) // _WINDOW * _WINDOW].reshape(-1, _WINDOW), axis=1)
    step = int(np.sort(windows)[len(windows) // 2])
    offset = int(distinct[0] % step)
    return step if offset % min(step, SECOND) == 0 else int(np.gcd(step, offset))
