"""The sandbox over real HTTP: every call in every dialect, rejected requests, virtual time and callbacks."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf, nan

import pytest
import requests
from support.faults import FaultySandbox

from viberkit.callbacks.server import ThreadServer
from viberkit.errors import ConfigurationError, InvalidRequest
from viberkit.models import callback as callbacks, parsing as wire
from viberkit.models.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video, to_wire
from viberkit.sandbox.delivery_model import DeliveryModel
from viberkit.sandbox.sandbox import Sandbox

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
TO = "+491701234567"
PLAIN = DeliveryModel(failed_share=0, open_share=0, away_share=0, seen_share=1, duplicate_share=0, disorder_share=0)
BUTTON = Button("Go", "https://example.org/go")
CONTENTS = [
    Text("Hello"),
    Image("https://example.org/a.png"),
    File("https://example.org/a.pdf", "a.pdf"),
    Video("https://example.org/a.mp4", "https://example.org/a.png", 3, 20),
    Text("Hello", button=BUTTON),
    Text("Hello", image="https://example.org/a.png", button=BUTTON),
    List("Which?", ["tea", "coffee"]),
    Carousel("Look", [CarouselItem(name, "https://example.org/a.png", BUTTON, BUTTON) for name in ("one", "two")]),
]


class Web:
    """A plain HTTP client with the API key, so that the tests see the JSON of the API."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["apikey"] = sandbox.api_key

    def __call__(self, method: str, path: str, **options) -> requests.Response:
        options = {"timeout": 5, "allow_redirects": False} | options
        return self.session.request(method, self.sandbox.base_url + path, **options)

    def send(self, to: str = TO, content=None, **more) -> requests.Response:
        return self("POST", "/messages", json=request_to(to, content, **more))

    def accepted(self, to: str = TO, content=None, **more) -> str:
        response = self.send(to, content, **more)
        assert response.status_code == 202, response.text
        return response.json()["messageId"]


def request_to(to: str = TO, content=None, **more) -> dict:
    content = {"contentType": "text", "text": "Hello"} if content is None else content
    payload = {"to": to, "from": "VIBERKIT", "channel": "viber", "rateType": "promotion", "content": content} | more
    return {name: value for name, value in payload.items() if value is not ...}


@pytest.fixture
def create():
    """Create sandboxes whose time stands still, each with a plain client."""
    clients = []

    def create_sandbox(**options) -> Web:
        clients.append(web := Web(FaultySandbox(**{"seed": 7, "speed": 0, "model": PLAIN} | options)))
        return web

    yield create_sandbox
    for web in clients:
        web.session.close()
        web.sandbox.stop()


@pytest.fixture(scope="module", params=["guide", "v2", "v3"])
def dialect_web(request):
    """A sandbox for several tests, in each dialect."""
    with FaultySandbox(seed=7, speed=0, model=PLAIN, dialect=request.param) as sandbox:
        web = Web(sandbox)
        yield web
        web.session.close()


@pytest.fixture(scope="module")
def shared_web():
    """A sandbox for several tests whose requests are rejected."""
    with FaultySandbox(seed=7, speed=0, model=PLAIN) as sandbox:
        web = Web(sandbox)
        yield web
        web.session.close()


@pytest.fixture
def receiver():
    """A server that records requests and responds with the next of ``statuses``, or 200."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.requests.append((self.path, dict(self.headers), body))
            self.send_response(server.statuses.pop(0) if server.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# --- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "response", "channel", "history", "states"),
    [
        (
            "guide",
            {"messageId"},
            "deliveryChannel",
            "history",
            [
                "message-accepted",
                "message-routing-success",
                "message-dispatching-success",
                "message-delivered",
                "message-seen",
            ],
        ),
        ("v2", {"messageId", "acceptedAt"}, "deliveryChannel", "history", ["accepted", "dispatched", "success"]),
        (
            "v3",
            {"messageId", "acceptedAt", "timestamp"},
            "channel",
            "events",
            [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "delivered", "seen")],
        ),
    ],
)
def test_each_dialect_reports_the_same_journey(create, dialect, response, channel, history, states):
    web = create(dialect=dialect)
    payload = web.send(context="order 1").json()
    assert set(payload) == response
    message_id = payload["messageId"]
    assert web("GET", f"/messages/{message_id}/status").json() == {
        "messageId": message_id,
        channel: "viber",
        "status": "accepted",
        "timestamp": "2026-01-05T08:00:00.000Z",
    }
    web.sandbox.advance(days=2)
    status = web("GET", f"/messages/{message_id}/status").json()
    assert status["status"] == "seen"
    events = web("GET", f"/messages/{message_id}/events").json()
    assert [event.get("state", event.get("event")) for event in events[history]] == states

    truth = web.sandbox.truth().set_index("state")["happened_at"]
    assert list(truth.index) == ["accepted", "routed", "dispatched", "delivered", "seen"]
    reading = wire.read_record(events)
    assert not reading.skipped
    assert all(truth[event.state] == event.happened_at for event in reading.events)
    assert wire.read_status(status).since == truth["seen"]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content).__name__)
def test_stored_content_equals_sent_content(dialect_web, content):
    web = dialect_web
    message_id = web.accepted(content=to_wire(content))
    stored = wire.read_message(web("GET", f"/messages/{message_id}").json())
    assert (stored.message_id, stored.rate_type, stored.service_id) == (message_id, "promotion", "VIBERKIT")
    assert stored.content == content


def test_mixed_dialects_use_all_three_and_do_not_change_for_a_message(create):
    web = create(dialect="mixed")
    ids = [web.accepted(f"+4917012345{n:02}") for n in range(30)]
    payload = [web("GET", f"/messages/{message_id}/events").text for message_id in ids]
    fields = ("happendAt", "happenedAt", '"timestamp"')
    reported = [next(field for field in fields if field in text) for text in payload]
    assert set(reported) == set(fields)
    web.sandbox.advance(days=1)
    later = [web("GET", f"/messages/{message_id}/events").text for message_id in ids]
    assert all(field in text for field, text in zip(reported, later, strict=True))


def test_paths_of_the_guide(create):
    web = create(dialect="guide", paths="guide")
    message_id = web.accepted()
    for path in (f"/{message_id}/status", f"/{message_id}/events", f"/messages/{message_id}/history"):
        assert web("GET", path).json()["messageId"] == message_id
    for path in (f"/messages/{message_id}/status", f"/messages/{message_id}/events"):
        refused = web("GET", path)
        assert refused.status_code == 404
        assert "problem" not in refused.headers["content-type"]
    assert web("PUT", "/configurations/callbacks", json={"callbackVersion": "2.11"}).status_code == 204
    assert create(dialect="v3")("GET", f"/{message_id}/status").headers["content-type"] == "text/html"


@pytest.mark.parametrize(("count", "status"), [(1, 400), (2, 202), (20, 202), (21, 400)])
def test_size_of_a_bulk(create, count, status):
    web = create()
    request = request_to(content=..., messages=[to_wire(Text(f"part {n}")) for n in range(count)])
    response = web("POST", "/bulks", json=request)
    assert response.status_code == status
    if status == 202:
        bulk = wire.read_accepted(response.json(), bulk=True)
        assert len(set(bulk.message_ids)) == count
        texts = [
            wire.read_message(web("GET", f"/messages/{message_id}").json()).content.text
            for message_id in bulk.message_ids
        ]
        assert texts == [f"part {n}" for n in range(count)]
    else:
        assert response.json()["violations"][0]["field"] == "validate.request.messages"


# --- rejected requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"content": {"type": "text", "text": "x"}}, "content.contentType"),
        ({"content": {"contentType": "text", "text": ""}}, "content.text"),
        ({"content": {"contentType": "text", "text": "x" * 3001}}, "content.text"),
        ({"content": {"contentType": "poem"}}, "content.contentType"),
        ({"content": ...}, "content"),
        ({"content": to_wire(Image("htp://x"))}, "content.image.url"),
        ({"content": to_wire(List("Which?", ["one"]))}, "content.list.options"),
        (
            {"content": to_wire(Text("x", button=Button("", "https://a.org")))},
            "content.components.body[1].button.caption",
        ),
        ({"content": to_wire(Video("https://a.org/v", "https://a.org/t", 201, 3))}, "content.video.filesize"),
        (
            {"content": to_wire(Carousel("x", [CarouselItem("a", "https://a.org/t", Button("b", "no"))] * 2))},
            "content.carousel.items[0].primaryButton.actionUrl",
        ),
        ({"content": to_wire(Image("https://a.org/t")), "rateType": "transaction"}, "rateType"),
        ({"rateType": ...}, "rateType"),
        ({"rateType": "cheap"}, "rateType"),
        ({"to": "12"}, "to"),
        ({"to": 0}, "to"),
        ({"to": ...}, "to"),
        ({"from": ...}, "from"),
        ({"channel": ...}, "channel"),
        ({"channel": "sms"}, "channel"),
        ({"context": "x" * 126}, "context"),
        ({"overrides": {"notificationCallbackUrl": "nowhere"}}, "overrides.notificationCallbackUrl"),
        ({"overrides": []}, "overrides"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_violation_names_the_json_field(shared_web, change, field):
    response = shared_web("POST", "/messages", json=request_to(**change))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert f"validate.request.{field}" in [violation["field"] for violation in response.json()["violations"]]
    assert shared_web.sandbox.truth().empty


def test_message_purpose_is_an_alias_of_rate_type(create):
    web = create()
    web.accepted(rateType=..., messagePurpose="session")
    assert list(web.sandbox.truth()["rate_type"].unique()) == ["session"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"to": NaN}', b"\xff"])
def test_body_must_be_a_json_object(shared_web, body):
    assert shared_web("POST", "/messages", data=body).status_code == 400


def test_invalid_keys_service_ids_and_message_ids(create):
    web = create()
    for key in ("", "wrong", "\u00e4"):
        refused = web("GET", "/configurations", headers={"apikey": key.encode("latin-1")})
        assert (refused.status_code, refused.json()["title"]) == (401, "Unauthorized")
    assert web.send(**{"from": "UNKNOWN"}).status_code == 403
    for path in ("", "/status", "/events"):
        response = web("GET", "/messages/8fb360a1-f58c-4af1-932b-8f6651603cd4" + path)
        assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert web("GET", "/nowhere").status_code == 404
    assert "sandbox-key" not in repr(web.sandbox) + str(web.sandbox.requests)


def test_bodies_expire_48_hours_after_the_final_status_and_histories_after_90_days(create):
    web = create()
    message_id = web.accepted()
    truth = web.sandbox.truth().set_index("state")["happened_at"]

    def statuses(at: datetime) -> list[int]:
        web.sandbox.advance(seconds=(at - web.sandbox.now).total_seconds())
        return [web("GET", f"/messages/{message_id}{path}").status_code for path in ("", "/status", "/events")]

    millisecond = timedelta(milliseconds=1)
    assert statuses(truth["delivered"] + timedelta(hours=48) - millisecond) == [200, 200, 200]
    assert statuses(truth["delivered"] + timedelta(hours=48)) == [404, 200, 200]
    assert statuses(START + timedelta(days=90) - millisecond) == [404, 200, 200]
    assert statuses(START + timedelta(days=90)) == [404, 404, 404]


# --- configuration and media -------------------------------------------------------------------------------


def test_configuration_of_account_and_service_ids(create):
    web = create(service_ids=("ONE", "TWO"))
    setting = {"callbackVersion": "2.13", "messageStatusUrl": "https://example.org/s", "eventFilter": []}
    response = web("PUT", "/configurations/callbacks", json=setting)
    assert wire.read_configuration(response.json()) == wire.read_configuration(web("GET", "/configurations").json())
    assert response.json()["callback"]["messageStatusUrl"] == "https://example.org/s"
    for path in ("/configurations/channels", "/configurations/channels/viber"):
        listed = web("GET", path)
        assert [wire.read_channel(channel).service_id for channel in listed.json()] == ["ONE", "TWO"]
        assert listed.headers["x-total-items"] == "2"
    path = "/configurations/channels/viber/service-ids/TWO"
    web("PUT", f"{path}/callbacks", json={"inboundMessageUrl": "https://example.org/two"})
    assert web("GET", path).json()["callback"] == {"inboundMessageUrl": "https://example.org/two"}
    assert web("GET", path.replace("TWO", "SIX")).status_code == 404
    assert web("PUT", f"{path.replace('TWO', 'SIX')}/callbacks", json={}).status_code == 404


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"messageStatusUrl": "ftp://x"}, "messageStatusUrl"),
        ({"callbackVersion": "1.0"}, "callbackVersion"),
        ({"signature": {"secret": "short"}}, "signature.secret"),
        ({"signature": {"secret": "long enough", "method": "MD5"}}, "signature.method"),
        ({"signature": "x"}, "signature"),
        ({"header": {"key": "abc", "value": "long enough"}}, "header.key"),
        ({"header": {"key": "x-token", "value": "short"}}, "header.value"),
        ({"eventFilter": ["MessageStatus::sent"]}, "eventFilter[0]"),
    ],
)
def test_invalid_callback_settings_are_rejected(shared_web, setting, field):
    response = shared_web("PUT", "/configurations/callbacks", json=setting)
    assert (response.status_code, response.json()["violations"][0]["field"]) == (400, field)


def test_lists_are_paged_with_links(create):
    names = tuple(f"ID{n}" for n in range(120))
    web = create(service_ids=names)
    listed, url = [], web.sandbox.base_url + "/configurations/channels/viber"
    while url:
        page = web.session.get(url, timeout=5)
        listed += [channel["id"]["serviceId"] for channel in page.json()]
        url = page.links.get("next", {}).get("url")
    assert tuple(listed) == names


def test_life_cycle_of_media(create):
    web = create()
    uploaded = [
        web("POST", f"/media?validity={minutes}&filename=a.png", data=b"png", headers={"Content-Type": "image/png"})
        for minutes in (10, 60)
    ]
    short, long = (wire.read_media(response.json()) for response in uploaded)
    fetched = web("GET", f"/media/{short.media_id}")
    assert (fetched.content, fetched.headers["content-type"]) == (b"png", "image/png")
    assert [media["mediaId"] for media in web("GET", "/media").json()] == [short.media_id, long.media_id]
    web.sandbox.advance(minutes=10)
    assert web("GET", f"/media/{short.media_id}").status_code == 404
    assert web("DELETE", f"/media/{long.media_id}").status_code == 204
    assert web("DELETE", f"/media/{long.media_id}").status_code == 404
    assert web("POST", "/media?validity=soon", data=b"x").status_code == 400


# --- time --------------------------------------------------------------------------------------------------


def test_time_changes_only_by_advance_and_is_the_date_of_responses(create):
    web = create()
    assert web.sandbox.now == START
    web.sandbox.advance(days=3, hours=1)
    response = web("GET", "/configurations")
    assert response.headers["date"] == "Thu, 08 Jan 2026 09:00:00 GMT"
    assert web.sandbox.requests[-1].at == web.sandbox.now == START + timedelta(days=3, hours=1)
    with pytest.raises(InvalidRequest, match="forward"):
        web.sandbox.advance(seconds=-1)


@pytest.mark.parametrize("duration", [{"seconds": -1}, {"days": nan}, {"hours": inf}, {"days": 1e9}, {"days": 2.9e6}])
def test_time_moves_forward_within_the_calendar(create, duration):
    sandbox = create(speed=1).sandbox
    with pytest.raises(InvalidRequest, match="duration"):
        sandbox.advance(**duration)
    sandbox.advance(seconds=0)
    assert sandbox.now.year == 2026


def test_speed_of_time(create):
    sandbox = create(speed=3600.0).sandbox
    before, real = sandbox.now, time.monotonic()
    time.sleep(0.05)
    assert (sandbox.now - before).total_seconds() == pytest.approx(3600 * (time.monotonic() - real), rel=0.2)


def test_time_can_be_advanced_over_http(create):
    web = create()
    root = web.sandbox.base_url.removesuffix("/conversations/v3")
    moved = web.session.post(f"{root}/sandbox/advance", json={"seconds": 60}, timeout=5).json()
    assert moved == {"now": "2026-01-05T08:01:00.000Z"}
    assert web.sandbox.now == START + timedelta(minutes=1)
    for wrong in (
        b"",
        b"{}",
        b'{"seconds": "x"}',
        b'{"seconds": -1}',
        b"[]",
        b'{"seconds": NaN}',
        b'{"seconds": 1e999}',
    ):
        assert web.session.post(f"{root}/sandbox/advance", data=wrong, timeout=5).status_code == 400
    assert not web.sandbox.requests


# --- callbacks ---------------------------------------------------------------------------------------------


def configure(web: Web, url: str, **more) -> None:
    setting = {"callbackVersion": "2.13", "messageStatusUrl": f"{url}/s", "inboundMessageUrl": f"{url}/in"} | more
    assert web("PUT", "/configurations/callbacks", json=setting).status_code == 200


@pytest.mark.parametrize("method", ["HS256", "HS512"])
def test_final_states_are_posted_when_due_and_signed(create, receiver, method):
    web = create()
    secret = "a-shared-secret"
    header = {"key": "x-token", "value": "a-token-value"}
    configure(web, receiver.url, signature={"secret": secret, "method": method}, header=header)
    message_id = web.accepted(context="order 1")
    truth = web.sandbox.truth().set_index("state")["happened_at"]
    web.sandbox.advance(seconds=(truth["delivered"] - START).total_seconds())
    assert len(receiver.requests) == 1
    web.sandbox.advance(days=2)
    payload = [json.loads(body) for _, _, body in receiver.requests]
    assert [event["event"] for event in payload] == ["MessageStatus::delivered", "MessageStatus::seen"]
    for (_, headers, body), state in zip(receiver.requests, ("delivered", "seen"), strict=True):
        assert abs(callbacks.signed_at(headers, body, secret) - truth[state]) < timedelta(seconds=1)
        event = wire.read_callback(json.loads(body))
        assert (event.message_id, event.user_context, event.happened_at) == (message_id, "order 1", truth[state])
        assert headers["x-token"] == "a-token-value"
        assert headers["x-signature-version"] == "V1.0"


def test_event_filter_and_details_of_failures(create, receiver):
    web = create(model=DeliveryModel(failed_share=1, open_share=0, duplicate_share=0, disorder_share=0))
    chosen = [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "channelFailed", "failed")]
    configure(web, receiver.url, eventFilter=chosen)
    web.accepted()
    web.sandbox.advance(days=1)
    payload = [json.loads(body) for _, _, body in receiver.requests]
    assert [event["event"] for event in payload if event["event"] != chosen[1]] == [chosen[0], *chosen[2:]]
    assert all(event["details"]["code"].startswith("viber::error::") for event in payload[-2:])


def test_precedence_of_callback_urls(create, receiver):
    web = create(service_ids=("VIBERKIT", "OTHER"))
    configure(web, receiver.url)
    path = "/configurations/channels/viber/service-ids/OTHER/callbacks"
    web("PUT", path, json={"messageStatusUrl": f"{receiver.url}/other"})
    web.accepted()
    web.accepted(**{"from": "OTHER"})
    web.accepted(overrides={"notificationCallbackUrl": f"{receiver.url}/override"})
    web.sandbox.advance(days=2)
    web.sandbox.receive("491701234567", "Hi", to="OTHER")
    assert Counter(path for path, _, _ in receiver.requests) == {"/s": 2, "/other": 2, "/override": 2, "/in": 1}


def test_failed_callback_is_posted_twice_more(create, receiver):
    web = create(model=DeliveryModel(failed_share=0, open_share=0, seen_share=0, duplicate_share=0, disorder_share=0))
    configure(web, receiver.url)
    receiver.statuses = [500, 302, 404, 200]
    web.accepted()
    web.sandbox.advance(days=15)
    assert [attempt.status for attempt in web.sandbox.callbacks] == [500, 302, 404]
    assert len({body for _, _, body in receiver.requests}) == 1
    assert [attempt.attempt for attempt in web.sandbox.callbacks] == [1, 2, 3]
    web.accepted(overrides={"notificationCallbackUrl": "http://127.0.0.1:9/closed"})
    web.sandbox.advance(days=15)
    assert [attempt.error for attempt in web.sandbox.callbacks[3:]] == ["ConnectionError"] * 3


def test_only_loopback_addresses_are_called(create):
    web = create()
    configure(web, "https://example.org")
    web.accepted()
    web.sandbox.advance(days=2)
    assert [(attempt.status, attempt.attempt) for attempt in web.sandbox.callbacks] == [(None, 1)] * 2
    assert "loopback" in web.sandbox.callbacks[0].error


def test_callbacks_are_posted_while_time_runs(create, receiver):
    web = create(speed=1000.0)
    configure(web, receiver.url)
    web.accepted()
    deadline = time.monotonic() + 5
    while not receiver.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    assert json.loads(receiver.requests[0][2])["event"] == "MessageStatus::delivered"


def test_duplicate_and_late_callbacks(create, receiver):
    chosen = [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "delivered", "seen")]
    for share, expected in (
        ({"duplicate_share": 1.0, "disorder_share": 0}, 8),
        ({"duplicate_share": 0, "disorder_share": 1.0}, 4),
    ):
        receiver.requests.clear()
        web = create(model=DeliveryModel(failed_share=0, open_share=0, away_share=0, seen_share=1, **share))
        configure(web, receiver.url, eventFilter=chosen)
        message_id = web.accepted()
        web.sandbox.advance(days=2)
        payload = [json.loads(body)["event"] for _, _, body in receiver.requests]
        assert len(payload) == expected
        assert set(payload) == set(chosen)
        history = wire.read_record(web("GET", f"/messages/{message_id}/events").json()).events
        assert len(history) == expected
        in_order = sorted(history, key=lambda event: event.happened_at)
        assert (list(history) == in_order) is (expected == 8)


def test_inbound_messages(create, receiver):
    web = create()
    configure(web, receiver.url, signature={"secret": "a-shared-secret", "method": "HS256"})
    ids = [
        web.sandbox.receive("491701234567", "Hi!", reply_to="8fb360a1"),
        web.sandbox.receive("491701234567", "Look", media=b"jpg"),
        web.sandbox.receive("491701234567", media={"type": "audio", "mediaId": "a1", "url": "https://example.org/a1"}),
        web.sandbox.receive("491701234567", postback="yes"),
    ]
    text, image, audio, postback = (wire.read_callback(json.loads(body)) for _, _, body in receiver.requests)
    assert [message.message_id for message in (text, image, audio, postback)] == ids
    assert all(len(message_id) == 19 and message_id.isdigit() for message_id in ids)
    assert (text.kind, text.text, text.reply_to, text.to) == ("text", "Hi!", "8fb360a1", "VIBERKIT")
    assert (image.kind, image.text, audio.kind, audio.media_id) == ("image", "Look", "audio", "a1")
    assert (postback.kind, postback.postback) == ("postback", "yes")
    assert web("GET", f"/media/{image.media_id}").content == b"jpg"
    assert web("GET", "/media").json() == []
    _, headers, body = receiver.requests[0]
    assert callbacks.signed_at(headers, body, "a-shared-secret") <= web.sandbox.now


# --- reproducibility and life cycle -----------------------------------------------------------------------------------


def test_concurrent_and_sequential_sends_have_the_same_journeys(create):
    numbers = [f"+49170{1000000 + n % 40}" for n in range(120)]
    sequential, concurrent = (create(dialect="mixed", model=None) for _ in range(2))
    for to in numbers:
        sequential.accepted(to)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(concurrent.accepted, numbers[::-1]))
    columns = ["to", "message_id", "happened_at"]
    first, second = (web.sandbox.truth().sort_values(columns, ignore_index=True) for web in (sequential, concurrent))
    assert first.equals(second)
    histories = [
        [web("GET", f"/messages/{message_id}/events").json() for message_id in first["message_id"].unique()[:20]]
        for web in (sequential, concurrent)
    ]
    assert histories[0] == histories[1]
    assert not set(create(seed=8, model=None).accepted(numbers[0])) <= set(first["message_id"])


def test_truth_has_the_same_schema_without_messages(create):
    web = create()
    for frame in (web.sandbox.truth(), web.accepted() and web.sandbox.truth()):
        assert list(frame.columns) == ["message_id", "to", "rate_type", "state", "happened_at"]
        assert str(frame["happened_at"].dtype) == "datetime64[us, UTC]"
        assert str(frame["message_id"].dtype) == str(frame["to"].dtype) == "str"


def test_start_on_demand_and_restart():
    sandbox = Sandbox(speed=0)
    assert "not started" in repr(sandbox)
    with sandbox.start():
        assert f"'http://127.0.0.1:{sandbox.port}/" in repr(sandbox)
    assert "not started" in repr(sandbox)
    web = Web(sandbox)
    message_id = web.accepted()
    address = sandbox.base_url
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        web("GET", "/configurations")
    with sandbox:
        assert sandbox.base_url == address
        assert web("GET", f"/messages/{message_id}/status").status_code == 200
    web.session.close()


def test_port_in_use(create):
    port_in_use = int(create().sandbox.base_url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match=f":{port_in_use} is in use"):
        Sandbox(port=port_in_use).start()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no privileged ports")
def test_port_without_permission(create):
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # nobody
    try:
        with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1 is not permitted; choose another port"):
            Sandbox(port=1).start()
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(("host", "rule"), [("192.0.2.1", "is not an address of"), ("a..b", "cannot be used")])
def test_host_of_another_computer(host, rule):
    with pytest.raises(ConfigurationError, match=f"{host}:0 {rule}"):
        ThreadServer(None, host=host, name="test").start()


def test_client_of_the_sandbox(create):
    sandbox = create().sandbox
    with sandbox.client() as client:
        sent = client.send(TO, Text("Hello"), rate_type="transaction")
        sandbox.advance(days=2)
        assert client.status(sent.message_id).state == "seen"
    assert [(request.method, request.status) for request in sandbox.requests] == [("POST", 202), ("GET", 200)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dialect": "v4"},
        {"paths": "all"},
        *({name: value} for name in ("speed", "latency_s") for value in (-1, -1e-300, nan, inf, -inf, 1e308)),
        *({"port": port} for port in (-1, 65_536, 2**64)),
        {"service_ids": ()},
        {"start": datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)
def test_invalid_arguments(wrong):
    with pytest.raises(InvalidRequest):
        Sandbox(**wrong)


# --- speed -------------------------------------------------------------------------------------------------


def test_cost_of_a_request(create):
    web = create()
    started = time.process_time()
    for n in range(200):
        web.accepted(f"+49170{1000000 + n}")
    assert time.process_time() - started < 2  # client and server together; ten times that of a fast computer


def test_latency_of_concurrent_requests_overlaps(create):
    web = create(latency_s=0.1)
    web("GET", "/configurations")
    clients = [Web(web.sandbox) for _ in range(16)]
    started = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda client: [client.accepted() for _ in range(3)], clients))
    assert 0.3 <= time.perf_counter() - started < 3  # one after the other: 4.8 s
    for client in clients:
        client.session.close()
