"""Explorer driven from code: filters, figures, its code, single messages, and what remains in saved state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from support.archives import record_callback
from support.faults import FaultySandbox
from support.hostile import HOSTILE

import viberkit as vk
from viberkit.models.callback import Callback
from viberkit.widgets.explorer import Explorer

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)
NUMBER = "+491701234567"
VIEWS = {"Delivery": 0, "Transitions": 1, "Over time": 2, "Failures": 3, "Messages": 4, "Code": 5}
NAMES = ("it's", 'a "quoted" name', "tab\tand\nline", "back\\slash", "café {x} %s")


def make_events(n: int = 300, **columns: Any) -> pd.DataFrame:
    """Events of messages over a day; each third fails, each seventh is open."""
    rng = np.random.default_rng(1)
    ids = [f"m{number}" for number in range(n)]
    accepted = pd.Timestamp(NOW) + pd.to_timedelta(np.sort(rng.random(n) * 86_400), unit="s")
    ended = accepted + pd.to_timedelta(np.exp(rng.normal(1, 1, n)), unit="s")
    failed, is_open = np.arange(n) % 3 == 0, np.arange(n) % 7 == 0
    codes = np.where(failed & ~is_open, np.where(np.arange(n) % 2, "NOT_VIBER_USER", "TIMEOUT"), None)
    first = pd.DataFrame({"message_id": ids, "state": "accepted", "happened_at": accepted})
    last = pd.DataFrame({"message_id": ids, "state": np.where(failed, "failed", "delivered"), "happened_at": ended})
    facts = pd.DataFrame({
        "message_id": ids,
        "rate_type": rng.choice(["transaction", "promotion", None], n),
        "campaign": rng.choice(NAMES, n),
        "observed_until": pd.Timestamp(NOW) + timedelta(days=2),
        **columns,
    })  # fmt: skip
    events = pd.concat([first, last.assign(code=codes)[~is_open]])
    return vk.read_events(events.merge(facts, on="message_id"))


@pytest.fixture
def explorers() -> Iterator[list[Explorer]]:
    opened: list[Explorer] = []
    yield opened
    for explorer in opened:
        explorer.close()


def explore(explorers: list[Explorer], source: pd.DataFrame | vk.Archive | vk.EventLog) -> Explorer:
    explorers.append(Explorer(source))
    return ready(explorers[-1])


def ready(explorer: Explorer) -> Explorer:
    assert explorer.wait(60)
    assert "✗" not in explorer._status.value, explorer._status.value
    return explorer


def view(explorer: Explorer, name: str) -> str:
    """The HTML of a view after it was opened."""
    explorer.tabs.selected_index = VIEWS[name]
    return ready(explorer)._htmls[VIEWS[name]].value


def choose(explorer: Explorer, **values: Any) -> None:
    for name, value in values.items():
        explorer.filters[name.rstrip("_")].value = value
    ready(explorer)


def naive(*parts: int) -> datetime:
    """A time of January 2026 without a zone, as the inputs have it."""
    return datetime(2026, 1, *parts, tzinfo=UTC).replace(tzinfo=None)


def option(explorer: Explorer, name: str, label: str) -> Any:
    """The value of the choice whose label begins with a text."""
    return next(value for text, value in explorer.filters[name].options if text.startswith(label))


def saved_state() -> str:
    return json.dumps(w.Widget.get_manager_state(), ensure_ascii=False, default=str)


def table(widget: Any) -> list[list[str]]:
    return [row["cells"] for row in widget.page_content["rows"]]


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return make_events()


def test_only_columns_with_several_values_are_filters(explorers: list[Explorer]) -> None:
    explorer = explore(explorers, make_events(country="DE", content_type=["text", "image"] * 150))
    assert list(explorer.filters) == [
        "rate_type", "content_type", "outcome", "campaign", "code", "from", "before"
    ]  # fmt: skip
    labels = [label for label, _ in explorer.filters["content_type"].options]
    assert labels == ["all (300)", "text (150)", "image (150)"]


CHOICES: list[dict[str, Any]] = [
    {},
    {"rate_type": "transaction"},
    {"rate_type": "missing"},
    {"outcome": "delivered", "campaign": NAMES[0]},
    *({"campaign": name} for name in NAMES[1:]),
    {"from_": naive(5, 12), "before": naive(6, 1, 30)},
    {"code": "TIMEOUT"},
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("values", CHOICES, ids=map(str, CHOICES))
def test_the_code_computes_what_is_shown(
    explorers: list[Explorer], events: pd.DataFrame, values: dict[str, Any]
) -> None:
    explorer = explore(explorers, events)
    for name, value in values.items():
        choose(explorer, **{name: option(explorer, name, "missing") if value == "missing" else value})
    variables: dict[str, Any] = {"events": events}
    exec(explorer.code(), variables)
    plt.close("all")
    chosen = variables["journeys"]
    assert 0 < len(chosen) <= len(events)
    assert (len(chosen) < 300) == bool(values)
    figures = explorer._figures.value
    assert f"<b>{len(chosen):,}</b>" in figures
    for row in variables["figures"]["summary"]:
        assert row.split(" (")[0].split(" ", 1)[1] in figures
    assert f"{len(chosen):,} messages" in view(explorer, "Delivery")
    view(explorer, "Transitions")
    assert sum(int(cells[1]) for cells in table(explorer._steps)) == variables["latency"]["n"].sum() / 2
    view(explorer, "Failures")
    assert [cells[0] for cells in table(explorer._codes)] == variables["codes"]["code"].tolist()
    n_windows = variables["windows"]["window_at"].nunique()
    assert f"{n_windows} windows" in view(explorer, "Over time")
    assert "vk.delivery_curve" in view(explorer, "Code")
    view(explorer, "Messages")
    assert explorer._messages.page_content["total"] == len(chosen)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "value", [NUMBER, int(NUMBER), f"from {NUMBER}", np.int64(5), np.inf, pd.Timestamp(NOW), ("a", 1), "", "all (300)"]
)
def test_the_code_runs_for_values_of_any_type(explorers: list[Explorer], value: Any) -> None:
    names = pd.Series([value, "another"] * 150, dtype=object)
    explorer = explore(explorers, make_events(campaign=names))
    choose(explorer, campaign=explorer.filters["campaign"].options[1][1])
    assert "<b>150</b>" in explorer._figures.value
    code = explorer.code()
    variables: dict[str, Any] = {"events": make_events(campaign=names)}
    exec(code, variables)
    plt.close("all")
    assert variables["journeys"]["campaign"].tolist() == [value] * 150
    assert NUMBER[1:] not in code


def test_many_values_are_searched_by_text(explorers: list[Explorer]) -> None:
    events = make_events(campaign=[f"Week {number % 60:02} (+)" for number in range(300)])
    explorer = explore(explorers, events)
    choose(explorer, campaign=" week 0")
    variables: dict[str, Any] = {"events": events}
    exec(explorer.code(), variables)
    plt.close("all")
    assert len(variables["journeys"]) == 50
    assert "<b>50</b>" in explorer._figures.value
    choose(explorer, campaign="(+")
    assert "<b>300</b>" in explorer._figures.value
    choose(explorer, campaign="[")
    assert "<b>0</b>" in explorer._figures.value
    assert "change a filter" in view(explorer, "Delivery")
    assert "No message failed" in view(explorer, "Failures")


def test_the_last_of_several_changes_is_shown(explorers: list[Explorer], events: pd.DataFrame) -> None:
    explorer = explore(explorers, events)
    shown: list[str] = []
    explorer._figures.observe(lambda change: shown.append(change["new"]), "value")
    for _ in range(50):
        for value in ("transaction", "promotion"):
            explorer.filters["rate_type"].value = value
    ready(explorer)
    assert len(shown) < 50, "stale changes are left out"
    n = (vk.journeys(events)["rate_type"] == "promotion").sum()
    assert f"<b>{n}</b>" in explorer._figures.value
    assert f"{n} messages" in view(explorer, "Delivery")


def test_hidden_views_are_drawn_when_opened(explorers: list[Explorer], events: pd.DataFrame) -> None:
    explorer = explore(explorers, events)
    assert [bool(html.value) for html in explorer._htmls] == [True] + [False] * 5
    assert "<svg" in view(explorer, "Over time")
    choose(explorer, outcome="delivered")
    before = explorer._htmls[0].value
    assert view(explorer, "Delivery") != before


def test_errors_are_shown_until_the_next_success(explorers: list[Explorer], events: pd.DataFrame) -> None:
    explorer = explore(explorers, events)
    complete = explorer._data._journeys
    explorer._data._journeys = complete.drop(columns="observed_until")
    explorer.filters["outcome"].value = "failed"
    assert explorer.wait(30)
    assert "✗" in explorer._status.value
    assert "observed_until" in explorer._status.value
    explorer._data._journeys = complete
    choose(explorer, outcome="delivered")


def test_warnings_are_notes(explorers: list[Explorer]) -> None:
    events = make_events(60)
    explorer = explore(explorers, events[~((events["message_id"] == "m1") & (events["state"] == "accepted"))])
    assert "dropped 1 of 60 messages" in explorer._status.value


def test_one_message_of_an_archive(explorers: list[Explorer], sandbox: FaultySandbox, archive: vk.Archive) -> None:
    with sandbox.client(archive=archive) as client:
        sent = client.send(NUMBER, vk.Text("Hi"), rate_type="session")
        sandbox.advance(hours=1)
        client.message(sent.message_id)
        vk.collect(client, archive, progress=False)
    call = {"messageId": sent.message_id, "event": "MessageStatus::seen", "timestamp": sandbox.now.isoformat()}
    archive.recorder.record_callbacks([Callback(json.dumps(call | {"sender": NUMBER}).encode(), sandbox.now)])
    explorer = explore(explorers, archive)
    assert list(explorer.filters) == ["from", "before"]
    for name in VIEWS:
        view(explorer, name)
    (row,) = explorer._messages.page_content["rows"]
    assert row["cells"][0] == "+4917*****67"
    explorer._messages.handle({"row": row["key"], "chosen": True})
    detail = explorer._detail.value
    assert f"{sent.message_id} to +4917*****67" in detail
    assert "delivered" in detail
    for kind in ("send", "message", "events", "callback"):
        assert f"<summary>{kind}, HTTP 20" in detail
    assert NUMBER[1:] not in detail + saved_state() + explorer._status.value
    variables: dict[str, Any] = {"archive": archive}
    exec(explorer.code(), variables)
    plt.close("all")
    assert len(variables["journeys"]) == 1
    explorer._messages.handle({"row": row["key"], "chosen": False})
    assert not explorer._detail.value


def test_an_empty_archive(explorers: list[Explorer], archive: vk.Archive) -> None:
    explorer = explore(explorers, archive)
    for name in VIEWS:
        view(explorer, name)
    assert "<b>0</b>" in explorer._figures.value
    assert "No message" in explorer._htmls[0].value


def test_callbacks_without_acceptance(explorers: list[Explorer], archive: vk.Archive) -> None:
    for number in range(20):
        for seconds, state in ((0, "dispatched"), (2, "delivered")):
            at = NOW + timedelta(seconds=60 * number + seconds)
            body = {"messageId": f"m{number}", "event": f"MessageStatus::{state}", "timestamp": at.isoformat()}
            record_callback(archive, json.dumps(body).encode(), at)
    explorer = explore(explorers, archive)
    assert "half were delivered within 2 s" in view(explorer, "Delivery")
    choose(explorer, from_=naive(5, 8, 10))
    variables: dict[str, Any] = {"archive": archive}
    exec(explorer.code(), variables)
    plt.close("all")
    assert len(variables["journeys"]) == 10
    view(explorer, "Messages")
    assert table(explorer._messages)[0][1] == "2026-01-05 08:10:00"


@pytest.mark.slow
def test_hostile_values_are_shown_as_text(explorers: list[Explorer]) -> None:
    n = len(HOSTILE)
    texts = [*HOSTILE[: n - 1], f"call {NUMBER}"]
    at = pd.Timestamp(NOW) + pd.to_timedelta(np.arange(n), unit="s")
    events = pd.DataFrame({
        "message_id": [f"{number} {text}" for number, text in enumerate(texts)] * 2,
        "state": ["accepted"] * n + [text or "failed" for text in texts],
        "happened_at": [*at, *(at + pd.Timedelta("1s"))],
        "rate_type": [texts[number % 30] for number in range(n)] * 2,
        "campaign": [texts[-1 - number % 40] for number in range(n)] * 2,
        "code": texts * 2,
    })  # fmt: skip
    events = pd.concat([events, events.tail(n).assign(state="failed", happened_at=at + pd.Timedelta("2s"))])
    explorer = explore(explorers, vk.read_events(events))
    everything = explorer._status.value + explorer._figures.value
    for name in VIEWS:
        everything += view(explorer, name)
    for row in [dict(row) for row in explorer._messages.page_content["rows"]]:
        explorer._messages.handle({"row": row["key"], "chosen": True})
        everything += explorer._detail.value
    for _, value in explorer.filters["rate_type"].options[:6]:
        choose(explorer, rate_type=value)
        everything += explorer._htmls[5].value + explorer._figures.value
    assert not [text for text in HOSTILE if "<" in text and text in everything.replace("<svg", "")]
    tables = json.dumps([item.page_content for item in (explorer._steps, explorer._codes, explorer._messages)])
    assert NUMBER[1:] not in everything + tables + saved_state()


def test_arguments(explorers: list[Explorer]) -> None:
    before = set(w.Widget.get_manager_state()["state"])
    with pytest.raises(vk.errors.MissingColumn, match="message_id"):
        Explorer(pd.DataFrame({"x": [1]}))
    explorer = Explorer(make_events(30))
    assert repr(explorer) == "Explorer()"
    ready(explorer)
    explorer.close()
    assert set(w.Widget.get_manager_state()["state"]) == before


def test_an_event_log_is_shown_like_its_events(explorers: list[Explorer], archive: vk.Archive, tmp_path: Path) -> None:
    with vk.Sandbox(seed=3, speed=0) as sandbox, sandbox.client(archive=archive) as client:
        for number in range(12):
            client.send(f"+4917012345{number:02}", vk.Text("Hi"), rate_type=("session", "transaction")[number % 2])
        sandbox.advance(hours=1)
        vk.collect(client, archive, progress=False)
    vk.export(archive, tmp_path / "lake")
    log = vk.EventLog(tmp_path / "lake" / "events")
    shown, expected = explore(explorers, log), explore(explorers, archive.events())
    choose(shown, rate_type="session")
    choose(expected, rate_type="session")
    assert shown._figures.value == expected._figures.value
    variables: dict[str, Any] = {"log": log}
    exec(shown.code(), variables)
    assert len(variables["journeys"]) == 6
