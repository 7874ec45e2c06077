"""The sections of a report: each yields texts, notes, charts and tables from the log."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from viberkit import __version__, charts
from viberkit.analysis.change_points import changes
from viberkit.analysis.cost import cost
from viberkit.analysis.curves import estimate_curve, estimate_quantiles
from viberkit.analysis.durations import check_within
from viberkit.analysis.failure_codes import advise
from viberkit.analysis.fallback import fallback
from viberkit.analysis.formatting import duration, group_name, interval, percent, percentile, time
from viberkit.analysis.journeys import transitions
from viberkit.analysis.latency import latency
from viberkit.analysis.quality import quality
from viberkit.analysis.windows import estimate_slo, estimate_windows, group_by_window
from viberkit.charts.svg import as_svg
from viberkit.models.phone import mask_numbers
from viberkit.reporting.log import LEVELS, Log, difference

#: What a section yields: text, note, chart (with its caption) or table (caption, columns, rows).
Block = tuple[Any, ...]
_GROUPS, _WINDOWS = 20, 40
_EVERY = ("1min", "5min", "15min", "1h", "3h", "6h", "12h", "1d", "1w", "4w", "13w", "52w")
_DONE = {"fall back": "by an SMS at once", "fix the request": "by a corrected request", "wait": "by a later send"}


@dataclass
class Analysis:
    """A log, the period before it, the arguments of the report, and the results so far."""

    log: Log
    before: Log | None
    by: Any
    prices: float | Mapping[str, float] | None
    sms_price: float | None
    sms_within: float
    sms_curve: pd.DataFrame | None
    results: dict[str, pd.DataFrame] = field(default_factory=dict)

    def keep(self, name: str, result: pd.DataFrame) -> pd.DataFrame:
        return self.results.setdefault(name, result)

    @cached_property
    def failures(self) -> pd.DataFrame:
        return self.keep("failures", advise(self.log.journeys))

    @cached_property
    def fallback(self) -> pd.DataFrame | None:
        """The comparison of waits; None without a price of an SMS."""
        if self.prices is None or self.sms_price is None:
            return None
        promise, viber_price = self.log.promise, self.prices
        if isinstance(viber_price, Mapping):  # the mean of the messages
            viber_price = float(cost(self.log.journeys, prices=viber_price)["charged"].sum() / len(self.log.journeys))
        options: dict[str, Any] = {"within": self.sms_within, "target": promise.objective, "sms_curve": self.sms_curve}
        options |= {"viber_price": viber_price, "sms_price": self.sms_price, "start": promise.start, "tz": promise.tz}
        return self.keep("fallback", fallback(self.log.journeys, **options))

    @cached_property
    def comparison(self) -> pd.DataFrame | None:
        return None if self.before is None else self.keep("comparison", self.log.compare(self.before))


def _chart(caption: str, chart: Callable[..., Any], *results: Any, description: str, **options: Any) -> Block:
    svg = as_svg(chart, *results, description=mask_numbers(description), **options)
    return "chart", caption, Markup(re.sub(r"(?<=>)[^<]+(?=<)", lambda text: mask_numbers(text[0]), svg))  # noqa: S704


def _table(caption: str, columns: str, rows: Iterable[Sequence[object]]) -> Block:
    """A table; names of columns with numbers begin with ``#``."""
    shown = list(rows)
    omitted = f" ({len(shown):,} rows, the first {_WINDOWS} are shown)" if len(shown) > _WINDOWS else ""
    return "table", caption + omitted, columns.split("|"), shown[:_WINDOWS]


def _notes(result: pd.DataFrame) -> Iterator[Block]:
    names = ("of_note", "interval_note", "dependence_note", "mix_note")
    yield from (("note", result.attrs[name]) for name in names if result.attrs.get(name))


def _share(row: Any) -> str:
    return f"{percent(row.share)} ({percent(row.low)} – {percent(row.high)})" if np.isfinite(row.share) else "–"


def answer(analysis: Analysis) -> Iterator[Block]:
    log = analysis.log
    yield "answer", log.how_long
    yield "answer", log.verdict
    yield "answer", _what_matters(analysis)
    if analysis.comparison is not None and analysis.before is not None:
        yield "answer", difference(analysis.comparison, analysis.before)


def _what_matters(analysis: Analysis) -> str:
    counts, failures = analysis.log.counts, analysis.failures
    text = "No message failed"
    if len(failures):
        first = failures.iloc[0]
        code = "without a code" if pd.isna(first["code"]) else str(first["code"])
        text = f"{percent(counts['failed'] / counts['sent'])} of the messages failed, most often {code}"
        text += f" ({first['n']:,} of {counts['failed']:,}: {first['advice']})"
    chosen = None if analysis.fallback is None else analysis.fallback[analysis.fallback["chosen"]]
    if chosen is None:
        return f"{text}."
    if chosen.empty:
        return f"{text}; no wait before an SMS reaches {percent(analysis.log.promise.objective)} of the recipients."
    return f"{text}; {_chosen(chosen.iloc[0])}."


def _chosen(row: pd.Series[Any]) -> str:
    limits = f"{row['cost_low']:.4g} – {row['cost_high']:.4g}"
    text = f"the cheapest SMS fallback waits {duration(row['wait_s'])}, at {row['cost']:.4g} ({limits}) per message"
    return f"{text}; another log of this kind would lead to the same wait in {percent(row['chosen_share'])} of cases"


def comparison(analysis: Analysis) -> Iterator[Block]:
    result, before = analysis.comparison, analysis.before
    if result is None or before is None:
        return
    yield "text", f"This period: {analysis.log.period}. The period before: {before.period}."
    description = "; ".join(result["summary"])
    yield _chart("Difference from the period before, with its interval.", charts.compare, result, description=description)
    yield _table("Comparison with the period before", "comparison", ([text] for text in result["summary"]))
    yield from _notes(result)


def curve(analysis: Analysis) -> Iterator[Block]:
    log = analysis.log
    result = analysis.keep("delivery_curve", estimate_curve(log.observed))
    quantiles = analysis.keep("time_to", log.quantiles)
    delivered = estimate_quantiles(log.observed, LEVELS, "delivered")
    caption = f"Share of all messages that were delivered, failed, or are still open, by time since {log.promise.start}."
    description = f"{log.how_long} {'; '.join(quantiles['summary'])}."
    yield _chart(caption, charts.curve, result, description=description)
    rows = zip(quantiles.itertuples(), delivered.itertuples(), strict=True)
    cells = ([percentile(a.quantile), *(interval(x.value_s, x.low_s, x.high_s) for x in (a, b))] for a, b in rows)
    yield _table("Time to delivery", "quantile|#of all messages|#of those delivered", cells)
    yield from _notes(result)


def time_spent(analysis: Analysis) -> Iterator[Block]:
    log = analysis.log
    if log.ordered is None:
        yield "note", "Journeys have no transitions; pass the events to see where the time goes."
        return
    result = analysis.keep("latency", latency(transitions(log.ordered), quantiles=(0.5, 0.95), tz=log.promise.tz))
    if result.empty:
        yield "note", "No message has two states, so there is no transition."
        return
    half, most = (result[result["quantile"] == level] for level in (0.5, 0.95))
    first = half.loc[half["time_share"].idxmax()] if half["time_share"].notna().any() else half.iloc[0]
    steps = [f"{row.from_state} → {row.to_state}" for row in half.itertuples()]
    text = f"{percent(first['time_share'])} of the time passes from {first['from_state']} to {first['to_state']}"
    yield "text", f"Of all times between two consecutive states together, {text}."
    of_all = (f"{step}: {percent(share)}" for step, share in zip(steps, half["time_share"], strict=True))
    yield _chart("Share of the time that each transition takes.", charts.time_share, result, description="; ".join(of_all))
    rows = (
        [step, f"{a.n:,}", interval(a.value_s, a.low_s, a.high_s), interval(b.value_s, b.low_s, b.high_s), percent(a.time_share)]
        for step, a, b in zip(steps, half.itertuples(), most.itertuples(), strict=True)
    )
    yield _table("Time between two states", "transition|#messages|#p50|#p95|#of all time", rows)
    yield from _notes(result)


def over_time(analysis: Analysis) -> Iterator[Block]:
    log, promise = analysis.log, analysis.log.promise
    started = log.observed.started
    length = pd.Timedelta(int(np.ptp(started)), unit="us")
    every = next((every for every in _EVERY if length / pd.Timedelta(every.replace("w", " W")) <= _WINDOWS), _EVERY[-1])
    windows = group_by_window(log.observed, every)
    limits = check_within([promise.within])
    result = analysis.keep("over_time", estimate_windows(windows, limits, (0.5,)))
    slo = analysis.keep("slo", estimate_slo(windows, limits[0], promise.objective))
    found = analysis.keep("changes", changes(log.journeys, start=promise.start, tz=promise.tz))
    n = slo["verdict"].value_counts()
    texts = [f"{n[verdict]:,} {verdict}" for verdict in ("met", "missed", "unclear") if n[verdict]]
    text = f"Of {len(slo):,} windows of {every}, the promise of {promise} was: {', '.join(texts)}."
    yield "text", text
    yield from (("text", f"Change: {summary}.") for summary in found["summary"])
    if found.empty:
        yield "text", found.attrs.get("of_note") or "No change of delivery, of failures or of the mix was found."
    shares = slo["share"].dropna()
    lowest = f" The share delivered in time is between {percent(shares.min())} and {percent(shares.max())}." if len(shares) else ""
    options = {"within": promise.within, "changes": found, "description": text + lowest}
    caption = f"Share delivered within {duration(promise.within)} of the messages of each window, with its interval."
    if len(slo) > 1:
        yield _chart(caption, charts.over_time, result, **options)
        yield _chart("Whether each window met the promise.", charts.slo, slo, description=text)
    half = result[result["quantile"].notna()]
    rows = (
        [log.format(row.window_at), f"{row.n:,}", _share(row), interval(b.value_s, b.low_s, b.high_s), row.verdict]
        for row, b in zip(slo.itertuples(), half.itertuples(), strict=True)
    )
    columns = f"window from ({promise.tz})|#messages|#within {duration(promise.within)}|#p50|promise"
    yield _table(f"Delivery by window of {every}", columns, rows)


def by_group(analysis: Analysis) -> Iterator[Block]:
    log, promise, by = analysis.log, analysis.log.promise, analysis.by
    found = (name for name in ("rate_type", "country") if name in log.journeys and log.journeys[name].nunique() > 1)
    by = by or next(found, None)
    if not by:
        yield "note", "There is one rate type and one country, or none are known; pass by= to compare other groups."
        return
    observed = log.durations(by)
    sizes = np.bincount(observed.group)
    if len(sizes) > _GROUPS:
        yield "note", f"The largest {_GROUPS} of {len(sizes):,} groups are shown."
        observed = observed.take(np.isin(observed.group, np.argsort(-sizes, kind="stable")[:_GROUPS]))
    result = analysis.keep("by_group", estimate_quantiles(observed, (0.5, 0.9)))
    slo = estimate_slo(group_by_window(observed, None), check_within([promise.within])[0], promise.objective)
    names = [group_name(values) for values in slo[observed.attrs["by"]].astype(object).to_numpy().tolist()]
    pairs = list(zip(*(result[result["quantile"] == level].itertuples() for level in (0.5, 0.9)), strict=True))
    texts = (f"{name}: p50 {time(a.value_s)}, {_share(row)}" for name, (a, _), row in zip(names, pairs, slo.itertuples(), strict=True))
    text = "; ".join(texts)
    yield _chart("Time to delivery by group, with intervals.", charts.quantiles, result, description=text)
    rows = (
        [name, f"{row.n:,}", _share(row), *(interval(x.value_s, x.low_s, x.high_s) for x in pair), row.verdict]
        for name, row, pair in zip(names, slo.itertuples(), pairs, strict=True)
    )
    columns = f"group|#messages|#within {duration(promise.within)}|#p50|#p90|promise"
    yield _table(f"Delivery by {', '.join(observed.attrs['by'])}", columns, rows)


def failures(analysis: Analysis) -> Iterator[Block]:
    result, counts = analysis.failures, analysis.log.counts
    if result.empty:
        yield "text", "No message failed."
        return
    sums = result.groupby("advice")["n"].sum().sort_values(ascending=False)
    texts = [f"{n:,} {_DONE[advice]}" for advice, n in sums.items()]
    yield "text", f"Of {counts['failed']:,} failed messages, recipients could be reached: {', '.join(texts)}."
    rows = (
        ["none" if pd.isna(row.code) else row.code, f"{row.n:,}", percent(row.n / counts["sent"]), row.advice, row.why]
        for row in result.itertuples()
    )
    yield _table("Failures by the messages that the advice recovers", "code|#messages|#of all|advice|why", rows)


def sms(analysis: Analysis) -> Iterator[Block]:
    result = analysis.fallback
    if result is None:
        yield "note", "Pass the prices of a message and of an SMS for a recommendation, e.g. prices={'promotion': 0.05, 'sms': 0.08}."
        return
    chosen, target = result[result["chosen"]], percent(result.attrs["target"])
    text = f"No wait reaches {target} of the recipients within {duration(result.attrs['within_s'])}."
    if len(chosen):
        text = _chosen(chosen.iloc[0])
        text = f"To reach {target} of the recipients within {duration(result.attrs['within_s'])}, {text}."
    yield "text", text
    yield _chart("Cost of each wait before an SMS, and the share of messages for which one is sent.", charts.fallback, result, description=text)
    rows = (
        [
            duration(row.wait_s) + (" (chosen)" if row.chosen else ""),
            percent(row.fallback_share),
            f"{row.cost:.4g} ({row.cost_low:.4g} – {row.cost_high:.4g})",
            f"{percent(row.reached_share)} ({percent(row.reached_low)} – {percent(row.reached_high)})",
            percent(row.chosen_share),
        ]
        for row in result.itertuples()
    )
    yield _table("Waits before an SMS", "wait|#SMS sent|#cost per message|#reached in time|#chosen in resampled logs", rows)
    yield "note", f"{result.attrs['sms'].capitalize()}; messages are charged when {result.attrs['viber_charged']}."


def costs(analysis: Analysis) -> Iterator[Block]:
    log, prices = analysis.log, analysis.prices
    if prices is None:
        yield "note", "Pass the price of a message, or the prices by rate type, e.g. prices={'promotion': 0.05, 'transaction': 0.02}."
        return
    result = analysis.keep("cost", cost(log.journeys, prices=prices, tz=log.promise.tz))
    total = result[["charged", "delivered_charge", "wasted", "undecided"]].sum()
    parts = " / ".join(f"{total[name]:,.2f}" for name in ("delivered_charge", "wasted", "undecided"))
    yield "text", f"Charged: {total['charged']:,.2f}, of which for delivered / failed (wasted) / open messages: {parts}."
    if log.outbox is not None:
        planned = log.outbox[log.outbox["planned_at"].between(log.begin, log.end) & (log.outbox["state"] != "requeued")]
        price = planned["rate_type"].astype("str").map(prices) if isinstance(prices, Mapping) else prices * planned["row"].notna()
        yield "text", f"Planned in this period: {len(planned):,} messages in the outbox, {np.sum(price):,.2f}."
    rows = (
        [row.outcome, "" if pd.isna(row.code) else row.code, f"{row.n:,}", f"{row.charged:,.2f}", percent(row.charged_share)]
        for row in result.itertuples()
    )
    yield _table("Amounts charged by outcome and failure code", "outcome|code|#messages|#charged|#of all", rows)


def data_quality(analysis: Analysis) -> Iterator[Block]:
    log = analysis.log
    if log.ordered is None:
        yield "note", "Journeys do not show the faults of a log; pass the events to check them."
        return
    result = analysis.keep("quality", quality(log.ordered, journeys=log.journeys))
    found = result[result["count"] > 0].sort_values("share", ascending=False)
    needed = int((~found["remedy"].str.startswith("No action")).sum())
    yield "text", f"{len(found):,} of {result['check'].nunique():,} checks found something; {needed:,} of these need action."
    rows = (
        [str(row.check).replace("_", " "), f"{row.count:,}", percent(row.share), row.effect, row.remedy]
        for row in found.rename(columns={"count": "n"}).rename(columns={"n": "count"}).itertuples(index=False)
    )
    if len(found):
        yield _table("Findings", "check|#count|#share|effect on the figures|remedy", rows)


def methods(analysis: Analysis) -> Iterator[Block]:
    log = analysis.log
    counts = ", ".join(f"{n:,} {name}" for name, n in log.counts.items())
    yield "text", f"Messages: {counts}. Sent from {log.period}; all times are in {log.promise.tz}."
    yield "text", (
        "Shares and quantiles are those of Aalen and Johansen: failures compete with delivery, and a message that was open "
        "when last observed counts for as long as it was observed, never as undelivered. A time is not reached where too "
        "many messages failed, and not known where open messages could still reach it."
    )
    yield "text", (
        "Intervals have a confidence of 95 % (Wilson's score interval and order statistics, with an effective sample size): "
        "of 20 logs like this one, about 19 have an interval that contains the true value. They are wider where messages "
        "depend on one another, as in an outage or a campaign. A promise is met or missed where the whole interval is on "
        "one side of its target."
    )
    version = ".".join(map(str, sys.version_info[:3]))
    yield "text", f"Made with viberkit {__version__}, pandas {pd.__version__}, numpy {np.__version__} and Python {version}."


#: Heading, identifier and function of each section, in order.
SECTIONS: tuple[tuple[str, str, Callable[[Analysis], Iterator[Block]]], ...] = (
    ("Against the period before", "comparison", comparison),
    ("Delivery", "delivery", curve),
    ("Where the time goes", "time", time_spent),
    ("Over time", "over-time", over_time),
    ("By group", "groups", by_group),
    ("Failures", "failures", failures),
    ("Fallback to SMS", "fallback", sms),
    ("Cost", "cost", costs),
    ("Quality of the data", "quality", data_quality),
    ("Methods", "methods", methods),
)
