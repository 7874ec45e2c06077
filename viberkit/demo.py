"""The demonstration: two virtual weeks of messages over real HTTP, and where the time went."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pandas as pd
from matplotlib.figure import Figure

from viberkit import charts, timing
from viberkit.archive import Archive
from viberkit.collect import collect
from viberkit.content import Button, Content, Image, Text
from viberkit.errors import ConfigurationError
from viberkit.sandbox import Sandbox

__all__ = ["run", "send_campaign", "table"]

_DAYS = 14
_PICTURE = "https://example.org/sale.png"


def send_campaign(sandbox: Sandbox, archive: Archive, messages: int, *, workers: int = 8) -> None:
    """Send messages to a sandbox over two virtual weeks: three transactions to every promotion."""
    with sandbox.client(archive=archive) as client, ThreadPoolExecutor(workers) as pool:

        def send(number: int) -> None:
            content, rate_type = _message(number)
            client.send(f"+49170{1_000_000 + number}", content, rate_type=rate_type)

        for day in range(_DAYS):
            list(pool.map(send, range(day, messages, _DAYS)))
            sandbox.advance(days=1)


def _message(number: int) -> tuple[Content, str]:
    if number % 4 == 3:
        return Text(
            "Ten per cent off until Sunday.", image=Image(_PICTURE), button=Button("See it", "https://example.org/sale")
        ), "promotion"
    return Text(f"Your parcel {number} is on its way."), "transaction"


def run(out: Path, messages: int, seed: int) -> None:
    """Send, wait, collect, and write the archive, the charts, the events and the latency table to a folder."""
    started = time.monotonic()
    database = out / "deliveries.db"
    if database.exists():
        raise ConfigurationError(f"{database}: is there already; remove the folder, or pass --out with another one")
    out.mkdir(parents=True, exist_ok=True)
    with Sandbox(seed=seed, speed=0, dialect="mixed") as sandbox, Archive(database) as archive:
        click.echo(f"Sending {messages:,} messages over HTTP to a sandbox at {sandbox.base_url} …")
        send_campaign(sandbox, archive, messages)
        click.echo(f"Two virtual weeks have passed; it is {sandbox.now:%d %B %Y}. Collecting …")
        with sandbox.client() as client:
            summary = collect(client, archive, progress=False)
        click.echo(summary.drop(columns="reasons").to_string(index=False))
        events = archive.events()
    transitions = timing.transitions(events)
    latency = timing.latency(transitions)
    events.to_parquet(out / "events.parquet", index=False)
    latency.to_csv(out / "latency.csv", index=False)
    drawn = {
        "latency.png": charts.latency(transitions),
        "time-share.png": charts.time_share(latency),
        "timeline.png": charts.timeline(events[events["message_id"].isin(events["message_id"].unique()[:8])]),
    }
    for name, ax in drawn.items():
        figure = ax.get_figure(root=True)
        assert isinstance(figure, Figure)  # noqa: S101 - the charts made their own
        figure.savefig(out / name, dpi=150, bbox_inches="tight", facecolor="white")
    _tell(out, latency, time.monotonic() - started)


def _tell(out: Path, latency: pd.DataFrame, seconds: float) -> None:
    click.echo(f"\nHow long each hop took, in seconds:\n\n{table(latency)}\n")
    click.echo(f"In {out}/ ({seconds:.0f} s):")
    for name, what in (
        ("deliveries.db", "the archive: every answer as it came"),
        ("events.parquet", "the events as a table"),
        ("latency.csv", "the table above"),
        ("latency.png", "how long each hop took"),
        ("time-share.png", "where the time went"),
        ("timeline.png", "the lives of eight messages"),
    ):
        click.echo(f"  {name:<16}{what}")
    click.echo(
        "\nNext: `viberkit lab` opens the tutorials; `viberkit latency {out}/deliveries.db --by rate_type` compares."
    )


def table(latency: pd.DataFrame) -> str:
    """A latency table for a terminal: seconds to the millisecond, shares in per cent."""
    shown = latency.copy()
    for name in shown.columns:
        if name.endswith("_s"):
            shown[name] = shown[name].map("{:,.3f}".format)
    shown["n"] = shown["n"].map("{:,}".format)
    shown["share"] = shown["share"].map("{:.1%}".format)
    return shown.to_string(index=False)
