"""Events from files and records: JSON Lines of answers and callbacks in any dialect, or tidy Parquet and CSV."""

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

from viberkit.errors import UnreadableRecord
from viberkit.frames.columns import EVENTS, INSTANT, require
from viberkit.frames.jsonlines import Read, read_lines, read_objects
from viberkit.models.content import read_object
from viberkit.models.parsing import excerpt, parse, parse_instant
from viberkit.models.states import parse_state

__all__ = ["SkippedRows", "SkippedRowsWarning", "read_events"]


class SkippedRowsWarning(UserWarning):
    """Some records could not be read; the others were."""


class SkippedRows(list[dict[str, Any]]):
    """What could not be read: ``line`` (from 1), ``field``, ``reason`` and the beginning of the ``text``.

    A list, so that it can be saved with the frame. pandas copies ``attrs`` at every step; this is never
    changed, so it need not be copied.
    """

    def __deepcopy__(self, memo: object) -> SkippedRows:
        return self


def read_events(source: str | os.PathLike[str] | pd.DataFrame | Iterable[Any]) -> pd.DataFrame:
    """Events from a file or from records, one row an event, in the order of the source.

    ``source`` is one of

    - a file of JSON Lines (also ``.gz``): histories in every dialect, status answers, answers to sends that tell
      an instant, status callbacks, mixed as they come;
    - a ``.parquet`` or ``.csv`` file of tidy events, such as ``events.to_parquet(…)`` writes, or such a frame, or
      JSON Lines of them (``events.to_json(…, orient="records", lines=True, date_format="iso", date_unit="us")``):
      at least ``message_id``, ``state`` and ``happened_at``; columns of your own stay;
    - records parsed already: an iterable of mappings.

    Columns: those of ``viberkit.frames.columns.EVENTS``, each with its dtype also when there is no event. A state never
    seen before keeps its text; an instant without a zone is taken as UTC and marked ``naive``.

    One unreadable line or event stops nothing: it is skipped, with a single :class:`SkippedRowsWarning`, in
    ``events.attrs["skipped"]``: a list of ``line`` (from 1), ``field``, ``reason`` and ``text`` (its beginning,
    phone numbers masked). Each item of a history is one record, any other line is one, and each is either a row
    or skipped; blank lines and empty histories are neither.

    Raises ``OSError`` where the file cannot be opened, :class:`~viberkit.errors.UnreadableRecord` where a Parquet
    or CSV file is not one, :class:`~viberkit.errors.MissingColumn` where a tidy source lacks a column.

    >>> events = read_events([{"messageId": "8fb360a1", "history": [
    ...     {"happendAt": "2020-07-13T12:19:17.606Z", "state": "message-accepted"},
    ...     {"happendAt": "2020-07-13T12:19:18.967Z", "state": "message-delivered", "deliveryChannel": "viber"}]}])
    >>> events[["message_id", "state", "channel"]]
      message_id      state channel
    0   8fb360a1   accepted     NaN
    1   8fb360a1  delivered   viber
    """
    if isinstance(source, pd.DataFrame):
        events, aside = _tidy(source, np.arange(1, len(source) + 1))
        records = len(source)
    elif isinstance(source, str | os.PathLike):
        events, aside, records = _read_file(Path(source))
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise TypeError(f"read_events: a path or a list of records is needed, not {type(source).__name__}")
    else:
        events, aside, records = _frame(read_objects(source))
    events.attrs["skipped"] = SkippedRows(aside)
    if aside:
        _warn(aside, records)
    return events


def _warn(aside: list[dict[str, Any]], records: int) -> None:
    first = aside[0]
    text = (
        f"{len(aside):,} of {max(records, len(aside)):,} records could not be read and were skipped; "
        f"see events.attrs['skipped']: line {first['line']}: {first['reason']}"
    )
    warnings.warn(text, SkippedRowsWarning, stacklevel=3)


def _read_file(path: Path) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind in ("parquet", "pq"):
        try:
            given = pd.read_parquet(path)
        except (pa.ArrowException, ValueError) as fault:
            raise UnreadableRecord(f"{path.name}: is not a Parquet file: {fault}") from None
        return (*_tidy(given, np.arange(1, len(given) + 1)), len(given))
    with _plain(path) as (plain, cut):
        tidy = _read_csv(plain, path.name) if kind == "csv" else _read_tidy_lines(plain)
        if tidy is not None:
            given, lines, aside = tidy
            events, more = _tidy(given, lines)
            aside, records = sorted(aside + more, key=lambda one: one["line"]), len(given) + len(aside)
        else:
            events, aside, records = _frame(read_lines(plain))
    if cut:
        line = aside[-1]["line"] if aside else records + 1
        aside = [*aside, {"line": line, "field": "file", "reason": f"file: the gzip ends early: {cut}", "text": ""}]
        records += 1
    return events, aside, records


@contextmanager
def _plain(path: Path) -> Iterator[tuple[Path, str]]:
    """The file itself, or what a gzip holds, unpacked for a while; and why it could not be unpacked to its end."""
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            yield path, ""
            return
    with tempfile.TemporaryDirectory() as folder:
        plain, cut = Path(folder) / "plain", ""
        with plain.open("wb") as unpacked, gzip.open(path) as packed:
            try:
                while read := packed.read1(1 << 16):  # what comes before a break counts
                    unpacked.write(read)
            except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
                cut = str(fault)
        yield plain, cut


def _frame(read: Read) -> tuple[pd.DataFrame, list[dict[str, Any]], int]:
    """Columns as Arrow has them, to a frame."""
    made: dict[str, Any] = {}
    for name, column in read.columns.items():
        if name in read.texts:
            dtype = pd.CategoricalDtype(pd.Index(read.texts[name], dtype="str"))
            made[name] = pd.Categorical.from_codes(column.to_numpy(), dtype=dtype, validate=False)
        elif pa.types.is_timestamp(column.type):
            made[name] = pd.DatetimeIndex(column.to_numpy()).tz_localize("UTC")
        else:
            made[name] = pd.array(column, dtype="str") if column.type == pa.large_string() else column.to_numpy(False)
    rows = len(read.columns["message_id"])
    never = pd.DatetimeIndex(np.full(rows, "NaT", dtype="datetime64[us]")).tz_localize("UTC")
    made |= dict.fromkeys(("received_at", "observed_until", "not_before"), never)
    return EVENTS.frame(pd.DataFrame(made, copy=False)), read.aside, read.records


# --- tidy events -------------------------------------------------------------------------------------

_NEEDED = ("message_id", "state", "happened_at")
_PLAIN = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?"
_ZONED = r"(?:Z|[+-]\d\d:?\d\d)$"


def _read_csv(path: Path, name: str) -> tuple[pd.DataFrame, Any, list[dict[str, Any]]]:
    """A CSV as texts, the line numbers, and the rows that have too many or too few fields."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            given = pd.read_csv(
                path, dtype="str", keep_default_na=False, na_values=[""], encoding_errors="replace", index_col=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError):
        return _read_ragged(path, name)
    return given, np.arange(2, len(given) + 2), []


def _read_ragged(path: Path, name: str) -> tuple[pd.DataFrame, Any, list[dict[str, Any]]]:
    """The same row by row, for a file that is not regular."""
    rows: list[list[str | None]] = []
    lines, aside = [], []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        table = csv.reader(line.replace("\0", "") for line in file)
        try:
            header = next(table, [])
            for row in table:
                if len(row) == len(header):
                    rows.append([text or None for text in row])
                    lines.append(table.line_num)
                elif row:
                    reason = f"record: has {len(row)} fields, not {len(header)}"
                    aside.append(
                        {"line": table.line_num, "field": "record", "reason": reason, "text": excerpt(",".join(row))}
                    )
        except csv.Error as fault:
            raise UnreadableRecord(f"{name}: is not a CSV file: line {table.line_num}: {fault}") from None
    return pd.DataFrame(rows, columns=pd.Index(header), dtype="str"), np.array(lines, dtype=np.int64), aside


def _read_tidy_lines(path: Path) -> tuple[pd.DataFrame, Any, list[dict[str, Any]]] | None:
    """Tidy events as JSON Lines, the line numbers, and the lines that are no objects; None where the first line is
    not such an event."""
    rows: list[Mapping[str, Any]] = []
    lines, aside = [], []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if not rows and not all(b'"%b"' % name.encode() in line for name in _NEEDED):
                return None
            try:
                record = read_object(parse(line))
            except UnreadableRecord as fault:
                if not rows:
                    return None
                text = excerpt(line.decode("utf-8", "replace").strip())
                aside.append({"line": number, "field": "record", "reason": str(fault), "text": text})
                continue
            if not rows and not {*_NEEDED} <= {*record}:
                return None
            rows.append(record)
            lines.append(number)
    if not rows:
        return None
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=object if name in EVENTS.names else None)
        for name in names
    }
    return pd.DataFrame(columns), np.array(lines, dtype=np.int64), aside


def _tidy(given: pd.DataFrame, lines: Any) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Tidy events with their dtypes; rows without an id, a state or an instant are set aside."""
    require(given, _NEEDED, "read_events")
    frame = given.reset_index(drop=True)
    aside: list[dict[str, Any]] = []
    for name in ("happened_at", "received_at", "observed_until", "not_before"):
        if name in frame and not pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
            frame[name], naive, faults = _instants(frame[name], name)
        else:
            naive, faults = np.full(len(frame), name in frame and frame[name].dt.tz is None), {}
        if name == "happened_at":
            said = frame["naive"] if "naive" in frame else pd.Series(False, index=frame.index)
            frame["naive"] = EVENTS["naive"].cast(said).to_numpy() | (naive & frame[name].notna().to_numpy())
            reasons = faults
    for name in ("state", "message_id", "happened_at"):
        frame[name] = frame[name] if name == "happened_at" else EVENTS[name].cast(frame[name])
        for place in np.flatnonzero(frame[name].isna()).tolist():
            reasons.setdefault(place, f"{name}: is missing")
    for place, reason in sorted(reasons.items()):
        text = excerpt(given.iloc[place].dropna().to_dict())
        aside.append({"line": int(lines[place]), "field": reason.partition(":")[0], "reason": reason, "text": text})
    states = frame["state"].cat.categories
    frame["state"] = (
        frame["state"].cat.rename_categories(dict(zip(states, map(parse_state, states), strict=True)))
        if (len(set(map(parse_state, states))) == len(states))
        else frame["state"].astype("str").map(parse_state, na_action="ignore")
    )
    if reasons:
        frame = frame.drop(index=list(reasons)).reset_index(drop=True)
    frame.attrs = {}
    return EVENTS.frame(frame), aside


def _instants(texts: pd.Series[Any], name: str) -> tuple[pd.Series[Any], Any, dict[int, str]]:
    """Texts as instants: the plain ones together, any other by the reference reader; which are naive; what failed."""
    said = texts.astype("str")
    plain = said.str.fullmatch(_PLAIN).fillna(False).to_numpy(dtype=bool)
    made = pd.to_datetime(said.where(plain), utc=True, format="ISO8601", errors="coerce").astype(INSTANT)
    naive = plain & ~said.str.contains(_ZONED).fillna(False).to_numpy(dtype=bool)
    faults = {}
    for place in np.flatnonzero(made.isna() & texts.notna()).tolist():
        try:
            read, naive[place] = parse_instant(texts.iloc[place], name)
            made.iloc[place] = pd.Timestamp(read)
        except UnreadableRecord as fault:
            faults[place] = str(fault)
    return made, naive, faults
