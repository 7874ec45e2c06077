"""Recipients that a spreadsheet or an export has changed: no stranger is planned, and good rows are not refused."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl
import pandas as pd
import phonenumbers
import pytest
from hypothesis import given, settings, strategies as st

import viberkit as vk
from viberkit.campaigns.plan import plan_messages, read_recipients
from viberkit.errors import CampaignError, MissingColumn, Violation
from viberkit.models.phone import normalize_column

HI = vk.Text("Hi")
COUNTRIES = ["AT", "CH", "DE", "ES", "FR", "GB", "GR", "IT", "NL", "PL", "UA", "US"]
FORMATS = phonenumbers.PhoneNumberFormat


def planned(recipients: Any, **options: Any) -> dict[int, str]:
    """The number that is planned for each row, from 0."""
    frame, _ = read_recipients(recipients)
    messages, problems = plan_messages("c", frame, HI, "session", **options)
    assert {message.row for message in messages}.isdisjoint(problems["row"])
    assert len(messages) + problems["row"].nunique() == len(frame)
    assert (problems[["rule", "remedy"]].map(len) > 0).all(axis=None)
    return {message.row - 1: message.to for message in messages}


# --- numbers of ten and more countries ---------------------------------------------------------------------


def mobile(region: str, rng: random.Random) -> Any:
    """A random mobile number of a country."""
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    example = metadata.mobile.example_number
    while True:
        kept = rng.randrange(4)
        digits = example[:kept] + "".join(rng.choices("0123456789", k=len(example) - kept))
        if re.fullmatch(metadata.mobile.national_number_pattern, digits, re.ASCII):
            number = phonenumbers.parse(f"+{metadata.country_code}{digits}")
            if phonenumbers.is_valid_number_for_region(number, region):
                return number


def e164(number: Any) -> str:
    return phonenumbers.format_number(number, FORMATS.E164)


def national(number: Any) -> str:
    return phonenumbers.format_number(number, FORMATS.NATIONAL)


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "E.164": e164,
    "international": lambda number: phonenumbers.format_number(number, FORMATS.INTERNATIONAL),
    "double zero": lambda number: "00" + e164(number)[1:],
    "apostrophe": lambda number: "'" + e164(number),
    "formula": lambda number: f'="{e164(number)}"',
    "invisible": lambda number: "\ufeff\u202a" + e164(number)[:5] + "\u200b\xa0" + e164(number)[5:] + "\u202c",
    "wide": lambda number: "".join(chr(ord(character) + 0xFEE0) for character in e164(number)),
    "dashes": lambda number: f"{e164(number)[:4]}\u2013{e164(number)[4:7]}\u2212{e164(number)[7:]}",
    "without plus": lambda number: e164(number)[1:],
    "national": national,
    "without zero": lambda number: re.sub(r"\D", "", national(number)).lstrip("0"),
    "rounded": lambda number: f"{float(e164(number)):.5E}",
    "rounded, comma": lambda number: f"{float(e164(number)):.5E}".replace(".", ","),
    "exponent": lambda number: f"{float(e164(number)):E}",
    "decimal": lambda number: e164(number)[1:] + ".0",
    "decimal, comma": lambda number: e164(number)[1:] + ",00",
    "impossible": lambda number: e164(number)[:-4],
}
#: Formats of complete numbers; "without plus" is complete where the whole column shows it.
COMPLETE = list(WRITTEN)[:8]
DAMAGED = list(WRITTEN)[11:]


class Recipients(NamedTuple):
    """A list of recipients with its truth; a good row must be planned."""

    source: Any
    numbers: list[str]
    good: list[bool]
    options: dict[str, Any]


def spreadsheet(cells: list[Any], path: Path, rng: random.Random) -> Any:
    """The cells as a DataFrame, a delimited file of some encoding and separator, or a workbook."""
    rows = [["Kunde Nr.", "to", "Größe"], *([str(index), cell, "Ø 12,50"] for index, cell in enumerate(cells))]
    kind = rng.choice(["frame", "utf-8", "utf-8-sig", "utf-16", "cp1252", "xlsx"])
    if kind == "frame":
        return pd.DataFrame(rows[1:], columns=rows[0])
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append([int(cell) if str(cell).isdecimal() and str(cell)[0] != "0" else cell for cell in row])
        for row in book.active.iter_rows():  # else a formula, of which nobody has stored the result
            for cell in row:
                cell.data_type = "s" if cell.data_type == "f" else cell.data_type
        book.save(path.with_suffix(".xlsx"))
        return path.with_suffix(".xlsx")
    separator = rng.choice(";\t,|")
    text = "\r\n".join(separator.join(f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in row) for row in rows)
    encoding = "utf-8" if kind == "cp1252" and set(text) - set(bytes(range(256)).decode("cp1252", "ignore")) else kind
    path.write_bytes(text.encode(encoding))
    return path


def damaged_list(seed: int, path: Path) -> Recipients:
    """A list of one of ten kinds, of one or all countries."""
    rng = random.Random(seed)
    regions = COUNTRIES if rng.random() < 0.4 else [rng.choice(COUNTRIES)]
    numbers = [mobile(rng.choice(regions), rng) for _ in range(rng.choice([20, 60]))]
    numbers = list({e164(number): number for number in numbers}.values())
    options: dict[str, Any] = {}
    match seed % 10:
        case 0:  # complete numbers in any format
            formats, good = COMPLETE, set(COMPLETE)
        case 1 | 2:  # without plus, as spreadsheets export them
            formats, good = ["without plus"], {"without plus"}
        case 3:  # the same with complete numbers between them, and the option
            formats, options = [*COMPLETE, "without plus"], {"international": True}
            good = {*formats}
        case 4:  # complete numbers, and some that are damaged
            formats, good = COMPLETE * 3 + DAMAGED, set(COMPLETE)
        case 5:  # national numbers without their country
            formats, good = ["national"], set()
        case 6:  # national numbers after pandas.read_csv: the 0 is lost
            formats, good = ["without zero"], set()
        case 7:  # national numbers, with and without 0, and their country
            numbers = [mobile(regions[0], rng) for _ in numbers]
            formats, options = ["national", "without zero", "E.164"], {"region": regions[0]}
            good = {*formats}
        case 8:  # some numbers have lost their plus, some their 0
            formats, good = ["E.164", "without plus", "without zero"], {"E.164"}
        case _:  # everything
            formats, good = list(WRITTEN), set(COMPLETE)
    chosen = [rng.choice(formats) for _ in numbers]
    cells = [WRITTEN[name](number) for name, number in zip(chosen, numbers, strict=True)]
    if seed % 10 in (2, 6) and seed % 3:
        source: Any = pd.read_csv(io.StringIO("\n".join(["to", *cells])))
    else:
        source = spreadsheet(cells, path, rng)
    return Recipients(source, list(map(e164, numbers)), [name in good for name in chosen], options)


def test_no_stranger_is_planned_from_100_damaged_lists_and_good_rows_are(tmp_path: Path) -> None:
    n_good = refused = 0
    for seed in range(100):
        recipients = damaged_list(seed, tmp_path / f"{seed}.csv")
        result = planned(recipients.source, **recipients.options)
        strangers = {row: to for row, to in result.items() if to != recipients.numbers[row]}
        assert strangers == {}, (seed, {row: recipients.numbers[row] for row in strangers})
        good = [row for row, is_good in enumerate(recipients.good) if is_good]
        n_good += len(good)
        refused += sum(row not in result for row in good if recipients.numbers.index(recipients.numbers[row]) == row)
    assert n_good > 1000
    assert refused < n_good / 100


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(COUNTRIES), st.integers(0, 10**9), st.lists(st.sampled_from(list(WRITTEN)), max_size=40))
def test_one_country_in_any_mixture_of_formats_has_no_strangers(region: str, seed: int, formats: list[str]) -> None:
    rng = random.Random(seed)
    numbers = [mobile(region, rng) for _ in formats]
    cells = [WRITTEN[name](number) for name, number in zip(formats, numbers, strict=True)]
    for options in ({}, {"region": region}):
        results = normalize_column(cells, **options)
        for name, number, result in zip(formats, numbers, results, strict=True):
            assert (
                result == e164(number) if name in COMPLETE else isinstance(result, Violation) or result == e164(number)
            )


# --- single faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "options", "expected"),
    [
        # what pandas.read_csv and spreadsheets make of numbers
        (["4.91702E+11", "4,91702E+11", "4.91702e+011", "+4.91701234567E+11", 4.91702e11], {}, "converted to a number"),
        (["491701234567.0", "491701234567,0", "+491701234567.00", "491 701 234 567,00"], {}, "converted to a number"),
        ([491701234567.0, 1e16, -1.5, -491701234567, "\u2212491701234567"], {}, "converted to a number"),
        (["015112345678", "0612345678", "0151 1234 5678"], {}, "begins with 0"),
        ([15112345678, 612345678, "15112345678"], {}, "not complete"),
        ([15142345678], {}, "may be a number of CA, or a national number of CN, DE"),
        ([29051234], {}, "may be a number of SH, or a national number"),
        ([491701234567, 491701234568, 15142345678], {}, ["+491701234567", "+491701234568", "may be a number of CA"]),
        ([f"1512345{n:04}" for n in range(30)], {}, "may be a number of US"),
        ([f"0151{n}" for n in range(30000000, 30000030)] + [36203512345], {}, "begins with 0|may be a number of HU"),
        # complete numbers
        ([491701234567, "491701234568", "0049 170 1234569"], {}, ["+491701234567", "+491701234568", "+491701234569"]),
        ([15142345678], {"international": True}, ["+15142345678"]),
        (  # of many countries, some without their 0
            ["380501739217", "7105456828", "41781710466", "781228476", "43664747537", "15106466146", "12015728141"],
            {},
            [
                "+380501739217",
                "not complete",
                "+41781710466",
                "not complete",
                "+43664747537",
                "of US, .* DE",
                "+12015728141",
            ],
        ),
        # national numbers
        (["015112345678", 15112345678, "0151/12345678"], {"region": "DE"}, ["+4915112345678"] * 3),
        (["(0)151 12345678", "+49 (0)151 12345678"], {"region": "DE"}, ["+4915112345678"] * 2),
        (
            ["06 12 34 56 78", "06.12.34.56.00", 612345678],
            {"region": "FR"},
            ["+33612345678", "+33612345600", "+33612345678"],
        ),
        ([15142345678, 1701234567], {"region": "DE"}, ["+4915142345678", "+491701234567"]),
        ([15142345678, 491701234567], {"region": "DE"}, ["may be a number of CA", "+491701234567"]),
        ([447400123456, "+447400123456"], {"region": "DE"}, ["may be a number of GB", "+447400123456"]),
        ([447400123456, "0170 1234567"], {"region": "DE", "international": True}, ["+447400123456", "+491701234567"]),
        (  # a country of which the column has numbers with +
            ["9171234567", 9181234567, "+9592151940", "9592151940", "95 9 215 1941"],
            {"region": "PH"},
            [
                "+639171234567",
                "+639181234567",
                "+9592151940",
                *["may be a number of MM, or a national number of PH"] * 2,
            ],
        ),
        (
            ["0151 12345678", 15142345678, "0043 664 1234567"],
            {"region": "DE"},
            ["+4915112345678", "+4915142345678", "+436641234567"],
        ),
        (["06 20 123 4567", 6201234567, 201234567], {"region": "HU"}, ["+36201234567"] * 3),
        (["8 916 123-45-67", 89161234567, 9161234567, 79161234567], {"region": "RU"}, ["+79161234567"] * 4),
        (["312 345 6789", 3123456789, 393123456789], {"region": "IT"}, ["+393123456789"] * 3),
        (
            [2025550123, "(202) 555-0123", 12025550123, "011 49 170 1234567"],
            {"region": "US"},
            ["+12025550123"] * 3 + ["+491701234567"],
        ),
        # not valid, not mobile
        (
            ["+49 151 0", "+999 1234567", "+1 511 234 5678", "+49 170 123456789"],
            {},
            "short|calling code|assigns|length|long",
        ),
        (["+49 30 12345678", "+44 20 7946 0958", "+800 12345678", 493012345678], {}, "not of a mobile phone"),
        (["030 12345678", "0151 1"], {"region": "DE"}, "not of a mobile phone|short|assigns"),
        (["+1 202 555 0123"], {}, ["+12025550123"]),  # the country does not tell them apart
        # characters
        (["+49\u200b170\u202f1234567\u202c", "\ufeff+491701234567", "\u2018+491701234567"], {}, ["+491701234567"] * 3),
        (
            ['="+491701234567"', "\uff0b\uff14\uff19\uff11\uff17\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17"],
            {},
            ["+491701234567"] * 2,
        ),
        (
            ["+49 170 1234567\u00b2", "+49 170 123456O", "+49 170\u00b71234567", "\u0664\u0669\u0661"],
            {},
            r"U\+(00B2|004F|00B7|0664)",
        ),
        (
            ["+49 170 1234567 / +49 170 1234568", "+491701234567, +491701234568", "p:+491701234567"],
            {},
            "other than digits",
        ),
        ([True, None, b"+491701234567", [491701234567]], {}, "is not a text"),
    ],
)
def test_each_number_is_right_or_refused(cells: list[Any], options: dict[str, Any], expected: Any) -> None:
    results = normalize_column(cells, "Mobile", **options)
    texts = [result if isinstance(result, str) else str(result) for result in results]
    for text, rule in zip(texts, [expected] * len(cells) if isinstance(expected, str) else expected, strict=True):
        assert text == rule or (not rule.startswith("+") and re.match(f"Mobile: .*(?:{rule}).*; .", text)), text


def test_large_bare_lists_are_good_in_countries_whose_numbers_look_like_others() -> None:
    rng = random.Random(1)
    for region in ("NO", "DK", "SG", "US", "VN", "RS", "HU"):
        numbers = [e164(mobile(region, rng)) for _ in range(100)]
        assert normalize_column([int(number) for number in numbers]) == numbers


def test_single_sends_follow_the_same_rules(sandbox: vk.Sandbox) -> None:
    client = sandbox.client()
    for to in ("+493012345678", "4.91702E+11", "491701234567.0", "15112345678", "+49 170 1234567\u00b2"):
        with pytest.raises(vk.errors.InvalidRequest, match=r"^to: "):
            client.send(to, HI, rate_type="session")
    assert sandbox.requests == []
    assert client.send("+49 170\u200b 1234567", HI, rate_type="session").to == "+491701234567"


# --- files and columns -------------------------------------------------------------------------------------


def test_the_preview_says_how_a_file_was_read(archive: vk.Archive, tmp_path: Path) -> None:
    (tmp_path / "kunden.csv").write_bytes(
        "Mobil;Name;Preis;PLZ\r\n+491701234567;Jürgen;12,50;01067\r\n".encode("cp1252")
    )
    text = vk.Text("{Name}: {Preis} €, {PLZ}")
    campaign = vk.Campaign.plan(archive, "c", tmp_path / "kunden.csv", text, rate_type="promotion", to="Mobil")
    preview = campaign.preview()
    assert preview.source == "kunden.csv: Windows-1252, separator ';'"
    assert preview.sample["text"].tolist() == ["Jürgen: 12,50 €, 01067"]
    assert "recipients: kunden.csv: Windows-1252, separator ';'" in repr(preview)
    assert vk.Campaign.open(archive, "c").preview().source == ""


def test_the_preview_says_what_to_do_about_refused_rows(archive: vk.Archive) -> None:
    numbers = ["015112345678", "4.91702E+11", 15142345678, "+491701234567"]
    shown = repr(vk.Campaign.plan(archive, "c", numbers, HI, rate_type="session").preview())
    assert "messages to send: 1," in shown
    assert "left out: 3 rows" in shown
    assert "   1    to " in shown
    assert "begins with 0, not with a country calling code" in shown
    assert "may be a number of CA, or a national number of CN, DE without its leading 0" in shown
    assert "to do: take the number from its source, and format the column as text" in shown
    assert "to do: write it with + and its country calling code, or pass its country, e.g. region='DE'" in shown
    assert "123456" not in shown


@pytest.mark.parametrize(
    ("columns", "to", "hint"),
    [
        ({"Name": ["Ada"], "Mobile": ["+491701234567"]}, None, 'pass to="Mobile"'),
        ({"Kundennr.": ["12345678"], "Handy": ["0170 1234567"]}, None, 'pass to="Handy"'),
        ({"Datum": ["2026-01-05"], "Kontakt": [491701234567]}, None, 'pass to="Kontakt"'),
        ({"Mobile": ["+491701234567"], "Name": ["Ada"]}, "mobil", 'pass to="Mobile"'),
        ({"Phone": [None], "Name": ["Ada"]}, "phone", "did you mean 'Phone'"),
        ({"Name": ["Ada"]}, None, "no column 'to'; the columns are: 'Name'"),
    ],
)
def test_a_missing_column_is_answered_with_the_likely_one(columns: Any, to: str | None, hint: str) -> None:
    with pytest.raises(MissingColumn, match=re.escape(hint)):
        planned(pd.DataFrame(columns), to=to)


def test_a_missing_file_is_said_to_be_missing(archive: vk.Archive, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", str(tmp_path / "nowhere.xlsx")):
        with pytest.raises(CampaignError, match=r"the file 'nowhere.(csv|xlsx)' does not exist; pass its path"):
            vk.Campaign.plan(archive, "c", path, HI, rate_type="session")
    with pytest.raises(CampaignError, match=r"cannot be read: .*directory"):
        vk.Campaign.plan(archive, "c", tmp_path, HI, rate_type="session")
