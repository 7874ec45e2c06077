"""The rate of sending through the outbox, and the time and memory of planning a large campaign.

Full runs: ``VIBERKIT_BENCH_CAMPAIGN=2000 pytest tests/benchmarks/test_campaign_speed.py -s -k outbox`` and
``VIBERKIT_BENCH_RECIPIENTS=100000 pytest tests/benchmarks/test_campaign_speed.py -s -k planning``

The same client sends without an archive, with the same concurrency, to the same sandbox in a process of its own, in the
same run. viberkit chooses the journal mode by SQLite's version; the benchmark sets both.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import viberkit as vk
from viberkit.archive import engine as archive_engine

MESSAGES = int(os.environ.get("VIBERKIT_BENCH_CAMPAIGN", "64"))
RECIPIENTS = int(os.environ.get("VIBERKIT_BENCH_RECIPIENTS", "1000"))
LATENCY_S, WORKERS = 0.05, 32
SYNCHRONOUS = {"DELETE": "EXTRA", "WAL": "FULL"}
PLANNING = """
import json, re, sys, time
from pathlib import Path
import pandas as pd
import viberkit as vk
count, path = int(sys.argv[1]), sys.argv[2]
numbers = [f"+49170{1_000_000 + place}" for place in range(count)]
people = pd.DataFrame({"to": numbers, "first_name": [f"Name {place}" for place in range(count)]})
status = Path("/proc/self/status")  # ru_maxrss includes the memory of the parent process
peak = lambda: int(re.search(r"VmHWM:\\s+([0-9]+)", status.read_text())[1]) / 1024 if status.exists() else 0.0
with vk.Archive(path) as archive:
    vk.Campaign.plan(archive, "warm", people.head(10), vk.Text("Hi {first_name}"), rate_type="promotion").preview()
    before, began = peak(), time.perf_counter()
    campaign = vk.Campaign.plan(archive, "spring", people, vk.Text("Hi {first_name}"), rate_type="promotion")
    planned = time.perf_counter() - began
    shown = campaign.preview()
    previewed = time.perf_counter() - began - planned
told = {"planned": shown.planned, "planned_s": planned, "preview_s": previewed, "before_mb": before, "peak_mb": peak()}
print(json.dumps(told))
"""


def _serve(pipe: Connection) -> None:
    with vk.Sandbox(seed=1, speed=0, latency_s=LATENCY_S) as sandbox:
        pipe.send((sandbox.base_url, sandbox.api_key))
        pipe.recv()
        pipe.send(sum(row.method == "POST" for row in sandbox.requests))


@contextmanager
def serving(posts: int) -> Iterator[tuple[str, str]]:
    """Run a sandbox in a process of its own; check the number of posts at the end."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        yield here.recv()
        here.send("stop")
        assert here.recv() == posts
        server.join(10)
    finally:
        server.kill()
        server.join()


def recipients(block: int) -> list[dict[str, str]]:
    first = 1_000_000 * (block + 1)
    return [{"to": f"+49170{first + number}", "name": f"N{number}"} for number in range(MESSAGES)]


def test_the_cost_of_the_outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {}
    with serving(3 * MESSAGES + WORKERS) as (base_url, key), vk.Client(key, "VIBERKIT", base_url=base_url) as client:

        def send(to: str) -> None:
            client.send(to, vk.Text("Hi there"), rate_type="promotion")

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(send, [f"+49171{1_000_000 + number}" for number in range(WORKERS)]))  # connect and warm up
            started = time.perf_counter()
            list(pool.map(send, [row["to"] for row in recipients(0)]))
            rates["no archive"] = MESSAGES / (time.perf_counter() - started)
        for block, mode in enumerate(("DELETE", "WAL"), start=1):
            monkeypatch.setattr(archive_engine, "journal_mode", lambda *_, m=mode: (m, SYNCHRONOUS[m]))
            with vk.Archive(tmp_path / f"{mode}.db") as archive:
                campaign = vk.Campaign.plan(
                    archive, "spring", recipients(block), vk.Text("Hi {name}"), rate_type="promotion"
                )
                confirm = campaign.preview().confirm
                started = time.perf_counter()
                status = campaign.send(client, confirm=confirm, workers=WORKERS, progress=False)
                rates[mode] = MESSAGES / (time.perf_counter() - started)
                assert status.counts == {"accepted": MESSAGES}
    bare = rates.pop("no archive")
    rates_text = [f"{mode} {rate:,.0f}/s, {rate / bare:.2f} of it" for mode, rate in rates.items()]
    print(f"\n{MESSAGES:,} messages, {WORKERS} workers: no archive {bare:,.0f}/s; {'; '.join(rates_text)}")
    if MESSAGES >= 1000:
        assert rates["WAL"] >= 0.6 * bare


def test_planning_a_large_campaign(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLANNING, str(RECIPIENTS), str(tmp_path / "a.db")]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    seconds = result["planned_s"] + result["preview_s"]
    print(
        f"\n{RECIPIENTS:,} recipients: planned and checked in {result['planned_s']:.1f} s, previewed in "
        f"{result['preview_s']:.1f} s; peak memory {result['peak_mb']:,.0f} MB, "
        f"{result['peak_mb'] - result['before_mb']:,.0f} MB of it for the campaign"
    )
    assert result["planned"] == RECIPIENTS
    if RECIPIENTS >= 100_000:
        assert seconds <= 30
