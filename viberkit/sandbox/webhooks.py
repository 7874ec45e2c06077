"""The virtual clock of the sandbox, and the sender that posts callbacks when they fall due."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from queue import PriorityQueue
from typing import Any
from urllib.parse import urlsplit

import requests

from viberkit.api.settings import is_loopback
from viberkit.models.callback import sign
from viberkit.sandbox.message import format_instant

#: A callback without a 2xx response is posted again after these virtual seconds.
RETRY_AFTER_S = (5.0, 30.0)
TIMEOUT_S = 5.0
_DEFAULT_EVENTS = frozenset({"MessageStatus::delivered", "MessageStatus::seen", "MessageStatus::failed"})


class VirtualClock:
    """A clock that runs `speed` times as fast as the real one and can be moved forward."""

    def __init__(self, start: datetime, speed: float) -> None:
        self.speed = speed
        self._origin = (start, time.monotonic())

    def now(self) -> datetime:
        virtual, real = self._origin
        return virtual + timedelta(seconds=(time.monotonic() - real) * self.speed)

    def advance_to(self, at: datetime) -> None:
        """Move forward to an instant; an instant in the past changes nothing."""
        if at > self.now():
            self._origin = (at, time.monotonic())


@dataclass(frozen=True, slots=True)
class PendingCallback:
    """A callback to post: its service id, a function that returns its body, and its own URL if it has one."""

    service_id: str
    body: Callable[[], Mapping[str, Any]]
    url: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class CallbackAttempt:
    """One attempt to post a callback.

    Parameters
    ----------
    at : datetime
        Virtual instant (UTC).
    url : str
        Address of the receiver.
    body : mapping
        The JSON body.
    attempt : int
        1 for the first attempt, up to 3.
    status : int or None
        HTTP status of the response; None if there was none.
    error : str
        Why there was no response, else empty.
    """

    at: datetime
    url: str
    body: Mapping[str, Any]
    attempt: int
    status: int | None
    error: str = ""


class WebhookSender:
    """Posts callbacks in the order of their due times, to this computer only."""

    def __init__(self, clock: VirtualClock, settings: Callable[[str], Mapping[str, Any]]) -> None:
        self.attempts: list[CallbackAttempt] = []
        self._clock, self._settings = clock, settings
        self._queue: PriorityQueue[tuple[datetime, int, PendingCallback]] = PriorityQueue()
        self._sequence = count()
        self._send_lock = threading.Lock()  # held while receivers are called
        self._session = requests.Session()
        self._session.trust_env = False

    def schedule(self, due_at: datetime, callback: PendingCallback) -> None:
        self._queue.put((due_at, next(self._sequence), callback))

    def send_due(self, until: datetime | None = None) -> None:
        """Post all callbacks due by now, or by a later instant, moving the clock to the due time of each."""
        with self._send_lock:
            until = until or self._clock.now()
            while not self._queue.empty() and self._queue.queue[0][0] <= until:
                due_at, _, callback = self._queue.get()
                self._clock.advance_to(due_at)
                self._send(callback)
            self._clock.advance_to(until)

    def close(self) -> None:
        self._session.close()

    def _send(self, callback: PendingCallback) -> None:
        settings, body = self._settings(callback.service_id), callback.body()
        is_status = body["event"].startswith("MessageStatus::")
        url = callback.url or settings.get("messageStatusUrl" if is_status else "inboundMessageUrl")
        chosen = [name for name in settings.get("eventFilter", ()) if name.startswith("MessageStatus::")]
        if not url or (is_status and body["event"] not in (chosen or _DEFAULT_EVENTS)):
            return
        now, attempt = self._clock.now(), callback.attempt
        status, error = None, "not posted: the sandbox calls loopback addresses only"
        is_local = is_loopback(urlsplit(url).hostname or "")
        if is_local:
            status, error = self._post(url, json.dumps(body, ensure_ascii=False).encode(), settings, now)
        self.attempts.append(CallbackAttempt(now, url, body, attempt, status, error))
        failed = status is None or not 200 <= status < 300
        if is_local and failed and attempt <= len(RETRY_AFTER_S):
            due_at = now + timedelta(seconds=RETRY_AFTER_S[attempt - 1])
            self.schedule(due_at, replace(callback, attempt=attempt + 1))

    def _post(self, url: str, body: bytes, settings: Mapping[str, Any], now: datetime) -> tuple[int | None, str]:
        header = settings.get("header")
        headers = {"Content-Type": "application/json"} | ({header["key"]: header["value"]} if header else {})
        if signature := settings.get("signature"):
            timestamp = format_instant(now)
            headers["x-signature"] = sign(signature["secret"], timestamp, body, signature.get("method", "HS256"))
            headers |= {"x-request-timestamp": timestamp, "x-signature-version": "V1.0"}
        try:
            with self._session.post(url, body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False) as response:
                return response.status_code, ""
        except (requests.RequestException, ValueError) as error:
            return None, type(error).__name__
