"""A paid message goes out at most once: through kills at any moment, at each named point, and two senders at a time.

The figures:

``VIBERKIT_CAMPAIGN=10000 VIBERKIT_KILLS=200 pytest tests/test_campaign_crash.py -s -k killed``

So many kills are shared by three seeds (a few by one), for each of the two journal modes. The sandbox runs in a process
of its own and fails in every way; its log says what was posted, and what it accepted in truth. viberkit chooses the
journal mode by SQLite's version; the other one is set in the senders for the test only. Senders are forked from a
server that has imported viberkit and done nothing else, so that a start takes milliseconds.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from support.faults import FaultySandbox
from tqdm.auto import tqdm

import viberkit as vk
from viberkit.api import client as clients
from viberkit.archive import engine as archive_engine
from viberkit.archive import outbox as box
from viberkit.archive import sends as archive_sending
from viberkit.campaigns import run as campaigns_run
from viberkit.errors import CampaignError, UnknownOutcome
from viberkit.models.keys import find_key

MESSAGES = int(os.environ.get("VIBERKIT_CAMPAIGN", "300"))
ALL_KILLS = int(os.environ.get("VIBERKIT_KILLS", "3"))
SEEDS = 3 if ALL_KILLS >= 30 else 1
KILLS = -(-ALL_KILLS // SEEDS)
#: So long a sender lives at most before it is killed: short enough that messages are left for all kills.
LONGEST_S = min(1.0, MESSAGES / max(KILLS, 1) / 600)
SYNCHRONOUS = {"DELETE": "EXTRA", "WAL": "FULL"}
NAME, HI = "spring", vk.Text("Hi {name}")
TO, HELLO = "+491701234567", vk.Text("Hello")
TIMEOUT_S = 1.0
#: Each kind strikes 0.5 % of the posts; what may come before or after the message was accepted does both by halves.
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
_forking.set_forkserver_preload(
    ["pytest", "viberkit.campaigns.run", "viberkit.callbacks.listener", "viberkit.sandbox.sandbox"]
)


@contextmanager
def running(work: Callable[..., None], *given: Any) -> Iterator[tuple[BaseProcess, Connection]]:
    """A function in a process of its own, and a pipe to it."""
    here, there = _forking.Pipe()
    process = _forking.Process(target=work, args=(there, *given), daemon=True)
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        process.join(30)
        here.close()


def told(pipe: Connection, within_s: float = 60) -> Any:
    """What comes through a pipe, soon."""
    assert pipe.poll(within_s), "nothing came"
    return pipe.recv()


def journal(mode: str) -> None:
    """Set the journal mode of this process: for the test only."""
    archive_engine.journal_mode = lambda *_: (mode, SYNCHRONOUS[mode])


def lonely() -> None:
    """Keep a progress bar from sharing a lock among processes: one that is killed would leave it behind."""
    tqdm.set_lock(threading.RLock())


def recipients(count: int) -> list[dict[str, str]]:
    return [{"to": f"+49170{3_000_000 + number}", "name": f"N{number}"} for number in range(count)]


# --- killed at any moment --------------------------------------------------------------------------------


def serve(pipe: Connection, seed: int) -> None:
    """The sandbox: fails now and then, and tells what it was asked and what it accepted."""
    with FaultySandbox(seed=seed, speed=0, latency_s=0.05) as sandbox:
        for kind, options in FAULTS:
            sandbox.fault(kind, method="POST", path="/messages", **options)
        pipe.send((sandbox.base_url, sandbox.api_key))
        while (asked := pipe.recv()) != "stop":
            if asked == "log":
                posts = [one for one in sandbox.requests if one.method == "POST"]
                pipe.send([(find_key(one.json["context"]), one.json["to"], one.status) for one in posts])
            elif asked == "accepted":
                accepted = sandbox.truth()[["to", "message_id"]].drop_duplicates()
                pipe.send([tuple(map(str, one)) for one in accepted.to_numpy()])
            elif asked == "advance":
                sandbox.advance(minutes=5)
                pipe.send("done")
        pipe.send("stopped")


def go_on(pipe: Connection, path: str, address: Address, mode: str) -> None:
    """A sender: goes on with the campaign, or begins it."""
    journal(mode)
    lonely()
    base_url, key = address
    with (
        vk.Archive(path) as archive,
        vk.Client(key, "VIBERKIT", base_url=base_url, timeout_s=(5, TIMEOUT_S)) as client,
    ):
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        pipe.send("sending")
        status = campaign.send(client, confirm=confirm, max_unknown_share=1.0, workers=32, progress=False)
        pipe.send(status.attrs["stopped"])


def left(path: Path) -> int:
    """How many messages are not at an end."""
    asked = "SELECT count(*) FROM outbox WHERE state IN ('planned', 'queued', 'in_flight')"
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        return int(connection.execute(asked).fetchone()[0])


def kill_until_all_is_sent(path: Path, address: Address, mode: str, seed: int) -> tuple[int, int]:
    """Start senders, and kill as many as asked for, until nothing is left; gives how many were killed and run."""
    chance = random.Random(f"kills {seed} {mode}")
    killed = runs = 0
    while left(path):
        runs += 1
        assert runs < 2 * KILLS + 30, f"{left(path)} are left after {runs} runs"
        with running(go_on, str(path), address, mode) as (sender, pipe):
            assert told(pipe) == "sending"
            if killed < KILLS:
                sender.join(chance.uniform(0, LONGEST_S))
                sender.kill()
            sender.join(600)
            assert sender.exitcode in (0, -signal.SIGKILL)
            killed += sender.exitcode != 0
    return killed, runs


def everything_posted(sandbox: Connection) -> list[tuple[str, str, int | None]]:
    """The log, when nothing more arrives: what a sender wrote before it died is read after."""
    log: list[tuple[str, str, int | None]] = []
    while True:
        before = len(log)
        time.sleep(0.5)
        sandbox.send("log")
        log = told(sandbox)
        if len(log) == before:
            return log


def judged(path: Path, log: list[tuple[str, str, int | None]], accepted: list[tuple[str, str]]) -> dict[str, str]:
    """Nothing was posted or accepted twice, nothing is lost, the outbox is right; gives the state of each number."""
    posts: dict[str, list[int | None]] = {}
    for key, _, status in log:
        posts.setdefault(key, []).append(status)
    twice = {key: all_of_it for key, all_of_it in posts.items() if any(one != 429 for one in all_of_it[:-1])}
    assert not twice, f"posted again after something else than 429: {twice}"
    assert all(all_of_it.count(202) <= 1 for all_of_it in posts.values())
    ids = dict(accepted)
    assert len(ids) == len(accepted), "a recipient has two messages"

    with vk.Archive(path) as archive:
        rows = archive.outbox(unmask=True).astype({"state": "str"}).to_dict("records")
    assert {row["to"] for row in rows} == {one["to"] for one in recipients(MESSAGES)}
    assert len(rows) == MESSAGES
    assert set(posts) <= {row["key"] for row in rows}
    for row in rows:
        statuses = posts.get(row["key"], [])
        assert row["state"] in ("accepted", "rejected", "unknown"), row
        if row["state"] == "accepted":
            assert row["message_id"] == ids[row["to"]], row
            assert 202 in statuses or "a callback tells" in row["reason"], row
        if row["to"] in ids or 202 in statuses:
            assert row["state"] in ("accepted", "unknown"), row
        if row["state"] == "rejected":
            assert 400 <= (statuses[-1] or 0) < 500, row
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return {row["to"]: row["state"] for row in rows}


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_killed_campaign_goes_on_and_sends_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, seed: int
) -> None:
    monkeypatch.setattr(archive_engine, "journal_mode", lambda *_: (mode, SYNCHRONOUS[mode]))
    path, began = tmp_path / "killed.db", time.monotonic()
    with running(serve, seed) as (_, sandbox), vk.Archive(path) as archive:
        base_url, key = told(sandbox)
        vk.Campaign.plan(archive, NAME, recipients(MESSAGES), HI, rate_type="promotion", context="order 7")
        with vk.Listener(archive) as listener, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
            listener.configure(client, events=["MessageStatus::accepted"])
            killed, runs = kill_until_all_is_sent(path, (base_url, key), mode, seed)
            log = everything_posted(sandbox)
            sandbox.send("accepted")
            accepted = told(sandbox)
            sent_s = time.monotonic() - began
            before = judged(path, log, accepted)
            with closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA journal_mode").fetchone() == (mode.lower(),)
            sandbox.send("advance")
            assert told(sandbox, 1200) == "done"
        after = judged(path, log, accepted)
        sandbox.send("log")
        assert told(sandbox) == log
        sandbox.send("stop")
        assert told(sandbox) == "stopped"
    reached = dict(accepted)
    assert {to for to, state in after.items() if state == "accepted"} == set(reached)
    assert {to for to, state in after.items() if state == "unknown"} == {
        to for to, state in before.items() if state == "unknown" and to not in reached
    }
    assert killed == KILLS
    unknown = [to for to, state in before.items() if state == "unknown"]
    print(
        f"\n{mode}, seed {seed}: {killed} kills in {runs} runs of {sent_s:.0f} s; {MESSAGES:,} messages, "
        f"{len(log):,} posts {dict(Counter(str(status) for *_, status in log))}; {dict(Counter(before.values()))}, "
        f"after the callbacks {dict(Counter(after.values()))}: {len(set(unknown) & set(reached)):,} of "
        f"{len(unknown):,} unknown were accepted in truth, all of them settled; nothing twice, nothing lost"
    )


# --- killed at a named point -----------------------------------------------------------------------------

#: Where it dies, and whether the message may have gone out: then nothing sends it again.
POINTS = {
    "before the claim": False,
    "before the commit of the claim": False,
    "after the claim": True,
    "after the bytes": True,
    "after the answer": True,
    "before the commit of the settle": True,
}
POSTED = ("after the bytes", "after the answer", "before the commit of the settle")


#: What is called at a point, as (where, name).
CALLED: dict[str, list[tuple[Any, str]]] = {
    "before the claim": [(box, "claim")],
    "after the claim": [(clients, "attempt")],
    "after the answer": [(archive_sending, "settle"), (campaigns_run, "settle")],
}


def die(*given: Any, **_: Any) -> Any:
    """End as by a power cut, unless there was nothing to do (a turn of a campaign may settle nothing)."""
    if len(given) < 2 or given[1]:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def arrange(point: str, archive: vk.Archive) -> None:
    """Let this process die at a point."""
    for where, name in CALLED.get(point, ()):
        setattr(where, name, die)
    if "commit" in point:
        name, reached = point.rpartition(" ")[2], threading.Event()
        step = getattr(box, name)

        def marked(connection: Any, what: Any, *more: Any, **options: Any) -> None:
            step(connection, what, *more, **options)
            if what:
                reached.set()

        setattr(box, name, marked)
        event.listen(archive._engine, "commit", lambda _: die() if reached.is_set() else None)


def send_one(pipe: Connection, path: str, address: Address, point: str) -> None:
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url, archive=archive) as client:
        arrange(point, archive)
        pipe.send("sending")
        try:
            client.send(TO, HELLO, rate_type="transaction", deduplicate=True)
        except UnknownOutcome:
            pipe.send("unknown")
        else:
            pipe.send("accepted")


def send_three(pipe: Connection, path: str, address: Address, point: str) -> None:
    lonely()
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        arrange(point, archive)
        pipe.send("sending")
        status = campaign.send(client, confirm=confirm, max_unknown_share=1.0, workers=1, progress=False)
        pipe.send(dict(zip(status["state"], status["n"], strict=True)))


def keys_posted(sandbox: vk.Sandbox) -> Counter[str]:
    return Counter(str(find_key(one.json["context"])) for one in sandbox.requests if one.method == "POST")


def crash(work: Callable[..., None], path: Path, sandbox: vk.Sandbox, point: str) -> None:
    """Let a send die at a point, and see that it did."""
    sandbox.latency_s = 20 if point == "after the bytes" else 0
    with running(work, str(path), (sandbox.base_url, sandbox.api_key), point) as (sender, pipe):
        assert told(pipe) == "sending"
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
    """Whether a pipe holds nothing but its end."""
    with suppress(EOFError, ConnectionResetError):
        pipe.recv()
        return False
    return True


def resume(work: Callable[..., None], path: Path, sandbox: vk.Sandbox) -> Any:
    """The same send again, to its end; gives what it told."""
    with running(work, str(path), (sandbox.base_url, sandbox.api_key), "never") as (sender, pipe):
        assert told(pipe) == "sending"
        ended = told(pipe)
        sender.join(30)
        assert sender.exitcode == 0
    return ended


def states(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT state FROM outbox ORDER BY row, ordinal")]


@pytest.mark.parametrize("point", POINTS)
def test_a_single_send_that_dies_at_a_point(sandbox: vk.Sandbox, tmp_path: Path, point: str) -> None:
    path, perhaps_sent = tmp_path / "a.db", POINTS[point]
    crash(send_one, path, sandbox, point)
    assert keys_posted(sandbox).total() == (point in POSTED)
    assert states(path) == (["in_flight"] if perhaps_sent else [])
    for _ in range(2):
        assert resume(send_one, path, sandbox) == ("unknown" if perhaps_sent else "accepted")
    assert keys_posted(sandbox).total() == (point in POSTED or not perhaps_sent)
    assert states(path) == (["unknown"] if perhaps_sent else ["accepted"])


@pytest.mark.parametrize("point", POINTS)
def test_a_campaign_that_dies_at_a_point(sandbox: vk.Sandbox, tmp_path: Path, point: str) -> None:
    path, perhaps_sent = tmp_path / "a.db", POINTS[point]
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


# --- two at a time ---------------------------------------------------------------------------------------


def compete(pipe: Connection, path: str, address: Address) -> None:
    """A sender that waits for the word, and tells how it ended."""
    base_url, key = address
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
        campaign = vk.Campaign.open(archive, NAME)
        confirm = campaign.confirmed or campaign.preview().confirm
        pipe.send("ready")
        pipe.recv()
        try:
            status = campaign.send(client, confirm=confirm, workers=4, progress=False)
        except CampaignError as fault:
            pipe.send(str(fault))
        else:
            pipe.send(dict(zip(status["state"], status["n"], strict=True)))


def test_two_processes_and_a_second_run_send_each_message_once(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    sandbox.latency_s, path = 0.1, tmp_path / "a.db"
    with vk.Archive(path) as archive:
        vk.Campaign.plan(archive, NAME, recipients(40), HI, rate_type="promotion")
    given = str(path), (sandbox.base_url, sandbox.api_key)
    with running(compete, *given) as (one, first), running(compete, *given) as (other, second):
        for pipe in (first, second):
            assert told(pipe) == "ready"
        for pipe in (first, second):
            pipe.send("go")
        ended = [told(pipe) for pipe in (first, second)]
        for process in (one, other):
            process.join(30)
        assert [one.exitcode, other.exitcode] == [0, 0]
    assert {"accepted": 40} in ended
    refused = [each for each in ended if isinstance(each, str)]
    assert len(refused) == 1
    assert "is being sent by another cell or process" in refused[0]
    with vk.Archive(path) as archive, sandbox.client() as client:
        campaign = vk.Campaign.open(archive, NAME)
        for _ in range(2):
            status = campaign.send(client, confirm=campaign.confirmed or "", progress=False)
            assert status["words"].tolist() == ["40 accepted"]
    posted = keys_posted(sandbox)
    assert (len(posted), posted.total()) == (40, 40)
