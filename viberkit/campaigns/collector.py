"""Fetching histories into an archive: concurrently, at a limited rate, and past single failures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice

import pandas as pd
from tqdm.auto import tqdm

from viberkit.api.client import Client
from viberkit.api.transport import RateLimiter
from viberkit.archive.archive import Archive
from viberkit.archive.engine import uninterrupted
from viberkit.errors import ViberkitError
from viberkit.models.html import facts_table
from viberkit.models.phone import mask_numbers
from viberkit.models.records import Response

_BATCH = 64  # responses in one transaction
_WRITE_EVERY_S = 0.25  # the longest time that a response waits for others before it is written


@dataclass(frozen=True, slots=True)
class CollectResult:
    """The result of :func:`collect`.

    Parameters
    ----------
    requested : int
        Number of messages whose history was requested.
    changed : int
        Number of histories that the archive did not have in this form.
    final : int
        Number of messages that are final now.
    expired : int
        Number of messages that the server no longer has.
    failed : int
        Number of messages without a readable history.
    reasons : dict of str to int
        Why requests failed, and how often.
    """

    requested: int
    changed: int
    final: int
    expired: int
    failed: int
    reasons: dict[str, int]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={value}" for name, value in asdict(self).items() if name != "reasons")
        return f"CollectResult({counts}{f', reasons={self.reasons}' if self.reasons else ''})"

    def _repr_html_(self) -> str:
        facts = {name: value for name, value in asdict(self).items() if name != "reasons"}
        reasons = "\n".join(f"{count:,} × {reason}" for reason, count in self.reasons.items())
        return facts_table("Collected histories", {**facts, "reasons": mask_numbers(reasons)})

    def to_frame(self) -> pd.DataFrame:
        """Return the result as a frame of one row.

        Returns
        -------
        pandas.DataFrame
            - ``requested``, ``changed``, ``final``, ``expired``, ``failed``: as the attributes
            - ``reasons``: reasons with their counts, as text
        """
        reasons = "; ".join(f"{count} × {reason}" for reason, count in self.reasons.items())
        return pd.DataFrame([{**asdict(self), "reasons": reasons}]).astype({"reasons": "str"})


def collect(
    client: Client,
    archive: Archive,
    *,
    workers: int = 32,
    per_second: float | None = None,
    include_final: bool = False,
    progress: bool = True,
) -> CollectResult:
    """Fetch the histories of messages that may have changed, and store them.

    Requested are the histories of messages that are not final, and of final messages whose history was not fetched
    since they became final, unless the server no longer has them.

    Parameters
    ----------
    client : Client
        Client to request with.
    archive : Archive
        Archive of the messages.
    workers : int, default 32
        Number of concurrent requests.
    per_second : float, default None
        Highest rate of requests, in requests per second; None for no limit.
    include_final : bool, default False
        Whether to request all final messages again, for a *seen* that came later, or so that ``archive.gaps()`` can
        compare later callbacks with histories.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    CollectResult
        Number of messages requested, changed, final, expired and failed.

    Raises
    ------
    TypeError
        If the arguments are not a client and an archive.
    ConfigurationError
        If ``per_second`` is not above 0.

    Notes
    -----
    A message whose history cannot be fetched or read is counted and does not stop the others. Histories are written
    every quarter of a second, so an interrupted call can be repeated and continues. The time of observation is
    that of the server (its ``Date`` header), or the local clock if there is none.

    Examples
    --------
    >>> with vk.Sandbox(seed=1, speed=0) as sandbox, vk.Archive("deliveries.db") as archive:
    ...     client = sandbox.client(archive=archive)
    ...     sent = client.send("+491701234567", vk.Text("Your parcel is here"), rate_type="transaction")
    ...     sandbox.advance(days=15)
    ...     vk.collect(client, archive, progress=False)
    CollectResult(requested=1, changed=1, final=1, expired=0, failed=0)
    """
    if not isinstance(client, Client) or not isinstance(archive, Archive):
        raise TypeError("collect takes a client and an archive, in this order: collect(client, archive)")
    limiter = RateLimiter(per_second)
    ids = archive.recorder.histories_to_fetch(include_final=include_final)
    changes: dict[str, str] = {}
    pending: list[tuple[str, Response]] = []

    def write() -> None:
        if pending:
            changes.update(archive.recorder.record("events", pending))
            pending.clear()

    interrupted: list[bool] = []

    def fetch_all() -> None:
        written = time.monotonic()
        responses = _fetch(client, ids, workers, limiter)
        with tqdm(total=len(ids), desc="collect", unit="message", disable=not progress) as bar:
            try:
                for message_id, response in responses:
                    bar.update()
                    if interrupted:
                        break
                    if isinstance(response, Response):
                        pending.append((message_id, response))
                    else:
                        changes[message_id] = response
                    if len(pending) >= _BATCH or time.monotonic() - written > _WRITE_EVERY_S:
                        write()
                        written = time.monotonic()
            finally:
                responses.close()
                write()

    # An interrupt in the middle of a pool would leave its locks.
    uninterrupted(fetch_all, partial(interrupted.append, True))
    counts = Counter(changes.values())
    reasons = {reason: n for reason, n in counts.items() if reason not in ("changed", "unchanged", "expired")}
    fetched = {message_id for message_id, change in changes.items() if change in ("changed", "unchanged")}
    final = len(fetched.difference(archive.recorder.open_messages()))
    return CollectResult(len(changes), counts["changed"], final, counts["expired"], sum(reasons.values()), reasons)


def _fetch(
    client: Client, ids: list[str], workers: int, limiter: RateLimiter
) -> Generator[tuple[str, Response | str], None, None]:
    """Yield each id with its response, or with the reason why there is none, in the order of arrival."""

    def fetch(message_id: str) -> Response | str:
        limiter.wait()
        try:
            return client.get_response("events", message_id)
        except ViberkitError as error:
            return str(error).replace(message_id, "…")

    remaining = iter(ids)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="viberkit-collect")
    running: dict[Future[Response | str], str] = {}
    try:
        while True:
            for message_id in islice(remaining, 2 * workers - len(running)):
                running[pool.submit(fetch, message_id)] = message_id
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
