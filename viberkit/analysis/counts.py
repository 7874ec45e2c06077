"""What an event log outside of memory returns: journeys, or instead of them how many messages have a duration.

The estimators take counts as they take rows, so that a log of any size, on any engine, gives the result of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pandas as pd

HOUR, DAY, WEEK = (seconds * 1_000_000 for seconds in (3_600, 86_400, 604_800))
#: Columns of the time of day and week: their length, and the period in which they are counted.
PARTS_OF_TIME = {"hour": (HOUR, DAY), "weekday": (DAY, WEEK)}


@dataclass(frozen=True)
class Request:
    """The durations that a function needs, from an event log.

    ``by``: columns of facts of the messages; ``split``: lengths and periods (microseconds, None for no period) of the
    windows on the clock of ``tz`` that messages with different starts are counted in; ``late``: whether windows are
    divided where as much of them has passed as of the last one; ``since``: the instant from which messages were
    observed, if there is one; ``cluster``: a column; ``is_dependent``: whether dependence is estimated.
    """

    function: str
    by: list[str]
    start: str = ""
    end: str = ""
    split: tuple[tuple[int, int | None], ...] = ()
    late: bool = False
    since: int | None = None
    cluster: str | None = None
    is_dependent: bool = True
    tz: str = "UTC"


@runtime_checkable
class EventCounts(Protocol):
    """An event log that counts durations.

    The methods that count return microseconds and numbers of messages, ``n``; ``dependent`` is the number from which
    dependence is estimated, where times are rounded more coarsely, so that an entry has one of the two; None if both
    are ``n``.
    """

    columns: list[str]

    def _count_durations(self, request: Request) -> tuple[pd.DataFrame, int]:
        """The counts, and the number of messages without the start.

        The columns are those of ``by``, ``started`` (the first of the entry), ``time``, ``cause``, ``earliest``,
        ``entry``, ``informative``, ``until`` (the last end of an observation), ``cluster``, ``n`` and ``dependent``.
        """

    def _count_transitions(self, request: Request) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The counts of transitions, and of messages that wait in a state.

        The columns are those of ``by``, ``from_state``, ``to_state``, ``started``, ``time``, ``cluster``, ``n`` and
        ``dependent``; of the second ``from_state``, ``time`` and ``n``.
        """

    def _journeys(self, function: str, columns: Iterable[str | None]) -> pd.DataFrame:
        """The journeys in order of their first event, with those of ``columns`` that the log has.

        ``message_id`` and ``code`` are among them only if they are passed; states that no message entered are missing.
        """

    def _facts(self, largest: int) -> list[str]:
        """The columns of facts of text, categories or truth values with at most ``largest`` different values."""

    def _frames(self) -> Iterator[pd.DataFrame]:
        """The events without facts in parts, each with all events of its messages, sorted by message and time."""

    def to_frame(self) -> pd.DataFrame:
        """The events, sorted by message and time."""
