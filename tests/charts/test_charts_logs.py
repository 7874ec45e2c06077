"""What the charts of a log say and where: windows, calendars, hours of the week, flows and funnels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from test_charts import LONG, QUICK, events, legible, said, ticks, transitions

from viberkit import charts
from viberkit.analysis import journeys as timing
from viberkit.analysis.formatting import duration
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS
from viberkit.models.states import ORDER

BEGIN = pd.Timestamp("2026-03-02T00:00:00Z")  # a Monday
CODES = ("viber::error::UserNotFound", "viber::error::Expired", "viber::error::Blocked", "viber::error::Internal")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before, "a chart changed matplotlib's settings"
    plt.close("all")


def starts(n: int, every: str) -> pd.DatetimeIndex:
    return pd.date_range(BEGIN, periods=n, freq=pd.Timedelta(every), unit="us")


def windows(n: int, *, every: str = "1h", seed: int = 0) -> pd.DataFrame:
    """As vk.over_time gives."""
    rng, at = np.random.default_rng(seed), starts(n, every)
    night = np.where((at.hour < 6) | (at.hour > 21), 2.0, 1.0)
    p50 = 1.5 * night * np.exp(0.06 * rng.standard_normal(n))
    made: dict[str, object] = {"window_at": at, "n": rng.integers(20, 500, n), "n_open": rng.integers(0, 9, n)}
    for name, base in (("within_5s", 0.85), ("within_60s", 0.95)):
        share = np.clip(base + 0.01 * rng.standard_normal(n), 0, 1)
        made |= {name: share, f"{name}_low": share - 0.02, f"{name}_high": np.minimum(share + 0.02, 1)}
        made[f"{name}_naive"] = share - 0.015
    for name, value, wide in (("p50", p50, 1.1), ("p90", p50 * 6, 1.5)):
        made |= {f"{name}_s": value, f"{name}_low_s": value / wide, f"{name}_high_s": value * wide}
    return pd.DataFrame(made)


def with_gaps(n: int = 60) -> pd.DataFrame:
    """Windows of which each ninth does not reach p90, the last three are not known yet, and some are missing."""
    frame, k = windows(n), np.arange(n)
    frame.loc[k % 9 == 4, ["p90_s", "p90_high_s"]] = np.inf
    frame.loc[k >= n - 3, [name for name in frame if name[0] in "pw" and name != "window_at"]] = np.nan
    return frame.drop(index=range(20, 27))


def by_group(
    make: Callable[..., pd.DataFrame], n: int, names: Sequence[str] = ("promotion", "session")
) -> pd.DataFrame:
    parts = [make(n, seed=place).assign(rate_type=name) for place, name in enumerate(names)]
    frame = pd.concat(parts, ignore_index=True)
    made = frame[["rate_type", *frame.columns[:-1]]]
    made.attrs = dict(parts[0].attrs)
    return made


def changes(n: int = 2) -> pd.DataFrame:
    since = starts(n + 1, "14h")[1:]
    made = {"since": since, "metric": "p90", "unit": "s", "before": 9.0, "after": 14.2, "p_value": 1e-5, "text": "…"}
    return pd.DataFrame(made).assign(n_before=100, n_after=200)


def objective(n: int, *, every: str = "1D", seed: int = 0) -> pd.DataFrame:
    """As vk.slo gives."""
    rng = np.random.default_rng(seed)
    share = np.clip(0.962 + 0.015 * rng.standard_normal(n), 0, 1)
    met = np.select([share > 0.96, share < 0.94], ["met", "missed"], "unclear")
    frame = pd.DataFrame({"window_at": starts(n, every), "n": 400, "n_open": 3, "share": share})
    frame = frame.assign(low=share - 0.01, high=share + 0.01, met=pd.Categorical(met, ["met", "missed", "unclear"]))
    frame = frame.assign(missed=400 * (1 - share), allowed=20.0)
    frame["budget_left"] = 1 - frame["missed"] / frame["allowed"]
    frame["budget_left_so_far"] = 1 - frame["missed"].cumsum() / frame["allowed"].cumsum()
    frame.attrs = {"within": 60, "target": 0.95, "every": every}
    return frame


def week(n: int, *, seed: int = 0) -> pd.DataFrame:
    """As vk.profile gives."""
    rng = np.random.default_rng(seed)
    cell = np.sort(rng.permutation(168)[: min(n, 168)])
    hour, day = cell % 24, cell // 24
    p50 = 1.5 * (1 + 1.2 * np.exp(-(((hour - 3) / 3) ** 2))) * np.exp(0.1 * rng.standard_normal(len(cell)))
    made = {"weekday": pd.Categorical.from_codes(day, DAYS, ordered=True), "hour": hour}
    made |= {"n": np.where(hour < 6, 12, 800), "n_open": 1, "within_60s": 1 - 0.03 * p50, "within_60s_low": 0.5}
    return pd.DataFrame(made | {"p50_s": p50, "p50_low_s": p50 * 0.9, "p50_high_s": p50 * 1.1})


@cache
def messages(n: int) -> pd.DataFrame:
    """Journeys of two weeks: slower at night, a heavy tail, failures with codes, and some still open."""
    rng = np.random.default_rng(0)
    accepted = BEGIN.as_unit("us") + pd.to_timedelta((rng.uniform(0, 14 * 86400e6, n)).astype(np.int64), unit="us")
    taken = 1.5 * np.exp(0.6 * rng.standard_normal(n)) * np.where(accepted.hour < 6, 2, 1)
    taken = np.where(rng.random(n) < 0.05, 60 * (1 - rng.random(n)) ** (-1 / 1.1), taken)
    failed = rng.random(n) < 0.04
    delivered = ~failed & (taken < 3600)

    def after(seconds: float | np.ndarray, keep: np.ndarray) -> pd.Series:
        at = accepted + pd.to_timedelta((np.minimum(seconds, 1e6) * 1e6 * np.ones(n)).astype(np.int64), unit="us")
        return pd.Series(np.where(keep, at.to_numpy("datetime64[us]"), np.datetime64("NaT"))).dt.tz_localize("UTC")

    everyone = np.ones(n, dtype=bool)
    return JOURNEYS.frame(
        {
            "message_id": pd.Series(np.arange(n).astype(str)),
            "accepted_at": after(0.0, everyone),
            "routed_at": after(0.04, everyone),
            "dispatched_at": after(0.2, ~failed | (rng.random(n) < 0.9)),
            "delivered_at": after(taken, delivered),
            "seen_at": after(taken + 900, delivered & (rng.random(n) < 0.6)),
            "failed_at": after(5.0, failed),
            "outcome": pd.Series(np.select([delivered, failed], ["delivered", "failed"], "open")),
            "code": pd.Series(np.where(failed, np.array(CODES)[np.minimum(rng.geometric(0.5, n) - 1, 3)], None)),
            "observed_until": after(14 * 86400.0, everyone),
        }
    )


#: Of every hundred messages, so many go each way.
WAYS = (
    *((("accepted", "routed", 0.04),) * 30 + (("routed", "dispatched", 0.14),) * 29),
    *((("dispatched", "delivered", 1.5),) * 22 + (("delivered", "seen", 1800.0),) * 12),
    *((("dispatched", "channel_failed", 5.0),) * 3 + (("channel_failed", "failed", 0.2),) * 2),
    *((("accepted", "dispatched", 0.2),) * 2 + (("dispatched", "expired", 3600.0),) * 2),
    ("channel_failed", "dispatched", 9.0),
    ("accepted", "failed", 0.2),
    ("routed", "failed", 3.0),
    ("routed", "message-teleported", 3.0),
    ("dispatched", "seen", 3.0),
    ("delivered", "delivered", 3.0),
    ("delivered", "deleted", 3.0),
)


def tangle(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    place = rng.integers(0, len(WAYS), n)
    names = list(dict.fromkeys(state for way in WAYS for state in way[:2]))
    sides = [np.array([names.index(way[side]) for way in WAYS])[place] for side in (0, 1)]
    seconds = np.array([way[2] for way in WAYS])[place] * np.exp(0.5 * rng.standard_normal(n))
    return pd.DataFrame(
        {
            "from_state": pd.Categorical.from_codes(sides[0], names),
            "to_state": pd.Categorical.from_codes(sides[1], names),
            "latency_s": seconds,
        }
    )


CASES: dict[str, Callable[[Axes | None], Axes]] = {
    **{f"over_time {n}": lambda ax, n=n: charts.over_time(windows(n), ax=ax) for n in (1, 2, 50, 2_000)},
    **{
        f"over_time within {n}": lambda ax, n=n: charts.over_time(windows(n), show="within_60s", ax=ax)
        for n in (1, 2, 50, 2_000)
    },
    "over_time both shares": lambda ax: charts.over_time(with_gaps(), show="within", ax=ax),
    "over_time gaps": lambda ax: charts.over_time(with_gaps(), ax=ax),
    "over_time changes": lambda ax: charts.over_time(windows(50), changes=changes(), ax=ax),
    "over_time many changes": lambda ax: charts.over_time(windows(900), changes=changes(40), ax=ax),
    "over_time by": lambda ax: charts.over_time(by_group(windows, 50), changes=changes(), ax=ax),
    "over_time by many": lambda ax: charts.over_time(by_group(windows, 20, [f"{k} {LONG}" for k in range(9)]), ax=ax),
    "over_time alike": lambda ax: charts.over_time(windows(9).assign(p50_s=1.0, p90_s=1.0), ax=ax),
    "over_time unknown": lambda ax: charts.over_time(windows(3).assign(p50_s=np.nan, p90_s=np.inf), ax=ax),
    **{f"slo {n} days": lambda ax, n=n: charts.slo(objective(n), ax=ax) for n in (1, 2, 50, 2_000)},
    **{f"slo {n} hours": lambda ax, n=n: charts.slo(objective(n, every="1h"), ax=ax) for n in (1, 50, 2_000)},
    **{f"slo of {e}": lambda ax, e=e: charts.slo(objective(30, every=e), ax=ax) for e in ("5min", "6h", "7D")},
    "slo by": lambda ax: charts.slo(by_group(objective, 40), ax=ax),
    "slo by many": lambda ax: charts.slo(by_group(objective, 40, [f"{k} {LONG}" for k in range(9)]), ax=ax),
    **{f"profile {n}": lambda ax, n=n: charts.profile(week(n), ax=ax) for n in (1, 2, 50, 2_000)},
    "profile p50": lambda ax: charts.profile(week(168), value="p50", ax=ax),
    "profile by": lambda ax: charts.profile(by_group(week, 90), ax=ax),
    "profile by many": lambda ax: charts.profile(by_group(week, 90, [f"{k} {LONG}" for k in range(9)]), ax=ax),
    **{f"flow {n}": lambda ax, n=n: charts.flow(transitions(n), ax=ax) for n in (1, 2, 50, 100_000)},
    **{f"flow tangle {n}": lambda ax, n=n: charts.flow(tangle(n), ax=ax) for n in (1, 2, 50, 100_000)},
    **{f"funnel {n}": lambda ax, n=n: charts.funnel(messages(n), ax=ax) for n in (1, 2, 50, 100_000)},
}


@pytest.mark.parametrize("case", CASES)
def test_texts_neither_overlap_nor_leave_the_figure(case: str) -> None:
    ax = CASES[case](None)
    legible(ax)
    figure = ax.figure
    assert figure.get_facecolor()[3] == 0
    assert figure.get_size_inches()[0] == 7.5
    assert figure.get_size_inches()[1] < 15
    assert figure.get_size_inches()[1] > 0.8
    for label in ax.get_yticklabels():
        assert label.get_window_extent().x0 >= 0, label.get_text()


BUSY = ("over_time changes", "over_time by", "over_time both shares", "slo 50 days")
BUSY += ("profile by", "flow tangle 100000", "funnel 100000")


@pytest.mark.parametrize("case", BUSY)
@pytest.mark.parametrize(("face", "size"), [("white", (7.5, 4.0)), ("#111111", (4.5, 2.5))])
def test_an_axes_of_your_own_is_used_and_its_background_respected(
    case: str, face: str, size: tuple[float, float]
) -> None:
    figure = Figure(figsize=size, facecolor=face, layout="constrained")
    given = figure.subplots()
    given.set_facecolor(face)
    figure.draw_without_rendering()
    assert CASES[case](given) is given
    legible(given)
    assert tuple(figure.get_size_inches()) == size
    light = np.mean(mpl.colors.to_rgb(given.xaxis.label.get_color()))
    assert light < 0.4 if face == "white" else light > 0.7


# --- over_time -------------------------------------------------------------------------------------------


def drawn(ax: Axes, hue: str) -> list[float]:
    """The values along the line of a colour."""
    lines = [line for line in ax.lines if line.get_color() == hue and line.get_linestyle() == "-"]
    return [float(y) for y in max(lines, key=lambda line: len(line.get_xdata())).get_ydata()]


def test_over_time_draws_each_quantile_in_real_time() -> None:
    frame = windows(48)
    ax = charts.over_time(frame)
    from viberkit.charts._style import GROUP_COLOURS

    assert drawn(ax, GROUP_COLOURS[0]) == frame["p50_s"].tolist()
    assert drawn(ax, GROUP_COLOURS[1]) == frame["p90_s"].tolist()
    assert ax.get_yscale() == "log"
    assert {"p50", "p90", "time until delivered, log scale"} <= {text.get_text() for text in ax.texts}
    assert ticks(ax) == ["2 Mar", "06:00", "12:00", "18:00", "3 Mar", "06:00", "12:00", "18:00", "4 Mar"]
    assert "each point: the messages of 1 h · 2 Mar 2026 – 3 Mar 2026, UTC" in ax.get_xlabel().replace("\n", " ")
    assert {"1 s", "10 s"} <= {label.get_text() for label in ax.get_yticklabels()}


@pytest.mark.parametrize("every", ["1min", "1h", "1D", "400D"])
def test_dates_are_dense_enough_at_any_scale(every: str) -> None:
    for size, n in (((7.5, 4.0), 60), ((3.5, 2.5), 60), ((3.5, 2.5), 1)):
        ax = charts.over_time(windows(n, every=every), ax=Figure(figsize=size).subplots())
        assert 1 <= len(ticks(ax)) <= 14
        legible(ax, inside=False)


def test_over_time_says_where_a_quantile_is_not_reached_or_not_known() -> None:
    ax = charts.over_time(with_gaps())
    note = ax.get_xlabel().replace("\n", " ")
    assert "triangle: not reached, 5 windows" in note
    assert "dash: not known yet, 6 windows" in note
    marks = {line.get_marker(): len(line.get_xdata()) for line in ax.lines if line.get_marker() in "^_"}
    assert marks == {"^": 5, "_": 3}
    values = drawn(ax, "#e3a008")
    assert np.isnan(values).sum() == 5 + 3 + 1  # the missing windows are one break
    assert np.isfinite(values).sum() == 60 - 7 - 8


def test_over_time_draws_the_share_and_beside_it_the_naive_one() -> None:
    frame = windows(50)
    ax = charts.over_time(frame, show="within_60s")
    dotted = [line for line in ax.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 50]
    assert [line.get_ydata().tolist() for line in dotted] == [frame["within_60s_naive"].tolist()]
    assert {"share delivered within 1 min", "within 1 min", "naive"} <= {text.get_text() for text in ax.texts}
    assert [label.get_text() for label in ax.get_yticklabels()][-1] == "100 %"
    both = said(charts.over_time(frame, show="within"))
    assert "within 5 s" in both
    assert "dotted: naive" in both.replace("\n", " ")


def test_over_time_names_its_six_largest_groups() -> None:
    ax = charts.over_time(by_group(windows, 20))
    assert {"promotion", "session", "p50 of the time until delivered, log scale, by rate_type"} <= {
        text.get_text() for text in ax.texts
    }
    frame = by_group(windows, 20, [f"g{k}" for k in range(9)])
    ax = charts.over_time(frame.assign(n=frame["rate_type"].str[1:].astype(int)), show="p90_s")
    names = [text.get_text() for text in ax.texts]
    assert sorted(name for name in names if name.startswith("g")) == [f"g{k}" for k in range(3, 9)]
    assert "groups not drawn: 3" in ax.get_xlabel()
    nobody = by_group(windows, 20).assign(rate_type=lambda t: t["rate_type"].where(t["rate_type"] == "session"))
    assert "not told" in said(charts.over_time(nobody))


def test_over_time_marks_what_changed() -> None:
    ax = charts.over_time(windows(50), changes=changes())
    assert {"2 Mar 14:00", "p90 9 s → 14 s", "3 Mar 04:00"} <= set(said(ax).split("\n"))
    ax = charts.over_time(windows(900), changes=changes(40))
    assert "changes without a label: " in ax.get_xlabel().replace("\n", " ")
    charts.over_time(windows(5), changes=changes().iloc[:0])
    groups = changes().assign(rate_type="promotion")[["rate_type", *changes().columns]]
    assert "promotion · 2 Mar 14:00" in said(charts.over_time(windows(50), changes=groups))


def test_over_time_tells_dates_in_a_zone_and_shares_that_changed() -> None:
    told = changes().assign(unit="share", metric="failed", before=0.04, after=0.12)
    ax = charts.over_time(windows(30), changes=told, tz="Asia/Kolkata")
    assert {"2 Mar 19:30", "failed 4 % → 12 %"} <= set(said(ax).split("\n"))
    assert {"3 Mar", "12:00"} <= set(ticks(ax))
    assert "Asia/Kolkata" in ax.get_xlabel()


# --- slo -------------------------------------------------------------------------------------------------


def cells(ax: Axes) -> int:
    return sum(len(one.get_paths()) for one in ax.collections if isinstance(one, PolyCollection))


def test_slo_is_a_calendar_of_weeks_with_shares_and_budget() -> None:
    frame = objective(50)
    ax = charts.slo(frame)
    text = [one.get_text() for one in ax.texts]
    counts = frame["met"].value_counts()
    assert text[:3] == [f"{word} {counts[word]}" for word in ("met", "missed", "unclear")]
    assert {"Mon", "Sun", "2 Mar", "9 Mar", "objective: 95 % delivered within 1 min"} <= set(text)
    assert sum(one.startswith("× ") for one in text) == counts["missed"]
    assert sum(one.startswith("? ") for one in text) == counts["unclear"]
    assert cells(ax) == 50 + 3
    assert any(one.startswith("budget left: ") for one in text)
    assert "a cell: 1 d, UTC" in ax.get_xlabel()
    rows = {one.get_text(): one.get_position()[1] for one in ax.texts if one.get_text() in ("Mon", "Tue")}
    assert rows["Mon"] < rows["Tue"]


def test_slo_of_hours_stands_in_columns_of_days() -> None:
    ax = charts.slo(objective(50, every="1h"))
    assert {"00:00", "23:00", "2 Mar", "4 Mar"} <= set(said(ax).split("\n"))
    assert cells(ax) == 50 + 3


def test_slo_says_when_the_budget_is_overspent_or_not_known() -> None:
    frame = objective(3)
    assert "budget overspent: 240 % used" in said(charts.slo(frame.assign(budget_left_so_far=-1.4)))
    assert "budget left: not known yet" in said(charts.slo(frame.assign(budget_left_so_far=np.nan)))


def test_slo_draws_the_latest_windows_where_not_all_have_room() -> None:
    figure = Figure(figsize=(4.5, 2.5), layout="constrained")
    ax = figure.subplots()
    figure.draw_without_rendering()
    charts.slo(objective(2_000), ax=ax)
    assert " 2031" in said(ax)
    assert "earlier windows not drawn: " in ax.get_xlabel().replace("\n", " ")
    legible(ax)


def test_slo_of_days_elsewhere_stands_on_their_weekdays() -> None:
    frame = objective(2).assign(window_at=lambda t: t["window_at"] - pd.Timedelta("1h"))
    rows = [one.get_text() for one in charts.slo(frame, tz="Europe/Berlin").texts]
    assert {"Mon", "Tue", "2 Mar"} <= set(rows)
    assert "Sun" not in rows


# --- profile ---------------------------------------------------------------------------------------------


def test_profile_shows_the_first_share_or_what_is_asked_for() -> None:
    frame = week(168)
    text = said(charts.profile(frame))
    assert "share delivered within 1 min" in text
    assert "dot: fewer than 30 messages" in text
    assert {"Mon", "Sun", "00:00", "21:00"} <= set(text.split("\n"))
    assert "p50 of the time until delivered" in said(charts.profile(frame, value="p50"))
    assert "p50 of the time until delivered" in said(charts.profile(frame.drop(columns=["within_60s"])))
    assert "800" in said(charts.profile(frame, value="n")).split("\n")


def test_profile_marks_what_is_not_reached_and_leaves_empty_hours_hollow() -> None:
    frame = week(100)
    frame.loc[:2, "p50_s"] = np.inf
    frame.loc[3:4, "p50_s"] = np.nan
    ax = charts.profile(frame, value="p50_s")
    assert "cross: not reached · dash: not known yet" in ax.get_xlabel().replace("\n", " ")
    hollow, full = [one for one in ax.collections if isinstance(one, PolyCollection)][1:3]
    assert len(hollow.get_paths()) == 168
    assert len(full.get_paths()) == 95
    hues = full.get_facecolor()[:, :3]
    order = np.argsort(frame["p50_s"].to_numpy()[5:])
    bright = hues[order] @ [0.2126, 0.7152, 0.0722]
    assert bright[-1] > bright[0] + 0.3


# --- flow ------------------------------------------------------------------------------------------------


def boxes(ax: Axes) -> dict[str, tuple[float, float]]:
    """Where each state stands: share of the width, inches from the top."""
    ends = [one.get_bbox() for one in ax.patches if isinstance(one, FancyBboxPatch)]
    middles = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in ends]
    names = [text.get_text() for text in ax.texts]
    return dict(zip(names, middles, strict=False))


def test_flow_puts_states_in_order_and_failing_ones_below() -> None:
    frame = transitions(60_000)
    ax = charts.flow(frame)
    stand = boxes(ax)
    upper = ["accepted", "routed", "dispatched", "delivered", "seen"]
    assert [stand[state][0] for state in upper] == sorted(stand[state][0] for state in upper)
    assert len({round(stand[state][1], 6) for state in upper}) == 1
    assert stand["channel_failed"][1] == stand["failed"][1] > stand["accepted"][1]
    assert stand["channel_failed"][0] < stand["failed"][0]
    text = [one.get_text() for one in ax.texts]
    assert text.count("10,000") == 6
    median = frame.loc[frame["to_state"] == "dispatched", "latency_s"].median()
    assert f"median {duration(median)}" in text


def test_flow_arrows_are_as_wide_as_common() -> None:
    frame = pd.DataFrame({"from_state": ["accepted"] * 9 + ["routed"] * 3, "latency_s": 1.0})
    frame["to_state"] = ["routed"] * 9 + ["dispatched"] * 3
    wide = [one.get_linewidth() for one in charts.flow(frame).patches if isinstance(one, FancyArrowPatch)]
    assert wide[0] > 2 * wide[1]


def test_flow_leaves_out_rare_hops_and_says_so() -> None:
    ax = charts.flow(tangle(100_000))
    note = ax.get_xlabel().replace("\n", " ")
    assert "rarer hops not drawn: " in note
    assert "back into the same state, not drawn: " in note
    assert "message-teleported" in said(ax)
    frame = pd.DataFrame({"from_state": "accepted", "to_state": [f"s{k:02}" for k in range(30)], "latency_s": 1.0})
    ax = charts.flow(frame)
    assert "rarer hops not drawn: 24 (24 times)" in ax.get_xlabel()
    legible(ax)
    assert (
        "below zero, not drawn: 2" in charts.flow(transitions(9).assign(latency_s=[-1.0] * 2 + [1.0] * 7)).get_xlabel()
    )


def test_flow_of_any_states_is_legible() -> None:
    rng = np.random.default_rng(7)
    for _ in range(4):
        ends = rng.choice([*ORDER, LONG, "two words"], (30, 2))
        frame = pd.DataFrame({"from_state": ends[:, 0], "to_state": ends[:, 1], "latency_s": rng.exponential(9, 30)})
        legible(charts.flow(frame, ax=Figure(figsize=(7.5, 5.0)).subplots()))


# --- funnel ----------------------------------------------------------------------------------------------


def test_funnel_counts_each_stage_and_names_what_was_lost() -> None:
    frame = messages(100_000)
    ax = charts.funnel(frame)
    text = [one.get_text() for one in ax.texts]
    came = int((frame["outcome"] == "delivered").sum())
    assert f"{came:,} · {came / 1e5:.0%}".replace("%", " %") in text
    assert [one for one in text if one in ORDER] == ["accepted", "routed", "dispatched", "delivered", "seen"]
    (lost,) = (one for one in text if "not delivered" in one)
    there = frame["dispatched_at"].notna() & frame["delivered_at"].isna()
    bad = frame[there & (frame["outcome"] == "failed")]
    assert lost.startswith(f"{there.sum():,} not delivered: {len(bad):,} failed (UserNotFound ")
    assert lost.endswith(f"{there.sum() - len(bad):,} still open")
    widths = [bar.get_width() for bar in ax.patches][1::2]
    assert widths == sorted(widths, reverse=True)
    assert widths[3] == came / 1e5


def test_funnel_skips_stages_the_log_never_has_and_fills_those_a_message_lacks() -> None:
    ax = charts.funnel(timing.journeys(events(QUICK, [QUICK[0], QUICK[3]], QUICK[:1])).assign(routed_at=pd.NaT))
    text = [one.get_text() for one in ax.texts]
    assert text[:3] == ["accepted", "3 · 100 %", "1 not dispatched: 1 still open"]
    assert "routed" not in text
    assert text[3:5] == ["dispatched", "2 · 67 %"]
    legible(ax)


# --- all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "frame", "words"),
    [
        (charts.over_time, windows(2).iloc[:0], "no windows"),
        (charts.over_time, pd.DataFrame(), "no windows"),
        (charts.slo, objective(2).iloc[:0], "no windows"),
        (charts.slo, pd.DataFrame(), "no windows"),
        (charts.profile, week(2).iloc[:0], "no hours"),
        (charts.profile, pd.DataFrame(), "no hours"),
        (charts.flow, transitions(2).iloc[:0], "no transitions"),
        (charts.flow, pd.DataFrame(), "no transitions"),
        (charts.flow, transitions(2).assign(latency_s=-1.0), "no transitions (below zero, not drawn: 2)"),
        (charts.funnel, messages(2).iloc[:0], "no messages"),
        (charts.funnel, pd.DataFrame(), "no messages"),
    ],
)
def test_an_empty_frame_says_so(draw: Callable[[pd.DataFrame], Axes], frame: pd.DataFrame, words: str) -> None:
    ax = draw(frame)
    assert [text.get_text() for text in ax.texts] == [words]
    assert ticks(ax) == []
    legible(ax)


def test_a_frame_of_another_kind_is_refused_with_a_remedy() -> None:
    with pytest.raises(MissingColumn, match=r"over_time.*vk\.over_time\(journeys\).*'window_at'"):
        charts.over_time(week(3))
    with pytest.raises(MissingColumn, match=r"over_time.*'p99'"):
        charts.over_time(windows(3), show="p99")
    with pytest.raises(MissingColumn, match=r"changes=vk\.changes\(journeys\).*'since'"):
        charts.over_time(windows(3), changes=windows(3))
    with pytest.raises(MissingColumn, match=r"slo.*vk\.slo\(journeys\).*'share', 'met'"):
        charts.slo(windows(3))
    with pytest.raises(MissingColumn, match=r"profile.*vk\.profile\(journeys\).*'weekday'"):
        charts.profile(windows(3))
    with pytest.raises(MissingColumn, match=r"flow.*vk\.transitions\(events\).*'latency_s'"):
        charts.flow(transitions(3).drop(columns="latency_s"))
    with pytest.raises(MissingColumn, match=r"funnel.*vk\.journeys\(events\).*'outcome'"):
        charts.funnel(messages(2).drop(columns="outcome"))


def test_inputs_are_not_changed() -> None:
    told = changes()
    for draw, frame in (
        (charts.over_time, with_gaps()),
        (lambda frame: charts.over_time(frame, changes=told), by_group(windows, 9).sample(frac=1, random_state=1)),
        (charts.slo, objective(9).sample(frac=1, random_state=1)),
        (charts.profile, week(99)),
        (charts.flow, tangle(99)),
        (charts.funnel, messages(50)),
    ):
        before = frame.copy(deep=True)
        draw(frame)
        pd.testing.assert_frame_equal(frame, before)
        assert frame.attrs == before.attrs
    pd.testing.assert_frame_equal(told, changes())


@pytest.mark.parametrize("draw", ["flow", "funnel"])
def test_a_million_rows_take_less_than_two_seconds(draw: str) -> None:
    frame = transitions(1_000_000) if draw == "flow" else messages(1_000_000)
    begin = time.perf_counter()
    ax = getattr(charts, draw)(frame)
    ax.figure.savefig(BytesIO(), format="png")
    assert time.perf_counter() - begin < 2.0
    legible(ax)


def test_svg_is_the_same_each_time() -> None:
    def svg(draw: Callable[[Axes | None], Axes]) -> bytes:
        out = BytesIO()
        with mpl.rc_context({"svg.hashsalt": "viberkit", "svg.fonttype": "none"}):
            draw(None).figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

    for case in ("over_time changes", "slo 50 days", "profile 50", "flow tangle 50"):
        assert svg(CASES[case]) == svg(CASES[case]), case
