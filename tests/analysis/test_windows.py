"""Windows, hours of the week and objectives: against single curves, the complete data, and without bias."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy import stats
from support import dependent_logs
from support.delivery_logs import BEGIN, NEVER, SECOND, Truth, draw

import viberkit as vk
from viberkit.analysis.durations import DroppedMessagesWarning
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS
from viberkit.sandbox.delivery_model import DeliveryModel, LogNormal

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
LOGS = max(int(os.environ.get("VIBERKIT_LOGS", "300")), 300)
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
DAY = 86_400 * SECOND
ATTRS = {"by": [], "start": "accepted", "end": "delivered", "confidence": 0.95, "cluster": "auto", "tz": "UTC"}
UTC_INSTANT = "datetime64[us, UTC]"


def sent_at(texts: list[str], took: list[float | None], until: str | None = None, **columns: Any) -> pd.DataFrame:
    """Journeys of messages sent at these instants, delivered after these seconds (None: open)."""
    at = pd.Series(pd.to_datetime(texts, utc=True, format="ISO8601"), dtype=UTC_INSTANT)
    after = pd.Series(pd.to_timedelta(took, unit="s"))
    end = pd.Timestamp(until, tz="UTC") if until else (at + after).max() + pd.Timedelta("1h")
    frame = {
        "message_id": [f"m{index}" for index in range(len(at))],
        "accepted_at": at,
        "delivered_at": at + after,
        "outcome": ["open" if seconds is None else "delivered" for seconds in took],
        "observed_until": end,
    }
    return JOURNEYS.frame(pd.DataFrame(frame)).assign(**columns)


def length_of(every: str) -> pd.Timedelta:
    return pd.Timedelta(every.replace("d", "D"))


def drawn(n: int, seed: int, days: float, until: float, **columns: Any) -> pd.DataFrame:
    """A log as it is observed ``until`` days after its beginning."""
    truth = draw(n, np.random.default_rng(seed), days=days)
    chosen = truth.started < until * DAY
    part = Truth(*(values[chosen] for values in vars(truth).values()))
    return part.seen((until * DAY - part.started).astype(np.int64), **columns)


@pytest.mark.parametrize("every", ["15min", "1h", "6h", "1d", "7d"])
@pytest.mark.parametrize("by", [None, "rate_type"])
def test_each_window_has_its_own_curve(every: str, by: str | None) -> None:
    days = {"15min": 0.1, "1h": 0.5, "6h": 2.0, "1d": 9.0, "7d": 30.0}[every]
    log = drawn(300, 3, days, 0.9 * days, rate_type="session")
    log["rate_type"] = np.resize(["session", "promotion", "promotion"], len(log))
    before = log.copy(deep=True)
    result = vk.over_time(log, every=every, within=(2, 60), quantiles=(0.5, 0.99), by=by)
    pd.testing.assert_frame_equal(log, before)
    keys = [by, "window_at"] if by else ["window_at"]
    values = "within_s quantile share low high naive_share value_s low_s high_s design_effect n n_open".split()
    assert list(result) == [*keys, *values]
    names = ATTRS | {"by": [by] if by else [], "every": every}
    assert {name: value for name, value in result.attrs.items() if name != "dependence_note"} == names
    assert result["window_at"].dtype == UTC_INSTANT
    assert result["n"].sum() == 4 * len(log)
    pd.testing.assert_frame_equal(result, result.sort_values(keys, kind="stable", ignore_index=True))
    np.testing.assert_array_equal(result["within_s"], np.resize([2, 60, np.nan, np.nan], len(result)))
    np.testing.assert_array_equal(result["quantile"], np.resize([np.nan, np.nan, 0.5, 0.99], len(result)))
    for window in range(0, len(result), 4):
        shares, times = result.iloc[window : window + 2], result.iloc[window + 2 : window + 4]
        begin = shares["window_at"].iloc[0]
        inside = (log["accepted_at"] >= begin) & (log["accepted_at"] < begin + length_of(every))
        part = log[inside & (log["rate_type"] == shares["rate_type"].iloc[0])] if by else log[inside]
        assert (result["n"][window : window + 4] == len(part)).all()
        assert (result["n_open"][window : window + 4] == (part["outcome"] == "open").sum()).all()
        assert shares[["value_s", "low_s", "high_s"]].isna().all().all()
        assert times[["share", "low", "high", "naive_share"]].isna().all().all()
        curve = vk.delivery_curve(part)
        for row in shares.itertuples():
            known = curve["time_s"].iloc[-1] >= row.within_s or curve["open"].iloc[-1] < 1e-9
            at = curve[curve["time_s"] <= row.within_s].iloc[-1]
            for name, column in (("share", "delivered"), ("low", "delivered_low"), ("high", "delivered_high")):
                value = getattr(row, name)
                assert value == pytest.approx(at[column]) if known else np.isnan(value)
            took = (part["delivered_at"] - part["accepted_at"]).dt.total_seconds()
            assert row.naive_share == pytest.approx((took <= row.within_s).mean())
        columns = ["quantile", "value_s", "low_s", "high_s"]
        np.testing.assert_array_equal(times[columns], vk.time_to(part, quantiles=[0.5, 0.99])[columns])


SLOW = DeliveryModel(hourly_factors=(1.0,) * 24, delivery=LogNormal(35.0, 0.8), failed_share=0.03)


def test_a_recent_window_is_not_worse_for_being_young() -> None:
    """With 30 % of the last window open, the estimate is unbiased, and the naive share is not."""
    rng, n, window = np.random.default_rng(17), 250, 185
    pool = draw(200_000, rng, SLOW)
    true = float((pool.delivered <= 60 * SECOND).mean())
    truth = draw(n * LOGS, rng, SLOW, days=window / 86_400)
    log = truth.seen(window * SECOND - truth.started, number=np.resize(np.arange(LOGS), n * LOGS))
    result = vk.over_time(log, every="1h", within=[60], quantiles=[], by="number")
    assert (result["n"] == n).all()
    names = ["share", "low", "high", "naive_share", "n_open"]
    share, low, high, naive, still_open = result[names].to_numpy(dtype=float).T
    covered = int(((low <= true) & (true <= high)).sum())
    error = share.std(ddof=1) / np.sqrt(LOGS)
    print(
        f"\n{LOGS} windows, {still_open.mean() / n:.0%} open: truth {true:.4f}, "
        f"estimate {share.mean():.4f} ± {error:.4f}, naive {naive.mean():.4f}; "
        f"intervals cover it in {covered / LOGS:.1%}"
    )
    assert 0.27 <= still_open.mean() / n <= 0.36
    assert abs(share.mean() - true) < 3 * np.hypot(error, np.sqrt(true * (1 - true) / 200_000))
    assert naive.mean() < true - 0.05
    # between 93 and 97 %, with a tolerance for the number of logs (99.9 %)
    assert stats.binom.ppf(0.0005, LOGS, 0.93) <= covered <= stats.binom.ppf(0.9995, LOGS, 0.97)


def counts(log: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """One row per window."""
    return vk.over_time(log, within=60, quantiles=[], **options)


def test_windows_are_on_the_local_clock() -> None:
    # On 29 March 2026 clocks in Berlin went from 2 to 3 (1 h UTC), on 25 October 2026 from 3 to 2.
    spring = sent_at(
        [
            "2026-03-28T22:59:59",
            "2026-03-28T23:00:00",
            "2026-03-29T00:59:59",
            "2026-03-29T01:00:00",
            "2026-03-29T21:59:59",
        ],
        [1.0] * 5,
    )
    days = counts(spring, every="1d", tz="Europe/Berlin")
    assert days["window_at"].tolist() == [pd.Timestamp("2026-03-27T23:00Z"), pd.Timestamp("2026-03-28T23:00Z")]
    assert days["n"].tolist() == [1, 4]
    hours = counts(spring, every="1h", tz="Europe/Berlin")
    expected = ["2026-03-28T22:00Z", "2026-03-28T23:00Z", "2026-03-29T00:00Z", "2026-03-29T01:00Z", "2026-03-29T21:00Z"]
    assert hours["window_at"].tolist() == [pd.Timestamp(text) for text in expected]
    autumn = sent_at(["2026-10-24T22:00:00", "2026-10-25T22:59:59", "2026-10-25T23:00:00"], [1.0] * 3)
    days = counts(autumn, every="1d", tz="Europe/Berlin")
    assert days["window_at"].tolist() == [pd.Timestamp("2026-10-24T22:00Z"), pd.Timestamp("2026-10-25T23:00Z")]
    assert days["n"].tolist() == [2, 1]
    quarters = counts(spring, every="6h", tz="Europe/Berlin")  # the night is an hour shorter
    assert quarters["window_at"].tolist() == [
        pd.Timestamp(text) for text in ("2026-03-28T17:00Z", "2026-03-28T23:00Z", "2026-03-29T16:00Z")
    ]
    weeks = counts(sent_at(["2026-03-01T23:59:59", "2026-03-02T00:00:00"], [1.0, 1.0]), every="7d")
    assert weeks["window_at"].dt.day_name().tolist() == ["Monday", "Monday"]
    assert weeks["n"].tolist() == [1, 1]


def test_the_repeated_hour_is_two_windows() -> None:
    """In Berlin the hour from 2 to 3 of 25 October 2026 is repeated."""
    log = sent_at(["2026-10-25T00:30:00", "2026-10-25T01:30:00", "2026-10-25T02:30:00"], [1.0, 2.0, 3.0])
    result = counts(log, every="1h", tz="Europe/Berlin")
    assert result["n"].sum() == 3
    assert (result["window_at"] <= pd.Timestamp("2026-10-25T02:00Z")).all()
    assert result["window_at"].is_monotonic_increasing
    assert not result["window_at"].duplicated().any()


@many
@given(
    st.lists(st.integers(0, 400 * 24 * 60), min_size=1, max_size=20),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Apia", "UTC"]),
    st.sampled_from(["30min", "1h", "1d", "3d", "7d"]),
)
def test_every_message_is_in_one_window(minutes: list[int], tz: str, every: str) -> None:
    at = [str(pd.Timestamp("2026-01-01") + pd.Timedelta(minutes=minute)) for minute in minutes]
    result = counts(sent_at(at, [1.0] * len(at)), every=every, tz=tz)
    assert result["n"].sum() == len(at)
    assert result["window_at"].is_monotonic_increasing
    assert result["window_at"].is_unique
    first = min(pd.Timestamp(text, tz="UTC") for text in at)
    assert result["window_at"].min() <= first
    assert first - result["window_at"].min() <= length_of(every) + pd.Timedelta("1h")


def test_all_in_one_window() -> None:
    log = drawn(200, 5, 3, 3)
    result = counts(log, every=None)
    assert len(result) == 1
    assert result["window_at"][0] == log["accepted_at"].min()
    assert result["n"][0] == 200
    assert result["within_s"].tolist() == [60]
    assert len(counts(log, every=None, by="hour")) == log["accepted_at"].dt.hour.nunique()
    empty = vk.over_time(JOURNEYS.empty())
    assert len(empty) == 0
    assert list(empty) == list(vk.over_time(log))
    assert (empty.dtypes == vk.over_time(log).dtypes).all()
    assert list(vk.slo(JOURNEYS.empty())) == list(vk.slo(log))


@many
@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0, 5.0, 60.0]), st.sampled_from([0.3, 0.75, 0.9, 0.95]))
def test_objectives_against_the_complete_data(seed: int, within: float, target: float) -> None:
    rng = np.random.default_rng(seed)
    truth = draw(60, rng, DeliveryModel(failed_share=0.1), days=3)
    observed = (rng.exponential(20, 60) * SECOND).astype(np.int64)
    log, limit = truth.seen(observed), int(within * SECOND)
    result = vk.slo(log, within=within, target=target)
    assert (result["within_s"] == within).all()
    day = truth.started // DAY
    took = np.where(truth.failed < NEVER, NEVER, truth.delivered)
    ended = np.minimum(truth.delivered, truth.failed) <= observed
    assert (result["window_at"] - BEGIN).dt.days.tolist() == np.unique(day).tolist()
    missed_before = allowed_before = 0.0
    for row in result.to_dict("records"):
        mine = day == (row["window_at"] - BEGIN).days
        undecided = mine & ~ended & (observed < limit)
        missed = int((mine & (took > limit) & ~undecided).sum())
        allowed = mine.sum() * (1 - target)
        assert (row["n"], row["n_open"], row["n_undecided"]) == (mine.sum(), (mine & ~ended).sum(), undecided.sum())
        assert row["verdict"] == ("met" if row["low"] >= target else "missed" if row["high"] < target else "unclear")
        decided = mine & ~undecided
        if decided.any():
            assert row["observed_share"] == pytest.approx((took[decided] <= limit).mean())
        assert row["burn_rate"] == pytest.approx((1 - row["share"]) / (1 - target), nan_ok=True)
        assert missed - 1e-9 <= row["n_missed"] <= missed + undecided.sum() + 1e-9
        assert row["n_allowed"] == pytest.approx(allowed)
        assert row["budget_left"] == pytest.approx(1 - row["n_missed"] / allowed)
        missed_before, allowed_before = missed_before + row["n_missed"], allowed_before + allowed
        assert row["budget_left_cumulative"] == pytest.approx(1 - missed_before / allowed_before)
        if not np.isnan(row["share"]):
            assert row["low"] <= row["share"] + 1e-12
            assert row["share"] <= row["high"] + 1e-12
        if not undecided.any():
            assert row["n_missed"] == pytest.approx(missed)
            assert row["share"] == pytest.approx(1 - missed / mine.sum())


def test_objectives_by_group_and_their_budget() -> None:
    at = ["2026-03-01T10:00:00", "2026-03-01T11:00:00", "2026-03-02T10:00:00", "2026-03-02T11:00:00"] * 2
    took = [1.0, 70.0, 1.0, 1.0, 1.0, 1.0, 70.0, 70.0]
    result = vk.slo(sent_at(at, took, kind=[*"aaaabbbb"]), target=0.5, by="kind")
    assert result["kind"].tolist() == [*"aabb"]
    assert result["verdict"].tolist() == ["unclear"] * 4
    assert result["observed_share"].tolist() == [0.5, 1, 1, 0]
    assert result["burn_rate"].tolist() == [1, 0, 0, 2]
    assert result["n_missed"].tolist() == [1, 0, 0, 2]
    assert result["budget_left"].tolist() == [0, 1, 1, -1]
    assert result["budget_left_cumulative"].tolist() == [0, 0.5, 1, 0]
    assert result["verdict"].cat.categories.tolist() == ["met", "missed", "unclear"]
    assert result.attrs == ATTRS | {"by": ["kind"], "within_s": 60.0, "target": 0.5, "every": "1d"}
    whole = vk.slo(sent_at(at, took), target=0.5, every=None)
    assert whole[["n", "n_missed", "verdict"]].to_numpy().tolist() == [[8, 3, "unclear"]]


def test_the_verdict_is_by_the_interval() -> None:
    def verdicts(missed: int, target: float) -> list[str]:
        log = sent_at(["2026-03-01T10:00:00"] * 1000, [60.0] * (1000 - missed) + [60.000001] * missed)
        return vk.slo(log, target=target)["verdict"].tolist()

    assert verdicts(50, 0.95) == ["unclear"], "exactly at the target"
    assert verdicts(30, 0.95) == ["met"]
    assert verdicts(70, 0.95) == ["missed"]
    log = sent_at(["2026-03-01T10:00:00"] * 10_000, [1.0] * 9496 + [61.0] * 504)
    assert vk.slo(log)["summary"].tolist() == [
        "unclear: 94.96 % (94.5 % to 95.4 %) delivered within 60 s, target 95 %; observed 94.96 % of 10,000; "
        "the error budget lasts with a chance of 43 %"
    ]


def test_a_profile_is_the_hours_of_the_week() -> None:
    log = drawn(600, 9, 20, 20, rate_type="session")
    result = vk.profile(log, within=(2, 60), tz="America/New_York")
    local = log["accepted_at"].dt.tz_convert("America/New_York").dt
    assert list(result)[:5] == ["weekday", "hour", "within_s", "quantile", "share"]
    assert result.attrs == ATTRS | {"tz": "America/New_York"}
    assert result["weekday"].cat.categories[0] == "Monday"
    assert result["n"].sum() == 3 * 600
    pd.testing.assert_frame_equal(result, result.sort_values(["weekday", "hour"], kind="stable", ignore_index=True))
    for (weekday, hour), rows in [*result.groupby(["weekday", "hour"], observed=True)][::7]:
        part = log[((local.day_name() == weekday) & (local.hour == hour)).to_numpy()]
        alone = vk.over_time(part, every=None, within=(2, 60), quantiles=0.5)
        same = rows.drop(columns=["weekday", "hour"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(same, alone.drop(columns="window_at"))
    by = vk.profile(log, by="rate_type")
    assert list(by)[:3] == ["rate_type", "weekday", "hour"]
    assert len(vk.profile(JOURNEYS.empty())) == 0


def test_events_give_the_same_results_as_journeys() -> None:
    log = drawn(50, 2, 1, 1)
    events = []
    for row in log.to_dict("records"):
        events += [
            {"message_id": row["message_id"], "state": state, "happened_at": row[f"{state}_at"]}
            for state in ("accepted", "dispatched", "delivered", "failed")
            if not pd.isna(row[f"{state}_at"])
        ]
    journeys = vk.journeys(pd.DataFrame(events).astype({"happened_at": UTC_INSTANT}))
    for work in (vk.over_time, vk.slo, vk.profile):
        pd.testing.assert_frame_equal(work(pd.DataFrame(events).astype({"happened_at": UTC_INSTANT})), work(journeys))
    dispatched_at = journeys["dispatched_at"].where(journeys.index > 0)
    with pytest.warns(DroppedMessagesWarning, match="over_time: "):
        vk.over_time(journeys.assign(dispatched_at=dispatched_at), start="dispatched")


def test_errors_name_the_parameter() -> None:
    log = sent_at(["2026-03-01T10:00:00"], [1.0])
    for every in ("hour", "", "0h", "-1h", "1x"):
        with pytest.raises(ValueError, match=r"every: '.*' is not a duration above zero; pass e\.g\. '15min'"):
            vk.over_time(log, every=every)
    for within in (0, -1, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"within: .* is not a time in seconds above zero; pass e\.g\. 60"):
            vk.over_time(log, within=[within])
        with pytest.raises(ValueError, match="within: "):
            vk.slo(log, within=within)
    with pytest.raises(ValueError, match="target: 95 is not between 0 and 1"):
        vk.slo(log, target=95)
    with pytest.raises(ValueError, match="quantiles: 0 is not between"):
        vk.over_time(log, quantiles=[0])
    with pytest.raises(ValueError, match="confidence: 0 is not between"):
        vk.profile(log, confidence=0)
    for work in (vk.over_time, vk.slo, vk.profile):
        with pytest.raises(MissingColumn, match=f"{work.__name__}: no column 'rate_typ'"):
            work(log, by="rate_typ")
        with pytest.raises(ValueError, match="end: 'arrived' is not a state"):
            work(log, end="arrived")


# --- late entry ------------------------------------------------------------------------------------------------


def product_limit(rows: list[tuple[int, bool, int]], limit: int) -> float:
    """The share delivered by a time, of (time, delivered, entry): each risk set is counted one by one."""
    still_open, share = 1.0, 0.0
    for at in sorted({time for time, _, entry in rows if entry < time <= limit}):
        at_risk = sum(entry < at <= time for time, _, entry in rows)
        ended = sum(time == at and delivered and entry < time for time, delivered, entry in rows)
        share += still_open * ended / at_risk
        still_open *= 1 - ended / at_risk
    return share


@settings(many, max_examples=max(EXAMPLES // 3, 5))
@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.booleans(), st.sampled_from([-1, -1, 1, 5, 20, 59, 60, 80])),
        min_size=1,
        max_size=25,
    )
)
def test_late_entry_against_counting(rows: list[tuple[int, bool, int]]) -> None:
    """Every window estimates as from the messages that were under observation at each time."""
    begin = pd.Timestamp("2026-03-02T10:00:00Z")
    took = [float(time) if delivered else None for time, delivered, _ in rows]
    log = sent_at([str(begin)] * len(rows), took)
    log["observed_until"] = log["accepted_at"] + pd.to_timedelta([time for time, *_ in rows], unit="s")
    since = begin + pd.to_timedelta([max(entry, -1) for *_, entry in rows], unit="s")
    late = pd.Series(since.astype(UTC_INSTANT), index=log["message_id"])
    options: dict[str, Any] = {"within": 60, "observed_from": late}
    expected = product_limit(rows, 60)
    share = vk.over_time(log, quantiles=[], **options)["share"][0]
    results = [vk.over_time(log.assign(observed_from=late.array), within=60, quantiles=[])["share"][0]]
    results.append(vk.profile(log, quantiles=[], **options)["share"][0])
    results.append(vk.slo(log, **options)["share"][0])
    results.append(1 - 0.05 * vk.burn_rate(log, burn_rates={"1h": 1}, **options)["burn_rate"][0])
    assert results == pytest.approx([share] * 4, nan_ok=True)
    is_known = any(entry < time >= 60 for time, _, entry in rows)
    assert share == pytest.approx(expected) if is_known else np.isnan(share) or share == pytest.approx(expected)


def test_messages_observed_late_do_not_bias_the_error_budget() -> None:
    """Without the messages that ended before their observation, and with them, 20 % are missed."""
    rng, n = np.random.default_rng(8), 400
    missed, naive = [], []
    for _ in range(30):
        took = np.where(rng.random(n) < 0.2, rng.uniform(61, 500, n), rng.exponential(10, n).clip(0.001, 59))
        entry = np.where(rng.random(n) < 0.4, rng.exponential(20, n), -1.0)  # of 40 %, some seconds after the start
        seen = entry < took
        log = sent_at(["2026-03-02T10:00:00"] * int(seen.sum()), took[seen].tolist())
        since = log["accepted_at"] + pd.to_timedelta(entry[seen], unit="s")
        row = vk.slo(log.assign(observed_from=since), target=0.8, cluster=None).iloc[0]
        assert row["n_undecided"] == (entry[seen] > 0).sum()
        assert row["observed_share"] == pytest.approx((took[seen & (entry < 0)] <= 60).mean())
        missed.append(row["n_missed"] / row["n"])
        naive.append((took[seen] > 60).mean())
        assert row["budget_left"] == pytest.approx(1 - row["n_missed"] / row["n_allowed"])
    assert np.mean(missed) == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(30 * n))
    assert np.mean(naive) > 0.22  # counting them, of which those open for long are too many


# --- the chance that the error budget lasts --------------------------------------------------------------------


def test_windows_that_have_ended_have_used_their_budget_or_not() -> None:
    at = ["2026-03-01T10:00:00", "2026-03-01T11:00:00", "2026-03-02T10:00:00", "2026-03-02T11:00:00"]
    took = [1.0, 70.0, 70.0, 70.0]
    ended = vk.slo(sent_at(at, took, until="2026-03-03T00:00:00"), target=0.5)
    assert ended["budget_chance"].tolist() == [1, 0]
    assert not ended["summary"].str.contains("budget").any()
    running = vk.slo(sent_at(at, took, until="2026-03-02T23:59:59"), target=0.5)
    assert running["budget_chance"].tolist()[0] == 1
    assert 0 <= running["budget_chance"].tolist()[1] < 0.01
    assert running["summary"].str.contains("; the error budget lasts with a chance of ").tolist() == [False, True]
    whole = vk.slo(sent_at(at, took), target=0.5, every=None)
    assert whole["budget_chance"].tolist() == [0]
    assert vk.slo(JOURNEYS.empty())["budget_chance"].tolist() == []


def test_the_budget_of_each_group_is_forecast_on_its_own() -> None:
    at = pd.date_range("2026-03-01", "2026-03-03T12:00:00", freq="5min", inclusive="left", tz="UTC")
    took = np.where(np.arange(len(at)) % 20, 1.0, 70.0)  # 5 % are missed
    log = pd.concat([sent_at([*map(str, at)], list(took), until="2026-03-03T12:00:00")] * 2, ignore_index=True)
    log["message_id"] = [f"m{index}" for index in range(len(log))]
    log["kind"] = np.repeat(["a", "b"], len(at))
    log.loc[log["kind"] == "b", "delivered_at"] = log["accepted_at"] + pd.Timedelta("1s")
    result = vk.slo(log, by="kind", target=0.9)
    assert result["budget_chance"].tolist()[:2] == [1, 1]
    chance = dict(zip(result["kind"], result["budget_chance"], strict=True))  # of the last window
    assert 0.95 < chance["a"] < 1
    assert chance["b"] > chance["a"]
    for kind in "ab":
        alone = vk.slo(log[log["kind"] == kind], target=0.9)["budget_chance"]
        assert result.loc[result["kind"] == kind, "budget_chance"].tolist() == alone.tolist()


def test_the_traffic_to_come_is_that_of_earlier_windows() -> None:
    """Where earlier windows had no messages after this time of day, the budget is decided."""
    days = [f"2026-03-0{day}T{hour:02}:{minute:02}:00" for day in (1, 2, 3) for hour in (8, 9) for minute in range(60)]
    took = [70.0 if index % 15 == 0 else 1.0 for index in range(len(days))]  # 8 of 120 a day
    done = vk.slo(sent_at(days, took, until="2026-03-03T12:00:00"), target=0.93)
    assert done["budget_chance"].tolist() == [1, 1, 1]
    halfway = vk.slo(sent_at(days[:-60], took[:-60], until="2026-03-03T08:59:59"), target=0.93)
    assert 0.5 < halfway["budget_chance"].tolist()[-1] < 0.9
    first = vk.slo(sent_at(days[:60], took[:60], until="2026-03-01T09:00:00"), target=0.93)
    assert 0.5 < first["budget_chance"].tolist()[-1] < halfway["budget_chance"].tolist()[-1]  # traffic until midnight


def forecasts(law: str, logs: int, n: int = 300, days: int = 6) -> pd.DataFrame:
    """The chance stated in the last day of each log, and whether the budget lasted."""
    rows = []
    for seed in range(logs):
        rng = np.random.default_rng([11, seed])
        start = dependent_logs.evenly(rng, n * days, days)
        took = np.where(rng.random(n * days) < rng.uniform(0.02, 0.08), 100.0, 2.0)
        if law == "outages":
            took = np.where(rng.random(n * days) < 0.02, 100.0, 2.0)
            took += dependent_logs.outages(rng, start, days, share=rng.uniform(0.01, 0.06))
        now = (days - rng.uniform(0.05, 0.95)) * dependent_logs.DAY
        seen, last = start < now, start >= (days - 1) * dependent_logs.DAY
        log = dependent_logs.journeys(start[seen], took[seen], observed_s=now - start[seen])
        rows.append((vk.slo(log)["budget_chance"].iloc[-1], (took[last] > 60).sum() <= 0.05 * last.sum()))
    result = pd.DataFrame(rows, columns=["stated", "lasted"]).dropna().astype("float64")
    tenths = result.groupby((result["stated"] * 10).clip(upper=9).astype(int))
    table = tenths.agg(n=("stated", "size"), stated=("stated", "mean"), lasted=("lasted", "mean"))
    print(f"\n{law}, {logs} logs\n{table.round(3)}")
    return result


@pytest.mark.parametrize(
    ("law", "logs"),
    [
        ("independent", 30),
        pytest.param("independent", LOGS, marks=pytest.mark.slow),
        pytest.param("outages", LOGS, marks=pytest.mark.slow),
    ],
)
def test_the_stated_chances_are_those_with_which_budgets_last(law: str, logs: int) -> None:
    result = forecasts(law, logs)
    stated, lasted = result["stated"], result["lasted"]
    noise = np.sqrt((stated * (1 - stated)).sum())
    assert abs((stated - lasted).sum()) <= 3.5 * noise + 0.02 * logs
    brier = ((stated - lasted) ** 2).mean()
    assert brier <= (stated * (1 - stated)).mean() + 0.02 + 0.3 / np.sqrt(logs)
    assert brier < 0.8 * lasted.var(ddof=0)


def test_the_budget_of_an_undecided_window_is_not_known() -> None:
    at = pd.Timestamp("2026-03-02T09:00Z")
    started = at + pd.to_timedelta(np.arange(20), unit="s")
    journeys = pd.DataFrame(
        {
            "message_id": [str(number) for number in range(20)],
            "accepted_at": started,
            "delivered_at": pd.Series(pd.NaT, range(20), "datetime64[us, UTC]"),
            "outcome": "open",
            "observed_until": started + pd.Timedelta("1s"),
        }
    )
    row = vk.slo(journeys, within=60).iloc[0]
    assert np.isnan(row["budget_left"])
    assert row["summary"].startswith("not known yet: delivered within 60 s")
    with pytest.raises(ValueError, match="'budget_chance' is also a column of the result"):
        vk.slo(journeys.assign(budget_chance="a"), by="budget_chance")
    assert json.loads(json.dumps(vk.burn_rate(journeys).attrs))["until"] == "2026-03-02T09:00:19+00:00"
