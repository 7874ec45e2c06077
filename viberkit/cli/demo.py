"""The demonstration: two virtual weeks of messages over real HTTP, and where the time went."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pandas as pd
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from viberkit import charts
from viberkit.analysis import curves as survival
from viberkit.analysis import journeys as timing
from viberkit.analysis import latency as latencies
from viberkit.api.client import Client
from viberkit.archive.archive import Archive
from viberkit.campaigns.collector import collect
from viberkit.errors import ConfigurationError
from viberkit.models.content import Button, Image, Text
from viberkit.models.records import SentMessage
from viberkit.sandbox.sandbox import Sandbox

__all__ = ["run", "send_campaign", "table"]

_DAYS = 14
#: Messages leave by day: so many in each hour, of a hundred.
_BY_HOUR = (0, 0, 0, 0, 0, 1, 2, 5, 9, 10, 9, 7, 6, 6, 7, 8, 8, 7, 6, 5, 3, 1, 0, 0)
_PREFIXES = ("+4917", "+43664", "+38163", "+35988", "+30690")  # Germany, Austria, Serbia, Bulgaria, Greece
_SALE = Text(
    "Ten per cent off until Sunday.",
    image=Image("https://example.org/sale.png"),
    button=Button("See it", "https://example.org/sale"),
)


def send_campaign(sandbox: Sandbox, client: Client, messages: int, seed: int) -> Iterator[SentMessage]:
    """Send messages one by one over two virtual weeks, by day more than by night, and give each as it was sent.

    Three of four are transactions (a text), the others promotions (a text with a picture and a button).
    """
    chance = random.Random(f"campaign {seed}")  # noqa: S311 - the same seed gives the same campaign
    started = sandbox.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    hours = chance.choices(range(24), _BY_HOUR, k=messages)
    offsets = sorted(chance.randrange(_DAYS) * 86_400 + hour * 3_600 + chance.random() * 3_600 for hour in hours)
    for number, offset in enumerate(offsets):
        due = started + timedelta(seconds=offset)
        sandbox.advance(seconds=(due - sandbox.now).total_seconds())
        to = f"{chance.choice(_PREFIXES)}{6_000_000 + number:07d}"
        if chance.random() < 0.25:
            yield client.send(to, _SALE, rate_type="promotion")
        else:
            yield client.send(to, Text(f"Your parcel {number + 1} is on its way."), rate_type="transaction")
    sandbox.advance(seconds=max(0.0, (started + timedelta(days=_DAYS) - sandbox.now).total_seconds()))


def run(out: Path, messages: int, seed: int) -> None:
    """Send, wait, collect, and write the archive, the charts, the events and the latency table to a folder."""
    started = time.monotonic()
    database = out / "deliveries.db"
    if database.exists():
        raise ConfigurationError(f"{database}: is there already; remove the folder, or pass --out with another one")
    out.mkdir(parents=True, exist_ok=True)
    with Sandbox(seed=seed, speed=0, dialect="mixed") as sandbox, Archive(database) as archive:
        click.echo(f"Sending {messages:,} messages over HTTP to a sandbox at {sandbox.base_url} …")
        with sandbox.client(archive=archive) as client:
            for _ in tqdm(send_campaign(sandbox, client, messages, seed), total=messages, unit="message", disable=None):
                pass
            click.echo(f"Two virtual weeks have passed; it is {sandbox.now:%d %B %Y}. Collecting …")
            summary = collect(client, archive, progress=False)
        open_still = len(archive.recorder.open_messages())
        click.echo(f"{summary.requested:,} asked, {summary.final:,} final, {open_still:,} still on the way.")
        events = archive.events()
    transitions = timing.transitions(events)
    latency = latencies.latency(events)
    trips = timing.journeys(events)
    events.to_parquet(out / "events.parquet", index=False)
    latency.to_csv(out / "latency.csv", index=False)
    drawn = {
        "curve.png": charts.curve(survival.delivery_curve(trips)),
        "latency.png": charts.latency(transitions),
        "time-share.png": charts.time_share(latency),
        "timeline.png": charts.timeline(events[events["message_id"].isin(events["message_id"].unique()[:8])]),
    }
    for name, ax in drawn.items():
        figure = ax.get_figure(root=True)
        assert isinstance(figure, Figure)  # noqa: S101 - the charts made their own
        figure.savefig(out / name, dpi=150, bbox_inches="tight", facecolor="white")
    _tell(out, latency, survival.time_to(trips), time.monotonic() - started)


def _tell(out: Path, latency: pd.DataFrame, quantiles: pd.DataFrame, seconds: float) -> None:
    click.echo(f"\nHow long each hop took, in seconds:\n\n{table(latency)}\n")
    click.echo(f"From accepted to delivered, of all messages sent (95 % intervals): {'; '.join(quantiles['text'])}\n")
    click.echo(f"In {out}/ ({seconds:.0f} s):")
    for name, what in (
        ("deliveries.db", "the archive: every answer as it came"),
        ("events.parquet", "the events as a table"),
        ("latency.csv", "the table above"),
        ("curve.png", "delivered, failed, still open"),
        ("latency.png", "how long each hop took"),
        ("time-share.png", "where the time went"),
        ("timeline.png", "the lives of eight messages"),
    ):
        click.echo(f"  {name:<16}{what}")
    click.echo(f"\nNext: `viberkit lab` opens the tutorials; `viberkit latency {out}/deliveries.db --by rate_type`")
    click.echo(
        "compares the rate types. (Not every dialect tells when a message was routed: hence two ways to dispatched.)"
    )


def table(latency: pd.DataFrame) -> str:
    """A latency table for a terminal, without the intervals: seconds to the millisecond, shares in per cent."""
    ends = ("_low_s", "_high_s", "share_slowest", "open_p50_s", "open_max_s")
    shown = latency.loc[:, [not str(name).endswith(ends) for name in latency.columns]].copy()
    for name in shown.columns:
        if name.endswith("_s"):
            shown[name] = shown[name].map("{:,.3f}".format)
    shown["n"] = shown["n"].map("{:,}".format)
    shown["n_open"] = shown["n_open"].map("{:,.0f}".format)
    shown["share"] = shown["share"].map("{:.1%}".format)
    return shown.to_string(index=False)
