"""The sandbox's own rules: the published tables, row by row, and a comparison with the rules of the library."""

from __future__ import annotations

from typing import Any

import pytest

from viberkit.models import content as contents
from viberkit.models.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video, to_wire
from viberkit.models.validation import RATE_TYPES, violations
from viberkit.sandbox import rules

URL, BUTTON = "https://example.org/a", {"type": "button", "button": {"caption": "Go", "url": "https://example.org"}}
IMAGE, VIDEO = (
    {"type": "image", "image": {"url": URL}},
    {"type": "video", "video": {"url": URL, "thumbnailUrl": URL, "filesize": 200, "duration": 20}},
)
TEXT = {"type": "text", "text": "Hello"}
CALLBACK_URL = "notificationCallbackUrl"
CARD = {"title": "Tea", "imageUrl": URL, "primaryButton": {"label": "Buy", "actionUrl": URL}}


def message(content: Any = ..., **fields: Any) -> dict[str, Any]:
    content = {"contentType": "text", "text": "Hello"} if content is ... else content
    request = {"to": "+491701234567", "from": "SHOP", "channel": "viber", "rateType": "session", "content": content}
    return {name: value for name, value in {**request, **fields}.items() if value is not ...}


def components(*body: dict[str, Any]) -> dict[str, Any]:
    return {"contentType": "components", "components": {"body": list(body)}}


def fields(request: dict[str, Any]) -> list[str]:
    return [field for field, _ in rules.check_send(request, "content")]


#: The table of the reference: each kind of content, and whether a transaction may carry it.
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "text": ({"contentType": "text", "text": "Hello"}, True),
    "image": ({"contentType": "image", "image": {"url": URL}}, False),
    "file": ({"contentType": "file", "file": {"url": URL, "filename": "a.pdf", "type": "pdf"}}, False),
    "video": ({"contentType": "video", "video": VIDEO["video"]}, False),
    "video+text": (components(VIDEO, TEXT), False),
    "video+text+button": (components(VIDEO, TEXT, BUTTON), False),
    "text+button": (components(TEXT, BUTTON), False),
    "text+button+image": (components(TEXT, BUTTON, IMAGE), False),
    "list": ({"contentType": "list", "list": {"text": "Which?", "options": ["tea", "coffee"]}}, True),
    "carousel": ({"contentType": "carousel", "carousel": {"text": "Look", "items": [CARD, CARD]}}, True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate_type", ["transaction", "promotion", "session"])
def test_what_each_rate_type_carries(kind: str, rate_type: str) -> None:
    content, in_transactions = KINDS[kind]
    allowed = in_transactions or rate_type != "transaction"
    assert fields(message(content, rateType=rate_type)) == ([] if allowed else ["rateType"])


@pytest.mark.parametrize("body", [(TEXT, IMAGE), (TEXT, VIDEO, IMAGE), (BUTTON,), (TEXT, TEXT), (IMAGE, BUTTON)])
def test_combinations_that_do_not_exist(body: tuple[dict[str, Any], ...]) -> None:
    assert fields(message(components(*body))) == ["content.components.body"]


@pytest.mark.parametrize(
    ("length", "field", "content"),
    [
        (3000, "text", lambda n: {"contentType": "text", "text": "x" * n}),
        (5, "list.options", lambda n: {"contentType": "list", "list": {"text": "?", "options": ["a"] * n}}),
        (5, "carousel.items", lambda n: {"contentType": "carousel", "carousel": {"text": "?", "items": [CARD] * n}}),
        (200, "video.filesize", lambda n: {"contentType": "video", "video": {**VIDEO["video"], "filesize": n}}),
    ],
)
def test_limits_of_contents(length: int, field: str, content: Any) -> None:
    assert fields(message(content(length))) == []
    assert fields(message(content(length + 1))) == [f"content.{field}"]


@pytest.mark.parametrize(("size", "valid"), [(1, False), (2, True), (20, True), (21, False)])
def test_size_of_a_bulk(size: int, valid: bool) -> None:
    bulk = message(content=..., messages=[{"contentType": "text", "text": "Hello"}] * size)
    assert [field for field, _ in rules.check_send(bulk, "messages")] == ([] if valid else ["messages"])
    bulk["messages"][0] = {"contentType": "text"}
    assert valid is ("messages[0].text" in [field for field, _ in rules.check_send(bulk, "messages")])


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("+491701234567", "+491701234567"),
        ("00491701234567", "+491701234567"),
        ("491701234567", "+491701234567"),
        *(
            (wrong, None)
            for wrong in ("", "12", "+49 170 1234567", "0170" + "1" * 20, "+0123456789", None, 491701234567)
        ),
    ],
)
def test_phone_numbers(to: object, expected: str | None) -> None:
    assert rules.e164(to) == expected
    assert fields(message(to=to)) == ([] if expected else ["to"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"context": "x" * 125}, None),
        ({"context": ""}, None),
        ({"context": "x" * 126}, "context"),
        ({"context": 7}, "context"),
        ({"overrides": {"notificationCallbackUrl": "https://example.org/" + "a" * 1980}}, None),
        (
            {"overrides": {"notificationCallbackUrl": "https://example.org/" + "a" * 1981}},
            "overrides.notificationCallbackUrl",
        ),
        ({"overrides": {"notificationCallbackUrl": "http://example.org"}}, "overrides.notificationCallbackUrl"),
        ({"overrides": {"notificationCallbackUrl": "http://127.0.0.1:8000/x"}}, None),
        ({"overrides": []}, "overrides"),
        ({"channel": "sms"}, "channel"),
        ({"rateType": ["session"]}, "rateType"),
        ({"rateType": ..., "messagePurpose": "session"}, None),
        ({"rateType": None, "messagePurpose": "session"}, None),
        ({"content": "Hello"}, "content"),
        ({"content": {"contentType": ["text"]}}, "content.contentType"),
        ({"content": components({"type": {}})}, "content.components.body[0].type"),
        ({"content": {"contentType": "text", "text": "\ud800"}}, "content.text"),
        *(
            ({"content": {"contentType": "image", "image": {"url": url}}}, None if valid else "content.image.url")
            for url, valid in [
                ("http://example.org", True),
                ("https://example.org.:8443/a?b=%20#c", True),
                ("https://8.8.8.8/a", True),
                ("https://10.0.0.1/a", False),
                ("https://localhost/a", False),
                ("https://example.org/a b", False),
                ("https://example.org/ä", False),
                ("ftp://example.org", False),
                (7, False),
            ]
        ),
    ],
)
def test_fields_of_a_message(changes: dict[str, Any], field: str | None) -> None:
    assert fields(message(**changes)) == ([] if field is None else [field])


@pytest.mark.parametrize(
    ("shortest", "longest", "part", "key"), [(8, 125, "signature", "secret"), (4, 125, "header", "key")]
)
def test_lengths_in_callback_settings(shortest: int, longest: int, part: str, key: str) -> None:
    for length in (shortest - 1, shortest, longest, longest + 1):
        settings = {part: {"value": "long enough", key: "x" * length}}
        wrong = [field for field, _ in rules.CALLBACK_SETTINGS("", settings)]
        assert wrong == ([] if shortest <= length <= longest else [f"{part}.{key}"])


def test_no_message_quotes_a_secret() -> None:
    settings = {"signature": {"secret": "hidden"}, "header": {"key": "x-token", "value": "hidden"}}
    assert "hidden" not in str(list(rules.CALLBACK_SETTINGS("", settings)))


BUTTON_PART = Button("Go", URL)
LIBRARY_CONTENTS: list[contents.Content] = [
    Text("Hello"),
    Image(URL),
    File(URL, "a.pdf", "pdf"),
    Video(URL, URL, 3, 20, "mp4"),
    Text("Hello", button=BUTTON_PART),
    Text("Hello", image=Image(URL), button=BUTTON_PART),
    Text("Hello", video=Video(URL, URL, 3, 20)),
    Text("Hello", video=Video(URL, URL, 3, 20), button=BUTTON_PART),
    List("Which?", ["tea", "coffee"]),
    Carousel("Look", [CarouselItem(name, URL, BUTTON_PART, BUTTON_PART) for name in ("one", "two")]),
    Text(""),
    Text("x" * 3001),
    Text("Hello", image=Image(URL)),
    Image("htp://x"),
    List("Which?", ["tea"]),
    Video(URL, URL, 201, 20),
    Video(URL, URL, 3, 20, "avi"),
    File(URL, "a.exe", "exe"),
    Carousel("Look", [CarouselItem("one", URL, Button("Go", "no"))] * 2),
]


@pytest.mark.parametrize("rate_type", RATE_TYPES)
@pytest.mark.parametrize("content", LIBRARY_CONTENTS, ids=lambda content: type(content).__name__)
def test_the_library_agrees_with_the_published_rules(content: contents.Content, rate_type: str) -> None:
    assert bool(fields(message(to_wire(content), rateType=rate_type))) == bool(violations(content, rate_type))
