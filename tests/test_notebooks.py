"""The tutorials: their committed outputs are complete, hold no secret, and are what a fresh kernel gives.

nbval compares every cell's text with what is committed (see ``addopts``). It compares no picture, and a
cell that was never run it compares with nothing: so what it needs is checked here, and that it does notice.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

HERE = Path(__file__).parent
FOLDER = HERE.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

_NUMBER = re.compile(r"\+\d[\d ().\-/]{6,18}\d|(?<![\w.:-])(?:00)?(?:49|43|381|359|30)\d{8,12}(?![\w-])")
_PATH = re.compile(r"/(?:tmp|home|root|Users|work|var)/|127\.0\.0\.1|localhost")


def _read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def _code(path: Path) -> list[Any]:
    return [cell for cell in _read(path).cells if cell.cell_type == "code"]


def _texts(cell: Any) -> list[str]:
    """Everything readable in a cell's outputs; of pictures and widgets nothing."""
    told = []
    for output in cell.outputs:
        told.append(output.get("text", ""))
        told += [str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return told


def _ends_in_expression(source: str) -> bool:
    """Whether the last line of a cell gives something to show; a call may give None and is left out."""
    last = ast.parse(source).body[-1]
    return isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call)


def test_the_tutorials_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01-first-message",
        "02-delivery-latency",
        "03-callbacks",
        "04-campaign",
        "05-delivery-curves",
        "06-what-changed",
        "07-fallback",
        "gallery",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommitted:
    def test_every_cell_was_run_in_order_and_shows_what_it_gives(self, path: Path) -> None:
        cells = _code(path)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        for cell in cells:
            if _ends_in_expression(cell.source):
                assert any("text/plain" in output.get("data", {}) for output in cell.outputs), cell.source

    def test_no_cell_failed_or_warned(self, path: Path) -> None:
        for cell in _code(path):
            assert not [one for one in cell.outputs if one.output_type == "error"], cell.source
            assert not [one for one in cell.outputs if one.get("name") == "stderr"], cell.source

    def test_metadata_says_only_which_kernel(self, path: Path) -> None:
        notebook = _read(path)
        assert set(notebook.metadata) == {"kernelspec"}
        assert notebook.metadata.kernelspec.name == "python3"
        assert not [cell for cell in notebook.cells if cell.metadata]

    def test_no_cell_is_kept_from_being_compared(self, path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"NBVAL|nbval|raises-exception|skip-execution", source)

    def test_outputs_hold_no_number_no_key_and_no_path_of_a_machine(self, path: Path) -> None:
        for text in (text for cell in _code(path) for text in _texts(cell)):
            assert not _NUMBER.search(text), text
            assert not _PATH.search(text), text
            assert "sandbox-key" not in text

    def test_the_page_is_not_wider_than_a_notebook(self, path: Path) -> None:
        assert [line for cell in _code(path) for line in cell.source.splitlines() if len(line) > 105] == []

    def test_a_chart_also_shows_text_that_is_compared(self, path: Path) -> None:
        for cell in _code(path):
            drawn = [one for one in cell.outputs if "image/png" in one.get("data", {})]
            assert bool(drawn) == ("vk.charts." in cell.source), cell.source
            others = [one for one in cell.outputs if one not in drawn]
            told = [one.get("text") or one.get("data", {}).get("text/plain") for one in others]
            assert not drawn or any(text and re.search(r"\d", text) for text in told), cell.source


def test_the_search_for_numbers_finds_them() -> None:
    for text in ("+491701234567", "to +49 170 1234567", "'from': '381636000000'"):
        assert _NUMBER.search(text), text
    for text in ("+4917*****67", "2840513050147539996", "2026-01-05 08:00:00.050+00:00", "2,337,877.376"):
        assert not _NUMBER.search(text), text


def _copy(folder: Path) -> Path:
    """The notebooks with the data that they read, elsewhere."""
    shutil.copytree(FOLDER, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(HERE.parent / "data", folder / "data")
    return folder / "notebooks"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom_in_a_fresh_kernel(path: Path, tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    before = {one.name for one in folder.iterdir()}
    notebook = _read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources, store_widget_state=False)
    assert client.execute() is notebook
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in ran] == list(range(1, len(ran) + 1))
    assert not [one for cell in ran for one in cell.outputs if one.get("name") == "stderr"]
    assert {one.name for one in folder.iterdir()} == before  # a tutorial leaves nothing behind


def test_nbval_notices_one_number_that_differs(tmp_path: Path) -> None:
    """Of two copies of the first cells that show a table, the one with a digit changed fails, in that cell alone."""
    folder = _copy(tmp_path)
    source = _read(folder / "01-first-message.ipynb")
    last = next(place for place, cell in enumerate(source.cells) if "vk.transitions" in cell.source)
    source.cells = source.cells[: last + 1]
    nbformat.write(source, folder / "same.ipynb")
    table = source.cells[last].outputs[0].data
    before = table["text/plain"]
    table["text/plain"] = re.sub(r"\d(?=\n|$)", lambda digit: str(9 - int(digit[0])), before, count=1)
    assert sum(a != b for a, b in zip(before, table["text/plain"], strict=True)) == 1
    nbformat.write(source, folder / "changed.ipynb")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    options = ["-q", "--color=no", "--nbval", "--nbval-current-env", f"--nbval-sanitize-with={HERE / 'sanitize.cfg'}"]
    command = [sys.executable, "-m", "pytest", *options, "same.ipynb", "changed.ipynb"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)

    failed = re.findall(r"^FAILED (\S+::Cell \d+)", ran.stdout, re.MULTILINE)
    cells = sum(cell.cell_type == "code" for cell in source.cells)
    assert [one.rpartition("/")[2] for one in failed] == [f"changed.ipynb::Cell {cells - 1}"], ran.stdout
    assert f"1 failed, {2 * cells - 1} passed" in ran.stdout
