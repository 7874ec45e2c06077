"""The sandbox over real HTTP: every call, every dialect, refusals, faults, time, callbacks, and its model's truth."""

from __future__ import annotations

import json
import math
import random
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
import requests
from support.faults import FaultySandbox

from viberkit.errors import ConfigurationError, InvalidRequest
from viberkit.models import callback as callbacks
from viberkit.models import parsing as wire
from viberkit.models.content import Button, Carousel, CarouselItem, File, Image, List, Text, Video, to_wire
from viberkit.sandbox.delivery_model import DeliveryModel, LogNormal
from viberkit.sandbox.sandbox import Sandbox, serve

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
    """A bare HTTP client with the key, so that the tests see what is on the wire."""

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

    def sent(self, to: str = TO, content=None, **more) -> str:
        answer = self.send(to, content, **more)
        assert answer.status_code == 202, answer.text
        return answer.json()["messageId"]


def request_to(to: str = TO, content=None, **more) -> dict:
    content = {"contentType": "text", "text": "Hello"} if content is None else content
    told = {"to": to, "from": "VIBERKIT", "channel": "viber", "rateType": "promotion", "content": content} | more
    return {name: value for name, value in told.items() if value is not ...}


@pytest.fixture
def world():
    """Makes sandboxes that stand still, each with a bare client, and stops them."""
    made = []

    def make(**options) -> Web:
        made.append(web := Web(FaultySandbox(**{"seed": 7, "speed": 0, "model": PLAIN} | options)))
        return web

    yield make
    for web in made:
        web.session.close()
        web.sandbox.stop()


@pytest.fixture
def receiver():
    """A server that keeps what it is called with, and answers the next of ``answers`` (else 200)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((self.path, dict(self.headers), body))
            self.send_response(server.answers.pop(0) if server.answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# --- messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "answer", "channel", "history", "states"),
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
            {"messageId", "timestamp"},
            "channel",
            "events",
            [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "delivered", "seen")],
        ),
    ],
)
def test_each_dialect_tells_the_same_journey(world, dialect, answer, channel, history, states):
    web = world(dialect=dialect)
    told = web.send(context="order 1").json()
    assert set(told) == answer
    message_id = told["messageId"]
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
    assert not reading.aside
    assert all(truth[event.state] == event.happened_at for event in reading.events)
    assert wire.read_status(status).since == truth["seen"]


@pytest.mark.parametrize("dialect", ["guide", "v2", "v3"])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content).__name__)
def test_every_content_is_stored_as_it_was_sent(world, dialect, content):
    web = world(dialect=dialect)
    message_id = web.sent(content=to_wire(content))
    stored = wire.read_message(web("GET", f"/messages/{message_id}").json())
    assert (stored.message_id, stored.rate_type, stored.service_id) == (message_id, "promotion", "VIBERKIT")
    assert stored.content == content


def test_mixed_dialects_are_all_spoken_and_stay_with_their_message(world):
    web = world(dialect="mixed")
    ids = [web.sent(f"+4917012345{n:02}") for n in range(30)]
    told = [web("GET", f"/messages/{each}/events").text for each in ids]
    words = ("happendAt", "happenedAt", '"timestamp"')
    spoken = [next(word for word in words if word in text) for text in told]
    assert set(spoken) == set(words)
    web.sandbox.advance(days=1)
    later = [web("GET", f"/messages/{each}/events").text for each in ids]
    assert all(word in text for word, text in zip(spoken, later, strict=True))


def test_the_guides_paths(world):
    web = world(dialect="guide", paths="guide")
    message_id = web.sent()
    for path in (f"/{message_id}/status", f"/{message_id}/events", f"/messages/{message_id}/history"):
        assert web("GET", path).json()["messageId"] == message_id
    for path in (f"/messages/{message_id}/status", f"/messages/{message_id}/events"):
        refused = web("GET", path)
        assert refused.status_code == 404
        assert "problem" not in refused.headers["content-type"]
    assert web("PUT", "/configurations/callbacks", json={"callbackVersion": "2.11"}).status_code == 204
    assert world(dialect="v3")("GET", f"/{message_id}/status").headers["content-type"] == "text/html"


@pytest.mark.parametrize(("count", "status"), [(1, 400), (2, 202), (20, 202), (21, 400)])
def test_bulks_hold_two_to_twenty(world, count, status):
    web = world()
    asked = request_to(content=..., messages=[to_wire(Text(f"part {n}")) for n in range(count)])
    answer = web("POST", "/bulks", json=asked)
    assert answer.status_code == status
    if status == 202:
        bulk = wire.read_bulk(answer.json())
        assert len(set(bulk.message_ids)) == count
        texts = [wire.read_message(web("GET", f"/messages/{each}").json()).content.text for each in bulk.message_ids]
        assert texts == [f"part {n}" for n in range(count)]
    else:
        assert answer.json()["violations"][0]["field"] == "validate.request.messages"


# --- refusals ----------------------------------------------------------------------------------------------


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
def test_what_breaks_a_rule_is_refused_by_its_name_on_the_wire(world, change, field):
    web = world()
    answer = web("POST", "/messages", json=request_to(**change))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert f"validate.request.{field}" in [one["field"] for one in answer.json()["violations"]]
    assert web.sandbox.truth().empty


def test_the_older_name_of_the_rate_type_is_taken(world):
    web = world()
    web.sent(rateType=..., messagePurpose="session")
    assert list(web.sandbox.truth()["rate_type"].unique()) == ["session"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"to": NaN}', b"\xff"])
def test_a_body_that_is_no_object_is_refused(world, body):
    assert world()("POST", "/messages", data=body).status_code == 400


def test_keys_service_ids_and_unknown_ids(world):
    web = world()
    for key in ("", "wrong", "\u00e4"):
        refused = web("GET", "/configurations", headers={"apikey": key.encode("latin-1")})
        assert (refused.status_code, refused.json()["title"]) == (401, "Unauthorized")
    assert web.send(**{"from": "SOMEBODY"}).status_code == 403
    for path in ("", "/status", "/events"):
        answer = web("GET", "/messages/8fb360a1-f58c-4af1-932b-8f6651603cd4" + path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert web("GET", "/nowhere").status_code == 404
    assert "sandbox-key" not in repr(web.sandbox) + str(web.sandbox.requests)


def test_bodies_expire_48_hours_after_the_final_status_and_histories_after_90_days(world):
    web = world()
    message_id = web.sent()
    truth = web.sandbox.truth().set_index("state")["happened_at"]

    def statuses(at: datetime) -> list[int]:
        web.sandbox.advance(seconds=(at - web.sandbox.now).total_seconds())
        return [web("GET", f"/messages/{message_id}{path}").status_code for path in ("", "/status", "/events")]

    moment = timedelta(milliseconds=1)
    assert statuses(truth["delivered"] + timedelta(hours=48) - moment) == [200, 200, 200]
    assert statuses(truth["delivered"] + timedelta(hours=48)) == [404, 200, 200]
    assert statuses(START + timedelta(days=90) - moment) == [404, 200, 200]
    assert statuses(START + timedelta(days=90)) == [404, 404, 404]


# --- configuration and media -------------------------------------------------------------------------------


def test_configuration_of_account_and_service_ids(world):
    web = world(service_ids=("ONE", "TWO"))
    setting = {"callbackVersion": "2.13", "messageStatusUrl": "https://example.org/s", "eventFilter": []}
    answer = web("PUT", "/configurations/callbacks", json=setting)
    assert wire.read_configuration(answer.json()) == wire.read_configuration(web("GET", "/configurations").json())
    assert answer.json()["callback"]["messageStatusUrl"] == "https://example.org/s"
    for path in ("/configurations/channels", "/configurations/channels/viber"):
        listed = web("GET", path)
        assert [wire.read_channel(one).service_id for one in listed.json()] == ["ONE", "TWO"]
        assert listed.headers["x-total-items"] == "2"
    one = "/configurations/channels/viber/service-ids/TWO"
    web("PUT", f"{one}/callbacks", json={"inboundMessageUrl": "https://example.org/two"})
    assert web("GET", one).json()["callback"] == {"inboundMessageUrl": "https://example.org/two"}
    assert web("GET", one.replace("TWO", "SIX")).status_code == 404
    assert web("PUT", f"{one.replace('TWO', 'SIX')}/callbacks", json={}).status_code == 404


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
def test_callback_settings_are_checked(world, setting, field):
    answer = world()("PUT", "/configurations/callbacks", json=setting)
    assert (answer.status_code, answer.json()["violations"][0]["field"]) == (400, field)


def test_lists_come_in_pages_with_links(world):
    names = tuple(f"ID{n}" for n in range(120))
    web = world(service_ids=names)
    found, url = [], web.sandbox.base_url + "/configurations/channels/viber"
    while url:
        page = web.session.get(url, timeout=5)
        found += [one["id"]["serviceId"] for one in page.json()]
        url = page.links.get("next", {}).get("url")
    assert tuple(found) == names


def test_media_are_uploaded_listed_fetched_deleted_and_expire(world):
    web = world()
    uploaded = [
        web("POST", f"/media?validity={minutes}&filename=a.png", data=b"png", headers={"Content-Type": "image/png"})
        for minutes in (10, 60)
    ]
    short, long = (wire.read_media(answer.json()) for answer in uploaded)
    fetched = web("GET", f"/media/{short.media_id}")
    assert (fetched.content, fetched.headers["content-type"]) == (b"png", "image/png")
    assert [one["mediaId"] for one in web("GET", "/media").json()] == [short.media_id, long.media_id]
    web.sandbox.advance(minutes=10)
    assert web("GET", f"/media/{short.media_id}").status_code == 404
    assert web("DELETE", f"/media/{long.media_id}").status_code == 204
    assert web("DELETE", f"/media/{long.media_id}").status_code == 404
    assert web("POST", "/media?validity=soon", data=b"x").status_code == 400


# --- faults ------------------------------------------------------------------------------------------------


def test_a_fault_strikes_as_often_and_where_it_was_told(world):
    web = world()
    fault = web.sandbox.fault("429", times=2, retry_after=3, method="POST", path="/messages")
    answers = [web("GET", "/configurations"), *(web.send() for _ in range(3))]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 202]
    assert answers[1].headers["retry-after"] == "3"
    assert fault.hits == 2
    assert web.sandbox.truth()["message_id"].nunique() == 1
    web.sandbox.fault("503")
    assert web.send().status_code == 503
    web.sandbox.clear_faults()
    assert web.send().status_code == 202


@pytest.mark.parametrize(
    ("kind", "options", "status", "accepted"),
    [
        ("500", {}, 500, 0),
        ("504", {"before": False}, 504, 1),
        ("405", {}, 405, 0),
        ("slow", {"delay_s": 0.05}, 202, 1),
        ("drop", {}, None, 0),
        ("drop", {"before": False}, None, 1),
        ("garble", {}, 202, 1),
        ("empty", {}, 202, 1),
        ("html", {}, 502, 0),
        ("html", {"status": 200, "before": False}, 200, 1),
        ("redirect", {"location": "https://example.org/"}, 307, 0),
        ("plain404", {}, 404, 0),
    ],
)
def test_every_kind_of_fault(world, kind, options, status, accepted):
    web = world()
    web.sandbox.fault(kind, times=1, **options)
    if status is None:
        with pytest.raises(requests.ConnectionError):
            web.send()
    else:
        answer = web.send()
        assert answer.status_code == status
        if kind in ("garble", "empty", "html"):
            with pytest.raises(ValueError):
                answer.json()
        if kind == "redirect":
            assert answer.headers["location"] == "https://example.org/"
    assert web.sandbox.truth()["message_id"].nunique() == accepted
    assert web.sandbox.requests[-1].status == status
    assert web.send().status_code == 202


def test_a_slow_answer_outlasts_an_impatient_client_who_is_charged_all_the_same(world):
    web = world()
    web.sandbox.fault("slow", delay_s=0.5)
    with pytest.raises(requests.ReadTimeout):
        web("POST", "/messages", json=request_to(), timeout=0.1)
    assert web.sandbox.truth()["message_id"].nunique() == 1


def test_a_share_of_requests_fails_the_same_ones_whatever_their_order(world):
    numbers = [f"+49170{1000000 + n}" for n in range(100)]

    def struck(order: list[str]) -> set[str]:
        web = world()
        web.sandbox.fault("503", share=0.3)
        return {to for to in order if web.send(to).status_code == 503}

    first = struck(numbers)
    assert first == struck(numbers[::-1])
    assert 15 < len(first) < 45


@pytest.mark.parametrize("wrong", [{"kind": "flood"}, {"kind": "299"}, {"kind": "503", "share": 2}])
def test_a_fault_that_does_not_exist_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        Sandbox().fault(**wrong)


# --- time --------------------------------------------------------------------------------------------------


def test_time_stands_still_until_it_is_moved_and_every_answer_tells_it(world):
    web = world()
    assert web.sandbox.now == START
    web.sandbox.advance(days=3, hours=1)
    answer = web("GET", "/configurations")
    assert answer.headers["date"] == "Thu, 08 Jan 2026 09:00:00 GMT"
    assert web.sandbox.requests[-1].at == web.sandbox.now == START + timedelta(days=3, hours=1)
    with pytest.raises(InvalidRequest, match="forward"):
        web.sandbox.advance(seconds=-1)


def test_time_runs_as_fast_as_told(world):
    sandbox = world(speed=3600.0).sandbox
    before, real = sandbox.now, time.monotonic()
    time.sleep(0.05)
    assert (sandbox.now - before).total_seconds() == pytest.approx(3600 * (time.monotonic() - real), rel=0.2)


def test_another_process_can_move_time(world):
    web = world()
    root = web.sandbox.base_url.removesuffix("/conversations/v3")
    moved = web.session.post(f"{root}/sandbox/advance", json={"seconds": 60}, timeout=5).json()
    assert moved == web.session.get(f"{root}/sandbox/now", timeout=5).json() == {"now": "2026-01-05T08:01:00.000Z"}
    for wrong in (b"", b"{}", b'{"seconds": "x"}', b'{"seconds": -1}', b"[]"):
        assert web.session.post(f"{root}/sandbox/advance", data=wrong, timeout=5).status_code == 400
    assert not web.sandbox.requests


# --- callbacks ---------------------------------------------------------------------------------------------


def configure(web: Web, url: str, **more) -> None:
    setting = {"callbackVersion": "2.13", "messageStatusUrl": f"{url}/s", "inboundMessageUrl": f"{url}/in"} | more
    assert web("PUT", "/configurations/callbacks", json=setting).status_code == 200


@pytest.mark.parametrize("method", ["HS256", "HS512"])
def test_final_states_are_called_back_signed_as_they_fall_due(world, receiver, method):
    web = world()
    secret = "a-shared-secret"
    header = {"key": "x-token", "value": "token-of-mine"}
    configure(web, receiver.url, signature={"secret": secret, "method": method}, header=header)
    message_id = web.sent(context="order 1")
    truth = web.sandbox.truth().set_index("state")["happened_at"]
    web.sandbox.advance(seconds=(truth["delivered"] - START).total_seconds())
    assert len(receiver.got) == 1
    web.sandbox.advance(days=2)
    told = [json.loads(body) for _, _, body in receiver.got]
    assert [each["event"] for each in told] == ["MessageStatus::delivered", "MessageStatus::seen"]
    for (_, headers, body), state in zip(receiver.got, ("delivered", "seen"), strict=True):
        assert abs(callbacks.signed_at(headers, body, secret) - truth[state]) < timedelta(seconds=1)
        event = wire.read_callback(json.loads(body))
        assert (event.message_id, event.user_context, event.happened_at) == (message_id, "order 1", truth[state])
        assert headers["x-token"] == "token-of-mine"
        assert headers["x-signature-version"] == "V1.0"


def test_states_that_were_opted_in_to_are_called_back_and_failures_say_why(world, receiver):
    web = world(model=DeliveryModel(failed_share=1, open_share=0, duplicate_share=0, disorder_share=0))
    chosen = [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "channelFailed", "failed")]
    configure(web, receiver.url, eventFilter=chosen)
    web.sent()
    web.sandbox.advance(days=1)
    told = [json.loads(body) for _, _, body in receiver.got]
    assert [each["event"] for each in told if each["event"] != chosen[1]] == [chosen[0], *chosen[2:]]
    assert all(each["details"]["code"].startswith("viber::error::") for each in told[-2:])


def test_whose_url_counts(world, receiver):
    web = world(service_ids=("VIBERKIT", "OTHER"))
    configure(web, receiver.url)
    path = "/configurations/channels/viber/service-ids/OTHER/callbacks"
    web("PUT", path, json={"messageStatusUrl": f"{receiver.url}/other"})
    web.sent()
    web.sent(**{"from": "OTHER"})
    web.sent(overrides={"notificationCallbackUrl": f"{receiver.url}/mine"})
    web.sandbox.advance(days=2)
    web.sandbox.receive("491701234567", "Hi", to="OTHER")
    assert Counter(path for path, _, _ in receiver.got) == {"/s": 2, "/other": 2, "/mine": 2, "/in": 1}


def test_a_callback_that_is_refused_is_called_twice_more(world, receiver):
    web = world(model=DeliveryModel(failed_share=0, open_share=0, seen_share=0, duplicate_share=0, disorder_share=0))
    configure(web, receiver.url)
    receiver.answers = [500, 302, 404, 200]
    web.sent()
    web.sandbox.advance(days=15)
    assert [each.status for each in web.sandbox.callbacks] == [500, 302, 404]
    assert len({body for _, _, body in receiver.got}) == 1
    assert [each.attempt for each in web.sandbox.callbacks] == [1, 2, 3]
    web.sent(overrides={"notificationCallbackUrl": "http://127.0.0.1:9/nobody"})
    web.sandbox.advance(days=15)
    assert [each.error for each in web.sandbox.callbacks[3:]] == ["ConnectionError"] * 3


def test_only_loopback_is_ever_called(world):
    web = world()
    configure(web, "https://example.org")
    web.sent()
    web.sandbox.advance(days=2)
    assert [(each.status, each.attempt) for each in web.sandbox.callbacks] == [(None, 1)] * 2
    assert "loopback" in web.sandbox.callbacks[0].error


def test_callbacks_come_by_themselves_while_time_runs(world, receiver):
    web = world(speed=1000.0)
    configure(web, receiver.url)
    web.sent()
    deadline = time.monotonic() + 5
    while not receiver.got and time.monotonic() < deadline:
        time.sleep(0.01)
    assert json.loads(receiver.got[0][2])["event"] == "MessageStatus::delivered"


def test_callbacks_are_told_twice_and_out_of_order_as_often_as_the_model_says(world, receiver):
    chosen = [f"MessageStatus::{name}" for name in ("accepted", "dispatched", "delivered", "seen")]
    for share, expected in (({"duplicate_share": 1.0, "disorder_share": 0}, 8), ({"duplicate_share": 0, "disorder_share": 1.0}, 4)):
        receiver.got.clear()
        web = world(model=DeliveryModel(failed_share=0, open_share=0, away_share=0, seen_share=1, **share))
        configure(web, receiver.url, eventFilter=chosen)
        message_id = web.sent()
        web.sandbox.advance(days=2)
        told = [json.loads(body)["event"] for _, _, body in receiver.got]
        assert len(told) == expected
        assert set(told) == set(chosen)
        history = wire.read_record(web("GET", f"/messages/{message_id}/events").json()).events
        assert len(history) == expected
        in_order = sorted(history, key=lambda event: event.happened_at)
        assert (list(history) == in_order) is (expected == 8)


def test_recipients_write(world, receiver):
    web = world()
    configure(web, receiver.url, signature={"secret": "a-shared-secret", "method": "HS256"})
    ids = [
        web.sandbox.receive("491701234567", "Hi!", reply_to="8fb360a1"),
        web.sandbox.receive("491701234567", "Look", media=b"jpg"),
        web.sandbox.receive("491701234567", media={"type": "audio", "mediaId": "a1", "url": "https://example.org/a1"}),
        web.sandbox.receive("491701234567", postback="yes"),
    ]
    text, image, audio, postback = (wire.read_callback(json.loads(body)) for _, _, body in receiver.got)
    assert [each.message_id for each in (text, image, audio, postback)] == ids
    assert all(len(each) == 19 and each.isdigit() for each in ids)
    assert (text.kind, text.text, text.reply_to, text.to) == ("text", "Hi!", "8fb360a1", "VIBERKIT")
    assert (image.kind, image.text, audio.kind, audio.media_id) == ("image", "Look", "audio", "a1")
    assert (postback.kind, postback.postback) == ("postback", "yes")
    assert web("GET", f"/media/{image.media_id}").content == b"jpg"
    assert web("GET", "/media").json() == []
    _, headers, body = receiver.got[0]
    assert callbacks.signed_at(headers, body, "a-shared-secret") <= web.sandbox.now


# --- one seed, one world -----------------------------------------------------------------------------------


def test_concurrent_sends_give_the_same_world_as_sends_in_turn(world):
    numbers = [f"+49170{1000000 + n % 40}" for n in range(120)]
    alone, crowd = (world(dialect="mixed", model=None) for _ in range(2))
    for to in numbers:
        alone.sent(to)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(crowd.sent, numbers[::-1]))
    columns = ["to", "message_id", "happened_at"]
    first, second = (web.sandbox.truth().sort_values(columns, ignore_index=True) for web in (alone, crowd))
    assert first.equals(second)
    histories = [
        [web("GET", f"/messages/{each}/events").json() for each in first["message_id"].unique()[:20]]
        for web in (alone, crowd)
    ]
    assert histories[0] == histories[1]
    assert not set(world(seed=8, model=None).sent(numbers[0])) <= set(first["message_id"])


def test_the_truth_is_a_plain_frame_even_when_nothing_was_sent(world):
    web = world()
    for frame in (web.sandbox.truth(), web.sent() and web.sandbox.truth()):
        assert list(frame.columns) == ["message_id", "to", "rate_type", "state", "happened_at"]
        assert str(frame["happened_at"].dtype) == "datetime64[us, UTC]"
        assert str(frame["message_id"].dtype) == str(frame["to"].dtype) == "str"


def test_it_starts_when_needed_and_goes_on_after_a_stop():
    sandbox = Sandbox(speed=0)
    assert "not started" in repr(sandbox)
    sandbox.stop()
    web = Web(sandbox)
    message_id = web.sent()
    address = sandbox.base_url
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        web("GET", "/configurations")
    with sandbox:
        assert sandbox.base_url == address
        assert web("GET", f"/messages/{message_id}/status").status_code == 200
    web.session.close()


def test_a_port_that_is_taken_is_told(world):
    taken = int(world().sandbox.base_url.split(":")[2].split("/")[0])
    with pytest.raises(ConfigurationError, match=f":{taken} is in use"):
        Sandbox(port=taken).start()


def test_the_librarys_own_client_comes_ready_made(world):
    sandbox = world().sandbox
    with sandbox.client() as client:
        sent = client.send(TO, Text("Hello"), rate_type="transaction")
        sandbox.advance(days=2)
        assert client.status(sent.message_id).state == "seen"
    assert [(each.method, each.status) for each in sandbox.requests] == [("POST", 202), ("GET", 200)]


@pytest.mark.parametrize(
    "wrong",
    [{"dialect": "v4"}, {"paths": "all"}, {"speed": -1}, {"service_ids": ()}, {"start": datetime(2026, 1, 1)}],  # noqa: DTZ001
)
def test_a_sandbox_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        Sandbox(**wrong)


def test_serve_says_how_to_reach_it_and_ends_with_ctrl_c():
    said = []

    def say(line: str) -> None:
        said.append(line)
        if "Ctrl-C" in line:
            raise KeyboardInterrupt

    sandbox = Sandbox(speed=0)
    serve(sandbox, echo=say)
    assert f"VIBERKIT_BASE_URL={sandbox.base_url}" in said
    assert "TYNTEC_API_KEY=sandbox-key" in said


# --- the model ---------------------------------------------------------------------------------------------

DRAWS = 6000


@pytest.fixture(scope="module")
def journeys():
    """Journeys of transactions that set out at noon, as states to seconds since acceptance; and their failures."""
    model, noon = DeliveryModel(), START.replace(hour=12)
    started = time.perf_counter()
    drawn = [model.journey(random.Random(f"0:{n}"), noon, "transaction") for n in range(DRAWS)]
    assert time.perf_counter() - started < 2
    return drawn


def within(found: int, of: int, share: float) -> bool:
    """Whether a count is within five standard errors of a binomial share."""
    return abs(found - of * share) <= 5 * math.sqrt(of * share * (1 - share)) + 1


def hops(journeys, one: str, other: str) -> list[float]:
    at = [{step.state: step.at for step in journey} for journey in journeys]
    return [(each[other] - each[one]).total_seconds() for each in at if one in each and other in each]


def test_outcomes_have_the_shares_of_the_model(journeys):
    model = DeliveryModel()
    last = Counter(journey[-1].state for journey in journeys)
    assert within(last["failed"], DRAWS, model.failed_share)
    assert within(last["dispatched"], DRAWS, model.open_share)
    delivered = last["delivered"] + last["seen"]
    assert within(last["seen"], delivered, model.seen_share)
    codes = Counter(journey[-1].code for journey in journeys if journey[-1].state == "failed")
    weights = {failure.code: failure.weight for failure in model.failures}
    for code, weight in weights.items():
        assert within(codes[code], last["failed"], weight / sum(weights.values()))
    for journey in journeys:
        assert all(one.at < other.at for one, other in pairwise(journey))


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("accepted", "routed", "routing"),
        ("routed", "dispatched", "dispatching"),
        ("channel_failed", "failed", "final_failure"),
    ],
)
def test_hops_have_the_quantiles_of_the_model(journeys, one, other, name):
    hop: LogNormal = getattr(DeliveryModel(), name)
    times = hops(journeys, one, other)
    for share in (0.1, 0.5, 0.9):
        below = sum(each <= hop.quantile(share) + 0.001 for each in times)
        assert within(below, len(times), hop.cdf(hop.quantile(share) + 0.001))
        assert hop.cdf(hop.quantile(share)) == pytest.approx(share)


def test_deliveries_have_the_distribution_of_the_model_with_its_heavy_tail(journeys):
    model, times = DeliveryModel(), hops(journeys, "dispatched", "delivered")
    for seconds in (1.0, 1.5, 3.0, 10.0, 120.0, 3600.0, 86_400.0):
        share = model.delivered_within(seconds)
        assert within(sum(each <= seconds for each in times), len(times), share)
    assert 1.2 < statistics.median(times) < 2
    assert max(times) <= model.lifetime.total_seconds()


def test_nights_and_promotions_are_slower():
    model = DeliveryModel(failed_share=0, open_share=0, away_share=0)

    def median(rate_type: str, hour: int) -> float:
        drawn = [model.journey(random.Random(n), START.replace(hour=hour), rate_type) for n in range(2000)]
        return statistics.median(hops(drawn, "dispatched", "delivered"))

    day = median("transaction", 12)
    assert median("transaction", 3) == pytest.approx(model.hourly_factors[3] * day, rel=0.01)
    assert median("promotion", 12) == pytest.approx(model.promotion_factor * day, rel=0.01)
    assert median("session", 12) == pytest.approx(model.session_factor * day, rel=0.01)


def test_noisees_have_the_shares_of_the_model():
    model, rng = DeliveryModel(duplicate_share=0.02, disorder_share=0.05), random.Random(1)
    drawn = Counter(model.noise(rng) for _ in range(20_000))
    assert within(drawn["duplicate"], 20_000, 0.02)
    assert within(drawn["late"], 20_000, 0.05)


@pytest.mark.parametrize("wrong", [{"seen_share": 2}, {"failed_share": 0.7, "open_share": 0.7}, {"hourly_factors": (1.0,)}])
def test_a_model_that_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidRequest):
        DeliveryModel(**wrong)


# --- speed -------------------------------------------------------------------------------------------------


def test_it_answers_hundreds_of_requests_a_second(world):
    web = world()
    started = time.perf_counter()
    for n in range(200):
        web.sent(f"+49170{1000000 + n}")
    assert 200 / (time.perf_counter() - started) > 100  # a tenth of what an idle machine does


def test_many_requests_wait_out_the_latency_together(world):
    web = world(latency_s=0.1)
    web("GET", "/configurations")
    clients = [Web(web.sandbox) for _ in range(16)]
    started = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda client: [client.sent() for _ in range(3)], clients))
    assert 0.3 <= time.perf_counter() - started < 1.5
    for client in clients:
        client.session.close()
