"""The report in Chromium: nothing is requested or executed, and it is accessible, light, dark, narrow and printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hostile import CANARY, hostile_logs
from support.jupyter import browser, serious_violations

import viberkit as vk

FILE = Path(__file__).parents[2] / "data/campaign/events.parquet"
PRICES = {"promotion": 0.05, "transaction": 0.02, "sms": 0.08}
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


class Shown:
    """A page that shows a report, and what it requested and opened."""

    def __init__(self, chromium: Any, path: Path | None, **options: Any) -> None:
        self.page = chromium.new_context(**options).new_page()
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        if path is not None:
            self.page.goto(path.as_uri(), wait_until="load")

    def close(self) -> None:
        self.page.context.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    report = vk.report(vk.read_events(FILE), out=out, prices=PRICES, compare=True, since="7d")
    assert 'class="error"' not in report.html
    return out


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 400])
def test_it_is_accessible_and_requests_nothing(chromium: Any, path: Path, scheme: str, width: int) -> None:
    shown = Shown(chromium, path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert shown.requests == [path.as_uri()]
    assert serious_violations(shown.page, within="html") == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") == width
    loaded_ms = shown.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < loaded_ms < 5_000  # a second on a machine that does nothing else
    shown.close()


def test_figures_and_rows_are_not_cut_by_pages(chromium: Any, path: Path) -> None:
    shown = Shown(chromium, path, color_scheme="dark")
    shown.page.emulate_media(media="print")
    style = "(selector, name) => getComputedStyle(document.querySelector(selector))[name]"
    read = lambda selector, name: shown.page.evaluate(f"([a, b]) => ({style})(a, b)", [selector, name])  # noqa: E731
    assert read("figure", "breakInside") == read("tr", "breakInside") == "avoid"
    assert (read("body", "backgroundColor"), read("nav", "display")) == ("rgb(255, 255, 255)", "none")
    assert len(shown.page.pdf(format="A4")) > 20_000
    shown.close()


def test_nothing_hostile_is_executed(chromium: Any, tmp_path: Path) -> None:
    assert executed(chromium, '<img src=x onerror="window.canary=1;alert(1)">', "canary"), "this test notices it"
    for number, (log, prices) in enumerate(hostile_logs()):
        out = tmp_path / f"{number}.html"
        report = vk.report(log, out=out, by="campaign", prices=prices, title=str(log["campaign"].iloc[0]))
        assert 'class="error"' not in report.html
        shown = Shown(chromium, out, viewport={"width": 400, "height": 900})
        shown.page.evaluate("document.querySelectorAll('*').forEach(e => e.focus?.())")
        assert (shown.requests, shown.dialogs) == ([out.as_uri()], [])
        assert shown.page.evaluate(f"window.{CANARY}") is None
        assert shown.page.locator("section").count() == 9
        assert shown.page.evaluate("document.documentElement.scrollWidth") == 400
        shown.close()
        assert not executed(chromium, without_policy(report.html), CANARY), "not only the policy prevents it"


def without_policy(html: str) -> str:
    policy = next(line for line in html.splitlines() if "Content-Security-Policy" in line)
    return html.replace(policy, "")


def executed(chromium: Any, html: str, name: str) -> bool:
    """Whether a page executes a script or requests anything."""
    shown = Shown(chromium, None)
    shown.page.set_content(html, wait_until="load")
    shown.page.wait_for_timeout(200)
    result = bool(shown.dialogs or shown.requests or shown.page.evaluate(f"window.{name}"))
    shown.close()
    return result
