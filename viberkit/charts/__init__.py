"""Charts: a result and an ``ax`` in, the ``ax`` out. They compute no statistics beyond what drawing needs.

Each makes an axes of notebook width when none is given, names its unit on the axis, and never changes its input or
matplotlib's settings. It has a title only if one is passed as ``title=``. A new figure is transparent, legible on
light and on dark pages, or has the background of the matplotlib style (such as ``dark_background``). What a result
says about itself, such as the share of deliveries known only as an interval, is below the chart.
"""

from __future__ import annotations

from viberkit.charts.curves import curve, ecdf
from viberkit.charts.estimates import compare, explain, fallback, quantiles
from viberkit.charts.flows import flow, funnel
from viberkit.charts.heatmaps import profile, slo
from viberkit.charts.transitions import latency, time_share, timeline
from viberkit.charts.trends import over_time

__all__ = ["compare", "curve", "ecdf", "explain", "fallback", "flow", "funnel", "latency", "over_time"]
__all__ += ["profile", "quantiles", "slo", "time_share", "timeline"]


def __dir__() -> list[str]:
    return __all__
