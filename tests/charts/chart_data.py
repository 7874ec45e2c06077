"""Results as the analysis returns them, built by hand, and checks of the texts of a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from viberkit.frames.columns import JOURNEYS
from viberkit.models.states import ORDER

TRANSITIONS = (
    ("accepted", "routed", 0.04, 0.35),
    ("routed", "dispatched", 0.14, 0.45),
    ("dispatched", "delivered", 1.5, 2.0),
    ("delivered", "seen", 1800.0, 1.6),
    ("dispatched", "channel_failed", 5.0, 1.0),
    ("channel_failed", "failed", 0.2, 0.5),
)
START = pd.Timestamp("2026-03-02T00:00:00Z")  # a Monday
MORNING = pd.Timestamp("2026-03-01T09:00:00Z")
CODES = ("viber::error::UserNotFound", "viber::error::Expired", "viber::error::Blocked", "viber::error::Internal")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DELIVERED = [("accepted", 0.0), ("routed", 0.04), ("dispatched", 0.19), ("delivered", 240.0), ("seen", 4000.0)]
LONG = "message-teleported-through-a-carrier-with-a-name-longer-than-any-chart-is-wide"
LONG_GROUP = "a group with a name so long that no reader of the chart would ever need all of it"
GROUPS = ["promotion", "transaction", LONG_GROUP, *(f"service {number}" for number in range(9))]
NAN = float("nan")


def transitions(n: int, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    index = np.arange(n) % len(TRANSITIONS)
    median, sigma = np.array([row[2] for row in TRANSITIONS]), np.array([row[3] for row in TRANSITIONS])
    seconds = np.round(np.exp(np.log(median[index]) + sigma[index] * rng.standard_normal(n)), 3)
    started = MORNING.as_unit("us") + pd.to_timedelta(np.arange(n), unit="ms")
    states = [[ORDER.index(TRANSITIONS[number][side]) for number in index] for side in (0, 1)]
    return pd.DataFrame(
        {
            "message_id": pd.Series(index // len(TRANSITIONS)).astype("str"),
            "from_state": pd.Categorical.from_codes(states[0], ORDER),
            "to_state": pd.Categorical.from_codes(states[1], ORDER),
            "started_at": started,
            "ended_at": started + pd.to_timedelta(seconds, unit="s"),
            "latency_s": seconds,
        }
    )


def delivered(n: int) -> pd.DataFrame:
    """Transitions of one kind."""
    return transitions(n).assign(from_state="accepted", to_state="delivered")


def events(*messages: list[tuple[str, float]], names: list[str] | None = None) -> pd.DataFrame:
    rows = [
        (
            names[number] if names else f"3f2504e0-4f89-41d3-9a0c-{number:012d}",
            state,
            MORNING + pd.Timedelta(at, unit="s"),
        )
        for number, message in enumerate(messages)
        for state, at in message
    ]
    frame = pd.DataFrame(rows, columns=["message_id", "state", "happened_at"])
    return frame.astype({"message_id": "str", "state": "category"})


def latency(n: int, by: Sequence[str] = ()) -> pd.DataFrame:
    """A result of vk.latency with intervals by order statistics, and a state that no message has left."""
    rows = transitions(n)
    rows["rate_type"] = np.where(np.arange(n) // 6 % 2 == 0, "promotion", LONG_GROUP)
    rows["team"] = np.where(np.arange(n) // 12 % 2 == 0, "north", "south")
    result = []
    for key, part in rows.groupby([*by, "from_state", "to_state"], observed=True)["latency_s"]:
        values, size = np.sort(part.to_numpy()), len(part)
        for quantile in (0.5, 0.9, 0.95, 0.999):
            reach = 1.96 * np.sqrt(quantile * (1 - quantile) / size)
            low, high = int(np.floor((quantile - reach) * size)) - 1, int(np.ceil((quantile + reach) * size))
            row = dict(zip([*by, "from_state", "to_state"], key, strict=True))
            row |= {"quantile": quantile, "value_s": np.quantile(values, quantile), "n": size}
            row |= {"low_s": values[low] if low >= 0 else 0.0, "high_s": values[high] if high < size else np.inf}
            result.append(row | {"max_s": values[-1], "total_s": values.sum()})
    table = pd.DataFrame(result)
    totals = table.groupby(list(by))["total_s"].transform("sum") if by else table["total_s"].sum()
    table["time_share"] = table["total_s"] / totals * 4
    waiting = table.iloc[:1].assign(from_state="seen", to_state=None, n=0, value_s=NAN, low_s=NAN, high_s=NAN)
    table = pd.concat([table, waiting.assign(total_s=0.0, time_share=0.0, max_s=NAN)], ignore_index=True)
    table.attrs = {"by": list(by), "confidence": 0.95, "tz": "UTC"}
    return table


def time_to(n: int, groups: int = 0, *, quantiles: Sequence[float] = (0.5, 0.95), of: str = "all") -> pd.DataFrame:
    """A result of vk.time_to: every third group does not reach a quantile yet, every fourth will not reach it."""
    rows = []
    for number in range(max(groups, 1)):
        for quantile in quantiles:
            value = np.nan if number % 3 == 2 else np.inf if number % 4 == 3 else 2.0 * (1 + number) * 20**quantile
            low, high = (value / 2, value * 2) if n > 20 and np.isfinite(value) else (0.0, np.inf)
            row = {"quantile": quantile, "value_s": value, "low_s": low, "high_s": high, "n": n + number, "n_open": 1}
            rows.append(({"country": [*GROUPS, *(f"country {k}" for k in range(30))][number]} if groups else {}) | row)
    frame = pd.DataFrame(rows).assign(summary="…")
    frame.attrs = {"by": ["country"] if groups else [], "start": "accepted", "end": "delivered", "of": of}
    frame.attrs |= {"confidence": 0.95, "tz": "UTC"}
    return frame


def curve(n: int, groups: int = 0, observed: str = "3h", by: Sequence[str] = ("rate_type",)) -> pd.DataFrame:
    """A result of vk.delivery_curve: median 1.5 s, a tail from a minute on, 4 % failed, the others open."""
    parts = [_curve(n // max(groups, 1) + 1 if groups else n, seed, observed) for seed in range(max(groups, 1))]
    if groups:
        parts = [
            part.assign(**{name: GROUPS[seed] if level == 0 else f"team {seed}" for level, name in enumerate(by)})
            for seed, part in enumerate(parts)
        ]
    frame = pd.concat(parts, ignore_index=True)
    names = list(by) if groups else []
    frame = frame[[*names, *(name for name in frame.columns if name not in names)]]
    frame.attrs = {"by": names, "start": "accepted", "end": "delivered", "other": "failed", "confidence": 0.95}
    frame.attrs |= {"tz": "UTC", "band": "score"}
    return frame


@cache
def _curve(n: int, seed: int, observed: str) -> pd.DataFrame:
    rng = np.random.default_rng([n, seed])
    seconds = np.round(rng.lognormal(np.log(1.5), 0.6, n), 3)
    tail, fails = rng.random(n) < 0.05, rng.random(n) < 0.04
    seconds[tail] = np.round(60 * rng.uniform(0.001, 1, tail.sum()) ** -0.8, 3)
    seconds[rng.random(n) < 0.0005] = np.inf
    limit = pd.Timedelta(observed).total_seconds()
    return curve_of(np.minimum(seconds, limit), np.where(seconds > limit, 0, np.where(fails, 2, 1)), limit)


def curve_of(seconds: np.ndarray, cause: np.ndarray, limit: float | None = None) -> pd.DataFrame:
    """A curve of messages that were delivered (1), failed (2) or were last observed open (0) after some seconds."""
    n = len(seconds)
    table = pd.DataFrame({"time_s": np.asarray(seconds, dtype=float), "cause": cause})
    counts = pd.crosstab(table["time_s"], table["cause"]).reindex(columns=[0, 1, 2], fill_value=0)
    times = sorted({0.0, *counts.index, *([limit] if limit is not None else [])})
    counts = counts.reindex(times, fill_value=0)
    delivered, failed = counts[1].cumsum() / n, counts[2].cumsum() / n
    frame = pd.DataFrame({"time_s": counts.index.to_numpy(dtype=float), "delivered": delivered.to_numpy()})
    error = 1.96 * np.sqrt(frame["delivered"] * (1 - frame["delivered"]) / n) + 0.5 / n
    frame["delivered_low"] = np.maximum(frame["delivered"] - error, 0)
    frame["delivered_high"] = np.minimum(frame["delivered"] + error, 1)
    frame["failed"] = failed.to_numpy()
    frame["failed_low"] = frame["failed_high"] = frame["failed"]
    frame["open"] = np.maximum(1 - frame["delivered"] - frame["failed"], 0)
    frame["n_delivered"], frame["n_failed"], frame["n_censored"] = (counts[code].to_numpy() for code in (1, 2, 0))
    return frame


def comparison(n: int, groups: int = 2, end: str = "delivered") -> pd.DataFrame:
    """A result of vk.compare of two quantiles and two shares."""
    empty = dict.fromkeys(("within_s", "quantile", "share_difference", "share_low", "share_high"), NAN)
    empty |= dict.fromkeys(("difference_s", "low_s", "high_s"), NAN)
    rows = []
    for index, group in enumerate(["promotion", "session", LONG_GROUP, *GROUPS[3:]][:groups]):
        row = empty | {"group": group, "baseline": "transaction", "n": n, "baseline_n": n}
        for within_s, gap, spread in ((60.0, -0.021, 0.5), (np.inf, 0.004, 0.4)):
            gap, error = gap * (index + 1), spread / np.sqrt(n)
            values = {"share_difference": gap, "share_low": gap - error, "share_high": gap + error}
            rows.append(row | {"within_s": within_s} | values)
        for quantile, gap, spread in ((0.5, 0.4, 3.0), (0.95, -12.0, 150.0)):
            gap, error = gap * (index + 1), spread / np.sqrt(n)
            low, high = (-np.inf, np.inf) if n < 3 else (gap - error, gap + error)
            rows.append(row | {"quantile": quantile, "difference_s": gap, "low_s": low, "high_s": high})
    frame = pd.DataFrame(rows)
    frame.attrs = {"by": ["rate_type"], "start": "accepted", "end": end, "confidence": 0.95, "tz": "UTC"}
    return frame


def explanation(n: int, unit: str = "share") -> pd.DataFrame:
    """A result of vk.explain with ``n`` parts."""
    effect = np.array([-0.041, 0.012, -0.006])[np.arange(n) % 3] / (1 + np.arange(n)) * (1 if unit == "share" else 200)
    half = np.abs(effect) * np.where(np.arange(n) % 2, 1.2, 0.3)
    frame = pd.DataFrame({"kind": "within", "column": "country", "effect": effect})
    frame = frame.assign(low=effect - half, high=effect + half)
    frame["summary"] = [
        f"country {GROUPS[i % len(GROUPS)]}: dispatched → delivered slower: −1 of −5 (−2 to 0)" for i in range(n)
    ]
    frame.attrs = {"by": [], "start": "accepted", "end": "delivered", "what": "within 60 s", "unit": unit, "tz": "UTC"}
    frame.attrs |= {"before": 0.82, "after": 0.77, "difference": -0.05, "of_note": ""}
    return frame


WAITS = (5, 10, 30, 60, 120, 300, 600, 3600, 86400)


def fallback(n: int = 1000, groups: int = 0, by: Sequence[str] = ("rate_type",)) -> pd.DataFrame:
    """A result of vk.fallback."""
    share = 0.06 + 0.5 * np.array(WAITS) ** -0.5
    waits = pd.DataFrame({"wait_s": np.array(WAITS, dtype=float), "fallback_share": share})
    waits = waits.assign(fallback_low=np.maximum(share - 0.5 / n**0.5, 0), fallback_high=share + 0.5 / n**0.5)
    waits = waits.assign(delivered_later_share=0.5, duplicate_share=0.01, cost=0.01 + 0.05 * share, reach_s=180.0)
    waits = waits.assign(reached_share=0.96, meets_target=waits["wait_s"] <= 600, chosen=waits["wait_s"] == 600)
    cost = ["cost", "cost_low", "cost_high"]
    waits[cost[1:]] = 0.01 + 0.05 * waits[["fallback_low", "fallback_high"]].to_numpy()
    names = list(by) if groups else []
    if groups:
        parts = [
            waits.assign(
                **(waits[cost] + number / 100),
                **{name: GROUPS[number] if level == 0 else f"team {number}" for level, name in enumerate(by)},
            )
            for number in range(groups)
        ]
        waits = pd.concat(parts, ignore_index=True)[[*names, *waits.columns]]
    waits.attrs = {"by": names, "target": 0.95, "within_s": 600.0, "viber_charged": "sent", "tz": "UTC"}
    return waits


def starts(n: int, every: str) -> pd.DatetimeIndex:
    return pd.date_range(START, periods=n, freq=pd.Timedelta(every), unit="us")


def over_time(n: int, *, every: str = "1h", seed: int = 0) -> pd.DataFrame:
    """A result of vk.over_time: two shares and two quantiles per window."""
    rng, at = np.random.default_rng(seed), starts(n, every)
    night = np.where((at.hour < 6) | (at.hour > 21), 2.0, 1.0)
    base = pd.DataFrame({"window_at": at, "n": rng.integers(20, 500, n), "n_open": rng.integers(0, 9, n)})
    parts = []
    for within_s, level in ((5.0, 0.85), (60.0, 0.95)):
        share = np.clip(level + 0.01 * rng.standard_normal(n), 0, 1)
        part = base.assign(within_s=within_s, quantile=NAN, share=share, low=share - 0.02)
        parts.append(part.assign(high=np.minimum(share + 0.02, 1), naive_share=share - 0.015))
    median = 1.5 * night * np.exp(0.06 * rng.standard_normal(n))
    for quantile, value, wide in ((0.5, median, 1.1), (0.9, median * 6, 1.5)):
        part = base.assign(within_s=NAN, quantile=quantile, value_s=value)
        parts.append(part.assign(low_s=value / wide, high_s=value * wide))
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs = {"by": [], "start": "accepted", "end": "delivered", "every": every, "confidence": 0.95, "tz": "UTC"}
    return frame


def over_time_with_gaps(n: int = 60) -> pd.DataFrame:
    """Every ninth window does not reach p90, the last three are not yet known, and some are missing."""
    frame = over_time(n)
    number = frame.groupby(["within_s", "quantile"], dropna=False).cumcount()
    frame.loc[(number % 9 == 4) & (frame["quantile"] == 0.9), ["value_s", "high_s"]] = np.inf
    values = ["share", "low", "high", "naive_share", "value_s", "low_s", "high_s"]
    frame.loc[number >= n - 3, values] = NAN
    return frame[~number.between(20, 26)]


def over_time_of_few(n: int, *, every: str = "1h", seed: int = 0) -> pd.DataFrame:
    """Windows of eight messages, by which p90 is often not reached or not known, and its interval has no bound."""
    frame = over_time(n, every=every, seed=seed)
    share = np.random.default_rng(seed).random(len(frame))
    values = np.select([share < 0.1, share < 0.2], [np.inf, NAN], frame["value_s"] * 100**share)
    result = frame.assign(value_s=values, low_s=values / 20, high_s=np.inf, n=8)
    result.attrs = frame.attrs
    return result


def profile_of_few(*, seed: int = 0) -> pd.DataFrame:
    """Hours of eighteen messages, in which a quantile is often not reached or not known."""
    frame = profile(120, seed=seed).assign(n=18, quantile=lambda t: t["quantile"].replace(0.5, 0.95))
    share = np.random.default_rng(seed).random(len(frame))
    return frame.assign(value_s=np.select([share < 0.4, share < 0.6], [np.inf, NAN], frame["value_s"]))


def by_group(
    build: Callable[..., pd.DataFrame],
    n: int,
    names: Sequence[str] = ("promotion", "session"),
    by: Sequence[str] = ("rate_type",),
) -> pd.DataFrame:
    parts = [
        build(n, seed=seed).assign(
            **{column: name if level == 0 else f"team {seed}" for level, column in enumerate(by)}
        )
        for seed, name in enumerate(names)
    ]
    frame = pd.concat(parts, ignore_index=True)
    result = frame[[*by, *(name for name in frame.columns if name not in by)]]
    result.attrs = parts[0].attrs | {"by": list(by)}
    return result


def changes(n: int = 2) -> pd.DataFrame:
    """A result of vk.changes."""
    frame = pd.DataFrame({"since_at": starts(n + 1, "14h")[1:], "metric": "time", "quantile": 0.9})
    frame = frame.assign(before_s=9.0, after_s=14.2, failed_before=NAN, failed_after=NAN, p_value=1e-5, summary="…")
    frame.attrs = {"by": [], "start": "accepted", "end": "delivered", "confidence": 0.95, "tz": "UTC"}
    return frame


def slo(n: int, *, every: str = "1d", seed: int = 0) -> pd.DataFrame:
    """A result of vk.slo."""
    rng = np.random.default_rng(seed)
    share = np.clip(0.962 + 0.015 * rng.standard_normal(n), 0, 1)
    verdict = np.select([share > 0.96, share < 0.94], ["met", "missed"], "unclear")
    frame = pd.DataFrame({"window_at": starts(n, every.replace("d", "D")), "within_s": 60.0, "share": share})
    frame = frame.assign(low=share - 0.01, high=share + 0.01, n=400, n_open=3)
    frame["verdict"] = pd.Categorical(verdict, ["met", "missed", "unclear"])
    frame = frame.assign(n_missed=400 * (1 - share), n_allowed=20.0)
    frame["budget_left"] = 1 - frame["n_missed"] / frame["n_allowed"]
    frame["budget_left_cumulative"] = 1 - frame["n_missed"].cumsum() / frame["n_allowed"].cumsum()
    frame.attrs = {"by": [], "start": "accepted", "end": "delivered", "within_s": 60.0, "target": 0.95}
    frame.attrs |= {"every": every, "confidence": 0.95, "tz": "UTC"}
    return frame


def profile(n: int, *, seed: int = 0) -> pd.DataFrame:
    """A result of vk.profile: a share and a quantile per hour of the week."""
    rng = np.random.default_rng(seed)
    cell = np.sort(rng.permutation(168)[: min(n, 168)])
    hour, day = cell % 24, cell // 24
    median = 1.5 * (1 + 1.2 * np.exp(-(((hour - 3) / 3) ** 2))) * np.exp(0.1 * rng.standard_normal(len(cell)))
    base = pd.DataFrame({"weekday": pd.Categorical.from_codes(day, DAYS, ordered=True), "hour": hour})
    base = base.assign(n=np.where(hour < 6, 12, 800), n_open=1)
    shares = base.assign(within_s=60.0, quantile=NAN, share=1 - 0.03 * median, low=0.5, high=1.0)
    times = base.assign(within_s=NAN, quantile=0.5, value_s=median, low_s=median * 0.9, high_s=median * 1.1)
    frame = pd.concat([shares, times], ignore_index=True)
    frame.attrs = {"by": [], "start": "accepted", "end": "delivered", "confidence": 0.95, "tz": "UTC"}
    return frame


@cache
def journeys(n: int) -> pd.DataFrame:
    """Journeys of two weeks: slower at night, a heavy tail, failures with codes, and some still open."""
    rng = np.random.default_rng(0)
    accepted = START.as_unit("us") + pd.to_timedelta((rng.uniform(0, 14 * 86400e6, n)).astype(np.int64), unit="us")
    seconds = 1.5 * np.exp(0.6 * rng.standard_normal(n)) * np.where(accepted.hour < 6, 2, 1)
    seconds = np.where(rng.random(n) < 0.05, 60 * (1 - rng.random(n)) ** (-1 / 1.1), seconds)
    failed = rng.random(n) < 0.04
    delivered = ~failed & (seconds < 3600)

    def after(delay_s: float | np.ndarray, mask: np.ndarray) -> pd.Series:
        at = accepted + pd.to_timedelta((np.minimum(delay_s, 1e6) * 1e6 * np.ones(n)).astype(np.int64), unit="us")
        return pd.Series(np.where(mask, at.to_numpy("datetime64[us]"), np.datetime64("NaT"))).dt.tz_localize("UTC")

    all_rows = np.ones(n, dtype=bool)
    return JOURNEYS.frame(
        {
            "message_id": pd.Series(np.arange(n).astype(str)),
            "accepted_at": after(0.0, all_rows),
            "routed_at": after(0.04, all_rows),
            "dispatched_at": after(0.2, ~failed | (rng.random(n) < 0.9)),
            "delivered_at": after(seconds, delivered),
            "seen_at": after(seconds + 900, delivered & (rng.random(n) < 0.6)),
            "failed_at": after(5.0, failed),
            "outcome": pd.Series(np.select([delivered, failed], ["delivered", "failed"], "open")),
            "code": pd.Series(np.where(failed, np.array(CODES)[np.minimum(rng.geometric(0.5, n) - 1, 3)], None)),
            "observed_until": after(14 * 86400.0, all_rows),
        }
    )


#: Transitions of a busy log, repeated by their frequency.
FREQUENT = (
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


def by_country(frame: pd.DataFrame, groups: int) -> pd.DataFrame:
    """Assign messages to countries, of which the first are the most frequent."""
    names, weights = np.array([*GROUPS, *(f"country {k}" for k in range(30))])[:groups], 1 / np.arange(1, groups + 1)
    country = np.random.default_rng(0).choice(names, len(frame) // 6 + 1, p=weights / weights.sum())
    return frame.assign(country=country[np.arange(len(frame)) // 6])


def crossing_transitions(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    index = rng.integers(0, len(FREQUENT), n)
    names = list(dict.fromkeys(state for row in FREQUENT for state in row[:2]))
    sides = [np.array([names.index(row[side]) for row in FREQUENT])[index] for side in (0, 1)]
    seconds = np.array([row[2] for row in FREQUENT])[index] * np.exp(0.5 * rng.standard_normal(n))
    return pd.DataFrame(
        {
            "from_state": pd.Categorical.from_codes(sides[0], names),
            "to_state": pd.Categorical.from_codes(sides[1], names),
            "latency_s": seconds,
        }
    )


def texts_of(ax: Axes) -> list[Text]:
    """The texts that are visible: those in the axes, the title, the labels of ticks, the label of the x-axis."""
    low, high = ax.get_xlim()
    names = zip(ax.get_xticks(), ax.get_xticklabels(), strict=False)  # no labels in the upper rows of panels
    inside = [text for text in ax.get_children() if isinstance(text, Text)]
    texts = [*inside, *(label for at, label in names if low <= at <= high), ax.xaxis.label]
    return [text for text in texts if text.get_text() and text.get_visible()]


def ticks(ax: Axes) -> list[str]:
    """The labels of the x-axis that are visible."""
    ax.get_figure(root=True).draw_without_rendering()
    low, high = ax.get_xlim()
    shown = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    return [label.get_text() for at, label in shown if low <= at <= high]


def text_of(ax: Axes) -> str:
    """All texts of a chart, a line each."""
    return "\n".join([*(text.get_text() for text in ax.texts), *ticks(ax), ax.get_xlabel()])


def check_legible(ax: Axes, *, inside: bool = True) -> None:
    """Check that no two texts overlap and none leaves the figure, in the axes and its insets."""
    ax.get_figure(root=True).draw_without_rendering()
    _check_legible(ax, inside)


def _check_legible(ax: Axes, inside: bool) -> None:
    figure = ax.get_figure(root=True)
    boxes = [(text.get_text(), text.get_window_extent()) for part in (ax, *ax.child_axes) for text in texts_of(part)]
    for (first, a), (second, b) in combinations(boxes, 2):
        wide, tall = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or tall <= 2.0, f"{first!r} and {second!r} overlap by {wide:.1f} by {tall:.1f} px"
    for grid in (lines for lines in ax.collections if isinstance(lines, LineCollection) and lines.get_zorder() == 0.5):
        for path in grid.get_paths():
            (left, y), (right, _) = grid.get_transform().transform(path.vertices)
            for text, box in boxes:
                assert right <= box.x0 + 1 or box.x1 <= left or not box.y0 + 2 < y < box.y1 - 2, (
                    f"a line crosses {text!r}"
                )
    for text, box in boxes if inside else ():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
    low, high = sorted(ax.get_ylim())
    names = zip(ax.get_yticks(), ax.get_yticklabels(), strict=False)
    heights = [label.get_window_extent() for at, label in names if label.get_text() and low <= at <= high]
    for index, box in enumerate(heights):
        assert not inside or box.x0 >= 0
        assert not inside or box.y1 <= figure.bbox.y1
        assert all(box.y1 <= other.y0 + 2 or other.y1 <= box.y0 + 2 for other in heights[index + 1 :])
    for child in ax.child_axes:
        _check_legible(child, inside)
