"""One browser and one JupyterLab server for all browser tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import jupyter


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with jupyter.browser() as launched:
        yield launched


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[jupyter.Server]:
    with jupyter.jupyter_server(tmp_path_factory.mktemp("lab")) as server:
        yield server
