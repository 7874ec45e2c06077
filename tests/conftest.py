"""Shared fixtures: a sandbox, a client of it, an archive, a server with prepared responses."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the threads of several processes would wait for each other, busily

import matplotlib as mpl
import pytest
import support.newer_sqlite  # noqa: F401 - before anything imports sqlite3
from support.faults import FaultySandbox
from support.postgres import ENABLED, PostgresServer, running_server
from support.scripted import ScriptedServer

import viberkit as vk

mpl.use("Agg")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts a process in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile modules once instead of in each of many processes, even if Python is not to write bytecode."""
    if sys.dont_write_bytecode and config.pluginmanager.has_plugin("cacheprovider"):
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("bytecode"))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    is_compiled = sys.dont_write_bytecode or Path(find_spec("scipy").cached).exists()
    if config.getoption("numprocesses", None) and not is_compiled:
        for name in vk.__all__:
            getattr(vk, name)
        for name in ("openpyxl", "scipy.stats"):
            import_module(name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_newgateway(gateway: Any) -> None:
    """Exclude a package that takes a second to import, and that jsonschema, which nbval imports, does not need."""
    gateway.remote_exec("import sys; sys.modules['rfc3987_syntax'] = None").waitclose()


@pytest.fixture(scope="module", autouse=True)
def _fast_garbage_collection() -> None:
    """Exclude what imports and earlier modules leave from garbage collection, which a fixture runs after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate tests from the settings of the environment and from the current folder."""
    callback_settings = [f"VIBERKIT_CALLBACK_{name}" for name in ("SECRET", "SECRET_OLD", "HEADER")]
    for name in ("TYNTEC_API_KEY", "VIBER_SERVICE_ID", "VIBERKIT_BASE_URL", *callback_settings):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[FaultySandbox]:
    """A sandbox whose clock stands still until it is advanced."""
    with FaultySandbox(seed=1, speed=0) as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def new_archive_url(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[str]]:
    """Where archives can be created: paths, or URLs of databases (see support/postgres.py)."""

    @contextmanager
    def path() -> Iterator[str]:
        with tempfile.TemporaryDirectory() as folder:
            yield f"{folder}/a.db"

    return request.getfixturevalue("postgres").database if ENABLED else path


@pytest.fixture
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the archive of a test is created; a test that is marked with ``sqlite`` is about SQLite's files."""
    if not ENABLED or request.node.get_closest_marker("sqlite"):
        yield str(tmp_path / "deliveries.db")
    else:
        with request.getfixturevalue("new_archive_url")() as url:
            yield url


@pytest.fixture
def archive(archive_url: str) -> Iterator[vk.Archive]:
    with vk.Archive(archive_url) as opened:
        yield opened
    gc.collect()  # report connections that were not closed


@pytest.fixture
def client(sandbox: vk.Sandbox) -> Iterator[vk.Client]:
    with sandbox.client(timeout_s=(2, 5), retry_for_s=5) as opened:
        yield opened


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    yield server
    server.close()
