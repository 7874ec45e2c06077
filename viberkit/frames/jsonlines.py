"""JSON Lines of responses and callbacks to a table of events.

Two readers share the work:

- DuckDB reads the whole file in bulk, with the fields of all dialects side by side, and marks each event as *regular*:
  a text id, a known state, and an instant in a plain form.
- :func:`viberkit.models.parsing.read_record`, the reference reader, reads every line that is not regular. It alone
  decides what such a line means, or why it cannot be read.

DuckDB is more lenient than JSON in places (a trailing comma, NaN). A scan of the bytes, which also finds the lines,
sends lines with such text to the reference reader. If DuckDB cannot read the file at all, the reference reader reads
every line. If an object has a key twice, DuckDB uses the first value and the reference reader the last; JSON leaves
this undefined, and it is not detected.
"""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.errors import UnreadableRecord
from viberkit.frames.columns import EVENTS
from viberkit.models.parsing import excerpt, inbound_id, parse, read_record
from viberkit.models.records import Event
from viberkit.models.states import NAMES

_LOG = logging.getLogger(__name__)
_BATCH = 100_000
_BLOCK = 1 << 20

_CATEGORY = pa.dictionary(pa.int32(), pa.large_string())
_COLUMNS = pa.schema(
    {
        "message_id": pa.large_string(),
        "state": _CATEGORY,
        "happened_at": pa.timestamp("us", "UTC"),
        "source": _CATEGORY,
        "channel": _CATEGORY,
        "code": _CATEGORY,
        "detail": pa.large_string(),
        "naive": pa.bool_(),
    }
)


@dataclass(frozen=True, slots=True)
class ParsedEvents:
    """The events of a file, the records that could not be read, and the number of records."""

    events: pa.Table
    skipped: list[dict[str, Any]]
    records: int


def skip(line: int, error: UnreadableRecord, record: object) -> dict[str, Any]:
    """The entry for a record that could not be read: line, field, reason and the beginning of its text, masked."""
    field = str(error).partition(":")[0]
    return {"line": line, "field": "record" if " " in field else field, "reason": str(error), "text": excerpt(record)}


def read_objects(records: Iterable[object]) -> ParsedEvents:
    """Read parsed records with the reference reader; they are numbered from 1."""
    events: list[Event] = []
    skipped: list[dict[str, Any]] = []
    number = 0
    for number, record in enumerate(records, start=1):
        events += _read_object(record, number, skipped)
    return ParsedEvents(_table(events), skipped, number)


def read_lines(path: Path) -> ParsedEvents:
    """Read a file of JSON Lines: one response or callback per line; blank lines are ignored."""
    import duckdb

    with ThreadPoolExecutor(1) as pool:
        scan = pool.submit(_scan, path)
        try:
            bulk = _read_bulk(path)
        except duckdb.Error as error:
            _LOG.info("%s is read line by line: %s", path, error)
            return read_lines_one_by_one(path)
        lines = scan.result()
    bounds = np.append(np.flatnonzero(bulk["first"]), len(bulk))
    if len(bounds) != len(lines.numbers) + 1:
        return read_lines_one_by_one(path)
    irregular = lines.suspect
    rows = np.flatnonzero(~_to_numpy(bulk["regular"]) | _may_not_be_texts(bulk))
    irregular[np.searchsorted(bounds, rows, side="right") - 1] = True
    if not _in_file_order(path, lines, irregular, bulk["message_id"], bounds):
        return read_lines_one_by_one(path)
    return _replace_irregular(path, lines, irregular, bulk.select(_COLUMNS.names), bounds)


def read_lines_one_by_one(path: Path) -> ParsedEvents:
    """Read a file of JSON Lines with the reference reader alone."""
    tables, events, records = [], list[Event](), 0
    skipped: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                records += 1
                events += _read_line(line.removesuffix(b"\n"), number, skipped)
            if len(events) > _BATCH:
                tables.append(_table(events))
                events.clear()
    table = pa.concat_tables([*tables, _table(events)])
    return ParsedEvents(table.unify_dictionaries().combine_chunks(), skipped, records)


def _read_line(line: bytes, number: int, skipped: list[dict[str, Any]]) -> Iterable[Event]:
    try:
        record = parse(line)
    except UnreadableRecord as error:
        skipped.append(skip(number, error, line.decode("utf-8", "replace").strip()))
        return ()
    return _read_object(record, number, skipped)


def _read_object(record: object, number: int, skipped: list[dict[str, Any]]) -> Iterable[Event]:
    try:
        parsed = read_record(record)
    except UnreadableRecord as error:
        message_id = inbound_id(record)
        skipped.append(skip(number, error, record) | ({"message_id": message_id} if message_id else {}))
        return ()
    skipped.extend({"line": number, **asdict(item)} for item in parsed.skipped)
    return parsed.events


def _table(events: list[Event]) -> pa.Table:
    columns = {field.name: pa.array([getattr(event, field.name) for event in events], field.type) for field in _COLUMNS}
    return pa.table(columns, schema=_COLUMNS)


# --- in bulk -----------------------------------------------------------------------------------------

_ITEM = {
    **dict.fromkeys(("happendAt", "happenedAt", "timestamp"), "VARCHAR"),
    **dict.fromkeys(("state", "event", "status", "channel", "deliveryChannel"), "VARCHAR"),
    "details": "STRUCT(code VARCHAR, message VARCHAR)",
}
_LIST = "STRUCT(" + ", ".join(f'"{name}" {dtype}' for name, dtype in _ITEM.items()) + ")[]"
_LINE = {"messageId": "VARCHAR", "history": _LIST, "events": _LIST, "acceptedAt": "VARCHAR", **_ITEM}

# DuckDB and the reference reader agree on these formats where the separators are at the positions of _SHAPE.
_FORMATS = ["%Y-%m-%dT%H:%M:%S" + end for end in (".%gZ", ".%g", ".%fZ", ".%f", "Z")]
_SHAPE = "____-__-__T__:__:__"  # then a fraction or the zone: without, DuckDB accepts one digit of seconds

# A line without a list is an event itself: it becomes a list of one item. Each event is a row; so is an empty list, for
# `unnest([true])` marks the first row of each line. No `IN (…)` of several texts: DuckDB makes a join of it, and a join
# on several threads returns the rows in another order than the file's.
_QUERY = f"""
WITH lines AS (
  SELECT messageId AS message_id,
    CASE WHEN history IS NOT NULL OR events IS NOT NULL THEN 0 WHEN event IS NOT NULL THEN 1
      WHEN status IS NOT NULL THEN 2 ELSE 3 END AS source,
    regexp_matches(messageId, '[!-~]') AND (history IS NULL OR events IS NULL)
      AND (source = 0 OR coalesce(state, happendAt, happenedAt) IS NULL) AS usable,
    coalesce(history, events, [{{
      'happendAt': NULL, 'happenedAt': NULL,
      'timestamp': coalesce(CASE WHEN source = 3 THEN acceptedAt END, "timestamp"),
      'state': NULL, 'event': coalesce(event, status, 'accepted'), 'status': NULL,
      'channel': CASE WHEN source < 3 THEN channel END,
      'deliveryChannel': CASE WHEN source < 3 THEN deliveryChannel END,
      'details': CASE WHEN source < 3 THEN details END}}]) AS items
  FROM read_json($path, format = 'newline_delimited', ignore_errors = true, hive_partitioning = false,
    compression = 'none', columns = {_LINE})
), items AS (
  SELECT message_id, source, usable, unnest(items) AS item, unnest([true]) AS first FROM lines
), events AS (
  SELECT message_id, source, usable, first,
    coalesce(item.happendAt, item.happenedAt, item."timestamp") AS instant,
    try_cast(coalesce(item.state, item.event, item.status) AS ENUM {tuple(NAMES)}) AS state,
    coalesce(item.channel, item.deliveryChannel) AS channel,
    item.details.code AS code,
    item.details.message AS detail
  FROM items
)
SELECT message_id, state, try_strptime(instant, {_FORMATS}) AS happened_at, source::UTINYINT AS source, channel, code,
  detail, coalesce(NOT contains(instant, 'Z'), false) AS naive, coalesce(first, false) AS first,
  coalesce(usable AND (instant LIKE '{_SHAPE}.%' OR instant LIKE '{_SHAPE}Z%')
    AND happened_at >= TIMESTAMP '1000-01-01' AND state IS NOT NULL, false) AS regular
FROM events
"""  # noqa: S608 - constants of this module; the path is bound


def _read_bulk(path: Path) -> pa.Table:
    """One row per event (and per line without events) as DuckDB reads them; ``first`` marks where a line begins."""
    import duckdb

    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET arrow_large_buffer_size = true")
        table = connection.sql(_QUERY, params={"path": glob.escape(str(path))}).to_arrow_table()
    table = table.combine_chunks()
    source = pa.DictionaryArray.from_arrays(table["source"].combine_chunks(), pa.array(EVENTS["source"].categories))
    return table.set_column(table.column_names.index("source"), "source", source)


def _may_not_be_texts(bulk: pa.Table) -> npt.NDArray[np.bool_]:
    """The rows whose channel or code may have been another JSON value, which DuckDB returns as its notation."""
    result = np.zeros(len(bulk), dtype=bool)
    for name in ("channel", "code"):
        values = pc.unique(bulk[name])
        notations = values.filter(pc.match_substring_regex(values, r"^([-{\[0-9]|(?i:true|false|nan|inf))"))
        if len(notations):
            result |= _to_numpy(pc.is_in(bulk[name], notations))
    return result


def _replace_irregular(
    path: Path, lines: _Lines, irregular: npt.NDArray[np.bool_], bulk: pa.Table, bounds: npt.NDArray[np.int64]
) -> ParsedEvents:
    """The rows of the bulk, with those of irregular lines replaced by what the reference reader makes of them."""
    events: list[Event] = []
    skipped: list[dict[str, Any]] = []
    starts: list[int] = []  # for each of these events, the row where its line begins
    indices = np.flatnonzero(irregular)
    with path.open("rb") as file:
        for index in indices:
            events += _read_line(lines.read(file, int(index)), int(lines.numbers[index]), skipped)
            starts += [int(bounds[index])] * (len(events) - len(starts))
    table = bulk.cast(_COLUMNS)
    if len(indices):
        rows = np.flatnonzero(np.repeat(~irregular, np.diff(bounds)))
        rows = np.insert(rows, np.searchsorted(rows, starts), np.arange(len(bulk), len(bulk) + len(events)))
        table = pa.concat_tables([table, _table(events)]).unify_dictionaries().combine_chunks().take(pa.array(rows))
    return ParsedEvents(table, skipped, len(lines.numbers))


# --- the bytes ---------------------------------------------------------------------------------------

# Each pattern begins with a plain character, to which the regular expression engine skips.
_SUSPECT = (
    r",[ \t\r]*[}\]]",  # a trailing comma
    *(r"N[aA][nN]", r"n[aA][nN]", r"I[nN][fF]", r"i[nN][fF]"),  # not numbers of JSON
    *(r"\v", r"\f"),  # not white space of JSON
    r"\\u00[0-7]",  # an ASCII character written as an escape: NUL, or part of a key
    *(rf'{key}"[ \t\r]*:[ \t\r]*[^\[n \t\r]' for key in ("history", "vents")),  # not a list
    r'message(Id)?"[ \t\r]*:[ \t\r]*[^"n \t\r]',  # not a text
)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines that are not blank: their numbers (from 1), where they start and end, and whether they are suspect."""

    numbers: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    suspect: npt.NDArray[np.bool_]

    def read(self, file: Any, index: int) -> bytes:
        file.seek(self.starts[index])
        line: bytes = file.read(self.ends[index] - self.starts[index])
        return line.removesuffix(b"\n")


def _scan(path: Path) -> _Lines:
    """Find the lines of a file, and those that DuckDB may read otherwise than the reference reader."""
    ends, blank, suspect, offset = [np.zeros(1, np.int64)], [], [], 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK) + file.readline():
            values = np.frombuffer(block, dtype=np.uint8)
            stops = np.flatnonzero(values == ord("\n")) + 1
            if not block.endswith(b"\n"):
                stops = np.append(stops, len(block))
            starts = np.append(0, stops)
            whole, texts = _texts(block, [0, len(block)]), _texts(block, starts)
            indented = values[starts[:-1]] <= ord(" ")
            blank.append(_to_numpy(pc.match_substring_regex(texts, r"^[\s\v]*$")) if indented.any() else indented)
            present = [pattern for pattern in _SUSPECT if pc.match_substring_regex(whole, pattern)[0].as_py()]
            matches = [_to_numpy(pc.match_substring_regex(texts, pattern)) for pattern in present]
            suspect.append(np.any(matches, axis=0) if present else np.zeros(len(stops), dtype=bool))
            ends.append(stops + offset)
            offset += len(block)
    bounds = np.concatenate(ends)
    lines = np.flatnonzero(~np.concatenate(blank)) if blank else np.empty(0, np.int64)
    return _Lines(lines + 1, bounds[lines], bounds[lines + 1], np.concatenate([*suspect, [False]])[lines])


def _texts(block: bytes, bounds: npt.ArrayLike) -> Any:
    """Parts of a block as an Arrow array that shares its memory."""
    offsets = np.asarray(bounds, dtype=np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _in_file_order(
    path: Path, lines: _Lines, irregular: npt.NDArray[np.bool_], ids: Any, bounds: npt.NDArray[np.int64]
) -> bool:
    """Whether DuckDB returned the lines in order: a sample of regular lines must contain the ids of their rows."""
    count = len(irregular)
    sample = [index for index in {*range(0, count, 512), *range(max(count - 64, 0), count)} if not irregular[index]]
    with path.open("rb") as file:
        for index in sample:
            line, message_id = lines.read(file, index), ids[int(bounds[index])].as_py()
            if b"\\" not in line and message_id.encode() not in line:
                return False
    return True


def _to_numpy(column: Any) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
    return array
