"""What the API returns, as immutable records; fields that may contain a phone number are not in any repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from typing import Any

from viberkit.models.content import Content, kind
from viberkit.models.html import facts_table
from viberkit.models.phone import mask


@dataclass(frozen=True, slots=True)
class Event:
    """A message entered a state.

    Parameters
    ----------
    message_id : str
        Id of the message.
    state : str
        The state, in the library's spelling; an unrecognised text is unchanged.
    happened_at : datetime
        When, in UTC.
    source : {"history", "callback", "status", "send"}
        What reported it.
    channel : str, optional
        Channel, such as ``"viber"``.
    code, detail : str, optional
        Code and text of a failure.
    sender : str, optional
        Service id or number that the message was sent from.
    user_context : str, optional
        Context of the message.
    naive : bool, default False
        Whether the instant was reported without a time zone; UTC is assumed then.
    """

    message_id: str
    state: str
    happened_at: datetime
    source: str
    channel: str | None = None
    code: str | None = None
    detail: str | None = None
    sender: str | None = field(default=None, repr=False)
    user_context: str | None = None
    naive: bool = False


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """An item that cannot be read: its field, the reason, and the beginning of its text with numbers masked."""

    field: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """The events of one message in a record, and the items that cannot be read."""

    message_id: str
    events: tuple[Event, ...]
    skipped: tuple[SkippedItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the server accepted: the id of a message or bulk, and one message id per content, in order.

    Of an earlier send, also the rate type and the context that were sent.
    """

    message_id: str
    message_ids: tuple[str, ...]
    accepted_at: datetime | None = None
    rate_type: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The current state of a message.

    Parameters
    ----------
    message_id : str
        Id of the message.
    state : str
        The state.
    since : datetime, optional
        When the message entered it, in UTC.
    channel : str, optional
        Channel, such as ``"viber"``.
    naive : bool, default False
        Whether the instant was reported without a time zone; UTC is assumed then.
    """

    message_id: str
    state: str
    since: datetime | None = None
    channel: str | None = None
    naive: bool = False


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A sent message, as the server stores it until 48 hours after its final state.

    Parameters
    ----------
    message_id : str
        Id of the message.
    to : str or None
        Phone number of the recipient.
    channel : str or None
        Channel, such as ``"viber"``.
    service_id : str or None
        Service id that it was sent from.
    rate_type : str or None
        Rate type.
    content : content or None
        Content; None if it is of an unsupported kind.
    """

    message_id: str
    to: str | None = field(repr=False)
    channel: str | None
    service_id: str | None
    rate_type: str | None
    content: Content | None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message or postback from a recipient.

    Parameters
    ----------
    message_id : str
        Id of the message.
    sender, to : str or None
        Phone number of its sender, and the service id that it was sent to.
    channel : str or None
        Channel, such as ``"viber"``.
    happened_at : datetime or None
        When it was received, in UTC.
    kind : str
        ``"text"``, ``"postback"``, a kind of media such as ``"image"``, ``"location"`` or another text.
    text : str, optional
        Text or caption; other contents as JSON.
    media_id, media_url : str, optional
        Id and address of the file.
    reply_to : str, optional
        Id of the message that it answers.
    postback : str, optional
        Data of the button that was pressed.
    naive : bool, default False
        Whether the instant was reported without a time zone; UTC is assumed then.
    """

    message_id: str
    sender: str | None = field(repr=False)
    to: str | None = field(repr=False)
    channel: str | None
    happened_at: datetime | None
    kind: str
    text: str | None = None
    media_id: str | None = None
    media_url: str | None = None
    reply_to: str | None = None
    postback: str | None = None
    naive: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the account; for Viber a service id.

    Parameters
    ----------
    channel : str
        Channel, such as ``"viber"``.
    service_id, name, service_type : str or None
        Service id, its name and its type (one-way, two-way or session).
    scopes : tuple of str
        Permissions.
    callback : mapping
        Callback setting; secrets are replaced by ``***``.
    refused_events : tuple of str, default ()
        Events of the setting that the server refused when it was set.
    """

    channel: str
    service_id: str | None
    name: str | None
    service_type: str | None
    scopes: tuple[str, ...]
    callback: Mapping[str, Any]
    refused_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration of the account.

    Parameters
    ----------
    scopes : tuple of str
        Permissions.
    callback : mapping
        Callback setting; secrets are replaced by ``***``.
    config : mapping
        Other settings; secrets are replaced by ``***``.
    refused_events : tuple of str, default ()
        Events of the setting that the server refused when it was set.
    """

    scopes: tuple[str, ...]
    callback: Mapping[str, Any]
    config: Mapping[str, Any]
    refused_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Media:
    """An uploaded file.

    Parameters
    ----------
    media_id : str
        Id of the file.
    url : str or None
        Address of the file; None in a list.
    quota, usage : int or str, optional
        Storage that the account may use, and storage in use, as the server reports them.
    content_type : str, optional
        Type of the file, such as ``"image/png"``.
    filename : str, optional
        Name of the file.
    size_bytes : int, optional
        Size of the file.
    valid_until : datetime, optional
        When the server deletes the file, in UTC.
    """

    media_id: str
    url: str | None
    quota: int | str | None = None
    usage: int | str | None = None
    _: KW_ONLY
    content_type: str | None = None
    filename: str | None = None
    size_bytes: int | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the server accepted. Store its id: no call of the API lists messages.

    Parameters
    ----------
    message_id : str
        Id of the message.
    to : str
        Phone number of the recipient in E.164.
    rate_type : str
        Rate type.
    content : content
        Content.
    accepted_at : datetime, optional
        When the server accepted it, in UTC, if reported.
    context : str, optional
        Context of the message.
    """

    message_id: str
    to: str = field(repr=False)
    rate_type: str
    content: Content
    accepted_at: datetime | None = None
    context: str | None = None

    def _repr_html_(self) -> str:
        facts = {"message id": self.message_id, "to": mask(self.to), "rate type": self.rate_type}
        return facts_table("Sent message", {**facts, "content": kind(self.content), "accepted at": self.accepted_at})


@dataclass(frozen=True, slots=True)
class SentBulk:
    """Several messages to one recipient, accepted together.

    Parameters
    ----------
    bulk_id : str
        Id of the bulk.
    message_ids : tuple of str
        Ids of the messages, in the order of the contents.
    to : str
        Phone number of the recipient in E.164.
    rate_type : str
        Rate type.
    contents : tuple of content
        Contents.
    accepted_at : datetime, optional
        When the server accepted them, in UTC, if reported.
    """

    bulk_id: str
    message_ids: tuple[str, ...]
    to: str = field(repr=False)
    rate_type: str
    contents: tuple[Content, ...]
    accepted_at: datetime | None = None

    def _repr_html_(self) -> str:
        facts = {"bulk id": self.bulk_id, "message ids": "\n".join(self.message_ids), "to": mask(self.to)}
        return facts_table("Sent bulk", {**facts, "rate type": self.rate_type, "accepted at": self.accepted_at})


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome of one attempt to send: accepted, rejected, unknown, or queued (certainly not accepted)."""

    state: str
    reason: str = ""
    message_id: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class AcceptanceEvidence:
    """Evidence that a send was accepted: its id, the time in µs, and whether a callback or the response reported it."""

    message_id: str
    at: int
    called_back: bool


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server, unchanged but for secrets, which are replaced by ``***``.

    Parameters
    ----------
    status : int
        HTTP status.
    body : bytes
        Body.
    observed_at : datetime
        Time of the response in UTC: the server's ``Date`` header, or the local clock if there is none or the two differ
        by more than ten minutes.
    headers : mapping
        Headers, names in lower case.
    links : mapping
        Addresses of the ``Link`` header by relation.
    """

    status: int
    body: bytes = field(repr=False)
    observed_at: datetime
    headers: Mapping[str, str] = field(repr=False)
    links: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the call succeeded (2xx); unlike requests, a redirect is not a success."""
        return 200 <= self.status < 300
