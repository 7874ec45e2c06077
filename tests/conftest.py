"""What the tests share: a sandbox, a client of it, an archive."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import matplotlib as mpl
import pytest

import viberkit as vk

mpl.use("Agg")

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the settings of the person who runs it, nor leaves files where it was started."""
    callback = [f"VIBERKIT_CALLBACK_{name}" for name in ("SECRET", "SECRET_OLD", "HEADER")]
    for name in ("TYNTEC_API_KEY", "VIBER_SERVICE_ID", "VIBERKIT_BASE_URL", *callback):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sandbox() -> Iterator[vk.Sandbox]:
    """A sandbox whose clock stands still until it is advanced."""
    with vk.Sandbox(seed=1, speed=0) as served:
        yield served


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[vk.Archive]:
    with vk.Archive(tmp_path / "deliveries.db") as kept:
        yield kept
    gc.collect()


@pytest.fixture
def client(sandbox: vk.Sandbox) -> Iterator[vk.Client]:
    with sandbox.client(timeout_s=(2, 5), patience_s=5) as made:
        yield made


class Scripted:
    """A server that answers as a test says, and remembers what it was asked. It has no opinions."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes] | str] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                scripted.asked.append((self.command, self.path, headers, body))
                answer = scripted.answers.pop(0) if len(scripted.answers) > 1 else scripted.answers[0]
                if isinstance(answer, str):  # "drop": hang up; "half": a broken-off answer
                    if answer == "half":
                        self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")
                    self.close_connection = True
                    return
                status, more, payload = answer
                self.send_response_only(status)
                for name, value in {
                    "Content-Length": str(len(payload)),
                    "Date": self.date_time_string(),
                    **more,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 - the library's names

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def says(self, *answers: tuple[int, dict[str, str], bytes] | str) -> None:
        """What it answers from now on: one after the other, the last one for ever."""
        self.asked, self.answers = [], list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()
