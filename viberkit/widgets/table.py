"""A table that is sorted and paged in the kernel: only the rows of a page are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import pandas as pd
import traitlets

from viberkit.errors import escape
from viberkit.widgets.unsaved import FRONTEND, Unsaved

_LONGEST = 200  #: characters of a cell


class Table(Unsaved):
    """The rows of a frame as a real ``<table>``, which can be sorted, paged, and used with the keyboard.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows; their index identifies them.
    caption : str
        Name of the table.
    formats : mapping of str to callable
        Function that returns the text of a value, by column; missing values are a dash.
    choose : {"", "one", "many"}, default ""
        Whether rows can be opened (one) or selected (many); :attr:`chosen` are their index labels.
    page_rows : int, default 10
        Number of rows of a page.

    Examples
    --------
    >>> table = Table(pd.DataFrame({"n": [3, 1, 2]}), caption="Numbers", page_rows=2)
    >>> table.sort_by("n")
    >>> [row["cells"] for row in table.page_content["rows"]]
    [['1'], ['2']]
    """

    _esm = FRONTEND / "table.js"
    page_content = traitlets.Dict().tag(shown=True)
    chosen = traitlets.List[Any]()

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        caption: str,
        formats: Mapping[str, Callable[[Any], str]] | None = None,
        choose: Literal["", "one", "many"] = "",
        page_rows: int = 10,
    ) -> None:
        super().__init__()
        self.caption, self._formats, self._choose, self._page_rows = caption, dict(formats or {}), choose, page_rows
        self._sort, self._ascending, self._page = "", True, 0
        self.show_frame(frame)
        self.observe(lambda _: self._show(), "chosen")

    def show_frame(self, frame: pd.DataFrame) -> None:
        """Show another frame, with the same order and page; chosen rows that are not in it are forgotten."""
        self._frame = self._ordered = frame
        self.chosen = [label for label in self.chosen if label in frame.index]
        self._order()

    def choose_all(self) -> None:
        """Select the rows of all pages."""
        self.chosen = list(self._frame.index)

    def sort_by(self, name: str) -> None:
        """Sort by a column; by the same one again in the other direction."""
        self._ascending = not self._ascending if name == self._sort else True
        self._sort, self._page = name, 0
        self._order()

    def handle(self, message: Mapping[str, Any], *_: Any) -> None:
        if (name := message.get("sort")) in self._frame:
            self.sort_by(str(name))
        elif isinstance(page := message.get("page"), int):
            self._page = page
            self._show()
        elif message.get("row") in (keys := {str(label): label for label in self._frame.index}):
            others = [label for label in self.chosen if self._choose == "many" and label != keys[message["row"]]]
            self.chosen = [*others, keys[message["row"]]] if message.get("chosen") else others

    def _order(self) -> None:
        if self._sort in self._frame:
            self._ordered = self._frame.sort_values(self._sort, ascending=self._ascending, kind="stable")
        self._show()

    def _show(self) -> None:
        total, rows = len(self._ordered), self._page_rows
        self._page = min(max(self._page, 0), max(0, (total - 1) // rows))
        part = self._ordered.iloc[self._page * rows : (self._page + 1) * rows]
        texts = [[self._text(name, value) for value in part[name]] for name in part]
        chosen = set(self.chosen)
        self.page_content = {
            "caption": self.caption,
            "columns": [str(name) for name in part],
            "right": [pd.api.types.is_numeric_dtype(part[name]) for name in part],
            "choose": self._choose,
            "sort": self._sort,
            "ascending": self._ascending,
            "page": self._page,
            "first": self._page * rows + 1,
            "last": self._page * rows + len(part),
            "total": total,
            "rows": [
                {"key": str(label), "chosen": label in chosen, "cells": list(cells)}
                for label, cells in zip(part.index, zip(*texts, strict=True), strict=True)
            ],
        }

    def _text(self, name: Any, value: Any) -> str:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return "–"
        text = escape(self._formats.get(name, str)(value))
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
