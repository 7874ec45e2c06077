"""Columns to group messages by: from the frame, from a frame of messages, or from the time of day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.ordering import Ints, instants
from viberkit.errors import MissingColumn
from viberkit.frames.columns import require

#: The type of ``by``: the name of a column, or several.
BY = str | Sequence[str] | None

#: In order.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def group_names(by: BY) -> list[str]:
    """The columns to group by as a list; a ``ValueError`` for duplicates and for what is not a name."""
    names = [by] if isinstance(by, str) else list(by if by is not None else ())
    wrong = [name for index, name in enumerate(names) if not isinstance(name, str) or name in names[:index]]
    if wrong:
        raise ValueError(f"by: {wrong[0]!r} is a duplicate or not a column name; pass e.g. 'rate_type'")
    return names


def check_name_clash(names: Iterable[str], result_columns: Iterable[str]) -> None:
    """Raise a ``ValueError`` if a column to group by has the name of a column of the result."""
    columns = {*result_columns}
    for name in names:
        if name in columns:
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
    for name in names:
        if name in frame.columns:
            columns[name] = frame[name].array
        elif messages is not None and name in messages.columns:
            require(messages, ["message_id"], f"{function} (messages)")
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
    if not names:
        return pd.DataFrame(index=range(1)), np.zeros(len(frame), dtype=np.int64)
    grouped = frame.groupby(list(names), sort=True, dropna=False, observed=True)
    number = grouped.ngroup().to_numpy()
    first = np.full(grouped.ngroups, -1)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return frame[list(names)].iloc[first].reset_index(drop=True), number
