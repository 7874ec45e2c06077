"""Delivery curves: how many messages have arrived, failed, or are still on the way after so much time.

Messages still open when they were last looked at are right-censored then: they count as long as they were watched,
and never as undelivered. Failure competes with delivery. Journeys in, tidy frames out; no clock is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.durations import Durations, check_share, check_shares, durations
from viberkit.analysis.formatting import interval, percentile
from viberkit.analysis.grouping import BY, check_name_clash
from viberkit.analysis.incidence import BANDS, incidence
from viberkit.analysis.ordering import SECOND

__all__ = ["delivery_curve", "time_to"]


def delivery_curve(
    journeys: pd.DataFrame,
    start: str = "accepted",
    end: str = "delivered",
    by: BY = None,
    *,
    confidence: float = 0.95,
    band: str = "score",
    observed_from: Any = None,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """The cumulative incidence of delivery and of failure over the time since ``start``, and the share still open.

    The estimator is Aalen and Johansen's (1978), exact with ties; with no failures it is one minus Kaplan and
    Meier's. ``journeys`` are those of ``vk.journeys`` (or events): a message that is neither delivered nor failed is
    censored at its ``observed_until``. A message that the log calls failed and then delivered counts as delivered.
    With ``end="seen"``, never seen is censored. ``observed_from`` (an instant, or a Series of instants by message id;
    by default the journeys' column of that name, if there is one) says since when messages were watched, where that
    was later than ``start``: before, they could not have been known (late entry).

    One row for each time at which anything happened, and one at zero; with ``by`` (columns of the journeys or of
    ``messages``, ``hour`` or ``weekday`` of the start in the zone ``tz``) for each group.

    Columns: those of ``by``; ``time_s`` (seconds since ``start``); ``delivered`` (named after ``end``), the share of
    all messages that is delivered by then, ``delivered_low`` and ``delivered_high``, its pointwise band, and
    ``delivered_se``, its standard error (delta method, with no failures Greenwood's); ``failed``, ``failed_low``,
    ``failed_high``, ``failed_se`` alike; ``open``, the rest; ``at_risk``, messages that were open and watched just
    before; ``n_delivered``, ``n_failed``, and ``n_open``: watched no longer, then. Where only polls tell when a state
    changed, the time of the poll that found it counts; ``n_bounded`` counts those, and ``delivered_earliest`` is the
    share if each had changed as early as it can have.

    ``band`` is ``"score"`` (Wilson's interval with the effective sample size of Dorey and Korn, 1987; it covers best),
    ``"log-log"`` or ``"linear"``; ``attrs["band"]`` names it in the result.

    Raises :class:`~viberkit.errors.MissingColumn`, and ``ValueError`` for a state or a band that is none. Messages
    that never entered ``start`` are left out with a :class:`~viberkit.analysis.durations.DroppedMessagesWarning`.

    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> trips = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "observed_until": at + pd.Timedelta("9s"),
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 2, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"]})
    >>> delivery_curve(trips)[["time_s", "delivered", "failed", "open", "at_risk", "n_open"]]
       time_s  delivered  failed  open  at_risk  n_open
    0     0.0       0.00     0.0  1.00        4       0
    1     1.0       0.25     0.0  0.75        4       0
    2     2.0       0.75     0.0  0.25        3       0
    3     9.0       0.75     0.0  0.25        1       1
    """
    if band not in BANDS:
        raise ValueError(f"band: {band!r} is none; pass one of {', '.join(BANDS)}")
    check_share(confidence, "confidence")
    told = durations(
        journeys, "delivery_curve", start=start, end=end, by=by, messages=messages, observed_from=observed_from, tz=tz
    )
    other = "delivered" if end in ("failed", "expired") else "failed"
    parts = [_curve(part, end, other, confidence, band, named) for named, part in told.by_group() if len(part)]
    if not parts:
        nothing = _curve(told, end, other, confidence, band, {}).iloc[:0]
        parts = [pd.concat([told.groups.iloc[:0], nothing], axis=1)]
    made = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    for name in told.groups.columns:
        made[name] = made[name].astype(told.groups[name].dtype)
    made.attrs = {"start": start, "end": end, "confidence": confidence, "band": BANDS[band]}
    return made


def _curve(part: Durations, end: str, other: str, confidence: float, band: str, named: dict[str, Any]) -> pd.DataFrame:
    curve = part.curve()
    bounded = part.earliest < part.time if part.earliest is not part.time else np.zeros(0, dtype=bool)
    earliest, counted = curve.share[0], np.zeros(len(curve.time), dtype=np.int64)
    if bounded.any():
        soonest = incidence(part.earliest, part.cause, 2, part.entry)
        earliest = soonest.share[0][soonest.at(curve.time)]
        counted = np.bincount(curve.at(part.time[bounded]), minlength=len(curve.time))
    made: dict[str, Any] = {"time_s": curve.time / SECOND}
    for place, (name, (low, high)) in enumerate(zip((end, other), curve.bands(confidence, band), strict=True)):
        made |= {name: curve.share[place], f"{name}_low": low, f"{name}_high": high}
        made[f"{name}_se"] = curve.standard_error(place)
    made |= {"open": curve.open, "at_risk": curve.at_risk}
    made |= {f"n_{end}": curve.ended[0], f"n_{other}": curve.ended[1], "n_open": curve.censored}
    made |= {f"{end}_earliest": earliest, "n_bounded": counted}
    check_name_clash(named, made)
    return pd.DataFrame(named | made, index=range(len(curve.time)), copy=False)


def time_to(
    journeys: pd.DataFrame,
    end: str = "delivered",
    quantiles: Sequence[float] | float = (0.5, 0.9, 0.95, 0.99),
    by: BY = None,
    *,
    start: str = "accepted",
    confidence: float = 0.95,
    observed_from: Any = None,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """By when a share of **all** messages has come to ``end``: quantiles of the time to it, with intervals.

    Messages still on the way and failed ones count: where more than 10 % fail, the 95 % quantile is not reached,
    however fast the others are. One row a quantile, and with ``by`` a group and quantile; parameters as in
    :func:`delivery_curve`.

    Columns: those of ``by``; ``quantile``; ``time_s``, when the curve first reaches it, infinite where it never
    does; ``low_s`` and ``high_s``, the confidence interval (fractional order statistics after Hutson 1999, with the
    effective sample size; zero or infinite where the messages are too few to tell); ``earliest_s``: as ``time_s``, had
    what only polls told happened as early as it can; ``reached``; ``n`` and ``n_open``, messages and those still
    open; ``text``: all that in words.

    Raises as :func:`delivery_curve`, and ``ValueError`` for a quantile that is not between 0 and 1.

    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> trips = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "observed_until": at + pd.Timedelta("9s"),
    ...     "delivered_at": at + pd.to_timedelta([1, 2, 4, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"]})
    >>> time_to(trips, quantiles=[0.5, 0.9])[["quantile", "time_s", "reached", "n", "n_open", "text"]]
       quantile  time_s  reached  n  n_open                     text
    0       0.5     2.0     True  4       1  p50 2 s (0 ms or more)
    1       0.9     inf    False  4       1          p90 not reached
    """
    wanted = check_shares(quantiles, "quantiles")
    check_share(confidence, "confidence")
    told = durations(
        journeys, "time_to", start=start, end=end, by=by, messages=messages, observed_from=observed_from, tz=tz
    )
    rows: list[dict[str, Any]] = []
    for named, part in told.by_group():
        if not len(part):
            continue
        curve = part.curve()
        soonest = incidence(part.earliest, part.cause, 2, part.entry) if (part.earliest < part.time).any() else curve
        counts = {"n": len(part), "n_open": int((part.cause == 0).sum())}
        for one in wanted:
            time = curve.quantile(one) / SECOND
            low, high = (end_s / SECOND for end_s in curve.quantile_interval(one, 0, confidence))
            earliest = soonest.quantile(one) / SECOND
            estimate = {"quantile": float(one), "time_s": time, "low_s": low, "high_s": high, "earliest_s": earliest}
            text = f"{percentile(one)} {interval(time, low, high)}"
            rows.append({**named, **estimate, "reached": bool(np.isfinite(time)), **counts, "text": text})
    names = ["quantile", "time_s", "low_s", "high_s", "earliest_s", "reached", "n", "n_open", "text"]
    check_name_clash(told.groups.columns, names)
    made = pd.DataFrame(rows, columns=[*told.groups.columns, *names])
    for name in told.groups.columns:
        made[name] = made[name].astype(told.groups[name].dtype)
    made.attrs = {"start": start, "end": end, "confidence": confidence}
    return made
