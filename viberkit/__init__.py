"""viberkit: send Viber Business messages from a notebook, keep their trail, and see where the time went.

Everything is reached as ``import viberkit as vk``; names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Each public name and the module that holds it.
_HOME = {
    "Archive": "archive.archive",
    "Button": "models.content",
    "Campaign": "campaigns.campaign",
    "Carousel": "models.content",
    "CarouselItem": "models.content",
    "Client": "api.client",
    "File": "models.content",
    "Image": "models.content",
    "List": "models.content",
    "Listener": "callbacks.listener",
    "Sandbox": "sandbox.sandbox",
    "Text": "models.content",
    "Video": "models.content",
    "changes": "analysis.change_points",
    "collect": "campaigns.collector",
    "compare": "analysis.comparison",
    "delivery_curve": "analysis.curves",
    "fallback": "analysis.fallback",
    "journeys": "analysis.journeys",
    "latency": "analysis.latency",
    "over_time": "analysis.windows",
    "profile": "analysis.windows",
    "quality": "analysis.quality",
    "read_events": "frames.reader",
    "slo": "analysis.windows",
    "time_to": "analysis.curves",
    "transitions": "analysis.journeys",
}
_MODULES = ("charts", "errors", "widgets")

__all__ = [
    "Archive",
    "Button",
    "Campaign",
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
    from viberkit.analysis.change_points import changes
    from viberkit.analysis.comparison import compare
    from viberkit.analysis.curves import delivery_curve, time_to
    from viberkit.analysis.fallback import fallback
    from viberkit.analysis.journeys import journeys, transitions
    from viberkit.analysis.latency import latency
    from viberkit.analysis.quality import quality
    from viberkit.analysis.windows import over_time, profile, slo
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive
    from viberkit.callbacks.listener import Listener
    from viberkit.campaigns.campaign import Campaign
    from viberkit.campaigns.collector import collect
    from viberkit.frames.reader import read_events
    from viberkit.models.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video
    from viberkit.sandbox.sandbox import Sandbox


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
