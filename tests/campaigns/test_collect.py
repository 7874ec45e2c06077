"""Collecting histories: concurrency, rate, interruption, failed requests, and histories that are still missing."""

from __future__ import annotations

import time

import pytest

import viberkit as vk
from viberkit.campaigns.collector import CollectResult
from viberkit.errors import ConfigurationError


def send_many(sandbox: vk.Sandbox, archive: vk.Archive, count: int) -> list[str]:
    with sandbox.client(archive=archive) as client:
        return [
            client.send(f"+49170{2_000_000 + n}", vk.Text("hi"), rate_type="transaction").message_id
            for n in range(count)
        ]


def test_all_histories_are_stored(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 60)
    sandbox.advance(days=30)
    summary = vk.collect(client, archive, progress=False)
    assert (summary.requested, summary.changed, summary.expired, summary.failed, summary.reasons) == (60, 60, 0, 0, {})
    truth = sandbox.truth()
    final = truth.loc[truth["state"].isin(["delivered", "failed"]), "message_id"].nunique()
    assert summary.final == final
    assert len(archive.recorder.open_messages()) == 60 - final
    assert (archive.events()["observed_until"] == sandbox.now.replace(microsecond=0)).all()


def test_events_agree_with_the_truth(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 60)
    sandbox.advance(days=30)
    vk.collect(client, archive, progress=False)
    key = ["message_id", "state"]
    events = archive.events().astype({"state": "str"})
    truth = sandbox.truth().astype({"state": "str"}).set_index(key)["happened_at"]
    both = events.join(truth.rename("true_at"), on=key)
    assert both["true_at"].notna().all()
    assert (both["happened_at"] - both["true_at"]).abs().max() <= both["happened_at"].iloc[0].resolution * 1000


def test_final_messages_are_not_requested_again(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 20)
    sandbox.advance(days=30)
    first = vk.collect(client, archive, progress=False)
    requests = len(sandbox.requests)
    again = vk.collect(client, archive, progress=False)
    assert again.requested == len(sandbox.requests) - requests == 20 - first.final
    assert again.changed == 0


def test_failed_requests_do_not_stop_the_others(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    ids = send_many(sandbox, archive, 30)
    sandbox.advance(days=30)
    sandbox.fault("500", path=f"/messages/{ids[3]}/events")
    sandbox.fault("garble", path=f"/messages/{ids[4]}/events")
    sandbox.fault("drop", path=f"/messages/{ids[5]}/events")
    with sandbox.client(retry_for_s=0.3) as client:
        summary = vk.collect(client, archive, progress=False)
        assert summary.requested == 30
        assert summary.failed == 3
        assert len(summary.reasons) == 3
        assert summary.reasons["refused (500)"] == 1
        assert ids[5] not in str(summary.reasons)
        sandbox.clear_faults()
        assert vk.collect(client, archive, progress=False).failed == 0
    assert set(ids[3:6]) <= set(archive.events()["message_id"])


def test_expired_messages_are_counted_and_not_requested_again(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    send_many(sandbox, archive, 5)
    sandbox.advance(days=91)
    result = vk.collect(client, archive, progress=False)
    assert (result.requested, result.expired, result.final) == (5, 5, 0)
    assert vk.collect(client, archive, progress=False).requested == 0
    assert len(archive.events()) == 5, "the sends are stored"


def test_an_interrupted_call_can_be_repeated(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_many(sandbox, archive, 150)
    sandbox.advance(days=30)
    get_response = client.get_response
    requests: list[str] = []

    def interrupted(kind: str, message_id: str) -> object:
        requests.append(message_id)
        if len(requests) == 100:
            raise KeyboardInterrupt
        return get_response(kind, message_id)

    monkeypatch.setattr(client, "get_response", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vk.collect(client, archive, workers=4, progress=False)
    monkeypatch.undo()
    done = 150 - len(archive.recorder.open_messages())
    assert 40 < done < 150
    assert vk.collect(client, archive, progress=False).requested == 150 - done


def test_the_rate_is_limited(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 30)
    started = time.monotonic()
    vk.collect(client, archive, per_second=50, progress=False)
    assert time.monotonic() - started >= 29 / 50
    with pytest.raises(ConfigurationError, match="per_second"):
        vk.collect(client, archive, per_second=0)


def test_an_empty_archive_needs_no_request(client: vk.Client, archive: vk.Archive) -> None:
    assert vk.collect(client, archive, progress=False).requested == 0


def test_a_message_that_a_status_request_showed_as_final_gets_its_history(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    ids = send_many(sandbox, archive, 40)
    sandbox.advance(days=3)
    with_archive = client.with_archive(archive)
    statuses = [with_archive.status(message_id).state for message_id in ids]
    assert statuses.count("seen") > 10
    result = vk.collect(client, archive, progress=False)
    assert result.requested == 40
    truth = sandbox.truth().astype({"state": "str"}).pivot(index="message_id", columns="state", values="happened_at")
    assert archive.events()["source"].str.contains("history").all()
    measured = vk.journeys(archive.events()).set_index("message_id")
    true_s = (truth["delivered"] - truth["accepted"]).dt.total_seconds()
    measured_s = (measured["delivered_at"] - measured["accepted_at"]).dt.total_seconds()
    assert measured_s.median() == pytest.approx(true_s.median(), abs=2e-3)
    median = vk.time_to(vk.journeys(archive.events())).query("quantile == 0.5").filter(["value_s", "time_s"]).iloc[0, 0]
    never = true_s.fillna(float("inf")).sort_values()
    assert never.iloc[18] <= median + 2e-3
    assert median - 2e-3 <= never.iloc[21]
    assert vk.collect(client, archive, progress=False).requested == 40 - result.final


def test_a_history_that_could_not_be_fetched_or_read_is_requested_again(
    sandbox: vk.Sandbox, archive: vk.Archive
) -> None:
    message_id, *_ = send_many(sandbox, archive, 1)
    sandbox.advance(days=3)
    with sandbox.client(archive=archive, retry_for_s=0.3) as client:
        client.status(message_id)
        for fault in ("500", "garble"):
            failing = sandbox.fault(fault, path=f"/messages/{message_id}/events")
            assert vk.collect(client, archive, progress=False).failed == 1
            failing.clear()
        assert vk.collect(client, archive, progress=False).requested == 1
        assert vk.collect(client, archive, progress=False).requested == 0


def test_a_history_that_the_server_no_longer_has_is_requested_once(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive
) -> None:
    message_id, *_ = send_many(sandbox, archive, 1)
    sandbox.advance(days=3)
    client.with_archive(archive).status(message_id)
    sandbox.advance(days=91)
    assert vk.collect(client, archive, progress=False).expired == 1
    assert vk.collect(client, archive, progress=False).requested == 0


def test_the_result_has_a_short_text_and_a_frame(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    result = CollectResult(3, 1, 1, 0, 2, {"refused (500)": 2})
    assert repr(result) == (
        "CollectResult(requested=3, changed=1, final=1, expired=0, failed=2, reasons={'refused (500)': 2})"
    )
    assert result.to_frame().to_dict("records") == [
        {"requested": 3, "changed": 1, "final": 1, "expired": 0, "failed": 2, "reasons": "2 × refused (500)"}
    ]
