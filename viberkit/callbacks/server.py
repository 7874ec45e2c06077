"""An ASGI application served from a thread: the base of the sandbox and of the listener."""

from __future__ import annotations

import atexit
import errno
import functools
import socket
import sys
import threading
import time
from typing import Any, ClassVar, Self

import uvicorn
from starlette.types import ASGIApp

from viberkit.errors import ConfigurationError

#: Options of uvicorn: it writes no log and adds no headers of its own.
_OPTIONS: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "on", "log_config": None, "log_level": "critical"}
_OPTIONS |= {"access_log": False, "proxy_headers": False, "date_header": False, "server_header": False}


class ThreadServer:
    """Serves an application from a thread; port 0 selects a free port, which a restart uses again.

    While any server runs, the interpreter switches threads after 0.1 ms instead of 5 ms. Otherwise a computation that
    releases the interpreter's lock often, but briefly, would delay the responses by seconds.
    """

    _interval_lock = threading.Lock()
    _running: ClassVar[set[int]] = set()
    _default_interval_s: ClassVar[float] = 0.0

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, name: str, **options: Any) -> None:
        self.host, self.port = host, port
        self._configure = functools.partial(uvicorn.Config, app, **_OPTIONS | options)
        self._name, self._lock = name, threading.Lock()
        self._server: uvicorn.Server | None = None

    def start(self) -> Self:
        """Start the server, unless it runs.

        Returns
        -------
        Self
            This object.

        Raises
        ------
        ConfigurationError
            If the address cannot be used.
        """
        with self._lock:
            if self._server is None:
                listening = self._listen()
                self.port = listening.getsockname()[1]
                self._server = uvicorn.Server(self._configure())
                self._use_short_interval(True)
                run = functools.partial(self._server.run, sockets=[listening])
                self._thread = threading.Thread(target=run, name=self._name, daemon=True)
                self._thread.start()
                while not self._server.started and self._thread.is_alive():
                    time.sleep(0.001)
                atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Finish the responses in progress, and stop the server; :meth:`start` continues at the same address."""
        with self._lock:
            if self._server is not None:
                self._server.should_exit = True
                self._thread.join()
                self._server = None
                self._use_short_interval(False)
                atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listening = socket.create_server((self.host, self.port), family=family, backlog=1024)
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            reason = "is in use" if in_use else f"is not an address of this computer ({error.strerror})"
            remedy = "choose another port, or 0 for a free one" if in_use else "pass '127.0.0.1'"
            raise ConfigurationError(f"host, port: {self.host}:{self.port} {reason}; {remedy}") from None
        # Connections inherit this. Without it, the second packet of a response waits for an acknowledgement, 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening

    def _use_short_interval(self, running: bool) -> None:
        cls = ThreadServer
        with cls._interval_lock:
            if not cls._running:
                cls._default_interval_s = sys.getswitchinterval()
            (cls._running.add if running else cls._running.discard)(id(self))
            sys.setswitchinterval(min(cls._default_interval_s, 1e-4) if cls._running else cls._default_interval_s)
