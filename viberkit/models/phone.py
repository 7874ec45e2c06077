"""Phone numbers: normalised to E.164, masked wherever they are shown, and their countries."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from numbers import Real
from typing import Any
from unicodedata import category

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType, ValidationResult

from viberkit.errors import Violation, quote

_PUNCTUATION = re.compile(r"[\s().\-/\u00a0\u2011\u2013]+")
_RULES = {
    ValidationResult.TOO_SHORT: "is too short for a phone number",
    ValidationResult.TOO_LONG: "is too long for a phone number",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "lacks an area code",
    ValidationResult.INVALID_LENGTH: "has a length that its country does not use",
}
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
_NOT_MOBILE = "is a valid number, but not of a mobile phone"
_E164 = "pass E.164, e.g. '+491701234567'"
_NATIONAL = "write it with + and its country calling code, or pass its country, e.g. region='DE'"
_AS_TEXT = "take the number from its source, and format the column as text, or read it as text (dtype='str')"
_AS_NUMBER = re.compile(r"-.*|[^.,]*\d[.,](?:\d\d?|0+)|\+?\d+(?:[.,]\d*)?[eE][+-]?\d+")  # -1, 491701.0, 4,917E+11
_TEXT_FORMULA = re.compile(r'="([^"]*)"')  # marks a text in files for spreadsheets, as an apostrophe does


def _clean(text: str) -> str:
    """A text without invisible characters and a spreadsheet's marks; dashes, blanks and wide characters in ASCII."""
    if not text.isascii():
        text = "".join(map(_to_ascii, text))
    return _TEXT_FORMULA.sub(r"\1", text.strip()).lstrip("'\u2018\u2019").strip()


def _to_ascii(character: str) -> str:
    """The ASCII character for a blank, a dash or a wide character, "" for an invisible one, and others unchanged."""
    kind = category(character)
    if kind in ("Zs", "Pd", "Cf") or character == "\u2212":
        return {"Zs": " ", "Cf": ""}.get(kind, "-")
    return chr(ord(character) - 0xFEE0) if "\uff01" <= character <= "\uff5e" else character


def _digits(number: str) -> str:
    """A number without punctuation and international prefix."""
    return _PUNCTUATION.sub("", _clean(number)).removeprefix("+").removeprefix("00")


def _split(to: object, field: str) -> tuple[str, str] | Violation:
    """The prefix of a number (``+``, also for ``00``; ``0``; or none) and its digits, or the rule that it breaks."""
    if not isinstance(to, str):
        return Violation(field, f"a value of type {type(to).__name__}", "is not a text", _E164)
    cleaned, digits, remedy = _clean(to), _digits(to), _E164
    if _AS_NUMBER.fullmatch(cleaned):
        rule, remedy = "was converted to a number by a spreadsheet or pandas, so digits may be lost", _AS_TEXT
    elif other := re.search("[^0-9]", digits):
        rule = f"has characters other than digits: {quote(other[0])} (U+{ord(other[0]):04X})"
    elif not digits:
        rule = "is missing"
    else:
        prefix = "" if _PUNCTUATION.sub("", cleaned) == digits else "+"
        return prefix or "0" * digits.startswith("0"), digits
    return Violation(field, repr(mask(to)), rule, remedy)


def normalize(to: object, field: str = "to") -> str | Violation:
    """A recipient in E.164 (``+491701234567``), or the rule that it breaks.

    Accepts ``+49…``, ``0049…`` and bare international digits, with blanks and dashes. The phonenumbers library decides
    whether a number is valid and, where its country distinguishes them, that of a mobile phone; whether it is in
    service cannot be determined.

    >>> normalize("0049 170 1234567"), normalize("491701234567")
    ('+491701234567', '+491701234567')
    >>> print(normalize("+49 12"))
    to: '+4***' lacks an area code; pass E.164, e.g. '+491701234567'
    """
    parts = _split(to, field)
    result = parts if isinstance(parts, Violation) else _check(parts[1], field)
    if isinstance(result, Violation) and isinstance(to, str):
        return replace(result, value=repr(mask(to)))
    return result


def _check(digits: str, field: str, region: str | None = None) -> str | Violation:
    """A mobile number in E.164, from digits with their country calling code, or as they are dialled in a region."""
    try:
        number = phonenumbers.parse(digits if region else f"+{digits}", region)
    except NumberParseException as error:
        invalid_code = error.error_type == NumberParseException.INVALID_COUNTRY_CODE
        rule = "does not begin with a country calling code" if invalid_code else "is not a phone number"
        return Violation(field, repr(mask(digits)), rule, _E164)
    result = phonenumbers.is_possible_number_with_reason(number)
    if result != ValidationResult.IS_POSSIBLE:
        rule = _RULES.get(result, "is not a possible number")
    elif (kind := phonenumbers.number_type(number)) not in _MOBILE:
        is_valid = kind != PhoneNumberType.UNKNOWN
        rule = _NOT_MOBILE if is_valid else "is not a number that its country assigns"
    else:
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    return Violation(field, repr(mask(digits)), rule, _E164)


def normalize_column(
    cells: Iterable[object], field: str = "to", *, region: str | None = None, international: bool = False
) -> list[str | Violation]:
    """The recipients of a column in E.164, or the rule that each breaks.

    Numbers with ``+`` or ``00`` are read as :func:`normalize` reads them, those with one ``0`` as numbers of `region`.
    Digits without a prefix are ambiguous: a spreadsheet removes a ``+`` as well as a ``0``. They begin with a country
    calling code if `international`; otherwise the column decides, and what remains ambiguous is refused.

    >>> normalize_column(["0151 42345678", 15142345678], region="DE")
    ['+4915142345678', '+4915142345678']
    >>> number, refused = normalize_column([491701234567, 15142345678])
    >>> number, refused.rule
    ('+491701234567', 'may be a number of CA, or a national number of CN, DE without its leading 0')
    """
    texts = [str(cell) if isinstance(cell, Real) and not isinstance(cell, bool) else cell for cell in cells]
    parts = [_split(text, field) for text in texts]
    results = [normalize(text, field) for text in texts]
    plain = {row: part[1] for row, part in enumerate(parts) if not isinstance(part, Violation) and part[0] != "+"}
    bare = {row: digits for row, digits in plain.items() if not digits.startswith("0")}
    for row in plain.keys() - bare.keys():
        rule = "begins with 0, not with a country calling code"
        unknown = Violation(field, repr(mask(plain[row])), rule, _NATIONAL)
        results[row] = _check(plain[row], field, region) if region else unknown
    if international:
        return results
    if region:
        decided = _read_with_region(bare, results, field, region, len(plain) - len(bare))
    else:
        decided = _read_bare(plain, results, field)
    return [decided[row] if row in bare else result for row, result in enumerate(results)]


def _read_with_region(
    bare: dict[int, str], results: Sequence[str | Violation], field: str, region: str, n_national: int
) -> dict[int, str | Violation]:
    """Digits as national numbers of a region, with or without their leading 0, or with its calling code.

    What is a complete number of another country as well is read as a national one only if the column contains national
    numbers and no foreign ones, nor numbers of that country with ``+`` or ``00``.
    """
    own_code = f"+{phonenumbers.country_code_for_region(region)}"
    national = {}
    for row, digits in bare.items():
        readings = [_check(digits, field, region), _check(f"0{digits}", field, region)]
        national[row] = next((reading for reading in readings if not _refused(reading)), readings[0])
    only_complete = [number for row in bare if isinstance(number := results[row], str) and _refused(national[row])]
    foreign = sum(not number.startswith(own_code) for number in only_complete)
    n_national += sum(_refused(results[row]) and not _refused(national[row]) for row in bare)
    is_mixed = foreign * 100 > len(bare) or (len(only_complete) > foreign and not n_national)
    prefixed = (number for row, number in enumerate(results) if row not in bare and isinstance(number, str))
    others = {country(number) for number in prefixed if not number.startswith(own_code)}
    decided: dict[int, str | Violation] = {}
    for row, number in national.items():
        complete = results[row]
        is_own = isinstance(complete, str) and complete.startswith(own_code)
        decided[row] = complete if is_own and _refused(number) else number
        is_foreign = not is_own if _refused(number) else is_mixed or country(complete) in others
        if isinstance(complete, str) and complete != number and is_foreign:
            decided[row] = _ambiguous(complete, [region], field)
    return decided


def _read_bare(plain: dict[int, str], results: Sequence[str | Violation], field: str) -> dict[int, str | Violation]:
    """Digits as complete numbers, unless they may be national numbers of some country.

    A country is considered where more than 1 % of the column can only be its national numbers, and where it explains
    most of the few or similar numbers that another country has in the column; in a column of complete numbers, only if
    it has some of them, or a tenth of the column is not complete.
    """
    national = {row: _national_readings(digits.removeprefix("0")) for row, digits in plain.items()}
    groups: defaultdict[str | None, list[int]] = defaultdict(list)
    for row in plain:
        groups[country(results[row])].append(row)
    refused = groups.pop(None, [])
    incomplete = [row for row in refused if getattr(results[row], "rule", "") != _NOT_MOBILE]
    only_national = Counter(region for row in refused for region in national[row])
    present = {country(result) for result in results}
    lost = sum(not present.isdisjoint(national[row]) for row in refused)
    unexplained = sum(not national[row] for rows in groups.values() for row in rows)
    rule = "has no + or 00 and is not complete: its calling code or its leading 0 is missing"
    decided = {row: results[row] for row in plain}
    decided |= {row: Violation(field, repr(mask(plain[row])), rule, _NATIONAL) for row in incomplete}
    for rows in groups.values():
        are_similar = len({str(results[row])[:6] for row in rows}) < 8
        explained = Counter(region for row in rows for region in national[row])
        doubtful = {region for region, n in only_national.items() if n * 100 > len(plain)}
        if are_similar and (len(rows) == 1 or 2 * unexplained <= len(plain)):
            doubtful |= {region for region, n in explained.items() if 2 * n > len(rows)}
        if are_similar or lost * 100 > len(plain):
            doubtful |= explained.keys() & (explained.keys() if 10 * len(incomplete) > len(plain) else present)
        for row in rows:
            regions = [region for region in national[row] if region in doubtful]
            if regions or (2 * len(incomplete) > len(plain) and (are_similar or 10 * len(rows) < len(plain))):
                decided[row] = _ambiguous(str(results[row]), regions, field)
    return decided


def _refused(result: str | Violation) -> bool:
    return isinstance(result, Violation)


def _ambiguous(number: str, regions: Sequence[str], field: str) -> Violation:
    others = f"of {', '.join(regions[:3])}" if regions else "like others of this column"
    rule = f"may be a number of {country(number)}, or a national number {others} without its leading 0"
    return Violation(field, repr(mask(number[1:])), rule, f"{_NATIONAL}, or international=True")


@cache
def _national_patterns() -> tuple[re.Pattern[str], dict[str, tuple[str, re.Pattern[str]]]]:
    """A pattern for the national mobile numbers of all regions; and of each, with its calling code."""
    patterns = {}
    for region in sorted(REGIONS):
        metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
        if metadata.mobile and (mobile := metadata.mobile.national_number_pattern):
            prefix = (metadata.national_prefix or "").lstrip("0")
            patterns[region] = (str(metadata.country_code), f"(?:{prefix})?(?P<number>{mobile})")
    parts = (pattern.replace("?P<number>", "?:") for _, pattern in patterns.values())
    compiled = {region: (code, re.compile(pattern, re.ASCII)) for region, (code, pattern) in patterns.items()}
    return re.compile("|".join(parts), re.ASCII), compiled


def _national_readings(digits: str) -> list[str]:
    """The regions in which digits are a national mobile number without its leading 0, and another one than complete."""
    of_all, of_regions = _national_patterns()
    if not of_all.fullmatch(digits):
        return []
    matches = ((region, code, pattern.fullmatch(digits)) for region, (code, pattern) in of_regions.items())
    return [region for region, code, match in matches if match and code + match["number"] != digits]


#: The countries whose national numbers can be read, as two letters.
REGIONS: frozenset[str] = frozenset(phonenumbers.SUPPORTED_REGIONS)
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


_BLANKS = r" \t\u00a0\u2000-\u200f\u202f\u2060\u3000"  # those that do not break lines, or cannot be seen, too
_IN_TEXT = re.compile(
    rf"(?<![\w-])\+?\d{{9,15}}(?![\w-])|(?<!\d)\+\d[\d().\-/\u2011{_BLANKS}]{{6,18}}\d(?!\d)", re.ASCII
)


def mask_numbers(text: str) -> str:
    """A text in which everything that looks like a phone number is masked; ids of other lengths stay.

    >>> mask_numbers("from +49 170 1234567 to 5463481551745434076")
    'from +4917*****67 to 5463481551745434076'
    """
    return _IN_TEXT.sub(lambda match: mask(match[0]), text)
