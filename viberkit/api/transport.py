"""HTTP requests to the API: the key hidden, failures classified, retries bounded.

Two facts decide whether a request may be repeated: whether any byte of it left this process, and what the
server answered. A request of which no byte left (connection refused, DNS, TLS) and a request answered with 429
were certainly not accepted. GET and PUT change nothing when repeated. Any other request is sent once.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from viberkit.api.settings import Secret, check_base_url, is_loopback
from viberkit.errors import ConfigurationError, TransportError, UnexpectedResponse, UnreadableRecord
from viberkit.models.parsing import error_from_response, parse, parse_http_date, retry_after_s
from viberkit.models.records import Response

log = logging.getLogger("viberkit")

RETRIED_STATUS = frozenset({429, 502, 503, 504})
REPEATABLE = frozenset({"GET", "PUT"})

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


#: Whether it is certain that no byte of this thread's current request has left the process (`nothing_sent`).
#: Only one of our own connections that is still connecting proves it. With any other connection (of a SOCKS proxy, or
#: opened for an earlier request) the flag stays False, and the request counts as sent.
_send_state = threading.local()


class _SendDetector:
    """A connection mixin that records when connecting begins and when the first byte of a request is sent."""

    debuglevel = 0  # overrides http.client's global setting, which would print the key
    _connecting = False
    sock: Any

    def connect(self) -> None:
        _send_state.nothing_sent, self._connecting = True, True
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self._connecting = False

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._connecting:  # data sent to a proxy while connecting is not the request
            _send_state.nothing_sent = False
        super().send(data)  # type: ignore[misc]


def _with_detector(pool: Any) -> Any:
    """A class of connection pools whose connections have the detector."""
    connection = type(f"Detecting{pool.ConnectionCls.__name__}", (_SendDetector, pool.ConnectionCls), {})
    return type(f"Detecting{pool.__name__}", (pool,), {"ConnectionCls": connection})


_POOLS = {"http": _with_detector(HTTPConnectionPool), "https": _with_detector(HTTPSConnectionPool)}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        if type(manager) is ProxyManager:  # a SOCKS manager has its own connection classes, which detect nothing
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _KeyHeader(AuthBase):
    """Adds the key to each request at the last moment, so that no session holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["apikey"] = self._key
        return request

    def redact(self, body: bytes) -> bytes:
        """An error body without the key, in case the server echoes it."""
        return body.replace(self._key.encode(), b"***") if len(self._key) > 7 else body


class Transport:
    """Sends requests to one address; thread-safe, with one persistent connection per thread.

    No redirect is followed: it would carry the key to another host.

    Parameters
    ----------
    base_url : str
        Address of the API; https, or http on loopback.
    key : Secret
        API key.
    timeout_s : tuple of float
        Seconds to wait for the connection, and between two bytes of the response.
    retry_for_s : float
        No attempt begins later than this many seconds after the first.
    """

    def __init__(self, base_url: str, key: Secret, *, timeout_s: tuple[float, float], retry_for_s: float) -> None:
        self.base_url = check_base_url(base_url)
        self._host = urlsplit(self.base_url).netloc
        self._auth = _KeyHeader(key)
        self._timeout_s, self._retry_for_s = timeout_s, retry_for_s
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

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

    def request(self, method: str, path: str, **options: Any) -> Response:
        """Send a request, and repeat it while that is certainly harmless and the time allows.

        Parameters
        ----------
        method : str
            HTTP method.
        path : str
            Path below the base address.
        **options
            ``json``, ``data``, ``params`` and ``headers``, as :meth:`requests.Session.request` takes them.

        Returns
        -------
        Response
            The last response, whatever its status.

        Raises
        ------
        TransportError
            If no response arrived.
        """
        deadline = time.monotonic() + self._retry_for_s
        for attempt in itertools.count(1):
            result = self._send_once(method, path, options)
            if not _may_repeat(method, result):
                break
            pause_s = _pause_s(attempt, result)
            if time.monotonic() + pause_s > deadline:
                break
            log.debug("%s %s: %s; attempt %d in %.1f s", method, path, result, attempt + 1, pause_s)
            time.sleep(pause_s)
        if isinstance(result, TransportError):
            raise result
        return result

    def _send_once(self, method: str, path: str, options: dict[str, Any]) -> Response | TransportError:
        """Make one attempt.

        The exceptions of requests are described and dropped: they hold the request, and with it the key, in their
        attributes and in the frames of their tracebacks. The caller raises the description.
        """
        _send_state.nothing_sent = False
        interrupt: BaseException | None = None
        reason = ""
        try:
            response = self._session().request(
                method, self.base_url + path, **options, auth=self._auth, timeout=self._timeout_s, allow_redirects=False
            )
            if response.status_code >= 200:
                return self._convert(response)
            reason = f"an interim response ({response.status_code}) without a final one"
        except (InvalidURL, InvalidSchema, MissingSchema) as error:
            _send_state.nothing_sent, reason = True, _describe(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it holds the request
            reason = _describe(error)
        except BaseException as error:  # noqa: BLE001 - raised again below, without the frames that hold the key
            interrupt = type(error)(*error.args)
        self._session().close()  # a late response on this connection must not answer the next request
        if interrupt is not None:
            raise interrupt
        return TransportError(f"{method} {path}: {reason} (host {self._host})", sent=not _send_state.nothing_sent)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.headers.update({"Accept": "application/json", "User-Agent": "viberkit"})
            session.trust_env = not is_loopback(urlsplit(self.base_url).hostname or "")
            for scheme in ("https://", "http://"):
                session.mount(scheme, _Adapter(max_retries=0))
            self._sessions.append(session)
        return session

    def _convert(self, response: requests.Response) -> Response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        observed_at = parse_http_date(headers.get("date")) or datetime.now(UTC)
        links = {name: str(link.get("url", "")) for name, link in response.links.items()}
        body = response.content if response.ok else self._auth.redact(response.content)
        return Response(response.status_code, body, observed_at, headers, links)


_CERTIFICATE = "the server's certificate could not be verified"
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
}


def _describe(error: Exception) -> str:
    """What went wrong, without the request."""
    text = str(error).lower()
    matches = (reason for sign, reason in _REASONS.items() if sign in text)
    return next(matches, f"the connection failed ({type(error).__name__})")


def _may_repeat(method: str, result: Response | TransportError) -> bool:
    """Whether a request may be sent again: only where it was certainly not accepted, or changes nothing."""
    if isinstance(result, TransportError):
        return (method in REPEATABLE or not result.sent) and _CERTIFICATE not in str(result)
    return result.status == 429 or (result.status in RETRIED_STATUS and method in REPEATABLE)


def _pause_s(attempt: int, result: Response | TransportError) -> float:
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
    if not link:
        return ""
    url = urljoin(base_url + "/", link)
    same_host = urlsplit(url)[:2] == urlsplit(base_url)[:2]
    return url.removeprefix(base_url) if same_host and url.startswith(base_url + "/") else ""


def read_body(reader: Callable[[Any], T], response: Response) -> T:
    """The body of a successful response as a record, or :class:`~viberkit.errors.UnexpectedResponse`."""
    try:
        return reader(parse(response.body))
    except UnreadableRecord as error:
        raise UnexpectedResponse(response.status, "the response could not be read", str(error)) from None
