"""What live views share: charts with a sentence, figures, and warnings as notes."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import pandas as pd

from viberkit.analysis.formatting import duration, percent
from viberkit.charts.svg import as_svg
from viberkit.errors import escape as escape_controls
from viberkit.models.phone import mask_numbers
from viberkit.widgets.fields import note

_lock = threading.Lock()  # the filters of warnings are global


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Record the texts of viberkit's warnings instead of showing them; one thread at a time."""
    texts: list[str] = []
    with _lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        own = (warning for warning in caught if warning.category.__module__.startswith("viberkit."))
        texts += dict.fromkeys(mask_numbers(str(warning.message)) for warning in own)


def chart_html(chart: Callable[..., Any], result: pd.DataFrame, sentence: str, **options: Any) -> str:
    """Return a chart as inline SVG with a sentence below it, which is also its text for screen readers."""
    shown = mask_numbers(escape_controls(sentence))
    svg = as_svg(chart, result, description=shown, **options)
    svg = re.sub(">[^<]+<", lambda text: mask_numbers(text[0]), svg)
    return f'<div class="viberkit-chart">{svg}</div>{note(shown)}'


def figures_html(figures: Iterable[tuple[str, str, str]]) -> str:
    """Return figures side by side: name, value, and a remark below it."""
    cells = (
        f"<div>{escape(mask_numbers(escape_controls(name)))}<b>{escape(value)}</b>{escape(remark)}</div>"
        for name, value, remark in figures
    )
    return f'<div class="viberkit-figures">{"".join(cells)}</div>'


def count_messages(n: int) -> str:
    """Return a number of messages as text."""
    return f"{n:,} message{'' if n == 1 else 's'}"


def describe_curve(curve: pd.DataFrame, outcomes: pd.Series[Any]) -> str:
    """Return the last values of a delivery curve, and when it reached one half, as a sentence."""
    text, n_open = count_messages(len(outcomes)), int((outcomes == "open").sum())
    text += f", {n_open:,} of them open" if n_open else ""
    if not len(curve) or curve["delivered"].isna().all():
        return f"{text}; the times of delivery are not known."
    last, half = curve.iloc[-1], curve.loc[curve["delivered"] >= 0.5, "time_s"]
    delivered, failed = (percent(round(last[name], 6)) for name in ("delivered", "failed"))
    text += f": {delivered} delivered and {failed} failed within {duration(last['time_s'])}"
    return f"{text}; half were delivered within {duration(half.iloc[0])}." if len(half) else f"{text}."
