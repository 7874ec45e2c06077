"""What is let in, and how it is answered: an ASGI application that hands each genuine callback on and waits until it is
kept. Every answer's body is empty, and nothing that came is ever logged."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from viberkit.api.settings import is_loopback
from viberkit.errors import ArchiveError
from viberkit.models.callback import Callback, SignatureError, signed_at

__all__ = ["MAX_BODY", "MAX_HEADERS", "PATIENCE_S", "Door"]

#: The longest body that is taken, in bytes.
MAX_BODY = 256 * 1024
#: The longest headers, in bytes.
MAX_HEADERS = 16 * 1024
#: So long a callback may wait until it is kept; then it is answered 503, and comes again.
PATIENCE_S = 4.5

#: What a proxy adds, besides ``x-forwarded-…``.
_PASSED_ON = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"})

_log = logging.getLogger("viberkit.callbacks.listener")


class _Turned(Exception):
    """A request that is turned away, with a status and why."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


@dataclass(slots=True)
class Door:
    """Lets callbacks in: only on one path, only as JSON, only with the secret and the header that are asked for."""

    keep: Callable[[Callback], Awaitable[None]]
    path: str
    secrets: Sequence[str]
    header: tuple[str, str] | None
    window: timedelta
    now: Callable[[], datetime]
    kept: int = 0
    late: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._let_in(scope, receive)
            answer = Response(status_code=204)
        except _Gone:
            return
        except _Turned as turned:
            self._count(str(turned), turned.status)
            answer = Response(status_code=turned.status, headers={"connection": "close", **turned.headers})
        except Exception as bug:  # noqa: BLE001 - a fault of ours is answered and counted, not shown
            self._count(f"a fault of the receiver ({type(bug).__name__})", 500)
            answer = Response(status_code=500, headers={"connection": "close"})
        await answer(scope, receive, send)

    async def _let_in(self, scope: Scope, receive: Receive) -> None:
        headers = Headers(scope=scope)
        self._check_head(scope, headers)
        body = await _body(headers, receive)
        callback = self._checked(headers, body)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.keep(callback)
        except (ArchiveError, TimeoutError) as fault:
            why = "in time" if isinstance(fault, TimeoutError) else f"({fault})"
            raise _Turned(503, f"could not be kept {why}", **{"retry-after": "5"}) from None
        self.kept += 1
        self.late += callback.late

    def _check_head(self, scope: Scope, headers: Headers) -> None:
        if scope["raw_path"] != self.path.encode():
            raise _Turned(404, "another path")
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADERS:
            raise _Turned(431, "headers that are too long")
        if scope["method"] != "POST":
            raise _Turned(405, "another method than POST", allow="POST")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
            raise _Turned(415, "another content type than JSON")  # a page in a browser cannot send JSON unasked
        if self.header is not None:
            given = headers.get(self.header[0], "").encode("latin-1")
            if not hmac.compare_digest(given, self.header[1].encode()):
                raise _Turned(401, "the header is missing or of another value")
        elif not self.secrets:
            if not is_loopback(_host(headers.get("host", ""))):
                raise _Turned(403, "called by a public name, but no secret is set")
            if any(name.startswith("x-forwarded-") or name in _PASSED_ON for name in headers):
                raise _Turned(403, "passed on by a proxy, but no secret is set")

    def _checked(self, headers: Headers, body: bytes) -> Callback:
        now = self.now()
        if not self.secrets:
            return Callback(body, now)
        try:
            at = signed_at(headers, body, self.secrets)
        except SignatureError as refused:
            raise _Turned(401, str(refused)) from None
        return Callback(body, now, at, late=abs(now - at) > self.window)

    def _count(self, why: str, status: int) -> None:
        self.refused[why] += 1
        count = self.refused[why]
        if count & (count - 1) == 0:  # the first, the second, the fourth, …: a flood fills no log
            level = logging.WARNING if status >= 500 else logging.INFO
            _log.log(level, "a callback was turned away (%d so far): %s", count, why)


class _Gone(Exception):
    """The caller hung up."""


async def _body(headers: Headers, receive: Receive) -> bytes:
    told = headers.get("content-length", "")
    if told.isascii() and told.isdigit() and len(told) < 20 and int(told) > 4 * MAX_BODY:
        raise _Turned(413, "a body that is too long")
    body, length = bytearray(), 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        part = message.get("body", b"")
        length += len(part)
        if length <= MAX_BODY:
            body += part
        elif length > 4 * MAX_BODY:  # until there it is read to its end, so that the answer can be read too
            raise _Turned(413, "a body that is too long")
        if not message.get("more_body", False):
            break
    if length > MAX_BODY:
        raise _Turned(413, "a body that is too long")
    return bytes(body)


def _host(host: str) -> str:
    """The host of a Host header, without its port."""
    return (host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]).lower()
