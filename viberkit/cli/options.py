"""Options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from viberkit.models.content import Button, Image, Text
from viberkit.models.validation import RATE_TYPES

if TYPE_CHECKING:
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive

archive = click.option("--archive", "archive_path", default="deliveries.db", help="The archive's database file.")
button = click.option("--button", nargs=2, metavar="CAPTION URL", help="A button below the text.")
context = click.option("--context", help="Returned with callbacks; at most 98 characters.")
image = click.option("--image", metavar="URL", help="An image below the text; needs --button.")
per_second = click.option("--per-second", type=click.FloatRange(0.001, 1e6), help="Highest rate of requests.")
rate_type = click.option("--rate-type", required=True, type=click.Choice(RATE_TYPES))
workers = click.option("--workers", default=32, type=click.IntRange(1, 256), help="Number of concurrent requests.")
amount = click.FloatRange(0, 1e9)
existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def text_content(text: str, image: str | None, button: tuple[str, str] | None) -> Text:
    return Text(text, image=Image(image) if image else None, button=Button(*button) if button else None)


def existing_archive(path: str) -> Archive:
    """Open an archive; a missing file is a usage error, so that a mistyped name creates no archive."""
    from viberkit.archive.archive import Archive

    if not Path(path).exists():
        raise click.UsageError(f"--archive: {path!r} does not exist; pass the database file of an archive")
    return Archive(path)


def new_client(archive_path: str) -> Client:
    """Return a client that stores every response in an archive, which is created if it does not exist."""
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive

    client = Client()  # first: without a key, no archive is created
    client.archive = Archive(archive_path)
    return client
