"""What Jupyter shows of clients, archives, sends and campaigns: the facts, escaped and masked."""

from __future__ import annotations

from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.hostile import CANARY, HOSTILE
from support.jupyter import browser

import viberkit as vk

NUMBER = "+491701234506"
SCRIPT = "<script>alert(1)</script>\u202e"


class _Cells(HTMLParser):
    """The tags of a piece of HTML, and the texts of its table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def facts(shown: Any) -> dict[str, str]:
    """The facts that Jupyter shows of an object, by name."""
    html = shown._repr_html_()
    assert "sandbox-key" not in html
    assert NUMBER not in html
    assert "\u202e" not in html
    cells = _Cells(html)
    assert cells.tags <= {"table", "caption", "tr", "th", "td"}
    _, *rest = cells.texts
    return dict(zip(rest[::2], rest[1::2], strict=True))


def test_a_sent_message(client: vk.Client) -> None:
    sent = client.send(NUMBER, vk.Text(SCRIPT), rate_type="transaction")
    shown = facts(sent)
    assert shown["to"] == "+4917*****06"
    assert shown["message id"] == sent.message_id
    assert shown["content"] == "text"
    bulk = client.bulk(NUMBER, [vk.Text("Hi"), vk.Text("Ho")], rate_type="transaction")
    assert facts(bulk)["message ids"].split("\n") == list(bulk.message_ids)


def test_a_client_and_a_listener(client: vk.Client, archive: vk.Archive) -> None:
    assert facts(client)["service id"] == client.service_id
    assert "archive" not in facts(client)
    assert facts(client.with_archive(archive))["archive"] == repr(archive)
    listener = vk.Listener(archive, secret="a-long-secret-of-the-callbacks")
    assert facts(listener) == {"URL": "not started", "stored": "0", "rejected": "0"}


def test_an_archive_and_a_collected_history(client: vk.Client, archive: vk.Archive) -> None:
    empty = facts(archive)
    assert empty["messages"] == "0"
    assert "last sent" not in empty
    with_archive = client.with_archive(archive)
    with_archive.send(NUMBER, vk.Text("Hi"), rate_type="transaction")
    assert facts(archive)["not final"] == "1"
    assert facts(archive)["last sent"].endswith(" UTC")
    assert facts(vk.collect(with_archive, archive, progress=False))["requested"] == "1"


def test_a_campaign(client: vk.Client, archive: vk.Archive) -> None:
    people = [{"to": NUMBER, "name": SCRIPT}, {"to": "+491701234507", "name": "Bo"}, {"to": "12", "name": "Cy"}]
    text = vk.Text("Hi {name}")
    campaign = vk.Campaign.plan(archive, SCRIPT, people, text, rate_type="promotion", price=0.05)
    preview = campaign.preview()
    shown = facts(preview)
    assert shown["messages to send"] == "2"
    assert shown["1. +4917*****06"] == "Hi <script>alert(1)</script>\\u202e"
    assert shown["rows left out"].startswith("1 × ")
    assert shown["to confirm, pass"] == f"confirm={preview.confirm!r}"
    assert facts(campaign)["planned"].startswith("2 planned")
    status = campaign.send(client, confirm=preview.confirm, progress=False)
    assert facts(status) == {"messages": "2", "accepted": "2 accepted (0.10)"}


def test_an_archive_that_is_gone_raises_a_clear_error(tmp_path: Path) -> None:
    archive = vk.Archive(tmp_path / "a.db", create=True)
    archive.close()
    assert facts(archive)["messages"] == "0", "closing only closes connections"
    archive.close()
    (tmp_path / "a.db").unlink()
    with pytest.raises(vk.errors.ArchiveError):
        archive._repr_html_()


@pytest.mark.browser
def test_nothing_hostile_is_executed(tmp_path: Path) -> None:
    at = pd.Timestamp("2026-03-01T09:00:00Z")
    frame = pd.DataFrame({"message_id": [*map(str, range(len(HOSTILE)))], "campaign": HOSTILE, "code": HOSTILE})
    frame = frame.assign(accepted_at=at, delivered_at=pd.NaT, failed_at=at, observed_until=at, outcome="failed")
    results = [vk.time_to(frame, by="campaign"), vk.cost(frame, prices=1), vk.slo(frame, within=60, by="campaign")]
    with vk.Archive(tmp_path / "a.db", create=True) as archive:
        for number, text in enumerate(filter(str.strip, HOSTILE)):
            name, content = f"{number} {text}"[:120], vk.Text(f"{text[:900]} x")
            results.append(vk.Client("a-key-of-nobody", text))
            with suppress(vk.errors.ViberkitError):  # some are no name or no text of a campaign
                campaign = vk.Campaign.plan(archive, name, [NUMBER], content, rate_type="promotion")
                results += [campaign, campaign.preview()]
    assert sum(isinstance(result, vk.Campaign) for result in results) > 100
    page = "".join(result._repr_html_() for result in results)
    with browser() as chromium:
        shown, requests, dialogs = chromium.new_page(), [], []
        shown.on("request", lambda request: requests.append(request.url))
        shown.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        shown.set_content(page)
        shown.evaluate("document.querySelectorAll('*').forEach(e => e.focus?.())")
        assert (requests, dialogs) == ([], [])
        assert shown.evaluate(f"window.{CANARY}") is None
        assert shown.locator("table").count() == len(results)
