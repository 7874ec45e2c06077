"""Events in order: each message's events by time, every one once. What transitions and journeys both stand on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.frames.columns import EVENTS, INSTANT, require
from viberkit.models.states import rank

__all__ = ["OrderedEvents", "instants", "microseconds", "numbered", "order_events", "runs"]

Ints = npt.NDArray[np.integer[Any]]

_NEVER = np.iinfo(np.int64).min
_MILLISECOND = 1_000


@dataclass(frozen=True, slots=True)
class OrderedEvents:
    """Events of all messages, by message (in order of first appearance), then time, then life cycle.

    ``message``, ``when`` and ``state`` have one entry an event that counts: the number of its message in
    ``ids``, its microseconds since 1970, and its code in ``states``; ``row`` is where it stands in
    ``events``, ``head`` where each message stands there first, and ``of_row`` the message of each row of ``events``.
    """

    events: pd.DataFrame
    ids: pd.Series[Any]
    of_row: Ints
    head: Ints
    message: Ints
    when: Ints
    state: Ints
    row: Ints
    states: pd.CategoricalDtype

    @property
    def ranks(self) -> Ints:
        """The place of each of ``states`` in the life cycle."""
        return np.array([rank(text) for text in self.states.categories], dtype=np.int64)

    def facts(self, taken: Iterable[str]) -> list[str]:
        """The columns that are facts about the message: neither of the events schema nor already taken."""
        gone = {*EVENTS.names, *taken}
        return [name for name in self.events.columns if name not in gone]


def order_events(events: pd.DataFrame, asked_by: str) -> OrderedEvents:
    """The events in order, duplicates dropped; an event without a message or an instant takes no part."""
    require(events, ("message_id", "state", "happened_at"), asked_by)
    ids = EVENTS["message_id"].cast(events["message_id"])
    at = microseconds(EVENTS["happened_at"].cast(events["happened_at"]))
    states = EVENTS["state"].cast(events["state"]).cat
    state = states.codes.to_numpy()
    counts = (at != _NEVER) & (state >= 0) & ids.notna().to_numpy()
    if not counts.all():
        events, ids, at, state = events[counts], ids[counts], at[counts], state[counts]
    of_row, head = numbered(ids)
    place = _places(states.categories)
    message = of_row
    order = _order(message, at, place[state])
    if order is not None:
        message, at, state = message[order], at[order], state[order]
    row = np.arange(len(at)) if order is None else order
    again = _equal_to_previous(message, at, state)
    if again.any():
        row = np.minimum.reduceat(row, np.flatnonzero(~again))  # of equal events the first in the frame counts
        message, at, state = message[~again], at[~again], state[~again]
    names = ids.iloc[head].reset_index(drop=True)
    return OrderedEvents(events, names, of_row, head, message, at, state, row, pd.CategoricalDtype(states.categories))


def microseconds(values: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """Instants as microseconds since 1970; NaT is the least integer."""
    return np.asarray(values.astype("int64"), dtype=np.int64)


def instants(values: Ints) -> pd.Series[Any]:
    """Microseconds since 1970 as instants."""
    return pd.Series(pd.DatetimeIndex(values.view("datetime64[us]")).tz_localize("UTC"), dtype=INSTANT)


def numbered(ids: pd.Series[Any]) -> tuple[Ints, Ints]:
    """Messages numbered in order of first appearance, and the row of that appearance.

    Comparing neighbours is far cheaper than hashing, and logs mostly keep the events of a message
    together: only the first id of each run is hashed.
    """
    if not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    texts, starts = _texts(ids), runs(ids)
    head = np.flatnonzero(starts)
    numbers = texts.take(pa.array(head)).dictionary_encode()
    number = numbers.indices.to_numpy().astype(np.int64)
    if len(numbers.dictionary) < len(head):  # some message comes back after others
        fresh = np.ones(len(number), dtype=bool)
        fresh[1:] = number[1:] > np.maximum.accumulate(number)[:-1]
        first = head[fresh]
    else:
        first = head
    return number[np.cumsum(starts) - 1], first


def runs(ids: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Where the ids of neighbours differ: each first one of a run is true."""
    texts = _texts(ids)
    starts = np.ones(len(texts), dtype=bool)
    starts[1:] = pc.not_equal(texts[1:], texts[:-1]).to_numpy(zero_copy_only=False)
    return starts


def _texts(ids: pd.Series[Any]) -> Any:
    texts = pa.array(ids.array)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _places(states: pd.Index[Any]) -> Ints:
    """A place for each state: the life cycle's, then the texts never seen before by name, no two alike."""
    texts = [str(text) for text in states]
    ordered = sorted(texts, key=lambda text: (rank(text), text))
    return np.array([ordered.index(text) for text in texts], dtype=np.int64)


def _order(message: Ints, at: Ints, place: Ints) -> Ints | None:
    """The rows by message, time and place; None where they are in that order already."""
    if len(at) < 2:
        return None
    since = np.diff(message)
    later = np.diff(at)
    if ((since > 0) | ((since == 0) & ((later > 0) | ((later == 0) & (np.diff(place) >= 0))))).all():
        return None
    start, unit = at.min(), 1
    if not (at % _MILLISECOND).any():
        unit = _MILLISECOND
    bits = [int(most).bit_length() for most in (message.max(), (at.max() - start) // unit, place.max())]
    if sum(bits) > 63:  # a single number cannot hold the three: sort by each in turn
        return np.lexsort((place, at, message))
    key = (message << (bits[1] + bits[2])) | ((at - start) // unit << bits[2]) | place
    return np.argsort(key)


def _equal_to_previous(*columns: Ints) -> npt.NDArray[np.bool_]:
    same = np.zeros(len(columns[0]), dtype=bool)
    if len(same):
        same[1:] = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    return same
