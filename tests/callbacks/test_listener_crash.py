"""A callback answered with 204 is stored: through kills, signals, a busy interpreter, and many processes.

Long runs, one at a time::

    VIBERKIT_KILLS=100 pytest tests/callbacks/test_listener_crash.py -s -k killed
    VIBERKIT_BUSY_S=10 pytest tests/callbacks/test_listener_crash.py -s -k busy
    VIBERKIT_SOAK_S=300 pytest tests/callbacks/test_listener_crash.py -s -k soak
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from support.archives import execute
from support.callback_load import body, request
from support.postgres import ENABLED, PostgresServer

import viberkit as vk
from viberkit.callbacks.listener import Listener
from viberkit.models.states import parse_state
from viberkit.models.validation import EVENTS
from viberkit.sandbox.webhooks import TIMEOUT_S

KILLS = int(os.environ.get("VIBERKIT_KILLS", "2"))
STOPS = int(os.environ.get("VIBERKIT_STOPS", "1"))  # of the PostgreSQL server
BUSY_S = float(os.environ.get("VIBERKIT_BUSY_S", "1.5"))
SOAK_S = float(os.environ.get("VIBERKIT_SOAK_S", "3"))
SECRET = "a-shared-secret"
PER_KILL, CONNECTIONS = 1000 if KILLS > 2 else 300, 32
LOAD = Path(__file__).parent.parent / "support" / "callback_load.py"


@contextmanager
def listening(archive: str, log_path: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``viberkit listen`` in its own process, with its address."""
    vk.Archive(archive, create=True).close()  # without the warning, which would be in the log
    command = [sys.executable, "-m", "viberkit.cli", "listen", "--port", str(port), "--archive", archive]
    with (
        log_path.open("a") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "VIBERKIT_CALLBACK_SECRET": SECRET},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("listening at "), log_path.read_text()
            yield process, first.split()[2].rstrip(";")
        finally:
            process.kill()


@contextmanager
def loading(
    url: str, acknowledged: Path, *, seconds: float, per_second: float, connections: int = 8
) -> Iterator[subprocess.Popen[str]]:
    """A steady load of callbacks from another process."""
    command = [sys.executable, str(LOAD), url, "--secret", SECRET, "--seconds", str(seconds)]
    command += ["--per-second", str(per_second), "--connections", str(connections), "--acknowledged", str(acknowledged)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str], by: signal.Signals) -> tuple[int, str]:
    """Send a signal to a process, and return its exit code and its last output."""
    process.send_signal(by)
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def stored_bodies(archive: str) -> set[bytes]:
    """The bodies of all callbacks in an archive."""
    return {row[0] for row in execute(archive, "SELECT body FROM raw WHERE kind = 'callback'")}


def assert_whole(archive: str, acknowledged: set[bytes]) -> None:
    """Check that no acknowledged callback is lost, the file is intact, and every event was read."""
    with vk.Archive(archive) as opened:
        opened.recorder.derive()
        events = opened.events(all_sources=True)
        assert opened.unreadable().empty
    assert ENABLED or execute(archive, "PRAGMA integrity_check") == [("ok",)]
    assert execute(archive, "SELECT count(*) FROM raw WHERE NOT derived") == [(0,)]
    stored = stored_bodies(archive)
    lost = acknowledged - stored
    assert not lost, f"{len(lost):,} of {len(acknowledged):,} were acknowledged and are missing: {sorted(lost)[:3]}"
    callbacks = pd.DataFrame(map(json.loads, stored))
    expected = pd.MultiIndex.from_arrays(
        [
            callbacks["messageId"],
            callbacks["event"].map(parse_state),
            pd.to_datetime(callbacks["timestamp"], utc=True, format="ISO8601"),
        ]
    )
    events = events[events["source"] == "callback"]
    actual = pd.MultiIndex.from_arrays([events["message_id"].astype("str"), events["state"], events["happened_at"]])
    assert len(expected.difference(actual)) == 0
    assert len(actual.difference(expected)) == 0


async def load_until(url: str, prefix: str, enough: int, then: Callable[[], object], rng: random.Random) -> set[bytes]:
    """Post callbacks until enough are acknowledged, call `then` a moment later, and return when the responses end."""
    acknowledged: set[bytes] = set()
    numbers, over = count(), asyncio.Event()

    async def post() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        with closing(writer):
            while True:
                payload = body(next(numbers), prefix)
                writer.write(request(url, payload, SECRET))
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (OSError, asyncio.IncompleteReadError):
                    return
                assert head.startswith(b"HTTP/1.1 204 "), head
                acknowledged.add(payload)
                if len(acknowledged) >= enough:
                    over.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(post())
        await over.wait()
        await asyncio.sleep(rng.uniform(0, 0.2))
        then()
    return acknowledged


def test_no_acknowledged_callback_is_lost_when_the_receiver_is_killed(archive_url: str, tmp_path: Path) -> None:
    archive, rng, log = archive_url, random.Random("kills"), tmp_path / "log"
    acknowledged: set[bytes] = set()
    port = 0
    for number in range(KILLS):
        with listening(archive, log, port) as (receiver, url):
            port = port_of(url)
            enough = PER_KILL + rng.randrange(PER_KILL // 4)
            acknowledged |= asyncio.run(load_until(url, f"kill{number}", enough, receiver.kill, rng))
            assert receiver.wait(10) == -signal.SIGKILL
    more = len(stored_bodies(archive) - acknowledged)
    assert len(acknowledged) >= KILLS * PER_KILL
    assert log.read_text() == ""
    assert_whole(archive, acknowledged)
    print(f"\n{KILLS} kills: {len(acknowledged):,} acknowledged, all stored; {more:,} more stored")


@pytest.mark.skipif(not ENABLED, reason="a server of SQLite does not exist")
def test_no_acknowledged_callback_is_lost_when_the_server_is_stopped(
    archive_url: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    rng, acknowledged, refused = random.Random("stops"), set[bytes](), 0
    for number in range(STOPS):
        with listening(archive_url, tmp_path / "log") as (_, url):
            lost, more = asyncio.run(load_through(url, f"stop{number}", PER_KILL, postgres, rng))
            acknowledged |= more
            refused += lost
    assert_whole(archive_url, acknowledged)
    print(f"\n{STOPS} stops: {len(acknowledged):,} acknowledged, all stored; {refused:,} refused or not answered")


async def load_through(
    url: str, prefix: str, enough: int, server: PostgresServer, rng: random.Random
) -> tuple[int, set[bytes]]:
    """Post callbacks while the server is stopped and started; return how many failed, and those acknowledged."""
    acknowledged: set[bytes] = set()
    numbers, failed, over, enough_now = count(), 0, asyncio.Event(), asyncio.Event()

    async def post() -> None:
        nonlocal failed
        while not over.is_set():  # a connection is closed after a response that is not 204
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
            with closing(writer):
                while not over.is_set():
                    payload = body(next(numbers), prefix)
                    writer.write(request(url, payload, SECRET))
                    head = await reader.readuntil(b"\r\n\r\n")
                    if head.startswith(b"HTTP/1.1 204 "):
                        acknowledged.add(payload)
                    else:
                        assert head.startswith(b"HTTP/1.1 503 "), head
                        failed += 1
                        await asyncio.sleep(0.05)
                        break
                    if len(acknowledged) >= enough:
                        enough_now.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(post())
        await enough_now.wait()
        await asyncio.sleep(rng.uniform(0, 0.2))
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(rng.uniform(0, 0.3))
        await asyncio.to_thread(server.start)
        before = len(acknowledged)
        while len(acknowledged) < before + enough:
            await asyncio.sleep(0.05)
        over.set()
    return failed, acknowledged


@pytest.mark.parametrize("by", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_graceful_stop_by_a_signal_under_load(archive_url: str, tmp_path: Path, by: signal.Signals) -> None:
    archive, log = archive_url, tmp_path / "log"
    with listening(archive, log) as (receiver, url), ExitStack() as held:
        silent, partial = (held.enter_context(socket.create_connection(("127.0.0.1", port_of(url)))) for _ in range(2))
        partial.sendall(b"POST /callbacks HT")
        then, rng = lambda: receiver.send_signal(by), random.Random("stop")
        acknowledged = asyncio.run(load_until(url, "stop", PER_KILL // 2, then, rng))
        started = time.monotonic()
        last = receiver.communicate(timeout=30)[0].splitlines()[-1]
        print(f"\n{by.name}: over {time.monotonic() - started:.1f} s after the last answer; {last}")
        assert silent.recv(1) == b""
    assert receiver.returncode == 0
    assert last.endswith("; rejected: none")
    assert int(last.split()[0].replace(",", "")) == len(acknowledged) == len(stored_bodies(archive))
    assert log.read_text() == ""
    assert_whole(archive, acknowledged)


def test_responses_while_the_interpreter_is_busy(archive_url: str, tmp_path: Path) -> None:
    path, acknowledged = archive_url, tmp_path / "acknowledged"
    with vk.Archive(path) as archive, Listener(archive, secret=SECRET) as listener:
        with loading(listener.url, acknowledged, seconds=BUSY_S, per_second=30) as load:
            while load.poll() is None:
                sum(number * number for number in range(20_000))
            assert load.stdout is not None
            report = json.load(load.stdout)
        assert listener.stored == report["answered"]
        assert not listener.rejected
    p50, p99, slowest = (report[f"p{share}_ms"] for share in (50, 99, 100))
    print(f"\nbusy for {BUSY_S:g} s: {report['answered']} answered, p50 {p50} ms, p99 {p99} ms, slowest {slowest} ms")
    assert (report["refused"], report["broken"]) == (0, 0)
    assert report["answered"] >= 20 * BUSY_S
    assert slowest < 1000 * TIMEOUT_S
    assert_whole(path, set(acknowledged.read_bytes().splitlines()))


def _collect(path: str, base_url: str, key: str, url: str, seconds: float) -> dict[str, int]:
    """Send messages and collect their histories in rounds."""
    done = {"sent": 0, "rounds": 0, "requests": 0}
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url, archive=archive) as client:
        client.account.configure_callbacks(url, events=EVENTS, secret=SECRET)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for _ in range(5):
                client.send(f"+49170{3_000_000 + done['sent'] % 200}", vk.Text("hi"), rate_type="transaction")
                done["sent"] += 1
            summary = vk.collect(
                client, archive, workers=8, per_second=100, include_final=not done["rounds"] % 8, progress=False
            )
            assert summary.failed == 0, summary.reasons
            done["requests"] += summary.requested
            done["rounds"] += 1
            time.sleep(0.2)
    return done


def _read(path: str, seconds: float) -> dict[str, int]:
    """Read all frames of the archive in rounds; messages never disappear."""
    done = {"rounds": 0, "messages": 0}
    with vk.Archive(path) as archive:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            messages = archive.events()["message_id"].nunique()
            for read in (archive.messages, archive.inbound, archive.gaps):
                read()
            assert messages >= done["messages"]
            done["messages"] = messages
            done["rounds"] += 1
            time.sleep(0.2)
    return done


@contextmanager
def sandbox_process() -> Iterator[subprocess.Popen[str]]:
    """``viberkit sandbox`` in its own process."""
    command = [sys.executable, "-m", "viberkit.cli", "sandbox", "--port", "0", "--speed", "30", "--seed", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            assert stop(process, signal.SIGINT)[0] == 0
        finally:
            process.kill()


@pytest.mark.slow
def test_soak_with_many_processes_on_one_archive(archive_url: str, tmp_path: Path) -> None:
    archive, acknowledged_file, log = archive_url, tmp_path / "acknowledged", tmp_path / "log"
    with (
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        sandbox_process() as sandbox,
        listening(archive, log) as (receiver, url),
        loading(url, acknowledged_file, seconds=SOAK_S, per_second=150, connections=16) as load,
    ):
        reading = [pool.submit(_read, archive, SOAK_S) for _ in range(2)]
        assert sandbox.stdout is not None
        base_url, key = (sandbox.stdout.readline().strip().partition("=")[2] for _ in range(2))
        collected = _collect(archive, base_url, key, url, SOAK_S)
        report = json.loads(load.communicate(timeout=SOAK_S + 90)[0])
        read = [future.result(SOAK_S + 90) for future in reading]
        code, output = stop(receiver, signal.SIGTERM)
    print(f"\nsoak {SOAK_S:g} s: {report}\ncollector {collected}\nreaders {read}\nreceiver {output.strip()}")
    assert code == 0
    assert log.read_text() == ""  # no lock error, nothing rejected
    assert (report["refused"], report["broken"]) == (0, 0)
    assert output.endswith("rejected: none\n")
    assert report["answered"] > (50 * SOAK_S if SOAK_S >= 30 else 0)  # short runs share the computer with other tests
    acknowledged = set(acknowledged_file.read_bytes().splitlines())
    assert len(acknowledged) == report["answered"]
    assert_whole(archive, acknowledged)
    with vk.Archive(archive) as opened:
        assert len(opened.raw_bodies("send")) == collected["sent"]
