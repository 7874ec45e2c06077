"""Write the events and messages of an archive as Parquet files, by month and bucket."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from viberkit.analysis.ordering import NEVER, Ints, instants_of, microseconds, order_events
from viberkit.archive.archive import Archive
from viberkit.frames.columns import EVENTS
from viberkit.lake.event_log import INSTANTS
from viberkit.models.states import rank

_CONTENT = ["text", "content", "context"]
_BUCKETS = range(1, 1_001)
_SETTINGS = "viberkit-lake.json"


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote: ``events`` and ``messages`` of the archive, and the Parquet files written and unchanged."""

    folder: Path
    events: int
    messages: int
    written: int
    unchanged: int

    def __repr__(self) -> str:
        counts = f"{self.events:,} events of {self.messages:,} messages"
        return f"{counts} in {self.folder}: {self.written:,} files written, {self.unchanged:,} unchanged"

    def to_frame(self) -> pd.DataFrame:
        """Return the numbers as a frame of one row."""
        return pd.DataFrame([{name: getattr(self, name) for name in ("events", "messages", "written", "unchanged")}])


def export(
    archive: Archive, folder: str | Path, *, since: Any = None, unmask: bool = False, buckets: int = 16
) -> ExportResult:
    """Write the events and messages of an archive as Parquet files, for :class:`viberkit.EventLog`.

    Exporting again replaces the files whose messages changed, and adds late events; it may be interrupted at any time
    and repeated. Messages that the archive does not have, such as those of another archive, stay in the folder.

    Parameters
    ----------
    archive : Archive
        The archive.
    folder : str or Path
        The folder; it is created if it is missing.
    since : instant, optional
        Only messages whose first event is at or after this instant; of others, only the ids are read. By default all.
    unmask : bool, default False
        Whether to write full phone numbers, and the contents of the messages, which are otherwise left out.
    buckets : int, default 16
        The number of files for each month, so that each fits into memory; fixed by the first export to a folder.

    Returns
    -------
    ExportResult
        The numbers of events and messages, and of files written and unchanged.

    Raises
    ------
    ValueError
        If the folder has another number of buckets.

    See Also
    --------
    EventLog : Reads the files.

    Notes
    -----
    ``events/month=2026-01/bucket=03/events.parquet`` has the columns of ``archive.events()``, with instants as whole
    microseconds since 1970 (``happened_us``), and the ranks of states and sources as integers. The bucket is the CRC-32
    of the message id modulo their number. Events that are not of sent messages are left out.

    Some thousand messages are read at a time, and divided into temporary files, from which one file of the folder after
    the other is written. What arrives meanwhile may be left out; the next export has it. Exports of different archives
    to one folder have to run one after the other.

    Examples
    --------
    >>> with vk.Archive("deliveries.db", create=True) as archive:
    ...     vk.export(archive, "lake").events
    0
    """
    folder = Path(folder)
    count = _number_of_buckets(folder, buckets)
    limit = int(EVENTS["happened_at"].cast(pd.Series([since], dtype=object)).astype("int64")[0])
    rows = {"events": 0, "messages": 0}
    with tempfile.TemporaryDirectory(prefix="viberkit-") as temporary:
        parts = Path(temporary)
        for number, (messages, events) in enumerate(archive._parts(since and limit, unmask=unmask)):
            others = order_events(events, "export").others
            events = events.drop(index=others.index).dropna(subset=["happened_at"])
            first = events.groupby("message_id", observed=True)["happened_at"].min()
            if since is not None:
                events = events[events["message_id"].isin(first.index[first.astype("int64") >= limit])]
                messages = messages[messages["message_id"].isin(events["message_id"])]
            # The month of a message that has neither time is that of its first event.
            began = messages["accepted_at"].fillna(messages["sent_at"])
            began = began.fillna(first.reindex(messages["message_id"]).set_axis(began.index))
            known = messages[began.notna()].drop(columns=[] if unmask else _CONTENT)
            for name, table, at in (
                ("events", _event_table(events), instants_of(events, "happened_at")),
                ("messages", _table(known), microseconds(began.dropna())),
            ):
                _divide(table, at, count, parts / name, f"{number:08}.parquet")
                rows[name] += table.num_rows
        outcomes = [changed for name in rows for changed in _write_parts(folder / name, parts / name, count)]
    return ExportResult(folder, rows["events"], rows["messages"], sum(outcomes), len(outcomes) - sum(outcomes))


def _number_of_buckets(folder: Path, buckets: int) -> int:
    path = folder / _SETTINGS
    if buckets not in _BUCKETS:
        raise ValueError(f"buckets: {buckets!r} is not a number from 1 to {_BUCKETS[-1]:,}; pass e.g. 16")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda temporary: temporary.write_text(json.dumps({"buckets": buckets})))
    try:
        stored = _BUCKETS[_BUCKETS.index(json.loads(path.read_text())["buckets"])]
    except (ValueError, LookupError, TypeError):
        raise ValueError(f'export: {str(path)!r} has no valid number of buckets, such as {{"buckets": 16}}') from None
    if buckets not in (16, stored):  # 16 is the default
        raise ValueError(f"buckets: {buckets} differs from the {stored} of {str(folder)!r}; leave it out")
    return stored


def _event_table(events: pd.DataFrame) -> pa.Table:
    """Events with instants as integers, and with ranks."""
    table = _table(events.drop(columns=[*INSTANTS.values()], errors="ignore"))
    columns = {name: instants_of(events, column) for name, column in INSTANTS.items() if column in events}
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, mask=values == NEVER))
    states, sources = events["state"].astype("str"), events["source"].astype("str").str.split("+").str[0]
    table = table.append_column("state_rank", pa.array(states.map(rank).astype("int32"), from_pandas=True))
    ranks = sources.map({source: index for index, source in enumerate(EVENTS["source"].categories)})
    return table.append_column("source_rank", pa.array(ranks.astype("Int32"), from_pandas=True))


def _table(frame: pd.DataFrame) -> pa.Table:
    """A table with texts in place of categories."""
    texts = {name: "str" for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)}
    table = pa.Table.from_pandas(frame.astype(texts), preserve_index=False).replace_schema_metadata()
    fields = [(f.name, pa.string() if f.type == pa.large_string() else f.type) for f in table.schema]
    return table.cast(pa.schema(fields))


def _divide(table: pa.Table, at: Ints, buckets: int, parts: Path, file: str) -> None:
    """Write the rows of each month and bucket to a temporary file."""
    months = at.astype("datetime64[us]").astype("datetime64[M]").astype(str)
    bucket = [zlib.crc32(text.encode()) % buckets for text in table["message_id"].to_pylist()]
    names = [f"month={month}/bucket={number:03}" for month, number in zip(months, bucket, strict=True)]
    codes, unique = pd.factorize(np.array(names, dtype=object))
    for code, name in enumerate(unique):
        (parts / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array(codes == code)), parts / name / file)


def _write_parts(root: Path, parts: Path, buckets: int) -> Iterator[bool]:
    """Write each month and bucket with new, changed or moved rows; yield whether each file changed."""
    for number in range(buckets):
        pattern = f"month=*/bucket={number:03}/*.parquet"
        names = {path.parent.relative_to(base).as_posix() for base in (root, parts) for path in base.glob(pattern)}
        written = [pq.ParquetFile(path).read(["message_id"])[0].combine_chunks() for path in parts.glob(pattern)]
        ids = pa.concat_arrays([*written, pa.array([], pa.string())])
        for name in sorted(names):
            path = root / name / f"{root.name}.parquet"
            tables = [pq.ParquetFile(part).read() for part in sorted((parts / name).glob("*.parquet"))]
            is_new = not path.exists()
            if not is_new:
                is_exported = pc.is_in(pq.ParquetFile(path).read(["message_id"])["message_id"], value_set=ids)
                if not tables and not pc.any(is_exported).as_py():
                    yield False
                    continue
                stored = pq.ParquetFile(path).read()
                tables.append(stored.filter(pc.invert(is_exported)))
            part = pa.concat_tables(tables, promote_options="permissive")
            keys = [key for key in ("message_id", "happened_us", "state_rank", "state") if key in part.column_names]
            part = part.sort_by([(key, "ascending") for key in keys]).combine_chunks()
            changed = is_new or not stored.combine_chunks().equals(part)
            if changed:
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, partial(pq.write_table, part, compression="zstd"))
            yield changed


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file by what ``write`` writes to a path; a process that is killed leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
