"""Phone numbers: normalised to E.164 or refused with a rule, masked, and assigned to countries."""

from __future__ import annotations

import os
import re
from typing import Any

import phonenumbers
import pytest
from hypothesis import example, given, settings, strategies as st

from viberkit.errors import Violation
from viberkit.models.phone import country, mask, mask_numbers, normalize

many = settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "20")), deadline=None)
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
def test_usual_spellings_of_a_number(written: str) -> None:
    assert normalize(written) == E164


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("", "is missing"),
        ("   ", "is missing"),
        ("+", "is missing"),
        ("00", "is missing"),
        ("0170 1234567", "does not begin with a country calling code"),
        ("+999 1234567", "does not begin with a country calling code"),
        ("+49 12", "lacks an area code"),
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
def test_an_impossible_number_is_refused_with_the_rule(written: object, rule: str) -> None:
    result = normalize(written)
    assert isinstance(result, Violation)
    assert result.field == "to"
    assert re.search(rule, result.rule)
    assert "+491701234567" in result.remedy
    assert "1701234567" not in result.value
    assert str(result).encode()
    assert str(result).isprintable()


def test_the_field_is_named_as_requested() -> None:
    result = normalize("x", "row 17.phone")
    assert isinstance(result, Violation)
    assert str(result).startswith("row 17.phone: ")


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


@pytest.mark.parametrize("region", REGIONS)
def test_a_mobile_number_of_every_country(region: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if number is None:
        return
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    assert {normalize(spelling) for spelling in (e164, written, e164[1:], "00" + e164[1:])} == {e164}
    assert revealed(mask(e164)) <= 7
    assert mask_numbers(f"to {e164}, {written}.").count("*") > 0


def revealed(masked: str) -> int:
    return len(masked.replace("*", ""))


anything = st.text(st.characters(), max_size=30) | st.text("+0123456789 ()-.\u00a0x", max_size=24)


@many
@given(anything | st.integers() | st.binary() | st.none() | st.floats())
@example("+800" + "1" * 8)
@example("+1" + "0" * 300)
def test_nothing_raises_and_every_result_is_e164(written: Any) -> None:
    result = normalize(written)
    if isinstance(result, Violation):
        assert result.field == "to"
        assert result.rule
        assert result.remedy
        assert str(result).encode()
        assert len(result.value) < 150  # at most 12 characters, escaped
    else:
        assert re.fullmatch(r"\+[1-9][0-9]{4,16}", result)
        assert normalize(result) == result
        assert normalize(result[1:]) == result


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


@pytest.mark.parametrize(
    "written",
    ["+49 170 1234567", "+49\u00a0170\u00a01234567", "+49\u202f170\t1234567", "x+49 170 1234567", "+491701234567x"],
)
def test_numbers_with_any_blanks_and_neighbours_are_masked(written: str) -> None:
    assert "1234567" not in mask_numbers(f"code {written} of others")


@many
@given(anything)
def test_any_text_can_be_masked(text: str) -> None:
    assert revealed(mask(text)) <= max(7, 2 + text.count("*"))
    mask_numbers(text)


# --- countries --------------------------------------------------------------------------------------------


def country_by_phonenumbers(digits: str) -> str | None:
    """The country according to phonenumbers."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse(digits))
    except phonenumbers.NumberParseException:
        return None
    return None if region == "001" else region


@pytest.mark.parametrize(
    ("written", "result"),
    [
        *(("+491701234567", "DE"), ("00491701234567", "DE"), ("491701234567", "DE"), (" +49 (0)170 123-4567", "DE")),
        *(("+12042345678", "CA"), ("+12015550123", "US"), ("+18762101234", "JM"), ("+79123456789", "RU")),
        *(("+77710009998", "KZ"), ("+447400123456", "GB"), ("+447781123456", "GG"), ("+447797712345", "JE")),
        *(("+393123456789", "IT"), ("+390669812345", "VA"), ("+4440707400123456", None), ("+4407400123456", "GB")),
        *(("+80012345678", None), ("+999123456", None), ("+49", None), ("", None), ("+", None), ("hi", None)),
        *(("+4917*****67", None), ("٤٩١٧٠١٢٣٤٥٦٧", None), (None, None), (float("nan"), None), (491701234567, None)),
    ],
)
def test_the_country_of_a_number(written: Any, result: str | None) -> None:
    assert country(written) == result


@pytest.mark.parametrize("region", REGIONS)
def test_the_country_of_every_kind_of_number(region: str) -> None:
    for kind in range(11):
        if number := phonenumbers.example_number_for_type(region, kind):
            e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            assert country(e164) == country_by_phonenumbers(e164)
            # Other numbers of the same length, some of them in other countries or invalid.
            for index in range(2, len(e164)):
                for digit in "0379":
                    other = e164[:index] + digit + e164[index + 1 :]
                    assert country(other) == country_by_phonenumbers(other)


shared = [str(code) for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items() if len(regions) > 1]


@many
@given(st.sampled_from([*shared, ""]), st.text("0123456789", max_size=19))
def test_countries_agree_with_phonenumbers(code: str, rest: str) -> None:
    assert country(f"+{code}{rest}") == country_by_phonenumbers(f"+{code}{rest}")


@many
@given(anything | st.integers() | st.none() | st.floats() | st.binary())
def test_any_value_has_a_country_or_none(written: Any) -> None:
    result = country(written)
    assert result is None or re.fullmatch("[A-Z]{2}", result)
    if isinstance(number := normalize(written), str):
        assert result == country_by_phonenumbers(number)
