"""A KeyboardInterrupt at a random moment leaves no lock, no send without an exit, and nothing that is sent twice.

The figures: ``VIBERKIT_INTERRUPTS=2000 pytest tests/campaigns/test_interrupts.py -n 0 -s``

A timer interrupts sends, campaigns, collection and reading in a process whose tracebacks are all kept, as a notebook
keeps the last one; another process writes to the same archive meanwhile.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import pytest
from support.archives import execute
from support.postgres import ENABLED

import viberkit as vk
from viberkit.errors import ViberkitError
from viberkit.models.callback import Callback
from viberkit.models.keys import find_key

INTERRUPTS = int(os.environ.get("VIBERKIT_INTERRUPTS", "40"))
LONGEST_S = 0.03
STATUS = b'{"event": "MessageStatus::seen", "messageId": "w%d", "timestamp": "2026-01-05T08:00:00Z"}'

_forking = get_context("forkserver")
_PRELOADED = ("campaigns.run", "campaigns.collector", "callbacks.listener", "sandbox.sandbox")
_forking.set_forkserver_preload(["support.newer_sqlite", "pytest", *(f"viberkit.{name}" for name in _PRELOADED)])
pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")


class Timer:
    """Raises a KeyboardInterrupt in the main thread after a random time."""

    def __init__(self, seed: int) -> None:
        self.chance, self.kept, self.interrupts = random.Random(seed), [], 0
        signal.signal(signal.SIGALRM, self._interrupt)

    def _interrupt(self, *_: object) -> None:
        self.interrupts += 1
        raise KeyboardInterrupt

    def call(self, function: Any) -> None:
        """Call a function, interrupted unless it ends before; keep what it raises."""
        try:
            signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0, LONGEST_S) + 1e-6)
            function()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except (KeyboardInterrupt, ViberkitError) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.kept.append(error)


def work(pipe: Connection, path: str, address: tuple[str, str], count: int) -> None:
    """Interrupt operations of every kind; then report what they raised, and resolve what they left in flight."""
    base_url, key = address
    timer, n = Timer(count), 0
    with vk.Archive(path) as archive, vk.Client(key, "VIBERKIT", base_url=base_url, archive=archive) as client:

        def send() -> None:
            client.send(f"+49170{1_000_000 + n}", vk.Text(f"Hello {n}"), rate_type="transaction")

        def send_campaign() -> None:
            people = [f"+49171{1_000_000 + 3 * n + index}" for index in range(3)]
            campaign = vk.Campaign.plan(archive, f"c{n}", people, vk.Text(f"Hi {n}"), rate_type="transaction")
            campaign.send(client, confirm=campaign.preview().confirm, workers=2, progress=False)

        operations = [send, send, send_campaign, archive.events, archive.outbox]
        operations.append(lambda: vk.collect(client, archive, workers=4, progress=False))
        while timer.interrupts < count:
            n += 1
            timer.call(timer.chance.choice(operations))
        pipe.send((timer.interrupts, Counter(type(error).__name__ for error in timer.kept)))
        pipe.recv()  # the other process writes while all tracebacks are kept
        for name in archive.outbox()["campaign"].dropna().unique():
            campaign = vk.Campaign.open(archive, name)
            confirm = campaign.confirmed or campaign.preview().confirm
            campaign.send(client, confirm=confirm, workers=2, progress=False)
        rows = archive.outbox()
        left = rows.loc[rows["state"] == "in_flight", "key"].tolist()
        resolved = archive.resolve(left, "abandon", reason="interrupted")
        pipe.send((len(left), resolved, Counter(archive.outbox()["state"].astype("str"))))
        pipe.recv()


def test_interrupts_leave_nothing_behind(sandbox: vk.Sandbox, archive_url: str) -> None:
    path, waits = archive_url, []
    with vk.Archive(path) as archive:
        here, there = _forking.Pipe()
        arguments = there, path, (sandbox.base_url, sandbox.api_key), INTERRUPTS
        worker = _forking.Process(target=work, args=arguments, daemon=True)
        worker.start()
        there.close()

        def write() -> None:
            started = time.perf_counter()
            callback = Callback(STATUS % len(waits), sandbox.now)
            archive.recorder.record_callbacks([callback])
            waits.append(time.perf_counter() - started)

        while not here.poll(0.01):
            assert worker.is_alive()
            write()
        interrupts, raised = here.recv()
        for _ in range(5):
            write()
        here.send("resolve")
        assert here.poll(60)
        left, resolved, states = here.recv()
        write()
        here.send("end")
        worker.join(30)
        assert worker.exitcode == 0
    assert interrupts >= INTERRUPTS
    assert max(waits) < 5, "a lock was held"
    assert resolved == left, "a send in flight has no exit"
    assert set(states) <= {"accepted", "unknown", "abandoned", "queued", "planned"}
    posts = Counter(find_key(request.json["context"]) for request in sandbox.requests if request.method == "POST")
    assert set(posts.values()) == {1}, "a message was sent twice"
    accepted = sandbox.truth()["message_id"].nunique()
    assert states["accepted"] <= accepted == posts.total()
    assert ENABLED or execute(path, "PRAGMA integrity_check") == [("ok",)]
    print(
        f"\n{interrupts:,} interrupts, raised {dict(raised)}; {len(waits):,} writes of another process, "
        f"the longest took {max(waits):.2f} s; {left} left in flight, all resolved; "
        f"{dict(states)}; {posts.total():,} posts"
    )
