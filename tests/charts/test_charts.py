"""Charts of transitions and events, and what holds for every chart: legible texts, text colours, unchanged inputs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from chart_data import (
    DELIVERED,
    LONG,
    by_country,
    by_group,
    changes,
    check_legible,
    comparison,
    crossing_transitions,
    curve,
    delivered,
    events,
    explanation,
    fallback,
    journeys,
    latency,
    over_time,
    over_time_of_few,
    over_time_with_gaps,
    profile,
    profile_of_few,
    slo,
    text_of,
    texts_of,
    ticks,
    time_to,
    transitions,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import _fetch_figure_metadata

from viberkit import charts
from viberkit.analysis.formatting import duration
from viberkit.analysis.journeys import transitions as find_transitions
from viberkit.charts._layout import spread
from viberkit.charts._style import DARK, GROUP_COLOURS, LIGHT, MIDTONE, STATE_COLOURS, luminance, state_colour
from viberkit.charts.heatmaps import _COLOURS
from viberkit.errors import MissingColumn
from viberkit.models.states import ORDER

SIZES = (1, 2, 50, 10_000)
COUNTS = (5, 30)
MANY = [f"{number} {LONG}" for number in range(9)]
ONE_DAY = latency(600)
BY_DAY = pd.concat([ONE_DAY.assign(day=f"2026-03-{day:02}") for day in range(1, 31)])
BY_DAY.attrs = {"by": ["day"]}

CASES: dict[str, Callable[[Axes | None], Axes]] = {
    **{f"latency {n}": lambda ax, n=n: charts.latency(transitions(n), ax=ax) for n in (1, 2, 7, 50, 200, 10_000)},
    "latency of zeros": lambda ax: charts.latency(transitions(500).assign(latency_s=0.0), ax=ax),
    "latency some zeros": lambda ax: charts.latency(
        transitions(500).assign(latency_s=lambda t: t["latency_s"] * (t.index % 3 > 0)), ax=ax
    ),
    "latency one zero": lambda ax: charts.latency(transitions(1).assign(latency_s=0.0), ax=ax),
    "latency equal": lambda ax: charts.latency(transitions(400).assign(latency_s=1.5), ax=ax),
    "timeline one": lambda ax: charts.timeline(events(DELIVERED), ax=ax),
    "timeline of one event": lambda ax: charts.timeline(events([("accepted", 0.0)]), ax=ax),
    "timeline all at once": lambda ax: charts.timeline(events([(state, 0.0) for state in ORDER]), ax=ax),
    "timeline crowded": lambda ax: charts.timeline(
        events([(state, k * 0.01) for k in range(6) for state in ORDER[:8]]), ax=ax
    ),
    "timeline six": lambda ax: charts.timeline(events(*[DELIVERED[: k + 1] for k in range(5)], DELIVERED), ax=ax),
    "timeline many": lambda ax: charts.timeline(events(*[DELIVERED] * 30), ax=ax),
    "timeline strange": lambda ax: charts.timeline(
        events([("accepted", 0), (LONG, 1), (LONG, 2)], names=["id " * 80]), ax=ax
    ),
    **{f"time_share {n}": lambda ax, n=n: charts.time_share(latency(n), ax=ax) for n in SIZES},
    "time_share by": lambda ax: charts.time_share(latency(10_000, by=["rate_type"]), ax=ax),
    "time_share by two": lambda ax: charts.time_share(latency(10_000, by=["rate_type", "team"]), ax=ax),
    "time_share many": lambda ax: charts.time_share(BY_DAY, ax=ax),
    **{f"curve {n}": lambda ax, n=n: charts.curve(curve(n), ax=ax) for n in SIZES},
    **{f"curve observed {t}": lambda ax, t=t: charts.curve(curve(50, 0, t), ax=ax) for t in ("0s", "1s", "20s")},
    **{f"curve by {n}": lambda ax, n=n: charts.curve(curve(n, 3), ax=ax) for n in SIZES},
    "curve by two": lambda ax: charts.curve(curve(500, 3, by=("rate_type", "team")), ax=ax),
    "curve by twelve": lambda ax: charts.curve(curve(2_000, 12), ax=ax),
    **{f"ecdf {n}": lambda ax, n=n: charts.ecdf(transitions(n), ax=ax) for n in SIZES},
    "ecdf zeros": lambda ax: charts.ecdf(transitions(50).assign(latency_s=0.0), ax=ax),
    "ecdf equal": lambda ax: charts.ecdf(transitions(60).assign(latency_s=1.5), ax=ax),
    **{f"curve by {n} groups": lambda ax, n=n: charts.curve(curve(2_000, n), by="rate_type", ax=ax) for n in (4, 12)},
    "curve by one of two": lambda ax: charts.curve(curve(500, 3, by=("rate_type", "team")), by="rate_type", ax=ax),
    **{
        f"ecdf by {n}": lambda ax, n=n: charts.ecdf(by_country(transitions(999), n), by="country", ax=ax)
        for n in (5, 13)
    },
    "ecdf of one by 4": lambda ax: charts.ecdf(by_country(delivered(99), 4), by="country", ax=ax),
    "ecdf of one by 6": lambda ax: charts.ecdf(by_country(delivered(999), 6), by="country", ax=ax),
    **{
        f"latency by {n}": lambda ax, n=n: charts.latency(by_country(transitions(999), n), by="country", ax=ax)
        for n in COUNTS
    },
    **{
        f"funnel by {n}": lambda ax, n=n: charts.funnel(by_country(journeys(999), n), by="country", ax=ax)
        for n in COUNTS
    },
    **{f"time_to {n}": lambda ax, n=n: charts.quantiles(time_to(n), ax=ax) for n in (1, 50)},
    **{f"time_to by {n}": lambda ax, n=n: charts.quantiles(time_to(50, n, quantiles=[0.95]), ax=ax) for n in COUNTS},
    "time_to unknown": lambda ax: charts.quantiles(
        time_to(50).assign(value_s=np.nan, low_s=np.nan, high_s=np.nan), ax=ax
    ),
    "over_time few": lambda ax: charts.over_time(over_time_of_few(300), ax=ax),
    "over_time few by": lambda ax: charts.over_time(by_group(over_time_of_few, 300), ax=ax),
    "over_time wide": lambda ax: charts.over_time(over_time(20).assign(low_s=0.1, high_s=np.inf), ax=ax),
    "profile few": lambda ax: charts.profile(profile_of_few(), quantiles=0.95, ax=ax),
    **{f"quantiles {n}": lambda ax, n=n: charts.quantiles(latency(n), ax=ax) for n in SIZES},
    "quantiles by": lambda ax: charts.quantiles(latency(500, by=["rate_type"]), ax=ax),
    "quantiles by two": lambda ax: charts.quantiles(latency(500, by=["rate_type", "team"]), ax=ax),
    **{f"compare {n}": lambda ax, n=n: charts.compare(comparison(n), ax=ax) for n in SIZES},
    "compare four": lambda ax: charts.compare(comparison(100, 4), ax=ax),
    "compare many": lambda ax: charts.compare(comparison(100, 11), ax=ax),
    "compare times": lambda ax: charts.compare(comparison(100).query("within_s.isna()"), ax=ax),
    "compare shares": lambda ax: charts.compare(comparison(100).query("quantile.isna()"), ax=ax),
    **{f"explain {n}": lambda ax, n=n: charts.explain(explanation(n), ax=ax) for n in (1, 2, 50, 200)},
    "explain quantile": lambda ax: charts.explain(explanation(9, "s"), ax=ax),
    **{f"fallback {n}": lambda ax, n=n: charts.fallback(fallback(n), ax=ax) for n in SIZES},
    "fallback one wait": lambda ax: charts.fallback(fallback().iloc[:1], ax=ax),
    "fallback first": lambda ax: charts.fallback(fallback().assign(chosen=lambda t: t["wait_s"] == 5), ax=ax),
    "fallback by": lambda ax: charts.fallback(fallback(groups=3), ax=ax),
    "fallback by two": lambda ax: charts.fallback(fallback(groups=3, by=("rate_type", "team")), ax=ax),
    **{f"over_time {n}": lambda ax, n=n: charts.over_time(over_time(n), ax=ax) for n in (1, 2, 50, 2_000)},
    **{
        f"over_time within {n}": lambda ax, n=n: charts.over_time(over_time(n), within=60, ax=ax)
        for n in (1, 2, 50, 2_000)
    },
    "over_time both shares": lambda ax: charts.over_time(over_time_with_gaps(), within=[5, 60], ax=ax),
    "over_time gaps": lambda ax: charts.over_time(over_time_with_gaps(), ax=ax),
    "over_time changes": lambda ax: charts.over_time(over_time(50), changes=changes(), ax=ax),
    "over_time many changes": lambda ax: charts.over_time(over_time(900), changes=changes(40), ax=ax),
    "over_time by": lambda ax: charts.over_time(by_group(over_time, 50), changes=changes(), ax=ax),
    "over_time by two": lambda ax: charts.over_time(by_group(over_time, 50, by=("rate_type", "team")), ax=ax),
    "over_time by many": lambda ax: charts.over_time(by_group(over_time, 20, MANY), ax=ax),
    "over_time equal": lambda ax: charts.over_time(
        over_time(9).assign(value_s=lambda t: t["value_s"].where(t["value_s"].isna(), 1.0)), ax=ax
    ),
    "over_time unknown": lambda ax: charts.over_time(over_time(3).assign(value_s=np.nan), ax=ax),
    "over_time not reached": lambda ax: charts.over_time(over_time(3).assign(value_s=np.inf), ax=ax),
    **{f"slo {n} days": lambda ax, n=n: charts.slo(slo(n), ax=ax) for n in (1, 2, 50, 2_000)},
    **{f"slo {n} hours": lambda ax, n=n: charts.slo(slo(n, every="1h"), ax=ax) for n in (1, 50, 2_000)},
    **{f"slo of {e}": lambda ax, e=e: charts.slo(slo(30, every=e), ax=ax) for e in ("5min", "6h", "7d")},
    "slo by": lambda ax: charts.slo(by_group(slo, 40), ax=ax),
    "slo by two": lambda ax: charts.slo(by_group(slo, 40, by=("rate_type", "team")), ax=ax),
    "slo by many": lambda ax: charts.slo(by_group(slo, 40, MANY), ax=ax),
    **{f"profile {n}": lambda ax, n=n: charts.profile(profile(n), ax=ax) for n in (1, 2, 50, 2_000)},
    "profile p50": lambda ax: charts.profile(profile(168), quantiles=0.5, ax=ax),
    "profile by": lambda ax: charts.profile(by_group(profile, 90), ax=ax),
    "profile by two": lambda ax: charts.profile(by_group(profile, 90, by=("rate_type", "team")), ax=ax),
    "profile by many": lambda ax: charts.profile(by_group(profile, 90, MANY), ax=ax),
    **{f"flow {n}": lambda ax, n=n: charts.flow(transitions(n), ax=ax) for n in (1, 2, 50, 100_000)},
    **{f"flow crossing {n}": lambda ax, n=n: charts.flow(crossing_transitions(n), ax=ax) for n in (1, 2, 50, 100_000)},
    **{f"funnel {n}": lambda ax, n=n: charts.funnel(journeys(n), ax=ax) for n in (1, 2, 50, 100_000)},
}


LARGE = ("latency 10000", "timeline many", "time_share by", "curve 50", "curve by 50", "ecdf 10000", "quantiles 50")
LARGE += (
    "compare 50",
    "explain 50",
    "fallback 50",
    "fallback by",
    "over_time changes",
    "over_time by",
    "over_time both shares",
)
LARGE += ("slo 50 days", "profile by", "flow crossing 100000", "funnel 100000", "curve by 4 groups", "time_to by 5")


@pytest.mark.parametrize("case", CASES)
def test_texts_neither_overlap_nor_leave_the_figure(case: str) -> None:
    ax = CASES[case](None)
    assert isinstance(ax, Axes)
    check_legible(ax)
    assert ax.figure.get_facecolor()[3] == 0
    width, height = ax.figure.get_size_inches()
    assert width == 7.5
    assert 0.8 < height < 15
    # Jupyter draws no background behind the chart, which would be white on a dark page or black on a light one.
    assert not _fetch_figure_metadata(ax.figure)
    if case in LARGE:
        check_contrast(ax, "#111111")
        cropped = ax.figure.get_tightbbox()  # what a notebook shows
        assert cropped.min.min() >= -0.02
        assert (cropped.max <= (width + 0.02, height + 0.02)).all()


@pytest.mark.parametrize(("background", "size"), [("white", (7.5, 4.0)), ("#111111", (4.5, 2.5))])
@pytest.mark.parametrize("case", LARGE)
def test_the_callers_axes_are_used_and_their_background_respected(
    case: str, background: str, size: tuple[float, float]
) -> None:
    figure = Figure(figsize=size, facecolor=background, layout="constrained")
    target = figure.subplots()
    target.set_facecolor(background)
    figure.draw_without_rendering()
    assert CASES[case](target) is target
    check_legible(target)
    assert tuple(figure.get_size_inches()) == size
    texts = [
        target.xaxis.label,
        *(text for ax in (target, *target.child_axes) for text in [*ax.texts, *ax.get_yticklabels()]),
    ]
    text_colours = {text.get_color() for text in texts} & {MIDTONE, DARK, LIGHT}
    assert text_colours == {DARK if background == "white" else LIGHT}


def check_contrast(ax: Axes, background: str) -> None:
    """Check that texts, lines and markers differ from the background, except for what is on a coloured area."""
    for part in (ax, *ax.child_axes):
        areas = [patch.get_window_extent() for patch in part.patches]
        for cells in part.collections:
            areas += [path.get_extents(cells.get_transform()) for path in cells.get_paths()]
        for text in [*texts_of(part), *(label for label in part.get_yticklabels() if label.get_text())]:
            x, y = text.get_window_extent().get_points().mean(axis=0)
            if not any(area.contains(x, y) for area in areas):
                assert contrast_ratio(text.get_color(), 1, background) >= 3, text.get_text()
        for line in part.lines:
            colour = line.get_markerfacecolor() if line.get_linestyle() == "None" else line.get_color()
            colour = line.get_color() if mpl.colors.to_rgba(colour)[3] == 0 else colour
            if line.get_marker() != "x":
                assert contrast_ratio(colour, line.get_alpha(), background) >= 3, line
        for bar in part.patches:
            if bar.get_alpha() is None:
                assert contrast_ratio(bar.get_facecolor(), None, background) >= 3, bar


def contrast_ratio(colour: Any, alpha: float | None, background: str) -> float:
    """The contrast of a colour on a background from 1 to 21 (WCAG 2)."""
    share = mpl.colors.to_rgba(colour)[3] if alpha is None else alpha
    mixed = share * np.array(mpl.colors.to_rgb(colour)) + (1 - share) * np.array(mpl.colors.to_rgb(background))
    dark, light = sorted((luminance(tuple(mixed)), luminance(background)))
    return (light + 0.05) / (dark + 0.05)


def test_every_colour_differs_from_a_dark_page() -> None:
    cells = _COLOURS(np.linspace(0, 1, 9)).tolist()
    for colour in (*STATE_COLOURS.values(), *GROUP_COLOURS, MIDTONE, LIGHT, *cells):
        assert contrast_ratio(colour, 1, "#111111") >= 3, colour


#: A result for each chart.
FRAMES = {
    "compare": comparison(50),
    "curve": curve(50),
    "ecdf": transitions(50),
    "explain": explanation(12),
    "fallback": fallback(),
    "flow": transitions(50),
    "funnel": journeys(50),
    "latency": transitions(50),
    "over_time": over_time(50),
    "profile": profile(50),
    "quantiles": latency(50),
    "slo": slo(50),
    "time_share": latency(50),
    "timeline": events(DELIVERED),
}


@pytest.mark.parametrize("name", charts.__all__)
def test_every_chart_is_legible_in_the_dark_with_a_title_above_it(name: str) -> None:
    title = "A title of $5 and more than one line, " * 5
    with mpl.style.context("dark_background"):
        ax = getattr(charts, name)(FRAMES[name], title=title)
    check_legible(ax)
    assert mpl.colors.to_hex(ax.figure.get_facecolor(), keep_alpha=True) == "#000000ff"
    assert ax.xaxis.label.get_color() == LIGHT
    check_contrast(ax, "#000000")
    assert " ".join(ax.get_title(loc="left").split()) == title.strip()
    assert ax.figure.get_tightbbox().y1 <= ax.figure.get_size_inches()[1] + 0.02


def test_sentences_of_a_result_are_shown_below_the_chart() -> None:
    note = "12 % of the deliveries are known only as an interval, because a poll or a later state revealed them."
    for name in ("curve", "over_time", "quantiles", "slo"):
        frame = FRAMES[name].copy()
        frame.attrs |= {"interval_share": 0.12, "interval_note": note}
        ax = getattr(charts, name)(frame)
        assert note in ax.get_xlabel().replace("\n", " ")
        check_legible(ax)
        frame.attrs["interval_share"] = 0.0
        assert note not in getattr(charts, name)(frame).get_xlabel().replace("\n", " ")


def test_a_long_state_name_is_elided_in_the_middle() -> None:
    frame = pd.DataFrame({"from_state": LONG, "to_state": LONG[::-1], "latency_s": [0.1, 2.0, 3.0]})
    ax = charts.latency(frame)
    check_legible(ax)
    assert "…" in ax.texts[0].get_text()
    assert ax.texts[0].get_text().startswith("message-tele")


def test_names_are_drawn_as_they_are_in_one_line() -> None:
    name = "$\\frac{1$ or\n$6"
    two = {"rate_type": [name, "b"]}
    frame = pd.DataFrame({"from_state": name, "to_state": f"{name}!", "latency_s": [0.1, 2.0, 3.0]})
    for ax in (
        *(draw(frame) for draw in (charts.latency, charts.ecdf, charts.flow)),
        charts.timeline(events([(name, 0.0), ("delivered", 2.0)], names=[name])),
        charts.curve(by_group_names(curve(50, 2), two)),
        charts.over_time(by_group(over_time, 20, two["rate_type"])),
        charts.slo(by_group(slo, 20, two["rate_type"])),
        charts.profile(by_group(profile, 20, two["rate_type"])),
        charts.compare(comparison(50).assign(group=[name, name, "b", "b", *[name, name, "b", "b"]], baseline=name)),
        charts.fallback(by_group_names(fallback(groups=2), two)),
        charts.quantiles(by_group_names(latency(60, by=["rate_type"]), two)),
        charts.time_share(by_group_names(latency(60, by=["rate_type"]), two)),
        charts.funnel(journeys(100).assign(outcome="failed", code=name, delivered_at=pd.NaT, seen_at=pd.NaT)),
    ):
        check_legible(ax, inside=False)
        assert " ".join(name.split()) in text_of(ax)


def by_group_names(frame: pd.DataFrame, names: dict[str, list[str]]) -> pd.DataFrame:
    """Rename the groups of a result."""
    for column, values in names.items():
        renamed = dict(zip(frame[column].unique(), values, strict=True))
        frame = frame.assign(**{column: frame[column].map(renamed)})
    return frame


def test_latency_lists_transitions_in_order_with_count_and_median() -> None:
    frame = transitions(60_000)
    ax = charts.latency(frame.sample(frac=1, random_state=1))
    texts = [text.get_text() for text in ax.texts]
    assert texts[0::2] == [
        "accepted → routed",
        "routed → dispatched",
        "dispatched → channel_failed",
        "dispatched → delivered",
        "channel_failed → failed",
        "delivered → seen",
    ]
    median = frame.loc[frame["to_state"] == "seen", "latency_s"].median()
    assert texts[-1].startswith(f"n 10,000 · median {duration(median)} · p95 ")
    assert ax.get_xscale() == "log"
    assert "log scale" in ax.get_xlabel()
    assert {"100 ms", "1 s", "1 min", "1 h"} <= set(ticks(ax))


def test_zeros_are_in_a_strip_at_the_left() -> None:
    frame = transitions(4).assign(latency_s=[0.0, 0.001, 0.1, 5.0])
    ax = charts.latency(frame)
    assert ticks(ax)[0] == "≤ 1 ms"
    zero_x = ax.get_xticks()[0]
    dots = [x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert dots == [zero_x, zero_x, 0.1, 5.0]
    assert ax.get_xlim()[0] < zero_x < 0.1


def test_many_equal_latencies_are_visible() -> None:
    ax = charts.latency(transitions(400).assign(latency_s=1.5))
    drawn = [np.isfinite(line.get_ydata()).sum() for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(drawn) == 6
    assert min(drawn) >= 5


def test_negative_latencies_are_counted_and_not_drawn() -> None:
    ax = charts.latency(transitions(60).assign(latency_s=lambda t: t["latency_s"].where(t.index > 2, -1.0)))
    assert "below zero, not drawn: 3" in ax.get_xlabel()
    assert "below zero, not drawn: 9" in text_of(charts.latency(transitions(9).assign(latency_s=-1.0)))


def test_transitions_beyond_twenty_are_counted() -> None:
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k:02}" for k in range(30)], "latency_s": 1.0})
    ax = charts.latency(frame)
    assert "less frequent transitions not drawn: 10" in ax.get_xlabel()
    check_legible(ax)


@pytest.mark.slow
def test_a_million_latencies_take_less_than_a_second() -> None:
    frame = transitions(1_200_000)
    started = time.process_time()
    ax = charts.latency(frame)
    ax.figure.savefig(BytesIO(), format="png")
    assert time.process_time() - started < 1.0
    assert "n 200,000" in text_of(ax)


def test_timeline_labels_each_event_with_its_state_and_the_gap() -> None:
    ax = charts.timeline(events(DELIVERED))
    text = text_of(ax)
    for expected in ("accepted", "09:00:00.000", "routed", "+40 ms", "+150 ms", "delivered", "+4 min", "seen", "+1 h"):
        assert expected in text.split("\n"), expected
    assert "2026-03-01 09:00:00 UTC · 1.1 h in total" in text
    assert "time since the message's first event" in ax.get_xlabel()
    assert ticks(ax)[0] == "start"


def test_timeline_orders_events_of_one_instant_by_life_cycle() -> None:
    ax = charts.timeline(events([("delivered", 1.0), ("dispatched", 1.0), ("accepted", 0.0)]))
    names = [text.get_text().split("\n")[0] for text in ax.texts]
    assert [name for name in names if name in ORDER] == ["accepted", "dispatched", "delivered"]


def test_timeline_draws_the_first_twenty_messages_and_counts_the_others() -> None:
    ax = charts.timeline(events(*[DELIVERED] * 1_234))
    assert "first 20 of 1,234 messages" in ax.get_xlabel()
    assert {"accepted", "routed", "seen"} <= set(text_of(ax).split("\n"))
    assert sum(text.get_text().startswith("3f2504e0-") for text in ax.texts) == 20


def test_timeline_of_chosen_messages() -> None:
    frame = events(DELIVERED, DELIVERED[:2], DELIVERED, names=["one", "two", "three"])
    assert charts.timeline(frame, message_id="two").texts[0].get_text() == "two"
    ax = charts.timeline(frame, message_id=["three", "one"])
    assert [t.get_text() for t in ax.texts if t.get_text() in ("one", "two", "three")] == ["three", "one"]
    with pytest.raises(ValueError, match=r"message_id: 'four' is not in the events; pass one of"):
        charts.timeline(frame, message_id=["one", "four"])


def test_time_share_names_each_transition_with_its_percentage() -> None:
    ax = charts.time_share(latency(10_000))
    text = text_of(ax)
    assert "delivered → seen  " in text
    assert "less than 1 % each: accepted → routed (< 0.1 %), " in ax.get_xlabel().replace("\n", " ")
    assert "share of all the time" in ax.get_xlabel()
    assert ticks(ax) == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_time_share_has_a_bar_per_group() -> None:
    ax = charts.time_share(latency(10_000, by=["team"]))
    assert {"north", "south"} <= {text.get_text() for text in ax.texts}
    assert len({round(bar.get_y(), 6) for bar in ax.patches}) == 2
    for y in {bar.get_y() for bar in ax.patches}:
        assert sum(bar.get_width() for bar in ax.patches if bar.get_y() == y) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("draw", "frame", "text"),
    [
        (charts.latency, transitions(3).iloc[:0], "no transitions"),
        (charts.latency, transitions(3).assign(latency_s=np.nan), "no transitions"),
        (charts.latency, transitions(2).assign(latency_s=-1.0), "no transitions (below zero, not drawn: 2)"),
        (charts.timeline, events(DELIVERED).iloc[:0], "no events"),
        (charts.time_share, latency(6).iloc[:0], "no transitions"),
        (charts.time_share, latency(6).assign(time_share=0.0), "no transitions"),
        (charts.time_share, pd.DataFrame(columns=["from_state", "to_state", "time_share"]), "no transitions"),
        (charts.curve, curve(5).iloc[:0], "no messages"),
        (charts.ecdf, transitions(5).iloc[:0], "no transitions"),
        (charts.quantiles, latency(6).iloc[:0], "no transitions"),
        (charts.quantiles, latency(6).iloc[-1:], "no transitions"),
        (charts.compare, comparison(5).iloc[:0], "nothing to compare"),
        (charts.explain, explanation(5).iloc[:0], "nothing to explain"),
        (charts.fallback, fallback().iloc[:0], "no wait with a known cost"),
        (charts.fallback, fallback().assign(cost=np.nan), "no wait with a known cost"),
        (charts.over_time, over_time(2).iloc[:0], "no windows"),
        (charts.slo, slo(2).iloc[:0], "no windows"),
        (charts.profile, profile(2).iloc[:0], "no hours"),
        (charts.flow, transitions(2).iloc[:0], "no transitions"),
        (charts.flow, transitions(2).assign(latency_s=-1.0), "no transitions (below zero, not drawn: 2)"),
        (charts.funnel, journeys(2).iloc[:0], "no messages"),
        *(
            (getattr(charts, name), pd.DataFrame(), text)
            for name, text in (
                ("latency", "no transitions"),
                ("timeline", "no events"),
                ("time_share", "no transitions"),
                ("curve", "no messages"),
                ("ecdf", "no transitions"),
                ("quantiles", "no transitions"),
                ("compare", "nothing to compare"),
                ("explain", "nothing to explain"),
                ("fallback", "no wait with a known cost"),
                ("over_time", "no windows"),
                ("slo", "no windows"),
                ("profile", "no hours"),
                ("flow", "no transitions"),
                ("funnel", "no messages"),
            )
        ),
    ],
)
def test_an_empty_frame_is_described(draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame, text: str) -> None:
    ax = draw(frame)
    assert [text.get_text() for text in ax.texts] == [text]
    assert ticks(ax) == []
    check_legible(ax)


@pytest.mark.parametrize(
    ("draw", "frame", "message"),
    [
        (charts.latency, transitions(3).drop(columns="latency_s"), r"latency.*vk\.transitions\(events\).*'latency_s'"),
        (charts.timeline, transitions(3), r"timeline.*'state', 'happened_at'"),
        (charts.time_share, transitions(3), r"time_share.*vk\.latency\(events\).*'time_share'"),
        (charts.curve, transitions(3), r"curve.*vk\.delivery_curve\(journeys\).*'time_s'"),
        (charts.curve, curve(5).drop(columns="delivered_low"), r"curve.*'delivered_low'"),
        (charts.curve, curve(5, 2).drop(columns="rate_type"), r"curve.*'rate_type'"),
        (charts.slo, by_group(slo, 3).drop(columns="rate_type"), r"slo.*'rate_type'"),
        (charts.ecdf, journeys(2), r"ecdf.*vk\.transitions\(events\).*'latency_s'"),
        (charts.quantiles, journeys(2), r"quantiles.*vk\.latency\(events\).*'from_state'"),
        (charts.quantiles, latency(6).drop(columns="high_s"), r"quantiles.*'high_s'"),
        (charts.compare, journeys(2), r"compare.*vk\.compare\(journeys, by=…\).*'group'"),
        (charts.explain, journeys(2), r"explain.*vk\.explain\(journeys, other=…\).*'effect'"),
        (charts.fallback, journeys(2), r"fallback.*vk\.fallback\(journeys.*'wait_s'"),
        (charts.fallback, fallback().drop(columns="reach_s"), r"fallback.*'reach_s'"),
        (charts.over_time, profile(3), r"over_time.*vk\.over_time\(journeys\).*'window_at'"),
        (charts.slo, over_time(3), r"slo.*vk\.slo\(journeys\).*'verdict'"),
        (charts.profile, over_time(3), r"profile.*vk\.profile\(journeys\).*'weekday'"),
        (charts.flow, transitions(3).drop(columns="latency_s"), r"flow.*vk\.transitions\(events\).*'latency_s'"),
        (charts.funnel, journeys(2).drop(columns="outcome"), r"funnel.*vk\.journeys\(events\).*'outcome'"),
    ],
)
def test_a_missing_column_is_named_with_the_function_to_call(
    draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame, message: str
) -> None:
    with pytest.raises(MissingColumn, match=message):
        draw(frame)


def test_a_value_that_is_no_frame_is_rejected() -> None:
    with pytest.raises(TypeError, match=r"latency.*expected a DataFrame, not list"):
        charts.latency([1.0])  # type: ignore[arg-type]


def test_transitions_of_a_log_can_be_drawn() -> None:
    frame = events(*[DELIVERED] * 40).assign(channel="viber", source="history")
    assert "n 40 · median 150 ms" in text_of(charts.latency(find_transitions(frame)))


@pytest.mark.parametrize(
    ("draw", "frame"),
    [
        (charts.latency, transitions(99)),
        (charts.timeline, events(DELIVERED)),
        (charts.time_share, latency(60)),
        (charts.curve, curve(50)),
        (charts.curve, curve(50, 3)),
        (charts.ecdf, transitions(50)),
        (charts.quantiles, latency(50)),
        (charts.compare, comparison(50)),
        (charts.explain, explanation(50)),
        (charts.fallback, fallback(groups=2).sample(frac=1, random_state=1)),
        (charts.over_time, over_time_with_gaps()),
        (lambda frame: charts.over_time(over_time(9), changes=frame), changes()),
        (charts.over_time, by_group(over_time, 9).sample(frac=1, random_state=1)),
        (charts.slo, slo(9).sample(frac=1, random_state=1)),
        (charts.profile, profile(99)),
        (charts.flow, crossing_transitions(99)),
        (charts.funnel, journeys(50)),
    ],
)
def test_inputs_are_not_changed(draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame) -> None:
    before = frame.copy(deep=True)
    draw(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


def test_svg_files_are_reproducible() -> None:
    def svg(draw: Callable[[Axes | None], Axes]) -> bytes:
        out = BytesIO()
        with mpl.rc_context({"svg.hashsalt": "viberkit", "svg.fonttype": "none"}):
            draw(None).figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    for case in ("latency 200", "over_time changes", "slo 50 days", "flow crossing 50"):
        assert svg(CASES[case]) == svg(CASES[case]), case


def test_importing_charts_does_not_import_pyplot() -> None:
    code = "import sys, viberkit.charts; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_durations_are_in_one_unit() -> None:
    assert [duration(s) for s in (0.9996, 9.96, 599.9, 3599, 86399, float("nan"))] == [
        "1 s",
        "10 s",
        "10 min",
        "1 h",
        "1 d",
        "–",
    ]
    assert duration(1e-9) == "< 0.1 ms"


def test_labels_are_spread_in_order_and_within_bounds() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        n = int(rng.integers(1, 8))
        centres, widths = np.sort(rng.uniform(-1, 11, n)), rng.uniform(0.2, 1.2, n)
        result = spread(centres.tolist(), widths.tolist(), 0.0, 10.0)
        assert result is not None
        left, right = np.array(result) - widths / 2, np.array(result) + widths / 2
        assert left[0] >= -1e-9
        assert right[-1] <= 10 + 1e-9
        assert (left[1:] - right[:-1] >= -1e-9).all()


def test_every_state_has_a_colour_of_its_own() -> None:
    assert len({state_colour(state) for state in ORDER}) == len(ORDER)
