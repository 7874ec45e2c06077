"""Why two sets of messages differ: by their composition, and by what changed within groups and hops.

Each message has a score for each hop, and the scores add up to whether it was delivered within the time. The score is
by how much the chance to end in time changes once the hop's duration is known, if the time that remained after the hop
does not depend on it. Failures are a score of their own.

The scores of each set are explained by a linear model with an effect of each group of each column. The change in a
group's part of the messages, times its mean effect, is its part of the difference by composition; what is left is the
change within groups. With a single column this is Kitagawa's decomposition.

Intervals are by the jackknife: blocks of messages that depend on one another are left out one by one. The hours at
which messages were sent are not drawn again with the blocks, for a block is a part of the day.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from viberkit.analysis.durations import OPEN, REACHED, Durations, check_share, check_within, durations
from viberkit.analysis.formatting import group_name, percent, percentile, points, signed
from viberkit.analysis.grouping import BY, factorize, group_columns, group_names
from viberkit.analysis.incidence import Floats, Incidence
from viberkit.analysis.journeys import DELIVERY_PATH, FAILED_STATES
from viberkit.analysis.ordering import SECOND, Ints, instants_of
from viberkit.analysis.result import as_result

#: The facts of messages whose mix is looked at by default.
MIX_COLUMNS = ("country", "content_type", "rate_type")
_TIME = ("hour", "weekday")
_BLOCKS, _BINS, _GROUPS, _NEAR = 32, 4096, 30, 50  # the last: messages beside a quantile, for the density there
_CLEAR, _DIFFERENT = 4.0, 0.7  # standard deviations, and part of the change, by which the changes of groups differ
_UNCERTAIN, _FEW = 0.05, 10  # part of the messages with a time around the limit; clusters by a column
_ABSENT, _SMALL = 1e-6, 1e-300  # the weight of the other set, which counts where one set has no messages of a group


def explain(
    journeys: pd.DataFrame,
    *,
    other: pd.DataFrame,
    start: str = "accepted",
    end: str = "delivered",
    within: float = 60,
    quantiles: float | None = None,
    observed_from: Any = None,
    columns: BY = None,
    confidence: float = 0.95,
    cluster: str | None = "auto",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Explain the difference between two sets of messages: composition, and what changed by group and hop.

    What is explained is the difference of the share delivered within a time, or of a quantile of the time to delivery.
    Its parts add up to it: for each group of each column by how much more or fewer messages there are in it ("mix"),
    and by how much messages became slower or faster, or fail more often, in each hop ("within"). The latter are by
    group for the column whose groups changed most differently, and of all messages if none did.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as ``vk.journeys`` returns them, or events: the messages before.
    other : DataFrame or EventLog
        Those after, whose difference from ``journeys`` is explained.
    start : str, default "accepted"
        The state from which time is measured, in any dialect. Messages without it are dropped.
    end : str, default "delivered"
        The state to reach, in any dialect.
    within : float, default 60
        The time since ``start``, in seconds, by which the shares are compared.
    quantiles : float, optional
        A share of all messages, between 0 and 1: the time at which it is reached is explained instead of ``within``.
    observed_from : instant or Series of instants by message id, optional
        The beginning of the observation where it is later than ``start`` (left truncation). By default the column
        ``observed_from`` of the frames, if there is one.
    columns : str or sequence of str, optional
        Columns by which messages are grouped: of the frames, of ``messages``, or ``hour`` or ``weekday`` of the start.
        By default ``country``, ``content_type`` and ``rate_type``, if there are any, and ``hour``. A column with more
        than 30 groups counts with its largest 29 and all others.
    confidence : float, default 0.95
        The confidence level of the intervals, between 0 and 1.
    cluster : str or None, default "auto"
        What makes messages depend on one another, which widens the intervals (see :mod:`viberkit.analysis`): the name
        of a column; by default ``campaign``, if there is one, else stretches of time. None: they are independent.
    messages : DataFrame, optional
        A frame with ``message_id`` and further columns to group by, such as ``archive.messages()``.
    tz : str, default "UTC"
        The time zone of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per part, those of the column and kind that explain most first, and the largest first among them:

        - ``kind``: mix or within
        - ``column``, ``group``: the column and its group; an empty text and "all messages" if no column is given
        - ``hop``: "accepted → dispatched" etc. between states that most messages have; "failed" for messages that
          failed in time (with ``end="failed"``, "delivered" for those delivered in time); empty for mix
        - ``effect``, ``low``, ``high``: the part of the difference, as a share or in seconds, and its interval
        - ``share_of_difference``: effect / difference
        - ``n_before``, ``n_after``: messages of the group
        - ``summary``: the part as a sentence

        ``attrs`` hold ``what`` (such as "within 60 s"), ``unit`` ("share" or "s"), ``before``, ``after``,
        ``difference`` with its interval ``low`` and ``high``, and ``of_note``: both readings, if each group of a column
        became faster but all messages slower, or the reverse (Simpson's paradox); else an empty text. They also hold
        ``start``, ``end``, ``confidence``, ``cluster`` and ``tz``.

    Raises
    ------
    MissingColumn
        If a frame lacks a column that is needed, or one of ``columns``.
    ValueError
        If a state, ``within``, ``quantiles``, ``confidence`` or ``tz`` is invalid, or the share or the quantile is not
        known of both sets: because there are no messages, none was observed for so long, or too many failed. Also
        if of more than 5 % of the messages it is not known on which side of the time they ended, because their times
        are known only as intervals.

    Warns
    -----
    DroppedMessagesWarning
        If messages without the state ``start`` are dropped.
    IntervalTimesWarning
        If times are known only as intervals wider than two seconds.

    See Also
    --------
    compare : The difference itself, with tests.
    changes : When a series of messages changed.

    Notes
    -----
    Each set has a linear model with an effect of each group (Oaxaca-Blinder [1]_, with mean effects of both sets; with
    one column Kitagawa's decomposition [2]_). Shares are those of Aalen and Johansen, so open messages count for as
    long as they were observed, whose length is assumed not to depend on group or hop. Parts of a quantile are those of
    the shares at the quantiles of both sets, divided by the density there (after [3]_) and scaled to the difference.

    Effects of columns are assumed to add up, and a hop not to influence the next. A cause that is in none of the
    columns is attributed to those that vary with it, and groups with messages in one set only can only differ by
    composition. Messages that fail later than the time count as slow. A time known only as an interval is spread evenly
    over it. Intervals are too short where dependence reaches further than a thirtieth of a set, or with fewer than ten
    clusters; those of composition are too wide where it has no effect.

    References
    ----------
    .. [1] Jann, B. (2008). The Blinder-Oaxaca decomposition for linear regression models. Stata Journal 8.
    .. [2] Kitagawa, E. (1955). Components of a difference between two rates. Journal of the American Statistical
       Association 50.
    .. [3] Firpo, S., Fortin, N. and Lemieux, T. (2009). Unconditional quantile regressions. Econometrica 77.

    Examples
    --------
    >>> at = pd.date_range("2026-03-01T09:00:00Z", periods=200, freq="1min")
    >>> def week(to_b):
    ...     country = np.where(np.arange(200) % 10 < to_b, "B", "A")
    ...     seconds = np.where(country == "B", 90, 3) + np.arange(200) % 7
    ...     return pd.DataFrame({"message_id": map(str, range(200)), "accepted_at": at, "country": country,
    ...         "delivered_at": at + pd.to_timedelta(seconds, unit="s"), "outcome": "delivered",
    ...         "observed_until": at + pd.Timedelta("1h")})
    >>> result = vk.explain(week(2), other=week(5), columns="country")
    >>> result.attrs["what"], round(result.attrs["difference"], 3)
    ('within 60 s', -0.3)
    >>> for text in result["summary"][:2]: print(text)
    more messages with country B (20 % → 50 %): −19.5 of −30 points (−23.7 to −15.3)
    fewer messages with country A (80 % → 50 %): −10.5 of −30 points (−13.4 to −7.6)
    """
    (limit,), level = check_within([within]), None if quantiles is None else check_share(quantiles, "quantiles")
    options: dict[str, Any] = {"observed_from": observed_from, "confidence": confidence, "cluster": cluster, "tz": tz}
    options |= {"start": start, "end": end, "messages": messages}
    of_messages = () if messages is None else messages.columns
    known = {"hour"} | ({*journeys.columns, *of_messages} & {*other.columns, *of_messages})
    names = [name for name in (*MIX_COLUMNS, "hour") if name in known] if columns is None else group_names(columns)
    parts = [durations(frame, "explain", columns=names, **options) for frame in (journeys, other)]
    frames = [group_columns(part.journeys, names, part.started, messages, "explain", tz) for part in parts]
    groups, codes = _groups(pd.concat(frames, ignore_index=True), names)
    column, curves, hops = groups["column"].to_numpy(), [part.curve for part in parts], _hops(parts)
    times, slopes, what = [limit], np.ones(2), f"within {limit / SECOND:g} s"
    if level is not None:
        near, what = min(_NEAR / max(min(map(len, parts)), 1), level / 2, (1 - level) / 2), percentile(level)
        times = [curve.quantile(level) for curve in curves]
        ends = [[min(c.quantile(level + d), float(c.time[-1])) for c in curves] for d in (-near, near)]
        slopes = -np.maximum(np.diff(ends, axis=0)[0], 1.0) / (2 * near * SECOND)
    within_interval = [
        part.count((part.earliest < max(times)) & (min(times) < part.time) & (part.earliest < part.time))
        for part in parts
    ]
    if any(n > _UNCERTAIN * max(part.count(), 1) for n, part in zip(within_interval, parts, strict=True)):
        raise ValueError(f"journeys: {what} lies inside many times that are known only as intervals; pass exact times")
    if not np.isfinite(times).all() or not all(curve.covers(times).all() for curve in curves):
        raise ValueError(f"other: {what} is not known of both sets; pass more messages, or a smaller time or quantile")
    block = np.concatenate([_blocks(part) + index * _BLOCKS for index, part in enumerate(parts)])
    each = [_estimate(column, codes, block, _scores(parts, curves, max(at, 1.0), hops)) for at in times]
    effect, weights, shares, change = (np.mean(values, axis=0) for values in zip(*each, strict=True))
    chosen = column == _changed(column, effect, change, weights, shares)
    keep = np.column_stack([column != "", *[chosen] * (len(hops) - 1)])
    row, hop = np.nonzero(keep & (weights.max(axis=0) > 1e-12)[:, None])
    values = shares[:, 0] if level is None else np.divide(times, SECOND)
    difference, change = float(values[1] - values[0]), change[:, :, row, hop] * slopes[:, None, None]
    effect = effect[row, hop] * slopes.mean()
    effect += (difference - effect.sum()) * np.abs(effect) / max(np.abs(effect).sum(), _SMALL)
    change = np.append(change, change.sum(axis=2)[..., None], axis=2)
    half, whole = np.split(_half_widths(change, np.bincount(np.unique(block) // _BLOCKS)[:, None], confidence), [-1])
    sizes, gap = np.array([[part.count()] for part in parts]), np.diff(weights, axis=0)[0, row].round(12)
    drawn = (weights * (1 - weights) / sizes).sum(axis=0)[row] * ((hop == 0) & np.isin(column[row], _TIME) & (gap != 0))
    half = np.hypot(half, 2 * effect / np.where(gap, gap, 1) * np.sqrt(drawn))
    frame = groups.iloc[row].assign(hop=np.array(hops)[hop], effect=effect, low=effect - half, high=effect + half)
    frame.insert(0, "kind", np.where(hop, "within", "mix"))
    frame["share_of_difference"] = effect / (difference or np.nan)
    frame["n_before"], frame["n_after"] = np.rint(weights * sizes).astype(np.int64)[:, row]
    pairs = zip(frame.to_dict("records"), weights.T[row].tolist(), strict=True)
    frame["summary"] = [_summarize(part, weight, difference, level is None) for part, weight in pairs]
    order = np.lexsort((-np.abs(effect), -np.abs(frame.groupby(["kind", "column"])["effect"].transform("sum"))))
    attrs = parts[0].attrs | {
        "what": what,
        "unit": "share" if level is None else "s",
        "before": values[0],
        "after": values[1],
    }
    attrs |= {"difference": difference, "low": difference - whole[0], "high": difference + whole[0]}
    attrs["of_note"] = mix_note(groups, weights, shares, f"{attrs['end']} {what}")
    return as_result(frame.iloc[order].reset_index(drop=True), attrs)


def _hops(parts: list[Durations]) -> list[str]:
    """The composition (an empty text), the hops between states that most messages have, and the competing outcome."""
    start, end = parts[0].attrs["start"], parts[0].attrs["end"]
    path = DELIVERY_PATH if {start, end} <= {*DELIVERY_PATH} else (start, end)
    known = [part.journeys.filter(regex="_at$").notna().mean() for part in parts]
    between = path[path.index(start) + 1 : path.index(end)]
    states = [state for state in between if min(shares.get(f"{state}_at", 0) for shares in known) > 0.5]
    return ["", *map(" → ".join, pairwise([start, *states, end])), "delivered" if end in FAILED_STATES else "failed"]


def _groups(frame: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, Ints]:
    """The column and label of each group, and the groups of each message; the first group has all messages."""
    groups, codes = [("", "all messages")], [np.zeros(len(frame), dtype=np.int64)]
    for name in names:
        values, code = factorize(frame, [name])
        order = np.argsort(-np.bincount(code), kind="stable")
        labels = [group_name([values[name].iloc[index]]) for index in order[:_GROUPS]]
        labels[-1:] = ["others"] if len(order) > _GROUPS else labels[-1:]
        codes.append(np.minimum(np.argsort(order)[code], _GROUPS - 1) + len(groups))
        groups += [(name, label) for label in labels]
    return pd.DataFrame(groups, columns=["column", "group"]), np.array(codes)


def _scores(parts: list[Durations], curves: list[Incidence], limit: float, hops: list[str]) -> list[Floats]:
    """The mass of each message whose state at a time is known, and the scores of its hops, which add up to the share.

    Means weighted by the mass are Aalen and Johansen's estimate.
    """
    scores, sides = list[Floats](), []
    for part, curve in zip(parts, curves, strict=True):
        n = np.ones(len(part)) if part.n is None else part.n
        n = n if part.entry is None else n * (part.entry < np.minimum(part.time, limit))
        ended = np.clip((limit - part.earliest + 1) / (part.time - part.earliest + 1), 0, 1) * (part.cause != OPEN)
        row, is_open = curve.at(part.time), n * ((ended == 0) & (part.time >= limit))
        mass = n * (ended > 0) * np.append(1.0, curve.open)[row] / np.maximum(curve.at_risk[row], _SMALL)
        mass += is_open * max(1 - mass.sum(), 0) / max(is_open.sum(), _SMALL)
        sides.append([mass / mass.sum(), ended, -ended * (part.cause != REACHED), part.time, part.cause == OPEN])
    mass, ended, failed, time, is_open = np.concatenate(sides, axis=1)
    for hop in hops[1:-2]:
        name = f"{hop.split(' → ')[1]}_at"
        at = np.concatenate([instants_of(part.journeys, name) - part.started for part in parts])
        elapsed = np.where((at < 0) | (at > time), time, at)
        left = np.where(is_open, limit, np.minimum(time - elapsed, limit)) * (_BINS / limit)
        count = np.bincount(left.astype(np.int64), mass * (elapsed <= limit), _BINS + 1)
        share = np.append(0.0, np.cumsum(count)[:-1] / max(count.sum(), _SMALL))
        expected = np.interp((limit - elapsed) * (_BINS / limit), np.arange(_BINS + 1), share, 0)
        scores.append(expected - sum(scores))
    return [mass, *scores, ended - sum(scores), failed]


def _decompose(column: Any, cross: Floats, total: Floats, drawn: Floats | None = None) -> tuple[Floats, Floats, Floats]:
    """The parts of the difference (a row per group, composition and hops in columns), weights and shares of groups.

    ``cross`` are the weights of pairs of groups in both sets, ``total`` the sums of scores; ``drawn`` are weights of
    groups by time: when messages were sent is no matter of chance.
    """
    cross, total = cross / cross[:, :1, :1], total / cross[:, :1, :1]
    own = np.maximum(np.diagonal(cross, axis1=1, axis2=2), _SMALL)
    model = np.linalg.pinv(cross + _ABSENT * cross[::-1], 1e-12, True) @ (total + _ABSENT * total[::-1])
    effects, weights = model.mean(axis=0), own if drawn is None else np.where(np.isin(column, _TIME), drawn, own)
    level = effects.sum(axis=1)
    level = level - pd.Series(level * weights.mean(axis=0)).groupby(column).transform("sum").to_numpy()
    within = np.diff((total - cross @ effects) * (weights / own)[..., None], axis=0)[0]
    return np.column_stack([np.diff(weights, axis=0)[0] * level, within]), weights, total.sum(axis=2) / own


def _estimate(column: Any, codes: Ints, block: Ints, scores: list[Floats]) -> list[Floats]:
    """The parts of the difference, weights and shares of groups, and the effect of leaving out each block."""
    width, size, place, mass = len(column), 2 * _BLOCKS * len(column), block * len(column), scores[0]
    pairs = [np.bincount((place + a) * width + b, mass, size * width) for a in codes for b in codes]
    sums = [np.sum([np.bincount(place + a, mass * score, size) for a in codes], axis=0) for score in scores[1:]]
    cross = np.sum(pairs, axis=0).reshape(2, _BLOCKS, width, width)
    total = np.transpose(sums).reshape(2, _BLOCKS, width, -1)
    whole = _decompose(column, cross.sum(axis=1), total.sum(axis=1))
    change = np.zeros((2, _BLOCKS, *whole[0].shape))
    is_block, one = cross[:, :, 0, 0] > 0, np.eye(2)[..., None, None]
    for side, index in np.argwhere(is_block & (is_block.sum(axis=1, keepdims=True) > 1)):
        left, rest = (table.sum(axis=1) - one[side] * table[side, index] for table in (cross, total))
        change[side, index] = _decompose(column, left, rest, whole[1])[0] - whole[0]
    return [*whole, change]


def _changed(column: Any, effect: Floats, change: Floats, weights: Floats, shares: Floats) -> Any:
    """The column whose groups changed most differently in a hop, the first one (all messages) if there is none."""
    best, largest, within, noise = column[0], _CLEAR, effect[:, 1:], change[..., 1:]
    for name in dict.fromkeys(column[1:]):
        own = (column == name) & (weights.min(axis=0) > 1e-12)
        expected = own * weights.mean(axis=0) * np.maximum(shares.mean(axis=0) * (1 - shares.mean(axis=0)), 1e-6)
        expected = (expected / max(expected.sum(), _SMALL))[:, None]
        contrast = (within - within[0] * expected)[own]
        variance = ((noise - noise[..., :1, :] * expected)[..., own, :] ** 2).sum(axis=(0, 1))
        score = (contrast**2 / np.maximum(variance, _SMALL) - 1).sum(axis=0) / np.sqrt(2 * max(own.sum() - 1, 1))
        score *= np.abs(contrast).sum(axis=0) > _DIFFERENT * abs(within[0].sum())
        if score.max() > largest:
            best, largest = name, score.max()
    return best


def _blocks(part: Durations) -> Ints:
    """The blocks of messages that depend on one another: stretches of time, or clusters by a column."""
    if (cells := part.cells) is None:
        block: Ints = np.argsort(np.argsort(part.started, kind="stable"), kind="stable").astype(np.int64)
    elif cells.cluster is None or (cells.are_tried and len(np.unique(cells.named)) < _FEW):
        block = cells.cell * _BLOCKS // (cells.cell.max() + 1)
    else:
        block = cells.named
    return np.asarray(block % _BLOCKS)


def _half_widths(change: Floats, count: Ints, confidence: float) -> Floats:
    """Half the widths of the intervals by the jackknife of the blocks of each set, with Student's distribution."""
    spread, left = (change**2).sum(axis=1) * (count - 1) / count, np.maximum(count - 1, 1)
    freedom = spread.sum(axis=0) ** 2 / np.maximum((spread**2 / left).sum(axis=0), _SMALL)
    half = special.stdtrit(np.maximum(freedom, 1), (1 + confidence) / 2) * np.sqrt(spread.sum(axis=0))
    return np.where(count.min() > 1, half, np.inf)


def _summarize(part: dict[Any, Any], weights: list[float], difference: float, is_share: bool) -> str:
    """A part of the difference as a sentence."""
    numbers = [(points if is_share else signed)(x) for x in (part["effect"], difference, part["low"], part["high"])]
    is_worse, subject, hop = (part["effect"] < 0) == is_share, f"{part['column']} {part['group']}".strip(), part["hop"]
    text = f"{subject}: {hop} {'slower' if is_worse else 'faster'}"
    if "→" not in hop:
        text = f"{subject}: {'more' if is_worse else 'fewer'} {hop}"
    if part["kind"] == "mix":
        text = f"{'fewer' if weights[0] > weights[1] else 'more'} messages with {subject}"
        text = f"{text} ({' → '.join(percent(round(weight, 9)) for weight in weights)})"
    return f"{text}: {numbers[0]} of {numbers[1]}{' points' * is_share} ({numbers[2]} to {numbers[3]})"


def mix_note(groups: pd.DataFrame, weights: Floats, shares: Floats, what: str) -> str:
    """Both readings, where each group of a column changed in the opposite direction of all messages (Simpson).

    ``groups``: column and label of each group, the first one has all messages; ``weights`` and ``shares``: its part of
    the messages and its share, in both sets.
    """
    change, notes = shares[1] - shares[0], []
    rose, fell = ("fell", "rose") if change[0] > 0 else ("rose", "fell")
    steps = groups["group"] + [f" {' → '.join(map(percent, pair))}" for pair in shares.T]
    for name in dict.fromkeys(groups["column"][1:]):
        own = np.flatnonzero((groups["column"] == name) & (weights.min(axis=0) > 1e-12))
        if len(own) > 1 and (change[own] * change[0] < 0).all():
            more = own[np.argmax((weights[1] - weights[0])[own])]
            text = f"The share {what} {rose} in each {name} ({', '.join(steps[own])}), but {fell} for {steps[0]}"
            text += f", because more messages have {name} {groups['group'][more]}"
            notes.append(f"{text} ({' → '.join(map(percent, weights[:, more]))}).")
    return " ".join(notes)
