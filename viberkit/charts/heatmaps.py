"""Charts of cells: the hours of the week, and what a calendar shares with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, colors
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import WEEKDAYS
from viberkit.charts._layout import NAME, Sheet, need
from viberkit.charts._style import on
from viberkit.charts._windows import largest, shown, spoken

__all__ = ["GAP", "Floats", "Grid", "Ints", "boxes_at", "crosses", "profile"]

#: Inches: between cells, and the tallest figure.
GAP, _MOST_TALL, _FEW = 0.02, 14.0, 30
#: Places and values.
Floats = NDArray[np.floating[Any]]
#: Columns and rows.
Ints = NDArray[np.int64]


def profile(profile: pd.DataFrame, *, value: str | None = None, ax: Axes | None = None) -> Axes:
    """The hours of the week: a cell an hour and weekday, coloured by a share delivered in time or by a latency.

    ``profile`` is the table of ``vk.profile``: ``weekday``, ``hour`` (0 to 23), ``n``, and ``within_60s`` or ``p50_s``
    …; any columns to group by stand before ``weekday``. ``value`` is the column to show: without it the first share
    delivered in time, else the first quantile, on a log scale. A dot marks fewer than 30 messages, a cross a quantile
    that is not reached, a dash what is not known yet; hours without a message are empty. The six largest groups are
    drawn on one scale of colours. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = pd.DataFrame({"weekday": ["Monday", "Sunday"], "hour": [9, 23], "n": [50, 7], "p50_s": [1.5, 40.0]})
    >>> ax = profile(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts][:3]
    ['p50 of the time until delivered', '1.5 s', '40 s']
    """
    need(profile, "profile", ("weekday", "hour", "n"), "vk.profile(journeys)")
    if not len(profile):
        return Sheet.open(ax).say("no hours")
    column = shown(profile, "profile", "vk.profile(journeys)", value, "within")[0]
    sheet = Sheet.open(ax)
    by = list(profile.columns[: profile.columns.get_loc("weekday")])
    parts, left_out = largest(profile, by)
    left = sheet.width("Wed") + 0.02
    heading = 0.24 if by else 0.0
    inches = _MOST_TALL if sheet.own else sheet.inches[1] / 0.75
    shown_groups = max(1, min(len(parts), int((inches - 0.3) / (heading + 0.24 + 7 * 0.14))))
    left_out += len(parts) - shown_groups
    parts = parts[:shown_groups]
    tall = float(np.clip(((inches - 0.3) / len(parts) - heading - 0.24) / 7, 0.09, 0.22))
    scale = _Scale.of(column, np.concatenate([part[column].to_numpy(np.float64) for _, part in parts]))
    whole = pd.concat([part for _, part in parts])
    notes = ["hour of the day, " + str(profile.attrs.get("tz", "by weekday"))]
    values = whole[column].to_numpy(np.float64)
    few = int(((whole["n"] < _FEW) & np.isfinite(values)).sum())
    for count, text in (
        (few, f"dot: fewer than {_FEW} messages"),
        (int(np.isposinf(values).sum()), "cross: not reached"),
        (int(np.isnan(values).sum()), "dash: not known yet"),
        (left_out, f"groups not drawn: {left_out:,}"),
    ):
        notes += [text] if count else []
    sheet.fix(0.3 + len(parts) * (heading + 0.24 + 7 * tall), " · ".join(notes))
    sheet.bare()
    share = column.startswith("within")
    what = f"share delivered within {spoken(column)}" if share else f"{spoken(column)} of the time until delivered"
    scale.key(sheet, what if column != "n" else "messages")
    wide = (1 - left) * sheet.inches[0] / 24
    top = 0.3
    for name, part in parts:
        if heading:
            sheet.heading(top + 0.14, name, f"n {int(part['n'].sum()):,}")
            top += heading
        grid = Grid(sheet, left, top, wide, tall)
        grid.rows([day[:3] for day in WEEKDAYS])
        _hours(grid, part, part[column].to_numpy(np.float64), scale)
        top += 0.24 + 7 * tall
    return sheet.ax


def boxes_at(sheet: Sheet, x: Floats, y: Floats, wide: float, tall: float) -> Floats:
    """The corners of cells whose upper left corners are at ``x`` (shares) and ``y`` (inches)."""
    w, h = (wide - GAP) / sheet.inches[0], tall - GAP
    corners = np.array([(0, 0), (w, 0), (w, h), (0, h)])
    boxes: Floats = np.stack([x, y], axis=1)[:, None, :] + corners
    return boxes


def crosses(sheet: Sheet, middles: Floats, size: float, colour: str) -> None:
    """A cross in each of these places, its arms so many inches to each side."""
    w = size / sheet.inches[0]
    arms = [middles[:, None, :] + np.array([(-w, -s * size), (w, s * size)]) for s in (1, -1)]
    sheet.ax.add_collection(LineCollection(list(np.concatenate(arms)), colors=colour, lw=1.0))


@dataclass
class Grid:
    """Cells in rows and columns: where they begin (a share of the width, inches from the top), and their inches."""

    sheet: Sheet
    left: float
    top: float
    wide: float
    tall: float

    def at(self, column: Ints) -> Floats:
        """The left edge of columns, as a share of the width."""
        return self.left + np.asarray(column, dtype=np.float64) * self.wide / self.sheet.inches[0]

    def rows(self, names: Sequence[str]) -> None:
        """Name the rows, as many as there is room for."""
        every = next((k for k in (1, 2, 3, 6, 12, 24) if k * self.tall >= 0.125), 24)
        for row in range(0, len(names), every):
            y = self.top + (row + 0.5) * self.tall - GAP / 2
            self.sheet.text(self.left - 0.01, y, names[row], ha="right", va="center_baseline")

    def columns(self, names: Sequence[str]) -> None:
        """Name the columns from the first on, as many as there is room for."""
        room = max(map(self.sheet.width, names)) + 0.015
        every = int(np.ceil(room * self.sheet.inches[0] / self.wide))
        for column in range(0, len(names), every):
            x = float(self.at(np.array([column]))[0])
            if x + self.sheet.width(names[column]) <= 1.0:
                self.sheet.text(x, self.top - 0.06, names[column])


def _hours(grid: Grid, part: pd.DataFrame, values: Floats, scale: _Scale) -> None:
    """The cells of a week: all hollow, then coloured where there is a value."""
    sheet, hour = grid.sheet, part["hour"].to_numpy(np.int64)
    day = np.array([WEEKDAYS.index(str(name)) for name in part["weekday"]], dtype=np.int64)
    every = [np.repeat(np.arange(7), 24), np.tile(np.arange(24), 7)]
    hollow = boxes_at(sheet, grid.at(every[1]), grid.top + every[0] * grid.tall, grid.wide, grid.tall)
    empty = PolyCollection(list(hollow), facecolors="none", edgecolors=sheet.ink, lw=0.5, alpha=0.35)
    sheet.ax.add_collection(empty)
    boxes = boxes_at(sheet, grid.at(hour), grid.top + day * grid.tall, grid.wide, grid.tall)
    known, middles = np.isfinite(values), boxes.mean(axis=1)
    hues = scale.hues(values[known])
    sheet.ax.add_collection(PolyCollection(list(boxes[known]), facecolors=hues, edgecolors="none"))
    few = part["n"].to_numpy(np.float64)[known] < _FEW
    inks = [on(hue) for hue, so in zip(hues, few, strict=True) if so]
    x, y = middles[known][few].T
    sheet.ax.scatter(x, y, s=7 * sheet.scale, c=inks, linewidths=0, zorder=3)
    crosses(sheet, middles[np.isposinf(values)], 0.25 * grid.tall, sheet.ink)
    dash = np.array([(-0.05 / sheet.inches[0], 0), (0.05 / sheet.inches[0], 0)])
    unknown = middles[np.isnan(values)][:, None, :] + dash
    sheet.ax.add_collection(LineCollection(list(unknown), colors=sheet.ink, lw=1.0))
    for at in range(0, 24, 3):
        x = float(grid.at(np.array([at]))[0])
        sheet.text(x, grid.top + 7 * grid.tall + 0.12, f"{at:02}:00")


@dataclass
class _Scale:
    """Colours for values: linear for shares and counts, logarithmic for times."""

    low: float
    high: float
    column: str

    @classmethod
    def of(cls, column: str, values: Floats) -> _Scale:
        known = values[np.isfinite(values)]
        known = known if len(known) else np.zeros(1)
        return cls(float(known.min()), float(known.max()), column)

    @property
    def log(self) -> bool:
        return self.column.endswith("_s") and self.column.startswith("p")

    def hues(self, values: Floats) -> list[str]:
        """A colour each, from dark to bright, the same brightness step for the same step of the value."""
        at = np.concatenate([[self.low, self.high], values])
        at = np.log10(np.maximum(at, 1e-3)) if self.log else at
        low, high, at = at[0], at[1], at[2:]
        where = (at - low) / (high - low) if high > low else np.full(len(at), 0.5)
        return [colors.to_hex(hue) for hue in colormaps["viridis"](0.12 + 0.82 * where)]

    def said(self, value: float) -> str:
        """A value in its unit."""
        if self.column.startswith("within"):
            return percent(value)
        return duration(value) if self.log else f"{value:,.0f}"

    def key(self, sheet: Sheet, what: str) -> None:
        """What is shown, and a strip of the colours between the least and the greatest value."""
        texts = list(dict.fromkeys(map(self.said, (self.low, self.high))))
        strip = 1.2 / sheet.inches[0] if len(texts) > 1 else 0.2 / sheet.inches[0]
        room = [sheet.width(text) + 0.012 for text in texts]
        begin = 1 - strip - sum(room[1:]) - (0 if len(texts) > 1 else room[0])
        sheet.text(0, 0.16, sheet.elide(what, begin - room[0] - 0.03, NAME), size=NAME)
        if len(texts) > 1:
            sheet.text(begin - 0.012, 0.16, texts[0], ha="right")
        sheet.text(1, 0.16, texts[-1], ha="right")
        if self.log:
            steps = np.geomspace(max(self.low, 1e-3), max(self.high, 1e-3), 41)
        else:
            steps = np.linspace(self.low, self.high, 41)
        edges = np.linspace(begin, begin + strip, 42)
        boxes = [[(a, 0.07), (b, 0.07), (b, 0.17), (a, 0.17)] for a, b in pairwise(edges)]
        sheet.ax.add_collection(PolyCollection(boxes, facecolors=self.hues(steps), edgecolors="face", lw=0.3))
