"""A simulation of the API over real HTTP on loopback, seeded, with known true timings.

The sandbox accepts and rejects requests as the provider does, reports journeys in every dialect of the API, posts
callbacks, and deletes bodies and histories when they expire. Its time is virtual: :meth:`Sandbox.advance` skips days.
Everything depends on the seed alone, and :meth:`Sandbox.truth` returns the true timings, so that every measurement
can be compared with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import mimetypes
import random
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from viberkit.api.client import Client
from viberkit.callbacks.server import ThreadServer
from viberkit.errors import InvalidRequest, UnreadableRecord, Violation, quote
from viberkit.models.parsing import parse
from viberkit.models.states import ORDER
from viberkit.models.validation import choice_rule
from viberkit.sandbox.account import Account, ApiRequest, ProblemError
from viberkit.sandbox.delivery_model import DeliveryModel
from viberkit.sandbox.message import DIALECTS, Message, format_instant
from viberkit.sandbox.webhooks import CallbackAttempt, PendingCallback, VirtualClock, WebhookSender

if TYPE_CHECKING:
    import pandas as pd


PREFIX = "/conversations/v3"
#: The default start of the virtual clock.
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_CALLBACK_INTERVAL_S = 0.02
_END = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request that the sandbox received.

    Parameters
    ----------
    method : str
        HTTP method.
    path : str
        Path below the base URL, such as ``/messages``.
    query : mapping
        Query parameters.
    json : object
        The parsed body; None if it is not JSON.
    status : int
        HTTP status of the response.
    at : datetime
        Virtual instant (UTC).

    Notes
    -----
    The API key is not recorded.
    """

    method: str
    path: str
    query: Mapping[str, str]
    json: Any
    status: int
    at: datetime


class Sandbox(ThreadServer):
    """A simulation of the API on loopback, in virtual time.

    The server starts when :attr:`base_url` is first needed. It stops at the end of the ``with`` block, on
    :meth:`stop`, or when the interpreter exits.

    Parameters
    ----------
    seed : int, default 0
        Seed of all random draws.
    port : int, default 0
        Port to listen on; 0 selects a free port.
    api_key : str, default "sandbox-key"
        API key that requests must carry.
    service_ids : tuple of str, default ("VIBERKIT",)
        Service ids of the account.
    dialect : {"v3", "v2", "guide", "mixed"}, default "v3"
        Format of the responses; with ``"mixed"``, each message has a random one.
    paths : {"reference", "guide"}, default "reference"
        Paths of status and events: those of the API reference, or those of the guide only.
    model : DeliveryModel, optional
        Distributions of the journeys.
    start : datetime, default 2026-01-05 08:00 UTC
        Start of the virtual clock, with a time zone.
    speed : float, default 1.0
        Virtual seconds per real second, at most 100,000; with 0, only :meth:`advance` moves the clock.
    latency_s : float, default 0.0
        Real seconds before each response.

    Attributes
    ----------
    seed : int
        The seed.
    api_key : str
        The API key.
    service_id : str
        The first service id.
    model : DeliveryModel
        The distributions of the journeys.
    latency_s : float
        Real seconds before each response; may be changed while the server runs.
    requests : list of ReceivedRequest
        Requests received so far, in order of arrival.

    Raises
    ------
    InvalidRequest
        If an argument is not valid.

    Notes
    -----
    A journey depends on the seed, the recipient and the number of earlier messages to that recipient, not on the order
    of arrival: concurrent sends get the same ids and timings every time. Callbacks are posted to loopback addresses
    only.

    To simulate faults, override :meth:`respond` in a subclass.

    Examples
    --------
    >>> import requests
    >>> with Sandbox(seed=1, speed=0) as sandbox:
    ...     key = {"apikey": sandbox.api_key}
    ...     message = {"to": "+491701234567", "from": sandbox.service_id, "channel": "viber",
    ...                "rateType": "transaction", "content": {"contentType": "text", "text": "Your parcel is here"}}
    ...     sent = requests.post(f"{sandbox.base_url}/messages", json=message, headers=key).json()
    ...     sandbox.advance(minutes=1)
    ...     status = requests.get(f"{sandbox.base_url}/messages/{sent['messageId']}/status", headers=key).json()
    >>> status["status"], status["timestamp"]
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
        violations = [*choice_rule("dialect", dialect, (*DIALECTS, "mixed"))]
        violations += choice_rule("paths", paths, ("reference", "guide"))
        if not service_ids or isinstance(service_ids, str):
            violations.append(Violation("service_ids", "", "is not a tuple of names", "pass e.g. ('VIBERKIT',)"))
        if start.tzinfo is None:
            violations.append(Violation("start", str(start), "has no time zone", "pass tzinfo=UTC"))
        for name, value, limit in (("port", port, 65_535), ("speed", speed, 100_000), ("latency_s", latency_s, 3600)):
            if not 0 <= value <= limit:
                violations.append(Violation(name, quote(value), f"is not between 0 and {limit:,}", "pass e.g. 0"))
        if violations:
            raise InvalidRequest(violations)
        self.seed, self.api_key, self.service_id, self.latency_s = seed, api_key, service_ids[0], latency_s
        self.model = model or DeliveryModel()
        self.requests: list[ReceivedRequest] = []
        self._clock = VirtualClock(start.astimezone(UTC), speed)
        self._account = Account(seed, api_key, tuple(service_ids), dialect, paths, self.model, self._schedule_callbacks)
        self._account_lock = threading.Lock()
        self._webhooks = WebhookSender(self._clock, self._account.callback_settings_of)
        routes = [Mount(PREFIX, app=self._serve_api), Route("/sandbox/advance", self._serve_advance, methods=["POST"])]
        name, app = "viberkit-sandbox", Router(routes, lifespan=self._lifespan)
        super().__init__(app, port=port, name=name, timeout_keep_alive=600, timeout_graceful_shutdown=1)

    def __repr__(self) -> str:
        url = f"http://{self.host}:{self.port}{PREFIX}" if self._server else "not started"
        return f"Sandbox(seed={self.seed}, base_url={url!r})"

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:
        """Send callbacks while the server and the clock run."""
        stopping = threading.Event()

        def send_callbacks() -> None:
            while self._clock.speed and not stopping.wait(_CALLBACK_INTERVAL_S):
                self._webhooks.send_due()

        thread = threading.Thread(target=send_callbacks, name="viberkit-sandbox-callbacks", daemon=True)
        thread.start()
        yield
        stopping.set()
        thread.join()
        self._webhooks.close()

    @functools.cached_property
    def base_url(self) -> str:
        """Base URL for a client, such as ``http://127.0.0.1:40123/conversations/v3``; starts the server."""
        self.start()
        return f"http://{self.host}:{self.port}{PREFIX}"

    def client(self, **options: Any) -> Client:
        """Create a client of this sandbox.

        Parameters
        ----------
        **options
            Keyword arguments of :class:`~viberkit.api.client.Client`.

        Returns
        -------
        Client
            A client with the base URL, API key and service id of the sandbox.
        """
        self.start()
        return Client(self.api_key, self.service_id, base_url=self.base_url, **options)

    # --- virtual time and true timings -------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """Current virtual instant (UTC)."""
        return self._clock.now()

    def advance(self, **duration: float) -> None:
        """Move virtual time forward, and post the callbacks that are due.

        Callbacks are posted in the order of their due times, before the method returns.

        Parameters
        ----------
        **duration : float
            Keyword arguments of :class:`datetime.timedelta`, such as ``minutes=5``.

        Raises
        ------
        InvalidRequest
            If the duration is negative, or ends after the year 9000.
        """
        now = self.now
        try:
            until = now + timedelta(**duration)
        except (OverflowError, ValueError):
            until = datetime.max.replace(tzinfo=UTC)
        if not now <= until <= _END:
            rule = f"is negative, or ends after {_END:%Y}; virtual time runs forward only"
            raise InvalidRequest([Violation("duration", quote(duration), rule)])
        self._webhooks.send_due(until)

    def truth(self) -> pd.DataFrame:
        """Return the complete journey of every accepted message, future states included.

        Returns
        -------
        DataFrame
            One row per message and state, without duplicates, in order:

            - ``message_id``, ``to`` : str, message and recipient
            - ``rate_type`` : category, rate type
            - ``state`` : category, the state entered; ``routed`` is included though only the guide's dialect reports it
            - ``happened_at`` : datetime (UTC), when the state was entered
        """
        import pandas as pd

        with self._account_lock:
            messages = list(self._account.messages.values())
        rows = [
            (message.message_id, message.request["to"], message.request["rateType"], step.state, step.at)
            for message in messages
            for step in message.steps
        ]
        frame = pd.DataFrame(rows, columns=["message_id", "to", "rate_type", "state", "happened_at"])
        dtypes = {"message_id": "str", "to": "str", "rate_type": "category", "happened_at": "datetime64[us, UTC]"}
        return frame.astype({**dtypes, "state": pd.CategoricalDtype(list(ORDER))})

    @property
    def callbacks(self) -> list[CallbackAttempt]:
        """Attempts to post callbacks, in order, with the status of each response."""
        return list(self._webhooks.attempts)

    def _schedule_callbacks(self, message: Message) -> None:
        url = (message.request.get("overrides") or {}).get("notificationCallbackUrl")
        for due_at, step in message.callbacks():
            body = functools.partial(message.callback, step)
            self._webhooks.schedule(due_at, PendingCallback(message.request["from"], body, url))

    # --- inbound messages --------------------------------------------------------------------------

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
        """Simulate an inbound message, and post it to the configured inbound URL.

        Parameters
        ----------
        from_ : str
            Phone number of the sender.
        text : str, optional
            Text, or caption of the media.
        media : bytes or mapping, optional
            Content of a file, which is stored for download, or a media object in the format of the API.
        reply_to : str, optional
            Id of the message that the inbound message replies to.
        postback : str, optional
            Data of a pressed button; replaces the content.
        to : str, optional
            Service id; the first one by default.
        filename : str, default "image.jpg"
            Name of the file, which determines its type.

        Returns
        -------
        str
            Id of the inbound message.
        """
        with self._account_lock:
            rng = random.Random(self._account.next_seed(f"inbound:{from_}"))  # noqa: S311 - a simulation
            message_id = str(rng.randrange(10**18, 2**63))
            content: dict[str, Any] = {"contentType": "text", "text": text}
            if media is not None:
                caption = {"caption": text} if text else {}
                stored = media if isinstance(media, Mapping) else self._store_media(media, filename)
                content = {"contentType": "media", "media": {**stored, **caption}}
        at, service_id = format_instant(self.now), to or self.service_id
        body = {"event": "MoMessage", "content": content}
        if postback is not None:
            body = {"event": "MoMessage::Postback", "postback": {"data": postback}}
        body |= {"messageId": message_id, "channel": "viber", "from": from_, "to": service_id}
        body |= {"receivedAt": at, "timestamp": at} | ({"context": {"messageId": reply_to}} if reply_to else {})
        self._webhooks.schedule(self.now, PendingCallback(service_id, lambda: body))
        self._webhooks.send_due()
        return message_id

    def _store_media(self, data: bytes, filename: str) -> dict[str, str]:
        content_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        family = content_type.partition("/")[0]
        kind = family if family in ("image", "audio", "video") else "document"
        media_id = self._account.store_file(data, content_type)
        return {"type": kind, "mediaId": media_id, "url": f"{self.base_url}/media/{media_id}"}

    # --- HTTP --------------------------------------------------------------------------------------

    def respond(self, request: ApiRequest) -> Response:
        """Return the response to a request of the API.

        Override this method to simulate faults: return another response, before or after the request takes effect.

        Parameters
        ----------
        request : ApiRequest
            A Starlette request; `content` is its body and `received_at` the virtual instant of its arrival.

        Returns
        -------
        starlette.responses.Response
            The response, recorded in :attr:`requests` and sent after :attr:`latency_s`.

        Examples
        --------
        >>> class OverloadedSandbox(Sandbox):
        ...     def respond(self, request):
        ...         if len(self.requests) < 2:
        ...             return Response(status_code=429, headers={"retry-after": "0"})
        ...         return super().respond(request)
        >>> with OverloadedSandbox() as sandbox, sandbox.client() as client:
        ...     sent = client.send("+491701234567", vk.Text("Hello"), rate_type="transaction")
        ...     [request.status for request in sandbox.requests]
        [429, 429, 202]
        """
        with self._account_lock:
            return self._account.respond(request)

    async def _serve_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = ApiRequest(scope, receive)
        try:
            request.content = await request.body()
        except ClientDisconnect:
            return
        request.received_at = now = self.now
        path, query, request.payload = scope["path"].removeprefix(PREFIX), dict(request.query_params), None
        with contextlib.suppress(UnreadableRecord):
            request.payload = parse(request.content)
        response = self.respond(request)
        self.requests.append(ReceivedRequest(request.method, path, query, request.payload, response.status_code, now))
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        response.headers.setdefault("date", format_datetime(now, usegmt=True))
        response.headers["x-viberkit-clock"] = "virtual"
        await response(scope, receive, send)

    async def _serve_advance(self, request: Request) -> Response:
        try:
            await asyncio.to_thread(self.advance, seconds=parse(await request.body())["seconds"])
        except (InvalidRequest, UnreadableRecord, KeyError, TypeError, OverflowError) as error:
            return ProblemError(400, f'pass {{"seconds": 60}}: {error}').response
        return JSONResponse({"now": format_instant(self.now)})
