"""Callbacks: is this one really from the provider? (The receiver that stores them comes on top of this.)

Signature version V1.0: ``x-signature`` = Base64URL(HMAC(secret, ``x-request-timestamp`` + newline + raw body)).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from viberkit.errors import UnreadableRecord
from viberkit.wire import instant

__all__ = ["is_signed", "sign"]

_METHODS = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}


def sign(secret: str, timestamp: str, body: bytes, method: str = "HS256") -> str:
    """The ``x-signature`` of a callback's raw body.

    >>> sign("a-shared-secret", "2020-07-13T12:19:18.967Z", b"{}")[:12]
    'NAj8EOUTcev6'
    """
    data = timestamp.encode() + b"\n" + body
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), data, _METHODS[method]().name)).decode()


def is_signed(
    headers: Mapping[str, str],
    body: bytes,
    secrets: str | Sequence[str],
    *,
    now: datetime,
    window: timedelta = timedelta(minutes=5),
) -> tuple[bool, str]:
    """Whether a callback carries the signature of one of the secrets, and why not.

    Takes HS256 and HS512, padded and unpadded base64url, several secrets (while one is being changed),
    and timestamps in ISO 8601, seconds or milliseconds. Compares in constant time. A timestamp further
    than ``window`` from ``now`` is refused; junk is a refusal too, never an exception. An empty secret
    never matches.

    >>> now = datetime(2020, 7, 13, 12, 20, tzinfo=UTC)
    >>> told = {"X-Signature": sign("a-shared-secret", "2020-07-13T12:19:18Z", b"{}"),
    ...         "X-Request-Timestamp": "2020-07-13T12:19:18Z", "X-Signature-Version": "V1.0"}
    >>> is_signed(told, b"{}", "a-shared-secret", now=now), is_signed(told, b"{ }", "a-shared-secret", now=now)
    ((True, ''), (False, 'the signature is of another body or secret'))
    """
    told = {name.lower(): value for name, value in headers.items()}
    signature, timestamp = told.get("x-signature"), told.get("x-request-timestamp")
    if not signature or not timestamp:
        return False, "x-signature or x-request-timestamp is missing"
    if told.get("x-signature-version", "V1.0").upper() not in ("V1.0", "1.0"):
        return False, "x-signature-version is not V1.0"
    try:
        given = base64.b64decode(
            signature.strip().rstrip("=") + "=" * (-len(signature.strip().rstrip("=")) % 4), b"-_", True
        )
        data = timestamp.encode("latin-1") + b"\n" + body
    except (binascii.Error, ValueError):
        return False, "x-signature is not base64url"
    match = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        for method in _METHODS.values() if secret else ():  # anybody can sign with an empty secret
            match |= hmac.compare_digest(hmac.digest(secret.encode(), data, method().name), given)
    if not match:
        return False, "the signature is of another body or secret"
    sent_at = _sent_at(timestamp)
    if sent_at is None or abs(now - sent_at) > window:
        why = "not an instant" if sent_at is None else "too far from now"
        return False, f"x-request-timestamp is {why}"
    return True, ""


def _sent_at(timestamp: str) -> datetime | None:
    try:
        if timestamp.strip().isascii() and timestamp.strip().isdigit():
            number = int(timestamp)
            return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC)
        return instant(timestamp)[0]
    except (UnreadableRecord, ValueError, OverflowError, OSError):
        return None
