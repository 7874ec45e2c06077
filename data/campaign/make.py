"""Make the campaign again: ``python data/campaign/make.py`` (offline, about half a minute)."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import phonenumbers

import viberkit as vk
from viberkit.cli.demo import send_campaign
from viberkit.models.content import kind

SEED, MESSAGES = 2026, 5_000


def make(folder: Path) -> None:
    """Send the campaign to a sandbox, ask for every history once at its end, and write what was answered."""
    with vk.Sandbox(SEED, speed=0, dialect="mixed") as sandbox, sandbox.client() as client:
        sent = list(send_campaign(sandbox, client, MESSAGES, SEED))
        answers = [client.fetch("events", one.message_id) for one in sent]
        asked_at = pd.Timestamp(sandbox.now)
    lines = folder / "events.jsonl"
    lines.write_bytes(b"".join(answer.body + b"\n" for answer in answers))
    messages = pd.DataFrame(
        {
            "message_id": [one.message_id for one in sent],
            "rate_type": pd.Categorical([one.rate_type for one in sent]),
            "content_type": pd.Categorical([kind(one.content) for one in sent]),
            "country": pd.Categorical(
                [phonenumbers.region_code_for_number(phonenumbers.parse(one.to)) for one in sent]
            ),
        }
    )
    events = vk.read_events(lines).merge(messages, on="message_id", how="left")
    events["observed_until"] = asked_at.as_unit("us")
    events.to_parquet(folder / "events.parquet", index=False)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
