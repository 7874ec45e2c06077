"""Campaigns: one content to many recipients, planned, confirmed, and sent at most once each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from viberkit.api.client import Client
from viberkit.api.transport import RateLimiter
from viberkit.archive.archive import Archive
from viberkit.archive.campaigns import CHARGED, CampaignStore, CampaignTerms
from viberkit.archive.derive import content_facts
from viberkit.campaigns.plan import check_terms, plan_messages, problems_frame, read_recipients
from viberkit.campaigns.run import CampaignRun
from viberkit.errors import CampaignError, Violation, raise_violations
from viberkit.models import validation
from viberkit.models.content import Content, from_wire, to_wire
from viberkit.models.html import facts_table
from viberkit.models.keys import canonical_json
from viberkit.models.phone import mask
from viberkit.models.validation import RateType

#: The states of a message in the outbox, and what each means.
MEANINGS = MappingProxyType(
    {
        "planned": "not confirmed, not sent",
        "queued": "confirmed, not sent yet",
        "in_flight": "being sent",
        "accepted": "",
        "rejected": "refused by the server, not charged",
        "unknown": "may have been sent and charged",
        "requeued": "may have been sent and charged; resent by decision",
        "abandoned": "may have been sent and charged; not resent by decision",
    }
)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a campaign would send now; see :meth:`Campaign.preview`.

    Parameters
    ----------
    planned : int
        Number of messages that are planned and not yet confirmed.
    sample : pandas.DataFrame
        The first messages: ``to`` (masked) and ``text``.
    longest : int
        Length of the longest text, in characters.
    problems : pandas.DataFrame
        The rows that are left out: ``row`` (from 1), ``field``, ``value``, ``rule``, ``remedy``.
    cost : str
        The cost of the planned messages, a range if the price is one; empty without a price.
    confirm : str
        The text to pass to :meth:`Campaign.send`.
    source : str, default ""
        The file of the recipients, and how it was read: encoding and separator, or sheet.
    contents : tuple of Content, default ()
        The contents of the messages in ``sample``.
    """

    planned: int
    sample: pd.DataFrame
    longest: int
    problems: pd.DataFrame
    cost: str
    confirm: str
    source: str = ""
    contents: tuple[Content, ...] = ()

    def __repr__(self) -> str:
        lines = [f"recipients: {self.source}"] if self.source else []
        lines += [f"messages to send: {self.planned:,}, characters of the longest text: {self.longest:,}"]
        lines.append(f"cost: {self.cost or 'no price was given'}")
        if len(self.sample):
            lines += ["", self.sample.to_string(index=False, max_colwidth=60)]
        if len(self.problems):
            lines += ["", f"left out: {self.problems['row'].nunique():,} rows"]
            lines += [self.problems[["row", "field", "rule"]].head(10).to_string(index=False, max_colwidth=80)]
            lines += [f"to do: {remedy}" for remedy in self.problems["remedy"].unique()[:5] if remedy]
        ending = f"to send, confirm: {self.confirm!r}" if self.planned else "no new message is planned"
        return "\n".join([*lines, "", ending])

    def _repr_html_(self) -> str:
        facts: dict[str, object] = {"recipients": self.source, "messages to send": self.planned}
        facts |= {"longest text": f"{self.longest:,} characters", "cost": self.cost or "no price was given"}
        facts |= {f"{i}. {to}": text for i, (to, text) in enumerate(self.sample.itertuples(index=False), 1)}
        rules = self.problems.groupby("rule", sort=False)["row"].nunique()
        facts["rows left out"] = "\n".join(f"{n:,} × {rule}" for rule, n in rules.items()) or "none"
        facts["to confirm, pass"] = f"confirm={self.confirm!r}" if self.planned else ""
        return facts_table("Preview", facts)


@dataclass(frozen=True, slots=True)
class CampaignStatus:
    """How many messages of a campaign are in each state; see :meth:`Campaign.status` and :meth:`Campaign.send`.

    Parameters
    ----------
    name : str
        Name of the campaign.
    counts : dict of str to int
        Number of messages by state, in the order planned, queued, in_flight, accepted, rejected, unknown, requeued,
        abandoned; states without messages are left out.
    costs : dict of str to str
        Cost of the messages by state, for the states in which they may have been charged; empty without a price.
    stopped : str or None
        Why :meth:`Campaign.send` stopped before all messages were sent; None if it did not.
    """

    name: str
    counts: dict[str, int]
    costs: dict[str, str]
    stopped: str | None = None

    def __repr__(self) -> str:
        lines = [f"Campaign {self.name!r}:", *self.to_frame()["summary"]]
        lines += [] if self.counts else ["no messages"]
        lines += [f"stopped: {self.stopped}"] if self.stopped else []
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        total = sum(self.counts.values())
        facts = {state.replace("_", " "): self._summary(state, n) for state, n in self.counts.items()}
        return facts_table(f"Campaign {self.name!r}", {"messages": total, **facts, "stopped": self.stopped})

    def to_frame(self) -> pd.DataFrame:
        """Return the counts as a frame, one row per state.

        Returns
        -------
        pandas.DataFrame
            - ``state``: state in the outbox
            - ``n``: number of messages
            - ``share``: share of the campaign's messages
            - ``summary``: number, state, meaning and cost as text
        """
        total = sum(self.counts.values())
        rows = [(state, n, n / total, self._summary(state, n)) for state, n in self.counts.items()]
        frame = pd.DataFrame(rows, columns=["state", "n", "share", "summary"])
        return frame.astype({"state": "str", "n": "int64", "share": "float64", "summary": "str"})

    def _summary(self, state: str, n: int) -> str:
        text = f"{n:,} {state.replace('_', ' ')}"
        text += f": {MEANINGS[state]}" if MEANINGS[state] else ""
        return f"{text} ({self.costs[state]})" if state in self.costs else text


class Campaign:
    """One content to many recipients, stored in the outbox of an archive.

    A campaign is planned with :meth:`plan`, which sends nothing, and sent with :meth:`send`, which needs the text that
    :meth:`preview` shows. Each recipient gets at most one message, however often a notebook cell is run again.

    Parameters
    ----------
    archive : Archive
        The archive that stores the campaign.
    name : str
        Name of a planned campaign; use :meth:`plan` or :meth:`open` instead of calling the class.
    problems : pandas.DataFrame
        The rows of the recipients that are left out: ``row`` (from 1), ``field``, ``value``, ``rule``, ``remedy``.
    source : str, default ""
        The file of the recipients, and how it was read.

    Examples
    --------
    >>> with vk.Sandbox(seed=1) as sandbox, vk.Archive("deliveries.db") as archive:
    ...     people = [{"to": "+491701234567", "name": "Ada"}, {"to": "+491701234568", "name": "Bo"}]
    ...     text = vk.Text("Hi {name}")
    ...     spring = vk.Campaign.plan(archive, "spring", people, text, rate_type="promotion", price=0.03)
    ...     confirm = spring.preview().confirm
    ...     status = spring.send(sandbox.client(), confirm=confirm, progress=False)
    ...     again = spring.send(sandbox.client(), confirm=confirm, progress=False)
    ...     confirm, again, len(sandbox.requests)
    ('send 2 for at most 0.06 [9bc2ff]', Campaign 'spring':
      2 accepted (0.06), 2)
    """

    def __init__(self, archive: Archive, name: str, problems: pd.DataFrame, source: str = "") -> None:
        self.archive, self.name, self.problems, self.source = archive, name, problems, source
        self._store = CampaignStore(archive, name)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n:,} {state}" for state, n in self.status().counts.items())
        return f"Campaign({self.name!r}: {counts or 'empty'})"

    def _repr_html_(self) -> str:
        return self.status()._repr_html_()

    @classmethod
    def plan(
        cls,
        archive: Archive,
        name: str,
        recipients: pd.DataFrame | str | os.PathLike[str] | Iterable[str | int | Mapping[str, Any]],
        content: Content,
        *,
        rate_type: RateType,
        to: str | None = None,
        region: str | None = None,
        international: bool = False,
        context: str | None = None,
        callback_url: str | None = None,
        price: float | tuple[float, float] | None = None,
        currency: str = "",
        cost_cap: float | None = None,
        replace: bool = False,
    ) -> Campaign:
        """Check every recipient and plan the messages; nothing is sent.

        Planning again under the same name adds the new recipients. If the price or the cap differs, the messages not
        sent yet must be confirmed again.

        Parameters
        ----------
        archive : Archive
            The archive that stores the campaign.
        name : str
            Name of the campaign, at most 128 characters.
        recipients : pandas.DataFrame, path, list of str or list of dict
            Table of recipients, path of a table, list of phone numbers, or list of mappings. The table is a text in
            UTF-8, UTF-16 or a Windows encoding, with ``;``, tab, ``,`` or ``|`` between its columns, or an Excel
            workbook (``.xlsx``: its first filled sheet, hidden rows included). It is read as text, so that ``0123`` and
            ``12.50`` stay as they are.
        content : Content
            What is sent. A placeholder such as ``{first_name}`` in a text takes the value of that column;
            ``{{`` and ``}}`` are literal braces.
        rate_type : {"transaction", "promotion", "session"}
            Rate type of the messages.
        to : str, default None
            Column of the phone numbers; None for the first of to, number, phone, msisdn, recipient.
        region : str, default None
            Country of the numbers without a country calling code, as two letters, e.g. "DE".
        international : bool, default False
            Whether numbers without ``+`` and ``00`` begin with a country calling code.
        context : str, default None
            Text that callbacks return, at most 98 characters.
        callback_url : str, default None
            URL that gets the status callbacks of these messages.
        price : float or tuple of float, default None
            Price of one message, or the lowest and highest price.
        currency : str, default ""
            Text shown before amounts.
        cost_cap : float, default None
            Sending stops before the cost could exceed this amount; needs a price.
        replace : bool, default False
            Whether to delete what was planned under this name before, if nothing of it was ever confirmed.

        Returns
        -------
        Campaign
            The planned campaign; ``problems`` holds the rows that are left out.

        Raises
        ------
        InvalidRequest
            If the name, the content or an option breaks a rule; with all violations.
        MissingColumn
            If the column of the phone numbers or of a placeholder is missing.
        CampaignError
            If the recipients cannot be read, or the name is in use for another content.

        Notes
        -----
        A spreadsheet can turn a phone number into another valid one. Refused are numbers in scientific notation
        and decimal numbers, numbers that their country does not assign, and numbers of landlines where the country
        distinguishes them. Digits without ``+`` or ``00`` are read as complete numbers if the whole column shows that
        they are; where they may be national numbers that lost their ``0``, they are refused unless `region` or
        `international` decides.
        """
        check_terms(name, recipients, content, rate_type, context, callback_url, price, cost_cap)
        frame, source = read_recipients(recipients)
        messages, problems = plan_messages(
            name, frame, content, rate_type, to=to, region=region, international=international
        )
        prices = price if isinstance(price, tuple) else (price, price)
        low, high = (None if amount is None else float(amount) for amount in prices)
        wire = canonical_json(to_wire(content))
        terms = CampaignTerms(name, wire, rate_type, context, callback_url, low, high, currency, cost_cap)
        campaign = cls(archive, name, problems, source)
        campaign._store.plan(terms, messages, replace=replace)
        return campaign

    @classmethod
    def open(cls, archive: Archive, name: str) -> Campaign:
        """Open a planned campaign.

        Parameters
        ----------
        archive : Archive
            The archive that stores the campaign.
        name : str
            Name of the campaign.

        Returns
        -------
        Campaign
            The campaign. Its ``problems`` are empty: only :meth:`plan` knows them.

        Raises
        ------
        CampaignError
            If the archive has no campaign of this name.
        """
        campaign = cls(archive, name, problems_frame([]))
        campaign._store.terms()
        return campaign

    @property
    def confirmed(self) -> str | None:
        """The last confirmation, or None; pass it to :meth:`send` to continue."""
        return self._store.terms().confirmed

    def preview(self, sample: int = 5) -> Preview:
        """Show what would be sent now: the messages that are planned and not confirmed.

        Parameters
        ----------
        sample : int, default 5
            Number of messages to show.

        Returns
        -------
        Preview
            Number of messages, a sample, the cost, the rows that are left out, and the text to confirm.
        """
        terms, planned = self._store.terms(), self._store.planned()
        longest = max((len(_text(content) or "") for _, content in planned), default=0)
        shown = [(mask(to), _text(content) or content) for to, content in planned[:sample]]
        frame = pd.DataFrame(shown, columns=["to", "text"], dtype="str")
        cost, confirm = terms.cost(len(planned)), terms.confirmation(planned)
        contents = tuple(from_wire(json.loads(content)) for _, content in planned[:sample])
        return Preview(len(planned), frame, longest, self.problems, cost, confirm, self.source, contents)

    def messages(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return the sends of this campaign, one row per send.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers.

        Returns
        -------
        pandas.DataFrame
            The rows of :meth:`Archive.outbox` of this campaign.
        """
        frame = self.archive.outbox(unmask=unmask)
        return frame[frame["campaign"] == self.name].reset_index(drop=True)

    def status(self) -> CampaignStatus:
        """Return the number of messages in each state.

        Returns
        -------
        CampaignStatus
            Counts and costs by state.
        """
        stored, terms = self._store.counts(), self._store.terms()
        counts = {state: stored[state] for state in MEANINGS if state in stored}
        costs = {state: cost for state, n in counts.items() if state in CHARGED and (cost := terms.cost(n))}
        return CampaignStatus(self.name, counts, costs)

    def send(
        self,
        client: Client,
        *,
        confirm: str,
        workers: int = 32,
        per_second: float | None = None,
        max_unknown_share: float = 0.01,
        progress: bool = True,
        stop: Callable[[], bool] = lambda: False,
    ) -> CampaignStatus:
        """Send the confirmed messages, each at most once.

        The same call continues an interrupted or killed one. Messages that were in flight then are unknown and are not
        sent again; see :meth:`resolve`.

        Parameters
        ----------
        client : Client
            Client to send with, from its service id.
        confirm : str
            The text of :meth:`preview`. It holds the number of messages, the cost and a digest of what is sent, so
            other messages need another confirmation.
        workers : int, default 32
            Number of concurrent requests, 1 to 1000.
        per_second : float, default None
            Highest rate of requests, in messages per second; None for no limit.
        max_unknown_share : float, default 0.01
            Stop if a larger share of the outcomes of this call is unknown, once there are 100 outcomes.
        progress : bool, default True
            Whether to show a progress bar.
        stop : callable, optional
            Function that returns whether to stop, e.g. the ``is_set`` of a :class:`threading.Event`. It is called
            many times a second. Sending then waits for the messages in flight; the same call continues it.

        Returns
        -------
        CampaignStatus
            Counts by state, and why it stopped early.

        Raises
        ------
        CampaignError
            If the confirmation does not match what would be sent, or the campaign is being sent by another process.
        InvalidRequest
            If the client has no service id or ``workers`` is out of range.
        ConfigurationError
            If ``per_second`` is not above 0.

        Notes
        -----
        Sending stops early after 5 unknown outcomes in a row, above ``max_unknown_share``, after 5 messages in a row
        that were neither accepted nor rejected (429, server not reached), if the server refuses the key or the service
        id (401, 402, 403), after 100 rejections in a row, and before the cost could exceed the cap. A first interrupt
        (Ctrl-C) waits for the messages in flight.
        """
        violations = validation.service_id_violations(client.service_id)
        if not 1 <= workers <= 1000:
            violations.append(Violation("workers", repr(workers), "is not between 1 and 1000", "pass e.g. 32"))
        raise_violations(violations)
        RateLimiter(per_second)  # raises for a rate that is not positive
        run = CampaignRun(self._store, client, workers, per_second, max_unknown_share, stop)
        run.send(confirm, progress=progress)
        return dataclasses.replace(self.status(), stopped=run.stopped)

    def resolve(self, keys: Iterable[str], decision: str, *, reason: str) -> int:
        """Decide on messages whose outcome is unknown.

        Parameters
        ----------
        keys : iterable of str
            Keys of messages, the column ``key`` of :meth:`messages`.
        decision : {"resend", "abandon"}
            "resend" queues the message with a new key for the next :meth:`send`, rejected messages too; "abandon"
            leaves it as it is.
        reason : str
            Reason, stored with the message.

        Returns
        -------
        int
            Number of the messages that were unknown, or rejected for "resend".

        Raises
        ------
        CampaignError
            If a key is not of this campaign, or the decision or the reason is missing.
        """
        keys, known = list(keys), set(self.messages()["key"])
        if foreign := [key for key in keys if key not in known]:
            raise CampaignError(f"{foreign[0]!r} is not a key of the campaign {self.name!r}; see campaign.messages()")
        return self.archive.resolve(keys, decision, reason=reason)


def _text(content: str) -> str | None:
    """Return the text of a content in its JSON form."""
    return content_facts(json.loads(content))["text"]
