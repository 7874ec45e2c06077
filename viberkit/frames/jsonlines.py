"""JSON Lines to columns of events, fast: what is regular in bulk, everything else by the reference reader.

Three things happen to a file:

1. DuckDB reads it with the fields of all dialects together, and says of each event whether it is *regular*:
   a plain id, a state that a dialect knows, an instant of the plain form.
2. A survey of the bytes finds where the lines are, and which hold something that DuckDB reads more
   leniently than JSON allows (a trailing comma, NaN, a key twice, a history that is no list).
3. Every line that is irregular by either is read again by :func:`viberkit.models.parsing.read_record`, which alone
   decides what it means or why it cannot be read, and is put back in its place.

Where DuckDB cannot read the file at all, the reference reader reads every line.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.errors import UnreadableRecord
from viberkit.frames.columns import EVENTS
from viberkit.frames.survey import Lines, as_array, survey
from viberkit.models.parsing import excerpt, parse, read_record
from viberkit.models.records import Event
from viberkit.models.states import NAMES, ORDER, parse_state

__all__ = ["COLUMNS", "Read", "read_lines", "read_objects"]

_LOG = logging.getLogger(__name__)

#: The columns that come from answers and callbacks, as Arrow has them; categories as codes.
COLUMNS = pa.schema(
    [
        ("message_id", pa.large_string()),
        ("state", pa.int32()),
        ("happened_at", pa.timestamp("us")),
        ("source", pa.int32()),
        ("channel", pa.int32()),
        ("code", pa.int32()),
        ("detail", pa.large_string()),
        ("naive", pa.bool_()),
    ]
)

_SOURCES = EVENTS["source"].words


@dataclass(frozen=True, slots=True)
class Read:
    """What was read: columns, the texts behind the codes of each category, what was set aside, and of how many."""

    columns: dict[str, Any]
    texts: dict[str, list[str]]
    aside: list[dict[str, Any]]
    records: int


class _Words:
    """Texts numbered in order of first appearance; None is -1."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.number: dict[str | None, int] = {None: -1} | {text: place for place, text in enumerate(texts)}

    def __getitem__(self, text: str | None) -> int:
        return self.number.setdefault(text, len(self.number) - 1)

    @property
    def texts(self) -> list[str]:
        return [text for text in self.number if text is not None]


class _Books:
    """The words of each category, and what was set aside: shared by all lines of a file."""

    def __init__(self) -> None:
        self.words = {"state": _Words(ORDER), "source": _Words(_SOURCES), "channel": _Words(), "code": _Words()}
        self.aside: list[dict[str, Any]] = []

    def read(self, number: int, record: object, fault: UnreadableRecord | None = None) -> list[Event]:
        """The events of one record by the reference reader; what it refuses is set aside."""
        try:
            if fault:
                raise fault
            reading = read_record(record)
        except UnreadableRecord as refused:
            reason = str(refused)
            field = reason.partition(":")[0]
            self._put(number, "record" if " " in field else field, reason, excerpt(record))
            return []
        for one in reading.skipped:
            self._put(number, one.field, one.reason, one.text)
        return list(reading.events)

    def read_line(self, number: int, line: bytes) -> list[Event]:
        try:
            return self.read(number, parse(line))
        except UnreadableRecord as fault:
            return self.read(number, line.decode("utf-8", "replace").strip(), fault)

    def _put(self, number: int, field: str, reason: str, text: str) -> None:
        self.aside.append({"line": number, "field": field, "reason": reason, "text": text})

    def table(self, events: list[Event]) -> pa.Table:
        """Events as columns."""
        columns: dict[str, list[Any]] = {
            "message_id": [one.message_id for one in events],
            "happened_at": [one.happened_at.replace(tzinfo=None) for one in events],
            "detail": [one.detail for one in events],
            "naive": [one.naive for one in events],
        }
        for name, words in self.words.items():
            columns[name] = [words[getattr(one, name)] for one in events]
        return pa.table({field.name: pa.array(columns[field.name], field.type) for field in COLUMNS}, schema=COLUMNS)

    def done(self, columns: dict[str, Any], records: int) -> Read:
        aside = sorted(self.aside, key=lambda one: one["line"])
        return Read(columns, {name: words.texts for name, words in self.words.items()}, aside, records)


def read_objects(records: Iterable[object]) -> Read:
    """Parsed records, one by one, by the reference reader; they are numbered from 1."""
    books, events, number = _Books(), [], 0
    for number, record in enumerate(records, start=1):
        events += books.read(number, record)
    return books.done(_pieces(books.table(events)), number)


def read_lines(path: Path) -> Read:
    """A file of JSON Lines: one answer or callback a line; blank lines are nothing."""
    with ThreadPoolExecutor(1) as beside:
        surveyed = beside.submit(survey, path)
        try:
            table = _bulk(path)
        except duckdb.Error as refused:
            _LOG.info("%s is read line by line: %s", path, refused)
            return _one_by_one(path)
        starts, regular = np.flatnonzero(table.pop("first")), table.pop("regular") & _known(table)
        lines = surveyed.result()
    if len(starts) != len(lines.numbers) or not _in_order(path, table["id"], lines):
        return _one_by_one(path)
    return _together(path, table, starts, regular, lines)


def _one_by_one(path: Path) -> Read:
    books, records = _Books(), 0
    tables, events = [], list[Event]()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                records += 1
                events += books.read_line(number, line.removesuffix(b"\n"))
            if len(events) > _BATCH:
                tables.append(books.table(events))
                events.clear()
    return books.done(_pieces(pa.concat_tables([*tables, books.table(events)])), records)


_BATCH = 100_000


# --- in bulk -----------------------------------------------------------------------------------------

_TEXT = "VARCHAR"
_DETAILS = f"STRUCT(code {_TEXT}, message {_TEXT})"
_ITEM = {
    **dict.fromkeys(("happendAt", "happenedAt", "timestamp"), _TEXT),
    **dict.fromkeys(("state", "event", "status", "channel", "deliveryChannel"), _TEXT),
    "details": _DETAILS,
}
_LIST = "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in _ITEM.items()) + ")[]"
_LINE = {"messageId": _TEXT, "history": _LIST, "events": _LIST, "acceptedAt": _TEXT, **_ITEM}
_WORDS = tuple(NAMES)

# Ids that mean the same whether they were written as text or as a number: no fraction, no exponent, no true.
_PLAIN_ID = (
    r"[A-Za-z_][\w.:=/+@~-]*|[0-9]+|[0-9]+[A-DF-Za-df-z_-][\w-]*"
    r"|[0-9]+[eE](?:[A-Za-z_][\w-]*|[0-9]+[A-Za-z_-][\w-]*|-[0-9]*[A-Za-z_-][\w-]*)"
)
_OTHER_ID = "true|false|nan|inf|infinity"
# DuckDB and the reference reader agree on these forms where the places of the signs are as in _SHAPE.
_FORMS = ["%Y-%m-%dT%H:%M:%S" + end for end in (".%gZ", ".%g", ".%fZ", ".%f", "Z")]
_SHAPE = "____-__-__T__:__:__"  # and then a fraction or the zone: without, one digit of seconds would do

# From the inside: lines with what they hold beside a history, then one row an event (and one for a line without
# any: `unnest([true])`; the id stands in a line's first row only), then the readings of each. A line's own event
# counts only where it holds no list. No `IN (…)` of several words: DuckDB makes a join of it, and a join on several
# threads gives the rows in another order than the file's.
_QUERY = f"""
SELECT CASE WHEN first THEN id END AS id, first, moment, word, source, channel, code, detail, naive,
  coalesce(plain AND shape AND moment >= TIMESTAMP '1000-01-01' AND word IS NOT NULL, false) AS regular
FROM (
  SELECT id, first, plain, source, channel, code, detail,
    try_strptime(said, {_FORMS}) AS moment,
    try_cast(said_word AS ENUM {_WORDS}) AS word,
    NOT contains(said, 'Z') AS naive,
    CASE WHEN said LIKE '{_SHAPE}.%' THEN true ELSE said LIKE '{_SHAPE}Z%' END AS shape
  FROM (
    SELECT id, plain, first, source,
      coalesce(e.happendAt, e.happenedAt, e."timestamp", own_said) AS said,
      coalesce(e.state, e.event, e.status, own_word) AS said_word,
      coalesce(e.channel, e.deliveryChannel, own_channel) AS channel,
      coalesce(e.details.code, own_details.code) AS code,
      coalesce(e.details.message, own_details.message) AS detail
    FROM (
      SELECT id, plain, source, unnest(kept) AS e, unnest([true]) AS first,
        CASE WHEN source > 0 THEN coalesce(CASE WHEN source = 3 THEN acceptedAt END, "timestamp") END AS own_said,
        CASE WHEN source > 0 THEN coalesce(event, status, 'accepted') END AS own_word,
        CASE WHEN source IN (1, 2) THEN coalesce(channel, deliveryChannel) END AS own_channel,
        CASE WHEN source IN (1, 2) THEN details END AS own_details
      FROM (
        SELECT *, messageId AS id, coalesce(history, events) AS kept,
          coalesce(regexp_full_match(messageId, '{_PLAIN_ID}')
            AND NOT regexp_full_match(lower(messageId), 'true|false|nan|inf|infinity'), false)
            AND (history IS NULL OR events IS NULL)
            AND (kept IS NOT NULL OR coalesce(state, happendAt, happenedAt) IS NULL) AS plain,
          CASE WHEN kept IS NOT NULL THEN 0 WHEN event IS NOT NULL THEN 1 WHEN status IS NOT NULL THEN 2
            ELSE 3 END::UTINYINT AS source
        FROM read_json($path, format = 'newline_delimited', ignore_errors = true, hive_partitioning = false,
          compression = 'none', columns = {{{", ".join(f"'{name}': '{kind}'" for name, kind in _LINE.items())}}})
      )
    )
  )
)
"""  # noqa: S608 - constants of this module; the path is bound


def _bulk(path: Path) -> dict[str, Any]:
    """One row an event (or an eventless line) as DuckDB reads them; ``first`` marks where a line begins."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(":memory:") as con:
        if re.search(r"[*?\[\]]", str(path)):  # DuckDB would take these for a pattern of names
            link = Path(folder) / "lines"
            link.symlink_to(path.resolve())
            path = link
        con.execute("SET enable_progress_bar = false")
        con.execute("SET arrow_large_buffer_size = true")
        con.execute("SET TimeZone = 'UTC'")
        table = con.sql(_QUERY, params={"path": str(path)}).to_arrow_table()
    columns = {name: table[name] for name in table.column_names}
    first = pc.is_valid(columns["first"])
    columns["first"], columns["id"] = as_array(first), columns["id"].filter(first)
    columns["regular"] = as_array(columns["regular"])
    return columns


_STRIDE = 512
_IN_PLAIN = re.compile(r"[A-Za-z_-][\w-]*|[0-9]+[\w-]*", re.ASCII)


def _in_order(path: Path, ids: Any, lines: Lines) -> bool:
    """Whether DuckDB kept the lines in order: lines from all over the file hold the ids that it read there."""
    count = len(lines.numbers)
    places = sorted({*range(0, count, _STRIDE), *range(max(count - 64, 0), count)})
    with path.open("rb") as file:
        for place, message_id in zip(places, ids.take(pa.array(places, pa.int64())).to_pylist(), strict=True):
            file.seek(lines.starts[place])
            line = file.read(lines.ends[place] - lines.starts[place])
            plain = message_id is not None and _IN_PLAIN.fullmatch(message_id) and b"\\" not in line
            if plain and message_id.encode() not in line:
                return False
    return True


# --- both together -----------------------------------------------------------------------------------


def _together(
    path: Path, bulk: dict[str, Any], starts: npt.NDArray[np.int64], regular: npt.NDArray[np.bool_], lines: Lines
) -> Read:
    """The regular rows, with the irregular lines read again and put in their places."""
    books = _Books()
    odd = np.zeros(len(starts), dtype=bool)
    odd[lines.suspect] = True
    odd[np.searchsorted(starts, np.flatnonzero(~regular), side="right") - 1] = True
    bounds = np.append(starts, len(regular))
    again: list[Event] = []
    plan: list[tuple[int, int, int, int]] = []  # rows of the bulk from, to; then rows read again from, to
    at = 0
    with path.open("rb") as file:
        for place in np.flatnonzero(odd):
            file.seek(lines.starts[place])
            before = len(again)
            again += books.read_line(int(lines.numbers[place]), file.read(lines.ends[place] - lines.starts[place]))
            plan.append((at, int(bounds[place]), before, len(again)))
            at = int(bounds[place + 1])
    plan.append((at, len(regular), 0, 0))
    patches = books.table(again)

    def patched(name: str, made: Any) -> Any:
        pieces = (
            piece
            for start, end, first, last in plan
            for piece in (made.slice(start, end - start), patches[name].slice(first, last - first))
        )
        return _joined(pieces, COLUMNS.field(name).type)

    def ids() -> Any:
        number = np.repeat(np.arange(len(starts)), np.diff(bounds))
        pieces = [
            piece
            for start, end, first, last in plan
            for piece in (number[start:end], np.arange(len(starts) + first, len(starts) + last))
        ]
        known = _joined([bulk.pop("id"), patches["message_id"]], pa.large_string())
        return known.take(pa.array(np.concatenate(pieces)))

    with ThreadPoolExecutor(2) as beside:  # most of it is copying, which Arrow does without Python's lock
        joined = {"message_id": beside.submit(ids)}
        joined |= {name: beside.submit(patched, name, made) for name, made in _decoded(bulk, books)}
        columns = {name: joined[name].result() for name in COLUMNS.names}
    return books.done(columns, len(starts))


def _known(bulk: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Which rows hold only texts in channel, code and detail: JSON of another kind keeps its own notation."""
    fine = np.ones(len(bulk["channel"]), dtype=bool)
    for name in ("channel", "code"):
        bulk[name] = encoded = bulk[name].dictionary_encode().unify_dictionaries()
        texts = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
        strange = [place for place, text in enumerate(texts) if _OTHER_JSON.match(text)]
        if strange:
            fine &= ~np.isin(_codes(encoded), strange)
    detail = bulk["detail"]
    if detail.null_count < len(detail):
        fine &= ~as_array(pc.fill_null(pc.match_substring_regex(detail, _OTHER_JSON.pattern), False))
    return fine


_OTHER_JSON = re.compile(r'^(?:[-{\["0-9]|(?i:nan|inf|infinity)$)')


def _codes(encoded: Any) -> npt.NDArray[np.int32]:
    if encoded.null_count == len(encoded):
        return np.full(len(encoded), -1, np.int32)
    return np.concatenate([pc.fill_null(one.indices.cast(pa.int32()), -1).to_numpy(False) for one in encoded.chunks])


def _decoded(bulk: dict[str, Any], books: _Books) -> Iterator[tuple[str, Any]]:
    """The columns of :data:`COLUMNS` but the ids."""
    yield "happened_at", bulk.pop("moment")
    yield "detail", bulk.pop("detail")
    yield "naive", bulk.pop("naive")
    yield "source", bulk.pop("source").cast(pa.int32())
    for name in ("channel", "code"):
        encoded = bulk.pop(name)
        texts = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
        number = np.array([*(books.words[name][text] for text in texts), -1], dtype=np.int32)
        yield name, pa.array(number[_codes(encoded)])
    state = np.array([*(books.words["state"][parse_state(word)] for word in _WORDS), -1], dtype=np.int32)
    yield "state", pa.array(state[_codes(bulk.pop("word"))])


def _pieces(table: pa.Table) -> dict[str, Any]:
    return {name: _joined(table[name].chunks, COLUMNS.field(name).type) for name in table.column_names}


def _joined(pieces: Iterable[Any], kind: pa.DataType) -> Any:
    chunks = [
        chunk
        for piece in pieces
        for chunk in (piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece])
        if len(chunk)
    ]
    return (
        pa.concat_arrays([one if one.type == kind else one.cast(kind) for one in chunks])
        if chunks
        else pa.array([], kind)
    )
