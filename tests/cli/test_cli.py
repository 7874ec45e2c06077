"""The command line: output, files and exit codes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pandas as pd
import psutil
import pytest
import requests
from support.faults import FaultySandbox
from support.published_schema import SchemaServer

import viberkit as vk
from viberkit.cli import main as cli
from viberkit.cli.demo import format_latency


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> object:
    """A function that runs a command against a sandbox and returns exit code, output and errors."""
    settings = {
        "TYNTEC_API_KEY": sandbox.api_key,
        "VIBER_SERVICE_ID": "VIBERKIT",
        "VIBERKIT_BASE_URL": sandbox.base_url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.main(args)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return call


def test_a_message_from_send_to_latency(run, sandbox: vk.Sandbox) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("send", "+49 170 1234567", "Your parcel is here", "--rate-type", "transaction", "--yes")
    assert code == 0
    message_id = out.strip()
    assert run("status", message_id)[1].startswith("accepted since 2026-01-05 08:00:00.000 UTC")
    sandbox.advance(days=20)
    lines = run("events", message_id)[1].splitlines()
    assert [line.split()[2] for line in lines][:2] == ["accepted", "dispatched"]
    code, out, _ = run("collect")
    assert (code, out.split()[:3]) == (0, ["requested", "changed", "final"])
    code, _, err = run("collect", "--per-second", "nan")
    assert (code, "per_second: nan is not above 0" in err) == (1, True)
    assert "accepted" in run("latency", "--by", "rate_type")[1]
    for name in ("events.parquet", "messages.csv", "journeys.csv"):
        assert run("export", name, "--what", name.partition(".")[0])[0] == 0
    assert len(pd.read_parquet("events.parquet")) >= 3
    assert "+491701234567" not in Path("messages.csv").read_text()
    assert "accepted" in run("latency", "events.parquet")[1]


def test_message_prints_the_stored_message_masked(run) -> None:  # type: ignore[no-untyped-def]
    message_id = run(
        "send", "+491701234567", "Hi", "--rate-type", "session", "--button", "Go", "https://example.org", "--yes"
    )[1].strip()
    out = run("message", message_id)[1]
    assert "+4917*****67" in out
    assert "Button(caption='Go'" in out


def test_send_asks_for_confirmation(run, sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    asked: list[str] = []
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda text: asked.append(text) or "n")
    code, _, err = run("send", "0049 170 1234567", "Hi", "--rate-type", "session")
    assert (code, err.strip()) == (1, "stopped")
    assert asked == ["Send this session message to +491701234567? It will be charged [y/N]: "]
    assert not sandbox.requests
    assert not Path("deliveries.db").exists()


@pytest.mark.parametrize(
    ("command", "missing"),
    [(command, name) for command in ("send", "campaign") for name in ("TYNTEC_API_KEY", "VIBER_SERVICE_ID")],
)
def test_settings_are_checked_before_the_confirmation(  # type: ignore[no-untyped-def]
    run, monkeypatch: pytest.MonkeyPatch, command: str, missing: str
) -> None:
    Path("r.csv").write_text("to\n+491701234567\n")
    message = ["--rate-type", "session"]
    if command == "campaign":
        run("campaign", "spring", "r.csv", "--text", "Hi", *message)
    monkeypatch.delenv(missing)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: pytest.fail("asked"))
    arguments = ["send", "+491701234567", "Hi", *message] if command == "send" else ["campaign", "send", "spring"]
    code, _, err = run(*arguments)
    assert (code, missing in err) == (1, True)


def test_campaign_send_shows_what_to_type(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    Path("r.csv").write_text("to\n+491701234567\n")
    run("campaign", "spring", "r.csv", "--text", "Hi", "--rate-type", "session")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda question: question.splitlines()[1])
    code, out, _ = run("campaign", "send", "spring")
    assert (code, "accepted: 1" in out or "1 accepted" in out) == (0, True), out


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        *(((name, "id", "--archive", "missing.db"), 2, "does not exist") for name in ("status", "events", "message")),
        (("resolve", "--archive", "missing.db"), 2, "does not exist"),
        (("campaign", "preview", "spring", "--archive", "missing.db"), 2, "does not exist"),
        (("send", "+491701234567", "Hi", "--rate-type", "promo"), 2, "did you mean 'promotion'?"),
        (
            ("send", "+493012345678", "Hi", "--rate-type", "session"),
            1,
            "error: to: '+4930*****78' is a valid number, but not",
        ),
        (("send", "12", "Hi", "--rate-type", "session", "--yes"), 1, "error: to:"),
        (("send", "+491701234567", "Hi", "--yes"), 2, "--rate-type"),
        (("latency", "missing.jsonl"), 2, "does not exist"),
        (("latency", "--archive", "missing.db"), 2, "does not exist"),
        (("collect", "--archive", "missing.db"), 2, "does not exist"),
        (("campaign", "status", "spring", "--archive", "missing.db"), 2, "does not exist"),
        (("campaign", "spring", "missing.csv", "--text", "Hi", "--rate-type", "session"), 2, "does not exist"),
        (("export", "x.xlsx"), 2, "does not end in .parquet or .csv"),
        (("export", "x.csv", "--archive", "missing.db"), 2, "does not exist"),
        (("nonsense",), 2, "No such command"),
        (("collect", "--workers", "0"), 2, "--workers"),
        (("sandbox", "--port", "99999"), 2, "--port"),
        *(
            (("sandbox", "--port", "0", "--speed", value), 1 if value == "nan" else 2, "speed")
            for value in ("nan", "inf", "-inf", "-1", "1e308", "1_0_")
        ),
        *(
            (("collect", "--archive", __file__, "--per-second", value), 2, "--per-second")
            for value in ("inf", "-1", "0", "1e-308", "1e308")
        ),
        *(
            (
                ("campaign", "c", __file__, "--rate-type", "session", "--text", "Hi", "--price", "1", option, value),
                2,
                option,
            )
            for option in ("--price", "--price-high", "--cost-cap")
            for value in ("inf", "-inf", "-1", "1e308", "one")
        ),
        (("demo", "--messages", "-1"), 2, "--messages"),
        (("lab", "--port", "0"), 2, "--port"),
        (("demo", "--out", "/proc/nothing"), 1, "error: "),
    ],
)
def test_errors_have_exit_codes_and_no_traceback(run, args: tuple[str, ...], code: int, text: str) -> None:  # type: ignore[no-untyped-def]
    actual, _, err = run(*args)
    assert actual == code
    assert text in err
    assert "Traceback" not in err
    assert not Path("missing.db").exists()


def test_an_unknown_outcome_exits_with_3(run, sandbox: FaultySandbox) -> None:  # type: ignore[no-untyped-def]
    sandbox.fault("drop")
    code, _, err = run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    assert code == 3
    assert "may or may not have been sent" in err


def test_an_interrupted_send_exits_with_3(run, sandbox: vk.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def interrupted_attempt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(vk.Client, "send", interrupted_attempt)
    code, _, err = run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    assert code == 3
    assert "may or may not have been sent" in err


@pytest.mark.parametrize("command", [["resolve"], ["campaign", "resolve", "spring"]])
def test_unknown_sends_are_listed_and_resolved(run, sandbox: FaultySandbox, command: list[str]) -> None:  # type: ignore[no-untyped-def]
    message = ["--rate-type", "session"]
    Path("r.csv").write_text("to\n+491701234567\n")
    out = run("campaign", "spring", "r.csv", "--text", "Hi", *message)[1]
    assert run(*command)[:2] == (0, "no message has an unknown outcome\n")
    fault = sandbox.fault("drop", method="POST")
    if command == ["resolve"]:
        assert run("send", "+491701234567", "Hi", *message, "--yes")[0] == 3
    else:
        assert run("campaign", "send", "spring", "--confirm", re.search("confirm: '(.*)'", out)[1])[0] == 5  # type: ignore[index]
    fault.clear()
    code, out, _ = run(*command)
    key = out.splitlines()[1].split()[0]
    assert (code, "+4917*****67" in out, key[:2]) == (0, True, "vk")
    for incomplete in (["--all"], ["resend", key], ["resend", "--all"], ["--all", "--reason", "lost"]):
        code, _, err = run(*command, *incomplete)
        assert (code, "to decide, pass resend or abandon" in err) == (2, True)
    assert run(*command)[1] == run(*command, "abandon", "--reason", "lost")[1] == out
    assert run(*command, "abandon", key, "--reason", "lost")[:2] == (0, "1 resolved: abandon\n")
    assert run(*command)[1] == "no message has an unknown outcome\n"
    assert run("export", "outbox.csv", "--what", "outbox")[0] == 0
    assert pd.read_csv("outbox.csv").query("key == @key")["state"].tolist() == ["abandoned"]


def test_a_status_that_the_server_does_not_know(run) -> None:  # type: ignore[no-untyped-def]
    vk.Archive("deliveries.db", create=True).close()
    code, _, err = run("status", "unknown-id")
    assert code == 1
    assert "error: GET status of unknown-id: 404" in err


def test_a_new_archive_is_announced(run) -> None:  # type: ignore[no-untyped-def]
    arguments = ("send", "+491701234567", "Hi", "--rate-type", "session", "--yes", "--archive", "typo.db")
    assert "new archive: typo.db" in run(*arguments)[2]
    assert "new archive" not in run(*arguments)[2]


def test_the_archive_is_the_same_option_of_all_commands() -> None:
    def parameters(command: click.Command) -> Iterator[tuple[str, click.Parameter]]:
        for parameter in command.params:
            yield command.name or "", parameter
        for part in getattr(command, "commands", {}).values():
            yield from parameters(part)

    archives = [(name, option) for name, option in parameters(cli.commands) if "archive" in str(option.name)]
    assert len({name for name, _ in archives}) > 10
    assert {(tuple(option.opts), option.default, option.help) for _, option in archives} == {  # type: ignore[attr-defined]
        (("--archive",), "deliveries.db", "The archive: a file, or a PostgreSQL URL.")
    }


def test_collect_exits_with_1_if_a_request_failed(run, sandbox: FaultySandbox) -> None:  # type: ignore[no-untyped-def]
    run("send", "+491701234567", "Hi", "--rate-type", "session", "--yes")
    sandbox.fault("500", method="GET")
    assert run("collect")[0] == 1


def test_every_command_has_a_help_text(run) -> None:  # type: ignore[no-untyped-def]
    out = run("--help")[1]
    commands = {
        "demo",
        "sandbox",
        "send",
        "status",
        "resolve",
        "events",
        "message",
        "collect",
        "campaign",
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
    with pytest.raises(SystemExit) as first:
        cli.main(["demo", "--messages", "40", "--out", "shown"])
    assert not first.value.code
    out = capsys.readouterr().out
    assert re.search(r"dispatched +delivered +\d", out)
    written = {path.name for path in Path("shown").iterdir()}
    assert written >= {
        "deliveries.db",
        "events.parquet",
        "latency.csv",
        "curve.png",
        "latency.png",
        "time-share.png",
        "timeline.png",
    }
    assert pd.read_parquet("shown/events.parquet")["message_id"].nunique() == 40
    printed = re.findall(r"`viberkit (latency [^`]+)`", " ".join(out.split()))
    assert len(printed) == 1
    with pytest.raises(SystemExit) as next_command:
        cli.main(shlex.split(printed[0]))
    assert not next_command.value.code
    assert "promotion" in capsys.readouterr().out
    with pytest.raises(SystemExit) as second:
        cli.main(["demo", "--messages", "40", "--out", "shown"])
    assert second.value.code == 1
    assert "remove the folder" in capsys.readouterr().err


def test_sandbox_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "viberkit.cli", "sandbox", "--port", "0", "--dialect", "guide"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = ""
        deadline = time.monotonic() + 30
        while "Ctrl-C" not in output and time.monotonic() < deadline:
            output += process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/conversations/v3", output)
        assert url is not None
        message = {"to": "491701234567", "from": "VIBERKIT", "channel": "viber", "rateType": "session"}
        message["content"] = {"type": "text", "text": "Hello world!"}  # type: ignore[assignment]
        sent = requests.post(f"{url[0]}/messages", json=message, headers={"apikey": "sandbox-key"}, timeout=5)
        assert (sent.status_code, list(sent.json())) == (202, ["messageId"])
        process.send_signal(2)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]
    names = "VIBERKIT_BASE_URL", "TYNTEC_API_KEY", "VIBER_SERVICE_ID"
    script = output + "".join(f'\necho "${name}"' for name in names)
    pasted = subprocess.run(["sh", "-eu"], input=script, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/conversations/v3\n\S+\n\S+\n", pasted)


def test_listen_configures_the_account_and_stores_callbacks(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    settings = {
        "TYNTEC_API_KEY": sandbox.api_key,
        "VIBERKIT_BASE_URL": sandbox.base_url,
        "VIBERKIT_CALLBACK_SECRET": "a-shared-secret",
        "VIBERKIT_CALLBACK_HEADER": "x-callback-token: a-callback-token",
    }
    command = [sys.executable, "-m", "viberkit.cli", "listen", "--port", "0", "--configure", "--service-id", "VIBERKIT"]
    pipe = subprocess.PIPE
    environment = {**os.environ, **settings}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        url = first_line.split()[2].rstrip(";")
        sandbox.receive("491701234567", "Hello")
        assert re.fullmatch(r"\d\d:\d\d:\d\d 1 stored, 1 in all\n", process.stdout.readline())
        statuses = [requests.post(url, json={}, timeout=5).status_code for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        last_line, log = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]
    assert f"; callbacks are configured to {url}; archive deliveries.db" in first_line
    assert statuses == [401] * 3
    assert last_line.startswith(
        "1 stored, 1 of them late; rejected: 3 × the header is missing or has another value"
    )  # the sandbox's clock is in 2026
    assert log.count("rejected a callback") == 2  # the first and the second
    assert "Traceback" not in log
    for secret in ("a-shared-secret", "a-callback-token", sandbox.api_key):
        assert secret not in first_line + last_line + log
    with vk.Archive(tmp_path / "deliveries.db") as archive:
        assert archive.inbound()["text"].tolist() == ["Hello"]


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_the_listener(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "viberkit.cli", "listen", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2].rstrip(";")
        process.stdout.close()
        for number in range(2):
            callback = {"event": "MessageStatus::seen", "messageId": f"m{number}", "timestamp": "2026-01-05T08:00:00Z"}
            assert requests.post(url, json=callback, timeout=5).status_code == 204
            time.sleep(1.2)  # a line is written at most once per second
        assert process.poll() is None
        process.terminate()


def test_listen_configures_a_server_that_refuses_unlisted_events(tmp_path: Path) -> None:
    server = SchemaServer()
    server.callbacks[""] = {"businessNotificationUrl": "https://example.org/business"}
    environment = {**os.environ, "TYNTEC_API_KEY": "the-key-of-the-account", "VIBERKIT_BASE_URL": server.url}
    environment["VIBERKIT_CALLBACK_SECRET"] = "a-shared-secret"
    command = [sys.executable, "-m", "viberkit.cli", "listen", "--port", "0", "--configure"]
    command += ["--public-url", "https://example.org/callbacks"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path) as process:
        assert "callbacks are configured" in process.stdout.readline()  # type: ignore[union-attr]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        written = process.stderr.read()  # type: ignore[union-attr]
    server.close()
    assert "warning: the server refuses MessageStatus::dispatched, InboundMessage" in written
    assert server.callbacks[""]["businessNotificationUrl"] == "https://example.org/business"
    assert server.callbacks[""]["messageStatusUrl"] == "https://example.org/callbacks"
    assert len(server.callbacks[""]["eventFilter"]) == 7


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--host", "0.0.0.0"], 1, "VIBERKIT_CALLBACK_SECRET"),
        (["--path", "callbacks"], 1, "begins with a slash"),
        (["--public-url", "http://example.org/x"], 1, "not an https URL"),
        (["--service-id", "SHOP"], 2, "--configure"),
    ],
)
def test_listen_refuses_wrong_settings(run, args: list[str], code: int, text: str) -> None:  # type: ignore[no-untyped-def]
    actual, _, err = run("listen", "--port", "0", *args)
    assert actual == code
    assert text in err


def test_tutorials_are_copied_but_replace_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "data").mkdir(parents=True)
    notebooks = cli.copy_tutorials(tmp_path / "folder")
    assert min(path.name for path in notebooks.glob("*.ipynb")) == "01-first-message.ipynb"
    assert not list((tmp_path / "folder" / "data").iterdir())


@pytest.mark.slow
def test_lab_ends_jupyterlab_when_it_is_terminated(tmp_path: Path) -> None:
    port = free_port()
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "viberkit.cli", "lab", "--no-browser", "--port", str(port), "--", "--allow-root"]
    output = (tmp_path / "output").open("wb")
    with output, subprocess.Popen(command, env=os.environ | folders, cwd=tmp_path, stderr=output, stdout=output) as lab:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not is_open(port):
            time.sleep(0.2)
        assert is_open(port)
        (jupyter,) = psutil.Process(lab.pid).children()
        lab.send_signal(signal.SIGTERM)
        lab.wait(20)
    assert not jupyter.is_running()
    assert not is_open(port)


def is_open(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_file_of_events_and_a_database_are_not_confused(run) -> None:  # type: ignore[no-untyped-def]
    Path("deliveries.db").write_bytes(b"")
    code, _, err = run("latency", "deliveries.db")
    assert (code, "--archive deliveries.db" in err) == (2, True)
    Path("events.jsonl").write_text('{"no": "event"}\n')
    code, _, err = run("latency", "events.jsonl")
    assert code == 1
    assert "error: events.jsonl: contains no event" in err


def test_the_latency_table_has_one_row_per_transition_and_one_column_per_quantile() -> None:
    transition = {"n_waiting": 0, "max_s": 1234.5, "time_share": 0.25}
    table = pd.DataFrame(
        [
            {"rate_type": "session", "from_state": state, "to_state": following, "quantile": quantile, "n": n}
            | {"value_s": None if following is None else 10 * quantile, "low_s": 0.0, "high_s": 9.0, **transition}
            for state, following, n in (("dispatched", "delivered", 1500), ("accepted", None, 0))
            for quantile in (0.5, 0.999)
        ]
    )
    table.attrs["by"] = ["rate_type"]
    lines = [line.split() for line in format_latency(table).splitlines()]
    assert lines[0] == "rate_type from_state to_state p50 p99.9 max n n_waiting of_all_time".split()
    assert " ".join(lines[1]) == "session dispatched delivered 5 s 10 s 21 min 1,500 0 25 %"
    assert " ".join(lines[2]) == "session accepted – – 21 min 0 0 25 %"
    shuffled = table[table.columns[::-1]]
    shuffled.attrs["by"] = ["rate_type"]
    assert format_latency(shuffled) == format_latency(table)


@pytest.mark.parametrize(
    ("counts", "stopped", "code"),
    [
        ({"accepted": 2}, None, 0),
        ({"accepted": 2, "rejected": 1}, None, 0),
        ({"accepted": 1, "unknown": 1}, None, 5),
        ({"accepted": 1, "queued": 1}, None, 4),
        ({"accepted": 2}, "5 outcomes in a row were unknown", 4),
    ],
)
def test_the_exit_code_of_campaign_send_depends_on_counts_only(  # type: ignore[no-untyped-def]
    run, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], stopped: str | None, code: int
) -> None:
    Path("r.csv").write_text("to\n+491701234567\n")
    run("campaign", "spring", "r.csv", "--text", "Hi", "--rate-type", "session")
    status = SimpleNamespace(counts=counts, stopped=stopped, to_frame=lambda: pd.DataFrame({"summary": ["any text"]}))
    monkeypatch.setattr(vk.Campaign, "send", lambda *_, **__: status)
    actual, out, err = run("campaign", "send", "spring", "--confirm", "text")
    assert (actual, out) == (code, "any text\n")
    assert ("stopped: " in err) == (code == 4)
