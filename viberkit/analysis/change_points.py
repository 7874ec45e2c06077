"""Change points: since when deliveries take longer, more messages fail, or other messages are sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.counts import EventCounts
from viberkit.analysis.durations import (
    COMPETING,
    REACHED,
    Durations,
    check_number,
    check_shares,
    durations,
    estimate_rows,
)
from viberkit.analysis.explain import MIX_COLUMNS
from viberkit.analysis.formatting import group_name, percent, percentile, time
from viberkit.analysis.grouping import BY, factorize, group_columns, group_names
from viberkit.analysis.incidence import Floats, incidence
from viberkit.analysis.journeys import DELIVERY_PATH
from viberkit.analysis.ordering import SECOND, Ints, instants, instants_of
from viberkit.frames.columns import JOURNEYS
from viberkit.frames.schema import INSTANT

Bools = npt.NDArray[np.bool_]
_Event = tuple[Bools, Floats]  # whether it happened to each message, and the number expected
_STAGES = (0.0, 0.5, 0.75, 0.9, 1.0)  # shares of the deliveries at which the stages of the wait begin and end
_MIN_MESSAGES, _MIN_DAYS = 40, 3  # on either side of a change; of a log in which days and their hours can be compared
_HOUR, _DAY, _MIN_WEEKS = 3_600 * SECOND, 86_400 * SECOND, 13 * 86_400 * SECOND  # two weekends at least
_MAX_VALUES, _MAX_GROUPS = 10, 1_000  # of a column, and of all columns together
_SWEEPS, _POSITIONS = 8, 50_000  # of the fit of the rates of hours and groups; of changes that are considered
_GRID, _STEPS = 768, (1, 2, 4, 8, 16, 32)  # parts of a log, and numbers of these in a stretch: 24 to 768 per log
_TINY = 1e-12  # instead of zero
_CHANCE, _ALIKE = 2.0, 0.2  # standard errors, and part of a change: the difference of messages that are alike
_BREAK = ((0.5, 0.8, 0.9, 0.95, 0.99, 0.999), (1.5, 4.7, 7.7, 11.0, 19.8, 33.8))  # quantiles of Yao's distribution
_INSTANTS = ("since_at", "since_low_at", "since_high_at", "until_at")
_SIDES = ("before_s", "after_s", "failed_before", "failed_after", "share_before", "share_after")
_DTYPES = {**dict.fromkeys(_INSTANTS, INSTANT), **dict.fromkeys(("kind", "metric"), "str"), "quantile": "float64"}
_DTYPES |= {**dict.fromkeys(_SIDES, "float64"), **dict.fromkeys(("hop", "column", "value"), "str")}
_DTYPES |= {"p_value": "float64", "n_before": "int64", "n_after": "int64", "summary": "str"}
_NOTE = (
    "In less than 3 days a change cannot be distinguished from the rhythm of a day; from 12 hours on none is reported."
)


def changes(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    quantiles: Sequence[float] | float = (0.5, 0.95),
    max_changes: int = 5,
    observed_from: Any = None,
    columns: Sequence[str] | None = None,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Find when the time to delivery, the share of failed messages, or the mix of the messages changed.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as returned by ``vk.journeys``, or events.
    by : str or sequence of str, optional
        Columns to group by: columns of ``journeys`` or ``messages``, ``hour`` or ``weekday``. Each group is searched
        on its own.
    start, end : str, default "accepted" and "delivered"
        The states between which the time is measured. ``end`` cannot be a failure: changes of the
        failed share are reported in any case.
    quantiles : float or sequence of float, default (0.5, 0.95)
        Quantiles of the time to ``end``; the one next to the part of the distribution that changed is reported.
    max_changes : int, default 5
        Largest number of changes of delivery per group, and of the mix. The beginning and the end of an incident are
        two.
    observed_from : instant or Series of instants by message id, optional
        The beginning of the observation where it is later than ``start`` (left truncation). By default the column
        ``observed_from`` of ``journeys``, if there is one.
    columns : sequence of str, optional
        Columns of ``journeys`` or ``messages`` whose mix is taken into account, such as ``country``; they must not
        depend on the outcome. By default all columns of ``journeys`` with text, categories or truth values, of two to
        ten different values, except those of :func:`journeys` and ``campaign``, and ``country``, ``content_type`` and
        ``rate_type`` of ``messages``, as long as there are at most 1,000 combinations.
    confidence : float, default 0.95
        1 minus the rate of false alarms: if nothing changed, a change of delivery is reported in at most
        ``1 - confidence`` of all logs, and so is a change of the mix.
    messages : DataFrame, optional
        Further columns to group by, joined by ``message_id``, for example ``archive.messages()``.
    tz : str, default "UTC"
        Time zone of the days and hours, and of ``summary``.

    Returns
    -------
    DataFrame
        One row per change in order of time, with the columns of ``by`` and:

        - ``since_at``: time at which the first message after the change entered ``start`` (UTC).
        - ``since_low_at``, ``since_high_at``: interval of that time.
        - ``until_at``: the end of an incident, NaT for a shift.
        - ``kind``: "incident" if the messages after the end are like those before the beginning, else "shift".
        - ``metric``: "time", "failed" or "mix", what changed.
        - ``quantile``: the quantile of the time, NaN for other metrics.
        - ``before_s``, ``after_s``: the quantile of the time to ``end`` of the messages that do not fail, in seconds,
          NaN where open messages could still reach it (see :mod:`viberkit.analysis`), and for other metrics.
        - ``failed_before``, ``failed_after``: share of failed messages, NaN for other metrics.
        - ``share_before``, ``share_after``: for "mix", share of the messages with this ``value`` of the ``column``.
        - ``hop``: for "time", the transition that changed most, such as "dispatched->delivered"; missing if there are
          no states between ``start`` and ``end``.
        - ``column``, ``value``: for "mix", what changed its share; else the only group whose messages changed, missing
          if others changed as well.
        - ``p_value``: probability that a log without any change shows a change as large.
        - ``n_before``, ``n_after``: number of messages.
        - ``summary``: the change as text.

        *Before* means from the previous change, or the beginning; *after* to the next change, or the end. ``attrs``
        hold ``by``, ``start``, ``end``, ``confidence`` and ``tz``, and for logs of less than three days ``of_note``.

    Raises
    ------
    MissingColumn
        A column of ``by``, of ``columns`` or of the journeys is missing.
    ValueError
        ``end`` is a failure, or an argument is out of range.

    Notes
    -----
    Messages are ordered by their start. Each has a score: whether it was delivered in some stage of its wait (before
    the median, from there to the third quartile, and so on), minus the probability of that while it was open and
    observed. These martingale residuals, as of the log-rank test, have mean zero, also for right-censored,
    left-truncated and failed messages. The probability has a factor for each hour of the day (of weekends and other
    days) and for each value of ``columns``, so that neither nights nor another mix of countries are changes of
    delivery. Changes of the mix itself are searched in the same way: the score is whether a message has a value.

    The largest distance of the cumulative sum of the scores from a straight line has Kolmogorov's distribution where
    nothing changed [1]_, if the variance of sums is known. Messages that are near each other are similar: outages,
    queues and days with their own speed make the variance of sums larger than that of independent messages. It is
    estimated from single messages, from stretches of 1/768 to 1/24 of the log (moving blocks [2]_), and from days, or
    stretches of 1/12 in logs of less than three days, after the changes are removed. The largest p-value of all of
    these is used, with as many degrees of freedom as there are stretches, or two to three times the days, and
    multiplied by the number of scores and of changes (Bonferroni).

    Candidates are found by bisection with a preliminary variance, one at a time or as the two ends of an incident; then
    the least certain is left out until all others are certain between their neighbours. The interval of ``since_at``
    is by the distribution of the most likely change of a Brownian motion with drift [3]_.

    The rhythm of a day is known only in logs of three days or more. No changes are searched in logs of half a day to
    three days, and those of shorter logs can be the rhythm; ``of_note`` says so. The rhythm of a week is known in logs
    of thirteen days or more; in shorter ones a weekend can be a change.

    Where dependence lasts longer than 1/24 of the log and than a day, such as weeks of different speed, more than
    ``1 - confidence`` of the logs show changes; so do short logs of few bursts, and logs of few days that differ much.
    An incident that is short in comparison with the log (less than a day in two weeks) is found only if it is severe.

    References
    ----------
    .. [1] Csörgő, M. and Horváth, L. (1997). Limit Theorems in Change-Point Analysis. Wiley.
    .. [2] Künsch, H. R. (1989). The jackknife and the bootstrap for general stationary observations. Annals of
       Statistics 17, 1217-1241.
    .. [3] Yao, Y.-C. (1987). Approximating the distribution of the maximum likelihood estimate of the change-point in
       a sequence of independent random variables. Annals of Statistics 15, 1321-1328.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> at = pd.Timestamp("2026-11-14T00:00:00Z") + pd.to_timedelta(np.arange(2000) * 5, unit="min")
    >>> seconds = rng.lognormal(0.5, 0.5, 2000) * np.where(np.arange(2000) < 1000, 1, 3)
    >>> journeys = pd.DataFrame({"message_id": np.arange(2000).astype("str"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta(seconds, unit="s"), "outcome": "delivered",
    ...     "observed_until": at[-1] + pd.Timedelta("1h")})
    >>> result = vk.changes(journeys)
    >>> result["summary"].tolist()
    ['since 17 Nov 11:20 p50 rose from 1.6 s to 4.9 s (between 17 Nov 10:50 and 17 Nov 11:50, p < 0.001)']
    """
    quantiles = check_shares(quantiles, "quantiles")
    options: dict[str, Any] = {"start": start, "end": end, "observed_from": observed_from, "tz": tz}
    options |= {"confidence": confidence, "messages": messages, "cluster": None}
    options["columns"] = group_names(columns)
    if columns is None and isinstance(journeys, EventCounts):
        options["columns"] = journeys._facts(_MAX_VALUES)
    observed = durations(journeys, "changes", by=by, **options)
    del observed.attrs["cluster"]  # dependence is taken into account below
    if not quantiles:
        raise ValueError("quantiles: is empty; pass e.g. 0.5")
    max_changes = int(check_number(max_changes, "max_changes", "a number from 0 up", "5", 0, 1e9))
    if observed.attrs["end"] == "failed":
        raise ValueError("end: changes of the failed share are always reported ('failed'); pass e.g. 'delivered'")
    names = _attributes(observed, messages) if columns is None else group_names(columns)
    groups = group_columns(observed.journeys, names, observed.started, messages, "changes", tz)
    coded = {name: factorize(groups, [name]) for name in names}
    values = [(name, code) for name, (frame, _) in coded.items() for code in range(len(frame))]

    def rows(part: Durations) -> Iterator[dict[str, Any]]:
        if len(part) < 2 * _MIN_MESSAGES or _DAY / 2 <= np.ptp(part.started) < _MIN_DAYS * _DAY:
            return
        # A time known only as an interval counts at its end.
        latest = replace(part, earliest=part.time, informative=None)
        ordered = latest.take(np.argsort(part.started, kind="stable"))
        hour, day = _rhythm(ordered.started, tz)
        name_of_group = group_name(part.groups.iloc[int(part.group[0])])
        codes = {name: code[ordered.row].astype(np.int64) for name, (_, code) in coded.items()}
        members = np.array([codes[name] == code for name, code in values])
        delivery = (_events(ordered), [hour, *codes.values()])
        mix, found = ([(member, np.ones(len(member))) for member in members], [hour]), []
        for events, strata in (delivery, mix) if values else (delivery,):
            changes, scores = _find(ordered.started, day, events, strata, 1 - confidence, max_changes)
            for change in changes:
                kind = "incident" if "until_at" in change.instants else "shift"
                row: dict[str, Any] = {"metric": "mix", "kind": kind, "p_value": change.p_value}
                row |= {name: instants(ordered.started[[entry]]).iloc[0] for name, entry in change.instants.items()}
                row |= {f"n_{name}": side.stop - side.start for name, side in change.sides.items()}
                if events is mix[0]:
                    group: int | None = change.score
                    row |= {f"share_{name}": members[group, side].mean() for name, side in change.sides.items()}
                else:
                    group = _responsible(change, scores[change.score], members)
                    row |= _delivery_change(ordered, change, quantiles)
                if group is not None:
                    name, code = values[group]
                    row |= {"column": name, "value": group_name([coded[name][0][name].iloc[code]])}
                found.append(row | {"summary": ": ".join(filter(None, [name_of_group, _summary(row, tz)]))})
        yield from sorted(found, key=lambda row: row["since_at"])

    result = estimate_rows(observed, _DTYPES, rows)
    if len(observed) and np.ptp(observed.started) < _MIN_DAYS * _DAY:
        result.attrs["of_note"] = _NOTE
    return result


def _attributes(observed: Durations, messages: pd.DataFrame | None) -> list[str]:
    """The columns of text, categories or truth values with few different values, and facts of the messages."""
    excluded = [*JOURNEYS.names, "campaign", *observed.attrs["by"]]
    frame = observed.journeys.drop(columns=excluded, errors="ignore").select_dtypes(["category", "str", "bool"])
    facts = pd.DataFrame() if messages is None else messages.reindex(columns=sorted({*MIX_COLUMNS} - {*frame}))
    sizes = pd.concat([frame.nunique(dropna=False), facts.nunique(dropna=False)])
    sizes = sizes[sizes.between(2, _MAX_VALUES)]
    return [str(name) for name in sizes.index[sizes.cumprod() <= _MAX_GROUPS]]


def _rhythm(started: Ints, tz: str) -> tuple[Ints, Ints]:
    """The hour of the day, on weekends another, and the day of each start; zero where the log is too short."""
    if (span := np.ptp(started)) < _MIN_DAYS * _DAY:
        return 0 * started, 0 * started
    local = instants(started).dt.tz_convert(tz).dt.tz_localize(None).to_numpy().view(np.int64)
    return local // _HOUR % 24 + 24 * ((local // _DAY + 3) % 7 >= 5) * (span >= _MIN_WEEKS), local // _DAY


def _events(part: Durations) -> list[_Event]:
    """For each stage and for failing, whether each message got there, and the cumulative hazard of that."""
    curve, last = part.curve, part.curve.at(part.time) + 1
    first = np.zeros(len(part), dtype=np.int64) if part.entry is None else curve.at(part.entry) + 1
    reached, competing = (np.append(0.0, np.cumsum(ended / np.maximum(curve.at_risk, 1))) for ended in curve.ended)
    ends = [int(curve.at(curve.quantile(stage * float(curve.share[0, -1])))) + 1 for stage in _STAGES[1:]]
    seen = np.ones(len(part), dtype=bool) if part.entry is None else part.entry < part.time  # others do not count
    events = list[_Event]()
    for begin, end in pairwise([0, *ends]):
        hazard = reached[np.clip(last, begin, end)] - reached[np.clip(first, begin, end)]
        events.append((seen & (part.cause == REACHED) & (last > begin) & (last <= end), hazard * seen))
    return [*events, (seen & (part.cause == COMPETING), (competing[last] - competing[first]) * seen)]


def _residual(observed: Bools, expected: Floats, strata: list[Ints]) -> Floats:
    """Observed minus expected numbers, the latter with a factor for each value of all strata but the last.

    The factors, with those of the last stratum, balance both numbers for each value of each stratum.
    """
    sizes = [int(stratum.max(initial=0)) + 1 for stratum in strata]
    cell, cells = np.ravel_multi_index(strata, sizes), int(np.prod(sizes))
    counts, hazard = (np.bincount(cell, number, cells) for number in (observed, expected))
    *others, last = np.unravel_index(np.arange(cells), sizes)
    factor, of_last = np.ones((2, cells))
    for _ in range(_SWEEPS):
        for values in (*others, last):
            fitted, target = np.bincount(values, hazard * factor * of_last), np.bincount(values, counts)
            ratio = np.divide(target, fitted, out=np.zeros(len(fitted)), where=fitted > 0)[values]
            factor, of_last = (factor, of_last * ratio) if values is last else (factor * ratio, of_last)
    factor *= counts.sum() / max(float(factor @ hazard), _TINY)
    return np.asarray(observed - factor[cell] * expected)


class _Change(NamedTuple):
    """A change of a score: the entries before and after, those of its instants, and the variance of the score."""

    sides: dict[str, slice]
    instants: dict[str, int]
    p_value: float
    score: int
    variance: float


class _Series(NamedTuple):
    """The sums of scores and of their squares, a row for each score, before some entries in order of their start.

    ``entry``: the index of the entries; ``allowed``: where a change can be; ``days``: where days begin, and the end.
    """

    entry: Ints
    allowed: Bools
    days: Ints
    sums: Floats
    squares: Floats

    def bridge(self, low: int, high: int) -> tuple[Floats, Floats]:
        """The sums between two positions minus a straight line, zero where no change can be; the sum of squares."""
        part, count = self.sums[:, low : high + 1], self.entry[low : high + 1] - self.entry[low]
        slope = (part[:, -1:] - part[:, :1]) / max(count[-1], 1)
        allowed = self.allowed[low : high + 1] & (np.minimum(count, count[-1] - count) >= _MIN_MESSAGES)
        squares = np.maximum(self.squares[:, high] - self.squares[:, low], _TINY)
        return np.where(allowed, part - part[:, :1] - slope * count, 0.0), squares


def _find(
    started: Ints, day: Ints, events: list[_Event], strata: list[Ints], alpha: float, max_changes: int
) -> tuple[list[_Change], Floats]:
    """The changes and the scores, which are computed again with the rates of the strata between the changes."""
    entry = np.append(np.arange(0, len(started), len(started) // _POSITIONS + 1), len(started))
    allowed = np.append(np.diff(started, prepend=started[0])[entry[:-1]] > 0, False)  # one instant stays together
    days = np.array([0, *(np.flatnonzero(np.diff(day[entry[:-1]])) + 1), len(entry) - 1])
    segment = np.zeros(len(started), dtype=np.int64)
    for _ in range(2):
        scores = np.array([_residual(*event, [*strata, segment]) for event in events])
        sums = (np.cumsum(values, axis=1)[:, entry[1:] - 1] for values in (scores, scores**2))
        series = _Series(entry, allowed, days, *(np.insert(values, 0, 0.0, axis=1) for values in sums))
        changes, cuts = _search(series, alpha, max_changes)
        segment = np.searchsorted(entry[cuts], np.arange(len(started)), side="right")
        if not cuts:
            break
    return changes, scores


def _search(series: _Series, alpha: float, max_changes: int) -> tuple[list[_Change], list[int]]:
    """Candidates by bisection; then the least certain is left out, until all are certain between their neighbours."""
    last, tests, cuts = len(series.entry) - 1, max(int((series.squares[:, -1] > 0).sum()), 1), list[int]()
    rough = _inflation(series, [0, last], rough=True)[0].max(axis=0)
    pending = [_candidates(series, 0, last, rough)]
    while pending and len(cuts) < max_changes:
        p_value, edges = pending.pop(pending.index(min(pending)))
        if tests * p_value > 2 * alpha:
            break
        cuts += edges[1:-1]
        pending += [_candidates(series, *pair, rough) for pair in pairwise(edges)]
    cuts.sort()
    while cuts:
        inflation, freedom = _inflation(series, [0, *cuts, last])
        scores, p_values = list[int](), list[float]()
        for index, high in enumerate([*cuts[1:], last]):
            low = cuts[index - 1] if index else 0
            bridge, squares = series.bridge(low, high)
            ratio = (bridge**2).max(axis=1) / (inflation * squares)
            chances = 2 * np.exp(-freedom / 2 * np.log1p(4 * ratio / freedom)).max(axis=0)
            scores.append(int(np.argmin(chances)))
            p_values.append(min(1.0, len(cuts) * tests * float(chances.min())))
            cuts[index] = low + int(np.argmax(np.abs(bridge[scores[-1]])))
        if max(p_values) <= alpha and len(cuts) <= max_changes:
            edges = [0, *cuts, last]
            return _describe(series, edges, p_values, scores, inflation.max(axis=0), 1 - alpha), cuts
        del cuts[int(np.argmax(p_values))]
    return [], []


def _inflation(series: _Series, edges: list[int], *, rough: bool = False) -> tuple[Floats, Floats]:
    """How many times dependence increases the variance of sums, by stretches and days, and the degrees of freedom.

    The changes at the edges are removed; ``rough`` takes differences of neighbouring stretches instead, on which few
    changes have an influence.
    """
    at, grid, fitted = series.entry[edges], np.linspace(0, series.entry[-1], _GRID + 1), len(edges) - 1
    residual = series.sums - np.array([np.interp(series.entry, at, row[edges]) for row in series.sums])
    values = np.array([np.interp(grid, series.entry, row) for row in residual])
    squares = np.maximum(series.squares[:, -1], _TINY)
    sums, freedom = [squares], [1e9]
    for step in _STEPS if len(series.days) > 2 else (*_STEPS, 64):
        free, moved = max(_GRID / step - fitted, 1.0), values[:, step:] - values[:, :-step]
        moved = (moved[:, step:] - moved[:, :-step]) / np.sqrt(2) if rough else moved
        sums.append((moved**2).mean(axis=1) * (_GRID / step) ** 2 / free)
        freedom.append(1.5 * free)
    if (days := len(series.days) - 1) > 1 and not rough:
        free = max(days - fitted, 1.0)
        sums.append((np.diff(residual[:, series.days]) ** 2).sum(axis=1) * days / free)
        freedom.append(min(max(free / 4, 2.0), 3.0) * free)  # by simulation
    return np.maximum(sums / squares, _TINY), np.array(freedom)[:, np.newaxis]


def _candidates(series: _Series, low: int, high: int, inflation: Floats) -> tuple[float, list[int]]:
    """The most likely change between two positions, or two that begin and end an incident, with a rough p-value."""
    bridge, squares = series.bridge(low, high)
    scale = 2 / (inflation * squares)
    single, span = (bridge**2).max(axis=1) * scale, np.ptp(bridge, axis=1) ** 2 * scale
    chances = 2 * np.exp(-single), np.where(span > 2, (4 * span - 2) * np.exp(-span), 1.0)
    rows = [bridge[np.argmin(chance)] for chance in chances]
    one, two = [int(np.argmax(np.abs(rows[0])))], sorted([int(np.argmax(rows[1])), int(np.argmin(rows[1]))])
    at = two if chances[1].min() < chances[0].min() else one
    return float(np.min(chances)), [low, *(low + cut for cut in at), high]


def _describe(
    series: _Series, edges: list[int], p_values: list[float], scores: list[int], inflation: Floats, confidence: float
) -> list[_Change]:
    """The changes between edges; two of them are an incident if the messages before and after are alike."""
    size = np.diff(series.entry[edges])
    means, result, index = np.diff(series.sums[:, edges], axis=1) / size, list[_Change](), 0
    while index < len(p_values):
        (begin, cut, end), score = edges[index : index + 3], scores[index]
        variance = float((inflation * series.bridge(begin, end)[1])[score] / size[index : index + 2].sum())
        shift, *back = abs(means[score, index + 1 : index + 3] - means[score, index])
        half = np.interp(confidence, *_BREAK) * variance / max(shift**2, _TINY)
        limits = np.searchsorted(series.entry, series.entry[cut] + np.array([-half, half])) - [1, 0]
        at = [cut, *np.clip(limits, begin, end - 1)]
        if back:
            error = _CHANCE * np.sqrt(variance * (1 / size[index] + 1 / size[index + 2]))
            at += [end] if back[0] <= min(shift / 2, max(error, _ALIKE * shift)) else []
        times = dict(zip(_INSTANTS, series.entry[at].tolist(), strict=False))
        sides = {"before": slice(*series.entry[[begin, cut]]), "after": slice(*series.entry[[cut, end]])}
        result.append(_Change(sides, times, p_values[index], score, variance))
        index += len(at) - 2
    return result


def _delivery_change(part: Durations, change: _Change, quantiles: list[float]) -> dict[str, Any]:
    """The failed shares before and after, or the quantile of the time that is next to the stage that changed."""
    sides = {name: part.take(np.arange(len(part))[side]) for name, side in change.sides.items()}
    if change.score == len(_STAGES) - 1:
        last = min(int(side.curve.time[-1]) for side in sides.values())
        shares = {f"failed_{name}": side.curve.share[1, side.curve.at(last)] for name, side in sides.items()}
        return {"metric": "failed", **shares}
    curves = {name: incidence(side.time, side.cause == REACHED, 1, side.entry) for name, side in sides.items()}
    highest = max(float(curve.share[0, -1]) for curve in curves.values())
    stage = np.mean(_STAGES[change.score : change.score + 2])
    quantile = min(quantiles, key=lambda share: (share > highest, abs(share - stage)))  # one that is known, if any
    # What is not reached is not known yet: open messages could reach it.
    times = {f"{name}_s": np.nan_to_num(x.quantile(quantile) / SECOND, posinf=np.nan) for name, x in curves.items()}
    return {"metric": "time", "quantile": quantile, "hop": _hop(part, change, quantile), **times}


def _hop(part: Durations, change: _Change, quantile: float) -> str:
    """The transition whose times changed most, if there are several."""
    path, ends = [f"{state}_at" for state in DELIVERY_PATH], [f"{part.attrs[end]}_at" for end in ("start", "end")]
    path = path[path.index(ends[0]) : path.index(ends[1]) + 1] if {*ends} <= {*path} else []
    at = {name: instants(instants_of(part.journeys, name)) for name in path if name in part.journeys}
    at = {name.removesuffix("_at"): times for name, times in at.items() if times.notna().mean() > 0.5}
    moved = {}
    for first, second in pairwise(at) if len(at) > 2 else ():
        took = (at[second] - at[first]).iloc[part.row]
        sides = [took.iloc[side].dropna() for side in change.sides.values()]
        moved[f"{first}->{second}"] = abs(float(np.diff([(x > took.quantile(quantile)).mean() for x in sides])[0]))
    return max(moved, key=moved.__getitem__, default="")


def _responsible(change: _Change, score: Floats, members: Bools) -> int | None:
    """The index of the group that changed, if the other messages certainly changed by less than half as much."""
    certain = {}
    for index, member in enumerate(members):
        inside, outside = ([score[at][chosen[at]] for at in change.sides.values()] for chosen in (member, ~member))
        if min(map(len, (*inside, *outside))) >= _MIN_MESSAGES:
            error = _CHANCE * np.sqrt(change.variance * sum(1 / len(side) for side in outside))
            moved, others = (abs(float(after.mean() - before.mean())) for before, after in (inside, outside))
            if others + error < moved / 2:
                certain[index] = moved
    return max(certain, key=certain.__getitem__, default=None)


def _summary(row: dict[str, Any], tz: str) -> str:
    at = {name: f"{(t := row[name].tz_convert(tz)).day} {t:%b %H:%M}" for name in _INSTANTS if name in row}
    when = f"from {at['since_at']} to {at['until_at']}" if "until_at" in at else f"since {at['since_at']}"
    group = f"{row['column']} {row['value']}" if "column" in row else ""
    kind = {"time": "", "failed": "failed_", "mix": "share_"}[row["metric"]]
    before, after = (row[f"{kind}{side}"] if kind else row[f"{side}_s"] for side in ("before", "after"))
    texts = [(percent if kind else time)(value) for value in (before, after)]
    before, after = np.nan_to_num([before, after], nan=np.inf)  # a time later than any observed
    verb = "rose" if after > before else "fell" if after < before else "changed"
    metric = {"time": percentile(row.get("quantile", 0)), "failed": "failed", "mix": f"the share of {group}"}
    details = f", most from {row['hop'].replace('->', ' to ')}" if row.get("hop") else ""
    details += f", only {group}" if group and row["metric"] != "mix" else ""
    p_value = f"p {'<' if row['p_value'] < 0.001 else '='} {max(row['p_value'], 0.001):.2g}"
    sure = f"(between {at['since_low_at']} and {at['since_high_at']}, {p_value})"
    return f"{when} {metric[row['metric']]} {verb} from {texts[0]} to {texts[1]}{details} {sure}"
