"""viberkit: send Viber Business messages from a notebook, keep their trail, and see where the time went.

Everything is reached as ``import viberkit as vk``; names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Each public name and the module that holds it.
_HOME = {
    "Archive": "archive",
    "Button": "content",
    "Carousel": "content",
    "CarouselItem": "content",
    "Client": "client",
    "File": "content",
    "Image": "content",
    "List": "content",
    "Listener": "listener",
    "Sandbox": "sandbox",
    "Text": "content",
    "Video": "content",
    "collect": "collector",
    "delivery_curve": "survival",
    "journeys": "timing",
    "latency": "timing",
    "read_events": "reader",
    "time_to": "survival",
    "transitions": "timing",
}
_MODULES = ("charts", "errors", "widgets")

__all__ = [
    "Archive",
    "Button",
    "Carousel",
    "CarouselItem",
    "Client",
    "File",
    "Image",
    "List",
    "Listener",
    "Sandbox",
    "Text",
    "Video",
    "charts",
    "collect",
    "delivery_curve",
    "errors",
    "journeys",
    "latency",
    "read_events",
    "time_to",
    "transitions",
    "widgets",
]

if TYPE_CHECKING:
    from viberkit import charts, errors, widgets
    from viberkit.archive import Archive
    from viberkit.client import Client
    from viberkit.collector import collect
    from viberkit.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video
    from viberkit.listener import Listener
    from viberkit.reader import read_events
    from viberkit.sandbox import Sandbox
    from viberkit.survival import delivery_curve, time_to
    from viberkit.timing import journeys, latency, transitions


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        found: Any = importlib.import_module(f"{__name__}.{name}")
    elif name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"viberkit has no {name!r}; it has {', '.join(sorted(__all__))}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
