"""Group commit: whatever has come while the last transaction was written goes into the next one, together."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import defaultdict

from viberkit.archive.archive import Archive
from viberkit.errors import ArchiveError
from viberkit.models.callback import Callback

__all__ = ["GroupCommit"]

_MOST = 256  #: callbacks in one transaction
_AT_ONCE = 64  #: late rows made in one transaction, while nobody waits

_Waiting = tuple[Callback, "asyncio.Future[None]", asyncio.AbstractEventLoop]


class GroupCommit:
    """Keeps callbacks from a thread of its own. ``await keep(callback)`` returns when it is durable."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="viberkit-listener-writer", daemon=True)
        self._thread.start()

    async def keep(self, callback: Callback) -> None:
        """Keep a callback; raises :class:`~viberkit.errors.ArchiveError` if that fails."""
        loop = asyncio.get_running_loop()
        durable = loop.create_future()
        self._waiting.put((callback, durable, loop))
        await durable

    def close(self) -> None:
        """Write what waits, make its rows, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._batch()
            if batch:
                self._write(batch)
            with contextlib.suppress(ArchiveError):  # what is kept is read another time
                while self._waiting.empty() and self._archive.recorder.derive(_AT_ONCE):
                    pass

    def _batch(self) -> tuple[list[_Waiting], bool]:
        """What waits, at least one; and whether it was the last."""
        batch: list[_Waiting] = []
        one = self._waiting.get()
        while one is not None:
            batch.append(one)
            if len(batch) == _MOST or self._waiting.empty():
                return batch, False
            one = self._waiting.get()
        return batch, True

    def _write(self, batch: list[_Waiting]) -> None:
        fault: Exception | None = None
        try:
            self._archive.recorder.record_callbacks(callback for callback, _, _ in batch)
        except Exception as told:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            fault = told
            self._archive.close()  # the file may be another by now; the next writing opens it anew
        waiting = defaultdict(list)
        for _, durable, loop in batch:
            waiting[loop].append(durable)
        for loop, several in waiting.items():
            with contextlib.suppress(RuntimeError):  # a loop that has ended waits for nothing
                loop.call_soon_threadsafe(_settle, several, fault)


def _settle(several: list[asyncio.Future[None]], fault: Exception | None) -> None:
    for durable in several:
        if durable.done():
            continue
        if fault is None:
            durable.set_result(None)
        else:
            durable.set_exception(fault)
