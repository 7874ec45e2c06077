"""The command line of campaigns: plan, preview, send, status, resolve. Wiring, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from viberkit.models.content import Button, Content, Image, Text, from_wire
from viberkit.models.parsing import parse

if TYPE_CHECKING:
    from viberkit.campaigns.campaign import Campaign

__all__ = ["campaign"]

ARCHIVE = click.option("--archive", default="deliveries.db", show_default=True, help="The archive's file.")
NAME = click.argument("name")
STOPPED, UNKNOWN_LEFT = 4, 5


class _PlanFirst(click.Group):
    """A group whose first command need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in, unless another or help is asked for."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["plan", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PlanFirst)
def campaign() -> None:
    """One content to many recipients, each at most once: plan (the default), preview, send, status, resolve.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 4 stopped before its end (the same command goes on),
    5 done, but it is not known of some whether they went out.
    """


@campaign.command()
@NAME
@click.argument("recipients", type=click.Path(exists=True, dir_okay=False))
@click.option("--text", help="May hold placeholders: 'Hi {first_name}' takes the column first_name.")
@click.option("--button", nargs=2, metavar="CAPTION URL", help="A button below the text.")
@click.option("--image", metavar="URL", help="A picture, with a button.")
@click.option(
    "--content", "file", type=click.Path(exists=True, dir_okay=False), help="Any content, as the API's JSON, in a file."
)
@click.option("--rate-type", required=True, type=click.Choice(["transaction", "promotion", "session"]))
@click.option("--to", metavar="COLUMN", help="The column of the numbers; else to, number, phone, …")
@click.option("--context", help="Comes back on callbacks, at most 98 characters.")
@click.option("--price", type=float, help="Of one message.")
@click.option("--price-high", type=float, help="Of one message at most, if --price is the least.")
@click.option("--currency", default="", help="Stands before amounts.")
@click.option("--cost-cap", type=float, help="Stop before the cost could pass this.")
@ARCHIVE
def plan(
    name: str,
    recipients: str,
    text: str | None,
    button: tuple[str, str] | None,
    image: str | None,
    file: str | None,
    rate_type: str,
    to: str | None,
    context: str | None,
    price: float | None,
    price_high: float | None,
    currency: str,
    cost_cap: float | None,
    archive: str,
) -> None:
    """Plan a campaign NAME to the RECIPIENTS of a CSV file. Sends nothing."""
    from viberkit.archive.archive import Archive
    from viberkit.campaigns.campaign import Campaign

    if (text is None) == (file is None):
        raise click.UsageError("--text, --content: pass one of the two")
    if price is None and price_high is not None:
        raise click.UsageError("--price-high: is the end of a range; pass its beginning as --price")
    content: Content
    if text is not None:
        content = Text(text, image=Image(image) if image else None, button=Button(*button) if button else None)
    else:
        content = from_wire(parse(Path(str(file)).read_bytes()))
    prices: Any = price if price_high is None or price is None else (price, price_high)
    options = {"to": to, "context": context, "price": prices, "currency": currency, "cost_cap": cost_cap}
    with Archive(archive) as kept:
        click.echo(Campaign.plan(kept, name, recipients, content, rate_type=rate_type, **options).preview())


@campaign.command()
@NAME
@ARCHIVE
def preview(name: str, archive: str) -> None:
    """What NAME would send now, what it costs, and what to confirm."""
    click.echo(_open(name, archive).preview())


@campaign.command()
@NAME
@click.option("--confirm", help="The text that preview gives; without it you are asked for it.")
@click.option("--per-second", type=float, help="At most so many a second.")
@click.option("--workers", default=32, show_default=True, type=click.IntRange(1, 256))
@ARCHIVE
def send(name: str, confirm: str | None, per_second: float | None, workers: int, archive: str) -> None:
    """Send NAME, or go on with it; nobody gets it twice."""
    from viberkit.api.client import Client

    planned = _open(name, archive)
    if confirm is None:
        shown = planned.preview()
        click.echo(shown if shown.planned else f"{planned!r}: nothing new is planned")
        confirm = click.prompt("Type the text to confirm") if shown.planned else planned.confirmed
    with Client() as client:
        bar = sys.stderr.isatty()
        status = planned.send(client, confirm=confirm or "", per_second=per_second, workers=workers, progress=bar)
    click.echo("\n".join(status.to_frame()["summary"]))
    if status.stopped or "queued" in status.counts:
        click.echo(f"stopped: {status.stopped or 'some are queued still'}", err=True)
        sys.exit(STOPPED)
    if "unknown" in status.counts:
        sys.exit(UNKNOWN_LEFT)


@campaign.command()
@NAME
@ARCHIVE
def status(name: str, archive: str) -> None:
    """Where NAME stands, in plain words."""
    click.echo("\n".join(_open(name, archive).status().to_frame()["summary"]))


@campaign.command()
@NAME
@click.argument("decision", type=click.Choice(["resend", "abandon"]))
@click.argument("keys", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are unknown.")
@click.option("--reason", required=True, help="For those who come after.")
@ARCHIVE
def resolve(name: str, decision: str, keys: tuple[str, ...], everything: bool, reason: str, archive: str) -> None:
    """Decide on messages of NAME of which nobody knows whether they went out."""
    opened = _open(name, archive)
    unknown = opened.messages().query("state == 'unknown'")
    if not keys and not everything:
        click.echo(unknown[["key", "to", "reason"]].to_string(index=False) if len(unknown) else "none is unknown")
        return
    count = opened.resolve(list(keys or unknown["key"]), decision, reason=reason)
    click.echo(f"{count:,} decided: {decision}")


def _open(name: str, archive: str) -> Campaign:
    from viberkit.archive.archive import Archive
    from viberkit.campaigns.campaign import Campaign

    if not Path(archive).exists():
        raise click.UsageError(f"--archive: {archive!r} is not there; name the file of an archive")
    return Campaign.open(Archive(archive), name)
