"""What is wrong with a request, as the API would tell it: the library's rules by the names that the JSON has.

Every check yields pairs of field and message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from viberkit.errors import UnreadableRecord, Violation
from viberkit.models import validation as rules
from viberkit.models.content import from_wire
from viberkit.models.phone import normalize

__all__ = ["callback_rules", "content_rules", "rate_type_of", "request_rules"]


def rate_type_of(given: Mapping[str, Any]) -> Any:
    """The rate type of a request, by its name or the older one."""
    return given.get("rateType", given.get("messagePurpose"))


def request_rules(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a request, its contents aside."""
    for name in ("to", "from", "channel"):
        if given.get(name) in (None, ""):
            yield name, "must not be empty"
    if given.get("to") not in (None, "") and isinstance(broken := normalize(given["to"]), Violation):
        yield "to", broken.rule
    if given.get("channel") not in (None, "", "viber"):
        yield "channel", "must be one of [viber]"
    if rate_type_of(given) is None:
        yield "rateType", "must not be null"
    elif rate_type_of(given) not in rules.RATE_TYPES:
        yield "rateType", f"must be one of [{', '.join(rules.RATE_TYPES)}]"
    context = given.get("context")
    if context is not None and (not isinstance(context, str) or len(context) > 125):
        yield "context", "size must be between 0 and 125"
    overrides = given.get("overrides")
    if overrides is not None and not isinstance(overrides, Mapping):
        yield "overrides", "must be an object"
    elif overrides and (url := overrides.get("notificationCallbackUrl")) is not None:
        for one in rules.callback_url_rule("overrides.notificationCallbackUrl", url):
            yield one.field, one.rule


def content_rules(given: Any, rate_type: Any, where: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a content that stands at ``where`` in the request.

    >>> wrong = {"contentType": "list", "list": {"text": "Which?", "options": ["tea", ""]}}
    >>> list(content_rules(wrong, "session", "content"))
    [('content.list.options[1]', 'is missing')]
    """
    if not isinstance(given, Mapping):
        yield where, "must not be null"
        return
    if not given.get("contentType"):
        yield f"{where}.contentType", "must not be empty"
        return
    try:
        content = from_wire(given)
    except UnreadableRecord as fault:
        place, _, message = str(fault).partition(": ")
        yield where + place.removeprefix("content"), message
        return
    for one in rules.violations(content, rate_type if rate_type in rules.RATE_TYPES else None):
        if one.field == "rate_type":
            yield "rateType", one.rule
        else:
            yield ".".join(filter(None, [where, *_wire_path(given, one.field)])), one.rule


_CONTENT_NAMES = MappingProxyType(
    {
        "thumbnail_url": "thumbnailUrl",
        "size_mb": "filesize",
        "duration_s": "duration",
        "image_url": "imageUrl",
        "primary": "primaryButton",
        "secondary": "secondaryButton",
    }
)
_CALLBACK_NAMES = MappingProxyType(
    {
        "inbound_url": "inboundMessageUrl",
        "status_url": "messageStatusUrl",
        "version": "callbackVersion",
        "secret": "signature.secret",
        "method": "signature.method",
        "header[0]": "header.key",
        "header[1]": "header.value",
    }
)


def _wire_path(given: Mapping[str, Any], name: str) -> Iterator[str]:
    """Where in the JSON of a content one of its fields stands, by the wire's names."""
    what = given["contentType"]
    if name == "content":
        return
    parts = [_CONTENT_NAMES.get(part, part) for part in name.split(".")]
    if what == "components":
        body = given["components"]["body"] if isinstance(given["components"], Mapping) else given["components"]
        types = [part.get("type", part.get("contentType")) for part in body]
        alone = len(types) == 1 and types[0] in ("image", "video", "file")
        inside = types[0] if alone else parts[0]
        yield f"components.body[{types.index(inside)}]" if inside in types else "components.body"
        parts = [inside, *parts] if alone else parts
    elif what != "text":
        yield str(what)
    labels = {"caption": "label", "url": "actionUrl"} if what == "carousel" else {}
    yield from (labels.get(part, part) for part in parts)


def callback_rules(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a callback setting; neither its secret nor its header's value is quoted."""
    signature, header = given.get("signature"), given.get("header")
    for name, part in (("signature", signature), ("header", header)):
        if part is not None and not isinstance(part, Mapping):
            yield name, "must be an object"
            return
    for one in rules.callback_violations(
        given.get("inboundMessageUrl"),
        given.get("messageStatusUrl"),
        given.get("eventFilter") or [],
        given.get("callbackVersion", "2.11"),
        signature.get("secret", "") if signature else None,
        signature.get("method", "HS256") if signature else "HS256",
        (header.get("key", ""), header.get("value", "")) if header else None,
    ):
        yield _CALLBACK_NAMES.get(one.field, one.field.replace("events", "eventFilter")), one.rule
