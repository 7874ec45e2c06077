"""Where the time went: transitions between states, the journey of each message, and latency tables.

Plain frames in, plain frames out; nothing here reads a clock, and no input is changed. Events may come in
any order and more than once: a message's events are put in order of time, those of one instant in order of
the life cycle, and an event told again (same message, state and instant) counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.frames import EVENTS, JOURNEYS, TRANSITIONS, require
from viberkit.grouping import groups
from viberkit.states import rank
from viberkit.trail import Ints, Trail, instants, microseconds, trail

__all__ = ["journeys", "latency", "transitions"]

_SECOND = 1_000_000
_NEVER = np.iinfo(np.int64).min
_FEW = 4_096  # cells that are sorted one by one
_FAILING = ("channel_failed", "failed", "expired")


def transitions(events: pd.DataFrame) -> pd.DataFrame:
    """Every hop of every message: from which state to which, and how long it took.

    One row for each two consecutive events of a message, so a message of four events has three. Rows are in
    order of the messages' first appearance, then of time.

    Columns: ``message_id``; ``from_state``, ``to_state``; ``started_at``, ``ended_at`` (UTC); ``latency_s``
    (seconds, exact to the microsecond, never negative); ``disordered``: the log has ``to_state`` after
    ``from_state`` although it comes before it in the life cycle (a clock that is off, a late callback): flagged,
    never dropped. Columns of ``events`` that are not of the events schema (a ``rate_type`` joined to them) are
    facts about the message and come along, with its first value. Events without an instant take no part.

    Raises :class:`~viberkit.errors.MissingColumn` without ``message_id``, ``state`` or ``happened_at``.

    >>> events = EVENTS.frame([
    ...     {"message_id": "m", "state": "accepted", "happened_at": "2020-07-13T12:19:17.606Z"},
    ...     {"message_id": "m", "state": "delivered", "happened_at": "2020-07-13T12:19:18.967Z"},
    ...     {"message_id": "m", "state": "dispatched", "happened_at": "2020-07-13T12:19:17.781Z"}])
    >>> transitions(events)[["from_state", "to_state", "latency_s"]]
       from_state    to_state  latency_s
    0    accepted  dispatched      0.175
    1  dispatched   delivered      1.186
    """
    return _hops(trail(events, "transitions"))


def _hops(log: Trail, of_event: Iterable[str] = ()) -> pd.DataFrame:
    """The transitions of a trail; ``of_event``: columns to take from the event that ends the hop."""
    to = np.flatnonzero(log.message[1:] == log.message[:-1]) + 1
    start, end, number = log.when[to - 1], log.when[to], log.message[to]
    left, entered = log.state[to - 1], log.state[to]
    made: dict[str, Any] = {
        "message_id": log.ids.array.take(number),
        "from_state": _words(left, log.states),
        "to_state": _words(entered, log.states),
        "started_at": instants(start),
        "ended_at": instants(end),
        "latency_s": (end - start) / _SECOND,
        "disordered": log.ranks[entered] < log.ranks[left] if len(to) else np.empty(0, dtype=bool),
    }
    for name in log.facts(TRANSITIONS.names):
        made[name] = log.events[name].array.take(log.head[number])
    for name in of_event:
        made[name] = log.events[name].array.take(log.row[to])
    return pd.DataFrame(made, copy=False)


def _words(codes: Ints, dtype: Any) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def journeys(events: pd.DataFrame, *, observed_until: Any = None) -> pd.DataFrame:
    """The journey of each message: when it entered each state, and what became of it.

    One row a message, in order of first appearance.

    Columns: ``message_id``; ``accepted_at`` … ``expired_at`` (UTC, the first time each state was entered, NaT if
    never); ``outcome``: delivered (or seen), else failed (or expired), else open: still on the way when last
    looked at; ``last_state``: the latest in time; ``code``: the one last told by a failure; ``observed_until``
    (UTC). Other columns of ``events`` come along as in :func:`transitions`.

    ``observed_until`` says until when the messages were watched: an instant, or a Series of instants by message
    id. Where it does not say, each message's latest ``observed_until`` or ``received_at`` counts, and where the
    events tell neither, the last instant of the whole log; never the present, and never before the message's
    own last event.

    Raises :class:`~viberkit.errors.MissingColumn` without ``message_id``, ``state`` or ``happened_at``.

    >>> events = EVENTS.frame([
    ...     {"message_id": "a", "state": "accepted", "happened_at": "2020-07-13T12:19:17.606Z"},
    ...     {"message_id": "a", "state": "delivered", "happened_at": "2020-07-13T12:19:18.967Z"},
    ...     {"message_id": "b", "state": "accepted", "happened_at": "2020-07-13T12:19:18.000Z"}])
    >>> journeys(events)[["message_id", "outcome", "last_state", "observed_until"]]
      message_id    outcome last_state                observed_until
    0          a  delivered  delivered 2020-07-13 12:19:18.967+00:00
    1          b       open   accepted 2020-07-13 12:19:18.967+00:00
    """
    log = trail(events, "journeys")
    texts = list(log.states.categories)
    made: dict[str, Any] = {"message_id": log.ids}
    for name in JOURNEYS.names:
        if name.endswith("_at"):
            made[name] = instants(_first_at(log, texts.index(name.removesuffix("_at"))))
    reached = {name: made[f"{name}_at"].notna() for name in ("delivered", "seen", "failed", "expired")}
    outcomes = np.select([reached["delivered"] | reached["seen"], reached["failed"] | reached["expired"]], [0, 1], 2)
    made["outcome"] = _words(outcomes, pd.CategoricalDtype(list(JOURNEYS["outcome"].words)))
    last = np.flatnonzero(np.append(log.message[1:] != log.message[:-1], True)) if len(log.when) else log.row
    made["last_state"] = _words(log.state[last], log.states)
    made["code"] = _failure_codes(log)
    made["observed_until"] = instants(np.maximum(_watched(log, observed_until), log.when[last]))
    for name in log.facts(made):
        made[name] = log.events[name].array.take(log.head)
    return JOURNEYS.frame(pd.DataFrame(made, copy=False))


def _first_at(log: Trail, code: int) -> npt.NDArray[np.int64]:
    """When each message first entered a state."""
    there = np.flatnonzero(log.state == code)
    number = log.message[there]
    first = np.ones(len(there), dtype=bool)
    first[1:] = number[1:] != number[:-1]
    at = np.full(len(log.ids), _NEVER)
    at[number[first]] = log.when[there[first]]
    return at


def _failure_codes(log: Trail) -> pd.Series[Any]:
    """The code that each message's last failure told, by whatever source."""
    found = np.full(len(log.ids), -1)
    if "code" not in log.events:
        return JOURNEYS["code"].cast(pd.Series([None] * len(found), dtype=object))
    codes = EVENTS["code"].cast(log.events["code"]).cat
    told = np.flatnonzero((codes.codes >= 0) & log.events["state"].isin(_FAILING))
    order = told[np.argsort(log.events["happened_at"].iloc[told].to_numpy(), kind="stable")]
    found[log.of_row[order]] = codes.codes.to_numpy()[order]  # in order of time: the last one stays
    return pd.Series(_words(found, pd.CategoricalDtype(codes.categories)))


def _watched(log: Trail, observed_until: Any) -> npt.NDArray[np.int64]:
    """Until when each message was watched, by what was given, else by what the events tell."""
    until = np.full(len(log.ids), _NEVER)
    if isinstance(observed_until, pd.Series):
        by_id = JOURNEYS["observed_until"].cast(observed_until)
        by_id = by_id.groupby(by_id.index.astype("str")).max()
        until = microseconds(by_id.reindex(pd.Index(log.ids)))
    elif observed_until is not None:
        until[:] = microseconds(JOURNEYS["observed_until"].cast(pd.Series([observed_until], dtype=object)))
    told = np.full(len(log.ids), _NEVER)
    for name in ("observed_until", "received_at"):
        if name in log.events:
            values = microseconds(EVENTS[name].cast(log.events[name]))
            if (values != _NEVER).any():
                np.maximum.at(told, log.of_row, values)
    if len(log.when):
        told[told == _NEVER] = log.when.max()
    return np.where(until == _NEVER, told, until)


def latency(
    log: pd.DataFrame,
    by: str | Sequence[str] | None = None,
    quantiles: Sequence[float] = (0.5, 0.9, 0.95, 0.99),
) -> pd.DataFrame:
    """How long each hop takes: its quantiles, its longest, and its share of the time.

    ``log`` holds events or transitions. One row a hop, and with ``by`` (the name of a column, or several) one
    row a group and hop: groups in order, hops in order of the life cycle. Of events, a column of the events
    schema (``channel``) is taken from the event that ends the hop, any other from the message.

    Columns: those of ``by``; ``from_state``, ``to_state``; ``n``, the number of hops; ``p50_s`` … one for each of
    ``quantiles`` (``p99_9_s`` for 0.999), interpolated linearly between the two nearest as numpy does by default
    (definition 7 of Hyndman and Fan, *Sample quantiles in statistical packages*, 1996); ``max_s``; ``total_s``,
    all of them together; ``share``, of the time of all hops of the group. Times in seconds.

    Raises :class:`~viberkit.errors.MissingColumn` for a column that is not there, and ``ValueError`` for a
    quantile outside 0 to 1.

    >>> events = EVENTS.frame([
    ...     {"message_id": one, "state": state, "happened_at": f"2020-07-13T12:19:{second:02}Z"}
    ...     for one, state, second in [("a", "accepted", 0), ("a", "delivered", 4), ("b", "accepted", 0),
    ...                                ("b", "delivered", 8)]])
    >>> latency(events, quantiles=[0.5, 0.9])[["from_state", "to_state", "n", "p50_s", "p90_s", "max_s"]]
      from_state   to_state  n  p50_s  p90_s  max_s
    0   accepted  delivered  2    6.0    7.6    8.0
    """
    names = [by] if isinstance(by, str) else list(by or ())
    wanted = _quantile_names(quantiles)
    hops = _hops_by(log, names)
    hops = hops[hops["latency_s"].notna().to_numpy()]
    rows, group = groups(hops, names)
    ends = [TRANSITIONS[name].cast(hops[name]) for name in ("from_state", "to_state")]
    cell, keys = _cells(group, *ends)
    seconds, starts = _by_cell(cell, len(keys), hops["latency_s"].to_numpy())
    total = np.add.reduceat(seconds, starts[:-1]) if len(keys) else np.empty(0)
    made: dict[str, Any] = {name: rows[name].array.take(keys[:, 0]) for name in names}
    for place, end in enumerate(ends, start=1):
        made[str(end.name)] = _words(keys[:, place], end.dtype)
    made["n"] = np.diff(starts)
    for name, share in wanted.items():
        made[name] = _quantile(seconds, starts, share)
    made["max_s"] = seconds[starts[1:] - 1]
    made["total_s"] = total
    of_group = np.bincount(keys[:, 0], weights=total, minlength=len(rows))[keys[:, 0]]
    made["share"] = np.divide(total, of_group, out=np.full(len(total), np.nan), where=of_group > 0)
    return pd.DataFrame(made, copy=False)


def _quantile_names(quantiles: Sequence[float]) -> dict[str, float]:
    for share in quantiles:
        if not 0 <= share <= 1:
            raise ValueError(f"quantiles: {share!r} is not between 0 and 1; pass e.g. 0.95 for the 95th percentile")
    return {f"p{share * 100:.10g}".replace(".", "_") + "_s": float(share) for share in quantiles}


def _hops_by(log: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The transitions of a log, with the columns to group by."""
    if isinstance(log, pd.DataFrame) and "latency_s" in log.columns:
        require(log, ("from_state", "to_state", *names), "latency")
        return log
    require(log, ("message_id", "state", "happened_at"), "latency")
    require(log, [name for name in names if name not in TRANSITIONS.names], "latency")
    ordered = trail(log, "latency")
    return _hops(ordered, [name for name in names if name in EVENTS.names and name not in TRANSITIONS.names])


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
