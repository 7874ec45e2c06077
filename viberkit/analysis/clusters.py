"""Dependence of messages: how many times as large a variance is as if the messages were independent.

An outage delays the messages of half an hour together, and a campaign has a speed of its own. The influence of each
message on an estimate is added up within clusters, which are the values of a column or stretches of time; the variance
is the sum of the squares of these sums (Ying and Wei, *The Kaplan-Meier estimate for dependent failure time data*,
1994). Stretches overlap, which makes it the estimate of Newey and West (*A simple, positive semi-definite,
heteroskedasticity and autocorrelation consistent covariance matrix*, 1987). Divided by the variance of independent
messages it is the design effect (Kish, *Survey Sampling*, 1965).

Stretches of several lengths are tried. If none has more effect than independent messages show by chance, there is none;
otherwise that with the largest effect, less its standard error, counts. Few clusters make the variance itself
uncertain: the effect on sample sizes includes the squared ratio of the quantiles of Student's and the normal
distribution, with degrees of freedom from the fourth moments of the sums.

It fails where dependence reaches further than a tenth of the log, as a slow trend does, and with fewer than ten
clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.sparse import csr_array

from viberkit.analysis.grouping import distinct
from viberkit.analysis.incidence import Counts, DesignEffect, Floats, product_limit
from viberkit.analysis.ordering import SECOND, Ints

_CELLS = 512  # of the log at most: the shortest stretches
_MESSAGES = 8  # in a cell at least, on average
_CLASSES, _FINE = 64, 512  # of the times, at most
_OUTCOMES = 64  # in a class at least, on average
_SIZE = 4_000_000  # numbers in a table of clusters and classes
_MIN_CLUSTERS = 10
_CHANCE = 1.5  # the mean effect of N clusters exceeds 1 + this / sqrt(N) in 5 % of logs without dependence
_SPARSE = 16  # numbers for each message from which a sparse table is faster
_DRAWS = 1_000
_SMALL = 1e-9
_DAY = 86_400 * SECOND
_OUTSIDE = 0.005  # of the messages, at either end, are in the outermost cells: a single early one does not count


@dataclass(frozen=True)
class Cells:
    """The shortest stretch of each entry, its length in microseconds, and the cluster by a column, -1 for none.

    ``are_tried``: whether stretches count as clusters, too.
    """

    cell: Ints
    begin: int
    length: float
    cluster: Ints | None
    are_tried: bool

    @property
    def named(self) -> Ints:
        """The cluster by a column; messages without one depend on those of the same cell."""
        cluster = self.cell if self.cluster is None else self.cluster
        return np.where(cluster < 0, cluster.max() + 1 + self.cell, cluster)

    @classmethod
    def of(
        cls, started: Ints, total: int, cluster: Ints | None, are_tried: bool = True, n: Counts | None = None
    ) -> Cells | None:
        """The cells of entries that stand for ``total`` messages; None if there are too few for clusters."""
        count = min(total // _MESSAGES + 1, _CELLS)
        if not len(started) or (count <= _MIN_CLUSTERS and cluster is None):
            return None
        size = len(started) if n is None else total
        outside = np.array([int(size * _OUTSIDE), size - 1 - int(size * _OUTSIDE)])
        begin, end = _order_statistics(started, outside, n).tolist()
        length = (end - begin + 1) / count
        cell = ((started - begin) * (1 / length)).astype(np.int64)  # much faster than a division of integers
        return cls(np.clip(cell, 0, count - 1), begin, length, cluster, are_tried)


@dataclass(frozen=True)
class States:
    """The distinct histories in classes of time: the classes at risk, the outcome, and the number of messages.

    A message is at risk in the classes from ``first`` to ``last``, and has the outcome ``cause`` in the last one;
    ``last`` is after all classes if it was observed for longer. ``group`` is 0 or 1, where two groups are compared.
    ``weight`` is the number of messages of a state, ``index`` the state of each entry, ``n`` its number of messages.
    """

    first: Ints
    last: Ints
    cause: Ints
    group: Ints
    weight: Floats
    index: Ints
    n: Counts | None
    classes: int

    @classmethod
    def of(
        cls, ends: Ints, time: Ints, cause: Ints, entry: Ints | None, n: Counts | None, group: Ints | int = 0
    ) -> States:
        last, rows = np.searchsorted(ends, time), len(ends) + 1
        first = np.zeros(1, dtype=np.int64)
        if entry is not None:
            first = np.minimum(np.searchsorted(ends, entry, side="right"), last)
            n = np.where(entry < time, 1 if n is None else n, 0)
        codes, index = distinct(((np.int64(2) * cause + group) * rows + last) * rows + first)
        rest, first = np.divmod(codes, rows)
        rest, last = np.divmod(rest, rows)
        weight = np.bincount(index, n, len(codes)).astype(np.float64)
        return cls(first, last, rest // 2, rest % 2, weight, index, n, len(ends))

    @property
    def risk(self) -> npt.NDArray[np.bool_]:
        """Whether each state is at risk in each class."""
        row = np.arange(self.classes)
        return (self.first[:, np.newaxis] <= row) & (row <= self.last[:, np.newaxis])

    def ended(self, cause: int | None = None) -> Floats:
        """The number of messages with an outcome, or with any, in each class."""
        chosen = self.cause > 0 if cause is None else self.cause == cause
        return np.bincount(self.last[chosen], self.weight[chosen], self.classes + 1)[:-1].astype(np.float64)

    def sums(self, cluster: Ints, influence: Floats) -> tuple[Floats, Floats]:
        """The sum of the influences, and the number of messages, of each cluster."""
        shape = int(cluster.max(initial=0)) + 1, len(self.weight)
        if shape[0] * shape[1] > _SPARSE * len(cluster):
            n = np.ones(len(cluster)) if self.n is None else self.n
            table = csr_array((n, (cluster, self.index)), shape)
        else:
            table = np.bincount(cluster * shape[1] + self.index, self.n, shape[0] * shape[1]).reshape(shape)
        return np.asarray(table @ influence), np.asarray(table.sum(axis=1))

    def martingale(self, weight: Floats, hazard: Floats, counted: npt.NDArray[np.bool_]) -> Floats:
        """The sum up to each class of the outcomes of a state less those expected, a row per state.

        ``weight`` is that of the class of its column in the sum up to the class of its row.
        """
        weight = np.tril(np.broadcast_to(weight, (self.classes, self.classes)))
        jumps = np.append(weight, np.zeros((self.classes, 1)), axis=1).T[self.last]
        return np.asarray(jumps * counted[:, np.newaxis] - self.risk @ (weight * hazard).T)


def design_effect(
    cells: Cells, time: Ints, cause: Ints, end: int, entry: Ints | None, n: Counts | None, confidence: float
) -> DesignEffect | None:
    """The design effect of the cumulative incidence of an outcome; None where messages seem to be independent."""
    ends, states, influence = _influences(cells, time, cause, end, entry, n)
    return _largest(cells, states, influence, ends, confidence)


def critical_value(
    cells: Cells, time: Ints, cause: Ints, end: int, entry: Ints | None, n: Counts | None, confidence: float
) -> float:
    """How many standard errors the largest error of an outcome is, over all of its times, with a confidence.

    The sums of the influences of the clusters are multiplied by normal random numbers (Lin, *Non-parametric inference
    for cumulative incidence functions in competing risks studies*, 1997).
    """
    ends, states, influence = _influences(cells, time, cause, end, entry, n, _FINE)
    effect = _largest(cells, states, influence, ends, confidence)
    if effect is not None and effect.length is None:
        total = states.sums(cells.named, influence)[0]
    else:
        length = 1 if effect is None or effect.length is None else round(effect.length / cells.length)
        total = _overlapping(_cumulative(cells, states, influence), length)[:, :-1]
    total = total[:, (total != 0).any(axis=0)]
    if not total.size:
        return float(special.ndtri((1 + confidence) / 2))
    random = np.random.default_rng(0).normal(size=(_DRAWS, len(total)))
    largest = np.abs(random @ (total / np.linalg.norm(total, axis=0))).max(axis=1)
    return float(np.quantile(largest, confidence))


def _influences(
    cells: Cells, time: Ints, cause: Ints, end: int, entry: Ints | None, n: Counts | None, classes: int = _CLASSES
) -> tuple[Ints, States, Floats]:
    """The times, the states, and the influence of each state on the cumulative incidence of an outcome by then."""
    ends = _classes(time, cause > 0, cells, n, classes)
    states = States.of(ends, time, cause, entry, n)
    at_risk = np.maximum(states.weight @ states.risk, _SMALL)
    ended, all_ended = states.ended(end + 1), states.ended()
    curve = product_limit(ends, at_risk, np.array([ended, all_ended - ended]), np.zeros(len(ends)))
    before, left, share = np.append(1.0, curve.open[:-1])[: len(ends)], at_risk - all_ended, curve.share[0]
    lead = np.where(left > _SMALL, 1 / np.maximum(left, _SMALL), 0.0)
    influence = states.martingale(before / at_risk, ended / at_risk, states.cause == end + 1)
    influence -= states.martingale((share[:, np.newaxis] - share) * lead, all_ended / at_risk, states.cause > 0)
    return ends, states, np.where((share > _SMALL) & (share < 1 - _SMALL), influence, 0.0)


def score_effects(
    cells: Cells, time: Ints, cause: Ints, group: Ints, entry: Ints | None, n: Counts | None
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The design effects of the scores of Gray's and of the log-rank test of the first outcome.

    Each with its degrees of freedom: 1 and infinity where messages seem to be independent. In Gray's test messages
    with another outcome stay at risk, in the log-rank test they leave.
    """
    ends = _classes(time, cause == 1, cells, n)
    states = States.of(ends, time, cause, entry, n, group)
    stay = replace(states, last=np.where(states.cause > 1, len(ends), states.last))
    gray, log_rank = (_score_effect(cells, some, ends) for some in (stay, states))
    return gray, log_rank


def _score_effect(cells: Cells, states: States, ends: Ints) -> tuple[float, float]:
    at_risk = np.maximum(states.weight @ states.risk, _SMALL)
    part = (states.weight * states.group) @ states.risk / at_risk
    hazard, counted = states.ended(1) / at_risk, states.cause == 1
    score = states.group[:, np.newaxis] * states.martingale(np.ones(1), hazard, counted)
    score -= states.martingale(part, hazard, counted)
    for own in (states.group == group for group in range(2)):  # a difference between the groups is no dependence
        score[own] -= states.weight[own] @ score[own] / max(states.weight[own].sum(), _SMALL)
    effect = _largest(cells, states, score, ends, None)
    return (1.0, np.inf) if effect is None else (float(effect.variance[-1]), float(effect.size[-1]))


def _order_statistics(values: Ints, index: Ints, n: Counts | None) -> Ints:
    """The values at an index, counted from 0 in ascending order, each as often as ``n``."""
    if n is None:
        return np.partition(values, index)[index]
    order = np.argsort(values)
    return values[order][np.minimum(np.searchsorted(np.cumsum(n[order]), index, side="right"), len(order) - 1)]


def _classes(time: Ints, chosen: npt.NDArray[np.bool_], cells: Cells, n: Counts | None, most: int = _CLASSES) -> Ints:
    """The last times of classes of about equally many outcomes, more of them where few are left."""
    time, n = time[chosen], None if n is None else n[chosen]
    total = len(time) if n is None else int(n.sum())
    largest = most if cells.cluster is None else _SIZE // (3 * int(cells.cluster.max(initial=0)) + 3)
    count = min(max(largest, 8), most, max(total // _OUTCOMES * most // _CLASSES, 8), total)
    shares = 1 - (1 - np.linspace(0.0, 1.0, count + 1)[1:]) ** 1.5
    index = np.clip((shares * total).astype(np.int64) - 1, 0, None)
    return np.unique(_order_statistics(time, index, n)) if len(time) else time


def _largest(
    cells: Cells, states: States, influence: Floats, time: Ints, confidence: float | None
) -> DesignEffect | None:
    """The design effect of the best clusters; without ``confidence``, ``size`` holds the degrees of freedom."""
    independent = states.weight @ influence**2
    if not (chosen := independent > 0).any():
        return None
    best, largest = None, -np.inf
    for length, clusters, variance, freedom in _candidates(cells, states, influence[:, chosen]):
        effect = variance / independent[chosen]
        mean, error = float(effect.mean()), 1 / np.sqrt(clusters)
        if (mean - 1 >= _CHANCE * error or not cells.are_tried) and mean * (1 - error) > largest:
            best, largest = (length, effect, freedom), mean * (1 - error)
    if best is None:
        return None
    length, effect, freedom = best
    days = ((cells.begin + cells.cell * cells.length) // _DAY).astype(np.int64)
    parts = states.sums(cells.named if length is None else days - days.min(), influence[:, chosen])[0]
    if confidence is None:
        size = freedom
    else:
        chance = (1 + confidence) / 2
        size = np.maximum(effect * (special.stdtrit(freedom, chance) / special.ndtri(chance)) ** 2, 1.0)
    return DesignEffect(time[chosen], np.maximum(effect, 1.0), size, length, parts[:, int(np.argmax(effect))] ** 2)


def _candidates(
    cells: Cells, states: States, influence: Floats
) -> Iterator[tuple[float | None, float, Floats, Floats]]:
    """For each kind of clusters its length, their effective number, the variance and its degrees of freedom."""

    def summary(total: Floats, n: Floats, repeated: int) -> tuple[float, Floats, Floats]:
        squares = total * total
        variance, fourth = squares.sum(axis=0) / repeated, (squares * squares).sum(axis=0) / repeated
        clusters = float(n.sum() ** 2 / (n @ n)) / repeated
        square = variance * variance  # zero where the variance is very small, too
        relative = np.divide(fourth, square, out=np.ones(len(square)), where=square > 0) - 1 / clusters
        return clusters, variance * clusters / (clusters - 1), 2 / np.maximum(relative, 0.5 / clusters)

    if cells.cluster is not None:
        total, n = states.sums(cells.named, influence)
        if n.sum() ** 2 / (n @ n) > 2:
            yield None, *summary(total, n, 1)
    if not cells.are_tried:
        return
    cumulative, repeated = _cumulative(cells, states, influence), 1
    while repeated * _MIN_CLUSTERS < len(cumulative):
        stretches = _overlapping(cumulative, repeated)
        total, n = stretches[:, :-1], stretches[:, -1]
        if n.sum() ** 2 / (n @ n) / repeated >= _MIN_CLUSTERS:
            yield repeated * cells.length, *summary(total, n, repeated)
        repeated *= 2


def _cumulative(cells: Cells, states: States, influence: Floats) -> Floats:
    """The sums of the influences, and in the last column the messages, before each cell and at the end."""
    total, n = states.sums(cells.cell, influence)
    return np.cumsum(np.vstack([np.zeros(total.shape[1] + 1), np.column_stack([total, n])]), axis=0)


def _overlapping(cumulative: Floats, length: int) -> Floats:
    """The same sums of all stretches of ``length`` successive cells, those at the ends included."""
    begin, last = np.arange(1 - length, len(cumulative) - 1), len(cumulative) - 1
    return np.asarray(cumulative[np.minimum(begin + length, last)] - cumulative[np.maximum(begin, 0)])
