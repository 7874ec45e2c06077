"""Colours of states and groups, and the ticks of time axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Locator

from viberkit.analysis.formatting import UNITS, duration

#: The colour of each state, after Okabe and Ito: distinct with any colour vision, readable on white and on black.
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
#: Colours of groups, in order: distinct with any colour vision (CIELAB difference at least 23), none red or green.
GROUP_COLOURS = ("#2b7fd0", "#e3a008", "#8a4f7d", "#45b894", "#a85a12", "#64bbe0", "#7040e8", "#7e6a4e")
#: Ink for a page that may be light or dark, for a light page, and for a dark page.
MIDTONE, DARK, LIGHT = "#7a7a7a", "#3c3c3c", "#d2d2d2"
#: Font size of small print, in points.
SMALL = 8.0

#: Candidate ticks, the roundest first: multiples of 1 ms, 1 s, 1 min, 1 h and 1 d.
_TICKS = (
    ((1,), (1,), (1,), (1,), (1,)),
    ((10, 100), (10,), (10,), (6,), (7, 30, 365)),
    ((2, 5, 20, 50, 200, 500), (2, 5, 20, 30), (2, 5, 20, 30), (2, 12), (2, 14, 90, 180, 1000)),
    ((3, 30, 300), (3, 30), (3, 30), (3, 12), (2, 90, 1000)),
)


def state_colour(state: str) -> str:
    """Return the colour of a state, the same in every chart; an unrecognised state is grey.

    >>> state_colour("delivered"), state_colour("message-teleported")
    ('#17a07a', '#7a7a7a')
    """
    return STATE_COLOURS.get(state, MIDTONE)


def transition_colours(transitions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the colour of each transition: that of its target state, paler for later transitions to the same state.

    >>> transition_colours([("dispatched", "failed"), ("expired", "failed")])
    {('dispatched', 'failed'): '#d55e00', ('expired', 'failed'): '#e08640'}
    """
    counts: dict[str, int] = {}
    result = {}
    for source, target in transitions:
        count = counts[target] = counts.get(target, -1) + 1
        base = np.array(colors.to_rgb(state_colour(target)))
        red, green, blue = base + (1 - base) * min(0.25 * count, 0.6)
        result[source, target] = colors.to_hex((red, green, blue))
    return result


def contrast(colour: Any) -> str:
    """Black or white, whichever is more legible on the colour.

    >>> contrast("#2b7fb8"), contrast("#e69f00")
    ('#ffffff', '#111111')
    """
    return "#111111" if luminance(colour) > 0.22 else "#ffffff"


def luminance(colour: Any) -> float:
    """Relative luminance of a colour from 0 to 1 (WCAG 2)."""
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colors.to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


class TimeLocator(Locator):
    """Round times between ``low`` and ``high`` on a log axis of seconds, as dense as their labels allow.

    ``extra`` is a tick with a label of its own, in front of ``low``.
    """

    def __init__(self, low: float, high: float, extra: tuple[float, str] | None = None) -> None:
        self.low, self.high, self.extra = low * 0.999, high * 1.001, extra

    def __call__(self) -> list[float]:
        low, high = cast(tuple[float, float], self.axis.get_view_interval())  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks on an axis from ``vmin`` to ``vmax``, in seconds."""
        accepted = [self.extra[0]] if self.extra else []
        for level in _TICKS:
            for (_, size), steps in zip(UNITS, level, strict=True):
                ticks = [step * size for step in steps if self.low <= step * size <= self.high]
                union = sorted({*accepted, *ticks})
                if self._fit(union, abs(np.log10(vmax / vmin))):
                    accepted = union
        return accepted

    def _fit(self, ticks: Sequence[float], decades: float) -> bool:
        axis, axes = self.axis, cast(Axes, self.axis.axes)  # type: ignore[union-attr]
        dpi, horizontal = cast(Figure, axes.get_figure(root=True)).dpi, axes.xaxis is axis
        inches = (axes.bbox.width if horizontal else axes.bbox.height) / dpi / decades
        halves = [self._half_width(tick) if horizontal else 0.12 for tick in ticks]
        gaps = [np.log10(after / tick) * inches for tick, after in pairwise(ticks)]
        return all(gap >= a + b for gap, (a, b) in zip(gaps, pairwise(halves), strict=True))

    def _half_width(self, tick: float) -> float:
        """Half of the width of a label with its margin, in inches, rounded up."""
        label = self.extra[1] if self.extra and tick == self.extra[0] else duration(tick)
        return 0.31 * len(label) * SMALL / 72 + 0.05
