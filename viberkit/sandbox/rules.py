"""The published rules for requests, as tables of checks.

The tables are written from the API's documentation, not from :mod:`viberkit.models.validation`: the sandbox checks what
the library sends independently of it. Every check yields pairs of a field (its path in the JSON) and a message in the
wording of the server. No message quotes a value.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Violations = Iterator[tuple[str, str]]
Check = Callable[[str, Any], Violations]
Json = Mapping[str, Any]


def e164(number: object) -> str | None:
    """The E.164 form of a number that has a ``+``, ``00`` or no prefix; None if it is not a number.

    >>> e164("00491701234567"), e164("491701234567"), e164("12")
    ('+491701234567', '+491701234567', None)
    """
    match = re.fullmatch(r"(?:\+|00)?([1-9][0-9]{6,14})", number) if isinstance(number, str) else None
    return f"+{match[1]}" if match else None


# --- checks of one value ---------------------------------------------------------------------------


def _rule(message: str, is_valid: Callable[[Any], object]) -> Check:
    """A check of a required value."""

    def check(field: str, value: Any) -> Violations:
        if not is_valid(value):
            yield field, "must not be empty" if value in (None, "") else message

    return check


def _text(shortest: int, longest: int) -> Check:
    pattern = re.compile(rf"[^\ud800-\udfff]{{{shortest},{longest}}}", re.DOTALL)
    message = f"must be a text of {shortest} to {longest} characters"
    return _rule(message, lambda value: isinstance(value, str) and pattern.fullmatch(value))


def _one_of(*choices: str) -> Check:
    return _rule(f"must be one of [{', '.join(choices)}]", lambda value: value in choices)


def _number(highest: float) -> Check:
    message = f"must be an integer between 0 and {highest:g}"
    return _rule(message, lambda value: type(value) is int and 0 <= value <= highest)


def _list(shortest: int, longest: int, item: Check) -> Check:
    def check(field: str, value: Any) -> Violations:
        if not isinstance(value, list) or not shortest <= len(value) <= longest:
            yield field, f"size must be between {shortest} and {longest}"
            return
        for index, entry in enumerate(value):
            yield from item(f"{field}[{index}]", entry)

    return check


def _object(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    def check(field: str, value: Any) -> Violations:
        if not isinstance(value, dict):
            yield field, "must not be null" if value is None else "must be an object"
            return
        for name, part in {**required, **(optional or {})}.items():
            if name in required or value.get(name) is not None:
                yield from part(f"{field}.{name}".lstrip("."), value.get(name))

    return check


_PUBLIC_URL = re.compile(r"https?://([\w-]+(\.[\w-]+)+)\.?(:[0-9]{1,5})?([/?#][!-~]*)?", re.ASCII | re.IGNORECASE)
_CALLBACK_URL = re.compile(r"https://[!-~]+|http://(localhost|127(\.[0-9]+){3}|\[::1\])(:[0-9]+)?(/[!-~]*)?")


def _is_public_url(value: Any) -> bool:
    match = _PUBLIC_URL.fullmatch(value) if isinstance(value, str) else None
    try:
        return match is not None and ipaddress.ip_address(match[1]).is_global
    except ValueError:
        return True  # a name with a domain


def _is_callback_url(value: Any) -> bool:
    """Whether the API may call a URL; plain HTTP leads to this computer only, where the sandbox calls."""
    return isinstance(value, str) and len(value) <= 2000 and _CALLBACK_URL.fullmatch(value) is not None


# --- tables ----------------------------------------------------------------------------------------

FILE_TYPES = "doc docx rtf dot dotx odt odf fodt txt info pdf xps pdax eps xls xlsx ods fods csv xlsm xltx".split()
_ANY_TEXT, _BODY = _text(1, 100_000), _text(1, 3000)
_URL = _rule("must be a public http(s) URL", _is_public_url)
_IMAGE = _object({"url": _URL})
_VIDEO = _object(
    {"url": _URL, "thumbnailUrl": _URL, "filesize": _number(200), "duration": _number(float("inf"))},
    {"type": _one_of("3gp", "m4v", "mov", "mp4")},
)
_LABEL = _object({"label": _ANY_TEXT, "actionUrl": _URL})
_ITEM = _object({"title": _ANY_TEXT, "imageUrl": _URL, "primaryButton": _LABEL}, {"secondaryButton": _LABEL})
_BUTTON = _object({"caption": _ANY_TEXT, "url": _URL})


def _component(field: str, value: Any) -> Violations:
    kind: Any = _component_kind(value) if isinstance(value, dict) else None
    violations = list(_one_of(*COMPONENTS)(f"{field}.type", kind))
    yield from violations or COMPONENTS[kind](f"{field}.{kind}", value.get(kind))


def _component_kind(component: Json) -> Any:
    """The kind of a component; of files and buttons, the reference calls it contentType."""
    return component.get("type") or component.get("contentType")


#: The content types, each with the check of the field of that name.
CONTENTS: dict[str, Check] = {
    "text": _BODY,
    "image": _IMAGE,
    "file": _object({"url": _URL, "filename": _ANY_TEXT}, {"type": _one_of(*FILE_TYPES)}),
    "video": _VIDEO,
    "list": _object({"text": _BODY, "options": _list(2, 5, _ANY_TEXT)}),
    "carousel": _object({"text": _BODY, "items": _list(2, 5, _ITEM)}),
    "components": _object({"body": _list(1, 4, _component)}),
}
COMPONENTS = {kind: check for kind, check in CONTENTS.items() if kind != "components"} | {"button": _BUTTON}
#: The combinations of components that exist, in alphabetical order.
COMBINATIONS = {"text", "image", "video", "text+video", "button+text+video", "button+text", "button+image+text"}
COMBINATIONS |= {"file", "list", "carousel"}
RATE_TYPES = ("transaction", "promotion", "session")
#: The content types and combinations that a transaction may carry; promotions and sessions may carry all.
TRANSACTION_KINDS = {"text", "list", "carousel"}

_CALLBACK = _rule("must be an https URL of at most 2000 characters", _is_callback_url)
REQUEST = _object(
    {"to": _rule("must be a phone number in E.164", e164), "from": _ANY_TEXT, "channel": _one_of("viber")},
    {"context": _text(0, 125), "overrides": _object({}, {"notificationCallbackUrl": _CALLBACK})},
)
STATES = "accepted dispatched channelFailed delivered seen failed deleted unknown".split()
#: The callback settings of an account or a service id.
CALLBACK_SETTINGS = _object(
    {},
    {
        "callbackVersion": _one_of("2.11", "2.12", "2.13"),
        "inboundMessageUrl": _CALLBACK,
        "messageStatusUrl": _CALLBACK,
        "eventFilter": _list(0, 100, _one_of(*(f"MessageStatus::{state}" for state in STATES), "InboundMessage")),
        "signature": _object({"secret": _text(8, 125)}, {"method": _one_of("HS256", "HS512")}),
        "header": _object({"key": _text(4, 125), "value": _text(8, 1024)}),
    },
)

#: The credentials with which files are downloaded.
_BASIC = _object({"username": _ANY_TEXT, "password": _ANY_TEXT})
_OAUTH2 = _object({"clientId": _ANY_TEXT, "clientSecret": _ANY_TEXT, "url": _ANY_TEXT})
MEDIA_CREDENTIALS = _object({"type": _one_of("basic", "oauth2")}, {"basic": _BASIC, "oauth2": _OAUTH2})

# --- checks of requests ----------------------------------------------------------------------------


def rate_type_of(request: Json) -> Any:
    """The rate type of a request, under its name or its older alias."""
    return request.get("rateType") or request.get("messagePurpose")


def _check_content(field: str, content: Any, rate_type: Any) -> Violations:
    if not isinstance(content, dict):
        yield field, "must not be null"
        return
    kind: Any = content.get("contentType")
    violations = list(_one_of(*CONTENTS)(f"{field}.contentType", kind))
    if violations := violations or list(CONTENTS[kind](f"{field}.{kind}", content.get(kind))):
        yield from violations
        return
    if kind == "components":
        kind = "+".join(sorted(map(_component_kind, content["components"]["body"])))
        if kind not in COMBINATIONS:
            yield f"{field}.components.body", f"must not combine {kind}"
    if rate_type == "transaction" and kind not in TRANSACTION_KINDS:
        yield "rateType", f"must not be transaction for {kind}"


def check_send(request: Json, field: str) -> Violations:
    """The rules that a request breaks that sends one message (`field` is content) or a bulk (`field` is messages).

    >>> content = {"contentType": "list", "list": {"text": "Which?", "options": ["tea", ""]}}
    >>> message = {"to": "+491701234567", "from": "SHOP", "channel": "viber", "rateType": "session", "content": content}
    >>> list(check_send(message, "content"))
    [('content.list.options[1]', 'must not be empty')]
    """
    yield from REQUEST("", request)
    yield from _one_of(*RATE_TYPES)("rateType", rate_type_of(request))
    check = functools.partial(_check_content, rate_type=rate_type_of(request))
    yield from (_list(2, 20, check) if field == "messages" else check)(field, request.get(field))
