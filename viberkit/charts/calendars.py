"""A calendar of a service level objective."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import WEEKDAYS
from viberkit.charts._layout import Layout
from viberkit.charts._results import largest_groups, not_drawn, period_s, require_result
from viberkit.charts._style import contrast, state_colour
from viberkit.charts.heatmaps import MAX_GROUPS, MAX_HEIGHT, Grid, Ints

__all__ = ["slo"]

_HOUR, _DAY, _WEEK = 3600, 86400, 604800
_MONDAY = 4 * _DAY  # the first one after 1970-01-01
#: Inches: the legend, the heading of a group, and the names of columns.
_LEGEND, _HEADING, _NAMES = 0.3, 0.3, 0.24
_COLOURS = {"met": state_colour("delivered"), "missed": state_colour("failed"), "unclear": ""}
_PREFIXES = {"met": "", "missed": "× ", "unclear": "? "}


def slo(slo: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a calendar of a service level objective: whether each window met it, and the error budget left.

    Columns are weeks for windows of days, days for windows of hours, hours for shorter windows, in the time zone of
    the result. A met window is filled, a missed one is filled with a cross, an unclear one is hollow; the share is
    printed where it fits.

    Parameters
    ----------
    slo : pandas.DataFrame
        The result of ``vk.slo``: ``window_at``, ``share`` (0 to 1), ``verdict``, ``n``, ``budget_left_cumulative``,
        and the columns of ``attrs["by"]``.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The six largest groups are drawn, and the latest windows if not all fit; a note below the chart
        counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``by``, ``end``, ``every``, ``target``, ``tz``, ``within_s`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> result = pd.DataFrame({"window_at": pd.date_range("2026-03-02", periods=2, tz="UTC"), "share": [0.97, 0.91],
    ...     "verdict": ["met", "missed"], "n": 99, "budget_left_cumulative": [0.4, -0.2]})
    >>> result.attrs = {"by": [], "end": "delivered", "every": "1d", "target": 0.95, "tz": "UTC", "within_s": 60.0}
    >>> ax = vk.charts.slo(result)
    >>> [text.get_text() for text in ax.texts if "%" in text.get_text()][1:]
    ['budget overspent: 120 % used', '97 %', '× 91 %']
    """
    columns = ("window_at", "share", "verdict", "n", "budget_left_cumulative")
    attrs = ("by", "end", "every", "target", "tz", "within_s")
    require_result(slo, "slo", "vk.slo(journeys)", columns, attrs)
    layout = Layout.open(ax)
    if not len(slo):
        return layout.show_empty("no windows")
    by, end, every, target, tz, within_s = (slo.attrs[name] for name in attrs)
    groups, left_out = largest_groups(slo, slo["n"], MAX_GROUPS)
    calendar = _Calendar(layout, slo, period_s(every), tz, len(groups))
    left_out, groups = left_out + len(groups) - calendar.groups, groups[: calendar.groups]
    cells = [calendar.positions(part) for _, part in groups]
    goal = f"objective: {percent(target)} {end} within {duration(within_s)}"
    notes = [tz if every is None else f"a cell: {duration(period_s(every))}, {tz}", goal if by else ""]
    notes.append(not_drawn("earlier windows", sum(int((column < calendar.first).sum()) for column, _ in cells)))
    notes.append(not_drawn("groups", left_out))
    layout.set_height(_LEGEND + len(groups) * (_HEADING + calendar.bands * calendar.band), notes, axis=False)
    verdicts = pd.concat([part["verdict"] for _, part in groups]).astype(str).value_counts()
    x = 0.0
    for verdict in _COLOURS:
        name = f"{verdict} {verdicts.get(verdict, 0):,}"
        _draw_cells(Grid(layout, x, 0.06, 0.14, 0.14), np.zeros((2, 1), dtype=np.int64), [verdict], [""])
        layout.text(x + 0.18 / layout.inches[0], 0.17, name)
        x += layout.width(name) + 0.4 / layout.inches[0]
    top = _LEGEND
    for (name, part), (column, row) in zip(groups, cells, strict=True):
        layout.heading(top + 0.2, name if by else goal, _describe_budget(part))
        top += _HEADING
        decimals = int(part["share"].max() - part["share"].min() < 0.03)
        texts = [f"{100 * share:.{decimals}f}".removesuffix(".0") + " %" for share in part["share"]]
        for band in range(calendar.bands):
            start = calendar.first + band * calendar.across
            grid = Grid(layout, calendar.left, top + 0.2, calendar.width, calendar.height)
            grid.name_rows(calendar.names)
            grid.name_columns(calendar.column_names(start))
            shown = np.flatnonzero((column >= start) & (column < start + calendar.across))
            at = np.stack([column[shown] - start, row[shown]])
            _draw_cells(grid, at, part["verdict"].astype(str).iloc[shown].tolist(), [texts[index] for index in shown])
            top += calendar.band
    return layout.ax


class _Calendar:
    """Windows of ``step`` seconds in rows, and periods in columns; each of the bands has ``across`` columns.

    ``first`` and ``last`` are the first and the last column, ``left`` is the width of the names of the rows.
    """

    def __init__(self, layout: Layout, slo: pd.DataFrame, step_s: float, tz: str, groups: int) -> None:
        self.tz, self.step = tz, int(step_s) if step_s >= 1 else _DAY
        period = _HOUR if self.step < _HOUR else _DAY if self.step < _DAY else _WEEK
        self.period = period if self.step <= _DAY and period % self.step == 0 else self.step
        rows = self.period // self.step
        self.names = [_row_name(row * self.step, self.period) for row in range(rows)] if rows > 1 else []
        self.left = max(map(layout.width, self.names)) + 0.02 if self.names else 0.0
        column, _ = self.positions(slo)
        self.first, self.last = int(column.min()), int(column.max())
        self.years = (self.last - self.first) * self.period > 300 * _DAY
        available = (MAX_HEIGHT if layout.own else layout.inches[1] / 0.75) - _LEGEND
        self.groups = max(1, min(groups, int(available / (_HEADING + _NAMES + 0.09 * rows))))
        available, width = available / self.groups - _HEADING, layout.inches[0] * (1 - self.left)
        count = self.last - self.first + 1
        share_width = layout.width("× 99.9 %") * layout.inches[0] + 0.1
        for narrowest in (share_width, 0.13):  # wide enough for shares if they fit
            self.across = min(count, max(1, int(width / narrowest)))
            bands = -(-count // self.across)
            self.height = float(np.clip((available / bands - _NAMES) / rows, 0.09, 0.22 if rows < 8 else 0.15))
            if bands < 3 and self.height >= 0.15:
                break
        self.width = min(width / self.across, 0.8)
        self.bands = max(1, min(bands, int(available / self.band + 1e-9)))
        self.first += (bands - self.bands) * self.across

    @property
    def band(self) -> float:
        """The height of a band with the names of its columns."""
        return _NAMES + self.period // self.step * self.height

    @property
    def _offset(self) -> int:
        return _MONDAY if self.period % _WEEK == 0 else 0

    def positions(self, part: pd.DataFrame) -> tuple[Ints, Ints]:
        """Return the column and the row of each window, by its local time."""
        local = pd.to_datetime(part["window_at"], utc=True).dt.tz_convert(self.tz).dt.tz_localize(None)
        seconds = local.to_numpy("datetime64[s]").astype(np.int64) - self._offset
        return seconds // self.period, seconds % self.period // self.step

    def column_names(self, start: int) -> list[str]:
        """Return the names of the columns of a band, with the year on the first if there are many."""
        columns = range(start, min(start + self.across, self.last + 1))
        starts = [pd.Timestamp(column * self.period + self._offset, unit="s") for column in columns]
        names = [f"{at.day} {at:%b}" + (f" {at:%H:%M}" if self.period < _DAY else "") for at in starts]
        return [names[0] + f" {starts[0].year}" * self.years, *names[1:]]


def _row_name(seconds: int, period: int) -> str:
    if period == _WEEK:
        return WEEKDAYS[seconds // _DAY][:3]
    at = f"{seconds // _HOUR:02}:{seconds % _HOUR // 60:02}"
    return at if period == _DAY else at[2:]


def _describe_budget(part: pd.DataFrame) -> str:
    """Return the error budget after the last window where it is known."""
    known = part.sort_values("window_at")["budget_left_cumulative"].dropna()
    if not len(known):
        return "budget left: not yet known"
    left = float(known.iloc[-1])
    return f"budget left: {percent(left)}" if left >= 0 else f"budget overspent: {100 * (1 - left):,.0f} % used"


def _draw_cells(grid: Grid, at: Ints, verdicts: list[str], texts: list[str]) -> None:
    """Draw windows with their shares if all fit, else with crosses on those missed."""
    layout = grid.layout
    texts = [_PREFIXES[verdict] + text if text else "" for verdict, text in zip(verdicts, texts, strict=True)]
    widest = max(map(layout.width, filter(None, set(texts))), default=np.inf)
    fits = grid.height >= 0.15 and widest < grid.width / layout.inches[0] - 0.006
    for verdict, colour in _COLOURS.items():
        column, row = at[:, [other == verdict for other in verdicts]]
        grid.draw(column, row, facecolor=colour or "none", edgecolor="none" if colour else layout.text_colour, lw=0.8)
        if verdict == "missed" and not fits:
            grid.mark(column, row, "x", contrast(colour))
    for x, y, verdict, text in zip(*grid.middles(*at), verdicts, texts, strict=True) if fits else ():
        text_colour = contrast(_COLOURS[verdict]) if _COLOURS[verdict] else layout.text_colour
        layout.text(x, y, text, ha="center", va="center_baseline", colour=text_colour)
