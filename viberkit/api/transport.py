"""HTTP requests to the API: the key hidden, failures classified, retries bounded.

Two facts decide whether a request may be repeated: whether any byte of it left this process, and what the
server answered. A request of which no byte left (connection refused, DNS, TLS) and a request answered with 429
were certainly not accepted. GET and PUT change nothing when repeated. Any other request is sent once.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import itertools
import json
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_auth_from_url, get_environ_proxies
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager
from urllib3.util.ssl_ import create_urllib3_context

from viberkit.api.settings import Redactor, Secret, hide_members, is_loopback
from viberkit.errors import ConfigurationError, TransportError, UnexpectedResponse, UnreadableRecord
from viberkit.models.parsing import error_from_response, parse, parse_http_date, retry_after_s
from viberkit.models.records import Response

log = logging.getLogger("viberkit")

RETRIED_STATUS = frozenset({429, 502, 503, 504})
REPEATABLE = frozenset({"GET", "PUT"})
_MAX_BYTES = 16 * 2**20  # of a response, unless it is a file
#: How long a paid request waits, before its last byte, for a response that comes too early: as long as connecting took,
#: and at least the first; the second once a response did come too early.
_GRACE_S, _LONG_GRACE_S = 0.03, 1.0
_CLOCK_TOLERANCE = timedelta(minutes=10)

T = TypeVar("T")


class RateLimiter:
    """Evenly spaced permits, shared by all threads.

    Parameters
    ----------
    per_second : float or None
        Permits per second; None for no limit.

    Raises
    ------
    ConfigurationError
        If `per_second` is not above 0.

    Examples
    --------
    >>> limiter = RateLimiter(None)
    >>> limiter.wait()
    """

    def __init__(self, per_second: float | None) -> None:
        if per_second is not None and not per_second > 0:
            raise ConfigurationError(f"per_second: {per_second!r} is not above 0; pass e.g. 20, or None for no limit")
        self._interval_s = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until the next permit."""
        with self._lock:
            now = time.monotonic()
            permit_at = max(now, self._next)
            self._next = permit_at + self._interval_s
        time.sleep(max(0.0, permit_at - now))


#: The attempt of this thread: until when (`deadline`) and of how many bytes (`bytes_left`) its response is read,
#: whether it is `paid`, where the `secrets` of its response go, and whether it is certain that no byte of it has left
#: the process (`nothing_sent`). Only one of our own connections that is still connecting proves that. With any other
#: connection (of a SOCKS proxy, or opened for an earlier request) the flag stays False, and the request counts as sent.
_attempt = threading.local()


class _BoundedReader(io.RawIOBase):
    """The bytes of a response, headers included, limited in number and time."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if time.monotonic() > _attempt.deadline:
            raise TimeoutError("timed out")
        size: int = self._raw.readinto(buffer)
        _attempt.bytes_left -= size
        if _attempt.bytes_left < 0:
            raise OSError(_TOO_LARGE)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        self.msg.defects.clear()  # urllib3 logs malformed headers with their text
        self.msg.set_payload("")


class _GuardedConnection:
    """A connection mixin that records when connecting and sending begin, and bounds the response.

    The last byte of a paid request is sent only if there is nothing to read: what came before it is not the response.
    """

    debuglevel = 0  # overrides http.client's global setting, which would print the key
    response_class = _BoundedResponse
    _connecting = False
    sock: Any
    timeout: Any

    def connect(self) -> None:
        _attempt.nothing_sent, self._connecting, began = True, True, time.monotonic()
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self._connecting = False
        if _attempt.grace_s:
            _attempt.grace_s = max(_attempt.grace_s, time.monotonic() - began)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._connecting:  # data sent to a proxy while connecting is not the request
            _attempt.nothing_sent = False
            if _attempt.paid and not data.startswith(b"POST "):
                super().send(data[:-1])  # type: ignore[misc]
                self.sock.settimeout(_attempt.grace_s)
                with contextlib.suppress(TimeoutError, BlockingIOError, ssl.SSLWantReadError):
                    if self.sock.recv(1):
                        raise OSError(_EARLY)
                self.sock.settimeout(self.timeout)
                data = data[-1:]
        super().send(data)  # type: ignore[misc]


def _guarded(pool: Any) -> Any:
    """A class of connection pools with guarded connections."""
    connection = type(f"Guarded{pool.ConnectionCls.__name__}", (_GuardedConnection, pool.ConnectionCls), {})
    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": connection})


_POOLS = {"http": _guarded(HTTPConnectionPool), "https": _guarded(HTTPSConnectionPool)}


@functools.cache  # reading the certificates takes 13 ms
def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


class _Adapter(HTTPAdapter):
    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, tls | ({"ssl_context": _tls_context()} if verify is True and host["scheme"] == "https" else {})

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the pool has the same settings, and would read all certificates for each connection."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        if type(manager) is ProxyManager:  # a SOCKS manager has its own connection classes, which observe nothing
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _KeyHeader(AuthBase):
    """Adds the key to each request at the last moment, so that no session holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["apikey"] = self._key
        return request


class Transport:
    """Sends requests to one address; thread-safe, with one persistent connection per thread.

    No redirect is followed: it would carry the key to another host. A POST has a connection of its own, so that no
    late response to another request can answer it. Responses are redacted before anything else reads them.

    Parameters
    ----------
    base_url : str
        Address of the API, as :func:`~viberkit.api.settings.check_base_url` returns it.
    key : Secret
        API key.
    timeout_s : tuple of float
        Seconds to wait for the connection, and between two bytes of the response.
    retry_for_s : float
        No attempt begins later than this many seconds after the first.
    """

    def __init__(self, base_url: str, key: Secret, *, timeout_s: tuple[float, float], retry_for_s: float) -> None:
        self.base_url, self.is_local = base_url, is_loopback(urlsplit(base_url).hostname or "")
        self.redactor = Redactor()
        self.redactor.add(key)
        with contextlib.suppress(ValueError):  # a malformed address, with which each request fails
            for proxy in get_environ_proxies(base_url).values():
                self.redactor.add(get_auth_from_url(proxy)[1])
        self._auth = _KeyHeader(key)
        self._timeout_s, self._retry_for_s = timeout_s, retry_for_s
        self._grace_s = _GRACE_S
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"Transport({vars(self).get('base_url')!r})"

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._sessions:
            self._sessions.pop().close()
        self._local = threading.local()

    def call(self, method: str, path: str, **options: Any) -> Response:
        """Send a request as :meth:`request` does, and raise :class:`~viberkit.errors.ApiError` unless it succeeds."""
        response = self.request(method, path, **options)
        if not response.ok:
            raise error_from_response(response, f"{method} {path}")
        return response

    def request(self, method: str, path: str, *, max_bytes: int = _MAX_BYTES, **options: Any) -> Response:
        """Send a request, and repeat it while that is certainly harmless and the time allows.

        Parameters
        ----------
        method : str
            HTTP method.
        path : str
            Path below the base address.
        max_bytes : int
            Size of the largest response that is read.
        **options
            ``json``, ``data``, ``params`` and ``headers``, as :meth:`requests.Session.request` takes them; ``secrets``,
            a dict, for a response with secrets of the account: it gets them by the path of their members, and the
            response has ``***`` in their place.

        Returns
        -------
        Response
            The last response, whatever its status.

        Raises
        ------
        TransportError
            If no response arrived.
        """
        _attempt.secrets, deadline = options.pop("secrets", None), time.monotonic() + self._retry_for_s
        for attempt in itertools.count(1):
            result = self._send_once(method, path, max_bytes, options)
            if not _may_repeat(method, result):
                break
            pause_s = _pause_s(attempt, result)
            if time.monotonic() + pause_s > deadline:
                break
            log.debug("%s %s: %s; attempt %d in %.1f s", method, path, result, attempt + 1, pause_s)
            time.sleep(pause_s)
        if not isinstance(result, Response):
            raise result
        return result

    def _send_once(self, method: str, path: str, max_bytes: int, options: dict[str, Any]) -> Response | BaseException:
        """Make one attempt.

        The exceptions of requests are described and dropped: they hold the request, and with it the key, in their
        attributes and in the frames of their tracebacks. The caller raises the description, or an interrupt.
        """
        session, url, reason = self._session(), self.base_url + path, ""
        if method == "POST":
            session.close()
        _attempt.deadline = time.monotonic() + self._timeout_s[1] * max_bytes / 2**21
        _attempt.bytes_left, _attempt.paid = max_bytes + 2**20, method == "POST" and "json" in options
        _attempt.nothing_sent, _attempt.grace_s = False, self._grace_s
        try:
            request = session.prepare_request(requests.Request(method, url, auth=self._auth, **options))
            send: Any = session.get_adapter(url).send  # session.send stores cookies, and reads where a redirect leads
            environment = session.merge_environment_settings
            with send(request, timeout=self._timeout_s, **environment(url, {}, True, None, None)) as response:
                result = self._convert(response, max_bytes)
            if result.status >= 200:
                return result
            reason = f"an interim response ({result.status}) without a final one"
        except Exception as error:  # noqa: BLE001 - whatever it is, it holds the request
            reason = _describe(error)
            if reason == _EARLY:
                self._grace_s = _LONG_GRACE_S
            _attempt.nothing_sent |= isinstance(error, InvalidURL | InvalidSchema | MissingSchema)
        except BaseException as error:  # noqa: BLE001 - the caller raises it again
            reason = "interrupted"
            return type(error)(*error.args)
        finally:
            if method == "POST" or reason:
                session.close()  # a late response on this connection must not answer the next request
        host = urlsplit(self.base_url).netloc
        return TransportError(f"{method} {path}: {reason} (host {host})", sent=not _attempt.nothing_sent)

    def _session(self) -> requests.Session:
        if self._pid != os.getpid():  # after a fork: the connections are the parent's, and not closed here either
            self._pid, self._inherited = os.getpid(), (self._sessions, self._local)
            self._sessions, self._local = [], threading.local()
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers.update({"Accept": "application/json", "User-Agent": "viberkit"})
            session.trust_env = not self.is_local
            for scheme in ("https://", "http://"):
                session.mount(scheme, _Adapter(max_retries=0))
            self._sessions.append(session)
        return session

    def _convert(self, response: requests.Response, max_bytes: int) -> Response:
        body = bytearray()
        for chunk in response.iter_content(2**16):
            body += chunk
            if len(body) > max_bytes:  # it was compressed
                raise OSError(_TOO_LARGE)
        text = "\n\0".join(part for header in response.headers.items() for part in header)
        parts = self.redactor(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape").split("\n\0")
        response.headers = type(response.headers)(zip(parts[::2], parts[1::2], strict=False))
        headers = {name.lower(): value for name, value in response.headers.items()}
        links = {name: str(link.get("url", "")) for name, link in response.links.items()}
        now = datetime.now(UTC)
        date = parse_http_date(headers.get("date")) or now
        if self.is_local and "x-viberkit-clock" in headers:  # a sandbox
            self._grace_s = 0.0
        elif abs(date - now) > _CLOCK_TOLERANCE:
            date = now
        shown = self.redactor(_hide_secrets(bytes(body), response.ok))
        return Response(response.status_code, shown, date, headers, links)


def _hide_secrets(body: bytes, ok: bool) -> bytes:
    """A body without the secrets in its JSON, if there may be some; one that is no JSON is shown only of an error."""
    if _attempt.secrets is None:
        return body
    with contextlib.suppress(UnreadableRecord, RecursionError):
        return json.dumps(hide_members(parse(body), _attempt.secrets)).encode()
    return b"***" if ok and body.strip() else body


_CERTIFICATE = "the server's certificate could not be verified"
_EARLY = "the server responded before the request was complete"
_TOO_LARGE = "the response is too large"
#: Texts in the exceptions of requests, urllib3 and the socket module, and what they mean.
_REASONS = {
    "certificate": _CERTIFICATE,
    "resolve": "the host name could not be resolved (DNS)",
    "refused": "the connection was refused",
    "connect timeout": "connecting timed out",
    "timed out": "no response in time",
    "ssl": "the TLS connection failed",
    "reset": "the connection was reset",
    "closed connection without response": "the connection was closed without a response",
    "incomplete": "the response ended early",
    _EARLY: _EARLY,
    _TOO_LARGE: f"{_TOO_LARGE}: more than {_MAX_BYTES // 2**20} MB, or 256 MB of a file",
}


def _describe(error: Exception) -> str:
    """What went wrong, without the request."""
    text = str(error).lower()
    matches = (reason for sign, reason in _REASONS.items() if sign in text)
    return next(matches, f"the connection failed ({type(error).__name__})")


def _may_repeat(method: str, result: Response | BaseException) -> bool:
    """Whether a request may be sent again: only where it was certainly not accepted, or changes nothing."""
    if isinstance(result, TransportError):
        is_final = _CERTIFICATE in str(result) or _TOO_LARGE in str(result)
        return (method in REPEATABLE or not result.sent) and not is_final
    retried = RETRIED_STATUS if method in REPEATABLE else {429}
    return isinstance(result, Response) and result.status in retried


def _pause_s(attempt: int, result: Response | BaseException) -> float:
    """Seconds before the next attempt: the server's Retry-After, and a jitter that doubles, at most 20 s."""
    requested_s = retry_after_s(result) if isinstance(result, Response) else None
    jitter_s = random.uniform(0.02, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - no secret depends on it
    return (requested_s or 0.0) + jitter_s


def path_within(base_url: str, link: str) -> str:
    """A link's path below the API's address, or an empty text where it leads elsewhere.

    >>> path_within("https://api.example.org/v3", "/v3/media?page=2")
    '/media?page=2'
    >>> path_within("https://api.example.org/v3", "//example.com")
    ''
    """
    url = urljoin(base_url + "/", link)
    leads_elsewhere = not link or not url.startswith(base_url + "/") or "/." in unquote(url)
    return "" if leads_elsewhere else url.removeprefix(base_url)


def read_body(reader: Callable[[Any], T], response: Response) -> T:
    """The body of a successful response as a record, or :class:`~viberkit.errors.UnexpectedResponse`."""
    try:
        return reader(parse(response.body))
    except UnreadableRecord as error:
        raise UnexpectedResponse(response.status, "the response could not be read", str(error)) from None
