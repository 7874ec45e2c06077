"""The receiver of callbacks: it responds when a callback is stored, and not before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from starlette.routing import Router

from viberkit.api.client import Client
from viberkit.api.settings import Secret, hide, is_loopback, setting
from viberkit.archive.archive import Archive
from viberkit.callbacks.app import MAX_HEADERS, CallbackApp
from viberkit.callbacks.connection import limited_protocol
from viberkit.callbacks.server import ThreadServer
from viberkit.callbacks.writer import GroupCommit
from viberkit.errors import ConfigurationError, Violation
from viberkit.models.html import facts_table
from viberkit.models.validation import EVENTS, callback_url_rule, secret_rules

REQUEST_DEADLINE_S = 10.0
MAX_CONNECTIONS = 256
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


class Listener(ThreadServer):
    """A server that receives callbacks and stores each of them in an archive before it responds with 204.

    The server runs in a thread from :meth:`start`, or the beginning of the ``with`` block, until :meth:`stop`, the end
    of the block, or the end of the interpreter.

    Parameters
    ----------
    archive : Archive
        Where callbacks are stored.
    secret : str or sequence of str, optional
        Secret with which the provider signs, 8 to 125 characters; while the secret is being replaced a list of two, the
        new one first.
        By default it is read from ``VIBERKIT_CALLBACK_SECRET`` and ``VIBERKIT_CALLBACK_SECRET_OLD`` in the environment
        or a ``.env`` file. With ``""``, signatures are not checked.
    header : tuple of str, optional
        Name and value of a header that every callback must carry. By default it is read from
        ``VIBERKIT_CALLBACK_HEADER`` (``name: value``).
    host : str, default "127.0.0.1"
        Address to listen on.
    port : int, default 0
        Port to listen on; 0 selects a free port.
    path : str, default "/callbacks"
        Path of the callbacks; all other paths are answered with 404.
    public_url : str, optional
        Public https URL that leads to this listener. It requires a secret or a header.
    window : timedelta, default 5 minutes
        Largest difference between the time of a signature and its arrival. Other callbacks, and those whose time cannot
        be read, are stored and marked late.
    now : callable, optional
        Clock that returns a datetime with a time zone, such as ``lambda: sandbox.now``; by default the system's.

    Attributes
    ----------
    archive : Archive
        Where callbacks are stored.
    host, path : str
        As passed.
    port : int
        The port; after the start, the selected one.
    public_url : str or None
        As passed.

    Raises
    ------
    ConfigurationError
        If an argument or a setting is not valid; the error quotes neither a secret nor the header's value.
    TypeError
        If `archive` is not an Archive.

    Notes
    -----
    A callback is committed to the archive, and the commit is synced to disk, before the provider gets a 2xx response.
    A callback that cannot be stored within 4.5 seconds is answered with 503, and the provider repeats it. A callback
    that cannot be read is stored as well, see :meth:`Archive.unreadable`.

    While the listener can store callbacks, it stores a heartbeat every 10 seconds: :meth:`Archive.listening` shows
    when it ran. A message is observed until the last heartbeat, not until its last callback.

    Without a secret and a header, only this computer may call, by a loopback name and not through a proxy, and at most
    256 MiB are stored: other callbacks are answered with 507, and counted in :attr:`rejected`.

    The server responds while a cell computes, unless the computation holds the interpreter's lock for seconds (a long
    call into C). In production, run ``viberkit listen``, a process of its own.

    Examples
    --------
    >>> import requests
    >>> callback = {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": "2026-01-05T08:00:01.250Z"}
    >>> with vk.Archive("deliveries.db") as archive, vk.Listener(archive) as listener:
    ...     requests.post(listener.url, json=callback).status_code
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
        secret, header = hide(secret), hide(header)  # before anything can fail
        if not isinstance(archive, Archive):
            raise TypeError(f"archive: is a {type(archive).__name__}; pass vk.Archive('deliveries.db')")
        self.archive, self.path, self.public_url = archive, path, public_url
        self._secrets, self._header = _read_secrets(secret), _read_header(header)
        now = now or (lambda: datetime.now(UTC))
        self._check(host, port, window, now)
        writer = GroupCommit(archive, now)
        self._app = CallbackApp(writer.store, path, self._secrets, self._header, window, now)
        http = limited_protocol(deadline_s=REQUEST_DEADLINE_S, max_connections=MAX_CONNECTIONS)
        router, name = Router(default=self._app, lifespan=writer.lifespan), "viberkit-listener"
        limits = {"timeout_keep_alive": 75, "h11_max_incomplete_event_size": MAX_HEADERS}
        super().__init__(router, host=host, port=port, name=name, http=http, timeout_graceful_shutdown=10, **limits)
        self._make_room = http.make_room

    def _check(self, host: object, port: object, window: object, now: object) -> None:
        violations = [*callback_url_rule("public_url", self.public_url)]
        for secret in self._secrets or (None,):
            violations += secret_rules(secret, self._header)
        name, value = self._header or ("x-unused", "unused")
        is_path = isinstance(self.path, str) and re.fullmatch(r"/[A-Za-z0-9._~/-]*", self.path)
        path_rule = "is not a plain path that begins with a slash"
        value_rule = "contains characters that are not allowed in a header, or begins or ends with a space"
        is_name, is_value = _HEADER_NAME.fullmatch(name), bool(_HEADER_VALUE.fullmatch(value))  # a match would show it
        is_window = isinstance(window, timedelta) and window >= timedelta(0)
        is_clock, clock_rule = callable(now) and now().tzinfo, "does not return datetimes with a time zone"
        is_host = isinstance(host, str) and host
        needs_origin = is_host and not self._secrets and not self._header
        is_local = self.public_url or is_loopback(str(host))
        origin_rule = "can be reached from other computers, so callbacks must be authenticated"
        origin_remedy = "pass secret=… (or header=…), or set VIBERKIT_CALLBACK_SECRET"
        checks: list[tuple[object, str, str, str, str]] = [
            (is_name, "header[0]", "", "is not the name of a header", "pass ('x-callback-token', '…')"),
            (is_value, "header[1]", "", value_rule, "use ASCII letters, digits and punctuation"),
            (is_path, "path", repr(self.path), path_rule, "pass e.g. '/callbacks'"),
            (type(port) is int and 0 <= port <= 65_535, "port", repr(port), "is not a port", "pass 0 for a free port"),
            (is_window, "window", repr(window), "is not a duration", "pass timedelta(minutes=5)"),
            (is_clock, "now", "", clock_rule, "pass lambda: datetime.now(UTC)"),
            (is_host, "host", repr(host), "is not an address", "pass '127.0.0.1', or '0.0.0.0' for all"),
            (not (needs_origin and self.public_url), "public_url", repr(self.public_url), origin_rule, origin_remedy),
            (not needs_origin or is_local, "host", repr(host), origin_rule, origin_remedy),
        ]
        violations += [Violation(*details) for is_valid, *details in checks if not is_valid]
        if violations:
            raise ConfigurationError("\n".join(dict.fromkeys(map(str, violations))))

    def __repr__(self) -> str:
        if "_server" not in vars(self):
            return "Listener(invalid)"
        status = f"{self.url!r}, {self.stored:,} stored" if self._server else "not started"
        return f"Listener({status}, {sum(self.rejected.values()):,} rejected)"

    def _repr_html_(self) -> str:
        if "_server" not in vars(self):
            return facts_table(repr(self), {})
        facts = {"URL": self.url if self._server else "not started", "stored": self.stored}
        return facts_table("Listener", {**facts, "rejected": sum(self.rejected.values())})

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Listener holds a socket and a secret and cannot be pickled; create one in each process")

    @property
    def url(self) -> str:
        """URL for callbacks: the public one, else the local one."""
        return self.public_url or self.local_url

    @property
    def local_url(self) -> str:
        """URL on this computer, to which a proxy or a tunnel forwards; starts the server if the port is not known."""
        if not self.port:
            self.start()
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - an address to call
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}{self.path}"

    @property
    def stored(self) -> int:
        """Number of callbacks answered with 204, repetitions included."""
        return self._app.stored

    @property
    def late(self) -> int:
        """Number of stored callbacks whose signature was older than the window, or whose time could not be read."""
        return self._app.late

    @property
    def rejected(self) -> Mapping[str, int]:
        """Number of rejected requests by reason."""
        return dict(self._app.rejected)

    def configure(self, client: Client, *, service_id: str | None = None, events: Sequence[str] = EVENTS) -> None:
        """Configure the provider to call this listener.

        The first secret and the header of this listener are part of the configuration; other parts remain as they are.

        Parameters
        ----------
        client : Client
            Client of the account.
        service_id : str, optional
            Service id whose callbacks are configured; by default those of the account.
        events : sequence of str, default all
            Events to receive, such as ``"delivered"``. *accepted* and *dispatched* are needed to settle sends of
            unknown outcome and to measure each transition.

        Warns
        -----
        UserWarning
            If the server refuses some of the events, and the others were set.
        """
        secret = self._secrets[0] if self._secrets else None
        client.account.configure_callbacks(
            self.url, events=events, secret=secret, header=self._header, service_id=service_id
        )


def _read_secrets(secret: str | Sequence[str] | None) -> tuple[Secret, ...]:
    """The secrets, the newest first, from the argument or the settings."""
    if secret is None:
        new, old = (hide(setting(None, name)) for name in ("VIBERKIT_CALLBACK_SECRET", "VIBERKIT_CALLBACK_SECRET_OLD"))
        if old and not new:
            raise ConfigurationError("VIBERKIT_CALLBACK_SECRET_OLD: is set alone; set VIBERKIT_CALLBACK_SECRET too")
        secret = [new or "", old or ""]
    secrets = [secret] if isinstance(secret, str) else secret
    if not isinstance(secrets, list | tuple) or not all(isinstance(entry, str) for entry in secrets):
        raise ConfigurationError("secret: is neither a text nor a list of texts; pass a str, or [new, old]")
    return tuple(Secret(entry) for entry in secrets if entry)


def _read_header(header: tuple[str, str] | None) -> tuple[str, Secret] | None:
    """The header that every callback must carry, from the argument or the settings."""
    if header is None:
        text = hide(setting(None, "VIBERKIT_CALLBACK_HEADER"))
        if not text:
            return None
        if ":" not in text:
            raise ConfigurationError("VIBERKIT_CALLBACK_HEADER: contains no colon; write it as 'name: value'")
        header = hide([part.strip() for part in text.split(":", 1)])
    if not isinstance(header, tuple | list) or len(header) != 2 or not all(isinstance(part, str) for part in header):
        raise ConfigurationError("header: is not a name and a value; pass ('x-callback-token', '…')")
    return header[0], Secret(header[1])
