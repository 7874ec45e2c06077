"""The messages of a period, and the results of a report of them, each computed when it is first needed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis import change_points, comparison, cost, curves, durations, fallback, journeys, latency, windows
from viberkit.analysis.failure_codes import advise
from viberkit.analysis.formatting import group_name, percentile
from viberkit.analysis.ordering import order_events
from viberkit.analysis.quality import quality
from viberkit.archive.archive import Archive
from viberkit.frames.schema import require

_LEVELS, _OUTCOMES = (0.5, 0.9, 0.95, 0.99), ("delivered", "failed", "open")
_HISTORY = pd.Timedelta(days=28)  # in which changes are looked for, at least
_MOST_GROUPS, _MOST_WINDOWS = 20, 24
_LENGTHS = ("5min", "15min", "1h", "6h", "1d", "1w", "4w", "13w", "52w")


@dataclass(frozen=True, kw_only=True)
class Log:
    """The messages that entered ``start`` from ``begin`` on and before ``end``; the promise and prices of the report.

    ``events`` are missing if only journeys are known, ``outbox`` and ``listening`` without an archive. ``before`` has
    the period before, if it is to be compared, and ``history`` the journeys of all periods.
    """

    journeys: pd.DataFrame
    events: Any = None
    outbox: pd.DataFrame | None = None
    listening: pd.DataFrame | None = None
    before: Log | None = None
    history: Log | None = None
    begin: Any = pd.NaT
    end: Any = pd.NaT
    start: str
    within: float
    target: float
    by: Any
    tz: str
    prices: Any = None
    sms: Any = None  # further arguments of fallback

    @classmethod
    def read(cls, source: Any, function: str, *, since: Any, until: Any, compare: bool, **fields: Any) -> Log:
        """A period of an archive, of events, or of journeys, and of the period before with ``compare``."""
        archive = source if isinstance(source, Archive) else None
        frame: Any = source if archive is None else archive.events()
        events: Any = None if "outcome" in getattr(frame, "columns", ()) else order_events(frame, function)
        fields |= {} if archive is None else {"outbox": archive.outbox(), "listening": archive.listening()}
        if events is None:
            frame = frame.assign(
                **{name: frame[name].dt.tz_localize("UTC") for name in frame.select_dtypes("datetime")}
            )
        log = cls(journeys=frame if events is None else journeys.journeys(events), events=events, **fields)
        durations.check_within([log.within])
        durations.check_shares([log.target], "target")
        durations.check_time_zone(log.tz)
        require(durations.as_journeys(log.journeys, function), [f"{log.start}_at"], function)
        started, observed = log.started, log.journeys["observed_until"]
        log = replace(log, begin=started.min(), end=max(started.max(), observed.max()).floor("s") + pd.Timedelta("1s"))
        begin, end = (log._instant(value, field) for value, field in ((since, "since"), (until, "until")))
        if compare and since is None:  # the middle of the time in which messages were sent
            begin += (min(end, started.max()) - begin) / 2
        if begin >= end:
            raise ValueError(f"since: {since!r} is not before the end of the period, {end}; pass e.g. '7d'")
        before = log._between(begin - (end - begin), begin) if compare else None
        chosen = log if since is until is before is None else log._between(begin, end)
        return replace(chosen, before=before, history=replace(log, events=None))

    def _instant(self, value: Any, field: str) -> Any:
        """An instant, or the end of a duration before the last observation."""
        if value is None:
            return self.begin if field == "since" else self.end
        with contextlib.suppress(ValueError, OverflowError):
            return self.end - windows.window_length(value, field)
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            instant = pd.Timestamp(value)
            return instant.tz_localize(self.tz) if instant.tz is None else instant
        raise ValueError(f"{field}: {value!r} is neither a duration nor a date; pass e.g. '7d' or '2026-03-01'")

    def _between(self, begin: Any, end: Any) -> Log:
        chosen = self.journeys[((self.started >= begin) & (self.started < end)).to_numpy()]
        events = None if self.events is None else getattr(self.events, "events", self.events)
        events = None if events is None else events[events["message_id"].isin(chosen["message_id"])]
        return replace(self, journeys=chosen, events=events, begin=begin, end=end)

    # With numbers as ids, that no message is there twice is soon checked.
    numbered = cached_property(lambda log: log.journeys.assign(message_id=np.arange(len(log.journeys))))
    started = cached_property(lambda log: log.journeys[f"{log.start}_at"])
    ordered = cached_property[Any](lambda log: order_events(log.events, "report"))
    observed = cached_property(lambda log: log.observe())
    #: Whether all messages together met the promise, as ``vk.slo`` estimates it.
    promise = cached_property(lambda log: log.slo(log.observed, None).iloc[0])
    promise_by_window = cached_property(lambda log: log.slo(log.observed, log.every))
    time_to = cached_property(lambda log: curves.estimate_quantiles(log.observed, _LEVELS))
    time_to_of_delivered = cached_property(lambda log: curves.estimate_quantiles(log.observed, _LEVELS, "delivered"))
    delivery_curve = cached_property(lambda log: curves.estimate_curve(log.observed))
    failures = cached_property(lambda log: advise(log.numbered))
    cost = cached_property(lambda log: cost.cost(log.numbered, prices=log.prices, tz=log.tz))

    def observe(self, by: Any = None) -> durations.Durations:
        return durations.durations(self.numbered, "report", by=by, start=self.start, tz=self.tz)

    def slo(self, observed: durations.Durations, every: str | None) -> pd.DataFrame:
        limit = durations.check_within([self.within])[0]
        return windows.estimate_slo(windows.group_by_window(observed, every), limit, self.target)

    @cached_property
    def counts(self) -> dict[str, int]:
        counts = self.journeys["outcome"].astype("str").value_counts()
        return {"sent": len(self.journeys)} | {name: int(counts.get(name, 0)) for name in _OUTCOMES}

    def figures(self) -> pd.DataFrame:
        """The key figures, one row each, with their intervals where they have one."""
        found: list[tuple[Any, ...]] = [(name, n, np.nan, np.nan, "messages") for name, n in self.counts.items()]
        if self.started.notna().any():
            found.append(("share_within", *self.promise[["share", "low", "high"]], "share"))
            columns = (self.time_to[name] for name in ("quantile", "value_s", "low_s", "high_s"))
            found += [(f"{percentile(level)}_s", *values, "s") for level, *values in zip(*columns, strict=True)]
        return pd.DataFrame(found, columns=["figure", "value", "low", "high", "unit"])

    @cached_property
    def comparison(self) -> pd.DataFrame | None:
        if self.before is None or self.before.journeys.empty:
            return None
        options: dict[str, Any] = {"within": self.within, "quantiles": _LEVELS[:3], "start": self.start, "tz": self.tz}
        options["names"] = "the period before", "this period"
        with warnings.catch_warnings():  # which was observed for longer, of course
            warnings.simplefilter("ignore", comparison.UnequalFollowUpWarning)
            return comparison.compare(self.before.journeys, other=self.journeys, **options)

    @cached_property
    def latency(self) -> pd.DataFrame:
        """Of the transitions until delivery or failure."""
        steps = journeys.transitions(self.ordered)
        steps = steps[~steps["from_state"].isin(journeys.DELIVERED_STATES)]
        return steps if steps.empty else latency.latency(steps, quantiles=(0.5, 0.95), tz=self.tz)

    @cached_property
    def every(self) -> str:
        """The shortest length of windows that are not too many."""
        length = pd.Timedelta(int(np.ptp(self.observed.started)), unit="us")
        lengths = (every for every in _LENGTHS if length / windows.window_length(every) <= _MOST_WINDOWS)
        return next(lengths, _LENGTHS[-1])

    @cached_property
    def over_time(self) -> pd.DataFrame:
        limits = durations.check_within([self.within])
        return windows.estimate_windows(windows.group_by_window(self.observed, self.every), limits, (0.5,))

    @cached_property
    def changes(self) -> pd.DataFrame:
        """Those in the period, by the messages of this and earlier days."""
        history, longest = self.history or self, max(2 * (self.end - self.begin), _HISTORY)
        begin = max(history.begin, min(self.begin, self.end - longest))
        earlier = self if begin == self.begin else history._between(begin, self.end)
        found = change_points.changes(earlier.numbered, start=self.start, tz=self.tz)
        return found[found["since_at"].ge(self.begin).to_numpy()]

    @cached_property
    def groups(self) -> tuple[list[str], pd.DataFrame, pd.DataFrame, int]:
        """Of the largest groups: their names, quantiles and promise; and the number of all."""
        known = (name for name in ("rate_type", "country") if len(self.journeys.get(name, pd.Series()).unique()) > 1)
        observed = self.observe(self.by or next(known, None))
        sizes = np.bincount(observed.group, minlength=1)
        observed = observed.take(np.isin(observed.group, np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]))
        promise = self.slo(observed, None)
        names = [group_name(values) for values in promise[observed.attrs["by"]].astype(object).to_numpy().tolist()]
        return names, curves.estimate_quantiles(observed, (0.5, 0.9)), promise, len(sizes)

    @cached_property
    def fallback(self) -> pd.DataFrame | None:
        """The comparison of waits, with the mean price of the messages; None without the price of an SMS."""
        if not isinstance(self.prices, Mapping) or "sms" not in self.prices:
            return None
        prices = {"viber_price": self.cost["charged"].sum() / len(self.journeys), "sms_price": self.prices["sms"]}
        options: dict[str, Any] = {"start": self.start, "target": self.target, **prices, **self.sms}
        return fallback.fallback(self.numbered, **options)

    @cached_property
    def planned(self) -> tuple[int, float] | None:
        """The number of sends of these messages and of others planned in the period, and what they cost, if known."""
        if self.outbox is None:
            return None
        ids, planned_at = self.outbox["message_id"], self.outbox["planned_at"]
        chosen = ids.isin(self.journeys["message_id"]) | (ids.isna() & planned_at.between(self.begin, self.end))
        types = self.outbox.loc[chosen & (self.outbox["state"] != "requeued"), "rate_type"].astype("str")
        prices = self.prices if isinstance(self.prices, Mapping) else dict.fromkeys(types, self.prices)
        return len(types), float(sum(map(prices.__getitem__, types)))

    @cached_property
    def quality(self) -> pd.DataFrame:
        """What the checks found."""
        found = quality(self.ordered, journeys=self.journeys)
        return found[found["count"] > 0].sort_values("share", ascending=False, kind="stable")
