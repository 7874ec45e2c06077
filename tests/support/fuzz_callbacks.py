"""A fuzzer of what is read from callbacks: ``python tests/fuzz_callbacks.py -runs=1000000``.

With atheris it is led by coverage, and takes libFuzzer's options; without, a seeded random mutator makes the inputs
(``-runs=``, ``-seed=``). Nothing may raise but ``Refused``; no reader may stumble; each row must fit its table; and of
every 500 inputs an archive is made, which must hold them byte for byte and still be readable.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

atheris: Any = None
if __name__ == "__main__":
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: a random mutator makes the inputs", file=sys.stderr)

with atheris.instrument_imports(include=["viberkit", "json"]) if atheris else nullcontext():
    import viberkit as vk
    from viberkit.archive.derive import DerivedRows, RawRecord, derive_rows
    from viberkit.models.callback import Callback, SignatureError, sign, signed_at

SECRET = "a-shared-secret"
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
BATCH = 500
AT = "2026-01-05T08:00:01.250Z"
STATUS = {"event": "MessageStatus::delivered", "messageId": "8fb360a1", "channel": "viber", "timestamp": AT}
INBOUND = {"messageId": "5463481551745434076", "channel": "viber", "from": "+491701234567", "to": "S", "timestamp": AT}

#: Callbacks as they come.
REAL: tuple[dict[str, Any], ...] = (
    STATUS,
    {**STATUS, "timestamp": AT[:-1], "status": "delivered", "userContext": "order 7", "from": "S"},
    {**STATUS, "event": "MessageStatus::channelFailed", "details": {"code": "viber::error::X", "message": "no user"}},
    {**INBOUND, "event": "MoMessage", "receivedAt": AT, "content": {"contentType": "text", "text": "Hi \U0001f44b"}},
    {**INBOUND, "event": "InboundMessage", "content": {"type": "text", "text": "Hi"}, "context": {"messageId": "m"}},
    {**INBOUND, "event": "MoMessage::Postback", "postback": {"data": "yes"}},
    {
        **INBOUND,
        "event": "MoMessage",
        "content": {"contentType": "media", "media": {"type": "image", "url": "u", "mediaId": "i", "caption": "c"}},
    },
)

#: JSON, or nearly, that no field expects.
ODD = (
    *(b'null true false 0 -1 -0.0 1e999 1.5 NaN Infinity -Infinity [] {} "" " " [[]] [{}] {"a":null}'.split(b" ")),
    *(b'"\\u0000" "\\ud800" "a\\udfff\\ud800" "\xed\xa0\x80" "\xff" "MessageStatus::" "InboundMessage"'.split(b" ")),
    *(b'"0000-01-01T00:00:00Z" "0001-01-01T00:00:00+14:00" "0001-01-01T00:00:00" "1969-12-31T23:59:59Z"'.split(b" ")),
    *(b'"9999-12-31T23:59:59.999999Z" "9999-12-31T23:59:59-14:00" "2026-02-29T00:00:00Z" "soon"'.split(b" ")),
    *(b'"2026-W01-1T08:00Z" "2026-01-05T24:00:00Z" "2026-01-05T08:00:60Z" "MoMessage::Postback"'.split(b" ")),
    b"9" * 40,
    b"-" + b"9" * 64,
    b"9" * 5000,
    b'"' + b"x" * 5000 + b'"',
    b"[" * 2000 + b"]" * 2000,
    b'{"a":' * 1500 + b"1" + b"}" * 1500,
    b'"' + "\u2028\U0001f44b\x7f+49 170 1234567".encode() + b'"',
)
#: How a reader's own fault is told: by the name of an exception.
_STUMBLED = re.compile(r"(cannot be put into the tables: )?[A-Z]\w*: |cannot be put")


def spelled(value: Any, rng: random.Random, share: float) -> bytes:
    """A value as JSON; of its parts, so large a share is odd, missing, or there twice."""
    if rng.random() < share:
        return rng.choice(ODD)
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
    pairs: list[bytes] = []
    for name, each in value.items():
        times = rng.choice((0, 2)) if rng.random() < share else 1
        pairs += [json.dumps(name).encode() + b":" + spelled(each, rng, share) for _ in range(times)]
    return b"{" + b",".join(pairs) + b"}"


def mutated(rng: random.Random) -> bytes:
    """A callback that something has happened to."""
    body = bytearray(spelled(rng.choice(REAL), rng, rng.choice((0.0, 0.05, 0.2))))
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        place = rng.randrange(len(body) + 1)
        match rng.randrange(6):
            case 0:
                body[place : place + 1] = rng.randbytes(1)
            case 1:
                body[place:place] = rng.choice((b"\0", b"\xef\xbb\xbf", b"\\ud800", b"\\", b'"', b"{", b"]", b","))
            case 2:
                del body[place : place + rng.randrange(1, 9)]
            case 3:
                body[:0] = b"\xef\xbb\xbf"
            case 4:
                body = bytearray(gzip.compress(bytes(body), mtime=0))
            case _:
                body = bytearray(bytes(body).decode("latin-1").encode("utf-16"))
    head = [rng.choice(("1767600001", AT, "", "9" * 30, "\xb2", "0")), rng.choice(("AAAA", "", "\xff", "=")), "V1.0"]
    return "\n".join(head).encode("latin-1") + b"\n\n" + bytes(body)


def parted(data: bytes) -> tuple[list[str], bytes]:
    """An input as timestamp, signature and version, and the body."""
    head, blank, body = data.partition(b"\n\n")
    told = head.decode("latin-1").split("\n") if blank else []
    return [*told, "", "", ""][:3], body if blank else data


def check_one(data: bytes) -> bytes:
    """Try one input; gives its body."""
    (stamp, signature, version), body = parted(data)
    told = {"X-Request-Timestamp": stamp, "x-signature": signature, "X-SIGNATURE-VERSION": version}
    assert _signed(told, body) is None, "let in unsigned"
    signed_well = {**told, "x-signature": sign(SECRET, stamp, body), "X-SIGNATURE-VERSION": "V1.0"}
    at = _signed(signed_well, body)
    assert at is None or at.utcoffset() == timedelta(0)
    right = {"x-request-timestamp": AT, "x-signature": sign(SECRET, AT, body, "HS512").rstrip("=")}
    assert _signed(right, body) == NOW + timedelta(seconds=1, milliseconds=250), "signed, but not let in"
    check_rows(derive_rows(RawRecord(1, "callback", "", 200, body, None, 0, 0)))
    return body


def _signed(told: dict[str, str], body: bytes) -> datetime | None:
    try:
        return signed_at(told, body, ["another-secret", SECRET])
    except SignatureError as refused:
        why = str(refused)
    assert SECRET not in why
    return None


def check_rows(made: DerivedRows) -> None:
    """Exactly one thing is told, by rows that fit their tables, or it is said why not."""
    assert not _STUMBLED.match(made.unreadable or ""), made.unreadable
    assert len(made.events) + len(made.inbound) + (made.unreadable is not None) == 1
    assert not made.messages
    assert not made.statuses
    for row in made.events + made.inbound:
        for name, value in row.items():
            if isinstance(value, str):
                assert "\0" not in value.encode().decode(), name
            else:
                assert value is None or (isinstance(value, int) and abs(value) < 2**63), name
        assert row["message_id"].strip()


def check_archive(bodies: Sequence[bytes]) -> None:
    """An archive keeps callbacks byte for byte, each once, and can be read afterwards."""
    with tempfile.TemporaryDirectory() as folder, vk.Archive(Path(folder) / "a.db") as archive:
        archive.recorder.record_callbacks(Callback(body, NOW, NOW) for body in bodies)
        archive.recorder.derive()
        assert archive.raw_bodies("callback") == list(dict.fromkeys(bodies))
        check_reading(archive)


def check_reading(archive: vk.Archive) -> None:
    """Everything that came is told of, by one frame or another, and none fails."""
    unreadable, events = archive.unreadable(), archive.events(all_sources=True)
    for why in unreadable["reason"]:
        assert not _STUMBLED.match(why), why
    came = archive.callbacks()
    assert len(came) == len(archive.raw_bodies("callback"))
    assert set(came["unreadable"].dropna()) == set(unreadable["reason"])
    assert set(archive.messages()["message_id"]) == set(archive.events()["message_id"]) == set(events["message_id"])
    assert len(unreadable) + len(events) + len(archive.inbound()) <= len(came)
    assert archive.gaps().empty


class Target:
    """What is called with each input."""

    def __init__(self) -> None:
        self.count = 0
        self.bodies: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.bodies.append(check_one(data))
        self.count += 1
        if len(self.bodies) == BATCH:
            bodies, self.bodies = self.bodies, []
            check_archive(bodies)


def run(count: int, seed: int = 1) -> int:
    """Try so many inputs of the random mutator; gives how many there were."""
    target, rng = Target(), random.Random(seed)
    while target.count < count:
        target(mutated(rng))
    if target.bodies:
        check_archive(target.bodies)
    return target.count


def main() -> None:
    if atheris is None:
        given = dict(one.lstrip("-").split("=", 1) for one in sys.argv[1:] if "=" in one)
        began = time.perf_counter()
        count = run(int(given.get("runs", 100_000)), int(given.get("seed", 1)))
        print(f"Done {count} runs in {time.perf_counter() - began:.0f} second(s)")
        return

    def mutator(data: bytes, longest: int, seed: int) -> bytes:  # the real callbacks come in by way of this
        return mutated(random.Random(seed))[:longest] if seed % 4 == 0 else atheris.Mutate(data, longest)

    atheris.Setup([sys.argv[0], "-max_len=16384", *sys.argv[1:]], Target(), custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
