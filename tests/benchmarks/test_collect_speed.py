"""The rate of collecting, compared with the rate that the server's latency allows (workers / latency).

Full run: ``VIBERKIT_BENCH_HISTORIES=2000 pytest tests/benchmarks/test_collect_speed.py -s``
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import viberkit as vk

HISTORIES = int(os.environ.get("VIBERKIT_BENCH_HISTORIES", "64"))
LATENCY_S, WORKERS = 0.05, 32


def _serve(pipe: Connection) -> None:
    with vk.Sandbox(seed=1, speed=0) as sandbox:
        pipe.send((sandbox.base_url, sandbox.api_key))
        while (command := pipe.recv()) != "stop":
            if command == "late":
                sandbox.advance(days=20)
                sandbox.latency_s = LATENCY_S
            pipe.send("done")


def test_the_rate_of_collecting(tmp_path: Path) -> None:
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    base_url, key = here.recv()
    with vk.Archive(tmp_path / "a.db") as archive, vk.Client(key, "VIBERKIT", base_url=base_url) as client:
        with_archive = client.with_archive(archive)
        for number in range(HISTORIES):
            with_archive.send(f"+49170{3_000_000 + number}", vk.Text("hi"), rate_type="transaction")
        here.send("late")
        here.recv()
        started = time.perf_counter()
        summary = vk.collect(client, archive, workers=WORKERS, progress=False)
        seconds = time.perf_counter() - started
    here.send("stop")
    server.join(10)
    bound = WORKERS / LATENCY_S
    print(f"\ncollect: {HISTORIES / seconds:,.0f} histories/s, {HISTORIES / seconds / bound:.0%} of {bound:,.0f}/s")
    assert (summary.requested, summary.failed) == (HISTORIES, 0)
