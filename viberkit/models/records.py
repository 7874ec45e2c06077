"""What the API tells, as plain immutable records. Fields that may hold a phone number stay out of every repr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from viberkit.models.content import Content

__all__ = [
    "AcceptanceEvidence",
    "AcceptedBulk",
    "AcceptedMessage",
    "Channel",
    "Configuration",
    "Event",
    "Inbound",
    "Media",
    "ParsedRecord",
    "PreviousSend",
    "Response",
    "SendOutcome",
    "SentBulk",
    "SentMessage",
    "SkippedItem",
    "Status",
    "StoredMessage",
]


@dataclass(frozen=True, slots=True)
class Event:
    """A message entered a state at an instant, told by a source (history, callback, status or send)."""

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
    """What could not be read: the field, the reason, and the beginning of the text, numbers masked."""

    field: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """One record read: the events of one message, and what of it was set aside."""

    message_id: str
    events: tuple[Event, ...]
    skipped: tuple[SkippedItem, ...] = ()


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """The answer to a send."""

    message_id: str
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AcceptedBulk:
    """The answer to a bulk: its id and one message id for each content, in order."""

    bulk_id: str
    message_ids: tuple[str, ...]
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Where a message stands, and since when."""

    message_id: str
    state: str
    since: datetime | None = None
    channel: str | None = None
    naive: bool = False


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A sent message as the server keeps it for 48 hours."""

    message_id: str
    to: str | None = field(repr=False)
    channel: str | None
    service_id: str | None
    rate_type: str | None
    content: Content | None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message or postback from a recipient."""

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
    """A channel of the account; for Viber, a service id and its type."""

    channel: str
    service_id: str | None
    name: str | None
    service_type: str | None
    scopes: tuple[str, ...]
    callback: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The account's scopes, callbacks (secrets left out) and settings."""

    scopes: tuple[str, ...]
    callback: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Media:
    """An uploaded file: its id, its URL, and the account's quota and usage as told."""

    media_id: str
    url: str | None
    quota: str | None = None
    usage: str | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the server accepted: keep its id, no call lists it again."""

    message_id: str
    to: str = field(repr=False)
    rate_type: str
    content: Content
    accepted_at: datetime | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True)
class SentBulk:
    """Several messages to one recipient, accepted together, in the order of their contents."""

    bulk_id: str
    message_ids: tuple[str, ...]
    to: str = field(repr=False)
    rate_type: str
    contents: tuple[Content, ...]
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one attempt: accepted, rejected, unknown, or queued (certainly not accepted)."""

    state: str
    reason: str = ""
    message_id: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class AcceptanceEvidence:
    """That a send was accepted: under which id, when that was told, and whether by a callback or by its answer."""

    message_id: str
    at: int
    called_back: bool


@dataclass(frozen=True, slots=True)
class PreviousSend:
    """A send of before that a new one would repeat: its message id, and when it went out."""

    message_id: str
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server, verbatim; ``observed_at`` is the server's time (the ``Date`` header)."""

    status: int
    body: bytes = field(repr=False)
    observed_at: datetime
    headers: Mapping[str, str] = field(repr=False)
    links: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300
