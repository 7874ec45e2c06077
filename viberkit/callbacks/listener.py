"""The receiver of callbacks: it answers when they are stored, and not before."""

from __future__ import annotations

import atexit
import errno
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from viberkit.api.settings import Secret, is_loopback, setting
from viberkit.archive.archive import Archive
from viberkit.callbacks.app import MAX_HEADERS, Door
from viberkit.callbacks.connection import guarded
from viberkit.callbacks.server import ThreadServer
from viberkit.callbacks.writer import GroupCommit
from viberkit.errors import ConfigurationError, Violation
from viberkit.models.callback import Callback
from viberkit.models.validation import EVENTS, callback_url_rule, callback_violations

if TYPE_CHECKING:
    from viberkit.api.client import Client

__all__ = ["Listener"]

DEADLINE_S = 10.0  #: a request must be here whole within this time
CONNECTIONS = 256


class Listener:
    """A server that receives callbacks and keeps each in an archive, durably, before it answers 204.

    What cannot be read is kept too (``archive.unreadable()``). What is not let in is counted in :attr:`refused`;
    what cannot be kept in time is answered 503, so that the provider calls again.

    ``secret`` is what the provider signs with (8 to 125 characters), or two of them while one is being changed, the new
    one first; ``header`` is a name and a value that every callback must carry. Without arguments they are taken from
    ``VIBERKIT_CALLBACK_SECRET``, ``VIBERKIT_CALLBACK_SECRET_OLD`` and ``VIBERKIT_CALLBACK_HEADER`` (``name: value``) in
    the environment or a ``.env`` file; ``secret=""`` asks for none. Without either, only this machine may call, by a
    name of its own and through no proxy. A signature older than ``window`` is kept and marked late. ``public_url`` is
    the https address by which the world reaches this listener; it needs a secret or a header. ``now`` is the clock
    (the sandbox's: ``lambda: sandbox.now``).

    The server runs in a thread until the ``with`` block ends, :meth:`stop` is called, or the interpreter exits. It
    answers while a cell computes, unless that holds Python's lock for seconds (a long call into C): for real use run
    ``viberkit listen``, a process of its own. Raises :class:`~viberkit.errors.ConfigurationError`.

    >>> import requests
    >>> with Archive("deliveries.db") as archive, Listener(archive) as listener:
    ...     told = {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": "2026-01-05T08:00:01.250Z"}
    ...     requests.post(listener.url, json=told).status_code
    ...     archive.events()[["message_id", "state", "source"]].values.tolist()
    204
    [['m', 'delivered', 'callback']]
    """

    def __init__(
        self,
        archive: Archive,
        *,
        secret: str | Sequence[str] | None = None,
        header: tuple[str, str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str = "/callbacks",
        public_url: str | None = None,
        window: timedelta = timedelta(minutes=5),
        now: Callable[[], datetime] | None = None,
    ) -> None:
        if not isinstance(archive, Archive):
            raise TypeError(f"archive: a {type(archive).__name__} is no archive; pass vk.Archive('deliveries.db')")
        self.archive, self.host, self.port, self.path = archive, host, port, path
        self.public_url = public_url
        self._secrets, self._header = _secrets(secret), _header(header)
        self._window, self._now = window, now or (lambda: datetime.now(UTC))
        self._check()
        self._life = threading.Lock()
        self._door = Door(self._keep, path, self._secrets, self._header, window, self._now)
        self._server: ThreadServer | None = None
        self._writer: GroupCommit | None = None

    def _check(self) -> None:
        """Everything wrong with what was asked for; neither a secret nor the header's value is quoted."""
        found: list[Violation] = []
        for secret in self._secrets:
            found += callback_violations(None, None, (), "2.13", secret, "HS256", None)
        found += callback_violations(None, None, (), "2.13", None, "HS256", self._header)
        if self.public_url is not None:
            found += callback_url_rule("public_url", self.public_url)
        if self._header and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", self._header[0]):
            found.append(Violation("header[0]", "", "is not the name of a header", "pass ('x-callback-token', '…')"))
        if self._header and not re.fullmatch(rb"[!-~]([ -~]*[!-~])?", self._header[1].encode()):
            rule = "holds what a header cannot carry: letters outside ASCII, or a blank at an end"
            found.append(Violation("header[1]", "", rule, "use plain letters, digits and signs"))
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", self.path):
            rule = "is not a plain path that begins with a slash"
            found.append(Violation("path", repr(self.path), rule, "pass e.g. '/callbacks'"))
        if type(self.port) is not int or not 0 <= self.port <= 65_535:
            found.append(Violation("port", repr(self.port), "is no port", "pass 0 for any that is free"))
        if not self.host or not isinstance(self.host, str):
            found.append(Violation("host", repr(self.host), "is no address", "pass '127.0.0.1', or '0.0.0.0' for all"))
        else:
            public = self.public_url or ("" if is_loopback(self.host) else self.host)
            if public and not self._secrets and not self._header:
                rule = "can be reached from elsewhere, so callbacks must prove themselves"
                remedy = "pass secret=… (or header=…), or set VIBERKIT_CALLBACK_SECRET"
                found.append(Violation("public_url" if self.public_url else "host", repr(public), rule, remedy))
        if not isinstance(self._window, timedelta) or self._window < timedelta(0):
            found.append(Violation("window", repr(self._window), "is no duration", "pass timedelta(minutes=5)"))
        if not callable(self._now) or self._now().tzinfo is None:
            found.append(Violation("now", "", "gives no instants with a zone", "pass lambda: datetime.now(UTC)"))
        if found:
            raise ConfigurationError("\n".join(dict.fromkeys(map(str, found))))

    def __repr__(self) -> str:
        life = f"{self.url!r}, {self.kept:,} kept" if self._server else "not started"
        return f"Listener({life}, {sum(self.refused.values()):,} turned away)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Listener holds a socket and a secret and is not pickled; make one in each process")

    # --- its life --------------------------------------------------------------------------------------

    def start(self) -> Listener:
        """Start listening, unless it does so already."""
        with self._life:
            if self._server is not None:
                return self
            self._writer = GroupCommit(self.archive)
            try:
                self._server = ThreadServer(
                    self._door,
                    self.port,
                    host=self.host,
                    name="viberkit-listener",
                    connection=guarded(deadline_s=DEADLINE_S, most=CONNECTIONS),
                    keep_alive_s=75,
                    header_bytes=MAX_HEADERS,
                    stop_within_s=10,
                )
            except OSError as fault:
                self._writer.close()
                taken = fault.errno == errno.EADDRINUSE
                why = "is in use" if taken else f"is no address of this computer ({fault.strerror})"
                remedy = "another listener may run; choose another port" if taken else "pass '127.0.0.1'"
                raise ConfigurationError(f"host, port: {self.host}:{self.port} {why}; {remedy}") from None
            self.port = self._server.port
            atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Answer what has come, make the rows of all that is kept, and stop; :meth:`start` goes on at this address."""
        with self._life:
            if self._server is None or self._writer is None:
                return
            self._server.stop()
            self._writer.close()
            self._server = self._writer = None
            atexit.unregister(self.stop)

    def __enter__(self) -> Listener:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def _keep(self, callback: Callback) -> None:
        assert self._writer is not None  # noqa: S101 - the server runs no longer than its writer
        await self._writer.keep(callback)

    # --- what it tells ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where callbacks are to go: the public address, or the one on this machine; starts the server for a port."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """The address on this machine, where a proxy or a tunnel passes callbacks on to."""
        if not self.port:
            self.start()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - an address to call
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"

    @property
    def kept(self) -> int:
        """How many callbacks were answered 204, those that came again included."""
        return self._door.kept

    @property
    def late(self) -> int:
        """How many of them were signed too long before they came."""
        return self._door.late

    @property
    def refused(self) -> Mapping[str, int]:
        """How many requests were turned away, by reason."""
        return dict(self._door.refused)

    def configure(self, client: Client, *, service_id: str | None = None, events: Sequence[str] = EVENTS) -> None:
        """Have the provider call here: for the account, or for one service id.

        All ``events`` are opted in to, since *accepted* and *dispatched* are needed to settle sends and to time the
        stages; with this listener's secret (the first of two) and header.
        """
        secret = self._secrets[0] if self._secrets else None
        client.account.configure_callbacks(
            self.url, events=events, secret=secret, header=self._header, service_id=service_id
        )


def _secrets(given: str | Sequence[str] | None) -> tuple[Secret, ...]:
    """The secrets to check with, the newest first."""
    if given is None:
        new, old = (setting(None, name) for name in ("VIBERKIT_CALLBACK_SECRET", "VIBERKIT_CALLBACK_SECRET_OLD"))
        if old and not new:
            raise ConfigurationError("VIBERKIT_CALLBACK_SECRET_OLD: is set alone; put the one in use into …_SECRET")
        given = [one for one in (new, old) if one]
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise ConfigurationError("secret: is neither a text nor a list of texts; pass a str, or [new, old]")
    return tuple(Secret(one) for one in listed if one)


def _header(given: tuple[str, str] | None) -> tuple[str, Secret] | None:
    """The header that every callback must carry."""
    if given is None:
        told = setting(None, "VIBERKIT_CALLBACK_HEADER")
        if not told:
            return None
        name, colon, value = told.partition(":")
        if not colon:
            raise ConfigurationError("VIBERKIT_CALLBACK_HEADER: holds no colon; write it as 'name: value'")
        given = name.strip(), value.strip()
    if not isinstance(given, tuple | list) or len(given) != 2 or not all(isinstance(one, str) for one in given):
        raise ConfigurationError("header: is not a name and a value; pass ('x-callback-token', '…')")
    return given[0], Secret(given[1])
