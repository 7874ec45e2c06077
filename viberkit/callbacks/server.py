"""An ASGI application served from a thread: the base of the sandbox and of the listener."""

from __future__ import annotations

import asyncio
import atexit
import errno
import functools
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Self

import uvicorn
from starlette.types import ASGIApp

from viberkit.errors import ConfigurationError

#: Options of uvicorn: it writes no log and adds no headers of its own. The event loop accepts `backlog` connections
#: at a time, and when it fails because of too many open files, tries as often without a pause.
_OPTIONS: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "on", "log_config": None, "log_level": "critical"}
_OPTIONS |= {"backlog": 1, "access_log": False, "proxy_headers": False, "date_header": False, "server_header": False}
_BACKLOG = 1024  # connections that wait to be accepted
#: Why an address cannot be used, and what to do, by the error number.
_REFUSED = {
    errno.EADDRINUSE: ("is in use", "choose another port, or 0 for a free one"),
    errno.EADDRNOTAVAIL: ("is not an address of this computer", "pass '127.0.0.1'"),
    errno.EACCES: ("is not permitted", "choose another port, above 1023"),
}

_log = logging.getLogger(__name__)


def is_logged(number: int) -> bool:
    """Whether to log an event of its kind: the 1st, 2nd, 4th, 8th, …, so that a flood does not fill the log."""
    return number & (number - 1) == 0


class ThreadServer:
    """Serves an application from a thread; port 0 selects a free port, which a restart uses again.

    When no connection can be accepted because too many files are open, ``_make_room`` is called.

    While any server runs, the interpreter switches threads after 0.1 ms instead of 5 ms. Otherwise a computation that
    releases the interpreter's lock often, but briefly, would delay the responses by seconds.
    """

    _interval_lock = threading.Lock()
    _running: ClassVar[set[int]] = set()
    _default_interval_s: ClassVar[float] = 0.0
    _make_room: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, name: str, **options: Any) -> None:
        self.host, self.port, self._failed_accepts = host, port, count(1)
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
                self._server = server = uvicorn.Server(self._configure())
                self._use_short_interval(True)
                run = functools.partial(asyncio.run, self._serve(server, listening))
                self._thread = threading.Thread(target=run, name=self._name, daemon=True)
                self._thread.start()
                while not self._server.started and self._thread.is_alive():
                    time.sleep(0.001)
                listening.listen(_BACKLOG)  # uvicorn has set that of its options
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

    async def _serve(self, server: uvicorn.Server, listening: socket.socket) -> None:
        asyncio.get_running_loop().set_exception_handler(self._handle_loop_error)
        await server.serve(sockets=[listening])

    def _handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "socket.accept" not in context["message"]:
            return loop.default_exception_handler(context)
        if is_logged(number := next(self._failed_accepts)):
            error = context["exception"].strerror
            _log.warning("%s could not accept a connection (%d so far): %s", self._name, number, error)
        return self._make_room()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            *_, address = socket.getaddrinfo(self.host, self.port, family, socket.SOCK_STREAM)[0]
            listening = socket.create_server(address, family=family, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            code, cause = getattr(error, "errno", None) or 0, getattr(error, "strerror", None) or error
            rule, remedy = _REFUSED.get(code, (f"cannot be used ({cause})", "check both"))
            raise ConfigurationError(f"host, port: {self.host}:{self.port} {rule}; {remedy}") from None
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
