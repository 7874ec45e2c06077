"""Files between page and kernel: their content travels in messages, and no notebook saves it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from viberkit.frames.csvfiles import write_csv
from viberkit.widgets.unsaved import FRONTEND, Unsaved


class Upload(Unsaved):
    """An input for a file, which the page sends in parts.

    ``on_file`` is called with the name of a file, its content, and its size in the page, which is larger than the
    content if a part was lost.
    """

    _esm = FRONTEND / "upload.js"

    def __init__(self, on_file: Callable[[str, bytes, int], None]) -> None:
        super().__init__()
        self._on_file, self._parts = on_file, bytearray()

    def handle(self, message: Mapping[str, Any], *buffers: Any) -> None:
        if message["start"] == 0:
            self._parts.clear()
        self._parts += b"".join(buffers)
        if message["last"]:
            content = bytes(self._parts)
            self._parts.clear()
            self._on_file(str(message["name"]), content, int(message["size"]))


class Download(Unsaved):
    """A button that downloads a frame as a CSV file with this name; ``read`` returns it when the button is clicked."""

    _esm = FRONTEND / "download.js"

    def __init__(self, name: str, read: Callable[[], pd.DataFrame]) -> None:
        super().__init__()
        self._name, self._read = name, read

    def handle(self, message: Mapping[str, Any], *_: Any) -> None:
        text = io.StringIO()
        write_csv(self._read(), text)
        self.send({"view": message.get("view"), "name": self._name, "text": text.getvalue()})
