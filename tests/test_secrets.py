"""The API key appears nowhere: not in reprs, tracebacks, pickles, logs, archives, nor on another host.

All secrets with all calls and responses: ``pytest -n 0 -m "" -k canary tests/test_secrets.py``
"""

from __future__ import annotations

import base64
import copy
import html
import json
import logging
import pickle
import signal
import socket
import traceback
import urllib.parse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.raw_server import RawServer, read_request
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.api.settings import Redactor, Secret

KEY = "k3y-that-must-not-be-seen-0123456789"
TO = "+491701234567"


def new_client(scripted: ScriptedServer, **options: object) -> vk.Client:
    return vk.Client(KEY, "S", base_url=scripted.url, timeout_s=(1, 0.5), retry_for_s=1, **options)  # type: ignore[arg-type]


def full_report(error: BaseException) -> str:
    """An error as the most verbose tools show it: local variables of every frame, causes and contexts."""
    texts: list[str] = []
    while error is not None:  # type: ignore[redundant-expr]
        texts += traceback.TracebackException.from_exception(error, capture_locals=True).format()
        texts += [repr(error), str(error), repr(vars(error)), repr(error.args)]
        frame = error.__traceback__
        while frame is not None:
            for value in frame.tb_frame.f_locals.values():
                texts.append(repr(value))
                texts += [repr(attribute) for attribute in getattr(value, "__dict__", {}).values()]
            frame = frame.tb_next
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "\n".join(texts)


#: Secrets of every kind of characters that some encoding changes.
SECRETS = [
    KEY,
    'quote"back\\slash/0123456789',
    "a/b+c=d&e%f?g#h-0123456789",
    "<b>'tag'</b>&amp;0123456789",
    "01234567890123456789",
    "Xq7$zT9!",
    "~!@$^*()_|:;.,{}[]`-0123456789",
    "L0ng" * 30,
]
used = KEY  # the secret of the running test, which no frame may show

CALLS: dict[str, Callable[[vk.Client], object]] = {
    "send": lambda client: client.send(TO, vk.Text("hi"), rate_type="transaction"),
    "status": lambda client: client.status("m"),
    "configuration": lambda client: client.account.configuration(),
    "download": lambda client: client.account.download_media("m"),
}
MORE_CALLS: dict[str, Callable[[vk.Client], object]] = {
    "bulk": lambda client: client.bulk(TO, [vk.Text("a"), vk.Text("b")], rate_type="transaction"),
    "events": lambda client: client.events("m"),
    "message": lambda client: client.message("m"),
    "raw response": lambda client: vars_of(client.get_response("status", "m")),
    "channels": lambda client: client.account.channels(),
    "service ids": lambda client: client.account.service_ids(),
    "service id": lambda client: client.account.service_id("S"),
    "callbacks": lambda client: client.account.configure_callbacks(
        "https://example.org", secret=used, header=("x-token", used)
    ),
    "callbacks of a service id": lambda client: client.account.configure_callbacks(
        "https://example.org", secret=used, header=("x-token", used), service_id="S"
    ),
    "media credentials": lambda client: client.account.set_media_credentials("user", used),
    "media credentials of OAuth 2": lambda client: client.account.set_media_credentials(
        "client", used, token_url="https://example.org"
    ),
    "no media credentials": lambda client: client.account.delete_media_credentials(),
    "upload": lambda client: client.account.upload_media(b"data", "a.pdf"),
    "media": lambda client: client.account.list_media(),
    "delete": lambda client: client.account.delete_media("m"),
    "collect": lambda client: vk.collect(client, client.archive, progress=False, include_final=True),  # type: ignore[arg-type]
}
STATUSES = "103 200 202 204 206 300 301 302 307 400 401 403 404 405 408 409 410 422 429 451 500 501 502 503 504".split()
KINDS = [*STATUSES, "malformed header", "malformed status"]


def vars_of(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}  # type: ignore[attr-defined]


def spellings(secret: str) -> list[str]:
    """A secret as a server may repeat it: in a header, a URL, JSON, HTML, Basic authentication."""
    encoded = [base64.b64encode(f"{user}{secret}".encode()).decode() for user in ("", "u:", "me:")]
    urlsafe = base64.urlsafe_b64encode(secret.encode()).decode()
    quoted = [urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)]
    written = json.dumps(secret)[1:-1]
    texts = [secret, secret.upper(), html.escape(secret), written, written.replace("/", "\\/"), secret.encode().hex()]
    return [*texts, *quoted, *encoded, urlsafe]


def revealing(kind: str, secret: str) -> bytes:
    """A response with all spellings of a secret in its body and wherever else there is room."""
    body = json.dumps({"title": "T", "detail": secret, "messageId": "m", "status": secret, "mediaId": secret}).encode()
    body += "\n".join(spellings(secret)).encode()
    phrase = kind if kind.isdigit() else "200"
    head = [f"HTTP/1.1 {phrase} {secret}", f"Content-Length: {len(body)}", f"Location: http://127.0.0.1:1/?k={secret}"]
    head += [f'Link: <http://127.0.0.1:1/?k={secret}>; rel="next"', f"Set-Cookie: key={secret}", f"X-{secret}: 1"]
    head += [f"X-Echo-{number}: {spelling}" for number, spelling in enumerate(spellings(secret))]
    if kind == "malformed header":
        head.insert(1, f"apikey {secret}")
    if kind == "malformed status":
        head[0] = f"{secret} OK"
    return "\r\n".join(head).encode() + b"\r\n\r\n" + (b"" if kind in ("103", "204") else body)


@pytest.mark.slow
@pytest.mark.parametrize("secret", SECRETS)
def test_canary_no_response_reveals_a_secret(secret: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_canary(secret, KINDS, {**CALLS, **MORE_CALLS}, tmp_path, caplog)


def test_canary_no_call_reveals_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kinds = ["103", "200", "302", "404", "503", "malformed header", "malformed status"]
    check_canary(KEY, kinds, {**CALLS, **MORE_CALLS}, tmp_path, caplog)


@pytest.mark.parametrize("secret", SECRETS[1:])
def test_canary_no_spelling_of_a_secret_is_revealed(
    secret: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = {name: (CALLS | MORE_CALLS)[name] for name in ("send", "raw response", "callbacks")}
    check_canary(secret, ["200", "302", "401"], calls, tmp_path, caplog)


def check_canary(
    secret: str,
    kinds: list[str],
    calls: dict[str, Callable[[vk.Client], object]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    global used
    used = secret
    caplog.set_level(logging.DEBUG)
    current = ""

    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(revealing(current, secret))

    hits = []
    signs = {spelling for spelling in spellings(secret) if len(spelling) > 7} | {spellings(secret)[9].rstrip("=")}
    with RawServer(serve) as server, vk.Archive(tmp_path / "a.db") as archive:
        client = vk.Client(secret, "S", base_url=server.url, archive=archive, retry_for_s=0, timeout_s=(2, 2))
        for current in kinds:
            for name, call in calls.items():
                caplog.clear()
                reports = [run_call(call, client), caplog.text, repr(client), repr(vars(client._transport))]
                stored = b"".join(file.read_bytes() for file in tmp_path.iterdir()).decode("latin-1")
                texts = "\n".join([*reports, stored])
                hits += [(current, name, sign) for sign in signs if sign in texts]
                if name == "send":  # a send without an outcome prevents the next
                    archive.resolve(archive.outbox().query("state == 'unknown'")["key"], "resend", reason="test")
        client.close()
    assert not hits, hits[:20]


def run_call(call: Callable[[vk.Client], object], client: vk.Client) -> str:
    """All that a call returns, warns of or raises, as the most verbose tools show it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            report = repr(call(client))
        except vk.errors.ViberkitError as error:
            report = full_report(error.with_traceback(without_test_frames(error))) + repr(pickle.dumps(error))
    return report + "".join(str(warning.message) for warning in caught)


def without_test_frames(error: BaseException) -> object:
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_globals["__name__"].startswith("viberkit."):
        trace = trace.tb_next
    return trace


def error_of(call: str, client: vk.Client) -> BaseException | None:
    """The error of a call, without frames of the test's server in its traceback."""
    try:
        CALLS[call](client)
    except vk.errors.ViberkitError as error:
        return error
    return None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "response",
    ["drop", "half", (401, {}, b""), (500, {}, b""), (302, {"Location": "http://127.0.0.1:1"}, b""), (200, {}, b"?")],
)
def test_no_error_contains_the_key(
    scripted: ScriptedServer, call: str, response: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.respond_with(response)  # type: ignore[arg-type]
    with new_client(scripted) as client:
        error = error_of(call, client)
    if error is not None:
        assert KEY not in full_report(error)
        assert KEY not in repr(pickle.loads(pickle.dumps(error)).__dict__)
        assert TO not in str(error)
    assert scripted.requests
    assert all(request[2]["apikey"] == KEY for request in scripted.requests), "the server receives the key"
    assert KEY not in caplog.text


def test_no_connection_error_contains_the_key() -> None:
    with vk.Client(KEY, "S", base_url="http://127.0.0.1:1", retry_for_s=0.2) as client:
        for call in CALLS.values():
            with pytest.raises(vk.errors.TransportError) as caught:
                call(client)
            assert KEY not in full_report(caught.value)


def write_env(text: bytes) -> None:
    Path(".env").write_bytes(text)


def listener(**options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch, vk.Archive("a.db") as archive:
        for name in [name for name in options if name.isupper()]:
            patch.setenv(name, options.pop(name))
        vk.Listener(archive, **options)


INVALID_SETTINGS: dict[str, Callable[[], object]] = {
    "two words": lambda: vk.Client(f"{KEY} {KEY}", "S"),
    "bytes": lambda: vk.Client(KEY.encode(), "S"),  # type: ignore[arg-type]
    "umlaut": lambda: vk.Client(f"{KEY}ü", "S"),
    "unencrypted": lambda: vk.Client(KEY, base_url="http://evil.example"),
    "newline and unencrypted": lambda: vk.Client(f"{KEY}\n", base_url="http://evil.example"),
    "port": lambda: vk.Client(KEY, base_url="http://127.0.0.1:99999"),
    "password": lambda: vk.Client(KEY, base_url=f"https://me:{KEY}@example.org"),
    "query": lambda: vk.Client(KEY, base_url=f"https://example.org/?key={KEY}"),
    "brackets": lambda: vk.Client(KEY, base_url="https://[::1"),
    "number": lambda: vk.Client(KEY, base_url=5),  # type: ignore[arg-type]
    "unreadable .env": lambda: (write_env(f"TYNTEC_API_KEY={KEY}\xff".encode("latin-1")), vk.Client()),
    "short secret": lambda: vk.Client(KEY).account.configure_callbacks("https://a.org", secret=KEY * 9),
    "header of bytes": lambda: vk.Client(KEY).account.configure_callbacks("a", header=("x-name", KEY.encode())),  # type: ignore[arg-type]
    "no path part": lambda: vk.Client(KEY).account.configure_callbacks(
        "https://a.org", secret=KEY, header=("x-token", KEY), service_id=".."
    ),
    "no archive": lambda: vk.Client(KEY, "S").send(TO, vk.Text("hi"), rate_type="session", deduplicate=True),
    "short secret of a listener": lambda: listener(secret=[KEY, KEY * 9]),
    "secret of bytes": lambda: listener(secret=KEY.encode()),
    "header of a listener": lambda: listener(header=("x token", KEY)),
    "header with a line break": lambda: listener(header=("x-token", f"{KEY}\n{KEY}")),
    "header in one text": lambda: listener(header=f"x-token: {KEY}"),
    "host of a listener": lambda: listener(secret=KEY, header=("x-token", KEY), host=5),
    "archive of a listener": lambda: vk.Listener(None, secret=KEY),  # type: ignore[arg-type]
    "old secret alone": lambda: listener(VIBERKIT_CALLBACK_SECRET_OLD=KEY),
    "header without a colon": lambda: listener(VIBERKIT_CALLBACK_HEADER=KEY),
    "short header": lambda: listener(VIBERKIT_CALLBACK_HEADER=f"x: {KEY}"),
    "pickled": lambda: pickle.dumps(vk.Client(KEY)),
}


@pytest.mark.parametrize("name", INVALID_SETTINGS)
def test_no_error_about_a_setting_contains_a_secret(name: str) -> None:
    error: BaseException | None = None
    try:
        INVALID_SETTINGS[name]()
    except (vk.errors.ViberkitError, TypeError) as raised:
        error = raised
    assert error is not None
    assert KEY not in full_report(error.with_traceback(without_test_frames(error)))


def test_blanks_around_a_key_are_removed(scripted: ScriptedServer) -> None:
    """A key that was read from a file ends with a newline."""
    scripted.respond_with((200, {}, b"{}"))
    with vk.Client(f" {KEY}\n", base_url=scripted.url) as client:
        client.account.configuration()
    assert scripted.requests[0].headers["apikey"] == KEY


def test_an_unfinished_object_has_a_repr() -> None:
    from viberkit.api.transport import Transport

    for cls in (vk.Client, Transport):
        assert repr(cls.__new__(cls)).startswith(cls.__name__)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("name", ["send", "status", "callbacks"])
def test_no_interrupted_call_reveals_a_secret(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.recv(1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("https_proxy", f"http://me:{KEY}@127.0.0.1:1")
    before = signal.signal(signal.SIGALRM, interrupt)
    report = ""
    try:
        with RawServer(serve) as server, vk.Archive(tmp_path / "a.db") as archive:
            client = vk.Client(KEY, "S", base_url=server.url, archive=archive)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            try:
                {**CALLS, **MORE_CALLS}[name](client)
            except KeyboardInterrupt as error:
                report = full_report(error.with_traceback(without_test_frames(error)))
            client.close()
            assert archive.outbox()["state"].tolist() == (["unknown"] if name == "send" else [])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert "KeyboardInterrupt" in report
    assert KEY not in report


def test_a_malformed_address_of_a_proxy_is_not_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:{KEY}@[proxy")
    with vk.Client("another-key", base_url="https://api.example.org", retry_for_s=0) as client:
        assert KEY not in run_call(CALLS["configuration"], client)


def test_a_secret_is_added_once() -> None:
    redactor = Redactor()
    for _ in range(3):
        redactor.add(KEY)
    assert len(set(redactor._forms)) == len(redactor._forms)


def test_a_password_of_a_proxy_is_not_revealed(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(server: RawServer, connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(revealing("200", KEY))

    with RawServer(serve) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", f"http://me:{KEY}@"))
        with vk.Client("another-key", base_url="https://api.example.org", retry_for_s=0) as client:
            assert KEY not in run_call(CALLS["configuration"], client)
            assert KEY.encode() not in client._transport.redactor(f"Proxy-Authorization: {KEY}".encode())


def test_no_repr_contains_the_key(scripted: ScriptedServer) -> None:
    client = new_client(scripted)
    objects = [client, vars(client), client._transport, vars(client._transport), vars(client._transport._auth)]
    objects.append(vars(client._transport.redactor))
    assert KEY not in "".join(map(repr, objects)) + f"{client} {client._transport._auth._key}"
    scripted.respond_with((200, {}, b"{}"))
    client.account.configuration()
    session = client._transport._session()
    assert KEY not in repr(session.headers) + repr(vars(session)) + repr(session.cookies)


def test_objects_with_the_key_cannot_be_pickled_or_copied(scripted: ScriptedServer) -> None:
    client = new_client(scripted)
    for secret in (client, Secret(KEY)):
        for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="key"):
                duplicate(secret)
    assert KEY.encode() not in pickle.dumps(client._transport._session())


def test_a_redirect_does_not_send_the_key(scripted: ScriptedServer) -> None:
    elsewhere = ScriptedServer()
    elsewhere.respond_with((200, {}, b"{}"))
    for status in (301, 302, 303, 307, 308):
        scripted.respond_with((status, {"Location": elsewhere.url}, b""))
        with new_client(scripted) as client:
            with pytest.raises(vk.errors.UnexpectedResponse):
                client.account.configuration()
            with pytest.raises(vk.errors.UnexpectedResponse):
                client.account.download_media("m")
            with pytest.raises(vk.errors.UnknownOutcome):
                CALLS["send"](client)
    assert not elsewhere.requests
    elsewhere.close()


def test_no_archive_contains_the_key(tmp_path: Path) -> None:
    with vk.Sandbox(api_key=KEY, speed=0) as sandbox, vk.Archive(tmp_path / "a.db") as archive:
        with sandbox.client(archive=archive) as client:
            client.send(TO, vk.Text("hi"), rate_type="transaction")
            sandbox.advance(days=20)
            vk.collect(client, archive, progress=False)
        assert KEY not in repr(sandbox) + repr(sandbox.requests)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_phone_numbers_are_masked_by_default(tmp_path: Path) -> None:
    with vk.Sandbox(speed=0) as sandbox, vk.Archive(tmp_path / "a.db") as archive:
        with sandbox.client(archive=archive) as client:
            sent = client.send(TO, vk.Text("hi"), rate_type="transaction")
            stored = client.message(sent.message_id)
        assert TO not in repr(sent) + repr(stored) + archive.messages().to_csv() + archive.events().to_csv()
        assert archive.messages(unmask=True)["to"].tolist() == [TO]


def test_no_notebook_and_no_data_file_contains_a_key() -> None:
    root = Path(__file__).parent.parent
    for path in [*root.glob("notebooks/*.ipynb"), *root.glob("data/**/*.json*")]:
        text = path.read_text()
        assert "sandbox-key" not in text, f"{path}: the sandbox's key"
        assert "TYNTEC_API_KEY=" not in text, f"{path}: a key"


# --- secrets of the account that only the server knows -----------------------------------------------------

HELD = "held-by-the-server"  # and unknown to the redactor before the response
CONFIGURATIONS: dict[str, Any] = {
    "basic": {"config": {"mediaCredentials": {"type": "basic", "basic": {"username": "u", "password": HELD}}}},
    "oauth2": {
        "config": {
            "mediaCredentials": {
                "type": "oauth2",
                "oauth2": {"clientId": "c", "clientSecret": HELD, "url": f"https://u:{HELD}@example.org/token"},
            }
        }
    },
    "another kind": {"config": {"mediaCredentials": {"type": "pin", "pins": [{"pin": HELD}, HELD]}}},
    "another name": {"config": {"downloads": {"accessToken": HELD, "api_key": HELD, "client_secret": [HELD]}}},
    "signature": {"callback": {"signature": {"secret": HELD, "method": "HS256"}}},
    "header": {"callback": {"header": {"key": "x-token", "value": HELD}}},
    "channel": {"channel": "viber", "id": {"serviceId": "S"}, "credentials": {"botToken": HELD}},
    "in an error": {"title": "T", "status": 200, "password": HELD},
    "invalid": {"callback": [{"secret": HELD}], "scopes": [[[{"secret": HELD}]]]},
}
READING_CALLS: dict[str, Callable[[vk.Client], object]] = {
    "configuration": CALLS["configuration"],
    "service id": MORE_CALLS["service id"],
    "callbacks": lambda client: client.account.configure_callbacks("https://example.org"),
    "callbacks of a service id": lambda client: client.account.configure_callbacks(
        "https://example.org", service_id="S"
    ),
    "media credentials": lambda client: client.account.set_media_credentials("u", "another-password"),
    "no media credentials": lambda client: client.account.delete_media_credentials(),
    "channels": lambda client: client.account.channels(),
}


@pytest.mark.parametrize(
    ("status", "shape"),
    [*((200, shape) for shape in [*CONFIGURATIONS, "truncated", "in a list"]), (403, "basic"), (403, "in an error")],
)
@pytest.mark.parametrize("call", READING_CALLS)
def test_a_secret_that_the_server_holds_is_shown_nowhere(
    scripted: ScriptedServer, caplog: pytest.LogCaptureFixture, call: str, shape: str, status: int
) -> None:
    body = json.dumps(CONFIGURATIONS.get(shape, CONFIGURATIONS["basic"])).encode()
    body = body[:-3] if shape == "truncated" else b"[" + body + b"]" if shape == "in a list" else body
    scripted.respond_with((status, {"Content-Type": "application/json"}, body))
    client, shown = new_client(scripted), ""
    with caplog.at_level(logging.DEBUG):
        try:
            result = READING_CALLS[call](client)
            shown = repr(result) + str(result) + repr(vars_of(result[0] if isinstance(result, list) else result))
        except vk.errors.ViberkitError as error:
            shown = full_report(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
    assert HELD not in shown + caplog.text


def test_no_secret_of_a_configuration_is_in_the_record(scripted: ScriptedServer) -> None:
    scripted.respond_with((200, {}, json.dumps(CONFIGURATIONS["oauth2"] | CONFIGURATIONS["header"]).encode()))
    configuration = new_client(scripted).account.configuration()
    assert configuration.config == {
        "mediaCredentials": {"type": "oauth2", "oauth2": {"clientId": "c", "clientSecret": "***", "url": "***"}}
    }
    assert configuration.callback == {"header": {"key": "x-token", "value": "***"}}
