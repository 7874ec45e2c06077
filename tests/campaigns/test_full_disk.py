"""A disk that becomes full while messages are sent: no id of an accepted message is lost, and sending stops.

The figures: ``VIBERKIT_FULL_DISKS=50 pytest tests/campaigns/test_full_disk.py -n 0 -s``
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import viberkit as vk
from viberkit.errors import ArchiveError, ArchiveWriteError

RUNS = int(os.environ.get("VIBERKIT_FULL_DISKS", "1"))


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system with little room."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={1024 + 1024 * (request.param % 4)}k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small file system cannot be mounted here (only root can)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Use up the disk."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@pytest.mark.parametrize("small_disk", range(RUNS), indirect=True)
def test_a_full_disk_loses_no_accepted_message(
    sandbox: vk.Sandbox, small_disk: Path, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(request.node.name)
    sandbox.latency_s = 0.02
    people = [{"to": f"+49170{1_000_000 + number}", "name": f"N{number}"} for number in range(200)]
    with vk.Archive(small_disk / "a.db") as archive, sandbox.client() as client:
        campaign = vk.Campaign.plan(archive, "spring", people, vk.Text("Hi {name}"), rate_type="promotion")
        confirm = campaign.preview().confirm
        filler = threading.Timer(chance.uniform(0.05, 0.6), fill, [small_disk])
        filler.start()
        shown = ""
        try:
            status = campaign.send(client, confirm=confirm, progress=False, workers=chance.choice([4, 16, 32]))
            shown = status.stopped or ""
        except ArchiveError as error:
            shown = str(error)
        filler.join()
        assert "full" in shown or not shown
        accepted = set(sandbox.truth()["message_id"])
        stored = set(archive.messages()["message_id"])
        lost = {message_id for message_id in accepted - stored if message_id not in shown}
        print(f"\n{len(accepted)} accepted, {len(stored)} stored, {len(accepted - stored)} shown: {shown[:70]}")
        assert not lost
        posted = len(sandbox.requests)

        def send_many() -> None:
            for number in range(1000):
                client.with_archive(archive).send(f"+49171{1_000_000 + number}", vk.Text("Hi"), rate_type="promotion")

        with pytest.raises(ArchiveError, match="full"):
            send_many()
        single = set(sandbox.truth()["message_id"]) - accepted
        assert single == set(archive.messages()["message_id"]) - stored, "each that was sent is stored"
        (small_disk / "filler").unlink()
        again = campaign.send(client, confirm=campaign.confirmed or confirm, progress=False, workers=4)
        assert set(again.counts) <= {"accepted", "unknown", "queued"}
        assert again.counts.get("queued", 0) == 0 or "full" in str(again.stopped)
        posts = [request.json["to"] for request in sandbox.requests if request.method == "POST"]
        assert len(posts) == len(set(posts)) >= posted


def test_answers_that_cannot_be_stored_are_shown(sandbox: vk.Sandbox, tmp_path: Path) -> None:
    """The size of files is limited: the file cannot grow, and no reserve helps."""
    sandbox.latency_s = 0.3
    people = [f"+49170{1_000_000 + number}" for number in range(64)]
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    with vk.Archive(tmp_path / "a.db") as archive, sandbox.client() as client:
        campaign = vk.Campaign.plan(archive, "spring", people, vk.Text("Hi"), rate_type="promotion")
        confirm = campaign.preview().confirm

        def limit() -> None:
            while not sandbox.requests:
                time.sleep(0.005)
            resource.setrlimit(resource.RLIMIT_FSIZE, (archive.path.stat().st_size, limits[1]))

        thread = threading.Thread(target=limit)
        thread.start()
        try:
            with pytest.raises(ArchiveWriteError) as caught:
                campaign.send(client, confirm=confirm, progress=False, workers=32)
        finally:
            thread.join()
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert signal.getsignal(signal.SIGXFSZ) == ignored
        accepted = set(sandbox.truth()["message_id"])
        assert set(caught.value.message_id.split(", ")) == accepted - set(archive.messages()["message_id"])
        counts = campaign.send(client, confirm=confirm, progress=False).counts
        posts = [request.json["to"] for request in sandbox.requests if request.method == "POST"]
        assert len(posts) == len(set(posts))
        assert counts["accepted"] + counts["unknown"] == 64
