"""The tutorials: their committed outputs are complete, contain no secret, and are those of a new kernel.

nbval compares the text outputs of every cell with the committed ones (see ``addopts``). It does not compare images,
and compares nothing for a cell without an execution count; so this is checked here.
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

import viberkit as vk

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
    """The text outputs of a cell."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts += [str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    return texts


def _ends_in_expression(source: str) -> bool:
    """Whether a cell ends in an expression with an output; a call may return None and does not count."""
    last = ast.parse(source).body[-1]
    return isinstance(last, ast.Expr) and not isinstance(last.value, ast.Call)


def test_all_tutorials_are_present() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01-first-message",
        "01b-form-and-archive",
        "02-delivery-latency",
        "03-callbacks",
        "04-campaign",
        "05-delivery-curves",
        "06-what-changed",
        "07-fallback",
        "08-your-own-log",
        "09-dependence",
        "delivery-report",
        "gallery",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommitted:
    def test_every_cell_was_run_in_order_and_has_its_output(self, path: Path) -> None:
        cells = _code(path)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        for cell in cells:
            if _ends_in_expression(cell.source):
                assert any("text/plain" in output.get("data", {}) for output in cell.outputs), cell.source

    def test_no_cell_failed_or_warned(self, path: Path) -> None:
        for cell in _code(path):
            assert not [output for output in cell.outputs if output.output_type == "error"], cell.source
            assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source

    def test_metadata_contains_the_kernel_only(self, path: Path) -> None:
        notebook = _read(path)
        assert set(notebook.metadata) == {"kernelspec"}
        assert notebook.metadata.kernelspec.name == "python3"
        assert not [cell for cell in notebook.cells if cell.metadata and cell.metadata != {"tags": ["parameters"]}]

    def test_no_cell_is_excluded_from_comparison(self, path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"NBVAL|nbval|raises-exception|skip-execution", source)

    def test_outputs_contain_no_phone_number_no_key_and_no_local_path(self, path: Path) -> None:
        for text in (text for cell in _code(path) for text in _texts(cell)):
            assert not _NUMBER.search(text.replace("e.g. '+491701234567'", "")), text  # the example of a remedy
            assert not _PATH.search(text), text
            assert "sandbox-key" not in text

    def test_lines_fit_into_a_notebook(self, path: Path) -> None:
        assert [line for cell in _code(path) for line in cell.source.splitlines() if len(line) > 105] == []

    def test_every_chart_is_accompanied_by_numbers_that_are_compared(self, path: Path) -> None:
        for cell in _code(path):
            images = [output for output in cell.outputs if "image/png" in output.get("data", {})]
            assert bool(images) == ("vk.charts." in cell.source), cell.source
            others = [output for output in cell.outputs if output not in images]
            texts = [output.get("text") or output.get("data", {}).get("text/plain") for output in others]
            assert not images or any(text and re.search(r"\d", text) for text in texts), cell.source


def test_phone_numbers_are_recognised() -> None:
    for text in ("+491701234567", "to +49 170 1234567", "'from': '381636000000'"):
        assert _NUMBER.search(text), text
    for text in ("+4917*****67", "2840513050147539996", "2026-01-05 08:00:00.050+00:00", "2,337,877.376"):
        assert not _NUMBER.search(text), text


def _copy(folder: Path) -> Path:
    """Copy the notebooks and the data that they read."""
    shutil.copytree(FOLDER, folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(HERE.parent / "data", folder / "data")
    return folder / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_in_a_new_kernel_and_leaves_no_file(path: Path, tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    before = {entry.name for entry in folder.iterdir()}
    notebook = _read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources, store_widget_state=False)
    assert client.execute() is notebook
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    assert {entry.name for entry in folder.iterdir()} == before


@pytest.mark.slow
def test_the_report_has_parameters(tmp_path: Path) -> None:
    papermill = pytest.importorskip("papermill", reason="papermill is not installed")
    folder = _copy(tmp_path)
    parameters = {"within": 5, "by": "country", "since": "2026-01-17"}
    result = papermill.execute_notebook(
        folder / "delivery-report.ipynb", folder / "week.ipynb", parameters, cwd=folder, progress_bar=False
    )
    texts = [text for cell in result.cells if cell.cell_type == "code" for text in _texts(cell)]
    journeys = vk.journeys(vk.read_events(folder.parent / "data/campaign/events.parquet"))
    days = journeys[journeys["accepted_at"] >= "2026-01-17"]
    assert vk.slo(days, within=5, every=None)["summary"][0] in "".join(texts)
    assert any("country" in text for text in texts)


@pytest.mark.slow
def test_nbval_reports_a_single_changed_digit(tmp_path: Path) -> None:
    """Of two copies of the first cells, the copy with a changed digit in a table fails, in that cell only."""
    folder = _copy(tmp_path)
    source = _read(folder / "01-first-message.ipynb")
    last = next(index for index, cell in enumerate(source.cells) if "vk.transitions" in cell.source)
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
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)

    failed = re.findall(r"^FAILED (\S+::Cell \d+)", completed.stdout, re.MULTILINE)
    cells = sum(cell.cell_type == "code" for cell in source.cells)
    assert [cell_id.rpartition("/")[2] for cell_id in failed] == [f"changed.ipynb::Cell {cells - 1}"], completed.stdout
    assert f"1 failed, {2 * cells - 1} passed" in completed.stdout
