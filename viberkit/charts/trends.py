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

from viberkit.analysis.formatting import duration, group_name, percent, percentile, time
from viberkit.charts._layout import Layout
from viberkit.charts._results import Floats, Numbers, check_result, largest_groups, not_drawn, period_s
from viberkit.charts._style import GROUP_COLOURS, time_ticks
from viberkit.charts.heatmaps import MAX_GROUPS, chosen_estimates, describe_few

__all__ = ["over_time"]

#: More windows than these are illegible in a notebook; up to a few, the line and its interval are legible in any case.
MAX_WINDOWS, _FEW_WINDOWS = 400, 60
#: Round lengths of windows, of which the shortest that is legible is proposed.
_LENGTHS = ("5min", "15min", "30min", "1h", "2h", "3h", "6h", "12h", "1d", "2d", "1w", "2w", "4w")
_HEIGHT = 2.7


def over_time(
    over_time: pd.DataFrame,
    *,
    within: Numbers = None,
    quantiles: Numbers = None,
    changes: pd.DataFrame | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw quantiles of the time to delivery, or shares delivered in time, window by window.

    One line per estimate, or per group, with its confidence interval. Times are on a log axis. Where a quantile is
    not reached, the line has a gap and a triangle at the upper edge; where a value is unknown, a gap and a dash. A
    dotted line beside a share is the naive share, which counts open messages as not delivered.

    Where most windows have few messages, each is a dot with a bar for its interval (no bar if there are more than 60),
    and a note names the window length that would be legible: the shortest of at most 400 windows whose median has five
    messages on either side of the quantile (50 for p90), or 30 for a share; more, where intervals are wider than a
    factor of ten or 30 percentage points.

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
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. With groups, only the first estimate and the six largest groups are drawn; a note below the axis
        counts the other groups.

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
    check_result(over_time, "over_time", source, columns, attrs)
    layout = Layout.open(ax, title, over_time.attrs, left=0.62, right=0.12)
    if not len(over_time):
        return layout.show_empty("no windows")
    by, end, every, tz = (over_time.attrs[name] for name in attrs)
    estimates = chosen_estimates(over_time, "over_time", within, quantiles, "quantile")[: 1 if by else MAX_GROUPS]
    step = period_s(every) / 86400 if period_s(every) > 0 else 1 / 24  # days; an hour if there is only one window
    lines, left_out = _read_lines(over_time, estimates, step)
    share = estimates[0][0] == "within_s"
    advice, bars = _advise_length(lines, period_s(every)), [line for line in lines if line.few]
    dots = [line for line in bars if len(line.days) > _FEW_WINDOWS]
    for line in dots:
        line.numbers[1:4] = np.nan
    plot = _Plot(layout, lines, step, tz, share=share)
    marks = [] if changes is None or not len(changes) else _read_changes(changes, tz)
    # In reverse, because the latest changes have labels if not all fit.
    marks = [(at, text) for at, text in marks[::-1] if plot.low <= at <= plot.high]
    rows = layout.label_rows([text for _, text in marks], [plot.across(at) for at, _ in marks])
    labels = dict(label for row in rows for label in row)
    unknown, unreached = (int(sum(test(line.numbers[0]).sum() for line in lines)) for test in (np.isnan, np.isposinf))
    interval, naive = (any(np.isfinite(line.numbers[row]).any() for line in lines) for row in (1, 3))
    days = dict.fromkeys(_day(at, f" {at:%Y}") for at in map(plot.local, (plot.low + 1e-5, plot.high - 1e-5)))
    notes = [
        "" if every is None else f"each point: the messages of {duration(period_s(every))}",
        f"{' – '.join(days)}, {tz}",
        f"{'bars' if len(bars) == len(lines) else 'shaded'}: confidence interval" if interval else "",
        "intervals not drawn" if dots else "",
        "dotted: naive" if naive and len(lines) > 1 else "",
        f"triangle: not reached, {unreached:,} {'window' if unreached == 1 else 'windows'}" if unreached else "",
        f"dash: not yet known, {unknown:,} {'window' if unknown == 1 else 'windows'}" if unknown else "",
        f"changes without a label: {len(marks) - len(labels):,}" if len(labels) < len(marks) else "",
        not_drawn("groups", left_out),
        advice,
    ]
    plot.set_axes(notes, top_margin=0.58 if marks else 0.2)
    if share:
        heading = f"share {end} within {duration(estimates[0][1])}" if len(estimates) == 1 else f"share {end} in time"
    else:
        heading = (f"{percentile(estimates[0][1])} of the " if by else "") + f"time until {end}, log scale"
    heading += f", by {' and '.join(map(str, by))}" if by else ""
    plot.write(0.0, 0.12, layout.elide(heading, 1.0), ha="left")
    names = []
    for line in lines:
        plot.draw(line, light=len(lines) > 2)
        for name, row in ((line.name, 0), ("naive", 3))[: 2 if naive and len(lines) == 1 else 1]:
            known = np.flatnonzero(np.isfinite(line.numbers[row]))
            end_point = (line.days[known[-1]], line.numbers[row, known[-1]]) if len(known) else (plot.high, plot.top)
            names.append((*end_point, layout.elide(name, plot.names - 0.03), line.colour))
    layout.label_lines(names, plot.across(plot.high), 1 - plot.top_margin + 0.05)
    for index, (at, text) in enumerate(marks):
        plot.mark(at, text, labels.get(index))
    return layout.ax


def _day(at: pd.Timestamp, more: str = "") -> str:
    return f"{at.day} {at:%b}{more}"


#: The columns of an estimate: its value, the bounds of its interval, and the naive value.
_COLUMNS = {"within_s": ("share", "low", "high", "naive_share"), "quantile": ("value_s", "low_s", "high_s")}


@dataclass
class _Line:
    """A line by window: the middle of each in days since 1970; rows of values, lower and upper bounds, naive, n.

    ``few`` is a text if it has too few messages, ``needed`` how many messages of a window are enough.
    """

    name: str
    colour: str
    days: Floats
    numbers: Floats
    needed: float
    few: str


def _read_lines(result: pd.DataFrame, estimates: Sequence[tuple[str, float]], step: float) -> tuple[list[_Line], int]:
    """Return the lines to draw, and the number of groups left out."""
    lines: list[_Line] = []
    for key, estimate in estimates:
        rows = result[result[key] == estimate]
        groups, left_out = largest_groups(rows, rows["n"], MAX_GROUPS)
        for group, part in groups:
            part = part.sort_values("window_at", kind="stable")
            values = np.full((5, len(part)), np.nan)
            values[: len(_COLUMNS[key])] = part[[*_COLUMNS[key]]].to_numpy(dtype=np.float64).T
            values[4] = part["n"]
            low, high = np.fmax(values[1], 0.0), np.where(np.isnan(values[2]), np.inf, values[2])
            with np.errstate(divide="ignore", invalid="ignore"):
                width = np.log10(high / low) if key == "quantile" else (high - low) / 0.3
            needed, few = describe_few(key, estimate, values[4], "window", float(np.median(width)))
            name = group or (percentile(estimate) if key == "quantile" else f"within {duration(estimate)}")
            if len(part) == 1 and np.isfinite(values[0, 0]):
                name += f" {(duration if key == 'quantile' else percent)(values[0, 0])}"
            at = date2num(part["window_at"]) + step / 2  # type: ignore[no-untyped-call]
            lines.append(_Line(name, GROUP_COLOURS[len(lines) % len(GROUP_COLOURS)], at, values, needed, few))
    return lines, left_out


def _advise_length(lines: Sequence[_Line], step_s: float) -> str:
    """Return a note with the length of windows that would be legible, empty if the present ones are."""
    worst, windows = max(lines, key=lambda line: line.needed * bool(line.few)), max(len(line.days) for line in lines)
    problem = worst.few or (f"{windows:,} windows are too many to see" if windows > MAX_WINDOWS else "")
    if windows < 2 or not problem:
        return ""
    for text in (text for text in _LENGTHS if period_s(text) > step_s):
        length = period_s(text) / 86400
        longer = [pd.Series(line.numbers[4]).groupby((line.days - 4) // length).sum() for line in lines]  # from Monday
        if (median := pd.concat(longer).median()) >= worst.needed and max(map(len, longer)) <= MAX_WINDOWS:
            return f"{problem}; every={text!r} would have {median:,.0f} messages"
    return f"{problem}; longer windows (up to every=None) or a lower quantile would be more legible"


def _read_changes(changes: pd.DataFrame, tz: str) -> list[tuple[float, str]]:
    """Return the time of each change, in days since 1970, and its label."""
    columns = ("since_at", "metric", "quantile", "before_s", "after_s", "failed_before", "failed_after")
    check_result(changes, "over_time", "vk.changes(journeys) as changes", columns, ("by",))
    marks = []
    for row in changes.sort_values("since_at", kind="stable").to_dict("records"):
        at = pd.Timestamp(row["since_at"]).tz_convert(tz)
        group = group_name([row[name] for name in changes.attrs["by"]])
        if row["metric"] == "time":
            name, before, after = percentile(row["quantile"]), time(row["before_s"]), time(row["after_s"])
        else:
            kind, name = (
                ("share", f"{row['column']} {row['value']}") if row["metric"] == "mix" else ("failed", "failed")
            )
            before, after = (percent(row[f"{kind}_{side}"]) for side in ("before", "after"))
        until = row.get("until_at")
        until = until if until is None or pd.isna(until) else pd.Timestamp(until).tz_convert(tz)
        ends = [_day(end, f" {end:%H:%M}") for end in (at, until) if end is not None and not pd.isna(end)]
        title = " · ".join(filter(None, [group, " – ".join(ends)]))
        marks.append((at.timestamp() / 86400, f"{title}\n{name} {before} → {after}"))
    return marks


class _Plot:
    """Axes of dates, with space for the names of lines at the right and for texts at the top."""

    def __init__(self, layout: Layout, lines: Sequence[_Line], step: float, tz: str, *, share: bool) -> None:
        self.layout, self.ax, self.step, self.tz, self.share = layout, layout.ax, step, tz, share
        self.low = min(float(line.days.min()) for line in lines) - step / 2
        self.high = max(float(line.days.max()) for line in lines) + step / 2
        numbers = np.concatenate([line.numbers for line in lines], axis=1)
        values, bounds = (rows[np.isfinite(rows)] for rows in (numbers[[0, 3]], numbers[[1, 2]]))
        if share:
            smallest = min(values.min(initial=1.0), bounds.min(initial=1.0))
            self.bottom, self.top = (0.0 if smallest < 0.5 else 0.5 if smallest < 0.79 else 0.8), 1.0
        else:
            values, bounds = np.log10(values[values > 0]), np.log10(bounds[bounds > 0])
            values = values if len(values) else bounds if len(bounds) else np.zeros(1)
            # An interval far wider than the line would flatten it.
            low = min(values.min(), max(bounds.min(initial=np.inf), values.min() - 1))
            high = max(values.max(), min(bounds.max(initial=-np.inf), values.max() + 1))
            padding = max(0.06 * (high - low), (0.7 - high + low) / 2)
            self.bottom, self.top = 10.0 ** (low - padding), 10.0 ** (high + padding)
        widest = max(map(layout.width, ["naive" * share, *(line.name for line in lines)]))
        self.names = min(widest, 0.26) + 0.035
        rows = sum(not np.isfinite(line.numbers[0]).all() for line in lines)
        self.markers, self.marker_step = min(0.1 * rows, 0.3), min(0.1, 0.3 / max(rows, 1))
        self.right = self.low + (self.high - self.low) / (1 - self.names)

    def across(self, at: float) -> float:
        """Return the position of an instant as a share of the width."""
        return (at - self.low) / (self.right - self.low)

    def local(self, day: float) -> pd.Timestamp:
        """Return the local time of an instant in days since 1970."""
        return pd.Timestamp(round(day * 86400), unit="s", tz=self.tz)

    def write(self, x: float, inches: float, text: str, *, ha: str) -> None:
        """Draw a text, its baseline at this distance below the upper edge."""
        y = 1 - inches * self.layout.scale / self.layout.inches[1]
        self.layout.text(x, y, text, ha=ha, transform=self.ax.transAxes, linespacing=1.1)

    def set_axes(self, notes: Sequence[str], *, top_margin: float) -> None:
        """Set limits and ticks, with a top margin (inches) for texts, and rows for markers below it."""
        layout, ax = self.layout, self.ax
        layout.set_height(_HEIGHT + top_margin, notes)
        height = layout.inches[1]
        self.top_margin = top_margin * layout.scale / height
        ax.set_xlim(self.low, self.right)
        ticks = self._date_ticks()
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.spines["bottom"].set_bounds(self.low, self.high)
        fraction = 0.96 - self.top_margin - self.markers / height
        if self.share:
            ax.set_ylim(self.bottom, self.bottom + (self.top - self.bottom) / fraction)
            shares = np.linspace(self.bottom, 1.0, 6 if self.bottom == 0.5 else 5)
            levels = {float(share): percent(share) for share in shares}
        else:
            ax.set_yscale("log")
            ax.set_ylim(self.bottom, self.bottom * (self.top / self.bottom) ** (1 / fraction))
            decades = np.log10(self.top / self.bottom) / fraction
            levels = time_ticks(self.bottom, self.top, height / decades, vertical=True)
        layout.levels(levels, self.across(self.high))
        ax.minorticks_off()
        ax.tick_params(axis="y", labelsize=8 * layout.scale)

    def _date_ticks(self) -> dict[float, str]:
        zone = ZoneInfo(self.tz)
        maximum = max(4, int(self.layout.inches[0] / 0.62))
        locator = AutoDateLocator(tz=zone, minticks=4, maxticks=maximum)  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():  # matplotlib warns if it finds no interval with so few ticks
            warnings.simplefilter("ignore")
            days = locator.tick_values(*num2date([self.low, self.high], tz=zone))  # type: ignore[no-untyped-call]
        ticks = {}
        for day in map(float, days):
            if self.low - 1e-6 <= day <= self.high + 1e-6:
                at = self.local(day)
                text = f"{at:%H:%M}" if at.hour or at.minute else _day(at)
                ticks[day] = f"{at:%b %Y}" if self.high - self.low > 300 else text
        return ticks

    def draw(self, line: _Line, *, light: bool) -> None:
        """Draw a line, broken where windows are missing; a dot and a bar for an isolated window, or few messages."""
        ax, colour, many = self.ax, line.colour, len(line.days) >= 400
        gaps = np.flatnonzero(np.diff(line.days) > 1.5 * self.step * (not line.few)) + 1
        at = np.insert(line.days, gaps, line.days[gaps] - self.step / 2)
        value, low, high, naive, _ = np.insert(line.numbers, gaps, np.nan, axis=1)
        value = np.where(np.isfinite(value), value if self.share else np.maximum(value, self.bottom), np.nan)
        known = np.isfinite(value) & ~np.isnan(low) & ~np.isnan(high)
        low, high = np.clip(low, self.bottom, self.top), np.clip(high, self.bottom, self.top)
        ax.fill_between(at, low, high, where=known, color=colour, alpha=0.14 if light else 0.28, lw=0, zorder=1)
        missing = np.pad(np.isnan(value), 1, constant_values=True)
        isolated = np.flatnonzero(~missing[1:-1] & missing[:-2] & missing[2:])
        every, width = list(range(len(at))) if len(at) <= 60 else isolated.tolist(), 0.7 if many else 1.6
        size = 4.0 if len(at) < 200 else 2.5
        ax.plot(at, value, "o-", markevery=every, ms=size, mec="none", color=colour, lw=width, zorder=3)
        bars = isolated[known[isolated]]
        ax.vlines(at[bars], low[bars], high[bars], color=colour, lw=1.8, alpha=0.7, zorder=2)
        style: dict[str, Any] = {"markevery": isolated.tolist(), "ms": 3, "mfc": "none", "mew": 0.8, "zorder": 2}
        ax.plot(at, naive, "o-" if many else "o:", color=colour, lw=0.3 if many else 1.0, **style)
        y = 1 - self.top_margin - (self.markers - 0.04) / self.layout.inches[1]
        self.markers -= self.marker_step * (not np.isfinite(line.numbers[0]).all())
        for mask, marker in ((np.isposinf(line.numbers[0]), "^"), (np.isnan(line.numbers[0]), "_")):
            style = {"transform": ax.get_xaxis_transform(), "clip_on": False, "zorder": 4}
            if mask.any():
                ax.plot(line.days[mask], np.full(mask.sum(), y), marker, ms=4.5, color=colour, **style)

    def mark(self, at: float, text: str, centre: float | None) -> None:
        """Draw a change as a vertical line with its label above."""
        x, top = self.across(at), 1 - self.top_margin
        style: dict[str, Any] = {"color": self.layout.text_colour, "lw": 0.8, "transform": self.ax.transAxes}
        self.ax.plot([x, x], [0, top], ls=(0, (4, 2)), alpha=0.8, **style)
        if centre is not None:
            rise = 0.06 / self.layout.inches[1]
            self.ax.plot([x, centre], [top, top + rise], **style)
            self.write(centre, 0.46, text, ha="center")
