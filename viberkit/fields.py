"""The fields of the forms: labelled inputs with what is wrong beside each, and the content that they spell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import ipywidgets as w

from viberkit import rules
from viberkit.content import Button, Carousel, CarouselItem, Content, File, Image, List, Text, Video
from viberkit.errors import Violation

__all__ = ["KINDS", "Field", "note"]

_STYLE = {"description_width": "130px"}
_COLOURS = {
    "error": "var(--jp-error-color1, #b3261e)",
    "caution": "var(--jp-warn-color1, #b26a00)",
    "good": "var(--jp-success-color1, #2e7d32)",
    "quiet": "var(--jp-ui-font-color2, #757575)",
}


def note(text: str, tone: str = "quiet") -> str:
    """A line of small text in a tone (error, caution, good or quiet) that light and dark pages both show."""
    if not text:
        return ""
    return f'<span style="color: {_COLOURS[tone]}; font-size: 12px; line-height: 1.35">{escape(text)}</span>'


@dataclass
class Field:
    """One input and the line below it; ``path`` is the field that violations name."""

    path: str
    label: str
    input: Any
    hint: w.HTML = field(default_factory=lambda: w.HTML(layout=w.Layout(margin="-4px 0 2px 138px")))
    touched: bool = False

    @classmethod
    def text(cls, path: str, label: str, placeholder: str = "") -> Field:
        """A line of text."""
        return cls(path, label, w.Text(description=label, placeholder=placeholder, style=_STYLE, layout=_WIDE))

    @classmethod
    def lines(cls, path: str, label: str) -> Field:
        """Several lines of text."""
        layout = w.Layout(width="100%", height="88px")
        return cls(path, label, w.Textarea(description=label, style=_STYLE, layout=layout))

    @classmethod
    def number(cls, path: str, label: str) -> Field:
        """A number."""
        return cls(path, label, w.FloatText(description=label, style=_STYLE, layout=w.Layout(width="260px")))

    @classmethod
    def choice(cls, path: str, label: str, options: Iterable[Any]) -> Field:
        """One of several words."""
        layout = w.Layout(width="340px")
        return cls(path, label, w.Dropdown(description=label, options=list(options), style=_STYLE, layout=layout))

    @property
    def box(self) -> w.VBox:
        """The input with its line."""
        return w.VBox([self.input, self.hint])

    @property
    def value(self) -> Any:
        return self.input.value

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever somebody types."""

        def typed(_: object) -> None:
            self.touched = True
            changed()

        self.input.observe(typed, "value")

    def show(self, found: Iterable[Violation], cautions: Iterable[Violation] = ()) -> None:
        """Put what is wrong below the input, or what to think of."""
        said = [(str(one), "error") for one in found] or [(str(one), "caution") for one in cautions]
        self.hint.value = "<br>".join(note(text.removeprefix(f"{self.path}: "), tone) for text, tone in said)

    def clear(self) -> None:
        """Empty the input and its line."""
        if isinstance(self.input, w.Text | w.Textarea):
            self.input.value = ""
        elif isinstance(self.input, w.FloatText):
            self.input.value = 0
        self.touched = False
        self.hint.value = ""


_WIDE = w.Layout(width="100%")

Values = Mapping[str, Any]


def _text() -> list[Field]:
    return [Field.lines("text", "Text")]


def _button() -> list[Field]:
    return [Field.text("button.caption", "Button"), Field.text("button.url", "Button opens", "https://…")]


def _video(at: str = "") -> list[Field]:
    return [
        Field.text(f"{at}url", "Video", "https://…"),
        Field.text(f"{at}thumbnail_url", "Thumbnail", "https://…"),
        Field.number(f"{at}size_mb", "Size, MB"),
        Field.number(f"{at}duration_s", "Duration, s"),
    ]


def _read_button(values: Values) -> Button:
    return Button(values["button.caption"], values["button.url"])


def _read_video(values: Values, at: str = "") -> Video:
    names = ("url", "thumbnail_url", "size_mb", "duration_s")
    return Video(*(values[f"{at}{name}"] for name in names))


def _file() -> list[Field]:
    kinds = [("as its URL says", ""), *rules.FILE_TYPES]
    return [
        Field.text("url", "File", "https://…"),
        Field.text("filename", "Name shown"),
        Field.choice("type", "File type", kinds),
    ]


def _options() -> list[Field]:
    return [*_text(), *(Field.text(f"options[{place}]", f"Answer {place + 1}") for place in range(5))]


def _read_options(values: Values) -> List:
    return List(values["text"], _filled([values[f"options[{place}]"] for place in range(5)]))


def _filled(entries: list[Any]) -> list[Any]:
    """Entries up to the last that holds something, two at least: empty ones between are mistakes, not the rest."""
    last = max((place for place, one in enumerate(entries) if one), default=0)
    return entries[: max(2, last + 1)]


def _cards() -> list[Field]:
    fields = _text()
    for place in range(5):
        at, name = f"items[{place}]", f"Card {place + 1}"
        fields += [
            Field.text(f"{at}.title", f"{name} title"),
            Field.text(f"{at}.image_url", "picture", "https://…"),
            Field.text(f"{at}.primary.caption", "button"),
            Field.text(f"{at}.primary.url", "button opens", "https://…"),
        ]
    return fields


def _read_cards(values: Values) -> Carousel:
    names = ("title", "image_url", "primary.caption", "primary.url")
    cards = [[values[f"items[{place}].{name}"] for name in names] for place in range(5)]
    kept = _filled([card if any(card) else None for card in cards])
    items = [
        CarouselItem(title, image, Button(caption, url))
        for title, image, caption, url in (card or [""] * 4 for card in kept)
    ]
    return Carousel(values["text"], items)


@dataclass(frozen=True)
class Kind:
    """One kind of content in a form: its fields, and how they spell it."""

    fields: Callable[[], list[Field]]
    read: Callable[[Values], Content]


def _image() -> list[Field]:
    return [Field.text("image.url", "Picture", "https://…")]


#: Every kind of content, by the name that a form shows.
KINDS: dict[str, Kind] = {
    "text": Kind(_text, lambda v: Text(v["text"])),
    "text, button": Kind(lambda: [*_text(), *_button()], lambda v: Text(v["text"], button=_read_button(v))),
    "text, image, button": Kind(
        lambda: [*_text(), *_image(), *_button()],
        lambda v: Text(v["text"], image=Image(v["image.url"]), button=_read_button(v)),
    ),
    "image": Kind(lambda: [Field.text("url", "Picture", "https://…")], lambda v: Image(v["url"])),
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
