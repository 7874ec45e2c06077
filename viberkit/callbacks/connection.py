"""A connection that nobody can hold on to: a whole request within a deadline, and not too many at once."""

from __future__ import annotations

import asyncio

import h11

from viberkit.callbacks.server import Connection

__all__ = ["guarded"]


class _Guarded(Connection):
    """Closes itself when a request has not arrived whole in time, and makes room when there are too many."""

    deadline_s: float
    most: int
    #: Those that have never sent a whole request, and those that are between two; the oldest first.
    fresh: dict[_Guarded, None]
    idle: dict[_Guarded, None]
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.fresh[self] = None
        self._arm()
        if len(self.connections) > self.most:  # the newest is the last of the fresh, so there always is one
            next(iter(self.fresh)).drop() if len(self.fresh) > 1 or not self.idle else next(iter(self.idle)).drop()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._leave()
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self.idle[self] = None
            self._look()

    def send_400_response(self, msg: str) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        if self.conn.our_state is h11.SEND_RESPONSE or self.conn.our_state is h11.IDLE:
            self.transport.write(self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"")) or b"")
        self.transport.close()

    def drop(self) -> None:
        """Close at once."""
        self._leave()
        self.transport.abort()

    def _look(self) -> None:
        """Whether a request is here whole, has begun, or is still to come."""
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._leave()
        elif self._timer is None and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self._arm()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.deadline_s, self.drop)

    def _leave(self) -> None:
        self.fresh.pop(self, None)
        self.idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def guarded(*, deadline_s: float, most: int) -> type[Connection]:
    """The connections of one server: each request within ``deadline_s`` of its first byte (of the connection's
    beginning, for the first), at most ``most`` of them; when one more comes, the oldest that has never sent a whole
    request goes, else the oldest that is between two."""
    return type("Guarded", (_Guarded,), {"deadline_s": deadline_s, "most": most, "fresh": {}, "idle": {}})
