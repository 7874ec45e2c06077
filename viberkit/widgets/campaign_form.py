"""A form that plans, confirms and sends a campaign."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets as w

from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.archive.campaigns import campaign_counts
from viberkit.campaigns.campaign import Campaign
from viberkit.campaigns.plan import check_terms, fill, placeholders
from viberkit.errors import InvalidRequest, Violation, escape as escape_controls, suggestion
from viberkit.models import validation
from viberkit.models.content import Text
from viberkit.widgets.campaign_view import CampaignView
from viberkit.widgets.content_form import ContentForm
from viberkit.widgets.fields import Field, close_widget, note, parse_number, set_shown
from viberkit.widgets.form import NOTE_MARGIN, button, buttons, section, show_errors
from viberkit.widgets.recipients_input import RecipientsInput
from viberkit.widgets.unsaved import Html

_NEW = "new campaign"
_UNFINISHED = {"planned", "queued", "in_flight", "unknown"}
_STORED = "is stored already: checking replaces it, or adds recipients to it if it was confirmed"


class CampaignForm(ContentForm):
    """A form that plans, confirms and sends a campaign, and shows the state of each message.

    *Check recipients* sends nothing: it shows the rows that are left out, three of the messages, their number and their
    cost. Sending needs the text that the check shows. Sending can be paused and resumed; it continues while the page is
    reloaded. After a restart of the kernel, a new form on the same archive offers the campaigns that are not finished.

    Parameters
    ----------
    archive : Archive
        Archive that stores the campaign.
    client : Client
        Client that sends the messages.
    recipients : pandas.DataFrame, path, list of str or list of dict, optional
        Table of recipients as :meth:`Campaign.plan` takes it; default a file that is named or uploaded in the form.
    name : str, optional
        Name of a stored campaign to open.
    workers : int, default 32
        Number of concurrent requests.
    per_second : float, optional
        Highest rate of requests, in messages per second; default no limit.

    Attributes
    ----------
    recipients : RecipientsInput
        Inputs of the recipients.
    name, context, price, price_high, currency, cost_cap, rate_type, kind : Field
        Other inputs; ``.input`` is the widget, ``.hint`` the note below it.
    fields : dict of str to Field
        The inputs of the content, by path, e.g. ``fields["button.url"]``.
    check_button, back_button : ipywidgets.Button
        The buttons.
    campaign : Campaign or None
        The campaign that is shown; None while the inputs are.
    view : CampaignView or None
        What shows the campaign, with its inputs and buttons.

    Notes
    -----
    A saved notebook contains nothing that was typed, uploaded or previewed, even if widget state is saved.

    Examples
    --------
    >>> people = [{"to": "+491701234567", "name": "Ada"}, {"to": "+491701234568", "name": "Bo"}]
    >>> with vk.Sandbox(seed=1, speed=600) as sandbox, vk.Archive("deliveries.db") as archive:
    ...     form = vk.widgets.CampaignForm(archive, sandbox.client(), recipients=people)
    ...     form.name.input.value = "spring"
    ...     form.fields["text"].input.value = "Hi {name}"
    ...     form.check_button.click()
    ...     form.view.confirmation.input.value = form.campaign.preview().confirm
    ...     form.view.send_button.click()
    ...     form.wait(30)
    ...     status = form.campaign.status()
    ...     form.close()
    ...     status
    Campaign 'spring':
      2 accepted
    """

    _goal = "checking"

    def __init__(
        self,
        archive: Archive,
        client: Client,
        *,
        recipients: Any = None,
        name: str | None = None,
        workers: int = 32,
        per_second: float | None = None,
    ) -> None:
        super().__init__()
        self._archive, self._client = archive, client
        self._options = {"workers": workers, "per_second": per_second}
        self.campaign: Campaign | None = None
        self.view: CampaignView | None = None

        self.stored = Field("stored", "Campaign")
        self.stored.input.options = [_NEW]
        self.stored.on_change(self._choose)
        self.name = Field("name", "Name", "spring-sale")
        self.context = Field("context", "Context", "optional text that callbacks return")
        self.price = Field("price", "Price", "of one message, e.g. 0.03", parse=parse_number)
        self.price_high = Field("price_high", "Highest price", "if the price varies", parse=parse_number)
        self.currency = Field("currency", "Currency", "€", narrow=True)
        self.cost_cap = Field("cost_cap", "Cost cap", "stop before it is exceeded", parse=parse_number)
        costs = [self.price, self.price_high, self.currency, self.cost_cap]
        self._terms = [self.name, self.context, *costs]
        for field in self._terms:
            field.on_change(self._changed)
        self._columns = Html(layout={"margin": NOTE_MARGIN})
        self.recipients = RecipientsInput(self._changed)
        self.check_button = button("Check recipients", self._plan, "primary")
        self.back_button = button("Back", self._go_back)

        message = [self.name.box, self.rate_type.box, self.kind.box, self._columns, self._content, self.context.box]
        prices = section("3. Price (optional)", *(field.box for field in costs))
        sections = [section("1. Recipients", self.recipients.box), section("2. Message", *message), prices]
        check = [self._other_violations, buttons(self.check_button), self._message]
        self._inputs = w.VBox([*sections, *check])
        self._view_box = w.VBox()
        self.children = [self.stored.box, self._inputs, self._view_box, buttons(self.back_button)]
        self._open(name)
        self._switch_kind()
        if recipients is not None:
            self.recipients.use(recipients)

    def violations(self) -> list[Violation]:
        """Return everything that prevents planning.

        Returns
        -------
        list of Violation
            Violations of recipients, placeholders, content, terms and service id; empty if the recipients can be
            checked.
        """
        frame, content = self.recipients.frame, self.content()
        violations = [*self.recipients.violations(), *validation.service_id_violations(self._client.service_id)]
        for field in () if frame.empty else self.fields.values():
            absent = [name for name in placeholders(Text(field.typed)) if name not in frame]
            rule = "is not a column of the recipients"
            violations += [Violation(field.path, f"{{{name}}}", rule, suggestion(name, frame)) for name in absent]
        names = placeholders(content)
        examples = {name: str([*frame[name].head(100).dropna(), "x"][0]) if name in frame else "x" for name in names}
        violations += validation.violations(fill(content, examples), self.rate_type.value)
        terms = self._plan_options()
        try:
            shared = map(terms.get, ("rate_type", "context", "callback_url", "price", "cost_cap"))
            check_terms(self.name.value, "", content, *shared)
        except InvalidRequest as error:
            violations += error.violations
        return violations

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until sending has ended, or the time is over.

        Parameters
        ----------
        timeout_s : float, optional
            Maximum number of seconds to wait; default no limit.
        """
        if self.view is not None:
            self.view.wait(timeout_s)

    def _own_fields(self) -> list[Field]:
        return [*self.recipients.fields, *self._terms]

    def _plan_options(self) -> dict[str, Any]:
        low, high = self.price.value, self.price_high.value
        return {
            "rate_type": self.rate_type.value,
            "context": self.context.value or None,
            "price": low if high is None else (low, high),
            "currency": self.currency.value,
            "cost_cap": self.cost_cap.value,
            **self.recipients.options,
        }

    def _check(self) -> list[Violation]:
        violations = super()._check()
        names = [str(name) for name in self.recipients.frame if not {*str(name)} & {*"{}"}]
        listed = " ".join(f"<code>{{{escape(name)}}}</code>" for name in names)
        self._columns.value = f'<div class="viberkit-columns">Columns: {listed}</div>' if listed else ""
        if self.name.value in self._stored:
            self.name.show_notes(note(_STORED, "caution"))
        return violations

    @show_errors
    def _plan(self, _: object) -> None:
        """Plan the campaign, from the file as it is now, and show what would be sent."""
        self.recipients.read_path()
        if self._check_all():
            frame, terms = self.recipients.frame, self._plan_options()
            planned = Campaign.plan(self._archive, self.name.value, frame, self.content(), **terms, replace=True)
            self._open(planned.name, planned)

    @show_errors
    def _go_back(self, _: object) -> None:
        self._open(None)
        self._check()
        self.recipients.path.input.focus()

    @show_errors
    def _choose(self) -> None:
        name = self._names.get(self.stored.value)
        if name != (self.campaign and self.campaign.name):
            self._open(name)

    def _open(self, name: str | None, planned: Campaign | None = None) -> None:
        """Show a campaign, or the inputs of a new one."""
        if self.view is not None:
            close_widget(self.view)
        self.campaign = planned or (None if name is None else Campaign.open(self._archive, name))
        self.view = None
        if self.campaign is not None:
            rows = self.recipients.frame
            self.view = CampaignView(self.campaign, self._client, rows, self._show_stored, **self._options)
        self._view_box.children = [self.view] if self.view else []
        set_shown(self._inputs, self.view is None)
        self._show_stored()
        if self.view is not None:
            self.view.focus()

    def _show_stored(self) -> None:
        """Offer the campaigns that are not finished, unless messages are being sent."""
        self._stored = campaign_counts(self._archive)
        shown = self.campaign and self.campaign.name
        offered = sorted(name for name, counts in self._stored.items() if name == shown or _UNFINISHED & {*counts})
        self._names = {escape_controls(name): name for name in offered}
        self.stored.input.options = [_NEW, *self._names]
        self.stored.input.value = escape_controls(shown) if shown else _NEW
        self.stored.input.disabled = sending = self.view is not None and self.view.is_sending
        set_shown(self.stored.box, self._names)
        set_shown(self.back_button, shown and not sending)
