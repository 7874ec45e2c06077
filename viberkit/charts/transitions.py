"""Charts of transitions and events: the latency of each transition, single messages, and shares of the total time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.ndimage import gaussian_filter1d

from viberkit.analysis.formatting import duration, group_name, percent
from viberkit.analysis.grouping import BY
from viberkit.charts._layout import MAX_PANELS, SMALLEST_TIME, Layout
from viberkit.charts._results import Floats, Transition, check_result, in_order, not_drawn, read_latencies
from viberkit.charts._style import contrast, state_colour, transition_colours
from viberkit.models.states import rank

__all__ = ["MAX_LANES", "MAX_LINES", "latency", "time_share", "timeline"]

#: More lanes, and more lines in an axes, are illegible; the notes below the axis count those left out.
MAX_LANES, MAX_LINES = 20, 8
_BINS, _FEW, _SMALL = 400, 30, 0.01


def latency(
    transitions: pd.DataFrame, *, by: BY = None, tz: str = "UTC", title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the distribution of the latency of each transition.

    One lane per transition in life-cycle order, on a log axis of time. From 30 latencies on, a lane is a density
    scaled to its own peak, with a solid line at the median, a dotted line at the 95th percentile, and a base line
    from the smallest to the largest latency; below that, each latency is a dot. Latencies of 1 ms or less are drawn
    in a separate strip at the left edge. With groups there is a lane for each group and transition.

    Parameters
    ----------
    transitions : pandas.DataFrame
        The result of ``vk.transitions``: ``from_state``, ``to_state``, ``latency_s`` (seconds).
    by : str or sequence of str, optional
        Columns of ``transitions`` to group by, or ``hour`` or ``weekday`` of the beginning of the transition.
    tz : str, default "UTC"
        The time zone of ``hour`` and ``weekday``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 20 transitions are drawn, or 30 with groups, the most frequent; latencies that are negative or
        missing are not. A note below the axis counts those left out.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``tz`` is unknown, or a name in ``by`` is a duplicate.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.latency(vk.transitions(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed', 'n 1 · median 40 ms']
    """
    lanes, note = read_latencies(transitions, "latency", by, tz)
    layout = Layout.open(ax, title, transitions.attrs)
    if not lanes:
        return layout.show_empty("no transitions", note)
    dense = max(map(len, lanes.values())) >= _FEW
    height = float(np.clip(1.5 / len(lanes), 0.36, 0.8)) if dense else 0.36
    height = height if len(lanes) <= MAX_LANES else 0.2
    if not layout.own:
        height = float(np.clip(layout.inches[1] / len(lanes) - 0.26, 0.16, 0.8))
    step = height + 0.26
    count = min(MAX_LANES if by is None else MAX_PANELS, layout.count_fitting([step] * len(lanes)))
    frequent = set(sorted(lanes, key=lambda lane: -len(lanes[lane]))[:count])
    chosen = {lane: values for lane, values in lanes.items() if lane in frequent}
    names = {transition: " → ".join(transition) for transition, _ in chosen}
    notes = ["time from one state to the next, log scale" + (" (solid: median, dotted: p95)" if dense else "")]
    notes += [not_drawn("less frequent transitions", len(lanes) - count), note]
    layout.set_height(count * step + 0.06, notes)
    zero_x = set_time_axis(layout, np.concatenate([*chosen.values()]))
    colours = transition_colours(names)
    for index, ((transition, group), values) in enumerate(chosen.items()):
        median, p95 = np.quantile(values, [0.5, 0.95])
        fact = f"n {len(values):,} · median {duration(median)}"
        more = f" · p95 {duration(p95)}" if len(values) >= _FEW else f" · max {duration(values.max())}"
        facts = [fact + more, fact] if len(values) > 1 else [fact]
        layout.heading(index * step + 0.19, " · ".join(filter(None, [names[transition], group])), *facts)
        draw = _draw_density if len(values) >= _FEW else _draw_dots
        draw(layout, values, zero_x, index * step + 0.24 + height, height - 0.02, colours[transition])
    return layout.ax


def set_time_axis(layout: Layout, seconds: Floats, strip_label: str = "≤ 1 ms") -> float:
    """Set an axis that holds all these times.

    Parameters
    ----------
    layout : Layout
        The layout of the chart.
    seconds : numpy.ndarray
        The times in seconds.
    strip_label : str, default "≤ 1 ms"
        Label of the zero strip, which holds times of 1 ms or less.

    Returns
    -------
    float
        The middle of the zero strip.
    """
    later = seconds[seconds > SMALLEST_TIME]
    low, high = (float(later.min()), float(later.max())) if len(later) else (SMALLEST_TIME, 1.0)
    return layout.time_axis(low, high, strip_label if len(later) < len(seconds) else "")


def _draw_density(layout: Layout, values: Floats, zero_x: float, base: float, height: float, colour: str) -> None:
    """Draw a kernel density over log time, in which latencies of 1 ms or less are spread over the zero strip."""
    ax, later = layout.ax, values > SMALLEST_TIME
    left, right = np.log10(ax.get_xlim())
    step = (right - left) / _BINS
    logs = np.log10(np.where(later, values, zero_x))
    spread_out = logs[later] if later.any() else logs
    # Silverman's rule, but never narrower than what can be seen.
    quartiles = np.quantile(spread_out, [0.25, 0.75])
    bandwidth = 0.9 * min(float(spread_out.std()), float(np.ptp(quartiles)) / 1.34) * len(spread_out) ** -0.2
    sigma = max(bandwidth / step, 0.008 * _BINS)
    logs[~later] += np.linspace(-0.025, 0.025, len(logs) - int(later.sum())) * (right - left)
    counts = np.histogram(logs, _BINS, (left, right))[0].astype(np.float64)
    density = gaussian_filter1d(counts, sigma, mode="constant")
    at = left + step * (np.arange(_BINS) + 0.5)
    reach = 3 * sigma * step if np.ptp(logs) < 6 * sigma * step else 0.0  # else equal latencies would vanish
    shown = (at >= logs.min() - reach) & (at <= logs.max() + reach) & (density > 1e-3 * density.max())
    y = np.where(shown, base - height * density / density.max(), np.nan)
    ax.fill_between(10**at, base, y, color=colour, alpha=0.5, lw=0)
    ax.plot(10**at, y, color=colour, lw=1.2)
    ends = 10 ** np.array([spread_out.min(), spread_out.max()])
    ax.plot(ends, [base, base], color=colour, lw=1.4, solid_capstyle="butt")
    for quantile, style in ((0.5, "-"), (0.95, (0, (1.5, 1.5)))):
        value = float(np.quantile(values, quantile))
        x = value if value > SMALLEST_TIME else zero_x
        ax.plot([x, x], [base, base - height], color=layout.text_colour, lw=1.2, ls=style)


def _draw_dots(layout: Layout, values: Floats, zero_x: float, base: float, height: float, colour: str) -> None:
    """Draw a dot per latency, stacked where they would overlap."""
    at = np.sort(np.where(values > SMALLEST_TIME, values, zero_x))
    last: list[float] = []  # the last dot of each level, in inches
    levels = []
    for value in at.tolist():
        x = layout.share(value) * layout.inches[0]
        level = next((index for index, other in enumerate(last) if x - other >= 0.075), len(last))
        last[level : level + 1] = [x]
        levels.append(level)
    rise = min(0.08, (height - 0.06) / max(len(last) - 1, 1))
    layout.ax.plot(layout.ax.get_xlim(), [base, base], color=layout.text_colour, lw=0.4, alpha=0.8)
    layout.ax.plot(at, base - 0.05 - rise * np.array(levels), "o", ms=5, color=colour, mec="none", alpha=0.85)


def timeline(
    events: pd.DataFrame, *, message_id: str | Iterable[str] | None = None, title: str = "", ax: Axes | None = None
) -> Axes:
    r"""Draw the events of single messages over time.

    One lane per message: a dot per event with the name of the state and the time since the event before. Time is
    counted from the first event of the message on a log axis, so that milliseconds and hours are both legible; the
    first event is in a separate strip at the left edge. With more than six messages a legend names the states.

    Parameters
    ----------
    events : pandas.DataFrame
        The log: ``message_id``, ``state``, ``happened_at`` (UTC).
    message_id : str or iterable of str, optional
        The messages to draw, in this order; the first 20 of the log by default.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. A note below the axis counts the messages that are not drawn.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If a message is not in the log.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.timeline(events)
    >>> [text.get_text() for text in ax.texts]
    ['m1', '2026-03-01 09:00:00 UTC · 40 ms in total', 'accepted\n09:00:00.000', 'routed\n+40 ms']
    """
    check_result(events, "timeline", "vk.read_events(…)", ("message_id", "state", "happened_at"))
    known = events["message_id"].dropna().unique() if len(events) else ()
    names = known[:MAX_LANES] if message_id is None else [message_id] if isinstance(message_id, str) else message_id
    chosen = [str(name) for name in dict.fromkeys(names)]
    total = len(known) if message_id is None else len(chosen)
    messages = _read_messages(events, chosen) if len(events) else {}
    absent = sorted(set(chosen) - set(messages))
    if message_id is not None and absent and len(events):
        raise ValueError(f"message_id: {absent[0]!r} is not in the events; pass one of events['message_id']")
    layout = Layout.open(ax, title, events.attrs)
    if not messages:
        return layout.show_empty("no events")

    full = len(messages) <= 6
    rows = pd.concat(messages.values())
    states = [] if full else sorted(rows["state"].unique(), key=rank)
    top = layout.legend_positions(states)[-1][1] + 0.12 if states else 0.0
    zero_x = set_time_axis(layout, rows["since_s"].to_numpy(), "start")
    lanes = [_Lane(layout, name, part, zero_x, full=full) for name, part in messages.items()]
    lanes = lanes[: layout.count_fitting([lane.height for lane in lanes], top)]
    omitted = f"first {len(lanes):,} of {total:,} messages, others with message_id=…" if len(lanes) < total else ""
    notes = ["time since the message's first event, log scale", omitted]
    layout.set_height(top + sum(lane.height for lane in lanes), notes)
    layout.legend(states, [state_colour(state) for state in states])
    for lane in lanes:
        lane.draw(top)
        top += lane.height
    return layout.ax


def _read_messages(events: pd.DataFrame, message_ids: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the events of each message in order, with seconds since the first."""
    rows = events.loc[events["message_id"].isin(list(message_ids)), ["message_id", "state", "happened_at"]].dropna()
    rows = rows.assign(state=rows["state"].astype(str), happened_at=pd.to_datetime(rows["happened_at"], utc=True))
    rows = rows.assign(rank=rows["state"].map(rank)).sort_values(["happened_at", "rank"], kind="stable")
    parts = rows.groupby("message_id", observed=True)
    rows["since_s"] = (rows["happened_at"] - parts["happened_at"].transform("first")).dt.total_seconds()
    return {name: parts.get_group(name) for name in message_ids if name in parts.groups}


class _Lane:
    """A message with labels in a row above its line, and in a row below where one row is too short."""

    def __init__(self, layout: Layout, message_id: str, events: pd.DataFrame, zero_x: float, *, full: bool) -> None:
        self.layout, self.message_id, self.started_at = layout, message_id, events["happened_at"].iloc[0]
        self.states, self.since_s = events["state"].tolist(), events["since_s"].tolist()
        self.at = [seconds if seconds > SMALLEST_TIME else zero_x for seconds in self.since_s]
        first = f"{self.started_at:%H:%M:%S}.{self.started_at.microsecond // 1000:03}"
        gaps = [f"+{duration(after - before)}" for before, after in pairwise(self.since_s)]
        labels = zip(self.states, [first, *gaps], strict=True)
        self.texts = [f"{layout.elide(name, 0.3)}\n{gap}" for name, gap in labels] if full else gaps
        self.first = len(self.at) - len(self.texts)
        centres = [layout.share(x) for x in self.at[self.first :]]
        self.rows = layout.label_rows(self.texts, centres, centres)
        self.label_height = 0.29 if full else 0.13
        self.above = 0.22 + (self.label_height + (0.17 if full else 0.14) if self.rows else 0.1)
        self.height = self.above + 0.07 + (self.label_height + 0.16 if len(self.rows) > 1 else 0.0)

    def draw(self, top: float) -> None:
        """Draw the lane, its upper edge ``top`` inches from the top of the axes."""
        ax, line = self.layout.ax, top + self.above
        hidden = len(self.texts) - sum(map(len, self.rows))
        total = f"{duration(self.since_s[-1])} in total" + (f" · {hidden:,} labels left out" if hidden else "")
        self.layout.heading(top + 0.18, self.message_id, f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC · {total}", total)
        colours = [state_colour(state) for state in self.states]
        ax.plot(self.at, [line] * len(self.at), color=self.layout.text_colour, lw=0.7, zorder=1)
        ax.scatter(self.at, [line] * len(self.at), s=34, c=colours, zorder=3, linewidths=0, clip_on=False)
        for row, sign, va in zip(self.rows, (-1, 1), ("bottom", "top"), strict=False):
            edge = line + sign * (self.above - 0.24 - self.label_height)
            for index, centre in row:
                event = index + self.first
                x, y = [self.layout.share(self.at[event]), centre], [line + sign * 0.05, edge]
                ax.plot(x, y, color=colours[event], lw=0.8, transform=ax.get_yaxis_transform(), zorder=2)
                self.layout.text(centre, edge + sign * 0.02, self.texts[index], ha="center", va=va, linespacing=1.1)


def time_share(latency: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the share of the total time that each transition takes.

    One bar per group, divided into transitions. The name of a segment is on it if it fits, otherwise in a legend.
    A note below the axis lists the transitions of less than 1 % in every bar.

    Parameters
    ----------
    latency : pandas.DataFrame
        The result of ``vk.latency``: ``from_state``, ``to_state``, ``time_share`` (0 to 1), and the columns of
        ``attrs["by"]``.
    title : str, optional
        A title above the chart; without one, the headings and the texts on the axis say what is drawn.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 20 groups are drawn; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``attrs["by"]`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:04Z", "2026-03-01T09:00:10Z"])
    >>> states = ["accepted", "routed", "dispatched"]
    >>> events = pd.DataFrame({"message_id": "m1", "state": states, "happened_at": at})
    >>> ax = vk.charts.time_share(vk.latency(events))
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed  40 %', 'routed → dispatched  60 %']
    """
    check_result(latency, "time_share", "vk.latency(events)", ("from_state", "to_state", "time_share"), ("by",))
    layout = Layout.open(ax, title, latency.attrs)
    table = latency.loc[latency["time_share"] > 0] if len(latency) else latency
    if not len(table):
        return layout.show_empty("no transitions")
    by = list(latency.attrs["by"])
    bars: dict[str, dict[Transition, float]] = {}
    for *group, source, target, share in table[[*by, "from_state", "to_state", "time_share"]].itertuples(index=False):
        bars.setdefault(group_name(group), {})[str(source), str(target)] = float(share)
    transitions = in_order({transition for bar in bars.values() for transition in bar})
    colours = transition_colours(transitions)
    segments = [(name, key, share) for name, bar in bars.items() for key, share in bar.items()]
    texts = {(name, key): _segment_text(layout, key, share, multiline=not by) for name, key, share in segments}
    named = {transition for (_, transition), text in texts.items() if "→" in text}
    legend: dict[Transition, str] = {}
    small: dict[Transition, str] = {}
    for transition in (transition for transition in transitions if transition not in named):
        largest = max(bar.get(transition, 0.0) for bar in bars.values())
        text = f"{layout.elide(' → '.join(transition), 0.8)} ({'up to ' * (len(bars) > 1)}{percent(largest)})"
        (small if largest < _SMALL else legend)[transition] = text.replace(" ", "\xa0")
    note = f"less than {percent(_SMALL)} each: {', '.join(small.values())}" if small else ""
    top_margin = layout.legend_positions([*legend.values()])[-1][1] + 0.1 if legend else 0.08
    heading, height = (0.24, 0.34) if by else (0.0, 0.5)
    step = heading + height + 0.1
    count = min(MAX_LANES, layout.count_fitting([step] * len(bars), top_margin))
    omitted = f"first {count:,} of {len(bars):,} groups" if count < len(bars) else ""
    layout.set_height(top_margin + count * step, ["share of all the time spent between states", omitted, note])
    layout.share_axis()
    layout.legend([*legend.values()], [colours[transition] for transition in legend], "s")
    for index, (name, bar) in enumerate(list(bars.items())[:count]):
        y, left = top_margin + index * step + heading + height / 2, 0.0
        if by:
            layout.heading(y - height / 2 - 0.05, name)
        for transition in (transition for transition in transitions if transition in bar):
            share, colour = bar[transition], colours[transition]
            layout.ax.barh(y, share, height, left, color=colour, linewidth=0)
            text, text_colour = texts[name, transition], contrast(colour)
            layout.text(left + share / 2, y, text, ha="center", va="center", colour=text_colour)
            left += share
    return layout.ax


def _segment_text(layout: Layout, transition: Transition, share: float, *, multiline: bool) -> str:
    """Return the longest label that fits into a segment of a bar."""
    value = percent(share)
    choices = [f"{' → '.join(transition)}  {value}", *["{}\n→ {}\n{}".format(*transition, value)] * multiline, value]
    return next((text for text in choices if layout.width(text) + 0.012 <= share), "")
