"""Charts of windows, and of the paths of messages: over time, calendars, hours of the week, flows and funnels."""

from __future__ import annotations

import re
import time
from io import BytesIO
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from chart_data import (
    DELIVERED,
    LONG,
    NAN,
    by_country,
    by_group,
    changes,
    check_legible,
    crossing_transitions,
    events,
    journeys,
    over_time,
    over_time_of_few,
    over_time_with_gaps,
    profile,
    profile_of_few,
    slo,
    text_of,
    ticks,
    transitions,
)
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from viberkit import charts
from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.journeys import journeys as find_journeys
from viberkit.analysis.windows import over_time as find_over_time
from viberkit.charts._style import GROUP_COLOURS
from viberkit.errors import MissingColumn
from viberkit.models.states import ORDER


def drawn(ax: Axes, colour: str) -> list[float]:
    """The values along the line of a colour."""
    lines = [line for line in ax.lines if line.get_color() == colour and line.get_linestyle() == "-"]
    return [float(y) for y in max(lines, key=lambda line: len(line.get_xdata())).get_ydata()]


def values_of(frame: pd.DataFrame, key: str, estimate: float, column: str) -> list[float]:
    return frame.loc[frame[key] == estimate, column].tolist()


def test_over_time_draws_each_quantile_in_real_time() -> None:
    frame = over_time(48)
    ax = charts.over_time(frame)
    assert drawn(ax, GROUP_COLOURS[0]) == values_of(frame, "quantile", 0.5, "value_s")
    assert drawn(ax, GROUP_COLOURS[1]) == values_of(frame, "quantile", 0.9, "value_s")
    assert ax.get_yscale() == "log"
    assert {"p50", "p90", "time until delivered, log scale"} <= {text.get_text() for text in ax.texts}
    assert ticks(ax) == ["2 Mar", "06:00", "12:00", "18:00", "3 Mar", "06:00", "12:00", "18:00", "4 Mar"]
    assert "each point: the messages of 1 h · 2 Mar 2026 – 3 Mar 2026, UTC" in ax.get_xlabel().replace("\n", " ")
    assert {"1 s", "10 s"} <= {label.get_text() for label in ax.get_yticklabels()}


@pytest.mark.parametrize("every", ["1min", "1h", "1D", "400D"])
def test_dates_are_dense_enough_at_any_scale(every: str) -> None:
    for size, n in (((7.5, 4.0), 60), ((3.5, 2.5), 60), ((3.5, 2.5), 1)):
        ax = charts.over_time(over_time(n, every=every), ax=Figure(figsize=size).subplots())
        assert 1 <= len(ticks(ax)) <= 14
        check_legible(ax, inside=False)


def test_over_time_marks_quantiles_that_are_not_reached_or_unknown() -> None:
    ax = charts.over_time(over_time_with_gaps())
    note = ax.get_xlabel().replace("\n", " ")
    assert "triangle: not reached, 5 windows" in note
    assert "dash: not yet known, 6 windows" in note
    marks = {line.get_marker(): len(line.get_xdata()) for line in ax.lines if line.get_marker() in "^_"}
    assert marks == {"^": 5, "_": 3}
    values = drawn(ax, "#e3a008")
    assert np.isnan(values).sum() == 5 + 3 + 1  # the missing windows are one break
    assert np.isfinite(values).sum() == 60 - 7 - 8


def test_markers_of_two_quantiles_do_not_hide_each_other() -> None:
    ax = charts.over_time(over_time(3).assign(value_s=np.inf))
    heights = {line.get_color(): line.get_ydata()[0] for line in ax.lines if line.get_marker() == "^"}
    assert len(heights) == len(set(heights.values())) == 2


def test_notes_break_between_sentences() -> None:
    lines = charts.over_time(over_time_with_gaps()).get_xlabel().split("\n")
    assert lines[-1] == "triangle: not reached, 5 windows · dash: not yet known, 6 windows"


def test_over_time_draws_the_naive_share_beside_the_share() -> None:
    frame = over_time(50)
    ax = charts.over_time(frame, within=60)
    dotted = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 50]
    assert [line.get_ydata().tolist() for line in dotted] == [values_of(frame, "within_s", 60, "naive_share")]
    assert {"share delivered within 1 min", "within 1 min", "naive"} <= {text.get_text() for text in ax.texts}
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "100 %"
    both = text_of(charts.over_time(frame, within=[5, 60]))
    assert "within 5 s" in both
    assert "dotted: naive" in both.replace("\n", " ")


def test_over_time_draws_what_is_asked_for() -> None:
    frame = over_time(9)
    assert "p50" not in text_of(charts.over_time(frame, quantiles=0.9)).split("\n")
    assert "share delivered in time" in text_of(charts.over_time(frame[frame["quantile"].isna()]))
    with pytest.raises(ValueError, match=r"charts\.over_time: quantiles: 0\.99 is not in the result; .*: 0\.5, 0\.9$"):
        charts.over_time(frame, quantiles=[0.5, 0.99])
    with pytest.raises(ValueError, match=r"charts\.profile: within: 5 is not in the result; pass one of: 60$"):
        charts.profile(profile(9), within=5)


@pytest.mark.parametrize("build", [profile, slo])
def test_where_not_all_groups_fit_the_largest_are_drawn(build) -> None:
    frame = by_group(build, 90)
    frame["n"] = np.where(frame["rate_type"] == "session", 500, 400)
    ax = Figure(figsize=(4.5, 1.6)).subplots()
    getattr(charts, build.__name__)(frame, ax=ax)
    texts = {text.get_text() for text in ax.texts}
    assert "session" in texts
    assert "promotion" not in texts
    assert "groups not drawn: 1" in ax.get_xlabel()


def test_over_time_draws_the_six_largest_groups() -> None:
    ax = charts.over_time(by_group(over_time, 20))
    assert {"promotion", "session", "p50 of the time until delivered, log scale, by rate_type"} <= {
        text.get_text() for text in ax.texts
    }
    frame = by_group(over_time, 20, [f"g{k}" for k in range(9)])
    ax = charts.over_time(frame.assign(n=frame["rate_type"].str[1:].astype(int)), quantiles=0.9)
    names = [text.get_text() for text in ax.texts]
    assert sorted(name for name in names if name.startswith("g")) == [f"g{k}" for k in range(3, 9)]
    assert "groups not drawn: 3" in ax.get_xlabel().replace("\n", " ")
    unnamed = by_group(over_time, 20)
    unnamed["rate_type"] = unnamed["rate_type"].where(unnamed["rate_type"] == "session")
    assert "missing" in text_of(charts.over_time(unnamed))


def test_over_time_marks_changes() -> None:
    ax = charts.over_time(over_time(50), changes=changes())
    assert {"2 Mar 14:00", "p90 9 s → 14 s", "3 Mar 04:00"} <= set(text_of(ax).split("\n"))
    ax = charts.over_time(over_time(900), changes=changes(40))
    assert "changes without a label: " in ax.get_xlabel().replace("\n", " ")
    charts.over_time(over_time(5), changes=changes().iloc[:0])
    grouped = changes().assign(rate_type="promotion")
    grouped.attrs = changes().attrs | {"by": ["rate_type"]}
    assert "promotion · 2 Mar 14:00" in text_of(charts.over_time(over_time(50), changes=grouped))
    unreached = changes().assign(after_s=np.inf)
    assert "p90 9 s → not reached" in text_of(charts.over_time(over_time(50), changes=unreached))


def test_over_time_draws_dots_for_windows_of_few_messages_and_names_a_longer_window() -> None:
    frame = over_time_of_few(300)
    ax = charts.over_time(frame, quantiles=0.9)
    note = ax.get_xlabel().replace("\n", " ")
    assert "few messages: 8 in the median window, p90 needs 50 or more; every='12h' would have 96 messages" in note
    assert "intervals not drawn" in note
    assert not [path for part in ax.collections if isinstance(part, PolyCollection) for path in part.get_paths()]
    values = frame.loc[frame["quantile"] == 0.9, "value_s"]
    (dots,) = (line for line in ax.lines if line.get_markersize() == 2.5)
    assert np.isfinite(dots.get_ydata()).sum() == np.isfinite(values).sum()
    gaps = np.diff(np.flatnonzero(np.isfinite(dots.get_ydata())))
    assert (gaps > 1).all()  # no line connects two windows
    assert "p50 needs 10 or more; every='2h' would have 16 messages" in charts.over_time(
        frame, quantiles=0.5
    ).get_xlabel().replace("\n", " ")
    share = charts.over_time(frame, within=5).get_xlabel().replace("\n", " ")
    assert "a share needs 30 or more; every='6h' would have 48 messages" in share
    few = over_time_of_few(20)
    note = charts.over_time(few, quantiles=0.9).get_xlabel().replace("\n", " ")
    assert "every='12h' would have 80 messages" in note
    assert "bars: confidence interval" in note


def test_the_window_that_over_time_names_has_so_many_messages() -> None:
    frame = journeys(2_000)
    note = charts.over_time(find_over_time(frame, every="1h", quantiles=0.9)).get_xlabel().replace("\n", " ")
    every, count = re.search(r"every='(\w+)' would have ([\d,]+) messages", note).groups()
    longer = find_over_time(frame, every=every, quantiles=0.9, within=60)
    assert abs(longer.loc[longer["quantile"].notna(), "n"].median() - int(count)) < 1
    assert int(count) >= 50


def test_over_time_names_longer_windows_where_they_are_too_many_or_their_intervals_too_wide() -> None:
    note = charts.over_time(over_time(2_000)).get_xlabel().replace("\n", " ")
    assert re.search(r"2,000 windows are too many to see; every='6h' would have [\d,]+ messages", note)
    wide = over_time(40).assign(low_s=lambda t: t["value_s"] / 10, high_s=lambda t: t["value_s"] * 10, n=100)
    note = charts.over_time(wide, quantiles=0.5).get_xlabel().replace("\n", " ")
    assert "few messages: 100 in the median window, p50 needs 400 or more; every='6h' would have 600 messages" in note
    note = charts.over_time(wide.assign(high_s=np.inf), quantiles=0.5).get_xlabel().replace("\n", " ")
    assert "the interval of p50 has no bound; longer windows" in note
    assert "few messages" not in charts.over_time(over_time(1)).get_xlabel()


def test_profile_says_how_many_messages_a_quantile_needs() -> None:
    note = charts.profile(profile_of_few(), quantiles=0.95).get_xlabel().replace("\n", " ")
    assert "few messages: 18 in the median hour of the week, p95 needs 100 or more" in note
    assert "p50 or a log 5.6 times as long would be legible" in note
    assert "dot" not in note
    assert "few messages" not in charts.profile(profile(168), quantiles=0.5).get_xlabel()


def test_slo_has_decimals_that_tell_a_share_from_the_target() -> None:
    frame = slo(5).assign(share=[0.9486, 0.9996, 0.7, 0.95, 1.0])
    texts = {text.get_text().removeprefix("× ").removeprefix("? ") for text in charts.slo(frame).texts}
    assert {"94.9 %", "99.96 %", "70 %", "95 %", "100 %"} <= texts


def test_verdicts_of_slo_differ_in_colour_and_in_a_mark() -> None:
    ax = charts.slo(slo(480, every="1h").assign(verdict=["met", "missed", "unclear", "unclear"] * 120))
    met, missed, unclear = (ax.collections[side + 9 :: 3] for side in range(3))  # after the legend
    drawn = [sum(len(part.get_paths()) for part in parts) for parts in (met, missed, unclear)]
    assert drawn == [120, 120, 240]
    colours = [
        (*parts[0].get_facecolor().ravel(), *parts[0].get_edgecolor().ravel()) for parts in (met, missed, unclear)
    ]
    assert len(set(colours)) == 3
    marks = [line.get_marker() for line in ax.lines for _ in line.get_xdata()]
    assert (marks.count("x"), marks.count("$?$")) == (121, 241)  # and one each in the legend
    texts = [text.get_text() for text in charts.slo(slo(40)).texts]
    assert any(text.startswith("? 9") for text in texts)


def test_over_time_labels_changes_of_failures_and_of_the_mix() -> None:
    failures = changes().assign(metric="failed", failed_before=0.04, failed_after=0.12, before_s=NAN, after_s=NAN)
    assert "failed 4 % → 12 %" in text_of(charts.over_time(over_time(30), changes=failures)).split("\n")
    mix = changes().assign(metric="mix", column="country", value="UA", share_before=0.2, share_after=0.5)
    assert "country UA 20 % → 50 %" in text_of(charts.over_time(over_time(30), changes=mix)).split("\n")
    incident = failures.assign(until_at=failures["since_at"] + pd.Timedelta("90min"))
    lines = text_of(charts.over_time(over_time(30), changes=incident)).split("\n")
    begins, ends = (f"{at:%H:%M}" for at in (incident["since_at"].iloc[0], incident["until_at"].iloc[0]))
    assert any(f"{begins} – " in line and line.endswith(ends) for line in lines)


def cells(ax: Axes) -> int:
    return sum(len(cells.get_paths()) for cells in ax.collections if isinstance(cells, PolyCollection))


def test_slo_is_a_calendar_of_weeks_with_shares_and_budget() -> None:
    frame = slo(50)
    ax = charts.slo(frame)
    texts = [text.get_text() for text in ax.texts]
    counts = frame["verdict"].value_counts()
    assert texts[:3] == [f"{verdict} {counts[verdict]}" for verdict in ("met", "missed", "unclear")]
    assert {"Mon", "Sun", "2 Mar", "9 Mar", "objective: 95 % delivered within 1 min"} <= set(texts)
    assert sum(text.startswith("× ") for text in texts) == counts["missed"]
    assert sum(text.startswith("? ") for text in texts) == counts["unclear"]
    assert cells(ax) == 50 + 3
    assert any(text.startswith("budget left: ") for text in texts)
    assert "a cell: 1 d, UTC" in ax.get_xlabel()
    rows = {text.get_text(): text.get_position()[1] for text in ax.texts if text.get_text() in ("Mon", "Tue")}
    assert rows["Mon"] < rows["Tue"]


def test_slo_of_hours_has_a_column_per_day() -> None:
    ax = charts.slo(slo(50, every="1h"))
    assert {"00:00", "23:00", "2 Mar", "4 Mar"} <= set(text_of(ax).split("\n"))
    assert cells(ax) == 50 + 3


def test_slo_describes_a_budget_that_is_overspent_or_unknown() -> None:
    frame = slo(3)
    assert "budget overspent: 240 % used" in text_of(charts.slo(frame.assign(budget_left_cumulative=-1.4)))
    assert "budget left: not yet known" in text_of(charts.slo(frame.assign(budget_left_cumulative=NAN)))


def test_slo_draws_the_latest_windows_if_not_all_fit() -> None:
    figure = Figure(figsize=(4.5, 2.5), layout="constrained")
    ax = figure.subplots()
    figure.draw_without_rendering()
    charts.slo(slo(2_000), ax=ax)
    assert " 2031" in text_of(ax)
    assert "earlier windows not drawn: " in ax.get_xlabel().replace("\n", " ")
    check_legible(ax)


def test_profile_shows_the_first_share_or_what_is_asked_for() -> None:
    frame = profile(168)
    text = text_of(charts.profile(frame))
    assert "share delivered within 1 min" in text
    assert "dot: fewer than 30 messages" in text
    assert {"Mon", "Sun", "00:00", "21:00"} <= set(text.split("\n"))
    assert "p50 of the time until delivered" in text_of(charts.profile(frame, quantiles=0.5))
    assert "p50 of the time until delivered" in text_of(charts.profile(frame[frame["within_s"].isna()]))
    assert "800" in text_of(charts.profile(frame, counts=True)).split("\n")


def test_the_scale_of_a_single_value_has_the_colour_of_its_cell() -> None:
    ax = charts.profile(profile(1))
    (cell,) = (part for part in ax.collections if isinstance(part, PolyCollection) and len(part.get_paths()) == 1)
    (scale,) = (mesh for mesh in ax.collections if isinstance(mesh, QuadMesh))
    ax.figure.draw_without_rendering()
    assert np.allclose(scale.get_facecolor(), cell.get_facecolor())


def test_profile_marks_what_is_not_reached_and_leaves_empty_hours_hollow() -> None:
    frame = profile(100)
    frame = frame[frame["quantile"] == 0.5].reset_index(drop=True)
    frame.loc[:2, "value_s"] = np.inf
    frame.loc[3:4, "value_s"] = np.nan
    ax = charts.profile(frame)
    assert "grey: not reached · dash: unknown" in ax.get_xlabel().replace("\n", " ")
    hollow, full, grey = [cells for cells in ax.collections if isinstance(cells, PolyCollection)]
    assert len(hollow.get_paths()) == 168
    assert len(full.get_paths()) == 95
    assert len(grey.get_paths()) == 3
    colours = full.get_facecolor()[:, :3]
    order = np.argsort(frame["value_s"].to_numpy()[5:])
    brightness = colours[order] @ [0.2126, 0.7152, 0.0722]
    assert brightness[-1] > brightness[0] + 0.3


def boxes(ax: Axes) -> dict[str, tuple[float, float]]:
    """The centre of each state: share of the width, inches from the top."""
    ends = [patch.get_bbox() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    middles = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in ends]
    names = [text.get_text() for text in ax.texts]
    return dict(zip(names, middles, strict=False))


def test_flow_has_states_in_order_and_failing_ones_below() -> None:
    frame = transitions(60_000)
    ax = charts.flow(frame)
    centres = boxes(ax)
    upper = ["accepted", "routed", "dispatched", "delivered", "seen"]
    assert [centres[state][0] for state in upper] == sorted(centres[state][0] for state in upper)
    assert len({round(centres[state][1], 6) for state in upper}) == 1
    assert centres["channel_failed"][1] == centres["failed"][1] > centres["accepted"][1]
    assert centres["channel_failed"][0] < centres["failed"][0]
    lines = text_of(ax).split("\n")
    assert lines.count("10,000") == 6
    median = frame.loc[frame["to_state"] == "dispatched", "latency_s"].median()
    assert f"median {duration(median)}" in lines


def test_flow_arrows_are_as_wide_as_transitions_are_frequent() -> None:
    frame = pd.DataFrame({"from_state": ["accepted"] * 9 + ["routed"] * 3, "latency_s": 1.0})
    frame["to_state"] = ["routed"] * 9 + ["dispatched"] * 3
    widths = [patch.get_linewidth() for patch in charts.flow(frame).patches if isinstance(patch, FancyArrowPatch)]
    assert widths[0] > 2 * widths[1]


def test_labels_of_a_flow_avoid_other_arrows() -> None:
    ax = charts.flow(crossing_transitions(100_000))
    check_legible(ax)
    boxes = [text.get_window_extent() for text in ax.texts if "median" in text.get_text()]
    crossed = 0
    for arrow in (patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)):
        corners = ax.transData.transform(arrow._path_original.vertices)
        for (a, low), (b, high) in pairwise(corners):
            low, high = sorted((low, high))
            crossed += sum(a == b and box.x0 < a < box.x1 and low < box.y1 and high > box.y0 for box in boxes)
    assert crossed <= 1  # "accepted → failed" has no other position


def test_flow_counts_what_it_leaves_out() -> None:
    ax = charts.flow(crossing_transitions(100_000))
    note = ax.get_xlabel().replace("\n", " ")
    assert "less frequent transitions not drawn: " in note
    assert "back to the same state, not drawn: " in note
    assert "message-teleported" in text_of(ax)
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k:02}" for k in range(30)], "latency_s": 1.0})
    ax = charts.flow(frame)
    assert "less frequent transitions not drawn: 24 (24 times)" in ax.get_xlabel().replace("\n", " ")
    check_legible(ax)
    negative = transitions(9).assign(latency_s=[-1.0] * 2 + [1.0] * 7)
    assert "below zero, not drawn: 2" in charts.flow(negative).get_xlabel()


def test_flow_of_any_states_is_legible() -> None:
    rng = np.random.default_rng(7)
    for _ in range(4):
        ends = rng.choice([*ORDER, LONG, "two words"], (30, 2))
        frame = pd.DataFrame({"from_state": ends[:, 0], "to_state": ends[:, 1], "latency_s": rng.exponential(9, 30)})
        check_legible(charts.flow(frame, ax=Figure(figsize=(7.5, 5.0)).subplots()))


def test_funnel_counts_each_stage_and_describes_the_other_messages() -> None:
    frame = journeys(100_000)
    ax = charts.funnel(frame)
    texts = [text.get_text() for text in ax.texts]
    delivered = int((frame["outcome"] == "delivered").sum())
    assert f"{delivered:,} · {delivered / 1e5:.0%}".replace("%", " %") in texts
    assert [text for text in texts if text in ORDER] == ["accepted", "routed", "dispatched", "delivered", "seen"]
    (stopped,) = (text for text in texts if "not delivered" in text)
    mask = frame["dispatched_at"].notna() & frame["delivered_at"].isna()
    failed = frame[mask & (frame["outcome"] == "failed")]
    assert stopped.startswith(f"{mask.sum():,} not delivered: {len(failed):,} failed (UserNotFound ")
    assert stopped.endswith(f"{mask.sum() - len(failed):,} still open")
    widths = [bar.get_width() for bar in ax.patches][1::2]
    assert widths == sorted(widths, reverse=True)
    assert widths[3] == delivered / 1e5


def test_a_funnel_of_groups_has_a_row_each() -> None:
    frame = by_country(journeys(10_000), 39)
    ax = charts.funnel(frame, by="country")
    texts = [text.get_text() for text in ax.texts]
    sizes = frame.groupby("country").size()
    largest = sizes.idxmax()
    assert {"accepted", "delivered", "seen", "failed", "open", f"n {sizes.max():,}"} <= set(texts)
    share = (frame.loc[frame["country"] == largest, "outcome"] == "failed").mean()
    assert percent(share) in texts
    assert f"smaller groups not drawn: {len(sizes) - 30}" in ax.get_xlabel()
    widths = [bar.get_width() for bar in ax.patches[30:60]]  # the first stage of each group
    assert len(set(np.round(widths, 9))) == 1
    check_legible(ax)
    days = {text.get_text() for text in charts.funnel(frame, by="weekday", tz="Asia/Kolkata").texts}
    assert {"Monday", "Sunday"} <= days
    with pytest.raises(MissingColumn, match=r"charts\.funnel: no column 'land'"):
        charts.funnel(frame, by="land")


def test_funnel_skips_stages_that_never_occur_and_counts_stages_missing_from_a_message() -> None:
    frame = find_journeys(events(DELIVERED, [DELIVERED[0], DELIVERED[3]], DELIVERED[:1])).assign(routed_at=pd.NaT)
    ax = charts.funnel(frame)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:3] == ["accepted", "3 · 100 %", "1 not dispatched: 1 still open"]
    assert "routed" not in texts
    assert texts[3:5] == ["dispatched", "2 · 67 %"]
    check_legible(ax)


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["flow", "funnel"])
def test_a_million_rows_take_less_than_two_seconds(draw: str) -> None:
    frame = transitions(1_000_000) if draw == "flow" else journeys(1_000_000)
    started = time.process_time()
    ax = getattr(charts, draw)(frame)
    ax.figure.savefig(BytesIO(), format="png")
    assert time.process_time() - started < 2.0
    check_legible(ax)
