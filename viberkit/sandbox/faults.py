"""Faults on demand: what a network and a server do to a request on a bad day."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http import HTTPStatus
from types import MappingProxyType

from viberkit.errors import InvalidRequest, Violation
from viberkit.models.validation import choice_rule
from viberkit.sandbox.account import Answer, Call

__all__ = ["Fault"]

#: The kinds beside HTTP statuses, and whether they strike before the request has any effect.
KINDS: Mapping[str, bool] = MappingProxyType(
    {"slow": False, "drop": True, "garble": False, "empty": False, "html": True, "redirect": True, "plain404": True}
)
_PAGE = b"<html><head><title>Bad gateway</title></head><body>The server is not available.</body></html>"


@dataclass
class Fault:
    """A fault that strikes some of the requests until it is cleared; ``hits`` counts how many it struck.

    ===========================  ====================================================================
    an HTTP error, as ``"429"``  with a problem as its body; ``retry_after`` in seconds or as a date
    ``"slow"``                   answers after ``delay_s`` (an option of every kind)
    ``"drop"``                   closes the connection without an answer
    ``"garble"``, ``"empty"``    spoils the body of the answer, or leaves it out
    ``"html"``                   answers a proxy's page with ``status``
    ``"redirect"``               answers 307 to ``location``
    ``"plain404"``               answers 404 without a problem in its body
    ===========================  ====================================================================

    ``before=False`` lets the request have its effect and then spoils the answer; ``before=True`` keeps
    it from having any. Slow, garble and empty come after, the others before, unless told.
    With a ``share``, the choice follows from the seed, the call and how often it was made, not from
    the order of arrival.

    >>> fault = Fault("503", times=1, path="/messages/*")
    >>> [fault.strikes(Call("GET", path)) for path in ("/media", "/messages/m/status", "/messages/m/status")]
    [False, True, False]
    """

    kind: str
    seed: str = "0"
    share: float = 1.0
    times: int | None = None
    method: str | None = None
    path: str | None = None
    before: bool | None = None
    delay_s: float = 0.0
    retry_after: float | str | None = None
    location: str = "http://127.0.0.1:9/elsewhere"
    status: int = 502
    hits: int = 0
    _asked: Counter[str] = field(default_factory=Counter, repr=False)

    def __post_init__(self) -> None:
        if not self.is_status:
            if found := list(choice_rule("kind", self.kind, [*KINDS, "429", "500", "502", "503", "504"])):
                raise InvalidRequest(found)
        elif int(self.kind) not in {each.value for each in HTTPStatus if each >= 400}:
            raise InvalidRequest([Violation("kind", repr(self.kind), "is not an HTTP error", "pass e.g. '503'")])
        if not 0 <= self.share <= 1:
            raise InvalidRequest([Violation("share", repr(self.share), "is not a share", "pass a number from 0 to 1")])
        if self.before is None:
            self.before = KINDS.get(self.kind, True)

    @property
    def is_status(self) -> bool:
        """Whether the fault is an HTTP status, such as ``"503"``."""
        return self.kind.isascii() and self.kind.isdigit()

    def clear(self) -> None:
        """Strike no more."""
        self.times = 0

    def strikes(self, call: Call) -> bool:
        """Whether this call is struck; counts it if so."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method not in (None, call.method) or not fnmatchcase(call.path, self.path or "*"):
            return False
        if self.share < 1:
            name = f"{call.method} {call.path} {call.body!r}"
            self._asked[name] += 1
            if random.Random(f"{self.seed}:{name}:{self._asked[name]}").random() >= self.share:  # noqa: S311
                return False
        self.hits += 1
        return True

    def answer(self, answer: Answer | None) -> Answer | None:
        """What is answered in place of ``answer``; None: nothing, the connection is closed."""
        answer = answer or Answer(202)
        html = {"content-type": "text/html"}
        match self.kind:
            case "slow":
                return answer
            case "drop":
                return None
            case "garble":
                return answer._replace(body=answer.body[: len(answer.body) // 2] + b"\xff")
            case "empty":
                return answer._replace(body=b"")
            case "html":
                return Answer(self.status, _PAGE, html)
            case "redirect":
                return Answer(307, b"", {"location": self.location})
            case "plain404":
                return Answer(404)
        status = HTTPStatus(int(self.kind))
        problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": "a fault of the sandbox"}
        wait = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return Answer(status, json.dumps(problem).encode(), {"content-type": "application/problem+json", **wait})
