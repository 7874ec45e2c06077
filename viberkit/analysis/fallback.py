"""When to give up on Viber and send an SMS: what each wait would cost, and whom it would reach by when.

Journeys in, a frame out; no clock is read, and nothing is sent. What the log says of delivery and failure over time is
estimated as in :mod:`~viberkit.analysis.incidence`, so messages still open count as long as they were watched.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import COMPETING, Durations, check_share, durations
from viberkit.analysis.failure_codes import ADVICE, advise, falls_back_at_once
from viberkit.analysis.fallback_steps import Steps, microseconds, sms_steps
from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import BY, check_name_clash
from viberkit.analysis.incidence import Floats, Incidence, incidence
from viberkit.analysis.ordering import SECOND, Ints

__all__ = ["ADVICE", "WAITS", "advise", "fallback"]

#: The waits that are compared, in seconds, if no others are given.
WAITS = (5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)

_ENDS, _AT_ONCE, _OTHERWISE = 3, 2, 3  # the ends of a message: delivered is the first
_REACH = (0.9, 0.95, 0.99)
_ROUNDING = 1e-12


def fallback(
    journeys: pd.DataFrame,
    *,
    viber_price: float | Decimal,
    sms_price: float | Decimal,
    sms_curve: pd.DataFrame | None = None,
    wait: Sequence[float] | float = WAITS,
    target: tuple[float, float] = (0.95, 600.0),
    by: BY = None,
    advice: Mapping[str, str] | None = None,
    viber_charged: str = "sent",
    split: float = 0.5,
    confidence: float = 0.95,
    start: str = "accepted",
    observed_from: Any = None,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """When to give up on Viber and send an SMS: the cheapest wait that reaches enough recipients in time.

    An SMS goes out as soon as a message fails with a code whose advice is to fall back (:func:`advise`; ``advice``
    adds to the table), and else after the wait, if it is not delivered by then: still on the way, or failed otherwise.
    One row a wait (``wait``: seconds since ``start``), shortest first.

    ``target``: the share of recipients to reach, and within how many seconds. ``viber_price`` and ``sms_price``: what
    one costs, in one currency; ``viber_charged``: for each message "sent", or only for each "delivered" one.
    ``sms_curve``: how fast SMS arrive, a frame with ``time_s`` and ``delivered`` as ``vk.delivery_curve`` gives;
    without it **an SMS counts as received at once** (``attrs["sms"]`` says which). ``by``, ``messages``, ``tz``,
    ``confidence`` and ``observed_from`` are as in :func:`~viberkit.analysis.curves.delivery_curve`.

    Columns: those of ``by``; ``wait_s``; ``falls_back``, the share of all messages for which an SMS goes out, with its
    interval ``falls_back_low`` and ``falls_back_high``; ``still_delivers``, the share that Viber delivers later of
    those still open at the wait (NaN: none is); ``twice``, the share of all received twice: the SMS that the wait sent
    arrives, and Viber's message after the wait too; ``cost``, expected per message, in the prices' currency;
    ``reach_90_s``, ``reach_95_s``, ``reach_99_s``, the time until so many recipients are reached by either way
    (infinite: never, as far as the log tells); ``reached``, the share reached by either way within the target's time;
    ``meets``, whether that is the target's share; ``chosen``, the cheapest wait that meets it, of equals the shortest
    (none if none does); ``cost_check`` and ``reached_check``, the same wait judged on the later part of the messages
    alone. ``attrs["check"]`` says in words what the first part alone (``split`` of the messages by their start) would
    have chosen, what that cost on the later part, and what the best wait in hindsight there would have cost.

    Messages still open are censored at ``observed_until``, and failure competes with delivery (Aalen and Johansen
    1978; see :mod:`~viberkit.analysis.incidence`). When an SMS arrives is taken to be independent of whether and when
    Viber delivers later. Beyond the longest time that a message was watched the curve is flat: ``still_delivers``,
    ``twice`` and ``reached`` then tell the least there can be, and waits beyond it are not known (NaN, never chosen). A
    message that the log calls failed and then delivered counts as delivered.

    Raises :class:`~viberkit.errors.MissingColumn`, and ``ValueError`` for a price, wait, target, curve, advice or
    state that is none.

    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> trips = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "observed_until": at + pd.Timedelta("1h"),
    ...     "delivered_at": at + pd.to_timedelta([2, 3, 90, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"]})
    >>> found = fallback(trips, viber_price=0.02, sms_price=0.08, wait=(5, 30, 120), target=(0.9, 60))
    >>> found[["wait_s", "falls_back", "still_delivers", "twice", "cost", "reached", "chosen"]].round(3)
       wait_s  falls_back  still_delivers  twice  cost  reached  chosen
    0     5.0        0.50             0.5   0.25  0.06      1.0    True
    1    30.0        0.50             0.5   0.25  0.06      1.0   False
    2   120.0        0.25             0.0   0.00  0.04      0.5   False
    """
    rule = _rule(viber_price, sms_price, viber_charged, wait, target)
    check_share(split, "split")
    check_share(confidence, "confidence")
    sms = sms_steps(sms_curve)
    told = durations(journeys, "fallback", start=start, by=by, messages=messages, observed_from=observed_from, tz=tz)
    at_once = falls_back_at_once(told.journeys, advice)
    frames, checks = [], []
    for named, part in told.by_group() if len(told.groups) else [(dict.fromkeys(map(str, told.groups)), told)]:
        made, check = _compared(part, at_once, sms, rule, split, confidence)
        check_name_clash(named, made)
        frames.append(pd.DataFrame(named | made, index=range(len(rule.wait))).iloc[: None if len(told.groups) else 0])
        checks.append("".join(f"{name} {value}: " for name, value in named.items()) + check)
    found = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    for name in told.groups.columns:
        found[name] = found[name].astype(told.groups[name].dtype)
    arrives = "is taken to be received at once; pass sms_curve to say how fast it arrives"
    if sms_curve is not None:
        arrives = f"arrives as sms_curve says: {percent(sms.last)} in the end"
    found.attrs = {
        "target": f"{percent(rule.share)} within {duration(rule.within_s)}",
        "viber_charged": f"for each message {viber_charged}",
        "sms": f"an SMS {arrives}",
        "check": "\n".join(checks),
        "confidence": confidence,
    }
    return found


@dataclass(frozen=True)
class _Rule:
    """What was asked: the waits (seconds, and microseconds), what is paid, and what is wanted."""

    wait_s: Floats
    wait: Ints
    viber: float
    sms: float
    for_delivered: bool
    share: float
    within_s: float


@dataclass(frozen=True)
class _Plan:
    """What is known of some messages: the curve, who is delivered, who fails so that an SMS goes at once; the SMS."""

    curve: Incidence
    delivered: Steps
    refused: Steps
    sms: Steps

    @classmethod
    def of(cls, part: Durations, at_once: npt.NDArray[np.bool_], sms: Steps) -> _Plan:
        """Of messages, and of which rows of the journeys failures call for an SMS at once."""
        failed = np.where(at_once[part.row], _AT_ONCE, _OTHERWISE)
        curve = incidence(part.time, np.where(part.cause == COMPETING, failed, part.cause), _ENDS, part.entry)
        return cls(curve, Steps.of(curve.time, curve.share[0]), Steps.of(curve.time, curve.share[1]), sms)

    def reached(self, when: int, wait: int) -> float:
        """The share of recipients reached by either way by a time."""
        here = float(self.delivered.at(when))
        if when < wait:
            return here + self.refused.followed_by(self.sms, when)
        before = self.refused.until(wait)
        waited = max(1.0 - here - before.last, 0.0) * float(self.sms.at(when - wait))
        return here + before.followed_by(self.sms, when) + waited

    def reach_s(self, share: float, waits: Ints) -> Floats:
        """When a share of the recipients is reached, in seconds, for each wait in order, by halving."""
        found, low = np.full(len(waits), np.inf), -1
        last = int(max(self.delivered.time[-1], self.refused.time[-1], waits.max(initial=0)) + self.sms.end)
        for place, wait in enumerate(map(int, waits)):
            if self.reached(last, wait) < share - _ROUNDING:
                continue
            high = next(
                (end for end in (wait, wait + self.sms.end) if self.reached(end, wait) >= share - _ROUNDING), last
            )
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if self.reached(middle, wait) >= share - _ROUNDING else (middle, high)
            found[place] = high / SECOND
            if high < wait:  # reached before the SMS goes out: longer waits change nothing
                found[place:] = found[place]
                break
        return found

    def outcome(self, rule: _Rule) -> tuple[Floats, Floats, Floats]:
        """The share that falls back, the cost and the share reached in time, for each wait; NaN where not known."""
        known = np.where(self.curve.covers(rule.wait) & self.curve.at_risk.any(), 1.0, np.nan)
        back = np.clip(1.0 - self.delivered.at(rule.wait), 0.0, 1.0) * known
        cost = rule.viber * (self.delivered.last if rule.for_delivered else 1.0) + rule.sms * back
        within = microseconds(rule.within_s)
        reached = np.array([self.reached(within, int(wait)) for wait in rule.wait])
        return back, cost, np.minimum(reached, 1.0) * known


def _compared(
    part: Durations, at_once: npt.NDArray[np.bool_], sms: Steps, rule: _Rule, split: float, confidence: float
) -> tuple[dict[str, Any], str]:
    """The columns of one group, and what its later messages say of a choice made on the first, in words."""
    plan = _Plan.of(part, at_once, sms)
    back, cost, reached = plan.outcome(rule)
    known, places = np.isfinite(back), plan.curve.at(rule.wait)
    low, high = (np.where(known, 1.0 - edge[places], np.nan) for edge in plan.curve.band(0, confidence)[::-1])
    later = np.clip(plan.delivered.last - plan.delivered.at(rule.wait), 0.0, 1.0)
    still = plan.curve.open[places]
    unknown = np.full(len(places), np.nan)
    made = {"wait_s": rule.wait_s, "falls_back": back, "falls_back_low": low, "falls_back_high": high}
    made["still_delivers"] = np.divide(np.minimum(later, still), still, out=unknown, where=known & (still > _ROUNDING))
    made |= {"twice": np.where(known, later * sms.last, np.nan), "cost": cost}
    for share in _REACH:
        reach = made[f"reach_{round(100 * share)}_s"] = np.full(len(known), np.nan)
        reach[known] = plan.reach_s(share, rule.wait[known])
    meets, chosen = _chosen(cost, reached, rule)
    made |= {"reached": reached, "meets": meets, "chosen": np.arange(len(cost)) == chosen}
    order, cut = np.argsort(part.started, kind="stable"), int(len(part) * split)
    first, after = (_Plan.of(part.take(some), at_once, sms) for some in (order[:cut], order[cut:]))
    _, cost_check, reached_check = after.outcome(rule)
    _, cost_first, reached_first = first.outcome(rule)
    made |= {"cost_check": cost_check, "reached_check": reached_check}
    place, best = _chosen(cost_first, reached_first, rule)[1], _chosen(cost_check, reached_check, rule)[1]
    return made, _check(place, best, (cut, len(part) - cut), cost_check, reached_check, rule)


def _chosen(cost: Floats, reached: Floats, rule: _Rule) -> tuple[npt.NDArray[np.bool_], int]:
    """Which waits meet the target, and the place of the cheapest of them, the shortest of equals; -1: none does."""
    meets = np.asarray(reached >= rule.share - _ROUNDING)
    least = np.min(cost, where=meets, initial=np.inf)
    return meets, int(np.argmax(meets & (cost <= least * (1 + _ROUNDING)))) if meets.any() else -1


def _check(place: int, best: int, n: tuple[int, int], cost: Floats, reached: Floats, rule: _Rule) -> str:
    within = f"{percent(rule.share)} within {duration(rule.within_s)}"
    if place < 0:
        return f"On the first {n[0]:,} messages alone no wait would have been chosen: none reached {within}"
    alone = f"On the first {n[0]:,} messages alone, {duration(rule.wait_s[place])} would have been chosen"
    if not np.isfinite(cost[place]):
        return f"{alone}; the {n[1]:,} after them were not watched as long, so nothing checks it"
    told = (
        f"{alone}; on the {n[1]:,} after them it cost {cost[place]:.4g} a message, and {percent(reached[place])} of the"
    )
    told += " recipients were reached in time" + ("" if reached[place] >= rule.share - _ROUNDING else ", too few")
    if best < 0:
        return f"{told}. No wait would have reached {within} there"
    if place == best:
        return f"{told}. No other wait would have been better there"
    gap = 100 * (cost[place] / cost[best] - 1) if cost[best] > 0 else 0.0
    than = f"{duration(rule.wait_s[best])}, cost {cost[best]:.4g}; the choice cost {abs(gap):.1f} %"
    return f"{told}. The best wait in hindsight there, {than} {'more' if gap >= 0 else 'less'}"


def _rule(viber: Any, sms: Any, charged: str, wait: Any, target: Any) -> _Rule:
    viber = _amount(viber, "viber_price", "from 0 up", "0.05")
    sms = _amount(sms, "sms_price", "from 0 up", "0.05")
    if charged not in ("sent", "delivered"):
        raise ValueError(f"viber_charged: {charged!r} is none; pass 'sent' or 'delivered'")
    several = wait if isinstance(wait, Sequence | np.ndarray | pd.Series) and not isinstance(wait, str) else [wait]
    waits = sorted({_amount(one, "wait", "of seconds above 0", "(30, 300)", 1e-6) for one in several})
    if not waits:
        raise ValueError("wait: there is none to compare; pass seconds, e.g. (30, 300)")
    target = tuple(target) if isinstance(target, np.ndarray) else target
    if not isinstance(target, Sequence) or isinstance(target, str) or len(target) != 2:
        raise ValueError(f"target: {target!r} is not a share and seconds; pass e.g. (0.95, 600)")
    share = _amount(target[0], "target", "above 0 and up to 1", "(0.95, 600)", 1e-9, 1.0)
    within = _amount(target[1], "target", "of seconds above 0", "(0.95, 600)", 1e-6)
    micro = np.array([microseconds(one) for one in waits])
    return _Rule(np.array(waits), micro, viber, sms, charged == "delivered", share, within)


def _amount(value: Any, field: str, rule: str, like: str, least: float = 0.0, most: float = 1e15) -> float:
    try:
        number = float(value) if isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{field}: {value!r} is not a number {rule}; pass e.g. {like}")
    return number
