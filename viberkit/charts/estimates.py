"""Charts of estimates: quantiles with confidence intervals, and the cost of each wait before a fallback to SMS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.charts._layout import SMALLEST_TIME, Layout
from viberkit.charts._results import check_result, group_label, largest_groups, not_drawn
from viberkit.charts._style import GROUP_COLOURS, transition_colours
from viberkit.charts.curves import MAX_LINES
from viberkit.charts.transitions import MAX_LANES, set_time_axis

__all__ = ["fallback", "quantiles"]

_MARKERS = "oDs^vP*"


def quantiles(latency: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the quantiles of the latency of each transition with their confidence intervals.

    One lane per group and transition on a log axis of time: a marker per quantile, a bar per confidence interval. An
    arrow is an interval without a bound on that side, because there are too few latencies.

    Parameters
    ----------
    latency : pandas.DataFrame
        The result of ``vk.latency``: ``from_state``, ``to_state``, ``quantile``, ``value_s``, ``low_s``, ``high_s``
        (seconds), ``n``, and the columns of ``attrs["by"]``.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. The 20 lanes with most latencies are drawn; a note below the axis counts the others.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If ``attrs["by"]`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> at = pd.to_datetime(["2026-03-01T09:00:00.000Z", "2026-03-01T09:00:00.040Z"])
    >>> events = pd.DataFrame({"message_id": "m1", "state": ["accepted", "routed"], "happened_at": at})
    >>> ax = vk.charts.quantiles(vk.latency(events, quantiles=0.5))
    >>> [text.get_text() for text in ax.texts]
    ['p50', 'accepted → routed', 'n 1 · p50 40 ms']
    """
    columns = ("from_state", "to_state", "quantile", "value_s", "low_s", "high_s", "n")
    check_result(latency, "quantiles", "vk.latency(events)", columns, ("by",))
    layout = Layout.open(ax)
    rows = latency[latency["to_state"].notna() & (latency["n"] > 0)] if len(latency) else latency
    if not len(rows):
        return layout.show_empty("no transitions")
    keys = [*latency.attrs["by"], "from_state", "to_state"]
    lanes = list(rows.sort_values("quantile", kind="stable").groupby(keys, sort=False, observed=True, dropna=False))
    shown = sorted(rows["quantile"].unique())
    names = [percentile(quantile) for quantile in shown]
    top_margin = layout.legend_positions(names)[-1][1] + 0.08
    step = 0.34 + 0.075 * len(shown)
    count = min(MAX_LANES, layout.count_fitting([step] * len(lanes), top_margin))
    frequent = sorted(range(len(lanes)), key=lambda index: -lanes[index][1]["n"].iloc[0])[:count]
    left_out, lanes = len(lanes) - count, [lanes[index] for index in sorted(frequent)]
    notes = ["time from one state to the next, log scale · bars: confidence intervals, arrows: no bound known"]
    notes.append(not_drawn("less frequent,", left_out))
    layout.set_height(top_margin + len(lanes) * step + 0.02, notes)
    numbers = pd.concat([part for _, part in lanes])[["value_s", "low_s", "high_s"]].to_numpy(dtype=np.float64)
    later = numbers[np.isfinite(numbers) & (numbers > SMALLEST_TIME)]
    zero_x = set_time_axis(layout, [later, numbers[np.isfinite(numbers[:, 0]), 0]])
    markers = dict(zip(shown, _MARKERS * (len(shown) // len(_MARKERS) + 1), strict=False))
    layout.legend(names, [layout.text_colour] * len(names), "".join(markers.values()))
    colours = transition_colours(dict.fromkeys((str(key[-2]), str(key[-1])) for key, _ in lanes))
    for index, (key, part) in enumerate(lanes):
        estimates = part[["quantile", "value_s", "low_s", "high_s"]].to_numpy(dtype=np.float64).tolist()
        top, colour = top_margin + index * step, colours[str(key[-2]), str(key[-1])]
        size = f"n {int(part['n'].iloc[0]):,}"
        facts = [f"{percentile(quantile)} {duration(value)}" for quantile, value, *_ in estimates]
        name = " · ".join([*([group_label(key[:-2])] if key[:-2] else []), " → ".join(map(str, key[-2:]))])
        layout.heading(top + 0.19, name, " · ".join([size, *facts]), f"{size} · {facts[0]}", size)
        for quantile, *estimate in estimates:
            if np.isfinite(estimate[0]):
                y = top + 0.32 + 0.075 * shown.index(quantile)
                _draw_interval(layout, estimate, zero_x, y, colour, markers[quantile])
    return layout.ax


def _draw_interval(layout: Layout, estimate: list[float], zero_x: float, y: float, colour: str, marker: str) -> None:
    ax, (value, low, high), (left, right) = layout.ax, estimate, layout.ax.get_xlim()
    at = value if value > SMALLEST_TIME else zero_x
    start = low if low > SMALLEST_TIME else zero_x if low > 0 and zero_x < at else left
    ax.plot([start, min(high, right)], [y, y], color=colour, lw=2.2, alpha=0.45, solid_capstyle="butt")
    for bounded, x, arrow in ((low > 0, 0.006, "<"), (np.isfinite(high), 0.994, ">")):
        if not bounded:
            ax.plot(x, y, arrow, ms=4, color=colour, mec="none", transform=ax.get_yaxis_transform())
    ax.plot(at, y, marker, ms=5, color=colour, mec="none")


def fallback(fallback: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the cost of each wait before an SMS, the share that falls back, and the wait that was chosen.

    One line per group on a log axis of time; a hollow marker is a wait that misses the target, a ring the chosen one.

    Parameters
    ----------
    fallback : pandas.DataFrame
        The result of ``vk.fallback``: ``wait_s``, ``reach_s`` (seconds), ``cost`` (per message), ``fallback_share``,
        ``fallback_low``, ``fallback_high``, ``meets_target``, ``chosen``, and the columns of ``attrs["by"]``.
    ax : matplotlib.axes.Axes, optional
        The axes to draw on; a new figure of notebook width by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. At most 8 groups are drawn, and no waits of unknown cost; a note below the axis counts both.

    Raises
    ------
    MissingColumn
        If a column is missing.
    ValueError
        If one of the attrs ``by``, ``target``, ``within_s`` is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> result = pd.DataFrame({"wait_s": [5.0, 120.0], "cost": [0.04, 0.0132], "reach_s": [9.0, 180.0],
    ...     "fallback_share": [0.5, 0.06], "fallback_low": [0.4, 0.05], "fallback_high": [0.6, 0.07],
    ...     "meets_target": True, "chosen": [False, True]})
    >>> result.attrs = {"by": [], "target": 0.95, "within_s": 600.0}
    >>> ax = vk.charts.fallback(result)
    >>> ax.texts[-1].get_text()
    'wait 2 min: 0.0132 per message, 6 % fall back, 95 % reached in 3 min'
    """
    source, shares = "vk.fallback(journeys, …)", ["fallback_share", "fallback_low", "fallback_high"]
    columns = ("wait_s", "cost", "reach_s", *shares, "meets_target", "chosen")
    check_result(fallback, "fallback", source, columns, ("by", "target", "within_s"))
    layout = Layout.open(ax, left=0.52)
    rows = fallback
    if len(rows):
        rows = rows[np.isfinite(rows["cost"]) & np.isfinite(rows["wait_s"]) & (rows["wait_s"] > 0)]
    if not len(rows):
        return layout.show_empty("no wait with a known cost")
    groups, left_out = largest_groups(rows, pd.Series(1, rows.index), MAX_LINES)
    by, many = bool(fallback.attrs["by"]), len(rows) > 60 * len(groups)
    descriptions = []
    for name, part in groups:
        prefix = f"{layout.elide(name, 0.4)}: " if by else ""
        texts = [prefix + text for text in _describe_choice(part, fallback.attrs["target"], fallback.attrs["within_s"])]
        descriptions.append(next((text for text in texts if layout.width(text) < 0.95), texts[-1]))
    top_margin, gap = len(descriptions) * 0.16 + 0.32, 0.34 if layout.own else 0.3
    lane = 0.6 if layout.own else 0.18 * layout.inches[1]
    height = 1.8 if layout.own else max(layout.inches[1] - top_margin - lane - gap - 0.04, 0.4)
    total = top_margin + height + gap + lane + 0.04
    notes = ["wait before the SMS, log scale", "" if rows["meets_target"].all() else "hollow: misses the target"]
    notes.append(not_drawn("waits of unknown cost,", len(fallback) - len(rows)))
    notes.append(not_drawn("other groups", left_out))
    layout.time_axis(float(rows["wait_s"].min()), float(rows["wait_s"].max()))
    layout.set_height(total, notes)
    lowest, highest = float(rows["cost"].min()), float(rows["cost"].max())
    padding = 0.06 * (highest - lowest) or 0.05 * abs(highest) or 1.0
    low, high = lowest - padding, highest + padding
    inch, main = (high - low) / height, layout.ax
    bottom = low - inch * (gap + lane + 0.04)
    main.set_ylim(bottom, high + inch * top_margin)
    largest = float(np.nanmax(rows[shares].to_numpy())) or 1.0
    up = inch * lane / (1.12 * largest)  # the height of a share
    zero = bottom + 0.04 * (inch + up * largest)
    ticks = {lowest: _money(lowest)}
    if highest > lowest:
        costs = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
        decimals = max(0, int(np.ceil(-np.log10(costs[1] - costs[0]) - 1e-9)))
        ticks = {float(cost): f"{cost:,.{decimals}f}" for cost in costs if low <= cost <= high}
    layout.levels(ticks | {zero: "0 %", zero + up * largest: percent(largest)})
    chosen_s = rows.loc[rows["chosen"].to_numpy(dtype=bool), "wait_s"]
    right = not by and len(chosen_s) > 0 and layout.share(float(chosen_s.iloc[0])) < 0.35
    for y, title in ((high + 0.08 * inch, "cost per message"), (low - 0.22 * inch, "share that falls back to SMS")):
        layout.text(float(right), y, title, ha="right" if right else "left")
    for index, ((_, part), text) in enumerate(zip(groups, descriptions, strict=True)):
        part, colour = part.sort_values("wait_s"), GROUP_COLOURS[index]
        y = high + inch * (top_margin - 0.14 - 0.16 * index)
        wait, cost = part["wait_s"].to_numpy(float), part["cost"].to_numpy(float)
        share, share_low, share_high = (zero + up * part[name].to_numpy(float) for name in shares)
        meets, chosen = part["meets_target"].to_numpy(dtype=bool), part["chosen"].to_numpy(dtype=bool)
        main.plot(wait, cost, color=colour, lw=1.4, alpha=0.7)
        for mask, fill in ((meets, colour), (~meets, "none")):
            main.plot(wait[mask], cost[mask], "o", ms=2.5 if many else 5.0, mec=colour, mfc=fill)
        main.plot(wait[chosen], cost[chosen], "o", ms=10, mec=colour, mfc="none", mew=1.6)
        main.fill_between(wait, share_low, share_high, color=colour, alpha=0.2, lw=0)
        main.plot(wait, share, "o-", ms=2, color=colour, lw=1.2, alpha=0.8)
        main.plot(wait[chosen], share[chosen], "o", ms=4, color=colour)
        x = 0.17 / layout.inches[0] if by else 0.0
        if by:
            main.plot(x / 2, y + 0.035 * inch, "o", ms=5, color=colour, transform=main.get_yaxis_transform())
        elif chosen.any():
            width = layout.width(text)
            x = float(np.clip(layout.share(wait[chosen][0]) - width / 2, 0, max(1 - width, 0)))
            style: dict[str, Any] = {"color": layout.text_colour, "lw": 0.8, "ls": (0, (1.5, 1.5)), "zorder": 0.6}
            main.plot([wait[chosen][0]] * 2, [bottom, y - 0.05 * inch], **style)
        layout.text(x, y, text)
    return main


def _describe_choice(part: pd.DataFrame, target: float, within_s: float) -> list[str]:
    """Return the chosen wait of a group, from the longest text to the shortest."""
    chosen = part[part["chosen"].to_numpy(dtype=bool)]
    if not len(chosen):
        return [f"no wait meets the target: {percent(target)} within {duration(within_s)}", "no wait meets the target"]
    row = chosen.iloc[0]
    reach = f"reached in {duration(row['reach_s'])}" if np.isfinite(row["reach_s"]) else "never reached"
    facts = [f"wait {duration(row['wait_s'])}: {_money(row['cost'])} per message"]
    facts += [f"{percent(row['fallback_share'])} fall back", f"{percent(target)} {reach}"]
    return [", ".join(facts[:count]) for count in (3, 2, 1)]


def _money(cost: float) -> str:
    """Return a price with at least three significant digits.

    >>> [_money(cost) for cost in (0.0132, 0.08, 1.5, 12345.678)]
    ['0.0132', '0.0800', '1.50', '12,346']
    """
    decimals = int(np.clip(2 - np.floor(np.log10(abs(cost))), 0, 6)) if cost else 0
    return f"{cost:,.{decimals}f}"
