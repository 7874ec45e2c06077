"""Charts of cells: the hours of the week, and a calendar of a service level objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.analysis.grouping import WEEKDAYS
from viberkit.charts._layout import MAX_HEIGHT, NAME, SMALLEST_TIME, Layout
from viberkit.charts._results import Floats, Numbers, check_result, largest_groups, not_drawn, period_s
from viberkit.charts._style import contrast, state_colour

__all__ = ["MAX_GROUPS", "profile", "slo"]

#: More groups are illegible; a note below the axis counts those left out.
MAX_GROUPS = 6
#: Inches: the gap between cells.
GAP = 0.02
_FEW = 30
#: Each colour differs from a dark background (a contrast of at least 3).
_COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0.34, 1.0, 256)))
Ints = NDArray[np.int64]

_HOUR, _DAY, _WEEK = 3600, 86400, 604800
_MONDAY = 4 * _DAY  # the first one after 1970-01-01
#: Inches: the legend, the heading of a group, and the names of columns.
_LEGEND, _HEADING, _NAMES = 0.3, 0.3, 0.24
_VERDICT_COLOURS = {"met": state_colour("delivered"), "missed": state_colour("failed"), "unclear": ""}
_UNCLEAR = state_colour("dispatched")
_PREFIXES = {"met": "", "missed": "× ", "unclear": "? "}


def profile(
    profile: pd.DataFrame,
    *,
    within: float | None = None,
    quantiles: float | None = None,
    counts: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the hours of the week as cells, coloured by a share, a quantile or the count of messages.

    A dot marks an hour of fewer than 30 messages, a grey cell a quantile that is not reached, a dash an unknown value;
    hours without messages are empty. Groups share one scale of colours, logarithmic for times. Where the median hour
    has too few messages for a quantile (fewer than five on either side of it), a note says how many it needs.

    Parameters
    ----------
    profile : pandas.DataFrame
        The result of ``vk.profile``: ``weekday``, ``hour`` (0 to 23), ``within_s``, ``quantile``, ``share``,
        ``value_s`` (seconds), ``n``, and the columns of ``attrs["by"]``.
    within : float, optional
        Draw the share that reached the end within this time in seconds; the first of the result by default.
    quantiles : float, optional
        Draw this quantile; the first of the result by default if it has no shares.
    counts : bool, default False
        Draw the count of messages.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The six largest groups are drawn; a note below the chart counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If the result has no such ``within`` or ``quantiles``, or one of the attrs ``by``, ``end``, ``tz`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "delivered"], "happened_at": at})
    >>> ax = vk.charts.profile(vk.profile(vk.journeys(events), within=60))
    >>> [text.get_text() for text in ax.texts][:2]
    ['share delivered within 1 min', '100 %']
    """
    columns = ("weekday", "hour", "within_s", "quantile", "share", "value_s", "n")
    check_result(profile, "profile", "vk.profile(journeys)", columns, ("by", "end", "tz"))
    layout = Layout.open(ax, title, profile.attrs)
    if not len(profile):
        return layout.show_empty("no hours")
    key, value = chosen_estimates(profile, "profile", within, quantiles, "within_s")[0]
    rows, end = profile[profile[key] == value], profile.attrs["end"]
    column = "n" if counts else "share" if key == "within_s" else "value_s"
    formats: dict[str, Callable[[float], str]] = {"n": "{:,.0f}".format, "share": percent, "value_s": duration}
    text = formats[column]
    names = {"n": "messages", "share": f"share {end} within {duration(value)}"}
    name = names.get(column, f"{percentile(value)} of the time until {end}")
    heading = 0.24 if profile.attrs["by"] else 0.0
    available = (MAX_HEIGHT if layout.own else layout.inches[1] / 0.75) - 0.3
    fitting = max(1, min(MAX_GROUPS, int(available / (heading + 0.24 + 7 * 0.14))))
    groups, left_out = largest_groups(rows, rows["n"], fitting)
    height = float(np.clip((available / len(groups) - heading - 0.24) / 7, 0.09, 0.22))
    values = np.concatenate([part[column].to_numpy(dtype=np.float64) for _, part in groups])
    sizes = np.concatenate([part["n"].to_numpy(dtype=np.float64) for _, part in groups])
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    notes = [f"hour of the day, {profile.attrs['tz']}"]
    needed, few = describe_few(key, value, sizes, "hour of the week")
    dots = float(np.median(sizes)) >= _FEW
    notes.append(f"dot: fewer than {_FEW} messages" if dots and ((sizes < _FEW) & np.isfinite(values)).any() else "")
    notes.append("grey: not reached" if np.isposinf(values).any() else "")
    notes += ["dash: unknown" if np.isnan(values).any() else "", not_drawn("groups", left_out)]
    if few and column == "value_s":
        better = [f"{percentile(q)} or " for q in (0.95, 0.9, 0.75, 0.5) if not describe_few(key, q, sizes, "")[1]]
        few += f"; {''.join(better[:1])}a log {needed / np.median(sizes):,.1f} times as long would be legible"
        notes.append(few)
    step = heading + 0.24 + 7 * height
    layout.set_height(0.3 + len(groups) * step, notes, axis=False)
    norm = Normalize(low, high)
    if column == "value_s":
        norm = LogNorm(max(low, SMALLEST_TIME), max(high, SMALLEST_TIME), clip=True)
    _draw_scale(layout, name, list(dict.fromkeys(map(text, (low, high)))))
    left = layout.width("Wed") + 0.02
    for index, (name, part) in enumerate(groups):
        top = 0.3 + index * step + heading
        if heading:
            layout.heading(top - 0.1, name, f"n {int(part['n'].sum()):,}")
        grid = Grid(layout, left, top, (1 - left) * layout.inches[0] / 24, height)
        grid.name_rows([day[:3] for day in WEEKDAYS])
        _draw_hours(grid, part, part[column].to_numpy(dtype=np.float64), norm, dots=dots)
    return layout.ax


def describe_few(key: str, estimate: float, sizes: Floats, item: str, width: float = 0.0) -> tuple[float, str]:
    """Describe that the median window or hour has too few messages for an estimate.

    Parameters
    ----------
    key : {"within_s", "quantile"}
        The column of the estimate.
    estimate : float
        Its value, in seconds or as a share.
    sizes : numpy.ndarray
        The numbers of messages.
    item : str
        The unit that has this number of messages.
    width : float, default 0.0
        The width of the median interval, as a multiple of the widest that is legible.

    Returns
    -------
    tuple of float and str
        The number of messages that the estimate needs, and the text; empty if there are enough. They are five on
        either side of a quantile, or 30 for a share, and more if the interval is wide.
    """
    quantile, median = key == "quantile", float(np.median(sizes))
    needed = float(np.ceil(5 / max(min(estimate, 1 - estimate), 1e-6) - 1e-6)) if quantile else _FEW
    if needed <= median and width > 1:
        needed = median * width**2
    text = f"{percentile(estimate) if quantile else 'a share'} needs {needed:,.0f} or more"
    if np.isinf(needed):
        text = f"the interval of {percentile(estimate)} has no bound"
    return needed, f"few messages: {median:,.0f} in the median {item}, {text}" if median < needed else ""


def chosen_estimates(
    result: pd.DataFrame, chart: str, within: Numbers, quantiles: Numbers, default: str
) -> list[tuple[str, float]]:
    """Return the estimates to draw: those requested, else all of one column.

    Parameters
    ----------
    result : pandas.DataFrame
        The result, with the columns ``within_s`` and ``quantile``.
    chart : str
        Name of the chart, for errors.
    within, quantiles : float or sequence of float, optional
        The estimates requested, in seconds or as shares.
    default : {"within_s", "quantile"}
        The column to draw if none is requested and it has values.

    Returns
    -------
    list of tuple
        Column and value of each estimate.

    Raises
    ------
    ValueError
        If an estimate is not in the result.
    """
    available = {key: sorted(result[key].dropna().unique()) for key in ("within_s", "quantile")}
    if within is None and quantiles is None:
        key = default if available[default] else ({*available} - {default}).pop()
        return [(key, float(value)) for value in available[key]]
    name, key, requested = ("quantiles", "quantile", quantiles) if within is None else ("within", "within_s", within)
    chosen = []
    for value in np.atleast_1d(np.asarray(requested, dtype=np.float64)):
        match = [known for known in available[key] if np.isclose(known, value)]
        if not match:
            options = ", ".join(f"{known:g}" for known in available[key]) or "none"
            raise ValueError(f"charts.{chart}: {name}: {value:g} is not in the result; pass one of: {options}")
        chosen.append((key, float(match[0])))
    return chosen


@dataclass
class Grid:
    """Cells in rows and columns: the left edge (a share of the width), the top, and the cells' size in inches."""

    layout: Layout
    left: float
    top: float
    width: float
    height: float

    def middles(self, column: Ints, row: Ints) -> tuple[Floats, Floats]:
        """Return the middle of cells: shares of the width, and inches from the top."""
        x = (column.astype(np.float64) + 0.5) * self.width - GAP / 2
        y = (row.astype(np.float64) + 0.5) * self.height - GAP / 2
        return self.left + x / self.layout.inches[0], self.top + y

    def draw(self, column: Ints, row: Ints, **style: Any) -> None:
        """Draw cells."""
        width, height = (self.width - GAP) / self.layout.inches[0] / 2, (self.height - GAP) / 2
        corners = np.array([(-width, -height), (width, -height), (width, height), (-width, height)])
        cells = np.stack(self.middles(column, row), axis=1)[:, None, :] + corners
        self.layout.ax.add_collection(PolyCollection(cells, **style))

    def mark(self, column: Ints, row: Ints, marker: str, colour: str) -> None:
        """Draw a marker in cells."""
        size = 72 * 0.5 * min(self.width, self.height) * self.layout.scale
        self.layout.ax.plot(*self.middles(column, row), marker=marker, ls="", ms=size, color=colour)

    def name_rows(self, names: Sequence[str]) -> None:
        """Label as many rows as fit."""
        step = next((step for step in (1, 2, 3, 6, 12) if step * self.height >= 0.125), 24)
        for row in range(0, len(names), step):
            y = self.top + (row + 0.5) * self.height - GAP / 2
            self.layout.text(self.left - 0.01, y, names[row], ha="right", va="center_baseline")

    def name_columns(self, names: Sequence[str]) -> None:
        """Label as many columns as fit."""
        width = self.width / self.layout.inches[0]
        step = int(np.ceil((max(map(self.layout.width, names)) + 0.015) / width))
        for column in range(0, len(names), step):
            x = self.left + column * width
            if x + self.layout.width(names[column]) <= 1.0:
                self.layout.text(x, self.top - 0.06, names[column])


def _draw_hours(grid: Grid, part: pd.DataFrame, values: Floats, norm: Normalize, *, dots: bool) -> None:
    """Draw the cells of a week: all hollow, then coloured where there is a value; ``dots`` where there are few."""
    day, hour = np.divmod(np.arange(168), 24)
    grid.draw(hour, day, facecolor="none", edgecolor=grid.layout.text_colour, lw=0.5, alpha=0.35)
    day = part["weekday"].astype(str).map(WEEKDAYS.index).to_numpy(dtype=np.int64)
    hour, known = part["hour"].to_numpy(dtype=np.int64), np.isfinite(values)
    colours = _COLOURS(norm(values))
    grid.draw(hour[known], day[known], facecolors=colours[known], edgecolors="none")
    few = known & (part["n"].to_numpy() < _FEW) & dots
    style: dict[str, Any] = {"c": [contrast(colour[:3]) for colour in colours[few]], "linewidths": 0, "zorder": 3}
    grid.layout.ax.scatter(*grid.middles(hour[few], day[few]), 7 * grid.layout.scale, **style)
    unreached, unknown = np.isposinf(values), np.isnan(values)
    grid.draw(hour[unreached], day[unreached], facecolor=grid.layout.text_colour, edgecolor="none", alpha=0.45)
    grid.mark(hour[unknown], day[unknown], "_", grid.layout.text_colour)
    for at in range(0, 24, 3):
        x = grid.left + at * grid.width / grid.layout.inches[0]
        grid.layout.text(x, grid.top + 7 * grid.height + 0.12, f"{at:02}:00")


def _draw_scale(layout: Layout, title: str, ends: list[str]) -> None:
    """Draw the title, and a strip of the colours between the smallest and the largest value."""
    right = 1 - layout.width(ends[-1]) - 0.012
    left = right - (1.2 if len(ends) > 1 else 0.2) / layout.inches[0]
    layout.text(0, 0.16, layout.elide(title, left - layout.width(ends[0]) - 0.045, NAME), size=NAME)
    for x, text in zip((1, left - 0.012), ends[::-1], strict=False):
        layout.text(x, 0.16, text, ha="right")
    colours = np.linspace(0, len(ends) - 1, 64)[None]  # a single value has the first colour
    layout.ax.pcolormesh(np.linspace(left, right, 65), [0.07, 0.17], colours, cmap=_COLOURS, vmin=0, vmax=1)


def slo(slo: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a calendar of a service level objective: whether each window met it, and the error budget left.

    Columns are weeks for windows of days, days for windows of hours, hours for shorter windows, in the time zone of
    the result. A met window is filled, a missed one is filled with a cross, an unclear one is hollow with a question
    mark; the share is printed where it fits, with enough decimals to differ from the target.

    Parameters
    ----------
    slo : pandas.DataFrame
        The result of ``vk.slo``: ``window_at``, ``share`` (0 to 1), ``verdict``, ``n``, ``budget_left_cumulative``,
        and the columns of ``attrs["by"]``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
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
    check_result(slo, "slo", "vk.slo(journeys)", columns, attrs)
    layout = Layout.open(ax, title, slo.attrs)
    if not len(slo):
        return layout.show_empty("no windows")
    by, end, every, target, tz, within_s = (slo.attrs[name] for name in attrs)
    calendar = _Calendar(layout, slo, period_s(every), tz)
    groups, left_out = largest_groups(slo, slo["n"], calendar.groups)
    cells = [calendar.positions(part) for _, part in groups]
    goal = f"objective: {percent(target)} {end} within {duration(within_s)}"
    notes = [tz if every is None else f"a cell: {duration(period_s(every))}, {tz}", goal if by else ""]
    notes.append(not_drawn("earlier windows", sum(int((column < calendar.first).sum()) for column, _ in cells)))
    notes.append(not_drawn("groups", left_out))
    layout.set_height(_LEGEND + len(groups) * (_HEADING + calendar.bands * calendar.band), notes, axis=False)
    verdicts = pd.concat([part["verdict"] for _, part in groups]).astype(str).value_counts()
    x = 0.0
    for verdict in _VERDICT_COLOURS:
        name = f"{verdict} {verdicts.get(verdict, 0):,}"
        _draw_cells(Grid(layout, x, 0.06, 0.14, 0.14), np.zeros((2, 1), dtype=np.int64), [verdict], [""])
        layout.text(x + 0.18 / layout.inches[0], 0.17, name)
        x += layout.width(name) + 0.4 / layout.inches[0]
    top = _LEGEND
    for (name, part), (column, row) in zip(groups, cells, strict=True):
        layout.heading(top + 0.2, name if by else goal, _describe_budget(part))
        top += _HEADING
        decimals = int(part["share"].max() - part["share"].min() < 0.03)
        texts = [_share_text(share, decimals, target) for share in part["share"].tolist()]
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

    ``first`` and ``last`` are the first and the last column, ``left`` is the width of the names of the
    rows, ``band`` the height of a band with the names of its columns.
    """

    def __init__(self, layout: Layout, slo: pd.DataFrame, step_s: float, tz: str) -> None:
        self.tz, self.step = tz, int(step_s) if step_s >= 1 else _DAY
        period = _HOUR if self.step < _HOUR else _DAY if self.step < _DAY else _WEEK
        self.period = period if self.step <= _DAY and period % self.step == 0 else self.step
        rows = self.period // self.step
        starts = pd.to_datetime(_MONDAY + self.step * np.arange(rows), unit="s")
        name_format = {_WEEK: "%a", _DAY: "%H:%M"}.get(self.period, ":%M")
        self.names = starts.strftime(name_format).tolist() if rows > 1 else []
        self._offset = _MONDAY if self.period % _WEEK == 0 else 0
        self.left = max(map(layout.width, self.names)) + 0.02 if self.names else 0.0
        column, _ = self.positions(slo)
        self.first, self.last = int(column.min()), int(column.max())
        self.years = (self.last - self.first) * self.period > 300 * _DAY
        available = (MAX_HEIGHT if layout.own else layout.inches[1] / 0.75) - _LEGEND
        groups = len(largest_groups(slo, slo["n"], MAX_GROUPS)[0])
        self.groups = max(1, min(groups, int(available / (_HEADING + _NAMES + 0.09 * rows))))
        available, width = available / self.groups - _HEADING, layout.inches[0] * (1 - self.left)
        count = self.last - self.first + 1
        share_width = layout.width("× 99.99 %") * layout.inches[0] + 0.1
        for narrowest in (share_width, 0.13):  # wide enough for shares if they fit
            self.across = min(count, max(1, int(width / narrowest)))
            bands = -(-count // self.across)
            self.height = float(np.clip((available / bands - _NAMES) / rows, 0.09, 0.22 if rows < 8 else 0.15))
            if bands < 3 and self.height >= 0.15:
                break
        self.width = min(width / self.across, 0.8)
        self.band = _NAMES + rows * self.height
        self.bands = max(1, min(bands, int(available / self.band + 1e-9)))
        self.first += (bands - self.bands) * self.across

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


def _share_text(share: float, decimals: int, target: float) -> str:
    """Return a share in per cent, with `decimals` decimals, or more where it would look like the target or 100 %.

    >>> _share_text(0.97, 0, 0.95), _share_text(0.9486, 0, 0.95), _share_text(0.9994, 0, 0.999)
    ('97 %', '94.9 %', '99.94 %')
    >>> _share_text(float("nan"), 0, 0.95)
    '–'
    """
    if math.isnan(share):
        return "–"
    while decimals < 2 and round(share, decimals + 2) in (target, 1) and share not in (target, 1):
        decimals += 1
    return f"{100 * share:.{decimals}f}".removesuffix(".0") + " %"


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
    for verdict, colour in _VERDICT_COLOURS.items():
        column, row = at[:, [other == verdict for other in verdicts]]
        edge = "none" if colour else _UNCLEAR
        grid.draw(column, row, facecolor=colour or "none", edgecolor=edge, lw=0.8)
        if verdict != "met" and not fits:
            grid.mark(column, row, "x" if colour else "$?$", contrast(colour) if colour else edge)
    for x, y, verdict, text in zip(*grid.middles(*at), verdicts, texts, strict=True) if fits else ():
        text_colour = contrast(_VERDICT_COLOURS[verdict]) if _VERDICT_COLOURS[verdict] else layout.text_colour
        layout.text(x, y, text, ha="center", va="center_baseline", colour=text_colour)
