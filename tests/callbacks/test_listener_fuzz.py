"""The callback application and the archive with random requests, without sockets: no input causes an internal error."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st
from support import fuzz_callbacks
from support.fuzz_callbacks import AT, NOW, ODD, REAL, SECRET, mutated, split_input

import viberkit as vk
from viberkit.callbacks.app import MAX_BODY, CallbackApp
from viberkit.models.callback import Callback, sign

HEADER = ("x-callback-token", "a-value-of-it")
FUZZ_RUNS = int(os.environ.get("VIBERKIT_FUZZ_RUNS", "500"))
many = settings(
    max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "5")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Request:
    """A request to the application; ``valid`` if it must be accepted."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    valid: bool
    method: str = "POST"
    path: bytes = b"/callbacks"
    parts: int = 1


def signed(body: bytes, *more: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    signature = [(b"x-signature", sign(SECRET, AT, body).encode()), (b"x-request-timestamp", AT.encode())]
    return (*more, *signature, (HEADER[0].encode(), HEADER[1].encode()), (b"content-type", b"application/json"))


# --- bodies ----------------------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=20)  # lone surrogates too: json.dumps writes them as \ud800
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(10**18, 10**300)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@st.composite
def wrong_types(draw: st.DrawFn) -> bytes:
    """A real callback with values of other types in some fields, at any depth; perhaps a field occurs twice."""
    record = json.loads(json.dumps(draw(st.sampled_from(REAL))))
    for _ in range(draw(st.integers(1, 3))):
        part: Any = record
        name = draw(st.sampled_from([*record]))
        if isinstance(part[name], dict) and part[name] and draw(st.booleans()):
            part = part[name]
            name = draw(st.sampled_from([*part]))
        part[name] = draw(values | st.sampled_from([f"@{number}@" for number in range(len(ODD))]))
    body = json.dumps(record).encode()
    for number, odd in enumerate(ODD):
        body = body.replace(f'"@{number}@"'.encode(), odd)
    return body[:-1] + b"," + body[1:] if draw(st.booleans()) else body


bodies = st.one_of(
    st.binary(max_size=60),
    values.map(json.dumps).map(str.encode),
    wrong_types(),
    st.sampled_from(ODD),
    st.integers(0, 2**32).map(lambda seed: split_input(mutated(random.Random(seed)))[1]),
)
bodies |= bodies.map(lambda body: gzip.compress(body, mtime=0)) | bodies.map(lambda body: b"\xef\xbb\xbf" + body)


# --- requests --------------------------------------------------------------------------------------------

names = st.sampled_from(
    b"host content-type content-length x-signature x-request-timestamp x-signature-version x-callback-token "
    b"transfer-encoding content-encoding".split()
)
heads = st.tuples(names, st.binary(max_size=12) | st.sampled_from([b"\xb2", b"9" * 19, b"-1", b"text/html", b"V1.0"]))


@st.composite
def requests(draw: st.DrawFn) -> Request:
    body, parts = draw(bodies), draw(st.integers(1, 3))
    match draw(st.integers(0, 4)):
        case 0:
            return Request(body, tuple(draw(st.lists(heads, max_size=5))), False, parts=parts)
        case 1:
            incomplete = [header for header in signed(body) if header[0] != draw(names)]
            return Request(body, (*draw(st.lists(heads, max_size=2)), *incomplete), False, parts=parts)
        case 2:
            method, path = draw(st.tuples(st.sampled_from(["POST", "GET", "\x00"]), st.binary(max_size=12)))
            return Request(body, signed(body), method == "POST" and path == b"/callbacks", method, path)
        case _:
            more = draw(st.lists(st.tuples(st.sampled_from([b"host", b"content-encoding"]), st.binary(max_size=9))))
            return Request(body, signed(body, *more), True, parts=parts)


async def respond(app: CallbackApp, request: Request) -> tuple[int, bytes]:
    """The response of the application: status and body."""
    scope = {"type": "http", "method": request.method, "raw_path": request.path, "headers": [*request.headers]}
    size = len(request.body) // request.parts + 1
    pieces = [request.body[at : at + size] for at in range(0, len(request.body), size)] or [b""]
    coming = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    coming[-1]["more_body"] = False
    messages: list[Any] = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


def respond_to_all(sent: list[Request]) -> tuple[CallbackApp, list[Callback], list[tuple[int, bytes]]]:
    """The application after some requests, the callbacks it stored, and its responses."""
    stored: list[Callback] = []

    async def store(callback: Callback) -> None:
        stored.append(callback)

    async def respond_all() -> list[tuple[int, bytes]]:
        return [await respond(app, request) for request in sent]

    app = CallbackApp(store, "/callbacks", [SECRET], HEADER, timedelta(minutes=5), lambda: NOW)
    return app, stored, asyncio.run(respond_all())


@many
@given(st.lists(requests(), min_size=1, max_size=15))
def test_requests_are_stored_or_rejected(sent: list[Request]) -> None:
    app, stored, responses = respond_to_all(sent)
    for request, (status, body) in zip(sent, responses, strict=True):
        assert body == b""
        assert status in {204, 401, 404, 405, 413, 415}
        if request.valid:
            assert status == 204
    assert [callback.body for callback in stored] == [
        request.body for request, (status, _) in zip(sent, responses, strict=True) if status == 204
    ]
    assert (app.stored, sum(app.rejected.values())) == (len(stored), len(sent) - len(stored))
    assert not any(word in why for why in app.rejected for word in (SECRET, HEADER[1]))
    with tempfile.TemporaryDirectory() as folder, vk.Archive(Path(folder) / "a.db") as archive:
        for start in range(0, len(stored), 10):
            archive.recorder.record_callbacks(stored[start : start + 10])
        archive.recorder.derive()
        assert archive.raw_bodies("callback") == list(dict.fromkeys(callback.body for callback in stored))
        assert not archive.callbacks()["late"].any()
        fuzz_callbacks.check_reading(archive)


@many
@given(st.integers(-2, 2), st.integers(1, 9), st.sampled_from([None, b"0", b"\xb2", b"9" * 30, b"1048577", b"-5"]))
def test_actual_length_of_the_body_counts(over: int, parts: int, length: bytes | None) -> None:
    body = b"{" + b" " * (MAX_BODY - 2 + over) + b"}"
    more = [] if length is None else [(b"content-length", length)]
    _, stored, [(status, response)] = respond_to_all([Request(body, signed(body, *more), True, parts=parts)])
    too_long = over > 0 or length == b"1048577"
    assert (status, response, len(stored)) == ((413, b"", 0) if too_long else (204, b"", 1))


def test_short_run_of_the_fuzzer() -> None:
    assert fuzz_callbacks.run(FUZZ_RUNS) == FUZZ_RUNS
