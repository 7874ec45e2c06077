"""The frames: which columns each has, what they mean, and of which type they are, also when there is nothing in them.

A :class:`Schema` makes frames from rows or columns and gives every column its declared dtype:

======================  ===========================================================================
``str``                 text; a missing one is NaN. Ids and phone numbers are text, never numbers
``category``            a few words; states come first in the order of the life cycle
``datetime64[us, UTC]`` an instant; one without a zone is taken as UTC, a missing one is NaT
``float64``             durations, in seconds; shares
``int64``, ``bool``     counts; yes or no, where a missing one is no
======================  ===========================================================================

Columns that a schema does not know (a rate type joined to events, say) stay, after its own.
"""

from __future__ import annotations

from viberkit.frames.schema import INSTANT, Column, Schema, require
from viberkit.models.states import ORDER

__all__ = [
    "CALLBACKS",
    "EVENTS",
    "GAPS",
    "INBOUND",
    "INSTANT",
    "JOURNEYS",
    "LATENCY",
    "MESSAGES",
    "OUTBOX",
    "QUALITY",
    "STATUSES",
    "TRANSITIONS",
    "Column",
    "Schema",
    "require",
]

_CHANNELS = ("viber",)
_SOURCES = ("history", "callback", "status", "send")
_SENDS = ("planned", "queued", "in_flight", "accepted", "rejected", "unknown", "requeued", "abandoned")
_WAYS = ("history", "callback")
_CHECKS = (
    *("duplicates", "two_instants", "disorder", "row_order", "negative_latency", "zero_latency", "naive"),
    *("delivered_after_failed", "seen_without_delivered", "unknown_state", "no_dispatched", "no_routed", "no_accepted"),
    *("not_observed_again", "callbacks_missed", "clock_skew", "polled"),
)
_OUTCOMES = ("delivered", "failed", "open")


_ID = Column("message_id", "str", "the message")
_STATE = Column("state", "category", "the state the message entered", words=ORDER)
_CHANNEL = Column("channel", "category", "the channel it went by", words=_CHANNELS)
_NAIVE = Column("naive", "bool", "the instant came without a zone and was taken as UTC")
_UNTIL = Column("observed_until", INSTANT, "until when this message was watched; NaT: not known", "UTC")
_CODE = Column("code", "category", "the provider's code of a failure")

#: One row a thing that happened to a message.
EVENTS = Schema(
    "events",
    (
        _ID,
        _STATE,
        Column("happened_at", INSTANT, "when it entered the state", "UTC"),
        Column(
            "source",
            "category",
            "what told of it: history, callback, status or send; several are joined by +",
            words=_SOURCES,
        ),
        _CHANNEL,
        _CODE,
        Column("detail", "str", "the provider's words on a failure"),
        Column("received_at", INSTANT, "when it was first heard of; NaT: not told", "UTC"),
        _UNTIL,
        _NAIVE,
        Column(
            "not_before",
            INSTANT,
            "of a time that polling found: when it was last known not to be there yet (1970: never); NaT: exact",
            "UTC",
        ),
    ),
)

#: One row a message sent.
MESSAGES = Schema(
    "messages",
    (
        _ID,
        Column("to", "str", "the recipient's number"),
        Column("country", "category", "the country of that number, ISO 3166; missing: it cannot be read"),
        Column("rate_type", "category", "transaction, promotion or session"),
        Column("content_type", "category", "what was sent: text, image, …"),
        Column("service_id", "category", "the sender"),
        Column("channel", "category", "the channel asked for", words=_CHANNELS),
        Column("campaign", "category", "the campaign it belongs to"),
        Column("context", "str", "the text that comes back on callbacks"),
        Column("sent_at", INSTANT, "when the send was called", "UTC"),
        Column("accepted_at", INSTANT, "when the provider accepted it", "UTC"),
        Column("state", "category", "the latest state known", words=ORDER),
        Column("state_at", INSTANT, "when it entered that state", "UTC"),
        _UNTIL,
        Column("text", "str", "the text sent"),
        Column("content", "str", "what was sent, as it went out; JSON"),
        Column("bulk_id", "str", "the bulk it was sent in"),
        Column("final", "bool", "whether a final state is known"),
        Column("gone_at", INSTANT, "when the server said that it no longer knows it", "UTC"),
    ),
)

#: One row an answer to "where does this message stand".
STATUSES = Schema(
    "statuses",
    (
        _ID,
        Column("state", "category", "where the message stood", words=ORDER),
        Column("since", INSTANT, "since when", "UTC"),
        _CHANNEL,
        Column("observed_at", INSTANT, "when this was asked", "UTC"),
        _NAIVE,
    ),
)

#: One row a message or postback from a recipient.
INBOUND = Schema(
    "inbound",
    (
        Column("message_id", "str", "the inbound message; long decimal digits on Viber"),
        Column("sender", "str", "the recipient who wrote"),
        Column("to", "str", "the service id written to"),
        Column("channel", "category", "the channel it came by", words=_CHANNELS),
        Column("happened_at", INSTANT, "when it was written", "UTC"),
        Column("received_at", INSTANT, "when it was received here", "UTC"),
        Column("kind", "category", "text, image, …, postback"),
        Column("text", "str", "the text or caption"),
        Column("media_id", "str", "the id to download it by"),
        Column("media_url", "str", "where the media lies"),
        Column("reply_to", "str", "the message it answers"),
        Column("postback", "str", "the data of the button pressed"),
        _NAIVE,
        Column("answers", "str", "the message sent before that it answers"),
        Column("paired_by", "category", "how that is known", words=("reply", "number")),
        Column("response_s", "float64", "the time since that message was accepted", "s"),
    ),
)

#: One row a callback that was received, as it came.
CALLBACKS = Schema(
    "callbacks",
    (
        Column("received_at", INSTANT, "when it first came", "UTC"),
        Column("last_received_at", INSTANT, "when it came again last", "UTC"),
        Column("signed_at", INSTANT, "when the provider signed it; NaT: not signed", "UTC"),
        Column("late", "bool", "signed rightly, but too far from when it came"),
        Column("unreadable", "str", "why it, or a part of it, could not be read"),
        Column("body", "str", "its body"),
    ),
)

#: One row a send through the archive.
OUTBOX = Schema(
    "outbox",
    (
        Column("key", "str", "the send's name, the head of its context"),
        Column("campaign", "category", "the campaign it belongs to"),
        Column("row", "float64", "its row in the recipients' table, from 1; NaN: no campaign's"),
        Column("to", "str", "the recipient's number"),
        Column("rate_type", "category", "transaction, promotion or session"),
        Column("state", "category", "where it stands", words=_SENDS),
        Column("message_id", "str", "the message it became"),
        Column("http_status", "float64", "what the server answered"),
        Column("reason", "str", "why it was refused, is unknown, or was decided so"),
        Column("planned_at", INSTANT, "when it was put in", "UTC"),
        Column("claimed_at", INSTANT, "when it was taken in hand, before the first byte left", "UTC"),
        Column("settled_at", INSTANT, "when it became known what became of it", "UTC"),
    ),
)

#: One row an event that one way told and the other did not.
GAPS = Schema(
    "gaps",
    (
        _ID,
        _STATE,
        Column("happened_at", INSTANT, "when it entered the state", "UTC"),
        Column("told_by", "category", "the way that told of it", words=_WAYS),
        Column("missed_by", "category", "the way that did not", words=_WAYS),
        Column("received_at", INSTANT, "when it was heard of", "UTC"),
        Column("expected", "bool", "the way that did not had told of this state before"),
    ),
)

#: One row a hop: two consecutive events of one message.
TRANSITIONS = Schema(
    "transitions",
    (
        _ID,
        Column("from_state", "category", "the state left", words=ORDER),
        Column("to_state", "category", "the state entered", words=ORDER),
        Column("started_at", INSTANT, "when from_state was entered", "UTC"),
        Column("ended_at", INSTANT, "when to_state was entered", "UTC"),
        Column("latency_s", "float64", "the time between the two", "s"),
        Column("disordered", "bool", "to_state comes before from_state in the life cycle"),
    ),
)

#: One row a message: when it entered each state, and what became of it.
JOURNEYS = Schema(
    "journeys",
    (
        _ID,
        *(
            Column(f"{state}_at", INSTANT, f"when it was first {state.replace('_', ' ')}; NaT: never", "UTC")
            for state in ORDER[:8]
        ),
        Column("outcome", "category", "delivered, failed, or open: still on the way when last seen", words=_OUTCOMES),
        Column("last_state", "category", "the state entered last", words=ORDER),
        _CODE,
        Column("observed_until", INSTANT, "until when the message was watched", "UTC"),
    ),
)

_QUANTILE = (
    ("", "{} % took no longer than this"),
    ("_low", "the low end of the interval of that"),
    ("_high", "the high end of the interval of that"),
)
#: One row a hop (and group): how long it took. Quantile columns are named after what was asked.
LATENCY = Schema(
    "latency",
    (
        Column("from_state", "category", "the state left", words=ORDER),
        Column("to_state", "category", "the state entered", words=ORDER),
        Column("n", "int64", "how many hops"),
        *(
            Column(f"p{q}{end}_s", "float64", meaning.format(q), "s")
            for q in (50, 90, 95, 99)
            for end, meaning in _QUANTILE
        ),
        Column("max_s", "float64", "the longest", "s"),
        Column("total_s", "float64", "all of them together", "s"),
        Column("share", "float64", "of the time of all hops of the group"),
        Column("share_slowest", "float64", "of the time of the slowest 5 % of its messages"),
        Column("n_open", "float64", "messages waiting in from_state when last looked at; NaN: not known"),
        Column("open_p50_s", "float64", "half of them had waited no longer than this", "s"),
        Column("open_max_s", "float64", "the longest that one had waited", "s"),
    ),
)

#: One row a check (of clock_skew a row a source) of a log: how often something is amiss, and what follows from it.
QUALITY = Schema(
    "quality",
    (
        Column("check", "category", "what was looked for", words=_CHECKS),
        Column("source", "category", "who told it, where it goes by source", words=_SOURCES),
        Column("count", "int64", "how often it was found"),
        Column("of", "int64", "among how many; 0: the log cannot tell"),
        Column("share", "float64", "count of of"),
        Column("example", "str", "a message where it was found"),
        Column("value_s", "float64", "its size, where it has one", "s"),
        Column("effect", "str", "what it does to the results"),
        Column("remedy", "str", "what helps"),
    ),
)
