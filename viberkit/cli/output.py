"""What the command line prints, so that texts of others do not control a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from viberkit.errors import escape


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
