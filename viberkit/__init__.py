"""viberkit: send Viber Business messages from a notebook, store what the API reports, and measure delivery times.

Import it as ``import viberkit as vk``. The public names are loaded when they are first used, so that importing viberkit
takes no time. Nothing deeper in the package is a stable interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules={"charts", "errors", "widgets"},
    submod_attrs={
        "analysis.change_points": ["changes"],
        "analysis.clock_offsets": ["clocks", "correct_clocks"],
        "analysis.comparison": ["MixShiftWarning", "UnequalFollowUpWarning", "compare"],
        "analysis.curves": ["delivery_curve", "time_to"],
        "analysis.cost": ["cost"],
        "analysis.durations": ["DroppedMessagesWarning", "IntervalTimesWarning"],
        "analysis.explain": ["explain"],
        "analysis.failure_codes": ["advise"],
        "analysis.fallback": ["fallback", "replay"],
        "analysis.journeys": ["ImplausibleTimesWarning", "journeys", "transitions"],
        "analysis.latency": ["latency"],
        "analysis.quality": ["quality"],
        "analysis.windows": ["burn_rate", "over_time", "profile", "slo"],
        "api.client": ["Client"],
        "archive.archive": ["Archive"],
        "callbacks.listener": ["Listener"],
        "campaigns.campaign": ["Campaign"],
        "campaigns.collector": ["collect"],
        "frames.reader": ["SkippedRowsWarning", "UncertainTimesWarning", "UnknownStatesWarning", "read_events"],
        "lake.event_log": ["EventLog"],
        "lake.parquet": ["export"],
        "models.content": ["Button", "Carousel", "CarouselItem", "File", "Image", "List", "Text", "Video"],
        "reporting.digest": ["digest"],
        "reporting.document": ["report"],
        "sandbox.sandbox": ["Sandbox"],
    },
)

if TYPE_CHECKING:  # the same names, for type checkers and completion
    from viberkit import charts as charts, errors as errors, widgets as widgets
    from viberkit.analysis.change_points import changes as changes
    from viberkit.analysis.clock_offsets import clocks as clocks, correct_clocks as correct_clocks
    from viberkit.analysis.comparison import (
        MixShiftWarning as MixShiftWarning,
        UnequalFollowUpWarning as UnequalFollowUpWarning,
        compare as compare,
    )
    from viberkit.analysis.cost import cost as cost
    from viberkit.analysis.curves import delivery_curve as delivery_curve, time_to as time_to
    from viberkit.analysis.durations import (
        DroppedMessagesWarning as DroppedMessagesWarning,
        IntervalTimesWarning as IntervalTimesWarning,
    )
    from viberkit.analysis.explain import explain as explain
    from viberkit.analysis.failure_codes import advise as advise
    from viberkit.analysis.fallback import fallback as fallback, replay as replay
    from viberkit.analysis.journeys import (
        ImplausibleTimesWarning as ImplausibleTimesWarning,
        journeys as journeys,
        transitions as transitions,
    )
    from viberkit.analysis.latency import latency as latency
    from viberkit.analysis.quality import quality as quality
    from viberkit.analysis.windows import burn_rate as burn_rate, over_time as over_time, profile as profile, slo as slo
    from viberkit.api.client import Client as Client
    from viberkit.archive.archive import Archive as Archive
    from viberkit.callbacks.listener import Listener as Listener
    from viberkit.campaigns.campaign import Campaign as Campaign
    from viberkit.campaigns.collector import collect as collect
    from viberkit.frames.reader import (
        SkippedRowsWarning as SkippedRowsWarning,
        UncertainTimesWarning as UncertainTimesWarning,
        UnknownStatesWarning as UnknownStatesWarning,
        read_events as read_events,
    )
    from viberkit.lake.event_log import EventLog as EventLog
    from viberkit.lake.parquet import export as export
    from viberkit.models.content import (
        Button as Button,
        Carousel as Carousel,
        CarouselItem as CarouselItem,
        File as File,
        Image as Image,
        List as List,
        Text as Text,
        Video as Video,
    )
    from viberkit.reporting.digest import digest as digest
    from viberkit.reporting.document import report as report
    from viberkit.sandbox.sandbox import Sandbox as Sandbox
