"""A view of delivery that follows filters."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as w
import pandas as pd

from viberkit.analysis.curves import delivery_curve, time_to
from viberkit.analysis.failure_codes import advise
from viberkit.analysis.formatting import duration, interval, percent
from viberkit.analysis.journeys import DELIVERY_PATH, journeys, transitions
from viberkit.analysis.latency import latency
from viberkit.analysis.windows import over_time
from viberkit.archive.archive import Archive
from viberkit.charts.curves import curve as draw_curve
from viberkit.charts.transitions import time_share as draw_time_share
from viberkit.charts.trends import over_time as draw_over_time
from viberkit.errors import escape as escape_controls
from viberkit.models.phone import mask_numbers
from viberkit.models.records import Event
from viberkit.widgets.drawing import chart_html, count_messages, describe_curve, figures_html, recorded_warnings
from viberkit.widgets.fields import close_widget, error_text, note
from viberkit.widgets.status import history_table
from viberkit.widgets.table import Table
from viberkit.widgets.unsaved import Html, TextInput

#: The columns that can be filtered by, and their labels.
_FILTERS = {
    "rate_type": "Rate type",
    "content_type": "Content",
    "country": "Country",
    "outcome": "Outcome",
    "campaign": "Campaign",
    "code": "Failure code",
}
_VIEWS = ("Delivery", "Transitions", "Over time", "Failures", "Messages", "Code")
_MOST_CHOICES = 50  # of a list; more are searched by text
_LONGEST_ANSWER = 20_000  # characters
_WITHIN_S = 60
_WINDOWS = {"5min": 300, "1h": 3_600, "6h": 21_600, "1d": 86_400, "1w": 604_800}
_MOST_WINDOWS, _FEWEST_MESSAGES = 72, 50  # per window, on average
_MISSING = object()  # the choice of messages without a value
_LAYOUT, _WIDE = {"width": "240px"}, {"width": "320px"}
_STYLE = {"description_width": "90px"}


@dataclass(frozen=True)
class Condition:
    """What a filter asks of a column: ``is``, ``missing``, ``contains``, ``from`` or ``before`` a value."""

    name: str
    kind: str
    value: Any = None

    def holds(self, frame: pd.DataFrame) -> Any:
        """Return for each row whether it holds."""
        column = frame[self.name]
        if self.kind == "missing":
            return column.isna()
        if self.kind == "contains":
            return column.astype("str").str.contains(self.value, case=False, regex=False).fillna(value=False)
        return {"is": column.eq, "from": column.ge, "before": column.lt}[self.kind](self.value)

    def code(self) -> str:
        """Return it as a Python expression of ``journeys``."""
        column, value = f"journeys[{self.name!r}]", repr(self.value)
        if self.kind == "missing":
            return f"{column}.isna()"
        if self.kind == "contains":
            return f'{column}.astype("str").str.contains({value}, case=False, regex=False).fillna(False)'
        return f"{column} {dict(zip(('is', 'from', 'before'), ('==', '>=', '<'), strict=True))[self.kind]} {value}"


class FrameData:
    """What an explorer reads, from a frame of events or an archive; another source has the same methods."""

    def __init__(self, source: pd.DataFrame | Archive) -> None:
        self.archive = source if isinstance(source, Archive) else None
        self._events = source.events() if isinstance(source, Archive) else source
        with recorded_warnings():
            self._journeys, self._transitions = journeys(self._events), transitions(self._events)
        if self.archive:
            messages = self.archive.messages()
            recipients = pd.Series(messages["to"].to_numpy(), index=messages["message_id"])
            self._journeys["to"] = recipients.reindex(self._journeys["message_id"]).to_numpy()
        starts = (state for state in DELIVERY_PATH[:3] if self._journeys[f"{state}_at"].notna().any())
        self.start = next(starts, "accepted")

    def counts(self, name: str) -> Mapping[Any, int]:
        """Return how often each value of a column occurs; none if there is no such column."""
        if name not in self._journeys:
            return {}
        column = self._journeys[name].astype(object)
        return column.where(column.notna(), None).value_counts(dropna=False).to_dict()

    def journeys(self, conditions: Sequence[Condition]) -> pd.DataFrame:
        """Return the journeys for which all conditions hold."""
        chosen = pd.Series(data=True, index=self._journeys.index)
        for condition in conditions:
            chosen &= condition.holds(self._journeys)
        return self._journeys[chosen]

    def latency(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return the latency of the transitions of some journeys."""
        steps = self._transitions
        if len(chosen) < len(self._journeys):
            steps = steps[steps["message_id"].isin(chosen["message_id"])]
        return latency(steps, quantiles=(0.5, 0.95))

    def history(self, message_id: str) -> list[Event]:
        """Return the events of a message."""
        events = self._events[self._events["message_id"] == message_id]
        codes = events["code"] if "code" in events else pd.Series(None, index=events.index, dtype="str")
        rows = zip(events["state"], pd.to_datetime(events["happened_at"], utc=True), codes, strict=True)
        return [
            Event(message_id, mask_numbers(str(state)), at, "", code=None if pd.isna(code) else str(code))
            for state, at, code in rows
            if not pd.isna(at)
        ]

    def code(self, conditions: Sequence[Condition], every: str) -> str:
        """Return Python code that computes and draws what the explorer shows."""
        start = "" if self.start == "accepted" else f", start={self.start!r}"
        lines = ["import viberkit as vk", "", *(["events = archive.events()"] if self.archive else [])]
        lines += ["journeys = vk.journeys(events)"]
        lines += [f"journeys = journeys[{condition.code()}]" for condition in conditions]
        lines += ["steps = vk.transitions(events)"]
        lines += ['steps = steps[steps["message_id"].isin(journeys["message_id"])]'] if conditions else []
        lines += ["", f"figures = vk.time_to(journeys, quantiles=(0.5, 0.95){start})"]
        lines += [f"curve = vk.delivery_curve(journeys{start})", "latency = vk.latency(steps, quantiles=(0.5, 0.95))"]
        lines += [f'windows = vk.over_time(journeys, every="{every}", within={_WITHIN_S}{start})']
        lines += ["codes = vk.advise(journeys)", "", "vk.charts.curve(curve)", "vk.charts.time_share(latency)"]
        return "\n".join([*lines, f"vk.charts.over_time(windows, within={_WITHIN_S})"])


class Explorer(w.VBox):  # type: ignore[misc]
    """Delivery of the messages that filters choose: key figures, charts, failure codes, and single messages.

    Parameters
    ----------
    source : DataFrame or Archive
        Events as ``vk.read_events`` and ``archive.events`` return them, or an archive, which adds masked recipients and
        the stored responses and callbacks of each message. It is read once.

    Attributes
    ----------
    filters : dict of str to widget
        The inputs, by column: lists with the numbers of messages, or texts to search for if there are more than 50
        values; ``from`` and ``before`` are times of acceptance.
    tabs : ipywidgets.Tab
        The views; a hidden one is computed when it is opened.

    Notes
    -----
    What changes is computed in a thread: of several changes, the last one is shown. Intervals allow for dependence
    between messages (:mod:`viberkit.analysis`).

    A saved notebook contains the choices of the filters, with phone numbers masked, and nothing else of the data.

    Examples
    --------
    >>> at = pd.to_datetime(["2026-03-01T09:00:00Z", "2026-03-01T09:00:02Z"] * 2)
    >>> events = pd.DataFrame({"message_id": list("aabb"), "state": ["accepted", "delivered"] * 2, "happened_at": at,
    ...     "rate_type": ["session"] * 2 + ["transaction"] * 2})
    >>> explorer = vk.widgets.Explorer(vk.read_events(events))
    >>> explorer.filters["rate_type"].value = "session"
    >>> explorer.wait(30)
    True
    >>> print(explorer.code().splitlines()[3])
    journeys = journeys[journeys['rate_type'] == 'session']
    >>> explorer.close()
    """

    def __init__(self, source: pd.DataFrame | Archive) -> None:
        self._data = FrameData(source)
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._wanted: tuple[Sequence[Condition], int] | None = None
        self._is_running = False
        self._shown: Sequence[Condition] | None = None
        self._journeys, self._drawn, self._is_timed = pd.DataFrame(), set[int](), False
        self.filters: dict[str, Any] = {}
        for name, label in _FILTERS.items():
            counts = self._data.counts(name)
            if len(counts) > _MOST_CHOICES:
                self.filters[name] = TextInput(description=label, placeholder="part of it", layout=_LAYOUT)
            elif len(counts) > 1:
                self.filters[name] = w.Dropdown(
                    description=label, options=_choices(counts), value="", layout=_LAYOUT, style=_STYLE
                )
        for name, label in (("from", "From (UTC)"), ("before", "Before (UTC)")):
            self.filters[name] = w.NaiveDatetimePicker(description=label, layout=_WIDE, style=_STYLE)
        self._status, self._figures = Html(role="status"), Html()
        self._htmls = [Html() for _ in _VIEWS]
        empty = pd.DataFrame()
        times: dict[str, Callable[[Any], str]] = {
            "p50": duration,
            "p95": duration,
            "Longest": duration,
            "Share of time": percent,
        }
        self._steps = Table(empty, caption="Transitions", formats=times)
        texts: dict[str, Callable[[Any], str]] = {"Code": mask_numbers, "Share": percent}
        self._codes = Table(empty, caption="Failure codes", formats=texts)
        self._started = f"{self._data.start.capitalize()} (UTC)"
        formats: dict[str, Callable[[Any], str]] = {"Delivered after": duration, self._started: _instant}
        formats |= dict.fromkeys(("Message", "Code", "Last state"), mask_numbers)
        self._messages = Table(empty, caption="Messages", formats=formats, choose="one")
        self._detail = Html()
        tables = {1: [self._steps], 3: [self._codes], 4: [self._messages, self._detail]}
        pages = [w.VBox([html, *tables.get(index, [])]) for index, html in enumerate(self._htmls)]
        self.tabs = w.Tab(pages, titles=_VIEWS)
        self.tabs.add_class("viberkit-tabs")
        for item in self.filters.values():
            item.observe(self._request, "value")
        self.tabs.observe(self._request, "selected_index")
        self._messages.observe(self._open, "chosen")
        filters = w.Box([*self.filters.values()], layout=w.Layout(flex_flow="row wrap"))
        parts = [filters, self._status, self._figures, self.tabs]
        super().__init__(parts, layout=w.Layout(max_width="880px", padding="4px"))
        self._request()

    def __repr__(self) -> str:
        return "Explorer()"  # the repr of a widget writes its traits

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until what is shown follows the filters.

        Parameters
        ----------
        timeout_s : float, optional
            Maximum number of seconds to wait; default no limit.

        Returns
        -------
        bool
            Whether it does.
        """
        return self._idle.wait(timeout_s)

    def code(self) -> str:
        """Return Python code that computes and draws what the filters choose, from ``events`` or ``archive``.

        Returns
        -------
        str
            The code. Phone numbers in values are masked.
        """
        conditions = self._conditions()
        return mask_numbers(self._data.code(conditions, self._window(self._data.journeys(conditions))))

    def close(self) -> None:
        """Remove the view."""
        if self.comm is not None:
            for part in (*self.children, self.layout):
                close_widget(part)
        super().close()

    def _conditions(self) -> list[Condition]:
        conditions = []
        for name, item in self.filters.items():
            value = item.value
            if name in ("from", "before"):
                if value is not None:
                    conditions.append(Condition(f"{self._data.start}_at", name, str(pd.Timestamp(value, tz="UTC"))))
            elif isinstance(item, TextInput):
                conditions += [Condition(name, "contains", value.strip())] if value.strip() else []
            elif item.index:  # the first one is all
                conditions.append(Condition(name, *(("missing",) if value is _MISSING else ("is", value))))
        return conditions

    def _request(self, _: object = None) -> None:
        """Have the views computed; a change that comes meanwhile replaces the one that waits."""
        with self._lock:
            self._wanted = self._conditions(), self.tabs.selected_index or 0
            self._idle.clear()
            if self._is_running:
                return
            self._is_running = True
        self._status.value = note("Updating …")
        threading.Thread(target=self._work, name="viberkit-explorer", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None:
                    self._is_running = False
                    self._idle.set()
                    return
            notes: list[str] = []
            try:
                with recorded_warnings() as notes:
                    self._show(*wanted)
                text = "".join(note(text) for text in notes)
            except Exception as error:  # noqa: BLE001 - shown in the view; nothing else shows a thread's error
                self._shown, text = None, note(error_text(error), "error")
            if self._wanted is None:
                self._status.value = text

    def _show(self, conditions: Sequence[Condition], view: int) -> None:
        """Show what conditions choose, unless something else is wanted by now."""
        if conditions != self._shown:
            self._shown, self._drawn = None, set()
            self._journeys = self._data.journeys(conditions)
            self._is_timed = bool(self._journeys[f"{self._data.start}_at"].notna().any())
            self._figures.value = self._key_figures()
            self._messages.chosen = []
            self._shown = conditions
        if view not in self._drawn and self._wanted is None:
            charts = [self._draw_curve, self._draw_steps, self._draw_windows]
            draw = [*charts, self._draw_codes, self._draw_messages, self._draw_code]
            if self._is_timed or view >= len(charts):
                self._htmls[view].value = draw[view]()
            else:
                self._htmls[view].value = note(f"No message with a time of {self._data.start!r}: change a filter.")
            self._drawn.add(view)

    def _key_figures(self) -> str:
        chosen, n = self._journeys, len(self._journeys)
        counts = chosen["outcome"].value_counts()
        figures = [("messages", f"{n:,}", "")]
        figures += [
            (name, f"{counts[name]:,}", percent(counts[name] / max(n, 1))) for name in ("delivered", "failed", "open")
        ]
        if not self._is_timed:
            return figures_html(figures)
        times = time_to(chosen, quantiles=(0.5, 0.95), start=self._data.start)
        for name, *estimate in zip(("p50", "p95"), times["value_s"], times["low_s"], times["high_s"], strict=True):
            value, _, limits = interval(*estimate).partition(" (")
            figures.append((f"{name} to delivered", value, limits.rstrip(")")))
        return figures_html(figures)

    def _draw_curve(self) -> str:
        curve = delivery_curve(self._journeys, start=self._data.start)
        return chart_html(draw_curve, curve, describe_curve(curve, len(self._journeys)))

    def _draw_steps(self) -> str:
        result = self._data.latency(self._journeys)
        median, p95 = (result[result["quantile"] == share].reset_index(drop=True) for share in (0.5, 0.95))
        steps = median["from_state"].astype("str") + " → " + median["to_state"].astype("str")
        columns = {"Transition": steps, "n": median["n"], "p50": median["value_s"], "p95": p95["value_s"]}
        columns |= {"Longest": median["max_s"], "Share of time": median["time_share"]}
        self._steps.show_frame(pd.DataFrame(columns))
        if not median["total_s"].sum():
            return note("The messages have no transitions that took time.")
        longest = int(median["time_share"].argmax())
        text = f"{percent(median['time_share'][longest])} of the time was spent from {median['from_state'][longest]}"
        return chart_html(draw_time_share, result, f"{text} to {median['to_state'][longest]}.")

    def _window(self, chosen: pd.DataFrame) -> str:
        at = chosen[f"{self._data.start}_at"].dropna()
        span_s = (at.max() - at.min()).total_seconds() if len(at) else 0.0
        lengths = (
            every
            for every, length_s in _WINDOWS.items()
            if span_s <= _MOST_WINDOWS * length_s and span_s * _FEWEST_MESSAGES <= len(at) * length_s
        )
        return next(lengths, "1w")

    def _draw_windows(self) -> str:
        every = self._window(self._journeys)
        result = over_time(self._journeys, every=every, within=_WITHIN_S, start=self._data.start)
        shares = result.dropna(subset="within_s").dropna(subset="share")
        text = f"{len(shares):,} windows of {duration(_WINDOWS[every])}"
        if len(shares):
            worst = shares.iloc[int(shares["share"].argmin())]
            text += f"; delivered within {duration(_WITHIN_S)}: {percent(worst['share'])}"
            text += f" ({worst['window_at']:%Y-%m-%d %H:%M} UTC) to {percent(shares['share'].max())}"
        return chart_html(draw_over_time, result, f"{text}.", within=_WITHIN_S)

    def _draw_codes(self) -> str:
        codes = advise(self._journeys)
        names = {"code": "Code", "n": "n", "share": "Share", "advice": "Advice", "why": "Reason"}
        self._codes.show_frame(codes[[*names]].rename(columns=names))
        return note(
            f"{count_messages(codes['n'].sum())} failed. Share is of these." if len(codes) else "No message failed."
        )

    def _draw_messages(self) -> str:
        chosen, start = self._journeys, self._data.start
        columns = {"Recipient": chosen["to"]} if "to" in chosen else {}
        columns |= {self._started: chosen[f"{start}_at"]}
        after_s = (chosen["delivered_at"] - chosen[f"{start}_at"]).dt.total_seconds()
        columns |= {"Last state": chosen["last_state"], "Delivered after": after_s}
        columns |= {"Code": chosen["code"], "Message": chosen["message_id"]}
        self._messages.show_frame(pd.DataFrame(columns))
        return ""

    def _draw_code(self) -> str:
        return f'<pre class="viberkit-code" tabindex="0" role="region" aria-label="Code">{escape(self.code())}</pre>'

    def _open(self, _: object) -> None:
        """Show the timeline and the stored answers of the chosen message."""
        try:
            self._detail.value = "".join(self._describe(label) for label in self._messages.chosen)
        except Exception as error:  # noqa: BLE001 - a notebook shows the error of a handler nowhere
            self._detail.value = note(error_text(error), "error")

    def _describe(self, label: Any) -> str:
        message_id = str(self._journeys["message_id"][label])
        to = f" to {self._journeys['to'][label]}" if "to" in self._journeys else ""
        parts = [f"<h4>{_text(message_id + to)}</h4>", history_table(self._data.history(message_id))]
        for row in self._data.archive.answers(message_id, unmask=True).itertuples() if self._data.archive else ():
            title = f"{row.kind}, HTTP {row.http_status}, received {_instant(row.received_at)} UTC"
            try:
                body = json.dumps(json.loads(str(row.body)), indent=2, ensure_ascii=False)
            except ValueError:
                body = str(row.body)
            shown = _text(body[:_LONGEST_ANSWER]) + ("…" if len(body) > _LONGEST_ANSWER else "")
            parts.append(f'<details><summary>{escape(title)}</summary><pre tabindex="0">{shown}</pre></details>')
        return f'<div class="viberkit-detail">{"".join(parts)}</div>'


def _choices(counts: Mapping[Any, int]) -> list[tuple[str, Any]]:
    """Return labels and values of a list; labels are part of the state that a notebook may save."""
    choices: list[tuple[str, Any]] = [(f"all ({sum(counts.values()):,})", "")]
    for value, n in counts.items():
        label = "missing" if pd.isna(value) else mask_numbers(escape_controls(str(value)))[:60]
        choices.append((f"{label} ({n:,})", _MISSING if pd.isna(value) else value))
    return choices


def _text(text: str) -> str:
    return escape(escape_controls(mask_numbers(text)))


def _instant(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
