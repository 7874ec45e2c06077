"""The published reference of the API as JSON schemas, and a server that checks every request against them.

The schemas are closed: a field that the reference does not have is a violation. Where its pages differ, both are
allowed; what every page requires is required.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema

Schema = dict[str, Any]

ID = "1697383a-f16d-4c91-9b75-2b5ee650b9a3"
TIME = "2026-01-05T08:00:00.250Z"


def text(**rules: Any) -> Schema:
    return {"type": "string", **rules}


def one_of(*values: str) -> Schema:
    return text(enum=list(values))


def closed(required: Schema | None = None, optional: Schema | None = None) -> Schema:
    properties = {**(required or {}), **(optional or {})}
    names = list(required or {})
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def listing(items: Schema, **rules: Any) -> Schema:
    return {"type": "array", "items": items, **rules}


INSTANT = text(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?$")
UUID = text(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
INTEGER: Schema = {"type": "integer", "minimum": 0}
_PART = r"[A-Za-z0-9_.-]+"
_REST = r"[A-Za-z0-9_\-.~:/?#\[\]@!$&'()*+,;=]+$"
#: URLs of files, and of the callbacks of one message; the settings of callbacks only have to begin with https.
FILE_URL = text(pattern=rf"^https?://?{_PART}(\.{_PART})+{_REST}")
MESSAGE_CALLBACK_URL = text(pattern=rf"^https://?{_PART}(\.{_PART})+{_REST}")
CALLBACK_URL = text(pattern="^https://", maxLength=2000)

# --- requests ----------------------------------------------------------------------------------------------

FILE_TYPES = "doc docx rtf dot dotx odt odf fodt txt info pdf xps pdax eps xls xlsx ods fods csv xlsm xltx".split()
LINK = closed({"label": text(), "actionUrl": text()})
PARTS: dict[str, Schema] = {
    "text": text(maxLength=3000),
    "image": closed({"url": FILE_URL}),
    "file": closed({"url": FILE_URL, "filename": text()}, {"type": one_of(*FILE_TYPES)}),
    "video": closed(
        {"url": FILE_URL, "thumbnailUrl": FILE_URL, "filesize": INTEGER | {"maximum": 200}, "duration": INTEGER},
        {"type": one_of("3gp", "m4v", "mov", "mp4")},
    ),
    "list": closed({"text": text(), "options": listing(text(), minItems=2, maxItems=5)}),
    "carousel": closed(
        {
            "text": text(),
            "items": listing(
                closed({"title": text(), "imageUrl": FILE_URL, "primaryButton": LINK}, {"secondaryButton": LINK}),
                minItems=2,
                maxItems=5,
            ),
        }
    ),
    "button": closed({"caption": text(), "url": text()}),
}
COMPONENT = {"anyOf": [closed({"type": one_of(name), name: part}) for name, part in PARTS.items()]}
CONTENT = {
    "oneOf": [
        *(closed({"contentType": one_of(name), name: part}) for name, part in PARTS.items() if name != "button"),
        closed({"contentType": one_of("components"), "components": closed({"body": listing(COMPONENT)})}),
    ]
}
RATE_TYPE = one_of("promotion", "transaction", "session")
ADDRESS = {"to": text(), "from": text(), "channel": one_of("viber")}
RATE_TYPES = {"rateType": RATE_TYPE, "messagePurpose": RATE_TYPE}
EITHER_RATE_TYPE = {"anyOf": [{"required": [name]} for name in RATE_TYPES]}
MESSAGE = EITHER_RATE_TYPE | closed(
    ADDRESS | {"content": CONTENT},
    RATE_TYPES
    | {
        "context": text(maxLength=125),
        "overrides": closed(optional={"notificationCallbackUrl": MESSAGE_CALLBACK_URL}),
    },
)
BULK = EITHER_RATE_TYPE | closed(ADDRESS | {"messages": listing(CONTENT, minItems=2, maxItems=20)}, RATE_TYPES)
EVENTS = one_of(
    *(f"MessageStatus::{name}" for name in "accepted channelFailed deleted delivered failed seen unknown".split())
)
SERVICE_CALLBACK = closed(
    optional={
        "callbackVersion": one_of("2.11", "2.12", "2.13"),
        "inboundMessageUrl": CALLBACK_URL,
        "messageStatusUrl": CALLBACK_URL,
        "eventFilter": listing(EVENTS),
    }
)
CALLBACK = closed(
    optional=SERVICE_CALLBACK["properties"]
    | {
        "businessNotificationUrl": CALLBACK_URL,
        "callingNotificationUrl": CALLBACK_URL,
        "signature": closed({"secret": text(minLength=8, maxLength=125), "method": one_of("HS256", "HS512")}),
        "header": closed({"key": text(minLength=4, maxLength=125), "value": text(minLength=8, maxLength=1024)}),
    }
)
CREDENTIALS = {
    "oneOf": [
        closed({"type": one_of("basic"), "basic": closed({"username": text(), "password": text()})}),
        closed(
            {
                "type": one_of("oauth2"),
                "oauth2": closed({"clientId": text(), "clientSecret": text(), "url": text()}),
            }
        ),
    ]
}

# --- responses ---------------------------------------------------------------------------------------------

ACCOUNT_SCOPES = (
    "channels:read callbacks:read callbacks:write credentials:read credentials:write media:read media:write"
)
ACCOUNT = closed(
    optional={
        "scopes": listing(one_of(*ACCOUNT_SCOPES.split())),
        "callback": CALLBACK,
        "config": closed(optional={"mediaCredentials": CREDENTIALS}),
    }
)
CHANNEL = closed(
    {"channel": one_of("viber"), "id": closed({"serviceId": text()})},
    {
        "name": text(maxLength=256),
        "scopes": listing(one_of("channels:read", "callbacks:read", "callbacks:write", "media:read", "media:write")),
        "callback": CALLBACK,  # the settings of a service id may have all parts, says the text of the page
        "config": closed({"serviceType": one_of("session", "two-way", "one-way")}),
    },
)
EVENT = closed(
    {"timestamp": INSTANT, "event": text()},
    {"channel": one_of("viber"), "details": closed({"code": text(), "message": text()})},
)
PROBLEM = closed(
    optional={
        **{name: text() for name in ("type", "title", "detail")},
        "status": {"type": "number"},
        "violations": listing(closed({"field": text(), "message": text()})),
    }
)
UPLOADED = closed({"mediaId": UUID, "url": text(), "quota": INTEGER, "usage": INTEGER})
FILES = listing(
    closed(
        optional={"mediaId": UUID, "contentType": text(), "validity": INSTANT, "fileName": text(), "fileSize": INTEGER}
    )
)
#: Callbacks of both versions; `status` is deprecated.
STATUS_CALLBACK = closed(
    {"event": text(pattern="^MessageStatus::"), "messageId": UUID, "channel": one_of("viber"), "timestamp": INSTANT},
    {
        **{name: text() for name in ("status", "userContext", "from", "to")},
        "details": closed({"code": text(), "message": text()}),
    },
)
MEDIA = closed(
    optional={
        "type": one_of("image", "document", "audio", "voice", "video"),
        **{name: text() for name in ("url", "mediaId", "caption")},
    }
)
INBOUND_CALLBACK = closed(
    {name: text() for name in ("messageId", "event", "channel", "from")},
    {
        "content": closed({"contentType": one_of("text", "media")}, {"text": text(), "media": MEDIA}),
        "postback": closed({"data": text()}),
        "context": closed(optional={"messageId": text()}),
        "to": text(),
        "timestamp": INSTANT,
        "receivedAt": INSTANT,
    },
)
SERVICE = r"/configurations/channels/viber/service-ids/[^/]+"
#: Method and path of each call, the schema of its body, and those of its responses by status.
CALLS: list[tuple[str, str, Schema | None, dict[int, Schema]]] = [
    (
        "POST",
        "/messages",
        MESSAGE,
        {202: closed({"messageId": UUID, "acceptedAt": INSTANT}, {"timestamp": INSTANT})},
    ),
    ("POST", "/bulks", BULK, {202: closed({"bulkId": text(), "messageIds": listing(text())})}),
    (
        "GET",
        "/messages/[^/]+/status",
        None,
        {200: closed({"messageId": UUID, "status": text(), "timestamp": INSTANT}, {"channel": one_of("viber")})},
    ),
    ("GET", "/messages/[^/]+/events", None, {200: closed({"messageId": UUID, "events": listing(EVENT)})}),
    ("GET", "/configurations", None, {200: ACCOUNT}),
    ("PUT", "/configurations/callbacks", CALLBACK, {200: ACCOUNT}),
    ("PUT", "/configurations/mediaCredentials", CREDENTIALS, {200: ACCOUNT}),
    ("DELETE", "/configurations/mediaCredentials", None, {200: ACCOUNT}),
    ("GET", "/configurations/channels(/viber)?", None, {200: listing(CHANNEL)}),
    ("GET", SERVICE, None, {200: CHANNEL}),
    ("PUT", f"{SERVICE}/callbacks", SERVICE_CALLBACK, {200: CHANNEL}),
    ("GET", "/media", None, {200: FILES}),
    ("POST", "/media", None, {200: UPLOADED}),
    ("GET", "/media/[^/]+", None, {}),
    ("DELETE", "/media/[^/]+", None, {}),
]


def find_call(method: str, path: str) -> tuple[Schema | None, dict[int, Schema]] | None:
    """The schemas of a call's body and responses."""
    matches = (call[2:] for call in CALLS if call[0] == method and re.fullmatch(call[1], path))
    return next(matches, None)


def violations(schema: Schema, value: Any) -> list[str]:
    """What is wrong with a value: path and message."""
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    causes = (cause for error in errors for cause in [error, *(error.context or ())])
    return [f"{'.'.join(map(str, cause.absolute_path))}: {cause.message[:200]}" for cause in causes]


def response_violations(method: str, path: str, status: int, body: bytes) -> list[str]:
    """What is wrong with a response to a call."""
    call = find_call(method, path)
    if call is None:
        return [f"{method} {path}: is not published"]
    schema = PROBLEM if status >= 400 else call[1].get(status)
    return violations(schema, json.loads(body)) if schema else []


class SchemaServer:
    """A server on loopback that refuses what the schemas do not allow, and lists it in ``violations``."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.callbacks: dict[str, dict[str, Any]] = {"": {}, "SHOP": {}}
        self.credentials: dict[str, Any] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self) -> None:
                url, length = urlsplit(self.path), int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                path = url.path.removeprefix("/v3")
                server.calls.append((self.command, path))
                wrong = server.check(self.command, path, dict(parse_qsl(url.query)), self.headers, body)
                server.violations += [f"{self.command} {path}: {item}" for item in wrong]
                status, answer = server.answer(self.command, path, body) if not wrong else (400, problem(wrong))
                payload = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 - the names that http.server calls

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v3"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def check(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> list[str]:
        """What is wrong with a request."""
        call = find_call(method, path)
        if call is None:
            return ["is not published"]
        wrong = [] if headers.get("apikey") else ["apikey: is missing"]
        if path == "/media" and method == "POST":
            closed_query = closed(optional={"validity": text(pattern="^[0-9]+$"), "filename": text()})
            return wrong + violations(closed_query, query)
        if call[0] is None:
            return wrong + (["has a body"] if body else []) + (["has a query"] if query else [])
        if headers.get("content-type") != "application/json":
            wrong.append("content-type: is not JSON")
        return wrong + violations(call[0], json.loads(body))

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """The published answer to a valid request."""
        match method, path.split("/")[1:]:
            case "POST", ["messages"]:
                return 202, {"messageId": ID, "acceptedAt": TIME}
            case "POST", ["bulks"]:
                return 202, {"bulkId": "bulk-1", "messageIds": [ID] * len(json.loads(body)["messages"])}
            case _, ["messages", message_id, "status"]:
                return 200, {"messageId": message_id, "status": "delivered", "timestamp": TIME}
            case _, ["messages", message_id, "events"]:
                events = [{"timestamp": TIME, "event": "MessageStatus::accepted", "channel": "viber"}]
                return 200, {"messageId": message_id, "events": events}
            case "PUT", ["configurations", *rest, "callbacks"]:
                self.callbacks[rest[-1] if rest else ""] = json.loads(body)
                return 200, self.channel() if rest else self.account()
            case _, ["configurations", "mediaCredentials"]:
                self.credentials = json.loads(body) if body else {}
                return 200, self.account()
            case _, ["configurations"]:
                return 200, self.account()
            case _, ["configurations", "channels", *rest]:
                return 200, self.channel() if len(rest) == 3 else [self.channel()]
            case "POST", ["media"]:
                return 200, {"mediaId": ID, "url": f"{self.url}/media/{ID}", "quota": 1000, "usage": len(body)}
            case "GET", ["media"]:
                file = {"mediaId": ID, "contentType": "image/png", "validity": TIME, "fileName": "a.png"}
                return 200, [file | {"fileSize": 3}]
            case "DELETE", _:
                return 204, b""
        return 200, b"png"

    def account(self) -> dict[str, Any]:
        config = {"mediaCredentials": self.credentials} if self.credentials else {}
        return {"scopes": ["channels:read", "callbacks:write"], "callback": self.callbacks[""], "config": config}

    def channel(self) -> dict[str, Any]:
        callback = self.callbacks["SHOP"]
        channel = {"channel": "viber", "scopes": ["callbacks:read"], "id": {"serviceId": "SHOP"}, "name": "Shop"}
        return {**channel, "callback": callback, "config": {"serviceType": "two-way"}}


def problem(wrong: list[str]) -> dict[str, Any]:
    """A refusal with all violations."""
    items = [dict(zip(("field", "message"), item.split(": ", 1), strict=True)) for item in wrong if ": " in item]
    return {"type": "about:blank", "title": "Constraint Violation", "status": 400, "violations": items}
