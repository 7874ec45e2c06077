"""The README's code and the commands in help texts: they run as they are printed."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from support.documents import ROOT, blocks, run_python

import viberkit as vk
from viberkit.cli.demo import run as run_demo
from viberkit.cli.main import commands

README = ROOT / "README.md"
BLOCKS = blocks(README)
SHELL = [line for language, code in BLOCKS if language in ("sh", "bat") for line in code.splitlines() if line]
VIBERKIT = [match[0] for line in SHELL for match in re.finditer(r"\bviberkit [^&|#]+", line)]


def test_every_block_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh", "bat", ""}
    assert sum(language == "python" for language, _ in BLOCKS) >= 3
    for line in SHELL:
        assert re.match(r"viberkit |export VIBERKIT_|python3 -m venv |py -m venv ", line), line


def help_texts(command: click.Command) -> Iterator[str]:
    yield " ".join((command.help or "").split())
    for part in getattr(command, "commands", {}).values():
        yield from help_texts(part)


PRINTED = [match for text in help_texts(commands) for match in re.findall("`(viberkit [^`]+)`", text)]
PROCESSES = ("demo", "lab", "sandbox", "listen")  # run for long: by themselves below, and in tests/cli/test_cli.py


@pytest.mark.parametrize("command", sorted({*VIBERKIT, *PRINTED}))
def test_commands_parse(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipients.csv").write_text("to,first_name\n+491701234567,Ada\n", encoding="utf-8")
    parsed = []
    monkeypatch.setattr(click.Command, "invoke", lambda command, _: parsed.append(command.name))
    program, *arguments = shlex.split(command)
    is_name = command in PRINTED and len(arguments) == 1 + (arguments[0] == "campaign")
    commands.main([*arguments, "--help"] if is_name else arguments, prog_name=program, standalone_mode=False)
    assert is_name or set(arguments) & set(parsed)


def test_commands_run_in_their_order(sandbox: vk.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TYNTEC_API_KEY", sandbox.api_key)
    monkeypatch.setenv("VIBER_SERVICE_ID", sandbox.service_id)
    monkeypatch.setenv("VIBERKIT_BASE_URL", sandbox.base_url)
    (tmp_path / "recipients.csv").write_text("to,first_name\n+491701234567,Ada\n", encoding="utf-8")
    typed, ran = "y", []
    for command in VIBERKIT:
        arguments = shlex.split(command)[1:]
        if arguments[0] in PROCESSES:
            continue
        result = CliRunner().invoke(commands, arguments, input=f"{typed}\n")
        assert (command, result.exit_code, result.exception) == (command, 0, None)
        sandbox.advance(hours=1)
        typed = (re.findall("confirm: '(.*)'", result.output) or ["y"])[-1]
        ran.append(arguments[0])
    assert len(ran) >= 9
    assert sum(request.method == "POST" for request in sandbox.requests) == 3


@pytest.mark.slow
def test_callbacks_in_three_terminals(tmp_path: Path) -> None:
    block = next(code for _, code in BLOCKS if code.startswith("viberkit sandbox"))
    serve, listen, send = (
        [sys.executable, "-m", "viberkit.cli", *shlex.split(line)[1:]] for line in block.splitlines()
    )
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    with contextlib.ExitStack() as stack:
        for command in (serve, listen):
            process = stack.enter_context(subprocess.Popen([*command, "--port", "0"], **options))
            stack.callback(process.terminate)
            lines = [process.stdout.readline() for _ in range(3 if command is serve else 1)]
            if command is serve:
                assert all(line.startswith("export ") for line in lines)
                (tmp_path / ".env").write_text("".join(lines), encoding="utf-8")
        message_id = subprocess.run(send, check=True, timeout=30, **options).stdout.strip()
        assert message_id
        assert " stored, " in process.stdout.readline()
    with vk.Archive(tmp_path / "deliveries.db", create=False) as archive:
        assert "callback" in "".join(archive.events()["source"].astype(str))


def test_python_blocks_run_and_give_the_true_delivery_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_demo(tmp_path / "demo", 200, 7)
    namespace, _ = run_python(README)
    sandbox, events = namespace["sandbox"], namespace["events"]
    assert isinstance(sandbox, vk.Sandbox)
    truth = sandbox.truth().query("message_id == @sent.message_id", local_dict={"sent": namespace["sent"]})
    entered = truth.set_index("state")["happened_at"]
    expected = (entered["delivered"] - entered["accepted"]).total_seconds()
    delivered = vk.time_to(vk.journeys(events), quantiles=0.5)
    assert delivered["value_s"].tolist() == pytest.approx([expected], abs=0.01)
    status = namespace["spring"].status()  # type: ignore[attr-defined]
    assert status.counts == {"accepted": 2}
    sandbox.stop()


def test_the_installing_commands_use_the_lock_files() -> None:
    installing = [line for line in SHELL if "pip install" in line]
    assert [("-test.lock" in line, line.startswith("py ")) for line in installing] == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]
