"""The inputs of forms, and the notes below them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import ipywidgets as w

from viberkit.errors import ViberkitError, Violation, escape as escape_controls
from viberkit.models.phone import mask_numbers
from viberkit.widgets.unsaved import Html, TextInput

INDENT = "140px"  #: where inputs begin, right of their labels, and what is below them
_LABEL_STYLE = {"description_width": "130px"}
_WIDE, _NARROW = {"width": "calc(100% - 4px)"}, {"width": "340px"}

#: Symbol, colour, and JupyterLab's colour with its share in a mixture with the page's text colour, so that the
#: contrast is sufficient on light and dark pages.
_TONES = {
    "error": ("✗ ", "#b3261e", "--jp-error-color1", 80),
    "caution": ("▲ ", "#8a5200", "--jp-warn-color1", 60),
    "good": ("✓ ", "#2e7d32", "--jp-success-color1", 70),
    "quiet": ("", "#616161", "--jp-ui-font-color1", 85),
}


def note(text: str, tone: str = "quiet") -> str:
    """Return a small line of text as HTML, escaped; the tone is error, caution, good or quiet."""
    if not text:
        return ""
    symbol, color, theme_color, share = _TONES[tone]
    mixed = f"color-mix(in srgb, var({theme_color}, {color}) {share}%, var(--jp-ui-font-color0, #000))"
    style = f"color: {color}; color: {mixed}; font-size: 12px; line-height: 1.4; white-space: pre-line"
    return f'<div style="{style}; overflow-wrap: anywhere">{symbol}{escape(escape_controls(text))}</div>'


def error_text(error: BaseException) -> str:
    """Return the text of an error with phone numbers masked; an error of another library with its class."""
    return mask_numbers(str(error) if isinstance(error, ViberkitError) else f"{type(error).__name__}: {error}")


def set_shown(widget: w.Widget, shown: object) -> None:
    """Show a widget, or hide it."""
    widget.layout.display = "" if shown else "none"


def close_widget(widget: w.Widget) -> None:
    """Close a widget, everything in it, and their layouts and styles."""
    for child in getattr(widget, "children", ()):
        close_widget(child)
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if isinstance(part, w.Widget):
            part.close()


@dataclass(eq=False)
class Field:
    """An input and the notes below it.

    ``path`` is the field that violations name. Inputs with the same label have the same meaning in every kind of
    content, so their text stays when the kind changes. A field with ``after`` is shown when that field is filled.
    """

    path: str
    label: str
    placeholder: str = ""
    after: str = ""
    options: Sequence[Any] = ()
    parse: Callable[[str], Any] = str.strip
    multiline: bool = False
    gap_above: bool = False
    narrow: bool = False
    edited: bool = False  #: whether the user changed it

    @cached_property
    def input(self) -> Any:
        if self.options:
            return w.Dropdown(description=self.label, style=_LABEL_STYLE, options=self.options, layout=_NARROW)
        return TextInput(
            description=self.label,
            placeholder=self.placeholder,
            rows=4 if self.multiline else 0,
            described_by=self.hint.element_id,
            layout=_NARROW if self.narrow or self.parse is parse_number else _WIDE,
        )

    @cached_property
    def hint(self) -> Html:
        return Html(layout={"margin": f"0 2px 4px {INDENT}", "display": "none"})

    @cached_property
    def box(self) -> w.VBox:
        return w.VBox([self.input, self.hint], layout={"margin": "10px 0 0 0" if self.gap_above else "0"})

    @property
    def value(self) -> Any:
        """The parsed value; texts of several lines and choices as they are."""
        return self.input.value if self.multiline or self.options else self.parse(self.input.value)

    @property
    def typed(self) -> str:
        """The text as typed; empty for a choice."""
        return "" if self.options else self.input.value

    def on_change(self, callback: Callable[[], None]) -> None:
        def handle(_: object) -> None:
            self.edited = True
            callback()

        self.input.observe(handle, "value")

    def show_notes(self, *notes: str, invalid: bool = False) -> None:
        self.hint.value = "".join(notes)
        if not self.options:
            self.input.invalid = invalid
        set_shown(self.hint, self.hint.value)

    def show_violations(self, violations: Sequence[Violation], cautions: Sequence[Violation]) -> None:
        """Show the violations below the input; the cautions if there is no violation."""
        tone = "error" if violations else "caution"
        texts = [str(violation).removeprefix(f"{self.path}: ") for violation in violations or cautions]
        self.show_notes(*(note(text, tone) for text in texts), invalid=bool(violations))

    def clear(self) -> None:
        if self.options:
            self.input.index = 0
        else:
            self.input.value = ""
        self.edited = False
        self.show_notes()

    def close(self) -> None:
        """Empty the input and close it."""
        self.input.unobserve_all()
        self.clear()
        close_widget(self.box)


def parse_number(typed: str) -> Any:
    """Return a number, None for an empty text, and other text unchanged, so that a violation can quote it."""
    text = typed.strip()
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
        return text or None
    return float(text) if "." in text or len(text) > 15 else int(text)


def assign_violations(
    violations: Iterable[Violation], fields: Mapping[str, Field]
) -> tuple[dict[str, list[Violation]], list[Violation]]:
    """Assign each violation to the nearest field by path; the second result are those without a field."""
    assigned: dict[str, list[Violation]] = {path: [] for path in fields}
    unassigned: list[Violation] = []
    for violation in violations:
        name = violation.field
        containing = [path for path in fields if name.startswith((f"{path}.", f"{path}["))]
        contained = [path for path in fields if path.startswith((f"{name}.", f"{name}["))]
        nearest = name if name in fields else next(iter(containing + contained), None)
        (unassigned if nearest is None else assigned[nearest]).append(violation)
    return assigned, unassigned


def show_all(
    violations: Iterable[Violation], cautions: Iterable[Violation], fields: Mapping[str, Field], others: Html
) -> None:
    """Show each violation below its input once the user has changed it, and what has no input in ``others``."""
    assigned, unassigned = assign_violations(violations, fields)
    advised, other_cautions = assign_violations(cautions, fields)
    for path, field in fields.items():
        field.show_violations(assigned[path] if field.edited else [], advised[path])
    notes = [note(str(violation), "error") for violation in unassigned]
    others.value = "".join([*notes, *(note(str(caution), "caution") for caution in other_cautions)])


def show_needed(fields: Mapping[str, Field]) -> None:
    """Show an option or card once the previous one is filled, and as long as it is filled itself."""
    filled = [path for path, field in fields.items() if field.typed]
    shown = {"", *filled, *(fields[path].after for path in filled)}
    for field in fields.values():
        set_shown(field.box, field.after in shown)
