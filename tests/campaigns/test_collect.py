"""Collecting: concurrent, polite, resumable, and never stopped by one bad answer."""

from __future__ import annotations

import time

import pytest

import viberkit as vk
from viberkit.errors import ConfigurationError


def send_many(sandbox: vk.Sandbox, archive: vk.Archive, count: int) -> list[str]:
    with sandbox.client(archive=archive) as client:
        return [
            client.send(f"+49170{2_000_000 + n}", vk.Text("hi"), rate_type="transaction").message_id
            for n in range(count)
        ]


def test_everything_ends_up_in_the_archive(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 60)
    sandbox.advance(days=30)
    summary = vk.collect(client, archive, progress=False)
    assert summary.loc[0, ["asked", "changed", "expired", "failed", "reasons"]].tolist() == [60, 60, 0, 0, ""]
    true = sandbox.truth()
    final = true.loc[true["state"].isin(["delivered", "failed"]), "message_id"].nunique()
    assert summary.loc[0, "final"] == final
    assert len(archive.open_messages()) == 60 - final
    assert (archive.events()["observed_until"] == sandbox.now.replace(microsecond=0)).all()


def test_events_agree_with_the_truth(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 60)
    sandbox.advance(days=30)
    vk.collect(client, archive, progress=False)
    key = ["message_id", "state"]
    events = archive.events().astype({"state": "str"})
    true = sandbox.truth().astype({"state": "str"}).set_index(key)["happened_at"]
    both = events.join(true.rename("true_at"), on=key)
    assert both["true_at"].notna().all()
    assert (both["happened_at"] - both["true_at"]).abs().max() <= both["happened_at"].iloc[0].resolution * 1000


def test_what_is_final_is_not_asked_again(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 20)
    sandbox.advance(days=30)
    first = vk.collect(client, archive, progress=False).loc[0]
    asked = len(sandbox.requests)
    again = vk.collect(client, archive, progress=False).loc[0]
    assert again["asked"] == len(sandbox.requests) - asked == 20 - first["final"]
    assert again["changed"] == 0


def test_one_bad_answer_stops_nothing(sandbox: vk.Sandbox, archive: vk.Archive) -> None:
    ids = send_many(sandbox, archive, 30)
    sandbox.advance(days=30)
    sandbox.fault("500", path=f"/messages/{ids[3]}/events")
    sandbox.fault("garble", path=f"/messages/{ids[4]}/events")
    sandbox.fault("drop", path=f"/messages/{ids[5]}/events")
    with sandbox.client(retry_for_s=0.3) as client:
        summary = vk.collect(client, archive, progress=False).loc[0]
        assert summary["asked"] == 30
        assert summary["failed"] == 3
        assert summary["reasons"].count(" × ") == 3
        assert "refused (500)" in summary["reasons"]
        assert ids[5] not in summary["reasons"]
        sandbox.clear_faults()
        assert vk.collect(client, archive, progress=False).loc[0, "failed"] == 0
    assert set(ids[3:6]) <= set(archive.events()["message_id"])


def test_the_expired_are_counted_and_left_alone(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 5)
    sandbox.advance(days=91)
    assert vk.collect(client, archive, progress=False).loc[0, ["asked", "expired", "final"]].tolist() == [5, 5, 0]
    assert vk.collect(client, archive, progress=False).loc[0, "asked"] == 0
    assert len(archive.events()) == 5, "the send itself is known"


def test_an_interrupted_run_goes_on(
    sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_many(sandbox, archive, 150)
    sandbox.advance(days=30)
    get_response = client.get_response
    asked: list[str] = []

    def interrupted_attempt(what: str, message_id: str) -> object:
        asked.append(message_id)
        if len(asked) == 100:
            raise KeyboardInterrupt
        return get_response(what, message_id)

    monkeypatch.setattr(client, "get_response", interrupted_attempt)
    with pytest.raises(KeyboardInterrupt):
        vk.collect(client, archive, workers=4, progress=False)
    monkeypatch.undo()
    done = 150 - len(archive.open_messages())
    assert 40 < done < 150
    assert vk.collect(client, archive, progress=False).loc[0, "asked"] == 150 - done


def test_the_pace_is_kept(sandbox: vk.Sandbox, client: vk.Client, archive: vk.Archive) -> None:
    send_many(sandbox, archive, 30)
    started = time.monotonic()
    vk.collect(client, archive, per_second=50, progress=False)
    assert time.monotonic() - started >= 29 / 50
    with pytest.raises(ConfigurationError, match="per_second"):
        vk.collect(client, archive, per_second=0)


def test_nothing_to_do_is_done(client: vk.Client, archive: vk.Archive) -> None:
    assert vk.collect(client, archive, progress=False).loc[0, "asked"] == 0
