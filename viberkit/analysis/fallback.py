"""Fallback to SMS: what each waiting time costs, and how many recipients it reaches in time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from viberkit.analysis.clusters import States
from viberkit.analysis.durations import COMPETING, Durations, check_number, durations, estimate_by_group, estimate_rows
from viberkit.analysis.failure_codes import falls_back_at_once
from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import BY, as_list, group_columns
from viberkit.analysis.incidence import Floats, Incidence, _score, product_limit
from viberkit.analysis.ordering import SECOND, Ints
from viberkit.analysis.windows import group_by_window
from viberkit.frames.schema import require

#: The default waits, in seconds.
WAITS = (5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)

_AT_ONCE, _OTHERWISE = 2, 3  # causes of the incidence: failures that cause an SMS at once, and other failures
_ROUNDING = 1e-12
_LARGEST = 1e11  # seconds or an amount; the sum of two such times in microseconds fits into 64 bits
_DRAWS = 200  # resampled logs
_CLASSES = 64  # of the times in them, at most, beside the waits
_SIZE = 4_000_000  # numbers in a table of clusters and classes
_REPLAYED = ("wait_s", "cost", "reached_share")
_REGRETS = ("regret", "mean_regret", "mean_regret_low", "mean_regret_high")


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
    journeys : DataFrame or EventLog
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
    observed_from : datetime-like or Series, optional
        Beginning of the observation (left truncation), as for ``vk.delivery_curve``.
    confidence : float, default 0.95
        Confidence level of the intervals.
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
        - ``duplicate_share``, ``duplicate_low``, ``duplicate_high``: share of the messages that arrive twice, by SMS
          after the wait and later by Viber, and its interval.
        - ``cost``, ``cost_low``, ``cost_high``: expected cost per message, and its interval.
        - ``reached_share``, ``reached_low``, ``reached_high``: share of the recipients reached within ``within``, and
          its interval.
        - ``delivered_later_share``: share of the messages still open after the wait that Viber delivers later; NaN if
          none is open.
        - ``reach_s``: time in seconds until the target share of the recipients is reached; ``inf``: never.
        - ``meets_target``: whether ``reached_share`` is at least ``target``.
        - ``chosen``: whether this is the cheapest wait that meets the target; of equal costs, the shortest.
        - ``chosen_share``: in which part of the resampled logs this wait is chosen; 1: another log of this kind would
          lead to the same choice.

        ``attrs`` contains ``target``, ``within_s``, ``viber_charged`` and ``sms`` (a sentence on how SMS arrive).

    Raises
    ------
    MissingColumn
        A column of ``by``, of the journeys or of ``sms_curve`` is missing.
    ValueError
        A price, wait, target, curve, advice or state is invalid.

    See Also
    --------
    replay : How this choice would have done in past campaigns.

    Notes
    -----
    Delivery and failure over time are the cumulative incidence after Aalen and Johansen [1]_: messages that are still
    open are right-censored at ``observed_until``, and failure competes with delivery. A message that failed and was
    delivered afterwards counts as delivered. The time that an SMS takes is assumed to be independent of Viber.

    Intervals are Wilson's, of the place of a mean between the least and the greatest value that a message can have. The
    variance is that of 200 resampled logs: of independent messages, of whole clusters, or of stretches of time of the
    length in which messages depend on one another (circular block bootstrap [2]_). The seed is fixed. The intervals
    are too narrow where dependence reaches further than a tenth of the log, with fewer than ten clusters, and where
    fewer than about five messages are still to be delivered. Prices and ``sms_curve`` count as exact.

    Beyond the longest time that any message was observed nothing is known: longer waits are NaN and never chosen, and
    ``delivered_later_share``, ``duplicate_share`` and ``reached_share`` are lower bounds, and so is ``cost`` where
    delivered messages are charged.

    References
    ----------
    .. [1] Aalen, O. and Johansen, S. (1978). An empirical transition matrix for non-homogeneous Markov chains based on
       censored observations. Scandinavian Journal of Statistics 5, 141-150.
    .. [2] Politis, D. and Romano, J. (1992). A circular block-resampling procedure for stationary data. In: Exploring
       the Limits of Bootstrap, 263-270. Wiley.

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
    policy = _policy(waits, within, target, viber_price, sms_price, sms_curve, viber_charged)
    options: dict[str, Any] = {"by": by, "start": start, "observed_from": observed_from, "messages": messages, "tz": tz}
    options |= {"confidence": confidence, "cluster": cluster}
    observed = durations(journeys, "fallback", columns=["code"], split=(), **options)
    return _estimate(observed, falls_back_at_once(observed.journeys, advice), policy)


def replay(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    start: str = "accepted",
    within: float = 600.0,
    waits: Sequence[float] | float = WAITS,
    target: float = 0.95,
    every: str | None = None,
    viber_price: float | Decimal,
    sms_price: float | Decimal,
    sms_curve: pd.DataFrame | None = None,
    advice: Mapping[str, str] | None = None,
    viber_charged: str = "sent",
    observed_from: Any = None,
    confidence: float = 0.95,
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    r"""Choose the wait before each past campaign by what was known then, and compare its cost with the best choice.

    A choice looks good on the messages it was made from. Here it is made from the messages that started before the
    first one of a campaign, as far as their outcome was known by then, and evaluated on the campaign.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as returned by ``vk.journeys``, or events.
    by : str or sequence of str, optional
        Columns to group by: columns of ``journeys`` or ``messages``, ``hour`` or ``weekday``. A wait is chosen for each
        group by its own messages.
    start : str, default "accepted"
        The state from which times are measured.
    within : float, default 600
        Time in seconds within which recipients are to be reached.
    waits : float or sequence of float, default 17 waits from 5 s to 24 h
        Waits to choose from, in seconds since ``start``.
    target : float, default 0.95
        Share of the recipients to reach within that time.
    every : str or None, default None
        Length of the time windows that count as campaigns, such as ``"1d"`` or ``"1w"``. By default the campaigns are
        the values of the column ``campaign``, or days if there is none. Messages without a campaign are only learned
        from.
    viber_price, sms_price : float or Decimal
        Prices of one message, in the same currency.
    sms_curve : DataFrame, optional
        How fast SMS arrive, as for :func:`fallback`. By default **SMS arrive at once**.
    advice : mapping of str to str, optional
        Advice by failure code, as for :func:`fallback`.
    viber_charged : {"sent", "delivered"}, default "sent"
        Which Viber messages are charged.
    observed_from : datetime-like or Series, optional
        Beginning of the observation (left truncation), as for ``vk.delivery_curve``.
    confidence : float, default 0.95
        Confidence level of the interval of ``mean_regret``.
    messages : DataFrame, optional
        Further columns, joined by ``message_id``, for example ``archive.messages()`` with ``campaign``.
    tz : str, default "UTC"
        Time zone of the windows, of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per campaign, in the order of their first messages, with the columns of ``by`` and:

        - ``campaign``, or ``window_at`` (beginning of the window, UTC).
        - ``n``, ``n_known``: messages of the campaign, and messages that started before it.
        - ``wait_s``, ``cost``, ``reached_share``: the wait that was chosen in seconds, its cost per message of the
          campaign, and the share of recipients that it reaches within ``within``; NaN if no wait met the target before.
        - ``best_wait_s``, ``best_cost``, ``best_reached_share``: the same of the choice in hindsight, by the campaign
          itself; NaN if no wait meets the target.
        - ``regret``: ``cost`` less ``best_cost``; below zero if the chosen wait is too long and misses the
          target.
        - ``mean_regret``, ``mean_regret_low``, ``mean_regret_high``: mean regret per message of the campaigns up to
          this one, and its interval; the last row is about all of them. NaN with fewer than two campaigns.
        - ``summary``: both choices as a sentence.

        ``attrs`` contains ``target``, ``within_s``, ``viber_charged`` and ``sms`` (a sentence on how SMS arrive).

    Raises
    ------
    MissingColumn
        A column of ``by``, of the journeys or of ``sms_curve`` is missing.
    ValueError
        A price, wait, target, curve, advice, state or ``every`` is invalid.

    See Also
    --------
    fallback : The outcome of every wait, by all messages.

    Notes
    -----
    Evaluating each choice on what came after it is prequential [1]_. The best wait in hindsight is chosen by the
    campaign itself, and by chance looks better than it is, the more so the smaller the campaign: regret is an upper
    bound of what a better choice would have saved. The interval is Student's for the mean of the campaigns, weighted by
    their messages: it takes campaigns as independent, and is unreliable with fewer than about ten.

    References
    ----------
    .. [1] Dawid, A. P. (1984). Present position and potential developments: some personal views: statistical theory:
       the prequential approach. Journal of the Royal Statistical Society A 147, 278-292.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 4 + ["2026-03-02T09:00:00Z"] * 4)
    >>> journeys = pd.DataFrame({"message_id": list("abcdefgh"), "campaign": ["spring"] * 4 + ["sale"] * 4,
    ...     "accepted_at": at, "delivered_at": at + pd.to_timedelta([2, 3, 90, None, 2, 3, 4, 20], unit="s"),
    ...     "outcome": ["delivered"] * 3 + ["open"] + ["delivered"] * 4, "observed_until": at + pd.Timedelta("1h")})
    >>> result = vk.replay(journeys, within=60, waits=[5, 30], target=0.9, viber_price=0.02, sms_price=0.08)
    >>> result[["campaign", "n_known", "wait_s", "cost", "best_wait_s", "best_cost", "regret"]].round(3)
      campaign  n_known  wait_s  cost  best_wait_s  best_cost  regret
    0   spring        0     NaN   NaN          5.0       0.06     NaN
    1     sale        4     5.0  0.04         30.0       0.02    0.02
    >>> print(result["summary"][1].replace("; ", ";\n"))
    by 4 messages before: 5 s costs 0.04 per message and reaches 100 % in time;
    in hindsight: 30 s costs 0.02 per message and reaches 100 % in time
    """
    policy = _policy(waits, within, target, viber_price, sms_price, sms_curve, viber_charged)
    options: dict[str, Any] = {"by": by, "start": start, "observed_from": observed_from, "messages": messages, "tz": tz}
    observed = durations(journeys, "replay", confidence=confidence, columns=["code"], **options)
    at_once, name = falls_back_at_once(observed.journeys, advice), "campaign"
    if every is None and observed.cluster is not None:
        names = group_columns(observed.journeys, [name], observed.started, messages, "replay", tz)[name].astype("str")
    else:
        windows, name = group_by_window(observed, every or "1d"), "window_at"
        names = windows.groups[name].take(windows.group).reset_index(drop=True)
    dtypes = {name: names.dtype, "n": "int64", "n_known": "int64"}
    floats = (*_REPLAYED, *(f"best_{column}" for column in _REPLAYED), *_REGRETS)
    dtypes |= dict.fromkeys(floats, "float64") | {"summary": "str"}
    observed = replace(observed, attrs=observed.attrs | {"cluster": None})  # no intervals, therefore no clusters
    result = estimate_rows(observed, dtypes, lambda part: _replayed(part, at_once, policy, names))
    result.attrs |= policy.attrs
    return result


@dataclass(frozen=True)
class _Steps:
    """A share that grows in steps, at times in microseconds: ``share`` has one entry more, zero before the first.

    It may have a first axis: the shares of several logs.
    """

    time: Ints
    share: Floats

    @classmethod
    def of_curve(cls, time: Ints, share: Floats) -> _Steps:
        grows = np.diff(share, prepend=0.0) > 0
        return cls(time[grows], np.append(0.0, share[grows]))

    @property
    def total(self) -> Any:
        return self.share[..., -1]

    def at(self, time: Any) -> Any:
        return self.share[..., np.searchsorted(self.time, time, side="right")]

    def followed_by(self, other: _Steps, time: int) -> Any:
        """The share for which both happened by a time, one after the other and independently (a convolution)."""
        if len(self.time) <= len(other.time):
            return np.diff(self.share) @ other.at(time - self.time)
        return self.at(time - other.time) @ np.diff(other.share)


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

    @property
    def attrs(self) -> dict[str, Any]:
        sms = "arrives at once; pass sms_curve to change that"
        if len(self.sms.time) != 1 or self.sms.time[0] or self.sms.total < 1:
            sms = f"arrives as in sms_curve, {percent(self.sms.total)} in total"
        attrs = {"target": self.target, "within_s": self.within / SECOND, "viber_charged": self.viber_charged}
        return attrs | {"sms": f"an SMS {sms}"}


def _policy(
    waits: Any, within: Any, target: Any, viber_price: Any, sms_price: Any, sms_curve: Any, viber_charged: str
) -> _Policy:
    if viber_charged not in ("sent", "delivered"):
        raise ValueError(f"viber_charged: {viber_charged!r} is not valid; pass 'sent' or 'delivered'")
    seconds = "a number of seconds above 0"
    wait_s = sorted({check_number(wait, "waits", seconds, "(30, 300)", 1e-6, _LARGEST) for wait in as_list(waits)})
    if not wait_s:
        raise ValueError("waits: is empty; pass seconds, e.g. (30, 300)")
    return _Policy(
        waits=np.rint(np.array(wait_s) * SECOND).astype(np.int64),
        within=round(check_number(within, "within", seconds, "600", 1e-6, _LARGEST) * SECOND),
        target=check_number(target, "target", "a number above 0 and up to 1", "0.95", 1e-9, 1.0),
        viber_price=check_number(viber_price, "viber_price", "a number from 0 up", "0.05", 0.0, _LARGEST),
        sms_price=check_number(sms_price, "sms_price", "a number from 0 up", "0.05", 0.0, _LARGEST),
        viber_charged=viber_charged,
        sms=_sms_steps(sms_curve),
    )


class _Outcomes:
    """What each wait leads to, by the shares delivered and failed at once over time, of one log or of several.

    ``known`` is NaN for waits whose outcome is not known, else 1.
    """

    def __init__(self, delivered: _Steps, failed: _Steps, policy: _Policy, known: Floats | float = 1.0) -> None:
        self.delivered, self.failed, self.policy, self.known = delivered, failed, policy, known
        total, before = delivered.share[..., -1:], delivered.at(policy.waits)
        self.fallback_share = np.clip(1.0 - before, 0.0, 1.0) * known
        self.later = np.clip(total - before, 0.0, 1.0) * known
        self.duplicate_share = self.later * policy.sms.total
        charged = total if policy.viber_charged == "delivered" else 1.0
        self.cost = policy.viber_price * charged + policy.sms_price * self.fallback_share
        reached = [self.reached(policy.within, int(wait)) for wait in policy.waits]
        self.reached_share = np.minimum(np.stack(reached, axis=-1), 1.0) * known

    @classmethod
    def of_curve(cls, curve: Incidence, policy: _Policy) -> _Outcomes:
        known = np.where(curve.covers(policy.waits) & bool(curve.at_risk.any()), 1.0, np.nan)
        delivered, failed = (_Steps.of_curve(curve.time, share) for share in curve.share[:2])
        return cls(delivered, failed, policy, known)

    @property
    def chosen(self) -> npt.NDArray[np.bool_]:
        """Whether each wait is the cheapest one that meets the target; of equal costs, the shortest."""
        meets_target = self.reached_share >= self.policy.target - _ROUNDING
        lowest = np.min(self.cost, axis=-1, where=meets_target, initial=np.inf, keepdims=True)
        cheapest = meets_target & (self.cost <= lowest * (1 + _ROUNDING))
        return np.asarray(cheapest & (np.cumsum(cheapest, axis=-1) == 1))

    def reached(self, time: int, wait: int) -> Any:
        """The share of the recipients reached by either channel by a time."""
        delivered, count = self.delivered.at(time), int(np.searchsorted(self.failed.time, wait, side="right"))
        failed = _Steps(self.failed.time[:count], self.failed.share[..., : count + 1])
        waited = np.maximum(1.0 - delivered - failed.total, 0.0)
        sms = self.policy.sms
        return delivered + failed.followed_by(sms, time) + waited * sms.at(time - wait)

    def reach_s(self, wait: int) -> float:
        """The time in seconds until the target share of the recipients is reached."""
        last = max(int(self.delivered.time.max(initial=0)), int(self.failed.time.max(initial=0)), wait)
        times = range(last + int(self.policy.sms.time.max(initial=0)) + 1)
        first = bisect_left(times, self.policy.target - _ROUNDING, key=lambda time: self.reached(time, wait))
        return first / SECOND if first < len(times) else np.inf


def _incidence(part: Durations, at_once: npt.NDArray[np.bool_]) -> tuple[Ints, Incidence]:
    """The causes of the messages, and the shares delivered, failed with an SMS at once, and failed otherwise."""
    cause = np.where(part.cause == COMPETING, np.where(at_once[part.row], _AT_ONCE, _OTHERWISE), part.cause)
    return cause, part.incidence(cause, _OTHERWISE)


def _estimate(observed: Durations, at_once: npt.NDArray[np.bool_], policy: _Policy) -> pd.DataFrame:
    """The result of :func:`fallback`. ``at_once``: whether a failure causes an SMS at once, by row of journeys."""

    def estimate(part: Durations) -> dict[str, Any]:
        cause, curve = _incidence(part, at_once)
        outcomes, draws = _Outcomes.of_curve(curve, policy), _resample(part, cause, curve, policy)
        columns: dict[str, Any] = {"wait_s": policy.waits / SECOND}
        for name, (low, high) in _intervals(draws, curve, policy, part.attrs["confidence"]).items():
            prefix, known = name.removesuffix("_share"), outcomes.known
            columns |= {name: getattr(outcomes, name), f"{prefix}_low": low * known, f"{prefix}_high": high * known}
        still_open = np.where(curve.open > _ROUNDING, curve.open, np.nan)[curve.at(policy.waits)]
        columns["delivered_later_share"] = np.minimum(outcomes.later, still_open) / still_open
        columns["reach_s"] = np.array([outcomes.reach_s(int(wait)) for wait in policy.waits]) * known
        columns |= {"meets_target": outcomes.reached_share >= policy.target - _ROUNDING, "chosen": outcomes.chosen}
        draws.cost += outcomes.cost - draws.cost[0]  # exact times in place of classes
        draws.reached_share += outcomes.reached_share - draws.reached_share[0]
        return columns | {"chosen_share": draws.chosen[1:].mean(axis=0) * known}

    empty = not len(observed) and not observed.attrs["by"]  # one group without messages: no outcome is known
    result = pd.DataFrame(estimate(observed)) if empty else estimate_by_group(observed, estimate)
    result.attrs = (observed.attrs if empty else result.attrs) | policy.attrs
    return result


def _resample(part: Durations, cause: Ints, curve: Incidence, policy: _Policy) -> _Outcomes:
    """The outcomes of the log itself, with times in classes, and of logs resampled from its clusters.

    Independent messages are drawn one by one, values of a column as a whole, and stretches of time as blocks of a
    circular log.
    """
    if (dependent := part.dependent) is not None:
        part, cause = part.grouped, cause[dependent > 0]
    total = np.cumsum(curve.ended.sum(axis=0) + curve.censored)
    rows = np.searchsorted(total, (1 - np.linspace(1.0, 0.0, _CLASSES) ** 2) * total[-1])  # more where few are left
    ends = np.unique(np.concatenate([curve.time[rows], policy.waits, [policy.within]]))
    states, rng = States.of(ends, part.time, cause, part.entry, part.n), np.random.default_rng(0)
    n, width = int(states.weight.sum()), len(states.weight)
    effects = filter(None, map(curve.effect, range(2)))
    effect = max(effects, key=lambda effect: float(effect.variance.max()), default=None)
    if effect is None or part.cells is None:
        drawn = rng.multinomial(n, states.weight / n, _DRAWS) if n else np.zeros((_DRAWS, width))
    else:
        cell, length = part.cells.cell, max(round((effect.length or 0) / part.cells.length), 1)
        if effect.length is None:
            cell = np.unique(part.cells.named % (_SIZE // width), return_inverse=True)[1]
        table = np.bincount(cell * width + states.index, states.n, (int(cell.max()) + 1) * width).reshape(-1, width)
        blocks = rng.multinomial(round(len(table) / length), np.full(len(table), 1 / len(table)), _DRAWS)
        drawn = sum(np.roll(blocks, shift, axis=1) for shift in range(length)) @ table.astype(np.float64)
    counts, last = np.vstack([states.weight, drawn]), np.eye(len(ends) + 1)[states.last, :-1]
    is_cause = states.cause[:, np.newaxis] == np.arange(1, _OTHERWISE + 1)
    logs = zip(counts @ states.risk, np.einsum("ls,st,sc->lct", counts, last, is_cause, optimize=True), strict=True)
    shares = np.stack([product_limit(ends, *log, np.zeros(len(ends))).share[:2] for log in logs], axis=1)
    delivered, failed = (_Steps(ends, share) for share in np.pad(shares, ((0, 0), (0, 0), (1, 0))))
    return _Outcomes(delivered, failed, policy)


def _intervals(draws: _Outcomes, curve: Incidence, policy: _Policy, confidence: float) -> dict[str, list[Floats]]:
    """Wilson's intervals, with the variances of the draws.

    Each outcome is a mean over messages of values in a range, and its place in this range is treated as a share. The
    variances are scaled so that those of the share delivered agree with its curve.
    """
    index, waits, prices = curve.at(policy.waits), policy.waits, (policy.viber_price, policy.sms_price)
    size, delivered = np.maximum(curve.precision(0).size[index], 1e-9), curve.share[0][index]
    drawn = float(draws.delivered.at(waits)[1:].var(axis=0).sum())
    scale = float((delivered * (1 - delivered) / size).sum()) / drawn if drawn > _ROUNDING else 1.0
    fallback = [1.0 - limit[index] for limit in reversed(curve.band(0, confidence))]
    result = {"fallback_share": fallback}
    lowest, highest = (0.0, min(prices), policy.sms.at(policy.within - waits)), (policy.sms.total, sum(prices), 1.0)
    for name, least, most in zip(("duplicate_share", "cost", "reached_share"), lowest, highest, strict=True):
        width, limits = np.where(most > least, most - least, np.inf), []
        variance = (getattr(draws, name)[1:] / width).var(axis=0) * scale
        for of in curve.extremes or (curve,):
            share = np.clip((getattr(_Outcomes.of_curve(of, policy), name) - least) / width, 0.0, 1.0)
            own = share * (1 - share)
            sizes = np.divide(own, variance, out=size.copy(), where=(own > 0) & (variance > 1e-15))
            limits.append([least + (most - least) * _score(share, sizes, confidence, side) for side in (-1, 1)])
        result[name] = [np.min(limits, axis=0)[0], np.max(limits, axis=0)[1]]
    if policy.viber_charged == "sent":
        result["cost"] = [policy.viber_price + policy.sms_price * limit for limit in fallback]
    return result


def _replayed(
    part: Durations, at_once: npt.NDArray[np.bool_], policy: _Policy, names: pd.Series[Any]
) -> Iterator[dict[str, Any]]:
    """The rows of :func:`replay` of one group; ``names`` are those of the campaigns, by row of journeys."""
    codes, campaigns = pd.factorize(names.iloc[part.row])
    begins = pd.Series(part.started).groupby(codes).min().drop(-1, errors="ignore").sort_values(kind="stable")
    regrets: list[tuple[float, int]] = []
    for code, begin in zip(begins.index, begins, strict=True):
        known, campaign = _known_at(part, begin), part.take(codes == code)
        before, own = (_Outcomes.of_curve(_incidence(of, at_once)[1], policy) for of in (known, campaign))
        row: dict[str, Any] = {str(names.name): campaigns[code], "n": campaign.count(), "n_known": known.count()}
        values, texts = (policy.waits / SECOND, own.cost, own.reached_share), []
        for prefix, chosen in (("", before.chosen), ("best_", own.chosen)):
            wait_s, cost, reached = (value[chosen][0] if chosen.any() else np.nan for value in values)
            row |= {f"{prefix}wait_s": wait_s, f"{prefix}cost": cost, f"{prefix}reached_share": reached}
            text = f"{duration(wait_s)} costs {cost:.4g} per message and reaches {percent(reached)} in time"
            texts.append(text if chosen.any() else "no wait meets the target")
        regrets.append((row["cost"] - row["best_cost"], row["n"]))
        mean, half = _mean(regrets, part.attrs["confidence"])
        row |= dict(zip(_REGRETS, (regrets[-1][0], mean, mean - half, mean + half), strict=True))
        text = f"by {row['n_known']:,} messages before: {texts[0]}" if row["n_known"] else "nothing was known before"
        yield row | {"summary": f"{text}; in hindsight: {texts[1]}"}


def _known_at(part: Durations, instant: int) -> Durations:
    """The messages that started before an instant, as they were known then: open (0) if they ended later."""
    part = part.take(part.started < instant)
    observed = instant - part.started
    is_later = part.time > observed
    time = np.where(is_later, np.minimum(part.earliest, observed), part.time)
    earliest = time if part.earliest is part.time else np.where(is_later, time, part.earliest)
    return replace(part, time=time, earliest=earliest, cause=part.cause * ~is_later)


def _mean(regrets: list[tuple[float, int]], confidence: float) -> tuple[float, float]:
    """The mean, each with its number of messages, and half the width of Student's interval; NaN if not known."""
    values, n = np.array([pair for pair in regrets if not np.isnan(pair[0])]).reshape(-1, 2).T
    total, degrees = n.sum() or np.nan, len(n) - 1
    mean = float(n @ values / total)
    error = np.sqrt(len(n) / max(degrees, 1) * ((n * (values - mean)) ** 2).sum()) / total
    return mean, float(special.stdtrit(degrees, (1 + confidence) / 2) * error)


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
