"""The protocol between the client and an archive, so that neither imports the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from viberkit.models.records import Accepted, Response, SendOutcome


class Recorder(Protocol):
    """Stores sends and responses; each method is one durable transaction."""

    def begin(self, request: Mapping[str, Any], context: str | None, *, deduplicate: bool) -> str | Accepted:
        """Store a send as in flight before its first byte, and return its key; or an accepted earlier send."""

    def settle(
        self, sends: Iterable[tuple[str, SendOutcome, Mapping[str, Any], Response | None]]
    ) -> Mapping[str, SendOutcome]:
        """Store the outcomes of sends: key, outcome, request and response of each; return the outcomes by key.

        An accepted send whose response has the id of another send becomes unknown.
        """

    def record(self, kind: str, responses: Iterable[tuple[str, Response]]) -> dict[str, str]:
        """Store responses about messages by id; return per id: changed, unchanged, expired, refused or unreadable."""


class Recording(Protocol):
    """Anything with a recorder, such as an archive."""

    @property
    def recorder(self) -> Recorder:
        """The recorder."""
