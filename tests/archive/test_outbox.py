"""The outbox: a durable row before the first byte, settling by callbacks, no repetition of what may have been sent."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.archives import execute, record_callback, url_of
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.archive import outbox as outbox
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
from viberkit.models.records import Response, SendOutcome

TO, HELLO = "+491701234567", vk.Text("Hello")
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


def posts(sandbox: vk.Sandbox) -> list[Any]:
    return [item for item in sandbox.requests if item.method == "POST"]


@pytest.fixture
def with_archive(client: vk.Client, archive: vk.Archive) -> vk.Client:
    return client.with_archive(archive)


def states(archive: vk.Archive) -> list[str]:
    return archive.outbox()["state"].astype("str").tolist()


def called_back(archive: vk.Archive, key: str, message_id: str = "m-1", event: str = "accepted") -> None:
    reported = {"event": f"MessageStatus::{event}", "messageId": message_id, "timestamp": "2026-01-05T08:00:01Z"}
    record_callback(archive, json.dumps({**reported, "userContext": f"{key} order 7"}).encode(), NOW)


# --- the key ---------------------------------------------------------------------------------------------


def test_keys_are_unique_and_found_in_a_context() -> None:
    names = [
        (campaign, to, content, n)
        for campaign in (None, "a")
        for to in ("+1", "+2")
        for content in "xy"
        for n in (0, 1)
    ]
    keys = [make_key(*parts) for parts in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert find_key(key) == find_key(add_key(key, "order 7")) == key
    assert [find_key(item) for item in (None, "", "order 7", "vkshort", keys[0] + "x", " " + keys[0])] == [None] * 6


def test_the_key_is_sent_at_the_start_of_the_context(
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
    assert len({item.json["context"] for item in posts(sandbox)[:3]}) == 3
    assert "context" not in posts(sandbox)[3].json, "the API documents no context of a bulk"
    assert sorted(archive.messages()["message_id"]) == sorted(sandbox.truth()["message_id"].unique())


def test_deduplicate_sends_once(sandbox: vk.Sandbox, with_archive: vk.Client, client: vk.Client) -> None:
    first = with_archive.send(TO, HELLO, rate_type="transaction", deduplicate=True)
    again = with_archive.send("0049 170 1234567", HELLO, rate_type="transaction", deduplicate=True)
    assert again.message_id == first.message_id
    with_archive.send(TO, vk.Text("Another"), rate_type="transaction", deduplicate=True)
    assert len(posts(sandbox)) == 2
    with pytest.raises(InvalidRequest, match="needs an archive"):
        client.send(TO, HELLO, rate_type="transaction", deduplicate=True)


def test_deduplicate_returns_what_was_sent(sandbox: vk.Sandbox, with_archive: vk.Client) -> None:
    first = with_archive.send(TO, HELLO, rate_type="transaction", context="order 7")
    again = with_archive.send(TO, HELLO, rate_type="session", context="order 8", deduplicate=True)
    assert (again.message_id, again.rate_type, again.context) == (first.message_id, "transaction", "order 7")
    with_archive.send(TO, vk.Text("Another"), rate_type="transaction")
    again = with_archive.send(TO, vk.Text("Another"), rate_type="session", context="order 8", deduplicate=True)
    assert (again.rate_type, again.context) == ("transaction", None)
    assert len(posts(sandbox)) == 2


# --- outcomes ----------------------------------------------------------------------------------


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
def test_the_state_after_a_fault(
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
def test_the_state_after_a_status(scripted: ScriptedServer, archive: vk.Archive, status: int, state: str) -> None:
    scripted.respond_with((status, {"Location": scripted.url}, b'{"title": "No", "detail": "because"}'))
    client = vk.Client("key", "SHOP", base_url=scripted.url, archive=archive)
    with client, pytest.raises((UnknownOutcome, BadRequest, vk.errors.Forbidden)):
        client.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == [state]
    assert len(scripted.requests) == 1
    assert state == "unknown" or "because" in archive.outbox().loc[0, "reason"]


def test_a_send_that_never_left_is_repeated_with_its_key(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    with vk.Client("key", "SHOP", base_url="http://127.0.0.1:9", archive=archive, retry_for_s=0.1) as unreachable:
        for _ in range(2):
            with pytest.raises(TransportError):
                unreachable.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["queued"]
    sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["accepted"]
    assert posts(sandbox)[0].json["context"] == archive.outbox().loc[0, "key"]


def test_a_message_with_an_unknown_outcome_is_not_sent_again(
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
        with pytest.raises(CampaignError, match="is not valid; pass 'resend' or 'abandon'"):
            archive.resolve([key], decision, reason=reason)


def test_an_interrupted_send_is_unknown(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("viberkit.api.send.post", stopped)
    with pytest.raises(KeyboardInterrupt):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert states(archive) == ["unknown"]


def test_threads_with_the_same_message_send_it_once(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    sandbox.latency_s = 0.3
    results: list[object] = []

    def send() -> None:
        try:
            results.append(sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction"))
        except UnknownOutcome as error:
            results.append(error)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(posts(sandbox)) == 1
    assert Counter(type(item).__name__ for item in results) == {"SentMessage": 1, "UnknownOutcome": 5}


# --- evidence --------------------------------------------------------------------------------------------


def test_a_callback_settles_an_unknown_send(sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive) -> None:
    sandbox.fault("drop", method="POST")
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, HELLO, rate_type="transaction", context="order 7")
    key = archive.outbox().loc[0, "key"]
    called_back(archive, "vk" + "a" * 24)  # a key of another archive
    assert states(archive) == ["unknown"]
    called_back(archive, key)
    row, message = archive.outbox().loc[0], archive.messages(unmask=True).set_index("message_id").loc["m-1"]
    assert (row["state"], row["message_id"]) == ("accepted", "m-1")
    assert "a callback shows" in row["reason"]
    assert message[["to", "text", "rate_type", "context"]].tolist() == [TO, "Hello", "transaction", "order 7"]


def test_a_callback_settles_only_claimed_sends_of_this_archive(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, tmp_path: Path
) -> None:
    """A callback settles neither a planned message nor the same send of another archive."""
    planned = vk.Campaign.plan(archive, "c", [TO], HELLO, rate_type="transaction")
    called_back(archive, planned.messages().loc[0, "key"])
    sandbox.fault("drop", method="POST", times=1)
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, vk.Text("Another"), rate_type="transaction")
    with vk.Archive(tmp_path / "other.db") as other:
        sandbox.client(archive=other).send(TO, vk.Text("Another"), rate_type="transaction")
        called_back(archive, other.outbox().loc[0, "key"])
    assert sorted(states(archive)) == ["planned", "unknown"]


def test_an_unknown_send_of_a_campaign_holds_back_a_single_send(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive
) -> None:
    campaign = vk.Campaign.plan(archive, "c", [TO], HELLO, rate_type="transaction")
    sandbox.fault("drop", method="POST", times=1)
    campaign.send(sandbox.client(), confirm=campaign.preview().confirm, progress=False)
    with pytest.raises(UnknownOutcome, match="nothing was sent to") as caught:
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert caught.value.earlier
    assert "may or may not" not in str(caught.value)
    assert f"archive.resolve(['{archive.outbox().loc[0, 'key']}'], " in str(caught.value)
    assert len(posts(sandbox)) == 1


def test_a_callback_may_arrive_before_the_response(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    """The callback arrives while the sender still waits; then the response is lost."""
    with vk.Listener(archive, now=lambda: sandbox.now) as listener:
        listener.configure(sandbox.client())
        fault = sandbox.fault("garble", method="POST")
        with pytest.raises(UnknownOutcome):
            sandbox.client(archive=archive).send(TO, HELLO, rate_type="transaction")
        fault.clear()
        sandbox.advance(seconds=1)
    assert states(archive) == ["accepted"]
    assert archive.outbox().loc[0, "message_id"] == sandbox.truth().loc[0, "message_id"]


def test_an_outcome_after_the_callback_changes_nothing(archive: vk.Archive) -> None:
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    key = archive.recorder.begin(request, None, deduplicate=False)
    assert isinstance(key, str)
    with pytest.raises(
        UnknownOutcome, match=r"nothing was sent to .*: the outcome of an earlier send .* is unknown; wait"
    ):
        archive.recorder.begin(request, None, deduplicate=False)
    called_back(archive, key)
    assert states(archive) == ["accepted"]
    archive.recorder.settle([(key, SendOutcome("unknown", "late"), request, None)])
    assert states(archive) == ["accepted"]


def test_the_id_of_a_send_that_a_callback_settled_settles_no_other(archive: vk.Archive) -> None:
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    first, second = (
        archive.recorder.begin({**request, "to": to}, None, deduplicate=False) for to in (TO, "+43664123456")
    )
    assert isinstance(first, str)
    assert isinstance(second, str)
    called_back(archive, first)
    response = Response(202, b'{"messageId":"m-1"}', NOW, {})
    settled = [(second, SendOutcome("accepted", message_id="m-1"), request, response)]
    assert archive.recorder.settle(settled)[second].state == "unknown"
    assert dict(archive.outbox().set_index("key")["state"]) == {first: "accepted", second: "unknown"}


# --- ended processes ------------------------------------------------------------------------


def test_sends_of_an_ended_process_become_unknown(archive: vk.Archive, with_archive: vk.Client) -> None:
    script = (
        "import os, sys, viberkit as vk\n"
        "request = {'to': '+491701234567', 'from': 'SHOP', 'rateType': 'transaction',"
        " 'content': {'contentType': 'text', 'text': 'Hello'}}\n"
        "vk.Archive(sys.argv[1]).recorder.begin(request, None, deduplicate=False)\n"
        "os._exit(9)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, url_of(archive)], check=False)
    assert process.returncode == 9
    assert states(archive) == ["in_flight"]
    with pytest.raises(UnknownOutcome, match="nothing was sent to"):
        with_archive.send(TO, HELLO, rate_type="transaction")


# --- unwritable archives -------------------------------------------------------------------------------


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


@pytest.mark.sqlite
@pytest.mark.parametrize(("hindrance", "reason"), [(full, "full"), (read_only, "readonly"), (locked, "locked")])
def test_without_a_row_nothing_is_posted(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, hindrance: Any, reason: str
) -> None:
    def send_many() -> None:
        for number in range(2000):
            with_archive.send(TO, vk.Text(f"{number} " + "x" * 900), rate_type="transaction")

    with_archive.send(TO, HELLO, rate_type="transaction")
    with hindrance(archive.path) as pragma:
        archive._database.run(
            lambda connection: connection.exec_driver_sql(pragma), write=False
        )  # the pooled connection
        with pytest.raises(ArchiveError, match=reason):
            send_many()
    with vk.Archive(url_of(archive)) as reopened:
        rows = reopened.outbox()
    assert len(posts(sandbox)) == len(rows) >= 1
    assert rows["state"].isin(["accepted", "unknown"]).all()


def test_the_error_has_the_id_of_an_accepted_message_that_cannot_be_settled(
    sandbox: vk.Sandbox, with_archive: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(sends: Any) -> None:
        raise ArchiveError("the disk is gone")

    monkeypatch.setattr(archive.recorder, "settle", broken)
    with pytest.raises(ArchiveWriteError) as caught:
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert caught.value.message_id == sandbox.truth().loc[0, "message_id"]
    assert states(archive) == ["in_flight"]
    with pytest.raises(UnknownOutcome):
        with_archive.send(TO, HELLO, rate_type="transaction")
    assert len(posts(sandbox)) == 1


# --- order of disk and network ---------------------------------------------------------------

_TRACED = """
import sys, viberkit as vk
archive = vk.Archive(sys.argv[1])
with archive, vk.Client("sandbox-key", "VIBERKIT", base_url=sys.argv[2], archive=archive) as client:
    client.send("+491701234567", vk.Text("warm"), rate_type="transaction")
    for number in range(5):
        client.send("+491701234567", vk.Text(f"Hello {number}"), rate_type="transaction")
"""


def test_the_row_is_synced_before_the_first_byte_leaves(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    """In a trace, an fsync of the archive's file or its log comes before each post."""
    strace = "/usr/bin/strace"
    if not Path(strace).exists():
        pytest.skip("strace is not installed")
    log, script = tmp_path / "trace", tmp_path / "send.py"
    script.write_text(_TRACED, encoding="utf-8")
    command = [strace, "-f", "-y", "-s", "400", "-e", "trace=fsync,fdatasync,sendto,sendmsg,write", "-o", str(log)]
    process = subprocess.run(
        [*command, sys.executable, str(script), str(tmp_path / "a.db"), sandbox.base_url],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in process.stderr and process.returncode:
        pytest.skip("this machine does not allow strace")
    assert process.returncode == 0, process.stderr
    order = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if "sync(" in line and "a.db" in line and "journal" not in line.partition("a.db")[2][:12]:
            order.append("sync")
        elif "POST /conversations" in line:
            order.append("post")
    assert order.count("post") == 6
    for index, step in enumerate(order):
        assert step != "post" or order[index - 1] == "sync", order


# --- owners ---------------------------------------------------------------------------------------------

_CLAIM = """
import os, sys, viberkit as vk
request = {'to': '+491701234567', 'from': 'SHOP', 'rateType': 'transaction'}
request['content'] = {'contentType': 'text', 'text': sys.argv[2]}
print(vk.Archive(sys.argv[1]).recorder.begin(request, None, deduplicate=False), flush=True)
sys.stdin.readline()
"""


def claiming(archive: vk.Archive, *prefix: str) -> subprocess.Popen[str]:
    """Start a process that claims a send and then waits."""
    command = [*prefix, sys.executable, "-c", _CLAIM, url_of(archive), "Hello"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("vk")
    return process


@pytest.mark.parametrize("namespaces", [[], ["unshare", "--uts", "--pid", "--fork", "--kill-child"]])
def test_a_row_is_in_flight_as_long_as_its_process_runs(archive: vk.Archive, namespaces: list[str]) -> None:
    """In a container of its own, the process has another host name and another process id than others see."""
    if namespaces and subprocess.run([*namespaces, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system allows no namespaces")
    with claiming(archive, *namespaces) as process:
        key = archive.outbox().loc[0, "key"]
        assert archive.resolve([key], "abandon", reason="still being sent") == 0
        with vk.Archive(url_of(archive)):
            assert states(archive) == ["in_flight"]
        process.kill()
    assert execute(url_of(archive), "SELECT state FROM outbox") == [("in_flight",)]
    ends = time.monotonic() + 10
    while not archive.resolve([key], "abandon", reason="the process ended"):
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert states(archive) == ["abandoned"]


def test_an_interrupted_send_of_this_process_has_an_exit(archive: vk.Archive) -> None:
    """Its thread begins another call, so that it cannot be sending any more; other threads may be."""
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    keys = [archive.recorder.begin(request, None, deduplicate=False)]
    other = {**request, "to": "+491701234568"}
    sending = threading.Event()

    def send_slowly() -> None:
        keys.append(archive.recorder.begin(other, None, deduplicate=False))
        sending.wait()

    thread = threading.Thread(target=send_slowly)
    thread.start()
    while len(keys) < 2:
        time.sleep(0.01)
    assert archive.resolve([str(key) for key in keys], "resend", reason="interrupted") == 1
    assert states(archive) == ["requeued", "in_flight", "queued"]
    sending.set()
    thread.join()
    assert archive.resolve([str(keys[1])], "abandon", reason="interrupted") == 1


def test_an_outcome_that_arrives_late_settles_a_lost_send(archive: vk.Archive) -> None:
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    key = str(archive.recorder.begin(request, None, deduplicate=False))
    with vk.Archive(url_of(archive)):
        assert states(archive) == ["unknown"]
    archive.recorder.settle([(key, SendOutcome("accepted", message_id="m", http_status=202), request, None)])
    assert states(archive) == ["accepted"]


def test_a_forked_process_is_another_owner(archive: vk.Archive) -> None:
    request = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": {"contentType": "text", "text": "Hello"}}
    archive.recorder.begin(request, None, deduplicate=False)
    child = multiprocessing.get_context("fork").Process(target=vk.Archive, args=[url_of(archive)])
    child.start()
    child.join(30)
    assert (child.exitcode, states(archive)) == (0, ["in_flight"])
