"""Phone numbers: normalised to E.164, masked wherever they are shown, and their countries."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from viberkit.errors import Violation

_PUNCTUATION = re.compile(r"[\s().\-/\u00a0\u2011\u2013]+")
_RULES = {
    ValidationResult.TOO_SHORT: "is too short for a phone number",
    ValidationResult.TOO_LONG: "is too long for a phone number",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks an area code",
    ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
}


def _digits(number: str) -> str:
    """A number without punctuation and international prefix."""
    return _PUNCTUATION.sub("", number.strip()).removeprefix("+").removeprefix("00")


def normalize(to: object, field: str = "to") -> str | Violation:
    """A recipient in E.164 (``+491701234567``), or the rule that it breaks.

    Accepts ``+49…``, ``0049…`` and bare international digits, with blanks and dashes. The phonenumbers library decides
    whether a number is possible (its length per country); whether it is in service cannot be determined.

    >>> normalize("0049 170 1234567"), normalize("491701234567")
    ('+491701234567', '+491701234567')
    >>> print(normalize("+49 12"))
    to: '+4***' lacks an area code; pass E.164, e.g. '+491701234567'
    """
    remedy = "pass E.164, e.g. '+491701234567'"
    if not isinstance(to, str):
        return Violation(field, f"a value of type {type(to).__name__}", "is not a text", remedy)
    digits = _digits(to)
    if not re.fullmatch("[0-9]+", digits):
        rule = "has characters other than digits" if digits else "is missing"
        return Violation(field, repr(mask(to)), rule, remedy)
    try:
        number = phonenumbers.parse(f"+{digits}")
    except NumberParseException as error:
        invalid_code = error.error_type == NumberParseException.INVALID_COUNTRY_CODE
        rule = "does not begin with a country calling code" if invalid_code else "is not a phone number"
        return Violation(field, repr(mask(to)), rule, remedy)
    result = phonenumbers.is_possible_number_with_reason(number)
    if result != ValidationResult.IS_POSSIBLE:
        return Violation(field, repr(mask(to)), _RULES.get(result, "is not a possible number"), remedy)
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


_NO_COUNTRY = "001"
_CALLING_CODES = {str(code): (str(code), regions) for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()}
_NUMBER_TYPES = "fixed_line mobile premium_rate toll_free shared_cost voip personal_number pager uan voicemail".split()


def country(number: object) -> str | None:
    """The country of a number as two letters (ISO 3166; XK is Kosovo), or None if it cannot be determined.

    The number is read as by :func:`normalize`, and must not be masked. Numbers of no country (+800, satellites) have
    none. The result is that of :func:`phonenumbers.region_code_for_number` in a twentieth of its time: most calling
    codes belong to one country, and the countries of a shared one (+1, +7, +39, +44 …) are matched by one pattern.

    >>> country("+491701234567"), country("0044 7400 123456"), country("1 204 234 5678"), country("+80012345678")
    ('DE', 'GB', 'CA', None)
    >>> country(mask("+491701234567")) is None
    True
    """
    if not isinstance(number, str):
        return None
    digits = number[1:]
    if not (number[:1] == "+" and digits.isdecimal() and digits.isascii()):
        digits = _digits(number)
    if not (digits.isdecimal() and digits.isascii()):
        return None
    entry = _CALLING_CODES.get(digits[:1]) or _CALLING_CODES.get(digits[:2]) or _CALLING_CODES.get(digits[:3])
    if entry is None:
        return None
    code, regions = entry
    national = digits[len(code) :]
    if 5 <= len(national) <= 15:
        if len(regions) == 1:
            return regions[0] if regions[0] != _NO_COUNTRY else None
        pattern, with_prefix = _shared_code_patterns(regions)
        if not with_prefix.match(national):
            match = pattern.match(national)
            return match.lastgroup if match else None
    try:  # a national prefix or an unusual length
        region = phonenumbers.region_code_for_number(phonenumbers.parse(f"+{digits}"))
    except NumberParseException:
        return None
    return str(region) if region and region != _NO_COUNTRY else None


@cache
def _shared_code_patterns(regions: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Two patterns for one calling code: a group per region, and numbers that seem to begin with a national prefix.

    As in phonenumbers, the first region that matches wins: by its leading digits, or else by the whole number.
    """
    metadata: list[Any] = [phonenumbers.PhoneMetadata.metadata_for_region(region, None) for region in regions]
    groups = []
    for region in metadata:
        types = filter(None, (getattr(region, name) for name in _NUMBER_TYPES))
        patterns = {kind.national_number_pattern for kind in types if kind.national_number_pattern}
        whole_number = f"(?={_general_pattern(region)})(?:{'|'.join(sorted(patterns))})$"
        groups.append(f"(?P<{region.id}>{region.leading_digits or whole_number})")
    prefix = metadata[0].national_prefix_for_parsing or "(?!)"
    with_prefix = f"(?!{_general_pattern(metadata[0])})(?:{prefix})"
    return re.compile("|".join(groups), re.ASCII), re.compile(with_prefix, re.ASCII)


def _general_pattern(region: Any) -> str:
    return f"(?:{region.general_desc.national_number_pattern})$"


def mask(number: str) -> str:
    """A phone number with its middle hidden; of a short text at most two characters are shown.

    >>> mask("+491701234567"), mask("12345"), mask("")
    ('+4917*****67', '12***', '')
    """
    bare = _PUNCTUATION.sub("", number)
    if len(bare) < 9:
        return bare[:2] + "*" * min(3, max(0, len(bare) - 2))
    return bare[:5] + "*" * 5 + bare[-2:]


_IN_TEXT = re.compile(r"(?<![\w-])(?:\+?\d{9,15}|\+\d[\d ().\-/]{6,18}\d)(?![\w-])", re.ASCII)


def mask_numbers(text: str) -> str:
    """A text in which everything that looks like a phone number is masked; ids of other lengths stay.

    >>> mask_numbers("from +49 170 1234567 to 5463481551745434076")
    'from +4917*****67 to 5463481551745434076'
    """
    return _IN_TEXT.sub(lambda match: mask(match[0]), text)
