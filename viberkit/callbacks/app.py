"""The ASGI application that receives callbacks: it checks each request, stores the callback, and only then responds.

Responses have no body, and no content of a request is logged.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from viberkit.api.settings import is_loopback
from viberkit.callbacks.server import is_logged
from viberkit.errors import ArchiveError
from viberkit.models.callback import Callback, SignatureError, signed_at

MAX_BODY = 256 * 1024  #: bytes
MAX_HEADERS = 16 * 1024  #: bytes
#: Bytes of callbacks that are stored without a proof of their origin; each counts as 1 KiB more than its body.
MAX_UNSIGNED = 256 * 1024**2
#: A callback that is not stored within this time is answered with 503, so that the provider repeats it.
STORE_TIMEOUT_S = 4.5

#: Headers that a proxy adds, besides ``x-forwarded-…``.
_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"})

_log = logging.getLogger("viberkit.callbacks.listener")


@dataclass(slots=True)
class CallbackApp:
    """Accepts callbacks on one path, as JSON, with a valid signature and header where these are set."""

    store: Callable[[Callback], Awaitable[None]]
    path: str
    secrets: Sequence[str]
    header: tuple[str, str] | None
    window: timedelta
    now: Callable[[], datetime]
    stored: int = 0
    late: int = 0
    unsigned: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._handle(Request(scope, receive))
            response = Response(status_code=204)
        except ClientDisconnect:
            return
        except HTTPException as rejection:
            response = self._reject(rejection.detail, rejection.status_code, rejection.headers)
        except Exception as error:  # noqa: BLE001 - counted and answered, never shown to the client
            response = self._reject(f"internal error ({type(error).__name__})", 500)
        await response(scope, receive, send)

    async def _handle(self, request: Request) -> None:
        self._check_head(request)
        callback = self._verify(request, await _read_body(request))
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self.store(callback)
        except (ArchiveError, TimeoutError) as error:
            reason = "not stored in time" if isinstance(error, TimeoutError) else f"not stored ({error})"
            raise HTTPException(503, reason, {"retry-after": "5"}) from None
        self.stored += 1
        self.late += callback.late

    def _check_head(self, request: Request) -> None:
        headers = request.headers
        if request.scope["raw_path"] != self.path.encode():
            raise HTTPException(404, "wrong path")
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADERS:
            raise HTTPException(431, "headers too long")
        if request.method != "POST":
            raise HTTPException(405, "method is not POST", {"allow": "POST"})
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        # A page in a browser cannot post JSON to another origin without a preflight request, which is rejected above.
        if not re.fullmatch(r"application/([^/]+\+)?json", media_type):
            raise HTTPException(415, "content type is not JSON")
        if self.header is not None:
            name, value = self.header
            if not hmac.compare_digest(headers.get(name, "").encode("latin-1"), value.encode()):
                raise HTTPException(401, "the header is missing or has another value")
        elif not self.secrets:
            if not is_loopback(_hostname(headers.get("host", ""))):
                raise HTTPException(403, "called by a public host name, but no secret is set")
            if any(name.startswith("x-forwarded-") or name in _PROXY_HEADERS for name in headers):
                raise HTTPException(403, "forwarded by a proxy, but no secret is set")

    def _verify(self, request: Request, body: bytes) -> Callback:
        now = self.now()
        if not self.secrets:
            self.unsigned += len(body) + 1024 if self.header is None else 0
            if self.unsigned > MAX_UNSIGNED:
                raise HTTPException(507, "too many unsigned callbacks since the listener was created; set a secret")
            return Callback(body, now)
        try:
            at = signed_at(request.headers, body, self.secrets)
        except SignatureError as error:
            raise HTTPException(401, str(error)) from None
        return Callback(body, now, at, late=at is None or abs(now - at) > self.window)

    def _reject(self, reason: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
        self.rejected[reason] += 1
        if is_logged(self.rejected[reason]):
            level = logging.WARNING if status >= 500 else logging.INFO
            _log.log(level, "rejected a callback (%d so far): %s", self.rejected[reason], reason)
        return Response(status_code=status, headers={"connection": "close", **(headers or {})})


async def _read_body(request: Request) -> bytes:
    """The body. One that is too long is read up to four times the limit, so that the client can read the response."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > 4 * MAX_BODY:
        raise HTTPException(413, "body too long")
    body, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= MAX_BODY:
            body += chunk
        elif received > 4 * MAX_BODY:
            break
    if received > MAX_BODY:
        raise HTTPException(413, "body too long")
    return bytes(body)


def _hostname(host: str) -> str:
    """The value of a Host header without the port."""
    return (host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]).lower()
