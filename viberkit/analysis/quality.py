"""Data quality of an event log: which faults it has, how often, what they do to the results, and the remedy.

Each check is a function: its docstring describes what it counts, and its decorator has the effect and the remedy.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.analysis.clock_offsets import find_clocks
from viberkit.analysis.counts import EventCounts
from viberkit.analysis.incidence import Floats
from viberkit.analysis.journeys import DELIVERY_PATH, build_journeys
from viberkit.analysis.ordering import NEVER, SECOND, Ints, column_of, instants_of, order_events
from viberkit.frames.columns import EVENTS, QUALITY
from viberkit.frames.mapping import LogFormat
from viberkit.frames.schema import require
from viberkit.models.states import ORDER, parse_state
from viberkit.models.validation import EVENTS as CALLBACK_EVENTS

_REMEDY_FOR_SOURCES = "pass archive.events(all_sources=True)"
_AROUND = " \t\r\n{}\"'"  # what may surround an id
_EPOCH = 0  # a not_before of 1970-01-01: no earlier poll is known
_OF_WHOLE = ("silence", "ids_alike", "clock_resolution", "clock_offset")  # checks of all messages together
_MEDIANS = ("clock_skew", "polled")  # value_s is a median
_CALLBACK_STATES = [state in {parse_state(event) for event in CALLBACK_EVENTS} for state in ORDER]


class _Log:
    """The events, the journeys, and what several checks share; times are in microseconds."""

    def __init__(self, events: pd.DataFrame, journeys: pd.DataFrame | None) -> None:
        self.ordered = order_events(events, "quality")
        self.events, self.ids = self.ordered.events, self.ordered.ids.array
        self.message = self.ordered.row_message  # of each event, the position of its message in ids
        # A transition leads from the event at this position of the ordered events to the next.
        self.transition = np.flatnonzero(self.ordered.message[1:] == self.ordered.message[:-1])
        self.happened, self.not_before = (instants_of(self.events, name) for name in ("happened_at", "not_before"))
        states, sources = (column_of(self.events, EVENTS[name]).cat for name in ("state", "source"))
        self.state, self.states = states.codes.to_numpy(), list(states.categories)
        self.source, self.sources = sources.codes.to_numpy(), list(sources.categories)
        self.clocks, self.compared = find_clocks(self.ordered)
        self.journeys_passed = journeys is not None
        self.journeys = build_journeys(self.ordered) if journeys is None else journeys
        required = ("message_id", "outcome", "observed_until")
        require(self.journeys, required, "quality (journeys: pass vk.journeys(events))")
        self.journey_ids = self.journeys["message_id"].array
        self.times = {state: self.journey_times(f"{state}_at") for state in ORDER[:8]}  # NaN: never in this state
        self.entered = {state: ~np.isnan(at) for state, at in self.times.items()}
        self.delivered = self.entered["delivered"] | self.entered["seen"]

    def journey_times(self, name: str) -> Floats:
        times = instants_of(self.journeys, name)
        return np.where(times == NEVER, np.nan, times)


_Findings = list[dict[str, Any]]  # values of columns of the result


def _finding(sizes: Any, ids: Any, index: Ints | None = None, of: int | None = None, **more: Any) -> _Findings:
    """Count flags, or sizes in microseconds that are not zero; the first message of the largest is the example.

    ``index`` has the position in ``ids`` of each flag or size.
    """
    count, example = _count(sizes), None
    if count:
        largest = int(np.argmax(np.abs(sizes)))
        example = str(ids[largest if index is None else int(index[largest])])
        if sizes.dtype != bool:
            more["value_s"] = float(sizes[largest] / SECOND)
    return [{"count": count, "of": len(sizes) if of is None else of, "example": example, **more}]


def _not_checked(reason: str) -> _Findings:
    return [{"count": 0, "of": 0, "effect": f"Not checked: {reason}."}]


def _count(flags: Any) -> int:
    return int(np.count_nonzero(flags))


_Find = Callable[[_Log], _Findings]


_CHECKS: dict[str, tuple[_Find, str, str]] = {}  # in the order of the rows: how to find the fault, effect, remedy


def _check(effect: str, remedy: str) -> Callable[[_Find], _Find]:
    """Register a function as the check of its name."""

    def register(find: _Find) -> _Find:
        _CHECKS[find.__name__] = find, effect, remedy
        return find

    return register


@_check(
    "No effect on times: a repeated event counts once. Only counts of rows are too high.",
    "No action is needed; drop_duplicates() makes the file smaller.",
)
def duplicates(log: _Log) -> _Findings:
    """Events that the same source reported again (same message, state and instant), out of all events."""
    if len(log.ordered.row) == len(log.events):
        return [{"count": 0, "of": len(log.events)}]
    repeats = np.bincount(log.message) > np.bincount(log.ordered.message, minlength=int(log.message.max()) + 1)
    row = np.flatnonzero(repeats[log.message])  # of messages with events that were dropped
    keys = {"message": log.message, "at": log.happened, "state": log.state, "source": log.source}
    keys = {name: values[row] for name, values in keys.items()}
    return _finding(pd.DataFrame(keys).duplicated().to_numpy(), log.ids, log.message[row], of=len(log.events))


@_check(
    "Journeys take the first instant, and transitions contain one from the state to itself.",
    "Use archive.events(), which takes the most reliable source, or select one source.",
)
def two_instants(log: _Log) -> _Findings:
    """States that a message entered at more than one instant, out of all states of messages.

    ``value_s`` is the longest time between the first and the last instant of a state.
    """
    pairs = log.ordered.message * max(len(log.states), 1) + log.ordered.state
    order = np.argsort(pairs, kind="stable")  # in order of time within each pair of message and state
    first = np.flatnonzero(np.diff(pairs[order], prepend=-1))
    if len(first) == len(pairs):  # no state has two instants
        return [{"count": 0, "of": len(first)}]
    last = np.append(first[1:], len(pairs)) - 1
    width = log.ordered.time[order[last]] - log.ordered.time[order[first]]  # above zero: there are no duplicates
    return _finding(width, log.ids, log.ordered.message[order[first]])


@_check(
    "The transition has a time between states in the wrong order; transitions flag it in the column disordered.",
    "Drop the transitions where disordered is true, and find out whose clock is wrong (see clock_offset).",
)
def disorder(log: _Log) -> _Findings:
    """Transitions to a state that comes earlier in the life cycle, out of all transitions."""
    ranks, state, transition = log.ordered.ranks, log.ordered.state, log.transition
    backwards = ranks[state[transition + 1]] < ranks[state[transition]]
    return _finding(backwards, log.ids, log.ordered.message[transition])


@_check(
    "No effect: every analysis sorts the events of a message by time first.",
    "No action is needed; sort by message_id and happened_at for other tools.",
)
def row_order(log: _Log) -> _Findings:
    """Rows that are earlier than the previous row of the same message, out of all events."""
    at, message = log.happened, log.message
    if len(message) and (np.diff(message) < 0).any():
        bits = len(message).bit_length()
        order = np.sort(message << bits | np.arange(len(message))) & (1 << bits) - 1  # by message, rows in their order
        at, message = at[order], message[order]
    earlier = (message[1:] == message[:-1]) & (at[1:] < at[:-1])
    return _finding(earlier, log.ids, message[1:], of=len(at))


@_check(
    "Negative durations count as zero, so times come out too short.",
    "Compare the clocks of the sources (see clock_offset); drop these messages where times must be exact.",
)
def negative_latency(log: _Log) -> _Findings:
    """Messages that entered a state before one that precedes it, out of the messages with two states or more.

    ``value_s`` is the most negative time.
    """
    lowest, latest = np.zeros(len(log.journeys)), np.full(len(log.journeys), np.nan)
    states = np.zeros(len(log.journeys), dtype=np.int64)
    # A failure follows every state before delivery, but neither delivery nor another failure.
    for state in ("accepted", "routed", "dispatched", "channel_failed", "failed", "expired", "delivered", "seen"):
        lowest = np.fmin(lowest, log.times[state] - latest)
        states += log.entered[state]
        if state in DELIVERY_PATH:
            latest = np.fmax(latest, log.times[state])
    return _finding(lowest, log.journey_ids, of=_count(states > 1))


@_check(
    "Two states have the same time stamp, or less time passed than the clock resolves: low quantiles are too low.",
    "Use the sum of neighbouring transitions (accepted to delivered) instead of the single transition.",
)
def zero_latency(log: _Log) -> _Findings:
    """Transitions that took no time, out of all transitions."""
    time, transition = log.ordered.time, log.transition
    return _finding(time[transition + 1] == time[transition], log.ids, log.ordered.message[transition])


@_check(
    "They were read as UTC, or occur twice in their time zone: times between them and others may be hours off.",
    "Find out which time zone the log was written in, and pass it: vk.read_events(log, tz='Europe/Berlin').",
)
def naive(log: _Log) -> _Findings:
    """Events whose time has no time zone, or is uncertain in it, out of all events."""
    happened = log.events["happened_at"]
    if "naive" in log.events.columns:
        naive = EVENTS["naive"].cast(log.events["naive"]).to_numpy()
    elif pd.api.types.is_datetime64_any_dtype(happened.dtype):
        naive = np.full(len(happened), happened.dt.tz is None)
    else:
        naive = ~happened.astype("str").str.contains(r"(?:[zZ]|[+-]\d\d:?\d\d)$").to_numpy(dtype=bool)
    return _finding(naive, log.ids, log.message)


@_check(
    "They count as delivered, so estimates of failure do not include them.",
    "Read the codes of these failures: an expiry or a failure on another channel may precede the delivery.",
)
def delivered_after_failed(log: _Log) -> _Findings:
    """Messages that were delivered or seen after they had failed or expired, out of the failed messages."""
    failed = np.fmin(log.times["failed"], log.times["expired"])
    delivered = np.fmin(log.times["delivered"], log.times["seen"])
    return _finding(delivered > failed, log.journey_ids, of=_count(~np.isnan(failed)))


@_check(
    "They count as delivered, but their last state is a failure, and estimates of failure do not include them.",
    "Read the codes of these failures: a failure on another channel or for another device may follow the delivery.",
)
def failed_after_delivered(log: _Log) -> _Findings:
    """Messages that failed or expired after they were delivered or seen, out of the delivered or seen messages."""
    failed = np.fmin(log.times["failed"], log.times["expired"])
    delivered = np.fmin(log.times["delivered"], log.times["seen"])
    return _finding(failed > delivered, log.journey_ids, of=_count(log.delivered))


@_check(
    "They count as delivered, but the time of delivery is known only to be between the event before and seen.",
    "Fetch the histories: vk.collect(client, archive, include_final=True).",
)
def seen_without_delivered(log: _Log) -> _Findings:
    """Messages that were seen but never delivered, out of the seen messages."""
    seen = log.entered["seen"]
    return _finding(seen & ~log.entered["delivered"], log.journey_ids, of=_count(seen))


@_check(
    "They form transitions of their own, and decide no outcome.",
    "Pass what the texts mean to vk.read_events, e.g. states={'DELIVRD': 'delivered'}, or drop these events.",
)
def unknown_state(log: _Log) -> _Findings:
    """Events whose state is 'unknown' or not a state of the API, out of all events."""
    unknown = np.array([state not in ORDER or state == "unknown" for state in log.states], dtype=bool)
    return _finding(unknown[log.state], log.ids, log.message)


@_check(
    "Their time from accepted to delivered is not split, and times from dispatched leave them out.",
    "Fetch the histories, or subscribe to MessageStatus::dispatched when configuring callbacks.",
)
def no_dispatched(log: _Log) -> _Findings:
    """Messages that were delivered or seen but never dispatched, out of the delivered or seen messages."""
    missing = log.delivered & ~log.entered["dispatched"]
    return _finding(missing, log.journey_ids, of=_count(log.delivered))


@_check(
    "Their time from accepted to dispatched is not split; callbacks and histories of v2 and v3 never report routed.",
    "No action is possible where the API does not report routed; do not mix logs with and without it.",
)
def no_routed(log: _Log) -> _Findings:
    """Messages that were dispatched, delivered or seen but never routed, out of those messages."""
    dispatched = log.delivered | log.entered["dispatched"]
    return _finding(dispatched & ~log.entered["routed"], log.journey_ids, of=_count(dispatched))


@_check(
    "They are left out of every time that starts with accepted.",
    "Send through an archive, fetch the histories, or pass start='dispatched'.",
)
def no_accepted(log: _Log) -> _Findings:
    """Messages that were never accepted, out of all messages."""
    return _finding(~log.entered["accepted"], log.journey_ids)


@_check(
    "They are right-censored at their last event, so they add nothing to a delivery curve.",
    "Run vk.collect(client, archive), or pass observed_until to vk.journeys if it is known.",
)
def not_observed_again(log: _Log) -> _Findings:
    """Open messages that were not observed after their last event, out of the open messages."""
    observed = ((instants_of(log.events, name) != NEVER).any() for name in ("observed_until", "received_at"))
    if not log.journeys_passed and not any(observed):
        remedy = "pass journeys=vk.journeys(events, observed_until=…)"
        return _not_checked(f"the log has neither observed_until nor received_at; {remedy}")
    is_open = (log.journeys["outcome"] == "open").to_numpy(dtype=bool)
    message, time = log.ordered.message, log.ordered.time
    last_event = np.full(len(log.ids) + 1, -np.inf)  # the extra entry is for messages without events
    last_event[message] = time  # events are in order of time: the last one remains
    position = np.arange(len(log.ids))
    if log.journeys_passed:
        position = pd.Index(log.ordered.ids).get_indexer(pd.Index(log.journeys["message_id"]))
    last = np.fmax.reduce([*log.times.values(), last_event[position]])
    not_observed = is_open & ~(log.journey_times("observed_until") > last)
    return _finding(not_observed, log.journey_ids, of=_count(is_open))


@_check(
    "From callbacks alone these messages would seem to be still open.",
    "See archive.gaps(); do not stop the listener, and run vk.collect(client, archive) regularly.",
)
def callbacks_missed(log: _Log) -> _Findings:
    """States of messages that no callback reported, out of those that a history or status reported.

    Only states that a callback reported for another message are expected.
    """
    used = {log.sources[code] for code in np.unique(log.source) if code >= 0}
    if any("+" in source for source in used):
        return _not_checked(f"the sources are merged into one row; {_REMEDY_FOR_SOURCES}")
    if "callback" not in used:
        return _not_checked(f"there are no callbacks; {_REMEDY_FOR_SOURCES} of an archive with a listener")
    known = log.state < len(ORDER)  # the categories begin with the states of the API
    by_callback, by_history = (np.zeros((len(log.ids), len(ORDER)), dtype=bool) for _ in range(2))
    for reported, names in ((by_callback, ["callback"]), (by_history, ["history", "status"])):
        rows = known & np.isin(log.source, [log.sources.index(name) for name in names])
        reported[log.message[rows], log.state[rows]] = True
    expected = by_history & by_callback.any(axis=0) & np.array(_CALLBACK_STATES)
    missed = expected & ~by_callback
    (finding,) = _finding(missed.any(axis=1), log.ids, of=_count(expected))
    return [finding | {"count": _count(missed)}]


@_check(
    "A clock is wrong, and so are times between this source and another; value_s of polls is mostly the polling delay.",
    "Synchronize the clock of the machine that receives, and take both ends of a time from one source.",
)
def clock_skew(log: _Log) -> _Findings:
    """Events received a second or more before they happened, out of the events of a source with a time of receipt.

    ``value_s`` is the median delay from the event to its receipt.
    """
    received = instants_of(log.events, "received_at")
    timed = (received != NEVER) & (log.not_before == NEVER)
    delay = np.where(timed, received, 0) - np.where(timed, log.happened, 0)
    findings = []
    for code, source in enumerate(log.sources):
        rows = np.flatnonzero(timed & (log.source == code))
        if len(rows) or source in EVENTS["source"].categories:
            median_s = float(np.median(delay[rows]) / SECOND) if len(rows) else np.nan
            early = delay[rows] <= -SECOND
            findings += _finding(early, log.ids, log.message[rows], value_s=median_s, source=source)
    return findings


@_check(
    "The event happened at an unknown time between not_before and happened_at.",
    "Fetch the histories, which have exact times, or poll more often; time_to and delivery_curve use the bounds.",
)
def polled(log: _Log) -> _Findings:
    """Events whose time is known from polling only, out of all events.

    ``value_s`` is the median time between ``not_before`` and ``happened_at``.
    """
    bounded = (log.not_before != NEVER) & (log.not_before != _EPOCH)
    width = np.maximum(log.happened[bounded] - log.not_before[bounded], 0)
    median_s = float(np.median(width) / SECOND) if len(width) else np.nan
    return _finding(log.not_before != NEVER, log.ids, log.message, value_s=median_s)


@_check(
    "Messages seem to be open although they may be final, or they are missing where only callbacks report them.",
    "If archive.listening() shows that the listener ran, configure its callbacks again; then run vk.collect(client, "
    "archive), which requests what was missed.",
)
def silence(log: _Log) -> _Findings:
    """Messages accepted while callbacks had stopped, out of those accepted after the first callback.

    Callbacks have stopped if none was received, about any message, after five or more messages were accepted, for ten
    times as long as 95 % of messages take to the first callback. When no messages are accepted, traffic has stopped,
    not the callbacks. ``value_s`` is the length of the longest silence.
    """
    received, unknown = instants_of(log.events, "received_at"), np.iinfo(np.int64).max
    calls = np.flatnonzero((received != NEVER) & (log.source == log.sources.index("callback")))
    starts = np.flatnonzero(log.state == ORDER.index("accepted"))
    accepted, called = np.full(len(log.ids), unknown), np.full(len(log.ids), unknown)
    np.minimum.at(accepted, log.message[starts], log.happened[starts])
    np.minimum.at(called, log.message[calls], received[calls])
    both = np.maximum(accepted, called) < unknown
    if not both.any():
        return _not_checked(f"no accepted message has a callback in a row of its own; {_REMEDY_FOR_SOURCES}")
    usual = np.quantile(np.maximum(called[both] - accepted[both], SECOND), 0.95)
    end = max(instants.max() for instants in (received, log.happened, instants_of(log.events, "observed_until")))
    heard = np.append(np.sort(received[calls]), end)
    gap = np.searchsorted(heard[:-1], accepted, side="right")  # 0 before the first callback
    expected = (accepted < unknown) & (gap > 0)
    silent = expected & (heard[gap] - accepted > 10 * usual)
    silent &= np.bincount(gap[silent], minlength=len(heard))[gap] >= 5
    return _finding(np.where(silent, heard[gap] - heard[gap - 1], 0), log.ids, of=_count(expected))


@_check(
    "They are in the events, but in no journey, transition or figure.",
    "No action is needed; count them with events['state'].value_counts() or events['channel'].value_counts().",
)
def not_of_sent_messages(log: _Log) -> _Findings:
    """Events of calls and accounts, of messages from recipients, and of other channels, out of all events."""
    others = log.ordered.others
    return _finding(np.ones(len(others), dtype=bool), others.array, of=len(log.events) + len(others))


@_check(
    "If they are of one message, its states are spread over several messages, of which none has its outcome.",
    "Read the log with vk.read_events(log, ids='fold'), and read ids as text: numbers lose their leading zeros.",
)
def ids_alike(log: _Log) -> _Findings:
    """Messages whose id differs from another's only in case, leading zeros or what surrounds it, out of all."""
    texts = pa.array(log.ids)
    in_one_form = pc.equal(pc.ascii_trim(pc.ascii_lower(texts), _AROUND), texts)
    zeros = texts.filter(pc.starts_with(texts, "0"))
    if pc.all(in_one_form).as_py() and not pc.any(pc.ascii_is_decimal(zeros)).as_py():
        return [{"count": 0, "of": len(texts)}]
    return _finding(LogFormat(ids="fold").normalize_ids(log.ordered.ids).duplicated(keep=False).to_numpy(), log.ids)


@_check(
    "Their last digits are lost, and several messages may have become one.",
    "Read the ids as text, e.g. pd.read_csv(path, dtype=str), before vk.read_events.",
)
def rounded_ids(log: _Log) -> _Findings:
    """Messages whose id was a decimal number (``5.46e+18`` or ``12.0``), out of all messages."""
    short = np.array(pc.less(pc.binary_length(pa.array(log.ids)), 25))
    short[short] = log.ordered.ids[short].str.fullmatch(r"\d+\.(?:\d*[eE]\+?\d+|0)")
    return _finding(short, log.ids)


@_check(
    "Two events of one second or minute have no order of their own, and every time between them is as uncertain.",
    "Use a log with finer times where there is one; journeys have both bounds of each state.",
)
def clock_resolution(log: _Log) -> _Findings:
    """Events by a clock that resolves only seconds or more, out of the events of a source.

    ``value_s`` is what its clock resolves.
    """
    findings = []
    for clock, _, size, _ in log.clocks:
        count = {} if size >= SECOND else {"count": 0, "example": None}
        findings += [clock | {"value_s": size / SECOND} | count] if size else []
    return findings or _not_checked("no clock has ten different times")


@_check(
    "Every time between this clock and another is wrong by the difference.",
    "Use vk.correct_clocks(events), or take both ends of a time from one clock; see vk.clocks(events).",
)
def clock_offset(log: _Log) -> _Findings:
    """Events by a clock that is ahead of the others or behind, by source or state, out of its events.

    ``value_s`` is the offset, where it is farthest from zero; a clock that is behind has a negative one. The clocks of
    sources are compared by the same events, by the time of receipt, and by times between states that would be negative
    or the same for all messages.
    """
    if not log.compared:
        return _not_checked("clocks are compared by ten messages with two states, or with the time of receipt")
    findings = []
    for clock, name, _, offset in log.clocks:
        effect = f"The clock of {name} is {offset}; times between them are wrong by that."
        findings += [clock | {"value_s": offset.largest / SECOND, "effect": effect}] if offset else []
    return findings or [{"count": 0, "of": len(log.events)}]


def quality(events: pd.DataFrame, *, journeys: pd.DataFrame | None = None) -> pd.DataFrame:
    """Check an event log for faults: how often each occurs, its effect on the results, and the remedy.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events with ``message_id``, ``state`` and ``happened_at``. With ``archive.events(all_sources=True)``, missed
        callbacks are counted, too. An event log in several buckets of Parquet is checked some buckets at a time; four
        checks that need all messages are skipped, and there are no medians.
    journeys : DataFrame, optional
        Journeys of the same messages, for example with their own ``observed_until``. By default they are derived
        from the events.

    Returns
    -------
    DataFrame
        One row per check, also where its count is 0, but several for the checks of clocks:

        - ``check``: name of the check (category).
        - ``source``, ``state``: source and state of the events, for checks of clocks only (categories).
        - ``count``: number of findings.
        - ``of``: number of events, transitions, states or messages that were checked; 0 if the log does not allow the
          check.
        - ``share``: ``count / of``, NaN where ``of`` is 0.
        - ``example``: id of a message with the fault.
        - ``value_s``: size of the fault in seconds, where it has one, else NaN.
        - ``effect``: what the fault does to the results.
        - ``remedy``: what to do about it.

    Raises
    ------
    MissingColumn
        ``events`` without ``message_id``, ``state`` or ``happened_at``; ``journeys`` without ``message_id``,
        ``outcome`` or ``observed_until``.

    Notes
    -----
    Events without a message, a state or a time are ignored. The checks find:

    <checks>

    Examples
    --------
    >>> events = vk.read_events(pd.DataFrame([
    ...     {"message_id": "a", "state": "accepted", "happened_at": "2020-07-13T12:19:17Z"},
    ...     {"message_id": "a", "state": "delivered", "happened_at": "2020-07-13T12:19:16Z"},
    ...     {"message_id": "b", "state": "delivered", "happened_at": "2020-07-13T12:19:18Z"}]))
    >>> result = vk.quality(events)
    >>> result.loc[result["count"] > 0, ["check", "count", "of", "example", "value_s"]]
                   check  count  of example  value_s
    2           disorder      1   1       a      NaN
    3          row_order      1   3       a      NaN
    4   negative_latency      1   1       a     -1.0
    11     no_dispatched      2   2       a      NaN
    12         no_routed      2   2       a      NaN
    13       no_accepted      1   2       b      NaN
    """
    parts = events._frames() if isinstance(events, EventCounts) and journeys is None else [events]
    found = [*map(partial(_check_part, journeys=journeys), parts)]  # map has one part at a time in memory
    result = found[0] if len(found) == 1 else _add_up(pd.concat(found, ignore_index=True))
    return QUALITY.frame(result.assign(share=result["count"] / result["of"].where(result["of"] > 0)))


def _check_part(events: pd.DataFrame, journeys: pd.DataFrame | None) -> pd.DataFrame:
    log, rows = _Log(events, journeys), []
    for name, (find, effect, remedy) in _CHECKS.items():
        rows += [{"check": name, "effect": effect, "remedy": remedy, **finding} for finding in find(log)]
    return pd.DataFrame(rows)


def _add_up(found: pd.DataFrame) -> pd.DataFrame:
    """The findings in parts of a log, which have different messages, as those in the whole log."""
    of_whole = found["check"].isin(_OF_WHOLE)
    remedy = "pass the events of a time, e.g. log.where(since='2026-03-01').to_frame()"
    found.loc[of_whole, ["count", "of", "effect"]] = 0, 0, f"Not checked: the log is read in parts; {remedy}."
    found.loc[of_whole, ["source", "state", "example"]] = None
    found.loc[of_whole | found["check"].isin(_MEDIANS), "value_s"] = np.nan
    number = found.groupby(["check", "source"], dropna=False, sort=False).ngroup()
    largest = np.lexsort((found["example"].fillna(""), -found["value_s"].abs().fillna(0), found["of"] == 0))
    columns = dict.fromkeys(found.columns, "first") | {"count": "sum", "of": "sum"}
    return found.iloc[largest].groupby(number).agg(columns)


if quality.__doc__:  # None under python -OO
    checks = [f"- ``{name}``: {' '.join(str(find.__doc__).split())}" for name, (find, _, _) in _CHECKS.items()]
    wrapped = [textwrap.fill(text, 115, initial_indent="    ", subsequent_indent="      ") for text in checks]
    quality.__doc__ = quality.__doc__.replace("    <checks>", "\n".join(wrapped))
