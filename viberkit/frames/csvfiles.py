"""CSV files in which texts of others do not control a spreadsheet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

#: The beginning of a text that spreadsheets execute, except for a plain number.
_FORMULA = re.compile(r"(?![+-]?[0-9]+([.,][0-9]+)?\Z)\s*[=+\-@\t\r\n＝＋－＠]")
#: A separator of cells or lines before the beginning of a formula.
_INNER_FORMULA = re.compile(r"[;\t\r\n|][\s\"]*(?=[=+\-@＝＋－＠])")


def write_csv(frame: pd.DataFrame, target: Path | TextIO, *, raw: bool = False, bom: bool = False) -> None:
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
    escaped.columns = frame.columns.map(escape_formulas)
    # With these line ends, texts with a carriage return are quoted.
    escaped.to_csv(target, index=False, lineterminator="\r\n", encoding="utf-8-sig" if bom else "utf-8")
