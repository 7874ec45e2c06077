"""Both forms in Notebook 7 and Voilà, driven in Chromium: a message and a campaign are filled in and sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.faults import FaultySandbox
from support.jupyter import Desk, jupyter_server, write_notebook

pytestmark = pytest.mark.browser

NUMBER = "+49 170 1234506"
NOTEBOOK = """import ipywidgets, viberkit as vk

client, archive = vk.Client(), vk.Archive("deliveries.db", create=True)
people = [{"to": f"+49170{1_000_000 + index}", "name": f"N{index}"} for index in range(30)]
send_form = vk.widgets.SendForm(client)
campaign_form = vk.widgets.CampaignForm(archive, client, recipients=people)
ipywidgets.VBox([send_form, campaign_form])"""


@pytest.fixture
def sandbox() -> Iterator[FaultySandbox]:
    with FaultySandbox(seed=1, speed=100) as sandbox:
        yield sandbox


@pytest.fixture(params=["notebook", "voila"])
def desk(browser: Any, sandbox: FaultySandbox, request: Any, tmp_path_factory: Any) -> Iterator[Desk]:
    app = request.param
    with jupyter_server(tmp_path_factory.mktemp(app), app) as server:
        path = write_notebook(server.work, "form.ipynb", NOTEBOOK, sandbox)
        context = browser.new_context(viewport={"width": 1100, "height": 1600})
        page = context.new_page()
        page.set_default_timeout(60_000)
        desk = Desk(page, path)
        if app == "voila":
            desk.form = page.locator("body")
            page.goto(f"{server.url}/voila/render/form.ipynb")
        else:
            page.goto(f"{server.url}/notebooks/form.ipynb")
            desk.wait_until_ready()
            desk.run_all()
        yield desk
        context.close()


def test_both_forms_send(desk: Desk, sandbox: FaultySandbox) -> None:
    desk.page.get_by_label("Recipient", exact=True).click()  # the first click makes the cell active
    desk.type("Recipient", NUMBER)
    desk.page.get_by_label("Text", exact=True).first.fill("Your parcel is here")
    desk.wait_for_text("is a valid number")
    desk.click("Send")
    desk.click("Yes, send it", click_count=2)
    desk.wait_for_text("delivered")
    assert len(sandbox.requests) > 1

    desk.type("Name", "spring")
    desk.page.get_by_label("Text", exact=True).last.fill("Hi {name}")
    desk.click("Check recipients")
    desk.wait_for_text("Messages to send")
    desk.take_screenshot("checked")
    desk.type("Confirmation", desk.form.locator(".viberkit-confirm code").inner_text())
    desk.click("Send 30 messages", click_count=2)
    desk.wait_for_text("Done.")
    desk.take_screenshot("done")
    posts = [request.json["to"] for request in sandbox.requests if request.method == "POST"]
    assert len(posts) == len(set(posts)) == 31
