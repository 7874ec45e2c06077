"""Dependent messages: design effects against a bootstrap of blocks, and intervals and tests under other laws.

``VIBERKIT_LOGS=400 pytest -n 0 -s -m "" tests/analysis/test_clusters.py`` prints the table of coverage.
"""

from __future__ import annotations

import os
import tracemalloc
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats
from support import dependent_logs as laws

import viberkit as vk
from viberkit.analysis import clusters
from viberkit.analysis.durations import durations
from viberkit.analysis.incidence import incidence
from viberkit.errors import MissingColumn

LOGS = int(os.environ.get("VIBERKIT_LOGS", "12"))
DAYS, MESSAGES = 14, 2_000
Floats = npt.NDArray[np.float64]
Law = Callable[[np.random.Generator, int], tuple[Floats, Floats, dict[str, Any]]]


def independent(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, dict[str, Any]]:
    return laws.evenly(rng, n, DAYS), laws.weibull(rng, n), {}


def with_outages(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, dict[str, Any]]:
    start = laws.evenly(rng, n, DAYS)
    return start, laws.weibull(rng, n) + laws.outages(rng, start, DAYS), {}


def in_campaigns(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, dict[str, Any]]:
    start, factor, campaign = laws.in_campaigns(rng, n, DAYS)
    return start, factor * 3 * rng.gamma(1.5, 1.0, n), {"campaign": campaign}


def in_unknown_campaigns(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, dict[str, Any]]:
    return *in_campaigns(rng, n)[:2], {}


def by_hour(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, dict[str, Any]]:
    start = laws.evenly(rng, n, DAYS)
    return start, laws.by_stretch(rng, start, laws.HOUR, 0.3) * np.exp(rng.normal(1.0, 0.5, n)), {}


LAWS: dict[Law, tuple[float, float]] = {
    independent: (0.93, 0.97),
    with_outages: (0.90, 0.97),
    in_campaigns: (0.90, 0.97),
    in_unknown_campaigns: (0.90, 0.97),
    by_hour: (0.93, 0.97),
}
WITHIN, QUANTILES = [2.0, 5.0, 10.0], [0.5, 0.9, 0.95]


def log(law: Law, seed: Any, n: int = MESSAGES) -> pd.DataFrame:
    start, seconds, columns = law(np.random.default_rng(seed), n)
    return laws.journeys(start, seconds, **columns)


@cache
def truth(law: Law) -> Floats:
    return np.sort(np.concatenate([law(np.random.default_rng([9, seed]), 20_000)[1] for seed in range(40)]))


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_intervals_hold(law: Law) -> None:
    """The bounds of a few logs allow for chance; those of many are the ones that are wanted."""
    population = truth(law)
    shares = np.searchsorted(population, WITHIN, side="right") / len(population)
    times = np.quantile(population, QUANTILES)
    holds, width = np.zeros((2, 6)), 0.0
    for seed in range(LOGS):
        journeys = log(law, [1, seed])
        for row, cluster in enumerate(("auto", None)):
            result = vk.over_time(journeys, within=WITHIN, quantiles=QUANTILES, every=None, cluster=cluster)
            low = result["low"].fillna(result["low_s"]).to_numpy()
            high = result["high"].fillna(result["high_s"]).to_numpy()
            holds[row] += (low <= [*shares, *times]) & ([*shares, *times] <= high)
            width += (-1) ** row * float(np.log(high - low).mean())
    held, classical = holds / LOGS
    print(f"\n{law.__name__}: {held.round(3)}, classical {classical.round(3)}, width × {np.exp(width / LOGS):.2f}")
    chance = 3.5 * np.sqrt(0.05 * 0.95 / LOGS)
    least, most = LAWS[law]
    assert (held >= min(least, 0.95 - chance)).all()
    assert held.mean() <= max(most, 0.95 + chance)
    if law is independent:
        assert 1.0 <= np.exp(width / LOGS) <= 1.1
    else:
        assert held.mean() > classical.mean() + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("law", [independent, with_outages, in_campaigns], ids=lambda law: law.__name__)
def test_equal_weeks_differ_by_chance_only(law: Law) -> None:
    p_values, excluded = [], np.zeros(3)
    for seed in range(LOGS):
        weeks = [log(law, [2, seed, week]) for week in range(2)]
        instants = {name: weeks[1][name] + pd.Timedelta(days=DAYS) for name in weeks[1].select_dtypes("datetimetz")}
        weeks[1] = weeks[1].assign(**instants, message_id="b" + weeks[1]["message_id"].astype("str"))
        result = vk.compare(weeks[0], other=weeks[1], within=10, quantiles=(0.5, 0.95))
        p_values.append(result[["p_gray", "p_logrank"]].iloc[0].to_list())
        low, high = result["share_low"].fillna(result["low_s"]), result["share_high"].fillna(result["high_s"])
        excluded += (low > 0) | (high < 0)
    uniform = [stats.kstest(values, "uniform").pvalue for values in np.transpose(p_values)]
    rejected = (np.array(p_values) < 0.05).mean(axis=0)
    print(
        f"\n{law.__name__}: excluded {np.array(excluded) / LOGS}, p < 0.05 {rejected}, uniform {np.round(uniform, 3)}"
    )
    assert (excluded / LOGS <= 0.07 + 3 * np.sqrt(0.05 / LOGS)).all()
    assert (rejected <= 0.07 + 3 * np.sqrt(0.05 / LOGS)).all()
    if law is independent:
        assert min(uniform) > 0.001


@pytest.mark.parametrize("law", [with_outages, in_campaigns], ids=lambda law: law.__name__)
def test_the_design_effect_is_that_of_a_bootstrap_of_blocks(law: Law) -> None:
    """Blocks of a day are drawn again and again, and the log is estimated anew each time."""
    ratios = []
    for seed in range(6):
        journeys = log(law, [3, seed], 5_000)
        day = (journeys["accepted_at"].dt.floor("1D") - laws.BEGIN).dt.days.to_numpy()
        seconds = (journeys["delivered_at"] - journeys["accepted_at"]).dt.total_seconds().to_numpy()
        reached = np.array([np.bincount(day, seconds <= limit, DAYS) for limit in WITHIN])
        sent, rng = np.bincount(day, minlength=DAYS), np.random.default_rng(seed)
        drawn = rng.multinomial(DAYS, np.full(DAYS, 1 / DAYS), 2_000)
        shares = (drawn @ reached.T) / (drawn @ sent)[:, np.newaxis]
        share = reached.sum(axis=1) / len(journeys)
        expected = shares.var(axis=0) * DAYS / (DAYS - 1) / (share * (1 - share) / len(journeys))
        result = vk.over_time(journeys, within=WITHIN, quantiles=[], every=None)
        ratios.append(result["design_effect"] / expected)
    assert np.exp(np.log(ratios).mean()) == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize(("is_observed", "relative"), [(True, 1e-9), (False, 0.03)], ids=["all observed", "in part"])
def test_influences_give_the_variance_of_the_delta_method(is_observed: bool, relative: float) -> None:
    """Without clusters their squares add up to it, exactly if all is observed, else about: both are estimates."""
    rng, n = np.random.default_rng(3), 600
    started, n_each = np.sort(rng.integers(0, 10**12, n)), rng.integers(1, 4, n)
    time, cause, entry = rng.integers(1, 7, n), rng.integers(1 if is_observed else 0, 3, n), None
    if not is_observed:
        entry = rng.integers(-9, 5, n)
    cells = clusters.Cells.of(started, int(n_each.sum()), None)
    assert cells is not None
    curve = incidence(time, cause, 2, entry, n_each)
    for end in (0, 1):
        ends, states, influence = clusters._influences(cells, time, cause, end, entry, n_each, 10**6)
        expected = curve.precision(end).variance[curve.at(ends)]
        assert states.weight.sum() == n_each[True if entry is None else entry < time].sum()
        assert states.weight @ influence**2 == pytest.approx(np.where(influence.any(axis=0), expected, 0), rel=relative)
        assert states.weight @ influence == pytest.approx(np.zeros(len(ends)), abs=1e-9)


def test_a_sentence_says_what_depends_on_what() -> None:
    start, seconds, _ = independent(np.random.default_rng(5), 5_000)
    for day in (2, 5, 9):  # three outages of four hours
        outage = (start > (day + 0.4) * laws.DAY) & (start < (day + 0.4) * laws.DAY + 4 * laws.HOUR)
        seconds = np.where(outage, seconds + 600, seconds)
    result = vk.time_to(laws.journeys(start, seconds))
    note = result.attrs["dependence_note"]
    assert note.startswith("5,000 messages tell as much as ")
    assert " independent ones about the time by which " in note
    assert note.endswith("depend on one another; half of this comes from 2 of 14 days (UTC).")
    assert note in result._repr_html_()
    assert (result["design_effect"] >= 1).all()
    assert result["design_effect"].max() > 5
    alone = vk.time_to(laws.journeys(start, seconds), cluster=None)
    assert "dependence_note" not in alone.attrs
    assert (alone["design_effect"] == 1).all()
    assert alone["value_s"].tolist() == result["value_s"].tolist()


def test_a_column_makes_clusters_wherever_it_is() -> None:
    """Recipients whose messages all take as long, spread over the whole log: stretches of time do not show it."""
    rng, n = np.random.default_rng(6), 3_000
    recipient = rng.integers(0, 150, n)
    seconds = np.exp(rng.normal(1, 0.5, 150))[recipient] * rng.gamma(20, 0.05, n)
    journeys = laws.journeys(laws.evenly(rng, n, DAYS), seconds)
    messages = pd.DataFrame({"message_id": journeys["message_id"], "recipient": recipient.astype("str")})
    options: dict[str, Any] = {"quantiles": 0.5, "messages": messages}
    effect = vk.time_to(journeys, cluster="recipient", **options)["design_effect"][0]
    share = [float((seconds[recipient == one] < np.median(seconds)).sum()) for one in range(150)]
    sizes = np.bincount(recipient)
    assert effect == pytest.approx(np.sum((share - sizes / 2) ** 2) / (n / 4), rel=0.05)
    assert vk.time_to(journeys, **options)["design_effect"][0] < effect / 3
    named = vk.time_to(journeys, quantiles=0.5, messages=messages.rename(columns={"recipient": "campaign"}))
    assert named["design_effect"][0] == pytest.approx(effect)
    assert "messages with the same campaign depend on one another" in named.attrs["dependence_note"]
    with pytest.raises(MissingColumn, match="segment"):
        vk.time_to(journeys, cluster="segment")


def test_the_order_of_rows_does_not_matter() -> None:
    journeys = log(with_outages, 7)
    result = vk.time_to(journeys)
    pd.testing.assert_frame_equal(vk.time_to(journeys.sample(frac=1, random_state=1)), result)


@pytest.mark.parametrize("n", [1, 2, 9, 79, 80, 81, 200])
def test_few_messages(n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        journeys = log(with_outages, 8, n)
        vk.time_to(journeys)
        vk.delivery_curve(journeys, simultaneous=(1, 600))
        same = journeys.assign(accepted_at=laws.BEGIN)
        assert (vk.time_to(same)["design_effect"] == 1).all(), "messages of one instant are one cluster"
    assert durations(same, "time_to").cells is None or n >= 80


def test_latency_takes_dependence_into_account() -> None:
    journeys = log(in_unknown_campaigns, 9)
    events = journeys.melt("message_id", ["accepted_at", "delivered_at"], "state", "happened_at")
    events["state"] = events["state"].str.removesuffix("_at")
    wide = vk.latency(vk.read_events(events), quantiles=0.5).iloc[0]
    narrow = vk.latency(vk.read_events(events), quantiles=0.5, cluster=None).iloc[0]
    direct = vk.time_to(journeys, quantiles=0.5).iloc[0]
    assert wide["value_s"] == narrow["value_s"]
    assert wide["low_s"] == pytest.approx(direct["low_s"], rel=0.02)
    assert wide["high_s"] == pytest.approx(direct["high_s"], rel=0.02)
    note = vk.latency(vk.read_events(events)).attrs["dependence_note"]
    assert note.startswith(
        "The intervals of 1 of 1 transitions are wider because messages depend on one another (up to "
    )
    assert narrow["high_s"] - narrow["low_s"] < (wide["high_s"] - wide["low_s"]) / 2


@pytest.mark.slow
@pytest.mark.parametrize("law", [independent, with_outages], ids=lambda law: law.__name__)
def test_simultaneous_bands_hold_everywhere(law: Law) -> None:
    population, holds = truth(law), np.zeros(2)
    for seed in range(LOGS):
        journeys = log(law, [4, seed])
        for row, simultaneous in enumerate(((1, 600), None)):
            curve = vk.delivery_curve(journeys, simultaneous=simultaneous)
            times = curve["time_s"].to_numpy()
            inside = (times >= 1) & (times <= 600)
            share = np.searchsorted(population, times, side="right") / len(population)
            # The true curve rises until just before the next time, the band does not.
            low, high = curve["delivered_low"].to_numpy(), curve["delivered_high"].shift(fill_value=0).to_numpy()
            holds[row] += ((low <= share) & (share <= high))[inside].all()
    print(f"\n{law.__name__}: simultaneous {holds[0] / LOGS:.3f}, pointwise {holds[1] / LOGS:.3f}")
    chance = 3.5 * np.sqrt(0.05 * 0.95 / LOGS)
    assert holds[0] / LOGS >= min(0.93, 0.95 - chance)
    assert holds[1] / LOGS < 0.8


def test_twenty_equal_groups() -> None:
    """All intervals of the family hold at once, and no adjusted p-value is small, in 95 % of logs."""
    excluded = small = alone = 0
    for seed in range(max(LOGS // 8, 4)):
        rng = np.random.default_rng([5, seed])
        start, seconds, _ = independent(rng, MESSAGES)
        journeys = laws.journeys(start, seconds, country=rng.integers(0, 20, MESSAGES).astype("str"))
        result = vk.compare(journeys, by="country")
        low, high = result["share_low"].fillna(result["low_s"]), result["share_high"].fillna(result["high_s"])
        excluded += ((low > 0) | (high < 0)).any()
        small += (result[["p_gray", "p_logrank"]] < 0.05).any(axis=None)
        alone += (vk.compare(journeys, by="country", adjust=False)[["p_gray", "p_logrank"]] < 0.05).any(axis=None)
    logs = max(LOGS // 8, 4)
    print(
        f"\nsome interval excludes zero: {excluded / logs:.3f}, some p < 0.05: {small / logs:.3f}, alone {alone / logs}"
    )
    assert excluded / logs <= 0.05 + 3 * np.sqrt(0.05 / logs)
    assert small / logs <= 0.05 + 3 * np.sqrt(0.05 / logs)
    assert "all 57 intervals hold at once, and p-values are adjusted for 38 tests" in result.attrs["family_note"]


def test_shrunk_values_are_nearer_to_the_truth() -> None:
    errors = []
    for seed in range(5):
        rng = np.random.default_rng([6, seed])
        share = rng.beta(40, 10, 30)
        group = rng.integers(0, 30, 1_500)
        seconds = np.where(rng.random(1_500) < share[group], 5.0, 5_000.0)
        journeys = laws.journeys(laws.evenly(rng, 1_500, DAYS), seconds, country=[f"{value:02}" for value in group])
        result = vk.compare(journeys, by="country", quantiles=[], shrink=True, adjust=False)
        true = share[result["group"].astype("int64")]
        errors.append([((result[name] - true) ** 2).mean() for name in ("share", "shrunk")])
    plain, shrunk = np.mean(errors, axis=0)
    assert shrunk < 0.8 * plain


def test_a_band_of_many_independent_messages_needs_little_memory() -> None:
    """The sums of 100,000 single messages would take gigabytes."""
    journeys = log(independent, 10, 100_000)
    tracemalloc.start()
    band = vk.delivery_curve(journeys, simultaneous=(1, 600), cluster=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
    pointwise = vk.delivery_curve(journeys, cluster=None)
    width = [(frame["delivered_high"] - frame["delivered_low"]).median() for frame in (band, pointwise)]
    assert 1.4 < width[0] / width[1] < 1.8  # 2.7 to 3.5 standard errors in place of 1.96
