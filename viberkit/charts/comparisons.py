"""A chart of differences between groups and a baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from viberkit.analysis.formatting import UNITS, duration, percentile
from viberkit.charts._layout import Layout
from viberkit.charts._results import check_result
from viberkit.charts._style import state_colour
from viberkit.charts.transitions import MAX_LANES

__all__ = ["compare"]

#: Inches: a lane, the heading of a block of lanes, and its axis.
_ROW, _HEADING, _AXIS = 0.21, 0.27, 0.42
_SHARES = ("share_difference", "share_low", "share_high")
_TIMES = ("difference_s", "low_s", "high_s")


def compare(comparison: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the differences of groups from a baseline with their confidence intervals.

    One lane per group and estimate, with zero marked. Shares are in percentage points; times are on an axis of time,
    those more than ten times larger on another below it. A hollow marker is a difference whose interval contains
    zero; an orange diamond is worse than the baseline. A quantile that is not reached is described by a text.

    Parameters
    ----------
    comparison : pandas.DataFrame
        The result of ``vk.compare``: ``group``, ``baseline``, ``within_s``, ``quantile``, ``share_difference``,
        ``share_low``, ``share_high``, ``difference_s``, ``low_s``, ``high_s``.
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
    layout = Layout.open(ax)
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
    total = drawn * _ROW + fixed_height
    baselines = ", ".join(layout.elide(name, 0.3) for name in dict.fromkeys(comparison["baseline"].astype("str")))
    notes = [f"difference from {baselines} · bars: confidence intervals · hollow: may be zero · diamond: worse"]
    notes.append(f"not drawn: {len(comparison) - drawn:,} of {len(comparison):,}" if drawn < len(comparison) else "")
    layout.set_height(total, notes)
    names = max(layout.width(row.name(layout)) for block in blocks for row in block.rows) + 0.04
    for long in (True, False):
        end = 1 - max(layout.width(row.number(long=long)) for block in blocks for row in block.rows) - 0.04
        if end - names > 0.3:
            break
    top = 0.0
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
            layout.ax.plot(ends, [y, y], color=colour, lw=2.2, alpha=0.6, solid_capstyle="butt")
            for bound, edge, marker in ((self.low, low, "<"), (self.high, high, ">")):
                if np.isinf(bound):
                    layout.ax.plot(edge, y, marker, ms=4, color=colour, mec="none")
        shape = "D" if certain and worse else "o"  # so that colour is not the only difference
        layout.ax.plot(self.value, y, shape, ms=5.5, mec=colour, mfc=colour if certain else "none")


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
                title = "percentage points" if unit == "share" else "time, on another scale" if last else "time"
                blocks.append(_Block(unit, title, size, rows))
    return blocks


def _signed(value: float, unit: str) -> str:
    """Return a difference with its sign.

    >>> _signed(1.8, "s"), _signed(-0.0612, "share"), _signed(0.0, "s")
    ('+1.8 s', '−6.1 pp', '0')
    """
    if not value:
        return "0"
    text = duration(abs(value)) if unit == "s" else f"{100 * abs(value):.1f}".removesuffix(".0") + " pp"
    return ("+" if value > 0 else "−") + text
