"""Callbacks as they come, and whether they are really from the provider. Pure; the receiver is ``listener``.

Signature version V1.0: ``x-signature`` = Base64URL(HMAC(secret, ``x-request-timestamp`` + newline + raw body)).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from viberkit.errors import UnreadableRecord
from viberkit.models.parsing import parse_instant

__all__ = ["Callback", "SignatureError", "sign", "signed_at"]

_METHODS = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}


def sign(secret: str, timestamp: str, body: bytes, method: str = "HS256") -> str:
    """The ``x-signature`` of a callback's raw body.

    >>> sign("a-shared-secret", "2020-07-13T12:19:18.967Z", b"{}")[:12]
    'NAj8EOUTcev6'
    """
    data = timestamp.encode() + b"\n" + body
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), data, _METHODS[method]().name)).decode()


class SignatureError(Exception):
    """A callback that is not let in; the text says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback as it came: its raw body, when, when it was signed, and whether that was too long ago."""

    body: bytes
    received_at: datetime
    signed_at: datetime | None = None
    late: bool = False


def signed_at(headers: Mapping[str, str], body: bytes, secrets: str | Sequence[str]) -> datetime:
    """When a callback was signed with one of the secrets; :class:`Refused` if it was not.

    Takes HS256 and HS512, padded and unpadded base64url, several secrets (while one is being changed), and
    timestamps in ISO 8601, seconds or milliseconds. Compares bytes in constant time. Junk is a refusal, never another
    exception. An empty secret never matches. How old a signature may be is for the caller to judge.

    >>> told = {"X-Signature": sign("a-shared-secret", "2020-07-13T12:19:18Z", b"{}"),
    ...         "X-Request-Timestamp": "2020-07-13T12:19:18Z", "X-Signature-Version": "V1.0"}
    >>> signed_at(told, b"{}", "a-shared-secret")
    datetime.datetime(2020, 7, 13, 12, 19, 18, tzinfo=datetime.timezone.utc)
    >>> signed_at(told, b"{ }", "a-shared-secret")
    Traceback (most recent call last):
    viberkit.models.callback.SignatureError: the signature is of another body or secret
    """
    told = {name.lower(): value for name, value in headers.items()}
    signature, timestamp = told.get("x-signature"), told.get("x-request-timestamp")
    if not signature or not timestamp:
        raise SignatureError("x-signature or x-request-timestamp is missing")
    if told.get("x-signature-version", "V1.0").upper() not in ("V1.0", "1.0"):
        raise SignatureError("x-signature-version is not V1.0")
    bare = signature.strip().rstrip("=")
    try:
        given = base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", True)
        data = timestamp.encode("latin-1") + b"\n" + body
    except (binascii.Error, ValueError):
        raise SignatureError("x-signature is not base64url") from None
    match = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        for method in _METHODS.values() if secret else ():  # anybody can sign with an empty secret
            match |= hmac.compare_digest(hmac.digest(secret.encode(), data, method().name), given)
    if not match:
        raise SignatureError("the signature is of another body or secret")
    return _instant(timestamp)


def _instant(timestamp: str) -> datetime:
    told = timestamp.strip()
    try:
        if told.isascii() and told.isdigit():
            number = int(told)
            return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC)
        return parse_instant(told)[0]
    except (UnreadableRecord, ValueError, OverflowError, OSError):
        raise SignatureError("x-request-timestamp is not an instant") from None
