"""Charts read results by column name and attrs: column order, one or two group columns, and the time zone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from chart_data import (
    by_group,
    changes,
    comparison,
    curve,
    events,
    explanation,
    fallback,
    journeys,
    latency,
    over_time,
    profile,
    slo,
    text_of,
    ticks,
    transitions,
)
from matplotlib.axes import Axes

from viberkit import charts

TWO = ("rate_type", "team")
RESULTS: dict[str, tuple[Callable[[pd.DataFrame], Axes], pd.DataFrame]] = {
    "latency": (charts.latency, transitions(600)),
    "ecdf": (charts.ecdf, transitions(600)),
    "flow": (charts.flow, transitions(600)),
    "timeline": (charts.timeline, events([("accepted", 0.0), ("delivered", 2.0)])),
    "funnel": (charts.funnel, journeys(100)),
    "time_share": (charts.time_share, latency(600)),
    "time_share by": (charts.time_share, latency(600, by=["rate_type"])),
    "time_share by two": (charts.time_share, latency(600, by=TWO)),
    "quantiles": (charts.quantiles, latency(600)),
    "quantiles by": (charts.quantiles, latency(600, by=["rate_type"])),
    "quantiles by two": (charts.quantiles, latency(600, by=TWO)),
    "curve": (charts.curve, curve(100)),
    "curve by": (charts.curve, curve(100, 3)),
    "curve by two": (charts.curve, curve(100, 3, by=TWO)),
    "compare": (charts.compare, comparison(100)),
    "explain": (charts.explain, explanation(30)),
    "fallback": (charts.fallback, fallback()),
    "fallback by": (charts.fallback, fallback(groups=2)),
    "fallback by two": (charts.fallback, fallback(groups=2, by=TWO)),
    "over_time": (charts.over_time, over_time(30)),
    "over_time by": (charts.over_time, by_group(over_time, 30)),
    "over_time by two": (charts.over_time, by_group(over_time, 30, by=TWO)),
    "over_time changes": (lambda frame: charts.over_time(over_time(30), changes=frame), changes()),
    "slo": (charts.slo, slo(30)),
    "slo by": (charts.slo, by_group(slo, 30)),
    "slo by two": (charts.slo, by_group(slo, 30, by=TWO)),
    "profile": (charts.profile, profile(50)),
    "profile by": (charts.profile, by_group(profile, 50)),
    "profile by two": (charts.profile, by_group(profile, 50, by=TWO)),
}


def pixels(ax: Axes) -> np.ndarray:
    ax.figure.canvas.draw()
    return np.array(ax.figure.canvas.buffer_rgba())


@pytest.mark.parametrize("case", RESULTS)
def test_the_order_of_columns_does_not_matter(case: str) -> None:
    draw, frame = RESULTS[case]
    expected = pixels(draw(frame))
    shuffled = frame[list(frame.columns)[::-1]]
    assert shuffled.attrs == frame.attrs
    assert np.array_equal(pixels(draw(shuffled)), expected)


@pytest.mark.parametrize("case", [case for case in RESULTS if case.endswith(("by", "two"))])
def test_each_group_is_drawn_with_its_name(case: str) -> None:
    draw, frame = RESULTS[case]
    groups = frame[frame.attrs["by"]].drop_duplicates()
    text = text_of(draw(frame))
    for group in groups.itertuples(index=False):
        if all(len(str(value)) < 20 for value in group):
            assert " · ".join(map(str, group)) in text


@pytest.mark.parametrize("name", ["over_time", "slo", "profile"])
def test_the_time_zone_of_the_result_is_named(name: str) -> None:
    draw, frame = RESULTS[name]
    frame = frame.copy()
    frame.attrs = frame.attrs | {"tz": "Asia/Kolkata"}
    assert "Asia/Kolkata" in draw(frame).get_xlabel()
    del frame.attrs["tz"]
    with pytest.raises(ValueError, match=rf"charts\.{name}: attrs has no 'tz'; pass the result of vk\.{name}"):
        draw(frame)


def test_windows_of_local_days_are_on_their_weekdays() -> None:
    frame = slo(2).assign(window_at=lambda t: t["window_at"] - pd.Timedelta("1h"))  # midnight in Berlin
    frame.attrs = slo(2).attrs | {"tz": "Europe/Berlin"}
    ax = charts.slo(frame)
    rows = {text.get_text(): text.get_position()[1] for text in ax.texts}
    cells = [text.get_position()[1] for text in ax.texts if text.get_text().endswith(" %") and len(text.get_text()) < 9]
    assert "2 Mar" in rows
    assert [min(abs(y - rows[day]) for y in cells) < 0.02 for day in ("Sun", "Mon", "Tue", "Wed")] == [
        False,
        True,
        True,
        False,
    ]


def test_dates_are_local() -> None:
    frame = over_time(30)
    frame.attrs = frame.attrs | {"tz": "Asia/Kolkata"}
    ax = charts.over_time(frame, changes=changes())
    assert "2 Mar 19:30" in text_of(ax).split("\n")
    assert {"3 Mar", "12:00"} <= set(ticks(ax))
