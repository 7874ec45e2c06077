"""The pages of ``docs/``: their code runs and prints what they show, and whatever they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.documents import ROOT, blocks, run_python

import viberkit as vk

FOLDER = ROOT / "docs"
INDEX = FOLDER / "README.md"
PAGES = sorted({*FOLDER.glob("*.md")} - {INDEX})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_prints_what_the_page_shows(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = blocks(page)
    assert {language for language, _ in found} <= {"python", "py", "text", "sh"}
    for code in (text for language, text in found if language == "py"):  # needs a service: not run
        compile(code, str(page), "exec")
    printed = iter(run_python(page)[1])
    outputs = {index: next(printed) for index, (language, _) in enumerate(found) if language == "python"}
    shown = {index - 1: text for index, (language, text) in enumerate(found) if language == "text"}
    assert {index: outputs[index] for index in shown} == shown


@pytest.mark.parametrize("page", [*PAGES, INDEX], ids=lambda page: page.stem)
def test_whatever_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert not [name for name in re.findall(r"`(notebooks/[^`]+)`", text) if not (ROOT / name).exists()]
    assert not {name for name in re.findall(r"\bvk\.(\w+)", text) if not hasattr(vk, name)}


def test_the_index_lists_every_page_and_the_readme_the_index() -> None:
    assert set(re.findall(r"\]\((\w[\w-]+\.md)\)", INDEX.read_text(encoding="utf-8"))) == {page.name for page in PAGES}
    assert "](docs/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
