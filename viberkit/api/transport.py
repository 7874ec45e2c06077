"""One request to the API and its answer: the key kept out of sight, faults told apart, patience bounded.

Two questions decide what may be sent again. Did any byte of the request leave this process? And what did
the server say? A request of which no byte left (refused, DNS, TLS) or which was refused with 429 was
certainly not accepted. GET and PUT change nothing when repeated. Everything else is asked once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import ProxyManager

from viberkit.api.settings import Secret, checked_base_url, is_loopback
from viberkit.errors import ConfigurationError, TransportError
from viberkit.models.records import Response

__all__ = ["RateLimiter", "Transport", "retry_after_s", "within"]

log = logging.getLogger("viberkit")

RETRIED_STATUS = frozenset({429, 502, 503, 504})
REPEATABLE = frozenset({"GET", "PUT"})


class RateLimiter:
    """At most so many a second, evenly spaced, over all threads; None is no limit.

    >>> pace = RateLimiter(None)
    >>> pace.wait()
    """

    def __init__(self, per_second: float | None) -> None:
        if per_second is not None and not per_second > 0:
            raise ConfigurationError(f"per_second: {per_second!r} is not above 0; pass e.g. 20, or None for no limit")
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until it is this caller's turn."""
        if not self._gap:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - now))


class _Watch(threading.local):
    """Whether it is certain that no byte of this thread's current request has left the process.

    Only a connection of ours that is still connecting can say so; whatever else carries a request (a proxy's
    connection, one that was kept alive) leaves it at False, and the request counts as sent.
    """

    unsent = False


_watch = _Watch()


class _Watched:
    """Tells the watch when connecting begins and when the first byte of a request goes out."""

    debuglevel = 0  # whatever is set for http.client as a whole: its printing would show the key
    _connecting = False
    sock: Any

    def connect(self) -> None:
        _watch.unsent, self._connecting = True, True
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self._connecting = False

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        if not self._connecting:  # what goes to a proxy while connecting is not the request
            _watch.unsent = False
        super().send(data)  # type: ignore[misc]


class _HTTP(_Watched, HTTPConnection):
    pass


class _HTTPS(_Watched, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        if type(manager) is ProxyManager:  # a SOCKS manager has connections of its own: they are not watched
            manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS: dict[str, Any] = {"http": _HTTPPool, "https": _HTTPSPool}


class _KeyHeader(AuthBase):
    """Puts the key on the request at the last moment, so that no session holds it."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["apikey"] = self._key
        return request

    def scrub(self, body: bytes) -> bytes:
        """A refusal without the key, should the server repeat it."""
        return body.replace(self._key.encode(), b"***") if len(self._key) > 7 else body


class Transport:
    """Sends requests to one address; safe in many threads, each with its own kept-alive connection.

    ``timeout_s`` is (connect, between two bytes of the answer); no attempt begins later than ``retry_for_s``
    after the first. No redirect is ever followed: it would carry the key to another host.
    """

    def __init__(self, base_url: str, key: Secret, *, timeout_s: tuple[float, float], retry_for_s: float) -> None:
        self.base_url = checked_base_url(base_url)
        self._auth = _KeyHeader(key)
        self._timeout, self._patience = timeout_s, retry_for_s
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def close(self) -> None:
        """Close the connections that are kept alive."""
        while self._sessions:
            self._sessions.pop().close()
        self._local = threading.local()

    def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One call, repeated while that is certainly harmless and patience lasts.

        Gives the last answer, whatever its status; raises :class:`Fault` where there was none.
        """
        deadline = time.monotonic() + self._patience
        attempt = 0
        while True:
            attempt += 1
            answer, fault = self._once(method, path, json, data, params, headers)
            if answer is not None and not self._may_repeat(method, answer):
                return answer
            if fault is not None and ((fault.sent and method not in REPEATABLE) or "certificate" in str(fault)):
                raise fault
            pause = _pause(attempt, answer)
            if time.monotonic() + pause > deadline:
                if answer is not None:
                    return answer
                assert fault is not None  # noqa: S101 - an attempt ends with one of the two
                raise fault
            log.debug("%s %s: %s; attempt %d in %.1f s", method, path, answer or fault, attempt + 1, pause)
            time.sleep(pause)

    @staticmethod
    def _may_repeat(method: str, answer: Response) -> bool:
        return answer.status == 429 or (answer.status in RETRIED_STATUS and method in REPEATABLE)

    def _once(
        self, method: str, path: str, json: Any, data: Any, params: Any, headers: Any
    ) -> tuple[Response | None, TransportError | None]:
        """One attempt. Faults are told in words and raised by the caller: the library's own exceptions
        hold the request, and with it the key, in their attributes and in the frames below."""
        _watch.unsent = False
        stop: BaseException | None = None
        reason = ""
        try:
            response = self._session().request(
                method,
                self.base_url + path,
                json=json,
                data=data,
                params=params,
                headers=headers,
                auth=self._auth,
                timeout=self._timeout,
                allow_redirects=False,
            )
            if response.status_code >= 200:
                return _answer(response, self._auth), None
            reason = f"an interim answer ({response.status_code}) that nothing followed"
        except (InvalidURL, InvalidSchema, MissingSchema) as fault:
            _watch.unsent, reason = True, _words(fault)
        except Exception as fault:  # noqa: BLE001 - whatever it was, it holds the request; it goes on in words
            reason = _words(fault)
        except BaseException as fault:  # noqa: BLE001 - raised again below, without the frames that hold the key
            stop = type(fault)(*fault.args)
        self._drop()  # what comes late on this connection must not answer the next request
        if stop is not None:
            raise stop
        host = urlsplit(self.base_url).netloc
        return None, TransportError(f"{method} {path}: {reason} (by {host})", sent=not _watch.unsent)

    def _drop(self) -> None:
        """Close this thread's connections."""
        session = self._session()
        session.close()

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


def _words(fault: Exception) -> str:
    """What went wrong, without the request."""
    cause: BaseException | None = fault
    seen: list[str] = []
    while cause is not None and len(seen) < 6:
        seen.append(str(cause))
        reason = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None)
        cause = reason if isinstance(reason, BaseException) else cause.__cause__ or cause.__context__
    text = " ".join(seen).lower()
    for sign, words in (
        ("certificate", "the server's certificate could not be verified"),
        ("name or service not known", "the host's name was not found (DNS)"),
        ("resolve", "the host's name was not found (DNS)"),
        ("refused", "the connection was refused"),
        ("connect timeout", "connecting timed out"),
        ("timed out", "no answer in time"),
        ("ssl", "the TLS connection failed"),
        ("reset", "the connection was reset"),
        ("closed connection without response", "the connection was closed without an answer"),
        ("incomplete", "the answer broke off"),
    ):
        if sign in text:
            return words
    return f"the connection failed ({type(fault).__name__})"


def _answer(response: requests.Response, auth: _KeyHeader) -> Response:
    told = {name.lower(): value for name, value in response.headers.items()}
    observed_at = _http_date(told.get("date")) or datetime.now(UTC)
    links = {name: str(link.get("url", "")) for name, link in response.links.items()}
    body = response.content if response.ok else auth.scrub(response.content)
    return Response(response.status_code, body, observed_at, told, links)


def _http_date(text: str | None) -> datetime | None:
    try:
        read = parsedate_to_datetime(text or "")
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_s(answer: Response) -> float | None:
    """What the server asked for: seconds, or an instant by its own clock."""
    text = (answer.headers.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until = _http_date(text)
    return max(0.0, (until - answer.observed_at).total_seconds()) if until else None


def within(base_url: str, link: str) -> str:
    """A link's path below the API's address, or nothing where it leads elsewhere: no key goes there.

    >>> within("https://api.example.org/v3", "/v3/media?page=2"), within("https://api.example.org/v3", "//evil.example")
    ('/media?page=2', '')
    """
    if not link:
        return ""
    whole = urljoin(base_url + "/", link)
    same = urlsplit(whole)[:2] == urlsplit(base_url)[:2] and whole.startswith(base_url + "/")
    return whole.removeprefix(base_url) if same else ""


def _pause(attempt: int, answer: Response | None) -> float:
    """Seconds before the next attempt: what the server asked for, and a jitter that doubles, 20 s at most."""
    asked = (retry_after_s(answer) if answer is not None else None) or 0.0
    return asked + random.uniform(0.02, min(20.0, 0.5 * 2 ** (attempt - 1)))  # noqa: S311 - no secret depends on it
