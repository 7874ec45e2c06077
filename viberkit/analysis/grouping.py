"""Groups of messages: by columns that the frame has, that the messages frame adds, or that the clock gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.ordering import Ints, instants
from viberkit.errors import MissingColumn
from viberkit.frames.columns import require

__all__ = ["BY", "WEEKDAYS", "apart", "facts", "groups", "names_of"]

#: What ``by`` may be: the name of a column, or several.
BY = str | Sequence[str] | None

#: In order.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def names_of(by: BY) -> list[str]:
    """The columns to group by, as a list; a ``ValueError`` for what is no name, or is there twice."""
    names = [by] if isinstance(by, str) else list(by if by is not None else ())
    if wrong := [name for place, name in enumerate(names) if not isinstance(name, str) or name in names[:place]]:
        raise ValueError(f"by: {wrong[0]!r} is not the name of a column, or is there twice; pass e.g. 'rate_type'")
    return names


def apart(names: Iterable[str], made: Iterable[str]) -> None:
    """A ``ValueError`` where a column to group by is called as one of the result."""
    if both := [name for name in names if name in {*made}]:
        raise ValueError(f"by: {both[0]!r} is also a column of the result; rename it before, e.g. 'my_{both[0]}'")


def facts(
    frame: pd.DataFrame,
    names: Iterable[str],
    begun: Ints,
    messages: pd.DataFrame | None,
    asked_by: str,
    tz: str = "UTC",
) -> pd.DataFrame:
    """The columns ``names`` for each row of a frame with ``message_id``.

    Taken from the frame itself, else from ``messages`` (``archive.messages()``) by id; ``hour`` (0 to 23) and
    ``weekday`` are those of the instants ``begun`` (microseconds) in the zone ``tz``. Raises
    :class:`~viberkit.errors.MissingColumn` for any other.
    """
    made: dict[str, Any] = {}
    for name in names:
        if name in frame.columns:
            made[name] = frame[name].array
        elif messages is not None and name in messages.columns:
            require(messages, ["message_id"], f"{asked_by} (messages)")
            known = messages[name].set_axis(messages["message_id"].astype("str"))
            made[name] = known[~known.index.duplicated()].reindex(frame["message_id"].astype("str")).array
        elif name in ("hour", "weekday"):
            local = instants(begun).dt.tz_convert(tz).dt
            days = pd.CategoricalDtype(list(WEEKDAYS), ordered=True)
            made[name] = local.hour if name == "hour" else pd.Categorical.from_codes(local.day_of_week, dtype=days)
        else:
            there = [*frame.columns, *(messages.columns if messages is not None else ())]
            raise MissingColumn(asked_by, [name], map(str, there))
    return pd.DataFrame(made, index=range(len(frame)))


def groups(frame: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, Ints]:
    """The groups in order, one row each, and the number of each row's group; a missing value is a group too."""
    if not names:
        return pd.DataFrame(index=range(1)), np.zeros(len(frame), dtype=np.int64)
    grouped = frame.groupby(list(names), sort=True, dropna=False, observed=True)
    number = grouped.ngroup().to_numpy()
    first = np.full(grouped.ngroups, -1)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return frame[list(names)].iloc[first].reset_index(drop=True), number
