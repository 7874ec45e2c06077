"""What became of one message, in a notebook: its trail, which grows until it is final, or that nobody knows."""

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
from viberkit.widgets.fields import INDENT, note
from viberkit.widgets.form import told

__all__ = ["Trail", "Unknown", "trail_table"]

_POLL_S = (0.5, 1, 1, 2, 2, 5, 5, 10)  #: pauses between two looks at a message; the last one repeats
_PATIENCE = 120  #: looks


class Trail(w.HTML):  # type: ignore[misc]
    """The message id, and the states of a message as they come, looked up in a thread: the kernel stays free.

    It ends with a final state, after about twenty minutes, or when it is closed. The recipient is masked,
    and nothing of the content is shown.
    """

    def __init__(self, client: Client, sent: SentMessage) -> None:
        self._client, self._message_id = client, sent.message_id
        self._head = (
            f"{note(f'Accepted for {mask(sent.to)} as', 'good')}"
            f'<code style="font-size: 13px; user-select: all">{escape(sent.message_id)}</code>'
        )
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="viberkit-trail", daemon=True)
        super().__init__(layout=w.Layout(margin=f"6px 2px 6px {INDENT}"))
        self._draw(note("Looking for its trail …"))
        self._thread.start()

    def __repr__(self) -> str:
        return f"Trail({self._message_id!r})"

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Stop looking, and take it off the page."""
        if halt := getattr(self, "_halt", None):
            halt.set()
        super().close()

    def _draw(self, *parts: str) -> None:
        if not self._halt.is_set():
            self.value = self._head + "".join(parts)

    def _follow(self) -> None:
        table = ""
        for look in range(_PATIENCE):
            if self._halt.wait(_POLL_S[min(look, len(_POLL_S) - 1)]):
                return
            try:
                events = self._client.events(self._message_id)
            except Exception as fault:  # noqa: BLE001 - shown: a thread's error appears nowhere else
                self._draw(table, note(f"{told(fault)}\nLooking again …", "caution"))
                continue
            table = trail_table(events)
            if any(event.state in FINAL for event in events):
                self._draw(table)
                return
            self._draw(table, note("On its way …"))
        self._draw(table, note("Not final yet; vk.collect(client, archive) follows it further."))


class Unknown(w.HTML):  # type: ignore[misc]
    """A message of which nobody knows whether it went out: a box that is not overlooked."""

    def __init__(self, fault: UnknownOutcome) -> None:
        head = note("It is not known whether this message was sent.", "error")
        style = "border-left: 4px solid var(--jp-error-color1, #b3261e); padding: 4px 10px; font-weight: bold"
        why = str(fault)
        rest = f'<div style="font-weight: normal">{note(f"{why[:1].upper()}{why[1:]}.")}</div>'
        made = f'<div role="alert" style="{style}">{head}{rest}</div>'
        super().__init__(made, layout=w.Layout(margin=f"6px 2px 6px {INDENT}"))


def trail_table(events: Sequence[Event]) -> str:
    """The states of a message as an HTML table: when each was entered, and how long that took."""
    ordered = sorted(events, key=lambda event: (event.happened_at, rank(event.state)))
    if not ordered:
        return note("No state is told yet.")
    gaps = [None, *((after.happened_at - before.happened_at).total_seconds() for before, after in pairwise(ordered))]
    rows = []
    for event, gap in zip(ordered, gaps, strict=True):
        tone = {"delivered": "good", "seen": "good"}.get(event.state, "error" if _bad(event.state) else "quiet")
        state = note(f"{event.state} ({mask_numbers(event.code)})" if event.code else event.state, tone)
        at = f"{event.happened_at:%H:%M:%S}.{event.happened_at.microsecond // 1000:03d}"
        rows.append((state, at, "" if gap is None else f"+{gap:,.3f} s"))
    style = "padding: 1px 20px 1px 0; font-size: 12px; line-height: 1.4; background: none; border: 0"
    left, right = (f'style="{style}; text-align: {side}; font-weight: normal"' for side in ("left", "right"))
    day = f"{ordered[0].happened_at:%Y-%m-%d}"
    line = 'style="border-bottom: 1px solid var(--jp-border-color1, #bdbdbd)"'
    head = f"<tr {line}><th {left}>State</th><th {left}>{day}, UTC</th><th {right}>After</th></tr>"
    lines = [f"<tr><td {left}>{state}</td><td {left}>{at}</td><td {right}>{gap}</td></tr>" for state, at, gap in rows]
    table = "border-collapse: collapse; margin: 2px 0; font-variant-numeric: tabular-nums"
    return f'<table style="{table}"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'


def _bad(state: str) -> bool:
    return state in ("failed", "expired", "channel_failed")
