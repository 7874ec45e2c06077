"""Charts of shares over time: the delivery curve, and the empirical distribution of each transition's latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import BY, group_names
from viberkit.charts._layout import MAX_PANELS, PERCENT_TICKS, SMALLEST_TIME, Layout
from viberkit.charts._results import Floats, check_result, in_order, largest_groups, not_drawn, read_latencies
from viberkit.charts._style import GROUP_COLOURS, state_colour, transition_colours
from viberkit.charts.transitions import MAX_LINES

__all__ = ["curve", "ecdf"]

#: The lines of more groups would be a tangle: each group has a panel of its own.
_MAX_GROUPS = 5
_COLUMNS, _HEIGHT, _LEFT = 2000, 2.4, 0.52


def curve(delivery_curve: pd.DataFrame, *, by: BY = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a delivery curve: the shares of all messages that were delivered, failed or open, over time.

    Without groups three areas fill 0 to 100 %: the end from below, the other outcome from above, open messages
    between them; thin lines are the confidence interval. Up to five groups are lines with confidence bands, which end
    at the longest observation of the group; of more groups each has a panel of its own.

    Parameters
    ----------
    delivery_curve : pandas.DataFrame
        The result of ``vk.delivery_curve``: ``time_s`` (seconds), ``open`` (share), the shares and counts of the
        outcomes ``attrs["end"]`` and ``attrs["other"]``, and the columns of ``attrs["by"]``.
    by : str or sequence of str, optional
        Draw a panel for each group of these columns, which must be in ``attrs["by"]``; the groups of the other columns
        are lines in it.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 30 panels are drawn, of the largest groups; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``by``, ``start``, ``end``, ``other``, ``confidence`` is missing, or a column of ``by`` is
        not in ``attrs["by"]``.

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
    layout = Layout.open(ax, title, attrs, left=_LEFT)
    if not len(delivery_curve):
        return layout.show_empty("no messages")
    if unknown := [name for name in group_names(by) if name not in attrs["by"]]:
        text = f"is not in attrs['by']; pass the result of vk.delivery_curve(journeys, by={[*attrs['by'], *unknown]!r})"
        raise ValueError(f"charts.curve: by: {unknown[0]!r} {text}")
    if attrs["by"]:
        return _draw_groups(layout, delivery_curve.reset_index(drop=True), group_names(by))
    line, last = _Line(delivery_curve, end, other), {name: float(delivery_curve[name].iloc[-1]) for name in columns}
    interval = dict.fromkeys(percent(last[f"{end}_{side}"]) for side in ("low", "high"))
    text = f"{end} {percent(round(last[end], 9))}" + (f"\n{' – '.join(interval)}" if len(interval) > 1 else "")
    low, high, strip_label = _limits([line])
    marks = [(high, last[end] / 2, text, state_colour(end))]
    if last["open"] > 1e-9:
        marks.append((high, last[end] + last["open"] / 2, f"open {percent(last['open'])}", layout.text_colour))
    if last[other] > 1e-9:
        marks.append((high, 1 - last[other] / 2, f"{other} {percent(last[other])}", state_colour(other)))
    layout.time_axis(low, high, strip_label, max(layout.width(text) for _, _, text, _ in marks) + 0.05)
    edge, height = layout.share(high), _HEIGHT if layout.own else max(layout.inches[1] - 0.28, 0.5)
    layout.set_height(height + 0.28, _notes(attrs, "share of all messages", "thin lines"))
    layout.ax.set_ylim(-0.04 / height, 1 + 0.24 / height)
    layout.levels(PERCENT_TICKS, edge)
    line.draw(layout, state_colour(end))
    layout.ax.plot([high, high], [0, 1], color=layout.text_colour, lw=1.0, ls=(0, (1.5, 1.5)))
    heading = "longest observation" if last["open"] > 1e-9 else "last message ended after"
    heading = f"n {int(delivery_curve[counts].to_numpy().sum()):,} · {heading} {duration(last['time_s'])}"
    layout.text(edge, 1 + 0.1 / height, layout.elide(heading, edge), ha="right")
    layout.label_lines(marks, edge + 0.005, 1.0)
    return layout.ax


class _Line:
    """A share over time with its band, reduced to what an axis can show; ``other`` is the share that is above it.

    ``first`` is the first step later than 1 ms, ``early`` whether there is a step up to 1 ms.
    """

    def __init__(self, part: pd.DataFrame, name: str, other: str = "") -> None:
        time, still_open = (part[column].to_numpy(dtype=np.float64) for column in ("time_s", "open"))
        steps = time[np.diff(still_open, prepend=1.0) < 0]
        later = steps[steps > SMALLEST_TIME] if (steps > SMALLEST_TIME).any() else time[time > SMALLEST_TIME]
        self.first = float(later[0]) if len(later) else 0.0
        self.early = bool((steps <= SMALLEST_TIME).any())
        indices = reduce_points(np.maximum(time, self.first))
        columns = [part.get(column, part[name]) for column in (name, f"{name}_low", f"{name}_high", other)]
        self.time: Floats = time[indices]
        self.share, self.low, self.high, above = (column.to_numpy(dtype=np.float64)[indices] for column in columns)
        self.above, self.other = (1 - above if other else None), other

    def draw(self, layout: Layout, colour: str) -> None:
        """Draw the line and its band, or the areas of all outcomes; too early times are at the left edge."""
        ax, time = layout.ax, np.maximum(self.time, layout.ax.get_xlim()[0])
        if self.above is not None:
            edges = np.stack([0 * time, self.share, self.above, 0 * time + 1])
            colours = (colour, layout.text_colour, state_colour(self.other))
            for low, high, area, alpha in zip(edges, edges[1:], colours, (0.3, 0.1, 0.55), strict=False):
                ax.fill_between(time, low, high, step="post", color=area, alpha=alpha, lw=0)
            bounds = np.stack([self.low, self.high], axis=1)
            ax.plot(time, bounds, color=colour, lw=0.7, alpha=0.8, drawstyle="steps-post")
        elif (self.low < self.high).any():
            ax.fill_between(time, self.low, self.high, step="post", color=colour, alpha=0.15, lw=0)
        ax.plot(time, self.share, color=colour, lw=1.6, drawstyle="steps-post", solid_joinstyle="round")


#: The name, a fact and the lines of each panel.
_Panels = list[tuple[str, str, dict[str, _Line]]]


def _notes(attrs: Mapping[Hashable, Any], share: str, interval: str) -> list[str]:
    kind = "band for all times" if "at once" in attrs.get("band", "") else "interval"
    return [f"time since {attrs['start']}, log scale", share, f"{interval}: {percent(attrs['confidence'])} {kind}"]


def _limits(lines: Sequence[_Line]) -> tuple[float, float, str]:
    """Return the limits of a time axis for lines, and the label of its zero strip."""
    low = min((line.first for line in lines if line.first > 0), default=1.0)
    high = max(low, *(float(line.time[-1]) for line in lines))
    return min(low, high / 32), high, "≤ 1 ms" if any(line.early for line in lines) else ""


def _draw_groups(layout: Layout, result: pd.DataFrame, by: list[str]) -> Axes:
    """Draw a panel for each group of ``by``, in which the groups of the other columns are lines, at most five."""
    columns, end, other = (result.attrs[name] for name in ("by", "end", "other"))
    sizes = result[[f"n_{end}", f"n_{other}", "n_censored"]].sum(axis=1)
    if not by and largest_groups(result, sizes, _MAX_GROUPS)[1]:
        by = columns
    inner = [name for name in columns if name not in by]
    names, omitted = largest_groups(result, sizes, _MAX_GROUPS, inner)
    groups, left_out = largest_groups(result, sizes, MAX_PANELS, by)
    panels: _Panels = []
    for label, part in groups:
        rows = dict(largest_groups(part, sizes[part.index], len(part), inner)[0])
        lines = {name: _Line(rows[name], end, "" if inner else other) for name, _ in names if name in rows}
        panels.append((label, "" if inner else _final_share(lines[""]), lines))
    legend = {"": (end, state_colour(end)), other: (other, state_colour(other))}
    if inner:
        texts = {name: name if by else f"{name} {_final_share(panels[0][2][name])}" for name, _ in names}
        legend = {name: (texts[name], colour) for name, colour in zip(texts, GROUP_COLOURS, strict=False)}
    notes = _notes(result.attrs, f"share {end} of all messages", "band" if inner else "thin lines")
    notes += ["" if by else "a line ends at the longest observation of its group", not_drawn("other groups", omitted)]
    return _draw_panels(layout, panels, legend, notes, left_out)


def _final_share(line: _Line) -> str:
    return percent(round(line.share[-1], 9))


def _draw_panels(
    layout: Layout, panels: _Panels, legend: dict[str, tuple[str, str]], notes: list[str], left_out: int
) -> Axes:
    """Draw the lines of panels on the same axis of time, and a legend of their names (a text and a colour for each)."""
    texts = [layout.elide(text, 0.5) for text, _ in legend.values()]
    top = layout.legend_positions(texts)[-1][1] + 0.1
    height, levels = (1.3, {0.0: "0 %", 0.5: "50 %", 1.0: "100 %"}) if panels[0][0] else (_HEIGHT, PERCENT_TICKS)
    limits = _limits([line for _, _, lines in panels for line in lines.values()])
    insets = layout.panels([(name, fact) for name, fact, _ in panels], top, height, notes, left_out)
    layout.legend(texts, [colour for _, colour in legend.values()])
    for inset, (_, _, lines) in zip(insets, panels, strict=False):
        inset.time_axis(*limits)
        inset.ax.set_ylim(-0.02, 1.02)
        inset.levels(levels)
        for name, line in lines.items():
            line.draw(inset, legend[name][1])
    return layout.ax


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


def ecdf(transitions: pd.DataFrame, *, by: BY = None, tz: str = "UTC", title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the empirical distribution function of the latency of each transition.

    One line per transition on a log axis of time: the share of its latencies that are not larger. Latencies of 1 ms or
    less are at the left edge. With groups there is a panel for each, or a line for each if the frame has a single
    transition and at most five groups.

    Parameters
    ----------
    transitions : pandas.DataFrame
        The result of ``vk.transitions``: ``from_state``, ``to_state``, ``latency_s`` (seconds).
    by : str or sequence of str, optional
        Columns of ``transitions`` to group by, or ``hour`` or ``weekday`` of the beginning of the transition.
    tz : str, default "UTC"
        The time zone of ``hour`` and ``weekday``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 8 transitions are drawn, the most frequent, and at most 30 groups, the largest; latencies
        that are negative or missing are not. A note below the axis counts those left out.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``tz`` is unknown, or a name in ``by`` is a duplicate.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.ecdf(vk.transitions(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed (n 1)']
    """
    lanes, note = read_latencies(transitions, "ecdf", by, tz)
    layout = Layout.open(ax, title, transitions.attrs, left=_LEFT)
    if not lanes:
        return layout.show_empty("no transitions", note)
    kinds, groups = ({lane[side] for lane in lanes} for side in (0, 1))
    notes = ["time from one state to the next, log scale", "share of transitions that took no longer", note]
    if swap := len(kinds) == 1 and 1 < len(groups) <= _MAX_GROUPS:
        notes[0] = "time from {} to {}, log scale".format(*kinds.pop())
        lanes = {((group, ""), ""): values for (_, group), values in lanes.items()}
    counts, sizes = Counter[tuple[str, str]](), Counter[str]()
    for (kind, group), values in lanes.items():
        counts[kind] += len(values)
        sizes[group] += len(values)
    chosen = (
        [kind for kind, _ in counts.most_common(MAX_LINES)] if swap else in_order(dict(counts.most_common(MAX_LINES)))
    )
    colours = dict(zip(chosen, GROUP_COLOURS, strict=False)) if swap else transition_colours(chosen)
    texts = {kind: " → ".join(filter(None, kind)) for kind in chosen}
    legend = {texts[kind]: (f"{texts[kind]} (n {counts[kind]:,})", colours[kind]) for kind in chosen}
    panels: _Panels = []
    for group, size in sizes.most_common(MAX_PANELS):
        lines = {texts[kind]: _step_line(lanes[kind, group]) for kind in chosen if (kind, group) in lanes}
        panels.append((group, f"n {size:,}" if group else "", lines))
    notes.append(not_drawn("less frequent transitions", len(counts) - len(chosen)))
    return _draw_panels(layout, panels, legend, notes, len(sizes) - len(panels))


def _step_line(latencies: Floats) -> _Line:
    share = np.arange(len(latencies) + 1) / len(latencies)
    return _Line(pd.DataFrame({"time_s": [0.0, *np.sort(latencies)], "share": share, "open": 1 - share}), "share")
