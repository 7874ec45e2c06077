"""Charts: a result and an ``ax`` in, the ``ax`` out. They compute no statistics beyond what drawing needs.

Each makes an axes of notebook width when none is given, names its unit on the axis, and never changes its input
or matplotlib's settings.
"""

from __future__ import annotations

from viberkit.charts_hops import latency, time_share, timeline

__all__ = ["latency", "time_share", "timeline"]
