"""What the charts share: colours, durations for people, the time axis, and a sheet that measures its own text.

Nothing here touches matplotlib's global settings: every colour and size is given explicitly. A figure that a
chart makes for itself is transparent with mid-tone ink, so it reads on a light and on a dark page; on an axes
of your own the ink follows the colour behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, Locator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from viberkit.words import UNITS, duration

__all__ = ["Sheet", "TimeFormatter", "TimeLocator", "hop_colours", "on", "spread", "state_colour"]

#: One colour a state, after Okabe and Ito: told apart with any colour vision, readable on white and on black.
STATE_COLOURS = {
    "accepted": "#8f8f8f",
    "routed": "#56b4e9",
    "dispatched": "#2b7fb8",
    "channel_failed": "#e69f00",
    "delivered": "#17a07a",
    "seen": "#cc79a7",
    "failed": "#d55e00",
    "expired": "#9a7346",
    "deleted": "#6f6f78",
    "unknown": "#a5a5ad",
}
MIDTONE, DARK, LIGHT = "#7a7a7a", "#3c3c3c", "#d2d2d2"
WIDTH, MARGIN = 7.5, 0.3
NAME, SMALL, LINE = 9.0, 8.0, 0.135

_TENS, _SIXTIES = (1, 2, 5, 10, 20, 50, 100, 200, 500), (1, 2, 5, 10, 20, 30)
#: Ticks to choose from, the densest first: numbers of ms, s, min, h and d.
_LEVELS = (
    (_TENS, _SIXTIES, _SIXTIES, (1, 2, 6, 12), (1, 2, 5, 10, 30, 100, 365)),
    ((1, 3, 10, 30, 100, 300), (1, 3, 10, 30), (1, 3, 10, 30), (1, 3, 6, 12), (1, 2, 7, 30, 90, 365)),
    ((1, 10, 100), (1, 10), (1, 10), (1, 6), (1, 7, 30, 365)),
)


def state_colour(state: str) -> str:
    """The colour of a state, the same in every chart; a state never seen before is grey.

    >>> state_colour("delivered"), state_colour("message-teleported")
    ('#17a07a', '#7a7a7a')
    """
    return STATE_COLOURS.get(state, MIDTONE)


def hop_colours(hops: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A colour for each hop: that of the state it leads to, paler where an earlier hop leads there too.

    >>> hop_colours([("dispatched", "failed"), ("expired", "failed")])
    {('dispatched', 'failed'): '#d55e00', ('expired', 'failed'): '#e08640'}
    """
    seen: dict[str, int] = {}
    found = {}
    for hop in hops:
        place = seen[hop[1]] = seen.get(hop[1], -1) + 1
        base = np.array(colors.to_rgb(state_colour(hop[1])))
        red, green, blue = base + (1 - base) * min(0.25 * place, 0.6)
        found[hop] = colors.to_hex((red, green, blue))
    return found


def on(colour: str) -> str:
    """Black or white, whichever reads better on the colour.

    >>> on("#2b7fb8"), on("#e69f00")
    ('#ffffff', '#111111')
    """
    return "#111111" if _luminance(colour) > 0.22 else "#ffffff"


def _luminance(colour: Any) -> float:
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colors.to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def spread(centres: Sequence[float], widths: Sequence[float], low: float, high: float) -> list[float] | None:
    """New centres for labels in one row: order kept, nothing overlapping, each moved as little as may be.

    None where the row from ``low`` to ``high`` is too short for them all.

    >>> spread([1.0, 1.0, 8.0], [2.0, 2.0, 2.0], 0.0, 10.0)
    [1.0, 3.0, 8.0]
    >>> spread([1.0, 1.0], [6.0, 6.0], 0.0, 10.0) is None
    True
    """
    if sum(widths) > high - low + 1e-9:
        return None
    # Where each label begins once the widths before it are taken away: these must not decrease, so pool those that do.
    before = np.concatenate([[0.0], np.cumsum(widths)[:-1]]) if len(widths) else np.zeros(0)
    pools: list[list[float]] = []
    for centre, width, past in zip(centres, widths, before, strict=True):
        pools.append([centre - width / 2 - past, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight = pools.pop()
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * weight) / (pools[-1][1] + weight), pools[-1][1] + weight]
    starts = np.repeat([mean for mean, _ in pools], [int(weight) for _, weight in pools]) if pools else np.zeros(0)
    starts = np.clip(starts, low, high - sum(widths))
    return [float(s + p + w / 2) for s, p, w in zip(starts, before, widths, strict=True)]


class TimeFormatter(Formatter):
    """Ticks in the words of :func:`~viberkit.words.duration`; the tick of the left-hand gutter in its own."""

    def __init__(self, zero: tuple[float, str] | None = None) -> None:
        self.zero = zero

    def __call__(self, x: float, pos: int | None = None) -> str:
        if self.zero and np.isclose(x, self.zero[0]):
            return self.zero[1]
        return duration(x)


class TimeLocator(Locator):
    """Ticks at times people know (1 s, 10 s, 1 min, 1 h, 1 d …), as dense as their labels leave room for."""

    def __init__(self, zero: tuple[float, str] | None = None, start: float = 0.0) -> None:
        self.zero, self.start = zero, start

    def __call__(self) -> list[float]:
        low, high = sorted(cast(tuple[float, float], self.axis.get_view_interval()))  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """The ticks between two times in seconds."""
        ax = cast(Axes, self.axis.axes)  # type: ignore[union-attr]
        inches = ax.bbox.width / cast(Figure, ax.get_figure(root=True)).dpi
        kept: list[float] = []
        for level in _LEVELS:
            sizes = zip((size for _, size in UNITS), level, strict=True)
            ticks = [step * size for size, steps in sizes for step in steps]
            ticks = [tick for tick in ticks if max(vmin, self.start) * 0.999 <= tick <= vmax * 1.001]
            kept, edge = ([self.zero[0]], _half(self.zero[1])) if self.zero and vmin <= self.zero[0] else ([], -inches)
            for tick in ticks:
                room = np.log(tick / kept[-1]) / np.log(vmax / vmin) * inches if kept else inches
                if room > edge + _half(duration(tick)) + 0.1:
                    kept.append(tick)
                    edge = _half(duration(tick))
            if len(kept) >= len(ticks):
                break
        return kept


def _half(label: str) -> float:
    """Half the width of a tick's label in inches, or a little more."""
    return 0.31 * len(label) * SMALL / 72


@dataclass
class Sheet:
    """An axes of lanes from top to bottom, where y is inches and text is measured before it is set."""

    ax: Axes
    own: bool
    ink: str
    scale: float = 1.0
    _widths: dict[tuple[str, float], float] = field(default_factory=dict)

    @classmethod
    def open(cls, ax: Axes | None) -> Sheet:
        """A sheet on your axes, or on a new transparent figure of notebook width."""
        if ax is not None:
            faces = [patch.get_facecolor() for patch in (ax.patch, ax.figure.patch) if patch.get_visible()]
            behind = next((face for face in map(colors.to_rgba, faces) if face[3] > 0.5), None)
            ink = MIDTONE if behind is None else DARK if _luminance(behind[:3]) > 0.25 else LIGHT
            sheet = cls(ax, own=False, ink=ink)
        else:
            import matplotlib.pyplot as plt

            figure, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="none")
            figure.set_facecolor("none")
            ax.set_facecolor("none")
            figure.subplots_adjust(left=MARGIN / WIDTH, right=1 - MARGIN / WIDTH)
            sheet = cls(ax, own=True, ink=MIDTONE)
        for side, spine in ax.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(sheet.ink)
        ax.grid(visible=False)
        ax.yaxis.set_major_locator(NullLocator())
        ax.yaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="x", colors=sheet.ink, labelcolor=sheet.ink, labelsize=SMALL, length=3, bottom=True)
        return sheet

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height of the axes."""
        box: Bbox = self.ax.get_window_extent()
        dpi = cast(Figure, self.ax.get_figure(root=True)).dpi
        return box.width / dpi, box.height / dpi

    def width(self, text: str, size: float = SMALL) -> float:
        """Width of a text as a share of the axes' width."""
        if (text, size) not in self._widths:
            probe = self.ax.text(0.5, 0.5, text, fontsize=size, transform=self.ax.transAxes)
            self._widths[text, size] = probe.get_window_extent().width / self.ax.get_window_extent().width
            probe.remove()
        return self._widths[text, size]

    def elide(self, text: str, room: float, size: float = SMALL) -> str:
        """The text, its middle left out where it is wider than ``room`` (a share of the axes' width)."""
        if self.width(text, size) <= room:
            return text
        keep = int(len(text) * room / self.width(text, size))
        while keep > 1 and self.width(f"{text[: keep - keep // 2]}…{text[-(keep // 2) :]}", size) > room:
            keep -= 1
        return f"{text[: max(keep, 1) - keep // 2]}…{text[-(keep // 2) :] if keep > 1 else ''}"

    def wrap(self, text: str, size: float = SMALL) -> str:
        """The text in lines no wider than the axes."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.width(longer, size) > 1:
                lines.append(word)
            else:
                lines[-1] = longer
        return "\n".join(lines)

    def room(self, heights: Sequence[float], extra: float = 0.0) -> int:
        """How many lanes of these heights (inches) fit: all on a figure of our own, at least one anywhere."""
        if self.own:
            return len(heights)
        return max(1, int(np.sum(np.cumsum(heights) + extra <= self.inches[1] / 0.75 + 1e-9)))

    def fix(self, height: float, label: str) -> None:
        """Set the height (inches) and the label under the x-axis; on your axes the text shrinks to fit."""
        label = self.wrap(label)
        self.ax.set_xlabel(label, fontsize=SMALL, color=self.ink, linespacing=1.25)
        if self.own:
            bottom = 0.42 + 0.15 * (label.count("\n") + 1)
            total = height + bottom + 0.08
            figure = cast(Figure, self.ax.figure)
            figure.set_size_inches(WIDTH, total)
            figure.subplots_adjust(bottom=bottom / total, top=1 - 0.08 / total)
        self.scale = float(np.clip(self.inches[1] / height, 0.75, 1.0))
        self.ax.set_ylim(height, 0)

    def time_axis(self, low: float, high: float, zero: str = "") -> float:
        """A log axis of seconds; ``zero`` names a gutter at its left for what has no logarithm. Gives its middle."""
        spare = max(0.0, 1.5 - np.log10(high / low)) / 2
        span = np.log10(high / low) + 2 * spare
        left, right = np.log10(low) - spare - 0.03 * span, np.log10(high) + spare + 0.03 * span
        start = 10.0**left
        gutter = 0.11 * (right - left) if zero else 0.0
        middle = float(10.0 ** (left - 0.55 * gutter))
        self.ax.set_xscale("log")
        self.ax.set_xlim(10.0 ** (left - gutter), 10.0**right)
        named = (middle, zero) if zero else None
        self.ax.xaxis.set_major_locator(TimeLocator(named, float(start)))
        self.ax.xaxis.set_major_formatter(TimeFormatter(named))
        self.ax.xaxis.set_minor_locator(NullLocator())
        self.ax.xaxis.set_minor_formatter(NullFormatter())
        self.ax.spines["bottom"].set_bounds(float(start), float(10.0**right))
        return middle

    def text(self, share: float, y: float, text: str, *, size: float = SMALL, colour: str = "", **more: Any) -> None:
        """Set a text: ``share`` of the width from the left, ``y`` inches from the top."""
        put = {"ha": "left", "va": "baseline"} | more
        where = self.ax.get_yaxis_transform()
        self.ax.text(share, y, text, fontsize=size * self.scale, color=colour or self.ink, transform=where, **put)

    def lines(self, share: float, y: float, text: str) -> None:
        """Set centred lines of text, the last on the baseline ``y`` inches from the top."""
        for place, line in enumerate(reversed(text.split("\n"))):
            self.text(share, y - LINE * place, line, ha="center")

    def heading(self, y: float, name: str, *facts: str) -> None:
        """A lane's heading: its name at the left, the first of ``facts`` that leaves it room at the right."""
        fact = next((f for f in facts if self.width(f) + self.width(name, NAME) < 0.96), facts[-1] if facts else "")
        self.text(0, y, self.elide(name, 0.97 - (self.width(fact) if fact else 0), NAME), size=NAME)
        if fact:
            self.text(1, y, fact, ha="right")

    def key(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Where the names of a key stand, each with room for its mark: share of the width, inches from the top."""
        places, x, y = [], 0.0, 0.17
        for name in names:
            wide = self.width(name) + 0.045
            if x and x + wide > 1:
                x, y = 0.0, y + 0.17
            places.append((x, y))
            x += wide
        return places

    def draw_key(self, names: Sequence[str], hues: Sequence[str], marker: str = "o") -> None:
        """Set a key of coloured marks at the top."""
        where = self.ax.get_yaxis_transform()
        for name, hue, (x, y) in zip(names, hues, self.key(names), strict=True):
            self.ax.plot(x + 0.009, y - 0.04, marker, ms=5, color=hue, transform=where, clip_on=False)
            self.text(x + 0.022, y, name)

    def say(self, text: str) -> Axes:
        """Nothing to draw: say so in the middle."""
        self.fix(0.9, "")
        self.ax.xaxis.set_major_locator(NullLocator())
        self.ax.spines["bottom"].set_visible(False)
        self.text(0.5, 0.45, self.wrap(text, NAME), size=NAME, ha="center", va="center")
        return self.ax
