"""Callbacks as they arrive, and the check of their signature; no I/O.

Signature version V1.0: ``x-signature`` = Base64URL(HMAC(secret, ``x-request-timestamp`` + newline + raw body)).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from viberkit.errors import UnreadableRecord
from viberkit.models.parsing import parse_instant

_DIGESTS = {"HS256": "sha256", "HS512": "sha512"}


def sign(secret: str, timestamp: str, body: bytes, method: str = "HS256") -> str:
    """The ``x-signature`` of a callback's raw body.

    >>> sign("a-shared-secret", "2020-07-13T12:19:18.967Z", b"{}")[:12]
    'NAj8EOUTcev6'
    """
    data = timestamp.encode() + b"\n" + body
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), data, _DIGESTS[method])).decode()


def normalize(record: Any) -> Any:
    """A callback of version 3.0, which names media by their kind, as one of version 2; others are unchanged.

    >>> normalize({"content": {"contentType": "image", "image": {"mediaId": "m"}}})
    {'content': {'contentType': 'media', 'image': {'mediaId': 'm'}, 'media': {'type': 'image', 'mediaId': 'm'}}}
    """
    content: Any = record.get("content") if isinstance(record, Mapping) else None
    kind = content.get("contentType") if isinstance(content, Mapping) else None
    media = content.get(kind) if isinstance(kind, str) and kind != "media" else None
    if not isinstance(media, Mapping) or not {"mediaId", "url"} & media.keys():
        return record
    return {**record, "content": {**content, "contentType": "media", "media": {"type": kind, **media}}}


class SignatureError(Exception):
    """A callback that is refused; the message names the reason and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback as received: raw body, time of arrival, time of its signature, and whether that is old or unknown."""

    body: bytes
    received_at: datetime
    signed_at: datetime | None = None
    late: bool = False


def signed_at(headers: Mapping[str, str], body: bytes, secrets: str | Sequence[str]) -> datetime | None:
    """The time at which a callback was signed with one of the secrets; :class:`SignatureError` if it was not.

    Accepts HS256 and HS512, padded and unpadded base64url, and several secrets (while one is being replaced). The time
    is None unless ``x-request-timestamp`` is in ISO 8601, seconds or milliseconds; if it is missing, it is signed as an
    empty text. Compares in constant time. Any malformed header is refused with the same error. An empty secret never
    matches. The caller decides how old a signature may be.

    >>> headers = {"X-Signature": sign("a-shared-secret", "2020-07-13T12:19:18Z", b"{}"),
    ...            "X-Request-Timestamp": "2020-07-13T12:19:18Z", "X-Signature-Version": "V1.0"}
    >>> signed_at(headers, b"{}", "a-shared-secret")
    datetime.datetime(2020, 7, 13, 12, 19, 18, tzinfo=datetime.timezone.utc)
    >>> signed_at(headers, b"{ }", "a-shared-secret")
    Traceback (most recent call last):
    viberkit.models.callback.SignatureError: the signature does not match the body and the secret
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    signature, timestamp = lowered.get("x-signature"), lowered.get("x-request-timestamp", "")
    if not signature:
        raise SignatureError("x-signature is missing")
    if lowered.get("x-signature-version", "V1.0").upper() not in ("V1.0", "1.0"):
        raise SignatureError("x-signature-version is not V1.0")
    bare = signature.strip().rstrip("=")
    try:
        received = base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", True)
        data = timestamp.encode("latin-1") + b"\n" + body
    except (binascii.Error, ValueError):
        raise SignatureError("x-signature is not base64url") from None
    match = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        for digest in _DIGESTS.values() if secret else ():  # an empty secret is known to everyone
            match |= hmac.compare_digest(hmac.digest(secret.encode(), data, digest), received)
    if not match:
        raise SignatureError("the signature does not match the body and the secret")
    return _parse_timestamp(timestamp.strip())


def _parse_timestamp(timestamp: str) -> datetime | None:
    try:
        if timestamp.isascii() and timestamp.isdigit():
            number = int(timestamp)
            return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC)
        return parse_instant(timestamp)[0]
    except (UnreadableRecord, ValueError, OverflowError, OSError):
        return None
