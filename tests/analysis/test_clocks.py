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
from viberkit.frames.clocks import resolution

LOGS = int(os.environ.get("VIBERKIT_LOGS", "6"))  # per kind of fault
SECOND, MINUTE = 1_000_000, 60_000_000
START = pd.Timestamp("2024-07-01T08:00Z").value // 1_000
STATES = ("accepted", "dispatched", "delivered", "seen")
HALF_HOURS = 1_800 * SECOND


def true_times(rng: np.random.Generator, messages: int) -> dict[str, np.ndarray]:
    """When each message entered each state, in microseconds."""
    accepted = START + np.sort(rng.integers(0, 6 * 3_600 * SECOND, messages))
    dispatched = accepted + (rng.lognormal(-2, 0.5, messages) * SECOND).astype(np.int64)
    delivered = dispatched + (rng.lognormal(0.3, 0.6, messages) * SECOND).astype(np.int64)
    seen = delivered + (rng.lognormal(4, 1.2, messages) * SECOND).astype(np.int64)
    return dict(zip(STATES, (accepted, dispatched, delivered, seen), strict=True))


def log(
    rng: np.random.Generator, messages: int = 200, sources: tuple[str, ...] = ("history", "callback")
) -> pd.DataFrame:
    """Events of every source, with most states of most messages; times are integers in ``at`` and ``received``."""
    true, parts = true_times(rng, messages), []
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
