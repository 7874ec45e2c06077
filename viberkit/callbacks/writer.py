"""Group commit: callbacks that arrive during a transaction are written together in the next one."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from viberkit.archive.archive import Archive
from viberkit.errors import ArchiveError
from viberkit.models.callback import Callback

_MAX_BATCH = 256  #: callbacks in one transaction
_DERIVE_BATCH = 64  #: raw records read in one transaction while no callback waits
HEARTBEAT_S = 10.0  #: how often a listener that can store callbacks says so; after three times that, a gap is certain

_Waiting = tuple[Callback, "asyncio.Future[None]"]


class GroupCommit:
    """Stores callbacks from a thread that runs for the lifespan of an application.

    ``await store(callback)`` returns when the callback is durable. A heartbeat is stored at least every 10 seconds, of
    real time and of the clock of the callbacks, while this is possible.
    """

    def __init__(self, archive: Archive, now: Callable[[], datetime]) -> None:
        self._archive, self._now = archive, now
        self._period, self._last_beat, self._last_beat_s = 0, datetime.min.replace(tzinfo=UTC), 0.0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Run the writer; at the end, store what waits and read all that is stored."""
        thread = threading.Thread(target=self._run, name="viberkit-listener-writer", daemon=True)
        thread.start()
        yield
        self._queue.put(None)
        thread.join()  # all requests are answered

    async def store(self, callback: Callback) -> None:
        """Store a callback; raises :class:`~viberkit.errors.ArchiveError` if that fails."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((callback, durable))
        await durable

    def _run(self) -> None:
        stopping = False
        self._write([])
        while not stopping:
            batch, stopping = self._next_batch()
            if batch and not self._write(batch):
                continue
            with contextlib.suppress(ArchiveError):  # the records stay stored, and are read at the next opportunity
                while self._queue.empty() and self._archive.recorder.derive(_DERIVE_BATCH):
                    pass
            self._write([], last=stopping)

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """The waiting callbacks, none if a heartbeat is due before the next one, and whether the writer is to stop."""
        batch: list[_Waiting] = []
        with contextlib.suppress(queue.Empty):
            while (waiting := self._queue.get(timeout=HEARTBEAT_S)) is not None:
                batch.append(waiting)
                if len(batch) == _MAX_BATCH or self._queue.empty():
                    return batch, False
            return batch, True
        return batch, False

    def _write(self, batch: list[_Waiting], *, last: bool = False) -> bool:
        """Store a batch, with a heartbeat if one is due, and report the outcome to those who wait; whether stored."""
        error: Exception | None = None
        try:
            now, now_s = self._now(), time.time()
            silent_s = abs(now_s - self._last_beat_s)
            is_due = last or max(silent_s, abs((now - self._last_beat).total_seconds())) >= HEARTBEAT_S
            if batch or is_due:
                if silent_s > 3 * HEARTBEAT_S:  # the computer slept, or nothing could be stored
                    self._period = 0
                callbacks, beat = [callback for callback, _ in batch], now if is_due else None
                self._period = self._archive.recorder.record_callbacks(callbacks, beat, self._period)
            if is_due:
                self._last_beat, self._last_beat_s = now, now_s
        except Exception as raised:  # noqa: BLE001 - every waiting request must get a response
            error = raised
            self._archive.recorder.reconnect()  # the file may have been replaced
        futures = [durable for _, durable in batch]
        with contextlib.suppress(RuntimeError, IndexError):  # the loop was closed: no request waits
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, error)
        return error is None


def _resolve(futures: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None) if error is None else future.set_exception(error)
