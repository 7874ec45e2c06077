"""Options that several commands share, and what they open."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from viberkit.errors import suggestion
from viberkit.models.content import Button, Image, Text
from viberkit.models.validation import RATE_TYPES

if TYPE_CHECKING:
    import pandas as pd

    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive


class _Choice(click.Choice[str]):
    """A choice whose error suggests a similar one."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        return f"{super().get_invalid_choice_message(value, ctx)} {suggestion(value, self.choices)}".strip()


_RATE_TYPE = "Decides the price and which contents are allowed."
archive = click.option(
    "--archive", "archive_path", default="deliveries.db", help="The archive: a file, or a PostgreSQL URL."
)
button = click.option("--button", nargs=2, metavar="CAPTION URL", help="A button below the text.")
context = click.option("--context", help="Text that callbacks return; at most 98 characters.")
image = click.option("--image", metavar="URL", help="An image below the text; needs --button.")
per_second = click.option("--per-second", type=click.FloatRange(0.001, 1e6), help="Maximum requests per second.")
rate_type = click.option("--rate-type", required=True, type=_Choice(RATE_TYPES), help=_RATE_TYPE)
workers = click.option("--workers", default=32, type=click.IntRange(1, 256), help="Number of concurrent requests.")
amount = click.FloatRange(0, 1e9)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
event_file = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


class Price(click.ParamType[tuple[str, float]]):
    """The price of a rate type, or of an SMS."""

    name = "TYPE=AMOUNT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        kind, _, number = value.rpartition("=")
        price = amount.convert(number, param, ctx) if kind else math.nan
        if math.isnan(price):
            self.fail(f"{value!r} is not a price; pass e.g. promotion=0.05", param, ctx)
        return kind, price


def log(since: str | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of :func:`open_log`, of a period, and of a promise to a command."""
    period = 'A date, or a duration such as "7d" before the last observation.'
    parameters = [
        click.option("--events", type=event_file, help="Read events from a file (as latency) instead of the archive."),
        click.option("--since", default=since, help=f"Beginning of the period. {period}"),
        click.option("--until", help=f"End of the period. {period}"),
        click.option("--by", multiple=True, help="Column to group by, e.g. rate_type; may be repeated."),
        click.option("--within", default=60.0, help="The promise: time in seconds."),
        click.option("--target", default=0.95, help="The promise: share of all messages delivered in that time."),
        click.option("--tz", default="UTC", help="Time zone, e.g. Europe/Berlin."),
        archive,
    ]
    return lambda command: _add(parameters, command)


def decision(command: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments and options of :func:`list_or_resolve` to a command."""
    parameters = [
        click.argument("decision", required=False, type=_Choice(["resend", "abandon"])),
        click.argument("keys", nargs=-1),
        click.option("--all", "every", is_flag=True, help="Decide on all messages with an unknown outcome."),
        click.option("--reason", default="", show_default=False, help="Reason for the decision; stored with it."),
        archive,
    ]
    return _add(parameters, command)


def _add(parameters: Sequence[Callable[..., Any]], command: Callable[..., None]) -> Callable[..., None]:
    return functools.reduce(lambda command, parameter: parameter(command), reversed(parameters), command)


def list_or_resolve(
    sends: pd.DataFrame, resolve: Callable[..., int], decision: str, keys: tuple[str, ...], every: bool, reason: str
) -> None:
    """Store a decision about sends with an unknown outcome; without keys, print those sends."""
    unknown = sends[sends["state"] == "unknown"]
    if keys or every:
        if not decision or not reason:
            raise click.UsageError("to decide, pass resend or abandon, KEYS or --all, and --reason")
        click.echo(f"{resolve(list(keys or unknown['key']), decision, reason=reason):,} resolved: {decision}")
    elif unknown.empty:
        click.echo("no message has an unknown outcome")
    else:
        click.echo(unknown.filter(["key", "campaign", "to", "reason"]).to_string(index=False, na_rep="-"))


def text_content(text: str, image: str | None, button: tuple[str, str] | None) -> Text:
    return Text(text, image=Image(image) if image else None, button=Button(*button) if button else None)


def is_url(path: str) -> bool:
    """Whether an archive is in PostgreSQL."""
    from viberkit.models.secret import Secret, hide_url

    return isinstance(hide_url(path), Secret)


def existing_archive(path: str) -> Archive:
    """Open an archive; a missing file is a usage error, so that a mistyped name creates no archive."""
    from viberkit.archive.archive import Archive

    if not is_url(path) and not Path(path).exists():
        raise click.UsageError(f"--archive: {path!r} does not exist; pass the database file of an archive")
    return Archive(path, create=False)


def any_archive(path: str) -> Archive:
    """Open an archive, or create it and say so."""
    from viberkit.archive.archive import Archive

    if not is_url(path) and not Path(path).exists():
        click.echo(f"new archive: {path}", err=True)
    return Archive(path, create=True)


def new_client(archive_path: str) -> Client:
    """Return a client that stores every response in an existing archive."""
    from viberkit.api.client import Client

    return Client(archive=existing_archive(archive_path))
