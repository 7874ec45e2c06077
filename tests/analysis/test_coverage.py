"""Coverage of 95 % intervals, on logs drawn from the sandbox's delivery model, whose true values are known.

Small by default. The published table (sixteen minutes)::

    VIBERKIT_LOGS=1000 python -m pytest tests/analysis/test_coverage.py -s
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats
from support.delivery_logs import NEVER, SECOND, draw

from viberkit.analysis.incidence import Incidence, difference_interval, incidence
from viberkit.sandbox.delivery_model import DeliveryModel

LOGS = int(os.environ.get("VIBERKIT_LOGS", "60"))
SIZES = (50, 500, 5000) if LOGS >= 1000 else (50, 500)
SHARES = (0.0, 0.1, 0.2, 0.4) if LOGS >= 1000 else (0.0, 0.2)
CHECKED = 2_000_000 if LOGS >= 1000 else 500_000  # messages from which the true values are computed
KINDS = ("transaction", "promotion")
TIMES = (1, 2, 5, 60)
QUANTILES = (0.25, 0.5, 0.9)
CENSORING = ("exponential", "administrative")
BATCH = 100  # logs drawn at once
LIFE = 15 * 86_400 * SECOND
MODEL = DeliveryModel(hourly_factors=(1.0,) * 24)  # else short observations would be of one hour only
SHOWN = 0.2  # share of logs with an estimate from which the coverage is shown
ASSERTED = 0.5  # and from which it is asserted: logs with estimates at late times are not a random sample


@dataclass
class Drawn:
    """The end of each message (microseconds from its start) and its cause: 1 delivered, 2 failed, 0 never."""

    time: np.ndarray
    cause: np.ndarray

    @classmethod
    def of(cls, kind: str, n: int, seed: Any) -> Drawn:
        truth = draw(n, np.random.default_rng(seed), MODEL, rate_type=kind)
        # failed messages have a delivery that would have been, too
        fails = truth.failed < NEVER
        return cls(np.where(fails, truth.failed, truth.delivered), np.where(fails, 2, truth.delivered < NEVER))


@cache
def population(kind: str) -> Drawn:
    return Drawn.of(kind, CHECKED, [7, KINDS.index(kind)])


@cache
def true_share(kind: str, seconds: float, cause: int = 1) -> float:
    messages = population(kind)
    return float(((messages.time <= seconds * SECOND) & (messages.cause == cause)).mean())


@cache
def true_quantile(kind: str, share: float) -> float:
    messages = population(kind)
    delivered = np.sort(messages.time[messages.cause == 1])
    index = int(np.ceil(share * len(messages.time) - 1e-9)) - 1
    return float(delivered[index]) if index < len(delivered) else float("inf")


@cache
def scale(censoring: str, share: float) -> float:
    """The scale of the observation at which this share of transactions is still open."""
    messages = population("transaction")
    rng, n = np.random.default_rng(5), len(messages.time)
    unit = rng.exponential(1, n) if censoring == "exponential" else rng.random(n)
    low, high = 1e3, 1e13
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if (unit * middle < messages.time).mean() > share else (low, middle)
    return float(high)


def observation(censoring: str, share: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The length of each observation: random, or from a random start to the end of a window."""
    if share == 0:
        return np.full(shape, LIFE)
    unit = rng.exponential(1, shape) if censoring == "exponential" else rng.random(shape)
    return (unit * scale(censoring, share)).astype(np.int64)


class Tally:
    """For each estimate and log whether the interval covers the true value; for each log the share still open."""

    def __init__(self) -> None:
        self.covered: dict[str, list[bool]] = {}
        self.open: list[float] = []

    def add(self, name: str, low: float, truth: float, high: float) -> None:
        self.covered.setdefault(name, []).append(bool(low <= truth <= high))

    def add_log(self, curves: list[Incidence]) -> None:
        """Add the estimates of one log: the curves of transactions and of promotions."""
        first, second = curves
        self.open.append(float(first.censored.sum() / first.at_risk[0]))
        bands = [curve.band(0) for curve in curves]
        failed = first.band(1)
        for seconds in TIMES:
            known = [bool(curve.covers(seconds * SECOND)) for curve in curves]
            at = [int(curve.at(seconds * SECOND)) for curve in curves]
            if known[0]:
                self.add(f"by {seconds}", bands[0][0][at[0]], true_share(KINDS[0], seconds), bands[0][1][at[0]])
                self.add(f"fail {seconds}", failed[0][at[0]], true_share(KINDS[0], seconds, 2), failed[1][at[0]])
            if all(known):
                estimates = [
                    (curve.share[0][index], band[0][index], band[1][index])
                    for curve, band, index in zip(curves, bands, at, strict=True)
                ]
                _, low, high = difference_interval(*estimates[1], *estimates[0])
                self.add(f"Δ by {seconds}", low, true_share(KINDS[1], seconds) - true_share(KINDS[0], seconds), high)
        for share in QUANTILES:
            name, limits = f"p{100 * share:g}", [curve.quantile_interval(share) for curve in curves]
            truths = [true_quantile(kind, share) for kind in KINDS]
            self.add(name, limits[0][0], truths[0], limits[0][1])
            estimates = [
                (np.array(curve.quantile(share)), *limit)
                for curve, limit in zip((second, first), limits[::-1], strict=True)
            ]
            _, low, high = difference_interval(*estimates[0], *estimates[1])
            self.add(f"Δ {name}", float(low), truths[1] - truths[0], float(high))


def tally(n: int, censoring: str, share: float, logs: int) -> Tally:
    """The estimates of several logs of n transactions and n promotions each."""
    result = Tally()
    for begin in range(0, logs, BATCH):
        count = min(BATCH, logs - begin)
        groups = []
        for index, kind in enumerate(KINDS):
            seed = [11, n, CENSORING.index(censoring), round(100 * share), begin, index]
            drawn = Drawn.of(kind, n * count, seed)
            until = observation(censoring, share, (count, n), np.random.default_rng([*seed, 1]))
            time, cause = (values.reshape(count, n) for values in (drawn.time, drawn.cause))
            groups.append((np.minimum(time, until), np.where(until < time, 0, cause)))
        for row in range(count):
            result.add_log([incidence(time[row], cause[row]) for time, cause in groups])
    return result


NAMES = [
    *(f"{what}{seconds}" for what in ("by ", "fail ", "Δ by ") for seconds in TIMES),
    *(f"{what}p{100 * share:g}" for what in ("", "Δ ") for share in QUANTILES),
]


def cell(result: Tally, name: str) -> str:
    """A cell of the table in per cent; in brackets if few logs have an estimate, with a star outside 93 to 97."""
    covered = result.covered.get(name, [])
    if len(covered) < SHOWN * len(result.open):
        return "–"
    hit = 100 * float(np.mean(covered))
    mark = "" if 93 <= hit <= 97 else "*"
    return f"({hit:.1f}{mark})" if len(covered) < 0.95 * len(result.open) else f"{hit:.1f}{mark}"


@pytest.mark.slow
@pytest.mark.parametrize("censoring", CENSORING)
def test_intervals_cover_the_true_values(censoring: str) -> None:
    lines, failures = [], []
    for n in SIZES:
        for share in SHARES:
            if share == 0 and censoring != CENSORING[0]:
                continue
            result = tally(n, censoring, share, LOGS)
            assert np.mean(result.open) == pytest.approx(max(share, MODEL.open_share), abs=0.02)
            lines.append(f"{n:>5} {100 * share:>3.0f}% " + "".join(f"{cell(result, name):>8}" for name in NAMES))
            for name, covered in result.covered.items():
                least = stats.binom.ppf(
                    1e-5, len(covered), 0.93
                )  # of a thousand cells one in a hundred runs would fail
                if len(covered) >= ASSERTED * LOGS and sum(covered) < least:
                    failures.append(
                        f"n={n}, {share:.0%} open, {name}: {sum(covered)} of {len(covered)}, least {least:.0f}"
                    )
    print(f"\n{LOGS:,} logs, {censoring} censoring: coverage of 95 % intervals in per cent")
    print(f"{'n':>5} {'open':>4} " + "".join(f"{name:>8}" for name in NAMES))
    print("\n".join(lines), flush=True)
    assert not failures
