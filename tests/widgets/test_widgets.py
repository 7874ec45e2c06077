"""SendForm driven from code: checks, sending, what it shows, and what remains in the widgets' state."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets as w
import pytest
from support.faults import FaultySandbox

import viberkit as vk
from viberkit.errors import Violation
from viberkit.models import validation
from viberkit.models.content import kind
from viberkit.models.records import Event
from viberkit.widgets.content_fields import KINDS, new_fields, read_content
from viberkit.widgets.fields import Field, assign_violations
from viberkit.widgets.status import StatusView, history_table
from viberkit.widgets.unsaved import Html, TextInput

NUMBER = "+491701234506"
MASKED = "+4917*****06"
TEXT = "Your parcel waits at the harbour"
PAGE = "https://example.org/track"
PICTURE = "https://example.org/a.png"

SendForm = vk.widgets.SendForm


@pytest.fixture
def form(client: vk.Client) -> Iterator[SendForm]:
    form = SendForm(client)
    yield form
    form.close()
    form.wait(10)


def fill(form: SendForm, kind: str = "text", rate_type: str = "transaction", **typed: str) -> None:
    """Select kind and rate type, and type a recipient (and a text)."""
    form.kind.input.value, form.rate_type.input.value = kind, rate_type
    type_in(form, {"to": NUMBER, **({"text": TEXT} if kind == "text" else {}), **typed})


def type_in(form: SendForm, typed: dict[str, str]) -> None:
    for path, value in typed.items():
        (form.to if path == "to" else form.fields[path]).input.value = value


def send(form: SendForm) -> None:
    form.send_button.click()
    form.confirm_button.click()


def posts(sandbox: FaultySandbox) -> list[Any]:
    return [request.json for request in sandbox.requests if request.method == "POST"]


def page(form: SendForm) -> str:
    """Everything that the form shows, as HTML."""
    return "\n".join(widget.value for widget in descendants(form) if isinstance(widget, w.HTML | Html))


def descendants(widget: w.Widget) -> Iterator[w.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def saved_state() -> str:
    """The state of every open widget, as a front end would save it."""
    return json.dumps(w.Widget.get_manager_state(), ensure_ascii=False, default=str)


def is_asking(form: SendForm) -> bool:
    return (
        form.confirm_button in form._confirmation.children[1].children and form._confirmation.layout.display != "none"
    )


# --- every kind of content ----------------------------------------------------------------------------------

CARD = {"title": "Oak", "image_url": PICTURE, "primary.caption": "Buy", "primary.url": PAGE}
BUTTON = {"button.caption": "Track it", "button.url": PAGE}
WIRE_BUTTON = {"type": "button", "button": {"caption": "Track it", "url": PAGE}}
VIDEO = {"url": f"{PAGE}.mp4", "thumbnail_url": PICTURE, "size_mb": "12.5", "duration_s": " 30 "}
WIRE_VIDEO = {"url": f"{PAGE}.mp4", "thumbnailUrl": PICTURE, "filesize": 13, "duration": 30}
IN_BODY = {f"video.{name}": value for name, value in VIDEO.items()}


def body(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contentType": "components", "components": {"body": [{"type": "text", "text": TEXT}, *parts]}}


def wire_card(title: str) -> dict[str, Any]:
    return {"title": title, "imageUrl": PICTURE, "primaryButton": {"label": "Buy", "actionUrl": PAGE}}


TYPED: list[tuple[str, dict[str, str], dict[str, Any]]] = [
    ("text", {"text": f"{TEXT}\n  so"}, {"contentType": "text", "text": f"{TEXT}\n  so"}),
    ("text, button", {"text": TEXT, **BUTTON}, body(WIRE_BUTTON)),
    (
        "text, image, button",
        {"text": TEXT, "image.url": f" {PICTURE} ", **BUTTON},
        body({"type": "image", "image": {"url": PICTURE}}, WIRE_BUTTON),
    ),
    ("image", {"url": PICTURE}, {"contentType": "image", "image": {"url": PICTURE}}),
    (
        "file",
        {"url": PAGE, "filename": "bill.pdf", "type": "pdf"},
        {"contentType": "file", "file": {"url": PAGE, "filename": "bill.pdf", "type": "pdf"}},
    ),
    ("video", {**VIDEO, "type": "mp4"}, {"contentType": "video", "video": {**WIRE_VIDEO, "type": "mp4"}}),
    ("video, text", {"text": TEXT, **IN_BODY}, body({"type": "video", "video": WIRE_VIDEO})),
    (
        "video, text, button",
        {"text": TEXT, **IN_BODY, **BUTTON},
        body({"type": "video", "video": WIRE_VIDEO}, WIRE_BUTTON),
    ),
    (
        "list",
        {"text": TEXT, **{f"options[{index}]": f"day {index}" for index in range(3)}},
        {"contentType": "list", "list": {"text": TEXT, "options": ["day 0", "day 1", "day 2"]}},
    ),
    (
        "carousel",
        {
            "text": TEXT,
            **{f"items[0].{name}": value for name, value in CARD.items()},
            **{f"items[1].{name}": value for name, value in CARD.items()},
            "items[1].title": "Elm",
            "items[1].secondary.caption": "More",
            "items[1].secondary.url": PICTURE,
        },
        {
            "contentType": "carousel",
            "carousel": {
                "text": TEXT,
                "items": [
                    wire_card("Oak"),
                    {**wire_card("Elm"), "secondaryButton": {"label": "More", "actionUrl": PICTURE}},
                ],
            },
        },
    ),
]


def test_every_kind_has_an_example_below() -> None:
    assert [kind for kind, *_ in TYPED] == list(KINDS)
    contents = [read_content(name, {field.path: "x" for field in new_fields(name)}) for name in KINDS]
    assert {kind(content) for content in contents} == set(validation.KINDS)


@pytest.mark.parametrize(("kind", "typed", "wire"), TYPED, ids=[kind for kind, *_ in TYPED])
def test_the_content_is_sent_as_typed(
    form: SendForm, sandbox: FaultySandbox, kind: str, typed: dict[str, str], wire: dict[str, Any]
) -> None:
    form.kind.input.value, form.rate_type.input.value = kind, "promotion"
    type_in(form, {"to": "0049 170 12345-06", **typed})
    assert form.violations() == []
    send(form)
    expected = {"to": NUMBER, "from": "VIBERKIT", "channel": "viber", "rateType": "promotion", "content": wire}
    assert posts(sandbox) == [expected]
    assert form.sent is not None
    assert form.sent.message_id in page(form)


@pytest.mark.filterwarnings("ignore:file. type")
@pytest.mark.parametrize("kind", ["file", "video"])
def test_the_type_is_optional(form: SendForm, sandbox: FaultySandbox, kind: str) -> None:
    complete = {name: typed for name, typed, _ in TYPED}[kind]
    form.kind.input.value, form.rate_type.input.value = kind, "promotion"
    type_in(form, {"to": NUMBER, **{path: value for path, value in complete.items() if path != "type"}})
    send(form)
    assert "type" not in posts(sandbox)[0]["content"][kind]


# --- violations below their inputs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rate_type", "path", "value", "shown"),
    [
        ("text", "transaction", "to", "12", "'12' is not a phone number"),
        ("text", "transaction", "to", "+49 12", "'+4***' lacks an area code"),
        ("text", "transaction", "to", "my phone", "has characters other than digits"),
        ("text", "transaction", "text", " ", "is blank"),
        ("text", "transaction", "text", "x" * 3001, "has 3001 characters, more than 3000; shorten it by 1"),
        ("text, button", "promotion", "button.url", "htp://x", "'htp://x' is not an http(s) URL"),
        ("text, button", "promotion", "button.caption", " ", "is missing"),
        ("text, image, button", "session", "image.url", "https://a b.org", "is not a well-formed URL"),
        ("image", "promotion", "url", "https://localhost/a.png", "is not reachable from the internet"),
        ("file", "promotion", "filename", " ", "is missing"),
        ("video", "promotion", "size_mb", "big", "'big' is not a number; pass a number in MB"),
        ("video", "promotion", "size_mb", "201", "is outside 0–200 MB"),
        ("video", "promotion", "duration_s", " ", "is missing; pass a number in s"),
        ("video, text", "promotion", "video.thumbnail_url", "ftp://x", "is not an http(s) URL"),
        ("list", "transaction", "options[1]", " ", "is missing"),
        ("carousel", "transaction", "items[1].primary.url", "x", "'x' is not an http(s) URL"),
    ],
)
def test_a_violation_is_shown_below_its_input(
    form: SendForm, kind: str, rate_type: str, path: str, value: str, shown: str
) -> None:
    form.kind.input.value, form.rate_type.input.value = kind, rate_type
    type_in(form, {path: value})
    field = form.to if path == "to" else form.fields[path]
    assert shown in plain(field.hint.value)
    assert field.hint.layout.display == ""
    others = [other for other in form._fields_by_path().values() if other is not field]
    assert not any("✗" in other.hint.value for other in others), "unchanged inputs show no violation"


def plain(html: str) -> str:
    return html.replace("&#x27;", "'").replace("&quot;", '"').replace("&lt;", "<").replace("&amp;", "&")


def test_a_kind_that_the_rate_type_does_not_allow_is_shown_at_once(form: SendForm) -> None:
    for name in KINDS:
        form.kind.input.value = name
        for rate_type in validation.RATE_TYPES:
            form.rate_type.input.value = rate_type
            refused = rate_type == "transaction" and name not in validation.TRANSACTION_KINDS
            assert ("does not allow" in form.rate_type.hint.value) == refused, (name, rate_type)


def test_a_valid_number_is_shown_masked_while_typing(form: SendForm) -> None:
    form.to.input.value = NUMBER
    assert f"{MASKED} is a valid number" in form.to.hint.value
    form.to.input.value = NUMBER[:5]
    assert "valid number" not in form.to.hint.value


def test_send_shows_all_violations_and_their_count_is_updated(form: SendForm, sandbox: FaultySandbox) -> None:
    form.kind.input.value, form.rate_type.input.value = "text, button", "promotion"
    form.send_button.click()
    assert "Fix 4 problems before sending." in page(form)
    assert all("is missing" in form._fields_by_path()[path].hint.value for path in ("to", "text", *BUTTON))
    type_in(form, {"to": NUMBER, "text": TEXT, "button.caption": "Go"})
    assert "Fix 1 problem before sending." in page(form)
    assert "is missing" in form.fields["button.url"].hint.value
    type_in(form, {"button.url": PAGE})
    assert "before sending" not in page(form)
    assert not is_asking(form)
    assert not posts(sandbox)


def test_a_violation_without_an_input_is_shown(form: SendForm, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = [Violation("weather", "", "is too bad"), Violation("text.font", "", "is ugly")]
    monkeypatch.setattr(validation, "violations", lambda *_: strange)
    fill(form)
    assert "weather: is too bad" in page(form)
    assert "text.font: is ugly" in form.fields["text"].hint.value
    form.send_button.click()
    assert not is_asking(form)


def test_violations_are_assigned_to_the_nearest_input() -> None:
    fields = {path: Field(path, path) for path in ("text", "items[0].title", "items[1].title", "video.url")}
    nearest = {"text": "text", "items[1]": "items[1].title", "items": "items[0].title", "video": "video.url"}
    for path, expected in nearest.items():
        assigned, others = assign_violations([Violation(path, "", "is odd")], fields)
        assert [field for field, violations in assigned.items() if violations] == [expected]
        assert not others
    violation = Violation("texture", "", "is odd")
    assert assign_violations([violation], fields)[1] == [violation]


def test_a_missing_service_id_is_shown_before_anything_is_typed(sandbox: FaultySandbox) -> None:
    with vk.Client("a-key", base_url=sandbox.base_url) as client:
        form = SendForm(client)
        assert "service_id: is missing" in page(form)
        fill(form)
        send(form)
        form.close()
    assert not posts(sandbox)


@pytest.mark.filterwarnings("ignore:text")
def test_cautions_are_shown_and_do_not_prevent_sending(form: SendForm, sandbox: FaultySandbox) -> None:
    fill(form, text="x" * 1200)
    assert "▲ has 1200 characters; some operators refuse more than 1000" in form.fields["text"].hint.value
    send(form)
    assert len(posts(sandbox)) == 1


def test_typed_html_is_escaped(form: SendForm) -> None:
    form.kind.input.value = "image"
    type_in(form, {"to": "<b>1</b>", "url": "<script>alert(1)</script>"})
    form.send_button.click()
    assert "&lt;script&gt;" in form.fields["url"].hint.value
    assert "<script" not in page(form)
    assert "<b>" not in page(form)


# --- changing the kind of content ---------------------------------------------------------------------------


def test_text_is_kept_when_the_kind_changes(form: SendForm) -> None:
    fill(form, "text, image, button", text=TEXT)
    type_in(form, {"image.url": PICTURE, **BUTTON})
    form.kind.input.value = "image"
    assert form.fields["url"].value == PICTURE
    assert TEXT not in saved_state(), "removed text is in no widget"
    form.kind.input.value = "file"
    assert form.fields["url"].value == "", "an image is not a file"
    form.kind.input.value = "text, button"
    assert [form.fields[path].value for path in ("text", *BUTTON)] == [TEXT, "Track it", PAGE]
    same = form.fields["text"].input
    form.kind.input.value = "list"
    assert form.fields["text"].input is same, "text typed while the kind changes goes into the same input"
    form.clear_button.click()
    form.kind.input.value = "text, image, button"
    assert not any(field.value for field in form.fields.values())


def test_further_options_and_cards_are_shown_when_needed(form: SendForm) -> None:
    def shown() -> list[str]:
        return [path for path, field in form.fields.items() if field.box.layout.display != "none"]

    form.kind.input.value = "list"
    assert shown() == ["text", "options[0]", "options[1]"]
    type_in(form, {"options[1]": "b", "options[2]": "c"})
    assert shown()[-1] == "options[3]"
    form.kind.input.value = "carousel"
    assert len(shown()) == 1 + 2 * 4
    type_in(form, {"items[0].primary.caption": "Buy", "items[1].title": "Elm"})
    assert len(shown()) == 1 + 3 * 4 + 2
    type_in(form, {"items[2].image_url": PICTURE, "items[1].title": ""})
    assert "items[2].title" in shown(), "a filled card stays"


def test_labels_are_unique_within_a_kind() -> None:
    for name in KINDS:
        labels = [field.label for field in new_fields(name)]
        assert len(labels) == len(set(labels))


# --- confirmation, and sending once -------------------------------------------------------------------------


def test_it_asks_for_confirmation_and_disables_the_inputs(form: SendForm, sandbox: FaultySandbox) -> None:
    fill(form)
    form.send_button.click()
    assert is_asking(form)
    assert f"<b>text</b> as a <b>transaction</b> to <b>{NUMBER}</b>? It will be charged." in page(form)
    assert all(field.input.disabled for field in (form.to, form.rate_type, form.kind, form.fields["text"]))
    assert form.send_button.disabled
    assert form.clear_button.disabled
    assert not posts(sandbox)


@pytest.mark.parametrize("change", ["to", "text", "rate_type", "kind"])
def test_a_change_cancels_the_confirmation(form: SendForm, sandbox: FaultySandbox, change: str) -> None:
    fill(form)
    form.send_button.click()
    changes: dict[str, Callable[[], None]] = {
        "to": lambda: type_in(form, {"to": "+491701234599"}),
        "text": lambda: type_in(form, {"text": "something else"}),
        "rate_type": lambda: setattr(form.rate_type.input, "value", "promotion"),
        "kind": lambda: setattr(form.kind.input, "value", "list"),
    }
    changes[change]()
    assert not is_asking(form)
    form.confirm_button.click()
    assert not posts(sandbox)
    assert not form.send_button.disabled


def test_going_back_sends_nothing_and_keeps_the_inputs(form: SendForm, sandbox: FaultySandbox) -> None:
    fill(form)
    form.send_button.click()
    form.cancel_button.click()
    form.confirm_button.click()
    assert not is_asking(form)
    assert not posts(sandbox)
    assert (form.to.value, form.fields["text"].value) == (NUMBER, TEXT)
    send(form)
    assert len(posts(sandbox)) == 1


def test_repeated_clicks_send_one_message(form: SendForm, sandbox: FaultySandbox) -> None:
    fill(form)
    form.send_button.click()
    form.send_button.click()
    sandbox.latency_s = 0.2
    clicks = [threading.Thread(target=form.confirm_button.click) for _ in range(6)]
    for click in clicks:
        click.start()
    clicks[0].join(0.1)
    assert form.send_button.disabled, "while it is being sent"
    assert form.confirm_button.disabled
    form.send_button.click()
    form.clear_button.click()
    for click in clicks:
        click.join()
    form.confirm_button.click()
    assert len(posts(sandbox)) == 1
    assert not form.send_button.disabled


# --- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["400", "401", "403", "413"])
def test_a_refusal_is_shown_and_the_inputs_are_kept(form: SendForm, sandbox: FaultySandbox, status: str) -> None:
    sandbox.fault(status, method="POST", times=1)
    fill(form)
    send(form)
    assert f"Nothing was sent. POST /messages: {status}" in page(form)
    assert (form.to.value, form.fields["text"].value) == (NUMBER, TEXT)
    assert form.sent is None
    send(form)
    assert form.sent is not None
    assert "Nothing was sent" not in page(form)


def test_a_foreign_service_id_is_refused(sandbox: FaultySandbox) -> None:
    with vk.Client(sandbox.api_key, "NOT-OURS", base_url=sandbox.base_url) as client:
        form = SendForm(client)
        fill(form)
        send(form)
        assert "Nothing was sent" in page(form)
        assert "403" in page(form)
        form.close()


@pytest.mark.parametrize("fault", ["drop", "garble", "empty", "500", "html"])
def test_an_unknown_outcome_is_shown_and_cannot_be_repeated(form: SendForm, sandbox: FaultySandbox, fault: str) -> None:
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
    assert "Fix 2 problems" in page(form), "recipient and text have to be typed again"
    assert len(posts(sandbox)) == 1
    form.wait(1)  # returns at once
    type_in(form, {"to": NUMBER})
    assert "It is not known" in page(form), "the next message does not hide it"
    assert NUMBER not in page(form)


def test_an_earlier_unknown_send_is_reported_and_the_inputs_are_kept(
    client: vk.Client, archive: vk.Archive, sandbox: FaultySandbox
) -> None:
    form = SendForm(client.with_archive(archive))
    sandbox.fault("drop", method="POST", times=1)
    fill(form)
    send(form)
    fill(form)
    send(form)
    assert "Nothing was sent: the outcome of an earlier send of the same content is unknown" in page(form)
    assert form.fields["text"].value == TEXT
    assert len(posts(sandbox)) == 1
    form.close()


def test_an_unexpected_error_while_sending_counts_as_unknown(form: SendForm, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(form._client, "send", fail)
    fill(form)
    send(form)
    assert "It is not known" in page(form)
    assert "OSError: the disk is full" in page(form)
    assert form.to.value == ""


def test_an_unreachable_server(sandbox: FaultySandbox) -> None:
    with sandbox.client(timeout_s=(0.5, 0.5), retry_for_s=0.2) as client:
        form = SendForm(client)
        sandbox.stop()
        fill(form)
        send(form)
        assert "Nothing was sent." in page(form)
        assert form.fields["text"].value == TEXT
        form.close()


@pytest.mark.parametrize("moment", ["typing", "asking", "switching"])
def test_an_error_in_a_handler_appears_in_the_form(
    form: SendForm, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(f"<boom> about {NUMBER}")

    fill(form)
    monkeypatch.setattr(validation, "violations", fail)
    if moment == "typing":
        form.to.input.value = "1"
    elif moment == "asking":
        form.send_button.click()
    else:
        form.kind.input.value = "list"
    assert f"RuntimeError: &lt;boom&gt; about {MASKED}" in page(form)
    assert not form.send_button.disabled
    monkeypatch.undo()


# --- the status view ----------------------------------------------------------------------------------------


def test_the_status_is_updated_until_the_message_is_final() -> None:
    with FaultySandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client)
        fill(form)
        send(form)
        assert not form.send_button.disabled, "the next message can be typed meanwhile"
        form.wait(20)
        shown = page(form)
        assert form.sent is not None
        assert form.sent.message_id in shown
        events = client.events(form.sent.message_id)
        assert [state for state in ("accepted", "dispatched", "delivered") if f"{state}</div>" in shown]
        assert "✓ delivered" in shown
        gap = (events[1].happened_at - events[0].happened_at).total_seconds()
        assert f"+{gap:.3f} s" in shown
        assert MASKED in shown
        assert NUMBER not in shown
        form.close()


def test_a_confirmation_removes_the_result_of_the_last_message(form: SendForm, sandbox: FaultySandbox) -> None:
    fill(form)
    send(form)
    assert form.sent is not None
    first = form.sent.message_id
    (view,) = [widget for widget in descendants(form) if isinstance(widget, StatusView)]
    assert first in page(form)
    fill(form)
    assert first in page(form)
    form.send_button.click()
    assert is_asking(form)
    assert first not in page(form)
    assert form.sent is None
    view.wait(5)
    assert not view._thread.is_alive()
    form.cancel_button.click()
    assert NUMBER not in page(form), "the question is emptied, so that it is not saved"
    sandbox.fault("403", method="POST", times=1)
    send(form)
    assert form.sent is None, "a refused message is not the one before"
    send(form)
    assert form.sent is not None
    assert form.sent.message_id != first
    form.clear_button.click()
    assert form.sent is None


def test_what_may_have_been_sent_stays_on_the_page(form: SendForm, sandbox: FaultySandbox) -> None:
    sandbox.fault("drop", method="POST", times=1)
    fill(form)
    send(form)
    for _ in range(2):
        fill(form, text="Another text")
        send(form)
    assert form.sent is not None
    assert page(form).count("It is not known whether this message was sent.") == 1
    assert form.sent.message_id in page(form)


def test_a_failed_request_is_shown_and_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultySandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client)
        shown: list[str] = []
        show = StatusView._show
        monkeypatch.setattr(
            StatusView, "_show", lambda view, *parts: (shown.append("".join(parts)), show(view, *parts))
        )
        sandbox.fault("403", method="GET", times=1)
        fill(form)
        send(form)
        form.wait(20)
        assert any("Retrying" in text and "403" in text for text in shown)
        assert "✓ delivered" in shown[-1]
        form.close()


def test_closing_ends_the_thread_and_leaves_no_widget(client: vk.Client) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    form = SendForm(client)
    fill(form, "carousel", text=TEXT)
    form.kind.input.value = "text"
    send(form)
    (view,) = [widget for widget in descendants(form) if isinstance(widget, StatusView)]
    assert view._thread.is_alive()
    form.to.input.value = NUMBER
    form.close()
    form.wait(10)
    assert not view._thread.is_alive()
    assert set(w.Widget.get_manager_state()["state"]) == before
    form.close()


def test_the_archive_stores_the_message_and_its_events(archive: vk.Archive) -> None:
    with FaultySandbox(seed=1, speed=100) as sandbox, sandbox.client() as client:
        form = SendForm(client, archive)
        fill(form)
        send(form)
        form.wait(20)
        form.close()
        assert client.archive is None, "the client that was passed is unchanged"
    assert form.sent is not None
    assert list(archive.messages()["message_id"]) == [form.sent.message_id]
    assert {"accepted", "dispatched", "delivered"} <= set(archive.events()["state"])


def test_the_history_shows_codes_and_unrecognised_states() -> None:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 5, 8, 0, 0, 123_000, tzinfo=UTC)
    events = [
        Event("m", "<b>teleported</b>\u202e", at, "history"),
        Event("m", "failed", at, "history", code=f"viber::<error>::{NUMBER}"),
    ]
    table = history_table(events)
    assert "&lt;b&gt;teleported&lt;/b&gt;\\u202e" in table
    assert "08:00:00.123" in table
    assert "+0.000 s" in table
    assert "✗ failed (viber::&lt;error&gt;::" in table
    assert NUMBER not in table
    assert "No state reported yet" in history_table([])


# --- what remains in the state of the widgets ---------------------------------------------------------------

SECRETS = (NUMBER, "0170 12345", TEXT, "Track it", PAGE)


def fill_with_secrets(form: SendForm) -> None:
    fill(form, "text, button", "promotion", text=TEXT)
    type_in(form, BUTTON)


def typed_in(form: SendForm) -> str:
    return " ".join(field.typed for field in (form.to, *form.fields.values()))


@pytest.mark.parametrize("what", ["typing", "asking", "sent"])
def test_the_state_of_the_widgets_holds_nothing_that_was_typed(form: SendForm, what: str) -> None:
    fill_with_secrets(form)
    assert NUMBER in typed_in(form)
    if what != "typing":
        form.send_button.click()
        assert NUMBER in page(form), "the question names the recipient"
    if what == "sent":
        form.confirm_button.click()
        assert form.sent is not None
        assert typed_in(form).strip() == ""
    everything = saved_state() + repr(form)
    assert not [secret for secret in (*SECRETS, "sandbox-key") if secret in everything]


@pytest.mark.parametrize("how", ["clear", "unknown", "close", "another kind"])
def test_inputs_are_emptied(form: SendForm, sandbox: FaultySandbox, how: str) -> None:
    fill_with_secrets(form)
    typed = [field.input for field in (form.to, *form.fields.values()) if not field.options]
    if how == "clear":
        form.send_button.click()
        form.cancel_button.click()
        form.clear_button.click()
    elif how == "unknown":
        sandbox.fault("drop", method="POST")
        send(form)
    elif how == "close":
        form.close()
    else:
        form.kind.input.value = "list"
        assert [box.value for box in typed] == [NUMBER, TEXT, "", ""], "recipient and text are still shown"
        return
    assert not [box.value for box in typed if box.value]


def test_what_is_typed_reaches_the_kernel_and_every_other_view(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    box = TextInput(description="Text")
    monkeypatch.setattr(box, "send", sent.append)
    box._handle_custom_msg("ready", [])
    assert sent.pop()["value"] == ""
    box._handle_custom_msg({"typed": "Hi", "view": "1"}, [])
    assert (box.value, sent) == ("Hi", [{"value": "Hi", "except": "1"}]), "not to the view in which it was typed"
    sent.clear()
    box.observe(lambda _: setattr(box, "value", box.value.strip()), "value")
    box._handle_custom_msg({"typed": " Hello", "view": "1"}, [])
    assert sent[-1] == {"value": "Hello"}, "a handler changed it: every view shows that"
    box.close()


def test_the_repr_contains_no_input_and_no_key(form: SendForm) -> None:
    fill_with_secrets(form)
    assert repr(form) == "SendForm()"
    assert form._repr_mimebundle_()["text/plain"] == "SendForm()"
    assert "sandbox-key" not in saved_state()


def test_no_attribute_overrides_one_of_ipywidgets() -> None:
    """A method named ``_send`` would replace that of the widget, and nothing would reach the page."""
    intended = {"__init__", "__repr__", "__module__", "__doc__", "__annotations__", "close"}
    for subclass, base in ((vk.widgets.SendForm, w.VBox), (StatusView, w.HTML)):
        own = {name for cls in subclass.__mro__ if cls.__module__.startswith("viberkit") for name in vars(cls)}
        added_by_traitlets = {name for name in own if name.startswith(("_all_", "_trait", "_static", "_desc", "_inst"))}
        assert own & set(dir(base)) <= intended | added_by_traitlets


def test_a_script_that_leaves_the_form_open_ends_silently(sandbox: vk.Sandbox) -> None:
    script = (
        "import sys, viberkit as vk; form = vk.widgets.SendForm(vk.Client('the-key', 'SHOP', base_url=sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, sandbox.base_url], capture_output=True, check=True, timeout=60
    )
    assert (result.stdout, result.stderr) == (b"", b"")
