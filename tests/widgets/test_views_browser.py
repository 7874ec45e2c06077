"""Tracker and Explorer in JupyterLab: what they show, on light, dark and narrow pages, with the keyboard, reloaded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.archives import record_callback
from support.hostile import CANARY, HOST, HOSTILE
from support.jupyter import Desk, Server, open_notebook, serious_violations, write_notebook

import viberkit as vk
from viberkit.models.callback import Callback

pytestmark = pytest.mark.browser

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
NUMBER = "+491701234506"
TRACK = """
import viberkit as vk
from datetime import UTC, datetime
archive = vk.Archive({path!r})
vk.widgets.Tracker(archive, every_s=0.2, now=lambda: datetime(2026, 1, 5, 8, 5, tzinfo=UTC))
"""
EXPLORE = "import viberkit as vk\n\nexplorer = vk.widgets.Explorer(vk.Archive({path!r}))\nexplorer"
STATES = ("accepted", "dispatched", "delivered", "seen")
THEMES = [("JupyterLab Light", 1100), ("JupyterLab Dark", 600)]


def call_back(path: Path, number: int, states: tuple[str, ...], **more: Any) -> None:
    """Callbacks about a message, as a listener in another process stores them."""
    with vk.Archive(path) as archive:
        for index, state in enumerate(states):
            at = NOW + timedelta(seconds=3 * number + index * (1 + number % 7))
            event = {"event": f"MessageStatus::{state}", "messageId": f"m-{number:04}", "timestamp": at.isoformat()}
            archive.recorder.record_callbacks([Callback(json.dumps(event | more).encode(), at)])


@pytest.fixture(scope="module")
def archive_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of a sandbox with sends, callbacks and histories."""
    path = tmp_path_factory.mktemp("views") / "explored.db"
    with vk.Sandbox(seed=1, speed=0) as sandbox, vk.Archive(path, create=True) as archive:
        client = sandbox.client(archive=archive)
        for number in range(120):
            rate_type = "promotion" if number % 3 == 0 else "transaction"
            client.send(f"+4917012345{number % 100:02}", vk.Text("Hi"), rate_type=rate_type)
            sandbox.advance(minutes=20)
        sandbox.advance(hours=3)
        vk.collect(client, archive, progress=False)
    return path


@pytest.fixture
def hostile_path(tmp_path: Path) -> Path:
    """An archive in which ids, states, codes and names are hostile."""
    path = tmp_path / "hostile.db"
    with vk.Archive(path, create=True) as archive:
        for number, text in enumerate([*HOSTILE, f"call {NUMBER}"]):
            for state in ("MessageStatus::accepted", text or "x"):
                event = {
                    "event": state,
                    "messageId": f"{number} {text}",
                    "timestamp": NOW.isoformat(),
                    "details": {"code": text},
                }
                record_callback(archive, json.dumps(event).encode(), NOW)
            failed = {"event": "MessageStatus::failed", "messageId": f"{number} {text}", "details": {"code": text}}
            if number % 2:
                record_callback(archive, json.dumps(failed | {"timestamp": NOW.isoformat()}).encode(), NOW)
    return path


def resize(desk: Desk, width: int) -> None:
    desk.page.set_viewport_size({"width": width, "height": 1000})


def open_tab(desk: Desk, name: str) -> None:
    desk.page.get_by_role("tab", name=name).click()
    desk.page.wait_for_timeout(500)


@pytest.fixture(params=THEMES, ids=["light", "dark"])
def page_of(request: pytest.FixtureRequest, lab: Server, browser: Any) -> Iterator[Any]:
    """A function that opens a notebook with some code."""
    theme, width = request.param
    with contextlib.ExitStack() as stack:

        def open_page(name: str, source: str) -> Desk:
            path = write_notebook(lab.work / "views", f"{name}-{width}.ipynb", source)
            desk = stack.enter_context(open_notebook(lab, browser, path, theme=theme, save_state=True))
            resize(desk, width)
            return desk

        yield open_page


def test_a_tracker_follows_callbacks(page_of: Any, tmp_path: Path) -> None:
    path = tmp_path / "tracked.db"
    vk.Archive(path, create=True).close()
    desk = page_of("tracker", TRACK.format(path=str(path)))
    desk.wait_for_text("No messages yet.")
    desk.take_screenshot("empty")
    assert serious_violations(desk.page) == []
    for number in range(30):
        call_back(path, number, STATES[: 1 + number % 4], **{"from": "SHOP"})
    desk.wait_for_text("30 messages, 16 under way")
    desk.page.get_by_role("img", name="30 messages").wait_for()
    desk.take_screenshot("under-way")
    assert serious_violations(desk.page) == []

    desk.button("Pause").focus()
    desk.page.keyboard.press("Enter")
    desk.button("Continue").wait_for()
    call_back(path, 30, STATES)
    desk.page.wait_for_timeout(500)
    desk.wait_for_text("30 messages")
    desk.page.keyboard.press("Enter")
    desk.wait_for_text("31 messages")

    file = desk.saved()
    assert "widget-state+json" in file
    assert "m-0001" not in file
    desk.reload()
    desk.wait_for_text("31 messages, 16 under way")
    desk.page.get_by_role("img", name="31 messages").wait_for()
    call_back(path, 31, STATES)
    desk.wait_for_text("32 messages")


def test_an_explorer_from_figures_to_one_message(page_of: Any, archive_path: Path) -> None:
    desk = page_of("explorer", EXPLORE.format(path=str(archive_path)))
    desk.page.get_by_label("Rate type").wait_for()
    desk.page.get_by_role("img", name="120 messages").wait_for()
    desk.take_screenshot("delivery")
    desk.choose("Rate type", "promotion (40)")
    desk.page.get_by_role("img", name="40 messages").wait_for()
    for name in ("Transitions", "Over time", "Failures", "Code", "Messages"):
        open_tab(desk, name)
        assert serious_violations(desk.page) == []
        desk.take_screenshot(name.lower().replace(" ", "-"))
    opener = desk.page.get_by_role("button", name="Open +49").first
    opener.focus()
    desk.page.keyboard.press("Enter")
    desk.page.locator("summary").first.click()
    desk.wait_for_text('"messageId"')
    desk.page.locator(".viberkit-detail").scroll_into_view_if_needed()
    desk.take_screenshot("message")
    assert serious_violations(desk.page) == []
    desk.page.get_by_role("tab", name="Messages").focus()
    desk.page.keyboard.press("ArrowLeft")
    desk.page.keyboard.press("Enter")
    assert "+4917012345" not in desk.saved()
    desk.reload()
    desk.page.get_by_role("tab", name="Delivery").click()
    desk.page.get_by_role("img", name="40 messages").wait_for()


@pytest.mark.parametrize("page_of", THEMES[:1], ids=["light"], indirect=True)
def test_hostile_texts_do_nothing(page_of: Any, hostile_path: Path) -> None:
    tracker, show = TRACK.rstrip().rsplit("\n", 1)
    source = f"{tracker}\ntracker = {show}\nexplorer = vk.widgets.Explorer(archive)\ndisplay(tracker, explorer)\n"
    dialogs, requests = [], []
    desk = page_of("hostile", source.format(path=str(hostile_path)))
    desk.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    desk.page.on("request", lambda request: requests.append(request.url))
    with vk.Archive(hostile_path) as archive:
        desk.wait_for_text(f"{len(archive.messages())} messages")
    desk.page.get_by_label("Failure code", exact=True).wait_for()
    for name in ("Transitions", "Over time", "Failures", "Code", "Messages"):
        open_tab(desk, name)
        desk.take_screenshot(name.lower())
    for _ in range(12):
        openers = desk.page.get_by_role("button", name="Open")
        for index in range(openers.count()):
            openers.nth(index).click()
        desk.page.locator("summary").first.click()
        desk.button("Next").last.click()
    desk.page.wait_for_timeout(500)
    assert dialogs == []
    assert not [url for url in requests if HOST in url]
    assert desk.page.evaluate(f"() => typeof window.{CANARY}") == "undefined"
    assert NUMBER[1:] not in "".join(desk.form.all_inner_texts())
    assert NUMBER[1:] not in desk.saved()
