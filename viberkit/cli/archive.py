"""The archive commands: copy."""

from __future__ import annotations

import click

from viberkit.cli import options


@click.group()
def archive() -> None:
    """Maintain an archive."""


@archive.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the archive SOURCE, a SQLite file, to TARGET, an empty PostgreSQL database: postgresql://user@host/database.

    Stop all programs that use SOURCE before. Run the same command again if it was interrupted. A password belongs in
    PGPASSWORD or ~/.pgpass, because others on this computer see the command.
    """
    from viberkit.archive.copying import copy_archive

    if options.is_url(source) or not options.is_url(target):
        raise click.UsageError("copies from a SQLite file to postgresql://user@host/database")
    with options.existing_archive(source) as opened:
        counts = copy_archive(opened, target, click.echo)
    click.echo(f"{sum(counts.values()):,} rows copied and verified; rename {source}, so that nobody writes to it")
