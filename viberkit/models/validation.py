"""The rules that a message keeps before it goes out: tyntec's Conversations API v3 reference for Viber.

Lengths, counts, URL forms, required fields, and what each rate type may carry. Every check yields all
that is wrong, each with field, value, rule and remedy; nothing that breaks a rule is ever sent.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any
from urllib.parse import urlsplit

from viberkit.errors import Violation, quote
from viberkit.models.content import Button, Carousel, CarouselItem, Content, File, Image, List, Text, Video, kind

__all__ = [
    "EVENTS",
    "RATE_TYPES",
    "callback_url_rule",
    "callback_violations",
    "cautions",
    "choice_rule",
    "text_rule",
    "url_rule",
    "violations",
]

#: What a message may be sent as; the rate type decides its price, and what it may carry.
RATE_TYPES = ("transaction", "promotion", "session")
FILE_TYPES = tuple(
    "doc docx rtf dot dotx odt odf fodt txt info pdf xps pdax eps xls xlsx ods fods csv xlsm xltx".split()
)
VIDEO_TYPES = ("3gp", "m4v", "mov", "mp4")
#: What a transaction may carry; promotion and session may carry every kind.
TRANSACTION_KINDS = frozenset({"text", "list", "carousel"})
KINDS = frozenset(
    {
        "text",
        "image",
        "file",
        "video",
        "video+text",
        "video+text+button",
        "text+button",
        "text+button+image",
        "list",
        "carousel",
    }
)
MAX_TEXT = 3000
MAX_CALLBACK_URL = 2000
MAX_CONTEXT = 125
MAX_VIDEO_S = 86_400  # the reference gives no limit; more than a day is a mistake in the unit


def text_rule(field: str, value: object, most: int | None = None, least: int = 1) -> Iterator[Violation]:
    """A required text of ``least`` to ``most`` characters that UTF-8 can carry."""
    if value is None or (isinstance(value, str) and not value):
        yield Violation(field, "", "is missing", "give it a text")
    elif not isinstance(value, str):
        yield Violation(field, quote(value), "is not a text", "pass a str")
    elif most is not None and len(value) > most:
        yield Violation(
            field, quote(value), f"has {len(value)} characters, more than {most}", f"shorten it by {len(value) - most}"
        )
    elif len(value) < least:
        yield Violation(field, quote(value), f"has fewer than {least} characters", "lengthen it")
    elif not value.strip():
        yield Violation(field, quote(value), "is blank", "give it a text")
    elif re.search("[\ud800-\udfff]", value):
        yield Violation(
            field, quote(value), "holds half a surrogate pair, which UTF-8 cannot carry", "repair the text's decoding"
        )


_URL = re.compile(
    r"https?://[\w\-]+(?:\.[\w\-]+)*\.?(?::\d{1,5})?(?:[/?#][\w\-.~:/?#\[\]@!$&'()*+,;=%]*)?", re.ASCII | re.IGNORECASE
)


def url_rule(field: str, value: object) -> Iterator[Violation]:
    """A required public http(s) URL, percent-encoded where needed."""
    remedy = "pass e.g. 'https://example.org'"
    if value is None or (isinstance(value, str) and not value):
        yield Violation(field, "", "is missing", remedy)
        return
    if not isinstance(value, str) or not value.lower().startswith(("http://", "https://")):
        yield Violation(field, quote(value), "is not an http(s) URL", remedy)
        return
    try:
        parts = urlsplit(value)
        host, well_formed = parts.hostname or "", parts.port != 0 and _URL.fullmatch(value)
    except ValueError:  # brackets without an address, a port above 65535
        host, well_formed = "", None
    if not well_formed:
        yield Violation(
            field, quote(value), "is not a well-formed URL", "percent-encode blanks and letters outside ASCII"
        )
    elif not _is_public(host.removesuffix(".")):
        yield Violation(
            field, quote(value), "is not reachable from the internet", "Viber fetches it: put it on a public host"
        )


def _is_public(host: str) -> bool:
    """Whether a host can be one of the internet: an address of it, or a name with a domain."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal"))


def _number_rule(field: str, value: object, least: float, most: float, unit: str) -> Iterator[Violation]:
    if value is None:
        yield Violation(field, "", "is missing", f"give it in {unit}")
    elif isinstance(value, bool) or not isinstance(value, Real) or value != value:
        yield Violation(field, quote(value), "is not a number", f"give it in {unit}")
    elif value < least or not value <= most:
        words = f"{least:g}–{most:g}"
        yield Violation(field, quote(value), f"is outside {words} {unit}", f"keep it within {words}")


def choice_rule(field: str, value: object, choices: Sequence[str]) -> Iterator[Violation]:
    """One of several texts; a near miss is answered with the one that was meant."""
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(value.lower()[:40], choices, 1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        yield Violation(field, quote(value), "is not allowed", f"{hint}use one of {', '.join(choices)}")


def _part_rules(field: str, part: Any) -> Iterator[Violation]:
    """The rules of one part, by its kind; ``field`` is its path within the message."""
    at = f"{field}." if field else ""
    match part:
        case Button():
            yield from text_rule(f"{at}caption", part.caption)
            yield from url_rule(f"{at}url", part.url)
        case Image():
            yield from url_rule(f"{at}url", part.url)
        case File():
            yield from url_rule(f"{at}url", part.url)
            yield from text_rule(f"{at}filename", part.filename)
            if part.type is not None:
                yield from choice_rule(f"{at}type", part.type, FILE_TYPES)
        case Video():
            yield from url_rule(f"{at}url", part.url)
            yield from url_rule(f"{at}thumbnail_url", part.thumbnail_url)
            yield from _number_rule(f"{at}size_mb", part.size_mb, 0, 200, "MB")
            yield from _number_rule(f"{at}duration_s", part.duration_s, 0, MAX_VIDEO_S, "s")
            if part.type is not None:
                yield from choice_rule(f"{at}type", part.type, VIDEO_TYPES)
        case Text():
            yield from text_rule(f"{at}text", part.text, MAX_TEXT)
            for name, needed in (("image", Image), ("video", Video), ("button", Button)):
                inner = getattr(part, name)
                if isinstance(inner, needed):
                    yield from _part_rules(f"{at}{name}", inner)
                elif inner is not None:
                    yield Violation(
                        f"{at}{name}", quote(inner), f"is not a {needed.__name__}", f"pass a vk.{needed.__name__}(…)"
                    )
        case List():
            yield from text_rule(f"{at}text", part.text, MAX_TEXT)
            yield from _several(f"{at}options", part.options, lambda where, option: text_rule(where, option))
        case Carousel():
            yield from text_rule(f"{at}text", part.text, MAX_TEXT)
            yield from _several(f"{at}items", part.items, _item_rules)


def _several(field: str, given: Any, rules: Callable[[str, Any], Iterator[Violation]]) -> Iterator[Violation]:
    if not isinstance(given, tuple):
        yield Violation(field, quote(given), "is not a list", "pass a list of two to five")
        return
    if not 2 <= len(given) <= 5:
        yield Violation(field, "", f"has {len(given)} entries, not 2 to 5", "give two to five")
    for place, one in enumerate(given):
        yield from rules(f"{field}[{place}]", one)


def _item_rules(field: str, item: Any) -> Iterator[Violation]:
    if not isinstance(item, CarouselItem):
        yield Violation(field, quote(item), "is not a CarouselItem", "pass a vk.CarouselItem(…)")
        return
    yield from text_rule(f"{field}.title", item.title)
    yield from url_rule(f"{field}.image_url", item.image_url)
    for name, button in (("primary", item.primary), ("secondary", item.secondary)):
        if isinstance(button, Button):
            yield from _part_rules(f"{field}.{name}", button)
        elif name == "primary" or button is not None:
            yield Violation(f"{field}.{name}", quote(button), "is not a Button", "pass a vk.Button(caption, url)")


def violations(content: object, rate_type: str | None = None) -> list[Violation]:
    """Every rule that a content breaks, for a rate type if one is given; empty when it may be sent.

    >>> for broken in violations(Text("", button=Button("Go", "htp://x")), "transaction"):
    ...     print(broken)
    text: is missing; give it a text
    button.url: 'htp://x' is not an http(s) URL; pass e.g. 'https://example.org'
    rate_type: 'transaction' does not allow text+button; use 'promotion' or 'session', or send a text alone
    """
    if not isinstance(content, Content):
        names = "Text, Image, File, Video, List or Carousel"
        return [Violation("content", quote(content), "is not a content", f"pass a vk.{names}")]
    found = list(_part_rules("", content))
    what = kind(content)
    if what not in KINDS:
        remedy = "add a button" if what == "text+image" else "leave the image or the video out"
        found.append(Violation("content", what, "is not a combination that Viber knows", remedy))
    if rate_type is not None:
        unknown = list(choice_rule("rate_type", rate_type, RATE_TYPES))
        found += unknown
        if not unknown and rate_type == "transaction" and what not in TRANSACTION_KINDS:
            remedy = "use 'promotion' or 'session', or send a text alone"
            found.append(Violation("rate_type", "'transaction'", f"does not allow {what}", remedy))
    return found


def cautions(content: Content) -> list[Violation]:
    """What the reference allows but some phones, operators or Viber itself refuse or cut.

    >>> print(cautions(Text("x" * 1200))[0])
    text: has 1200 characters; texts above 1000 are refused by some
    """
    found: list[Violation] = []
    text = getattr(content, "text", None)
    if isinstance(text, str) and 1000 < len(text) <= MAX_TEXT:
        found.append(Violation("text", "", f"has {len(text)} characters", "texts above 1000 are refused by some"))
    button = getattr(content, "button", None)
    if isinstance(button, Button) and isinstance(button.caption, str) and len(button.caption) > 30:
        found.append(
            Violation(
                "button.caption", quote(button.caption), "is longer than 30 characters", "it may be cut on the phone"
            )
        )
    if isinstance(content, File) and isinstance(content.filename, str) and len(content.filename) > 25:
        found.append(
            Violation("filename", quote(content.filename), "is longer than 25 characters", "it may be cut on the phone")
        )
    video = content if isinstance(content, Video) else getattr(content, "video", None)
    if isinstance(video, Video) and isinstance(video.duration_s, int | float) and video.duration_s > 600:
        found.append(
            Violation("duration_s", quote(video.duration_s), "is longer than 600 s", "some refuse longer videos")
        )
    return found


# --- callbacks -----------------------------------------------------------------------------------


#: What an account may opt in to by ``eventFilter``.
EVENTS = (
    *(
        f"MessageStatus::{name}"
        for name in "accepted dispatched channelFailed delivered seen failed deleted unknown".split()
    ),
    "InboundMessage",
)
VERSIONS = ("2.11", "2.12", "2.13")


def callback_url_rule(field: str, value: object) -> Iterator[Violation]:
    """Where callbacks go: https, or http on loopback (a listener beside the sandbox)."""
    remedy = "pass e.g. 'https://example.org/viber/status'"
    if not isinstance(value, str) or not re.fullmatch(
        r"https://[!-~]+|http://(localhost|127\.[\d.]+|\[::1\])(:\d+)?(/[!-~]*)?", value
    ):
        yield Violation(field, quote(value), "is not an https URL", remedy)
    elif len(value) > MAX_CALLBACK_URL:
        size = f"has {len(value)} characters, more than {MAX_CALLBACK_URL}"
        yield Violation(field, quote(value), size, "use a shorter URL")


def callback_violations(
    inbound_url: str | None,
    status_url: str | None,
    events: Sequence[str],
    version: str,
    secret: str | None,
    method: str,
    header: tuple[str, str] | None,
) -> list[Violation]:
    """Everything wrong with a callback setting; neither the secret nor the header's value is quoted."""
    found: list[Violation] = []
    for field, url in (("inbound_url", inbound_url), ("status_url", status_url)):
        if url is not None:
            found += callback_url_rule(field, url)
    if isinstance(events, str):
        found.append(Violation("events", quote(events), "is not a list", "pass a list of event names"))
    else:
        for place, event in enumerate(events):
            found += choice_rule(f"events[{place}]", event, EVENTS)
    found += choice_rule("version", version, VERSIONS)
    if secret is not None:
        found += _length_rule("secret", secret, 8, 125)
        found += choice_rule("method", method, ("HS256", "HS512"))
    if header is not None:
        found += _length_rule("header[0]", header[0], 4, 125)
        found += _length_rule("header[1]", header[1], 8, 1024)
    return found


def _length_rule(field: str, value: object, least: int, most: int) -> Iterator[Violation]:
    if not isinstance(value, str) or not least <= len(value) <= most:
        size = f"has {len(value)} characters" if isinstance(value, str) else "is not a text"
        yield Violation(field, "", f"{size}; it must have {least} to {most}", "change its length")


def service_id_violations(service_id: str | None) -> list[Violation]:
    """What is wrong with the service id that messages are sent from."""
    if service_id and service_id.isascii() and service_id.isprintable():
        return []
    rule = "contains characters other than printable ASCII" if service_id else "is missing"
    return [Violation("service_id", "", rule, "pass Client(service_id=…) or set VIBER_SERVICE_ID")]
