"""Forms and live views for notebooks. They hold no HTTP and no SQL: a client and an archive are handed in."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from html import escape
from itertools import pairwise
from typing import Any

import ipywidgets as w

from viberkit import rules
from viberkit.archive import Archive
from viberkit.client import Client
from viberkit.content import Content
from viberkit.errors import ApiError, UnknownOutcome, ViberkitError, Violation
from viberkit.fields import KINDS, Field, note
from viberkit.phone import mask, normalize
from viberkit.records import Event, SentMessage
from viberkit.states import FINAL

__all__ = ["SendForm"]

_POLL_S = (0.5, 1, 1, 2, 2, 5, 5, 10)  #: pauses between two looks at a message; the last one repeats
_PATIENCE = 120  #: looks


def _shown(handler: Callable[..., None]) -> Callable[..., None]:
    """A button's handler whose errors appear in the form: in a notebook they would appear nowhere."""

    @functools.wraps(handler)
    def handle(form: SendForm, *args: Any) -> None:
        try:
            handler(form, *args)
        except Exception as fault:  # noqa: BLE001 - shown, not swallowed
            form.tell(str(fault) if isinstance(fault, ViberkitError) else f"{type(fault).__name__}: {fault}", "error")
            form.release()

    return handle


class SendForm(w.VBox):  # type: ignore[misc]
    """A form that sends one message: checked while typing, confirmed before it costs anything.

    *Send* asks first; *Yes, send it* sends exactly what was shown, once, however often it is clicked. Then the
    message id and its trail of states appear, until the message is final. What was typed is cleared once the
    message is out, so that a saved notebook does not hold it.

    ``archive`` keeps the message and every answer about it. The parts can be driven from code too: ``to``,
    ``rate_type``, ``kind`` and ``fields[path]`` hold the inputs, ``send_button``, ``confirm_button`` and
    ``cancel_button`` are the buttons, ``sent`` is the last message that was accepted.

    >>> with vk.Sandbox(seed=1, speed=600) as sandbox:
    ...     form = SendForm(sandbox.client())
    ...     form.to.input.value = "+49 170 1234567"
    ...     form.fields["text"].input.value = "Your parcel is here"
    ...     form.send_button.click()
    ...     form.confirm_button.click()
    ...     form.wait(30)
    ...     form.sent.rate_type
    'transaction'
    """

    def __init__(self, client: Client, archive: Archive | None = None) -> None:
        self._client = client if archive is None else client.keeping(archive)
        self.sent: SentMessage | None = None
        self._confirmed: tuple[str, Content, str] | None = None
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()

        self.to = Field.text("to", "Recipient", "+49 170 1234567")
        self.rate_type = Field.choice("rate_type", "Rate type", rules.RATE_TYPES)
        self.kind = Field.choice("kind", "Content", KINDS)
        self.fields: dict[str, Field] = {}
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane")
        self.clear_button = w.Button(description="Clear")
        self.confirm_button = w.Button(description="Yes, send it", button_style="danger")
        self.cancel_button = w.Button(description="No, go back")
        self._question = w.HTML()
        self._asking = w.VBox(
            [self._question, w.HBox([self.confirm_button, self.cancel_button])], layout=w.Layout(display="none")
        )
        self._buttons = w.HBox([self.send_button, self.clear_button], layout=w.Layout(margin="4px 0 0 136px"))
        self._content = w.VBox()
        self._said = w.HTML()
        self._trail = w.HTML()

        for each in (self.to, self.rate_type):
            each.watch(self._typed)
        self.kind.watch(self._show_kind)
        self.send_button.on_click(self._ask)
        self.clear_button.on_click(lambda _: self.empty())
        self.confirm_button.on_click(self._send)
        self.cancel_button.on_click(lambda _: self.release())
        self._show_kind()
        parts = [self.to.box, self.rate_type.box, self.kind.box, self._content, self._buttons]
        layout = w.Layout(max_width="680px", padding="4px")
        super().__init__([*parts, self._asking, self._said, self._trail], layout=layout)

    # --- what is typed -----------------------------------------------------------------------------------

    def _show_kind(self) -> None:
        """Just the fields that the chosen kind of content needs."""
        made = KINDS[self.kind.value].fields()
        for each in made:
            before = self.fields.get(each.path)
            if before is not None and type(before.input) is type(each.input):
                each.input.value = before.value
            each.watch(self._typed)
        self.fields = {each.path: each for each in made}
        self._content.children = [each.box for each in made]
        self._check()

    def content(self) -> Content:
        """The content that the fields spell now."""
        return KINDS[self.kind.value].read({path: each.value for path, each in self.fields.items()})

    def violations(self) -> list[Violation]:
        """Everything that stands against sending what the form holds now."""
        number = normalize(self.to.value)
        found = [number] if isinstance(number, Violation) else []
        return found + rules.violations(self.content(), self.rate_type.value)

    def _typed(self) -> None:
        self._check()

    def _check(self, everywhere: bool = False) -> list[Violation]:
        """Put each violation beside its field: where somebody has typed, or everywhere; gives all of them."""
        found = self.violations()
        places = [self.to, self.rate_type, *self.fields.values()]
        beside: dict[str, list[Violation]] = {each.path: [] for each in places}
        for one in found:
            near = [path for path in beside if one.field == path or one.field.startswith(f"{path}.")]
            beside[near[0] if near else "rate_type"].append(one)
        cautions = rules.cautions(self.content())
        for each in places:
            wanted = everywhere or each.touched or each is self.rate_type
            each.show(beside[each.path] if wanted else [], [one for one in cautions if one.field == each.path])
        number = normalize(self.to.value)
        if isinstance(number, str):
            self.to.hint.value = note(f"{mask(number)} is a possible number", "good")
        self.release()
        return found

    def empty(self) -> None:
        """Clear everything that was typed."""
        for each in (self.to, *self.fields.values()):
            each.clear()
        self._check()
        self.to.hint.value = ""

    # --- sending -----------------------------------------------------------------------------------------

    @_shown
    def _ask(self, _: object) -> None:
        """Ask before sending; what is confirmed is what is shown now."""
        found = self._check(everywhere=True)
        if found:
            count = f"{len(found)} things are" if len(found) > 1 else "One thing is"
            self.tell(f"{count} to be mended before this can be sent.", "error")
            return
        number = normalize(self.to.value)
        assert isinstance(number, str)  # noqa: S101 - no violation was found
        self._confirmed = (number, self.content(), self.rate_type.value)
        self.tell("")
        what = f"Send this <b>{escape(self.kind.value)}</b> as a <b>{escape(self.rate_type.value)}</b>"
        self._question.value = f"{what} to <b>{escape(mask(number))}</b>? It will be charged."
        self._busy(True)
        self._asking.layout.display = ""

    @_shown
    def _send(self, _: object) -> None:
        confirmed, self._confirmed = self._confirmed, None
        if confirmed is None:  # a second click: the first one has taken what was confirmed
            return
        self.confirm_button.disabled = self.cancel_button.disabled = True
        self.tell("Sending …")
        to, content, rate_type = confirmed
        try:
            self.sent = self._client.send(to, content, rate_type=rate_type)
        except UnknownOutcome as fault:
            self.empty()
            self.tell(str(fault), "error")
            return
        except ApiError as fault:
            self.tell(f"The server refused it, nothing was sent: {fault}", "error")
            self.release()
            return
        self.empty()
        self.tell(f"Accepted as {self.sent.message_id}", "good")
        self._watcher = threading.Thread(target=self._watch, args=(self.sent.message_id,), daemon=True)
        self._watcher.start()

    def release(self) -> None:
        """Back to typing: what was to be confirmed is forgotten."""
        self._confirmed = None
        self._asking.layout.display = "none"
        self.confirm_button.disabled = self.cancel_button.disabled = False
        self._busy(False)

    def _busy(self, busy: bool) -> None:
        for each in (self.to, self.rate_type, self.kind, *self.fields.values()):
            each.input.disabled = busy
        self.send_button.disabled = self.clear_button.disabled = busy

    def tell(self, text: str, tone: str = "quiet") -> None:
        """Show one line below the form."""
        self._said.value = note(text, tone)

    # --- the trail ---------------------------------------------------------------------------------------

    def _watch(self, message_id: str) -> None:
        """Follow a message until it is final (in a thread: the kernel stays free)."""
        for look in range(_PATIENCE):
            if self._closed.wait(_POLL_S[min(look, len(_POLL_S) - 1)]):
                return
            try:
                events = self._client.events(message_id)
            except ViberkitError as fault:
                self._trail.value = note(f"looking again: {fault}", "caution")
                continue
            self._trail.value = _trail(events)
            if any(event.state in FINAL for event in events):
                return
        self._trail.value += note("Not final yet; vk.collect(client, archive) follows it further.")

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the trail has reached a final state (for code and tests)."""
        if self._watcher is not None:
            self._watcher.join(timeout_s)

    def close(self) -> None:
        """Stop following the message, and close the form."""
        self._closed.set()
        super().close()


def _trail(events: tuple[Event, ...]) -> str:
    """The states of a message, when each was entered, and how long that took."""
    ordered = sorted(events, key=lambda event: event.happened_at)
    gaps = [None, *((after.happened_at - before.happened_at).total_seconds() for before, after in pairwise(ordered))]
    cell = 'style="padding: 1px 14px 1px 0; text-align: left"'
    lines = []
    for event, gap in zip(ordered, gaps, strict=True):
        told = f" ({event.code})" if event.code else ""
        after = "" if gap is None else f"+{gap:,.3f} s"
        at = f"{event.happened_at:%H:%M:%S}.{event.happened_at.microsecond // 1000:03d}"
        row = (escape(event.state + told), at, after)
        lines.append("<tr>" + "".join(f"<td {cell}>{each}</td>" for each in row) + "</tr>")
    return f'<table style="font-size: 13px; margin-left: 136px"><tbody>{"".join(lines)}</tbody></table>'
