"""The SQL that counts durations and computes journeys, the same text on each engine.

It uses what all engines compute alike: ``min``, ``max``, ``count``, ``least``, ``greatest``, ``lead`` over a total
order, grouping sets, and sums, differences and remainders of integers (microseconds since 1970). Rounding down is
``x - x % step`` of what is not negative, because a division of integers is not the same on each engine. Texts are
compared for equality only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.counts import HOUR, WEEK, Request
from viberkit.analysis.journeys import DELIVERED_STATES, DELIVERY_PATH, FAILED_STATES, JOURNEY_STATES
from viberkit.analysis.ordering import instants
from viberkit.analysis.windows import window_begins

_MILLISECOND, _SECOND = 1_000, 1_000_000
_DECADE = 522 * WEEK  # observed later than this after all events is not plausible
_SHIFT = 5_000 * WEEK - WEEK * 4 // 7  # makes instants positive; weeks begin on Mondays, 1970 on a Thursday
_MANY = 32  # states, above which a window over the events is faster than a column for each
_OCTAVES = 22  # from a millisecond on, to about an hour in classes of a second, and beyond


@dataclass(frozen=True)
class Source:
    """What is known of a log.

    ``messages`` is the query of :func:`messages`, or for its result. ``codes`` has the code of each state. All events
    are between ``first`` and ``last``, and the last observation is at ``now``.
    """

    messages: str
    codes: dict[str, int]
    first: int
    last: int
    now: int

    def at(self, states: Sequence[str]) -> str:
        """The first time of one of several states of a message."""
        return _least([f"t{self.codes[state]}" for state in states if state in self.codes])

    @property
    def until(self) -> str:
        """The end of the observation of a message."""
        observed = f"case when observed <= {self.last + _DECADE} then observed else {self.last} end"
        return f"greatest({observed}, last_us)"


@dataclass(frozen=True)
class Steps:
    """What dependence is estimated from: stretches of ``slot`` microseconds, ``parts`` classes of time in an octave.

    With a slot of zero, nothing: messages are independent.
    """

    slot: int
    parts: int


def messages(events: str, codes: dict[str, int], facts: int, more: str = "") -> str:
    """The messages: the first time of each state, t0, t1, …; the last event; and what all events have in common.

    In a log with many states, the times are those of the states of journeys.

    ``events`` is a query for id, us, state_code, observed (the last observation), since, cluster and f0, f1, …, the
    facts that messages are grouped by; ``more`` are columns that precede these.
    """
    timed = [code for state, code in codes.items() if len(codes) <= _MANY or state in JOURNEY_STATES]
    times = _list(f"min(case when state_code = {code} then us end) as t{code}" for code in timed)
    named = _list(f"min({name}) as {name}" for name in _facts(facts))
    return f"""select {more}{named}{times}min(cluster) as cluster, max(since) as since, count(*) as n_events,
  max(us) as last_us, max(us * {_base(codes)} + state_code) as last_event, max(observed) as observed
from ({events}) events group by id"""


def durations(source: Source, request: Request, steps: Steps | None) -> str:
    """The counts of durations; messages without the start have none. Without ``steps`` each message is an entry.

    >>> source = Source("select 1", {"accepted": 0, "delivered": 4}, 0, 9, 9)
    >>> durations(source, Request("", [], "accepted", "delivered"), None).splitlines()[0]
    'with messages as (select 1),'
    """
    later: Sequence[str] = ()
    if request.end in FAILED_STATES:
        before, other, reached = "0", DELIVERED_STATES, source.at(FAILED_STATES)
        is_reached = "other_at is null and reached_at is not null"
    else:
        index = DELIVERY_PATH.index(request.end)
        before = ", ".join(f"coalesce({source.at([state])}, 0)" for state in DELIVERY_PATH[:index])
        before, later = f"greatest(0, {before})", DELIVERY_PATH[index + 1 :]
        other, reached = FAILED_STATES, source.at([request.end])
        is_reached = "coalesce(reached_at, proven_at) is not null"
    facts, classes = _list(_facts(len(request.by))), ("duration", "earliest", "entered")
    shared, since = ["cause", "informative"], "since" if request.since is None else str(request.since)
    return f"""with messages as ({source.messages}),
times as (
  select *, {source.at([request.start])} as began, {reached} as reached_at, {source.at(later)} as proven_at,
    {before} as before_at, {source.at(other)} as other_at, {source.until} as until from messages),
ends as (
  select *, case when {is_reached} then 1 when other_at is not null then 2 else 0 end as cause from times),
exact as (
  select *, case when began is not null then
      greatest(case cause when 1 then coalesce(reached_at, proven_at) when 2 then other_at else until end - began, 0)
    end as exact_duration,
    case when cause = 1 and reached_at is null then 1 else 0 end as informative,
    case when {since} > began then {since} - began else -1 end as exact_entered
  from ends),
bounded as (
  select *, case when informative = 1 then least(greatest(before_at - began, 0), exact_duration) else exact_duration end
    as exact_earliest from exact),
rounded as (
  select {facts}began, until, cause, informative, cluster, {_rounded("exact_duration")} as duration,
    {_rounded("exact_earliest")} as earliest,
    case when exact_entered < 0 then -1 else {_rounded("exact_entered")} end as entered
  from bounded),
{_counts(source, request, steps, "began", shared, classes, ", max(until) as until")}"""


def journeys(events: str, source: Source, facts: int) -> str:
    """The first time of each state, the last state, and the beginning and end of the observation, of each message."""
    times = _list(f"t{source.codes[state]} as {state}" for state in JOURNEY_STATES if state in source.codes)
    return f"""with messages as ({messages(events, source.codes, facts, "id, min(us) as first_us, ")})
select id, {_list(_facts(facts))}{times}first_us, since, {source.until} as until,
  last_event - last_us * {_base(source.codes)} as last_code from messages"""


def transitions(source: Source, request: Request, steps: Steps | None) -> str:
    """The counts of transitions, of messages that wait in a state (next_code -1), and of other messages (-2).

    Messages wait that did not fail and, in a log in which any message was seen, were not seen. The transitions of
    messages that were in a state more than once, which have -2, are those of :func:`repeated`; in a log with many
    states these are all messages.
    """
    codes = sorted(source.codes.values()) if len(source.codes) <= _MANY else []
    delivered, seen, failed = (source.at(states) for states in (["delivered"], ["seen"], FAILED_STATES))
    waits = f"{seen} is null and ({delivered} is not null or {failed} is null)"
    waits += "" if "seen" in source.codes else f" and {delivered} is null"
    final = [source.codes[state] for state in ("seen", *FAILED_STATES) if state in source.codes]
    rows = " union all ".join(f"select {code} as code" for code in (*codes, -1, -2))
    follows = {code: f"(t{code} > us or t{code} = us and {code} > code)" for code in codes}
    following = _least([f"case when {condition} then t{code} end" for code, condition in follows.items()])
    codes_of = " ".join(f"when t{code} = next_us and {condition} then {code}" for code, condition in follows.items())
    states = " + ".join(["0", *(f"case when t{code} is null then 0 else 1 end" for code in codes)])
    return f"""with messages as ({source.messages}),
ends as (
  select *, {source.until} as until, n_events > {states} as is_repeated, case when {delivered} is null
    then last_event - last_us * {_base(source.codes)} else {source.codes.get("delivered", -1)} end as waits_in,
    case when {waits} then coalesce({delivered}, last_us) end as waits_from from messages),
entries as (
  select *, case code {" ".join(f"when {code} then t{code}" for code in codes)}
    when -1 then waits_from else last_us end as us,
    case when code < 0 then waits_in else code end as state_code from ends cross join ({rows}) states),
following as (
  select *, case when code < 0 then until else {following} end as next_us from entries where us is not null
    and case code when -2 then is_repeated when -1 then waits_in not in ({_list(map(str, final))}-1)
      else not is_repeated end),
exact as (
  select *, case when code < 0 then code {codes_of} end as next_code, next_us - us as exact_duration
  from following where next_us is not null),
rounded as (select *, {_rounded("exact_duration")} as duration from exact),
{_counts(source, request, steps, "us", ["state_code", "next_code"], ["duration"])}"""


def repeated(events: str, source: Source, request: Request, steps: Steps | None) -> str:
    """The counts of transitions of messages that were in a state more than once; ``events`` as of :func:`messages`."""
    facts = _list(_facts(len(request.by)))
    repeats = "count(*) > count(distinct state_code)" if len(source.codes) <= _MANY else "count(*) > 1"
    return f"""with events as ({events}),
ids as (select id from events group by id having {repeats}),
pairs as (
  select {facts}cluster, us, state_code, lead(us) over w as next_us, lead(state_code) over w as next_code
  from events where id in (select id from ids) window w as (partition by id order by us, state_code)),
exact as (
  select *, next_us - us as exact_duration from pairs where next_us > us or next_code <> state_code),
rounded as (select *, {_rounded("exact_duration")} as duration from exact),
{_counts(source, request, steps, "us", ["state_code", "next_code"], ["duration"])}"""


def _facts(count: int) -> list[str]:
    return [f"f{index}" for index in range(count)]


def _base(codes: dict[str, int]) -> int:
    """A number above all codes, so that an instant times it, plus a code, is in the order of the events."""
    return max(codes.values(), default=0) + 1


def _least(texts: Sequence[str]) -> str:
    """The least of several columns that may be null."""
    return f"least({', '.join(texts)})" if len(texts) > 1 else texts[0] if texts else "cast(null as bigint)"


def _list(texts: Any) -> str:
    """Columns of a list that continues."""
    return "".join(f"{text}, " for text in texts)


def _counts(
    source: Source,
    request: Request,
    steps: Steps | None,
    began: str,
    shared: Sequence[str],
    classes: Sequence[str],
    more: str = "",
) -> str:
    """The numbers of messages by exact duration, and by stretch of time, class of duration and cluster.

    ``began`` is the column of the start, ``shared`` and ``classes`` are the other columns that are counted by, of which
    those of classes are rounded, and ``more`` are further columns of the result.
    """
    windows = [_window(source, request.tz, began, *split) for split in request.split]
    windows += [_is_late(source, request)] if request.late else []
    names = [f"w{index}" for index in range(len(windows))]
    keys = [*_facts(len(request.by)), *names, *shared]
    derived = [f"{text} as {name}" for text, name in zip(windows, names, strict=True)]
    if steps is None:
        grouped = columns = f"{_list([*keys, *classes])}cluster"
        grouped, is_coarse = f"{grouped}, {began}", "0"
    elif not steps.slot:
        grouped = columns = ", ".join([*keys, *classes])
        is_coarse = "0 as cluster, 0"
    else:
        derived += [f"{began} - {began} % {steps.slot} as slot"]
        derived += [f"{_in_classes(name, steps.parts)} as {name}_class" for name in classes]
        coarse = [f"{name}_class" for name in classes]
        grouped = f"grouping sets (({', '.join([*keys, *classes])}), ({', '.join([*keys, *coarse])}, slot, cluster))"
        columns, is_coarse = f"{_list([*keys, *classes, *coarse])}slot, cluster", "grouping(duration)"
    return f"""counted as (select {", ".join(["*", *derived])} from rounded)
select {columns}, {is_coarse} as is_coarse, min({began}) as started{more}, count(*) as n
from counted group by {grouped}"""


def _window(source: Source, tz: str, instant: str, length: int, period: int | None) -> str:
    """The beginning of the window in which an instant is on the local clock; within a period, if there is one."""
    local = f"({instant} + {_offset(source, tz, instant)} + {_SHIFT})"
    if period is not None:
        return f"{local} % {period} - {local} % {length}"
    if length <= HOUR:
        return f"{instant} - {local} % {length}"  # an hour that is repeated in autumn is two windows
    return f"{local} - {local} % {length} - {_SHIFT}"


def _is_late(source: Source, request: Request) -> str:
    """Whether more of the window of a message has passed than of the last one at the end of the log."""
    length, tz = request.split[-1][0], request.tz
    begin = int(window_begins(np.array([source.now]), pd.Timedelta(length, unit="us"), tz).astype("int64")[0])
    window = _window(source, tz, "began", length, None)
    if length > HOUR:
        window = _utc(source, tz, f"({window})")
    return f"case when began - ({window}) > {source.now - begin} then 1 else 0 end"


def _changes(source: Source, tz: str) -> tuple[int, list[tuple[int, int]]]:
    """The offset of local time at the beginning of a log, and the instants at which it changes, with the new one."""
    margin = 2 * WEEK
    at = np.arange(source.first - source.first % HOUR - margin, source.last + margin, HOUR // 4)
    local = instants(at).dt.tz_convert(tz).dt.tz_localize(None).astype("int64").to_numpy()
    offsets = local - at
    changes = np.flatnonzero(np.diff(offsets)) + 1
    return int(offsets[0]), [(int(at[index]), int(offsets[index])) for index in changes]


def _offset(source: Source, tz: str, instant: str) -> str:
    """The offset of local time at an instant."""
    offset, changes = _changes(source, tz)
    cases = ""
    for at, following in changes:
        cases, offset = f"{cases} when {instant} < {at} then {offset}", following
    return f"case{cases} else {offset} end" if cases else str(offset)


def _utc(source: Source, tz: str, local: str) -> str:
    """The first instant of a local time, or the first after it if there is none."""
    offset, changes = _changes(source, tz)
    cases, at = "", -_DECADE * 10
    for change, following in changes:
        cases += f" when {local} < {change + offset} then greatest({local} - {offset}, {at})"
        at, offset = change, following
    last = f"greatest({local} - {offset}, {at})"
    return f"case{cases} else {last} end" if cases else last


def _rounded(name: str) -> str:
    """A duration in whole milliseconds, above an hour in whole seconds."""
    return f"{name} - {name} % (case when {name} < {HOUR} then {_MILLISECOND} else {_SECOND} end)"


def _in_classes(name: str, parts: int) -> str:
    """A duration rounded down to one of ``parts`` classes in each octave."""
    cases = "".join(
        f" when {name} < {2 * _MILLISECOND * parts << octave} then {_MILLISECOND << octave}"
        for octave in range(_OCTAVES)
    )
    width = f"case{cases} else {_MILLISECOND << _OCTAVES} end"
    return f"case when {name} < 0 then {name} else {name} - {name} % ({width}) end"
