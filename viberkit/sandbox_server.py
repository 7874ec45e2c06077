"""An ASGI application served on loopback from a thread of its own; the application may hang up without an answer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["LoopbackServer", "hang_up"]


class LoopbackServer:
    """Serves from its making until :meth:`stop`; ``port`` 0 takes any that is free."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        listening = socket.create_server(("127.0.0.1", port))
        self.port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=600,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, args=[listening], name="viberkit-sandbox", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.001)

    def _run(self, listening: socket.socket) -> None:
        with contextlib.closing(listening):
            self._server.run(sockets=[listening])

    def stop(self) -> None:
        """Close all connections and the socket."""
        self._server.should_exit = True
        self._thread.join()


class _Connection(H11Protocol):
    """uvicorn's connection, which hands its transport to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body are two writes; without this, the second waits 40 ms for the client's acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        app = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope["transport"] = transport
            await app(scope, receive, send)

        self.app = with_transport


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection of a request without an answer."""
    scope["transport"].abort()
    while (await receive())["type"] != "http.disconnect":
        pass
