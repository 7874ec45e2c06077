"""Roles of a PostgreSQL archive: one that writes, and one that reads views in which phone numbers are masked."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, MetaData, func, select, text

from viberkit.errors import ArchiveError

#: The schema of the views.
MASKED = "viberkit_masked"
_SCRIPT = Path(__file__).with_name("views.sql")
_TEXTS = ("text", "content", "context", "user_context", "detail", "reason", "postback", "unreadable", "callback_url")
#: How a view shows a column. Neither the salt nor digests of bodies are shown, because they would allow guessing phone
#: numbers: a key is a digest of number and salt.
_SHOWN = dict.fromkeys(("to", "sender"), MASKED + '.mask("{}")') | dict.fromkeys(_TEXTS, MASKED + '.mask_numbers("{}")')
_SHOWN |= {"salt": "'masked'", "digest": "''", "body": "CAST('' AS bytea)", "request": "CAST(NULL AS bytea)"}


def create_views(connection: Connection, metadata: MetaData) -> None:
    """Create the views, or replace them."""
    for command in _SCRIPT.read_text("utf-8").strip().split(";\n"):
        connection.exec_driver_sql(command)
    for table in metadata.tables.values():
        shown = ((_SHOWN.get(c.name, '"{}"') + ' AS "{}"').replace("{}", c.name) for c in table.columns)
        query = f"SELECT {', '.join(shown)}, rowid FROM {table}"  # noqa: S608 - constants
        connection.execute(text(f"CREATE VIEW {MASKED}.{table} AS {query}"))


def grant(connection: Connection, metadata: MetaData, role: str, *, write: bool) -> None:
    """Grant a role what it needs to write to the archive, or to read its views."""
    quoted = connection.dialect.identifier_preparer.quote_identifier(role)
    schema = connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    tables = ", ".join(metadata.tables)
    privileges = [f"USAGE ON SCHEMA {MASKED}", f"SELECT ON ALL TABLES IN SCHEMA {MASKED}"]
    if write:
        privileges += [f"USAGE ON SCHEMA {schema}", f"SELECT, INSERT, UPDATE ON {tables}"]
        privileges += ["DELETE ON outbox, campaigns", "USAGE ON SEQUENCE raw_id_seq, listening_id_seq"]
    for privilege in privileges:
        connection.exec_driver_sql(f"GRANT {privilege} TO {quoted}".replace("%", "%%"))
    last = ("outbox", "DELETE") if write else (f"{MASKED}.outbox", "SELECT")
    if not connection.execute(select(func.has_table_privilege(role, *last))).scalar():  # the server only warns
        raise ArchiveError(f"{role}: was granted nothing, permission denied; call grant as the owner of the archive")
