"""What the archive does around a send: a row in the outbox before it, the answer and what became of it after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from viberkit.archive import outbox
from viberkit.archive.derive import micros
from viberkit.archive.ingest import answer_row, derive, write_raw
from viberkit.errors import UnknownOutcome
from viberkit.models.keys import canonical_json, make_key
from viberkit.models.phone import mask
from viberkit.models.records import PreviousSend, Response, SendOutcome

__all__ = ["SendRecorder", "settle"]


_HELD = (
    "the same content is {} to this recipient since an earlier send, so nothing was sent now; wait for a callback, "
    "or decide with archive.resolve(['{}'], 'resend' or 'abandon', reason=…)"
)


class SendRecorder:
    """The outbox of an archive, as the client and campaigns use it; every method is one durable transaction."""

    def __init__(
        self,
        write: Callable[[], AbstractContextManager[Connection]],
        record: Callable[[str, Iterable[tuple[str, Response]]], dict[str, str]],
    ) -> None:
        self._write, self.record = write, record

    def begin(self, request: Mapping[str, Any], context: str | None, *, deduplicate: bool) -> str | PreviousSend:
        """Put a single send in and claim it; gives its key, to go out as the head of the context.

        Raises :class:`~viberkit.errors.UnknownOutcome` while it is not known what became of the same message to the
        same recipient. With ``deduplicate``, one that was accepted before is given instead.
        """
        to = request["to"]
        content = canonical_json(request.get("content", request.get("messages")))
        with self._write() as connection:
            now = _now()
            outbox.orphans(connection, now)
            if held := outbox.twin(connection, to, content, "in_flight", "unknown"):
                raise UnknownOutcome(_HELD.format(held["state"].replace("_", " "), held["key"]), to=mask(to))
            if deduplicate and (sent := outbox.twin(connection, to, content, "accepted")):
                at = sent["claimed_at"]
                return PreviousSend(sent["message_id"], datetime.fromtimestamp(at / 1e6, UTC) if at else None)
            ordinal = outbox.next_ordinal(connection, None, to, content)
            key = make_key(None, to, content, ordinal, outbox.salt(connection))
            row = {"key": key, "to": to, "rate_type": request["rateType"], "content": content, "ordinal": ordinal}
            url = request.get("overrides", {}).get("notificationCallbackUrl")
            row |= {"context": context, "callback_url": url, "state": "queued", "planned_at": now}
            outbox.enter(connection, [row])
            outbox.claim(connection, [key], service_id=request["from"], now=now)
        return key

    def settle(self, told: Iterable[tuple[str, SendOutcome, Mapping[str, Any], Response | None]]) -> None:
        """Keep what became of sends: of each its key, its outcome, the request as it went out, and the answer."""
        told = list(told)
        with self._write() as connection:
            settle(connection, told)

    def resolve(self, keys: Sequence[str], *, resend: bool, reason: str) -> int:
        """A person's decision on unknown sends; gives how many there were."""
        with self._write() as connection:
            return outbox.resolve(connection, keys, resend=resend, reason=reason, now=_now())


def settle(connection: Connection, told: Sequence[tuple[str, SendOutcome, Mapping[str, Any], Response | None]]) -> None:
    """As :meth:`SendRecorder.settle`, within a transaction of the caller's."""
    outbox.settle(connection, {key: outcome for key, outcome, *_ in told}, _now())
    rows = []
    for _, outcome, request, answer in told:
        if outcome.state == "accepted" and answer is not None and outcome.message_id:
            wired = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
            rows.append(answer_row("bulk" if "messages" in request else "send", outcome.message_id, answer, wired))
    if rows:
        write_raw(connection, rows)
        derive(connection)


def _now() -> int:
    return micros(datetime.now(UTC))
