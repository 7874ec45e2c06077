"""The client with servers that fail: retries, refusals, unknown outcomes, paths; and its settings."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.raw_server import RawServer, read_request
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit import errors
from viberkit.api import transport
from viberkit.api.recorder import Recorder
from viberkit.models.records import SentMessage

TO = "+491701234567"
OK = (202, {}, b'{"messageId": "m1"}')
PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.fixture
def client(scripted: ScriptedServer) -> Iterator[vk.Client]:
    with vk.Client("my-key", "S", base_url=scripted.url, timeout_s=(1, 1), retry_for_s=4) as client:
        yield client


def send(client: vk.Client) -> SentMessage:
    return client.send(TO, vk.Text("hi"), rate_type="transaction", context="order 7")


def test_events_are_in_the_order_of_time(scripted: ScriptedServer, client: vk.Client) -> None:
    """Events at the same instant stay in the order of the server."""
    history = [("delivered", 3), ("accepted", 1), ("routed", 2), ("dispatched", 2)]
    events = [{"event": f"MessageStatus::{state}", "timestamp": f"2026-01-05T08:00:0{s}Z"} for state, s in history]
    scripted.respond_with((200, {}, json.dumps({"messageId": "m", "events": events}).encode()))
    assert [event.state for event in client.events("m")] == ["accepted", "routed", "dispatched", "delivered"]


# --- what may be repeated ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_get_is_repeated(scripted: ScriptedServer, client: vk.Client, status: int) -> None:
    scripted.respond_with((status, {"Retry-After": "0"}, b""), (200, {}, b'{"messageId": "m", "status": "seen"}'))
    assert client.status("m").state == "seen"
    assert len(scripted.requests) == 2


def test_get_is_repeated_after_a_dropped_connection(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with("drop", "half", (200, {}, b'{"messageId": "m", "status": "seen"}'))
    assert client.status("m").state == "seen"


def test_put_is_repeated(scripted: ScriptedServer, client: vk.Client) -> None:
    setting = (200, {}, b'{"callback": {}}')
    scripted.respond_with(setting, (503, {}, b""), (204, {}, b""), setting)
    client.account.configure_callbacks(status_url="https://example.org")
    assert [request.method for request in scripted.requests] == ["GET", "PUT", "PUT", "GET"]


def test_retries_end_with_the_time_limit(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((503, {"Retry-After": "3600"}, b""))
    started = time.monotonic()
    with pytest.raises(errors.ServerError) as caught:
        client.status("m")
    assert time.monotonic() - started < 1, "it must not wait for an hour"
    assert caught.value.retry_after_s == 3600


def test_retry_after_is_honoured(scripted: ScriptedServer, client: vk.Client) -> None:
    date = {"Date": "Mon, 05 Jan 2026 08:00:00 GMT", "Retry-After": "Mon, 05 Jan 2026 08:00:01 GMT"}
    scripted.respond_with((429, date, b""), OK)
    started = time.monotonic()
    send(client)
    assert 0.9 < time.monotonic() - started < 3


def test_a_500_is_not_repeated(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((500, {}, b""))
    with pytest.raises(errors.ServerError):
        client.status("m")
    assert len(scripted.requests) == 1


def test_send_is_repeated_only_where_it_was_certainly_not_accepted(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((429, {"Retry-After": "0"}, b""), OK)
    assert send(client).message_id == "m1"
    assert len(scripted.requests) == 2


@pytest.mark.parametrize(
    "response",
    [
        "drop",
        "half",
        (500, {}, b""),
        (502, {}, b"<html>"),
        (503, {"Retry-After": "0"}, b""),
        (302, {"Location": "https://example.org/elsewhere"}, b""),
        (307, {"Location": "https://example.org/elsewhere"}, b""),
        (202, {}, b"<html>proxy</html>"),
        (202, {}, b""),
        (202, {}, b'{"messageId": null}'),
        (200, {}, b"[]"),
    ],
)
def test_an_ambiguous_send_is_not_repeated(scripted: ScriptedServer, client: vk.Client, response: object) -> None:
    scripted.respond_with(response)  # type: ignore[arg-type]
    with pytest.raises(errors.UnknownOutcome) as caught:
        send(client)
    assert len(scripted.requests) == 1
    assert caught.value.context == "order 7"
    assert TO not in str(caught.value)


def test_a_slow_send_is_unknown(sandbox: vk.Sandbox) -> None:
    sandbox.fault("slow", delay_s=2)
    with (
        sandbox.client(timeout_s=(1, 0.3), retry_for_s=5) as client,
        pytest.raises(errors.UnknownOutcome, match="in time"),
    ):
        send(client)
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize("before", [True, False])
def test_a_dropped_bulk_is_unknown(sandbox: vk.Sandbox, before: bool) -> None:
    sandbox.fault("drop", before=before)
    with sandbox.client() as direct, pytest.raises(errors.UnknownOutcome):
        direct.bulk(TO, [vk.Text("a"), vk.Text("b")], rate_type="session")
    assert len(sandbox.requests) == 1


def test_a_refused_connection_is_not_an_unknown_outcome(scripted: ScriptedServer) -> None:
    url = scripted.url
    scripted.close()
    with (
        vk.Client("my-key", "S", base_url=url, retry_for_s=0.5) as client,
        pytest.raises(errors.TransportError) as caught,
    ):
        send(client)
    assert "refused" in str(caught.value)


def test_an_unknown_host_is_not_an_unknown_outcome() -> None:
    with (
        vk.Client("my-key", "S", base_url="https://nowhere.invalid", retry_for_s=0.5, timeout_s=(1, 1)) as client,
        pytest.raises(errors.TransportError, match=r"DNS|refused|timed out|failed"),
    ):
        send(client)


def test_a_tls_failure_is_not_an_unknown_outcome(scripted: ScriptedServer) -> None:
    scripted.respond_with(OK)
    url = scripted.url.replace("http://", "https://")
    with (
        vk.Client("my-key", "S", base_url=url, retry_for_s=0.5, timeout_s=(1, 1)) as client,
        pytest.raises(errors.TransportError),
    ):
        send(client)
    assert not scripted.requests


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (405, errors.NotSupported),
        (410, errors.NotFound),
        (418, errors.BadRequest),
        (429, errors.RateLimited),
        (500, errors.ServerError),
        (501, errors.NotSupported),
        (301, errors.UnexpectedResponse),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"title": "T", "status": 1, "detail": "D"}', b"[1]", b'{"violations": 5}']
)
def test_refusals_have_the_class_of_their_status_whatever_their_body(
    scripted: ScriptedServer, client: vk.Client, status: int, kind: type[errors.ApiError], body: bytes
) -> None:
    scripted.respond_with((status, {"Retry-After": "99", "Location": "http://127.0.0.1:1/"}, body))
    with pytest.raises(kind) as caught:
        client.account.configuration()
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert len(scripted.requests) == 1


def test_violations_of_the_server_are_in_the_message(scripted: ScriptedServer, client: vk.Client) -> None:
    problem: dict[str, object] = {"title": "Constraint Violation", "status": 400}
    problem["violations"] = [{"field": "validate.request.content.contentType", "message": "must not be empty"}]
    scripted.respond_with((400, PROBLEM, json.dumps(problem).encode()))
    with pytest.raises(errors.BadRequest, match="contentType: must not be empty"):
        send(client)


def test_an_unreadable_success_is_an_unexpected_response(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((200, {}, b"<html>"))
    with pytest.raises(errors.UnexpectedResponse, match="could not be read"):
        client.status("m")


def test_nothing_invalid_is_sent(scripted: ScriptedServer, client: vk.Client) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        client.send("12", vk.Text("", button=vk.Button("", "htp://x")), rate_type="transactional", context="x" * 126)
    fields = [violation.field for violation in caught.value.violations]
    assert sorted(fields) == ["button.caption", "button.url", "context", "rate_type", "text", "to"]
    assert all(violation.rule and violation.remedy for violation in caught.value.violations)
    assert not scripted.requests


def test_long_texts_cause_a_warning(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with(OK)
    with pytest.warns(UserWarning, match="some operators refuse more than 1000"):
        client.send(TO, vk.Text("x" * 1001), rate_type="transaction")


# --- paths ------------------------------------------------------------------------------------------


def test_the_guides_path_is_tried_and_remembered(scripted: ScriptedServer, client: vk.Client) -> None:
    seen = (200, {}, b'{"messageId": "m", "status": "seen"}')
    scripted.respond_with((404, {}, b"<html>no such page</html>"), seen)
    assert client.status("m").state == client.status("m").state == "seen"
    assert [path for _, path, _, _ in scripted.requests] == ["/messages/m/status", "/m/status", "/m/status"]


def test_a_404_about_the_message_is_final(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((404, PROBLEM, b'{"title": "Not Found", "status": 404}'))
    with pytest.raises(errors.NotFound):
        client.events("m")
    assert [path for _, path, _, _ in scripted.requests] == ["/messages/m/events"]


def test_two_plain_404s_are_not_found(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((404, {}, b""))
    with pytest.raises(errors.NotFound):
        client.events("m")
    assert len(scripted.requests) == 2


def test_a_server_with_the_guides_paths() -> None:
    with vk.Sandbox(seed=1, speed=0, paths="guide", dialect="guide") as sandbox, sandbox.client() as client:
        sent = client.send(TO, vk.Text("hi"), rate_type="transaction")
        assert client.status(sent.message_id).state == "accepted"
        assert client.events(sent.message_id)[0].state == "accepted"
        with pytest.raises(errors.NotFound):
            client.status("missing")


def test_ids_are_escaped(scripted: ScriptedServer, client: vk.Client) -> None:
    scripted.respond_with((404, PROBLEM, b'{"status": 404}'))
    with pytest.raises(errors.NotFound):
        client.status("../x?y=1")
    assert scripted.requests[0][1] == "/messages/..%2Fx%3Fy%3D1/status"


def test_pages_are_followed_on_the_same_host_only(scripted: ScriptedServer, client: vk.Client) -> None:
    first = b'[{"channel": "viber", "id": {"serviceId": "A"}}]'
    second = b'[{"channel": "viber", "id": {"serviceId": "B"}}]'
    elsewhere = {"Link": '<https://example.org/next>; rel="next"'}
    here = {"Link": f'<{scripted.url}/configurations/channels/viber?page=2>; rel="next"'}
    scripted.respond_with((200, here, first), (200, elsewhere, second))
    assert [channel.service_id for channel in client.account.service_ids()] == ["A", "B"]
    assert len(scripted.requests) == 2


# --- settings, threads ------------------------------------------------------------------------------


def test_settings_come_from_arguments_environment_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="TYNTEC_API_KEY"):
        vk.Client()
    (tmp_path / ".env").write_text("TYNTEC_API_KEY=k\nVIBER_SERVICE_ID=FILE\nVIBERKIT_BASE_URL=http://127.0.0.1:9/x\n")
    assert (vk.Client().service_id, vk.Client().base_url) == ("FILE", "http://127.0.0.1:9/x")
    monkeypatch.setenv("VIBER_SERVICE_ID", "ENVIRONMENT")
    assert vk.Client().service_id == "ENVIRONMENT"
    assert vk.Client(service_id="ARGUMENT").service_id == "ARGUMENT"


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
def test_invalid_keys_are_refused(key: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="api_key") as caught:
        vk.Client(key, "S")
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "ftp://127.0.0.1", "127.0.0.1", "https://u:p@example.org", "http://127.0.0.1.example.org"],
)
def test_addresses_that_would_leak_the_key_are_refused(url: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="base_url"):
        vk.Client("k", "S", base_url=url)


def test_the_error_for_a_missing_service_id_has_a_remedy(scripted: ScriptedServer) -> None:
    with (
        vk.Client("k", base_url=scripted.url) as client,
        pytest.raises(errors.InvalidRequest, match="VIBER_SERVICE_ID"),
    ):
        send(client)
    assert not scripted.requests


def test_many_threads_share_a_client_and_connections_are_kept(sandbox: vk.Sandbox) -> None:
    client = sandbox.client()
    threads = set()

    def send_to(number: int) -> str:
        threads.add(threading.get_ident())
        return client.send(f"+49170{1000000 + number}", vk.Text("hi"), rate_type="transaction").message_id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(send_to, range(200)))
    assert len(set(ids)) == 200
    assert len(client._transport._sessions) == len(threads)
    client.close()


def test_the_rate_limit_holds_across_threads() -> None:
    limiter, started = transport.RateLimiter(100), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: limiter.wait(), range(41)))
    assert time.monotonic() - started >= 0.4


def test_a_response_has_the_time_of_the_server(sandbox: vk.Sandbox) -> None:
    with sandbox.client() as client:
        sent = send(client)
        assert client.get_response("status", sent.message_id).observed_at == sandbox.now.replace(microsecond=0)


class UnusedArchive:
    @property
    def recorder(self) -> Recorder:
        raise AssertionError("the archive must not be used")


def test_a_raw_response_is_returned_whatever_its_status_and_not_stored(scripted: ScriptedServer) -> None:
    scripted.respond_with((404, PROBLEM, b'{"title": "Not Found", "status": 404}'))
    with vk.Client("k", "S", base_url=scripted.url, archive=UnusedArchive()) as client:
        assert client.get_response("events", "m").status == 404
        for kind, message_id in (("history", "m"), ("events", ""), ("events", 5)):
            with pytest.raises(errors.InvalidRequest):
                client.get_response(kind, message_id)  # type: ignore[arg-type]
    assert len(scripted.requests) == 1


def test_a_list_that_is_no_list_is_an_unexpected_response(scripted: ScriptedServer, client: vk.Client) -> None:
    for body in (b'{"channel": "viber"}', b"[5]", b"null"):
        scripted.respond_with((200, {}, body))
        with pytest.raises(errors.UnexpectedResponse, match="could not be read"):
            client.account.channels()


def test_only_code_with_a_row_in_the_outbox_posts_past_it(client: vk.Client) -> None:
    public = {name for name in dir(client) if not name.startswith("_")}
    calls = {"send", "bulk", "status", "events", "message", "get_response", "with_archive", "close"}
    assert public == calls | {"account", "archive", "base_url", "service_id"}


def test_nothing_is_sent_if_the_archive_fails(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.respond_with(OK)
    with (
        vk.Archive(tmp_path / "a.db") as archive,
        vk.Client("k", "S", base_url=scripted.url, archive=archive) as client,
    ):
        archive.close()
        archive.path.write_bytes(b"damaged " * 1000)
        with pytest.raises(errors.ArchiveError, match="is not a database"):
            send(client)
    assert scripted.requests == []


@pytest.mark.parametrize("path", ["/v 3", "/ü", "/a/../v3", "/v3"])
def test_a_dropped_send_is_posted_once_whatever_the_address(scripted: ScriptedServer, path: str) -> None:
    scripted.respond_with("drop")
    with (
        vk.Client("my-key", "S", base_url=scripted.url + path, retry_for_s=2) as client,
        pytest.raises(errors.UnknownOutcome),
    ):
        send(client)
    assert len(scripted.requests) == 1


def test_a_dropped_send_is_posted_once_behind_a_proxy(scripted: ScriptedServer) -> None:
    scripted.respond_with("drop")
    with vk.Client("my-key", "S", base_url="http://127.0.0.1:9", retry_for_s=2) as client:
        session = client._transport._session()
        session.proxies = {"http": scripted.url}
        with pytest.raises(errors.UnknownOutcome):
            send(client)
    assert len(scripted.requests) == 1
    assert scripted.requests[0][1].startswith("http://127.0.0.1:9/")


def test_a_refused_proxy_is_not_an_unknown_outcome() -> None:
    with vk.Client("my-key", "S", base_url="http://127.0.0.1:9", retry_for_s=0.3) as client:
        client._transport._session().proxies = {"http": "http://127.0.0.1:1"}
        with pytest.raises(errors.TransportError):
            send(client)


def test_a_late_response_does_not_answer_the_next_request() -> None:
    """The server answers 103, then 202: the second send must not read the response to the first."""

    def serve(server: RawServer, connection: socket.socket) -> None:
        body = read_request(connection) or b"{}"
        if server.connections == 1:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            time.sleep(0.3)
        connection.sendall(server.accept(body))

    with RawServer(serve) as server, vk.Client("k", "S", base_url=server.url, timeout_s=(2, 2)) as client:
        with pytest.raises(errors.UnknownOutcome, match="103"):
            send(client)
        assert send(client).message_id == "m-0"


@pytest.mark.parametrize("extra", [{"callback_url": "https://example.org/\udcff"}, {"context": "half \ud83d"}])
def test_what_no_archive_can_store_is_not_sent(
    scripted: ScriptedServer, client: vk.Client, extra: dict[str, str]
) -> None:
    with pytest.raises(errors.InvalidRequest):
        client.send(TO, vk.Text("hi"), rate_type="transaction", **extra)
    with (
        vk.Client("k", "a\udcff", base_url=scripted.url) as other,
        pytest.raises(errors.InvalidRequest, match="service_id"),
    ):
        send(other)
    assert not scripted.requests
