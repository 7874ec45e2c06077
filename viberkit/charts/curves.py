"""Charts of curves: how many messages had arrived, failed or were open by when, and how many hops were done by when."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.charts._layout import LINE, WIDTH, Sheet, need
from viberkit.charts._style import GROUP_COLOURS, SMALL, TimeLocator, hop_colours, spread, state_colour
from viberkit.charts.transitions import _by_hop

__all__ = ["MOST_LINES", "curve", "ecdf", "levels", "opened", "parts", "share_of"]

#: More lines than these are more than anyone tells apart; the axes says what was left out.
MOST_LINES = 8
_FLOOR, _COLUMNS, _TALL = 1e-3, 2000, 2.4
_Hop = tuple[str, str]
_Mark = tuple[float, str, str]
_Floats = NDArray[np.float64]


def curve(delivery_curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """By when how many messages had arrived, failed, or were still open: shares of all, on a log axis of time.

    ``delivery_curve`` is the table of ``vk.delivery_curve``: ``time_s``, then the share that came to the end asked for
    (``delivered``, say) with ``…_low`` and ``…_high``, the share that ended otherwise, and ``open``. Without groups
    the three fill 0 to 100 %, delivered from below and failed from above, and a tick marks until when the last message
    was watched. With groups (columns before ``time_s``) it is a line and a band each, of the end alone, which stops
    there; the 8 largest are drawn, and the axes says so. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = {"time_s": [0.0, 2.0, 60.0], "delivered": [0, 0.5, 0.5], "delivered_low": [0, 0.1, 0.1],
    ...     "delivered_high": [0.8, 0.9, 0.9], "failed": [0.0, 0.0, 0.0], "open": [1.0, 0.5, 0.5]}
    >>> ax = curve(pd.DataFrame(rows), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['last message watched until 1 min', 'delivered 50 %\\n10 % – 90 %', 'open 50 %']
    """
    made = "vk.delivery_curve(journeys)"
    need(delivery_curve, "curve", ("time_s", "open"), made)
    frame, names = delivery_curve, [str(name) for name in delivery_curve.columns]
    place = names.index("time_s") if names else 0
    end = str(frame.attrs.get("end", names[place + 1] if names[place + 1 :] else "delivered"))
    other = "delivered" if end in ("failed", "expired") else "failed"
    need(frame, "curve", (end, f"{end}_low", f"{end}_high", other), made)
    sheet = opened(ax)
    groups = parts(frame, names[:place]) if len(frame) else []
    if not groups:
        return sheet.say("no messages")
    tall = _tall(sheet, 0.24)
    shown = groups[: max(1, min(MOST_LINES, int(tall / (LINE + 0.02))))]
    lines = [_Line.of(part, end) for _, part in shown]
    low = min((line.begin for line in lines if line.begin > 0), default=1.0)
    high = max(max(float(line.time[-1]) for line in lines), low)
    low = min(low, high / 32)  # so that what is known ends at the right
    zeros = any(line.early for line in lines)

    notes = [f"time since {frame.attrs.get('start', 'the start')}, log scale · share of all messages"]
    confidence = percent(float(frame.attrs.get("confidence", 0.95)))
    if names[:place]:
        notes.append(f"band: {confidence} interval")
        marks = _group_marks(sheet, [name for name, _ in shown], [float(line.share[-1]) for line in lines])
    else:
        notes.append(f"thin lines: {confidence} interval")
        marks = _area_marks(sheet, frame.iloc[-1].to_dict(), end, other)
    if len(groups) > len(shown):
        notes.append(f"smaller groups not drawn: {len(groups) - len(shown):,}")
    room = max(sheet.width(row) for _, text, _ in marks for row in text.split("\n")) + 0.05
    right = _time_axis(sheet, low, high, "≤ 1 ms" if zeros else "", room)
    _upright(sheet, tall, 0.24, " · ".join(notes))
    if names[:place]:
        for line, hue in zip(lines, GROUP_COLOURS, strict=False):
            line.draw(sheet, hue, 0.18 if len(lines) <= 4 else 0.1)
            sheet.ax.plot(line.at(sheet)[-1:], line.share[-1:], "o", ms=3.5, color=hue, clip_on=False)
        heads = [f"{end} by then; a line ends where its last message was watched until", f"{end} by then"]
    else:
        _areas(sheet, lines[0], _Line.of(frame, other), end, other)
        sheet.ax.plot([high, high], [0, 1], color=sheet.ink, lw=1.0, ls=(0, (1.5, 1.5)))
        counts = [int(frame[f"n_{name}"].sum()) for name in (end, other, "open") if f"n_{name}" in frame]
        total = f"n {sum(counts):,}" if len(counts) == 3 else ""
        what = "last message watched until" if lines[0].open else "the last ended after"
        last = f"{what} {duration(float(frame['time_s'].iloc[-1]))}"
        heads = [f"{total} · {last}" if total else last, last]
    sheet.text(right, 1 + 0.1 / tall, next((one for one in heads if sheet.width(one) <= right), heads[-1]), ha="right")
    ends = [line.time[-1] for line in lines] if names[:place] else [high] * len(marks)
    _beside(sheet, marks, ends, right, tall)
    return sheet.ax


def _area_marks(sheet: Sheet, last: dict[Hashable, Any], end: str, other: str) -> list[_Mark]:
    """What the three areas are called at the right: height of the middle, words, colour."""
    done, open_, lost = (float(last[name]) for name in (end, "open", other))
    ends = list(dict.fromkeys(percent(float(last[f"{end}_{side}"])) for side in ("low", "high")))
    said = f"{end} {percent(round(done, 9))}" + (f"\n{ends[0]} – {ends[1]}" if len(ends) == 2 else "")
    marks = [(done / 2, said, state_colour(end))]
    if open_ > 1e-9:
        marks.append((done + open_ / 2, f"open {percent(open_)}", sheet.ink))
    if lost > 1e-9:
        marks.append((1 - lost / 2, f"{other} {percent(lost)}", state_colour(other)))
    return marks


def _group_marks(sheet: Sheet, names: Sequence[str], shares: Sequence[float]) -> list[_Mark]:
    """What the lines of groups are called at the right, long names shortened."""
    facts = [f" {percent(round(share, 9))}" for share in shares]
    texts = [sheet.elide(name, 0.3 - sheet.width(fact)) + fact for name, fact in zip(names, facts, strict=True)]
    return list(zip(shares, texts, GROUP_COLOURS, strict=False))


@dataclass
class _Line:
    """A share that grows over time, with its band, thinned to what an axis can show; ``begin``: its first step."""

    time: _Floats
    share: _Floats
    low: _Floats
    high: _Floats
    begin: float
    early: bool
    open: bool

    @classmethod
    def of(cls, part: pd.DataFrame, name: str) -> _Line:
        time, share, open_ = (part[one].to_numpy(dtype=np.float64) for one in ("time_s", name, "open"))
        later = time > _FLOOR
        moved = later & (open_ < (open_[~later][-1] if not later.all() else 1.0))
        begin = float(time[moved][0]) if moved.any() else float(time[later][0]) if later.any() else 0.0
        keep = _thin(np.maximum(time, begin), begin, float(time[-1]))
        band = [
            part[f"{name}_{side}"].to_numpy(dtype=np.float64) for side in ("low", "high") if f"{name}_{side}" in part
        ]
        low, high = (one[keep] for one in (band if len(band) == 2 else [share, share]))
        early = bool((open_[~later] < 1).any())
        return cls(time[keep], share[keep], low, high, begin, early, bool(open_[-1] > 1e-9))

    def at(self, sheet: Sheet) -> _Floats:
        """The times, what is too early for the axis at its left edge."""
        return np.maximum(self.time, sheet.ax.get_xlim()[0])

    def draw(self, sheet: Sheet, hue: str, alpha: float) -> None:
        sheet.ax.fill_between(self.at(sheet), self.low, self.high, step="post", color=hue, alpha=alpha, lw=0)
        sheet.ax.plot(self.at(sheet), self.share, color=hue, lw=1.6, drawstyle="steps-post", solid_joinstyle="round")


def _areas(sheet: Sheet, line: _Line, fails: _Line, end: str, other: str) -> None:
    """The end from below, what competes from above, and what is open between."""
    ax = sheet.ax
    ax.fill_between(line.at(sheet), 0, line.share, step="post", color=state_colour(end), alpha=0.3, lw=0)
    ax.fill_between(line.at(sheet), line.share, 1 - fails.share, step="post", color=sheet.ink, alpha=0.1, lw=0)
    ax.fill_between(fails.at(sheet), 1 - fails.share, 1, step="post", color=state_colour(other), alpha=0.55, lw=0)
    line.draw(sheet, state_colour(end), 0.0)
    for edge in (line.low, line.high):
        ax.plot(line.at(sheet), edge, color=state_colour(end), lw=0.7, alpha=0.8, drawstyle="steps-post")


def parts(frame: pd.DataFrame, by: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The groups of a frame with their names, the largest first."""
    if not by:
        return [("", frame)]
    grouped = frame.groupby(by, sort=False, dropna=False, observed=True)
    found = [(" · ".join(map(str, key)), part) for key, part in grouped]
    counts = [name for name in frame.columns if str(name).startswith("n_") and name != "n_bounded"]
    return sorted(found, key=lambda one: -one[1][counts].to_numpy().sum())


def _thin(time: _Floats, low: float, high: float) -> NDArray[np.intp]:
    """Places of the first and the last in each of 2,000 columns of a log axis: what is between is not seen."""
    if len(time) <= 2 * _COLUMNS or not 0 < low < high:
        return np.arange(len(time))
    column = (np.log(np.maximum(time, low) / low) * (_COLUMNS / np.log(high / low))).astype(np.int64)
    edge = np.flatnonzero(column[1:] != column[:-1])
    return np.unique(np.concatenate([[0], edge, edge + 1, [len(time) - 1]]))


class _Until(TimeLocator):
    """Ticks up to where the axis of time ends; right of it stand labels."""

    def __init__(self, inner: TimeLocator, end: float) -> None:
        super().__init__(inner.zero, inner.start)
        self.end = end

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [tick for tick in super().tick_values(vmin, vmax) if tick <= self.end * 1.001]


def _time_axis(sheet: Sheet, low: float, high: float, zero: str, room: float) -> float:
    """A log axis of time that leaves ``room`` (a share of the width) at its right; gives where ``high`` stands."""
    ax = sheet.ax
    sheet.time_axis(low, high, zero)
    left, right = np.log10(ax.get_xlim())
    ax.set_xlim(10**left, 10 ** (left + (right - left) / (1 - room)))
    inner = ax.xaxis.get_major_locator()
    if isinstance(inner, TimeLocator):
        ax.xaxis.set_major_locator(_Until(inner, float(10**right)))
    return float((np.log10(high) - left) / (right - left) * (1 - room))


def opened(ax: Axes | None) -> Sheet:
    """A sheet with room for the names of shares at its left."""
    sheet = Sheet.open(ax)
    if sheet.own and isinstance(sheet.ax.figure, Figure):
        sheet.ax.figure.subplots_adjust(left=0.52 / WIDTH)
    return sheet


def _tall(sheet: Sheet, head: float) -> float:
    """Inches for the curves, below so much for headings."""
    return _TALL if sheet.own else max(sheet.inches[1] - head - 0.04, 0.5)


def _upright(sheet: Sheet, tall: float, head: float, label: str, foot: float = 0.0) -> None:
    """Let y be a share from 0 to 1 between a head and a foot of so many inches."""
    foot += 0.04
    sheet.fix(tall + head + foot, label)
    sheet.ax.set_ylim(-foot / tall, 1 + head / tall)
    levels(sheet, [0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def levels(sheet: Sheet, places: Sequence[float], names: Sequence[str]) -> None:
    """Name heights at the left, and draw a faint line at each."""
    sheet.ax.set_yticks(list(places), list(names))
    sheet.ax.tick_params(axis="y", colors=sheet.ink, labelcolor=sheet.ink, labelsize=SMALL, length=0)
    where = sheet.ax.get_yaxis_transform()
    sheet.ax.hlines(list(places), 0, 1, transform=where, color=sheet.ink, lw=0.6, alpha=0.22, zorder=0.5)


def _beside(sheet: Sheet, marks: Sequence[_Mark], ends: Sequence[float], right: float, tall: float) -> None:
    """Labels at the right, each led to from where its line ends: (height, text, colour), moved apart where needed."""
    order = sorted(range(len(marks)), key=lambda place: marks[place][0])
    heights = [(LINE * (marks[place][1].count("\n") + 1) + 0.02) / tall for place in order]
    put = spread([marks[place][0] for place in order], heights, -0.04 / tall, 1 + 0.04 / tall)
    left, wide = np.log10(sheet.ax.get_xlim()[0]), np.diff(np.log10(sheet.ax.get_xlim()))[0]
    for place, y in zip(order, put or [marks[place][0] for place in order], strict=True):
        level, text, hue = marks[place]
        at = (np.log10(ends[place]) - left) / wide if ends[place] > 0 else 0.0
        where = sheet.ax.get_yaxis_transform()
        sheet.ax.plot([at, right + 0.005], [level] * 2, color=hue, lw=0.9, ls=(0, (1, 2)), transform=where)
        x = [right + 0.005, right + 0.02, right + 0.03]
        sheet.ax.plot(x, [level, y, y], color=hue, lw=1.6, transform=where, solid_joinstyle="round")
        sheet.text(right + 0.036, y, text, va="center", linespacing=1.15)


def ecdf(transitions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What share of each hop took no longer than so long: a line a hop on a log axis of time, led to from its name.

    ``transitions`` needs ``from_state``, ``to_state`` and ``latency_s`` (float seconds). At most 8 hops, the commonest,
    are drawn, and latencies below zero or missing are not: the axes says how many. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = pd.DataFrame({"from_state": ["accepted"], "to_state": ["routed"], "latency_s": [0.04]})
    >>> ax = ecdf(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['n 1', '→ routed', 'accepted']
    """
    need(transitions, "ecdf", ("from_state", "to_state", "latency_s"), "vk.transitions(events)")
    lanes, below = _by_hop(transitions) if len(transitions) else ({}, 0)
    sheet = opened(ax)
    if not lanes:
        return sheet.say(f"no transitions (below zero, not drawn: {below:,})" if below else "no transitions")
    commonest = sorted(lanes, key=lambda hop: -len(lanes[hop]))[:MOST_LINES]
    values = {hop: np.sort(lanes[hop]) for hop in commonest}
    ends = [float(end) for one in values.values() if one[-1] > _FLOOR for end in (one[one > _FLOOR][0], one[-1])]
    zeros = any(one[0] <= _FLOOR for one in values.values())
    gutter = sheet.time_axis(min(ends, default=_FLOOR), max(ends, default=1.0), "≤ 1 ms" if zeros else "")
    values = {hop: np.where(one > _FLOOR, one, gutter) for hop, one in values.items()}
    while (rows := _rows(sheet, values)) is None:
        values.popitem()
    notes = ["time from one state to the next, log scale · share of hops that took no longer"]
    if len(lanes) > len(values):
        notes.append(f"rarer hops not drawn: {len(lanes) - len(values):,}")
    if below:
        notes.append(f"below zero, not drawn: {below:,}")
    head, foot = 3 * LINE + 0.24, (3 * LINE + 0.24) * (len(rows) - 1)
    tall = _tall(sheet, head + foot)
    _upright(sheet, tall, head, " · ".join(notes), foot)
    hues = hop_colours([hop for hop in lanes if hop in values])
    for hop, one in values.items():
        kept = _thin(one, float(one[0]), float(one[-1]))
        steps, share = np.r_[one[0], one[kept]], np.r_[0, (kept + 1) / len(one)]
        sheet.ax.plot(steps, share, color=hues[hop], lw=1.6, drawstyle="steps-post")
    for row, level, edge, base in zip(rows, (0.97, 0.03), (1.0, 0.0), (0.2, -0.5), strict=False):
        for hop, text, middle in row:
            x = _value(values[hop], level)
            near, far = edge + (0.03 if edge else -0.03) / tall, edge + (0.17 if edge else -0.12) / tall
            where = sheet.ax.get_yaxis_transform()
            at = share_of(sheet, x)
            sheet.ax.plot([at, at, middle], [level, near, far], color=hues[hop], lw=0.9, transform=where)
            sheet.ax.plot(x, level, "o", ms=4, color=hues[hop])
            for line, words in enumerate(reversed(text.split("\n"))):
                sheet.text(middle, edge + (base + LINE * line) / tall, words, ha="center")
    return sheet.ax


def _rows(sheet: Sheet, values: dict[_Hop, _Floats]) -> list[list[tuple[_Hop, str, float]]] | None:
    """The names above the lines, and below them too where one row is too short; None where both are."""
    order = sorted(values, key=lambda hop: _value(values[hop], 0.97))
    for count in (1, 2):
        rows = []
        for place, level in zip(range(count), (0.97, 0.03), strict=False):
            hops = sorted(order[place::count], key=lambda hop: _value(values[hop], level))
            names = [[sheet.elide(end, 0.3) for end in hop] for hop in hops]
            texts = [f"{a}\n→ {b}\nn {len(values[hop]):,}" for hop, (a, b) in zip(hops, names, strict=True)]
            at = [share_of(sheet, _value(values[hop], level)) for hop in hops]
            middles = spread(at, [sheet.width(text) + 0.02 for text in texts], 0.0, 1.0)
            if middles is None:
                break
            rows.append(list(zip(hops, texts, middles, strict=True)))
        else:
            return rows
    return None


def _value(ordered: _Floats, share: float) -> float:
    """The least value that so large a share does not exceed."""
    return float(ordered[int(np.clip(np.ceil(share * len(ordered)) - 1, 0, len(ordered) - 1))])


def share_of(sheet: Sheet, x: float) -> float:
    """Where a time stands, as a share of the axes' width."""
    left, right = np.log10(sheet.ax.get_xlim())
    return float((np.log10(x) - left) / (right - left))
