"""Journeys drawn from the sandbox's delivery model, many at once, with the truth beside them.

The same distributions as ``DeliveryModel.journey`` (``test_survival.py`` holds them against each other), by numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from viberkit.frames.columns import INSTANT, JOURNEYS
from viberkit.sandbox.delivery_model import DeliveryModel

BEGIN = pd.Timestamp("2026-03-02T00:00:00Z")
SECOND = 1_000_000
NEVER = 2**62


@dataclass
class Truth:
    """What becomes of each message, whoever looks: microseconds from accepted; NEVER where it does not happen."""

    started: np.ndarray
    dispatched: np.ndarray
    delivered: np.ndarray
    failed: np.ndarray
    codes: np.ndarray

    def seen(self, watched: np.ndarray, **facts: object) -> pd.DataFrame:
        """The journeys of these messages, each watched for so many microseconds from its start."""
        begin = BEGIN.value // 1000 + self.started
        made: dict[str, object] = {"message_id": pd.Series(np.arange(len(begin))).astype("str")}
        when = {"accepted": np.zeros_like(begin), "dispatched": self.dispatched, "delivered": self.delivered}
        for name, after in {**when, "failed": self.failed}.items():
            at = (begin + np.where(after <= watched, after, 0)).view("datetime64[us]")
            known = pd.Series(pd.DatetimeIndex(at).tz_localize("UTC"), dtype=INSTANT)
            made[f"{name}_at"] = known.where(pd.Series(after <= watched))
        arrived, broken = self.delivered <= watched, self.failed <= watched
        made["outcome"] = np.select([arrived, broken], ["delivered", "failed"], "open")
        made["last_state"] = np.select([arrived, broken], ["delivered", "failed"], "dispatched")
        made["code"] = pd.Series(np.where(broken, self.codes, None), dtype=object)
        until = (begin + watched).view("datetime64[us]")
        made["observed_until"] = pd.Series(pd.DatetimeIndex(until).tz_localize("UTC"), dtype=INSTANT)
        return JOURNEYS.frame(pd.DataFrame(made)).assign(**facts)


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
    """So many messages over so many days; from the one numbered ``since`` on, deliveries take ``slower`` as long."""
    model = model or DeliveryModel()
    started = np.sort((rng.random(n) * days * 86_400 * SECOND).astype(np.int64))

    def times(hop: object, pace: np.ndarray | float = 1.0) -> np.ndarray:
        return pace * hop.median_s * np.exp(rng.normal(0, hop.sigma, n))

    routed = np.ceil(1000 * times(model.routing))
    dispatched = routed + np.ceil(1000 * times(model.dispatching))
    hour = ((started + dispatched * 1000) // (3600 * SECOND) % 24).astype(int)
    base = {"promotion": model.promotion_factor, "session": model.session_factor}.get(rate_type, 1.0)
    pace = (
        base
        * np.array(model.hourly_factors)[hour]
        * np.where(np.arange(n) >= (n if since is None else since), slower, 1.0)
    )
    least, most = model.away_s, model.lifetime.total_seconds()
    beyond = (least / most) ** model.away_shape
    away = least * (1 - rng.random(n) * (1 - beyond)) ** (-1 / model.away_shape)
    away *= np.where(np.arange(n) >= (n if since is None else since), slower, 1.0)
    took = np.where(rng.random(n) < model.away_share, away, times(model.delivery, pace))
    delivered = dispatched + np.ceil(1000 * took)
    fate = rng.random(n)
    weights = np.array([one.weight for one in model.failures], dtype=float)
    why = rng.choice(len(weights), n, p=weights / weights.sum())
    at_once = np.array([failure.immediate for failure in model.failures])[why]
    broken = np.where(
        at_once, routed + np.ceil(1000 * times(model.refusal)), dispatched + np.ceil(1000 * times(model.late_failure))
    )
    failed = broken + np.ceil(1000 * times(model.final_failure))
    fails, stays = fate < model.failed_share, fate < model.failed_share + model.open_share
    codes = np.array([one.code for one in model.failures], dtype=object)[why]
    return Truth(
        started,
        (dispatched * 1000).astype(np.int64),
        np.where(stays, NEVER, delivered * 1000).astype(np.int64),
        np.where(fails, failed * 1000, NEVER).astype(np.int64),
        codes,
    )
