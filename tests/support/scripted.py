"""An HTTP server on loopback that returns prepared responses and records the requests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent.parent.parent / "data"

#: A status, headers and a body; or ``"drop"`` (close the connection without a response), ``"half"`` (stop within it).
ScriptedResponse = tuple[int, dict[str, str], bytes] | str


class ScriptedRequest(NamedTuple):
    """A request as the server received it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """A server with prepared responses; ``requests`` holds what it received since the last :meth:`respond_with`."""

    def __init__(self) -> None:
        self.requests: list[ScriptedRequest] = []
        self.responses: list[ScriptedResponse] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                scripted.requests.append(ScriptedRequest(self.command, self.path, headers, body))
                response = scripted.responses.pop(0) if len(scripted.responses) > 1 else scripted.responses[0]
                if isinstance(response, str):
                    if response == "half":
                        self.wfile.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{")
                    self.close_connection = True
                    return
                status, extra_headers, payload = response
                defaults = {"Content-Length": str(len(payload)), "Date": self.date_time_string()}
                self.send_response_only(status)
                for name, value in (defaults | extra_headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = handle_request  # noqa: N815 - the names that http.server calls

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def respond_with(self, *responses: ScriptedResponse) -> None:
        """Return these responses in order from now on, the last one repeatedly; forget the recorded requests."""
        self.requests, self.responses = [], list(responses)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
