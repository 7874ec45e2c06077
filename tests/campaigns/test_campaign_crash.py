"""A paid message is sent at most once: with kills at random times, kills at named points, and two concurrent senders.

The figures:

``VIBERKIT_CAMPAIGN=10000 VIBERKIT_KILLS=200 pytest tests/campaigns/test_campaign_crash.py -s -k killed``

The kills are divided among three seeds (fewer than 30 have one), for each of the two journal modes. The sandbox runs in
a process of its own with faults of every kind; its log has the posts and the accepted messages. viberkit chooses the
journal mode by SQLite's version; the tests set the other one in the senders. Senders are forked from a server that has
only imported viberkit, so that they start within milliseconds.

With ``VIBERKIT_POSTGRES=1``, two processes send at once, of which one waits for the other, and the database server is
stopped ``VIBERKIT_STOPS`` times in each seed.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from support.archives import execute
from support.faults import FaultySandbox
from support.postgres import ENABLED, PostgresServer
from tqdm.auto import tqdm

import viberkit as vk
from viberkit.api import send as client_send
from viberkit.archive import engine as archive_engine, ingest, outbox
from viberkit.campaigns import run as campaigns_run
from viberkit.errors import ArchiveError, CampaignError, UnknownOutcome
from viberkit.models.keys import find_key

MESSAGES = int(os.environ.get("VIBERKIT_CAMPAIGN", "300"))
ALL_KILLS = int(os.environ.get("VIBERKIT_KILLS", "3"))
SEEDS = 3 if ALL_KILLS >= 30 else 1
KILLS = -(-ALL_KILLS // SEEDS)
STOPS = int(os.environ.get("VIBERKIT_STOPS", "1"))  # of the PostgreSQL server, in each seed
MODES = ["postgresql"] if ENABLED else [pytest.param("DELETE", marks=pytest.mark.slow), "WAL"]
#: The longest time before a sender is killed: short enough that messages remain for all kills.
LONGEST_S = min(1.0, MESSAGES / max(KILLS, 1) / 600)
SYNCHRONOUS = {"DELETE": "EXTRA", "WAL": "FULL", "postgresql": ""}
NAME, HI = "spring", vk.Text("Hi {name}")
TO, HELLO = "+491701234567", vk.Text("Hello")
TIMEOUT_S = 1.0
#: Every kind affects 0.5 % of the posts, half of them before the message is accepted and half after where both exist.
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("drop", {"share": 0.0025}),
    ("drop", {"share": 0.0025, "before": False}),
    ("500", {"share": 0.0025}),
    ("500", {"share": 0.0025, "before": False}),
    ("429", {"share": 0.005}),
    ("garble", {"share": 0.005}),
    ("slow", {"share": 0.005, "delay_s": 2 * TIMEOUT_S}),
)
Address = tuple[str, str]

_forking = get_context("forkserver")
_PRELOADED = ("campaigns.run", "campaigns.collector", "callbacks.listener", "sandbox.sandbox")
_forking.set_forkserver_preload(["support.newer_sqlite", "pytest", *(f"viberkit.{name}" for name in _PRELOADED)])


@contextmanager
def running(function: Callable[..., None], *arguments: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """Run a function in a process of its own, with a pipe to it."""
    here, there = _forking.Pipe()
    process = _forking.Process(target=function, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        process.join(30)
        here.close()


def receive(pipe: Connection, within_s: float = 60) -> Any:
    """Return the next object from a pipe."""
    assert pipe.poll(within_s), "nothing was received"
    return pipe.recv()


def journal(mode: str) -> None:
    """Set the journal mode of this process."""
    if mode == "postgresql":
        return
    assert ("VIBERKIT_PYSQLITE3" in os.environ) == (sqlite3.Connection.__module__ != "sqlite3")
    archive_engine.journal_mode = lambda *_: (mode, SYNCHRONOUS[mode])


def unshare_progress_lock() -> None:
    """Give progress bars a lock of this process: a killed process would leave a shared one locked."""
    tqdm.set_lock(threading.RLock())


def recipients(count: int) -> list[dict[str, str]]:
    return [{"to": f"+49170{3_000_000 + number}", "name": f"N{number}"} for number in range(count)]


# --- killed at random times --------------------------------------------------------------------------------


def serve(pipe: Connection, seed: int) -> None:
    """Run a sandbox with faults; send its log and the accepted messages on request."""
    with FaultySandbox(seed=seed, speed=0, latency_s=0.05) as sandbox:
        for kind, options in FAULTS:
            sandbox.fault(kind, method="POST", path="/messages", **options)
        pipe.send((sandbox.base_url, sandbox.api_key))
        while (command := pipe.recv()) != "stop":
            if command == "log":
                posts = [request for request in sandbox.requests if request.method == "POST"]
                pipe.send(
                    [(find_key(request.json["context"]), request.json["to"], request.status) for request in posts]
                )
            elif command == "accepted":
                accepted = sandbox.truth()[["to", "message_id"]].drop_duplicates()
                pipe.send([tuple(map(str, row)) for row in accepted.to_numpy()])
            elif command == "advance":
                sandbox.advance(minutes=5)
                pipe.send("done")
        pipe.send("stopped")


def send_campaign(pipe: Connection, path: str, address: Address, mode: str) -> None:
    """Start or continue the campaign."""
    journal(mode)
    unshare_progress_lock()
    base_url, key = address
    with (
        vk.Archive(path) as archive,
        vk.Client(key, "VIBERKIT", base_url=base_url, timeout_s=(5, TIMEOUT_S)) as client,
    ):
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        pipe.send("sending")
        while True:
            try:
                status = campaign.send(client, confirm=confirm, max_unknown_share=1.0, workers=32, progress=False)
                break
            except CampaignError as error:
                assert "is being sent by another" in str(error), error  # noqa: PT017
            except ArchiveError:
                if mode != "postgresql":
                    raise
            time.sleep(0.05)
        pipe.send(status.stopped)


def unfinished(url: str) -> int:
    """Return the number of messages without an outcome."""
    return int(execute(url, "SELECT count(*) FROM outbox WHERE state IN ('planned', 'queued', 'in_flight')")[0][0])


def crash_until_all_are_sent(url: str, address: Address, seed: int, server: PostgresServer) -> tuple[int, int, int]:
    """Let two processes send, kill them and the server; return the number of kills, of runs and of stops."""
    chance = random.Random(f"kills {seed} postgresql")
    killed = runs = stopped = 0
    while unfinished(url):
        runs += 1
        assert runs < 2 * (KILLS + STOPS) + 30, f"{unfinished(url)} are unfinished after {runs} runs"
        arguments = send_campaign, url, address, "postgresql"
        with running(*arguments) as (first, one), running(*arguments) as (second, other):
            assert receive(one) == receive(other) == "sending"
            if killed < KILLS or stopped < STOPS:
                first.join(chance.uniform(0, LONGEST_S))
                if stopped < STOPS and runs % max(1, KILLS // 2 // max(STOPS, 1)) == 0:
                    server.stop()
                    stopped += 1
                    time.sleep(chance.uniform(0, 0.5))
                    server.start()
                    first.join(chance.uniform(0, LONGEST_S))
                for victim in chance.sample([first, second], 2 if killed < KILLS else 0):
                    victim.kill()
                    first.join(chance.uniform(0, LONGEST_S / 4))
            for sender in (first, second):
                sender.join(600)
                assert sender.exitcode in (0, -signal.SIGKILL)
                killed += sender.exitcode != 0
    return killed, runs, stopped


def kill_until_all_are_sent(path: str, address: Address, mode: str, seed: int) -> tuple[int, int]:
    """Start and kill senders until every message has an outcome; return the number of kills and of runs."""
    chance = random.Random(f"kills {seed} {mode}")
    killed = runs = 0
    while unfinished(path):
        runs += 1
        assert runs < 2 * KILLS + 30, f"{unfinished(path)} are unfinished after {runs} runs"
        with running(send_campaign, path, address, mode) as (sender, pipe):
            assert receive(pipe) == "sending"
            if killed < KILLS:
                sender.join(chance.uniform(0, LONGEST_S))
                sender.kill()
            sender.join(600)
            assert sender.exitcode in (0, -signal.SIGKILL)
            killed += sender.exitcode != 0
    return killed, runs


def all_posts(sandbox: Connection) -> list[tuple[str, str, int | None]]:
    """Return the log once it no longer grows: the server reads what a sender wrote before it was killed."""
    log: list[tuple[str, str, int | None]] = []
    while True:
        before = len(log)
        time.sleep(0.5)
        sandbox.send("log")
        log = receive(sandbox)
        if len(log) == before:
            return log


def check_outcomes(
    path: str, log: list[tuple[str, str, int | None]], accepted: list[tuple[str, str]]
) -> dict[str, str]:
    """Check that nothing was sent twice or lost and that the outbox is right; return the state by recipient."""
    posts: dict[str, list[int | None]] = {}
    for key, _, status in log:
        posts.setdefault(key, []).append(status)
    repeated = {
        key: statuses_of_key
        for key, statuses_of_key in posts.items()
        if any(status != 429 for status in statuses_of_key[:-1])
    }
    assert not repeated, f"posted again after something else than 429: {repeated}"
    assert all(statuses_of_key.count(202) <= 1 for statuses_of_key in posts.values())
    ids = dict(accepted)
    assert len(ids) == len(accepted), "a recipient has two messages"

    with vk.Archive(path) as archive:
        rows = archive.outbox(unmask=True).astype({"state": "str"}).to_dict("records")
    assert {row["to"] for row in rows} == {recipient["to"] for recipient in recipients(MESSAGES)}
    assert len(rows) == MESSAGES
    assert set(posts) <= {row["key"] for row in rows}
    for row in rows:
        statuses = posts.get(row["key"], [])
        assert row["state"] in ("accepted", "rejected", "unknown"), row
        if row["state"] == "accepted":
            assert row["message_id"] == ids[row["to"]], row
            assert 202 in statuses or "a callback shows" in row["reason"], row
        if row["to"] in ids or 202 in statuses:
            assert row["state"] in ("accepted", "unknown"), row
        if row["state"] == "rejected":
            assert 400 <= (statuses[-1] or 0) < 500, row
    assert ENABLED or execute(path, "PRAGMA integrity_check") == [("ok",)]
    return {row["to"]: row["state"] for row in rows}


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("mode", MODES)
def test_a_killed_campaign_continues_and_sends_nothing_twice(
    archive_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, mode: str, seed: int
) -> None:
    monkeypatch.setattr(archive_engine, "journal_mode", lambda *_: (mode, SYNCHRONOUS[mode]))
    path, started, stopped = archive_url, time.monotonic(), 0
    with running(serve, seed) as (_, sandbox), vk.Archive(path) as archive:
        base_url, key = receive(sandbox)
        vk.Campaign.plan(archive, NAME, recipients(MESSAGES), HI, rate_type="promotion", context="order 7")
        with vk.Listener(archive) as listener, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
            listener.configure(client, events=["MessageStatus::accepted"])
            if mode == "postgresql":
                server = request.getfixturevalue("postgres")
                killed, runs, stopped = crash_until_all_are_sent(path, (base_url, key), seed, server)
            else:
                killed, runs = kill_until_all_are_sent(path, (base_url, key), mode, seed)
            log = all_posts(sandbox)
            sandbox.send("accepted")
            accepted = receive(sandbox)
            sent_s = time.monotonic() - started
            before = check_outcomes(path, log, accepted)
            assert ENABLED or execute(path, "PRAGMA journal_mode") == [(mode.lower(),)]
            sandbox.send("advance")
            assert receive(sandbox, 1200) == "done"
        after = check_outcomes(path, log, accepted)
        sandbox.send("log")
        assert receive(sandbox) == log
        sandbox.send("stop")
        assert receive(sandbox) == "stopped"
    recipients_reached = dict(accepted)
    assert {to for to, state in after.items() if state == "accepted"} == set(recipients_reached)
    assert {to for to, state in after.items() if state == "unknown"} == {
        to for to, state in before.items() if state == "unknown" and to not in recipients_reached
    }
    assert killed >= KILLS
    assert stopped == (STOPS if ENABLED else 0)
    unknown = [to for to, state in before.items() if state == "unknown"]
    print(
        f"\n{mode}, seed {seed}: {killed} kills and {stopped} stops of the server in {runs} runs of {sent_s:.0f} s; "
        f"{MESSAGES:,} messages, "
        f"{len(log):,} posts {dict(Counter(str(status) for *_, status in log))}; {dict(Counter(before.values()))}, "
        f"after the callbacks {dict(Counter(after.values()))}: {len(set(unknown) & set(recipients_reached)):,} of "
        f"{len(unknown):,} unknown had been accepted, all of them settled; nothing repeated, nothing lost"
    )


# --- killed at named points -----------------------------------------------------------------------------

#: The points, and whether the message may have been sent by then and must not be sent again.
POINTS = {
    "before the claim": False,
    "before the commit of the claim": False,
    "after the claim": True,
    "after the bytes": True,
    "after the answer": True,
    "before the commit of the settle": True,
}
POSTED = ("after the bytes", "after the answer", "before the commit of the settle")


#: The functions that are called at a point: module and name.
CALLED: dict[str, list[tuple[Any, str]]] = {
    "before the claim": [(outbox, "claim")],
    "after the claim": [(client_send, "post"), (campaigns_run, "post")],
    "after the answer": [(ingest, "settle")],
}


def kill_self(*arguments: Any, **_: Any) -> Any:
    """Kill this process, unless the step has nothing to do (a step of a campaign may settle nothing)."""
    if len(arguments) < 2 or arguments[1]:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def die_at(point: str, archive: vk.Archive) -> None:
    """Let this process be killed at a point."""
    for where, name in CALLED.get(point, ()):
        setattr(where, name, kill_self)
    if "commit" in point:
        name, reached = point.rpartition(" ")[2], threading.Event()
        step = getattr(outbox, name)

        def marked(connection: Any, what: Any, *more: Any, **options: Any) -> None:
            step(connection, what, *more, **options)
            if what:
                reached.set()

        setattr(outbox, name, marked)
        event.listen(archive._database.engine, "commit", lambda _: kill_self() if reached.is_set() else None)


def send_one(pipe: Connection, path: str, address: Address, point: str) -> None:
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url, archive=archive) as client:
        die_at(point, archive)
        pipe.send("sending")
        try:
            client.send(TO, HELLO, rate_type="transaction", deduplicate=True)
        except UnknownOutcome:
            pipe.send("unknown")
        else:
            pipe.send("accepted")


def send_three(pipe: Connection, path: str, address: Address, point: str) -> None:
    unshare_progress_lock()
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        die_at(point, archive)
        pipe.send("sending")
        status = campaign.send(client, confirm=confirm, max_unknown_share=1.0, workers=1, progress=False)
        pipe.send(status.counts)


def keys_posted(sandbox: vk.Sandbox) -> Counter[str]:
    return Counter(str(find_key(request.json["context"])) for request in sandbox.requests if request.method == "POST")


def crash(function: Callable[..., None], path: str, sandbox: vk.Sandbox, point: str) -> None:
    """Run a send that is killed at a point."""
    sandbox.latency_s = 20 if point == "after the bytes" else 0
    with running(function, path, (sandbox.base_url, sandbox.api_key), point) as (sender, pipe):
        assert receive(pipe) == "sending"
        if point == "after the bytes":
            ends = time.monotonic() + 30
            while not keys_posted(sandbox) and time.monotonic() < ends:
                time.sleep(0.005)
            sender.kill()
        sender.join(30)
        assert sender.exitcode == -signal.SIGKILL
        assert not pipe.poll() or _ended(pipe)
    sandbox.latency_s = 0


def _ended(pipe: Connection) -> bool:
    """Whether a pipe is at its end."""
    with suppress(EOFError, ConnectionResetError):
        pipe.recv()
        return False
    return True


def resume(function: Callable[..., None], path: str, sandbox: vk.Sandbox) -> Any:
    """Run the same send to its end; return its result."""
    with running(function, path, (sandbox.base_url, sandbox.api_key), "never") as (sender, pipe):
        assert receive(pipe) == "sending"
        results = receive(pipe)
        sender.join(30)
        assert sender.exitcode == 0
    return results


def states(path: str) -> list[str]:
    return [row[0] for row in execute(path, "SELECT state FROM outbox ORDER BY row, ordinal")]


@pytest.mark.parametrize("point", POINTS)
def test_a_single_send_killed_at_a_point(sandbox: vk.Sandbox, archive_url: str, point: str) -> None:
    path, perhaps_sent = archive_url, POINTS[point]
    vk.Archive(path, create=True).close()
    crash(send_one, path, sandbox, point)
    assert keys_posted(sandbox).total() == (point in POSTED)
    assert states(path) == (["in_flight"] if perhaps_sent else [])
    for _ in range(2):
        assert resume(send_one, path, sandbox) == ("unknown" if perhaps_sent else "accepted")
    assert keys_posted(sandbox).total() == (point in POSTED or not perhaps_sent)
    assert states(path) == (["unknown"] if perhaps_sent else ["accepted"])


@pytest.mark.parametrize("point", POINTS)
def test_a_campaign_killed_at_a_point(sandbox: vk.Sandbox, archive_url: str, point: str) -> None:
    path, perhaps_sent = archive_url, POINTS[point]
    with vk.Archive(path) as archive:
        vk.Campaign.plan(archive, NAME, recipients(3), HI, rate_type="promotion")
    crash(send_three, path, sandbox, point)
    assert keys_posted(sandbox).total() == (point in POSTED)
    assert states(path) == ["in_flight" if perhaps_sent else "queued", "queued", "queued"]
    for _ in range(2):
        assert resume(send_three, path, sandbox) == ({"accepted": 2, "unknown": 1} if perhaps_sent else {"accepted": 3})
    posted = keys_posted(sandbox)
    assert posted.total() == 3 - (perhaps_sent and point not in POSTED)
    assert set(posted.values()) == {1}
    assert states(path) == ["unknown" if perhaps_sent else "accepted", "accepted", "accepted"]


# --- concurrent senders ---------------------------------------------------------------------------------------


def compete(pipe: Connection, path: str, address: Address) -> None:
    """Send when told to through the pipe, and send back the result."""
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        pipe.send("ready")
        pipe.recv()
        try:
            status = campaign.send(client, confirm=confirm, workers=4, progress=False)
        except CampaignError as error:
            pipe.send(str(error))
        else:
            pipe.send(status.counts)


def test_two_processes_send_every_message_once(sandbox: vk.Sandbox, archive_url: str) -> None:
    sandbox.latency_s, path = 0.1, archive_url
    with vk.Archive(path) as archive:
        vk.Campaign.plan(archive, NAME, recipients(40), HI, rate_type="promotion")
    arguments = path, (sandbox.base_url, sandbox.api_key)
    with (
        running(compete, *arguments) as (first_process, first),
        running(compete, *arguments) as (second_process, second),
    ):
        for pipe in (first, second):
            assert receive(pipe) == "ready"
        for pipe in (first, second):
            pipe.send("go")
        results = [receive(pipe) for pipe in (first, second)]
        for process in (first_process, second_process):
            process.join(30)
        assert [first_process.exitcode, second_process.exitcode] == [0, 0]
    assert {"accepted": 40} in results
    refused = [result for result in results if isinstance(result, str)]
    assert len(refused) == 1
    assert "is being sent by another cell or process" in refused[0]
    with vk.Archive(path) as archive, sandbox.client() as client:
        campaign = vk.Campaign.open(archive, NAME)
        for _ in range(2):
            status = campaign.send(client, confirm=campaign.confirmed or "", progress=False)
            assert status.counts == {"accepted": 40}
    posted = keys_posted(sandbox)
    assert (len(posted), posted.total()) == (40, 40)


# --- the SQLite of pysqlite3 ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.sqlite
def test_crashes_and_interrupts_with_a_newer_sqlite() -> None:
    """The same with a version for which viberkit itself chooses WAL."""
    try:
        import pysqlite3
    except ImportError:
        pytest.skip("pysqlite3 is not installed: pip install viberkit[oracles]")
    assert archive_engine.journal_mode(pysqlite3.sqlite_version_info) == ("WAL", "FULL")
    here = Path(__file__).parent
    files = [str(here / name) for name in ("test_campaign_crash.py", "test_interrupts.py", "test_campaigns.py")]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *files]
    path = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])  # for the forkserver
    environment = {**os.environ, "VIBERKIT_PYSQLITE3": "1", "PYTHONPATH": path}
    process = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=here, check=False)
    assert process.returncode == 0, process.stdout[-3000:]
