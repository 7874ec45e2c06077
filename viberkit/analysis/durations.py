"""The time each message took from one state to another, or has been observed: the input of every delivery estimate."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis import journeys as journeys_module
from viberkit.analysis.grouping import BY, as_list, check_name_clash, factorize, group_columns, group_names
from viberkit.analysis.incidence import Incidence, incidence
from viberkit.analysis.journeys import DELIVERED_STATES, DELIVERY_PATH, FAILED_STATES
from viberkit.analysis.ordering import NEVER, SECOND, Ints, by_message, instants_of
from viberkit.errors import MissingColumn
from viberkit.frames.schema import require
from viberkit.models.states import ORDER, parse_state

#: The causes: right-censored, the end state, or the outcome that competes with it.
OPEN, REACHED, COMPETING = 0, 1, 2
_JOURNEY_STATES = ORDER[:8]
_ARRAYS = ("started", "time", "cause", "earliest", "entry", "group", "row", "n")


class DroppedMessagesWarning(UserWarning):
    """Messages were dropped from an estimate; the text gives their number, the reason and a remedy."""


@dataclass(frozen=True)
class Durations:
    """Durations in microseconds: one entry per message, or per ``n`` messages that have everything in common.

    ``started``: the instant of the start state; ``time``: from there to the end state, the competing outcome or the
    end of the observation; ``cause``: OPEN, REACHED or COMPETING; ``earliest``: the lower bound of ``time``, equal to
    it where it is exact; ``entry``: the start of the observation (left truncation), -1 for the start state, None if
    that holds for all; ``group``: the row in ``groups``, the values of the columns grouped by; ``row``: the row in
    ``journeys``; ``n``: the number of messages, None for one each; ``attrs``: those of every result,
    with the confidence level.
    """

    started: Ints
    time: Ints
    cause: Ints
    earliest: Ints
    entry: Ints | None
    group: Ints
    groups: pd.DataFrame
    journeys: pd.DataFrame
    row: Ints
    attrs: dict[Any, Any]
    n: Ints | None = None

    def __len__(self) -> int:
        return len(self.time)

    def count(self, chosen: npt.NDArray[np.bool_] | None = None) -> int:
        """The number of messages, of all entries or of those chosen."""
        if self.n is not None:
            return int(self.n.sum() if chosen is None else self.n[chosen].sum())
        return len(self) if chosen is None else int(np.count_nonzero(chosen))

    @cached_property
    def curve(self) -> Incidence:
        """The cumulative incidence of the end state (0) and of the competing outcome (1)."""
        return incidence(self.time, self.cause, 2, self.entry, self.n)

    def take(self, chosen: npt.NDArray[Any]) -> Durations:
        """Some of the entries, by a mask or by index."""
        arrays = {name: getattr(self, name) for name in _ARRAYS if name != "earliest" or self.earliest is not self.time}
        taken = {name: values[chosen] for name, values in arrays.items() if values is not None}
        return replace(self, **{"earliest": taken["time"]} | taken)

    def by_group(self) -> Iterator[tuple[dict[str, Any], Durations]]:
        """The values of the columns grouped by, and the entries, of each group in order."""
        sizes = np.bincount(self.group, minlength=len(self.groups))
        rows = np.split(np.argsort(self.group, kind="stable"), np.cumsum(sizes))
        for index in range(len(self.groups)):
            values = {str(name): self.groups[name].iloc[index] for name in self.groups.columns}
            yield values, self if len(self.groups) == 1 else self.take(rows[index])


def estimate_by_group(observed: Durations, estimate: Callable[[Durations], dict[str, Any]]) -> pd.DataFrame:
    """The columns that ``estimate`` returns for each group, one below the other, after the columns grouped by."""
    groups = [(values, part) for values, part in observed.by_group() if len(part)]
    blank = dict.fromkeys(map(str, observed.groups.columns))
    frames = []
    for values, part in groups or [(blank, observed)]:
        columns = estimate(part)
        check_name_clash(values, columns)
        frames.append(pd.DataFrame(values | columns, copy=False))
    result = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    return _finish(result if groups else result.iloc[:0], observed)


def estimate_rows(
    observed: Durations, dtypes: dict[str, Any], estimate: Callable[[Durations], Iterable[dict[str, Any]]]
) -> pd.DataFrame:
    """The rows that ``estimate`` returns for each group, after the columns grouped by; ``dtypes`` are of the result."""
    names = [str(name) for name in observed.groups.columns]
    check_name_clash(names, dtypes)
    rows = [values | row for values, part in observed.by_group() if len(part) for row in estimate(part)]
    return _finish(pd.DataFrame(rows, columns=[*names, *dtypes]).astype(dtypes), observed)


def _finish(result: pd.DataFrame, observed: Durations) -> pd.DataFrame:
    for name, dtype in observed.groups.dtypes.items():
        result[str(name)] = result[str(name)].astype(dtype)
    result.attrs = dict(observed.attrs)
    return result


def as_journeys(frame: pd.DataFrame, function: str) -> pd.DataFrame:
    """Journeys as they are, events as journeys."""
    if isinstance(frame, pd.DataFrame) and "outcome" not in frame and {"state", "happened_at"} <= {*frame.columns}:
        return journeys_module.journeys(frame)
    require(frame, ("message_id", "outcome", "observed_until"), f"{function} (pass vk.journeys(events))")
    return frame


def check_number(value: Any, field: str, rule: str, example: str, low: float, high: float) -> float:
    """A number from ``low`` to ``high``, else a ``ValueError`` that names the field."""
    try:
        number = float(value) if isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise ValueError(f"{field}: {value!r} is not {rule}; pass e.g. {example}")
    return number


def check_share(value: Any, field: str) -> float:
    """A number between 0 and 1, both excluded."""
    return check_number(value, field, "between 0 and 1", "0.95", math.ulp(0.0), math.nextafter(1.0, 0.0))


def check_shares(values: Any, field: str) -> list[float]:
    """One number between 0 and 1, or several, as a list."""
    return [check_share(value, field) for value in as_list(values)]


def check_within(values: Any, largest: float = 1e12) -> list[float]:
    """One time in seconds above zero, or several, as a list in microseconds."""
    rule = "a time in seconds above zero"
    times = [check_number(value, "within", rule, "60", math.ulp(0.0), largest) for value in as_list(values)]
    return [float(np.round(time * SECOND)) for time in times]


def check_time_zone(tz: Any) -> None:
    """Raise a ``ValueError`` if ``tz`` is not the name of a time zone, as pandas accepts it."""
    try:
        known = isinstance(tz, str) and pd.Timestamp(0, tz=tz or "none").tz is not None
    except (LookupError, ValueError, OSError):  # OSError: a folder of the database, such as "Europe"
        known = False
    if not known:
        raise ValueError(f"tz: {tz!r} is not the name of a time zone; pass e.g. 'Europe/Berlin'")


def durations(
    frame: pd.DataFrame,
    function: str,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    observed_from: Any = None,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> Durations:
    """The durations of journeys (or events) from one state to another.

    A later state proves that a message passed ``end`` (seen without *delivered*): it did so between the last event
    before and the first after, ``earliest`` and ``time``. The same holds for a state observed by polling, whose
    ``<state>_not_before`` is set. Delivered outweighs failed. A failure without a time counts from the end of the
    observation. Negative times (clock skew) count as zero.
    """
    names = group_names(by)
    confidence = check_share(confidence, "confidence")
    check_time_zone(tz)
    journeys = as_journeys(frame, function)
    start, end = (_journey_state(field, state) for field, state in (("start", start), ("end", end)))
    if end == "expired":
        raise ValueError("end: 'expired' counts as a failure; pass 'failed', which includes it")
    _require_outcome_times(journeys, function)
    at = {state: instants_of(journeys, f"{state}_at") for state in _JOURNEY_STATES if f"{state}_at" in journeys.columns}
    started = at[start] != NEVER if start in at else np.zeros(len(journeys), dtype=bool)
    if len(journeys) and not started.any():
        available = [state for state, times in at.items() if (times != NEVER).any()]
        states = ", ".join(available) or "no state"
        raise ValueError(f"start: no message has a time of {start!r}; the journeys have times of {states}")
    if not started.all():
        dropped = int((~started).sum())
        text = f"{function}: dropped {dropped:,} of {len(journeys):,} messages without a time of {start!r}"
        remedy = "pass another start if more messages have its time, e.g. start='dispatched'"
        warnings.warn(f"{text}; {remedy}", DroppedMessagesWarning, stacklevel=3)
        journeys, at = journeys[started], {state: times[started] for state, times in at.items()}
    begin = at.get(start, np.zeros(len(journeys), dtype=np.int64))
    reached, earliest = _reached(journeys, at, end)
    competing = _first(at, DELIVERED_STATES if end in FAILED_STATES else FAILED_STATES, len(journeys))
    until = instants_of(journeys, "observed_until")
    if at and (unknown := until == NEVER).any():
        until = np.where(unknown, np.maximum.reduce(list(at.values())), until)
    undated = (journeys["outcome"] == "failed").to_numpy() & (competing == NEVER)
    if end not in FAILED_STATES and undated.any():
        competing = np.where(undated, until, competing)
    has_reached = reached != NEVER
    has_failed = (competing != NEVER) & ~has_reached
    cause = has_reached * np.int8(REACHED) + has_failed * np.int8(COMPETING)
    stop = np.where(has_reached, reached, until)
    np.copyto(stop, competing, where=has_failed)
    time = np.maximum(stop - begin, 0)
    exact = earliest is reached
    earliest = time if exact else np.where(has_reached, np.clip(earliest - begin, 0, time), time)
    entry = _entry(journeys, begin, observed_from)
    groups, group = factorize(group_columns(journeys, names, begin, messages, function, tz), names)
    attrs = {"by": names, "start": start, "end": end, "confidence": confidence, "tz": tz}
    row = np.arange(len(journeys))
    return Durations(begin, time, cause, earliest, entry, group, groups, journeys, row, attrs)


def _journey_state(field: str, text: str) -> str:
    state = parse_state(text) if isinstance(text, str) else text
    if state not in _JOURNEY_STATES:
        raise ValueError(f"{field}: {text!r} is not a state of a journey; pass one of {', '.join(_JOURNEY_STATES)}")
    return state


def _require_outcome_times(journeys: pd.DataFrame, function: str) -> None:
    """Raise if there are outcomes, but no column with their time."""
    outcomes = set(journeys["outcome"].unique())
    for outcome, states in (("delivered", DELIVERED_STATES), ("failed", FAILED_STATES)):
        if outcome in outcomes and not any(f"{state}_at" in journeys.columns for state in states):
            raise MissingColumn(function, [f"{outcome}_at"], map(str, journeys.columns))


def _reached(journeys: pd.DataFrame, at: dict[str, Ints], end: str) -> tuple[Ints, Ints]:
    """The latest and the earliest instant at which each message reached the end; the same array if exact."""
    if end in FAILED_STATES:
        delivered = _first(at, DELIVERED_STATES, len(journeys)) != NEVER
        failed = np.where(delivered, NEVER, _first(at, FAILED_STATES, len(journeys)))
        return failed, failed
    exact = _first(at, [end], len(journeys))
    index = DELIVERY_PATH.index(end) if end in DELIVERY_PATH else len(DELIVERY_PATH)
    proven = _first(at, DELIVERY_PATH[index + 1 :], len(journeys))
    reached = earliest = exact
    if (passed := (exact == NEVER) & (proven != NEVER)).any():
        before = np.maximum.reduce([at[state] for state in DELIVERY_PATH[:index] if state in at] or [proven])
        reached, earliest = np.where(passed, proven, exact), np.where(passed, np.minimum(before, proven), exact)
    if f"{end}_not_before" in journeys.columns:
        bound = instants_of(journeys, f"{end}_not_before")
        earliest = np.where((exact != NEVER) & (bound != NEVER), np.minimum(bound, exact), earliest)
    return reached, earliest


def _first(at: dict[str, Ints], states: Sequence[str], count: int) -> Ints:
    """The instant at which each message first entered one of several states."""
    times = [at[state] for state in states if state in at]
    if len(times) < 2:
        return times[0] if times else np.full(count, NEVER)
    first = np.fmin.reduce([values.view("datetime64[us]") for values in times])  # fmin ignores NaT
    return np.asarray(first.view(np.int64))


def _entry(journeys: pd.DataFrame, begin: Ints, observed_from: Any) -> Ints | None:
    """The start of each observation after ``begin``, -1 for its beginning; None if that holds for all."""
    if observed_from is None:
        since = instants_of(journeys, "observed_from")
    else:
        since = by_message(observed_from, journeys["message_id"], "min")
    late = (since != NEVER) & (since > begin)
    return np.where(late, since - begin, -1) if late.any() else None
