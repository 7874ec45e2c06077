"""What the charts of windows share: which columns to show, how to say them, the largest groups, a window's length."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from viberkit.analysis.formatting import duration
from viberkit.charts._layout import need

__all__ = ["MOST_GROUPS", "largest", "shown", "spoken", "window_length"]

#: More groups than this are more than anyone tells apart; the axes says what was left out.
MOST_GROUPS = 6


def shown(frame: pd.DataFrame, chart: str, remedy: str, show: str | None, kind: str = "p") -> list[str]:
    """The columns of a table that ``show`` means: one by its name, all that begin so, or without it those of a kind."""
    names = [str(name) for name in frame.columns]
    values = [name for name in names if re.fullmatch(r"p\d+(_\d+)?_s|within_[\d_.]+s", name)]
    if show is None:
        kinds = [name for name in values if name.startswith(kind)] or values
        need(frame, chart, () if kinds else ("p50_s",), remedy)
        return kinds
    found = [name for name in names if name in (show, f"{show}_s")] or [
        name for name in values if show in ("within", "p") and name.startswith(show)
    ]
    need(frame, chart, () if found else (show,), remedy)
    return found


def spoken(column: str) -> str:
    """A column of a table of windows in words.

    >>> spoken("p50_s"), spoken("p99_9_s"), spoken("within_90s"), spoken("n")
    ('p50', 'p99.9', '1.5 min', 'n')
    """
    if found := re.fullmatch(r"within_([\d_.]+)s", column):
        return duration(float(found[1].replace("_", ".")))
    return column.removesuffix("_s").replace("_", ".") if re.fullmatch(r"p\d+(_\d+)?_s", column) else column


def window_length(frame: pd.DataFrame) -> float:
    """The length of a window in seconds: as the table says, else the shortest step; NaN if there is no step."""
    told = pd.to_timedelta(str(frame.attrs.get("every")).replace("d", "D"), errors="coerce")  # "1d" is not liked
    if pd.notna(told) and told.total_seconds() > 0:
        return float(told.total_seconds())
    steps = np.diff(np.unique(frame["window_at"].to_numpy("datetime64[us]"))).astype(np.int64)
    return float(steps.min() / 1e6) if len(steps) else float("nan")


def largest(frame: pd.DataFrame, by: list[str]) -> tuple[list[tuple[str, pd.DataFrame]], int]:
    """The six largest groups with their names, in order, and how many are left out."""
    if not by:
        return [("", frame)], 0
    codes = frame.groupby(by, observed=True, sort=False, dropna=False).ngroup().to_numpy()
    sizes = np.bincount(codes, weights=frame["n"].to_numpy(np.float64) if "n" in frame else None)
    parts = []
    for code in np.sort(np.argsort(-sizes, kind="stable")[:MOST_GROUPS]):
        part = frame[codes == code]
        words = ["not told" if pd.isna(word) else str(word) for word in part[by].iloc[0]]
        parts.append((" · ".join(words), part))
    return parts, len(sizes) - len(parts)
