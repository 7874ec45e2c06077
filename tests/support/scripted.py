"""A server on loopback that gives scripted answers and records the requests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path(__file__).parent.parent.parent / "data"


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
