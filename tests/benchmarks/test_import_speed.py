"""The time of ``import viberkit`` relative to ``import pandas``.

Run with ``python -m pytest tests/benchmarks/test_import_speed.py -s -n 0``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest


def median_seconds(code: str, runs: int = 3) -> float:
    """The median time of a new interpreter that runs some code."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def test_import_time_relative_to_pandas() -> None:
    pandas = median_seconds("import pandas")
    bare = median_seconds("import viberkit")
    loaded = median_seconds("import viberkit as vk; vk.Client, vk.Archive, vk.read_events, vk.transitions")
    print(f"\nimport viberkit: {bare / pandas:.2f} × import pandas; with its main names {loaded / pandas:.2f} ×")


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import viberkit", "pandas requests matplotlib sqlalchemy duckdb jupyterlab"),
        ("import viberkit.cli.main", "pandas requests matplotlib sqlalchemy duckdb jupyterlab"),
        ("import viberkit as vk; vk.Archive('a.db').close()", "requests matplotlib duckdb"),
        ("import viberkit as vk; vk.Client('key')", "pandas sqlalchemy matplotlib duckdb"),
        ("import viberkit as vk; vk.latency, vk.charts, vk.Sandbox, vk.collect, vk.read_events", "jupyterlab duckdb"),
    ],
)
def test_imports_load_only_what_they_need(code: str, unwanted: str) -> None:
    command = f"import sys; {code}; print(sorted(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
