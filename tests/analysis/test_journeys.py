"""Transitions and journeys: against plain Python on random logs, and by hand where it matters."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from viberkit.analysis.journeys import ImplausibleTimesWarning, journeys, transitions
from viberkit.analysis.latency import latency
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS, JOURNEYS, TRANSITIONS
from viberkit.models.states import ORDER, rank

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2020, 7, 13, 12, tzinfo=UTC)


def log(*rows: tuple[Any, ...], **columns: Any) -> pd.DataFrame:
    """Events from (message, state, seconds)."""
    given = [
        {"message_id": message, "state": state, "happened_at": START + timedelta(seconds=after)}
        for message, state, after in rows
    ]
    events = EVENTS.frame(given)
    return events.assign(**columns)


instants = st.one_of(
    st.integers(0, 5).map(float),
    st.floats(0, 2e8, allow_nan=False).map(lambda s: round(s, 6)),
    st.just(-1e8),
)
rows = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*ORDER, "zeta", "alpha"]), instants), max_size=14)


def ordered_events(rows: list[tuple[Any, ...]]) -> dict[str, list[tuple[datetime, int, str]]]:
    """The events of each message in order, without duplicates."""
    messages: dict[str, set[tuple[datetime, int, str]]] = {}
    for message, state, after in rows:
        messages.setdefault(message, set()).add((START + timedelta(seconds=after), rank(state), state))
    return {message: sorted(events) for message, events in messages.items()}


@many
@given(rows)
def test_transitions_are_those_of_plain_python(rows: list[tuple[Any, ...]]) -> None:
    events = log(*rows)
    before = events.copy(deep=True)
    expected = [
        (
            message,
            left[2],
            entered[2],
            left[0],
            entered[0],
            (entered[0] - left[0]).total_seconds(),
            entered[1] < left[1],
        )
        for message, events_of_message in ordered_events(rows).items()
        for left, entered in pairwise(events_of_message)
    ]
    result = transitions(events)
    assert [tuple(row) for row in result.itertuples(index=False)] == expected
    assert (result.dtypes[list(TRANSITIONS.names[:1])] == TRANSITIONS.empty().dtypes[["message_id"]]).all()
    assert [str(dtype) for dtype in result.dtypes] == [column.dtype for column in TRANSITIONS]
    pd.testing.assert_frame_equal(events, before)


@many
@given(rows)
def test_journeys_are_those_of_plain_python(rows: list[tuple[Any, ...]]) -> None:
    result = journeys(log(*rows))
    expected = ordered_events(rows)
    assert result["message_id"].tolist() == list(expected)
    last = max((event[0] for events_of_message in expected.values() for event in events_of_message), default=None)
    for journey, events_of_message in zip(result.to_dict("records"), expected.values(), strict=True):
        for state in ORDER[:8]:
            first = min((event[0] for event in events_of_message if event[2] == state), default=None)
            assert (journey[f"{state}_at"] if first else None) == first
            assert pd.isna(journey[f"{state}_at"]) == (first is None)
        entered = {event[2] for event in events_of_message}
        outcome = (
            "delivered" if entered & {"delivered", "seen"} else "failed" if entered & {"failed", "expired"} else "open"
        )
        assert journey["outcome"] == outcome
        assert journey["last_state"] == events_of_message[-1][2]
        assert journey["observed_until"] == last


@many
@given(rows, st.randoms())
def test_the_order_of_events_does_not_matter(rows: list[tuple[Any, ...]], random: Any) -> None:
    mixed = list(rows) + list(rows[:3])
    random.shuffle(mixed)
    sort = ["message_id", "started_at", "ended_at", "from_state", "to_state"]
    texts = {"from_state": "str", "to_state": "str"}
    first, second = (
        transitions(log(*given)).astype(texts).sort_values(sort, ignore_index=True) for given in (rows, mixed)
    )
    pd.testing.assert_frame_equal(first, second)


def test_equal_instants_follow_the_life_cycle_and_disorder_is_flagged() -> None:
    events = log(("a", "routed", 0), ("a", "accepted", 0), ("a", "delivered", 1), ("a", "dispatched", 2))
    result = transitions(events)
    assert result["to_state"].tolist() == ["routed", "delivered", "dispatched"]
    assert result["disordered"].tolist() == [False, False, True]
    assert result["latency_s"].tolist() == [0, 1, 1]


def test_latency_is_exact_to_the_microsecond_over_years() -> None:
    result = transitions(log(("a", "accepted", 0), ("a", "seen", 86_400 * 365 * 20 + 0.000001)))
    assert result["latency_s"].tolist() == [630_720_000.000001]


def test_a_wide_log_falls_back_to_sorting_by_each_key() -> None:
    rows = [
        (f"m{n % 3000}", "delivered" if n < 3000 else "accepted", (n * 7919 % 6000) * 1e5 + 1e-6) for n in range(6000)
    ]
    result = transitions(log(*rows))
    assert len(result) == 3000
    assert (result["latency_s"] >= 0).all()
    assert result["message_id"].tolist() == [f"m{n}" for n in range(3000)]


def test_columns_of_the_message_are_in_the_result() -> None:
    events = log(
        ("b", "delivered", 4), ("a", "accepted", 0), ("b", "accepted", 0), rate_type=["session", "promotion", None]
    )
    assert transitions(events)["rate_type"].tolist() == ["session"]
    assert journeys(events)["rate_type"].tolist() == ["session", "promotion"]


def test_empty_and_single_logs_have_every_dtype() -> None:
    empty = EVENTS.empty().assign(rate_type=pd.Series([], dtype="str"))
    for frame, schema in (
        (transitions(empty), TRANSITIONS),
        (journeys(empty), JOURNEYS),
    ):
        assert len(frame) == 0
        dtypes = {column.name: column.dtype for column in schema}
        assert {name: str(frame[name].dtype) for name in dtypes} == dtypes
    single = log(("a", "accepted", 0), rate_type="session")
    assert len(transitions(single)) == 0
    assert journeys(single)["outcome"].tolist() == ["open"]


def test_the_end_of_the_observation() -> None:
    events = log(("a", "accepted", 0), ("b", "accepted", 5), ("c", "accepted", 9))
    at = {n: pd.Timestamp(START + timedelta(seconds=n)) for n in (0, 5, 7, 9, 20, 30)}
    until = lambda *args, **more: journeys(*args, **more)["observed_until"].tolist()  # noqa: E731
    assert until(events) == [at[9], at[9], at[9]]
    assert until(events, observed_until=at[20]) == [at[20]] * 3
    assert until(events, observed_until="2020-07-13T12:00:07") == [at[7], at[7], at[9]]
    given = pd.Series([at[30], pd.NaT], index=["b", "a"])
    assert until(events, observed_until=given) == [at[9], at[30], at[9]]
    observed = events.assign(observed_until=[at[20], pd.NaT, at[5]], received_at=[at[7], at[30], pd.NaT])
    assert until(EVENTS.frame(observed)) == [at[20], at[30], at[9]]


def test_the_code_is_that_of_the_last_failure() -> None:
    events = log(
        ("a", "failed", 9), ("a", "channel_failed", 1), ("a", "accepted", 0), ("b", "accepted", 0), ("a", "failed", 9)
    )
    events["code"] = pd.Categorical([None, "E1", "E0", "E0", "E2"])
    assert journeys(EVENTS.frame(events))["code"].astype("str").fillna("-").tolist() == ["E2", "-"]


def test_events_without_message_or_instant_are_ignored() -> None:
    events = log(("a", "accepted", 0), ("a", "seen", 1), ("a", "delivered", 2), ("b", "seen", 0))
    events["happened_at"] = events["happened_at"].where([True, False, True, False])
    assert transitions(events)["to_state"].tolist() == ["delivered"]
    assert journeys(events)["message_id"].tolist() == ["a"]


def test_errors_name_the_missing_column() -> None:
    events = log(("a", "accepted", 0))
    with pytest.raises(MissingColumn, match="transitions: no column 'happened_at'"):
        transitions(events.drop(columns="happened_at"))
    with pytest.raises(MissingColumn, match="journeys: no column 'state'"):
        journeys(events.drop(columns="state"))
    with pytest.raises(TypeError, match="expected a DataFrame"):
        transitions([])  # type: ignore[arg-type]


def test_times_found_by_polling_have_a_bound() -> None:
    events = log(("a", "accepted", 0), ("a", "delivered", 9), ("a", "seen", 30), ("b", "accepted", 1), ("b", "seen", 9))
    assert not [name for name in journeys(events) if name.endswith("_not_before")]
    before = [None, START + timedelta(seconds=4), None, None, START + timedelta(seconds=99)]
    frame = journeys(EVENTS.frame(events.assign(not_before=before, rate_type="session")))
    bounds = ["delivered_not_before", "seen_not_before"]
    assert list(frame)[len(JOURNEYS.names) :] == [*bounds, "rate_type"]
    assert [str(frame[name].dtype) for name in bounds] == ["datetime64[us, UTC]"] * 2
    assert frame["delivered_not_before"].tolist() == [pd.Timestamp(before[1]), pd.NaT]
    assert frame["seen_not_before"].tolist() == [pd.NaT, frame.loc[1, "seen_at"]], "never after the time itself"


def test_only_the_bound_of_the_first_time_of_a_state_counts() -> None:
    events = log(("a", "accepted", 0), ("a", "delivered", 9), ("a", "delivered", 5))
    before = [None, START + timedelta(seconds=4), None]
    assert "delivered_not_before" not in journeys(EVENTS.frame(events.assign(not_before=before)))


@many
@given(rows, st.lists(st.none() | st.floats(0, 1e6).map(lambda s: round(s, 6)), min_size=14, max_size=14))
def test_bounds_are_never_after_the_times(rows: list[tuple[Any, ...]], earlier: list[float | None]) -> None:
    events = log(*rows)
    gaps = [pd.NaT if gap is None else pd.Timedelta(seconds=gap) for gap in earlier[: len(rows)]]
    frame = journeys(events.assign(not_before=events["happened_at"] - pd.Series(gaps, dtype="timedelta64[us]")))
    pd.testing.assert_frame_equal(frame[list(JOURNEYS.names)], journeys(events))
    for state in ORDER[:8]:
        if (name := f"{state}_not_before") in frame:
            bound = frame[name].dropna()
            assert len(bound)
            assert (bound <= frame.loc[bound.index, f"{state}_at"]).all()


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59Z", "2040-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_an_implausible_instant_does_not_end_the_observation_of_others(far: str) -> None:
    events = log(*((f"m{n}", state, n + after) for n in range(9) for state, after in (("accepted", 0), ("routed", 1))))
    wrong = EVENTS.frame([{"message_id": "x", "state": "accepted", "happened_at": far}])
    expected = journeys(events)
    with pytest.warns(ImplausibleTimesWarning, match=f"1 of 19 events .* of message 'x', at {far[:10]}") as warned:
        result = journeys(pd.concat([wrong, events], ignore_index=True))
    assert warned[0].filename == __file__
    assert result["observed_until"].tolist()[1:] == expected["observed_until"].tolist()
    with pytest.warns(ImplausibleTimesWarning):
        waiting = latency(pd.concat([events, wrong], ignore_index=True), quantiles=0.5)
    assert waiting.loc[waiting["from_state"] == "routed", "waiting_max_s"].max() == 8


def test_an_implausible_end_of_the_observation_is_ignored() -> None:
    events = log(("a", "accepted", 0), ("b", "accepted", 1), ("b", "delivered", 2))
    events["observed_until"] = pd.to_datetime(["9999-12-31T23:59:59Z", "2020-07-13T12:00:09Z", None])
    until = journeys(events).set_index("message_id")["observed_until"]
    assert until["a"] == START + timedelta(seconds=2)
    assert until["b"] == START + timedelta(seconds=9)
