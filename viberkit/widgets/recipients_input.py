"""The recipients of a campaign: a file on the server, an upload or a table from code, and how its numbers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets as w
import pandas as pd

from viberkit.campaigns.plan import likely_column, number_column, read_recipients, region_rule
from viberkit.errors import CampaignError, UnreadableRecord, Violation, quote
from viberkit.frames.textfiles import read_text_table
from viberkit.widgets.fields import INDENT, Field, note
from viberkit.widgets.files import Upload
from viberkit.widgets.unsaved import Html


class RecipientsInput:
    """The inputs, the table that was read from a file, and what is wrong with it."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.frame = pd.DataFrame()
        self._problem: Violation | None = None
        self._on_change = on_change
        self.path = Field("recipients", "File on the server", "recipients.csv")
        self.upload = Upload(self._read_upload)
        self.column = Field("to", "Number column")
        self.column.input.options = [""]
        self.region = Field("region", "Country", "DE: of numbers without a calling code, if there are any")
        text = "Numbers without + and 00 are international"
        self.international = w.Checkbox(
            description=text, indent=False, layout={"margin": f"2px 2px 2px {INDENT}", "width": "auto"}
        )
        self.fields = [self.path, self.column, self.region]
        self._read_note = Html(role="status", layout={"margin": f"4px 2px 8px {INDENT}"})
        self._files = w.VBox([self.path.box, self.upload])
        self.box = w.VBox([self._files, self._read_note, self.column.box, self.region.box, self.international])
        self.path.on_change(self._change_path)
        self.column.on_change(on_change)
        self.region.on_change(on_change)
        self.international.observe(lambda _: on_change(), "value")

    @property
    def options(self) -> dict[str, Any]:
        """The options of a plan that say how the numbers are read."""
        region = self.region.value.upper() or None
        return {"to": self.column.value or None, "region": region, "international": self.international.value}

    def violations(self) -> Iterator[Violation]:
        if self.frame.empty:
            yield self._problem or Violation("recipients", "", "is missing", "type the path of a file, or upload one")
        elif not self.column.value:
            remedy = f"it may be {quote(likely)}" if (likely := likely_column(self.frame)) else ""
            yield Violation("to", "", "is missing: select the column of the phone numbers", remedy)
        yield from region_rule(self.options["region"])

    def read_path(self) -> None:
        """Read the file at the path, as it is now."""
        if typed := self.path.value:
            try:
                path = Path(typed).expanduser()
                rule = "" if path.is_file() else f"is not a file in {Path.cwd()}"
            except (OSError, RuntimeError) as error:  # a folder of another user, a name that is too long, ~ of nobody
                rule = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            self._fail(Violation("recipients", quote(typed), rule)) if rule else self._read(path)

    def _change_path(self) -> None:
        self.read_path() if self.path.value else self._fail(None)

    def _read_upload(self, name: str, content: bytes, size: int) -> None:
        self.path.input.value, self.path.edited = "", True
        if len(content) == size > 0:
            self._read(content, name)
        else:
            rule = f"arrived incomplete: {len(content):,} of {size:,} bytes" if size else "is empty"
            self._fail(Violation("recipients", quote(name), rule, "put the file on the server and type its path"))

    def _read(self, file: Path | bytes, name: str = "") -> None:
        """Read a file at a path, or its content."""
        try:
            frame, source = read_recipients(read_text_table(file)[0] if isinstance(file, bytes) else file)
        except (CampaignError, UnreadableRecord) as error:
            rule = str(error).removeprefix("recipients: ")
            self._fail(Violation("recipients", quote(name) if name else "", rule))
        else:
            self._show(frame, name or source)

    def use(self, recipients: Any) -> None:
        """Use a table from code instead of a file."""
        self._files.layout.display = "none"
        self._show(*read_recipients(recipients))

    def _show(self, frame: pd.DataFrame, source: str) -> None:
        self.frame = frame.rename(columns=str)
        self._problem = None if len(frame) else Violation("recipients", "", "have no row below their header")
        self._read_note.value = note(f"{len(frame):,} rows. {source}", "good")
        self.column.input.options = ["", *self.frame.columns]
        if not self.column.value or self.column.value not in self.frame:
            self.column.input.value = number_column(self.frame) or ""
        self._on_change()

    def _fail(self, problem: Violation | None) -> None:
        self.frame, self._problem = pd.DataFrame(), problem
        self._read_note.value = ""
        self._on_change()
