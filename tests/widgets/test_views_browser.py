"""Tracker and Explorer in JupyterLab: what they show, with the keyboard, on light and dark pages, and when reloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.jupyter import Desk, Server, open_notebook, serious_violations, write_notebook

pytestmark = pytest.mark.browser

NUMBER = "+4917012345"  # and two digits
SETUP = "import viberkit as vk\narchive = vk.Archive('/tmp/views/explored.db')\n"


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_x(lab: Server, browser: Any, theme) -> None:
    path = write_notebook(
        lab.work / "explorer",
        f"e{theme[-5:].strip()}.ipynb",
        SETUP + "explorer = vk.widgets.Explorer(archive)\nexplorer",
    )
    with open_notebook(lab, browser, path, theme=theme) as desk:
        desk.page.get_by_label("Rate type").wait_for()
        desk.page.wait_for_timeout(3000)
        if "Dark" in theme:
            desk.page.set_viewport_size({"width": 600, "height": 1000})
        desk.take_screenshot("0")
        print(serious_violations(desk.page))
        for n, name in enumerate(("Transitions", "Over time", "Failure codes", "Messages", "As code")):
            desk.page.get_by_role("tab", name=name).click()
            desk.page.wait_for_timeout(2000)
            if name == "Messages":
                desk.page.get_by_role("button", name="Open").first.click()
                desk.page.wait_for_timeout(1000)
                desk.page.locator("summary").first.click()
            desk.page.locator(".viberkit-figures").scroll_into_view_if_needed()
            desk.take_screenshot(name)
            print(name, serious_violations(desk.page))
        print(desk.page.locator(".jp-OutputArea-output").inner_text())
    print(path)
