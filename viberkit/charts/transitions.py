"""Charts of hops and events: how long each hop took, the lives of single messages, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from viberkit.analysis.formatting import duration, percent
from viberkit.charts._layout import LINE, Sheet, need
from viberkit.charts._style import hop_colours, on, spread, state_colour
from viberkit.models.states import rank

__all__ = ["latency", "time_share", "timeline"]

#: More lanes than this are more than anyone reads; the axes says what was left out.
MOST_LANES = 20
_FLOOR, _BINS, _FEW = 1e-3, 400, 30
_Hop = tuple[str, str]
_Floats = NDArray[np.float64]


def latency(transitions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The distribution of each hop's latency, a lane a hop in life-cycle order, on a log axis of time.

    ``transitions`` needs ``from_state``, ``to_state`` and ``latency_s`` (float seconds). From 30 values on a lane is
    a density scaled to its own peak, with a solid line at the median, a dotted one at the 95th percentile, and a thin
    base line from the smallest value to the largest; below that each value is a dot. What took 1 ms or less stands in
    a gutter at the left. At most 20 hops, the commonest, are drawn; latencies below zero or missing are not: the axes
    says how many. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = pd.DataFrame({"from_state": ["accepted"], "to_state": ["routed"], "latency_s": [0.04]})
    >>> ax = latency(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed', 'n 1 · median 40 ms']
    """
    need(transitions, "latency", ("from_state", "to_state", "latency_s"), "vk.transitions(events)")
    lanes, below = _by_hop(transitions) if len(transitions) else ({}, 0)
    sheet = Sheet.open(ax)
    if not lanes:
        return sheet.say(f"no transitions (below zero, not drawn: {below:,})" if below else "no transitions")
    many = max(map(len, lanes.values())) >= _FEW
    tall = float(np.clip(1.5 / len(lanes), 0.36, 0.8)) if many else 0.36
    if not sheet.own:
        tall = float(np.clip(sheet.inches[1] / len(lanes) - 0.26, 0.16, 0.8))
    shown = min(MOST_LANES, sheet.room([tall + 0.26] * len(lanes)))
    chosen = set(sorted(lanes, key=lambda hop: -len(lanes[hop]))[:shown])
    hops = [hop for hop in lanes if hop in chosen]

    notes = ["time from one state to the next, log scale" + (" (solid: median, dotted: p95)" if many else "")]
    if len(lanes) > len(hops):
        notes.append(f"rarer hops not drawn: {len(lanes) - len(hops):,}")
    if below:
        notes.append(f"below zero, not drawn: {below:,}")
    sheet.fix(len(hops) * (tall + 0.26) + 0.06, " · ".join(notes))

    ends = [end for hop in hops for end in _ends(lanes[hop])]
    low, high = min(ends, default=_FLOOR), max(ends, default=1.0)
    zeros = any(lanes[hop].min() <= _FLOOR for hop in hops)
    gutter = sheet.time_axis(low, high, "≤ 1 ms" if zeros else "")
    hues = hop_colours(hops)
    for place, hop in enumerate(hops):
        top = place * (tall + 0.26)
        values = lanes[hop]
        p50, p95 = np.quantile(values, [0.5, 0.95])
        fact = f"n {len(values):,} · median {duration(p50)}"
        more = f" · p95 {duration(p95)}" if len(values) >= _FEW else f" · max {duration(values.max())}"
        sheet.heading(top + 0.19, _hop_name(hop), *([fact + more] if len(values) > 1 else []), fact)
        draw = _density if len(values) >= _FEW else _dots
        draw(sheet, values, gutter, base=top + 0.24 + tall, tall=tall - 0.02, hue=hues[hop])
    return sheet.ax


def _by_hop(frame: pd.DataFrame) -> tuple[dict[_Hop, _Floats], int]:
    """The latencies of each hop, in life-cycle order, and how many were below zero."""
    seconds = frame["latency_s"].to_numpy(dtype=np.float64, na_value=np.nan)
    ends = [frame[name].astype("category").cat for name in ("from_state", "to_state")]
    sides = [[str(name) for name in end.categories] for end in ends]
    source, target = (end.codes.to_numpy().astype(np.int32) for end in ends)
    keep = (seconds >= 0) & (source >= 0) & (target >= 0)
    below = int((seconds < 0).sum())
    codes = source * max(len(sides[1]), 1) + target
    if not keep.all():
        seconds, codes = seconds[keep], codes[keep]
    small = len(sides[0]) * len(sides[1]) < 2**15  # then numpy sorts by radix, ten times as fast
    order = np.argsort(codes.astype(np.int16) if small else codes, kind="stable")
    codes, seconds = codes[order], seconds[order]
    found, starts = np.unique(codes, return_index=True)
    lanes = {
        (sides[0][code // len(sides[1])], sides[1][code % len(sides[1])]): part
        for code, part in zip(found.tolist(), np.split(seconds, starts[1:]), strict=bool(len(found)))
    }
    return {hop: lanes[hop] for hop in _in_order(lanes)}, below


def _ends(values: _Floats) -> list[float]:
    """The smallest and the largest of what a log axis can show."""
    later = values[values > _FLOOR]
    return [float(later.min()), float(later.max())] if len(later) else []


def _density(sheet: Sheet, values: _Floats, gutter: float, *, base: float, tall: float, hue: str) -> None:
    """A lane of many values: smoothed density over log time, and the share in the gutter on the same scale of area."""
    ax, later = sheet.ax, values[values > _FLOOR]
    left, right = np.log10(ax.get_xlim())
    edges = np.linspace(left, right, _BINS + 1)
    step = edges[1] - edges[0]
    zero = (len(values) - len(later)) / len(values)
    wide = 0.05 * (right - left)
    heights = [zero / wide]
    curve = np.zeros(_BINS)
    if len(later):
        logs = np.log10(later)
        counts = np.bincount(np.clip(((logs - left) / step).astype(np.int64), 0, _BINS - 1), minlength=_BINS)
        quarters = np.quantile(logs, [0.25, 0.75])
        bandwidth = 0.9 * min(float(logs.std()), float(quarters[1] - quarters[0]) / 1.34) * len(logs) ** -0.2
        sigma = max(bandwidth / step, 0.008 * _BINS)
        reach = np.arange(-int(4 * sigma), int(4 * sigma) + 1)
        kernel = np.exp(-0.5 * (reach / sigma) ** 2)
        curve = np.convolve(counts, kernel / kernel.sum(), mode="full")[len(reach) // 2 :][:_BINS] / len(values) / step
        heights.append(float(curve.max()))
        x = 10 ** (edges[:-1] + step / 2)
        spare = 3 * sigma * step if logs.max() - logs.min() < 6 * sigma * step else 0.0  # else a spike would vanish
        seen = (np.log10(x) >= logs.min() - spare) & (np.log10(x) <= logs.max() + spare)
        y = base - tall * curve / max(heights)
        ax.fill_between(x, base, y, where=seen, color=hue, alpha=0.5, lw=0)
        ax.plot(x, np.where(seen, y, np.nan), color=hue, lw=1.2)
        ax.plot(_ends(later), [base, base], color=hue, lw=1.4, solid_capstyle="butt")
    if zero:
        sides = 10 ** (np.log10(gutter) + np.array([-wide, wide]) / 2)
        ax.fill_between(sides, base, base - tall * heights[0] / max(heights), color=hue, alpha=0.5, lw=0)
        ax.plot(sides, [base, base], color=hue, lw=1.4, solid_capstyle="butt")
    for quantile, dash in ((0.5, "-"), (0.95, (0, (1.5, 1.5)))):
        at = float(np.quantile(values, quantile))
        ax.plot([at if at > _FLOOR else gutter] * 2, [base, base - tall], color=sheet.ink, lw=1.2, ls=dash)


def _dots(sheet: Sheet, values: _Floats, gutter: float, *, base: float, tall: float, hue: str) -> None:
    """A lane of few values: a dot each, those too near to tell apart stacked."""
    ax, places = sheet.ax, np.sort(np.where(values > _FLOOR, values, gutter))
    left, right = np.log10(ax.get_xlim())
    inches = (np.log10(places) - left) / (right - left) * sheet.inches[0]
    stack: list[float] = []  # where the last dot of each level stands
    levels = []
    for x in inches.tolist():
        level = next((up for up, last in enumerate(stack) if x - last >= 0.075), len(stack))
        stack[level : level + 1] = [x]
        levels.append(level)
    rise = min(0.08, (tall - 0.06) / max(len(stack) - 1, 1))
    ax.plot(ax.get_xlim(), [base, base], color=sheet.ink, lw=0.6, alpha=0.4)
    ax.plot(places, base - 0.05 - rise * np.array(levels), "o", ms=5, color=hue, mec="none", alpha=0.85)


def timeline(events: pd.DataFrame, *, message_id: str | Iterable[str] | None = None, ax: Axes | None = None) -> Axes:
    """The trail of one or several messages, a lane each: a dot an event, the state's name, and the time since the last.

    ``events`` needs ``message_id``, ``state`` and ``happened_at`` (UTC instants). Time runs from the message's first
    event on a log axis, so three events in 200 ms and a fourth after minutes are all legible; the first stands in a
    gutter at the left. ``message_id`` is an id or several; without it the first 20 messages are drawn, and the axes
    says so. Beyond six lanes only the times stand at the dots, and a key names the states. Raises MissingColumn,
    and ValueError for an id that is not in the events.

    >>> from matplotlib.figure import Figure
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> rows = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = timeline(rows, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['m1', '2026-03-01 09:00:00 UTC · 40 ms in all', '09:00:00.000', 'accepted', '+40 ms', 'routed']
    """
    need(events, "timeline", ("message_id", "state", "happened_at"), "archive.events() or vk.read_events(…)")
    if message_id is None:
        known = events["message_id"].dropna().unique() if len(events) else ()
        wanted, of = [str(one) for one in known[:MOST_LANES]], len(known)
    else:
        wanted = [message_id] if isinstance(message_id, str) else list(dict.fromkeys(message_id))
        of = len(wanted)
    trails = _trails(events, wanted) if len(events) else []
    absent = sorted(set(wanted) - {trail.name for trail in trails})
    if message_id is not None and absent and len(events):
        raise ValueError(f"message_id: {absent[0]!r} is not in the events; pass one of events['message_id']")
    sheet = Sheet.open(ax)
    if not trails:
        return sheet.say("no events")

    full = len(trails) <= 6
    names = list(dict.fromkeys(state for trail in trails for state in trail.states))
    names = [] if full else sorted(names, key=rank)
    head = sheet.key(names)[-1][1] + 0.12 if names else 0.0
    steps = [gap for trail in trails for gap in trail.since if gap > _FLOOR]
    gutter = sheet.time_axis(min(steps, default=_FLOOR), max(steps, default=1.0), "start")
    lanes = [_Lane(sheet, trail, gutter, full=full) for trail in trails]
    lanes = lanes[: sheet.room([lane.height for lane in lanes], head)]
    note = f" · first {len(lanes):,} of {of:,} messages, others with message_id=…" if len(lanes) < of else ""
    sheet.fix(head + sum(lane.height for lane in lanes), "time since the message's first event, log scale" + note)
    sheet.draw_key(names, [state_colour(name) for name in names])
    for lane in lanes:
        lane.draw(head)
        head += lane.height
    return sheet.ax


@dataclass
class _Trail:
    """One message's events in order: their states, and seconds since the first."""

    name: str
    begin: pd.Timestamp
    states: list[str]
    since: list[float]


def _trails(events: pd.DataFrame, wanted: Sequence[str]) -> list[_Trail]:
    few = events.loc[events["message_id"].isin(list(wanted)), ["message_id", "state", "happened_at"]].dropna()
    few = few.assign(state=few["state"].astype(str), happened_at=pd.to_datetime(few["happened_at"], utc=True))
    few = few.assign(rank=few["state"].map(rank)).sort_values(["happened_at", "rank"], kind="stable")
    parts = {str(name): part for name, part in few.groupby("message_id", observed=True)}
    return [
        _Trail(name, part["happened_at"].iloc[0], part["state"].tolist(), since.dt.total_seconds().tolist())
        for name, part in ((name, parts[name]) for name in wanted if name in parts)
        for since in [part["happened_at"] - part["happened_at"].iloc[0]]
    ]


class _Lane:
    """One message drawn: heading, labels in a row above the line, and in one below where a row is too short."""

    def __init__(self, sheet: Sheet, trail: _Trail, gutter: float, *, full: bool) -> None:
        self.sheet, self.trail = sheet, trail
        left, right = np.log10(sheet.ax.get_xlim())
        self.x = [since if since > _FLOOR else gutter for since in trail.since]
        at = [(float(np.log10(x)) - left) / (right - left) for x in self.x]
        gaps = [f"+{duration(b - a)}" for a, b in pairwise(trail.since)]
        names = [sheet.elide(state, 0.3) for state in trail.states]
        begin = f"{trail.begin:%H:%M:%S}.{trail.begin.microsecond // 1000:03}"
        texts = [f"{name}\n{gap}" for name, gap in zip(names, [begin, *gaps], strict=True)] if full else ["", *gaps]
        labels = [(place, text) for place, text in enumerate(texts) if text]
        self.labelled = len(labels)
        while (rows := self._rows(labels, at)) is None:
            labels.pop()
        self.rows, self.at, self.hidden = rows, at, self.labelled - len(labels)
        self.tall = 0.29 if full else 0.13
        self.above = 0.22 + (self.tall + (0.17 if full else 0.14) if rows[0] else 0.1)
        self.height = self.above + (0.12 if full else 0.07) + (self.tall + 0.16 if len(rows) > 1 else 0.0)

    def _rows(self, labels: list[tuple[int, str]], at: list[float]) -> list[list[tuple[int, str, float]]] | None:
        for count in (1, 2):
            rows = []
            for part in (labels[start::count] for start in range(count)):
                widths = [self.sheet.width(text) + 0.014 for _, text in part]
                middles = spread([at[place] for place, _ in part], widths, 0.0, 1.0)
                if middles is None:
                    break
                rows.append([(place, text, middle) for (place, text), middle in zip(part, middles, strict=True)])
            else:
                return rows
        return None

    def draw(self, top: float) -> None:
        """Draw the lane, its upper edge ``top`` inches from the top of the sheet."""
        ax, trail, line = self.sheet.ax, self.trail, top + self.above
        begin = f"{trail.begin:%Y-%m-%d %H:%M:%S} UTC"
        total = f"{duration(trail.since[-1])} in all" + (f" · {self.hidden:,} labels left out" if self.hidden else "")
        self.sheet.heading(top + 0.18, trail.name, f"{begin} · {total}", total)
        hues = [state_colour(state) for state in trail.states]
        ax.plot(self.x, [line] * len(self.x), color=self.sheet.ink, lw=1.0, alpha=0.6, zorder=1)
        ax.scatter(self.x, [line] * len(self.x), s=34, c=hues, zorder=3, linewidths=0, clip_on=False)
        where = ax.get_yaxis_transform()
        for row, way in zip(self.rows, (-1, 1), strict=False):
            edge = line + way * (self.above - 0.24 - self.tall)
            for place, text, middle in row:
                x, y = [self.at[place], middle], [line + way * 0.05, edge]
                ax.plot(x, y, color=hues[place], lw=0.8, transform=where, zorder=2)
                last = edge - 0.035 if way < 0 else edge + 0.115 + LINE * text.count("\n")
                self.sheet.lines(middle, last, text)


def time_share(latency: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Where the time goes: a bar a group, cut into the share of all its time that each hop took.

    ``latency`` is the table of ``vk.latency``: ``from_state``, ``to_state``, ``share`` (0 to 1), and any columns to
    group by standing before ``from_state``. Segments carry their names where these fit; with one group the others are
    called out above it, with several a key names them. At most 20 groups are drawn, and the axes says so. Raises
    MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = {"from_state": ["accepted", "routed"], "to_state": ["routed", "dispatched"], "share": [0.4, 0.6]}
    >>> ax = time_share(pd.DataFrame(rows), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed  40 %', 'routed → dispatched  60 %']
    """
    need(latency, "time_share", ("from_state", "to_state", "share"), "vk.latency(events)")
    by = list(latency.columns[: latency.columns.get_loc("from_state")]) if len(latency) else []
    table = latency.loc[latency["share"] > 0] if len(latency) else latency
    sheet = Sheet.open(ax)
    if not len(table):
        return sheet.say("no transitions")
    groups: dict[str, dict[_Hop, float]] = {}
    for *key, source, target, share in table[[*by, "from_state", "to_state", "share"]].itertuples(index=False):
        bar = groups.setdefault(" · ".join(map(str, key)), {})
        bar[str(source), str(target)] = bar.get((str(source), str(target)), 0.0) + float(share)
    hops = _in_order({hop for bar in groups.values() for hop in bar})
    hues = hop_colours(hops)

    cuts = {name: _segments(sheet, bar, hops, tall=not by) for name, bar in groups.items()}
    said = {hop for cut in cuts.values() for hop, _, _, text in cut if "→" in text}
    unsaid = [hop for hop in hops if hop not in said]
    callouts = None
    if len(groups) == 1:
        (only,) = cuts
        outside = [(hop, left + share / 2, share) for hop, left, share, _ in cuts[only] if hop in unsaid]
        texts = [f"{a}\n→ {b}\n{percent(share)}" for (a, b), _, share in outside]
        widths = [sheet.width(text) + 0.014 for text in texts]
        middles = spread([middle for _, middle, _ in outside], widths, 0.0, 1.0)
        if middles is not None:
            callouts = [(*one[:2], text, put) for one, text, put in zip(outside, texts, middles, strict=True)]
            cuts[only] = [(*cut[:3], "" if cut[0] in unsaid else cut[3]) for cut in cuts[only]]
    keyed = unsaid if callouts is None else []
    names = [_keyed(sheet, hop, [bar[hop] for bar in groups.values() if hop in bar]) for hop in keyed]
    head = sheet.key(names)[-1][1] + 0.1 if names else 0.74 if callouts else 0.08
    title = 0.24 if by else 0.0
    step = title + (0.34 if by else 0.5) + 0.1
    shown = min(MOST_LANES, sheet.room([step] * len(groups), head))
    note = f" · first {shown:,} of {len(groups):,} groups" if shown < len(groups) else ""
    sheet.fix(head + shown * step, "share of all the time spent between states, %" + note)
    ax = sheet.ax
    ax.set_xlim(0, 1)
    ax.set_xticks(np.linspace(0, 1, 5), ["0 %", "25 %", "50 %", "75 %", "100 %"])
    sheet.draw_key(names, [hues[hop] for hop in keyed], "s")
    for place, (name, cut) in enumerate(list(cuts.items())[:shown]):
        top = head + place * step
        if by:
            sheet.heading(top + 0.19, name)
        for hop, left, share, text in cut:
            middle = top + (title + step - 0.1) / 2
            ax.barh(middle, share, step - title - 0.1, left, color=hues[hop], linewidth=0)
            if left and share > 0.004:
                ax.plot([left, left], [top + title, top + step - 0.1], color=on(hues[hop]), lw=0.4, alpha=0.5)
            if text:
                sheet.text(left + share / 2, middle, text, ha="center", va="center", colour=on(hues[hop]))
    for hop, middle, text, put in callouts or []:
        ax.plot([middle, put], [head, head - 0.24], color=hues[hop], lw=0.8)
        sheet.lines(put, head - 0.275, text)
    return ax


def _segments(
    sheet: Sheet, bar: dict[_Hop, float], hops: list[_Hop], *, tall: bool
) -> list[tuple[_Hop, float, float, str]]:
    """Each segment's hop, left edge, share, and the longest label that fits in it, of three lines in a tall one."""
    cut, left = [], 0.0
    for hop in (hop for hop in hops if hop in bar):
        share, said = bar[hop], percent(bar[hop])
        choices = [f"{_hop_name(hop)}  {said}", *[f"{hop[0]}\n→ {hop[1]}\n{said}"] * tall, said, ""]
        text = next(text for text in choices if sheet.width(text) + 0.012 <= share or not text)
        cut.append((hop, left, share, text))
        left += share
    return cut


def _keyed(sheet: Sheet, hop: _Hop, shares: list[float]) -> str:
    most = percent(max(shares))
    return f"{sheet.elide(_hop_name(hop), 0.8)} ({most if most.startswith('<') else 'up to ' + most})"


def _hop_name(hop: _Hop) -> str:
    return f"{hop[0]} → {hop[1]}"


def _in_order(hops: Iterable[_Hop]) -> list[_Hop]:
    return sorted(hops, key=lambda hop: (rank(hop[0]), rank(hop[1]), hop))
