"""Comparisons: tests and intervals against R, lifelines, scipy and published numbers, and what they say in words."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import viberkit as vk
from viberkit.analysis.comparison import UnequalFollowUpWarning, gray, log_rank
from viberkit.analysis.durations import Durations, durations
from viberkit.analysis.incidence import mover, score_interval
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, JOURNEYS

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "40"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = pd.Timestamp("2026-03-02T12:00:00Z").as_unit("us")
OPEN, DELIVERED, FAILED = range(3)
COLUMNS = (
    "group baseline text metric unit value baseline_value difference low high n n_baseline p_gray p_logrank"
).split()
Told = list[tuple[float, int]]

# Made by R 4 with cmprsk: cuminc(time, cause, group)$Tests["1", "pv"]. Messages as time.cause.
GRAY = [
    (
        0.808881403901385,
        "1.0 2.1 5.1 6.1 3.0",
        "6.1 3.1 2.1 6.1 5.1 1.1 5.0",
    ),
    (
        0.674304551992708,
        "5.0 3.0 1.1 8.0 4.1 5.1 6.1 2.1 8.1 2.0 6.1 3.1",
        "3.1 8.1 8.1 5.1 5.1 6.1 5.1 8.2",
    ),
    (
        0.225930151233173,
        "1.0 3.0 1.1 3.2 3.1 3.0 1.1 4.0 1.1 1.1 3.1 5.1 3.1",
        "5.1 2.1 4.1 5.1 3.1 5.1 5.1 5.1 2.1 3.1 2.0 4.0 4.1 5.1 4.2 1.1 5.1",
    ),
    (
        0.149947810397536,
        "2.1 4.1 1.0 10.1 9.1 1.1 5.2 6.2 5.2 3.1 2.1 6.1 2.0 4.2 10.1 4.2 9.1 4.2 5.1 4.1 3.0",
        "3.1 4.1 11.2 11.1 10.2 3.0 11.1 10.0 3.1 2.1 11.2 9.1 8.0 6.0 9.1 9.2 7.2 9.1 10.2",
    ),
    (
        0.811155060062126,
        "23.1 19.1 4.2 26.2 28.1 2.0 13.1 15.1 24.1 30.0 5.1 9.1 7.1 8.1",
        "14.1 8.0 23.2 8.2 22.1 11.2 10.1 5.0 10.1 7.0 16.1",
    ),
    (
        0.111078941383428,
        "3.1 2.0 4.0 2.1 1.1 2.1 3.0 3.1 4.1 2.1 1.1 3.1 2.1 1.1 2.1 1.1 1.1 4.1 4.1 3.1 1.0 2.2 1.1 3.2 "
        "2.2 2.1 4.1 2.0 4.0",
        "2.2 4.1 3.0 3.1 2.2 2.1 4.1 2.0 3.0 2.2 4.1 1.1 2.2 3.1 2.1 4.0 1.1 3.0 3.1 3.2 2.0 1.1 2.1 1.0 "
        "4.2 4.2 4.1 1.1 2.2 2.0 1.1",
    ),
    (
        0.0178172895533425,
        "2.2 2.1 2.0 3.1 3.1 3.1 3.1 3.1 1.1",
        "4.1 2.2 3.2 4.1 3.1 4.0 3.1",
    ),
    (
        0.791363225116626,
        "10.1 14.1 10.0 11.1 16.1 2.0 7.1 11.0 17.0 1.1 12.0 20.1 11.1 14.1 19.0 7.2 7.1 7.2 11.1 6.1 "
        "20.0 20.1 1.1 11.1 6.1 5.1 3.0 5.1",
        "6.1 7.1 4.1 4.1 5.1 11.2 18.2 18.1 18.2 4.2 4.0 13.1 7.1 7.0 14.2 6.2 7.2 6.1 12.0 11.1 15.1 8.1",
    ),
]


def trips(told: Told, **facts: Any) -> pd.DataFrame:
    """Journeys from (seconds, cause)."""
    rows = []
    for place, (seconds, cause) in enumerate(told):
        begun = START + pd.Timedelta(milliseconds=place)
        after = begun + pd.Timedelta(seconds=seconds)
        rows.append(
            {
                "message_id": f"m{place}",
                "accepted_at": begun,
                "delivered_at": after if cause == DELIVERED else pd.NaT,
                "failed_at": after if cause == FAILED else pd.NaT,
                "outcome": ("open", "delivered", "failed")[cause],
                "observed_until": after,
            }
        )
    return JOURNEYS.frame(rows).assign(**facts)


def part(told: Told) -> Durations:
    return durations(trips(told), "test")


def both(one: Told, other: Told) -> pd.DataFrame:
    """Journeys of two groups, a and b."""
    return trips([*one, *other], kind=[*"a" * len(one), *"b" * len(other)])


def read(text: str) -> Told:
    return [(float(word.split(".")[0]), int(word.split(".")[1])) for word in text.split()]


@pytest.mark.parametrize(("chance", "one", "other"), GRAY)
def test_grays_test_is_that_of_r(chance: float, one: str, other: str) -> None:
    assert gray(part(read(one)), part(read(other))) == pytest.approx(chance, rel=1e-9)
    assert gray(part(read(other)), part(read(one))) == pytest.approx(chance, rel=1e-9)
    found = vk.compare(both(read(one), read(other)), by="kind", baseline="a", metric="p50")
    assert found["p_gray"].tolist() == [pytest.approx(chance, rel=1e-9)]


told = st.lists(st.tuples(st.integers(1, 12).map(float), st.sampled_from([OPEN, 1, 1, 2])), min_size=1, max_size=20)


@many
@given(told, told)
def test_the_log_rank_test_is_that_of_scipy_and_lifelines(one: Told, other: Told) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = __import__("lifelines.statistics", fromlist=["logrank_test"]).logrank_test
    except ImportError:
        theirs = None
    found = log_rank(part(one), part(other))
    assert np.isnan(found) or 0 <= found <= 1
    assume(np.isfinite(found))
    samples = [
        stats.CensoredData([t for t, c in group if c == DELIVERED], right=[t for t, c in group if c != DELIVERED])
        for group in (one, other)
    ]
    assert found == pytest.approx(stats.logrank(*samples).pvalue, rel=1e-9, abs=1e-12)
    if theirs is not None:
        times, kinds = ([[row[place] for row in group] for group in (one, other)] for place in (0, 1))
        met = [[kind == DELIVERED for kind in group] for group in kinds]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert found == pytest.approx(theirs(*times, *met).p_value, rel=1e-9, abs=1e-12)


@many
@given(told, told)
def test_comparing_the_other_way_round_turns_the_signs(one: Told, other: Told) -> None:
    log = both(one, other)
    metrics = ["p50", "p90", "within 5 s", "failed within 5 s", "failed"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnequalFollowUpWarning)
        there, back = (vk.compare(log, by="kind", baseline=base, metric=metrics) for base in "ab")
    assert list(there) == COLUMNS
    assert there["metric"].tolist() == metrics
    assert there["unit"].tolist() == ["s", "s", "share", "share", "share"]
    np.testing.assert_allclose(there["difference"], -back["difference"], atol=1e-12)
    np.testing.assert_allclose(there["low"], -back["high"], atol=1e-9)
    np.testing.assert_allclose(there["p_gray"], back["p_gray"], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(there["p_logrank"], back["p_logrank"], rtol=1e-7, atol=1e-12)
    known = there["difference"].notna()
    finite = known & np.isfinite(there["difference"])
    assert (there["low"] <= there["difference"] + 1e-12)[finite].all()
    assert (there["difference"] <= there["high"] + 1e-12)[finite].all()
    shares = there[(there["unit"] == "share") & known]
    assert ((shares[["difference", "low", "high"]].abs() <= 1 + 1e-12).all()).all()
    # Nothing but the two curves: values are those of delivery_curve and time_to.
    for name, group in (("b", other), ("a", one)):
        column = "value" if name == "b" else "baseline_value"
        curve, times = vk.delivery_curve(trips(group)), vk.time_to(trips(group), quantiles=[0.5, 0.9])
        assert there[column].tolist()[:2] == times["time_s"].tolist()
        for row, end in ((2, "delivered"), (3, "failed")):
            if there[column].notna()[row]:
                assert there[column][row] == curve.loc[curve["time_s"] <= 5, end].iloc[-1]
            else:
                assert curve["time_s"].iloc[-1] < 5
                assert curve["open"].iloc[-1] > 0


# Newcombe, Interval estimation for the difference between independent proportions (1998), table II, method 10.
NEWCOMBE = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
]


@pytest.mark.parametrize(("some", "n", "others", "m", "low", "high"), NEWCOMBE)
def test_differences_of_shares_are_newcombes(some: int, n: int, others: int, m: int, low: float, high: float) -> None:
    first, second = (
        [float(limit) for limit in score_interval(share, size)] for share, size in ((some / n, n), (others / m, m))
    )
    found = mover(np.array(some / n), *map(np.array, first), np.array(others / m), *map(np.array, second))
    assert [float(one) for one in found[1:]] == pytest.approx([low, high], abs=6e-5)
    log = both(
        [(1.0, DELIVERED)] * others + [(2.0, FAILED)] * (m - others),
        [(1.0, DELIVERED)] * some + [(2.0, FAILED)] * (n - some),
    )
    row = vk.compare(log, by="kind", baseline="a", metric="within 60 s").iloc[0]
    assert row["difference"] == pytest.approx(some / n - others / m)
    assert [row["low"], row["high"]] == pytest.approx([low, high], abs=6e-5)


def test_two_frames_are_called_by_their_names() -> None:
    one, other = trips([(1.0, 1), (2.0, 1), (3.0, 1)]), trips([(2.0, 1), (4.0, 1), (6.0, 1)])
    before = one.copy(deep=True)
    found = vk.compare(one, other, metric="p50")
    assert found[["group", "baseline", "value", "baseline_value", "difference"]].to_numpy().tolist() == [
        ["second", "first", 4, 2, 2]
    ]
    named = vk.compare(one, other, metric="p50", names=("before", "after"), baseline="after")
    assert named[["group", "baseline", "difference"]].to_numpy().tolist() == [["before", "after", -2]]
    pd.testing.assert_frame_equal(one, before)
    events = EVENTS.frame(
        [
            {"message_id": "x", "state": state, "happened_at": START + pd.Timedelta(seconds=after)}
            for state, after in (("accepted", 0), ("delivered", 9))
        ]
    )
    assert vk.compare(one, events, metric="p50")["difference"].tolist() == [7]
    with pytest.raises(ValueError, match=r"names: \('x', 'x'\) do not tell two frames apart"):
        vk.compare(one, other, names=("x", "x"))


def test_the_baseline_is_the_largest_group_or_the_one_that_is_said() -> None:
    log = trips([(1.0, 1), (3.0, 1), (3.0, 1), (9.0, 1)], rate_type=["p", "s", "s", "t"], channel=["v", "v", "v", "w"])
    found = vk.compare(log, by="rate_type", metric="p50")
    assert found[["group", "baseline", "difference"]].to_numpy().tolist() == [["p", "s", -2], ["t", "s", 6]]
    assert found[["n", "n_baseline"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    several = vk.compare(log, by=["rate_type", "channel"], metric="p50", baseline=("t", "w"))
    assert several["group"].tolist() == ["p · v", "s · v"]
    assert set(several["baseline"]) == {"t · w"}
    with pytest.raises(ValueError, match=r"baseline: 'x' is no group; there are 'p', 's', 't'"):
        vk.compare(log, by="rate_type", baseline="x")
    facts = log[["message_id"]].assign(sender=["a", "a", "b", "b"])
    assert vk.compare(log, by="sender", messages=facts, metric="p50")["group"].tolist() == ["b"]
    hours = vk.compare(log, by="hour", tz="Europe/Kyiv", metric="p50")
    assert len(hours) == 0
    assert list(hours) == COLUMNS


def test_unequal_watch_is_warned_of() -> None:
    short, long = [(60.0 + n, OPEN) for n in range(5)], [(7200.0 + n, OPEN) for n in range(5)]
    done = [(float(n), DELIVERED) for n in range(1, 20)]
    with pytest.warns(UnequalFollowUpWarning, match=r"compare: b was watched for 2 h, a for 1 min \(medians\)") as said:
        vk.compare(both([*done, *short], [*done, *long]), by="kind", baseline="a")
    assert said[0].filename == __file__
    assert "metric='within 60 s'" in str(said[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vk.compare(both([*done, *short], [*done, *[(100.0, OPEN)] * 5]), by="kind", baseline="a")
        vk.compare(both([*done, *short[:4]], [*done, *long]), by="kind", baseline="a")  # too few to judge


def test_effects_in_words() -> None:
    slow, fast = [(float(n), DELIVERED) for n in range(101, 301)], [(float(n), DELIVERED) for n in range(1, 201)]
    found = vk.compare(both(fast, slow), by="kind", baseline="a", metric=["p50", "within 100 s"])
    assert found["text"][0].startswith("b is 1.7 min slower at p50 (")
    assert found["text"][0].endswith(", n = 200 and 200")
    assert found["text"][1].startswith("b has 50 points fewer delivered within 100 s (")
    back = vk.compare(both(fast, slow), by="kind", baseline="b", metric=["p50", "within 100 s"])
    assert back["text"][0].startswith("a is 1.7 min faster at p50 (")
    assert back["text"][1].startswith("a has 50 points more delivered within 100 s (")
    same = vk.compare(both(fast, fast), by="kind", baseline="a", metric="p50")
    assert same["text"][0].endswith("; the data do not tell them apart")
    assert same["p_gray"][0] == pytest.approx(1)
    assert (
        "fewer failed within 60 s"
        in vk.compare(both(fast, [*slow, (1.0, FAILED)]), by="kind", metric="failed 60 s")["text"][0]
    )


def test_quantiles_that_are_not_reached() -> None:
    half = [(float(n), 1 + n % 2) for n in range(1, 101)]
    full = [(float(n), DELIVERED) for n in range(1, 101)]
    found = vk.compare(both(full, half), by="kind", baseline="a", metric="p90").iloc[0]
    assert found["value"] == np.inf
    assert found["difference"] == np.inf
    assert (found["low"], found["high"]) != (-np.inf, -np.inf)
    assert found["high"] == np.inf
    assert found["text"] == "b at p90: not reached, a: 1.5 min, n = 100 and 100"
    neither = vk.compare(both(half, half), by="kind", baseline="a", metric="p90").iloc[0]
    assert neither["text"].startswith("b at p90: not reached, a: not reached")
    assert (neither["low"], neither["high"]) == (-np.inf, np.inf)


def test_what_is_not_known_yet_is_not_told() -> None:
    young = [(float(n), OPEN if n % 2 else DELIVERED) for n in range(1, 21)]
    old = [(float(n), DELIVERED) for n in range(1, 101)]
    found = vk.compare(both(old, young), by="kind", baseline="a", metric=["within 60 s", "failed 60 s"])
    young_told = found.iloc[0]
    assert np.isnan(young_told[["value", "difference", "low", "high"]].astype(float)).all() or young[-1][1] == DELIVERED
    still = vk.compare(both(old, [*young, (21.0, OPEN)]), by="kind", baseline="a", metric="within 60 s").iloc[0]
    assert np.isnan(still[["value", "difference", "low", "high"]].astype(float)).all()
    assert still["baseline_value"] == pytest.approx(0.6)
    assert still["text"] == "within 60 s is not known yet of b or of a, n = 21 and 100"
    assert vk.compare(both(old, [*young, (21.0, OPEN)]), by="kind", metric="failed")["difference"].tolist() == [0]


def test_nothing_to_tell_apart_has_no_p_value() -> None:
    nothing = [(5.0, OPEN)] * 3
    found = vk.compare(both(nothing, nothing), by="kind").iloc[0]
    assert np.isnan(found["p_gray"])
    assert np.isnan(found["p_logrank"])
    assert len(vk.compare(JOURNEYS.empty().assign(kind=pd.Series([], dtype="str")), by="kind")) == 0


def test_p_values_are_even_where_nothing_differs() -> None:
    rng = np.random.default_rng(8)
    chances = []
    for _ in range(300):
        parts = []
        for n in (30, 60):
            seconds, until = np.ceil(rng.lognormal(2, 1, n)), rng.exponential(30, n)
            kind = np.where(seconds > until, OPEN, np.where(rng.random(n) < 0.2, FAILED, DELIVERED))
            ended = np.round(np.minimum(seconds, until) * 1e6).astype(np.int64)
            zero, none = np.zeros(n, dtype=np.int64), pd.DataFrame(index=range(n))
            parts.append(Durations(zero, ended, kind.astype(np.int8), ended, None, zero, none[:1], none, zero, {}))
        chances.append((gray(*parts), log_rank(*parts)))
    for chance in np.array(chances).T:
        assert stats.kstest(chance, "uniform").pvalue > 1e-3
        assert (chance < 0.05).sum() <= stats.binom.ppf(0.9999, 300, 0.05)


def test_mistakes_are_named() -> None:
    log = both([(1.0, 1)], [(2.0, 1)])
    with pytest.raises(ValueError, match=r"by: nothing to compare; pass by='rate_type', say, or a second frame"):
        vk.compare(log)
    for metric in ("mean", "within", "within 60", "failed x s", "p", ""):
        with pytest.raises(ValueError, match=r"metric: '.*' is none; pass e\.g\. 'p95', 'within 60 s'"):
            vk.compare(log, by="kind", metric=metric)
    for metric in ("p0", "p100", "p950"):
        with pytest.raises(ValueError, match=r"is no quantile between p0 and p100"):
            vk.compare(log, by="kind", metric=metric)
    with pytest.raises(ValueError, match="confidence: 2 is not between 0 and 1"):
        vk.compare(log, by="kind", confidence=2)
    with pytest.raises(MissingColumn, match="compare: no column 'king'"):
        vk.compare(log, by="king")
    with pytest.raises(ValueError, match="end: 'arrived' is not a state"):
        vk.compare(log, by="kind", end="arrived")
    with pytest.raises(MissingColumn, match=r"compare .*no column 'outcome'"):
        vk.compare(log, log.drop(columns="outcome"))
    for text in ("within 60 s", "within 60s", "within_60s", "within 1 min", "within 60000 ms"):
        assert vk.compare(log, by="kind", metric=text)["value"].tolist() == [1]
