"""Cumulative incidence where some times are known only as intervals: nonparametric maximum likelihood.

The estimator is that of Turnbull (*The empirical distribution function with arbitrarily grouped, censored and
truncated data*, 1976), for competing outcomes (Hudgens, Satten and Longini, *Nonparametric maximum likelihood
estimation for competing risks survival data subject to interval censoring and truncation*, 2001). Each iteration of
the EM algorithm distributes the messages with an interval over the times inside it, as the current estimate does, and
estimates again as Aalen and Johansen, which is exact for right-censored messages. After a few of them, if no message is
left-truncated, Newton's method with shares that cannot be negative finds the maximum: each step maximizes a quadratic
model of the likelihood (Wang, *On fast computation of the non-parametric maximum likelihood estimate of a mixing
distribution*, 2007) by block principal pivoting (Portugal, Júdice and Vicente, *A comparison of block pivoting and
interior-point algorithms for linear least squares problems with nonnegative variables*, 1994).

The likelihood determines how much of the share lies in an interval, but not where in it. Estimates inside are
interpolated linearly, and limits are those of its ends. The variance is that of the observed information of the shares
in classes of about equal share: it exceeds that of exact times where the intervals are wide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from viberkit.analysis.incidence import Counts, Floats, Incidence, product_limit
from viberkit.analysis.ordering import Ints

_MANY = 4_096  # distinct ends of intervals, from which they are rounded outwards
_BITS = 9  # significant bits that remain then: at most 0.4 % of the time
_TOLERANCE, _SMALL, _ZERO = 1e-10, 1e-10, 1e-13  # change of a share; shares that are not distinguished from zero
_MAX_ITERATIONS, _FIRST_ITERATIONS, _MAX_STEPS, _PIVOTS, _DAMPING = 2_000, 5, 50, 12, 1e-9
_CLASSES = 24  # of each outcome, for the variance
_SAMPLE = 20_000  # observations, for the variance


@dataclass(frozen=True)
class _Observations:
    """Messages that ended in the rows from ``first`` to before ``after``, with one cause; ``n`` is their number."""

    cause: int
    first: Ints
    after: Ints
    n: Floats


def interval_incidence(
    earliest: Ints, time: Ints, cause: Ints, causes: int = 2, entry: Ints | None = None, n: Counts | None = None
) -> Incidence:
    """The cumulative incidence of messages that ended after ``earliest`` and no later than ``time`` (microseconds).

    Equal to :func:`viberkit.analysis.incidence.incidence` where both are equal; the other parameters are the same.
    Numbers of messages are expected numbers where times are intervals.

    >>> curve = interval_incidence(np.array([0, 0, 2, 3]), np.array([2, 3, 3, 3]), np.array([1, 1, 1, 0]))
    >>> curve.time.tolist(), curve.share[0].round(6).tolist()
    ([0, 2, 3], [0.0, 0.375, 0.75])
    """
    weight: Floats = np.ones(len(time)) if n is None else n.astype(np.float64)
    if entry is not None or not weight.all():
        observed = (weight > 0) & (True if entry is None else entry < time)
        earliest, time, cause, weight = earliest[observed], time[observed], cause[observed], weight[observed]
    if entry is not None:
        entry = entry[observed]
        earliest = np.maximum(earliest, np.minimum(entry, time))
    is_open, is_interval = cause == 0, (cause > 0) & (earliest < time)
    earliest, time = _round_outwards(earliest, time, is_interval)
    begins = time[is_open] if entry is None else np.append(time[is_open], entry)
    ends = [_innermost(earliest, time, (cause == kind + 1), begins) for kind in range(causes)]
    rows = np.unique(np.concatenate([[0], time[is_open], *(end for end, _ in ends)]))

    left = np.tile(rows, (causes, 1))
    share = np.zeros((causes, len(rows)))
    exact = np.zeros((causes, len(rows)))
    groups = []
    for kind, (end, begin) in enumerate(ends):
        at = np.searchsorted(rows, end)
        left[kind, at], share[kind, at] = begin, 1.0
        chosen = (cause == kind + 1) & ~is_interval
        exact[kind] = np.bincount(np.searchsorted(rows, time[chosen]), weight[chosen], len(rows))
        chosen = (cause == kind + 1) & is_interval
        groups.append(_group(kind, rows, earliest[chosen], time[chosen], weight[chosen]))
    censored: Floats = np.bincount(np.searchsorted(rows, time[is_open]), weight[is_open], len(rows)).astype(np.float64)
    entered = np.full(len(rows), weight.sum())
    if entry is not None:
        order = np.argsort(entry)
        entered = np.append(0.0, np.cumsum(weight[order]))[np.searchsorted(entry[order], rows, side="left")]

    def estimate(share: Floats) -> Incidence:
        ended = exact + [_expected(group, share[group.cause]) for group in groups]
        at_risk = entered - np.append(0.0, np.cumsum(ended.sum(axis=0) + censored)[:-1])
        return product_limit(rows, at_risk, ended, censored)

    entries = None if entry is None else (np.searchsorted(rows, entry, side="right"), weight)
    for iteration in range(_MAX_ITERATIONS):
        if iteration == _FIRST_ITERATIONS and entry is None:
            known = [_Observations(kind, at, at + 1, row[at]) for kind, row in enumerate(exact) for at in row.nonzero()]
            share = _newton(share, groups + known, censored)
        share, previous = np.diff(estimate(share).share, axis=1, prepend=0.0), share
        if np.abs(share - previous).max() <= _TOLERANCE:
            break
    curve = estimate(np.where(share > _ZERO, share, 0.0))
    used = (curve.ended.sum(axis=0) > 0) | (censored > 0) | (rows == 0)
    inflation = _inflation(curve, exact, censored, groups, entries)
    names = ("time", "at_risk", "ended", "censored", "open", "share")
    arrays = {name: getattr(curve, name)[..., used] for name in names}
    undecided = np.array([_count(group.n, group.first, group.after - 1, len(rows)) for group in groups])
    arrays |= {"left": left[:, used], "inflation": inflation[:, used], "undecided": undecided[:, used]}
    return replace(curve, **arrays, _precisions={})


def _round_outwards(earliest: Ints, time: Ints, is_interval: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Intervals a little wider where they have many distinct ends, so that there are fewer."""
    left, right = earliest[is_interval], time[is_interval]
    if len(np.unique(right)) <= _MANY:
        return earliest, time
    step = 1 << np.maximum(np.frexp(right.astype(np.float64))[1] - _BITS, 0).astype(np.int64)
    step_left = 1 << np.maximum(np.frexp(left.astype(np.float64))[1] - _BITS, 0).astype(np.int64)
    earliest, time = earliest.copy(), time.copy()
    earliest[is_interval], time[is_interval] = left // step_left * step_left, -(-right // step) * step
    return earliest, time


def _innermost(earliest: Ints, time: Ints, chosen: npt.NDArray[np.bool_], begins: Ints) -> tuple[Ints, Ints]:
    """The ends and the beginnings of the intervals in which the share of an outcome can lie (Turnbull's)."""
    left, right = earliest[chosen], time[chosen]
    ends = np.unique(right)
    is_exact = np.isin(ends, right[left >= right])
    begin = np.unique(np.concatenate([np.where(left < right, left, right - 1), begins]))
    latest = begin[np.searchsorted(begin, ends) - 1]
    innermost = is_exact | (latest >= np.append(-1, ends)[:-1])
    return ends[innermost], np.where(is_exact, ends, latest)[innermost]


def _group(kind: int, rows: Ints, earliest: Ints, time: Ints, weight: Floats) -> _Observations:
    first, after = np.searchsorted(rows, earliest, side="right"), np.searchsorted(rows, time, side="right")
    pairs, index = np.unique(first * np.int64(len(rows) + 1) + after, return_inverse=True)
    first, after = np.divmod(pairs, len(rows) + 1)
    return _Observations(kind, first, after, np.bincount(index, weight, len(pairs)).astype(np.float64))


def _within(share: Floats, group: _Observations) -> Floats:
    """The share of the outcome in the rows of each observation."""
    total = np.append(0.0, np.cumsum(share))
    return np.asarray(np.maximum(total[group.after] - total[group.first], 1e-300))


def _expected(group: _Observations, share: Floats) -> Floats:
    """The expected number of messages with an interval that ended in each row."""
    return share * _count(group.n / _within(share, group), group.first, group.after, len(share))


def _count(n: Floats, first: Ints, after: Ints, rows: int) -> Floats:
    """The sum in each row of observations from the row ``first`` to before ``after``."""
    change = np.bincount(first, n, rows + 1) - np.bincount(after, n, rows + 1)
    return np.asarray(np.maximum(np.cumsum(change)[:-1], 0.0))


def _newton(share: Floats, groups: list[_Observations], censored: Floats) -> Floats:
    """The shares that maximize the likelihood, none of them negative.

    The unknowns are cumulative shares, that of no outcome included: each observation is a difference of two or more, so
    that matrices are sparse.
    """
    from scipy import sparse, special
    from scipy.sparse.linalg import splu

    padded = np.pad(share, ((0, 1), (0, 1)))  # the last share is that of no outcome
    padded[-1, -1] = max(1 - share.sum(), 0.0) + _SMALL
    (kind, row), size = np.nonzero(padded), np.count_nonzero(padded)
    begin, at, end = np.searchsorted(kind, np.arange(len(padded) + 1)), np.flatnonzero(censored), len(censored) + 1

    def sums(cause: int, first: Ints, after: Ints) -> Any:
        """The share of the outcome in the rows of each observation, as a difference of cumulative shares."""
        nodes = begin[cause] + np.searchsorted(row[begin[cause] : begin[cause + 1]], np.append(after, first))
        index = np.tile(np.arange(len(first)), 2), nodes
        return sparse.csr_array((np.repeat([1.0, -1.0], len(first)), index), shape=(len(first), size + 1))

    later = sum(sums(cause, at + 1, np.full(len(at), end)) for cause in range(len(padded)))
    n = np.concatenate([*(group.n for group in groups), censored[at]])
    total, x, damping = n.sum(), padded[kind, row], sparse.eye_array(size + 1) * np.sqrt(_DAMPING * n.sum())
    matrix = sparse.vstack([*(sums(group.cause, group.first, group.after) for group in groups), later, damping]).tocsr()

    def split(x: Floats) -> list[Floats]:
        """The probability of each observation, and the cumulative shares times the damping."""
        return np.split(matrix @ np.append(0.0, np.cumsum(x)), [len(n)])

    def likelihood(x: Floats) -> float:
        return float(special.xlogy(n, split(x)[0]).sum() - total * x.sum())  # not a number if a share is negative

    for _ in range(_MAX_STEPS):
        chance, cumulative = split(x)
        weight = np.append(n / chance**2, np.ones(size + 1))
        right = matrix.T @ np.append(2 * n / chance, cumulative)
        right[-1] -= total
        free, z = x > _SMALL, np.zeros(size)  # the maximum of the quadratic model, by block principal pivoting
        for step in range(_MAX_STEPS):
            chosen = sparse.csr_array((np.ones(size + 1), (np.arange(size + 1), np.append(0, np.cumsum(free)))))[:, 1:]
            terms = matrix @ chosen
            hessian = (terms.T.multiply(weight) @ terms).tocsc()
            factors = splu(hessian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
            z[free], z[~free] = np.diff(factors.solve(chosen.T @ right), prepend=0.0), 0.0
            gradient = np.cumsum((right - matrix.T @ (weight * np.concatenate(split(z))))[:0:-1])[::-1]
            wrong = np.where(free, z < -_ZERO, gradient > _SMALL * total)
            if not wrong.any():
                break
            free = free ^ (wrong if step < _PIVOTS else wrong & (np.cumsum(wrong) == wrong.sum()))
        change, least = np.maximum(z, 0.0) - x, likelihood(x) * (1 + _ZERO)
        while not likelihood(x + change) >= least and np.abs(change).max() > _ZERO:
            change /= 2
        x = np.maximum(x + change, 0.0)
        if np.abs(change).max() <= _TOLERANCE:
            break
    padded[kind, row] = x
    return padded[:-1, :-1]


def _inflation(
    curve: Incidence, exact: Floats, censored: Floats, groups: list[_Observations], entered: tuple[Ints, Floats] | None
) -> Floats:
    """How many times as large the variance of each outcome is in each row as if all times were exact."""
    total = np.column_stack([np.zeros(len(curve.share)), curve.share])
    levels = np.linspace(0.0, 1.0, _CLASSES + 1)
    edges = [np.unique(np.searchsorted(share, levels * share[-1] - _SMALL)) for share in total]
    kinds = np.repeat(range(len(total)), [len(edge) - 1 for edge in edges])
    low, high = (
        np.concatenate([share[edge[side]] for share, edge in zip(total, edges, strict=True)])
        for side in (slice(None, -1), slice(1, None))
    )
    size = np.append(high - low, max(float(curve.open[-1]), 0.0))  # of each class, and of the messages that never end
    base = int(np.argmax(size))  # the shares add up to one: this one follows from the others

    def before(row: Ints) -> Floats:
        """The part of each class that lies before each row."""
        return np.asarray(np.clip((total[kinds][:, row].T - low) / (high - low), 0.0, 1.0))

    def information(inside: Floats, n: Floats) -> Floats:
        """The information of observations, from the part of each class that each one covers."""
        score = inside / np.maximum(inside @ size, _SMALL)[:, np.newaxis]
        score -= score[:, [base]]
        return np.asarray((score * n[:, np.newaxis]).T @ score)

    def sampled(row: Ints, n: Floats) -> tuple[Ints, Floats]:
        every = max(len(row) // _SAMPLE, 1)
        return row[::every], n[::every] * (n.sum() / max(n[::every].sum(), _SMALL))

    def later(row: Ints, n: Floats) -> Floats:
        row, n = sampled(row, n)
        return information(np.column_stack([1 - before(row), np.ones(len(row))]), n)

    counts = [np.diff(np.append(0.0, np.cumsum(row))[edge]) for row, edge in zip(exact, edges, strict=True)]
    known = information(np.eye(len(size))[:-1], np.concatenate(counts))
    for group in groups:
        index, n = sampled(np.arange(len(group.n)), group.n)
        inside = (before(group.after[index]) - before(group.first[index])) * (kinds == group.cause)
        known += information(np.column_stack([inside, np.zeros(len(index))]), n)
    rows = np.flatnonzero((censored > 0) & (curve.open > _SMALL))
    known += later(rows + 1, censored[rows])
    if entered is not None:
        known -= later(*entered)
    possible = size > _SMALL  # all messages may have ended
    covariance = np.linalg.pinv(known * np.outer(possible, possible), hermitian=True)
    result = np.ones(curve.share.shape)
    for kind, edge in enumerate(edges):
        rows = edge[1:] - 1
        exact_variance = curve.precision(kind).variance[rows]
        sums = np.append(before(edge[1:]) * (kinds == kind), np.zeros((len(rows), 1)), axis=1)
        sums -= sums[:, [base]]
        variance = np.einsum("ij,jk,ik->i", sums, covariance, sums)
        valid = exact_variance > _SMALL / len(curve.time)
        if valid.any():
            ratio = np.maximum(variance[valid] / exact_variance[valid], 1.0)
            result[kind] = np.interp(np.arange(len(curve.time)), rows[valid], ratio)
    return result
