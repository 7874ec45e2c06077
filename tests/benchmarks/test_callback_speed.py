"""Throughput and response times of the receiver of callbacks, which stores each callback before it responds.

The full measurement: ``VIBERKIT_BENCH_SECONDS=20 pytest tests/benchmarks/test_callback_speed.py -s``

``viberkit listen`` and the load run in a process each, on this computer. Both journal modes are measured: viberkit
selects one by SQLite's version (DELETE where WAL can lose commits when two connections write and checkpoint at once);
the other mode is set for the measurement only, where one process writes. From ten seconds on, the required figures are
asserted; shorter runs only check that no acknowledged callback is lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.callback_load import body

import viberkit as vk
from viberkit.models.callback import Callback

SECONDS = float(os.environ.get("VIBERKIT_BENCH_SECONDS", "1"))
FULL = SECONDS >= 10
SLOW_SOCKETS = 500 if FULL else 60
STORED_BEFORE = 200_000
SECRET = "a-shared-secret"
MODES = ("DELETE", "WAL")
SYNCHRONOUS = {"DELETE": "EXTRA", "WAL": "FULL"}
REQUIRED = {("DELETE", False): 500, ("DELETE", True): 300, ("WAL", False): 1000, ("WAL", True): 500}
LOAD = Path(__file__).parent.parent / "support" / "callback_load.py"
RECEIVER = """
import sys
from viberkit.archive import engine as archive_engine
from viberkit.cli import main as cli
mode = tuple(sys.argv.pop(1).split("/"))
archive_engine.journal_mode = lambda *_: mode
cli.main(sys.argv[1:])
"""


@contextmanager
def listening(archive: Path, mode: str) -> Iterator[str]:
    """``viberkit listen`` with a journal mode in its own process; yields its address."""
    command = [sys.executable, "-c", RECEIVER, f"{mode}/{SYNCHRONOUS[mode]}"]
    command += ["listen", "--port", "0", "--archive", str(archive)]
    settings = {**os.environ, "VIBERKIT_CALLBACK_SECRET": SECRET}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[2].rstrip(";")
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            process.kill()


@contextmanager
def loading(
    url: str, acknowledged: Path, *, prefix: str, connections: int = 32, fresh: bool, per_second: float = 0
) -> Iterator[Any]:
    """A load in its own process; yields the process."""
    command = [sys.executable, str(LOAD), url, "--secret", SECRET, "--seconds", str(SECONDS), "--prefix", prefix]
    command += ["--connections", str(connections), "--acknowledged", str(acknowledged)]
    command += ["--fresh"] if fresh else []
    command += ["--per-second", str(per_second)] if per_second else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def loaded(url: str, archive: Path, *, fresh: bool, name: str) -> dict[str, Any]:
    """Load a receiver as fast as it responds, and print the report."""
    acknowledged = archive.with_suffix(f".{fresh}")
    with loading(url, acknowledged, prefix=f"load{fresh}", fresh=fresh) as process:
        report: dict[str, Any] = json.loads(process.communicate(timeout=SECONDS + 60)[0])
    figures = f"{report['per_second']:,}/s, p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms"
    print(f"\n{name}, {'new' if fresh else 'kept-alive'} connections: {figures}, {report['answered']:,} answered")
    return report


def assert_nothing_lost(archive: Path, *files: Path) -> None:
    """Check that every acknowledged body is in the archive."""
    with closing(sqlite3.connect(archive)) as connection:
        stored = {row[0] for row in connection.execute("SELECT body FROM raw WHERE kind = 'callback'")}
    for file in files:
        acknowledged = set(file.read_bytes().splitlines())
        assert acknowledged
        assert acknowledged <= stored, (
            f"{len(acknowledged - stored):,} of {len(acknowledged):,} were acknowledged and are lost"
        )


def assert_fast(reports: dict[bool, dict[str, Any]], mode: str) -> None:
    """Check the required figures of a full run; no callback is ever rejected."""
    for fresh, report in reports.items():
        assert (report["refused"], report["broken"]) == (0, 0)
        if FULL:
            assert report["per_second"] >= REQUIRED[mode, fresh]
            assert report["p99_ms"] < 100


@pytest.mark.parametrize("mode", MODES)
def test_sustained_load(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "load.db"
    with listening(archive, mode) as url:
        reports = {fresh: loaded(url, archive, fresh=fresh, name=mode) for fresh in (False, True)}
        with closing(sqlite3.connect(archive)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == (mode.lower(),)
    assert_nothing_lost(archive, *(archive.with_suffix(f".{fresh}") for fresh in reports))
    assert_fast(reports, mode)


@pytest.fixture(scope="module")
def large_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with many callbacks, read into rows."""
    archive = tmp_path_factory.mktemp("held") / "held.db"
    started, at = time.perf_counter(), datetime(2026, 1, 5, 8, tzinfo=UTC)
    with vk.Archive(archive) as opened:
        for start in range(0, STORED_BEFORE, 10_000):
            numbers = range(start, start + 10_000)
            opened.recorder.record_callbacks(
                Callback(body(n, "old"), at + n * timedelta(milliseconds=1)) for n in numbers
            )
            opened.recorder.derive()
        assert len(opened.raw_bodies("callback")) == STORED_BEFORE
    print(f"\n{STORED_BEFORE:,} callbacks stored and read in {time.perf_counter() - started:.0f} s")
    return archive


@pytest.mark.skipif(not FULL, reason="a long run: VIBERKIT_BENCH_SECONDS=20")
@pytest.mark.parametrize("mode", MODES)
def test_load_on_a_large_archive(tmp_path: Path, large_archive: Path, mode: str) -> None:
    archive = Path(shutil.copy(large_archive, tmp_path / "full.db"))
    with listening(archive, mode) as url:
        name = f"{mode}, {STORED_BEFORE:,} stored before"
        reports = {fresh: loaded(url, archive, fresh=fresh, name=name) for fresh in (False, True)}
    assert_nothing_lost(archive, *(archive.with_suffix(f".{fresh}") for fresh in reports))
    assert_fast(reports, mode)


async def hold_connections(port: int, sockets: int, stop: asyncio.Event) -> int:
    """Hold connections open without ever sending a complete request; reconnect a second after a connection is closed.

    A third of them is silent, a third sends one byte of the header per second, a third one byte of the body. Returns
    how often the receiver closed a connection.
    """
    starts = (b"", b"POST /callbacks HTTP/1.1\r\nX-Drip: ", b"POST /callbacks HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    rest = b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    dropped = 0

    async def hold(number: int) -> None:
        nonlocal dropped
        while not stop.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with closing(writer):
                    writer.write(starts[number % 3] + (rest if number % 3 == 2 else b""))
                    ended = asyncio.create_task(reader.read())
                    while not stop.is_set() and not ended.done():
                        await asyncio.wait([ended, waiting], timeout=1, return_when=asyncio.FIRST_COMPLETED)
                        if number % 3:
                            writer.write(b"a")
                    if ended.done():
                        dropped += 1
                        ended.exception()
                    else:
                        ended.cancel()
            await asyncio.wait([waiting], timeout=1)

    waiting = asyncio.create_task(stop.wait())
    await asyncio.gather(*map(hold, range(sockets)))
    await waiting
    return dropped


@pytest.mark.parametrize("mode", MODES if FULL else MODES[:1])
def test_slow_sockets_do_not_stop_the_others(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "beholdingd.db"

    async def both(url: str) -> tuple[dict[bool, dict[str, Any]], int]:
        stop = asyncio.Event()
        holding = asyncio.create_task(hold_connections(urlsplit(url).port or 0, SLOW_SOCKETS, stop))
        await asyncio.sleep(1)
        kept_alive = loading(url, archive.with_suffix(".False"), prefix="a", connections=8, fresh=False, per_second=100)
        new = loading(url, archive.with_suffix(".True"), prefix="b", connections=8, fresh=True, per_second=50)
        try:
            with kept_alive as first, new as second:
                waits = [asyncio.to_thread(process.communicate, None, SECONDS + 60) for process in (first, second)]
                outputs = await asyncio.gather(*waits)
        finally:
            stop.set()
            dropped = await holding
        return {fresh: json.loads(out) for fresh, (out, _) in enumerate(outputs)}, dropped

    with listening(archive, mode) as url:
        reports, dropped = asyncio.run(both(url))
    for fresh, report in reports.items():
        print(
            f"\n{mode}, {SLOW_SOCKETS} slow sockets ({dropped:,} times closed), {'new' if fresh else 'kept-alive'}: "
            f"p50 {report['p50_ms']} ms, p99 {report['p99_ms']} ms, {report['answered']:,} answered"
        )
        assert (report["refused"], report["broken"]) == (0, 0)
        assert not FULL or report["p99_ms"] < 500
    assert_nothing_lost(archive, archive.with_suffix(".False"), archive.with_suffix(".True"))


READER = """
import sys, time
import viberkit as vk
from viberkit.archive import engine as archive_engine
mode = tuple(sys.argv[3].split("/"))
archive_engine.journal_mode = lambda *_: mode
archive, ends, reads = vk.Archive(sys.argv[1]), time.monotonic() + float(sys.argv[2]), 0
while not reads or time.monotonic() < ends:
    n, reads = len(archive.events()), reads + 1
print(n, reads)
"""


def fill(archive: Path, n_messages: int) -> None:
    """Store messages with four events each."""
    vk.Archive(archive).close()
    states = ("accepted", "dispatched", "delivered", "seen")
    ids = [f"old-{number:09}" for number in range(n_messages)]
    with closing(sqlite3.connect(archive)) as connection:
        connection.executemany(
            "INSERT INTO messages (message_id, state, sent_at, observed_until, final) VALUES (?, 'seen', ?, ?, 1)",
            ((message_id, number, 4_000_000 + number) for number, message_id in enumerate(ids)),
        )
        connection.executemany(
            "INSERT INTO events (message_id, state, happened_at, source, received_at, naive) "
            "VALUES (?, ?, ?, 'history', ?, 0)",
            ((i, state, n * 1_000_000, n) for n, state in enumerate(states) for i in ids),
        )
        connection.commit()


@pytest.mark.parametrize("mode", MODES)
def test_reading_does_not_delay_callbacks(tmp_path: Path, mode: str) -> None:
    archive, acknowledged, n_messages = tmp_path / "read.db", tmp_path / "acknowledged", 250_000 if FULL else 2_000
    fill(archive, n_messages)
    with listening(archive, mode) as url:
        command = [sys.executable, "-c", READER, str(archive), str(SECONDS), f"{mode}/{SYNCHRONOUS[mode]}"]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader,
            loading(url, acknowledged, prefix="new", connections=8, fresh=False, per_second=200) as load,
        ):
            report: dict[str, Any] = json.loads(load.communicate(timeout=SECONDS + 60)[0])
            n_events, n_reads = map(int, reader.communicate(timeout=SECONDS + 120)[0].split())
    print(
        f"\n{mode}, {n_reads:,} times {n_events:,} events read meanwhile: p50 {report['p50_ms']} ms, "
        f"p99 {report['p99_ms']} ms, {report['answered']:,} answered"
    )
    assert n_events >= 4 * n_messages
    assert (report["refused"], report["broken"]) == (0, 0)
    assert not FULL or report["p99_ms"] < 500
    assert_nothing_lost(archive, acknowledged)
