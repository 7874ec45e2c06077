"""Working through a campaign's queue: claim, post, settle; many at once, politely, and never twice."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, func, select
from tqdm.auto import tqdm

from viberkit.api.send import SendAttempt, build_request, interrupted_attempt, post
from viberkit.archive import outbox as box
from viberkit.archive.derive import micros
from viberkit.archive.sends import settle
from viberkit.archive.tables import outbox
from viberkit.models.keys import add_key

if TYPE_CHECKING:
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive

__all__ = ["run"]

_LINGER_S = 0.01  #: so long results are gathered into one transaction
_LOOK_S = 0.05  #: so long at most nothing is claimed while something could be
_IN_A_ROW = 5  #: unknown outcomes, one after the other, that stop the campaign; fewer in all never do
_ENOUGH = 100  #: outcomes before their shares mean something

_Result = tuple[str, Mapping[str, Any], SendAttempt]


class _Run:
    """One run: what is in flight, what came back, and whether to go on."""

    def __init__(
        self,
        archive: Archive,
        client: Client,
        told: Mapping[str, Any],
        workers: int,
        per_second: float | None,
        max_unknown_share: float,
    ) -> None:
        self.archive, self.client, self.told, self.workers = archive, client, told, workers
        self.per_second, self.max_unknown_share = per_second, max_unknown_share
        self.results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        self.unsettled: list[_Result] = []
        self.in_flight: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.in_a_row: Counter[str] = Counter()
        self.began, self.claimed = time.monotonic(), 0
        self.stopped, self.done = "", False

    def turn(self) -> Sequence[RowMapping]:
        """One transaction: what came back is settled, what may go out next is claimed."""
        self._gather()
        free = min(self.workers - len(self.in_flight) + len(self.unsettled), self._due())
        if not self.unsettled and free <= 0 and not self.stopped:
            return []
        with self.archive.writing() as connection:
            self._settle(connection)
            for _, _, tried in self.unsettled:
                self._judge(tried)
            back = {key for key, *_ in self.unsettled}
            rows = self._claim(connection, free) if free > 0 and not self.stopped else []
        self.unsettled.clear()
        self.in_flight = (self.in_flight - back) | {row["key"] for row in rows}
        self.claimed += len(rows)
        self.done = not self.in_flight and (free > 0 or bool(self.stopped))
        return rows

    def note(self) -> None:
        """Settle what has come back and was not settled, because something broke off."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.unsettled.append(self.results.get_nowait())
        if self.unsettled:
            with self.archive.writing() as connection:
                self._settle(connection)
            self.unsettled.clear()

    def _settle(self, connection: Connection) -> None:
        settle(connection, [(key, one.outcome, request, one.response) for key, request, one in self.unsettled])

    def post(self, key: str, request: Mapping[str, Any]) -> None:
        """Post one claimed message; whatever happens, a result comes back."""
        tried = interrupted_attempt(request)
        try:
            tried = post(self.client, "/messages", request)
        finally:
            self.results.put((key, request, tried))

    def request(self, row: RowMapping) -> dict[str, Any]:
        """A row as it goes out, its key at the head of its context."""
        request = build_request(self.client.service_id, row["to"], row["rate_type"], row["callback_url"])
        return {**request, "content": json.loads(row["content"]), "context": add_key(row["key"], row["context"])}

    def _gather(self) -> None:
        """What came back, after a moment for more of it; a moment at most where nothing does."""
        until = time.monotonic() + _LOOK_S
        while len(self.unsettled) < len(self.in_flight):
            try:
                self.unsettled.append(self.results.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                return
            if len(self.unsettled) == 1:
                until = time.monotonic() + _LINGER_S
        if not self.in_flight and self._due() <= 0:
            time.sleep(_LOOK_S)

    def _due(self) -> int:
        """How many more may have been claimed by now, at the pace that was asked for: none waits in flight for it."""
        if self.per_second is None:
            return self.workers
        return int((time.monotonic() - self.began) * self.per_second) + 1 - self.claimed

    def _claim(self, connection: Connection, free: int) -> Sequence[RowMapping]:
        mine = outbox.c.campaign == self.told["name"], outbox.c.state == "queued"
        affordable = self._affordable(connection)
        asked = select(outbox).where(*mine).order_by(outbox.c.row).limit(min(free, max(1, affordable)))
        rows = connection.execute(asked).mappings().all()
        if affordable <= 0:  # what is still in flight may yet be refused, and free some of the budget
            if rows and len(self.in_flight) == len(self.unsettled):
                self.stopped = f"one more message could cost more than the cap of {self.told['cost_cap']:,.2f} allows"
            return []
        now = micros(datetime.now(UTC))
        box.claim(connection, [row["key"] for row in rows], service_id=self.client.service_id, now=now)
        return rows

    def _affordable(self, connection: Connection) -> int:
        """How many more may go out before the cost could pass the cap."""
        cap, price = self.told["cost_cap"], self.told["price_high"]
        if cap is None or not price:
            return self.workers
        mine = outbox.c.campaign == self.told["name"], outbox.c.state.in_(box.CHARGED)
        spent = int(connection.execute(select(func.count()).where(*mine)).scalar_one())
        return int((cap + price * 1e-9) // price) - spent

    def _judge(self, tried: SendAttempt) -> None:
        """Whether this outcome, after those before, is a reason to stop."""
        state = tried.outcome.state
        self.outcomes[state] += 1
        self.in_a_row = Counter({state: self.in_a_row[state] + 1})
        answered = self.outcomes.total() - self.outcomes["queued"]
        if self.in_a_row["unknown"] >= _IN_A_ROW:
            self.stopped = f"{_IN_A_ROW} outcomes in a row are unknown: {tried.outcome.reason}"
        elif answered >= _ENOUGH and self.outcomes["unknown"] > max(_IN_A_ROW, self.max_unknown_share * answered):
            share = f"{self.outcomes['unknown']} of {answered} outcomes"
            self.stopped = f"{share} are unknown, more than {self.max_unknown_share:.1%}"
        elif self.in_a_row["queued"] >= _IN_A_ROW:
            self.stopped = f"{_IN_A_ROW} in a row were not accepted: {tried.outcome.reason}"
        elif tried.outcome.http_status in (401, 402, 403):
            self.stopped = f"the account was refused: {tried.outcome.reason}"
        elif self.in_a_row["rejected"] >= _ENOUGH:
            self.stopped = f"{_ENOUGH} in a row were refused: {tried.outcome.reason}"


def run(
    archive: Archive,
    client: Client,
    told: Mapping[str, Any],
    *,
    workers: int,
    per_second: float | None,
    max_unknown_share: float,
    progress: bool,
) -> str:
    """Send what a campaign has queued; ``told`` is its row. Gives why it stopped early, or nothing."""
    work = _Run(archive, client, told, workers, per_second, max_unknown_share)
    with archive.reading() as connection:
        queued = outbox.c.campaign == told["name"], outbox.c.state == "queued"
        total = connection.execute(select(func.count()).where(*queued)).scalar_one()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="viberkit-campaign")
    with _interrupts(work), tqdm(total=total, desc=told["name"], unit="message", disable=not progress) as bar:
        try:
            while not work.done:
                for row in work.turn():
                    pool.submit(work.post, row["key"], work.request(row))
                bar.update(work.outcomes.total() - work.outcomes["queued"] - bar.n)
        finally:
            pool.shutdown(wait=True)
            work.note()
    return work.stopped


@contextmanager
def _interrupts(work: _Run) -> Iterator[None]:
    """A first Ctrl-C lets what is in flight end; a second one breaks off as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: object) -> None:
        work.stopped = "it was interrupted"
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
