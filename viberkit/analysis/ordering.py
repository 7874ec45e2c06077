"""Events sorted by message and time, without duplicates: the input of transitions, journeys and latency."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.analysis.counts import EventCounts
from viberkit.frames.clocks import SECOND as SECOND, resolutions
from viberkit.frames.columns import EVENTS
from viberkit.frames.schema import INSTANT, Column, require
from viberkit.models.states import is_of_message, rank

Ints = npt.NDArray[np.integer[Any]]

#: The integer that stands for NaT.
NEVER = np.iinfo(np.int64).min
# A message enters its states in this order; of a delivery and a failure, either may be the first.
_SEQUENCE = ("accepted", "routed", "dispatched", "channel_failed", "failed", "expired", "delivered", "seen")
_FAILURES = (4, 5)
MINUTE = 60 * SECOND
_SENT_STATES = 3  # the first of all states, which only a sent message enters
_LONG_ID = 15  # digits; on Viber the ids of messages from recipients are such numbers


@dataclass(frozen=True, slots=True)
class OrderedEvents:
    """Events sorted by message (in order of first appearance), time and life cycle, without duplicates.

    ``message``, ``time``, ``state`` and ``row`` have one entry per distinct event: the index of its message in ``ids``,
    its microseconds since 1970, its code in ``states``, and its row in ``events``. ``first_row`` is the first row of
    each message in ``events``; ``row_message`` is the message of each row of ``events``. ``others`` are the ids of the
    events that were left out because they are not of sent messages. If a clock resolves seconds or less, the event
    happened from ``time`` on and before ``until``, which equals ``time`` where the clock is exact.
    """

    events: pd.DataFrame
    ids: pd.Series[Any]
    row_message: Ints
    first_row: Ints
    message: Ints
    time: Ints
    state: Ints
    row: Ints
    states: pd.CategoricalDtype
    others: pd.Series[Any]
    until: Ints | None = None

    @property
    def ranks(self) -> Ints:
        """The position of each of ``states`` in the life cycle."""
        return np.array([rank(text) for text in self.states.categories], dtype=np.int64)

    def extra_columns(self, result_columns: Iterable[str]) -> list[str]:
        """The columns of ``events`` that are neither in the events schema nor in the result."""
        excluded = {*EVENTS.names, "inbound", "recorded_at", *result_columns}
        return [name for name in self.events.columns if name not in excluded]


def order_events(events: pd.DataFrame | EventCounts | OrderedEvents, function: str) -> OrderedEvents:
    """Sort events and drop duplicates; those of an event log are read into memory.

    Events without a message, a state or an instant are ignored, and so are events that are not of sent messages.
    Ordered events remain as they are, so that several functions can share them.
    """
    if isinstance(events, OrderedEvents):
        return events
    frame = events.to_frame() if isinstance(events, EventCounts) else events
    require(frame, ("message_id", "state", "happened_at"), function)
    ids = EVENTS["message_id"].cast(frame["message_id"])
    at = instants_of(frame, "happened_at")
    states = EVENTS["state"].cast(frame["state"]).cat
    state = states.codes.to_numpy()
    complete = (at != NEVER) & (state >= 0) & ids.notna().to_numpy()
    if not complete.all():
        frame, ids, at, state = frame[complete], ids[complete], at[complete], state[complete]
    row_message, first_row = factorize_ids(ids)
    unique_ids = ids.iloc[first_row].reset_index(drop=True)
    other = _is_other(frame, states.categories, state, unique_ids, row_message)
    if other is not None and other.any():
        rest = order_events(frame[~other], function)
        return replace(rest, others=pd.concat([ids[other], rest.others]))
    position = _positions(states.categories)
    message = row_message
    until = None
    if coarse := _coarse_clocks(resolutions(frame)):
        steps = np.array([_SEQUENCE.index(text) if text in _SEQUENCE else -1 for text in states.categories])
        at, until = _within_resolution(message, at, steps[state], _resolution(frame, coarse))
    order = _sort_order(message, at, position[state])
    if order is not None:
        message, at, state, until = message[order], at[order], state[order], until if until is None else until[order]
    row = np.arange(len(at)) if order is None else order
    duplicate = np.zeros(len(at), dtype=bool)
    duplicate[1:] = (message[1:] == message[:-1]) & (at[1:] == at[:-1]) & (state[1:] == state[:-1])
    if duplicate.any():
        first = np.flatnonzero(~duplicate)
        row = np.minimum.reduceat(row, first)  # the first of equal events in the frame
        until = until if until is None else np.minimum.reduceat(until, first)
        message, at, state = message[first], at[first], state[first]
    if until is not None:
        until = np.maximum(_running(until[::-1], message[::-1], np.minimum)[::-1], at)  # no later than what follows
    dtype = pd.CategoricalDtype(states.categories)
    return OrderedEvents(frame, unique_ids, row_message, first_row, message, at, state, row, dtype, ids[:0], until)


def _is_other(
    events: pd.DataFrame, states: pd.Index[Any], state: Ints, ids: pd.Series[Any], row_message: Ints
) -> npt.NDArray[np.bool_] | None:
    """Which events are not of sent messages; None if there is no sign of any.

    They are about calls or accounts, marked as inbound, of messages on other channels only (if any is on Viber), or of
    messages with a long number as id (if most ids are not) that no event shows as sent.
    """
    is_other = []
    if not all(of_message := [*map(is_of_message, map(str, states))]):
        is_other.append(~np.array(of_message)[state])
    if "inbound" in events:
        is_other.append(EVENTS["naive"].cast(events["inbound"]).to_numpy())
    if "channel" in events and events["channel"].nunique() > 1:  # noqa: PD101 - missing values do not count
        channel = column_of(events, EVENTS["channel"]).cat
        names = [str(name).lower().startswith("viber") for name in channel.categories]
        on_viber, elsewhere = (np.zeros(len(ids), dtype=bool) for _ in range(2))
        on_viber[row_message[np.array([*names, False])[channel.codes]]] = True
        elsewhere[row_message[~np.array([*names, True])[channel.codes]]] = True
        if on_viber.any():
            is_other.append((elsewhere & ~on_viber)[row_message])
    digits = pc.ascii_is_decimal(_arrow(ids)).to_numpy(zero_copy_only=False)
    if digits.any() and digits.mean() < 0.5:
        digits &= ids.str.len().to_numpy() >= _LONG_ID
        digits[row_message[state < _SENT_STATES]] = False
        is_other.append(digits[row_message])
    return np.logical_or.reduce(is_other) if is_other else None


def _coarse_clocks(sizes: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """The clocks whose step is part of every time: of minutes, or of seconds beside a finer clock.

    A step is some whole seconds that divide a minute, or whole minutes; other steps are those of a schedule.
    """
    finest = min(sizes.values(), default=0)
    steps = {clock: size for clock, size in sizes.items() if size >= SECOND and size % SECOND == 0}
    return {
        clock: size for clock, size in steps.items() if size % MINUTE == 0 or (MINUTE % size == 0 and size > finest)
    }


def _resolution(events: pd.DataFrame, clocks: dict[tuple[str, str], int]) -> Ints:
    """The resolution of the clock of each event, 0 where it is exact or known from polling."""
    keys = [column_of(events, EVENTS[name]).astype("str").fillna("") for name in ("source", "state")]
    sizes = pd.Series(clocks).reindex(pd.MultiIndex.from_arrays(keys), fill_value=0).to_numpy()
    return np.where(instants_of(events, "not_before") == NEVER, sizes, 0)


def _within_resolution(message: Ints, at: Ints, step: Ints, size: Ints) -> tuple[Ints, Ints]:
    """For each event the earliest time after the states before it that its clock could have written so, and the latest.

    Two reports of one state become one event if the clock of the earlier one cannot distinguish them.
    """
    order = np.lexsort((-at, step, message))
    leads = (step >= 0) & ~np.isin(step, _FAILURES)
    before = np.empty_like(at)
    before[order] = _running(np.where(leads, at, NEVER)[order], message[order], np.maximum)
    moved = (step >= 0) & (before > at) & (before < at + size)
    return np.where(moved, before, at), np.where(size > 0, at + size, at)


def _running(times: Ints, message: Ints, extreme: np.ufunc) -> Ints:
    """The least or greatest time so far within each message; messages are sorted."""
    values, codes = np.unique(times, return_inverse=True)
    return np.asarray(values[extreme.accumulate(message * len(values) + codes) % len(values)])


def column_of(frame: pd.DataFrame, column: Column) -> pd.Series[Any]:
    """A column with its dtype, missing values where the frame lacks it."""
    return column.cast(frame.get(column.name, pd.Series(None, index=frame.index, dtype=object)))


def microseconds(values: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """Instants as microseconds since 1970; NaT is NEVER."""
    return np.asarray(values.astype("int64"), dtype=np.int64)


def instants_of(frame: pd.DataFrame, name: str) -> Ints:
    """A column as microseconds since 1970; NEVER where it is missing."""
    if name not in frame.columns:
        return np.full(len(frame), NEVER)
    return microseconds(EVENTS["happened_at"].cast(frame[name]).rename(name))


def by_message(value: Any, ids: pd.Series[Any], choose: str) -> npt.NDArray[np.int64]:
    """One instant, or the least or greatest of a Series by message id, as microseconds for each message."""
    if not isinstance(value, pd.Series):
        return np.full(len(ids), microseconds(EVENTS["happened_at"].cast(pd.Series([value], dtype=object)))[0])
    grouped = EVENTS["happened_at"].cast(value).groupby(value.index.astype("str"))
    return microseconds(grouped.agg(choose).reindex(ids.astype("str")))


def instants(values: Ints) -> pd.Series[Any]:
    """Microseconds since 1970 as instants."""
    return pd.Series(pd.DatetimeIndex(values.view("datetime64[us]")).tz_localize("UTC"), dtype=INSTANT)


def factorize_ids(ids: pd.Series[Any]) -> tuple[Ints, Ints]:
    """The message index of each row, in order of first appearance, and the first row of each message.

    Comparing neighbours is much cheaper than hashing, and logs mostly hold the events of a message in consecutive
    rows, so only the first id of each run is hashed.
    """
    if not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    texts, starts = _arrow(ids), run_starts(ids)
    first_row = np.flatnonzero(starts)
    encoded = texts.take(pa.array(first_row)).dictionary_encode()
    number = encoded.indices.to_numpy().astype(np.int64)
    if len(encoded.dictionary) < len(first_row):  # the events of some message are in several runs
        new = np.ones(len(number), dtype=bool)
        new[1:] = number[1:] > np.maximum.accumulate(number)[:-1]
        first_row = first_row[new]
    return number[np.cumsum(starts) - 1], first_row


def run_starts(ids: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Whether each id differs from the one before it."""
    texts = _arrow(ids)
    starts = np.ones(len(texts), dtype=bool)
    starts[1:] = pc.not_equal(texts[1:], texts[:-1]).to_numpy(zero_copy_only=False)
    return starts


def _arrow(ids: pd.Series[Any]) -> Any:
    texts = pa.array(ids.array)
    if isinstance(texts, pa.ChunkedArray):
        return texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()
    return texts


def _positions(states: pd.Index[Any]) -> Ints:
    """A distinct sort key for each state: the life cycle first, then unrecognised texts by name."""
    texts = [str(text) for text in states]
    ordered = sorted(texts, key=lambda text: (rank(text), text))
    return np.array([ordered.index(text) for text in texts], dtype=np.int64)


def _sort_order(message: Ints, at: Ints, position: Ints) -> Ints | None:
    """The permutation that sorts by message, time and position; None if the rows are sorted already."""
    if len(at) < 2:
        return None
    next_message = np.diff(message)
    later = np.diff(at)
    in_order = (next_message > 0) | (next_message == 0) & ((later > 0) | (later == 0) & (np.diff(position) >= 0))
    if in_order.all():
        return None
    start, unit = at.min(), 1 if (at % 1_000).any() else 1_000
    bits = [int(largest).bit_length() for largest in (message.max(), (at.max() - start) // unit, position.max())]
    if sum(bits) > 63:  # the three keys do not fit into one integer
        return np.lexsort((position, at, message))
    key = (message << (bits[1] + bits[2])) | ((at - start) // unit << bits[2]) | position
    return np.argsort(key)
