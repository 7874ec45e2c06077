"""Two or more groups of messages side by side: how much slower, how much less is delivered, and how sure that is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.durations import COMPETING, OPEN, REACHED, Durations, as_journeys, check_share, durations
from viberkit.analysis.formatting import UNITS, duration, percentile
from viberkit.analysis.grouping import BY, group_names
from viberkit.analysis.incidence import Floats, Incidence, incidence, mover
from viberkit.analysis.ordering import SECOND, Ints

__all__ = ["UnequalFollowUpWarning", "compare", "gray", "log_rank"]

_WITHIN = re.compile(r"(within|failed(?:[ _]within)?)[ _]?([0-9]+(?:\.[0-9]+)?)[ _]?(ms|s|min|h|d)")
_TWICE = 2.0
_LIKELY = 5  # so many messages must have been open for a follow-up to be judged


class UnequalFollowUpWarning(UserWarning):
    """Groups that are compared were watched for very different lengths of time."""


def compare(
    journeys: pd.DataFrame,
    other: pd.DataFrame | None = None,
    *,
    by: BY = None,
    metric: str | Sequence[str] = ("p50", "p90", "within 60 s"),
    baseline: Any = None,
    names: tuple[str, str] = ("first", "second"),
    start: str = "accepted",
    end: str = "delivered",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """How groups of messages differ from one of them: in quantiles of the time to delivery, and in what is delivered.

    ``journeys`` (or events) are cut into groups by the columns ``by`` (as in ``vk.delivery_curve``), each compared
    with ``baseline`` (the value of the group; a tuple with several columns), by default the largest; or two frames are
    given, called ``names``, and the second is compared with the first.

    ``metric``: ``"p95"``, a quantile of the time to ``end`` over all messages; ``"within 60 s"``, the share at
    ``end`` by then; ``"failed within 60 s"``, the share failed by then; ``"failed"``, by the last time that both know.

    One row a group and metric. Columns: ``group``, ``baseline``; ``text``: the effect in words; ``metric``, ``unit``
    (``s`` or ``share``); ``value``, ``baseline_value``; ``difference`` (value - baseline_value) with its interval
    ``low`` to ``high``, recovered from the intervals of both (Zou and Donner 2008; of shares, Newcombe's), infinite
    where a quantile is not reached or its interval open, NaN where not known yet; ``n``, ``n_baseline``; ``p_gray``:
    Gray's test of equal cumulative incidence (*A class of K-sample tests*, 1988), failures competing; ``p_logrank``:
    the log-rank test of equal rates of delivery among those still open. The tests are about the whole curves, the
    same for each metric.

    Warns with :class:`UnequalFollowUpWarning` where the open messages of one group were watched twice as long as those
    of the other, unless all that is asked is within times that both were watched for. Raises as ``vk.delivery_curve``,
    and ``ValueError`` for a metric or baseline that is none.

    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 60)
    >>> seconds = [*range(1, 31), *range(3, 33)]
    >>> trips = pd.DataFrame({"message_id": map(str, range(60)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta(seconds, unit="s"), "observed_until": at + pd.Timedelta("1h"),
    ...     "rate_type": ["transaction"] * 30 + ["promotion"] * 30})
    >>> found = compare(trips, by="rate_type", baseline="transaction", metric=["p50", "within 10 s"])
    >>> for text in found["text"]: print(text)
    promotion is 2 s slower at p50 (-5.6 s to 9.6 s), n = 30 and 30; the data do not tell them apart
    promotion has 6.7 points fewer delivered within 10 s (-16 to 28.5), n = 30 and 30; the data do not tell them apart
    """
    wanted = [_metric(one) for one in ([metric] if isinstance(metric, str) else metric)]
    check_share(confidence, "confidence")
    if other is not None:
        if group_names(by):
            raise ValueError("by: two frames are compared whole; pass one frame and by, or two frames without")
        log, by = _stacked(journeys, other, names), "_compared"
        baseline = names[0] if baseline is None else baseline
    else:
        log = journeys
        if not group_names(by):
            raise ValueError("by: nothing to compare; pass by='rate_type', say, or a second frame")
    told = durations(log, "compare", start=start, end=end, by=by, messages=messages, tz=tz)
    parts = [_Group(_label(named), part) for named, part in told.by_group() if len(part)]
    columns = "group baseline text metric unit value baseline_value difference low high n n_baseline p_gray p_logrank"
    base = _baseline(parts, baseline) if parts else None
    rows = []
    for one in parts:
        if base is not None and one is not base:
            if not all(0 < what.within_s < np.inf and _both_tell(one, base, what) for what in wanted):
                _watched_alike(one, base)
            tests = {"p_gray": gray(one.part, base.part), "p_logrank": log_rank(one.part, base.part)}
            counts = {"n": len(one.part), "n_baseline": len(base.part)}
            for what in wanted:
                row = {"group": one.name, "baseline": base.name, **_effect(one, base, what, confidence), **counts}
                rows.append({**row, "text": _words(row), **tests})
    made = pd.DataFrame(rows, columns=columns.split())
    kinds = dict.fromkeys(("value", "baseline_value", "difference", "low", "high", "p_gray", "p_logrank"), "float64")
    return made.astype({**kinds, "n": "int64", "n_baseline": "int64"})


@dataclass(frozen=True)
class _Metric:
    """What is compared: a ``quantile`` of the time to the end, or the share at an end ``within_s``."""

    name: str
    quantile: float = 0.0
    within_s: float = 0.0
    failed: bool = False


def _metric(text: str) -> _Metric:
    if match := re.fullmatch(r"p([0-9]+(?:\.[0-9]+)?)", text):
        quantile = float(match[1]) / 100
        if not 0 < quantile < 1:
            raise ValueError(f"metric: {text!r} is no quantile between p0 and p100; pass e.g. 'p95'")
        return _Metric(percentile(quantile), quantile=quantile)
    if text == "failed":
        return _Metric("failed", within_s=np.inf, failed=True)
    if match := _WITHIN.fullmatch(text):
        what = "failed within" if match[1].startswith("failed") else "within"
        within_s = float(match[2]) * dict(UNITS)[match[3]]
        return _Metric(f"{what} {match[2]} {match[3]}", within_s=within_s, failed=what != "within")
    raise ValueError(f"metric: {text!r} is none; pass e.g. 'p95', 'within 60 s', 'failed within 60 s' or 'failed'")


class _Group:
    """One group: its name, its messages and their curve."""

    def __init__(self, name: str, part: Durations) -> None:
        self.name, self.part = name, part
        self.curve: Incidence = part.curve()


def _stacked(one: pd.DataFrame, other: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names: {names!r} do not tell two frames apart; pass e.g. ('before', 'after')")
    frames = [as_journeys(log, "compare").assign(_compared=name) for log, name in zip((one, other), names, strict=True)]
    return pd.concat(frames, ignore_index=True)


def _label(named: dict[str, Any]) -> str:
    return " · ".join(str(value) for value in named.values())


def _baseline(parts: list[_Group], wanted: Any) -> _Group:
    if wanted is None:
        return max(parts, key=lambda one: len(one.part))
    name = " · ".join(map(str, wanted)) if isinstance(wanted, tuple) else str(wanted)
    for one in parts:
        if one.name == name:
            return one
    raise ValueError(f"baseline: {name!r} is no group; there are {', '.join(repr(one.name) for one in parts)}")


def _effect(one: _Group, base: _Group, what: _Metric, confidence: float) -> dict[str, Any]:
    """The values of both, their difference and its interval."""
    read = _time if what.quantile else _share
    within = what.within_s
    if np.isinf(within):  # the last time that both know of
        within = min(one.curve.time[-1], base.curve.time[-1]) / SECOND
    told = [np.array(read(group.curve, what, within, confidence)) for group in (one, base)]
    gap, low, high = (float(number) for number in mover(*told[0], *told[1]))
    if any(np.isnan(numbers[0]) for numbers in told):
        gap = low = high = np.nan
    values = {"value": float(told[0][0]), "baseline_value": float(told[1][0])}
    interval = {"difference": gap, "low": low, "high": high}
    return {"metric": what.name, "unit": "s" if what.quantile else "share", **values, **interval}


def _time(curve: Incidence, what: _Metric, within: float, confidence: float) -> list[float]:
    limits = curve.quantile_interval(what.quantile, 0, confidence)
    return [number / SECOND for number in (curve.quantile(what.quantile), *limits)]


def _share(curve: Incidence, what: _Metric, within: float, confidence: float) -> list[float]:
    end, when = int(what.failed), within * SECOND
    if not curve.covers(when):
        return [np.nan] * 3
    place = curve.at(when)
    low, high = curve.band(end, confidence)
    return [float(numbers[place]) for numbers in (curve.share[end], low, high)]


def _words(row: dict[str, Any]) -> str:
    """The effect in words, before any p-value."""
    name, gap, low, high = row["group"], row["difference"], row["low"], row["high"]
    counts = f", n = {row['n']:,} and {row['n_baseline']:,}"
    if np.isnan(row["value"]) or np.isnan(row["baseline_value"]):
        return f"{row['metric']} is not known yet of {name} or of {row['baseline']}{counts}"
    unclear = "; the data do not tell them apart" if low <= 0 <= high else ""
    if row["unit"] == "s":
        if not np.isfinite(gap):
            said = [
                duration(row[one]) if np.isfinite(row[one]) else "not reached" for one in ("value", "baseline_value")
            ]
            return f"{name} at {row['metric']}: {said[0]}, {row['baseline']}: {said[1]}{counts}"
        side, more = ("slower", 1) if gap >= 0 else ("faster", -1)
        ends = sorted((more * low, more * high))
        return f"{name} is {duration(abs(gap))} {side} at {row['metric']} ({_range(*ends)}){counts}{unclear}"
    what = row["metric"] if row["metric"].startswith("failed") else f"delivered {row['metric']}"
    side, more = ("more", 1) if gap >= 0 else ("fewer", -1)
    ends = sorted((more * low, more * high))
    points = [f"{100 * end:.1f}".removesuffix(".0") for end in (abs(gap), *ends)]
    return f"{name} has {points[0]} points {side} {what} ({points[1]} to {points[2]}){counts}{unclear}"


def _range(low: float, high: float) -> str:
    said = ["-∞" if low == -np.inf else duration(low), "∞" if high == np.inf else duration(high)]
    return f"{said[0]} to {said[1]}"


def _both_tell(one: _Group, base: _Group, what: _Metric) -> bool:
    return all(bool(group.curve.covers(what.within_s * SECOND)) for group in (one, base))


def _watched_alike(one: _Group, base: _Group) -> None:
    """Warn where the open messages of one were watched far longer than those of the other."""
    times = []
    for group in (one, base):
        left = (group.part.cause == OPEN).astype(np.int8)
        if left.sum() < _LIKELY:
            return
        times.append(incidence(group.part.time, left, 1, group.part.entry).quantile(0.5) / SECOND)
    if max(times) > _TWICE * min(times):
        longer, shorter = (one, base) if times[0] > times[1] else (base, one)
        text = f"compare: {longer.name} was watched for {_known(max(times))}, {shorter.name} for {_known(min(times))}"
        remedy = "compare what both had time for, e.g. metric='within 60 s', or cut the longer with observed_until"
        warnings.warn(
            f"{text} (medians): late deliveries are known of one only; {remedy}", UnequalFollowUpWarning, stacklevel=3
        )


def _known(seconds: float) -> str:
    return duration(seconds) if np.isfinite(seconds) else "longer than can be told"


def _counts(one: Durations, base: Durations) -> Iterator[Ints]:
    """At each time when anything happened: of each group those at risk, ended and failed."""
    times = np.unique(np.concatenate([part.time[part.cause != OPEN] for part in (one, base)]))
    for part in (one, base):
        curve = part.curve()
        place = np.searchsorted(curve.time, times)
        there = np.append(curve.time, -1)[place] == times
        for cause in (REACHED, COMPETING):
            yield np.where(there, np.append(curve.ended[cause - 1], 0)[place], 0)
        yield np.append(curve.at_risk, 0)[place] if part.entry is None else _late(part, times)


def _late(part: Durations, times: Ints) -> Ints:
    watched = part.entry < part.time if part.entry is not None else np.ones(len(part), dtype=bool)
    entered = np.searchsorted(np.sort(np.asarray(part.entry)[watched]), times, side="left")
    return np.asarray(entered - np.searchsorted(np.sort(part.time[watched]), times, side="left"))


def log_rank(one: Durations, base: Durations) -> float:
    """The p-value of the log-rank test: equal rates of reaching the end among those still open; failures censored.

    NaN where nothing tells the two apart (a group without messages, or nothing that ended).
    """
    met, _, risk, base_met, _, base_risk = _counts(one, base)
    some, all_risk = met + base_met, risk + base_risk
    use = (some > 0) & (all_risk > 1)
    some, risk, all_risk, met = some[use], risk[use], all_risk[use].astype(float), met[use]
    excess = (met - some * risk / all_risk).sum()
    part = risk / all_risk
    return _chance(excess, (some * part * (1 - part) * (all_risk - some) / (all_risk - 1)).sum())


def gray(one: Durations, base: Durations) -> float:
    """The p-value of Gray's test (1988): equal cumulative incidence of the end, failures competing.

    Its weights are one (rho = 0). NaN where nothing tells the two apart.
    """
    counts = list(_counts(one, base))
    met, lost, risk = (np.array([counts[place], counts[place + 3]], dtype=np.float64) for place in range(3))
    there = risk > 0
    safe = np.where(there, risk, 1.0)
    after = np.cumprod(np.where(there, (risk - met - lost) / safe, 1.0), axis=1)
    before = np.column_stack([np.ones(2), after[:, :-1]])
    alive = np.where(before > 0, before, 1.0)
    share = np.cumsum(np.where(there, before * met / safe, 0.0), axis=1)
    share_before = np.column_stack([np.zeros(2), share[:, :-1]])
    weight = np.where(there, risk / alive, 0.0)  # those at risk of the incidence, as if nobody had been censored
    whole = weight.sum(axis=0)
    pool = (weight * (1 - share_before)).sum(axis=0)
    ended = met.sum(axis=0)
    pooled = np.cumsum(_over(ended, whole))
    pooled_before = np.append(0.0, pooled[:-1]) if len(pooled) else pooled
    score = float((met[0] - ended * _over(weight[0] * (1 - share_before[0]), pool))[there[0]].sum())

    a = np.array([weight[0] * (1 - _over(weight[0], whole)), -weight[0] * _over(weight[1], whole)])
    c = np.cumsum(a * _over(ended, whole * (1 - pooled_before)), axis=1)
    # What each death of either kind adds to the variance, by group (Gray 1988, the variance of the score).
    keep = there & (ended > 0)
    lead = 1 - _over(np.broadcast_to(1 - pooled, after.shape), after, otherwise=0.0)
    lead = np.where(after > 0, lead, 1.0)
    ties = np.where(ended > 1, 1 - _over(ended - 1, whole * before - 1), 1.0)
    rate = np.where(keep, ties * before * _over(ended, whole * safe), 0.0)
    gap = a - lead * c
    v3, v2, v = lead**2 * rate, gap * lead * rate, gap**2 * rate
    keep = (after > 0) & (lost > 0)
    lead = _over(np.broadcast_to(1 - pooled, after.shape), after)
    ties = np.where(lost > 1, 1 - _over(lost - 1, safe - 1), 1.0)
    rate = np.where(keep, ties * before**2 * lost / safe**2, 0.0)
    v3, v2, v = v3 + lead**2 * rate, v2 - lead**2 * c * rate, v + (lead * c) ** 2 * rate
    last = c[:, -1] if c.shape[1] else np.zeros(2)
    variance = float((v.sum(axis=1) + last**2 * v3.sum(axis=1) + 2 * last * v2.sum(axis=1)).sum())
    return _chance(score, variance)


def _over(part: Any, whole: Any, otherwise: float = 0.0) -> Floats:
    """A ratio, where there is anything to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole != 0))


def _chance(excess: float, variance: float) -> float:
    """The chance of so much of an excess, were there no difference: chi-squared with one degree of freedom."""
    return float(special.chdtrc(1, excess**2 / variance)) if variance > 1e-12 else float("nan")
