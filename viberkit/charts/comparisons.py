"""A chart of differences: how much slower groups are than a baseline, how much less is delivered, and how sure that is.

What is not known or never reached is said in words, and never drawn as if it were zero.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from viberkit.analysis.formatting import UNITS, duration
from viberkit.charts._layout import Sheet, need
from viberkit.charts._style import state_colour
from viberkit.charts.transitions import MOST_LANES

__all__ = ["compare"]

#: Inches: a lane of differences, the head of a block of them, and its axis.
_ROW, _HEAD, _FOOT = 0.21, 0.27, 0.42


def compare(comparison: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """How much slower or faster each group is than the baseline: a dot a quantile, with its interval, about zero.

    ``comparison`` is the table of ``vk.compare``: ``group``, ``baseline``, ``metric``, ``unit`` ("s" or "share"),
    ``difference``, ``low``, ``high``. Times stand on an axis of time, those more than ten times as large on another
    below it, and shares above them on one of percentage points. A hollow dot is a difference that may be none. What
    has no difference, because a quantile is not reached, is said in words. At most 20 lanes; the axes says how many
    are not drawn. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = {"group": ["promotion"], "baseline": ["session"], "metric": ["p95"], "unit": ["s"], "difference": [1.8],
    ...     "low": [0.9], "high": [2.6]}
    >>> ax = compare(pd.DataFrame(rows), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['time', '← faster', 'slower →', 'promotion p95', '+1.8 s (+900 ms to +2.6 s)']
    """
    columns = ("group", "baseline", "metric", "unit", "difference", "low", "high")
    need(comparison, "compare", columns, "vk.compare(journeys, by=…)")
    sheet = Sheet.open(ax)
    sections = _scales(comparison) if len(comparison) else []
    if not sections:
        return sheet.say("nothing to compare")
    spare = _HEAD * len(sections) + _FOOT * (len(sections) - 1)
    fits = max(1, min(MOST_LANES, sheet.room([_ROW] * len(comparison), spare + 0.1)))
    groups = list(dict.fromkeys(comparison["group"].astype("str")))
    many = groups[: max(1, fits * len(groups) // len(comparison))]
    sections = [some for one in sections if len(some := one[one["group"].astype("str").isin(many)])]
    drawn = sum(map(len, sections))
    total = drawn * _ROW + _HEAD * len(sections) + _FOOT * (len(sections) - 1)
    baselines = ", ".join(sheet.elide(one, 0.3) for one in dict.fromkeys(comparison["baseline"].astype("str")))
    notes = [f"difference from {baselines} · bars: confidence intervals · hollow: may be none · orange: worse"]
    if drawn < len(comparison):
        notes.append(f"not drawn: {len(comparison) - drawn:,} of {len(comparison):,}")
    sheet.fix(total, " · ".join(notes))
    for long in (True, False):
        names, facts = (
            list(chain(*both)) for both in zip(*(_named(sheet, one, long=long) for one in sections), strict=True)
        )
        columns_at = max(map(sheet.width, names)) + 0.04, 1 - max(map(sheet.width, facts)) - 0.04
        if columns_at[1] - columns_at[0] > 0.3:
            break
    top, time = 0.0, 0
    for place, one in enumerate(sections):
        title = "percentage points" if one["unit"].iloc[0] == "share" else "time, on another scale" if time else "time"
        time += one["unit"].iloc[0] != "share"
        tall = _HEAD + len(one) * _ROW
        if place == len(sections) - 1:
            _differences(sheet, one, title, top, columns_at, long=long)
            break
        inner = sheet.ax.inset_axes((0, 1 - (top + tall) / total, 1, tall / total), facecolor="none")
        inset = Sheet.open(inner)
        inset.ink, inset.scale = sheet.ink, sheet.scale
        inner.spines["bottom"].set_color(sheet.ink)
        inner.tick_params(axis="x", colors=sheet.ink, labelcolor=sheet.ink)
        inner.set_ylim(tall, 0)
        _differences(inset, one, title, 0.0, columns_at, long=long)
        top += tall + _FOOT
    return sheet.ax


def _scales(comparison: pd.DataFrame) -> list[pd.DataFrame]:
    """The metrics cut into blocks of one axis each: shares, and times as far as they are of one order."""
    blocks: list[tuple[str, float, list[pd.DataFrame]]] = []
    for unit in ("share", "s"):
        for _, part in comparison[comparison["unit"] == unit].groupby("metric", sort=False, observed=True):
            numbers = part[["difference", "low", "high"]].to_numpy(dtype=np.float64)
            most = float(np.abs(numbers[np.isfinite(numbers)]).max(initial=0.0))
            alike = unit == "share" or not most or (blocks and 0.1 <= (blocks[-1][1] or most) / most <= 10)
            if blocks and blocks[-1][0] == unit and alike:
                blocks[-1] = (unit, blocks[-1][1] or most, [*blocks[-1][2], part])
            else:
                blocks.append((unit, most, [part]))
    return [pd.concat(parts) for _, _, parts in blocks]


def _differences(
    sheet: Sheet, rows: pd.DataFrame, title: str, top: float, columns: tuple[float, float], *, long: bool
) -> None:
    """A lane a row, its name at the left and its number at the right, about a line at zero."""
    ax, base = sheet.ax, top + _HEAD + len(rows) * _ROW
    unit = str(rows["unit"].iloc[0])
    numbers = rows[["difference", "low", "high"]].to_numpy(dtype=np.float64)
    known = np.append(numbers[np.isfinite(numbers)], 0.0)
    begin, end = columns
    names, facts = _named(sheet, rows, long=long)
    low, high = float(known.min()), float(known.max())
    wide = (high - low) or (1.0 if unit == "s" else 0.01)
    low, high = low - 0.06 * wide, high + 0.06 * wide
    scale = (high - low) / (end - begin)
    ax.set_xlim(low - scale * begin, high + scale * (1 - end))
    step = _step(high - low, unit, (end - begin) * sheet.inches[0])
    ax.xaxis.set_major_locator(FixedLocator(list(np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x, unit)))
    ax.spines["bottom"].set_bounds(low, high)
    ax.plot([0, 0], [top + 0.06, base], color=sheet.ink, lw=1.0)
    zero = begin - low / scale
    sheet.text(0, top + 0.16, title)
    worse = ("← faster", "slower →") if unit == "s" else ("← fewer", "more →")
    sheet.text(zero - 0.01, top + 0.16, worse[0], ha="right")
    sheet.text(zero + 0.01, top + 0.16, worse[1])
    for place, ((gap, below, above), name, fact) in enumerate(zip(numbers.tolist(), names, facts, strict=True)):
        y = top + _HEAD + (place + 0.5) * _ROW
        sheet.text(0, y, name, va="center")
        if not np.isfinite(gap):
            roomy = zero + 0.02 + sheet.width(_why(gap)) < 1
            sheet.text(zero + (0.015 if roomy else -0.015), y, _why(gap), va="center", ha="left" if roomy else "right")
            continue
        sheet.text(1, y, fact, ha="right", va="center")
        metric = str(rows["metric"].iloc[place])
        good = -gap if unit == "s" or metric.startswith("failed") else gap
        sure = below > 0 or above < 0
        hue = state_colour("delivered" if good > 0 else "failed") if sure else sheet.ink
        ends = [below if np.isfinite(below) else low, above if np.isfinite(above) else high]
        if not np.isnan([below, above]).any():
            ax.plot(ends, [y, y], color=hue, lw=2.2, alpha=0.6, solid_capstyle="butt")
            for one, edge, mark in ((below, low, "<"), (above, high, ">")):
                if np.isinf(one):
                    ax.plot(edge, y, mark, ms=4, color=hue, mec="none")
        ax.plot(gap, y, "o", ms=5.5, mec=hue, mfc=hue if sure else "none")


def _named(sheet: Sheet, rows: pd.DataFrame, *, long: bool) -> tuple[list[str], list[str]]:
    """What stands at the left of each lane, and at the right."""
    both = zip(rows["group"].astype("str"), rows["metric"].astype("str"), strict=True)
    told = zip(rows["difference"], rows["low"], rows["high"], rows["unit"], strict=True)
    return [f"{sheet.elide(group, 0.2)} {metric}" for group, metric in both], [
        "" if not np.isfinite(gap) else _interval(gap, low, high, unit) if long else _signed(gap, unit)
        for gap, low, high, unit in told
    ]


def _why(gap: float) -> str:
    if np.isnan(gap):
        return "not reached by either, or not known"
    return "not reached here, only by the baseline" if gap > 0 else "reached here, not by the baseline"


def _signed(value: float, unit: str) -> str:
    """A difference with its sign.

    >>> _signed(1.8, "s"), _signed(-0.0612, "share"), _signed(0.0, "s")
    ('+1.8 s', '−6.1 pp', '0')
    """
    sign = "+" if value > 0 else "−" if value < 0 else ""
    text = duration(abs(value)) if unit == "s" else f"{100 * abs(value):.1f}".removesuffix(".0") + " pp"
    return f"{sign}{text}" if value else "0"


def _interval(value: float, low: float, high: float, unit: str) -> str:
    """A difference with its interval."""
    ends = [_signed(end, unit) if np.isfinite(end) else "" for end in (low, high)]
    if ends[0] and ends[0] == ends[1]:
        return _signed(value, unit)
    if all(ends):
        return f"{_signed(value, unit)} ({ends[0].removesuffix(' pp')} to {ends[1].removesuffix(' pp')})"
    told = f"{ends[0]} or more" if ends[0] else f"{ends[1]} or less" if ends[1] else "interval unknown"
    return f"{_signed(value, unit)} ({told})"


def _step(span: float, unit: str, inches: float) -> float:
    """A step of ticks that people know, as small as leaves room for the labels."""
    tens = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    many = (tens, (1, 2, 5, 10, 20, 30), (1, 2, 5, 10, 20, 30), (1, 2, 6, 12), (*tens, 1000, 10000))
    steps = [0.0001, *(one * size for (_, size), each in zip(UNITS, many, strict=True) for one in each)]
    if unit != "s":
        steps = [one * 10.0**power for power in (-3, -2, -1) for one in (1, 2, 5)]
    return next((step for step in steps if span / step * 0.6 <= inches), span / 2)
