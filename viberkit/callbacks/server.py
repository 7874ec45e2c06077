"""An ASGI application served from a thread of its own: the sandbox's, and the receiver's of callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import sys
import threading
import time

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection", "ThreadServer", "hang_up"]


class _Turns:
    """While servers run beside a computing cell, threads take turns after 0.1 ms instead of Python's 5 ms.

    A thread that waits for Python's lock asks for it only when nobody let go of it meanwhile; a cell that lets go for
    a moment every millisecond (any small read does) keeps it for seconds otherwise.
    """

    def __init__(self) -> None:
        self._lock, self._servers, self._before = threading.Lock(), 0, 0.0

    def begin(self) -> None:
        """One server more."""
        with self._lock:
            if self._servers == 0:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, 1e-4))
            self._servers += 1

    def end(self) -> None:
        """One server less; after the last, Python is as it was."""
        with self._lock:
            self._servers -= 1
            if self._servers == 0:
                sys.setswitchinterval(self._before)


_turns = _Turns()


class Connection(H11Protocol):
    """uvicorn's connection, which hands its transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        # Head and body are two writes; without this, the second waits 40 ms for the client's acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["transport"] = transport
            await app(scope, receive, send)

        self.app = with_transport


class ThreadServer:
    """Serves from its making until :meth:`stop`; ``port`` 0 takes any that is free.

    Raises ``OSError`` where the address cannot be used.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        name: str,
        connection: type[Connection] = Connection,
        keep_alive_s: int = 600,
        header_bytes: int = 65_536,
        stop_within_s: int = 1,
    ) -> None:
        listening = socket.create_server((host, port), family=_family(host), backlog=1024)
        self.port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=stop_within_s,
            h11_max_incomplete_event_size=header_bytes,
        )
        self._server = uvicorn.Server(config)
        _turns.begin()
        self._thread = threading.Thread(target=self._run, args=[listening], name=name, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.001)

    def _run(self, listening: socket.socket) -> None:
        with contextlib.closing(listening):
            self._server.run(sockets=[listening])

    def stop(self) -> None:
        """Let what is being answered end, then close all connections and the socket."""
        self._server.should_exit = True
        self._thread.join()
        _turns.end()


def _family(host: str) -> socket.AddressFamily:
    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return socket.AF_INET


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request without an answer."""
    scope["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass
