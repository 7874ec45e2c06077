"""Schemas of the library's frames: their columns, dtypes and meanings, which hold for empty frames too.

A :class:`Schema` builds frames from rows or columns and gives every column its declared dtype:

======================  ==========================================================================
``str``                 text; missing values are NaN. Ids and phone numbers are text, never numbers
``category``            a value of a small set; states are in the order of the life cycle
``datetime64[us, UTC]`` an instant; one without a zone is taken as UTC, a missing one is NaT
``float64``             a duration in seconds, or a share
``int64``, ``bool``     a count; true or false, where a missing value is false
======================  ==========================================================================

Columns that a schema does not declare (such as a rate type joined to events) follow its own.
"""

from __future__ import annotations

from viberkit.frames.schema import INSTANT, Column, Schema
from viberkit.models.states import ORDER

_CHANNELS = ("viber",)
_SOURCES = ("history", "callback", "status", "send")
_SEND_STATES = ("planned", "queued", "in_flight", "accepted", "rejected", "unknown", "requeued", "abandoned")


def _text(name: str, description: str) -> Column:
    return Column(name, "str", description)


def _category(name: str, description: str, categories: tuple[str, ...] = ()) -> Column:
    return Column(name, "category", description, categories=categories)


def _instant(name: str, description: str) -> Column:
    return Column(name, INSTANT, description, "UTC")


def _seconds(name: str, description: str) -> Column:
    return Column(name, "float64", description, "s")


_ID = _text("message_id", "id of the message")
_STATE = _category("state", "state that the message entered", ORDER)
_FROM_STATE = _category("from_state", "state that the message left", ORDER)
_TO_STATE = _category("to_state", "state that the message entered next", ORDER)
_CHANNEL = _category("channel", "channel of the message", _CHANNELS)
_CODE = _category("code", "failure code of the provider")
_TO = _text("to", "phone number of the recipient")
_CAMPAIGN = _category("campaign", "campaign of the message; missing: none")
_RATE_TYPE = _category("rate_type", "rate type: transaction, promotion or session")
_HAPPENED_AT = _instant("happened_at", "when the message entered the state")
_OBSERVED_UNTIL = _instant("observed_until", "when the message was last observed; NaT: not known")
_NAIVE = Column("naive", "bool", "whether the instant had no zone and was taken as UTC, or is uncertain")

#: One row per event: a message entered a state.
EVENTS = Schema(
    "events",
    (
        _ID,
        _STATE,
        _HAPPENED_AT,
        _category(
            "source", "what reported the event: history, callback, status or send; several joined by +", _SOURCES
        ),
        _CHANNEL,
        _CODE,
        _text("detail", "failure text of the provider"),
        _instant("received_at", "when the event was first received; NaT: not recorded"),
        _OBSERVED_UNTIL,
        _NAIVE,
        _instant("not_before", "for an event observed by polling: lower bound of happened_at (1970: none); NaT: exact"),
    ),
)

#: One row per message sent.
MESSAGES = Schema(
    "messages",
    (
        _ID,
        _TO,
        _category("country", "country of that number, ISO 3166; missing: not recognised"),
        _RATE_TYPE,
        _category("content_type", "content type: text, image, …"),
        _category("service_id", "service id of the sender"),
        _CHANNEL,
        _CAMPAIGN,
        _text("context", "text that callbacks return as userContext"),
        _instant("sent_at", "when the message was sent"),
        _instant("accepted_at", "when the provider accepted the message"),
        _category("state", "latest known state", ORDER),
        _instant("state_at", "when the message entered that state"),
        _OBSERVED_UNTIL,
        _text("text", "text of the message"),
        _text("content", "content of the message as sent; JSON"),
        _text("bulk_id", "id of the bulk that contained the message"),
        Column("final", "bool", "whether a final state is known"),
        _instant("gone_at", "when the server answered that it no longer stores the message"),
    ),
)

#: One row per status response.
STATUSES = Schema(
    "statuses",
    (
        _ID,
        _category("state", "state of the message", ORDER),
        _instant("since", "when the message entered that state"),
        _CHANNEL,
        _instant("observed_at", "when the status was requested"),
        _NAIVE,
    ),
)

#: One row per message or postback from a recipient.
INBOUND = Schema(
    "inbound",
    (
        _text("message_id", "id of the inbound message; a long decimal number on Viber, as text"),
        _text("sender", "phone number of the recipient who wrote"),
        _text("to", "service id to which the message was written"),
        _CHANNEL,
        _instant("happened_at", "when the message was written"),
        _instant("received_at", "when the callback was received"),
        _category("kind", "kind of message: text, image, …, postback"),
        _text("text", "text or caption"),
        _text("media_id", "id for downloading the media"),
        _text("media_url", "URL of the media"),
        _text("reply_to", "id of the message that this one quotes"),
        _text("postback", "data of the button that was pressed"),
        _NAIVE,
        _text("answers", "id of the sent message that this one answers"),
        _category("paired_by", "how that message was identified: by reply_to, or by phone number", ("reply", "number")),
        _seconds("response_s", "time from the acceptance of that message to happened_at"),
    ),
)

#: One row per callback received.
CALLBACKS = Schema(
    "callbacks",
    (
        _instant("received_at", "when the callback was first received"),
        _instant("last_received_at", "when it was last received again"),
        _instant("signed_at", "when the provider signed it; NaT: not signed, or unreadable"),
        Column("late", "bool", "whether the signature is valid, but its time too old or unreadable"),
        _text("unreadable", "why the callback, or a part of it, could not be read"),
        _text("body", "body of the callback"),
    ),
)

#: One row per send through the archive.
OUTBOX = Schema(
    "outbox",
    (
        _text("key", "key of the send, the beginning of its context"),
        _CAMPAIGN,
        Column("row", "float64", "row in the recipients' table of the campaign, from 1; NaN: no campaign"),
        _TO,
        _RATE_TYPE,
        _category("state", "state of the send", _SEND_STATES),
        _ID,
        Column("http_status", "float64", "HTTP status of the response"),
        _text("reason", "why the send was rejected or is unknown, and decisions about it"),
        _instant("planned_at", "when the send was planned"),
        _instant("claimed_at", "when a process claimed the send, before the first byte of the request"),
        _instant("settled_at", "when the outcome of the send became known"),
    ),
)

#: One row per event that only the history or only a callback reported.
GAPS = Schema(
    "gaps",
    (
        _ID,
        _STATE,
        _HAPPENED_AT,
        _category("reported_by", "source that reported the event", ("history", "callback")),
        _category("missed_by", "source that did not report the event", ("history", "callback")),
        _instant("received_at", "when the event was received"),
        Column("expected", "bool", "whether missed_by had reported this state for a message before"),
    ),
)

#: One row per transition: two consecutive events of one message.
TRANSITIONS = Schema(
    "transitions",
    (
        _ID,
        _FROM_STATE,
        _TO_STATE,
        _instant("started_at", "when the message entered from_state"),
        _instant("ended_at", "when the message entered to_state"),
        _seconds("latency_s", "time between the two"),
        Column("disordered", "bool", "whether to_state precedes from_state in the life cycle"),
    ),
)

#: One row per message: when it first entered each state, and its outcome.
JOURNEYS = Schema(
    "journeys",
    (
        _ID,
        *(_instant(f"{state}_at", f"when the message first became {state}; NaT: not observed") for state in ORDER[:8]),
        _category(
            "outcome", "delivered, failed, or open: not final when last observed", ("delivered", "failed", "open")
        ),
        _category("last_state", "latest state", ORDER),
        _CODE,
        _OBSERVED_UNTIL,
    ),
)

#: One row per quality check of an event log (for checks of clocks one per source or state).
QUALITY = Schema(
    "quality",
    (
        _category("check", "name of the check"),
        _category("source", "source of the events, for checks by source", _SOURCES),
        _category("state", "state of the events, for checks by state", ORDER),
        Column("count", "int64", "number of findings"),
        Column("of", "int64", "number of cases checked; 0: the log cannot show it"),
        Column("share", "float64", "count divided by of"),
        _text("example", "id of a message with a finding"),
        _seconds("value_s", "size of the finding, where it has one"),
        _text("effect", "effect on the results"),
        _text("remedy", "how to avoid the effect"),
    ),
)
