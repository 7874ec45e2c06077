"""How long messages take in the sandbox, and what becomes of them: a stochastic model whose truth is known.

A message is accepted, routed and handed to Viber within fractions of a second. From there it takes one of
four ways:

- most are **delivered** after a second or two (log-normal, slower at night);
- some recipients are **away** (phone off, no network): minutes to days, a Pareto tail cut off at the life;
- a few **fail**, refused by Viber at once or given up on later, each with its own distribution of times;
- a few are **never delivered** within their life and stay dispatched: open, and nobody ever says so.

Of the delivered, a share is **seen** minutes to hours later. Every number is a field of
:class:`DeliveryModel`, so that an estimate can be held against the parameter that produced it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import NamedTuple

from viberkit.errors import InvalidRequest, Violation

__all__ = ["DeliveryModel", "Failure", "Hop", "Step"]


class Step(NamedTuple):
    """A message entered a state at an instant; a failure has a code and a message too."""

    state: str
    at: datetime
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Hop:
    """The time from one state to the next: log-normal with a median in seconds and a sigma of its logarithm.

    >>> round(Hop(1.5, 0.6).quantile(0.95), 2)
    4.02
    """

    median_s: float
    sigma: float

    def draw(self, rng: random.Random, pace: float = 1.0) -> float:
        """One duration in seconds; ``pace`` stretches it."""
        return pace * self.median_s * math.exp(rng.gauss(0.0, self.sigma))

    def quantile(self, share: float) -> float:
        """The seconds within which a share of the durations lies."""
        return self.median_s * math.exp(self.sigma * NormalDist().inv_cdf(share))

    def within(self, seconds: float) -> float:
        """The share of durations that take at most so many seconds."""
        return NormalDist().cdf(math.log(seconds / self.median_s) / self.sigma) if seconds > 0 else 0.0


@dataclass(frozen=True)
class Failure:
    """A reason to fail, and its weight among all; refused ``at_once``, a message is never dispatched."""

    code: str
    message: str
    weight: float
    at_once: bool


FAILURES = (
    Failure("viber::error::NOT_VIBER_USER", "The recipient does not use Viber", 50, True),
    Failure("viber::error::USER_BLOCKED", "The recipient has blocked this sender", 18, True),
    Failure("viber::error::NO_SUITABLE_DEVICE", "The recipient has no device that can show the message", 14, False),
    Failure("viber::error::TIMEOUT", "The message was not delivered in time", 9, False),
    Failure("viber::error::INTERNAL_FAILURE", "The channel failed internally", 6, False),
    Failure("viber::error::WAIT_FOR_USER_RESPONSE", "The recipient has to answer first", 3, True),
)
#: From midnight to 23 h: nights are slow, for phones are off or out of reach.
RHYTHM = (2.0,) * 6 + (1.4, 1.2, 1.0) + (1.0,) * 11 + (1.1, 1.2, 1.4, 1.7)


@dataclass(frozen=True)
class DeliveryModel:
    """What the sandbox draws a message's journey from.

    ========================  ===========================================================================
    ``routing``               accepted → routed
    ``dispatching``           routed → dispatched
    ``delivery``              dispatched → delivered, of recipients who are there
    ``seeing``                delivered → seen
    ``refusal``               routed → channel_failed, where Viber refuses at once
    ``breakdown``             dispatched → channel_failed, where it fails later
    ``giving_up``             channel_failed → failed
    ``seen_share``            of the delivered, how many are seen
    ``failed_share``          of all, how many fail
    ``open_share``            of all, how many are never delivered and stay dispatched
    ``away_share``            of the delivered, how many recipients were away
    ``away_s, away_shape``    dispatched → delivered of those: Pareto, its least value and its exponent,
                              cut off at ``life``
    ``life``                  how long the channel keeps trying
    ``promotion_pace``        how much longer deliveries of promotions take than of transactions
    ``session_pace``          the same, of sessions
    ``rhythm``                24 factors, one an hour of the day (UTC), on the way to delivered and to seen
    ``failures``              the reasons to fail, with weights
    ``duplicated``            share of events that a history lists, or a callback tells, twice
    ``disordered``            share of events that are told only after the one that follows them
    ========================  ===========================================================================

    Durations are rounded up to whole milliseconds, as the API tells them, and so are never zero.

    >>> steady = DeliveryModel(failed_share=0, open_share=0, seen_share=1)
    >>> noon = datetime.fromisoformat("2026-01-05T12:00:00Z")
    >>> [step.state for step in steady.journey(random.Random(1), noon, "transaction")]
    ['accepted', 'routed', 'dispatched', 'delivered', 'seen']
    """

    routing: Hop = Hop(0.038, 0.35)
    dispatching: Hop = Hop(0.137, 0.40)
    delivery: Hop = Hop(1.5, 0.6)
    seeing: Hop = Hop(240.0, 1.7)
    refusal: Hop = Hop(0.3, 0.5)
    breakdown: Hop = Hop(40.0, 1.4)
    giving_up: Hop = Hop(0.015, 0.4)
    seen_share: float = 0.6
    failed_share: float = 0.04
    open_share: float = 0.015
    away_share: float = 0.05
    away_s: float = 60.0
    away_shape: float = 0.4
    life: timedelta = timedelta(days=14)
    promotion_pace: float = 1.3
    session_pace: float = 0.9
    rhythm: tuple[float, ...] = RHYTHM
    failures: tuple[Failure, ...] = FAILURES
    duplicated: float = 0.005
    disordered: float = 0.005

    def __post_init__(self) -> None:
        names = ("seen_share", "failed_share", "open_share", "away_share", "duplicated", "disordered")
        wrong = [
            Violation(name, repr(getattr(self, name)), "is not a share", "pass a number from 0 to 1")
            for name in names
            if not 0 <= getattr(self, name) <= 1
        ]
        for whole, one, other in (("all", "failed_share", "open_share"), ("events", "duplicated", "disordered")):
            if getattr(self, one) + getattr(self, other) > 1:
                wrong.append(Violation(one, "", f"and {other} are more than {whole} together", "lower one of them"))
        if len(self.rhythm) != 24:
            wrong.append(Violation("rhythm", f"{len(self.rhythm)} factors", "are not 24", "pass one for each hour"))
        if wrong:
            raise InvalidRequest(wrong)

    def pace(self, rate_type: str, at: datetime) -> float:
        """How much longer deliveries of a rate type take that set out at an instant, next to a transaction by day."""
        by_rate = {"promotion": self.promotion_pace, "session": self.session_pace}
        return by_rate.get(rate_type, 1.0) * self.rhythm[at.hour]

    def delivered_within(self, seconds: float, pace: float = 1.0) -> float:
        """The share of the delivered that are on the handset within so many seconds of dispatch.

        >>> model = DeliveryModel()
        >>> round(model.delivered_within(1.5), 3), round(model.delivered_within(model.life.total_seconds()), 3)
        (0.475, 1.0)
        """
        least, most = self.away_s, self.life.total_seconds()
        beyond = (least / min(max(seconds, least), most)) ** self.away_shape
        away = (1 - beyond) / (1 - (least / most) ** self.away_shape)
        return float((1 - self.away_share) * self.delivery.within(seconds / pace) + self.away_share * away)

    def journey(self, rng: random.Random, accepted_at: datetime, rate_type: str) -> list[Step]:
        """Every state that a message will enter, with its instant, in order; the first is ``accepted``."""
        steps = [Step("accepted", accepted_at)]

        def enter(state: str, after_s: float, *why: str) -> None:
            steps.append(Step(state, steps[-1].at + timedelta(milliseconds=math.ceil(after_s * 1000)), *why))

        enter("routed", self.routing.draw(rng))
        fate = rng.random()
        if fate < self.failed_share:
            why = rng.choices(self.failures, [one.weight for one in self.failures])[0]
            if not why.at_once:
                enter("dispatched", self.dispatching.draw(rng))
            broken = self.refusal if why.at_once else self.breakdown
            enter("channel_failed", broken.draw(rng), why.code, why.message)
            enter("failed", self.giving_up.draw(rng), why.code, why.message)
            return steps
        enter("dispatched", self.dispatching.draw(rng))
        if fate < self.failed_share + self.open_share:
            return steps
        if rng.random() < self.away_share:
            enter("delivered", self._away(rng))
        else:
            enter("delivered", self.delivery.draw(rng, self.pace(rate_type, steps[-1].at)))
        if rng.random() < self.seen_share:
            enter("seen", self.seeing.draw(rng, self.rhythm[steps[-1].at.hour]))
        return steps

    def _away(self, rng: random.Random) -> float:
        """A Pareto duration between ``away_s`` and the life, by inversion."""
        beyond_life = (self.away_s / self.life.total_seconds()) ** self.away_shape
        return float(self.away_s * (1 - rng.random() * (1 - beyond_life)) ** (-1 / self.away_shape))

    def blemish(self, rng: random.Random) -> str:
        """What happens to one event as it is told: ``"twice"``, ``"late"`` (after the next one), or nothing."""
        drawn = rng.random()
        if drawn < self.duplicated:
            return "twice"
        return "late" if drawn < self.duplicated + self.disordered else ""
