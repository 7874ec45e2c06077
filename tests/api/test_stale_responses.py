"""Servers and proxies that send a response to the wrong request: no message counts as accepted that was not.

A long run: ``VIBERKIT_SENDS=5000 pytest -n 0 -s -m "" tests/api/test_stale_responses.py``
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.raw_server import RawServer, accepted, read_head, read_request, response

import viberkit as vk
from viberkit.api import transport

SENDS = int(os.environ.get("VIBERKIT_SENDS", "60"))


def late_second_response(server: RawServer, connection: socket.socket) -> None:
    """A second 202 follows up to 100 ms after the first, on a connection that stays open."""
    while (body := read_request(connection)) is not None:
        connection.sendall(server.accept(body))
        delay_s = random.choice([0, 0.001, 0.01, 0.1])
        threading.Timer(delay_s, send_quietly, (connection, server.foreign())).start()


def send_quietly(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


def pipelined_responses(server: RawServer, connection: socket.socket) -> None:
    """Two responses in one packet."""
    while (body := read_request(connection)) is not None:
        connection.sendall(server.accept(body) + server.foreign())


def response_before_the_request(server: RawServer, connection: socket.socket) -> None:
    """A response as soon as the connection is open."""
    connection.sendall(server.foreign())
    read_request(connection)


def response_after_the_headers(server: RawServer, connection: socket.socket) -> None:
    """A response to the headers; the body is not awaited."""
    read_head(connection)
    connection.sendall(server.foreign())
    connection.recv(1)


@pytest.mark.parametrize("has_archive", [False, True])
@pytest.mark.parametrize(
    ("serve", "state"),
    [
        (late_second_response, "accepted"),
        (pipelined_responses, "accepted"),
        (response_before_the_request, "unknown"),
        (response_after_the_headers, "unknown"),
    ],
)
def test_no_message_is_accepted_by_a_response_to_another(
    serve: Callable[[RawServer, socket.socket], None],
    state: str,
    has_archive: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcomes: Counter[str] = Counter()
    if state == "unknown":  # the threads of this process delay the server
        monkeypatch.setattr(transport, "_GRACE_S", 5)
    with RawServer(serve) as server, vk.Archive(tmp_path / "a.db") as archive:
        client = vk.Client("my-key", "S", base_url=server.url, archive=archive if has_archive else None)

        def send(number: int) -> None:
            to = f"+49170{1_000_000 + number}"
            try:
                message_id = client.send(to, vk.Text("hi"), rate_type="transaction").message_id
            except vk.errors.UnknownOutcome:
                outcomes["unknown"] += 1
            else:
                outcomes["accepted" if server.accepted.get(message_id) == to else "untrue"] += 1

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(SENDS)))
        client.close()
        if has_archive:
            assert archive.outbox()["state"].value_counts()[state] == SENDS
    assert outcomes == {state: SENDS}


def test_one_id_for_several_recipients_is_accepted_once(tmp_path: Path) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(accepted("the-same"))

    with RawServer(serve) as server, vk.Archive(tmp_path / "a.db") as archive:
        client = vk.Client("my-key", "S", base_url=server.url, archive=archive)
        client.send("+491701234567", vk.Text("hi"), rate_type="transaction")
        with pytest.raises(vk.errors.UnknownOutcome, match="the id of another send, the-same"):
            client.send("+491701234568", vk.Text("hi"), rate_type="transaction")
        recipients = [{"to": f"+49170{1_000_000 + number}"} for number in range(4)]
        campaign = vk.Campaign.plan(archive, "spring", recipients, vk.Text("hi"), rate_type="transaction")
        status = campaign.send(client, confirm=campaign.preview().confirm, progress=False)
        assert status.counts == {"unknown": 4}
        assert archive.outbox()["reason"].str.contains("the-same").sum() == 5
        assert archive.messages()["message_id"].tolist() == ["the-same"]
        client.close()


def test_each_send_has_a_connection_of_its_own(tmp_path: Path) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        while (body := read_request(connection)) is not None:
            connection.sendall(server.accept(body))

    with RawServer(serve) as server, vk.Client("my-key", "S", base_url=server.url) as client:
        for number in range(5):
            client.send(f"+49170{1_000_000 + number}", vk.Text("hi"), rate_type="transaction")
        assert server.connections == 5


def test_a_response_about_another_message_is_an_error() -> None:
    """A second response that comes late on a persistent connection answers the next request."""

    def serve(server: RawServer, connection: socket.socket) -> None:
        while read_request(connection) is not None:
            connection.sendall(response(b'{"messageId": "m1", "status": "seen", "history": []}'))

    with RawServer(serve) as server, vk.Client("my-key", "S", base_url=server.url) as client:
        assert client.status("M1").state == "seen", "only the case of the id differs"
        assert client.events("m1") == ()
        for call in (client.status, client.events, client.message):
            with pytest.raises(vk.errors.UnexpectedResponse, match="another message; m1"):
                call("m2")
