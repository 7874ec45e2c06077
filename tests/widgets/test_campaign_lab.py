"""CampaignForm in JupyterLab, driven in Chromium: pause, reload, resume, a killed kernel, the keyboard, saved state."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.faults import FaultySandbox
from support.hostile import CANARY, HOST, HOSTILE
from support.jupyter import Desk, Server, open_notebook, serious_violations, write_notebook
from support.waiting import wait_for

pytestmark = pytest.mark.browser

NOTEBOOK = """import os, pathlib
import viberkit as vk

pathlib.Path("kernel.pid").write_text(str(os.getpid()))
archive = vk.Archive("deliveries.db", create=True)
form = vk.widgets.CampaignForm(archive, vk.Client(), per_second=80)
form"""
FIRST = "+491701000000"


@pytest.fixture
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox(seed=1, speed=100, latency_s=0.05) as sandbox:
        yield sandbox


@pytest.fixture
def desk(lab: Server, browser: Any, sandbox: FaultySandbox, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A new notebook that shows the form; the parameter is the theme."""
    theme = getattr(request, "param", "JupyterLab Light")
    name = f"{request.node.name.partition('[')[0]}-{theme.split()[1].lower()}"
    path = write_notebook(lab.work / name, "form.ipynb", NOTEBOOK, sandbox)
    write_recipients(path.parent / "people.csv")
    with open_notebook(lab, browser, path, theme=theme, save_state=True) as desk:
        desk.page.get_by_label("File on the server").wait_for()
        yield desk


def write_recipients(path: Path, rows: int = 1000, bad: int = 20) -> None:
    """Write a table in which the last rows have numbers that are too short, or are missing, or occur twice."""
    wrong = ["+49 12", "", FIRST, "4,917E+11"]
    numbers = [f"+49170{1_000_000 + index}" for index in range(rows - bad)]
    numbers += [wrong[index % len(wrong)] for index in range(bad)]
    lines = [f"{number};Person {index};Harbour {index % 7}" for index, number in enumerate(numbers)]
    path.write_text("\n".join(["phone;first_name;city", *lines]) + "\n", encoding="utf-8")


def sent(sandbox: FaultySandbox) -> Counter[str]:
    """The number of requests to each recipient."""
    return Counter(request.json["to"] for request in sandbox.requests if request.method == "POST")


def fill(desk: Desk, name: str = "spring") -> None:
    desk.type("File on the server", "people.csv")
    desk.wait_for_text("1,000 rows")
    desk.wait_for_value("Number column", "phone")
    desk.type("Name", name)
    desk.choose("Content", "text, image, button")
    desk.choose("Rate type", "promotion")
    desk.type("Text", "Hi {first_name}, your parcel waits at {city}")
    desk.type("Image URL", "https://example.org/a.png")
    desk.type("Button", "Track it")
    desk.type("Button URL", "https://example.org/t")
    desk.type("Price", "0.03")
    desk.type("Currency", "€")


def confirm(desk: Desk, messages: int = 980) -> None:
    desk.click("Check recipients")
    desk.wait_for_text("Messages to send")
    desk.type("Confirmation", desk.form.locator(".viberkit-confirm code").inner_text())
    desk.button(f"Send {messages} messages").click(click_count=2, delay=20)
    desk.wait_for_text("per second")


def wait_until_sent(sandbox: FaultySandbox, count: int) -> None:
    wait_for(lambda: sent(sandbox).total() >= count, 60)


def kill_kernel(desk: Desk) -> None:
    """End the kernel as the operating system does when memory is short; JupyterLab starts another one."""
    os.kill(int((desk.path.parent / "kernel.pid").read_text()), signal.SIGKILL)
    desk.page.get_by_text("appears to have died").wait_for()
    desk.page.get_by_role("button", name="Ok", exact=True).click()
    desk.wait_until_ready()


def decide(desk: Desk, numbers: Counter[str]) -> None:
    """Resend the messages with an unknown outcome that the sandbox did not get, and abandon the others."""
    table = desk.page.get_by_role("table", name="Messages that may have been sent")
    unknown = table.get_by_role("checkbox").evaluate_all("boxes => boxes.map(box => box.ariaLabel)")
    lost = [label for label in unknown if not numbers[f"+49170{1_000_000 - 1 + int(label.split()[1])}"]]
    for label in lost:
        desk.page.get_by_label(label, exact=True).check()
    for decision in ("resend", "abandon"):
        if decision == "abandon":
            desk.click("Select all")
        if decision == "abandon" or lost:
            desk.choose("Decision", decision)
            desk.type("Reason", "the sandbox was asked")
            desk.click("Decide")
            desk.wait_for_text(f"decided: {decision}")


@pytest.mark.slow
def test_each_message_is_sent_once_whatever_happens(desk: Desk, sandbox: FaultySandbox) -> None:
    fill(desk)
    desk.click("Check recipients")
    desk.wait_for_text("1–10 of 20")
    desk.type("Confirmation", "send 980")
    desk.click("Send 980 messages")
    desk.wait_for_text("is not the text above")
    assert not sent(sandbox)
    desk.click("Back")
    confirm(desk)
    wait_until_sent(sandbox, 100)

    desk.click("Pause")
    desk.wait_for_text("Paused.")
    paused = sent(sandbox).total()
    desk.saved()
    desk.reload()
    desk.wait_for_text(f"{paused} of 980")
    assert sent(sandbox).total() == paused

    desk.click("Resume", click_count=2, delay=20)
    wait_until_sent(sandbox, 300)
    desk.saved()
    desk.reload()
    desk.wait_for_text("per second")
    wait_until_sent(sandbox, 500)

    kill_kernel(desk)
    received = sent(sandbox).total()
    assert received < 900
    desk.run_all()
    desk.choose("Campaign", "spring")
    desk.wait_for_text("queued")
    assert sent(sandbox).total() == received, "nothing is sent before Resume"
    desk.click("Resume")
    desk.wait_for_text("Done.")
    assert set(sent(sandbox).values()) == {1}
    if desk.button("Decide").is_visible():
        decide(desk, sent(sandbox))
        if desk.button("Resume").is_visible():
            desk.click("Resume")
            desk.wait_for_text("Done.")
    assert sent(sandbox) == Counter(f"+49170{1_000_000 + index}" for index in range(980))
    file = desk.saved()
    assert not [text for text in (FIRST, "+49170100", "Person", "Harbour", "your parcel") if text in file]


@pytest.mark.parametrize("desk", ["JupyterLab Light", "JupyterLab Dark"], indirect=True)
def test_every_step_is_accessible(desk: Desk, sandbox: FaultySandbox) -> None:
    def check(step: str) -> None:
        assert serious_violations(desk.page) == [], step
        for width in (1100, 600):
            desk.page.set_viewport_size({"width": width, "height": 1500})
            desk.take_screenshot(f"{step}-{width}")

    check("empty")
    desk.type("Text", "Hi {first_nam}")
    desk.click("Check recipients")
    desk.wait_for_text("problems before checking")
    check("mistakes")
    fill(desk)
    check("filled")
    desk.click("Check recipients")
    desk.wait_for_text("Messages to send")
    check("checked")
    desk.type("Confirmation", desk.form.locator(".viberkit-confirm code").inner_text())
    fault = sandbox.fault("drop", method="POST", times=3)
    desk.button("Send 980 messages").click()
    desk.wait_for_text("per second")
    check("sending")
    desk.click("Pause")
    desk.wait_for_text("Paused.")
    assert fault.hits == 3
    check("paused")
    desk.click("Resume")
    desk.wait_for_text("Done.")
    check("done")
    assert set(sent(sandbox).values()) == {1}


def tab_to(desk: Desk, name: str) -> None:
    """Press Tab until the element with this label or text has the focus."""
    focused = "() => { const at = document.activeElement; return (at.labels?.[0] ?? at).textContent.trim(); }"
    for _ in range(40):
        if desk.page.evaluate(focused) == name:
            return
        desk.page.keyboard.press("Tab")
    pytest.fail(f"{name!r} is not reached with Tab")


def test_the_form_by_keyboard_alone(desk: Desk, sandbox: FaultySandbox) -> None:
    keyboard = desk.page.keyboard
    desk.page.get_by_label("File on the server", exact=True).focus()
    keyboard.type("people.csv")
    desk.wait_for_value("Number column", "phone")
    tab_to(desk, "or upload it")
    tab_to(desk, "Name")
    keyboard.type("spring")
    tab_to(desk, "Text")
    keyboard.type("Hi {first_name}")
    tab_to(desk, "Check recipients")
    keyboard.press("Enter")
    desk.wait_for_text("Messages to send")
    desk.page.wait_for_function("() => document.activeElement.textContent.includes('Messages to send')")
    tab_to(desk, "Next")
    keyboard.press("Enter")
    desk.wait_for_text("11–20 of 20")
    tab_to(desk, "Confirmation")
    keyboard.type(desk.form.locator(".viberkit-confirm code").inner_text())
    tab_to(desk, "Send 980 messages")
    keyboard.press("Enter")
    desk.page.wait_for_function("() => document.activeElement.textContent === 'Pause'")
    desk.wait_for_text("per second")
    keyboard.press("Enter")
    desk.page.wait_for_function("() => document.activeElement.textContent === 'Paused.'")
    keyboard.press("Shift+Tab")
    assert desk.page.evaluate("() => document.activeElement.textContent") == "Resume"
    keyboard.press("Enter")
    desk.page.wait_for_function("() => document.activeElement.textContent.includes('Done.')")
    assert set(sent(sandbox).values()) == {1}
    assert len(sent(sandbox)) == 980


def test_texts_of_others_are_shown_as_text_and_nothing_is_loaded(desk: Desk) -> None:
    requests: list[str] = []
    desk.page.on("request", lambda request: requests.append(request.url))
    desk.page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    name = f"<img src=x onerror=window.{CANARY}=1>.csv"
    short = [text for text in HOSTILE if 0 < len(text) <= 80 and "{" not in text][::8]
    rows = [f"+49170{1_000_000 + index}" for index in range(len(short))] + short
    table = pd.DataFrame({"phone": rows, "<b onclick=alert(1)>x</b>": [*short, *short]})
    table.to_csv(desk.path.parent / name, index=False)
    desk.type("File on the server", name)
    desk.wait_for_value("Number column", "phone")
    desk.type("Name", f"<svg onload=window.{CANARY}=1>")
    desk.choose("Content", "text, image, button")
    desk.choose("Rate type", "promotion")
    desk.type("Text", "{<b onclick=alert(1)>x</b>}")
    desk.type("Image URL", f"https://{HOST}/a.png")
    desk.type("Button", "<i>Go</i>")
    desk.type("Button URL", f"https://{HOST}/")
    desk.click("Check recipients")
    desk.wait_for_text("Messages to send")
    desk.wait_for_text("<i>Go</i>")
    desk.take_screenshot("hostile")
    assert desk.page.evaluate(f"() => window.{CANARY}") is None
    assert not [url for url in requests if HOST in url]


def test_a_large_file_is_uploaded_and_the_rows_left_out_are_downloaded(desk: Desk) -> None:
    path = desk.path.parent / "large.csv"
    write_recipients(path, 300_000)
    assert path.stat().st_size > 10_000_000, "more than the limit of a message"
    desk.page.get_by_label("or upload it").set_input_files(path)
    desk.page.get_by_text("300,000 rows. large.csv").wait_for(timeout=60_000)
    (desk.path.parent / "empty.csv").touch()
    desk.page.get_by_label("or upload it").set_input_files(desk.path.parent / "empty.csv")
    desk.wait_for_text("'empty.csv' is empty; put the file on the server")
    desk.page.get_by_label("or upload it").set_input_files(desk.path.parent / "people.csv")
    desk.wait_for_text("1,000 rows. people.csv")
    desk.type("Name", "spring")
    desk.type("Text", "Hi {first_name}")
    desk.click("Check recipients")
    desk.wait_for_text("1–10 of 20")
    with desk.page.expect_download() as download:
        desk.button("Download as CSV").first.click()
    table = pd.read_csv(download.value.path())
    assert download.value.suggested_filename == "left-out.csv"
    assert table["row"].tolist() == list(range(981, 1001))
    assert table["first_name"].tolist() == [f"Person {index}" for index in range(980, 1000)]
    file = desk.saved()
    assert not [text for text in (FIRST, "Person", "Harbour", "Hi {", "people.csv") if text in file]
