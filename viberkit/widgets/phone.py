"""A message as a phone shows it, without anything that is loaded from the internet."""

from __future__ import annotations

from html import escape
from typing import Any

from viberkit.models.content import Content, File, Image, Video

#: Paths of SVG images: fonts do not always have such symbols.
_SYMBOLS = {
    Image: "M3 5h18v14H3zM3 17l6-6 4 4 3-3 5 5M15.5 9h2",
    Video: "M3 5h18v14H3zM10 9l5 3-5 3z",
    File: "M6 3h8l4 4v14H6zM14 3v4h4M9 12h6M9 16h6",
}


def message_html(content: Content, *, to: str, sender: str) -> str:
    """Return a message as HTML: its parts in a bubble below its sender and recipient (masked)."""
    bubble = "".join(_parts(content))
    return (
        f'<div class="viberkit-phone"><div class="viberkit-sender">{escape(sender)} <span>to {escape(to)}</span></div>'
        f'<div class="viberkit-bubble">{bubble}</div></div>'
    )


def _parts(content: Any) -> list[str]:
    """The media, text, choices, cards and buttons of a content, each as HTML."""
    if isinstance(content, Image | Video | File):
        symbol = f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{_SYMBOLS[type(content)]}"/></svg>'
        name = content.filename if isinstance(content, File) else content.url
        return [f'<div class="viberkit-media">{symbol}{escape(name)}</div>']
    media = [getattr(content, name, None) for name in ("image", "video")]
    parts = [part for medium in media if medium for part in _parts(medium)]
    parts += [f'<div class="viberkit-text">{escape(content.text)}</div>'] if hasattr(content, "text") else []
    parts += [_button(option) for option in getattr(content, "options", ())]
    for card in getattr(content, "items", ()):
        buttons = [_button(button.caption) for button in (card.primary, card.secondary) if button]
        parts += [*_parts(Image(card.image_url)), f'<div class="viberkit-text">{escape(card.title)}</div>', *buttons]
    button = getattr(content, "button", None)
    return [*parts, _button(button.caption)] if button else parts


def _button(caption: str) -> str:
    return f'<div class="viberkit-action">{escape(caption)}</div>'
