"""From a table of recipients and a content with placeholders to one checked message per row; nothing is stored here."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from viberkit.errors import (
    CampaignError,
    MissingColumn,
    UnreadableRecord,
    Violation,
    quote,
    raise_violations,
    suggestion,
)
from viberkit.frames.textfiles import read_text_table
from viberkit.models import validation
from viberkit.models.content import Content, to_wire
from viberkit.models.keys import KEY_LENGTH, canonical_json
from viberkit.models.phone import REGIONS, normalize_column

#: Names of the column of phone numbers, in the order in which they are tried.
_NUMBER_COLUMNS = ("to", "number", "phone", "msisdn", "recipient")
_NUMBER = re.compile(r"\+?[\d\s()./-]+")
_LIKE_NUMBER = r"\W*(?:\d[\s().\-/]*){7,15}"
_LIKE_COLUMN = r"(?i).*(?:phone|mobil|msisdn|handy|telef|tel\b|cell|gsm)"
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")


class PlannedMessage(NamedTuple):
    """One message of a campaign: its row (from 1), its recipient, and its content as it is sent (JSON)."""

    row: int
    to: str
    content: str


def read_recipients(recipients: Any) -> tuple[pd.DataFrame, str]:
    """Return recipients as a table, and how a file was read.

    Recipients are a DataFrame, the path of a delimited file or an Excel workbook, or a list of numbers or mappings.
    """
    if isinstance(recipients, pd.DataFrame):
        return _check_columns(recipients.reset_index(drop=True)), ""
    if isinstance(recipients, os.PathLike) or (isinstance(recipients, str) and not _NUMBER.fullmatch(recipients)):
        name = Path(recipients).name
        try:
            frame, detected = read_text_table(recipients)
        except FileNotFoundError:
            reason = "does not exist; pass its path from the current folder, or an absolute one"
        except (OSError, UnreadableRecord) as error:
            reason = f"cannot be read: {error}"
        else:
            return _check_columns(frame), f"{name}: {detected}"
        raise CampaignError(f"recipients: the file {name!r} {reason}")
    if isinstance(recipients, str | Mapping):
        raise CampaignError("recipients: is one recipient, not a list; pass e.g. ['+491701234567']")
    rows = list(recipients)
    if rows and all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame(rows, dtype=object), ""
    return pd.DataFrame({"to": pd.Series(rows, dtype=object)}), ""


def _check_columns(recipients: pd.DataFrame) -> pd.DataFrame:
    """Return the recipients; refuse two columns with the same name."""
    index = pd.Index([str(name) for name in recipients.columns])
    if index.has_duplicates:
        raise CampaignError(f"recipients: have several columns {index[index.duplicated()][0]!r}; rename all but one")
    return recipients


def number_column(recipients: pd.DataFrame) -> str | None:
    """Return the first column whose name says that it contains the phone numbers; None if there is none."""
    return next((name for name in _NUMBER_COLUMNS if name in recipients.columns), None)


def likely_column(recipients: pd.DataFrame) -> str | None:
    """Return the column whose values look like phone numbers; None if there is none."""
    scores = {}
    for name in recipients.columns:
        texts = recipients[name].dropna().head(200).astype("str")
        if len(texts) and texts.str.fullmatch(_LIKE_NUMBER).mean() > 0.5:
            complete = sum(isinstance(number, str) for number in normalize_column(texts, international=True))
            scores[name] = (bool(re.match(_LIKE_COLUMN, str(name))), complete, texts.str.count(r"\d").mean())
    return str(max(scores, key=scores.__getitem__)) if scores else None


def region_rule(region: str | None) -> Iterator[Violation]:
    """Return the violation of a region that is not a country."""
    if region is not None and region not in REGIONS:
        remedy = f"{suggestion(region, REGIONS)}pass its two letters, e.g. 'DE'"
        yield Violation("region", quote(region), "is not a country", remedy)


def placeholders(content: Content) -> list[str]:
    """Return the names in braces in a content's texts, in order; ``{{`` and ``}}`` are literal braces.

    >>> from viberkit.models.content import Text
    >>> placeholders(Text("Hi {first_name}, your code is {code} {{today}}"))
    ['first_name', 'code']
    """
    names: list[str] = []

    def collect(text: str) -> str:
        names.extend(match[1] for match in _PLACEHOLDER.finditer(text) if match[1])
        return text

    _map_texts(content, collect)
    return list(dict.fromkeys(names))


def fill(content: Content, values: Mapping[str, str]) -> Content:
    """Return a content with its placeholders filled.

    >>> from viberkit.models.content import Text
    >>> fill(Text("Hi {first_name} {{today}}"), {"first_name": "Ada"}).text
    'Hi Ada {today}'
    """

    def fill_text(text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: values[match[1]] if match[1] else match[0][0], text)

    filled: Content = _map_texts(content, fill_text)
    return filled


def _map_texts(part: Any, function: Callable[[str], str]) -> Any:
    """Apply a function to every text of a content."""
    if isinstance(part, str):
        return function(part)
    if isinstance(part, tuple):
        return tuple(_map_texts(item, function) for item in part)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        return type(part)(**{name: _map_texts(value, function) for name, value in fields.items()})
    return part


def plan_messages(
    name: str,
    recipients: pd.DataFrame,
    content: Content,
    rate_type: str,
    *,
    to: str | None = None,
    region: str | None = None,
    international: bool = False,
) -> tuple[list[PlannedMessage], pd.DataFrame]:
    """Return one message per valid row, and the problems of the others (see :func:`problems_frame`).

    Each number must be that of a mobile phone (:func:`~viberkit.models.phone.normalize_column` says how it is read) and
    occur once; each content is checked after filling. A column that is missing raises
    :class:`~viberkit.errors.MissingColumn`.
    """
    raise_violations(region_rule(region))
    column = to or number_column(recipients) or _NUMBER_COLUMNS[0]
    names = placeholders(content)
    if absent := [name for name in (column, *names) if name not in recipients.columns]:
        likely = likely_column(recipients) if column in absent else None
        hint = f'pass to="{likely}"; ' if likely else ""
        raise MissingColumn(f"campaign {name!r}", absent, map(str, recipients.columns), hint)
    columns = [map(_text, recipients[name]) for name in names]
    unfilled = None if names else _checked(fill(content, {}), rate_type)
    numbers = normalize_column(
        [value if _text(value) else "" for value in recipients[column]],
        column,
        region=region,
        international=international,
    )
    first_rows: dict[str, int] = {}
    messages: list[PlannedMessage] = []
    problems: list[tuple[int, Violation]] = []
    for row, (recipient, *values) in enumerate(zip(numbers, *columns, strict=True), start=1):
        cells = dict(zip(names, values, strict=True))
        missing = [name for name, value in cells.items() if value is None]
        violations = [Violation(name, "", "is missing in this row", "fill it in") for name in missing]
        if isinstance(recipient, Violation):
            violations.append(recipient)
        elif (first := first_rows.setdefault(recipient, row)) != row:
            violations.append(Violation(column, "", f"is also the number of row {first}", "remove one of them"))
        wire, more = unfilled or (("", []) if missing else _checked(fill(content, cells), rate_type))
        violations += more
        problems += [(row, violation) for violation in violations]
        if not violations and isinstance(recipient, str):
            messages.append(PlannedMessage(row, recipient, wire))
    return messages, problems_frame(problems)


def _checked(content: Content, rate_type: str) -> tuple[str, list[Violation]]:
    violations = validation.violations(content, rate_type)
    return ("" if violations else canonical_json(to_wire(content))), violations


def problems_frame(problems: Sequence[tuple[int, Violation]]) -> pd.DataFrame:
    """Return one row per broken rule: row (of the recipients, from 1), field, value, rule, remedy."""
    rows = [(row, *dataclasses.astuple(violation)) for row, violation in problems]
    frame = pd.DataFrame(rows, columns=["row", "field", "value", "rule", "remedy"])
    return frame.astype({"row": "int64", **dict.fromkeys(["field", "value", "rule", "remedy"], "str")})


def _text(value: Any) -> str | None:
    """Return a cell as text, whole numbers without a fraction; None if it is missing."""
    if isinstance(value, str):
        return value.strip() or None
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_terms(
    name: Any, recipients: Any, content: Any, rate_type: Any, context: Any, callback_url: Any, price: Any, cost_cap: Any
) -> None:
    """Check what concerns all messages; raise :class:`~viberkit.errors.InvalidRequest` with every violation."""
    violations = list(validation.text_rule("name", name, 128))
    if recipients is None:
        violations.append(Violation("recipients", "", "are missing", "pass a DataFrame, a path, or a list of numbers"))
    if not isinstance(content, Content):
        violations += validation.violations(content)
    violations += validation.choice_rule("rate_type", rate_type, validation.RATE_TYPES)
    if context is not None:
        violations += validation.text_rule("context", context, 124 - KEY_LENGTH)
    if callback_url is not None:
        violations += validation.callback_url_rule("callback_url", callback_url)
    remedy = "pass e.g. 0.03, or (0.03, 0.06) for a range"
    prices = price if isinstance(price, tuple) else (price, price)
    amounts = [*(("price", value) for value in prices), ("cost_cap", cost_cap)]
    invalid = [(field, value) for field, value in amounts if value is not None and not _is_amount(value)]
    violations += [Violation(field, repr(value), "is not an amount", remedy) for field, value in invalid]
    if len(prices) != 2 or (prices[0] is None) != (prices[1] is None):
        violations.append(Violation("price", repr(price), "is not a range of two amounts", remedy))
    elif not invalid and prices[0] is not None and prices[0] > prices[1]:
        violations.append(Violation("price", repr(price), "is a range whose upper end is below its lower end", remedy))
    if cost_cap is not None and price is None:
        violations.append(Violation("cost_cap", repr(cost_cap), "needs a price", "pass price=… too"))
    raise_violations(violations)


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < float("inf")
