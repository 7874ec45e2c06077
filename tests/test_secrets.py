"""The API key appears nowhere: not in reprs, tracebacks, pickles, logs, archives, nor on another host."""

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


CALLS: dict[str, Callable[[vk.Client], object]] = {
    "send": lambda client: client.send(TO, vk.Text("hi"), rate_type="transaction"),
    "status": lambda client: client.status("m"),
    "configuration": lambda client: client.account.configuration(),
    "download": lambda client: client.account.download_media("m"),
}


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


def test_no_repr_contains_the_key(scripted: ScriptedServer) -> None:
    client = new_client(scripted)
    objects = [client, vars(client), client._transport, vars(client._transport), vars(client._transport._auth)]
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
