"""Limits of the connections to the receiver, so that slow or silent clients cannot block the others."""

from __future__ import annotations

import asyncio
import logging
from itertools import count
from pathlib import Path

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from viberkit.callbacks.server import is_logged

_log = logging.getLogger("viberkit.callbacks.listener")


class _LimitedProtocol(H11Protocol):
    """Closes a connection whose request is incomplete at the deadline, and makes room when there are too many."""

    deadline_s: float
    max_connections: int
    closed: count[int]  #: how many connections were closed to make room
    #: Connections without a request in progress, the oldest first, and whether they ever sent a complete request.
    waiting: dict[_LimitedProtocol, bool]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        is_full = len(self.connections) > self.max_connections
        if is_full or _is_short_of_descriptors():
            self.make_room(default=self if is_full else None)
        if not transport.is_closing():
            self.waiting[self] = False
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._check_progress()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self.waiting[self] = True
            self._check_progress()

    def send_400_response(self, msg: str) -> None:
        """Reject what is not HTTP with an empty body, as all other responses of the receiver."""
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"")) or b"")
        self.transport.close()

    @classmethod
    def make_room(cls, default: _LimitedProtocol | None = None) -> None:
        """Close the oldest connection without a request in progress, or else the default."""
        if oldest := min(cls.waiting, key=cls.waiting.__getitem__, default=default):
            oldest.drop()
            if is_logged(number := next(cls.closed)):
                _log.warning("closed an idle connection to make room (%d so far): too many connections", number)

    def drop(self) -> None:
        """Close the connection at once."""
        self._forget()
        self.transport.abort()

    def _check_progress(self) -> None:
        """Set the deadline at the start of a request; cancel it when the request is complete."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget()
        elif self._deadline is None and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self._set_deadline()

    def _set_deadline(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self.deadline_s, self.drop)

    def _forget(self) -> None:
        self.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limited_protocol(*, deadline_s: float, max_connections: int) -> type[_LimitedProtocol]:
    """The protocol class of one server.

    A request must be complete `deadline_s` after its first byte (the first request: after the connection was made).
    When there are more than `max_connections`, or few file descriptors are left, the oldest connection without a
    complete request is closed, or else the oldest between two requests.
    """
    limits = {"deadline_s": deadline_s, "max_connections": max_connections, "waiting": {}, "closed": count(1)}
    return type("LimitedProtocol", (_LimitedProtocol,), limits)


def _is_short_of_descriptors() -> bool:
    """Whether few files can be opened, of which the archive needs some."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return limit != resource.RLIM_INFINITY and len([*Path("/dev/fd").iterdir()]) > limit - min(32, limit // 4)
    except OSError:  # not even this folder can be opened
        return True
