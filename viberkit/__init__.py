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
    "changes": "shifts",
    "collect": "collector",
    "compare": "comparison",
    "delivery_curve": "survival",
    "fallback": "fallbacks",
    "journeys": "timing",
    "latency": "latencies",
    "over_time": "drift",
    "profile": "drift",
    "quality": "checks",
    "read_events": "reader",
    "slo": "drift",
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
    "changes",
    "charts",
    "collect",
    "compare",
    "delivery_curve",
    "errors",
    "fallback",
    "journeys",
    "latency",
    "over_time",
    "profile",
    "quality",
    "read_events",
    "slo",
    "time_to",
    "transitions",
    "widgets",
]

if TYPE_CHECKING:
    from viberkit import charts, errors, widgets
    from viberkit.archive import Archive
    from viberkit.checks import quality
    from viberkit.client import Client
    from viberkit.collector import collect
    from viberkit.comparison import compare
    from viberkit.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video
    from viberkit.drift import over_time, profile, slo
    from viberkit.fallbacks import fallback
    from viberkit.latencies import latency
    from viberkit.listener import Listener
    from viberkit.reader import read_events
    from viberkit.sandbox import Sandbox
    from viberkit.shifts import changes
    from viberkit.survival import delivery_curve, time_to
    from viberkit.timing import journeys, transitions


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
