"""Moving an archive from a SQLite file to PostgreSQL: resumable, and verified by number and digest of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import sqlalchemy as sa

from viberkit.archive import outbox, tables
from viberkit.archive.archive import Archive
from viberkit.archive.postgres import PostgresDatabase
from viberkit.errors import ArchiveError
from viberkit.models.secret import Secret, hide_url

_CHUNK = 2000  # rows in one transaction
_NEWEST = 1 + len(tables.MIGRATIONS)
_TABLES = [table for table in tables.metadata.tables.values() if table not in (tables.version, tables.identity)]


def copy_archive(source: Archive, url: str, report: Callable[[str], object]) -> dict[str, int]:
    """Copy an archive to an empty database, or continue; return the number of rows by table.

    Nobody can write to the source meanwhile. Until the copy is complete, the target cannot be opened.
    """
    url = hide_url(url)  # before anything can fail
    target = PostgresDatabase(Secret(url))

    def copy(connection: sa.Connection) -> dict[str, int]:
        if connection.execute(
            sa.select(sa.func.count()).where(tables.is_in_flight).select_from(tables.outbox)
        ).scalar():
            raise ArchiveError(f"{source.name}: messages are being sent; wait until that ends")
        target.run(partial(_begin, target.name, outbox.salt(connection)), write=True)
        counts = {}
        for table in _TABLES:
            _copy_table(connection, target, table)
            found, copied = _digest(connection, table), target.run(partial(_digest, table=table), write=False)
            if copied != found:
                target.run(lambda there, table=table: there.execute(sa.delete(table)), write=True)  # type: ignore[misc]
                raise ArchiveError(f"{target.name}: {table.name} differs from {source.name}; run the command again")
            counts[table.name] = found[0]
            report(f"{table.name}: {found[0]:,} rows, verified")
        target.run(_finish, write=True)
        return counts

    try:
        return source._database.run(copy, write=not source._database.read_only)
    finally:
        target.engine.dispose()


def _begin(name: str, salt: str, connection: sa.Connection) -> None:
    """Mark an empty database as an unfinished copy, and check one that is not empty."""
    if not sa.inspect(connection).get_table_names():
        tables.migrate(connection)
        connection.execute(sa.update(tables.version).values(version=-_NEWEST))
        connection.execute(sa.update(tables.identity).values(salt=salt))
    elif (
        connection.execute(sa.select(tables.version.c.version)).scalar() != -_NEWEST or outbox.salt(connection) != salt
    ):
        raise ArchiveError(f"{name}: is neither empty nor an unfinished copy of this archive; pass an empty database")


def _copy_table(source: sa.Connection, target: PostgresDatabase, table: sa.Table) -> None:
    def last(connection: sa.Connection) -> int:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(_all(table).c.rowid), 0))).scalar_one())

    for rows in _chunks(source, table, target.run(last, write=False)):
        target.run(lambda connection, rows=rows: connection.execute(sa.insert(_all(table)), rows), write=True)  # type: ignore[misc]


def _digest(connection: sa.Connection, table: sa.Table) -> tuple[int, str]:
    """Return the number of rows, and a digest of all their values in the order of insertion."""
    count, digest = 0, hashlib.sha256()
    for rows in _chunks(connection, table, 0):
        count += len(rows)
        digest.update("".join(repr(list(row.values())) for row in rows).encode())
    return count, digest.hexdigest()


def _chunks(connection: sa.Connection, table: sa.Table, last: int) -> Iterator[list[dict[str, Any]]]:
    columns = _all(table).c
    while True:
        query = sa.select(*columns).where(columns.rowid > last).order_by(columns.rowid).limit(_CHUNK)
        rows = [
            {str(name): _storable(value) for name, value in row.items()} for row in connection.execute(query).mappings()
        ]
        if not rows:
            return
        yield rows
        last = rows[-1]["rowid"]


def _storable(value: Any) -> Any:
    """PostgreSQL stores no NUL in a text."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _all(table: sa.Table) -> Any:
    """Return the table with the column of the order of insertion."""
    return sa.table(table.name, *(sa.column(c.name, c.type) for c in table.c), sa.column("rowid", sa.BigInteger))


def _finish(connection: sa.Connection) -> None:
    """Continue the numbers where the source ends, and let the archive be opened."""
    for table in _TABLES:
        for column in ("rowid", *(["id"] if "id" in table.c else [])):
            sequence = sa.func.pg_get_serial_sequence(table.name, column)
            following = sa.select(sa.func.coalesce(sa.func.max(_all(table).c[column]), 0) + 1).scalar_subquery()
            connection.execute(sa.select(sa.func.setval(sequence, following, False)))
    connection.execute(sa.update(tables.version).values(version=_NEWEST))
