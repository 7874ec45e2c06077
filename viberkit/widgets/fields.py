"""The fields of the forms: labelled inputs, and what is wrong beside each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any

import ipywidgets as w

from viberkit.errors import Violation

__all__ = ["INDENT", "Field", "note", "reveal", "shut", "sort_out"]

#: Where inputs begin, right of their labels; what belongs below an input begins there too.
INDENT = "140px"
_STYLE = {"description_width": "130px"}
Beside = dict[str, list[Violation]]
_WIDE, _SHORT = "calc(100% - 4px)", "340px"

#: A sign and a colour for each tone: a plain colour, and the theme's own with its share in a mixture with the
#: page's text colour, so that light and dark pages both show it well.
_TONES = {
    "error": ("✗ ", "#b3261e", "--jp-error-color1", 80),
    "caution": ("▲ ", "#8a5200", "--jp-warn-color1", 60),
    "good": ("✓ ", "#2e7d32", "--jp-success-color1", 70),
    "quiet": ("", "#616161", "--jp-ui-font-color1", 85),
}


def note(text: str, tone: str = "quiet") -> str:
    """A small line of text, as HTML, in a tone: error, caution, good or quiet. Whatever the text holds is escaped."""
    if not text:
        return ""
    sign, plain, named, share = _TONES[tone]
    mixed = f"color-mix(in srgb, var({named}, {plain}) {share}%, var(--jp-ui-font-color0, #000))"
    style = f"color: {plain}; color: {mixed}; font-size: 12px; line-height: 1.4; white-space: pre-line"
    return f'<div style="{style}; overflow-wrap: anywhere">{sign}{escape(text)}</div>'


@dataclass(eq=False)
class Field:
    """One input and the line below it.

    ``path`` is the field that violations name. ``label`` is what stands before the input; fields of one label
    mean the same thing in every kind of content, so what was typed moves along. A field ``after`` another one
    shows only when that one is filled.
    """

    path: str
    label: str
    make: Callable[..., Any] = w.Text
    options: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[str], Any] | None = None
    after: str = ""
    touched: bool = False

    @classmethod
    def text(cls, path: str, label: str, placeholder: str = "", after: str = "") -> Field:
        """A line of text, read without the blanks around it."""
        return cls(path, label, w.Text, {"placeholder": placeholder, "layout": {"width": _WIDE}}, str.strip, after)

    @classmethod
    def lines(cls, path: str, label: str) -> Field:
        """Several lines of text, read as they are."""
        return cls(path, label, w.Textarea, {"layout": {"width": _WIDE, "height": "88px"}})

    @classmethod
    def number(cls, path: str, label: str) -> Field:
        """A number; empty is None, and what is no number stays as it was typed, so that a rule can name it."""
        return cls(path, label, w.Text, {"layout": {"width": _SHORT}}, _number)

    @classmethod
    def choice(cls, path: str, label: str, options: Iterable[Any]) -> Field:
        """One of several words."""
        return cls(path, label, w.Dropdown, {"options": list(options), "layout": {"width": _SHORT}})

    @cached_property
    def input(self) -> Any:
        """The widget to type in, made when it is first needed."""
        return self.make(description=self.label, style=_STYLE, **self.options)

    @cached_property
    def hint(self) -> w.HTML:
        """The line below it."""
        return w.HTML(layout={"margin": f"0 2px 4px {INDENT}", "display": "none"})

    @cached_property
    def box(self) -> w.VBox:
        """The input with its line."""
        apart = "10px 0 0 0" if self.label.startswith("Card") and self.label.endswith("title") else "0"
        return w.VBox([self.input, self.hint], layout={"margin": apart})

    @property
    def value(self) -> Any:
        """What the input holds, read."""
        return self.read(self.input.value) if self.read else self.input.value

    @property
    def typed(self) -> str:
        """What somebody typed, as it is; a choice is not typed."""
        return "" if isinstance(self.input, w.Dropdown) else self.input.value

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever somebody types."""

        def typed(_: object) -> None:
            self.touched = True
            changed()

        self.input.observe(typed, "value")

    def say(self, *notes: str) -> None:
        """Put notes below the input; none: close the gap."""
        self.hint.value = "".join(notes)
        self.hint.layout.display = "" if self.hint.value else "none"

    def show(self, found: Iterable[Violation], cautions: Iterable[Violation] = ()) -> None:
        """Put what is wrong below the input, or what to think of."""
        said = [(str(one), "error") for one in found] or [(str(one), "caution") for one in cautions]
        self.say(*(note(text.removeprefix(f"{self.path}: "), tone) for text, tone in said))

    def clear(self) -> None:
        """Empty the input and its line."""
        if isinstance(self.input, w.Dropdown):
            self.input.index = 0
        else:
            self.input.value = ""
        self.touched = False
        self.say()

    def close(self) -> None:
        """Empty it, then take it off the page: a front end may keep the last value of what is merely closed."""
        self.input.unobserve_all()
        self.clear()
        for each in (self.input, self.hint, self.box):
            shut(each)


def shut(widget: w.Widget) -> None:
    """Close a widget, and the layout and style that came with it."""
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if isinstance(part, w.Widget):
            part.close()


def _number(typed: str) -> Any:
    text = typed.strip()
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text, re.ASCII):
        return text or None
    return float(text) if "." in text or len(text) > 15 else int(text)


def sort_out(found: Sequence[Violation], fields: Mapping[str, Field]) -> tuple[Beside, list[Violation]]:
    """Each violation beside its field, by path; and those that belong to no field here."""
    beside: Beside = {path: [] for path in fields}
    rest: list[Violation] = []
    for one in found:
        within = [path for path in fields if one.field.startswith((f"{path}.", f"{path}["))]
        around = [path for path in fields if path.startswith((f"{one.field}.", f"{one.field}["))]
        near = one.field if one.field in fields else next(iter(within + around), None)
        (rest if near is None else beside[near]).append(one)
    return beside, rest


def reveal(fields: Mapping[str, Field]) -> None:
    """Show the fields that are needed now: a further answer or card only when the one before it is begun."""
    begun = {path for path, each in fields.items() if each.typed}
    begun |= {f"after {each.after}" for each in fields.values() if each.typed}
    for each in fields.values():
        shown = not each.after or each.after in begun or f"after {each.after}" in begun
        each.box.layout.display = "" if shown else "none"
