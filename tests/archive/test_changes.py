"""What views that follow an archive read: changes, times of callbacks, what was received about a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from support.archives import record_callback, record_sent, url_of
from support.callback_load import body
from support.faults import FaultySandbox

import viberkit as vk
from viberkit.archive import archive as archive_module
from viberkit.models.callback import Callback
from viberkit.models.records import Response

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
NUMBER = "+491701234567"


def call_back(archive: vk.Archive, numbers: range) -> None:
    archive.recorder.record_callbacks(Callback(body(n), NOW + timedelta(seconds=n)) for n in numbers)
    while archive.recorder.derive():
        pass


def read_all(archive: vk.Archive, since: tuple[int, int] | None = None, last: int = 100_000) -> archive_module.Changes:
    """All changes, those of several parts joined."""
    messages, events, is_last = [], [], False
    while not is_last:
        changes = archive.changes(since, last=last)
        since, is_last = changes.position, changes.is_last
        messages.append(changes.messages)
        events.append(changes.events)
    return archive_module.Changes(since, pd.concat(messages), pd.concat(events), is_last)


@pytest.mark.parametrize("size", [7, 100_000])
def test_changes_are_those_that_the_archive_has(
    archive: vk.Archive, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_CHANGES", size)
    monkeypatch.setattr(archive_module, "_IDS", 3)
    call_back(archive, range(100))
    changes = read_all(archive)
    every = archive.events()
    assert_frame_equal(changes.events.reset_index(drop=True).astype(every.dtypes), every)
    assert changes.messages["state"].tolist() == archive.messages()["state"].tolist()

    call_back(archive, range(98, 110))
    new = read_all(archive, changes.position)
    assert set(new.messages["message_id"]) == {f"m-{n:08d}" for n in (25, 26, 27)}
    latest = new.messages.drop_duplicates("message_id", keep="last").set_index("message_id")["state"]
    assert latest.to_dict() == archive.messages().set_index("message_id")["state"].loc[latest.index].to_dict()
    assert read_all(archive, new.position).messages.empty


def test_changes_begin_with_the_last_messages(archive: vk.Archive) -> None:
    call_back(archive, range(40))
    changes = read_all(archive, last=3)
    assert changes.messages["message_id"].tolist() == [f"m-{n:08d}" for n in (7, 8, 9)]
    record_callback(archive, body(3, "m").replace(b"seen", b"deleted"), NOW)
    assert read_all(archive, changes.position).messages["message_id"].tolist() == ["m-00000000"], "an older one"


def test_changes_of_other_connections_are_seen(archive: vk.Archive) -> None:
    position = archive.changes().position
    with vk.Archive(url_of(archive)) as other:
        call_back(other, range(8))
    assert len(read_all(archive, position).messages) == 2


def test_recipients_of_changes_are_masked(archive: vk.Archive, sandbox: FaultySandbox) -> None:
    with sandbox.client(archive=archive) as client:
        client.send(NUMBER, vk.Text("Hi"), rate_type="transaction")
    (to,) = archive.changes().messages["to"]
    assert to == "+4917*****67"


def test_times_of_callbacks(archive: vk.Archive) -> None:
    call_back(archive, range(700))
    times = archive.callback_times()
    assert len(times) == 500
    assert times.is_monotonic_increasing
    assert times.iloc[-1] == NOW + timedelta(seconds=699)


def test_answers_are_those_about_the_message(archive: vk.Archive, sandbox: FaultySandbox, tmp_path: Path) -> None:
    with sandbox.client(archive=archive) as client:
        sent, other = (client.send(NUMBER, vk.Text(text), rate_type="transaction") for text in ("Hi", "Ho"))
        sandbox.advance(hours=1)
        client.events(sent.message_id)
        client.status(sent.message_id)
        client.events(other.message_id)
        client.message(sent.message_id)
    stored = [
        {"messageId": sent.message_id, "event": "MessageStatus::delivered", "timestamp": NOW.isoformat()},
        {"messageId": other.message_id, "event": "MessageStatus::delivered", "timestamp": NOW.isoformat()},
    ]
    archive.recorder.record_callbacks(Callback(json.dumps(item).encode(), NOW) for item in stored)
    answers = archive.answers(sent.message_id)
    assert sorted(answers["kind"]) == ["callback", "events", "message", "send", "status"]
    assert not answers["body"].str.contains(other.message_id).any()
    assert not answers["body"].str.contains(NUMBER[1:]).any()
    assert archive.answers(sent.message_id, unmask=True)["body"].str.contains(NUMBER[1:]).any()


def test_answers_of_any_id(archive: vk.Archive) -> None:
    message_id = "é/\"<'\\"
    record_sent(archive, message_id, {"content": {}}, Response(202, b'{"messageId": "x"}', NOW, {}))
    event = {"messageId": message_id, "event": "MessageStatus::delivered", "timestamp": NOW.isoformat()}
    record_callback(archive, json.dumps(event).encode(), NOW)
    assert sorted(archive.answers(message_id)["kind"]) == ["callback", "send"]
    assert archive.answers("' OR 1=1 --").empty


def test_an_archive_knows_that_it_was_closed(archive: vk.Archive) -> None:
    with vk.Archive(url_of(archive)) as other:
        assert not other.is_closed
    assert other.is_closed
    archive.recorder.reconnect()
    assert not archive.is_closed
