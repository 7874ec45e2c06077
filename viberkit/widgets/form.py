"""What all forms have: a message for errors, sections, and buttons."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from viberkit.widgets.fields import INDENT, close_widget, error_text, note
from viberkit.widgets.unsaved import Html

BUTTON_MARGIN = f"4px 0 4px calc({INDENT} - 2px)"  #: buttons have a margin of their own
NOTE_MARGIN = f"0 2px 0 {INDENT}"
_PAUSE_S = 0.05  #: before a click is handled


def show_errors(handler: Callable[..., None]) -> Callable[..., None]:
    """Run the handlers of a form one after the other, and show their errors in it; a notebook shows them nowhere.

    A kernel may handle messages of the page in several threads, so a click could overtake what was typed before.
    """

    @functools.wraps(handler)
    def handle(form: Form, *clicked: Any) -> None:
        if clicked:
            time.sleep(_PAUSE_S)
        with form.handling:
            try:
                handler(form, *clicked)
            except Exception as error:  # noqa: BLE001 - shown in the form
                form.unlock()
                form._report(error_text(error), "error")

    return handle


def button(description: str, on_click: Callable[[Any], None], style: str = "") -> w.Button:
    """Return a button; a style is that of ipywidgets."""
    created = w.Button(description=description, button_style=style, layout=w.Layout(width="auto"))
    created.on_click(on_click)
    return created


def buttons(*shown: w.Button) -> w.HBox:
    """Return buttons in a row, below the inputs."""
    return w.HBox(shown, layout=w.Layout(margin=BUTTON_MARGIN))


def section(title: str, *children: w.Widget) -> w.VBox:
    """Return widgets below a heading."""
    return w.VBox([Html(value=f'<h3 class="viberkit-section">{title}</h3>'), *children])


class Form(w.VBox):  # type: ignore[misc]
    """A column of widgets with a message."""

    def __init__(self) -> None:
        super().__init__(layout=w.Layout(max_width="720px", padding="4px"))
        self.handling = threading.RLock()
        self._message = Html(role="status", layout=w.Layout(margin=NOTE_MARGIN))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # the repr of a widget would write what is typed into the output

    def close(self) -> None:
        """Empty the inputs, and remove the form and everything in it."""
        if self.comm is not None and self.children and not sys.is_finalizing():  # then nothing can be imported
            self._empty()
            for child in self.children:
                close_widget(child)
            self.layout.close()
        super().close()

    def _empty(self) -> None:
        """Empty the inputs."""

    def unlock(self) -> None:
        """Forget what was to be confirmed."""

    def _report(self, text: str, tone: str = "quiet") -> None:
        self._message.value = note(text, tone)
