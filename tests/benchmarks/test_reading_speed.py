"""How fast events are read, against the bare DuckDB reader and pandas; how much memory that takes.

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
_BARE = f"""
SELECT messageId, e.state AS s1, e.event AS s2, coalesce(e.channel, e.deliveryChannel) AS channel,
  coalesce(e.happendAt, e.happenedAt, e."timestamp")::TIMESTAMP AS happened_at
FROM (SELECT messageId, unnest(coalesce(history, events)) AS e
  FROM read_json($path, format = 'newline_delimited',
    columns = {{messageId: 'VARCHAR', history: '{_ITEM}', events: '{_ITEM}'}}))
"""


def bare(path: Path) -> pd.DataFrame:
    """DuckDB to Arrow to pandas, with no care for what is odd."""
    with duckdb.connect() as con:
        con.execute("SET enable_progress_bar = false")
        return con.sql(_BARE, params={"path": str(path)}).to_arrow_table().to_pandas()


def plain(path: Path) -> pd.DataFrame:
    """What one would write with pandas alone."""
    given = pd.read_json(path, lines=True, dtype=False)
    given["items"] = given["history"].combine_first(given["events"])
    items = given[["messageId", "items"]].explode("items", ignore_index=True)
    return pd.concat([items["messageId"], pd.DataFrame(items["items"].tolist())], axis=1)


def kept(path: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRowsWarning)
        return read_events(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return write(folder / "clean.jsonl", MESSAGES), write(folder / "broken.jsonl", MESSAGES, broken=0.001)


def test_against_bare_duckdb(files: tuple[Path, Path]) -> None:
    clean, broken = files
    events = kept(broken)
    aside = len(events.attrs["skipped"])
    bare_s, ours_s, clean_s = fastest(lambda: bare(clean), lambda: kept(broken), lambda: kept(clean), rounds=4)
    print(f"\n{MESSAGES:,} messages, {len(events):,} events, {aside:,} set aside: bare DuckDB {bare_s:.2f} s,")
    print(f"read_events {ours_s:.2f} s ({ours_s / bare_s:.2f}x), clean {clean_s:.2f} s ({clean_s / bare_s:.2f}x)")
    if MESSAGES >= MEASURED:
        assert ours_s <= 2 * bare_s


def test_against_plain_pandas(files: tuple[Path, Path]) -> None:
    clean, _ = files
    (ours_s,) = fastest(lambda: kept(clean))
    (plain_s,) = fastest(lambda: plain(clean), rounds=1)
    print(f"\npandas read_json and explode {plain_s:.2f} s, read_events {ours_s:.2f} s: {plain_s / ours_s:.1f}x faster")
    if MESSAGES >= MEASURED:
        assert plain_s >= 10 * ours_s


def test_peak_memory(files: tuple[Path, Path]) -> None:
    pytest.importorskip("resource", reason="this system does not tell a process's peak memory")
    program = (
        "import resource, sys, warnings; warnings.simplefilter('ignore');"
        "from viberkit.frames.reader import read_events; read_events(sys.argv[1]);"
        "own = [line for line in open('/proc/self/status') if 'VmHWM' in line] if sys.platform == 'linux' else [];"
        "print(own[0].split()[1] if own else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"  # getrusage on
        # Linux would tell this process's own peak, which the child inherits
    )
    done = subprocess.run([sys.executable, "-c", program, str(files[1])], capture_output=True, text=True, check=True)
    scale = 1 if sys.platform == "darwin" else 1_024
    peak = int(done.stdout) * scale
    print(f"\npeak memory {peak / 1e9:.2f} GB")
    assert peak <= 1.5e9


def test_linear_in_messages(files: tuple[Path, Path], tmp_path: Path) -> None:
    small = write(tmp_path / "small.jsonl", max(MESSAGES // 100, 20))
    small_s, large_s = fastest(lambda: kept(small), lambda: kept(files[0]), rounds=5)
    print(
        f"\n{MESSAGES // 100:,} messages {small_s * 1e3:.0f} ms, {MESSAGES:,} {large_s * 1e3:.0f} ms: "
        f"{large_s / small_s / 100:.2f} of linear"
    )
    if MESSAGES >= MEASURED:
        assert large_s <= 1.2 * 100 * small_s
        assert small_s <= 0.15 * MESSAGES / 1_000_000


def test_speed(benchmark: Any, files: tuple[Path, Path]) -> None:
    events = benchmark(kept, files[1])
    assert len(events)
