"""A view of delivery that follows filters."""

from __future__ import annotations

import ast
import json
import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import Any, NamedTuple

import ipywidgets as w
import numpy as np
import pandas as pd

from viberkit.analysis.curves import delivery_curve, time_to
from viberkit.analysis.failure_codes import advise
from viberkit.analysis.formatting import duration, interval, percent, percentile
from viberkit.analysis.journeys import DELIVERY_PATH, journeys, transitions
from viberkit.analysis.latency import latency
from viberkit.analysis.windows import over_time
from viberkit.archive.archive import Archive
from viberkit.charts.curves import curve as draw_curve
from viberkit.charts.transitions import time_share as draw_time_share
from viberkit.charts.trends import over_time as draw_over_time
from viberkit.errors import escape as escape_controls
from viberkit.lake.event_log import EventLog
from viberkit.models.phone import mask_numbers
from viberkit.models.records import Event
from viberkit.widgets.drawing import chart_html, count_messages, describe_curve, figures_html, recorded_warnings
from viberkit.widgets.fields import close_widget, error_text, note
from viberkit.widgets.status import history_table
from viberkit.widgets.table import Table
from viberkit.widgets.unsaved import Html, TextInput

#: The columns that can be filtered by, and their labels.
_FILTERS = {"rate_type": "Rate type", "content_type": "Content", "country": "Country", "outcome": "Outcome"}
_FILTERS |= {"campaign": "Campaign", "code": "Failure code"}
_VIEWS = ("Delivery", "Transitions", "Over time", "Failures", "Messages", "Code")
_CHARTS = 3  # the first views
_MOST_CHOICES = 50  # of a list; more are searched by text
_LONGEST_ANSWER = 20_000  # characters
_WITHIN_S = 60
_WINDOWS = {"5min": 300, "1h": 3_600, "6h": 21_600, "1d": 86_400, "1w": 604_800}
_MOST_WINDOWS, _FEWEST_MESSAGES = 72, 50  # per window, on average
_MISSING, _EMPTY = object(), object()  # the choices of messages without a value, and with an empty text
_LAYOUT, _WIDE, _STYLE = {"width": "240px"}, {"width": "320px"}, {"description_width": "90px"}
_FORMATS: dict[str, Callable[[Any], str]] = dict.fromkeys(("p50", "p95", "Longest", "Delivered after"), duration)
_FORMATS |= dict.fromkeys(("Share", "Share of time"), percent)
_FORMATS |= dict.fromkeys(("Transition", "Code", "Message", "Last state"), mask_numbers)
_FORMATS["Started (UTC)"] = _instant = "{:%Y-%m-%d %H:%M:%S}".format
#: What a filter can ask of a column: a function of the column and a value, and the same as code.
_CONDITIONS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "is": (operator.eq, "{} == {}"),
    "from": (operator.ge, "{} >= {}"),
    "before": (operator.lt, "{} < {}"),
    "missing": (lambda column, _: column.isna(), "{}.isna()"),
    "contains": (
        lambda column, text: column.astype("str").str.contains(text, case=False, regex=False).fillna(value=False),
        '{}.astype("str").str.contains({}, case=False, regex=False).fillna(False)',
    ),
}


class Condition(NamedTuple):
    """What a filter asks of a column."""

    column: str
    kind: str
    value: Any = None


class FrameData:
    """What an explorer reads, from a frame of events, an archive, or an event log, which has to fit into memory."""

    def __init__(self, source: pd.DataFrame | Archive | EventLog) -> None:
        self.archive = source if isinstance(source, Archive) else None
        self._origin = "# events: as passed to the explorer"
        if isinstance(source, Archive):
            self._events, self._origin = source.events(), "events = archive.events()"
        elif isinstance(source, EventLog):
            self._events, self._origin = source.to_frame(), "events = log.to_frame()"
        else:
            self._events = source
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
            chosen &= _CONDITIONS[condition.kind][0](self._journeys[condition.column], condition.value)
        return self._journeys[chosen]

    def latency(self, chosen: pd.DataFrame) -> pd.DataFrame:
        """Return the latency of the transitions of some journeys."""
        steps = self._transitions
        if len(chosen) < len(self._journeys):
            steps = steps[steps["message_id"].isin(chosen["message_id"])]
        return latency(steps, quantiles=(0.5, 0.95))

    def history(self, message_id: str) -> list[Event]:
        """Return the events of a message."""
        events = self._events[self._events["message_id"] == message_id].dropna(subset=["state", "happened_at"])
        codes = [None if pd.isna(code) else str(code) for code in events.get("code", [None] * len(events))]
        rows = zip(events["state"], pd.to_datetime(events["happened_at"], utc=True), codes, strict=True)
        return [Event(message_id, mask_numbers(str(state)), at, "", code=code) for state, at, code in rows]

    def answers(self, message_id: str) -> Sequence[Mapping[Any, Any]]:
        """Return what was received about a message, as rows of ``archive.answers``."""
        rows = self.archive.answers(message_id, unmask=True) if self.archive else pd.DataFrame()
        return rows.to_dict("records")

    def code(self, conditions: Sequence[Condition], every: str) -> str:
        """Return Python code that computes and draws what the explorer shows."""
        start = "" if self.start == "accepted" else f", start={self.start!r}"
        ids = (repr(message_id) for message_id in self.journeys(conditions)["message_id"])
        example = next((message_id for message_id in ids if mask_numbers(message_id) == message_id), None)
        filters = []
        for name, kind, value in conditions:
            same = f'journeys.set_index("message_id")[{name!r}][{example}]' if example and kind == "is" else ""
            filters.append(_CONDITIONS[kind][1].format(f"journeys[{name!r}]", _as_code(value, same)))
        steps = 'steps = steps[steps["message_id"].isin(journeys["message_id"])]\n' if filters else ""
        return (
            "import viberkit as vk\n\n"
            f"{self._origin}\n"
            f"journeys = vk.journeys(events)\n{''.join(f'journeys = journeys[{item}]{chr(10)}' for item in filters)}"
            f"steps = vk.transitions(events)\n{steps}\n"
            f"figures = vk.time_to(journeys, quantiles=(0.5, 0.95){start})\n"
            f"curve = vk.delivery_curve(journeys{start})\n"
            "latency = vk.latency(steps, quantiles=(0.5, 0.95))\n"
            f'windows = vk.over_time(journeys, every="{every}", within={_WITHIN_S}{start})\n'
            "codes = vk.advise(journeys)\n\n"
            "vk.charts.curve(curve)\nvk.charts.time_share(latency)\n"
            f"vk.charts.over_time(windows, within={_WITHIN_S})"
        )


class Explorer(w.VBox):  # type: ignore[misc]
    """Delivery of the messages that filters choose: key figures, charts, failure codes, and single messages.

    Parameters
    ----------
    source : DataFrame, Archive or EventLog
        Events as ``vk.read_events`` and ``archive.events`` return them; an archive, which adds masked recipients and
        the stored responses and callbacks of each message; or an event log, whose events have to fit into memory, such
        as ``log.where(since="2026-03-01")``. It is read once.

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
    >>> print(explorer.code().splitlines()[4])
    journeys = journeys[journeys['rate_type'] == 'session']
    >>> explorer.close()
    """

    def __init__(self, source: pd.DataFrame | Archive | EventLog) -> None:
        self._data = FrameData(source)
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._requested: tuple[Sequence[Condition], int] | None = None
        self._is_running = False
        self._shown: Sequence[Condition] | None = None
        self._journeys, self._drawn, self._is_timed = pd.DataFrame(), set[int](), False
        self.filters: dict[str, Any] = {}
        for name, label in _FILTERS.items():
            counts = self._data.counts(name)
            if len(counts) > _MOST_CHOICES:
                self.filters[name] = TextInput(description=label, placeholder="part of it", layout=_LAYOUT)
            elif len(counts) > 1:
                choices = {"description": label, "options": _choices(counts), "value": ""}
                self.filters[name] = w.Dropdown(**choices, layout=_LAYOUT, style=_STYLE)
        for name in ("from", "before"):
            label = f"{name.capitalize()} (UTC)"
            self.filters[name] = w.NaiveDatetimePicker(description=label, layout=_WIDE, style=_STYLE)
        self._status, self._figures, self._detail = Html(role="status"), Html(), Html()
        self._htmls = [Html() for _ in _VIEWS]
        self._steps, self._codes, self._messages = (
            Table(pd.DataFrame(), caption=caption, formats=_FORMATS, choose="one" if caption == "Messages" else "")
            for caption in ("Transitions", "Failure codes", "Messages")
        )
        tables = {1: [self._steps], 3: [self._codes], 4: [self._messages, self._detail]}
        pages = [w.VBox([html, *tables.get(index, [])]) for index, html in enumerate(self._htmls)]
        self.tabs = w.Tab(pages, titles=_VIEWS)
        self.tabs.add_class("viberkit-tabs")
        for item in self.filters.values():
            item.observe(self._request, "value")
        self.tabs.observe(self._request, "selected_index")
        self._messages.observe(self._open, "chosen")
        filters = w.Box([*self.filters.values()], layout=w.Layout(flex_flow="row wrap"))
        filters.add_class("viberkit-filters")
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
            The code. A value with a phone number is that of a message; in a text to search for, the number is masked.
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
            value = item.value.strip() if isinstance(item, TextInput) else item.value
            if name in ("from", "before") and value is not None:
                conditions.append(Condition(f"{self._data.start}_at", name, str(pd.Timestamp(value, tz="UTC"))))
            elif isinstance(item, TextInput) and value:
                conditions.append(Condition(name, "contains", value))
            elif isinstance(item, w.Dropdown) and item.index:  # the first one is all
                is_missing, text = value is _MISSING, "" if value is _EMPTY else value
                conditions.append(Condition(name, "missing") if is_missing else Condition(name, "is", text))
        return conditions

    def _request(self, _: object = None) -> None:
        """Have the views computed; a change that comes meanwhile replaces the one that waits."""
        with self._lock:
            self._requested = self._conditions(), self.tabs.selected_index or 0
            self._idle.clear()
            if self._is_running:
                return
            self._is_running = True
        self._status.value = note("Updating …")
        threading.Thread(target=self._work, name="viberkit-explorer", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                requested, self._requested = self._requested, None
                if requested is None:
                    self._is_running = False
                    self._idle.set()
                    return
            notes: list[str] = []
            try:
                with recorded_warnings() as notes:
                    self._show(*requested)
                text = "".join(note(text) for text in notes)
            except Exception as error:  # noqa: BLE001 - shown in the view; nothing else shows a thread's error
                self._shown, text = None, note(error_text(error), "error")
            if self._requested is None:
                self._status.value = text

    def _show(self, conditions: Sequence[Condition], view: int) -> None:
        """Show what conditions choose, unless something else is requested by now."""
        if conditions != self._shown:
            self._shown, self._drawn = None, set()
            self._journeys = self._data.journeys(conditions)
            self._is_timed = bool(self._journeys[f"{self._data.start}_at"].notna().any())
            self._figures.value = self._key_figures()
            self._messages.chosen = []
            self._shown = conditions
        if view not in self._drawn and self._requested is None:
            draw = [self._draw_curve, self._draw_steps, self._draw_windows, self._draw_codes, self._draw_messages]
            if not self._is_timed and view < _CHARTS:
                self._htmls[view].value = note(f"No message with a time of {self._data.start!r}: change a filter.")
            else:
                self._htmls[view].value = [*draw, self._draw_code][view]()
            self._drawn.add(view)

    def _key_figures(self) -> str:
        chosen, n = self._journeys, len(self._journeys)
        counts = chosen["outcome"].value_counts()
        outcomes = [(name, int(counts[name])) for name in ("delivered", "failed", "open")]
        figures = [("messages", f"{n:,}", ""), *((name, f"{m:,}", percent(m / max(n, 1))) for name, m in outcomes)]
        if self._is_timed:
            times = time_to(chosen, quantiles=(0.5, 0.95), start=self._data.start)
            for share, *estimate in times[["quantile", "value_s", "low_s", "high_s"]].to_numpy():
                value, _, limits = interval(*estimate).partition(" (")
                figures.append((f"{percentile(share)} to delivered", value, limits.rstrip(")")))
        return figures_html(figures)

    def _draw_curve(self) -> str:
        curve = delivery_curve(self._journeys, start=self._data.start)
        return chart_html(draw_curve, curve, describe_curve(curve, self._journeys["outcome"]))

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
        n = int(codes["n"].sum())
        return note(f"{count_messages(n)} failed. Share is of these." if n else "No message failed.")

    def _draw_messages(self) -> str:
        chosen = self._journeys
        started = chosen[f"{self._data.start}_at"]
        columns = {"Recipient": chosen["to"]} if "to" in chosen else {}
        columns |= {"Started (UTC)": started, "Last state": chosen["last_state"]}
        columns |= {"Delivered after": (chosen["delivered_at"] - started).dt.total_seconds()}
        self._messages.show_frame(pd.DataFrame(columns | {"Code": chosen["code"], "Message": chosen["message_id"]}))
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
        row = self._data.journeys(()).loc[label]
        message_id, to = str(row["message_id"]), f" to {row['to']}" if "to" in row else ""
        parts = [f"<h4>{_text(message_id + to)}</h4>", history_table(self._data.history(message_id))]
        for answer in self._data.answers(message_id):
            title = f"{answer['kind']}, HTTP {answer['http_status']}, received {_instant(answer['received_at'])} UTC"
            body = answer["body"]
            with suppress(ValueError):
                body = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
            shown = _text(body[:_LONGEST_ANSWER]) + ("…" if len(body) > _LONGEST_ANSWER else "")
            parts.append(f'<details><summary>{escape(title)}</summary><pre tabindex="0">{shown}</pre></details>')
        return f'<div class="viberkit-detail">{"".join(parts)}</div>'


def _choices(counts: Mapping[Any, int]) -> list[tuple[str, Any]]:
    """Return labels and values of a list; labels are part of the state that a notebook may save."""
    choices: list[tuple[str, Any]] = [(f"all ({sum(counts.values()):,})", "")]
    for value, n in counts.items():
        label = "missing" if pd.isna(value) else mask_numbers(escape_controls(str(value)))[:60]
        choices.append((f"{label} ({n:,})", _MISSING if pd.isna(value) else _EMPTY if value == "" else value))
    return choices


def _as_code(value: Any, same: str) -> str:
    """Return a value as code; ``same``, which has this value, if it has no literal or contains a phone number."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    with suppress(ValueError, SyntaxError):
        if mask_numbers(text) == text and ast.literal_eval(text) == value:
            return text
    return same or repr(mask_numbers(str(value)))


def _text(text: str) -> str:
    return escape(escape_controls(mask_numbers(text)))
