"""What the charts say and where they say it: texts, units, ticks, room; never pixels."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from viberkit import charts
from viberkit.analysis import journeys as timing
from viberkit.analysis import latency as latencies
from viberkit.analysis.formatting import duration
from viberkit.charts._style import spread, state_colour
from viberkit.errors import MissingColumn
from viberkit.models.states import ORDER

HOPS = (
    ("accepted", "routed", 0.04, 0.35),
    ("routed", "dispatched", 0.14, 0.45),
    ("dispatched", "delivered", 1.5, 2.0),
    ("delivered", "seen", 1800.0, 1.6),
)
FAILING = (("dispatched", "channel_failed", 5.0, 1.0), ("channel_failed", "failed", 0.2, 0.5))
BEGIN = pd.Timestamp("2026-03-01T09:00:00Z")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before, "a chart changed matplotlib's settings"
    plt.close("all")


def transitions(
    n: int, *, seed: int = 0, hops: tuple[tuple[str, str, float, float], ...] = HOPS + FAILING
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    which = np.arange(n) % len(hops)
    middle, sigma = np.array([hop[2] for hop in hops]), np.array([hop[3] for hop in hops])
    seconds = np.round(np.exp(np.log(middle[which]) + sigma[which] * rng.standard_normal(n)), 3)
    started = BEGIN.as_unit("us") + pd.to_timedelta(np.arange(n), unit="ms")
    return pd.DataFrame(
        {
            "message_id": pd.Series(which // len(hops)).astype("str"),
            "from_state": pd.Categorical.from_codes([ORDER.index(hops[k][0]) for k in which], ORDER),
            "to_state": pd.Categorical.from_codes([ORDER.index(hops[k][1]) for k in which], ORDER),
            "started_at": started,
            "ended_at": started + pd.to_timedelta(seconds, unit="s"),
            "latency_s": seconds,
            "disordered": False,
        }
    )


def events(*trails: list[tuple[str, float]], names: list[str] | None = None) -> pd.DataFrame:
    rows = [
        (names[place] if names else f"3f2504e0-4f89-41d3-9a0c-{place:012d}", state, BEGIN + pd.Timedelta(at, unit="s"))
        for place, order_events in enumerate(trails)
        for state, at in order_events
    ]
    frame = pd.DataFrame(rows, columns=["message_id", "state", "happened_at"])
    return frame.astype({"message_id": "str", "state": "category"})


def shares(n: int = 10_000, by: str | None = None) -> pd.DataFrame:
    hops = transitions(n)
    group = [] if by is None else [by]
    if by:
        hops[by] = np.where(np.arange(n) // 6 % 3 == 0, "promotion", "transaction")
    table = hops.groupby([*group, "from_state", "to_state"], observed=True)["latency_s"].agg(n="size", total="sum")
    table = table.reset_index()
    whole = table.groupby(group)["total"].transform("sum") if by else table["total"].sum()
    return table.assign(p50_s=1.0, p90_s=1.0, p95_s=1.0, p99_s=1.0, max_s=1.0, share=table["total"] / whole)


QUICK = [("accepted", 0.0), ("routed", 0.04), ("dispatched", 0.19), ("delivered", 240.0), ("seen", 4000.0)]
LONG = "message-teleported-through-a-carrier-that-nobody-has-ever-heard-of-before"


def said(ax: Axes) -> str:
    return "\n".join([*(text.get_text() for text in ax.texts), *ticks(ax), ax.get_xlabel()])


def ticks(ax: Axes) -> list[str]:
    ax.get_figure(root=True).draw_without_rendering()
    low, high = ax.get_xlim()
    shown = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    return [label.get_text() for place, label in shown if low <= place <= high]


def legible(ax: Axes, *, inside: bool = True) -> None:
    """No two texts overlap, none leaves the figure."""
    figure = ax.get_figure(root=True)
    figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = [label for at, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True) if low <= at <= high]
    texts = [text for text in [*ax.texts, *labels, ax.xaxis.label] if text.get_text() and text.get_visible()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for (one, a), (two, b) in combinations(boxes, 2):
        wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or tall <= 2.0, f"{one!r} and {two!r} overlap by {wide:.1f} by {tall:.1f} px"
    for text, box in boxes if inside else ():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text


CASES: dict[str, Callable[[], Axes]] = {
    **{f"latency {n}": lambda n=n: charts.latency(transitions(n)) for n in (1, 2, 7, 50, 200, 10_000)},
    "latency of zeros": lambda: charts.latency(transitions(500).assign(latency_s=0.0)),
    "latency some zeros": lambda: charts.latency(
        transitions(500).assign(latency_s=lambda t: t.latency_s * (t.index % 3 > 0))
    ),
    "latency one zero": lambda: charts.latency(transitions(1).assign(latency_s=0.0)),
    "latency alike": lambda: charts.latency(transitions(400).assign(latency_s=1.5)),
    "timeline one": lambda: charts.timeline(events(QUICK)),
    "timeline of one event": lambda: charts.timeline(events([("accepted", 0.0)])),
    "timeline all at once": lambda: charts.timeline(events([(state, 0.0) for state in ORDER])),
    "timeline crowded": lambda: charts.timeline(events([(state, k * 0.01) for k in range(6) for state in ORDER[:8]])),
    "timeline six": lambda: charts.timeline(events(*[QUICK[: k + 1] for k in range(5)], QUICK)),
    "timeline many": lambda: charts.timeline(events(*[QUICK] * 30)),
    "timeline strange": lambda: charts.timeline(events([("accepted", 0), (LONG, 1), (LONG, 2)], names=["id " * 80])),
    "time_share": lambda: charts.time_share(shares()),
    "time_share by": lambda: charts.time_share(shares(by="rate_type")),
    "time_share one": lambda: charts.time_share(shares(1)),
    "time_share many": lambda: charts.time_share(
        pd.concat([shares(600).assign(day=f"2026-03-{d:02}") for d in range(1, 31)]).pipe(
            lambda t: t[["day", *t.columns[:-1]]]
        )
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_texts_neither_overlap_nor_leave_the_figure(case: str) -> None:
    ax = CASES[case]()
    assert isinstance(ax, Axes)
    legible(ax)


def test_a_long_name_of_a_state_is_shortened_in_its_middle() -> None:
    frame = pd.DataFrame({"from_state": LONG, "to_state": LONG[::-1], "latency_s": [0.1, 2.0, 3.0]})
    ax = charts.latency(frame)
    legible(ax)
    assert "…" in ax.texts[0].get_text()
    assert ax.texts[0].get_text().startswith("message-tele")


def test_latency_names_its_hops_in_order_with_count_and_median() -> None:
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


def test_zeros_stand_at_the_left_edge() -> None:
    frame = transitions(4).assign(latency_s=[0.0, 0.001, 0.1, 5.0])
    ax = charts.latency(frame)
    assert ticks(ax)[0] == "≤ 1 ms"
    gutter = ax.get_xticks()[0]
    dots = [x for line in ax.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert dots == [gutter, gutter, 0.1, 5.0]
    assert ax.get_xlim()[0] < gutter < 0.1


def test_many_latencies_all_alike_are_still_seen() -> None:
    ax = charts.latency(transitions(400).assign(latency_s=1.5))
    drawn = [np.isfinite(line.get_ydata()).sum() for line in ax.lines if len(line.get_xdata()) > 2]
    assert len(drawn) == 6
    assert min(drawn) >= 5


def test_latencies_below_zero_are_counted_and_not_drawn() -> None:
    ax = charts.latency(transitions(60).assign(latency_s=lambda t: t["latency_s"].where(t.index > 2, -1.0)))
    assert "below zero, not drawn: 3" in ax.get_xlabel()
    assert "below zero, not drawn: 9" in said(charts.latency(transitions(9).assign(latency_s=-1.0)))


def test_rare_hops_beyond_twenty_lanes_are_counted() -> None:
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k:02}" for k in range(30)], "latency_s": 1.0})
    ax = charts.latency(frame)
    assert "rarer hops not drawn: 10" in ax.get_xlabel()
    legible(ax)


def test_three_million_rows_take_less_than_two_seconds() -> None:
    frame = transitions(3_000_000)
    begin = time.perf_counter()
    ax = charts.latency(frame)
    ax.figure.savefig(BytesIO(), format="png")
    assert time.perf_counter() - begin < 2.0
    assert "n 500,000" in said(ax)


def test_timeline_labels_each_event_with_its_state_and_the_gap() -> None:
    ax = charts.timeline(events(QUICK))
    text = said(ax)
    for wanted in ("accepted", "09:00:00.000", "routed", "+40 ms", "+150 ms", "delivered", "+4 min", "seen", "+1 h"):
        assert wanted in text.split("\n"), wanted
    assert "2026-03-01 09:00:00 UTC · 1.1 h in all" in text
    assert "time since the message's first event" in ax.get_xlabel()
    assert ticks(ax)[0] == "start"


def test_timeline_puts_events_of_one_instant_in_life_cycle_order() -> None:
    ax = charts.timeline(events([("delivered", 1.0), ("dispatched", 1.0), ("accepted", 0.0)]))
    names = [text.get_text() for text in ax.texts if text.get_text() in ORDER]
    assert names == ["accepted", "dispatched", "delivered"]


def test_timeline_draws_the_first_twenty_and_says_so() -> None:
    ax = charts.timeline(events(*[QUICK] * 1_234))
    assert "first 20 of 1,234 messages" in ax.get_xlabel()
    assert {"accepted", "routed", "seen"} <= set(said(ax).split("\n"))
    assert sum(text.get_text().startswith("3f2504e0-") for text in ax.texts) == 20


def test_timeline_of_chosen_messages() -> None:
    frame = events(QUICK, QUICK[:2], QUICK, names=["one", "two", "three"])
    assert charts.timeline(frame, message_id="two").texts[0].get_text() == "two"
    ax = charts.timeline(frame, message_id=["three", "one"])
    assert [t.get_text() for t in ax.texts if t.get_text() in ("one", "two", "three")] == ["three", "one"]
    with pytest.raises(ValueError, match=r"message_id: 'four' is not in the events; pass one of"):
        charts.timeline(frame, message_id=["one", "four"])


def test_time_share_names_every_hop_and_its_percent() -> None:
    ax = charts.time_share(shares())
    text = said(ax)
    assert "delivered → seen  " in text
    assert {"accepted", "→ routed", "< 0.1 %"} <= set(text.split("\n"))
    assert "%" in ax.get_xlabel()
    assert ticks(ax) == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_time_share_has_a_bar_a_group() -> None:
    ax = charts.time_share(shares(by="rate_type"))
    assert {"promotion", "transaction"} <= {text.get_text() for text in ax.texts}
    assert len({round(bar.get_y(), 6) for bar in ax.patches}) == 2
    for y in {bar.get_y() for bar in ax.patches}:
        assert sum(bar.get_width() for bar in ax.patches if bar.get_y() == y) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("draw", "frame", "words"),
    [
        (charts.latency, transitions(3).iloc[:0], "no transitions"),
        (charts.latency, transitions(3).assign(latency_s=np.nan), "no transitions"),
        (charts.latency, pd.DataFrame(), "no transitions"),
        (charts.timeline, events(QUICK).iloc[:0], "no events"),
        (charts.timeline, pd.DataFrame(), "no events"),
        (charts.time_share, shares().iloc[:0], "no transitions"),
        (charts.time_share, pd.DataFrame(columns=["from_state", "to_state", "share"]), "no transitions"),
    ],
)
def test_an_empty_frame_says_so(draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame, words: str) -> None:
    ax = draw(frame)
    assert [text.get_text() for text in ax.texts] == [words]
    assert ticks(ax) == []
    legible(ax)


def test_a_frame_of_another_kind_is_refused_with_a_remedy() -> None:
    with pytest.raises(MissingColumn, match=r"latency.*vk\.transitions\(events\).*'latency_s'"):
        charts.latency(transitions(3).drop(columns="latency_s"))
    with pytest.raises(MissingColumn, match=r"timeline.*'state', 'happened_at'"):
        charts.timeline(transitions(3))
    with pytest.raises(MissingColumn, match=r"time_share.*vk\.latency\(events\).*'share'"):
        charts.time_share(transitions(3))
    with pytest.raises(TypeError, match=r"latency.*a DataFrame is needed, not list"):
        charts.latency([1.0])  # type: ignore[arg-type]


def test_the_analysis_own_tables_can_be_drawn() -> None:
    frame = events(*[QUICK] * 40).assign(channel="viber", source="history")
    hops = timing.transitions(frame)
    assert "n 40 · median 150 ms" in said(charts.latency(hops))
    assert "delivered → seen" in said(charts.time_share(latencies.latency(hops)))
    legible(charts.time_share(latencies.latency(frame, by="source")))


@pytest.mark.parametrize("face", ["white", "#111111"])
@pytest.mark.parametrize("size", [(7.5, 4.0), (4.5, 2.5)])
def test_an_axes_of_your_own_is_used_and_its_background_respected(face: str, size: tuple[float, float]) -> None:
    for draw in (
        lambda ax: charts.latency(transitions(10_000), ax=ax),
        lambda ax: charts.timeline(events(*[QUICK] * 9), ax=ax),
        lambda ax: charts.time_share(shares(by="rate_type"), ax=ax),
    ):
        figure = Figure(figsize=size, facecolor=face, layout="constrained")
        given = figure.subplots()
        given.set_facecolor(face)
        figure.draw_without_rendering()
        assert draw(given) is given
        legible(given)
        assert tuple(figure.get_size_inches()) == size
        light = np.mean(mpl.colors.to_rgb(given.texts[0].get_color()))
        assert light < 0.4 if face == "white" else light > 0.7


def test_figures_of_our_own_are_transparent_and_of_notebook_width() -> None:
    for ax in (charts.latency(transitions(100)), charts.timeline(events(QUICK)), charts.time_share(shares())):
        assert ax.figure.get_facecolor()[3] == 0
        assert ax.figure.get_size_inches()[0] == 7.5


def test_inputs_are_not_changed() -> None:
    for draw, frame in (
        (charts.latency, transitions(99)),
        (charts.timeline, events(QUICK)),
        (charts.time_share, shares()),
    ):
        before = frame.copy(deep=True)
        draw(frame)
        pd.testing.assert_frame_equal(frame, before)


def test_svg_is_the_same_each_time() -> None:
    def svg(draw: Callable[[], Axes]) -> bytes:
        out = BytesIO()
        with mpl.rc_context({"svg.hashsalt": "viberkit", "svg.fonttype": "none"}):
            draw().figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    for case in ("latency 200", "timeline many", "time_share by"):
        assert svg(CASES[case]) == svg(CASES[case]), case


def test_importing_charts_leaves_pyplot_alone() -> None:
    code = "import sys, viberkit.charts; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_durations_are_said_in_one_unit() -> None:
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
        put = spread(centres.tolist(), widths.tolist(), 0.0, 10.0)
        assert put is not None
        left, right = np.array(put) - widths / 2, np.array(put) + widths / 2
        assert left[0] >= -1e-9
        assert right[-1] <= 10 + 1e-9
        assert (left[1:] - right[:-1] >= -1e-9).all()


def test_every_state_has_a_colour_of_its_own() -> None:
    assert len({state_colour(state) for state in ORDER}) == len(ORDER)
