"""How far a log can be trusted: what is amiss in it, how often, what that does to the results, and what helps.

Plain frames in, a plain frame out; nothing here reads a clock, and no input is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.journeys import DELIVERY_PATH, ERROR_STATES, build_journeys
from viberkit.analysis.ordering import NEVER, SECOND, Ints, OrderedEvents, microseconds, order_events
from viberkit.analysis.quality_words import ABOUT, CALLBACKS_ABSENT, CALLBACKS_MERGED, UNWATCHED
from viberkit.frames.columns import EVENTS, JOURNEYS, QUALITY, require
from viberkit.models.states import ORDER, parse_state
from viberkit.models.validation import EVENTS as CALLED_BACK

__all__ = ["quality"]

_DENSE = 1 << 26
_EVER = 0  # a not_before of 1970: nothing earlier is known
_CALLED_BACK = frozenset(parse_state(word) for word in CALLED_BACK)
_TOLD_BY = tuple(EVENTS["source"].words)

Flags = npt.NDArray[np.bool_]


def quality(events: pd.DataFrame, journeys: pd.DataFrame | None = None) -> pd.DataFrame:
    """What is amiss in a log, how often, what it does to the results, and what helps: one row a check, always all.

    ``events`` is any frame of events; with ``archive.events(all_sources=True)`` it can also tell which callbacks were
    missed. ``journeys`` (of the same messages, with an ``observed_until`` of your own, say) is made from the events
    where it is not given.

    Columns: ``check``; ``source`` (of *clock_skew*, which has a row for each source; else missing); ``count`` out of
    ``of``, and their ``share`` (NaN out of none); ``example``, the id of one such message; ``value_s`` (seconds);
    ``effect`` and ``remedy``, a plain sentence each.

    ====================== ===================================================================== ====================
    check                  counts                                                                out of
    ====================== ===================================================================== ====================
    duplicates             events told again by the same source (state and instant alike)        events
    two_instants           states that a message entered at two instants; value_s: the widest    states of messages
    disorder               hops to a state that comes before in the life cycle                   hops
    row_order              rows that are earlier than the message's row before                   events
    negative_latency       messages later in a state than in one behind it; value_s: the worst   messages of two states
    zero_latency           hops that took no time                                                hops
    naive                  instants without a zone                                               events
    delivered_after_failed messages delivered or seen after they had failed or expired           failed messages
    seen_without_delivered messages seen, but never delivered                                    seen messages
    unknown_state          events of a state that is unknown, or that no dialect has             events
    no_dispatched          messages delivered or seen, but never dispatched                      those delivered, seen
    no_routed              messages dispatched or beyond, but never routed                       those dispatched …
    no_accepted            messages never accepted                                               messages
    not_looked_again       open messages not observed after their last event                     open messages
    callbacks_missed       states told by histories, not by the callbacks that told it of others states of messages
    clock_skew             events received a second before they happened; value_s: median delay  events received
    polled                 events timed by polls only; value_s: the median width of the doubt    events
    ====================== ===================================================================== ====================

    Events without a message, a state or an instant take no part. Raises :class:`~viberkit.errors.MissingColumn`
    without ``message_id``, ``state`` or ``happened_at`` (of journeys: ``message_id``, ``outcome`` or
    ``observed_until``).

    >>> events = EVENTS.frame([
    ...     {"message_id": "a", "state": "accepted", "happened_at": "2020-07-13T12:19:17Z"},
    ...     {"message_id": "a", "state": "delivered", "happened_at": "2020-07-13T12:19:16Z"},
    ...     {"message_id": "b", "state": "delivered", "happened_at": "2020-07-13T12:19:18Z"}])
    >>> found = quality(events)
    >>> found.loc[found["count"] > 0, ["check", "count", "of", "example", "value_s"]]
                   check  count  of example  value_s
    2           disorder      1   1       a      NaN
    3          row_order      1   3       a      NaN
    4   negative_latency      1   1       a     -1.0
    10     no_dispatched      2   2       a      NaN
    11         no_routed      2   2       a      NaN
    12       no_accepted      1   2       b      NaN
    """
    log = order_events(events, "quality")
    trips = build_journeys(log) if journeys is None else journeys
    require(trips, ("message_id", "outcome", "observed_until"), "quality (journeys: pass vk.journeys(events))")
    rows = list(_of_events(log)) + list(_of_messages(log, trips, given=journeys is not None))
    rows += [_callbacks_missed(log), *_skews(log), _polled(log)]
    rows.sort(key=lambda row: QUALITY["check"].words.index(row.check))  # stable: sources stay in order
    made = [
        {
            **{name: getattr(row, name) for name in ("check", "source", "count", "of", "example", "value_s")},
            "share": row.count / row.of if row.of else np.nan,
            "effect": row.effect or ABOUT[row.check][0],
            "remedy": ABOUT[row.check][1],
        }
        for row in rows
    ]
    return QUALITY.frame(made)


@dataclass(frozen=True, slots=True)
class _Row:
    check: str
    count: int
    of: int
    example: Any = None
    value_s: float = np.nan
    source: str | None = None
    effect: str = ""


def _row(check: str, found: Flags, ids: Any, of: int | None = None, **more: Any) -> _Row:
    """A row from flags and the message ids beside them; the first one found is the example."""
    count = int(np.count_nonzero(found))
    example = ids[int(np.argmax(found))] if count else None
    return _Row(check, count, len(found) if of is None else of, example, **more)


# --- events ------------------------------------------------------------------------------------------


def _of_events(log: OrderedEvents) -> Iterator[_Row]:
    ids, row_message = log.ids.array, log.row_message
    yield _duplicates(log)
    yield _two_instants(log)
    same = log.message[1:] == log.message[:-1]
    hops = np.flatnonzero(same)
    left, entered = log.state[hops], log.state[hops + 1]
    back = log.ranks[entered] < log.ranks[left] if len(hops) else np.zeros(0, dtype=bool)
    yield _row("disorder", back, _Taken(ids, log.message[hops]))
    yield _row_order(log)
    yield _row("zero_latency", log.time[hops + 1] == log.time[hops], _Taken(ids, log.message[hops]))
    yield _row("naive", _naive(log.events), _Taken(ids, row_message))
    states = EVENTS["state"].cast(log.events["state"]).cat
    strange = np.array([text not in ORDER or text == "unknown" for text in states.categories], dtype=bool)
    yield _row("unknown_state", strange[states.codes.to_numpy()], _Taken(ids, row_message))


class _Taken:
    """Message ids by the numbers of messages, taken only when asked for."""

    def __init__(self, ids: Any, number: Ints) -> None:
        self._ids, self._number = ids, number

    def __getitem__(self, place: int) -> str:
        return str(self._ids[int(self._number[place])])


def _duplicates(log: OrderedEvents) -> _Row:
    if len(log.row) == len(log.events):
        return _Row("duplicates", 0, len(log.events))
    source = EVENTS["source"].cast(_column(log.events, "source")).cat.codes.to_numpy()
    told = {"message": log.row_message, "at": _at(log), "state": _state(log), "source": source}
    return _row(
        "duplicates", pd.DataFrame(told, copy=False).duplicated().to_numpy(), _Taken(log.ids.array, log.row_message)
    )


class _Pairs:
    """Pairs of message and state, factorize_ids; flags say which of them are there."""

    def __init__(self, log: OrderedEvents, message: Ints, state: Ints) -> None:
        self._width = max(len(log.states.categories), 1)
        self.number, self._pairs = message * self._width + state, None
        self.count = len(log.ids) * self._width
        if self.count > _DENSE:  # many words never seen before
            self.number, self._pairs = pd.factorize(self.number)
            self.count = len(self._pairs)

    def flags(self, chosen: Any = slice(None)) -> Flags:
        """Which pairs the chosen entries are."""
        there = np.zeros(self.count, dtype=bool)
        there[self.number[chosen]] = True
        return there

    def messages(self, pairs: Ints) -> Ints:
        """The messages of some pairs."""
        return np.asarray(pairs if self._pairs is None else self._pairs[pairs]) // self._width


def _two_instants(log: OrderedEvents) -> _Row:
    pairs = _Pairs(log, log.message, log.state)
    times = np.bincount(pairs.number, minlength=pairs.count)
    several, of = np.flatnonzero(times > 1), _sum(times > 0)
    if not len(several):
        return _Row("two_instants", 0, of)
    among = np.flatnonzero(times[pairs.number] > 1)
    order = among[np.argsort(pairs.number[among], kind="stable")]  # the trail is in order of time
    ends = np.cumsum(times[several]) - 1
    width = log.time[order[ends]] - log.time[order[ends - times[several] + 1]]
    worst = int(np.argmax(width))
    example = _Taken(log.ids.array, pairs.messages(several))[worst]
    return _Row("two_instants", len(several), of, example, float(width[worst] / SECOND))


def _row_order(log: OrderedEvents) -> _Row:
    at, number = _at(log), log.row_message
    if len(number) and (np.diff(number) < 0).any():
        bits = len(number).bit_length()
        order = np.sort(number << bits | np.arange(len(number))) & (1 << bits) - 1  # by message, then as they stand
        at, number = at[order], number[order]
    earlier = (number[1:] == number[:-1]) & (at[1:] < at[:-1])
    return _row("row_order", earlier, _Taken(log.ids.array, number[1:]), of=len(at))


def _naive(events: pd.DataFrame) -> Flags:
    if "naive" in events.columns:
        return EVENTS["naive"].cast(events["naive"]).to_numpy()
    instants = events["happened_at"]
    if pd.api.types.is_datetime64_any_dtype(instants.dtype):
        return np.full(len(events), instants.dt.tz is None)
    return ~instants.astype("str").str.contains(r"(?:[zZ]|[+-]\d\d:?\d\d)$").to_numpy(dtype=bool)


def _at(log: OrderedEvents) -> Ints:
    return microseconds(EVENTS["happened_at"].cast(log.events["happened_at"]))


def _state(log: OrderedEvents) -> Ints:
    return EVENTS["state"].cast(log.events["state"]).cat.codes.to_numpy()


def _column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name in frame.columns:
        return frame[name]
    return pd.Series(np.full(len(frame), None, dtype=object), index=frame.index)


# --- messages ----------------------------------------------------------------------------------------


def _of_messages(log: OrderedEvents, trips: pd.DataFrame, *, given: bool) -> Iterator[_Row]:
    ids = trips["message_id"].array
    cast = JOURNEYS["observed_until"].cast
    at = {state: microseconds(cast(_column(trips, f"{state}_at"))) for state in ORDER[:8]}
    there = {state: when != NEVER for state, when in at.items()}
    arrived = there["delivered"] | there["seen"]
    yield _negative(at, there, ids)
    failed_at, arrived_at = _first(at["failed"], at["expired"]), _first(at["delivered"], at["seen"])
    failed = failed_at != NEVER
    yield _row("delivered_after_failed", failed & (arrived_at > failed_at), ids, of=_sum(failed))
    yield _row("seen_without_delivered", there["seen"] & ~there["delivered"], ids, of=_sum(there["seen"]))
    yield _row("no_dispatched", arrived & ~there["dispatched"], ids, of=_sum(arrived))
    on_the_way = arrived | there["dispatched"]
    yield _row("no_routed", on_the_way & ~there["routed"], ids, of=_sum(on_the_way))
    yield _row("no_accepted", ~there["accepted"], ids)
    if not given and not any(_column(log.events, name).notna().any() for name in ("observed_until", "received_at")):
        yield _Row("not_looked_again", 0, 0, effect=UNWATCHED)
        return
    still_open = (trips["outcome"] == "open").to_numpy(dtype=bool)
    until = microseconds(cast(trips["observed_until"]))
    last = np.maximum.reduce([*at.values(), _last(log, trips, given)])
    unseen = still_open & (until <= last)
    yield _row("not_looked_again", unseen, ids, of=_sum(still_open))


def _negative(at: Mapping[str, Ints], there: Mapping[str, Flags], ids: Any) -> _Row:
    """Messages later in a state than in one behind it on the way; a failure is behind every state before delivery."""
    worst: Ints = np.zeros(len(ids), dtype=np.int64)
    known = np.zeros(len(ids), dtype=np.int64)
    latest: Ints = np.full(len(ids), NEVER)
    for state in DELIVERY_PATH:
        if state == "delivered":  # what fails was on the way, too
            for ending in ERROR_STATES:
                worst = _worse(worst, at[ending], there[ending], latest)
                known += there[ending]
        worst = _worse(worst, at[state], there[state], latest)
        known += there[state]
        latest = np.maximum(latest, at[state])
    found = worst < 0
    if not found.any():
        return _Row("negative_latency", 0, int((known > 1).sum()))
    place = int(np.argmin(worst))
    return _Row("negative_latency", _sum(found), _sum(known > 1), str(ids[place]), float(worst[place] / SECOND))


def _worse(worst: Ints, at: Ints, there: Flags, latest: Ints) -> Ints:
    behind = there & (latest != NEVER) & (at < latest)
    return np.where(behind, np.minimum(worst, np.where(behind, at, 0) - np.where(behind, latest, 0)), worst)


def _first(one: Ints, other: Ints) -> Ints:
    return np.where(one == NEVER, other, np.where(other == NEVER, one, np.minimum(one, other)))


def _last(log: OrderedEvents, trips: pd.DataFrame, given: bool) -> Ints:
    """When each message's last event was, also of states that journeys have no column for."""
    ends = np.append(log.message[1:] != log.message[:-1], True) if len(log.time) else np.zeros(0, dtype=bool)
    last = np.append(log.time[ends], NEVER)
    if not given:
        return last[:-1]
    place = pd.Index(log.ids).get_indexer(pd.Index(trips["message_id"]))
    return np.asarray(last[place])  # place -1: the message has no event here


def _sum(flags: Flags) -> int:
    return int(np.count_nonzero(flags))


# --- sources -----------------------------------------------------------------------------------------


def _sources(log: OrderedEvents) -> tuple[Ints, list[str]]:
    source = EVENTS["source"].cast(_column(log.events, "source")).cat
    return source.codes.to_numpy(), [str(text) for text in source.categories]


def _callbacks_missed(log: OrderedEvents) -> _Row:
    """States that a history told of and no callback did, although callbacks told of that state for other messages."""
    codes, texts = _sources(log)
    used = {texts[code] for code in np.unique(codes) if code >= 0}
    if any("+" in text for text in used):
        return _Row("callbacks_missed", 0, 0, effect=CALLBACKS_MERGED)
    if "callback" not in used:
        return _Row("callbacks_missed", 0, 0, effect=CALLBACKS_ABSENT)
    state, states = _state(log), log.states.categories
    by_callback = codes == texts.index("callback")
    expected = np.zeros(len(states), dtype=bool)
    expected[np.unique(state[by_callback])] = True
    expected &= np.array([text in _CALLED_BACK for text in states], dtype=bool)
    by_history = (codes == texts.index("history")) | (codes == texts.index("status"))
    pairs = _Pairs(log, log.row_message, state)
    told = np.flatnonzero(pairs.flags(by_history & expected[state]))
    missed = ~pairs.flags(by_callback)[told]
    return _row("callbacks_missed", missed, _Taken(log.ids.array, pairs.messages(told)))


def _skews(log: OrderedEvents) -> Iterator[_Row]:
    """A row for each source: how much later than it happened an event was heard of."""
    codes, texts = _sources(log)
    received = microseconds(EVENTS["received_at"].cast(_column(log.events, "received_at")))
    heard = (received != NEVER) & (_not_before(log) == NEVER)
    delay = np.where(heard, received, 0) - np.where(heard, _at(log), 0)
    for source in dict.fromkeys([*_TOLD_BY, *texts]):
        mine = np.flatnonzero(heard & (codes == texts.index(source)))
        if len(mine) or source in _TOLD_BY:
            late = delay[mine]
            median = float(np.median(late) / SECOND) if len(mine) else np.nan
            taken = _Taken(log.ids.array, log.row_message[mine])
            yield _row("clock_skew", late <= -SECOND, taken, value_s=median, source=source)


def _polled(log: OrderedEvents) -> _Row:
    bound = _not_before(log)
    found = bound != NEVER
    known = found & (bound != _EVER)
    width = float(np.median(np.maximum(_at(log)[known] - bound[known], 0)) / SECOND) if known.any() else np.nan
    return _row("polled", found, _Taken(log.ids.array, log.row_message), value_s=width)


def _not_before(log: OrderedEvents) -> Ints:
    return microseconds(EVENTS["not_before"].cast(_column(log.events, "not_before")))
