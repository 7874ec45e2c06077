"""Charts of shares over time: the delivery curve, and the empirical distribution of each transition's latency."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.charts._layout import LINE, PERCENT_TICKS, SMALLEST_TIME, Layout
from viberkit.charts._results import Floats, check_result, in_order, largest_groups, not_drawn, read_latencies
from viberkit.charts._style import GROUP_COLOURS, state_colour, transition_colours
from viberkit.charts.transitions import set_time_axis

__all__ = ["MAX_LINES", "curve", "ecdf"]

#: More lines cannot be distinguished; a note below the axis counts those left out.
MAX_LINES = 8
_COLUMNS, _HEIGHT, _LEFT = 2000, 2.4, 0.52


def curve(delivery_curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a delivery curve: the shares of all messages that were delivered, failed or open, over time.

    Without groups three areas fill 0 to 100 %: the end from below, the other outcome from above, open messages
    between them; thin lines are the confidence interval. With groups each is a line with its confidence band, which
    ends at the longest observation of the group.

    Parameters
    ----------
    delivery_curve : pandas.DataFrame
        The result of ``vk.delivery_curve``: ``time_s`` (seconds), ``open`` (share), the shares and counts of the
        outcomes ``attrs["end"]`` and ``attrs["other"]``, and the columns of ``attrs["by"]``.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The 8 largest groups are drawn; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``by``, ``start``, ``end``, ``other``, ``confidence`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "delivered"], "happened_at": at})
    >>> ax = vk.charts.curve(vk.delivery_curve(vk.journeys(events)))
    >>> ax.texts[0].get_text()
    'n 1 · last message ended after 2 s'
    """
    attrs = delivery_curve.attrs if isinstance(delivery_curve, pd.DataFrame) else {}
    end, other = attrs.get("end", "delivered"), attrs.get("other", "failed")
    counts = [f"n_{end}", f"n_{other}", "n_censored"]
    columns = ["time_s", "open", end, f"{end}_low", f"{end}_high", other, *counts]
    needed = ("by", "start", "end", "other", "confidence")
    check_result(delivery_curve, "curve", "vk.delivery_curve(journeys)", columns, needed)
    layout = Layout.open(ax, left=_LEFT)
    if not len(delivery_curve):
        return layout.show_empty("no messages")
    by, height = attrs["by"], plot_height(layout, 0.24)
    limit = max(1, min(MAX_LINES, int(height / (LINE + 0.02))))
    groups, left_out = largest_groups(delivery_curve, delivery_curve[counts].sum(axis=1), limit)
    lines = [_Line(part, end) for _, part in groups]
    low = min((line.first for line in lines if line.first > 0), default=1.0)
    high = max(low, *(float(line.time[-1]) for line in lines))
    low = min(low, high / 32)

    notes = [f"time since {attrs['start']}, log scale · share of all messages"]
    notes.append(f"{'band' if by else 'thin lines'}: {percent(attrs['confidence'])} interval")
    notes.append(not_drawn("smaller groups", left_out))
    last = {name: float(delivery_curve[name].iloc[-1]) for name in columns}
    if by:
        marks = []
        for (name, _), line, colour in zip(groups, lines, GROUP_COLOURS, strict=False):
            share = f" {percent(round(line.share[-1], 9))}"
            text = layout.elide(name, 0.3 - layout.width(share)) + share
            marks.append((max(line.time[-1], low), line.share[-1], text, colour))
    else:
        interval = dict.fromkeys(percent(last[f"{end}_{side}"]) for side in ("low", "high"))
        text = f"{end} {percent(round(last[end], 9))}" + (f"\n{' – '.join(interval)}" if len(interval) > 1 else "")
        marks = [(high, last[end] / 2, text, state_colour(end))]
        if last["open"] > 1e-9:
            marks.append((high, last[end] + last["open"] / 2, f"open {percent(last['open'])}", layout.text_colour))
        if last[other] > 1e-9:
            marks.append((high, 1 - last[other] / 2, f"{other} {percent(last[other])}", state_colour(other)))
    margin = max(layout.width(text) for _, _, text, _ in marks) + 0.05
    layout.time_axis(low, high, "≤ 1 ms" if any(line.early for line in lines) else "", margin)
    edge = layout.share(high)
    set_plot(layout, height, 0.24, 0.0, notes, edge)
    if by:
        for line, colour in zip(lines, GROUP_COLOURS, strict=False):
            line.draw(layout.ax, colour, 0.18 if len(lines) <= 4 else 0.1)
            layout.ax.plot(line.time[-1:], line.share[-1:], "o", ms=3.5, color=colour, clip_on=False)
        heading = f"share {end}; a line ends at the longest observation of its group"
    else:
        _draw_areas(layout, lines[0], _Line(delivery_curve, other), state_colour(end), state_colour(other))
        layout.ax.plot([high, high], [0, 1], color=layout.text_colour, lw=1.0, ls=(0, (1.5, 1.5)))
        heading = "longest observation" if last["open"] > 1e-9 else "last message ended after"
        heading = f"n {int(delivery_curve[counts].to_numpy().sum()):,} · {heading} {duration(last['time_s'])}"
    layout.text(edge, 1 + 0.1 / height, layout.elide(heading, edge), ha="right")
    layout.label_lines(marks, edge + 0.005, 1.0)
    return layout.ax


class _Line:
    """A share over time with its band, reduced to what an axis can show.

    ``first`` is the first step later than 1 ms, ``early`` whether there is a step up to 1 ms.
    """

    def __init__(self, part: pd.DataFrame, name: str) -> None:
        time, still_open = (part[column].to_numpy(dtype=np.float64) for column in ("time_s", "open"))
        steps = time[np.diff(still_open, prepend=1.0) < 0]
        later = steps[steps > SMALLEST_TIME] if (steps > SMALLEST_TIME).any() else time[time > SMALLEST_TIME]
        self.first = float(later[0]) if len(later) else 0.0
        self.early = bool((steps <= SMALLEST_TIME).any())
        indices = reduce_points(np.maximum(time, self.first))
        columns = [part.get(column, part[name]) for column in (name, f"{name}_low", f"{name}_high")]
        self.time: Floats = time[indices]
        self.share, self.low, self.high = (column.to_numpy(dtype=np.float64)[indices] for column in columns)

    def draw(self, ax: Axes, colour: str, alpha: float) -> None:
        """Draw the line and its band, times that are too early for the axis at its left edge."""
        time = np.maximum(self.time, ax.get_xlim()[0])
        ax.fill_between(time, self.low, self.high, step="post", color=colour, alpha=alpha, lw=0)
        ax.plot(time, self.share, color=colour, lw=1.6, drawstyle="steps-post", solid_joinstyle="round")


def _draw_areas(layout: Layout, end: _Line, other: _Line, end_colour: str, other_colour: str) -> None:
    """Draw the end from below, the other outcome from above, and open messages between them."""
    ax, at = layout.ax, np.maximum(end.time, layout.ax.get_xlim()[0])
    ax.fill_between(at, 0, end.share, step="post", color=end_colour, alpha=0.3, lw=0)
    ax.fill_between(at, end.share, 1 - other.share, step="post", color=layout.text_colour, alpha=0.1, lw=0)
    ax.fill_between(at, 1 - other.share, 1, step="post", color=other_colour, alpha=0.55, lw=0)
    end.draw(ax, end_colour, 0.0)
    ax.plot(at, np.stack([end.low, end.high], axis=1), color=end_colour, lw=0.7, alpha=0.8, drawstyle="steps-post")


def reduce_points(time: Floats) -> NDArray[np.intp]:
    """Return indices of the first and the last of the sorted times in each of 2,000 columns of a log axis.

    Parameters
    ----------
    time : numpy.ndarray
        Times in seconds, ascending.

    Returns
    -------
    numpy.ndarray
        Indices, ascending; all of them if there are few times, or one of them is not above zero.
    """
    if len(time) <= 2 * _COLUMNS or not 0 < time[0] < time[-1]:
        return np.arange(len(time))
    column = (np.log(time / time[0]) * (_COLUMNS / np.log(time[-1] / time[0]))).astype(np.int64)
    edges = np.flatnonzero(np.diff(column))
    return np.unique(np.concatenate([[0], edges, edges + 1, [len(time) - 1]]))


def plot_height(layout: Layout, top_margin: float) -> float:
    """Inches for the curves below a top margin.

    Parameters
    ----------
    layout : Layout
        The layout of the chart.
    top_margin : float
        Inches above the curves.

    Returns
    -------
    float
        A fixed height in a figure of its own, otherwise what the margin leaves, at least 0.5.
    """
    return _HEIGHT if layout.own else max(layout.inches[1] - top_margin - 0.04, 0.5)


def set_plot(layout: Layout, height: float, top: float, bottom: float, notes: list[str], end: float = 1.0) -> None:
    """Let y be a share from 0 to 100 % between two margins.

    Parameters
    ----------
    layout : Layout
        The layout of the chart.
    height : float
        Inches of the shares.
    top, bottom : float
        Inches of the margins.
    notes : list of str
        Notes below the axis.
    end : float, default 1.0
        Right end of the grid lines, as a part of the width of the axes.
    """
    bottom += 0.04
    layout.set_height(height + top + bottom, notes)
    layout.ax.set_ylim(-bottom / height, 1 + top / height)
    layout.levels(PERCENT_TICKS, end)


def ecdf(transitions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    r"""Draw the empirical distribution function of the latency of each transition.

    One line per transition on a log axis of time: the share of its latencies that are not larger. Names are above and
    below the lines. Latencies of 1 ms or less are drawn in a separate strip at the left edge.

    Parameters
    ----------
    transitions : pandas.DataFrame
        The result of ``vk.transitions``: ``from_state``, ``to_state``, ``latency_s`` (seconds).
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 8 transitions are drawn, the most frequent; latencies that are negative or missing are
        not. A note below the axis counts those left out.

    Raises
    ------
    MissingColumn
        If a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.ecdf(vk.transitions(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted\n→ routed\nn 1']
    """
    lanes, note = read_latencies(transitions, "ecdf")
    layout = Layout.open(ax, left=_LEFT)
    if not lanes:
        return layout.show_empty("no transitions", note)
    chosen = sorted(lanes, key=lambda transition: -len(lanes[transition]))[:MAX_LINES]
    zero_x = set_time_axis(layout, np.concatenate([lanes[transition] for transition in chosen]))
    values = [np.sort(np.where(lanes[name] > SMALLEST_TIME, lanes[name], zero_x)) for name in chosen]
    names = [[layout.elide(state, 0.3) for state in transition] for transition in chosen]
    texts = [f"{a}\n→ {b}\nn {len(sample):,}" for (a, b), sample in zip(names, values, strict=True)]
    levels = (0.97, 0.03)
    anchors = [[float(np.quantile(sample, level, method="inverted_cdf")) for sample in values] for level in levels]
    rows = layout.label_rows(texts, *([layout.share(x) for x in row] for row in anchors))
    drawn = sorted(index for row in rows for index, _ in row)
    notes = ["time from one state to the next, log scale · share of transitions that took no longer"]
    notes += [not_drawn("less frequent transitions", len(lanes) - len(drawn)), note]
    top_margin = 3 * LINE + 0.24
    bottom_margin = top_margin * (len(rows) - 1)
    height = plot_height(layout, top_margin + bottom_margin)
    set_plot(layout, height, top_margin, bottom_margin, notes)
    colours = transition_colours(in_order(chosen[index] for index in drawn))
    for index in drawn:
        latencies = values[index]
        indices = reduce_points(latencies)
        steps, share = np.r_[latencies[0], latencies[indices]], np.r_[0, (indices + 1) / len(latencies)]
        layout.ax.plot(steps, share, color=colours[chosen[index]], lw=1.6, drawstyle="steps-post")
    for row, level, x in zip(rows, levels, anchors, strict=False):
        edge, inch, va = (1, 1 / height, "bottom") if level > 0.5 else (0, -1 / height, "top")
        for index, centre in row:
            colour, at = colours[chosen[index]], layout.share(x[index])
            ends = [level, edge + 0.03 * inch, edge + 0.15 * inch]
            layout.ax.plot([at, at, centre], ends, color=colour, lw=0.9, transform=layout.ax.get_yaxis_transform())
            layout.ax.plot(x[index], level, "o", ms=4, color=colour)
            layout.text(centre, edge + 0.16 * inch, texts[index], ha="center", va=va, linespacing=1.1)
    return layout.ax
