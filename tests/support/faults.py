"""A sandbox that fails on demand, as networks and servers do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

import viberkit as vk
from viberkit.sandbox.account import ApiRequest

#: The kinds of faults besides HTTP statuses, and whether they occur before the request takes effect.
KINDS = {"slow": False, "drop": True, "garble": False, "empty": False, "html": True, "redirect": True, "plain404": True}
PAGE = "<html><head><title>Bad gateway</title></head><body>The server is not available.</body></html>"


class DroppedResponse(Response):
    """Closes the connection instead of sending a response."""

    def __init__(self) -> None:
        super().__init__()
        self.status_code = None  # type: ignore[assignment]  # what the sandbox records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        receive.__self__.transport.abort()  # type: ignore[attr-defined]  # uvicorn's request cycle
        while (await receive())["type"] != "http.disconnect":
            pass


class DelayedResponse(Response):
    """Sends a response after a delay."""

    def __init__(self, response: Response, delay_s: float) -> None:
        super().__init__(status_code=response.status_code)
        self.response, self.delay_s = response, delay_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(self.delay_s)
        await self.response(scope, receive, send)


@dataclass
class Fault:
    """A fault of a share of the requests, until it has occurred `times` times or is cleared.

    ===========================  ====================================================================
    an HTTP error, as ``"429"``  a response with a problem as its body; ``retry_after`` in seconds or as a date
    ``"slow"``                   the response is sent after ``delay_s`` (an option of every kind)
    ``"drop"``                   the connection is closed without a response
    ``"garble"``, ``"empty"``    the body of the response is cut in half, or empty
    ``"html"``                   a proxy's page with ``status``
    ``"redirect"``               status 307 to ``location``
    ``"plain404"``               status 404 without a problem in its body
    ===========================  ====================================================================

    With ``before=True``, the request has no effect; with ``before=False``, it takes effect and only the response is
    replaced. A share is drawn from the seed, the request and how often it was repeated, not from the order of arrival.
    """

    kind: str
    seed: str = "0"
    share: float = 1.0
    times: int | None = None
    method: str | None = None
    path: str = "*"
    before: bool | None = None
    delay_s: float = 0.0
    retry_after: float | str | None = None
    location: str = "http://127.0.0.1:9/elsewhere"
    status: int = 502
    hits: int = 0
    _repeats: Counter[str] = field(default_factory=Counter, repr=False)

    def __post_init__(self) -> None:
        assert self.kind in KINDS or int(self.kind) in {status.value for status in HTTPStatus if status >= 400}
        assert 0 <= self.share <= 1
        if self.before is None:
            self.before = KINDS.get(self.kind, True)

    def clear(self) -> None:
        """End the fault."""
        self.times = 0

    def occurs(self, method: str, path: str, body: bytes) -> bool:
        """Whether the fault occurs for a request; counts it if so."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method not in (None, method) or not fnmatchcase(path, self.path):
            return False
        if self.share < 1:
            name = f"{method} {path} {body!r}"
            self._repeats[name] += 1
            if random.Random(f"{self.seed}:{name}:{self._repeats[name]}").random() >= self.share:
                return False
        self.hits += 1
        return True

    def replace(self, response: Response) -> Response:
        """The response that the client gets in place of `response`."""
        replaced = self._replaced(response)
        return DelayedResponse(replaced, self.delay_s) if self.delay_s else replaced

    def _replaced(self, response: Response) -> Response:
        match self.kind:
            case "slow":
                return response
            case "drop":
                return DroppedResponse()
            case "garble":
                body = bytes(response.body)
                return Response(body[: len(body) // 2] + b"\xff", response.status_code, media_type=response.media_type)
            case "empty":
                return Response(b"", response.status_code, media_type=response.media_type)
            case "html":
                return HTMLResponse(PAGE, self.status)
            case "redirect":
                return Response(status_code=307, headers={"location": self.location})
            case "plain404":
                return Response(status_code=404)
        status = HTTPStatus(int(self.kind))
        problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": "a simulated fault"}
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return JSONResponse(problem, status, headers, "application/problem+json")


class FaultySandbox(vk.Sandbox):
    """A sandbox with faults on demand."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.faults: list[Fault] = []

    def fault(self, kind: str, **options: Any) -> Fault:
        """Add a fault; the options are those of :class:`Fault`. Earlier faults take precedence."""
        self.faults.append(Fault(kind, f"{self.seed}:fault:{len(self.faults)}", **options))
        return self.faults[-1]

    def clear_faults(self) -> None:
        """End all faults."""
        for fault in self.faults:
            fault.clear()

    def respond(self, request: ApiRequest) -> Response:
        path = request.url.path.removeprefix("/conversations/v3")
        matching = (fault for fault in self.faults if fault.occurs(request.method, path, request.content))
        fault = next(matching, None)
        if fault is None:
            return super().respond(request)
        return fault.replace(Response(status_code=202) if fault.before else super().respond(request))
