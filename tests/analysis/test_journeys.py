"""Transitions and journeys: against plain Python on random logs, and by hand where it matters."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viberkit.analysis.journeys import journeys, transitions
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, JOURNEYS, TRANSITIONS
from viberkit.models.states import ORDER, rank

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "200"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2020, 7, 13, 12, tzinfo=UTC)


def log(*rows: tuple[Any, ...], **columns: Any) -> pd.DataFrame:
    """Events from (message, state, seconds)."""
    given = [
        {"message_id": one, "state": state, "happened_at": START + timedelta(seconds=after)}
        for one, state, after in rows
    ]
    events = EVENTS.frame(given)
    return events.assign(**columns)


instants = st.one_of(
    st.integers(0, 5).map(float),
    st.floats(0, 5e9, allow_nan=False).map(lambda s: round(s, 6)),
    st.just(-1e9),
)
rows = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*ORDER, "zeta", "alpha"]), instants), max_size=14)


def told(rows: list[tuple[Any, ...]]) -> dict[str, list[tuple[datetime, int, str]]]:
    """Each message's events in order, every one once."""
    messages: dict[str, set[tuple[datetime, int, str]]] = {}
    for one, state, after in rows:
        messages.setdefault(one, set()).add((START + timedelta(seconds=after), rank(state), state))
    return {one: sorted(events) for one, events in messages.items()}


@many
@given(rows)
def test_transitions_are_those_of_plain_python(rows: list[tuple[Any, ...]]) -> None:
    events = log(*rows)
    before = events.copy(deep=True)
    expected = [
        (one, left[2], entered[2], left[0], entered[0], (entered[0] - left[0]).total_seconds(), entered[1] < left[1])
        for one, order_events in told(rows).items()
        for left, entered in pairwise(order_events)
    ]
    found = transitions(events)
    assert [tuple(row) for row in found.itertuples(index=False)] == expected
    assert (found.dtypes[list(TRANSITIONS.names[:1])] == TRANSITIONS.empty().dtypes[["message_id"]]).all()
    assert [str(dtype) for dtype in found.dtypes] == [column.dtype for column in TRANSITIONS]
    pd.testing.assert_frame_equal(events, before)


@many
@given(rows)
def test_journeys_are_those_of_plain_python(rows: list[tuple[Any, ...]]) -> None:
    found = journeys(log(*rows))
    trails = told(rows)
    assert found["message_id"].tolist() == list(trails)
    last = max((event[0] for order_events in trails.values() for event in order_events), default=None)
    for journey, order_events in zip(found.to_dict("records"), trails.values(), strict=True):
        for state in ORDER[:8]:
            first = min((event[0] for event in order_events if event[2] == state), default=None)
            assert (journey[f"{state}_at"] if first else None) == first
            assert pd.isna(journey[f"{state}_at"]) == (first is None)
        entered = {event[2] for event in order_events}
        outcome = (
            "delivered" if entered & {"delivered", "seen"} else "failed" if entered & {"failed", "expired"} else "open"
        )
        assert journey["outcome"] == outcome
        assert journey["last_state"] == order_events[-1][2]
        assert journey["observed_until"] == last


@many
@given(rows, st.randoms())
def test_the_order_of_events_does_not_matter(rows: list[tuple[Any, ...]], random: Any) -> None:
    mixed = list(rows) + list(rows[:3])
    random.shuffle(mixed)
    sort = ["message_id", "started_at", "ended_at", "from_state", "to_state"]
    texts = {"from_state": "str", "to_state": "str"}
    one, other = (
        transitions(log(*given)).astype(texts).sort_values(sort, ignore_index=True) for given in (rows, mixed)
    )
    pd.testing.assert_frame_equal(one, other)


def test_equal_instants_follow_the_life_cycle_and_disorder_is_flagged() -> None:
    events = log(("a", "routed", 0), ("a", "accepted", 0), ("a", "delivered", 1), ("a", "dispatched", 2))
    found = transitions(events)
    assert found["to_state"].tolist() == ["routed", "delivered", "dispatched"]
    assert found["disordered"].tolist() == [False, False, True]
    assert found["latency_s"].tolist() == [0, 1, 1]


def test_latency_is_exact_to_the_microsecond_over_years() -> None:
    found = transitions(log(("a", "accepted", 0), ("a", "seen", 86_400 * 365 * 20 + 0.000001)))
    assert found["latency_s"].tolist() == [630_720_000.000001]


def test_a_wide_log_falls_back_to_sorting_by_each_key() -> None:
    rows = [
        (f"m{n % 3000}", "delivered" if n < 3000 else "accepted", (n * 7919 % 6000) * 1e5 + 1e-6) for n in range(6000)
    ]
    found = transitions(log(*rows))
    assert len(found) == 3000
    assert (found["latency_s"] >= 0).all()
    assert found["message_id"].tolist() == [f"m{n}" for n in range(3000)]


def test_facts_about_the_message_come_along() -> None:
    events = log(
        ("b", "delivered", 4), ("a", "accepted", 0), ("b", "accepted", 0), rate_type=["session", "promotion", None]
    )
    hop, trip = transitions(events), journeys(events)
    assert hop["rate_type"].tolist() == ["session"]
    assert trip["rate_type"].tolist() == ["session", "promotion"]


def test_empty_and_single_logs_have_every_dtype() -> None:
    empty = EVENTS.empty().assign(rate_type=pd.Series([], dtype="str"))
    for frame, schema in (
        (transitions(empty), TRANSITIONS),
        (journeys(empty), JOURNEYS),
    ):
        assert len(frame) == 0
        dtypes = {column.name: column.dtype for column in schema}
        assert {name: str(frame[name].dtype) for name in dtypes} == dtypes
    one = log(("a", "accepted", 0), rate_type="session")
    assert len(transitions(one)) == 0
    assert journeys(one)["outcome"].tolist() == ["open"]


def test_until_when_a_message_was_observed() -> None:
    events = log(("a", "accepted", 0), ("b", "accepted", 5), ("c", "accepted", 9))
    at = {n: pd.Timestamp(START + timedelta(seconds=n)) for n in (0, 5, 7, 9, 20, 30)}
    until = lambda *args, **more: journeys(*args, **more)["observed_until"].tolist()  # noqa: E731
    assert until(events) == [at[9], at[9], at[9]]
    assert until(events, observed_until=at[20]) == [at[20]] * 3
    assert until(events, observed_until="2020-07-13T12:00:07") == [at[7], at[7], at[9]]
    given = pd.Series([at[30], pd.NaT], index=["b", "a"])
    assert until(events, observed_until=given) == [at[9], at[30], at[9]]
    told = events.assign(observed_until=[at[20], pd.NaT, at[5]], received_at=[at[7], at[30], pd.NaT])
    assert until(EVENTS.frame(told)) == [at[20], at[30], at[9]]


def test_the_code_is_that_of_the_last_failure() -> None:
    events = log(
        ("a", "failed", 9), ("a", "channel_failed", 1), ("a", "accepted", 0), ("b", "accepted", 0), ("a", "failed", 9)
    )
    events["code"] = pd.Categorical([None, "E1", "E0", "E0", "E2"])
    assert journeys(EVENTS.frame(events))["code"].astype("str").fillna("-").tolist() == ["E2", "-"]


def test_events_without_message_or_instant_take_no_part() -> None:
    events = log(("a", "accepted", 0), ("a", "seen", 1), ("a", "delivered", 2), ("b", "seen", 0))
    events["happened_at"] = events["happened_at"].where([True, False, True, False])
    assert transitions(events)["to_state"].tolist() == ["delivered"]
    assert journeys(events)["message_id"].tolist() == ["a"]


def test_a_missing_column_is_named() -> None:
    events = log(("a", "accepted", 0))
    with pytest.raises(MissingColumn, match="transitions: no column 'happened_at'"):
        transitions(events.drop(columns="happened_at"))
    with pytest.raises(MissingColumn, match="journeys: no column 'state'"):
        journeys(events.drop(columns="state"))
    with pytest.raises(TypeError, match="a DataFrame is needed"):
        transitions([])  # type: ignore[arg-type]


def test_times_that_polling_found_have_their_bounds_in_journeys() -> None:
    events = log(("a", "accepted", 0), ("a", "delivered", 9), ("a", "seen", 30), ("b", "accepted", 1), ("b", "seen", 9))
    assert not [name for name in journeys(events) if name.endswith("_not_before")]
    before = [None, START + timedelta(seconds=4), None, None, START + timedelta(seconds=99)]
    trips = journeys(EVENTS.frame(events.assign(not_before=before, rate_type="session")))
    bounds = ["delivered_not_before", "seen_not_before"]
    assert list(trips)[len(JOURNEYS.names) :] == [*bounds, "rate_type"]
    assert [str(trips[name].dtype) for name in bounds] == ["datetime64[us, UTC]"] * 2
    assert trips["delivered_not_before"].tolist() == [pd.Timestamp(before[1]), pd.NaT]
    assert trips["seen_not_before"].tolist() == [pd.NaT, trips.loc[1, "seen_at"]], "never after the time itself"


def test_a_bound_counts_only_where_the_first_time_of_a_state_has_it() -> None:
    events = log(("a", "accepted", 0), ("a", "delivered", 9), ("a", "delivered", 5))
    before = [None, START + timedelta(seconds=4), None]
    assert "delivered_not_before" not in journeys(EVENTS.frame(events.assign(not_before=before)))


@many
@given(rows, st.lists(st.none() | st.floats(0, 1e6).map(lambda s: round(s, 6)), min_size=14, max_size=14))
def test_bounds_are_never_after_the_times(rows: list[tuple[Any, ...]], earlier: list[float | None]) -> None:
    events = log(*rows)
    gaps = [pd.NaT if gap is None else pd.Timedelta(seconds=gap) for gap in earlier[: len(rows)]]
    trips = journeys(events.assign(not_before=events["happened_at"] - pd.Series(gaps, dtype="timedelta64[us]")))
    pd.testing.assert_frame_equal(trips[list(JOURNEYS.names)], journeys(events))
    for state in ORDER[:8]:
        if (name := f"{state}_not_before") in trips:
            bound = trips[name].dropna()
            assert len(bound)
            assert (bound <= trips.loc[bound.index, f"{state}_at"]).all()
