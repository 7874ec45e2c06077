"""Results: data frames that Jupyter shows with whole sentences, and with durations and shares as people write them."""

from __future__ import annotations

import html
import math
import re
import weakref
from functools import partial
from typing import Any

import pandas as pd

from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.errors import escape
from viberkit.models.phone import mask_numbers

_SHARE = re.compile(
    r"(.*_)?share(_difference|_low|_high)?|low|high|(delivered|seen|failed|open)(_(low|high|se|earliest|before|after))?"
    r"|budget_(left.*|chance)|(fallback|duplicate|reached)_(low|high)"
)
_LONGEST = 60  # rows or sentences that are all shown
_ENDS = 10


def as_result(frame: pd.DataFrame, attrs: dict[Any, Any]) -> pd.DataFrame:
    """The frame itself, with these ``attrs`` and an HTML of its own.

    It stays a plain ``DataFrame``: only this object has the HTML, not what is made from it.
    """
    frame.attrs = attrs
    object.__setattr__(frame, "_repr_html_", partial(_to_html, weakref.ref(frame), frame.copy(deep=False)))
    return frame


def _to_html(reference: weakref.ref[pd.DataFrame], copy: pd.DataFrame) -> str:
    """The HTML of a frame, or of its copy if only this function is left of it."""
    found = reference()
    frame = copy if found is None else found
    sentences = [_shown(sentence) for sentence in frame["summary"]] if "summary" in frame else []
    if len(sentences) > _LONGEST:
        sentences = [*sentences[:_ENDS], f"… and {len(sentences) - _ENDS:,} more in the column summary"]
    notes = [
        frame.attrs[name]
        for name in ("of_note", "mix_note", "interval_note", "family_note", "dependence_note")
        if frame.attrs.get(name)
    ]
    shown = frame.drop(columns="summary", errors="ignore")
    if len(shown) > _LONGEST:
        notes.append(f"{len(shown):,} rows; the first and the last {_ENDS} are shown.")
        shown = pd.concat([shown.head(_ENDS), shown.tail(_ENDS)])
    by = ["low", "high"] if "effect" in frame else frame.attrs.get("by", [])  # shares or seconds
    cells = {name: [_cell("" if name in by else str(name), value) for value in shown[name]] for name in shown}
    table = pd.DataFrame(cells, index=shown.index).to_html(border=0)
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    paragraphs = "".join(f"<p>{html.escape(_shown(note))}</p>" for note in notes)
    return f"<ul>{items}</ul>{table}{paragraphs}" if items else table + paragraphs


def _shown(text: object) -> str:
    """A text of others: without control characters and phone numbers."""
    return mask_numbers(escape(str(text)))


def _cell(name: str, value: Any) -> str:
    """A value as text: seconds as durations, shares in per cent."""
    if not isinstance(value, float):
        return "–" if value is None or value is pd.NaT else _shown(value) if isinstance(value, str) else str(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else f"{value}".replace("inf", "∞")
    if name.endswith("_s"):
        return duration(value)
    if name == "quantile":
        return percentile(value)
    if _SHARE.fullmatch(name):
        return percent(value)
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.3g}"
