"""The kinds of content that a form offers: their inputs, and the content that the inputs describe."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from viberkit.models.content import Button, Carousel, CarouselItem, Content, File, Image, List, Text, Video
from viberkit.models.validation import FILE_TYPES, VIDEO_TYPES
from viberkit.widgets.fields import Field, parse_number

_MAX_ENTRIES = 5  #: options of a list, cards of a carousel
_URL = "https://…"


def _file_types(types: tuple[str, ...]) -> list[tuple[str, str | None]]:
    return [("from the URL", None), *((name, name) for name in types)]


def _video(prefix: str = "") -> list[Field]:
    return [
        Field(f"{prefix}url", "Video URL", _URL),
        Field(f"{prefix}thumbnail_url", "Thumbnail URL", _URL),
        Field(f"{prefix}size_mb", "Size (MB)", parse=parse_number),
        Field(f"{prefix}duration_s", "Duration (s)", parse=parse_number),
        Field(f"{prefix}type", "Video type", options=_file_types(VIDEO_TYPES)),
    ]


def _card(index: int) -> list[Field]:
    path, label = f"items[{index}]", f"Card {index + 1}"
    after = f"items[{index - 1}].title" if index > 1 else ""
    after_button = f"{path}.primary.caption"
    return [
        Field(f"{path}.title", f"{label} title", after=after, gap_above=True),
        Field(f"{path}.image_url", f"{label} image URL", _URL, after),
        Field(f"{path}.primary.caption", f"{label} button", after=after),
        Field(f"{path}.primary.url", f"{label} button URL", _URL, after),
        Field(f"{path}.secondary.caption", f"{label} 2nd button", "optional", after_button),
        Field(f"{path}.secondary.url", f"{label} 2nd URL", _URL, after_button),
    ]


_TEXT = [Field("text", "Text", multiline=True)]
_BUTTON = [Field("button.caption", "Button"), Field("button.url", "Button URL", _URL)]
_FILE = [
    Field("url", "File URL", _URL),
    Field("filename", "File name", "invoice.pdf"),
    Field("type", "File type", options=_file_types(FILE_TYPES)),
]
_OPTIONS = [
    Field(f"options[{index}]", f"Option {index + 1}", after=f"options[{index - 1}]" if index > 1 else "")
    for index in range(_MAX_ENTRIES)
]
_CARDS = [field for index in range(_MAX_ENTRIES) for field in _card(index)]

#: The class and the inputs of each kind of content, by the name that a form shows.
KINDS: dict[str, tuple[type[Content], list[Field]]] = {
    "text": (Text, _TEXT),
    "text, button": (Text, [*_TEXT, *_BUTTON]),
    "text, image, button": (Text, [*_TEXT, Field("image.url", "Image URL", _URL), *_BUTTON]),
    "image": (Image, [Field("url", "Image URL", _URL)]),
    "file": (File, _FILE),
    "video": (Video, _video()),
    "video, text": (Text, [*_TEXT, *_video("video.")]),
    "video, text, button": (Text, [*_TEXT, *_video("video."), *_BUTTON]),
    "list": (List, [*_TEXT, *_OPTIONS]),
    "carousel": (Carousel, [*_TEXT, *_CARDS]),
}
#: The classes of the fields of a content that hold another object.
_NESTED = {"image": Image, "video": Video, "button": Button, "primary": Button, "secondary": Button}


def new_fields(kind: str) -> list[Field]:
    """Return unused inputs for a kind of content."""
    return [dataclasses.replace(field) for field in KINDS[kind][1]]


def read_content(kind: str, values: Mapping[str, Any]) -> Content:
    """Return the content that the values of the inputs describe, by path."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = re.findall(r"\w+", path)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return _build(KINDS[kind][0], tree)  # type: ignore[no-any-return]


def _build(cls: type[Any], values: Mapping[str, Any]) -> Any:
    arguments = dict(values)
    for name in arguments.keys() & _NESTED:
        arguments[name] = _build(_NESTED[name], values[name])
    if "secondary" in values and not _is_filled(values["secondary"]):
        arguments["secondary"] = None
    for name in arguments.keys() & {"options", "items"}:  # up to the last that is filled: an empty entry is a violation
        entries = list(values[name].values())
        last = max((index for index, entry in enumerate(entries) if _is_filled(entry)), default=0)
        entries = entries[: max(2, last + 1)]
        arguments[name] = [_build(CarouselItem, card) for card in entries] if name == "items" else entries
    return cls(**arguments)


def _is_filled(value: Any) -> bool:
    return any(map(_is_filled, value.values())) if isinstance(value, dict) else bool(value)
