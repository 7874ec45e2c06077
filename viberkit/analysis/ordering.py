"""Events sorted by message and time, without duplicates: the input of transitions, journeys and latency."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.frames.columns import EVENTS
from viberkit.frames.schema import INSTANT, Column, require
from viberkit.models.states import rank

Ints = npt.NDArray[np.integer[Any]]

#: The integer that stands for NaT.
NEVER = np.iinfo(np.int64).min
#: In microseconds.
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class OrderedEvents:
    """Events sorted by message (in order of first appearance), time and life cycle, without duplicates.

    ``message``, ``time``, ``state`` and ``row`` have one entry per distinct event: the index of its message in ``ids``,
    its microseconds since 1970, its code in ``states``, and its row in ``events``. ``first_row`` is the first row of
    each message in ``events``; ``row_message`` is the message of each row of ``events``.
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

    @property
    def ranks(self) -> Ints:
        """The position of each of ``states`` in the life cycle."""
        return np.array([rank(text) for text in self.states.categories], dtype=np.int64)

    def extra_columns(self, result_columns: Iterable[str]) -> list[str]:
        """The columns of ``events`` that are neither in the events schema nor in the result."""
        excluded = {*EVENTS.names, *result_columns}
        return [name for name in self.events.columns if name not in excluded]


def order_events(events: pd.DataFrame, function: str) -> OrderedEvents:
    """Sort events and drop duplicates; events without a message, a state or an instant are ignored."""
    require(events, ("message_id", "state", "happened_at"), function)
    ids = EVENTS["message_id"].cast(events["message_id"])
    at = instants_of(events, "happened_at")
    states = EVENTS["state"].cast(events["state"]).cat
    state = states.codes.to_numpy()
    complete = (at != NEVER) & (state >= 0) & ids.notna().to_numpy()
    if not complete.all():
        events, ids, at, state = events[complete], ids[complete], at[complete], state[complete]
    row_message, first_row = factorize_ids(ids)
    position = _positions(states.categories)
    message = row_message
    order = _sort_order(message, at, position[state])
    if order is not None:
        message, at, state = message[order], at[order], state[order]
    row = np.arange(len(at)) if order is None else order
    duplicate = np.zeros(len(at), dtype=bool)
    duplicate[1:] = (message[1:] == message[:-1]) & (at[1:] == at[:-1]) & (state[1:] == state[:-1])
    if duplicate.any():
        row = np.minimum.reduceat(row, np.flatnonzero(~duplicate))  # the first of equal events in the frame
        message, at, state = message[~duplicate], at[~duplicate], state[~duplicate]
    unique_ids = ids.iloc[first_row].reset_index(drop=True)
    dtype = pd.CategoricalDtype(states.categories)
    return OrderedEvents(events, unique_ids, row_message, first_row, message, at, state, row, dtype)


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
