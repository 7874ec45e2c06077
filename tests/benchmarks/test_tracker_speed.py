"""A tracker and a listener in a Jupyter kernel: lost updates, memory, and how fast the kernel responds.

The full measurement: ``VIBERKIT_BENCH_SECONDS=120 pytest tests/benchmarks/test_tracker_speed.py -s``

The load is a process of its own; ``VIBERKIT_BENCH_STORED`` is the number of messages that the archive has before. From
ten seconds on, the required figures are asserted; shorter runs only check that no update is lost.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.callback_load import body
from test_callback_speed import FULL, SECONDS, SECRET, loading

import viberkit as vk
from viberkit.models.callback import Callback

jupyter_client = pytest.importorskip("jupyter_client")
PER_SECOND = 500
STORED = int(os.environ.get("VIBERKIT_BENCH_STORED", "0"))
SLOWEST_S = 0.2
GROWTH_MB = 60  # messages of the load included
SETUP = """
import viberkit as vk
archive = vk.Archive({path!r})
listener = vk.Listener(archive, secret={secret!r}).start()
tracker = vk.widgets.Tracker(archive)
display(tracker)
"""
COUNTS = "archive.messages()['state'].value_counts().loc[lambda n: n > 0].to_dict()"


@contextmanager
def kernel() -> Iterator[tuple[Callable[[str], str], int]]:
    """A function that executes code in a new kernel and returns the text of its result, and the process id."""
    manager, client = jupyter_client.manager.start_new_kernel()

    def execute(code: str) -> str:
        shown: list[str] = []

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "execute_result":
                shown.append(content["data"]["text/plain"])

        reply = client.execute_interactive(code, timeout=120, output_hook=collect)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(shown)

    try:
        yield execute, manager.provisioner.pid
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_no_update_is_lost(tmp_path: Path) -> None:
    path, at = tmp_path / "tracked.db", datetime(2026, 1, 5, 8, tzinfo=UTC)
    with vk.Archive(path, create=True) as archive:
        for start in range(0, 4 * STORED, 10_000):
            numbers = range(start, min(start + 10_000, 4 * STORED))
            archive.recorder.record_callbacks(Callback(body(n, "old"), at + n * timedelta(seconds=1)) for n in numbers)
            archive.recorder.derive()
    with kernel() as (execute, pid):
        execute(SETUP.format(path=str(path), secret=SECRET))
        url, process = json.loads(execute("listener.url").replace("'", '"')), psutil.Process(pid)
        waits, memory = list[float](), list[float]()
        options: dict[str, Any] = {"prefix": "t", "fresh": False, "per_second": PER_SECOND}
        with loading(url, tmp_path / "acknowledged", **options) as load:
            while load.poll() is None:
                began = time.perf_counter()
                execute("1 + 1")
                waits.append(time.perf_counter() - began)
                memory.append(process.memory_info().rss / 2**20)
                time.sleep(0.25)
            report = json.loads(load.communicate()[0])
        execute("listener.stop()")
        time.sleep(3)
        execute("tracker.update()")
        shown, stored = execute("tracker.counts"), execute(COUNTS)
        n, error = int(execute("len(archive.callbacks())")), execute("tracker._error.value")
        execute("tracker.close(); archive.close()")
    waits.sort()
    growth = memory[-1] - memory[len(memory) // 3]
    print(
        f"\n{report['answered']:,} callbacks in {report['seconds']:.0f} s, {STORED:,} messages before: trivial cells "
        f"p50 {waits[len(waits) // 2] * 1000:.0f} ms, p99 {waits[int(0.99 * len(waits))] * 1000:.0f} ms, longest "
        f"{waits[-1] * 1000:.0f} ms; {memory[-1]:.0f} MB, of which {growth:.0f} MB in the last two thirds; callbacks "
        f"p99 {report['p99_ms']} ms"
    )
    assert error == "''"
    assert (report["refused"], report["broken"]) == (0, 0)
    assert n == report["answered"] + 4 * STORED
    assert json.loads(shown.replace("'", '"')) == json.loads(stored.replace("'", '"'))
    if FULL:
        assert report["answered"] > 0.9 * PER_SECOND * SECONDS
        assert waits[int(0.99 * len(waits))] < SLOWEST_S
        assert growth < GROWTH_MB
