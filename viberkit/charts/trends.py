"""A chart of delivery over time: quantiles or shares by window, and the changes between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, date2num, num2date
from matplotlib.ticker import NullLocator

from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.charts._layout import Layout
from viberkit.charts._results import Floats, group_label, largest_groups, period_s, require_result
from viberkit.charts._style import GROUP_COLOURS, time_ticks
from viberkit.charts.heatmaps import MAX_GROUPS, chosen_estimates

__all__ = ["over_time"]

#: More windows than this are illegible in a notebook.
MAX_WINDOWS = 800
_HEIGHT = 2.7


def over_time(
    over_time: pd.DataFrame,
    *,
    within: float | Sequence[float] | None = None,
    quantiles: float | Sequence[float] | None = None,
    changes: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw quantiles of the time to delivery, or shares delivered in time, window by window.

    One line per estimate, or per group, with its confidence interval. Times are on a log axis. Where a quantile is
    not reached, the line has a gap and a triangle at the upper edge; where a value is unknown, a gap and a dash. A
    dotted line beside a share is the naive share, which counts open messages as not delivered.

    Parameters
    ----------
    over_time : pandas.DataFrame
        The result of ``vk.over_time``: ``window_at``, ``within_s``, ``quantile``, ``share``, ``low``, ``high``,
        ``naive_share``, ``value_s``, ``low_s``, ``high_s`` (seconds), ``n``, and the columns of ``attrs["by"]``.
    within : float or sequence of float, optional
        Draw the shares that reached the end within these times in seconds.
    quantiles : float or sequence of float, optional
        Draw these quantiles; all of the result by default, or all shares if it has no quantiles.
    changes : pandas.DataFrame, optional
        The result of ``vk.changes``: a vertical line for each, labelled with the values before and after.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. With groups, only the first estimate and the six largest groups are drawn; a note below the axis
        says how many groups are not.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If the result has no such ``within`` or ``quantiles``, or one of the attrs ``by``, ``end``, ``every``, ``tz``
        is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "delivered"], "happened_at": at})
    >>> ax = vk.charts.over_time(vk.over_time(vk.journeys(events), quantiles=0.5))
    >>> [text.get_text() for text in ax.texts]
    ['time until delivered, log scale', 'p50 2 s']
    """
    source, attrs = "vk.over_time(journeys)", ("by", "end", "every", "tz")
    columns = ["window_at", "within_s", "quantile", "n", *_COLUMNS["within_s"], *_COLUMNS["quantile"]]
    require_result(over_time, "over_time", source, columns, attrs)
    layout = Layout.open(ax, left=0.62, right=0.12)
    if not len(over_time):
        return layout.show_empty("no windows")
    by, end, every, tz = (over_time.attrs[name] for name in attrs)
    estimates = chosen_estimates(over_time, "over_time", within, quantiles, "quantile")[: 1 if by else MAX_GROUPS]
    lines, left_out = _read_lines(over_time, estimates, every)
    share = estimates[0][0] == "within_s"
    plot = _Plot(layout, lines, tz, share=share)
    marks = [] if changes is None or not len(changes) else _read_changes(changes, tz)
    marks = [(at, text) for at, text in marks if plot.low <= at <= plot.high]
    marks = marks[::-1]  # the latest keep their labels if not all fit
    rows = layout.label_rows([text for _, text in marks], [plot.across(at) for at, _ in marks])
    labels = dict(label for row in rows for label in row)
    unknown, unreached = (int(sum(test(line.value).sum() for line in lines)) for test in (np.isnan, np.isposinf))
    naive = any(np.isfinite(line.naive).any() for line in lines)
    notes = [] if every is None else [f"each point: the messages of {duration(period_s(every))}"]
    notes.append(f"{plot.dates()}, {tz}")
    for condition, note in (
        (any(np.isfinite(line.low).any() for line in lines), "shaded: confidence interval"),
        (naive and len(lines) > 1, "dotted: naive"),
        (unreached, f"triangle: not reached, {unreached:,} {'window' if unreached == 1 else 'windows'}"),
        (unknown, f"dash: not yet known, {unknown:,} {'window' if unknown == 1 else 'windows'}"),
        (max(len(line.days) for line in lines) > MAX_WINDOWS, "longer windows (every=…) would be more legible"),
        (left_out, f"groups not drawn: {left_out:,}"),
        (len(labels) < len(marks), f"changes without a label: {len(marks) - len(labels):,}"),
    ):
        notes += [note] if condition else []
    plot.set_axes(notes, edge=bool(unreached or unknown), head=0.58 if marks else 0.2)
    if share:
        title = f"share {end} within {duration(estimates[0][1])}" if len(estimates) == 1 else f"share {end} in time"
    else:
        title = f"{percentile(estimates[0][1])} of the time until {end}" if by else f"time until {end}"
        title += ", log scale"
    title += f", by {' and '.join(map(str, by))}" if by else ""
    plot.write(0.0, 0.12, layout.elide(title, 1.0), ha="left")
    for line in lines:
        plot.draw(line, faint=len(lines) > 2)
    plot.name_lines(lines, naive=naive and len(lines) == 1)
    for index, (at, text) in enumerate(marks):
        plot.mark(at, text, labels.get(index))
    return layout.ax


#: The columns of an estimate: its value, the bounds of its interval, and the naive value.
_COLUMNS = {"within_s": ("share", "low", "high", "naive_share"), "quantile": ("value_s", "low_s", "high_s")}


@dataclass
class _Line:
    """A line by window: its name, its colour, the middle of each window and its length in days, and the values."""

    name: str
    colour: str
    days: Floats
    step: float
    value: Floats
    low: Floats
    high: Floats
    naive: Floats


def _read_lines(
    over_time: pd.DataFrame, estimates: Sequence[tuple[str, float]], every: object
) -> tuple[list[_Line], int]:
    """Return the lines to draw, and the number of groups left out."""
    step = period_s(every) / 86400
    step = step if step > 0 else 1 / 24
    lines: list[_Line] = []
    for key, estimate in estimates:
        rows = over_time[over_time[key] == estimate]
        groups, left_out = largest_groups(rows, rows["n"], MAX_GROUPS)
        for group, part in groups:
            part = part.sort_values("window_at", kind="stable")
            values = [part[column].to_numpy(dtype=np.float64) for column in _COLUMNS[key]]
            values += [np.full(len(part), np.nan)] * (4 - len(values))
            text = duration if key == "quantile" else percent
            name = group or (percentile(estimate) if key == "quantile" else f"within {duration(estimate)}")
            if len(part) == 1 and np.isfinite(values[0][0]):
                name += f" {text(values[0][0])}"
            at = date2num(part["window_at"]) + step / 2  # type: ignore[no-untyped-call]
            lines.append(_Line(name, GROUP_COLOURS[len(lines) % len(GROUP_COLOURS)], at, step, *values))
    return lines, left_out


def _read_changes(changes: pd.DataFrame, tz: str) -> list[tuple[float, str]]:
    """When each change happened, in days since 1970, and its label."""
    columns = ("since_at", "metric", "quantile", "before_s", "after_s", "failed_before", "failed_after")
    require_result(changes, "over_time", "vk.changes(journeys) as changes", columns, ("by",))
    marks = []
    for row in changes.sort_values("since_at", kind="stable").to_dict("records"):
        at = pd.Timestamp(row["since_at"]).tz_convert(tz)
        group = group_label([row[name] for name in changes.attrs["by"]])
        if row["metric"] == "failed":
            name, before, after = "failed", percent(row["failed_before"]), percent(row["failed_after"])
        else:
            name = percentile(row["quantile"])
            before, after = (
                "not reached" if np.isposinf(row[f"{side}_s"]) else duration(row[f"{side}_s"])
                for side in ("before", "after")
            )
        title = " · ".join(filter(None, [group, f"{at.day} {at:%b %H:%M}"]))
        marks.append((at.timestamp() / 86400, f"{title}\n{name} {before} → {after}"))
    return marks


class _Plot:
    """Axes of dates, with room for the names of lines at the right and for texts at the top."""

    def __init__(self, layout: Layout, lines: Sequence[_Line], tz: str, *, share: bool) -> None:
        self.layout, self.ax, self.tz, self.share = layout, layout.ax, tz, share
        self.low = min(float(line.days.min() - line.step / 2) for line in lines)
        self.high = max(float(line.days.max() + line.step / 2) for line in lines)
        values = np.concatenate([part for line in lines for part in (line.value, line.naive)])
        bounds = np.concatenate([part for line in lines for part in (line.low, line.high)])
        values, bounds = values[np.isfinite(values)], bounds[np.isfinite(bounds)]
        if share:
            smallest = min(values.min(initial=1.0), bounds.min(initial=1.0))
            self.bottom, self.top = (0.0 if smallest < 0.5 else 0.5 if smallest < 0.79 else 0.8), 1.0
        else:
            values, bounds = np.log10(values[values > 0]), np.log10(bounds[bounds > 0])
            values = values if len(values) else bounds if len(bounds) else np.zeros(1)
            # An interval far wider than the line would flatten it.
            low = min(values.min(), max(bounds.min(initial=np.inf), values.min() - 1))
            high = max(values.max(), min(bounds.max(initial=-np.inf), values.max() + 1))
            spare = max(0.06 * (high - low), (0.7 - high + low) / 2)
            self.bottom, self.top = 10.0 ** (low - spare), 10.0 ** (high + spare)
        widest = max(map(layout.width, ["naive" * share, *(line.name for line in lines)]))
        self.names = min(widest, 0.26) + 0.035
        self.right = self.low + (self.high - self.low) / (1 - self.names)

    def across(self, at: float) -> float:
        """Return the position of an instant as a share of the width."""
        return (at - self.low) / (self.right - self.low)

    def up(self, value: float) -> float:
        """Return the position of a value as a share of the height."""
        point = self.ax.transAxes.inverted().transform(self.ax.transData.transform((self.low, value)))
        return float(np.clip(point[1], 0.0, 1.0))

    def write(self, x: float, inches: float, text: str, *, ha: str) -> None:
        """Draw a text, its baseline so many inches below the upper edge."""
        y = 1 - inches * self.layout.scale / self.layout.inches[1]
        self.layout.text(x, y, text, ha=ha, transform=self.ax.transAxes, linespacing=1.1)

    def dates(self) -> str:
        """From which to which day."""
        ends = [pd.Timestamp(day * 86400, unit="s", tz=self.tz) for day in (self.low + 1e-6, self.high - 1e-6)]
        return " – ".join(dict.fromkeys(f"{at.day} {at:%b %Y}" for at in ends))

    def set_axes(self, notes: Sequence[str], *, edge: bool, head: float) -> None:
        """Set limits and ticks, with a head of so many inches, and an edge for markers below it."""
        layout, ax = self.layout, self.ax
        layout.set_height(_HEIGHT + head, notes)
        tall = layout.inches[1]
        self.head = head * layout.scale / tall
        self.edge = self.head + (0.1 / tall if edge else 0.0)
        ax.set_xlim(self.low, self.right)
        ticks = self._date_ticks()
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.spines["bottom"].set_bounds(self.low, self.high)
        fraction = 1 - self.edge - 0.04
        if self.share:
            ax.set_ylim(self.bottom, self.bottom + (self.top - self.bottom) / fraction)
            levels = {
                float(tick): percent(tick) for tick in np.linspace(self.bottom, 1.0, 6 if self.bottom == 0.5 else 5)
            }
        else:
            ax.set_yscale("log")
            ax.set_ylim(self.bottom, self.bottom * (self.top / self.bottom) ** (1 / fraction))
            decades = np.log10(self.top / self.bottom) / fraction
            levels = time_ticks(self.bottom, self.top, tall / decades, vertical=True)
        layout.levels(levels, self.across(self.high))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="y", labelsize=8 * layout.scale)

    def _date_ticks(self) -> dict[float, str]:
        most = max(4, int(self.layout.inches[0] / 0.62))
        zone = ZoneInfo(self.tz)
        locator = AutoDateLocator(tz=zone, minticks=4, maxticks=most)  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():  # matplotlib warns if it finds no interval with so few ticks
            warnings.simplefilter("ignore")
            ends = (num2date(day, tz=zone) for day in (self.low, self.high))  # type: ignore[no-untyped-call]
            days = locator.tick_values(*ends)  # type: ignore[no-untyped-call]
        ticks = {}
        for day in days:
            at = pd.Timestamp(round(float(day) * 86400), unit="s", tz=self.tz)
            text = f"{at:%H:%M}" if at.hour or at.minute else f"{at.day} {at:%b}"
            if self.low - 1e-6 <= day <= self.high + 1e-6:
                ticks[float(day)] = f"{at:%b %Y}" if self.high - self.low > 300 else text
        return ticks

    def draw(self, line: _Line, *, faint: bool) -> None:
        """Draw a line, broken where windows are missing, with a dot where a window is alone."""
        ax, colour, many = self.ax, line.colour, len(line.days) >= 400
        gaps = np.flatnonzero(np.diff(line.days) > 1.5 * line.step) + 1
        at = np.insert(line.days, gaps, line.days[gaps] - line.step / 2)
        value, low, high, naive = (
            np.insert(part, gaps, np.nan) for part in (line.value, line.low, line.high, line.naive)
        )
        value = np.where(np.isfinite(value), value if self.share else np.maximum(value, self.bottom), np.nan)
        known = np.isfinite(value) & ~np.isnan(low) & ~np.isnan(high)
        low, high = np.clip(low, self.bottom, self.top), np.clip(high, self.bottom, self.top)
        ax.fill_between(at, low, high, where=known, color=colour, alpha=0.14 if faint else 0.28, lw=0, zorder=1)
        ax.plot(at, value, color=colour, lw=0.7 if many else 1.6, zorder=3)
        missing = np.isnan(np.concatenate([[np.nan], value, [np.nan]]))
        alone = np.flatnonzero(~missing[1:-1] & missing[:-2] & missing[2:])
        dots = np.arange(len(at)) if len(at) <= 60 else alone
        ax.plot(at[dots], value[dots], "o", ms=4, color=colour, mec="none", zorder=4)
        bars = alone[known[alone]]
        ax.vlines(at[bars], low[bars], high[bars], color=colour, lw=2.5, alpha=0.4, zorder=2)
        if self.share:
            ax.plot(at, naive, "-" if many else ":", color=colour, lw=0.3 if many else 1.0, zorder=2)
            ax.plot(at[alone], naive[alone], "o", ms=3, mfc="none", color=colour, mew=0.8, zorder=2)
        y = 1 - self.edge + 0.04 / self.layout.inches[1]
        for where, marker in ((np.isposinf(line.value), "^"), (np.isnan(line.value), "_")):
            if where.any():
                style: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "zorder": 4}
                ax.plot(line.days[where], np.full(where.sum(), y), marker, ms=4.5, color=colour, **style)

    def name_lines(self, lines: Sequence[_Line], *, naive: bool) -> None:
        """Label each line at its last value."""
        labels = []
        for line in lines:
            for name, values in ((line.name, line.value), *([("naive", line.naive)] if naive else [])):
                known = np.flatnonzero(np.isfinite(values))
                x, y = (line.days[known[-1]], values[known[-1]]) if len(known) else (self.high, self.top)
                text = self.layout.elide(name, self.names - 0.03)
                labels.append((self.across(float(x)), self.up(float(y)), text, line.colour))
        self.layout.label_lines(labels, self.across(self.high), 1 - self.head + 0.05)

    def mark(self, at: float, text: str, centre: float | None) -> None:
        """Draw a change as a vertical line with its label above."""
        x, top = self.across(at), 1 - self.head
        style: dict[str, Any] = {"color": self.layout.ink, "lw": 0.8, "zorder": 2, "transform": self.ax.transAxes}
        self.ax.plot([x, x], [0, top], ls=(0, (4, 2)), alpha=0.8, **style)
        if centre is not None:
            rise = 0.06 / self.layout.inches[1]
            self.ax.plot([x, centre], [top, top + rise], **style)
            self.write(centre, 0.46, text, ha="center")
