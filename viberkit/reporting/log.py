"""The messages of a period, and the estimates of them that a report and a digest share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.comparison import compare
from viberkit.analysis.curves import estimate_quantiles
from viberkit.analysis.durations import Durations, as_journeys, check_shares, check_time_zone, check_within, durations
from viberkit.analysis.formatting import duration, interval, percent, percentile, points
from viberkit.analysis.journeys import journeys as make_journeys
from viberkit.analysis.ordering import order_events
from viberkit.analysis.windows import estimate_slo, group_by_window, window_length
from viberkit.archive.archive import Archive
from viberkit.frames.columns import JOURNEYS
from viberkit.frames.schema import require

LEVELS = (0.5, 0.9, 0.95, 0.99)
_WORDS = {"met": "was met", "missed": "was missed", "unclear": "is not certain to be met yet"}


@dataclass(frozen=True)
class Promise:
    """A share ``objective`` of all messages is to be delivered ``within`` seconds of the state ``start``."""

    within: float
    objective: float
    start: str
    tz: str

    def __post_init__(self) -> None:
        check_within([self.within])
        check_shares([self.objective], "objective")
        check_time_zone(self.tz)
        if f"{self.start}_at" not in JOURNEYS.names:
            raise ValueError(f"start: {self.start!r} is not a state of a journey; pass e.g. 'accepted'")

    def __str__(self) -> str:
        return f"{percent(self.objective)} delivered within {duration(self.within)}"


@dataclass(frozen=True)
class Log:
    """The messages that entered the start state from ``begin`` on and before ``end``, and what is known of them.

    ``events`` are missing if only journeys were passed, ``outbox`` and ``listening`` if no archive was.
    """

    journeys: pd.DataFrame
    events: pd.DataFrame | None
    promise: Promise
    begin: pd.Timestamp
    end: pd.Timestamp
    outbox: pd.DataFrame | None = None
    listening: pd.DataFrame | None = None

    @classmethod
    def read(cls, source: Any, promise: Promise, function: str) -> Log:
        """The whole log: of an archive, of events, or of journeys."""
        archive = source if isinstance(source, Archive) else None
        frame = source if archive is None else archive.events()
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"{function}: {type(source).__name__} is neither an archive nor events; pass a vk.Archive")
        events = None if "outcome" in frame.columns else frame
        log = cls(as_journeys(frame, function) if events is None else frame, events, promise, pd.NaT, pd.NaT)
        log = log if events is None else replace(log, journeys=make_journeys(log.ordered))
        names = [f"{promise.start}_at", "observed_until"]
        require(log.journeys, names, f"{function} (pass events)")
        times = [log.journeys[name] for name in names]
        log = replace(log, begin=times[0].min(), end=max(time.max() for time in times) + pd.Timedelta("1us"))
        if archive is None:
            return log
        return replace(log, outbox=archive.outbox(), listening=archive.listening())

    @cached_property
    def ordered(self) -> Any:
        """The events in order, for functions that take events."""
        return None if self.events is None else order_events(self.events, "report")

    @cached_property
    def observed(self) -> Durations:
        return self.durations()

    def durations(self, by: Any = None) -> Durations:
        return durations(self.journeys, "report", by=by, start=self.promise.start, tz=self.promise.tz)

    @cached_property
    def slo(self) -> pd.Series[Any]:
        """The promise of all messages together, as ``vk.slo`` estimates it."""
        limit, objective = check_within([self.promise.within])[0], self.promise.objective
        return estimate_slo(group_by_window(self.observed, None), limit, objective).iloc[0]

    @cached_property
    def quantiles(self) -> pd.DataFrame:
        return estimate_quantiles(self.observed, LEVELS)

    @cached_property
    def counts(self) -> dict[str, int]:
        counts = self.journeys["outcome"].astype("str").value_counts()
        return {"sent": len(self.journeys)} | {name: int(counts.get(name, 0)) for name in _OUTCOMES}

    def between(self, begin: pd.Timestamp, end: pd.Timestamp) -> Log:
        """The messages that entered the start state from ``begin`` on and before ``end``."""
        at = self.journeys[f"{self.promise.start}_at"]
        journeys = self.journeys[((at >= begin) & (at < end)).to_numpy()]
        events = self.events
        events = None if events is None else events[events["message_id"].isin(journeys["message_id"])]
        return replace(self, journeys=journeys, events=events, begin=begin, end=end)

    def since(self, since: Any, until: Any = None) -> Log:
        """The messages of a period: each end is an instant, or a duration before the last observation."""
        if since is None and until is None:
            return self
        begin = self.begin if since is None else self._instant(since, "since")
        end = self.end if until is None else self._instant(until, "until")
        if not begin < end:
            raise ValueError(f"since: {since!r} is not before until: {until!r}; the log ends at {self.end}")
        return self.between(begin, end)

    def _instant(self, value: Any, field: str) -> pd.Timestamp:
        try:
            return self.end - window_length(value, field)
        except (ValueError, OverflowError):
            pass
        try:
            instant = pd.Timestamp(value)
            return instant.tz_localize(self.promise.tz) if instant.tz is None else instant
        except (ValueError, TypeError, OverflowError):
            rule = "is neither a duration nor a date; pass e.g. '7d' or '2026-03-01'"
        raise ValueError(f"{field}: {value!r} {rule}")

    def format(self, instant: pd.Timestamp) -> str:
        return f"{instant.tz_convert(self.promise.tz):%Y-%m-%d %H:%M}" if pd.notna(instant) else "–"

    @property
    def period(self) -> str:
        return f"{self.format(self.begin)} to {self.format(self.end)} ({self.promise.tz})"

    @property
    def how_long(self) -> str:
        """How long messages take, as a sentence."""
        half, *others = self.quantiles.itertuples()
        if not np.isfinite(half.value_s):
            why = "fewer were delivered" if np.isinf(half.value_s) else "too many are still open"
            return f"The time by which half of the messages are delivered is not known: {why}."
        text = f"Half of the messages were delivered within {interval(half.value_s, half.low_s, half.high_s)}"
        known = [row for row in others if np.isfinite(row.value_s) and row.quantile <= 0.95]
        texts = [f"{percent(row.quantile)} within {interval(row.value_s, row.low_s, row.high_s)}" for row in known[-1:]]
        return f"{', and '.join([text, *texts])}."

    @property
    def verdict(self) -> str:
        """Whether the promise was met, as a sentence."""
        slo = self.slo
        if np.isnan(slo["share"]):
            return f"Whether the promise of {self.promise} is met is not known yet: no message was observed for so long."
        share, low, high = (percent(slo[name], near=self.promise.objective) for name in ("share", "low", "high"))
        return f"The promise of {self.promise} {_WORDS[slo['verdict']]}: {share} ({low} – {high}) of the messages were."

    def compare(self, before: Log) -> pd.DataFrame:
        names, promise = ("the period before", "this period"), self.promise
        options: dict[str, Any] = {"within": promise.within, "quantiles": LEVELS[:3], "names": names, "tz": promise.tz}
        return compare(before.journeys, other=self.journeys, start=promise.start, **options)

    def figures(self) -> pd.DataFrame:
        """The key figures, one row each, with their intervals where they have one."""
        rows: list[dict[str, Any]] = [{"figure": name, "value": n, "unit": "messages"} for name, n in self.counts.items()]
        if self.journeys[f"{self.promise.start}_at"].notna().any():
            rows.append({"figure": "share_within", "unit": "share"} | _interval(self.slo, "share", "low", "high"))
            for _, row in self.quantiles.iterrows():
                name = f"{percentile(row['quantile'])}_s"
                rows.append({"figure": name, "unit": "s"} | _interval(row, "value_s", "low_s", "high_s"))
        return pd.DataFrame(rows, columns=["figure", "value", "low", "high", "unit"])


def difference(comparison: pd.DataFrame, before: Log) -> str:
    """How much the share delivered in time differs from that of the period before, as a sentence."""
    row = comparison.iloc[0]
    if np.isnan(row["share_difference"]):
        return f"How it differs from the period before ({before.period}) is not known."
    limits = f"{points(row['share_low'])} to {points(row['share_high'])}"
    clear = "" if row["share_low"] * row["share_high"] > 0 else ", no clear difference"
    text = f"{points(row['share_difference'])} percentage points ({limits}{clear})"
    return f"Against the period before, {before.period}, the share delivered within {row['within_s']:g} s differs by {text}."


_OUTCOMES = ("delivered", "failed", "open")


def _interval(row: pd.Series[Any], *names: str) -> dict[str, Any]:
    return dict(zip(("value", "low", "high"), row[[*names]], strict=True))
