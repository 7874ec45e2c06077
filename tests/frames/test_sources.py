"""Sources other than a plain file, encodings, and rows that cannot be read: nothing is lost silently."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import warnings
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pyarrow import parquet

import viberkit as vk
from viberkit.errors import UnreadableRecord
from viberkit.frames import jsonlines
from viberkit.frames.columns import EVENTS
from viberkit.frames.reader import SkippedRowsWarning

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
drawn = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
AT = "2020-07-13T12:19:17.606Z"
JSON = b"".join(json.dumps({"messageId": f"m{n}", "acceptedAt": AT}).encode() + b"\n" for n in range(3))
CSV = "message_id,state,happened_at\n" + "".join(f"m{n},accepted,{AT}\n" for n in range(3))


def read(source: Any) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRowsWarning)
        return vk.read_events(source)


def read_bytes(path: Path, data: bytes) -> pd.DataFrame:
    path.write_bytes(data)
    return read(path)


def reasons(events: pd.DataFrame) -> list[tuple[int, str]]:
    return [(entry["line"], entry["reason"]) for entry in events.attrs["skipped"]]


# --- sources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [JSON, CSV.encode(), gzip.compress(JSON), b"\xff\xfe" + CSV.encode("utf-16-le")],
    ids=["json", "csv", "gzip", "utf-16"],
)
def test_pipes_are_read_to_their_end(tmp_path: Path, data: bytes) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(data,))
    writer.start()
    assert read(fifo)["message_id"].tolist() == ["m0", "m1", "m2"]
    writer.join()


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_standard_input_is_read(source: str) -> None:
    script = "import sys, viberkit as vk; print(*vk.read_events(sys.argv[1])['message_id'])"
    command = [sys.executable, "-c", script, source]
    result = subprocess.run(command, input=JSON, capture_output=True, check=True, timeout=60)
    assert result.stdout.split() == [b"m0", b"m1", b"m2"]


def test_sources_without_content(tmp_path: Path) -> None:
    assert len(read("/dev/null")) == 0
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="socket"):
            read(tmp_path / "socket")


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, bulk = tmp_path / "log.jsonl", jsonlines._read_bulk

    def growing(path: Path) -> pa.Table:
        with path.open("ab") as file:
            file.write(JSON.splitlines()[1][6:] + b"\n" + JSON.splitlines()[2])
        return bulk(path)

    path.write_bytes(JSON.splitlines()[0] + b"\n" + JSON.splitlines()[1][:6])
    monkeypatch.setattr(jsonlines, "_read_bulk", growing)
    events = read(path)
    assert len(events) + len(events.attrs["skipped"]) in (2, 3)
    assert set(events["message_id"]) <= {"m0", "m1", "m2"}


def compress_zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def test_compressed_files(tmp_path: Path) -> None:
    for name, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("zst", compress_zstd)):
        for data, extension in ((JSON, "jsonl"), (CSV.encode(), "csv")):
            events = read_bytes(tmp_path / f"log.{extension}.{name}", compress(data))
            assert events["message_id"].tolist() == ["m0", "m1", "m2"]
        halved = read_bytes(tmp_path / f"log.jsonl.{name}", compress(JSON * 50)[:-9])
        assert "is damaged" in reasons(halved)[-1][1]
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("log.csv", CSV)
    assert len(read(tmp_path / "log.zip")) == 3
    with zipfile.ZipFile(tmp_path / "log.zip", "a") as archive:
        archive.writestr("other.csv", CSV)
    with pytest.raises(UnreadableRecord, match="a ZIP archive of 2 files"):
        read(tmp_path / "log.zip")
    pd.DataFrame({"message_id": ["a"]}).to_excel(tmp_path / "log.xlsx")
    with pytest.raises(UnreadableRecord, match="a workbook of Excel or LibreOffice; save the sheet as CSV"):
        read(tmp_path / "log.xlsx")


# --- encodings and CSV -------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_encodings(tmp_path: Path, encoding: str, name: str, mark: str) -> None:
    text = (mark if "-16-" in encoding else "") + (CSV if name == "log.csv" else JSON.decode())
    events = read_bytes(tmp_path / name, text.replace("m1", "\u00e41").encode(encoding))
    assert events["message_id"].tolist() == ["m0", "\u00e41", "m2"]


def test_ids_never_change_silently(tmp_path: Path) -> None:
    data = CSV.replace("m1", "\u00e41").encode().replace(b"m2", b"m\xff2").replace(b"m0", b"m\x000")
    events = read_bytes(tmp_path / "log.csv", data)
    assert events["message_id"].tolist() == ["\u00e41"]
    reason = "record: contains NUL, or a byte that is not UTF-8; save the file as UTF-8"
    assert reasons(events) == [(2, reason), (4, reason)]


@pytest.mark.parametrize(
    "text",
    ["zugestellt: gr\u00fc\u00dfe \u201eja\u201c", "\u0434\u043e\u0441\u0442\u0430\u0432\u043b\u0435\u043d\u043e"],
)
@pytest.mark.parametrize("encoding", ["cp1252", "cp1251"])
def test_text_of_one_byte_per_character_is_decoded(tmp_path: Path, text: str, encoding: str) -> None:
    csv = CSV.replace("happened_at\n", "happened_at,detail\n").replace("Z\n", f"Z,{text}\n")
    try:
        data = csv.encode(encoding)
    except UnicodeEncodeError:
        return
    events = read_bytes(tmp_path / "log.csv", data)
    assert events["detail"].tolist() == [text] * 3
    assert events.attrs["encoding"] == encoding
    assert events.attrs["skipped"] == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    assert len(read_bytes(tmp_path / "log.csv", CSV.replace(",", delimiter).encode())) == 3


def test_rows_that_are_not_csv_are_skipped_alone(tmp_path: Path) -> None:
    rows = [f"m{n},accepted,{AT},x" for n in range(6)]
    rows[1], rows[3], rows[4] = f'"m1,accepted,{AT},x', f"m3,accepted,{AT}", f'm4,accepted,{AT},"two\nlines"'
    text = "message_id,state,happened_at,detail\n" + "\n".join(rows)
    events = read_bytes(tmp_path / "log.csv", text.encode())
    assert events["message_id"].tolist() == ["m0", "m2", "m4", "m5"]
    assert [line for line, _ in reasons(events)] == [3, 5]
    assert events["detail"].tolist() == ["x", "x", "two\nlines", "x"]


def test_text_after_a_quote_and_other_line_ends(tmp_path: Path) -> None:
    events = read_bytes(tmp_path / "log.csv", CSV.replace("m1", '"m"1').encode())
    assert events["message_id"].tolist() == ["m0", "m2"]
    assert [line for line, _ in reasons(events)] == [3]
    assert len(read_bytes(tmp_path / "log.csv", CSV.replace("\n", "\r").encode())) == 3
    assert len(read_bytes(tmp_path / "log.csv", CSV.replace("\n", "\r\n").encode())) == 3


texts = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=6)


@drawn
@given(st.lists(st.tuples(texts, texts), max_size=6), st.sampled_from(",;\t|"))
def test_csv_is_read_as_it_was_written(tmp_path_factory: Any, rows: list[tuple[str, str]], delimiter: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    ids, details = [row[0] for row in rows], [row[1] for row in rows]
    frame = pd.DataFrame({"message_id": ids, "state": "accepted", "happened_at": AT, "detail": details}, dtype="str")
    frame.to_csv(path, sep=delimiter, index=False, quoting=1)
    events = read(path)
    assert events["message_id"].tolist() == ids
    assert events["detail"].tolist() == details


# --- Parquet -----------------------------------------------------------------------------------------

NOT_UTF8 = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xe41", b"c"]).buffers())
ALL_NOT_UTF8 = [NOT_UTF8, pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), NOT_UTF8)]
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))  # noqa: DTZ001
columns = st.one_of(
    *(
        st.lists(st.none() | values, min_size=3, max_size=3).map(lambda items, dtype=dtype: pa.array(items, dtype))
        for values, dtype in (
            (texts, pa.large_string()),
            (texts, pa.string()),
            (st.binary(max_size=4), pa.binary()),
            (st.binary(max_size=4), pa.large_binary()),
            (st.integers(-(2**63), 2**63 - 1), pa.int64()),
            (st.integers(0, 2**64 - 1), pa.uint64()),
            (st.floats(), pa.float64()),
            (st.booleans(), pa.bool_()),
            (st.decimals(-(10**6), 10**6, places=2), pa.decimal128(12, 2)),
            (st.lists(texts, max_size=2), pa.list_(pa.string())),
            (st.fixed_dictionaries({"x": texts}), pa.struct({"x": pa.string()})),
            (st.dates(date(1, 1, 2)), pa.date32()),
            (st.timedeltas(timedelta(-999), timedelta(999)), pa.duration("us")),
            *((st.integers(-(2**62), 2**62), pa.timestamp(unit)) for unit in ("ms", "us", "ns")),
            *((moments, pa.timestamp("us", zone)) for zone in (None, "UTC", "Europe/Kyiv", "+05:30", "Not/AZone")),
            (st.none(), pa.null()),
        )
    ),
    st.sampled_from(ALL_NOT_UTF8),
    st.lists(st.none() | texts, min_size=3, max_size=3).map(
        lambda items: pa.array(items, pa.string()).dictionary_encode()
    ),
)
NAMES = [*EVENTS.names, "rate_type"]


@drawn
@given(st.sampled_from(NAMES), columns)
def test_every_row_of_any_parquet_file_is_read_or_skipped(tmp_path_factory: Any, name: str, column: Any) -> None:
    path = tmp_path_factory.mktemp("parquet") / "log.parquet"
    times = pa.array([datetime(2026, 3, 1, 9, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC"))
    regular = {"message_id": pa.array(["a", "b", "c"]), "state": pa.array(["accepted"] * 3), "happened_at": times}
    parquet.write_table(pa.table(regular | {name: column}), path)
    events = read(path)
    assert len(events) + len(events.attrs["skipped"]) == 3
    assert (events.dtypes[list(EVENTS.names)] == EVENTS.frame(events).dtypes[list(EVENTS.names)]).all()
    if name == "message_id":
        exact = [str(int(value)) if isinstance(value, int | Decimal) else value for value in known(column)]
        assert set(events["message_id"]) <= {value.decode() if isinstance(value, bytes) else value for value in exact}
    repr(events)
    json.dumps(events.attrs["skipped"])


def known(column: Any) -> list[Any]:
    """The values of a column that are an id: texts, bytes in UTF-8 and whole numbers."""
    if any(column is values for values in ALL_NOT_UTF8):
        return ["a", "c"]
    result = []
    for value in () if pa.types.is_temporal(column.type) else column.to_pylist():
        if isinstance(value, bytes) and value.decode("utf-8", "ignore").encode() != value:
            continue
        result += [str(int(value))] if isinstance(value, float) and value.is_integer() else []
        result += [value] if isinstance(value, str | bytes | int | Decimal) else []
    return result


def test_one_bad_value_sets_one_row_aside(tmp_path: Path) -> None:
    far = pa.array([0, 2**62, 1], pa.timestamp("ms", "UTC"))
    for name, column in (("message_id", NOT_UTF8), ("naive", pa.array(["true", "maybe", "0"])), ("happened_at", far)):
        times = pa.array([0, 1, 2], pa.timestamp("us", "UTC"))
        regular = {"message_id": pa.array(["a", "b", "c"]), "state": pa.array(["seen"] * 3), "happened_at": times}
        parquet.write_table(pa.table(regular | {name: column}), tmp_path / "log.parquet")
        with pytest.warns(SkippedRowsWarning, match=f"1 of 3 records .* line 2: {name}: "):
            events = vk.read_events(tmp_path / "log.parquet")
        assert events["message_id"].tolist() == ["a", "c"]


def test_long_ids_with_a_null_are_exact(tmp_path: Path) -> None:
    ids = pa.array([5463481551745434076, None])
    times = pa.array([0, 1], pa.timestamp("us", "UTC"))
    table = pa.table({"message_id": ids, "state": pa.array(["seen"] * 2), "happened_at": times})
    parquet.write_table(table, tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet")["message_id"].tolist() == ["5463481551745434076"]
    rounded = table.to_pandas()  # as float64
    assert len(read(rounded)) == 0
    assert "is neither a text in UTF-8 nor a whole number" in reasons(read(rounded))[0][1]


# --- duplicate names ---------------------------------------------------------------------------------


def test_duplicate_columns_are_refused_wherever_frames_come_in(tmp_path: Path) -> None:
    events = read(CSV_FRAME).assign(rate_type="session")
    journeys = vk.journeys(events)
    messages = pd.DataFrame({"message_id": ["m0"], "kind": ["x"]})
    duplicates = [pd.concat([frame, frame[["message_id"]]], axis=1) for frame in (events, journeys, messages)]
    events_2, journeys_2, messages_2 = duplicates
    transitions_2 = pd.concat([vk.transitions(events)] * 2, axis=1)
    sms = pd.DataFrame([[0.0, 1.0, 1.0]], columns=["time_s", "delivered", "delivered"])
    prices: dict[str, Any] = {"viber_price": 1, "sms_price": 2}
    calls = [
        *(lambda call=call: call(events_2) for call in (vk.read_events, vk.transitions, vk.journeys, vk.latency)),
        *(lambda call=call: call(journeys_2) for call in (vk.time_to, vk.delivery_curve, vk.over_time, vk.profile)),
        *(lambda call=call: call(journeys_2) for call in (vk.slo, vk.changes)),
        lambda: vk.quality(events_2),
        lambda: vk.quality(events, journeys=journeys_2),
        lambda: vk.latency(transitions_2),
        lambda: vk.latency(events, by="kind", messages=messages_2),
        lambda: vk.time_to(journeys, by="kind", messages=messages_2),
        lambda: vk.compare(journeys, other=journeys_2),
        lambda: vk.fallback(journeys_2, **prices),
        lambda: vk.fallback(journeys, sms_curve=sms, **prices),
        lambda: read_bytes(tmp_path / "log.csv", CSV.replace("state,", "state,message_id,").encode()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"several columns have the name '\w+'"):
            call()


CSV_FRAME = pd.DataFrame([line.split(",") for line in CSV.splitlines()[1:]], columns=CSV.splitlines()[0].split(","))
