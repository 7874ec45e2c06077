"""A sheet: an axes of lanes from top to bottom, where y is inches and text is measured before it is set.

Nothing here touches matplotlib's global settings: every colour and size is given explicitly. A figure that a
chart makes for itself is transparent with mid-tone ink, so it reads on a light and on a dark page; on an axes
of your own the ink follows the colour behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from viberkit.charts._style import DARK, LIGHT, MIDTONE, SMALL, TimeFormatter, TimeLocator, luminance
from viberkit.frames.columns import require

__all__ = ["LINE", "NAME", "WIDTH", "Sheet", "need"]

#: Inches: the width of a figure of ours, its margins, and one line of small print; points: the size of names.
WIDTH, MARGIN, LINE, NAME = 7.5, 0.3, 0.135, 9.0


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
            ink = MIDTONE if behind is None else DARK if luminance(behind[:3]) > 0.25 else LIGHT
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

    def bare(self) -> None:
        """Take the x-axis away, after ``fix``: from 0 to 1, and only the label under it stays."""
        self.ax.set_xlim(0, 1)
        self.ax.xaxis.set_major_locator(NullLocator())
        self.ax.spines["bottom"].set_visible(False)
        if self.own:
            figure, spare = cast(Figure, self.ax.figure), 0.2
            total, bottom = figure.get_figheight() - spare, figure.subplotpars.bottom * figure.get_figheight() - spare
            figure.set_size_inches(WIDTH, total)
            figure.subplots_adjust(bottom=bottom / total, top=1 - 0.08 / total)

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


def need(frame: pd.DataFrame, chart: str, columns: tuple[str, ...], remedy: str) -> None:
    """Refuse a frame without these columns; one with neither rows nor columns is merely empty."""
    if not isinstance(frame, pd.DataFrame) or len(frame) or len(frame.columns):
        require(frame, columns, f"charts.{chart} (pass {remedy})")
