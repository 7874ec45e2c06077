"""What only an archive in PostgreSQL has: durability that is checked, hidden passwords, roles, lost connections."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from support.archives import execute, record_callback, record_sent
from support.postgres import PASSWORD, PostgresServer

import viberkit as vk
from viberkit.archive import copying
from viberkit.archive.copying import copy_archive
from viberkit.cli import main as cli
from viberkit.errors import ArchiveError
from viberkit.models.callback import Callback
from viberkit.models.phone import mask
from viberkit.models.records import Response, SendOutcome

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
TO = "+491701234567"
SCHEMES = ("postgresql+psycopg", "postgresql+psycopg2", "POSTGRESQL", " postgresql")
CONTENT = {"contentType": "text", "text": "call +43 664 1234567"}
REQUEST = {"to": TO, "from": "SHOP", "rateType": "transaction", "content": CONTENT}


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def filled(url: str) -> Iterator[vk.Archive]:
    """An archive with one message, a callback about it, and an answer."""
    with vk.Archive(url, create=True) as archive:
        record_sent(archive, "m", REQUEST, Response(202, b'{"messageId": "m"}', NOW, {}))
        archive.recorder.begin({**REQUEST, "to": "+43664123456"}, "order 7", deduplicate=False)
        status = {"event": "MessageStatus::delivered", "messageId": "m", "timestamp": "2026-01-05T08:00:01Z"}
        answer = {"event": "MoMessage", "messageId": "5", "from": TO, "to": "SHOP", "timestamp": "2026-01-05T09:00:00Z"}
        answer["content"] = {"contentType": "text", "text": f"no, call {TO}"}
        for body in (status, answer):
            record_callback(archive, json.dumps(body).encode(), NOW)
        yield archive


# --- durable commits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["synchronous_commit"])
def test_commits_that_are_not_durable_are_refused(postgres: PostgresServer, url: str, setting: str) -> None:
    database = url.rpartition("/")[2]
    execute(url, f"ALTER DATABASE {database} SET {setting} = off")
    with pytest.raises(ArchiveError, match=f"{setting} is off, so that data can be lost; set it to on"):
        vk.Archive(url, create=True)
    execute(url, f"ALTER DATABASE {database} RESET {setting}")
    with vk.Archive(url, create=True) as archive:
        execute(url, f"ALTER DATABASE {database} SET {setting} = off")
        [(value,)] = archive._database.run(
            lambda connection: connection.exec_driver_sql(f"SHOW {setting}").fetchall(), write=True
        )
        assert value == "on", "a session keeps its setting"


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_loses_data_is_refused(postgres: PostgresServer, url: str, setting: str) -> None:
    postgres.stop("fast")
    postgres.start(f"-c {setting}=off")
    try:
        with pytest.raises(ArchiveError, match=f"{setting} is off"):
            vk.Archive(url, create=True)
    finally:
        postgres.stop("fast")
        postgres.start()


# --- the password ------------------------------------------------------------------------------------------


def test_the_password_is_shown_nowhere(postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_password = url.replace("viberkit@", f"secret:{PASSWORD}@")
    with vk.Archive(with_password, create=True) as archive:
        shown = [repr(archive), archive._repr_html_(), repr(vars(archive)), repr(vars(archive._database))]
        shown.append(repr(archive._database.engine))
        archive.recorder.begin(REQUEST, None, deduplicate=False)
    wrong, nowhere = PASSWORD + "-wrong", url.replace("127.0.0.1", "127.0.0.1:1", 1).replace(":1:", ":1/x?port=")
    urls = [
        url.replace("viberkit@", f"secret:{wrong}@"),
        f"{url}?password={wrong}&user=secret",
        f"{url}x?password={wrong}",
    ]
    urls += [
        f"postgresql://secret:{wrong}@127.0.0.1:1/x",
        f"postgresql://secret:{wrong}@[::1/x",
        f"postgresql://a:{wrong}@h/x?y=1",
    ]
    urls += [f"postgresql://secret:{wrong}@127.0.0.1:{postgres.port}/no%20database", nowhere]
    urls += [url.replace("viberkit@", f"secret:{text}@") for text in (f"{wrong}/x", f"x@{wrong}", f"{wrong}%zz")]
    urls += [url.replace("postgresql:", f"{scheme}:").replace("viberkit@", f"secret:{wrong}@") for scheme in SCHEMES]
    urls += [f"host=127.0.0.1 port={postgres.port} user=secret password={wrong}"]
    for broken, opened in itertools.product(urls, (partial(vk.Archive, create=True), vk.EventLog)):
        with pytest.raises(ArchiveError) as caught:
            opened(broken)
        shown += [repr(caught.value), str(caught.value)]
        error: BaseException | None = caught.value
        while error is not None:
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            own = [line for line in report.format() if "test_postgres" not in line]  # this function has the URL
            shown += own
            error = error.__cause__ or error.__context__
    assert not [text for text in shown if PASSWORD in text]
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with vk.Archive(url.replace("viberkit@", "secret@"), create=False) as archive:
        assert len(archive.outbox()) == 1


# --- roles -------------------------------------------------------------------------------------------------


@pytest.fixture
def roles(filled: vk.Archive, url: str) -> Iterator[dict[str, str]]:
    """The URLs of roles that only read or write."""
    for role in ("reader", "writer"):
        execute(url, f'CREATE ROLE "{role}" LOGIN')
    filled.grant("reader", "read")
    filled.grant("writer", "write")
    yield {role: url.replace("viberkit@", f"{role}@") for role in ("reader", "writer")}
    for role in ("reader", "writer"):
        execute(url, f'DROP OWNED BY "{role}"')
        execute(url, f'DROP ROLE "{role}"')


def test_a_reader_sees_masked_numbers_only(filled: vk.Archive, roles: dict[str, str]) -> None:
    with vk.Archive(roles["reader"]) as archive:
        assert archive.messages()["to"].tolist() == filled.messages()["to"].tolist()
        assert archive.outbox()["to"].tolist() == filled.outbox()["to"].tolist() == ["+4366*****56"]
        assert archive.inbound()["sender"].tolist() == filled.inbound()["sender"].tolist()
        assert archive.events()[["message_id", "state"]].equals(filled.events()[["message_id", "state"]])
        assert archive.messages()["text"].tolist() == ["call *****"]
        assert archive.inbound()[["text", "answers"]].iloc[0].isna().tolist() == [False, True]
        assert filled.inbound()["answers"].tolist() == ["m"]
        assert len(archive.callbacks()) == 2
        for frame in (archive.statuses(), archive.listening(), archive.gaps(), archive.unreadable(), archive.events()):
            assert "1701234567" not in frame.to_csv()
        for read in (archive.messages, archive.inbound, archive.outbox, archive.callbacks, archive.unreadable):
            assert "1701234567" not in read().to_csv()
            with pytest.raises(ArchiveError, match="sees masked phone numbers only"):
                read(unmask=True)
        assert vk.journeys(archive.events())["outcome"].tolist() == ["delivered"]
        with pytest.raises(ArchiveError, match=r"cannot|permission denied|masked"):
            archive.recorder.record_callbacks([Callback(b"{}", NOW)])
        assert "Archive" in archive._repr_html_()
    for table in ("messages", "outbox", "raw", "inbound", "identity"):
        with pytest.raises(Exception, match="permission denied"):
            execute(roles["reader"], f"SELECT * FROM public.{table}")


def test_numbers_are_masked_as_elsewhere(filled: vk.Archive, url: str) -> None:
    numbers = [
        TO,
        "0049 (170) 123-45.67",
        "",
        "1",
        "12",
        "123",
        "12345678",
        "+43\u00a0664\u20111234\u2013567",
        "nobody",
        "abcdefghij",
    ]
    for number in numbers:
        [(shown,)] = execute(url, "SELECT viberkit_masked.mask(:number)", number=number)
        assert shown == mask(number)
    for text in (f"call {TO}!", "tel:+49 170 1234567", "00491701234567", "(0170) 1234567"):
        [(shown,)] = execute(url, "SELECT viberkit_masked.mask_numbers(:text)", text=text)
        assert not re.search(r"\d{3}", shown), shown


def test_a_writer_sends_listens_and_collects(roles: dict[str, str], sandbox: vk.Sandbox) -> None:
    with vk.Archive(roles["writer"]) as archive, sandbox.client(archive=archive) as client:
        with vk.Listener(archive, now=lambda: sandbox.now) as listener:
            listener.configure(client)
            client.send(TO, vk.Text("Hello"), rate_type="transaction")
            campaign = vk.Campaign.plan(archive, "c", [TO], vk.Text("Hi"), rate_type="transaction")
            campaign.send(client, confirm=campaign.preview().confirm, progress=False)
            sandbox.advance(days=15)
        assert vk.collect(client, archive, progress=False, include_final=True).expired == 1, "m is not of the sandbox"
        assert (archive.outbox()["state"] == "accepted").sum() == 2
        with pytest.raises(ArchiveError, match=r"permission denied|must be owner"):
            archive.grant("reader", "write")
    for command in ("DELETE FROM raw", "DROP TABLE raw", "CREATE TABLE viberkit_masked.x (y int)", "TRUNCATE messages"):
        with pytest.raises(Exception, match=r"permission denied|must be owner"):
            execute(roles["writer"], command)


# --- other databases ---------------------------------------------------------------------------------------


def test_a_missing_or_other_database(url: str) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        vk.Archive(url, create=False)
    with pytest.warns(UserWarning, match="is a new archive"):
        vk.Archive(url).close()
    vk.Archive(url, create=False).close()
    execute(url, "DROP SCHEMA public CASCADE")
    execute(url, "CREATE SCHEMA public")
    execute(url, "CREATE TABLE customers (name TEXT)")
    with pytest.raises(ArchiveError, match="it is not an archive"):
        vk.Archive(url, create=True)


def test_a_file_may_have_the_name_of_a_database() -> None:
    vk.Archive("postgresql.db", create=True).close()
    vk.Archive("sqlite:///postgresql.db", create=False).close()


# --- many processes, lost connections ----------------------------------------------------------------------

_RECORD = """
import sys, viberkit as vk
from datetime import UTC, datetime
from viberkit.models.callback import Callback
states = ("accepted", "dispatched", "delivered", "seen")
with vk.Archive(sys.argv[1]) as archive:
    numbers = range(40) if sys.argv[2] == "0" else range(39, -1, -1)
    for start in range(4):
        body = '{"event": "MessageStatus::%s", "messageId": "m%d", "timestamp": "2026-01-05T08:00:0%dZ"}'
        callbacks = [Callback((body % (states[start], n, start)).encode(), datetime.now(UTC)) for n in numbers]
        archive.recorder.record_callbacks(callbacks)
    archive.recorder.derive()
"""


def test_listeners_with_the_same_callbacks_in_another_order(url: str) -> None:
    """They block each other; the server ends one of the transactions, which is repeated."""
    vk.Archive(url, create=True).close()
    processes = [subprocess.Popen([sys.executable, "-c", _RECORD, url, str(n % 2)]) for n in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    with vk.Archive(url) as archive:
        assert len(archive.callbacks()) == 160
        assert archive.recorder.derive() == 0
        assert len(archive.events()) == 160
        assert set(archive.messages()["state"]) == {"seen"}


def test_sends_of_a_lost_session_become_unknown_and_are_settled_by_their_process(url: str) -> None:
    with vk.Archive(url, create=True) as archive:
        key = str(archive.recorder.begin(REQUEST, None, deduplicate=False))
        ready, go = threading.Event(), threading.Event()
        keys: list[str] = []

        def send() -> None:
            keys.append(str(archive.recorder.begin({**REQUEST, "to": "+43664123456"}, None, deduplicate=False)))
            ready.set()
            go.wait(30)
            outcome = SendOutcome("accepted", message_id="x", http_status=202)
            archive.recorder.settle([(keys[0], outcome, REQUEST, None)])

        thread = threading.Thread(target=send)
        thread.start()
        assert ready.wait(30)
        execute(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()",
        )
        time.sleep(0.2)
        command = [sys.executable, "-c", "import sys, viberkit as vk; vk.Archive(sys.argv[1])", url]
        assert subprocess.run(command, check=False).returncode == 0
        assert archive.outbox()["state"].tolist() == ["unknown", "unknown"]
        go.set()
        thread.join()
        assert archive.outbox().set_index("key")["state"].to_dict() == {key: "unknown", keys[0]: "accepted"}


def test_an_outcome_that_is_repeated_does_not_release_what_another_process_sends(url: str) -> None:
    """The first process does not know whether its commit was written, and repeats it."""
    with vk.Archive(url, create=True) as archive:
        key = str(archive.recorder.begin(REQUEST, None, deduplicate=False))
        queued = [(key, SendOutcome("queued", "429"), REQUEST, None)]
        archive.recorder.settle(queued)
        script = (
            "import json, sys, viberkit as vk\n"
            "vk.Archive(sys.argv[1]).recorder.begin(json.loads(sys.argv[2]), None, deduplicate=False)\n"
            "print('', flush=True)\n"
            "input()\n"
        )
        command = [sys.executable, "-c", script, url, json.dumps(REQUEST)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            assert archive.outbox()[["key", "state"]].values.tolist() == [[key, "in_flight"]]
            archive.recorder.settle(queued)
            assert archive.outbox()["state"].tolist() == ["in_flight"]
            other.kill()
        with vk.Archive(url):
            archive.recorder.settle(queued)
            assert archive.outbox()["state"].tolist() == ["unknown"]


def test_outcomes_wait_for_a_server_that_restarts(postgres: PostgresServer, url: str) -> None:
    with vk.Archive(url, create=True) as archive:
        key = str(archive.recorder.begin(REQUEST, None, deduplicate=False))
        postgres.stop()
        restart = threading.Timer(1, postgres.start)
        restart.start()
        outcome = SendOutcome("accepted", message_id="m", http_status=202)
        try:
            archive.recorder.settle([(key, outcome, REQUEST, Response(202, b'{"messageId": "m"}', NOW, {}))])
        finally:
            restart.join()
        assert archive.outbox()["state"].tolist() == ["accepted"]
        assert len(archive.messages()) == 1


# --- moving an archive -------------------------------------------------------------------------------------


def fill(archive: vk.Archive) -> None:
    """Rows in every table."""
    with vk.Sandbox(seed=1, speed=0) as sandbox, sandbox.client(archive=archive) as client:
        with vk.Listener(archive, now=lambda: sandbox.now) as listener:
            listener.configure(client)
            people = [f"+49170{3_000_000 + number}" for number in range(60)]
            campaign = vk.Campaign.plan(
                archive, "spring", people, vk.Text("Grüße 👋"), rate_type="promotion", price=0.03
            )
            campaign.send(client, confirm=campaign.preview().confirm, progress=False)
            sandbox.advance(days=1)
        client.status(archive.messages()["message_id"][0])
        vk.collect(client, archive, progress=False)
    record_callback(archive, b"\xff\x00 not JSON", NOW)
    answer = {"event": "MoMessage", "messageId": "5", "from": TO, "timestamp": "2026-01-05T09:00:00Z"}
    record_callback(archive, json.dumps({**answer, "content": {"contentType": "text", "text": "no"}}).encode(), NOW)


def frames(archive: vk.Archive) -> dict[str, pd.DataFrame]:
    names = ("messages", "statuses", "inbound", "events", "callbacks", "listening", "unreadable", "outbox", "gaps")
    return {name: getattr(archive, name)() for name in names}


def test_an_archive_is_copied(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_CHUNK", 7)
    with vk.Archive(tmp_path / "a.db", create=True) as source:
        fill(source)
        expected, reported = frames(source), []

        def stop(text: str) -> None:
            reported.append(text)
            if len(reported) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            copy_archive(source, url, stop)
        for opened in (vk.Archive, vk.EventLog):
            with pytest.raises(ArchiveError, match="is an unfinished copy; run viberkit archive copy again"):
                opened(url)
        record_callback(source, b"{}", NOW)  # a row of a table that is copied already, and changes of another
        execute(source.path, "UPDATE messages SET channel = 'sms' WHERE rowid = 1")
        expected = frames(source)
        with pytest.raises(ArchiveError, match="messages differs"):
            copy_archive(source, url, print)
        counts = copy_archive(source, url, print)
        assert counts["outbox"] == 60
        assert min(counts.values()) >= 1
        with pytest.raises(ArchiveError, match="is neither empty nor an unfinished copy"):
            copy_archive(source, url, print)
        with vk.Archive(url) as target:
            for name, frame in frames(target).items():
                pd.testing.assert_frame_equal(frame, expected[name])
            assert target.raw_bodies("callback") == source.raw_bodies("callback")
            record_callback(target, b"[]", NOW)
            assert target.raw_bodies("callback")[-1] == b"[]"
            with vk.Sandbox(seed=2, speed=0) as sandbox, sandbox.client(archive=target) as client:
                client.send(TO, vk.Text("Hello"), rate_type="transaction")
                spring = vk.Campaign.open(target, "spring")
                assert spring.send(client, confirm=spring.confirmed or "", progress=False).counts == {"accepted": 60}
                assert len(sandbox.requests) == 1, "nobody gets the campaign twice"


def test_a_copy_of_an_archive_that_sends_is_refused(url: str, tmp_path: Path) -> None:
    with vk.Archive(tmp_path / "a.db", create=True) as source:
        source.recorder.begin(REQUEST, None, deduplicate=False)
        with pytest.raises(ArchiveError, match="messages are being sent"):
            copy_archive(source, url, print)


def test_the_command_copies_and_the_password_is_not_shown(
    postgres: PostgresServer, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vk.Archive("deliveries.db", create=True).close()
    target = url.replace("viberkit@", f"secret:{PASSWORD}@")
    for arguments, code in (
        (["archive", "copy", "deliveries.db", target], 0),
        (["archive", "copy", "deliveries.db", target], 1),
        (["archive", "copy", target, "deliveries.db"], 2),
        (["archive", "copy", "missing.db", target], 2),
        (["export", "x.csv", "--archive", target], 0),
        (["status", "m", "--archive", target + "x"], 1),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == code
    shown = "".join(capsys.readouterr())
    assert "0 rows copied and verified; rename deliveries.db" in shown
    assert PASSWORD not in shown
