"""Responses that are too large, too slow or wrong, connections after a fork, paths that lead elsewhere, TLS."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import socket
import ssl
import subprocess
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.raw_server import RawServer, read_request, response
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit import errors
from viberkit.api import account, transport
from viberkit.models.parsing import retry_after_s
from viberkit.models.records import Response, SentMessage

TO = "+491701234567"
MB = 2**20


def send(client: vk.Client) -> SentMessage:
    return client.send(TO, vk.Text("hi"), rate_type="transaction")


# --- size and time ----------------------------------------------------------------------------------


def plain(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 202 OK\r\nContent-Length: 1000000000\r\n\r\n")
    endless(connection)


def without_length(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 202 OK\r\n\r\n")
    endless(connection)


def in_chunks(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def interim_responses(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def bomb(*encodings: str) -> Callable[[socket.socket], None]:
    body = zeros = b"\0" * (300 * MB)
    for encoding in encodings:
        body = gzip.compress(body, 1) if encoding == "gzip" else zlib.compress(body, 1)
    del zeros
    header = f"Content-Encoding: {', '.join(encodings)}".encode()

    def bombard(connection: socket.socket) -> None:
        connection.sendall(response(body, header, status=b"202 OK"))

    return bombard


def endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65536)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


FLOODS = {
    "plain": plain,
    "without length": without_length,
    "chunks": in_chunks,
    "interim responses": interim_responses,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_response_has_a_largest_size(name: str, tmp_path: Path) -> None:
    check_flood(FLOODS[name], tmp_path)


@pytest.mark.parametrize("encodings", [("gzip",), ("deflate",), ("gzip", "gzip")])
def test_a_compressed_response_has_a_largest_size(encodings: tuple[str, ...], tmp_path: Path) -> None:
    check_flood(bomb(*encodings), tmp_path)


def check_flood(flood: Callable[[socket.socket], None], tmp_path: Path) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        flood(connection)

    before = peak_mb()
    with RawServer(serve) as server, vk.Archive(tmp_path / "a.db") as archive:
        with vk.Client("my-key", "S", base_url=server.url, archive=archive, timeout_s=(2, 5)) as client:
            with pytest.raises(errors.UnknownOutcome, match="too large"):
                send(client)
            assert archive.outbox()["state"].tolist() == ["unknown"]
            with pytest.raises(errors.TransportError, match="too large: more than 16 MB"):
                client.status("m")
        assert server.connections == 2, "a response that is too large is not requested again"
    assert peak_mb() - before < 150


def test_a_file_may_be_larger_than_other_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(response(b"x" * (17 * MB)))

    with RawServer(serve) as server, vk.Client("my-key", "S", base_url=server.url) as client:
        assert len(client.account.download_media("m")) == 17 * MB
        monkeypatch.setattr(account, "_MAX_FILE_BYTES", 16.5 * MB)
        with pytest.raises(errors.TransportError, match="too large"):
            client.account.download_media("m")


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 202 OK\r\nX: ", b"HTTP/1.1 202 OK\r\nContent-Length: 99999\r\n\r\n"])
def test_a_response_has_a_longest_time(beginning: bytes) -> None:
    """One byte at a time, each in less than the time limit between two bytes."""

    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(beginning)
        while True:
            time.sleep(0.02)
            connection.sendall(b"x")

    with RawServer(serve) as server, vk.Client("my-key", "S", base_url=server.url, timeout_s=(1, 0.1)) as client:
        started = time.monotonic()
        with pytest.raises(errors.UnknownOutcome, match="in time"):
            send(client)
        assert time.monotonic() - started < 3


# --- time of the server -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "Mon, 99 Jan 2026 08:00:00 GMT"]
)
def test_a_wrong_date_does_not_move_the_time_of_observation(
    scripted: ScriptedServer, tmp_path: Path, date: str
) -> None:
    now = datetime.now(UTC).isoformat()
    body = f'{{"messageId": "m", "events": [{{"event": "MessageStatus::accepted", "timestamp": "{now}"}}]}}'.encode()
    scripted.respond_with((202, {"Date": date}, b'{"messageId": "m"}'), (200, {"Date": date}, body))
    with vk.Archive(tmp_path / "a.db") as archive:
        with vk.Client("my-key", "S", base_url=scripted.url, archive=archive) as client:
            send(client)
            vk.collect(client, archive, progress=False)
            received = client.get_response("events", "m")
        assert received.headers["date"] == date, "the header remains as it was received"
        assert abs(received.observed_at - datetime.now(UTC)) < timedelta(minutes=1)
        observed = archive.messages()["observed_until"].item()
        assert abs(observed - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_date_of_almost_now_is_the_time_of_observation(scripted: ScriptedServer) -> None:
    date = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)
    scripted.respond_with((200, {"Date": f"{date:%a, %d %b %Y %H:%M:%S GMT}"}, b"{}"))
    with vk.Client("my-key", "S", base_url=scripted.url) as client:
        assert client.get_response("events", "m").observed_at == date


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("9" * 500, 86_400),
        ("-5", None),
        ("1e3", None),
        ("\u0663", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 05 Jan 2026 08:00:30 GMT", 30),
        ("Mon, 05 Jan 2026 08:00:30 +9999", None),
    ],
)
def test_a_delay_is_within_a_day(text: str, seconds: float | None) -> None:
    headers = {"retry-after": text, "date": "Mon, 05 Jan 2026 08:00:00 GMT"}
    assert retry_after_s(Response(429, b"", datetime.now(UTC), headers)) == seconds


# --- processes --------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_does_not_share_connections(sandbox: vk.Sandbox) -> None:
    with sandbox.client() as client:
        ids = [
            client.send(f"+49170{1_000_000 + n}", vk.Text("hi"), rate_type="transaction").message_id for n in range(8)
        ]
        client.status(ids[0])  # opens a connection, which both processes have after the fork
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:  # the child
            try:
                wrong = [
                    message_id
                    for _ in range(25)
                    for message_id in ids
                    if client.status(message_id).message_id != message_id
                ]
                os.write(writer, f"{len(wrong)}".encode())
            except BaseException:  # noqa: BLE001
                os.write(writer, traceback.format_exc().encode()[:60_000])
            finally:
                os._exit(0)
        assert [client.status(message_id).message_id for message_id in ids * 25] == ids * 25
        assert os.read(reader, 65536) == b"0"
        os.waitpid(pid, 0)
        assert client.status(ids[0]).message_id == ids[0], "the parent's connection is still open"
        os.close(reader)
        os.close(writer)


# --- paths ------------------------------------------------------------------------------------------

PATH_CALLS: dict[str, Callable[[vk.Client, str], object]] = {
    "status": lambda client, part: client.status(part),
    "events": lambda client, part: client.events(part),
    "message": lambda client, part: client.message(part),
    "get_response": lambda client, part: client.get_response("status", part),
    "service_id": lambda client, part: client.account.service_id(part),
    "configure_callbacks": lambda client, part: client.account.configure_callbacks("https://a.org", service_id=part),
    "download_media": lambda client, part: client.account.download_media(part),
    "delete_media": lambda client, part: client.account.delete_media(part),
}


@pytest.mark.parametrize("name", PATH_CALLS)
@pytest.mark.parametrize("part", ["", ".", "..", "a\0b", "a\nb", "half \ud83d", None, 5])
def test_a_part_of_a_path_that_leads_elsewhere_is_refused(scripted: ScriptedServer, name: str, part: str) -> None:
    scripted.respond_with((200, {}, b"{}"))
    with vk.Client("my-key", "S", base_url=f"{scripted.url}/v3") as client:
        if (name, part) == ("configure_callbacks", None):
            return
        with pytest.raises(errors.InvalidRequest, match=r"_id|media"):
            PATH_CALLS[name](client, part)
    assert not scripted.requests


@pytest.mark.parametrize("name", PATH_CALLS)
@pytest.mark.parametrize(
    "part", ["../x", "a/../b", "%2e%2e", "..%2f..", "a?b=c", "a#b", "a b", "ä", "...", "\\..\\", ";/..", "//x"]
)
def test_a_part_of_a_path_is_quoted(scripted: ScriptedServer, name: str, part: str) -> None:
    scripted.respond_with((404, {"Content-Type": "application/problem+json"}, b'{"status": 404, "title": "Not Found"}'))
    client = vk.Client("my-key", "S", base_url=f"{scripted.url}/v3")
    with client, contextlib.suppress(errors.NotFound, errors.InvalidRequest):
        PATH_CALLS[name](client, part)
    for request in scripted.requests:
        slashes = {"configure_callbacks": 6, "service_id": 6}.get(name, 3 if "me" in name else 4)
        assert request.path.startswith("/v3/")
        assert request.path.count("/") == slashes
        assert "?" not in request.path
        assert not {".", ".."} & set(request.path.split("/"))


@pytest.mark.parametrize(
    "link", ["/v3/../admin", "../admin", "/v3/%2e%2e/admin", "{url}/v3/../admin", "//127.0.0.1:1/v3/x"]
)
def test_a_page_is_within_the_api(scripted: ScriptedServer, link: str) -> None:
    scripted.respond_with((200, {"Link": f'<{link.format(url=scripted.url)}>; rel="next"'}, b"[]"))
    with vk.Client("my-key", "S", base_url=f"{scripted.url}/v3") as client:
        client.account.list_media()
    assert [request.path for request in scripted.requests] == ["/v3/media"]


# --- TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    options = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1".split()
    )
    command = ["openssl", *options, "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl cannot make a certificate here")
    return folder


@pytest.fixture
def secure_server(certificate: Path) -> Iterator[RawServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    def serve(server: RawServer, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            while (body := read_request(secure)) is not None:
                secure.sendall(server.accept(body))

    with RawServer(serve) as server:
        server.url = server.url.replace("http://", "https://")
        yield server


def test_messages_are_sent_over_tls(
    secure_server: RawServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DEFAULT_CA_BUNDLE_PATH", str(certificate / "cert.pem"))
    transport._tls_context.cache_clear()
    with vk.Client("my-key", "S", base_url=secure_server.url) as client:
        assert [send(client).message_id for _ in range(3)] == ["m-0", "m-1", "m-2"]
    transport._tls_context.cache_clear()
    assert secure_server.connections == 3


def test_a_certificate_of_the_session_is_used(secure_server: RawServer, certificate: Path) -> None:
    with vk.Client("my-key", "S", base_url=secure_server.url) as client:
        client._transport._session().verify = str(certificate / "cert.pem")
        assert send(client).message_id == "m-0"


def test_an_unknown_certificate_is_refused(secure_server: RawServer) -> None:
    with (
        vk.Client("my-key", "S", base_url=secure_server.url) as client,
        pytest.raises(errors.TransportError, match="certificate could not be verified") as caught,
    ):
        send(client)
    assert not caught.value.sent
    assert not secure_server.accepted
