"""Quality of an event log: each check on small examples, and properties that hold for any log."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import viberkit as vk
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, QUALITY
from viberkit.models.states import ORDER

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2020, 7, 13, 12, tzinfo=UTC)
CHECKS = (
    "duplicates two_instants disorder row_order negative_latency zero_latency naive delivered_after_failed "
    "failed_after_delivered seen_without_delivered unknown_state no_dispatched no_routed no_accepted "
    "not_observed_again callbacks_missed clock_skew polled silence not_of_sent_messages ids_alike rounded_ids "
    "clock_resolution clock_offset"
).split()


def at(seconds: float | None) -> Any:
    return None if seconds is None else START + timedelta(seconds=seconds)


def log(*rows: tuple[Any, ...], **columns: Any) -> pd.DataFrame:
    """Events from rows of message, state, seconds and, optionally, source and seconds of receipt."""
    names = ("message_id", "state", "happened_at", "source", "received_at")
    events = [dict(zip(names, row, strict=False)) for row in rows]
    for event in events:
        event |= {name: at(event[name]) for name in ("happened_at", "received_at") if name in event}
    return EVENTS.frame(events).assign(**columns)


def row(events: pd.DataFrame, check: str, source: str | None = None, **options: Any) -> dict[str, Any]:
    result = vk.quality(events, **options)
    of_source = result["source"].isna() if source is None else result["source"] == source
    result = result[(result["check"] == check) & of_source]
    assert len(result) == 1
    return result.iloc[0].to_dict()


def finding(events: pd.DataFrame, check: str, source: str | None = None, **options: Any) -> tuple[Any, ...]:
    """Count, of, example and value of one row; missing values are None."""
    result = row(events, check, source, **options)
    return tuple(None if pd.isna(result[name]) else result[name] for name in ("count", "of", "example", "value_s"))


VALID_LOG = [("a", "accepted", 0), ("a", "routed", 1), ("a", "dispatched", 2), ("a", "delivered", 4), ("a", "seen", 9)]


def test_a_log_without_faults_has_a_row_for_every_check() -> None:
    result = vk.quality(log(*VALID_LOG))
    assert result["check"].astype("str").drop_duplicates().tolist() == CHECKS
    assert result["count"].sum() == 0
    assert result["example"].isna().all()
    skews = result[result["check"] == "clock_skew"]
    assert skews["source"].astype("str").tolist() == ["history", "callback", "status", "send"]
    assert result[~result["check"].isin(["clock_skew", "clock_resolution", "clock_offset"])]["source"].isna().all()


def test_every_check_has_an_effect_a_remedy_and_a_description() -> None:
    result = vk.quality(log(*VALID_LOG))
    for text in [*result["effect"], *result["remedy"]]:
        assert text.endswith(".")
        assert "\n" not in text
        assert ".py" not in text
        assert "NAMES" not in text
        assert "edit" not in text
    for check in CHECKS:
        assert f"    - ``{check}``: " in str(vk.quality.__doc__)


def test_an_event_repeated_by_one_source_is_a_duplicate() -> None:
    events = log(
        *VALID_LOG, VALID_LOG[3], VALID_LOG[3], ("a", "delivered", 4, "history"), ("a", "delivered", 4, "callback")
    )
    assert finding(events, "duplicates") == (2, 9, "a", None)
    assert finding(events.drop(columns="source"), "duplicates") == (4, 9, "a", None)


def test_a_state_entered_at_two_instants() -> None:
    events = log(*VALID_LOG, ("a", "seen", 10), ("b", "seen", 1), ("b", "seen", 8), ("b", "seen", 5), ("b", "seen", 8))
    assert finding(events, "two_instants") == (2, 6, "b", 7.0)


def test_states_and_rows_out_of_order() -> None:
    events = log(("a", "delivered", 1), ("a", "dispatched", 2), ("b", "seen", 9), ("b", "delivered", 3))
    assert finding(events, "disorder") == (1, 2, "a", None)
    assert finding(events, "row_order") == (1, 4, "b", None)
    interleaved = log(
        ("b", "seen", 9), ("a", "accepted", 5), ("b", "delivered", 3), ("a", "routed", 4), ("b", "failed", 8)
    )
    assert finding(interleaved, "row_order")[:2] == (2, 5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("accepted", 5), ("delivered", 3)], (1, 1, "a", -2.0)),
        ([("accepted", 5), ("failed", 1)], (1, 1, "a", -4.0)),
        ([("delivered", 5), ("seen", 3), ("dispatched", 4)], (1, 1, "a", -2.0)),
        ([("failed", 5), ("delivered", 3)], (0, 1, None, None)),  # a failure does not precede delivery
        ([("accepted", 3), ("delivered", 3)], (0, 1, None, None)),
        ([("accepted", 3)], (0, 0, None, None)),
    ],
)
def test_negative_latency(rows: list[tuple[str, float]], expected: tuple[Any, ...]) -> None:
    assert finding(log(*(("a", state, after) for state, after in rows)), "negative_latency") == expected


def test_value_is_the_most_negative_time() -> None:
    events = log(("a", "accepted", 5), ("a", "seen", 4), ("b", "routed", 9), ("b", "seen", 1.5), ("c", "seen", 0))
    assert finding(events, "negative_latency") == (2, 2, "b", -7.5)


def test_transitions_that_took_no_time() -> None:
    assert finding(log(("a", "accepted", 0), ("a", "routed", 0), ("a", "seen", 1)), "zero_latency") == (1, 2, "a", None)


def test_times_without_a_time_zone() -> None:
    events = log(*VALID_LOG)
    assert finding(events.assign(naive=[False, True, False, False, True]), "naive") == (2, 5, "a", None)
    minimal = events.drop(columns="naive")
    assert finding(minimal, "naive")[0] == 0
    assert finding(minimal.assign(happened_at=minimal["happened_at"].dt.tz_localize(None)), "naive")[0] == 5
    texts = ["2020-07-13T12:00:00Z", "2020-07-13T12:00:01", "2020-07-13T12:00:02+02:00", "2020-07-13T12:00:03", None]
    assert finding(minimal.assign(happened_at=texts), "naive") == (2, 4, "a", None)


def test_delivered_after_failed() -> None:
    events = log(
        *[("a", "failed", 1), ("a", "delivered", 2), ("b", "expired", 1), ("c", "delivered", 1), ("c", "failed", 2)],
        *[("d", "channel_failed", 1), ("d", "delivered", 2), ("e", "expired", 3), ("e", "seen", 7)],
    )
    assert finding(events, "delivered_after_failed") == (2, 4, "a", None)


def test_failed_after_delivered() -> None:
    rows = [("a", "delivered", 1), ("a", "failed", 2), ("b", "seen", 1), ("b", "expired", 9), ("c", "delivered", 1)]
    rows += [("d", "failed", 1), ("d", "delivered", 2)]
    assert finding(log(*rows), "failed_after_delivered") == (2, 4, "a", None)
    journeys = vk.journeys(log(*rows)).set_index("message_id")
    assert journeys.loc["a", ["outcome", "last_state"]].tolist() == ["delivered", "failed"]


def test_ids_that_are_alike() -> None:
    ids = ["A-1", "a-1", " b ", "b", "{c}", "c", "007", "7", "d", "D2", "e\u00a0"]
    assert finding(log(*((text, "seen", 1) for text in ids)), "ids_alike") == (8, 11, "A-1", None)
    assert finding(log(*((text, "seen", 1) for text in ("007", "8", "x"))), "ids_alike") == (0, 3, None, None)


def test_ids_that_were_decimal_numbers() -> None:
    ids = ["5.463481551745434e+18", "12.0", "1.5", "12", "5e18", "abcdef-e+18", "3.E18"]
    assert finding(log(*((text, "seen", 1) for text in ids)), "rounded_ids") == (3, 7, ids[0], None)


def test_events_that_are_not_of_sent_messages() -> None:
    inbound = "5463481551745434076"
    others = [
        ("call", "CallStatus::ringing", 1),
        ("x", "Coexistence::linked", 1),
        (inbound, "deleted", 5),
        ("sms", "seen", 1),
    ]
    events = log(*VALID_LOG, ("b", "seen", 1), ("a", "CallStatus::ended", 9), *others)
    events["channel"] = pd.Categorical(["viber"] * 10 + ["sms"])
    assert finding(events, "not_of_sent_messages") == (5, 11, "a", None)
    assert vk.journeys(events)["message_id"].tolist() == ["a", "b"]
    assert len(vk.transitions(events)) == 4
    sent = log(*VALID_LOG, ("b", "seen", 1), (inbound, "accepted", 0), (inbound, "delivered", 5))
    assert vk.journeys(sent)["message_id"].tolist() == ["a", "b", inbound]
    numbers = log((inbound, "delivered", 1), ("5463481551745434077", "seen", 1))
    assert len(vk.journeys(numbers)) == 2
    marked = events.assign(inbound=[True] * 5 + [False] * 6)
    assert vk.journeys(marked)["message_id"].tolist() == ["b"]
    assert "inbound" not in vk.journeys(marked)


def test_statuses_of_messages_that_the_log_has_as_inbound() -> None:
    records = [
        {"event": "MoMessage", "messageId": "in-1", "channel": "viber", "timestamp": "2024-05-06T07:08:09Z"},
        {
            "event": "MessageStatus::deleted",
            "messageId": "in-1",
            "channel": "viber",
            "timestamp": "2024-05-06T08:08:09Z",
        },
        {"event": "MessageStatus::seen", "messageId": "out-1", "channel": "viber", "timestamp": "2024-05-06T08:08:09Z"},
    ]
    with pytest.warns(vk.SkippedRowsWarning):
        events = vk.read_events(records)
    assert events["inbound"].tolist() == [True, False]
    assert vk.journeys(events)["message_id"].tolist() == ["out-1"]
    assert finding(events, "not_of_sent_messages") == (1, 2, "in-1", None)


def test_other_channels_alone_are_the_log() -> None:
    events = log(("a", "seen", 1), ("b", "seen", 1), channel=pd.Categorical(["sms", "whatsapp"]))
    assert len(vk.journeys(events)) == 2
    mixed = log(("a", "failed", 1), ("a", "delivered", 2), channel=pd.Categorical(["viber", "sms"]))
    assert vk.journeys(mixed)["outcome"].tolist() == ["delivered"]


def test_missing_states() -> None:
    events = log(
        *VALID_LOG,
        ("b", "accepted", 0),
        ("b", "seen", 1),
        ("c", "dispatched", 0),
        ("c", "delivered", 2),
        ("d", "failed", 1),
    )
    assert finding(events, "seen_without_delivered") == (1, 2, "b", None)
    assert finding(events, "no_dispatched") == (1, 3, "b", None)
    assert finding(events, "no_routed") == (2, 3, "b", None)
    assert finding(events, "no_accepted") == (2, 4, "c", None)


def test_unknown_states() -> None:
    events = log(("a", "unknown", 0), ("a", "message-teleported", 1), ("b", "seen", 2))
    assert finding(events, "unknown_state") == (2, 3, "a", None)


def test_messages_not_observed_again() -> None:
    events = log(("a", "accepted", 0), ("b", "accepted", 0), ("c", "accepted", 0), ("c", "delivered", 1))
    not_checked = row(events, "not_observed_again")
    assert (not_checked["of"], not_checked["effect"][:12]) == (0, "Not checked:")
    events["observed_until"] = [at(0), at(60), at(1), at(1)]
    assert finding(events, "not_observed_again") == (1, 2, "a", None)
    later = vk.journeys(events, observed_until=at(600))
    assert finding(events, "not_observed_again", journeys=later) == (0, 2, None, None)
    odd = log(("a", "accepted", 0), ("a", "teleported", 9)).assign(observed_until=at(9))
    assert finding(odd, "not_observed_again")[0] == 1
    assert finding(odd, "not_observed_again", journeys=vk.journeys(odd))[0] == 1


def test_missed_callbacks() -> None:
    rows = [
        *[("a", "accepted", 0, "history"), ("a", "delivered", 1, "history"), ("a", "delivered", 1, "callback")],
        *[("b", "delivered", 1, "history"), ("b", "routed", 0, "history"), ("c", "delivered", 2, "status")],
        *[("c", "seen", 3, "callback"), ("d", "seen", 3, "history")],
    ]
    assert finding(log(*rows), "callbacks_missed") == (3, 4, "b", None)
    merged = log(*rows, ("e", "seen", 1, "history+callback"))
    for unsuitable in (merged, log(*VALID_LOG), log(*rows[:2])):
        result = row(unsuitable, "callbacks_missed")
        assert (result["count"], result["of"]) == (0, 0)
        assert "pass archive.events(all_sources=True)" in result["effect"]


def test_clock_skew() -> None:
    events = log(
        *[("a", "seen", 5, "callback", 4), ("b", "seen", 5, "callback", 8), ("c", "seen", 5, "callback", 7)],
        *[("c", "accepted", 5, "history", 600), ("d", "seen", 5, "history+callback", 9), ("d", "seen", 6, "callback")],
    )
    assert finding(events, "clock_skew", "callback") == (1, 3, "a", 2.0)
    assert finding(events, "clock_skew", "history") == (0, 1, None, 595.0)
    assert finding(events, "clock_skew", "history+callback") == (0, 1, None, 4.0)
    assert finding(events, "clock_skew", "send") == (0, 0, None, None)


def test_times_known_only_from_polls() -> None:
    events = log(*VALID_LOG).assign(not_before=[None, None, None, at(1), at(8)])
    assert finding(events, "polled") == (2, 5, "a", 2.0)
    never = EVENTS.frame(events.assign(not_before=[pd.Timestamp(0, tz="UTC"), None, None, None, at(8)]))
    assert finding(never, "polled") == (2, 5, "a", 1.0)
    assert row(EVENTS.frame(events.assign(received_at=at(0), source="status")), "clock_skew", "status")["of"] == 3


def test_empty_logs_and_logs_of_three_columns() -> None:
    for empty in (EVENTS.empty(), EVENTS.empty()[["message_id", "state", "happened_at"]], log(("a", "seen", None))):
        result = vk.quality(empty)
        assert [str(result[column.name].dtype) for column in QUALITY] == [column.dtype for column in QUALITY]
        assert result["check"].astype("str").drop_duplicates().tolist() == CHECKS
        assert (result["of"] == 0).all()
        assert result["share"].isna().all()
        vk.quality(empty, journeys=vk.journeys(empty))
    minimal = log(*VALID_LOG)[["message_id", "state", "happened_at"]].astype({"state": object})
    assert vk.quality(minimal)["count"].sum() == 0


def test_a_missing_column_is_named() -> None:
    with pytest.raises(MissingColumn, match="quality: no column 'state'"):
        vk.quality(log(*VALID_LOG).drop(columns="state"))
    with pytest.raises(MissingColumn, match=r"pass vk\.journeys"):
        vk.quality(log(*VALID_LOG), journeys=log(*VALID_LOG))
    with pytest.raises(TypeError, match="expected a DataFrame"):
        vk.quality([])  # type: ignore[arg-type]


def test_states_that_are_not_of_the_api_are_counted_too() -> None:
    odd = [("b", f"state-{number}", 1) for number in range(300)] + [("b", "state-7", 3)]
    events = log(*VALID_LOG, *odd, ("c", "seen", 1, "history"), ("d", "seen", 2, "callback"))
    assert finding(events, "two_instants") == (1, 307, "b", 2.0)
    assert finding(events, "unknown_state") == (301, 308, "b", None)
    assert finding(events, "callbacks_missed") == (1, 1, "c", None)


def test_no_phone_number_is_shown(archive: vk.Archive, sandbox: vk.Sandbox) -> None:
    with sandbox.client(archive=archive) as client:
        for number in range(5):
            client.send(f"+49170123456{number}", vk.Text("hi"), rate_type="transaction")
        sandbox.advance(days=20)
        vk.collect(client, archive, progress=False)
    result = vk.quality(archive.events(all_sources=True))
    assert "49170123456" not in result.to_csv()
    assert result.loc[result["check"] == "no_accepted", "of"].tolist() == [5]


# --- any log -----------------------------------------------------------------------------------------------

seconds = st.integers(-3, 6).map(float) | st.floats(0, 1e6, allow_nan=False).map(lambda s: round(s, 6))
logs = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from([*ORDER, "zeta"]),
        seconds,
        st.sampled_from(["history", "callback", "status", "send", "history+callback", None]),
        st.none() | seconds,
        st.none() | seconds,
        st.booleans(),
    ),
    max_size=16,
)


def any_log(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    bounds = [at(min(row[5], row[2])) if row[5] is not None else None for row in rows]
    return EVENTS.frame(log(*(row[:5] for row in rows)).assign(not_before=bounds, naive=[row[6] for row in rows]))


@many
@given(logs, st.randoms())
def test_any_log_has_every_check_and_row_order_does_not_matter(rows: list[tuple[Any, ...]], random: Any) -> None:
    events = any_log(rows)
    before = events.copy(deep=True)
    result = vk.quality(events)
    pd.testing.assert_frame_equal(events, before)
    assert result["check"].astype("str").drop_duplicates().tolist() == CHECKS
    assert ((result["count"] >= 0) & (result["count"] <= result["of"])).all()
    assert (result["share"].isna() == (result["of"] == 0)).all()
    assert (result["example"].notna() == (result["count"] > 0)).all()
    assert result["example"].dropna().isin(events["message_id"]).all()
    assert result[["effect", "remedy"]].notna().all().all()
    transitions = vk.transitions(events)
    counts = result.drop_duplicates("check").set_index(result["check"].drop_duplicates().astype("str"))["count"]
    assert counts["disorder"] == transitions["disordered"].sum()
    assert counts["zero_latency"] == (transitions["latency_s"] == 0).sum()
    assert counts["duplicates"] == events.duplicated(["message_id", "state", "happened_at", "source"]).sum()
    distinct = events.drop_duplicates(["message_id", "state", "happened_at"])
    assert counts["two_instants"] == (distinct.groupby(["message_id", "state"], observed=True).size() > 1).sum()
    gaps = events.groupby("message_id", sort=False)["happened_at"].diff()
    assert counts["row_order"] == (gaps < pd.Timedelta(0)).sum()
    random.shuffle(rows)
    key = ["check", "source", "count", "of", "value_s"]

    def comparable(quality: pd.DataFrame) -> pd.DataFrame:
        rows = quality.loc[quality["check"] != "row_order", key].astype({"source": "str"})
        return rows.sort_values(key[:2], ignore_index=True)

    pd.testing.assert_frame_equal(comparable(vk.quality(any_log(rows))), comparable(result), check_exact=False)


@many
@given(logs.filter(bool))
def test_passed_journeys_give_the_same_result(rows: list[tuple[Any, ...]]) -> None:
    events = any_log(rows)
    events["observed_until"] = events["happened_at"].max()
    pd.testing.assert_frame_equal(vk.quality(events), vk.quality(events, journeys=vk.journeys(events)))


@many
@given(logs)
def test_counts_of_messages_equal_plain_python(rows: list[tuple[Any, ...]]) -> None:
    first: dict[str, dict[str, float]] = {}
    for message, state, after, *_ in rows:
        times = first.setdefault(message, {})
        times[state] = min(after, times.get(state, np.inf))
    result = vk.quality(any_log(rows)).drop_duplicates("check")
    counts = dict(zip(result["check"].astype("str"), result["count"], strict=True))
    delivered = [times for times in first.values() if {"delivered", "seen"} & {*times}]
    assert counts["seen_without_delivered"] == sum("seen" in times and "delivered" not in times for times in delivered)
    assert counts["no_dispatched"] == sum("dispatched" not in times for times in delivered)
    assert counts["no_accepted"] == sum("accepted" not in times for times in first.values())
    assert counts["delivered_after_failed"] == sum(
        min(times.get("failed", np.inf), times.get("expired", np.inf))
        < min(times.get("delivered", np.inf), times.get("seen", np.inf))
        for times in delivered
    )
    path = ("accepted", "routed", "dispatched", "delivered", "seen")
    preceding = {state: path[:index] for index, state in enumerate(path)}
    preceding |= dict.fromkeys(("channel_failed", "failed", "expired"), path[:3])
    assert counts["negative_latency"] == sum(
        any(times[state] < times[other] for state in times for other in preceding.get(state, ()) if other in times)
        for times in first.values()
    )
