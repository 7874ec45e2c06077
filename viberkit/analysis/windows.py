"""Delivery over time: window by window, by hour of the week, and against a service level objective."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.counts import HOUR, WEEK
from viberkit.analysis.durations import (
    OPEN,
    REACHED,
    Durations,
    check_number,
    check_shares,
    check_within,
    durations,
    estimate_rows,
)
from viberkit.analysis.formatting import UNITS, percent
from viberkit.analysis.grouping import BY, check_name_clash, factorize, group_columns
from viberkit.analysis.incidence import Incidence
from viberkit.analysis.ordering import NEVER, SECOND, Ints, instants, instants_of, microseconds
from viberkit.frames.schema import INSTANT

_MONDAY = pd.Timestamp("1970-01-05")  # weeks begin on Mondays
_WINDOW = r"(\d+(?:\.\d+)?)(ms|s|min|h|d|w)"
_UNIT_S = {**dict(UNITS), "w": 604_800.0}


def over_time(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: Sequence[float] | float = (5, 60),
    quantiles: Sequence[float] | float = (0.5, 0.9),
    every: str | None = "1h",
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate delivery window by window: shares delivered within a time, and quantiles of the time to delivery.

    A message belongs to the window in which it entered ``start``. Each window is estimated as by ``delivery_curve``,
    so a recent window is not worse because its messages were observed for a shorter time.

    Parameters
    ----------
    journeys : DataFrame or EventLog
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
        - ``design_effect``: how many times as large the variance is because messages depend on one another
        - ``n``: messages of the window
        - ``n_open``: of these, messages without a final outcome when last observed

        ``attrs`` hold ``by``, ``start``, ``end``, ``every``, ``confidence``, ``cluster`` and ``tz``.

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
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

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
    options: dict[str, Any] = {"observed_from": observed_from, "confidence": confidence, "cluster": cluster, "tz": tz}
    options["split"] = windows_of(every)
    data = durations(journeys, "over_time", by=by, start=start, end=end, messages=messages, **options)
    return estimate_windows(group_by_window(data, every), limits, levels)


def profile(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: Sequence[float] | float = 60,
    quantiles: Sequence[float] | float = 0.5,
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Estimate delivery by hour of the week.

    Parameters
    ----------
    journeys : DataFrame or EventLog
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
        The time zone of ``weekday`` and ``hour``.

    Returns
    -------
    DataFrame
        As :func:`over_time`, with two columns in place of ``window_at``; hours without messages have no rows:

        - ``weekday``: Monday to Sunday, of the start
        - ``hour``: 0 to 23, of the start

        ``attrs`` hold ``by``, ``start``, ``end``, ``confidence``, ``cluster`` and ``tz``.

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
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

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
    options: dict[str, Any] = {"observed_from": observed_from, "confidence": confidence, "cluster": cluster, "tz": tz}
    options["split"] = ((HOUR, WEEK),)
    data = durations(journeys, "profile", by=by, start=start, end=end, messages=messages, **options)
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
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    r"""Measure a service level objective and its error budget: a share of all messages delivered within a time.

    Parameters
    ----------
    journeys : DataFrame or EventLog
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
        - ``observed_share``: the share of the messages of the window for which it is decided
        - ``design_effect``: how many times as large the variance is because messages depend on one another
        - ``verdict``: met where the whole interval is at or above the target, missed where it is below, else unclear
        - ``n``: messages of the window
        - ``n_open``: of these, messages without a final outcome when last observed
        - ``n_undecided``: messages observed for less than ``within``, or not from their start on, or known only to have
          reached ``end`` in an interval around it
        - ``n_missed``: messages that missed the objective, and the expected number among the undecided
        - ``n_allowed``: messages that may miss it, n × (1 - target)
        - ``budget_left``: share of these that is left; 1 if no message missed, below 0 if the budget is overspent, NaN
          if no message is decided
        - ``budget_left_cumulative``: the same of all windows of the group up to this one
        - ``burn_rate``: (1 - share) / (1 - target): at 1 the window uses exactly its part of the error budget
        - ``budget_chance``: chance that the budget is not overspent at the end of the window; 1 or 0 for windows that
          have ended
        - ``summary``: the verdict as a sentence, and the chance if the window has not ended

        ``attrs`` hold ``by``, ``start``, ``end``, ``within_s``, ``target``, ``every``, ``confidence``, ``cluster`` and
        ``tz``.

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
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    burn_rate : How fast the error budget is used now.
    over_time : The estimates without an objective.

    Notes
    -----
    An undecided message is expected to miss the objective as often as the messages that were open for as long and
    observed for longer, by the Aalen-Johansen estimate of its window; one that was not observed from its start on, as
    often as all messages, because the messages that ended before their observation are not in the log.

    A window has not ended if it contains the last ``observed_until`` of the log. Messages still to come are in
    proportion to those so far as in earlier windows, the first excepted, or else as many per hour as until now. They
    miss the objective as often as all messages of the group, or as those of the window if these differ by more than two
    standard errors. Their number has a gamma distribution, whose variance is that of the estimate and that of the
    messages, times the design effect. The chance is too certain where traffic varies, or where an outage of a kind that
    the log does not contain may still come, and too uncertain where a day has a share of its own.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 3, 70], unit="s"), "observed_until": at + pd.Timedelta("1h")})
    >>> result = vk.slo(journeys, target=0.5)
    >>> result[["n", "share", "verdict", "n_missed", "n_allowed", "budget_left"]]
       n  share  verdict  n_missed  n_allowed  budget_left
    0  4   0.75  unclear       1.0        2.0          0.5
    >>> print(result["summary"][0].replace("; ", ";\n"))
    unclear: 75 % (30 % to 95 %) delivered within 60 s, target 50 %;
    observed 75 % of 4;
    the error budget lasts with a chance of 86 %
    """
    (share,), (limit,) = check_shares([target], "target"), check_within([within])
    options: dict[str, Any] = {"observed_from": observed_from, "confidence": confidence, "cluster": cluster, "tz": tz}
    options |= {"split": windows_of(every), "late": True}
    data = durations(journeys, "slo", by=by, start=start, end=end, messages=messages, **options)
    return estimate_slo(group_by_window(data, every), limit, share)


#: Lookbacks and the burn rates that call for action, after the Site Reliability Workbook of Google (chapter 5): 2 % of
#: the error budget of 30 days are used in an hour, 5 % in six hours, 10 % in three days.
BURN_RATES: Mapping[str, float] = MappingProxyType({"1h": 14.4, "6h": 6.0, "3d": 1.0})
_SHORT = 12  # the short window is this part of the lookback


def burn_rate(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    end: str = "delivered",
    within: float = 60,
    target: float = 0.95,
    burn_rates: Mapping[str, float] = BURN_RATES,
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Measure how fast the error budget of a service level objective is used at the end of a log.

    Parameters
    ----------
    journeys : DataFrame or EventLog
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
    burn_rates : mapping of str to float, default {"1h": 14.4, "6h": 6.0, "3d": 1.0}
        For each lookback the burn rate from which to act: by default those for an error budget of 30 days.
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
        One row per group and lookback:

        - the columns of ``by``
        - ``lookback``, ``lookback_s``: the window that ends with the last message, as passed and in seconds
        - ``burn_rate``, ``burn_low``, ``burn_high``: (1 - share within the time) / (1 - target) of the messages that
          started in it, and its interval; NaN where none was observed for so long
        - ``short_burn_rate``: the same of the last twelfth of the lookback
        - ``threshold``: burn rate from which to act
        - ``alert``: whether both burn rates, not their intervals, reach it: the budget was used too fast, and still is
        - ``n``, ``n_short``: messages that started in the two windows
        - ``summary``: the burn rate as a sentence

        ``attrs`` hold ``by``, ``start``, ``end``, ``within_s``, ``target``, ``until`` (the start of the last
        message, ISO 8601), ``confidence``, ``cluster`` and ``tz``.

    Raises
    ------
    MissingColumn
        If ``journeys`` lacks a column that is needed, or a column of ``by`` does not exist.
    ValueError
        If a state, ``within``, ``target``, a lookback, a burn rate, ``confidence`` or ``tz`` is invalid, or no message
        has the state ``start``.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    slo : The objective window by window.

    Notes
    -----
    A burn rate of 1 uses the whole budget in exactly its period. Two windows are required so that an alert ends soon
    after its cause [1]_. The shares are estimated as by ``delivery_curve``, so recent messages count as long as they
    were observed.

    References
    ----------
    .. [1] Beyer, B. et al. (2018). The Site Reliability Workbook, chapter 5: Alerting on SLOs. O'Reilly.

    Examples
    --------
    >>> at = pd.date_range("2026-03-01T09:00:00Z", periods=120, freq="1min")
    >>> journeys = pd.DataFrame({"message_id": map(str, range(120)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta([1] * 90 + [70] * 30, unit="s"), "observed_until": at.max()})
    >>> result = vk.burn_rate(journeys, target=0.9, burn_rates={"1h": 4})
    >>> result[["lookback", "burn_rate", "short_burn_rate", "threshold", "alert", "n", "n_short"]].round(1)
      lookback  burn_rate  short_burn_rate  threshold  alert   n  n_short
    0       1h        5.0             10.0        4.0   True  60        5
    """
    (share,), (limit,) = check_shares([target], "target"), check_within([within])
    rule = "a burn rate above zero"
    rates = {name: check_number(rate, "burn_rates", rule, "14.4", 1e-9, 1e9) for name, rate in burn_rates.items()}
    lookbacks = {name: window_length(name, "burn_rates") // pd.Timedelta("1us") for name in rates}
    options: dict[str, Any] = {"observed_from": observed_from, "confidence": confidence, "cluster": cluster, "tz": tz}
    data = durations(journeys, "burn_rate", by=by, start=start, end=end, messages=messages, **options)
    until = int(data.started.max()) if len(data) else 0

    def rows(part: Durations) -> Iterator[dict[str, Any]]:
        for name, rate in rates.items():
            windows = [part.take(part.started > until - lookbacks[name] // size) for size in (1, _SHORT)]
            shares = [window.curve.share_at(limit, 0, confidence) for window in windows]
            (burn, high, low), (short, *_) = ([(1 - float(x)) / (1 - share) for x in estimate] for estimate in shares)
            alert = burn >= rate and short >= rate
            text = f"last {name}: not known"
            if not np.isnan(burn):
                recent = "not known" if np.isnan(short) else f"{short:.3g}"
                text = f"last {name}: burn rate {burn:.3g} ({low:.3g} to {high:.3g}), in its last twelfth {recent}"
            row = {"lookback": name, "lookback_s": lookbacks[name] / SECOND, "burn_rate": burn, "burn_low": low}
            row |= {"burn_high": high, "short_burn_rate": short, "threshold": rate, "alert": alert}
            row |= {"n": windows[0].count(), "n_short": windows[1].count()}
            yield row | {"summary": f"{'ALERT: ' if alert else ''}{text}; threshold {rate:g}"}

    dtypes: dict[str, Any] = {"lookback": "str", "lookback_s": "float64", "burn_rate": "float64"}
    dtypes |= dict.fromkeys(("burn_low", "burn_high", "short_burn_rate", "threshold"), "float64")
    dtypes |= {"alert": "bool", "n": "int64", "n_short": "int64", "summary": "str"}
    result = estimate_rows(data, dtypes, rows)
    result.attrs |= {"within_s": limit / SECOND, "target": share, "until": instants(np.array([until]))[0].isoformat()}
    return result


def group_by_window(observed: Durations, every: str | None) -> Durations:
    """Group the messages by the window in which they started, too."""
    if every is None:
        beginning = instants(np.full(len(observed), observed.started.min() if len(observed) else 0))
    else:
        beginning = window_begins(observed.started, window_length(every), observed.attrs["tz"])
    windows = _regroup(observed, pd.DataFrame({"window_at": beginning.array}))
    return replace(windows, attrs=windows.attrs | {"every": every})


def window_begins(started: Ints, length: pd.Timedelta, tz: str) -> pd.Series[Any]:
    """The beginning of the window of each instant (microseconds)."""
    local = instants(started).dt.tz_convert(tz).dt.tz_localize(None)
    floored = _MONDAY + (local - _MONDAY) // length * length
    if length <= pd.Timedelta("1h"):  # an hour that is repeated in autumn is two windows
        elapsed = ((local - floored) // pd.Timedelta("1us")).to_numpy(dtype=np.int64)
        return instants(started - elapsed)
    first = np.ones(len(started), dtype=bool)
    zoned = floored.dt.tz_localize(tz, ambiguous=first, nonexistent="shift_forward")
    beginning: pd.Series[Any] = zoned.dt.tz_convert("UTC").astype(INSTANT)
    return beginning


def windows_of(every: str | None) -> tuple[tuple[int, int | None], ...]:
    """The windows that an event log counts durations in."""
    return () if every is None else ((window_length(every) // pd.Timedelta("1us"), None),)


def window_length(every: Any, field: str = "every") -> pd.Timedelta:
    length = every if isinstance(every, pd.Timedelta) else pd.Timedelta(0)
    text = str(every).lower().replace(" ", "")
    if re.fullmatch(f"({_WINDOW})+", text):
        length = pd.Timedelta(seconds=sum(float(value) * _UNIT_S[unit] for value, unit in re.findall(_WINDOW, text)))
    if not length > pd.Timedelta(0):
        raise ValueError(f"{field}: {every!r} is not a duration above zero; pass e.g. '15min', '1h' or '1d'")
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
            yield row | counts | {"design_effect": curve.design_effect(limit)}
        for level in quantiles:
            value_s, low_s, high_s = curve.quantile_estimate(level, confidence)
            row = {"quantile": level, "value_s": value_s, "low_s": low_s, "high_s": high_s}
            yield row | counts | {"design_effect": curve.design_effect(curve.quantile(level))}

    names = ("within_s", "quantile", "share", "low", "high", "naive_share", "value_s", "low_s", "high_s")
    dtypes: dict[str, Any] = dict.fromkeys((*names, "design_effect"), "float64")
    return estimate_rows(observed, dtypes | {"n": "int64", "n_open": "int64"}, rows)


def estimate_slo(observed: Durations, limit: float, target: float) -> pd.DataFrame:
    """The result of :func:`slo` from durations grouped by window; ``limit`` is in microseconds."""
    names = ("within_s", "share", "low", "high", "observed_share", "design_effect")
    dtypes: dict[str, Any] = dict.fromkeys(names, "float64")
    verdict = pd.CategoricalDtype(["met", "missed", "unclear"])
    dtypes |= {"verdict": verdict} | dict.fromkeys(("n", "n_open", "n_undecided"), "int64")
    dtypes |= dict.fromkeys(("n_missed", "n_allowed", "budget_left", "burn_rate"), "float64") | {"summary": "str"}
    check_name_clash(observed.attrs["by"], ("budget_left_cumulative", "budget_chance"))
    result = estimate_rows(observed, dtypes, lambda part: [_slo_row(part, limit, target)])
    windows = result.groupby(observed.attrs["by"] or np.zeros(len(result)), observed=True, dropna=False)
    result["budget_left_cumulative"] = 1 - windows["n_missed"].cumsum() / windows["n_allowed"].cumsum()
    chance = np.where(result["share"].isna(), np.nan, result["n_missed"] <= result["n_allowed"])
    every, begins = observed.attrs["every"], microseconds(result["window_at"])
    now = instants_of(observed.journeys, "observed_until").max(initial=NEVER)
    left = begins - now + (0 if every is None else window_length(every) // pd.Timedelta("1us"))
    group, summaries = windows.ngroup().to_numpy(), result["summary"].tolist()
    for index in np.flatnonzero((left > 0) & result["share"].notna()).tolist():
        part, row = observed.take(group[observed.group] == group[index]), result.iloc[index]
        begin, elapsed = begins[part.group], now - begins[index]
        earlier, is_late = (begin > begin.min()) & (begin < begins[index]), part.started - begin > elapsed
        n_before, n_after = part.count(earlier & ~is_late), part.count(earlier & is_late)
        per_time = left[index] / max(min(elapsed, now - int(part.started.min())), 1)
        n_more = row["n"] * (n_after / n_before if n_before else per_time)
        share, n = float(part.curve.share_at(limit)[0]), row["n"] / part.curve.design_effect(limit)
        is_same = n * (row["share"] - share) ** 2 <= 4 * share * (1 - share) + 1e-9  # two standard errors
        curve = part.curve if is_same else part.take(part.group == index).curve
        chance[index] = _budget_chance(row, n_more, curve, limit, target)
        summaries[index] += f"; the error budget lasts with a chance of {percent(chance[index])}"
    result["budget_chance"], result["summary"] = chance, summaries
    result.attrs |= {"within_s": limit / SECOND, "target": target}
    return result


def _budget_chance(row: pd.Series[Any], n: float, curve: Incidence, limit: float, target: float) -> float:
    """The chance that the error budget of a window lasts if ``n`` messages are still to come that follow a curve.

    The number that miss is gamma distributed: outages make it skew.
    """
    size = float(curve.precision(0).size[curve.at(limit)])
    miss = ((1 - float(curve.share_at(limit)[0])) * size + 1 - target) / (size + 1)
    variance = miss * (1 - miss) * ((n + row["n_undecided"]) * curve.design_effect(limit) + n**2 / (size + 1))
    left, mean = row["n_allowed"] - row["n_missed"] + n * (1 - target) + 1e-9, n * miss
    return float(special.gammainc(mean**2 / variance, left * mean / variance)) if left > 0 < mean else float(left > 0)


def _slo_row(part: Durations, limit: float, target: float) -> dict[str, Any]:
    is_open, is_reached = part.cause == OPEN, part.cause == REACHED
    is_late = np.zeros(len(part), dtype=bool) if part.entry is None else part.entry >= 0
    undecided = is_late | (part.earliest < limit) & (is_open | (is_reached & (part.time > limit)))
    n, n_undecided = part.count(), part.count(undecided)
    n_met = part.count(is_reached & (part.time <= limit) & ~undecided)
    curve = part.curve
    share, low, high = (round(float(value), 12) for value in curve.share_at(limit, 0, part.attrs["confidence"]))
    n_missed, n_allowed = float(n - n_met - n_undecided), n * (1 - target)
    if n_undecided and not np.isnan(share):
        now, then = curve.at(part.earliest[undecided]), curve.at(part.time[undecided])
        # The chance to miss is that of the messages that were open for as long, or that ended in the same interval; of
        # messages observed late that of all messages, because those that ended before are missing.
        chance = (1 - share - curve.share[1, now]) / np.maximum(curve.open[now], 1e-12)
        inside = np.maximum(curve.share[0, then] - curve.share[0, now], 1e-12)
        chance = np.where(is_open[undecided], chance, (curve.share[0, then] - share) / inside)
        chance = np.where(is_late[undecided], 1 - share, chance)
        n_missed += float(np.clip(chance, 0.0, 1.0) @ (np.ones(n_undecided) if part.n is None else part.n[undecided]))
    verdict = "met" if low >= target else "missed" if high < target else "unclear"
    observed_share = n_met / (n - n_undecided) if n > n_undecided else np.nan
    row: dict[str, Any] = {"within_s": limit / SECOND, "share": share, "low": low, "high": high}
    row |= {"observed_share": observed_share, "design_effect": curve.design_effect(limit), "verdict": verdict}
    row |= {"n": n, "n_open": part.count(is_open), "n_undecided": n_undecided}
    budget_left = 1 - n_missed / n_allowed if n > n_undecided else np.nan
    row |= {"n_missed": n_missed, "n_allowed": n_allowed, "budget_left": budget_left}
    row["burn_rate"] = (1 - share) / (1 - target)
    near = partial(percent, near=target)
    text = f"{near(share)} ({near(low)} to {near(high)}) {part.attrs['end']} within {limit / SECOND:g} s"
    text = f"{verdict}: {text}, target {percent(target)}; observed {near(observed_share)} of {n - n_undecided:,}"
    text = f"not known yet: {part.attrs['end']} within {limit / SECOND:g} s" if n == n_undecided else text
    return row | {"summary": text}
