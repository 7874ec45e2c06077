"""The heartbeat of a listener: it is stored while callbacks can be stored, and not otherwise."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import requests
from support.archives import url_of
from support.waiting import wait_for

import viberkit as vk
from viberkit.callbacks import writer

BODY = {"event": "MessageStatus::accepted", "messageId": "m", "timestamp": "2026-01-05T08:00:01.250Z"}
BEAT_S = 0.05


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats follow one another quickly."""
    monkeypatch.setattr(writer, "HEARTBEAT_S", BEAT_S)


def periods(archive: vk.Archive) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    return [(row.began_at, row.last_at) for row in archive.listening().itertuples()]


def test_a_listener_that_receives_nothing_says_that_it_lives(archive: vk.Archive, often: None) -> None:
    before = datetime.now(UTC)
    with vk.Listener(archive) as listener:
        wait_for(lambda: archive.listening().size)
        first = periods(archive)[0]
        wait_for(lambda: periods(archive)[0][1] > first[1] + timedelta(seconds=4 * BEAT_S))
        requests.post(listener.url, json=BODY, timeout=5)
        wait_for(lambda: periods(archive)[0][1] > pd.Timestamp.now(UTC) - timedelta(seconds=1))
    stopped = datetime.now(UTC)
    (period,) = periods(archive)
    assert before <= period[0] == first[0]
    assert period[1] <= stopped
    assert archive.messages()["observed_until"].tolist() == [period[1]]
    time.sleep(3 * BEAT_S)
    assert periods(archive) == [period]


def test_the_last_heartbeat_is_when_the_listener_stops(archive: vk.Archive) -> None:
    with vk.Listener(archive) as listener:
        requests.post(listener.url, json=BODY, timeout=5)
        time.sleep(0.2)
        stopping = datetime.now(UTC)
    assert archive.messages()["observed_until"][0] >= stopping
    with vk.Listener(archive):
        pass
    assert len(periods(archive)) == 2, "between the two, callbacks may have been missed"


def test_a_clock_of_the_callbacks_that_runs_faster(archive: vk.Archive) -> None:
    """A callback a virtual hour later extends the period, before it is answered."""
    now = datetime(2026, 1, 5, 8, tzinfo=UTC)
    with vk.Listener(archive, now=lambda: now) as listener:
        for _ in range(5):
            now += timedelta(hours=1)
            requests.post(listener.url, json=BODY, timeout=5)
            assert archive.listening()["last_at"].tolist() == [now]
    assert len(periods(archive)) == 1


def test_a_computer_that_slept_has_missed_callbacks(
    archive: vk.Archive, often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s, real = 0.0, time.time
    monkeypatch.setattr(writer.time, "time", lambda: real() + slept_s)
    with vk.Listener(archive):
        wait_for(lambda: archive.listening().size)
        slept_s = 3600.0
        wait_for(lambda: len(periods(archive)) == 2)
        slept_s = -3600.0  # a clock that is set back
        wait_for(lambda: len(periods(archive)) == 3)


@pytest.mark.sqlite
def test_no_heartbeat_while_nothing_can_be_stored(archive: vk.Archive, often: None) -> None:
    """Another process holds the lock of the archive."""
    with vk.Listener(archive):
        wait_for(lambda: archive.listening().size)
        other = sqlite3.connect(archive.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(BEAT_S)
        before = other.execute("SELECT max(last_at) FROM listening").fetchone()
        time.sleep(5 * BEAT_S)
        assert other.execute("SELECT max(last_at) FROM listening").fetchone() == before
        other.execute("COMMIT")
        other.close()
        wait_for(lambda: len(periods(archive)) == 2)


@pytest.mark.sqlite
def test_an_archive_that_is_replaced_gets_a_period_of_its_own(archive: vk.Archive) -> None:
    """No heartbeat is due while the file is replaced: SQLite does not allow a move during a transaction."""
    with vk.Listener(archive) as listener:
        wait_for(lambda: archive.listening().size)
        moved = archive.path.rename(archive.path.with_name("moved.db"))
        with vk.Archive(archive.path) as new:
            archive.close()
            wait_for(lambda: requests.post(listener.url, json=BODY, timeout=5).status_code == 204)
    with vk.Archive(moved) as old, vk.Archive(new.path) as new:
        assert len(periods(old)) == len(periods(new)) == 1


SCRIPT = """
import sys, time, viberkit as vk
from viberkit.callbacks import writer
writer.HEARTBEAT_S = 0.05
with vk.Archive(sys.argv[1]) as archive, vk.Listener(archive) as listener:
    print(listener.url, flush=True)
    time.sleep(60)
"""


def test_a_listener_that_is_killed_is_there_until_its_last_heartbeat(archive: vk.Archive) -> None:
    command = [sys.executable, "-c", SCRIPT, url_of(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        requests.post(url, data=json.dumps(BODY), headers={"content-type": "application/json"}, timeout=5)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    killed = datetime.now(UTC)
    (until,) = archive.messages()["observed_until"]
    assert killed - timedelta(seconds=5) < until <= killed
    assert until == archive.listening()["last_at"][0] > archive.callbacks()["received_at"][0]
