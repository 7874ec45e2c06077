"""The receiver's door and the archive behind it, without sockets: nothing that comes makes either stumble."""

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

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fuzz_callbacks
from support.fuzz_callbacks import AT, NOW, ODD, REAL, SECRET, mutated, parted

import viberkit as vk
from viberkit.callbacks.app import MAX_BODY, CallbackApp
from viberkit.models.callback import Callback, sign

HEADER = ("x-callback-token", "a-value-of-it")
many = settings(
    max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Request:
    """A request as it comes to the door; ``right`` if it must be let in."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    right: bool
    method: str = "POST"
    path: bytes = b"/callbacks"
    parts: int = 1


def signed(body: bytes, *more: tuple[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    signature = [(b"x-signature", sign(SECRET, AT, body).encode()), (b"x-request-timestamp", AT.encode())]
    return (*more, *signature, (HEADER[0].encode(), HEADER[1].encode()), (b"content-type", b"application/json"))


# --- bodies ----------------------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=20)  # half surrogate pairs too: json.dumps writes them as \ud800
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(10**18, 10**300)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@st.composite
def misfits(draw: st.DrawFn) -> bytes:
    """A real callback with a value of another type in one field or several, at any depth; perhaps twice."""
    record = json.loads(json.dumps(draw(st.sampled_from(REAL))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = record
        name = draw(st.sampled_from([*record]))
        if isinstance(place[name], dict) and place[name] and draw(st.booleans()):
            place = place[name]
            name = draw(st.sampled_from([*place]))
        place[name] = draw(values | st.sampled_from([f"@{number}@" for number in range(len(ODD))]))
    body = json.dumps(record).encode()
    for number, odd in enumerate(ODD):
        body = body.replace(f'"@{number}@"'.encode(), odd)
    return body[:-1] + b"," + body[1:] if draw(st.booleans()) else body


bodies = st.one_of(
    st.binary(max_size=60),
    values.map(json.dumps).map(str.encode),
    misfits(),
    st.sampled_from(ODD),
    st.integers(0, 2**32).map(lambda seed: parted(mutated(random.Random(seed)))[1]),
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
            spoilt = [one for one in signed(body) if one[0] != draw(names)]
            return Request(body, (*draw(st.lists(heads, max_size=2)), *spoilt), False, parts=parts)
        case 2:
            method, path = draw(st.tuples(st.sampled_from(["POST", "GET", "\x00"]), st.binary(max_size=12)))
            return Request(body, signed(body), method == "POST" and path == b"/callbacks", method, path)
        case _:
            more = draw(st.lists(st.tuples(st.sampled_from([b"host", b"content-encoding"]), st.binary(max_size=9))))
            return Request(body, signed(body, *more), True, parts=parts)


async def ask(door: CallbackApp, request: Request) -> tuple[int, bytes]:
    """What the door answers."""
    scope = {"type": "http", "method": request.method, "raw_path": request.path, "headers": [*request.headers]}
    size = len(request.body) // request.parts + 1
    pieces = [request.body[at : at + size] for at in range(0, len(request.body), size)] or [b""]
    coming = [{"type": "http.request", "body": one, "more_body": True} for one in pieces]
    coming[-1]["more_body"] = False
    told: list[Any] = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        told.append(message)

    await door(scope, receive, send)
    return told[0]["status"], b"".join(one.get("body", b"") for one in told[1:])


def answers(asked: list[Request]) -> tuple[CallbackApp, list[Callback], list[tuple[int, bytes]]]:
    """A door that was asked all this, what it let in, and its answers."""
    let_in: list[Callback] = []

    async def keep(callback: Callback) -> None:
        let_in.append(callback)

    async def ask_all() -> list[tuple[int, bytes]]:
        return [await ask(door, one) for one in asked]

    door = CallbackApp(keep, "/callbacks", [SECRET], HEADER, timedelta(minutes=5), lambda: NOW)
    return door, let_in, asyncio.run(ask_all())


@many
@given(st.lists(requests(), min_size=1, max_size=15))
def test_whatever_comes_is_kept_or_turned_away(asked: list[Request]) -> None:
    door, let_in, told = answers(asked)
    for request, (status, body) in zip(asked, told, strict=True):
        assert body == b""
        assert status in {204, 401, 404, 405, 413, 415}
        if request.right:
            assert status == 204
    assert [one.body for one in let_in] == [
        one.body for one, (status, _) in zip(asked, told, strict=True) if status == 204
    ]
    assert (door.stored, sum(door.rejected.values())) == (len(let_in), len(asked) - len(let_in))
    assert not any(word in why for why in door.rejected for word in (SECRET, HEADER[1]))
    with tempfile.TemporaryDirectory() as folder, vk.Archive(Path(folder) / "a.db") as archive:
        for start in range(0, len(let_in), 10):
            archive.keep_callbacks(let_in[start : start + 10])
        archive.derive()
        assert archive.answers("callback") == list(dict.fromkeys(one.body for one in let_in))
        assert not archive.callbacks()["late"].any()
        fuzz_callbacks.check_reading(archive)


@many
@given(st.integers(-2, 2), st.integers(1, 9), st.sampled_from([None, b"0", b"\xb2", b"9" * 30, b"1048577", b"-5"]))
def test_a_body_is_as_long_as_it_is_and_not_as_it_says(over: int, parts: int, length: bytes | None) -> None:
    body = b"{" + b" " * (MAX_BODY - 2 + over) + b"}"
    more = [] if length is None else [(b"content-length", length)]
    _, let_in, [(status, told)] = answers([Request(body, signed(body, *more), True, parts=parts)])
    too_long = over > 0 or length == b"1048577"
    assert (status, told, len(let_in)) == ((413, b"", 0) if too_long else (204, b"", 1))


def test_the_fuzzer_finds_nothing_in_a_short_run() -> None:
    assert fuzz_callbacks.run(2_000) == 2_000
