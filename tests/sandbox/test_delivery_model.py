"""The delivery model: what it draws has the distributions of its parameters."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from scipy.stats import lognorm

from viberkit.errors import InvalidRequest
from viberkit.sandbox.delivery_model import DeliveryModel, LogNormal, Step

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DRAWS = 6000
Journey = list[Step]


@pytest.fixture(scope="module")
def journeys() -> list[Journey]:
    """Journeys of transactions accepted at noon."""
    model, started = DeliveryModel(), time.process_time()
    drawn = [model.journey(random.Random(f"0:{n}"), NOON, "transaction") for n in range(DRAWS)]
    assert time.process_time() - started < 2
    return drawn


def is_plausible(count: int, n: int, share: float) -> bool:
    """Whether a count is within five standard errors of a binomial share."""
    return abs(count - n * share) <= 5 * math.sqrt(n * share * (1 - share)) + 1


def durations(journeys: list[Journey], start: str, end: str) -> list[float]:
    times = [{step.state: step.at for step in journey} for journey in journeys]
    return [(at[end] - at[start]).total_seconds() for at in times if start in at and end in at]


def scipy_distribution(distribution: LogNormal) -> Any:
    return lognorm(s=distribution.sigma, scale=distribution.median_s)


def test_shares_of_outcomes(journeys: list[Journey]) -> None:
    model = DeliveryModel()
    last = Counter(journey[-1].state for journey in journeys)
    assert is_plausible(last["failed"], DRAWS, model.failed_share)
    assert is_plausible(last["dispatched"], DRAWS, model.open_share)
    delivered = last["delivered"] + last["seen"]
    assert is_plausible(last["seen"], delivered, model.seen_share)
    codes = Counter(journey[-1].code for journey in journeys if journey[-1].state == "failed")
    weights = {failure.code: failure.weight for failure in model.failures}
    for code, weight in weights.items():
        assert is_plausible(codes[code], last["failed"], weight / sum(weights.values()))
    for journey in journeys:
        assert all(step.at < successor.at for step, successor in pairwise(journey))


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        ("accepted", "routed", "routing"),
        ("routed", "dispatched", "dispatching"),
        ("channel_failed", "failed", "final_failure"),
    ],
)
def test_quantiles_of_transitions(journeys: list[Journey], start: str, end: str, name: str) -> None:
    distribution, times = scipy_distribution(getattr(DeliveryModel(), name)), durations(journeys, start, end)
    for share in (0.1, 0.5, 0.9):
        limit_s = distribution.ppf(share) + 0.001  # drawn times are rounded up to milliseconds
        count = sum(seconds <= limit_s for seconds in times)
        assert is_plausible(count, len(times), distribution.cdf(limit_s))


def test_distribution_of_deliveries_with_the_heavy_tail(journeys: list[Journey]) -> None:
    model, times = DeliveryModel(), durations(journeys, "dispatched", "delivered")
    for seconds in (1.0, 1.5, 3.0, 10.0, 120.0, 3600.0, 86_400.0):
        survival = (model.away_s / max(seconds, model.away_s)) ** model.away_shape
        away = (1 - survival) / (1 - (model.away_s / model.lifetime.total_seconds()) ** model.away_shape)
        share = (1 - model.away_share) * scipy_distribution(model.delivery).cdf(seconds) + model.away_share * away
        assert is_plausible(sum(time_s <= seconds for time_s in times), len(times), share)
    assert 1.2 < statistics.median(times) < 2
    assert max(times) <= model.lifetime.total_seconds()


def test_slowdown_at_night_and_by_rate_type() -> None:
    model = DeliveryModel(failed_share=0, open_share=0, away_share=0)

    def median(rate_type: str, hour: int) -> float:
        drawn = [model.journey(random.Random(n), NOON.replace(hour=hour), rate_type) for n in range(1000)]
        return statistics.median(durations(drawn, "dispatched", "delivered"))

    day = median("transaction", 12)
    assert median("transaction", 3) == pytest.approx(model.hourly_factors[3] * day, rel=0.01)
    assert median("promotion", 12) == pytest.approx(model.promotion_factor * day, rel=0.01)
    assert median("session", 12) == pytest.approx(model.session_factor * day, rel=0.01)


def test_shares_of_noise() -> None:
    model, rng = DeliveryModel(duplicate_share=0.02, disorder_share=0.05), random.Random(1)
    noise = Counter(model.noise(rng) for _ in range(20_000))
    assert is_plausible(noise["duplicate"], 20_000, 0.02)
    assert is_plausible(noise["late"], 20_000, 0.05)


@pytest.mark.parametrize(
    "parameters",
    [
        {"seen_share": 2},
        {"failed_share": 0.7, "open_share": 0.7},
        {"duplicate_share": 0.7, "disorder_share": 0.7},
        {"hourly_factors": (1.0,)},
    ],
)
def test_invalid_parameters(parameters: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        DeliveryModel(**parameters)
