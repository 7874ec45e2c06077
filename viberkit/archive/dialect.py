"""What SQLite and PostgreSQL write differently, so that one set of statements serves both.

``insert`` is that of PostgreSQL: SQLite has its ON CONFLICT from there, and SQLAlchemy compiles it for both.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import Insert as Insert, insert as insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction, ReturnTypeFromArgs

#: Compared byte by byte in both.
text_type = Text().with_variant(Text(collation="C"), "postgresql")


class greatest(ReturnTypeFromArgs[Any]):  # noqa: N801 - the name of the function
    inherit_cache = True


class least(ReturnTypeFromArgs[Any]):  # noqa: N801
    inherit_cache = True


class json_each(GenericFunction[Any]):  # noqa: N801
    """The texts of a JSON array as a table: a list of any length is one parameter."""

    inherit_cache = True


@compiles(greatest, "sqlite")
def _max(element: Any, compiler: Any, **options: Any) -> str:
    return f"max({compiler.process(element.clauses, **options)})"


@compiles(least, "sqlite")
def _min(element: Any, compiler: Any, **options: Any) -> str:
    return f"min({compiler.process(element.clauses, **options)})"


@compiles(json_each, "postgresql")
def _json_texts(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"
