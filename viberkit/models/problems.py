"""What the server says when it refuses: RFC 7807 problems, or whatever a proxy puts in their place. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from viberkit.errors import ApiError, UnreadableRecord, Violation, for_status
from viberkit.models.parsing import parse, text_of

__all__ = ["is_unknown_message", "problem"]


def problem(status: int, body: bytes, *, asked: str = "", retry_after_s: float | None = None) -> ApiError:
    """The error that an answer means: RFC 7807 where the body holds it, else the status alone.

    >>> problem(404, b"<html>gone</html>", asked="GET /x")
    NotFound(404, 'Not Found', '', ())
    """
    given = _given(body)
    listed = given.get("violations")
    found = [
        Violation(text_of(one.get("field")) or "request", "", text_of(one.get("message")) or "is not valid")
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, Mapping)
    ]
    title = text_of(given.get("title")) or _PHRASES.get(status, "")
    kind = for_status(status)
    return kind(status, title, text_of(given.get("detail")) or "", found, asked=asked, retry_after_s=retry_after_s)


_PHRASES = {int(status): status.phrase for status in HTTPStatus}


def is_unknown_message(body: bytes) -> bool:
    """Whether a 404 is the API's word on a message, and not a web server's or a framework's on a path.

    >>> is_unknown_message(b'{"title": "Not Found", "status": 404}'), is_unknown_message(b"<h1>nginx</h1>")
    (True, False)
    """
    given = _given(body)
    about_path = "path" in given or re.search(
        r"\b(path|route|handler|endpoint)\b", text_of(given.get("detail")) or "", re.I
    )
    return not about_path and (bool({"title", "detail", "type"} & given.keys()) or set(given) == {"status"})


def _given(body: bytes) -> Mapping[str, Any]:
    try:
        given = parse(body)
    except UnreadableRecord:
        given = None
    return given if isinstance(given, Mapping) else {}
