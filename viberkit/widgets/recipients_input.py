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

    def __init__(self, recipients: Any, on_change: Callable[[], None]) -> None:
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
        files = w.VBox([self.path.box, self.upload])
        self.box = w.VBox([files, self._read_note, self.column.box, self.region.box, self.international])
        if recipients is not None:
            files.layout.display = "none"
            self._read(recipients)
        self.path.on_change(self.read_path)
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
            path = Path(typed).expanduser()
            rule = f"is not a file in {Path.cwd()}"
            self._read(path) if path.is_file() else self._fail(Violation("recipients", quote(typed), rule))

    def _read_upload(self, name: str, content: bytes, size: int) -> None:
        self.path.input.value, self.path.edited = "", True
        if len(content) == size > 0:
            self._read(content, name)
        else:
            rule = f"arrived incomplete: {len(content):,} of {size:,} bytes" if size else "is empty"
            self._fail(Violation("recipients", quote(name), rule, "put the file on the server and type its path"))

    def _read(self, recipients: Any, name: str = "") -> None:
        """Read recipients: a path, the content of a file, or whatever a campaign can be planned for."""
        try:
            table = read_text_table(recipients)[0] if isinstance(recipients, bytes) else recipients
            frame, source = read_recipients(table)
        except (CampaignError, UnreadableRecord) as error:
            self._fail(Violation("recipients", quote(name) if name else "", str(error)))
            return
        self.frame = frame.rename(columns=str)
        self._read_note.value = note(f"{len(frame):,} rows. {name or source}", "good")
        self.column.input.options = ["", *self.frame.columns]
        if not self.column.value or self.column.value not in self.frame:
            self.column.input.value = number_column(self.frame) or ""
        self._on_change()

    def _fail(self, problem: Violation) -> None:
        self.frame, self._problem = pd.DataFrame(), problem
        self._read_note.value = ""
        self._on_change()
