"""Columns to group messages by: from the frame, from a frame of messages, or from the time of day."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.ordering import Ints, instants
from viberkit.errors import MissingColumn
from viberkit.frames.schema import require

_DENSE = 1 << 24  # codes below this number are counted in an array

#: The type of ``by``: the name of a column, or several.
BY = str | Sequence[str] | None

#: In order.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def as_list(values: Any) -> list[Any]:
    """One value or several as a list."""
    return [values] if isinstance(values, numbers.Real | Decimal | str) else list(values)


def group_names(by: BY) -> list[str]:
    """The columns to group by as a list; a ``ValueError`` for duplicates and for what is not a name."""
    names = [] if by is None else as_list(by)
    wrong = [name for index, name in enumerate(names) if not isinstance(name, str) or name in names[:index]]
    if wrong:
        raise ValueError(f"by: {wrong[0]!r} is a duplicate or not a column name; pass e.g. 'rate_type'")
    return names


def check_name_clash(names: Iterable[str], result_columns: Iterable[str]) -> None:
    """Raise a ``ValueError`` if a column to group by has the name of a column of the result."""
    if names := sorted({*names} & {*result_columns}):
        name = names[0]
        raise ValueError(f"by: {name!r} is also a column of the result; rename it first, e.g. to 'my_{name}'")


def group_columns(
    frame: pd.DataFrame,
    names: Iterable[str],
    started: Ints,
    messages: pd.DataFrame | None,
    function: str,
    tz: str = "UTC",
) -> pd.DataFrame:
    """The columns ``names`` for each row of ``frame``.

    They are taken from ``frame``, else from ``messages`` by ``message_id``; ``hour`` (0 to 23) and ``weekday`` are
    computed from ``started`` (microseconds) in the time zone ``tz``.
    """
    columns: dict[str, Any] = {}
    if messages is not None:
        require(messages, ["message_id"], f"{function} (messages)")
    for name in names:
        if name in frame.columns:
            columns[name] = frame[name].array
        elif messages is not None and name in messages.columns:
            values = messages[name].set_axis(messages["message_id"].astype("str"))
            columns[name] = values[~values.index.duplicated()].reindex(frame["message_id"].astype("str")).array
        elif name in ("hour", "weekday"):
            local = instants(started).dt.tz_convert(tz).dt
            days = pd.CategoricalDtype(list(WEEKDAYS), ordered=True)
            columns[name] = local.hour if name == "hour" else pd.Categorical.from_codes(local.day_of_week, dtype=days)
        else:
            available = [*frame.columns, *(messages.columns if messages is not None else ())]
            raise MissingColumn(function, [name], map(str, available))
    return pd.DataFrame(columns, index=range(len(frame)))


def factorize(frame: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, Ints]:
    """The groups in order, one row each, and the group of each row; a missing value is a group of its own."""
    groups: dict[str, Any] = {}
    group: Ints = np.zeros(len(frame), dtype=np.int64)
    for name in names:  # one column after the other: much faster than groupby on several
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes, count = column.cat.codes.to_numpy(dtype=np.int64, copy=True), len(column.cat.categories)
            codes[codes < 0] = count
            values: Any = pd.Categorical.from_codes([*range(count), -1], dtype=column.dtype)
        else:
            codes, index = pd.factorize(column, sort=True, use_na_sentinel=False)
            values = index.array
        observed, group = distinct(group.astype(np.int64) * len(values) + codes if groups else codes)
        groups = {previous: groups[previous].take(observed // len(values)) for previous in groups}
        groups[name] = values.take(observed % max(len(values), 1))
    return pd.DataFrame(groups, index=None if names else range(1)), group


def distinct(codes: Ints) -> tuple[Ints, Ints]:
    """The distinct codes in order, and the index of each code among them."""
    if len(codes) and codes.max() >= _DENSE:
        values, index = np.unique(codes, return_inverse=True)
        return values, index
    present = np.bincount(codes) > 0
    index = np.cumsum(present) - 1
    return np.flatnonzero(present), index.astype(np.min_scalar_type(len(index)))[codes]  # small integers sort faster
