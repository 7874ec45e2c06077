"""What can be sent, and its form on the wire.

Every kind of content is an immutable object. Making one checks nothing but its keywords, so that a form
can hold half-typed content; what breaks a rule is told by :mod:`viberkit.models.validation` before anything is sent.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, TypeVar, dataclass_transform

from viberkit.errors import UnreadableRecord, quote

__all__ = [
    "Button",
    "Carousel",
    "CarouselItem",
    "Content",
    "File",
    "Image",
    "List",
    "Text",
    "Video",
    "from_wire",
    "kind",
    "to_wire",
]


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _content(cls: type[T]) -> type[T]:
    """A frozen dataclass whose unknown keywords are answered with advice."""
    made = dataclass(frozen=True)(cls)
    known = [field.name for field in fields(made)]  # type: ignore[arg-type]
    plain: Callable[..., None] = made.__init__

    @functools.wraps(plain)
    def __init__(self: Any, *args: Any, **words: Any) -> None:
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, 1, 0.4)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"{cls.__name__} has no {word!r}; {hint}it takes {', '.join(known)}")
        plain(self, *args, **words)

    made.__init__ = __init__  # type: ignore[method-assign]
    return made


@_content
class Button:
    """A button under a text: its caption and the page that it opens."""

    caption: str
    url: str


@_content
class Image:
    """A picture, fetched by Viber from a public URL."""

    url: str


@_content
class Video:
    """A video with its thumbnail; ``size_mb`` in megabytes (0–200), ``duration_s`` in seconds."""

    url: str
    thumbnail_url: str
    size_mb: float
    duration_s: float
    type: str | None = None


@_content
class File:
    """A document of at most 200 MB; without ``type`` the server guesses it from the URL."""

    url: str
    filename: str
    type: str | None = None


@_content
class Text:
    """A text of at most 3000 characters, alone or with a picture or a video and a button.

    A picture needs a button too. ``image`` may be given as its URL.

    >>> Text("Your parcel is here", button=Button("Track it", "https://example.org/t/1")).button.caption
    'Track it'
    >>> Text("Hi", colour="red")
    Traceback (most recent call last):
    TypeError: Text has no 'colour'; it takes text, image, video, button
    """

    text: str
    image: Image | None = None
    video: Video | None = None
    button: Button | None = None

    def __post_init__(self) -> None:
        if isinstance(self.image, str):
            object.__setattr__(self, "image", Image(self.image))


@_content
class List:
    """A question with two to five answers to choose from."""

    text: str
    options: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", _tuple(self.options))


@_content
class CarouselItem:
    """One card of a carousel: title, picture, and one or two buttons."""

    title: str
    image_url: str
    primary: Button
    secondary: Button | None = None


@_content
class Carousel:
    """A text above two to five cards."""

    text: str
    items: Sequence[CarouselItem]

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", _tuple(self.items))


#: Whatever a message can carry.
Content = Text | Image | File | Video | List | Carousel


def _tuple(given: Any) -> Any:
    return tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else given


def kind(content: Content) -> str:
    """Which column of the rate-type table a content falls in.

    >>> kind(Text("Hi", button=Button("Go", "https://example.org"), image=Image("https://example.org/a.png")))
    'text+button+image'
    """
    if not isinstance(content, Text):
        return type(content).__name__.lower()
    if content.video is not None:
        parts = ["video", "text", *(["button"] if content.button else []), *(["image"] if content.image else [])]
    else:
        parts = ["text", *(["button"] if content.button else []), *(["image"] if content.image else [])]
    return "+".join(parts)


def to_wire(content: Content) -> dict[str, Any]:
    """A content as the API takes it.

    >>> to_wire(Image("https://example.org/a.png"))
    {'contentType': 'image', 'image': {'url': 'https://example.org/a.png'}}
    """
    match content:
        case Text(image=None, video=None, button=None):
            return {"contentType": "text", "text": content.text}
        case Text():
            body: list[dict[str, Any]] = [{"type": "text", "text": content.text}]
            body += [_part(part) for part in (content.image, content.video, content.button) if part is not None]
            return {"contentType": "components", "components": {"body": body}}
        case List():
            return {"contentType": "list", "list": {"text": content.text, "options": list(content.options)}}
        case Carousel():
            items = [_item(item) for item in content.items]
            return {"contentType": "carousel", "carousel": {"text": content.text, "items": items}}
        case _:
            part = _part(content)
            return {"contentType": part.pop("type"), **part}


def _part(part: Image | File | Video | Button) -> dict[str, Any]:
    match part:
        case Image():
            return {"type": "image", "image": {"url": part.url}}
        case File():
            kept = {} if part.type is None else {"type": part.type}
            return {"type": "file", "file": {"url": part.url, "filename": part.filename, **kept}}
        case Button():
            return {"type": "button", "button": {"caption": part.caption, "url": part.url}}
        case Video():
            kept = {} if part.type is None else {"type": part.type}
            numbers = {"filesize": _whole(part.size_mb), "duration": _whole(part.duration_s)}
            return {"type": "video", "video": {"url": part.url, "thumbnailUrl": part.thumbnail_url, **numbers, **kept}}


def _item(item: CarouselItem) -> dict[str, Any]:
    wire: dict[str, Any] = {"title": item.title, "imageUrl": item.image_url}
    for name, button in (("primaryButton", item.primary), ("secondaryButton", item.secondary)):
        if button is not None:
            wire[name] = {"label": button.caption, "actionUrl": button.url}
    return wire


def _whole(number: float) -> float:
    """A number as JSON writes it shortest; NumPy's own integers become plain ones."""
    if isinstance(number, Real) and not isinstance(number, int):
        return int(number) if isinstance(number, Integral) or float(number).is_integer() else float(number)
    return number


def from_wire(wire: Any) -> Content:
    """The content of a request or a stored message, in any dialect; ``from_wire(to_wire(x)) == x``.

    Missing fields become None, so that :func:`viberkit.models.validation.violations` can name them. Raises
    :class:`~viberkit.errors.UnreadableRecord` where not even the kind can be told.

    >>> from_wire({"type": "text", "text": "Hello world!"})
    Text(text='Hello world!', image=None, video=None, button=None)
    """
    given = _mapping("content", wire)
    what = given.get("contentType") or given.get("type")
    match what:
        case "text":
            return Text(given.get("text"))  # type: ignore[arg-type]
        case "image" | "file" | "video":
            return _read_part(f"content.{what}", what, given.get(what))  # type: ignore[return-value]
        case "list":
            inner = _mapping("content.list", given.get("list"))
            return List(inner.get("text"), inner.get("options"))  # type: ignore[arg-type]
        case "carousel":
            inner = _mapping("content.carousel", given.get("carousel"))
            items = _sequence("content.carousel.items", inner.get("items"))
            return Carousel(inner.get("text"), [_read_item(place, item) for place, item in enumerate(items)])  # type: ignore[arg-type]
        case "components":
            parts = given.get("components")
            return _read_body(parts.get("body") if isinstance(parts, Mapping) else parts)
        case None | "":
            raise UnreadableRecord("content.contentType: must not be empty")
    raise UnreadableRecord(f"content.contentType: {quote(what)} is not a kind of content that Viber knows")


def _read_body(body: Any) -> Content:
    where = "content.components.body"
    parts: dict[str, Any] = {}
    for place, each in enumerate(_sequence(where, body)):
        part = _mapping(f"{where}[{place}]", each)
        what = part.get("type") or part.get("contentType")
        if what not in ("text", "image", "video", "file", "button"):
            raise UnreadableRecord(f"{where}[{place}].type: {quote(what)} is not a component that Viber knows")
        if what in parts:
            raise UnreadableRecord(f"{where}[{place}].type: {what!r} stands there twice; a message has one of each")
        inner = part.get(what)
        parts[what] = inner if what == "text" else _read_part(f"{where}[{place}].{what}", what, inner)
    if not parts:
        raise UnreadableRecord(f"{where}: holds no component")
    if len(parts) == 1 and (alone := next(iter(parts))) in ("image", "video", "file"):
        return parts[alone]  # type: ignore[no-any-return]
    if "file" in parts:
        raise UnreadableRecord(f"{where}: a file goes alone, not beside {', '.join(sorted(set(parts) - {'file'}))}")
    return Text(parts.get("text"), image=parts.get("image"), video=parts.get("video"), button=parts.get("button"))  # type: ignore[arg-type]


def _read_part(where: str, what: str, wire: Any) -> Image | File | Video | Button:
    inner = _mapping(where, wire)
    get: Callable[..., Any] = inner.get
    match what:
        case "image":
            return Image(get("url"))
        case "file":
            return File(get("url"), get("filename"), get("type"))
        case "button":
            return Button(get("caption"), get("url", get("callback")))
    return Video(get("url"), get("thumbnailUrl"), get("filesize"), get("duration"), get("type"))


def _read_item(place: int, wire: Any) -> CarouselItem:
    where = f"content.carousel.items[{place}]"
    item = _mapping(where, wire)
    buttons: list[Any] = []
    for name in ("primaryButton", "secondaryButton"):
        button = item.get(name)
        if button is not None:
            told = _mapping(f"{where}.{name}", button)
            button = Button(told.get("label"), told.get("actionUrl"))  # type: ignore[arg-type]
        buttons.append(button)
    return CarouselItem(item.get("title"), item.get("imageUrl"), *buttons)  # type: ignore[arg-type]


def _mapping(where: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UnreadableRecord(f"{where}: {quote(given)} is not a JSON object")
    return given


def _sequence(where: str, given: Any) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UnreadableRecord(f"{where}: {quote(given)} is not a JSON array")
    return given
