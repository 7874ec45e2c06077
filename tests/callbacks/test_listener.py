"""The receiver of callbacks, over real HTTP: what it lets in is in the archive before it answers, and no answer tells
anything."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import itertools
import json
import logging
import pickle
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

import viberkit as vk
from viberkit.callbacks.listener import Listener
from viberkit.errors import ConfigurationError, InvalidRequest

SECRET, OLD, TOKEN = "a-shared-secret", "the-secret-before", "a-value-of-a-header"
HEADER = ("x-callback-token", TOKEN)
NOW = datetime(2026, 1, 5, 8, 0, 2, tzinfo=UTC)
AT = "2026-01-05T08:00:01.250Z"
JSON = {"content-type": "application/json"}
DELIVERED = {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": AT}
BODY = json.dumps(DELIVERED).encode()
MOST = 256 * 1024


def without_settings(patch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SECRET_OLD", "HEADER"):
        patch.delenv(f"VIBERKIT_CALLBACK_{name}", raising=False)


@pytest.fixture(autouse=True)
def _no_callback_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(monkeypatch)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """One that asks for no secret, for many tests."""
    with vk.Archive(tmp_path_factory.mktemp("shared") / "a.db") as archive, pytest.MonkeyPatch.context() as patch:
        without_settings(patch)
        with Listener(archive, now=lambda: NOW) as listening:
            yield listening


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    """One that asks for a signature, for many tests."""
    window = timedelta(minutes=3)
    with (
        vk.Archive(tmp_path_factory.mktemp("strict") / "a.db") as archive,
        Listener(archive, secret=[SECRET, OLD], window=window, now=lambda: NOW) as listening,
    ):
        yield listening


@pytest.fixture
def listener(archive: vk.Archive) -> Iterator[Listener]:
    with Listener(archive, now=lambda: NOW) as listening:
        yield listening


def signed(body: bytes = BODY, stamp: str = AT, secret: str = SECRET, method: str = "sha256") -> dict[str, str]:
    mac = hmac.new(secret.encode(), stamp.encode() + b"\n" + body, getattr(hashlib, method)).digest()
    signature = base64.urlsafe_b64encode(mac).decode()
    return {**JSON, "x-signature": signature, "x-request-timestamp": stamp, "x-signature-version": "V1.0"}


def post(listener: Listener, body: Any = BODY, headers: dict[str, str] = JSON) -> int:
    """The status of a post; its answer must tell nothing."""
    answer = requests.post(listener.url, data=body, headers=headers, timeout=20)
    assert answer.content == b""
    assert not {"server", "date", "content-type"} & {*map(str.lower, answer.headers)}
    return answer.status_code


def link(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)


def wire(body: bytes = BODY, *more: str, line: str = "POST /callbacks HTTP/1.1") -> bytes:
    told = [line, "host: localhost", "content-type: application/json", f"content-length: {len(body)}", *more]
    return "\r\n".join(told).encode() + b"\r\n\r\n" + body


def until_closed(connection: socket.socket) -> bytes:
    came = b""
    try:
        while part := connection.recv(65536):
            came += part
    except ConnectionError:
        pass
    return came


def ask(listener: Listener, sent: bytes) -> list[int]:
    """The statuses of what is answered until the receiver hangs up; no body comes with any."""
    with link(listener) as connection:
        connection.sendall(sent)
        heads = until_closed(connection).split(b"\r\n\r\n")
    assert heads.pop() == b""
    return [int(head.split()[1]) for head in heads]


def kept(archive: vk.Archive) -> list[bytes]:
    """The bodies in the file, as another connection to it sees them."""
    with closing(sqlite3.connect(archive.path)) as connection:
        return [body for (body,) in connection.execute("SELECT body FROM raw WHERE kind = 'callback' ORDER BY id")]


def dump(archive: vk.Archive) -> list[Any]:
    """All tables, but for when a callback came last."""
    with closing(sqlite3.connect(archive.path)) as connection:
        connection.execute("CREATE TEMP TABLE shown AS SELECT * FROM raw")
        connection.execute("UPDATE shown SET last_seen = 0")
        tables = ("shown", "messages", "events", "inbound", "statuses")
        return [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables]


# --- what is let in --------------------------------------------------------------------------------------


def test_204_says_that_the_body_is_in_the_file(listener: Listener, archive: vk.Archive) -> None:
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(20)]
    for number, body in enumerate(bodies):
        assert post(listener, body) == 204
        assert kept(archive) == bodies[: number + 1]
    assert (listener.stored, listener.late, listener.rejected) == (20, 0, {})
    listener.stop()
    assert archive.messages()["state"].tolist() == ["delivered"] * 20


@pytest.mark.parametrize(
    ("body", "readable"),
    [
        (BODY, True),
        (b"\xef\xbb\xbf" + BODY, True),
        (json.dumps({**DELIVERED, "event": "MessageStatus::teleported"}).encode(), True),
        (json.dumps({"event": "InboundMessage", "messageId": 5, "from": "1", "content": {}}).encode(), True),
        (json.dumps({**DELIVERED, "event": "Billing::invoice", "messageId": None}).encode(), False),
        (gzip.compress(BODY), False),
        (b"", False),
        (b"\xff\x00", False),
        (b"[" * 100_000, False),
        (b'{"a": NaN}', False),
    ],
    ids=["status", "with a mark", "unknown state", "inbound", "unknown event", "gzip", "empty", "bytes", "deep", "NaN"],
)
def test_what_comes_is_kept_word_for_word_readable_or_not(archive: vk.Archive, body: bytes, readable: bool) -> None:
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, body, {**signed(body), "content-encoding": "gzip"}) == 204
    assert kept(archive) == [body]
    assert archive.unreadable()["body"].tolist() == ([] if readable else [body])
    assert len(archive.events()) + len(archive.inbound()) == readable


def test_what_comes_again_changes_nothing(listener: Listener, archive: vk.Archive) -> None:
    told = [
        BODY,
        json.dumps({**DELIVERED, "event": "MessageStatus::accepted"}).encode(),
        json.dumps({"event": "MoMessage", "messageId": 7, "content": {"text": "a"}, "timestamp": AT}).encode(),
        b"junk",
    ]
    for body in told:
        assert post(listener, body) == 204
    listener.stop()
    before = dump(archive)
    assert len(before[0]) == 4
    listener.start()
    for body in [*told, *reversed(told)]:
        assert post(listener, body) == 204
    listener.stop()
    assert dump(archive) == before
    assert listener.stored == 12


def test_bodies_in_pieces_and_requests_in_a_row(listener: Listener, archive: vk.Archive) -> None:
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(8)]
    assert post(listener, iter([bodies[0][:9], bodies[0][9:]])) == 204
    row = b"".join(wire(body) for body in bodies[1:7]) + wire(bodies[7], "connection: close")
    assert ask(listener, row) == [204] * 7
    assert kept(archive) == bodies


# --- signatures ------------------------------------------------------------------------------------------

SECONDS = str(int(NOW.timestamp()))


@pytest.mark.parametrize(
    ("how", "change", "status", "late"),
    [
        *(({"method": method, "stamp": at}, {}, 204, False) for method in ("sha256", "sha512") for at in (AT, SECONDS)),
        *(({"stamp": at}, {}, 204, False) for at in (SECONDS + "000", AT[:-1], "2026-01-05T09:02:00+01:00")),
        ({}, {"x-signature": lambda signature: signature.rstrip("=")}, 204, False),
        ({"secret": OLD}, {}, 204, False),
        ({"stamp": "2026-01-05T07:57:02Z"}, {}, 204, False),
        ({"stamp": "2026-01-05T08:03:02Z"}, {}, 204, False),
        *(({"stamp": f"2026-01-05T{at}Z"}, {}, 204, True) for at in ("07:57:01", "08:03:03")),
        *(({"stamp": at}, {}, 204, True) for at in ("2020-01-05T08:00:00Z", "9999-12-31T23:59:59Z", "0")),
        *(({"stamp": at}, {}, 401, False) for at in ("soon", "9" * 30, "-1", "0000-01-01T00:00:00Z")),
        ({"secret": "another-secret"}, {}, 401, False),
        ({"body": BODY + b" "}, {}, 401, False),
        ({}, {"x-request-timestamp": SECONDS}, 401, False),
        ({}, {"x-signature-version": "V2.0"}, 401, False),
        *(({}, {"x-signature": junk}, 401, False) for junk in ("AAAA", "====", "\xfc", "a b", "", "A" * 5000)),
        ({}, dict.fromkeys(["x-signature", "x-request-timestamp"], ""), 401, False),
    ],
)
def test_only_what_is_signed_is_let_in_however_old(
    strict: Listener, how: dict[str, Any], change: dict[str, Any], status: int, late: bool
) -> None:
    before, came, turned_away = strict.late, strict.stored, sum(strict.rejected.values())
    body = json.dumps({**DELIVERED, "messageId": f"m{came}-{turned_away}"}).encode()
    headers = signed(**{"body": body, **how})
    headers |= {name: made(headers[name]) if callable(made) else made for name, made in change.items()}
    assert post(strict, body, headers) == status
    assert kept(strict.archive).count(body) == strict.stored - came == (status == 204)
    assert (strict.late - before, sum(strict.rejected.values()) - turned_away) == (late, status == 401)
    assert strict.archive.callbacks()["late"].tolist()[came:] == [late] * (status == 204)


# --- what is turned away ---------------------------------------------------------------------------------

SIZES = (MOST, MOST + 1, 2 * MOST)


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        *(
            (404, {"path": path})
            for path in ("/", "/callbacks/", "/%63allbacks", "/CALLBACKS", "//callbacks", "/callback")
        ),
        (404, {"path": "/other", "method": "GET"}),
        *((405, {"method": method}) for method in ("GET", "PUT", "DELETE", "OPTIONS", "TRACE")),
        *(
            (415, {"type": kind})
            for kind in (None, "", "text/plain", "application/x-www-form-urlencoded", "json", "a+json")
        ),
        *((204, {"type": kind}) for kind in ("application/json; charset=utf-8", "Application/JSON")),
        (204, {"type": "application/problem+json;charset=utf-8"}),
        (403, {"host": "example.org"}),
        (403, {"host": "localhost.example.org:80"}),
        *((204, {"host": host}) for host in ("localhost:7", "127.0.0.1", "[::1]:7")),
        *((204 if size == MOST else 413, {"size": size, "chunked": how}) for size in SIZES for how in (False, True)),
        (204, {"path": "/callbacks?from=here"}),
    ],
)
def test_what_is_let_in_and_with_which_status_the_rest_is_turned_away(
    shared: Listener, status: int, request_: dict[str, Any]
) -> None:
    came, turned_away = shared.stored, sum(shared.rejected.values())
    headers = {"content-type": request_.get("type", "application/json"), "host": request_.get("host")}
    body = json.dumps({**DELIVERED, "messageId": f"m{came}-{turned_away}"}).encode().rjust(request_.get("size", 0))
    made = requests.Request(
        request_.get("method", "POST"),
        shared.url,
        {name: value for name, value in headers.items() if value is not None},
        data=iter([body[:70_000], body[70_000:]]) if request_.get("chunked") else body,
    ).prepare()
    made.url = f"http://127.0.0.1:{shared.port}{request_.get('path', '/callbacks')}"  # as it is, nothing made plain
    with requests.Session() as session:
        answer = session.send(made, timeout=20)
    assert (answer.status_code, answer.content) == (status, b"")
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert answer.headers.get("connection") == (None if status == 204 else "close")
    assert (shared.stored - came, sum(shared.rejected.values()) - turned_away) == (status == 204, status != 204)
    assert (body in kept(shared.archive)) == (status == 204)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 90 + b"\r\n\r\n",
        b"POST\r\n\r\n",
        wire(BODY, "content-length: 1"),
        wire(BODY, "a line that is no header"),
        wire(BODY, "x-long: " + "a" * 17 * 1024).partition(b"\r\n\r\n")[0],
        wire(b"zz\r\n", "transfer-encoding: chunked").replace(b"content-length: 4\r\n", b""),
    ],
    ids=["TLS", "no path", "two lengths", "no header", "long headers", "bad chunk"],
)
def test_what_is_no_http_is_answered_400_and_the_others_are_served(
    listener: Listener, archive: vk.Archive, sent: bytes
) -> None:
    assert ask(listener, sent) == [400]
    assert post(listener) == 204
    assert kept(archive) == [BODY]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-host", "Forwarded", "Via", "CF-Connecting-IP"])
def test_without_a_secret_nothing_that_a_proxy_passed_on_is_let_in(archive: vk.Archive, name: str) -> None:
    with Listener(archive, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**JSON, name: "192.0.2.1"}) == 403
        assert post(listener, BODY) == 204
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**signed(), name: "192.0.2.1"}) == 204


def test_why_nothing_can_be_kept_is_told_and_it_goes_on_afterwards(
    archive: vk.Archive, caplog: pytest.LogCaptureFixture
) -> None:
    aside = archive.path.with_suffix(".aside")
    bodies = (BODY.replace(b'"m"', b'"m%d"' % number) for number in itertools.count())
    with Listener(archive, now=lambda: NOW) as listener:
        assert post(listener, first := next(bodies)) == 204
        archive.path.rename(aside)
        vk.Archive(archive.path).close()
        assert [post(listener, next(bodies)) for _ in range(3)][-1] == 204  # the file is another, and it noticed
        archive.path.unlink()
        archive.path.mkdir()
        assert [post(listener, next(bodies)) for _ in range(2)] == [503, 503]
        told = [reason for reason in listener.rejected if reason.startswith("not stored (")]
        assert any("unable to open" in reason for reason in told)
        archive.path.rmdir()
        aside.rename(archive.path)
        assert post(listener, last := next(bodies)) == 204
    assert [one.levelname for one in caplog.records if "unable to open" in one.message][:1] == ["WARNING"]
    assert kept(archive) == [first, last]


def test_the_real_provider_is_never_told_an_address_of_this_computer(archive: vk.Archive) -> None:
    with vk.Client("key", "SHOP") as real, Listener(archive, secret=SECRET) as listener:
        with pytest.raises(InvalidRequest, match="leads to this computer") as caught:
            listener.configure(real)
        assert len(caught.value.violations) == 2


def test_headers_are_bounded_even_if_they_come_at_once(archive: vk.Archive) -> None:
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**signed(), "x-long": "a" * 20_000}) == 431
        assert post(listener, BODY, {**signed(), "x-long": "a" * 10_000}) == 204


def test_a_fault_of_ours_is_answered_without_a_word_and_counted(archive: vk.Archive) -> None:
    clock = [lambda: NOW]
    with Listener(archive, secret=SECRET, now=lambda: clock[0]()) as listener:
        clock[0] = lambda: NOW.replace(tzinfo=None)
        assert post(listener, BODY, signed()) == 500
        assert listener.rejected == {"internal error (TypeError)": 1}


def test_the_header_is_wanted_too(archive: vk.Archive) -> None:
    with Listener(archive, secret=SECRET, header=HEADER, now=lambda: NOW) as listener:
        for wrong in ({}, {"x-callback-token": "another"}, {"x-callback-token": TOKEN + "\xfc"}, {"x-callback": TOKEN}):
            assert post(listener, BODY, signed() | wrong) == 401
        assert post(listener, BODY, {**JSON, "X-Callback-Token": TOKEN}) == 401
        assert kept(archive) == []
        assert post(listener, BODY, {**signed(), "X-Callback-Token": TOKEN}) == 204


# --- settings and secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "host: '0.0.0.0' can be reached from other computers"),
        ({"host": "::"}, "can be reached from other computers"),
        ({"path": "callbacks"}, "is not a plain path"),
        ({"path": "/a b"}, "is not a plain path"),
        ({"path": "/a\n"}, "is not a plain path"),
        ({"path": "/a?b"}, "is not a plain path"),
        ({"secret": SECRET[:7]}, "secret: has 7 characters"),
        ({"secret": [OLD, SECRET * 9]}, "secret: has 135 characters"),
        ({"header": ("x-tok: en", TOKEN)}, "is not the name of a header"),
        ({"header": ("x-a", TOKEN)}, r"header\[0\]: has 3 characters"),
        ({"header": ("x-callback-token", TOKEN[:7])}, r"header\[1\]: has 7 characters"),
        ({"header": ("x-callback-token", f"{TOKEN}\r\nx: y")}, r"header\[1\]: contains characters that a header cannot carry"),
        ({"header": ("x-callback-token", f" {TOKEN}")}, r"header\[1\]: contains characters that a header cannot carry"),
        ({"header": ("x-callback-token", f"{TOKEN}\u0142")}, r"header\[1\]: contains characters that a header cannot carry"),
        ({"public_url": "http://example.org/callbacks"}, "is not an https URL"),
        ({"header": ("x-only",)}, "not a name and a value"),
        ({"secret": 12345678}, "neither a text nor a list"),
        ({"secret": b"a-shared-secret"}, "neither a text nor a list"),
        ({"host": "", "secret": SECRET}, "is not an address"),
        ({"port": 99_999}, "is not a port"),
        ({"port": -1}, "is not a port"),
        ({"window": None}, "is not a duration"),
        ({"now": lambda: NOW.replace(tzinfo=None)}, "does not return datetimes with a time zone"),
        ({"now": 5}, "does not return datetimes with a time zone"),
        ({"window": timedelta(-1)}, "is not a duration"),
        ({"port": True}, "is not a port"),
        ({"host": None}, "host: None is not an address"),
        ({"public_url": "https://example.org/callbacks"}, "callbacks need a proof of their origin"),
    ],
)
def test_settings_that_cannot_work_are_refused_and_no_secret_is_quoted(
    archive: vk.Archive, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Listener(archive, **options)
    assert not any(one in str(caught.value) for one in (SECRET[:7], TOKEN[:7], OLD))


def test_no_secret_is_shown_anywhere(archive: vk.Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Listener(archive, secret=[SECRET, OLD], header=HEADER, now=lambda: NOW) as listener:
        statuses = [post(listener, BODY, told) for told in (JSON, signed(), signed() | {HEADER[0]: TOKEN + "x"})]
        statuses.append(post(listener, BODY, signed(stamp="soon") | {HEADER[0]: TOKEN}))
        statuses.append(post(listener, BODY, signed() | {HEADER[0]: TOKEN}))
        assert statuses == [401, 401, 401, 401, 204]
        shown = [repr(listener), str(listener), repr(vars(listener)), str(listener.rejected), repr(listener._app)]
        for fault in (pickle.dumps, lambda one: pickle.dumps(one._secrets)):
            with pytest.raises(TypeError, match="pickled") as caught:
                fault(listener)
            shown.append(str(caught.value))
    mine = [one.getMessage() for one in caplog.records if not one.name.startswith("urllib3")]
    assert (
        sum("rejected" in one for one in mine) == 3
    )  # the first and the second of one reason, the first of another
    shown += mine
    assert not [one for one in shown for word in (SECRET, OLD, TOKEN, "delivered") if word in one]


def test_settings_come_from_the_environment(archive: vk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBERKIT_CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("VIBERKIT_CALLBACK_SECRET_OLD", OLD)
    monkeypatch.setenv("VIBERKIT_CALLBACK_HEADER", f"{HEADER[0]}: {TOKEN}")
    with Listener(archive, now=lambda: NOW) as listener:
        for secret, status in ((SECRET, 204), (OLD, 204), ("another-secret", 401)):
            assert post(listener, BODY, signed(secret=secret) | {HEADER[0]: TOKEN}) == status
        assert post(listener, BODY, signed()) == 401
    monkeypatch.setenv("VIBERKIT_CALLBACK_HEADER", TOKEN)
    with pytest.raises(ConfigurationError, match="contains no colon") as caught:
        Listener(archive)
    assert TOKEN not in str(caught.value)
    monkeypatch.delenv("VIBERKIT_CALLBACK_HEADER")
    with Listener(archive, secret="") as listener:
        assert post(listener) == 204


# --- its life --------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_was(archive: vk.Archive) -> None:
    listener = Listener(archive)
    url = listener.url
    assert post(listener) == 204
    for _ in range(2):
        listener.stop()
        listener.stop()
        with pytest.raises(requests.ConnectionError):
            post(listener)
        with listener.start():
            assert (listener.url, post(listener)) == (url, 204)
            with pytest.raises(ConfigurationError, match="is in use") as caught:
                Listener(archive, port=listener.port).start()
            assert "choose another port" in str(caught.value)


@contextmanager
def locked(archive: vk.Archive) -> Iterator[None]:
    with closing(sqlite3.connect(archive.path, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_what_cannot_be_kept_in_time_is_answered_503_and_not_lost(
    listener: Listener, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viberkit.callbacks.app.STORE_TIMEOUT_S", 0.3)
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(3)]
    with locked(archive):
        for body in bodies:
            answer = requests.post(listener.url, data=body, headers=JSON, timeout=20)
            assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (503, b"", "5")
    assert listener.rejected == {"not stored in time": 3}
    monkeypatch.setattr("viberkit.callbacks.app.STORE_TIMEOUT_S", 20)
    assert [post(listener, body) for body in bodies] == [204] * 3  # as the provider calls again
    assert kept(archive) == bodies


def test_stop_waits_for_what_has_come(archive: vk.Archive) -> None:
    with Listener(archive) as listener, link(listener) as connection:
        with locked(archive):
            connection.sendall(wire())
            time.sleep(0.2)
        listener.stop()
        assert until_closed(connection).startswith(b"HTTP/1.1 204")
    assert archive.events()["state"].tolist() == ["delivered"]


def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("by_service_id", [False, True])
def test_a_sandbox_calls_back(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive, by_service_id: bool) -> None:
    clock = {"now": lambda: sandbox.now}
    with Listener(archive, secret=[SECRET, OLD], header=HEADER, **clock) as listener:
        listener.configure(client, service_id=sandbox.service_id if by_service_id else None)
        message_id = client.send("+491701234567", vk.Text("hi"), rate_type="transaction").message_id
        sandbox.advance(seconds=3600)
        sandbox.receive("+491701234567", "Hello")
        called = sandbox.callbacks
        assert [one.status for one in called] == [204] * len(called)
        assert {one.url for one in called} == {listener.url}
        assert listener.stored == len(called) > 3
    told = [one.body["event"].partition("::")[2] for one in called[:-1]]
    assert archive.events()["state"].astype(str).tolist() == told
    assert set(archive.events()["message_id"]) == {message_id}
    assert archive.inbound()["text"].tolist() == ["Hello"]
    assert archive.callbacks()["late"].any() == listener.late == 0


# --- those who hold on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [b"", wire()], ids=["a new connection", "a kept one"])
@pytest.mark.parametrize("part", [b"POST /callbacks HTTP/1.1\r\nx-a: ", wire(b" " * 99)[:-50]], ids=["head", "body"])
def test_a_dripping_request_is_cut(
    archive: vk.Archive, monkeypatch: pytest.MonkeyPatch, first: bytes, part: bytes
) -> None:
    monkeypatch.setattr("viberkit.callbacks.listener.REQUEST_DEADLINE_S", 0.5)
    with Listener(archive) as listener, link(listener) as dripping:
        if first:
            dripping.sendall(first)
            assert dripping.recv(4096).startswith(b"HTTP/1.1 204")
            time.sleep(0.7)  # between two requests it may be silent for longer
        dripping.sendall(part)
        began, dripping_s = time.monotonic(), 0.0
        dripping.settimeout(0.05)
        while dripping_s < 15:
            dripping_s = time.monotonic() - began
            try:
                dripping.sendall(b"a")
                if dripping.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.3 < dripping_s < 10
        assert post(listener) == 204


def test_silent_connections_keep_nobody_out(archive: vk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viberkit.callbacks.listener.MAX_CONNECTIONS", 8)

    def answered(connection: socket.socket, sent: bytes) -> bool:
        connection.sendall(sent)
        return connection.recv(4096).startswith(b"HTTP/1.1 204")

    with Listener(archive) as listener, ExitStack() as open_ones:
        known = open_ones.enter_context(link(listener))
        assert answered(known, wire())
        silent = [open_ones.enter_context(link(listener)) for _ in range(40)]
        assert post(listener) == 204
        slow = open_ones.enter_context(link(listener))
        slow.sendall(wire()[:-3])
        silent += [open_ones.enter_context(link(listener)) for _ in range(4)]
        assert answered(slow, wire()[-3:])
        assert answered(known, wire())
        cut = 0
        for one in silent:
            one.setblocking(False)
            try:
                cut += one.recv(1) == b""
            except BlockingIOError:
                continue
            except ConnectionError:
                cut += 1
        assert 30 < cut < len(silent)
        assert listener.stored == 4


def test_turns_are_short_while_it_runs_and_as_before_afterwards(archive: vk.Archive) -> None:
    before = sys.getswitchinterval()
    with Listener(archive, now=lambda: NOW):
        with vk.Sandbox(speed=0):
            assert sys.getswitchinterval() == pytest.approx(1e-4)
        assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert sys.getswitchinterval() == before
