"""The demonstration: two virtual weeks of messages over real HTTP, and their delivery times."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pandas as pd
from tqdm.auto import tqdm

from viberkit import charts
from viberkit.analysis.curves import delivery_curve, time_to
from viberkit.analysis.formatting import duration, percent, percentile
from viberkit.analysis.journeys import journeys, transitions
from viberkit.analysis.latency import latency
from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.campaigns.collector import collect
from viberkit.errors import ConfigurationError
from viberkit.frames.csvfiles import write_csv
from viberkit.models.content import Button, Image, Text
from viberkit.models.records import SentMessage
from viberkit.sandbox.sandbox import Sandbox

_DAYS = 14
#: Messages sent in each hour of the day, per cent.
_HOURLY_SHARES = (0, 0, 0, 0, 0, 1, 2, 5, 9, 10, 9, 7, 6, 6, 7, 8, 8, 7, 6, 5, 3, 1, 0, 0)
_PREFIXES = ("+49176", "+43664", "+38163", "+35988", "+30690")  # Germany, Austria, Serbia, Bulgaria, Greece
_URL = "https://example.org/sale"
_PROMOTION = Text("Ten per cent off until Sunday.", image=Image(f"{_URL}.png"), button=Button("See it", _URL))


def send_messages(sandbox: Sandbox, client: Client, messages: int, seed: int) -> Iterator[SentMessage]:
    """Send messages over two virtual weeks, mostly by day, and yield each when it has been sent.

    A quarter of them are promotions (text, image and button), the others transactions (text).
    """
    rng = random.Random(f"campaign {seed}")  # noqa: S311 - the same seed gives the same messages
    start = sandbox.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    hours = rng.choices(range(24), _HOURLY_SHARES, k=messages)
    offsets = sorted(rng.randrange(_DAYS) * 86_400 + hour * 3_600 + rng.random() * 3_600 for hour in hours)
    for number, offset in enumerate(offsets):
        sandbox.advance(seconds=(start + timedelta(seconds=offset) - sandbox.now).total_seconds())
        to = f"{rng.choice(_PREFIXES)}{6_000_000 + number:07d}"
        if rng.random() < 0.25:
            yield client.send(to, _PROMOTION, rate_type="promotion")
        else:
            yield client.send(to, Text(f"Your parcel {number + 1} is on its way."), rate_type="transaction")
    sandbox.advance(seconds=max(0.0, (start + timedelta(days=_DAYS) - sandbox.now).total_seconds()))


def run(out: Path, messages: int, seed: int) -> None:
    """Send and collect messages, print the latency table, and write archive, events, table and charts to a folder."""
    started = time.monotonic()
    database = out / "deliveries.db"
    if database.exists():
        raise ConfigurationError(f"{database}: exists already; remove the folder, or pass another one as --out")
    out.mkdir(parents=True, exist_ok=True)
    with Sandbox(seed=seed, speed=0, dialect="mixed") as sandbox, Archive(database, create=True) as archive:
        click.echo(f"Sending {messages:,} messages over HTTP to a sandbox at {sandbox.base_url} …")
        with sandbox.client(archive=archive) as client:
            for _ in tqdm(send_messages(sandbox, client, messages, seed), total=messages, unit="message", disable=None):
                pass
            click.echo(f"Two virtual weeks have passed; it is {sandbox.now:%d %B %Y}. Collecting …")
            result = collect(client, archive, progress=False)
        events = archive.events()
    table, journey_frame = latency(events), journeys(events)
    n_open = (journey_frame["outcome"] == "open").sum()
    click.echo(f"{result.requested:,} histories requested: {result.final:,} messages final, {n_open:,} still open.")
    sample = events["message_id"].isin(events["message_id"].unique()[:8])
    drawings = {
        "curve.png": charts.curve(delivery_curve(journey_frame)),
        "latency.png": charts.latency(transitions(events)),
        "time-share.png": charts.time_share(table),
        "timeline.png": charts.timeline(events[sample]),
    }
    for name, ax in drawings.items():
        if figure := ax.get_figure(root=True):
            figure.savefig(out / name, dpi=150, bbox_inches="tight", facecolor="white")
    events.to_parquet(out / "events.parquet", index=False)
    write_csv(table, out / "latency.csv")
    quantiles = {of: "; ".join(time_to(journey_frame, of=of)["summary"]) for of in ("all", "delivered")}
    click.echo(f"""
Time between two states, of the messages that took this step (of_all_time: part of the time of all steps together):

{format_latency(table)}

From accepted to delivered (95 % intervals), longer than each step because it is their sum:
    of all {messages:,} messages: {quantiles["all"]}
    of the delivered ones only: {quantiles["delivered"]}
Messages that failed or are still open count among all: p99 is "not reached" if more than 1 % failed.

In {out}/ ({time.monotonic() - started:.0f} s): deliveries.db (the archive), events.parquet, latency.csv (with
confidence intervals), {", ".join(drawings)}.

Next: `viberkit lab` opens the tutorials; `viberkit latency --archive {database} --by rate_type` compares
the rate types. (Only one dialect of the API reports routed: hence two transitions to dispatched.)""")


def format_latency(table: pd.DataFrame) -> str:
    """Format a latency result for a terminal: one row per transition, one column per quantile, no intervals."""
    keys = [*table.attrs["by"], "from_state", "to_state"]
    shown = table[keys].astype("object").fillna("")
    shown["quantile"] = [percentile(quantile) for quantile in table["quantile"]]
    columns = {"max_s": "max", "n": "n", "n_waiting": "n_waiting", "time_share": "of_all_time"}
    formats: dict[str, Any] = {"value_s": duration, "max_s": duration, "time_share": percent}
    for name in ("value_s", *columns):
        shown[columns.get(name, name)] = table[name].map(formats.get(name, "{:,.0f}".format))
    wide = shown.set_index([*keys, *columns.values(), "quantile"])["value_s"].unstack("quantile", sort=False)  # noqa: PD010 - with NaN
    return wide.reset_index()[[*keys, *wide.columns, *columns.values()]].to_string(index=False)
