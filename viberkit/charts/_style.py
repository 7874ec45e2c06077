"""Colours of states and groups, and the ticks of time axes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import colors

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
#: The text colour for a page that may be light or dark, for a light page, and for a dark page.
MIDTONE, DARK, LIGHT = "#7a7a7a", "#3c3c3c", "#d2d2d2"
#: Font size of small print, in points.
SMALL = 8.0

#: Candidate ticks, the roundest first: multiples of 1 ms, 1 s, 1 min, 1 h and 1 d.
_TICKS = (
    ((1,), (1,), (1,), (1,), (1,)),
    ((100,), (10,), (10,), (6,), (7, 365)),
    ((10,), (), (), (), (30,)),
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


def time_ticks(
    low: float, high: float, decade: float, first: dict[float, str] | None = None, *, vertical: bool = False
) -> dict[float, str]:
    """Return round times from ``low`` to ``high`` and their labels, as dense as they fit on ``decade`` inches a decade.

    ``first`` has a tick in front of ``low`` and its label.

    >>> time_ticks(0.05, 90.0, 1.0)
    {0.1: '100 ms', 1.0: '1 s', 10.0: '10 s', 60.0: '1 min'}
    """
    ticks = first or {}
    for level in _TICKS:
        for (_, size), steps in zip(UNITS, level, strict=True):
            times = [step * size for step in steps if low * 0.999 <= step * size <= high * 1.001]
            union = dict(sorted({**ticks, **{time: duration(time) for time in times}}.items()))
            # Half of a label with its margin, in inches, rounded up.
            halves = [0.12 if vertical else 0.31 * len(label) * SMALL / 72 + 0.05 for label in union.values()]
            gaps = [np.log10(after / before) * decade for before, after in pairwise(union)]
            if all(gap >= a + b for gap, (a, b) in zip(gaps, pairwise(halves), strict=True)):
                ticks = union
    return ticks
