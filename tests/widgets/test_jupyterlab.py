"""SendForm in JupyterLab, driven in Chromium: typing, clicking, and what a saved notebook contains."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import FaultySandbox

pytestmark = pytest.mark.browser

NUMBER = "+49 170 12345 06"  # with this seed its first message is delivered after 2.7 virtual seconds
MASKED = "+4917*****06"
TEXT = "Your parcel waits at the harbour"
KEY = "a-key-that-must-not-be-shown"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
READY = """() => {
    const shown = window.jupyterapp?.shell?.currentWidget;
    return Boolean(shown?.context?.isReady && shown.sessionContext?.isReady
        && shown.sessionContext.session?.kernel?.status === 'idle');
}"""
WAIT_MS = 30_000


def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return path or pytest.skip("chromium is not installed: the browser tests need it")


def jupyter() -> list[str]:
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed: the browser tests need it")
    return [sys.executable, "-m", "jupyterlab"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox(seed=1, speed=100, api_key=KEY) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def lab(sandbox: FaultySandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A JupyterLab server with settings of its own: its address, and the folder that it serves."""
    chromium()
    command = jupyter()
    home = tmp_path_factory.mktemp("lab")
    work = home / "notebooks"
    work.mkdir()
    config = home / "config"
    write(config / "labconfig" / "page_config.json", {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    })  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {"CONFIG": config, "DATA": home / "data", "RUNTIME": home / "runtime"}
    settings = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(path) for name, path in folders.items()},
        "IPYTHONDIR": str(home / "ipython"),
        "HOME": str(home),
        "TYNTEC_API_KEY": sandbox.api_key,
        "VIBER_SERVICE_ID": sandbox.service_id,
        "VIBERKIT_BASE_URL": sandbox.base_url,
    }
    arguments = ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--ServerApp.port_retries=0"]
    arguments += ["--allow-root", "--ip=127.0.0.1", f"--port={port}", "--no-browser", f"--ServerApp.root_dir={work}"]
    url = f"http://127.0.0.1:{port}"
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([*command, *arguments], env=settings, stdout=log, stderr=log, cwd=work)
    try:
        wait_for_server(url, server, home / "log")
        yield url, work
    finally:
        with contextlib.suppress(OSError):  # a regular shutdown stops the kernels, too
            urllib.request.urlopen(urllib.request.Request(f"{url}/api/shutdown", method="POST"), timeout=5).close()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def wait_for_server(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/api/status", timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text(errors='replace')[-2000:]}")


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the browser tests need it")
    with api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


NOTEBOOK = "import viberkit as vk\n\nform = vk.widgets.SendForm(vk.Client())\nform"


@pytest.fixture
def desk(lab: tuple[str, Path], browser: Any, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A new notebook that shows the form; the parameter is the theme and whether widget state is saved."""
    theme, save_state = getattr(request, "param", ("JupyterLab Light", False))
    url, work = lab
    settings = work.parent / "config" / "lab" / "user-settings" / "@jupyter-widgets" / "jupyterlab-manager"
    write(settings / "plugin.jupyterlab-settings", {"saveState": save_state})
    themes = work.parent / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    write(themes / "themes.jupyterlab-settings", {"theme": theme})
    cell = {"cell_type": "code", "id": "form", "execution_count": None, "metadata": {}, "outputs": []}
    name = f"{request.node.name.partition('[')[0]}-{save_state}-{theme.split()[1].lower()}.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [{**cell, "source": NOTEBOOK}], "metadata": {"kernelspec": kernel}}
    write(work / name, {**notebook, "nbformat": 4, "nbformat_minor": 5})
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}/doc/tree/{name}?reset")
    page.wait_for_function(READY, timeout=90_000)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.get_by_label("Recipient").wait_for()
    yield Desk(page, work / name)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    context.close()


class Desk:
    """A page that shows the form, and what a user does there."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.screenshots = 0
        self.form = page.locator(".jp-OutputArea-output")

    def type(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill("")
        box.press_sequentially(text)

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_label(label, exact=True).select_option(option)

    def click(self, name: str, **more: Any) -> None:
        self.button(name).click(**more)

    def button(self, name: str) -> Any:
        """Return a button by its name; an icon may precede it."""
        return self.page.get_by_role("button", name=re.compile(rf"(^|\s){name}$"))

    def wait_for_text(self, text: str) -> None:
        self.form.get_by_text(text).first.wait_for(state="visible")

    def wait_until_hidden(self, text: str) -> None:
        self.form.get_by_text(text).first.wait_for(state="hidden")

    def wait_until_empty(self, label: str) -> None:
        box = self.page.get_by_label(label, exact=True).element_handle()
        self.page.wait_for_function("box => box.value === ''", arg=box)

    def take_screenshot(self, name: str) -> None:
        self.screenshots += 1
        self.page.mouse.move(5, 5)
        self.page.screenshot(path=self.path.parent / f"{self.path.stem}-{self.screenshots}-{name}.png")

    def saved(self) -> str:
        """Save the notebook and return the content of its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return self.path.read_text(encoding="utf-8")


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


@pytest.mark.parametrize("desk", [("JupyterLab Light", False)], indirect=True)
def test_unsent_input_is_not_saved_by_default(desk: Desk) -> None:
    """JupyterLab saves the state of widgets only if that is switched on."""
    desk.choose("Content", "carousel")
    desk.type("Recipient", NUMBER)
    desk.type("Text", TEXT)
    for label, text in (("title", "Oak"), ("image URL", "https://example.org/a.png"), ("button", "Buy")):
        desk.type(f"Card 1 {label}", text)
    desk.page.get_by_label("Card 1 2nd button").wait_for(state="visible")
    desk.type("Card 2 title", "Elm")
    desk.page.get_by_label("Card 3 title").wait_for(state="visible")
    desk.take_screenshot("carousel")
    assert desk.page.get_by_label("Text", exact=True).input_value() == TEXT, "typed while the kind was changing"
    assert NUMBER not in (file := desk.saved())
    assert TEXT not in file


@pytest.mark.parametrize("desk", [("JupyterLab Light", True)], indirect=True)
def test_clear_removes_inputs_from_saved_widget_state(desk: Desk) -> None:
    desk.type("Recipient", NUMBER)
    desk.type("Text", TEXT)
    desk.choose("Content", "list")
    desk.type("Option 1", "tomorrow")
    desk.wait_for_text(f"{MASKED} is a valid number")
    assert NUMBER in desk.saved(), "widget state is saved, so that the rest of the test is meaningful"

    desk.click("Clear")
    for label in ("Recipient", "Text", "Option 1"):
        desk.wait_until_empty(label)
    file = desk.saved()
    assert "widget-state+json" in file
    for typed in (NUMBER, TEXT, "tomorrow", KEY):
        assert typed not in file
