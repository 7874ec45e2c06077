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

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd

from viberkit.errors import MissingColumn
from viberkit.states import ORDER

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
    "STATUSES",
    "TRANSITIONS",
    "Column",
    "Schema",
    "require",
]

#: The dtype of every instant.
INSTANT: Final = "datetime64[us, UTC]"

_CHANNELS = ("viber",)
_SOURCES = ("history", "callback", "status", "send")
_SENDS = ("planned", "queued", "in_flight", "accepted", "rejected", "unknown", "requeued", "abandoned")
_WAYS = ("history", "callback")
_OUTCOMES = ("delivered", "failed", "open")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its dtype, what it means, its unit, and, for a category, the words that come first."""

    name: str
    dtype: str
    meaning: str
    unit: str = ""
    words: tuple[str, ...] = ()

    def cast(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """The values with exactly this column's dtype; what cannot be read so is a ``ValueError`` that names it."""
        try:
            made = _category(values, self.words) if self.dtype == "category" else _CASTS[self.dtype](values)
        except (ValueError, TypeError, OverflowError) as fault:
            raise ValueError(f"{self.name}: cannot be read as {self.dtype}: {fault}") from None
        return made.rename(self.name)


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one kind of frame, in order.

    >>> EVENTS.empty().dtypes["happened_at"]
    datetime64[us, UTC]
    >>> TRANSITIONS.names[:3]
    ('message_id', 'from_state', 'to_state')
    """

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise MissingColumn(self.name, [name], self.names)

    def empty(self) -> pd.DataFrame:
        """A frame without rows, every dtype as declared."""
        return self.frame({})

    def frame(self, data: pd.DataFrame | Mapping[str, Any] | Iterable[Any]) -> pd.DataFrame:
        """A frame of these columns with exactly these dtypes.

        ``data`` is a frame, a mapping of name to values, or rows: mappings or records with these
        attributes. A column that is not there becomes missing values (``False`` for yes or no); columns of
        a frame or mapping that the schema does not know stay, after its own. ``data`` itself is left alone.

        >>> events = EVENTS.frame([{"message_id": "m", "state": "seen", "happened_at": "2020-07-13T12:19:18.967Z"}])
        >>> events.loc[0, ["message_id", "state", "happened_at"]].tolist()
        ['m', 'seen', Timestamp('2020-07-13 12:19:18.967000+0000', tz='UTC')]
        """
        if not isinstance(data, pd.DataFrame):
            given = data if isinstance(data, Mapping) else _columns_of(data, self.names)
            data = pd.DataFrame({name: _series(values) for name, values in given.items()})
        missing = pd.Series(np.full(len(data), None, dtype=object), index=data.index)
        made = {one.name: one.cast(data.get(one.name, missing)) for one in self.columns}
        made |= {str(name): data[name] for name in data.columns if name not in made}
        frame = pd.DataFrame(made, index=data.index, copy=False)
        frame.attrs = dict(data.attrs)
        return frame

    def describe(self) -> pd.DataFrame:
        """The columns as a table: name, dtype, meaning, unit.

        >>> LATENCY.describe().loc[LATENCY.names.index("max_s"), "unit"]
        's'
        """
        rows = [(one.name, one.dtype, one.meaning, one.unit) for one in self.columns]
        return pd.DataFrame(rows, columns=["name", "dtype", "meaning", "unit"], dtype="str")


def require(frame: pd.DataFrame, names: Iterable[str], asked_by: str) -> None:
    """Nothing if the frame has all these columns, else :class:`~viberkit.errors.MissingColumn` naming what is there.

    >>> require(pd.DataFrame({"state": []}), ["state", "happened_at"], "transitions")
    Traceback (most recent call last):
        ...
    viberkit.errors.MissingColumn: transitions: no column 'happened_at'; the columns are: 'state'
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"{asked_by}: a DataFrame is needed, not {type(frame).__name__}")
    if lacking := [name for name in names if name not in frame.columns]:
        raise MissingColumn(asked_by, lacking, map(str, frame.columns))


def _columns_of(rows: Iterable[Any], names: tuple[str, ...]) -> dict[str, list[Any]]:
    rows = list(rows)
    return {
        name: [row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for row in rows]
        for name in names
    }


def _series(values: Any) -> Any:
    """Plain lists stay objects: pandas must not guess that an id is a number."""
    return pd.Series(values, dtype=object) if isinstance(values, list | tuple) else values


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype("str")


def _category(values: pd.Series[Any], words: tuple[str, ...]) -> pd.Series[Any]:
    """Texts as a category: the schema's words first, then the others in order of first appearance."""
    given = values if isinstance(values.dtype, pd.CategoricalDtype) else values.astype("str").astype("category")
    codes, texts = given.cat.codes.to_numpy(), given.cat.categories.astype("str")
    if not isinstance(values.dtype, pd.CategoricalDtype) or len(texts) > len(words) or tuple(texts) != words:
        seen = pd.unique(codes)
        order = pd.Index(words, dtype="str").append(texts[seen[seen >= 0]]).unique()
        places = np.append(order.get_indexer(texts), -1)
        codes, texts = places[codes], order
    dtype = pd.CategoricalDtype(texts)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=dtype), index=values.index)


def _instant(values: pd.Series[Any]) -> pd.Series[Any]:
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        values = pd.to_datetime(values, utc=True, format="ISO8601")
    zoned = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    return pd.Series(zoned.astype(INSTANT))


def _yes_no(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == bool:
        return values
    said = values.astype("str").str.lower()
    if not said.dropna().isin(["true", "false", "1", "0"]).all():
        raise ValueError("a value is neither true nor false")
    return said.isin(["true", "1"])


_CASTS: Mapping[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = MappingProxyType(
    {
        "str": _text,
        INSTANT: _instant,
        "bool": _yes_no,
        "float64": lambda values: values.astype("float64"),
        "int64": lambda values: values.astype("int64"),
    }
)

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
    ),
)

#: One row a message sent.
MESSAGES = Schema(
    "messages",
    (
        _ID,
        Column("to", "str", "the recipient's number"),
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

#: One row a hop (and group): how long it took. Quantile columns are named after what was asked.
LATENCY = Schema(
    "latency",
    (
        Column("from_state", "category", "the state left", words=ORDER),
        Column("to_state", "category", "the state entered", words=ORDER),
        Column("n", "int64", "how many hops"),
        Column("p50_s", "float64", "half took no longer than this", "s"),
        Column("p90_s", "float64", "90 % took no longer than this", "s"),
        Column("p95_s", "float64", "95 % took no longer than this", "s"),
        Column("p99_s", "float64", "99 % took no longer than this", "s"),
        Column("max_s", "float64", "the longest", "s"),
        Column("total_s", "float64", "all of them together", "s"),
        Column("share", "float64", "of the time of all hops of the group"),
    ),
)
