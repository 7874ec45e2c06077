"""Why two sets of messages differ: parts that add up, planted causes, Simpson's paradox, and the intervals.

Small by default. More logs::

    VIBERKIT_LOGS=200 python -m pytest tests/analysis/test_explain.py -m "" -n 0 -s
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from support import dependent_logs as laws

import viberkit as vk
from viberkit.analysis.explain import explain

LOGS = int(os.environ.get("VIBERKIT_LOGS", "6"))
EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
COLUMNS = ("country", "content_type", "rate_type", "hour")
COUNTRIES, CONTENTS, RATES = ("US", "DE", "NG", "BR"), ("Text", "Image", "Video"), ("transaction", "promotion")
SECOND_HOP = "dispatched → delivered"
#: What the largest part is for each planted cause: its kind, column, groups, and hop.
CAUSES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "more messages to a slow country": ("mix", "country", COUNTRIES, ""),
    "more promotions": ("mix", "rate_type", RATES, ""),
    "a country is slower": ("within", "country", ("DE",), SECOND_HOP),
    "the first hop is slower": ("within", "", ("all messages",), "accepted → dispatched"),
    "the second hop is slower": ("within", "", ("all messages",), SECOND_HOP),
    "some hours are slower": ("within", "hour", ("8", "9", "10", "11"), SECOND_HOP),
    "more images fail": ("within", "content_type", ("Image",), "failed"),
}


def log(rng: np.random.Generator, n: int, cause: str = "", law: str = "", days: int = 7) -> pd.DataFrame:
    """Messages of a week, with the cause of a change, and with dependence by a law of ``dependent_logs``."""
    start, factor, delay, campaign = laws.evenly(rng, n, days), np.ones(n), np.zeros(n), None
    if law == "campaigns":
        start, factor, campaign = laws.in_campaigns(rng, n, days)
    elif law == "outages":
        delay = laws.outages(rng, start, days)
    elif law == "hours":
        factor = laws.by_stretch(rng, start, laws.HOUR, 0.4)
    hour = (start // laws.HOUR % 24).astype(int)
    to_slow = 0.45 if cause == "more messages to a slow country" else 0.15
    country = rng.choice(4, n, p=[0.5 - to_slow / 2, 0.4 - to_slow / 2, to_slow, 0.1])
    content, rate = rng.choice(3, n, p=[0.6, 0.3, 0.1]), rng.choice(2, n, p=[0.6, 0.4])
    if cause == "more promotions":
        rate = rng.choice(2, n, p=[0.2, 0.8])
    first, second = 2 * rng.lognormal(0, 0.8, n), 5 * rng.lognormal(0, 1.2, n) * (1 + 0.3 * np.sin(hour / 3.82))
    second *= np.array([1, 1, 3, 1.5])[country] * np.array([1, 1.2, 1.5])[content] * np.array([1, 1.8])[rate]
    if cause == "a country is slower":
        second = np.where(country == 1, 2.5 * second, second)
    if cause == "some hours are slower":
        second = np.where((hour >= 8) & (hour < 12), 3 * second, second)
    first *= 5 if cause == "the first hop is slower" else 1
    second *= 1.7 if cause == "the second hop is slower" else 1
    failed = rng.random(n) < np.where((content == 1) & (cause == "more images fail"), 0.15, 0.03)
    frame = laws.journeys(start, first + factor * second + delay, failed=failed)
    frame["dispatched_at"] = frame["accepted_at"] + pd.to_timedelta(np.round(first * 1e6), unit="us")
    columns = {"country": COUNTRIES, "content_type": CONTENTS, "rate_type": RATES}
    for (name, labels), codes in zip(columns.items(), (country, content, rate), strict=True):
        frame[name] = np.array(labels)[codes]
    return frame if campaign is None else frame.assign(campaign=campaign)


def simple(seconds: Any, observed_s: float = 1e5, **columns: Any) -> pd.DataFrame:
    """Messages of one per minute that are delivered, or fail if their time is negative; open if it is NaN."""
    seconds = np.asarray(seconds, dtype=float)
    start = 60.0 * np.arange(len(seconds))
    ends = np.where(np.isnan(seconds), 1e9, np.abs(seconds))
    return laws.journeys(start, ends, failed=seconds < 0, observed_s=observed_s, **columns)


def test_one_column_is_kitagawas_decomposition() -> None:
    before = simple([1] * 70 + [99] * 10 + [1] * 10 + [99] * 10, country=["A"] * 80 + ["B"] * 20)
    after = simple([1] * 40 + [99] * 10 + [1] * 10 + [99] * 40, country=["A"] * 50 + ["B"] * 50)
    result = explain(before, other=after, columns="country")
    a, b = (0.5 - 0.8), (0.5 - 0.2)
    rates_a, rates_b = (70 / 80, 40 / 50), (10 / 20, 10 / 50)
    centre = 0.65 * np.mean(rates_a) + 0.35 * np.mean(rates_b)
    expected = {
        ("mix", "A"): a * (np.mean(rates_a) - centre),
        ("mix", "B"): b * (np.mean(rates_b) - centre),
        ("within", "all messages"): 0.65 * (rates_a[1] - rates_a[0]) + 0.35 * (rates_b[1] - rates_b[0]),
    }
    parts = result.groupby(["kind", "group"])["effect"].sum()
    for key, effect in expected.items():
        assert parts[key] == pytest.approx(effect, abs=1e-5)  # a group of one set only has a small weight in the other
    assert result["effect"].sum() == pytest.approx(-0.3, abs=1e-12)
    assert result.attrs["before"] == pytest.approx(0.8)
    assert result.set_index(["kind", "group"]).loc[("mix", "B"), ["n_before", "n_after"]].tolist() == [20, 50]


def test_the_difference_is_that_of_compare() -> None:
    rng = np.random.default_rng(1)
    before, after = (
        log(rng, 600, law=law).assign(observed_until=lambda f: f["observed_until"]) for law in ("", "hours")
    )
    for frame in (before, after):  # open messages, some of them observed late
        cut = rng.random(len(frame)) < 0.3
        until = frame["accepted_at"] + pd.to_timedelta(rng.exponential(30, len(frame)), unit="s").round("us")
        is_open = cut & (frame[["delivered_at", "failed_at"]].min(axis=1) > until)
        frame.loc[is_open, ["delivered_at", "failed_at"]] = pd.NaT
        frame.loc[is_open, "outcome"] = "open"
        frame["observed_until"] = frame["observed_until"].mask(is_open, until)
        frame["observed_from"] = frame["accepted_at"] + pd.to_timedelta(np.where(cut, 0.5, 0), unit="s")
    result = explain(before, other=after, within=20)
    compared = vk.compare(before, other=after, within=20, quantiles=0.5)
    assert result.attrs["difference"] == pytest.approx(compared["share_difference"][0], abs=1e-12)
    assert result["effect"].sum() == pytest.approx(result.attrs["difference"], abs=1e-12)
    result = explain(before, other=after, quantiles=0.5)
    assert result.attrs["difference"] == pytest.approx(compared["difference_s"][1], abs=1e-9)
    assert result["effect"].sum() == pytest.approx(result.attrs["difference"], abs=1e-9)


MESSAGES = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-200, 200)),
        st.sampled_from(["A", "B", None]),
        st.sampled_from([1, 2, np.nan]),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@settings(deadline=None, max_examples=EXAMPLES)
@given(MESSAGES, MESSAGES, st.sampled_from([None, 0.5, 0.9]), st.booleans())
def test_parts_add_up(before: list[Any], after: list[Any], quantiles: float | None, is_short: bool) -> None:
    frames = []
    for rows in (before, after):
        seconds, country, size, is_dispatched = zip(*rows, strict=True)
        frame = simple([np.nan if s is None else s for s in seconds], 100.0 if is_short else 1e5)
        frame = frame.assign(country=pd.Series(country, dtype="object"), size=size)
        halfway = frame["accepted_at"] + (frame["delivered_at"] - frame["accepted_at"]) / 2
        frames.append(frame.assign(dispatched_at=halfway.dt.round("us").where(list(is_dispatched))))
    options = {"quantiles": quantiles or 0.5, "within": 60}
    compared = vk.compare(frames[0], other=frames[1], **options).iloc[0 if quantiles is None else 1]
    difference = compared["share_difference" if quantiles is None else "difference_s"]
    if not np.isfinite(difference):
        return
    result = explain(frames[0], other=frames[1], columns=["country", "size", "hour"], quantiles=quantiles)
    assert result.attrs["difference"] == pytest.approx(difference, abs=1e-9)
    assert result["effect"].sum() == pytest.approx(result.attrs["difference"], abs=1e-9)
    assert (result["high"] >= result["low"]).all()
    assert result["summary"].str.contains(" of ").all()


def test_an_empty_set_or_an_unknown_share_is_an_error() -> None:
    frame = simple([1, 2, 3, np.nan], 30.0)
    for kwargs in ({"other": frame.iloc[:0]}, {"other": frame, "within": 60}, {"other": frame, "quantiles": 0.9}):
        with pytest.raises(ValueError, match="is not known of both sets; pass more messages"):
            explain(frame, **kwargs)  # type: ignore[arg-type]


def test_simpsons_paradox_is_named_with_both_readings() -> None:
    before = simple([1] * 72 + [99] * 8 + [1] * 8 + [99] * 12, country=["US"] * 80 + ["NG"] * 20)
    after = simple([1] * 19 + [99] * 1 + [1] * 40 + [99] * 40, country=["US"] * 20 + ["NG"] * 80)
    result = explain(before, other=after, columns="country")
    note = "The share delivered within 60 s rose in each country (NG 40 % → 50 %, US 90 % → 95 %), but fell for all "
    note += "messages 80 % → 59 %, because more messages have country NG (20 % → 80 %)."
    assert result.attrs["of_note"] == note
    assert note in result._repr_html_()
    assert result["group"][0] in ("NG", "US")
    assert result.groupby("kind")["effect"].sum().gt(0).to_dict() == {"mix": False, "within": True}
    assert explain(before, other=before).attrs["of_note"] == ""


def test_summaries() -> None:
    rng = np.random.default_rng(3)
    before, after = log(rng, 3000), log(rng, 3000, "more messages to a slow country")
    result = explain(before, other=after, within=20, columns="country")
    assert result["summary"][0].startswith("more messages with country NG (15 % → 44 %): −")
    assert " points (−" in result["summary"][0]
    assert " s of +" in explain(before, other=after, quantiles=0.9)["summary"][0]
    assert explain(before, other=after, end="failed")["hop"].isin(["", "accepted → failed", "delivered"]).all()


def is_first(result: pd.DataFrame, cause: str) -> bool:
    kind, column, groups, hop = CAUSES[cause]
    first = result.iloc[0]
    return (first["kind"], first["column"], first["hop"]) == (kind, column, hop) and first["group"] in groups


@pytest.mark.parametrize("cause", CAUSES)
def test_a_planted_cause_is_first(cause: str) -> None:
    rng = np.random.default_rng(11)
    assert is_first(explain(log(rng, 5000), other=log(rng, 5000, cause), within=20), cause)


@pytest.mark.slow
@pytest.mark.parametrize("quantiles", [None, 0.9])
@pytest.mark.parametrize("cause", CAUSES)
def test_planted_causes_are_first(cause: str, quantiles: float | None) -> None:
    found = 0
    for index in range(LOGS):
        rng = np.random.default_rng([12, index])
        result = explain(log(rng, 5000), other=log(rng, 5000, cause), within=20, quantiles=quantiles)
        found += is_first(result, cause)
    print(f"{cause}, {quantiles}: first in {found} of {LOGS} logs")
    assert found >= 0.9 * LOGS - 2 * np.sqrt(0.09 * LOGS)


@pytest.mark.slow
@pytest.mark.parametrize("law", ["", "campaigns", "outages", "hours"])
def test_intervals_hold_the_parts(law: str) -> None:
    keys, cause = ["kind", "column", "group", "hop"], "a country is slower"
    rng, columns = np.random.default_rng(0), COLUMNS[:3] if law == "campaigns" else COLUMNS
    large = (log(rng, 300_000, name, law, 70 if law else 7) for name in ("", cause))
    truth = explain(next(large), other=next(large), within=20, cluster=None, columns=columns).set_index(keys)["effect"]
    held = defaultdict(list)
    for index in range(LOGS):
        rng = np.random.default_rng([13, index])
        result = explain(log(rng, 4000, "", law), other=log(rng, 4000, cause, law), within=20, columns=columns)
        for row in result.set_index(keys).itertuples():
            if row.Index in truth:
                held[row.Index[::3]].append(row.low <= truth[row.Index] <= row.high)
    shares = {" ".join(key): round(float(np.mean(values)), 3) for key, values in held.items()}
    print(law or "independent", shares)
    assert min(shares.values()) > 0.9 - 2 * np.sqrt(0.09 / LOGS)


def drawn(name: str, seed: int, factor: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    log = laws.journeys(laws.evenly(rng, 1_000, 7), factor * laws.weibull(rng, 1_000))
    return log.assign(message_id=name + log["message_id"].astype("str"))


@pytest.mark.filterwarnings("ignore::viberkit.IntervalTimesWarning")
def test_times_that_may_be_on_either_side_are_refused() -> None:
    """Polled every five minutes, hardly any delivery is certain to be within 30 s or not."""
    exact = [drawn("a", 1, 1.0), drawn("b", 2, 6.0)]
    assert np.isfinite(explain(exact[0], other=exact[1], within=30)[["low", "high"]]).all(axis=None)
    polled = [
        log.assign(delivered_at=log["accepted_at"] + pd.Timedelta("300s"), delivered_not_before=log["accepted_at"])
        for log in exact
    ]
    with pytest.raises(ValueError, match="within 30 s lies inside many times that are known only as intervals"):
        explain(polled[0], other=polled[1], within=30)


def test_one_campaign_before_and_another_after_has_intervals() -> None:
    """A single cluster has no variance; stretches of time have."""
    before, after = drawn("a", 3, 1.0).assign(campaign="spring"), drawn("b", 4, 2.0).assign(campaign="summer")
    result = explain(before, other=after, within=10)
    assert np.isfinite(result[["low", "high"]]).all(axis=None)
    rows = ["kind", "column", "group", "hop"]
    shuffled, plain = (
        explain(frame, other=after, within=10, cluster=None).set_index(rows)["low"].sort_index()
        for frame in (before.sample(frac=1, random_state=1), before)
    )
    assert shuffled.to_dict() == pytest.approx(plain.to_dict(), abs=1e-12)
