"""Tracker driven from code: what it shows of callbacks and polls, its threads, and what remains in saved state."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import ipywidgets as w
import pytest
import requests
from support.archives import record_callback
from support.callback_load import body, load
from support.faults import FaultySandbox
from support.hostile import HOSTILE
from support.waiting import wait_for

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.widgets.drawing import describe_curve
from viberkit.widgets.tracker import Tracker

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
NUMBER = "+491701234567"
SECRET = "a-shared-secret"


@pytest.fixture
def trackers() -> Iterator[list[Tracker]]:
    opened: list[Tracker] = []
    yield opened
    for tracker in opened:
        tracker.close()


def track(
    trackers: list[Tracker], archive: vk.Archive, *arguments: Any, seconds: float = 60, **options: Any
) -> Tracker:
    """A tracker that is updated by the test, at a fixed time."""
    options = {"now": lambda: NOW + timedelta(seconds=seconds), "every_s": 3600} | options
    tracker = Tracker(archive, *arguments, **options)
    trackers.append(tracker)
    wait_for(lambda: tracker._drawn or tracker._error.value)
    return tracker


def call_back(archive: vk.Archive, numbers: range, *, every_s: float = 1.0) -> None:
    archive.recorder.record_callbacks(Callback(body(n), NOW + timedelta(seconds=n * every_s)) for n in numbers)
    while archive.recorder.derive():
        pass


def counts(archive: vk.Archive) -> dict[str, int]:
    return archive.messages()["state"].value_counts().loc[lambda n: n > 0].to_dict()


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("viberkit-tracker")}


def page(tracker: Tracker) -> str:
    parts = (tracker._heading, tracker._error, tracker._counts, tracker._notice, tracker._curve)
    return "\n".join(part.value for part in parts)


def rows(tracker: Tracker) -> list[list[str]]:
    return [row["cells"] for row in tracker._open.page_content["rows"]]


def test_callbacks_to_a_listener_are_shown(trackers: list[Tracker], archive: vk.Archive) -> None:
    with vk.Listener(archive, secret="") as listener:
        tracker = Tracker(archive, every_s=0.05)
        trackers.append(tracker)
        for number in range(10):
            callback = json.loads(body(number))
            assert requests.post(listener.url, json=callback, timeout=5).status_code == 204
        wait_for(lambda: tracker.counts == {"dispatched": 1, "seen": 2})
        assert tracker.counts == counts(archive)
        wait_for(lambda: len(rows(tracker)) == 1)
        assert "No listener" not in page(tracker)
    assert rows(tracker)[0][1] == "dispatched"


def test_another_process_writes(trackers: list[Tracker], archive: vk.Archive) -> None:
    tracker = track(trackers, archive)
    assert "No messages yet" in page(tracker)
    with vk.Archive(archive.path) as other:
        call_back(other, range(4000, 8003))
    tracker.update()
    assert tracker.counts == counts(archive)
    assert sum(tracker.counts.values()) == 1001


def test_the_curve_is_that_of_the_archive(trackers: list[Tracker], sandbox: FaultySandbox, archive: vk.Archive) -> None:
    now = {"now": lambda: sandbox.now}
    with vk.Listener(archive, secret="", **now) as listener, sandbox.client(archive=archive) as client:
        tracker = track(trackers, archive, **now)
        for number in range(6):
            client.send(f"+4917012345{number:02}", vk.Text("Hi"), rate_type="session", callback_url=listener.url)
            tracker.update()
            sandbox.advance(seconds=2)
    tracker.update()
    curve = vk.delivery_curve(vk.journeys(archive.events()))
    assert {"accepted", "delivered"} <= set(tracker.counts)
    assert describe_curve(curve, vk.journeys(archive.events())["outcome"]) in page(tracker)
    assert tracker.counts == counts(archive)


def test_one_message(trackers: list[Tracker], sandbox: FaultySandbox, archive: vk.Archive) -> None:
    sandbox.client(archive=archive).send(NUMBER, vk.Text("Hi"), rate_type="session")
    tracker = track(trackers, archive, now=lambda: sandbox.now + timedelta(minutes=2))
    assert rows(tracker) == [
        ["+4917*****67", "accepted", "2026-01-05 08:00:00", "2 min", archive.events().message_id[0]]
    ]
    assert "1 message, 1 under way" in page(tracker)


def test_polling(trackers: list[Tracker], sandbox: FaultySandbox, archive: vk.Archive) -> None:
    with sandbox.client(archive=archive, retry_for_s=0) as client:
        client.send(NUMBER, vk.Text("Hi"), rate_type="session")
        sandbox.advance(days=15)
        tracker = track(trackers, archive, client, every_s=0.05)
        wait_for(lambda: set(tracker.counts) <= {"delivered", "seen", "failed", "expired"} and tracker.counts)
    assert "No listener is running" in page(tracker)


def test_a_poll_that_fails_is_shown(trackers: list[Tracker], sandbox: FaultySandbox, archive: vk.Archive) -> None:
    with sandbox.client(archive=archive, retry_for_s=0) as client:
        client.send(NUMBER, vk.Text("Hi"), rate_type="session")
        sandbox.fault("500")
        tracker = track(trackers, archive, client)
        wait_for(lambda: "1 of 1 histories" in page(tracker))


def test_silence_is_compared_with_the_usual_gap(trackers: list[Tracker], archive: vk.Archive) -> None:
    period = archive.recorder.record_callbacks([], NOW)
    call_back(archive, range(41), every_s=2)
    archive.recorder.record_callbacks([], NOW + timedelta(seconds=84), period)
    tracker = track(trackers, archive, seconds=84)
    assert "Last callback 4 s ago; usually the next one comes within 2 s." in page(tracker)
    assert "No listener" not in page(tracker)
    late = track(trackers, archive, seconds=80 + 240)
    assert "▲ No callback for 4 min; usually the next one comes within 2 s." in page(late)
    assert "▲ No listener is running: its last heartbeat was 3.9 min ago." in page(late)
    call_back(archive, range(41, 44), every_s=2)
    late.update()
    assert "▲" not in page(late), "no message is under way"


def test_threads_end(trackers: list[Tracker], archive: vk.Archive) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    tracker = track(trackers, archive, every_s=0.05)
    assert threads()
    tracker.stop()
    assert not threads()
    tracker._button.click()
    assert tracker._button.description == "Pause"
    assert len(threads()) == 1
    tracker._button.click()
    assert (threads(), tracker._button.description) == (set(), "Continue")
    tracker.start()
    tracker.close()
    assert not threads()
    assert set(w.Widget.get_manager_state()["state"]) == before


def test_a_dropped_tracker_ends(archive: vk.Archive) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    tracker = Tracker(archive, every_s=0.05)
    reference = weakref.ref(tracker)
    del tracker
    wait_for(lambda: (gc.collect(), reference())[1] is None)
    wait_for(lambda: not threads())
    assert set(w.Widget.get_manager_state()["state"]) == before


def test_a_displayed_tracker_lives(trackers: list[Tracker], archive: vk.Archive) -> None:
    tracker = Tracker(archive, every_s=0.05)
    shown = tracker._repr_mimebundle_()
    assert set(shown) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert shown["text/plain"].startswith("Tracker(Archive(")
    reference = weakref.ref(tracker)
    del tracker
    gc.collect()
    displayed = reference()
    assert displayed is not None
    trackers.append(displayed)
    assert threads()


@pytest.mark.sqlite
@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_file_that_is_gone_is_said(trackers: list[Tracker], archive: vk.Archive, what: str) -> None:
    tracker = track(trackers, archive, every_s=0.05)
    content = archive.path.read_bytes()
    archive.path.unlink()
    if what == "replaced":
        other = archive.path.with_name("other")
        other.write_bytes(content)
        other.rename(archive.path)
    wait_for(lambda: "the archive was removed or replaced" in page(tracker))
    wait_for(lambda: not threads())


def test_a_closed_archive_ends_it(trackers: list[Tracker], archive: vk.Archive) -> None:
    with vk.Archive(archive.path) as other:
        tracker = track(trackers, other, every_s=0.05)
    wait_for(lambda: "the archive was closed" in page(tracker))
    wait_for(lambda: not threads())


def test_errors_are_shown_until_an_update_succeeds(trackers: list[Tracker], archive: vk.Archive) -> None:
    tracker = track(trackers, archive, every_s=0.05)
    call_back(archive, range(4))
    content = archive.path.read_bytes()
    archive.recorder.reconnect()
    archive.path.write_bytes(b"not a database" * 1000)
    wait_for(lambda: "file is not a database" in page(tracker))
    archive.path.write_bytes(content)
    archive.recorder.reconnect()
    wait_for(lambda: tracker.counts == {"seen": 1})
    wait_for(lambda: not tracker._error.value)


def test_the_last_messages_are_shown(trackers: list[Tracker], archive: vk.Archive) -> None:
    for number in range(30):
        event = {"event": "MessageStatus::dispatched", "messageId": f"m{number}"}
        at = NOW + timedelta(seconds=number)
        record_callback(archive, json.dumps(event | {"timestamp": at.isoformat()}).encode(), at)
    tracker = track(trackers, archive, last=7)
    assert tracker.counts == {"dispatched": 7}
    record_callback(archive, body(0), NOW)
    tracker.update()
    assert tracker.counts == {"accepted": 1, "dispatched": 6}


def test_hostile_texts_are_shown_as_text(trackers: list[Tracker], archive: vk.Archive) -> None:
    texts = [*HOSTILE, f"call {NUMBER}"]
    for number, text in enumerate(texts):
        event = {"event": text or "x", "messageId": f"{text}{number}", "timestamp": NOW.isoformat()}
        record_callback(archive, json.dumps(event | {"from": text, "details": {"code": text}}).encode(), NOW)
    tracker = track(trackers, archive)
    assert len(tracker.counts) > 100
    shown = page(tracker)
    assert not tracker._error.value
    assert not [text for text in HOSTILE if "<" in text and text in shown]
    state = json.dumps(w.Widget.get_manager_state(), default=str, ensure_ascii=False)
    everything = shown + json.dumps(tracker._open.page_content) + state
    assert NUMBER[1:] not in everything
    assert "<script" not in state


def test_arguments(archive: vk.Archive) -> None:
    with pytest.raises(TypeError, match="takes an archive"):
        Tracker("deliveries.db")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes an archive"):
        Tracker(archive, archive)  # type: ignore[arg-type]
    assert not threads()


@pytest.mark.slow
def test_no_update_is_lost_under_load(trackers: list[Tracker], archive: vk.Archive) -> None:
    with vk.Listener(archive, secret=SECRET) as listener:
        tracker = Tracker(archive, every_s=0.2)
        trackers.append(tracker)
        with ThreadPoolExecutor() as pool:  # a browser of other tests has an event loop in this thread
            work = load(listener.url, SECRET, seconds=5, per_second=500, connections=8)
            report = pool.submit(asyncio.run, work).result()
    assert (report.refused, report.broken) == (0, 0)
    wait_for(lambda: tracker.counts == counts(archive), 30)
    assert sum(tracker.counts.values()) == -(-report.answered // 4)
    assert not tracker._error.value
