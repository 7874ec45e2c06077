"""Charts of estimates: quantiles, differences and their parts, and the cost of each wait before a fallback to SMS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from viberkit.analysis.formatting import (
    UNITS,
    duration,
    group_name,
    interval,
    percent,
    percentile,
    points,
    signed,
    time,
)
from viberkit.charts._layout import MAX_PANELS, SMALLEST_TIME, Layout
from viberkit.charts._results import check_result, largest_groups, not_drawn
from viberkit.charts._style import GROUP_COLOURS, state_colour, transition_colours
from viberkit.charts.transitions import MAX_LANES, MAX_LINES, set_time_axis

__all__ = ["compare", "explain", "fallback", "quantiles"]

_MARKERS = "oDs^vP*"
#: Inches: a lane, the heading of a block of lanes, and its axis.
_ROW, _HEADING, _AXIS = 0.21, 0.27, 0.42
_NEGLIGIBLE = 0.01  # part of the largest effect
_SHARES = ("share_difference", "share_low", "share_high")
_TIMES = ("difference_s", "low_s", "high_s")
_SIGNS = {"share": "a negative share is fewer", "s": "a negative time is faster"}


def quantiles(estimates: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw quantiles with their confidence intervals: of the time to delivery, or of the latency of each transition.

    One lane per group, and per transition if there are any, on a log axis of time: a marker per quantile, a bar per
    confidence interval. An arrow is an interval without a bound on that side, because there are too few messages. A
    quantile that is not reached, or not known yet, is described in words.

    Parameters
    ----------
    estimates : pandas.DataFrame
        The result of ``vk.time_to``: ``quantile``, ``value_s``, ``low_s``, ``high_s`` (seconds), ``n``, and the columns
        of ``attrs["by"]``; or that of ``vk.latency``, which also has ``from_state`` and ``to_state``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The 30 largest groups are drawn, or the 20 lanes with most latencies; a note below the axis counts
        the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``attrs["by"]`` is missing, or for ``vk.time_to`` the attrs ``start`` or ``end``.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.quantiles(vk.latency(events, quantiles=0.5))
    >>> [text.get_text() for text in ax.texts]
    ['p50', 'accepted → routed', 'n 1 · p50 40 ms (0 ms or more)']
    """
    columns = ("from_state", "to_state", "quantile", "value_s", "low_s", "high_s", "n")
    whole = isinstance(estimates, pd.DataFrame) and "quantile" in estimates and "from_state" not in estimates
    rows, source, attrs = estimates, "vk.latency(events)", ["by"]
    if whole:
        source, attrs = "vk.time_to(journeys)", ["by", "start", "end"]
        rows = rows.assign(from_state=rows.attrs.get("start"), to_state=rows.attrs.get("end"))
    check_result(rows, "quantiles", source, columns, attrs)
    layout = Layout.open(ax, title, rows.attrs)
    rows = rows[rows["to_state"].notna() & (rows["n"] > 0)] if len(rows) else rows
    if not len(rows):
        return layout.show_empty("no messages" if whole else "no transitions")
    by, of = list(estimates.attrs["by"]), estimates.attrs.get("of")
    rows, keys = rows.sort_values("quantile", kind="stable"), [*by, "from_state", "to_state"]
    lanes = list(rows.groupby(keys, sort=False, observed=True, dropna=False))
    shown = sorted(rows["quantile"].unique())
    names = [percentile(quantile) for quantile in shown]
    top_margin = layout.legend_positions(names)[-1][1] + 0.08
    step = 0.28 + 0.075 * len(shown)
    count = min(MAX_PANELS if whole else MAX_LANES, layout.count_fitting([step] * len(lanes), top_margin))
    frequent = sorted(range(len(lanes)), key=lambda index: -lanes[index][1]["n"].iloc[0])[:count]
    left_out, lanes = len(lanes) - count, [lanes[index] for index in sorted(frequent)]
    notes = ["time from one state to the next, log scale", "bars: confidence intervals, arrows: no bound known"]
    if whole:
        messages = "delivered messages only" if of == "delivered" else "all messages"
        notes[0] = f"time from {estimates.attrs['start']} to {estimates.attrs['end']} of {messages}, log scale"
    notes.append(not_drawn("smaller groups" if whole else "less frequent,", left_out))
    layout.set_height(top_margin + len(lanes) * step + 0.02, notes)
    numbers = pd.concat([part for _, part in lanes])[["value_s", "low_s", "high_s"]].to_numpy(dtype=np.float64)
    later = numbers[np.isfinite(numbers) & (numbers > SMALLEST_TIME)]
    zero_x = set_time_axis(layout, np.concatenate([later, numbers[np.isfinite(numbers[:, 0]), 0]]))
    markers = dict(zip(shown, _MARKERS * (len(shown) // len(_MARKERS) + 1), strict=False))
    layout.legend(names, [layout.text_colour] * len(names), "".join(markers.values()))
    colours = transition_colours(dict.fromkeys((str(key[-2]), str(key[-1])) for key, _ in lanes))
    for index, (key, part) in enumerate(lanes):
        top, colour = top_margin + index * step, colours[str(key[-2]), str(key[-1])]
        size = f"n {int(part['n'].iloc[0]):,}"
        values = part[["quantile", "value_s", "low_s", "high_s"]].to_numpy(dtype=np.float64).tolist()
        facts = [f"{percentile(quantile)} {time(value)}" for quantile, value, *_ in values]
        longest = [f"{percentile(values[0][0])} {interval(*values[0][1:])}"] if len(values) == 1 else facts
        texts = [group_name(key[:-2])] * bool(by) + [" → ".join(map(str, key[-2:]))] * (not whole or not by)
        choices = [" · ".join([size, *texts]) for texts in (longest, facts, facts[:1])]
        layout.heading(
            top + 0.19, " · ".join(texts), *choices[: 2 if whole else 3], " · ".join(facts if whole else facts[:1])
        )
        for quantile, *estimate in values:
            if np.isfinite(estimate[0]) or estimate[1] > 0:
                y = top + 0.29 + 0.075 * shown.index(quantile)
                _draw_interval(layout, estimate, zero_x, y, colour, markers[quantile])
    return layout.ax


def _draw_interval(layout: Layout, estimate: list[float], zero_x: float, y: float, colour: str, marker: str) -> None:
    ax, (value, low, high), (left, right) = layout.ax, estimate, layout.ax.get_xlim()
    at = value if value > SMALLEST_TIME else zero_x
    start = low if low > SMALLEST_TIME else zero_x if low > 0 and zero_x < at else left
    ax.plot([start, np.fmin(high, right)], [y, y], color=colour, lw=2.0, alpha=0.8, solid_capstyle="butt")
    for bounded, x, arrow in ((low > 0, 0.006, "<"), (np.isfinite(high), 0.994, ">")):
        if not bounded:
            ax.plot(x, y, arrow, ms=4, color=colour, mec="none", transform=ax.get_yaxis_transform())
    if np.isfinite(value):
        ax.plot(at, y, marker, ms=5, color=colour, mec="none")


def compare(comparison: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the differences of groups from a baseline with their confidence intervals.

    A difference is group less baseline, as in the columns and the summary of the result: a negative time is faster.
    One lane per group and estimate, with zero marked. Shares are in percentage points; times are on an axis of time,
    those more than ten times larger on another below it. A hollow marker is a difference whose interval contains
    zero; an orange diamond is worse than the baseline. A quantile that is not reached is described by a text.

    Parameters
    ----------
    comparison : pandas.DataFrame
        The result of ``vk.compare``: ``group``, ``baseline``, ``within_s``, ``quantile``, ``share_difference``,
        ``share_low``, ``share_high``, ``difference_s``, ``low_s``, ``high_s``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 20 lanes are drawn; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``attrs["end"]`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> nan = float("nan")
    >>> result = pd.DataFrame({"group": "promotion", "baseline": "session", "within_s": [nan], "quantile": [0.95],
    ...     "share_difference": nan, "share_low": nan, "share_high": nan, "difference_s": 1.8, "low_s": 0.9,
    ...     "high_s": 2.6})
    >>> result.attrs = {"end": "delivered"}
    >>> ax = vk.charts.compare(result)
    >>> [text.get_text() for text in ax.texts]
    ['time', '← faster', 'slower →', 'promotion p95', '+1.8 s (+900 ms to +2.6 s)']
    """
    columns = ("group", "baseline", "within_s", "quantile", *_SHARES, *_TIMES)
    check_result(comparison, "compare", "vk.compare(journeys, by=…)", columns, ("end",))
    layout = Layout.open(ax, title, comparison.attrs)
    blocks = _blocks(comparison) if len(comparison) else []
    if not blocks:
        return layout.show_empty("nothing to compare")
    fixed_height = _HEADING * len(blocks) + _AXIS * (len(blocks) - 1)
    fitting = max(1, min(MAX_LANES, layout.count_fitting([_ROW] * len(comparison), fixed_height + 0.1)))
    groups = list(dict.fromkeys(comparison["group"].astype("str")))
    groups = groups[: max(1, fitting * len(groups) // len(comparison))]
    for block in blocks:
        block.rows = [row for row in block.rows if row.group in groups]
    drawn = sum(len(block.rows) for block in blocks)
    baselines = ", ".join(layout.elide(name, 0.3) for name in dict.fromkeys(comparison["baseline"].astype("str")))
    name = layout.elide(groups[0], 0.3) if len(groups) == 1 else "group"
    units = dict.fromkeys(block.unit for block in blocks)
    notes = [f"difference = {name} − {baselines}", *(_SIGNS[unit] for unit in units)]
    notes.append("bars: confidence intervals · hollow: may be zero · diamond: worse")
    notes.append(f"not drawn: {len(comparison) - drawn:,} of {len(comparison):,}" if drawn < len(comparison) else "")
    return _draw_blocks(layout, blocks, notes)


def _draw_blocks(layout: Layout, blocks: list[_Block], notes: list[str]) -> Axes:
    """Draw blocks of rows below each other, each with an axis."""
    total, top = sum(_HEADING + len(block.rows) * _ROW + _AXIS for block in blocks) - _AXIS, 0.0
    layout.set_height(total, notes)
    names = max(layout.width(row.name(layout)) for block in blocks for row in block.rows) + 0.04
    for long in (True, False):
        end = 1 - max(layout.width(row.number(long=long)) for block in blocks for row in block.rows) - 0.04
        if end - names > 0.3:
            break
    for index, block in enumerate(blocks):
        height = _HEADING + len(block.rows) * _ROW
        target, offset = layout, top
        if index < len(blocks) - 1:
            bounds = (0, 1 - (top + height) / total, 1, height / total)
            target, offset = replace(layout, own=False, ax=layout.ax.inset_axes(bounds, facecolor="none")), 0.0
            target.ax.set_ylim(height, 0)
        block.draw(target, offset, (names, end), long=long)
        top += height + _AXIS
    return layout.ax


def explain(explanation: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the parts of a difference between two sets of messages, the largest first, with confidence intervals.

    One bar per part, with a line for its interval, in percentage points or in units of time. A hollow marker is a part
    whose interval contains zero; an orange diamond makes the difference worse.

    Parameters
    ----------
    explanation : pandas.DataFrame
        The result of ``vk.explain``: ``effect``, ``low``, ``high``, ``summary``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 20 parts are drawn, none below 1 % of the largest; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``end``, ``what``, ``unit``, ``before`` and ``after`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> text = "more messages with country NG (20 % → 50 %): −4.1 of −5 points (−5.1 to −3.1)"
    >>> result = pd.DataFrame({"effect": [-0.041], "low": -0.051, "high": -0.031, "summary": text})
    >>> result.attrs = {"end": "delivered", "what": "within 60 s", "unit": "share", "before": 0.82, "after": 0.77}
    >>> ax = vk.charts.explain(result)
    >>> [text.get_text() for text in ax.texts][:2]
    ['within 60 s: 82 % → 77 %', '← fewer']
    """
    columns, attrs = ("effect", "low", "high", "summary"), ("end", "what", "unit", "before", "after")
    check_result(explanation, "explain", "vk.explain(journeys, other=…)", columns, attrs)
    layout = Layout.open(ax, title, explanation.attrs)
    if not len(explanation):
        return layout.show_empty("nothing to explain")
    end, what, unit, *ends = (explanation.attrs[name] for name in attrs)
    lanes = max(1, min(MAX_LANES, layout.count_fitting([_ROW] * len(explanation), _HEADING)))
    reach = explanation[["low", "high"]].abs().max(axis=1)
    drawn = explanation[reach >= _NEGLIGIBLE * explanation["effect"].abs().max()].head(lanes)
    parts = drawn[["summary", "effect", "low", "high"]].itertuples(index=False, name=None)
    is_bad = unit == "s" or end in ("failed", "expired", "channel_failed")
    rows: list[_Row] = [_Part(text.rsplit(": ", 1)[0], "", unit, is_bad, *own) for text, *own in parts]
    heading = f"{what}: {' → '.join(map(percent if unit == 'share' else duration, ends))}"
    notes = ["lines: confidence intervals · hollow: may be zero · diamond: worse"]
    notes.append(not_drawn("smaller parts", len(explanation) - len(rows)))
    return _draw_blocks(layout, [_Block(unit, heading, 0.0, rows)], notes)


@dataclass
class _Row:
    """A difference with its bounds, in seconds or as a share."""

    group: str
    label: str
    unit: str
    positive_is_worse: bool
    value: float
    low: float
    high: float

    def name(self, layout: Layout) -> str:
        return f"{layout.elide(self.group, 0.2)} {self.label}"

    def number(self, *, long: bool) -> str:
        """Return the difference, with its interval if ``long``; nothing if it is not known."""
        if not np.isfinite(self.value):
            return ""
        value = _signed(self.value, self.unit)
        low, high = (_signed(bound, self.unit) if np.isfinite(bound) else "" for bound in (self.low, self.high))
        if not long or (low and low == high):
            return value
        if low and high:
            return f"{value} ({low.removesuffix(' pp')} to {high.removesuffix(' pp')})"
        return f"{value} ({f'{low} or more' if low else f'{high} or less' if high else 'interval unknown'})"

    def draw(self, layout: Layout, y: float, low: float, high: float) -> None:
        certain = self.low > 0 or self.high < 0
        worse = (self.value > 0) == self.positive_is_worse
        colour = state_colour("failed" if worse else "delivered") if certain else layout.text_colour
        if not np.isnan([self.low, self.high]).any():
            ends = np.clip([self.low, self.high], low, high)
            layout.ax.plot(ends, [y, y], color=colour, lw=2.0, alpha=0.8, solid_capstyle="butt")
            for bound, edge, marker in ((self.low, low, "<"), (self.high, high, ">")):
                if np.isinf(bound):
                    layout.ax.plot(edge, y, marker, ms=4, color=colour, mec="none")
        shape = "D" if certain and worse else "o"  # so that colour is not the only difference
        layout.ax.plot(self.value, y, shape, ms=5.5, mec=colour, mfc=colour if certain else "none")


class _Part(_Row):
    """A part of a difference, drawn as a bar."""

    def name(self, layout: Layout) -> str:
        return layout.elide(self.group, 0.46)

    def draw(self, layout: Layout, y: float, low: float, high: float) -> None:
        layout.ax.barh(y, self.value, 0.7 * _ROW, color=layout.text_colour, alpha=0.4)
        super().draw(layout, y, low, high)


@dataclass
class _Block:
    """Rows that share an axis; ``size`` is the largest number of the first estimate."""

    unit: str
    title: str
    size: float
    rows: list[_Row]

    def draw(self, layout: Layout, top: float, columns: tuple[float, float], *, long: bool) -> None:
        """Draw a lane per row between names and numbers, whose columns end and start at these shares of the width."""
        ax, base, (start, end) = layout.ax, top + _HEADING + len(self.rows) * _ROW, columns
        numbers = np.array([(row.value, row.low, row.high) for row in self.rows])
        known = np.append(numbers[np.isfinite(numbers)], 0.0)
        margin = 0.06 * (float(np.ptp(known)) or (1.0 if self.unit == "s" else 0.01))
        low, high = float(known.min()) - margin, float(known.max()) + margin
        scale = (high - low) / (end - start)
        ax.set_xlim(low - scale * start, high + scale * (1 - end))
        size = max((size for _, size in UNITS if size <= high - low), default=1e-3) if self.unit == "s" else 0.01
        bins = max(1, int((end - start) * layout.inches[0] / 0.6))
        locator = MaxNLocator(bins, steps=[1, 2.5 if size >= 60 else 2, 5, 10])
        ticks = [round(tick, 9) * size for tick in locator.tick_values(low / size, high / size)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        ax.set_xticks(ticks, [_signed(tick, self.unit) for tick in ticks])
        ax.spines["bottom"].set_bounds(low, high)
        ax.plot([0, 0], [top + 0.06, base], color=layout.text_colour, lw=1.0)
        zero = start - low / scale
        less, more = ("← faster", "slower →") if self.unit == "s" else ("← fewer", "more →")
        layout.text(0, top + 0.16, self.title)
        if layout.width(self.title) + layout.width(less) + 0.03 < zero:
            layout.text(zero - 0.01, top + 0.16, less, ha="right")
        layout.text(zero + 0.01, top + 0.16, more)
        for index, row in enumerate(self.rows):
            y = top + _HEADING + (index + 0.5) * _ROW
            layout.text(0, y, row.name(layout), va="center")
            if np.isfinite(row.value):
                layout.text(1, y, row.number(long=long), ha="right", va="center")
                row.draw(layout, y, low, high)
                continue
            text = "not reached by either, or not known"
            if np.isinf(row.value):
                text = "not reached, only by the baseline" if row.value > 0 else "reached, not by the baseline"
            fits = zero + 0.02 + layout.width(text) < 1
            layout.text(zero + (0.015 if fits else -0.015), y, text, va="center", ha="left" if fits else "right")


def _blocks(comparison: pd.DataFrame) -> list[_Block]:
    """Blocks of one axis each: the shares, then the times as far as they are of one order of magnitude."""
    end = comparison.attrs["end"]
    failing = end in ("failed", "expired", "channel_failed")
    blocks: list[_Block] = []
    for key, unit, columns in (("within_s", "share", _SHARES), ("quantile", "s", _TIMES)):
        for estimate in comparison[key].dropna().unique().tolist():
            part = comparison[comparison[key] == estimate]
            label = percentile(estimate)
            if unit == "share":
                label = f"within {duration(estimate)}" if np.isfinite(estimate) else "in total"
                label = label if end == "delivered" else f"{end} {label}"
            numbers = part[list(columns)].to_numpy(dtype=np.float64)
            items = zip(part["group"].astype("str"), numbers.tolist(), strict=True)
            rows = [_Row(group, label, unit, unit == "s" or failing, *row) for group, row in items]
            size = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))
            last = blocks[-1] if blocks and blocks[-1].unit == unit else None
            if last and (unit == "share" or not size or 0.1 <= (last.size or size) / size <= 10):
                last.size = last.size or size
                last.rows += rows
            else:
                title = "percentage points" if unit == "share" else "time (different scale)" if last else "time"
                blocks.append(_Block(unit, title, size, rows))
    return blocks


def _signed(value: float, unit: str) -> str:
    """Return a difference with its sign and unit."""
    return signed(value) if unit == "s" else f"{points(value)} pp"


def fallback(fallback: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the cost of each wait before an SMS, the share that falls back, and the wait that was chosen.

    One line per group on a log axis of time, with a band for the interval; a hollow marker is a wait that misses the
    target, a ring the chosen one.

    Parameters
    ----------
    fallback : pandas.DataFrame
        The result of ``vk.fallback``: ``wait_s``, ``reach_s`` (seconds), ``cost``, ``cost_low``, ``cost_high`` (per
        message), ``fallback_share``, ``fallback_low``, ``fallback_high``, ``meets_target``, ``chosen``, and the columns
        of ``attrs["by"]``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 8 groups are drawn, and no waits of unknown cost; a note below the axis counts both.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``by``, ``target``, ``within_s`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> result = pd.DataFrame({"wait_s": [5.0, 120.0], "cost": [0.04, 0.0132], "reach_s": [9.0, 180.0],
    ...     "cost_low": [0.036, 0.012], "cost_high": [0.044, 0.0145],
    ...     "fallback_share": [0.5, 0.06], "fallback_low": [0.4, 0.05], "fallback_high": [0.6, 0.07],
    ...     "meets_target": True, "chosen": [False, True]})
    >>> result.attrs = {"by": [], "target": 0.95, "within_s": 600.0}
    >>> ax = vk.charts.fallback(result)
    >>> ax.texts[-1].get_text()
    'wait 2 min: 0.0132 per message, 6 % fall back, 95 % reached in 3 min'
    """
    source, shares = "vk.fallback(journeys, …)", ["fallback_share", "fallback_low", "fallback_high"]
    columns = ("wait_s", "cost", "cost_low", "cost_high", "reach_s", *shares, "meets_target", "chosen")
    check_result(fallback, "fallback", source, columns, ("by", "target", "within_s"))
    layout = Layout.open(ax, title, fallback.attrs, left=0.52)
    rows = fallback
    if len(rows):
        rows = rows[np.isfinite(rows["cost"]) & np.isfinite(rows["wait_s"]) & (rows["wait_s"] > 0)]
    if not len(rows):
        return layout.show_empty("no wait with a known cost")
    groups, left_out = largest_groups(rows, pd.Series(1, rows.index), MAX_LINES)
    by, many = bool(fallback.attrs["by"]), len(rows) > 60 * len(groups)
    descriptions = []
    for name, part in groups:
        prefix = f"{layout.elide(name, 0.4)}: " if by else ""
        texts = [prefix + text for text in _describe_choice(part, fallback.attrs["target"], fallback.attrs["within_s"])]
        descriptions.append(next((text for text in texts if layout.width(text) < 0.95), texts[-1]))
    top_margin, gap = len(descriptions) * 0.16 + 0.32, 0.34 if layout.own else 0.3
    lane = 0.6 if layout.own else 0.18 * layout.inches[1]
    height = 1.8 if layout.own else max(layout.inches[1] - top_margin - lane - gap - 0.04, 0.4)
    total = top_margin + height + gap + lane + 0.04
    notes = ["wait before the SMS, log scale", "" if rows["meets_target"].all() else "hollow: misses the target"]
    notes.append(not_drawn("waits of unknown cost,", len(fallback) - len(rows)))
    notes.append(not_drawn("other groups", left_out))
    layout.time_axis(float(rows["wait_s"].min()), float(rows["wait_s"].max()))
    layout.set_height(total, notes)
    lowest, highest = float(rows["cost_low"].min()), float(rows["cost_high"].max())
    padding = 0.06 * (highest - lowest) or 0.05 * abs(highest) or 1.0
    low, high = lowest - padding, highest + padding
    inch, main = (high - low) / height, layout.ax
    bottom = low - inch * (gap + lane + 0.04)
    main.set_ylim(bottom, high + inch * top_margin)
    largest = float(np.nanmax(rows[shares].to_numpy())) or 1.0
    up = inch * lane / (1.12 * largest)  # the height of a share
    zero = bottom + 0.04 * (inch + up * largest)
    ticks = {lowest: _money(lowest)}
    if highest > lowest:
        costs = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        decimals = max(0, int(np.ceil(-np.log10(costs[1] - costs[0]) - 1e-9)))
        ticks = {float(cost): f"{cost:,.{decimals}f}" for cost in costs if low <= cost <= high}
    layout.levels(ticks | {zero: "0 %", zero + up * largest: percent(largest)})
    chosen_s = rows.loc[rows["chosen"].to_numpy(dtype=bool), "wait_s"]
    right = not by and len(chosen_s) > 0 and layout.share(float(chosen_s.iloc[0])) < 0.35
    for y, title in ((high + 0.08 * inch, "cost per message"), (low - 0.22 * inch, "share that falls back to SMS")):
        layout.text(float(right), y, title, ha="right" if right else "left")
    for index, ((_, part), text) in enumerate(zip(groups, descriptions, strict=True)):
        part, colour = part.sort_values("wait_s"), GROUP_COLOURS[index]
        y = high + inch * (top_margin - 0.14 - 0.16 * index)
        wait, cost = part["wait_s"].to_numpy(float), part["cost"].to_numpy(float)
        share, share_low, share_high = (zero + up * part[name].to_numpy(float) for name in shares)
        meets, chosen = part["meets_target"].to_numpy(dtype=bool), part["chosen"].to_numpy(dtype=bool)
        main.plot(wait, cost, color=colour, lw=1.0)
        main.fill_between(wait, part["cost_low"].to_numpy(float), part["cost_high"], color=colour, alpha=0.2, lw=0)
        for mask, fill in ((meets, colour), (~meets, "none")):
            main.plot(wait[mask], cost[mask], "o", ms=2.5 if many else 5.0, mec=colour, mfc=fill)
        main.plot(wait[chosen], cost[chosen], "o", ms=10, mec=colour, mfc="none", mew=1.6)
        main.fill_between(wait, share_low, share_high, color=colour, alpha=0.2, lw=0)
        main.plot(wait, share, "o-", ms=2, color=colour, lw=1.2)
        main.plot(wait[chosen], share[chosen], "o", ms=4, color=colour)
        x = 0.17 / layout.inches[0] if by else 0.0
        if by:
            main.plot(x / 2, y + 0.035 * inch, "o", ms=5, color=colour, transform=main.get_yaxis_transform())
        elif chosen.any():
            width = layout.width(text)
            x = float(np.clip(layout.share(wait[chosen][0]) - width / 2, 0, max(1 - width, 0)))
            style: dict[str, Any] = {"color": layout.text_colour, "lw": 0.8, "ls": (0, (1.5, 1.5)), "zorder": 0.6}
            main.plot([wait[chosen][0]] * 2, [bottom, y - 0.05 * inch], **style)
        layout.text(x, y, text)
    return main


def _describe_choice(part: pd.DataFrame, target: float, within_s: float) -> list[str]:
    """Return the chosen wait of a group, from the longest text to the shortest."""
    chosen = part[part["chosen"].to_numpy(dtype=bool)]
    if not len(chosen):
        return [f"no wait meets the target: {percent(target)} within {duration(within_s)}", "no wait meets the target"]
    row = chosen.iloc[0]
    reach = f"reached in {duration(row['reach_s'])}" if np.isfinite(row["reach_s"]) else "never reached"
    facts = [f"wait {duration(row['wait_s'])}: {_money(row['cost'])} per message"]
    facts += [f"{percent(row['fallback_share'])} fall back", f"{percent(target)} {reach}"]
    return [", ".join(facts[:count]) for count in (3, 2, 1)]


def _money(cost: float) -> str:
    """Return a price with at least three significant digits.

    >>> [_money(cost) for cost in (0.0132, 0.08, 1.5, 12345.678)]
    ['0.0132', '0.0800', '1.50', '12,346']
    """
    decimals = int(np.clip(2 - np.floor(np.log10(abs(cost))), 0, 6)) if cost else 0
    return f"{cost:,.{decimals}f}"
