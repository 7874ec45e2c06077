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

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

from viberkit.analysis.ordering import Ints

__all__ = ["BANDS", "Floats", "Incidence", "fractional_order", "incidence", "mover", "score_interval"]

Floats = npt.NDArray[np.float64]

#: The bands that can be asked for, and what they are.
BANDS = {
    "score": "Wilson's score interval with the effective sample size",
    "log-log": "normal on the scale of log(-log(1 - share))",
    "linear": "normal on the scale of the share",
}
_ROUNDING = 1e-12  # a share this near to a quantile has reached it
_HALVINGS = 60
_BLOCK = 65_536  # rows at a time: what stays in a processor's cache is worked on several times as fast
_MANY = 200_000
_FAR = 8.0  # so many standard errors below a quantile nothing is near it


@dataclass(frozen=True)
class _Told:
    """What is known of one end: its variance, and its effective sizes towards smaller and greater shares."""

    variance: Floats
    size: Floats
    above: Floats


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


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
    _told: dict[int, _Told] = field(default_factory=dict, repr=False, compare=False)

    @property
    def variance(self) -> Floats:
        """The variance of ``share``, a row an end."""
        return np.array([self._known(end).variance for end in range(len(self.ended))])

    def effective_size(self, end: int = 0, *, above: bool = False) -> Floats:
        """How many fully watched messages would know the share of an end as well.

        ``above``: as well towards greater shares. Where the curve stays flat because hardly anybody is watched any
        more, less is known of how far it would have risen: the size shrinks with those who were not censored since it
        last rose (Dorey and Korn's modification).
        """
        return self._known(end).above if above else self._known(end).size

    def standard_error(self, end: int = 0) -> Floats:
        """The standard error of the share of an end."""
        return np.sqrt(self._known(end).variance)

    def _known(self, end: int) -> _Told:
        """What is known of an end, worked out once."""
        if end not in self._told:
            self._told[end] = self._work_out(end)
        return self._told[end]

    def _work_out(self, end: int) -> _Told:
        """The variance of an end by the delta method, and the effective sizes.

        With R what is still to come, the variance is the sum over earlier times of own + (R - R(now))² lost -
        2 (R - R(now)) met, here multiplied out. What is still to come stands instead of what has come, for ``lost``
        is huge at late times, and R is small then.
        """
        told = _Told(*(np.empty(len(self.time)) for _ in range(3)))
        if not self.ended[end].any():  # nothing but those who were not censored
            told.variance[:] = 0.0
            told.size[:] = self.at_risk + np.cumsum(self.ended.sum(axis=0)) - self.ended.sum(axis=0)
            told.above[:] = told.size
            return told
        sums, gone, least = np.zeros(3), 0, np.inf
        for some in _blocks(len(self.time)):
            risk, mine, share, still = self.at_risk[some], self.ended[end, some], self.share[end, some], self.open[some]
            ended = self.ended[0, some] if len(self.ended) == 1 else self.ended[:, some].sum(axis=0)
            watched = np.maximum(risk, 1)
            left = watched - ended
            lost = ended / (watched * np.where(left > 0, left, np.inf))
            hazard = mine / watched
            before = np.append(self.open[some.start - 1] if some.start else 1.0, still[:-1])
            met = before * hazard / watched
            own = met * before * (1 - hazard)
            rest = self.share[end, -1] - share
            weighed = rest * lost
            one, two, three = (
                np.cumsum(terms) + carried
                for terms, carried in zip((rest * (weighed - 2 * met) + own, weighed - met, lost), sums, strict=True)
            )
            sums = np.array([one[-1], two[-1], three[-1]])
            variance = told.variance[some] = np.maximum(one + rest * (rest * three - 2 * two), 0.0)

            uncertain = (variance > 0) & (share > _ROUNDING) & (share < 1 - _ROUNDING)
            if not uncertain.all():  # where nothing has happened yet, those who were not censored by then
                size = risk + gone + np.append(0.0, np.cumsum(ended)[:-1])
                np.divide(share * (1 - share), variance, out=size, where=uncertain)
            else:
                size = share * (1 - share) / variance
            gone += int(ended.sum())
            if still[-1] <= _ROUNDING:  # the variance says nothing of the step that leaves none: those at risk do
                last = still <= _ROUNDING
                whole = np.where(before[last] > 0, before[last], np.inf)
                size[last] = np.minimum(size[last], (risk[last] / whole).max())
            known = (risk - ended) / np.where(still > 0, still, np.inf)  # all but the censored
            then = np.minimum(np.minimum.accumulate(np.where(mine > 0, known, np.inf)), least)
            least = float(then[-1])
            flat = (known > 0) & (known < then) & np.isfinite(then)
            told.size[some] = size
            told.above[some] = size * np.divide(known, then, out=np.ones(len(size)), where=flat)
        if self.share[end, -1] >= 1 - _ROUNDING:  # and where all has happened, what was known last
            all_in = int(np.searchsorted(self.share[end], 1 - _ROUNDING))
            if all_in and self.share[end, all_in - 1] > _ROUNDING:
                at_risk = self.at_risk[all_in] / max(float(self.open[all_in - 1]), _ROUNDING)
                told.size[all_in:] = min(float(told.size[all_in - 1]), at_risk)
                told.above[all_in:] = told.above[all_in - 1]
        return told

    def band(self, end: int = 0, confidence: float = 0.95, kind: str = "score") -> tuple[Floats, Floats]:
        """The pointwise band of the share of an end (one of ``BANDS``)."""
        share = self.share[end]
        if kind == "score":
            low, high = np.empty(len(share)), np.empty(len(share))
            told = self._known(end)
            for some in _blocks(len(share)):
                low[some] = _score(share[some], told.size[some], confidence, -1)
                most = _score(share[some], told.size[some], confidence, 1) + self.open[some]  # no more was left to come
                high[some] = np.minimum(_score(share[some], told.above[some], confidence, 1), most)
            return low, np.maximum.accumulate(high, out=high)
        error = _z(confidence) * self.standard_error(end)
        if kind == "linear":
            return np.maximum(share - error, 0.0), np.minimum(share + error, 1.0)
        inside = (share > 0) & (share < 1)
        rest = np.where(inside, 1 - share, 0.5)
        reach = np.minimum(error / (rest * np.abs(np.log(rest))), 700.0)
        low, high = (1 - rest ** np.exp(sign * reach) for sign in (-1, 1))
        return np.where(inside, low, share), np.where(inside, high, share)

    def bands(self, confidence: float = 0.95, kind: str = "score") -> list[tuple[Floats, Floats]]:
        """The bands of all ends; of many rows at the same time, for numpy lets others work meanwhile."""
        ends = range(len(self.ended))
        if len(self.time) < _MANY:
            return [self.band(end, confidence, kind) for end in ends]
        with ThreadPoolExecutor(len(ends)) as pool:
            return list(pool.map(lambda end: self.band(end, confidence, kind), ends))

    def at(self, when: npt.ArrayLike) -> Ints:
        """The places of the curve at times (microseconds): the last that is not later."""
        return np.asarray(np.searchsorted(self.time, when, side="right") - 1)

    def covers(self, when: npt.ArrayLike) -> npt.NDArray[np.bool_]:
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
        time = self.quantile(share, end)
        low = self._sure(share, (1 - confidence) / 2, end, self.effective_size(end, above=True))
        high = self._sure(share, (1 + confidence) / 2, end, self.effective_size(end))
        return min(low, time), max(high, time)

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
            return float("inf") if chance >= 0.5 else self._beyond(share, chance, end, size)
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

    def _beyond(self, share: float, chance: float, end: int, size: Floats) -> float:
        """The lower end where all that is known is surely before the quantile: the last known, or what follows it."""
        part, known = float(self.share[end, -1]), float(size[-1])
        if special.betaincc(part * known + 1, max((1 - part) * known, 1e-300), share) >= chance:  # one more may be it
            return float(self.time[int(np.searchsorted(self.share[end], part))])
        return float(self.time[-1]) if self.open[-1] > _ROUNDING else float("inf")


def incidence(time: Ints, cause: Ints, causes: int = 2, entry: Ints | None = None, n: Ints | None = None) -> Incidence:
    """The cumulative incidence of messages observed for ``time`` microseconds.

    ``cause`` is 0 where the message was still open, else from 1 to ``causes``. ``entry`` is the time from which a
    message was observed (left truncation), negative for the beginning; what ended no later does not count. ``n`` is
    the number of messages that each entry stands for, one by default.

    >>> curve = incidence(np.array([1, 2, 2, 3]), np.array([1, 1, 2, 0]))
    >>> curve.time.tolist(), curve.share.tolist(), curve.open.tolist()
    ([0, 1, 2, 3], [[0.0, 0.25, 0.5, 0.5], [0.0, 0.0, 0.25, 0.25]], [1.0, 0.75, 0.25, 0.25])
    """
    if entry is not None:
        observed = entry < time
        time, cause, entry = time[observed], cause[observed], entry[observed]
        n = None if n is None else n[observed]
    bits = int(causes).bit_length()
    packed = np.asarray(time, dtype=np.int64) << bits | cause
    if n is None:
        packed.sort()  # sorting integers is much faster than sorting indices
        cumulative = np.arange(len(packed) + 1)
    else:
        order = np.argsort(packed, kind="stable")
        packed, weights = packed[order], n[order]
        cumulative = np.append(0, np.cumsum(weights))
    ordered, kinds = packed >> bits, (packed & ((1 << bits) - 1)).astype(np.int8)
    first = np.ones(len(ordered), dtype=bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    zero = int(not len(starts) or ordered[0] > 0)  # the curve begins with a row at zero
    at, risk, censored = (np.zeros(len(starts) + zero, dtype=np.int64) for _ in range(3))
    ended = np.zeros((causes, len(at)), dtype=np.int64)
    total = cumulative[-1]
    at[zero:], risk[zero:] = ordered[starts], total - cumulative[starts]
    risk[:zero] = total
    if entry is not None:
        order = np.argsort(entry)
        entered = np.arange(len(entry) + 1) if n is None else np.append(0, np.cumsum(n[order]))
        risk[zero:] += entered[np.searchsorted(entry[order], at[zero:], side="left")] - total
        risk[:zero] = entered[np.searchsorted(entry[order], 0, side="left")]
    if len(starts):
        for kind in range(causes):
            of_kind = kinds == kind + 1
            counts = of_kind if n is None else of_kind * weights
            ended[kind, zero:] = np.add.reduceat(counts, starts, dtype=np.int64)
        censored[zero:] = np.diff(np.append(cumulative[starts], total))
    all_ended = ended.sum(axis=0)
    censored -= all_ended
    observed = np.maximum(risk, 1)
    still = np.cumprod((observed - all_ended) / observed)
    hazard = np.append(1.0, still[:-1]) / observed
    return Incidence(at, risk, ended, censored, still, np.minimum(np.cumsum(hazard * ended, axis=1), 1.0))


def score_interval(share: npt.ArrayLike, size: npt.ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson's score interval of a share known from ``size`` messages (*Probable inference*, 1927).

    >>> low, high = score_interval(0.9, 50)
    >>> round(float(low), 4), round(float(high), 4)
    (0.7864, 0.9565)
    """
    share, size = np.asarray(share, dtype=np.float64), np.asarray(size, dtype=np.float64)
    return _score(share, size, confidence, -1), _score(share, size, confidence, 1)


def _score(share: Floats, size: Floats, confidence: float, side: int) -> Floats:
    """One end of the score interval."""
    half = _z(confidence) ** 2 / (2 * np.maximum(size, 1e-9))
    reach = np.sqrt(half * (2 * share * (1 - share) + half))
    end = (share + half + side * reach) / (1 + 2 * half)
    return np.asarray(np.clip(end, 0.0, np.where(share > 0, share, 0.0)) if side < 0 else np.clip(end, share, 1.0))


def fractional_order(size: npt.ArrayLike, share: float, chance: float) -> Floats:
    """The fractional order statistic, from 1 to ``size``, that exceeds a quantile with a chance.

    For a lower end (a chance below one half) zero where even the first exceeds it with more than the chance; for an
    upper end infinite where even the last does with less (Hutson 1999).

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
    first = special.betaincc(1.0, size, share) >= chance
    lower = chance < 0.5
    return np.where(none, size if lower else np.inf, np.where(first, 0.0 if lower else 1.0, high))


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
