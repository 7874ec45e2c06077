"""How long each message took from one state to another, or has been waiting: what every estimate of time stands on.

Journeys (or events) in, arrays out: one entry a message, with the group it belongs to. Nothing here reads a clock.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis import journeys as timing
from viberkit.analysis.grouping import BY, facts, groups, names_of
from viberkit.analysis.ordering import Ints, microseconds
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS, require
from viberkit.models.states import ORDER

__all__ = ["ENDED", "FAILED", "OPEN", "DroppedMessagesWarning", "Durations", "as_journeys", "durations"]

#: What became of a message: still open when last looked at, at the end asked for, or ended otherwise.
OPEN, ENDED, FAILED = 0, 1, 2
_NEVER = np.iinfo(np.int64).min
_FAILING = ("failed", "expired")
_ARRIVING = ("delivered", "seen")
_WAY = ("accepted", "routed", "dispatched", "delivered", "seen")


class DroppedMessagesWarning(UserWarning):
    """Messages could not take part in an estimate; the text says how many, why, and what helps."""


@dataclass(frozen=True)
class Durations:
    """One entry a message, times in microseconds.

    ``started``: the instant it entered the start; ``time``: from there to the end, or to when it was last looked at;
    ``cause``: OPEN, ENDED or FAILED; ``earliest``: the least that ``time`` may be, equal to it where it is exact;
    ``entry``: since when it was watched, -1 from the start, None where that holds for all; ``group``: its row in
    ``groups``, which has the columns grouped by; ``place``: its row in ``journeys``.
    """

    started: Ints
    time: Ints
    cause: Ints
    earliest: Ints
    entry: Ints | None
    group: Ints
    groups: pd.DataFrame
    journeys: pd.DataFrame
    place: Ints

    def __len__(self) -> int:
        return len(self.time)

    def take(self, chosen: npt.NDArray[Any]) -> Durations:
        """Some of the messages, by a mask or places."""
        arrays = (self.started[chosen], self.time[chosen], self.cause[chosen], self.earliest[chosen])
        entry = None if self.entry is None else self.entry[chosen]
        return Durations(*arrays, entry, self.group[chosen], self.groups, self.journeys, self.place[chosen])

    def parts(self) -> Iterator[tuple[dict[str, Any], Durations]]:
        """The messages of each group, with the group's values by column."""
        if len(self.groups) == 1:
            yield self._named(0), self
            return
        order = np.argsort(self.group, kind="stable")
        edges = np.searchsorted(self.group[order], np.arange(len(self.groups) + 1))
        for place in range(len(self.groups)):
            yield self._named(place), self.take(order[edges[place] : edges[place + 1]])

    def _named(self, place: int) -> dict[str, Any]:
        return {str(name): self.groups[name].iloc[place] for name in self.groups.columns}


def as_journeys(log: pd.DataFrame, asked_by: str) -> pd.DataFrame:
    """Journeys as they are; events made into journeys."""
    if isinstance(log, pd.DataFrame) and "outcome" not in log.columns and {"state", "happened_at"} <= {*log.columns}:
        return timing.journeys(log)
    require(log, ("message_id", "outcome", "observed_until"), f"{asked_by} (pass vk.journeys(events))")
    return log


def durations(
    log: pd.DataFrame,
    asked_by: str,
    *,
    start: str = "accepted",
    end: str = "delivered",
    by: BY = None,
    messages: pd.DataFrame | None = None,
    observed_from: Any = None,
    tz: str = "UTC",
) -> Durations:
    """The durations of journeys (or events) from one state to another.

    A message that a later state proves to have passed ``end`` (seen, but no word of *delivered*) got there between
    the last event before and the first after: ``earliest`` and ``time``. So did one whose state was found by polling,
    where the log knows the poll before (``…_not_before``). A delivered message is delivered, also if the log calls
    it failed before; one that failed, nobody knows when, failed when last looked at. Times below zero (a clock that is
    off) count as zero.

    Messages that never entered ``start`` are left out with one :class:`DroppedMessagesWarning`.
    """
    names = names_of(by)
    if not isinstance(tz, str) or not tz:
        raise ValueError(f"tz: {tz!r} is not the name of a zone; pass e.g. 'Europe/Berlin'")
    trips = as_journeys(log, asked_by)
    for field, state in (("start", start), ("end", end)):
        if state not in ORDER[:8]:
            raise ValueError(f"{field}: {state!r} is not a state of a journey; pass one of {', '.join(ORDER[:8])}")
    if end == "expired":
        raise ValueError("end: 'expired' is one way to fail; pass 'failed', which counts both")
    _dated(trips, asked_by)
    at = {state: _instants(trips, f"{state}_at") for state in ORDER[:8] if f"{state}_at" in trips.columns}
    begun = at[start] != _NEVER if start in at else np.zeros(len(trips), dtype=bool)
    if len(trips) and not begun.any():
        known = [state for state, instants in at.items() if (instants != _NEVER).any()]
        raise ValueError(f"start: no message was ever {start!r}; the journeys know {', '.join(known) or 'no state'}")
    if not begun.all():
        left = int((~begun).sum())
        text = f"{asked_by}: {left:,} of {len(trips):,} messages never were {start!r} and are left out"
        warnings.warn(
            f"{text}; pass start='dispatched', say, if that is known of more", DroppedMessagesWarning, stacklevel=3
        )
        trips, at = trips[begun], {state: instants[begun] for state, instants in at.items()}
    begin = at.get(start, np.zeros(len(trips), dtype=np.int64))
    reached, earliest = _reached(trips, at, end)
    other = _first(at, _ARRIVING if end in _FAILING else _FAILING, len(trips))
    until = _instants(trips, "observed_until")
    if at and (unknown := until == _NEVER).any():
        until = np.where(unknown, np.maximum.reduce(list(at.values())), until)
    if end not in _FAILING and (undated := (trips["outcome"] == "failed").to_numpy() & (other == _NEVER)).any():
        other = np.where(undated, until, other)
    arrived, failed = reached != _NEVER, other != _NEVER
    failed &= ~arrived
    cause = arrived * np.int8(ENDED) + failed * np.int8(FAILED)
    stop = np.where(arrived, reached, until)
    np.copyto(stop, other, where=failed)
    time = np.maximum(stop - begin, 0)
    exact = earliest is reached
    earliest = time if exact else np.where(arrived, np.clip(earliest - begin, 0, time), time)
    entry = _entry(trips, begin, observed_from)
    rows, group = groups(facts(trips, names, begin, messages, asked_by, tz), names)
    return Durations(begin, time, cause, earliest, entry, group, rows, trips, np.arange(len(trips)))


def _dated(trips: pd.DataFrame, asked_by: str) -> None:
    """An error where an outcome is told, but no column tells when."""
    told = set(trips["outcome"].unique())
    for outcome, states in (("delivered", _ARRIVING), ("failed", _FAILING)):
        if outcome in told and not any(f"{state}_at" in trips.columns for state in states):
            raise MissingColumn(asked_by, [f"{outcome}_at"], map(str, trips.columns))


def _instants(trips: pd.DataFrame, name: str) -> Ints:
    if name not in trips.columns:
        return np.full(len(trips), _NEVER)
    return microseconds(JOURNEYS["observed_until"].cast(trips[name]))


def _reached(trips: pd.DataFrame, at: dict[str, Ints], end: str) -> tuple[Ints, Ints]:
    """When each message came to the end at the latest, and when at the earliest (the same array if that is exact)."""
    if end in _FAILING:
        found = np.where(_first(at, _ARRIVING, len(trips)) != _NEVER, _NEVER, _first(at, _FAILING, len(trips)))
        return found, found
    exact = _first(at, [end], len(trips))
    place = _WAY.index(end) if end in _WAY else len(_WAY)
    proven = _first(at, _WAY[place + 1 :], len(trips))
    reached = earliest = exact
    if (told := (exact == _NEVER) & (proven != _NEVER)).any():
        before = np.maximum.reduce([at[state] for state in _WAY[:place] if state in at] or [proven])
        reached, earliest = np.where(told, proven, exact), np.where(told, np.minimum(before, proven), exact)
    if f"{end}_not_before" in trips.columns:
        polled = _instants(trips, f"{end}_not_before")
        earliest = np.where((exact != _NEVER) & (polled != _NEVER), np.minimum(polled, exact), earliest)
    return reached, earliest


def _first(at: dict[str, Ints], states: Sequence[str], count: int) -> Ints:
    """When each message was first in any of several states."""
    several = [at[state] for state in states if state in at]
    if len(several) < 2:
        return several[0] if several else np.full(count, _NEVER)
    never = np.iinfo(np.int64).max
    least = np.minimum.reduce([np.where(one == _NEVER, never, one) for one in several])
    return np.where(least == never, _NEVER, least)


def _entry(trips: pd.DataFrame, begin: Ints, observed_from: Any) -> Ints | None:
    """Since when each message was watched, from its start on; None where all were from the start."""
    told: Any = trips["observed_from"] if observed_from is None and "observed_from" in trips.columns else observed_from
    if told is None:
        return None
    cast = JOURNEYS["observed_until"].cast
    if not isinstance(told, pd.Series):
        since = np.full(len(trips), microseconds(cast(pd.Series([told], dtype=object)))[0])
    elif told is not observed_from:
        since = microseconds(cast(told))
    else:
        by_id = cast(told)
        since = microseconds(by_id.groupby(by_id.index.astype("str")).min().reindex(trips["message_id"].astype("str")))
    late = (since != _NEVER) & (since > begin)
    return np.where(late, since - begin, -1) if late.any() else None
