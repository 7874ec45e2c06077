"""Results of PostgreSQL are the values of the database: missing and empty texts, quotes, line breaks, backslashes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings, strategies as st
from support.event_logs import PROGRAMS

from viberkit.lake.engines import Postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed"),
    pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed"),
]
LARGE = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
HOSTILE = st.sampled_from(["", "\\N", '"', '""', "\\.", "\n", "\r\n", "\\", ",", "NULL", "null", "nan", " ", "t", "1"])
ROWS = st.lists(st.tuples(st.none() | TEXTS | HOSTILE, st.none() | LARGE, st.none() | st.booleans()), max_size=12)


@pytest.fixture(scope="module")
def connection(_postgres: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(_postgres) as opened:
        yield opened


@given(rows=ROWS)
@example(rows=[(text, None, None) for text in (None, "", "\\N", '"\\N"', "\\.", "\n", "\r", 'a"b\nc\\d,e')])
@settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "100")), deadline=None)
def test_any_values_are_read_as_they_are(connection: Any, rows: list[tuple[Any, ...]]) -> None:
    connection.execute("drop table if exists hostile")
    connection.execute('create table hostile (number serial, "a ""text""" text, "n" bigint, is_true boolean)')
    with connection.cursor() as cursor:
        cursor.executemany('insert into hostile ("a ""text""", n, is_true) values (%s, %s, %s)', rows)
    engine = Postgres(connection, "hostile")
    result = engine.query("select * from hostile order by number").drop_columns(["number"])
    assert [tuple(row.values()) for row in result.to_pylist()] == rows
    assert result.schema == pa.schema([('a "text"', pa.string()), ("n", pa.int64()), ("is_true", pa.bool_())])
    texts = engine.query('select "a ""text""" as value from hostile order by number')  # a missing one is a whole line
    assert texts["value"].to_pylist() == [row[0] for row in rows]


def test_other_types_are_read(connection: Any) -> None:
    query = "select timestamptz '2026-01-05 08:00:00.25+00' as at, 1.5::float8 as f, 'a'::varchar as v, null::text as t"
    [row] = Postgres(connection, "hostile").query(query).to_pylist()
    assert row == {"at": datetime(2026, 1, 5, 8, 0, 0, 250_000, tzinfo=UTC), "f": 1.5, "v": "a", "t": None}


def test_a_text_that_is_larger_than_a_block_is_read(connection: Any) -> None:
    result = Postgres(connection, "hostile").query("select repeat(E'x\\n', 3000000) as t union all select 'y'")
    assert sorted(map(len, result["t"].to_pylist())) == [1, 6_000_000]
