"""The table: sorted and paged in the kernel, rows chosen, texts as text; in Chromium with the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from support.jupyter import Desk, Server, open_notebook, serious_violations, write_notebook

from viberkit.analysis.formatting import duration
from viberkit.widgets.table import Table

FRAME = pd.DataFrame(
    {"name": ["b", "<i>a</i>", None, "c\u202e"], "time_s": [2.0, np.nan, 0.5, 60.0]}, index=["k1", "k2", "k3", "k4"]
)


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(FRAME, caption="Steps", formats={"time_s": duration}, choose="many", page_rows=3)
    yield table
    table.close()


def cells(table: Table) -> list[list[str]]:
    return [row["cells"] for row in table.page_content["rows"]]


def receive(table: Table, message: Any) -> None:
    table._handle_custom_msg(message, [])


def test_a_page_has_formatted_texts(table: Table) -> None:
    assert cells(table) == [["b", "2 s"], ["<i>a</i>", "–"], ["–", "500 ms"]]
    assert (table.page_content["first"], table.page_content["last"], table.page_content["total"]) == (1, 3, 4)
    assert table.page_content["right"] == [False, True]
    receive(table, {"page": 1})
    assert cells(table) == [["c\\u202e", "1 min"]]
    receive(table, {"page": 99})
    assert table.page_content["first"] == 4


def test_sorting_puts_missing_values_last(table: Table) -> None:
    receive(table, {"sort": "time_s"})
    assert [row["key"] for row in table.page_content["rows"]] == ["k3", "k1", "k4"]
    receive(table, {"sort": "time_s"})
    assert [row["key"] for row in table.page_content["rows"]] == ["k4", "k1", "k3"]
    assert table.page_content["ascending"] is False
    receive(table, {"sort": "no column"})
    assert table.page_content["sort"] == "time_s"


def test_rows_are_chosen_across_pages_and_forgotten_with_their_row(table: Table) -> None:
    for key in ("k1", "k4", "no row"):
        receive(table, {"row": key, "chosen": True})
    assert table.chosen == ["k1", "k4"]
    assert [row["chosen"] for row in table.page_content["rows"]] == [True, False, False]
    receive(table, {"row": "k1", "chosen": False})
    table.show_frame(FRAME.iloc[:3])
    assert table.chosen == []


def test_one_row_is_chosen() -> None:
    table = Table(FRAME, caption="Steps", choose="one")
    for key in ("k1", "k2"):
        receive(table, {"row": key, "chosen": True})
    assert table.chosen == ["k2"]
    table.close()


@pytest.mark.parametrize("message", [None, [], "x", {"page": "1"}, {"page": -5}, {"row": None}, {"sort": None}])
def test_any_message_of_a_page_is_survived(table: Table, message: Any) -> None:
    receive(table, message)
    assert table.page_content["first"] == 1


def test_an_empty_frame() -> None:
    table = Table(FRAME.iloc[:0], caption="Steps")
    assert (cells(table), table.page_content["total"]) == ([], 0)
    table.show_frame(FRAME)
    assert len(cells(table)) == 4
    table.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=20), st.integers(1, 7))
def test_the_pages_together_are_the_sorted_rows(numbers: list[int], rows: int) -> None:
    table = Table(pd.DataFrame({"n": numbers}), caption="Numbers", page_rows=rows)
    table.sort_by("n")
    shown: list[str] = []
    for page in range(max(1, -(-len(numbers) // rows))):
        table.handle({"page": page})
        shown += [row["cells"][0] for row in table.page_content["rows"]]
    assert shown == [str(number) for number in sorted(numbers)]
    table.close()


def test_its_content_is_not_in_its_state(table: Table) -> None:
    assert "k1" not in str(table.get_state())


NOTEBOOK = """import pandas as pd
from viberkit.widgets.table import Table

numbers = pd.DataFrame({"n": range(30), "text": "<img src=x onerror=document.title='hostile'>"})
table = Table(numbers, caption="Numbers", choose="many")
table"""


@pytest.mark.browser
def test_a_table_by_keyboard_alone(lab: Server, browser: Any) -> None:
    path: Path = write_notebook(lab.work / "table", "table.ipynb", NOTEBOOK)
    with open_notebook(lab, browser, path, theme="JupyterLab Dark") as desk:
        _use_the_keyboard(desk)


def _use_the_keyboard(desk: Desk) -> None:
    page, keyboard = desk.page, desk.page.keyboard
    desk.wait_for_text("1–10 of 30")
    assert serious_violations(page) == []
    page.get_by_role("button", name="n", exact=True).focus()
    keyboard.press("Enter")
    keyboard.press("Enter")
    page.locator("th[aria-sort=descending]").wait_for()
    first = page.get_by_role("checkbox", name="Select 29")
    first.focus()
    keyboard.press("Space")
    assert first.is_checked()
    page.get_by_role("button", name="Next").focus()
    keyboard.press("Enter")
    desk.wait_for_text("11–20 of 30")
    assert page.evaluate("() => document.activeElement.textContent") == "Next", "the focus stays"
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    desk.wait_for_text("1–10 of 30")
    assert page.get_by_role("checkbox", name="Select 29").is_checked()
    assert page.locator("td", has_text="<img src=x").count() == 10
    assert page.title() != "hostile"
    desk.take_screenshot("table")
