"""Phone numbers: to E.164, and masked wherever they are shown."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import phonenumbers

from viberkit.errors import Violation

__all__ = ["country", "mask", "mask_numbers", "normalize"]

_PUNCTUATION = re.compile(r"[\s().\-/\u00a0\u2011\u2013]+")


def normalize(to: object, field: str = "to") -> str | Violation:
    """A recipient in E.164 (``+491701234567``), or the rule that it breaks.

    Reads ``+49…``, ``0049…`` and bare international digits, with the usual blanks and dashes between.
    Whether a number is possible is decided by the phonenumbers library (length per country); whether
    it is in service nobody can know beforehand.

    >>> normalize("0049 170 1234567"), normalize("491701234567")
    ('+491701234567', '+491701234567')
    >>> print(normalize("+49 12"))
    to: '+4***' lacks its area code; pass E.164, e.g. '+491701234567'
    """
    remedy = "pass E.164, e.g. '+491701234567'"
    if not isinstance(to, str):
        return Violation(field, f"a value of type {type(to).__name__}", "is not a text", remedy)
    digits = _PUNCTUATION.sub("", to.strip())
    digits = "+" + digits.removeprefix("+").removeprefix("00")
    if not re.fullmatch(r"\+[0-9]+", digits):
        rule = "is missing" if digits == "+" else "holds something other than digits"
        return Violation(field, repr(mask(to)), rule, remedy)
    try:
        number = phonenumbers.parse(digits)
    except phonenumbers.NumberParseException as fault:
        code = fault.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        rule = "has no country's calling code" if code else "is not a phone number"
        return Violation(field, repr(mask(to)), rule, remedy)
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        words = {
            phonenumbers.ValidationResult.TOO_SHORT: "is too short for a phone number",
            phonenumbers.ValidationResult.TOO_LONG: "is too long for a phone number",
            phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks its area code",
            phonenumbers.ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
        }
        return Violation(field, repr(mask(to)), words.get(reason, "is not a possible number"), remedy)
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def country(number: object) -> str | None:
    """The country that a number belongs to, in two letters (ISO 3166; XK is Kosovo), or None where that cannot be read.

    The number is read as :func:`normalize` reads it, and must be whole: a masked one tells nothing. Numbers of no
    country (+800, satellites) have none. A microsecond or two a number: most calling codes belong to one country, and
    those that several share (+1, +7, +39, +44 …) are told apart by one pattern each.

    >>> country("+491701234567"), country("0044 7400 123456"), country("1 204 234 5678"), country("+80012345678")
    ('DE', 'GB', 'CA', None)
    >>> country(mask("+491701234567")) is None
    True
    """
    if not isinstance(number, str):
        return None
    digits = number[1:]
    if not (number[:1] == "+" and digits.isdecimal() and digits.isascii()):
        digits = _PUNCTUATION.sub("", number.strip()).removeprefix("+").removeprefix("00")
        if not (digits.isdecimal() and digits.isascii()):
            return None
    known = _CALLING_CODES.get(digits[:1]) or _CALLING_CODES.get(digits[:2]) or _CALLING_CODES.get(digits[:3])
    if known is None:
        return None
    code, regions = known
    rest = digits[len(code) :]
    if not 5 <= len(rest) <= 15:
        return _parsed_country(digits)
    if len(regions) == 1:
        return regions[0] if regions[0] != _NO_COUNTRY else None
    pattern, prefixed = _shared(code, regions)
    if prefixed.match(rest):
        return _parsed_country(digits)
    found = pattern.match(rest)
    return found.lastgroup if found else None


_NO_COUNTRY = "001"
_CALLING_CODES = {str(code): (str(code), regions) for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items()}


@cache
def _shared(code: str, regions: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What tells the countries of one calling code apart: a group for each, named after it; and which numbers seem to
    begin with a national prefix.

    As phonenumbers decides: the first country of which the number is, by its leading digits or by all of it.
    """
    known: list[Any] = [phonenumbers.PhoneMetadata.metadata_for_region(region, None) for region in regions]
    ways = []
    for facts in known:
        kinds = (getattr(facts, name) for name in _KINDS)
        patterns = {kind.national_number_pattern for kind in kinds if kind and kind.national_number_pattern}
        valid = f"(?={_whole(facts)})(?:{'|'.join(sorted(patterns))})$"
        ways.append(f"(?P<{facts.id}>{facts.leading_digits or valid})")
    prefix = known[0].national_prefix_for_parsing or "(?!)"
    return re.compile("|".join(ways), re.ASCII), re.compile(f"(?!{_whole(known[0])})(?:{prefix})", re.ASCII)


def _whole(facts: Any) -> str:
    return f"(?:{facts.general_desc.national_number_pattern})$"


_KINDS = "fixed_line mobile premium_rate toll_free shared_cost voip personal_number pager uan voicemail".split()


def _parsed_country(digits: str) -> str | None:
    """The same, by the library itself: for what has a national prefix, or an unusual length."""
    try:
        region = phonenumbers.region_code_for_number(phonenumbers.parse("+" + digits))
    except phonenumbers.NumberParseException:
        return None
    return str(region) if region and region != _NO_COUNTRY else None


def mask(number: str) -> str:
    """A phone number with its middle hidden; short texts keep two characters at the most.

    >>> mask("+491701234567"), mask("12345"), mask("")
    ('+4917*****67', '12***', '')
    """
    bare = _PUNCTUATION.sub("", number)
    if len(bare) < 9:
        return bare[:2] + "*" * min(3, max(0, len(bare) - 2))
    return bare[:5] + "*" * 5 + bare[-2:]


_IN_TEXT = re.compile(r"(?<![\w-])(?:\+?\d{9,15}|\+\d[\d ().\-/]{6,18}\d)(?![\w-])", re.ASCII)


def mask_numbers(text: str) -> str:
    """A text with everything masked that looks like a phone number (ids of other lengths stay).

    >>> mask_numbers("from +49 170 1234567 to 5463481551745434076")
    'from +4917*****67 to 5463481551745434076'
    """
    return _IN_TEXT.sub(lambda found: mask(found[0]), text)
