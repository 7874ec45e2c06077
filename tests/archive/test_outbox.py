"""The outbox: a row before the first byte, evidence afterwards, and nothing that may have gone out goes out again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.archive import outbox as box
from viberkit.errors import (
    ArchiveError,
    ArchiveWriteError,
    BadRequest,
    CampaignError,
    InvalidRequest,
    RateLimited,
    TransportError,
    UnknownOutcome,
)
from viberkit.models.keys import add_key, find_key, make_key
from viberkit.models.records import SendOutcome

TO, HELLO = "+491701234567", vk.Text("Hello")
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def posts(sandbox: vk.Sandbox) -> list[Any]:
    return [one for one in sandbox.requests if one.method == "POST"]


@pytest.fixture
def with_archive(client: vk.Client, archive: vk.Archive) -> vk.Client:
    return client.with_archive(archive)


def states(archive: vk.Archive) -> list[str]:
    return archive.outbox()["state"].astype("str").tolist()


def called_back(archive: vk.Archive, key: str, message_id: str = "m-1", event: str = "accepted") -> None:
    told = {"event": f"MessageStatus::{event}", "messageId": message_id, "timestamp": "2026-01-05T08:00:01Z"}
    archive.keep_callback(json.dumps({**told, "userContext": f"{key} order 7"}).encode(), NOW)


# --- the key ---------------------------------------------------------------------------------------------


def test_a_key_names_one_send_and_is_found_again() -> None:
    names = [
        (campaign, to, content, n)
        for campaign in (None, "a")
        for to in ("+1", "+2")
        for content in "xy"
        for n in (0, 1)
    ]
    keys = [make_key(*each) for each in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert find_key(key) == find_key(add_key(key, "order 7")) == key
    assert [find_key(one) for one in (None, "", "order 7", "vkshort", keys[0] + "x", " " + keys[0])] == [None] * 6


def test_the_key_goes_out_as_the_head_of_the_context(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive
) -> None:
    sent = with_archive.send(TO, HELLO, rate_type="transaction", context="order 7")
    row = archive.outbox().loc[0]
    assert posts(sandbox)[0].json["context"] == f"{row['key']} order 7"
    assert (row["state"], row["message_id"], row["http_status"]) == ("accepted", sent.message_id, 202)
    assert sent.context == archive.messages().loc[0, "context"] == "order 7"
    assert row["to"] == "+4917*****67"
    with pytest.raises(InvalidRequest, match="more than 98"):
        with_archive.send(TO, HELLO, rate_type="transaction", context="x" * 99)
    with_archive.send(TO, HELLO, rate_type="transaction", context="x" * 98)
    assert len(posts(sandbox)[-1].json["context"]) == 125


def test_every_send_is_one_row_and_one_post(sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive) -> None:
    for _ in range(3):
        with_archive.send(TO, HELLO, rate_type="transaction")
    bulk = with_archive.bulk(TO, [HELLO, vk.Text("World")], rate_type="transaction")
    assert states(archive) == ["accepted"] * 4
    assert archive.outbox()["message_id"].iloc[3] == bulk.bulk_id
    assert len({one.json["context"] for one in posts(sandbox)}) == 4
    assert sorted(archive.messages()["message_id"]) == sorted(sandbox.truth()["message_id"].unique())


def test_once_sends_once(sandbox: vk.Sandbox, with_archive: vk.Client, client: vk.Client) -> None:
    first = with_archive.send(TO, HELLO, rate_type="transaction", deduplicate=True)
    again = with_archive.send("0049 170 1234567", HELLO, rate_type="transaction", deduplicate=True)
    assert again.message_id == first.message_id
    with_archive.send(TO, vk.Text("Another"), rate_type="transaction", deduplicate=True)
    assert len(posts(sandbox)) == 2
    with pytest.raises(InvalidRequest, match="needs an archive"):
        client.send(TO, HELLO, rate_type="transaction", deduplicate=True)


# --- what becomes of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "state"),
    [
        ("drop", UnknownOutcome, "unknown"),
        ("500", UnknownOutcome, "unknown"),
        ("503", UnknownOutcome, "unknown"),
        ("garble", UnknownOutcome, "unknown"),
        ("429", RateLimited, "queued"),
    ],
)
def test_a_fault_leaves_the_row_where_it_belongs(
    sandbox: vk.Sandbox, archive: vk.Archive, fault: str, error: type[Exception], state: str
) -> None:
    sandbox.fault(fault, method="POST")
    with sandbox.client(archive=archive, retry_for_s=0.2) as client, pytest.raises(error):
        client.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == [state]
    assert archive.outbox()["reason"].notna().all()
    assert state != "unknown" or len(posts(sandbox)) == 1


@pytest.mark.parametrize(
    ("status", "state"), [(307, "unknown"), (400, "rejected"), (403, "rejected"), (408, "unknown"), (502, "unknown")]
)
def test_a_status_leaves_the_row_where_it_belongs(
    scripted: ScriptedServer, archive: vk.Archive, status: int, state: str
) -> None:
    scripted.respond_with((status, {"Location": scripted.url}, b'{"title": "No", "detail": "because"}'))
    client = vk.Client("key", "SHOP", base_url=scripted.url, archive=archive)
    with client, pytest.raises((UnknownOutcome, BadRequest, vk.errors.Forbidden)):
        client.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == [state]
    assert len(scripted.requests) == 1
    assert state == "unknown" or "because" in archive.outbox().loc[0, "reason"]


def test_what_never_left_is_taken_up_again_under_its_key(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    with vk.Client("key", "SHOP", base_url="http://127.0.0.1:9", archive=archive, retry_for_s=0.1) as nobody:
        for _ in range(2):
            with pytest.raises(TransportError):
                nobody.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["queued"]
    sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["accepted"]
    assert posts(sandbox)[0].json["context"] == archive.outbox().loc[0, "key"]


def test_while_it_is_unknown_the_same_message_is_not_sent_again(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive
) -> None:
    sandbox.fault("drop", method="POST", times=1)
    for _ in range(3):
        with pytest.raises(UnknownOutcome):
            with_archive.send(TO, HELLO, rate_type="transaction")
    assert len(posts(sandbox)) == 1
    with_archive.send(TO, vk.Text("Another"), rate_type="transaction")
    with_archive.send("+491701234568", HELLO, rate_type="transaction")
    key = archive.outbox().loc[0, "key"]
    assert archive.resolve([key], "abandon", reason="the provider says no") == 1
    with_archive.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["abandoned", "accepted", "accepted", "accepted"]
    assert archive.resolve([key], "abandon", reason="twice") == 0
    for decision, reason in (("again", "x"), ("resend", " ")):
        with pytest.raises(CampaignError, match="decide nothing"):
            archive.resolve([key], decision, reason=reason)


def test_an_interrupt_leaves_it_unknown(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("viberkit.api.client.attempt", stopped)
    with pytest.raises(KeyboardInterrupt):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["unknown"]


def test_two_threads_with_one_message_send_it_once(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    sandbox.latency_s = 0.3
    ended: list[object] = []

    def send() -> None:
        try:
            ended.append(sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction"))
        except UnknownOutcome as fault:
            ended.append(fault)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(posts(sandbox)) == 1
    assert Counter(type(one).__name__ for one in ended) == {"SentMessage": 1, "UnknownOutcome": 5}


# --- evidence --------------------------------------------------------------------------------------------


def test_a_callback_settles_what_is_unknown(sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive) -> None:
    sandbox.fault("drop", method="POST")
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, HELLO, rate_type="transaction", context="order 7")
    key = archive.outbox().loc[0, "key"]
    called_back(archive, "vk" + "a" * 24)  # of somebody else
    assert states(archive) == ["unknown"]
    called_back(archive, key)
    row, message = archive.outbox().loc[0], archive.messages(unmask=True).set_index("message_id").loc["m-1"]
    assert (row["state"], row["message_id"]) == ("accepted", "m-1")
    assert "a callback tells" in row["reason"]
    assert message[["to", "text", "rate_type", "context"]].tolist() == [TO, "Hello", "transaction", "order 7"]


def test_only_what_was_claimed_here_can_be_proved(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, tmp_path: Path
) -> None:
    """A plan is not sent by a callback, nor is a send by one about the same send of another archive."""
    planned = vk.Campaign.plan(archive, "c", [TO], HELLO, rate_type="transaction")
    called_back(archive, planned.messages().loc[0, "key"])
    sandbox.fault("drop", method="POST", times=1)
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, vk.Text("Another"), rate_type="transaction")
    with vk.Archive(tmp_path / "other.db") as other:
        sandbox.client(archive=other).send(TO, vk.Text("Another"), rate_type="transaction")
        called_back(archive, other.outbox().loc[0, "key"])
    assert sorted(states(archive)) == ["planned", "unknown"]


def test_a_campaigns_unknown_holds_a_single_send_back(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive
) -> None:
    campaign = vk.Campaign.plan(archive, "c", [TO], HELLO, rate_type="transaction")
    sandbox.fault("drop", method="POST", times=1)
    campaign.send(sandbox.client(), confirm=campaign.preview().confirm, progress=False)
    with pytest.raises(UnknownOutcome, match="nothing was sent now"):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert len(posts(sandbox)) == 1


def test_a_callback_may_come_before_the_answer(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    """The receiver is called while the sender still waits; then the answer is lost."""
    with vk.Listener(archive, now=lambda: sandbox.now) as listener:
        listener.configure(sandbox.client())
        fault = sandbox.fault("garble", method="POST")
        with pytest.raises(UnknownOutcome):
            sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction")
        fault.clear()
        sandbox.advance(seconds=1)
    assert states(archive) == ["accepted"]
    assert archive.outbox().loc[0, "message_id"] == sandbox.truth().loc[0, "message_id"]


def test_an_answer_after_the_callback_changes_nothing(archive: vk.Archive) -> None:
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    key = archive.recorder.begin(request, None, deduplicate=False)
    assert isinstance(key, str)
    called_back(archive, key)
    assert states(archive) == ["accepted"]
    archive.recorder.settle([(key, SendOutcome("unknown", "late"), request, None)])
    assert states(archive) == ["accepted"]


# --- what a process leaves behind ------------------------------------------------------------------------


def test_a_dead_process_leaves_unknown_rows_and_a_living_one_does_not(
    archive: vk.Archive, with_archive: vk.Client
) -> None:
    script = (
        "import os, sys, viberkit as vk\n"
        "request = {'to': '+491701234567', 'from': 'SHOP', 'rateType': 'transaction',"
        " 'content': {'contentType': 'text', 'text': 'Hello'}}\n"
        "vk.Archive(sys.argv[1]).recorder.begin(request, None, deduplicate=False)\n"
        "os._exit(9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(archive.path)], check=False)
    assert ran.returncode == 9
    assert states(archive) == ["in_flight"]
    with pytest.raises(UnknownOutcome, match="nothing was sent now"):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert box.is_alive(box.me())
    assert not box.is_alive(None)
    assert box.is_alive("another-host/1/0.00")
    assert not box.is_alive(box.me().rpartition("/")[0] + "/1.00")


# --- no post without a row -------------------------------------------------------------------------------


@contextmanager
def full(path: Path) -> Iterator[str]:
    connection = sqlite3.connect(path)
    yield f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}"
    connection.close()


@contextmanager
def read_only(path: Path) -> Iterator[str]:
    yield "PRAGMA query_only = 1"


@contextmanager
def locked(path: Path) -> Iterator[str]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    yield "PRAGMA busy_timeout = 100"
    connection.close()


@pytest.mark.parametrize(("hindered", "words"), [(full, "full"), (read_only, "readonly"), (locked, "locked")])
def test_where_no_row_can_be_written_nothing_is_posted(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, hindered: Any, words: str
) -> None:
    def send_many() -> None:
        for number in range(2000):
            with_archive.send(TO, vk.Text(f"{number} " + "x" * 900), rate_type="transaction")

    with_archive.send(TO, HELLO, rate_type="transaction")
    with hindered(archive.path) as pragma:
        with archive.reading() as connection:  # the one that is used again
            connection.exec_driver_sql(pragma)
        with pytest.raises(ArchiveError, match=words):
            send_many()
    with vk.Archive(archive.path) as told:
        rows = told.outbox()
    assert len(posts(sandbox)) == len(rows) >= 1
    assert rows["state"].isin(["accepted", "in_flight"]).all()


def test_an_accepted_message_that_cannot_be_settled_tells_its_id(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(told: Any) -> None:
        raise ArchiveError("the disk is gone")

    monkeypatch.setattr(archive.recorder, "settle", broken)
    with pytest.raises(ArchiveWriteError) as caught:
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert caught.value.message_id == sandbox.truth().loc[0, "message_id"]
    assert states(archive) == ["in_flight"]
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert len(posts(sandbox)) == 1


# --- the order on the disk and on the wire ---------------------------------------------------------------

_TRACED = """
import sys, viberkit as vk
archive = vk.Archive(sys.argv[1])
with archive, vk.Client("sandbox-key", "VIBERKIT", base_url=sys.argv[2], archive=archive) as client:
    client.send("+491701234567", vk.Text("warm"), rate_type="transaction")
    for number in range(5):
        client.send("+491701234567", vk.Text(f"Hello {number}"), rate_type="transaction")
"""


def test_the_row_is_on_the_disk_before_the_first_byte_leaves(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    """Seen from outside: between two posts there is an fsync of the archive's file or its log."""
    strace = "/usr/bin/strace"
    if not Path(strace).exists():
        pytest.skip("strace is not installed")
    log, script = tmp_path / "trace", tmp_path / "send.py"
    script.write_text(_TRACED, encoding="utf-8")
    asked = [strace, "-f", "-y", "-s", "400", "-e", "trace=fsync,fdatasync,sendto,sendmsg,write", "-o", str(log)]
    ran = subprocess.run(
        [*asked, sys.executable, str(script), str(tmp_path / "a.db"), sandbox.base_url],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in ran.stderr and ran.returncode:
        pytest.skip("this machine does not allow strace")
    assert ran.returncode == 0, ran.stderr
    order = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if "sync(" in line and "a.db" in line and "journal" not in line.partition("a.db")[2][:12]:
            order.append("sync")
        elif "POST /conversations" in line:
            order.append("post")
    assert order.count("post") == 6
    for place, what in enumerate(order):
        assert what != "post" or order[place - 1] == "sync", order
