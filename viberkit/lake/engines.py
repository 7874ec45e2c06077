"""Where the events of a log are, and what runs a query on them."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from viberkit.archive.postgres import parameters_of, reveal
from viberkit.archive.roles import MASKED
from viberkit.errors import ArchiveError
from viberkit.models.secret import Secret

_BUCKET = re.compile(r"bucket=(\w+)")
_ROWS = 2_500_000  # of a part, if a bucket has no more
# Of PostgreSQL, by number.
_TYPES = {16: pa.bool_(), **dict.fromkeys((20, 21, 23), pa.int64()), **dict.fromkeys((25, 1042, 1043), pa.string())}
#: The CSV of PostgreSQL, in which texts with the characters of a missing value have quotes.
_FORMAT = "format csv, header, null '\\N', encoding 'utf8'"
_CSV = csv.ReadOptions(block_size=1 << 24), csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
_VALUES = {"null_values": ["\\N"], "strings_can_be_null": True, "quoted_strings_can_be_null": False}
_VALUES |= {"true_values": ["t"], "false_values": ["f"]}
_VIEW = "viberkit_events"
_STORED = 4  # results of messages()
#: Shows the progress of queries.
Progress = Callable[[Sequence[str]], Iterable[str]]
_IS_ARCHIVE = f"select count(*) as found from pg_views where schemaname = '{MASKED}' and viewname = 'event_log'"


class Engine(Protocol):
    """An engine of SQL with one table of events, in parts each of which has all the events of its messages."""

    #: What the table is called in a text for people; never with a password.
    name: str

    def parts(self) -> list[str]:
        """The names of the parts in a query."""

    def query(self, sql: str) -> pa.Table:
        """The result of a query."""

    def queries(self, texts: Iterable[str]) -> Iterator[pa.Table]:
        """The results of several queries."""
        return map(self.query, texts)

    def messages(self, queries: Sequence[str], progress: Progress) -> str:
        """A query for the rows of several queries, one for each part; an engine may store these rows first."""
        return queries[0]

    def identifier(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def literal(self, value: Any) -> str:
        return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"


class Files(Engine):
    """Parquet files, read by a DuckDB of this process; the files of some buckets are a part.

    The rows of :meth:`messages` are stored in a temporary folder, those of the last calls.
    """

    def __init__(self, pattern: str, memory_limit: str) -> None:
        pattern = f"{escape(pattern)}/**/*.parquet" if Path(pattern).is_dir() else pattern
        matches = [pattern] if Path(pattern).is_file() else sorted(glob(pattern, recursive=True))  # noqa: PTH207 - of any pattern
        files = [file for file in matches if "/messages/month=" not in Path(file).as_posix()]
        if not files:
            raise FileNotFoundError(f"EventLog: no Parquet file matches {pattern!r}; pass e.g. 'lake/**/*.parquet'")
        buckets: dict[str, list[str]] = {}
        for file in files:
            found = _BUCKET.search(file)
            buckets.setdefault(found[1] if found else "", []).append(file)
        self.name, self._parts, rows = pattern, list[list[str]](), _ROWS
        for bucket in buckets.values():
            added = sum(pq.read_metadata(file).num_rows for file in bucket)
            if rows + added > _ROWS:
                self._parts.append([])
                rows = 0
            self._parts[-1] += bucket
            rows += added
        self._settings: dict[str, Any] = {"memory_limit": memory_limit, "preserve_insertion_order": "false"}
        self._opened = self._stamps()
        self._folder = tempfile.mkdtemp(prefix="viberkit-")
        weakref.finalize(self, _remove, self._folder, os.getpid())
        self._messages: dict[tuple[str, ...], _Stored] = {}

    def parts(self) -> list[str]:
        lists = (", ".join(self.literal(escape(file)) for file in files) for files in self._parts)
        return [f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)" for files in lists]

    def query(self, sql: str) -> pa.Table:
        (table,) = self.queries([sql])
        return table

    def queries(self, texts: Iterable[str]) -> Iterator[pa.Table]:
        import duckdb

        with duckdb.connect(config=self._settings | {"temp_directory": self._folder}) as connection:
            for text in texts:
                table = connection.sql(text).to_arrow_table()
                if self._stamps() != self._opened:
                    raise ValueError(f"EventLog: files of {self.name!r} changed after it was opened; open it again")
                yield table

    def messages(self, queries: Sequence[str], progress: Progress) -> str:
        if (stored := self._messages.get(tuple(queries))) is None:
            folder = tempfile.mkdtemp(dir=self._folder)
            stored = _Stored(f"select * from read_parquet({self.literal(escape(folder) + '/*.parquet')})")
            weakref.finalize(stored, _remove, folder, os.getpid())
            files = [self.literal(f"{folder}/{index}.parquet") for index in range(len(queries))]
            texts = (
                f"copy ({query}) to {file} (compression uncompressed)"
                for query, file in zip(progress(queries), files, strict=True)
            )
            for _ in self.queries(texts):
                pass
            self._messages[tuple(queries)] = stored
            for key in list(self._messages)[:-_STORED]:
                self._messages.pop(key, None)
        return stored

    def _stamps(self) -> list[tuple[int, int]]:
        stats = (Path(file).stat() for part in self._parts for file in part)
        return [(stat.st_mtime_ns, stat.st_size) for stat in stats]


class _Stored(str):
    """A query for files that are removed with it, when no thread uses it any more."""


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:  # and not a forked process
        shutil.rmtree(folder, ignore_errors=True)


class Relation(Engine):
    """A relation of DuckDB, on its own connection."""

    def __init__(self, relation: Any) -> None:
        self._relation, self.name = relation, "a relation of DuckDB"

    def parts(self) -> list[str]:
        return [_VIEW]

    def query(self, sql: str) -> pa.Table:
        return self._relation.query(_VIEW, sql).to_arrow_table()


class Spark(Engine):
    """A data frame of Spark, in its own session."""

    def __init__(self, frame: Any) -> None:
        self._frame, self.name = frame, "a data frame of Spark"

    def parts(self) -> list[str]:
        return ["{events}"]

    def query(self, sql: str) -> pa.Table:
        return self._frame.sparkSession.sql(sql, events=self._frame).toArrow()

    def identifier(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def literal(self, value: Any) -> str:
        if isinstance(value, int | float):
            return str(value)
        return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'").replace("{", "{{").replace("}", "}}") + "'"


class Postgres(Engine):
    """A table of PostgreSQL, by the address of the database or a connection of psycopg."""

    def __init__(self, connection: Any, table: str) -> None:
        self._connection = parameters_of(connection) if isinstance(connection, Secret) else connection
        self._table, self.name = table, f"the table {table!r} of PostgreSQL"
        if table == "events" and self.query(_IS_ARCHIVE)["found"][0].as_py():
            self._table, self.name = f"{MASKED}.event_log", "an archive in PostgreSQL"
            if self.query(f"select version from {MASKED}.viberkit_version")["version"][0].as_py() < 0:
                raise ArchiveError("EventLog: the archive is an unfinished copy; run viberkit archive copy again")

    def parts(self) -> list[str]:
        return [".".join(map(self.identifier, self._table.split(".")))]

    def query(self, sql: str) -> pa.Table:
        if isinstance(self._connection, dict):
            with self._connect() as connection:
                return self._fetch(connection, sql)
        return self._fetch(self._connection, sql)

    def _connect(self) -> Any:
        import psycopg

        try:
            return psycopg.connect("", **cast(Any, {name: reveal(value) for name, value in self._connection.items()}))
        except psycopg.Error as raised:
            reason = str(raised).partition("\n")[0]
        raise ArchiveError(f"EventLog: {reason}")  # without the traceback of the driver, which has the password

    def _fetch(self, connection: Any, sql: str) -> pa.Table:
        described = connection.execute(f"select * from ({sql}) result limit 0").description
        types = {column.name: _TYPES[column.type_code] for column in described if column.type_code in _TYPES}
        with tempfile.TemporaryFile() as file:
            with connection.cursor().copy(f"copy ({sql}) to stdout ({_FORMAT})") as copy:
                for block in copy:
                    file.write(block)
            file.seek(0)
            return csv.read_csv(file, *_CSV, csv.ConvertOptions(column_types=types, **_VALUES))


def engine_of(source: Any, table: str, memory_limit: str) -> Engine:
    """The engine of a path, an address, a relation, a data frame of Spark or a connection."""
    if isinstance(source, str | Path):
        return Postgres(source, table) if isinstance(source, Secret) else Files(str(source), memory_limit)
    kind = type(source).__name__
    module = type(source).__module__.partition(".")[0]
    if kind == "DuckDBPyRelation":
        return Relation(source)
    if module == "pyspark":
        return Spark(source)
    if module == "psycopg":
        return Postgres(source, table)
    kinds = "Parquet files, a relation of DuckDB, a data frame of Spark, or a database of PostgreSQL"
    raise TypeError(f"EventLog: {kind} is none of {kinds}; frames are passed to the functions themselves")
