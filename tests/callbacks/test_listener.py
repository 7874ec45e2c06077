"""The receiver over real HTTP: a callback is in the archive before the response, and no response has a body."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import itertools
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import NullPool, create_engine
from support.archives import execute, url_of
from support.waiting import wait_for

import viberkit as vk
from viberkit.archive import tables
from viberkit.callbacks.listener import Listener
from viberkit.errors import ConfigurationError, InvalidRequest

SECRET, OLD, TOKEN = "a-shared-secret", "the-secret-before", "a-value-of-a-header"
HEADER = ("x-callback-token", TOKEN)
NOW = datetime(2026, 1, 5, 8, 0, 2, tzinfo=UTC)
AT = "2026-01-05T08:00:01.250Z"
JSON = {"content-type": "application/json"}
DELIVERED = {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": AT}
BODY = json.dumps(DELIVERED).encode()
MAX_BODY = 256 * 1024


def without_settings(patch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SECRET_OLD", "HEADER"):
        patch.delenv(f"VIBERKIT_CALLBACK_{name}", raising=False)


@pytest.fixture(autouse=True)
def _no_callback_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    without_settings(monkeypatch)


@pytest.fixture(scope="module")
def shared(new_archive_url: Callable[[], AbstractContextManager[str]]) -> Iterator[Listener]:
    """A listener without a secret, for several tests."""
    with new_archive_url() as url, vk.Archive(url) as archive, pytest.MonkeyPatch.context() as patch:
        without_settings(patch)
        with Listener(archive, now=lambda: NOW) as listener:
            yield listener


@pytest.fixture(scope="module")
def strict(new_archive_url: Callable[[], AbstractContextManager[str]]) -> Iterator[Listener]:
    """A listener that checks signatures, for several tests."""
    window = timedelta(minutes=3)
    with (
        new_archive_url() as url,
        vk.Archive(url) as archive,
        Listener(archive, secret=[SECRET, OLD], window=window, now=lambda: NOW) as listener,
    ):
        yield listener


@pytest.fixture
def listener(archive: vk.Archive) -> Iterator[Listener]:
    with Listener(archive, now=lambda: NOW) as listener:
        yield listener


def signed(body: bytes = BODY, stamp: str = AT, secret: str = SECRET, method: str = "sha256") -> dict[str, str]:
    mac = hmac.new(secret.encode(), stamp.encode() + b"\n" + body, getattr(hashlib, method)).digest()
    signature = base64.urlsafe_b64encode(mac).decode()
    return {**JSON, "x-signature": signature, "x-request-timestamp": stamp, "x-signature-version": "V1.0"}


def post(listener: Listener, body: Any = BODY, headers: dict[str, str] = JSON) -> int:
    """The status of a request whose response must have neither a body nor telling headers."""
    response = requests.post(listener.url, data=body, headers=headers, timeout=20)
    assert response.content == b""
    assert not {"server", "date", "content-type"} & {*map(str.lower, response.headers)}
    return response.status_code


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=20)


def wire(body: bytes = BODY, *more: str, line: str = "POST /callbacks HTTP/1.1") -> bytes:
    payload = [line, "host: localhost", "content-type: application/json", f"content-length: {len(body)}", *more]
    return "\r\n".join(payload).encode() + b"\r\n\r\n" + body


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def statuses_of(listener: Listener, sent: bytes) -> list[int]:
    """The statuses of all responses until the receiver closes the connection; none has a body."""
    with connect(listener) as connection:
        connection.sendall(sent)
        heads = until_closed(connection).split(b"\r\n\r\n")
    assert heads.pop() == b""
    return [int(head.split()[1]) for head in heads]


def stored_bodies(archive: vk.Archive) -> list[bytes]:
    """The stored bodies, read through another connection."""
    query = "SELECT body FROM raw WHERE kind = 'callback' ORDER BY id"
    return [body for (body,) in execute(url_of(archive), query)]


def dump(archive: vk.Archive) -> list[Any]:
    """All tables, except for the time of the last repetition."""
    raw = ", ".join(column.name for column in tables.raw.columns if column.name != "last_seen")
    shown = {"raw": raw, "messages": "*", "events": "*", "inbound": "*", "statuses": "*"}
    queries = [f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3" for table, columns in shown.items()]
    return [execute(url_of(archive), query) for query in queries]


# --- stored callbacks --------------------------------------------------------------------------------------


def test_body_is_in_the_file_at_204(listener: Listener, archive: vk.Archive) -> None:
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(20)]
    for number, body in enumerate(bodies):
        assert post(listener, body) == 204
        assert stored_bodies(archive) == bodies[: number + 1]
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
        (gzip.compress(BODY, mtime=0), False),
        (b"", False),
        (b"\xff\x00", False),
        (b"[" * 100_000, False),
        (b'{"a": NaN}', False),
    ],
    ids=[
        "status",
        "with a byte order mark",
        "unknown state",
        "inbound",
        "unknown event",
        "gzip",
        "empty",
        "bytes",
        "deep",
        "NaN",
    ],
)
def test_bodies_are_stored_unchanged_whether_readable_or_not(archive: vk.Archive, body: bytes, readable: bool) -> None:
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, body, {**signed(body), "content-encoding": "gzip"}) == 204
    assert stored_bodies(archive) == [body]
    assert archive.unreadable()["body"].tolist() == ([] if readable else [body])
    assert len(archive.events()) + len(archive.inbound()) == readable


def test_repeated_callbacks_change_nothing(listener: Listener, archive: vk.Archive) -> None:
    payload = [
        BODY,
        json.dumps({**DELIVERED, "event": "MessageStatus::accepted"}).encode(),
        json.dumps({"event": "MoMessage", "messageId": 7, "content": {"text": "a"}, "timestamp": AT}).encode(),
        b"junk",
    ]
    for body in payload:
        assert post(listener, body) == 204
    listener.stop()
    before = dump(archive)
    assert len(before[0]) == 4
    listener.start()
    for body in [*payload, *reversed(payload)]:
        assert post(listener, body) == 204
    listener.stop()
    assert dump(archive) == before
    assert listener.stored == 12


def test_chunked_bodies_and_pipelined_requests(listener: Listener, archive: vk.Archive) -> None:
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(8)]
    assert post(listener, iter([bodies[0][:9], bodies[0][9:]])) == 204
    row = b"".join(wire(body) for body in bodies[1:7]) + wire(bodies[7], "connection: close")
    assert statuses_of(listener, row) == [204] * 7
    assert stored_bodies(archive) == bodies


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
        *(({"stamp": at}, {}, 204, True) for at in ("soon", "9" * 30, "-1", "", SECONDS + "000000", SECONDS + ".25")),
        *(({"stamp": f"0001-01-01T00:00:00{zone}"}, {}, 204, True) for zone in ("Z", "+01:00")),
        ({"stamp": "Mon, 05 Jan 2026 08:00:01 GMT"}, {}, 204, True),
        ({"stamp": ""}, {"x-request-timestamp": None}, 204, True),
        ({}, {"x-request-timestamp": None}, 401, False),
        ({"secret": "another-secret"}, {}, 401, False),
        ({"body": BODY + b" "}, {}, 401, False),
        ({}, {"x-request-timestamp": SECONDS}, 401, False),
        ({}, {"x-signature-version": "V2.0"}, 401, False),
        *(({}, {"x-signature": junk}, 401, False) for junk in ("AAAA", "====", "\xfc", "a b", "", "A" * 5000)),
        ({}, dict.fromkeys(["x-signature", "x-request-timestamp"], ""), 401, False),
    ],
)
def test_signatures_are_required_and_old_ones_are_marked_late(
    strict: Listener, how: dict[str, Any], change: dict[str, Any], status: int, late: bool
) -> None:
    before, stored, rejected = strict.late, strict.stored, sum(strict.rejected.values())
    body = json.dumps({**DELIVERED, "messageId": f"m{stored}-{rejected}"}).encode()
    headers = signed(**{"body": body, **how})
    headers |= {name: value(headers[name]) if callable(value) else value for name, value in change.items()}
    assert post(strict, body, headers) == status
    assert stored_bodies(strict.archive).count(body) == strict.stored - stored == (status == 204)
    assert (strict.late - before, sum(strict.rejected.values()) - rejected) == (late, status == 401)
    assert strict.archive.callbacks()["late"].tolist()[stored:] == [late] * (status == 204)


# --- rejected requests ---------------------------------------------------------------------------------

SIZES = (MAX_BODY, MAX_BODY + 1, 2 * MAX_BODY)


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
        *(
            (204 if size == MAX_BODY else 413, {"size": size, "chunked": how})
            for size in SIZES
            for how in (False, True)
        ),
        (204, {"path": "/callbacks?from=here"}),
    ],
)
def test_status_of_each_kind_of_request(shared: Listener, status: int, request_: dict[str, Any]) -> None:
    stored, rejected = shared.stored, sum(shared.rejected.values())
    headers = {"content-type": request_.get("type", "application/json"), "host": request_.get("host")}
    body = json.dumps({**DELIVERED, "messageId": f"m{stored}-{rejected}"}).encode().rjust(request_.get("size", 0))
    prepared = requests.Request(
        request_.get("method", "POST"),
        shared.url,
        {name: value for name, value in headers.items() if value is not None},
        data=iter([body[:70_000], body[70_000:]]) if request_.get("chunked") else body,
    ).prepare()
    prepared.url = f"http://127.0.0.1:{shared.port}{request_.get('path', '/callbacks')}"  # not normalized
    with requests.Session() as session:
        response = session.send(prepared, timeout=20)
    assert (response.status_code, response.content) == (status, b"")
    assert response.headers.get("allow") == ("POST" if status == 405 else None)
    assert response.headers.get("connection") == (None if status == 204 else "close")
    assert (shared.stored - stored, sum(shared.rejected.values()) - rejected) == (status == 204, status != 204)
    assert (body in stored_bodies(shared.archive)) == (status == 204)


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
def test_invalid_http_is_answered_with_400(listener: Listener, archive: vk.Archive, sent: bytes) -> None:
    assert statuses_of(listener, sent) == [400]
    assert post(listener) == 204
    assert stored_bodies(archive) == [BODY]


@pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-host", "Forwarded", "Via", "CF-Connecting-IP"])
def test_forwarded_requests_need_a_secret(archive: vk.Archive, name: str) -> None:
    with Listener(archive, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**JSON, name: "192.0.2.1"}) == 403
        assert post(listener, BODY) == 204
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**signed(), name: "192.0.2.1"}) == 204


def test_unsigned_callbacks_are_stored_up_to_a_limit(
    archive: vk.Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("viberkit.callbacks.app.MAX_UNSIGNED", 10_500)
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(40)]
    with Listener(archive, now=lambda: NOW) as listener:
        statuses = [post(listener, body) for body in bodies]
        assert statuses == [204] * 9 + [507] * 31
        assert (listener.stored, [*listener.rejected.values()]) == (9, [31])
        assert "set a secret" in next(iter(listener.rejected))
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().count("set a secret") for record in warnings] == [1] * 5, "the 1st, 2nd, 4th, …"
    assert stored_bodies(archive) == bodies[:9]
    for proof in ({"secret": SECRET}, {"secret": "", "header": HEADER}):
        with Listener(archive, **proof, now=lambda: NOW) as listener:
            assert {post(listener, body, signed(body) | {HEADER[0]: TOKEN}) for body in bodies} == {204}


@pytest.mark.sqlite
def test_recovery_from_a_missing_or_replaced_file(archive: vk.Archive, caplog: pytest.LogCaptureFixture) -> None:
    moved = archive.path.with_suffix(".moved")
    bodies = (BODY.replace(b'"m"', b'"m%d"' % number) for number in itertools.count())
    with Listener(archive, now=lambda: NOW) as listener:
        assert post(listener, first := next(bodies)) == 204
        archive.path.rename(moved)
        vk.Archive(archive.path).close()
        assert [post(listener, next(bodies)) for _ in range(3)][
            -1
        ] == 204  # the file was replaced, and the listener opened it again
        archive.path.unlink()
        archive.path.mkdir()
        assert [post(listener, next(bodies)) for _ in range(2)] == [503, 503]
        payload = [reason for reason in listener.rejected if reason.startswith("not stored (")]
        assert any("unable to open" in reason for reason in payload)
        archive.path.rmdir()
        moved.rename(archive.path)
        assert post(listener, last := next(bodies)) == 204
    assert [record.levelname for record in caplog.records if "unable to open" in record.message][:1] == ["WARNING"]
    assert stored_bodies(archive) == [first, last]


def test_loopback_urls_are_not_configured_at_the_real_provider(archive: vk.Archive) -> None:
    with vk.Client("key", "SHOP") as real, Listener(archive, secret=SECRET) as listener:
        with pytest.raises(InvalidRequest, match="leads to this computer") as caught:
            listener.configure(real)
        assert len(caught.value.violations) == 2


def test_size_of_headers_is_limited(archive: vk.Archive) -> None:
    with Listener(archive, secret=SECRET, now=lambda: NOW) as listener:
        assert post(listener, BODY, {**signed(), "x-long": "a" * 20_000}) == 431
        assert post(listener, BODY, {**signed(), "x-long": "a" * 10_000}) == 204


def test_internal_errors_are_answered_and_counted(archive: vk.Archive) -> None:
    clock = [lambda: NOW]
    with Listener(archive, secret=SECRET, now=lambda: clock[0]()) as listener:
        clock[0] = lambda: NOW.replace(tzinfo=None)
        assert post(listener, BODY, signed()) == 500
        assert listener.rejected == {"internal error (TypeError)": 1}


def test_required_header_is_checked_besides_the_signature(archive: vk.Archive) -> None:
    with Listener(archive, secret=SECRET, header=HEADER, now=lambda: NOW) as listener:
        for wrong in ({}, {"x-callback-token": "another"}, {"x-callback-token": TOKEN + "\xfc"}, {"x-callback": TOKEN}):
            assert post(listener, BODY, signed() | wrong) == 401
        assert post(listener, BODY, {**JSON, "X-Callback-Token": TOKEN}) == 401
        assert stored_bodies(archive) == []
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
        ({"secret": SECRET[:7]}, "secret: has a length of 7;"),
        ({"secret": [OLD, SECRET * 9]}, "secret: has a length of 135;"),
        ({"header": ("x-tok: en", TOKEN)}, "is not the name of a header"),
        ({"header": ("x-a", TOKEN)}, r"header\[0\]: has a length of 3;"),
        ({"header": ("x-callback-token", TOKEN[:7])}, r"header\[1\]: has a length of 7;"),
        (
            {"header": ("x-callback-token", f"{TOKEN}\r\nx: y")},
            r"header\[1\]: contains characters that are not allowed in a header",
        ),
        (
            {"header": ("x-callback-token", f" {TOKEN}")},
            r"header\[1\]: contains characters that are not allowed in a header",
        ),
        (
            {"header": ("x-callback-token", f"{TOKEN}\u0142")},
            r"header\[1\]: contains characters that are not allowed in a header",
        ),
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
        ({"public_url": "https://example.org/callbacks"}, "callbacks must be authenticated"),
    ],
)
def test_invalid_arguments_are_rejected_without_quoting_a_secret(
    archive: vk.Archive, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Listener(archive, **options)
    assert not any(secret in str(caught.value) for secret in (SECRET[:7], TOKEN[:7], OLD))


def test_secrets_are_not_shown_anywhere(archive: vk.Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Listener(archive, secret=[SECRET, OLD], header=HEADER, now=lambda: NOW) as listener:
        statuses = [post(listener, BODY, payload) for payload in (JSON, signed(), signed() | {HEADER[0]: TOKEN + "x"})]
        statuses.append(post(listener, BODY, signed() | {HEADER[0]: TOKEN, "x-request-timestamp": "soon"}))
        statuses.append(post(listener, BODY, signed() | {HEADER[0]: TOKEN}))
        assert statuses == [401, 401, 401, 401, 204]
        shown = [repr(listener), str(listener), repr(vars(listener)), str(listener.rejected), repr(listener._app)]
        for fault in (pickle.dumps, lambda listener: pickle.dumps(listener._secrets)):
            with pytest.raises(TypeError, match="pickled") as caught:
                fault(listener)
            shown.append(str(caught.value))
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("urllib3")]
    # the 1st and 2nd rejection for one reason, the 1st for another
    assert sum("rejected" in line for line in logged) == 3
    shown += logged
    assert not [text for text in shown for word in (SECRET, OLD, TOKEN, "delivered") if word in text]


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


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "nowhere.invalid", "192.0.2.1", "::g", "a\0b", "\x1b[2J"])
def test_invalid_hosts(archive: vk.Archive, host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not an address of this computer|cannot be used") as caught:
        Listener(archive, host=host, secret=SECRET).start()
    assert str(caught.value).isprintable()


# --- life cycle --------------------------------------------------------------------------------------------


def test_restart_at_the_same_address(archive: vk.Archive) -> None:
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
    url = url_of(archive).replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url if "://" in url else f"sqlite:///{url}", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE raw" if "://" in url else "BEGIN EXCLUSIVE")
        yield


def test_slow_storage_is_answered_with_503(
    listener: Listener, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viberkit.callbacks.app.STORE_TIMEOUT_S", 0.3)
    bodies = [json.dumps({**DELIVERED, "messageId": f"m{number}"}).encode() for number in range(3)]
    with locked(archive):
        for body in bodies:
            response = requests.post(listener.url, data=body, headers=JSON, timeout=20)
            assert (response.status_code, response.content, response.headers["retry-after"]) == (503, b"", "5")
    assert listener.rejected == {"not stored in time": 3}
    monkeypatch.setattr("viberkit.callbacks.app.STORE_TIMEOUT_S", 20)
    assert [post(listener, body) for body in bodies] == [204] * 3  # as the provider repeats them
    assert stored_bodies(archive) == bodies


def test_stop_waits_for_requests_in_progress(archive: vk.Archive) -> None:
    with Listener(archive) as listener, connect(listener) as connection:
        with locked(archive):
            connection.sendall(wire())
            time.sleep(0.2)
        listener.stop()
        assert until_closed(connection).startswith(b"HTTP/1.1 204")
    assert archive.events()["state"].tolist() == ["delivered"]


@pytest.mark.parametrize("by_service_id", [False, True])
def test_callbacks_of_a_sandbox(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive, by_service_id: bool
) -> None:
    clock = {"now": lambda: sandbox.now}
    with Listener(archive, secret=[SECRET, OLD], header=HEADER, **clock) as listener:
        listener.configure(client, service_id=sandbox.service_id if by_service_id else None)
        message_id = client.send("+491701234567", vk.Text("hi"), rate_type="transaction").message_id
        sandbox.advance(seconds=3600)
        sandbox.receive("+491701234567", "Hello")
        attempts = sandbox.callbacks
        assert [attempt.status for attempt in attempts] == [204] * len(attempts)
        assert {attempt.url for attempt in attempts} == {listener.url}
        assert listener.stored == len(attempts) > 3
    payload = [attempt.body["event"].partition("::")[2] for attempt in attempts[:-1]]
    assert archive.events()["state"].astype(str).tolist() == payload
    assert set(archive.events()["message_id"]) == {message_id}
    assert archive.inbound()["text"].tolist() == ["Hello"]
    assert archive.callbacks()["late"].any() == listener.late == 0


# --- slow and silent connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [b"", wire()], ids=["a new connection", "an idle connection"])
@pytest.mark.parametrize("part", [b"POST /callbacks HTTP/1.1\r\nx-a: ", wire(b" " * 99)[:-50]], ids=["head", "body"])
def test_slow_requests_are_closed_at_the_deadline(
    archive: vk.Archive, monkeypatch: pytest.MonkeyPatch, first: bytes, part: bytes
) -> None:
    monkeypatch.setattr("viberkit.callbacks.listener.REQUEST_DEADLINE_S", 0.5)
    with Listener(archive) as listener, connect(listener) as slow:
        if first:
            slow.sendall(first)
            assert slow.recv(4096).startswith(b"HTTP/1.1 204")
            time.sleep(0.7)  # between two requests, a connection may be silent for longer
        slow.sendall(part)
        began, elapsed_s = time.monotonic(), 0.0
        slow.settimeout(0.05)
        while elapsed_s < 15:
            elapsed_s = time.monotonic() - began
            try:
                slow.sendall(b"a")
                if slow.recv(4096) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert 0.3 < elapsed_s < 10
        assert post(listener) == 204


def test_silent_connections_do_not_block_others(archive: vk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viberkit.callbacks.listener.MAX_CONNECTIONS", 8)

    def is_accepted(connection: socket.socket, sent: bytes) -> bool:
        connection.sendall(sent)
        return connection.recv(4096).startswith(b"HTTP/1.1 204")

    with Listener(archive) as listener, ExitStack() as connections:
        known = connections.enter_context(connect(listener))
        assert is_accepted(known, wire())
        silent = [connections.enter_context(connect(listener)) for _ in range(40)]
        assert post(listener) == 204
        slow = connections.enter_context(connect(listener))
        slow.sendall(wire()[:-3])
        silent += [connections.enter_context(connect(listener)) for _ in range(4)]
        assert is_accepted(slow, wire()[-3:])
        assert is_accepted(known, wire())
        closed = 0
        for connection in silent:
            connection.setblocking(False)
            try:
                closed += connection.recv(1) == b""
            except BlockingIOError:
                continue
            except ConnectionError:
                closed += 1
        assert 30 < closed < len(silent)
        assert listener.stored == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors")
def test_idle_connections_beyond_the_limit_of_descriptors(tmp_path: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
        "from viberkit.cli.main import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "listen", "--port", "0", "--archive", str(tmp_path / "a.db")]
    vk.Archive(tmp_path / "a.db", create=True).close()
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ExitStack() as connections,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[2].rstrip(";")
            port = int(url.rpartition(":")[2].partition("/")[0])
            used, started = psutil.Process(process.pid).cpu_times(), time.monotonic()
            for number in range(120):
                connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
                if number % 10 == 9:
                    callback = {**DELIVERED, "messageId": f"m{number}"}
                    assert requests.post(url, json=callback, timeout=4).status_code == 204
            time.sleep(1.2)  # the event loop accepts again a second after it failed
            assert requests.post(url, json=DELIVERED, timeout=4).status_code == 204
            elapsed_s, after = time.monotonic() - started, psutil.Process(process.pid).cpu_times()
            assert after.user + after.system - used.user - used.system < 0.6 * elapsed_s
        finally:
            process.terminate()
            assert "13 stored" in process.communicate(timeout=20)[0]
    lines = log.read_text().splitlines()
    assert 0 < len(lines) < 15
    assert "closed an idle connection to make room (1 so far)" in lines[0]
    assert not [line for line in lines if "accept" in line], "a cap below the limit"


def test_a_process_without_free_descriptors_recovers(archive: vk.Archive, caplog: pytest.LogCaptureFixture) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Listener(archive) as listener, ExitStack() as files, ExitStack() as connections:
        for _ in range(3):
            connections.enter_context(connect(listener))
        assert post(listener) == 204
        wait_for(lambda: len(archive.events()))  # the writer opens no more files until the next callback
        waiting = connections.enter_context(socket.socket())
        try:
            highest = files.enter_context(open(os.devnull)).fileno()  # noqa: PTH123
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
            with suppress(OSError):
                while True:
                    files.enter_context(open(os.devnull))  # noqa: PTH123
            waiting.connect(("127.0.0.1", listener.port))
            waiting.sendall(wire())
            wait_for(lambda: "could not accept" in caplog.text)
        finally:
            files.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        waiting.settimeout(10)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 204")
    logged = [record.getMessage() for record in caplog.records if "viberkit" in record.name]
    assert "viberkit-listener could not accept a connection (1 so far): Too many open files" in logged
    assert len(logged) < 8


def test_switch_interval_while_servers_run(archive: vk.Archive) -> None:
    before = sys.getswitchinterval()
    with Listener(archive, now=lambda: NOW):
        with vk.Sandbox(speed=0):
            assert sys.getswitchinterval() == pytest.approx(1e-4)
        assert sys.getswitchinterval() == pytest.approx(1e-4)
    assert sys.getswitchinterval() == before
