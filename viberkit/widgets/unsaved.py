"""Widgets whose content travels in messages between kernel and page, so that no notebook saves it.

The synchronised traits of a widget are its state, which JupyterLab, nbclient and nbconvert may write into the
notebook. The traits here are not synchronised: a page asks for them when it shows the widget.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

FRONTEND = Path(__file__).parent / "frontend"


class Unsaved(anywidget.AnyWidget):
    """A widget that shows its traits tagged with ``shown``, which are sent in messages."""

    _css = FRONTEND / "style.css"

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)
        self.observe(self._send_change, list(self.traits(shown=True)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # the repr of a widget writes its traits

    def handle(self, message: Mapping[str, Any], *buffers: Any) -> None:
        """Handle what a page reports."""

    @property
    def element_id(self) -> str:
        """The id of its element in the page."""
        return f"viberkit-{self.model_id}"

    def _receive(self, _: object, message: Any, buffers: Sequence[Any]) -> None:
        if message == "ready":
            self.send({"id": self.element_id, **{name: getattr(self, name) for name in self.traits(shown=True)}})
        elif isinstance(message, dict):
            self.handle(message, *buffers)

    def _send_change(self, change: Mapping[str, Any]) -> None:
        self.send({change["name"]: change["new"]})


class Html(Unsaved):
    """A piece of HTML; with ``role="status"`` screen readers announce its changes."""

    _esm = FRONTEND / "html.js"
    value = traitlets.Unicode().tag(shown=True)
    role = traitlets.Unicode().tag(shown=True)


class TextInput(Unsaved):
    """An input for a text, of several lines if ``rows`` is not 0; a choice if there are ``options``.

    Parameters
    ----------
    options : list of str
        What can be chosen. Unlike those of a stock dropdown, they are not saved.
    described_by : str
        Id of the element that describes the input, its hint.
    invalid : bool
        Whether screen readers announce the input as invalid.
    """

    _esm = FRONTEND / "text_input.js"
    value = traitlets.Unicode().tag(shown=True)
    description = traitlets.Unicode().tag(shown=True)
    placeholder = traitlets.Unicode().tag(shown=True)
    described_by = traitlets.Unicode().tag(shown=True)
    rows = traitlets.Int(0).tag(shown=True)
    options = traitlets.List(traitlets.Unicode()).tag(shown=True)
    disabled = traitlets.Bool(default_value=False).tag(shown=True)
    invalid = traitlets.Bool(default_value=False).tag(shown=True)

    _typed: Mapping[str, Any] | None = None

    def handle(self, message: Mapping[str, Any], *_: Any) -> None:
        self._typed = message
        try:
            self.value = str(message["typed"])
        finally:
            self._typed = None

    def _send_change(self, change: Mapping[str, Any]) -> None:
        if self._typed and change["new"] == self._typed["typed"]:
            # The view in which it was typed may have a newer text by now.
            self.send({change["name"]: change["new"], "except": self._typed["view"]})
        else:
            super()._send_change(change)
