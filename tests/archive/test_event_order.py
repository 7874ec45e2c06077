"""The result does not depend on the order in which callbacks and histories report the events of a message."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.archives import execute, url_of

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.models.records import Response
from viberkit.models.states import FINAL, rank

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
#: A state in the archive, and in callbacks, in the guide's histories and in the newer ones (v2, v3).
DIALECTS = {
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

example_numbers = count()


@dataclass(frozen=True)
class Step:
    """A state, and when the message entered it, in milliseconds after the send."""

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
class Report:
    """One callback or history, the time of its receipt, and its body; ``{id}`` stands for the message's id."""

    kind: str
    received_s: int
    body: dict[str, Any] = field(hash=False)

    def body_of(self, message_id: str) -> bytes:
        return json.dumps(self.body).replace("{id}", message_id).encode()


def callback(step: Step, version: str, received_s: int) -> Report:
    """Return a status callback: 2.11 has no zone, 2.12 repeats the status, 2.13 is complete, 3.0 has an offset."""
    body = {"event": DIALECTS[step.state][0], "messageId": "{id}", **step.details()}
    body["timestamp"] = step.at({"2.11": "", "3.0": "+02:00"}.get(version, "Z"))
    if version == "2.12":
        body |= {"status": step.state, "deliveryChannel": "viber"}
    elif version != "2.11":
        body |= {"channel": "viber", "from": "S", "userContext": "order 7"}
    return Report("callback", received_s, body)


def reply(version: str, received_s: int) -> Report:
    """Return a reply of the recipient, in version 2.x or the preview of 3.0."""
    body: dict[str, Any] = {"messageId": f"{{id}}-reply-{version}", "from": "+491701234567", "to": "S"}
    body |= {"context": {"messageId": "{id}"}, "timestamp": Step("", 9000).at("Z")}
    if version == "3.0":
        return Report(
            "callback", received_s, {**body, "event": "InboundMessage", "content": {"type": "text", "text": "a"}}
        )
    content = {"contentType": "text", "text": "a"}
    return Report(
        "callback", received_s, {**body, "event": "MoMessage", "receivedAt": body["timestamp"], "content": content}
    )


def history(steps: list[Step], dialect: str, received_s: int) -> Report:
    words = [DIALECTS[step.state][1 if dialect == "guide" else 2] for step in steps]
    name, at, word = ("history", "happendAt", "state") if dialect == "guide" else ("events", "timestamp", "event")
    zone = "" if dialect == "v2" else "Z"
    reports = [{at: step.at(zone), word: text, **step.details()} for step, text in zip(steps, words, strict=True)]
    return Report("events", received_s, {"messageId": "{id}", name: reports})


codes = st.sampled_from([None, "viber::error::A", "viber::error::B"])
versions = st.sampled_from(["2.11", "2.12", "2.13", "3.0"])
dialects = st.sampled_from(["guide", "v2", "v3"])


@st.composite
def life_cycles(draw: st.DrawFn) -> list[Step]:
    """Draw the states of a message in order; a state may be entered twice, and two states at the same time."""
    entered = draw(
        st.lists(st.tuples(st.sampled_from([*DIALECTS]), st.integers(0, 5)), min_size=1, max_size=6, unique=True)
    )
    failing = ("failed", "channel_failed")
    steps = [Step(state, 700 * at, draw(codes) if state in failing else None) for state, at in entered]
    return sorted(steps, key=lambda step: (step.at_ms, rank(step.state)))


@st.composite
def reported_life_cycles(draw: st.DrawFn) -> tuple[list[Step], list[Report], list[Report]]:
    """Draw a life cycle, its reports in order, and its reports as received: shuffled, repeated, some of them lost."""
    steps_in_order = draw(life_cycles())
    by_history = draw(st.booleans())
    if not by_history:
        steps_in_order = [step for step in steps_in_order if DIALECTS[step.state][0]]
    called_back = [step for step in steps_in_order if DIALECTS[step.state][0]]
    in_order = [callback(step, draw(versions), 1 + index) for index, step in enumerate(called_back)]
    lost = [report for report in in_order if by_history and draw(st.booleans())]
    if by_history:
        seen = draw(st.lists(st.integers(0, len(steps_in_order)), max_size=2))
        in_order += [history(steps_in_order[:size], draw(dialects), 50 + index) for index, size in enumerate(seen)]
        in_order.append(history(steps_in_order, draw(dialects), 60))
    if draw(st.integers(0, 3)) == 3:
        in_order += [reply(version, 70) for version in ("2.13", "3.0")]
    received = [report for report in in_order if report not in lost]
    if received:
        received = draw(st.permutations(received + draw(st.lists(st.sampled_from(received), max_size=3))))
    return steps_in_order, in_order, received


@pytest.fixture(scope="module")
def archive_of_module(new_archive_url: Callable[[], AbstractContextManager[str]]) -> Iterator[vk.Archive]:
    with new_archive_url() as url, vk.Archive(url) as archive:
        yield archive


def record_reports(archive: vk.Archive, message_id: str, reports: list[Report], together: bool) -> None:
    """Record reports one by one, or the callbacks between two histories together."""
    callbacks: list[Callback] = []
    for index, report in enumerate(reports):
        received, body = NOW + timedelta(seconds=report.received_s), report.body_of(message_id)
        if report.kind == "callback":
            callbacks.append(Callback(body, received))
        if callbacks and (report.kind != "callback" or not together or index == len(reports) - 1):
            archive.recorder.record_callbacks(callbacks)
            callbacks = []
        if report.kind != "callback":
            archive.recorder.record("events", [(message_id, Response(200, body, received, {}))])


def rows(frame: pd.DataFrame, *columns: str) -> dict[str, list[list[str]]]:
    """Return the sorted rows of each message."""
    result: dict[str, list[list[str]]] = {}
    for message_id, *row in zip(*(frame[name].tolist() for name in columns), strict=True):
        result.setdefault(message_id, []).append([*map(str, row)])
    return {message_id: sorted(several) for message_id, several in result.items()}


def states_of(archive: vk.Archive, *ids: str, replied: bool) -> list[list[list[list[str]]]]:
    """Return, for each message, what must not depend on the order: its events, its row, and its replies."""
    reports = [rows(archive.events(), "message_id", "state", "happened_at", "code")]
    reports.append(rows(archive.messages(), "message_id", "state", "final"))
    if replied:
        reports.append(rows(archive.inbound(), "reply_to", "kind", "text", "received_at"))
    return [[text.get(report, []) for text in reports] for report in ids]


def delete_rows(archive: vk.Archive) -> None:
    """Delete all rows, so that the time of an example does not grow with their number."""
    for table in ("raw", "messages", "events", "inbound"):
        execute(url_of(archive), f"DELETE FROM {table}")


@settings(
    max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(reports=reported_life_cycles(), together=st.booleans())
def test_the_order_of_reports_does_not_matter(
    archive_of_module: vk.Archive, reports: tuple[list[Step], list[Report], list[Report]], together: bool
) -> None:
    steps_in_order, in_order, received = reports
    number = next(example_numbers)
    if number % 20 == 0:
        assert archive_of_module.unreadable().empty
        delete_rows(archive_of_module)
    ids = f"{number}-in-order", f"{number}-as-it-came"
    record_reports(archive_of_module, ids[0], in_order, True)
    record_reports(archive_of_module, ids[1], received, together)
    expected, result = states_of(archive_of_module, *ids, replied=any(report.received_s == 70 for report in in_order))
    assert result == expected
    assert [row[0] for row in result[0]] == sorted(step.state for step in steps_in_order)
    if steps_in_order:
        last = max(steps_in_order, key=lambda step: (step.state in FINAL, step.at_ms, rank(step.state)))
        assert result[1] == [[last.state, str(last.state in FINAL)]]


@pytest.mark.parametrize("at_ms", [-5000, 700, 5000], ids=["earlier", "at once", "later"])
@pytest.mark.parametrize("version", ["2.11", "2.12", "2.13", "3.0"])
@pytest.mark.parametrize("by_history", [False, True], ids=["called back", "in a history"])
def test_a_late_accepted_does_not_replace_delivered(
    archive: vk.Archive, at_ms: int, version: str, by_history: bool
) -> None:
    late = Step("accepted", at_ms)
    second = history([late], "guide", 2) if by_history else callback(late, version, 2)
    reports = [callback(Step("delivered", 700), version, 1), second, replace(second, received_s=90)]
    record_reports(archive, "m", reports, False)
    assert archive.messages()[["state", "final"]].to_numpy().tolist() == [["delivered", True]]
    assert sorted(archive.events()["state"]) == ["accepted", "delivered"]
    assert archive.recorder.open_messages() == []
