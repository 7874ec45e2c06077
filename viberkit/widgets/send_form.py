"""Forms and live views for notebooks. They hold no HTTP and no SQL: a client and an archive are handed in."""

from __future__ import annotations

import threading
from html import escape

import ipywidgets as w

from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.errors import (
    ApiError,
    ConfigurationError,
    InvalidRequest,
    ServerError,
    TransportError,
    UnexpectedResponse,
    UnknownOutcome,
    Violation,
)
from viberkit.models import validation as rules
from viberkit.models.content import Content
from viberkit.models.phone import mask, normalize
from viberkit.models.records import SentMessage
from viberkit.widgets.content_fields import KINDS
from viberkit.widgets.fields import INDENT, Field, note, reveal, shut, sort_out
from viberkit.widgets.form import Form, shown, told
from viberkit.widgets.status import Trail, Unknown

__all__ = ["SendForm"]

_REFUSED = (ApiError, TransportError, InvalidRequest, ConfigurationError)  #: nothing was sent
_UNCLEAR = (ServerError, UnexpectedResponse)  #: though they are answers, they do not say so
_OUTCOMES = 5  #: how many messages stay on the page


class SendForm(Form):
    """A form that sends one message: checked while typing, confirmed before it costs anything.

    *Send* asks first; *Yes, send it* sends exactly what is shown, once, however often it is clicked. Then the
    message id and its trail of states appear, until the message is final. ``archive`` keeps the message and
    every answer about it. A send whose outcome is unknown is said so, and has to be typed anew to be sent again.

    The parts can be driven from code too: ``to``, ``rate_type``, ``kind`` and ``fields[path]`` hold the inputs
    (``.input``) and what is said below them (``.hint``); ``send_button``, ``confirm_button``, ``cancel_button``
    and ``clear_button`` are the buttons; ``sent`` is the last message that was accepted.

    What a saved notebook holds of it. The repr, which is saved with the output, tells nothing. Inputs are
    emptied once the message is out or its outcome is unknown, by *Clear*, by :meth:`close`, and when another
    kind of content takes them off the page; the key is in no widget at all. What is typed but neither sent nor
    cleared has to be in the state of its widget, as in any form. JupyterLab leaves that state out of the file
    unless *Settings, Save Widget State Automatically* is switched on (it is off by default); with it on, clear
    the form before you save. nbclient and nbconvert do save the state as a notebook's run left it
    (``store_widget_state``): a notebook that fills a form from code had better send, empty or close it.

    >>> with vk.Sandbox(seed=1, speed=600) as sandbox:
    ...     form = SendForm(sandbox.client())
    ...     form.to.input.value = "+49 170 1234567"
    ...     form.fields["text"].input.value = "Your parcel is here"
    ...     form.send_button.click()
    ...     form.confirm_button.click()
    ...     form.wait(30)
    ...     form.close()
    ...     form.sent.rate_type
    'transaction'
    """

    def __init__(self, client: Client, archive: Archive | None = None) -> None:
        super().__init__()
        self._client = client if archive is None else client.with_archive(archive)
        self.sent: SentMessage | None = None
        self._confirmed: tuple[str, Content, str] | None = None
        self._sending = False
        self._complained = False
        self._lock = threading.Lock()  # front ends may run handlers beside a cell, in threads of the kernel
        self._typed_before: dict[str, str] = {}

        self.to = Field.text("to", "Recipient", "+49 170 1234567")
        self.rate_type = Field.choice("rate_type", "Rate type", rules.RATE_TYPES)
        self.kind = Field.choice("kind", "Content", KINDS)
        self.fields: dict[str, Field] = {}
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane")
        self.clear_button = w.Button(description="Clear", tooltip="Forget everything that was typed")
        self.confirm_button = w.Button(description="Yes, send it", button_style="danger")
        self.cancel_button = w.Button(description="No, go back")
        indent = f"4px 0 4px calc({INDENT} - 2px)"  # buttons have a margin of their own
        self._content = w.VBox()
        self._rest = w.HTML(layout=w.Layout(margin=f"0 2px 0 {INDENT}"))
        self._question = w.HTML()
        choice = w.HBox([self.confirm_button, self.cancel_button])
        self._asking = w.VBox([self._question, choice], layout=w.Layout(display="none", margin=indent))
        self._outcomes = w.VBox()

        for each in (self.to, self.rate_type):
            each.watch(self._changed)
        self.kind.watch(self._switch)
        for button, handler in (
            (self.send_button, self._ask),
            (self.clear_button, self._clear),
            (self.confirm_button, self._confirm),
            (self.cancel_button, self._go_back),
        ):
            button.on_click(handler)
        inputs = [self.to.box, self.rate_type.box, self.kind.box, self._content, self._rest]
        buttons = w.HBox([self.send_button, self.clear_button], layout=w.Layout(margin=indent))
        self.children = [*inputs, buttons, self._asking, self.said, self._outcomes]
        self._switch()

    # --- what is typed -----------------------------------------------------------------------------------

    def content(self) -> Content:
        """The content that the fields spell now."""
        return KINDS[self.kind.value].read({path: each.value for path, each in self.fields.items()})

    def violations(self) -> list[Violation]:
        """Everything that stands against sending what the form holds now."""
        number = normalize(self.to.value)
        found = [number] if isinstance(number, Violation) else []
        found += rules.violations(self.content(), self.rate_type.value)
        if not self._client.service_id:
            remedy = "pass Client(service_id=…) or set VIBER_SERVICE_ID"
            found.append(Violation("service_id", "", "is missing", remedy))
        return found

    @shown
    def _switch(self) -> None:
        """Just the fields that the chosen kind of content needs; what was typed under a label stays under it."""
        self.release()
        old = {each.label: each for each in self.fields.values()}
        self._typed_before |= {label: each.typed for label, each in old.items()}
        self.fields = {}
        for each in KINDS[self.kind.value].fields():
            if stays := old.pop(each.label, None):  # the same widget: somebody may be typing in it already
                stays.path, stays.after = each.path, each.after
            else:
                if before := self._typed_before.get(each.label):
                    each.input.value, each.touched = before, True
                each.watch(self._changed)
            self.fields[each.path] = stays or each
        self._content.children = [each.box for each in self.fields.values()]
        for gone in old.values():
            gone.close()
        self._check()

    @shown
    def _changed(self) -> None:
        """Somebody typed: what was to be confirmed is no longer what is shown."""
        self.release()
        self._check()

    def _places(self) -> dict[str, Field]:
        return {each.path: each for each in (self.to, self.rate_type, *self.fields.values())}

    def _check(self) -> list[Violation]:
        """Put each violation beside its field, once somebody has typed there; gives all of them."""
        found, places = self.violations(), self._places()
        beside, rest = sort_out(found, places)
        cautions, general = sort_out(rules.cautions(self.content()), places)
        reveal(self.fields)
        for path, each in places.items():
            wanted = each.touched or each is self.rate_type
            each.show(beside[path] if wanted else [], cautions[path])
        number = normalize(self.to.value)
        if isinstance(number, str):
            self.to.say(note(f"{mask(number)} is a possible number", "good"))
        others = [note(str(one), "error") for one in rest] + [note(str(one), "caution") for one in general]
        self._rest.value = "".join(others)
        if self._complained:
            self._complain(len(found))
        return found

    def _complain(self, count: int) -> None:
        what = "One thing is" if count == 1 else f"{count} things are"
        self._complained = count > 0
        self.tell(f"{what} to be mended before this can be sent." if count else "", "error")

    def empty(self) -> None:
        """Forget everything that was typed."""
        self._typed_before.clear()
        for each in (self.to, *self.fields.values()):
            each.clear()
        self._complained = False
        self.tell("")
        self._check()
        self.to.say()

    @shown
    def _clear(self, _: object) -> None:
        if not self._sending:
            self.release()
            self.empty()

    # --- sending -----------------------------------------------------------------------------------------

    @shown
    def _ask(self, _: object) -> None:
        """Ask before sending; what is confirmed is what is shown now."""
        if self._sending:
            return
        for each in self._places().values():
            each.touched = True
        self._complained = False
        self.tell("")
        if found := self._check():
            self._complain(len(found))
            return
        number = str(normalize(self.to.value))
        what = f"Send this <b>{escape(self.kind.value)}</b> as a <b>{escape(self.rate_type.value)}</b>"
        self._question.value = f"{what} to <b>{escape(mask(number))}</b>? It will be charged."
        self._busy(True)
        self._asking.layout.display = ""
        with self._lock:
            if self._sending:  # a confirmation in another thread came between: its message is on its way
                return
            self._confirmed = (number, self.content(), self.rate_type.value)
        self.cancel_button.focus()

    @shown
    def _confirm(self, _: object) -> None:
        with self._lock:
            confirmed, self._confirmed = self._confirmed, None
            if confirmed is None or self._sending:  # a second click: the first one has taken what was confirmed
                return
            self._sending = True
        self.confirm_button.disabled = self.cancel_button.disabled = True
        self.tell("Sending …")
        try:
            self._send_out(*confirmed)
        finally:
            self._sending = False
            self.release()

    def _send_out(self, to: str, content: Content, rate_type: str) -> None:
        try:
            self.sent = self._client.send(to, content, rate_type=rate_type)
        except (Exception, KeyboardInterrupt) as fault:  # noqa: BLE001 - shown, not swallowed
            if isinstance(fault, _REFUSED) and not isinstance(fault, _UNCLEAR):
                self.tell(f"Nothing was sent. {told(fault)}", "error")
                return
            if not isinstance(fault, UnknownOutcome):
                fault = UnknownOutcome(told(fault), to=mask(to))
            self.empty()
            self._add(Unknown(fault))
            return
        self.empty()
        self._add(Trail(self._client, self.sent))

    def _add(self, outcome: w.HTML) -> None:
        """Put what became of a message on top; the oldest make room."""
        shown = (outcome, *self._outcomes.children)
        self._outcomes.children = shown[:_OUTCOMES]
        for old in shown[_OUTCOMES:]:
            shut(old)

    @shown
    def _go_back(self, _: object) -> None:
        self.release()

    def release(self) -> None:
        """Back to typing: what was to be confirmed is forgotten. While a message goes out, nothing changes."""
        with self._lock:
            self._confirmed = None
        if self._sending:
            return
        self._asking.layout.display = "none"
        self._question.value = ""
        self.confirm_button.disabled = self.cancel_button.disabled = False
        self._busy(False)

    def _busy(self, busy: bool) -> None:
        for each in (self.to, self.rate_type, self.kind, *self.fields.values()):
            each.input.disabled = busy
        self.send_button.disabled = self.clear_button.disabled = busy

    # --- its end -----------------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the trail of the last message has ended (for code and tests)."""
        if self._outcomes.children and isinstance(self._outcomes.children[0], Trail):
            self._outcomes.children[0].wait(timeout_s)
