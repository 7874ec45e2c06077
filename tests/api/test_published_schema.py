"""Requests of the client and responses of the sandbox against the published schemas; the guide's literal examples."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given, settings, strategies as st
from support.published_schema import (
    CALLBACK,
    CONTENT,
    ID,
    INBOUND_CALLBACK,
    STATUS_CALLBACK,
    SchemaServer,
    response_violations,
    violations,
)
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.models import validation
from viberkit.models.content import from_wire, to_wire

TO, LINK = "+491701234567", "https://example.org/a.png"
GO = vk.Button("Go", "https://example.org/?a=%20b")
VIDEO = vk.Video(LINK, LINK, 10.5, 20.5)
CONTENTS: list[Any] = [
    vk.Text("Hello"),
    vk.Image(LINK),
    vk.File(LINK, "a.pdf", "pdf"),
    VIDEO,
    vk.Text("Hi", video=VIDEO),
    vk.Text("Hi", video=VIDEO, button=GO),
    vk.Text("Hi", button=GO),
    vk.Text("Hi", image=LINK, button=GO),
    vk.List("Which?", ["tea", "coffee"]),
    vk.Carousel("Look", [vk.CarouselItem("one", LINK, GO, GO), vk.CarouselItem("two", LINK, GO)]),
]


@pytest.fixture
def server() -> Iterator[SchemaServer]:
    running = SchemaServer()
    yield running
    running.close()


@pytest.fixture
def client(server: SchemaServer) -> Iterator[vk.Client]:
    with vk.Client("the-key-of-the-account", "SHOP", base_url=server.url) as opened:
        yield opened


def make_every_call(client: vk.Client, is_sandbox: bool = False) -> None:
    account = client.account
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in CONTENTS:
            sent = client.send(TO, content, rate_type="promotion")
        options: dict[str, Any] = {"context": "order 7", "callback_url": "https://example.org/status"}
        sent = client.send(TO, vk.Text("Hi"), rate_type="transaction", **options)
        client.bulk(TO, CONTENTS, rate_type="session")
    client.status(sent.message_id)
    client.events(sent.message_id)
    account.configuration()
    account.channels()
    account.service_ids()
    account.service_id("SHOP")
    names = [name for name in validation.EVENTS if name in validation.LISTED_EVENTS]
    account.configure_callbacks(
        "https://example.org/c", events=names, secret="long enough", header=("x-token", "0" * 8)
    )
    account.configure_callbacks(status_url="https://example.org/c", events=["delivered"], service_id="SHOP")
    account.configure_callbacks(status_url="inherit", service_id="SHOP")
    account.set_media_credentials("user", "a-password")
    account.set_media_credentials("client", "a-client-secret", token_url="https://example.org/token")
    account.configuration()
    account.delete_media_credentials()
    media = account.upload_media(b"png", "a.png", validity_min=60)
    account.list_media()
    account.download_media(media.media_id)
    account.delete_media(media.media_id)


@pytest.mark.parametrize("with_archive", [False, True])
def test_every_call_agrees_with_the_schema(
    server: SchemaServer, client: vk.Client, archive: vk.Archive, with_archive: bool
) -> None:
    if with_archive:
        server.answer = lambda *args, answer=server.answer: distinct(answer(*args))  # type: ignore[method-assign]
    make_every_call(client.with_archive(archive) if with_archive else client)
    assert server.violations == []
    assert len({(method, path.replace(ID, "")) for method, path in server.calls}) == 16


def distinct(answer: tuple[int, Any]) -> tuple[int, Any]:
    """The answer with new ids, as an archive needs them."""
    status, body = answer
    if status == 202:
        distinct.count += 1  # type: ignore[attr-defined]
        body = json.loads(json.dumps(body).replace(ID, f"{distinct.count:08x}{ID[8:]}"))  # type: ignore[attr-defined]
    return status, body


distinct.count = 0  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 200), st.floats(0, 86_400))
def test_a_video_of_any_size_agrees_with_the_schema(size_mb: float, duration_s: float) -> None:
    assert not violations(CONTENT, to_wire(vk.Video(LINK, LINK, size_mb, duration_s)))


# --- the sandbox as a generated client reads it ------------------------------------------------------------


class RecordingSession(requests.Session):
    """Checks every response against the schema of its call."""

    def __init__(self, sandbox: vk.Sandbox) -> None:
        super().__init__()
        self.trust_env, self.sandbox, self.wrong = False, sandbox, []  # type: ignore[var-annotated]
        self.headers["apikey"] = sandbox.api_key

    def call(self, method: str, path: str, **options: Any) -> Any:
        response = self.request(method, self.sandbox.base_url + path, timeout=5, **options)
        found = response_violations(method, path.partition("?")[0], response.status_code, response.content or b"null")
        self.wrong += [f"{method} {path} ({response.status_code}): {item}" for item in found]
        return response.json() if "json" in response.headers.get("content-type", "") else None


def test_every_answer_of_the_sandbox_agrees_with_the_schema() -> None:
    service = "/configurations/channels/viber/service-ids/SHOP"
    setting = {"messageStatusUrl": "https://example.org/c", "eventFilter": ["MessageStatus::delivered"]}
    more = {"businessNotificationUrl": "https://example.org/b", "signature": {"secret": "12345678", "method": "HS256"}}
    credentials = {"type": "basic", "basic": {"username": "u", "password": "p"}}
    with vk.Sandbox(seed=1, speed=0, service_ids=("SHOP",)) as sandbox, RecordingSession(sandbox) as session:
        shared = {"to": TO, "from": "SHOP", "channel": "viber", "messagePurpose": "promotion", "rateType": None}
        sent = [session.call("POST", "/messages", json=shared | {"content": to_wire(c)}) for c in CONTENTS * 5]
        session.call("POST", "/bulks", json=shared | {"messages": [to_wire(content) for content in CONTENTS]})
        session.call("POST", "/messages", json=shared)
        session.call("PUT", "/configurations/callbacks", json=setting | more)
        session.call("PUT", f"{service}/callbacks", json=setting)
        session.call("PUT", "/configurations/callbacks", json={"messageStatusUrl": "ftp://x"})
        session.call("PUT", "/configurations/mediaCredentials", json=credentials)
        assert session.call("GET", "/configurations")["config"]["mediaCredentials"] == credentials
        session.call("PUT", "/configurations/mediaCredentials", json={"type": "basic"} | {"basic": {}})
        session.call("DELETE", "/configurations/mediaCredentials")
        for path in ("/configurations", "/configurations/channels", "/configurations/channels/viber", service):
            session.call("GET", path)
        uploads = [session.call("POST", f"/media?validity=60{name}", data=b"png") for name in ("&filename=a.png", "")]
        files = session.call("GET", "/media")
        session.call("GET", f"{service}-unknown")
        sandbox.advance(days=3)
        for message in sent:
            session.call("GET", f"/messages/{message['messageId']}/status")
            session.call("GET", f"/messages/{message['messageId']}/events")
        session.call("GET", "/messages/unknown/status")
    assert session.wrong == []
    assert [upload["usage"] for upload in uploads] == [3, 6]
    assert [(file.get("fileName"), file["fileSize"]) for file in files] == [("a.png", 3), ("", 3)]
    accepted = sum("messageId" in message for message in sent)
    assert accepted == len(sent)


@pytest.mark.parametrize("dialect", ["v3", "v2", "guide", "mixed"])
def test_every_callback_of_the_sandbox_agrees_with_the_schema(dialect: str) -> None:
    """Also of those that it does not post, because their address is not on this computer."""
    with vk.Sandbox(seed=1, speed=0, dialect=dialect) as sandbox:
        client = sandbox.client()
        client.account.configure_callbacks("https://example.org/c", events=validation.EVENTS)
        for number in range(60):
            client.send(f"+4917012345{number:02}", vk.Text("Hi"), rate_type="session", context="order 7")
        sandbox.advance(days=20)
        sandbox.receive("491701234567", "Hello", reply_to=ID)
        sandbox.receive("491701234567", "a cat", media=b"png")
        sandbox.receive("491701234567", postback="yes")
        bodies = [attempt.body for attempt in sandbox.callbacks]
    assert len({body["event"] for body in bodies}) >= 7
    for body in bodies:
        schema = STATUS_CALLBACK if body["event"].startswith("MessageStatus::") else INBOUND_CALLBACK
        assert violations(schema, dict(body)) == []


def test_the_client_reads_every_answer_of_the_sandbox() -> None:
    with vk.Sandbox(seed=1, speed=0, service_ids=("SHOP",)) as sandbox, sandbox.client() as client:
        make_every_call(client)
        (file,) = [client.account.upload_media(b"png", "a.png", validity_min=60)]
        (listed,) = client.account.list_media()
        assert (file.quota, file.usage) == (2**30, 3)
        assert (listed.media_id, listed.content_type, listed.filename) == (file.media_id, "image/png", "a.png")
        assert (listed.size_bytes, str(listed.valid_until)) == (3, "2026-01-05 09:00:00+00:00")
        assert {request.status for request in sandbox.requests} == {200, 202, 204}


# --- the guide's examples ----------------------------------------------------------------------------------

SENT = {
    "text": {"channel": "viber", "rateType": "promotion", "content": {"type": "text", "text": "Hello world!"}},
    "image": {
        "channel": "viber",
        "messagePurpose": "promotion",
        "content": {"contentType": "image", "image": {"url": LINK}},
    },
    "file with another name of its type": {
        "channel": "viber",
        "rateType": "session",
        "content": {"type": "file", "file": {"url": LINK, "filename": "a.pdf"}},
    },
}


@pytest.mark.parametrize("name", SENT)
def test_the_guides_requests_are_accepted(name: str) -> None:
    with vk.Sandbox(seed=1, speed=0, dialect="guide") as sandbox, RecordingSession(sandbox) as session:
        request = {"to": "491701234567", "from": sandbox.service_id, **SENT[name]}
        answer = session.call("POST", "/messages", json=request)
        assert set(answer) == {"messageId"}, "the guide shows the id alone"
        bulk = {name: value for name, value in request.items() if name != "content"}
        bulk["messages"] = [request["content"]] * 2
        assert len(session.call("POST", "/bulks", json=bulk)["messageIds"]) == 2
        sandbox.advance(minutes=1)
        with sandbox.client() as client:
            assert client.message(answer["messageId"]).content is not None
            assert client.events(answer["messageId"])[0].state == "accepted"
    with vk.Sandbox(seed=1, speed=0) as sandbox, RecordingSession(sandbox) as session:
        refused = "violations" in session.call("POST", "/messages", json=request | {"from": sandbox.service_id})
        assert refused == ("contentType" not in SENT[name]["content"])  # type: ignore[operator]


def test_the_guides_callback_request_is_answered_with_204() -> None:
    url = "https://example.org/callbacks"
    request = {"callbackVersion": "2.11", "inboundMessageUrl": url, "messageStatusUrl": url}
    with vk.Sandbox(dialect="guide") as sandbox, sandbox.client() as client:
        answer = requests.put(
            f"{sandbox.base_url}/configurations/callbacks",
            json=request | {"eventFilter": ["InboundMessage"]},
            headers={"apikey": sandbox.api_key},
            timeout=5,
        )
        assert (answer.status_code, answer.content) == (204, b"")
        setting = client.account.configure_callbacks(status_url="https://example.org/s").callback
        assert setting == request | {"eventFilter": ["InboundMessage"], "messageStatusUrl": "https://example.org/s"}


# --- callbacks: read first, keep what is not ours, retry without unpublished events ------------------------

OTHERS = {
    "businessNotificationUrl": "https://example.org/business",
    "callingNotificationUrl": "https://example.org/calls",
}


def test_what_is_not_passed_is_kept(server: SchemaServer, client: vk.Client) -> None:
    secrets = {
        "signature": {"secret": "the-secret-of-others", "method": "HS512"},
        "header": {"key": "x-token", "value": "the-token-of-others"},
    }
    server.callbacks[""] = OTHERS | secrets | {"inboundMessageUrl": "https://example.org/in", "callbackVersion": "2.12"}
    before = dict(server.callbacks[""])
    result = client.account.configure_callbacks(status_url="https://example.org/s", events=("delivered", "seen"))
    events = ["MessageStatus::delivered", "MessageStatus::seen"]
    assert server.callbacks[""] == before | {"messageStatusUrl": "https://example.org/s", "eventFilter": events}
    assert result.refused_events == ()
    assert "of-others" not in repr(result)
    client.account.configure_callbacks(secret="", header="", inbound_url="")  # type: ignore[arg-type]
    assert set(before) - set(server.callbacks[""]) == {"signature", "header", "inboundMessageUrl"}
    client.account.configure_callbacks(secret="a-new-secret", events=())
    assert server.callbacks[""]["signature"] == {"secret": "a-new-secret", "method": "HS256"}
    assert server.callbacks[""]["eventFilter"] == []
    assert OTHERS.items() <= server.callbacks[""].items()


def test_secrets_of_parts_that_are_not_known_are_kept(scripted: ScriptedServer) -> None:
    parts = {
        "oauth": {"clientSecret": "of-others-1", "scopes": ["a"]},
        "headers": [{"key": "x", "value": "of-others-2"}, {"key": "y", "value": "of-others-3"}],
        "tokens": ["of-others-4", ["of-others-5"]],
        "nothing": None,
    }
    answer = (200, {}, json.dumps({"callback": parts, "config": {"secret": "of-others-6"}}).encode())
    scripted.respond_with(answer)
    with vk.Client("the-key-of-the-account", "SHOP", base_url=scripted.url) as client:
        result = client.account.configure_callbacks(status_url="https://example.org/s")
    sent = {name: part for name, part in parts.items() if part is not None}
    sent |= {"messageStatusUrl": "https://example.org/s", "callbackVersion": "2.13"}
    assert json.loads(scripted.requests[1].body) == sent
    assert "of-others" not in repr(result)


def test_a_service_id_inherits(server: SchemaServer, client: vk.Client) -> None:
    server.callbacks["SHOP"] = {"inboundMessageUrl": "https://example.org/in", "eventFilter": []}
    client.account.configure_callbacks(status_url="https://example.org/s", service_id="SHOP")
    assert server.callbacks["SHOP"]["inboundMessageUrl"] == "https://example.org/in"
    assert "callbackVersion" not in server.callbacks["SHOP"], "the account's applies"
    client.account.configure_callbacks(inbound_url="inherit", events="inherit", service_id="SHOP")
    assert server.callbacks["SHOP"] == {"messageStatusUrl": "https://example.org/s"}
    client.account.configure_callbacks("inherit", service_id="SHOP")
    assert server.callbacks["SHOP"] == {}
    with pytest.raises(vk.errors.InvalidRequest, match=r"inbound_url: 'inherit' is possible for a service id only"):
        client.account.configure_callbacks(inbound_url="inherit")


@pytest.mark.parametrize("part", ["signature", "header"])
@pytest.mark.parametrize(
    "mask",
    [
        *(
            "***",
            "********",
            "xxxxxxxxxx",
            "••••••••",
            "...",
            "****1234",
            "",
            None,
            "<hidden>",
            "[REDACTED]",
            "{secret}",
        ),
        *("hidden", "Redacted", "** masked **", "not shown", "null"),
    ],
)
def test_a_secret_that_the_server_hides_is_not_replaced_by_its_mask(
    server: SchemaServer, client: vk.Client, part: str, mask: str
) -> None:
    hidden = {"signature": {"secret": mask, "method": "HS256"}, "header": {"key": "x-token", "value": mask}}
    server.account = lambda: {"callback": {part: hidden[part]}}  # type: ignore[method-assign]
    field = "signature.secret" if part == "signature" else "header.value"
    with pytest.raises(vk.errors.InvalidRequest, match=f"{field}: is hidden by the server"):
        client.account.configure_callbacks("https://example.org/c")
    assert {method for method, _ in server.calls} == {"GET"}


@pytest.mark.parametrize(
    "hidden", [{"signature": {"method": "HS256"}}, {"header": {"key": "x-token"}}, {"signature": {}}]
)
def test_a_secret_that_the_server_leaves_out_is_not_removed(
    server: SchemaServer, client: vk.Client, hidden: dict[str, Any]
) -> None:
    server.account = lambda: {"callback": hidden}  # type: ignore[method-assign]
    with pytest.raises(vk.errors.InvalidRequest, match=r"(signature.secret|header.value): is hidden by the server"):
        client.account.configure_callbacks("https://example.org/c")
    assert {method for method, _ in server.calls} == {"GET"}
    client.account.configure_callbacks(secret="a-new-secret", header=("x-token", "a-new-token"))
    assert server.callbacks[""]["signature"] == {"secret": "a-new-secret", "method": "HS256"}


@pytest.mark.parametrize(
    "refusal",
    [
        b'{"violations": [{"field": "eventFilter[1]", "message": "must be one of the listed"}]}',
        b'{"detail": "cannot deserialize (through reference chain: Callback[\\"eventFilter\\"])"}',
        b'{"title": "eventFilter: not one of the values accepted"}',
    ],
)
def test_a_refusal_of_events_in_any_form(scripted: ScriptedServer, refusal: bytes) -> None:
    setting = (200, {}, b'{"callback": {}}')
    scripted.respond_with(setting, (400, {}, refusal), (204, {}, b""), setting)
    client = vk.Client("the-key-of-the-account", "SHOP", base_url=scripted.url)
    with pytest.warns(UserWarning, match="refuses"):
        client.account.configure_callbacks("https://example.org/c", events=["dispatched", "seen", "InboundMessage"])
    first, second = (json.loads(request.body)["eventFilter"] for request in scripted.requests[1:3])
    assert (first[1:], second) == (["MessageStatus::seen", "InboundMessage"], ["MessageStatus::seen"])
    scripted.respond_with(setting, (400, {}, refusal), (204, {}, b""), setting)
    for events in (
        ["dispatched"],
        ["InboundMessage", "dispatched"],
    ):  # an empty list would leave the choice to the server
        with pytest.raises(vk.errors.BadRequest):
            client.account.configure_callbacks("https://example.org/c", events=events)
        assert [request.method for request in scripted.requests] == ["GET", "PUT"]
        scripted.respond_with(setting, (400, {}, refusal), (204, {}, b""), setting)


@pytest.mark.parametrize("service_id", [None, "SHOP"])
def test_events_that_the_server_refuses_are_left_out(
    server: SchemaServer, client: vk.Client, service_id: str | None
) -> None:
    with pytest.warns(UserWarning, match=r"refuses MessageStatus::dispatched, InboundMessage"):
        result = client.account.configure_callbacks(
            "https://example.org/c", events=validation.EVENTS, service_id=service_id
        )
    assert result.refused_events == ("MessageStatus::dispatched", "InboundMessage")
    assert not violations(CALLBACK, server.callbacks[service_id or ""])
    assert len(server.callbacks[service_id or ""]["eventFilter"]) == 7
    assert [method for method, _ in server.calls] == ["GET", "PUT", "PUT"]


def test_another_refusal_is_raised(server: SchemaServer, client: vk.Client) -> None:
    server.callbacks[""] = {"unpublished": 1}
    with pytest.raises(vk.errors.BadRequest, match="unpublished"):
        client.account.configure_callbacks("https://example.org/c", events=["delivered", "dispatched"][:1])
    assert [method for method, _ in server.calls] == ["GET", "PUT"]


def test_the_listener_is_configured_at_a_strict_server(
    server: SchemaServer, client: vk.Client, archive: vk.Archive
) -> None:
    options: dict[str, Any] = {"secret": "the-secret-of-this-listener", "public_url": "https://example.org/c"}
    server.callbacks[""] = dict(OTHERS)
    listener = vk.Listener(archive, **options)
    with pytest.warns(UserWarning, match="refuses"):
        listener.configure(client)
    assert OTHERS.items() <= server.callbacks[""].items()
    assert server.callbacks[""]["signature"]["secret"] == "the-secret-of-this-listener"


# --- what the sandbox accepts as published -----------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["v3", "v2"])
def test_a_component_alone_is_accepted_and_read_back(dialect: str) -> None:
    with vk.Sandbox(seed=1, speed=0, dialect=dialect) as sandbox, RecordingSession(sandbox) as session:
        request = {"to": TO, "from": sandbox.service_id, "channel": "viber", "rateType": "promotion"}
        for wire in map(to_wire, CONTENTS):
            kind = wire["contentType"]
            for name in ("type", "contentType") if kind in ("image", "file", "video", "list", "carousel") else ():
                part = {name: kind, kind: wire[kind]}
                components = {"contentType": "components", "components": {"body": [part]}}
                sent = session.call("POST", "/messages", json=request | {"content": components})
                with sandbox.client() as client:
                    assert client.message(sent["messageId"]).content == from_wire(wire)
        assert sum(request.status == 202 for request in sandbox.requests) == 10


def test_a_bulk_has_no_context_and_the_guides_request_is_recorded_as_received(archive: vk.Archive) -> None:
    with vk.Sandbox(seed=1, speed=0, dialect="guide") as sandbox, vk.Listener(archive) as listener:
        listener.configure(sandbox.client())
        with RecordingSession(sandbox) as session:
            request = {"to": TO, "from": sandbox.service_id, "channel": "viber", "rateType": "session"}
            request |= {"context": "order 7", "messages": [{"type": "text", "text": "Hi"}] * 2}
            session.call("POST", "/bulks", json=request)
        assert sandbox.requests[-1].json == request
        sandbox.advance(minutes=1)
    callbacks = [json.loads(body) for body in archive.callbacks()["body"]]
    assert len(callbacks) >= 4
    assert not [body for body in callbacks if "userContext" in body]


@pytest.mark.parametrize("url", ["https://localhost/x", "https://user@example.org/x", "https://printer/x"])
def test_no_message_with_a_callback_url_that_cannot_be_called(
    server: SchemaServer, client: vk.Client, archive: vk.Archive, url: str
) -> None:
    with pytest.raises(vk.errors.InvalidRequest, match="callback_url"):
        client.send(TO, vk.Text("Hi"), rate_type="session", callback_url=url)
    with pytest.raises(vk.errors.InvalidRequest, match="status_url"):
        client.account.configure_callbacks(status_url=url)
    with pytest.raises(vk.errors.ConfigurationError, match="public_url"):
        vk.Listener(archive, secret="long enough", public_url=url)
    assert server.calls == []


def test_a_callback_url_outside_the_published_pattern_is_a_caution(sandbox: vk.Sandbox) -> None:
    with sandbox.client() as client, pytest.warns(UserWarning, match="text: callback_url: .* allows no %"):
        client.send(TO, vk.Text("Hi"), rate_type="session", callback_url="https://example.org/a%20b")
