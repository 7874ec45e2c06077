"""The quality of a log: each check by hand, and what holds for any log."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import viberkit as vk
from viberkit.analysis import quality as checks
from viberkit.analysis.quality_words import ABOUT
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, QUALITY
from viberkit.models.states import ORDER

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "50"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2020, 7, 13, 12, tzinfo=UTC)
CHECKS = list(QUALITY["check"].categories)


def at(seconds: float | None) -> Any:
    return None if seconds is None else START + timedelta(seconds=seconds)


def log(*rows: tuple[Any, ...], **columns: Any) -> pd.DataFrame:
    """Events from (message, state, seconds) and perhaps a source and the second of receipt."""
    names = ("message_id", "state", "happened_at", "source", "received_at")
    told = [dict(zip(names, row, strict=False)) for row in rows]
    for row in told:
        row |= {name: at(row[name]) for name in ("happened_at", "received_at") if name in row}
    return EVENTS.frame(told).assign(**columns)


def row(events: pd.DataFrame, check: str, source: str | None = None, **more: Any) -> dict[str, Any]:
    found = vk.quality(events, **more)
    found = found[(found["check"] == check) & (found["source"].isna() if source is None else found["source"] == source)]
    assert len(found) == 1
    return found.iloc[0].to_dict()


def tells(events: pd.DataFrame, check: str, source: str | None = None, **more: Any) -> tuple[Any, ...]:
    """Count, of, example and value of one row; what is missing is None."""
    found = row(events, check, source, **more)
    return tuple(None if pd.isna(found[name]) else found[name] for name in ("count", "of", "example", "value_s"))


GOOD = [("a", "accepted", 0), ("a", "routed", 1), ("a", "dispatched", 2), ("a", "delivered", 4), ("a", "seen", 9)]


def test_a_good_log_has_nothing_amiss_and_every_row() -> None:
    found = vk.quality(log(*GOOD))
    assert found["check"].astype("str").drop_duplicates().tolist() == CHECKS
    assert found["count"].sum() == 0
    assert found["example"].isna().all()
    skews = found[found["check"] == "clock_skew"]
    assert skews["source"].astype("str").tolist() == ["history", "callback", "status", "send"]
    assert found[found["check"] != "clock_skew"]["source"].isna().all()


def test_every_check_says_what_it_does_and_what_helps() -> None:
    assert list(ABOUT) == CHECKS
    for effect, remedy in ABOUT.values():
        assert effect.endswith(".")
        assert remedy.endswith(".")
        assert "\n" not in effect + remedy
    for check in CHECKS:
        assert f"    {check} " in str(checks.quality.__doc__)


def test_an_event_told_twice_by_one_source_is_a_duplicate() -> None:
    events = log(*GOOD, GOOD[3], GOOD[3], ("a", "delivered", 4, "history"), ("a", "delivered", 4, "callback"))
    assert tells(events, "duplicates") == (2, 9, "a", None)
    assert tells(events.drop(columns="source"), "duplicates") == (4, 9, "a", None)


def test_a_state_entered_at_two_instants() -> None:
    events = log(*GOOD, ("a", "seen", 10), ("b", "seen", 1), ("b", "seen", 8), ("b", "seen", 5), ("b", "seen", 8))
    assert tells(events, "two_instants") == (2, 6, "b", 7.0)


def test_states_in_the_wrong_order_of_time_and_rows_in_the_wrong_order() -> None:
    events = log(("a", "delivered", 1), ("a", "dispatched", 2), ("b", "seen", 9), ("b", "delivered", 3))
    assert tells(events, "disorder") == (1, 2, "a", None)
    assert tells(events, "row_order") == (1, 4, "b", None)
    apart = log(("b", "seen", 9), ("a", "accepted", 5), ("b", "delivered", 3), ("a", "routed", 4), ("b", "failed", 8))
    assert tells(apart, "row_order")[:2] == (2, 5)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("accepted", 5), ("delivered", 3)], (1, 1, "a", -2.0)),
        ([("accepted", 5), ("failed", 1)], (1, 1, "a", -4.0)),
        ([("delivered", 5), ("seen", 3), ("dispatched", 4)], (1, 1, "a", -2.0)),
        ([("failed", 5), ("delivered", 3)], (0, 1, None, None)),  # a failure is not on the way to delivered
        ([("accepted", 3), ("delivered", 3)], (0, 1, None, None)),
        ([("accepted", 3)], (0, 0, None, None)),
    ],
)
def test_times_below_zero(rows: list[tuple[str, float]], told: tuple[Any, ...]) -> None:
    assert tells(log(*(("a", state, after) for state, after in rows)), "negative_latency") == told


def test_the_worst_negative_time_is_shown() -> None:
    events = log(("a", "accepted", 5), ("a", "seen", 4), ("b", "routed", 9), ("b", "seen", 1.5), ("c", "seen", 0))
    assert tells(events, "negative_latency") == (2, 2, "b", -7.5)


def test_hops_that_took_no_time() -> None:
    assert tells(log(("a", "accepted", 0), ("a", "routed", 0), ("a", "seen", 1)), "zero_latency") == (1, 2, "a", None)


def test_instants_without_a_zone() -> None:
    events = log(*GOOD)
    assert tells(events.assign(naive=[False, True, False, False, True]), "naive") == (2, 5, "a", None)
    bare = events.drop(columns="naive")
    assert tells(bare, "naive")[0] == 0
    assert tells(bare.assign(happened_at=bare["happened_at"].dt.tz_localize(None)), "naive")[0] == 5
    texts = ["2020-07-13T12:00:00Z", "2020-07-13T12:00:01", "2020-07-13T12:00:02+02:00", "2020-07-13T12:00:03", None]
    assert tells(bare.assign(happened_at=texts), "naive") == (2, 4, "a", None)


def test_delivered_after_failed() -> None:
    events = log(
        *[("a", "failed", 1), ("a", "delivered", 2), ("b", "expired", 1), ("c", "delivered", 1), ("c", "failed", 2)],
        *[("d", "channel_failed", 1), ("d", "delivered", 2), ("e", "expired", 3), ("e", "seen", 7)],
    )
    assert tells(events, "delivered_after_failed") == (2, 4, "a", None)


def test_states_that_are_missing_on_the_way() -> None:
    events = log(
        *GOOD, ("b", "accepted", 0), ("b", "seen", 1), ("c", "dispatched", 0), ("c", "delivered", 2), ("d", "failed", 1)
    )
    assert tells(events, "seen_without_delivered") == (1, 2, "b", None)
    assert tells(events, "no_dispatched") == (1, 3, "b", None)
    assert tells(events, "no_routed") == (2, 3, "b", None)
    assert tells(events, "no_accepted") == (2, 4, "c", None)


def test_states_that_nobody_knows() -> None:
    events = log(("a", "unknown", 0), ("a", "message-teleported", 1), ("b", "seen", 2))
    assert tells(events, "unknown_state") == (2, 3, "a", None)


def test_messages_that_nobody_looked_at_again() -> None:
    events = log(("a", "accepted", 0), ("b", "accepted", 0), ("c", "accepted", 0), ("c", "delivered", 1))
    untold = row(events, "not_looked_again")
    assert (untold["of"], untold["effect"][:12]) == (0, "Not checked:")
    events["observed_until"] = [at(0), at(60), at(1), at(1)]
    assert tells(events, "not_looked_again") == (1, 2, "a", None)
    later = vk.journeys(events, observed_until=at(600))
    assert tells(events, "not_looked_again", journeys=later) == (0, 2, None, None)
    odd = log(("a", "accepted", 0), ("a", "teleported", 9)).assign(observed_until=at(9))
    assert tells(odd, "not_looked_again")[0] == 1
    assert tells(odd, "not_looked_again", journeys=vk.journeys(odd))[0] == 1


def test_callbacks_that_were_missed() -> None:
    told = [
        *[("a", "accepted", 0, "history"), ("a", "delivered", 1, "history"), ("a", "delivered", 1, "callback")],
        *[("b", "delivered", 1, "history"), ("b", "routed", 0, "history"), ("c", "delivered", 2, "status")],
        *[("c", "seen", 3, "callback"), ("d", "seen", 3, "history")],
    ]
    assert tells(log(*told), "callbacks_missed") == (3, 4, "b", None)
    merged = log(*told, ("e", "seen", 1, "history+callback"))
    for unfit in (merged, log(*GOOD), log(*told[:2])):
        found = row(unfit, "callbacks_missed")
        assert (found["count"], found["of"]) == (0, 0)
        assert "pass archive.events(all_sources=True)" in found["effect"]


def test_clocks_that_are_off() -> None:
    events = log(
        *[("a", "seen", 5, "callback", 4), ("b", "seen", 5, "callback", 8), ("c", "seen", 5, "callback", 7)],
        *[("c", "accepted", 5, "history", 600), ("d", "seen", 5, "history+callback", 9), ("d", "seen", 6, "callback")],
    )
    assert tells(events, "clock_skew", "callback") == (1, 3, "a", 2.0)
    assert tells(events, "clock_skew", "history") == (0, 1, None, 595.0)
    assert tells(events, "clock_skew", "history+callback") == (0, 1, None, 4.0)
    assert tells(events, "clock_skew", "send") == (0, 0, None, None)


def test_times_known_only_from_polls() -> None:
    events = log(*GOOD).assign(not_before=[None, None, None, at(1), at(8)])
    assert tells(events, "polled") == (2, 5, "a", 2.0)
    never = EVENTS.frame(events.assign(not_before=[pd.Timestamp(0, tz="UTC"), None, None, None, at(8)]))
    assert tells(never, "polled") == (2, 5, "a", 1.0)
    assert row(EVENTS.frame(events.assign(received_at=at(0), source="status")), "clock_skew", "status")["of"] == 3


def test_empty_logs_and_logs_of_three_columns() -> None:
    for empty in (EVENTS.empty(), EVENTS.empty()[["message_id", "state", "happened_at"]], log(("a", "seen", None))):
        found = vk.quality(empty)
        assert [str(found[one.name].dtype) for one in QUALITY] == [one.dtype for one in QUALITY]
        assert found["check"].astype("str").drop_duplicates().tolist() == CHECKS
        assert (found["of"] == 0).all()
        assert found["share"].isna().all()
        vk.quality(empty, vk.journeys(empty))
    bare = log(*GOOD)[["message_id", "state", "happened_at"]].astype({"state": object})
    assert vk.quality(bare)["count"].sum() == 0


def test_a_missing_column_is_named() -> None:
    with pytest.raises(MissingColumn, match="quality: no column 'state'"):
        vk.quality(log(*GOOD).drop(columns="state"))
    with pytest.raises(MissingColumn, match=r"pass vk\.journeys"):
        vk.quality(log(*GOOD), log(*GOOD))
    with pytest.raises(TypeError, match="a DataFrame is needed"):
        vk.quality([])  # type: ignore[arg-type]


def test_many_words_never_seen_before_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    events = log(
        *GOOD,
        ("a", "zeta", 10),
        ("b", "zeta", 1),
        ("b", "zeta", 3),
        ("c", "seen", 1, "history"),
        ("d", "seen", 2, "callback"),
    )
    before = vk.quality(events)
    monkeypatch.setattr(checks, "_DENSE", 1)
    pd.testing.assert_frame_equal(vk.quality(events), before)


def test_no_number_is_shown(archive: vk.Archive, sandbox: vk.Sandbox) -> None:
    with sandbox.client(archive=archive) as client:
        for number in range(5):
            client.send(f"+49170123456{number}", vk.Text("hi"), rate_type="transaction")
        sandbox.advance(days=20)
        vk.collect(client, archive, progress=False)
    found = vk.quality(archive.events(all_sources=True))
    assert "49170123456" not in found.to_csv()
    assert found.loc[found["check"] == "no_accepted", "of"].tolist() == [5]


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
    bounds = [at(min(one[5], one[2])) if one[5] is not None else None for one in rows]
    return EVENTS.frame(log(*(one[:5] for one in rows)).assign(not_before=bounds, naive=[one[6] for one in rows]))


@many
@given(logs, st.randoms())
def test_any_log_gives_every_row_and_its_order_does_not_matter(rows: list[tuple[Any, ...]], random: Any) -> None:
    events = any_log(rows)
    before = events.copy(deep=True)
    found = vk.quality(events)
    pd.testing.assert_frame_equal(events, before)
    assert found["check"].astype("str").drop_duplicates().tolist() == CHECKS
    assert ((found["count"] >= 0) & (found["count"] <= found["of"])).all()
    assert (found["share"].isna() == (found["of"] == 0)).all()
    assert (found["example"].notna() == (found["count"] > 0)).all()
    assert found["example"].dropna().isin(events["message_id"]).all()
    assert found[["effect", "remedy"]].notna().all().all()
    hops = vk.transitions(events)
    counts = found.drop_duplicates("check").set_index(found["check"].drop_duplicates().astype("str"))["count"]
    assert counts["disorder"] == hops["disordered"].sum()
    assert counts["zero_latency"] == (hops["latency_s"] == 0).sum()
    assert counts["duplicates"] == events.duplicated(["message_id", "state", "happened_at", "source"]).sum()
    apart = events.drop_duplicates(["message_id", "state", "happened_at"])
    assert counts["two_instants"] == (apart.groupby(["message_id", "state"], observed=True).size() > 1).sum()
    steps = events.groupby("message_id", sort=False)["happened_at"].diff()
    assert counts["row_order"] == (steps < pd.Timedelta(0)).sum()
    random.shuffle(rows)
    key = ["check", "source", "count", "of", "value_s"]
    other = vk.quality(any_log(rows))
    one, other = (
        each.loc[each["check"] != "row_order", key].astype({"source": "str"}).sort_values(key[:2], ignore_index=True)
        for each in (found, other)
    )
    pd.testing.assert_frame_equal(one, other, check_exact=False)


@many
@given(logs.filter(bool))
def test_journeys_given_tell_the_same(rows: list[tuple[Any, ...]]) -> None:
    events = any_log(rows)
    events["observed_until"] = events["happened_at"].max()
    pd.testing.assert_frame_equal(vk.quality(events), vk.quality(events, vk.journeys(events)))


@many
@given(logs)
def test_counts_of_messages_are_those_of_plain_python(rows: list[tuple[Any, ...]]) -> None:
    first: dict[str, dict[str, float]] = {}
    for one, state, after, *_ in rows:
        known = first.setdefault(one, {})
        known[state] = min(after, known.get(state, np.inf))
    found = vk.quality(any_log(rows)).drop_duplicates("check")
    counts = dict(zip(found["check"].astype("str"), found["count"], strict=True))
    arrived = [one for one in first.values() if {"delivered", "seen"} & {*one}]
    assert counts["seen_without_delivered"] == sum("seen" in one and "delivered" not in one for one in arrived)
    assert counts["no_dispatched"] == sum("dispatched" not in one for one in arrived)
    assert counts["no_accepted"] == sum("accepted" not in one for one in first.values())
    assert counts["delivered_after_failed"] == sum(
        min(one.get("failed", np.inf), one.get("expired", np.inf))
        < min(one.get("delivered", np.inf), one.get("seen", np.inf))
        for one in arrived
    )
    way = ("accepted", "routed", "dispatched", "delivered", "seen")
    behind = {state: way[:place] for place, state in enumerate(way)}
    behind |= dict.fromkeys(("channel_failed", "failed", "expired"), way[:3])
    assert counts["negative_latency"] == sum(
        any(one[state] < one[other] for state in one for other in behind.get(state, ()) if other in one)
        for one in first.values()
    )
