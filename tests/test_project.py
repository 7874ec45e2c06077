"""Properties of the project as a whole: public names and their docstrings, and what no file may contain."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest
from numpydoc.validate import validate

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
    assert dir(vk) == sorted(vk.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        vk.nonsense  # noqa: B018


def test_no_module_shadows_a_public_function() -> None:
    """Importing ``viberkit.x`` would replace the function ``vk.x`` by the module."""
    modules = {path.stem for path in (ROOT / "viberkit").iterdir()} - {"charts", "errors", "widgets"}
    assert not modules & set(vk.__all__)


def public_names() -> Iterator[str]:
    """Every public function and class, and the public methods and properties of each class."""
    for name in vk.__all__:
        value = getattr(vk, name)
        members = [f"{name}.{member}" for member in value.__all__] if inspect.ismodule(value) else [name]
        for member in members:
            yield member
            value = getattr(vk, name) if member == name else getattr(getattr(vk, name), member.partition(".")[2])
            for cls in inspect.getmro(value) if inspect.isclass(value) else ():
                if cls.__module__.startswith("viberkit"):
                    yield from (f"{member}.{attribute}" for attribute in vars(cls) if is_documented(cls, attribute))


def is_documented(cls: type, attribute: str) -> bool:
    """Whether an attribute is a public method or property; the fields of dataclasses are described by their class."""
    value = inspect.getattr_static(cls, attribute)
    kinds = (FunctionType, classmethod, staticmethod, property)
    return not attribute.startswith("_") and isinstance(value, kinds)


#: What numpydoc checks; GL01 (summary on the second line) contradicts PEP 257, PR06 corrects the names of types.
CHECKS = set(
    "GL02 GL03 GL06 GL07 GL08 GL09 GL10 SS01 SS02 SS03 SS04 SS05 SS06 PR01 PR02 PR03 PR04 PR05 PR07 PR08 PR09 PR10 "
    "RT01 RT02 RT03 RT04 RT05 YD01".split()
)


@pytest.mark.filterwarnings("ignore:Widget:DeprecationWarning")  # numpydoc reads deprecated attributes of ipywidgets
@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_public_docstrings_follow_numpydoc(name: str) -> None:
    errors = validate(f"viberkit.{name}")["errors"]
    assert [f"{code} {text}" for code, text in errors if code in CHECKS] == []
