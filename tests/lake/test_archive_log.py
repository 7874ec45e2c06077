"""An archive in PostgreSQL as an event log: its view has the rows of ``archive.events()``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pandas.testing import assert_frame_equal
from support.archives import execute, record_callback, record_sent, url_of
from support.event_logs import round_journeys, rounded
from support.postgres import ENABLED

import viberkit as vk
from viberkit.analysis import latency as latency_module
from viberkit.archive import tables
from viberkit.models.callback import Callback
from viberkit.models.records import Response

pytestmark = pytest.mark.skipif(not ENABLED, reason="tests of PostgreSQL run with VIBERKIT_POSTGRES=1")
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
NUMBERS = ("+491701234567", "+436641234567", "12042345678", "nobody")
REQUEST = {"from": "S", "channel": "viber", "rateType": "promotion", "content": {"contentType": "text", "text": "a"}}
FACTS = ["rate_type", "content_type", "service_id", "campaign", "country"]


@pytest.fixture
def url(archive: vk.Archive) -> str:
    return url_of(archive)


@pytest.fixture
def reader(archive: vk.Archive, url: str) -> Iterator[str]:
    """The URL of a role that sees masked numbers only."""
    execute(url, 'CREATE ROLE "reader" LOGIN')
    archive.grant("reader", "read")
    yield url.replace("viberkit@", "reader@")
    execute(url, 'DROP OWNED BY "reader"')
    execute(url, 'DROP ROLE "reader"')


def send(archive: vk.Archive, number: int, seconds: float, service_id: str = "S") -> None:
    request = {**REQUEST, "to": NUMBERS[number % len(NUMBERS)], "from": service_id}
    at = NOW + timedelta(seconds=seconds)
    body = json.dumps({"messageId": f"m{number}", "acceptedAt": at.isoformat()}).encode()
    record_sent(archive, f"m{number}", request, Response(202, body, at, {}))


def event(number: int, state: str, seconds: float) -> dict[str, Any]:
    stamp = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"event": state, "messageId": f"m{number}", "timestamp": stamp}


def fill(archive: vk.Archive, messages: int = 400) -> None:
    """Messages in 4 countries, with callbacks while a listener runs, and with histories."""
    random = np.random.default_rng(1)
    period = 0
    for number in range(messages):
        send(archive, number, number * 7.3)
        later = float(random.lognormal(1.0, 1.3))
        if number % 3:
            steps = [("dispatched", 0.4 + later / 20), ("delivered", later), ("seen", later * 3)][: 1 + number % 4]
            callbacks = [(event(number, state, number * 7.3 + at), number * 7.3 + at + 0.2) for state, at in steps]
            received = [Callback(json.dumps(body).encode(), NOW + timedelta(seconds=at)) for body, at in callbacks]
            period = archive.recorder.record_callbacks(received, NOW + timedelta(seconds=number * 7.3 + 90), period)
        elif number % 2:
            body = {"messageId": f"m{number}", "events": [event(number, "delivered", number * 7.3 + later)]}
            seen_at = NOW + timedelta(seconds=number * 7.3 + 3600)
            archive.recorder.record("events", [(f"m{number}", Response(200, json.dumps(body).encode(), seen_at, {}))])


def rows(frame: pd.DataFrame) -> pd.DataFrame:
    names = ["message_id", "state", "happened_at", "source", "channel", "code", "detail", "naive", "received_at"]
    names += ["observed_until", "not_before", *FACTS]
    texts = [name for name in names if name not in ("naive", "happened_at")]
    frame = frame[names].copy()
    for name in texts:
        values = frame[name]
        frame[name] = values.astype("str").where(values.notna(), "-") if len(frame) else values.astype("str")
    return frame.sort_values(["message_id", "state", "happened_at"], ignore_index=True)


def assert_same(archive: vk.Archive, url: str) -> None:
    assert_frame_equal(rows(vk.EventLog(url).to_frame()), rows(archive.events()), check_dtype=False)


@pytest.mark.parametrize("function", [vk.time_to, vk.delivery_curve, vk.over_time])
def test_the_figures_are_those_of_the_archive(archive: vk.Archive, url: str, reader: str, function: Any) -> None:
    fill(archive)
    journeys = round_journeys(vk.journeys(archive.events()))
    journeys["country"] = journeys["country"].astype("str")
    expected = function(journeys, by="country")
    assert set(expected["country"].dropna()) == {"DE", "AT", "CA"}
    for address in (url, reader):
        assert_frame_equal(function(vk.EventLog(address), by="country"), expected, rtol=1e-9)


def test_latency_by_country_is_that_of_the_archive(archive: vk.Archive, url: str, reader: str) -> None:
    fill(archive)
    events = archive.events().astype({"country": "str"})
    transitions, waiting = latency_module._prepare(events, ["country"], None, "UTC")
    assert waiting is not None
    for frame, name in ((transitions, "latency_s"), (waiting, "waited_s")):
        frame[name] = rounded(np.rint(frame[name] * 1e6).astype("int64")) / 1e6
    quantiles = [0.5, 0.9, 0.95, 0.99]
    expected = latency_module._estimate(transitions, waiting, ["country"], quantiles, 0.95, are_tried=True)
    for address in (url, reader):
        result = vk.latency(vk.EventLog(address), by="country").drop(columns="slowest_share")
        assert_frame_equal(result, expected.drop(columns="slowest_share"), rtol=1e-9)


def test_roles_and_other_tables(archive: vk.Archive, url: str, reader: str) -> None:
    fill(archive, 20)
    execute(url, 'CREATE ROLE "writer" LOGIN')
    archive.grant("writer", "write")
    execute(url, "CREATE SCHEMA other")
    execute(url, "CREATE TABLE other.events AS SELECT 'a' AS message_id, 'seen' AS state, 5::bigint AS happened_us")
    try:
        for address in (url, reader, url.replace("viberkit@", "writer@")):
            log = vk.EventLog(address)
            assert repr(log) == "EventLog(an archive in PostgreSQL)"
            assert log.values("country").iloc[0]["n_events"] > 0
            assert {*FACTS, "channel"} <= {*log.columns}
            assert "1701234" not in log.to_frame().to_csv()
            assert "to" not in log.columns
        assert vk.EventLog(url, table="other.events").values("state")["n_events"].tolist() == [1]
        with vk.Archive(reader) as masked:
            assert masked.events()["country"].tolist() == archive.events()["country"].tolist()
    finally:
        execute(url, 'DROP OWNED BY "writer"')
        execute(url, 'DROP ROLE "writer"')


def test_an_archive_of_an_earlier_version_gets_countries_and_the_view(archive: vk.Archive, url: str) -> None:
    fill(archive, 30)
    expected = archive.messages()
    execute(url, "DROP VIEW viberkit_masked.event_log")
    execute(url, "DROP VIEW viberkit_masked.messages")
    execute(url, "ALTER TABLE messages DROP COLUMN country")
    execute(url, f"UPDATE viberkit_version SET version = {len(tables.MIGRATIONS)}")
    with pytest.raises(vk.errors.MissingColumn, match="happened_us"):
        vk.EventLog(url)
    with vk.Archive(url) as opened:
        assert_frame_equal(opened.messages(), expected)
        assert_same(opened, url)


@pytest.fixture(scope="module")
def archive_of_module(new_archive_url: Callable[[], AbstractContextManager[str]]) -> Iterator[vk.Archive]:
    with new_archive_url() as url, vk.Archive(url) as archive:
        yield archive


SECONDS = st.integers(0, 30)
STATES = ["accepted", "dispatched", "delivered", "seen", "failed", "unknown", "teleported"]
LOOKS = st.tuples(
    st.sampled_from(["sent", "status", "timed", "events", "callback"]),
    st.integers(0, 3),
    st.sampled_from(STATES),
    SECONDS,
    SECONDS,
)


@given(
    looks=st.lists(LOOKS, max_size=14),
    periods=st.lists(st.tuples(SECONDS, st.integers(0, 12)), max_size=4),
    listened=st.booleans(),
)
@settings(
    max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "30")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_the_view_has_the_events_of_any_archive(
    archive_of_module: vk.Archive, looks: list[Any], periods: list[tuple[int, int]], listened: bool
) -> None:
    archive, url = archive_of_module, url_of(archive_of_module)
    for table in ("raw", "messages", "statuses", "events", "listening"):
        execute(url, f"DELETE FROM {table}")
    for what, number, state, at, seen in looks:
        received = NOW + timedelta(seconds=seen)
        if what == "sent":
            send(archive, number, seen, service_id="ST"[number % 2])
        elif what == "callback":
            record_callback(archive, json.dumps(event(number, state, at)).encode(), received)
        else:
            reported: dict[str, Any] = {"messageId": f"m{number}", "events": [event(number, state, at)]}
            if what != "events":
                reported = {"messageId": f"m{number}", "status": state}
                reported |= {"timestamp": event(number, state, at)["timestamp"]} if what == "timed" else {}
            response = Response(200, json.dumps(reported).encode(), received, {})
            archive.recorder.record("events" if what == "events" else "status", [(f"m{number}", response)])
    for began, length in periods if listened else ():
        values = {"began": began * 10**6, "ended": (began + length) * 10**6, "now": int(NOW.timestamp()) * 10**6}
        execute(url, "INSERT INTO listening (began_at, last_at) VALUES (:now + :began, :now + :ended)", **values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(archive, url)
