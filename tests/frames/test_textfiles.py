"""Tables of texts: encodings, separators, headers and workbooks; every cell as it is written or shown."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings, strategies as st

from viberkit.errors import UnreadableRecord
from viberkit.frames.textfiles import _shown_number, read_text_table
from viberkit.models.phone import normalize_column

ROWS = [["to", "Vorname", "Preis", "PLZ"], ["+491701234567", "Jürgen", "12.50", "01067"], ["0151 1", "Renée", "", "NA"]]


def write(path: Path, text: str, encoding: str) -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "UTF-8"),
        ("utf-8-sig", "UTF-8 with BOM"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("cp1252", "Windows-1252"),
        ("cp850", "MS-DOS (cp850)"),
    ],
)
@pytest.mark.parametrize(("separator", "said"), [(";", "';'"), ("\t", "tab"), (",", "','"), ("|", "'|'")])
def test_encodings_and_separators_are_detected(
    tmp_path: Path, encoding: str, name: str, separator: str, said: str
) -> None:
    text = "\r\n".join(separator.join(row) for row in ROWS)
    frame, detected = read_text_table(write(tmp_path / "r.csv", text, encoding))
    assert detected == f"{name}, separator {said}"
    assert [frame.columns.tolist(), *frame.fillna("").to_numpy().tolist()] == ROWS
    assert frame.isna().sum().sum() == 1
    assert (frame.dtypes == "str").all()


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("cp1251", ["Олександр", "Марія Шевченко", "Иван Петров", "Київ"]),
        ("cp1253", ["Γιώργος", "Ελένη Παπαδοπούλου", "Νίκος"]),
        ("cp1252", ["Élodie Lefèvre", "François Noël", "Zoë Groß", "Ærø – 5 €"]),
    ],
)
def test_names_in_a_code_page_are_readable(tmp_path: Path, encoding: str, texts: list[str]) -> None:
    text = "\n".join(["to;name", *(f"+49170123456{index};{name}" for index, name in enumerate(texts))])
    assert read_text_table(write(tmp_path / "r.csv", text, encoding))[0]["name"].tolist() == texts


@pytest.mark.parametrize(
    ("text", "columns", "rows", "said"),
    [
        ("sep=|\r\nto|name;x\r\n+491|a;b\r\n", ["to", "name;x"], [["+491", "a;b"]], "UTF-8, separator '|'"),
        ("to\n+49 170 1234567\n\n0151\n", ["to"], [["+49 170 1234567"], ["0151"]], "UTF-8, one column"),
        ("+491701234567\n0151\n", ["to"], [["+491701234567"], ["0151"]], "UTF-8, one column, no header"),
        ("0170 1234567;Ada\n", ["column 1", "column 2"], [["0170 1234567", "Ada"]], "UTF-8, separator ';', no header"),
        ("to;Preis, netto\n1;2,50\n2;3\n", ["to", "Preis, netto"], [["1", "2,50"], ["2", "3"]], "UTF-8, separator ';'"),
        ('to,note\n1,"a, b\nc"\n', ["to", "note"], [["1", "a, b\nc"]], "UTF-8, separator ','"),
        ('to, name\n1, "a ""x"" b"\n2,\n', ["to", "name"], [["1", 'a "x" b'], ["2", None]], "UTF-8, separator ','"),
        ("to;;name;\n1;2;3;\n", ["to", "column 2", "name"], [["1", "2", "3"]], "UTF-8, separator ';'"),
        ("to;name\n1;NULL\n2;N/A\n", ["to", "name"], [["1", "NULL"], ["2", "N/A"]], "UTF-8, separator ';'"),
    ],
)  # fmt: skip
def test_tables_as_programs_write_them(
    tmp_path: Path, text: str, columns: list[str], rows: list[list[Any]], said: str
) -> None:
    frame, detected = read_text_table(write(tmp_path / "r.txt", text, "utf-8"))
    assert (frame.columns.tolist(), frame.astype(object).where(frame.notna(), None).to_numpy().tolist()) == (
        columns,
        rows,
    )
    assert detected == said


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"to;name\n1;2;3\n", "row 1 has more cells than the header"),
        (b"to;name\n1;\"2\n", "is not a table"),
        (b"to\n\0\xff\n", "is not a text"),
        (b"\xff\xfet", "encoding is not known"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "save it as .xlsx"),
        (b"PK\x03\x04nothing", "is not an .xlsx workbook"),
    ],
)  # fmt: skip
def test_other_files_are_refused_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(UnreadableRecord, match=reason):
        read_text_table(tmp_path / "r.csv")


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=8).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(cells, cells), min_size=1, max_size=6),
    st.sampled_from(";\t,|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_csv_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str, encoding: str
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([("to", "name"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "r.csv", buffer.getvalue(), encoding)
    frame, _ = read_text_table(path)
    assert frame.fillna("").to_numpy().tolist() == [list(row) for row in rows if any(row)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        frame, detected = read_text_table(path)
    except UnreadableRecord as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert detected
        assert len(frame.columns)


# --- workbooks ---------------------------------------------------------------------------------------------


def test_a_workbook_is_read_as_it_is_shown(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Leer"
    sheet = book.create_sheet("Kunden")
    sheet.append([])
    sheet.append(["to", "Preis", "PLZ", "am", "aktiv", "Fehler", None])
    sheet.append([491701234567, 12.5, 1067, date(2026, 1, 5), True, "#N/A"])
    sheet.append(
        ["+49 170 1234568", 1234.5, "01067", datetime(2026, 1, 5, 8, 30, tzinfo=UTC).replace(tzinfo=None), False, " x "]
    )
    sheet["B3"].number_format, sheet["C3"].number_format = "0.00", "00000"
    book.create_sheet("Alt")["A1"] = "to"
    book.save(tmp_path / "r.xlsx")
    frame, detected = read_text_table(tmp_path / "r.xlsx")
    assert detected == "Excel, sheet 'Kunden' of 3"
    assert frame.columns.tolist() == ["to", "Preis", "PLZ", "am", "aktiv", "Fehler"]
    assert frame.fillna("-").to_numpy().tolist() == [
        ["491701234567", "12.50", "01067", "2026-01-05", "TRUE", "-"],
        ["+49 170 1234568", "1234.5", "01067", "2026-01-05 08:30:00", "FALSE", "x"],
    ]


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        *((12.5, "General", "12.5"), (7.0, "General", "7"), (0.1 + 0.2, "General", "0.3"), (12, "@", "12")),
        *((12.5, "0.00", "12.50"), (12.345, "0.00", "12.35"), (1234.5, "#,##0.0", "1,234.5"), (5, "000.00", "005.00")),
        *((0, "0", "0"), (0, "#,##0", "0"), (0.5, "#.00", "0.50"), (-3.5, "0.00", "-3.5"), (0.5, "# ?/?", "0.5")),
        *((12, '0" %"', "12 %"), (12, "0\\ \\%", "12 %"), (12, '0" Stk"', "12 Stk"), (12.5, '"EUR" 0.00', "EUR 12.50")),
        *((0.12, "0%", "12%"), (0.125, "0.0%", "12.5%"), (123, "00000", "00123"), (9.99, '0.00\\ "€"', "9.99 €")),
        *((9.99, "[$€-407]\\ 0.00", "€ 9.99"), (1234567.5, '_-* #,##0.00\\ "€"_-;\\-* #,##0.00', "1,234,567.50 €")),
        # phone numbers
        *((491701234567, "0.00", "491701234567"), (491701234567, "#,##0", "491701234567")),
        *((491701234567, "General", "491701234567"), (4.91701234567e11, "General", "491701234567")),
        *((491701234567, '"+"0', "+491701234567"), (491701234567, "\\+#", "+491701234567")),
        *((15112345678, "000000000000", "015112345678"), (612345678, '0#" "##" "##" "##" "##', "06 12 34 56 78")),
        *((2025550123, r"\(###\)\ ###\-####", "(202) 555-0123"), (4917012e5, "General", "4.91701E+11")),
        # rounded, or shown as such
        *((4.91702e11, "0.00E+00", "4.92E+11"), (491701234567, "0.00E+00", "4.92E+11"), (5e11, "0E+0", "5E+11")),
        *((4.91702e11, "##0.0E+0", "4.9E+11"), (4.91702e11, "0.00e+00;-0.00e+00", "4.92E+11")),
        *((4.91702e11, "General", "4.91702E+11"), (491702000000, "0", "4.91702E+11")),
        *((491701234567.25, "General", "4.91701E+11"), (49170120000, "General", "49170120000")),
    ],
)  # fmt: skip
def test_a_number_is_written_as_its_format_shows_it(value: float, number_format: str, shown: str) -> None:
    assert _shown_number(value, number_format) == shown


def test_recipients_that_a_spreadsheet_has_rounded_are_refused(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    formats = {4.91702e11: "0.00E+00", 491703000000: "General", 491701234567: "General", 4.91704e11: "0"}
    for row, (value, number_format) in enumerate(formats.items(), start=1):
        book.active.cell(row, 1, value).number_format = number_format
    book.save(tmp_path / "r.xlsx")
    frame, detected = read_text_table(tmp_path / "r.xlsx")
    assert detected == "Excel, sheet 'Sheet', no header"
    results = normalize_column(frame["to"])
    assert [str(result).partition(" was ")[2][:21] or result for result in results] == [
        *["converted to a number"] * 2,
        "+491701234567",
        "converted to a number",
    ]
