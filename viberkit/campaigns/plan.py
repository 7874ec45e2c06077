"""From a table of recipients and a content with placeholders to one checked message a row. Nothing is written here."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from viberkit.errors import CampaignError, MissingColumn, Violation
from viberkit.models import validation as rules
from viberkit.models.content import Content, to_wire
from viberkit.models.keys import canonical_json
from viberkit.models.phone import normalize

__all__ = ["Planned", "fill", "placeholders", "plan", "problems", "table"]

#: The columns in which numbers are looked for, unless one is named.
NUMBERS = ("to", "number", "phone", "msisdn", "recipient")
_NUMBER = re.compile(r"\+?[\d\s()./-]+")
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class Planned(NamedTuple):
    """One message of a campaign: its row (from 1), its recipient, and its content as it goes out."""

    row: int
    to: str
    content: str


def table(recipients: Any) -> pd.DataFrame:
    """Recipients as a table: a DataFrame, the path of a CSV file, a list of numbers or of mappings."""
    if isinstance(recipients, pd.DataFrame):
        return recipients.reset_index(drop=True)
    if isinstance(recipients, Path) or (isinstance(recipients, str) and not _NUMBER.fullmatch(recipients)):
        return _read(Path(recipients))
    if isinstance(recipients, str | Mapping):
        raise CampaignError("recipients: is one recipient, not a list; pass e.g. ['+491701234567']")
    listed = list(recipients)
    if all(isinstance(one, Mapping) for one in listed) and listed:
        return pd.DataFrame(listed)
    return pd.DataFrame({"to": pd.Series(listed, dtype=object)})


def _read(path: Path) -> pd.DataFrame:
    """A CSV file, every cell a text; a row with more cells than there are columns would shift them, and is refused."""
    fault = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype="str", skipinitialspace=True, index_col=False, encoding="utf-8-sig")
    except (OSError, UnicodeError, pd.errors.ParserWarning, pd.errors.ParserError, pd.errors.EmptyDataError) as told:
        fault = str(told)
    raise CampaignError(f"recipients: {path.name!r} cannot be read as a CSV file in UTF-8 ({fault}); repair it")


def placeholders(content: Content) -> list[str]:
    """The names in braces that a content's texts hold, in order; ``{{`` and ``}}`` stand for braces.

    >>> from viberkit.models.content import Text
    >>> placeholders(Text("Hi {first_name}, your code is {code} {{today}}"))
    ['first_name', 'code']
    """
    found = [place[1] for text in _texts(content) for place in _PLACE.finditer(text) if place[1]]
    return list(dict.fromkeys(found))


def fill(content: Content, values: Mapping[str, str]) -> Content:
    """A content with its placeholders filled.

    >>> from viberkit.models.content import Text
    >>> fill(Text("Hi {first_name} {{today}}"), {"first_name": "Ada"}).text
    'Hi Ada {today}'
    """
    filled: Content = _filled(content, values)
    return filled


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, tuple):
        for one in part:
            yield from _texts(one)
    elif dataclasses.is_dataclass(part):
        for each in dataclasses.fields(part):
            yield from _texts(getattr(part, each.name))


def _filled(part: Any, values: Mapping[str, str]) -> Any:
    if isinstance(part, str):
        return _PLACE.sub(lambda place: values[place[1]] if place[1] else place[0][0], part)
    if isinstance(part, tuple):
        return tuple(_filled(one, values) for one in part)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return type(part)(**{each.name: _filled(getattr(part, each.name), values) for each in dataclasses.fields(part)})
    return part


def plan(
    name: str, recipients: pd.DataFrame, content: Content, rate_type: str, *, to: str | None = None
) -> tuple[list[Planned], pd.DataFrame]:
    """One message a row, and a frame of what is wrong with the others: row, field, value, rule, remedy.

    Checked are each number (possible, and there once) and each content after filling. A placeholder without a
    column raises :class:`~viberkit.errors.MissingColumn`.
    """
    column = to or next((one for one in NUMBERS if one in recipients.columns), NUMBERS[0])
    names = placeholders(content)
    if strange := [one for one in (column, *names) if one not in recipients.columns]:
        raise MissingColumn(f"campaign {name!r}", strange, map(str, recipients.columns))
    columns = [[_text(one) for one in recipients[each]] for each in names]
    first_row: dict[str, int] = {}
    made: list[Planned] = []
    wrong: list[tuple[int, Violation]] = []
    plain = None if names else _checked(fill(content, {}), rate_type)
    for row, (number, *values) in enumerate(zip(map(_text, recipients[column]), *columns, strict=True), start=1):
        lacking = [each for each, one in zip(names, values, strict=True) if one is None]
        found = [Violation(each, "", "is missing in this row", "fill it in") for each in lacking]
        reached = normalize(re.sub(r"\.0$", "", number or ""), column)  # a whole number that pandas wrote as a float
        if isinstance(reached, Violation):
            found.append(reached)
        elif first_row.setdefault(reached, row) != row:
            found.append(Violation(column, "", f"is the number of row {first_row[reached]} too", "leave one out"))
        if plain is not None:
            wired, more = plain
        elif not lacking:
            wired, more = _checked(fill(content, dict(zip(names, values, strict=True))), rate_type)
        else:
            wired, more = "", []
        found += more
        if found:
            wrong += [(row, one) for one in found]
        elif isinstance(reached, str):
            made.append(Planned(row, reached, wired))
    return made, problems(wrong)


def _checked(content: Content, rate_type: str) -> tuple[str, list[Violation]]:
    found = rules.violations(content, rate_type)
    return ("" if found else canonical_json(to_wire(content))), found


def problems(wrong: Sequence[tuple[int, Violation]]) -> pd.DataFrame:
    """What is wrong, a row each: row (of the recipients), field, value, rule, remedy."""
    rows = [(row, one.field, one.value, one.rule, one.remedy) for row, one in wrong]
    frame = pd.DataFrame(rows, columns=["row", "field", "value", "rule", "remedy"])
    return frame.astype({"row": "int64", **dict.fromkeys(["field", "value", "rule", "remedy"], "str")})


def _text(value: Any) -> str | None:
    """A cell as it is written; whole numbers without a fraction, nothing for what is missing."""
    if isinstance(value, str):
        return value.strip() or None
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
