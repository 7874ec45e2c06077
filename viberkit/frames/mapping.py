"""Logs of other programs and providers as tidy events: their names of columns and states, and their layout."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from viberkit.errors import MissingColumn, UnreadableRecord, fold_name, quote, suggestion
from viberkit.frames.columns import EVENTS
from viberkit.frames.jsonlines import skip
from viberkit.models.parsing import parse
from viberkit.models.states import ORDER, parse_state

#: A frame of raw values, the line of each row, and the skipped lines.
Table = tuple[pd.DataFrame, Any, list[dict[str, Any]]]

_PROVIDERS = Path(__file__).with_name("providers.toml")
_WIDE = {f"{state}_at": state for state in ORDER}
_INSTANTS = ("happened_at", "received_at", "observed_until", "not_before", *_WIDE)
_NAMES = (*EVENTS.names, *_WIDE, "direction")
_IDS = ("exact", "strip", "fold")
_DEPTH = 8  # of nested objects whose fields become columns


class LogFormat:
    """How a log differs from tidy events in UTC, and what was noticed while it was read.

    The parameters are those of ``read_events``. ``remarks`` are texts for a warning, ``attrs`` those of the frame.
    """

    def __init__(
        self,
        columns: Any = None,
        states: Any = None,
        tz: Any = None,
        provider: Any = None,
        ids: str = "exact",
        time_format: Any = None,
    ) -> None:
        presets = tomllib.loads(_PROVIDERS.read_text()) if provider is not None else {}
        self.provider: dict[str, Any] = presets.get(fold_name(provider), {})
        if presets and not self.provider:
            raise _unknown("provider", provider, presets)
        if ids not in _IDS:
            raise _unknown("ids", ids, _IDS)
        try:
            pd.Timestamp(0, tz="UTC" if tz is None else tz or "none")
        except (LookupError, ValueError, OSError, TypeError):
            raise ValueError(f"tz: {tz!r} is not the name of a time zone; pass e.g. 'Europe/Berlin'") from None
        self.columns, self.tz = columns or {}, tz or self.provider.get("tz")
        self.ids, self.time_format = ids, time_format
        self.states = self.of_provider("states")
        for text, state in (states or {}).items():
            if parse_state(str(state), fold=True) not in ORDER:
                raise _unknown(f"states: {text!r}", state, ORDER)
            self.states[fold_name(text)] = parse_state(str(state), fold=True)
        self.is_foreign = bool(columns or provider)
        self.remarks, self.attrs = list[str](), dict[str, Any]()

    def of_provider(self, name: str) -> dict[str, Any]:
        """A table of the provider, with folded names."""
        return {fold_name(key): value for key, value in self.provider.get(name, {}).items()}

    def parse_state(self, text: str) -> str:
        """The state that a text means."""
        return self.states.get(fold_name(text)) or parse_state(text, fold=True)

    def normalize_ids(self, ids: pd.Series[Any]) -> pd.Series[Any]:
        """The ids as they are, without what surrounds them, or in one form."""
        if self.ids == "exact":
            return ids
        stripped = ids.str.strip(" \t\r\n\xa0{}\"'")
        return stripped if self.ids == "strip" else stripped.str.lower().str.replace(r"^0+(?=\d+$)", "", regex=True)

    def to_events(self, given: pd.DataFrame, lines: Any) -> tuple[pd.DataFrame, Any]:
        """One row per event in the columns of events, and the line of each."""
        frame = given.reset_index(drop=True)
        if self.is_foreign and not len(frame) and not len(frame.columns):
            return EVENTS.empty(), lines
        sources = self._sources([str(name) for name in frame.columns])
        if not sources:
            return given, lines
        columns: dict[str, Any] = {}
        for target, names in sources.items():
            for name in names:
                values = self._reformat(frame[name], name) if target in _INSTANTS else frame[name]
                known, meaning = columns.get(target), self.of_provider("proxies").get(fold_name(name))
                if target == "code" and "no_code" in self.provider:
                    values = values.mask(_texts(values).str.fullmatch(self.provider["no_code"]))
                if target == "happened_at" and meaning and "state" in columns:
                    values = values.where(columns["state"].notna() & (True if known is None else known.isna()))
                    if values.notna().any():
                        self.remarks.append(f"{name} is {meaning}; it is taken as the time of each state without one")
                columns[target] = values if known is None else known.astype(object).where(known.notna(), values)
        if "message_id" in columns and (recipient := _find([self.provider.get("recipient", "")], frame.columns)):
            columns["message_id"] = _distinguish(columns["message_id"], frame[recipient[0]])
        if "direction" in columns:
            columns["inbound"] = _texts(columns.pop("direction")).str.lower().str.startswith("inbound")
        used = {*columns, *(name for names in sources.values() for name in names)}
        columns |= {name: _infer(frame[name]) for name in frame.columns if name not in used}
        tidy, wide = pd.DataFrame(columns, index=frame.index), [name for name in _WIDE if name in sources]
        if not wide:
            return tidy, lines
        base = tidy.drop(columns=wide)
        whole = [base.assign(state=_WIDE[name], happened_at=tidy[name]) for name in wide]
        parts = [part[part["happened_at"].notna()] for part in whole]
        if {"state", "happened_at"} <= {*base.columns}:
            parts.insert(0, base[base[["state", "happened_at"]].notna().any(axis=1)])
        without = ~base.index.isin(np.concatenate([part.index for part in parts]))
        long = pd.concat([*parts, whole[0][without]]).sort_index(kind="stable")
        return long.reset_index(drop=True), np.asarray(lines)[long.index]

    def _sources(self, names: list[str]) -> dict[str, list[str]]:
        """For each column of events the columns of the log, in the order in which the first value counts."""
        given = {name: [name] for name in names if self.time_format and name in _INSTANTS}
        for key, value in self.columns.items():
            target, name = _target(key), value
            if value not in names or (key in names and not target and _target(value)):
                target, name = _target(value), key
            if name not in names or not (target or name == value):
                raise MissingColumn("read_events (columns)", [name if target else value], names)
            target = target or key
            if target in given:
                raise ValueError(f"columns: {given[target][0]!r} and {name!r} are both {target!r}; name one of them")
            given[target] = [name]
        taken = {name for theirs in given.values() for name in theirs}
        preset = {
            target: [name for name in _find(theirs, names) if name not in taken]
            for target, theirs in self.provider.get("columns", {}).items()
        }
        if not {"state", "happened_at"} <= {*names, *given, *(name for name in preset if preset[name])}:
            preset |= {name: [name] for name in names if name in _WIDE}
        return {target: theirs for target, theirs in (preset | given).items() if theirs}

    def _reformat(self, values: pd.Series[Any], name: str) -> pd.Series[Any]:
        """Times of another format as ISO 8601; what does not have that format remains as it is."""
        chosen = self.of_provider("time_formats").get(fold_name(name), self.time_format)
        if not chosen or pd.api.types.is_datetime64_any_dtype(values.dtype):
            return values
        has_zone = "%z" in chosen
        times = pd.to_datetime(_texts(values), format=chosen, errors="coerce", utc=has_zone)
        return values.astype(object).where(times.isna(), times.dt.strftime("%Y-%m-%dT%H:%M:%S.%f" + "Z" * has_zone))

    def records_of(self, values: Iterable[tuple[int, Any]]) -> Table:
        """The records in JSON values, each with its line, as rows; the fields of nested objects are joined by dots."""
        rows, lines, skipped = list[dict[str, Any]](), list[int](), list[dict[str, Any]]()
        paths = [path.split(".") for path in self.provider.get("records", ())]
        for line, value in values:
            for record in next((found for path in paths if (found := list(_nested(value, path)))), [value]):
                if isinstance(record, Mapping):
                    rows.append(dict(_fields(record) if self.is_foreign else record))
                    lines.append(line)
                else:
                    error = UnreadableRecord(f"record: {quote(record)} is not a JSON object")
                    skipped.append(skip(line, error, record))
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
        if not self.is_foreign:
            columns |= {name: _infer(values) for name, values in columns.items() if name not in EVENTS.names}
        return pd.DataFrame(columns, range(len(rows))), np.array(lines, dtype=np.int64), skipped

    def read_json(self, path: Path) -> Table:
        """The records of a file that is one JSON value, or has one in each line."""
        data, skipped, values = path.read_bytes(), list[dict[str, Any]](), list[tuple[int, Any]]()
        try:
            value = parse(data)
            values += enumerate(value, 1) if isinstance(value, list) else [(1, value)]
        except UnreadableRecord:
            for number, line in enumerate(data.split(b"\n"), 1):
                try:
                    values += [(number, parse(line))] if line.strip() else []
                except UnreadableRecord as error:
                    skipped.append(skip(number, error, line.decode("utf-8", "replace").strip()))
        frame, lines, more = self.records_of(values)
        return frame, lines, skipped + more


def _unknown(field: str, value: object, names: Iterable[str]) -> ValueError:
    return ValueError(f"{field}: {quote(value)} is not known; {suggestion(value, names)}pass one of {', '.join(names)}")


def _target(name: str) -> str | None:
    """The column of events that a name means: its own name, or a state for the column of its time."""
    return name if name in _NAMES else f"{state}_at" if (state := parse_state(name, fold=True)) in ORDER else None


def _find(wanted: Iterable[str], names: Iterable[Any]) -> list[str]:
    """Those of the names that are wanted, in the order in which they are wanted."""
    folded = {fold_name(name): name for name in names}
    return [folded[fold_name(name)] for name in wanted if fold_name(name) in folded]


def _distinguish(ids: pd.Series[Any], recipients: pd.Series[Any]) -> pd.Series[Any]:
    """The ids, followed by a digest of the recipient where several recipients have the same."""
    texts, numbers = _texts(ids), _texts(recipients)
    shared = numbers.groupby(texts).transform("nunique") > 1
    digests = numbers.map(lambda number: f"/{hashlib.sha256(number.encode()).hexdigest()[:8]}")
    return ids.astype(object).where(~shared, texts + digests)


def _infer(values: pd.Series[Any]) -> pd.Series[Any]:
    with suppress(UnicodeError):  # half a surrogate pair cannot be text
        return values.infer_objects()
    return values


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    """Values of any type as texts; missing ones are empty."""
    texts = values.map(lambda value: str(value).encode("utf-8", "replace").decode())
    return texts.astype("str").where(values.notna(), "")


def _nested(value: Any, path: list[str]) -> Iterator[Any]:
    """The values at a path of fields; a field that ends in ``[]`` holds a list of them."""
    if not path:
        yield value
    elif isinstance(value, Mapping) and (inner := value.get(path[0].removesuffix("[]"))) is not None:
        for item in inner if path[0].endswith("[]") and isinstance(inner, list) else [inner]:
            yield from _nested(item, path[1:])


def _fields(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        nested: Any = dict(enumerate(value[:1])) if isinstance(value, list) else value
        if isinstance(nested, Mapping) and prefix.count(".") < _DEPTH:
            yield from _fields(nested, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
