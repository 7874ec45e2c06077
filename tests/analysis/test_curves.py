"""Delivery curves and quantiles: equal to the definition in fractions and to four other libraries."""

from __future__ import annotations

import os
import random
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings, strategies as st
from scipy import stats
from support.delivery_logs import NEVER, SECOND, draw

import viberkit as vk
from viberkit.analysis.durations import DroppedMessagesWarning, durations
from viberkit.analysis.incidence import BANDS, fractional_order
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, JOURNEYS
from viberkit.sandbox.delivery_model import DeliveryModel

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
some = settings(many, max_examples=max(EXAMPLES // 2, 5))
START = pd.Timestamp("2026-03-02T12:00:00Z").as_unit("us")
OPEN, DELIVERED, FAILED = range(3)
UNIT = pd.Timedelta(microseconds=1)


def optional(name: str) -> Any:
    """Another library, if it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed: pip install viberkit[oracles]")


@dataclass(frozen=True)
class Observation:
    """One message: the time it was open (microseconds), its cause, and its entry (-1: from the start)."""

    time: int
    cause: int
    entry: int = -1


def journeys_of(observations: list[Observation], **columns: Any) -> pd.DataFrame:
    """Journeys of these messages, started one after another."""
    rows = []
    for index, message in enumerate(observations):
        started = START + 977 * index * UNIT
        ended, until = (
            started + message.time * UNIT,
            started + (message.time + (7 * index if message.cause else 0)) * UNIT,
        )
        rows.append(
            {
                "message_id": f"m{index}",
                "accepted_at": started,
                "delivered_at": ended if message.cause == DELIVERED else pd.NaT,
                "failed_at": ended if message.cause == FAILED else pd.NaT,
                "outcome": ("open", "delivered", "failed")[message.cause],
                "observed_until": until,
                "observed_from": started + message.entry * UNIT if message.entry >= 0 else pd.NaT,
            }
        )
    frame = JOURNEYS.frame(rows)
    if any(message.entry >= 0 for message in observations):
        frame["observed_from"] = pd.Series([row["observed_from"] for row in rows], dtype="datetime64[us, UTC]")
    return frame.assign(**columns)


times = st.one_of(
    st.integers(0, 6).map(lambda s: s * SECOND),
    st.integers(0, 12),
    st.integers(0, 20 * 365 * 86_400 * SECOND),
    st.sampled_from([0, 1, 1_500_000, 60 * SECOND]),
)
causes = st.sampled_from([OPEN, DELIVERED, DELIVERED, FAILED])
messages = st.lists(st.builds(Observation, times, causes), min_size=1, max_size=14)
single_end = st.lists(
    st.builds(Observation, times, st.sampled_from([OPEN, DELIVERED, DELIVERED])), min_size=1, max_size=14
)
late = st.lists(
    st.builds(Observation, times, causes, st.one_of(st.just(-1), times.filter(bool))), min_size=1, max_size=14
)


def by_definition(observations: list[Observation]) -> list[dict[str, Any]]:
    """The estimates as Aalen and Johansen (1978) and Dinse and Larson (1986) write them, in fractions."""
    observed = [message for message in observations if message.entry < message.time]
    rows: list[dict[str, Any]] = []
    still, share = Fraction(1), [Fraction(0), Fraction(0)]
    for when in sorted({0} | {message.time for message in observed}):
        risk = sum(message.entry < when <= message.time for message in observed)
        ended = [
            sum(message.time == when and message.cause == cause for message in observed)
            for cause in (DELIVERED, FAILED)
        ]
        left = sum(message.time == when and message.cause == OPEN for message in observed)
        before = still
        if risk:
            share = [now + before * new / risk for now, new in zip(share, ended, strict=True)]
            still = before * Fraction(risk - sum(ended), risk)
        row = {"when": when, "risk": risk, "ended": ended, "left": left, "before": before, "open": still}
        rows.append({**row, "share": share})
    for index, row in enumerate(rows):
        row["variance"] = [variance(rows[: index + 1], end) for end in (0, 1)]
    return rows


def variance(rows: list[dict[str, Any]], end: int) -> Fraction:
    """Of the share at the last of the rows: Dinse and Larson (1986), equation 6."""
    total = Fraction(0)
    for row in rows:
        risk, reached, ended = row["risk"], row["ended"][end], sum(row["ended"])
        gap = rows[-1]["share"][end] - row["share"][end]
        if ended:
            total += row["before"] ** 2 * Fraction(reached * (risk - reached), risk**3)
            total -= 2 * gap * row["before"] * Fraction(reached, risk**2)
        if ended and risk > ended:
            total += gap**2 * Fraction(ended, risk * (risk - ended))
    return total


def agrees(result: pd.DataFrame, observations: list[Observation]) -> None:
    """Assert that a curve equals that of the definition."""
    expected = by_definition(observations)
    assert (result["time_s"] * SECOND).round().astype("int64").tolist() == [row["when"] for row in expected]
    assert result["at_risk"].tolist() == [row["risk"] for row in expected]
    assert result["n_censored"].tolist() == [row["left"] for row in expected]
    np.testing.assert_allclose(result["open"], [float(row["open"]) for row in expected], rtol=0, atol=1e-12)
    for end, name in enumerate(("delivered", "failed")):
        assert result[f"n_{name}"].tolist() == [row["ended"][end] for row in expected]
        exact = [float(row["share"][end]) for row in expected]
        np.testing.assert_allclose(result[name], exact, rtol=0, atol=1e-12)
        spread = [float(row["variance"][end]) for row in expected]
        np.testing.assert_allclose(result[f"{name}_se"] ** 2, spread, rtol=1e-9, atol=1e-9)


@many
@given(messages)
def test_the_curve_is_that_of_the_definition(observations: list[Observation]) -> None:
    agrees(vk.delivery_curve(journeys_of(observations)), observations)


@many
@given(late)
def test_the_curve_is_that_of_the_definition_with_late_entry(observations: list[Observation]) -> None:
    agrees(vk.delivery_curve(journeys_of(observations)), observations)


def test_a_larger_log_agrees_with_the_definition() -> None:
    dice = random.Random(3)
    for scale in (30, 10**9):
        observations = [
            Observation(
                dice.randrange(scale),
                dice.choice((OPEN, DELIVERED, FAILED)),
                dice.choice((-1, dice.randrange(1, scale))),
            )
            for _ in range(150)
        ]
        agrees(vk.delivery_curve(journeys_of(observations)), observations)
        agrees(
            vk.delivery_curve(journeys_of([Observation(message.time, message.cause) for message in observations])),
            [Observation(message.time, message.cause) for message in observations],
        )


@many
@given(late, st.sampled_from(list(BANDS)), st.sampled_from([0.5, 0.95, 0.999]))
def test_shares_add_up_and_bands_lie_around_them(observations: list[Observation], band: str, confidence: float) -> None:
    result = vk.delivery_curve(journeys_of(observations), band=band, confidence=confidence)
    np.testing.assert_allclose(result["open"] + result["delivered"] + result["failed"], 1, rtol=0, atol=1e-9)
    for name in ("delivered", "failed"):
        low, share, high = (result[name + end].to_numpy() for end in ("_low", "", "_high"))
        assert np.isfinite(low).all()
        assert np.isfinite(high).all()
        assert (low >= 0).all()
        assert (high <= 1).all()
        assert (low <= share + 1e-12).all()
        assert (share <= high + 1e-12).all()
        assert (np.diff(share) >= 0).all()
        assert (result[f"{name}_se"] >= 0).all()
    assert (np.diff(result["time_s"]) > 0).all()
    assert result["time_s"].iloc[0] == 0
    names = {"by": [], "start": "accepted", "end": "delivered", "other": "failed", "cluster": "auto", "tz": "UTC"}
    assert result.attrs == names | {"confidence": confidence, "band": BANDS[band]}


@many
@given(single_end)
def test_without_failures_it_is_scipys(observations: list[Observation]) -> None:
    ended, left = ([message.time for message in observations if message.cause == cause] for cause in (DELIVERED, OPEN))
    assume(ended)
    reference = stats.ecdf(stats.CensoredData(uncensored=ended, right=left)).sf
    for band in ("linear", "log-log"):
        result = vk.delivery_curve(journeys_of(observations), band=band).set_index("time_s")
        result = result.reindex(np.asarray(reference.quantiles) / SECOND)
        np.testing.assert_allclose(result["delivered"], 1 - reference.probabilities, rtol=0, atol=1e-12)
        np.testing.assert_allclose(result["open"], reference.probabilities, rtol=0, atol=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns where nobody is left, and has no number there
            limits = reference.confidence_interval(method=band)
        for column, other in (("delivered_low", limits.high), ("delivered_high", limits.low)):
            known = np.isfinite(other.probabilities)
            bound = 1 - np.asarray(other.probabilities)[known]
            np.testing.assert_allclose(result[column].to_numpy()[known], bound, rtol=0, atol=1e-9)


@some
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from([OPEN, DELIVERED]), st.integers(-1, 28)), min_size=1))
def test_without_failures_it_is_lifelines(rows: list[tuple[int, int, int]]) -> None:
    lifelines = optional("lifelines")
    fitter = lifelines.KaplanMeierFitter
    # entries lie between the times: an entry at the time of an event counts in lifelines, here it does not
    observations = [
        Observation(time * SECOND, cause, -1 if entry < 0 else entry * SECOND + SECOND // 2)
        for time, cause, entry in rows
    ]
    observations = [message for message in observations if message.entry < message.time]
    for late_entry in (False, True):
        use = observations if late_entry else [Observation(message.time, message.cause) for message in observations]
        assume(use and all(row["risk"] for row in by_definition(use)))
        frame = journeys_of(use)
        result = vk.delivery_curve(frame).set_index("time_s")
        entries = {"entry": [max(message.entry, 0) / SECOND for message in use]} if late_entry else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                reference = fitter().fit(
                    [message.time / SECOND for message in use], [message.cause for message in use], **entries
                )
            except lifelines.exceptions.StatError:  # a curve that comes to its end early is refused
                assume(False)
        survival = reference.survival_function_["KM_estimate"]
        np.testing.assert_allclose(result["open"], survival.reindex(result.index).to_numpy(), rtol=0, atol=1e-12)


def competing(observations: list[Observation]) -> tuple[np.ndarray, np.ndarray]:
    assume({message.cause for message in observations} >= {DELIVERED, FAILED})
    return np.array([message.cause for message in observations]), np.array(
        [message.time / SECOND for message in observations]
    )


@some
@given(messages)
def test_it_is_scikit_survivals(observations: list[Observation]) -> None:
    reference = optional("sksurv.nonparametric").cumulative_incidence_competing_risks
    observations = [
        Observation(message.time + 1, message.cause) for message in observations
    ]  # it requires times above zero
    observations.append(
        Observation(max(message.time for message in observations) + 1, OPEN)
    )  # where all have ended its variance is 0 / 0
    cause, seconds = competing(observations)
    result = vk.delivery_curve(journeys_of(observations)).set_index("time_s")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        when, share, limits = reference(cause, seconds, conf_type="log-log", var_type="Dinse_Approx")
    result = result.loc[when]
    np.testing.assert_allclose(1 - result["open"], share[0], rtol=0, atol=1e-12)
    for end, name in ((1, "delivered"), (2, "failed")):
        np.testing.assert_allclose(result[name], share[end], rtol=0, atol=1e-12)
        # its limits are normal on the scale of log(-log(share)): back to the variance
        low, at = limits[end][0], share[end]
        known = np.isfinite(low) & (low > 0) & (low < at) & (at < 1)
        logs = np.log(at[known])
        spread = -at[known] * logs / stats.norm.ppf(0.975) * np.log(np.log(low[known]) / logs)
        np.testing.assert_allclose(result[f"{name}_se"][known] ** 2, spread**2, rtol=0, atol=1e-9)


@some
@given(
    st.lists(
        st.builds(Observation, st.integers(1, 10**10), causes),
        min_size=2,
        max_size=14,
        unique_by=lambda message: message.time,
    )
)
def test_without_ties_it_is_lifelines_too(observations: list[Observation]) -> None:
    fitter = optional("lifelines").AalenJohansenFitter
    cause, seconds = competing(observations)
    result = vk.delivery_curve(journeys_of(observations)).set_index("time_s")
    for end, name in ((DELIVERED, "delivered"), (FAILED, "failed")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = fitter(calculate_variance=False).fit(seconds, cause, event_of_interest=end)
        known = reference.cumulative_density_.iloc[:, 0]
        np.testing.assert_allclose(result[name].loc[known.index], known, rtol=0, atol=1e-12)


def test_by_hand_with_a_tie_of_both_ends_and_of_censoring() -> None:
    observations = [Observation(SECOND * t, c) for t, c in ((1, 1), (2, 1), (2, 2), (2, 0), (3, 1), (4, 0))]
    result = vk.delivery_curve(journeys_of(observations))
    assert result["time_s"].tolist() == [0, 1, 2, 3, 4]
    assert result["at_risk"].tolist() == [6, 6, 5, 2, 1]
    np.testing.assert_allclose(result["delivered"], [0, 1 / 6, 1 / 3, 7 / 12, 7 / 12])
    np.testing.assert_allclose(result["failed"], [0, 0, 1 / 6, 1 / 6, 1 / 6])
    np.testing.assert_allclose(result["open"], [1, 5 / 6, 1 / 2, 1 / 4, 1 / 4])
    assert result["n_censored"].tolist() == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("cause", [OPEN, DELIVERED, FAILED])
def test_one_message_and_many_alike(cause: int) -> None:
    for n in (1, 7):
        result = vk.delivery_curve(journeys_of([Observation(2 * SECOND, cause)] * n))
        assert result["time_s"].tolist() == [0, 2]
        assert result["at_risk"].tolist() == [n, n]
        last = result.iloc[-1]
        assert (last["delivered"], last["failed"], last["open"]) == (cause == 1, cause == 2, cause == 0)
        assert last["n_censored"] == n * (cause == 0)
        if cause == FAILED:  # none of n were delivered: Wilson's interval says how many may be
            assert last["delivered_high"] == pytest.approx(stats.binomtest(0, n).proportion_ci(method="wilson").high)


def test_instant_deliveries_are_in_the_first_row() -> None:
    result = vk.delivery_curve(
        journeys_of([Observation(0, DELIVERED), Observation(0, OPEN), Observation(SECOND, DELIVERED)])
    )
    assert result[["time_s", "at_risk", "n_censored"]].to_numpy().tolist() == [[0, 3, 1], [1, 1, 0]]
    np.testing.assert_allclose(result["delivered"], [1 / 3, 1])


def test_no_messages() -> None:
    for frame in (JOURNEYS.empty(), EVENTS.empty()):
        result = vk.delivery_curve(frame)
        assert len(result) == 0
        assert list(result) == list(vk.delivery_curve(journeys_of([Observation(1, 1)])))
        assert (result.dtypes == vk.delivery_curve(journeys_of([Observation(1, 1)])).dtypes).all()
        assert len(vk.time_to(frame)) == 0
    empty = JOURNEYS.empty().assign(rate_type=pd.Series([], dtype="str"))
    assert next(iter(vk.delivery_curve(empty, by="rate_type"))) == "rate_type"
    assert len(vk.time_to(empty, by="rate_type")) == 0


def test_messages_that_ended_before_entry_are_not_at_risk() -> None:
    result = vk.delivery_curve(journeys_of([Observation(5, DELIVERED, 5), Observation(4, FAILED, 9)]))
    assert result[["time_s", "delivered", "failed", "open", "at_risk"]].to_numpy().tolist() == [[0, 0, 0, 1, 0]]
    assert result[["delivered_low", "delivered_high"]].iloc[0].tolist() == pytest.approx([0, 1])


def test_columns_are_named_after_the_end() -> None:
    observations = [Observation(SECOND, DELIVERED), Observation(2 * SECOND, FAILED), Observation(3 * SECOND, OPEN)]
    log = journeys_of(observations)
    log["seen_at"] = log["delivered_at"] + pd.Timedelta("9s")
    log["observed_until"] = log["accepted_at"] + pd.Timedelta("20s")
    seen = vk.delivery_curve(log, end="seen")
    rest = ["low", "high", "se"]
    names = [f"{name}{end}" for name in ("seen", "failed") for end in ("", *(f"_{suffix}" for suffix in rest))]
    counts = ["open", "at_risk", "n_seen", "n_failed", "n_censored", "seen_earliest", "n_interval"]
    assert list(seen) == ["time_s", *names, *counts]
    assert seen["time_s"].tolist() == [0, 2, 10, 20]
    np.testing.assert_allclose(seen["seen"], [0, 0, 1 / 3, 1 / 3])
    assert seen["n_censored"].tolist() == [0, 0, 0, 1]
    failed = vk.delivery_curve(log, end="failed")
    assert list(failed)[:5] == ["time_s", "failed", "failed_low", "failed_high", "failed_se"]
    assert {"delivered", "n_delivered", "n_failed", "failed_earliest"} <= {*failed}
    both = vk.delivery_curve(log)
    for name in ("delivered", "failed", "failed_low", "failed_high", "failed_se", "open"):
        np.testing.assert_array_equal(failed[name], both[name])
    dispatched = log.assign(dispatched_at=log["accepted_at"] + pd.Timedelta("500ms"))
    later = vk.delivery_curve(dispatched, start="dispatched")
    np.testing.assert_allclose(later["time_s"], [0, 0.5, 1.5, 19.5])
    assert later.attrs["start"] == "dispatched"


def test_delivered_after_failed_is_delivered() -> None:
    log = journeys_of([Observation(SECOND, FAILED), Observation(3 * SECOND, FAILED)])
    log.loc[0, "delivered_at"] = log.loc[0, "accepted_at"] + pd.Timedelta("2s")
    log["expired_at"] = log["failed_at"] - pd.Timedelta("500ms")
    result = vk.delivery_curve(log)
    assert result["time_s"].tolist() == [0, 2, 2.5]
    assert result["delivered"].tolist() == [0, 0.5, 0.5]
    assert result["failed"].tolist() == [0, 0, 0.5]
    assert vk.delivery_curve(log, end="failed")["failed"].iloc[-1] == 0.5


def test_seen_proves_delivered_and_polls_bound_it() -> None:
    log = journeys_of(
        [Observation(4 * SECOND, DELIVERED), Observation(8 * SECOND, OPEN), Observation(6 * SECOND, DELIVERED)]
    )
    started = log["accepted_at"]
    log["dispatched_at"] = started + pd.Timedelta("1s")
    log.loc[1, "seen_at"] = started[1] + pd.Timedelta("5s")  # no delivered event: between dispatched and seen
    log.loc[1, "outcome"] = "delivered"
    log["delivered_not_before"] = [started[0] + pd.Timedelta("3s"), pd.NaT, pd.NaT]
    log["delivered_not_before"] = log["delivered_not_before"].astype("datetime64[us, UTC]")
    with pytest.warns(vk.IntervalTimesWarning, match=r"67 % of the times to delivered .* \(median width 2.5 s\)"):
        result = vk.delivery_curve(log)
    # The message that was seen says only that it was delivered, between 1 and 5 s; the others say when.
    assert result["time_s"].tolist() == [0, 4, 6]
    np.testing.assert_allclose(result["delivered"], [0, 1 / 2, 1])
    np.testing.assert_allclose(result["delivered_earliest"], [0, 2 / 3, 1])
    assert result["n_interval"].tolist() == [0, 2, 0]
    with pytest.warns(vk.IntervalTimesWarning):
        times = vk.time_to(log, quantiles=[0.3, 0.6, 0.9])
    assert times["value_s"].tolist() == [pytest.approx(3.6), 6, 6]
    assert times["earliest_s"].tolist() == [1, 3, 6]


@many
@given(messages, st.lists(st.none() | st.integers(0, 2 * 10**7), min_size=14, max_size=14))
@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
def test_the_earliest_curve_is_not_below_the_curve(observations: list[Observation], widths: list[int | None]) -> None:
    log = journeys_of(observations)
    gap = [pd.NaT if width is None else width * UNIT for width in widths[: len(observations)]]
    log["delivered_not_before"] = log["delivered_at"] - pd.Series(gap, dtype="timedelta64[us]")
    result = vk.delivery_curve(log)
    assert (result["delivered_earliest"] >= result["delivered"] - 1e-12).all()
    bounded = [
        message.cause == DELIVERED and message.time > 0 and bool(width)
        for message, width in zip(observations, widths, strict=False)
    ]
    assert result["n_interval"].sum() == sum(bounded)
    if not any(bounded):
        pd.testing.assert_frame_equal(result, vk.delivery_curve(journeys_of(observations)))


def test_groups_are_estimated_separately() -> None:
    truth = draw(400, np.random.default_rng(4), days=10)
    observed = np.full(400, 3_600 * SECOND)
    log = truth.seen(
        observed, rate_type=np.resize(["session", "promotion", None], 400), nine=np.resize([9.0, 1.5], 400)
    )
    columns = pd.DataFrame({"message_id": log["message_id"][::-1], "sender": np.resize(["b", "a"], 400)[::-1]})
    local = log["accepted_at"].dt.tz_convert("Europe/Kyiv").dt
    keys = {
        "rate_type": log["rate_type"],
        "nine": log["nine"],
        "sender": pd.Series(np.resize(["b", "a"], 400)),
        "hour": local.hour,
        "weekday": local.day_name(),
    }
    for name, key in keys.items():
        result = vk.delivery_curve(log, by=name, messages=columns, tz="Europe/Kyiv")
        assert next(iter(result)) == name
        assert result[name].drop_duplicates().size == key.drop_duplicates().size
        for value, part in result.groupby(name, observed=True, dropna=False):
            in_group = key.isna() if pd.isna(value) else key == value
            alone = vk.delivery_curve(log[in_group.to_numpy()])
            pd.testing.assert_frame_equal(part.drop(columns=name).reset_index(drop=True), alone)
    days = vk.delivery_curve(log, by="weekday")["weekday"]
    assert days.cat.ordered
    assert days.cat.categories[0] == "Monday"
    assert days.is_monotonic_increasing
    several = vk.time_to(log, by=["sender", "rate_type"], messages=columns, quantiles=[0.5])
    assert list(several)[:3] == ["sender", "rate_type", "quantile"]
    assert len(several) == 6
    assert several["n"].sum() == 400


def test_categories_without_messages_have_no_rows() -> None:
    rate = pd.Categorical(["session", "session"], categories=["promotion", "session", "transaction"])
    result = vk.delivery_curve(journeys_of([Observation(1, 1), Observation(2, 0)], rate_type=rate), by="rate_type")
    assert result["rate_type"].unique().tolist() == ["session"]
    assert result["rate_type"].dtype == rate.dtype


def test_messages_without_the_start_are_dropped_with_a_warning() -> None:
    log = journeys_of([Observation(SECOND, DELIVERED)] * 3)
    log.loc[1, "accepted_at"] = pd.NaT
    with pytest.warns(
        DroppedMessagesWarning, match=r"delivery_curve: dropped 1 of 3 messages without a time of 'accepted'"
    ):
        result = vk.delivery_curve(log)
    assert result["at_risk"].iloc[0] == 2
    with pytest.warns(DroppedMessagesWarning, match="time_to: dropped 1 of 3") as caught:
        vk.time_to(log)
    assert caught[0].filename == __file__
    with pytest.raises(
        ValueError, match=r"start: no message has a time of 'routed'; the journeys have times of accepted, delivered"
    ):
        vk.delivery_curve(log, start="routed")


def test_errors_name_the_parameter() -> None:
    log = journeys_of([Observation(SECOND, DELIVERED)])
    with pytest.raises(ValueError, match=r"end: 'arrived' is not a state of a journey; pass one of accepted, "):
        vk.delivery_curve(log, end="arrived")
    with pytest.raises(ValueError, match=r"start: 'sent' is not a state"):
        vk.time_to(log, start="sent")
    with pytest.raises(
        ValueError, match=r"band: 'wald' is not a kind of band; pass one of score, exact, log-log, linear"
    ):
        vk.delivery_curve(log, band="wald")
    with pytest.raises(ValueError, match=r"band: 'LogLog' is not a kind of band; did you mean 'log-log'\? pass one of"):
        vk.delivery_curve(log, band="LogLog")
    for work in (vk.delivery_curve, vk.time_to):
        with pytest.raises(ValueError, match=r"confidence: 95 is not between 0 and 1; pass e\.g\. 0\.95"):
            work(log, confidence=95)
        with pytest.raises(MissingColumn, match=f"{work.__name__}: no column 'rate_typ'"):
            work(log, by="rate_typ")
        with pytest.raises(MissingColumn, match="no column 'observed_until'"):
            work(log.drop(columns="observed_until"))
        with pytest.raises(TypeError, match="expected a DataFrame"):
            work([])
    with pytest.raises(ValueError, match=r"quantiles: 1 is not between 0 and 1"):
        vk.time_to(log, quantiles=[0.5, 1])
    with pytest.raises(ValueError, match=r"quantiles: 10+ is not between 0 and 1"):
        vk.time_to(log, quantiles=10**400)
    with pytest.raises(ValueError, match=r"by: 0\.5 is a duplicate or not a column name"):
        vk.time_to(log, by=0.5)
    assert vk.time_to(log, quantiles=Decimal("0.5"), confidence=Decimal("0.9"))["value_s"].tolist() == [1]


def test_observed_from_is_a_column_an_instant_or_a_series() -> None:
    observations = [
        Observation(4 * SECOND, DELIVERED, 2 * SECOND),
        Observation(SECOND, DELIVERED, -1),
        Observation(9 * SECOND, FAILED, 3 * SECOND),
    ]
    log = journeys_of(observations)
    expected = vk.delivery_curve(log)
    assert expected["at_risk"].tolist() == [1, 1, 2, 1]
    since = log.set_index("message_id")["observed_from"]
    plain = log.drop(columns="observed_from")
    pd.testing.assert_frame_equal(vk.delivery_curve(plain, observed_from=since[::-1]), expected)
    instant = vk.delivery_curve(plain, observed_from=START + pd.Timedelta("2s"))
    assert instant["at_risk"].tolist() == [0, 2, 1]  # messages that ended before do not count
    assert vk.delivery_curve(plain, observed_from="2026-03-02T12:00:02")["at_risk"].tolist() == [0, 2, 1]
    pd.testing.assert_frame_equal(vk.delivery_curve(plain, observed_from="2026-03-01"), vk.delivery_curve(plain))
    assert vk.time_to(log, quantiles=[0.5])["n"].tolist() == [3]


@some
@given(late)
def test_inputs_are_left_as_they_were_and_order_does_not_matter(observations: list[Observation]) -> None:
    log = journeys_of(observations, rate_type=np.resize(["session", "promotion"], len(observations)))
    before = log.copy(deep=True)
    mixed = log.sample(frac=1, random_state=len(observations))
    pd.testing.assert_frame_equal(
        vk.delivery_curve(log, by="rate_type"), vk.delivery_curve(mixed, by="rate_type"), check_exact=True
    )
    pd.testing.assert_frame_equal(vk.time_to(log, by="rate_type"), vk.time_to(mixed, by="rate_type"), check_exact=True)
    pd.testing.assert_frame_equal(log, before)


def events(took: list[int | None], rate: str = "session") -> pd.DataFrame:
    """Events of messages delivered after these microseconds, or not yet."""
    rows = []
    for index, duration in enumerate(took):
        started = START + 31 * index * UNIT
        rows.append({"message_id": f"m{index}", "state": "accepted", "happened_at": started})
        if duration is not None:
            rows.append({"message_id": f"m{index}", "state": "delivered", "happened_at": started + duration * UNIT})
    return EVENTS.frame(rows).assign(rate_type=rate)


def test_events_give_the_same_results_as_journeys() -> None:
    log = events([1, 5, None, 9])
    before = log.copy(deep=True)
    for by in (None, "rate_type", "hour"):
        pd.testing.assert_frame_equal(vk.delivery_curve(log, by=by), vk.delivery_curve(vk.journeys(log), by=by))
        pd.testing.assert_frame_equal(vk.time_to(log, by=by), vk.time_to(vk.journeys(log), by=by))
    pd.testing.assert_frame_equal(log, before)


@many
@given(st.lists(times, min_size=1, max_size=40), st.lists(st.floats(0.001, 0.999), min_size=1, max_size=4))
def test_quantiles_are_those_of_numpy_if_all_messages_are_delivered(took: list[int], quantiles: list[float]) -> None:
    result = vk.time_to(journeys_of([Observation(duration, DELIVERED) for duration in took]), quantiles=quantiles)
    expected = np.quantile(np.array(took) / SECOND, quantiles, method="inverted_cdf")
    np.testing.assert_allclose(result["value_s"], expected, rtol=1e-15)
    assert result["quantile"].tolist() == quantiles
    assert (result["n"] == len(took)).all()
    assert (result["low_s"] <= result["value_s"]).all()
    assert (result["value_s"] <= result["high_s"]).all()


@many
@given(late, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4))
@example([Observation(0, OPEN)] * 3 + [Observation(0, DELIVERED), Observation(SECOND, OPEN)], [0.5, 0.9])
def test_quantiles_are_where_the_curve_reaches_them(observations: list[Observation], quantiles: list[float]) -> None:
    log = journeys_of(observations)
    curve, result = vk.delivery_curve(log), vk.time_to(log, quantiles=quantiles)
    last = curve.iloc[-1]
    for row in result.itertuples():
        reached = curve.loc[curve["delivered"] >= row.quantile - 1e-12, "time_s"]
        assert (row.n, row.n_open) == (len(observations), sum(message.cause == OPEN for message in observations))
        name = f"p{100 * row.quantile:.10g}"
        if not len(reached):
            possible = last["delivered"] + last["open"] >= row.quantile - 1e-12  # if all open ones are delivered
            expected = [np.nan] * 4 if possible else [np.inf, row.low_s, np.inf, np.inf]
            np.testing.assert_array_equal([row.value_s, row.low_s, row.high_s, row.earliest_s], expected)
            assert row.summary == f"{name} {'not known yet' if possible else 'not reached'}"
        else:
            assert row.value_s == row.earliest_s == reached.iloc[0]
            assert row.low_s <= row.value_s <= row.high_s
            assert row.summary.startswith(f"{name} ")
            assert not row.summary.endswith(("not reached", "not known yet"))


@many
@given(
    late,
    st.lists(st.floats(0.01, 0.99), min_size=2, max_size=4),
    st.lists(st.floats(0.05, 0.999), min_size=2, max_size=4),
)
@example([Observation(0, OPEN)] * 3 + [Observation(0, DELIVERED), Observation(SECOND, OPEN)], [0.5, 0.8], [0.9, 0.95])
def test_intervals_are_nested_in_confidence_and_ordered_in_the_quantile(
    observations: list[Observation], quantiles: list[float], confidences: list[float]
) -> None:
    curve = durations(journeys_of(observations), "test").curve
    limits = np.array(
        [[curve.quantile_interval(share, 0, level) for level in sorted(confidences)] for share in sorted(quantiles)]
    )
    low, high = np.nan_to_num(limits, posinf=1e18).transpose(2, 0, 1)
    assert (np.diff(low, axis=1) <= 1e-6).all(), "more confidence, a wider interval"
    assert (np.diff(high, axis=1) >= -1e-6).all()
    assert (np.diff(low, axis=0) >= -1e-6).all(), "a greater quantile, no earlier limits"
    assert (np.diff(high, axis=0) >= -1e-6).all()


@some
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60, unique=True), st.sampled_from([0.05, 0.5, 0.9, 0.99]))
@example([1, 2], 0.99)
def test_intervals_are_those_of_latency_where_nothing_is_open(took: list[int], share: float) -> None:
    log = events(took)  # type: ignore[arg-type]
    estimate = vk.time_to(log, quantiles=[share]).iloc[0]
    transition = vk.latency(log, quantiles=[share]).iloc[0]
    # latency interpolates between order statistics: its value can lie outside the interval, which then includes it.
    expected = [min(estimate["low_s"], transition["value_s"]), max(estimate["high_s"], transition["value_s"])]
    assert transition[["low_s", "high_s"]].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_intervals_are_order_statistics_of_the_binomial() -> None:
    """Where a whole order statistic is asked for, its chance is that of the binomial distribution."""
    n, share = 40, 0.5
    observations = [Observation(index * SECOND, DELIVERED) for index in range(1, n + 1)]
    for order in (12, 17, 25, 29):
        chance = stats.binom.cdf(order - 1, n, share)  # that this order statistic exceeds the quantile
        result = vk.time_to(journeys_of(observations), quantiles=[share], confidence=abs(2 * chance - 1)).iloc[0]
        assert result["high_s" if chance > 0.5 else "low_s"] == pytest.approx(order, abs=1e-6)
        assert fractional_order([n], share, chance)[0] == pytest.approx(order, abs=1e-6)


def test_summaries() -> None:
    observations = [Observation(index * SECOND, DELIVERED) for index in range(1, 61)]
    observations += [Observation(100 * SECOND, FAILED)] * 40
    result = vk.time_to(journeys_of(observations), quantiles=[0.4, 0.6, 0.75, 0.999], cluster=None)
    low, high = (stats.binom.ppf(chance, 100, 0.4) for chance in (0.025, 0.975))
    assert result["low_s"][0] == pytest.approx(low, abs=1)
    assert result["high_s"][0] == pytest.approx(high, abs=1)
    assert result["summary"].tolist() == [
        f"p40 40 s ({result['low_s'][0]:.0f} s – {result['high_s'][0]:.0f} s)",
        f"p60 1 min ({result['low_s'][1]:.0f} s or more)",
        "p75 not reached",
        "p99.9 not reached",
    ]
    assert np.isinf(result["value_s"]).tolist() == [False, False, True, True]
    assert np.isinf(result["high_s"]).tolist() == [False, True, True, True]
    names = {"by": [], "start": "accepted", "end": "delivered", "confidence": 0.95, "cluster": None, "tz": "UTC"}
    assert result.attrs == names | {"of": "all"}


def test_logs_drawn_at_once_are_those_of_the_model() -> None:
    """``tests/delivery_logs.py`` draws by numpy what ``DeliveryModel.journey`` draws message by message."""
    model, n = DeliveryModel(hourly_factors=(1.0,) * 24), 4_000
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for rate in ("transaction", "promotion"):
        dice = random.Random(f"{rate} 1")
        journeys = [{step.state: step.at for step in model.journey(dice, noon, rate)} for _ in range(n)]
        truth = draw(10 * n, np.random.default_rng(1), model, rate_type=rate)
        for state, drawn in (("delivered", truth.delivered), ("failed", truth.failed)):
            took = np.array([(journey[state] - noon).total_seconds() for journey in journeys if state in journey])
            sample = drawn[drawn < NEVER] / SECOND
            assert len(took) / n == pytest.approx(len(sample) / len(drawn), abs=0.02)
            assert stats.ks_2samp(took, sample).pvalue > 1e-3
