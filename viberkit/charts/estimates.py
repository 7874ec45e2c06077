"""Charts of estimates: quantiles with their intervals, and what each wait before an SMS would cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from viberkit.analysis.formatting import duration, percent
from viberkit.charts._layout import Sheet, need
from viberkit.charts._style import GROUP_COLOURS, hop_colours, spread
from viberkit.charts.curves import MOST_LINES, levels, opened, parts, share_of
from viberkit.charts.transitions import MOST_LANES

__all__ = ["fallback", "quantiles"]

_FLOOR = 1e-3


def quantiles(latency_table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """The quantiles of each hop's latency as dots, their confidence intervals as bars, a lane a hop on a log axis.

    ``latency_table`` is that of ``vk.latency``: any columns to group by, ``from_state``, ``to_state``, ``n``, and for
    each quantile ``p50_s``, ``p50_low_s``, ``p50_high_s`` … An arrow is an interval without an end on that side:
    there are too few hops to tell. At most 20 lanes, those of the commonest, are drawn, and the axes says so. Raises
    MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = {"from_state": ["accepted"], "to_state": ["routed"], "n": [9], "p50_s": [0.04], "p50_low_s": [0.02],
    ...     "p50_high_s": [0.07]}
    >>> ax = quantiles(pd.DataFrame(rows), ax=Figure().subplots())
    >>> [text.get_text() for text in ax.texts]
    ['accepted → routed', 'n 9 · p50 40 ms', 'p50']
    """
    need(latency_table, "quantiles", ("from_state", "to_state", "n"), "vk.latency(events)")
    columns = [str(name) for name in latency_table.columns]
    wanted = [name[:-2] for name in columns if re.fullmatch(r"p\d+(_\d+)?_s", name)]
    needed = [f"{name}{end}_s" for name in wanted or ["p50"] for end in ("", "_low", "_high")]
    need(latency_table, "quantiles", tuple(needed), "vk.latency(events)")
    sheet = Sheet.open(ax)
    if not len(latency_table):
        return sheet.say("no transitions")
    by = columns[: columns.index("from_state")]
    step = 0.26 + 0.15 + 0.05 * len(wanted) + 0.12
    shown = min(MOST_LANES, sheet.room([step] * len(latency_table)))
    table = latency_table.loc[latency_table["n"].rank(method="first", ascending=False).to_numpy() <= shown]
    names = [(str(one), str(two)) for one, two in zip(table["from_state"], table["to_state"], strict=True)]
    numbers = {name: table[name].to_numpy(dtype=np.float64) for name in needed}
    known = np.concatenate(list(numbers.values()))
    known = known[np.isfinite(known) & (known > _FLOOR)]
    zeros = any((numbers[f"{name}_s"] <= _FLOOR).any() for name in wanted)
    notes = ["time from one state to the next, log scale · bars: confidence intervals, arrows: no end known"]
    if len(latency_table) > len(table):
        notes.append(f"rarer, not drawn: {len(latency_table) - len(table):,}")
    sheet.fix(len(table) * step + 0.02, " · ".join(notes))
    low, high = (float(known.min()), float(known.max())) if len(known) else (_FLOOR, 1.0)
    gutter = sheet.time_axis(low, high, "≤ 1 ms" if zeros else "")
    hues = hop_colours(list(dict.fromkeys(names)))
    groups = table[by].astype("str").agg(" · ".join, axis=1).tolist() if by else []
    for place, (source, target) in enumerate(names):
        top = place * step
        name = " · ".join([*groups[place : place + 1], f"{source} → {target}"])
        found = []
        for one in wanted:
            value, below, above = (float(numbers[f"{one}{end}_s"][place]) for end in ("", "_low", "_high"))
            found.append((one.replace("_", "."), value, below, above))
        count, facts = f"n {int(table['n'].iloc[place]):,}", [f"{one} {duration(value)}" for one, value, *_ in found]
        sheet.heading(top + 0.19, name, " · ".join([count, *facts]), " · ".join([count, facts[0]]), count)
        _estimates(sheet, found, gutter, hues[source, target], top + 0.26)
    return sheet.ax


def _estimates(
    sheet: Sheet, found: Sequence[tuple[str, float, float, float]], gutter: float, hue: str, top: float
) -> None:
    """One lane: a row of names, and below it a dot and a bar each, every one a little lower than the last."""
    ax, finite = sheet.ax, [one for one in found if np.isfinite(one[1])]
    left, right = ax.get_xlim()
    places = [value if value > _FLOOR else gutter for _, value, _, _ in finite]
    at = [share_of(sheet, x) for x in places]
    same = [place for place in range(len(at)) if not place or at[place] - at[place - 1] > 0.004]
    runs = [range(a, b) for a, b in pairwise([*same, len(at)])]  # quantiles at one place share a name
    texts = [" – ".join(dict.fromkeys([finite[run[0]][0], finite[run[-1]][0]])) for run in runs]
    middles = spread([at[run[0]] for run in runs], [sheet.width(text) + 0.012 for text in texts], 0.0, 1.0)
    for run, text, middle in zip(runs, texts, middles or [], strict=False):
        low = top + 0.2 + 0.05 * run[-1]
        where = ax.get_yaxis_transform()
        ax.plot([middle, at[run[0]], at[run[0]]], [top + 0.13, top + 0.17, low], color=hue, lw=0.8, transform=where)
        sheet.text(middle, top + 0.11, text, ha="center")
    for row, ((_, _, low, high), x) in enumerate(zip(finite, places, strict=True)):
        y = top + 0.2 + 0.05 * row
        begin, end = low if low > _FLOOR else gutter if low > 0 and gutter < x else left, min(high, right)
        ax.plot([begin, end], [y, y], color=hue, lw=2.2, alpha=0.45, solid_capstyle="butt")
        if not low > 0:
            ax.plot(0.006, y, "<", ms=4, color=hue, mec="none", transform=ax.get_yaxis_transform())
        if not np.isfinite(high):
            ax.plot(0.994, y, ">", ms=4, color=hue, mec="none", transform=ax.get_yaxis_transform())
        ax.plot(x, y, "o", ms=5, color=hue, mec="none")


def fallback(result: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """What each wait before an SMS would cost a message, the wait that was chosen, and the share that falls back.

    ``result`` is the table of ``vk.fallback``: ``wait_s``, ``cost``, ``falls_back`` (with ``…_low`` and ``…_high``),
    ``meets``, ``chosen`` and ``reach_95_s`` (or that of the target). A hollow dot misses the target. Groups (columns
    before ``wait_s``) are a line each, at most 8; waits of which the log cannot tell are counted. Raises MissingColumn.

    >>> from matplotlib.figure import Figure
    >>> rows = {"wait_s": [5.0, 120.0], "falls_back": [0.5, 0.06], "cost": [0.04, 0.0132], "reach_95_s": [9.0, 180.0],
    ...     "meets": [True, True], "chosen": [False, True]}
    >>> ax = fallback(pd.DataFrame(rows), ax=Figure().subplots())
    >>> ax.texts[-1].get_text()
    'wait 2 min: 0.0132 a message, 6 % fall back, 95 % reached in 3 min'
    """
    columns = ("wait_s", "falls_back", "cost", "meets", "chosen")
    need(result, "fallback", columns, "vk.fallback(journeys, viber_price=…, sms_price=…)")
    asked = re.match(r"([\d.]+) %", str(result.attrs.get("target", "")))
    share = asked[1] if asked and f"reach_{asked[1]}_s" in result else "95"
    need(result, "fallback", (f"reach_{share}_s",), "vk.fallback(journeys, viber_price=…, sms_price=…)")
    sheet = opened(ax)
    by = list(map(str, result.columns[: result.columns.get_loc("wait_s")])) if len(result) else []
    rows = result[np.isfinite(result["cost"]) & np.isfinite(result["wait_s"])] if len(result) else result
    rows = rows[rows["wait_s"] > 0] if len(rows) else rows
    if not len(rows):
        return sheet.say("no wait whose cost is known")
    groups = parts(rows, by)
    shown = groups[:MOST_LINES]
    told = [_chosen(part, share, str(result.attrs.get("target", ""))) for _, part in shown]
    heads = [sheet.wrap(facts[0]).split("\n") for facts in told]
    if by:
        names = [sheet.elide(name, 0.4) for name, _ in shown]
        choices = [[f"{name}: {fact}" for fact in facts] for name, facts in zip(names, told, strict=True)]
        heads = [[next((one for one in line if sheet.width(one) < 0.95), line[-1])] for line in choices]
    head = sum(map(len, heads)) * 0.16 + 0.32
    lane, gap = (0.6, 0.34) if sheet.own else (0.18 * sheet.inches[1], 0.3)
    tall = 1.8 if sheet.own else max(sheet.inches[1] - head - lane - gap - 0.04, 0.4)
    notes = ["wait before the SMS, log scale" + ("" if rows["meets"].all() else " · hollow: misses the target")]
    lost = len(result) - len(rows)
    notes += [f"waits not known, not drawn: {lost:,}"] * (lost > 0)
    notes += [f"other groups not drawn: {len(groups) - len(shown):,}"] * (len(groups) > len(shown))
    sheet.time_axis(float(rows["wait_s"].min()), float(rows["wait_s"].max()))
    sheet.fix(head + tall + gap + lane + 0.04, " · ".join(notes))
    low, high = float(rows["cost"].min()), float(rows["cost"].max())
    spare = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - spare, high + spare
    inch = (high - low) / tall
    main, foot = sheet.ax, low - inch * (gap + lane + 0.04)
    main.set_ylim(foot, high + inch * head)
    ticks = [float(at) for at in MaxNLocator(4).tick_values(low, high) if low <= at <= high]
    ticks = ticks if rows["cost"].max() > rows["cost"].min() else [float(rows["cost"].iloc[0])]
    levels(sheet, ticks, [_money(at) for at in ticks])
    first = rows.loc[rows["chosen"].to_numpy(dtype=bool), "wait_s"]
    side = 1 if not by and len(first) and share_of(sheet, float(first.iloc[0])) < 0.35 else 0
    for level, title in ((high + 0.08 * inch, "cost a message"), (low - 0.22 * inch, "share that falls back to SMS")):
        sheet.text(side, level, title, ha="right" if side else "left")
    below = _lane(sheet, lane / (head + tall + gap + lane + 0.04), 0.04 / (head + tall + gap + lane + 0.04), rows)
    y = high + inch * (head - 0.14)
    for place, ((_, part), lines) in enumerate(zip(shown, heads, strict=True)):
        hue = GROUP_COLOURS[place]
        at, cost, back = (part[name].to_numpy(dtype=np.float64) for name in ("wait_s", "cost", "falls_back"))
        meets, chosen = part["meets"].to_numpy(dtype=bool), part["chosen"].to_numpy(dtype=bool)
        size = 5.0 if len(at) <= 60 else 2.5
        main.plot(at, cost, color=hue, lw=1.4, alpha=0.7)
        main.plot(at[meets], cost[meets], "o", ms=size, color=hue)
        main.plot(at[~meets], cost[~meets], "o", ms=size, mec=hue, mfc="none")
        if {"falls_back_low", "falls_back_high"} <= {*part.columns}:
            below.fill_between(at, part["falls_back_low"], part["falls_back_high"], color=hue, alpha=0.2, lw=0)
        below.plot(at, back, color=hue, lw=1.2, alpha=0.8)
        main.plot(at[chosen], cost[chosen], "o", ms=10, mec=hue, mfc="none", mew=1.6)
        below.plot(at[chosen], back[chosen], "o", ms=4, color=hue)
        middle, wide = 0.0, max(map(sheet.width, lines))
        if not by and chosen.any():
            x = float(share_of(sheet, at[chosen][0]))
            main.plot([at[chosen][0]] * 2, [foot, y - 0.05 * inch - 0.16 * inch * (len(lines) - 1)], color=sheet.ink,
                      lw=0.8, ls=(0, (1.5, 1.5)), zorder=0.6)  # fmt: skip
            middle = float(np.clip(x - wide / 2, 0, max(1 - wide, 0)))
        for line in lines:
            if by:
                main.plot(0.012, y + 0.035 * inch, "o", ms=5, color=hue, transform=main.get_yaxis_transform())
            sheet.text(middle + 0.026 * bool(by), y, line)
            y -= 0.16 * inch
    return main


def _chosen(part: pd.DataFrame, share: str, target: str) -> list[str]:
    """The wait that was chosen, in words, and in fewer."""
    one = part[part["chosen"].to_numpy(dtype=bool)]
    if not len(one):
        return ["no wait meets the target" + (f": {target}" if target else ""), "no wait meets the target"]
    row = one.iloc[0]
    reach = float(row[f"reach_{share}_s"])
    facts = [
        f"wait {duration(row['wait_s'])}: {_money(row['cost'])} a message",
        f"{percent(row['falls_back'])} fall back",
    ]
    facts.append(f"{share} % reached in {duration(reach)}" if np.isfinite(reach) else f"{share} % never reached")
    return [", ".join(facts[:count]) for count in (3, 2, 1)]


def _lane(sheet: Sheet, tall: float, foot: float, rows: pd.DataFrame) -> Axes:
    """An axes of shares at the foot, over the same time."""
    inner = sheet.ax.inset_axes((0, foot, 1, tall), facecolor="none")
    inner.set_xscale("log")
    inner.set_xlim(sheet.ax.get_xlim())
    inner.xaxis.set_major_locator(NullLocator())
    inner.xaxis.set_minor_locator(NullLocator())
    for spine in inner.spines.values():
        spine.set_visible(False)
    most = float(rows.filter(["falls_back", "falls_back_high"]).max().max()) or 1.0
    inner.set_ylim(-0.04 * most, 1.08 * most)
    levels(Sheet(inner, own=False, ink=sheet.ink), [0, most], ["0 %", percent(most)])
    return inner


def _money(cost: float) -> str:
    """A price with three figures that count, at least.

    >>> [_money(cost) for cost in (0.0132, 0.08, 1.5, 12345.678)]
    ['0.0132', '0.08', '1.50', '12,346']
    """
    places = int(np.clip(2 - np.floor(np.log10(abs(cost))), 0, 6)) if cost else 0
    text = f"{cost:,.{places}f}"
    return text if places <= 2 else text.rstrip("0").rstrip(".")
