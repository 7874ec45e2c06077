"""Exports of an archive: what the files contain, exporting again, late events, and exports that are killed.

``VIBERKIT_CAMPAIGN=1000000 VIBERKIT_KILLS=10 pytest tests/lake/test_export.py -s -k killed`` kills those of a large
one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import viberkit as vk
from viberkit.archive import archive as archive_module
from viberkit.models.callback import Callback
from viberkit.models.records import Response, SendOutcome

NOW = datetime(2026, 1, 31, 23, 50, tzinfo=UTC)
KILLS = int(os.environ.get("VIBERKIT_KILLS", "5"))
MESSAGES = int(os.environ.get("VIBERKIT_CAMPAIGN", "300"))
REQUEST = {
    "to": "+491701234567", "from": "S", "channel": "viber", "rateType": "promotion",
    "content": {"contentType": "text", "text": "secret text"},
}  # fmt: skip


def callback(number: int, seconds: float) -> Callback:
    at = NOW + timedelta(seconds=number + seconds)
    body = {"messageId": f"m{number}", "event": "MessageStatus::delivered", "channel": "viber"}
    body["timestamp"] = at.isoformat().replace("+00:00", "Z")
    return Callback(json.dumps(body).encode(), at)


def sent(number: int) -> tuple[str, SendOutcome, dict[str, object], Response]:
    at = NOW + timedelta(seconds=number, milliseconds=number * 37 % 1000)
    body = {"messageId": f"m{number}", "acceptedAt": at.isoformat()}
    outcome = SendOutcome("accepted", message_id=f"m{number}", http_status=202)
    return "", outcome, REQUEST, Response(202, json.dumps(body).encode(), at, {})


@pytest.fixture
def filled(archive: vk.Archive) -> vk.Archive:
    """An archive whose messages begin in January and end in February."""
    for start in range(0, MESSAGES, 10_000):
        numbers = range(start, min(start + 10_000, MESSAGES))
        archive.recorder.settle([sent(number) for number in numbers])
        archive.recorder.record_callbacks([callback(number, 2.5 + number % 7) for number in numbers if number % 10])
        while archive.recorder.derive(5_000):
            pass
    return archive


def stored(folder: Path, name: str = "events") -> pd.DataFrame:
    return pd.concat([pq.ParquetFile(path).read().to_pandas() for path in folder.glob(f"{name}/**/*.parquet")])


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def contents(folder: Path) -> dict[str, pd.DataFrame]:
    return {
        str(path.relative_to(folder)): pq.ParquetFile(path).read().to_pandas() for path in folder.rglob("*.parquet")
    }


def assert_complete(archive: vk.Archive, folder: Path) -> None:
    events, expected = stored(folder), archive.events()
    keys = ["message_id", "state", "happened_us"]
    assert not events.duplicated(keys).any()
    expected["happened_us"] = expected["happened_at"].astype("int64")
    expected = expected.astype({"state": "str"})[keys].sort_values(keys, ignore_index=True)
    assert_frame_equal(events[keys].sort_values(keys, ignore_index=True), expected, check_dtype=False)
    ids = stored(folder, "messages")["message_id"]
    assert ids.is_unique
    assert {*ids} == {*archive.messages()["message_id"]}


def test_the_figures_of_an_export_are_those_of_the_archive(filled: vk.Archive, tmp_path: Path) -> None:
    result = vk.export(filled, tmp_path / "lake", buckets=4)
    assert (result.events, result.messages, result.unchanged) == (len(filled.events()), MESSAGES, 0)
    assert_complete(filled, tmp_path / "lake")
    log = vk.EventLog(tmp_path / "lake" / "**" / "*.parquet")
    expected = vk.time_to(filled.events(), by="country").astype({"country": "str"})
    assert_frame_equal(vk.time_to(log, by="country"), expected, check_exact=True)
    assert_frame_equal(vk.time_to(log.where(country="DE")).drop(columns="summary").iloc[:, :4], expected.iloc[:, 1:5])
    for path in (tmp_path / "lake").glob("events/*/*/*.parquet"):
        ids = pq.ParquetFile(path).read(["message_id"])["message_id"].to_pylist()
        assert {f"bucket={zlib.crc32(text.encode()) % 4:03}" for text in ids} == {path.parent.name}
    assert {path.parent.parent.name for path in (tmp_path / "lake").glob("events/*/*/*")} == {
        "month=2026-01",
        "month=2026-02",
    } or MESSAGES < 600


def test_numbers_are_masked_and_texts_left_out_by_default(filled: vk.Archive, tmp_path: Path) -> None:
    vk.export(filled, tmp_path / "lake")
    vk.export(filled, tmp_path / "full", unmask=True)
    for folder, is_secret in (("lake", True), ("full", False)):
        text = stored(tmp_path / folder, "messages").to_csv() + stored(tmp_path / folder).to_csv()
        assert ("1701234567" not in text) is is_secret
        assert ("secret text" not in text) is is_secret


def test_exporting_again_writes_only_what_changed(filled: vk.Archive, tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    vk.export(filled, folder, buckets=4)
    before = modified(folder)
    assert vk.export(filled, folder).written == 0
    assert modified(folder) == before
    filled.recorder.record_callbacks([callback(0, 40 * 86_400)])  # a late event, in March
    result = vk.export(filled, folder, since=NOW - timedelta(days=1))
    changed = {path.relative_to(folder).as_posix() for path, at in modified(folder).items() if before.get(path) != at}
    bucket = f"bucket={zlib.crc32(b'm0') % 4:03}"
    assert f"events/month=2026-03/{bucket}/events.parquet" in changed
    assert all(bucket in path for path in changed)
    assert result.written == len(changed)
    assert_complete(filled, folder)


@pytest.mark.parametrize("buckets", [0, -1, 1_001, 1.5, "4", None])
def test_a_number_of_buckets_is_from_1_to_1000(buckets: Any, archive: vk.Archive, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"buckets: .* is not a number from 1 to 1,000"):
        vk.export(archive, tmp_path / "lake", buckets=buckets)
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"buckets": 0}', '{"buckets": "16"}', '{"buckets": null}', "7"])
def test_a_folder_with_wrong_settings_is_an_error(text: str, archive: vk.Archive, tmp_path: Path) -> None:
    (tmp_path / "viberkit-lake.json").write_text(text)
    with pytest.raises(ValueError, match=r"viberkit-lake.json' has no valid number of buckets"):
        vk.export(archive, tmp_path)


def test_threads_export_to_one_folder(filled: vk.Archive, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: vk.export(filled, tmp_path / "lake", buckets=4), range(6)))
    assert_complete(filled, tmp_path / "lake")
    assert not list((tmp_path / "lake").rglob("*.tmp"))


def test_another_archive_adds_its_messages(filled: vk.Archive, tmp_path: Path) -> None:
    vk.export(filled, tmp_path / "lake")
    with vk.Archive(tmp_path / "other.db", create=True) as other:
        other.recorder.settle([sent(1_000_000)])
        vk.export(other, tmp_path / "lake")
    assert stored(tmp_path / "lake")["message_id"].nunique() == MESSAGES + 1
    with pytest.raises(ValueError, match="buckets: 5 differs from the 16"):
        vk.export(filled, tmp_path / "lake", buckets=5)


def test_an_export_in_parts_is_that_of_the_whole_archive(
    filled: vk.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also until when messages were observed, which depends on callbacks about others while a listener ran."""
    _, outcome, request, response = sent(MESSAGES)
    silent = [("", outcome, {**request, "from": "OTHER"}, response), *(sent(MESSAGES + n) for n in range(1, 21))]
    filled.recorder.settle(silent)  # about which no callback is received
    for times in ((0, 40, 120), (MESSAGES - 100, MESSAGES + 90)):  # two periods
        period = 0
        for seconds in times:
            period = filled.recorder.record_callbacks([], NOW + timedelta(seconds=seconds), period)
    vk.export(filled, tmp_path / "whole", buckets=4)
    monkeypatch.setattr(archive_module, "_RANGE", 50)
    result = vk.export(filled, tmp_path / "parts", buckets=4)
    assert (result.messages, result.events) == (MESSAGES + len(silent), len(filled.events()))
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name, frame in whole.items():
        assert_frame_equal(parts[name], frame)
    for name, frame in (("events", filled.events()), ("messages", filled.messages())):
        keys = ["message_id", "state"] if name == "events" else ["message_id"]
        frame = frame.astype({"state": "str"}).set_index(keys)["observed_until"]
        until = stored(tmp_path / "parts", name).set_index(keys).loc[frame.index]
        until = until["observed_until_us"] if name == "events" else until["observed_until"].astype("int64")
        assert until.tolist() == frame.astype("int64").tolist()
    limit = NOW + timedelta(seconds=MESSAGES // 2)
    vk.export(filled, tmp_path / "since", since=limit)
    first = filled.events().groupby("message_id")["happened_at"].min()
    assert {*stored(tmp_path / "since")["message_id"]} == {*first.index[first >= limit]}


def test_an_event_that_arrives_during_an_export_is_in_the_next_one(
    filled: vk.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_RANGE", 50)
    read_parts = filled._parts

    def parts(*arguments: Any, **options: Any) -> Iterator[Any]:
        for index, part in enumerate(read_parts(*arguments, **options)):
            yield part
            filled.recorder.record_callbacks([callback(index, 40 * 86_400)])  # about messages of the first part
            filled.recorder.settle([sent(MESSAGES + index)])

    with monkeypatch.context() as patched:
        patched.setattr(filled, "_parts", parts)
        vk.export(filled, tmp_path / "lake")
    with pytest.raises(AssertionError):
        assert_complete(filled, tmp_path / "lake")
    vk.export(filled, tmp_path / "lake")
    assert_complete(filled, tmp_path / "lake")


@pytest.mark.slow
@pytest.mark.sqlite
def test_an_export_that_is_killed_is_completed_by_the_next_one(filled: vk.Archive, tmp_path: Path) -> None:
    """Callbacks arrive meanwhile; moments of the kills are spread over the time that an export takes."""
    folder, random = tmp_path / "lake", Random(1)
    command = [sys.executable, "-m", "viberkit.cli", "export", "--archive", str(filled.path), "--lake", str(folder)]
    began = time.monotonic()
    subprocess.run([*command[:-1], str(tmp_path / "first")], check=True, capture_output=True)
    seconds, files = time.monotonic() - began, list[int]()
    for kill in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(seconds * (kill + random.random()) / KILLS / 2)
            late = [random.randrange(MESSAGES) for _ in range(20)]
            filled.recorder.record_callbacks([callback(number, 40 * 86_400 + kill) for number in late])
            time.sleep(seconds * (kill + random.random()) / KILLS / 2)
            process.send_signal(signal.SIGKILL)
        files.append(len(modified(folder)))
    if not files[-1]:
        pytest.fail("no export wrote a file")
    print(f"an export takes {seconds:.0f} s; files after each kill: {files}")
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3_600)
    assert f"{MESSAGES:,} messages" in finished.stdout
    assert_complete(filled, folder)
    log = vk.EventLog(folder)
    assert log.values("state")["n_events"].sum() == len(filled.events())
