"""Roles of a PostgreSQL archive: one that writes, and one that reads views in which phone numbers are masked."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, MetaData, func, select, text

from viberkit.errors import ArchiveError

#: The schema of the views.
MASKED = "viberkit_masked"
#: As viberkit.models.phone.mask, and its mask_numbers, but without the ends of a number.
_FUNCTIONS = (
    f"""CREATE OR REPLACE FUNCTION {MASKED}.mask(number text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN length(bare) < 9 THEN left(bare, 2) || repeat('*', least(3, greatest(0, length(bare) - 2)))
    ELSE left(bare, 5) || '*****' || right(bare, 2) END
    FROM (SELECT regexp_replace(number, '[\\s().\\-/\u00a0\u2011\u2013]+', '', 'g') AS bare) AS digits $$""",  # noqa: S608 - constants
    f"""CREATE OR REPLACE FUNCTION {MASKED}.mask_numbers(shown text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(shown, '\\+?\\d[\\d ().\\-/]{{7,}}\\d', '*****', 'g') $$""",
)
_NUMBERS = ("to", "sender")
_TEXTS = ("text", "content", "context", "user_context", "detail", "reason", "postback", "unreadable", "callback_url")
#: Not shown: a key is a digest of the number and the salt, and a body has the number.
_HIDDEN = {"salt": "'masked'", "digest": "''", "body": "''::bytea", "request": "NULL::bytea"}


def create_views(connection: Connection, metadata: MetaData) -> None:
    """Create the views, or replace them."""
    connection.execute(text(f"DROP SCHEMA IF EXISTS {MASKED} CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {MASKED}"))
    for function in _FUNCTIONS:
        connection.exec_driver_sql(function)
    for table in metadata.tables.values():
        columns = ", ".join([*map(_shown, table.columns), "rowid"])
        view = f"CREATE VIEW {MASKED}.{table} AS SELECT {columns} FROM {table}"  # noqa: S608 - constants
        connection.execute(text(view))


def _shown(column: Column[Any]) -> str:
    name, value = f'"{column.name}"', _HIDDEN.get(column.name, f'"{column.name}"')
    if column.name in _NUMBERS:
        value = f"{MASKED}.mask({name})"
    elif column.name in _TEXTS:
        value = f"{MASKED}.mask_numbers({name})"
    return f"{value} AS {name}"


def grant(connection: Connection, metadata: MetaData, role: str, *, write: bool) -> None:
    """Grant a role what it needs to write to the archive, or to read its views."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    schema = connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    tables = ", ".join(metadata.tables)
    privileges = [f"USAGE ON SCHEMA {MASKED}", f"SELECT ON ALL TABLES IN SCHEMA {MASKED}"]
    if write:
        privileges = [f"USAGE ON SCHEMA {schema}", f"SELECT, INSERT, UPDATE ON {tables}", "DELETE ON outbox"]
        privileges += ["USAGE ON SEQUENCE raw_id_seq, listening_id_seq"]
    for privilege in privileges:
        connection.exec_driver_sql(f"GRANT {privilege} TO {quoted}".replace("%", "%%"))
    last = ("outbox", "DELETE") if write else (f"{MASKED}.outbox", "SELECT")
    if not connection.execute(select(func.has_table_privilege(role, *last))).scalar():  # only a warning of the server
        raise ArchiveError(f"{role}: was granted nothing, permission denied; call grant as the owner of the archive")
