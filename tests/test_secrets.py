"""The API key must appear nowhere: not in reprs, tracebacks, pickles, logs, archives, nor on another host."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scripted import ScriptedServer

import viberkit as vk
from viberkit.api.settings import Secret

KEY = "k3y-that-must-not-be-seen-0123456789"
TO = "+491701234567"


def make(scripted: ScriptedServer, **options: object) -> vk.Client:
    return vk.Client(KEY, "S", base_url=scripted.url, timeout_s=(1, 0.5), retry_for_s=1, **options)  # type: ignore[arg-type]


def everything_in(fault: BaseException) -> str:
    """A fault as the nosiest of tools shows it: every local of every frame, causes and contexts."""
    seen: list[str] = []
    while fault is not None:  # type: ignore[redundant-expr]
        seen += traceback.TracebackException.from_exception(fault, capture_locals=True).format()
        seen += [repr(fault), str(fault), repr(vars(fault)), repr(fault.args)]
        frame = fault.__traceback__
        while frame is not None:
            for value in frame.tb_frame.f_locals.values():
                seen.append(repr(value))
                seen += [repr(each) for each in getattr(value, "__dict__", {}).values()]
            frame = frame.tb_next
        fault = fault.__cause__ or fault.__context__  # type: ignore[assignment]
    return "\n".join(seen)


CALLS: dict[str, Callable[[vk.Client], object]] = {
    "send": lambda client: client.send(TO, vk.Text("hi"), rate_type="transaction"),
    "status": lambda client: client.status("m"),
    "configuration": lambda client: client.configuration(),
    "download": lambda client: client.download_media("m"),
}


def caught(call: str, client: vk.Client) -> BaseException | None:
    """The fault of a call, with no frame in its traceback that knows the server's side."""
    try:
        CALLS[call](client)
    except vk.errors.ViberkitError as fault:
        return fault
    return None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    ["drop", "half", (401, {}, b""), (500, {}, b""), (302, {"Location": "http://127.0.0.1:1"}, b""), (200, {}, b"?")],
)
def test_no_error_shows_it(
    scripted: ScriptedServer, call: str, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    scripted.respond_with(answer)  # type: ignore[arg-type]
    with make(scripted) as client:
        fault = caught(call, client)
    if fault is not None:
        assert KEY not in everything_in(fault)
        assert KEY not in repr(pickle.loads(pickle.dumps(fault)).__dict__)
        assert TO not in str(fault)
    assert scripted.requests
    assert all(told[2]["apikey"] == KEY for told in scripted.requests), "the server does get it"
    assert KEY not in caplog.text


def test_no_unreachable_server_shows_it() -> None:
    with vk.Client(KEY, "S", base_url="http://127.0.0.1:1", retry_for_s=0.2) as client:
        for call in CALLS.values():
            with pytest.raises(vk.errors.TransportError) as caught:
                call(client)
            assert KEY not in everything_in(caught.value)


def test_no_repr_shows_it(scripted: ScriptedServer) -> None:
    client = make(scripted)
    seen = [client, vars(client), client._transport, vars(client._transport), vars(client._transport._auth)]
    assert KEY not in "".join(map(repr, seen)) + f"{client} {client._transport._auth._key}"
    scripted.respond_with((200, {}, b"{}"))
    client.configuration()
    session = client._transport._session()
    assert KEY not in repr(session.headers) + repr(vars(session)) + repr(session.cookies)


def test_nothing_with_it_is_pickled_or_copied(scripted: ScriptedServer) -> None:
    client = make(scripted)
    for thing in (client, Secret(KEY)):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="key"):
                attempt(thing)
    assert KEY.encode() not in pickle.dumps(client._transport._session())


def test_a_redirect_takes_it_nowhere(scripted: ScriptedServer) -> None:
    elsewhere = ScriptedServer()
    elsewhere.respond_with((200, {}, b"{}"))
    for status in (301, 302, 303, 307, 308):
        scripted.respond_with((status, {"Location": elsewhere.url}, b""))
        with make(scripted) as client:
            with pytest.raises(vk.errors.UnexpectedResponse):
                client.configuration()
            with pytest.raises(vk.errors.UnexpectedResponse):
                client.download_media("m")
            with pytest.raises(vk.errors.UnknownOutcome):
                CALLS["send"](client)
    assert not elsewhere.requests
    elsewhere.close()


def test_no_archive_holds_it(tmp_path: Path) -> None:
    with vk.Sandbox(api_key=KEY, speed=0) as sandbox, vk.Archive(tmp_path / "a.db") as archive:
        with sandbox.client(archive=archive) as client:
            client.send(TO, vk.Text("hi"), rate_type="transaction")
            sandbox.advance(days=20)
            vk.collect(client, archive, progress=False)
        assert KEY not in repr(sandbox) + repr(sandbox.requests)
    for file in tmp_path.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_no_frame_shows_a_number_unasked(tmp_path: Path) -> None:
    with vk.Sandbox(speed=0) as sandbox, vk.Archive(tmp_path / "a.db") as archive:
        with sandbox.client(archive=archive) as client:
            sent = client.send(TO, vk.Text("hi"), rate_type="transaction")
            stored = client.message(sent.message_id)
        assert TO not in repr(sent) + repr(stored) + archive.messages().to_csv() + archive.events().to_csv()
        assert archive.messages(unmask=True)["to"].tolist() == [TO]


def test_no_notebook_or_file_of_the_project_holds_a_key() -> None:
    root = Path(__file__).parent.parent
    for path in [*root.glob("notebooks/*.ipynb"), *root.glob("data/**/*.json*")]:
        text = path.read_text()
        assert "sandbox-key" not in text, f"{path}: the sandbox's key"
        assert "TYNTEC_API_KEY=" not in text, f"{path}: a key"
