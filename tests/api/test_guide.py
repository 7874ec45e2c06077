"""The eight operations of the provider's guide, over HTTP against the sandbox and with the guide's own responses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.scripted import DATA, ScriptedServer

import viberkit as vk
from viberkit.models import parsing
from viberkit.models.callback import SignatureError, sign, signed_at
from viberkit.models.content import from_wire
from viberkit.models.records import Event, Inbound

TO = "+491701234567"
BUTTON = vk.Button("Track it", "https://example.org/track")
IMAGE = vk.Image("https://example.org/parcel.png")
VIDEO = vk.Video("https://example.org/clip.mp4", "https://example.org/clip.png", 3, 20)
CARD = vk.CarouselItem("Shoes", "https://example.org/shoes.png", BUTTON, vk.Button("More", "https://example.org/more"))

CONTENTS = {
    "text": vk.Text("Hello world!"),
    "image": IMAGE,
    "text, button": vk.Text("Your parcel is here", button=BUTTON),
    "image, text, button": vk.Text("Your parcel is here", image=IMAGE, button=BUTTON),
    "file": vk.File("https://example.org/bill.pdf", "bill.pdf", "pdf"),
    "video": VIDEO,
    "video, text": vk.Text("See", video=VIDEO),
    "video, text, button": vk.Text("See", video=VIDEO, button=BUTTON),
    "list": vk.List("When?", ["today", "tomorrow"]),
    "carousel": vk.Carousel("New", [CARD, CARD]),
}


def guide(name: str) -> Any:
    return json.loads((DATA / "guide" / f"{name}.json").read_text())


def test_1_headers(sandbox: vk.Sandbox, scripted: ScriptedServer) -> None:
    scripted.respond_with((202, {}, (DATA / "guide" / "send.response-202.json").read_bytes()))
    with vk.Client("my-key", "VIBERKIT", base_url=scripted.url) as client:
        sent = client.send(TO, vk.Text("Hello world!"), rate_type="transaction")
    assert sent.message_id == "8fb360a1-f58c-4af1-932b-8f6651603cd4"
    headers = scripted.requests[0][2]
    sent_headers = (headers["apikey"], headers["content-type"], headers["accept"])
    assert sent_headers == ("my-key", "application/json", "application/json")
    with (
        vk.Client("another-key", "VIBERKIT", base_url=sandbox.base_url) as other,
        pytest.raises(vk.errors.Unauthorized),
    ):
        other.account.configuration()


def test_2_send_a_text(sandbox: vk.Sandbox, client: vk.Client) -> None:
    sent = client.send(TO, vk.Text("Hello world!"), rate_type="transaction", context="order 7")
    assert sandbox.requests[-1].json == {
        "to": TO,
        "from": "VIBERKIT",
        "channel": "viber",
        "rateType": "transaction",
        "context": "order 7",
        "content": {"contentType": "text", "text": "Hello world!"},
    }
    assert client.status(sent.message_id).state == "accepted"
    assert from_wire(guide("send-text.request")["content"]) == vk.Text("Hello world!")
    assert parsing.read_accepted(guide("send.response-202")).message_id == "8fb360a1-f58c-4af1-932b-8f6651603cd4"


@pytest.mark.parametrize("kind", CONTENTS)
def test_3_send_an_image_and_every_other_kind(client: vk.Client, kind: str) -> None:
    sent = client.send(TO, CONTENTS[kind], rate_type="promotion")
    assert client.message(sent.message_id).content == CONTENTS[kind]


def test_3_the_guides_image() -> None:
    content = from_wire(guide("send-image.request")["content"])
    assert isinstance(content, vk.Image)
    assert content.url.startswith("https://upload.wikimedia.org/")


@pytest.mark.parametrize("count", [2, 20])
def test_3_send_a_bulk(sandbox: vk.Sandbox, client: vk.Client, count: int) -> None:
    contents = [vk.Text(f"part {index}") for index in range(count)]
    sent = client.bulk(TO, contents, rate_type="session")
    assert [client.message(message_id).content for message_id in sent.message_ids] == contents


@pytest.mark.parametrize("count", [0, 1, 21])
def test_3_a_bulk_of_an_invalid_size_is_refused(sandbox: vk.Sandbox, client: vk.Client, count: int) -> None:
    with pytest.raises(vk.errors.InvalidRequest, match=f"has a length of {count}, not 2 to 20"):
        client.bulk(TO, [vk.Text("x")] * count, rate_type="session")
    assert not sandbox.requests


def test_4_poll_the_status(sandbox: vk.Sandbox, client: vk.Client) -> None:
    sent = client.send(TO, vk.Text("Hello world!"), rate_type="transaction")
    sandbox.advance(days=15)
    assert client.status(sent.message_id).state in ("delivered", "seen", "failed")
    status = parsing.read_status(guide("status.response"))
    assert (status.state, status.channel, str(status.since)) == (
        "delivered",
        "viber",
        "2020-07-13 13:02:53.704000+00:00",
    )


def test_5_retrieve_the_stored_message(sandbox: vk.Sandbox, client: vk.Client) -> None:
    sent = client.send(TO, vk.Text("Hello world!"), rate_type="transaction")
    stored = client.message(sent.message_id)
    assert (stored.to, stored.rate_type, stored.service_id) == (TO, "transaction", "VIBERKIT")
    assert stored.content == vk.Text("Hello world!")
    sandbox.advance(days=20)
    with pytest.raises(vk.errors.NotFound):
        client.message(sent.message_id)
    message = parsing.read_message(guide("message.response"))
    assert (message.to, message.rate_type, message.content) == ("123456789", "promotion", vk.Text("Your message"))


@pytest.mark.parametrize("dialect", ["guide", "v2", "v3"])
def test_6_retrieve_delivery_events(dialect: str) -> None:
    with vk.Sandbox(seed=1, speed=0, dialect=dialect) as sandbox, sandbox.client() as client:
        sent = client.send(TO, vk.Text("Hello world!"), rate_type="transaction")
        sandbox.advance(days=15)
        events = client.events(sent.message_id)
        truth = sandbox.truth()
    missing = {"v2": {"routed", "seen"}, "v3": {"routed"}, "guide": set()}[
        dialect
    ]  # states without a name in the dialect
    states = [state for state in truth["state"] if state not in missing]
    assert [event.state for event in events] == states
    times = dict(zip(truth["state"], truth["happened_at"], strict=True))
    assert all(event.happened_at == times[event.state] for event in events)


def test_6_the_guides_events() -> None:
    events = parsing.read_record(guide("events.response")).events
    assert [(event.state, f"{event.happened_at:%H:%M:%S.%f}"[:-3]) for event in events] == [
        ("accepted", "12:19:17.606"),
        ("routed", "12:19:17.644"),
        ("dispatched", "12:19:17.781"),
        ("delivered", "12:19:18.967"),
    ]


@pytest.mark.parametrize("paths", ["reference", "guide"])
def test_7_configure_callbacks(paths: str) -> None:
    with vk.Sandbox(seed=1, speed=0, paths=paths) as sandbox, sandbox.client() as client:
        result = client.account.configure_callbacks(
            status_url="https://example.org/status",
            inbound_url="https://example.org/inbound",
            events=["MessageStatus::accepted", "MessageStatus::delivered"],
            secret="a-shared-secret",
            header=("x-token", "0123456789"),
        )
        answer = sandbox.requests[1].status, sandbox.requests[2:]  # the guide answers 204, the reference 200
        assert answer == ((200, []) if paths == "reference" else (204, sandbox.requests[2:]))
        callback = client.account.configuration().callback
        assert result.callback == callback
        assert callback["messageStatusUrl"] == "https://example.org/status"
        assert callback["signature"]["secret"] == callback["header"]["value"] == "***"
        client.account.configure_callbacks(status_url="https://example.org/other", service_id="VIBERKIT")
        assert client.account.service_id("VIBERKIT").callback["messageStatusUrl"] == "https://example.org/other"
        assert [channel.service_id for channel in client.account.service_ids()] == ["VIBERKIT"]
        assert [channel.channel for channel in client.account.channels()] == ["viber"]


def test_7_the_guides_callback_request_is_accepted(client: vk.Client) -> None:
    setting = guide("callbacks.request")
    client.account.configure_callbacks(
        status_url="https://example.org/s", events=setting["eventFilter"], version=setting["callbackVersion"]
    )


def test_7_all_violations_of_a_callback_setting_are_raised_together(sandbox: vk.Sandbox, client: vk.Client) -> None:
    with pytest.raises(vk.errors.InvalidRequest) as caught:
        client.account.configure_callbacks(
            status_url="http://example.org", events=["Delivered"], version="9", secret="short", header=("x", "y")
        )
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["status_url", "events[0]", "version", "secret", "header[0]", "header[1]"]
    assert "short" not in str(caught.value).replace("change its length", "")
    assert not sandbox.requests


def test_7_media(client: vk.Client) -> None:
    media = client.account.upload_media(b"%PDF-1.4 \x00\xff", "bill.pdf")
    assert [item.media_id for item in client.account.list_media()] == [media.media_id]
    assert client.account.download_media(media.media_id) == b"%PDF-1.4 \x00\xff"
    client.account.delete_media(media.media_id)
    with pytest.raises(vk.errors.NotFound):
        client.account.download_media(media.media_id)


@pytest.mark.parametrize(
    "item",
    [
        {"contentType": "image", "image": {"mediaId": "m-1", "url": "https://example.org/m-1"}},
        {"mediaId": "m-1", "url": "https://example.org/m-1", "contentType": "image"},
    ],
)
def test_7_media_of_version_3_0(scripted: ScriptedServer, item: dict[str, Any]) -> None:
    scripted.respond_with((200, {}, json.dumps([{"mediaId": "m-0"}, item]).encode()))
    with vk.Client("the-key-of-the-account", "SHOP", base_url=scripted.url) as client:
        media = client.account.list_media()
    assert [file.media_id for file in media] == ["m-0", "m-1"]
    assert (media[1].url, media[1].content_type) == ("https://example.org/m-1", "image")


def test_8_read_an_inbound_message() -> None:
    message = parsing.read_callback(guide("inbound.callback"))
    assert isinstance(message, Inbound)
    assert (message.message_id, message.sender, message.text) == ("5463481551745434076", "123456789", "Hi!")


@pytest.mark.parametrize(
    "name",
    ["accepted", "dispatched", "channelFailed", "delivered", "seen", "failed", "deleted", "unknown", "teleported"],
)
def test_8_read_every_status_callback(name: str) -> None:
    body = json.dumps(
        {
            "event": f"MessageStatus::{name}",
            "messageId": "8fb360a1",
            "channel": "viber",
            "timestamp": "2020-07-13T12:19:18.967",
            "userContext": "order 7",
            "details": {"code": "viber::error::NOT_VIBER_USER", "message": "not a user"},
        }
    ).encode()
    event = parsing.read_callback(parsing.parse(body))
    assert isinstance(event, Event)
    expected = {"channelFailed": "channel_failed", "teleported": "MessageStatus::teleported"}.get(name, name)
    assert (event.state, event.user_context, event.naive) == (expected, "order 7", True)
    headers = {"x-request-timestamp": "2020-07-13T12:19:19Z", "x-signature-version": "V1.0"}
    headers["x-signature"] = sign("a-shared-secret", headers["x-request-timestamp"], body)
    assert signed_at(headers, body, "a-shared-secret").isoformat() == "2020-07-13T12:19:19+00:00"
    with pytest.raises(SignatureError, match="does not match"):
        signed_at(headers, body + b" ", "a-shared-secret")
