"""Fallback to SMS: what each waiting time costs, and how many recipients it reaches in time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import COMPETING, Durations, check_number, check_share, durations, estimate_by_group
from viberkit.analysis.failure_codes import falls_back_at_once
from viberkit.analysis.formatting import duration, group_name, percent
from viberkit.analysis.grouping import BY, as_list
from viberkit.analysis.incidence import Floats
from viberkit.analysis.ordering import SECOND, Ints
from viberkit.frames.schema import require

#: The default waits, in seconds.
WAITS = (5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)

_AT_ONCE, _OTHERWISE = 2, 3  # causes of the incidence: failures that cause an SMS at once, and other failures
_ROUNDING = 1e-12
_LARGEST = 1e11  # seconds or an amount; the sum of two such times in microseconds fits into 64 bits


def fallback(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    within: float = 600.0,
    waits: Sequence[float] | float = WAITS,
    target: float = 0.95,
    viber_price: float | Decimal,
    sms_price: float | Decimal,
    sms_curve: pd.DataFrame | None = None,
    advice: Mapping[str, str] | None = None,
    viber_charged: str = "sent",
    split: float = 0.5,
    observed_from: Any = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Compare how long to wait for Viber before sending an SMS: cost, recipients reached, and the cheapest wait.

    An SMS is sent as soon as a message fails with a code whose advice is "fall back", otherwise after the wait if the
    message is not delivered by then.

    Parameters
    ----------
    journeys : DataFrame
        Journeys as returned by ``vk.journeys``, or events.
    by : str or sequence of str, optional
        Columns to group by: columns of ``journeys`` or ``messages``, ``hour`` or ``weekday``.
    start : str, default "accepted"
        The state from which times are measured.
    within : float, default 600
        Time in seconds within which recipients are to be reached.
    waits : float or sequence of float, default 17 waits from 5 s to 24 h
        Waits to compare, in seconds since ``start``.
    target : float, default 0.95
        Share of the recipients to reach within that time.
    viber_price, sms_price : float or Decimal
        Prices of one message, in the same currency.
    sms_curve : DataFrame, optional
        How fast SMS arrive: columns ``time_s`` and ``delivered`` as returned by ``vk.delivery_curve``. By default
        **SMS arrive at once**.
    advice : mapping of str to str, optional
        Advice by failure code ("fall back", "fix the request" or "wait"); it replaces or extends the built-in advice.
    viber_charged : {"sent", "delivered"}, default "sent"
        Which Viber messages are charged.
    split : float, default 0.5
        Share of the messages, by their start, on which the holdout choice is made; the others evaluate it.
    observed_from : datetime-like or Series, optional
        Beginning of the observation (left truncation), as for ``vk.delivery_curve``.
    confidence : float, default 0.95
        Confidence level of the interval of ``fallback_share``.
    cluster : str or None, default "auto"
        What makes messages depend on one another, which widens the intervals (see :mod:`viberkit.analysis`): the name
        of a column; by default ``campaign``, if there is one, and stretches of time. None: they are independent.
    messages : DataFrame, optional
        Further columns to group by, joined by ``message_id``, for example ``archive.messages()``.
    tz : str, default "UTC"
        Time zone of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per wait, shortest first, with the columns of ``by`` and:

        - ``wait_s``: the wait in seconds.
        - ``fallback_share``, ``fallback_low``, ``fallback_high``: share of the messages for which an SMS is sent, and
          its confidence interval.
        - ``delivered_later_share``: share of the messages still open after the wait that Viber delivers later; NaN if
          none is open.
        - ``duplicate_share``: share of the messages that arrive twice, by SMS after the wait and later by Viber.
        - ``cost``: expected cost per message.
        - ``reach_s``: time in seconds until the target share of the recipients is reached; ``inf``: never.
        - ``reached_share``: share of the recipients reached within ``within``.
        - ``meets_target``: whether that is at least ``target``.
        - ``chosen``: whether this is the cheapest wait that meets the target; of equal costs, the shortest.
        - ``holdout_cost``, ``holdout_reached``: cost and reached share on the later part of the messages only.

        ``attrs`` contains ``target``, ``within_s``, ``viber_charged``, ``sms`` (a sentence on how SMS arrive) and
        ``holdout`` (a sentence per group: the choice on the first part of the messages, evaluated on the later part).

    Raises
    ------
    MissingColumn
        A column of ``by``, of the journeys or of ``sms_curve`` is missing.
    ValueError
        A price, wait, target, curve, advice or state is invalid.

    Notes
    -----
    Delivery and failure over time are the cumulative incidence after Aalen and Johansen [1]_: messages that are still
    open are right-censored at ``observed_until``, and failure competes with delivery. A message that failed and was
    delivered afterwards counts as delivered. The time that an SMS takes is assumed to be independent of Viber.

    Beyond the longest time that any message was observed nothing is known: longer waits are NaN and never chosen, and
    ``delivered_later_share``, ``duplicate_share`` and ``reached_share`` are lower bounds.

    References
    ----------
    .. [1] Aalen, O. and Johansen, S. (1978). An empirical transition matrix for non-homogeneous Markov chains based on
       censored observations. Scandinavian Journal of Statistics 5, 141-150.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at,
    ...     "delivered_at": at + pd.to_timedelta([2, 3, 90, None], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"], "observed_until": at + pd.Timedelta("1h")})
    >>> result = vk.fallback(journeys, within=60, waits=[5, 30, 120], target=0.9, viber_price=0.02, sms_price=0.08)
    >>> result[["wait_s", "fallback_share", "delivered_later_share", "cost", "reached_share", "chosen"]].round(3)
       wait_s  fallback_share  delivered_later_share  cost  reached_share  chosen
    0     5.0            0.50                    0.5  0.06            1.0    True
    1    30.0            0.50                    0.5  0.06            1.0   False
    2   120.0            0.25                    0.0  0.04            0.5   False
    """
    if viber_charged not in ("sent", "delivered"):
        raise ValueError(f"viber_charged: {viber_charged!r} is not valid; pass 'sent' or 'delivered'")
    seconds = "a number of seconds above 0"
    wait_s = sorted({check_number(wait, "waits", seconds, "(30, 300)", 1e-6, _LARGEST) for wait in as_list(waits)})
    if not wait_s:
        raise ValueError("waits: is empty; pass seconds, e.g. (30, 300)")
    policy = _Policy(
        waits=np.rint(np.array(wait_s) * SECOND).astype(np.int64),
        within=round(check_number(within, "within", seconds, "600", 1e-6, _LARGEST) * SECOND),
        target=check_number(target, "target", "a number above 0 and up to 1", "0.95", 1e-9, 1.0),
        viber_price=check_number(viber_price, "viber_price", "a number from 0 up", "0.05", 0.0, _LARGEST),
        sms_price=check_number(sms_price, "sms_price", "a number from 0 up", "0.05", 0.0, _LARGEST),
        viber_charged=viber_charged,
        sms=_sms_steps(sms_curve),
        split=check_share(split, "split"),
    )
    options: dict[str, Any] = {"by": by, "start": start, "observed_from": observed_from, "messages": messages, "tz": tz}
    observed = durations(journeys, "fallback", confidence=confidence, cluster=cluster, **options)
    result = _estimate(observed, falls_back_at_once(observed.journeys, advice), policy)
    sms = "arrives at once; pass sms_curve to change that"
    if sms_curve is not None:
        sms = f"arrives as in sms_curve, {percent(policy.sms.total)} in total"
    result.attrs["sms"] = f"an SMS {sms}"
    return result


@dataclass(frozen=True)
class _Steps:
    """A share that grows in steps, at times in microseconds: ``share`` has one entry more, zero before the first."""

    time: Ints
    share: Floats

    @classmethod
    def of_curve(cls, time: Ints, share: Floats) -> _Steps:
        grows = np.diff(share, prepend=0.0) > 0
        return cls(time[grows], np.append(0.0, share[grows]))

    @property
    def total(self) -> float:
        return float(self.share[-1])

    def at(self, time: Any) -> Any:
        return self.share[np.searchsorted(self.time, time, side="right")]

    def followed_by(self, other: _Steps, time: int) -> float:
        """The share for which both happened by a time, one after the other and independently (a convolution)."""
        shorter, longer = (self, other) if len(self.time) <= len(other.time) else (other, self)
        return float(np.diff(shorter.share) @ longer.at(time - shorter.time))


@dataclass(frozen=True)
class _Policy:
    """The arguments of the comparison, times in microseconds."""

    waits: Ints
    within: int
    target: float
    viber_price: float
    sms_price: float
    viber_charged: str
    sms: _Steps
    split: float


class _Outcomes:
    """The cost and the share reached of each wait, estimated from some messages; NaN where not known."""

    def __init__(self, part: Durations, at_once: npt.NDArray[np.bool_], policy: _Policy) -> None:
        cause = np.where(part.cause == COMPETING, np.where(at_once[part.row], _AT_ONCE, _OTHERWISE), part.cause)
        self.curve = part.incidence(cause, _OTHERWISE)
        self.delivered, self.failed = (_Steps.of_curve(self.curve.time, share) for share in self.curve.share[:2])
        self.sms, self.target = policy.sms, policy.target
        self.known = self.curve.covers(policy.waits) & bool(self.curve.at_risk.any())
        self.fallback_share = np.where(self.known, np.clip(1.0 - self.delivered.at(policy.waits), 0.0, 1.0), np.nan)
        charged = self.delivered.total if policy.viber_charged == "delivered" else 1.0
        self.cost = policy.viber_price * charged + policy.sms_price * self.fallback_share
        reached = np.array([self.reached(policy.within, int(wait)) for wait in policy.waits])
        self.reached_share = np.where(self.known, np.minimum(reached, 1.0), np.nan)
        self.meets = np.asarray(self.reached_share >= policy.target - _ROUNDING)
        lowest = np.min(self.cost, where=self.meets, initial=np.inf)
        cheapest = self.meets & (self.cost <= lowest * (1 + _ROUNDING))
        self.chosen = int(np.argmax(cheapest)) if cheapest.any() else None

    def reached(self, time: int, wait: int) -> float:
        """The share of the recipients reached by either channel by a time."""
        delivered, count = float(self.delivered.at(time)), int(np.searchsorted(self.failed.time, wait, side="right"))
        failed = _Steps(self.failed.time[:count], self.failed.share[: count + 1])
        waited = max(1.0 - delivered - failed.total, 0.0)
        return delivered + failed.followed_by(self.sms, time) + waited * float(self.sms.at(time - wait))

    def reach_s(self, wait: int) -> float:
        """The time in seconds until the target share of the recipients is reached."""
        times = range(max(int(self.curve.time[-1]), wait) + int(self.sms.time.max(initial=0)) + 1)
        first = bisect_left(times, self.target - _ROUNDING, key=lambda time: self.reached(time, wait))
        return first / SECOND if first < len(times) else np.inf


def _estimate(observed: Durations, at_once: npt.NDArray[np.bool_], policy: _Policy) -> pd.DataFrame:
    """The result without ``attrs["sms"]``. ``at_once``: whether a failure causes an SMS at once, by row of journeys."""
    holdouts = []

    def estimate(part: Durations) -> dict[str, Any]:
        outcomes = _Outcomes(part, at_once, policy)
        known, index = outcomes.known, outcomes.curve.at(policy.waits)
        low, high = outcomes.curve.band(0, observed.attrs["confidence"])
        later = np.clip(outcomes.delivered.total - outcomes.delivered.at(policy.waits), 0.0, 1.0)
        still_open = outcomes.curve.open[index]
        any_open = known & (still_open > _ROUNDING)
        delivered_later = np.minimum(later, still_open) / np.where(any_open, still_open, np.nan)
        samples = _split(part, policy.split)
        first, holdout = (_Outcomes(sample, at_once, policy) for sample in samples)
        holdouts.append(_holdout_sentence(first, holdout, policy, *(sample.count() for sample in samples)))
        return {
            "wait_s": policy.waits / SECOND,
            "fallback_share": outcomes.fallback_share,
            "fallback_low": np.where(known, 1.0 - high[index], np.nan),
            "fallback_high": np.where(known, 1.0 - low[index], np.nan),
            "delivered_later_share": delivered_later,
            "duplicate_share": np.where(known, later * policy.sms.total, np.nan),
            "cost": outcomes.cost,
            "reach_s": np.array([outcomes.reach_s(int(wait)) for wait in policy.waits]) * np.where(known, 1.0, np.nan),
            "reached_share": outcomes.reached_share,
            "meets_target": outcomes.meets,
            "chosen": np.arange(len(known)) == outcomes.chosen,
            "holdout_cost": holdout.cost,
            "holdout_reached": holdout.reached_share,
        }

    names = observed.attrs["by"]
    empty = not len(observed) and not names  # one group without messages: the outcome of every wait is not known
    result = pd.DataFrame(estimate(observed)) if empty else estimate_by_group(observed, estimate)
    if names:
        groups = result[names].iloc[:: len(policy.waits)].itertuples(index=False)
        holdouts = [f"{group_name(group)}: {text}" for group, text in zip(groups, holdouts, strict=False)]
    result.attrs = observed.attrs | {"target": policy.target, "within_s": policy.within / SECOND}
    result.attrs |= {"viber_charged": policy.viber_charged, "holdout": "\n".join(holdouts)}
    return result


def _split(part: Durations, share: float) -> list[Durations]:
    """The first messages by their start, and the others."""
    part = part.take(np.argsort(part.started, kind="stable"))
    first = int(part.count() * share)
    if part.n is None:
        return [part.take(np.arange(first)), part.take(np.arange(first, len(part)))]
    n_first = np.clip(first - np.cumsum(part.n) + part.n, 0, part.n)
    return [replace(part, n=n).take(n > 0) for n in (n_first, part.n - n_first)]


def _holdout_sentence(first: _Outcomes, holdout: _Outcomes, policy: _Policy, n_first: int, n_holdout: int) -> str:
    def outcome(index: int | None) -> str:
        if index is None:
            return "none meets the target"
        reached = f"reaches {percent(holdout.reached_share[index])} in time"
        return f"{duration(policy.waits[index] / SECOND)} costs {holdout.cost[index]:.4g} per message and {reached}"

    if first.chosen is None:
        return f"From the first {n_first:,} messages alone no wait is chosen: none meets the target"
    text = f"From the first {n_first:,} messages alone {duration(policy.waits[first.chosen] / SECOND)} is chosen"
    if not holdout.known[first.chosen]:
        return f"{text}; the {n_holdout:,} after them were not observed for as long"
    return f"{text}. On the {n_holdout:,} after them {outcome(first.chosen)}; of all waits, {outcome(holdout.chosen)}"


def _sms_steps(curve: pd.DataFrame | None) -> _Steps:
    """The share of SMS that have arrived by the time since they were sent."""
    if curve is None:
        return _Steps(np.zeros(1, dtype=np.int64), np.array([0.0, 1.0]))
    require(curve, ("time_s", "delivered"), "fallback (sms_curve)")
    time, share = (curve[name].to_numpy(dtype=np.float64) for name in ("time_s", "delivered"))
    remedy = "pass the curve of one group, e.g. vk.delivery_curve(sms_journeys)"
    if not len(curve):
        raise ValueError(f"sms_curve: has no rows; {remedy}")
    valid = (time >= 0) & (time <= _LARGEST) & (share >= 0) & (share <= 1)
    valid[1:] &= (np.diff(time) >= 0) & (np.diff(share) >= 0)
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(f"sms_curve: in row {row} the time or the share decreases or is out of range; {remedy}")
    return _Steps.of_curve(np.rint(time * SECOND).astype(np.int64), share)
