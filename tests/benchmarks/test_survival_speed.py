"""The speed of delivery curves against a sort by numpy and the curves of scipy and lifelines, and of other estimates.

Small by default. The published figures::

    VIBERKIT_BENCH_MESSAGES=1000000 python -m pytest tests/benchmarks/test_survival_speed.py -s -p no:cacheprovider
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bench_logs import MEASURED, MESSAGES, fastest
from scipy import stats

import viberkit as vk
from viberkit.frames.columns import EVENTS, JOURNEYS
from viberkit.frames.schema import INSTANT

SECOND = 1_000_000
BEGIN = pd.Timestamp("2026-03-02T00:00:00Z").value // 1000
OPEN, DELIVERED, FAILED = range(3)
PRICES = {"viber_price": 0.02, "sms_price": 0.07}


class Log:
    """Journeys, with the duration (microseconds) and the cause of each message."""

    def __init__(self, unit: int) -> None:
        rng = np.random.default_rng(0)
        self.took = np.ceil(rng.lognormal(0.5, 1, MESSAGES) * SECOND / unit).astype(np.int64) * unit
        self.cause = rng.choice([OPEN, DELIVERED, FAILED], MESSAGES, p=[0.05, 0.92, 0.03])
        started = BEGIN + np.sort(rng.integers(0, 14 * 86_400 * SECOND, MESSAGES))
        ended = at(started + self.took)
        columns: dict[str, Any] = {
            "message_id": pd.Series(np.arange(MESSAGES)).astype("str"),
            "accepted_at": at(started),
            "delivered_at": ended.where(self.cause == DELIVERED),
            "failed_at": ended.where(self.cause == FAILED),
            "outcome": np.array(["open", "delivered", "failed"])[self.cause],
            "observed_until": ended,
            "rate_type": np.array(["session", "promotion"])[rng.integers(0, 2, MESSAGES)],
        }
        self.journeys = JOURNEYS.frame(pd.DataFrame(columns))

    @property
    def events(self) -> pd.DataFrame:
        frames = [
            self.journeys[["message_id", f"{state}_at"]]
            .rename(columns={f"{state}_at": "happened_at"})
            .dropna()
            .assign(state=state, source="callback")
            for state in ("accepted", "delivered", "failed")
        ]
        return EVENTS.frame(pd.concat(frames, ignore_index=True))


def at(micros: np.ndarray) -> pd.Series[Any]:
    return pd.Series(pd.DatetimeIndex(micros.view("datetime64[us]")).tz_localize("UTC"), dtype=INSTANT)


@pytest.fixture(scope="module", params=[1_000, 1], ids=["milliseconds", "microseconds"])
def log(request: pytest.FixtureRequest) -> Log:
    return Log(request.param)


def by_scipy(log: Log) -> Any:
    ended = log.cause == DELIVERED
    return stats.ecdf(stats.CensoredData(uncensored=log.took[ended], right=log.took[~ended]))


def test_the_curve_against_sorting_and_scipy(log: Log) -> None:
    open_or_failed = log.journeys["outcome"].replace({"failed": "open"})
    no_failures = log.journeys.assign(failed_at=pd.NaT, outcome=open_or_failed)
    result, reference = vk.delivery_curve(no_failures), by_scipy(log).sf
    rows = np.searchsorted(result["time_s"].to_numpy(), reference.quantiles / SECOND - 1e-9)
    np.testing.assert_allclose(result["open"].to_numpy()[rows], reference.probabilities, rtol=0, atol=1e-9)
    sort_s, viberkit_s, reference_s = fastest(
        lambda: np.sort(log.took), lambda: vk.delivery_curve(log.journeys), lambda: by_scipy(log), rounds=5
    )
    print(
        f"\n{MESSAGES:,} journeys, {len(result):,} rows: delivery_curve {viberkit_s:.3f} s, numpy.sort {sort_s:.3f} s "
        f"({viberkit_s / sort_s:.1f}x), scipy.stats.ecdf {reference_s:.3f} s ({reference_s / viberkit_s:.2f}x as long)"
    )
    if MESSAGES >= MEASURED:
        assert viberkit_s <= 2 * sort_s + 1
        assert viberkit_s <= reference_s


def test_the_curve_against_lifelines(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lifelines = pytest.importorskip("lifelines", reason="lifelines is not installed: pip install viberkit[oracles]")
    seconds, ended = log.took / SECOND, log.cause == DELIVERED

    def reference() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return lifelines.KaplanMeierFitter().fit(seconds, ended)

    viberkit_s, reference_s = fastest(lambda: vk.delivery_curve(log.journeys), reference, rounds=2)
    print(
        f"\n{MESSAGES:,}: delivery_curve {viberkit_s:.3f} s, "
        f"lifelines {reference_s:.3f} s ({reference_s / viberkit_s:.1f}x as long)"
    )
    if MESSAGES >= MEASURED:
        assert viberkit_s <= reference_s


def test_other_estimates(log: Log) -> None:
    journeys, events = log.journeys, log.events
    calls = {
        "delivery_curve by": lambda: vk.delivery_curve(journeys, by="rate_type"),
        "time_to": lambda: vk.time_to(journeys),
        "over_time 1h": lambda: vk.over_time(journeys, every="1h"),
        "profile": lambda: vk.profile(journeys),
        "slo": lambda: vk.slo(journeys),
        "compare": lambda: vk.compare(journeys, by="rate_type"),
        "changes": lambda: vk.changes(journeys),
        "fallback": lambda: vk.fallback(journeys, **PRICES),
        "quality": lambda: vk.quality(events),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        durations = fastest(*calls.values(), rounds=1 if MESSAGES >= MEASURED else 2)
    print(f"\n{MESSAGES:,}: " + ", ".join(f"{name} {s:.2f} s" for name, s in zip(calls, durations, strict=True)))
    assert vk.time_to(journeys)["n"].tolist() == [MESSAGES] * 4
