"""Charts as inline SVG, for HTML pages that may be light or dark; they are drawn without pyplot, in any thread."""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Callable
from html import escape
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from viberkit.charts._layout import own_figure
from viberkit.charts._style import MIDTONE

#: Text as text: small, and found by the search of a browser. Fixed ids, so that the same chart is the same text.
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "viberkit"}
_lock = threading.Lock()  # matplotlib's settings are global


def as_svg(chart: Callable[..., Axes], *results: Any, description: str, **options: Any) -> str:
    """Draw a chart of a result and return an ``<svg>`` element.

    Texts and axes have the colour of the CSS variable ``--viberkit-chart-text``. Verdana has the widths of DejaVu Sans,
    with which the chart is laid out, so that no label overlaps another one where that is missing.

    Parameters
    ----------
    chart : callable
        A function of :mod:`viberkit.charts`.
    *results : DataFrame
        Its result.
    description : str
        What the chart shows, for screen readers.
    **options : Any
        Further arguments of the chart.

    Returns
    -------
    str
        The element, escaped, as wide as the page at most.

    Examples
    --------
    >>> import pandas as pd, viberkit as vk
    >>> from viberkit.charts.svg import as_svg
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "delivered"], "happened_at": at})
    >>> svg = as_svg(vk.charts.curve, vk.delivery_curve(vk.journeys(events)), description="Delivered by time")
    >>> svg[:43]
    '<svg role="img" aria-label="Delivered by ti'
    """
    buffer = io.StringIO()
    with _lock:
        settings = cast(dict[str, Any], mpl.rcParams)
        before = {name: settings[name] for name in _SETTINGS}
        settings.update(_SETTINGS)
        try:
            with own_figure():
                figure = cast(Figure, chart(*results, **options).get_figure(root=True))
            figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.02, metadata={"Date": None})
        finally:
            settings.update(before)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", text)
    text = text.replace(MIDTONE, f"var(--viberkit-chart-text, {MIDTONE})")
    text = text.replace("'DejaVu Sans',", "'DejaVu Sans', Verdana,").replace("<!--", "").replace("-->", "")
    opening = f'<svg role="img" aria-label="{escape(description)}" style="max-width: 100%; height: auto"'
    text = re.sub(r' d="(M[^"]+)"', _shorten, text)
    return opening + text.removeprefix("<svg")


def _shorten(match: re.Match[str]) -> str:
    """Round the corners of a path to tenths of a point, and leave out those within a horizontal or vertical line."""
    corners: list[tuple[str, float, float]] = []
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", match[1]):
        if command not in "MLz":  # curves are those of markers, and short
            return match[0]
        x, y = (round(float(number), 1) for number in numbers.split()) if numbers.strip() else (math.nan, math.nan)
        if command == "L" and (x, y) == corners[-1][1:]:
            continue
        if command == "L" and len(corners) > 1 and corners[-1][0] == "L":
            (_, x1, y1), (_, x2, y2) = corners[-2:]
            forward = (x2 - x1) * (x - x2) + (y2 - y1) * (y - y2) >= 0
            if forward and (x1 == x2 == x or y1 == y2 == y):
                corners.pop()
        corners.append((command, x, y))
    path = "".join("z" if math.isnan(x) else f"{command}{x:g} {y:g}" for command, x, y in corners)
    return f' d="{path}"'
