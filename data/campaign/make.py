"""Create the data of the campaign: ``python data/campaign/make.py`` (offline, about half a minute)."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pandas as pd
import phonenumbers

import viberkit as vk
from viberkit.cli.demo import send_messages
from viberkit.models.content import kind

SEED, MESSAGES = 2026, 5_000
END = pd.Timestamp("2026-01-20", tz="UTC")


def make(folder: Path, first: int = MESSAGES) -> None:
    """Send the first messages of the campaign to a sandbox, fetch each history at its end, and write both files."""
    with vk.Sandbox(SEED, speed=0, dialect="mixed") as sandbox, sandbox.client() as client:
        messages = list(islice(send_messages(sandbox, client, MESSAGES, SEED), first))
        sandbox.advance(seconds=(END - pd.Timestamp(sandbox.now)).total_seconds())
        responses = [client.get_response("events", message.message_id) for message in messages]
        observed_until = pd.Timestamp(sandbox.now)
    lines = folder / "events.jsonl"
    lines.write_bytes(b"".join(response.body + b"\n" for response in responses))
    countries = [phonenumbers.region_code_for_number(phonenumbers.parse(message.to)) for message in messages]
    facts = pd.DataFrame(
        {
            "message_id": [message.message_id for message in messages],
            "rate_type": pd.Categorical([message.rate_type for message in messages]),
            "content_type": pd.Categorical([kind(message.content) for message in messages]),
            "country": pd.Categorical(countries),
        }
    )
    events = vk.read_events(lines).merge(facts, on="message_id", how="left")
    events["observed_until"] = observed_until.as_unit("us")
    events.to_parquet(folder / "events.parquet", index=False)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
