"""The report: its answers, its sections, what it says where something is missing, and what it never contains."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.hostile import CANARY, HOSTILE, hostile_logs

import viberkit as vk
from viberkit.reporting.document import Report
from viberkit.reporting.log import Log

ROOT = Path(__file__).parents[2]
PRICES = {"promotion": 0.05, "transaction": 0.02, "sms": 0.08}
ELEMENTS = set(
    "html head meta title style body header main section footer nav div h1 h2 p em a ul li dl dt dd figure figcaption "
    "table caption thead tbody tr th td svg g defs path use text tspan clippath rect image".split()
)
SECTIONS = ["delivery", "time_spent", "over_time", "groups", "failures", "fallback", "cost", "quality", "methods"]


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    """A part of the campaign."""
    events = vk.read_events(ROOT / "data/campaign/events.parquet")
    return events[events["message_id"].isin(events["message_id"].unique()[::25])]


@pytest.fixture(scope="module")
def priced(events: pd.DataFrame) -> Report:
    """The report of the part, with prices."""
    return vk.report(events, prices=PRICES)


class Page(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def ids(self, tag: str) -> list[str | None]:
        return [attributes.get("id") for name, attributes in self.elements if name == tag]


def errors(report: object) -> list[str]:
    return re.findall(r'class="error">([^<]*)', report.html)  # type: ignore[attr-defined]


def test_it_answers_first_and_has_every_section(events: pd.DataFrame, tmp_path: Path) -> None:
    report = vk.report(events, out=tmp_path / "r.html", prices=PRICES, compare=True, tz="Europe/Berlin", title="Week 3")
    journeys = vk.journeys(events)
    assert report.path == tmp_path / "r.html"
    assert report.path.read_text(encoding="utf-8") == report.html
    assert errors(report) == []
    page = Page(report.html)
    assert page.ids("section") == ["comparison", *SECTIONS]
    assert (page.count("h1"), page.count("main"), page.count("svg"), page.count("script")) == (1, 1, 7, 0)
    assert page.count("caption") == page.count("table")
    assert all(attributes.get("aria-label") for name, attributes in page.elements if name == "svg")
    assert all(attributes.get("scope") for name, attributes in page.elements if name == "th")
    how_long, verdict, matters, against = report.answers
    assert how_long.startswith("Half of the messages were delivered within ")
    assert "was missed" in verdict
    assert "NOT_VIBER_USER" in matters
    assert "SMS fallback waits" in matters
    assert against.startswith("Against the period before, 2026-01-06 ")
    assert report.html.index(how_long.split(" (")[0].replace(" s", "\u00a0s")) < report.html.index("<section")
    half = journeys[journeys["accepted_at"] >= report.results.begin]
    figures = report.to_frame().set_index("figure")
    assert figures.loc["sent", "value"] == len(half)
    expected = vk.time_to(half).set_index("quantile")
    assert (
        figures.loc["p50_s", ["value", "low", "high"]].tolist()
        == expected.loc[0.5, ["value_s", "low_s", "high_s"]].tolist()
    )
    slo = vk.slo(half, every=None).iloc[0]
    assert figures.loc["share_within", ["value", "low", "high"]].tolist() == slo[["share", "low", "high"]].tolist()


def test_it_shows_the_figures_of_the_functions(events: pd.DataFrame, priced: Report) -> None:
    results = priced.results
    journeys = vk.journeys(events)
    pd.testing.assert_frame_equal(results.delivery_curve, vk.delivery_curve(journeys))
    pd.testing.assert_frame_equal(results.promise_by_window, vk.slo(journeys, every=results.every))
    pd.testing.assert_frame_equal(results.failures, vk.advise(journeys))
    pd.testing.assert_frame_equal(results.cost, vk.cost(journeys, prices=PRICES))
    price = vk.cost(journeys, prices=PRICES)["charged"].sum() / len(journeys)
    waits = vk.fallback(journeys, viber_price=price, sms_price=0.08)
    pd.testing.assert_frame_equal(results.fallback, waits)
    quality = vk.quality(events)
    assert set(results.quality["check"]) == set(quality.loc[quality["count"] > 0, "check"])
    names, _, promise, number = results.groups
    assert (names, number) == (["promotion", "transaction"], 2)
    pd.testing.assert_frame_equal(promise, vk.slo(journeys, by="rate_type", every=None))


def test_the_page_loads_nothing(priced: Report) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in priced.html
    for _, attributes in Page(priced.html).elements:
        assert not {"src", "srcset", "action", "data", "style-src"} & set(attributes)
        assert all(str(attributes[name]).startswith("#") for name in ("href", "xlink:href") if name in attributes)
    assert not re.search(r"@import|url\((?!#)", priced.html)
    assert len(priced.html) < 500_000
    assert priced._repr_html_().startswith("<iframe sandbox srcdoc=")


@pytest.mark.parametrize("chosen", ["none", "one", "delivered", "failed", "accepted"])
def test_unusual_logs_have_a_sensible_report(events: pd.DataFrame, chosen: str) -> None:
    journeys = vk.journeys(events)
    ids = {"none": [], "one": events["message_id"].unique()[:1], "accepted": events["message_id"]}
    ids |= {name: journeys.loc[journeys["outcome"] == name, "message_id"] for name in ("delivered", "failed")}
    log = events[events["message_id"].isin(ids[chosen])]
    report = vk.report(log[log["state"] == "accepted"] if chosen == "accepted" else log, prices=PRICES)
    assert errors(report) == []
    answer = {
        "none": "The log contains no message.",
        "accepted": "The time by which half of the messages are delivered is not known yet: too many are still open.",
        "failed": "Fewer than half of the messages were delivered.",
    }.get(chosen, "Half of the messages were delivered within ")
    assert report.answers[0].startswith(answer)
    assert Page(report.html).ids("section") == (["methods"] if chosen == "none" else SECTIONS)
    if chosen in ("one", "delivered"):
        assert report.answers[2].startswith("No message failed")


def test_a_section_that_fails_says_why_and_the_others_are_there(events: pd.DataFrame) -> None:
    report = vk.report(events, prices={"transaction": 0.02, "sms": 0.08}, by="nonsense")
    found = errors(report)
    assert len(found) == 3  # groups, fallback, cost
    assert "no column &#39;nonsense&#39;" in found[0]
    assert "no price for rate type" in found[1]
    assert Page(report.html).ids("section") == SECTIONS
    assert Page(report.html).count("svg") == 4
    assert re.fullmatch(r"[\d.]+ % of the messages failed, most often .*; advice: fall back\)\.", report.answers[2])


def test_missing_inputs_are_named(events: pd.DataFrame) -> None:
    journeys = vk.journeys(events).drop(columns=["rate_type", "country"])
    report = vk.report(journeys)
    assert errors(report) == []
    for text in ("pass the events to see where the time goes", "pass by= to compare", "Pass the prices by rate type",
                 "pass the events to check them"):  # fmt: skip
        assert text in report.html
    with pytest.raises(vk.errors.MissingColumn, match="accepted_at"):
        vk.report(journeys.drop(columns="accepted_at"))
    with pytest.raises(TypeError, match="DataFrame"):
        vk.report("deliveries.db")  # type: ignore[arg-type]


def test_warnings_are_notes(events: pd.DataFrame) -> None:
    first = events["message_id"].iloc[0]
    log = events[(events["message_id"] != first) | (events["state"] != "accepted")]
    report = vk.report(log)
    assert "dropped 1 of " in report.html
    with_names = vk.report(log.assign(country=log["country"].astype("str").replace("DE", "日本")), by="country")
    assert errors(with_names) == []
    assert "日本" in with_names.html
    assert "Glyph" not in with_names.html, "a browser has the characters that matplotlib's font lacks"


def test_a_period_is_relative_to_the_last_observation(events: pd.DataFrame) -> None:
    journeys = vk.journeys(events)
    last = journeys["observed_until"].max()
    for since, until, begin, end in (
        ("7d", None, last - pd.Timedelta(days=7), last),
        ("7d", "1d", last - pd.Timedelta(days=7), last - pd.Timedelta(days=1)),
        ("2026-01-10", "2026-01-12T12:00", pd.Timestamp("2026-01-09T23:00Z"), pd.Timestamp("2026-01-12T11:00Z")),
        (pd.Timestamp("2026-01-10T00:00Z"), None, pd.Timestamp("2026-01-10T00:00Z"), last),
    ):
        promise = {"start": "accepted", "within": 60, "target": 0.95, "by": None, "tz": "Europe/Berlin"}
        log = Log.read(events, "report", since=since, until=until, compare=True, **promise)
        sent = journeys["accepted_at"].between(begin, end, inclusive="left")
        assert log.journeys["message_id"].tolist() == journeys.loc[sent, "message_id"].tolist()
        assert log.before is not None
        assert (log.before.end, log.end - log.begin) == (log.begin, log.before.end - log.before.begin)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"since": "soon"}, "since: 'soon' is neither a duration nor a date; pass e.g. '7d'"),
        ({"since": "2030-01-01"}, "since: '2030-01-01' is not before the end"),
        ({"within": -1}, "within: -1"),
        ({"target": 95}, "target: 95"),
        ({"tz": "Mars"}, "tz: 'Mars'"),
    ],
)
def test_invalid_arguments_are_refused(events: pd.DataFrame, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        vk.report(events, **arguments)  # type: ignore[arg-type]


def test_many_groups_and_codes_are_cut(events: pd.DataFrame) -> None:
    ids = events["message_id"].astype("category").cat.codes
    log = events.assign(
        campaign=ids.mod(100).astype("str"), code=np.where(events["code"].notna(), ids.astype("str"), None)
    )
    report = vk.report(log, by="campaign")
    assert errors(report) == []
    assert "The largest 20 of 100 groups are shown." in report.html
    assert len(report.html) < 500_000


def test_long_names_are_cut(events: pd.DataFrame) -> None:
    few = events[events["message_id"].isin(events["message_id"].unique()[:100])]
    ids = few["message_id"].astype("category").cat.codes
    names = [f"{'a name ' * 3_000}{number}" for number in ids.mod(25)]
    log = few.assign(campaign=names, code=np.where(few["code"].notna(), names, None))
    report = vk.report(log, by="campaign", title=names[0])
    assert errors(report) == []
    assert len(report.html) < 500_000
    assert max(map(len, [*report.answers, *vk.digest(log, by="campaign").lines])) < 10_000


def test_without_since_the_halves_of_the_time_of_sending_are_compared(events: pd.DataFrame) -> None:
    journeys = vk.journeys(events)
    sent, last = journeys["accepted_at"], journeys["accepted_at"].max() + pd.Timedelta(days=365)
    report = vk.report(journeys.assign(observed_until=last), compare=True)
    middle = sent.min() + (sent.max() - sent.min()) / 2
    assert report.results.counts["sent"] == (sent >= middle).sum()
    assert report.results.before is not None
    assert report.results.before.counts["sent"] == (sent < middle).sum()


def test_what_is_not_known_is_no_number(events: pd.DataFrame) -> None:
    report = vk.report(events, within=86_400 * 365, compare=True)
    assert errors(report) == []
    assert "nan" not in re.sub("<style>.*?</style>", "", report.html, flags=re.DOTALL).replace("dominant", "")
    untimed = vk.report(events[events["state"] != "accepted"])
    assert untimed.answers[0] == "No message has a time of accepted; pass another start, e.g. start='dispatched'."
    assert "of the messages failed" in untimed.answers[1]


def test_what_was_planned_is_that_of_the_outbox(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    with sandbox.client(archive=archive) as client:
        for number in range(3):
            client.send(f"+4917612345{number:02d}", vk.Text("Your parcel is here."), rate_type="transaction")
        sandbox.advance(days=1)
        vk.collect(client, archive, progress=False)
    report = vk.report(archive, prices={"transaction": 0.02, "sms": 0.08})
    assert errors(report) == []
    assert report.to_frame()["value"].iloc[0] == 3
    assert report.results.planned == (3, pytest.approx(0.06))
    assert "49176123" not in report.html
    assert "parcel" not in report.html


def test_phone_numbers_are_masked(events: pd.DataFrame) -> None:
    log = events.assign(campaign="call +49 170 1234567", code=np.where(events["code"].notna(), "4917012345678", None))
    report = vk.report(log, by="campaign", title="For +49 170 1234567")
    assert "1234567" not in report.html
    assert "1234567" not in repr(report)
    assert "+4917*****67" in report.html


def test_hostile_texts_are_texts() -> None:
    """Of some of the texts; ``test_report_in_a_browser.py`` has all."""
    assert len(set(HOSTILE)) >= 100
    log, prices = next(hostile_logs(60))
    report = vk.report(log, by="campaign", prices=prices, title="".join(HOSTILE))
    page = Page(report.html)
    assert {name for name, _ in page.elements} <= ELEMENTS
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not any(CANARY in str(value) for name, value in attributes.items() if name != "aria-label")
    assert errors(report) == []
    digest = vk.digest(log, by="campaign", since="2d")
    assert "".join(digest.lines).isprintable()
    assert json.loads(json.dumps(digest.figures, allow_nan=False)) == digest.figures


def test_times_without_a_zone_are_utc(events: pd.DataFrame) -> None:
    journeys = vk.journeys(events)
    naive = journeys.assign(
        **{name: journeys[name].dt.tz_localize(None) for name in journeys.select_dtypes("datetimetz")}
    )
    assert vk.report(naive).answers == vk.report(journeys).answers
    assert vk.digest(naive).figures == vk.digest(journeys).figures


def test_a_code_of_any_length_is_looked_up() -> None:
    at = pd.Timestamp("2026-03-01", tz="UTC")
    long = "a_b:" * 50_000
    codes = [long, f"{long}TIMEOUT", f"{long}NOT_VIBER_USER"]
    journeys = pd.DataFrame({"message_id": list("abc"), "outcome": "failed", "observed_until": at, "code": codes})
    found = vk.advise(journeys).set_index("code")["advice"]
    assert found[codes].tolist() == ["fall back", "wait", "fall back"]
