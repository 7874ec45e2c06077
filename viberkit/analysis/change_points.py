"""Change points: since when deliveries take longer, or more messages fail.

Messages are put in the order in which they started. Each has a score: how often it was delivered at some stage of its
wait (before the median, from there to the third quartile, …), less how often it should have been, by the rates of all
messages while it was open and watched (a martingale residual, as in the log-rank test). Scores are zero on average
also of messages that were watched for a short time, or failed. Their running sum wanders about zero; where something
changed it runs off and comes back. Its greatest distance from zero, over the square root of the number of messages and
the spread of one, is Kolmogorov's statistic where nothing changed (Page 1954; Csörgő and Horváth, *Limit Theorems in
Change-Point Analysis*, 1997). The greatest of all stages counts, and of failing as well, its p-value times their number
(Bonferroni). A change found cuts the log in two, and each part is searched again.

The hours of the day have rates of their own wherever the log spans three days or more, or each night would be a
change. What runs in bursts has a wider spread: it is taken from neighbouring blocks of messages, if it is more there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.durations import COMPETING, REACHED, Durations, check_share, check_shares, durations
from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.analysis.grouping import BY
from viberkit.analysis.incidence import Floats, Incidence, incidence
from viberkit.analysis.ordering import SECOND, Ints, instants

__all__ = ["changes"]

_STAGES = (0.0, 0.5, 0.75, 0.9, 1.0)  # of the deliveries
_LEAST = 40  # messages on either side of a change
_RHYTHM_DAYS = 3
_NEARLY = 0.8  # of what moved about as much, the last of the quantiles is told
_SURE = 3.0  # standard errors
_HOUR = 3_600 * SECOND
_COLUMNS = "since metric unit before after p_value n_before n_after text".split()


def changes(
    journeys: pd.DataFrame,
    quantiles: Sequence[float] | float = (0.5, 0.95),
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
    the time to ``end`` of messages that do not fail, or ``failed``, whichever moved more surely; ``unit`` (``s`` or
    ``share``); ``before``, ``after``: the metric from the change before (or the beginning) to this one, and from this
    one to the next (or the end), infinite where not reached; ``p_value``: the chance that a log without any change
    shows as much; ``n_before``, ``n_after``: messages there; ``text``, which tells times in the zone ``tz``.

    Where nothing changed, a change is found in at most a share ``alpha`` of logs. Open messages count as long as they
    were watched. Differences between the hours of the day are no
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
    wanted = tuple(check_shares(quantiles, "quantiles"))
    check_share(alpha, "alpha")
    told = durations(journeys, "changes", start=start, end=end, by=by, messages=messages, tz=tz)
    found: list[dict[str, Any]] = []
    for named, part in told.by_group():
        ordered = part.take(np.argsort(part.started, kind="stable"))
        search = _Search(ordered, tz)
        cuts = search.cuts(alpha, most)
        edges = [0, *(cut for cut, _ in cuts), len(ordered)]
        for place, (cut, chance) in enumerate(cuts):
            parts = [np.arange(edges[place], cut), np.arange(cut, edges[place + 2])]
            since = instants(ordered.started[[cut]]).iloc[0]
            row = {**named, "since": since, "p_value": chance, **_moved(ordered, parts, wanted)}
            found.append({**row, "text": _words(row, tz, named)})
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
        tests = _scores(part, hour)
        apart = np.diff(part.started) > 0  # messages of one instant stay together
        if not apart[_LEAST - 1 : -(_LEAST - 1)].any():
            return best
        for excess in tests:
            if (spread := _spread(excess)) <= 0:
                continue
            distance = np.where(apart, np.abs(np.cumsum(excess))[:-1], 0.0)[_LEAST - 1 : -(_LEAST - 1)]
            place = int(np.argmax(distance))
            chance = len(tests) * float(special.kolmogorov(distance[place] / (spread * np.sqrt(len(excess)))))
            if chance < best.chance:
                best = _Found(low + _LEAST + place, chance)
        return best


def _scores(part: Durations, hour: Ints) -> list[Floats]:
    """For each stage, and for failing, how much more often each message met it than its hour's rates let expect."""
    made = np.zeros((len(_STAGES), len(part)))
    for one in np.unique(hour):
        mine = np.flatnonzero(hour == one)
        few = part.take(mine)
        curve = few.curve()
        entry = np.full(len(few), -1) if few.entry is None else few.entry
        arrived, failed = (np.append(0.0, np.cumsum(ended / np.maximum(curve.at_risk, 1))) for ended in curve.ended)
        ends = [curve.quantile(stage * float(curve.share[0, -1])) for stage in _STAGES[1:]]
        begin = -1.0
        for place, end in enumerate(ends):
            late, early = (curve.at(np.clip(times, begin, end)) + 1 for times in (few.time, entry))
            met = (few.cause == REACHED) & (few.time > begin) & (few.time <= end)
            made[place, mine] = met - (arrived[late] - arrived[early])
            begin = end
        made[-1, mine] = (few.cause == COMPETING) - (failed[curve.at(few.time) + 1] - failed[curve.at(entry) + 1])
    return list(made)


def _spread(excess: Floats) -> float:
    """The standard deviation of one message, or, if that is more, what neighbouring blocks of messages tell of it."""
    single = float(np.mean(excess**2))
    block = max(2, round(len(excess) ** (1 / 3)))
    means = excess[: len(excess) // block * block].reshape(-1, block).mean(axis=1)
    blocks = block * float(np.mean(np.diff(means) ** 2)) / 2 if len(means) > 1 else 0.0
    return float(np.sqrt(max(single, blocks)))


def _moved(part: Durations, places: Sequence[Ints], quantiles: tuple[float, ...]) -> dict[str, Any]:
    """What moved most between two stretches, before and after, of what surely moved."""
    sides = [part.take(chosen) for chosen in places]
    stays = [incidence(one.time, np.where(one.cause == REACHED, 1, 0), 1, one.entry) for one in sides]
    rows: list[dict[str, Any]] = []
    for one in quantiles:
        times = [curve.quantile(one) for curve in stays]
        sure = _apart([(curve, 0) for curve in stays], min(times))
        with np.errstate(invalid="ignore"):
            size = abs(float(np.log((times[1] + 1) / (times[0] + 1))))
        row = {"metric": percentile(one), "unit": "s", "before": times[0] / SECOND, "after": times[1] / SECOND}
        rows.append({**row, "sure": sure, "size": 0.0 if np.isnan(size) else size})
    curves = [one.curve() for one in sides]
    last = min(float(curve.time[-1]) for curve in curves)
    failed = [float(curve.share[1, curve.at(last)]) for curve in curves]
    surest = max(rows, key=lambda row: row["sure"])
    if (sure := _apart([(curve, 1) for curve in curves], last)) > surest["sure"]:
        row = {"metric": "failed", "unit": "share", "before": failed[0], "after": failed[1]}
    else:
        moved = [row for row in rows if row["sure"] >= min(_SURE, surest["sure"])]
        row = [row for row in moved if row["size"] >= _NEARLY * max(one["size"] for one in moved)][-1]
    kept = {name: row[name] for name in ("metric", "unit", "before", "after")}
    return {**kept, "n_before": len(places[0]), "n_after": len(places[1])}


def _apart(sides: Sequence[tuple[Incidence, int]], when: float) -> float:
    """How many standard errors lie between the shares of two curves at a time."""
    if not np.isfinite(when):
        return 0.0
    told = [(curve.share[end, curve.at(when)], curve.variance[end, curve.at(when)]) for curve, end in sides]
    spare = [1.0 / max(float(curve.at_risk[0]), 1.0) ** 2 for curve, _ in sides]
    return float(abs(told[0][0] - told[1][0]) / np.sqrt(told[0][1] + told[1][1] + sum(spare)))


def _words(row: dict[str, Any], tz: str, named: dict[str, Any]) -> str:
    group = " · ".join(map(str, named.values())) + ": " if named else ""
    since = row["since"].tz_convert(tz)
    say = percent if row["unit"] == "share" else duration
    ends = ["not reached" if np.isinf(row[end]) else say(row[end]) for end in ("before", "after")]
    way = "rose" if row["after"] > row["before"] else "fell"
    return f"{group}since {since.day} {since:%b %H:%M} {row['metric']} {way} from {ends[0]} to {ends[1]}"
