"""Live views of a sent message."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import ipywidgets as w

from viberkit.api.client import Client
from viberkit.errors import UnknownOutcome
from viberkit.models.phone import mask, mask_numbers
from viberkit.models.records import Event, SentMessage
from viberkit.models.states import FINAL, rank
from viberkit.widgets.fields import INDENT, error_text, note

_PAUSES_S = (0.5, 1, 1, 2, 2, 5, 5, 10)  #: between two requests; the last one repeats
_MAX_REQUESTS = 120
_MARGIN = f"6px 2px 6px {INDENT}"
_STATE_TONES = {"delivered": "good", "seen": "good", "failed": "error", "expired": "error", "channel_failed": "error"}


class StatusView(w.HTML):  # type: ignore[misc]
    """The id of a message and its states, updated by a thread until a final state.

    It also ends after about twenty minutes, or when it is closed. The recipient is masked, the content not shown.
    """

    def __init__(self, client: Client, sent: SentMessage) -> None:
        self._client, self._message_id = client, sent.message_id
        message_id = f'<code style="font-size: 13px; user-select: all">{escape(sent.message_id)}</code>'
        self._heading = note(f"Accepted for {mask(sent.to)} as", "good") + message_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="viberkit-status", daemon=True)
        super().__init__(layout=w.Layout(margin=_MARGIN))
        self._show(note("Requesting its history …"))
        self._thread.start()

    def __repr__(self) -> str:
        return f"StatusView({self._message_id!r})"

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        if stop := getattr(self, "_stop", None):
            stop.set()
        super().close()

    def _show(self, *parts: str) -> None:
        if not self._stop.is_set():
            self.value = self._heading + "".join(parts)

    def _follow(self) -> None:
        table = ""
        for request in range(_MAX_REQUESTS):
            if self._stop.wait(_PAUSES_S[min(request, len(_PAUSES_S) - 1)]):
                return
            try:
                events = self._client.events(self._message_id)
            except Exception as error:  # noqa: BLE001 - shown in the view; nothing else shows a thread's error
                self._show(table, note(f"{error_text(error)}\nRetrying …", "caution"))
                continue
            table = history_table(events)
            if any(event.state in FINAL for event in events):
                self._show(table)
                return
            self._show(table, note("Not final yet …"))
        self._show(table, note("Not final yet; vk.collect(client, archive) updates it later."))


def unknown_outcome_view(error: UnknownOutcome) -> w.HTML:
    """Return a conspicuous box about a message that may or may not have been sent."""
    heading, text = note("It is not known whether this message was sent.", "error"), str(error)
    reason = f'<div style="font-weight: normal">{note(f"{text[:1].upper()}{text[1:]}.")}</div>'
    style = "border-left: 4px solid var(--jp-error-color1, #b3261e); padding: 4px 10px; font-weight: bold"
    return w.HTML(f'<div role="alert" style="{style}">{heading}{reason}</div>', layout=w.Layout(margin=_MARGIN))


def history_table(events: Sequence[Event]) -> str:
    """Return the states of a message as an HTML table: when each was entered, and the time since the one before."""
    ordered = sorted(events, key=lambda event: (event.happened_at, rank(event.state)))
    if not ordered:
        return note("No state reported yet.")
    times = [event.happened_at for event in ordered]
    gaps = ["", *(f"+{(after - before).total_seconds():,.3f} s" for before, after in pairwise(times))]
    style = "padding: 1px 20px 1px 0; font-size: 12px; line-height: 1.4; background: none; border: 0"
    left, right = (f'style="{style}; text-align: {side}; font-weight: normal"' for side in ("left", "right"))
    rows = []
    for event, at, gap in zip(ordered, times, gaps, strict=True):
        text = f"{event.state} ({mask_numbers(event.code)})" if event.code else event.state
        state = note(text, _STATE_TONES.get(event.state, "quiet"))
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"
        rows.append(f"<tr><td {left}>{state}</td><td {left}>{clock}</td><td {right}>{gap}</td></tr>")
    line = 'style="border-bottom: 1px solid var(--jp-border-color1, #bdbdbd)"'
    head = f"<tr {line}><th {left}>State</th><th {left}>{times[0]:%Y-%m-%d}, UTC</th><th {right}>After</th></tr>"
    table = "border-collapse: collapse; margin: 2px 0; font-variant-numeric: tabular-nums"
    return f'<table style="{table}"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
