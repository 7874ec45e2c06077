"""Moving an archive from a SQLite file to PostgreSQL: resumable, and verified by number and digest of the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Connection, column, delete, func, insert, inspect, select, table as new_table, update

from viberkit.archive import outbox
from viberkit.archive.archive import Archive
from viberkit.archive.postgres import PostgresDatabase
from viberkit.archive.tables import MIGRATIONS, identity, is_in_flight, metadata, migrate, outbox as sends, version
from viberkit.errors import ArchiveError
from viberkit.models.secret import hide_url

_CHUNK = 2000  # rows in one transaction
_NEWEST = 1 + len(MIGRATIONS)
_TABLES = [name for name in metadata.tables if name not in (version.name, identity.name)]


def copy_archive(source: Archive, url: str, report: Callable[[str], object]) -> dict[str, int]:
    """Copy an archive to an empty database, or continue such a copy; return the number of rows by table.

    Nobody can write to the source meanwhile. Until the copy is complete, the target cannot be opened.
    """
    target = PostgresDatabase(url := hide_url(url))

    def copy(connection: Connection) -> dict[str, int]:
        if connection.execute(select(sends.c.key).where(is_in_flight)).first():
            raise ArchiveError(f"{source.name}: messages are being sent; wait until that ends")
        target.run(partial(_begin, target.name, outbox.salt(connection)), write=True)
        counts = {}
        for name in _TABLES:
            for rows in _chunks(connection, name, target.newest(metadata.tables[name])):
                target.run(partial(Connection.execute, statement=insert(_table(name)), parameters=rows), write=True)
            counts[name], digest = found = _digest(name, connection)
            if target.run(partial(_digest, name), write=False) != found:
                target.run(partial(Connection.execute, statement=delete(_table(name))), write=True)
                raise ArchiveError(f"{target.name}: {name} differs from {source.name}; run the command again")
            report(f"{name}: {counts[name]:,} rows, verified ({digest[:8]})")
        target.run(_finish, write=True)
        return counts

    try:
        return source._database.run(copy, write=not source._database.read_only)
    finally:
        target.engine.dispose()


def _begin(name: str, salt: str, connection: Connection) -> None:
    """Mark an empty database as an unfinished copy, and check one that is not empty."""
    if not inspect(connection).get_table_names():
        migrate(connection)
        connection.execute(update(version).values(version=-_NEWEST))
        connection.execute(update(identity).values(salt=salt))
    elif connection.execute(select(version.c.version)).scalar() != -_NEWEST or outbox.salt(connection) != salt:
        raise ArchiveError(f"{name}: is neither empty nor an unfinished copy of this archive; pass an empty database")


def _digest(name: str, connection: Connection) -> tuple[int, str]:
    """Return the number of rows, and a digest of all their values in the order of insertion."""
    count, digest = 0, hashlib.sha256()
    for rows in _chunks(connection, name, 0):
        count += len(rows)
        digest.update("".join(repr(list(row.values())) for row in rows).encode())
    return count, digest.hexdigest()


def _chunks(connection: Connection, name: str, last: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table after a position, in the order of insertion."""
    columns = _table(name).c
    query = select(*columns).order_by(columns.rowid).limit(_CHUNK)
    while rows := connection.execute(query.where(columns.rowid > last)).mappings().all():
        # PostgreSQL stores no NUL in a text.
        yield [{k: v.replace("\0", "\ufffd") if isinstance(v, str) else v for k, v in row.items()} for row in rows]
        last = rows[-1]["rowid"]


def _table(name: str) -> Any:
    """Return a table with the column of the order of insertion."""
    columns = [column(c.name, c.type) for c in metadata.tables[name].columns]
    return new_table(name, *columns, column("rowid", BigInteger))


def _finish(connection: Connection) -> None:
    """Let sequences continue after the last numbers of the source, and let the archive be opened."""
    for name in _TABLES:
        columns = _table(name).c
        for number in {"rowid", "id"} & set(columns.keys()):
            following = func.coalesce(func.max(columns[number]), 0) + 1
            connection.execute(select(func.setval(func.pg_get_serial_sequence(name, number), following, False)))
    connection.execute(update(version).values(version=_NEWEST))
