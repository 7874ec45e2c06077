"""How fast events are read, against the DuckDB without checks and pandas; how much memory that takes.

Small by default, to see that it runs. The real figures::

    VIBERKIT_BENCH_MESSAGES=1000000 python -m pytest tests/benchmarks/test_reading_speed.py -s -p no:cacheprovider
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from bench_logs import MEASURED, MESSAGES, fastest, write

from viberkit.frames.reader import SkippedRowsWarning, read_events

_ITEM = (
    'STRUCT(happendAt VARCHAR, happenedAt VARCHAR, "timestamp" VARCHAR, state VARCHAR, event VARCHAR, '
    "channel VARCHAR, deliveryChannel VARCHAR)[]"
)
_QUERY = f"""
SELECT messageId, e.state AS s1, e.event AS s2, coalesce(e.channel, e.deliveryChannel) AS channel,
  coalesce(e.happendAt, e.happenedAt, e."timestamp")::TIMESTAMP AS happened_at
FROM (SELECT messageId, unnest(coalesce(history, events)) AS e
  FROM read_json($path, format = 'newline_delimited',
    columns = {{messageId: 'VARCHAR', history: '{_ITEM}', events: '{_ITEM}'}}))
"""


def read_with_duckdb(path: Path) -> pd.DataFrame:
    """DuckDB to Arrow to pandas, without any checks."""
    with duckdb.connect() as con:
        con.execute("SET enable_progress_bar = false")
        return con.sql(_QUERY, params={"path": str(path)}).to_arrow_table().to_pandas()


def read_with_pandas(path: Path) -> pd.DataFrame:
    """What one would write with pandas alone."""
    lines = pd.read_json(path, lines=True, dtype=False)
    lines["items"] = lines["history"].combine_first(lines["events"])
    items = lines[["messageId", "items"]].explode("items", ignore_index=True)
    return pd.concat([items["messageId"], pd.DataFrame(items["items"].tolist())], axis=1)


def read_with_viberkit(path: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRowsWarning)
        return read_events(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return write(folder / "clean.jsonl", MESSAGES), write(folder / "broken.jsonl", MESSAGES, broken=0.001)


def test_against_duckdb(files: tuple[Path, Path]) -> None:
    clean, broken = files
    events = read_with_viberkit(broken)
    skipped = len(events.attrs["skipped"])
    duckdb_s, viberkit_s, clean_s = fastest(
        lambda: read_with_duckdb(clean), lambda: read_with_viberkit(broken), lambda: read_with_viberkit(clean), rounds=4
    )
    print(f"\n{MESSAGES:,} messages, {len(events):,} events, {skipped:,} skipped: DuckDB {duckdb_s:.2f} s,")
    print(
        f"read_events {viberkit_s:.2f} s ({viberkit_s / duckdb_s:.2f}x), "
        f"clean {clean_s:.2f} s ({clean_s / duckdb_s:.2f}x)"
    )
    if MESSAGES >= MEASURED:
        assert viberkit_s <= 2 * duckdb_s


def test_against_pandas(files: tuple[Path, Path]) -> None:
    clean, _ = files
    (viberkit_s,) = fastest(lambda: read_with_viberkit(clean))
    (pandas_s,) = fastest(lambda: read_with_pandas(clean), rounds=1)
    print(
        f"\npandas read_json and explode {pandas_s:.2f} s, "
        f"read_events {viberkit_s:.2f} s: {pandas_s / viberkit_s:.1f}x faster"
    )
    if MESSAGES >= MEASURED:
        assert pandas_s >= 10 * viberkit_s


def test_peak_memory(files: tuple[Path, Path]) -> None:
    pytest.importorskip("resource", reason="this system does not report a process's peak memory")
    program = (
        "import resource, sys, warnings; warnings.simplefilter('ignore');"
        "from viberkit.frames.reader import read_events; read_events(sys.argv[1]);"
        "own = [line for line in open('/proc/self/status') if 'VmHWM' in line] if sys.platform == 'linux' else [];"
        "print(own[0].split()[1] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"  # getrusage on
        # Linux would report the peak of this process, which the child inherits
    )
    completed = subprocess.run(
        [sys.executable, "-c", program, str(files[1])], capture_output=True, text=True, check=True
    )
    scale = 1 if sys.platform == "darwin" else 1_024
    peak = int(completed.stdout) * scale
    print(f"\npeak memory {peak / 1e9:.2f} GB")
    assert peak <= 1.5e9


def test_linear_in_messages(files: tuple[Path, Path], tmp_path: Path) -> None:
    small = write(tmp_path / "small.jsonl", max(MESSAGES // 100, 20))
    small_s, large_s = fastest(lambda: read_with_viberkit(small), lambda: read_with_viberkit(files[0]), rounds=5)
    print(
        f"\n{MESSAGES // 100:,} messages {small_s * 1e3:.0f} ms, {MESSAGES:,} {large_s * 1e3:.0f} ms: "
        f"{large_s / small_s / 100:.2f} of linear"
    )
    if MESSAGES >= MEASURED:
        assert large_s <= 1.2 * 100 * small_s
        assert small_s <= 0.15 * MESSAGES / 1_000_000


def test_speed(benchmark: Any, files: tuple[Path, Path]) -> None:
    events = benchmark(read_with_viberkit, files[1])
    assert len(events)
