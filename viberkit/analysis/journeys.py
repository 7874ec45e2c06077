"""Where the time went: transitions between states, and the journey of each message.

Plain frames in, plain frames out; nothing here reads a clock, and no input is changed. Events may come in
any order and more than once: a message's events are put in order of time, those of one instant in order of
the life cycle, and an event told again (same message, state and instant) counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.ordering import NEVER, SECOND, Ints, OrderedEvents, instants, microseconds, order_events
from viberkit.frames.columns import EVENTS, JOURNEYS, TRANSITIONS

__all__ = [
    "DELIVERED_STATES",
    "DELIVERY_PATH",
    "ERROR_STATES",
    "FAILED_STATES",
    "build_journeys",
    "build_transitions",
    "categorical",
    "journeys",
    "transitions",
]

#: The states of a message that is delivered, and of one that failed for good.
DELIVERED_STATES = ("delivered", "seen")
FAILED_STATES = ("failed", "expired")
#: The states whose events carry an error code.
ERROR_STATES = ("channel_failed", *FAILED_STATES)
#: The states of a message that is delivered, in order.
DELIVERY_PATH = ("accepted", "routed", "dispatched", "delivered", "seen")


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
    return build_transitions(order_events(events, "transitions"))


def build_transitions(log: OrderedEvents, of_event: Iterable[str] = ()) -> pd.DataFrame:
    """The transitions of a trail; ``of_event``: columns to take from the event that ends the hop."""
    to = np.flatnonzero(log.message[1:] == log.message[:-1]) + 1
    start, end, number = log.time[to - 1], log.time[to], log.message[to]
    left, entered = log.state[to - 1], log.state[to]
    made: dict[str, Any] = {
        "message_id": log.ids.array.take(number),
        "from_state": categorical(left, log.states),
        "to_state": categorical(entered, log.states),
        "started_at": instants(start),
        "ended_at": instants(end),
        "latency_s": (end - start) / SECOND,
        "disordered": log.ranks[entered] < log.ranks[left] if len(to) else np.empty(0, dtype=bool),
    }
    for name in log.extra_columns(TRANSITIONS.names):
        made[name] = log.events[name].array.take(log.first_row[number])
    for name in of_event:
        made[name] = log.events[name].array.take(log.row[to])
    return pd.DataFrame(made, copy=False)


def categorical(codes: Ints, dtype: Any) -> pd.Categorical[Any]:
    """Codes as a category of this dtype."""
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def journeys(events: pd.DataFrame, *, observed_until: Any = None) -> pd.DataFrame:
    """The journey of each message: when it entered each state, and what became of it.

    One row a message, in order of first appearance.

    Columns: ``message_id``; ``accepted_at`` … ``expired_at`` (UTC, the first time each state was entered, NaT if
    never); ``outcome``: delivered (or seen), else failed (or expired), else open: still on the way when last
    looked at; ``last_state``: the latest in time; ``code``: the one last told by a failure; ``observed_until``
    (UTC). Where polling found a state (the events tell ``not_before``), ``<state>_not_before`` (UTC) is the last time
    that the message is known not to have come so far: it did between then and ``<state>_at``; NaT where that is exact.
    Other columns of ``events`` come along as in :func:`transitions`.

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
    return build_journeys(order_events(events, "journeys"), observed_until)


def build_journeys(log: OrderedEvents, observed_until: Any = None) -> pd.DataFrame:
    """The journeys of a trail, as :func:`journeys` gives them."""
    texts = list(log.states.categories)
    made: dict[str, Any] = {"message_id": log.ids}
    bounds, not_before = dict[str, Any](), _bounds(log)
    for name in JOURNEYS.names:
        if name.endswith("_at"):
            state = name.removesuffix("_at")
            first = _first_of(log, texts.index(state))
            made[name] = instants(_of_message(log, log.time, first))
            if not_before is not None and (not_before[first] != NEVER).any():
                bounds[f"{state}_not_before"] = instants(_of_message(log, not_before, first))
    reached = {name: made[f"{name}_at"].notna() for name in ("delivered", "seen", "failed", "expired")}
    outcomes = np.select([reached["delivered"] | reached["seen"], reached["failed"] | reached["expired"]], [0, 1], 2)
    made["outcome"] = categorical(outcomes, pd.CategoricalDtype(list(JOURNEYS["outcome"].words)))
    last = np.flatnonzero(np.append(log.message[1:] != log.message[:-1], True)) if len(log.time) else log.row
    made["last_state"] = categorical(log.state[last], log.states)
    made["code"] = _failure_codes(log)
    made["observed_until"] = instants(np.maximum(_watched(log, observed_until), log.time[last]))
    made |= bounds
    for name in log.extra_columns(made):
        made[name] = log.events[name].array.take(log.first_row)
    return JOURNEYS.frame(pd.DataFrame(made, copy=False))


def _first_of(log: OrderedEvents, code: int) -> Ints:
    """The entries of the trail where messages first entered a state."""
    there = np.flatnonzero(log.state == code)
    number = log.message[there]
    first = np.ones(len(there), dtype=bool)
    first[1:] = number[1:] != number[:-1]
    return there[first]


def _of_message(log: OrderedEvents, instant: Ints, entries: Ints) -> npt.NDArray[np.int64]:
    """For each message the instant of the entry that is its own."""
    at = np.full(len(log.ids), NEVER)
    at[log.message[entries]] = instant[entries]
    return at


def _bounds(log: OrderedEvents) -> Ints | None:
    """Of each entry the last time that its state is known not to have been entered; None where all times are exact."""
    if "not_before" not in log.events:
        return None
    known = microseconds(EVENTS["not_before"].cast(log.events["not_before"]))
    return np.minimum(known[log.row], log.time) if (known != NEVER).any() else None


def _failure_codes(log: OrderedEvents) -> pd.Series[Any]:
    """The code that each message's last failure told, by whatever source."""
    found = np.full(len(log.ids), -1)
    if "code" not in log.events:
        return JOURNEYS["code"].cast(pd.Series([None] * len(found), dtype=object))
    codes = EVENTS["code"].cast(log.events["code"]).cat
    told = np.flatnonzero((codes.codes >= 0) & log.events["state"].isin(ERROR_STATES))
    order = told[np.argsort(log.events["happened_at"].iloc[told].to_numpy(), kind="stable")]
    found[log.row_message[order]] = codes.codes.to_numpy()[order]  # in order of time: the last one stays
    return pd.Series(categorical(found, pd.CategoricalDtype(codes.categories)))


def _watched(log: OrderedEvents, observed_until: Any) -> npt.NDArray[np.int64]:
    """Until when each message was watched, by what was given, else by what the events tell."""
    until = np.full(len(log.ids), NEVER)
    if isinstance(observed_until, pd.Series):
        by_id = JOURNEYS["observed_until"].cast(observed_until)
        by_id = by_id.groupby(by_id.index.astype("str")).max()
        until = microseconds(by_id.reindex(pd.Index(log.ids)))
    elif observed_until is not None:
        until[:] = microseconds(JOURNEYS["observed_until"].cast(pd.Series([observed_until], dtype=object)))
    told = np.full(len(log.ids), NEVER)
    for name in ("observed_until", "received_at"):
        if name in log.events:
            values = microseconds(EVENTS[name].cast(log.events[name]))
            if (values != NEVER).any():
                np.maximum.at(told, log.row_message, values)
    if len(log.time):
        told[told == NEVER] = log.time.max()
    return np.where(until == NEVER, told, until)
