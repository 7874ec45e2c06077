"""Latency of the transitions between states: quantiles, shares of the total time, and messages that still wait."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from viberkit.analysis.clusters import Cells, design_effect
from viberkit.analysis.counts import PARTS_OF_TIME, EventCounts, Request
from viberkit.analysis.durations import check_number, check_share, check_time_zone, cluster_codes, interval_attrs
from viberkit.analysis.grouping import BY, as_list, check_name_clash, distinct, factorize, group_columns, group_names
from viberkit.analysis.incidence import DesignEffect, Floats, Incidence, fractional_order
from viberkit.analysis.interval_censoring import interval_incidence
from viberkit.analysis.journeys import FAILED_STATES, build_journeys, build_transitions, categorical
from viberkit.analysis.ordering import SECOND, Ints, factorize_ids, instants, microseconds, order_events, run_starts
from viberkit.analysis.result import as_result
from viberkit.frames.columns import EVENTS, TRANSITIONS
from viberkit.frames.schema import INSTANT, require

_FEW_ROWS = 4_096  # up to this number, sorting the times of each row is faster than sorting all at once
_SLOWEST = 0.05
_CLUSTER = "_cluster"  # the column of the clusters of the transitions
_DEPENDENT = "_dependent"  # the number of transitions from which dependence is estimated, where it is not n
_COLUMNS = (
    "quantile value_s low_s high_s n n_waiting max_s total_s time_share slowest_share waiting_median_s waiting_max_s"
).split()


def latency(
    events: pd.DataFrame,
    *,
    by: BY = None,
    quantiles: Sequence[float] | float = (0.5, 0.9, 0.95, 0.99),
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Compute how long each transition between states takes, and how long messages have been waiting for it.

    Parameters
    ----------
    events : DataFrame or EventLog
        Events, or transitions as returned by ``vk.transitions``.
    by : str or sequence of str, optional
        Columns to group by: columns of ``events`` or ``messages``, or ``hour`` and ``weekday`` of the beginning of the
        transition. A column of the events schema such as ``channel`` is taken from the event that ends the
        transition, any other column from the message.
    quantiles : float or sequence of float, default (0.5, 0.9, 0.95, 0.99)
        Quantiles of the latency, from 0 to 1.
    confidence : float, default 0.95
        Confidence level of the intervals of the quantiles.
    cluster : str or None, default "auto"
        What makes messages depend on one another, which widens the intervals (see :mod:`viberkit.analysis`): the name
        of a column; by default ``campaign``, if there is one, and stretches of time. None: they are independent.
    messages : DataFrame, optional
        Further columns to group by, joined by ``message_id``, for example ``archive.messages()``.
    tz : str, default "UTC"
        Time zone of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per group, transition and quantile, in order of the life cycle, with the columns of ``by`` and:

        - ``from_state``, ``to_state``: the transition. ``to_state`` is missing for a state that messages wait in and
          none has left; then ``n`` is 0 and the quantiles are NaN.
        - ``quantile``: the quantile.
        - ``value_s``, ``low_s``, ``high_s``: its value in seconds, and the confidence interval; 0 or ``inf`` where
          there are too few transitions for a bound.
        - ``n``: number of transitions.
        - ``n_waiting``: number of messages that were in ``from_state`` when last observed and may still leave it.
          NaN if not known: for transitions, and with ``by`` a column of the transition.
        - ``max_s``: the longest latency in seconds.
        - ``total_s``: the sum of the latencies in seconds.
        - ``time_share``: share of the total time of the group that was spent in this transition.
        - ``slowest_share``: the same for the slowest 5 % of the messages of the group only.
        - ``waiting_median_s``, ``waiting_max_s``: how long the waiting messages have been waiting, in seconds.

    Raises
    ------
    MissingColumn
        A column of ``by``, of the events or of the transitions is missing.
    ValueError
        A quantile or ``confidence`` is out of range, or a column of ``by`` has the name of a result column.

    Warns
    -----
    IntervalTimesWarning
        If latencies are known only as intervals wider than two seconds.

    See Also
    --------
    time_to : Quantiles of the time to delivery that take open messages into account.

    Notes
    -----
    Only transitions that have ended count in the quantiles. Latencies known only as intervals, from polls or a coarse
    clock, are estimated by maximum likelihood, see :func:`delivery_curve`. A state that the log does not contain is
    skipped: without *routed* there is a transition from *accepted* to *dispatched*.

    Quantiles are interpolated linearly as numpy does (definition 7 of Hyndman and Fan [1]_). The intervals are
    distribution-free, from fractional order statistics [2]_.

    References
    ----------
    .. [1] Hyndman, R. J. and Fan, Y. (1996). Sample quantiles in statistical packages. The American Statistician 50,
       361-365.
    .. [2] Hutson, A. D. (1999). Calculating nonparametric confidence intervals for quantiles using fractional order
       statistics. Journal of Applied Statistics 26, 343-353.

    Examples
    --------
    >>> events = vk.read_events(pd.DataFrame([
    ...     {"message_id": message_id, "state": state, "happened_at": f"2020-07-13T12:19:{second:02}Z"}
    ...     for message_id, state, second in [("a", "accepted", 0), ("a", "delivered", 4), ("b", "accepted", 0),
    ...                                       ("b", "delivered", 8), ("c", "accepted", 2)]]))
    >>> result = vk.latency(events, quantiles=0.5)
    >>> result[["from_state", "to_state", "value_s", "high_s", "n", "n_waiting", "waiting_max_s"]]
      from_state   to_state  value_s  high_s  n  n_waiting  waiting_max_s
    0   accepted  delivered      6.0     inf  2        1.0            6.0
    """
    names = group_names(by)
    check_name_clash(names, _COLUMNS)
    shares = [check_number(share, "quantiles", "between 0 and 1", "0.95", 0.0, 1.0) for share in as_list(quantiles)]
    if not shares:
        raise ValueError("quantiles: is empty; pass e.g. 0.95")
    confidence = check_share(confidence, "confidence")
    check_time_zone(tz)
    attrs: dict[str, Any] = {"by": names, "confidence": confidence, "cluster": cluster, "tz": tz}
    if isinstance(events, EventCounts) and messages is None and not {*names} & {*EVENTS.names, *TRANSITIONS.names}:
        transitions, waiting = _counted(events, names, cluster, tz)
        options = {"n": transitions.pop("n").to_numpy(), "n_waiting": waiting.pop("n").to_numpy()}
        result = _estimate(transitions, waiting, names, shares, confidence, are_tried=cluster == "auto", **options)
        return as_result(result, attrs | result.attrs)
    transitions, waiting = _prepare(events, names, messages, tz)
    low, high = _latency_bounds(transitions)
    attrs |= interval_attrs(high, low, np.ones(len(high), dtype=bool), "latency", "the next state")
    if cluster is not None and "started_at" in transitions.columns:
        started = microseconds(transitions["started_at"].astype(INSTANT))
        codes = cluster_codes(transitions, cluster, started, messages, "latency", tz)
        transitions = transitions.assign(**{_CLUSTER: -1 if codes is None else codes})
    result = _estimate(transitions, waiting, names, shares, confidence, are_tried=cluster == "auto")
    return as_result(result, attrs | result.attrs)


def _counted(log: EventCounts, names: list[str], cluster: str | None, tz: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The transitions and the waiting messages that an event log counts, with the columns to group by."""
    facts = [name for name in names if name not in PARTS_OF_TIME or name in log.columns]
    split = tuple(PARTS_OF_TIME[name] for name in names if name not in facts)
    column = "campaign" if cluster == "auto" and "campaign" in log.columns else cluster
    named = None if column == "auto" else column
    request = Request("latency", facts, split=split, cluster=named, is_dependent=cluster is not None, tz=tz)
    transitions, waiting = log._count_transitions(request)

    def shaped(counts: pd.DataFrame, name: str) -> pd.DataFrame:
        started, seconds = counts["started"].to_numpy(), counts["time"].to_numpy() / SECOND
        columns = group_columns(counts, names, started, None, "latency", tz)
        added: dict[str, Any] = {name: seconds, "started_at": instants(started), **columns}
        return counts.assign(**added)

    if cluster is not None:
        codes = -1 if column == "auto" else pd.factorize(transitions["cluster"], sort=True)[0].astype(np.int64)
        transitions = transitions.assign(**{_CLUSTER: codes})
    transitions = transitions.rename(columns={"dependent": _DEPENDENT})
    return shaped(transitions, "latency_s"), shaped(waiting, "waited_s")


def _prepare(
    events: pd.DataFrame, names: list[str], messages: pd.DataFrame | None, tz: str
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The transitions with the columns to group by, and the waiting messages, None if not known."""

    def with_groups(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        missing = [name for name in names if name not in frame.columns]
        started = np.zeros(len(frame), dtype=np.int64)
        if "started_at" in frame.columns:
            started = microseconds(frame["started_at"].astype(INSTANT))
        columns = group_columns(frame, missing, started, messages, "latency", tz)
        return frame.assign(**{name: columns[name].array for name in missing})

    if isinstance(events, pd.DataFrame) and "latency_s" in events.columns:
        require(events, ("from_state", "to_state"), "latency")
        return with_groups(events, names), None
    log = order_events(events, "latency")
    of_event = [name for name in names if name in EVENTS.names and name not in TRANSITIONS.names]
    transitions = with_groups(build_transitions(log, of_event), names)
    if of_event or any(name in TRANSITIONS.names for name in names):
        return transitions, None  # waiting messages do not have these columns

    # A delivered message waits to be seen, but only in a log in which any message was seen.
    journeys, states = build_journeys(log), list(log.states.categories)
    delivered, seen = (journeys[name].notna().to_numpy() for name in ("delivered_at", "seen_at"))
    last = np.flatnonzero(np.diff(log.message, append=-1))
    state = np.where(delivered, states.index("delivered"), log.state[last])
    since = np.where(delivered, microseconds(journeys["delivered_at"]), log.time[last])
    waits = (journeys["outcome"] != "failed").to_numpy() & ~seen & (seen.any() | ~delivered)
    waits &= ~np.isin(state, [states.index(final) for final in ("seen", *FAILED_STATES)])
    waiting = journeys.assign(
        from_state=categorical(state, log.states),
        started_at=instants(since),
        waited_s=(microseconds(journeys["observed_until"]) - since) / SECOND,
    )
    return transitions, with_groups(waiting[waits], names)


def _estimate(
    transitions: pd.DataFrame,
    waiting: pd.DataFrame | None,
    names: list[str],
    quantiles: list[float],
    confidence: float,
    n: Ints | None = None,
    n_waiting: Ints | None = None,
    *,
    are_tried: bool = True,
) -> pd.DataFrame:
    """The result; ``n`` and ``n_waiting`` are the numbers of identical transitions and waiting messages per row.

    ``are_tried``: whether stretches of time are clusters, besides those of a column.
    """
    valid = np.logical_and.reduce([transitions[name].notna() for name in ("latency_s", "from_state", "to_state")])
    if not valid.all():
        transitions, n = transitions[valid], None if n is None else n[valid]
    waits_known = waiting is not None
    if waiting is None:
        waiting = transitions.iloc[:0].assign(waited_s=0.0)
    groups, merged = factorize(pd.concat([transitions[names], waiting[names]], ignore_index=True), names)
    group, group_waiting = np.split(merged, [len(transitions)])
    columns = [transitions["from_state"], transitions["to_state"], waiting["from_state"]]
    cats = [TRANSITIONS["from_state"].cast(column).cat for column in columns]
    states = cats[0].categories.append([cat.categories for cat in cats[1:]]).unique()  # in order of the life cycle
    left, entered, waited_in = (states.get_indexer(cat.categories)[cat.codes] for cat in cats)

    # A row of the result is a pair of group and from_state, and a to_state; the last to_state stands for a missing one.
    width = len(states) + 1
    pair = left if len(groups) == 1 else group * np.int64(len(states)) + left
    pair_waiting = group_waiting * np.int64(len(states)) + waited_in
    rows, row = distinct(pair * width + entered)
    pairs_waiting, row_waiting = distinct(pair_waiting)
    seconds = transitions["latency_s"].to_numpy()
    times = _SortedTimes(row, len(rows), seconds, n)
    waits = _SortedTimes(row_waiting, len(pairs_waiting), waiting["waited_s"].to_numpy(), n_waiting)

    table = pd.DataFrame({"n": times.n, "max_s": times.max, "total_s": times.total}, index=rows)
    slowest, weight = _slowest(transitions, group, seconds, n)
    table["slowest_share"] = np.bincount(row[slowest], weights=seconds[slowest] * weight, minlength=len(rows))
    for name, total in (("time_share", "total_s"), ("slowest_share", "slowest_share")):
        of_group = table[total].groupby(rows // width // len(states)).transform("sum")
        table[name] = table[total] / of_group.where(of_group > 0)
    never_left = table.reindex(np.setdiff1d(pairs_waiting, rows // width) * width + len(states))
    never_left = never_left.assign(**dict.fromkeys(("n", "total_s", "time_share", "slowest_share"), 0.0))
    tables = [never_left.assign(quantile=share) for share in quantiles]
    counted = n if _DEPENDENT not in transitions else transitions[_DEPENDENT].to_numpy()
    effects = _design_effects(transitions, row, counted, confidence, are_tried)
    curves = _interval_curves(transitions, row, n, effects)
    for share in quantiles:
        value = times.quantile(share)
        size = times.n.astype(np.float64)
        for index, effect in effects.items():
            size[index] = max(size[index] / np.interp(value[index] * SECOND, effect.time, effect.size), 1.0)
        low, high = (times.order_statistic(share, (1 + side * confidence) / 2, size) for side in (-1, 1))
        low, high = np.minimum(low, value), np.maximum(high, value)  # of few times, the value can lie outside
        for index, curve in curves.items() if 0 < share < 1 else ():
            value[index], low[index], high[index] = curve.quantile_estimate(share, confidence)
        tables.append(table.assign(quantile=share, value_s=value, low_s=low, high_s=high))
    table = pd.concat(tables).sort_index(kind="stable")
    code = table.index.to_numpy() // width
    waited = pd.DataFrame({"n_waiting": waits.n, "waiting_median_s": waits.quantile(0.5), "waiting_max_s": waits.max})
    waited = waited.set_index(pairs_waiting).reindex(code)
    if waits_known:
        waited["n_waiting"] = waited["n_waiting"].fillna(0.0)
    to_state, dtype = table.index.to_numpy() % width, pd.CategoricalDtype(states)
    result: dict[str, Any] = {name: groups[name].array.take(code // len(states)) for name in names}
    result["from_state"] = categorical(code % len(states), dtype)
    result["to_state"] = categorical(np.where(to_state < len(states), to_state, -1), dtype)
    table = pd.concat([table.reset_index(drop=True), waited.reset_index(drop=True)], axis=1)
    table = table.astype({"n": "int64", "n_waiting": "float64"})
    frame = pd.DataFrame(result | {name: table[name] for name in _COLUMNS})
    if effects:
        largest = max(float(effect.variance.max()) for effect in effects.values())
        text = f"The intervals of {len(effects)} of {len(rows)} transitions are wider"
        text += " because messages depend on one another"
        frame.attrs["dependence_note"] = f"{text} (up to {largest:.0f} times the variance)."
    return frame


def _latency_bounds(transitions: pd.DataFrame) -> tuple[Ints, Ints]:
    """The bounds of each latency in microseconds; of no latency if all are exact."""
    if "latest_s" not in transitions.columns:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    low, high = (np.rint(transitions[name].to_numpy() * SECOND).astype(np.int64) for name in ("earliest_s", "latest_s"))
    return low, high


def _design_effects(
    transitions: pd.DataFrame, row: Ints, n: Ints | None, confidence: float, are_tried: bool
) -> dict[int, DesignEffect]:
    """The design effect of each row of the result whose messages depend on one another."""
    if _CLUSTER not in transitions.columns or not len(row):
        return {}
    started = microseconds(transitions["started_at"].astype(INSTANT))
    time = np.rint(transitions["latency_s"].to_numpy() * SECOND).astype(np.int64)
    cluster = transitions[_CLUSTER].to_numpy()
    effects: dict[int, DesignEffect] = {}
    sizes = np.bincount(row)
    for index, part in enumerate(np.split(np.argsort(row, kind="stable"), np.cumsum(sizes)[:-1])):
        counts = None if n is None else n[part]
        if counts is not None and not counts.all():
            part, counts = part[counts > 0], counts[counts > 0]
        named = cluster[part] if (cluster[part] >= 0).any() else None
        total = len(part) if counts is None else int(counts.sum())
        cells = Cells.of(started[part], total, named, are_tried, counts)
        if cells is not None:
            cause = np.ones(len(part), dtype=np.int8)
            effect = design_effect(cells, time[part], cause, 0, None, counts, confidence)
            effects |= {} if effect is None else {index: effect}
    return effects


def _interval_curves(
    transitions: pd.DataFrame, row: Ints, n: Ints | None, effects: dict[int, DesignEffect]
) -> dict[int, Incidence]:
    """The distribution of the latency of each row of the result in which some latencies are known only as intervals."""
    low, high = _latency_bounds(transitions)
    curves = {}
    for index in np.unique(row[: len(low)][low < high]):
        part = row == index
        cause = np.ones(np.count_nonzero(part), dtype=np.int8)
        curve = interval_incidence(low[part], high[part], cause, 1, n=None if n is None else n[part])
        curves[int(index)] = replace(curve, effect={0: effects.get(int(index))}.get)
    return curves


class _SortedTimes:
    """Times in seconds, ascending within each row of the result; ``n`` is the number of times that each one counts."""

    def __init__(self, row: Ints, rows: int, seconds: Floats, n: Ints | None) -> None:
        edges = np.append(0, np.cumsum(np.bincount(row, minlength=rows)))
        counted, self._cumulative = edges, None
        if n is not None or rows > _FEW_ROWS:
            order = np.lexsort((seconds, row))
            self._seconds = sums = seconds[order]
            if n is not None:
                self._cumulative, sums = np.cumsum(n[order]), sums * n[order]
                counted = np.append(0, self._cumulative)[edges]
        else:
            self._seconds = sums = seconds[np.argsort(row, kind="stable")]
            for start, end in pairwise(edges):
                self._seconds[start:end].sort()
        self._start, self._last = counted[:-1], counted[1:] - 1
        self.n = np.diff(counted)
        self.max = self._at(self._last)
        self.total = np.add.reduceat(sums, edges[:-1])

    def _at(self, index: Ints) -> Floats:
        """The times at an index that counts each time ``n`` times."""
        if self._cumulative is not None:
            index = np.searchsorted(self._cumulative, index, side="right")
        return self._seconds[index]

    def _between(self, order: Floats) -> Floats:
        """The order statistic of each row, counted from 0, linear between whole ones as numpy interpolates."""
        below = np.floor(order).astype(np.int64)
        part = order - below
        low = self._at(np.minimum(self._start + below, self._last))
        high = self._at(np.minimum(self._start + below + 1, self._last))
        step = high - low
        return np.asarray(np.where(part < 0.5, low + step * part, high - step * (1 - part)))

    def quantile(self, share: float) -> Floats:
        return self._between(share * (self.n - 1))

    def order_statistic(self, share: float, chance: float, size: Floats) -> Floats:
        """A bound of the interval of a quantile: 0 or infinite where there are too few times.

        ``size`` is the number of independent times that tell as much as those of each row.
        """
        order = fractional_order(size, share, chance) * (self.n / size)
        inside = self._between(np.where(np.isfinite(order), np.maximum(order, 1.0), 1.0) - 1)
        return np.asarray(np.where(np.isinf(order), np.inf, np.where(order < 1, 0.0, inside)))


def _slowest(transitions: pd.DataFrame, group: Ints, seconds: Floats, n: Ints | None) -> tuple[Ints, Floats]:
    """The transitions of the slowest 5 % of the messages of each group, by their total time, and how often each counts.

    Messages with the same total at the limit count in part.
    """
    if "message_id" not in transitions.columns or not len(transitions):
        return np.arange(len(transitions)), np.full(len(transitions), np.nan)
    message, first_row = _number_messages(transitions)
    total, of_group = np.bincount(message, weights=seconds), group[first_row]
    counts = np.ones(len(total), dtype=np.int64) if n is None else n[first_row]
    slowest = np.zeros(len(total))
    order = np.argsort(of_group.astype(np.min_scalar_type(of_group.max())), kind="stable")
    edges = np.flatnonzero(np.diff(of_group[order])) + 1
    for messages in np.split(order, edges) if len(edges) else [slice(None)]:
        times, weights = total[messages], counts[messages]
        size = int(weights.sum())
        count = math.ceil(_SLOWEST * size)
        if n is None:
            threshold = np.partition(times, size - count)[size - count]
        else:
            threshold = np.quantile(times, max(size - count - 0.5, 0.0) / size, method="inverted_cdf", weights=weights)
        above, equal = (float(weights[chosen].sum()) for chosen in (times > threshold, times == threshold))
        slowest[messages] = np.where(times > threshold, 1.0, (times == threshold) * (count - above) / equal)
    chosen = np.flatnonzero((slowest > 0)[message])
    weight = slowest[message[chosen]]
    return chosen, weight if n is None else weight * n[chosen]


def _number_messages(transitions: pd.DataFrame) -> tuple[Ints, Ints]:
    """The number of each transition's message, and the first row of each message."""
    starts = run_starts(transitions["message_id"])
    first_row = np.flatnonzero(starts)
    left = transitions["from_state"].astype("category").cat.codes.to_numpy()
    # If every run of one id begins with the same state, which is nowhere else, each run is a message of its own.
    if (left[first_row] == left[0]).all() and np.count_nonzero(left == left[0]) == len(first_row):
        return np.cumsum(starts) - 1, first_row
    return factorize_ids(transitions["message_id"])
