"""JupyterLab, Notebook 7 and Voilà in Chromium: servers with settings of their own, and what a user does on a page."""

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
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import viberkit as vk

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


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the browser tests need it")
    with api.sync_playwright() as play:
        launched = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@dataclass
class Server:
    """A running Jupyter server: its address, and the folder that it serves."""

    url: str
    work: Path
    config: Path

    def set(self, extension: str, plugin: str, settings: dict[str, Any]) -> None:
        """Set user settings of a front end's plugin."""
        write_json(self.config / "lab" / "user-settings" / extension / f"{plugin}.jupyterlab-settings", settings)


@contextlib.contextmanager
def jupyter_server(home: Path, app: str = "lab") -> Iterator[Server]:
    """Run JupyterLab, Notebook 7 (``app="notebook"``) or Voilà (``app="voila"``)."""
    module = {"lab": "jupyterlab", "notebook": "notebook", "voila": "voila"}[app]
    pytest.importorskip(module, reason=f"{module} is not installed: the browser tests need it")
    work, config = home / "notebooks", home / "config"
    work.mkdir()
    write_json(config / "labconfig" / "page_config.json", {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    })  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {"CONFIG": config, "DATA": home / "data", "RUNTIME": home / "runtime"}
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TYNTEC", "VIBER"))},
        **{f"JUPYTER_{name}_DIR": str(path) for name, path in folders.items()},
        "IPYTHONDIR": str(home / "ipython"),
        "HOME": str(home),
    }
    if app == "voila":
        arguments = [f"--port={port}", "--no-browser", "--Voila.ip=127.0.0.1", str(work)]
    else:
        app_class = "LabApp" if app == "lab" else "JupyterNotebookApp"
        arguments = [f"--{app_class}.expose_app_in_browser=True", "--ServerApp.port_retries=0", "--ip=127.0.0.1"]
        arguments += ["--IdentityProvider.token=", "--allow-root", f"--port={port}", "--no-browser"]
        arguments += [f"--ServerApp.root_dir={work}"]
    url, log_file = f"http://127.0.0.1:{port}", home / "log"
    with log_file.open("wb") as log:
        command = [sys.executable, "-m", module, *arguments]
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=log, cwd=work)
    try:
        _wait_for_server(url, server, log_file)
        yield Server(url, work, config)
    finally:
        with contextlib.suppress(OSError):  # a regular shutdown stops the kernels, too
            urllib.request.urlopen(urllib.request.Request(f"{url}/api/shutdown", method="POST"), timeout=5).close()
        if app == "voila":
            server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _wait_for_server(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    pytest.fail(f"the Jupyter server did not start:\n{log.read_text(errors='replace')[-2000:]}")


def write_notebook(folder: Path, name: str, source: str, sandbox: vk.Sandbox | None = None) -> Path:
    """Write a notebook of one cell, and beside it the settings of a sandbox for ``vk.Client()``."""
    folder.mkdir(parents=True, exist_ok=True)
    if sandbox is not None:
        names = {"TYNTEC_API_KEY": sandbox.api_key, "VIBER_SERVICE_ID": sandbox.service_id}
        names["VIBERKIT_BASE_URL"] = sandbox.base_url
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in names.items()))
    cell = {"cell_type": "code", "id": "form", "execution_count": None, "metadata": {}, "outputs": []}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [{**cell, "source": source}], "metadata": {"kernelspec": kernel}}
    write_json(folder / name, {**notebook, "nbformat": 4, "nbformat_minor": 5})
    return folder / name


@contextlib.contextmanager
def open_notebook(
    server: Server, browser: Any, path: Path, *, theme: str = "JupyterLab Light", save_state: bool = False
) -> Iterator[Desk]:
    """Open a notebook in a new browser window of JupyterLab, run it, and shut its kernel down in the end."""
    server.set("@jupyter-widgets/jupyterlab-manager", "plugin", {"saveState": save_state})
    server.set("@jupyterlab/apputils-extension", "themes", {"theme": theme})
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    desk = Desk(page, path)
    page.goto(f"{server.url}/doc/tree/{path.relative_to(server.work)}?reset")
    desk.wait_until_ready()
    desk.run_all()
    try:
        yield desk
    finally:
        desk.take_screenshot("end")
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        context.close()


class Desk:
    """A page that shows a form, and what a user does there."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.path = page, path
        self.screenshots = 0
        self.form = page.locator(".jp-OutputArea-output")

    def wait_until_ready(self) -> None:
        self.page.wait_for_function(READY, timeout=90_000)

    def run_all(self) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def reload(self) -> None:
        self.page.reload()
        self.wait_until_ready()

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

    def wait_for_value(self, label: str, value: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.wait_for()
        self.page.wait_for_function("([box, value]) => box.value === value", arg=[box.element_handle(), value])

    def take_screenshot(self, name: str) -> None:
        self.screenshots += 1
        self.page.mouse.move(5, 5)
        self.page.screenshot(path=self.path.parent / f"{self.path.stem}-{self.screenshots}-{name}.png")

    def saved(self) -> str:
        """Save the notebook and return the content of its file."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        return self.path.read_text(encoding="utf-8")


def serious_violations(page: Any, within: str = ".jp-OutputArea-output") -> list[str]:
    """Return what axe-core finds that is serious or critical, in a part of a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    found = axe.Axe().run(page, context=within).response["violations"]
    return [
        f"{item['id']}: {item['help']}: {node['html'][:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
