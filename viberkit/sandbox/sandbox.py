"""A sandbox: an imitation of tyntec's Conversations API for Viber over real HTTP on loopback.

It accepts and refuses what the provider would, tells journeys in every dialect of the API, calls back,
forgets bodies and histories on time, and fails in the ways that networks do, if asked. Time in it is
virtual: days pass with one :meth:`Sandbox.advance`. Everything follows from the seed, and the true
timings are known (:meth:`Sandbox.truth`), so that whatever is measured can be held against them.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import mimetypes
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from viberkit.callbacks.server import ThreadServer, hang_up
from viberkit.errors import ConfigurationError, InvalidRequest, UnreadableRecord, Violation
from viberkit.models.parsing import parse
from viberkit.models.states import ORDER
from viberkit.models.validation import choice_rule
from viberkit.sandbox.account import Account, Call
from viberkit.sandbox.delivery_model import DeliveryModel
from viberkit.sandbox.faults import Fault
from viberkit.sandbox.message import DIALECTS, Message, stamp
from viberkit.sandbox.webhooks import CalledBack, Courier, Errand, VirtualClock

if TYPE_CHECKING:
    import pandas as pd

    from viberkit.api.client import Client

__all__ = ["Received", "Sandbox", "serve"]

PREFIX = "/conversations/v3"
#: When its clock begins, unless said otherwise.
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Received:
    """A request that the sandbox received (never its API key), and the status it answered; None: it hung up."""

    method: str
    path: str
    query: Mapping[str, str]
    json: Any
    status: int | None
    at: datetime


class Sandbox:
    """A server on loopback that behaves like the API, in virtual time, and knows the truth.

    ``dialect`` is how journeys are told: ``"guide"``, ``"v2"``, ``"v3"``, or ``"mixed"`` (each message in
    one of them). ``paths="guide"`` answers only where the guide says that status and events are.
    ``speed`` is virtual seconds per real second; with 0 the clock stands still until :meth:`advance`.
    Every answer takes ``latency_s`` real seconds. ``model`` is what journeys are drawn from.

    A journey depends on seed, recipient and how many messages that recipient got before, not on the
    order of arrival: concurrent sends give the same ids and timings every time. Only loopback is ever called back.

    The server starts when its address is first needed, and stops with the ``with`` block, by
    :meth:`stop`, or when the interpreter exits.

    >>> import requests
    >>> with Sandbox(seed=1, speed=0) as sandbox:
    ...     key = {"apikey": sandbox.api_key}
    ...     message = {"to": "+491701234567", "from": sandbox.service_id, "channel": "viber",
    ...                "rateType": "transaction", "content": {"contentType": "text", "text": "Your parcel is here"}}
    ...     sent = requests.post(f"{sandbox.base_url}/messages", json=message, headers=key).json()
    ...     sandbox.advance(minutes=1)
    ...     told = requests.get(f"{sandbox.base_url}/messages/{sent['messageId']}/status", headers=key).json()
    >>> told["status"], told["timestamp"]
    ('seen', '2026-01-05T08:00:52.142Z')
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        port: int = 0,
        api_key: str = "sandbox-key",
        service_ids: tuple[str, ...] = ("VIBERKIT",),
        dialect: str = "v3",
        paths: str = "reference",
        model: DeliveryModel | None = None,
        start: datetime = START,
        speed: float = 1.0,
        latency_s: float = 0.0,
    ) -> None:
        found = [
            *choice_rule("dialect", dialect, (*DIALECTS, "mixed")),
            *choice_rule("paths", paths, ("reference", "guide")),
        ]
        if not service_ids or isinstance(service_ids, str):
            found.append(Violation("service_ids", "", "is not a tuple of names", "pass e.g. ('VIBERKIT',)"))
        if start.tzinfo is None:
            found.append(Violation("start", str(start), "has no time zone", "pass tzinfo=UTC"))
        if speed < 0 or latency_s < 0:
            found.append(Violation("speed, latency_s", f"{speed}, {latency_s}", "are negative", "time runs forward"))
        if found:
            raise InvalidRequest(found)
        self.seed, self.api_key, self.service_id, self.latency_s = seed, api_key, service_ids[0], latency_s
        self.model = model or DeliveryModel()
        #: Every request received, in order of arrival.
        self.requests: list[Received] = []
        self._port = port
        self._clock = VirtualClock(start.astimezone(UTC), speed)
        self._account = Account(seed, api_key, tuple(service_ids), dialect, paths, self.model)
        self._account.on_sent = self._expect
        self._courier = Courier(self._clock, self._account.callback_of)
        self._faults: list[Fault] = []
        self._base_url = ""
        self._lock = threading.Lock()  # of the account's state
        self._life = threading.Lock()  # of starting and stopping
        self._halt = threading.Event()
        self._server: ThreadServer | None = None
        self._ticking: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Sandbox(seed={self.seed}, base_url={self._base_url or 'not started'!r})"

    # --- the server's life -----------------------------------------------------------------------------

    def start(self) -> Sandbox:
        """Start serving, unless it does so already."""
        with self._life:
            if self._server is None:
                try:
                    self._server = ThreadServer(self._app(), self._port, name="viberkit-sandbox")
                except OSError as fault:
                    remedy = "pass port=0 for any that is free"
                    raise ConfigurationError(
                        f"port: {self._port} cannot be used ({fault.strerror}); {remedy}"
                    ) from None
                self._port = self._server.port
                self._base_url = self._account.base_url = f"http://127.0.0.1:{self._port}{PREFIX}"
                self._halt.clear()
                if self._clock.speed:
                    self._ticking = threading.Thread(target=self._tick, name="viberkit-sandbox-callbacks", daemon=True)
                    self._ticking.start()
                atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Stop serving; what was sent stays known, and :meth:`start` goes on with it at the same address."""
        with self._life:
            if self._server is None:
                return
            self._halt.set()
            if self._ticking is not None:
                self._ticking.join()
            self._server.stop()
            self._courier.close()
            self._server = self._ticking = None
            atexit.unregister(self.stop)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The address for a client, such as ``http://127.0.0.1:40123/conversations/v3``; starts the server."""
        if not self._base_url:
            self.start()
        return self._base_url

    def client(self, **options: Any) -> Client:
        """A client of this sandbox; ``options`` are those of :class:`~viberkit.api.client.Client`."""
        from viberkit.api.client import Client

        self.start()
        return Client(self.api_key, self.service_id, base_url=self.base_url, **options)

    # --- time and truth --------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The virtual instant."""
        return self._clock.now()

    def advance(self, **duration: float) -> None:
        """Let virtual time pass: ``advance(minutes=5)``, with the names that timedelta takes.

        Callbacks that fall due are delivered, in the order of their due time, before it returns.
        """
        passing = timedelta(**duration)
        if passing < timedelta(0):
            raise InvalidRequest([Violation("duration", str(passing), "is negative", "virtual time runs forward only")])
        self._courier.bring(self.now + passing)

    def truth(self) -> pd.DataFrame:
        """What really happens to every message accepted so far, the future included.

        One row per message and state: ``message_id``, ``to``, ``rate_type``, ``state``, ``happened_at``
        (UTC). The state ``routed`` is always there, though only the guide's dialect tells of it; nothing
        is duplicated or out of order.
        """
        import pandas as pd

        with self._lock:
            messages = list(self._account.messages.values())
        rows = [
            (one.message_id, one.request["to"], one.request["rateType"], step.state, step.at)
            for one in messages
            for step in one.steps
        ]
        frame = pd.DataFrame(rows, columns=["message_id", "to", "rate_type", "state", "happened_at"])
        kinds = {"message_id": "str", "to": "str", "rate_type": "category", "happened_at": "datetime64[us, UTC]"}
        return frame.astype({**kinds, "state": pd.CategoricalDtype(list(ORDER))})

    @property
    def callbacks(self) -> list[CalledBack]:
        """Every attempt at a callback: instant, URL, body, which attempt, and the status that was answered."""
        return list(self._courier.called)

    def _expect(self, message: Message) -> None:
        url = (message.request.get("overrides") or {}).get("notificationCallbackUrl")
        for due_at, step in message.callbacks():
            body = functools.partial(message.callback, step)
            self._courier.take(due_at, Errand(message.request["from"], body, url))

    def _tick(self) -> None:
        while not self._halt.wait(_TICK_S):
            self._courier.bring()

    # --- what can be arranged --------------------------------------------------------------------------

    def fault(
        self,
        kind: str,
        *,
        share: float = 1.0,
        times: int | None = None,
        method: str | None = None,
        path: str | None = None,
        **options: Any,
    ) -> Fault:
        """Let requests fail from now on: a ``share`` of them, a number of ``times``, by method and path.

        ``path`` is a pattern on what follows the base URL (``"/messages/*"``). Kinds and options are
        those of :class:`~viberkit.sandbox.faults.Fault`. Gives the fault, whose ``clear()`` ends it;
        faults set earlier strike first.
        """
        seed = f"{self.seed}:fault:{len(self._faults)}"
        fault = Fault(kind, seed, share=share, times=times, method=method, path=path, **options)
        self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """End all faults."""
        for fault in self._faults:
            fault.clear()

    def receive(
        self,
        from_: str,
        text: str | None = None,
        *,
        media: bytes | Mapping[str, str] | None = None,
        reply_to: str | None = None,
        postback: str | None = None,
        to: str | None = None,
        filename: str = "image.jpg",
    ) -> str:
        """A recipient writes: call back the configured inbound URL, and give the inbound message's id.

        ``media`` is a file's bytes (kept for download under its media id; its type goes by ``filename``),
        or a media object as the API has it. ``postback`` makes it a pressed button. ``to`` is the service
        id, by default the first.
        """
        with self._lock:
            rng = random.Random(self._account.origin(f"inbound:{from_}"))  # noqa: S311 - a simulation
            message_id = str(rng.randrange(10**18, 2**63))
            content: dict[str, Any] = {"contentType": "text", "text": text}
            if media is not None:
                content = {
                    "contentType": "media",
                    "media": self._media(media, filename) | ({"caption": text} if text else {}),
                }
        at = stamp(self.now)
        body: dict[str, Any] = {"messageId": message_id, "channel": "viber", "from": from_, "to": to or self.service_id}
        body |= {"receivedAt": at, "timestamp": at}
        if postback is not None:
            body |= {"event": "MoMessage::Postback", "postback": {"data": postback}}
        else:
            body |= {"event": "MoMessage", "content": content}
        body |= {"context": {"messageId": reply_to}} if reply_to else {}
        self._courier.take(self.now, Errand(body["to"], lambda: body))
        self._courier.bring()
        return message_id

    def _media(self, media: bytes | Mapping[str, str], filename: str) -> dict[str, str]:
        if isinstance(media, Mapping):
            return dict(media)
        content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        family = content_type.partition("/")[0]
        media_id = self._account.keep_inbound(media, content_type)
        kind = family if family in ("image", "audio", "video") else "document"
        return {"type": kind, "mediaId": media_id, "url": f"{self.base_url}/media/{media_id}"}

    # --- HTTP ------------------------------------------------------------------------------------------

    def _app(self) -> ASGIApp:
        return Router(
            [
                Mount(PREFIX, app=self._serve_api),
                Route("/sandbox/now", self._tell_now, methods=["GET"]),
                Route("/sandbox/advance", self._serve_advance, methods=["POST"]),
            ]
        )

    async def _serve_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        path = scope["path"].removeprefix(PREFIX)
        call = Call(request.method, path, dict(request.query_params), request.headers, body)
        now = self.now
        with self._lock:
            fault = next((one for one in self._faults if one.strikes(call)), None)
            answer = None if fault and fault.before else self._account.answer(call, now)
        if fault is not None:
            answer = fault.answer(answer)
        self.requests.append(Received(*call[:3], _json_or_none(body), answer.status if answer else None, now))
        if delay_s := self.latency_s + (fault.delay_s if fault else 0.0):
            await asyncio.sleep(delay_s)
        if answer is None:
            await hang_up(scope, receive)
            return
        headers = {"date": format_datetime(now, usegmt=True), **answer.headers}
        await Response(answer.body, answer.status, headers)(scope, receive, send)

    async def _tell_now(self, request: Request) -> Response:
        return JSONResponse({"now": stamp(self.now)})

    async def _serve_advance(self, request: Request) -> Response:
        try:
            await asyncio.to_thread(self.advance, seconds=parse(await request.body())["seconds"])
        except (InvalidRequest, UnreadableRecord, KeyError, TypeError, OverflowError) as fault:
            return JSONResponse(
                {"title": "Bad Request", "status": 400, "detail": f'pass {{"seconds": 60}}: {fault}'}, 400
            )
        return await self._tell_now(request)


def _json_or_none(body: bytes) -> Any:
    with contextlib.suppress(UnreadableRecord):
        return parse(body)
    return None


def serve(sandbox: Sandbox, *, say: Callable[[str], object] = print) -> None:
    """Serve in the foreground until Ctrl-C; says the address, the key, and how to move time."""
    with sandbox, contextlib.suppress(KeyboardInterrupt):
        root = sandbox.base_url.removesuffix(PREFIX)
        say(f"VIBERKIT_BASE_URL={sandbox.base_url}")
        say(f"TYNTEC_API_KEY={sandbox.api_key}")
        say(f"VIBER_SERVICE_ID={sandbox.service_id}")
        say(f'# virtual time is {stamp(sandbox.now)}; POST {{"seconds": 60}} to {root}/sandbox/advance moves it')
        say("# Ctrl-C stops")
        while True:
            time.sleep(0.5)
