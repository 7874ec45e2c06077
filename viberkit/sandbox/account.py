"""The simulated account: its messages, callback settings and files, and the response to every call of the API.

State is in memory. :meth:`Account.respond` needs neither a socket nor a clock: the request carries the virtual instant.
"""

from __future__ import annotations

import hmac
import math
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from viberkit.sandbox import rules
from viberkit.sandbox.delivery_model import DeliveryModel
from viberkit.sandbox.message import Message, format_instant

PAGE_SIZE = 50
QUOTA = 2**30  # bytes of uploaded files
SCOPES = "channels:read callbacks:read callbacks:write credentials:read credentials:write media:read media:write"
_SERVICE_ID = "/configurations/channels/viber/service-ids/{service_id}"


class ApiRequest(Request):
    """A request to the API with its body, which has been read, and the virtual instant of its arrival.

    ``payload`` is the parsed body, None if it is not JSON.
    """

    content: bytes
    payload: Any
    received_at: datetime

    def json_object(self) -> dict[str, Any]:
        if not isinstance(self.payload, dict):
            raise ProblemError(400, "the body is not a JSON object")
        return self.payload


class ProblemError(Exception):
    """A request that is answered with a problem (RFC 7807)."""

    def __init__(self, status: int, detail: str, violations: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        title = "Constraint Violation" if violations else HTTPStatus(status).phrase
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if violations:
            problem["violations"] = [{"field": name, "message": message} for name, message in violations]
        self.response = JSONResponse(problem, status, media_type="application/problem+json")


def _raise_violations(violations: Iterable[tuple[str, str]], prefix: str = "") -> None:
    """Raise a problem that lists the violations, if there are any."""
    fields = [(prefix + name, message) for name, message in dict.fromkeys(violations)]
    if fields:
        raise ProblemError(400, " ".join(fields[0]), fields)


class StoredFile(NamedTuple):
    """A file that was uploaded, or received from a recipient (then it does not expire)."""

    media_id: str
    data: bytes
    content_type: str
    filename: str | None = None
    expires_at: datetime | None = None


@dataclass
class Account:
    """One account of the provider. An endpoint returns a response, or the JSON of one with status 200."""

    seed: int
    api_key: str
    service_ids: tuple[str, ...]
    dialect: str
    paths: str
    model: DeliveryModel
    on_accepted: Callable[[Message], None]
    messages: dict[str, Message] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)
    #: Callback settings by service id; those of the account have the key "".
    callback_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    _draws: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        routes = [
            ("POST", "/messages", self._send_message),
            ("POST", "/bulks", self._send_bulk),
            ("GET", "/messages/{message_id}", self._get_message),
            ("GET", "/configurations", lambda request: self._configuration()),
            ("PUT", "/configurations/callbacks", self._set_callbacks),
            ("PUT", "/configurations/mediaCredentials", self._set_media_credentials),
            ("DELETE", "/configurations/mediaCredentials", self._set_media_credentials),
            ("GET", "/configurations/channels", self._list_channels),
            ("GET", "/configurations/channels/viber", self._list_channels),
            ("GET", _SERVICE_ID, lambda request: self._channel(request.path_params["service_id"])),
            ("PUT", f"{_SERVICE_ID}/callbacks", self._set_callbacks),
            ("POST", "/media", self._upload_file),
            ("GET", "/media", self._list_files),
            ("GET", "/media/{media_id}", self._download_file),
            ("DELETE", "/media/{media_id}", self._delete_file),
        ]
        prefixes = ["/messages/{message_id}"] if self.paths == "reference" else []
        if self.paths == "guide" or self.dialect != "v3":
            prefixes.append("/{message_id}")
            routes.append(("GET", "/messages/{message_id}/history", self._get_events))
        for prefix in prefixes:
            routes += [("GET", f"{prefix}/status", self._get_status), ("GET", f"{prefix}/events", self._get_events)]
        self._routes = [Route(path, endpoint, methods=[method]) for method, path, endpoint in reversed(routes)]

    def respond(self, request: ApiRequest) -> Response:
        """The response to a request."""
        if not hmac.compare_digest(request.headers.get("apikey", "").encode(), self.api_key.encode()):
            return ProblemError(401, "the apikey is missing or not valid").response
        for route in self._routes:
            match, scope = route.matches(request.scope)
            if match is Match.FULL:
                request.scope.update(scope)
                try:
                    result = route.endpoint(request)
                except ProblemError as problem:
                    return problem.response
                return result if isinstance(result, Response) else JSONResponse(result)
        return Response("<html><body>Not Found</body></html>", 404, {"content-type": "text/html"})

    def next_seed(self, name: str) -> str:
        """The seed of the next draw for a name: independent of the draws for other names."""
        self._draws[name] += 1
        return f"{self.seed}:{name}:{self._draws[name]}"

    # --- messages ----------------------------------------------------------------------------------

    def _send_message(self, request: ApiRequest) -> Response:
        [message] = self._accept(request, "content")
        return JSONResponse(message.acceptance(), 202)

    def _send_bulk(self, request: ApiRequest) -> Response:
        accepted = self._accept(request, "messages")
        ids = [message.message_id for message in accepted]
        return JSONResponse({"bulkId": str(uuid.uuid5(uuid.UUID(ids[0]), "bulk")), "messageIds": ids}, 202)

    def _accept(self, request: ApiRequest, field: str) -> list[Message]:
        """Accept the contents in a field of a request, unless it violates a rule."""
        body = request.json_object()
        contents: Any = body.get(field) if field == "messages" else [body.get(field)]
        if self.dialect == "guide" and isinstance(contents, list):  # its example says type
            contents = [{"contentType": c.get("type"), **c} if isinstance(c, dict) else c for c in contents]
            body = body | {field: contents if field == "messages" else contents[0]}
        _raise_violations(rules.check_send(body, field), "validate.request.")
        if body["from"] not in self.service_ids:
            raise ProblemError(403, "the service id in 'from' does not belong to this account")
        body = body | {"to": rules.e164(body["to"]), "rateType": rules.rate_type_of(body)}
        if field == "messages":  # the reference has no context of a bulk
            body.pop("context", None)
        at = request.received_at.replace(microsecond=request.received_at.microsecond // 1000 * 1000)
        accepted = []
        for content in contents:
            message = Message.draw(self.next_seed(body["to"]), self.model, self.dialect, at, body, content)
            self.messages[message.message_id] = message
            self.on_accepted(message)
            accepted.append(message)
        return accepted

    def _find(self, request: ApiRequest, is_available: Callable[[Message, datetime], bool]) -> Message:
        message = self.messages.get(request.path_params["message_id"])
        if message is None or not is_available(message, request.received_at):
            raise ProblemError(404, "no message has this id, or it has expired")
        return message

    def _get_message(self, request: ApiRequest) -> Any:
        return self._find(request, Message.has_body).stored()

    def _get_status(self, request: ApiRequest) -> Any:
        return self._find(request, Message.has_history).status(request.received_at)

    def _get_events(self, request: ApiRequest) -> Any:
        return self._find(request, Message.has_history).history(request.received_at)

    # --- configuration -----------------------------------------------------------------------------

    def callback_settings_of(self, service_id: str) -> Mapping[str, Any]:
        """The callback settings of a service id; parts that it lacks are those of the account."""
        return {**self.callback_settings.get("", {}), **self.callback_settings.get(service_id, {})}

    def _configuration(self) -> dict[str, Any]:
        return {"scopes": SCOPES.split(), "callback": self.callback_settings.get("", {}), "config": self.config}

    def _channel(self, service_id: str) -> dict[str, Any]:
        if service_id not in self.service_ids:
            raise ProblemError(404, "the service id does not belong to this account")
        channel = {"channel": "viber", "id": {"serviceId": service_id}, "name": service_id.title()}
        settings = {"callback": self.callback_settings.get(service_id, {}), "config": {"serviceType": "two-way"}}
        return {**channel, "scopes": ["callbacks:read", "callbacks:write"], **settings}

    def _list_channels(self, request: ApiRequest) -> Response:
        return _page(request, [self._channel(service_id) for service_id in self.service_ids])

    def _set_callbacks(self, request: ApiRequest) -> Any:
        service_id, settings = request.path_params.get("service_id", ""), request.json_object()
        result = self._channel(service_id) if service_id else self._configuration()
        _raise_violations(rules.CALLBACK_SETTINGS("", settings))
        self.callback_settings[service_id] = result["callback"] = {key: part for key, part in settings.items() if part}
        return Response(status_code=204) if "guide" in (self.paths, self.dialect) else result

    def _set_media_credentials(self, request: ApiRequest) -> Any:
        if request.method == "PUT":
            _raise_violations(rules.MEDIA_CREDENTIALS("", request.json_object()))
        self.config = {"mediaCredentials": request.payload} if request.method == "PUT" else {}
        return self._configuration()

    # --- files -------------------------------------------------------------------------------------

    def store_file(self, data: bytes, content_type: str, *details: Any) -> str:
        """Store a file, with its name and expiry if it was uploaded, and return its media id."""
        rng = random.Random(self.next_seed("media"))  # noqa: S311 - a simulation
        media_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.files[media_id] = StoredFile(media_id, data, content_type, *details)
        return media_id

    def _upload_file(self, request: ApiRequest) -> Any:
        minutes = request.query_params.get("validity", "1440")
        violations = {"body": "must not be empty"} if not request.content else {}
        violations |= {} if re.fullmatch("[0-9]{1,6}", minutes) else {"validity": "must be a number of minutes"}
        _raise_violations(violations.items())
        content_type = request.headers.get("content-type", "application/octet-stream")
        expires_at = request.received_at + timedelta(minutes=int(minutes))
        media_id = self.store_file(request.content, content_type, request.query_params.get("filename"), expires_at)
        usage = sum(len(file.data) for file in self.files.values() if file.expires_at)
        url = f"{request.url.replace(query='')}/{media_id}"
        return {"mediaId": media_id, "url": url, "quota": QUOTA, "usage": usage}

    def _list_files(self, request: ApiRequest) -> Response:
        uploaded = [
            {"mediaId": media_id, "contentType": content_type, "fileName": name or "", "fileSize": len(data)}
            | {"validity": format_instant(expires_at)}
            for media_id, data, content_type, name, expires_at in self.files.values()
            if expires_at and request.received_at < expires_at
        ]
        return _page(request, uploaded)

    def _find_file(self, request: ApiRequest) -> StoredFile:
        file = self.files.get(request.path_params["media_id"])
        if file is None or (file.expires_at and request.received_at >= file.expires_at):
            raise ProblemError(404, "no file has this id, or it has expired")
        return file

    def _download_file(self, request: ApiRequest) -> Response:
        file = self._find_file(request)
        return Response(file.data, headers={"content-type": file.content_type})

    def _delete_file(self, request: ApiRequest) -> Response:
        del self.files[self._find_file(request).media_id]
        return Response(status_code=204)


def _page(request: ApiRequest, items: list[dict[str, Any]]) -> Response:
    """One page of a list, with links to the other pages (RFC 5988)."""
    last = max(1, math.ceil(len(items) / PAGE_SIZE))
    number = request.query_params.get("page", "1")
    page = min(max(int(number), 1), last) if re.fullmatch("[0-9]{1,9}", number) else 1
    pages = {"first": 1, "previous": page - 1, "current": page, "next": page + 1, "last": last}
    url = request.url.replace(query="")
    links = [f'<{url}?page={number}>; rel="{name}"' for name, number in pages.items() if 1 <= number <= last]
    headers = {"link": ", ".join(links), "x-total-pages": str(last), "x-total-items": str(len(items))}
    headers |= {"x-page-size": str(PAGE_SIZE), "x-current-page": str(page)}
    return JSONResponse(items[(page - 1) * PAGE_SIZE : page * PAGE_SIZE], headers=headers)
