"""Contents of messages, and their JSON form.

A content is an immutable object. Its fields carry the name and the limits of the published reference as metadata, from
which :func:`to_wire`, :func:`from_wire` and :mod:`viberkit.models.validation` work; a form may derive its inputs from
them too. Creating a content checks nothing but its keywords, so that a form can hold an unfinished one.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar, dataclass_transform

from viberkit.errors import UnreadableRecord, quote, suggestion
from viberkit.models.phone import mask_numbers

#: What a file may be.
FILE_TYPES = tuple(
    "doc docx rtf dot dotx odt odf fodt txt info pdf xps pdax eps xls xlsx ods fods csv xlsm xltx".split()
)
#: What a video may be.
VIDEO_TYPES = ("3gp", "m4v", "mov", "mp4")

T = TypeVar("T")


def _field(rule: str, wire: str | None = None, *, default: Any = dataclasses.MISSING, **limits: Any) -> Any:
    """A field with its rule (text, url, number, choice, part or parts), its name in JSON, and its limits."""
    return dataclasses.field(default=default, metadata={"rule": rule, "wire": wire, **limits})


def _message_text() -> Any:
    return _field("text", limit=3000, advised=1000, caution="some operators refuse more than 1000")


@dataclass_transform(frozen_default=True, field_specifiers=(_field, _message_text))
def _content(cls: type[T]) -> type[T]:
    """A frozen dataclass that answers an unknown keyword with advice."""
    content: Any = dataclasses.dataclass(frozen=True)(cls)
    names = [field.name for field in dataclasses.fields(content)]
    generated_init: Callable[..., None] = content.__init__

    @functools.wraps(generated_init)
    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        for keyword in keywords:
            if keyword not in names:
                hint = suggestion(keyword, names)
                raise TypeError(f"{cls.__name__} has no {keyword!r}; {hint}it takes {', '.join(names)}")
        generated_init(self, *args, **keywords)

    content.__init__ = __init__
    return cls


@_content
class Button:
    """A button below a text.

    Parameters
    ----------
    caption : str
        Label; some phones cut it after 30 characters.
    url : str
        Public http(s) address that the button opens.
    """

    caption: str = _field("text", advised=30, caution="some phones cut it after 30")
    url: str = _field("url")


@_content
class Image:
    """An image.

    Parameters
    ----------
    url : str
        Public http(s) address, from which Viber fetches the image.
    """

    url: str = _field("url", fetched=True)


@_content
class Video:
    """A video with its thumbnail.

    Parameters
    ----------
    url : str
        Public http(s) address of the video.
    thumbnail_url : str
        Public http(s) address of the thumbnail.
    size_mb : float
        Size in megabytes, 0 to 200; sent as a whole number, rounded up.
    duration_s : float
        Duration in seconds, at most 86,400; some operators refuse more than 600. Sent as a whole number, rounded up.
    type : {"3gp", "m4v", "mov", "mp4"}, optional
        Type of the file; by default the server derives it from the URL.
    """

    url: str = _field("url", fetched=True)
    thumbnail_url: str = _field("url", "thumbnailUrl", fetched=True)
    size_mb: float = _field("number", "filesize", limit=200, unit="MB")
    # The reference has no limit; more than a day is a mistake in the unit.
    duration_s: float = _field(
        "number", "duration", limit=86_400, unit="s", advised=600, caution="some operators refuse more than 600 s"
    )
    type: str | None = _field("choice", choices=VIDEO_TYPES, default=None)


@_content
class File:
    """A document of at most 200 MB.

    Parameters
    ----------
    url : str
        Public http(s) address of the document.
    filename : str
        Name to show; some phones cut it after 25 characters.
    type : str, optional
        Type of the file, such as ``"pdf"``; by default the server derives it from the URL, which may fail.
    """

    url: str = _field("url", fetched=True)
    filename: str = _field("text", advised=25, caution="some phones cut it after 25")
    type: str | None = _field("choice", choices=FILE_TYPES, default=None)


@_content
class Text:
    """A text, alone or with a button, an image and a button, a video, or a video and a button.

    Parameters
    ----------
    text : str
        At most 3000 characters; some operators refuse more than 1000.
    image : Image or str, optional
        An image or its URL; it needs a button too.
    video : Video, optional
        A video.
    button : Button, optional
        A button.

    Examples
    --------
    >>> Text("Your parcel is here", button=Button("Track it", "https://example.org/t/1")).button.caption
    'Track it'
    >>> Text("Hi", colour="red")
    Traceback (most recent call last):
    TypeError: Text has no 'colour'; it takes text, image, video, button
    """

    text: str = _message_text()
    image: Image | None = _field("part", part=Image, default=None)
    video: Video | None = _field("part", part=Video, default=None)
    button: Button | None = _field("part", part=Button, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.image, str):
            object.__setattr__(self, "image", Image(self.image))


@_content
class List:
    """A question with answers to choose from.

    Parameters
    ----------
    text : str
        The question, at most 3000 characters.
    options : sequence of str
        Two to five answers.
    """

    text: str = _message_text()
    options: Sequence[str] = _field("parts", part=str)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _tuple(self.options))


@_content
class CarouselItem:
    """One card of a carousel.

    Parameters
    ----------
    title : str
        Title.
    image_url : str
        Public http(s) address of the image.
    primary : Button
        First button.
    secondary : Button, optional
        Second button.
    """

    title: str = _field("text")
    image_url: str = _field("url", "imageUrl", fetched=True)
    primary: Button = _field("part", "primaryButton", part=Button)
    secondary: Button | None = _field("part", "secondaryButton", part=Button, default=None)


@_content
class Carousel:
    """A text above a row of cards.

    Parameters
    ----------
    text : str
        At most 3000 characters.
    items : sequence of CarouselItem
        Two to five cards.
    """

    text: str = _message_text()
    items: Sequence[CarouselItem] = _field("parts", part=CarouselItem)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", _tuple(self.items))


#: Any content of a message.
Content = Text | Image | File | Video | List | Carousel

_CLASSES: dict[str, Any] = {cls.__name__.lower(): cls for cls in (Image, File, Video, Button, List, Carousel)}
_NAMES = {cls: name for name, cls in _CLASSES.items()}
#: The names of a button's fields in a carousel.
_CARD_BUTTON = {"caption": "label", "url": "actionUrl"}
#: Other names of fields, which are only read: of a button's URL, and of the type of a file.
_OTHER_NAMES = {"url": "callback", "type": "filetype"}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def kind(content: Content) -> str:
    """The kind of a content, as in the reference's table of rate types.

    >>> kind(Text("Hi", button=Button("Go", "https://example.org"), image=Image("https://example.org/a.png")))
    'text+button+image'
    """
    if not isinstance(content, Text):
        return type(content).__name__.lower()
    parts = {"video": content.video, "text": "", "button": content.button, "image": content.image}
    return "+".join(name for name, part in parts.items() if part is not None)


def to_wire(content: Content) -> dict[str, Any]:
    """The JSON form of a content.

    >>> to_wire(Image("https://example.org/a.png"))
    {'contentType': 'image', 'image': {'url': 'https://example.org/a.png'}}
    """
    cls: Any = type(content)
    if not isinstance(content, Text):
        return {"contentType": _NAMES[cls], _NAMES[cls]: _write(_wire_fields(cls), content)}
    if content.image is None and content.video is None and content.button is None:
        return {"contentType": "text", "text": content.text}
    body = [{"type": name, name: part} for name, part in _write(_wire_fields(Text), content).items()]
    return {"contentType": "components", "components": {"body": body}}


#: Name in JSON, attribute, function that writes its value unless that is JSON, and the class of its value or values.
_WireField = tuple[str, str, Callable[[Any], Any] | None, Any]


def _write(fields: tuple[_WireField, ...], value: Any) -> dict[str, Any]:
    """An object of a content class as JSON; fields that are None are left out."""
    wire = {}
    for name, attribute, write, _ in fields:
        part = getattr(value, attribute)
        if part is not None:
            wire[name] = part if write is None else write(part)
    return wire


def _write_all(fields: tuple[_WireField, ...], values: Any) -> list[Any]:
    return [_write(fields, value) for value in values]


def _write_number(value: Any) -> Any:
    """A number as the API takes it: whole, rounded up."""
    if isinstance(value, Real) and not isinstance(value, int) and math.isfinite(value):  # or one of NumPy's numbers
        return math.ceil(float(value))
    return value


@functools.cache  # working this out takes longer than writing a content
def _wire_fields(cls: Any, in_card: bool = False) -> tuple[_WireField, ...]:
    """The fields of a content class, in a card of a carousel or elsewhere."""
    fields: list[_WireField] = []
    for field in dataclasses.fields(cls):
        rule, name, part = field.metadata["rule"], field.metadata["wire"] or field.name, field.metadata.get("part")
        write: Any = {"number": _write_number, "part": _write, "parts": list if part is str else _write_all}.get(rule)
        if part not in (None, str):
            write = functools.partial(write, _wire_fields(part, cls is CarouselItem))
        fields.append((_CARD_BUTTON[name] if in_card else name, field.name, write, part))
    return tuple(fields)


def from_wire(wire: Any) -> Content:
    """The content of a request or a stored message, in any dialect; ``from_wire(to_wire(x)) == x``.

    Missing fields become None, so that :func:`viberkit.models.validation.violations` can name them. Raises
    :class:`~viberkit.errors.UnreadableRecord` if the kind of content cannot be read.

    >>> from_wire({"type": "text", "text": "Hello world!"})
    Text(text='Hello world!', image=None, video=None, button=None)
    """
    content = read_object(wire, "content")
    name = content.get("contentType") or content.get("type")
    match name:
        case "text":
            return Text(content.get("text"))  # type: ignore[arg-type]
        case "image" | "file" | "video" | "list" | "carousel":
            return _read(_CLASSES[name], f"content.{name}", content.get(name))  # type: ignore[no-any-return]
        case "components":
            parts = content.get("components")
            return _read_body(parts.get("body") if isinstance(parts, Mapping) else parts)
        case None | "":
            raise UnreadableRecord("content.contentType: must not be empty")
    raise unreadable("content.contentType", name, "is not a kind of content that Viber supports")


def _read_body(body: Any) -> Content:
    path = "content.components.body"
    parts: dict[str, Any] = {}
    for index, item in enumerate(read_array(body, path)):
        component = read_object(item, f"{path}[{index}]")
        name = component.get("type") or component.get("contentType")
        if name not in ("text", *_CLASSES):
            raise unreadable(f"{path}[{index}].type", name, "is not a component that Viber supports")
        if name in parts:
            raise unreadable(f"{path}[{index}].type", name, "is repeated; a message has one of each")
        value = component.get(name)
        parts[name] = value if name == "text" else _read(_CLASSES[name], f"{path}[{index}].{name}", value)
    if not parts:
        raise UnreadableRecord(f"{path}: has no component")
    if len(parts) == 1 and not parts.keys() & {"text", "button"}:
        return next(iter(parts.values()))  # type: ignore[no-any-return]
    if alone := next((name for name in ("file", "list", "carousel") if name in parts), None):
        others = ", ".join(sorted(parts.keys() - {alone}))
        raise UnreadableRecord(f"{path}: a {alone} cannot be combined with {others}")
    return Text(**{"text": None, **parts})


def _read(cls: Any, path: str, wire: Any, in_card: bool = False) -> Any:
    """An object of a content class from its JSON form."""
    record = read_object(wire, path)
    values = []
    for name, _, _, part in _wire_fields(cls, in_card):
        value = record.get(name)
        if value is None:
            value = record.get(_OTHER_NAMES.get(name, name))
        if part is CarouselItem:
            items = enumerate(read_array(value, f"{path}.{name}"))
            value = [_read(part, f"{path}.{name}[{index}]", item) for index, item in items]
        elif part is Button and value is not None:
            value = _read(part, f"{path}.{name}", value, cls is CarouselItem)
        values.append(value)
    return cls(*values)


def read_object(value: Any, path: str = "record") -> Mapping[str, Any]:
    """A JSON object, or :class:`~viberkit.errors.UnreadableRecord`."""
    if not isinstance(value, Mapping):
        raise unreadable(path, value, "is not a JSON object")
    return value


def read_array(value: Any, path: str) -> Sequence[Any]:
    """A JSON array, or :class:`~viberkit.errors.UnreadableRecord`."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise unreadable(path, value, "is not a JSON array")
    return value


def unreadable(path: str, value: object, rule: str) -> UnreadableRecord:
    """The error for a value that cannot be read, quoted with phone numbers masked."""
    return UnreadableRecord(f"{path}: {mask_numbers(quote(value))} {rule}")
