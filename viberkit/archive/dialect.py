"""What SQLite and PostgreSQL write differently, so that one set of statements serves both.

``insert`` is that of PostgreSQL: ON CONFLICT is the same in SQLite, and SQLAlchemy compiles it for both.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnClause, Table, Text, literal_column
from sqlalchemy.dialects.postgresql import Insert as Insert, insert as insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction, ReturnTypeFromArgs

#: The type of texts, which both compare byte by byte.
text_type = Text().with_variant(Text(collation="C"), "postgresql")


def rowid(table: Table) -> ColumnClause[int]:
    """The position of a row in the order of insertion: SQLite has this column, in PostgreSQL it is added."""
    return literal_column(f"{table.name}.rowid")


class greatest(ReturnTypeFromArgs[Any]):  # noqa: N801 - the name of the function
    inherit_cache = True


class least(ReturnTypeFromArgs[Any]):  # noqa: N801
    inherit_cache = True


class json_each(GenericFunction[Any]):  # noqa: N801
    """The texts of a JSON array as a table: a list of any length is one parameter."""

    inherit_cache = True


@compiles(greatest, "sqlite")
@compiles(least, "sqlite")
def _max_or_min(element: Any, compiler: Any, **options: Any) -> str:
    name = "max" if isinstance(element, greatest) else "min"  # of several arguments, these are no aggregates
    return f"{name}({compiler.process(element.clauses, **options)})"


@compiles(json_each, "postgresql")
def _json_texts(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"
