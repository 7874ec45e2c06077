"""A stochastic model of deliveries with known parameters, from which the sandbox draws the journey of each message.

A message is accepted, routed and handed to Viber within fractions of a second. After that there are four cases:

- most messages are **delivered** after a second or two (log-normal, slower at night);
- some recipients are **away** (phone off, no network): minutes to days, a Pareto tail truncated at the lifetime;
- a few messages **fail**, immediately or later, each with its own distribution of times;
- a few are **never delivered** within their lifetime: they stay dispatched, and no further event follows.

A share of the delivered messages is **seen** minutes to hours later. Every parameter is a field of
:class:`DeliveryModel`, so that an estimate can be compared with the parameter that produced it.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from viberkit.errors import InvalidRequest, Violation


class Step(NamedTuple):
    """The instant at which a message enters a state.

    Parameters
    ----------
    state : str
        Name of the state.
    at : datetime
        Instant (UTC).
    code : str, optional
        Code of a failure.
    message : str, optional
        Text of a failure.
    """

    state: str
    at: datetime
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class LogNormal:
    """A log-normal distribution of durations.

    Parameters
    ----------
    median_s : float
        Median in seconds.
    sigma : float
        Standard deviation of the logarithm.
    """

    median_s: float
    sigma: float

    def draw(self, rng: random.Random, factor: float = 1.0) -> float:
        """Draw a duration.

        Parameters
        ----------
        rng : random.Random
            Source of randomness.
        factor : float, default 1.0
            Factor by which the duration is multiplied.

        Returns
        -------
        float
            Duration in seconds.
        """
        return factor * self.median_s * math.exp(rng.gauss(0.0, self.sigma))


@dataclass(frozen=True)
class Failure:
    """A reason for a failure.

    Parameters
    ----------
    code : str
        Code that the API reports.
    message : str
        Text that the API reports.
    weight : float
        Weight among all failures.
    immediate : bool
        Whether Viber refuses the message at once, so that it is never dispatched.
    """

    code: str
    message: str
    weight: float
    immediate: bool


FAILURES = (
    Failure("viber::error::NOT_VIBER_USER", "The recipient does not use Viber", 50, True),
    Failure("viber::error::USER_BLOCKED", "The recipient has blocked this sender", 18, True),
    Failure("viber::error::NO_SUITABLE_DEVICE", "The recipient has no device that can show the message", 14, False),
    Failure("viber::error::TIMEOUT", "The message was not delivered in time", 9, False),
    Failure("viber::error::INTERNAL_FAILURE", "The channel failed internally", 6, False),
    Failure("viber::error::WAIT_FOR_USER_RESPONSE", "The recipient has to answer first", 3, True),
)
#: From midnight to 23 h: deliveries are slower at night, when phones are off.
HOURLY_FACTORS = (2.0,) * 6 + (1.4, 1.2, 1.0) + (1.0,) * 11 + (1.1, 1.2, 1.4, 1.7)


@dataclass(frozen=True)
class DeliveryModel:
    """Distributions from which the sandbox draws the journey of each message.

    Parameters
    ----------
    routing : LogNormal
        Time from accepted to routed.
    dispatching : LogNormal
        Time from routed to dispatched.
    delivery : LogNormal
        Time from dispatched to delivered, for recipients who are not away.
    seeing : LogNormal
        Time from delivered to seen.
    refusal : LogNormal
        Time from routed to channel_failed, for immediate failures.
    late_failure : LogNormal
        Time from dispatched to channel_failed, for other failures.
    final_failure : LogNormal
        Time from channel_failed to failed.
    seen_share : float, default 0.6
        Share of the delivered messages that are seen.
    failed_share : float, default 0.04
        Share of all messages that fail.
    open_share : float, default 0.015
        Share of all messages that stay dispatched for ever.
    away_share : float, default 0.05
        Share of the delivered messages whose recipient was away.
    away_s : float, default 60.0
        Shortest time from dispatched to delivered for recipients who were away, in seconds (scale of the Pareto
        distribution, which is truncated at `lifetime`).
    away_shape : float, default 0.4
        Exponent of that Pareto distribution.
    lifetime : timedelta, default 14 days
        Longest time for which the channel tries to deliver.
    promotion_factor : float, default 1.3
        Duration of a delivery of a promotion, relative to a transaction.
    session_factor : float, default 0.9
        Duration of a delivery of a session message, relative to a transaction.
    hourly_factors : tuple of float
        24 factors, one for each hour of the day (UTC), for the times to delivered and to seen.
    failures : tuple of Failure
        Reasons for failures, with weights.
    duplicate_share : float, default 0.005
        Share of the events that a history or the callbacks report twice.
    disorder_share : float, default 0.005
        Share of the events that are reported after their successor.

    Raises
    ------
    InvalidRequest
        If a share is not between 0 and 1, or `hourly_factors` does not have 24 entries.

    Notes
    -----
    Durations are rounded up to whole milliseconds, the resolution of the API, so they are never zero.

    Examples
    --------
    >>> model = DeliveryModel(failed_share=0, open_share=0, seen_share=1)
    >>> noon = datetime.fromisoformat("2026-01-05T12:00:00Z")
    >>> [step.state for step in model.journey(random.Random(1), noon, "transaction")]
    ['accepted', 'routed', 'dispatched', 'delivered', 'seen']
    """

    routing: LogNormal = LogNormal(0.038, 0.35)
    dispatching: LogNormal = LogNormal(0.137, 0.40)
    delivery: LogNormal = LogNormal(1.5, 0.6)
    seeing: LogNormal = LogNormal(240.0, 1.7)
    refusal: LogNormal = LogNormal(0.3, 0.5)
    late_failure: LogNormal = LogNormal(40.0, 1.4)
    final_failure: LogNormal = LogNormal(0.015, 0.4)
    seen_share: float = 0.6
    failed_share: float = 0.04
    open_share: float = 0.015
    away_share: float = 0.05
    away_s: float = 60.0
    away_shape: float = 0.4
    lifetime: timedelta = timedelta(days=14)
    promotion_factor: float = 1.3
    session_factor: float = 0.9
    hourly_factors: tuple[float, ...] = HOURLY_FACTORS
    failures: tuple[Failure, ...] = FAILURES
    duplicate_share: float = 0.005
    disorder_share: float = 0.005

    def __post_init__(self) -> None:
        shares = {name: value for name, value in vars(self).items() if name.endswith("_share")}
        shares["failed_share + open_share"] = self.failed_share + self.open_share
        shares["duplicate_share + disorder_share"] = self.duplicate_share + self.disorder_share
        invalid = [(name, repr(value)) for name, value in shares.items() if not 0 <= value <= 1]
        violations = [Violation(*share, "is not a share", "pass a number from 0 to 1") for share in invalid]
        if len(self.hourly_factors) != 24:
            size = f"has a length of {len(self.hourly_factors)}, not 24"
            violations.append(Violation("hourly_factors", "", size, "pass one factor for each hour of the day"))
        if violations:
            raise InvalidRequest(violations)

    def journey(self, rng: random.Random, accepted_at: datetime, rate_type: str) -> list[Step]:
        """Draw the journey of a message.

        Parameters
        ----------
        rng : random.Random
            Source of randomness.
        accepted_at : datetime
            Instant at which the message is accepted (UTC).
        rate_type : str
            Rate type of the message.

        Returns
        -------
        list of Step
            Every state that the message enters, in order, beginning with accepted.
        """
        steps = [Step("accepted", accepted_at)]

        def add(state: str, seconds: float, *reason: str) -> None:
            at = steps[-1].at + timedelta(milliseconds=math.ceil(seconds * 1000))
            steps.append(Step(state, at, *reason))

        add("routed", self.routing.draw(rng))
        case = rng.random()
        if case < self.failed_share:
            failure = rng.choices(self.failures, [failure.weight for failure in self.failures])[0]
            if not failure.immediate:
                add("dispatched", self.dispatching.draw(rng))
            time_to_failure = self.refusal if failure.immediate else self.late_failure
            add("channel_failed", time_to_failure.draw(rng), failure.code, failure.message)
            add("failed", self.final_failure.draw(rng), failure.code, failure.message)
            return steps
        add("dispatched", self.dispatching.draw(rng))
        if case < self.failed_share + self.open_share:
            return steps
        if rng.random() < self.away_share:
            add("delivered", self._draw_away(rng))
        else:
            rate_factor = {"promotion": self.promotion_factor, "session": self.session_factor}.get(rate_type, 1.0)
            add("delivered", self.delivery.draw(rng, rate_factor * self.hourly_factors[steps[-1].at.hour]))
        if rng.random() < self.seen_share:
            add("seen", self.seeing.draw(rng, self.hourly_factors[steps[-1].at.hour]))
        return steps

    def _draw_away(self, rng: random.Random) -> float:
        """A draw from the Pareto distribution truncated at the lifetime, by inversion."""
        beyond_lifetime = (self.away_s / self.lifetime.total_seconds()) ** self.away_shape
        return float(self.away_s * (1 - rng.random() * (1 - beyond_lifetime)) ** (-1 / self.away_shape))

    def noise(self, rng: random.Random) -> str:
        """Draw how one event is reported.

        Parameters
        ----------
        rng : random.Random
            Source of randomness.

        Returns
        -------
        str
            ``"duplicate"`` (reported twice), ``"late"`` (reported after its successor) or ``""``.
        """
        regular_share = 1 - self.duplicate_share - self.disorder_share
        return rng.choices(("duplicate", "late", ""), (self.duplicate_share, self.disorder_share, regular_share))[0]
