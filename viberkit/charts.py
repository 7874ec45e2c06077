"""Charts: a result and an ``ax`` in, the ``ax`` out. They compute no statistics beyond what drawing needs.

Each makes an axes of notebook width when none is given, names its unit on the axis, and never changes its input
or matplotlib's settings.
"""

from __future__ import annotations

from viberkit.charts_calendar import slo
from viberkit.charts_curves import curve, ecdf
from viberkit.charts_differences import compare
from viberkit.charts_estimates import fallback, quantiles
from viberkit.charts_grids import profile
from viberkit.charts_hops import latency, time_share, timeline
from viberkit.charts_logs import over_time
from viberkit.charts_ways import flow, funnel

__all__ = [
    "compare",
    "curve",
    "ecdf",
    "fallback",
    "flow",
    "funnel",
    "latency",
    "over_time",
    "profile",
    "quantiles",
    "slo",
    "time_share",
    "timeline",
]
