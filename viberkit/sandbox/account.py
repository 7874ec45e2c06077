"""The account that the sandbox imitates: an answer for every call of the API, in memory, without a socket or a clock.

:meth:`Account.answer` takes a :class:`Call` and the virtual instant. What a request breaks is found by
the library's own rules and told as the server would, by the names that its JSON has.
"""

from __future__ import annotations

import hmac
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from viberkit.errors import UnreadableRecord
from viberkit.models.parsing import parse
from viberkit.models.phone import normalize
from viberkit.sandbox.delivery_model import DeliveryModel
from viberkit.sandbox.message import Message, stamp
from viberkit.sandbox.rules import callback_rules, content_rules, rate_type_of, request_rules

__all__ = ["Account", "Answer", "Call"]

PAGE = 50
_SCOPES = ["messages", "configurations", "media"]


class Call(NamedTuple):
    """A request as it arrived; ``path`` is what follows the base URL."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """A call that is answered with a problem (RFC 7807)."""

    def __init__(self, status: int, title: str, detail: str, found: Sequence[tuple[str, str]] = ()) -> None:
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if found:
            problem["violations"] = [{"field": where, "message": message} for where, message in found]
        self.answer = _json(problem, status, "application/problem+json")
        super().__init__(title)


@dataclass
class Upload:
    """A file: uploaded (a beta call of the API), or received from a recipient."""

    media_id: str
    data: bytes
    content_type: str
    filename: str | None = None
    until: datetime | None = None


@dataclass
class Account:
    """One account of the provider: its key, service ids, callbacks, messages and files."""

    seed: int
    api_key: str
    service_ids: tuple[str, ...]
    dialect: str
    paths: str
    model: DeliveryModel
    base_url: str = ""
    on_sent: Callable[[Message], None] = lambda message: None
    messages: dict[str, Message] = field(default_factory=dict)
    media: dict[str, Upload] = field(default_factory=dict)
    #: Callback settings: the account's under "", a service id's under its name.
    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    ordinals: Counter[str] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return f"Account(service_ids={self.service_ids!r}, {len(self.messages)} messages)"

    def answer(self, call: Call, now: datetime) -> Answer:
        """What the server answers to a call at an instant."""
        if not hmac.compare_digest(call.headers.get("apikey", "").encode(), self.api_key.encode()):
            return Refusal(401, "Unauthorized", "the apikey is missing or not valid").answer
        try:
            return self._route(call, now)
        except Refusal as refusal:
            return refusal.answer

    def _route(self, call: Call, now: datetime) -> Answer:
        reference, guide = self.paths == "reference", self.paths == "guide" or self.dialect != "v3"
        match (call.method, *call.path.strip("/").split("/")):
            case "POST", "messages":
                return self._send(_object(call.body), now)
            case "POST", "bulks":
                return self._send_bulk(_object(call.body), now)
            case "GET", "messages", message_id:
                return _json(self._find(message_id, now, stored=True).stored())
            case "GET", "messages", message_id, "status" if reference:
                return _json(self._find(message_id, now).status(now))
            case "GET", "messages", message_id, "events" if reference:
                return _json(self._find(message_id, now).history(now))
            case "GET", message_id, "status" if guide:
                return _json(self._find(message_id, now).status(now))
            case ("GET", message_id, "events") | ("GET", "messages", message_id, "history") if guide:
                return _json(self._find(message_id, now).history(now))
            case "GET", "configurations":
                return _json(self._configuration())
            case "PUT", "configurations", "callbacks":
                return self._configure("", _object(call.body))
            case ("GET", "configurations", "channels") | ("GET", "configurations", "channels", "viber"):
                return self._page(call, [self._channel(service_id) for service_id in self.service_ids])
            case "GET", "configurations", "channels", "viber", "service-ids", service_id:
                return _json(self._channel(service_id))
            case "PUT", "configurations", "channels", "viber", "service-ids", service_id, "callbacks":
                return self._configure(service_id, _object(call.body))
            case "POST", "media":
                return self._upload(call, now)
            case "GET", "media":
                kept = [one for one in self.media.values() if one.until and now < one.until]
                return self._page(call, [self._file(one) for one in kept])
            case (("GET" | "DELETE"), "media", media_id):
                return self._fetch(call.method, media_id, now)
        return Answer(404, b"<html><body>Not Found</body></html>", {"content-type": "text/html"})

    # --- messages --------------------------------------------------------------------------------------

    def _send(self, given: Mapping[str, Any], now: datetime) -> Answer:
        found = list(content_rules(given.get("content"), rate_type_of(given), "content"))
        message = self._accept(self._checked(given, found), given["content"], now)
        return _json(message.accepted(), 202)

    def _send_bulk(self, given: Mapping[str, Any], now: datetime) -> Answer:
        contents = given.get("messages")
        found: list[tuple[str, str]] = []
        if not isinstance(contents, list) or not 2 <= len(contents) <= 20:
            found.append(("messages", "size must be between 2 and 20"))
        else:
            for place, content in enumerate(contents):
                found += content_rules(content, rate_type_of(given), f"messages[{place}]")
        request = self._checked(given, found)
        accepted = [self._accept(request, content, now) for content in given["messages"]]
        ids = [message.message_id for message in accepted]
        told = accepted[0].accepted()
        del told["messageId"]
        bulk_id = str(uuid.uuid5(uuid.UUID(ids[0]), "bulk"))
        return _json({"bulkId": bulk_id, "messageIds": ids, **told}, 202)

    def _checked(self, given: Mapping[str, Any], found: list[tuple[str, str]]) -> dict[str, Any]:
        """The request in v3's words, its number in E.164; refused where it breaks a rule."""
        found = [*request_rules(given), *found]
        if found:
            fields = [(f"validate.request.{where}", message) for where, message in dict.fromkeys(found)]
            raise Refusal(400, "Constraint Violation", " ".join(fields[0]), fields)
        if given["from"] not in self.service_ids:
            raise Refusal(403, "Forbidden", "the service id in 'from' is not one of this account's")
        return {**given, "to": normalize(given["to"]), "rateType": rate_type_of(given)}

    def _accept(self, request: Mapping[str, Any], content: Mapping[str, Any], now: datetime) -> Message:
        origin = self.origin(request["to"])
        accepted_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
        message = Message.draw(origin, self.model, self.dialect, accepted_at, request, content)
        self.messages[message.message_id] = message
        self.on_sent(message)
        return message

    def origin(self, name: str) -> str:
        """A name for the next random stream of a recipient: the same, whoever else is served meanwhile."""
        self.ordinals[name] += 1
        return f"{self.seed}:{name}:{self.ordinals[name]}"

    def _find(self, message_id: str, now: datetime, *, stored: bool = False) -> Message:
        message = self.messages.get(message_id)
        if message is None or not (message.is_stored(now) if stored else message.is_known(now)):
            raise Refusal(404, "Not Found", "no message has this id, or it has expired")
        return message

    # --- configuration ---------------------------------------------------------------------------------

    def callback_of(self, service_id: str) -> Mapping[str, Any]:
        """Where and how callbacks go: the service id's settings over the account's, part by part."""
        return {**self.callbacks.get("", {}), **self.callbacks.get(service_id, {})}

    def _configuration(self) -> dict[str, Any]:
        return {"scopes": _SCOPES, "callback": self.callbacks.get("", {}), "config": {}}

    def _channel(self, service_id: str) -> dict[str, Any]:
        if service_id not in self.service_ids:
            raise Refusal(404, "Not Found", "the service id is not one of this account's")
        return {
            "channel": "viber",
            "id": {"serviceId": service_id},
            "name": service_id.title(),
            "scopes": _SCOPES[:1],
            "callback": self.callbacks.get(service_id, {}),
            "config": {"serviceType": "two-way"},
        }

    def _configure(self, service_id: str, given: dict[str, Any]) -> Answer:
        if service_id:
            self._channel(service_id)
        if found := list(callback_rules(given)):
            raise Refusal(400, "Constraint Violation", " ".join(found[0]), found)
        self.callbacks[service_id] = {name: part for name, part in given.items() if part not in (None, [])}
        if self.paths == "guide":
            return Answer(204)
        return _json(self._channel(service_id) if service_id else self._configuration())

    # --- media and pages -------------------------------------------------------------------------------

    def keep_inbound(self, data: bytes, content_type: str) -> str:
        """A file that a recipient sent."""
        kept = Upload(self._uuid("media"), data, content_type)
        self.media[kept.media_id] = kept
        return kept.media_id

    def _uuid(self, name: str) -> str:
        rng = random.Random(self.origin(name))  # noqa: S311 - a simulation
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    def _upload(self, call: Call, now: datetime) -> Answer:
        minutes = call.query.get("validity", "1440")
        if not call.body or not re.fullmatch("[0-9]{1,6}", minutes):
            what = ("body", "must not be empty") if not call.body else ("validity", "must be a number of minutes")
            raise Refusal(400, "Constraint Violation", " ".join(what), [what])
        kind = call.headers.get("content-type", "application/octet-stream")
        until = now + timedelta(minutes=int(minutes))
        kept = Upload(self._uuid("media"), call.body, kind, call.query.get("filename"), until)
        self.media[kept.media_id] = kept
        used = sum(len(one.data) for one in self.media.values() if one.until)
        told = {"mediaId": kept.media_id, "url": f"{self.base_url}/media/{kept.media_id}"}
        return _json({**told, "quota": "1 GB", "usage": f"{used} B"})

    def _file(self, one: Upload) -> dict[str, Any]:
        told = {"mediaId": one.media_id, "url": f"{self.base_url}/media/{one.media_id}", "filename": one.filename}
        return told | {"validUntil": stamp(one.until)} if one.until else told

    def _fetch(self, method: str, media_id: str, now: datetime) -> Answer:
        kept = self.media.get(media_id)
        if kept is None or (kept.until and now >= kept.until):
            raise Refusal(404, "Not Found", "no file has this id, or it has expired")
        if method == "DELETE":
            del self.media[media_id]
            return Answer(204)
        return Answer(200, kept.data, {"content-type": kept.content_type})

    def _page(self, call: Call, items: list[dict[str, Any]]) -> Answer:
        """A page of a list, with links to the others (RFC 5988)."""
        last = max(1, -(-len(items) // PAGE))
        told = call.query.get("page", "1")
        page = min(max(int(told), 1), last) if told.isascii() and told.isdigit() else 1
        links = {"first": 1, "previous": page - 1, "current": page, "next": page + 1, "last": last}
        url = f"{self.base_url}/{call.path.strip('/')}?page="
        there = [f'<{url}{number}>; rel="{name}"' for name, number in links.items() if 1 <= number <= last]
        answer = _json(items[(page - 1) * PAGE : page * PAGE])
        counts = {"x-total-pages": last, "x-total-items": len(items), "x-page-size": PAGE, "x-current-page": page}
        return answer._replace(
            headers={**answer.headers, "link": ", ".join(there), **{name: str(each) for name, each in counts.items()}}
        )


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = parse(body)
    except UnreadableRecord as fault:
        raise Refusal(400, "Bad Request", str(fault)) from None
    if not isinstance(given, dict):
        raise Refusal(400, "Bad Request", "the body is not a JSON object")
    return given


def _json(what: object, status: int = 200, kind: str = "application/json") -> Answer:
    return Answer(status, json.dumps(what, ensure_ascii=False).encode(), {"content-type": kind})
