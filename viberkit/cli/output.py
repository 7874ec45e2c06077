"""What the command line prints and writes, so that texts of others control neither a terminal nor a spreadsheet."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from viberkit.errors import escape

if TYPE_CHECKING:
    import pandas as pd

#: The beginning of a text that spreadsheets execute, except for a plain number.
_FORMULA = re.compile(r"(?![+-]?[0-9]+([.,][0-9]+)?\Z)\s*[=+\-@\t\r\n＝＋－＠]")
#: A separator of cells or lines before the beginning of a formula.
_INNER_FORMULA = re.compile(r"[;\t\r\n|][\s\"]*(?=[=+\-@＝＋－＠])")


class EscapedStream:
    """A text stream that escapes control characters, except for line feeds.

    On a terminal, a text may begin with the carriage return of a progress bar. There is no ``buffer``, which would
    bypass the escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        start = "\r" if text.startswith("\r") and self._stream.isatty() else ""
        encoding = self._stream.encoding or "utf-8"
        shown = escape(text[len(start) :]).encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(start + shown)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Escape whatever is written to standard output and standard error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = escaped = [stream and cast("TextIO", EscapedStream(stream)) for stream in streams]
    try:
        yield
    finally:
        if sys.stdout is escaped[0]:  # click has replaced it if the pipe was closed
            sys.stdout, sys.stderr = streams


def inline(text: object) -> str:
    """A text on one line."""
    return escape(str(text)).replace("\n", "\\n")


def write_csv(frame: pd.DataFrame, path: Path, *, raw: bool = False, bom: bool = False) -> None:
    """Write a CSV file in which an apostrophe precedes what a spreadsheet would execute, as OWASP recommends.

    That is the beginning of a text, and what follows a separator of cells or lines within it: programs use different
    ones. With ``raw`` texts are unchanged; with ``bom`` Excel reads them as UTF-8.
    """

    def escape_formulas(value: Any) -> Any:
        if not isinstance(value, str) or raw:
            return value
        return _INNER_FORMULA.sub(r"\g<0>'", f"'{value}" if _FORMULA.match(value) else value)

    escaped = frame.copy()
    for name in frame.select_dtypes(["str", "object", "category"]):
        escaped[name] = frame[name].astype("object").map(escape_formulas)
    # With these line ends, texts with a carriage return are quoted.
    escaped.to_csv(path, index=False, lineterminator="\r\n", encoding="utf-8-sig" if bom else "utf-8")
