"""Failure codes: what each code of Viber means for the next step, and the codes of a log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import as_journeys
from viberkit.analysis.ordering import column_of
from viberkit.frames.columns import JOURNEYS


class Advice(NamedTuple):
    """What to do about a failure: "fall back" (send an SMS at once), "fix the request" or "wait"; and the reason."""

    advice: str
    why: str


_FALL_BACK, _FIX, _WAIT = "fall back", "fix the request", "wait"
#: The advice on each code of Viber, without prefix. Meanings are those of the error tables of tyntec and Viber.
ADVICE: Mapping[str, Advice] = {
    "NOT_VIBER_USER": Advice(_FALL_BACK, "the number has no Viber account; waiting does not change that"),
    "USER_BLOCKED": Advice(_FALL_BACK, "the recipient blocked the sender on Viber, or all business messages"),
    "NO_SUITABLE_DEVICE": Advice(_FALL_BACK, "the recipient's Viber app cannot show business messages"),
    "WAIT_FOR_USER_RESPONSE": Advice(_FALL_BACK, "no further message is sent until the recipient answers"),
    "TIMEOUT": Advice(_WAIT, "Viber's server did not answer in time; the message may have been sent nevertheless"),
    "INTERNAL_FAILURE": Advice(_WAIT, "an error at Viber, not of this recipient; a later send may succeed"),
    "BAD_SERVICE_ID": Advice(_FIX, "the sender is unknown to Viber, or was inactive for a year"),
    "BAD_DATA": Advice(_FIX, "the request is malformed, or its text too long"),
    "BAD_MESSAGE_TYPE": Advice(_FIX, "the type of message is wrong or not supported"),
    "BAD_PARAMETERS": Advice(_FIX, "a mandatory parameter is missing"),
    "UNAUTHORIZED_IP": Advice(_FIX, "the IP address is not allowed, or the sender belongs to another account"),
    "NOT_PERMITTED": Advice(_FIX, "billing or permissions: contact the provider; every message will fail"),
    "BAD_LABEL": Advice(_FIX, "the rate type is missing or wrong"),
    "INVALID_TTL": Advice(_FIX, "the validity is under 30 seconds or over 14 days"),
    "FILE_NOT_PERMITTED": Advice(_FIX, "files of this format are not supported"),
    "BAD_FILE_NAME_LENGTH": Advice(_FIX, "the file name is too long"),
    "BAD_FILE_SIZE": Advice(_FIX, "the file is too large"),
    "BAD_THUMBNAIL": Advice(_FIX, "the URL of the thumbnail is too long"),
    "BAD_DURATION": Advice(_FIX, "the video is too long"),
}
#: The advice on any other code, or none: a failed message is final, so waiting gains nothing.
UNKNOWN = Advice(_FALL_BACK, "not a known code; a failed message is not delivered later, so waiting gains nothing")


def advise(journeys: pd.DataFrame, *, advice: Mapping[str, str] | None = None) -> pd.DataFrame:
    """List the failure codes of a log, and what to do about each.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as returned by ``vk.journeys``, or events.
    advice : mapping of str to str, optional
        Advice by code; it replaces or extends the built-in advice.

    Returns
    -------
    DataFrame
        One row per code, the most frequent first:

        - ``code``: the code, NaN where the log has none.
        - ``n``: number of failed messages.
        - ``share``: share of all failed messages.
        - ``advice``: "fall back" (send an SMS at once), "fix the request" (it will fail again unchanged) or "wait".
        - ``why``: the reason.

    Raises
    ------
    MissingColumn
        A column of the journeys is missing.
    ValueError
        An entry of ``advice`` is not one of the three.

    Notes
    -----
    Codes are looked up in any case and with any prefix: ``viber::error::TIMEOUT`` and ``SRVC_TIMEOUT`` are both
    ``TIMEOUT``. Of several names that a code ends with, the longest counts. Any other code, or none, means "fall
    back", because a failed message is not delivered later.

    Examples
    --------
    >>> journeys = pd.DataFrame({"message_id": list("abc"), "outcome": ["failed", "failed", "delivered"],
    ...     "observed_until": pd.Timestamp("2026-03-01", tz="UTC"), "failed_at": pd.Timestamp("2026-03-01", tz="UTC"),
    ...     "code": ["viber::error::TIMEOUT", "E7", None]})
    >>> vk.advise(journeys, advice={"E7": "fix the request"})[["code", "n", "share", "advice"]]
                        code  n  share           advice
    0                     E7  1    0.5  fix the request
    1  viber::error::TIMEOUT  1    0.5             wait
    """
    table = _table(advice)
    journeys = as_journeys(journeys, "advise", ["code"])
    codes = column_of(journeys[journeys["outcome"] == "failed"], JOURNEYS["code"])
    counts = codes.astype("str").value_counts(dropna=False)
    result = pd.DataFrame({"code": counts.index.astype("str"), "n": counts.to_numpy(dtype=np.int64)})
    result["share"] = result["n"] / max(len(codes), 1)
    entries = [_lookup("" if pd.isna(code) else str(code), table) for code in result["code"]]
    for name in Advice._fields:
        result[name] = pd.Series([getattr(entry, name) for entry in entries], dtype="str")
    return result.sort_values(["n", "code"], ascending=[False, True], ignore_index=True)


def falls_back_at_once(journeys: pd.DataFrame, advice: Mapping[str, str] | None = None) -> npt.NDArray[np.bool_]:
    """Whether the code of each journey means "fall back"."""
    table, codes = _table(advice), column_of(journeys, JOURNEYS["code"]).cat
    texts = [*map(str, codes.categories), ""]  # the last one, of code -1, is of journeys without a code
    return np.array([_lookup(text, table).advice == _FALL_BACK for text in texts])[codes.codes.to_numpy()]


def _table(advice: Mapping[str, str] | None) -> dict[str, Advice]:
    table = dict(ADVICE)
    known = (_FALL_BACK, _FIX, _WAIT)
    for code, decision in (advice or {}).items():
        name = _normalize(str(code))
        if decision not in known or not name:
            choices = ", ".join(map(repr, known))
            raise ValueError(f"advice: {decision!r} for the code {code!r} is not valid; pass one of {choices}")
        table[name] = Advice(decision, "as passed in advice")
    return table


def _normalize(code: str) -> str:
    return re.sub(r"[\W_]+", "_", code.upper()).strip("_")


def _lookup(code: str, table: Mapping[str, Advice]) -> Advice:
    most = 1 + max(name.count("_") for name in table)  # a code may be a text of any length
    parts = _normalize(code).split("_")[-most:]
    suffixes = ("_".join(parts[index:]) for index in range(len(parts)))  # the longest first
    return next((table[suffix] for suffix in suffixes if suffix in table), UNKNOWN)
