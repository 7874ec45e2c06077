"""A stored campaign in its state: preview and confirmation, progress, unknown outcomes, result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from html import escape
from typing import Any

import ipywidgets as w
import pandas as pd

from viberkit.analysis.formatting import duration
from viberkit.api.client import Client
from viberkit.campaigns.campaign import MEANINGS, Campaign
from viberkit.errors import ArchiveError, Violation, quote
from viberkit.models.phone import mask_numbers
from viberkit.widgets.fields import Field, error_text, note, set_shown
from viberkit.widgets.files import Download
from viberkit.widgets.form import Form, button, buttons, section, show_errors
from viberkit.widgets.phone import message_html
from viberkit.widgets.table import Table
from viberkit.widgets.unsaved import Html

_REFRESH_S = 0.5
_LEFT = ("queued", "in_flight")


class CampaignView(Form):
    """What a campaign would send or has sent, and the buttons that send it.

    ``rows`` is the table of its recipients, if it was planned here; ``on_change`` is called when sending begins and
    ends.
    """

    def __init__(
        self, campaign: Campaign, client: Client, rows: pd.DataFrame, on_change: Callable[[], None], **options: Any
    ) -> None:
        super().__init__()
        self.layout.padding = "0"
        self._campaign, self._client, self._rows = campaign, client, rows
        self._on_change, self._options = on_change, options
        self._pause = threading.Event()
        self._sender: threading.Thread | None = None
        self.is_sending = False

        self.confirmation = Field("confirm", "Confirmation")
        self.decision = Field("decision", "Decision", options=("abandon", "resend"))
        self.reason = Field("reason", "Reason", "e.g. the customer did not get it")
        self.send_button = button("Send", self._confirm, "danger")
        self.pause_button = button("Pause", self._pause_sending, "primary")
        self.resume_button = button("Resume", self._resume, "primary")
        self.resolve_button = button("Decide", self._resolve, "danger")

        masked = {"value": mask_numbers, "rule": mask_numbers}
        self.problems = Table(campaign.problems, caption="Rows that are left out", formats=masked)
        self.counts = Table(pd.DataFrame(), caption="Messages by state")
        whole = {"row": "{:.0f}".format}
        self.messages = Table(pd.DataFrame(), caption="All messages", formats=whole)
        self.unknown = Table(pd.DataFrame(), caption="Messages that may have been sent", formats=whole, choose="many")
        self._facts, self._progress, self._previews = Html(role="status"), Html(), Html()
        select_all = button("Select all", lambda _: self.unknown.choose_all())
        left_out = w.VBox([self.problems, Download("left-out.csv", self._rows_left_out)])
        set_shown(left_out, len(campaign.problems))
        self._confirm_box = w.VBox([self._previews, self.confirmation.box, buttons(self.send_button)])
        self._preview = section("4. Check", self._facts, left_out, self._confirm_box)
        self._run = section("5. Sending", self._progress, buttons(self.pause_button, self.resume_button))
        decision = [self.decision.box, self.reason.box, buttons(self.resolve_button)]
        self._decide = section("Unknown outcomes", self.unknown, buttons(select_all), *decision)
        download = Download("messages.csv", campaign.messages)
        self._result = section("6. Result", self.counts, self.messages, download)
        self.children = [self._preview, self._run, self._message, self._decide, self._result]
        self.show()

    def show(self) -> None:
        """Show the campaign in its state."""
        status = self._campaign.status()
        states = {*status.counts}
        idle = not self.is_sending
        set_shown(self._preview, idle and ("planned" in states or not states))
        set_shown(self._run, self.is_sending or states & {*_LEFT})
        self.pause_button.disabled, self.resume_button.disabled = idle, not idle
        set_shown(self._decide, idle and "unknown" in states)
        set_shown(self._result, idle and states - {"planned", *_LEFT})
        self._show_progress(0, 0)
        if idle:
            self._show_preview()
            messages = self._campaign.messages().set_index("key")
            rows = [(state, n, MEANINGS[state], status.costs.get(state, "")) for state, n in status.counts.items()]
            self.counts.show_frame(pd.DataFrame(rows, columns=["state", "messages", "meaning", "cost"]))
            self.messages.show_frame(messages[["row", "to", "state", "message_id", "reason"]])
            self.unknown.show_frame(messages.loc[messages["state"] == "unknown", ["row", "to", "reason"]])

    def focus(self) -> None:
        self._facts.focus()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until sending has ended, or the time is over."""
        if self._sender is not None:
            self._sender.join(timeout_s)

    def close(self) -> None:
        """Stop sending once the messages in flight have an outcome, and remove the view."""
        self._pause.set()
        super().close()

    def _show_preview(self) -> None:
        shown = self._campaign.preview(3)
        facts = {
            "Messages to send": f"{shown.planned:,}",
            "Rows left out": f"{shown.problems['row'].nunique():,}",
            "Longest text": f"{shown.longest:,} characters",
            "Cost": shown.cost or "no price was given",
        }
        rows = "".join(f"<span>{name}</span> <b>{escape(value)}</b> " for name, value in facts.items())
        self._facts.value = f'<div class="viberkit-facts">{rows}</div>'
        sender, recipients = self._client.service_id or "", shown.sample["to"]
        pairs = zip(shown.contents, recipients, strict=True)
        phones = "".join(message_html(content, to=to, sender=sender) for content, to in pairs)
        confirm = f'<p class="viberkit-confirm">To send, type or paste <code>{escape(shown.confirm)}</code></p>'
        self._previews.value = f'<div class="viberkit-phones">{phones}</div>{confirm}'
        self.send_button.description = f"Send {shown.planned:,} messages"
        set_shown(self._confirm_box, shown.planned)

    def _rows_left_out(self) -> pd.DataFrame:
        """The rows that are left out, as they were read, with what is wrong with them."""
        problems = self._campaign.problems[["row", "field", "rule", "remedy"]]
        rows = self._rows.iloc[problems["row"] - 1].reset_index(drop=True)
        rows.columns = [f"{name} (recipients)" if name in problems else name for name in rows]
        return problems.join(rows)

    @show_errors
    def _confirm(self, _: object) -> None:
        typed, expected = self.confirmation.value, self._campaign.preview(0).confirm
        if typed == expected or self.is_sending:  # the second of two clicks
            self.confirmation.clear()
            self._start(typed)
            return
        self._show_preview()
        violation = Violation("confirm", quote(typed), "is not the text above", f"type or paste {expected!r}")
        self.confirmation.show_violations([violation], [])
        self.confirmation.input.focus()

    @show_errors
    def _resume(self, _: object) -> None:
        self._start(self._campaign.confirmed or "")

    @show_errors
    def _pause_sending(self, _: object) -> None:
        self._pause.set()
        if self.is_sending:
            self._report("Pausing: messages in flight are waited for.")

    def _start(self, confirm: str) -> None:
        if self.is_sending:
            return
        self.is_sending = True
        self._pause.clear()
        self._sender = threading.Thread(target=self._send_messages, args=(confirm,), name="viberkit-send")
        self._report("Sending.")
        self._sender.start()
        threading.Thread(target=self._follow, name="viberkit-progress", daemon=True).start()
        self.show()
        self._on_change()
        self.pause_button.focus()

    def _follow(self) -> None:
        """Show the progress while messages are sent; what sends them reports errors of the archive."""
        with suppress(ArchiveError):
            before, started = _settled(self._campaign.status().counts), time.monotonic()
            while self.is_sending:
                self._show_progress(before, time.monotonic() - started)
                time.sleep(_REFRESH_S)
            self._show_progress(0, 0)

    def _send_messages(self, confirm: str) -> None:
        """Send, and show the result. A kernel that is shut down waits for the messages in flight."""
        options = {"progress": False, "stop": self._pause.is_set, **self._options}
        try:
            status = self._campaign.send(self._client, confirm=confirm, **options)
        except BaseException as error:  # noqa: BLE001 - shown in the form
            result = error_text(error), "error"
        else:
            paused = self._pause.is_set() and "queued" in status.counts
            stopped = ("Paused.", "quiet") if paused else (f"Stopped: {status.stopped}", "caution")
            unknown = status.counts.get("unknown", 0)
            done = (f"Done. Decide about {unknown:,} below.", "caution") if unknown else ("Done.", "good")
            result = stopped if status.stopped else done
        self.is_sending = False
        self._show_result(*result)
        self._message.send({"keep_focus": True})

    @show_errors
    def _show_result(self, text: str, tone: str) -> None:
        self.show()
        self._on_change()
        self._report(text, tone)

    @show_errors
    def _resolve(self, _: object) -> None:
        missing = [] if self.reason.value else [Violation("reason", "", "is missing", "it is stored with the message")]
        self.reason.show_violations(missing, [])
        if missing:
            self.reason.input.focus()
        elif not self.unknown.chosen:
            self._report("Select messages first.", "error")
        else:
            count = self._campaign.resolve(self.unknown.chosen, self.decision.value, reason=self.reason.value)
            self.reason.clear()
            self.show()
            self._report(f"{count:,} decided: {self.decision.value}.", "good")
            self._message.focus()

    def _show_progress(self, settled_before: int, elapsed_s: float) -> None:
        counts = self._campaign.status().counts
        left = sum(counts.get(state, 0) for state in _LEFT)
        settled = _settled(counts)
        rate = (settled - settled_before) / elapsed_s if elapsed_s else 0
        text = f"{settled:,} of {settled + left:,} messages have an outcome"
        text += f", {rate:,.0f} per second, {duration(left / rate)} left" if rate > 0 else ""
        states = ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in counts.items())
        bar = f'<progress max="{settled + left}" value="{settled}"></progress>'
        self._progress.value = f'<label class="viberkit-progress">{text}{bar}</label>{note(states)}'


def _settled(counts: Mapping[str, int]) -> int:
    return sum(n for state, n in counts.items() if state not in ("planned", "requeued", *_LEFT))
