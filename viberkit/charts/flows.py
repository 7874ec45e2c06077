"""Charts of the ways messages take: the flow from state to state, and how many come through each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.charts._layout import LINE, Sheet, need
from viberkit.charts._style import hop_colours, on, spread, state_colour
from viberkit.charts.transitions import _by_hop
from viberkit.models.states import rank

__all__ = ["flow", "funnel"]

#: More hops than this are a tangle; the axes says what was left out.
MOST_HOPS = 12
_STAGES = ("accepted", "routed", "dispatched", "delivered", "seen")
_MOST_BELOW, _BOX, _LABEL, _LANE, _LEAD, _APART = 6, 0.24, 0.3, 0.5, 0.32, 0.2
_Hop = tuple[str, str]
_Mask = NDArray[np.bool_]


def flow(transitions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The flow of messages between states: an arrow a hop, as wide as it is common, with its count and median.

    ``transitions`` needs ``from_state``, ``to_state`` and ``latency_s`` (float seconds). States stand from left to
    right in life-cycle order, those of failing messages and those never seen before on a lower row. At most 12 hops,
    the commonest, are drawn, and six states on the lower row; the axes says how many hops are not, how many led back
    into the same state, and how many latencies were below zero. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = pd.DataFrame({"from_state": ["accepted"], "to_state": ["routed"], "latency_s": [0.04]})
    >>> ax = flow(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['accepted', 'routed', '1', 'median 40 ms']
    """
    need(transitions, "flow", ("from_state", "to_state", "latency_s"), "vk.transitions(events)")
    lanes, below = _by_hop(transitions) if len(transitions) else ({}, 0)
    again = sum(len(values) for (a, b), values in lanes.items() if a == b)
    hops = [hop for hop in sorted(lanes, key=lambda hop: -len(lanes[hop])) if hop[0] != hop[1]]
    sheet = Sheet.open(ax)
    if not hops:
        return sheet.say(f"no transitions (below zero, not drawn: {below:,})" if below else "no transitions")
    chosen = _chosen(hops)
    texts = {hop: (f"{len(lanes[hop]):,}", f"median {duration(float(np.median(lanes[hop])))}") for hop in chosen}
    notes = ["messages from one state to the next, and the median time it took"]
    if rest := [hop for hop in hops if hop not in texts]:
        many = sum(len(lanes[hop]) for hop in rest)
        notes.append(f"rarer hops not drawn: {len(rest):,} ({many:,} {'time' if many == 1 else 'times'})")
    if again:
        notes.append(f"back into the same state, not drawn: {again:,}")
    if below:
        notes.append(f"below zero, not drawn: {below:,}")
    if max(sheet.width(text) for pair in texts.values() for text in pair) > 0.17:  # five states leave no more
        texts = {hop: (count, text.removeprefix("median ")) for hop, (count, text) in texts.items()}
    drawing = _Flow(sheet, texts, {hop: len(lanes[hop]) for hop in chosen})
    sheet.fix(drawing.height, " · ".join(notes))
    sheet.bare()
    drawing.draw()
    return sheet.ax


def _chosen(hops: Sequence[_Hop]) -> list[_Hop]:
    """The commonest hops, as long as the states on the lower row stay few; in life-cycle order."""
    chosen: list[_Hop] = []
    lower: set[str] = set()
    for hop in hops:
        more = lower | {state for state in hop if state not in _STAGES}
        if len(chosen) < MOST_HOPS and len(more) <= _MOST_BELOW:
            chosen.append(hop)
            lower = more
    return sorted(chosen, key=lambda hop: (rank(hop[0]), rank(hop[1]), hop))


@dataclass
class _Arrow:
    """One hop on its way: the points it passes, and where its label stands (x, y of the last line, how aligned)."""

    hop: _Hop
    points: list[tuple[float, float]]
    label: tuple[float, float, str]
    straight: bool = False


class _Flow:
    """Where states stand and how the arrows go: along a row, over or under it in lanes, or from row to row.

    No arrow passes through a label: along a row a label stands above its arrow; an arrow over or under a row has its
    label beside the state it comes from, where nothing rises; between the rows each lane of labels leaves a slot for
    every arrow that has its label in another lane.
    """

    def __init__(self, sheet: Sheet, texts: dict[_Hop, tuple[str, str]], counts: dict[_Hop, int]) -> None:
        self.sheet, self.texts, self.counts = sheet, texts, counts
        states = sorted({state for hop in texts for state in hop}, key=lambda state: (rank(state), state))
        upper = [state for state in states if state in _STAGES]
        lower = [state for state in states if state not in _STAGES]
        if not upper:
            upper, lower = lower, []
        self.names: dict[str, str] = {}
        self.half: dict[str, float] = {}
        self.x: dict[str, float] = {}
        for row in (upper, lower):
            fits = sum(sheet.width(state) + 0.032 for state in row) + 0.06 * (len(row) - 1) <= 1
            for state in row:
                self.names[state] = state if fits else sheet.elide(state, 0.92 / max(len(row), 4) - 0.045)
                self.half[state] = sheet.width(self.names[state]) / 2 + 0.016
        self._stand(upper, lower)
        self.row = dict.fromkeys(upper, 0) | dict.fromkeys(lower, 1)
        kinds: tuple[list[_Hop], list[_Hop], list[_Hop]] = ([], [], [])
        for hop in texts:
            source, target = self.row[hop[0]], self.row[hop[1]]
            kinds[source if source == target else 2].append(hop)
        over, under = self._lanes(kinds[0], upper), self._lanes(kinds[1], lower)
        top = 0.08 + _LANE * max(over.values(), default=0) + (_LABEL if over else 0.0)
        self.upper = top + _BOX / 2
        slots = self._slots(kinds[2])
        self.between = _LEAD + len(slots) * (_LABEL + _APART) + _LEAD - _APART if lower else 0.0
        self.lower = self.upper + _BOX + self.between
        deep = max(under.values(), default=0) * _LANE + (_LABEL + 0.04 if under else 0.0)
        self.height = (self.lower if lower else self.upper) + _BOX / 2 + deep + 0.06
        self.arrows = [self._along(hop, lane, self.upper, -1) for hop, lane in over.items()]
        self.arrows += [self._along(hop, lane, self.lower, 1) for hop, lane in under.items()]
        self.arrows += self._across(slots)

    def _stand(self, upper: list[str], lower: list[str]) -> None:
        """Where each state stands: the upper row evenly, the lower row from under ``dispatched`` on."""
        ends = self.half[upper[0]], 1 - self.half[upper[-1]]
        places = np.linspace(*ends, len(upper)) if len(upper) > 1 else np.array([0.5])
        self.x |= {state: float(x) for state, x in zip(upper, places, strict=True)}
        if len(upper) == 2:
            self.x |= dict(zip(upper, (0.25, 0.75), strict=True))
        begin = self.x.get("dispatched", 0.5)
        wanted = [begin + 0.31 * (place + (lower[0] != "channel_failed")) for place in range(len(lower))]
        gap = min(
            0.15, 0.4 / max(len(lower), 1), (1 - sum(2 * self.half[s] for s in lower)) / max(len(lower) - 1, 1) - 1e-6
        )
        widths = [2 * self.half[state] + gap for state in lower]
        places_below = spread(wanted, widths, -gap / 2, 1 + gap / 2) or list(np.linspace(0.1, 0.9, len(lower)))
        self.x |= dict(zip(lower, places_below, strict=True))

    def _lanes(self, hops: list[_Hop], row: list[str]) -> dict[_Hop, int]:
        """The lane of each hop within a row: 0 for the next state, else the first lane that is free."""
        found: dict[_Hop, int] = {}
        taken: list[list[tuple[int, int]]] = []
        for hop in sorted(hops, key=lambda hop: abs(row.index(hop[0]) - row.index(hop[1]))):
            a, b = row.index(hop[0]), row.index(hop[1])
            if b - a == 1:
                found[hop] = 0
                continue
            low, high = min(a, b), max(a, b)
            free = (k for k, spans in enumerate(taken) if all(high <= start or end <= low for start, end in spans))
            lane = next(free, len(taken))
            taken[lane:] = taken[lane:] or [[]]
            taken[lane].append((low, high))
            found[hop] = lane + 1
        return found

    def _along(self, hop: _Hop, lane: int, y: float, way: int) -> _Arrow:
        """An arrow within a row: straight to the next state, else over it (way -1) or under it (1)."""
        a, b = self.x[hop[0]], self.x[hop[1]]
        if lane == 0:
            a, b = a + self.half[hop[0]], b - self.half[hop[1]]
            label = y - _BOX / 2 - 0.07 if way < 0 else y + _BOX / 2 + 0.17 + LINE
            return _Arrow(hop, [(a, y), (b, y)], ((a + b) / 2, label, "center"), straight=True)
        edge, shift = y + way * _BOX / 2, 0.012 * lane * (1 if b > a else -1)
        high = edge + way * _LANE * lane + (_LABEL if way > 0 else 0.0)
        points = [(a + shift, edge), (a + shift, high), (b - shift, high), (b - shift, edge)]
        return _Arrow(hop, points, (min(a, b) + abs(shift) + 0.014, high - 0.05, "left"))

    def _slots(self, hops: list[_Hop]) -> list[dict[_Hop, tuple[float, bool]]]:
        """For each lane between the rows: where each arrow passes, and whether its label stands there."""
        hops = sorted(hops, key=lambda hop: (self.x[hop[0]] + self.x[hop[1]], hop))
        wide = {hop: max(map(self.sheet.width, self.texts[hop])) + 0.03 for hop in hops}
        for count in range(1, len(hops) + 1):
            found = []
            for lane in range(count):
                here = {hop: place % count == lane for place, hop in enumerate(hops)}
                centres = [self._between(hop, (lane + 1) / (count + 1)) for hop in hops]
                places = spread(centres, [wide[hop] if here[hop] else 0.03 for hop in hops], 0.0, 1.0)
                if places is None:
                    break
                found.append({hop: (x, here[hop]) for hop, x in zip(hops, places, strict=True)})
            else:
                return found
        return []

    def _between(self, hop: _Hop, share: float) -> float:
        """Where an arrow between the rows would pass if it were straight, so far from the upper row."""
        upper, lower = sorted(hop, key=self.row.__getitem__)
        return self.x[upper] + (self.x[lower] - self.x[upper]) * share

    def _across(self, slots: list[dict[_Hop, tuple[float, bool]]]) -> list[_Arrow]:
        """The arrows between the rows, each broken where its label stands."""
        made = []
        top = self.upper + _BOX / 2 + _LEAD
        for hop in slots[0] if slots else ():
            down = self.row[hop[1]] > self.row[hop[0]]
            ports = [self._port(hop, slots, state) for state in hop]
            first, last = (ports[0], ports[1]) if down else (ports[1], ports[0])
            points, label = [(first, self.upper + _BOX / 2)], (0.0, 0.0, "center")
            for lane, slot in enumerate(slots):
                x, said = slot[hop]
                begin = top + lane * (_LABEL + _APART)
                points += [(x, begin), (x, begin + _LABEL)]
                if said:
                    label = (x, begin + _LABEL - 0.035, "center")
            points.append((last, self.lower - _BOX / 2))
            made.append(_Arrow(hop, points if down else points[::-1], label))
        return made

    def _port(self, hop: _Hop, slots: list[dict[_Hop, tuple[float, bool]]], state: str) -> float:
        """Where on a state's edge an arrow begins or ends: in the order of the slots."""
        mine = [other for other in slots[0] if state in other]
        step = min(0.035, 1.5 * self.half[state] / len(mine))
        return self.x[state] + (mine.index(hop) - (len(mine) - 1) / 2) * step

    def draw(self) -> None:
        """Draw states, arrows and labels."""
        sheet, ax, hues = self.sheet, self.sheet.ax, hop_colours(list(self.texts))
        most, inches = max(self.counts.values()), sheet.inches[0]
        for state, name in self.names.items():
            y = self.lower if self.row[state] else self.upper
            corner, hue = (self.x[state] - self.half[state], y - _BOX / 2), state_colour(state)
            box = FancyBboxPatch(
                corner,
                2 * self.half[state],
                _BOX,
                boxstyle="Round,pad=0,rounding_size=0.008",
                fc=hue,
                ec="none",
                mutation_aspect=inches,
                zorder=3,
            )
            ax.add_patch(box)
            sheet.text(self.x[state], y, name, ha="center", va="center_baseline", colour=on(hue), zorder=4)
        for arrow in self.arrows:
            wide = (0.9 + 7 * self.counts[arrow.hop] / most) * sheet.scale
            for part in self._parts(arrow):
                last = part[-1] == arrow.points[-1]
                head = f"-|>,head_length={0.35 + 0.04 * wide},head_width={0.16 + 0.03 * wide}"
                patch = FancyArrowPatch(
                    path=_curved(part, arrow.straight),
                    arrowstyle=head if last else "-",
                    mutation_scale=9 * sheet.scale,
                    lw=wide,
                    color=hues[arrow.hop],
                    joinstyle="miter",
                    capstyle="butt",
                    shrinkA=0,
                    shrinkB=0,
                    zorder=2,
                )
                ax.add_patch(patch)
            x, y, side = arrow.label
            for place, text in enumerate(self.texts[arrow.hop]):
                sheet.text(x, y - LINE * (1 - place), text, ha=side, zorder=5)

    def _parts(self, arrow: _Arrow) -> list[list[tuple[float, float]]]:
        """The pieces of an arrow: one, or between the rows the one before its label and the one after."""
        x, y, _ = arrow.label
        for place, ((a, up), (b, down)) in enumerate(pairwise(arrow.points)):
            if a == b == x and min(up, down) < y < max(up, down):
                return [arrow.points[: place + 1], arrow.points[place + 1 :]]
        return [arrow.points]


def _curved(points: Sequence[tuple[float, float]], straight: bool) -> Path:
    """A path through points: slanted pieces are drawn as curves that leave and arrive upright."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for (a, up), (b, down) in pairwise(points):
        if straight or a == b or up == down:
            vertices.append((b, down))
            codes.append(Path.LINETO)
        else:
            middle = (up + down) / 2
            vertices += [(a, middle), (b, middle), (b, down)]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def funnel(journeys: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How many messages came through: a bar a stage from accepted to seen, and between two what became of the others.

    ``journeys`` is the table of ``vk.journeys``: ``accepted_at``, ``delivered_at``, ``outcome`` (delivered, failed or
    open), and if told the other instants and ``code``. A message that reached a later stage passed the earlier ones,
    even if the log does not tell of it; a stage that the log never has is left out. What did not go on failed, with
    the commonest codes named, or is still open. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"])
    >>> rows = {"accepted_at": at, "delivered_at": [at[1], pd.NaT], "outcome": ["delivered", "open"]}
    >>> ax = funnel(pd.DataFrame(rows), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['accepted', '2 · 100 %', '1 not delivered: 1 still open', 'delivered', '1 · 50 %']
    """
    need(journeys, "funnel", ("accepted_at", "delivered_at", "outcome"), "vk.journeys(events)")
    sheet = Sheet.open(ax)
    if not len(journeys):
        return sheet.say("no messages")
    came = {s: journeys[f"{s}_at"].notna().to_numpy() for s in _STAGES if f"{s}_at" in journeys}
    stages = [stage for stage, there in came.items() if there.any()]
    reached: dict[str, _Mask] = {}
    later = np.zeros(len(journeys), dtype=bool)
    for stage in reversed(stages):
        later = reached[stage] = later | came[stage]
    if not stages:
        return sheet.say(f"{len(journeys):,} messages, none of them accepted")
    failed = (journeys["outcome"] == "failed").to_numpy(dtype=bool)
    bars = [(stage, int(reached[stage].sum())) for stage in stages]
    lost = []
    for stage, after in pairwise(stages):
        lost.append(_lost(sheet, journeys, reached[stage] & ~reached[after], failed, after))
    if stages[-1] not in ("delivered", "seen"):
        lost.append(_lost(sheet, journeys, reached[stages[-1]], failed, "delivered"))

    tall, gap = 0.2, 0.24
    heights = [0.24 + tall + (gap if place < len(lost) and lost[place] else 0.06) for place in range(len(bars))]
    note = "messages that came so far, of all"
    if missed := len(journeys) - bars[0][1]:
        note += f" · never {bars[0][0]}: {missed:,}"
    sheet.fix(sum(heights), note)
    sheet.ax.set_xlim(0, 1)
    sheet.ax.set_xticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    top = 0.0
    for place, ((stage, count), height) in enumerate(zip(bars, heights, strict=True)):
        share, middle, hue = count / len(journeys), top + 0.24 + tall / 2, state_colour(stage)
        sheet.heading(top + 0.17, stage, f"{count:,} · {percent(share)}")
        sheet.ax.barh(middle, 1, tall, color=sheet.ink, alpha=0.14, linewidth=0)
        sheet.ax.barh(middle, share, tall, color=hue, linewidth=0)
        if place < len(lost) and lost[place]:
            sheet.text(0.012, top + 0.24 + tall + 0.155, lost[place])
        top += height
    return sheet.ax


def _lost(sheet: Sheet, journeys: pd.DataFrame, here: _Mask, failed: _Mask, after: str) -> str:
    """What became of the messages that did not go on: how many failed, by which codes, how many are open."""
    count, bad = int(here.sum()), int((here & failed).sum())
    if not count:
        return ""
    if after == "seen":
        return f"{count:,} not seen, or not told"
    parts = []
    if bad:
        parts.append(f"{bad:,} failed")
        if "code" in journeys:
            codes = journeys["code"][here & failed].astype("str").value_counts()
            codes = codes[codes > 0]
            named = [
                f"{sheet.elide(str(code).rpartition('::')[2], 0.25)} {many:,}" for code, many in codes.head(2).items()
            ]
            rest = bad - int(codes.head(2).sum())
            named += [f"other {rest:,}"] if rest and named else []
            while named:
                text = f"{parts[0]} ({', '.join(named)})"
                if sheet.width(text) < 0.72:
                    parts = [text]
                    break
                named.pop()
    if count > bad:
        parts.append(f"{count - bad:,} still open")
    return f"{count:,} not {after}: {' · '.join(parts)}"
