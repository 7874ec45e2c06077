"""Code blocks of the project's Markdown files."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parent.parent.parent


def blocks(path: Path) -> list[tuple[str, str]]:
    """The language and the text of every code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_python(path: Path) -> tuple[dict[str, object], list[str]]:
    """Run the Python blocks of a file, one after the other: their variables, and what each prints."""
    namespace: dict[str, object] = {}
    printed = []
    try:
        for code in (code for language, code in blocks(path) if language == "python"):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(code, path.name, "exec"), namespace)
            printed.append(output.getvalue())
    finally:
        plt.close("all")
    return namespace, printed
