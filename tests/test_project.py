"""Properties of the project as a whole: public names, what CONTRIBUTING lists, and what no file may contain."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import viberkit as vk

ROOT = Path(__file__).parent.parent

# Patterns are written in halves, so that this file does not match itself.
UNWANTED = {
    "a registry's host": "|".join(
        [r"py" + r"pi\.(org|python)", "python" + "hosted", r"npm" + r"js\.", r"deb" + r"ian\.org"]
    ),
    "a path of a machine": r"(?<![\w.~*])/(?:home|Users|root|work|opt)/\w|(?i:[a-z]:\\{1,2}users\\)",
    "a path outside the repository": r"\.\./" + "shared",
}


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, timeout=30)
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name]


def test_no_file_names_a_machine_or_a_registry() -> None:
    matches = []
    for path in tracked_files():
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data:
            continue
        text = data.decode("utf-8", "replace")
        for description, pattern in UNWANTED.items():
            if match := re.search(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                matches.append(f"{path.relative_to(ROOT)}:{line}: contains {description}: {match[0]!r}")
    assert not matches, "\n".join(matches)


@pytest.mark.parametrize(
    ("text", "unwanted"),
    [
        ("see https://" + "py" + "pi.org/x", True),
        ("/ho" + "me/ada/x.py", True),
        ('"/wo' + 'rk/main"', True),
        ("C:" + "\\Us" + "ers\\ada", True),
        ("https://example.org/ho" + "me/x", False),
        ("pip install viberkit", False),
    ],
)
def test_unwanted_text_is_recognised(text: str, unwanted: bool) -> None:
    assert any(re.search(pattern, text) for pattern in UNWANTED.values()) == unwanted


def test_dir_lists_the_public_names_only() -> None:
    for module in (vk, vk.charts, vk.errors, vk.widgets):
        assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        vk.nonsense  # noqa: B018


def test_no_module_shadows_a_public_function() -> None:
    """Importing ``viberkit.x`` would replace the function ``vk.x`` by the module."""
    modules = {path.stem for path in (ROOT / "viberkit").iterdir()} - {"charts", "errors", "widgets"}
    assert not modules & set(vk.__all__)


def section_of_contributing(heading: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_contributing_lists_every_dependency_with_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [
        *project["dependencies"],
        *(name for names in project["optional-dependencies"].values() for name in names),
    ]
    expected = {re.split(r"[<>=]", requirement)[0] for requirement in required}
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section_of_contributing("Dependencies"), re.MULTILINE)[1:]
    names = re.sub(r"\*[^*]*\*|\([^)]*\)", "", ", ".join(rows)).lower()
    assert {name.strip() for name in names.split(",")} == expected


def test_contributing_lists_every_package() -> None:
    packages = {path.parent.name for path in (ROOT / "viberkit").glob("*/__init__.py")} | {"errors"}
    assert set(re.findall(r"^\| `(\w+)` \|", section_of_contributing("Layout"), re.MULTILINE)) == packages


def test_documents_name_existing_files() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")]
    names = re.findall(r"`([\w./-]+/[\w-]+\.(?:py|ipynb))`", "".join(texts))
    assert names
    assert not [name for name in names if not (ROOT / name).exists() and not (ROOT / "viberkit" / name).exists()]
    tutorials = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r"^\| `([\w-]+)` \|", texts[0], re.MULTILINE)) == tutorials
