"""Tables of texts: delimited files in any usual encoding, and Excel workbooks; every cell as it is written or shown."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import warnings
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from viberkit.errors import UnreadableRecord

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CODE_PAGES = ("cp1252", "cp1250", "cp1254", "cp1251", "cp1253", "cp850", "mac_roman")
_NAMES = {"utf-8-sig": "UTF-8 with BOM", "cp850": "MS-DOS (cp850)", "mac_roman": "Mac Roman"}
_SEPARATORS = {";": "';'", "\t": "tab", ",": "','", "|": "'|'"}
_NUMBER = re.compile(r"\W*(?:\d[\s().\-/]*){7,}|\d(?:[.,]\d+)?[eE]\+\d+")  # not the name of a column
#: In the format of a number: a currency; colours and conditions, widths, quotes.
_FORMAT_MARKS = re.compile(r'\[\$([^]-]*)[^]]*]|\[[^]]*]|[_*].|["\\]')
_DECIMAL_FORMAT = re.compile(r"[^0#]*[0#][0#,+() -]*(?:\.0+)?[^0#?/]*")
_SCIENTIFIC_FORMAT = re.compile(r"[0#?](?:\.([0#?]*))?E[+-]", re.IGNORECASE)
_ROUNDED = re.compile(r"\d{7,}0{5}|\d{12,}\.\d+")  # of at least 12 digits


def read_text_table(file: str | os.PathLike[str] | bytes) -> tuple[pd.DataFrame, str]:
    """Read a delimited file or the first filled sheet of an Excel workbook; every column is text, empty cells missing.

    ``file`` is a path, or the content of a file.

    The second result says what was detected, such as ``"Windows-1252, separator ';'"``. A delimited file may be in
    UTF-8, UTF-16 or a Windows code page, with ``;``, tab, ``,`` or ``|``. A table with a phone number in its first row
    has no header: its only column is ``to``, several are ``column 1`` and so on. Numbers of a workbook are written as
    their format shows them, where it tells.

    Raises
    ------
    OSError
        If the file cannot be opened.
    UnreadableRecord
        If it is not such a file, or a row has more cells than the header.
    """
    data = file if isinstance(file, bytes) else Path(file).read_bytes()
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise UnreadableRecord("it is an old or an encrypted Excel file; save it as .xlsx without a password")
    rows, detected = _read_workbook(data) if data.startswith(b"PK\x03\x04") else _read_delimited(data)
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UnreadableRecord("it is empty")
    width = max(index for index, cell in enumerate(rows[0], start=1) if cell)
    if any(map(_NUMBER.fullmatch, rows[0])):
        width = max(map(len, rows))
        rows.insert(0, ["to"] if width == 1 else [""] * width)
        detected += ", no header"
    header = [cell or f"column {index}" for index, cell in enumerate(rows.pop(0)[:width], start=1)]
    if longer := next((number for number, row in enumerate(rows, start=1) if any(row[width:])), None):
        raise UnreadableRecord(f"row {longer} has more cells than the header, which must be the first row")
    padded = [(row + [""] * width)[:width] for row in rows]
    frame = pd.DataFrame(padded, columns=pd.Index(header), dtype="str")
    return frame.mask(frame == ""), detected


def _read_delimited(data: bytes) -> tuple[list[list[str]], str]:
    try:
        text, encoding = _decode(data)
    except UnicodeError as error:
        raise UnreadableRecord(f"its encoding is not known ({error}); save it as UTF-8") from None
    if "\0" in text:
        raise UnreadableRecord("it contains NUL bytes, and is not a text; save it as CSV in UTF-8")
    if marked := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):  # Excel's own mark of the separator
        text = text[marked.end() :]
    separator = marked[1] if marked else _separator(text)
    lines = io.StringIO(text, newline="")
    try:
        reader = csv.reader(lines, delimiter=separator or "\x1f", skipinitialspace=True, strict=True)
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise UnreadableRecord(f"it is not a table: {error}; save it as CSV in UTF-8") from None
    return rows, f"{encoding}, " + (f"separator {_SEPARATORS.get(separator, separator)}" if separator else "one column")


def _decode(data: bytes) -> tuple[str, str]:
    """Decode a text; return it with the name of its encoding."""
    codec = unicode_codec(data)
    try:
        return data.decode(codec), _NAMES.get(codec, codec[:6].upper())
    except UnicodeDecodeError:
        if codec != "utf-8":
            raise
    codec = guess_code_page(data)
    return data.decode(codec), _NAMES.get(codec, codec.replace("cp", "Windows-"))


def unicode_codec(data: bytes) -> str:
    """The codec of a text in Unicode: by its byte order mark, or by the zeros that are most of one half of UTF-16."""
    zeros = [data[side::2].count(0) * 4 > len(data) for side in (0, 1)]
    codec = next((codec for bom, codec in _BOMS.items() if data.startswith(bom)), "")
    return codec or ("utf-8" if zeros[0] == zeros[1] else "utf-16-be" if zeros[0] else "utf-16-le")


def guess_code_page(data: bytes) -> str:
    """The code page in which a text of one byte per character looks least disordered."""
    from charset_normalizer import from_bytes

    def disorder(codec: str) -> float:
        match = from_bytes(data, cp_isolation=[codec], threshold=1.0).best()
        return 2.0 if match is None else match.chaos

    return min(_CODE_PAGES, key=disorder)


def _separator(text: str) -> str:
    """The separator that gives most rows the width of the header; "" for a single column."""
    scores = {}
    for separator in _SEPARATORS:
        rows = csv.reader(text[:65536].splitlines()[:50], delimiter=separator, skipinitialspace=True)
        widths = [len(row) for row in rows if any(row)]
        if widths and widths[0] > 1:
            scores[separator] = (widths.count(widths[0]) / len(widths), widths[0])
    return max(scores, key=scores.__getitem__, default="")


def _read_workbook(data: bytes) -> tuple[list[list[str]], str]:
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about features of Excel that openpyxl does not read
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # some programs write wrong ones
                rows = [[_shown(cell) for cell in row] for row in sheet.iter_rows()]
                if sheet.sheet_state == "visible" and any(map(any, rows)):
                    of_all = f" of {len(book.worksheets)}" if len(book.worksheets) > 1 else ""
                    return rows, f"Excel, sheet {sheet.title!r}{of_all}"
    except Exception as error:  # noqa: BLE001 - openpyxl raises errors of many classes for damaged files
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableRecord(f"it is not an .xlsx workbook ({reason}); save it as such") from None
    return [], ""


def _shown(cell: Any) -> str:
    """The text of a cell of a workbook."""
    if cell.value is None or cell.data_type == "e":
        return ""
    if isinstance(cell.value, bool):
        return str(cell.value).upper()
    if isinstance(cell.value, int | float):
        return _shown_number(cell.value, cell.number_format)
    return str(cell.value).removesuffix(" 00:00:00").strip()


def _shown_number(value: float, number_format: str) -> str:
    """A number as its format shows it, or its shortest decimal where the format does not tell (``General``).

    Large numbers that seem to be rounded are scientific in any format, so that they are not taken for phone numbers.

    >>> _shown_number(12.5, "0.00"), _shown_number(612345678, '0#" "##" "##" "##" "##')
    ('12.50', '06 12 34 56 78')
    """
    number = Decimal(f"{value:.15g}" if isinstance(value, float) else value)
    pattern = _FORMAT_MARKS.sub(r"\1", number_format.split(";")[0])
    shortest, scientific = format(number.normalize(), "f"), _SCIENTIFIC_FORMAT.search(pattern)
    if scientific or _ROUNDED.fullmatch(shortest):
        return f"{number:.{len(scientific[1] or '') if scientific else 5}E}"
    if number < 0 or not _DECIMAL_FORMAT.fullmatch(pattern):
        return shortest
    if number >= 10**9:  # a phone number or an id, not an amount
        pattern = re.sub(r"\.0+|,", "", pattern)
    slots, places = re.sub("[^0#]", "", pattern), pattern.partition(".")[2].count("0")
    is_percentage = "%" in re.sub(r'"[^"]*"|\\.', "", number_format)
    rounded = (number * (100 if is_percentage else 1)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    width = max(1, len(slots.lstrip("#")) + (places > 0))
    digits = f"{rounded:0{width}{',' if ',' in pattern else ''}f}"
    pattern = re.sub("[0#]", "#" * (len(digits) - len(slots) + 1), re.sub("[.,]", "", pattern), count=1)
    rest = iter(reversed(digits))  # filled from the right, as spreadsheets do
    return re.sub("[0#]", lambda _: next(rest, ""), pattern[::-1])[::-1].strip()
