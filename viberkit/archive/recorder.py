"""The recorder of an archive: what the client, the callback receiver and collection write to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select, true

from viberkit.archive import ingest, outbox, tables
from viberkit.archive.derive import micros
from viberkit.archive.engine import CommitUnknown, Database, lock, transaction
from viberkit.archive.ingest import SettledSend
from viberkit.errors import ArchiveError, UnknownOutcome
from viberkit.models.callback import Callback
from viberkit.models.keys import canonical_json
from viberkit.models.parsing import is_unknown_message
from viberkit.models.phone import mask
from viberkit.models.records import Accepted, Response, SendOutcome
from viberkit.models.states import FINAL

_DERIVED_WITH_CALLBACKS = 64  # raw records derived in the transaction that stores callbacks
_EARLIER = {
    "in_flight": "an earlier send of the same content is still in flight; wait for its outcome",
    "unknown": "the outcome of an earlier send of the same content is unknown; wait for a callback, or decide with "
    "archive.resolve(['{key}'], 'resend' or 'abandon', reason=…)",
}


class Recorder:
    """Writes sends, responses and callbacks; each method is one durable transaction.

    It implements the protocol :class:`viberkit.api.recorder.Recorder`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, request: Mapping[str, Any], context: str | None, *, deduplicate: bool) -> str | Accepted:
        """Store a single send as in flight and return its key, which is sent at the start of the context.

        With ``deduplicate``, an accepted send of the same content to the same recipient is returned instead.
        Raises :class:`~viberkit.errors.UnknownOutcome` while the outcome of such a send is unknown.
        """
        self._database.reserve(1)
        keys: list[str] = []
        try:
            return self._begin(request, context, deduplicate, keys)
        except BaseException as error:
            # Of a signal handler, or of a commit: what was claimed is not sent.
            if keys and (isinstance(error, CommitUnknown) or not isinstance(error, ArchiveError)):
                self.settle([(keys[0], SendOutcome("queued", "interrupted before it was sent"), request, None)])
            raise

    @transaction
    def _begin(
        self, connection: Connection, body: Mapping[str, Any], context: str | None, deduplicate: bool, keys: list[str]
    ) -> str | Accepted:
        to, content = body["to"], canonical_json(body.get("content", body.get("messages")))
        lock(connection, "send", to)
        outbox.mark_lost(connection)
        if earlier := outbox.find_duplicate(connection, to, content, "in_flight", "unknown"):
            reason = _EARLIER[earlier["state"]].format(key=earlier["key"])
            raise UnknownOutcome(reason, to=mask(to), earlier=True)
        if deduplicate and (sent := outbox.find_duplicate(connection, to, content, "accepted")):
            message_id, at = sent["message_id"], sent["claimed_at"]
            accepted_at = datetime.fromtimestamp(at / 1e6, UTC) if at else None
            return Accepted(message_id, (message_id,), accepted_at, sent["rate_type"], sent["context"])
        key, ordinal = outbox.next_key(connection, None, to, content)
        row = {"key": key, "to": to, "rate_type": body["rateType"], "content": content, "ordinal": ordinal}
        url = body.get("overrides", {}).get("notificationCallbackUrl")
        row |= {"context": context, "callback_url": url, "state": "queued", "planned_at": outbox.now()}
        connection.execute(outbox.INSERT, [row])
        outbox.claim(connection, [key], service_id=body["from"])
        keys[:] = [key]
        return key

    def settle(self, sends: Iterable[SettledSend]) -> dict[str, SendOutcome]:
        """Store the outcomes of sends: key, outcome, request as it was sent, and response of each.

        Returns the outcomes by key; unknown if the response has the id of another send.
        """
        settled = list(sends)
        return self._database.settle(lambda connection: ingest.settle(connection, settled))

    @transaction
    def resolve(self, connection: Connection, keys: Iterable[str], *, resend: bool, reason: str) -> int:
        """Store a decision about unknown sends and return how many there were."""
        return outbox.resolve(connection, keys, resend=resend, reason=reason)

    @transaction
    def record(self, connection: Connection, kind: str, responses: Iterable[tuple[str, Response]]) -> dict[str, str]:
        """Store responses about messages by id; ``kind`` is status, events or message.

        Returns for each message what its response changed: ``changed``, ``unchanged``, ``expired`` (404: the server
        no longer has it), ``refused (status)``, or ``unreadable: …`` with the reason.
        """
        rows = [ingest.response_row(kind, message_id, response) for message_id, response in responses]
        ids = json.dumps([row["message_id"] for row in rows])
        known = set(connection.execute(ingest.DIGESTS, {"ids": ids}).scalars())
        unreadable = ingest.store(connection, rows)
        changes = {}
        for row in rows:
            status, digest = row["http_status"], row["digest"]
            change = "unchanged" if digest in known else "changed"
            if status in (404, 410) and is_unknown_message(row["body"]):
                change = "expired"
            elif not 200 <= status < 300:
                change = f"refused ({status})"
            elif reason := unreadable.get(digest):
                change = f"unreadable: {reason}"
            changes[row["message_id"]] = change
        return changes

    @transaction
    def record_callbacks(
        self, connection: Connection, callbacks: Iterable[Callback], beat: datetime | None = None, period: int = 0
    ) -> int:
        """Store callbacks; their rows are derived now, or later if many are pending.

        A heartbeat, ``beat``, extends a listening period to this time, or begins one; its id is returned.
        """
        ingest.store(connection, [ingest.callback_row(callback) for callback in callbacks], _DERIVED_WITH_CALLBACKS)
        return period if beat is None else ingest.extend_listening(connection, period, micros(beat))

    def reconnect(self) -> None:
        """Open the file again at the next transaction; it may have been replaced."""
        self._database.engine.dispose()

    @transaction
    def derive(self, connection: Connection, limit: int | None = None) -> int:
        """Derive the rows of at most ``limit`` pending raw records and return how many there were."""
        return len(ingest.derive_pending(connection, limit))

    def open_messages(self) -> list[str]:
        """Return the ids of messages that are not final and that the server still has, the oldest first."""
        return self._available(~tables.messages.c.final)

    def histories_to_fetch(self, *, include_final: bool = False) -> list[str]:
        """Return the ids of open messages, and of final ones whose history was not fetched since they became final.

        With ``include_final``, of all messages that the server still has.
        """
        message, event, raw = tables.messages.c, tables.events.c, tables.raw.c
        in_history = and_(event.message_id == message.message_id, event.source == "history", event.state.in_(FINAL))
        fetched = exists().where(
            and_(raw.message_id == message.message_id, raw.kind == "events", raw.http_status.between(200, 299)),
            and_(raw.unreadable.is_(None), raw.last_seen >= message.state_at),
        )
        unfetched = or_(~message.final, and_(~exists().where(in_history), ~fetched))
        return self._available(true() if include_final else unfetched)

    def _available(self, condition: ColumnElement[bool]) -> list[str]:
        message = tables.messages.c
        available = or_(message.gone_at.is_(None), message.gone_at <= message.observed_until)
        query = select(message.message_id, message.sent_at).where(condition, available)
        rows = self._database.fetch_table(query, tables.messages)
        return [row.message_id for row in sorted(rows, key=lambda row: row.sent_at or 0)]
