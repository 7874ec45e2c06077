"""What to do about a failure: the advice on each of Viber's codes, and on those of a log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import as_journeys
from viberkit.frames.columns import JOURNEYS

__all__ = ["ADVICE", "UNKNOWN", "Advice", "advise", "falls_back_at_once"]


class Advice(NamedTuple):
    """What to do about a failure: "fall back" (an SMS at once), "fix the request" or "wait"; and why."""

    advice: str
    why: str


_FIX = "fix the request"
_WORDS = ("fall back", _FIX, "wait")
#: What to do about each code of Viber's, whatever stands before it; :func:`advise` and :func:`fallback` go by it. The
#: meanings are those of tyntec's and Viber's tables of errors.
ADVICE: Mapping[str, Advice] = MappingProxyType(
    {
        "NOT_VIBER_USER": Advice("fall back", "the number has no Viber; no wait will change that"),
        "USER_BLOCKED": Advice("fall back", "the recipient blocked the sender on Viber, or all business messages"),
        "NO_SUITABLE_DEVICE": Advice("fall back", "the recipient's Viber cannot show business messages"),
        "WAIT_FOR_USER_RESPONSE": Advice("fall back", "nothing more goes out until the recipient answers"),
        "TIMEOUT": Advice("wait", "Viber's server did not answer in time; the message may have gone out all the same"),
        "INTERNAL_FAILURE": Advice("wait", "a fault at Viber's, not this recipient's; the same send may pass later"),
        "BAD_SERVICE_ID": Advice(_FIX, "the sender is not known to Viber, or lay idle for a year"),
        "BAD_DATA": Advice(_FIX, "the request is malformed, or its text too long"),
        "BAD_MESSAGE_TYPE": Advice(_FIX, "the kind of message is wrong or not supported"),
        "BAD_PARAMETERS": Advice(_FIX, "a mandatory parameter is missing"),
        "UNAUTHORIZED_IP": Advice(_FIX, "the address it was sent from is not allowed, or the sender not yours"),
        "NOT_PERMITTED": Advice(_FIX, "billing or rights: ask the provider; it will hit every message"),
        "BAD_LABEL": Advice(_FIX, "the rate type is missing or wrong"),
        "INVALID_TTL": Advice(_FIX, "the validity is under 30 seconds or over 14 days"),
        "FILE_NOT_PERMITTED": Advice(_FIX, "files of this format are not carried"),
        "BAD_FILE_NAME_LENGTH": Advice(_FIX, "the file's name is too long"),
        "BAD_FILE_SIZE": Advice(_FIX, "the file is too large"),
        "BAD_THUMBNAIL": Advice(_FIX, "the thumbnail's address is too long"),
        "BAD_DURATION": Advice(_FIX, "the video is too long"),
    }
)
#: What to do about a failure with any other code, or none: a failed message is final, so waiting gains nothing.
UNKNOWN = Advice("fall back", "not a code known here; what failed does not arrive any more, so waiting gains nothing")


def advise(journeys: pd.DataFrame, advice: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What to do about each code that messages failed with, the most frequent first.

    Columns: ``code`` (NaN: none was told); ``n``, failed messages; ``share`` of all failed messages; ``advice``:
    "fall back" (send an SMS at once), "fix the request" (it will fail again as it is) or "wait"; ``why``.

    Codes are looked up in ``ADVICE`` in any case and behind any prefix: ``viber::error::TIMEOUT`` and
    ``SRVC_TIMEOUT`` are ``TIMEOUT``; the longest name counts. Any other code, or none, says "fall back", because a
    failed message does not arrive any more. ``advice`` adds to the table or overrides it, code by code.

    Raises :class:`~viberkit.errors.MissingColumn`, and ``ValueError`` for an advice that is none of the three.

    >>> trips = pd.DataFrame({"message_id": list("abc"), "outcome": ["failed", "failed", "delivered"],
    ...     "observed_until": pd.Timestamp("2026-03-01", tz="UTC"), "code": ["viber::error::TIMEOUT", "E7", None]})
    >>> advise(trips, advice={"E7": "fix the request"})[["code", "n", "share", "advice"]]
                        code  n  share           advice
    0                     E7  1    0.5  fix the request
    1  viber::error::TIMEOUT  1    0.5             wait
    """
    table = _table(advice)
    trips = as_journeys(journeys, "advise")
    codes = _codes(trips[trips["outcome"] == "failed"])
    counts = codes.astype("str").value_counts(dropna=False)
    made = pd.DataFrame({"code": counts.index.astype("str"), "n": counts.to_numpy(dtype=np.int64)})
    made["share"] = made["n"] / max(len(codes), 1)
    told = [_advice(None if pd.isna(code) else str(code), table) for code in made["code"]]
    made["advice"] = pd.Series([one.advice for one in told], dtype="str")
    made["why"] = pd.Series([one.why for one in told], dtype="str")
    return made.sort_values(["n", "code"], ascending=[False, True], ignore_index=True)


def falls_back_at_once(trips: pd.DataFrame, advice: Mapping[str, str] | None = None) -> npt.NDArray[np.bool_]:
    """Of each journey, whether its code says to fall back at once; of use where it failed."""
    table, codes = _table(advice), _codes(trips).cat
    flags = [_advice(str(code), table).advice == "fall back" for code in codes.categories]
    flags.append(UNKNOWN.advice == "fall back")  # of no code at all: the last place, which is that of -1, too
    return np.array(flags)[codes.codes.to_numpy()]


def _table(advice: Mapping[str, str] | None) -> dict[str, Advice]:
    """The advice on each code, the user's before ours."""
    table = dict(ADVICE)
    for code, word in (advice or {}).items():
        if word not in _WORDS or not _plain(str(code)):
            known = ", ".join(map(repr, _WORDS))
            raise ValueError(f"advice: {word!r} for {code!r} is none; pass a code with one of {known}")
        table[_plain(str(code))] = Advice(word, "as passed in advice")
    return table


def _plain(code: str) -> str:
    return re.sub(r"[\W_]+", "_", code.upper()).strip("_")


def _advice(code: str | None, table: Mapping[str, Advice]) -> Advice:
    """The advice on a code: that of the longest name that it ends with."""
    parts = _plain(code or "").split("_")
    names = ("_".join(parts[place:]) for place in range(len(parts)))
    return next((table[name] for name in names if name in table), UNKNOWN)


def _codes(trips: pd.DataFrame) -> pd.Series[Any]:
    """The code of each journey, as a category."""
    missing = pd.Series(np.full(len(trips), None, dtype=object), index=trips.index)
    return JOURNEYS["code"].cast(trips.get("code", missing))
