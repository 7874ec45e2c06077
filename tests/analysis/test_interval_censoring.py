"""Times known only as intervals: optimality, other libraries, coverage, and what every estimate says about them."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy import optimize, stats

import viberkit as vk
from viberkit.analysis.incidence import Incidence, incidence
from viberkit.analysis.interval_censoring import interval_incidence

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
LOGS = int(os.environ.get("VIBERKIT_LOGS", "12"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SECOND = 1_000_000
START = pd.Timestamp("2026-03-02T12:00:00Z").as_unit("us")

#: Width of the interval (0: exact), its end, the cause, and the entry (-1: from the start).
row = st.tuples(st.integers(0, 9), st.integers(1, 12), st.integers(0, 2), st.sampled_from([-1, -1, 1, 3, 6]))
rows = st.lists(row, min_size=1, max_size=25)


def arrays(drawn: list[tuple[int, int, int, int]]) -> tuple[np.ndarray, ...]:
    width, time, cause, entry = np.array(drawn, dtype=np.int64).T
    earliest = np.where(cause == 0, time, np.maximum(time - width, 0))
    return earliest, time, cause, entry


def probability(curve: Incidence, earliest: int, time: int, cause: int) -> float:
    """Of a message to end in the interval with this cause (0: later than ``time``)."""
    if cause == 0:
        return float(curve.open[curve.at(time)])
    share = curve.share[cause - 1]
    before = earliest if earliest < time else time - 1
    return float(share[curve.at(time)] - (share[curve.at(before)] if before >= 0 else 0.0))


@many
@given(rows, st.booleans())
def test_exact_times_give_the_estimate_of_aalen_and_johansen(drawn: list[Any], late: bool) -> None:
    _, time, cause, entry = arrays(drawn)
    entries = entry if late else None
    exact, result = incidence(time, cause, 2, entries), interval_incidence(time, time, cause, 2, entries)
    for name in ("time", "at_risk", "ended", "censored", "open", "share"):
        np.testing.assert_allclose(getattr(result, name), getattr(exact, name), atol=1e-12)
    for end in (0, 1):
        np.testing.assert_allclose(result.precision(end).variance, exact.precision(end).variance, rtol=1e-6, atol=1e-12)


def most_likely(earliest: np.ndarray, time: np.ndarray, cause: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The probability of each message at the maximum of the likelihood, which is unique, without any structure.

    A share for every time and cause, and least squares without negative shares in each step (Wang 2007). The shares
    add up to one at the maximum of the log-likelihood minus half the number of messages times their squared sum.
    """
    when, kind = (array.ravel() for array in np.meshgrid(range(13), (1, 2)))
    is_exact = (earliest == time)[:, None] & (when == time[:, None])
    covers = (cause[:, None] == kind) & ((earliest[:, None] < when) | is_exact) & (when <= time[:, None])
    covers |= (cause[:, None] == 0) & (when > time[:, None])
    matrix = np.column_stack([covers, cause == 0]).astype(float)
    share, root = np.full(matrix.shape[1], 1 / matrix.shape[1]), np.sqrt(n)

    def log_likelihood(share: np.ndarray) -> float:
        return n @ np.log(np.maximum(matrix @ share, 1e-300)) - n.sum() * share.sum() ** 2 / 2

    for _ in range(100):
        scaled = matrix * (root / (matrix @ share))[:, None]
        rows = np.vstack([scaled, np.full(len(share), np.sqrt(n.sum()))])
        step = optimize.nnls(rows, np.append(2 * root, 0), maxiter=10_000)[0] - share
        while log_likelihood(share + step) < log_likelihood(share) - 1e-12 and np.abs(step).max() > 1e-13:
            step /= 2
        share = share + step
        if np.abs(step).max() <= 1e-13:
            break
    return matrix @ share


@many
@given(rows, st.integers(1, 3))
def test_the_estimate_is_the_one_that_is_most_likely(drawn: list[Any], weights: int) -> None:
    """Its probabilities are those of another method, and moving share to any other time lowers the likelihood."""
    earliest, time, cause, _ = arrays(drawn)
    n = np.arange(len(time)) % weights + 1
    curve = interval_incidence(earliest, time, cause, n=n)
    chance = np.array([probability(curve, *message) for message in zip(earliest, time, cause, strict=True)])
    np.testing.assert_allclose(chance, most_likely(earliest, time, cause, n.astype(float)), atol=1e-9)
    for when in range(1, 13):
        for kind in (1, 2):
            covers = (cause == kind) & (earliest < when) & (when <= time) | (cause == 0) & (time < when)
            covers |= (cause == kind) & (earliest == time) & (time == when)
            assert n @ (covers / chance) <= n.sum() * (1 + 1e-8)


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_polled_messages_have_the_estimate_that_is_most_likely(count: int) -> None:
    """No other times have a greater gradient of the likelihood than those of the estimate (Kuhn and Tucker)."""
    frame, _ = polled(count, 5, 300, 0.2)
    end = frame["delivered_at"].fillna(frame["failed_at"])
    low = frame["delivered_not_before"].fillna(frame["failed_not_before"]).fillna(end)
    until, cause = frame["observed_until"], frame["outcome"].map({"open": 0, "delivered": 1, "failed": 2}).to_numpy()
    # Full seconds: more distinct times would be rounded.
    time, earliest = (
        np.floor((at.fillna(until) - frame["accepted_at"]).dt.total_seconds()).astype(np.int64).to_numpy()
        for at in (end, low)
    )
    curve = interval_incidence(earliest, time, cause)
    share = np.vstack([curve.open[-1] + curve.share.sum(axis=0)[-1] - curve.share.sum(axis=0), curve.share])
    before = np.where(earliest < time, earliest, time - 1)
    chance = share[cause, curve.at(time)] - np.where((cause > 0) & (before >= 0), share[cause, curve.at(before)], 0.0)
    assert chance.min() > 0
    for kind in (1, 2):
        rows = np.concatenate([curve.time, curve.time[1:] - 1, [time.max() + 1]])
        chosen, is_open = cause == kind, cause == 0
        weight = np.zeros(time.max() + 3)
        np.add.at(weight, before[chosen] + 1, 1 / chance[chosen])
        np.add.at(weight, time[chosen] + 1, -1 / chance[chosen])
        np.add.at(weight, time[is_open] + 1, 1 / chance[is_open])
        assert np.cumsum(weight)[rows].max() <= count * (1 + 1e-7)


#: Months until deterioration after radiotherapy (Finkelstein and Wolfe, 1985), as tabulated by Fay and Shaw (2010).
RADIOTHERAPY = [
    *((45, 0), (6, 10), (0, 7), (46, 0), (46, 0), (7, 16), (17, 0), (7, 14), (37, 44), (0, 8), (4, 11), (15, 0)),
    *((11, 15), (22, 0), (46, 0), (46, 0), (25, 37), (46, 0), (26, 40), (46, 0), (27, 34), (36, 44), (46, 0)),
    *((36, 48), (37, 0), (40, 0), (17, 25), (46, 0), (11, 18), (38, 0), (5, 12), (37, 0), (0, 5), (18, 0), (24, 0)),
    *((36, 0), (5, 11), (19, 35), (17, 25), (24, 0), (32, 0), (33, 0), (19, 26), (37, 0), (34, 0), (36, 0)),
]


def test_the_published_estimate_of_the_months_after_radiotherapy() -> None:
    low, high = np.array(RADIOTHERAPY).T
    curve = interval_incidence(low, np.where(high > 0, high, low), (high > 0).astype(int), 1)
    steps = np.flatnonzero(curve.ended[0] > 0)
    intervals = [*zip(curve.left[0][steps].tolist(), curve.time[steps].tolist(), strict=True)]
    assert intervals == [(4, 5), (6, 7), (7, 8), (11, 12), (24, 25), (33, 34), (38, 40), (46, 48)]
    published = [0.0463, 0.0334, 0.0887, 0.0708, 0.0926, 0.0818, 0.1209, 0.4656]
    np.testing.assert_allclose(np.diff(curve.share[0][steps], prepend=0), published, atol=5e-5)


@pytest.mark.slow
@many
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12), st.integers(0, 1)), min_size=2, max_size=25))
def test_the_curve_is_that_of_lifelines(drawn: list[tuple[int, int, int]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        npmle = pytest.importorskip("lifelines.fitters.npmle", reason="lifelines is not installed")
        earliest, time, cause, _ = arrays([(width + 1, end, reached, -1) for width, end, reached in drawn])
        right = np.where(cause == 0, np.inf, time.astype(float))
        # Its intervals are closed; ours are open at the left, and a censored message ends later than it was censored.
        shares, intervals = npmle.npmle(earliest + 0.5, right, tol=1e-12, max_iter=50_000)
    curve = interval_incidence(earliest, time, cause)
    for when in range(13):
        if not any(begin < when < end for begin, end in intervals):
            expected = sum(share for share, (_, end) in zip(shares, intervals, strict=True) if end <= when)
            assert curve.share[0][curve.at(when)] == pytest.approx(expected, abs=1e-4)


def polled(count: int, seed: int, every_s: float, exact_share: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Journeys whose states are polled at random phases, 5 % of them failed, and the true times in seconds."""
    rng = np.random.default_rng(seed)
    took = np.exp(rng.normal(np.log(2.5), 1.2, count))
    away = rng.random(count) < 0.1
    took[away] = rng.exponential(600, away.sum()) + 60
    phase = rng.random(count) * every_s
    before = np.where(took < phase, 0.0, phase + np.floor((took - phase) / every_s) * every_s)
    after = np.where(took < phase, phase, before + every_s)
    exact = rng.random(count) < exact_share
    before, after = np.where(exact, took, before), np.where(exact, took, after)
    failed, until = rng.random(count) < 0.05, rng.uniform(600, 5000, count)
    is_open = after > until
    started = START + pd.to_timedelta(np.arange(count), unit="s")
    frame = pd.DataFrame({"message_id": np.arange(count).astype(str), "accepted_at": started})
    for state, ended in (("delivered", ~failed & ~is_open), ("failed", failed & ~is_open)):
        frame[f"{state}_at"] = (started + pd.to_timedelta(after, unit="s")).where(ended)
        bound = (started + pd.to_timedelta(before, unit="s")).where(ended & ~exact)
        frame[f"{state}_not_before"] = bound
    frame["outcome"] = np.select([is_open, failed], ["open", "failed"], "delivered")
    frame["observed_until"] = started + pd.to_timedelta(np.where(is_open, until, after), unit="s")
    return frame, np.where(failed, np.inf, took)


#: Of the messages of ``polled``: shares delivered within 60 and 300 s, and the median (from 20 million of them).
TRUTH = (0.8513, 0.8862, 3.241)


@pytest.mark.slow
@pytest.mark.parametrize("exact_share", [0.0, 0.5])
def test_polled_times_give_the_shares_of_exact_ones(exact_share: float) -> None:
    hits, count = np.zeros(3), 1500
    for seed in range(LOGS):
        frame, _ = polled(count, seed, 300, exact_share)
        with pytest.warns(vk.IntervalTimesWarning):
            shares = vk.over_time(frame, every=None, within=[60, 300], quantiles=0.5)
        low_high = [*zip(shares["low"][:2], shares["high"][:2], strict=True), (shares["low_s"][2], shares["high_s"][2])]
        hits += [low <= value <= high for (low, high), value in zip(low_high, TRUTH, strict=True)]
    assert (stats.binom.cdf(hits, LOGS, 0.93) > 0.001).all(), hits / LOGS


@pytest.fixture(scope="module")
def proxied() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same journeys with exact times, and known only from a poll every five minutes."""
    frame, took = polled(600, 4, 300)
    exact = frame.drop(columns=[name for name in frame if name.endswith("_not_before")])
    for state in ("delivered", "failed"):
        true_at = frame["accepted_at"] + pd.to_timedelta(np.where(np.isinf(took), 1.0, took), unit="s")
        exact[f"{state}_at"] = true_at.where(frame[f"{state}_at"].notna())
    return exact, frame


ESTIMATES = {
    "time_to": lambda frame: vk.time_to(frame, quantiles=0.5),
    "delivery_curve": vk.delivery_curve,
    "over_time": lambda frame: vk.over_time(frame, every=None),
    "slo": lambda frame: vk.slo(frame, every=None),
    "burn_rate": vk.burn_rate,
    "profile": vk.profile,
    "compare": lambda frame: vk.compare(frame, other=frame.assign(message_id="b" + frame["message_id"])),
    "fallback": lambda frame: vk.fallback(frame, viber_price=0.02, sms_price=0.08),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_every_estimate_warns_once_and_carries_the_share(name: str, proxied: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with pytest.warns(vk.IntervalTimesWarning, match="100 % of the times to delivered are known only as") as caught:
        result = ESTIMATES[name](proxied[1])
    assert len(caught) == 1
    assert "vk.collect(client, archive)" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert result.attrs["interval_share"] == 1
    assert "median width" in result.attrs["interval_note"]
    assert "interval_note" not in ESTIMATES[name](proxied[0]).attrs


@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
def test_polls_do_not_seem_slow(proxied: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    exact, frame = proxied
    fast, slow = (vk.time_to(log, quantiles=0.5).iloc[0] for log in (exact, frame))
    assert slow["low_s"] <= fast["value_s"] <= slow["high_s"]
    assert slow["earliest_s"] <= slow["value_s"]
    result = vk.compare(exact, other=frame, names=("exact", "polled"), within=60, quantiles=0.5)
    assert (result[["p_gray", "p_logrank"]] > 0.01).all(axis=None)
    assert result["low_s"][1] <= 0 <= result["high_s"][1]
    objective = vk.slo(frame, every=None, target=0.85).iloc[0]
    assert objective["low"] < (~exact["delivered_at"].isna()).mean()
    assert objective["verdict"] == "unclear"
    assert objective["n_undecided"] > objective["n_open"]


def test_a_share_inside_an_interval_has_its_ends_as_limits() -> None:
    """All messages were polled 300 s after acceptance: within 60 s anything between none and all is possible."""
    at = pd.Series([START] * 200)
    frame = pd.DataFrame({"message_id": map(str, range(200)), "accepted_at": at, "outcome": "delivered"})
    frame = frame.assign(delivered_at=at + pd.Timedelta("300s"), delivered_not_before=at, observed_until=at[0])
    with pytest.warns(vk.IntervalTimesWarning):
        result = vk.over_time(frame, every=None, within=[60, 300], quantiles=0.5)
    assert result["low"][0] == 0
    assert result["high"][0] == 1
    assert result["share"].tolist()[:2] == [pytest.approx(0.2), 1]
    assert (result["low_s"][2], result["value_s"][2], result["high_s"][2]) == (0, pytest.approx(150), 300)


def test_a_failure_without_a_time_is_between_the_last_state_and_the_end_of_observation() -> None:
    at = pd.Series([START] * 4)
    frame = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "outcome": ["failed"] + ["delivered"] * 3})
    frame["failed_at"] = pd.Series([pd.NaT] * 4, dtype=at.dtype)
    frame["delivered_at"] = [pd.NaT, *(at[1:] + pd.to_timedelta([10, 20, 30], unit="s"))]
    frame["observed_until"] = at + pd.Timedelta("1h")
    curve = vk.delivery_curve(frame)
    assert curve["failed"].iloc[-1] == pytest.approx(0.25)
    assert curve["delivered"].tolist()[1:4] == pytest.approx([0.25, 0.5, 0.75])


def seen_only(count: int, share: float, seed: int) -> pd.DataFrame:
    """Journeys of which a share was seen, some time after the delivery, and has no time of delivery; 5 % failed."""
    rng = np.random.default_rng(seed)
    took = np.exp(rng.normal(np.log(30), 1.2, count))
    seen = took + np.exp(rng.normal(4, 1.2, count))
    is_seen, failed = rng.random(count) < share, rng.random(count) < 0.05
    at = pd.Series(START + pd.to_timedelta(np.arange(count), unit="s"))
    after = at + pd.to_timedelta(took, unit="s")
    frame = pd.DataFrame({"message_id": np.arange(count).astype(str), "accepted_at": at})
    frame = frame.assign(delivered_at=after.where(~is_seen & ~failed), failed_at=after.where(failed))
    frame["seen_at"] = (at + pd.to_timedelta(seen, unit="s")).where(is_seen & ~failed)
    frame["outcome"] = np.where(failed, "failed", "delivered")
    return frame.assign(observed_until=at + pd.Timedelta("100D"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.02])
def test_the_time_of_seen_does_not_make_deliveries_early(share: float) -> None:
    """It depends on the time of delivery, which a maximum likelihood estimate would take for an early delivery."""
    within = 0.95 * stats.norm.cdf(np.log(2) / 1.2)
    median = 30 * np.exp(1.2 * stats.norm.ppf(0.5 / 0.95))
    hits = np.zeros(2)
    for seed in range(LOGS):
        row = vk.over_time(seen_only(400, share, seed), every=None, within=60, quantiles=0.5)
        hits += [row["low"][0] <= within <= row["high"][0], row["low_s"][1] <= median <= row["high_s"][1]]
        assert np.isnan(row["share"][0]) == np.isnan(row["value_s"][1]) == (share == 1)
    assert (stats.binom.cdf(hits, LOGS, 0.93) > 0.001).all(), hits / LOGS
    log = seen_only(400, share, 0)
    assert vk.slo(log, target=within, every=None)["verdict"].tolist() == ["unclear"]
    result = vk.compare(seen_only(400, 0, 1), other=log, within=60, quantiles=0.5)
    assert not (result["low_s"] > 0).any()
    assert not (result["high_s"] < 0).any()
    assert result["p_gray"].isna().all()
    if share == 1:
        assert vk.time_to(log, quantiles=0.5)["summary"][0].startswith("p50 unknown, 0 ms – ")


@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
def test_intervals_are_no_changes() -> None:
    frames = [polled(400, 11, 60)[0], polled(400, 12, 600)[0], seen_only(400, 0.6, 3), seen_only(400, 0.2, 4)]
    assert [len(vk.changes(frame)) for frame in frames] == [0] * 4


@pytest.mark.parametrize(("end", "outcome"), [("delivered", "delivered"), ("failed", "failed")])
def test_an_outcome_without_a_time_is_not_open(end: str, outcome: str) -> None:
    at = pd.Series([START] * 4)
    took = pd.Series(pd.to_timedelta([1, 2, None, None], unit="s"))
    frame = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "outcome": outcome})
    frame = frame.assign(observed_until=at + pd.Timedelta("1h"), **{f"{outcome}_at": at + took})
    with pytest.warns(vk.IntervalTimesWarning, match="50 % of the times"):
        curve = vk.delivery_curve(frame, end=end)
    assert curve[end].iloc[-1] == pytest.approx(1)
    assert curve["n_censored"].sum() == 0


def test_a_clock_of_whole_minutes_is_an_interval() -> None:
    rng = np.random.default_rng(3)
    started = START + pd.to_timedelta(rng.uniform(0, 86_400, 3000), unit="s")
    took = np.exp(rng.normal(np.log(40), 0.8, 3000))
    frame = pd.DataFrame({"message_id": np.arange(3000).astype(str), "outcome": "delivered"})
    for state, at in (("accepted", started), ("delivered", started + pd.to_timedelta(took, unit="s"))):
        frame[f"{state}_at"] = at.floor("min")
        frame[f"{state}_not_after"] = at.floor("min") + pd.Timedelta("1min")
    frame["observed_until"] = frame["delivered_at"].max()
    with pytest.warns(vk.IntervalTimesWarning, match="median width 2 min"):
        row = vk.over_time(frame, every=None, within=60, quantiles=0.5)
    assert row["low"][0] <= (took <= 60).mean() <= row["high"][0]
    assert row["low_s"][1] <= np.median(took) <= row["high_s"][1]
    with pytest.warns(vk.IntervalTimesWarning):
        assert vk.over_time(frame, within=60, quantiles=[])["window_at"].min() >= START.floor("h")


def test_latencies_from_polls_are_intervals() -> None:
    rng = np.random.default_rng(5)
    took = np.exp(rng.normal(np.log(20), 0.7, 800))
    phase = rng.random(800) * 60
    before = np.where(took < phase, 0.0, phase + np.floor((took - phase) / 60) * 60)
    at = START + pd.to_timedelta(np.arange(800), unit="s")
    ids = np.arange(800).astype(str)
    accepted = pd.DataFrame({"message_id": ids, "state": "accepted", "happened_at": at})
    bounds = [at + pd.to_timedelta(s, unit="s") for s in (np.where(took < phase, phase, before + 60), before)]
    delivered = accepted.assign(state="delivered", happened_at=bounds[0], not_before=bounds[1])
    events = vk.read_events(pd.concat([accepted, delivered]))
    with pytest.warns(vk.IntervalTimesWarning, match="latency: 100 % of the times to the next state"):
        row = vk.latency(events, quantiles=0.5).iloc[0]
    assert row["low_s"] <= np.median(took) <= row["high_s"]
    assert row["high_s"] < np.median((bounds[0] - at).total_seconds())
    with pytest.warns(vk.IntervalTimesWarning):
        again = vk.latency(vk.transitions(events), quantiles=0.5)
    assert again["value_s"][0] == row["value_s"]
    assert "interval_note" in again.attrs


def test_statuses_then_histories(tmp_path: Any) -> None:
    """Statuses say seen, hours later; histories say when they were delivered."""
    with vk.Sandbox(seed=1, speed=0) as sandbox, vk.Archive(tmp_path / "a.db") as archive:
        client = sandbox.client(archive=archive)
        sent = [
            client.send(f"+49170{6_000_000 + number}", vk.Text("Hello"), rate_type="transaction")
            for number in range(80)
        ]
        sandbox.advance(days=3)
        for message in sent:
            client.status(message.message_id)
        with pytest.warns(vk.IntervalTimesWarning, match=r"[0-9]+ % of the times to delivered"):
            before = vk.time_to(vk.journeys(archive.events()), quantiles=0.5).iloc[0]
        assert vk.collect(client, archive, progress=False).requested == 80
        after = vk.time_to(vk.journeys(archive.events()), quantiles=0.5).iloc[0]
        assert vk.collect(client, archive, progress=False).requested < 20, "final messages are not asked for again"
    assert before["low_s"] <= after["value_s"] <= before["high_s"]
    assert after["value_s"] < 3


@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
def test_coarse_observation_does_not_change_the_verdict() -> None:
    """The median is 2.5 s: polled every five minutes or every minute, or written by clocks of full minutes."""
    rng = np.random.default_rng(8)
    ids, at = np.arange(1200).astype(str), START + pd.to_timedelta(rng.uniform(0, 86_400, 1200), unit="s")

    def observed(every_s: float) -> pd.DataFrame:
        took, phase = np.exp(rng.normal(np.log(2.5), 1.0, 1200)), rng.random(1200) * every_s
        before = np.where(took < phase, 0.0, phase + (took - phase) // every_s * every_s)
        after = np.where(took < phase, phase, before + every_s)
        accepted = pd.DataFrame({"message_id": ids, "state": "accepted", "happened_at": at})
        bounds = {
            name: at + pd.to_timedelta(s, unit="s") for name, s in (("happened_at", after), ("not_before", before))
        }
        return vk.journeys(vk.read_events(pd.concat([accepted, accepted.assign(state="delivered", **bounds)])))

    rare, often = observed(300), observed(60)
    row = vk.over_time(rare, every=None, within=60).iloc[0]
    assert row["share"] == pytest.approx(0.999, abs=0.02)
    assert vk.slo(rare, within=60, target=0.95, every=None)["verdict"][0] in ("met", "unclear")
    result = vk.compare(rare, other=often, within=60, quantiles=0.5)
    assert result["low_s"][1] <= 0 <= result["high_s"][1]
    assert result["share_low"][0] <= 0 <= result["share_high"][0]
    minutes = pd.DataFrame({"message_id": ids, "state": "accepted", "happened_at": at.floor("min")})
    delivered = (at + pd.to_timedelta(np.exp(rng.normal(np.log(2.5), 1.0, 1200)), unit="s")).floor("min")
    minutes = pd.concat([minutes, minutes.assign(state="delivered", happened_at=delivered)])
    for row in (vk.time_to(minutes, quantiles=0.5).iloc[0], vk.latency(minutes, quantiles=0.5).iloc[0]):
        assert row["low_s"] <= 2.5 <= row["high_s"]
        assert row["value_s"] > 0


def test_a_quantile_after_the_end_of_observation_is_not_known_yet() -> None:
    took = np.exp(np.random.default_rng(0).normal(np.log(20), 1.2, 500))
    at = START + pd.to_timedelta(np.where(took < 30, took, np.nan), unit="s")
    frame = pd.DataFrame({"message_id": np.arange(500).astype(str), "accepted_at": START, "delivered_at": at})
    frame = frame.assign(outcome=np.where(took < 30, "delivered", "open"), observed_until=START + pd.Timedelta("30s"))
    assert vk.time_to(frame, quantiles=0.95)["summary"][0] == "p95 not known yet"
