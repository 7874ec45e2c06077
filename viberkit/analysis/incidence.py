"""Cumulative incidence of competing outcomes, with its variance, bands, quantiles and their intervals.

The estimator is that of Aalen and Johansen (*An empirical transition matrix for non-homogeneous Markov chains based
on censored observations*, 1978), from one state to one of several competing outcomes; with a single outcome it is one
minus the Kaplan-Meier estimator. Messages may be left-truncated and right-censored; of equal times, outcomes come
before censoring.

The variance is that of the delta method (Dinse and Larson, *A note on semi-Markov models for partially censored
data*, 1986), with a single outcome Greenwood's. Bands and intervals use the effective sample size, the number of
fully observed messages that would estimate a share with the same variance: share × (1 − share) / variance (Dorey and
Korn, *Effective sample sizes for confidence intervals for survival probabilities*, 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from viberkit.analysis.ordering import SECOND, Ints

Floats = npt.NDArray[np.float64]
#: Numbers of messages: whole, or expected where times are known only as intervals.
Counts = Ints | Floats

#: The kinds of confidence bands, and their descriptions.
BANDS = {
    "score": "Wilson's score interval with the effective sample size",
    "exact": "Clopper and Pearson's interval with the effective sample size",
    "log-log": "normal on the scale of log(-log(1 - share))",
    "linear": "normal on the scale of the share",
}
_ROUNDING = 1e-12  # shares this close are equal
_HALVINGS = 60
_BLOCK = 65_536  # rows that fit into the processor's cache, where arithmetic is several times as fast
_MANY_ROWS = 200_000
_PART = 8  # rows whose chances are computed at once


@dataclass(frozen=True)
class Precision:
    """The variance of the share of an outcome, and its effective sample sizes.

    ``size_above`` is for upper limits of the share. Where the curve is flat because few messages are still observed,
    the data limit less how far it might have risen: the size shrinks with the uncensored messages since the last
    rise (Dorey and Korn's modification).
    """

    variance: Floats
    size: Floats
    size_above: Floats


@dataclass(frozen=True)
class DesignEffect:
    """How many times as large the variance is at times, at least 1; of ``size``, Student's quantile is a part.

    ``length`` is that of the stretches in microseconds, None for a column. ``parts`` are the squared sums of the
    influences where the effect is largest, of each day or value of the column.
    """

    time: Ints
    variance: Floats
    size: Floats
    length: float | None
    parts: Floats


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


@dataclass(frozen=True)
class Incidence:
    """The outcomes of one group of messages over time: a row for zero and for each time of an outcome or censoring.

    ``time``: microseconds; ``at_risk``: messages observed and open just before; ``ended``: the number of each outcome
    at that time, one row per outcome; ``censored``: messages whose observation ended; ``open``: the share still open
    afterwards; ``share``: the cumulative incidence of each outcome, one row per outcome. Where times are known only
    as intervals, ``left`` is the beginning of the interval that ends at ``time`` and in which the outcome's share of
    the row lies, ``inflation`` how many times as large the variance is, and ``undecided`` the messages whose interval
    includes ``time`` and later times, for each outcome; None if all times are exact. ``extremes`` are the latest and
    the earliest curve between which the limits are, and ``is_known`` is False if nothing is known between them.
    ``effect`` returns how much larger the variance of an outcome is because messages depend on one another.
    """

    time: Ints
    at_risk: Counts
    ended: Counts
    censored: Counts
    open: Floats
    share: Floats
    left: Ints | None = None
    inflation: Floats | None = None
    undecided: Floats | None = None
    extremes: tuple[Incidence, Incidence] | None = None
    is_known: bool = True
    effect: Callable[[int], DesignEffect | None] = field(default=lambda end: None, repr=False, compare=False)
    _precisions: dict[int, Precision] = field(default_factory=dict, repr=False, compare=False)

    def precision(self, end: int) -> Precision:
        """The variance of the share of an outcome, and its effective sample sizes."""
        if end not in self._precisions:
            exact = self._compute_precision(end)
            if self.inflation is not None:
                factor = self.inflation[end]
                exact = Precision(exact.variance * factor, exact.size / factor, exact.size_above / factor)
            if (effect := self.effect(end)) is not None:
                factors = effect.variance, effect.size
                variance, size = (np.interp(self.time, effect.time, factor) for factor in factors)
                exact = Precision(exact.variance * variance, exact.size / size, exact.size_above / size)
            self._precisions[end] = exact
        return self._precisions[end]

    def design_effect(self, when: float, end: int = 0) -> float:
        """How many times as large the variance is at a time because messages depend on one another."""
        effect = self.effect(end)
        return 1.0 if effect is None else float(np.interp(when, effect.time, effect.variance))

    def _compute_precision(self, end: int) -> Precision:
        """The variance of an outcome by the delta method, and the effective sample sizes.

        With R the incidence still to come, the variance is the sum over earlier times of own + (R - R(now))² times
        hazard_increment - 2 (R - R(now)) covariance_increment, expanded here. R is used instead of the incidence so
        far, because ``hazard_increment`` is large at late times, where R is small.
        """
        result = Precision(*(np.empty(len(self.time)) for _ in range(3)))
        totals, previously_ended, smallest = np.zeros(3), 0.0, np.inf
        for rows in _blocks(len(self.time)):
            risk, reached, share = self.at_risk[rows], self.ended[end, rows], self.share[end, rows]
            open_share = self.open[rows]
            ended = self.ended[:, rows].sum(axis=0)
            observed = np.maximum(risk, 1)
            left = np.where(observed - ended > _ROUNDING, observed - ended, 0.0)
            hazard_increment = ended / (observed * np.where(left > 0, left, np.inf))
            hazard = reached / observed
            before = np.append(self.open[rows.start - 1] if rows.start else 1.0, open_share[:-1])
            covariance_increment = before * hazard / observed
            own = covariance_increment * before * (1 - hazard)
            remaining = self.share[end, -1] - share
            weighted = remaining * hazard_increment
            terms = remaining * (weighted - 2 * covariance_increment) + own, weighted - covariance_increment
            sums = np.cumsum([*terms, hazard_increment], axis=1) + totals[:, np.newaxis]
            constant, linear, quadratic = sums
            totals = sums[:, -1]
            variance = np.maximum(constant + remaining * (remaining * quadratic - 2 * linear), 0.0)
            result.variance[rows] = variance

            uncertain = (variance > 0) & (share > _ROUNDING) & (share < 1 - _ROUNDING)
            # Before the first outcome, the size is the number of uncensored messages.
            size = risk + previously_ended + np.append(0.0, np.cumsum(ended)[:-1])
            np.divide(share * (1 - share), variance, out=size, where=uncertain)
            previously_ended += float(ended.sum())
            # The variance ignores a step that leaves no message open; at_risk limits it.
            if open_share[-1] <= _ROUNDING and self.ended[end].any():
                last = open_share <= _ROUNDING
                whole = np.where(before[last] > 0, before[last], np.inf)
                size[last] = np.minimum(size[last], (risk[last] / whole).max())
            uncensored = (risk - ended) / np.where(open_share > 0, open_share, np.inf)
            at_rise = np.minimum(np.minimum.accumulate(np.where(reached > 0, uncensored, np.inf)), smallest)
            smallest = float(at_rise[-1])
            flat = (uncensored > 0) & (uncensored < at_rise) & np.isfinite(at_rise)
            result.size[rows] = size
            result.size_above[rows] = size * np.divide(uncensored, at_rise, out=np.ones(len(size)), where=flat)
        if self.share[end, -1] >= 1 - _ROUNDING:  # where all messages have this outcome, the sizes just before
            complete = int(np.searchsorted(self.share[end], 1 - _ROUNDING))
            if complete and self.share[end, complete - 1] > _ROUNDING:
                at_risk = self.at_risk[complete] / max(float(self.open[complete - 1]), _ROUNDING)
                result.size[complete:] = min(float(result.size[complete - 1]), at_risk)
                result.size_above[complete:] = result.size_above[complete - 1]
        return result

    def band(self, end: int = 0, confidence: float = 0.95, kind: str = "score") -> tuple[Floats, Floats]:
        """The pointwise confidence band of the share of an outcome; ``kind`` is one of ``BANDS``."""
        if self.extremes is not None:
            late, early = self.extremes
            low, high = late.band(end, confidence, kind)[0], early.band(end, confidence, kind)[1]
            return low[late.at(self.time)], high[early.highest_row(self.time, end)]
        share = self.share[end]
        if kind == "exact":
            size, above = (
                np.maximum(sizes, 1e-9) for sizes in (self.precision(end).size, self.precision(end).size_above)
            )
            low = special.betaincinv(np.maximum(share * size, 1e-9), (1 - share) * size + 1, (1 - confidence) / 2)
            high = special.betaincinv(share * above + 1, np.maximum((1 - share) * above, 1e-9), (1 + confidence) / 2)
            return np.where(share > 0, low, 0.0), np.maximum.accumulate(np.minimum(high, share + self.open))
        if kind == "score":
            low, high = np.empty(len(share)), np.empty(len(share))
            precision = self.precision(end)
            for rows in _blocks(len(share)):
                low[rows] = _score(share[rows], precision.size[rows], confidence, -1)
                largest = _score(share[rows], precision.size[rows], confidence, 1) + self.open[rows]
                high[rows] = np.minimum(_score(share[rows], precision.size_above[rows], confidence, 1), largest)
            return low, np.maximum.accumulate(high, out=high)
        error = _z(confidence) * np.sqrt(self.precision(end).variance)
        if kind == "linear":
            return np.maximum(share - error, 0.0), np.minimum(share + error, 1.0)
        inside = (share > 0) & (share < 1)
        survival = np.where(inside, 1 - share, 0.5)
        exponent = np.minimum(error / (survival * np.abs(np.log(survival))), 700.0)
        low, high = (1 - survival ** np.exp(sign * exponent) for sign in (-1, 1))
        return np.where(inside, low, share), np.where(inside, high, share)

    def bands(self, confidence: Sequence[float], kind: str = "score") -> list[tuple[Floats, Floats]]:
        """The band of each outcome, computed in threads where there are many rows (numpy releases the GIL)."""
        if len(self.time) < _MANY_ROWS:
            return [self.band(end, level, kind) for end, level in enumerate(confidence)]
        with ThreadPoolExecutor(len(confidence)) as pool:
            return list(pool.map(lambda end: self.band(end, confidence[end], kind), range(len(confidence))))

    def at(self, when: npt.ArrayLike) -> Ints:
        """The index of the row that holds at each time (microseconds)."""
        return np.asarray(np.searchsorted(self.time, when, side="right") - 1)

    def covers(self, when: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether the share is known at each time: some message was observed as long, or none was open any more."""
        return np.asarray((np.asarray(when) <= self.time[-1]) | bool(self.open[-1] <= _ROUNDING))

    def highest_row(self, when: npt.ArrayLike, end: int = 0) -> Ints:
        """The index of the row that holds at each time if each share were at the beginning of its interval."""
        if self.left is None:
            return self.at(when)
        rows = np.append(0, np.flatnonzero(self.ended[end] > 0))
        begin = np.append(-1, np.where(self.left[end] < self.time, self.left[end] + 1, self.time)[rows[1:]])
        return np.asarray(np.maximum(self.at(when), rows[np.searchsorted(begin, when, side="right") - 1]))

    def earliest_share(self, when: npt.ArrayLike, end: int = 0) -> Floats:
        """The share at times if each share were at the beginning of its interval."""
        curve = self if self.extremes is None else self.extremes[1]
        return np.asarray(curve.share[end][curve.highest_row(when, end)])

    def of_reached(self, n: float, effect: Callable[[int], DesignEffect | None]) -> Incidence:
        """The times of the ``n`` messages with the first outcome, weighted by how long others could be observed."""
        rows = (self.ended[0] > 0) | (self.time == 0)
        ended = np.zeros((2, np.count_nonzero(rows)))
        ended[0] = np.diff(self.share[0, rows], prepend=0.0) * n / max(float(self.share[0, -1]), _ROUNDING)
        at_risk = n - np.append(0.0, np.cumsum(ended[0])[:-1])
        curve = replace(product_limit(self.time[rows], at_risk, ended, np.zeros(len(at_risk))), effect=effect)
        if self.extremes is not None:
            late, early = (extreme.of_reached(n, effect) for extreme in self.extremes)
            curve = replace(curve, extremes=(late, early), is_known=self.is_known)
        if self.left is None or self.inflation is None or self.undecided is None:
            return curve
        chosen = self.left[:, rows], self.inflation[:, rows], self.undecided[:, rows]
        return replace(curve, left=chosen[0], inflation=chosen[1], undecided=chosen[2])

    def share_at(self, when: npt.ArrayLike, end: int = 0, confidence: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """The share of an outcome at times (microseconds) and its interval; NaN where it cannot be known."""
        if self.extremes is not None:
            late, early = (curve.share_at(when, end, confidence) for curve in self.extremes)
            share = replace(self, extremes=None).share_at(when, end, confidence)[0]
            share = np.clip(share, late[1], early[2]) if self.is_known else np.full_like(share, np.nan)
            return share, late[1], early[2]
        known, index, highest = self.covers(when), self.at(when), self.highest_row(when, end)
        low, high = self.band(end, confidence)
        lower, higher = self._next_interval(index, end, -1)[0], self._next_interval(highest, end, 1)[1]
        share = self.share[end][index]
        if self.left is not None:
            left, right = self.left[end][highest], self.time[highest]
            part = np.where(right > left, (np.asarray(when) - left) / np.maximum(right - left, 1), 1.0)
            share = share + np.clip(part, 0.0, 1.0) * (self.share[end][highest] - share)
        return (
            np.where(known, share, np.nan),
            np.where(known, low[lower], np.nan),
            np.where(known, high[higher], np.nan),
        )

    def _next_interval(self, row: Ints, end: int, side: int) -> tuple[Ints, Ints]:
        """The rows before and at the next share before or after a row, if it lies in an interval; else the row itself.

        Of intervals the likelihood makes a curve of few steps, and the true one can be as far as the next step.
        """
        steps = np.flatnonzero((self.ended[end] > 0) & (np.arange(len(self.time)) > 0))
        if self.left is None or self.undecided is None or not len(steps):
            return row, row
        index = np.searchsorted(steps, row, side="right") - (1 if side < 0 else 0)
        step = steps[np.clip(index, 0, len(steps) - 1)]
        is_interval = (index >= 0) & (index < len(steps)) & (self.left[end][step] < self.time[step])
        is_interval &= self.undecided[end][row] > 0
        return np.where(is_interval, step - 1, row), np.where(is_interval, step, row)

    def _beginning(self, end: int) -> Ints:
        """The beginning of the interval in which the share of each row lies."""
        return self.time if self.left is None else self.left[end]

    def earliest_quantile(self, share: float, end: int = 0) -> float:
        """The quantile if each share were at the beginning of its interval."""
        if self.extremes is not None:
            return self.extremes[1].earliest_quantile(share, end)
        index = int(np.searchsorted(self.share[end], share - _ROUNDING))
        return float(self._beginning(end)[index]) if index < len(self.time) else float("inf")

    def quantile(self, share: float, end: int = 0) -> float:
        """The time (microseconds) at which the curve of an outcome reaches a share; infinite where it does not."""
        index = int(np.searchsorted(self.share[end], share - _ROUNDING))
        if index == len(self.time):
            return float("inf")
        left, right = float(self._beginning(end)[index]), float(self.time[index])
        if left == right:
            return right
        before = float(self.share[end][index - 1]) if index else 0.0
        return left + min((share - before) / (float(self.share[end][index]) - before), 1.0) * (right - left)

    def quantile_estimate(self, share: float, confidence: float = 0.95) -> tuple[float, float, float]:
        """The quantile of the first outcome and its interval, in seconds.

        Infinite where the share cannot be reached any more, NaN where the messages still open could reach it.
        """
        time = self.quantile(share) if self.is_known else np.nan
        if np.isinf(time) and self.share[0, -1] + self.open[-1] >= share - _ROUNDING:
            return np.nan, np.nan, np.nan
        low, high = self.quantile_interval(share, 0, confidence)
        return time / SECOND, low / SECOND, high / SECOND

    def quantile_interval(self, share: float, end: int = 0, confidence: float = 0.95) -> tuple[float, float]:
        """The confidence interval of :meth:`quantile`: fractional order statistics, with the effective sample size.

        After Hutson (*Calculating nonparametric confidence intervals for quantiles using fractional order
        statistics*, 1999). Zero or infinite where too few messages are observed. An interval of less confidence is
        inside that of more, and the limits of a greater share are not earlier.
        """
        if self.extremes is not None:
            late, early = (curve.quantile_interval(share, end, confidence) for curve in self.extremes)
            return early[0], late[1]
        time, precision = self.quantile(share, end), self.precision(end)
        if self.left is not None:
            return self._band_interval(share, end, confidence)
        low = self._limit(share, (1 - confidence) / 2, end, precision.size_above)
        high = self._limit(share, (1 + confidence) / 2, end, precision.size)
        return min(low, time), max(high, time)

    def _band_interval(self, share: float, end: int, confidence: float) -> tuple[float, float]:
        """The times between which the limits of :meth:`share_at` include a share."""
        low, high = self.band(end, confidence)
        rows = np.arange(len(self.time))
        surely = np.flatnonzero(low[self._next_interval(rows, end, -1)[0]] >= share - _ROUNDING)
        steps = np.append(0, np.flatnonzero(self.ended[end] > 0))
        possibly = np.flatnonzero(high[self._next_interval(steps, end, 1)[1]] >= share - _ROUNDING)
        first = float(self._beginning(end)[steps[possibly[0]]]) if len(possibly) else float(self.time[-1])
        return first, float(self.time[surely[0]]) if len(surely) else float("inf")

    def _limit(self, share: float, chance: float, end: int, size: Floats) -> float:
        """The first time that exceeds the quantile with a chance.

        The chance that a row exceeds the quantile need not grow from row to row, for sizes shrink under censoring. The
        first row with at least ``chance`` counts, and between it and the row before the size is held constant: then
        the time is monotone in ``chance`` and in ``share``.
        """
        reached, is_lower = self.share[end], chance < 0.5
        # Chernoff's bound of the chance excludes the other rows, for which it would take long to compute.
        bound = size * (special.rel_entr(reached, share) + special.rel_entr(1 - reached, 1 - share))
        surely = np.flatnonzero((reached > share) & (bound > -np.log1p(-chance)))
        near = np.arange(surely[0] + 1 if len(surely) else len(reached))
        near = near[(reached[near] > 0) & ((reached[near] > share) | (bound[near] <= -np.log(chance) + _ROUNDING))]
        parts = np.split(near, range(_PART, len(near), _PART))  # the first of them often suffices
        sufficient = (rows[_exceedance(reached[rows], size[rows], share) >= chance] for rows in parts)
        if (first := next((rows for rows in sufficient if len(rows)), None)) is None:
            return self._lower_limit_beyond(share, chance, end, size) if is_lower else float("inf")
        high = int(first[0])
        if is_lower:  # where the curve is flat, its last rise counts
            high = int(np.searchsorted(reached, reached[high]))
        low = high - 1
        if low < 0 or reached[low] <= 0:  # before the first order statistic
            return 0.0 if is_lower else float(self.time[high])
        ends, n = (float(reached[low]), float(reached[high])), float(size[high])

        def excess(part: float) -> float:
            between = ends[0] + part * (ends[1] - ends[0])
            return float(special.betaincc(max(between * n, 1e-300), (1 - between) * n + 1, share)) - chance

        part = 0.0 if excess(0.0) >= 0 else 1.0 if excess(1.0) <= 0 else optimize.brentq(excess, 0.0, 1.0, xtol=1e-15)
        return float(self.time[low] + part * (self.time[high] - self.time[low]))

    def _lower_limit_beyond(self, share: float, chance: float, end: int, size: Floats) -> float:
        """The lower limit where the whole curve is below the quantile with confidence."""
        last_share, last_size = float(self.share[end, -1]), float(size[-1])
        if special.betaincc(last_share * last_size + 1, max((1 - last_share) * last_size, 1e-300), share) >= chance:
            return float(self.time[int(np.searchsorted(self.share[end], last_share))])  # the next one may exceed it
        return float(self.time[-1]) if self.open[-1] > _ROUNDING else float("inf")


def _exceedance(reached: npt.ArrayLike, size: npt.ArrayLike, share: float) -> Floats:
    """The chance that the order statistic at a share that was reached exceeds the quantile."""
    reached, size = np.asarray(reached), np.asarray(size)
    return np.asarray(special.betaincc(np.maximum(reached * size, 1e-300), (1 - reached) * size + 1, share))


def incidence(
    time: Ints, cause: Ints, causes: int = 2, entry: Ints | None = None, n: Counts | None = None
) -> Incidence:
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
    if n is not None and not n.all():
        counted = n > 0
        time, cause, entry, n = time[counted], cause[counted], None if entry is None else entry[counted], n[counted]
    bits = int(causes).bit_length()
    packed = np.asarray(time, dtype=np.int64) << bits | cause
    if n is None:
        packed.sort()  # sorting integers is much faster than sorting indices
        weights: Counts | bool = True  # each entry is one message
        cumulative = np.arange(len(packed) + 1)
    else:
        order = np.argsort(packed, kind="stable")
        packed, weights = packed[order], n[order]
        cumulative = np.append(0, np.cumsum(weights))
    ordered, kinds = packed >> bits, (packed & ((1 << bits) - 1)).astype(np.int8)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    at = ordered[starts]
    if not len(at) or at[0] > 0:  # the curve begins with a row at zero
        starts, at = np.append(0, starts), np.append(0, at)
    edges = np.append(starts, len(ordered))
    risk = cumulative[-1] - cumulative[starts]
    if entry is not None:
        order = np.argsort(entry)
        entered = np.arange(len(entry) + 1) if n is None else np.append(0, np.cumsum(n[order]))
        risk += entered[np.searchsorted(entry[order], at, side="left")] - cumulative[-1]
    ended = np.array([np.diff(np.append(0, np.cumsum((kinds == kind + 1) * weights))[edges]) for kind in range(causes)])
    censored = np.diff(cumulative[edges]) - ended.sum(axis=0)
    return product_limit(at, risk, ended, censored)


def product_limit(time: Ints, at_risk: Counts, ended: Counts, censored: Counts) -> Incidence:
    """The cumulative incidence from the numbers of messages in each row."""
    observed = np.maximum(at_risk, _ROUNDING)
    open_share = np.cumprod(np.maximum(observed - ended.sum(axis=0), 0.0) / observed)
    hazard = np.append(1.0, open_share[:-1]) / observed
    share = np.minimum(np.cumsum(hazard * ended, axis=1), 1.0)
    return Incidence(time, at_risk, ended, censored, open_share, share)


def _score(share: Floats, size: Floats, confidence: float, side: int) -> Floats:
    """One limit of Wilson's score interval of a share of ``size`` messages (*Probable inference*, 1927)."""
    half = _z(confidence) ** 2 / (2 * np.maximum(size, 1e-9))
    width = np.sqrt(half * (2 * share * (1 - share) + half))
    limit = (share + half + side * width) / (1 + 2 * half)
    return np.asarray(np.clip(limit, 0.0, np.where(share > 0, share, 0.0)) if side < 0 else np.clip(limit, share, 1.0))


def fractional_order(size: npt.ArrayLike, share: float, chance: float) -> Floats:
    """The fractional order statistic, from 1 to ``size``, that exceeds a quantile with a chance (Hutson 1999).

    Zero for a lower limit (``chance`` below one half) where even the first exceeds it with more than the chance;
    infinite for an upper limit where even the last does with less.

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
    is_lower = chance < 0.5
    return np.where(none, size if is_lower else np.inf, np.where(first, 0.0 if is_lower else 1.0, high))


def difference_interval(
    value: Floats, low: Floats, high: Floats, other: Floats, other_low: Floats, other_high: Floats
) -> list[Floats]:
    """The difference of two estimates and its interval, by the method of variance estimates recovery (MOVER).

    After Zou and Donner (*Construction of confidence limits about effect measures*, 2008); with score intervals of
    two shares it is Newcombe's. Where an estimate is infinite, the interval is that of the limits.
    """
    with np.errstate(invalid="ignore"):
        gap = np.asarray(value - other)
        below = gap - np.hypot(value - low, other_high - other)
        above = gap + np.hypot(high - value, other - other_low)
        finite = np.isfinite(gap)
        below, above = np.where(finite, below, low - other_high), np.where(finite, above, high - other_low)
    return [gap, np.where(np.isnan(below), -np.inf, below), np.where(np.isnan(above), np.inf, above)]


def _z(confidence: float) -> float:
    return float(special.ndtri((1 + confidence) / 2))
