"""How delivery changes over time: window by window, over the hours of the week, and against a promise.

Each window has a curve of its own, so that recent ones are judged by the messages that have had the time. Journeys
in, tidy frames out; no clock is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.durations import OPEN, REACHED, Durations, check_share, check_shares, durations
from viberkit.analysis.formatting import UNITS, percentile
from viberkit.analysis.grouping import BY, check_name_clash, factorize, group_columns
from viberkit.analysis.incidence import Incidence
from viberkit.analysis.ordering import SECOND, instants
from viberkit.frames.columns import INSTANT

__all__ = ["over_time", "profile", "slo"]

_MONDAY = pd.Timestamp("1970-01-05")  # weeks begin on Mondays
_WINDOWS = ("window_at", "weekday", "hour")
_UNIT = {unit: pd.Timedelta(seconds=size) for unit, size in UNITS} | {"w": pd.Timedelta(days=7)}


def over_time(
    journeys: pd.DataFrame,
    every: str | None = "1h",
    within: Sequence[float] | float = (5, 60),
    quantiles: Sequence[float] | float = (0.5, 0.9),
    by: BY = None,
    *,
    start: str = "accepted",
    end: str = "delivered",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """The share delivered within so many seconds, and quantiles of the time to delivery, window by window.

    Messages belong to the window in which they entered ``start``; windows are ``every`` so long (a pandas duration
    such as ``"15min"``, ``"1h"``, ``"1d"``) on the clock of the zone ``tz``, or, with None, all is one. Each is
    estimated as ``vk.delivery_curve`` does, from messages as long as they were watched: a recent window is not worse
    for being young.

    One row a window (and group ``by``) that has messages. Columns: those of ``by``; ``window_at`` (its beginning,
    UTC); ``n``, ``n_open``; for each of ``within`` (seconds) ``within_60s``, ``within_60s_low``, ``within_60s_high``,
    and ``within_60s_naive``: delivered by then of all sent, the open counted as missed, which is what most tools
    show; for each quantile ``p50_s``, ``p50_low_s``, ``p50_high_s``, over all messages of the window, infinite where
    not reached. What a window cannot tell yet is NaN, and so are its bounds.

    Raises as ``vk.delivery_curve``, and ``ValueError`` for a duration or a time that is none.

    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z"] * 3 + ["2026-03-01T10:59:58Z"] * 2)
    >>> took = pd.to_timedelta([1, 2, 70, 1, None], unit="s")
    >>> trips = pd.DataFrame({"message_id": list("abcde"), "accepted_at": at, "delivered_at": at + took,
    ...     "outcome": ["delivered"] * 4 + ["open"], "observed_until": pd.Timestamp("2026-03-01T11:00:00Z")})
    >>> found = over_time(trips, within=[60], quantiles=[0.5])
    >>> found[["window_at", "n", "n_open", "within_60s", "within_60s_naive", "p50_s"]]
                      window_at  n  n_open  within_60s  within_60s_naive  p50_s
    0 2026-03-01 09:00:00+00:00  3       0    0.666667          0.666667    2.0
    1 2026-03-01 10:00:00+00:00  2       1         NaN          0.500000    1.0
    """
    told = durations(journeys, "over_time", start=start, end=end, by=by, messages=messages, tz=tz)
    made = _estimated(_windows(told, every, tz), within, quantiles, confidence)
    made.attrs = {"start": start, "end": end, "every": every, "confidence": confidence, "tz": tz}
    return made


def profile(
    journeys: pd.DataFrame,
    within: Sequence[float] | float = (60,),
    quantiles: Sequence[float] | float = (0.5,),
    by: BY = None,
    *,
    start: str = "accepted",
    end: str = "delivered",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """How delivery depends on the hour and the weekday: as :func:`over_time`, a row an hour of the week.

    Columns: those of ``by``; ``weekday`` (Monday to Sunday) and ``hour`` (0 to 23) of the start on the clock of the
    zone ``tz``; the others as in :func:`over_time`. Hours without messages have no row. Raises alike.

    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z", "2026-03-08T09:50:00Z"])
    >>> trips = pd.DataFrame({"message_id": list("ab"), "accepted_at": at, "delivered_at": at + pd.Timedelta("2s"),
    ...     "outcome": "delivered", "observed_until": at + pd.Timedelta("1h")})
    >>> profile(trips)[["weekday", "hour", "n", "within_60s", "p50_s"]]
      weekday  hour  n  within_60s  p50_s
    0  Sunday     9  2         1.0    2.0
    """
    told = durations(journeys, "profile", start=start, end=end, by=by, messages=messages, tz=tz)
    clock = group_columns(told.journeys[["message_id"]], ("weekday", "hour"), told.started, None, "profile", tz)
    made = _estimated(_regrouped(told, clock), within, quantiles, confidence)
    made.attrs = {"start": start, "end": end, "confidence": confidence, "tz": tz}
    return made


def slo(
    journeys: pd.DataFrame,
    within: float = 60,
    target: float = 0.95,
    every: str | None = "1d",
    by: BY = None,
    *,
    start: str = "accepted",
    end: str = "delivered",
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Whether a promise was kept: a ``target`` share of all messages delivered ``within`` seconds, by window.

    A window is *met* or *missed* by what its messages did; it is *unclear* while it depends on messages that were
    not watched for so long. Failed messages miss. Windows, ``by`` and the rest as in :func:`over_time`.

    Columns: those of ``by``; ``window_at`` (UTC); ``n``; ``n_open``: messages of which it is not known yet; ``share``
    with ``low`` and ``high``, estimated from all messages as long as they were watched; ``met`` (met, missed,
    unclear); ``missed``: messages known to have missed, and the expected part of those not known; ``allowed``: how
    many may miss, ``n × (1 - target)``; ``budget_left``: the part of these that is left (1: none missed, below 0:
    overspent); ``budget_left_so_far``: the same of all windows up to this one.

    Raises as :func:`over_time`.

    >>> at = pd.to_datetime(["2026-03-01T09:10:00Z"] * 4)
    >>> trips = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 3, 70], unit="s"), "observed_until": at + pd.Timedelta("1h")})
    >>> slo(trips, target=0.5)[["n", "share", "met", "missed", "allowed", "budget_left"]]
       n  share  met  missed  allowed  budget_left
    0  4   0.75  met     1.0      2.0          0.5
    """
    check_share(target, "target")
    check_share(confidence, "confidence")
    told = durations(journeys, "slo", start=start, end=end, by=by, messages=messages, tz=tz)
    limit = _microseconds(within, "within")
    windows = _windows(told, every, tz)
    rows = []
    for named, part in windows.by_group():
        if len(part):
            rows.append({**named, **_kept(part, limit, target, confidence)})
    names = "n n_open share low high met missed allowed budget_left budget_left_so_far".split()
    made = _shaped(rows, windows, names)
    made["met"] = pd.Categorical(made["met"], categories=["met", "missed", "unclear"])
    made = made.astype({"missed": "float64", "allowed": "float64"})
    so_far = made.groupby(list(told.groups.columns), observed=True, dropna=False) if len(told.groups.columns) else made
    spent, granted = so_far["missed"].cumsum(), so_far["allowed"].cumsum()
    made["budget_left_so_far"] = 1 - spent / granted
    made.attrs = {"within": float(within), "target": float(target), "every": every, "tz": tz}
    return made


def _kept(part: Durations, limit: int, target: float, confidence: float) -> dict[str, Any]:
    """Whether one window kept the promise, and what it has left."""
    unknown = (part.cause == OPEN) & (part.time < limit)
    missed = int(((part.cause != REACHED) | (part.time > limit)).sum() - unknown.sum())
    allowed = len(part) * (1 - target)
    kept = "missed" if missed > allowed + 1e-9 else "met" if missed + unknown.sum() <= allowed + 1e-9 else "unclear"
    curve = part.curve()
    share, low, high = _within(curve, limit, confidence)
    expected = float(missed)
    if unknown.any() and not np.isnan(share):  # of those not known, as many as of the others that were open so long
        then, place = curve.at(part.time[unknown]), curve.at(limit)
        still = np.maximum(curve.open[then], 1e-12)
        not_in_time = (curve.open[place] + curve.share[1, place] - curve.share[1, then]) / still
        expected += float(np.minimum(not_in_time, 1.0).sum())
    counts = {"n": len(part), "n_open": int(unknown.sum()), "share": share, "low": low, "high": high, "met": kept}
    return {**counts, "missed": float(expected), "allowed": allowed, "budget_left": 1 - expected / allowed}


def _windows(told: Durations, every: str | None, tz: str) -> Durations:
    """The messages grouped by the window in which they started, too."""
    if every is None:
        first = told.started.min() if len(told) else 0
        beginning = instants(np.full(len(told), first))
    else:
        long = _length(every)
        local = instants(told.started).dt.tz_convert(tz).dt.tz_localize(None)
        floored = _MONDAY + (local - _MONDAY) // long * long
        if long <= pd.Timedelta("1h"):  # the hour that comes twice in autumn is two windows
            beginning = instants(told.started - ((local - floored) // pd.Timedelta("1us")).to_numpy(dtype=np.int64))
        else:
            shown = floored.dt.tz_localize(tz, ambiguous=np.ones(len(told), dtype=bool), nonexistent="shift_forward")
            beginning = shown.dt.tz_convert("UTC").astype(INSTANT)
    return _regrouped(told, pd.DataFrame({"window_at": beginning.array}))


def _length(every: Any) -> pd.Timedelta:
    """How long a window is."""
    if isinstance(every, pd.Timedelta):
        long = every
    else:
        parts = re.findall(r"([0-9.]+) *(ms|s|min|h|d|w)", str(every).lower())
        whole = "".join(number + unit for number, unit in parts) == str(every).lower().replace(" ", "")
        long = (
            sum((float(number) * _UNIT[unit] for number, unit in parts), pd.Timedelta(0)) if whole else pd.Timedelta(0)
        )
    if not long > pd.Timedelta(0):
        raise ValueError(f"every: {every!r} is not a duration above zero; pass e.g. '15min', '1h' or '1d'")
    return long


def _regrouped(told: Durations, more: pd.DataFrame) -> Durations:
    """The messages grouped by further columns, too."""
    check_name_clash(map(str, told.groups.columns), map(str, more.columns))
    all_of_them = told.groups.take(told.group).reset_index(drop=True)
    for name in more.columns:
        all_of_them[name] = more[name].array
    rows, group = factorize(all_of_them, list(all_of_them.columns))
    return replace(told, group=group, groups=rows)


def _estimated(
    told: Durations, within: Sequence[float] | float, quantiles: Sequence[float] | float, confidence: float
) -> pd.DataFrame:
    """A row of estimates for each group."""
    times = list(within) if isinstance(within, Iterable) and not isinstance(within, str) else [within]
    limits = {f"within_{_microseconds(one, 'within') / SECOND:.12g}s": _microseconds(one, "within") for one in times}
    wanted = check_shares(quantiles, "quantiles")
    check_share(confidence, "confidence")
    names = ["n", "n_open"]
    names += [f"{name}{end}" for name in limits for end in ("", "_low", "_high", "_naive")]
    names += [percentile(one).replace(".", "_") + end for one in wanted for end in ("_s", "_low_s", "_high_s")]
    rows = []
    for named, part in told.by_group():
        if not len(part):
            continue
        curve = part.curve()
        numbers: list[float] = [len(part), int((part.cause == OPEN).sum())]
        for limit in limits.values():
            numbers += [
                *_within(curve, limit, confidence),
                float(((part.cause == REACHED) & (part.time <= limit)).mean()),
            ]
        for one in wanted:
            numbers += _quantile(curve, one, confidence)
        rows.append({**named, **dict(zip(names, numbers, strict=True))})
    return _shaped(rows, told, names)


def _shaped(rows: list[dict[str, Any]], told: Durations, names: list[str]) -> pd.DataFrame:
    grouped = [str(name) for name in told.groups.columns]
    check_name_clash(grouped, [name for name in names if name not in _WINDOWS])
    made = pd.DataFrame(rows, columns=list(dict.fromkeys([*grouped, *names])))
    for name in grouped:
        made[name] = made[name].astype(told.groups[name].dtype)
    kinds = {name: "float64" for name in names if name not in (*grouped, "met")}
    return made.astype({**kinds, "n": "int64", "n_open": "int64"})


def _within(curve: Incidence, limit: int, confidence: float) -> list[float]:
    """The share at the end within microseconds, and its interval; NaN where nobody was watched for so long."""
    if not curve.covers(limit):
        return [np.nan] * 3
    place = curve.at(limit)
    return [float(numbers[place]) for numbers in (curve.share[0], *curve.band(0, confidence))]


def _quantile(curve: Incidence, share: float, confidence: float) -> list[float]:
    """A quantile of the time to the end in seconds, and its interval; NaN where it may still be reached."""
    time = curve.quantile(share)
    if np.isinf(time) and curve.share[0, -1] + curve.open[-1] >= share:
        return [np.nan] * 3
    return [number / SECOND for number in (time, *curve.quantile_interval(share, 0, confidence))]


def _microseconds(seconds: Any, field: str) -> int:
    if not isinstance(seconds, Real) or not 0 < float(seconds) < 1e12:
        raise ValueError(f"{field}: {seconds!r} is not a time in seconds above zero; pass e.g. 60")
    return round(float(seconds) * SECOND)
