"""The inputs of a content, and the notes below them, as forms share them."""

from __future__ import annotations

import ipywidgets as w

from viberkit.errors import Violation
from viberkit.models import validation
from viberkit.models.content import Content
from viberkit.widgets.content_fields import KINDS, new_fields, read_content
from viberkit.widgets.fields import Field, show_all, show_needed
from viberkit.widgets.form import NOTE_MARGIN, Form, show_errors
from viberkit.widgets.unsaved import Html


class ContentForm(Form):
    """A form with the inputs of a content; its subclasses arrange them."""

    _goal = "sending"

    def __init__(self) -> None:
        super().__init__()
        self._count_violations = False
        self._typed_before: dict[str, str] = {}  # text of inputs that were removed, by label
        self.rate_type = Field("rate_type", "Rate type", options=validation.RATE_TYPES, edited=True)
        self.kind = Field("kind", "Content", options=tuple(KINDS))
        self.fields: dict[str, Field] = {}
        self._content = w.VBox()
        self._other_violations = Html(layout=w.Layout(margin=NOTE_MARGIN))
        self.rate_type.on_change(self._changed)
        self.kind.on_change(self._switch_kind)

    def content(self) -> Content:
        """Return the content that the inputs describe.

        Returns
        -------
        Content
            The content, complete or not.
        """
        return read_content(self.kind.value, {path: field.value for path, field in self.fields.items()})

    def violations(self) -> list[Violation]:
        raise NotImplementedError

    def _own_fields(self) -> list[Field]:
        """The inputs besides those of the content."""
        raise NotImplementedError

    def _fields_by_path(self) -> dict[str, Field]:
        return {field.path: field for field in (*self._own_fields(), self.rate_type, *self.fields.values())}

    @show_errors
    def _switch_kind(self) -> None:
        """Show the inputs of the selected kind; text typed under a label stays with that label."""
        self.unlock()
        previous = {field.label: field for field in self.fields.values()}
        self._typed_before |= {label: field.typed for label, field in previous.items()}
        self.fields = {}
        for field in new_fields(self.kind.value):
            if same := previous.pop(field.label, None):  # the same widget: the user may be typing in it
                same.path, same.after = field.path, field.after
            else:
                if text := self._typed_before.get(field.label):
                    field.input.value, field.edited = text, True
                field.on_change(self._changed)
            self.fields[field.path] = same or field
        self._content.children = [field.box for field in self.fields.values()]
        for removed in previous.values():
            removed.close()
        self._check()

    @show_errors
    def _changed(self) -> None:
        self.unlock()
        self._check()

    def _check(self) -> list[Violation]:
        """Show the violations of what the user has changed, and return all."""
        violations = self.violations()
        show_needed(self.fields)
        show_all(violations, validation.cautions(self.content()), self._fields_by_path(), self._other_violations)
        if self._count_violations:
            self._report_count(len(violations))
        return violations

    def _check_all(self) -> bool:
        """Show all violations and their number; return whether there is none. The first invalid input is focused."""
        fields = self._fields_by_path().values()
        for field in fields:
            field.edited = True
        violations = self._check()
        self._report_count(len(violations))
        if invalid := next((field for field in fields if not field.options and field.input.invalid), None):
            invalid.input.focus()
        return not violations

    def _report_count(self, count: int) -> None:
        self._count_violations = count > 0
        problems = "1 problem" if count == 1 else f"{count} problems"
        self._report(f"Fix {problems} before {self._goal}." if count else "", "error")

    def _empty(self) -> None:
        self._typed_before.clear()
        for field in (*self._own_fields(), *self.fields.values()):
            field.clear()
        self._report_count(0)
        self._check()
