"""A live view of the messages of an archive."""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import ipywidgets as w
import pandas as pd

from viberkit.analysis.curves import delivery_curve
from viberkit.analysis.formatting import duration
from viberkit.analysis.journeys import journeys
from viberkit.api.client import Client
from viberkit.archive.archive import Archive, Changes
from viberkit.archive.events import observed_until
from viberkit.callbacks.writer import HEARTBEAT_S
from viberkit.campaigns.collector import collect
from viberkit.charts.curves import curve as draw_curve
from viberkit.errors import ArchiveError, ViberkitError
from viberkit.models.phone import mask_numbers
from viberkit.models.states import rank
from viberkit.widgets.drawing import chart_html, count_messages, describe_curve, figures_html, recorded_warnings
from viberkit.widgets.fields import close_widget, error_text, note
from viberkit.widgets.table import Table
from viberkit.widgets.unsaved import Html

_POLL_EVERY_S, _POLL_PER_SECOND = 15.0, 20.0
_SHORTEST_SILENCE_S = 10.0
_IDLE = 2  # the thread waits for this many times as long as it has worked
_WAIT_S = 10.0  # at most, for an update to end
_OF_MESSAGE = ["to", "state", "state_at", "final", "sent_at", "service_id", "campaign", "observed_until"]
_COLUMNS = ["Recipient", "State", "Since (UTC)", "Age", "Message"]
_FORMATS: dict[str, Callable[[Any], str]] = {"State": mask_numbers, "Message": mask_numbers, "Age": duration}
_FORMATS["Since (UTC)"] = "{:%Y-%m-%d %H:%M:%S}".format


class Tracker:
    """A live view of the messages of an archive: states as they come, counts, and the delivery curve so far.

    States come from callbacks that a listener stores in the archive, in this or another process, and with `client`
    from histories, too. A thread reads what is new until :meth:`close`, until the archive is closed, or until nothing
    refers to a tracker that was not displayed.

    Parameters
    ----------
    archive : Archive
        Archive to follow.
    client : Client, optional
        Client with which histories of open messages are fetched (:func:`viberkit.collect`), every 15 seconds and at
        most 20 a second; default none: callbacks only.
    last : int, default 100_000
        Only the messages that were stored last, and older ones with new events; what the view holds is bounded by it.
    every_s : float, default 2.0
        Seconds between two updates.
    now : callable, optional
        Clock that returns a datetime with a time zone, such as ``lambda: sandbox.now``; by default the system's.

    Attributes
    ----------
    view : ipywidgets.VBox
        The widget, for layouts of your own. Jupyter shows it if the tracker is the last value of a cell.

    Notes
    -----
    Recipients are masked, contents are not read. A saved notebook contains nothing of what is shown. An error is shown
    in the view, and the next update is tried.

    A silence is shown in comparison with the time between the last callbacks, while messages are under way.

    Examples
    --------
    >>> with vk.Sandbox(seed=1, speed=0) as sandbox, vk.Archive("deliveries.db") as archive:
    ...     sent = sandbox.client(archive=archive).send("+491701234567", vk.Text("Hi"), rate_type="transaction")
    ...     tracker = vk.widgets.Tracker(archive, now=lambda: sandbox.now)
    ...     tracker.stop()
    ...     tracker.update()
    ...     tracker.close()
    ...     tracker.counts
    {'accepted': 1}
    """

    def __init__(
        self,
        archive: Archive,
        client: Client | None = None,
        *,
        last: int = 100_000,
        every_s: float = 2.0,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        if not isinstance(archive, Archive) or not isinstance(client, Client | None):
            raise TypeError("Tracker takes an archive, and optionally a client: Tracker(archive, client)")
        self._archive, self._client, self._last, self._every_s = archive, client, last, every_s
        self._now = now or (lambda: datetime.now(UTC))
        self._position: tuple[int, int] | None = None
        self._messages: pd.DataFrame | None = None  # by id
        self._drawn: tuple[Any, ...] = ()
        self._file = _file_of(archive)
        self._errors: dict[str, str] = {}
        self._lock, self._is_closed = threading.Lock(), False
        self._stop, self._threads = threading.Event(), list[threading.Thread]()
        self._heading, self._counts, self._curve = Html(), Html(), Html()
        self._notice, self._error = Html(role="status"), Html(role="alert")
        self._open = Table(pd.DataFrame(columns=_COLUMNS), caption="Messages under way", formats=_FORMATS)
        self._button, reference = w.Button(description="Pause", layout={"width": "auto"}), weakref.ref(self)
        self._button.on_click(lambda _: _call(reference, "toggle"))
        heading = w.HBox([self._heading, self._button], layout={"justify_content": "space-between"})
        parts = [heading, self._error, self._counts, self._notice, self._curve, self._open]
        self.view = w.VBox(parts, layout=w.Layout(max_width="760px", padding="4px"))
        weakref.finalize(self, close_widget, self.view).atexit = False
        self.start()

    def __repr__(self) -> str:
        return f"Tracker({self._archive!r})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self.view.tracker = self  # what is displayed lives as long as the widget
        return self.view._repr_mimebundle_(**options) | {"text/plain": repr(self)}

    @property
    def counts(self) -> dict[str, int]:
        """The number of messages in each state, in the order of the life cycle.

        Returns
        -------
        dict of str to int
            Numbers by state.
        """
        states: Any = [] if self._messages is None else self._messages["state"].fillna("no state")
        numbers = Counter(map(str, states))
        return {state: numbers[state] for state in sorted(numbers, key=lambda state: (rank(state), state))}

    def start(self) -> None:
        """Start the updates; they run from the beginning, and after :meth:`stop` again."""
        self.stop()
        self._stop = threading.Event()
        for name, every_s in {"update": self._every_s, **({"poll": _POLL_EVERY_S} if self._client else {})}.items():
            arguments = (weakref.ref(self), name, every_s, self._stop)
            thread = threading.Thread(target=_repeat, args=arguments, name="viberkit-tracker", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._button.description = "Pause"

    def stop(self) -> None:
        """Stop the updates; what is shown remains. Requests under way end by themselves."""
        self._stop.set()
        self._button.description = "Continue"
        if self._threads and self._threads[0] is not threading.current_thread():
            self._threads[0].join(_WAIT_S)
        self._threads = []

    def close(self) -> None:
        """Stop the updates and remove the view."""
        self._is_closed = True
        self.stop()
        self.view.tracker = None
        close_widget(self.view)

    def update(self) -> None:
        """Read what is new and show it; errors are shown in the view."""
        self._try("update")

    def _try(self, name: str) -> None:
        """Call a method; show its error, or none after a success."""
        try:
            getattr(self, f"_{name}")()
            self._errors.pop(name, None)
        except Exception as error:  # noqa: BLE001 - shown in the view; nothing else shows a thread's error
            self._errors[name] = error_text(error)
        self._error.value = note("\n".join(self._errors.values()), "error")

    def _toggle(self) -> None:
        (self.start if self._stop.is_set() else self.stop)()

    def _poll(self) -> None:
        result = collect(cast(Client, self._client), self._archive, per_second=_POLL_PER_SECOND, progress=False)
        if result.failed:
            reasons = result.to_frame()["reasons"][0]
            raise ViberkitError(f"{result.failed:,} of {result.requested:,} histories: {reasons}")

    def _update(self) -> None:
        if self._archive.is_closed or _file_of(self._archive) != self._file:
            self.stop()
            what = "closed" if self._archive.is_closed else "removed or replaced"
            raise ArchiveError(f"the archive was {what}; open it and make a new tracker")
        with self._lock:
            messages = self._read()
            listening, now = self._archive.listening(), pd.Timestamp(self._now())
            under_way = messages[~messages["final"]].sort_values("started_at", kind="stable")
            text = f"{count_messages(len(messages))}, {len(under_way):,} under way. Updated {now:%H:%M:%S} UTC."
            self._heading.value = note(text)
            self._notice.value = self._silence(listening, now, len(under_way))
            age_s = (now - under_way["started_at"]).dt.total_seconds()
            values = under_way["to"], under_way["state"], under_way["state_at"], age_s, under_way.index
            self._open.show_frame(pd.DataFrame(dict(zip(_COLUMNS, values, strict=True))))
            heartbeat = listening["last_at"].max() if len(under_way) and len(listening) else None
            if self._drawn != (self._position, heartbeat):
                self._draw(messages.reset_index(), listening)
                self._drawn = (self._position, heartbeat)

    def _read(self) -> pd.DataFrame:
        """Read what is new, and return the messages that are shown."""
        parts, position, is_last = list[pd.DataFrame](), self._position, False
        while not (parts and (is_last or self._is_closed)):
            changes = self._archive.changes(position, last=self._last)
            position, is_last = changes.position, changes.is_last
            parts.append(_of_changes(changes))
            if len(parts) > 1:
                self._heading.value = note(f"Reading the archive: {count_messages(sum(map(len, parts)))} …")
        changed = pd.concat(parts)
        changed = changed[~changed.index.duplicated(keep="last")]
        if self._messages is not None and len(unchanged := self._messages[~self._messages.index.isin(changed.index)]):
            changed = pd.concat([unchanged, changed]) if len(changed) else unchanged
        self._messages, self._position = changed.iloc[-self._last :], position
        return self._messages

    def _silence(self, listening: pd.DataFrame, now: pd.Timestamp, n_open: int) -> str:
        """Return whether a listener runs, and for how long there was no callback."""
        times, text = self._archive.callback_times(), ""
        quiet_s = (now - listening["last_at"].max()).total_seconds() if len(listening) else float("inf")
        if quiet_s > 3 * HEARTBEAT_S:
            last = f": its last heartbeat was {duration(quiet_s)} ago" if len(listening) else ""
            text = note(f"No listener is running{last}.", "quiet" if self._client or not n_open else "caution")
        if len(times):
            silent_s = max((now - times.iloc[-1]).total_seconds(), 0.0)
            usual_s = times.diff().dt.total_seconds().quantile(0.9)
            usual = f"; usually the next one comes within {duration(usual_s)}" if len(times) > 9 else ""
            if n_open and silent_s > max(_SHORTEST_SILENCE_S, 5 * usual_s):
                return text + note(f"No callback for {duration(silent_s)}{usual}.", "caution")
            text += note(f"Last callback {duration(silent_s)} ago{usual}.")
        return text

    def _draw(self, messages: pd.DataFrame, listening: pd.DataFrame) -> None:
        """Draw counts and curve; an open message counts until it was last observed, by a listener, too."""
        counts = figures_html((state, f"{n:,}", "") for state, n in self.counts.items())
        starts = [state for state in ("accepted", "dispatched") if messages[f"{state}_at"].notna().any()]
        if not starts:
            text = "No time of acceptance is known yet." if len(messages) else "No messages yet."
            self._counts.value, self._curve.value = counts, note(text)
            return
        called = messages[messages["called_at"].notna()].assign(source="callback")
        callbacks = called[["message_id", "state", "source", "called_at"]].rename(columns={"called_at": "received_at"})
        messages["observed_until"] = observed_until(messages, callbacks, listening)
        with recorded_warnings():
            curve = delivery_curve(messages, start=starts[0])
        shown = chart_html(draw_curve, curve, describe_curve(curve, messages["outcome"]))
        self._counts.value, self._curve.value = counts, shown


def _call(reference: weakref.ref[Tracker], name: str) -> bool:
    """Call a method of a tracker; return whether there is still one."""
    if (tracker := reference()) is not None:
        tracker._try(name)
    return tracker is not None


def _file_of(archive: Archive) -> tuple[int, int] | None:
    """Return what identifies the file of an archive; None if there is none."""
    if archive.path is None or not archive.path.exists():
        return None
    status = archive.path.stat()
    return status.st_dev, status.st_ino


def _repeat(reference: weakref.ref[Tracker], name: str, every_s: float, stop: threading.Event) -> None:
    """Call a method until it is stopped or nothing refers to the tracker; wait longer after a long call."""
    began = time.monotonic()
    while not stop.is_set() and _call(reference, name):
        stop.wait(max(every_s, _IDLE * (time.monotonic() - began)))
        began = time.monotonic()


def _of_changes(changes: Changes) -> pd.DataFrame:
    """Return what is shown of each changed message, by its id."""
    messages, events = changes.messages.set_index("message_id"), changes.events
    called = events[events["source"].str.contains("callback").fillna(value=False)]
    with recorded_warnings():
        paths = journeys(events).set_index("message_id")
    paths = paths[[name for name in paths if name == "outcome" or re.search("_(at|not_before|not_after)$", str(name))]]
    frame = messages[_OF_MESSAGE].astype(dict.fromkeys(("state", "service_id", "campaign"), "str")).join(paths)
    frame["outcome"] = frame["outcome"].astype("str").fillna("open")
    frame["called_at"] = called.groupby("message_id")["received_at"].max().reindex(frame.index)
    first = paths.filter(regex="_at$").min(axis=1).reindex(frame.index)
    return frame.assign(started_at=frame["sent_at"].fillna(first))
