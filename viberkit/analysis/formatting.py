"""Durations, shares, quantiles and intervals as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

#: The units of durations as text, in seconds.
UNITS = (("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0))


def duration(seconds: float) -> str:
    """A duration in seconds with one unit, from ms to d.

    >>> [duration(s) for s in (0, 0.0004, 0.14, 1.53, 59.97, 4000, 86400, 3e8, -2)]
    ['0 ms', '0.4 ms', '140 ms', '1.5 s', '1 min', '1.1 h', '1 d', '3,472 d', '-2 s']
    """
    if not math.isfinite(seconds):
        return "–"
    for index, (_, size) in enumerate(UNITS):
        value = round(seconds / size, 1 if abs(seconds / size) < 9.95 else 0)
        if index + 1 == len(UNITS) or abs(value) * size < UNITS[index + 1][1] * (1 - 1e-9):
            break
    if value == 0 < seconds:
        return "< 0.1 ms"
    return f"{value:,.1f}".removesuffix(".0") + f" {UNITS[index][0]}"


def signed(seconds: float) -> str:
    """A difference of durations in seconds, with its sign.

    >>> signed(0.9), signed(-7.4), signed(float("inf")), signed(0.0), signed(float("nan"))
    ('+900 ms', '−7.4 s', '+∞', '0', '–')
    """
    if math.isnan(seconds):
        return "–"
    text = duration(abs(seconds)) if math.isfinite(seconds) else "∞"
    return ("+" if seconds > 0 else "−") + text if seconds else "0"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign.

    >>> points(-0.0667), points(0.1), points(-0.0003), points(float("nan"))
    ('−6.7', '+10', '0', '–')
    """
    if math.isnan(share):
        return "–"
    text = f"{100 * share:+.1f}".removesuffix(".0").replace("-", "−").replace("inf", "∞")
    return "0" if text in ("+0", "−0") else text


def percent(share: float, near: float | None = None) -> str:
    """A share in per cent, with one decimal near 0 and 1, and as many as distinguish it from ``near``.

    >>> [percent(share) for share in (0, 0.0004, 0.031, 0.5, 0.993, 1)]
    ['0 %', '< 0.1 %', '3.1 %', '50 %', '99.3 %', '100 %']
    >>> percent(0.9496, near=0.95), percent(0.949996, near=0.95), percent(0.95, near=0.95)
    ('94.96 %', '94.9996 %', '95 %')
    """
    if not math.isfinite(share):
        return "–"
    if near is not None and 0 < abs(share - near) < 0.01:
        return f"{100 * share:.{max(math.ceil(-math.log10(abs(share - near))) - 2, 1)}f} %"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    decimals = 1 if abs(share) < 0.0995 or share > 0.9905 else 0
    return f"{100 * share:.{decimals}f}".removesuffix(".0") + " %"


def percentile(share: float) -> str:
    """The usual name of a quantile.

    >>> percentile(0.5), percentile(0.999)
    ('p50', 'p99.9')
    """
    return f"p{share * 100:.10g}"


def time(seconds: float) -> str:
    """An estimated duration in seconds; infinite is not reached, NaN not known yet.

    >>> time(2.34), time(float("inf"))
    ('2.3 s', 'not reached')
    """
    if math.isfinite(seconds):
        return duration(seconds)
    return "not known yet" if math.isnan(seconds) else "not reached"


def group_name(values: Iterable[Any]) -> str:
    r"""The values of a group in one line of text; characters that could control a terminal are escaped.

    >>> print(group_name(["DE", "a\x1b[31m", None]))
    DE · a\x1b[31m · missing
    """
    names = ("missing" if pd.isna(value) else str(value) for value in values)
    text = " ".join(" · ".join(names).split())
    return text if text.isprintable() else repr(text)[1:-1]


def interval(value: float, low: float, high: float) -> str:
    """A duration in seconds with its confidence interval; infinite is not reached, NaN not known yet.

    >>> interval(2.34, 1.9, 3.1), interval(2.34, 1.9, float("inf")), interval(float("inf"), 9.0, float("inf"))
    ('2.3 s (1.9 s – 3.1 s)', '2.3 s (1.9 s or more)', 'not reached')
    """
    if math.isinf(value) or math.isnan(low):
        return time(value)
    limits = f"{duration(low)} " + ("or more" if math.isinf(high) else f"– {duration(high)}")
    return f"unknown, {limits}" if math.isnan(value) else f"{duration(value)} ({limits})"
