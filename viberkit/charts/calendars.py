"""A calendar of an objective: which windows met it, which missed it, and what is left of its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import WEEKDAYS
from viberkit.charts._layout import Sheet, need
from viberkit.charts._style import on, state_colour
from viberkit.charts._windows import largest, window_length
from viberkit.charts.heatmaps import GAP, Floats, Grid, Ints, boxes_at, crosses

__all__ = ["slo"]

_HOUR, _DAY, _WEEK = 3600, 86400, 604800
_MONDAY = 4 * _DAY  # the first one after 1970-01-01
_ALIKE = 0.03  # shares that differ by no more than this need a decimal
#: Inches: the tallest figure, the key at its top, and the heading of a group.
_MOST_TALL, _HEAD, _HEADING = 14.0, 0.3, 0.3
_HUES = {"met": state_colour("delivered"), "missed": state_colour("failed"), "unclear": ""}


def slo(slo: pd.DataFrame, *, tz: str = "UTC", ax: Axes | None = None) -> Axes:
    """A calendar of an objective: a cell a window, met, missed or unclear, and above it what is left of the budget.

    ``slo`` is the table of ``vk.slo``: ``window_at`` (UTC), ``share`` (0 to 1), ``met`` (met, missed or unclear), and
    if told ``budget_left_so_far``; any columns to group by stand before ``window_at``. Days stand in columns of weeks,
    hours in columns of days. Met is filled, missed is filled with a cross, unclear is hollow; the share is printed
    where a cell has room for it. The six largest groups are drawn, and the latest windows where not all have room: the
    axes says so. ``tz`` is the zone that the table was made with. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> at = pd.date_range("2026-03-02", periods=2, freq="D", tz="UTC")
    >>> rows = pd.DataFrame({"window_at": at, "n": 99, "share": [0.97, 0.91], "met": ["met", "missed"]})
    >>> ax = slo(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts if "%" in text.get_text()]
    ['97 %', '× 91 %']
    """
    need(slo, "slo", ("window_at", "share", "met"), "vk.slo(journeys)")
    sheet = Sheet.open(ax)
    if not len(slo):
        return sheet.say("no windows")
    by = list(slo.columns[: slo.columns.get_loc("window_at")])
    parts, left_out = largest(slo, by)
    calendar = _Calendar.of(sheet, slo, tz, _MOST_TALL if sheet.own else sheet.inches[1] / 0.75, len(parts))
    left_out += len(parts) - calendar.groups
    parts = parts[: calendar.groups]
    cells = [calendar.places(part) for _, part in parts]
    early = sum(int((column < calendar.begin).sum()) for column, _ in cells)

    told = pd.concat([part["met"] for _, part in parts]).astype(str)
    target, within = slo.attrs.get("target"), slo.attrs.get("within")
    goal = f"objective: {percent(target)} delivered within {duration(within)}" if target and within else "objective"
    notes = [f"a cell: {duration(calendar.step)}, {tz}" if calendar.known else tz, *([goal] if by else [])]
    notes += [f"earlier windows not drawn: {early:,}"] if early else []
    notes += [f"groups not drawn: {left_out:,}"] if left_out else []
    sheet.fix(_HEAD + len(parts) * (_HEADING + calendar.bands * calendar.band), " · ".join(notes))
    sheet.bare()
    x = 0.0
    for word in _HUES:
        name = f"{word} {int((told == word).sum()):,}"
        _cells(sheet, np.array([x]), np.array([0.06]), 0.14, 0.14, [word])
        sheet.text(x + 0.18 / sheet.inches[0], 0.17, name)
        x += sheet.width(name) + 0.4 / sheet.inches[0]
    top = _HEAD
    for (name, part), (column, row) in zip(parts, cells, strict=True):
        sheet.heading(top + 0.15, name if by else goal, _budget(part))
        top += _HEADING
        for band in range(calendar.bands):
            begin = calendar.begin + band * calendar.across
            here = (column >= begin) & (column < begin + calendar.across)
            grid = Grid(sheet, calendar.left, top + 0.2, calendar.wide, calendar.tall)
            grid.rows(calendar.names)
            grid.columns(calendar.columns(begin))
            _windows(grid, part[here], column[here] - begin, row[here])
            top += calendar.band
    return sheet.ax


@dataclass
class _Calendar:
    """How windows stand in rows and columns: a column a week, a day or an hour, wrapped into bands where they are many.

    ``above`` and ``deep``: the first row and how many; ``begin`` and ``last``: the first column drawn and the last;
    ``across`` columns stand in each of ``bands`` bands; ``left`` is the room for the names of the rows.
    """

    tz: str
    known: bool
    step: int
    period: int
    above: int
    deep: int
    begin: int
    last: int
    names: list[str]
    left: float
    wide: float = 0.0
    tall: float = 0.0
    across: int = 1
    bands: int = 1
    groups: int = 1
    years: bool = False

    @classmethod
    def of(cls, sheet: Sheet, frame: pd.DataFrame, tz: str, inches: float, groups: int) -> _Calendar:
        """The calendar of all windows of a frame for so many groups in a height of so many inches."""
        told = window_length(frame)
        step = max(1, int(told)) if told > 0 else _DAY
        period = _HOUR if step < _HOUR else _DAY if step < _DAY else _WEEK if step == _DAY else step
        made = cls(tz, told > 0, step, period if period % step == 0 else step, 0, 1, 0, 0, [], 0.0)
        column, row = made.places(frame)
        made.begin, made.last, made.deep = int(column.min()), int(column.max()), made.period // step
        if made.begin == made.last:  # then the hours or days around what is there are not worth the room
            made.above, made.deep = int(row.min()), int(row.max() - row.min()) + 1
        if made.period > step:
            made.names = [_row_name((made.above + row) * step, made.period) for row in range(made.deep)]
            made.left = max(map(sheet.width, made.names)) + 0.02
        width, count = sheet.inches[0] * (1 - made.left), made.last - made.begin + 1
        made.years = count * made.period > 300 * _DAY
        made.groups = max(1, min(groups, int((inches - _HEAD) / (_HEADING + 0.24 + 0.09 * made.deep))))
        spare = (inches - _HEAD) / made.groups - _HEADING
        room = sheet.width("× 99.9 %") * sheet.inches[0] + 0.1
        for least in (room, 0.13):  # wide enough to print the shares, if that takes two bands at the most
            made.wide = min(max(width / count, least), 0.8)
            made.across = min(count, max(1, int(width / made.wide + 1e-9)))
            made.bands = -(-count // made.across)
            most = 0.24 if made.deep == 1 else 0.22 if made.deep < 8 else 0.15
            made.tall = float(np.clip((spare / made.bands - 0.24) / made.deep, 0.09, min(most, max(0.13, made.wide))))
            if made.bands < 3 and made.tall >= 0.15 and made.bands * made.band <= spare + 1e-9:
                break
        made.wide = min(width / made.across, 0.8)
        fitting = max(1, min(made.bands, int(spare / made.band + 1e-9)))
        made.begin += (made.bands - fitting) * made.across
        made.bands = fitting
        return made

    @property
    def band(self) -> float:
        """The height of a band with the names of its columns."""
        return 0.24 + self.deep * self.tall

    def places(self, part: pd.DataFrame) -> tuple[Ints, Ints]:
        """In which column and row each window stands."""
        local = pd.to_datetime(part["window_at"], utc=True).dt.tz_convert(self.tz).dt.tz_localize(None)
        since = local.to_numpy("datetime64[us]").astype(np.int64) // 1_000_000 - self.offset
        return since // self.period, since % self.period // self.step - self.above

    @property
    def offset(self) -> int:
        """When the first period began: weeks begin on a Monday."""
        return _MONDAY if self.period % _WEEK == 0 else 0

    def columns(self, begin: int) -> list[str]:
        """The names of the columns of a band."""
        ends = range(begin, min(begin + self.across, self.last + 1))
        seconds = [column * self.period + self.offset for column in ends]
        names = [_column_name(at, self.period) for at in seconds]
        if self.years and self.period <= _WEEK:  # which year, once a band
            names[0] += f" {pd.Timestamp(seconds[0], unit='s').year}"
        return names


def _row_name(seconds: int, period: int) -> str:
    if period == _WEEK:
        return WEEKDAYS[seconds // _DAY][:3]
    at = f"{seconds // _HOUR:02}:{seconds % _HOUR // 60:02}"
    return at if period == _DAY else at[2:]


def _column_name(seconds: int, period: int) -> str:
    at = pd.Timestamp(seconds, unit="s")
    return f"{at.day} {at:%b}" + (f" {at:%H:%M}" if period < _DAY else f" {at:%Y}" if period > _WEEK else "")


def _budget(part: pd.DataFrame) -> str:
    """What is left of the budget after the last window where it is known."""
    if "budget_left_so_far" not in part:
        return ""
    known = part["budget_left_so_far"].to_numpy(np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return "budget left: not known yet"
    left = float(known[-1])
    return f"budget left: {percent(left)}" if left >= 0 else f"budget overspent: {100 * (1 - left):,.0f} % used"


def _cells(
    sheet: Sheet, x: Floats, y: Floats, wide: float, tall: float, words: Sequence[str], *, cross: bool = True
) -> None:
    """Cells met (filled), missed (filled, with a cross) or unclear (hollow)."""
    boxes, words_ = boxes_at(sheet, x, y, wide, tall), np.array(words, dtype=object)
    for word, hue in _HUES.items():
        here = boxes[words_ == word] if hue else boxes[~np.isin(words_, ["met", "missed"])]
        if len(here):
            edge = "none" if hue else sheet.ink
            sheet.ax.add_collection(PolyCollection(list(here), facecolors=hue or "none", edgecolors=edge, lw=0.8))
        if cross and word == "missed" and len(here):
            size = 0.3 * min(wide, tall)
            middle = here.mean(axis=1)
            crosses(sheet, middle, size, on(hue))


def _windows(grid: Grid, part: pd.DataFrame, column: Ints, row: Ints) -> None:
    """The cells of an objective, with their shares where these fit."""
    x, y = grid.at(column), grid.top + row * grid.tall
    words, sheet = part["met"].astype(str).to_numpy(), grid.sheet
    marks = {"missed": "× ", "met": ""}
    alike = part["share"].max() - part["share"].min() < _ALIKE
    said = [f"{100 * s:.1f} %" if alike and 0 < s < 1 else percent(s) for s in part["share"]]
    texts = [marks.get(w, "? ") + text for w, text in zip(words, said, strict=True)]
    fits = grid.wide / sheet.inches[0] - 0.006 > max(map(sheet.width, set(texts))) and grid.tall >= 0.15
    _cells(sheet, x, y, grid.wide, grid.tall, words.tolist(), cross=not fits)
    middle = (grid.wide - GAP) / 2 / sheet.inches[0]
    for a, b, word, text in zip(x, y, words, texts, strict=True) if fits else ():
        ink = on(_HUES[word]) if _HUES.get(word) else sheet.ink
        sheet.text(a + middle, b + (grid.tall - GAP) / 2, text, ha="center", va="center_baseline", colour=ink)
