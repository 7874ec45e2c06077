"""The house: modules on floors, imports only downwards or sideways, every public name explained.

Nothing is imported here: the sources are read as syntax trees, so the tests hold for modules whose
libraries are missing, too.
"""

from __future__ import annotations

import ast
import graphlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import viberkit

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "viberkit"

FLOORS = {
    "ground: words, no I/O": "errors states phone content rules records keys wire problems words",
    "first: the outside world": (
        "settings transport client schema outbox derived frames callbacks archive server listener delivery_model "
        "sandbox"
    ),
    "second: at work": "campaigns collector reader jsonlines survey",
    "third: analysis": (
        "trail grouping timing latencies durations incidence survival comparison drift shifts fallbacks checks"
    ),
    "top: faces": "style sheet charts fields widgets report demo cli",
    "roof": "__init__ __main__",
}
#: Imports inside a function that may close a circle or climb a floor, and what for.
DECLARED = {
    ("sandbox", "client"): "Sandbox.client hands out a client of itself",
    ("archive", "campaigns"): "Archive.campaign hands out a campaign of itself",
}
LINES = 400
GROUND_LIBRARIES = {"phonenumbers", "viberkit"}
#: What reads or writes anything outside, waits, or rolls dice.
OUTSIDE = set(
    "asyncio builtins fileinput ftplib glob http.client http.server importlib io logging multiprocessing os pathlib "
    "random secrets select shutil signal smtplib socket socketserver sqlite3 ssl subprocess sys tempfile threading "
    "time urllib.request uuid".split()
)
OUTSIDE_CALLS = {"open", "print", "input", "now", "utcnow", "today", "sleep"}

NAMES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "conftest")
HEIGHT = {name: height for height, names in enumerate(FLOORS.values()) for name in names.split()}


def height(name: str) -> int | None:
    """A module's floor; a room ``x_y`` stands on the floor of ``x``."""
    return HEIGHT.get(name, HEIGHT.get(name.partition("_")[0] if not name.startswith("_") else name))


def on_floor(word: str) -> list[str]:
    place = next(place for place, title in enumerate(FLOORS) if title.startswith(word))
    return [name for name in NAMES if height(name) == place]


class Import(NamedTuple):
    """One import: of which module of ours or of which library, where, and when it happens."""

    ours: str | None
    library: str
    line: int
    when: str  # "load", "call" or "typing"


@cache
def tree(name: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))


@cache
def imports(name: str) -> tuple[Import, ...]:
    return tuple(_walk(tree(name), "load"))


def _walk(node: ast.AST, when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _import(alias.name, child.lineno, when)
        elif isinstance(child, ast.ImportFrom):
            module = ".".join(filter(None, ["viberkit" if child.level else "", child.module or ""]))
            for alias in child.names:
                yield _import(f"{module}.{alias.name}" if module == "viberkit" else module, child.lineno, when)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inner in child.body:
                yield from _walk(ast.Module([inner], []), "typing")
            for inner in child.orelse:
                yield from _walk(ast.Module([inner], []), when)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, "call" if when == "load" else when)
        else:
            yield from _walk(child, when)


def _import(module: str, line: int, when: str) -> Import:
    first, _, rest = module.partition(".")
    if first != "viberkit" or rest == "__version__":  # a number, and no module
        return Import(None, module, line, when)
    named = rest.partition(".")[0]
    if named in HEIGHT and not (PACKAGE / f"{named}.py").is_file():
        return Import(None, module, line, when)  # a room that is planned, not built
    return Import(named if (PACKAGE / f"{named}.py").is_file() else "__init__", module, line, when)


def reached(name: str) -> dict[str, list[str]]:
    """Every module and library that loading a module loads, with the way there."""
    ways: dict[str, list[str]] = {name: [name]}
    waiting = [name]
    while waiting:
        here = waiting.pop()
        for one in imports(here):
            target = one.ours or one.library.partition(".")[0]
            if one.when == "load" and target not in ways:
                ways[target] = [*ways[here], target]
                if one.ours:
                    waiting.append(target)
    return ways


# --- floors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_its_floor(name: str) -> None:
    assert height(name) is not None, (
        f"viberkit/{name}.py stands on no floor; add {name!r} to the floor it belongs to in FLOORS of this file: "
        + ", ".join(FLOORS)
    )


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_downwards_or_sideways(name: str) -> None:
    mine = height(name)
    for one in imports(name):
        theirs = height(one.ours) if one.ours else None
        if mine is None or theirs is None or theirs <= mine:
            continue
        allowed = one.when in ("call", "typing") and (name, one.ours) in DECLARED
        assert allowed, (
            f"viberkit/{name}.py:{one.line} imports {one.ours} from a floor above; hand it in as an argument, "
            "or move what both need downwards"
        )


def test_no_circles() -> None:
    graph = {
        name: {
            one.ours
            for one in imports(name)
            if one.ours and one.ours != name and not (one.when != "load" and (name, one.ours) in DECLARED)
        }
        for name in NAMES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as fault:
        pytest.fail(f"imports go in a circle: {' ← '.join(fault.args[1])}; move what both need downwards")


@pytest.mark.parametrize("name", on_floor("ground"))
def test_the_ground_floor_knows_words_only(name: str) -> None:
    allowed = GROUND_LIBRARIES | set(sys.stdlib_module_names)
    for one in imports(name):
        assert one.library.partition(".")[0] in allowed, f"{name}.py:{one.line}: {one.library} is not for the ground"
        parts = one.library.split(".")
        outside = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)} & OUTSIDE
        assert not outside, f"{name}.py:{one.line}: {one.library} reaches outside; the ground floor is pure"
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            assert called not in OUTSIDE_CALLS, f"{name}.py:{node.lineno}: calls {called}(); the ground floor is pure"


@pytest.mark.parametrize("name", on_floor("third"))
def test_analysis_knows_neither_http_nor_sql(name: str) -> None:
    ways = reached(name)
    for banned in ("client", "archive", "transport", "schema", "requests", "sqlalchemy"):
        assert banned not in ways, f"{name} loads {banned}: {' → '.join(ways[banned])}"
    for one in imports(name):
        assert one.ours not in ("client", "archive"), f"{name}.py:{one.line}: analysis takes frames, not {one.ours}"


@pytest.mark.parametrize("name", sorted({"frames", "jsonlines", "reader", "timing", "trail"} & {*NAMES}))
def test_frames_load_neither_http_nor_sql(name: str) -> None:
    ways = reached(name)
    for banned in ("requests", "sqlalchemy"):
        assert banned not in ways, f"{name} loads {banned}: {' → '.join(ways[banned])}"
        assert banned not in {one.library.partition(".")[0] for one in imports(name)}


def test_what_is_declared_is_still_needed() -> None:
    for name, other in DECLARED:
        if name in NAMES:
            assert any(one.ours == other and one.when == "call" for one in imports(name)), f"{name} → {other}: drop it"


def test_the_reader_of_imports_sees_them_all() -> None:
    source = ast.parse(
        "import viberkit.models.parsing\nfrom viberkit import rules, Client\nfrom .states import rank\nfrom . import phone\n"
        "if TYPE_CHECKING:\n    from viberkit.models.content import Text\n"
        "class A:\n    def f(self):\n        from viberkit.errors import Violation\n        import requests.adapters\n"
        "try:\n    import viberkit as vk\nexcept ImportError:\n    pass\n"
    )
    assert [(one.ours or one.library, one.when) for one in _walk(source, "load")] == [
        *(("wire", "load"), ("rules", "load"), ("__init__", "load"), ("states", "load"), ("phone", "load")),
        *(("content", "typing"), ("errors", "call"), ("requests.adapters", "call"), ("__init__", "load")),
    ]


# --- words -----------------------------------------------------------------------------------------------


def public(name: str) -> list[str]:
    """What ``__all__`` lists, where it is written out."""
    for node in tree(name).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return []
    return []


def explained(name: str) -> dict[str, bool]:
    """Each name that a module binds, and whether a docstring or a ``#:`` comment explains it there."""
    lines = (PACKAGE / f"{name}.py").read_text(encoding="utf-8").splitlines()
    told: dict[str, bool] = {}
    body = tree(name).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            told[node.name] = bool(ast.get_docstring(node)) or told.get(node.name, False)  # any overload
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            beneath = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            above = node.lineno > 1 and lines[node.lineno - 2].startswith("#:")
            beside = "#:" in lines[node.end_lineno - 1] if node.end_lineno else False
            for target in targets:
                for one in ast.walk(target):
                    if isinstance(one, ast.Name):
                        told[one.id] = beneath or above or beside
        elif isinstance(node, ast.Import | ast.ImportFrom):
            told |= {(alias.asname or alias.name): True for alias in node.names}  # explained where it is defined
    return told


@pytest.mark.parametrize("name", NAMES)
def test_every_module_and_public_name_is_explained(name: str) -> None:
    assert ast.get_docstring(tree(name)), f"viberkit/{name}.py: give it a docstring"
    told = explained(name)
    for one in public(name):
        if name == "__init__" and one not in told:
            continue  # loaded when first asked for, explained where it is defined
        assert one in told, f"viberkit/{name}.py: __all__ lists {one}, which is not there"
        assert told[one], f"viberkit/{name}.py: give {one} a docstring, or a '#:' comment above if it is a value"
    assert len(set(public(name))) == len(public(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("__init__", "__main__")])
def test_every_module_says_what_is_public(name: str) -> None:
    assert "__all__" in explained(name), f"viberkit/{name}.py: list its public names in __all__"


@pytest.mark.parametrize("name", NAMES)
def test_a_module_holds_one_idea(name: str) -> None:
    lines = (PACKAGE / f"{name}.py").read_text(encoding="utf-8").count("\n")
    assert lines < LINES, f"viberkit/{name}.py has {lines} lines, {LINES} or more: does it hold two ideas?"


# --- nothing of the machines it was written on ---------------------------------------------------------------

#: Written in halves, so that this file does not hold what it looks for.
UNWANTED = {
    "a registry's host": "|".join(
        [r"py" + r"pi\.(org|python)", "python" + "hosted", r"npm" + r"js\.", r"deb" + r"ian\.org"]
    ),
    "a path of somebody's machine": r"(?<![\w.~*])/(?:home|Users|root|work|opt)/\w|(?i:[a-z]:\\{1,2}users\\)",
    "a place outside the repository": r"\.\./" + "shared",
}


def tracked() -> list[Path]:
    git = shutil.which("git")
    if not git or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files belong to the repository")
    told = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True, timeout=30)
    return [ROOT / name for name in told.stdout.decode().split("\0") if name]


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" in data:
            continue
        text = data.decode("utf-8", "replace")
        for what, pattern in UNWANTED.items():
            if match := re.search(pattern, text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path.relative_to(ROOT)}:{line}: holds {what}: {match[0]!r}")
    assert not found, "\n".join(found)
    for what, pattern in UNWANTED.items():
        assert not re.search(pattern, Path(__file__).read_text(encoding="utf-8")), f"this file itself holds {what}"


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
def test_what_is_unwanted_is_recognised(text: str, unwanted: bool) -> None:
    assert any(re.search(pattern, text) for pattern in UNWANTED.values()) == unwanted


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing ``viberkit.x`` anywhere would put the module where ``vk.x`` was the function."""
    clashes = set(viberkit._HOME) & {path.stem for path in PACKAGE.glob("*.py")}
    assert not clashes, f"{sorted(clashes)}: rename the module, e.g. collector for collect"
