"""Whatever order the events of a message are told in, by callbacks, by histories or by both, it ends the same."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.models.records import Response
from viberkit.models.states import FINAL, rank

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
#: A state as the archive has it, and as callbacks, the guide's histories and the newer ones (v2, v3) call it.
WORDS = {
    "accepted": ("MessageStatus::accepted", "message-accepted", "accepted"),
    "routed": (None, "message-routing-success", "routed"),
    "dispatched": ("MessageStatus::dispatched", "message-dispatching-success", "dispatched"),
    "channel_failed": ("MessageStatus::channelFailed", "message-dispatching-failed", "dispatching_failed"),
    "delivered": ("MessageStatus::delivered", "message-delivered", "success"),
    "seen": ("MessageStatus::seen", "message-seen", "seen"),
    "failed": ("MessageStatus::failed", "failed", "MessageStatus::failed"),
    "expired": (None, "message-expired", "expired"),
    "deleted": ("MessageStatus::deleted", "message-deleted", "deleted"),
    "unknown": ("MessageStatus::unknown", "message-unknown", "unknown"),
    "MessageStatus::pinned": ("MessageStatus::pinned",) * 3,
}

numbers = count()


@dataclass(frozen=True)
class Step:
    """A message entered a state, so many milliseconds after it was sent."""

    state: str
    at_ms: int
    code: str | None = None

    def at(self, zone: str) -> str:
        at = NOW + timedelta(milliseconds=self.at_ms)
        if zone == "+02:00":
            at += timedelta(hours=2)
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}{zone}"

    def details(self) -> dict[str, Any]:
        return {"details": {"code": self.code, "message": "why"}} if self.code else {}


@dataclass(frozen=True)
class Telling:
    """One callback or one history, when it came, and what it is about; ``{id}`` stands for the message's id."""

    way: str
    came_s: int
    body: dict[str, Any] = field(hash=False)

    def spelled(self, message_id: str) -> bytes:
        return json.dumps(self.body).replace("{id}", message_id).encode()


def callback(step: Step, version: str, came_s: int) -> Telling:
    """A status callback: 2.11 names no zone, 2.12 repeats the status, 2.13 is complete, 3.0 has an offset."""
    body = {"event": WORDS[step.state][0], "messageId": "{id}", **step.details()}
    body["timestamp"] = step.at({"2.11": "", "3.0": "+02:00"}.get(version, "Z"))
    if version == "2.12":
        body |= {"status": step.state, "deliveryChannel": "viber"}
    elif version != "2.11":
        body |= {"channel": "viber", "from": "S", "userContext": "order 7"}
    return Telling("callback", came_s, body)


def reply(version: str, came_s: int) -> Telling:
    """What the recipient writes back, as 2.x or the preview of 3.0 tells it."""
    body: dict[str, Any] = {"messageId": f"{{id}}-reply-{version}", "from": "+491701234567", "to": "S"}
    body |= {"context": {"messageId": "{id}"}, "timestamp": Step("", 9000).at("Z")}
    if version == "3.0":
        return Telling(
            "callback", came_s, {**body, "event": "InboundMessage", "content": {"type": "text", "text": "a"}}
        )
    content = {"contentType": "text", "text": "a"}
    return Telling(
        "callback", came_s, {**body, "event": "MoMessage", "receivedAt": body["timestamp"], "content": content}
    )


def history(steps: list[Step], dialect: str, came_s: int) -> Telling:
    words = [WORDS[step.state][1 if dialect == "guide" else 2] for step in steps]
    name, at, word = ("history", "happendAt", "state") if dialect == "guide" else ("events", "timestamp", "event")
    zone = "" if dialect == "v2" else "Z"
    told = [{at: step.at(zone), word: each, **step.details()} for step, each in zip(steps, words, strict=True)]
    return Telling("events", came_s, {"messageId": "{id}", name: told})


codes = st.sampled_from([None, "viber::error::A", "viber::error::B"])
versions = st.sampled_from(["2.11", "2.12", "2.13", "3.0"])
dialects = st.sampled_from(["guide", "v2", "v3"])


@st.composite
def trails(draw: st.DrawFn) -> list[Step]:
    """What a message goes through, by its instants; a state may be entered twice, and two at one instant."""
    entered = draw(
        st.lists(st.tuples(st.sampled_from([*WORDS]), st.integers(0, 5)), min_size=1, max_size=6, unique=True)
    )
    failing = ("failed", "channel_failed")
    steps = [Step(state, 700 * at, draw(codes) if state in failing else None) for state, at in entered]
    return sorted(steps, key=lambda step: (step.at_ms, rank(step.state)))


@st.composite
def tellings(draw: st.DrawFn) -> tuple[list[Step], list[Telling], list[Telling]]:
    """A trail, all that is told of it in order, and as it came: shuffled, repeated, and with some of it lost."""
    order_events = draw(trails())
    by_history = draw(st.booleans())
    if not by_history:
        order_events = [step for step in order_events if WORDS[step.state][0]]
    called_back = [step for step in order_events if WORDS[step.state][0]]
    in_order = [callback(step, draw(versions), 1 + place) for place, step in enumerate(called_back)]
    lost = [one for one in in_order if by_history and draw(st.booleans())]
    if by_history:
        seen = draw(st.lists(st.integers(0, len(order_events)), max_size=2))
        in_order += [history(order_events[:size], draw(dialects), 50 + place) for place, size in enumerate(seen)]
        in_order.append(history(order_events, draw(dialects), 60))
    if draw(st.integers(0, 3)) == 3:
        in_order += [reply(version, 70) for version in ("2.13", "3.0")]
    came = [one for one in in_order if one not in lost]
    if came:
        came = draw(st.permutations(came + draw(st.lists(st.sampled_from(came), max_size=3))))
    return order_events, in_order, came


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vk.Archive]:
    with vk.Archive(tmp_path_factory.mktemp("order") / "a.db") as archive:
        yield archive


def keep(archive: vk.Archive, message_id: str, told: list[Telling], together: bool) -> None:
    """Keep what is told, one by one, or the callbacks between two histories together."""
    callbacks: list[Callback] = []
    for place, one in enumerate(told):
        came, body = NOW + timedelta(seconds=one.came_s), one.spelled(message_id)
        if one.way == "callback":
            callbacks.append(Callback(body, came))
        if callbacks and (one.way != "callback" or not together or place == len(told) - 1):
            archive.recorder.record_callbacks(callbacks)
            callbacks = []
        if one.way != "callback":
            archive.recorder.record("events", [(message_id, Response(200, body, came, {}))])


def rows(frame: pd.DataFrame, *columns: str) -> dict[str, list[list[str]]]:
    """The rows of each message, in one order."""
    found: dict[str, list[list[str]]] = {}
    for message_id, *row in zip(*(frame[name].tolist() for name in columns), strict=True):
        found.setdefault(message_id, []).append([*map(str, row)])
    return {message_id: sorted(several) for message_id, several in found.items()}


def states_of(archive: vk.Archive, *ids: str, replied: bool) -> list[list[list[list[str]]]]:
    """Of some messages, all that must not depend on the order: events, the message, and what was written back."""
    told = [rows(archive.events(), "message_id", "state", "happened_at", "code")]
    told.append(rows(archive.messages(), "message_id", "state", "final"))
    if replied:
        told.append(rows(archive.inbound(), "reply_to", "kind", "text", "received_at"))
    return [[each.get(one, []) for each in told] for one in ids]


def forget(archive: vk.Archive) -> None:
    """Empty the tables, so that ten thousand examples do not grow slower and slower."""
    with closing(sqlite3.connect(archive.path)) as connection, connection:
        for table in ("raw", "messages", "events", "inbound"):
            connection.execute(f"DELETE FROM {table}")


@settings(
    max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(told=tellings(), together=st.booleans())
def test_the_order_of_telling_does_not_matter(
    kept: vk.Archive, told: tuple[list[Step], list[Telling], list[Telling]], together: bool
) -> None:
    order_events, in_order, came = told
    number = next(numbers)
    if number % 20 == 0:
        assert kept.unreadable().empty
        forget(kept)
    ids = f"{number}-in-order", f"{number}-as-it-came"
    keep(kept, ids[0], in_order, True)
    keep(kept, ids[1], came, together)
    expected, found = states_of(kept, *ids, replied=any(one.came_s == 70 for one in in_order))
    assert found == expected
    assert [row[0] for row in found[0]] == sorted(step.state for step in order_events)
    if order_events:
        last = max(order_events, key=lambda step: (step.state in FINAL, step.at_ms, rank(step.state)))
        assert found[1] == [[last.state, str(last.state in FINAL)]]


@pytest.mark.parametrize("at_ms", [-5000, 700, 5000], ids=["earlier", "at once", "later"])
@pytest.mark.parametrize("version", ["2.11", "2.12", "2.13", "3.0"])
@pytest.mark.parametrize("by_history", [False, True], ids=["called back", "in a history"])
def test_a_late_accepted_never_hides_delivered(archive: vk.Archive, at_ms: int, version: str, by_history: bool) -> None:
    late = Step("accepted", at_ms)
    second = history([late], "guide", 2) if by_history else callback(late, version, 2)
    told = [callback(Step("delivered", 700), version, 1), second, replace(second, came_s=90)]
    keep(archive, "m", told, False)
    assert archive.messages()[["state", "final"]].to_numpy().tolist() == [["delivered", True]]
    assert sorted(archive.events()["state"]) == ["accepted", "delivered"]
    assert archive.recorder.open_messages() == []
