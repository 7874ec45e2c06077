"""The charts of curves and estimates: what is drawn is what was given, and it can be read at every size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from test_charts import legible, said, ticks, transitions

from viberkit import charts
from viberkit.analysis.curves import delivery_curve
from viberkit.charts._style import GROUP_COLOURS
from viberkit.charts.estimates import MOST_LANES
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS

BEGIN = pd.Timestamp("2026-03-01T09:00:00Z")
LONG = "a group of a name so long that nobody would ever want to read all of it in a chart"
GROUPS = ["promotion", "transaction", LONG, *(f"service {k}" for k in range(9))]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before, "a chart changed matplotlib's settings"
    plt.close("all")


def journeys(n: int, groups: int = 0, watched: str = "3h") -> pd.DataFrame:
    """Median 1.5 s, 5 % in a tail from a minute on, 4 % failed, the others open when they were last looked at."""
    rng = np.random.default_rng(n)
    at = BEGIN.as_unit("us") + pd.to_timedelta(np.sort(rng.uniform(0, 60, n)), unit="s")
    seconds = np.round(rng.lognormal(np.log(1.5), 0.6, n), 3)
    tail, fails = rng.random(n) < 0.05, rng.random(n) < 0.04
    seconds[tail] = np.round(60 * rng.uniform(0.001, 1, tail.sum()) ** -0.8, 3)
    until = at + pd.Timedelta(watched)
    after = pd.Series(at + pd.to_timedelta(seconds, unit="s"))
    known = (after <= until).to_numpy()
    made = {
        "message_id": np.arange(n).astype(str),
        "accepted_at": at,
        "delivered_at": after.where(known & ~fails),
        "failed_at": after.where(known & fails),
        "outcome": np.select([known & ~fails, known & fails], ["delivered", "failed"], "open"),
        "observed_until": until,
    }
    if groups:
        made["rate_type"] = np.array(GROUPS, dtype=object)[rng.integers(0, groups, n)]
    return JOURNEYS.frame(pd.DataFrame(made))


@cache
def curves(n: int, groups: int = 0, watched: str = "3h") -> pd.DataFrame:
    return delivery_curve(journeys(n, groups, watched), by="rate_type" if groups else None)


def table(n: int, by: bool = False) -> pd.DataFrame:
    """The table of vk.latency, its intervals by order statistics."""
    hops = transitions(n)
    keys = ["from_state", "to_state"]
    if by:
        hops.insert(0, "rate_type", np.where(np.arange(n) // 6 % 2 == 0, "promotion", LONG))
        keys = ["rate_type", *keys]
    rows = []
    for key, part in hops.groupby(keys, observed=True)["latency_s"]:
        values, size = np.sort(part.to_numpy()), len(part)
        row = dict(zip(keys, key, strict=True)) | {"n": size}
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99_9", 0.999)):
            reach = 1.96 * np.sqrt(share * (1 - share) / size)
            low, high = int(np.floor((share - reach) * size)) - 1, int(np.ceil((share + reach) * size))
            row[f"{name}_s"] = np.quantile(values, share)
            row[f"{name}_low_s"] = values[low] if low >= 0 else 0.0
            row[f"{name}_high_s"] = values[high] if high < size else np.inf
        rows.append(row | {"max_s": values[-1], "total_s": values.sum(), "share": 1 / 6})
    return pd.DataFrame(rows)


def differences(n: int, groups: int = 2) -> pd.DataFrame:
    rows = [
        (group, "transaction", metric, unit, gap * (place + 1), spread / np.sqrt(n))
        for place, group in enumerate(["promotion", "session", LONG, *GROUPS[3:]][:groups])
        for metric, unit, gap, spread in (
            ("p50", "s", 0.4, 3.0),
            ("p95", "s", -12.0, 150.0),
            ("within 60 s", "share", -0.021, 0.5),
            ("failed", "share", 0.004, 0.4),
        )
    ]
    frame = pd.DataFrame(rows, columns=["group", "baseline", "metric", "unit", "difference", "wide"])
    frame = frame.assign(low=frame["difference"] - frame["wide"], high=frame["difference"] + frame["wide"])
    if n < 3:
        frame.loc[frame["unit"] == "s", ["low", "high"]] = [-np.inf, np.inf]
    return frame.assign(n=n, n_baseline=n)


WAITS = (5, 10, 30, 60, 120, 300, 600, 3600, 86400)


def waits(n: int = 1000, groups: int = 0) -> pd.DataFrame:
    back = 0.06 + 0.5 * np.array(WAITS) ** -0.5
    one = pd.DataFrame({"wait_s": np.array(WAITS, dtype=float), "falls_back": back})
    one = one.assign(falls_back_low=np.maximum(back - 0.5 / n**0.5, 0), falls_back_high=back + 0.5 / n**0.5)
    one = one.assign(still_delivers=0.5, twice=0.01, cost=0.01 + 0.05 * back, reach_90_s=3.0, reach_95_s=180.0)
    one = one.assign(reach_99_s=np.inf, reached=0.96, meets=one["wait_s"] <= 600, chosen=one["wait_s"] == 600)
    if groups:
        one = pd.concat([one.assign(cost=one["cost"] + k / 100, rate_type=GROUPS[k]) for k in range(groups)])
        one.insert(0, "rate_type", one.pop("rate_type"))
    one.attrs["target"] = "95 % within 10 min"
    return one


SIZES = (1, 2, 50, 10_000)
CASES: dict[str, Callable[[Axes | None], Axes]] = {
    **{f"curve {n}": lambda ax, n=n: charts.curve(curves(n), ax=ax) for n in SIZES},
    **{f"curve watched {t}": lambda ax, t=t: charts.curve(curves(50, 0, t), ax=ax) for t in ("0s", "1s", "20s")},
    **{f"curve by {n}": lambda ax, n=n: charts.curve(curves(n, 3), ax=ax) for n in SIZES},
    "curve by twelve": lambda ax: charts.curve(curves(2_000, 12), ax=ax),
    **{f"ecdf {n}": lambda ax, n=n: charts.ecdf(transitions(n), ax=ax) for n in SIZES},
    "ecdf zeros": lambda ax: charts.ecdf(transitions(50).assign(latency_s=0.0), ax=ax),
    "ecdf alike": lambda ax: charts.ecdf(transitions(60).assign(latency_s=1.5), ax=ax),
    **{f"quantiles {n}": lambda ax, n=n: charts.quantiles(table(n), ax=ax) for n in SIZES},
    "quantiles by": lambda ax: charts.quantiles(table(500, by=True), ax=ax),
    **{f"compare {n}": lambda ax, n=n: charts.compare(differences(n), ax=ax) for n in SIZES},
    "compare four": lambda ax: charts.compare(differences(100, 4), ax=ax),
    "compare many": lambda ax: charts.compare(differences(100, 11), ax=ax),
    "compare times": lambda ax: charts.compare(differences(100).query("unit == 's'"), ax=ax),
    "compare shares": lambda ax: charts.compare(differences(100).query("unit == 'share'"), ax=ax),
    **{f"fallback {n}": lambda ax, n=n: charts.fallback(waits(n), ax=ax) for n in SIZES},
    "fallback one wait": lambda ax: charts.fallback(waits().iloc[:1], ax=ax),
    "fallback first": lambda ax: charts.fallback(waits().assign(chosen=lambda t: t["wait_s"] == 5), ax=ax),
    "fallback by": lambda ax: charts.fallback(waits(groups=3), ax=ax),
}


def readable(ax: Axes) -> None:
    """As legible, of the axes within and of the names at the left too."""
    for one in (ax, *ax.child_axes):
        legible(one)
        figure = one.get_figure(root=True)
        low, high = sorted(one.get_ylim())
        labels = zip(one.get_yticks(), one.get_yticklabels(), strict=True)
        boxes = [label.get_window_extent() for at, label in labels if label.get_text() and low <= at <= high]
        for place, box in enumerate(boxes):
            assert box.x0 >= 0
            assert all(box.y1 <= other.y0 + 2 or other.y1 <= box.y0 + 2 for other in boxes[place + 1 :])
        assert all(box.y1 <= figure.bbox.y1 for box in boxes)


@pytest.mark.parametrize("case", CASES)
def test_texts_neither_overlap_nor_leave_the_figure(case: str) -> None:
    ax = CASES[case](None)
    readable(ax)
    assert ax.figure.get_facecolor()[3] == 0
    assert ax.figure.get_size_inches()[0] == 7.5


FEW = ("curve 50", "curve by 50", "ecdf 10000", "quantiles 50", "compare 50", "fallback 50", "fallback by")


@pytest.mark.parametrize(("face", "size"), [("white", (4.5, 2.8)), ("#111111", (7.5, 4.0))])
@pytest.mark.parametrize("case", FEW)
def test_an_axes_of_your_own_is_used_and_its_background_respected(
    case: str, face: str, size: tuple[float, float]
) -> None:
    figure = Figure(figsize=size, facecolor=face, layout="constrained")
    given = figure.subplots()
    given.set_facecolor(face)
    figure.draw_without_rendering()
    assert CASES[case](given) is given
    readable(given)
    assert tuple(figure.get_size_inches()) == size
    for text in (text for ax in (given, *given.child_axes) for text in [*ax.texts, *ax.get_yticklabels()]):
        light = np.mean(mpl.colors.to_rgb(text.get_color()))
        assert light < 0.4 if face == "white" else light > 0.7


def test_a_million_messages_take_less_than_two_seconds() -> None:
    for draw, frame in ((charts.curve, curves(1_000_000)), (charts.ecdf, transitions(1_000_000))):
        begin = time.perf_counter()
        ax = draw(frame)
        ax.figure.savefig(BytesIO(), format="png")
        assert time.perf_counter() - begin < 2.0
        assert sum(len(line.get_xdata()) for line in ax.lines) < 40_000
        readable(ax)


@pytest.mark.parametrize("case", ["curve 50", "curve by 50", "ecdf 50", "quantiles 50", "compare 50", "fallback by"])
def test_inputs_are_not_changed(case: str) -> None:
    draw = getattr(charts, case.split()[0])
    frame = {
        "curve 50": curves(50),
        "curve by 50": curves(50, 3),
        "ecdf 50": transitions(50),
        "quantiles 50": table(50),
    }
    frame |= {"compare 50": differences(50), "fallback by": waits(groups=2)}
    before = frame[case].copy(deep=True)
    draw(frame[case])
    pd.testing.assert_frame_equal(frame[case], before)


# --- what is drawn is what was given -------------------------------------------------------------------------


def steps(ax: Axes, width: float = 1.6) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float))
        for line in ax.lines
        if line.get_linewidth() == width and line.get_drawstyle() == "steps-post"
    ]


def test_the_curve_is_the_tables_and_ends_where_watching_did() -> None:
    frame = curves(10_000)
    ax = charts.curve(frame)
    ((x, y),) = steps(ax)
    assert x[-1] == frame["time_s"].iloc[-1]
    assert y[-1] == frame["delivered"].iloc[-1]
    seen = frame["time_s"] > ax.get_xlim()[0]
    place = np.searchsorted(x, frame.loc[seen, "time_s"], side="right") - 1
    assert np.abs(y[place] - frame.loc[seen, "delivered"]).max() < 0.002
    text = said(ax)
    assert "n 10,000 · last message watched until 3 h" in text
    assert "delivered 96 %" in text
    assert "open < 0.1 %" in text
    assert "time since accepted, log scale" in ax.get_xlabel()
    assert {"1 s", "1 min", "1 h"} <= set(ticks(ax))


def test_thinning_a_million_steps_moves_nothing_by_a_pixel() -> None:
    frame = curves(1_000_000)
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


def test_what_ended_within_a_millisecond_stands_in_a_gutter() -> None:
    assert ticks(charts.curve(curves(50)))[0] != "≤ 1 ms"
    at = pd.Series([BEGIN] * 4).astype("datetime64[us, UTC]")
    trips = journeys(4).assign(accepted_at=at, delivered_at=at, failed_at=pd.NaT, outcome="delivered")
    trips.loc[2:, "delivered_at"] = BEGIN + pd.Timedelta("5s")
    ax = charts.curve(delivery_curve(trips))
    assert ticks(ax)[0] == "≤ 1 ms"
    ((x, y),) = steps(ax)
    assert (y[0], y[-1]) == (0.5, 1.0)
    assert x[0] == ax.get_xlim()[0]
    assert "the last ended after 5 s" in said(ax)
    readable(ax)


def test_each_group_is_a_line_named_at_its_right() -> None:
    frame = curves(10_000, 3)
    ax = charts.curve(frame)
    ends = frame.groupby("rate_type")[["time_s", "delivered"]].last()
    assert {(x[-1], y[-1]) for x, y in steps(ax)} == set(ends.itertuples(index=False, name=None))
    assert "promotion 96 %" in said(ax)
    assert any("…" in text.get_text() and text.get_text().endswith(" %") for text in ax.texts)
    colours = {line.get_color() for line in ax.lines if line.get_drawstyle() == "steps-post"}
    assert colours == set(GROUP_COLOURS[:3])


def test_groups_beyond_eight_are_counted() -> None:
    ax = charts.curve(curves(2_000, 12))
    assert len(steps(ax)) == 8
    assert "smaller groups not drawn: 4" in ax.get_xlabel()


def test_the_curve_to_another_end_is_named_after_it() -> None:
    trips = journeys(500)
    assert "failed 4.6 %" in said(charts.curve(delivery_curve(trips, end="failed")))
    bare = delivery_curve(trips, end="failed")
    bare.attrs = {}
    assert "time since the start" in charts.curve(bare).get_xlabel()


def test_the_ecdf_counts_each_value_and_names_each_hop() -> None:
    frame = transitions(60)
    ax = charts.ecdf(frame)
    drawn = {(x[0], x[-1], len(x)): y for x, y in steps(ax)}
    for _, part in frame.groupby("to_state", observed=True)["latency_s"]:
        y = drawn[part.min(), part.max(), 11]
        assert np.allclose(y, np.arange(11) / 10)
    names = [text.get_text() for text in ax.texts]
    assert names.count("n 10") == 6
    assert "→ channel_failed" in names
    assert "share of hops that took no longer" in ax.get_xlabel()


def test_the_ecdf_says_what_it_leaves_out() -> None:
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k % 12:02}" for k in range(90)], "latency_s": 1.0})
    frame.loc[:2, "latency_s"] = -1.0
    ax = charts.ecdf(frame)
    assert "rarer hops not drawn: 4" in ax.get_xlabel()
    assert "below zero, not drawn: 3" in ax.get_xlabel().replace("\n", " ")
    readable(ax)


def test_quantiles_stand_at_their_values_with_their_intervals() -> None:
    frame = table(5_000)
    ax = charts.quantiles(frame)
    dots = sorted(x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata())
    assert np.allclose(dots, sorted(frame[["p50_s", "p90_s", "p95_s", "p99_9_s"]].to_numpy().ravel()))
    bars = {tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.2}
    assert set(zip(frame["p50_low_s"], frame["p50_high_s"], strict=True)) <= bars
    names = [text.get_text() for text in ax.texts]
    assert names[0] == "accepted → routed"
    assert names[1].startswith("n 834 · p50 39 ms · p90 ")
    assert "p99.9" in said(ax)


def test_an_interval_without_an_end_is_an_arrow() -> None:
    ax = charts.quantiles(table(1))
    marks = [line.get_marker() for line in ax.lines]
    assert marks.count(">") == 4
    assert marks.count("<") == 4
    assert "arrows: no end known" in ax.get_xlabel()
    assert "p50 – p99.9" in said(ax)


def test_quantiles_of_groups_draw_the_commonest_lanes() -> None:
    frame = pd.concat([table(60 + k).assign(day=f"day {k:02}") for k in range(5)])
    frame.insert(0, "day", frame.pop("day"))
    ax = charts.quantiles(frame)
    assert f"rarer, not drawn: {len(frame) - MOST_LANES}" in ax.get_xlabel()
    assert sum(text.get_text().startswith("day ") for text in ax.texts) == MOST_LANES
    readable(ax)


def test_differences_of_times_and_of_shares_have_an_axis_each() -> None:
    ax = charts.compare(differences(10_000))
    axes = (*ax.child_axes, ax)
    dots = [[line.get_xdata()[0] for line in one.lines if line.get_marker() == "o"] for one in axes]
    wanted = [[-0.021, -0.042, 0.004, 0.008], [0.4, 0.8], [-12.0, -24.0]]
    assert all(np.allclose(*both) for both in zip(dots, wanted, strict=True))
    shares, small, large = (set(said(one).split("\n")) for one in axes)
    assert {"← fewer", "more →", "promotion failed", "−2.1 pp (−2.6 to −1.6)", "percentage points"} <= shares
    assert {"← faster", "slower →", "promotion p50", "+400 ms (+370 ms to +430 ms)", "time"} <= small
    assert {"session p95", "−24 s (−26 s to −22 s)", "time, on another scale"} <= large
    assert all(tick == "0" or tick.endswith("pp") for tick in ticks(axes[0]))
    assert all(tick == "0" or tick.split()[-1] in ("ms", "s") for one in axes[1:] for tick in ticks(one))
    assert all(0.0 in one.get_xticks() for one in axes)
    assert "difference from transaction" in ax.get_xlabel()


def test_times_of_one_order_share_an_axis() -> None:
    frame = differences(10_000)
    alike = frame.assign(difference=frame["difference"].where(frame["metric"] != "p95", 2.0), low=0.1, high=3.0)
    assert len(charts.compare(alike).child_axes) == 1
    assert not charts.compare(alike.query("unit == 's'")).child_axes


def test_a_difference_that_may_be_none_is_hollow() -> None:
    frame = differences(100).query("metric == 'p95'").assign(low=[-20.0, -30.0], high=[3.0, -1.0])
    faces = [line.get_markerfacecolor() for line in charts.compare(frame).lines if line.get_marker() == "o"]
    assert faces[0] == "none"
    assert faces[1] != "none"


def test_what_is_not_reached_is_said_in_words() -> None:
    frame = differences(100, 4).query("metric == 'p95'")
    frame = frame.assign(difference=[np.inf, -np.inf, np.nan, 3.0], low=[np.inf, -np.inf, np.nan, 1.0])
    ax = charts.compare(frame.assign(high=[np.inf, -np.inf, np.nan, np.inf]))
    text = said(ax)
    for words in (
        "not reached here, only by the baseline",
        "reached here, not by the baseline",
        "not reached by either",
    ):
        assert words in text
    assert "+3 s (+1 s or more)" in text
    assert sum(line.get_marker() == "o" for line in ax.lines) == 1
    assert sum(line.get_marker() == ">" for line in ax.lines) == 1
    readable(ax)


def test_the_chosen_wait_is_marked_and_told() -> None:
    frame = waits()
    ax = charts.fallback(frame)
    assert "wait 10 min: 0.014 a message, 8 % fall back, 95 % reached in 3 min" in said(ax)
    rings = [line for line in ax.lines if line.get_markersize() == 10]
    assert [tuple(map(float, ring.get_xydata()[0])) for ring in rings] == [(600.0, frame.loc[6, "cost"])]
    hollow = [line for line in ax.lines if line.get_marker() == "o" and line.get_markersize() == 5]
    assert sorted(len(line.get_xdata()) for line in hollow) == [2, 7]
    assert "hollow: misses the target" in ax.get_xlabel()
    (below,) = ax.child_axes
    assert np.allclose(below.lines[0].get_ydata(), frame["falls_back"])
    assert below.get_xlim() == ax.get_xlim()


def test_when_no_wait_meets_the_target_it_says_so() -> None:
    ax = charts.fallback(waits().assign(meets=False, chosen=False, cost=lambda t: t["cost"].where(t["wait_s"] < 4000)))
    assert "no wait meets the target: 95 % within 10 min" in said(ax)
    assert "waits not known, not drawn: 1" in ax.get_xlabel()
    readable(ax)


# --- frames of another kind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "frame", "words"),
    [
        (charts.curve, curves(5).iloc[:0], "no messages"),
        (charts.curve, pd.DataFrame(), "no messages"),
        (charts.ecdf, transitions(5).iloc[:0], "no transitions"),
        (charts.ecdf, pd.DataFrame(), "no transitions"),
        (charts.quantiles, table(5).iloc[:0], "no transitions"),
        (charts.quantiles, pd.DataFrame(), "no transitions"),
        (charts.compare, differences(5).iloc[:0], "nothing to compare"),
        (charts.compare, pd.DataFrame(), "nothing to compare"),
        (charts.fallback, waits().iloc[:0], "no wait whose cost is known"),
        (charts.fallback, waits().assign(cost=np.nan), "no wait whose cost is known"),
        (charts.fallback, pd.DataFrame(), "no wait whose cost is known"),
    ],
)
def test_an_empty_frame_says_so(draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame, words: str) -> None:
    ax = draw(frame)
    assert [text.get_text() for text in ax.texts] == [words]
    assert ticks(ax) == []
    readable(ax)


def test_a_frame_of_another_kind_is_refused_with_a_remedy() -> None:
    for draw, remedy in (
        (charts.curve, r"curve.*vk\.delivery_curve\(journeys\).*'time_s'"),
        (charts.ecdf, r"ecdf.*vk\.transitions\(events\).*'latency_s'"),
        (charts.quantiles, r"quantiles.*vk\.latency\(events\).*'from_state'"),
        (charts.compare, r"compare.*vk\.compare\(journeys, by=…\).*'group'"),
        (charts.fallback, r"fallback.*vk\.fallback\(journeys.*'wait_s'"),
    ):
        with pytest.raises(MissingColumn, match=remedy):
            draw(pd.DataFrame({"x": [1]}))
    with pytest.raises(MissingColumn, match=r"curve.*'delivered_low'"):
        charts.curve(curves(5).drop(columns="delivered_low"))
    with pytest.raises(MissingColumn, match=r"quantiles.*'p95_high_s'"):
        charts.quantiles(table(5).drop(columns="p95_high_s"))
    with pytest.raises(MissingColumn, match=r"fallback.*'reach_95_s'"):
        charts.fallback(waits().drop(columns="reach_95_s"))
