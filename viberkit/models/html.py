"""What Jupyter shows of objects that are not frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape as escape_html

from viberkit.errors import escape

_LEFT = 'style="text-align: left; vertical-align: top; white-space: pre-line"'


def facts_table(title: str, facts: Mapping[str, object]) -> str:
    """Return a small table as HTML, escaped; facts that are None or empty are left out."""
    rows = "".join(
        f'<tr><th scope="row" {_LEFT}>{_text(name)}</th><td {_LEFT}>{_text(value)}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "")
    )
    return f'<table><caption style="text-align: left; font-weight: bold">{_text(title)}</caption>{rows}</table>'


def _text(value: object) -> str:
    text = f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else str(value)
    return escape_html(escape(f"{value:,}" if isinstance(value, int) else text))
