"""Charts of curves and estimates draw the values of the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from chart_data import (
    NAN,
    by_country,
    check_legible,
    comparison,
    curve,
    curve_of,
    delivered,
    fallback,
    journeys,
    latency,
    text_of,
    ticks,
    time_to,
    transitions,
)
from matplotlib.axes import Axes

from viberkit import charts
from viberkit.analysis.curves import time_to as find_time_to
from viberkit.analysis.formatting import percent
from viberkit.charts._style import GROUP_COLOURS
from viberkit.charts.transitions import MAX_LANES
from viberkit.errors import MissingColumn


@pytest.mark.slow
def test_a_million_messages_take_less_than_two_seconds() -> None:
    for draw, frame in ((charts.curve, curve(1_000_000)), (charts.ecdf, transitions(1_000_000))):
        started = time.process_time()
        ax = draw(frame)
        ax.figure.savefig(BytesIO(), format="png")
        assert time.process_time() - started < 2.0
        assert sum(len(line.get_xdata()) for line in ax.lines) < 40_000
        check_legible(ax)


def steps(ax: Axes, width: float = 1.6) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float))
        for line in ax.lines
        if line.get_linewidth() == width and line.get_drawstyle() == "steps-post"
    ]


def test_the_curve_is_that_of_the_result_and_ends_at_the_longest_observation() -> None:
    frame = curve(10_000)
    ax = charts.curve(frame)
    ((x, y),) = steps(ax)
    assert x[-1] == frame["time_s"].iloc[-1]
    assert y[-1] == frame["delivered"].iloc[-1]
    shown = frame["time_s"] > ax.get_xlim()[0]
    index = np.searchsorted(x, frame.loc[shown, "time_s"], side="right") - 1
    assert np.abs(y[index] - frame.loc[shown, "delivered"]).max() < 0.002
    text = text_of(ax)
    assert "n 10,000 · longest observation 3 h" in text
    assert f"delivered {percent(frame['delivered'].iloc[-1])}" in text
    assert "open < 0.1 %" in text
    assert "time since accepted, log scale" in ax.get_xlabel()
    assert {"1 s", "1 min", "1 h"} <= set(ticks(ax))


def test_reducing_a_million_steps_moves_nothing_by_a_pixel() -> None:
    frame = curve(1_000_000)
    ax = charts.curve(frame)
    ((x, y),) = steps(ax)
    assert len(x) < len(frame) / 2
    assert set(zip(x[1:], y[1:], strict=True)) <= set(zip(frame["time_s"], frame["delivered"], strict=True))
    at = np.geomspace(x[1], x[-1], 3000)
    drawn = y[np.searchsorted(x, at, side="right") - 1]
    pixel = (ax.get_xlim()[1] / ax.get_xlim()[0]) ** (1 / 690)
    early, late = (
        frame["delivered"].to_numpy()[np.searchsorted(frame["time_s"], moved, side="right") - 1]
        for moved in (at / pixel, at * pixel)
    )
    assert (early <= drawn).all()
    assert (drawn <= late).all()


def test_deliveries_within_a_millisecond_are_in_a_strip() -> None:
    assert ticks(charts.curve(curve(50)))[0] != "≤ 1 ms"
    frame = curve_of(np.array([0.0, 0.0, 5.0, 5.0]), np.ones(4, dtype=int))
    frame.attrs = curve(1).attrs
    ax = charts.curve(frame)
    assert ticks(ax)[0] == "≤ 1 ms"
    ((x, y),) = steps(ax)
    assert (y[0], y[-1]) == (0.5, 1.0)
    assert x[0] == ax.get_xlim()[0]
    assert "last message ended after 5 s" in text_of(ax)
    check_legible(ax)


def test_each_group_is_a_line_with_its_name_and_share_above() -> None:
    frame = curve(10_000, 3)
    ax = charts.curve(frame)
    ends = frame.groupby("rate_type")[["time_s", "delivered"]].last()
    (panel,) = ax.child_axes
    assert {(x[-1], y[-1]) for x, y in steps(panel)} == set(ends.itertuples(index=False, name=None))
    assert f"promotion {percent(ends.loc['promotion', 'delivered'])}" in text_of(ax)
    assert any("…" in text.get_text() and text.get_text().endswith(" %") for text in ax.texts)
    colours = {line.get_color() for line in panel.lines if line.get_drawstyle() == "steps-post"}
    assert colours == set(GROUP_COLOURS[:3])
    assert "share delivered of all messages" in ax.get_xlabel()


def test_more_than_five_groups_have_a_panel_each_with_all_outcomes() -> None:
    frame = curve(2_000, 12)
    ax = charts.curve(frame)
    ends = frame.groupby("rate_type", sort=False)["delivered"].last()
    assert [steps(panel)[0][1][-1] for panel in ax.child_axes] == ends.tolist()
    assert all(len(steps(panel)) == 1 and len(panel.collections) == 4 for panel in ax.child_axes)  # areas, and a grid
    assert {"delivered", "failed", "promotion", "service 8", percent(ends.iloc[0])} <= set(text_of(ax).split("\n"))
    assert len({panel.get_xlim() for panel in ax.child_axes}) == 1
    assert len(charts.curve(curve(2_000, 5)).child_axes) == 1
    many = pd.concat([curve(50).assign(country=f"country {k:02}") for k in range(40)], ignore_index=True)
    many.attrs = curve(50).attrs | {"by": ["country"]}
    ax = charts.curve(many)
    assert len(ax.child_axes) == 30
    assert "smaller groups not drawn: 10" in ax.get_xlabel().replace("\n", " ")


def test_a_curve_has_panels_by_some_of_its_columns() -> None:
    frame = curve(500, 3, by=("rate_type", "team"))
    ax = charts.curve(frame, by="rate_type")
    assert len(ax.child_axes) == 3
    names = text_of(ax).split("\n")
    assert {"promotion", "team 0", "team 1", "team 2"} <= set(names)
    colours = [line.get_color() for panel in ax.child_axes for line in panel.lines if line.get_linewidth() == 1.6]
    assert colours == list(GROUP_COLOURS[:3])  # a team has the same colour in each panel
    with pytest.raises(
        ValueError, match=r"charts\.curve: by: 'country' is not in attrs\['by'\]; pass the result of vk"
    ):
        charts.curve(frame, by="country")


def test_rows_may_have_equal_index_labels() -> None:
    frame = curve(50, 2)
    frame.index = pd.Index([0] * len(frame))
    assert text_of(charts.curve(frame)) == text_of(charts.curve(curve(50, 2)))


def test_a_curve_to_another_end_is_named_after_it() -> None:
    frame = curve(500)
    names = {"delivered": "failed", "failed": "delivered"}
    frame = frame.rename(columns=lambda name: "_".join(names.get(part, part) for part in name.split("_")))
    frame.attrs |= {"end": "failed", "other": "delivered"}
    text = text_of(charts.curve(frame))
    assert "failed 9" in text
    assert "delivered " in text


def test_the_ecdf_counts_each_value_and_names_each_transition() -> None:
    frame = transitions(60)
    ax = charts.ecdf(frame)
    (panel,) = ax.child_axes
    drawn = {(x[1], x[-1], len(x)): y for x, y in steps(panel)}
    for _, part in frame.groupby("to_state", observed=True)["latency_s"]:
        y = drawn[part.min(), part.max(), 11]
        assert np.allclose(y, np.arange(11) / 10)
    names = text_of(ax).split("\n")
    assert "dispatched → channel_failed (n 10)" in names
    assert sum(name.endswith("(n 10)") for name in names) == 6
    assert "share of transitions that took no longer" in ax.get_xlabel()


def test_the_ecdf_counts_what_it_leaves_out() -> None:
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k % 12:02}" for k in range(90)], "latency_s": 1.0})
    frame.loc[:2, "latency_s"] = -1.0
    ax = charts.ecdf(frame)
    assert "less frequent transitions not drawn: 4" in ax.get_xlabel().replace("\n", " ")
    assert "below zero, not drawn: 3" in ax.get_xlabel().replace("\n", " ")
    check_legible(ax)


def test_the_ecdf_of_groups_has_a_panel_each_or_a_line_each() -> None:
    frame = by_country(transitions(900), 9)
    ax = charts.ecdf(frame, by="country")
    assert len(ax.child_axes) == 9
    assert {f"n {size}" for size in frame.groupby("country").size()} <= set(text_of(ax).split("\n"))
    assert len({panel.get_xlim() for panel in ax.child_axes}) == 1
    one = by_country(delivered(500), 4)
    ax = charts.ecdf(one, by="country")
    (panel,) = ax.child_axes
    ends = {(x[1], x[-1]) for x, _ in steps(panel)}
    assert ends == set(one.groupby("country")["latency_s"].agg(["min", "max"]).itertuples(index=False, name=None))
    assert "time from accepted to delivered, log scale" in ax.get_xlabel()
    assert f"promotion (n {(one['country'] == 'promotion').sum()})" in text_of(ax)
    assert len(charts.ecdf(by_country(delivered(600), 6), by="country").child_axes) == 6


@pytest.mark.parametrize("draw", [charts.ecdf, charts.latency])
def test_transitions_are_grouped_by_the_local_hour_of_their_beginning(draw: Callable[..., Axes]) -> None:
    frame = transitions(600)
    texts = text_of(draw(frame, by="hour", tz="Asia/Kolkata"))
    assert "14" in texts.replace(" · ", "\n").split("\n")
    with pytest.raises(MissingColumn, match=r"charts\.\w+: no column 'land'"):
        draw(frame, by="land")
    with pytest.raises(ValueError, match=r"tz: 'Mars'"):
        draw(frame, tz="Mars")


def test_the_latency_of_groups_has_a_lane_for_each_group_and_transition() -> None:
    ax = charts.latency(by_country(transitions(600), 2), by="country")
    names = [text.get_text() for text in ax.texts][::2]
    assert names[:4] == [
        "accepted → routed · promotion",
        "accepted → routed · transaction",
        "routed → dispatched · promotion",
        "routed → dispatched · transaction",
    ]
    ax = charts.latency(by_country(transitions(6_000), 30), by="country")
    assert len([text for text in ax.texts if "→" in text.get_text()]) == 30
    assert "less frequent transitions not drawn: 150" in ax.get_xlabel().replace("\n", " ")


def test_quantiles_of_the_time_to_delivery_have_a_lane_for_each_group() -> None:
    frame = time_to(500, 5, quantiles=[0.95])
    ax = charts.quantiles(frame)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:3] == ["p95", "promotion", "n 500 · p95 34 s (17 s – 1.1 min)"]
    assert "n 503 · p95 not reached" in texts
    assert any(text.endswith("p95 not known yet") for text in texts)
    assert "time from accepted to delivered of all messages, log scale" in ax.get_xlabel()
    markers = [line.get_xdata()[0] for line in ax.lines if line.get_markersize() == 5]
    drawn = [x for x in markers if x > 1]
    assert np.allclose(drawn, frame["value_s"][np.isfinite(frame["value_s"])])
    bars = {tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.0}
    assert (frame["low_s"].iloc[0], frame["high_s"].iloc[0]) in bars
    ax = charts.quantiles(time_to(500, 40, quantiles=[0.95]))
    assert sum(text.get_text().startswith("n 5") for text in ax.texts) == 30
    assert "smaller groups not drawn: 10" in ax.get_xlabel().replace("\n", " ")


def test_quantiles_of_the_delivered_messages_are_named() -> None:
    frame = time_to(500, of="delivered")
    frame.attrs["of_note"] = "Messages that were not delivered are left out."
    ax = charts.quantiles(frame)
    assert "time from accepted to delivered of delivered messages only, log scale" in ax.get_xlabel()
    assert ax.get_xlabel().endswith("\nMessages that were not delivered are left out.")
    assert [text.get_text() for text in ax.texts][2] == "accepted → delivered"


def test_a_result_of_time_to_can_be_drawn() -> None:
    frame = find_time_to(by_country(journeys(5_000), 5), by="country", quantiles=0.95)
    ax = charts.quantiles(frame)
    assert set(frame["country"]) <= {text.get_text() for text in ax.texts}
    check_legible(ax)


def test_quantiles_are_at_their_values_with_their_intervals() -> None:
    frame = latency(5_000)
    ax = charts.quantiles(frame)
    markers = [
        line.get_xdata()[0] for line in ax.lines if line.get_transform() == ax.transData and len(line.get_xdata()) == 1
    ]
    known = frame.dropna(subset="to_state")
    assert np.allclose(sorted(markers), sorted(known["value_s"]))
    bars = {tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.0}
    median = known[known["quantile"] == 0.5]
    assert set(zip(median["low_s"], median["high_s"], strict=True)) <= bars
    names = [text.get_text() for text in ax.texts]
    assert names[:4] == ["p50", "p90", "p95", "p99.9"]
    assert names[4] == "accepted → routed"
    assert names[5].startswith("n 834 · p50 39 ms · p90 ")


def test_an_interval_without_a_bound_is_an_arrow() -> None:
    ax = charts.quantiles(latency(1))
    markers = [line.get_marker() for line in ax.lines]
    assert markers.count(">") == 4
    assert markers.count("<") == 4
    assert "arrows: no bound known" in ax.get_xlabel()


def test_quantiles_of_groups_draw_the_lanes_with_most_latencies() -> None:
    frame = pd.concat([latency(60 + k).assign(day=f"day {k:02}") for k in range(5)], ignore_index=True)
    frame.attrs = {"by": ["day"]}
    ax = charts.quantiles(frame)
    assert f"less frequent, not drawn: {5 * 6 - MAX_LANES}" in ax.get_xlabel().replace("\n", " ")
    assert sum(text.get_text().startswith("day ") for text in ax.texts) == MAX_LANES
    check_legible(ax)


def test_differences_of_times_and_of_shares_have_an_axis_each() -> None:
    ax = charts.compare(comparison(10_000))
    axes = (*ax.child_axes, ax)
    dots = [[line.get_xdata()[0] for line in part.lines if line.get_marker() in ("o", "D")] for part in axes]
    expected = [[-0.021, -0.042, 0.004, 0.008], [0.4, 0.8], [-12.0, -24.0]]
    assert all(np.allclose(*both) for both in zip(dots, expected, strict=True))
    shares, small, large = (set(text_of(part).split("\n")) for part in axes)
    assert {"← fewer", "more →", "promotion within 1 min", "−2.1 pp (−2.6 to −1.6)", "percentage points"} <= shares
    assert {"← faster", "slower →", "promotion p50", "+400 ms (+370 ms to +430 ms)", "time"} <= small
    assert {"session p95", "−24 s (−26 s to −22 s)", "time (different scale)"} <= large
    assert all(tick == "0" or tick.endswith("pp") for tick in ticks(axes[0]))
    assert all(tick == "0" or tick.split()[-1] in ("ms", "s") for part in axes[1:] for tick in ticks(part))
    assert all(0.0 in part.get_xticks() for part in axes)
    assert "difference = group − transaction" in ax.get_xlabel()
    assert "a negative share is fewer · a negative time is faster" in ax.get_xlabel()
    assert "difference = promotion − transaction · a negative time" in charts.compare(
        comparison(99, 1).query("within_s.isna()")
    ).get_xlabel().replace("\n", " ")


def test_times_of_one_order_of_magnitude_share_an_axis() -> None:
    frame = comparison(10_000)
    frame.loc[frame["quantile"] == 0.95, ["difference_s", "low_s", "high_s"]] = [2.0, 0.1, 3.0]
    assert len(charts.compare(frame).child_axes) == 1
    assert not charts.compare(frame[frame["quantile"].notna()]).child_axes


def test_more_failures_are_worse() -> None:
    for end, share, colour in (("delivered", 0.1, "#17a07a"), ("failed", 0.1, "#d55e00"), ("failed", -0.1, "#17a07a")):
        frame = comparison(100, 1, end=end).query("within_s == 60")
        ax = charts.compare(frame.assign(share_difference=share, share_low=share - 0.01, share_high=share + 0.01))
        assert [line.get_color() for line in ax.lines if line.get_linewidth() == 2.0] == [colour]
        assert [line.get_marker() for line in ax.lines if line.get_markersize() == 5.5] == [
            "D" if colour == "#d55e00" else "o"
        ]
        assert (f"promotion {'failed ' * (end == 'failed')}within 1 min") in text_of(ax)


def test_a_difference_that_may_be_zero_is_hollow() -> None:
    frame = comparison(100).query("quantile == 0.95").assign(low_s=[-20.0, -30.0], high_s=[3.0, -1.0])
    faces = [line.get_markerfacecolor() for line in charts.compare(frame).lines if line.get_marker() in ("o", "D")]
    assert faces[0] == "none"
    assert faces[1] != "none"


def test_a_quantile_that_is_not_reached_is_described() -> None:
    frame = comparison(100, 4).query("quantile == 0.95")
    frame = frame.assign(difference_s=[np.inf, -np.inf, NAN, 3.0], low_s=[np.inf, -np.inf, NAN, 1.0])
    ax = charts.compare(frame.assign(high_s=[np.inf, -np.inf, NAN, np.inf]))
    text = text_of(ax)
    for expected in (
        "not reached, only by the baseline",
        "reached, not by the baseline",
        "not reached by either",
        "+3 s (+1 s or more)",
    ):
        assert expected in text
    assert sum(line.get_marker() == "D" for line in ax.lines) == 1
    assert sum(line.get_marker() == ">" for line in ax.lines) == 1
    check_legible(ax)


def test_the_chosen_wait_is_marked_and_described() -> None:
    frame = fallback()
    ax = charts.fallback(frame)
    assert "wait 10 min: 0.0140 per message, 8 % fall back, 95 % reached in 3 min" in text_of(ax)
    rings = [line for line in ax.lines if line.get_markersize() == 10]
    assert [tuple(map(float, ring.get_xydata()[0])) for ring in rings] == [(600.0, frame.loc[6, "cost"])]
    markers = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() == 5]
    assert sorted(len(line.get_xdata()) for line in markers) == [2, 7]
    assert "hollow: misses the target" in ax.get_xlabel()
    (shares,) = (line.get_ydata() for line in ax.lines if line.get_linewidth() == 1.2)
    zero, top = (
        tick for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True) if "%" in label.get_text()
    )
    assert np.allclose((shares - zero) / (top - zero), frame["fallback_share"] / frame["fallback_high"].max())


def test_costs_have_the_same_number_of_decimals() -> None:
    cost = np.linspace(0.035, 0.05, 9)
    frame = fallback().assign(cost=cost, cost_low=cost, cost_high=cost)
    labels = [label.get_text() for label in charts.fallback(frame).get_yticklabels()]
    assert [label for label in labels if label] == ["0.035", "0.040", "0.045", "0.050", "0 %", "30 %"]


def test_a_target_that_no_wait_meets_is_described() -> None:
    frame = fallback().assign(meets_target=False, chosen=False)
    ax = charts.fallback(frame.assign(cost=frame["cost"].where(frame["wait_s"] < 4000)))
    assert "no wait meets the target: 95 % within 10 min" in text_of(ax)
    assert "waits of unknown cost, not drawn: 1" in ax.get_xlabel()
    check_legible(ax)


@pytest.mark.parametrize(
    ("draw", "frame", "attr", "source"),
    [
        (charts.time_share, latency(6), "by", r"vk\.latency\(events\)"),
        (charts.quantiles, latency(6), "by", r"vk\.latency\(events\)"),
        (charts.curve, curve(5), "end", r"vk\.delivery_curve\(journeys\)"),
        (charts.compare, comparison(5), "end", r"vk\.compare\(journeys, by=…\)"),
        (charts.fallback, fallback(), "target", r"vk\.fallback\(journeys, …\)"),
    ],
)
def test_a_missing_attr_is_named_with_the_function_to_call(draw, frame: pd.DataFrame, attr: str, source: str) -> None:
    frame.attrs = {name: value for name, value in frame.attrs.items() if name != attr}
    with pytest.raises(ValueError, match=rf"charts\.\w+: attrs has no '{attr}'; pass the result of {source}"):
        draw(frame)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [charts.ecdf, charts.latency, charts.funnel])
def test_thirty_groups_of_a_million_messages_take_less_than_two_seconds(draw: Callable[..., Axes]) -> None:
    frame = by_country(journeys(1_000_000) if draw is charts.funnel else transitions(1_000_000), 30)
    started = time.process_time()
    ax = draw(frame, by="country")
    ax.figure.savefig(BytesIO(), format="png")
    assert time.process_time() - started < 2.5  # with a margin for a busy computer
    check_legible(ax)
