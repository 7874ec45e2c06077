"""Events from files and records: JSON Lines of responses and callbacks in any dialect, or tidy Parquet and CSV."""

from __future__ import annotations

import csv
import io
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
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from viberkit.errors import UnreadableRecord, fold_name, quote
from viberkit.frames.clocks import SECOND, resolutions
from viberkit.frames.columns import EVENTS
from viberkit.frames.jsonlines import ParsedEvents, read_lines, read_objects, skip
from viberkit.frames.mapping import LogFormat, Table
from viberkit.frames.schema import INSTANT, recode, require
from viberkit.frames.textfiles import guess_code_page, unicode_codec
from viberkit.models.parsing import parse, parse_http_date, parse_instant
from viberkit.models.states import ORDER, is_of_message


class SkippedRowsWarning(UserWarning):
    """Some records could not be read and were skipped; the others were read."""


class UnknownStatesWarning(UserWarning):
    """Some states of a log are not known; the text lists them, and how to pass what they mean."""


class UncertainTimesWarning(UserWarning):
    """Some times of a log are uncertain: ambiguous local times, mixed units, or times that stand for others."""


class SkippedRows(list[dict[str, Any]]):
    """The skipped records: ``line`` (from 1), ``field``, ``reason`` and the beginning of the ``text``.

    A list, so that it can be saved with the frame. pandas copies ``attrs`` in every operation; a deep copy of this
    list is the list itself, for it is never changed.
    """

    def __deepcopy__(self, memo: object) -> SkippedRows:
        return self


def read_events(
    source: str | os.PathLike[str] | pd.DataFrame | Iterable[Any],
    *,
    columns: Mapping[str, str] | None = None,
    states: Mapping[str, str] | None = None,
    tz: str | None = None,
    provider: str | None = None,
    ids: Literal["exact", "strip", "fold"] = "exact",
    time_format: str | None = None,
) -> pd.DataFrame:
    """Read events from a file or from records: those of this API, and logs of other programs and providers.

    Parameters
    ----------
    source : path, DataFrame, Arrow or polars table, or iterable of mappings
        One of:

        - a file of JSON Lines: histories in every dialect, status responses, responses to sends that contain an
          instant, and status callbacks, in any mixture;
        - a ``.parquet`` or ``.csv`` file of tidy events, such as ``events.to_parquet(…)`` writes; JSON Lines of tidy
          events (``events.to_json(…, orient="records", lines=True, date_format="iso", date_unit="us")``); or a frame
          of them. At least ``message_id``, ``state`` and ``happened_at`` are required; other columns are preserved;
        - a table with one row per message and a time per state (``accepted_at``, ``delivered_at``, …);
        - responses and callbacks that are parsed already;
        - with ``columns`` or ``provider``: any of these tables with other names, also as JSON (a list, one object, or
          an object in each line); fields of nested objects are joined by dots (``"status.name"``).

        A file may be a pipe (``"-"`` is the standard input), compressed (gzip, bzip2, zstd, or a ZIP archive of one
        file), and in UTF-16. A CSV may have other separators (``;``, tab, ``|``) and a code page of Windows.
    columns : mapping of str to str, optional
        The columns of a log with other names, such as ``{"message_id": "Ref", "happened_at": "Done"}``; the other way
        round works, too. A state names the column with its time: ``{"delivered": "Done"}``.
    states : mapping of str to str, optional
        What texts of the log mean, such as ``{"DELIVRD": "delivered"}``, beyond the names of every dialect. Letter
        case, spaces, hyphens and underscores do not count.
    tz : str, optional
        Time zone of times without one, such as ``"Europe/Berlin"``; by default they are taken as UTC.
    provider : str, optional
        Provider whose receipts these are: ``"twilio"``, ``"infobip"``, ``"vonage"``, ``"sinch"`` or ``"whatsapp"``.
        ``columns`` and ``states`` are added to its own.
    ids : {"exact", "strip", "fold"}, default "exact"
        Whether ids remain as they are, lose white space, braces and quotes around them, or also become lower case
        without leading zeros.
    time_format : str, optional
        Format of times that are neither ISO 8601 nor RFC 2822 nor a number of seconds, milliseconds, microseconds or
        nanoseconds since 1970, such as ``"%d.%m.%Y %H:%M"``.

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
        - ``naive`` : whether the instant had no zone and was taken as UTC, or is uncertain in ``tz``
        - ``not_before`` : for an event observed by polling, the lower bound of ``happened_at`` (UTC)
        - ``inbound`` : whether the event is of a message from a recipient; only if there are any

        ``attrs["skipped"]`` lists the records that could not be read: ``line`` (from 1), ``field``, ``reason`` and
        ``text`` (its beginning, phone numbers masked). Where it applies, ``attrs`` also has ``resolution_s`` (what the
        clock of a state resolves, from 1 s), ``epoch_units`` of numbers since 1970, and ``encoding``.

    Raises
    ------
    OSError
        If the file cannot be opened.
    UnreadableRecord
        If a Parquet or CSV file is not in that format.
    MissingColumn
        If a required column is missing, or one that ``columns`` names.
    ValueError
        If a tidy source has several columns of the same name, or ``states``, ``tz``, ``provider`` or ``ids`` is not
        known.
    TypeError
        If ``source`` is a single mapping without ``columns`` and ``provider``, or none of the above.

    Warns
    -----
    SkippedRowsWarning
        If records were skipped: one warning with their number and the first reason.
    UnknownStatesWarning
        If states of a log with ``columns``, ``states`` or ``provider`` are not known: their texts and counts.
    UncertainTimesWarning
        If local times occur twice or not at all because clocks were changed, if numbers since 1970 are in several
        units, or if a provider has another time than that of the state.

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

    A log with other names, in local time:

    >>> log = pd.DataFrame({"Ref": ["a"], "Sent": ["2024-07-01 12:00:05"], "Done": ["2024-07-01 12:00:07"]})
    >>> columns = {"message_id": "Ref", "accepted": "Sent", "delivered": "Done"}
    >>> vk.read_events(log, columns=columns, tz="Europe/Berlin")[["message_id", "state", "happened_at"]]
      message_id      state               happened_at
    0          a   accepted 2024-07-01 10:00:05+00:00
    1          a  delivered 2024-07-01 10:00:07+00:00
    """
    log = LogFormat(columns, states, tz, provider, ids, time_format)
    if isinstance(source, pd.DataFrame):
        events, skipped, records = _read_tidy((source, np.arange(1, len(source) + 1), []), log)
    elif hasattr(source, "__arrow_c_stream__"):
        events, skipped, records = _read_tidy(_from_arrow(source), log)
    elif isinstance(source, str | os.PathLike):
        events, skipped, records = _read_file(Path(source), log)
    elif not isinstance(source, Iterable) or (isinstance(source, Mapping) and not log.is_foreign):
        raise TypeError(f"read_events: expected a path, a DataFrame or a list of records, not {type(source).__name__}")
    elif log.is_foreign:
        values = enumerate([source] if isinstance(source, Mapping) else source, 1)
        events, skipped, records = _read_tidy(log.records_of(values), log)
    else:
        events, skipped, records = _to_frame(read_objects(source), log)
    events["message_id"] = log.normalize_ids(events["message_id"])
    inbound = pd.Series(False, index=events.index)
    if "inbound" in events:
        inbound |= events.pop("inbound").map(lambda flag: str(flag).lower() == "true").astype(bool)
    if replied := [entry["message_id"] for entry in skipped if "message_id" in entry]:
        inbound |= events["message_id"].isin(replied)
    if inbound.any():
        events["inbound"] = inbound
    events.attrs |= log.attrs | {"skipped": SkippedRows(skipped)}
    coarse = {state: size / SECOND for (_, state), size in resolutions(events).items() if size >= SECOND}
    if coarse:
        events.attrs["resolution_s"] = coarse
    if skipped:
        text = (
            f"{len(skipped):,} of {max(records, len(skipped)):,} records could not be read and were skipped; "
            f"see events.attrs['skipped']: line {skipped[0]['line']}: {skipped[0]['reason']}"
        )
        warnings.warn(text, SkippedRowsWarning, stacklevel=2)
    if log.remarks:
        warnings.warn("; ".join(log.remarks), UncertainTimesWarning, stacklevel=2)
    mapped = events["state"][~inbound] if log.is_foreign or log.states else events["state"][:0]
    counts = mapped.astype("str").value_counts()
    counts = counts.groupby(names := counts.index.map(fold_name)).transform("sum")[~names.duplicated()]
    unknown = {text: n for text, n in counts.items() if text not in ORDER and is_of_message(str(text))}
    if unknown:
        listed = ", ".join(f"{quote(state)} ({n:,})" for state, n in [*unknown.items()][:20])
        text = f"{len(unknown):,} states are not known: {listed}; pass what they mean as "
        text += f"states={{{quote(next(iter(unknown)))}: …}}, each one of {', '.join(ORDER[:8])}"
        warnings.warn(text, UnknownStatesWarning, stacklevel=2)
    return events


def _read_file(path: Path, log: LogFormat) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    with _plain_file(path) as (plain, damage):
        with plain.open("rb") as file:
            head = file.read(_HEAD)
        extension = re.sub(r"\.(gz|bz2|zst|zip)$", "", path.name.lower()).rpartition(".")[2]
        text = head.decode("utf-8-sig", "replace").lstrip()
        delimiter = _delimiter("".join(text.splitlines()[:1]), log.is_foreign or extension in ("csv", "tsv"))
        tidy: Table | None
        if head.startswith(b"PAR1") or extension in ("parquet", "pq"):
            tidy = _read_parquet(plain, path.name)
        elif log.is_foreign and text.startswith(("{", "[")) and extension not in ("csv", "tsv"):
            tidy = log.read_json(plain)
        elif delimiter:
            tidy = _read_csv(plain, delimiter, log)
        else:
            tidy = _read_tidy_lines(plain, log)
        events, skipped, records = _read_tidy(tidy, log) if tidy else _to_frame(read_lines(plain), log)
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
            head = file.read(_HEAD)
        if compression := next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None):
            path, damage = _decompress(path, compression, copy.with_suffix(".plain"))
            with path.open("rb") as file:
                head = file.read(_HEAD)
        if not head.startswith(b"PAR1") and (codec := unicode_codec(head)).startswith("utf-16"):
            data = path.read_bytes()
            text = data[: len(data) // 2 * 2].decode(codec, "surrogatepass")
            path = copy.with_suffix(".utf-8")
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield path, damage


def _decompress(path: Path, kind: str, target: Path) -> tuple[Path, str]:
    """Write what a compressed file contains; why it could not be read to its end, "" if it could."""
    source: Any = None
    with path.open("rb") as file, target.open("wb") as copy:
        while True:
            try:
                source = source or (_only_member(file) if kind == "zip" else pa.CompressedInputStream(file, kind))
                block = source.read1(1 << 16)  # what precedes the damage counts
            except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile, pa.ArrowException) as error:
                return target, str(error)
            if not block:
                return target, ""
            copy.write(block)


def _only_member(file: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    if {"[Content_Types].xml", "content.xml"} & {*names}:
        raise UnreadableRecord("file: a workbook of Excel or LibreOffice; save the sheet as CSV in UTF-8")
    if len(names) != 1:
        raise UnreadableRecord(f"file: a ZIP archive of {len(names)} files; extract the file of events")
    return archive.open(names[0])


def _to_frame(parsed: ParsedEvents, log: LogFormat) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    frame = parsed.events.to_pandas()
    frame["state"] = _parse_states(frame["state"], log)
    if log.tz and frame["naive"].any():
        naive = frame["naive"].to_numpy()
        frame["happened_at"], frame["naive"] = _localize(frame["happened_at"], naive, "happened_at", log)
    skipped = sorted(parsed.skipped, key=lambda entry: entry["line"])
    return EVENTS.frame(frame), skipped, parsed.records


def _parse_states(states: pd.Series[Any], log: LogFormat) -> pd.Series[Any]:
    """States in the names of any dialect or of the log, to a category of states."""
    names = states.cat.categories.map(log.parse_state)
    return recode(states, names.unique(), names)


# --- tidy events -------------------------------------------------------------------------------------

_REQUIRED = ("message_id", "state", "happened_at")
_PLAIN = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?"
_VARIANTS = (  # of ISO 8601, and what to replace them by
    (r"^(\d{4})/(\d\d)/(\d\d)([T ])", r"\1-\2-\3\4"),
    (r"^(\d{4}-.*\d)\s*(?i:UTC|GMT|Z)$", r"\1Z"),
    (r"^(\d{4}-.*[T ].*\d)\s+([+-]\d\d:?\d\d)(?: [A-Z]+)?$", r"\1\2"),
)
_EPOCH = r"(?:\d{9,10}|\d{12,13}|\d{15,16}|\d{18,19})(?:\.\d+)?"
_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "µs": 1_000, "ns": 1}  # of numbers since 1970, in nanoseconds
_RFC_2822 = re.compile(r"([A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} ")
_FLOAT_ID = r"\d+(?:\.\d+[eE][+-]?|[eE]\+)\d+"  # not 12e4, which may be a hexadecimal number
_ZONED = r"(?:Z|[+-]\d\d:?\d\d)$"
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799  # the years 1 to 9999
_SHORT = 25  # characters; a number that went through a float has less
_EXACT = 2**53  # floats below this number hold every whole number

_ROUNDED = ": a float has lost its last digits; read the column as text, e.g. with dtype=str"
_INVALID = re.compile("[\0\ud800-\udfff]")  # a surrogate stands for a byte that is not UTF-8


def _read_parquet(path: Path, name: str) -> Table:
    from pyarrow import parquet

    errors = (pa.ArrowException, ValueError, LookupError, OSError)
    try:
        with suppress(*errors):
            frame = pd.read_parquet(path)
            if "message_id" not in frame or frame["message_id"].dtype.kind != "f":
                return frame, np.arange(1, len(frame) + 1), []
        return _from_arrow(parquet.read_table(path))
    except errors as error:
        raise UnreadableRecord(f"file: {quote(name)} cannot be read as Parquet: {error}") from None


def _from_arrow(source: Any) -> Table:
    """A table as a frame; pandas alone refuses some categories and zones, and rounds integers with nulls."""
    columns = {}
    try:
        table = pa.table(source)
        for name, values in zip(table.column_names, table.columns, strict=True):
            dtype = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
            if pa.types.is_timestamp(dtype) and dtype.tz:
                dtype = pa.timestamp(dtype.unit, "UTC")
            if pa.types.is_integer(dtype) and values.null_count:
                dtype = pa.large_string()
            try:
                columns[name] = values.cast(dtype).to_pandas()
            except pa.ArrowNotImplementedError:  # Arrow decodes no categories of views, in which polars stores texts
                columns[name] = pd.Series(values.to_pylist(), dtype=object)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise UnreadableRecord(f"table: a column has a type that cannot be read; cast it to text: {error}") from None
    require(pd.DataFrame(columns=table.column_names), (), "read_events")
    return pd.DataFrame(columns), np.arange(1, len(table) + 1), []


def _delimiter(header: str, guess: bool) -> str | None:
    """The delimiter that separates the required columns in the first line of a CSV file; None if there is none.

    If ``guess``, the most frequent one for other columns.
    """
    names = {delimiter: {name.strip('" ') for name in header.split(delimiter)} for delimiter in ",;\t|"}
    tidy = next((delimiter for delimiter in names if names[delimiter] >= {*_REQUIRED}), None)
    return tidy or (max(names, key=lambda delimiter: len(names[delimiter])) if guess else None)


def _read_csv(path: Path, delimiter: str, log: LogFormat) -> Table:
    """Read a CSV in bulk, or row by row if a row is irregular or longer than a line."""
    from pyarrow import csv as bulk

    data = _to_utf8(path.read_bytes(), log)
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
    return _read_irregular_csv(data, delimiter)


def _to_utf8(data: bytes, log: LogFormat) -> bytes:
    """Text in UTF-8 as it is, and also if only some bytes are not; text of one byte per character converted."""
    with suppress(UnicodeDecodeError):
        data.decode()
        return data
    if not data.decode("utf-8", "ignore").isascii():
        return data
    special = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_HEAD]
    log.attrs["encoding"] = guess_code_page(special)
    return data.decode(log.attrs["encoding"], "replace").encode()


def _read_irregular_csv(data: bytes, delimiter: str) -> Table:
    """Read a CSV row by row; rows of another length and rows that are not CSV or not UTF-8 are skipped."""
    texts = list(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="surrogateescape", newline=""))
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


def _read_tidy_lines(path: Path, log: LogFormat) -> Table | None:
    """Read JSON Lines of tidy events; None if the first line is not such an event."""
    with path.open("rb") as file, suppress(UnreadableRecord):
        record = parse(next((line for line in file if line.strip()), b""))
        return log.read_json(path) if isinstance(record, Mapping) and {*_REQUIRED} <= {*record} else None
    return None


def _read_tidy(table: Table, log: LogFormat) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    """Convert tidy events to their dtypes; rows with a value that cannot be converted are skipped."""
    given, lines, skipped = table
    require(given, (), "read_events")
    frame, lines = log.to_events(given, lines)
    require(frame, _REQUIRED, "read_events" if log.is_foreign else "read_events (pass columns={…} for other names)")
    frame = frame.reset_index(drop=True)
    errors: dict[int, str] = {}
    naive = np.zeros(len(frame), dtype=bool)
    for name in frame.columns:
        dtype = EVENTS[name].dtype if name in EVENTS.names else "str" if frame[name].dtype == "str" else ""
        invalid = dict[int, str]()
        if dtype == INSTANT:
            frame[name], no_zone, invalid = _parse_instants(frame[name], name, log)
            naive |= no_zone & (name == "happened_at")
        elif dtype == "bool":
            frame[name], invalid = _parse_flags(frame[name], name)
        elif dtype:
            frame[name], invalid = _parse_texts(frame[name], name)
        elif pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
            frame[name], _, invalid = _parse_instants(frame[name], name, LogFormat())
        errors = invalid | errors
    ids = frame["message_id"].astype("str")
    short = ids[np.asarray(pc.fill_null(pc.less(pc.binary_length(pa.array(ids)), _SHORT), False))]
    for row in short.index[short.str.fullmatch(_FLOAT_ID).to_numpy(dtype=bool)]:
        errors.setdefault(row, f"message_id: {quote(short[row])} is not an id{_ROUNDED}")
    frame["naive"] = naive | frame["naive"] if "naive" in frame else naive
    for name in ("state", "message_id", "happened_at"):
        for row in np.flatnonzero(frame[name].isna()).tolist():
            errors.setdefault(row, f"{name}: is missing")
    rows = frame[[*_REQUIRED]]
    skipped = skipped + [
        skip(int(lines[row]), UnreadableRecord(reason), rows.loc[row].dropna().to_dict())
        for row, reason in sorted(errors.items())
    ]
    frame["state"] = _parse_states(EVENTS["state"].cast(frame["state"]), log)
    if errors:
        frame = frame.drop(index=list(errors)).reset_index(drop=True)
    frame.attrs = {}
    return EVENTS.frame(frame), sorted(skipped, key=lambda entry: entry["line"]), len(lines) + len(table[2])


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
            parsed.append(_to_text(item, types))
        except (ValueError, OverflowError):
            parsed.append(None)
            value = quote(item) if isinstance(item, str | bytes | float) else f"a value of type {type(item).__name__}"
            rounded = _ROUNDED if isinstance(item, float) and abs(item) >= _EXACT else ""
            errors[row] = f"{name}: {value} is neither a text in UTF-8 nor a whole number{rounded}"
    return pd.Series(parsed, index=values.index, dtype="str"), errors


def _to_text(value: Any, types: tuple[type, ...]) -> str | None:
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value.encode().decode()
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, types):
        return np.format_float_positional(value, trim="-") if isinstance(value, float) else str(value)
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


def _parse_instants(values: pd.Series[Any], name: str, log: LogFormat) -> tuple[pd.Series[Any], Any, dict[int, str]]:
    """Parse texts as instants, the plain ones in bulk; which had no zone; and for each unreadable row the reason."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        per_second = pd.Timedelta("1s") // pd.Timedelta(1, unit=values.dt.unit)
        ticks, known = values.astype("int64").to_numpy(), values.notna().to_numpy()
        invalid = known & ((ticks < _FIRST_S * per_second) | (ticks > _LAST_S * per_second))
        rows = np.flatnonzero(invalid).tolist()
        errors = dict.fromkeys(rows, f"{name}: is not within the years 1 to 9999")
        instants, naive = values.mask(invalid) if rows else values, known & (values.dt.tz is None)
        return *_localize(instants, naive, name, log), errors
    texts, errors = _parse_texts(values, name, datetime, float)
    plain = texts.str.fullmatch(_PLAIN).fillna(False).to_numpy(dtype=bool)
    if not plain.all():
        for pattern, replacement in _VARIANTS:
            texts = texts.str.replace(pattern, replacement, regex=True)
        plain = texts.str.fullmatch(_PLAIN).fillna(False).to_numpy(dtype=bool)
    instants = pd.to_datetime(texts.where(plain), utc=True, format="ISO8601", errors="coerce").astype(INSTANT)
    naive = plain & ~texts.str.contains(_ZONED).fillna(False).to_numpy(dtype=bool)
    if not plain.all():
        numbers = texts[texts.str.fullmatch(_EPOCH).fillna(False)]
        digits = numbers.str.replace(r"\..*", "", regex=True)
        units = digits.str.len().map(lambda count: [*_UNITS][(count - 9) // 3])
        whole, nanoseconds = digits.astype("int64"), units.map(_UNITS)
        fraction = (numbers.astype("float64") - whole) * nanoseconds / 1_000
        micros = whole * nanoseconds // 1_000 + fraction.round().astype("int64")
        instants[numbers.index] = pd.to_datetime(micros, unit="us", utc=True).astype(INSTANT)
        if counts := units.value_counts().to_dict():
            log.attrs.setdefault("epoch_units", {})[name] = counts
        if len(counts) > 1:
            log.remarks.append(f"{name} has numbers since 1970 in several units, by their size: {counts}")
    for row in np.flatnonzero(instants.isna() & texts.notna()).tolist():
        text = texts.iloc[row]
        try:
            rfc_2822 = parse_http_date(text) if _RFC_2822.match(text) else None
            parsed, naive[row] = (rfc_2822, False) if rfc_2822 else parse_instant(text, name)
            instants.iloc[row] = pd.Timestamp(parsed)
        except UnreadableRecord as error:
            remedy = "; pass time_format, e.g. '%d.%m.%Y %H:%M'" if re.match(r"\d{1,4}[./-]\d", text) else ""
            errors[row] = f"{error}{remedy}"
            naive[row] = False
    return *_localize(instants, naive, name, log), errors


def _localize(values: pd.Series[Any], naive: Any, name: str, log: LogFormat) -> tuple[pd.Series[Any], Any]:
    """Local times, where ``naive``, as instants; those that occur twice or not at all remain marked."""
    if not log.tz or not naive.any():
        return values, naive
    result: pd.Series[Any] = EVENTS["happened_at"].cast(values)
    local = result[naive].dt.tz_localize(None)

    def localize(**options: Any) -> Any:
        first = {"ambiguous": np.ones(len(local), dtype=bool), "nonexistent": "shift_forward"}
        return local.dt.tz_localize(log.tz, **first | options)

    marked = naive.copy()
    twice, never = localize(ambiguous="NaT").isna(), localize(nonexistent="NaT").isna()
    marked[naive] = twice | never
    for rows, what in ((twice, "occur twice; the first is taken"), (never, "do not exist; the next is taken")):
        if rows.any():
            log.remarks.append(f"{name}: {rows.sum():,} local times in {log.tz} {what}, and naive is true for them")
    utc = localize().dt.tz_convert("UTC").astype(INSTANT).reindex(result.index)
    return result.where(~naive, utc), marked
