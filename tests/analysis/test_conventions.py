"""The calling conventions of all public functions that take a frame: analysis functions and charts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import viberkit as vk

#: Keyword-only parameters stand in this order; those of one function only stand between their neighbours.
ORDER = """
out since until other by start end within waits target quantiles of burn_rates baseline names adjust shrink
max_changes every prices viber_price sms_price sms_within sms_curve advice viber_charged band simultaneous
observed_from columns states confidence cluster messages tz provider ids time_format journeys observed_until offsets
message_id changes counts compare title ax
""".split()
NOT_OF_FRAMES = {"collect", "export"}  # of an archive


def functions() -> dict[str, Callable[..., Any]]:
    analysis = {f"vk.{name}": getattr(vk, name) for name in vk.__all__ if name not in NOT_OF_FRAMES}
    charts = {f"vk.charts.{name}": getattr(vk.charts, name) for name in vk.charts.__all__}
    return {name: value for name, value in (analysis | charts).items() if inspect.isfunction(value)}


@pytest.mark.parametrize("name", sorted(functions()))
def test_the_frame_is_the_only_positional_argument(name: str) -> None:
    first, *others = inspect.signature(functions()[name]).parameters.values()
    assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert first.default is inspect.Parameter.empty
    assert {parameter.kind for parameter in others} <= {inspect.Parameter.KEYWORD_ONLY}
    names = [parameter.name for parameter in others]
    assert names == sorted(names, key=ORDER.index)


def test_every_function_is_checked() -> None:
    assert len(functions()) == 36
