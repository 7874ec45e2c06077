"""Change points: false alarms, and the changes that are found, on logs of many kinds of dependence.

Few logs by default. The figures of the documentation take half an hour, and are printed::

    VIBERKIT_LOGS=400 python -m pytest tests/analysis/test_change_points.py -m "" -n 0 -s
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy import stats
from support import dependent_logs as logs
from support.delivery_logs import BEGIN, NEVER, SECOND, Truth, draw

import viberkit as vk
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS
from viberkit.sandbox.delivery_model import DeliveryModel, Failure

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
LOGS = int(os.environ.get("VIBERKIT_LOGS", "10"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SIZE = 10_000
COLUMNS = (
    "since_at since_low_at since_high_at until_at kind metric quantile before_s after_s failed_before failed_after "
    "share_before share_after hop column value p_value n_before n_after summary"
).split()


def observed(truth: Truth, minutes_after: float = 10, **columns: Any) -> pd.DataFrame:
    """Journeys that were observed until some minutes after the start of the last message."""
    end = truth.started[-1] + int(minutes_after * 60 * SECOND)
    return truth.seen(end - truth.started, **columns)


def cut_of(log: pd.DataFrame, since: pd.Timestamp) -> int:
    return int((log["accepted_at"] < since).sum())


def test_false_alarms_are_rare_and_changes_are_found() -> None:
    false_alarms, hits, distances = 0, 0, []
    for seed in range(LOGS):
        rng = np.random.default_rng([31, seed])
        false_alarms += len(vk.changes(observed(draw(SIZE, rng)))) > 0
        change = int(rng.integers(SIZE // 4, 3 * SIZE // 4))
        log = observed(draw(SIZE, rng, slower=1.5, since=change))
        result = vk.changes(log)
        assert (result["p_value"] <= 0.05).all()
        if len(result):
            distances.append(min(abs(cut_of(log, since) - change) for since in result["since_at"]))
            hits += distances[-1] <= 0.02 * SIZE
    print(
        f"\n{LOGS} logs of {SIZE:,}: false alarms in {false_alarms / LOGS:.1%}; x1.5 found within 2 % in "
        f"{hits / LOGS:.1%}, median distance {np.median(distances):.0f} messages"
    )
    assert false_alarms <= stats.binom.ppf(0.999, LOGS, 0.05)  # consistent with a rate of 5 %
    assert hits >= stats.binom.ppf(0.001, LOGS, 0.9)


DAYS = 14
Situation = Callable[[np.random.Generator], pd.DataFrame]


def delays(rng: np.random.Generator, n: int) -> logs.Floats:
    """Times to delivery by one of four laws, which differ from log to log."""
    laws = (
        lambda: logs.weibull(rng, n),
        lambda: rng.lognormal(1.0, 0.8, n),
        lambda: rng.gamma(2.0, 2.0, n),
        lambda: 2 * (1 + rng.pareto(2.5, n)),
    )
    return laws[rng.integers(len(laws))]()


def evenly(rng: np.random.Generator, days: float = DAYS, size: int = SIZE) -> tuple[logs.Floats, logs.Floats]:
    return logs.evenly(rng, size, days), delays(rng, size)


def in_bursts(rng: np.random.Generator) -> pd.DataFrame:
    start = logs.in_bursts(rng, SIZE, DAYS)
    return logs.journeys(start, logs.queue(start, rng.exponential(0.2, SIZE)) + delays(rng, SIZE))


def slow_nights(rng: np.random.Generator, days: float) -> pd.DataFrame:
    start, seconds = evenly(rng, days)
    return logs.journeys(start, np.where(start % logs.DAY < 8 * logs.HOUR, 2, 1) * seconds)


def slow_weekends(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng, 28, 2 * SIZE)
    return logs.journeys(start, np.where(start // logs.DAY % 7 >= 5, 1.5, 1) * seconds)


def slow_days(rng: np.random.Generator, sd: float, days: int = DAYS) -> pd.DataFrame:
    start, seconds = evenly(rng, days)
    return logs.journeys(start, logs.by_stretch(rng, start, logs.DAY, sd) * seconds)


def with_outages(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    return logs.journeys(start, seconds + logs.outages(rng, start, DAYS))


def autoregressive(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    return logs.journeys(start, logs.autoregressive(rng, SIZE) * seconds)


#: Logs without a change, and the largest share of them in which one may be reported.
UNCHANGED: dict[str, tuple[Situation, float]] = {
    "independent": (lambda rng: logs.journeys(*evenly(rng)), 0.05),
    "independent, 300 messages": (lambda rng: logs.journeys(*evenly(rng, size=300)), 0.05),
    "bursts with a queue": (in_bursts, 0.05),
    "slow nights, 2 days": (lambda rng: slow_nights(rng, 2), 0.05),
    "slow nights, 14 days": (lambda rng: slow_nights(rng, 14), 0.05),
    "slow weekends, 28 days": (slow_weekends, 0.05),
    "days of their own speed, sd 0.05": (lambda rng: slow_days(rng, 0.05), 0.1),
    "days of their own speed, sd 0.1": (lambda rng: slow_days(rng, 0.1), 0.1),
    "days of their own speed, sd 0.1, 7 days": (lambda rng: slow_days(rng, 0.1, 7), 0.1),
    "outages": (with_outages, 0.1),
    "autoregressive 0.99": (autoregressive, 0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNCHANGED)
def test_dependence_is_no_change(name: str) -> None:
    draw_log, most = UNCHANGED[name]
    alarms = sum(len(vk.changes(draw_log(np.random.default_rng([41, seed])))) > 0 for seed in range(LOGS))
    print(f"\n{name}: a change in {alarms / LOGS:.1%} of {LOGS} logs")
    assert alarms <= stats.binom.ppf(0.999, LOGS, most)


def slower(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    return logs.journeys(start, np.where(np.arange(SIZE) < SIZE // 2, 1, 1.3) * seconds)


def longer_tail(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    limit = np.quantile(seconds, 0.9)
    later = (np.arange(SIZE) >= SIZE // 2) & (seconds > limit)
    return logs.journeys(start, np.where(later, limit + 1.5 * (seconds - limit), seconds))


def more_failures(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    failed = rng.random(SIZE) < np.where(np.arange(SIZE) < SIZE // 2, 0.015, 0.03)
    return logs.journeys(start, seconds, failed=failed)


def other_mix(rng: np.random.Generator) -> pd.DataFrame:
    start, seconds = evenly(rng)
    is_slow = rng.random(SIZE) < np.where(np.arange(SIZE) < SIZE // 2, 0.2, 0.5)
    return logs.journeys(start, np.where(is_slow, 3, 1) * seconds, country=np.where(is_slow, "UA", "DE"))


#: Logs with a change in the middle: the metric, and the smallest share of logs in which it is found.
CHANGED: dict[str, tuple[Situation, str, float]] = {
    "all times x1.3": (slower, "time", 0.97),
    "the slowest tenth x1.5": (longer_tail, "time", 0.8),
    "failures x2": (more_failures, "failed", 0.85),
    "20 % to 50 % of another country": (other_mix, "mix", 0.97),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_changes_are_found_and_their_time_is_in_the_interval(name: str) -> None:
    draw_log, metric, least = CHANGED[name]
    found = covered = others = 0
    for seed in range(LOGS):
        log = draw_log(np.random.default_rng([43, seed]))
        result = vk.changes(log)
        of_metric = result[result["metric"] == metric]
        found += len(of_metric) > 0
        others += len(of_metric) < len(result)
        true = log["accepted_at"][SIZE // 2]
        covered += bool(((of_metric["since_low_at"] <= true) & (true <= of_metric["since_high_at"])).any())
    print(f"\n{name}: found in {found / LOGS:.1%} of {LOGS} logs, its time in the interval in {covered / found:.1%}")
    assert found >= stats.binom.ppf(0.001, LOGS, least)
    assert covered >= stats.binom.ppf(0.001, found, 0.9)
    assert others <= stats.binom.ppf(0.999, LOGS, 0.05)


def test_three_changes_are_found() -> None:
    found, within = 0, 0.03 * SIZE
    for seed in range(LOGS):
        rng = np.random.default_rng([47, seed])
        start, seconds = evenly(rng)
        cuts = np.array([0.2, 0.5, 0.75]) * SIZE
        factor = np.array([1.0, 1.6, 2.6, 1.6])[np.searchsorted(cuts, np.arange(SIZE), side="right")]
        log = logs.journeys(start, factor * seconds)
        result = vk.changes(log)
        times = pd.concat([result["since_at"], result["until_at"].dropna()]).sort_values()
        at = np.array([cut_of(log, time) for time in times])
        found += len(at) == 3 and bool((np.abs(at - cuts) <= within).all())
    print(f"\nthree changes: all found, and no other, in {found / LOGS:.1%} of {LOGS} logs")
    assert found >= stats.binom.ppf(0.001, LOGS, 0.85)


def test_the_group_that_changed_is_named() -> None:
    rng = np.random.default_rng(53)
    start, seconds = evenly(rng)
    country = rng.choice(["DE", "PL", "UA"], SIZE)
    slow = (country == "PL") & (np.arange(SIZE) >= SIZE // 2)
    content = pd.Categorical(rng.choice(["text", "image"], SIZE))
    log = logs.journeys(start, np.where(slow, 2, 1) * seconds, country=country, content_type=content)
    row = vk.changes(log).iloc[0]
    assert row[["metric", "kind", "column", "value"]].tolist() == ["time", "shift", "country", "PL"]
    assert ", only country PL (between " in row["summary"]
    everywhere = logs.journeys(start, np.where(np.arange(SIZE) < SIZE // 2, 1, 2) * seconds, country=country)
    assert vk.changes(everywhere)["value"].isna().all()
    mixed = logs.journeys(start, seconds, country=np.where(np.arange(SIZE) < SIZE // 2, country, "UA"))
    assert set(vk.changes(mixed)["metric"]) == {"mix"}
    assert len(vk.changes(mixed, columns=[])) == 0


def test_the_transition_that_changed_is_named() -> None:
    rng = np.random.default_rng(59)
    start, seconds = evenly(rng)
    waiting = rng.gamma(2.0, 1.0, SIZE) * np.where(np.arange(SIZE) < SIZE // 2, 1, 4)
    log = logs.journeys(start, waiting + seconds)
    log["dispatched_at"] = log["accepted_at"] + pd.to_timedelta(np.round(waiting * 1e6), unit="us")
    assert vk.changes(log)["hop"].tolist() == ["accepted->dispatched"]
    assert vk.changes(log, start="dispatched")["since_at"].tolist() == []


def test_messages_observed_late_are_no_change() -> None:
    """From the middle on, messages are observed only if they are open after two seconds: they take longer."""
    rng = np.random.default_rng(61)
    start, seconds = logs.evenly(rng, SIZE, DAYS), rng.lognormal(1.0, 0.8, SIZE)
    late = np.arange(SIZE) >= SIZE // 2
    log = logs.journeys(start, seconds)[~late | (seconds > 2)].reset_index(drop=True)
    since = (log["accepted_at"] + pd.Timedelta("2s")).where(log["accepted_at"] >= log["accepted_at"].mean())
    assert len(vk.changes(log, observed_from=since.set_axis(log["message_id"]))) == 0
    assert len(vk.changes(log)) > 0


def test_more_failures_are_reported_as_failures() -> None:
    rng = np.random.default_rng(6)
    refused = (Failure("viber::error::NOT_VIBER_USER", "no user", 1, True),)
    before = draw(6_000, rng, DeliveryModel(failures=refused))
    after = draw(6_000, rng, DeliveryModel(failures=refused, failed_share=0.15))
    change = 6_000
    joined = Truth(
        *(np.concatenate(arrays) for arrays in zip(vars(before).values(), vars(after).values(), strict=True))
    )
    joined.started[change:] += 14 * 86_400 * SECOND
    log = observed(joined)
    result = vk.changes(log)
    assert list(result) == COLUMNS
    assert result["metric"].tolist() == ["failed"]
    row = result.iloc[0]
    assert row[["quantile", "before_s", "after_s"]].isna().all()
    assert abs(cut_of(log, row["since_at"]) - change) <= 240
    assert row["failed_before"] == pytest.approx(0.04, abs=0.02)
    assert row["failed_after"] == pytest.approx(0.15, abs=0.02)
    assert " failed rose from " in row["summary"]
    assert row["n_before"] + row["n_after"] == 12_000


def test_slower_and_faster_again_is_an_incident() -> None:
    n, rng = 12_000, np.random.default_rng(2)
    truth = draw(n, rng, DeliveryModel(away_share=0.0))
    slow = (np.arange(n) >= 5_000) & (np.arange(n) < 8_000) & (truth.delivered < NEVER)
    truth.delivered[slow] += 2 * (truth.delivered - truth.dispatched)[slow]
    log = observed(truth)
    result = vk.changes(log, tz="Europe/Kyiv")
    assert result["kind"].tolist() == ["incident"]
    row = result.iloc[0]
    assert abs(cut_of(log, row["since_at"]) - 5_000) <= 240
    assert abs(cut_of(log, row["until_at"]) - 8_000) <= 240
    assert row["since_low_at"] <= row["since_at"] <= row["since_high_at"]
    assert row["metric"] == "time"
    assert row["hop"] == "dispatched->delivered"
    assert 2 < row["after_s"] / row["before_s"] < 4
    assert result[["failed_before", "failed_after", "share_before", "column"]].isna().all(axis=None)
    begin, end = (row[name].tz_convert("Europe/Kyiv") for name in ("since_at", "until_at"))
    assert row["summary"].startswith(f"from {begin.day} {begin:%b %H:%M} to {end.day} {end:%b %H:%M} p50 rose from ")
    assert ", most from dispatched to delivered (between " in row["summary"]
    assert row["n_before"] == cut_of(log, row["since_at"])
    assert row["n_before"] + row["n_after"] == cut_of(log, row["until_at"])
    assert result.attrs == {"by": [], "start": "accepted", "end": "delivered", "confidence": 0.95, "tz": "Europe/Kyiv"}
    single = vk.changes(log, max_changes=1)
    assert single["until_at"].isna().all()
    assert len(single) <= 1


def test_times_before_and_after_are_quantiles_of_the_messages() -> None:
    log = observed(draw(4_000, np.random.default_rng(3), DeliveryModel(failed_share=0.0), slower=3.0, since=2_000))
    result = vk.changes(log, quantiles=0.5)
    assert result["quantile"].tolist() == [0.5]
    cut = cut_of(log, result["since_at"][0])
    for name, part in (("before_s", log[:cut]), ("after_s", log[cut:])):
        curve = vk.delivery_curve(part)
        assert result[name][0] == curve.loc[curve["delivered"] >= 0.5 - 1e-12, "time_s"].iloc[0]


def test_open_messages_are_no_change() -> None:
    """At the end of a log more messages are open, because they are recent: nothing has changed."""
    for seed in range(max(LOGS // 5, 4)):
        truth = draw(4_000, np.random.default_rng([9, seed]), DeliveryModel(hourly_factors=(1.0,) * 24), days=0.05)
        log = observed(truth, minutes_after=0)
        assert (log["outcome"] == "open").iloc[-50:].mean() > (log["outcome"] == "open").iloc[:2_000].mean()
        assert len(vk.changes(log, confidence=0.999)) == 0


def test_a_time_that_open_messages_could_still_reach_is_not_known() -> None:
    outcomes = ["delivered"] * 200 + ["open"] * 150 + ["delivered"] * 50
    accepted = BEGIN + pd.to_timedelta(np.arange(len(outcomes)), unit="s")
    journeys = {"message_id": [f"m{n}" for n in range(len(outcomes))], "accepted_at": accepted, "outcome": outcomes}
    delivered = (accepted + pd.Timedelta("1s")).where(np.array(outcomes) == "delivered")
    log = pd.DataFrame(journeys).assign(delivered_at=delivered, observed_until=accepted + pd.Timedelta("1h"))
    result = vk.changes(log, max_changes=1, quantiles=0.9)
    row = result.iloc[0]
    assert row["metric"] == "time"
    assert row["before_s"] == 1
    assert np.isnan(row["after_s"])
    assert " p90 rose from 1 s to not known yet (between " in row["summary"]
    assert result.attrs["of_note"].startswith("In less than 3 days ")


def test_each_group_is_searched_on_its_own() -> None:
    rng = np.random.default_rng(12)
    same, slower = draw(3_000, rng), draw(3_000, rng, slower=2.5, since=1_500)
    log = pd.concat([observed(same, rate_type="session"), observed(slower, rate_type="promotion")], ignore_index=True)
    log["message_id"] = [f"m{number}" for number in range(len(log))]
    before = log.copy(deep=True)
    result = vk.changes(log, by="rate_type", confidence=0.99)
    pd.testing.assert_frame_equal(log, before)
    assert list(result) == ["rate_type", *COLUMNS]
    assert result.attrs["by"] == ["rate_type"]
    assert result["rate_type"].tolist() == ["promotion"]
    single = vk.changes(log[log["rate_type"] == "promotion"], confidence=0.99)
    assert result["summary"].tolist() == ["promotion: " + text for text in single["summary"]]
    pd.testing.assert_frame_equal(result.drop(columns=["rate_type", "summary"]), single.drop(columns="summary"))
    shuffled = vk.changes(log.sample(frac=1, random_state=1), by="rate_type", confidence=0.99)
    assert shuffled["since_at"].tolist() == result["since_at"].tolist()


def test_few_messages_have_no_change() -> None:
    for n in (0, 1, 2, 79):
        result = vk.changes(observed(draw(n, np.random.default_rng(1))) if n else JOURNEYS.empty())
        assert len(result) == 0
        assert list(result) == COLUMNS
        assert str(result["since_at"].dtype) == "datetime64[us, UTC]"
    empty = vk.changes(JOURNEYS.empty().assign(team=pd.Series([], dtype="str")), by="team")
    assert list(empty) == ["team", *COLUMNS]


outcomes = st.sampled_from(["delivered", "delivered", "failed", "open"])
message = st.tuples(st.integers(0, 10), st.sampled_from([0.0, 1.0, 1.0, 2.5, 400.0, 1e6]), outcomes)


def repeat(pattern: list[Any], times: int, step: int) -> pd.DataFrame:
    """Journeys of messages that follow a pattern of gap, duration and outcome, some seconds apart."""
    rows = [pattern[(index * index) % len(pattern)] for index in range(len(pattern) * times)]
    journeys = []
    for index, (gap, seconds, outcome) in enumerate(rows):
        at = BEGIN + pd.Timedelta(seconds=step * (index // 3) + gap)
        ended = at + pd.Timedelta(seconds=seconds)
        times_of_outcome = {f"{outcome}_at": ended} if outcome != "open" else {}
        journey = {"message_id": f"m{index}", "accepted_at": at, "outcome": outcome, "observed_until": ended}
        journeys.append(journey | times_of_outcome)
    return JOURNEYS.frame(journeys)


@many
@given(
    st.lists(message, min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from([1, 60, 3_600, 86_400]),
    st.sampled_from([(0.5,), (0.5, 0.95), (0.01, 0.999)]),
)
def test_any_log_keeps_within_bounds(pattern: list[Any], times: int, step: int, quantiles: tuple[float, ...]) -> None:
    log = repeat(pattern, times, step)
    result = vk.changes(log, quantiles=quantiles, max_changes=3)
    assert len(result) <= 3
    assert result["p_value"].between(0, 0.05).all()
    assert (result[["n_before", "n_after"]] >= 1).all(axis=None)
    assert result["since_at"].isin(log["accepted_at"]).all()
    assert result["since_at"].is_monotonic_increasing
    assert result["since_at"].between(result["since_low_at"], result["since_high_at"]).all()
    assert (result["kind"] == np.where(result["until_at"].isna(), "shift", "incident")).all()
    assert (result["since_at"] < result["until_at"].fillna(result["since_at"] + pd.Timedelta("1s"))).all()
    assert result["summary"].str.match("since |from ").all()
    of_time = result["metric"] == "time"
    assert set(result["metric"]) <= {"time", "failed"}
    assert result.loc[of_time, "quantile"].isin(quantiles).all()
    assert result.loc[~of_time, ["failed_before", "failed_after"]].notna().all(axis=None)


def test_mistakes_are_named() -> None:
    log = observed(draw(100, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="quantiles: 50 is not between 0 and 1"):
        vk.changes(log, quantiles=50)
    with pytest.raises(ValueError, match="confidence: 5 is not between 0 and 1"):
        vk.changes(log, confidence=5)
    with pytest.raises(ValueError, match="end: changes of the failed share are always reported"):
        vk.changes(log, end="failed")
    with pytest.raises(MissingColumn, match="changes: no column 'rate_typ'"):
        vk.changes(log, by="rate_typ")
    with pytest.raises(ValueError, match="start: 'sent' is not a state"):
        vk.changes(log, start="sent")


def test_messages_that_ended_before_they_were_observed_are_no_change() -> None:
    rng = np.random.default_rng(4)
    start = logs.evenly(rng, 1_000, 14)
    journeys = logs.journeys(start, rng.lognormal(2, 1.5, 1_000))
    begin = logs.BEGIN + pd.Timedelta(days=3)
    assert vk.changes(journeys, observed_from=begin).empty
    assert vk.changes(
        journeys, observed_from=(journeys["accepted_at"] + pd.Timedelta("4s")).set_axis(journeys["message_id"])
    ).empty


def test_arguments_are_checked_whether_anything_changed_or_not() -> None:
    journeys = logs.journeys(np.arange(100.0), np.ones(100))
    with pytest.raises(ValueError, match="quantiles: is empty"):
        vk.changes(journeys, quantiles=())
    with pytest.raises(ValueError, match=r"max_changes: .3. is not a number from 0 up"):
        vk.changes(journeys, max_changes="3")  # type: ignore[arg-type]
