"""Event logs on each engine give the frames that the functions compute of frames with the same rounded times."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from pandas.testing import assert_frame_equal
from support.documents import ROOT
from support.event_logs import Engines, lake_table, round_journeys, rounded, sort_journeys

import viberkit as vk
from viberkit.analysis import latency as latency_module
from viberkit.lake import engines as files, event_log

CALLS: list[tuple[Callable[..., pd.DataFrame], dict[str, Any]]] = [
    (vk.time_to, {}),
    (vk.time_to, {"by": ["country", "hour"], "of": "delivered", "tz": "Europe/Berlin"}),
    (vk.time_to, {"by": "is_test", "cluster": "is_test"}),
    (vk.time_to, {"by": "weekday", "end": "seen", "start": "dispatched"}),
    (vk.delivery_curve, {"by": "country", "cluster": None}),
    (vk.delivery_curve, {"end": "failed", "observed_from": "2026-01-07T00:00Z"}),
    (vk.delivery_curve, {"end": "routed", "cluster": "country"}),
    (vk.delivery_curve, {"simultaneous": (1, 600)}),
    (vk.over_time, {"every": "1d", "tz": "Europe/Berlin", "by": "country"}),
    (vk.over_time, {"every": "15min", "tz": "Asia/Kolkata"}),
    (vk.profile, {"tz": "Europe/Berlin"}),
    (vk.slo, {"tz": "America/New_York", "by": "country"}),
    (vk.slo, {"every": "6h", "within": 5}),
    (vk.compare, {"by": "country"}),
    (vk.compare, {"by": "weekday", "shrink": True, "cluster": None}),
    pytest.param(  # type: ignore[list-item]
        vk.fallback, {"viber_price": 1, "sms_price": 2, "by": ["country", "hour"]}, marks=pytest.mark.slow
    ),
    (vk.fallback, {"viber_price": 1, "sms_price": 2, "advice": {"USER_BLOCKED": "wait"}, "cluster": None}),
]
#: Functions for which the journeys are read, so that times are not rounded; "other" stands for a part of the log.
OF_JOURNEYS: list[tuple[Callable[..., pd.DataFrame], dict[str, Any]]] = [
    (vk.journeys, {}),
    (vk.changes, {}),
    (vk.changes, {"by": "country", "columns": ["hour", "rate_type"], "tz": "Europe/Berlin"}),
    (vk.burn_rate, {"by": "rate_type", "within": 5}),
    (vk.explain, {"other": "other"}),
    (vk.explain, {"other": "other", "columns": ["country", "campaign"], "cluster": "country", "quantiles": 0.5}),
    (vk.compare, {"other": "other"}),
    (vk.replay, {"viber_price": 1, "sms_price": 2}),
    (vk.replay, {"viber_price": 1, "sms_price": 2, "by": "country", "every": "1w"}),
    (vk.advise, {}),
    (vk.cost, {"prices": {"transaction": 1, "promotion": 2}, "by": ["country", "weekday"]}),
    (vk.time_to, {"start": "channel_failed", "end": "failed"}),
    (vk.time_to, {"messages": "messages", "by": "sender"}),
    (vk.time_to, {"observed_from": "observed_from"}),
]
#: Functions for which the events are read.
OF_EVENTS: list[tuple[Callable[..., pd.DataFrame], dict[str, Any]]] = [
    (vk.transitions, {}),
    (vk.quality, {}),
    (vk.clocks, {}),
    (vk.correct_clocks, {}),
    (vk.journeys, {"observed_until": pd.Timestamp("2027-01-01", tz="UTC")}),
    (vk.latency, {"messages": "messages", "by": "sender"}),
    (vk.latency, {"by": "source"}),
]
#: Compared in plain runs of the tests, too; what others read of a log is the same.
QUICK = (vk.journeys, vk.changes, vk.cost, vk.time_to, vk.quality)
#: Whose counts of a large log are compared in slow runs only.
COUNTED = (vk.time_to, vk.delivery_curve, vk.over_time, vk.slo, vk.compare)
IGNORED = (vk.DroppedMessagesWarning, vk.UnequalFollowUpWarning, vk.IntervalTimesWarning, vk.MixShiftWarning)


@pytest.fixture(scope="module")
def campaign() -> pd.DataFrame:
    """The events of the example campaign, with more facts of its messages and with duplicates."""
    events = vk.read_events(ROOT / "data" / "campaign" / "events.parquet")
    code = events["message_id"].astype("category").cat.codes
    country = pd.Series(["AT", "D'E", None, 'ä {0} \\ "%s'], dtype="str").take(code % 4).array
    campaign = pd.Series([f"c{index}" for index in range(13)], dtype="str").take(code % 13).array
    facts = {"rate_type": "str", "content_type": "str"}
    events = events.astype(facts).assign(country=country, campaign=campaign, is_test=(code % 3 == 0).array)
    return pd.concat([events, events.sample(100, random_state=1)], ignore_index=True).sample(frac=1, random_state=2)


def expected_latency(
    events: pd.DataFrame, by: list[str], cluster: str | None = "auto", tz: str = "UTC"
) -> pd.DataFrame:
    """The table of a frame's transitions and waits with rounded times."""
    transitions, waiting = latency_module._prepare(events, by, None, tz)
    assert waiting is not None
    for frame, name in ((transitions, "latency_s"), (waiting, "waited_s")):
        frame[name] = rounded(np.rint(frame[name] * 1e6).astype("int64")) / 1e6
    if cluster is not None:
        codes = pd.factorize(transitions["campaign"])[0] if "campaign" in transitions else -1
        transitions["_cluster"] = codes
    quantiles = [0.5, 0.9, 0.95, 0.99]
    return latency_module._estimate(transitions, waiting, by, quantiles, 0.95, are_tried=cluster == "auto")


@pytest.mark.parametrize(("function", "options"), CALLS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_log_gives_the_frame_of_its_journeys(
    function: Any, options: dict[str, Any], campaign: pd.DataFrame, engines: Engines, engine: str
) -> None:
    if engine == "spark" and function is vk.compare:
        pytest.skip("the queries are those of other functions, which take Spark long enough")
    journeys = round_journeys(vk.journeys(campaign), options.get("start", "accepted"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IGNORED)
        expected = function(journeys, **options)
        result = function(vk.EventLog(engines.source(engine, campaign)), **options)
    assert_frame_equal(result, expected, rtol=1e-9)
    assert result.attrs == expected.attrs


def with_frames(options: dict[str, Any], events: pd.DataFrame, other: Any) -> dict[str, Any]:
    """The options with frames in place of their names."""
    ids = pd.Series(sorted(events["message_id"].unique()), dtype="str")
    sender = pd.Series(["a", "b", None], dtype="str").take(np.arange(len(ids)) % 3).array
    frames = {"other": other, "messages": pd.DataFrame({"message_id": ids, "sender": sender})}
    frames["observed_from"] = pd.Series(pd.Timestamp("2026-01-08", tz="UTC"), index=ids[::2])
    return {name: frames.get(name, value) for name, value in options.items()}


def cases(calls: list[tuple[Callable[..., pd.DataFrame], dict[str, Any]]]) -> list[Any]:
    quick = {function: options for function, options in reversed(calls) if function in QUICK}
    marks = [[] if options is quick.get(function) else [pytest.mark.slow] for function, options in calls]
    return [pytest.param(*call, marks=mark, id=call[0].__name__) for call, mark in zip(calls, marks, strict=True)]


@pytest.mark.parametrize(("function", "options"), cases(OF_JOURNEYS))
def test_a_log_gives_the_frame_of_its_exact_journeys(
    function: Any, options: dict[str, Any], campaign: pd.DataFrame, engines: Engines, engine: str
) -> None:
    if engine == "spark" and function not in (vk.journeys, vk.changes, vk.cost):
        pytest.skip("the queries are those of other functions, which take Spark long enough")
    journeys, log = sort_journeys(vk.journeys(campaign), campaign), vk.EventLog(engines.source(engine, campaign))
    half = journeys.filter(regex="_at$").min(axis=1)[2_500]
    begin = journeys.filter(regex="_at$").min(axis=1) < half
    arguments = [(campaign if function is vk.journeys else journeys, None), (log, None)]
    if "other" in options:
        arguments = [(journeys[begin], journeys[~begin]), (log.where(until=half), log.where(since=half))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IGNORED)
        expected, result = (function(value, **with_frames(options, campaign, other)) for value, other in arguments)
    expected = sort_journeys(expected, campaign) if function is vk.journeys else expected
    assert_frame_equal(result, expected, rtol=1e-9, check_categorical=function is not vk.journeys)
    assert result.attrs == expected.attrs
    assert len(result) or function is vk.changes


@pytest.mark.parametrize(("function", "options"), cases(OF_EVENTS))
def test_a_log_gives_the_frame_of_its_events(
    function: Any, options: dict[str, Any], campaign: pd.DataFrame, engines: Engines, engine: str
) -> None:
    if engine == "spark" and function is not vk.quality:
        pytest.skip("the query is that of other functions, which take Spark long enough")
    events = campaign.sort_values(["message_id", "happened_at", "state"], ignore_index=True)
    options = with_frames(options, campaign, None)
    expected, result = function(events, **options), function(vk.EventLog(engines.source(engine, campaign)), **options)
    columns = [name for name in expected if name in result]  # facts may be categories
    assert_frame_equal(result[columns], expected[columns], rtol=1e-9, check_dtype=False, check_categorical=False)


@pytest.mark.parametrize("options", [{}, {"by": ["country"]}, {"by": ["hour"], "cluster": None, "tz": "Asia/Kolkata"}])
def test_a_log_gives_the_latency_table_of_its_events(
    options: dict[str, Any], campaign: pd.DataFrame, engines: Engines, engine: str
) -> None:
    result = vk.latency(vk.EventLog(engines.source(engine, campaign)), **options)
    expected = expected_latency(campaign, **{**options, "by": [*options.get("by", [])]})
    assert result["slowest_share"].isna().eq(result["to_state"].notna()).all()
    assert_frame_equal(result.drop(columns="slowest_share"), expected.drop(columns="slowest_share"), rtol=1e-9)
    assert result.attrs.get("dependence_note") == expected.attrs.get("dependence_note")


def test_filters_are_those_of_a_frame(campaign: pd.DataFrame, engines: Engines, engine: str) -> None:
    log = vk.EventLog(engines.source(engine, campaign))
    values = log.values("country")
    assert dict(zip(values["country"].fillna("-"), values["n_events"], strict=True)) == dict(
        campaign["country"].fillna("-").value_counts()
    )
    for country in ('ä {0} \\ "%s', ["D'E", None], "nowhere"):
        chosen = campaign["country"].isin(country if isinstance(country, list) else [country])
        assert log.where(country=country).values("state")["n_events"].sum() == chosen.sum()
    first = campaign.groupby("message_id")["happened_at"].transform("min")
    limits = pd.Timestamp("2026-01-08", tz="UTC"), pd.Timestamp("2026-01-10T07:30", tz="UTC")
    part = log.where(since=limits[0], until="2026-01-10T07:30Z").where(country=["AT", "D'E"])
    chosen = (first >= limits[0]) & (first < limits[1]) & campaign["country"].isin(["AT", "D'E"])
    journeys = round_journeys(vk.journeys(campaign[chosen]))
    assert_frame_equal(vk.time_to(part, by="country"), vk.time_to(journeys, by="country"), rtol=1e-9)
    assert "since=2026-01-08" in repr(part)
    assert "viberkit@" not in repr(part)
    events = part.to_frame().sort_values(["message_id", "happened_at"], ignore_index=True)
    expected = campaign[chosen].sort_values(["message_id", "happened_at"], ignore_index=True)
    assert_frame_equal(events[["message_id", "happened_at"]], expected[["message_id", "happened_at"]])


@pytest.mark.parametrize("values", [{"AT"}, np.array(["AT"]), pd.Series(["AT"]), iter(["AT"]), {"AT": 1}.keys()])
def test_a_filter_takes_any_list_of_values(values: Any, campaign: pd.DataFrame, engines: Engines) -> None:
    log = vk.EventLog(engines.source("files", campaign)).where(country=values)
    assert log.values("country")["country"].tolist() == ["AT"]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_any_missing_value_is_one(missing: Any, campaign: pd.DataFrame, engines: Engines) -> None:
    log = vk.EventLog(engines.source("files", campaign)).where(country=missing)
    assert log.values("country")["n_events"].tolist() == [campaign["country"].isna().sum()]


def test_filters_add_up(campaign: pd.DataFrame, engines: Engines) -> None:
    log = vk.EventLog(engines.source("files", campaign))
    part = log.where(since="2026-01-08", until="2026-01-10", country=["AT", "D'E"])
    assert_frame_equal(part.where(since="2026-01-07", until="2026-01-11").to_frame(), part.to_frame())
    assert part.where(country=["AT", None]).values("country")["country"].tolist() == ["AT"]
    assert part.where(country=None).to_frame().empty


@pytest.mark.filterwarnings("ignore::viberkit.analysis.comparison.UnequalFollowUpWarning")
@pytest.mark.parametrize(
    "function", [vk.latency, vk.fallback, *(pytest.param(name, marks=pytest.mark.slow) for name in COUNTED)]
)
def test_a_large_log_is_counted_and_estimates_dependence_from_classes(
    function: Any, campaign: pd.DataFrame, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = vk.EventLog(engines.source("files", campaign))
    options: dict[str, Any] = {"by": "country"} if function is vk.compare else {}
    options = {"viber_price": 1, "sms_price": 2} if function is vk.fallback else options
    expected, independent = function(exact, **options), function(exact, cluster=None, **options)
    monkeypatch.setattr(event_log, "_EXACT", 0)
    large = vk.EventLog(engines.source("files", campaign))
    assert_frame_equal(function(large, cluster=None, **options), independent, rtol=1e-9)
    result = function(large, **options)
    values = [
        name
        for name in ("share", "value_s", "delivered", "n", "n_open", "window_at", "n_missed", "cost", "chosen")
        if name in result
    ]
    assert_frame_equal(result[values], expected[values], rtol=1e-9)
    if "design_effect" in result:
        assert np.abs(np.log(result["design_effect"] / expected["design_effect"])).mean() < 0.05
    if "cost_low" in result:
        widths = [(frame["cost_high"] - frame["cost_low"]).dropna() for frame in (result, expected)]
        assert np.abs(np.log(widths[0] / widths[1])).mean() < 0.05


TEXTS = {"last_state": "str", "code": "str"}  # their categories are in another order
EXAMPLES = max(int(os.environ.get("VIBERKIT_EXAMPLES", "0")) // 2, 5)  # each is compared by ten functions
ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]
STATES = [
    "accepted",
    "routed",
    "dispatched",
    "channel_failed",
    "delivered",
    "seen",
    "failed",
    "expired",
    "odd",
    "b",
    "B",
]


@st.composite
def logs(draw: st.DrawFn) -> pd.DataFrame:
    """Events around a change to or from daylight saving time: ties, duplicates, disorder, unknown states."""
    change = pd.Timestamp(draw(st.sampled_from(["2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-04-04T15:00Z"])))
    offsets = st.integers(-7_200_000_000, 7_200_000_000) | st.sampled_from([0, 1_000, 1_500, 999, 3_600_000_000])
    codes = st.sampled_from([None, "", "TIMEOUT", "b", "ä"])
    event = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(STATES), offsets, st.booleans(), codes)
    rows = [*draw(st.lists(event, min_size=3, max_size=40)), ("a", "accepted", 0, True, None)]
    rows += draw(st.lists(st.sampled_from(rows), max_size=5))
    frame = pd.DataFrame(rows, columns=["message_id", "state", "offset", "is_observed", "code"])
    at = (change + pd.to_timedelta(frame.pop("offset"), unit="us")).astype("datetime64[us, UTC]")
    observed = (at + pd.Timedelta("97min")).where(frame.pop("is_observed"))
    country = frame["message_id"].map({"a": "AT", "b": "DE", "c": "AT"}).astype("str")
    return vk.read_events(frame.assign(happened_at=at, observed_until=observed)).assign(country=country)


def compare_generated(events: pd.DataFrame, tz: str, open_log: Callable[[pd.DataFrame], vk.EventLog]) -> None:
    journeys, log = round_journeys(vk.journeys(events)), open_log(events)
    options: dict[str, Any] = {"by": ["country", "hour"], "tz": tz}
    for function, more in (
        (vk.delivery_curve, {"end": "seen"}),
        (vk.over_time, {"every": "1d"}),
        (vk.over_time, {"every": "30min", "end": "dispatched"}),
        (vk.slo, {"every": "2h", "end": "failed"}),
        (vk.profile, {"by": "country"}),
        (vk.fallback, {"viber_price": 1, "sms_price": 2}),
    ):
        expected = function(journeys, **options | more)
        result = function(log, **options | more)
        if function is vk.slo:  # how long a window still lasts is rounded in the frame only
            chances = result.pop("budget_chance"), expected.pop("budget_chance")
            np.testing.assert_allclose(*chances, rtol=1e-6)
        assert_frame_equal(result, expected, rtol=1e-9)
    exact = sort_journeys(vk.journeys(events), events)
    assert_frame_equal(vk.journeys(log).astype(TEXTS), exact.astype(TEXTS), check_categorical=False)
    assert_frame_equal(vk.advise(log), vk.advise(exact))
    ordered = events.sort_values(["message_id", "happened_at", "state"], ignore_index=True)
    assert_frame_equal(vk.quality(log), vk.quality(ordered), check_categorical=False)
    tables = []  # unrecognised states are in another order
    for table in (expected_latency(events, ["country"]), vk.latency(log, by="country")):
        states = table.astype({"from_state": "str", "to_state": "str"}).drop(columns="slowest_share")
        tables.append(states.sort_values(["country", "from_state", "to_state", "quantile"], ignore_index=True))
    assert_frame_equal(*tables, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.DroppedMessagesWarning")
@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
@pytest.mark.filterwarnings("ignore::viberkit.frames.reader.UnknownStatesWarning")
@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(events=logs(), tz=st.sampled_from(ZONES))
def test_any_log_gives_the_frames_of_its_journeys(events: pd.DataFrame, tz: str) -> None:
    compare_generated(events, tz, lambda frame: vk.EventLog(duckdb.connect().from_arrow(lake_table(frame))))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.DroppedMessagesWarning")
@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
@pytest.mark.filterwarnings("ignore::viberkit.frames.reader.UnknownStatesWarning")
@settings(deadline=None, max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(events=logs(), tz=st.sampled_from(ZONES))
def test_any_log_gives_the_same_frames_on_each_engine(
    engines: Engines, engine: str, events: pd.DataFrame, tz: str
) -> None:
    compare_generated(events, tz, lambda frame: vk.EventLog(engines.source(engine, frame)))


def test_findings_of_the_parts_of_a_log_are_added_up(
    campaign: pd.DataFrame, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign, number = campaign[:4_000], np.arange(4_000)
    moved = pd.to_timedelta(np.where(number % 50 == 0, -number, 0), unit="s")
    faulty = campaign.assign(
        happened_at=campaign["happened_at"] + moved,
        received_at=campaign["happened_at"] + pd.to_timedelta(number % 7 - 2, unit="s"),
        source=np.where(number % 3 > 0, "callback", "history"),
        state=campaign["state"].astype("str").where(number % 90 > 0, "odd"),
        inbound=number % 100 == 0,
        naive=number % 110 == 0,
    )
    source = engines.source("files", faulty)
    ordered = faulty.sort_values(["message_id", "happened_at", "state"], ignore_index=True)
    whole, log = vk.quality(vk.EventLog(source)), vk.quality(ordered)
    assert_frame_equal(whole, log, check_categorical=False)
    monkeypatch.setattr(files, "_ROWS", 1)
    parts = vk.quality(vk.EventLog(source))
    of_whole = ["silence", "ids_alike", "clock_resolution", "clock_offset"]
    is_added = ~parts["check"].isin(of_whole)
    assert parts["effect"][~is_added].str.startswith("Not checked: the log is read in parts").all()
    added, expected = parts[is_added], whole[~whole["check"].isin(of_whole)]
    assert (added["count"] > 0).sum() >= 12
    expected = expected.assign(value_s=expected["value_s"].mask(expected["check"].isin(["clock_skew", "polled"])))
    assert_frame_equal(added.reset_index(drop=True), expected.reset_index(drop=True), check_categorical=False)


def test_a_log_without_events_gives_the_frames_of_no_events(campaign: pd.DataFrame, engines: Engines) -> None:
    log, none = vk.EventLog(engines.source("files", campaign)).where(country="nowhere"), campaign.iloc[:0]
    prices = {"viber_price": 1, "sms_price": 2}
    functions = (vk.time_to, vk.delivery_curve, vk.over_time, vk.slo, vk.changes, vk.burn_rate, vk.advise)
    calls = [(vk.latency, {}), (vk.quality, {}), (vk.fallback, prices), (vk.cost, {"prices": 1})]
    for function, options in [*((function, {}) for function in functions), *calls]:
        expected = function(none, **options)
        assert_frame_equal(function(log, **options), expected, check_categorical=False)
    states = [name for name in vk.journeys(none) if name.endswith("_at")]
    assert_frame_equal(vk.journeys(log)[states], vk.journeys(none)[states])


@pytest.fixture
def lake(campaign: pd.DataFrame, tmp_path: Path) -> Path:
    """A file in a folder with characters of patterns and quotes."""
    folder = tmp_path / "the [1] lake's" / "messages"
    folder.mkdir(parents=True)
    pq.write_table(lake_table(campaign), folder / "events.parquet")
    return folder


def test_folders_of_files_and_temporary_ones_have_any_name(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(lake))
    assert_frame_equal(vk.time_to(vk.EventLog(lake)), vk.time_to(vk.EventLog(lake / "events.parquet")))


def test_threads_share_a_log_of_files(lake: Path) -> None:
    log = vk.EventLog(lake)
    calls = [{"by": by, "end": end} for by in ("country", "campaign", "rate_type") for end in ("delivered", "seen")]
    calls += [{"by": "is_test", "tz": "Europe/Berlin", "cluster": None}, {"by": ["country", "is_test"]}]

    def quantiles(options: dict[str, Any]) -> pd.DataFrame:
        return vk.time_to(log, quantiles=0.5, **options)

    expected = [quantiles(options) for options in calls]
    with ThreadPoolExecutor(4) as pool:
        for result, values in zip(pool.map(quantiles, calls * 3), expected * 3, strict=True):
            assert_frame_equal(result, values)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_removes_no_files_of_the_log(lake: Path) -> None:
    log = vk.EventLog(lake)
    expected = vk.time_to(log)
    if (pid := os.fork()) == 0:
        del log
        os._exit(0)
    os.waitpid(pid, 0)
    assert_frame_equal(vk.time_to(log), expected)


def test_files_that_change_after_the_log_was_opened_are_an_error(lake: Path, campaign: pd.DataFrame) -> None:
    log, file = vk.EventLog(lake), lake / "events.parquet"
    vk.time_to(log)
    pq.write_table(lake_table(campaign[:500]), file)
    for end in ("delivered", "seen"):
        with pytest.raises(ValueError, match="changed after it was opened; open it again"):
            vk.time_to(log, end=end)


def test_an_interrupted_query_runs_again(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, queries = vk.EventLog(lake), files.Files.queries

    def interrupted(engine: files.Files, texts: Any) -> Any:
        for text in texts:
            yield from queries(engine, [text])
            if text.startswith("copy"):
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.Files, "queries", interrupted)
        with pytest.raises(KeyboardInterrupt):
            vk.time_to(log)
    assert_frame_equal(vk.time_to(log), vk.time_to(vk.EventLog(lake)))


def test_what_is_not_supported_is_an_error(campaign: pd.DataFrame, engines: Engines) -> None:
    log = vk.EventLog(engines.source("files", campaign))
    with pytest.raises(ValueError, match="by: 'state' is a column of events"):
        vk.time_to(log, by="state")
    with pytest.raises(vk.errors.MissingColumn, match="no column 'contry'"):
        vk.latency(log, by="contry")
    with pytest.raises(vk.errors.MissingColumn, match="no column 'contry'"):
        vk.burn_rate(log, by="contry")
    with pytest.raises(FileNotFoundError, match="no Parquet file matches"):
        vk.EventLog("nowhere/*.parquet")
    with pytest.raises(TypeError, match="DataFrame is none of"):
        vk.EventLog(campaign)
    with pytest.raises(vk.errors.MissingColumn, match="happened_us"):
        vk.EventLog(duckdb.sql("select 'a' as message_id, 'accepted' as state"))
    with pytest.raises(ValueError, match="by: 'time' is also a column of the result; rename it first"):
        vk.time_to(vk.EventLog(engines.source("files", campaign.assign(time="day"))), by="time")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("happened_us", "now()::timestamp", r"happened_us is timestamp\[us\], and not int64"),
        ("happened_us", "0::ubigint", "happened_us is uint64, and not int64"),
        ("observed_until_us", "'2026-01-01'", "observed_until_us is string, and not int64"),
        ("state", "5", "state is int32, and no text"),
        ("state", "'accepted'::blob", "state is binary, and no text"),
    ],
)
def test_columns_of_other_types_are_errors(column: str, value: str, message: str) -> None:
    columns = {"message_id": "'a'", "state": "'accepted'", "happened_us": "0::bigint", column: value}
    row = ", ".join(f"{text} as {name}" for name, text in columns.items())
    with pytest.raises(ValueError, match=message):
        vk.EventLog(duckdb.sql(f"select {row}"))


@pytest.mark.parametrize("later", [{"channel": "sms"}, {"state": "CallStatus::ringing"}])
def test_a_log_ends_with_the_last_event_of_a_message_on_viber(later: dict[str, str]) -> None:
    rows = [("a", "accepted", 0), ("b", "accepted", 5_000_123), ("c", "accepted", 9_000_456)]
    frame = pd.DataFrame(rows, columns=["message_id", "state", "happened_us"]).assign(channel="viber")
    frame.loc[2, [*later]] = [*later.values()]
    log = vk.EventLog(duckdb.from_df(frame))
    ends = vk.journeys(log)["observed_until"]
    assert ends.tolist() == vk.journeys(log.to_frame())["observed_until"].tolist()
    assert ends.astype("int64").tolist() == [5_000_123, 5_000_123]


def test_codes_are_those_of_a_log_with_any_columns(campaign: pd.DataFrame, engines: Engines) -> None:
    prices = {"viber_price": 1, "sms_price": 2}
    log = vk.EventLog(engines.source("files", campaign.assign(place="Vienna", last_code="x", code_of="y")))
    result = vk.fallback(log, **prices)
    assert_frame_equal(result, vk.fallback(vk.EventLog(engines.source("files", campaign)), **prices))


@pytest.mark.filterwarnings("ignore::viberkit.analysis.durations.IntervalTimesWarning")
def test_a_log_with_many_states_gives_the_frames_of_its_events() -> None:
    rng, order = np.random.default_rng(1), np.arange(800)
    names = np.where(order % 4 == 0, "accepted", np.char.add("odd ", rng.integers(0, 50, 800).astype(str)))
    at = 1_767_225_600_000_000 + order // 4 * 1_000_003 + rng.integers(0, 40_000_000, 800)
    frame = pd.DataFrame({"message_id": (order // 4).astype(str), "state": names, "happened_us": at})
    log = vk.EventLog(duckdb.from_df(frame))
    tables = []
    for table in (expected_latency(log.to_frame(), []), vk.latency(log)):
        states = table.astype({"from_state": "str", "to_state": "str"}).drop(columns="slowest_share")
        tables.append(states.sort_values(["from_state", "to_state", "quantile"], ignore_index=True))
    assert len(tables[0]) > 1000
    assert_frame_equal(*tables, rtol=1e-9)
    texts = duckdb.sql("select 'a' as message_id, 'state ' || range as state, range as happened_us from range(4_001)")
    with pytest.raises(ValueError, match="state: has 4,001 different values"):
        vk.time_to(vk.EventLog(texts))


def test_times_that_a_frame_takes_as_intervals_are_reported() -> None:
    rows = [
        (f"m{i}", state, i * 97_000_123 + more) for i in range(20) for state, more in (("accepted", 0), ("seen", 1))
    ]
    frame = pd.DataFrame(rows, columns=["message_id", "state", "happened_us"])
    frame.loc[frame["state"] == "seen", "happened_us"] //= 60_000_000
    frame.loc[frame["state"] == "seen", "happened_us"] *= 60_000_000
    with pytest.warns(vk.IntervalTimesWarning, match="times of 'seen' are from polls or from a coarse clock"):
        vk.time_to(vk.EventLog(duckdb.from_df(frame)), end="seen")
