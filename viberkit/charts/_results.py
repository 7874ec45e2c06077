"""Reading results: the columns and attrs that a chart needs, and the groups in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viberkit.analysis.durations import check_time_zone
from viberkit.analysis.formatting import group_name
from viberkit.analysis.grouping import BY, factorize, group_columns, group_names
from viberkit.analysis.ordering import Ints, instants_of
from viberkit.analysis.windows import window_length
from viberkit.frames.schema import require
from viberkit.models.states import rank

Transition = tuple[str, str]
Floats = NDArray[np.float64]
#: The latencies by transition and group.
Lanes = dict[tuple[Transition, str], Floats]
Strings = Sequence[str]
Numbers = float | Sequence[float] | None


def check_result(frame: pd.DataFrame, chart: str, source: str, columns: Strings, attrs: Strings = ()) -> None:
    """Check that a result has the columns and attrs that a chart reads; a frame without columns is just empty."""
    if isinstance(frame, pd.DataFrame) and not len(frame.columns):
        return
    groups = frame.attrs.get("by", []) if "by" in attrs and isinstance(frame, pd.DataFrame) else []
    require(frame, [*groups, *columns], f"charts.{chart} (pass the result of {source})")
    missing = [repr(name) for name in attrs if name not in frame.attrs]
    if len(frame) and missing:
        raise ValueError(
            f"charts.{chart}: attrs has no {', '.join(missing)}; pass the result of {source} "
            "(some pandas methods drop attrs: copy them with frame.attrs = result.attrs)"
        )


def largest_groups(
    frame: pd.DataFrame, sizes: pd.Series, maximum: int, by: Strings | None = None
) -> tuple[list[tuple[str, pd.DataFrame]], int]:
    """Return the largest groups: their labels and rows in order of appearance, and the number of the others."""
    by = list(frame.attrs["by"] if by is None else by)
    if not by:
        return [("", frame)], 0
    codes = frame.groupby(by, observed=True, sort=False, dropna=False).ngroup().to_numpy()
    parts = [frame[codes == code] for code in sorted(sizes.groupby(codes).sum().nlargest(maximum).index)]
    groups = [(group_name(part[by].iloc[0].tolist()), part) for part in parts]
    return groups, int(codes.max()) + 1 - len(groups)


def period_s(every: object) -> float:
    """Return the length of a window in seconds, NaN if there is only one window.

    >>> period_s("1d"), period_s(None)
    (86400.0, nan)
    """
    return float("nan") if every is None else window_length(every).total_seconds()


def group_codes(frame: pd.DataFrame, chart: str, started: str, by: BY, tz: str) -> tuple[Ints, list[str]]:
    """Return the group of each row, and the labels of the groups; ``started`` is the column of hours and weekdays."""
    check_time_zone(tz)
    names = group_names(by)
    columns = group_columns(frame, names, instants_of(frame, started), None, f"charts.{chart}", tz)
    groups, codes = factorize(columns, names)
    return codes, [group_name(values) for values in groups.astype(object).to_numpy().tolist()]


def read_latencies(transitions: pd.DataFrame, chart: str, by: BY = None, tz: str = "UTC") -> tuple[Lanes, str]:
    """Return the latencies of each transition and group in life-cycle order, and a note about those not drawn."""
    check_result(transitions, chart, "vk.transitions(events)", ("from_state", "to_state", "latency_s"))
    if not len(transitions):
        return {}, ""
    codes, labels = group_codes(transitions, chart, "started_at", by, tz)
    seconds = pd.Series(transitions["latency_s"].to_numpy(dtype=np.float64, na_value=np.nan))
    states = [transitions[name].astype("category").array for name in ("from_state", "to_state")]
    groups = seconds[seconds >= 0].groupby([pd.Series(key)[seconds >= 0] for key in (*states, codes)], observed=True)
    lanes = {((str(a), str(b)), labels[code]): part.to_numpy() for (a, b, code), part in groups}  # type: ignore[call-overload]
    order = {transition: index for index, transition in enumerate(in_order({transition for transition, _ in lanes}))}
    ordered = dict(sorted(lanes.items(), key=lambda lane: order[lane[0][0]]))
    return ordered, not_drawn("below zero,", int((seconds < 0).sum()))


def in_order(transitions: Iterable[Transition]) -> list[Transition]:
    """Transitions in life-cycle order."""
    return sorted(transitions, key=lambda transition: (rank(transition[0]), rank(transition[1]), transition))


def not_drawn(items: str, count: int) -> str:
    """Return a note about what a chart leaves out, an empty text if it leaves nothing out."""
    return f"{items} not drawn: {count:,}" if count else ""
