"""A form that sends one message."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as w

from viberkit import errors
from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.models import validation
from viberkit.models.content import Content
from viberkit.models.phone import mask, normalize
from viberkit.models.records import SentMessage
from viberkit.widgets.content_fields import KINDS, new_fields, read_content
from viberkit.widgets.fields import INDENT, Field, assign_violations, close_widget, error_text, note, show_needed
from viberkit.widgets.status import StatusView, unknown_outcome_view
from viberkit.widgets.unsaved import Html

#: What :meth:`Client.send` raises if the message was certainly not accepted.
_NOT_SENT = (errors.ApiError, errors.TransportError, errors.InvalidRequest, errors.ConfigurationError)


def _show_errors(handler: Callable[..., None]) -> Callable[..., None]:
    """Show the errors of a handler in the form; a notebook shows them nowhere."""

    @functools.wraps(handler)
    def handle(form: SendForm, *args: Any) -> None:
        try:
            handler(form, *args)
        except Exception as error:  # noqa: BLE001 - shown in the form
            form._unlock()
            form._report(error_text(error), "error")

    return handle


class SendForm(w.VBox):  # type: ignore[misc]
    """A form that sends one message: checked while typing, confirmed before it is sent.

    *Send* asks for confirmation; *Yes, send it* sends exactly what is shown, once, however often it is clicked. Then
    the message id and its states appear, until the message is final, or the next one is to be confirmed.

    Parameters
    ----------
    client : Client
        Client that sends the message.
    archive : Archive, optional
        Archive that stores the message and every response about it; default the archive of the client.

    Attributes
    ----------
    to, rate_type, kind : Field
        Recipient, rate type and kind of content; ``.input`` is the widget, ``.hint`` the note below it.
    fields : dict of str to Field
        The inputs of the content, by path, e.g. ``fields["button.url"]``.
    send_button, clear_button, confirm_button, cancel_button : ipywidgets.Button
        The buttons.
    sent : SentMessage or None
        The message that was accepted last; None once the next one is to be confirmed.

    Notes
    -----
    A message that may have been sent although no acceptance arrived is reported as unknown, and its inputs are
    emptied: sending it again requires typing it again.

    A saved notebook contains nothing that was typed, even if widget state is saved: inputs and previews are no part
    of that state (:mod:`viberkit.widgets.unsaved`). Inputs are emptied when a message was sent or its outcome is
    unknown, by *Clear*, and by :meth:`close`. The API key is in no widget.

    Examples
    --------
    >>> with vk.Sandbox(seed=1, speed=600) as sandbox:
    ...     form = vk.widgets.SendForm(sandbox.client())
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
        super().__init__(layout=w.Layout(max_width="720px", padding="4px"))
        self._client = client if archive is None else client.with_archive(archive)
        self.sent: SentMessage | None = None
        self._to_confirm: tuple[str, Content, str] | None = None
        self._sending = False
        self._count_violations = False
        self._lock = threading.Lock()  # handlers may run in several threads of the kernel
        self._typed_before: dict[str, str] = {}  # text of inputs that were removed, by label

        self.to = Field("to", "Recipient", "+49 170 1234567")
        self.rate_type = Field("rate_type", "Rate type", options=validation.RATE_TYPES)
        self.kind = Field("kind", "Content", options=tuple(KINDS))
        self.fields: dict[str, Field] = {}
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane")
        self.clear_button = w.Button(description="Clear", tooltip="Empty all inputs")
        self.confirm_button = w.Button(description="Yes, send it", button_style="danger")
        self.cancel_button = w.Button(description="No, go back")
        self.send_button.on_click(self._request_confirmation)
        self.clear_button.on_click(self._clear)
        self.confirm_button.on_click(self._confirm)
        self.cancel_button.on_click(lambda _: self._unlock())
        self.to.on_change(self._changed)
        self.rate_type.on_change(self._changed)
        self.kind.on_change(self._switch_kind)

        margin = f"4px 0 4px calc({INDENT} - 2px)"  # buttons have a margin of their own
        self._content = w.VBox()
        self._other_violations = Html(layout=w.Layout(margin=f"0 2px 0 {INDENT}"))
        self._question = Html()
        choices = w.HBox([self.confirm_button, self.cancel_button])
        self._confirmation = w.VBox([self._question, choices], layout=w.Layout(display="none", margin=margin))
        self._message = Html(role="status", layout=w.Layout(margin=f"0 2px 0 {INDENT}"))
        self._views = w.VBox()
        inputs = [self.to.box, self.rate_type.box, self.kind.box, self._content, self._other_violations]
        buttons = w.HBox([self.send_button, self.clear_button], layout=w.Layout(margin=margin))
        self.children = [*inputs, buttons, self._confirmation, self._message, self._views]
        self._switch_kind()

    def __repr__(self) -> str:
        return "SendForm()"  # the repr of a widget would write what is typed into the output

    def content(self) -> Content:
        """Return the content that the inputs describe.

        Returns
        -------
        Content
            The content, complete or not.
        """
        return read_content(self.kind.value, {path: field.value for path, field in self.fields.items()})

    def violations(self) -> list[errors.Violation]:
        """Return everything that prevents sending.

        Returns
        -------
        list of Violation
            Violations of recipient, content, rate type and service id; empty if the message can be sent.
        """
        number = normalize(self.to.value)
        violations = [number] if isinstance(number, errors.Violation) else []
        violations += validation.violations(self.content(), self.rate_type.value)
        return [*violations, *validation.service_id_violations(self._client.service_id)]

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the last message is final, or the time is over.

        Parameters
        ----------
        timeout_s : float, optional
            Maximum number of seconds to wait; default no limit.
        """
        if self._views.children and isinstance(self._views.children[0], StatusView):
            self._views.children[0].wait(timeout_s)

    def close(self) -> None:
        """Empty the inputs, stop the status views and remove the form."""
        if self.comm is not None and self.children and not sys.is_finalizing():  # then nothing can be imported
            self._empty()
            for child in self.children:
                close_widget(child)
            self.layout.close()
        super().close()

    def _fields_by_path(self) -> dict[str, Field]:
        return {field.path: field for field in (self.to, self.rate_type, *self.fields.values())}

    @_show_errors
    def _switch_kind(self) -> None:
        """Show the inputs of the selected kind; text typed under a label stays with that label."""
        self._unlock()
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

    @_show_errors
    def _changed(self) -> None:
        self._unlock()
        self._check()

    def _check(self) -> list[errors.Violation]:
        """Show each violation below its input once the user has changed it; return all violations."""
        violations, fields = self.violations(), self._fields_by_path()
        assigned, others = assign_violations(violations, fields)
        cautions, other_cautions = assign_violations(validation.cautions(self.content()), fields)
        show_needed(self.fields)
        number = normalize(self.to.value)
        for path, field in fields.items():
            shown = field.edited or field is self.rate_type
            if field is self.to and isinstance(number, str):
                field.show_notes(note(f"{mask(number)} is a valid number", "good"))
            else:
                field.show_violations(assigned[path] if shown else [], cautions[path])
        notes = [note(str(violation), "error") for violation in others]
        notes += [note(str(caution), "caution") for caution in other_cautions]
        self._other_violations.value = "".join(notes)
        if self._count_violations:
            self._report_count(len(violations))
        return violations

    def _report(self, text: str, tone: str = "quiet") -> None:
        self._message.value = note(text, tone)

    def _report_count(self, count: int) -> None:
        self._count_violations = count > 0
        problems = "1 problem" if count == 1 else f"{count} problems"
        self._report(f"Fix {problems} before sending." if count else "", "error")

    def _empty(self) -> None:
        self._typed_before.clear()
        for field in (self.to, *self.fields.values()):
            field.clear()
        self._report_count(0)
        self._check()

    @_show_errors
    def _clear(self, _: object) -> None:
        if not self._sending:
            self._unlock()
            self._empty()
            self._clear_result()

    @_show_errors
    def _request_confirmation(self, _: object) -> None:
        """Ask for confirmation of what is shown now."""
        if self._sending:
            return
        for field in self._fields_by_path().values():
            field.edited = True
        violations = self._check()
        self._report_count(len(violations))
        if violations:
            return
        number = str(normalize(self.to.value))
        message = f"<b>{escape(self.kind.value)}</b> as a <b>{escape(self.rate_type.value)}</b>"
        self._question.value = f"Send this {message} to <b>{escape(number)}</b>? It will be charged."
        self._clear_result()
        self._set_disabled(True)
        self._confirmation.layout.display = ""
        with self._lock:
            if self._sending:  # confirmed in another thread meanwhile
                return
            self._to_confirm = (number, self.content(), self.rate_type.value)
        self.cancel_button.focus()

    @_show_errors
    def _confirm(self, _: object) -> None:
        with self._lock:
            confirmed, self._to_confirm = self._to_confirm, None
            if confirmed is None or self._sending:  # the second of two clicks
                return
            self._sending = True
        self.confirm_button.disabled = self.cancel_button.disabled = True
        self._report("Sending …")
        try:
            self._send_message(*confirmed)
        finally:
            self._sending = False
            self._unlock()

    def _send_message(self, to: str, content: Content, rate_type: str) -> None:
        view: w.HTML
        try:
            self.sent = self._client.send(to, content, rate_type=rate_type)
        except _NOT_SENT as error:
            self._report(f"Nothing was sent. {error_text(error)}", "error")
            return
        except errors.UnknownOutcome as error:
            if error.earlier:
                self._report(f"Nothing was sent: {error.reason}.", "error")
                return
            view = unknown_outcome_view(error)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - shown in the form
            view = unknown_outcome_view(errors.UnknownOutcome(error_text(error), to=mask(to)))
        else:
            view = StatusView(self._client, self.sent)
        self._empty()
        self._views.children = (view, *self._views.children)

    def _clear_result(self) -> None:
        """Remove the result of the last message; what may have been sent stays."""
        self.sent = None
        followed = [view for view in self._views.children if isinstance(view, StatusView)]
        self._views.children = [view for view in self._views.children if view not in followed]
        for view in followed:
            close_widget(view)

    def _unlock(self) -> None:
        """Forget what was to be confirmed and enable the inputs, unless a message is being sent."""
        with self._lock:
            self._to_confirm = None
        if self._sending:
            return
        self._confirmation.layout.display = "none"
        self._question.value = ""
        self.confirm_button.disabled = self.cancel_button.disabled = False
        self._set_disabled(False)

    def _set_disabled(self, disabled: bool) -> None:
        for field in (self.to, self.rate_type, self.kind, *self.fields.values()):
            field.input.disabled = disabled
        self.send_button.disabled = self.clear_button.disabled = disabled
