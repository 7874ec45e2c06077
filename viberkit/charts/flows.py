"""Charts of the paths of messages: the transitions between states, and the counts that reached each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import BY
from viberkit.analysis.ordering import Ints
from viberkit.charts._layout import LINE, MAX_PANELS, Layout, spread
from viberkit.charts._results import Transition, check_result, group_codes, in_order, not_drawn, read_latencies
from viberkit.charts._style import contrast, state_colour, transition_colours
from viberkit.models.states import rank

__all__ = ["flow", "funnel"]

#: More transitions, or more states on the lower row, are illegible; a note below counts those left out.
MAX_TRANSITIONS, _MAX_LOWER = 12, 6
_STAGES = ("accepted", "routed", "dispatched", "delivered", "seen")
#: Inches: the height of a state, of a two-line label, and of a lane of arrows with its labels.
_BOX, _LABEL, _LANE = 0.24, 0.33, 0.36


def flow(transitions: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    r"""Draw the transitions between states as arrows, as wide as they are frequent, with count and median latency.

    The states of a successful delivery are from left to right on the upper row, those of failing messages and
    unrecognised states on the lower row.

    Parameters
    ----------
    transitions : pandas.DataFrame
        The result of ``vk.transitions``: ``from_state``, ``to_state``, ``latency_s`` (seconds).
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 12 transitions are drawn, the most frequent, and six states on the lower row. A note below
        the chart counts those left out, those that lead back to the same state, and negative latencies.

    Raises
    ------
    MissingColumn
        If a column is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.flow(vk.transitions(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted', 'routed', '1\nmedian 40 ms']
    """
    groups, note = read_latencies(transitions, "flow")
    lanes = {transition: values for (transition, _), values in groups.items()}
    repeated = sum(len(values) for (source, target), values in lanes.items() if source == target)
    candidates = [name for name in sorted(lanes, key=lambda name: -len(lanes[name])) if name[0] != name[1]]
    layout = Layout.open(ax, title, transitions.attrs)
    if not candidates:
        return layout.show_empty("no transitions", note)
    median = "median " if layout.width("median 999 ms") < 0.17 else ""
    for limit in range(MAX_TRANSITIONS, 0, -1):
        chosen = _most_frequent(candidates, limit)
        texts = {name: f"{len(lanes[name]):,}\n{median}{duration(float(np.median(lanes[name])))}" for name in chosen}
        diagram = _Diagram(layout, texts)
        if layout.own or diagram.height <= layout.inches[1]:
            break
    notes = ["messages from one state to the next, and the median time it took"]
    if omitted := [len(lanes[name]) for name in candidates if name not in texts]:
        times = "time" if sum(omitted) == 1 else "times"
        notes.append(f"less frequent transitions not drawn: {len(omitted):,} ({sum(omitted):,} {times})")
    notes += [not_drawn("back to the same state,", repeated), note]
    layout.set_height(diagram.height, notes, axis=False)
    diagram.draw({name: len(lanes[name]) for name in chosen})
    return layout.ax


def _most_frequent(transitions: Sequence[Transition], limit: int) -> list[Transition]:
    """Return the first transitions, as long as the states on the lower row stay few; in life-cycle order."""
    chosen: list[Transition] = []
    lower: set[str] = set()
    for transition in transitions:
        wider = lower | (set(transition) - set(_STAGES))
        if len(chosen) < limit and len(wider) <= _MAX_LOWER:
            chosen.append(transition)
            lower = wider
    return in_order(chosen)


class _Diagram:
    """States on two rows, and arrows between neighbours, over, between and under the rows.

    Each arrow that does not lead to a neighbour has a horizontal part in a lane, with its label above it. Arrows
    share a lane only where neither they nor their labels overlap.
    """

    def __init__(self, layout: Layout, texts: dict[Transition, str]) -> None:
        self.layout, self.texts = layout, texts
        states = sorted({state for transition in texts for state in transition}, key=lambda state: (rank(state), state))
        upper = [state for state in states if state in _STAGES] or states
        lower = [state for state in states if state not in upper]
        self.row = dict.fromkeys(upper, 0) | dict.fromkeys(lower, 1)
        self.names: dict[str, str] = {}
        for row in (upper, lower):
            fits = sum(layout.width(state) + 0.032 for state in row) + 0.06 * (len(row) - 1) <= 1
            available = 2.0 if fits else 0.92 / max(len(row), 4) - 0.045
            self.names |= {state: layout.elide(state, available) for state in row}
        self.half = {state: layout.width(name) / 2 + 0.016 for state, name in self.names.items()}
        self._set_centres(upper, lower)
        adjacent = [pair for pair in (*pairwise(upper), *pairwise(lower)) if pair in texts]
        self.straight = [(a, b) for a, b in adjacent if layout.width(texts[a, b]) + 0.02 <= self.x[b] - self.x[a]]
        self.bands: dict[Transition, int] = {}  # 0: over the upper row, 1: between the rows, 2: under the lower row
        for a, b in texts:
            if (a, b) not in self.straight:
                self.bands[a, b] = 2 * self.row[a] if self.row[a] == self.row[b] else 1
        spans = {transition: self._span(transition) for transition in self.bands}
        lanes = [_assign_lanes({name: spans[name] for name, band in self.bands.items() if band == k}) for k in range(3)]
        lanes[0] = {transition: max(lanes[0].values()) - lane for transition, lane in lanes[0].items()}
        depths = [_LANE * (max(band.values(), default=-1) + 1) for band in lanes]
        labels = [_LABEL * any(self.row[pair[0]] == row for pair in self.straight) for row in (0, 1)]
        top = 0.08 + depths[0] + labels[0]
        self.y = [top + _BOX / 2, top + 1.5 * _BOX + depths[1] + 0.22]
        bottom = self.y[1 if lower else 0] + _BOX / 2 + labels[1]
        self.height = bottom + depths[2] + 0.06
        tops = [start + _LANE - 0.06 for start in (0.08, top + _BOX, bottom)]
        self.lane_y = {name: tops[k] + _LANE * lane for k, band in enumerate(lanes) for name, lane in band.items()}

    def _set_centres(self, upper: list[str], lower: list[str]) -> None:
        """Set the centre of each state: the upper row evenly, the lower row from under ``dispatched`` on."""
        first, last = (self.half[upper[0]], 1 - self.half[upper[-1]]) if len(upper) > 2 else (0.25, 0.75)
        centres = np.linspace(first, last, len(upper)) if len(upper) > 1 else [0.5]
        self.x = dict(zip(upper, map(float, centres), strict=True))
        start = self.x.get("dispatched", 0.5) + 0.31 * (lower[:1] != ["channel_failed"])
        free_width = 1 - sum(2 * self.half[state] for state in lower)
        gap = min(0.15, free_width / max(len(lower), 1))
        widths = [2 * self.half[state] + gap for state in lower]
        below = spread([start + 0.31 * index for index in range(len(lower))], widths, -gap / 2, 1 + gap / 2)
        self.x |= dict(zip(lower, below or np.linspace(0.1, 0.9, len(lower)).tolist(), strict=True))

    def _peers(self, transition: Transition, state: str) -> list[Transition]:
        """Return the arrows at a state on the same side of its row, ordered by where their other end is."""
        peers = [other for other, band in self.bands.items() if state in other and band == self.bands[transition]]
        return sorted(peers, key=lambda other: (self.x[other[0]] + self.x[other[1]], other))

    def _port(self, transition: Transition, state: str) -> float:
        """Return the position where an arrow starts or ends at a state."""
        peers = self._peers(transition, state)
        step = min(0.035, 1.5 * self.half[state] / len(peers))
        return self.x[state] + (peers.index(transition) - (len(peers) - 1) / 2) * step

    def _span(self, transition: Transition) -> tuple[float, float, float]:
        """Return the left and right end of an arrow with its label, and the left end of the label."""
        (low, state), (high, _) = sorted((self._port(transition, state), state) for state in transition)
        ports = [self._port(other, state) for other in self._peers(transition, state)]
        width = self.layout.width(self.texts[transition])
        label = min(max(ports) + 0.012, 1 - width)
        return min(low, label), max(high, label + width), label

    def _label_x(self, transition: Transition) -> float:
        """Return the left end of the label of an arrow: the first position where no other arrow crosses the label."""
        (_, high, first), y = self._span(transition), self.lane_y[transition]
        width = self.layout.width(self.texts[transition])
        crossing = []
        for other in self.bands:
            for state in other:
                low, top = sorted((self.y[self.row[state]], self.lane_y[other]))
                crossing += [self._port(other, state)] if low < y - 0.03 and top > y - _LABEL else []
        for x in (first, *(x + 0.012 for x in sorted(crossing) if first < x <= high - width)):
            if not any(x - 0.01 < other < x + width for other in crossing):
                return x
        return first

    def draw(self, counts: dict[Transition, int]) -> None:
        """Draw states, arrows and labels."""
        layout, colours = self.layout, transition_colours(self.texts)
        for state, name in self.names.items():
            x, y, colour = self.x[state], self.y[self.row[state]], state_colour(state)
            corner, size = (x - self.half[state], y - _BOX / 2), (2 * self.half[state], _BOX)
            style: dict[str, Any] = {"boxstyle": "Round,pad=0,rounding_size=0.008", "mutation_aspect": layout.inches[0]}
            layout.ax.add_patch(FancyBboxPatch(corner, *size, fc=colour, ec="none", zorder=3, **style))
            layout.text(x, y, name, ha="center", va="center_baseline", colour=contrast(colour), zorder=4)
        for transition in in_order(self.texts):
            ends = [self.y[self.row[state]] for state in transition]
            if transition in self.straight:
                (a, b), (y, _) = (self.x[state] for state in transition), ends
                path = [(a + self.half[transition[0]], y), (b - self.half[transition[1]], y)]
                below = 2 * LINE + 0.04 + _BOX / 2 if self.row[transition[0]] else -_BOX / 2 - 0.05
                label, align = ((path[0][0] + path[1][0]) / 2, y + below), "center"
            else:
                (a, b), y = (self._port(transition, state) for state in transition), self.lane_y[transition]
                start, end = (middle + (_BOX / 2 if y > middle else -_BOX / 2) for middle in ends)
                path = [(a, start), (a, y), (b, y), (b, end)]
                label, align = (self._label_x(transition), y - 0.05), "left"
            width = (0.9 + 7 * counts[transition] / max(counts.values())) * layout.scale
            arrow = f"-|>,head_length={0.35 + 0.04 * width},head_width={0.16 + 0.03 * width}"
            style = {"mutation_scale": 9 * layout.scale, "joinstyle": "miter", "capstyle": "butt", "zorder": 2}
            colour = colours[transition]
            layout.ax.add_patch(FancyArrowPatch(path=Path(path), arrowstyle=arrow, lw=width, color=colour, **style))
            layout.text(*label, self.texts[transition], ha=align, va="bottom", linespacing=1.05, zorder=5)


def _assign_lanes(spans: dict[Transition, tuple[float, float, float]]) -> dict[Transition, int]:
    """Return the lane of each arrow, the shortest in the first lane: nested arrows do not cross."""
    result: dict[Transition, int] = {}
    for transition in sorted(spans, key=lambda transition: (spans[transition][1] - spans[transition][0], transition)):
        low, high, _ = spans[transition]
        others = [other for other in result if spans[other][0] < high + 0.02 and low < spans[other][1] + 0.02]
        result[transition] = min(set(range(len(spans))) - {result[other] for other in others})
    return result


def funnel(journeys: pd.DataFrame, *, by: BY = None, tz: str = "UTC", title: str = "", ax: Axes | None = None) -> Axes:
    """Draw how many messages reached each stage from accepted to seen, and what happened to the others.

    One bar per stage; between two stages, the count of messages that went no further: failed, with the most
    frequent codes, or still open. A message that reached a later stage passed the earlier ones, even if the log
    does not contain them; stages that never occur in the log are left out. With groups there is a row for each, with a
    small bar per stage, and for the failed and the open messages.

    Parameters
    ----------
    journeys : pandas.DataFrame
        The result of ``vk.journeys``: ``accepted_at``, ``delivered_at``, ``outcome``, and optionally ``routed_at``,
        ``dispatched_at``, ``seen_at``, ``code``.
    by : str or sequence of str, optional
        Columns of ``journeys`` to group by, or ``hour`` or ``weekday`` of *accepted*.
    tz : str, default "UTC"
        The time zone of ``hour`` and ``weekday``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 30 groups are drawn, the largest; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``tz`` is unknown, or a name in ``by`` is a duplicate.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z", "2026-03-01T09:00:01Z"])
    >>> events = pd.DataFrame({"message_id": ["m1", "m1", "m2"], "state": ["accepted", "delivered", "accepted"],
    ...     "happened_at": at})
    >>> ax = vk.charts.funnel(vk.journeys(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted', '2 · 100 %', '1 not delivered: 1 still open', 'delivered', '1 · 50 %']
    """
    check_result(journeys, "funnel", "vk.journeys(events)", ("accepted_at", "delivered_at", "outcome"))
    layout = Layout.open(ax, title, journeys.attrs)
    if not len(journeys):
        return layout.show_empty("no messages")
    present = {stage: journeys[f"{stage}_at"].notna().to_numpy() for stage in _STAGES if f"{stage}_at" in journeys}
    stages = [stage for stage, mask in present.items() if mask.any()]
    if not stages:
        return layout.show_empty(f"{len(journeys):,} messages, none of them accepted")
    reached = dict(zip(stages[::-1], np.logical_or.accumulate([present[name] for name in stages[::-1]]), strict=True))
    if by is not None:
        codes, labels = group_codes(journeys, "funnel", "accepted_at", by, tz)
        masks = {stage: reached[stage] for stage in stages}
        masks |= {outcome: (journeys["outcome"] == outcome).to_numpy() for outcome in ("failed", "open")}
        counts = {name: np.bincount(codes[mask], minlength=len(labels)) for name, mask in masks.items() if mask.any()}
        return _draw_rows(layout, labels, np.bincount(codes), counts)
    outcomes = journeys.reindex(columns=["outcome", "code"])
    stopped = [_describe_stopped(layout, outcomes[reached[a] & ~reached[b]], b) for a, b in pairwise(stages)]
    if stages[-1] not in ("delivered", "seen"):
        stopped.append(_describe_stopped(layout, outcomes[reached[stages[-1]]], "delivered"))
    stopped += [""] * (len(stages) - len(stopped))

    bar = 0.2
    heights = [0.24 + bar + (0.24 if text else 0.06) for text in stopped]
    missing = len(journeys) - int(reached[stages[0]].sum())
    notes = ["messages that reached a stage, of all", f"never {stages[0]}: {missing:,}" if missing else ""]
    layout.set_height(sum(heights), notes)
    layout.share_axis()
    top = 0.0
    for stage, text, height in zip(stages, stopped, heights, strict=True):
        count, y = int(reached[stage].sum()), top + 0.24 + bar / 2
        layout.heading(top + 0.17, stage, f"{count:,} · {percent(count / len(journeys))}")
        layout.ax.barh(y, 1, bar, color=layout.text_colour, alpha=0.14, linewidth=0)
        layout.ax.barh(y, count / len(journeys), bar, color=state_colour(stage), linewidth=0)
        if text:
            layout.text(0.012, y + bar / 2 + 0.155, text)
        top += height
    return layout.ax


def _draw_rows(layout: Layout, labels: list[str], sizes: Ints, counts: Mapping[str, Ints]) -> Axes:
    """Draw a row for each group: its name and size, and for each stage or outcome the share above a small bar."""
    row, top = 0.3, 0.24
    chosen = np.argsort(-sizes, kind="stable")[: min(MAX_PANELS, layout.count_fitting([row] * len(labels), top))]
    notes = ["share of the messages of the group", not_drawn("smaller groups", len(labels) - len(chosen))]
    layout.set_height(top + len(chosen) * row + 0.04, notes, axis=False)
    heads = [(layout.elide(labels[index], 0.2), f"n {sizes[index]:,}") for index in chosen]
    left = max(layout.width(name) + layout.width(size) for name, size in heads) + 0.05
    step, y = (1 - left) / len(counts), top + row * np.arange(len(chosen))
    for (name, size), base in zip(heads, y.tolist(), strict=True):
        layout.text(0, base + 0.19, name)
        layout.text(left - 0.02, base + 0.19, size, ha="right")
    for column, (stage, reached) in enumerate(counts.items()):
        x, shares = left + column * step, reached[chosen] / sizes[chosen]
        layout.text(x, top - 0.08, layout.elide(stage, step - 0.005))
        layout.ax.barh(y + 0.2, step - 0.02, 0.06, x, color=layout.text_colour, alpha=0.14, linewidth=0)
        layout.ax.barh(y + 0.2, (step - 0.02) * shares, 0.06, x, color=state_colour(stage), linewidth=0)
        for base, share in zip(y.tolist(), shares.tolist(), strict=True):
            layout.text(x, base + 0.13, percent(share))
    return layout.ax


def _describe_stopped(layout: Layout, stopped: pd.DataFrame, stage: str) -> str:
    """Describe the messages that did not reach a stage: failed, by the most frequent codes, or still open."""
    if not len(stopped) or stage == "seen":
        return f"{len(stopped):,} not seen, or not reported" if len(stopped) else ""
    failed = stopped[stopped["outcome"] == "failed"]
    parts = []
    if len(failed):
        parts.append(f"{len(failed):,} failed")
        codes = failed["code"].dropna().astype("str").value_counts()
        names = [f"{layout.elide(str(code).rpartition('::')[2], 0.25)} {count:,}" for code, count in codes[:2].items()]
        omitted = len(failed) - int(codes[:2].sum())
        choices = [[*names, *[f"other {omitted:,}"] * (omitted > 0)], names, names[:1]] if names else []
        texts = [f"{parts[0]} ({', '.join(choice)})" for choice in choices]
        parts = [next((text for text in texts if layout.width(text) < 0.72), parts[0])]
    if len(stopped) > len(failed):
        parts.append(f"{len(stopped) - len(failed):,} still open")
    return f"{len(stopped):,} not {stage}: {' · '.join(parts)}"
