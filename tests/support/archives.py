"""Rows that tests write to an archive as the client and the callback receiver do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.models.records import Response, SendOutcome

__all__ = ["record_callback", "record_sent"]


def record_callback(archive: vk.Archive, body: bytes, received_at: datetime) -> None:
    """Store one callback."""
    archive.recorder.record_callbacks([Callback(body, received_at)])


def record_sent(archive: vk.Archive, message_id: str, request: Mapping[str, Any], response: Response) -> None:
    """Store the response to a send that is not in the outbox, so that any request and id can be stored."""
    outcome = SendOutcome("accepted", message_id=message_id, http_status=response.status)
    archive.recorder.settle([("", outcome, request, response)])
