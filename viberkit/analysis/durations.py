"""The time each message took from one state to another, or has been observed: the input of every delivery estimate."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis import journeys as journeys_module
from viberkit.analysis.clusters import Cells, critical_value, design_effect, score_effects
from viberkit.analysis.counts import PARTS_OF_TIME, EventCounts, Request
from viberkit.analysis.formatting import duration, group_name, percent
from viberkit.analysis.grouping import BY, as_list, check_name_clash, factorize, group_columns, group_names
from viberkit.analysis.incidence import Counts, DesignEffect, Incidence, incidence
from viberkit.analysis.interval_censoring import interval_incidence
from viberkit.analysis.journeys import DELIVERED_STATES, DELIVERY_PATH, FAILED_STATES, JOURNEY_STATES
from viberkit.analysis.ordering import NEVER, SECOND, Ints, by_message, instants, instants_of
from viberkit.analysis.result import as_result
from viberkit.errors import MissingColumn, quote, suggestion
from viberkit.frames.columns import JOURNEYS
from viberkit.frames.schema import require
from viberkit.models.states import parse_state

#: The column that holds the name of the frame of each message, where two frames are compared.
FRAME = "_frame"
#: The causes: right-censored, the end state, or the outcome that competes with it.
OPEN, REACHED, COMPETING = 0, 1, 2
_FAILS_AFTER = DELIVERY_PATH.index("delivered")  # a failure follows the states before delivery
_INDEPENDENT = 512  # sums of independent messages
_COARSE_S = 2.0  # intervals wider than this are reported: clocks in seconds are common
_ARRAYS = ("started", "time", "cause", "earliest", "entry", "group", "row", "n", "informative", "cluster", "dependent")


class DroppedMessagesWarning(UserWarning):
    """Messages were dropped from an estimate; the text gives their number, the reason and a remedy."""


class IntervalTimesWarning(UserWarning):
    """Some times are known only as intervals, so an estimate is less certain; the text gives the share and a remedy."""


@dataclass(frozen=True)
class Durations:
    """Durations in microseconds: one entry per message, or per ``n`` messages that have everything in common.

    ``started``: the instant of the start state; ``time``: from there to the end state, the competing outcome or the
    end of the observation; ``cause``: OPEN, REACHED or COMPETING; ``earliest``: the lower bound of ``time``, equal to
    it where it is exact, and the same array if all are; ``entry``: the start of the observation (left truncation), -1
    for the start state, None if that holds for all; ``group``: the row in ``groups``, the values of the columns grouped
    by; ``row``: the row in ``journeys``; ``n``: the number of messages, None for one each; ``informative``: whether the
    end of the interval depends on the time in it, as that of *seen* does, None if none does; ``cluster``: the value of
    the column by which messages depend on one another, -1 for none, None without such a column; ``dependent``: the
    number of messages of each entry from which dependence is estimated, where it is not ``n``, None if it is;
    ``attrs``: those of every result, with the confidence level.
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
    n: Counts | None = None
    informative: npt.NDArray[np.bool_] | None = None
    cluster: Ints | None = None
    dependent: Counts | None = None

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
        return self.incidence(self.cause, 2)

    def incidence(self, cause: Ints, causes: int) -> Incidence:
        """The cumulative incidence with other causes.

        Intervals whose ends are informative would make the maximum likelihood estimate too early. Instead, the limits
        are those with all times at the ends and at the beginnings of these intervals, and the value is that of the
        other messages, where those that reached the end are weighted for the ones left out; NaN if there are none.
        """
        if self.earliest is self.time or not (self.earliest < self.time).any():
            curve = incidence(self.time, cause, causes, self.entry, self.n)
            return replace(curve, effect=self.design_effects(cause))
        if self.informative is None or not (bounded := self.informative & (self.earliest < self.time)).any():
            curve = interval_incidence(self.earliest, self.time, cause, causes, self.entry, self.n)
            return replace(curve, effect=self.design_effects(cause))
        late = replace(self, earliest=np.where(bounded, self.time, self.earliest), informative=None)
        early = replace(self, time=np.where(bounded, self.earliest, self.time), informative=None)
        extremes = late.incidence(cause, causes), early.incidence(cause, causes)
        count = np.ones(len(self)) if self.n is None else self.n
        known = (cause == REACHED) & ~bounded
        if not count[known].any():
            return replace(extremes[0], extremes=extremes, is_known=False)
        weight = np.where(cause == REACHED, count[cause == REACHED].sum() / count[known].sum(), 1.0)
        dependent = None if self.dependent is None else self.dependent * weight
        others = replace(self, n=count * weight, dependent=dependent, informative=None).take(~bounded)
        return replace(others.incidence(cause[~bounded], causes), extremes=extremes)

    @cached_property
    def grouped(self) -> Durations:
        """The entries from which dependence is estimated."""
        if self.dependent is None:
            return self
        return replace(self, n=self.dependent, dependent=None).take(self.dependent > 0)

    @cached_property
    def cells(self) -> Cells | None:
        """The clusters of the messages; None where they are taken as independent, or are too few."""
        chosen, part = self.attrs.get("cluster"), self.grouped
        return None if chosen is None else Cells.of(part.started, part.count(), part.cluster, chosen == "auto", part.n)

    def design_effects(self, cause: Ints) -> Callable[[int], DesignEffect | None]:
        """A function that returns how much larger the variance of an outcome is because messages are dependent."""

        def effect(end: int) -> DesignEffect | None:
            if self.cells is None:
                return None
            part, causes = self.grouped, cause if self.dependent is None else cause[self.dependent > 0]
            return design_effect(self.cells, part.time, causes, end, part.entry, part.n, self.attrs["confidence"])

        return cache(effect)

    def critical_values(self, times: tuple[float, float]) -> list[float]:
        """The normal quantiles with which the band of each outcome holds at all times (microseconds) at once."""
        part, cells = self.grouped, self.cells
        if cells is None and part.n is not None:
            part = replace(part.take(np.repeat(np.arange(len(part)), part.n.astype(np.int64))), n=None)
        # Independent messages are added up in arbitrary cells, so that there are not too many of them.
        cells = cells or Cells(np.arange(len(part)) % _INDEPENDENT, 0, 1.0, None, are_tried=False)
        inside = np.clip(part.time, times[0], times[1]).astype(np.int64)
        cause = np.where(part.time > times[1], OPEN, part.cause)
        confidence = self.attrs["confidence"]
        return [critical_value(cells, inside, cause, end, part.entry, part.n, confidence) for end in (0, 1)]

    def score_effects(self, group: Ints) -> tuple[tuple[float, float], tuple[float, float]]:
        """The design effects of Gray's and of the log-rank test, each with its degrees of freedom."""
        if self.cells is None:
            return (1.0, np.inf), (1.0, np.inf)
        part, groups = self.grouped, group if self.dependent is None else group[self.dependent > 0]
        return score_effects(self.cells, part.time, part.cause, groups, part.entry, part.n)

    def take(self, chosen: npt.NDArray[Any]) -> Durations:
        """Some of the entries, by a mask or by index."""
        arrays = {name: getattr(self, name) for name in _ARRAYS if name != "earliest" or self.earliest is not self.time}
        taken = {name: values[chosen] for name, values in arrays.items() if values is not None}
        return replace(self, **{"earliest": taken["time"]} | taken)

    def append(self, other: Durations) -> Durations:
        """These entries and those of another group."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _ARRAYS}
        arrays: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items() if pair[0] is not None}
        return replace(self, **arrays)

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
    return _finish(result if groups else result.iloc[:0], observed, groups)


def estimate_rows(
    observed: Durations, dtypes: dict[str, Any], estimate: Callable[[Durations], Iterable[dict[str, Any]]]
) -> pd.DataFrame:
    """The rows that ``estimate`` returns for each group, after the columns grouped by; ``dtypes`` are of the result."""
    names = [str(name) for name in observed.groups.columns]
    check_name_clash(names, dtypes)
    groups = [(values, part) for values, part in observed.by_group() if len(part)]
    rows = [values | row for values, part in groups for row in estimate(part)]
    return _finish(pd.DataFrame(rows, columns=[*names, *dtypes]).astype(dtypes), observed, groups)


def _finish(result: pd.DataFrame, observed: Durations, groups: list[tuple[dict[str, Any], Durations]]) -> pd.DataFrame:
    for name, dtype in observed.groups.dtypes.items():
        result[str(name)] = result[str(name)].astype(dtype)
    return as_result(result, observed.attrs | dependence_attrs(groups))


def dependence_attrs(groups: list[tuple[dict[str, Any], Durations]]) -> dict[str, Any]:
    """A sentence about the largest design effect of the largest group in which messages depend on one another."""
    for values, part in sorted(groups, key=lambda group: -group[1].count()):
        if (effect := part.curve.effect(0)) is None:
            continue
        where, largest, n = int(np.argmax(effect.variance)), float(effect.variance.max()), part.count()
        share, end = float(part.curve.share[0, part.curve.at(effect.time[where])]), part.attrs["end"]
        text = f"{n:,} messages tell as much as {max(round(n / largest), 1):,} independent ones"
        text += f" about the time by which {percent(round(share, 2))} {'have' if end == 'failed' else 'are'} {end}"
        column = "campaign" if part.attrs["cluster"] == "auto" else part.attrs["cluster"]
        reason = f"with the same {column}" if effect.length is None else f"within {duration(effect.length / SECOND)}"
        squares = np.sort(effect.parts[effect.parts > 0])[::-1]
        half = int(np.searchsorted(np.cumsum(squares), squares.sum() / 2)) + 1
        unit = f"values of {column}" if effect.length is None else "days (UTC)"
        most = f"; half of this comes from {half} of {len(squares)} {unit}" if len(squares) > 2 else ""
        shown = [value for name, value in values.items() if name != "window_at"]
        if part.attrs.get("every") is not None:
            shown.append(f"{values['window_at'].tz_convert(part.attrs['tz']):%Y-%m-%d %H:%M}")
        group = f"{group_name(shown)}: " if shown and len(groups) > 1 else ""
        return {"dependence_note": f"{group}{text}, because messages {reason} depend on one another{most}."}
    return {}


def as_journeys(frame: pd.DataFrame | EventCounts, function: str, columns: Iterable[str | None] = ()) -> pd.DataFrame:
    """Journeys as they are, events as journeys; a message in several rows would count several times.

    ``columns``: those that are read of an event log, beside the times of the states.
    """
    if isinstance(frame, EventCounts):
        return frame._journeys(function, columns)
    if isinstance(frame, pd.DataFrame) and "outcome" not in frame and {"state", "happened_at"} <= {*frame.columns}:
        return journeys_module.journeys(frame)
    require(frame, ("message_id", "outcome", "observed_until"), f"{function} (pass vk.journeys(events))")
    if FRAME not in frame.columns and (duplicated := frame["message_id"].duplicated()).any():
        ids = ", ".join(map(quote, frame["message_id"][duplicated].unique()[:3]))
        text = f"{function}: message_id: {int(duplicated.sum()):,} of {len(frame):,} rows repeat a message: {ids}"
        raise ValueError(f"{text}; pass one row per message, e.g. vk.journeys of the events of both logs")
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
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
    columns: Iterable[str] = (),
    split: tuple[tuple[int, int | None], ...] | None = None,
    late: bool = False,
) -> Durations:
    """The durations of journeys (or events) from one state to another.

    A later state proves that a message passed ``end`` (seen without *delivered*): it did so between the last event
    before and the first after, ``earliest`` and ``time``. The same holds for a state observed by polling or read off a
    coarse clock (``<state>_not_before`` and ``<state>_not_after``), and for a failure without a time. Delivered
    outweighs failed. Negative times (clock skew) count as zero.

    An event log counts them, with ``split`` and ``late`` (:class:`~viberkit.analysis.counts.Request`), unless ``split``
    is None or counts do not have what is passed: then its journeys are read. Either has the further ``columns``.
    """
    names = group_names(by)
    confidence = check_share(confidence, "confidence")
    check_time_zone(tz)
    start, end = (_journey_state(field, state) for field, state in (("start", start), ("end", end)))
    if end == "expired":
        raise ValueError("end: 'expired' counts as a failure; pass 'failed', which includes it")
    attrs = {"by": names, "start": start, "end": end, "confidence": confidence, "cluster": cluster, "tz": tz}
    path, joined = (*DELIVERY_PATH, "failed"), messages is not None or isinstance(observed_from, pd.Series)
    is_counted = not joined and {start, end} <= {*path} and path.index(start) < path.index(end)
    if isinstance(frame, EventCounts) and split is not None and is_counted and not {*names} & {*JOURNEYS.names}:
        return _counted(frame, function, attrs, columns, observed_from, split, late)
    read = [*names, "campaign" if cluster == "auto" else cluster, *columns, *["message_id"] * joined]
    journeys = as_journeys(frame, function, read)
    _require_outcome_times(journeys, function)
    at = {state: instants_of(journeys, f"{state}_at") for state in JOURNEY_STATES if f"{state}_at" in journeys.columns}
    begin, begin_earliest = _entered(journeys, at, [start])
    started = (begin != NEVER) & (begin_earliest != 0)  # 1970: it was polled first when the message had long started
    if len(journeys) and not started.any():
        available = [state for state, times in at.items() if (times != NEVER).any()]
        states = ", ".join(available) or "no state"
        raise ValueError(f"start: no message has a time of {start!r}; the journeys have times of {states}")
    if not started.all():
        _warn_of_dropped(function, start, int((~started).sum()), len(journeys))
        journeys, at = journeys[started], {state: times[started] for state, times in at.items()}
        begin, begin_earliest = (begin[started], begin_earliest[started])
    other = DELIVERED_STATES if end in FAILED_STATES else FAILED_STATES
    reached, earliest, informative = _reached(journeys, at, end)
    competing, competing_earliest = _entered(journeys, at, other)
    until = instants_of(journeys, "observed_until")
    latest = np.maximum.reduce(list(at.values())) if at else until
    until = np.where(until == NEVER, latest, until)
    outcome = journeys["outcome"].astype("str").to_numpy()
    own, others = ("failed", "delivered") if end in FAILED_STATES else ("delivered", "failed")
    undated = (outcome == own) & (reached == NEVER) & (end != "seen") & ((own == "delivered") | (competing == NEVER))
    if undated.any():
        reached, earliest = np.where(undated, until, reached), np.where(undated, latest, earliest)
        informative = undated if informative is None else undated | informative
    undated = (outcome == others) & (competing == NEVER)
    if undated.any():
        competing_earliest = np.where(undated, latest, competing_earliest)
        competing = np.where(undated, until, competing)
    has_reached = reached != NEVER
    has_failed = (competing != NEVER) & ~has_reached
    cause = has_reached * np.int8(REACHED) + has_failed * np.int8(COMPETING)
    stop = np.where(has_reached, reached, until)
    np.copyto(stop, competing, where=has_failed)
    if earliest is reached and competing_earliest is competing and begin_earliest is begin:
        earliest = time = np.maximum(stop - begin, 0)
    else:
        time = np.maximum(stop - np.where(cause == OPEN, begin, begin_earliest), 0)
        earliest = np.where(has_reached, earliest, np.where(has_failed, competing_earliest, stop))
        earliest = np.where(cause == OPEN, time, np.clip(earliest - begin, 0, time))
    entry = _entry(journeys, begin, observed_from)
    recorded = at.get(start, begin)
    groups, group = factorize(group_columns(journeys, names, recorded, messages, function, tz), names)
    attrs |= interval_attrs(time, earliest, cause == REACHED, function, end)
    row, clusters = np.arange(len(journeys)), cluster_codes(journeys, cluster, recorded, messages, function, tz)
    return Durations(
        recorded, time, cause, earliest, entry, group, groups, journeys, row, attrs, None, informative, clusters
    )


def _warn_of_dropped(function: str, start: str, dropped: int, total: int) -> None:
    text = f"{function}: dropped {dropped:,} of {total:,} messages without a time of {start!r}"
    remedy = "pass another start if more messages have its time, e.g. start='dispatched'"
    warnings.warn(f"{text}; {remedy}", DroppedMessagesWarning, stacklevel=4)


def _counted(
    log: EventCounts,
    function: str,
    attrs: dict[str, Any],
    columns: Iterable[str],
    observed_from: Any,
    split: tuple[tuple[int, int | None], ...],
    late: bool,
) -> Durations:
    """The durations that an event log counts; groups by time of day are those of the first start of each entry."""
    since = None if observed_from is None else int(by_message(observed_from, pd.Series(["0"]), "min")[0])
    names, start, tz = attrs["by"], attrs["start"], attrs["tz"]
    facts = [name for name in names if name not in PARTS_OF_TIME or name in log.columns]
    split += tuple(PARTS_OF_TIME[name] for name in names if name not in facts)
    cluster = "campaign" if attrs["cluster"] == "auto" and "campaign" in log.columns else attrs["cluster"]
    cluster = None if cluster == "auto" else cluster
    is_dependent = attrs["cluster"] is not None
    columns = [name for name in columns if name in log.columns and name not in facts]
    request = Request(function, [*facts, *columns], start, attrs["end"], split, late, since, cluster, is_dependent, tz)
    counts, dropped = log._count_durations(request)
    number = counts["n"].to_numpy()
    if dropped and not len(counts):
        raise ValueError(f"start: no message has a time of {start!r}; pass another start, e.g. 'dispatched'")
    if dropped:
        _warn_of_dropped(function, start, dropped, dropped + int(number.sum()))
    started, time, cause, until = (counts[name].to_numpy() for name in ("started", "time", "cause", "until"))
    earliest = time if (counts["earliest"] == counts["time"]).all() else counts["earliest"].to_numpy()
    entry = counts["entry"].to_numpy() if (counts["entry"] >= 0).any() else None
    informative = counts["informative"].to_numpy() if counts["informative"].any() else None
    clusters = None if cluster is None else _number_clusters(counts["cluster"], started)
    groups, group = factorize(group_columns(counts, names, started, None, function, tz), names)
    attrs |= interval_attrs(time, earliest, cause == REACHED, function, attrs["end"], number)
    journeys, row = counts[columns].assign(observed_until=instants(until)), np.arange(len(counts))
    dependent = counts["dependent"].to_numpy() if "dependent" in counts else None
    n = None if dependent is None and (number == 1).all() else number
    return Durations(
        started, time, cause, earliest, entry, group, groups, journeys, row, attrs, n, informative, clusters, dependent
    )


def cluster_codes(
    frame: pd.DataFrame, cluster: str | None, started: Ints, messages: pd.DataFrame | None, function: str, tz: str
) -> Ints | None:
    """The cluster of each row by a column, -1 where it has none; by default by ``campaign``, if there is one."""
    columns = {*frame.columns, *(() if messages is None else messages.columns)}
    if cluster is None or (cluster == "auto" and "campaign" not in columns):
        return None
    name = "campaign" if cluster == "auto" else cluster
    return _number_clusters(group_columns(frame, [name], started, messages, f"{function} (cluster)", tz)[name], started)


def _number_clusters(values: pd.Series[Any], started: Ints) -> Ints | None:
    """The number of the cluster of each row, in order of the first starts; -1 for none, None if no row has one."""
    codes, names = pd.factorize(values, sort=True)
    first = pd.Series(started).groupby(codes).min().reindex(range(len(names)))
    place = np.append(np.argsort(np.argsort(first, kind="stable")), -1)
    return place[codes] if len(names) else None


def interval_attrs(
    time: Ints, earliest: Ints, is_reached: npt.NDArray[np.bool_], function: str, end: str, n: Counts | None = None
) -> dict[str, Any]:
    """The share of the messages that reached the end whose time is an interval, and a sentence about it."""
    if earliest is time or not (is_interval := is_reached & (earliest < time)).any():
        return {}
    if n is not None:
        rows = np.repeat(np.arange(len(n)), np.where(is_reached, n, 0))
        time, earliest, is_reached, is_interval = time[rows], earliest[rows], is_reached[rows], is_interval[rows]
    share, width_s = is_interval.sum() / is_reached.sum(), float(np.median((time - earliest)[is_interval])) / SECOND
    note = f"{percent(share)} of the times to {end} are known only as intervals (median width {duration(width_s)})"
    if width_s > _COARSE_S:
        remedy = "fetch the histories with vk.collect(client, archive), or use a log with exact times"
        text = f"{function}: {note}, from a later state, polls or a coarse clock, so the estimate is less certain"
        text = f"{text}; {remedy}"
        warnings.warn(text, IntervalTimesWarning, stacklevel=4)
    return {"interval_share": share, "interval_note": f"{note}."}


def _journey_state(field: str, text: str) -> str:
    state = parse_state(text) if isinstance(text, str) else text
    if state not in JOURNEY_STATES:
        remedy = f"{suggestion(text, JOURNEY_STATES)}pass one of {', '.join(JOURNEY_STATES)}"
        raise ValueError(f"{field}: {text!r} is not a state of a journey; {remedy}")
    return state


def _require_outcome_times(journeys: pd.DataFrame, function: str) -> None:
    """Raise if there are outcomes, but no column with their time."""
    outcomes = set(journeys["outcome"].unique())
    for outcome, states in (("delivered", DELIVERED_STATES), ("failed", FAILED_STATES)):
        if outcome in outcomes and not any(f"{state}_at" in journeys.columns for state in states):
            raise MissingColumn(function, [f"{outcome}_at"], map(str, journeys.columns))


def _reached(journeys: pd.DataFrame, at: dict[str, Ints], end: str) -> tuple[Ints, Ints, npt.NDArray[np.bool_] | None]:
    """The latest and the earliest instant at which each message reached the end, the same array if exact.

    The third result says whether the latest is the instant of a later state, which depends on the time of the end.
    """
    if end in FAILED_STATES:
        latest, earliest = _entered(journeys, at, FAILED_STATES)
        delivered = _first(at, DELIVERED_STATES, len(journeys)) != NEVER
        failed = np.where(delivered, NEVER, latest)
        return failed, failed if earliest is latest else np.where(delivered, NEVER, earliest), None
    latest, earliest = _entered(journeys, at, [end])
    index = DELIVERY_PATH.index(end) if end in DELIVERY_PATH else len(DELIVERY_PATH)
    proven, proven_earliest = _entered(journeys, at, DELIVERY_PATH[index + 1 :])
    passed = (latest == NEVER) & (proven != NEVER)
    if not passed.any():
        return latest, earliest, None
    before = _before(at, DELIVERY_PATH[:index], proven)
    is_polled = proven_earliest < _first(at, DELIVERY_PATH[index + 1 :], len(journeys))
    before = np.where(is_polled, np.maximum(before, proven_earliest), before)
    return np.where(passed, proven, latest), np.where(passed, before, earliest), passed & ~is_polled


def _entered(journeys: pd.DataFrame, at: dict[str, Ints], states: Sequence[str]) -> tuple[Ints, Ints]:
    """The latest and the earliest instant at which each message first entered one of several states."""
    latest = earliest = first = _first(at, states, len(journeys))
    for state in states:
        is_first = (first != NEVER) & (at.get(state, first) == first)
        if f"{state}_not_after" in journeys.columns:  # a coarse clock
            latest = np.where(is_first, np.maximum(instants_of(journeys, f"{state}_not_after"), latest), latest)
        if f"{state}_not_before" in journeys.columns:  # a poll
            bound = instants_of(journeys, f"{state}_not_before")
            index = DELIVERY_PATH.index(state) if state in DELIVERY_PATH else _FAILS_AFTER
            before = _before(at, DELIVERY_PATH[:index], first)
            low = np.clip(bound, np.where(before < first, before, 0), first)
            earliest = np.where(is_first & (bound != NEVER), low, earliest)
    return latest, earliest


def _before(at: dict[str, Ints], states: Sequence[str], latest: Ints) -> Ints:
    """The last instant of the states that precede another, which is not after ``latest``."""
    return np.minimum(np.maximum.reduce([at[state] for state in states if state in at] or [latest]), latest)


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
