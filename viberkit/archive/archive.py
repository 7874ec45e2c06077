"""The archive: a local database that keeps what the API forgets.

Every answer and callback is kept verbatim before it is read; tables of messages, statuses, events and inbound
messages are derived from it in the same transaction. The same answer twice changes nothing. Several processes may
use one file. The API key is never written.
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Select, and_, func, or_, select

from viberkit.archive import tables as schema
from viberkit.archive.derive import micros
from viberkit.archive.engine import engine, told
from viberkit.archive.events import SENT, countries, gaps, joined, once, paired, polled
from viberkit.archive.ingest import answer_row, callback_row, derive, known_digests, write_raw
from viberkit.archive.outbox import orphans
from viberkit.archive.sends import SendRecorder
from viberkit.errors import ArchiveError, CampaignError
from viberkit.frames import columns as frames
from viberkit.models.callback import Callback
from viberkit.models.parsing import is_unknown_message
from viberkit.models.phone import mask, mask_numbers
from viberkit.models.records import Response

__all__ = ["Archive"]

#: So many raw callbacks are at once made into rows while others wait to be kept.
_DERIVED_AT_ONCE = 64


class Archive:
    """An archive in a SQLite file, made with mode 0600 if it is not there.

    Safe to use from many threads and processes. Raises :class:`~viberkit.errors.ArchiveError` where the
    file cannot be opened, is no archive, or was written by a newer viberkit.

    >>> with Archive("deliveries.db") as archive:
    ...     len(archive.messages()), list(archive.events().columns[:3])
    (0, ['message_id', 'state', 'happened_at'])
    """

    def __init__(self, path_or_url: str | Path) -> None:
        text = str(path_or_url).removeprefix("sqlite:///")
        if "://" in text or text in ("", ":memory:"):
            raise ArchiveError(
                f"archive: {text.split('@')[-1]!r} is not the path of a SQLite file; pass e.g. 'deliveries.db'"
            )
        self.path = Path(text)
        self._pid = os.getpid()
        with told(self.path):
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._engine = engine(self.path)
            with self.writing() as connection:
                schema.migrate(connection)
                derive(connection)  # what a process that died had kept, but not yet read
                orphans(connection, micros(datetime.now(UTC)))  # and what it had in flight
        self.recorder = SendRecorder(self.writing, self.keep_answers)
        self._finalizer = weakref.finalize(self, self._engine.dispose)

    def __repr__(self) -> str:
        return f"Archive({str(self.path)!r})"

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the archive may be used again."""
        self._engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its beginning; durable when it ends."""
        with told(self.path), self._connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with told(self.path), self._connect() as connection:
            yield connection

    def _connect(self) -> Connection:
        if os.getpid() != self._pid:  # a connection must not cross a fork
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return self._engine.connect()

    # --- writing -----------------------------------------------------------------------------------------

    def keep_sent(self, message_id: str, request: Mapping[str, Any], answer: Response) -> None:
        """Keep an accepted send or bulk: the answer, the request as it went out, and a row for each message."""
        wired = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
        self._keep([answer_row("bulk" if "messages" in request else "send", message_id, answer, wired)])

    def keep_answers(self, what: str, answers: Iterable[tuple[str, Response]]) -> dict[str, str]:
        """Keep answers about messages; ``what`` they are: status, events or message.

        Gives what became of each: ``changed``, ``same``, ``gone`` (404: the server no longer knows it),
        ``refused (status)``, or ``unreadable: …`` with the reason; nothing is thrown away.
        """
        return self._keep([answer_row(what, message_id, answer) for message_id, answer in answers])

    def keep_callback(self, body: bytes, received_at: datetime) -> None:
        """Keep a callback's raw body, and what it tells if it can be read."""
        self.keep_callbacks([Callback(body, received_at)])

    def keep_callbacks(self, callbacks: Iterable[Callback]) -> None:
        """Keep many callbacks in one durable transaction; the rows that they mean follow at once or with the next."""
        rows = [callback_row(one) for one in callbacks]
        with self.writing() as connection:
            write_raw(connection, rows)
            derive(connection, _DERIVED_AT_ONCE)

    def derive(self, limit: int | None = None) -> int:
        """Make the rows of what is kept and not yet read, at most ``limit`` answers; gives how many there were."""
        with self.reading() as connection:
            if connection.execute(select(schema.raw.c.id).where(schema.pending).limit(1)).scalar() is None:
                return 0
        with self.writing() as connection:
            return len(derive(connection, limit))

    def _keep(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """First the raw answers, then what they mean, in one durable transaction."""
        with self.writing() as connection:
            known = known_digests(connection, [row["message_id"] for row in rows])
            write_raw(connection, rows)
            unreadable = derive(connection)
        became = {}
        for row in rows:
            message_id, status = row["message_id"], row["http_status"]
            became[message_id] = "same" if row["digest"] in known else "changed"
            if status in (404, 410) and is_unknown_message(row["body"]):
                became[message_id] = "gone"
            elif not 200 <= status < 300:
                became[message_id] = f"refused ({status})"
            elif why := unreadable.get(row["digest"]):
                became[message_id] = f"unreadable: {why}"
        return became

    # --- sending, at most once -----------------------------------------------------------------------------

    def outbox(self, *, unmask: bool = False) -> pd.DataFrame:
        """One row a send through this archive (frames.OUTBOX): its key, where it stands, and why.

        Numbers are masked unless ``unmask`` is true.
        """
        sent = schema.outbox
        columns = [sent.c[name] for name in frames.OUTBOX.names]
        asked = select(*columns).order_by(sent.c.planned_at, sent.c.row, sent.c.ordinal)
        frame = self._frame(asked, frames.OUTBOX)
        return frame if unmask else _masked(frame, "to")

    def resolve(self, keys: Iterable[str], decision: str, *, reason: str) -> int:
        """Decide on sends of which nobody knows what became: "abandon" leaves it so; "resend" allows one more,
        also of what the server had refused.

        A campaign's message is then sent again, with a new key, by ``campaign.send``; a single one by calling
        ``client.send`` again. Gives how many of the keys were unknown.
        """
        if decision not in ("resend", "abandon") or not reason.strip():
            remedy = "pass 'resend' or 'abandon', and a reason for those who come after"
            raise CampaignError(f"decision, reason: {decision!r}, {reason!r} decide nothing; {remedy}")
        return self.recorder.resolve(list(keys), resend=decision == "resend", reason=reason)

    # --- reading -----------------------------------------------------------------------------------------

    def open_messages(self, *, include_final: bool = False) -> list[str]:
        """The ids of messages that are not final and that the server still knows, oldest first.

        ``include_final`` gives those that are final too: what callbacks finished may still have a history to fetch.
        """
        table = schema.messages
        known = or_(table.c.gone_at.is_(None), table.c.gone_at <= table.c.observed_until)
        asked = select(table.c.message_id).where(known if include_final else and_(~table.c.final, known))
        with self.reading() as connection:
            return list(connection.execute(asked.order_by(table.c.sent_at)).scalars())

    def messages(self, *, unmask: bool = False) -> pd.DataFrame:
        """One row a message: what was sent, its latest state, and until when it was observed (frames.MESSAGES).

        ``country`` is that of the full number (ISO 3166, two letters); the numbers themselves are masked unless
        ``unmask`` is true.
        """
        frame = self._frame(select(schema.messages).order_by(schema.messages.c.sent_at), frames.MESSAGES)
        frame["country"] = countries(frame["to"])
        return frame if unmask else _masked(frame, "to")

    def statuses(self) -> pd.DataFrame:
        """Every status that was polled: state, since when, and when it was observed (frames.STATUSES)."""
        return self._frame(select(schema.statuses).order_by(schema.statuses.c.observed_at), frames.STATUSES)

    def inbound(self, *, unmask: bool = False) -> pd.DataFrame:
        """Everything that recipients wrote, and which message of ours each answers (frames.INBOUND).

        ``answers`` is the message that the reply names, else the last one that was sent to this number before from
        the same service id; ``paired_by`` tells which ("reply" or "number"), ``response_s`` is the time from when the
        provider accepted that message. The senders' numbers are masked unless ``unmask`` is true.

        >>> with Archive("deliveries.db") as archive:
        ...     archive.inbound()[["text", "answers", "response_s"]].empty
        True
        """
        written = schema.inbound
        inbound = self._frame(select(written).order_by(written.c.received_at, written.c.message_id), frames.INBOUND)
        frame = frames.INBOUND.frame(paired(inbound, self.messages(unmask=True)))
        return frame if unmask else _masked(frame, "sender")

    def events(self, *, all_sources: bool = False) -> pd.DataFrame:
        """Every event of every message (frames.EVENTS), with facts of the message: ``rate_type``, ``content_type``,
        ``service_id``, ``campaign``, and the ``country`` of its recipient.

        What several sources tell is one row: ``source`` names them all, such as "history+callback", the believed first;
        ``happened_at`` is the first one's, ``received_at`` when it was first heard of here. With ``all_sources``
        each source has a row of its own. ``observed_until`` is the last time that anybody looked at the message.

        A state that only a poll without a time told of is there from when the poll found it, and ``not_before`` is the
        last time that the message is known not to have come so far; for all other events that is NaT.
        """
        told_of, message, poll = schema.events, schema.messages, schema.statuses
        known = [told_of.c[name] for name in frames.EVENTS.names if name in told_of.c]
        facts = [message.c[name] for name in SENT.names if name in message.c]
        timeless = select(poll.c.message_id).where(poll.c.since == poll.c.observed_at)
        with self.reading() as connection:
            told = self._frame(select(*known), frames.EVENTS, connection)
            sent = self._frame(select(*facts).order_by(message.c.sent_at, message.c.message_id), SENT, connection)
            if connection.execute(timeless.limit(1)).first():
                told = pd.concat([told, self._polled(connection, timeless, told, sent)], ignore_index=True)
        sent["country"] = countries(sent["to"])
        frame = joined(frames.EVENTS.frame(told), sent)
        return frame if all_sources else once(frame)

    def _polled(
        self, connection: Connection, timeless: Select[Any], told: pd.DataFrame, sent: pd.DataFrame
    ) -> pd.DataFrame:
        """The states that only polls without a time told of."""
        poll, raw = schema.statuses, schema.raw
        polls = self._frame(select(poll).where(poll.c.message_id.in_(timeless)), frames.STATUSES, connection)
        looked = and_(raw.c.kind.in_(["status", "events"]), raw.c.http_status.between(200, 299))
        columns = raw.c.message_id, raw.c.kind, raw.c.first_seen, raw.c.last_seen
        rows = self._columns(select(*columns).where(looked, raw.c.message_id.in_(timeless)), connection)
        looks = pd.DataFrame({name: pd.Series(rows[name], dtype="str") for name in ("message_id", "kind")})
        return polled(told, polls, looks.assign(**{n: _instants(rows[n]) for n in ("first_seen", "last_seen")}), sent)

    def gaps(self) -> pd.DataFrame:
        """What callbacks missed and polling found, and the reverse (frames.GAPS): one row an event told one way only.

        Counted are events that the other way could have told: callbacks have no word for *routed*, and a history
        must have been fetched after the event. ``expected`` is true where the other way had told of this state
        before, so that it is wanted there; false says that it was perhaps never opted in to, or that the
        receiver was not there yet. ``vk.collect(…, include_final=True)`` fetches the histories of messages that
        callbacks finished, so that the two can be compared.
        """
        raw = schema.raw
        fetched = and_(raw.c.kind == "events", raw.c.http_status.between(200, 299))
        looked = select(raw.c.message_id, func.max(raw.c.last_seen).label("looked_at")).where(fetched)
        rows = self._columns(looked.group_by(raw.c.message_id))
        looked_at = _instants(rows["looked_at"]).set_axis(pd.Index(rows["message_id"], dtype="str"))
        return gaps(self.events(all_sources=True), looked_at)

    def callbacks(self, *, unmask: bool = False) -> pd.DataFrame:
        """Every callback as it came (frames.CALLBACKS), numbers masked unless ``unmask`` is true.

        ``late`` marks one that was signed rightly but longer ago than the receiver's window.
        """
        raw = schema.raw
        instants = raw.c.first_seen.label("received_at"), raw.c.last_seen.label("last_received_at"), raw.c.signed_at
        asked = select(*instants, raw.c.late, raw.c.unreadable, raw.c.body).where(raw.c.kind == "callback")
        columns = self._columns(asked.order_by(raw.c.first_seen, raw.c.id))
        texts = [one.decode("utf-8", "backslashreplace") for one in columns["body"]]
        return self._shaped({**columns, "body": texts if unmask else [*map(mask_numbers, texts)]}, frames.CALLBACKS)

    def answers(self, what: str) -> list[bytes]:
        """The raw bodies of one kind (send, bulk, status, events, message, callback), as they came, oldest first."""
        asked = select(schema.raw.c.body).where(schema.raw.c.kind == what).order_by(schema.raw.c.id)
        with self.reading() as connection:
            return list(connection.execute(asked).scalars())

    def unreadable(self, *, unmask: bool = False) -> pd.DataFrame:
        """What was kept but could not be read, whole or in part: kind, message_id, reason, body.

        Numbers in the body are masked unless ``unmask`` is true; otherwise it is as it came.
        """
        raw = schema.raw
        columns = raw.c.kind, raw.c.message_id, raw.c.unreadable.label("reason"), raw.c.body
        found = self._columns(select(*columns).where(raw.c.unreadable.is_not(None)).order_by(raw.c.id))
        bodies = [one if unmask else mask_numbers(one.decode("latin-1")).encode("latin-1") for one in found["body"]]
        return pd.DataFrame({**found, "body": bodies})

    def _frame(self, asked: Select[Any], shape: frames.Schema, within: Connection | None = None) -> pd.DataFrame:
        return self._shaped(self._columns(asked, within), shape)

    def _shaped(self, columns: Mapping[str, Sequence[Any]], shape: frames.Schema) -> pd.DataFrame:
        instants = [one.name for one in shape if one.dtype == frames.INSTANT and one.name in columns]
        return shape.frame({**columns, **{name: _instants(columns[name]) for name in instants}})

    def _columns(self, asked: Any, within: Connection | None = None) -> dict[str, Sequence[Any]]:
        with nullcontext(within) if within else self.reading() as connection:
            result = connection.execute(asked)
            names = list(result.keys())
            rows = result.fetchall()
        return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _masked(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].map(mask, na_action="ignore").astype("str")})


def _instants(micros: Sequence[int | None]) -> pd.Series[Any]:
    return pd.to_datetime(pd.Series(list(micros), dtype="Int64"), unit="us", utc=True).astype(frames.INSTANT)
