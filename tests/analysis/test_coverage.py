"""Whether 95 % intervals hold the truth in 95 of 100 logs: logs drawn from the sandbox's model, whose truth is known.

Small by default. The table of the documentation (sixteen minutes)::

    VIBERKIT_LOGS=1000 python -m pytest tests/test_coverage.py -s
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

from viberkit.analysis.incidence import Incidence, incidence, mover
from viberkit.sandbox.delivery_model import DeliveryModel

LOGS = int(os.environ.get("VIBERKIT_LOGS", "120"))
SIZES = (50, 500, 5000) if LOGS >= 1000 else (50, 500)
SHARES = (0.0, 0.1, 0.2, 0.4) if LOGS >= 1000 else (0.0, 0.2)
CHECKED = 2_000_000 if LOGS >= 1000 else 500_000  # messages that the truth is counted from
KINDS = ("transaction", "promotion")
TIMES = (1, 2, 5, 60)
QUANTILES = (0.25, 0.5, 0.9)
WAYS = ("exponential", "administrative")
AT_ONCE = 100  # logs that are drawn together
LIFE = 15 * 86_400 * SECOND
MODEL = DeliveryModel(hourly_factors=(1.0,) * 24)  # or those looked at early would be those of one hour
LEAST_TOLD = 0.2  # of the logs must tell of a time for its coverage to be shown
JUDGED = 0.5  # and so many for it to be judged: logs that happen to tell of late times are not like all others


@dataclass
class Drawn:
    """When messages end (microseconds from their start), and how: 1 delivered, 2 failed, 0 never."""

    time: np.ndarray
    cause: np.ndarray

    @classmethod
    def of(cls, kind: str, n: int, seed: Any) -> Drawn:
        truth = draw(n, np.random.default_rng(seed), MODEL, rate_type=kind)
        # a failure is drawn beside the delivery that would have been
        fails = truth.failed < NEVER
        return cls(np.where(fails, truth.failed, truth.delivered), np.where(fails, 2, truth.delivered < NEVER))


@cache
def population(kind: str) -> Drawn:
    return Drawn.of(kind, CHECKED, [7, KINDS.index(kind)])


@cache
def true_share(kind: str, seconds: float, cause: int = 1) -> float:
    everyone = population(kind)
    return float(((everyone.time <= seconds * SECOND) & (everyone.cause == cause)).mean())


@cache
def true_quantile(kind: str, share: float) -> float:
    everyone = population(kind)
    arrived = np.sort(everyone.time[everyone.cause == 1])
    place = int(np.ceil(share * len(everyone.time) - 1e-9)) - 1
    return float(arrived[place]) if place < len(arrived) else float("inf")


@cache
def scale(way: str, share: float) -> float:
    """How long messages are watched, so that this share of them is still open: of transactions."""
    everyone = population("transaction")
    rng, n = np.random.default_rng(5), len(everyone.time)
    unit = rng.exponential(1, n) if way == "exponential" else rng.random(n)
    low, high = 1e3, 1e13
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if (unit * middle < everyone.time).mean() > share else (low, middle)
    return float(high)


def watched(way: str, share: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """For how long each message was watched: by chance, or since it was sent, anywhere in a window, until its end."""
    if share == 0:
        return np.full(shape, LIFE)
    unit = rng.exponential(1, shape) if way == "exponential" else rng.random(shape)
    return (unit * scale(way, share)).astype(np.int64)


class Tally:
    """Of each figure whether its interval held the truth, log by log; and how many logs could not tell."""

    def __init__(self) -> None:
        self.held: dict[str, list[bool]] = {}
        self.open: list[float] = []

    def add(self, name: str, low: float, truth: float, high: float) -> None:
        self.held.setdefault(name, []).append(bool(low <= truth <= high))

    def one(self, curves: list[Incidence]) -> None:
        """The figures of one log: the curves of transactions and of promotions."""
        first, second = curves
        self.open.append(float(first.censored.sum() / first.at_risk[0]))
        bands = [curve.band(0) for curve in curves]
        broken = first.band(1)
        for seconds in TIMES:
            know = [bool(curve.tells(seconds * SECOND)) for curve in curves]
            at = [int(curve.at(seconds * SECOND)) for curve in curves]
            if know[0]:
                self.add(f"by {seconds}", bands[0][0][at[0]], true_share(KINDS[0], seconds), bands[0][1][at[0]])
                self.add(f"fail {seconds}", broken[0][at[0]], true_share(KINDS[0], seconds, 2), broken[1][at[0]])
            if all(know):
                told = [
                    (curve.share[0][place], band[0][place], band[1][place])
                    for curve, band, place in zip(curves, bands, at, strict=True)
                ]
                _, low, high = mover(*told[1], *told[0])
                self.add(f"Δ by {seconds}", low, true_share(KINDS[1], seconds) - true_share(KINDS[0], seconds), high)
        for share in QUANTILES:
            name, limits = f"p{100 * share:g}", [curve.quantile_interval(share) for curve in curves]
            truths = [true_quantile(kind, share) for kind in KINDS]
            self.add(name, limits[0][0], truths[0], limits[0][1])
            told = [
                (np.array(curve.quantile(share)), *limit)
                for curve, limit in zip((second, first), limits[::-1], strict=True)
            ]
            _, low, high = mover(*told[0], *told[1])
            self.add(f"Δ {name}", float(low), truths[1] - truths[0], float(high))


def tally(n: int, way: str, share: float, logs: int) -> Tally:
    """The figures of so many logs of n transactions and n promotions each."""
    found = Tally()
    for begin in range(0, logs, AT_ONCE):
        count = min(AT_ONCE, logs - begin)
        several = []
        for place, kind in enumerate(KINDS):
            seed = [11, n, WAYS.index(way), round(100 * share), begin, place]
            drawn = Drawn.of(kind, n * count, seed)
            until = watched(way, share, (count, n), np.random.default_rng([*seed, 1]))
            time, cause = (values.reshape(count, n) for values in (drawn.time, drawn.cause))
            several.append((np.minimum(time, until), np.where(until < time, 0, cause)))
        for row in range(count):
            found.one([incidence(time[row], cause[row]) for time, cause in several])
    return found


NAMES = [
    *(f"{what}{seconds}" for what in ("by ", "fail ", "Δ by ") for seconds in TIMES),
    *(f"{what}p{100 * share:g}" for what in ("", "Δ ") for share in QUANTILES),
]


def shown(found: Tally, name: str) -> str:
    """A cell of the table: per cent; in brackets where few logs could tell, a star where it leaves 93 to 97."""
    held = found.held.get(name, [])
    if len(held) < LEAST_TOLD * len(found.open):
        return "–"
    hit = 100 * float(np.mean(held))
    mark = "" if 93 <= hit <= 97 else "*"
    return f"({hit:.1f}{mark})" if len(held) < 0.95 * len(found.open) else f"{hit:.1f}{mark}"


@pytest.mark.parametrize("way", WAYS)
def test_intervals_hold_the_truth(way: str) -> None:
    lines, low_ones = [], []
    for n in SIZES:
        for share in SHARES:
            if share == 0 and way != WAYS[0]:
                continue
            found = tally(n, way, share, LOGS)
            assert np.mean(found.open) == pytest.approx(max(share, MODEL.open_share), abs=0.02)
            lines.append(f"{n:>5} {100 * share:>3.0f}% " + "".join(f"{shown(found, name):>8}" for name in NAMES))
            for name, held in found.held.items():
                least = stats.binom.ppf(1e-5, len(held), 0.93)  # of a thousand cells one in a hundred runs would fail
                if len(held) >= JUDGED * LOGS and sum(held) < least:
                    low_ones.append(f"n={n}, {share:.0%} open, {name}: {sum(held)} of {len(held)}, least {least:.0f}")
    print(f"\n{LOGS:,} logs, {way} censoring: how many of 95 % intervals hold the truth")
    print(f"{'n':>5} {'open':>4} " + "".join(f"{name:>8}" for name in NAMES))
    print("\n".join(lines), flush=True)
    assert not low_ones
