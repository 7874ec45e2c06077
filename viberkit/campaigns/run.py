"""Sending the queued messages of a campaign: claim, post, settle; concurrently, at a limited rate, each once."""

from __future__ import annotations

import json
import queue
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tqdm.auto import tqdm

from viberkit.api.client import Client
from viberkit.api.send import build_request, interrupted_attempt, post
from viberkit.archive.campaigns import CampaignStore
from viberkit.archive.engine import DiskFull, uninterrupted
from viberkit.archive.ingest import SettledSend
from viberkit.errors import ArchiveError, ArchiveWriteError
from viberkit.models.keys import add_key
from viberkit.models.records import SendOutcome

_GATHER_S = 0.01  # for how long results are gathered into one transaction
_POLL_S = 0.05  # the longest wait for a result before the queue is checked again
_MAX_IN_A_ROW = 5  # unknown outcomes, one after the other, that stop the campaign; fewer in all never do
_MIN_OUTCOMES = 100  # outcomes before a share of them can stop the campaign


class CampaignRun:
    """One run: the messages in flight, the results that are not settled yet, and why to stop."""

    def __init__(
        self,
        store: CampaignStore,
        client: Client,
        workers: int,
        per_second: float | None,
        max_unknown_share: float,
        stop: Callable[[], bool],
    ) -> None:
        self.store, self.client, self.terms = store, client, store.terms()
        self.workers, self.per_second, self.max_unknown_share = workers, per_second, max_unknown_share
        self.stop = stop
        self.results: queue.SimpleQueue[SettledSend] = queue.SimpleQueue()
        self.unsettled: list[SettledSend] = []
        self.in_flight: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.in_a_row: Counter[str] = Counter()
        self.started, self.claimed = time.monotonic(), 0
        self.stopped: str | None = None
        self.done = False

    def send(self, confirm: str, *, progress: bool) -> None:
        """Send the confirmed messages; a first Ctrl-C waits for the messages in flight, a second one does not."""
        try:
            uninterrupted(lambda: self._send(confirm, progress), partial(setattr, self, "stopped", "interrupted"))
        except KeyboardInterrupt:
            if not self.done:
                raise

    def _send(self, confirm: str, progress: bool) -> None:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="viberkit-campaign")
        with self.store.lock():
            self.store.confirm(confirm)
            queued = self.store.counts().get("queued", 0)
            bar = tqdm(total=queued, desc=self.terms.name, unit="message", disable=not progress)
            try:
                while not self.done:
                    if self.stopped is None and self.stop():
                        self.stopped = "stopped on request"
                    for row in self.step():
                        self._submit(pool, row["key"], self.request(row))
                    bar.update(self.outcomes.total() - self.outcomes["queued"] - bar.n)
            finally:
                bar.close()
                pool.shutdown(wait=True)
                self.settle_results()

    def step(self) -> Sequence[Mapping[str, Any]]:
        """Settle the results and claim the next messages, in one transaction; return the claimed rows."""
        self._gather()
        free = min(self.workers - len(self.in_flight) + len(self.unsettled), self._due())
        if not self.unsettled and free <= 0 and not self.stopped:
            return []
        for _, outcome, *_ in self.unsettled:
            self._check_outcome(outcome)
        rows, over_cap = self._exchange(0 if self.stopped else free)
        self.in_flight -= {key for key, *_ in self.unsettled}
        if over_cap and not self.in_flight:  # what is in flight may yet be rejected, and not be charged
            self.stopped = f"one more message could exceed the cost cap of {self.terms.cost_cap:,.2f}"
        self.in_flight |= {row["key"] for row in rows}
        self.unsettled.clear()
        self.claimed += len(rows)
        self.done = not self.in_flight and (free > 0 or self.stopped is not None)
        return rows

    def settle_results(self) -> None:
        """Settle the results that an exception left unsettled; if that fails, the error holds the accepted ids."""
        self.unsettled += [self.results.get() for _ in range(self.results.qsize())]
        try:
            self.store.settle(self.unsettled)
        except ArchiveError as error:
            accepted = [outcome.message_id for _, outcome, *_ in self.unsettled if outcome.message_id]
            raise ArchiveWriteError(", ".join(accepted), str(error)) if accepted else error from None

    def _exchange(self, limit: int) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """Settle the results and claim messages, for whose outcomes there is room; stop when the disk is full."""
        try:
            self.store.reserve(len(self.in_flight) + max(0, limit))
            return self.store.exchange(self.unsettled, limit, service_id=self.client.service_id)
        except DiskFull as error:
            self.stopped = str(error)
        self.store.settle(self.unsettled)
        return [], False

    def _submit(self, pool: ThreadPoolExecutor, key: str, request: Mapping[str, Any]) -> None:
        try:
            pool.submit(self.post, key, request)
        except RuntimeError:  # the interpreter is ending, and starts no more threads
            self.stopped = "the process is ending"
            self.results.put((key, SendOutcome("queued", self.stopped), request, None))

    def post(self, key: str, request: Mapping[str, Any]) -> None:
        """Post a claimed message; a result is queued whatever happens."""
        result = interrupted_attempt(request)
        try:
            result = post(self.client._transport, "/messages", request)
        finally:
            self.results.put((key, result.outcome, request, result.response))

    def request(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request of a row; its key is at the start of the context."""
        request = build_request(self.client.service_id, row["to"], row["rate_type"], row["callback_url"])
        return {**request, "content": json.loads(row["content"]), "context": add_key(row["key"], row["context"])}

    def _gather(self) -> None:
        """Wait for a result, then gather others for a moment."""
        until = time.monotonic() + _POLL_S
        while len(self.unsettled) < len(self.in_flight):
            try:
                self.unsettled.append(self.results.get(timeout=max(0.0, until - time.monotonic())))
            except queue.Empty:
                return
            if len(self.unsettled) == 1:
                until = time.monotonic() + _GATHER_S
        if not self.in_flight and self._due() <= 0:
            time.sleep(_POLL_S)

    def _due(self) -> int:
        """Return how many more messages may be claimed by now at this rate; none waits while it is in flight."""
        if self.per_second is None:
            return self.workers
        return int((time.monotonic() - self.started) * self.per_second) + 1 - self.claimed

    def _check_outcome(self, outcome: SendOutcome) -> None:
        """Count an outcome, and stop if the outcomes so far are a reason to."""
        state, reason = outcome.state, outcome.reason
        self.outcomes[state] += 1
        self.in_a_row = Counter({state: self.in_a_row[state] + 1})
        answered = self.outcomes.total() - self.outcomes["queued"]
        unknown = self.outcomes["unknown"]
        if self.in_a_row["unknown"] >= _MAX_IN_A_ROW:
            self.stopped = f"{_MAX_IN_A_ROW} outcomes in a row are unknown: {reason}"
        elif answered >= _MIN_OUTCOMES and unknown > max(_MAX_IN_A_ROW, self.max_unknown_share * answered):
            self.stopped = f"{unknown} of {answered} outcomes are unknown, more than {self.max_unknown_share:.1%}"
        elif self.in_a_row["queued"] >= _MAX_IN_A_ROW:
            self.stopped = f"{_MAX_IN_A_ROW} messages in a row were neither accepted nor rejected: {reason}"
        elif outcome.http_status in (401, 402, 403):
            self.stopped = f"the server refused the API key or the service id: {reason}"
        elif self.in_a_row["rejected"] >= _MIN_OUTCOMES:
            self.stopped = f"{_MIN_OUTCOMES} messages in a row were rejected: {reason}"
