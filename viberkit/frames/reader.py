"""Events from files and records: JSON Lines of responses and callbacks in any dialect, or tidy Parquet and CSV."""

from __future__ import annotations

import csv
import gzip
import os
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

        - a file of JSON Lines, also compressed (``.gz``): histories in every dialect, status responses, responses to
          sends that contain an instant, and status callbacks, in any mixture;
        - a ``.parquet`` or ``.csv`` file of tidy events, such as ``events.to_parquet(…)`` writes; JSON Lines of tidy
          events (``events.to_json(…, orient="records", lines=True, date_format="iso", date_unit="us")``); or a frame
          of them. At least ``message_id``, ``state`` and ``happened_at`` are required; other columns are preserved;
        - responses and callbacks that are parsed already.

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
    TypeError
        If ``source`` is a single mapping or none of the above.

    Warns
    -----
    SkippedRowsWarning
        If records were skipped: one warning with their number and the first reason.

    Notes
    -----
    An unreadable line or event does not stop the reading. Each item of a history is a record, and so is any other
    line; each record becomes a row or an entry of ``attrs["skipped"]``. Blank lines and empty histories are neither.

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
    extension = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if extension in ("parquet", "pq"):
        try:
            frame = pd.read_parquet(path)
        except (pa.ArrowException, ValueError) as error:
            raise UnreadableRecord(f"{path.name}: is not a Parquet file: {error}") from None
        return (*_read_tidy(frame, np.arange(1, len(frame) + 1)), len(frame))
    with _decompressed(path) as (plain, damage):
        tidy = _read_csv(plain, path.name) if extension == "csv" else _read_tidy_lines(plain)
        if tidy is not None:
            frame, lines, skipped = tidy
            records = len(frame) + len(skipped)
            events, more = _read_tidy(frame, lines)
            skipped = sorted(skipped + more, key=lambda entry: entry["line"])
        else:
            events, skipped, records = _to_frame(read_lines(plain))
    if damage:
        line = skipped[-1]["line"] if skipped else records + 1
        reason = f"file: the gzip file is truncated or damaged: {damage}"
        skipped = [*skipped, {"line": line, "field": "file", "reason": reason, "text": ""}]
        records += 1
    return events, skipped, records


@contextmanager
def _decompressed(path: Path) -> Iterator[tuple[Path, str]]:
    """The file itself, or a temporary copy of what a gzip contains; and why that could not be read to its end."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            yield path, ""
            return
    with tempfile.TemporaryDirectory() as folder:
        plain, damage = Path(folder) / "plain", ""
        with plain.open("wb") as target, gzip.open(path) as archive:
            try:
                while block := archive.read1(1 << 16):  # what precedes the damage counts
                    target.write(block)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                damage = str(error)
        yield plain, damage


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

#: A frame of texts, the line number of each row, and the skipped lines.
_Tidy = tuple[pd.DataFrame, Any, list[dict[str, Any]]]


def _read_csv(path: Path, name: str) -> _Tidy:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            frame = pd.read_csv(
                path, dtype="str", keep_default_na=False, na_values=[""], encoding_errors="replace", index_col=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError):
        return _read_irregular_csv(path, name)
    return frame, np.arange(2, len(frame) + 2), []


def _read_irregular_csv(path: Path, name: str) -> _Tidy:
    """Read a CSV row by row; rows with too many or too few fields are skipped."""
    rows: list[list[str | None]] = []
    lines, skipped = [], []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        table = csv.reader(line.replace("\0", "") for line in file)
        try:
            header = next(table, [])
            for row in table:
                if len(row) == len(header):
                    rows.append([text or None for text in row])
                    lines.append(table.line_num)
                elif row:
                    error = UnreadableRecord(f"record: has {len(row)} fields, not {len(header)}")
                    skipped.append(skip(table.line_num, error, ",".join(row)))
        except csv.Error as error:
            raise UnreadableRecord(f"{name}: is not a CSV file: line {table.line_num}: {error}") from None
    return pd.DataFrame(rows, columns=pd.Index(header), dtype="str"), np.array(lines, dtype=np.int64), skipped


def _read_tidy_lines(path: Path) -> _Tidy | None:
    """Read JSON Lines of tidy events; None if the first line is not such an event."""
    rows: list[Mapping[str, Any]] = []
    lines, skipped = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if not rows and not all(b'"%b"' % name.encode() in line for name in _REQUIRED):
                return None
            try:
                record = parse(line)
                if not isinstance(record, Mapping):
                    raise UnreadableRecord(f"record: {quote(record)} is not a JSON object")  # noqa: TRY301
            except UnreadableRecord as error:
                skipped.append(skip(number, error, line.decode("utf-8", "replace").strip()))
                record = None
            if not rows and not (record and {*_REQUIRED} <= {*record}):
                return None
            if record is not None:
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
    """Convert tidy events to their dtypes; rows without an id, a state or an instant are skipped."""
    require(given, _REQUIRED, "read_events")
    frame = given.reset_index(drop=True)
    errors: dict[int, str] = {}
    for column in EVENTS:
        if column.dtype == INSTANT and column.name in frame:
            frame[column.name], naive, unreadable = _parse_instants(frame[column.name], column.name)
            if column.name == "happened_at":
                flag = frame["naive"] if "naive" in frame else pd.Series(False, index=frame.index)
                frame["naive"] = EVENTS["naive"].cast(flag).to_numpy() | naive
                errors = unreadable
    frame["state"] = EVENTS["state"].cast(frame["state"])
    frame["message_id"] = EVENTS["message_id"].cast(frame["message_id"])
    for name in ("state", "message_id", "happened_at"):
        for row in np.flatnonzero(frame[name].isna()).tolist():
            errors.setdefault(row, f"{name}: is missing")
    skipped = [
        skip(int(lines[row]), UnreadableRecord(reason), given.iloc[row].dropna().to_dict())
        for row, reason in sorted(errors.items())
    ]
    frame["state"] = _parse_states(frame["state"])
    frame = frame.drop(index=list(errors)).reset_index(drop=True)
    frame.attrs = {}
    return EVENTS.frame(frame), skipped


def _parse_instants(values: pd.Series[Any], name: str) -> tuple[pd.Series[Any], Any, dict[int, str]]:
    """Parse texts as instants, the plain ones in bulk; which had no zone; and for each unreadable row the reason."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values, (values.notna() & (values.dt.tz is None)).to_numpy(), {}
    texts = values.astype("str")
    plain = texts.str.fullmatch(_PLAIN).fillna(False).to_numpy(dtype=bool)
    instants = pd.to_datetime(texts.where(plain), utc=True, format="ISO8601", errors="coerce").astype(INSTANT)
    naive = plain & ~texts.str.contains(_ZONED).fillna(False).to_numpy(dtype=bool)
    errors = {}
    for row in np.flatnonzero(instants.isna() & values.notna()).tolist():
        try:
            parsed, naive[row] = parse_instant(values.iloc[row], name)
            instants.iloc[row] = pd.Timestamp(parsed)
        except UnreadableRecord as error:
            errors[row] = str(error)
            naive[row] = False
    return instants, naive, errors
