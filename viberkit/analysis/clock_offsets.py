"""Offsets between the clocks of a log: constant, in a step, or drifting.

Each state of each source has a clock. Clocks of one state are compared by the messages that both report, a clock and
the time of receipt by the delay, and clocks of different states by the time between them: it cannot be negative, and
is hardly ever the same for all messages, unless the time of receipt confirms both clocks. This is done in several parts
of the log. Where clocks disagree, the one that disagrees with most others is wrong.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.counts import EventCounts
from viberkit.analysis.formatting import duration
from viberkit.analysis.incidence import Floats
from viberkit.analysis.journeys import DELIVERY_PATH, ERROR_STATES
from viberkit.analysis.ordering import NEVER, SECOND, OrderedEvents, column_of, instants, instants_of, order_events
from viberkit.analysis.result import as_result
from viberkit.frames.clocks import resolutions
from viberkit.frames.columns import EVENTS
from viberkit.frames.schema import INSTANT

#: A source ("" if the log has none) and a state.
Clock = tuple[str, str]
_Times = dict[Clock, Floats]
RECEIPT: Clock = ("", "receipt")
_LEAST, _PARTS, _MESSAGES = 10, 8, 4_000  # of each clock; of a log; of a sample
_BEFORE = {state: DELIVERY_PATH[:index] for index, state in enumerate(DELIVERY_PATH)}
_BEFORE |= dict.fromkeys(ERROR_STATES, DELIVERY_PATH[:3])
_DTYPES = {"source": "category", "state": "category", "resolution_s": "float64", "offset_s": "float64"}
_DTYPES |= dict.fromkeys(("low_s", "high_s", "drift_s_per_day", "step_s"), "float64")
_DTYPES |= {"step_at": INSTANT, "since_at": INSTANT, "n": "int64", "summary": "str"}
_HALF_HOUR = 1800 * SECOND
_REQUESTED = ("history", "status", "send")  # they are received when they are requested


@dataclass(frozen=True, eq=False)
class Offset:
    """How far a clock is ahead of another, in microseconds: in each part of the log, and for each message.

    ``kind`` is 0 for the same events, 1 for the time of receipt, 2 for the order of states. ``when`` are the times by
    the other clock, in order, and ``ahead`` the differences. ``error`` is what the sizes may be wrong by.
    """

    kind: int
    other: Clock
    when: Floats
    ahead: Floats
    sizes: Floats
    error: float

    @property
    def largest(self) -> float:
        """The offset where it is farthest from zero."""
        return float(self.sizes[np.argmax(np.abs(self.sizes))])

    @property
    def course(self) -> tuple[float, float, float, float, float]:
        """The offset at first, its drift per microsecond, the size and the time of its step, and the error of all."""
        if np.ptp(self.sizes) <= max(SECOND / 2, abs(self.largest) / 20, self.error):
            return float(np.median(self.sizes)), 0.0, 0.0, np.nan, float(np.ptp(self.sizes)) + self.error
        middle = np.array([np.median(part) for part in np.array_split(self.when, len(self.sizes))]) - self.when[0]
        slope, begin = np.polyfit(middle, self.sizes, 1)
        line = np.ptp(self.sizes - begin - slope * middle) if len(middle) > 2 else np.inf
        rest = [max(np.ptp(self.sizes[:part]), np.ptp(self.sizes[part:])) for part in range(1, len(middle))]
        if line < min(rest):
            return float(begin), float(slope), 0.0, np.nan, float(line) + self.error
        part = int(np.argmin(rest)) + 1
        first, last = (np.median(side) for side in (self.sizes[:part], self.sizes[part:]))
        level = np.mean([np.median(side) for side in np.split(self.ahead, [part * len(self.ahead) // len(middle)])])
        row = 1 + int(np.argmin(np.cumsum(np.sign(self.ahead[:-1] - level) * np.sign(last - first))))
        return float(first), 0.0, float(last - first), float(self.when[row] + self.ahead[row]), min(rest) + self.error

    def __str__(self) -> str:
        begin, slope, step, at, _ = self.course
        relation = f"{'ahead of' if self.largest > 0 else 'behind'} {' '.join(filter(None, self.other))}"
        if not slope and not step:
            return f"{duration(abs(self.largest) / SECOND)} {relation}"
        first, last = (duration(round(size / SECOND, 3)) for size in (begin, begin + slope * np.ptp(self.when) + step))
        step_text = "" if slope else f" in a step near {np.datetime64(int(at), 'us').astype('M8[m]')}Z"
        return f"{relation}, {'drifting ' * (slope != 0)}from {first} to {last}{step_text}"


def find_clocks(ordered: OrderedEvents) -> tuple[list[tuple[dict[str, Any], str, int, Offset | None]], bool]:
    """The clocks of a log: name, resolution and offset of each, and whether they could be compared.

    The states of a source are one clock, without a state, if they agree. A sample of messages is compared.
    """
    events, sizes = ordered.events, resolutions(ordered.events)
    source, state = (column_of(events, EVENTS[name]).cat for name in ("source", "state"))
    keys = source.codes.to_numpy() * np.int64(len(state.categories)) + state.codes.to_numpy()
    codes, first, clock, n = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    split = [divmod(int(code), len(state.categories)) for code in codes]
    names = [(["", *source.categories][left + 1], str(state.categories[right])) for left, right in split]
    happened, received, polled = (instants_of(events, name) for name in ("happened_at", "received_at", "not_before"))
    rows = np.argsort(-happened, kind="stable")  # the first instant of a state is assigned last
    rows = rows[((ordered.row_message % (len(ordered.ids) // _MESSAGES + 1) == 0) & (polled == NEVER))[rows]]
    messages, message = np.unique(ordered.row_message[rows], return_inverse=True)
    times = np.array([happened[rows], received[rows]])
    table = np.full((2, len(codes), len(messages)), np.nan)
    table[:, clock[rows], message] = np.where(times == NEVER, np.nan, times)
    compared = len(messages) >= _LEAST and (len(codes) > 1 or not np.isnan(table[1]).all())
    of_times, of_received = (dict(zip(names, part, strict=True)) for part in table)
    wrong = find_offsets(of_times, of_received, sizes)
    result = []
    for name in dict.fromkeys(source for source, _ in names):
        indices = [index for index, clock in enumerate(names) if clock[0] == name]
        offsets = _common([wrong.get(names[index]) for index in indices])
        found = [(sizes.get(names[index], 0), offset) for index, offset in zip(indices, offsets, strict=True)]
        agree = len(set(found)) == 1
        for part, clock in [(indices, found[0])] if agree else zip([[index] for index in indices], found, strict=True):
            row = {"source": name or None, "state": None if agree else names[part[0]][1], "count": int(n[part].sum())}
            row |= {"of": row["count"], "example": ordered.ids[ordered.row_message[first[part[0]]]]}
            result.append((row, f"{name} {row['state'] or ''}".strip() or "events", *clock))
    return result, compared


def find_offsets(times: _Times, received: _Times, resolution: dict[Clock, int]) -> dict[Clock, Offset]:
    """The clocks that are wrong, and by how much.

    Times are in microseconds, one for each message, NaN where the clock does not report it.
    """
    found: dict[Clock, dict[Clock, Offset]] = {clock: {} for clock in [*times, RECEIPT]}
    confirmed = set[Clock]()  # by the time of receipt, or by a clock of the same events that is
    states = {source: {state for name, state in times if name == source} for source, _ in times}
    pairs = [(1, RECEIPT, clock) for clock in received]
    for other, one in itertools.permutations(times, 2):
        if one[1] == other[1] and (0, other, one) not in pairs:
            pairs.append((0, one, other))
        elif other[1] in _BEFORE.get(one[1], ()) and (one[0] == other[0] or not states[one[0]] & states[other[0]]):
            pairs.append((2, one, other))
    for kind, clock, other in sorted(pairs, key=lambda pair: pair[0] == 2):
        at, reference = received[other] if kind == 1 else times[clock], times[other]
        both = np.flatnonzero(~np.isnan(at - reference))
        if len(both) < _LEAST or (kind == 2 and {clock, other} <= confirmed):
            continue
        both = both[np.argsort(reference[both], kind="stable")]
        ahead, steps = (at - reference)[both], [resolution.get(name, 0) for name in (clock, other)]
        parts = np.array_split(ahead, max(min(len(ahead) // (200 if max(steps) > SECOND else 25), _PARTS), 1))
        noise = 6 * float(np.median(np.abs(np.diff(ahead))))  # of neighbours, so that steps do not count
        error = noise / len(ahead) ** 0.5
        if kind == 0:
            values = np.array([np.median(part) for part in parts]) + (steps[0] - steps[1]) / 2
            is_wrong = np.abs(values) > SECOND / 2 + noise / len(parts[0]) ** 0.5
        else:
            may_be_late = other[0] not in _REQUESTED if kind == 1 else clock[1] in DELIVERY_PATH
            slack = max(SECOND / (4 if kind == 1 else 1000), *steps)
            lows, usual = np.array([np.sort(part)[[len(part) // 20, len(part) // 2]] for part in parts]).T
            values = np.array([_one_sided(*low, slack, kind, may_be_late) for low in zip(lows, usual, strict=True)])
            is_wrong = values != 0
            if is_wrong.all():
                error += float(np.median(usual - lows))
            else:  # the other parts show the smallest time; a later one may also be a queue, whose times vary otherwise
                ratio = (usual - lows) / max(np.median((usual - lows)[~is_wrong]), 1.0)
                is_wrong &= (values < 0) | ((lows > 2 * lows[~is_wrong].max()) & (ratio > 0.75) & (ratio < 1.33))
                values = lows - np.median(lows[~is_wrong])
        if is_wrong.any():
            offset = found[clock][other] = Offset(kind, other, reference[both], ahead, values, error)
            found[other][clock] = replace(offset, other=clock, when=at[both], ahead=-ahead, sizes=-values)
        elif confirmed & {clock, other} if kind == 0 else kind == 1 and may_be_late:
            confirmed |= {clock, other}
    wrong: dict[Clock, Offset] = {}
    doubt = {clock: (resolution.get(clock, 0) >= SECOND) / 4 - (clock in confirmed) / 2 for clock in [*times][::-1]}
    while any(found.values()):
        worst = max(doubt, key=lambda clock: len(found[clock]) + doubt[clock])
        del doubt[worst]
        wrong[worst] = min(found.pop(worst).values(), key=lambda offset: (offset.kind, abs(offset.largest)))
        for others in found.values():
            others.pop(worst, None)
    return wrong


def _common(offsets: list[Offset | None]) -> list[Offset | None]:
    """One offset for all clocks of a source, if all are wrong by about the same."""
    sizes = [offset.largest for offset in offsets if offset]
    if len(sizes) < max(len(offsets), 2) or np.ptp(sizes) > max(SECOND, *(abs(size) / 2 for size in sizes)):
        return offsets
    best = min(filter(None, offsets), key=lambda offset: (offset.kind, -abs(offset.largest)))
    return [replace(best, other=(best.other[0], "")) if best.kind == 0 else best] * len(offsets)


def _one_sided(low: float, usual: float, slack: float, kind: int, may_be_late: bool) -> float:
    """The offset that times which cannot be negative show, 0 if none; near half hours, half hours."""
    spread, floor = (0.3 * low + 0.3 * SECOND, 0.75 * SECOND) if kind == 1 else (0.25 * low, 2 * SECOND)
    if not (low < -slack or (may_be_late and low > floor and usual - low < spread)):
        return 0.0
    half_hours = round(low / _HALF_HOUR) * _HALF_HOUR
    return float(half_hours if half_hours and abs(low - half_hours) < 60 * SECOND else low)


def clocks(events: pd.DataFrame) -> pd.DataFrame:
    """Estimate how far each clock of a log is ahead of the others or behind, and what it resolves.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events with ``message_id``, ``state`` and ``happened_at``. With several sources
        (``archive.events(all_sources=True)``) and ``received_at``, more can be found.

    Returns
    -------
    DataFrame
        One row per source and state, or per source if all its states agree:

        - ``source``, ``state``: missing for events without a source, and for all states of a source (categories).
        - ``resolution_s``: the step of the clock in seconds, NaN if it has fewer than ten different times.
        - ``offset_s``: how far the clock was ahead at ``since_at`` in seconds, negative if it was behind; 0 if no
          offset was found, NaN if the clock could not be compared.
        - ``low_s``, ``high_s``: interval of ``offset_s``, NaN if no offset was found.
        - ``drift_s_per_day``: by how many seconds a day the offset grows.
        - ``step_s``, ``step_at``: by how many seconds the offset grew in a step, and since when by this clock (UTC).
        - ``since_at``: first time that was compared (UTC).
        - ``n``: number of events.
        - ``summary``: the row as text.

    Raises
    ------
    MissingColumn
        If ``events`` lacks ``message_id``, ``state`` or ``happened_at``.

    See Also
    --------
    correct_clocks : Events with corrected times.
    quality : Further faults of a log.

    Notes
    -----
    Clocks of a state that several sources report are compared by the median difference of the same events. Otherwise
    they are compared by times that cannot be negative, to the time of receipt or between two states, in up to eight
    parts of a sample of 4,000 messages: by the 5 % quantile of each part. A part that shows no offset shows the
    smallest time that passes; else that is unknown, and the interval includes times up to the difference between the
    median and the 5 % quantile. Intervals are those in which the parts of the log lie. Where clocks disagree, the one
    that disagrees with most others is wrong.

    These cannot be determined:

    - a constant offset that is smaller than the time which passes in any case: of the same events half a second, else
      the smallest time between two states, or from a state to its receipt;
    - which of two clocks is wrong, if there are only two; times between them are right after a correction of either;
    - an offset that all clocks have in common, and several steps of one clock;
    - which events of a clock that was set back precede the step, if their times are within its size before
      ``step_at``.

    Examples
    --------
    >>> at = pd.Timestamp("2026-11-14T12:00:00Z") + pd.to_timedelta(np.arange(400) * 61.7, unit="s")
    >>> ids, took = np.arange(400).astype(str), np.random.default_rng(1).exponential(2.5, 400)
    >>> events = pd.concat([
    ...     pd.DataFrame({"message_id": ids, "state": "accepted", "source": "send",
    ...                   "happened_at": at + pd.to_timedelta(20 * (np.arange(400) >= 200), unit="s")}),
    ...     pd.DataFrame({"message_id": ids, "state": "delivered", "source": "callback",
    ...                   "happened_at": at + pd.to_timedelta(took, unit="s")})])
    >>> vk.clocks(events)["summary"][1]
    'send: ahead of callback delivered, from 0 ms to 20 s in a step near 2026-11-14T15:26Z'
    """
    found, compared = find_clocks(order_events(events, "clocks"))
    rows = []
    for row, name, size, offset in found:
        known = 0.0 if compared and row["count"] >= _LEAST else np.nan
        begin, slope, step, at, error = offset.course if offset else (known, known, known, np.nan, np.nan)
        text = f"{name}: {offset or ('no offset found' if known == 0 else 'not compared')}"
        text += f"; resolves {duration(size / SECOND)}" if size >= SECOND / 1000 else ""
        values = np.array([size or np.nan, begin, begin - error, begin + error, slope * 86_400 * SECOND, step]) / SECOND
        rows.append(
            [row["source"], row["state"], *values, at, offset.when[0] if offset else np.nan, row["count"], text]
        )
    result = pd.DataFrame(rows, columns=[*_DTYPES])
    times = {name: pd.to_datetime(result[name], unit="us", utc=True) for name in ("step_at", "since_at")}
    return as_result(result.assign(**times).astype(_DTYPES), {})


def correct_clocks(events: pd.DataFrame, *, offsets: pd.DataFrame | None = None) -> pd.DataFrame:
    """Correct the times of clocks that are ahead or behind.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events with ``message_id``, ``state`` and ``happened_at``.
    offsets : DataFrame, optional
        The clocks to correct, as :func:`clocks` returns them: all of its rows, or some. By default they are estimated
        from ``events``.

    Returns
    -------
    DataFrame
        The events, with the corrected times in ``happened_at`` and those of the log in ``recorded_at``. Times known
        from polling (``not_before``) are not changed. ``attrs["corrected"]`` has the summary of each clock that was
        corrected.

    Raises
    ------
    MissingColumn
        If ``events`` lacks ``message_id``, ``state`` or ``happened_at``.

    See Also
    --------
    clocks : What is corrected, and what cannot be determined.

    Examples
    --------
    >>> at = pd.Timestamp("2026-11-14T12:00:00Z") + pd.to_timedelta(np.arange(400) * 61.7, unit="s")
    >>> ids, took = np.arange(400).astype(str), np.random.default_rng(1).exponential(2.5, 400)
    >>> events = pd.concat([
    ...     pd.DataFrame({"message_id": ids, "state": "accepted", "source": "send",
    ...                   "happened_at": at + pd.to_timedelta(20 * (np.arange(400) >= 200), unit="s")}),
    ...     pd.DataFrame({"message_id": ids, "state": "delivered", "source": "callback",
    ...                   "happened_at": at + pd.to_timedelta(took, unit="s")})])
    >>> corrected = vk.correct_clocks(events)
    >>> corrected.attrs["corrected"]
    ['send: ahead of callback delivered, from 0 ms to 20 s in a step near 2026-11-14T15:26Z']
    >>> round(float(np.median(took)), 1), vk.time_to(corrected, quantiles=0.5)["value_s"].round(1).tolist()
    (1.6, [1.6])
    """
    events = events.to_frame() if isinstance(events, EventCounts) else events
    found = clocks(events) if offsets is None else offsets
    found = found[found[["offset_s", "drift_s_per_day", "step_s"]].abs().max(axis=1) > 0]
    source, state = (column_of(events, EVENTS[name]).astype(object).fillna("") for name in ("source", "state"))
    at, corrected = (instants_of(events, "happened_at").copy() for _ in range(2))
    exact = (at != NEVER) & (instants_of(events, "not_before") == NEVER)
    for row in found.astype(object).fillna({"source": "", "state": ""}).to_dict("records"):
        rows = np.flatnonzero(exact & (source == row["source"]) & ((state == row["state"]) | (row["state"] == "")))
        times = pd.Series(instants(at[rows]))
        shift = row["offset_s"] + row["drift_s_per_day"] * (times - row["since_at"]).dt.total_seconds() / 86_400
        shift += row["step_s"] * (times >= row["step_at"])
        corrected[rows] -= np.rint(shift.to_numpy() * SECOND).astype(np.int64)
    result = events.assign(
        happened_at=instants(corrected).array, recorded_at=events.get("recorded_at", events["happened_at"])
    )
    return as_result(result, events.attrs | {"corrected": found["summary"].tolist()})
