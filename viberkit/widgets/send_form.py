"""A form that sends one message."""

from __future__ import annotations

import threading
from html import escape

import ipywidgets as w

from viberkit import errors
from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.models import validation
from viberkit.models.content import Content
from viberkit.models.phone import mask, normalize
from viberkit.models.records import SentMessage
from viberkit.widgets.content_form import ContentForm
from viberkit.widgets.fields import Field, close_widget, error_text, note
from viberkit.widgets.form import BUTTON_MARGIN, show_errors
from viberkit.widgets.status import StatusView, unknown_outcome_view
from viberkit.widgets.unsaved import Html

#: What :meth:`Client.send` raises if the message was certainly not accepted.
_NOT_SENT = (errors.ApiError, errors.TransportError, errors.InvalidRequest, errors.ConfigurationError)


class SendForm(ContentForm):
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
        super().__init__()
        self._client = client if archive is None else client.with_archive(archive)
        self.sent: SentMessage | None = None
        self._to_confirm: tuple[str, Content, str] | None = None
        self._sending = False
        self._lock = threading.Lock()  # handlers may run in several threads of the kernel

        self.to = Field("to", "Recipient", "+49 170 1234567")
        self.send_button = w.Button(description="Send", button_style="primary", icon="paper-plane")
        self.clear_button = w.Button(description="Clear", tooltip="Empty all inputs")
        self.confirm_button = w.Button(description="Yes, send it", button_style="danger")
        self.cancel_button = w.Button(description="No, go back")
        self.send_button.on_click(self._request_confirmation)
        self.clear_button.on_click(self._clear)
        self.confirm_button.on_click(self._confirm)
        self.cancel_button.on_click(lambda _: self.unlock())
        self.to.on_change(self._changed)

        self._question = Html()
        choices = w.HBox([self.confirm_button, self.cancel_button])
        self._confirmation = w.VBox([self._question, choices], layout=w.Layout(display="none", margin=BUTTON_MARGIN))
        self._views = w.VBox()
        inputs = [self.to.box, self.rate_type.box, self.kind.box, self._content, self._other_violations]
        buttons = w.HBox([self.send_button, self.clear_button], layout=w.Layout(margin=BUTTON_MARGIN))
        self.children = [*inputs, buttons, self._confirmation, self._message, self._views]
        self._switch_kind()

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

    def _own_fields(self) -> list[Field]:
        return [self.to]

    def _check(self) -> list[errors.Violation]:
        violations, number = super()._check(), normalize(self.to.value)
        if isinstance(number, str):
            self.to.show_notes(note(f"{mask(number)} is a valid number", "good"))
        return violations

    @show_errors
    def _clear(self, _: object) -> None:
        if not self._sending:
            self.unlock()
            self._empty()
            self._clear_result()

    @show_errors
    def _request_confirmation(self, _: object) -> None:
        """Ask for confirmation of what is shown now."""
        if self._sending:
            return
        if not self._check_all():
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

    @show_errors
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
            self.unlock()

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

    def unlock(self) -> None:
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
