"""Event logs for tests: on each engine, and as frames whose times are rounded as an event log rounds them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HOUR = 3_600_000_000
INSTANTS = {"happened_at": "happened_us", "observed_until": "observed_until_us", "observed_from": "observed_from_us"}
INSTANTS |= {"received_at": "received_us"}
PROGRAMS = next(Path("/usr/lib/postgresql").glob("*/bin"), None)


def lake_table(events: pd.DataFrame) -> pa.Table:
    """Events with the columns of a lake: instants as whole numbers of microseconds."""
    categories = {name for name, dtype in events.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)}
    frame = events.astype(dict.fromkeys(categories, "str"))
    for name in {*INSTANTS} & {*frame}:
        values = pd.to_datetime(frame.pop(name), utc=True).astype("datetime64[us, UTC]")
        frame[INSTANTS[name]] = values.astype("int64").astype("Int64").where(values.notna())
    return pa.Table.from_pandas(frame.drop(columns="not_before", errors="ignore"), preserve_index=False)


def rounded(microseconds: Any) -> Any:
    """Durations in whole milliseconds, above an hour in whole seconds."""
    step = np.where(microseconds < HOUR, 1_000, 1_000_000)
    return microseconds // step * step


def round_journeys(journeys: pd.DataFrame, start: str = "accepted") -> pd.DataFrame:
    """Journeys with the times of an event log: durations are rounded, and messages are sorted by their start."""
    result = journeys.sort_values(f"{start}_at", kind="stable", ignore_index=True)
    begin = result[f"{start}_at"]
    names = [name for name in result if str(name).endswith("_at") and name != f"{start}_at"]
    for name in [*names, *({"observed_until", "observed_from"} & {*result})]:
        since = (result[name] - begin) // pd.Timedelta("1us")
        moved = begin + pd.to_timedelta(rounded(since), unit="us").astype("timedelta64[us]")
        result[name] = moved.where(since >= 0, result[name]).astype("datetime64[us, UTC]")
    return result


def sort_journeys(journeys: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Journeys in the order of those of an event log: by their first event, then by id."""
    first = events.groupby("message_id")["happened_at"].min().reindex(journeys["message_id"])
    order = journeys.assign(_first=first.array).sort_values(["_first", "message_id"]).index
    return journeys.loc[order].reset_index(drop=True)


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server of PostgreSQL in a temporary folder, run by an unprivileged user; yields its address."""
    folder = tempfile.mkdtemp(prefix="viberkit-pg-")
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        as_user = ["runuser", "-u", "nobody", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(PROGRAMS / program), *arguments]  # type: ignore[operator]
        subprocess.run(command, check=True, cwd="/", capture_output=True, timeout=60)

    run("initdb", "-D", f"{folder}/data", "-U", "viberkit", "-A", "trust", "--locale", "C.UTF-8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start")
    try:
        yield f"postgresql://viberkit@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def load_into_postgres(address: str, table: pa.Table) -> None:
    """Replace the table of events."""
    import psycopg

    types = {
        name: "bigint" if pa.types.is_integer(kind) else "text"
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
    }
    types |= {field.name: "boolean" for field in table.schema if pa.types.is_boolean(field.type)}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    with psycopg.connect(address) as connection:
        connection.execute("drop table if exists events")
        connection.execute(f"create table events ({columns})")
        with connection.cursor().copy("copy events from stdin") as copy:
            for row in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
                copy.write_row(row)


class Engines:
    """Opens an event log on an engine; servers and sessions start when they are first used."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.spark: Any = None
        self.address = ""

    def source(self, engine: str, events: pd.DataFrame) -> Any:
        table = lake_table(events)
        if engine == "relation":
            import duckdb

            return duckdb.connect().from_arrow(table)
        if engine == "postgres":
            load_into_postgres(self.address, table)
            return self.address
        self._count += 1
        folder = self._folder / str(self._count)
        buckets = pd.util.hash_array(events["message_id"].to_numpy(dtype=object)) % 3
        for bucket in range(3):
            path = folder / f"bucket={bucket}" / "events.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(table.filter(buckets == bucket), path)
        return str(folder) if engine == "files" else self.spark.read.parquet(str(folder))
