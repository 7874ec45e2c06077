"""Change points: since when deliveries take longer, or more messages fail.

Messages are put in the order in which they started. For each of a few levels (slower than half of all, than three
quarters, …) every message either exceeds it or does not, and the running sum of *exceeds it, less the share that
does* wanders about zero; where something changed it runs off and comes back. Its greatest distance from zero, over
the square root of the number of messages and the spread of one, is Kolmogorov's statistic where nothing changed
(Page 1954; Csörgő and Horváth, *Limit Theorems in Change-Point Analysis*, 1997). The greatest over all levels counts,
its p-value times their number (Bonferroni). A change found cuts the log in two, and each part is searched again.

The hours of the day have levels of their own wherever the log spans three days or more, or each night would be a
change. What runs in bursts has a wider spread: it is taken from neighbouring blocks of messages, if it is more there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.durations import FAILED, OPEN, Durations, durations
from viberkit.grouping import BY
from viberkit.incidence import Floats, Ints, incidence
from viberkit.survival import SECOND, curve_of, is_share
from viberkit.trail import instants
from viberkit.words import duration, percent, percentile

__all__ = ["changes"]

_LEVELS = (0.5, 0.75, 0.9, 0.95)
_LEAST = 40  # messages on either side of a change
_RHYTHM_DAYS = 3
_NEARLY = 0.8  # of what moved about as much, the last of the quantiles is told
_HOUR = 3_600 * SECOND
_COLUMNS = "since metric unit before after p_value n_before n_after text".split()


def changes(
    journeys: pd.DataFrame,
    quantiles: tuple[float, ...] = (0.5, 0.95),
    by: BY = None,
    *,
    alpha: float = 0.05,
    most: int = 5,
    start: str = "accepted",
    end: str = "delivered",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Since when something is different: the time to delivery, or the share that fails.

    One row a change, at most ``most`` (and for each group ``by``), in order of time. Columns: those of ``by``;
    ``since``, the start of the first message after it (UTC); ``metric``: the one of ``quantiles`` that moved most, of
    the time to ``end`` of messages that do not fail, or ``failed``; ``unit`` (``s`` or ``share``); ``before``,
    ``after``: the metric from the change before (or the beginning) to this one, and from this one to the next (or the
    end); ``p_value``: the chance that a log without any change shows as much; ``n_before``, ``n_after``: messages
    there; ``text``, which tells times in the zone ``tz``.

    Where nothing changed, a change is found in at most a share ``alpha`` of logs. Open messages count as long as they
    were watched, with the chance that they will still exceed a level. Differences between the hours of the day are no
    changes where the log spans three days or more; in shorter ones they cannot be told apart. Raises as
    ``vk.delivery_curve``.

    >>> rng = np.random.default_rng(1)
    >>> at = pd.Timestamp("2026-11-14T00:00:00Z") + pd.to_timedelta(np.arange(2000), unit="min")
    >>> took = rng.lognormal(0.5, 0.5, 2000) * np.where(np.arange(2000) < 1000, 1, 3)
    >>> trips = pd.DataFrame({"message_id": np.arange(2000).astype("str"), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.to_timedelta(took, unit="s"), "observed_until": at[-1] + pd.Timedelta("1h")})
    >>> changes(trips)["text"].tolist()
    ['since 14 Nov 16:40 p95 rose from 3.7 s to 12 s']
    """
    for one in quantiles:
        is_share(one, "quantiles")
    is_share(alpha, "alpha")
    told = durations(journeys, "changes", start=start, end=end, by=by, messages=messages, tz=tz)
    found: list[dict[str, Any]] = []
    for named, part in told.parts():
        ordered = part.take(np.argsort(part.started, kind="stable"))
        search = _Search(ordered, tz)
        cuts = search.cuts(alpha, most)
        edges = [0, *(cut for cut, _ in cuts), len(ordered)]
        for place, (cut, chance) in enumerate(cuts):
            parts = [np.arange(edges[place], cut), np.arange(cut, edges[place + 2])]
            since = instants(ordered.started[[cut]]).iloc[0]
            row = {**named, "since": since, "p_value": chance, **_moved(ordered, parts, quantiles)}
            found.append({**row, "text": _words(row, tz)})
    made = pd.DataFrame(found, columns=[*told.groups.columns, *_COLUMNS])
    kinds = {name: told.groups[name].dtype for name in told.groups.columns}
    return made.astype({**kinds, "since": instants(np.zeros(0, dtype=np.int64)).dtype})


@dataclass(frozen=True)
class _Found:
    """The greatest distance of a stretch's running sums from zero: where, and how likely without a change."""

    cut: int
    chance: float


class _Search:
    """The search for changes among messages in order of their start."""

    def __init__(self, part: Durations, tz: str) -> None:
        self.part = part
        zone = instants(part.started).dt.tz_convert(tz).dt
        hours = zone.hour.to_numpy(dtype=np.int64)
        long = len(part) > 0 and part.started[-1] - part.started[0] >= _RHYTHM_DAYS * 24 * _HOUR
        self.hour = hours if long else np.zeros(len(part), dtype=np.int64)

    def cuts(self, alpha: float, most: int) -> list[tuple[int, float]]:
        """Where the changes are, and their p-values: found in turn, then each judged between its neighbours."""
        cuts: list[int] = []
        waiting = [(0, len(self.part), alpha)]
        while waiting and len(cuts) < most:
            low, high, chance = waiting.pop(0)
            found = self.greatest(low, high)
            if found.chance <= chance:
                cuts.append(found.cut)
                waiting += [(low, found.cut, chance / 2), (found.cut, high, chance / 2)]
        cuts.sort()
        kept: list[tuple[int, float]] = []
        edges = [0, *cuts, len(self.part)]
        for place in range(1, len(edges) - 1):
            low = kept[-1][0] if kept else 0
            found = self.greatest(low, edges[place + 1])
            if found.chance <= alpha:
                kept.append((found.cut, found.chance))
        return kept

    def greatest(self, low: int, high: int) -> _Found:
        """The likeliest change of a stretch of messages."""
        if high - low < 2 * _LEAST:
            return _Found(low, 1.0)
        part, hour = self.part.take(np.arange(low, high)), self.hour[low:high]
        best = _Found(low, 1.0)
        tests = [*_exceedances(part, hour)]
        for excess in tests:
            if (spread := _spread(excess)) <= 0:
                continue
            distance = np.abs(np.cumsum(excess))[_LEAST - 1 : -_LEAST]
            place = int(np.argmax(distance))
            chance = len(tests) * float(special.kolmogorov(distance[place] / (spread * np.sqrt(len(excess)))))
            if chance < best.chance:
                best = _Found(low + _LEAST + place, chance)
        return best


def _exceedances(part: Durations, hour: Ints) -> list[Floats]:
    """For each level, and for failing, how much more each message exceeds it than its hour does on average."""
    tests = np.zeros((len(_LEVELS) + 1, len(part)))
    for one in np.unique(hour):
        mine = np.flatnonzero(hour == one)
        few = part.take(mine)
        lasting = few.cause != FAILED
        stay = few.take(lasting)
        curve = incidence(stay.time, stay.cause, 1, stay.entry)
        for place, level in enumerate(_LEVELS):
            limit = curve.quantile(level * float(curve.share[0, -1]))
            if not len(stay) or not np.isfinite(limit):
                continue
            beyond = (stay.time > limit).astype(np.float64)
            unknown = (stay.cause == OPEN) & (stay.time <= limit)
            still = curve.open[curve.at(stay.time[unknown])]
            past = float(curve.open[curve.at(limit)])
            beyond[unknown] = np.divide(past, still, out=np.ones(len(still)), where=still > 0)
            tests[place, mine[lasting]] = beyond - beyond.mean()
        failed = (~lasting).astype(np.float64)
        tests[-1, mine] = failed - failed.mean()
    return list(tests)


def _spread(excess: Floats) -> float:
    """The standard deviation of one message, or, if that is more, what neighbouring blocks of messages tell of it."""
    single = float(np.mean(excess**2))
    block = max(2, round(len(excess) ** (1 / 3)))
    means = excess[: len(excess) // block * block].reshape(-1, block).mean(axis=1)
    blocks = block * float(np.mean(np.diff(means) ** 2)) / 2 if len(means) > 1 else 0.0
    return float(np.sqrt(max(single, blocks)))


def _moved(part: Durations, places: Sequence[Ints], quantiles: tuple[float, ...]) -> dict[str, Any]:
    """What moved most between two stretches, before and after."""
    sides = [part.take(chosen) for chosen in places]
    rows: list[dict[str, Any]] = []
    for one in quantiles:
        times = []
        for side in sides:
            stay = side.take(side.cause != FAILED)
            times.append(incidence(stay.time, stay.cause, 1, stay.entry).quantile(one) / SECOND)
        rows.append({"metric": percentile(one), "unit": "s", "before": times[0], "after": times[1]})
    shares = [float(curve_of(side).share[1, -1]) for side in sides]
    failed: dict[str, Any] = {"metric": "failed", "unit": "share", "before": shares[0], "after": shares[1]}
    counts = {"n_before": len(places[0]), "n_after": len(places[1])}
    sizes = [_size(row, counts) for row in [*rows, failed]]
    enough = [place for place, size in enumerate(sizes[:-1]) if size >= _NEARLY * max(sizes)]
    return {**(rows[enough[-1]] if enough else failed), **counts}


def _size(row: dict[str, Any], counts: dict[str, int]) -> float:
    """How far a metric moved: the logarithm of the ratio, of shares with half a message more on either side."""
    before, after = row["before"], row["after"]
    if row["unit"] == "share":
        before, after = before + 3 / counts["n_before"], after + 3 / counts["n_after"]
    if np.isinf(before) or np.isinf(after):
        return 0.0
    return abs(float(np.log((after + 1e-3) / (before + 1e-3))))


def _words(row: dict[str, Any], tz: str) -> str:
    since = row["since"].tz_convert(tz)
    say = percent if row["unit"] == "share" else duration
    ends = ["not reached" if np.isinf(row[end]) else say(row[end]) for end in ("before", "after")]
    way = "rose" if row["after"] > row["before"] else "fell"
    return f"since {since.day} {since:%b %H:%M} {row['metric']} {way} from {ends[0]} to {ends[1]}"
