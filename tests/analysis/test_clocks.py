"""Clocks that resolve only seconds or minutes, and clocks that are wrong: ordering, bounds and what quality reports."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import viberkit as vk
from tests.support import dependent_logs
from viberkit.frames.clocks import resolution

LOGS = int(os.environ.get("VIBERKIT_LOGS", "6"))  # per kind of fault
SECOND, MINUTE = 1_000_000, 60_000_000
START = pd.Timestamp("2024-07-01T08:00Z").value // 1_000
STATES = ("accepted", "dispatched", "delivered", "seen")
HALF_HOURS = 1_800 * SECOND


def true_times(rng: np.random.Generator, messages: int, hours: int = 6) -> dict[str, np.ndarray]:
    """When each message entered each state, in microseconds."""
    accepted = START + np.sort(rng.integers(0, hours * 3_600 * SECOND, messages))
    dispatched = accepted + (rng.lognormal(-2, 0.5, messages) * SECOND).astype(np.int64)
    delivered = dispatched + (rng.lognormal(0.3, 0.6, messages) * SECOND).astype(np.int64)
    seen = delivered + (rng.lognormal(4, 1.2, messages) * SECOND).astype(np.int64)
    return dict(zip(STATES, (accepted, dispatched, delivered, seen), strict=True))


def log(
    rng: np.random.Generator, messages: int = 200, sources: tuple[str, ...] = ("history", "callback"), hours: int = 6
) -> pd.DataFrame:
    """Events of every source, with most states of most messages; times are integers in ``at`` and ``received``."""
    true, parts = true_times(rng, messages, hours), []
    for source in sources:
        for state, at in true.items():
            kept = np.flatnonzero(rng.random(messages) < (0.6 if state == "seen" else 0.97))
            delay = (rng.lognormal(-1.5, 0.5, len(kept)) * SECOND).astype(np.int64)
            received = at[kept] + delay if source == "callback" else np.full(len(kept), np.nan)
            ids = [f"{index:06x}-message" for index in kept]
            parts.append(
                pd.DataFrame(
                    {"message_id": ids, "state": state, "at": at[kept], "source": source, "received": received}
                )
            )
    return pd.concat(parts, ignore_index=True)


def events_of(table: pd.DataFrame) -> pd.DataFrame:
    times = {
        name: pd.to_datetime(table[of], unit="us", utc=True)
        for name, of in (("happened_at", "at"), ("received_at", "received"))
    }
    return table[["message_id", "state", "source"]].assign(**times)


def findings(events: pd.DataFrame, check: str) -> list[dict[str, Any]]:
    result = vk.quality(events)
    rows = result[(result["check"] == check) & (result["count"] > 0)]
    return rows.astype({"source": object, "state": object}).to_dict("records")


def coarse_receipts(
    messages: int = 50, step: int = MINUTE, exact_start: bool = True
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Accepted by an exact clock (or also a coarse one), and receipts by a clock that writes full minutes."""
    true = true_times(np.random.default_rng(1), messages)
    parts = []
    for state in ("accepted", "delivered", "seen"):
        at = true[state] if state == "accepted" and exact_start else true[state] // step * step
        ids = [f"{index:06x}-message" for index in range(messages)]
        source = "send" if state == "accepted" else "callback"
        parts.append(pd.DataFrame({"message_id": ids, "state": state, "at": at, "source": source, "received": np.nan}))
    return events_of(pd.concat(parts, ignore_index=True)), true


# --- resolution ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact_start", [True, False])
@pytest.mark.parametrize("columns", [["source"], []])
def test_times_within_the_resolution_are_in_the_order_of_the_life_cycle(exact_start: bool, columns: list[str]) -> None:
    events, _ = coarse_receipts(exact_start=exact_start)
    events = events[["message_id", "state", "happened_at", *columns]]
    before = events.copy(deep=True)
    journeys, transitions, quality = vk.journeys(events), vk.transitions(events), vk.quality(events).set_index("check")
    assert (journeys["last_state"] == "seen").all()
    assert not transitions["disordered"].any()
    assert (transitions["latency_s"] >= 0).all()
    assert quality.loc[["disorder", "negative_latency"], "count"].tolist() == [0, 0]
    assert (journeys["accepted_at"] <= journeys["delivered_at"]).all()
    pd.testing.assert_frame_equal(events, before)


@pytest.mark.parametrize(("step", "name"), [(SECOND, "1 s"), (MINUTE, "1 min"), (300 * SECOND, "5 min")])
def test_journeys_have_the_interval_in_which_a_coarse_clock_places_a_state(step: int, name: str) -> None:
    events, true = coarse_receipts(200, step)
    journeys = vk.journeys(events.sample(frac=1, random_state=0)).sort_values("message_id")
    for state in ("delivered", "seen"):
        low, high = (journeys[f"{state}_{bound}"].astype("int64").to_numpy() for bound in ("at", "not_after"))
        assert ((low <= true[state]) & (true[state] < high)).all()
        assert (high - low <= step).all()
    assert "accepted_not_after" not in journeys
    assert (journeys["accepted_at"].astype("int64").to_numpy() == true["accepted"]).all()
    rows = {row["source"]: row for row in findings(events, "clock_resolution")}
    assert [*rows] == ["callback"]
    assert (rows["callback"]["value_s"], rows["callback"]["count"]) == (step / SECOND, 400)
    assert vk.read_events(events).attrs["resolution_s"] == {"delivered": step / SECOND, "seen": step / SECOND}


def test_reports_of_one_state_by_an_exact_and_a_coarse_clock_are_one_event() -> None:
    events, true = coarse_receipts()
    exact = events[events["state"] == "delivered"].assign(source="history")
    exact["happened_at"] = pd.to_datetime(true["delivered"], unit="us", utc=True)
    both = pd.concat([events, exact])
    assert len(vk.transitions(both)) == len(vk.transitions(events))
    journeys = vk.journeys(both)
    assert (journeys["delivered_at"].astype("int64").to_numpy() == true["delivered"]).all()
    assert "delivered_not_after" not in journeys
    assert [row["count"] for row in findings(both, "two_instants")] == []


def test_exact_logs_are_not_touched() -> None:
    """Neither times of an exact clock, nor messages that were sent at full minutes by one."""
    rng = np.random.default_rng(3)
    table = log(rng, sources=("history",))
    minutes = START + np.arange(200) * MINUTE
    regular = pd.concat(
        pd.DataFrame(
            {
                "message_id": [f"{n:06x}-m" for n in range(200)],
                "state": state,
                "at": minutes + after,
                "source": "history",
                "received": np.nan,
            }
        )
        for state, after in (("accepted", 0), ("delivered", (rng.lognormal(0.3, 0.6, 200) * SECOND).astype(np.int64)))
    )
    for events in map(events_of, (table, regular)):
        journeys = vk.journeys(events)
        assert not [name for name in journeys.columns if "_not_" in name]
        assert findings(events, "clock_resolution") == []
        logged = events.pivot(index="message_id", columns="state", values="happened_at").add_suffix("_at")
        times = journeys.set_index("message_id")[logged.columns].sort_index()
        pd.testing.assert_frame_equal(times, logged, check_names=False, check_column_type=False)


@pytest.mark.parametrize("gap_s", [1, 2.7, 7, 30, 60, 3_600])
def test_starts_by_a_schedule_are_exact(gap_s: float) -> None:
    latency = (np.random.default_rng(4).lognormal(1, 1.2, 300) * SECOND).astype(np.int64)
    starts = START + (np.arange(300) * gap_s * SECOND).astype(np.int64)
    ids = [f"{number:04}-m" for number in range(300)]
    events = pd.concat(
        pd.DataFrame({"message_id": ids, "state": state, "happened_at": pd.to_datetime(at, unit="us", utc=True)})
        for state, at in (("accepted", starts), ("delivered", starts + latency))
    )
    journeys = vk.journeys(events)
    assert not [name for name in journeys.columns if "_not_" in name]
    assert (journeys["delivered_at"] - journeys["accepted_at"]).astype("int64").tolist() == latency.tolist()


@pytest.mark.parametrize(("step", "exact_start"), [(MINUTE, True), (MINUTE, False), (SECOND, True)])
def test_the_time_from_accepted_has_both_bounds(step: int, exact_start: bool) -> None:
    events, true = coarse_receipts(300, step, exact_start)
    journeys = vk.journeys(events)
    begin, low, high = (
        journeys[name].astype("int64") for name in ("accepted_at", "delivered_at", "delivered_not_after")
    )
    last_begin = begin if exact_start else journeys["accepted_not_after"].astype("int64")
    passed = true["delivered"] - true["accepted"]
    assert ((low - last_begin <= passed) & (passed <= high - begin)).all()
    assert (high - low <= step).all()
    with pytest.warns(vk.IntervalTimesWarning) if step > SECOND else contextlib.nullcontext():
        result = vk.time_to(journeys, quantiles=[0.5]).iloc[0]
    assert result["low_s"] <= np.median(passed) / SECOND <= result["high_s"]


def test_full_seconds_of_all_clocks_have_no_bounds() -> None:
    events, true = coarse_receipts(300, SECOND, exact_start=False)
    journeys = vk.journeys(events)
    assert not [name for name in journeys.columns if "_not_" in name]
    assert (journeys["delivered_at"].astype("int64").to_numpy() == true["delivered"] // SECOND * SECOND).all()


def test_a_failure_is_not_moved_behind_a_delivery() -> None:
    events, _ = coarse_receipts()
    failed = events[events["state"] == "delivered"].assign(state="failed")
    failed["happened_at"] -= pd.Timedelta(minutes=2)
    both = pd.concat([events, failed])
    assert vk.quality(both).set_index("check").loc["delivered_after_failed", "count"] == 50
    assert (vk.journeys(both)["last_state"] == "seen").all()


@given(st.integers(1, 90), st.sampled_from([1, 5, 10, 100, 250, 1_000, 60_000]), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_the_resolution_of_random_times(count: int, step_ms: int, seed: int) -> None:
    times = START + np.random.default_rng(seed).integers(0, 10**11, count)
    step = step_ms * 1_000
    found = resolution(times // step * step)
    assert found == 0 if count < 10 else found % step == 0
    assert count < 30 or found == step


# --- wrong clocks --------------------------------------------------------------------------------------------


def size(rng: np.random.Generator) -> int:
    """An offset from 1 s to 14 h in microseconds, ahead or behind."""
    return int(np.exp(rng.uniform(0, np.log(14 * 3_600))) * SECOND) * int(rng.choice([-1, 1]))


def plant(kind: str, table: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A log with one fault, and what must be found: check, source, state, and value in seconds."""
    source, at, offset = str(rng.choice(["history", "callback"])), table["at"].to_numpy().copy(), size(rng)
    rows, state = (table["source"] == source).to_numpy(), None
    if kind in ("state", "half_hours"):
        state = str(rng.choice(["accepted", "dispatched", "delivered"]))
    if kind == "half_hours":  # in a log of one source
        table, source = table[table["source"] == "history"], "history"
        at, offset = table["at"].to_numpy().copy(), int(rng.integers(1, 28)) * HALF_HOURS * int(rng.choice([-1, 1]))
        rows = np.ones(len(table), dtype=bool)
    if state:
        rows = rows & (table["state"] == state).to_numpy()
    if kind == "step":
        rows = rows & (at > np.median(at))
    if kind == "drift":
        at[rows] += (offset * ((at[rows] - START) / (at.max() - START))).astype(np.int64)
    elif kind == "resolution":
        offset = int(np.exp(rng.uniform(np.log(1e3), np.log(MINUTE)))) // 1_000 * 1_000
        at[rows] = at[rows] // offset * offset
    else:
        at[rows] += offset
    check = "clock_resolution" if kind == "resolution" else "clock_offset"
    return table.assign(at=at), {"check": check, "source": source, "state": state, "value_s": offset / SECOND}


def is_found(events: pd.DataFrame, planted: dict[str, Any]) -> bool:
    result = vk.quality(events)
    rows = result[(result["check"] == planted["check"]) & (result["source"].astype("str") == planted["source"])]
    others = result[(result["check"] == "clock_offset") & (result["count"] > 0)]
    tolerance = max(abs(planted["value_s"]) * 0.15, 1.0) if planted["check"] == "clock_offset" else 1e-6
    return bool(
        len(rows) == 1
        and (planted["state"] is None or rows["state"].iloc[0] == planted["state"])
        and abs(rows["value_s"].iloc[0] - planted["value_s"]) <= tolerance
        and len(others) == (planted["check"] == "clock_offset")
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["source", "state", "half_hours", "step", "drift", "resolution"])
def test_planted_faults_of_clocks_are_found_and_named(kind: str) -> None:
    rng = np.random.default_rng(sum(map(ord, kind)))
    found = []
    for _ in range(LOGS):
        table, planted = plant(kind, log(rng), rng)
        found.append(is_found(events_of(table), planted))
    assert sum(found) >= 0.95 * LOGS - 1, (kind, sum(found), LOGS)


def test_correct_clocks_are_not_reported() -> None:
    rng = np.random.default_rng(5)
    for _ in range(LOGS):
        for sources in (("history", "callback"), ("history",), ("callback",)):
            assert findings(events_of(log(rng, sources=sources)), "clock_offset") == []


@pytest.mark.parametrize("wrong", ["history", "callback"])
@pytest.mark.parametrize("offset_s", [-7_200, -60, 60, 7_200])
def test_a_history_requested_a_day_later_confirms_no_clock(wrong: str, offset_s: int) -> None:
    table = log(np.random.default_rng(9))
    received = table["at"] + 400_000
    received[table["source"] == "history"] = table["at"].max() + 86_400 * SECOND
    table.loc[table["source"] == wrong, "at"] += offset_s * SECOND
    (row,) = findings(events_of(table.assign(received=received)), "clock_offset")
    assert (row["source"], row["value_s"]) == (wrong, pytest.approx(offset_s))


@pytest.mark.parametrize("sources", [("callback",), ("history", "callback"), ("callback", "history")])
def test_a_delay_that_the_time_of_receipt_confirms_is_no_offset(sources: tuple[str, ...]) -> None:
    rng = np.random.default_rng(10)
    accepted = true_times(rng, 200)["accepted"]
    delivered = accepted + MINUTE + (rng.exponential(5, 200) * SECOND).astype(np.int64)
    ids = [f"{index:06x}-message" for index in range(200)]
    parts = [
        pd.DataFrame({"message_id": ids, "state": state, "at": at, "source": source, "received": at + 400_000})
        for source in sources
        for state, at in (("accepted", accepted), ("delivered", delivered))
    ]
    table = pd.concat(parts, ignore_index=True)
    table.loc[table["source"] == "history", "received"] = np.nan
    assert findings(events_of(table), "clock_offset") == []


def test_the_effect_names_the_offset() -> None:
    table = log(np.random.default_rng(6))
    table.loc[table["source"] == "callback", "at"] += 7_200 * SECOND
    (row,) = findings(events_of(table), "clock_offset")
    assert row["effect"] == "The clock of callback is 2 h ahead of history; times between them are wrong by that."
    later = table["source"].eq("callback") & (table["at"] > table["at"].median())
    (row,) = findings(
        events_of(log(np.random.default_rng(6)).assign(at=lambda t: t["at"] + later * 600 * SECOND)), "clock_offset"
    )
    assert "The clock of callback is ahead of history" in row["effect"]
    assert "in a step near 2024-07-01T" in row["effect"]


def test_two_hours_in_all_messages_of_a_log_without_sources() -> None:
    for state, value in (("delivered", 7_200.0), ("dispatched", -5_400.0)):
        table = log(np.random.default_rng(7), sources=("history",))
        table.loc[table["state"] == state, "at"] += int(value) * SECOND
        events = events_of(table)[["message_id", "state", "happened_at"]]
        (row,) = findings(events, "clock_offset")
        assert (row["state"], row["value_s"]) == (state, value)
        assert pd.isna(row["source"])


def test_one_clock_cannot_be_checked() -> None:
    result = vk.quality(events_of(log(np.random.default_rng(8), sources=("history",)).query("state == 'seen'")))
    row = result[result["check"] == "clock_offset"].iloc[0]
    assert (row["count"], row["of"], row["effect"][:12]) == (0, 0, "Not checked:")


# --- clocks and correct_clocks -------------------------------------------------------------------------------

PLANTED = ["offset", "offset_of_state", "step", "step_of_state", "drift", "drift_of_state", "resolution"]


def plant_course(kind: str, rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """A log of several days with one wrong clock, its true times, and the row of that clock that must be found."""
    table, source = log(rng, 400, hours=int(rng.integers(48, 336))), str(rng.choice(["history", "callback"]))
    true, expected = table["at"].to_numpy(), {"source": source, "offset_s": 0.0, "step_s": 0.0, "drift_s_per_day": 0.0}
    rows = (table["source"] == source).to_numpy()
    if kind.endswith("_of_state"):
        expected["state"] = str(rng.choice(["accepted", "dispatched", "delivered"]))
        rows = rows & (table["state"] == expected["state"]).to_numpy()
    offset, at = size(rng), true.copy()
    if kind == "resolution":
        step = int(rng.choice([1_000, 10_000, 100_000, SECOND, 5 * SECOND, MINUTE]))
        at[rows] = at[rows] // step * step
        expected["resolution_s"] = step / SECOND
    elif kind.startswith("drift"):
        a_day = np.exp(rng.uniform(0, np.log(60))) * rng.choice([-1, 1])
        at[rows] += (a_day * (at[rows] - START) / 86_400).astype(np.int64)
        expected["drift_s_per_day"] = a_day
    else:
        rows = rows & (at > (np.quantile(at, rng.uniform(0.2, 0.8)) if kind.startswith("step") else 0))
        at[rows] += offset
        expected["step_s" if kind.startswith("step") else "offset_s"] = offset / SECOND
    return events_of(table.assign(at=at)), true, expected


def wrong_clocks(found: pd.DataFrame) -> pd.DataFrame:
    return found[found[["offset_s", "step_s", "drift_s_per_day"]].abs().max(axis=1) > 0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PLANTED)
def test_clocks_have_the_planted_offset_step_drift_or_resolution(kind: str) -> None:
    rng, found = np.random.default_rng(sum(map(ord, kind))), []
    for _ in range(LOGS):
        events, true, expected = plant_course(kind, rng)
        result = vk.clocks(events)
        wrong = wrong_clocks(result)
        if kind == "resolution":
            of_source = result[result["source"] == expected["source"]]
            found.append(len(wrong) == 0 and (of_source["resolution_s"] == expected["resolution_s"]).all())
            continue
        is_found = len(wrong) == 1 and wrong["source"].iloc[0] == expected["source"]
        is_found = is_found and wrong["state"].astype(object).fillna("").iloc[0] == expected.get("state", "")
        for name, least in (("offset_s", 1.0), ("step_s", 1.0), ("drift_s_per_day", 0.3)):
            tolerance = max(abs(expected[name]) * 0.15, least)
            is_found = is_found and abs(wrong[name].iloc[0] - expected[name]) <= tolerance
        if is_found and kind.startswith("offset"):
            is_found = wrong["low_s"].iloc[0] <= expected["offset_s"] <= wrong["high_s"].iloc[0]
        if is_found:
            left = np.abs(vk.correct_clocks(events)["happened_at"].astype("int64").to_numpy() - true) / SECOND
            is_found = np.quantile(left, 0.95) < 0.5
        found.append(is_found)
    assert sum(found) >= 0.95 * LOGS - 1, (kind, sum(found), LOGS)


def by_other_laws(rng: np.random.Generator) -> list[pd.DataFrame]:
    """Correct logs of ``dependent_logs``: outages, slow hours, nights and halves, bursts, queues."""
    days, n = 6.0, 600
    start = dependent_logs.evenly(rng, n, days)
    campaign, factor, _ = dependent_logs.in_campaigns(rng, n, int(days))
    bursts = dependent_logs.in_bursts(rng, n, days)
    took = dependent_logs.weibull(rng, n, scale_s=float(np.exp(rng.uniform(-0.7, 3.4))))
    laws = [
        (start, took + dependent_logs.outages(rng, start, days)),
        (start, took * dependent_logs.by_stretch(rng, start, 3_600, 0.6)),
        (start, took * np.where(start % 86_400 < 6 * 3_600, 4, 1)),
        (start, took * np.where(start > np.median(start), 8, 1)),
        (start, took * dependent_logs.autoregressive(rng, n)),
        (campaign, took * factor),
        (bursts, dependent_logs.queue(bursts, rng.exponential(0.15, n))),
    ]
    logs = []
    for start, seconds in laws:
        parts = [
            pd.DataFrame({"message_id": np.arange(n).astype(str), "state": state, "source": source, "at": at * SECOND})
            for state, source, at in (("accepted", "send", start), ("delivered", "callback", start + seconds))
        ]
        table = pd.concat(parts).astype({"at": "int64"})
        received = table["at"] + (rng.lognormal(-1.5, 0.5, len(table)) * SECOND).astype(np.int64)
        logs.append(events_of(table.assign(received=received.where(table["source"] == "callback"))))
    return logs


@pytest.mark.slow
def test_clocks_finds_nothing_in_correct_logs_of_other_laws() -> None:
    found = [
        wrong_clocks(vk.clocks(events)) for seed in range(LOGS) for events in by_other_laws(np.random.default_rng(seed))
    ]
    assert sum(map(len, found)) <= 0.02 * len(found), [frame["summary"].tolist() for frame in found if len(frame)]


def stepping(step_s: float, messages: int = 3_000) -> tuple[pd.DataFrame, np.ndarray]:
    """Sends by a clock that is set forward in the middle, deliveries by another one, and the true latencies."""
    rng = np.random.default_rng(3)
    start, took = np.sort(rng.random(messages)) * 3 * 86_400, rng.lognormal(np.log(2.5), 1.0, messages)
    sent = start + np.where(start > np.median(start), step_s, 0)
    parts = [
        pd.DataFrame({"message_id": np.arange(messages).astype(str), "state": state, "source": source, "at": at})
        for state, source, at in (("accepted", "send", sent), ("delivered", "callback", start + took))
    ]
    table = pd.concat(parts, ignore_index=True)
    return events_of(table.assign(at=START + (table["at"] * SECOND).astype(np.int64), received=np.nan)), took


@pytest.mark.parametrize("step_s", [20, -20, 3_600])
def test_a_step_in_the_middle_is_named_and_corrected(step_s: float) -> None:
    events, took = stepping(step_s)
    before = events.copy(deep=True)
    (row,) = findings(events, "clock_offset")
    assert "in a step near 2024-07-02T" in row["effect"]
    wrong = wrong_clocks(vk.clocks(events)).iloc[0]
    assert (wrong["source"], wrong["step_s"], wrong["offset_s"]) == ("send", pytest.approx(step_s, abs=0.2), 0)
    corrected = vk.correct_clocks(events)
    assert corrected.attrs["corrected"] == [wrong["summary"]]
    pd.testing.assert_series_equal(corrected["recorded_at"], events["happened_at"], check_names=False)
    journeys = vk.journeys(corrected)
    assert "recorded_at" not in journeys
    assert vk.time_to(journeys, quantiles=0.5)["value_s"][0] == pytest.approx(np.median(took), abs=0.15)
    assert len(wrong_clocks(vk.clocks(corrected))) == 0
    pd.testing.assert_frame_equal(events, before)


def test_only_the_rows_that_are_passed_are_corrected() -> None:
    events, _ = stepping(20)
    result = vk.correct_clocks(events, offsets=vk.clocks(events).query("source == 'callback'"))
    pd.testing.assert_series_equal(result["happened_at"], events["happened_at"])
    assert result.attrs["corrected"] == []
    offsets = vk.clocks(events).assign(offset_s=[5.0, 0.0], step_s=0.0, since_at=events["happened_at"].min())
    polled = events.assign(not_before=events["happened_at"].where(events["message_id"] == "7"))
    moved = (polled["happened_at"] - vk.correct_clocks(polled, offsets=offsets)["happened_at"]).dt.total_seconds()
    assert (moved == np.where((events["source"] == "callback") & (events["message_id"] != "7"), 5, 0)).all()


def test_clocks_has_a_row_for_each_clock_that_differs() -> None:
    table = log(np.random.default_rng(11))
    coarse = table["source"].eq("history") & table["state"].eq("seen")
    result = vk.clocks(events_of(table.assign(at=table["at"].where(~coarse, table["at"] // MINUTE * MINUTE))))
    states = result["state"].astype(object).fillna("").tolist()
    assert sorted(zip(result["source"], states, strict=True)) == [
        ("callback", ""),
        *(("history", state) for state in sorted(STATES)),
    ]
    assert result.set_index("state").loc["seen", "summary"] == "history seen: no offset found; resolves 1 min"
    assert result["n"].sum() == len(table)
    assert (result["offset_s"] == 0).all()
    assert result["low_s"].isna().all()


def test_a_clock_that_cannot_be_compared_has_no_offset() -> None:
    events = events_of(log(np.random.default_rng(8), sources=("history",)).query("state == 'seen'"))
    (row,) = vk.clocks(events).to_dict("records")
    assert (row["summary"], np.isnan(row["offset_s"])) == ("history: not compared", True)
    nothing = vk.clocks(events.iloc[:0])
    assert len(nothing) == 0
    assert nothing["step_at"].dtype == "datetime64[us, UTC]"
    assert len(vk.correct_clocks(events.iloc[:0])) == 0
    without_source = vk.clocks(events[["message_id", "state", "happened_at"]])
    assert without_source["source"].isna().all()
    assert without_source["summary"][0] == "events: not compared"


def test_a_correction_keeps_the_first_recorded_times() -> None:
    rng = np.random.default_rng(3)
    at = pd.Timestamp("2026-03-02T00:00Z") + pd.to_timedelta(np.sort(rng.random(600)) * 5 * 86_400, unit="s")
    ids = [f"m{number}" for number in range(600)]
    delivered = at + pd.to_timedelta(rng.exponential(60, 600) + 5 - 40, unit="s")
    events = vk.read_events(
        pd.DataFrame(
            {
                "message_id": ids * 2,
                "state": ["accepted"] * 600 + ["delivered"] * 600,
                "happened_at": [*at, *delivered],
                "source": ["a"] * 600 + ["b"] * 600,
            }
        )
    )
    assert (vk.clocks(events)["step_s"].fillna(0) == 0).all(), "slow deliveries are no step"
    once = vk.correct_clocks(events)
    twice = vk.correct_clocks(once)
    assert twice["recorded_at"].tolist() == events["happened_at"].tolist()
