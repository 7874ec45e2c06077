"""Charts of a log over time: quantiles and shares window by window, beside them what changed and when."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from viberkit.analysis.formatting import UNITS, duration, percent
from viberkit.charts._layout import LINE, WIDTH, Sheet, need
from viberkit.charts._style import GROUP_COLOURS, SMALL, spread
from viberkit.charts._windows import MOST_GROUPS, largest, shown, spoken, window_length

__all__ = ["over_time"]

#: More windows than this in 7 inches are a smear.
MOST_POINTS = 800
_TALL = 2.7
#: Ticks to choose from, the roundest first: numbers of ms, s, min, h and d.
_ROUND = (
    ((1, 10, 100), (1, 10), (1, 10), (1,), (1, 10, 100)),
    ((3, 30, 300), (3, 30), (3, 30), (3, 12), (3, 30)),
    ((2, 5, 20, 50, 200, 500), (2, 5, 20), (2, 5, 20), (2, 6), (2, 5, 20)),
)
_Floats = NDArray[np.float64]


def over_time(
    drift: pd.DataFrame,
    *,
    changes: pd.DataFrame | None = None,
    show: str | None = None,
    tz: str = "UTC",
    ax: Axes | None = None,
) -> Axes:
    """How long delivery took, window by window, in real time: a line a quantile, its interval shaded, on a log axis.

    ``drift`` is the table of ``vk.over_time``: ``window_at`` (UTC), ``n``, and ``p50_s``, ``p50_low_s``,
    ``p50_high_s`` … or ``within_60s``, ``within_60s_low`` …; any columns to group by stand before ``window_at``.
    Where a quantile is not reached the line has a gap and a triangle at the top edge; where it is not known yet, a
    gap and a dash there. ``show`` names what to draw: a column (``"p90"``, ``"within_60s"``), or ``"within"`` for the
    shares delivered in time; beside these a dotted line is the naive share, which counts messages still open as
    missed. Without it all quantiles are drawn. With groups it is a line a group, the six largest, of one column.
    ``changes`` is the table of ``vk.changes``: each is a vertical line with what it was before and after. ``tz`` is the
    zone in which dates are told. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> at = pd.date_range("2026-03-01", periods=3, freq="h", tz="UTC")
    >>> rows = pd.DataFrame({"window_at": at, "n": 9, "p50_s": [1.2, 1.4, 1.3], "p50_low_s": 1.0, "p50_high_s": 2.0})
    >>> ax = over_time(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['time until delivered, log scale', 'p50']
    """
    need(drift, "over_time", ("window_at", "n"), "vk.over_time(journeys)")
    if not len(drift):
        return Sheet.open(ax).say("no windows")
    by = list(drift.columns[: drift.columns.get_loc("window_at")])
    columns = shown(drift, "over_time", "vk.over_time(journeys)", show)[: 1 if by else MOST_GROUPS]
    sheet = Sheet.open(ax)
    if sheet.own:
        sheet.ax.figure.subplots_adjust(left=0.62 / WIDTH, right=1 - 0.12 / WIDTH)
    lines, step, left_out = _lines(drift, by, columns)
    share = columns[0].startswith("within")
    plot = _Plot(sheet, lines, step, tz, share=share)
    marks = [] if changes is None or not len(changes) else _marks(changes, tz)
    naive = share and any(np.isfinite(line.naive).any() for line in lines)

    notes = [f"each point: the messages of {duration(step)}"] if window_length(drift) > 0 else []
    notes.append(_dates(plot.low, plot.high, tz))
    if any(np.isfinite(line.low).any() for line in lines):
        notes.append("shaded: interval")
    if naive and len(lines) > 1:
        notes.append("dotted: naive")
    if over := sum(int(np.isposinf(line.value).sum()) for line in lines):
        notes.append(f"triangle: not reached, {over:,} {_windows(over)}")
    if unknown := sum(int(np.isnan(line.value).sum()) for line in lines):
        notes.append(f"dash: not known yet, {unknown:,} {_windows(unknown)}")
    if max(len(line.when) for line in lines) > MOST_POINTS:
        notes.append("longer windows (every=…) would show the course better")
    if left_out:
        notes.append(f"groups not drawn: {left_out:,}")
    labels = plot.place(marks)
    if unsaid := sum(label is None for label in labels):
        notes.append(f"changes without a label: {unsaid:,}")
    plot.set(" · ".join(notes), edge=bool(over or unknown), head=0.58 if marks else 0.2)
    what = f"share delivered within {spoken(columns[0])}" if share else "time until delivered, log scale"
    if by:
        what = what if share else f"{spoken(columns[0])} of the time until delivered, log scale"
        what += f", by {' and '.join(map(str, by))}"
    elif share and len(columns) > 1:
        what = "share delivered in time"
    plot.put(0.0, 0.12, sheet.elide(what, 1.0))
    for line in lines:
        plot.draw(line, crowd=len(lines))
    plot.name(lines, naive=naive)
    for (at, _), label in zip(marks, labels, strict=True):
        plot.mark(at, label)
    return sheet.ax


@dataclass
class _Line:
    """What one line is drawn from: its name and colour, its windows' middles in days, and the columns."""

    name: str
    hue: str
    when: _Floats
    value: _Floats
    low: _Floats
    high: _Floats
    naive: _Floats


def _lines(drift: pd.DataFrame, by: list[str], columns: Sequence[str]) -> tuple[list[_Line], float, int]:
    """The lines to draw, the length of a window in seconds, and how many groups are left out."""
    step = window_length(drift)
    step = step if step > 0 else 3600.0
    parts, left_out = largest(drift, by)
    lines: list[_Line] = []
    for name, part in parts:
        part = part.sort_values("window_at", kind="stable")
        at = (part["window_at"].to_numpy("datetime64[us]").astype(np.int64) / 1e6 + step / 2) / 86400
        for column in columns:
            root, tail = (column, "") if column.startswith("within") else (column.removesuffix("_s"), "_s")
            low, high, naive = (
                part[other].to_numpy(np.float64) if other in part else np.full(len(part), np.nan)
                for other in (f"{root}_low{tail}", f"{root}_high{tail}", f"{column}_naive")
            )
            label = name or ("" if tail else "within ") + spoken(column)
            if len(part) == 1 and np.isfinite(only := float(part[column].iloc[0])):
                label += f" {duration(only)}" if tail else f" {percent(only)}"
            hue = GROUP_COLOURS[len(lines) % len(GROUP_COLOURS)]
            lines.append(_Line(label, hue, at, part[column].to_numpy(np.float64), low, high, naive))
    return lines, step, left_out


def _marks(changes: pd.DataFrame, tz: str) -> list[tuple[float, str]]:
    """When each change was, in days, and a short text."""
    need(changes, "over_time", ("since", "metric", "unit", "before", "after"), "changes=vk.changes(journeys)")
    by = list(changes.columns[: changes.columns.get_loc("since")])
    rows = changes.sort_values("since", kind="stable")
    found = []
    columns = [*by, "since", "metric", "unit", "before", "after"]
    for *group, since, metric, unit, before, after in rows[columns].itertuples(index=False):
        at, say = pd.Timestamp(since).tz_convert(tz), percent if unit == "share" else duration
        first = " · ".join([*map(str, group), f"{at.day} {at:%b %H:%M}"])
        ends = ["not reached" if np.isposinf(end) else say(end) for end in (before, after)]
        found.append((at.timestamp() / 86400, f"{first}\n{metric} {ends[0]} → {ends[1]}"))
    return found


class _Plot:
    """The axes with real time along it: room for names at its right, a head for texts, and an edge for marks."""

    def __init__(self, sheet: Sheet, lines: Sequence[_Line], step: float, tz: str, *, share: bool) -> None:
        self.sheet, self.ax, self.share, self.step, self.tz = sheet, sheet.ax, share, step / 86400, tz
        self.low = min(float(line.when.min()) for line in lines) - self.step / 2
        self.high = max(float(line.when.max()) for line in lines) + self.step / 2
        values = np.concatenate([part for line in lines for part in (line.value, line.naive)])
        ends = np.concatenate([part for line in lines for part in (line.low, line.high)])
        values, ends = values[np.isfinite(values)], ends[np.isfinite(ends)]
        if share:
            smallest = min(values.min(initial=1.0), ends.min(initial=1.0))
            self.bottom, self.top = (0.0 if smallest < 0.5 else 0.5 if smallest < 0.79 else 0.8), 1.0
        else:
            values, ends = values[values > 0], ends[ends > 0]
            if not len(values):
                values = ends if len(ends) else np.ones(1)
            low, high = np.log10(values.min()), np.log10(values.max())
            if len(ends):  # an interval far wider than the line would flatten it
                low = max(min(low, np.log10(ends.min())), low - 1)
                high = min(max(high, np.log10(ends.max())), high + 1)
            spare = max(0.06 * (high - low), (0.7 - high + low) / 2)
            self.bottom, self.top = low - spare, high + spare
        room = max(sheet.width(line.name) for line in lines)
        self.names = min(max(room, sheet.width("naive") if share else 0.0), 0.26) + 0.03
        self.right = self.low + (self.high - self.low) / (1 - self.names)

    def across(self, at: float) -> float:
        """Where an instant stands, as a share of the width."""
        return (at - self.low) / (self.right - self.low)

    def up(self, value: float) -> float:
        """Where a value stands, as a share of the height."""
        low, high = self.ax.get_ylim()
        if self.share:
            return (value - low) / (high - low)
        return float(np.log10(max(value, 1e-9) / low) / np.log10(high / low))

    def put(self, x: float, inches: float, text: str, *, ha: str = "left") -> None:
        """Set a text, its baseline so many inches under the upper edge."""
        sheet, up = self.sheet, 1 - inches * self.sheet.scale / self.tall
        size = SMALL * sheet.scale
        self.ax.text(x, up, text, fontsize=size, color=sheet.ink, ha=ha, va="baseline", transform=self.ax.transAxes)

    def place(self, marks: Sequence[tuple[float, str]]) -> list[tuple[float, str] | None]:
        """Where the label of each change stands; None for what finds no room, the later ones kept."""
        kept = [place for place, (at, _) in enumerate(marks) if self.low <= at <= self.high]
        while True:
            widths = [max(map(self.sheet.width, marks[place][1].split("\n"))) + 0.02 for place in kept]
            middles = spread([self.across(marks[place][0]) for place in kept], widths, 0.0, 1.0)
            if middles is not None:
                found = {place: (x, marks[place][1]) for place, x in zip(kept, middles, strict=True)}
                return [found.get(place) for place in range(len(marks))]
            kept.pop(0)

    def set(self, label: str, *, edge: bool, head: float) -> None:
        """Set limits, ticks and the label under the axis."""
        self.sheet.fix(_TALL + head, label)
        ax, self.tall = self.ax, self.sheet.inches[1]
        self.head = head * self.sheet.scale / self.tall
        self.edge = self.head + (0.1 / self.tall if edge else 0.0)
        top = self.bottom + (self.top - self.bottom) / (1 - self.edge - 0.04)
        ax.set_xlim(self.low, self.right)
        ax.xaxis.set_major_locator(_Dates(self.high, self.tz, max(4, int(self.sheet.inches[0] / 0.62))))
        ax.xaxis.set_major_formatter(FuncFormatter(self._date))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.spines["bottom"].set_bounds(self.low, self.high)
        if self.share:
            ax.set_ylim(self.bottom, top)
            ticks = list(np.linspace(self.bottom, 1.0, 5 if self.bottom != 0.5 else 6))
            words = [percent(tick) for tick in ticks]
        else:
            ax.set_yscale("log")
            ax.set_ylim(10**self.bottom, 10**top)
            room = self.tall * (1 - self.edge)
            ticks = _ticks(10**self.bottom, 10**self.top, (self.top - self.bottom) * 0.24 / room)
            words = [duration(tick) for tick in ticks]
        ax.yaxis.set_major_locator(FixedLocator(ticks))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: words[int(np.argmin(np.abs(np.array(ticks) - y)))]))
        ax.yaxis.set_minor_locator(NullLocator())
        ink = self.sheet.ink
        ax.tick_params(axis="y", colors=ink, labelcolor=ink, labelsize=SMALL * self.sheet.scale, length=0)
        for tick in ticks:
            ax.plot([self.low, self.high], [tick, tick], color=ink, lw=0.5, alpha=0.3, zorder=0)

    def _date(self, x: float, _: object = None) -> str:
        at = _day(x, self.tz)
        if self.high - self.low > 300:
            return f"{at:%b %Y}"
        return f"{at:%H:%M}" if at.hour or at.minute else f"{at.day} {at:%b}"

    def draw(self, line: _Line, *, crowd: int) -> None:
        """Draw a line, broken where windows are missing, and a dot where one stands alone."""
        ax = self.ax
        at, cuts = line.when, np.flatnonzero(np.diff(line.when) > 1.5 * self.step) + 1
        x = np.insert(at, cuts, at[cuts] - self.step / 2)
        value, low, high, naive = (
            np.insert(part, cuts, np.nan) for part in (line.value, line.low, line.high, line.naive)
        )
        floor, roof = ax.get_ylim()
        roof = 1.0 if self.share else 10**self.top
        drawn = np.where(np.isfinite(value), value if self.share else np.maximum(value, floor), np.nan)
        known = np.isfinite(drawn) & ~np.isnan(low) & ~np.isnan(high)
        low, high = np.clip(low, floor, roof), np.clip(high, floor, roof)
        ax.fill_between(x, low, high, where=known, color=line.hue, alpha=0.28 if crowd < 3 else 0.14, lw=0, zorder=1)
        ax.plot(x, drawn, color=line.hue, lw=1.6 if len(x) < 400 else 0.7, zorder=3)
        gone = np.isnan(np.concatenate([[np.nan], drawn, [np.nan]]))
        alone = np.flatnonzero(~gone[1:-1] & gone[:-2] & gone[2:])
        few = np.arange(len(x)) if len(x) <= 60 else alone
        ax.plot(x[few], drawn[few], "o", ms=4, color=line.hue, mec="none", zorder=4)
        lone = alone[known[alone]]
        ax.vlines(x[lone], low[lone], high[lone], color=line.hue, lw=2.5, alpha=0.4, zorder=2)
        if self.share:
            ax.plot(x, naive, ":" if len(x) < 400 else "-", color=line.hue, lw=1.0 if len(x) < 400 else 0.3, zorder=2)
            ax.plot(x[alone], naive[alone], "o", ms=3, mfc="none", color=line.hue, mew=0.8, zorder=2)
        edge = 1 - self.edge + 0.04 / self.tall
        for where, marker in ((np.isposinf(line.value), "^"), (np.isnan(line.value), "_")):
            if where.any():
                y, across = np.full(where.sum(), edge), ax.get_xaxis_transform()
                ax.plot(at[where], y, marker, ms=4.5, color=line.hue, transform=across, clip_on=False, zorder=4)

    def name(self, lines: Sequence[_Line], *, naive: bool) -> None:
        """Name each line at its right end, moved apart where they meet."""
        ends = []
        for line in lines:
            told = np.flatnonzero(np.isfinite(line.value))
            ends.append((line, line.name, float(line.when[told[-1]]), float(line.value[told[-1]])) if len(told) else
                        (line, line.name, self.high, 10**self.top))  # fmt: skip
            said = np.flatnonzero(np.isfinite(line.naive))
            if naive and len(said) and len(lines) == 1:
                ends.append((line, "naive", float(line.when[said[-1]]), float(line.naive[said[-1]])))
        ends.sort(key=lambda end: self.up(end[3]))
        size = 0.155 * self.sheet.scale / self.tall
        places = [float(np.clip(self.up(end[3]), 0.0, 1.0)) for end in ends]
        middles = spread(places, [size] * len(ends), 0.0, 1 - self.head + size) or places
        for (line, name, at, _), place, middle in zip(ends, places, middles, strict=True):
            begin, edge = self.across(at), self.across(self.high)
            x, y = [begin, edge, edge + 0.012], [place, place, middle]
            ax, dash = self.ax, ":" if name == "naive" else "-"
            ax.plot(x, y, color=line.hue, lw=0.8, ls=dash, alpha=0.8, transform=ax.transAxes, clip_on=False)
            ax.text(
                edge + 0.016, middle, self.sheet.elide(name, self.names - 0.016), fontsize=SMALL * self.sheet.scale,
                color=self.sheet.ink, va="center_baseline", transform=ax.transAxes,
            )  # fmt: skip

    def mark(self, at: float, label: tuple[float, str] | None) -> None:
        """Draw a change: a vertical line, and its label above."""
        if not self.low <= at <= self.high:
            return
        x, top, ink = self.across(at), 1 - self.head, self.sheet.ink
        style: dict[str, Any] = {"color": ink, "lw": 0.8, "transform": self.ax.transAxes, "zorder": 2}
        self.ax.plot([x, x], [0, top], ls=(0, (4, 2)), alpha=0.8, **style)
        if label:
            middle, text = label
            self.ax.plot([x, middle], [top, top + 0.06 / self.tall], **style)
            for place, part in enumerate(reversed(text.split("\n"))):
                self.put(middle, 0.44 - LINE * place, part, ha="center")


class _Dates(dates.AutoDateLocator):
    """Ticks at hours, days, months or years that people know, none beyond the data."""

    def __init__(self, end: float, tz: str, most: int) -> None:
        super().__init__(tz=ZoneInfo(tz), minticks=4, maxticks=most)  # type: ignore[no-untyped-call]
        self.intervald |= {dates.DAILY: [1, 2, 7, 14, 32], dates.MONTHLY: [1, 2, 3, 6, 12]}
        self.intervald |= {dates.HOURLY: [1, 2, 3, 6, 12, 24], dates.MINUTELY: [1, 2, 5, 10, 15, 30, 60]}
        self.end = end

    def __call__(self) -> list[float]:
        with warnings.catch_warnings():  # matplotlib cannot do with so few ticks, and tells the user
            warnings.simplefilter("ignore")
            ticks: list[float] = super().__call__()  # type: ignore[no-untyped-call]
        return [tick for tick in ticks if tick <= self.end]


def _ticks(low: float, high: float, apart: float) -> list[float]:
    """Times people know between two, at least so many powers of ten apart; the roundest first."""
    kept: list[float] = []
    for level in _ROUND:
        for tick in (step * size for (_, size), steps in zip(UNITS, level, strict=True) for step in steps):
            if low <= tick <= high and all(abs(np.log10(tick / other)) >= apart for other in kept):
                kept.append(tick)
    return sorted(kept)


def _windows(count: int) -> str:
    return "window" if count == 1 else "windows"


def _day(day: float, tz: str) -> pd.Timestamp:
    """An instant from days since 1970."""
    return pd.Timestamp(int(day * 86400 + 1e-3), unit="s", tz="UTC").tz_convert(tz)


def _dates(low: float, high: float, tz: str) -> str:
    """From which day to which."""
    first, last = _day(low, tz), _day(high - 1e-6, tz)
    texts = [f"{first.day} {first:%b %Y}", f"{last.day} {last:%b %Y}"]
    return " – ".join(dict.fromkeys(texts)) + f", {tz}"
