"""The digest: its lines, its figures as JSON, what needs action, and the exit codes of the commands."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.dependent_logs import evenly, journeys as make_journeys
from support.faults import FaultySandbox

import viberkit as vk
from viberkit.cli import main as cli

FILE = Path(__file__).parents[2] / "data/campaign/events.parquet"


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    return vk.read_events(FILE)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(args)
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def test_five_lines(events: pd.DataFrame) -> None:
    assert repr(vk.digest(events, by="rate_type")).splitlines() == [
        "365 messages sent, 2026-01-19 00:00 to 2026-01-20 00:00 (UTC): 339 delivered, 23 failed, 3 open.",
        "Time to delivery: p50 1.9 s (1.8 s – 2.1 s), against the period before −165 ms (−471 ms to +55 ms); "
        "p95 not reached.",
        "The promise, 95 % delivered within 1 min, was missed: 89 % (86 % – 92 %) were delivered in time. "
        "By rate_type: promotion missed, transaction missed.",
        "6.3 % of the messages failed, most often viber::error::NOT_VIBER_USER (7 of 23; advice: fall back): "
        "the number has no Viber account; waiting does not change that.",
        "Nothing needs action.",
    ]


def test_the_figures_are_those_of_the_functions(events: pd.DataFrame) -> None:
    digest = vk.digest(events, since="2026-01-17", until="2026-01-19", by="country", within=5, target=0.86)
    journeys = vk.journeys(events)
    day = journeys[journeys["accepted_at"].between("2026-01-17", "2026-01-19", inclusive="left")]
    before = journeys[journeys["accepted_at"].between("2026-01-15", "2026-01-17", inclusive="left")]
    figures = json.loads(json.dumps(digest.figures, allow_nan=False))
    assert list(figures) == ["begin", "end", "start", "within", "target", "verdict", "figures", "before", "groups",
                             "failure", "actions"]  # fmt: skip
    assert (figures["begin"], figures["end"]) == ("2026-01-17T00:00:00+00:00", "2026-01-19T00:00:00+00:00")
    for part, messages in (("figures", day), ("before", before)):
        found = figures[part]
        assert found["sent"] == {"value": len(messages), "low": None, "high": None}
        assert found["failed"]["value"] == (messages["outcome"] == "failed").sum()
        expected = vk.time_to(messages, quantiles=0.5)[["value_s", "low_s", "high_s"]].iloc[0].tolist()
        assert list(found["p50_s"].values()) == expected
        assert found["p99_s"]["value"] is None
    slo = vk.slo(day, within=5, target=0.86, every=None).iloc[0]
    assert list(figures["figures"]["share_within"].values()) == slo[["share", "low", "high"]].tolist()
    assert figures["verdict"] == slo["verdict"] == "unclear"
    assert not digest.missed
    groups = vk.slo(day, within=5, target=0.86, every=None, by="country")
    assert [group["share"] for group in figures["groups"]] == groups["share"].tolist()
    assert figures["failure"] == vk.advise(day).drop(columns="share").iloc[0].to_dict()


def test_a_log_without_messages(events: pd.DataFrame) -> None:
    digest = vk.digest(events.iloc[:0])
    assert digest.lines == ["The log contains no message.", "Nothing needs action."]
    assert (digest.missed, digest.figures["begin"], digest.figures["figures"]) == (False, None, None)
    assert vk.digest(events[events["state"] != "accepted"]).lines[0] == (
        "No message has a time of accepted; pass another start, e.g. start='dispatched'."
    )
    assert vk.digest(events[events["happened_at"] < "2026-01-07"]).lines[0] == (
        "No message was sent in this period, 2026-01-19 00:00 to 2026-01-20 00:00 (UTC)."
    )


def test_changes_in_the_period_and_faults_need_action(events: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    start = evenly(rng, 4_000, 8)
    seconds = np.where(start > 7.2 * 86_400, 40.0, 2.0) * rng.lognormal(0, 0.5, len(start))
    journeys = make_journeys(start, seconds)
    (action,) = vk.digest(journeys, since="2026-03-09").figures["actions"]
    assert action.startswith("change: since 9 Mar 04:37 p95 rose from ")
    assert vk.digest(journeys, since="2026-03-05", until="2026-03-08").figures["actions"] == []
    (fault,) = vk.digest(events[events["state"] != "accepted"], start="dispatched").figures["actions"]
    assert fault.startswith("data: no accepted (100 %): ")


def test_unknown_sends_and_a_silent_listener_need_action(sandbox: FaultySandbox, archive: vk.Archive) -> None:
    sandbox.fault("drop", before=False, method="POST", times=1)
    with sandbox.client(archive=archive) as client:
        with pytest.raises(vk.errors.UnknownOutcome):
            client.send("+491761234567", vk.Text("Hello"), rate_type="transaction")
        client.send("+491761234568", vk.Text("Hello"), rate_type="transaction")
        sandbox.advance(days=1)
        vk.collect(client, archive, progress=False)
    unknown = "decide on 1 sends with an unknown outcome (viberkit resolve)"
    assert vk.digest(archive, since="2d").figures["actions"] == [unknown]
    now = datetime.now(UTC)
    archive.recorder.record_callbacks([], now - timedelta(hours=2))
    digest = vk.digest(archive, since="2d")
    assert digest.figures["actions"] == [unknown, "start the listener, whose last heartbeat was 2 h ago"]
    assert digest.lines[4] == f"To do: {unknown}; start the listener, whose last heartbeat was 2 h ago."
    archive.recorder.record_callbacks([], now)
    assert vk.digest(archive, since="2d").figures["actions"] == [unknown]


def test_exit_codes_tell_a_missed_promise_from_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = ["digest", "--events", str(FILE)]
    code, out, _ = run(capsys, *log, "--json", "--by", "country", "--tz", "Europe/Berlin")
    figures = json.loads(out)
    assert (code, figures["verdict"], len(figures["groups"])) == (1, "missed", 5)
    code, out, _ = run(capsys, *log, "--within", "5", "--target", "0.85")
    assert (code, len(out.splitlines())) == (0, 5)
    assert "was neither clearly met nor clearly missed" in out
    assert run(capsys, *log, "--target", "0.5")[0] == 0
    for wrong in (["--tz", "Mars"], ["--since", "soon"], ["--by", "nonsense"], ["--archive", "missing.db"]):
        arguments = log[:1] if wrong[0] == "--archive" else log
        code, out, err = run(capsys, *arguments, *wrong)
        assert (code, out) == (2, "")
        assert wrong[1] in err
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    assert run(capsys, "digest", "--events", str(empty))[:2] == (2, "")


def test_the_command_writes_a_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    options = "--since 2d --by country --prices promotion=0.05 --prices transaction=0.02 --prices sms=0.08 --compare"
    code, text, _ = run(capsys, "report", "--events", str(FILE), "--out", str(out), *options.split())
    assert code == 0
    assert text.startswith(f"Report ({out.stat().st_size / 1000:,.0f}"[:9])
    assert "Against the period before" in text
    assert re.search(r"Delivery by country", out.read_text(encoding="utf-8"))
    code, _, err = run(capsys, "report", "--events", str(FILE), "--prices", "promotion=x")
    assert code == 2
    assert "'x'" in err
    for wrong in ("--since soon", "--tz Mars", "--within 0", "--target 95", "--prices promotion", "--prices a=nan"):
        code, _, err = run(capsys, "report", "--events", str(FILE), *wrong.split())
        assert (code, "Usage:" in err, wrong.split()[1].partition("=")[0] in err) == (2, True, True)
    code, _, err = run(capsys, "report", "--events", str(FILE), "--out", str(tmp_path / "no" / "r.html"))
    assert code == 1
    assert "No such file" in err
