"""Throughput of the receiver of callbacks with PostgreSQL on disk: 32 connections, answered after the commit.

The full measurement: ``VIBERKIT_BENCH_SECONDS=20 pytest tests/benchmarks/test_postgres_speed.py -n 0 -s``
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.archives import execute
from support.postgres import missing, running_server

import viberkit as vk

SECONDS = float(os.environ.get("VIBERKIT_BENCH_SECONDS", "1"))
LOAD = Path(__file__).parent.parent / "support" / "callback_load.py"
LISTEN = [sys.executable, "-m", "viberkit.cli", "listen", "--port", "0", "--archive"]


@pytest.mark.skipif(bool(missing()), reason=missing())
@pytest.mark.parametrize("listeners", [1, 2])
def test_callbacks_per_second(tmp_path: Path, listeners: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="viberkit-postgres-"))  # a folder of pytest is for one user only
    environment = {**os.environ, "VIBERKIT_CALLBACK_SECRET": "a-shared-secret"}
    with running_server(folder) as server, server.database() as url:
        vk.Archive(url, create=True).close()
        loads: list[subprocess.Popen[str]] = []
        started = [
            subprocess.Popen([*LISTEN, url], stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(listeners)
        ]
        for number, process in enumerate(started):
            assert process.stdout is not None
            address = process.stdout.readline().split()[2].rstrip(";")
            command = [sys.executable, str(LOAD), address, "--secret", "a-shared-secret", "--seconds", str(SECONDS)]
            command += [
                "--connections",
                "32",
                "--prefix",
                f"l{number}",
                "--acknowledged",
                str(tmp_path / f"{number}.txt"),
            ]
            loads.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        reports = [json.loads(load.communicate(timeout=SECONDS + 90)[0]) for load in loads]
        for process in started:
            process.terminate()
            process.communicate(timeout=120)
        stored = {row[0] for row in execute(url, "SELECT body FROM raw")}
    for number, report in enumerate(reports):
        print(f"\nlistener {number + 1} of {listeners}: {report}")
        assert set((tmp_path / f"{number}.txt").read_bytes().splitlines()) <= stored
        assert (report["refused"], report["broken"]) == (0, 0)
