"""Phone numbers: to E.164 or to a plain word why not, and never shown in full."""

from __future__ import annotations

import os
import re
from typing import Any

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from viberkit.errors import Violation
from viberkit.models.phone import country, mask, mask_numbers, normalize

many = settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "200")), deadline=None)
E164 = "+491701234567"


@pytest.mark.parametrize(
    "written",
    [
        *(
            "+491701234567",
            "00491701234567",
            "491701234567",
            " 0049 170 1234567 ",
            "+49 170 123-4567",
            "+49 (170) 1234567",
        ),
        *(
            "+49 (0)170 1234567",
            "+49.170.123.4567",
            "49/170/1234567",
            "+49\u00a0170\u00a01234567",
            "+49\u2011170\u20131234567",
        ),
        *("\t+49 170\n1234567\n",),
    ],
)
def test_the_ways_people_write_a_number(written: str) -> None:
    assert normalize(written) == E164


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("", "is missing"),
        ("   ", "is missing"),
        ("+", "is missing"),
        ("00", "is missing"),
        ("0170 1234567", "has no country's calling code"),
        ("+999 1234567", "has no country's calling code"),
        ("+49 12", "lacks its area code"),
        ("+4917012345678901234", "is not a phone number|is too long"),
        ("9" * 5000, "is not a phone number|is too long|no country"),
        ("123456789", "is too short"),  # the number of the guide's examples is an illustration only
        ("+49 170 CALL ME", "other than digits"),
        ("++491701234567", "other than digits"),
        ("+49170+1234567", "other than digits"),
        ("٤٩١٧٠١٢٣٤٥٦٧", "other than digits"),
        ("tel:+491701234567", "other than digits"),
        ("+491701234567;ext=5", "other than digits"),
        ("{{receiverPhoneNumber}}", "other than digits"),
        ("+49170\x001234567", "other than digits"),
        ("+49170\ud8001234567", "other than digits"),
        (None, "is not a text"),
        (491701234567, "is not a text"),
        (4.9e11, "is not a text"),
        (b"+491701234567", "is not a text"),
    ],
)
def test_an_impossible_number_is_refused_in_plain_words(written: object, rule: str) -> None:
    told = normalize(written)
    assert isinstance(told, Violation)
    assert told.field == "to"
    assert re.search(rule, told.rule)
    assert "+491701234567" in told.remedy
    assert "1701234567" not in told.value
    assert str(told).encode()
    assert str(told).isprintable()


def test_the_field_is_named_as_asked() -> None:
    told = normalize("x", "row 17.phone")
    assert isinstance(told, Violation)
    assert str(told).startswith("row 17.phone: ")


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


@pytest.mark.parametrize("region", REGIONS)
def test_a_mobile_number_of_every_country(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if number is None:
        return
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    assert {normalize(way) for way in (e164, written, e164[1:], "00" + e164[1:])} == {e164}
    assert revealed(mask(e164)) <= 7
    assert mask_numbers(f"to {e164}, {written}.").count("*") > 0


def revealed(masked: str) -> int:
    return len(masked.replace("*", ""))


anything = st.text(st.characters(), max_size=30) | st.text("+0123456789 ()-.\u00a0x", max_size=24)


@many
@given(anything | st.integers() | st.binary() | st.none() | st.floats())
@example("+800" + "1" * 8)
@example("+1" + "0" * 300)
def test_nothing_raises_and_what_passes_is_e164(written: Any) -> None:
    told = normalize(written)
    if isinstance(told, Violation):
        assert told.field == "to"
        assert told.rule
        assert told.remedy
        assert str(told).encode()
        assert len(told.value) < 150  # at most 12 characters, escaped
    else:
        assert re.fullmatch(r"\+[1-9][0-9]{4,16}", told)
        assert normalize(told) == told
        assert normalize(told[1:]) == told


@many
@given(st.from_regex(r"\+?[1-9][0-9]{1,14}", fullmatch=True))
def test_a_mask_reveals_at_most_seven_characters(number: str) -> None:
    masked = mask(number)
    assert revealed(masked) <= 7
    assert revealed(masked) < len(number) or len(number) < 3
    assert "*" in masked or len(number) < 3
    spaced = " ".join(re.findall("..?.?", number))
    assert mask(spaced) == masked
    if len(number) > 9:
        for text in (number, f"to {number}.", f'{{"to":"{number}"}}', f"({number})"):
            assert number not in mask_numbers(text)
            assert mask_numbers(text) == text.replace(number, masked)


@many
@given(anything)
def test_no_text_breaks_a_mask(text: str) -> None:
    assert revealed(mask(text)) <= max(7, 2 + text.count("*"))
    mask_numbers(text)


# --- countries --------------------------------------------------------------------------------------------


def by_the_library(digits: str) -> str | None:
    """The country as phonenumbers finds it, slowly."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(digits))
    except phonenumbers.NumberParseException:
        return None
    return None if region == "001" else region


@pytest.mark.parametrize(
    ("written", "told"),
    [
        *(("+491701234567", "DE"), ("00491701234567", "DE"), ("491701234567", "DE"), (" +49 (0)170 123-4567", "DE")),
        *(("+12042345678", "CA"), ("+12015550123", "US"), ("+18762101234", "JM"), ("+79123456789", "RU")),
        *(("+77710009998", "KZ"), ("+447400123456", "GB"), ("+447781123456", "GG"), ("+447797712345", "JE")),
        *(("+393123456789", "IT"), ("+390669812345", "VA"), ("+4440707400123456", None), ("+4407400123456", "GB")),
        *(("+80012345678", None), ("+999123456", None), ("+49", None), ("", None), ("+", None), ("hi", None)),
        *(("+4917*****67", None), ("٤٩١٧٠١٢٣٤٥٦٧", None), (None, None), (float("nan"), None), (491701234567, None)),
    ],
)
def test_the_country_of_a_number(written: Any, told: str | None) -> None:
    assert country(written) == told


@pytest.mark.parametrize("region", REGIONS)
def test_the_country_of_every_kind_of_number(region: str) -> None:
    for kind in range(11):
        if number := phonenumbers.example_number_for_type(region, kind):
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert country(e164) == by_the_library(e164)
            # The end of a number decides nothing, its middle may.
            for place in range(2, len(e164)):
                for digit in "0379":
                    other = e164[:place] + digit + e164[place + 1 :]
                    assert country(other) == by_the_library(other)


shared = [str(code) for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items() if len(regions) > 1]


@many
@given(st.sampled_from([*shared, ""]), st.text("0123456789", max_size=19))
def test_countries_are_those_of_the_library(code: str, rest: str) -> None:
    assert country(f"+{code}{rest}") == by_the_library(f"+{code}{rest}")


@many
@given(anything | st.integers() | st.none() | st.floats() | st.binary())
def test_no_text_breaks_a_country(written: Any) -> None:
    told = country(written)
    assert told is None or re.fullmatch("[A-Z]{2}", told)
    if isinstance(number := normalize(written), str):
        assert told == by_the_library(number)
