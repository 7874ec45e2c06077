"""What the charts share: colours, and an axis of time in units that people use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, Locator

from viberkit.analysis.formatting import UNITS, duration

__all__ = [
    "DARK",
    "GROUP_COLOURS",
    "LIGHT",
    "MIDTONE",
    "SMALL",
    "TimeFormatter",
    "TimeLocator",
    "hop_colours",
    "luminance",
    "on",
    "spread",
    "state_colour",
]

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
#: Colours of groups, in order: told apart with any colour vision (CIELAB at least 23 with none of red or green).
GROUP_COLOURS = ("#2b7fd0", "#e3a008", "#8a4f7d", "#45b894", "#a85a12", "#64bbe0", "#7040e8", "#7e6a4e")
#: Inks: for a page that may be light or dark, for a light one, and for a dark one.
MIDTONE, DARK, LIGHT = "#7a7a7a", "#3c3c3c", "#d2d2d2"
#: Small print, in points.
SMALL = 8.0

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
    return "#111111" if luminance(colour) > 0.22 else "#ffffff"


def luminance(colour: Any) -> float:
    """How bright a colour is, from 0 to 1, as the eye sees it (WCAG 2)."""
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
    """Ticks as :func:`~viberkit.analysis.formatting.duration` writes them; the gutter's tick has its own text."""

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
