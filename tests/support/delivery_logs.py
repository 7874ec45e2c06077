"""Many journeys drawn by numpy from the sandbox's delivery model, with the complete data.

The distributions are those of ``DeliveryModel.journey``; ``tests/analysis/test_curves.py`` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from viberkit.frames.columns import JOURNEYS
from viberkit.frames.schema import INSTANT
from viberkit.sandbox.delivery_model import DeliveryModel

BEGIN = pd.Timestamp("2026-03-02T00:00:00Z")
SECOND = 1_000_000
NEVER = 2**62


@dataclass
class Truth:
    """The complete data: microseconds from accepted to each state, NEVER where a message does not enter it."""

    started: np.ndarray
    dispatched: np.ndarray
    delivered: np.ndarray
    failed: np.ndarray
    codes: np.ndarray

    def seen(self, observed: np.ndarray, **columns: object) -> pd.DataFrame:
        """The journeys of these messages, each observed for the given microseconds from its start."""
        begin = BEGIN.value // 1000 + self.started
        frame: dict[str, object] = {"message_id": pd.Series(np.arange(len(begin))).astype("str")}
        when = {"accepted": np.zeros_like(begin), "dispatched": self.dispatched, "delivered": self.delivered}
        for name, after in {**when, "failed": self.failed}.items():
            at = (begin + np.where(after <= observed, after, 0)).view("datetime64[us]")
            known = pd.Series(pd.DatetimeIndex(at).tz_localize("UTC"), dtype=INSTANT)
            frame[f"{name}_at"] = known.where(pd.Series(after <= observed))
        delivered, failed = self.delivered <= observed, self.failed <= observed
        frame["outcome"] = np.select([delivered, failed], ["delivered", "failed"], "open")
        frame["last_state"] = np.select([delivered, failed], ["delivered", "failed"], "dispatched")
        frame["code"] = pd.Series(np.where(failed, self.codes, None), dtype=object)
        until = (begin + observed).view("datetime64[us]")
        frame["observed_until"] = pd.Series(pd.DatetimeIndex(until).tz_localize("UTC"), dtype=INSTANT)
        return JOURNEYS.frame(pd.DataFrame(frame)).assign(**columns)


def draw(
    n: int,
    rng: np.random.Generator,
    model: DeliveryModel | None = None,
    *,
    days: float = 14,
    rate_type: str = "transaction",
    slower: float = 1.0,
    since: int | None = None,
) -> Truth:
    """Draw ``n`` messages over ``days``; from the index ``since`` on, deliveries take ``slower`` times as long."""
    model = model or DeliveryModel()
    started = np.sort((rng.random(n) * days * 86_400 * SECOND).astype(np.int64))

    def times(step: object, slowdown: np.ndarray | float = 1.0) -> np.ndarray:
        return slowdown * step.median_s * np.exp(rng.normal(0, step.sigma, n))

    routed = np.ceil(1000 * times(model.routing))
    dispatched = routed + np.ceil(1000 * times(model.dispatching))
    hour = ((started + dispatched * 1000) // (3600 * SECOND) % 24).astype(int)
    base = {"promotion": model.promotion_factor, "session": model.session_factor}.get(rate_type, 1.0)
    change = np.where(np.arange(n) >= (n if since is None else since), slower, 1.0)
    slowdown = base * np.array(model.hourly_factors)[hour] * change
    least, most = model.away_s, model.lifetime.total_seconds()
    beyond = (least / most) ** model.away_shape
    away = least * (1 - rng.random(n) * (1 - beyond)) ** (-1 / model.away_shape)
    away *= change
    took = np.where(rng.random(n) < model.away_share, away, times(model.delivery, slowdown))
    delivered = dispatched + np.ceil(1000 * took)
    outcome = rng.random(n)
    weights = np.array([failure.weight for failure in model.failures], dtype=float)
    reason = rng.choice(len(weights), n, p=weights / weights.sum())
    at_once = np.array([failure.immediate for failure in model.failures])[reason]
    failing = np.where(
        at_once, routed + np.ceil(1000 * times(model.refusal)), dispatched + np.ceil(1000 * times(model.late_failure))
    )
    failed = failing + np.ceil(1000 * times(model.final_failure))
    fails, stays = outcome < model.failed_share, outcome < model.failed_share + model.open_share
    codes = np.array([failure.code for failure in model.failures], dtype=object)[reason]
    return Truth(
        started,
        (dispatched * 1000).astype(np.int64),
        np.where(stays, NEVER, delivered * 1000).astype(np.int64),
        np.where(fails, failed * 1000, NEVER).astype(np.int64),
        codes,
    )
