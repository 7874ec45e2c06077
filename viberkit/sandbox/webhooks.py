"""The sandbox's clock, and the courier that brings callbacks when they are due by it."""

from __future__ import annotations

import heapq
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import requests

from viberkit.models.callback import sign
from viberkit.sandbox.message import stamp

__all__ = ["CalledBack", "Courier", "Errand", "VirtualClock"]

#: A callback that was not answered with 2xx is called again after these virtual seconds.
AGAIN_AFTER_S = (5.0, 30.0)
PATIENCE_S = 5.0
_FINAL = frozenset({"MessageStatus::delivered", "MessageStatus::seen", "MessageStatus::failed"})


class VirtualClock:
    """A clock that runs ``speed`` times as fast as the real one, and can be moved forward."""

    def __init__(self, start: datetime, speed: float) -> None:
        self.speed = speed
        self._mark = (start, time.monotonic())

    def now(self) -> datetime:
        """The virtual instant."""
        start, since = self._mark
        return start + timedelta(seconds=(time.monotonic() - since) * self.speed)

    def reach(self, at: datetime) -> None:
        """Move forward to an instant; one that has passed changes nothing."""
        if at > self.now():
            self._mark = (at, time.monotonic())


@dataclass(frozen=True, slots=True)
class Errand:
    """A callback to bring: the service id it concerns, its body (made when due), and a URL of its own, if any."""

    service_id: str
    body: Callable[[], Mapping[str, Any]]
    url: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class CalledBack:
    """One attempt at a callback, and what the receiver answered (``status``) or why it could not be brought."""

    at: datetime
    url: str
    body: Mapping[str, Any]
    attempt: int
    status: int | None
    fault: str = ""


class Courier:
    """Brings callbacks in the order in which they are due; to loopback only."""

    def __init__(self, clock: VirtualClock, settings_of: Callable[[str], Mapping[str, Any]]) -> None:
        self.called: list[CalledBack] = []
        self._clock, self._settings_of = clock, settings_of
        self._waiting: list[tuple[datetime, int, Errand]] = []
        self._number = count()
        self._lock = threading.Lock()  # of the heap, for a moment
        self._round = threading.Lock()  # of a whole round, while receivers are called
        self._session = requests.Session()
        self._session.trust_env = False

    def take(self, due_at: datetime, errand: Errand) -> None:
        """Take an errand, to be brought when it is due."""
        with self._lock:
            heapq.heappush(self._waiting, (due_at, next(self._number), errand))

    def bring(self, until: datetime | None = None) -> None:
        """Bring all that is due by now, or by a later instant, moving the clock from one to the next."""
        with self._round:
            until = until or self._clock.now()
            while (errand := self._next(until)) is not None:
                self._call(errand)
            self._clock.reach(until)

    def close(self) -> None:
        """Close the connections to receivers."""
        self._session.close()

    def _next(self, until: datetime) -> Errand | None:
        with self._lock:
            if not self._waiting or self._waiting[0][0] > until:
                return None
            due_at, _, errand = heapq.heappop(self._waiting)
        self._clock.reach(due_at)
        return errand

    def _call(self, errand: Errand) -> None:
        settings = self._settings_of(errand.service_id)
        body = errand.body()
        is_status = body["event"].startswith("MessageStatus::")
        url = errand.url or settings.get("messageStatusUrl" if is_status else "inboundMessageUrl")
        if not url or not _is_wanted(body["event"], settings.get("eventFilter") or ()):
            return
        now = self._clock.now()
        status, fault = None, "only loopback is ever called"
        if is_loopback(url):
            status, fault = self._post(url, json.dumps(body, ensure_ascii=False).encode(), settings, now)
        self.called.append(CalledBack(now, url, body, errand.attempt, status, fault))
        refused = is_loopback(url) and (status is None or not 200 <= status < 300)
        if refused and errand.attempt <= len(AGAIN_AFTER_S):
            again = timedelta(seconds=AGAIN_AFTER_S[errand.attempt - 1])
            self.take(now + again, replace(errand, attempt=errand.attempt + 1))

    def _post(self, url: str, body: bytes, settings: Mapping[str, Any], now: datetime) -> tuple[int | None, str]:
        headers = {"Content-Type": "application/json"}
        if extra := settings.get("header"):
            headers[extra["key"]] = extra["value"]
        if signature := settings.get("signature"):
            told = stamp(now)
            headers["x-signature"] = sign(signature["secret"], told, body, signature.get("method", "HS256"))
            headers["x-request-timestamp"], headers["x-signature-version"] = told, "V1.0"
        try:
            with self._session.post(
                url, data=body, headers=headers, timeout=PATIENCE_S, allow_redirects=False
            ) as answer:
                return answer.status_code, ""
        except (requests.RequestException, ValueError) as fault:
            return None, type(fault).__name__


def _is_wanted(event: str, chosen: tuple[str, ...] | list[str]) -> bool:
    """Whether an event is called back: what the filter names of its kind; else inbound messages and final states."""
    if not event.startswith("MessageStatus::"):
        return True
    named = [one for one in chosen if one.startswith("MessageStatus::")]
    return event in (named or _FINAL)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this very machine.

    >>> is_loopback("http://127.0.0.1:8000/status"), is_loopback("https://example.org/status")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
