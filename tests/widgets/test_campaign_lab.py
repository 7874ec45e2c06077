"""CampaignForm in JupyterLab, driven in Chromium: pause, reload, resume, a killed kernel, the keyboard, saved state."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import FaultySandbox
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
def test_look(desk: Desk, sandbox: FaultySandbox) -> None:
    desk.take_screenshot("empty")
    fill(desk)
    desk.page.set_viewport_size({"width": 1100, "height": 1500})
    desk.take_screenshot("filled")
    print(serious_violations(desk.page))
    desk.click("Check recipients")
    desk.wait_for_text("Messages to send")
    desk.take_screenshot("checked")
    print(serious_violations(desk.page))
    confirm = desk.form.locator(".viberkit-confirm code").inner_text()
    desk.type("Confirmation", confirm)
    desk.button("Send 980 messages").click(click_count=2)
    desk.wait_for_text("per second")
    desk.take_screenshot("sending")
    print(serious_violations(desk.page))
    desk.click("Pause")
    desk.wait_for_text("Paused.")
    desk.take_screenshot("paused")
    print(serious_violations(desk.page))
    desk.click("Resume")
    desk.wait_for_text("Done.")
    desk.take_screenshot("done")
    print(serious_violations(desk.page))
    assert len(sent(sandbox)) == 980
    print(desk.path.parent)
