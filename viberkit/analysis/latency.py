"""Latency tables: how long each hop takes, how sure that is, where the time goes, and who still waits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import check_share
from viberkit.analysis.formatting import percentile
from viberkit.analysis.grouping import BY, check_name_clash, factorize, group_columns, group_names
from viberkit.analysis.incidence import Floats, fractional_order
from viberkit.analysis.journeys import build_journeys, build_transitions, categorical
from viberkit.analysis.ordering import (
    SECOND,
    Ints,
    OrderedEvents,
    factorize_ids,
    instants,
    microseconds,
    order_events,
    run_starts,
)
from viberkit.frames.columns import EVENTS, INSTANT, TRANSITIONS, require
from viberkit.models.states import rank

__all__ = ["latency"]

_FEW = 4_096  # cells that are sorted one by one
_SLOWEST = 0.05
_MADE = "n max_s total_s share share_slowest n_open open_p50_s open_max_s waited_s".split()
_ENDED = ("seen", "failed", "expired")  # nobody waits there


def latency(
    log: pd.DataFrame,
    by: BY = None,
    quantiles: Sequence[float] | float = (0.5, 0.9, 0.95, 0.99),
    *,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """How long each hop takes: its quantiles with intervals, its share of the time, and who is still waiting there.

    ``log`` holds events or transitions. One row a hop, and with ``by`` (the name of a column, or several) one
    row a group and hop: groups in order, hops in order of the life cycle. Of events, a column of the events
    schema (``channel``) is taken from the event that ends the hop, any other from the message; a column of
    ``messages`` (``archive.messages()``) is joined by id, and ``hour`` and ``weekday`` are those of the hop's beginning
    in the zone ``tz``. A hop that a log does not tell of merges with the next: without *routed* there is *accepted →
    dispatched*.

    Columns: those of ``by``; ``from_state``, ``to_state``; ``n``, the number of hops; for each of ``quantiles``
    ``p50_s`` (``p99_9_s`` for 0.999), interpolated linearly between the two nearest as numpy does by default
    (definition 7 of Hyndman and Fan, *Sample quantiles in statistical packages*, 1996), with ``p50_low_s`` and
    ``p50_high_s``, its distribution-free confidence interval (fractional order statistics: Hutson, *Calculating
    nonparametric confidence intervals for quantiles using fractional order statistics*, 1999; zero or infinite where
    the hops are too few); ``max_s``; ``total_s``, all of them together; ``share``, of the time of all hops of the
    group; ``share_slowest``, of the time of the slowest 5 % of its messages; ``n_open``, messages that were waiting in
    ``from_state`` when last looked at; ``open_p50_s`` and ``open_max_s``, for how long. Times in seconds.

    These are times of hops that have ended: what is still open is not in the quantiles but in ``n_open``, and states
    that nobody has left have a row without ``to_state``. For times that count the open, see ``vk.time_to``. Of
    transitions it is not known who waits (NaN).

    Raises :class:`~viberkit.errors.MissingColumn` for a column that is not there, and ``ValueError`` for a
    quantile outside 0 to 1.

    >>> events = EVENTS.frame([
    ...     {"message_id": one, "state": state, "happened_at": f"2020-07-13T12:19:{second:02}Z"}
    ...     for one, state, second in [("a", "accepted", 0), ("a", "delivered", 4), ("b", "accepted", 0),
    ...                                ("b", "delivered", 8), ("c", "accepted", 2)]])
    >>> latency(events, quantiles=[0.5])[["from_state", "to_state", "n", "p50_s", "p50_high_s", "n_open", "open_max_s"]]
      from_state   to_state  n  p50_s  p50_high_s  n_open  open_max_s
    0   accepted  delivered  2    6.0         inf     1.0         6.0
    """
    names = group_names(by)
    wanted = _quantile_names(quantiles)
    check_name_clash(names, [*_MADE, *(f"{name}{end}" for name in wanted for end in ("_s", "_low_s", "_high_s"))])
    check_share(confidence, "confidence")
    hops, waiting = _hops_by(log, names, messages, tz)
    hops = hops[hops["latency_s"].notna().to_numpy()]
    rows, group = factorize(hops, names)
    ends = [TRANSITIONS[name].cast(hops[name]) for name in ("from_state", "to_state")]
    cell, keys = _cells(group, *ends)
    took = hops["latency_s"].to_numpy()
    seconds, starts = _by_cell(cell, len(keys), took)
    total = np.add.reduceat(seconds, starts[:-1]) if len(keys) else np.empty(0)
    made: dict[str, Any] = {name: rows[name].array.take(keys[:, 0]) for name in names}
    for place, end in enumerate(ends, start=1):
        made[str(end.name)] = categorical(keys[:, place], end.dtype)
    made["n"] = np.diff(starts)
    for name, share in wanted.items():
        made[f"{name}_s"] = _quantile(seconds, starts, share)
        for side, chance in (("low", (1 - confidence) / 2), ("high", (1 + confidence) / 2)):
            made[f"{name}_{side}_s"] = _ordered(seconds, starts, fractional_order(np.diff(starts), share, chance))
    made["max_s"] = seconds[starts[1:] - 1]
    made["total_s"] = total
    made["share"] = _shares(total, keys[:, 0], len(rows))
    slow = _slowest(hops, group, took)
    slow_total = (
        np.bincount(cell[slow], weights=took[slow], minlength=len(keys)) if slow is not None else total * np.nan
    )
    made["share_slowest"] = _shares(slow_total, keys[:, 0], len(rows))
    return _with_waiting(pd.DataFrame(made, copy=False), waiting, names)


def _quantile_names(quantiles: Any) -> dict[str, float]:
    several: list[Any] = [quantiles] if isinstance(quantiles, Real | str) else list(quantiles)
    for share in several:
        if not isinstance(share, Real) or not 0 <= float(share) <= 1:
            raise ValueError(f"quantiles: {share!r} is not between 0 and 1; pass e.g. 0.95 for the 95th percentile")
    return {percentile(float(share)).replace(".", "_"): float(share) for share in several}


def _hops_by(
    log: pd.DataFrame, names: list[str], messages: pd.DataFrame | None, tz: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The transitions of a log with the columns to group by, and one row a message where it was last, if known."""
    if isinstance(log, pd.DataFrame) and "latency_s" in log.columns:
        require(log, ("from_state", "to_state"), "latency")
        return _joined(log, names, "started_at", messages, tz), None
    ordered = order_events(log, "latency")
    ends_hop = [name for name in names if name in EVENTS.names and name not in TRANSITIONS.names]
    hops = _joined(build_transitions(ordered, ends_hop), names, "started_at", messages, tz)
    waiting = _waiting(ordered)
    known = [name for name in names if name not in ends_hop and name not in TRANSITIONS.names]
    if len(known) < len(names):
        return hops, None  # grouped by what only a hop has
    return hops, _joined(waiting, known, "started_at", messages, tz)


def _waiting(ordered: OrderedEvents) -> pd.DataFrame:
    """The messages that are on their way from one state to the next: in which they are, and how long they have been.

    Where the log tells of nobody who has seen a message, nobody delivered waits to be seen.
    """
    trips = build_journeys(ordered)
    arrived, texts = trips["delivered_at"].notna().to_numpy(), list(ordered.states.categories)
    final = np.flatnonzero(np.append(ordered.message[1:] != ordered.message[:-1], len(trips) > 0))
    last = np.where(arrived, texts.index("delivered"), ordered.state[final])
    since = np.where(arrived, microseconds(trips["delivered_at"]), ordered.time[final])
    seen = trips["seen_at"].notna().to_numpy()
    ended = (trips["outcome"] == "failed").to_numpy() | seen | np.isin(last, [texts.index(one) for one in _ENDED])
    if not seen.any():
        ended |= arrived
    waited = (microseconds(trips["observed_until"]) - since) / SECOND
    waiting = trips.assign(waited_s=waited, started_at=instants(since))
    return waiting.assign(from_state=categorical(last, ordered.states))[~ended]


def _joined(
    frame: pd.DataFrame, names: list[str], started: str, messages: pd.DataFrame | None, tz: str
) -> pd.DataFrame:
    """A frame with the columns to group by."""
    lacking = [name for name in names if name not in frame.columns]
    if not lacking:
        return frame
    begun = microseconds(frame[started].astype(INSTANT)) if started in frame.columns else np.zeros(len(frame), np.int64)
    more = group_columns(frame, lacking, begun, messages, "latency", tz)
    return frame.assign(**{name: more[name].array for name in lacking})


def _slowest(hops: pd.DataFrame, group: Ints, took: Floats) -> npt.NDArray[np.bool_]:
    """The hops of the slowest 5 % of each group's messages, by the time of all their hops together."""
    if "message_id" not in hops.columns or not len(hops):
        return np.zeros(len(hops), dtype=bool)
    message, head = _messages(hops)
    total = np.bincount(message, weights=took)
    of_message = group[head]
    slow = np.zeros(len(total), dtype=bool)
    for one in range(int(of_message.max()) + 1):
        mine = np.flatnonzero(of_message == one)
        count = int(np.ceil(_SLOWEST * len(mine)))
        slow[mine[np.argpartition(total[mine], len(mine) - count)[len(mine) - count :]]] = count > 0
    return np.asarray(slow[message])


def _messages(hops: pd.DataFrame) -> tuple[Ints, Ints]:
    """The number of each hop's message, and the row where each message comes first.

    Where each run of hops of one message begins with the same state, and no other hop does, a run is a message,
    and its id need not be hashed.
    """
    starts = run_starts(hops["message_id"])
    left = hops["from_state"].astype("category").cat.codes.to_numpy()
    head = np.flatnonzero(starts)
    if (left[head] == left[0]).all() and np.count_nonzero(left == left[0]) == len(head):
        return np.cumsum(starts) - 1, head
    return factorize_ids(hops["message_id"])


def _shares(total: npt.NDArray[Any], of: Ints, count: int) -> Floats:
    """Each cell's share of its group's total."""
    whole = np.bincount(of, weights=total, minlength=count)[of]
    return np.asarray(np.divide(total, whole, out=np.full(len(total), np.nan), where=whole > 0))


def _ordered(seconds: Floats, starts: Ints, order: Floats) -> Floats:
    """The fractional order statistic of each cell: zero below the first, infinite beyond the last."""
    inside = np.clip(np.where(np.isfinite(order), order, 1.0), 1.0, None)
    below = np.floor(inside).astype(np.int64)
    last = starts[1:] - 1
    low = seconds[np.minimum(starts[:-1] + below - 1, last)]
    value = low + (inside - below) * (seconds[np.minimum(starts[:-1] + below, last)] - low)
    return np.asarray(np.where(np.isinf(order), np.inf, np.where(order < 1, 0.0, value)))


def _with_waiting(table: pd.DataFrame, waiting: pd.DataFrame | None, names: list[str]) -> pd.DataFrame:
    """The table with those who wait in each state, and rows for the states that nobody has left."""
    if waiting is None:
        return table.assign(n_open=np.nan, open_p50_s=np.nan, open_max_s=np.nan)
    on = [*names, "from_state"]
    waits = waiting.groupby(on, observed=True, dropna=False)["waited_s"].agg(["size", "median", "max"]).reset_index()
    waits.columns = pd.Index([*on, "n_open", "open_p50_s", "open_max_s"])
    left = table[on].assign(from_state=table["from_state"].astype("str"))
    merged = left.merge(waits, how="left", on=on)
    table = table.assign(**{name: merged[name].to_numpy() for name in ("n_open", "open_p50_s", "open_max_s")})
    table["n_open"] = table["n_open"].fillna(0.0).astype("float64")
    stuck = waits.merge(left.drop_duplicates(), how="left", on=on, indicator=True)
    stuck = stuck[stuck["_merge"] == "left_only"].drop(columns="_merge")
    if not len(stuck):
        return table
    stuck = stuck.astype({"n_open": "float64"}).assign(n=0, total_s=0.0, share=0.0, share_slowest=0.0)
    kinds = {name: table[name].dtype for name in names}
    both = pd.concat([table.astype({"from_state": "str", "to_state": "str"}), stuck.astype(kinds)], ignore_index=True)
    known = pd.Index(table["from_state"].cat.categories, dtype="str")
    states = pd.CategoricalDtype(
        known.append(pd.Index(stuck["from_state"].astype("str").unique(), dtype="str")).unique()
    )
    both = both.astype({"from_state": states, "to_state": table["to_state"].dtype})
    place, onward = (_places(both[name].cat) for name in ("from_state", "to_state"))
    ranked = both.assign(_from=place, _to=onward).sort_values(
        [*names, "_from", "_to"], kind="stable", ignore_index=True
    )
    return ranked.drop(columns=["_from", "_to"])


def _places(states: Any) -> Ints:
    """The place of each state in the life cycle, then those never seen before by their codes; last, no state."""
    ranks = np.array([rank(text) * len(states.categories) + code for code, text in enumerate(states.categories)])
    return np.asarray(np.append(ranks, ranks.max() + 1)[states.codes])


def _cells(group: Ints, left: pd.Series[Any], entered: pd.Series[Any]) -> tuple[Ints, Ints]:
    """Group, from and to of each cell of the table, in order, and the number of each hop's cell."""
    states = left.cat.categories, entered.cat.categories
    place = [np.array([rank(text) * len(texts) + code for code, text in enumerate(texts)]) for texts in states]
    ordered = [np.argsort(places) for places in place]
    nth = [np.argsort(order) for order in ordered]
    width, height = len(states[1]), len(states[0])
    packed = (group * height + nth[0][left.cat.codes]) * width + nth[1][entered.cat.codes]
    cells = np.flatnonzero(np.bincount(packed)) if len(packed) and packed.max() < 1 << 24 else np.unique(packed)
    keys = np.column_stack([cells // (width * height), ordered[0][cells // width % height], ordered[1][cells % width]])
    return np.searchsorted(cells, packed), keys


def _by_cell(cell: Ints, cells: int, seconds: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Ints]:
    """The seconds cell by cell, ascending in each, and where each cell starts (and the last ends)."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=cells))])
    if cells > _FEW:
        return seconds[np.lexsort((seconds, cell))], starts
    ordered = seconds[np.argsort(cell.astype(np.uint16), kind="stable")]  # 16 bits: numpy sorts these by radix
    for start, end in pairwise(starts):
        ordered[start:end].sort()
    return ordered, starts


def _quantile(ordered: npt.NDArray[np.float64], starts: Ints, share: float) -> npt.NDArray[np.float64]:
    """A quantile of each cell, linear between the two nearest."""
    where = share * (np.diff(starts) - 1)
    below = np.floor(where).astype(np.int64)
    part = where - below
    low = ordered[starts[:-1] + below]
    high = ordered[np.minimum(starts[:-1] + below + 1, starts[1:] - 1)]
    step = high - low
    between: npt.NDArray[np.float64] = np.where(part < 0.5, low + step * part, high - step * (1 - part))
    return between
