"""Shares that grow in steps over time, and of two things that follow each other; how fast SMS arrive.

Times are whole microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.incidence import Floats
from viberkit.analysis.ordering import SECOND, Ints
from viberkit.frames.columns import require

__all__ = ["Steps", "microseconds", "sms_steps"]

_FAR = 1 << 60  # so that the sum of two times still fits


@dataclass(frozen=True)
class Steps:
    """A share that grows in steps: from each time on, so much; the first is nothing, before everything."""

    time: Ints
    share: Floats

    @classmethod
    def of(cls, time: npt.ArrayLike, share: npt.ArrayLike) -> Steps:
        """The steps of a curve, where it does grow."""
        grown = np.diff(np.asarray(share, dtype=np.float64), prepend=0.0) > 0
        times, shares = np.asarray(time, dtype=np.int64)[grown], np.asarray(share, dtype=np.float64)[grown]
        return cls(np.append(-_FAR, times), np.append(0.0, shares))

    @property
    def last(self) -> float:
        """The share in the end."""
        return float(self.share[-1])

    @property
    def end(self) -> int:
        """When the share is that in the end; zero if it is nothing."""
        return max(int(self.time[-1]), 0)

    def at(self, when: Any) -> Any:
        """The shares at times."""
        return self.share[np.searchsorted(self.time, when, side="right") - 1]

    def until(self, when: int) -> Steps:
        """The steps up to a time, that time included."""
        place = int(np.searchsorted(self.time, when, side="right"))
        return Steps(self.time[:place], self.share[:place])

    def followed_by(self, other: Steps, when: int) -> float:
        """The share that by a time has done both, one after the other, independently."""
        few, many = (self, other) if len(self.time) <= len(other.time) else (other, self)
        return float(np.diff(few.share) @ many.at(when - few.time[1:]))


def microseconds(seconds: float) -> int:
    """Seconds as whole microseconds, at the most so many that two of them can be added."""
    return min(round(seconds * SECOND), _FAR)


def sms_steps(curve: pd.DataFrame | None) -> Steps:
    """The share of SMS that have arrived, by the time since they were sent: as a curve tells, or all at once.

    Raises :class:`~viberkit.errors.MissingColumn`, and ``ValueError`` for what is no curve.
    """
    if curve is None:
        return Steps.of([0], [1.0])
    require(curve, ("time_s", "delivered"), "fallback (sms_curve)")
    time, share = (curve[name].to_numpy(dtype=np.float64) for name in ("time_s", "delivered"))
    remedy = "pass one group's curve, e.g. vk.delivery_curve(sms_journeys)"
    if not len(curve):
        raise ValueError(f"sms_curve: it has no rows; {remedy}")
    right = np.isfinite(time) & (time >= 0) & (share >= 0) & (share <= 1)
    right[1:] &= (time[1:] >= time[:-1]) & (share[1:] >= share[:-1])
    if not right.all():
        raise ValueError(f"sms_curve: row {np.argmin(right)} goes back in time, or its share is none; {remedy}")
    return Steps.of(np.minimum(np.rint(time * SECOND), _FAR), share)
