"""Delivery curves and quantiles of the time to delivery, of all messages, with open messages right-censored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.durations import (
    COMPETING,
    OPEN,
    REACHED,
    Durations,
    check_shares,
    check_within,
    durations,
    estimate_by_group,
    estimate_rows,
)
from viberkit.analysis.formatting import duration, interval, percentile
from viberkit.analysis.grouping import BY
from viberkit.analysis.incidence import BANDS
from viberkit.analysis.journeys import FAILED_STATES
from viberkit.analysis.ordering import SECOND
from viberkit.errors import suggestion


def delivery_curve(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    band: str = "score",
    simultaneous: tuple[float, float] | None = None,
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate the shares of messages delivered, failed and still open over the time since the start.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as ``vk.journeys`` returns them, or events.
    by : str or sequence of str, optional
        Columns to group by: of ``journeys``, of ``messages``, or ``hour`` or ``weekday`` of the start.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state whose share is estimated, in any dialect. Failure competes with it; with ``end="failed"``, delivery
        does.
    band : {"score", "exact", "log-log", "linear"}, default "score"
        The kind of confidence band, with the effective sample size: Wilson's score interval (best coverage), Clopper
        and Pearson's, or normal on the scale of log(-log(1 - share)) or of the share.
    simultaneous : tuple of float, optional
        Two times in seconds, such as ``(1, 600)``: the band holds everywhere between them at once, with the confidence
        level, and ``"score"`` means ``"exact"``. By default it holds at each time on its own.
    observed_from : instant or Series of instants by message id, optional
        The beginning of the observation where it is later than ``start`` (left truncation). By default the column
        ``observed_from`` of ``journeys``, if there is one.
    confidence : float, default 0.95
        The confidence level of the bands, between 0 and 1.
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
        One row per group for zero and for each time at which a message ended or was censored:

        - the columns of ``by``
        - ``time_s``: time since ``start``, in seconds
        - ``delivered``, ``delivered_low``, ``delivered_high``, ``delivered_se``: share of all messages delivered by
          then, its pointwise band and its standard error; named after ``end``
        - ``failed``, ``failed_low``, ``failed_high``, ``failed_se``: the same of the competing outcome (``delivered``
          with ``end="failed"``)
        - ``open``: share neither delivered nor failed
        - ``at_risk``: messages observed and open just before
        - ``n_delivered``, ``n_failed``, ``n_censored``: messages that were delivered, that failed, and whose
          observation ended, at that time
        - ``delivered_earliest``: the share if all that is known only to lie in an interval were at its beginning
        - ``n_interval``: messages delivered at that time whose time is known only as an interval, because a poll or a
          later state revealed it

        ``attrs`` hold ``by``, ``start``, ``end``, ``other`` (the competing outcome), ``confidence``, ``band`` (a
        description) and ``tz``.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, ``band``, ``confidence`` or ``tz`` is invalid, or no message has the state ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    time_to : Quantiles of the same curve.
    over_time : The same estimate window by window.

    Notes
    -----
    The estimator is that of Aalen and Johansen [1]_, exact with ties; without failures it equals one minus the
    Kaplan-Meier estimator. Open messages are right-censored at ``observed_until``, which assumes that the length of
    the observation does not depend on the time to delivery. A message that failed and was delivered later counts as
    delivered. The standard error is that of the delta method [2]_ (without failures, Greenwood's); the default band
    uses the effective sample size [3]_.

    A time known only as an interval, from polls or from a coarse clock, is an interval in the estimate: the
    nonparametric maximum likelihood [4]_, with failure competing. It cannot tell where inside an interval its share
    lies: if all messages are polled at the same times after acceptance, nothing is known between them. Numbers of
    messages are expected numbers then.

    Of *seen* without *delivered*, the time of *seen* depends on that of the delivery, which this likelihood excludes.
    The limits are those with all such deliveries at the end of their intervals and at the beginning. The estimate is
    that of the other messages, as if the delivery events were missing at random; NaN if all are.

    References
    ----------
    .. [1] Aalen, O. and Johansen, S. (1978). An empirical transition matrix for non-homogeneous Markov chains based on
       censored observations. Scandinavian Journal of Statistics 5.
    .. [2] Dinse, G. and Larson, M. (1986). A note on semi-Markov models for partially censored data. Biometrika 73.
    .. [3] Dorey, F. and Korn, E. (1987). Effective sample sizes for confidence intervals for survival probabilities.
       Statistics in Medicine 6.
    .. [4] Turnbull, B. (1976). The empirical distribution function with arbitrarily grouped, censored and truncated
       data. Journal of the Royal Statistical Society B 38.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 2, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"], "observed_until": at + pd.Timedelta("9s")})
    >>> vk.delivery_curve(journeys)[["time_s", "delivered", "failed", "open", "at_risk", "n_censored"]]
       time_s  delivered  failed  open  at_risk  n_censored
    0     0.0       0.00     0.0  1.00        4           0
    1     1.0       0.25     0.0  0.75        4           0
    2     2.0       0.75     0.0  0.25        3           0
    3     9.0       0.75     0.0  0.25        1           1
    """
    if simultaneous is not None:
        times = check_within(simultaneous)
        if len(times) != 2 or times[0] >= times[1]:
            raise ValueError(f"simultaneous: {simultaneous!r} are not two times in order; pass e.g. (1, 600)")
        band = "exact" if band == "score" else band  # few messages in the tails
    if band not in BANDS:
        raise ValueError(
            f"band: {band!r} is not a kind of band; {suggestion(band, BANDS)}pass one of {', '.join(BANDS)}"
        )
    options: dict[str, Any] = {"start": start, "end": end, "observed_from": observed_from, "cluster": cluster, "tz": tz}
    options["split"] = ()
    data = durations(journeys, "delivery_curve", by=by, confidence=confidence, messages=messages, **options)
    return estimate_curve(data, band, None if simultaneous is None else (times[0], times[1]))


def estimate_curve(
    observed: Durations, band: str = "score", simultaneous: tuple[float, float] | None = None
) -> pd.DataFrame:
    """The result of :func:`delivery_curve` from durations."""
    other = "delivered" if observed.attrs["end"] in FAILED_STATES else "failed"
    result = estimate_by_group(observed, lambda part: _curve_columns(part, other, band, simultaneous))
    result.attrs |= {"other": other, "band": BANDS[band]}
    if simultaneous is not None:
        low, high = (duration(time / SECOND) for time in simultaneous)
        result.attrs["band"] += f", everywhere at once from {low} to {high}"
    return result


def _curve_columns(part: Durations, other: str, band: str, simultaneous: tuple[float, float] | None) -> dict[str, Any]:
    curve, end = part.curve, part.attrs["end"]
    is_interval = (part.earliest < part.time) & (part.cause == REACHED)
    weights = None if part.n is None else part.n[is_interval]
    n_interval = np.bincount(curve.at(part.time[is_interval]), weights, len(curve.time)).astype(np.int64)
    columns: dict[str, Any] = {"time_s": curve.time / SECOND}
    confidence = [part.attrs["confidence"]] * 2
    if simultaneous is not None:
        confidence = [1 - 2 * float(special.ndtr(-value)) for value in part.critical_values(simultaneous)]
    bands = curve.bands(confidence, band)
    for index, (name, (low, high)) in enumerate(zip((end, other), bands, strict=True)):
        share = curve.share[index] if curve.is_known or index else np.full(len(curve.time), np.nan)
        columns |= {name: share, f"{name}_low": low, f"{name}_high": high}
        columns[f"{name}_se"] = np.sqrt(curve.precision(index).variance)
    columns |= {"open": curve.open, "at_risk": curve.at_risk}
    columns |= {f"n_{end}": curve.ended[0], f"n_{other}": curve.ended[1], "n_censored": curve.censored}
    return columns | {f"{end}_earliest": curve.earliest_share(curve.time), "n_interval": n_interval}


def time_to(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    quantiles: Sequence[float] | float = (0.5, 0.9, 0.95, 0.99),
    of: str = "all",
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate quantiles of the time to delivery: of all messages, or of those delivered.

    Of all messages, failed and open ones included, the 0.9 quantile is not reached where more than 10 % fail, however
    fast the others are.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as ``vk.journeys`` returns them, or events.
    by : str or sequence of str, optional
        Columns to group by: of ``journeys``, of ``messages``, or ``hour`` or ``weekday`` of the start.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state whose time is estimated, in any dialect.
    quantiles : float or sequence of float, default (0.5, 0.9, 0.95, 0.99)
        Shares of the messages, between 0 and 1.
    of : {"all", "delivered"}, default "all"
        Of which messages: of all, or of those that reached ``end`` (the name of ``end``). The latter says nothing of
        how many messages arrive.
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
        One row per group and quantile:

        - the columns of ``by``
        - ``quantile``: share of the messages
        - ``value_s``: time at which it is reached, in seconds; infinite where it cannot be reached any more, NaN where
          the open messages could still reach it (see :mod:`viberkit.analysis`)
        - ``low_s``, ``high_s``: its confidence interval; zero or infinite where there are too few messages
        - ``earliest_s``: the value if every time known only as an interval were at its beginning
        - ``design_effect``: how many times as large the variance is because messages depend on one another; n divided
          by it is the number of independent messages that tell as much
        - ``n``: messages of the group, or those of them that reached ``end``
        - ``n_open``: messages of the group without a final outcome when last observed
        - ``summary``: quantile, value and interval as text

        ``attrs`` hold ``by``, ``start``, ``end``, ``of``, ``confidence``, ``cluster`` and ``tz``, and unless ``of`` is
        "all", ``of_note``: a sentence on what is left out.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, a quantile, ``confidence`` or ``tz`` is invalid, or no message has the state ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    delivery_curve : The curve that these quantiles are read from.
    latency : Quantiles of each transition, of the messages that completed it.

    Notes
    -----
    The intervals are fractional order statistics [1]_ with the effective sample size. Intervals of less confidence are
    inside those of more, and the limits of a greater quantile are not earlier.

    Quantiles of the delivered messages are those of the delivery curve divided by its last value: of messages observed
    for as long as the curve reaches. Where none was open too short, they are the quantiles of the delivered messages.

    References
    ----------
    .. [1] Hutson, A. (1999). Calculating nonparametric confidence intervals for quantiles using fractional order
       statistics. Journal of Applied Statistics 26.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 4, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"], "observed_until": at + pd.Timedelta("9s")})
    >>> vk.time_to(journeys, quantiles=[0.5, 0.9])[["quantile", "value_s", "n", "n_open", "summary"]]
       quantile  value_s  n  n_open                  summary
    0       0.5      2.0  4       1  p50 2 s (0 ms or more)
    1       0.9      NaN  4       1       p90 not known yet
    """
    levels = check_shares(quantiles, "quantiles")
    options: dict[str, Any] = {"start": start, "end": end, "observed_from": observed_from, "cluster": cluster, "tz": tz}
    options["split"] = ()
    data = durations(journeys, "time_to", by=by, confidence=confidence, messages=messages, **options)
    if of not in ("all", data.attrs["end"]):
        raise ValueError(f"of: {of!r} is not a choice of messages; pass 'all' or {data.attrs['end']!r}")
    return estimate_quantiles(data, levels, of)


def estimate_quantiles(observed: Durations, quantiles: Sequence[float], of: str = "all") -> pd.DataFrame:
    """The result of :func:`time_to` from durations."""

    def rows(part: Durations) -> Iterator[dict[str, Any]]:
        curve, confidence = part.curve, part.attrs["confidence"]
        counts = {"n": part.count(), "n_open": part.count(part.cause == OPEN)}
        if of != "all":
            counts["n"] = part.count(part.cause == REACHED)
            reached = part.take(part.cause == REACHED)
            curve = curve.of_reached(counts["n"], reached.design_effects(reached.cause))
        for level in quantiles:
            estimate = value_s, low_s, high_s = curve.quantile_estimate(level, confidence)
            earliest_s = value_s if np.isnan(value_s) else curve.earliest_quantile(level) / SECOND
            row = {"quantile": level, "value_s": value_s, "low_s": low_s, "high_s": high_s, "earliest_s": earliest_s}
            row["design_effect"] = curve.design_effect(curve.quantile(level))
            name = percentile(level) if of == "all" else f"{percentile(level)} of {of}"
            yield row | counts | {"summary": f"{name} {interval(*estimate)}"}

    names = ("quantile", "value_s", "low_s", "high_s", "earliest_s", "design_effect")
    dtypes = dict.fromkeys(names, "float64") | {"n": "int64", "n_open": "int64", "summary": "str"}
    result = estimate_rows(observed, dtypes, rows)
    result.attrs |= {"of": of} if of == "all" else {"of": of, "of_note": _left_out(observed, of)}
    return result


def _left_out(observed: Durations, of: str) -> str:
    n_open, n_failed = (observed.count(observed.cause == cause) for cause in (OPEN, COMPETING))
    text = f"Only of the {observed.count(observed.cause == REACHED):,} messages {of}"
    return f"{text}: {n_failed:,} that ended otherwise and {n_open:,} still open are left out."
