"""Cumulative incidence: of messages that are sent, how many have met each end by when, and how sure that is.

Numbers in, numbers out. The estimator is that of Aalen and Johansen (*An empirical transition matrix for
non-homogeneous Markov chains based on censored observations*, 1978) for one step to one of several competing ends;
with a single end it is one minus that of Kaplan and Meier. Messages may be watched from late on (left-truncated)
and not to the end (right-censored); equal times are exact ties, where what happened comes before what was censored.

The variance is that of the delta method (Dinse and Larson, *A note on semi-Markov models for partially censored
data*, 1986), with a single end that of Greenwood. Bands and intervals go by the *effective sample size*, the
number of fully watched messages that would know a share as well: share × (1 − share) / variance (Dorey and Korn,
*Effective sample sizes for confidence intervals for survival probabilities*, 1987).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["BANDS", "Incidence", "fractional_order", "incidence", "mover", "score_interval"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]

#: The bands that can be asked for, and what they are.
BANDS = {
    "score": "Wilson's score interval with the effective sample size",
    "log-log": "normal on the scale of log(-log(1 - share))",
    "linear": "normal on the scale of the share",
}
_ROUNDING = 1e-12  # a share this near to a quantile has reached it
_HALVINGS = 60
_FAR = 8.0  # so many standard errors below a quantile nothing is near it


@dataclass(frozen=True)
class Incidence:
    """What became of one group of messages over time, at each time when anything did, and at zero.

    ``time``: microseconds; ``at_risk``: messages watched and still open just before; ``ended``: how many met each
    end then, a row an end; ``censored``: how many were watched no longer; ``open``: the share still open after;
    ``share``: of all, how many have met each end by then, a row an end.
    """

    time: Ints
    at_risk: Ints
    ended: Ints
    censored: Ints
    open: Floats
    share: Floats

    @cached_property
    def variance(self) -> Floats:
        """The variance of ``share``, a row an end."""
        return np.array([self._variance(end) for end in range(len(self.ended))])

    def _variance(self, end: int) -> Floats:
        risk = np.maximum(self.at_risk, 1).astype(np.float64)
        some, mine = self.ended.sum(axis=0), self.ended[end]
        before = np.append(1.0, self.open[:-1])
        # What is still to come instead of what has come: late terms are huge, and multiply what is then small.
        rest = self.share[end, -1] - self.share[end]
        left = risk - some
        lost = np.divide(some, risk * left, out=np.zeros(len(risk)), where=left > 0)
        met = before * mine / risk**2
        own = np.cumsum(before**2 * mine * (risk - mine) / risk**3)
        squares = np.cumsum(rest**2 * lost) - 2 * rest * np.cumsum(rest * lost) + rest**2 * np.cumsum(lost)
        return np.asarray(np.maximum(own + squares - 2 * (np.cumsum(rest * met) - rest * np.cumsum(met)), 0.0))

    def effective(self, end: int = 0, *, above: bool = False) -> Floats:
        """How many fully watched messages would know the share of an end as well.

        ``above``: as well towards greater shares. Where the curve stays flat because hardly anybody is watched any
        more, less is known of how far it would have risen: the size shrinks with those at risk (Dorey and Korn's
        modification).
        """
        share, variance = self.share[end], self.variance[end]
        ended = self.ended.sum(axis=0)
        uncertain = (variance > 0) & (share > _ROUNDING) & (share < 1 - _ROUNDING)
        # Where nothing has happened yet, or all has: those not censored by then, and what was known last.
        size = (np.maximum(self.at_risk, 0) + np.append(0, np.cumsum(ended)[:-1])).astype(np.float64)
        np.divide(share * (1 - share), variance, out=size, where=uncertain)
        if (share[-1:] >= 1 - _ROUNDING).any():
            last = np.maximum.accumulate(np.where(uncertain, np.arange(len(size)), 0))
            size = np.where((share >= 1 - _ROUNDING) & (last > 0), size[last], size)
        if above:
            watched = (self.at_risk - ended) / np.where(self.open > 0, self.open, 1.0)  # all, less those censored
            since = np.maximum.accumulate(np.where(self.ended[end] > 0, np.arange(len(size)), 0))
            size = size * np.where(self.open > 0, np.minimum(watched / np.maximum(watched[since], 1e-9), 1.0), 1.0)
        return np.asarray(size)

    def band(self, end: int = 0, confidence: float = 0.95, kind: str = "score") -> tuple[Floats, Floats]:
        """The pointwise band of the share of an end (one of ``BANDS``)."""
        share = self.share[end]
        if kind == "score":
            low, _ = score_interval(share, self.effective(end), confidence)
            _, high = score_interval(share, self.effective(end, above=True), confidence)
            return low, np.maximum.accumulate(high)
        z = _z(confidence)
        error = z * np.sqrt(self.variance[end])
        if kind == "linear":
            return np.maximum(share - error, 0.0), np.minimum(share + error, 1.0)
        inside = (share > 0) & (share < 1)
        rest = np.where(inside, 1 - share, 0.5)
        reach = error / (rest * np.abs(np.log(rest)))
        low, high = (1 - rest ** np.exp(sign * reach) for sign in (-1, 1))
        return np.where(inside, low, share), np.where(inside, high, share)

    def at(self, when: npt.ArrayLike) -> Ints:
        """The places of the curve at times (microseconds): the last that is not later."""
        return np.asarray(np.searchsorted(self.time, when, side="right") - 1)

    def tells(self, when: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether the curve knows of times: somebody was watched as long, or nothing was open any more."""
        return np.asarray((np.asarray(when) <= self.time[-1]) | bool(self.open[-1] <= _ROUNDING))

    def quantile(self, share: float, end: int = 0) -> float:
        """When a share of all has met an end, in microseconds; infinite where the curve does not get there."""
        place = int(np.searchsorted(self.share[end], share - _ROUNDING))
        return float(self.time[place]) if place < len(self.time) else float("inf")

    def quantile_interval(self, share: float, end: int = 0, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of :meth:`quantile`: fractional order statistics, with the effective sample size.

        After Hutson (*Calculating nonparametric confidence intervals for quantiles using fractional order
        statistics*, 1999). The lower end is zero, and the upper infinite, where too few messages tell.
        """
        low = self._sure(share, (1 - confidence) / 2, end, self.effective(end, above=True))
        return low, self._sure(share, (1 + confidence) / 2, end, self.effective(end))

    def _sure(self, share: float, chance: float, end: int, size: Floats) -> float:
        """The time that exceeds the quantile with a chance: first between which two places, then where between."""
        reached = self.share[end]

        def sure(part: Floats, of: Floats) -> Floats:
            return np.asarray(special.betaincc(np.maximum(part * of, 1e-300), (1 - part) * of + 1, share))

        near = np.flatnonzero(
            reached > share - _FAR * np.sqrt(share * (1 - share) / np.maximum(size, 1e-300)) - _ROUNDING
        )
        near = near[reached[near] > 0]
        enough = np.flatnonzero(sure(reached[near], size[near]) >= chance)
        if not len(enough):
            return float("inf")
        high = int(near[enough[0]])
        low = high - 1
        if low < 0 or reached[low] <= 0:  # before the first of the order statistics
            return 0.0 if chance < 0.5 else float(self.time[high])
        below, above = 0.0, 1.0
        for _ in range(_HALVINGS):
            part = (below + above) / 2
            known = size[low] + part * (size[high] - size[low])
            there = sure(reached[low] + part * (reached[high] - reached[low]), known) >= chance
            below, above = (below, part) if there else (part, above)
        return float(self.time[low] + above * (self.time[high] - self.time[low]))


def incidence(time: Ints, cause: Ints, ends: int = 2, entry: Ints | None = None) -> Incidence:
    """The incidence of messages that were watched for ``time`` microseconds, and ended by ``cause``.

    ``cause`` is 0 where the message was still open, else the number of its end, from 1 to ``ends``. ``entry`` is
    since when each was watched; negative: from the beginning. What ended no later than that takes no part.

    >>> found = incidence(np.array([1, 2, 2, 3]), np.array([1, 1, 2, 0]))
    >>> found.time.tolist(), found.share.tolist(), found.open.tolist()
    ([0, 1, 2, 3], [[0.0, 0.25, 0.5, 0.5], [0.0, 0.0, 0.25, 0.25]], [1.0, 0.75, 0.25, 0.25])
    """
    if entry is not None:
        watched = entry < time
        time, cause, entry = time[watched], cause[watched], np.sort(entry[watched])
    bits = int(ends).bit_length()
    packed = np.sort(np.asarray(time, dtype=np.int64) << bits | cause)  # sorting numbers is far faster than places
    ordered, kinds = packed >> bits, packed & ((1 << bits) - 1)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    edges = np.append(starts, len(ordered))
    counts = np.array([np.diff(np.append(0, np.cumsum(kinds == kind))[edges]) for kind in range(ends + 1)])
    at = ordered[starts]
    risk = len(ordered) - starts
    if entry is not None:
        risk = np.searchsorted(entry, at, side="left") - starts
    if not len(at) or at[0] > 0:
        already = len(ordered) if entry is None else int((entry < 0).sum())
        at, risk = np.append(0, at), np.append(already, risk)
        counts = np.concatenate([np.zeros((ends + 1, 1), dtype=counts.dtype), counts], axis=1)
    some = counts[1:].sum(axis=0)
    left = np.divide(risk - some, risk, out=np.ones(len(at)), where=risk > 0)
    still = np.cumprod(left)
    hazard = np.append(1.0, still[:-1]) / np.maximum(risk, 1)
    return Incidence(at, risk, counts[1:], counts[0], still, np.cumsum(hazard * counts[1:], axis=1))


def score_interval(share: npt.ArrayLike, size: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a share known from ``size`` messages (*Probable inference*, 1927).

    >>> low, high = score_interval(0.9, 50)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7864, 0.9565)
    """
    share, size = np.asarray(share, dtype=np.float64), np.maximum(np.asarray(size, dtype=np.float64), 1e-9)
    z2 = _z(confidence) ** 2 / size
    middle = (share + z2 / 2) / (1 + z2)
    reach = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    low = np.where(share <= 0, 0.0, np.maximum(middle - reach, 0.0))
    return low, np.where(share >= 1, 1.0, np.minimum(middle + reach, 1.0))


def fractional_order(size: npt.ArrayLike, share: float, chance: float) -> Floats:
    """The fractional order statistic, from 1 to ``size``, that exceeds a quantile with a chance.

    Zero where even the first exceeds it with more than the chance, and infinite where even the last does with less
    (Hutson 1999).

    >>> fractional_order([100, 3], 0.5, 0.975).round(2).tolist()
    [60.28, inf]
    """
    size = np.atleast_1d(np.asarray(size, dtype=np.float64))
    low, high = np.ones(len(size)), size.copy()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = special.betaincc(middle, size - middle + 1, share) >= chance
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    none = special.betaincc(size, 1.0, share) < chance
    return np.where(none, np.inf, np.where(special.betaincc(1.0, size, share) >= chance, 0.0, high))


def mover(one: Floats, low: Floats, high: Floats, other: Floats, other_low: Floats, other_high: Floats) -> list[Floats]:
    """The difference of two estimates, and its interval from theirs: the method of variance estimates recovery.

    After Zou and Donner (*Construction of confidence limits about effect measures*, 2008); with score intervals of
    two shares it is Newcombe's. Where an estimate is infinite, the interval is that of the two ends.
    """
    with np.errstate(invalid="ignore"):
        gap = np.asarray(one - other)
        below, above = gap - np.hypot(one - low, other_high - other), gap + np.hypot(high - one, other - other_low)
        known = np.isfinite(gap)
        below, above = np.where(known, below, low - other_high), np.where(known, above, high - other_low)
    return [gap, np.where(np.isnan(below), -np.inf, below), np.where(np.isnan(above), np.inf, above)]


def _z(confidence: float) -> float:
    return float(special.ndtri((1 + confidence) / 2))
