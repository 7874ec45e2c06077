"""Transitions between states, and the journey of each message, from events in any order."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.counts import EventCounts
from viberkit.analysis.ordering import NEVER, SECOND, OrderedEvents, by_message, instants, instants_of, order_events
from viberkit.frames.columns import EVENTS, JOURNEYS

#: The states of a message that is delivered, and of one that failed for good.
DELIVERED_STATES = ("delivered", "seen")
FAILED_STATES = ("failed", "expired")
#: The states of which a journey has the time.
JOURNEY_STATES = tuple(name.removesuffix("_at") for name in JOURNEYS.names if name.endswith("_at"))
#: The states whose events carry an error code.
ERROR_STATES = ("channel_failed", *FAILED_STATES)
_DECADE = 10 * 366 * 86_400 * SECOND
#: The states of a message that is delivered, in order.
DELIVERY_PATH = ("accepted", "routed", "dispatched", "delivered", "seen")


class ImplausibleTimesWarning(UserWarning):
    """Some instants are more than ten years before or after all others; the text names the first."""


def transitions(events: pd.DataFrame) -> pd.DataFrame:
    """Compute the transitions of every message: two consecutive states, and the time between them.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events with ``message_id``, ``state`` and ``happened_at``, in any order. Events without one of them are
        ignored, duplicates (the same message, state and instant) count once.

    Returns
    -------
    DataFrame
        One row per two consecutive events of a message, in order of the messages' first appearance, then of time:

        - ``message_id``
        - ``from_state``, ``to_state``: states left and entered
        - ``started_at``, ``ended_at``: instants at which they were entered (UTC)
        - ``latency_s``: time between the two, in seconds, exact to the microsecond
        - ``disordered``: whether ``to_state`` comes before ``from_state`` in the life cycle (clock skew or a late
          callback)
        - ``earliest_s``, ``latest_s``: bounds of the latency in seconds, where an instant is known only from polls or a
          coarse clock; only if there are any
        - further columns of ``events`` that are not in its schema, such as a ``rate_type`` joined to them, with their
          first value for the message

    Raises
    ------
    MissingColumn
        If ``events`` lacks ``message_id``, ``state`` or ``happened_at``.

    See Also
    --------
    latency : A table of the quantiles of each transition.
    journeys : One row per message.

    Notes
    -----
    Events are sorted by time; events of one instant by their order in the life cycle.

    Examples
    --------
    >>> events = vk.read_events(pd.DataFrame([
    ...     {"message_id": "m", "state": "accepted", "happened_at": "2020-07-13T12:19:17.606Z"},
    ...     {"message_id": "m", "state": "delivered", "happened_at": "2020-07-13T12:19:18.967Z"},
    ...     {"message_id": "m", "state": "dispatched", "happened_at": "2020-07-13T12:19:17.781Z"}]))
    >>> vk.transitions(events)[["from_state", "to_state", "latency_s"]]
       from_state    to_state  latency_s
    0    accepted  dispatched      0.175
    1  dispatched   delivered      1.186
    """
    return build_transitions(order_events(events, "transitions"))


def build_transitions(ordered: OrderedEvents, event_columns: Iterable[str] = ()) -> pd.DataFrame:
    """The transitions of ordered events, with further columns of the event that ends each transition."""
    to = np.flatnonzero(ordered.message[1:] == ordered.message[:-1]) + 1
    start, end, message = ordered.time[to - 1], ordered.time[to], ordered.message[to]
    left, entered = ordered.state[to - 1], ordered.state[to]
    columns: dict[str, Any] = {
        "message_id": ordered.ids.array.take(message),
        "from_state": categorical(left, ordered.states),
        "to_state": categorical(entered, ordered.states),
        "started_at": instants(start),
        "ended_at": instants(end),
        "latency_s": (end - start) / SECOND,
        "disordered": ordered.ranks[entered] < ordered.ranks[left] if len(to) else np.empty(0, dtype=bool),
    }
    if (bounds := _bounds(ordered)) is not None:
        low, high = bounds
        columns["earliest_s"] = np.maximum(low[to] - high[to - 1], 0) / SECOND
        columns["latest_s"] = (high[to] - low[to - 1]) / SECOND
    for name in ordered.extra_columns(columns):
        columns[name] = ordered.events[name].array.take(ordered.first_row[message])
    for name in event_columns:
        columns[name] = ordered.events[name].array.take(ordered.row[to])
    return pd.DataFrame(columns, copy=False)


def categorical(codes: npt.NDArray[Any], dtype: Any) -> pd.Categorical[Any]:
    """Codes as a category of this dtype."""
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def journeys(events: pd.DataFrame | EventCounts, *, observed_until: Any = None) -> pd.DataFrame:
    """Compute the journey of each message: the time of each state, and the outcome.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events with ``message_id``, ``state`` and ``happened_at``, in any order. Events without one of them are
        ignored, duplicates (the same message, state and instant) count once.
    observed_until : instant or Series of instants by message id, optional
        The end of the observation. Where it is not given, the latest ``observed_until`` or ``received_at`` of the
        message's events counts, and where the events have neither, the last instant of all events. The current
        time is never used, and the end is never before the message's own last event.

    Returns
    -------
    DataFrame
        One row per message, in order of first appearance (of an event log, of their first events):

        - ``message_id``
        - ``accepted_at`` to ``expired_at``: instants at which each state was first entered (UTC), NaT if never
        - ``outcome``: delivered (or seen), else failed (or expired), else open
        - ``last_state``: latest state in time
        - ``code``: code of the last failure; of several at one instant the last in the alphabet
        - ``observed_until``: end of the observation (UTC)
        - ``<state>_not_before``: for states observed by polling (events with ``not_before``), the last instant at which
          the message had not entered the state (UTC), NaT where the time is exact; only if there are any
        - ``<state>_not_after``: for a clock that resolves only minutes, or seconds beside a finer one, the end of the
          minute or second that begins at ``<state>_at`` (UTC), NaT where the time is exact; only if there are any
        - further columns of ``events`` as in :func:`transitions`

    Raises
    ------
    MissingColumn
        If ``events`` lacks ``message_id``, ``state`` or ``happened_at``.

    See Also
    --------
    transitions : One row per two consecutive states.
    delivery_curve, time_to : Estimates from journeys.

    Notes
    -----
    Events that are not of sent messages are left out: those of calls (``CallStatus::…``) and accounts, of messages on
    other channels only, if any is on Viber, and of messages from recipients. :func:`quality` counts them.

    A clock that resolves only minutes, or seconds beside a finer one (as estimated from its times), does not tell the
    order of events within them: they are in the order of the life cycle, and bounds that contradict it are narrowed.

    Examples
    --------
    >>> events = vk.read_events(pd.DataFrame([
    ...     {"message_id": "a", "state": "accepted", "happened_at": "2020-07-13T12:19:17.606Z"},
    ...     {"message_id": "a", "state": "delivered", "happened_at": "2020-07-13T12:19:18.967Z"},
    ...     {"message_id": "b", "state": "accepted", "happened_at": "2020-07-13T12:19:18.000Z"}]))
    >>> vk.journeys(events)[["message_id", "outcome", "last_state", "observed_until"]]
      message_id    outcome last_state                observed_until
    0          a  delivered  delivered 2020-07-13 12:19:18.967+00:00
    1          b       open   accepted 2020-07-13 12:19:18.967+00:00
    """
    if isinstance(events, EventCounts) and observed_until is None:
        return JOURNEYS.frame(events._journeys("journeys", ["message_id", *events.columns]))
    return build_journeys(order_events(events, "journeys"), observed_until)


def build_journeys(ordered: OrderedEvents, observed_until: Any = None) -> pd.DataFrame:
    """The journeys of ordered events."""
    columns: dict[str, Any] = {"message_id": ordered.ids}
    bounds, not_before = dict[str, Any](), _not_before(ordered)
    for state in JOURNEY_STATES:
        entries = np.flatnonzero(ordered.state == list(ordered.states.categories).index(state))
        first = entries[np.diff(ordered.message[entries], prepend=-1) > 0]
        columns[f"{state}_at"] = instants(_by_message(ordered, ordered.time, first))
        if not_before is not None and (not_before[first] != NEVER).any():
            bounds[f"{state}_not_before"] = instants(_by_message(ordered, not_before, first))
        if ordered.until is not None and len(coarse := first[ordered.until[first] > ordered.time[first]]):
            bounds[f"{state}_not_after"] = instants(_by_message(ordered, ordered.until, coarse))
    columns["outcome"] = outcomes(columns, len(ordered.ids))
    last = np.flatnonzero(np.diff(ordered.message, append=-1))
    columns["last_state"] = categorical(ordered.state[last], ordered.states)
    columns["code"] = _failure_codes(ordered)
    columns["observed_until"] = instants(np.maximum(_observed_until(ordered, observed_until), ordered.time[last]))
    columns |= bounds
    for name in ordered.extra_columns(columns):
        columns[name] = ordered.events[name].array.take(ordered.first_row)
    return JOURNEYS.frame(pd.DataFrame(columns, copy=False))


def outcomes(columns: dict[str, pd.Series[Any]], count: int) -> pd.Categorical[Any]:
    """The outcome of each message, from the instants at which it entered its states."""
    code = np.full(count, 2)
    for outcome, states in ((1, FAILED_STATES), (0, DELIVERED_STATES)):
        for state in {f"{state}_at" for state in states} & {*columns}:
            code[columns[state].notna()] = outcome
    return categorical(code, pd.CategoricalDtype(list(JOURNEYS["outcome"].categories)))


def _by_message(ordered: OrderedEvents, times: npt.NDArray[Any], entries: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The time of the given event of each message."""
    result = np.full(len(ordered.ids), NEVER)
    result[ordered.message[entries]] = times[entries]
    return result


def _not_before(ordered: OrderedEvents) -> npt.NDArray[Any] | None:
    """The lower bound of the time of each event; None if all times are exact."""
    bounds = instants_of(ordered.events, "not_before")
    return np.minimum(bounds[ordered.row], ordered.time) if (bounds != NEVER).any() else None


def _bounds(ordered: OrderedEvents) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """The earliest and the latest instant of each event; None if all times are exact."""
    not_before = _not_before(ordered)
    if not_before is None and ordered.until is None:
        return None
    low, high = ordered.time, ordered.time if ordered.until is None else ordered.until
    if not_before is not None:
        previous = np.where(ordered.message[1:] == ordered.message[:-1], ordered.time[:-1], ordered.time[1:])
        previous = np.append(ordered.time[:1], previous)  # the first event of a message has no bound
        low = np.where(not_before == NEVER, low, np.maximum(not_before, previous))
    return low, high


def _failure_codes(ordered: OrderedEvents) -> pd.Series[Any]:
    """The code of the last failure of each message, duplicates of events included."""
    result = np.full(len(ordered.ids), -1)
    if "code" not in ordered.events:
        return JOURNEYS["code"].cast(pd.Series([None] * len(result), dtype=object))
    codes = EVENTS["code"].cast(ordered.events["code"]).cat
    rows = np.flatnonzero((codes.codes >= 0) & ordered.events["state"].isin(ERROR_STATES))
    place = np.argsort(np.argsort(codes.categories))[codes.codes.to_numpy()[rows]]
    rows = rows[np.lexsort((place, ordered.events["happened_at"].iloc[rows].to_numpy()))]
    result[ordered.row_message[rows]] = codes.codes.to_numpy()[rows]  # the last one is assigned last
    return pd.Series(categorical(result, pd.CategoricalDtype(codes.categories)))


def _observed_until(ordered: OrderedEvents, observed_until: Any) -> npt.NDArray[np.int64]:
    """The end of each message's observation: as given, else from its events, else the last instant of all events."""
    passed_until = latest = np.full(len(ordered.ids), NEVER)
    if observed_until is not None:
        passed_until = by_message(observed_until, ordered.ids, "max")
    latest = latest.copy()
    for name in ("observed_until", "received_at"):
        values = instants_of(ordered.events, name)
        if (values != NEVER).any():
            np.maximum.at(latest, ordered.row_message, values)
    if len(latest):
        last = _last_instant(ordered)
        latest[(latest == NEVER) | (latest > last + _DECADE)] = last
    return np.where(passed_until == NEVER, latest, passed_until)


def _last_instant(ordered: OrderedEvents) -> int:
    """The last instant of all events; instants more than ten years from the majority are reported and do not count."""
    times = ordered.time
    if times.max() - times.min() <= _DECADE:
        return int(times.max())
    ascending = np.sort(times)
    first_after_gap = np.append(np.append(0, np.flatnonzero(np.diff(ascending) > _DECADE) + 1), len(times))
    largest = int(np.argmax(np.diff(first_after_gap)))
    first, last = ascending[first_after_gap[largest]], ascending[first_after_gap[largest + 1] - 1]
    far = np.flatnonzero((times < first) | (times > last))
    if len(far):
        message_id, at = ordered.ids[ordered.message[far[0]]], np.datetime64(int(times[far[0]]), "us")
        text = f"{len(far):,} of {len(times):,} events are more than ten years from the others and do not end the"
        text += f" observation of other messages; the first is of message {message_id!r}, at {at}Z"
        warnings.warn(text, ImplausibleTimesWarning, stacklevel=5)
    return int(last)
