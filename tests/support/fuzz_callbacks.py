"""A fuzzer of the code that reads callbacks: ``python tests/support/fuzz_callbacks.py -runs=1000000``.

With atheris it is guided by coverage and accepts the options of libFuzzer; otherwise a seeded random mutator generates
the inputs (``-runs=``, ``-seed=``). Nothing may raise except ``SignatureError``; no reader may fail; each row must fit
its table; and every 500 inputs are stored in an archive, which must return them byte for byte and stay readable.
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
        print("atheris is not installed: a random mutator generates the inputs", file=sys.stderr)

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

#: Real callbacks.
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

#: Values that no field expects, and text that is almost JSON.
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
#: The beginning of a reason that reports an internal error: the name of an exception.
_INTERNAL_ERROR = re.compile(r"(cannot be put into the tables: )?[A-Z]\w*: |cannot be put")


def to_json(value: Any, rng: random.Random, share: float) -> bytes:
    """A value as JSON; a share of its parts is odd, missing or duplicated."""
    if rng.random() < share:
        return rng.choice(ODD)
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
    pairs: list[bytes] = []
    for name, part in value.items():
        times = rng.choice((0, 2)) if rng.random() < share else 1
        pairs += [json.dumps(name).encode() + b":" + to_json(part, rng, share) for _ in range(times)]
    return b"{" + b",".join(pairs) + b"}"


def mutated(rng: random.Random) -> bytes:
    """A callback with random mutations."""
    body = bytearray(to_json(rng.choice(REAL), rng, rng.choice((0.0, 0.05, 0.2))))
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        index = rng.randrange(len(body) + 1)
        match rng.randrange(6):
            case 0:
                body[index : index + 1] = rng.randbytes(1)
            case 1:
                body[index:index] = rng.choice((b"\0", b"\xef\xbb\xbf", b"\\ud800", b"\\", b'"', b"{", b"]", b","))
            case 2:
                del body[index : index + rng.randrange(1, 9)]
            case 3:
                body[:0] = b"\xef\xbb\xbf"
            case 4:
                body = bytearray(gzip.compress(bytes(body), mtime=0))
            case _:
                body = bytearray(bytes(body).decode("latin-1").encode("utf-16"))
    head = [rng.choice(("1767600001", AT, "", "9" * 30, "\xb2", "0")), rng.choice(("AAAA", "", "\xff", "=")), "V1.0"]
    return "\n".join(head).encode("latin-1") + b"\n\n" + bytes(body)


def split_input(data: bytes) -> tuple[list[str], bytes]:
    """Split an input into timestamp, signature and version, and the body."""
    head, blank, body = data.partition(b"\n\n")
    fields = head.decode("latin-1").split("\n") if blank else []
    return [*fields, "", "", ""][:3], body if blank else data


def check_one(data: bytes) -> bytes:
    """Check one input, and return its body."""
    (stamp, signature, version), body = split_input(data)
    headers = {"X-Request-Timestamp": stamp, "x-signature": signature, "X-SIGNATURE-VERSION": version}
    assert _signed(headers, body) == "refused", "accepted without a signature"
    on_the_wire = {"x-request-timestamp": stamp.encode().decode("latin-1"), "x-signature": sign(SECRET, stamp, body)}
    at = _signed(on_the_wire, body)
    assert at is None or (isinstance(at, datetime) and at.utcoffset() == timedelta(0)), "refused for its timestamp"
    valid = {"x-request-timestamp": AT, "x-signature": sign(SECRET, AT, body, "HS512").rstrip("=")}
    assert _signed(valid, body) == NOW + timedelta(seconds=1, milliseconds=250), (
        "rejected in spite of a valid signature"
    )
    check_rows(derive_rows(RawRecord(1, "callback", "", 200, body, None, 0, 0)))
    return body


def _signed(headers: dict[str, str], body: bytes) -> datetime | str | None:
    try:
        return signed_at(headers, body, ["another-secret", SECRET])
    except SignatureError as error:
        reason = str(error)
    assert SECRET not in reason
    return "refused"


def check_rows(rows: DerivedRows) -> None:
    """Check that a record has exactly one row, which fits its table, or a reason why it is unreadable."""
    assert not _INTERNAL_ERROR.match(rows.unreadable or ""), rows.unreadable
    assert len(rows.events) + len(rows.inbound) + (rows.unreadable is not None) == 1
    assert not rows.messages
    assert not rows.statuses
    for row in rows.events + rows.inbound:
        for name, value in row.items():
            if isinstance(value, str):
                assert "\0" not in value.encode().decode(), name
            else:
                assert value is None or (isinstance(value, int) and abs(value) < 2**63), name
        assert row["message_id"].strip()


def check_archive(bodies: Sequence[bytes]) -> None:
    """Check that an archive stores callbacks byte for byte, once each, and stays readable."""
    with tempfile.TemporaryDirectory() as folder, vk.Archive(Path(folder) / "a.db") as archive:
        archive.recorder.record_callbacks(Callback(body, NOW, NOW) for body in bodies)
        archive.recorder.derive()
        assert archive.raw_bodies("callback") == list(dict.fromkeys(bodies))
        check_reading(archive)


def check_reading(archive: vk.Archive) -> None:
    """Check that every callback is in one of the frames, and that reading them does not fail."""
    unreadable, events = archive.unreadable(), archive.events(all_sources=True)
    for reason in unreadable["reason"]:
        assert not _INTERNAL_ERROR.match(reason), reason
    callbacks = archive.callbacks()
    assert len(callbacks) == len(archive.raw_bodies("callback"))
    assert set(callbacks["unreadable"].dropna()) == set(unreadable["reason"])
    assert set(archive.messages()["message_id"]) == set(archive.events()["message_id"]) == set(events["message_id"])
    assert len(unreadable) + len(events) + len(archive.inbound()) <= len(callbacks)
    assert archive.gaps().empty


class Target:
    """The function that is called with each input."""

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
    """Check inputs of the random mutator, and return their number."""
    target, rng = Target(), random.Random(seed)
    while target.count < count:
        target(mutated(rng))
    if target.bodies:
        check_archive(target.bodies)
    return target.count


def main() -> None:
    if atheris is None:
        options = dict(option.lstrip("-").split("=", 1) for option in sys.argv[1:] if "=" in option)
        started = time.perf_counter()
        count = run(int(options.get("runs", 100_000)), int(options.get("seed", 1)))
        print(f"Done {count} runs in {time.perf_counter() - started:.0f} second(s)")
        return

    def mutator(data: bytes, longest: int, seed: int) -> bytes:  # some inputs are mutations of real callbacks
        return mutated(random.Random(seed))[:longest] if seed % 4 == 0 else atheris.Mutate(data, longest)

    atheris.Setup([sys.argv[0], "-max_len=16384", *sys.argv[1:]], Target(), custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
