"""The form, driven from code: what it checks, what it sends, what it shows, and what it leaves behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as w
import pytest
from support.faults import FaultySandbox

import viberkit as vk
from viberkit.errors import Violation
from viberkit.models import validation as rules
from viberkit.models.content import kind
from viberkit.models.records import Event
from viberkit.widgets.content_fields import KINDS
from viberkit.widgets.fields import Field, sort_out
from viberkit.widgets.status import Trail, trail_table

NUMBER = "+491701234506"
MASKED = "+4917*****06"
WORDS = "Your parcel waits at the harbour"
PAGE = "https://example.org/track"
PICTURE = "https://example.org/a.png"

SendForm = vk.widgets.SendForm


@pytest.fixture
def form(client: vk.Client) -> Iterator[SendForm]:
    made = SendForm(client)
    yield made
    made.close()
    made.wait(10)


def fill(form: SendForm, kind: str = "text", rate_type: str = "transaction", **typed: str) -> None:
    """Choose, and type a recipient (and a text)."""
    form.kind.input.value, form.rate_type.input.value = kind, rate_type
    type_in(form, {"to": NUMBER, **({"text": WORDS} if kind == "text" else {}), **typed})


def type_in(form: SendForm, typed: dict[str, str]) -> None:
    for path, value in typed.items():
        (form.to if path == "to" else form.fields[path]).input.value = value


def send(form: SendForm) -> None:
    form.send_button.click()
    form.confirm_button.click()


def posts(sandbox: vk.Sandbox) -> list[Any]:
    return [one.json for one in sandbox.requests if one.method == "POST"]


def page(form: SendForm) -> str:
    """Everything that the form says, as HTML."""
    return "\n".join(each.value for each in below(form) if isinstance(each, w.HTML))


def below(widget: w.Widget) -> Iterator[w.Widget]:
    yield widget
    for each in getattr(widget, "children", ()):
        yield from below(each)


def state() -> str:
    """The state of every widget that lives, as a front end would save it."""
    return json.dumps(w.Widget.get_manager_state(), ensure_ascii=False, default=str)


def asking(form: SendForm) -> bool:
    return form.confirm_button in form._asking.children[1].children and form._asking.layout.display != "none"


# --- every kind of content -----------------------------------------------------------------------------------

CARD = {"title": "Oak", "image_url": PICTURE, "primary.caption": "Buy", "primary.url": PAGE}
BUTTON = {"button.caption": "Track it", "button.url": PAGE}
WIRE_BUTTON = {"type": "button", "button": {"caption": "Track it", "url": PAGE}}
VIDEO = {"url": f"{PAGE}.mp4", "thumbnail_url": PICTURE, "size_mb": "12.5", "duration_s": " 30 "}
WIRE_VIDEO = {"url": f"{PAGE}.mp4", "thumbnailUrl": PICTURE, "filesize": 12.5, "duration": 30}
IN_BODY = {f"video.{name}": value for name, value in VIDEO.items()}


def body(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contentType": "components", "components": {"body": [{"type": "text", "text": WORDS}, *parts]}}


def wire_card(title: str) -> dict[str, Any]:
    return {"title": title, "imageUrl": PICTURE, "primaryButton": {"label": "Buy", "actionUrl": PAGE}}


SPELLED: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("text", {"text": f"{WORDS}\n  so"}, {"contentType": "text", "text": f"{WORDS}\n  so"}),
    ("text, button", {"text": WORDS, **BUTTON}, body(WIRE_BUTTON)),
    (
        "text, image, button",
        {"text": WORDS, "image.url": f" {PICTURE} ", **BUTTON},
        body({"type": "image", "image": {"url": PICTURE}}, WIRE_BUTTON),
    ),
    ("image", {"url": PICTURE}, {"contentType": "image", "image": {"url": PICTURE}}),
    (
        "file",
        {"url": PAGE, "filename": "bill.pdf", "type": "pdf"},
        {"contentType": "file", "file": {"url": PAGE, "filename": "bill.pdf", "type": "pdf"}},
    ),
    ("video", {**VIDEO, "type": "mp4"}, {"contentType": "video", "video": {**WIRE_VIDEO, "type": "mp4"}}),
    ("video, text", {"text": WORDS, **IN_BODY}, body({"type": "video", "video": WIRE_VIDEO})),
    (
        "video, text, button",
        {"text": WORDS, **IN_BODY, **BUTTON},
        body({"type": "video", "video": WIRE_VIDEO}, WIRE_BUTTON),
    ),
    (
        "list",
        {"text": WORDS, **{f"options[{place}]": f"day {place}" for place in range(3)}},
        {"contentType": "list", "list": {"text": WORDS, "options": ["day 0", "day 1", "day 2"]}},
    ),
    (
        "carousel",
        {
            "text": WORDS,
            **{f"items[0].{name}": value for name, value in CARD.items()},
            **{f"items[1].{name}": value for name, value in CARD.items()},
            "items[1].title": "Elm",
            "items[1].secondary.caption": "More",
            "items[1].secondary.url": PICTURE,
        },
        {
            "contentType": "carousel",
            "carousel": {
                "text": WORDS,
                "items": [
                    wire_card("Oak"),
                    {**wire_card("Elm"), "secondaryButton": {"label": "More", "actionUrl": PICTURE}},
                ],
            },
        },
    ),
]


def test_every_kind_is_spelled_below() -> None:
    assert [kind for kind, *_ in SPELLED] == list(KINDS)
    made = {kind(each.read(dict.fromkeys((one.path for one in each.fields()), "x"))) for each in KINDS.values()}
    assert made == set(rules.KINDS)


@pytest.mark.parametrize(("kind", "typed", "wire"), SPELLED, ids=[kind for kind, *_ in SPELLED])
def test_what_is_typed_arrives(
    form: SendForm, sandbox: vk.Sandbox, kind: str, typed: dict[str, str], wire: dict[str, Any]
) -> None:
    form.kind.input.value, form.rate_type.input.value = kind, "promotion"
    type_in(form, {"to": "0049 170 12345-06", **typed})
    assert form.violations() == []
    send(form)
    expected = {"to": NUMBER, "from": "VIBERKIT", "channel": "viber", "rateType": "promotion", "content": wire}
    assert posts(sandbox) == [expected]
    assert form.sent is not None
    assert form.sent.message_id in page(form)


@pytest.mark.parametrize("kind", ["file", "video"])
def test_a_type_may_be_left_to_the_url(form: SendForm, sandbox: vk.Sandbox, kind: str) -> None:
    spelled = {name: typed for name, typed, _ in SPELLED}[kind]
    form.kind.input.value, form.rate_type.input.value = kind, "promotion"
    type_in(form, {"to": NUMBER, **{path: value for path, value in spelled.items() if path != "type"}})
    send(form)
    assert "type" not in posts(sandbox)[0]["content"][kind]


# --- what is wrong, beside its field ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rate_type", "path", "value", "said"),
    [
        ("text", "transaction", "to", "12", "'12' is not a phone number"),
        ("text", "transaction", "to", "+49 12", "'+4***' lacks its area code"),
        ("text", "transaction", "to", "my phone", "holds something other than digits"),
        ("text", "transaction", "text", " ", "is blank"),
        ("text", "transaction", "text", "x" * 3001, "has 3001 characters, more than 3000; shorten it by 1"),
        ("text, button", "promotion", "button.url", "htp://x", "'htp://x' is not an http(s) URL"),
        ("text, button", "promotion", "button.caption", " ", "is missing"),
        ("text, image, button", "session", "image.url", "https://a b.org", "is not a well-formed URL"),
        ("image", "promotion", "url", "https://localhost/a.png", "is not reachable from the internet"),
        ("file", "promotion", "filename", " ", "is missing"),
        ("video", "promotion", "size_mb", "big", "'big' is not a number; give it in MB"),
        ("video", "promotion", "size_mb", "201", "is outside 0–200 MB"),
        ("video", "promotion", "duration_s", " ", "is missing; give it in s"),
        ("video, text", "promotion", "video.thumbnail_url", "ftp://x", "is not an http(s) URL"),
        ("list", "transaction", "options[1]", " ", "is missing"),
        ("carousel", "transaction", "items[1].primary.url", "x", "'x' is not an http(s) URL"),
    ],
)
def test_a_violation_stands_beside_its_field(
    form: SendForm, kind: str, rate_type: str, path: str, value: str, said: str
) -> None:
    form.kind.input.value, form.rate_type.input.value = kind, rate_type
    type_in(form, {path: value})
    field = form.to if path == "to" else form.fields[path]
    assert said in plain(field.hint.value)
    assert field.hint.layout.display == ""
    others = [each for each in form._places().values() if each is not field]
    assert not any("✗" in each.hint.value for each in others), "fields where nobody typed are left in peace"


def plain(html: str) -> str:
    return html.replace("&#x27;", "'").replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")


def test_what_a_rate_type_does_not_carry_is_told_at_once(form: SendForm) -> None:
    for kind in KINDS:
        form.kind.input.value = kind
        for rate_type in rules.RATE_TYPES:
            form.rate_type.input.value = rate_type
            refused = rate_type == "transaction" and kind not in rules.TRANSACTION_KINDS
            assert ("does not allow" in form.rate_type.hint.value) == refused, (kind, rate_type)


def test_a_possible_number_is_said_masked_while_typing(form: SendForm) -> None:
    form.to.input.value = NUMBER
    assert f"{MASKED} is a possible number" in form.to.hint.value
    form.to.input.value = NUMBER[:5]
    assert "possible number" not in form.to.hint.value


def test_send_tells_everything_that_is_wrong_and_goes_on_telling(form: SendForm, sandbox: vk.Sandbox) -> None:
    form.kind.input.value, form.rate_type.input.value = "text, button", "promotion"
    form.send_button.click()
    assert "4 things are to be mended" in page(form)
    assert all("is missing" in form._places()[path].hint.value for path in ("to", "text", *BUTTON))
    type_in(form, {"to": NUMBER, "text": WORDS, "button.caption": "Go"})
    assert "One thing is to be mended" in page(form)
    assert "is missing" in form.fields["button.url"].hint.value
    type_in(form, {"button.url": PAGE})
    assert "to be mended" not in page(form)
    assert not asking(form)
    assert not posts(sandbox)


def test_nothing_that_is_wrong_is_lost(form: SendForm, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = [Violation("weather", "", "is too bad"), Violation("text.font", "", "is ugly")]
    monkeypatch.setattr(rules, "violations", lambda *_: strange)
    fill(form)
    assert "weather: is too bad" in page(form)
    assert "text.font: is ugly" in form.fields["text"].hint.value
    form.send_button.click()
    assert not asking(form)


def test_violations_find_the_nearest_field() -> None:
    fields = {path: Field.text(path, path) for path in ("text", "items[0].title", "items[1].title", "video.url")}
    places = {"text": "text", "items[1]": "items[1].title", "items": "items[0].title", "video": "video.url"}
    for path, expected in places.items():
        beside, rest = sort_out([Violation(path, "", "is odd")], fields)
        assert [at for at, found in beside.items() if found] == [expected]
        assert not rest
    assert sort_out([odd := Violation("texture", "", "is odd")], fields)[1] == [odd]


def test_a_client_without_a_service_id_is_told_before_anything_is_typed(sandbox: vk.Sandbox) -> None:
    with vk.Client("a-key", base_url=sandbox.base_url) as client:
        form = SendForm(client)
        assert "service_id: is missing" in page(form)
        fill(form)
        send(form)
        form.close()
    assert not posts(sandbox)


@pytest.mark.filterwarnings("ignore:text")
def test_cautions_are_shown_and_do_not_hinder(form: SendForm, sandbox: vk.Sandbox) -> None:
    fill(form, text="x" * 1200)
    assert "▲ has 1200 characters; texts above 1000 are refused by some" in form.fields["text"].hint.value
    send(form)
    assert len(posts(sandbox)) == 1


def test_html_in_what_is_typed_stays_text(form: SendForm) -> None:
    form.kind.input.value = "image"
    type_in(form, {"to": "<b>1</b>", "url": "<script>alert(1)</script>"})
    form.send_button.click()
    assert "&lt;script&gt;" in form.fields["url"].hint.value
    assert "<script" not in page(form)
    assert "<b>" not in page(form)


# --- kinds, and what was typed ---------------------------------------------------------------------------------


def test_what_was_typed_moves_along_to_another_kind(form: SendForm) -> None:
    fill(form, "text, image, button", text=WORDS)
    type_in(form, {"image.url": PICTURE, **BUTTON})
    form.kind.input.value = "image"
    assert form.fields["url"].value == PICTURE
    assert WORDS not in state(), "what is off the page is in no widget"
    form.kind.input.value = "file"
    assert form.fields["url"].value == "", "a picture is not a file"
    form.kind.input.value = "text, button"
    assert [form.fields[path].value for path in ("text", *BUTTON)] == [WORDS, "Track it", PAGE]
    same = form.fields["text"].input
    form.kind.input.value = "list"
    assert form.fields["text"].input is same, "whoever types while the kind changes types into the same box"
    form.clear_button.click()
    form.kind.input.value = "text, image, button"
    assert not any(each.value for each in form.fields.values())


def test_further_answers_and_cards_show_when_they_are_needed(form: SendForm) -> None:
    def shown() -> list[str]:
        return [path for path, each in form.fields.items() if each.box.layout.display != "none"]

    form.kind.input.value = "list"
    assert shown() == ["text", "options[0]", "options[1]"]
    type_in(form, {"options[1]": "b", "options[2]": "c"})
    assert shown()[-1] == "options[3]"
    form.kind.input.value = "carousel"
    assert len(shown()) == 1 + 2 * 4
    type_in(form, {"items[0].primary.caption": "Buy", "items[1].title": "Elm"})
    assert len(shown()) == 1 + 3 * 4 + 2
    type_in(form, {"items[2].image_url": PICTURE, "items[1].title": ""})
    assert "items[2].title" in shown(), "a card that holds something stays"


def test_labels_are_unique_so_that_a_screen_reader_tells_them_apart() -> None:
    for kind in KINDS.values():
        labels = [each.label for each in kind.fields()]
        assert len(labels) == len(set(labels))


# --- asking, and sending once ----------------------------------------------------------------------------------


def test_it_asks_first_and_freezes_what_is_shown(form: SendForm, sandbox: vk.Sandbox) -> None:
    fill(form)
    form.send_button.click()
    assert asking(form)
    assert f"<b>text</b> as a <b>transaction</b> to <b>{MASKED}</b>? It will be charged." in page(form)
    assert all(each.input.disabled for each in (form.to, form.rate_type, form.kind, form.fields["text"]))
    assert form.send_button.disabled
    assert form.clear_button.disabled
    assert NUMBER not in page(form)
    assert not posts(sandbox)


@pytest.mark.parametrize("change", ["to", "text", "rate_type", "kind"])
def test_a_change_while_it_asks_disarms_it(form: SendForm, sandbox: vk.Sandbox, change: str) -> None:
    fill(form)
    form.send_button.click()
    changes: dict[str, Callable[[], None]] = {
        "to": lambda: type_in(form, {"to": "+491701234599"}),
        "text": lambda: type_in(form, {"text": "something else"}),
        "rate_type": lambda: setattr(form.rate_type.input, "value", "promotion"),
        "kind": lambda: setattr(form.kind.input, "value", "list"),
    }
    changes[change]()
    assert not asking(form)
    form.confirm_button.click()
    assert not posts(sandbox)
    assert not form.send_button.disabled


def test_going_back_sends_nothing_and_keeps_what_was_typed(form: SendForm, sandbox: vk.Sandbox) -> None:
    fill(form)
    form.send_button.click()
    form.cancel_button.click()
    form.confirm_button.click()
    assert not asking(form)
    assert not posts(sandbox)
    assert (form.to.value, form.fields["text"].value) == (NUMBER, WORDS)
    send(form)
    assert len(posts(sandbox)) == 1


def test_one_message_however_often_it_is_clicked(form: SendForm, sandbox: vk.Sandbox) -> None:
    fill(form)
    form.send_button.click()
    form.send_button.click()
    sandbox.latency_s = 0.2
    clicks = [threading.Thread(target=form.confirm_button.click) for _ in range(6)]
    for click in clicks:
        click.start()
    clicks[0].join(0.1)
    assert form.send_button.disabled, "while it goes out"
    assert form.confirm_button.disabled
    form.send_button.click()
    form.clear_button.click()
    for click in clicks:
        click.join()
    form.confirm_button.click()
    assert len(posts(sandbox)) == 1
    assert not form.send_button.disabled


# --- what can go wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["400", "401", "403", "413"])
def test_a_refusal_is_shown_and_what_was_typed_stays(form: SendForm, sandbox: vk.Sandbox, status: str) -> None:
    sandbox.fault(status, method="POST", times=1)
    fill(form)
    send(form)
    assert f"Nothing was sent. POST /messages: {status}" in page(form)
    assert (form.to.value, form.fields["text"].value) == (NUMBER, WORDS)
    assert form.sent is None
    send(form)
    assert form.sent is not None
    assert "Nothing was sent" not in page(form)


def test_a_service_id_of_somebody_else_is_refused(sandbox: vk.Sandbox) -> None:
    with vk.Client(sandbox.api_key, "NOT-OURS", base_url=sandbox.base_url) as client:
        form = SendForm(client)
        fill(form)
        send(form)
        assert "Nothing was sent" in page(form)
        assert "403" in page(form)
        form.close()


@pytest.mark.parametrize("fault", ["drop", "garble", "empty", "500", "html"])
def test_an_unknown_outcome_is_said_strongly_and_cannot_be_repeated(
    form: SendForm, sandbox: vk.Sandbox, fault: str
) -> None:
    sandbox.fault(fault, method="POST")
    fill(form)
    send(form)
    assert "It is not known whether this message was sent." in page(form)
    assert "do not send it again" in page(form)
    assert 'role="alert"' in page(form)
    assert form.sent is None
    form.confirm_button.click()
    form.send_button.click()
    form.confirm_button.click()
    assert "2 things are to be mended" in page(form), "recipient and text have to be typed anew"
    assert len(posts(sandbox)) == 1
    form.wait(1)  # there is nothing to wait for
    type_in(form, {"to": NUMBER})
    assert "It is not known" in page(form), "the next message does not hide it"
    assert NUMBER not in page(form)


def test_what_breaks_after_the_send_counts_as_unknown(form: SendForm, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(form._client, "send", full)
    fill(form)
    send(form)
    assert "It is not known" in page(form)
    assert "OSError: the disk is full" in page(form)
    assert form.to.value == ""


def test_a_server_that_is_not_there(sandbox: vk.Sandbox) -> None:
    with sandbox.client(timeout_s=(0.5, 0.5), retry_for_s=0.2) as client:
        form = SendForm(client)
        sandbox.stop()
        fill(form)
        send(form)
        assert "Nothing was sent." in page(form)
        assert form.fields["text"].value == WORDS
        form.close()


@pytest.mark.parametrize("moment", ["typing", "asking", "switching"])
def test_an_error_in_a_handler_appears_in_the_form(
    form: SendForm, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def break_(*_: Any) -> None:
        raise RuntimeError(f"<boom> about {NUMBER}")

    fill(form)
    monkeypatch.setattr(rules, "violations", break_)
    if moment == "typing":
        form.to.input.value = "1"
    elif moment == "asking":
        form.send_button.click()
    else:
        form.kind.input.value = "list"
    assert f"RuntimeError: &lt;boom&gt; about {MASKED}" in page(form)
    assert not form.send_button.disabled
    monkeypatch.undo()


# --- the trail -------------------------------------------------------------------------------------------------


def test_the_trail_grows_until_the_message_is_final() -> None:
    with vk.Sandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client)
        fill(form)
        send(form)
        assert not form.send_button.disabled, "the next one can be typed meanwhile"
        form.wait(20)
        shown = page(form)
        assert form.sent is not None
        assert form.sent.message_id in shown
        told = client.events(form.sent.message_id)
        assert [state for state in ("accepted", "dispatched", "delivered") if f"{state}</div>" in shown]
        assert "✓ delivered" in shown
        gap = (told[1].happened_at - told[0].happened_at).total_seconds()
        assert f"+{gap:.3f} s" in shown
        assert MASKED in shown
        assert NUMBER not in shown
        form.close()


def test_several_messages_keep_their_trails_and_the_oldest_make_room(form: SendForm, sandbox: vk.Sandbox) -> None:
    ids = []
    for _ in range(6):
        fill(form)
        send(form)
        assert form.sent is not None
        ids.append(form.sent.message_id)
    shown = page(form)
    assert [one in shown for one in ids] == [False, True, True, True, True, True]
    assert shown.index(ids[5]) < shown.index(ids[4])
    assert len(set(ids)) == 6


def test_a_look_that_fails_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultySandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client)
        drawn: list[str] = []
        draw = Trail._draw
        monkeypatch.setattr(Trail, "_draw", lambda trail, *parts: (drawn.append("".join(parts)), draw(trail, *parts)))
        sandbox.fault("403", method="GET", times=1)
        fill(form)
        send(form)
        form.wait(20)
        assert any("Looking again" in one and "403" in one for one in drawn)
        assert "✓ delivered" in drawn[-1]
        form.close()


def test_closing_ends_the_thread_and_leaves_no_widget(client: vk.Client) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    form = SendForm(client)
    fill(form, "carousel", text=WORDS)
    form.kind.input.value = "text"
    send(form)
    (trail,) = [each for each in below(form) if isinstance(each, Trail)]
    assert trail._thread.is_alive()
    form.to.input.value = NUMBER
    form.close()
    form.wait(10)
    assert not trail._thread.is_alive()
    assert set(w.Widget.get_manager_state()["state"]) == before
    form.close()


def test_the_archive_keeps_the_message_and_what_became_of_it(archive: vk.Archive) -> None:
    with vk.Sandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client, archive)
        fill(form)
        send(form)
        form.wait(20)
        form.close()
        assert client.archive is None, "the client that was handed in stays as it is"
    assert form.sent is not None
    assert list(archive.messages()["message_id"]) == [form.sent.message_id]
    assert {"accepted", "dispatched", "delivered"} <= set(archive.events()["state"])


def test_a_trail_shows_codes_and_states_never_seen_before() -> None:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 5, 8, 0, 0, 123_000, tzinfo=UTC)
    events = [
        Event("m", "<b>teleported</b>", at, "history"),
        Event("m", "failed", at, "history", code=f"viber::<error>::{NUMBER}"),
    ]
    table = trail_table(events)
    assert "&lt;b&gt;teleported" in table
    assert "08:00:00.123" in table
    assert "+0.000 s" in table
    assert "✗ failed (viber::&lt;error&gt;::" in table
    assert NUMBER not in table
    assert "No state is told yet" in trail_table([])


# --- what is left behind ---------------------------------------------------------------------------------------

SECRETS = (NUMBER, "0170 12345", WORDS, "Track it", PAGE)


def left(form: SendForm) -> list[str]:
    everything = state() + repr(form)
    return [one for one in (*SECRETS, "sandbox-key") if one in everything]


def typed(form: SendForm) -> None:
    fill(form, "text, button", "promotion", text=WORDS)
    type_in(form, BUTTON)


def test_nothing_typed_stays_after_a_send(form: SendForm) -> None:
    typed(form)
    assert set(left(form)) == {NUMBER, WORDS, "Track it", PAGE}, "so that this test sees what there is to see"
    send(form)
    assert form.sent is not None
    assert left(form) == []


@pytest.mark.parametrize("way", ["clear", "unknown", "close", "another kind"])
def test_nothing_typed_stays(form: SendForm, sandbox: vk.Sandbox, way: str) -> None:
    typed(form)
    if way == "clear":
        form.send_button.click()
        form.cancel_button.click()
        form.clear_button.click()
    elif way == "unknown":
        sandbox.fault("drop", method="POST")
        send(form)
    elif way == "close":
        form.close()
    else:
        form.kind.input.value = "list"
        assert set(left(form)) == {NUMBER, WORDS}, "recipient and text are still on the page"
        return
    assert left(form) == []


def test_what_a_front_end_heard_last_of_every_input_is_empty(form: SendForm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved notebook is written from what the front end heard, so closing is not enough: it must hear ``""``."""
    heard: dict[str, str] = {}
    plain_send = w.Widget.send_state

    def listen(widget: w.Widget, key: Any = None) -> None:
        if isinstance(widget, w.Text | w.Textarea | w.HTML):
            heard[widget.model_id] = widget.value
        plain_send(widget, key)

    monkeypatch.setattr(w.Widget, "send_state", listen)
    typed(form)
    assert NUMBER in heard.values()
    form.kind.input.value = "list"
    form.close()
    assert not [one for one in heard.values() if any(secret in one for secret in SECRETS)]


def test_neither_key_nor_anything_typed_is_in_a_repr(form: SendForm) -> None:
    typed(form)
    assert repr(form) == "SendForm()"
    assert form._repr_mimebundle_()["text/plain"] == "SendForm()"
    assert "sandbox-key" not in state()


def test_no_name_of_the_forms_hides_one_of_the_widgets() -> None:
    """A method called ``_send`` once hid the widget's own, and nothing reached the page any more."""
    meant = {"__init__", "__repr__", "__module__", "__doc__", "__annotations__", "close"}
    for ours, theirs in ((vk.widgets.SendForm, w.VBox), (Trail, w.HTML)):
        own = {name for cls in ours.__mro__ if cls.__module__.startswith("viberkit") for name in vars(cls)}
        made_by_traitlets = {name for name in own if name.startswith(("_all_", "_trait", "_static", "_desc", "_inst"))}
        assert own & set(dir(theirs)) <= meant | made_by_traitlets
