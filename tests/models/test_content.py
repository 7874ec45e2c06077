"""Contents and their rules: an independent table of rate types, and an example that breaks each rule."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from viberkit.errors import UnreadableRecord, Violation, quote
from viberkit.models import validation
from viberkit.models.content import (
    Button,
    Carousel,
    CarouselItem,
    File,
    Image,
    List,
    Text,
    Video,
    from_wire,
    kind,
    to_wire,
)

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "15"))
many = settings(max_examples=EXAMPLES, deadline=None)

# --- what may be sent, written independently of the library ----------------------------------------------

LINK = "https://example.org/x"
EXAMPLES_OF_KINDS = {
    "text": lambda: Text("Hi"),
    "image": lambda: Image(LINK),
    "file": lambda: File(LINK, "a.pdf"),
    "video": lambda: Video(LINK, LINK, 5, 30),
    "video+text": lambda: Text("Hi", video=Video(LINK, LINK, 5, 30)),
    "video+text+button": lambda: Text("Hi", video=Video(LINK, LINK, 5, 30), button=Button("Go", LINK)),
    "text+button": lambda: Text("Hi", button=Button("Go", LINK)),
    "text+button+image": lambda: Text("Hi", button=Button("Go", LINK), image=Image(LINK)),
    "list": lambda: List("Which?", ["a", "b"]),
    "carousel": lambda: Carousel("See", [CarouselItem("t", LINK, Button("Go", LINK))] * 2),
}
TABLE = {
    "transaction": "✔ – – – – – – – ✔ ✔",
    "promotion": "✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔",
    "session": "✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔ ✔",
}
CELLS = [
    (rate_type, name, mark == "✔")
    for rate_type, marks in TABLE.items()
    for name, mark in zip(EXAMPLES_OF_KINDS, marks.split(), strict=True)
]
EVERY_CONTENT = [
    *EXAMPLES_OF_KINDS.values(),
    lambda: Text("Hi", image=LINK),
    lambda: CarouselItem("t", LINK, Button("Go", LINK)),
]

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\r"), min_size=1, max_size=80),
    st.sampled_from(
        ["👩‍👩‍👧‍👦🇩🇪", "שלום עולם", "‏مرحبا‎", "one\ntwo\r\n\tthree", "e\u0301", "\ufeffBOM", "«„“»", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", '"\\/']
    ).flatmap(lambda text: st.integers(1, 40).map(lambda count: text * count)),
).filter(lambda text: text.strip())
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9-]{0,8}){1,3}", fullmatch=True).filter(
    lambda host: not host.endswith((".local", ".localhost", ".internal"))
)
urls = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}{path}",
    st.sampled_from(["http", "https", "HTTPS"]),
    names | st.sampled_from(["8.8.8.8", "10.example.org", "127.example.org", "example.org."]),
    st.just("") | st.integers(1, 65535).map(":{}".format),
    st.just("") | st.from_regex(r"[/?#][A-Za-z0-9\-._~!$&'()*+,;=:@%/?\[\]]{0,60}", fullmatch=True),
)
buttons = st.builds(Button, texts, urls)
images = st.builds(Image, urls)
sizes = st.integers(0, 200) | st.integers(0, 200).map(float)
lengths = st.integers(0, 86_400) | st.integers(0, 86_400).map(float)
videos = st.builds(Video, urls, urls, sizes, lengths, st.none() | st.sampled_from(["3gp", "m4v", "mov", "mp4"]))
file_types = (
    "doc docx rtf dot dotx odt odf fodt txt info pdf xps pdax eps xls xlsx ods fods csv xlsm xltx"  # 21 of them
)
files = st.builds(File, urls, texts, st.none() | st.sampled_from(file_types.split()))
items = st.builds(CarouselItem, texts, urls, buttons, st.none() | buttons)
valid = {
    "text": st.builds(Text, texts),
    "image": images,
    "file": files,
    "video": videos,
    "video+text": st.builds(Text, texts, video=videos),
    "video+text+button": st.builds(Text, texts, video=videos, button=buttons),
    "text+button": st.builds(Text, texts, button=buttons),
    "text+button+image": st.builds(Text, texts, button=buttons, image=images),
    "list": st.builds(List, texts, st.lists(texts, min_size=2, max_size=5)),
    "carousel": st.builds(Carousel, texts, st.lists(items, min_size=2, max_size=5)),
}
any_valid = st.one_of(*valid.values())
#: Every combination of parts, also those that Viber does not support.
combined = st.builds(Text, texts, image=st.none() | images, video=st.none() | videos, button=st.none() | buttons)


# --- the wire --------------------------------------------------------------------------------------------


@many
@given(any_valid | combined)
def test_a_content_survives_the_round_trip_through_json(content: Any) -> None:
    wire = to_wire(content)
    assert from_wire(wire) == content
    copied = from_wire(json.loads(json.dumps(wire)))
    assert copied == content
    assert hash(copied) == hash(content)
    assert to_wire(copied) == wire
    assert isinstance(wire["contentType"], str)


@many
@given(any_valid)
def test_older_spellings_are_read(content: Any) -> None:
    """`type` for `contentType`, `callback` for a component button's `url`, `filetype` for the type of a file."""
    wire = to_wire(content)
    wire["type"] = wire.pop("contentType")
    if "type" in (file := wire.get("file", {})):
        file["filetype"] = file.pop("type")
    for part in wire.get("components", {}).get("body", []):
        if part["type"] == "button":
            part["button"]["callback"] = part["button"].pop("url")
    assert from_wire(wire) == content
    wire["contentType"] = None
    assert from_wire(wire) == content


@pytest.mark.parametrize("name", EXAMPLES_OF_KINDS)
def test_each_kind_has_the_json_form_of_the_reference(name: str) -> None:
    video = {"url": LINK, "thumbnailUrl": LINK, "filesize": 5, "duration": 30}
    text, button = {"type": "text", "text": "Hi"}, {"type": "button", "button": {"caption": "Go", "url": LINK}}
    card = {"title": "t", "imageUrl": LINK, "primaryButton": {"label": "Go", "actionUrl": LINK}}

    def components(*body: object) -> dict[str, Any]:
        return {"contentType": "components", "components": {"body": list(body)}}

    assert (
        to_wire(EXAMPLES_OF_KINDS[name]())
        == {
            "text": {"contentType": "text", "text": "Hi"},
            "image": {"contentType": "image", "image": {"url": LINK}},
            "file": {"contentType": "file", "file": {"url": LINK, "filename": "a.pdf"}},
            "video": {"contentType": "video", "video": video},
            "video+text": components(text, {"type": "video", "video": video}),
            "video+text+button": components(text, {"type": "video", "video": video}, button),
            "text+button": components(text, button),
            "text+button+image": components(text, {"type": "image", "image": {"url": LINK}}, button),
            "list": {"contentType": "list", "list": {"text": "Which?", "options": ["a", "b"]}},
            "carousel": {"contentType": "carousel", "carousel": {"text": "See", "items": [card, card]}},
        }[name]
    )


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (None, "content"),
        ([], "content"),
        ({}, "content.contentType"),
        ({"contentType": ""}, "content.contentType"),
        ({"contentType": "sticker"}, "content.contentType"),
        ({"contentType": ["text"]}, "content.contentType"),
        ({"contentType": "image", "image": "https://example.org/x"}, "content.image"),
        ({"contentType": "list"}, "content.list"),
        ({"contentType": "carousel", "carousel": {"items": 3}}, "content.carousel.items"),
        ({"contentType": "carousel", "carousel": {"items": [3]}}, "content.carousel.items[0]"),
        ({"contentType": "components"}, "content.components.body"),
        ({"contentType": "components", "components": {"body": []}}, "content.components.body"),
        ({"contentType": "components", "components": {"body": [{"type": {}}]}}, "content.components.body[0].type"),
        (
            {"contentType": "components", "components": {"body": [{"type": "text", "text": "a"}] * 2}},
            "content.components.body[1].type",
        ),
    ],
)
def test_an_unreadable_content_names_its_field(wire: object, field: str) -> None:
    with pytest.raises(UnreadableRecord) as caught:
        from_wire(wire)
    assert str(caught.value).startswith(f"{field}: ")


# --- the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate_type", "name", "allowed"), CELLS)
def test_the_table_of_rate_types(rate_type: str, name: str, allowed: bool) -> None:
    content = EXAMPLES_OF_KINDS[name]()
    assert kind(content) == name
    broken = validation.violations(content, rate_type)
    assert [violation.field for violation in broken] == ([] if allowed else ["rate_type"])
    assert validation.violations(content) == []


@pytest.mark.parametrize("name", valid)
def test_everything_within_the_rules_passes(name: str) -> None:
    @settings(max_examples=max(EXAMPLES // 5, 5), deadline=None)
    @given(valid[name], st.sampled_from(list(TABLE)))
    def check(content: Any, rate_type: str) -> None:
        allowed = next(allowed for *key, allowed in CELLS if key == [rate_type, name])
        broken = validation.violations(content, rate_type)
        assert [violation.field for violation in broken] == ([] if allowed else ["rate_type"])
        assert kind(content) == name

    check()


@many
@given(combined, st.sampled_from(list(TABLE)))
def test_combinations_outside_the_table_are_refused(content: Text, rate_type: str) -> None:
    parts = {name for name in ("image", "video", "button") if getattr(content, name)}
    promoted = parts in ({*()}, {"video"}, {"video", "button"}, {"button"}, {"button", "image"})
    allowed = promoted and (rate_type != "transaction" or not parts)
    assert (not validation.violations(content, rate_type)) == allowed


# --- every rule broken -----------------------------------------------------------------------------------

LONG = "x" * 3001
BAD_URLS = {
    None: "is missing",
    "": "is missing",
    5: "not an http(s) URL",
    "ftp://example.org": "not an http(s) URL",
    "example.org": "not an http(s) URL",
    "javascript:alert(1)": "not an http(s) URL",
    "https://": "not a well-formed URL",
    "https:///path": "not a well-formed URL",
    "https://exa mple.org": "not a well-formed URL",
    "https://example.org/ä": "not a well-formed URL",
    "https://example.org/a\n": "not a well-formed URL",
    "https://example.org/\x00": "not a well-formed URL",
    "https://a..b/": "not a well-formed URL",
    "https://example.org:99999/": "not a well-formed URL",
    "https://example.org:0/": "not a well-formed URL",
    "https://[::1/": "not a well-formed URL",
    "https://user:pass@example.org/": "not a well-formed URL",
    "http://localhost:8000/": "not reachable",
    "http://localhost./": "not reachable",
    "http://printer/": "not reachable",
    "http://printer.local./": "not reachable",
    "http://a.internal/": "not reachable",
    "http://127.0.0.1/": "not reachable",
    "http://10.1.2.3/": "not reachable",
    "http://172.16.0.1/": "not reachable",
    "http://192.168.0.1/": "not reachable",
    "http://169.254.1.1/": "not reachable",
    "http://0.0.0.0/": "not reachable",
}
BAD_TEXTS = {
    None: "is missing",
    "": "is missing",
    7: "is not a text",
    float("nan"): "is not a text",
    b"bytes": "is not a text",
    " \n\t ": "is blank",
    "NUL\0": "control characters",
    "title \x1b]0;x\x07": "control characters",
    "8-bit \x9b2J": "control characters",
    "half \ud83d": "surrogate",
}
BAD_NUMBERS = {
    None: "is missing",
    "5": "is not a number",
    True: "is not a number",
    float("nan"): "is not a number",
    float("inf"): "is outside",
    -1: "is outside",
    -0.001: "is outside",
    10**400: "is outside",
    10**5000: "is outside",
}
GO = Button("Go", LINK)
VIDEO: dict[str, Any] = {"url": LINK, "thumbnail_url": LINK, "size_mb": 5, "duration_s": 30}


def card(**changed: Any) -> Carousel:
    return Carousel(
        "See", [CarouselItem("t", LINK, GO), CarouselItem(**{"title": "t", "image_url": LINK, "primary": GO} | changed)]
    )


BROKEN: list[tuple[Any, str, str]] = [
    *[(Text(text), "text", rule) for text, rule in (BAD_TEXTS | {LONG: "more than 3000"}).items()],
    *[(List(text, ["a", "b"]), "text", rule) for text, rule in (BAD_TEXTS | {LONG: "more than 3000"}).items()],
    *[(List("Which?", ["a", text]), "options[1]", rule) for text, rule in BAD_TEXTS.items()],
    *[(card(title=text), "items[1].title", rule) for text, rule in BAD_TEXTS.items()],
    *[(File(LINK, text), "filename", rule) for text, rule in BAD_TEXTS.items()],
    *[(Text("Hi", button=Button(text, LINK)), "button.caption", rule) for text, rule in BAD_TEXTS.items()],
    *[(Image(url), "url", rule) for url, rule in BAD_URLS.items()],
    *[(File(url, "a.pdf"), "url", rule) for url, rule in BAD_URLS.items()],
    *[(Text("Hi", image=Image(url), button=GO), "image.url", rule) for url, rule in BAD_URLS.items()],
    *[(Text("Hi", button=Button("Go", url)), "button.url", rule) for url, rule in BAD_URLS.items()],
    *[(card(image_url=url), "items[1].image_url", rule) for url, rule in BAD_URLS.items()],
    *[(card(secondary=Button("Go", url)), "items[1].secondary.url", rule) for url, rule in BAD_URLS.items()],
    *[(Video(**VIDEO | {"thumbnail_url": url}), "thumbnail_url", rule) for url, rule in BAD_URLS.items()],
    *[
        (Video(**VIDEO | {"size_mb": size}), "size_mb", rule)
        for size, rule in (BAD_NUMBERS | {200.5: "outside"}).items()
    ],
    *[(Video(**VIDEO | {"duration_s": length}), "duration_s", rule) for length, rule in BAD_NUMBERS.items()],
    *[
        (Text("Hi", video=Video(**VIDEO | {"size_mb": size})), "video.size_mb", rule)
        for size, rule in BAD_NUMBERS.items()
    ],
    (Video(**VIDEO, type="avi"), "type", "is not allowed"),
    (File(LINK, "a", "exe"), "type", "is not allowed"),
    (File(LINK, "a", ["pdf"]), "type", "is not allowed"),
    (List("Which?", ["a"]), "options", "has a length of 1, not 2 to 5"),
    (List("Which?", list("abcdef")), "options", "has a length of 6, not 2 to 5"),
    (List("Which?", "ab"), "options", "is not a list"),
    (List("Which?", None), "options", "is not a list"),
    (List("Which?", {"a", "b"}), "options", "is not a list"),
    (Carousel("See", []), "items", "has a length of 0, not 2 to 5"),
    (Carousel("See", [CarouselItem("t", LINK, GO)] * 6), "items", "has a length of 6, not 2 to 5"),
    (Carousel("See", [CarouselItem("t", LINK, GO), {}]), "items[1]", "is not a CarouselItem"),
    (card(primary=None), "items[1].primary", "is not a Button"),
    (card(secondary="Go"), "items[1].secondary", "is not a Button"),
    (Text("Hi", button={"caption": "Go"}), "button", "is not a Button"),
    (Text("Hi", video=Image(LINK)), "video", "is not a Video"),
    (Text("Hi", image=Image(LINK)), "content", "not a combination"),
    (Text("Hi", image=Image(LINK), video=Video(**VIDEO), button=GO), "content", "not a combination"),
    (Text, "content", "is not message content"),
    ("Hi", "content", "is not message content"),
    (None, "content", "is not message content"),
    (GO, "content", "is not message content"),
]


@pytest.mark.parametrize("index", range(len(BROKEN)))
def test_a_broken_rule_names_field_value_rule_and_remedy(index: int) -> None:
    content, field, rule = BROKEN[index]
    broken = [violation for violation in validation.violations(content, "promotion") if violation.field == field]
    assert len(broken) == 1, broken
    assert rule in broken[0].rule
    assert broken[0].remedy
    assert str(broken[0]).encode()
    assert len(broken[0].value) <= 60
    if "missing" not in rule and "length" not in rule:
        assert broken[0].value


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT, np.nan, np.array(["a", "b"]), pd.Series(["a"]), Decimal(1)])
def test_missing_values_of_a_frame_are_violations_not_exceptions(missing: Any) -> None:
    for content in [Text(missing), Image(missing), Video(LINK, LINK, missing, missing), File(LINK, "a", missing)]:
        assert validation.violations(content, missing)
    assert [violation.field for violation in validation.violations(List("Which?", [missing, missing]))] == [
        "options[0]",
        "options[1]",
    ]


def test_numbers_of_a_frame_are_numbers() -> None:
    video = Video(LINK, LINK, np.int64(5), np.float32(30.5))
    assert validation.violations(video, "promotion") == []
    assert json.dumps(to_wire(video)["video"]) == json.dumps(
        {"url": LINK, "thumbnailUrl": LINK, "filesize": 5, "duration": 31}
    )


@pytest.mark.parametrize(
    ("size", "length", "sent"), [(10.5, 20.5, (11, 21)), (0.01, 0.99, (1, 1)), (199.2, 7.0, (200, 7))]
)
def test_sizes_and_durations_are_sent_as_whole_numbers_rounded_up(
    size: float, length: float, sent: tuple[int, int]
) -> None:
    video = Video(LINK, LINK, size, length)
    for wire in (to_wire(video)["video"], to_wire(Text("Hi", video=video))["components"]["body"][1]["video"]):
        assert (wire["filesize"], wire["duration"]) == sent
        assert {type(wire["filesize"]), type(wire["duration"])} == {int}
    assert not validation.violations(video, "promotion")


@pytest.mark.parametrize("kind_of_part", ["list", "carousel", "file", "image", "video"])
def test_a_component_alone_is_the_content(kind_of_part: str) -> None:
    content = EXAMPLES_OF_KINDS[kind_of_part]()
    part = {name: value for name, value in to_wire(content).items() if name != "contentType"}
    for name in ("type", "contentType"):
        body = [{name: kind_of_part, **part}]
        assert from_wire({"contentType": "components", "components": {"body": body}}) == content
    if kind_of_part in ("list", "carousel", "file"):
        body.append({"type": "text", "text": "Hi"})
        with pytest.raises(UnreadableRecord, match=f"a {kind_of_part} cannot be combined with text"):
            from_wire({"contentType": "components", "components": {"body": body}})


CAUTIOUS_URLS = ["https://example.org/a%20b.png", "HTTPS://example.org/a.png", "https://example.org/?a=%C3%A4"]


@pytest.mark.parametrize("url", [*CAUTIOUS_URLS, LINK, "https://example.org:8080/a(1)~b;c=d!e$f'g*h,i@j[k]?l=m&n+o#p"])
def test_a_url_of_a_file_outside_the_published_pattern_is_a_caution(url: str) -> None:
    contents = {
        "url": [Image(url), File(url, "a.pdf", "pdf"), Video(url, LINK, 1, 1)],
        "thumbnail_url": [Video(LINK, url, 1, 1)],
        "image.url": [Text("Hi", image=Image(url), button=GO)],
        "video.url": [Text("Hi", video=Video(url, LINK, 1, 1))],
        "items[0].image_url": [Carousel("Hi", [CarouselItem("t", url, GO), CarouselItem("t", LINK, GO)])],
    }
    for field, examples in contents.items():
        for content in examples:
            assert not validation.violations(content, "promotion")
            cautions = [str(caution) for caution in validation.cautions(content)]
            assert len(cautions) == (url in CAUTIOUS_URLS), cautions
            assert all(text.startswith(f"{field}: ") and "allows no %" in text for text in cautions)
    button = Text("Hi", button=Button("Go", url))
    assert not validation.violations(button, "promotion")
    assert not validation.cautions(button), "the pattern is not that of buttons"


@pytest.mark.parametrize(
    "content", [Text("Hi", button=Button("Go", "https://example.org/ä b")), Image("https://a.org/ä")]
)
def test_only_the_url_of_a_button_is_to_be_percent_encoded(content: Any) -> None:
    assert validation.violations(content)[0].remedy.endswith("; a button's URL may be percent-encoded")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://localhost/x", "not reachable from the internet"),
        ("https://printer/x", "not reachable from the internet"),
        ("https://shop.internal/x", "not reachable from the internet"),
        ("https://192.168.1.5/x", "not reachable from the internet"),
        ("https://[::1]/x", "not reachable from the internet"),
        ("https://user@example.org/x", "has a user name"),
        ("https://user:hunter2hunter2@example.org/x", "has a user name"),
        ("http://user:hunter2hunter2@example.org/x", "has a user name"),
        ("https://", "not an https URL"),
        ("https://:443/x", "not an https URL"),
        ("https://example.org:99999/x", "not an https URL"),
        ("http://example.org/x", "not an https URL"),
        ("HTTPS://example.org/x", "not an https URL"),
        ("https://example.org/a b", "not an https URL"),
        ("https://example.org/ä", "not an https URL"),
        ("https://example.org/" + "x" * 2000, "has 2020 characters"),
        ("", "not an https URL"),
        (5, "not an https URL"),
        (b"https://example.org", "not an https URL"),
    ],
)
def test_urls_that_the_provider_cannot_call(url: object, rule: str) -> None:
    (broken,) = validation.callback_url_rule("callback_url", url)
    assert rule in broken.rule
    assert "hunter2" not in str(broken)


@pytest.mark.parametrize(
    "url", ["https://example.org/x?a=b%20c", "https://8.8.8.8:8443", "http://127.0.0.1:80/x", "http://[::1]/", None]
)
def test_urls_that_the_provider_or_a_sandbox_can_call(url: object) -> None:
    assert not list(validation.callback_url_rule("callback_url", url))


def test_all_violations_are_returned_together() -> None:
    content = Carousel("", [CarouselItem("", "htp://x", Button("", ""), "no"), CarouselItem("t", LINK, GO)])
    fields = ["text", "items[0].title", "items[0].image_url", "items[0].primary.caption", "items[0].primary.url"]
    assert [violation.field for violation in validation.violations(content, "gift")] == [
        *fields,
        "items[0].secondary",
        "rate_type",
    ]
    broken = validation.violations(Text("", image=Image("x")), "transaction")
    assert [violation.field for violation in broken] == ["text", "image.url", "content", "rate_type"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Text("x" * 3000), None),
        (Text("x" * 1000), None),
        (Text("x" * 1001), "text"),
        (Text("Hi", button=Button("c" * 31, LINK)), "button.caption"),
        (File(LINK, "f" * 26, "pdf"), "filename"),
        (File(LINK, "f"), "type"),
        (Video(LINK, LINK, 200, 601), "duration_s"),
    ],
)
def test_limits_are_inclusive_and_cautions_are_no_violations(content: Any, field: str | None) -> None:
    assert validation.violations(content, "session") == []
    fields = [violation.field for violation in validation.cautions(content)]
    assert fields == ([field] if field else ["text"] if len(getattr(content, "text", "")) > 1000 else [])


def test_a_misspelled_rate_type_gets_a_suggestion() -> None:
    (broken,) = validation.violations(Text("Hi"), "Transactional")
    assert "did you mean 'transaction'?" in broken.remedy
    for odd in ["", "TRANSACTION", "messagePurpose", 5, [], "x" * 100_000]:
        assert [violation.field for violation in validation.violations(Text("Hi"), odd)] == ["rate_type"]  # type: ignore[arg-type]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@many
@given(st.data())
def test_the_rules_accept_any_value(data: st.DataObject) -> None:
    cls = data.draw(st.sampled_from([Text, Image, File, Video, List, Carousel, CarouselItem, Button]))
    parts = dataclasses.fields(cls)
    content = cls(**{field.name: data.draw(junk | st.sampled_from([GO, LINK, "Hi"])) for field in parts})
    rate_type = data.draw(junk)
    for violation in validation.violations(content, rate_type) + validation.cautions(content):  # type: ignore[arg-type]
        assert isinstance(violation, Violation)
        assert str(violation).encode()
    if isinstance(content, CarouselItem | Button):
        assert validation.violations(content)


# --- the objects -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", EVERY_CONTENT)
def test_objects_are_immutable_hashable_and_copyable(build: Any) -> None:
    content, same = build(), build()
    assert content == same
    assert len({content, same}) == 1
    for field in dataclasses.fields(content):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(content, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(content, field.name)
    assert copy.deepcopy(content) == pickle.loads(pickle.dumps(content)) == content
    assert eval(repr(content), globals()) == content


def test_a_list_is_copied() -> None:
    options = ["a", "b"]
    question = List("Which?", options)
    options.append("c")
    assert question.options == ("a", "b")
    wire = to_wire(question)
    wire["list"]["options"].append("c")
    assert question.options == ("a", "b")


@pytest.mark.parametrize("cls", [Text, Image, File, Video, List, Carousel, CarouselItem, Button])
def test_an_unknown_keyword_gets_a_suggestion(cls: Any) -> None:
    field_names = [field.name for field in dataclasses.fields(cls)]
    with pytest.raises(TypeError, match=f"{cls.__name__} has no 'zzz'; it takes {', '.join(field_names)}"):
        cls(zzz=1)
    for name in field_names:
        with pytest.raises(TypeError, match="did you mean"):
            cls(**{name + "s": 1} if name + "s" not in field_names else {name + "_": 1})


@pytest.mark.parametrize("value", ["x" * 500, {"a": ["b" * 99]}, {"a": 10**5000}, [10**5000], None, "\ud800"])
def test_a_quoted_value_is_short_and_printable(value: object) -> None:
    assert len(quote(value)) <= 60
    assert quote(value).encode()
