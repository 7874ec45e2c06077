"""read_events: its result, the skipped records, and the agreement of bulk reading with the reference reader."""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from viberkit.errors import MissingColumn, UnreadableRecord
from viberkit.frames import jsonlines
from viberkit.frames.columns import EVENTS
from viberkit.frames.mapping import LogFormat
from viberkit.frames.reader import SkippedRows, SkippedRowsWarning, _to_frame, read_events
from viberkit.models.parsing import read_record

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
drawn = settings(deadline=None, suppress_health_check=list(HealthCheck))
# Reading a file costs far more than reading a record, so fewer files with more records each are drawn.
files_of_many = settings(drawn, max_examples=max(EXAMPLES // 4, 5))


@pytest.fixture(autouse=True, scope="module")
def _shared_database() -> Iterator[None]:
    """One database for all the files of these tests: starting one takes longer than reading a small file."""
    with duckdb.connect(":memory:") as database, pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", lambda _: database.cursor())
        yield


GUIDE = {
    "messageId": "8fb360a1-0c35-4df8-b7d5-6ef2a3e7b8a4",
    "history": [
        {"happendAt": "2020-07-13T12:19:17.606Z", "state": "message-accepted"},
        {"deliveryChannel": "viber", "happendAt": "2020-07-13T12:19:17.644Z", "state": "message-routing-success"},
        {"deliveryChannel": "viber", "happendAt": "2020-07-13T12:19:17.781Z", "state": "message-dispatching-success"},
        {
            "deliveryChannel": "viber",
            "happendAt": "2020-07-13T12:19:18.967Z",
            "state": "message-delivered",
            "details": {"from": "123456789"},
        },
    ],
}
V2 = {
    "messageId": "v2-1",
    "userContext": "c",
    "history": [
        {"happenedAt": "2020-07-13T12:19:17.606Z", "state": "accepted", "channel": "viber"},
        {
            "happenedAt": "2020-07-13T12:19:17.7Z",
            "state": "dispatching_failed",
            "channel": "viber",
            "details": {"code": "viber::error::x", "message": "No"},
        },
    ],
}
V3 = {
    "messageId": "v3-1",
    "events": [
        {"timestamp": "2020-07-13T12:19:17.606000Z", "event": "MessageStatus::accepted", "channel": "viber"},
        {
            "timestamp": "2020-07-13T12:19:20Z",
            "event": "MessageStatus::channelFailed",
            "channel": "viber",
            "details": {"code": "viber::error::y", "message": "Nein"},
        },
    ],
}
CALLBACK = {
    "event": "MessageStatus::delivered",
    "messageId": "cb-1",
    "channel": "viber",
    "timestamp": "2020-07-13T12:19:18.967",
    "status": "delivered",
}
STATUS = {
    "messageId": "st-1",
    "deliveryChannel": "viber",
    "status": "seen",
    "timestamp": "2020-07-13T13:02:53.704Z",
}
SEND = {"messageId": "sd-1", "acceptedAt": "2020-07-13T12:19:17.606Z"}
RECORDS: list[dict[str, Any]] = [GUIDE, V2, V3, CALLBACK, STATUS, SEND]


def read(source: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRowsWarning)
        return read_events(source)


def read_text(data: bytes | str, name: str = "log.jsonl") -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        return read(path)


def reference(data: bytes) -> pd.DataFrame:
    """Read every line of these bytes with the reference reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(data)
        events, skipped, _ = _to_frame(jsonlines.read_lines_one_by_one(path), LogFormat())
    events.attrs["skipped"] = SkippedRows(skipped)
    return events


def agree(data: bytes) -> pd.DataFrame:
    fast, slow = read_text(data), reference(data)
    pd.testing.assert_frame_equal(fast, slow)
    assert fast.attrs["skipped"] == slow.attrs["skipped"]
    return fast


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


# --- the result --------------------------------------------------------------------------------------


def test_every_dialect_in_file_order() -> None:
    events = agree(lines(*RECORDS))
    assert events["message_id"].tolist() == [
        *[GUIDE["messageId"]] * 4,
        *["v2-1"] * 2,
        *["v3-1"] * 2,
        "cb-1",
        "st-1",
        "sd-1",
    ]
    assert events["state"].tolist() == [
        "accepted",
        "routed",
        "dispatched",
        "delivered",
        "accepted",
        "channel_failed",
        "accepted",
        "channel_failed",
        "delivered",
        "seen",
        "accepted",
    ]
    assert events["source"].tolist() == ["history"] * 8 + ["callback", "status", "send"]
    assert events["naive"].tolist() == [False] * 8 + [True, False, False]
    assert events["code"].dropna().tolist() == ["viber::error::x", "viber::error::y"]
    assert events["detail"].dropna().tolist() == ["No", "Nein"]
    assert events["happened_at"].iloc[5] == pd.Timestamp("2020-07-13T12:19:17.7Z")
    assert events.attrs["skipped"] == []
    assert (events.dtypes == EVENTS.frame(events).dtypes).all()
    assert events["received_at"].isna().all()


def test_records_and_files_read_the_same() -> None:
    records = [*RECORDS, {"messageId": "m"}, 5, {"messageId": "m", "history": []}]
    from_file, from_records = read_text(lines(*records)), read(records)
    pd.testing.assert_frame_equal(from_file, from_records)
    assert [entry["line"] for entry in from_records.attrs["skipped"]] == [7, 8]


@pytest.mark.parametrize("source", [b"", b"\n \n\t\r\n", lines({"messageId": "m", "history": []})])
def test_an_empty_file_gives_an_empty_frame_with_every_dtype(source: bytes) -> None:
    events = agree(source)
    assert len(events) == 0
    assert (events.dtypes == EVENTS.empty().dtypes).all()
    assert events.attrs["skipped"] == []


def test_no_records_give_an_empty_frame() -> None:
    assert (read([]).dtypes == EVENTS.empty().dtypes).all()


def test_ids_are_never_numbers() -> None:
    ids = ['"5463481551745434076"', "5463481551745434076", "123456789012345678901234567890", '"007"', '"1e5"']
    data = "".join(f'{{"messageId": {value}, "acceptedAt": "2020-07-13T12:19:17Z"}}\n' for value in ids)
    assert agree(data.encode())["message_id"].tolist() == [value.strip('"') for value in ids]


def test_an_unrecognised_state_keeps_its_text() -> None:
    record = {"messageId": "m", "history": [{"happendAt": "2020-07-13T12:19:17Z", "state": "message-teleported"}]}
    events = agree(lines(record))
    assert events["state"].tolist() == ["message-teleported"]
    assert events["state"].cat.categories[-1] == "message-teleported"


def test_every_record_is_counted_and_one_warning_is_given(tmp_path: Path) -> None:
    partly_readable = {"messageId": "h", "history": [GUIDE["history"][0], {"state": "x"}, 5, None]}
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        lines(GUIDE) + b"not json +491701234567\n\n" + lines(partly_readable, {"messageId": "e", "events": []})
    )
    with pytest.warns(SkippedRowsWarning, match=r"4 of 5 records|4 of [0-9]+ records") as warned:
        events = read_events(path)
    assert len(warned) == 1
    skipped = events.attrs["skipped"]
    assert len(events) == 4 + 1
    assert [(entry["line"], entry["field"]) for entry in skipped] == [
        (2, "record"),
        (4, "history[1]"),
        (4, "history[2]"),
        (4, "history[3]"),
    ]
    assert "491701234567" not in str(skipped)
    assert set(skipped[0]) == {"line", "field", "reason", "text"}


def test_skipped_rows_survive_operations_on_the_frame(tmp_path: Path) -> None:
    events = read_text(lines(GUIDE) + b"{\n")
    skipped = events.attrs["skipped"]
    assert copy.deepcopy(skipped) is skipped
    assert json.loads(json.dumps(skipped)) == skipped
    assert events.iloc[:2].attrs["skipped"] is skipped
    assert len(pd.concat([events, events])) == 8
    events.to_parquet(tmp_path / "events.parquet")
    again = read(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(again, events)
    assert again.attrs["skipped"] == []


# --- tidy sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events.parquet", "events.csv", "events.csv.gz"])
def test_tidy_files_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    events = read(RECORDS).assign(rate_type="transaction")
    path = tmp_path / name
    events.to_parquet(path) if name.endswith("parquet") else events.to_csv(path, index=False)
    again = read(path)
    pd.testing.assert_frame_equal(again, events)


def test_unreadable_tidy_rows_are_skipped() -> None:
    text = (
        "message_id,state,happened_at\n12345678901234567890,accepted,2020-07-13T12:19:17.606\n"
        "b,success,2020-07-13 12:19:17+02:00\n,accepted,2020-07-13T12:19:17Z\nd,accepted,soon\n"
        "e,,2020-07-13T12:19:17Z\n"
        "f,accepted,2020-07-13T12:19:17Z,too,many\ng,message-seen,2020-07-13T12:19:18Z\n"
    )
    events = read_text(text, "events.csv")
    assert events["message_id"].tolist() == ["12345678901234567890", "b", "g"]
    assert events["state"].tolist() == ["accepted", "delivered", "seen"]
    assert events["naive"].tolist() == [True, False, False]
    assert [(entry["line"], entry["field"]) for entry in events.attrs["skipped"]] == [
        (4, "message_id"),
        (5, "happened_at"),
        (6, "state"),
        (7, "record"),
    ]


def test_a_tidy_source_without_a_required_column_raises() -> None:
    with pytest.raises(MissingColumn, match="no column 'happened_at'; the columns are: 'message_id', 'state'"):
        read_events(pd.DataFrame({"message_id": ["m"], "state": ["accepted"]}))


def test_a_file_that_is_not_parquet_raises(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UnreadableRecord, match=r"x\.parquet"):
        read_events(tmp_path / "x.parquet")


def test_a_missing_file_raises_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "none.jsonl")


def test_a_single_mapping_raises() -> None:
    with pytest.raises(TypeError, match="a path, a DataFrame or a list of records"):
        read_events(GUIDE)


# --- irregular files------------------------------------------------------------------------------------

LINE = lines(SEND)
CALLBACK_LINE = lines(CALLBACK)


@pytest.mark.parametrize(
    "data",
    [
        LINE.replace(b"\n", b"\r\n") * 2,
        LINE.replace(b"\n", b"\r") + LINE,
        b"\xef\xbb\xbf" + LINE + LINE,
        LINE + b'{"messageId": "\xff", "acceptedAt": "2020-07-13T12:19:17Z"}\n' + LINE,
        LINE + b'{"messageId": "x", "acceptedAt": "2020-07-13T12:19:17Z", "y": "\xff"}\n' + LINE,
        LINE + b'[1]\n5\n"a"\nnull\ntrue\n' + LINE,
        LINE + LINE[:-1] + LINE + LINE,
        LINE + b'{"messageId":\n"k"}\n' + LINE,
        LINE + LINE[:-1] + b" x\n",
        LINE + b"\x00\n" + LINE[:-1] + b"\x0b\n\x0c\n" + LINE,
        LINE + LINE[:-1],
        LINE + b"// a comment\n" + LINE[:-1] + b" // x\n",
        b"\n\n" + LINE + b"   \n" + LINE + b"nonsense\n\n",
        LINE.replace(b'Z"}', b'Z", }') + LINE,
        LINE.replace(b'Z"}', b'Z", "x": NaN}') + LINE.replace(b'Z"}', b'Z", "x": -Infinity}'),
        b'{"messageId": "m", "history": 5, "events": []}\n{"messageId": "m", "history": {}, "event": "x"}\n',
        b'{"messageId": "m", "history": [], "events": [{"timestamp": "2020-07-13T12:19:17Z", "event": "seen"}]}\n',
        b'{"message\\u0049d": "m", "acceptedAt": "2020-07-13T12:19:17Z"}\n',
        b'{"messageId": "a\\u0000b", "acceptedAt": "2020-07-13T12:19:17Z"}\n',
        *(LINE.replace(b'Z"}', b'Z", "x": %b}' % number) for number in (b"nan", b"-nan", b"[inf]", b"-infinity")),
        *(
            LINE.replace(b'"sd-1"', value)
            for value in (b"1e5", b"true", b"nan", b'" "', b'"\xc2\xa0"', b'"1e5"', b'"nan"')
        ),
        *(
            CALLBACK_LINE.replace(b'"viber"', value)
            for value in (b"1", b"true", b"nan", b"[]", b"null", b'"[]"', b'"1"')
        ),
        LINE + b'{"messageId": "c", "x": "' + b"y" * 17_000_000 + b'"}\n' + LINE,
    ],
)
def test_irregular_files_are_read_as_by_the_reference_reader(data: bytes) -> None:
    agree(data)


@pytest.mark.parametrize(
    "instant",
    [
        "2020-07-13T24:00:00Z",
        "2020-07-13T12:19:60Z",
        "2020-02-30T12:19:17.606Z",
        "2020/07/13T12:19:17.606Z",
        "2020-07-13 12:19:17.606Z",
        "2020-07-13t12:19:17.606z",
        "0000-07-13T12:19:17.606Z",
        "0999-07-13T12:19:17.606Z",
        "-020-07-13T12:19:17.606Z",
        " 020-07-13T12:19:17.606Z",
        "9999-12-31T23:59:59.999999Z",
        "2020-07-13T12:19:17.606",
        "2020-07-13T12:19:17.606+02:00",
        "2020-07-13T12:19:17.6061234Z",
        "2020-07-13T12:19:17,606Z",
        "2020-07-13T1 :19:17.606Z",
        "2020-07-13T12:19:17.6 6Z",
        "2020-07-13T12:19:17.606Zjunk",
        "2020-07-13T12:19:17",
        "2020-07-13T12:19:8.967",
        "2020-07-13T12:19:8.967Z",
        "2020-07-13T12:19:8Z",
        "2020-07-13T12:19:8 ",
        "2020-07-13T12:19:8.",
        "2020-07-13T12:9:17.606Z",
        "2020-07-13T2:19:17.6061Z",
        "2020-7-13T12:19:17.6061Z",
        "2020-07-13T12:19:17.606Z ",
        "2020-07-13T12:19:17.606 \n",
        "\t2020-07-13T12:19:17Z",
        "2020-7-13T12:19:17.606Z",
        "2020-07-13T12:19:17.6Z",
        "2020-07-13T12:19:17.6061Z",
        "2020-07-13T12:19:17.606123456",
        "2020-07-13T12:19:17.Z",
        "2020-07-13T12:19:17.",
        "2020-07-13T12:19:17ZZ",
        "2020-07-13T12:19:17.+06",
        "2020-07-13T12:19:17+02:00Z",
        "2020-07-13",
        "infinity",
        "epoch",
        "\u0662020-07-13T12:19:17.606Z",
        "",
        5,
        None,
    ],
)
def test_irregular_instants_are_read_as_by_the_reference_reader(instant: Any) -> None:
    agree(
        lines({**SEND, "acceptedAt": instant}, {"messageId": "m", "history": [{"happendAt": instant, "state": "seen"}]})
    )


def test_a_truncated_gzip_is_read_up_to_its_end(tmp_path: Path) -> None:
    data = lines(*(dict(SEND, messageId=f"m{random.random()}") for _ in range(2_000)))
    complete = gzip.compress(data)
    assert len(read_text(complete, "log.jsonl.gz")) == 2_000
    truncated = read_text(complete[: len(complete) // 2], "log.jsonl.gz")
    assert 0 < len(truncated) < 2_000
    assert "is damaged" in truncated.attrs["skipped"][-1]["reason"]


@pytest.mark.parametrize("name", ["a*b.jsonl", "a[1].jsonl", "what?.jsonl", "it's.jsonl", "a=b.jsonl", "ж.jsonl"])
def test_a_file_name_is_not_a_pattern(name: str) -> None:
    assert len(read_text(LINE, name)) == 1


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_rows_are_in_the_order_of_the_file_every_time(tmp_path: Path, times: int) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines(SEND, GUIDE).rstrip())
    assert {read(path)["message_id"][0] for _ in range(times)} == {"sd-1"}


def test_lines_in_another_order_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines(SEND, GUIDE, STATUS))
    expected, bulk = read(path), jsonlines._read_bulk

    def reordered(path: Path) -> pa.Table:
        table = bulk(path)
        ids = table["message_id"].take(list(reversed(range(len(table)))))
        return table.set_column(0, "message_id", ids)

    monkeypatch.setattr(jsonlines, "_read_bulk", reordered)
    pd.testing.assert_frame_equal(read(path), expected)


# --- agreement on drawn records -------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["viber", "2020-07-13T12:19:17.606Z", "2020-07-13T12:19:17", "accepted", "success", "1e5", "12"]),
)
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in inner for deeper in paths_of(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    record: Any = copy.deepcopy(draw(st.sampled_from(RECORDS)))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(paths_of(record)))
        if not path:
            continue
        holder = record
        for key in path[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["drop", "replace", "add"]))
        if change == "drop":
            del holder[path[-1]]
        elif change == "replace":
            holder[path[-1]] = draw(jsons)
        elif isinstance(holder, dict):
            names = ["history", "events", "event", "status", "state", "happendAt", "happenedAt", "timestamp", "details"]
            names += ["acceptedAt", "channel", "deliveryChannel", "code", "message", "messageId", "x"]
            holder[draw(st.sampled_from(names))] = draw(jsons)
        else:
            holder.insert(0, draw(jsons))
    return record


def few_or_many(records: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(records, max_size=2) | st.lists(records, min_size=16, max_size=32)


@files_of_many
@given(few_or_many(mutated()), st.booleans())
def test_mutated_records_are_read_as_by_the_reference_reader(records: list[Any], ascii_only: bool) -> None:
    text = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    agree(text.encode("utf-8", "surrogatepass"))


@files_of_many
@given(few_or_many(jsons))
def test_any_json_is_read_or_skipped(records: list[Any]) -> None:
    events = agree("\n".join(json.dumps(record) for record in records).encode())
    assert (events.dtypes == EVENTS.frame(events).dtypes).all()


@files_of_many
@given(few_or_many(mutated()), st.data())
def test_damaged_bytes_are_read_as_by_the_reference_reader(records: list[Any], data: st.DataObject) -> None:
    text = bytearray(lines(*records))
    for _ in range(data.draw(st.integers(0, 16))):
        position = data.draw(st.integers(0, len(text)))
        text[position : position + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b",", b"\n", b'"', b"{", b"}", b"[", b"]", b"\\", b" "])
        )
    if not text.startswith(b"\x1f\x8b"):  # the start of a gzip
        agree(bytes(text))


@settings(drawn, max_examples=max(EXAMPLES // 2, 5))
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.jsonl.gz"]))
def test_random_bytes_raise_only_documented_errors(data: bytes, name: str) -> None:
    try:
        read_text(data, name)
    except (UnreadableRecord, MissingColumn):
        assert name.endswith(".csv") or data[:4] in (b"PAR1", b"PK\3\4")


@files_of_many
@given(few_or_many(st.one_of(mutated(), jsons)))
def test_every_record_is_a_row_or_skipped(records: list[Any]) -> None:
    events = read(records)
    assert len(events) + len(events.attrs["skipped"]) == sum(map(count_records, records))


def count_records(record: Any) -> int:
    """The number of records in a line: the items of a history that has an id, else one."""
    try:
        reading = read_record(record)
    except UnreadableRecord:
        return 1
    listed = reading.events[:0] if record.get("history") is None else record["history"]
    listed = record["events"] if record.get("history") is None and record.get("events") is not None else listed
    return len(listed) if isinstance(listed, list) else 1
