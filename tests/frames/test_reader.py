"""read_events: what it gives, what it sets aside, and that bulk reading and the reference reader agree."""

from __future__ import annotations

import copy
import gzip
import json
import os
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from viberkit.errors import MissingColumn, UnreadableRecord
from viberkit.frames import jsonlines
from viberkit.frames.columns import EVENTS
from viberkit.frames.reader import SkippedRows, SkippedRowsWarning, _to_frame, read_events
from viberkit.models.parsing import read_record

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "200"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

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
    """The same bytes, every line by the reference reader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(data)
        events, aside, _ = _to_frame(jsonlines.read_lines_one_by_one(path))
    events.attrs["skipped"] = SkippedRows(aside)
    return events


def agree(data: bytes) -> pd.DataFrame:
    fast, slow = read_text(data), reference(data)
    pd.testing.assert_frame_equal(fast, slow)
    assert fast.attrs["skipped"] == slow.attrs["skipped"]
    return fast


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


# --- what it gives -----------------------------------------------------------------------------------


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
    assert [one["line"] for one in from_records.attrs["skipped"]] == [7, 8]


@pytest.mark.parametrize("source", [b"", b"\n \n\t\r\n", lines({"messageId": "m", "history": []})])
def test_nothing_gives_an_empty_frame_with_every_dtype(source: bytes) -> None:
    events = agree(source)
    assert len(events) == 0
    assert (events.dtypes == EVENTS.empty().dtypes).all()
    assert events.attrs["skipped"] == []


def test_no_records_give_an_empty_frame() -> None:
    assert (read([]).dtypes == EVENTS.empty().dtypes).all()


def test_ids_are_never_numbers() -> None:
    ids = ['"5463481551745434076"', "5463481551745434076", "123456789012345678901234567890", '"007"', '"1e5"']
    data = "".join(f'{{"messageId": {one}, "acceptedAt": "2020-07-13T12:19:17Z"}}\n' for one in ids)
    assert agree(data.encode())["message_id"].tolist() == [one.strip('"') for one in ids]


def test_a_state_never_seen_before_keeps_its_text() -> None:
    record = {"messageId": "m", "history": [{"happendAt": "2020-07-13T12:19:17Z", "state": "message-teleported"}]}
    events = agree(lines(record))
    assert events["state"].tolist() == ["message-teleported"]
    assert events["state"].cat.categories[-1] == "message-teleported"


def test_accounting_and_one_warning(tmp_path: Path) -> None:
    half = {"messageId": "h", "history": [GUIDE["history"][0], {"state": "x"}, 5, None]}
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines(GUIDE) + b"not json +491701234567\n\n" + lines(half, {"messageId": "e", "events": []}))
    with pytest.warns(SkippedRowsWarning, match=r"4 of 5 records|4 of [0-9]+ records") as told:
        events = read_events(path)
    assert len(told) == 1
    aside = events.attrs["skipped"]
    assert len(events) == 4 + 1
    assert [(one["line"], one["field"]) for one in aside] == [
        (2, "record"),
        (4, "history[1]"),
        (4, "history[2]"),
        (4, "history[3]"),
    ]
    assert "491701234567" not in str(aside)
    assert set(aside[0]) == {"line", "field", "reason", "text"}


def test_what_was_set_aside_survives_the_work_with_the_frame(tmp_path: Path) -> None:
    events = read_text(lines(GUIDE) + b"{\n")
    aside = events.attrs["skipped"]
    assert copy.deepcopy(aside) is aside
    assert json.loads(json.dumps(aside)) == aside
    assert events.iloc[:2].attrs["skipped"] is aside
    assert len(pd.concat([events, events])) == 8
    events.to_parquet(tmp_path / "events.parquet")
    again = read(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(again, events)
    assert again.attrs["skipped"] == []


# --- tidy sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events.parquet", "events.csv", "events.csv.gz"])
def test_tidy_files_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    events = read(RECORDS).assign(rate_type="transaction")
    path = tmp_path / name
    events.to_parquet(path) if name.endswith("parquet") else events.to_csv(path, index=False)
    again = read(path)
    pd.testing.assert_frame_equal(again, events)


def test_tidy_rows_that_cannot_be_read_are_set_aside() -> None:
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
    assert [(one["line"], one["field"]) for one in events.attrs["skipped"]] == [
        (4, "message_id"),
        (5, "happened_at"),
        (6, "state"),
        (7, "record"),
    ]


def test_a_tidy_source_without_a_column_says_which() -> None:
    with pytest.raises(MissingColumn, match="no column 'happened_at'; the columns are: 'message_id', 'state'"):
        read_events(pd.DataFrame({"message_id": ["m"], "state": ["accepted"]}))


def test_what_is_no_parquet_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(UnreadableRecord, match=r"x\.parquet"):
        read_events(tmp_path / "x.parquet")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_events(tmp_path / "none.jsonl")


def test_a_single_mapping_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="a path or a list of records"):
        read_events(GUIDE)


# --- odd files ---------------------------------------------------------------------------------------

ONE = lines(SEND)


@pytest.mark.parametrize(
    "data",
    [
        ONE.replace(b"\n", b"\r\n") * 2,
        ONE.replace(b"\n", b"\r") + ONE,
        b"\xef\xbb\xbf" + ONE + ONE,
        ONE + b'{"messageId": "\xff", "acceptedAt": "2020-07-13T12:19:17Z"}\n' + ONE,
        ONE + b'{"messageId": "x", "acceptedAt": "2020-07-13T12:19:17Z", "y": "\xff"}\n' + ONE,
        ONE + b'[1]\n5\n"a"\nnull\ntrue\n' + ONE,
        ONE + ONE[:-1] + ONE + ONE,
        ONE + b'{"messageId":\n"k"}\n' + ONE,
        ONE + ONE[:-1] + b" x\n",
        ONE + b"\x00\n" + ONE[:-1] + b"\x0b\n\x0c\n" + ONE,
        ONE + ONE[:-1],
        ONE + b"// a comment\n" + ONE[:-1] + b" // x\n",
        b"\n\n" + ONE + b"   \n" + ONE + b"nonsense\n\n",
        ONE.replace(b'Z"}', b'Z", }') + ONE,
        ONE.replace(b'Z"}', b'Z", "x": NaN}') + ONE.replace(b'Z"}', b'Z", "x": -Infinity}'),
        b'{"messageId": "m", "history": 5, "events": []}\n{"messageId": "m", "history": {}, "event": "x"}\n',
        b'{"messageId": "m", "history": [], "events": [{"timestamp": "2020-07-13T12:19:17Z", "event": "seen"}]}\n',
        b'{"message\\u0049d": "m", "acceptedAt": "2020-07-13T12:19:17Z"}\n',
        b'{"messageId": "a\\u0000b", "acceptedAt": "2020-07-13T12:19:17Z"}\n',
        ONE + b'{"messageId": "c", "x": "' + b"y" * 40_000_000 + b'"}\n' + ONE,
    ],
)
def test_odd_files_read_as_the_reference_reader_reads_them(data: bytes) -> None:
    agree(data)


@pytest.mark.parametrize(
    "said",
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
def test_odd_instants_read_as_the_reference_reader_reads_them(said: Any) -> None:
    agree(lines({**SEND, "acceptedAt": said}, {"messageId": "m", "history": [{"happendAt": said, "state": "seen"}]}))


def test_gzip_also_where_it_ends_early(tmp_path: Path) -> None:
    data = lines(*(dict(SEND, messageId=f"m{random.random()}") for _ in range(2_000)))
    whole = gzip.compress(data)
    assert len(read_text(whole, "log.jsonl.gz")) == 2_000
    cut = read_text(whole[: len(whole) // 2], "log.jsonl.gz")
    assert 0 < len(cut) < 2_000
    assert "ends early" in cut.attrs["skipped"][-1]["reason"]


@pytest.mark.parametrize("name", ["a*b.jsonl", "a[1].jsonl", "what?.jsonl", "it's.jsonl", "a=b.jsonl", "ж.jsonl"])
def test_a_name_is_never_a_pattern(name: str) -> None:
    assert len(read_text(ONE, name)) == 1


def test_the_order_is_the_files_every_time(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines(SEND, GUIDE).rstrip())
    assert {read(path)["message_id"][0] for _ in range(100)} == {"sd-1"}


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


# --- agreement on whatever may come ------------------------------------------------------------------

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
    return [path, *(deeper for key, one in inner for deeper in paths_of(one, (*path, key)))]


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


@many
@given(st.lists(mutated(), max_size=6), st.booleans())
def test_mutated_records_read_as_the_reference_reader_reads_them(records: list[Any], ascii_only: bool) -> None:
    text = "\n".join(json.dumps(one, ensure_ascii=ascii_only) for one in records)
    agree(text.encode("utf-8", "surrogatepass"))


@many
@given(st.lists(jsons, max_size=6))
def test_any_json_is_read_or_set_aside(records: list[Any]) -> None:
    events = agree("\n".join(json.dumps(one) for one in records).encode())
    assert (events.dtypes == EVENTS.frame(events).dtypes).all()


@many
@given(st.lists(mutated(), max_size=4), st.data())
def test_broken_bytes_read_as_the_reference_reader_reads_them(records: list[Any], data: st.DataObject) -> None:
    text = bytearray(lines(*records))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(text)))
        text[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=2) | st.sampled_from([b",", b"\n", b'"', b"{", b"}", b"[", b"]", b"\\", b" "])
        )
    if not text.startswith(b"\x1f\x8b"):  # that would be a gzip
        agree(bytes(text))


@many
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.jsonl.gz"]))
def test_random_bytes_never_raise_anything_unnamed(data: bytes, name: str) -> None:
    try:
        read_text(data, name)
    except (UnreadableRecord, MissingColumn):
        assert name.endswith(".csv")


@many
@given(st.lists(st.one_of(mutated(), jsons), max_size=6))
def test_every_record_is_a_row_or_set_aside(records: list[Any]) -> None:
    events = read(records)
    assert len(events) + len(events.attrs["skipped"]) == sum(map(items, records))


def items(record: Any) -> int:
    """Of how many records one line counts: the items of a history that has an id, else one."""
    try:
        reading = read_record(record)
    except UnreadableRecord:
        return 1
    listed = reading.events[:0] if record.get("history") is None else record["history"]
    listed = record["events"] if record.get("history") is None and record.get("events") is not None else listed
    return len(listed) if isinstance(listed, list) else 1
