"""Every kind of content in a form: the fields that it needs, and the content that they spell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from viberkit.models import validation as rules
from viberkit.models.content import Button, Carousel, CarouselItem, Content, File, Image, List, Text, Video
from viberkit.widgets.fields import Field

__all__ = ["KINDS", "Kind"]

Values = Mapping[str, Any]
_MOST = 5  #: answers, or cards


def _types(known: Iterable[str]) -> list[tuple[str, str]]:
    return [("as its URL says", ""), *((name, name) for name in known)]


def _text() -> list[Field]:
    return [Field.lines("text", "Text")]


def _image(path: str) -> list[Field]:
    return [Field.text(path, "Picture", "https://…")]


def _button() -> list[Field]:
    return [Field.text("button.caption", "Button"), Field.text("button.url", "Button opens", "https://…")]


def _video(at: str = "") -> list[Field]:
    return [
        Field.text(f"{at}url", "Video", "https://…"),
        Field.text(f"{at}thumbnail_url", "Thumbnail", "https://…"),
        Field.number(f"{at}size_mb", "Size, MB"),
        Field.number(f"{at}duration_s", "Duration, s"),
        Field.choice(f"{at}type", "Video type", _types(rules.VIDEO_TYPES)),
    ]


def _read_button(values: Values) -> Button:
    return Button(values["button.caption"], values["button.url"])


def _read_video(values: Values, at: str = "") -> Video:
    url, thumbnail, size, duration, what = (
        values[f"{at}{name}"] for name in ("url", "thumbnail_url", "size_mb", "duration_s", "type")
    )
    return Video(url, thumbnail, size, duration, what or None)


def _file() -> list[Field]:
    return [
        Field.text("url", "File", "https://…"),
        Field.text("filename", "Name shown", "invoice.pdf"),
        Field.choice("type", "File type", _types(rules.FILE_TYPES)),
    ]


def _options() -> list[Field]:
    fields = _text()
    for place in range(_MOST):
        after = f"options[{place - 1}]" if place > 1 else ""
        fields.append(Field.text(f"options[{place}]", f"Answer {place + 1}", after=after))
    return fields


def _read_options(values: Values) -> List:
    return List(values["text"], _filled([values[f"options[{place}]"] for place in range(_MOST)]))


def _filled(entries: list[Any]) -> list[Any]:
    """Entries up to the last that holds something, two at least: empty ones between are mistakes, not the rest."""
    last = max((place for place, one in enumerate(entries) if one), default=0)
    return entries[: max(2, last + 1)]


def _cards() -> list[Field]:
    fields = _text()
    for place in range(_MOST):
        at, name = f"items[{place}]", f"Card {place + 1}"
        after = f"items[{place - 1}].title" if place > 1 else ""
        more = f"{at}.primary.caption"
        fields += [
            Field.text(f"{at}.title", f"{name} title", after=after),
            Field.text(f"{at}.image_url", f"{name} picture", "https://…", after),
            Field.text(f"{at}.primary.caption", f"{name} button", after=after),
            Field.text(f"{at}.primary.url", f"{name} opens", "https://…", after),
            Field.text(f"{at}.secondary.caption", f"{name} 2nd button", "may be left empty", more),
            Field.text(f"{at}.secondary.url", f"{name} 2nd opens", "https://…", more),
        ]
    return fields


def _read_cards(values: Values) -> Carousel:
    names = ("title", "image_url", "primary.caption", "primary.url", "secondary.caption", "secondary.url")
    cards = [[values[f"items[{place}].{name}"] for name in names] for place in range(_MOST)]
    kept = _filled([card if any(card) else None for card in cards])
    return Carousel(values["text"], [_read_card(*(card or [""] * len(names))) for card in kept])


def _read_card(title: str, image: str, caption: str, url: str, caption2: str, url2: str) -> CarouselItem:
    secondary = Button(caption2, url2) if caption2 or url2 else None
    return CarouselItem(title, image, Button(caption, url), secondary)


@dataclass(frozen=True)
class Kind:
    """One kind of content in a form: its fields, and how they spell it."""

    fields: Callable[[], list[Field]]
    read: Callable[[Values], Content]


#: Every kind of content, by the name that a form shows.
KINDS: dict[str, Kind] = {
    "text": Kind(_text, lambda v: Text(v["text"])),
    "text, button": Kind(lambda: [*_text(), *_button()], lambda v: Text(v["text"], button=_read_button(v))),
    "text, image, button": Kind(
        lambda: [*_text(), *_image("image.url"), *_button()],
        lambda v: Text(v["text"], image=Image(v["image.url"]), button=_read_button(v)),
    ),
    "image": Kind(lambda: _image("url"), lambda v: Image(v["url"])),
    "file": Kind(_file, lambda v: File(v["url"], v["filename"], v["type"] or None)),
    "video": Kind(_video, _read_video),
    "video, text": Kind(
        lambda: [*_text(), *_video("video.")], lambda v: Text(v["text"], video=_read_video(v, "video."))
    ),
    "video, text, button": Kind(
        lambda: [*_text(), *_video("video."), *_button()],
        lambda v: Text(v["text"], video=_read_video(v, "video."), button=_read_button(v)),
    ),
    "list": Kind(_options, _read_options),
    "carousel": Kind(_cards, _read_cards),
}
