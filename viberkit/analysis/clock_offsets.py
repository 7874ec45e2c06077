"""Offsets between the clocks of a log: constant, in a step, or drifting.

Each state of each source has a clock. Clocks of one state are compared by the messages that both report, a clock and
the time of receipt by the delay, and clocks of different states by the time between them: it cannot be negative, and
is hardly ever the same for all messages, unless the time of receipt confirms both clocks. This is done in several parts
of the log. Where clocks disagree, the one that disagrees with most others is wrong.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from viberkit.analysis.formatting import duration
from viberkit.analysis.incidence import Floats
from viberkit.analysis.journeys import DELIVERY_PATH, ERROR_STATES
from viberkit.analysis.ordering import SECOND

#: A source ("" if the log has none) and a state.
Clock = tuple[str, str]
RECEIPT: Clock = ("", "receipt")
_LEAST, _PARTS = 10, 8
_BEFORE = {state: DELIVERY_PATH[:index] for index, state in enumerate(DELIVERY_PATH)}
_BEFORE |= dict.fromkeys(ERROR_STATES, DELIVERY_PATH[:3])
_HALF_HOUR = 1800 * SECOND
_REQUESTED = ("history", "status", "send")  # they are received when they are requested


@dataclass(frozen=True)
class Offset:
    """How far a clock is ahead of another, in microseconds, in parts of the log that begin at ``times``.

    ``kind`` is 0 for the same events, 1 for the time of receipt, 2 for the order of states.
    """

    kind: int
    other: Clock
    times: Floats
    sizes: Floats

    @property
    def largest(self) -> float:
        """The offset where it is farthest from zero."""
        return float(self.sizes[np.argmax(np.abs(self.sizes))])

    def __str__(self) -> str:
        relation = f"{'ahead of' if self.largest > 0 else 'behind'} {' '.join(filter(None, self.other))}"
        first, last = (duration(float(size) / SECOND) for size in (self.sizes[0], self.sizes[-1]))
        if np.ptp(self.sizes) <= max(SECOND / 2, abs(self.largest) / 20):
            return f"{duration(abs(self.largest) / SECOND)} {relation}"
        hours = (self.times - self.times[0]) / (3600 * SECOND)
        line = np.ptp(self.sizes - np.polyval(np.polyfit(hours, self.sizes, 1), hours)) if len(hours) > 2 else np.inf
        rest = [max(np.ptp(self.sizes[:part]), np.ptp(self.sizes[part:])) for part in range(1, len(hours))]
        if line < min(rest):
            return f"{relation}, drifting from {first} to {last}"
        at = np.datetime64(int(self.times[1 + int(np.argmin(rest))]), "us").astype("datetime64[m]")
        return f"{relation}, from {first} to {last} in a step near {at}Z"


def find_offsets(
    times: dict[Clock, Floats], received: dict[Clock, Floats], resolution: dict[Clock, int]
) -> dict[Clock, Offset]:
    """The clocks that are wrong, and by how much.

    Times are in microseconds, one for each message, NaN where the clock does not report it.
    """
    found: dict[Clock, dict[Clock, Offset]] = {clock: {} for clock in [*times, RECEIPT]}
    confirmed = set[Clock]()  # by the time of receipt, or by a clock of the same events that is
    states = {source: {state for name, state in times if name == source} for source, _ in times}
    pairs = [(1, RECEIPT, clock) for clock in received]
    for other, one in itertools.permutations(times, 2):
        if one[1] == other[1] and (0, other, one) not in pairs:
            pairs.append((0, one, other))
        elif other[1] in _BEFORE.get(one[1], ()) and (one[0] == other[0] or not states[one[0]] & states[other[0]]):
            pairs.append((2, one, other))
    for kind, clock, other in sorted(pairs, key=lambda pair: pair[0] == 2):
        at, reference = received[other] if kind == 1 else times[clock], times[other]
        both = np.flatnonzero(~np.isnan(at - reference))
        if len(both) < _LEAST or (kind == 2 and {clock, other} <= confirmed):
            continue
        both = both[np.argsort(reference[both], kind="stable")]
        ahead, steps = (at - reference)[both], [resolution.get(name, 0) for name in (clock, other)]
        parts = np.array_split(ahead, max(min(len(ahead) // (200 if max(steps) > SECOND else 25), _PARTS), 1))
        if kind == 0:
            noise = 6 * float(np.median(np.abs(np.diff(ahead))))  # of neighbours, so that steps do not count
            values = np.array([np.median(part) for part in parts]) + (steps[0] - steps[1]) / 2
            sizes = np.where(np.abs(values) > SECOND / 2 + noise / len(parts[0]) ** 0.5, values, 0)
        else:
            may_be_late = other[0] not in _REQUESTED if kind == 1 else clock[1] in DELIVERY_PATH
            slack = max(SECOND / (4 if kind == 1 else 1000), *steps)
            sizes = np.array([_one_sided(part, slack, kind, may_be_late) for part in parts])
        if sizes.any():
            begins = reference[both][np.cumsum([0, *map(len, parts[:-1])])]
            found[clock][other] = Offset(kind, other, begins, sizes)
            found[other][clock] = Offset(kind, clock, begins, -sizes)
        elif confirmed & {clock, other} if kind == 0 else kind == 1 and may_be_late:
            confirmed |= {clock, other}
    wrong: dict[Clock, Offset] = {}
    doubt = {clock: (resolution.get(clock, 0) >= SECOND) / 4 - (clock in confirmed) / 2 for clock in [*times][::-1]}
    while any(found.values()):
        worst = max(doubt, key=lambda clock: len(found[clock]) + doubt[clock])
        del doubt[worst]
        wrong[worst] = min(found.pop(worst).values(), key=lambda offset: (offset.kind, abs(offset.largest)))
        for others in found.values():
            others.pop(worst, None)
    return _by_source(wrong, {source for source, _ in doubt})


def _by_source(wrong: dict[Clock, Offset], right: set[str]) -> dict[Clock, Offset]:
    """One offset, without a state, of each source whose clocks are all wrong by about the same."""
    result = dict(wrong)
    for source in {source for source, _ in wrong} - right:
        offsets = [offset for clock, offset in wrong.items() if clock[0] == source]
        sizes = [offset.largest for offset in offsets]
        if len(sizes) > 1 and min(sizes) * max(sizes) > 0 and np.ptp(sizes) <= max(SECOND, np.max(np.abs(sizes)) / 2):
            result = {clock: offset for clock, offset in result.items() if clock[0] != source}
            best = min(offsets, key=lambda offset: (offset.kind, -abs(offset.largest)))
            result[source, ""] = replace(best, other=(best.other[0], "")) if best.kind == 0 else best
    return result


def _one_sided(part: Floats, slack: float, kind: int, may_be_late: bool) -> float:
    """The offset that times which cannot be negative show, 0 if none; near half hours, half hours."""
    low, usual = np.sort(part)[[len(part) // 20, len(part) // 2]]
    spread, floor = (0.3 * low + 0.3 * SECOND, 0.75 * SECOND) if kind == 1 else (0.25 * low, 2 * SECOND)
    if not (low < -slack or (may_be_late and low > floor and usual - low < spread)):
        return 0.0
    half_hours = round(low / _HALF_HOUR) * _HALF_HOUR
    return float(half_hours if half_hours and abs(low - half_hours) < 60 * SECOND else low)
