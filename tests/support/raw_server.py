"""A server of raw sockets, for responses that no HTTP library sends: late, doubled, early, endless."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable


class RawServer:
    """Runs a function for every connection in a thread of its own.

    ``accepted`` has the recipients by the ids that the server has given to completely received messages.
    """

    def __init__(self, serve: Callable[[RawServer, socket.socket], None]) -> None:
        self.accepted: dict[str, str] = {}
        self.connections = 0
        self._serve = serve
        self._ids = itertools.count()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError), connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(self, connection)

    def foreign(self) -> bytes:
        """The response to a message that nobody sent."""
        return accepted(f"foreign-{next(self._ids)}")

    def accept(self, body: bytes) -> bytes:
        """The response to a completely received message."""
        message_id = f"m-{next(self._ids)}"
        self.accepted[message_id] = json.loads(body)["to"]
        return accepted(message_id)


def accepted(message_id: str) -> bytes:
    return response(b'{"messageId": "%b"}' % message_id.encode(), status=b"202 Accepted")


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def read_head(connection: socket.socket) -> bytes:
    """The bytes of the headers, and what has arrived of the body; empty at the end of the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (part := connection.recv(65536)):
            return b""
        head += part
    return head


def read_request(connection: socket.socket) -> bytes | None:
    """The body of the next request; None at the end of the connection."""
    head, _, body = read_head(connection).partition(b"\r\n\r\n")
    if not head:
        return None
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
    while len(body) < length:
        if not (part := connection.recv(length - len(body))):
            return None
        body += part
    return body
