"""SendForm in JupyterLab, driven in Chromium: typing, clicking, and what a saved notebook contains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.faults import FaultySandbox
from support.jupyter import Desk, Server, open_notebook, serious_violations, write_notebook

pytestmark = pytest.mark.browser

NUMBER = "+49 170 12345 06"  # with this seed its first message is delivered after 2.7 virtual seconds
MASKED = "+4917*****06"
TEXT = "Your parcel waits at the harbour"
KEY = "a-key-that-must-not-be-shown"
NOTEBOOK = "import viberkit as vk\n\nform = vk.widgets.SendForm(vk.Client())\nform"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox(seed=1, speed=100, api_key=KEY) as sandbox:
        yield sandbox


@pytest.fixture
def desk(lab: Server, browser: Any, sandbox: FaultySandbox, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A new notebook that shows the form; the parameter is the theme and whether widget state is saved."""
    theme, save_state = getattr(request, "param", ("JupyterLab Light", False))
    name = f"{request.node.name.partition('[')[0]}-{save_state}-{theme.split()[1].lower()}.ipynb"
    path = write_notebook(lab.work / "send-form", name, NOTEBOOK, sandbox)
    with open_notebook(lab, browser, path, theme=theme, save_state=save_state) as desk:
        desk.page.get_by_label("Recipient").wait_for()
        yield desk


def posts(sandbox: FaultySandbox) -> list[Any]:
    return [request.json for request in sandbox.requests if request.method == "POST"]


@pytest.mark.parametrize("desk", [("JupyterLab Light", True), ("JupyterLab Dark", False)], indirect=True)
def test_from_mistakes_to_delivered(desk: Desk, sandbox: FaultySandbox) -> None:
    before = len(posts(sandbox))
    desk.take_screenshot("empty")

    desk.type("Recipient", "+49 12")
    desk.wait_for_text("lacks an area code")
    desk.choose("Content", "text, image, button")
    desk.wait_for_text("'transaction' does not allow text+button+image")
    desk.type("Text", TEXT)
    desk.type("Image URL", "htp://example.org/a.png")
    desk.wait_for_text("'htp://example.org/a.png' is not an http(s) URL")
    desk.click("Send")
    desk.wait_for_text("Fix 5 problems before sending.")
    desk.take_screenshot("mistakes")
    assert serious_violations(desk.page) == []
    assert len(posts(sandbox)) == before

    desk.type("Recipient", NUMBER)
    desk.wait_for_text(f"{MASKED} is a valid number")
    desk.choose("Rate type", "promotion")
    desk.wait_until_hidden("does not allow")
    desk.type("Image URL", "https://example.org/a.png")
    desk.type("Button", "Track it")
    desk.type("Button URL", "https://example.org/t/1")
    desk.wait_until_hidden("before sending")
    desk.take_screenshot("valid")

    desk.click("Send", click_count=2)
    desk.wait_for_text("It will be charged.")
    assert desk.page.get_by_label("Recipient").is_disabled()
    assert desk.button("Send").is_disabled()
    assert desk.page.evaluate("() => document.activeElement.textContent") == "No, go back"
    desk.take_screenshot("asking")
    assert len(posts(sandbox)) == before, "nothing is sent before the confirmation"

    desk.click("Yes, send it", click_count=2, delay=20)
    desk.wait_for_text("Accepted for")
    desk.wait_for_text("delivered")
    desk.take_screenshot("delivered")
    (sent,) = posts(sandbox)[before:]
    assert sent["content"]["components"]["body"][0] == {"type": "text", "text": TEXT}
    message_id = sandbox.truth()["message_id"].iloc[-1]
    desk.wait_for_text(message_id)
    assert desk.page.get_by_label("Recipient").input_value() == ""
    assert desk.page.get_by_label("Text", exact=True).input_value() == ""

    file = desk.saved()
    for secret in (NUMBER, NUMBER.replace(" ", ""), TEXT, "Track it", "https://example.org/t/1", KEY):
        assert secret not in file
    assert "SendForm()" in file

    desk.type("Recipient", NUMBER)
    desk.type("Text", "Another message")
    desk.wait_for_text(f"{MASKED} is a valid number")
    desk.wait_for_text(message_id)
    desk.take_screenshot("next")


@pytest.mark.parametrize("desk", [("JupyterLab Dark", True)], indirect=True)
def test_an_unknown_outcome_is_shown(desk: Desk, sandbox: FaultySandbox) -> None:
    before = len(posts(sandbox))
    fault = sandbox.fault("drop", method="POST")
    desk.type("Recipient", NUMBER)
    desk.type("Text", TEXT)
    desk.wait_for_text(f"{MASKED} is a valid number")  # the form moves when that appears
    desk.click("Send")
    desk.click("Yes, send it", click_count=2)
    desk.wait_for_text("It is not known whether this message was sent.")
    fault.clear()
    desk.click("Send")
    desk.wait_for_text("Fix 2 problems before sending.")
    desk.take_screenshot("unknown")
    assert len(posts(sandbox)) == before + 1
    file = desk.saved()
    assert not [typed for typed in (NUMBER, NUMBER.replace(" ", ""), TEXT, KEY) if typed in file]


@pytest.mark.parametrize("desk", [("JupyterLab Light", True)], indirect=True)
def test_unsent_input_is_not_in_saved_widget_state(desk: Desk) -> None:
    desk.choose("Content", "carousel")
    desk.type("Recipient", NUMBER)
    desk.type("Text", TEXT)
    for label, text in (("title", "Oak"), ("image URL", "https://example.org/a.png"), ("button", "Buy")):
        desk.type(f"Card 1 {label}", text)
    desk.page.get_by_label("Card 1 2nd button").wait_for(state="visible")
    desk.type("Card 2 title", "Elm tree")
    desk.page.get_by_label("Card 3 title").wait_for(state="visible")
    desk.take_screenshot("carousel")
    assert desk.page.get_by_label("Text", exact=True).input_value() == TEXT, "typed while the kind was changing"
    desk.wait_for_text(f"{MASKED} is a valid number")
    file = desk.saved()
    assert "widget-state+json" in file
    for typed in (NUMBER, NUMBER.replace(" ", ""), TEXT, "Elm tree", "https://example.org/a.png", KEY):
        assert typed not in file

    desk.click("Clear")
    for label in ("Recipient", "Text", "Card 1 title"):
        desk.wait_for_value(label, "")


@pytest.mark.parametrize("desk", [("JupyterLab Light", True)], indirect=True)
def test_inputs_are_kept_when_the_page_is_loaded_again(desk: Desk) -> None:
    desk.type("Recipient", NUMBER)
    desk.wait_for_text(f"{MASKED} is a valid number")
    desk.saved()
    desk.reload()
    desk.wait_for_value("Recipient", NUMBER)


def test_the_form_by_keyboard_alone(desk: Desk, sandbox: FaultySandbox) -> None:
    before = len(posts(sandbox))
    keyboard = desk.page.keyboard
    desk.page.get_by_label("Recipient", exact=True).focus()
    keyboard.type(NUMBER)
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.press("Tab")
    assert desk.page.evaluate("() => document.activeElement.labels[0].textContent") == "Text"
    keyboard.type(TEXT)
    desk.wait_for_text(f"{MASKED} is a valid number")
    assert serious_violations(desk.page) == []
    keyboard.press("Tab")
    keyboard.press("Enter")
    desk.wait_for_text("It will be charged.")
    desk.page.wait_for_function("() => document.activeElement.textContent === 'No, go back'")
    assert serious_violations(desk.page) == []
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    desk.wait_for_text("Accepted for")
    desk.wait_for_text("delivered")
    assert len(posts(sandbox)) == before + 1
    assert serious_violations(desk.page) == []
