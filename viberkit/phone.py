"""Phone numbers: to E.164, and masked wherever they are shown."""

from __future__ import annotations

import re

import phonenumbers

from viberkit.errors import Violation

__all__ = ["mask", "mask_all", "normalize"]

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


def mask_all(text: str) -> str:
    """A text with everything masked that looks like a phone number (ids of other lengths stay).

    >>> mask_all("from +49 170 1234567 to 5463481551745434076")
    'from +4917*****67 to 5463481551745434076'
    """
    return _IN_TEXT.sub(lambda found: mask(found[0]), text)
