"""Bring every message that is not final up to date: many at once, politely, and never stopped by one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

import pandas as pd
from tqdm.auto import tqdm

from viberkit.api.client import Client
from viberkit.api.transport import RateLimiter
from viberkit.archive.archive import Archive
from viberkit.errors import ViberkitError
from viberkit.models.records import Response

__all__ = ["collect"]

_BATCH = 64  #: answers in one transaction
_LINGER = 0.25  #: seconds that an answer waits for others before it is written


def collect(
    client: Client,
    archive: Archive,
    *,
    workers: int = 32,
    per_second: float | None = None,
    include_final: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Ask for the history of every message in the archive that is not final, and keep the answers.

    ``workers`` requests run at once, at most ``per_second`` of them start each second. What was answered is
    written every quarter of a second, so a run that is interrupted goes on where it stopped. A message that
    cannot be asked or read is counted and does not stop the others.

    What callbacks have finished is not asked for: a delivered message is final. A ``seen`` that comes later is
    therefore known only from a callback, or by asking again with ``include_final``, which also lets ``archive.gaps()``
    compare the two ways.

    Gives one row: ``asked``, ``changed`` (told something new), ``final`` (final now), ``expired`` (the server
    no longer knows it), ``failed``, and ``reasons``, a text of why, each with its count. The time of
    observation is the server's (its ``Date`` header).

    >>> from viberkit.sandbox.sandbox import Sandbox
    >>> with Sandbox(seed=1, speed=0) as sandbox, Archive("deliveries.db") as archive:
    ...     client = sandbox.client(archive=archive)
    ...     sent = client.send("+491701234567", vk.Text("Your parcel is here"), rate_type="transaction")
    ...     sandbox.advance(days=15)
    ...     collect(client, archive, progress=False)[["asked", "changed", "final"]].to_dict("records")
    [{'asked': 1, 'changed': 1, 'final': 1}]
    """
    if not isinstance(client, Client) or not isinstance(archive, Archive):
        raise TypeError("collect takes a client and an archive, in this order: collect(client, archive)")
    ids = archive.open_messages(include_final=include_final)
    pace = RateLimiter(per_second)
    became: dict[str, str] = {}
    pending: list[tuple[str, Response]] = []

    def write() -> None:
        if pending:
            became.update(archive.keep_answers("events", pending))
            pending.clear()

    written = time.monotonic()
    with tqdm(total=len(ids), desc="collect", unit="message", disable=not progress) as bar:
        answered = _asked(client, ids, workers, pace)
        try:
            for message_id, answer in answered:
                bar.update()
                if isinstance(answer, Response):
                    pending.append((message_id, answer))
                else:
                    became[message_id] = answer
                if len(pending) >= _BATCH or time.monotonic() - written > _LINGER:
                    write()
                    written = time.monotonic()
        finally:
            answered.close()
            write()
    return _summary(became, set(ids) - set(archive.open_messages()))


def _asked(
    client: Client, ids: list[str], workers: int, pace: RateLimiter
) -> Generator[tuple[str, Response | str], None, None]:
    """Each id with its answer, or with the reason why there is none, in the order of arrival."""

    def ask(message_id: str) -> Response | str:
        pace.wait()
        try:
            return client.get_response("events", message_id)
        except ViberkitError as fault:
            return str(fault).replace(message_id, "…")

    waiting = iter(ids)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="viberkit-collect")
    running: dict[Future[Response | str], str] = {}
    try:
        while True:
            running |= {pool.submit(ask, one): one for one in islice(waiting, 2 * workers - len(running))}
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _summary(became: dict[str, str], closed: set[str]) -> pd.DataFrame:
    kinds = Counter(became.values())
    known = {"changed", "same", "gone"}
    failed = {reason: count for reason, count in kinds.items() if reason not in known}
    row = {
        "asked": len(became),
        "changed": kinds["changed"],
        "final": sum(1 for one in closed if became.get(one) in ("changed", "same")),
        "expired": kinds["gone"],
        "failed": sum(failed.values()),
        "reasons": "; ".join(f"{count} × {reason}" for reason, count in failed.items()),
    }
    return pd.DataFrame([row]).astype({"reasons": "str"})
