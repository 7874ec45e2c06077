"""Events from files and records: JSON Lines of responses and callbacks in any dialect, or tidy Parquet and CSV."""

from __future__ import annotations

import codecs
import csv
import os
import re
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from viberkit.errors import UnreadableRecord, quote
from viberkit.frames.columns import EVENTS
from viberkit.frames.jsonlines import ParsedEvents, read_lines, read_objects, skip
from viberkit.frames.schema import INSTANT, recode, require
from viberkit.models.parsing import parse, parse_instant
from viberkit.models.states import parse_state


class SkippedRowsWarning(UserWarning):
    """Some records could not be read and were skipped; the others were read."""


class SkippedRows(list[dict[str, Any]]):
    """The skipped records: ``line`` (from 1), ``field``, ``reason`` and the beginning of the ``text``.

    A list, so that it can be saved with the frame. pandas copies ``attrs`` in every operation; a deep copy of this
    list is the list itself, for it is never changed.
    """

    def __deepcopy__(self, memo: object) -> SkippedRows:
        return self


def read_events(source: str | os.PathLike[str] | pd.DataFrame | Iterable[Any]) -> pd.DataFrame:
    """Read events from a file or from records.

    Parameters
    ----------
    source : path, DataFrame or iterable of mappings
        One of:

        - a file of JSON Lines: histories in every dialect, status responses, responses to sends that contain an
          instant, and status callbacks, in any mixture;
        - a ``.parquet`` or ``.csv`` file of tidy events, such as ``events.to_parquet(…)`` writes; JSON Lines of tidy
          events (``events.to_json(…, orient="records", lines=True, date_format="iso", date_unit="us")``); or a frame
          of them. At least ``message_id``, ``state`` and ``happened_at`` are required; other columns are preserved;
        - responses and callbacks that are parsed already.

        A file may be a pipe (``"-"`` is the standard input), compressed (gzip, bzip2, zstd, or a ZIP archive of one
        file), and in UTF-16.

    Returns
    -------
    DataFrame
        One row per event, in the order of the source; every column has its dtype, in an empty frame too.

        - ``message_id`` : id of the message, as text
        - ``state`` : state that the message entered; an unrecognised state is returned as its text
        - ``happened_at`` : when the message entered the state (UTC)
        - ``source`` : what reported the event: history, callback, status or send
        - ``channel`` : channel of the message
        - ``code``, ``detail`` : failure code and failure text of the provider
        - ``received_at`` : when the event was first received (UTC); NaT if the source does not contain it
        - ``observed_until`` : when the message was last observed (UTC); NaT if the source does not contain it
        - ``naive`` : whether the instant had no zone and was taken as UTC
        - ``not_before`` : for an event observed by polling, the lower bound of ``happened_at`` (UTC)

        ``attrs["skipped"]`` lists the records that could not be read: ``line`` (from 1), ``field``, ``reason`` and
        ``text`` (its beginning, phone numbers masked).

    Raises
    ------
    OSError
        If the file cannot be opened.
    UnreadableRecord
        If a Parquet or CSV file is not in that format.
    MissingColumn
        If a tidy source lacks a required column.
    ValueError
        If a tidy source has several columns of the same name.
    TypeError
        If ``source`` is a single mapping or none of the above.

    Warns
    -----
    SkippedRowsWarning
        If records were skipped: one warning with their number and the first reason.

    Notes
    -----
    An unreadable line or event does not stop the reading, and no id is changed: a row of a tidy source is skipped if
    it contains bytes that are not UTF-8, or a value that its column does not allow. Each item of a history is a record,
    and so is any other line; each record becomes a row or an entry of ``attrs["skipped"]``. Blank lines and empty
    histories are neither.

    Examples
    --------
    >>> events = vk.read_events([{"messageId": "8fb360a1", "history": [
    ...     {"happendAt": "2020-07-13T12:19:17.606Z", "state": "message-accepted"},
    ...     {"happendAt": "2020-07-13T12:19:18.967Z", "state": "message-delivered", "deliveryChannel": "viber"}]}])
    >>> events[["message_id", "state", "channel"]]
      message_id      state channel
    0   8fb360a1   accepted     NaN
    1   8fb360a1  delivered   viber
    """
    if isinstance(source, pd.DataFrame):
        events, skipped = _read_tidy(source, np.arange(1, len(source) + 1))
        records = len(source)
    elif isinstance(source, str | os.PathLike):
        events, skipped, records = _read_file(Path(source))
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise TypeError(f"read_events: expected a path, a DataFrame or a list of records, not {type(source).__name__}")
    else:
        events, skipped, records = _to_frame(read_objects(source))
    events.attrs["skipped"] = SkippedRows(skipped)
    if skipped:
        text = (
            f"{len(skipped):,} of {max(records, len(skipped)):,} records could not be read and were skipped; "
            f"see events.attrs['skipped']: line {skipped[0]['line']}: {skipped[0]['reason']}"
        )
        warnings.warn(text, SkippedRowsWarning, stacklevel=2)
    return events


def _read_file(path: Path) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    with _plain_file(path) as (plain, damage):
        with plain.open("rb") as file:
            head = file.read(_HEAD)
        extension = re.sub(r"\.(gz|bz2|zst|zip)$", "", path.name.lower()).rpartition(".")[2]
        delimiter = _delimiter("".join(head.decode("utf-8-sig", "replace").lstrip().splitlines()[:1]))
        tidy: _Tidy | None
        if head.startswith(b"PAR1") or extension in ("parquet", "pq"):
            tidy = _read_parquet(plain, path.name)
        elif delimiter or extension == "csv":
            tidy = _read_csv(plain, delimiter or ",")
        else:
            tidy = _read_tidy_lines(plain)
        if tidy is not None:
            frame, lines, skipped = tidy
            records = len(frame) + len(skipped)
            events, more = _read_tidy(frame, lines)
            skipped = sorted(skipped + more, key=lambda entry: entry["line"])
        else:
            events, skipped, records = _to_frame(read_lines(plain))
    if damage:
        records += 1
        line, reason = skipped[-1]["line"] if skipped else records, f"file: the compressed file is damaged: {damage}"
        skipped = [*skipped, {"line": line, "field": "file", "reason": reason, "text": ""}]
    return events, skipped, records


_HEAD = 1 << 16
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


@contextmanager
def _plain_file(path: Path) -> Iterator[tuple[Path, str]]:
    """A file that can be read twice, in UTF-8; and why a compressed file could not be read to its end.

    It is a temporary copy if the source is a pipe, compressed, or in UTF-16.
    """
    damage = ""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        if (is_stdin := str(path) == "-") or not path.is_file():
            with open(0 if is_stdin else path, "rb", closefd=not is_stdin) as pipe, copy.open("wb") as target:
                shutil.copyfileobj(pipe, target)
            path = copy
        with path.open("rb") as file:
            head = file.read(8)
        if compression := next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None):
            path, damage = _decompress(path, compression, copy.with_suffix(".plain"))
            with path.open("rb") as file:
                head = file.read(8)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            data = path.read_bytes()
            text = data[: len(data) // 2 * 2].decode("utf-16", "surrogatepass")
            path = copy.with_suffix(".utf-8")
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield path, damage


def _decompress(path: Path, compression: str, target: Path) -> tuple[Path, str]:
    """Write what a compressed file contains; why it could not be read to its end, "" if it could."""
    source: Any = None
    with path.open("rb") as file, target.open("wb") as copy:
        while True:
            try:
                source = source or (
                    _only_member(file) if compression == "zip" else pa.CompressedInputStream(file, compression)
                )
                block = source.read1(1 << 16)  # what precedes the damage counts
            except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, pa.ArrowException) as error:
                return target, str(error)
            if not block:
                return target, ""
            copy.write(block)


def _only_member(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    if len(archive.namelist()) != 1:
        raise UnreadableRecord(f"file: a ZIP archive of {len(archive.namelist())} files; extract the file of events")
    return archive.open(archive.namelist()[0])


def _to_frame(parsed: ParsedEvents) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    frame = parsed.events.to_pandas()
    frame["state"] = _parse_states(frame["state"])
    skipped = sorted(parsed.skipped, key=lambda entry: entry["line"])
    return EVENTS.frame(frame), skipped, parsed.records


def _parse_states(states: pd.Series[Any]) -> pd.Series[Any]:
    """States in the names of any dialect, to a category of states."""
    names = states.cat.categories.map(parse_state)
    return recode(states, names.unique(), names)


# --- tidy events -------------------------------------------------------------------------------------

_REQUIRED = ("message_id", "state", "happened_at")
_PLAIN = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?"
_ZONED = r"(?:Z|[+-]\d\d:?\d\d)$"
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_EXACT = 2**53  # floats below this number hold every whole number

_INVALID = re.compile("[\0\ud800-\udfff]")  # a surrogate stands for a byte that is not UTF-8
#: A frame of texts, the line number of each row, and the skipped lines.
_Tidy = tuple[pd.DataFrame, Any, list[dict[str, Any]]]


def _read_parquet(path: Path, name: str) -> _Tidy:
    from pyarrow import parquet

    errors = (pa.ArrowException, ValueError, LookupError, OSError)
    try:
        with suppress(*errors):
            frame = pd.read_parquet(path)
            if "message_id" not in frame or frame["message_id"].dtype.kind != "f":
                return frame, np.arange(1, len(frame) + 1), []
        table = parquet.read_table(path)  # pandas refuses some categories and zones, and rounds integers with nulls
        columns = {}
        for column_name, values in zip(table.column_names, table.columns, strict=True):
            dtype = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
            if pa.types.is_timestamp(dtype) and dtype.tz:
                dtype = pa.timestamp(dtype.unit, "UTC")
            if column_name == "message_id" and pa.types.is_integer(dtype):
                dtype = pa.large_string()
            columns[column_name] = values.cast(dtype).to_pandas()
    except errors as error:
        raise UnreadableRecord(f"file: {quote(name)} cannot be read as Parquet: {error}") from None
    require(pd.DataFrame(columns=table.column_names), (), "read_events")
    return pd.DataFrame(columns), np.arange(1, len(table) + 1), []


def _delimiter(header: str) -> str | None:
    """The delimiter that separates the required columns in the first line of a CSV file; None if there is none."""
    names = {delimiter: {name.strip('" ') for name in header.split(delimiter)} for delimiter in ",;\t|"}
    return next((delimiter for delimiter in names if names[delimiter] >= {*_REQUIRED}), None)


def _read_csv(path: Path, delimiter: str) -> _Tidy:
    """Read a CSV in bulk, or row by row if a row is irregular or longer than a line."""
    from pyarrow import csv as bulk

    data = path.read_bytes()
    header = data[:_HEAD].decode("utf-8-sig", "replace").splitlines()[:1]
    parse = bulk.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    with suppress(pa.ArrowInvalid, UnicodeDecodeError, csv.Error):
        types = dict.fromkeys(next(csv.reader(header, delimiter=delimiter), []), pa.large_string())
        convert = bulk.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True)
        table = bulk.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=convert)
        codes = np.frombuffer(data, dtype=np.uint8)
        quotes = np.flatnonzero(codes[1:-1] == ord('"')) + 1
        is_text = [~np.isin(codes[quotes + side], [*b'"\r\n', ord(delimiter)]) for side in (-1, 1)]
        one_line_each = len(table) + 1 == data.count(b"\n") + (not data.endswith(b"\n"))
        if one_line_each and b"\0" not in data and not (is_text[0] & is_text[1]).any():
            return table.to_pandas(), np.arange(2, len(table) + 2), []
    return _read_irregular_csv(path, delimiter)


def _read_irregular_csv(path: Path, delimiter: str) -> _Tidy:
    """Read a CSV row by row; rows of another length and rows that are not CSV or not UTF-8 are skipped."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        texts = list(file)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    skipped: list[dict[str, Any]] = []
    for line, row in _csv_rows(texts, delimiter, skipped):
        reason = ""
        if not header:
            header = [_INVALID.sub("\ufffd", name) for name in row]
        elif _INVALID.search("".join(row)):
            reason = "contains NUL, or a byte that is not UTF-8; save the file as UTF-8"
        elif len(row) == len(header):
            rows.append(row)
            lines.append(line)
        elif row:
            reason = f"has {len(row)} fields, not {len(header)}"
        if reason:
            skipped.append(skip(line, UnreadableRecord(f"record: {reason}"), delimiter.join(row)))
    frame = pd.DataFrame(rows, columns=pd.Index(header), dtype="str")
    return frame.mask(frame == ""), np.array(lines, dtype=np.int64), skipped


def _csv_rows(texts: list[str], delimiter: str, skipped: list[dict[str, Any]]) -> Iterator[tuple[int, list[str]]]:
    """The rows and the lines (from 1) where they begin; after an invalid row, reading continues in the next line."""
    begin = 0
    while begin < len(texts):
        start = begin
        reader = csv.reader(map(texts.__getitem__, range(start, len(texts))), delimiter=delimiter, strict=True)
        try:
            for row in reader:
                yield begin + 1, row
                begin = start + reader.line_num
        except csv.Error as error:
            skipped.append(skip(begin + 1, UnreadableRecord(f"record: is not CSV: {error}"), texts[begin].rstrip()))
            begin += 1


def _read_tidy_lines(path: Path) -> _Tidy | None:
    """Read JSON Lines of tidy events; None if the first line is not such an event."""
    rows: list[Mapping[str, Any]] = []
    lines, skipped = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = parse(line)
                if not isinstance(record, Mapping):
                    raise UnreadableRecord(f"record: {quote(record)} is not a JSON object")  # noqa: TRY301
            except UnreadableRecord as error:
                if not rows:
                    return None
                skipped.append(skip(number, error, line.decode("utf-8", "replace").strip()))
                continue
            if not rows and not {*_REQUIRED} <= {*record}:
                return None
            rows.append(record)
            lines.append(number)
    if not rows:
        return None
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=object if name in EVENTS.names else None)
        for name in dict.fromkeys(name for row in rows for name in row)
    }
    return pd.DataFrame(columns), np.array(lines, dtype=np.int64), skipped


def _read_tidy(given: pd.DataFrame, lines: Any) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Convert tidy events to their dtypes; rows with a value that cannot be converted are skipped."""
    require(given, _REQUIRED, "read_events")
    frame = given.reset_index(drop=True)
    errors: dict[int, str] = {}
    naive = np.zeros(len(frame), dtype=bool)
    for name in frame.columns:
        dtype = EVENTS[name].dtype if name in EVENTS.names else "str" if frame[name].dtype == "str" else ""
        if dtype == INSTANT:
            frame[name], no_zone, invalid = _parse_instants(frame[name], name)
            naive |= no_zone & (name == "happened_at")
        elif dtype == "bool":
            frame[name], invalid = _parse_flags(frame[name], name)
        elif dtype:
            frame[name], invalid = _parse_texts(frame[name], name)
        elif pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
            frame[name], _, invalid = _parse_instants(frame[name], name)
        else:
            invalid = {}
        errors = invalid | errors
    frame["naive"] = naive | frame["naive"] if "naive" in frame else naive
    for name in ("state", "message_id", "happened_at"):
        for row in np.flatnonzero(frame[name].isna()).tolist():
            errors.setdefault(row, f"{name}: is missing")
    skipped = [
        skip(int(lines[row]), UnreadableRecord(reason), frame.loc[row, [*_REQUIRED]].dropna().to_dict())
        for row, reason in sorted(errors.items())
    ]
    frame["state"] = _parse_states(EVENTS["state"].cast(frame["state"]))
    if errors:
        frame = frame.drop(index=list(errors)).reset_index(drop=True)
    frame.attrs = {}
    return EVENTS.frame(frame), skipped


def _parse_texts(values: pd.Series[Any], name: str, *types: type) -> tuple[pd.Series[Any], dict[int, str]]:
    """Texts, bytes in UTF-8, whole numbers and values of ``types`` as texts; and for each other row the reason."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        texts, invalid = _parse_texts(pd.Series(values.cat.categories), name, *types)
        if not invalid and texts.dtype == values.cat.categories.dtype:
            return values, {}
        errors = {row: invalid[code] for row, code in enumerate(values.cat.codes) if code in invalid} if invalid else {}
        return recode(values, pd.Index(texts.dropna().unique()), pd.Index(texts)), errors
    items: Any = values
    if values.dtype == "str":
        array = pa.array(values.array)
        with suppress(pa.ArrowInvalid, UnicodeDecodeError):
            array.validate(full=True)
            return values, {}
        items = array.cast(pa.large_binary())
    elif pd.api.types.infer_dtype(values, skipna=True) in ("string", "empty"):
        with suppress(UnicodeEncodeError):
            return values.astype("str"), {}
    parsed: list[str | None] = []
    errors = {}
    for row, item in enumerate(items.tolist()):
        try:
            parsed.append(str(item) if isinstance(item, types) else _to_text(item))
        except (ValueError, OverflowError):
            parsed.append(None)
            value = quote(item) if isinstance(item, str | bytes | float) else f"a value of type {type(item).__name__}"
            errors[row] = f"{name}: {value} is neither a text in UTF-8 nor a whole number"
    return pd.Series(parsed, index=values.index, dtype="str"), errors


def _to_text(value: Any) -> str | None:
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value.encode().decode()
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if not is_number or value != int(value) or (isinstance(value, float) and abs(value) >= _EXACT):
        raise ValueError
    return str(int(value))


def _parse_flags(values: pd.Series[Any], name: str) -> tuple[pd.Series[Any], dict[int, str]]:
    """Flags as bool, and for each invalid row the reason."""
    if values.dtype == bool:
        return values, {}
    texts, errors = _parse_texts(values, name, bool, np.bool_)
    texts = texts.str.lower()
    for row in np.flatnonzero(texts.notna() & ~texts.isin(["true", "false", "1", "0"])).tolist():
        errors[row] = f"{name}: {quote(values.iloc[row])} is neither true nor false"
    return texts.isin(["true", "1"]), errors


def _parse_instants(values: pd.Series[Any], name: str) -> tuple[pd.Series[Any], Any, dict[int, str]]:
    """Parse texts as instants, the plain ones in bulk; which had no zone; and for each unreadable row the reason."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        per_second = pd.Timedelta("1s") // pd.Timedelta(1, unit=values.dt.unit)
        ticks, known = values.astype("int64").to_numpy(), values.notna().to_numpy()
        invalid = known & ((ticks < _FIRST_S * per_second) | (ticks > _LAST_S * per_second))
        rows = np.flatnonzero(invalid).tolist()
        errors = dict.fromkeys(rows, f"{name}: is not within the years 1 to 9999")
        return values.mask(invalid) if rows else values, known & (values.dt.tz is None), errors
    texts, errors = _parse_texts(values, name, datetime)
    plain = texts.str.fullmatch(_PLAIN).fillna(False).to_numpy(dtype=bool)
    instants = pd.to_datetime(texts.where(plain), utc=True, format="ISO8601", errors="coerce").astype(INSTANT)
    naive = plain & ~texts.str.contains(_ZONED).fillna(False).to_numpy(dtype=bool)
    for row in np.flatnonzero(instants.isna() & texts.notna()).tolist():
        try:
            parsed, naive[row] = parse_instant(texts.iloc[row], name)
            instants.iloc[row] = pd.Timestamp(parsed)
        except UnreadableRecord as error:
            errors[row] = str(error)
            naive[row] = False
    return instants, naive, errors
