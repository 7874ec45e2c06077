"""What every form does: errors of its handlers appear in it, and nothing typed stays behind."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as w

from viberkit.errors import ViberkitError
from viberkit.models.phone import mask_numbers
from viberkit.widgets.fields import INDENT, note, shut

__all__ = ["Form", "shown", "told"]


def told(fault: BaseException) -> str:
    """An error as a form shows it: phone numbers masked, and its kind named where the text is not ours."""
    return mask_numbers(str(fault) if isinstance(fault, ViberkitError) else f"{type(fault).__name__}: {fault}")


def shown(handler: Callable[..., None]) -> Callable[..., None]:
    """A handler of a form whose errors appear in the form: in a notebook they would appear nowhere."""

    @functools.wraps(handler)
    def handle(form: Form, *args: Any) -> None:
        try:
            handler(form, *args)
        except Exception as fault:  # noqa: BLE001 - shown, not swallowed
            form.release()
            form.tell(told(fault), "error")

    return handle


class Form(w.VBox):  # type: ignore[misc]
    """Parts one below the other, and ``said``, a line that tells what happened."""

    def __init__(self) -> None:
        self.said = w.HTML(layout=w.Layout(margin=f"0 2px 0 {INDENT}"))
        super().__init__(layout=w.Layout(max_width="720px", padding="4px"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"  # a widget's usual repr would write what is typed into the output

    def tell(self, text: str, tone: str = "quiet") -> None:
        """Show one line in the form; none: take it away."""
        self.said.value = f'<div role="status">{note(text, tone)}</div>' if text else ""

    def release(self) -> None:
        """Let somebody type again."""
        raise NotImplementedError

    def empty(self) -> None:
        """Forget everything that was typed."""
        raise NotImplementedError

    def close(self) -> None:
        """Forget what was typed, end what runs, and take the form off the page."""
        if self.comm is not None and self.children:
            self.empty()
            for each in list(_below(self)):
                shut(each)
            self.layout.close()
        super().close()


def _below(widget: w.Widget) -> Iterator[w.Widget]:
    """All widgets within a widget, the innermost first."""
    for each in getattr(widget, "children", ()):
        yield from _below(each)
        yield each
