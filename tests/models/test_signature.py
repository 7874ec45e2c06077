"""Signatures of callbacks, against an HMAC written here from the reference's one line."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viberkit.models.callback import SignatureError, sign, signed_at

many = settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "150")), deadline=None)
NOW = datetime(2020, 7, 13, 12, 20, tzinfo=UTC)
AT = "2020-07-13T12:19:18.967Z"
SECRET = "a-shared-secret"
BODY = b'{"event":"MessageStatus::delivered"}'


def is_signed(told: dict[str, str], body: bytes, given: Any) -> tuple[bool, str]:
    try:
        assert signed_at(told, body, given).utcoffset() == timedelta(0)
    except SignatureError as refused:
        return False, str(refused)
    return True, ""


def by_hand(secret: str, timestamp: str, body: bytes, digest: Any) -> str:
    """Base64URL( HMAC( secret, x-request-timestamp + newline + raw body ) )"""
    mac = hmac.new(secret.encode("utf-8"), f"{timestamp}\n".encode() + body, digest)
    return base64.urlsafe_b64encode(mac.digest()).decode("ascii")


def headers(signature: str, timestamp: str = AT, **more: str) -> dict[str, str]:
    return {"X-Signature": signature, "X-Request-Timestamp": timestamp, "X-Signature-Version": "V1.0", **more}


secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=130)
stamps = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
digests = st.sampled_from([("HS256", hashlib.sha256), ("HS512", hashlib.sha512)])


@many
@given(secrets, stamps, st.binary(max_size=200), digests)
def test_sign_is_the_hmac_of_the_reference(secret: str, stamp: str, body: bytes, digest: tuple[str, Any]) -> None:
    method, algorithm = digest
    assert sign(secret, stamp, body, method) == by_hand(secret, stamp, body, algorithm)


@many
@given(secrets, st.binary(max_size=200), digests, st.booleans(), st.integers(-299, 299))
def test_what_is_signed_is_accepted(
    secret: str, body: bytes, digest: tuple[str, Any], padded: bool, seconds: int
) -> None:
    sent_at = NOW + timedelta(seconds=seconds)
    ways = [sent_at.isoformat(), sent_at.isoformat()[:19], str(int(sent_at.timestamp()))]
    ways += [str(int(sent_at.timestamp() * 1000)), sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")]
    for stamp in ways:
        signature = by_hand(secret, stamp, body, digest[1])
        told = headers(signature if padded else signature.rstrip("="), stamp)
        assert is_signed(told, body, secret) == (True, "")
        assert is_signed(told, body, ["another-secret" + secret, secret]) == (True, "")
        assert not is_signed(told, body + b" ", secret)[0]
        assert not is_signed(told, body, secret + "x")[0]
        assert not is_signed({**told, "X-Request-Timestamp": stamp + " "}, body, secret)[0]


def test_headers_are_read_in_any_case() -> None:
    told = headers(sign(SECRET, AT, BODY))
    for change in (str.lower, str.upper, str.title):
        assert is_signed({change(name): value for name, value in told.items()}, BODY, SECRET) == (True, "")
    del told["X-Signature-Version"]
    assert is_signed(told, BODY, SECRET) == (True, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"X-Signature": ""}, "missing"),
        ({"X-Request-Timestamp": ""}, "missing"),
        ({"X-Signature-Version": "V2.0"}, "not V1.0"),
        ({"X-Signature": "ünï"}, "not base64url"),
        ({"X-Signature": "a b"}, "not base64url"),
        ({"X-Signature": "\ud800"}, "not base64url"),
        ({"X-Signature": "AAAA"}, "does not match"),
        ({"X-Signature": "===="}, "does not match"),
    ],
)
def test_a_refusal_says_why(change: dict[str, str], why: str) -> None:
    genuine, told = is_signed(headers(sign(SECRET, AT, BODY)) | change, BODY, SECRET)
    assert not genuine
    assert why in told
    assert is_signed({}, BODY, SECRET)[0] is False


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("2020-07-13T12:14:59Z", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("2020-07-13T14:14:59.5+02:00", datetime(2020, 7, 13, 12, 14, 59, 500_000, tzinfo=UTC)),
        ("1594642499", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("1594642499000", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_any_way_and_however_old(stamp: str, at: datetime) -> None:
    assert signed_at(headers(sign(SECRET, stamp, BODY), stamp), BODY, SECRET) == at


@pytest.mark.parametrize(
    "stamp",
    ["9999-12-31T23:59:59-05:00", "0000-01-01T00:00:00Z", "9" * 30, "9" * 5000, "soon", "-1", "nan", " "],
    ids=lambda text: text[:20],
)
def test_a_timestamp_that_is_no_instant_is_refused_though_signed(stamp: str) -> None:
    assert is_signed(headers(sign(SECRET, stamp, BODY), stamp), BODY, SECRET) == (
        False,
        "x-request-timestamp is not an instant",
    )


def test_an_empty_secret_lets_nobody_in() -> None:
    forged = headers(by_hand("", AT, BODY, hashlib.sha256))
    for given_secrets in ("", [""], ["", SECRET], [], ()):
        assert not is_signed(forged, BODY, given_secrets)[0]
    assert is_signed(headers(sign(SECRET, AT, BODY)), BODY, ["", SECRET])[0]


junk = st.text(st.characters(), max_size=40)


@many
@given(junk, junk, junk, st.binary(max_size=40))
def test_no_junk_raises(signature: str, stamp: str, version: str, body: bytes) -> None:
    told = {"x-signature": signature, "x-request-timestamp": stamp, "x-signature-version": version}
    for sent in (told, {**told, "x-signature-version": "V1.0"}, {"x-signature": signature, "x-request-timestamp": AT}):
        genuine, why = is_signed(sent, body, [SECRET, "another"])
        assert not genuine
        assert why.encode()


@many
@given(stamps, st.binary(max_size=40))
def test_no_signed_junk_timestamp_raises(stamp: str, body: bytes) -> None:
    genuine, why = is_signed(headers(by_hand(SECRET, stamp, body, hashlib.sha256), stamp), body, SECRET)
    assert genuine or "x-request-timestamp" in why


@many
@given(st.dictionaries(junk, junk, max_size=5), st.binary(max_size=20))
def test_no_junk_header_raises(told: dict[str, str], body: bytes) -> None:
    assert not is_signed(told, body, SECRET)[0]
    genuine, why = is_signed({**told, **headers(sign(SECRET, AT, body))}, body, SECRET)
    assert (genuine, why) == (True, "")


def test_no_answer_quotes_the_secret() -> None:
    for told in (headers("AAAA"), headers("ü"), {}, headers(sign(SECRET, "0", BODY), "0")):
        assert SECRET not in is_signed(told, BODY, SECRET)[1]


def test_an_unknown_method_is_no_default() -> None:
    with pytest.raises(KeyError):
        sign(SECRET, AT, BODY, "HS1")
