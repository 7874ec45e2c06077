"""Idempotency keys of sends.

The key of a send is derived from its recipient and content, sent at the head of its context, and recognised when a
callback returns the context.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re

#: Characters of a key.
KEY_LENGTH = 26
_KEY = re.compile(r"(vk[a-z2-7]{24})(?: |$)")


def canonical_json(content: object) -> str:
    """The JSON text of a content, always spelled the same.

    >>> canonical_json({"text": "Hi", "contentType": "text"})
    '{"contentType":"text","text":"Hi"}'
    """
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def make_key(campaign: str | None, to: str, content: str, ordinal: int, salt: str = "") -> str:
    """The key of a send: the same for the same campaign, recipient, content and ordinal in one archive (`salt`).

    >>> make_key("spring", "+491701234567", '{"contentType":"text","text":"Hi"}', 0)
    'vkbyz6bmc7k5d5v4hpxp7bnkfi'
    """
    payload = json.dumps([campaign, to, content, ordinal, salt], ensure_ascii=False).encode()
    return "vk" + base64.b32encode(hashlib.sha256(payload).digest()[:15]).decode().lower()


def add_key(key: str, context: str | None) -> str:
    """The context to send: the key, followed by the user's own text."""
    return key if context is None else f"{key} {context}"


def find_key(context: str | None) -> str | None:
    """The key at the head of a returned context.

    >>> find_key("vkbyz6bmc7k5d5v4hpxp7bnkfi order 7"), find_key("order 7")
    ('vkbyz6bmc7k5d5v4hpxp7bnkfi', None)
    """
    match = _KEY.match(context or "")
    return match[1] if match else None
