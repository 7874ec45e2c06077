"""What a frame's schema is: columns with names, dtypes and meanings, and how whatever comes in gets these dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd

from viberkit.errors import MissingColumn

__all__ = ["INSTANT", "Column", "Schema", "require"]

#: The dtype of every instant.
INSTANT: Final = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its dtype, what it means, its unit, and, for a category, the words that come first."""

    name: str
    dtype: str
    meaning: str
    unit: str = ""
    words: tuple[str, ...] = ()

    def cast(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """The values with exactly this column's dtype; what cannot be read so is a ``ValueError`` that names it."""
        try:
            made = _category(values, self.words) if self.dtype == "category" else _CASTS[self.dtype](values)
        except (ValueError, TypeError, OverflowError) as fault:
            raise ValueError(f"{self.name}: cannot be read as {self.dtype}: {fault}") from None
        return made.rename(self.name)


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one kind of frame, in order.

    >>> from viberkit.frames.columns import EVENTS, TRANSITIONS
    >>> EVENTS.empty().dtypes["happened_at"]
    datetime64[us, UTC]
    >>> TRANSITIONS.names[:3]
    ('message_id', 'from_state', 'to_state')
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise MissingColumn(self.name, [name], self.names)

    def empty(self) -> pd.DataFrame:
        """A frame without rows, every dtype as declared."""
        return self.frame({})

    def frame(self, data: pd.DataFrame | Mapping[str, Any] | Iterable[Any]) -> pd.DataFrame:
        """A frame of these columns with exactly these dtypes.

        ``data`` is a frame, a mapping of name to values, or rows: mappings or records with these
        attributes. A column that is not there becomes missing values (``False`` for yes or no); columns of
        a frame or mapping that the schema does not know stay, after its own. ``data`` itself is left alone.

        >>> from viberkit.frames.columns import EVENTS
        >>> events = EVENTS.frame([{"message_id": "m", "state": "seen", "happened_at": "2020-07-13T12:19:18.967Z"}])
        >>> events.loc[0, ["message_id", "state", "happened_at"]].tolist()
        ['m', 'seen', Timestamp('2020-07-13 12:19:18.967000+0000', tz='UTC')]
        """
        if not isinstance(data, pd.DataFrame):
            given = data if isinstance(data, Mapping) else _columns_of(data, self.names)
            data = pd.DataFrame({name: _series(values) for name, values in given.items()})
        missing = pd.Series(np.full(len(data), None, dtype=object), index=data.index)
        made = {one.name: one.cast(data.get(one.name, missing)) for one in self.columns}
        made |= {str(name): data[name] for name in data.columns if name not in made}
        frame = pd.DataFrame(made, index=data.index, copy=False)
        frame.attrs = dict(data.attrs)
        return frame

    def describe(self) -> pd.DataFrame:
        """The columns as a table: name, dtype, meaning, unit.

        >>> from viberkit.frames.columns import LATENCY
        >>> LATENCY.describe().loc[LATENCY.names.index("max_s"), "unit"]
        's'
        """
        rows = [(one.name, one.dtype, one.meaning, one.unit) for one in self.columns]
        return pd.DataFrame(rows, columns=["name", "dtype", "meaning", "unit"], dtype="str")


def require(frame: pd.DataFrame, names: Iterable[str], asked_by: str) -> None:
    """Nothing if the frame has all these columns, else :class:`~viberkit.errors.MissingColumn` naming what is there.

    >>> require(pd.DataFrame({"state": []}), ["state", "happened_at"], "transitions")
    Traceback (most recent call last):
        ...
    viberkit.errors.MissingColumn: transitions: no column 'happened_at'; the columns are: 'state'
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{asked_by}: a DataFrame is needed, not {type(frame).__name__}")
    if lacking := [name for name in names if name not in frame.columns]:
        raise MissingColumn(asked_by, lacking, map(str, frame.columns))


def _columns_of(rows: Iterable[Any], names: tuple[str, ...]) -> dict[str, list[Any]]:
    rows = list(rows)
    return {
        name: [row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for row in rows]
        for name in names
    }


def _series(values: Any) -> Any:
    """Plain lists stay objects: pandas must not guess that an id is a number."""
    return pd.Series(values, dtype=object) if isinstance(values, list | tuple) else values


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("str")


def _category(values: pd.Series[Any], words: tuple[str, ...]) -> pd.Series[Any]:
    """Texts as a category: the schema's words first, then the others in order of first appearance."""
    given = values if isinstance(values.dtype, pd.CategoricalDtype) else values.astype("str").astype("category")
    codes, texts = given.cat.codes.to_numpy(), given.cat.categories.astype("str")
    if not isinstance(values.dtype, pd.CategoricalDtype) or len(texts) > len(words) or tuple(texts) != words:
        seen = pd.unique(codes)
        order = pd.Index(words, dtype="str").append(texts[seen[seen >= 0]]).unique()
        places = np.append(order.get_indexer(texts), -1)
        codes, texts = places[codes], order
    dtype = pd.CategoricalDtype(texts)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype), index=values.index)


def _instant(values: pd.Series[Any]) -> pd.Series[Any]:
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = pd.to_datetime(values, utc=True, format="ISO8601")
    zoned = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    return pd.Series(zoned.astype(INSTANT))


def _yes_no(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == bool:
        return values
    said = values.astype("str").str.lower()
    if not said.dropna().isin(["true", "false", "1", "0"]).all():
        raise ValueError("a value is neither true nor false")
    return said.isin(["true", "1"])


_CASTS: Mapping[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = MappingProxyType(
    {
        "str": _text,
        INSTANT: _instant,
        "bool": _yes_no,
        "float64": lambda values: values.astype("float64"),
        "int64": lambda values: values.astype("int64"),
    }
)
