"""Logs of other programs and providers: their columns, states, times and ids, as long and wide tables and JSON."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import viberkit as vk
from viberkit.errors import MissingColumn, UnreadableRecord
from viberkit.frames.columns import EVENTS
from viberkit.frames.reader import UncertainTimesWarning, UnknownStatesWarning

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
drawn = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
COLUMNS = {"message_id": "Ref", "state": "Status", "happened_at": "When"}


def table(*rows: tuple[Any, ...], names: tuple[str, ...] = ("Ref", "Status", "When")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(names))


def read(source: Any, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """The events, and the texts of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        events = vk.read_events(source, **options)
    return events, [str(warning.message) for warning in caught]


def rows_of(events: pd.DataFrame) -> list[tuple[Any, ...]]:
    times = [at.isoformat().removesuffix("+00:00") for at in events["happened_at"]]
    return list(zip(events["message_id"], events["state"].astype("str"), times, strict=True))


# --- names of columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        {theirs: ours for ours, theirs in COLUMNS.items()},
        {"message_id": "Ref", "Status": "state", "When": "happened_at"},
    ],
)
def test_columns_are_named_in_either_direction(columns: dict[str, str]) -> None:
    events, texts = read(table(("a", "delivered", "2024-05-06T07:08:09Z")).assign(Land="DE"), columns=columns)
    assert rows_of(events) == [("a", "delivered", "2024-05-06T07:08:09")]
    assert events["Land"].tolist() == ["DE"]
    assert texts == []
    assert [column.name for column in EVENTS] == events.columns[:-1].tolist()


def test_a_wrong_column_names_the_likely_one() -> None:
    frame = table(("a", "delivered", "2024-05-06T07:08:09Z"))
    with pytest.raises(MissingColumn, match="no column 'status_'; did you mean 'Status'"):
        vk.read_events(frame, columns=COLUMNS | {"state": "status_"})
    with pytest.raises(MissingColumn, match="no column 'happened_at'; the columns are: 'message_id', 'state', 'When'"):
        vk.read_events(frame, columns={"message_id": "Ref", "state": "Status"})
    with pytest.raises(MissingColumn, match=r"pass columns=\{…\} for other names\): no columns 'message_id'"):
        vk.read_events(frame)
    with pytest.raises(ValueError, match="columns: 'Ref' and 'Id' are both 'message_id'"):
        vk.read_events(frame.assign(Id="x"), columns={"Ref": "message_id", "Id": "message_id"})


def test_a_column_of_the_log_with_a_name_of_ours_does_not_win() -> None:
    frame = table(("a", "delivered", "2024-05-06T07:08:09Z")).assign(state="Bavaria")
    events, _ = read(frame, columns=COLUMNS)
    assert events["state"].tolist() == ["delivered"]
    swapped = pd.DataFrame({"state": ["a"], "message_id": ["delivered"], "happened_at": ["2024-05-06T07:08:09Z"]})
    events, _ = read(swapped, columns={"message_id": "state", "state": "message_id"})
    assert rows_of(events) == [("a", "delivered", "2024-05-06T07:08:09")]


# --- states --------------------------------------------------------------------------------------------------


def test_states_are_mapped_without_regard_to_case_and_others_are_listed_once() -> None:
    at = "2024-05-06T07:08:09Z"
    texts = ["DELIVRD", "delivrd", "Delivered", "message-delivered", "CHANNEL FAILED", "EXPIRED", "odd", "ODD", "Weird"]
    frame = table(*((f"m{n}", text, at) for n, text in enumerate(texts)))
    events, caught = read(frame, columns=COLUMNS, states={"Delivrd": "delivered", "expired": "failed"})
    assert events["state"].tolist() == [*["delivered"] * 4, "channel_failed", "failed", "odd", "ODD", "Weird"]
    assert len(caught) == 1
    assert "2 states are not known: 'odd' (2), 'Weird' (1); pass what they mean as states={'odd':" in caught[0]
    with pytest.warns(UnknownStatesWarning):
        vk.read_events(frame, columns=COLUMNS)


def test_states_may_be_numbers() -> None:
    frame = table(("a", 4, "2024-05-06T07:08:09Z"), ("a", 1, "2024-05-06T07:08:08Z"), ("b", 9, "2024-05-06T07:08:09Z"))
    events, texts = read(frame, columns=COLUMNS, states={"4": "delivered", 1: "MessageStatus::accepted", "9": "failed"})
    assert events["state"].tolist() == ["delivered", "accepted", "failed"]
    assert texts == []
    with pytest.raises(ValueError, match="states: 'x': 'delivred' is not known; did you mean 'delivered'"):
        vk.read_events(frame, columns=COLUMNS, states={"x": "delivred"})


def test_events_of_calls_are_not_unknown_states() -> None:
    events, texts = read(table(("c", "CallStatus::ringing", "2024-05-06T07:08:09Z")), columns=COLUMNS)
    assert events["state"].tolist() == ["CallStatus::ringing"]
    assert texts == []


# --- times ---------------------------------------------------------------------------------------------------

TIMES = {
    "2024-05-06T07:08": "2024-05-06T07:08:00",
    "2024-05-06 07:08:09.123456": "2024-05-06T07:08:09.123456",
    "2024-05-06T07:08:09+0200": "2024-05-06T05:08:09",
    "2024-05-06T07:08:09.5-05:30": "2024-05-06T12:38:09.5",
    "2024-05-06 07:08:09 +0000": "2024-05-06T07:08:09",
    "2024-05-06 07:08:09.5 +02:00": "2024-05-06T05:08:09.5",
    "2024-05-06T07:08:09 -0530": "2024-05-06T12:38:09",
    "2024-05-06 07:08:09 +0200 CEST": "2024-05-06T05:08:09",
    "2024-05-06 07:08:09 UTC": "2024-05-06T07:08:09",
    "2024-05-06 07:08 GMT": "2024-05-06T07:08:00",
    "2024-05-06 07:08:09 Z": "2024-05-06T07:08:09",
    "2024/05/06 07:08:09": "2024-05-06T07:08:09",
    "2024/05/06 07:08:09 +0200": "2024-05-06T05:08:09",
    "Mon, 06 May 2024 07:08:09 +0000": "2024-05-06T07:08:09",
    "6 May 2024 07:08:09 GMT": "2024-05-06T07:08:09",
    "1714979289": "2024-05-06T07:08:09",
    "1714979289.25": "2024-05-06T07:08:09.25",
    "1714979289123": "2024-05-06T07:08:09.123",
    "1714979289123456": "2024-05-06T07:08:09.123456",
    "1714979289123456789": "2024-05-06T07:08:09.123456",
}


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
@pytest.mark.parametrize("kind", ["text", "number"])
def test_formats_of_times(text: str, expected: str, kind: str) -> None:
    number = kind == "number" and text.replace(".", "").isdecimal()
    value: Any = json.loads(text) if number else text
    events, texts = read(table(("a", "delivered", value), ("b", "delivered", value)), columns=COLUMNS)
    assert events["happened_at"].tolist() == [pd.Timestamp(expected, tz="UTC")] * 2
    assert texts == []


def test_numbers_since_1970_with_gaps_are_floats() -> None:
    frame = pd.DataFrame({"message_id": ["a", "b"], "state": "seen", "happened_at": [1714979289123.0, np.nan]})
    events, _ = read(frame)
    assert events["happened_at"].tolist() == [pd.Timestamp("2024-05-06T07:08:09.123Z")]
    halves, _ = read(frame.assign(happened_at=[1714979289123.5, 1714979289.5]))
    expected = [pd.Timestamp("2024-05-06T07:08:09.1235Z"), pd.Timestamp("2024-05-06T07:08:09.5Z")]
    assert halves["happened_at"].tolist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_numbers_since_1970_in_a_row_per_message_with_gaps(unit: str) -> None:
    accepted = pd.Series(pd.to_datetime(["2024-05-06T07:08:09Z", "2024-05-06T07:08:10Z"]))
    if unit in ("us", "ns"):
        accepted += pd.Timedelta("123457us")
    numbers = accepted.dt.tz_localize(None).astype(f"datetime64[{unit}]").astype("int64")
    frame = pd.DataFrame({"Ref": ["a", "b"], "Sent": numbers, "Done": [np.nan, float(numbers[1])]})
    events, _ = read(frame, columns={"message_id": "Ref", "accepted": "Sent", "delivered": "Done"})
    assert events.attrs["skipped"] == []
    assert events["state"].tolist() == ["accepted", "accepted", "delivered"]
    assert events["happened_at"].tolist() == [*accepted, accepted[1]]


def test_nothing_to_read() -> None:
    for source in ([], pd.DataFrame({"Ref": [], "Status": [], "When": []})):
        events, texts = read(source, columns=COLUMNS)
        pd.testing.assert_frame_equal(events, EVENTS.empty())
        assert texts == []
    assert len(read([], provider="whatsapp")[0]) == 0


def test_numbers_since_1970_in_several_units_are_reported() -> None:
    frame = table(*((f"m{n}", "delivered", at) for n, at in enumerate(["1714979289", "1714979290", "1714979289123"])))
    events, texts = read(frame, columns=COLUMNS)
    assert events.attrs["epoch_units"] == {"happened_at": {"s": 2, "ms": 1}}
    assert texts == ["happened_at has numbers since 1970 in several units, by their size: {'s': 2, 'ms': 1}"]
    with pytest.warns(UncertainTimesWarning):
        vk.read_events(frame, columns=COLUMNS)


@pytest.mark.parametrize(
    "text", ["20240506", "20240506070809", "17149792891", "nan", "06/05/2024 07:08", "soon", "2024-05-06 +0200"]
)
def test_times_that_could_mean_several_instants_are_refused(text: str) -> None:
    events, _ = read(table(("a", "delivered", text)), columns=COLUMNS)
    assert len(events) == 0
    (entry,) = events.attrs["skipped"]
    assert entry["field"] == "happened_at"


def test_a_time_format_may_be_passed() -> None:
    frame = table(("a", "delivered", "06/05/2024 07:08"), ("b", "delivered", "2024-05-06T07:09Z"), ("c", "seen", "?"))
    events, _ = read(frame, columns=COLUMNS, time_format="%d/%m/%Y %H:%M", tz="Europe/Berlin")
    assert rows_of(events) == [("a", "delivered", "2024-05-06T05:08:00"), ("b", "delivered", "2024-05-06T07:09:00")]
    assert len(events.attrs["skipped"]) == 1
    assert "pass time_format" in read(frame, columns=COLUMNS)[0].attrs["skipped"][0]["reason"]
    tidy = frame.set_axis(["message_id", "state", "happened_at"], axis=1)
    assert rows_of(read(tidy, time_format="%d/%m/%Y %H:%M", tz="Europe/Berlin")[0]) == rows_of(events)
    zoned, _ = read(table(("a", "seen", "06.05.2024 07:08 +0200")), columns=COLUMNS, time_format="%d.%m.%Y %H:%M %z")
    assert zoned["happened_at"].tolist() == [pd.Timestamp("2024-05-06T05:08Z")]
    assert zoned["naive"].tolist() == [False]


def test_local_times_become_utc_and_those_that_occur_twice_or_never_are_reported() -> None:
    local = ["2024-07-01 12:00", "2024-01-01 12:00", "2024-10-27 02:30", "2024-03-31 02:15", "2024-10-27 02:30+02:00"]
    frame = table(*((f"m{n}", "seen", at) for n, at in enumerate(local)))
    utc = ["2024-07-01T10:00Z", "2024-01-01T11:00Z", "2024-10-27T00:30Z", "2024-03-31T01:00Z", "2024-10-27T00:30Z"]
    for source in (frame, frame.head(4).assign(When=pd.to_datetime(pd.Series(local[:4])))):
        events, texts = read(source, columns=COLUMNS, tz="Europe/Berlin")
        assert events["happened_at"].tolist() == [pd.Timestamp(at) for at in utc[: len(source)]]
        assert events["naive"].tolist() == [False, False, True, True, False][: len(source)]
        assert len(texts) == 1
        assert "1 local times in Europe/Berlin occur twice; the first is taken" in texts[0]
        assert "1 local times in Europe/Berlin do not exist; the next is taken" in texts[0]
    tidy = frame.set_axis(["message_id", "state", "happened_at"], axis=1)
    assert read(tidy, tz="Europe/Berlin")[0]["happened_at"].tolist() == [pd.Timestamp(at) for at in utc]
    record = {"messageId": "m", "acceptedAt": "2024-07-01T12:00:00"}
    assert read([record], tz="Europe/Berlin")[0]["happened_at"].tolist() == [pd.Timestamp("2024-07-01T10:00Z")]
    with pytest.raises(ValueError, match="tz: 'Berlin' is not the name of a time zone"):
        vk.read_events(frame, columns=COLUMNS, tz="Berlin")


@drawn
@given(
    st.lists(st.datetimes(pd.Timestamp("1990").to_pydatetime(), pd.Timestamp("2037").to_pydatetime()), max_size=8),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
)
def test_local_times_are_those_of_the_time_zone_database(times: list[Any], tz: str) -> None:
    from zoneinfo import ZoneInfo

    frame = table(*((f"m{n}", "seen", time.isoformat()) for n, time in enumerate(times)))
    events, _ = read(frame, columns=COLUMNS, tz=tz)
    for time, at, marked in zip(times, events["happened_at"], events["naive"], strict=True):
        first, second = (time.replace(tzinfo=ZoneInfo(tz), fold=fold).utcoffset() for fold in (0, 1))
        assert marked == (first != second)
        assert marked or at == pd.Timestamp(time.replace(tzinfo=ZoneInfo(tz)))
        assert second > first or at == pd.Timestamp(time.replace(tzinfo=ZoneInfo(tz)))  # type: ignore[operator]


# --- ids -----------------------------------------------------------------------------------------------------


def test_ids_are_normalized_by_choice() -> None:
    ids = [" {ABC-1}", "abc-1", "000123", "123", "'x'", "\u00a0Y "]
    frame = table(*((text, "seen", "2024-05-06T07:08:09Z") for text in ids))
    assert read(frame, columns=COLUMNS)[0]["message_id"].tolist() == ids
    stripped = ["ABC-1", "abc-1", "000123", "123", "x", "Y"]
    assert read(frame, columns=COLUMNS, ids="strip")[0]["message_id"].tolist() == stripped
    folded = ["abc-1", "abc-1", "123", "123", "x", "y"]
    assert read(frame, columns=COLUMNS, ids="fold")[0]["message_id"].tolist() == folded
    with pytest.raises(ValueError, match="ids: 'Strip' is not known; did you mean 'strip'"):
        vk.read_events(frame, columns=COLUMNS, ids="Strip")  # type: ignore[arg-type]


def test_ids_that_a_float_rounded_are_refused_and_others_restored(tmp_path: Path) -> None:
    at = "2024-05-06T07:08:09Z"
    events, _ = read(
        table((5463481551745434076.0, "seen", at), (12345678901.0, "seen", at), (np.nan, "seen", at)), columns=COLUMNS
    )
    assert events["message_id"].tolist() == ["12345678901"]
    rounded, missing = (entry["reason"] for entry in events.attrs["skipped"])
    assert "a float has lost its last digits; read the column as text, e.g. with dtype=str" in rounded
    assert missing == "message_id: is missing"
    (tmp_path / "log.csv").write_text(
        f"Ref;Status;When\n5.463481551745434e+18;seen;{at}\n5463481551745434076;seen;{at}\n"
    )
    events, _ = read(tmp_path / "log.csv", columns=COLUMNS)
    assert events["message_id"].tolist() == ["5463481551745434076"]
    assert "a float has lost its last digits" in events.attrs["skipped"][0]["reason"]


# --- wide tables ---------------------------------------------------------------------------------------------


def test_a_row_per_message_with_a_time_per_state() -> None:
    frame = pd.DataFrame(
        {
            "Ref": ["a", "b", "c"],
            "Sent": ["2024-05-06T07:00:00Z", "2024-05-06T07:01:00Z", None],
            "Done": ["2024-05-06T07:00:02Z", None, None],
            "country": ["DE", "FR", "IT"],
        }
    )
    events, texts = read(frame, columns={"message_id": "Ref", "accepted": "Sent", "delivered_at": "Done"})
    assert [row[:2] for row in rows_of(events)] == [("a", "accepted"), ("a", "delivered"), ("b", "accepted")]
    assert events["country"].tolist() == ["DE", "DE", "FR"]
    assert [(entry["line"], entry["reason"]) for entry in events.attrs["skipped"]] == [(3, "happened_at: is missing")]
    assert len(texts) == 1
    journeys = vk.journeys(events)
    ours = read(journeys[["message_id", "accepted_at", "delivered_at", "country"]])[0]
    assert rows_of(ours) == rows_of(events)


def test_a_last_state_beside_times_of_others() -> None:
    frame = pd.DataFrame(
        {"id": ["a", "b"], "sent": [1714979289, 1714979290], "status": ["delivered", None], "done": [1714979291, None]}
    )
    columns = {"message_id": "id", "accepted": "sent", "state": "status", "happened_at": "done"}
    events, texts = read(frame, columns=columns)
    assert rows_of(events) == [
        ("a", "delivered", "2024-05-06T07:08:11"),
        ("a", "accepted", "2024-05-06T07:08:09"),
        ("b", "accepted", "2024-05-06T07:08:10"),
    ]
    assert texts == []


# --- kinds of sources ----------------------------------------------------------------------------------------


def test_arrow_and_polars_tables() -> None:
    polars = pytest.importorskip("polars")
    data = {
        "Ref": [5463481551745434076, None],
        "Status": ["delivered", "seen"],
        "When": [pd.Timestamp("2024-05-06T07:08:09Z").to_pydatetime()] * 2,
    }
    for source in (pa.table(data), polars.DataFrame(data)):
        events, _ = read(source, columns=COLUMNS)
        assert events["message_id"].tolist() == ["5463481551745434076"]
        assert events["happened_at"].tolist() == [pd.Timestamp("2024-05-06T07:08:09Z")]
        assert len(events.attrs["skipped"]) == 1
    tidy = polars.DataFrame({"message_id": ["m"], "state": ["seen"], "happened_at": ["2024-05-06T07:08:09Z"]})
    assert rows_of(vk.read_events(tidy)) == [("m", "seen", "2024-05-06T07:08:09")]


def test_polars_categories_and_lists_and_integers_of_128_bits() -> None:
    polars = pytest.importorskip("polars")
    tidy = polars.DataFrame(
        {"message_id": ["a", "b"], "state": ["seen", None], "happened_at": ["2024-05-06T07:08Z"] * 2}
    )
    for dtype in (polars.Categorical, polars.Enum(["seen"]), polars.String):
        source = tidy.with_columns(polars.col("state").cast(dtype), polars.col("message_id").cast(polars.Categorical))
        source = source.with_columns(tags=polars.Series([["x"], ["y"]], dtype=polars.List(polars.Categorical)))
        events, _ = read(source)
        assert rows_of(events) == [("a", "seen", "2024-05-06T07:08:00")]
        assert events["tags"].tolist() == [["x"]]
    with pytest.raises(UnreadableRecord, match="table: a column has a type that cannot be read; cast it to text"):
        vk.read_events(tidy.with_columns(size=polars.lit(1).cast(polars.Int128)))


CSV = "Ref,Status,When\na,delivered,2024-05-06T07:08:09Z\nb,zugestellt für „x“,2024-05-06T07:08:10Z\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["log.csv", "log.txt"])
def test_csv_files(tmp_path: Path, encoding: str, delimiter: str, name: str) -> None:
    (tmp_path / name).write_bytes(CSV.replace(",", delimiter).encode(encoding))
    events, texts = read(tmp_path / name, columns=COLUMNS, states={"Zugestellt für „x“": "delivered"})
    assert [row[:2] for row in rows_of(events)] == [("a", "delivered"), ("b", "delivered")]
    assert events.attrs.get("encoding") == ("cp1252" if encoding == "cp1252" else None)
    assert texts == []


def test_json_documents_and_lines(tmp_path: Path) -> None:
    records = [{"Ref": f"m{n}", "data": {"Status": "seen", "times": [{"When": 1714979289 + n}]}} for n in range(3)]
    columns = {"message_id": "Ref", "state": "data.Status", "happened_at": "data.times.0.When"}
    texts = [
        json.dumps(records, indent=2),
        "\n".join(map(json.dumps, records)),
        "\n\n".join([*map(json.dumps, records), "{"]),
    ]
    for text in texts:
        (tmp_path / "log.json").write_text(text)
        events, _ = read(tmp_path / "log.json", columns=columns)
        assert events["message_id"].tolist() == ["m0", "m1", "m2"]
        assert events["state"].tolist() == ["seen"] * 3
        assert [entry["line"] for entry in events.attrs["skipped"]] == ([7] if text.endswith("{") else [])
    assert read(records, columns=columns)[0]["message_id"].tolist() == ["m0", "m1", "m2"]


# --- any log -------------------------------------------------------------------------------------------------

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(st.characters(), max_size=6),
    st.text(st.characters(categories=["Cs"]), max_size=2),
    st.binary(max_size=4),
    st.sampled_from(
        ["delivered", "DELIVERED", "message-seen", "DELIVRD", *TIMES, "2024-10-27T02:30", "5.5e+18", 1714979289]
    ),
    st.datetimes(),
    st.lists(st.integers(), max_size=2),
)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"columns": COLUMNS},
    {"columns": COLUMNS, "tz": "Europe/Berlin", "ids": "fold", "states": {"DELIVRD": "delivered"}},
    {"columns": {"message_id": "Ref", "accepted": "Status", "delivered": "When"}},
    {
        "columns": {"message_id": "Ref", "state": "Status", "happened_at": "When", "seen": "Late"},
        "time_format": "%d.%m.%Y",
    },
    *({"provider": name} for name in ("twilio", "infobip", "vonage", "sinch", "whatsapp")),
]
NAMES = [
    *COLUMNS.values(),
    "Late",
    "sid",
    "status",
    "date_created",
    "id",
    "timestamp",
    "messageId",
    "sentAt",
    "batch_id",
    "at",
    "recipient",
    "direction",
]


@drawn
@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(values, min_size=3, max_size=3), max_size=9),
    st.sampled_from(OPTIONS),
)
def test_any_table_is_read_or_its_rows_are_skipped(data: dict[str, list[Any]], options: dict[str, Any]) -> None:
    frame = pd.DataFrame({name: pd.Series(items, dtype=object) for name, items in data.items()}, index=range(3))
    before = frame.copy(deep=True)
    for source in (frame, [{name: items[n] for name, items in data.items()} for n in range(3)]):
        if isinstance(source, list) and not options:
            continue
        try:
            events, _ = read(source, **options)
        except (MissingColumn, UnreadableRecord):
            continue
        assert [str(events[column.name].dtype) for column in EVENTS] == [column.dtype for column in EVENTS]
        skipped = {entry["line"] for entry in events.attrs["skipped"]}
        assert skipped <= {1, 2, 3}
        assert len(events) + len(events.attrs["skipped"]) >= 3
    pd.testing.assert_frame_equal(frame, before)


jsons = st.recursive(
    values.filter(lambda value: isinstance(value, str | int | None)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*NAMES, "entry", "changes", "value", "statuses", "results", "messages", "message_delivery_report"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@drawn
@given(jsons, st.sampled_from(OPTIONS[1:]), st.booleans())
def test_any_json_is_read_or_skipped(tmp_path_factory: Any, value: Any, options: dict[str, Any], indent: bool) -> None:
    path = tmp_path_factory.mktemp("json") / "log.json"
    path.write_text(json.dumps(value, indent=2 if indent else None))
    try:
        events, _ = read(path, **options)
    except (MissingColumn, UnreadableRecord):
        return
    count = len(value) if isinstance(value, list) else 1
    assert {entry["line"] for entry in events.attrs["skipped"]} <= {*range(1, count + 5)}
