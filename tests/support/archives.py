"""Rows that tests write to an archive as the client and the callback receiver do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, create_engine, text

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.models.records import Response, SendOutcome

__all__ = ["execute", "record_callback", "record_sent", "url_of"]


def record_callback(archive: vk.Archive, body: bytes, received_at: datetime) -> None:
    """Store one callback."""
    archive.recorder.record_callbacks([Callback(body, received_at)])


def record_sent(archive: vk.Archive, message_id: str, request: Mapping[str, Any], response: Response) -> None:
    """Store the response to a send that is not in the outbox, so that any request and id can be stored."""
    outcome = SendOutcome("accepted", message_id=message_id, http_status=response.status)
    archive.recorder.settle([("", outcome, request, response)])


def url_of(archive: vk.Archive) -> str:
    """The path or URL with which another process opens an archive."""
    return str(archive.path) if archive.path else archive._database._url.encode().decode()  # type: ignore[attr-defined]


def execute(archive: str | Path, command: str, **values: Any) -> list[tuple[Any, ...]]:
    """Execute a command in the database of an archive, and return the rows."""
    url = str(archive).replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url if "://" in url else f"sqlite:///{url}", poolclass=NullPool)
    with engine.begin() as connection:
        result = connection.execute(text(command), values)
        return [tuple(row) for row in result] if result.returns_rows else []
