"""The speed of transitions, journeys and latency tables against numpy, pandas and pm4py, and equal results.

Small by default. The published figures::

    VIBERKIT_BENCH_MESSAGES=1000000 python -m pytest tests/benchmarks/test_timing_speed.py -s -p no:cacheprovider
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bench_logs import MEASURED, MESSAGES, fastest, write

from viberkit.analysis.journeys import journeys, transitions
from viberkit.analysis.latency import latency
from viberkit.frames.reader import read_events


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return read_events(write(tmp_path_factory.mktemp("logs") / "log.jsonl", MESSAGES))


def by_numpy(events: pd.DataFrame) -> pd.DataFrame:
    """Factorize the ids, sort by one packed key unless sorted already, and take differences."""
    number, ids = pd.factorize(events["message_id"])
    at = np.asarray(events["happened_at"].astype("int64"))
    state = events["state"].cat.codes.to_numpy()
    if not ((np.diff(number) > 0) | ((np.diff(number) == 0) & (np.diff(at) >= 0))).all():
        order = np.argsort((number.astype(np.int64) << 42) | (at - at.min()))
        number, at, state = number[order], at[order], state[order]
    start = np.flatnonzero(number[1:] == number[:-1])
    seconds = (at[start + 1] - at[start]) / 1e6
    columns = {"message_id": ids.take(number[start]), "from": state[start], "to": state[start + 1], "s": seconds}
    return pd.DataFrame(columns)


def by_pandas(events: pd.DataFrame) -> pd.DataFrame:
    """Sort by time, then shift within each message: the fastest way in plain pandas."""
    ordered = events.sort_values("happened_at", kind="stable")
    previous = ordered.groupby("message_id", sort=False)[["state", "happened_at"]].shift()
    seconds = (ordered["happened_at"] - previous["happened_at"]).dt.total_seconds()
    return ordered.assign(from_state=previous["state"], latency_s=seconds).dropna(subset="from_state")


@pytest.mark.parametrize("order", ["as loaded", "shuffled"])
def test_transitions_against_numpy_and_pandas(events: pd.DataFrame, order: str) -> None:
    log = events if order == "as loaded" else events.sample(frac=1, random_state=0, ignore_index=True)
    assert len(transitions(log)) == len(by_numpy(log)) == len(by_pandas(log))
    assert transitions(log)["latency_s"].sum() == pytest.approx(by_numpy(log)["s"].sum())
    viberkit_s, numpy_s, pandas_s, journeys_s = fastest(
        lambda: transitions(log), lambda: by_numpy(log), lambda: by_pandas(log), lambda: journeys(log)
    )
    print(
        f"\n{len(log):,} events {order}: transitions {viberkit_s:.2f} s, "
        f"numpy {numpy_s:.2f} s ({viberkit_s / numpy_s:.2f}x), "
        f"pandas {pandas_s:.2f} s ({viberkit_s / pandas_s:.2f}x); journeys {journeys_s:.2f} s"
    )
    if MESSAGES >= MEASURED:
        assert viberkit_s <= 1.5 * numpy_s
        assert viberkit_s <= pandas_s


def test_latency_against_pandas(events: pd.DataFrame) -> None:
    completed = transitions(events)
    shares = [0.5, 0.9, 0.95, 0.99]

    def run_pandas() -> pd.DataFrame:
        return completed.groupby(["from_state", "to_state"], observed=True)["latency_s"].quantile(shares).unstack()

    result = latency(completed, quantiles=shares).pivot(
        index=["from_state", "to_state"], columns="quantile", values="value_s"
    )
    np.testing.assert_allclose(result.sort_index().to_numpy(), run_pandas().sort_index().to_numpy(), rtol=1e-12)
    viberkit_s, reference_s = fastest(lambda: latency(completed), run_pandas, rounds=5)
    ratio = viberkit_s / reference_s
    print(
        f"\n{len(completed):,} transitions: latency {viberkit_s:.3f} s, "
        f"pandas quantile {reference_s:.3f} s ({ratio:.2f}x)"
    )
    if MESSAGES >= MEASURED:
        assert viberkit_s <= 1.2 * reference_s


def test_against_pm4py(events: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pm4py = pytest.importorskip("pm4py", reason="pm4py is not installed: pip install viberkit[oracles]")
    ties = events.duplicated(["message_id", "happened_at"], keep=False)
    log = events[~events["message_id"].isin(events.loc[ties, "message_id"])]
    named = {"case:concept:name": log["message_id"], "concept:name": log["state"].astype("str")}
    pm4py_log = pd.DataFrame({**named, "time:timestamp": log["happened_at"]})

    def run_pm4py() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pm4py.discover_performance_dfg(pm4py_log, perf_aggregation_key="mean")[0]

    def run_viberkit() -> dict[tuple[str, str], float]:
        table = latency(log, quantiles=0.5)
        means = table["total_s"] / table["n"]
        return dict(zip(zip(table["from_state"], table["to_state"], strict=True), means, strict=True))

    means = {transition: mean["mean"] if isinstance(mean, dict) else mean for transition, mean in run_pm4py().items()}
    assert means == pytest.approx(run_viberkit(), rel=1e-9)
    viberkit_s, reference_s = fastest(run_viberkit, run_pm4py, rounds=2)
    print(
        f"\n{len(log):,} events: pm4py {reference_s:.2f} s, viberkit {viberkit_s:.2f} s: "
        f"{reference_s / viberkit_s:.1f}x faster"
    )
    if MESSAGES >= MEASURED:
        assert reference_s >= 8 * viberkit_s


def test_linear_in_messages(events: pd.DataFrame) -> None:
    few = events[events["message_id"].isin(events["message_id"].drop_duplicates()[: max(MESSAGES // 100, 10)])]
    for work in (transitions, journeys, latency):
        small_s, large_s = fastest(lambda work=work: work(few), lambda work=work: work(events), rounds=5)
        print(
            f"\n{work.__name__}: {len(few):,} events {small_s * 1e3:.1f} ms, {len(events):,} {large_s * 1e3:.0f} ms: "
            f"{large_s / small_s / (len(events) / len(few)):.2f} of linear",
            end="",
        )
        if MESSAGES >= MEASURED:
            assert large_s <= 1.2 * len(events) / len(few) * small_s
            assert small_s <= 0.05 * MESSAGES / 1_000_000
    print()


@pytest.mark.parametrize("work", [transitions, journeys, latency])
def test_speed(benchmark: Any, events: pd.DataFrame, work: Any, tmp_path: Path) -> None:
    assert len(benchmark(work, events))
