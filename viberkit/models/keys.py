"""The name of one send: made from what is sent to whom, carried as the head of its context, and known again when it
comes back."""

from __future__ import annotations

import base64
import hashlib
import json
import re

__all__ = ["KEY_LENGTH", "add_key", "canonical_json", "find_key", "make_key"]

#: Characters of a key.
KEY_LENGTH = 26
_KEY = re.compile(r"(vk[a-z2-7]{24})(?: |$)")


def canonical_json(content: object) -> str:
    """A content as it goes out, in one spelling.

    >>> canonical_json({"text": "Hi", "contentType": "text"})
    '{"contentType":"text","text":"Hi"}'
    """
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def make_key(campaign: str | None, to: str, content: str, ordinal: int, salt: str = "") -> str:
    """The name of one send: the same for the same campaign, recipient, content and ordinal in one archive (``salt``).

    >>> make_key("spring", "+491701234567", '{"contentType":"text","text":"Hi"}', 0)
    'vkbyz6bmc7k5d5v4hpxp7bnkfi'
    """
    told = json.dumps([campaign, to, content, ordinal, salt], ensure_ascii=False).encode()
    return "vk" + base64.b32encode(hashlib.sha256(told).digest()[:15]).decode().lower()


def add_key(key: str, context: str | None) -> str:
    """The context that goes out: the key, and the sender's own text behind it."""
    return key if context is None else f"{key} {context}"


def find_key(context: str | None) -> str | None:
    """The key at the head of a context that came back.

    >>> find_key("vkbyz6bmc7k5d5v4hpxp7bnkfi order 7"), find_key("order 7")
    ('vkbyz6bmc7k5d5v4hpxp7bnkfi', None)
    """
    found = _KEY.match(context or "")
    return found[1] if found else None
