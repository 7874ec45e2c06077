"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import requests

import viberkit as vk
from viberkit.cli import main as cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command against a sandbox; gives exit code, output and errors."""
    settings = {
        "TYNTEC_API_KEY": sandbox.api_key,
        "VIBER_SERVICE_ID": "VIBERKIT",
        "VIBERKIT_BASE_URL": sandbox.base_url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(args)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


def test_a_message_from_send_to_latency(run, sandbox: vk.Sandbox) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("send", "+49 170 1234567", "Your parcel is here", "--rate-type", "transaction", "--yes")
    assert code == 0
    message_id = out.strip()
    assert run("status", message_id)[1].startswith("accepted since 2026-01-05 08:00:00.000 UTC")
    sandbox.advance(days=20)
    told = run("events", message_id)[1].splitlines()
    assert [line.split()[2] for line in told][:2] == ["accepted", "dispatched"]
    code, out, _ = run("collect")
    assert (code, out.split()[:3]) == (0, ["asked", "changed", "final"])
    assert "accepted" in run("latency", "deliveries.db", "--by", "rate_type")[1]
    for name in ("events.parquet", "messages.csv", "journeys.csv"):
        assert run("export", name, "--what", name.partition(".")[0])[0] == 0
    assert len(pd.read_parquet("events.parquet")) >= 3
    assert "+491701234567" not in Path("messages.csv").read_text()
    assert "accepted" in run("latency", "events.parquet")[1]


def test_the_stored_message(run) -> None:  # type: ignore[no-untyped-def]
    message_id = run(
        "send", "+491701234567", "Hi", "--rate-type", "session", "--button", "Go", "https://example.org", "--yes"
    )[1].strip()
    out = run("message", message_id)[1]
    assert "+4917*****67" in out
    assert "Button(caption='Go'" in out


def test_sending_asks_first(run, sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    code, _, err = run("send", "+491701234567", "Hi", "--rate-type", "session")
    assert (code, err.strip()) == (1, "stopped")
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("status", "nobody"), 1, "error: GET status of nobody: 404"),
        (("send", "12", "Hi", "--rate-type", "session", "--yes"), 1, "error: to:"),
        (("send", "+491701234567", "Hi", "--yes"), 2, "--rate-type"),
        (("latency", "missing.db"), 2, "does not exist"),
        (("export", "x.xlsx"), 2, "neither .parquet nor .csv"),
        (("export", "x.csv", "--archive", "missing.db"), 2, "is not there"),
        (("nonsense",), 2, "No such command"),
        (("collect", "--workers", "0"), 2, "--workers"),
        (("sandbox", "--port", "99999"), 2, "--port"),
        (("demo", "--out", "/proc/nothing"), 1, "error: "),
    ],
)
def test_errors_are_short_and_codes_mean_something(run, args: tuple[str, ...], code: int, words: str) -> None:  # type: ignore[no-untyped-def]
    ended, _, err = run(*args)
    assert ended == code
    assert words in err
    assert "Traceback" not in err
    assert not Path("missing.db").exists()


def test_an_unknown_outcome_has_a_code_of_its_own(run, sandbox: vk.Sandbox) -> None:  # type: ignore[no-untyped-def]
    sandbox.fault("drop")
    code, _, err = run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    assert code == 3
    assert "may or may not have been sent" in err


def test_a_send_that_is_interrupted_may_have_gone_out(
    run, sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    def interrupted_attempt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vk.Client, "send", interrupted_attempt)
    code, _, err = run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    assert code == 3
    assert "may or may not have been sent" in err


def test_failures_of_collect_show_in_the_code(run, sandbox: vk.Sandbox) -> None:  # type: ignore[no-untyped-def]
    run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    sandbox.fault("500", method="GET")
    assert run("collect")[0] == 1


def test_help_tells_of_every_command(run) -> None:  # type: ignore[no-untyped-def]
    out = run("--help")[1]
    commands = {
        "demo",
        "sandbox",
        "send",
        "status",
        "events",
        "message",
        "collect",
        "listen",
        "latency",
        "export",
        "lab",
    }
    assert commands <= set(out.split())
    for command in commands:
        assert run(command, "--help")[0] == 0
    assert run("--version")[1].strip().endswith(vk.__version__)


def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--messages", "40", "--out", "shown"])
    assert not ended.value.code
    out = capsys.readouterr().out
    assert "dispatched      delivered" in out
    written = {path.name for path in Path("shown").iterdir()}
    assert written >= {
        "deliveries.db",
        "events.parquet",
        "latency.csv",
        "latency.png",
        "time-share.png",
        "timeline.png",
    }
    assert pd.read_parquet("shown/events.parquet")["message_id"].nunique() == 40
    with pytest.raises(SystemExit) as again:
        cli.main(["demo", "--messages", "40", "--out", "shown"])
    assert again.value.code == 1
    assert "remove the folder" in capsys.readouterr().err


def test_the_sandbox_command_serves_until_it_is_stopped() -> None:
    command = [sys.executable, "-m", "viberkit.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        deadline = time.monotonic() + 30
        while "http://127.0.0.1" not in said and time.monotonic() < deadline:
            said += process.stdout.readline()
        process.send_signal(2)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]


def test_listen_configures_receives_and_counts(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    settings = {
        "TYNTEC_API_KEY": sandbox.api_key,
        "VIBERKIT_BASE_URL": sandbox.base_url,
        "VIBERKIT_CALLBACK_SECRET": "a-shared-secret",
        "VIBERKIT_CALLBACK_HEADER": "x-callback-token: a-token-of-ours",
    }
    command = [sys.executable, "-m", "viberkit.cli", "listen", "--port", "0", "--configure", "--service-id", "VIBERKIT"]
    pipe = subprocess.PIPE
    environment = {**os.environ, **settings}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.split()[2].rstrip(";")
        sandbox.receive("491701234567", "Hello")
        answers = [requests.post(url, json={}, timeout=5).status_code for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        told, warned = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]
    assert f"; the provider was told {url}; kept in deliveries.db" in said
    assert answers == [401] * 3
    assert told.startswith("1 kept, 1 of them late; turned away: 3 × the header")  # the sandbox's clock is another
    assert warned.count("rejected a callback") == 2  # the first and the second
    assert "Traceback" not in warned
    assert not [
        word for word in ("a-shared-secret", "a-token-of-ours", sandbox.api_key) if word in said + told + warned
    ]
    with vk.Archive(tmp_path / "deliveries.db") as archive:
        assert archive.inbound()["text"].tolist() == ["Hello"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--host", "0.0.0.0"], 1, "VIBERKIT_CALLBACK_SECRET"),
        (["--path", "callbacks"], 1, "begins with a slash"),
        (["--public-url", "http://example.org/x"], 1, "not an https URL"),
        (["--service-id", "SHOP"], 2, "--configure"),
    ],
)
def test_listen_says_what_is_wrong(run, args: list[str], code: int, words: str) -> None:  # type: ignore[no-untyped-def]
    ended, _, err = run("listen", "--port", "0", *args)
    assert ended == code
    assert words in err


def test_the_tutorials_are_copied_but_never_over_your_own(tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    copied = cli._tutorials(tmp_path / "mine")
    assert sorted(path.name for path in copied.glob("*.ipynb"))[:1] == ["01-first-message.ipynb"]
    assert not list((tmp_path / "mine" / "data").iterdir())
