"""The examples in docstrings know ``vk`` and run in an empty folder. (Not part of the wheel.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _example(doctest_namespace: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import viberkit as vk

    doctest_namespace["vk"] = vk
    monkeypatch.chdir(tmp_path)
