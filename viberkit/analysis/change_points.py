"""Change points: since when deliveries take longer, or more messages fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.durations import COMPETING, REACHED, Durations, check_shares, durations, estimate_rows
from viberkit.analysis.formatting import group_name, percent, percentile, time
from viberkit.analysis.grouping import BY
from viberkit.analysis.incidence import Floats, Incidence, incidence
from viberkit.analysis.ordering import SECOND, Ints, instants
from viberkit.frames.schema import INSTANT

_STAGES = (0.0, 0.5, 0.75, 0.9, 1.0)  # shares of the deliveries at which the stages of the wait begin and end
_MIN_MESSAGES = 40  # on either side of a change
_MIN_DAYS = 3  # of a log whose hours of the day differ from changes recognisably
_SIMILAR = 0.8  # of the quantiles that moved at least this part of the largest movement, the highest is reported
_CERTAIN = 3.0  # standard errors
_EQUAL = 1 - 1e-9  # sums of numbers in another order differ by less: the earlier of two equal changes is reported
_HOUR = 3_600 * SECOND
_SIDES = ("before_s", "after_s", "failed_before", "failed_after")
_DTYPES = {"since_at": INSTANT, "metric": "str", "quantile": "float64", **dict.fromkeys(_SIDES, "float64")}
_DTYPES |= {"p_value": "float64", "n_before": "int64", "n_after": "int64", "summary": "str"}


def changes(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    quantiles: Sequence[float] | float = (0.5, 0.95),
    max_changes: int = 5,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Find when the time to delivery or the share of failed messages changed.

    Parameters
    ----------
    journeys : DataFrame
        Journeys as returned by ``vk.journeys``, or events.
    by : str or sequence of str, optional
        Columns to group by: columns of ``journeys`` or ``messages``, ``hour`` or ``weekday``. Each group is searched
        on its own.
    start, end : str, default "accepted" and "delivered"
        The states between which the time is measured. ``end`` cannot be a failure: changes of the
        failed share are reported in any case.
    quantiles : float or sequence of float, default (0.5, 0.95)
        Quantiles of the time to ``end``; the one that moved most is reported.
    max_changes : int, default 5
        Largest number of changes per group.
    confidence : float, default 0.95
        1 minus the rate of false alarms: if nothing changed, a change is reported in at most ``1 - confidence`` of
        all logs.
    messages : DataFrame, optional
        Further columns to group by, joined by ``message_id``, for example ``archive.messages()``.
    tz : str, default "UTC"
        Time zone of the hours of the day and of ``summary``.

    Returns
    -------
    DataFrame
        One row per change in order of time, with the columns of ``by`` and:

        - ``since_at``: time at which the first message after the change entered ``start`` (UTC).
        - ``metric``: "time" or "failed", whichever moved with more certainty.
        - ``quantile``: the quantile of the time, NaN for "failed".
        - ``before_s``, ``after_s``: the quantile of the time to ``end`` of the messages that do not fail, in seconds,
          NaN where open messages could still reach it (see :mod:`viberkit.analysis`), and for "failed".
        - ``failed_before``, ``failed_after``: share of failed messages, NaN for "time".
        - ``p_value``: probability that a log without any change shows a change as large.
        - ``n_before``, ``n_after``: number of messages.
        - ``summary``: the change as text.

        *Before* means from the previous change, or the beginning; *after* to the next change, or the end.

    Raises
    ------
    MissingColumn
        A column of ``by`` or of the journeys is missing.
    ValueError
        ``end`` is a failure, or an argument is out of range.

    Notes
    -----
    Messages are ordered by their start. Each has a score: whether it was delivered in some stage of its wait (before
    the median, from there to the third quartile, and so on), minus the probability of that by the rates of all
    messages, while it was open and observed. These martingale residuals, as of the log-rank test, have mean zero, also
    for right-censored and failed messages. The largest distance of their cumulative sum from zero, divided by the
    square root of the number of messages and the standard deviation of a score, has Kolmogorov's distribution where
    nothing changed [1]_ [2]_. The smallest p-value of all stages and of the failures is used, multiplied by the number
    of tests
    (Bonferroni). A change splits the log, and both parts are searched again.

    The hours of the day have rates of their own in logs of three days or more, otherwise each night would be a change;
    in shorter logs the two cannot be distinguished. The standard deviation is that of neighbouring blocks of messages
    where it is larger, because messages that are sent in bursts have correlated times.

    References
    ----------
    .. [1] Page, E. S. (1954). Continuous inspection schemes. Biometrika 41, 100-115.
    .. [2] Csörgő, M. and Horváth, L. (1997). Limit Theorems in Change-Point Analysis. Wiley.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> at = pd.Timestamp("2026-11-14T00:00:00Z") + pd.to_timedelta(np.arange(2000), unit="min")
    >>> seconds = rng.lognormal(0.5, 0.5, 2000) * np.where(np.arange(2000) < 1000, 1, 3)
    >>> journeys = pd.DataFrame({"message_id": np.arange(2000).astype("str"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta(seconds, unit="s"), "outcome": "delivered",
    ...     "observed_until": at[-1] + pd.Timedelta("1h")})
    >>> vk.changes(journeys)["summary"].tolist()
    ['since 14 Nov 16:40 p95 rose from 3.7 s to 12 s']
    """
    quantiles = check_shares(quantiles, "quantiles")
    options: dict[str, Any] = {"start": start, "end": end, "confidence": confidence, "tz": tz}
    observed = durations(journeys, "changes", by=by, messages=messages, **options)
    if observed.attrs["end"] == "failed":
        raise ValueError("end: changes of the failed share are always reported ('failed'); pass e.g. 'delivered'")
    return _estimate(observed, quantiles, max_changes)


def _estimate(observed: Durations, quantiles: list[float], max_changes: int) -> pd.DataFrame:
    alpha, tz = 1 - observed.attrs["confidence"], observed.attrs["tz"]

    def rows(part: Durations) -> Iterator[dict[str, Any]]:
        # A time known only as an interval counts at its end.
        latest = replace(part, earliest=part.time, informative=None)
        ordered = latest.take(np.argsort(part.started, kind="stable"))
        cuts = _search(ordered, alpha, max_changes, tz)
        edges = [0, *(cut for cut, _ in cuts), len(ordered)]
        for index, (cut, p_value) in enumerate(cuts):
            before, after = (ordered.take(np.arange(*edges[side : side + 2])) for side in (index, index + 1))
            row = _largest_change(before, after, quantiles)
            since = instants(ordered.started[[cut]]).iloc[0]
            yield {**row, "since_at": since, "p_value": p_value, "summary": _summary(row, since.tz_convert(tz))}

    result = estimate_rows(observed, _DTYPES, rows)
    if names := observed.attrs["by"]:
        groups = [group_name(values) for values in result[names].itertuples(index=False)]
        result["summary"] = pd.Series(groups, dtype="str") + ": " + result["summary"]
    return result


def _search(part: Durations, alpha: float, max_changes: int, tz: str) -> list[tuple[int, float]]:
    """The first entry after each change and its p-value: located by bisection, then tested between its neighbours.

    The entries are in order of their start.
    """
    hour = np.zeros(len(part), dtype=np.int64)
    if len(part) and part.started[-1] - part.started[0] >= _MIN_DAYS * 24 * _HOUR:
        hour = instants(part.started).dt.tz_convert(tz).dt.hour.to_numpy(dtype=np.int64)

    def strongest(low: int, high: int) -> tuple[int, float]:
        cut, p_value = _strongest_change(part.take(np.arange(low, high)), hour[low:high])
        return low + cut, p_value

    cuts: list[int] = []
    segments = [(0, len(part), alpha)]
    while segments and len(cuts) < max_changes:
        low, high, level = segments.pop(0)
        cut, p_value = strongest(low, high)
        if p_value <= level:
            cuts.append(cut)
            segments += [(low, cut, level / 2), (cut, high, level / 2)]
    cuts.sort()
    result: list[tuple[int, float]] = []
    for high in [*cuts[1:], len(part)][: len(cuts)]:
        cut, p_value = strongest(result[-1][0] if result else 0, high)
        if p_value <= alpha:
            result.append((cut, p_value))
    return result


def _strongest_change(part: Durations, hour: Ints) -> tuple[int, float]:
    """The first entry after the change with the smallest p-value, and that p-value."""
    if part.count() < 2 * _MIN_MESSAGES:
        return 0, 1.0
    count = np.arange(len(part) + 1) if part.n is None else np.append(0, np.cumsum(part.n))
    allowed = (count[1:] >= _MIN_MESSAGES) & (count[-1] - count[1:] >= _MIN_MESSAGES)
    allowed[:-1] &= np.diff(part.started) > 0  # messages of one instant stay together
    best = 0, 1.0
    if not allowed.any():
        return best
    scores = _scores(part, hour)
    for score in scores:
        weighted = score if part.n is None else part.n * score
        sums = np.zeros(len(count))
        np.cumsum(weighted, out=sums[1:])
        deviation = _standard_deviation(float(weighted @ score), sums, count)
        distance = np.where(allowed, np.abs(sums[1:]), 0.0)
        last = int(np.argmax(distance >= _EQUAL * distance.max()))
        if deviation > 0:
            p_value = len(scores) * float(special.kolmogorov(distance[last] / (deviation * np.sqrt(count[-1]))))
            if p_value < _EQUAL * best[1]:
                best = last + 1, p_value
    return best


def _scores(part: Durations, hour: Ints) -> Floats:
    """For each stage and for failing, whether each message got there, minus the cumulative hazard of its hour."""
    scores = np.zeros((len(_STAGES), len(part)))
    for value in np.unique(hour):
        chosen = np.flatnonzero(hour == value)
        messages = part.take(chosen)
        curve = messages.curve
        entry = np.full(len(messages), -1) if messages.entry is None else messages.entry
        reached, competing = (np.append(0.0, np.cumsum(ended / np.maximum(curve.at_risk, 1))) for ended in curve.ended)
        begin = -1.0
        for index, stage in enumerate(_STAGES[1:]):
            end = curve.quantile(stage * float(curve.share[0, -1]))
            last, first = (curve.at(np.clip(times, begin, end)) + 1 for times in (messages.time, entry))
            in_stage = (messages.cause == REACHED) & (messages.time > begin) & (messages.time <= end)
            scores[index, chosen] = in_stage - (reached[last] - reached[first])
            begin = end
        hazard = competing[curve.at(messages.time) + 1] - competing[curve.at(entry) + 1]
        scores[-1, chosen] = (messages.cause == COMPETING) - hazard
    return scores


def _standard_deviation(squares: float, sums: Floats, count: Ints) -> float:
    """The standard deviation of one score, from single messages or from blocks, whichever is larger."""
    total = int(count[-1])
    block = max(2, round(total ** (1 / 3)))
    means = np.diff(np.interp(np.arange(0, total + 1, block), count, sums)) / block
    of_blocks = block * float(np.mean(np.diff(means) ** 2)) / 2 if len(means) > 1 else 0.0
    return float(np.sqrt(max(squares / total, of_blocks)))


def _largest_change(before: Durations, after: Durations, quantiles: list[float]) -> dict[str, Any]:
    """The metric that moved most between two stretches of those that moved with certainty."""
    sides = (before, after)
    delivered = [incidence(side.time, side.cause == REACHED, 1, side.entry, side.n) for side in sides]
    certainty, size, rows = [], [], []
    for quantile in quantiles:
        seconds = [curve.quantile_estimate(quantile)[0] for curve in delivered]
        times = [curve.quantile(quantile) for curve in delivered]
        certainty.append(_standard_errors(delivered, 0, min(times)))
        # A time that is not known is later than every time observed.
        latest = [max(float(curve.time[-1]), min(times)) for curve in delivered]
        log_before, log_after = (math.log1p(min(pair)) for pair in zip(times, latest, strict=True))
        size.append(abs(log_after - log_before) if np.isfinite(min(times)) else 0.0)
        rows.append({"metric": "time", "quantile": quantile, "before_s": seconds[0], "after_s": seconds[1]})
    curves = [side.curve for side in sides]
    last = min(int(curve.time[-1]) for curve in curves)
    if _standard_errors(curves, 1, last) > max(certainty):
        failed = [float(curve.share[1, curve.at(last)]) for curve in curves]
        chosen: dict[str, Any] = {"metric": "failed", "failed_before": failed[0], "failed_after": failed[1]}
    else:
        change_sizes = np.where(np.array(certainty) >= min(_CERTAIN, max(certainty)), size, -1.0)
        chosen = rows[int(np.flatnonzero(change_sizes >= _SIMILAR * change_sizes.max())[-1])]
    return {**chosen, "n_before": before.count(), "n_after": after.count()}


def _standard_errors(curves: Sequence[Incidence], end: int, time: float) -> float:
    """The difference between the shares of two curves at a time, in standard errors."""
    if not np.isfinite(time):
        return 0.0
    shares = [float(curve.share[end, curve.at(time)]) for curve in curves]
    variances = [float(curve.precision(end).variance[curve.at(time)]) for curve in curves]
    variances += [1.0 / max(float(curve.at_risk[0]), 1.0) ** 2 for curve in curves]  # never zero
    return abs(shares[0] - shares[1]) / float(np.sqrt(sum(variances)))


def _summary(row: dict[str, Any], since: pd.Timestamp) -> str:
    if row["metric"] == "time":
        metric, before, after = percentile(row["quantile"]), row["before_s"], row["after_s"]
        texts = [time(before), time(after)]
        before, after = np.nan_to_num([before, after], nan=np.inf)  # later than any time observed
    else:
        metric, before, after = "failed", row["failed_before"], row["failed_after"]
        texts = [percent(before), percent(after)]
    verb = "rose" if after > before else "fell" if after < before else "changed"
    return f"since {since.day} {since:%b %H:%M} {metric} {verb} from {texts[0]} to {texts[1]}"
