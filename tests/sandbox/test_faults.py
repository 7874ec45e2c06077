"""Faults of the tests' sandbox, and the hook by which they replace responses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from support.faults import FaultySandbox

MESSAGE = {
    "to": "+491701234567",
    "from": "VIBERKIT",
    "channel": "viber",
    "rateType": "promotion",
    "content": {"contentType": "text", "text": "Hello"},
}


@pytest.fixture
def http(sandbox: FaultySandbox) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.headers["apikey"] = sandbox.api_key
        yield session


def send(http: requests.Session, sandbox: FaultySandbox, to: str = "+491701234567", **options) -> requests.Response:
    options = {"timeout": 5, "allow_redirects": False} | options
    return http.post(f"{sandbox.base_url}/messages", json={**MESSAGE, "to": to}, **options)


def test_times_method_and_path_of_a_fault(http: requests.Session, sandbox: FaultySandbox) -> None:
    fault = sandbox.fault("429", times=2, retry_after=3, method="POST", path="/messages")
    assert http.get(f"{sandbox.base_url}/configurations").status_code == 200
    responses = [send(http, sandbox) for _ in range(3)]
    assert [response.status_code for response in responses] == [429, 429, 202]
    assert responses[0].headers["retry-after"] == "3"
    assert fault.hits == 2
    assert sandbox.truth()["message_id"].nunique() == 1
    sandbox.fault("503")
    assert send(http, sandbox).status_code == 503
    sandbox.clear_faults()
    assert send(http, sandbox).status_code == 202


@pytest.mark.parametrize(
    ("kind", "options", "status", "accepted"),
    [
        ("500", {}, 500, 0),
        ("504", {"before": False}, 504, 1),
        ("405", {}, 405, 0),
        ("slow", {"delay_s": 0.05}, 202, 1),
        ("drop", {}, None, 0),
        ("drop", {"before": False}, None, 1),
        ("garble", {}, 202, 1),
        ("empty", {}, 202, 1),
        ("html", {}, 502, 0),
        ("html", {"status": 200, "before": False}, 200, 1),
        ("redirect", {"location": "https://example.org/"}, 307, 0),
        ("plain404", {}, 404, 0),
    ],
)
def test_kinds_of_faults(http, sandbox, kind, options, status, accepted):
    sandbox.fault(kind, times=1, **options)
    if status is None:
        with pytest.raises(requests.ConnectionError):
            send(http, sandbox)
    else:
        response = send(http, sandbox)
        assert response.status_code == status
        if kind in ("garble", "empty", "html"):
            with pytest.raises(ValueError):
                response.json()
        if kind == "redirect":
            assert response.headers["location"] == "https://example.org/"
    assert sandbox.truth()["message_id"].nunique() == accepted
    assert sandbox.requests[-1].status == status
    assert send(http, sandbox).status_code == 202


def test_message_is_accepted_though_the_response_is_too_slow(http: requests.Session, sandbox: FaultySandbox) -> None:
    sandbox.fault("slow", delay_s=0.5)
    with pytest.raises(requests.ReadTimeout):
        send(http, sandbox, timeout=0.1)
    assert sandbox.truth()["message_id"].nunique() == 1


def test_share_of_failed_requests_does_not_depend_on_the_order(http: requests.Session, sandbox: FaultySandbox) -> None:
    numbers = [f"+49170{1000000 + n}" for n in range(60)]

    def failed(order: list[str]) -> set[str]:
        sandbox.faults.clear()
        sandbox.fault("503", share=0.3)
        return {to for to in order if send(http, sandbox, to).status_code == 503}

    first = failed(numbers)
    assert first == failed(numbers[::-1])
    assert 9 < len(first) < 27


@pytest.mark.parametrize("options", [{"kind": "flood"}, {"kind": "299"}, {"kind": "503", "share": 2}])
def test_invalid_faults(options: dict[str, object]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        FaultySandbox().fault(**options)
