"""The layout of a chart: lanes from top to bottom, measured texts, labels that do not overlap.

matplotlib's global settings are never changed: each colour and size is passed explicitly. A figure created by a chart
is transparent with mid-tone text, so that it is legible on light and on dark pages. With a matplotlib style that has a
background (such as ``dark_background``), and on the caller's axes, the text follows the background.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from viberkit.charts._results import not_drawn
from viberkit.charts._style import DARK, LIGHT, MIDTONE, SMALL, luminance, time_ticks

#: Inches: the width of a figure created by a chart, its margins, and a line of small print.
WIDTH, MARGIN, LINE = 7.5, 0.3, 0.135
#: Font sizes of headings and of titles, in points.
NAME, TITLE = 9.0, 11.0
#: Seconds: times up to this are drawn in a strip at the left of a log axis, the zero strip.
SMALLEST_TIME = 1e-3
PERCENT_TICKS = {0.0: "0 %", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 1.0: "100 %"}
#: Inches: the tallest figure, and in small multiples the heading of a panel and the gap beside it.
MAX_HEIGHT, PANEL_HEADING, PANEL_GAP = 14.0, 0.26, 0.16
#: More small multiples are illegible; a note below the axis counts those left out.
MAX_PANELS = 30
_TOP = 0.08
_MEASURED = 300  # characters of a text, more than fit into any chart


_without_pyplot: ContextVar[bool] = ContextVar("_without_pyplot", default=False)


@contextmanager
def own_figure() -> Iterator[None]:
    """Draw on figures of which pyplot does not know: those of pyplot are shown by the next cell, and leak elsewhere."""
    token = _without_pyplot.set(True)
    try:
        yield
    finally:
        _without_pyplot.reset(token)


@dataclass
class Layout:
    """An axes whose y is inches from the top; x is a share of the width unless an axis is set."""

    ax: Axes
    own: bool
    text_colour: str
    captions: list[str] = field(default_factory=list)
    scale: float = 1.0

    @classmethod
    def open(
        cls, ax: Axes | None, title: str, attrs: Mapping[Any, Any], left: float = MARGIN, right: float = MARGIN
    ) -> Layout:
        """Set up the caller's axes, or the axes of a new figure of notebook width with these margins in inches.

        ``attrs`` are those of the result; the sentences that they have for the reader are shown below the chart.
        """
        own = ax is None
        if ax is None and _without_pyplot.get():
            figure = Figure(figsize=(WIDTH, 3.0), facecolor="none")
            FigureCanvasAgg(figure)  # measures texts with one renderer, others would create one for each text
            ax = figure.subplots(subplot_kw={"facecolor": "none"})
            figure.subplots_adjust(left=left / WIDTH, right=1 - right / WIDTH)
        elif ax is None:
            import matplotlib.pyplot as plt

            figure, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="none")
            if colors.to_rgba(figure.get_facecolor()) == (1, 1, 1, 1):  # no style: the page is the background
                figure.set_facecolor("none")
                ax.set_facecolor("none")
            figure.subplots_adjust(left=left / WIDTH, right=1 - right / WIDTH)
        backgrounds = [patch.get_facecolor() for patch in (ax.patch, ax.figure.patch) if patch.get_visible()]
        background = next((colour for colour in map(colors.to_rgba, backgrounds) if colour[3] > 0.5), None)
        text_colour = MIDTONE if background is None else DARK if luminance(background[:3]) > 0.25 else LIGHT
        interval_note = "interval_note" if attrs.get("interval_share") else ""
        names = ("of_note", "mix_note", interval_note, "family_note", "dependence_note")
        captions = [attrs.get(name) for name in names]
        layout = cls(ax, own, text_colour, [caption for caption in captions if caption])
        if title:
            ax.set_title(layout.wrap(title, TITLE), loc="left", fontsize=TITLE, color=text_colour, parse_math=False)
        return layout

    def __post_init__(self) -> None:
        self.ax.spines[["top", "left", "right"]].set_visible(False)
        self.ax.spines["bottom"].set_color(self.text_colour)
        self.ax.grid(visible=False)
        self.ax.tick_params(colors=self.text_colour, labelsize=SMALL, length=0)
        self._set_y_ticks({})
        self.ax.tick_params(axis="x", length=3, bottom=True)

    @property
    def inches(self) -> tuple[float, float]:
        """Width and height of the axes."""
        box, dpi = self.ax.get_window_extent(), cast(Figure, self.ax.get_figure(root=True)).dpi
        return box.width / dpi, box.height / dpi

    def width(self, text: str, size: float = SMALL) -> float:
        """Width of a text as a share of the width of the axes."""
        part, usetex = text[:_MEASURED], mpl.rcParams["text.usetex"]
        width = _pixels(part, FontProperties(size=size), cast(Figure, self.ax.get_figure(root=True)).dpi, usetex)
        return width / self.ax.get_window_extent().width * len(text) / max(len(part), 1)

    def elide(self, text: str, available: float, size: float = SMALL) -> str:
        """Return the text in one line, elided in the middle if it is wider than ``available`` (a share)."""
        text = " ".join(text.split())
        halves = range(int(len(text) * available / (self.width(text, size) or 1)) // 2, 0, -1)
        choices = (text, *(f"{text[:half]}…{text[-half:]}" for half in halves))
        return next((choice for choice in choices if self.width(choice, size) <= available), f"{text[:1]}…")

    def wrap(self, text: str, size: float = SMALL) -> str:
        """Return the text in lines about as wide as the axes."""
        return textwrap.fill(text, max(1, int(0.97 * len(text) / (self.width(text, size) or 1))))

    def count_fitting(self, heights: Sequence[float], extra: float = 0.0) -> int:
        """Return how many lanes of these heights (inches) fit: all on a new figure, at least one elsewhere."""
        if self.own:
            return len(heights)
        return max(1, int(np.sum(np.cumsum(heights) + extra <= self.inches[1] / 0.75 + 1e-9)))

    def set_height(self, height: float, notes: Sequence[str], *, axis: bool = True) -> None:
        """Set the height in inches and the notes below the x-axis; on the caller's axes the text shrinks to fit."""
        # A break is between two notes if each of them fits into a line.
        joined = " · ".join(note.replace(" ", "\xa0") if self.width(note) < 0.97 else note for note in notes if note)
        lines = [self.wrap(joined).replace(" ·\n", "\n"), *map(self.wrap, self.captions)]
        label = "\n".join(lines).replace("\xa0", " ")
        self.ax.set_xlabel(label, fontsize=SMALL, color=self.text_colour, linespacing=1.25, parse_math=False)
        if self.own:
            bottom = 0.22 + 0.2 * axis + 0.15 * (label.count("\n") + 1)
            title = self.ax.get_title(loc="left")
            top = _TOP + (0.12 + 0.18 * (title.count("\n") + 1) if title else 0.0)
            total = height + bottom + top
            figure = cast(Figure, self.ax.figure)
            figure.set_size_inches(WIDTH, total)
            figure.subplots_adjust(bottom=bottom / total, top=1 - top / total)
        self.scale = float(np.clip(self.inches[1] / height, 0.75, 1.0))
        self.ax.set_ylim(height, 0)
        if not axis:
            self.ax.set(xlim=(0, 1), xticks=())
            self.ax.spines["bottom"].set_visible(False)

    def share_axis(self) -> None:
        """Set an x-axis from 0 to 100 %."""
        self.ax.set(xlim=(0, 1), xticks=list(PERCENT_TICKS), xticklabels=PERCENT_TICKS.values())

    def time_axis(self, low: float, high: float, strip_label: str = "", margin: float = 0.0) -> float:
        """Set a log x-axis of seconds.

        ``strip_label`` is the label of a strip at the left, for what has no logarithm; ``margin`` (a share of the
        width) is left empty at the right. Returns the position of the middle of the strip.
        """
        padding = max(0.0, 1.5 - np.log10(high / low)) / 2
        span = np.log10(high / low) + 2 * padding
        left, right = np.log10(low) - padding - 0.03 * span, np.log10(high) + padding + 0.03 * span
        strip = 0.11 * (right - left) if strip_label else 0.0
        start, end, middle = (float(10.0**at) for at in (left, right, left - 0.55 * strip))
        decades = (right - left + strip) / (1 - margin)
        ticks = time_ticks(start, end, self.inches[0] / decades, {middle: strip_label} if strip_label else None)
        self.ax.set_xscale("log")
        self.ax.set_xlim(10.0 ** (left - strip), 10.0 ** (left - strip + decades))
        self.ax.set_xticks(list(ticks), list(ticks.values()))
        self.ax.minorticks_off()
        self.ax.spines["bottom"].set_bounds(start, end)
        return middle

    def share(self, seconds: float) -> float:
        """Return the position of a time on a log axis, as a share of the width."""
        left, right = np.log10(self.ax.get_xlim())
        return float((np.log10(seconds) - left) / (right - left))

    def levels(self, ticks: dict[float, str], end: float = 1.0) -> None:
        """Label heights at the left, with a light line at each up to ``end`` (a share of the width)."""
        self._set_y_ticks(ticks)
        style: dict[str, Any] = {"color": self.text_colour, "lw": 0.6, "alpha": 0.22, "zorder": 0.5}
        self.ax.hlines(list(ticks), 0, end, transform=self.ax.get_yaxis_transform(), **style)

    def _set_y_ticks(self, ticks: dict[float, str]) -> None:
        # Where all tick labels of a transparent figure are dark, Jupyter puts a white background behind it, and a black
        # one where all are light. Therefore two labels without text are black and white.
        at = next(iter(ticks), 0.0)
        self.ax.set_yticks([np.nextafter(at, -np.inf), np.nextafter(at, np.inf), *ticks], ["", "", *ticks.values()])
        colours = ("black", "white", *[self.text_colour] * len(ticks))
        for label, colour in zip(self.ax.get_yticklabels(), colours, strict=False):
            label.set_color(colour)

    def panels(
        self, heads: Sequence[tuple[str, str]], top: float, height: float, notes: Sequence[str], left_out: int
    ) -> list[Layout]:
        """Set the height, and return the layouts of small multiples below a top margin, as many as fit.

        ``heads`` are the name and a fact above each panel, ``height`` is that of a panel (inches). Only the lowest of a
        column and the first of a row have labels on their axes.
        """
        width, available = self.inches[0], (MAX_HEIGHT if self.own else self.inches[1] / 0.75) - top - 0.24
        head = PANEL_HEADING if heads[0][0] else 0.0
        columns = max(1, min(len(heads), 2 if len(heads) <= 4 else 3 if len(heads) <= 12 else 4, int(width / 1.5)))
        rows = min(-(-len(heads) // columns), max(1, int(available / (head + 0.4))))
        drawn, step = heads[: rows * columns], min(height + head, available / rows)
        total, gap = top + rows * step + 0.24, PANEL_GAP / width
        self.set_height(total, [*notes, not_drawn("smaller groups", left_out + len(heads) - len(drawn))])
        self.ax.set(xlim=(0, 1), xticks=())
        self.ax.spines["bottom"].set_visible(False)
        panels, across = [], (1 + gap) / columns - gap
        for index, (name, fact) in enumerate(drawn):
            x, y = index % columns * (across + gap), top + index // columns * step + head
            if name:
                self.heading(y - 0.07, name, fact, left=x, right=x + across)
            bounds = (x, 1 - (y + step - head) / total, across, (step - head) / total)
            inset = self.ax.inset_axes(bounds, facecolor="none")
            panels.append(replace(self, own=False, ax=inset))
            inset.tick_params(labelbottom=index + columns >= len(drawn), labelleft=index % columns == 0)
        return panels

    def text(self, x: float, y: float, text: str, *, size: float = SMALL, colour: str = "", **options: Any) -> None:
        """Draw a text at ``x`` (a share of the width) and ``y`` (on the y-axis)."""
        style: dict[str, Any] = {"transform": self.ax.get_yaxis_transform(), "parse_math": False}
        self.ax.text(x, y, text, fontsize=size * self.scale, color=colour or self.text_colour, **(style | options))

    def heading(self, y: float, name: str, *facts: str, left: float = 0.0, right: float = 1.0) -> None:
        """Draw the heading of a lane: its name at the left, the longest of ``facts`` that fits at the right."""
        space = right - left - 0.03
        fact = next((f for f in facts if self.width(f) + self.width(name, NAME) < space), facts[-1] if facts else "")
        self.text(left, y, self.elide(name, space - (self.width(fact) if fact else 0), NAME), size=NAME)
        if fact:
            self.text(right, y, fact, ha="right")

    def legend_positions(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Return the left ends of the entries of a legend at the top: share of the width, inches from the top."""
        positions, x, y = [], 0.0, 0.17
        for name in names:
            width = self.width(name) + 0.31 / self.inches[0]
            if x and x + width > 1:
                x, y = 0.0, y + 0.17
            positions.append((x, y))
            x += width
        return positions

    def legend(self, names: Sequence[str], colours: Sequence[str], markers: str = "o") -> None:
        """Draw a legend at the top, with one marker per entry or the same for all."""
        transform, inch = self.ax.get_yaxis_transform(), 1 / self.inches[0]
        for index, (name, colour, (x, y)) in enumerate(zip(names, colours, self.legend_positions(names), strict=True)):
            marker = markers[index % len(markers)]
            self.ax.plot(x + 0.06 * inch, y - 0.04, marker, ms=5, color=colour, transform=transform, clip_on=False)
            self.text(x + 0.15 * inch, y, name)

    def label_rows(self, texts: Sequence[str], *positions: Sequence[float]) -> list[list[tuple[int, float]]]:
        """Distribute labels over as few rows as they fit in, at most one per sequence of preferred centres.

        Returns the index and the centre of each label by row; the last labels are dropped if they do not fit.
        """
        widths = np.array([self.width(text) + 0.014 for text in texts])
        for count, rows in product(range(len(texts), 0, -1), range(1, len(positions) + 1)):
            order, result = np.argsort(positions[0][:count], kind="stable"), []
            for row, preferred in enumerate(map(np.asarray, positions[:rows])):
                indices = sorted(order[row::rows].tolist(), key=preferred.__getitem__)
                centres = spread(preferred[indices], widths[indices], 0, 1)
                result += [list(zip(indices, centres, strict=True))] if centres is not None else []
            if len(result) == rows:
                return result
        return []

    def label_lines(self, labels: Sequence[tuple[float, float, str, str]], edge: float, top: float) -> None:
        """Label lines at the right of ``edge`` and below ``top`` (shares of the axes), each with a leader.

        A label is the end of its line (x, y), the text and the colour.
        """
        labels = sorted(labels, key=lambda label: label[1])
        heights = [(LINE * (text.count("\n") + 1) + 0.02) / self.inches[1] for _, _, text, _ in labels]
        to_axes = self.ax.transData + self.ax.transAxes.inverted()
        points = np.clip(to_axes.transform([(x, y) for x, y, _, _ in labels]), 0, 1).tolist()
        centres = spread([y for _, y in points], heights, 0.0, top) or [y for _, y in points]
        for (x, y), height, (_, _, text, colour) in zip(points, centres, labels, strict=True):
            style: dict[str, Any] = {"color": colour, "transform": self.ax.transAxes, "clip_on": False}
            self.ax.plot([x, edge], [y, y], lw=0.9, ls=(0, (1, 2)), **style)
            self.ax.plot([edge, edge + 0.014, edge + 0.024], [y, height, height], lw=1.4, **style)
            self.text(edge + 0.03, height, text, va="center", linespacing=1.15, transform=self.ax.transAxes)

    def show_empty(self, text: str, note: str = "") -> Axes:
        """Draw a text in the middle in place of a chart."""
        self.set_height(0.9, [], axis=False)
        text += f" ({note})" if note else ""
        self.text(0.5, 0.45, self.wrap(text, NAME), size=NAME, ha="center", va="center")
        return self.ax


@lru_cache(maxsize=4096)
def _pixels(text: str, font: FontProperties, dpi: float, usetex: bool) -> float:
    """Width of a text, which takes longer to measure than to look up."""
    figure = FigureCanvasAgg(Figure((1, 1), dpi=dpi)).figure
    return figure.text(0, 0, text, fontproperties=font, usetex=usetex, parse_math=False).get_window_extent().width


def spread(centres: ArrayLike, widths: ArrayLike, low: float, high: float) -> list[float] | None:
    """Return new centres for labels in a row: in the same order, without overlap, each moved as little as possible.

    None if the row from ``low`` to ``high`` is too short.

    >>> spread([1.0, 1.0, 8.0], [2.0, 2.0, 2.0], 0.0, 10.0)
    [1.0, 3.0, 8.0]
    >>> spread([1.0, 1.0], [6.0, 6.0], 0.0, 10.0) is None
    True
    """
    middles, sizes = np.asarray(centres), np.asarray(widths)
    if sizes.sum() > high - low + 1e-9:
        return None
    # The left edge of each label less the widths before it must not decrease: the closest such sequence is isotonic.
    offsets = np.cumsum(sizes) - sizes
    edges = isotonic_regression(middles - sizes / 2 - offsets).x if len(middles) else middles
    return (np.clip(edges, low, high - sizes.sum()) + offsets + sizes / 2).tolist()  # type: ignore[no-any-return]
