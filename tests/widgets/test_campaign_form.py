"""CampaignForm driven from code: reading and checking recipients, confirming, sending, deciding, what is stored."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd
import pytest
from support.faults import FaultySandbox
from support.hostile import HOSTILE
from support.waiting import wait_for

import viberkit as vk
from viberkit.errors import CampaignError
from viberkit.models.content import Content
from viberkit.widgets.content_fields import KINDS
from viberkit.widgets.files import Download
from viberkit.widgets.phone import message_html
from viberkit.widgets.unsaved import Html

CampaignForm = vk.widgets.CampaignForm
SCRIPT = "<script>alert(1)</script>"


def people(count: int = 5) -> pd.DataFrame:
    numbers = [f"+49170{1_000_000 + index}" for index in range(count)]
    return pd.DataFrame({"phone": numbers, "name": [f"Person {index}" for index in range(count)]})


@pytest.fixture
def form(archive: vk.Archive, client: vk.Client) -> Iterator[CampaignForm]:
    form = CampaignForm(archive, client)
    yield form
    form.close()
    form.wait(10)


def fill(form: CampaignForm, frame: pd.DataFrame | None = None, text: str = "Hi {name}", name: str = "spring") -> None:
    (people() if frame is None else frame).to_csv("people.csv", index=False)
    form.recipients.path.input.value = "people.csv"
    form.name.input.value = name
    form.fields["text"].input.value = text


def checked_form(archive: vk.Archive, client: vk.Client) -> CampaignForm:
    """A form that has checked 60 recipients, and takes more than half a second to send to them."""
    form = CampaignForm(archive, client, recipients=people(60), per_second=100)
    form.name.input.value, form.fields["text"].input.value = "spring", "Hi {name}"
    form.check_button.click()
    return form


def send(form: CampaignForm, clicks: int = 1) -> None:
    assert form.view is not None
    form.view.confirmation.input.value = form.campaign.preview().confirm
    for _ in range(clicks):
        form.view.send_button.click()


def descendants(widget: w.Widget) -> Iterator[w.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def page(form: CampaignForm) -> str:
    return "\n".join(widget.value for widget in descendants(form) if isinstance(widget, Html))


def numbers(sandbox: FaultySandbox) -> list[str]:
    return sorted(request.json["to"] for request in sandbox.requests if request.method == "POST")


def saved_state() -> str:
    return json.dumps(w.Widget.get_manager_state(), ensure_ascii=False, default=str)


# --- recipients ---------------------------------------------------------------------------------------------


def test_a_file_is_read_while_its_path_is_typed(form: CampaignForm) -> None:
    people().to_csv("people.csv", index=False, sep=";")
    form.recipients.path.input.value = "peo"
    assert "'peo' is not a file in" in form.recipients.path.hint.value.replace("&#x27;", "'")
    form.recipients.path.input.value = "people.csv"
    assert "5 rows. people.csv: UTF-8, separator" in page(form)
    assert form.recipients.path.hint.value == ""
    assert (form.recipients.column.value, form.recipients.column.input.options) == ("phone", ["", "phone", "name"])
    assert "<code>{name}</code>" in page(form)
    for typed in ("people", "~nobody/people.csv", "x" * 5000, "a\0b", "/root/../etc/"):
        form.recipients.path.input.value = typed
        shown = form.recipients.path.hint.value
        assert "is not a file in" in shown or "cannot be read: " in shown
        assert form.recipients.frame.empty


def test_an_upload_arrives_in_parts(form: CampaignForm) -> None:
    data = people().to_csv(index=False).encode()
    message = {"name": f"{SCRIPT}.csv", "size": len(data)}
    upload = form.recipients.upload
    upload._handle_custom_msg({**message, "start": 0, "last": False}, [data[:50]])
    assert form.recipients.frame.empty
    upload._handle_custom_msg({**message, "start": 50, "last": True}, [data[50:]])
    assert len(form.recipients.frame) == 5
    assert SCRIPT not in page(form)
    assert "5 rows. &lt;script" in page(form)
    upload._handle_custom_msg({**message, "start": 50, "last": True}, [data[50:]])
    assert "arrived incomplete" in form.recipients.path.hint.value
    assert form.recipients.frame.empty
    upload._handle_custom_msg({**message, "size": 0, "start": 0, "last": True}, [b""])
    assert "is empty; put the file on the server" in form.recipients.path.hint.value
    assert "+49170" not in saved_state()


def test_recipients_from_code_need_no_file(archive: vk.Archive, client: vk.Client) -> None:
    form = CampaignForm(archive, client, recipients=people())
    assert form.recipients.box.children[0].layout.display == "none"
    assert "✗" not in page(form)
    assert "5 rows." in page(form)
    form.name.input.value, form.fields["text"].input.value = "spring", "Hi {name}"
    form.check_button.click()
    assert form.campaign is not None
    assert form.campaign.preview().planned == 5
    form.close()


def test_recipients_from_code_that_cannot_be_read_are_an_error(archive: vk.Archive, client: vk.Client) -> None:
    with pytest.raises(CampaignError, match="does not exist; pass its path"):
        CampaignForm(archive, client, recipients="people.csv")
    with pytest.raises(CampaignError, match="is not in the archive"):
        CampaignForm(archive, client, name="spring")


def test_a_file_that_cannot_be_read_is_shown(form: CampaignForm) -> None:
    Path("people.csv").write_text("phone,phone\n1,2\n")
    form.recipients.path.input.value = "people.csv"
    assert "✗ have several columns &#x27;phone&#x27;; rename all but one" in form.recipients.path.hint.value
    Path("empty.csv").touch()
    form.recipients.path.input.value = "empty.csv"
    assert "cannot be read: it is empty" in form.recipients.path.hint.value
    Path("header.csv").write_text("phone,name\n")
    form.recipients.path.input.value = "header.csv"
    assert "✗ have no row below their header" in form.recipients.path.hint.value


@pytest.mark.parametrize("path", ["x" * 5000, "~nobody-of-this-name/people.csv", "a\0b", "\ud800", "."])
def test_a_path_that_cannot_be_looked_up_is_shown_and_forgets_the_file_before(form: CampaignForm, path: str) -> None:
    people().to_csv("people.csv", index=False)
    form.recipients.path.input.value = "people.csv"
    form.recipients.path.input.value = path
    assert re.search("✗ .*(is not a file in|cannot be read)", form.recipients.path.hint.value)
    assert form.recipients.frame.empty


def test_an_emptied_path_forgets_the_file(form: CampaignForm) -> None:
    people().to_csv("people.csv", index=False)
    form.recipients.path.input.value = "people.csv"
    form.recipients.path.input.value = " "
    assert form.recipients.frame.empty
    assert "is missing; type the path of a file" in form.recipients.path.hint.value


def test_the_column_of_the_numbers_is_asked_for_if_no_name_says_it(form: CampaignForm) -> None:
    fill(form, people().rename(columns={"phone": "handynummer"}))
    form.check_button.click()
    assert "select the column of the phone numbers; it may be &#x27;handynummer&#x27;" in page(form)
    form.recipients.column.input.value = "handynummer"
    form.check_button.click()
    assert form.campaign is not None


def test_the_country_of_national_numbers_is_an_input(form: CampaignForm) -> None:
    fill(form, pd.DataFrame({"phone": ["0170 1000000"], "name": "Ada"}))
    form.recipients.region.input.value = "xx"
    assert "&#x27;XX&#x27; is not a country" in form.recipients.region.hint.value
    form.recipients.region.input.value = "de"
    form.check_button.click()
    assert form.campaign.messages(unmask=True)["to"].tolist() == ["+491701000000"]


# --- checks while typing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "typed", "shown"),
    [
        ("price", "free", "is not an amount"),
        ("price_high", "0.01", "is a range whose upper end is below its lower end"),
        ("context", "x" * 200, "longer than 98|more than 98"),
        ("name", "x" * 200, "more than 128"),
    ],
)
def test_a_violation_is_shown_below_its_input(form: CampaignForm, field: str, typed: str, shown: str) -> None:
    if field == "price_high":
        form.price.input.value = "0.03"
    getattr(form, field).input.value = typed
    hints = form.price.hint.value + getattr(form, field).hint.value
    assert any(text in hints for text in shown.split("|"))


def test_a_cap_needs_a_price(form: CampaignForm) -> None:
    form.cost_cap.input.value = "5"
    assert "needs a price" in form.cost_cap.hint.value
    form.price.input.value = "0.03"
    assert form.cost_cap.hint.value == ""


def test_a_placeholder_without_a_column_is_shown(form: CampaignForm) -> None:
    fill(form, text="Hi {nmae}")
    assert "{nmae} is not a column of the recipients; did you mean &#x27;name&#x27;?" in form.fields["text"].hint.value
    form.fields["text"].input.value = "Hi {name}"
    assert form.fields["text"].hint.value == ""


def test_every_kind_of_content_can_be_planned(form: CampaignForm) -> None:
    fill(form, people().assign(code="x1"))
    form.rate_type.input.value = "promotion"
    for kind in KINDS:
        form.kind.input.value = kind
        for path, field in form.fields.items():
            if not field.options:
                number = path.endswith(("_mb", "_s"))
                link = path.endswith("url")
                field.input.value = "12" if number else "https://example.org/{code}" if link else "{code}"
        assert not [str(violation) for violation in form.violations()], kind


def test_check_names_the_number_of_problems_and_plans_nothing(form: CampaignForm, archive: vk.Archive) -> None:
    form.check_button.click()
    assert "Fix 3 problems before checking." in page(form)
    assert form.campaign is None
    assert archive.outbox().empty


# --- check and confirm --------------------------------------------------------------------------------------


def test_the_check_shows_what_would_be_sent_and_what_is_left_out(form: CampaignForm, sandbox: FaultySandbox) -> None:
    frame = pd.concat([people(), pd.DataFrame({"phone": ["12", "+491701000000"], "name": ["=cmd|x", SCRIPT]})])
    fill(form, frame.assign(**{"=x": "1"}), text="Hi {name} <b>")
    form.price.input.value, form.price_high.input.value, form.currency.input.value = "0.03", "0.05", "€"
    form.check_button.click()
    shown = page(form)
    for name, value in (("Messages to send", "5"), ("Rows left out", "2"), ("Cost", "€0.15–0.25")):
        assert f"<span>{name}</span> <b>{value}</b>" in shown
    assert shown.count("viberkit-bubble") == 3
    assert "Hi Person 0 &lt;b&gt;" in shown
    assert "+49170" not in shown
    cells = [row["cells"][:2] for row in form.view.problems.page_content["rows"]]
    assert cells == [["6", "phone"], ["7", "phone"]]
    assert not numbers(sandbox)

    sent: list[dict[str, Any]] = []
    (download,) = [widget for widget in descendants(form) if isinstance(widget, Download)][:1]
    download.send = sent.append
    download._handle_custom_msg({"view": "1"}, [])
    table = pd.read_csv(io.StringIO(sent[0]["text"]), dtype="str")
    assert list(table.columns) == ["row", "field", "rule", "remedy", "phone", "name", "'=x"]
    assert table["phone"].tolist() == ["12", "+491701000000"]
    assert table["name"].tolist() == ["'=cmd|x", SCRIPT]


def test_checking_again_replaces_what_was_planned(form: CampaignForm) -> None:
    fill(form)
    form.check_button.click()
    form.back_button.click()
    assert "is stored already: checking replaces it" in form.name.hint.value
    fill(form, people(3), text="Hello {name}")
    form.check_button.click()
    assert form.campaign.preview().planned == 3
    assert "Hello Person 0" in page(form)


def test_a_mistyped_confirmation_sends_nothing(form: CampaignForm, sandbox: FaultySandbox) -> None:
    fill(form)
    form.check_button.click()
    form.view.confirmation.input.value = "send 5"
    form.view.send_button.click()
    assert "&#x27;send 5&#x27; is not the text above; type or paste &#x27;send 5 [" in form.view.confirmation.hint.value
    assert not numbers(sandbox)


# --- send ---------------------------------------------------------------------------------------------------


def test_many_clicks_send_once(form: CampaignForm, sandbox: FaultySandbox) -> None:
    fill(form)
    form.check_button.click()
    send(form, clicks=5)
    form.wait(20)
    assert numbers(sandbox) == people()["phone"].tolist()
    assert "✓ Done." in page(form)
    assert [row["cells"] for row in form.view.counts.page_content["rows"]] == [["accepted", "5", "", ""]]


def test_pause_and_resume(archive: vk.Archive) -> None:
    with FaultySandbox(seed=1, speed=0, latency_s=0.05) as sandbox, sandbox.client() as client:
        form = checked_form(archive, client)
        send(form)
        wait_for(lambda: len(numbers(sandbox)) > 5)
        assert "messages have an outcome" in page(form)
        form.view.pause_button.click()
        form.wait(20)
        assert "Paused." in page(form)
        assert set(form.campaign.status().counts) == {"queued", "accepted"}

        second = CampaignForm(archive, client, name="spring")
        form.view.resume_button.click()
        second.view.resume_button.click()
        second.wait(20)
        assert "is being sent by another cell or process" in page(second)
        form.wait(20)
        second.close()
        form.close()
        assert numbers(sandbox) == people(60)["phone"].tolist()


def test_a_closed_form_ends_sending_after_the_messages_in_flight(archive: vk.Archive) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    with FaultySandbox(seed=1, speed=0, latency_s=0.05) as sandbox, sandbox.client() as client:
        form = checked_form(archive, client)
        view, campaign = form.view, form.campaign
        send(form)
        wait_for(lambda: len(numbers(sandbox)) > 5)
        form.close()
        view.wait(20)
        assert set(campaign.status().counts) == {"queued", "accepted"}
    wait_for(lambda: set(w.Widget.get_manager_state()["state"]) == before)


def test_a_process_that_ends_waits_for_the_messages_in_flight(tmp_path: Path) -> None:
    script = """
import sys, time, viberkit as vk
archive = vk.Archive("deliveries.db", create=True)
people = [{"to": f"+49170{1_000_000 + index}"} for index in range(200)]
form = vk.widgets.CampaignForm(archive, vk.Client("sandbox-key", "VIBERKIT", base_url=sys.argv[1]), recipients=people)
form.name.input.value, form.fields["text"].input.value = "spring", "Hi"
form.check_button.click()
form.view.confirmation.input.value = form.campaign.preview().confirm
form.view.send_button.click()
time.sleep(0.5)
"""
    with FaultySandbox(seed=1, speed=0, latency_s=0.2) as sandbox:
        command = [sys.executable, "-c", script, sandbox.base_url]
        result = subprocess.run(command, capture_output=True, check=True, timeout=60, cwd=tmp_path, text=True)
        received = len(numbers(sandbox))
    assert "Traceback" not in result.stderr
    with vk.Archive(tmp_path / "deliveries.db") as archive:
        counts = archive.outbox()["state"].value_counts()
    assert counts[counts > 0].to_dict() == {"accepted": received, "queued": 200 - received}


# --- open again, decide -------------------------------------------------------------------------------------


def test_unfinished_campaigns_are_offered(form: CampaignForm, archive: vk.Archive, client: vk.Client) -> None:
    fill(form)
    form.check_button.click()
    second = CampaignForm(archive, client)
    assert second.stored.input.options == ["new campaign", "spring"]
    second.stored.input.value = "spring"
    assert "<b>5</b>" in page(second)
    send(second)
    second.wait(20)
    third = CampaignForm(archive, client)
    assert third.stored.input.options == ["new campaign"]
    fourth = CampaignForm(archive, client, name="spring")
    assert [row["cells"][:2] for row in fourth.view.counts.page_content["rows"]] == [["accepted", "5"]]
    for opened in (second, third, fourth):
        opened.close()


@pytest.mark.parametrize("decision", ["abandon", "resend"])
def test_unknown_outcomes_are_decided_with_a_reason(form: CampaignForm, sandbox: FaultySandbox, decision: str) -> None:
    sandbox.fault("drop", method="POST", times=2)
    fill(form)
    form.check_button.click()
    send(form)
    form.wait(20)
    view = form.view
    assert view.unknown.page_content["total"] == 2
    view.resolve_button.click()
    assert "is missing; it is stored" in view.reason.hint.value
    view.reason.input.value = "asked the customer"
    view.resolve_button.click()
    assert "Select messages first." in page(form)
    view.unknown.choose_all()
    view.decision.input.value = decision
    view.resolve_button.click()
    assert f"2 decided: {decision}." in page(form)
    assert view.unknown.page_content["total"] == 0
    assert len(numbers(sandbox)) == 5
    if decision == "resend":
        view.resume_button.click()
        form.wait(20)
        assert len(numbers(sandbox)) == 7
        assert len(set(numbers(sandbox))) == 5


def test_errors_are_shown(form: CampaignForm, archive: vk.Archive, sandbox: FaultySandbox) -> None:
    fill(form)
    archive.resolve = None  # type: ignore[method-assign,assignment]
    vk.Campaign.plan(archive, "spring", people(1), vk.Text("Hi"), rate_type="promotion").send(
        sandbox.client(), confirm=vk.Campaign.open(archive, "spring").preview().confirm, progress=False
    )
    form.check_button.click()
    assert "is already planned with different terms" in page(form)


def test_an_archive_that_is_gone_while_messages_are_sent(archive: vk.Archive) -> None:
    with FaultySandbox(seed=1, speed=0, latency_s=0.05) as sandbox, sandbox.client() as client:
        form = checked_form(archive, client)
        send(form)
        wait_for(lambda: len(numbers(sandbox)) > 5)
        archive.close()
        archive.path.unlink()
        form.wait(20)
        assert "✗" in page(form), "an error is shown, and none is raised in a thread"
        form.close()


# --- what is stored, what is shown --------------------------------------------------------------------------


def test_the_state_of_the_widgets_holds_nothing_that_was_typed_or_read(form: CampaignForm) -> None:
    fill(form, people().rename(columns={"name": "secret_column"}), text="Hidden {secret_column}", name="secret-name")
    everything = [saved_state()]
    form.check_button.click()
    everything.append(saved_state())
    send(form)
    form.wait(20)
    everything.append(saved_state() + repr(form) + repr(form.view))
    secrets = ("+4917", "Hidden", "secret", "Person", "people.csv", "sandbox-key")
    assert not [secret for secret in secrets if secret in "".join(everything)]


def test_hostile_texts_are_escaped(form: CampaignForm) -> None:
    columns = {
        f"{text} ": [text, text[:1]] for text in HOSTILE if text.strip() and "\0" not in text and len(text) < 500
    }
    text = " ".join(HOSTILE[::9])[:1000].replace("{", "{{").replace("}", "}}")
    fill(form, people(2).assign(**columns), text=f"{text} {{name}}", name=HOSTILE[0])
    for path in HOSTILE[::20]:
        form.recipients.path.input.value = path.replace("\0", "")
        assert_escaped(form)
    form.recipients.path.input.value = "people.csv"
    form.check_button.click()
    assert form.campaign is not None, form.violations()
    assert_escaped(form)


def assert_escaped(form: CampaignForm) -> None:
    tags = set(re.findall(r"<(\w+)", page(form).lower()))
    assert tags <= {"b", "br", "code", "div", "h3", "label", "p", "path", "progress", "small", "span", "svg"}


@pytest.mark.parametrize(
    "content",
    [
        vk.Image("https://example.org/a.png"),
        vk.File("https://example.org/a.pdf", "bill.pdf"),
        vk.Video("https://example.org/a.mp4", "https://example.org/a.png", 1, 2),
        vk.List("Which day?", ["Monday", "Tuesday"]),
        vk.Carousel("Trees", [vk.CarouselItem("Oak", "https://example.org/a.png", vk.Button("Buy", "https://x.org"))]),
    ],
)
def test_a_preview_loads_nothing(content: Content) -> None:
    shown = message_html(content, to="+4917*****00", sender="SHOP")
    assert "<img" not in shown
    assert "src=" not in shown
    assert "href" not in shown
    assert shown.count("<div") == shown.count("</div")
