"""The digest of a log: five lines, and their figures for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from viberkit.analysis.formatting import duration, percent
from viberkit.analysis.grouping import BY
from viberkit.archive.archive import Archive
from viberkit.models.phone import mask_numbers
from viberkit.reporting.document import sentence
from viberkit.reporting.log import Log

_SILENT_S, _FREQUENT = 300, 0.01  # seconds without a heartbeat, and the share of a fault, from which to act


@dataclass(frozen=True, repr=False)
class Digest:
    """A digest, as :func:`viberkit.digest` returns it: its ``lines``, and its ``figures`` for :mod:`json`."""

    lines: list[str]
    figures: dict[str, Any]

    @property
    def missed(self) -> bool:
        """Whether the promise was missed; False where it is not certain."""
        return bool(self.figures["verdict"] == "missed")

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def digest(
    source: Archive | pd.DataFrame,
    *,
    since: Any = "1d",
    until: Any = None,
    by: BY = None,
    start: str = "accepted",
    within: float = 60,
    target: float = 0.95,
    tz: str = "UTC",
) -> Digest:
    """Sum up a period in five lines: messages, times, the promise, the most frequent failure, and what needs action.

    Parameters
    ----------
    source : Archive or DataFrame
        An archive, events, or journeys.
    since, until : str or instant, default "1d" and None
        The period in which the messages were sent (entered ``start``): an instant such as ``"2026-03-01"``, or a
        duration such as ``"1d"`` before the last observation of the log, which may be earlier than now.
    by : str or sequence of str, optional
        Columns to group by: the promise is measured for each group, too.
    start : str, default "accepted"
        The state from which time is measured.
    within, target : float, default 60 and 0.95
        The promise: which share of all messages is to be delivered within how many seconds.
    tz : str, default "UTC"
        The time zone of dates without one, and of all times in the digest.

    Returns
    -------
    Digest
        The digest, with ``lines``, ``missed`` and ``figures``: a dict with the keys

        - ``begin``, ``end``: the period (ISO 8601)
        - ``start``, ``within``, ``target``: as passed; ``verdict``: met, missed or unclear
        - ``figures``: for ``sent``, ``delivered``, ``failed``, ``open`` (messages), ``share_within``, ``p50_s``,
          ``p90_s``, ``p95_s`` and ``p99_s`` (seconds) the ``value``, ``low`` and ``high``
        - ``before``: the same of the period of the same length before
        - ``groups``: with ``by``, a list of ``group``, ``n``, ``share``, ``low``, ``high`` and ``verdict``
        - ``failure``: the most frequent one, with ``code``, ``n``, ``advice`` and ``why``
        - ``actions``: a list of texts

        What is not known, not reached, or does not exist is None.

    Raises
    ------
    MissingColumn
        If the frame has neither the columns of events nor those of journeys, or a column of ``by`` does not exist.
    TypeError
        If ``source`` is neither an archive nor a frame.
    ValueError
        If an argument is invalid, or no message of the period has a time of ``start``.

    See Also
    --------
    report : The same with charts, as an HTML page.

    Notes
    -----
    Action is needed if sends of the archive have an unknown outcome, a listener has stored no heartbeat for five
    minutes, delivery changed in the period (:func:`viberkit.changes`, by the messages of 28 days), or 1 % of the
    data have a fault with a remedy (:func:`viberkit.quality`).

    Examples
    --------
    >>> at = pd.date_range("2026-03-01T09:00:00Z", periods=60, freq="1min")
    >>> journeys = pd.DataFrame({"message_id": map(str, range(60)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.Timedelta("2s"), "observed_until": at.max() + pd.Timedelta("1h")})
    >>> vk.digest(journeys, target=0.9).lines[2]
    'The promise, 90 % delivered within 1 min, was met: 100 % (94 % – 100 %) were delivered in time.'
    """
    promise: dict[str, Any] = {"start": start, "within": within, "target": target}
    log = Log.read(source, "digest", since=since, until=until, compare=True, by=by, tz=tz, **promise)
    actions = [mask_numbers(action) for action in _actions(log)]
    instants = {"begin": log.begin, "end": log.end}
    figures: dict[str, Any] = {name: None if pd.isna(at) else at.isoformat() for name, at in instants.items()}
    figures |= promise | dict.fromkeys(("verdict", "figures", "before", "groups", "failure")) | {"actions": actions}
    lines = [sentence("nothing", log)]
    if len(log.journeys):
        figures |= {"verdict": log.promise["verdict"], "figures": _figures(log)}
        if log.before is not None and len(log.before.journeys):
            figures["before"] = _figures(log.before)
        if by is not None:
            names, _, promises, _ = log.groups
            columns = promises[["n", "share", "low", "high", "verdict"]].astype(object)
            rows = columns.where(columns.notna(), None).to_dict("records")
            figures["groups"] = [{"group": mask_numbers(name)} | row for name, row in zip(names, rows, strict=True)]
        if len(log.failures):
            first = log.failures.iloc[0].drop("share").to_dict()
            figures["failure"] = first | {"code": None if pd.isna(first["code"]) else mask_numbers(first["code"])}
        lines = [sentence(name, log) for name in ("digest_counts", "digest_times", "digest_promise", "digest_failure")]
    return Digest([*lines, sentence("digest_actions", log, actions)], figures)


def _figures(log: Log) -> Any:
    numbers = log.figures().set_index("figure")[["value", "low", "high"]].astype(object)
    return numbers.where(numbers.abs() < float("inf"), None).to_dict("index")


def _actions(log: Log) -> list[str]:
    """What needs action, as texts."""
    texts = []
    if log.outbox is not None and (unknown := int((log.outbox["state"] == "unknown").sum())):
        texts.append(f"decide on {unknown:,} sends with an unknown outcome (viberkit resolve)")
    if log.listening is not None and len(log.listening):
        silent = (pd.Timestamp.now("UTC") - log.listening["last_at"].max()).total_seconds()
        texts += [f"start the listener, whose last heartbeat was {duration(silent)} ago"] if silent > _SILENT_S else []
    texts += [f"change: {text}" for text in log.changes["summary"]] if len(log.journeys) else []
    if log.events is not None:
        faults = log.quality[(log.quality["share"] >= _FREQUENT) & ~log.quality["remedy"].str.startswith("No action")]
        rows = zip(faults["check"], faults["share"], faults["remedy"], strict=True)
        texts += [f"data: {str(name).replace('_', ' ')} ({percent(share)}): {text}" for name, share, text in rows]
    return [text.removesuffix(".") for text in texts]
