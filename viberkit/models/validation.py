"""The rules for a message before it is sent: tyntec's Conversations API v3 reference for Viber.

The limits of each field are in its metadata (:mod:`viberkit.models.content`). Every function returns all broken rules,
each with field, value, rule and remedy.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from viberkit.errors import Violation, quote, suggestion
from viberkit.models.content import FILE_TYPES as FILE_TYPES, VIDEO_TYPES as VIDEO_TYPES, Content, File, kind
from viberkit.models.states import parse_state

#: The rate types of a message; they decide its price and which contents are allowed.
RateType = Literal["transaction", "promotion", "session"]
RATE_TYPES: tuple[str, ...] = get_args(RateType)
#: The contents that a transaction may have.
TRANSACTION_KINDS = frozenset({"text", "list", "carousel"})
#: The contents that the other rate types may have.
KINDS = TRANSACTION_KINDS | frozenset(
    "image file video video+text video+text+button text+button text+button+image".split()
)
_STATUSES = "accepted dispatched channelFailed delivered seen failed deleted unknown".split()
#: The events that an account may opt in to.
EVENTS = (*(f"MessageStatus::{status}" for status in _STATUSES), "InboundMessage")
#: The events that the published list has; a strict server refuses the others.
LISTED_EVENTS = frozenset(EVENTS) - {"MessageStatus::dispatched", "InboundMessage"}
_EVENT_NAMES = {
    name: event for event in EVENTS for name in (event, event.removeprefix("MessageStatus::"), parse_state(event))
}
MAX_CALLBACK_URL = 2000
MAX_CONTEXT = 125
MIN_ENTRIES, MAX_ENTRIES = 2, 5  #: options of a list, cards of a carousel

_URL = re.compile(
    r"https?://[\w\-]+(?:\.[\w\-]+)*\.?(?::\d{1,5})?(?:[/?#][\w\-.~:/?#\[\]@!$&'()*+,;=%]*)?", re.ASCII | re.IGNORECASE
)
_LOCAL_CALLBACK_URL = re.compile(r"http://(localhost|127\.[\d.]+|\[::1\])(:\d+)?(/[!-~]*)?")
#: The published pattern of the URLs of files; that of the callback URL of a message begins with https.
_LISTED_URL = re.compile(r"https?:[\w\-.~:/?#\[\]@!$&'()*+,;=]+", re.ASCII)


_fields: Any = functools.cache(dataclasses.fields)


def text_rule(field: str, value: object, limit: int | None = None) -> Iterator[Violation]:
    """A required text of at most `limit` characters that UTF-8 can encode."""
    if _is_missing(value):
        yield Violation(field, "", "is missing", "pass a text")
    elif not isinstance(value, str):
        yield Violation(field, quote(value), "is not a text", "pass a str")
    elif limit is not None and len(value) > limit:
        size = f"has {len(value)} characters, more than {limit}"
        yield Violation(field, quote(value), size, f"shorten it by {len(value) - limit}")
    elif not value.strip():
        yield Violation(field, quote(value), "is blank", "pass a text")
    elif re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", value):
        rule = "contains control characters or an unpaired surrogate"
        yield Violation(field, quote(value), rule, "decode the text correctly; line breaks and tabs are allowed")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value)


def url_rule(field: str, value: object) -> Iterator[Violation]:
    """A required public http(s) URL of ASCII characters."""
    if _is_missing(value):
        yield Violation(field, "", "is missing", "pass e.g. 'https://example.org'")
    elif not isinstance(value, str) or not value.lower().startswith(("http://", "https://")):
        yield Violation(field, quote(value), "is not an http(s) URL", "pass e.g. 'https://example.org'")
    elif not (host := _host(value)):
        remedy = "use only ASCII letters, digits and punctuation; a button's URL may be percent-encoded"
        yield Violation(field, quote(value), "is not a well-formed URL", remedy)
    elif not _is_public(host.removesuffix(".")):
        yield Violation(field, quote(value), "is not reachable from the internet", "put the file on a public host")


def _host(url: str) -> str | None:
    """The host of a well-formed URL."""
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.port != 0 and _URL.fullmatch(url) else None
    except ValueError:  # brackets without an address, a port above 65535
        return None


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal"))


def _number_rule(field: str, value: object, limit: float, unit: str) -> Iterator[Violation]:
    if value is None:
        yield Violation(field, "", "is missing", f"pass a number in {unit}")
    elif isinstance(value, bool) or not isinstance(value, Real) or value != value:
        yield Violation(field, quote(value), "is not a number", f"pass a number in {unit}")
    elif value < 0 or not value <= limit:
        yield Violation(field, quote(value), f"is outside 0–{limit} {unit}", f"pass 0 to {limit}")


def choice_rule(field: str, value: object, choices: Sequence[str]) -> Iterator[Violation]:
    """One of several texts; a similar text is answered with the probable choice."""
    if not isinstance(value, str) or value not in choices:
        remedy = f"{suggestion(value, choices)}use one of {', '.join(choices)}"
        yield Violation(field, quote(value), "is not allowed", remedy)


def _values(content: Any, path: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """The fields of a content and of its parts, depth first: path, value, and the metadata with the limits."""
    for field in _fields(type(content)):
        value = getattr(content, field.name)
        if value is not None or field.default is not None:
            yield from _expand(f"{path}{field.name}", value, field.metadata)


def _expand(path: str, value: Any, limits: Mapping[str, Any]) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    rule, part = limits["rule"], limits.get("part", object)
    if rule == "part" and isinstance(value, part):
        yield from _values(value, f"{path}.")
    elif rule == "parts" and isinstance(value, tuple) and MIN_ENTRIES <= len(value) <= MAX_ENTRIES:
        item_limits = {"rule": "text"} if part is str else {"rule": "part", "part": part}
        for index, item in enumerate(value):
            yield from _expand(f"{path}[{index}]", item, item_limits)
    else:
        yield path, value, limits


def _broken(path: str, value: Any, limits: Mapping[str, Any]) -> Iterator[Violation]:
    """The broken rules of one field."""
    match limits["rule"]:
        case "text":
            yield from text_rule(path, value, limits.get("limit"))
        case "url":
            yield from url_rule(path, value)
        case "number":
            yield from _number_rule(path, value, limits["limit"], limits["unit"])
        case "choice":
            yield from choice_rule(path, value, limits["choices"])
        case "part":
            name = limits["part"].__name__
            yield Violation(path, quote(value), f"is not a {name}", f"pass a vk.{name}(…)")
        case "parts" if isinstance(value, tuple):
            size = f"has a length of {len(value)}, not {MIN_ENTRIES} to {MAX_ENTRIES}"
            yield Violation(path, "", size, f"pass {MIN_ENTRIES} to {MAX_ENTRIES}")
        case "parts":
            yield Violation(path, quote(value), "is not a list", f"pass a list of {MIN_ENTRIES} to {MAX_ENTRIES}")


def violations(content: object, rate_type: str | None = None) -> list[Violation]:
    """Every rule that a content breaks, for a rate type if one is given; empty if it may be sent.

    >>> for violation in violations(vk.Text("", button=vk.Button("Go", "htp://x")), "transaction"):
    ...     print(violation)
    text: is missing; pass a text
    button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'
    rate_type: 'transaction' does not allow text+button; use 'promotion' or 'session', or send a text alone
    """
    if not isinstance(content, Content):
        return [Violation("content", quote(content), "is not message content", "pass e.g. vk.Text('Hi')")]
    broken = [violation for value in _values(content) for violation in _broken(*value)]
    name = kind(content)
    if name not in KINDS:
        remedy = "add a button" if name == "text+image" else "remove the image or the video"
        broken.append(Violation("content", name, "is not a combination that Viber supports", remedy))
    if rate_type is not None:
        unknown = list(choice_rule("rate_type", rate_type, RATE_TYPES))
        broken += unknown
        if not unknown and rate_type == "transaction" and name not in TRANSACTION_KINDS:
            remedy = "use 'promotion' or 'session', or send a text alone"
            broken.append(Violation("rate_type", "'transaction'", f"does not allow {name}", remedy))
    return broken


def cautions(content: Content) -> list[Violation]:
    """What the reference allows, but some phones or operators refuse or shorten.

    >>> print(cautions(vk.Text("x" * 1200))[0])
    text: has 1200 characters; some operators refuse more than 1000
    """
    result = []
    for path, value, limits in _values(content):
        size, unit = (len(value), "characters") if isinstance(value, str) else (value, limits.get("unit"))
        if "advised" in limits and isinstance(size, Real) and limits["advised"] < size <= limits.get("limit", size):
            result.append(Violation(path, "", f"has {size} {unit}", limits["caution"]))
        if "fetched" in limits and not list(url_rule(path, value)):
            result += url_cautions(path, value)
    if isinstance(content, File) and content.type is None:
        result.append(Violation("type", "", "is missing, and a server may fail to derive it", "pass e.g. type='pdf'"))
    return result


def url_cautions(field: str, url: str) -> Iterator[Violation]:
    """What is wrong with a well-formed URL according to the published pattern of the URLs of files and callbacks."""
    if not _LISTED_URL.fullmatch(url):
        rule = "is outside the published pattern, which allows no % and only a lower-case scheme"
        yield Violation(field, quote(url), rule, "a strict server refuses it; use another URL if you can")


def callback_url_rule(field: str, value: object) -> Iterator[Violation]:
    """An optional address for callbacks: https on a public host, or http on loopback, where a sandbox calls."""
    if value is None or (isinstance(value, str) and _LOCAL_CALLBACK_URL.fullmatch(value)):
        return
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError:  # a port above 65535, brackets without an address
        host = user = None
    if user is not None:
        yield Violation(field, "", "has a user name", "pass the URL alone; a header authenticates callbacks")
    elif not host or not re.fullmatch("https://[!-~]+", str(value)):
        yield Violation(field, quote(value), "is not an https URL", "pass e.g. 'https://example.org/viber/status'")
    elif not _is_public(host.removesuffix(".")):
        yield Violation(field, quote(value), "is not reachable from the internet", "pass a URL on a public host")
    elif len(str(value)) > MAX_CALLBACK_URL:
        size = f"has {len(str(value))} characters, more than {MAX_CALLBACK_URL}"
        yield Violation(field, quote(value), size, "use a shorter URL")


def event_names(events: Iterable[object]) -> list[Any]:
    """The API's names of events, from these names, without their prefix or as states; other values are unchanged.

    >>> event_names(["delivered", "channel_failed", "MessageStatus::seen", "InboundMessage"])
    ['MessageStatus::delivered', 'MessageStatus::channelFailed', 'MessageStatus::seen', 'InboundMessage']
    """
    return [_EVENT_NAMES.get(event, event) if isinstance(event, str) else event for event in events]


def callback_violations(parts: Mapping[str, Any], method: str) -> list[Violation]:
    """Every rule that a callback setting breaks, by the names of its parameters; parts that are None are not set."""
    broken = [broken for name in ("inbound_url", "status_url") for broken in callback_url_rule(name, parts[name])]
    if isinstance(parts["events"], str):
        broken.append(Violation("events", quote(parts["events"]), "is not a list", "pass a list of event names"))
    else:
        for index, event in enumerate(parts["events"] or ()):
            broken += choice_rule(f"events[{index}]", event, EVENTS)
    if parts["version"] is not None:
        broken += choice_rule("version", parts["version"], ("2.11", "2.12", "2.13"))
    broken += choice_rule("method", method, ("HS256", "HS512"))
    return [*broken, *secret_rules(parts["secret"], parts["header"])]


def secret_rules(secret: object, header: Sequence[object] | None) -> Iterator[Violation]:
    """The lengths of a callback setting's secret and extra header, if it has them; their values are not quoted."""
    if secret is not None:
        yield from _length_rule("secret", secret, 8, 125)
    if header is not None:
        yield from _length_rule("header[0]", header[0], 4, 125)
        yield from _length_rule("header[1]", header[1], 8, 1024)


def _length_rule(field: str, value: object, least: int, most: int) -> Iterator[Violation]:
    if not isinstance(value, str) or not least <= len(value) <= most:
        size = f"has a length of {len(value)}" if isinstance(value, str) else "is not a text"
        yield Violation(field, "", f"{size}; it must have {least} to {most} characters", "change its length")


def service_id_violations(service_id: str | None) -> list[Violation]:
    """What is wrong with the service id that messages are sent from."""
    if service_id and service_id.isascii() and service_id.isprintable():
        return []
    rule = "has characters other than printable ASCII" if service_id else "is missing"
    return [Violation("service_id", "", rule, "pass Client(service_id=…) or set VIBER_SERVICE_ID")]
