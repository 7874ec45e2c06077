"""A message in the sandbox: its true journey, and how each dialect of the API tells it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from viberkit.models.states import FINAL
from viberkit.sandbox.delivery_model import DeliveryModel, Step

__all__ = ["DIALECTS", "Message", "stamp"]

#: The three ways in which the API has told a journey over the years.
DIALECTS = ("guide", "v2", "v3")

#: What each dialect calls a state; what it has no word for, it leaves out.
WORDS = MappingProxyType(
    {
        "guide": {
            "accepted": "message-accepted",
            "routed": "message-routing-success",
            "dispatched": "message-dispatching-success",
            "delivered": "message-delivered",
            "seen": "message-seen",
            "channel_failed": "message-dispatching-failed",
            "failed": "message-failed",
        },
        "v2": {
            "accepted": "accepted",
            "dispatched": "dispatched",
            "delivered": "success",
            "channel_failed": "dispatching_failed",
            "failed": "failed",
        },
        "v3": {
            "accepted": "MessageStatus::accepted",
            "dispatched": "MessageStatus::dispatched",
            "delivered": "MessageStatus::delivered",
            "seen": "MessageStatus::seen",
            "channel_failed": "MessageStatus::channelFailed",
            "failed": "MessageStatus::failed",
        },
    }
)
#: The states that the status call knows.
STATUSES = frozenset({"accepted", "dispatched", "delivered", "seen", "failed"})
STORED_FOR = timedelta(hours=48)
KNOWN_FOR = timedelta(days=90)


def stamp(at: datetime, zone: str = "Z") -> str:
    """An instant as the API writes it.

    >>> stamp(datetime.fromisoformat("2026-01-05T08:00:00.25Z"))
    '2026-01-05T08:00:00.250Z'
    """
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + zone


@dataclass(frozen=True, slots=True)
class Message:
    """One accepted message: what was asked, every step it will take, and how each step will be told."""

    message_id: str
    dialect: str
    steps: tuple[Step, ...]
    blemishes: tuple[str, ...]
    request: Mapping[str, Any]
    content: Mapping[str, Any]

    @classmethod
    def draw(
        cls,
        origin: str,
        model: DeliveryModel,
        dialect: str,
        accepted_at: datetime,
        request: Mapping[str, Any],
        content: Mapping[str, Any],
    ) -> Message:
        """A message whose id and fate follow from ``origin`` (seed, recipient, ordinal) alone."""
        rng = random.Random(origin)  # noqa: S311 - a simulation
        message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        drawn = rng.choice(DIALECTS)
        steps = tuple(model.journey(rng, accepted_at, request["rateType"]))
        blemishes = tuple(model.blemish(rng) for _ in steps)
        return cls(message_id, drawn if dialect == "mixed" else dialect, steps, blemishes, request, content)

    @property
    def _channel(self) -> str:
        return "channel" if self.dialect == "v3" else "deliveryChannel"

    def is_known(self, now: datetime) -> bool:
        """Whether status and events are still answered: for 90 days."""
        return now < self.steps[0].at + KNOWN_FOR

    def is_stored(self, now: datetime) -> bool:
        """Whether the body is still kept: until 48 hours after the final status."""
        final_at = next((step.at for step in self.steps if step.state in FINAL), None)
        return self.is_known(now) and (final_at is None or now < final_at + STORED_FOR)

    def accepted(self) -> dict[str, Any]:
        """The answer to the send."""
        instants = {"v2": "acceptedAt", "v3": "timestamp"}
        name = instants.get(self.dialect)
        return {"messageId": self.message_id} | ({name: stamp(self.steps[0].at)} if name else {})

    def status(self, now: datetime) -> dict[str, Any]:
        """Where the message stands."""
        step = next(step for step in reversed(self.steps) if step.at <= now and step.state in STATUSES)
        told = {"status": step.state, "timestamp": stamp(step.at)}
        return {"messageId": self.message_id, self._channel: "viber", **told}

    def history(self, now: datetime) -> dict[str, Any]:
        """What has happened so far, a little of it told twice or in the wrong order."""
        told: list[dict[str, Any]] = []
        held: dict[str, Any] | None = None
        for step, blemish in zip(self.steps, self.blemishes, strict=True):
            if step.at > now or step.state not in WORDS[self.dialect]:
                continue
            event = self._event(step)
            if blemish == "late" and held is None:
                held = event
                continue
            told += [event, event] if blemish == "twice" else [event]
            if held is not None:
                told.append(held)
                held = None
        told += [] if held is None else [held]
        context = {"userContext": self.request["context"]} if self.dialect == "v2" and "context" in self.request else {}
        name = "events" if self.dialect == "v3" else "history"
        return {"messageId": self.message_id, **context, name: told}

    def _event(self, step: Step) -> dict[str, Any]:
        word = WORDS[self.dialect][step.state]
        channel = {} if step.state == "accepted" else {self._channel: "viber"}
        why = {} if step.code is None else {"details": {"code": step.code, "message": step.message}}
        if self.dialect == "v3":
            return {"timestamp": stamp(step.at), "event": word, **channel, **why}
        if step.state == "delivered":
            why = {"details": {"from": self.request["to"].removeprefix("+")}}
        name = "happendAt" if self.dialect == "guide" else "happenedAt"  # the first is how the guide spells it
        return {name: stamp(step.at), "state": word, **channel, **why}

    def stored(self) -> dict[str, Any]:
        """The message as the server keeps it."""
        to, sender, rate_type = (self.request[name] for name in ("to", "from", "rateType"))
        if self.dialect == "v3":
            head = {"messageId": self.message_id, "to": to, "from": sender, "channel": "viber"}
            return {**head, "rateType": rate_type, "content": self.content}
        what = self.content["contentType"]
        if what == "components":
            body = {"components": self.content["components"]["body"]}
        elif what in ("list", "carousel"):
            body = {what: self.content[what]}
        else:
            body = {"components": [{"type": what, what: self.content[what]}]}
        viber = {"from": sender, **body, "messagePurpose": rate_type, "contentType": what}
        return {"to": to.removeprefix("+"), "id": self.message_id, "channels": ["viber"], "viber": viber}

    def callback(self, step: Step) -> dict[str, Any]:
        """A status callback; those of v2 leave out the zone of their instant."""
        body = {
            "event": WORDS["v3"][step.state],
            "messageId": self.message_id,
            "channel": "viber",
            "timestamp": stamp(step.at, "" if self.dialect == "v2" else "Z"),
            "from": self.request["from"],
            "status": step.state if step.state in STATUSES else None,
            "userContext": self.request.get("context"),
            "details": step.code and {"code": step.code, "message": step.message},
        }
        return {name: value for name, value in body.items() if value is not None}

    def callbacks(self) -> Iterator[tuple[datetime, Step]]:
        """Every step that callbacks have a word for, and when it is told: as it happens, twice, or after the next."""
        for place, (step, blemish) in enumerate(zip(self.steps, self.blemishes, strict=True)):
            if step.state not in WORDS["v3"]:
                continue
            following = self.steps[min(place + 1, len(self.steps) - 1)].at
            yield (following + timedelta(seconds=1) if blemish == "late" else step.at), step
            if blemish == "twice":
                yield step.at + timedelta(seconds=1), step
