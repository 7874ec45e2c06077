"""Schemas of frames: columns with a name, a dtype and a description, and the conversion of values to these dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd

from viberkit.errors import MissingColumn

#: The dtype of every instant.
INSTANT: Final = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a frame.

    Parameters
    ----------
    name : str
        Name of the column.
    dtype : str
        ``"str"``, ``"category"``, ``"datetime64[us, UTC]"``, ``"float64"``, ``"int64"`` or ``"bool"``.
    description : str
        What the column means.
    unit : str, default ""
        ``"UTC"`` for instants, ``"s"`` for durations in seconds.
    categories : tuple of str, default ()
        For a category, the values that come first, in this order.
    """

    name: str
    dtype: str
    description: str
    unit: str = ""
    categories: tuple[str, ...] = ()

    def cast(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Convert values to exactly the dtype of this column.

        Parameters
        ----------
        values : Series
            Values of any dtype; texts are parsed.

        Returns
        -------
        Series
            The values with the dtype and the name of this column.

        Raises
        ------
        ValueError
            If a value cannot be converted; the text names the column.

        Examples
        --------
        >>> from viberkit.frames.columns import EVENTS
        >>> EVENTS["naive"].cast(pd.Series(["true", "0"])).tolist()
        [True, False]
        """
        try:
            if self.dtype == "category":
                return _to_category(values, self.categories).rename(self.name)
            return _CASTS[self.dtype](values).rename(self.name)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{self.name}: cannot be read as {self.dtype}: {error}") from None


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one kind of frame, in order.

    Parameters
    ----------
    name : str
        Name of the kind of frame, such as ``"events"``.
    columns : tuple of Column
        Its columns.

    Examples
    --------
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
        """Names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise MissingColumn(self.name, [name], self.names)

    def empty(self) -> pd.DataFrame:
        """Return a frame without rows.

        Returns
        -------
        DataFrame
            No rows; all columns, each with its dtype.

        Examples
        --------
        >>> from viberkit.frames.columns import EVENTS
        >>> EVENTS.empty().shape[0]
        0
        """
        return self.frame({})

    def frame(self, data: pd.DataFrame | Mapping[str, Any] | Iterable[Any]) -> pd.DataFrame:
        """Build a frame of these columns with exactly these dtypes.

        Parameters
        ----------
        data : DataFrame, mapping or iterable
            A frame, a mapping of column name to values, or rows (mappings, or records with these attributes).
            It is not changed.

        Returns
        -------
        DataFrame
            The columns of the schema; a column that ``data`` lacks has missing values (``False`` for ``bool``).
            Other columns of a frame or mapping follow unchanged. The ``attrs`` of a frame are copied.

        Raises
        ------
        ValueError
            If a value cannot be converted to the dtype of its column; the text names the column.

        Examples
        --------
        >>> from viberkit.frames.columns import EVENTS
        >>> events = EVENTS.frame([{"message_id": "m", "state": "seen", "happened_at": "2020-07-13T12:19:18.967Z"}])
        >>> events.loc[0, ["message_id", "state", "happened_at"]].tolist()
        ['m', 'seen', Timestamp('2020-07-13 12:19:18.967000+0000', tz='UTC')]
        """
        if not isinstance(data, pd.DataFrame):
            columns = data if isinstance(data, Mapping) else _columns_of_rows(data, self.names)
            data = pd.DataFrame({name: _to_series(values) for name, values in columns.items()})
        values = {
            column.name: column.cast(data[column.name]) if column.name in data else _missing(column, data.index)
            for column in self.columns
        }
        values |= {str(name): data[name] for name in data.columns if name not in values}
        frame = pd.DataFrame(values, index=data.index, copy=False)
        frame.attrs = dict(data.attrs)
        return frame

    def describe(self) -> pd.DataFrame:
        """Return the columns of the schema as a table.

        Returns
        -------
        DataFrame
            One row per column: ``name``, ``dtype``, ``description``, ``unit``.

        Examples
        --------
        >>> from viberkit.frames.columns import TRANSITIONS
        >>> TRANSITIONS.describe().set_index("name").loc["latency_s", "unit"]
        's'
        """
        rows = [(column.name, column.dtype, column.description, column.unit) for column in self.columns]
        return pd.DataFrame(rows, columns=["name", "dtype", "description", "unit"], dtype="str")


def require(frame: pd.DataFrame, names: Iterable[str], function: str) -> None:
    """Check that a frame has columns, and no two of the same name.

    Parameters
    ----------
    frame : DataFrame
        The frame to check.
    names : iterable of str
        Names of the columns that it must have.
    function : str
        Name of the function that needs them, for the text of the error.

    Raises
    ------
    MissingColumn
        If a column is missing; the text names those that are there.
    ValueError
        If several columns have the same name.
    TypeError
        If ``frame`` is not a DataFrame.

    Examples
    --------
    >>> require(pd.DataFrame({"state": []}), ["state", "happened_at"], "transitions")
    Traceback (most recent call last):
        ...
    viberkit.errors.MissingColumn: transitions: no column 'happened_at'; the columns are: 'state'
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{function}: expected a DataFrame, not {type(frame).__name__}")
    if not frame.columns.is_unique:
        duplicates = ", ".join(repr(name) for name in frame.columns[frame.columns.duplicated()].unique())
        raise ValueError(f"{function}: several columns have the name {duplicates}; rename or drop all but one of them")
    if missing := [name for name in names if name not in frame.columns]:
        raise MissingColumn(function, missing, map(str, frame.columns))


def recode(values: pd.Series[Any], categories: pd.Index[Any], names: pd.Index[Any]) -> pd.Series[Any]:
    """Replace the categories of a series.

    Parameters
    ----------
    values : Series
        A categorical series.
    categories : Index
        The new categories.
    names : Index
        For each old category the new one; several may become the same.

    Returns
    -------
    Series
        The values as a category of exactly ``categories``.

    Examples
    --------
    >>> states = pd.Series(["success", "delivered"], dtype="category")
    >>> recode(states, pd.Index(["delivered"]), pd.Index(["delivered", "delivered"])).tolist()
    ['delivered', 'delivered']
    """
    codes = np.append(categories.get_indexer(names), -1)[values.cat.codes.to_numpy()]
    return pd.Series(pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories)), index=values.index)


def _columns_of_rows(rows: Iterable[Any], names: tuple[str, ...]) -> dict[str, list[Any]]:
    rows = list(rows)
    return {
        name: [row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for row in rows]
        for name in names
    }


def _to_series(values: Any) -> Any:
    """Lists become objects, so that pandas does not infer that an id is a number."""
    return pd.Series(values, dtype=object) if isinstance(values, list | tuple) else values


def _missing(column: Column, index: pd.Index[Any]) -> pd.Series[Any]:
    if column.dtype == "category":
        dtype: Any = pd.CategoricalDtype(_categories(column.categories))
        return pd.Series(pd.Categorical.from_codes(np.full(len(index), -1), dtype=dtype), index=index)
    return pd.Series(False if column.dtype == "bool" else np.nan, index=index, dtype=column.dtype)


def _to_category(values: pd.Series[Any], first: tuple[str, ...]) -> pd.Series[Any]:
    """Texts as a category: the values of the schema first, then others in order of appearance."""
    categories = _categories(first)
    if not isinstance(values.dtype, pd.CategoricalDtype):
        values = pd.Series(pd.Categorical.from_codes(*pd.factorize(values.astype("str"))), index=values.index)
    elif categories.identical(values.cat.categories) and not values.cat.ordered:
        return values
    texts, codes = values.cat.categories.astype("str"), values.cat.codes
    if (categories.get_indexer(texts) < 0).any():
        observed = codes.unique()
        categories = categories.append(texts[observed[observed >= 0]]).unique()
    return recode(values, categories, texts)


@cache
def _categories(names: tuple[str, ...]) -> pd.Index[Any]:
    return pd.Index(names, dtype="str")


def _to_instant(values: pd.Series[Any]) -> pd.Series[Any]:
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = pd.to_datetime(values, utc=True, format="ISO8601")
    zoned = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    return pd.Series(zoned.astype(INSTANT))


def _to_bool(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == bool:
        return values
    texts = values.astype("str").str.lower()
    if not texts.dropna().isin(["true", "false", "1", "0"]).all():
        raise ValueError("a value is neither true nor false")
    return texts.isin(["true", "1"])


_CASTS: Mapping[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = {
    "str": lambda values: values.astype("str"),
    INSTANT: _to_instant,
    "bool": _to_bool,
    "float64": lambda values: values.astype("float64"),
    "int64": lambda values: values.astype("int64"),
}
