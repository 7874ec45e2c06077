"""The campaign commands: plan, preview, send, status, resolve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from viberkit.cli import options
from viberkit.errors import raise_violations
from viberkit.models.content import Content, from_wire
from viberkit.models.parsing import parse
from viberkit.models.validation import service_id_violations

if TYPE_CHECKING:
    from viberkit.campaigns.campaign import Campaign, CampaignStatus


_EXIT_STOPPED, _EXIT_UNKNOWN = 4, 5
_NUMBER_COLUMNS = "to, number, phone, msisdn, recipient"
_name = click.argument("name")


class _DefaultToPlan(click.Group):
    """A group that runs ``plan`` when no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["plan", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_DefaultToPlan)
def campaign() -> None:
    """Send one content to many recipients, at most once each: plan (default), preview, send, status, resolve.

    Exit codes: 0 done, 1 refused, 2 usage error, 4 stopped early (run the same command to continue), 5 done, but
    some messages have an unknown outcome.
    """


@campaign.command()
@_name
@click.argument("recipients", type=options.existing_file)
@click.option("--text", help="Text, with placeholders: 'Hi {first_name}' inserts the column first_name.")
@options.button
@options.image
@click.option("--content", "file", type=options.existing_file, help="File with a content in the API's JSON format.")
@options.rate_type
@click.option("--to", metavar="COLUMN", help=f"Column of the phone numbers; default: the first of {_NUMBER_COLUMNS}.")
@click.option("--region", metavar="COUNTRY", help="Country of numbers without a calling code, two letters, e.g. DE.")
@click.option("--international", is_flag=True, help="Numbers without + and 00 begin with a country calling code.")
@options.context
@click.option("--price", type=options.amount, help="Price of one message.")
@click.option("--price-high", type=options.amount, help="Highest price, if it varies; --price is then the lowest.")
@click.option("--currency", default="", help="Currency symbol, printed before amounts.")
@click.option("--cost-cap", type=options.amount, help="Stop before the cost could exceed this amount.")
@options.archive
def plan(name: str, recipients: Path, archive_path: str, text: str | None, file: Path | None, **arguments: Any) -> None:
    """Plan the campaign NAME for the RECIPIENTS of a CSV, text or Excel file. Nothing is sent."""
    from viberkit.campaigns.campaign import Campaign

    image, button, price, price_high = (arguments.pop(option) for option in ("image", "button", "price", "price_high"))
    if (text is None) == (file is None):
        raise click.UsageError("--text, --content: pass one of the two")
    content: Content = options.text_content(text or "", image, button)
    if file is not None:
        content = from_wire(parse(file.read_bytes()))
    arguments["price"] = price if price_high is None else (price, price_high)
    with options.any_archive(archive_path) as archive:
        click.echo(Campaign.plan(archive, name, recipients, content, **arguments).preview())


@campaign.command()
@_name
@options.archive
def preview(name: str, archive_path: str) -> None:
    """Show what would be sent now, what it would cost, and the text that confirms it."""
    click.echo(_open(name, archive_path).preview())


@campaign.command()
@_name
@click.option("--confirm", help="Confirmation text from the preview; default: ask for it.")
@options.per_second
@options.workers
@options.archive
def send(name: str, confirm: str | None, archive_path: str, **settings: Any) -> None:
    """Send NAME, or continue sending it; no recipient gets the message twice."""
    from viberkit.api.client import Client

    opened = _open(name, archive_path)
    with Client() as client:
        raise_violations(service_id_violations(client.service_id))  # before the question
        if confirm is None:
            shown = opened.preview()
            click.echo(shown if shown.planned else f"{opened!r}: no new message is planned")
            confirm = click.prompt(f"To confirm, type:\n{shown.confirm}\nText") if shown.planned else opened.confirmed
        status = opened.send(client, confirm=confirm or "", progress=sys.stderr.isatty(), **settings)
    _print(status)
    if status.stopped or status.counts.get("queued"):
        click.echo(f"stopped: {status.stopped or 'some messages are still queued'}", err=True)
        sys.exit(_EXIT_STOPPED)
    if status.counts.get("unknown"):
        sys.exit(_EXIT_UNKNOWN)


@campaign.command()
@_name
@options.archive
def status(name: str, archive_path: str) -> None:
    """Show how many messages of NAME are in each state."""
    _print(_open(name, archive_path).status())


@campaign.command()
@_name
@options.decision
def resolve(name: str, archive_path: str, **decision: Any) -> None:
    """List the messages of NAME with an unknown outcome; with KEYS or --all, resend or abandon them."""
    opened = _open(name, archive_path)
    options.list_or_resolve(opened.messages(), opened.resolve, **decision)


def _print(status: CampaignStatus) -> None:
    click.echo("\n".join(status.to_frame()["summary"]))


def _open(name: str, archive_path: str) -> Campaign:
    from viberkit.campaigns.campaign import Campaign

    return Campaign.open(options.existing_archive(archive_path), name)
