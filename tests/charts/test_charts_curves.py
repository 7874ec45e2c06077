"""Charts of curves and estimates draw the values of the result."""

from __future__ import annotations

import time
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from chart_data import NAN, check_legible, comparison, curve, curve_of, fallback, latency, text_of, ticks, transitions
from matplotlib.axes import Axes

from viberkit import charts
from viberkit.analysis.formatting import percent
from viberkit.charts._style import GROUP_COLOURS
from viberkit.charts.transitions import MAX_LANES


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


def test_each_group_is_a_line_with_its_name_at_the_right() -> None:
    frame = curve(10_000, 3)
    ax = charts.curve(frame)
    ends = frame.groupby("rate_type")[["time_s", "delivered"]].last()
    assert {(x[-1], y[-1]) for x, y in steps(ax)} == set(ends.itertuples(index=False, name=None))
    assert f"promotion {percent(ends.loc['promotion', 'delivered'])}" in text_of(ax)
    assert any("…" in text.get_text() and text.get_text().endswith(" %") for text in ax.texts)
    colours = {line.get_color() for line in ax.lines if line.get_drawstyle() == "steps-post"}
    assert colours == set(GROUP_COLOURS[:3])


def test_groups_beyond_eight_are_counted() -> None:
    ax = charts.curve(curve(2_000, 12))
    assert len(steps(ax)) == 8
    assert "smaller groups not drawn: 4" in ax.get_xlabel()


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
    drawn = {(x[0], x[-1], len(x)): y for x, y in steps(ax)}
    for _, part in frame.groupby("to_state", observed=True)["latency_s"]:
        y = drawn[part.min(), part.max(), 11]
        assert np.allclose(y, np.arange(11) / 10)
    names = text_of(ax).split("\n")
    assert names.count("n 10") == 6
    assert "→ channel_failed" in names
    assert "share of transitions that took no longer" in ax.get_xlabel()


def test_the_ecdf_counts_what_it_leaves_out() -> None:
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k % 12:02}" for k in range(90)], "latency_s": 1.0})
    frame.loc[:2, "latency_s"] = -1.0
    ax = charts.ecdf(frame)
    assert "less frequent transitions not drawn: 4" in ax.get_xlabel().replace("\n", " ")
    assert "below zero, not drawn: 3" in ax.get_xlabel().replace("\n", " ")
    check_legible(ax)


def test_quantiles_are_at_their_values_with_their_intervals() -> None:
    frame = latency(5_000)
    ax = charts.quantiles(frame)
    markers = [
        line.get_xdata()[0] for line in ax.lines if line.get_transform() == ax.transData and len(line.get_xdata()) == 1
    ]
    known = frame.dropna(subset="to_state")
    assert np.allclose(sorted(markers), sorted(known["value_s"]))
    bars = {tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.2}
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
    assert {"session p95", "−24 s (−26 s to −22 s)", "time, on another scale"} <= large
    assert all(tick == "0" or tick.endswith("pp") for tick in ticks(axes[0]))
    assert all(tick == "0" or tick.split()[-1] in ("ms", "s") for part in axes[1:] for tick in ticks(part))
    assert all(0.0 in part.get_xticks() for part in axes)
    assert "difference from transaction" in ax.get_xlabel()


def test_times_of_one_order_of_magnitude_share_an_axis() -> None:
    frame = comparison(10_000)
    frame.loc[frame["quantile"] == 0.95, ["difference_s", "low_s", "high_s"]] = [2.0, 0.1, 3.0]
    assert len(charts.compare(frame).child_axes) == 1
    assert not charts.compare(frame[frame["quantile"].notna()]).child_axes


def test_more_failures_are_worse() -> None:
    for end, share, colour in (("delivered", 0.1, "#17a07a"), ("failed", 0.1, "#d55e00"), ("failed", -0.1, "#17a07a")):
        frame = comparison(100, 1, end=end).query("within_s == 60")
        ax = charts.compare(frame.assign(share_difference=share, share_low=share - 0.01, share_high=share + 0.01))
        assert [line.get_color() for line in ax.lines if line.get_linewidth() == 2.2] == [colour]
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
    frame = fallback().assign(cost=np.linspace(0.035, 0.05, 9))
    labels = [label.get_text() for label in charts.fallback(frame).get_yticklabels()]
    assert labels == ["0.035", "0.040", "0.045", "0.050", "0 %", "30 %"]


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
