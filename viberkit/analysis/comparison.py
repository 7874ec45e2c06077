"""Differences between groups of messages: in the time to delivery and in the share delivered, with intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.counts import EventCounts
from viberkit.analysis.durations import (
    FRAME,
    OPEN,
    Durations,
    as_journeys,
    check_shares,
    check_within,
    dependence_attrs,
    durations,
)
from viberkit.analysis.explain import MIX_COLUMNS, mix_note
from viberkit.analysis.formatting import duration, group_name, percent, percentile, points, signed, time
from viberkit.analysis.grouping import BY, factorize, group_columns, group_names
from viberkit.analysis.incidence import Floats, Incidence, difference_interval, incidence
from viberkit.analysis.ordering import SECOND, Ints
from viberkit.analysis.result import as_result
from viberkit.errors import suggestion

_UNEQUAL = 2.0  # times as long
_DRAWS = 10
_MAX_VALUES, _SHIFT = 20, 0.05  # values of a column, and the change of their part of the messages, for a change of mix
_MIN_OPEN = 5  # open messages from which the length of the observation is estimated
_SHARE_COLUMNS = ("share", "baseline_share", "share_difference", "share_low", "share_high")
_TIME_COLUMNS = ("value_s", "baseline_value_s", "difference_s", "low_s", "high_s")
_NUMBERS = ("within_s", "quantile", *_SHARE_COLUMNS, *_TIME_COLUMNS)
_DTYPES = {"group": "str", "baseline": "str", **dict.fromkeys(_NUMBERS, "float64"), "n": "int64", "baseline_n": "int64"}
_DTYPES |= {"p_gray": "float64", "p_logrank": "float64", "summary": "str"}


class MixShiftWarning(UserWarning):
    """All parts of the messages changed in one direction and the whole in the other; the text gives both readings."""


class UnequalFollowUpWarning(UserWarning):
    """Groups that are compared were observed for very different lengths of time."""


def compare(
    journeys: pd.DataFrame,
    *,
    other: pd.DataFrame | None = None,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: Sequence[float] | float = 60,
    quantiles: Sequence[float] | float = (0.5, 0.9),
    baseline: Any = None,
    names: tuple[str, str] = ("first", "second"),
    adjust: bool = True,
    shrink: bool = False,
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Compare groups of messages with a baseline: shares delivered within a time, and quantiles of the time.

    Either the groups of ``by`` are compared with one of them, or a second frame with the first.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as ``vk.journeys`` returns them, or events.
    other : DataFrame or EventLog, optional
        A second frame to compare with ``journeys``, instead of ``by``.
    by : str or sequence of str, optional
        Columns to group by: of ``journeys``, of ``messages``, or ``hour`` or ``weekday`` of the start.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state that is compared, in any dialect; ``"failed"`` compares failures.
    within : float or sequence of float, default 60
        Times since ``start``, in seconds, by which the shares are compared. ``inf`` for the last time at which both
        groups were observed.
    quantiles : float or sequence of float, default (0.5, 0.9)
        Shares of all messages, between 0 and 1, whose time is compared.
    baseline : str or tuple, optional
        The group to compare with: its value, or a tuple of values with several columns. By default the largest group,
        or the first of two frames.
    names : tuple of str, default ("first", "second")
        The names of the two frames.
    adjust : bool, default True
        With more than one comparison: whether all intervals hold at once with the confidence level (Bonferroni), and
        p-values are adjusted for their number (Holm). Otherwise each stands on its own.
    shrink : bool, default False
        Whether to add ``shrunk``: the value of each group, drawn towards the mean of all groups, more so where it is
        uncertain.
    observed_from : instant or Series of instants by message id, optional
        The beginning of the observation where it is later than ``start`` (left truncation). By default the column
        ``observed_from`` of ``journeys``, if there is one.
    confidence : float, default 0.95
        The confidence level of the intervals, between 0 and 1.
    cluster : str or None, default "auto"
        What makes messages depend on one another, which widens the intervals (see :mod:`viberkit.analysis`): the name
        of a column; by default ``campaign``, if there is one, and stretches of time. None: they are independent.
    messages : DataFrame, optional
        A frame with ``message_id`` and further columns to group by, such as ``archive.messages()``.
    tz : str, default "UTC"
        The time zone of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        For each group but the baseline one row per value of ``within``, then one per quantile:

        - ``group``, ``baseline``: names of the two groups
        - ``within_s``, ``share``, ``baseline_share``: time in seconds, and the shares that reached ``end`` by then;
          NaN in the rows of quantiles
        - ``share_difference``, ``share_low``, ``share_high``: share - baseline_share, and its interval
        - ``quantile``, ``value_s``, ``baseline_value_s``: share of all messages, and the times in seconds at which it
          is reached; NaN in the rows of ``within``
        - ``difference_s``, ``low_s``, ``high_s``: value_s - baseline_value_s, and its interval
        - ``n``, ``baseline_n``: messages of both groups
        - ``p_gray``: p-value of Gray's test of equal cumulative incidence, failures competing
        - ``p_logrank``: p-value of the log-rank test of equal rates among open messages, failures censored
        - ``shrunk``: with ``shrink``, the value drawn towards the mean of all groups
        - ``summary``: the difference as text

        The tests compare whole curves and are the same in all rows of a group. Differences are infinite where one
        quantile is not reached, NaN where a value cannot be known (see :mod:`viberkit.analysis`). ``attrs`` hold
        ``by``, ``start``, ``end``, ``confidence``, ``cluster`` and ``tz``.

    Raises
    ------
    MissingColumn
        If a frame lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, a time, a quantile, ``baseline``, ``names``, ``confidence`` or ``tz`` is invalid, if there is
        neither ``other`` nor ``by`` or both, or no message has the state ``start``.

    Warns
    -----
    MixShiftWarning
        If each country, content type or rate type changed in one direction and all messages in the other.
    UnequalFollowUpWarning
        If the open messages of one group were observed twice as long as those of the other, unless all results are
        shares at times for which both were observed.
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    delivery_curve : The curves that are compared.
    changes : When a series of messages changed.

    Notes
    -----
    The interval of a difference is recovered from the intervals of both estimates [1]_; of shares without censoring it
    is Newcombe's. Gray's test [2]_ uses weights of one (rho = 0). Intervals and tests take into account that messages
    depend on one another (see :mod:`viberkit.analysis`); where two groups share an outage, the interval is wider than
    it need be.

    ``attrs["family_note"]`` says how many intervals hold at once. The values of ``shrunk`` are those of empirical
    Bayes: of many groups, those that seem best and worst are so by chance in part.

    References
    ----------
    .. [1] Zou, G. and Donner, A. (2008). Construction of confidence limits about effect measures. Statistics in
       Medicine 27.
    .. [2] Gray, R. (1988). A class of K-sample tests for comparing the cumulative incidence of a competing risk.
       Annals of Statistics 16.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 60)
    >>> seconds = [*range(1, 31), *range(3, 33)]
    >>> journeys = pd.DataFrame({"message_id": map(str, range(60)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta(seconds, unit="s"), "observed_until": at + pd.Timedelta("1h"),
    ...     "rate_type": ["transaction"] * 30 + ["promotion"] * 30})
    >>> result = vk.compare(journeys, by="rate_type", baseline="transaction", within=10, quantiles=0.5)
    >>> for text in "; ".join(result["summary"]).split("; "): print(text)
    promotion: 27 % delivered within 10 s, transaction: 33 %
    difference −6.7 points (−28.5 to +16): no clear difference
    n = 30 and 30
    promotion: p50 17 s, transaction: 15 s
    difference +2 s (−5.6 s to +9.6 s): no clear difference
    n = 30 and 30
    """
    limits, levels = check_within(within, np.inf), check_shares(quantiles, "quantiles")
    if not limits and not levels:
        raise ValueError("within, quantiles: both are empty; pass e.g. within=60 or quantiles=0.5")
    frame, columns = journeys, by
    if other is not None:
        if group_names(by):
            raise ValueError("by: two frames are compared as a whole; pass either other or by")
        read = ["campaign" if cluster == "auto" else cluster, *MIX_COLUMNS, "message_id"]
        journeys, other = (as_journeys(frame, "compare", read) for frame in (journeys, other))
        frame, columns = _concatenate(journeys, other, names), FRAME
        baseline = names[0] if baseline is None else baseline
    elif not group_names(by):
        raise ValueError("by: there is nothing to compare; pass e.g. by='rate_type', or a second frame as other")
    options: dict[str, Any] = {"by": columns, "start": start, "end": end, "observed_from": observed_from, "split": ()}
    options |= {"confidence": confidence, "messages": messages, "tz": tz}
    data = durations(frame, "compare", cluster=cluster, **options)
    result = estimate_differences(data, baseline, limits, levels, adjust=adjust, shrink=shrink)
    result.attrs["by"] = group_names(by)
    sources: Iterable[Durations] = [data]
    if isinstance(frame, EventCounts):  # which would count by all columns at once
        mixed = [[name] for name in sorted(MIX_COLUMNS) if name in frame.columns]
        sources = (durations(frame, "compare", cluster=None, columns=names, **options) for names in mixed)
    notes = (_mix_note(source, result["baseline"].iloc[0], messages, limits, levels) for source in sources)
    if len(data.groups) == 2 and (note := next(filter(None, notes), "")):
        warnings.warn(f"compare: {note} Pass both sets to vk.explain.", MixShiftWarning, stacklevel=2)
        result.attrs["mix_note"] = note
    return result


def _mix_note(
    data: Durations, base_name: str, messages: pd.DataFrame | None, limits: list[float], quantiles: list[float]
) -> str:
    """Both readings, if all values of a column changed in one direction and all messages in the other; else empty."""
    known = {*data.journeys.columns, *(() if messages is None else messages.columns)}
    after, before = (
        part for _, part in sorted(data.by_group(), key=lambda group: group_name(group[0].values()) == base_name)
    )
    pooled = after.append(before).curve
    times = [min(time, float(pooled.time[-1])) for time in (*limits, *map(pooled.quantile, quantiles))]
    for name in sorted({*MIX_COLUMNS} & known):
        values = group_columns(data.journeys, [name], np.zeros(len(data.journeys), dtype=np.int64), messages, "compare")
        table, code = factorize(values, [name])
        counts = np.array([np.bincount(code[part.row], part.n, len(table)) for part in (before, after)])
        if not 2 <= len(table) <= _MAX_VALUES or not counts.all():
            continue
        weights = np.column_stack([np.ones(2), counts / counts.sum(axis=1, keepdims=True)])
        groups = pd.DataFrame(
            {"column": ["", *[name] * len(table)], "group": ["all messages", *table[name].astype("str")]}
        )
        curves = [
            [part.curve, *(part.take(code[part.row] == value).curve for value in range(len(table)))]
            for part in (before, after)
        ]
        for when in times if np.ptp(weights, axis=0).max() > _SHIFT else ():
            shares = np.array([[float(curve.share_at(when)[0]) for curve in side] for side in curves])
            if note := mix_note(groups, weights, shares, f"{data.attrs['end']} within {duration(when / SECOND)}"):
                return note
    return ""


def estimate_differences(
    observed: Durations,
    baseline: Any,
    limits: Sequence[float],
    quantiles: Sequence[float],
    *,
    adjust: bool = True,
    shrink: bool = False,
) -> pd.DataFrame:
    """The result of :func:`compare` from durations; ``limits`` are microseconds."""
    attrs, comparisons = observed.attrs, len(np.unique(observed.group)) - 1
    family = comparisons * (len(limits) + len(quantiles)) if adjust and comparisons > 1 else 1
    confidence = 1 - (1 - attrs["confidence"]) / family
    observed = replace(observed, attrs=attrs | {"confidence": confidence})
    groups = [(group_name(values.values()), part) for values, part in observed.by_group() if len(part)]
    base_name, base = _find_baseline(groups, baseline) if groups else ("", observed)
    others = [(name, part) for name, part in groups if part is not base]
    p_values = np.array([_p_values(part, base) for _, part in others])
    if family > 1:
        p_values = _holm(p_values)
        text = f"{comparisons} groups are compared with {base_name}: all {family} intervals hold at once"
        attrs = attrs | {"family_note": f"{text}, and p-values are adjusted for {p_values.size} tests."}
    rows = []
    for (name, part), (p_gray, p_logrank) in zip(others, p_values.tolist(), strict=True):
        curves = part.curve, base.curve
        if quantiles or not all(curve.covers(limit) for curve in curves for limit in limits):
            _check_follow_up([(name, part), (base_name, base)])
        shared = {"group": name, "baseline": base_name, "n": part.count(), "baseline_n": base.count()}
        shared |= {"p_gray": p_gray, "p_logrank": p_logrank}
        for limit in limits:
            when, text = limit, f"{limit / SECOND:g} s"
            if np.isinf(limit):  # the last time at which both groups were observed
                when = min(curve.time[-1] for curve in curves)
                text = duration(when / SECOND)
            values = _difference(*(np.array(curve.share_at(when, 0, confidence)) for curve in curves))
            summary = _summarize(shared, f"{observed.attrs['end']} within {text}", values, percent, points)
            row = shared | {"within_s": limit / SECOND, "summary": summary}
            rows.append(row | dict(zip(_SHARE_COLUMNS, values, strict=True)))
        for level in quantiles:
            values = _difference(*(np.array(curve.quantile_estimate(level, confidence)) for curve in curves))
            summary = _summarize(shared, percentile(level), values, time, signed)
            row = shared | {"quantile": level, "summary": summary}
            rows.append(row | dict(zip(_TIME_COLUMNS, values, strict=True)))
    result = pd.DataFrame(rows, columns=list(_DTYPES)).astype(_DTYPES)
    if shrink:
        all_curves = [part.curve for _, part in others] + [base.curve]
        estimates: list[list[Any]] = [
            *([curve.share_at(limit, 0, confidence) for curve in all_curves] for limit in limits),
            *([curve.quantile_estimate(level, confidence) for curve in all_curves] for level in quantiles),
        ]
        shrunk = [_shrink(np.array(estimate, dtype=np.float64), confidence)[:-1] for estimate in estimates]
        result.insert(len(result.columns) - 1, "shrunk", np.transpose(shrunk).ravel())
    return as_result(result, attrs | dependence_attrs([({"": name}, part) for name, part in groups]))


def _holm(p_values: Floats) -> Floats:
    """P-values adjusted for their number (Holm, *A simple sequentially rejective multiple test procedure*, 1979)."""
    order = np.argsort(p_values, axis=None)  # NaN is last
    known = np.count_nonzero(~np.isnan(p_values))
    adjusted = p_values.ravel()[order] * np.maximum(known - np.arange(len(order)), 1)
    result = np.empty(len(order))
    result[order] = np.minimum(np.fmax.accumulate(adjusted), 1.0)
    return np.asarray(np.where(np.isnan(p_values), np.nan, result.reshape(p_values.shape)))


def _shrink(estimates: Floats, confidence: float) -> Floats:
    """Estimates of groups, drawn towards their mean: empirical Bayes with normal errors.

    Each row is an estimate with its interval. The variance between the groups is that of DerSimonian and Laird
    (*Meta-analysis in clinical trials*, 1986). What is not known with an interval stays as it is.
    """
    result, low, high = np.where(np.isfinite(estimates), estimates, np.nan).T
    error = (high - low) / (2 * special.ndtri((1 + confidence) / 2))
    known = np.isfinite(result) & np.isfinite(error) & (error > 0)
    if np.count_nonzero(known) > 2:
        value, variance = result[known], error[known] ** 2
        mean, total = np.average(value, weights=1 / variance), (1 / variance).sum()
        excess = ((value - mean) ** 2 / variance).sum() - (len(value) - 1)
        between = max(excess / (total - (1 / variance**2).sum() / total), 0.0)
        mean = np.average(value, weights=1 / (between + variance))
        result[known] = mean + between / (between + variance) * (value - mean)
    return np.where(np.isfinite(estimates[:, 0]), result, estimates[:, 0])


def _concatenate(journeys: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names: {names!r} are not two different names; pass e.g. ('before', 'after')")
    frames = zip((journeys, other), names, strict=True)
    return pd.concat([frame.assign(**{FRAME: name}) for frame, name in frames], ignore_index=True)


def _find_baseline(groups: list[tuple[str, Durations]], baseline: Any) -> tuple[str, Durations]:
    if baseline is None:
        return max(groups, key=lambda group: group[1].count())
    requested = group_name(baseline if isinstance(baseline, tuple) else [baseline])
    for name, part in groups:
        if name == requested:
            return name, part
    names = [name for name, _ in groups]
    hint = suggestion(requested, names)
    raise ValueError(f"baseline: {requested!r} is not a group; {hint}pass one of {', '.join(map(repr, names))}")


def _difference(estimate: Floats, base: Floats) -> tuple[float, ...]:
    """Both values, their difference and its interval, from values with intervals; NaN where one is not known."""
    gap, low, high = (float(number) for number in difference_interval(*estimate, *base))
    if np.isnan(estimate[0]) or np.isnan(base[0]):
        gap = low = high = np.nan
    return float(estimate[0]), float(base[0]), gap, low, high


def _summarize(
    shared: dict[str, Any], what: str, values: tuple[float, ...], show: Callable[[float], str], sign: Callable[..., str]
) -> str:
    """Both values, and the difference of the group from the baseline with its interval, as a sentence."""
    group, baseline = shared["group"], shared["baseline"]
    value, base_value, gap, low, high = values
    counts = f"n = {shared['n']:,} and {shared['baseline_n']:,}"
    if np.isnan(value) or np.isnan(base_value):
        return f"{group} and {baseline}: {what} not known yet; {counts}"
    texts = f"{what} {show(value)}", show(base_value)
    if show is percent:
        texts = f"{show(value)} {what}", show(base_value)
    text = f"{group}: {texts[0]}, {baseline}: {texts[1]}"
    if not np.isfinite(gap):
        return f"{text}; {counts}"
    effect = "no clear difference"
    if low > 0 or high < 0:
        effect = ("faster", "slower")[gap > 0] if show is time else f"{('fewer', 'more')[gap > 0]} {what.split()[0]}"
    unit = "" if sign is signed else " points"
    return f"{text}; difference {sign(gap)}{unit} ({sign(low)} to {sign(high)}): {effect}; {counts}"


def _check_follow_up(groups: list[tuple[str, Durations]]) -> None:
    """Warn if the open messages of one group were observed for much longer than those of the other."""
    times: list[tuple[float, str]] = []
    for name, part in groups:
        is_open = part.cause == OPEN
        if part.count(is_open) < _MIN_OPEN:
            return
        observation = incidence(part.time, is_open.astype(np.int8), 1, part.entry, part.n)
        times.append((observation.quantile(0.5) / SECOND, name))
    (shortest_s, shorter_group), (longest_s, longer_group) = sorted(times)
    if longest_s > _UNEQUAL * shortest_s:
        longest = duration(longest_s) if np.isfinite(longest_s) else "longer than can be estimated"
        text = f"compare: {longer_group} was observed for {longest}, {shorter_group} for {duration(shortest_s)}"
        remedy = "pass e.g. within=60, quantiles=(), or an earlier observed_until to vk.journeys"
        text += f" (medians), so late deliveries are known in one group only; {remedy}"
        warnings.warn(text, UnequalFollowUpWarning, stacklevel=4)


def _risk_table(part: Durations, base: Durations) -> tuple[Ints, Ints, Ints]:
    """The messages that reached the end, that competed, and at risk: two rows, a column per time of an outcome."""
    times = np.unique(np.concatenate([group.time[group.cause != OPEN] for group in (part, base)]))
    reached, competing, at_risk = (np.zeros((2, len(times)), dtype=np.int64) for _ in range(3))
    for row, group in enumerate((part, base)):
        curve = group.curve
        index = np.searchsorted(curve.time, times)
        is_row = np.append(curve.time, -1)[index] == times
        reached[row], competing[row] = (np.where(is_row, np.append(ended, 0)[index], 0) for ended in curve.ended)
        at_risk[row] = np.append(curve.at_risk, 0)[index] if group.entry is None else _at_risk(group, times)
    return reached, competing, at_risk


def _at_risk(part: Durations, times: Ints) -> Ints:
    """The messages at risk at each time, of messages with late entry."""
    observed = part.take(np.asarray(part.entry) < part.time)
    rows = (np.searchsorted(times, values, side="right") for values in (np.asarray(observed.entry), observed.time))
    entered, ended = (np.bincount(row, observed.n, len(times) + 1) for row in rows)
    return np.cumsum(entered - ended)[:-1].astype(np.int64)


def log_rank(part: Durations, base: Durations) -> tuple[float, float]:
    """The score of the log-rank test and its variance: equal rates of reaching the end, failures censored."""
    reached, _, at_risk = _risk_table(part, base)
    all_reached, all_at_risk = reached.sum(axis=0), at_risk.sum(axis=0)
    use = (all_reached > 0) & (all_at_risk > 1)
    all_reached, total = all_reached[use], all_at_risk[use].astype(np.float64)
    share = at_risk[0][use] / total
    excess = (reached[0][use] - all_reached * share).sum()
    return excess, (all_reached * share * (1 - share) * (total - all_reached) / (total - 1)).sum()


def gray(part: Durations, base: Durations) -> tuple[float, float]:
    """The score of Gray's test (1988) and its variance: equal cumulative incidence, with weights of one."""
    reached, competing, risk = (counts.astype(np.float64) for counts in _risk_table(part, base))
    any_risk = risk > 0
    safe_risk = np.where(any_risk, risk, 1.0)
    after = np.cumprod(np.where(any_risk, (risk - reached - competing) / safe_risk, 1.0), axis=1)
    before = np.column_stack([np.ones(2), after[:, :-1]])
    share = np.cumsum(np.where(any_risk, before * reached / safe_risk, 0.0), axis=1)
    share_before = np.column_stack([np.zeros(2), share[:, :-1]])
    weight = np.where(any_risk, risk / np.where(before > 0, before, 1.0), 0.0)  # at risk, had none been censored
    total = weight.sum(axis=0)
    pool = (weight * (1 - share_before)).sum(axis=0)
    ended = reached.sum(axis=0)
    pooled = np.cumsum(_ratio(ended, total))
    pooled_before = np.append(0.0, pooled)[:-1]
    expected = ended * _ratio(weight[0] * (1 - share_before[0]), pool)
    score = float((reached[0] - expected)[any_risk[0]].sum())

    a = np.array([weight[0] * (1 - _ratio(weight[0], total)), -weight[0] * _ratio(weight[1], total)])
    c = np.cumsum(a * _ratio(ended, total * (1 - pooled_before)), axis=1)
    # the contributions of both outcomes to the variance of the score, by group
    ties = np.where(ended > 1, 1 - _ratio(ended - 1, total * before - 1), 1.0)
    rate = np.where(any_risk & (ended > 0), ties * before * _ratio(ended, total * safe_risk), 0.0)
    ties = np.where(competing > 1, 1 - _ratio(competing - 1, safe_risk - 1), 1.0)
    rate_competing = np.where((after > 0) & (competing > 0), ties * before**2 * competing / safe_risk**2, 0.0)
    lead, still_to_come = _ratio(1 - pooled, after), c[:, -1:] - c
    variance = rate * (a + (1 - lead) * still_to_come) ** 2 + rate_competing * (lead * still_to_come) ** 2
    return score, float(variance.sum())


def _ratio(part: Any, whole: Any) -> Floats:
    """A ratio, zero where the denominator is."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.asarray(np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0))


def _p_values(part: Durations, base: Durations) -> list[float]:
    """The p-values of Gray's and of the log-rank test."""
    effects = part.append(base).score_effects(np.repeat([1, 0], [len(part), len(base)]))
    return [p_value(test, part, base, *effect) for test, effect in zip((gray, log_rank), effects, strict=True)]


def p_value(
    test: Callable[[Durations, Durations], tuple[float, float]],
    part: Durations,
    base: Durations,
    effect: float = 1.0,
    freedom: float = np.inf,
) -> float:
    """The p-value of a test by the chi-squared distribution; NaN where there is no evidence.

    There is none where *seen* proves deliveries without a time: nothing tells where between the bounds they were.

    The variance is multiplied by the design effect of the score, with the degrees of freedom of Student's distribution.
    Where times are intervals, the test is that of exact times drawn from the estimate of
    both groups together, which is the one under the null hypothesis; the variance between the draws is added (Pan, *A
    multiple imputation approach to Cox regression with interval-censored data*, 2000).
    """
    if any(group.informative is not None and group.informative.any() for group in (part, base)):
        return float("nan")
    draws = [(part, base)]
    if any((group.earliest < group.time).any() for group in (part, base)):
        pooled, random = part.append(base).curve, np.random.default_rng(0)
        draws = [(_draw(part, pooled, random), _draw(base, pooled, random)) for _ in range(_DRAWS)]
    scores, variances = np.transpose([test(*draw) for draw in draws])
    variance = variances.mean() + (scores.var(ddof=1) * (1 + 1 / _DRAWS) if len(draws) > 1 else 0.0)
    if variance <= 1e-12:
        return float("nan")
    error = float(np.sqrt(variance * effect))
    return 2 * float(special.stdtr(freedom, -abs(scores.mean()) / error))


def _draw(part: Durations, pooled: Incidence, random: np.random.Generator) -> Durations:
    """The same messages with an exact time for each interval."""
    if part.n is not None:
        part = replace(part.take(np.repeat(np.arange(len(part)), part.n.astype(np.int64))), n=None)
    time, earliest = part.time.copy(), part.earliest
    if part.entry is not None:
        earliest = np.clip(part.entry, earliest, time)
    for kind, share in enumerate(pooled.share):
        rows = np.flatnonzero((earliest < time) & (part.cause == kind + 1))
        low, high = share[pooled.at(earliest[rows])], share[pooled.at(time[rows])]
        drawn = np.searchsorted(share, low + random.random(len(rows)) * (high - low), side="right")
        time[rows] = np.clip(pooled.time[np.minimum(drawn, len(share) - 1)], earliest[rows], time[rows])
    return replace(part, time=time, earliest=time)
