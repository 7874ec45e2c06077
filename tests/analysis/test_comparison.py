"""Comparisons: tests and intervals against R, lifelines, scipy and published numbers, and their summaries."""

from __future__ import annotations

import os
import warnings
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from scipy import stats
from support import dependent_logs as laws

import viberkit as vk
from viberkit.analysis.comparison import UnequalFollowUpWarning, gray, log_rank, p_value
from viberkit.analysis.durations import Durations, durations
from viberkit.analysis.incidence import difference_interval
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, JOURNEYS

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = pd.Timestamp("2026-03-02T12:00:00Z").as_unit("us")
OPEN, DELIVERED, FAILED = range(3)
COLUMNS = (
    "group baseline within_s quantile share baseline_share share_difference share_low share_high value_s "
    "baseline_value_s difference_s low_s high_s n baseline_n p_gray p_logrank summary"
).split()
Rows = list[tuple[float, int]]

# Computed by R 4 with cmprsk: cuminc(time, cause, group)$Tests["1", "pv"]. Messages as time.cause.
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


def journeys_of(messages: Rows, **columns: Any) -> pd.DataFrame:
    """Journeys from (seconds, cause)."""
    rows = []
    for index, (seconds, cause) in enumerate(messages):
        started = START + pd.Timedelta(milliseconds=index)
        ended = started + pd.Timedelta(seconds=seconds)
        rows.append(
            {
                "message_id": f"m{index}",
                "accepted_at": started,
                "delivered_at": ended if cause == DELIVERED else pd.NaT,
                "failed_at": ended if cause == FAILED else pd.NaT,
                "outcome": ("open", "delivered", "failed")[cause],
                "observed_until": ended,
            }
        )
    return JOURNEYS.frame(rows).assign(**columns)


def durations_of(messages: Rows) -> Durations:
    return durations(journeys_of(messages), "test")


def both(first: Rows, second: Rows) -> pd.DataFrame:
    """Journeys of two groups, a and b."""
    return journeys_of([*first, *second], kind=[*"a" * len(first), *"b" * len(second)])


def parse(text: str) -> Rows:
    return [(float(word.split(".")[0]), int(word.split(".")[1])) for word in text.split()]


@pytest.mark.parametrize(("expected", "first", "second"), GRAY)
def test_grays_test_is_that_of_r(expected: float, first: str, second: str) -> None:
    assert p_value(gray, durations_of(parse(first)), durations_of(parse(second))) == pytest.approx(expected, rel=1e-9)
    assert p_value(gray, durations_of(parse(second)), durations_of(parse(first))) == pytest.approx(expected, rel=1e-9)
    result = vk.compare(both(parse(first), parse(second)), by="kind", baseline="a", within=[], quantiles=0.5)
    assert result["p_gray"].tolist() == [pytest.approx(expected, rel=1e-9)]


messages = st.lists(st.tuples(st.integers(1, 12).map(float), st.sampled_from([OPEN, 1, 1, 2])), min_size=1, max_size=20)


@many
@given(messages, messages)
def test_the_log_rank_test_is_that_of_scipy_and_lifelines(first: Rows, second: Rows) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = __import__("lifelines.statistics", fromlist=["logrank_test"]).logrank_test
    except ImportError:
        reference = None
    result = p_value(log_rank, durations_of(first), durations_of(second))
    assert np.isnan(result) or 0 <= result <= 1
    assume(np.isfinite(result))
    samples = [
        stats.CensoredData([t for t, c in group if c == DELIVERED], right=[t for t, c in group if c != DELIVERED])
        for group in (first, second)
    ]
    assert result == pytest.approx(stats.logrank(*samples).pvalue, rel=1e-9, abs=1e-12)
    if reference is not None:
        times, causes = ([[row[column] for row in group] for group in (first, second)] for column in (0, 1))
        ended = [[cause == DELIVERED for cause in group] for group in causes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert result == pytest.approx(reference(*times, *ended).p_value, rel=1e-9, abs=1e-12)


@settings(many, max_examples=max(EXAMPLES // 4, 5))
@given(messages, messages)
def test_exchanging_the_groups_changes_the_signs(first: Rows, second: Rows) -> None:
    log = both(first, second)
    for end in ("delivered", "failed"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnequalFollowUpWarning)
            options = {"by": "kind", "end": end, "within": [5, np.inf], "quantiles": [0.5, 0.9]}
            forth, back = (vk.compare(log, baseline=base, **options) for base in "ab")
        assert list(forth) == COLUMNS
        names = {"by": ["kind"], "start": "accepted", "end": end, "confidence": 0.95, "cluster": "auto", "tz": "UTC"}
        assert forth.attrs == names
        np.testing.assert_array_equal(forth["within_s"], [5, np.inf, np.nan, np.nan])
        np.testing.assert_array_equal(forth["quantile"], [np.nan, np.nan, 0.5, 0.9])
        np.testing.assert_allclose(forth["p_gray"], back["p_gray"], rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(forth["p_logrank"], back["p_logrank"], rtol=1e-7, atol=1e-12)
        for gap, low, high in (("share_difference", "share_low", "share_high"), ("difference_s", "low_s", "high_s")):
            np.testing.assert_allclose(forth[gap], -back[gap], atol=1e-12)
            np.testing.assert_allclose(forth[low], -back[high], atol=1e-9)
            finite = np.isfinite(forth[gap])
            assert (forth[low] <= forth[gap] + 1e-12)[finite].all()
            assert (forth[gap] <= forth[high] + 1e-12)[finite].all()
        shares = forth[["share_difference", "share_low", "share_high"]]
        assert (shares.isna() | (shares.abs() <= 1 + 1e-12)).all().all()
        for group, share, value in ((second, "share", "value_s"), (first, "baseline_share", "baseline_value_s")):
            curve = vk.delivery_curve(journeys_of(group), end=end)
            times = vk.time_to(journeys_of(group), end=end, quantiles=[0.5, 0.9])
            np.testing.assert_array_equal(forth[value][2:], times["value_s"])
            if forth[share].notna()[0]:
                assert forth[share][0] == curve.loc[curve["time_s"] <= 5, end].iloc[-1]
            else:
                assert curve["time_s"].iloc[-1] < 5
                assert curve["open"].iloc[-1] > 0
        ends = [vk.delivery_curve(journeys_of(group), end=end)["time_s"].iloc[-1] for group in (first, second)]
        last = vk.delivery_curve(journeys_of(second), end=end).query(
            "time_s <= @common", local_dict={"common": min(ends)}
        )
        assert forth["share"][1] == last[end].iloc[-1]


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
        np.array([k / size, *stats.binomtest(k, size).proportion_ci(method="wilson")])
        for k, size in ((some, n), (others, m))
    )
    result = difference_interval(*first, *second)
    assert [float(limit) for limit in result[1:]] == pytest.approx([low, high], abs=6e-5)
    log = both(
        [(1.0, DELIVERED)] * others + [(2.0, FAILED)] * (m - others),
        [(1.0, DELIVERED)] * some + [(2.0, FAILED)] * (n - some),
    )
    row = vk.compare(log, by="kind", baseline="a", within=60, quantiles=[], cluster=None).iloc[0]
    assert row["share_difference"] == pytest.approx(some / n - others / m)
    assert [row["share_low"], row["share_high"]] == pytest.approx([low, high], abs=6e-5)


def medians(*frames: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """A comparison of medians only."""
    return vk.compare(*frames[:1], other=frames[1] if len(frames) > 1 else None, within=[], quantiles=0.5, **options)


def test_two_frames_have_names() -> None:
    first, second = journeys_of([(1.0, 1), (2.0, 1), (3.0, 1)]), journeys_of([(2.0, 1), (4.0, 1), (6.0, 1)])
    before = first.copy(deep=True)
    result = medians(first, second)
    names = ["group", "baseline", "value_s", "baseline_value_s", "difference_s"]
    assert result[names].to_numpy().tolist() == [["second", "first", 4, 2, 2]]
    assert result.attrs["by"] == []
    named = medians(first, second, names=("before", "after"), baseline="after")
    assert named[["group", "baseline", "difference_s"]].to_numpy().tolist() == [["before", "after", -2]]
    pd.testing.assert_frame_equal(first, before)
    events = EVENTS.frame(
        [
            {"message_id": "x", "state": state, "happened_at": START + pd.Timedelta(seconds=after)}
            for state, after in (("accepted", 0), ("delivered", 9))
        ]
    )
    assert medians(first, events)["difference_s"].tolist() == [7]
    with pytest.raises(ValueError, match=r"names: \('x', 'x'\) are not two different names"):
        vk.compare(first, other=second, names=("x", "x"))


def test_the_baseline_is_the_largest_group_by_default() -> None:
    columns = {"rate_type": ["p", "s", "s", "t"], "channel": ["v", "v", "v", "w"]}
    log = journeys_of([(1.0, 1), (3.0, 1), (3.0, 1), (9.0, 1)], **columns)
    result = medians(log, by="rate_type")
    assert result[["group", "baseline", "difference_s"]].to_numpy().tolist() == [["p", "s", -2], ["t", "s", 6]]
    assert result[["n", "baseline_n"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    several = medians(log, by=["rate_type", "channel"], baseline=("t", "w"))
    assert several["group"].tolist() == ["p · v", "s · v"]
    assert set(several["baseline"]) == {"t · w"}
    with pytest.raises(ValueError, match=r"baseline: 'x' is not a group; pass one of 'p', 's', 't'"):
        vk.compare(log, by="rate_type", baseline="x")
    named = log.assign(rate_type=["session", "transaction", "transaction", "promotion"])
    with pytest.raises(ValueError, match=r"baseline: 'promo' is not a group; did you mean 'promotion'\? pass one of"):
        vk.compare(named, by="rate_type", baseline="promo")
    senders = log[["message_id"]].assign(sender=["a", "a", "b", "b"])
    assert medians(log, by="sender", messages=senders)["group"].tolist() == ["b"]
    hours = medians(log, by="hour", tz="Europe/Kyiv")
    assert len(hours) == 0
    assert list(hours) == COLUMNS


def test_unequal_follow_up_gives_a_warning() -> None:
    short, long = [(60.0 + n, OPEN) for n in range(5)], [(7200.0 + n, OPEN) for n in range(5)]
    done = [(float(n), DELIVERED) for n in range(1, 20)]
    text = r"compare: b was observed for 2 h, a for 1 min \(medians\)"
    with pytest.warns(UnequalFollowUpWarning, match=text) as caught:
        vk.compare(both([*done, *short], [*done, *long]), by="kind", baseline="a")
    assert caught[0].filename == __file__
    assert "within=60" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vk.compare(both([*done, *short], [*done, *long]), by="kind", within=60, quantiles=[])  # observed by both
        vk.compare(both([*done, *short], [*done, *[(100.0, OPEN)] * 5]), by="kind", baseline="a")
        vk.compare(both([*done, *short[:4]], [*done, *long]), by="kind", baseline="a")  # too few to judge
    with pytest.warns(UnequalFollowUpWarning):
        vk.compare(both([*done, *short], [*done, *long]), by="kind", within=np.inf, quantiles=[])


def test_summaries() -> None:
    slow, fast = [(float(n), DELIVERED) for n in range(101, 301)], [(float(n), DELIVERED) for n in range(1, 201)]
    options: dict[str, Any] = {"by": "kind", "within": 100, "quantiles": 0.5, "cluster": None}
    result = vk.compare(both(fast, slow), baseline="a", **options)["summary"]
    assert result[0].startswith("b: 0 % delivered within 100 s, a: 50 %; difference −50 points (−")
    assert result[0].endswith("): fewer delivered; n = 200 and 200")
    assert result[1].startswith("b: p50 3.3 min, a: 1.7 min; difference +1.7 min (+")
    assert result[1].endswith("): slower; n = 200 and 200")
    back = vk.compare(both(fast, slow), baseline="b", **options)["summary"]
    assert back[0].startswith("a: 50 % delivered within 100 s, b: 0 %; difference +50 points (+")
    assert "): more delivered; " in back[0]
    assert "; difference −1.7 min (−" in back[1]
    assert "): faster; " in back[1]
    same = medians(both(fast, fast), by="kind", baseline="a")
    assert "): no clear difference; " in same["summary"][0]
    assert same["p_gray"][0] == pytest.approx(1)
    failed = vk.compare(both(fast, [*slow, (1.0, FAILED)]), by="kind", end="failed", quantiles=[])
    assert "a: 0 % failed within 60 s, b: 0.5 %; difference −0.5 points (" in failed["summary"][0]


def test_quantiles_that_are_not_reached() -> None:
    half = [(float(n), 1 + n % 2) for n in range(1, 101)]
    full = [(float(n), DELIVERED) for n in range(1, 101)]
    row = vk.compare(both(full, half), by="kind", baseline="a", within=[], quantiles=0.9).iloc[0]
    assert row["value_s"] == np.inf
    assert row["difference_s"] == np.inf
    assert (row["low_s"], row["high_s"]) != (-np.inf, -np.inf)
    assert row["high_s"] == np.inf
    assert row["summary"] == "b: p90 not reached, a: 1.5 min; n = 100 and 100"
    neither = vk.compare(both(half, half), by="kind", baseline="a", within=[], quantiles=0.9).iloc[0]
    assert neither["summary"].startswith("b: p90 not reached, a: not reached")
    assert (neither["low_s"], neither["high_s"]) == (-np.inf, np.inf)


def test_values_that_cannot_be_known_are_missing() -> None:
    young = [*((float(n), OPEN if n % 2 else DELIVERED) for n in range(1, 21)), (21.0, OPEN)]
    old = [(float(n), DELIVERED) for n in range(1, 101)]
    names = ["share", "share_difference", "share_low", "share_high"]
    rows = vk.compare(both(old, young), by="kind", baseline="a", within=[60, np.inf], quantiles=0.9)
    assert rows.loc[0, names].isna().all()
    assert rows["baseline_share"][0] == pytest.approx(0.6)
    assert rows["summary"][0] == "b and a: delivered within 60 s not known yet; n = 21 and 100"
    assert rows["baseline_share"][1] == pytest.approx(0.21)  # both were observed for 21 s
    assert rows["summary"][1].startswith("b: ")
    assert rows.loc[2, ["value_s", "difference_s", "low_s", "high_s"]].isna().all()
    assert rows["summary"][2] == "b and a: p90 not known yet; n = 21 and 100"
    failed = vk.compare(both(old, young), by="kind", end="failed", within=np.inf, quantiles=[])
    assert failed["share_difference"].tolist() == [0]


def test_without_outcomes_there_is_no_p_value() -> None:
    nothing = [(5.0, OPEN)] * 3
    row = vk.compare(both(nothing, nothing), by="kind").iloc[0]
    assert np.isnan(row["p_gray"])
    assert np.isnan(row["p_logrank"])
    assert len(vk.compare(JOURNEYS.empty().assign(kind=pd.Series([], dtype="str")), by="kind")) == 0


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(300):
        parts = []
        for n in (30, 60):
            seconds, until = np.ceil(rng.lognormal(2, 1, n)), rng.exponential(30, n)
            kind = np.where(seconds > until, OPEN, np.where(rng.random(n) < 0.2, FAILED, DELIVERED))
            ended = np.round(np.minimum(seconds, until) * 1e6).astype(np.int64)
            zero, none = np.zeros(n, dtype=np.int64), pd.DataFrame(index=range(n))
            parts.append(Durations(zero, ended, kind.astype(np.int8), ended, None, zero, none[:1], none, zero, {}))
        p_values.append((p_value(gray, *parts), p_value(log_rank, *parts)))
    for values in np.array(p_values).T:
        assert stats.kstest(values, "uniform").pvalue > 1e-3
        assert (values < 0.05).sum() <= stats.binom.ppf(0.9999, 300, 0.05)


def test_errors_name_the_parameter() -> None:
    log = both([(1.0, 1)], [(2.0, 1)])
    with pytest.raises(ValueError, match=r"by: there is nothing to compare; pass e\.g\. by='rate_type'"):
        vk.compare(log)
    with pytest.raises(ValueError, match=r"by: two frames are compared as a whole; pass either other or by"):
        vk.compare(log, other=log, by="kind")
    for within in (0, -1, np.nan, "60 s", [60, -np.inf]):
        with pytest.raises(ValueError, match=r"within: .* is not a time in seconds above zero; pass e\.g\. 60"):
            vk.compare(log, by="kind", within=within)
    for quantile in (0, 1, 95):
        with pytest.raises(ValueError, match=r"quantiles: .* is not between 0 and 1"):
            vk.compare(log, by="kind", quantiles=quantile)
    with pytest.raises(ValueError, match="confidence: 2 is not between 0 and 1"):
        vk.compare(log, by="kind", confidence=2)
    with pytest.raises(MissingColumn, match="compare: no column 'king'"):
        vk.compare(log, by="king")
    with pytest.raises(ValueError, match="end: 'arrived' is not a state"):
        vk.compare(log, by="kind", end="arrived")
    with pytest.raises(MissingColumn, match=r"compare .*no column 'outcome'"):
        vk.compare(log, other=log.drop(columns="outcome"))
    for end in ("delivered", "MessageStatus::delivered", "message-delivered"):
        assert vk.compare(log, by="kind", end=end, within=60, quantiles=[])["share"].tolist() == [1]


def test_messages_that_were_observed_late_do_not_count_before() -> None:
    """The shares are those of the curve of each group with the same left truncation."""
    rng = np.random.default_rng(2)
    log = both([(float(t), DELIVERED) for t in rng.integers(1, 90, 60)], [(float(t), OPEN) for t in range(1, 90)])
    late = pd.Series(log["accepted_at"] + pd.to_timedelta(rng.integers(0, 30, len(log)), unit="s"))
    late.index = pd.Index(log["message_id"])
    row = vk.compare(log, by="kind", baseline="a", within=60, quantiles=[], observed_from=late).iloc[0]
    curve = vk.delivery_curve(log, by="kind", observed_from=late)
    last = curve[curve["time_s"] <= 60].groupby("kind", observed=True)["delivered"].last()
    assert row["baseline_share"] == pytest.approx(last["a"])
    assert row["baseline_share"] != pytest.approx(
        vk.compare(log, by="kind", baseline="a", within=60, quantiles=[])["baseline_share"][0]
    )


def test_a_change_of_the_mix_is_named_where_the_parts_say_the_opposite() -> None:
    """Each country became faster, all messages slower: Simpson's paradox."""

    def week(name: str, share: float, factor: float) -> pd.DataFrame:
        rng = np.random.default_rng([7, int(share * 10)])
        start = laws.evenly(rng, 3_000, 7)
        country = np.where(rng.random(3_000) < share, "NG", "DE")
        seconds = factor * laws.weibull(rng, 3_000) * np.where(country == "NG", 30, 1)
        log = laws.journeys(start, seconds, country=country)
        return log.assign(message_id=name + log["message_id"].astype("str"), week=name)

    first, second = week("a", 0.2, 1.0), week("b", 0.5, 0.8)
    readings = r"rose in each country \(DE .* NG .*\), but fell for all messages .* more messages have country NG \("
    with pytest.warns(vk.MixShiftWarning, match=readings) as caught:
        result = vk.compare(first, other=second, names=("a", "b"))
    assert caught[0].filename == __file__
    assert result.attrs["mix_note"] in result._repr_html_().replace("&gt;", ">")
    with pytest.warns(vk.MixShiftWarning, match=readings):
        vk.compare(pd.concat([first, second]), by="week", baseline="a", within=[], quantiles=0.5)
    events = pd.concat([first, second]).melt(
        ["message_id", "week", "country"], ["accepted_at", "delivered_at"], "state"
    )
    events["happened_us"] = events.pop("value").astype("int64")
    events["state"] = events["state"].str.removesuffix("_at")
    counted = vk.EventLog(duckdb.from_df(events))
    with pytest.warns(vk.MixShiftWarning, match=readings):
        vk.compare(counted, by="week", baseline="a", within=[], quantiles=0.5)
    facts = pd.concat([first, second])[["message_id", "country"]]
    plain = [frame.drop(columns="country") for frame in (first, second)]
    with pytest.warns(vk.MixShiftWarning, match="rose in each country"):
        vk.compare(plain[0], other=plain[1], messages=facts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vk.compare(first, other=week("c", 0.2, 0.5))  # the same mix
        vk.compare(plain[0], other=plain[1])


def test_a_difference_between_times_is_no_dependence() -> None:
    """Before and after are other stretches of time, so a difference must not be taken for the effect of an outage."""
    rng = np.random.default_rng(6)
    start = laws.evenly(rng, 3_000, 10)
    after = start > 8 * laws.DAY
    seconds = laws.weibull(rng, 3_000) * np.where(after, 3.0, 1.0)
    journeys = laws.journeys(start, seconds, half=np.where(after, "after", "before"))
    result = vk.compare(journeys, by="half", within=10, quantiles=[])
    alone = vk.compare(journeys, by="half", within=10, quantiles=[], cluster=None)
    assert alone["p_logrank"][0] < 1e-20
    assert result["p_logrank"][0] < 1e-15
    assert result["p_gray"][0] < 1e-15


def test_nothing_to_compare_by_is_refused() -> None:
    log = both([(1.0, DELIVERED)] * 9, [(2.0, FAILED)] * 9)
    with pytest.raises(ValueError, match="within, quantiles: both are empty"):
        vk.compare(log, by="kind", within=(), quantiles=())
    assert vk.compare(both([(1.0, FAILED)] * 9, [(2.0, FAILED)] * 9), by="kind", shrink=True)["shrunk"].notna().any()
