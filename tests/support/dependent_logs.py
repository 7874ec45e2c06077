"""Journeys by other laws than the sandbox's: outages, campaigns, queues, rhythms, and other dependence of messages.

Each function returns the start of each message in seconds, in order, and a factor of its time to delivery or its delay.
:func:`journeys` makes a log of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.frames.columns import JOURNEYS

Floats = npt.NDArray[np.float64]
BEGIN = pd.Timestamp("2026-03-02T00:00:00Z")  # a Monday
DAY, HOUR = 86_400.0, 3_600.0


def journeys(
    start: Floats,
    seconds: Floats,
    *,
    failed: npt.NDArray[np.bool_] | None = None,
    observed_s: float | Floats = 2 * DAY,
    **columns: object,
) -> pd.DataFrame:
    """Messages that are delivered, or fail, so many seconds after their start, each observed for ``observed_s``."""
    failed = np.zeros(len(start), dtype=bool) if failed is None else failed
    accepted = BEGIN + pd.to_timedelta(np.round(start * 1e6), unit="us")
    ended = accepted + pd.to_timedelta(np.round(np.minimum(seconds, 1e9) * 1e6), unit="us")
    until = accepted + pd.to_timedelta(np.round(np.broadcast_to(observed_s, start.shape) * 1e6), unit="us")
    known = ended <= until
    frame = {
        "message_id": pd.Series(np.arange(len(start))).astype("str"),
        "accepted_at": accepted,
        "delivered_at": pd.Series(ended).where(known & ~failed),
        "failed_at": pd.Series(ended).where(known & failed),
        "outcome": np.where(known, np.where(failed, "failed", "delivered"), "open"),
        "last_state": np.where(known, np.where(failed, "failed", "delivered"), "accepted"),
        "observed_until": until,
    }
    return JOURNEYS.frame(pd.DataFrame(frame)).assign(**columns)


def evenly(rng: np.random.Generator, n: int, days: float) -> Floats:
    """Starts spread over the whole time."""
    return np.sort(rng.random(n) * days * DAY)


def weibull(rng: np.random.Generator, n: int, shape: float = 0.7, scale_s: float = 4.0) -> Floats:
    return scale_s * rng.weibull(shape, n)


def outages(
    rng: np.random.Generator, start: Floats, days: float, *, share: float = 0.05, minutes: float = 30.0
) -> Floats:
    """The delay of the messages that start in an outage: until its end. ``share`` of the time is in outages."""
    length = minutes * 60
    begins = np.sort(rng.random(rng.poisson(share * days * DAY / length)) * days * DAY)
    delay = np.zeros(len(start))
    for begin in begins:
        inside = (start >= begin) & (start < begin + length)
        delay[inside] = np.maximum(delay[inside], begin + length - start[inside])
    return delay


def by_stretch(rng: np.random.Generator, start: Floats, length_s: float, sd: float) -> Floats:
    """A factor that all messages of an hour, or a day, have in common."""
    stretch = (start // length_s).astype(np.int64)
    return np.exp(rng.normal(0.0, sd, int(stretch.max()) + 1))[stretch]


def in_campaigns(
    rng: np.random.Generator, n: int, days: int, *, a_day: int = 2, sd: float = 0.4, minutes: float = 60.0
) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Starts in campaigns, the factor of each campaign, and its number."""
    campaign = np.sort(rng.integers(0, days * a_day, n))
    begin = np.arange(days * a_day) // a_day * DAY + (9 + 8 * (np.arange(days * a_day) % a_day) / a_day) * HOUR
    start = begin[campaign] + rng.random(n) * minutes * 60
    order = np.argsort(start, kind="stable")
    return start[order], np.exp(rng.normal(0.0, sd, days * a_day))[campaign[order]], campaign[order]


def in_bursts(rng: np.random.Generator, n: int, days: float, *, size: int = 200, rate: float = 5.0) -> Floats:
    """Starts in bursts of about ``size`` messages within seconds, at random times."""
    burst = rng.integers(0, max(n // size, 1), n)
    begin = rng.random(burst.max() + 1) * days * DAY
    return np.sort(begin[burst] + rng.exponential(size / rate / 10, n))


def queue(start: Floats, service_s: Floats) -> Floats:
    """The time in a queue with one server, its service included."""
    done, result = 0.0, np.empty(len(start))
    for index, (at, takes) in enumerate(zip(start.tolist(), service_s.tolist(), strict=True)):
        done = max(at, done) + takes
        result[index] = done - at
    return result


def autoregressive(rng: np.random.Generator, n: int, rho: float = 0.99, sd: float = 0.3) -> Floats:
    """A factor whose logarithm is autoregressive from message to message, with standard deviation ``sd``."""
    from scipy.signal import lfilter

    noise = rng.normal(0.0, sd * np.sqrt(1 - rho**2), n)
    noise[0] = rng.normal(0.0, sd)
    return np.exp(lfilter([1.0], [1.0, -rho], noise))


def coverage(holds: Callable[[np.random.Generator], bool], logs: int, seed: int = 0) -> float:
    """In which part of the logs an interval holds the truth."""
    return sum(holds(np.random.default_rng([seed, log])) for log in range(logs)) / logs
