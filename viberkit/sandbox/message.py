"""A message in the sandbox: its true journey, and the records by which each dialect of the API reports it."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from viberkit.models.states import FINAL
from viberkit.sandbox.delivery_model import DeliveryModel, Step

Json = Mapping[str, Any]

#: The formats in which the API has reported journeys over the years.
DIALECTS = ("guide", "v2", "v3")
#: The name of each state in each dialect; None where the dialect does not report it.
_NAMES = (
    ("accepted", "message-accepted", "accepted", "MessageStatus::accepted"),
    ("routed", "message-routing-success", None, None),
    ("dispatched", "message-dispatching-success", "dispatched", "MessageStatus::dispatched"),
    ("delivered", "message-delivered", "success", "MessageStatus::delivered"),
    ("seen", "message-seen", None, "MessageStatus::seen"),
    ("channel_failed", "message-dispatching-failed", "dispatching_failed", "MessageStatus::channelFailed"),
    ("failed", "message-failed", "failed", "MessageStatus::failed"),
)
STATE_NAMES = {
    dialect: {row[0]: row[index] for row in _NAMES if row[index] is not None}
    for index, dialect in enumerate(DIALECTS, start=1)
}
#: The states that the status call reports.
STATUS_STATES = frozenset({"accepted", "dispatched", "delivered", "seen", "failed"})
BODY_RETENTION = timedelta(hours=48)
HISTORY_RETENTION = timedelta(days=90)


def format_instant(at: datetime, zone: str = "Z") -> str:
    """An instant in the format of the API.

    >>> format_instant(datetime.fromisoformat("2026-01-05T08:00:00.25Z"))
    '2026-01-05T08:00:00.250Z'
    """
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds") + zone


@dataclass(frozen=True, slots=True)
class Message:
    """An accepted message: its request, all steps of its journey, and the noise with which each step is reported."""

    message_id: str
    dialect: str
    steps: tuple[Step, ...]
    noise: tuple[str, ...]
    request: Json
    content: Json

    @classmethod
    def draw(cls, seed: str, model: DeliveryModel, dialect: str, at: datetime, request: Json, content: Json) -> Message:
        """A message accepted at an instant; its id and journey depend on the seed alone."""
        rng = random.Random(seed)  # noqa: S311 - a simulation
        message_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        random_dialect = rng.choice(DIALECTS)
        steps = tuple(model.journey(rng, at, request["rateType"]))
        noise = tuple(model.noise(rng) for _ in steps)
        return cls(message_id, random_dialect if dialect == "mixed" else dialect, steps, noise, request, content)

    @property
    def _channel_field(self) -> str:
        return "channel" if self.dialect == "v3" else "deliveryChannel"

    def has_history(self, now: datetime) -> bool:
        """Whether status and events are still available: for 90 days."""
        return now < self.steps[0].at + HISTORY_RETENTION

    def has_body(self, now: datetime) -> bool:
        """Whether the body is still stored: until 48 hours after the final status."""
        final_at = next((step.at for step in self.steps if step.state in FINAL), None)
        return self.has_history(now) and (final_at is None or now < final_at + BODY_RETENTION)

    def acceptance(self) -> dict[str, Any]:
        """The response to the send."""
        accepted_at = format_instant(self.steps[0].at)
        # The reference requires acceptedAt on one page, and has timestamp on another.
        names = {"v2": ("acceptedAt",), "v3": ("acceptedAt", "timestamp")}.get(self.dialect, ())
        return {"messageId": self.message_id, **dict.fromkeys(names, accepted_at)}

    def status(self, now: datetime) -> dict[str, Any]:
        """The current status."""
        step = next(step for step in reversed(self.steps) if step.at <= now and step.state in STATUS_STATES)
        status = {"status": step.state, "timestamp": format_instant(step.at)}
        return {"messageId": self.message_id, self._channel_field: "viber", **status}

    def history(self, now: datetime) -> dict[str, Any]:
        """The events so far; with noise, a few are duplicated or out of order."""
        events: list[dict[str, Any]] = []
        late: list[dict[str, Any]] = []
        for step, noise in zip(self.steps, self.noise, strict=True):
            if step.at > now or step.state not in STATE_NAMES[self.dialect]:
                continue
            event = self._event(step)
            if noise == "late" and not late:
                late = [event]
                continue
            events += [event, event, *late] if noise == "duplicate" else [event, *late]
            late = []
        context = {"userContext": self.request["context"]} if self.dialect == "v2" and "context" in self.request else {}
        name = "events" if self.dialect == "v3" else "history"
        return {"messageId": self.message_id, **context, name: events + late}

    def _event(self, step: Step) -> dict[str, Any]:
        name = STATE_NAMES[self.dialect][step.state]
        channel = {} if step.state == "accepted" else {self._channel_field: "viber"}
        details = {} if step.code is None else {"details": {"code": step.code, "message": step.message}}
        if self.dialect == "v3":
            return {"timestamp": format_instant(step.at), "event": name, **channel, **details}
        if step.state == "delivered":
            details = {"details": {"from": self.request["to"].removeprefix("+")}}
        instant = "happendAt" if self.dialect == "guide" else "happenedAt"  # "happend" is the guide's spelling
        return {instant: format_instant(step.at), "state": name, **channel, **details}

    def stored(self) -> dict[str, Any]:
        """The message as the API stores it."""
        to, sender, rate_type = (self.request[name] for name in ("to", "from", "rateType"))
        if self.dialect == "v3":
            head = {"messageId": self.message_id, "to": to, "from": sender, "channel": "viber"}
            return {**head, "rateType": rate_type, "content": self.content}
        kind = self.content["contentType"]
        if kind == "components":
            body = {"components": self.content["components"]["body"]}
        elif kind in ("list", "carousel"):
            body = {kind: self.content[kind]}
        else:
            body = {"components": [{"type": kind, kind: self.content[kind]}]}
        viber = {"from": sender, **body, "messagePurpose": rate_type, "contentType": kind}
        return {"to": to.removeprefix("+"), "id": self.message_id, "channels": ["viber"], "viber": viber}

    def callback(self, step: Step) -> dict[str, Any]:
        """The body of a status callback; in v2, instants have no zone."""
        body = {
            "event": STATE_NAMES["v3"][step.state],
            "messageId": self.message_id,
            "channel": "viber",
            "timestamp": format_instant(step.at, "" if self.dialect == "v2" else "Z"),
            "from": self.request["from"],
            "status": step.state if step.state in STATUS_STATES else None,
            "userContext": self.request.get("context"),
            "details": step.code and {"code": step.code, "message": step.message},
        }
        return {name: value for name, value in body.items() if value is not None}

    def callbacks(self) -> Iterator[tuple[datetime, Step]]:
        """Every step that callbacks report, with the instant of the callback, duplicates included."""
        for index, (step, noise) in enumerate(zip(self.steps, self.noise, strict=True)):
            if step.state not in STATE_NAMES["v3"]:
                continue
            next_at = self.steps[min(index + 1, len(self.steps) - 1)].at
            yield (next_at + timedelta(seconds=1) if noise == "late" else step.at), step
            if noise == "duplicate":
                yield step.at + timedelta(seconds=1), step
