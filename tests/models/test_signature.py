"""Signatures of callbacks, compared with an HMAC computed here from the definition in the reference."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from viberkit.models.callback import SignatureError, sign, signed_at

many = settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "20")), deadline=None)
NOW = datetime(2020, 7, 13, 12, 20, tzinfo=UTC)
AT = "2020-07-13T12:19:18.967Z"
SECRET = "a-shared-secret"
BODY = b'{"event":"MessageStatus::delivered"}'


def check(headers: dict[str, str], body: bytes, secrets: Any) -> tuple[bool, str]:
    try:
        at = signed_at(headers, body, secrets)
        assert at is None or at.utcoffset() == timedelta(0)
    except SignatureError as error:
        return False, str(error)
    return True, ""


def reference_signature(secret: str, timestamp: str, body: bytes, digest: Any) -> str:
    """Base64URL( HMAC( secret, x-request-timestamp + newline + raw body ) )"""
    mac = hmac.new(secret.encode("utf-8"), f"{timestamp}\n".encode() + body, digest)
    return base64.urlsafe_b64encode(mac.digest()).decode("ascii")


def make_headers(signature: str, timestamp: str = AT, **more: str) -> dict[str, str]:
    return {"X-Signature": signature, "X-Request-Timestamp": timestamp, "X-Signature-Version": "V1.0", **more}


secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=130)
timestamps = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
digests = st.sampled_from([("HS256", hashlib.sha256), ("HS512", hashlib.sha512)])


@many
@given(secrets, timestamps, st.binary(max_size=200), digests)
def test_sign_is_the_hmac_of_the_reference(secret: str, timestamp: str, body: bytes, digest: tuple[str, Any]) -> None:
    method, algorithm = digest
    assert sign(secret, timestamp, body, method) == reference_signature(secret, timestamp, body, algorithm)


@many
@given(secrets, st.binary(max_size=200), digests, st.booleans(), st.integers(-299, 299))
def test_valid_signatures_are_accepted(
    secret: str, body: bytes, digest: tuple[str, Any], padded: bool, seconds: int
) -> None:
    sent_at = NOW + timedelta(seconds=seconds)
    texts = [sent_at.isoformat(), sent_at.isoformat()[:19], str(int(sent_at.timestamp()))]
    texts += [str(int(sent_at.timestamp() * 1000)), sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")]
    for timestamp in texts:
        signature = reference_signature(secret, timestamp, body, digest[1])
        headers = make_headers(signature if padded else signature.rstrip("="), timestamp)
        assert check(headers, body, secret) == (True, "")
        assert check(headers, body, ["another-secret" + secret, secret]) == (True, "")
        assert not check(headers, body + b" ", secret)[0]
        assert not check(headers, body, secret + "x")[0]
        assert not check({**headers, "X-Request-Timestamp": timestamp + " "}, body, secret)[0]


def test_header_names_are_case_insensitive() -> None:
    headers = make_headers(sign(SECRET, AT, BODY))
    for change in (str.lower, str.upper, str.title):
        assert check({change(name): value for name, value in headers.items()}, BODY, SECRET) == (True, "")
    del headers["X-Signature-Version"]
    assert check(headers, BODY, SECRET) == (True, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"X-Signature": ""}, "missing"),
        ({"X-Request-Timestamp": ""}, "does not match"),
        ({"X-Signature-Version": "V2.0"}, "not V1.0"),
        ({"X-Signature": "ünï"}, "not base64url"),
        ({"X-Signature": "a b"}, "not base64url"),
        ({"X-Signature": "\ud800"}, "not base64url"),
        ({"X-Signature": "AAAA"}, "does not match"),
        ({"X-Signature": "===="}, "does not match"),
    ],
)
def test_the_error_names_the_reason(change: dict[str, str], reason: str) -> None:
    valid, message = check(make_headers(sign(SECRET, AT, BODY)) | change, BODY, SECRET)
    assert not valid
    assert reason in message
    assert check({}, BODY, SECRET)[0] is False


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2020-07-13T12:14:59Z", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("2020-07-13T14:14:59.5+02:00", datetime(2020, 7, 13, 12, 14, 59, 500_000, tzinfo=UTC)),
        ("1594642499", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("1594642499000", datetime(2020, 7, 13, 12, 14, 59, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_timestamps_in_every_format_and_of_any_age(timestamp: str, expected: datetime) -> None:
    assert signed_at(make_headers(sign(SECRET, timestamp, BODY), timestamp), BODY, SECRET) == expected


@pytest.mark.parametrize(
    "timestamp",
    [
        "9999-12-31T23:59:59-05:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "Mon, 13 Jul 2020 12:14:59 GMT",
        "1594642499000000",
        "1594642499000000000",
        "1594642499.25",
        "9" * 30,
        "9" * 5000,
        "soon",
        "-1",
        "nan",
        " ",
        "",
    ],
    ids=lambda text: text[:20],
)
def test_a_signed_timestamp_of_any_other_format_is_accepted_without_a_time(timestamp: str) -> None:
    headers = make_headers(sign(SECRET, timestamp, BODY), timestamp)
    assert signed_at(headers, BODY, SECRET) is None
    assert not check(headers, BODY + b" ", SECRET)[0]
    if not timestamp:
        del headers["X-Request-Timestamp"]
        assert signed_at(headers, BODY, SECRET) is None


def test_an_empty_secret_never_matches() -> None:
    forged = make_headers(reference_signature("", AT, BODY, hashlib.sha256))
    for secrets_with_empty in ("", [""], ["", SECRET], [], ()):
        assert not check(forged, BODY, secrets_with_empty)[0]
    assert check(make_headers(sign(SECRET, AT, BODY)), BODY, ["", SECRET])[0]


junk = st.text(st.characters(), max_size=40)


@many
@given(junk, junk, junk, st.binary(max_size=40))
def test_malformed_headers_are_refused(signature: str, timestamp: str, version: str, body: bytes) -> None:
    headers = {"x-signature": signature, "x-request-timestamp": timestamp, "x-signature-version": version}
    for sent in (
        headers,
        {**headers, "x-signature-version": "V1.0"},
        {"x-signature": signature, "x-request-timestamp": AT},
    ):
        valid, message = check(sent, body, [SECRET, "another"])
        assert not valid
        assert message.encode()


@many
@given(timestamps, st.binary(max_size=40))
def test_no_signed_timestamp_is_refused(timestamp: str, body: bytes) -> None:
    headers = make_headers(reference_signature(SECRET, timestamp, body, hashlib.sha256), timestamp)
    assert check(headers, body, SECRET) == (True, "")


@many
@given(st.dictionaries(junk, junk, max_size=5), st.binary(max_size=20))
def test_other_headers_are_ignored(extra: dict[str, str], body: bytes) -> None:
    assert not check(extra, body, SECRET)[0]
    valid, message = check({**extra, **make_headers(sign(SECRET, AT, body))}, body, SECRET)
    assert (valid, message) == (True, "")


def test_no_message_quotes_the_secret() -> None:
    for headers in (make_headers("AAAA"), make_headers("ü"), {}, make_headers(sign(SECRET, "0", BODY), "0")):
        assert SECRET not in check(headers, BODY, SECRET)[1]


def test_an_unknown_method_is_an_error() -> None:
    with pytest.raises(KeyError):
        sign(SECRET, AT, BODY, "HS1")
