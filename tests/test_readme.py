"""The README's code: Python blocks run in order, and every viberkit command parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import matplotlib.pyplot as plt
import pytest

import viberkit as vk
from viberkit.cli.demo import run as run_demo
from viberkit.cli.main import commands

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line for language, code in BLOCKS if language in ("sh", "bat") for line in code.splitlines() if line]
VIBERKIT = [match[0] for line in SHELL for match in re.finditer(r"\bviberkit [^&|#]+", line)]


def test_every_block_is_tested() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh", "bat", ""}
    assert len(PYTHON) >= 3
    for line in SHELL:
        assert re.match(r"viberkit |export VIBERKIT_|python3 -m venv |py -m venv ", line), line


@pytest.mark.parametrize("command", VIBERKIT)
def test_commands_parse(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipients.csv").write_text("to,first_name\n+491701234567,Ada\n", encoding="utf-8")
    parsed = []
    monkeypatch.setattr(click.Command, "invoke", lambda command, _: parsed.append(command.name))
    program, *arguments = shlex.split(command)
    commands.main(arguments, prog_name=program, standalone_mode=False)
    assert set(arguments) & set(parsed)


def test_python_blocks_run_and_give_the_true_delivery_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_demo(tmp_path / "demo", 200, 7)
    namespace: dict[str, object] = {}
    try:
        for code in PYTHON:
            exec(compile(code, "README.md", "exec"), namespace)
    finally:
        plt.close("all")
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
