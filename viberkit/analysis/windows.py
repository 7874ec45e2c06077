"""Delivery over time: window by window, by hour of the week, and against a service level objective."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.durations import OPEN, REACHED, Durations, check_shares, check_within, durations, estimate_rows
from viberkit.analysis.formatting import UNITS
from viberkit.analysis.grouping import BY, check_name_clash, factorize, group_columns
from viberkit.analysis.ordering import SECOND, instants
from viberkit.frames.schema import INSTANT

_MONDAY = pd.Timestamp("1970-01-05")  # weeks begin on Mondays
_WINDOW = r"(\d+(?:\.\d+)?)(ms|s|min|h|d|w)"
_UNIT_S = {**dict(UNITS), "w": 604_800.0}
_ROUNDING = 1e-9  # of a number of messages


def over_time(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: Sequence[float] | float = (5, 60),
    quantiles: Sequence[float] | float = (0.5, 0.9),
    every: str | None = "1h",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate delivery window by window: shares delivered within a time, and quantiles of the time to delivery.

    A message belongs to the window in which it entered ``start``. Each window is estimated as by ``delivery_curve``,
    so a recent window is not worse because its messages were observed for a shorter time.

    Parameters
    ----------
    journeys : DataFrame
        Journeys as ``vk.journeys`` returns them, or events.
    by : str or sequence of str, optional
        Columns to group by: of ``journeys``, of ``messages``, or ``hour`` or ``weekday`` of the start.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state that is estimated, in any dialect.
    within : float or sequence of float, default (5, 60)
        Times since ``start``, in seconds, by which the share is estimated.
    quantiles : float or sequence of float, default (0.5, 0.9)
        Shares of all messages, between 0 and 1, whose time is estimated.
    every : str or None, default "1h"
        The length of a window, such as ``"15min"``, ``"1h"``, ``"1d"`` or ``"1w"``, on the clock of ``tz``. With None
        all messages are in one window.
    confidence : float, default 0.95
        The confidence level of the intervals, between 0 and 1.
    messages : DataFrame, optional
        A frame with ``message_id`` and further columns to group by, such as ``archive.messages()``.
    tz : str, default "UTC"
        The time zone of the windows and of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        For each group and each window with messages one row per value of ``within``, then one per quantile:

        - the columns of ``by``
        - ``window_at``: beginning of the window (UTC)
        - ``within_s``, ``share``, ``low``, ``high``: time in seconds, share of all messages that reached ``end`` by
          then, and its interval; NaN in the rows of quantiles, and where no message was observed for so long
        - ``naive_share``: the share if open messages counted as not delivered, which is biased in recent windows
        - ``quantile``, ``value_s``, ``low_s``, ``high_s``: share of all messages, time in seconds at which it is
          reached, and its interval; NaN in the rows of ``within``. Infinite where the quantile cannot be reached any
          more, NaN where open messages could still reach it (see :mod:`viberkit.analysis`)
        - ``n``: messages of the window
        - ``n_open``: of these, messages without a final outcome when last observed

        ``attrs`` hold ``by``, ``start``, ``end``, ``every``, ``confidence`` and ``tz``.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, a time, a quantile, ``every``, ``confidence`` or ``tz`` is invalid, or no message has the state
        ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.

    See Also
    --------
    profile : The same by hour of the week.
    slo : Windows against a service level objective.

    Notes
    -----
    Windows begin at multiples of ``every`` since Monday, 5 January 1970, on the local clock. The hour that is repeated
    at the end of daylight saving time is two windows, if windows are at most an hour long.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z"] * 3 + ["2026-03-01T10:59:58Z"] * 2)
    >>> journeys = pd.DataFrame({"message_id": list("abcde"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 70, 1, None], unit="s"),
    ...     "outcome": ["delivered"] * 4 + ["open"], "observed_until": pd.Timestamp("2026-03-01T11:00:00Z")})
    >>> result = vk.over_time(journeys, within=60, quantiles=0.5)
    >>> result["window_at"].dt.hour.tolist()
    [9, 9, 10, 10]
    >>> result[["within_s", "quantile", "share", "naive_share", "value_s", "n", "n_open"]]
       within_s  quantile     share  naive_share  value_s  n  n_open
    0      60.0       NaN  0.666667     0.666667      NaN  3       0
    1       NaN       0.5       NaN          NaN      2.0  3       0
    2      60.0       NaN       NaN     0.500000      NaN  2       1
    3       NaN       0.5       NaN          NaN      1.0  2       1
    """
    limits, levels = check_within(within), check_shares(quantiles, "quantiles")
    options: dict[str, Any] = {"start": start, "end": end, "confidence": confidence, "tz": tz}
    data = durations(journeys, "over_time", by=by, messages=messages, **options)
    return estimate_windows(group_by_window(data, every), limits, levels)


def profile(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: Sequence[float] | float = 60,
    quantiles: Sequence[float] | float = 0.5,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate delivery by hour of the week.

    Parameters
    ----------
    journeys : DataFrame
        Journeys as ``vk.journeys`` returns them, or events.
    by : str or sequence of str, optional
        Further columns to group by: of ``journeys`` or of ``messages``.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state that is estimated, in any dialect.
    within : float or sequence of float, default 60
        Times since ``start``, in seconds, by which the share is estimated.
    quantiles : float or sequence of float, default 0.5
        Shares of all messages, between 0 and 1, whose time is estimated.
    confidence : float, default 0.95
        The confidence level of the intervals, between 0 and 1.
    messages : DataFrame, optional
        A frame with ``message_id`` and further columns to group by, such as ``archive.messages()``.
    tz : str, default "UTC"
        The time zone of ``weekday`` and ``hour``.

    Returns
    -------
    DataFrame
        As :func:`over_time`, with two columns in place of ``window_at``; hours without messages have no rows:

        - ``weekday``: Monday to Sunday, of the start
        - ``hour``: 0 to 23, of the start

        ``attrs`` hold ``by``, ``start``, ``end``, ``confidence`` and ``tz``.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, a time, a quantile, ``confidence`` or ``tz`` is invalid, or no message has the state ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.

    See Also
    --------
    over_time : The same window by window.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z", "2026-03-08T09:50:00Z"])
    >>> journeys = pd.DataFrame({"message_id": list("ab"), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.Timedelta("2s"), "observed_until": at + pd.Timedelta("1h")})
    >>> vk.profile(journeys)[["weekday", "hour", "within_s", "quantile", "share", "value_s", "n"]]
      weekday  hour  within_s  quantile  share  value_s  n
    0  Sunday     9      60.0       NaN    1.0      NaN  2
    1  Sunday     9       NaN       0.5    NaN      2.0  2
    """
    limits, levels = check_within(within), check_shares(quantiles, "quantiles")
    data = durations(journeys, "profile", by=by, start=start, end=end, confidence=confidence, messages=messages, tz=tz)
    hours = group_columns(pd.DataFrame(index=range(len(data))), ("weekday", "hour"), data.started, None, "profile", tz)
    return estimate_windows(_regroup(data, hours), limits, levels)


def slo(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: float = 60,
    target: float = 0.95,
    every: str | None = "1d",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Measure a service level objective and its error budget: a share of all messages delivered within a time.

    Parameters
    ----------
    journeys : DataFrame
        Journeys as ``vk.journeys`` returns them, or events.
    by : str or sequence of str, optional
        Columns to group by: of ``journeys``, of ``messages``, or ``hour`` or ``weekday`` of the start.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state to reach, in any dialect. Messages that fail miss the objective.
    within : float, default 60
        The time since ``start``, in seconds.
    target : float, default 0.95
        The share of all messages that must reach ``end`` in that time, between 0 and 1.
    every : str or None, default "1d"
        The length of a window, as in :func:`over_time`.
    confidence : float, default 0.95
        The confidence level of the intervals, between 0 and 1.
    messages : DataFrame, optional
        A frame with ``message_id`` and further columns to group by, such as ``archive.messages()``.
    tz : str, default "UTC"
        The time zone of the windows and of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per group and window with messages:

        - the columns of ``by``
        - ``window_at``: beginning of the window (UTC)
        - ``within_s``: time of the objective, in seconds
        - ``share``, ``low``, ``high``: estimated share that reaches ``end`` in that time, and its interval; NaN where
          no message was observed for so long
        - ``verdict``: met or missed where the messages of the window decide it, unclear where it depends on the
          undecided ones
        - ``n``: messages of the window
        - ``n_open``: of these, messages without a final outcome when last observed
        - ``n_undecided``: of these, messages observed for less than ``within``
        - ``n_missed``: messages that missed the objective, and the expected number among the undecided
        - ``n_allowed``: messages that may miss it, n × (1 - target)
        - ``budget_left``: share of these that is left; 1 if no message missed, below 0 if the budget is overspent
        - ``budget_left_cumulative``: the same of all windows of the group up to this one

        ``attrs`` hold ``by``, ``start``, ``end``, ``within_s``, ``target``, ``every``, ``confidence`` and ``tz``.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, ``within``, ``target``, ``every``, ``confidence`` or ``tz`` is invalid, or no message has the state
        ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.

    See Also
    --------
    over_time : The estimates without an objective.

    Notes
    -----
    An undecided message is expected to miss the objective as often as the messages that were open for as long and
    observed for longer, by the Aalen-Johansen estimate of its window.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 3, 70], unit="s"), "observed_until": at + pd.Timedelta("1h")})
    >>> vk.slo(journeys, target=0.5)[["n", "share", "verdict", "n_missed", "n_allowed", "budget_left"]]
       n  share verdict  n_missed  n_allowed  budget_left
    0  4   0.75     met       1.0        2.0          0.5
    """
    (share,), (limit,) = check_shares([target], "target"), check_within([within])
    data = durations(journeys, "slo", by=by, start=start, end=end, confidence=confidence, messages=messages, tz=tz)
    return estimate_slo(group_by_window(data, every), limit, share)


def group_by_window(observed: Durations, every: str | None) -> Durations:
    """Group the messages by the window in which they started, too."""
    if every is None:
        beginning = instants(np.full(len(observed), observed.started.min() if len(observed) else 0))
    else:
        length, tz = _window_length(every), observed.attrs["tz"]
        local = instants(observed.started).dt.tz_convert(tz).dt.tz_localize(None)
        floored = _MONDAY + (local - _MONDAY) // length * length
        if length <= pd.Timedelta("1h"):  # an hour that is repeated in autumn is two windows
            elapsed = ((local - floored) // pd.Timedelta("1us")).to_numpy(dtype=np.int64)
            beginning = instants(observed.started - elapsed)
        else:
            first = np.ones(len(observed), dtype=bool)
            zoned = floored.dt.tz_localize(tz, ambiguous=first, nonexistent="shift_forward")
            beginning = zoned.dt.tz_convert("UTC").astype(INSTANT)
    windows = _regroup(observed, pd.DataFrame({"window_at": beginning.array}))
    return replace(windows, attrs=windows.attrs | {"every": every})


def _window_length(every: Any) -> pd.Timedelta:
    length = every if isinstance(every, pd.Timedelta) else pd.Timedelta(0)
    text = str(every).lower().replace(" ", "")
    if re.fullmatch(f"({_WINDOW})+", text):
        length = pd.Timedelta(seconds=sum(float(value) * _UNIT_S[unit] for value, unit in re.findall(_WINDOW, text)))
    if not length > pd.Timedelta(0):
        raise ValueError(f"every: {every!r} is not a duration above zero; pass e.g. '15min', '1h' or '1d'")
    return length


def _regroup(observed: Durations, columns: pd.DataFrame) -> Durations:
    """Group the messages by further columns, too."""
    check_name_clash(map(str, observed.groups.columns), map(str, columns.columns))
    grouped = observed.groups.take(observed.group).reset_index(drop=True)
    for name in columns:
        grouped[name] = columns[name].array
    groups, group = factorize(grouped, list(grouped.columns))
    return replace(observed, group=group, groups=groups)


def estimate_windows(observed: Durations, limits: Sequence[float], quantiles: Sequence[float]) -> pd.DataFrame:
    """The result of :func:`over_time` from durations grouped by window; ``limits`` are microseconds."""

    def rows(part: Durations) -> Iterator[dict[str, Any]]:
        curve, is_reached, confidence = part.curve, part.cause == REACHED, part.attrs["confidence"]
        counts = {"n": part.count(), "n_open": part.count(part.cause == OPEN)}
        for limit, share, low, high in zip(limits, *curve.share_at(limits, 0, confidence), strict=True):
            naive = part.count(is_reached & (part.time <= limit)) / counts["n"]
            row = {"within_s": limit / SECOND, "share": share, "low": low, "high": high, "naive_share": naive}
            yield row | counts
        for level in quantiles:
            value_s, low_s, high_s = curve.quantile_estimate(level, confidence)
            yield {"quantile": level, "value_s": value_s, "low_s": low_s, "high_s": high_s} | counts

    names = ("within_s", "quantile", "share", "low", "high", "naive_share", "value_s", "low_s", "high_s")
    return estimate_rows(observed, dict.fromkeys(names, "float64") | {"n": "int64", "n_open": "int64"}, rows)


def estimate_slo(observed: Durations, limit: float, target: float) -> pd.DataFrame:
    """The result of :func:`slo` from durations grouped by window; ``limit`` is in microseconds."""
    dtypes: dict[str, Any] = dict.fromkeys(("within_s", "share", "low", "high"), "float64")
    dtypes["verdict"] = pd.CategoricalDtype(["met", "missed", "unclear"])
    dtypes |= dict.fromkeys(("n", "n_open", "n_undecided"), "int64")
    dtypes |= dict.fromkeys(("n_missed", "n_allowed", "budget_left"), "float64")
    result = estimate_rows(observed, dtypes, lambda part: [_slo_row(part, limit, target)])
    by = observed.attrs["by"]
    windows = result.groupby(by, observed=True, dropna=False) if by else result
    result["budget_left_cumulative"] = 1 - windows["n_missed"].cumsum() / windows["n_allowed"].cumsum()
    result.attrs |= {"within_s": limit / SECOND, "target": target}
    return result


def _slo_row(part: Durations, limit: float, target: float) -> dict[str, Any]:
    undecided = (part.cause == OPEN) & (part.time < limit)
    n, n_undecided = part.count(), part.count(undecided)
    n_missed = part.count((part.cause != REACHED) | (part.time > limit)) - n_undecided
    n_allowed = n * (1 - target)
    verdict = "unclear"
    if n_missed > n_allowed + _ROUNDING:
        verdict = "missed"
    elif n_missed + n_undecided <= n_allowed + _ROUNDING:
        verdict = "met"
    curve = part.curve
    share, low, high = curve.share_at(limit, 0, part.attrs["confidence"])
    expected = float(n_missed)
    if n_undecided and not np.isnan(share):
        now, then = curve.at(part.time[undecided]), curve.at(limit)
        still_open = np.maximum(curve.open[now], 1e-12)
        misses = np.minimum((curve.open[then] + curve.share[1, then] - curve.share[1, now]) / still_open, 1.0)
        expected += float(misses.sum() if part.n is None else misses @ part.n[undecided])
    row = {"within_s": limit / SECOND, "share": share, "low": low, "high": high, "verdict": verdict}
    row |= {"n": n, "n_open": part.count(part.cause == OPEN), "n_undecided": n_undecided}
    return row | {"n_missed": expected, "n_allowed": n_allowed, "budget_left": 1 - expected / n_allowed}
