"""The command line: wiring, and nothing else. Errors are one line on standard error.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 a message that was or may have been sent although the
command did not end well: do not run it again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from viberkit import __version__
from viberkit.cli.campaign import campaign
from viberkit.errors import ArchiveWriteError, UnknownOutcome, UnreadableRecord, ViberkitError
from viberkit.models.content import Button, Content, Image, Text

__all__ = ["main"]

ARCHIVE = click.option("--archive", default="deliveries.db", show_default=True, help="The archive's file.")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        code = commands.main(args=args, prog_name="viberkit", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(1)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except ViberkitError as fault:
        click.echo("error: " + str(fault).replace("\n", "\n       "), err=True)
        sys.exit(3 if isinstance(fault, UnknownOutcome | ArchiveWriteError) else 1)
    except OSError as fault:
        click.echo(f"error: {fault.filename or 'output'}: {fault.strerror or fault}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def commands() -> None:
    """Send Viber Business messages, keep their trail, and see where the time went.

    The key and the service id are read from TYNTEC_API_KEY and VIBER_SERVICE_ID, or from a .env file.
    `viberkit demo` and `viberkit sandbox` need neither.
    """


commands.add_command(campaign)


@commands.command()
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write.",
)
@click.option("--messages", default=500, show_default=True, type=click.IntRange(1, 100_000), help="How many messages.")
@click.option("--seed", default=7, show_default=True, help="The sandbox's seed.")
def demo(out: Path, messages: int, seed: int) -> None:
    """Send messages to a sandbox, let two weeks pass, and show where the time went.

    Everything is real but the far end: the messages go over HTTP, two virtual weeks pass in seconds.
    """
    from viberkit.cli.demo import run

    run(out, messages, seed)


@commands.command()
@click.option(
    "--port",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port on loopback; 0 takes a free one.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same deliveries.")
@click.option("--speed", default=1.0, show_default=True, help="Virtual seconds per second; 0 stands still.")
@click.option("--dialect", default="v3", show_default=True, type=click.Choice(["guide", "v2", "v3", "mixed"]))
@click.option("--now", is_flag=True, help="Let its clock begin now, and not on 5 January 2026.")
def sandbox(port: int, seed: int, speed: float, dialect: str, now: bool) -> None:
    """Serve an imitation of the API on loopback until Ctrl-C."""
    from viberkit.sandbox.sandbox import START, Sandbox, serve

    start = datetime.now(UTC) if now else START
    serve(Sandbox(seed, port=port, speed=speed, dialect=dialect, start=start), echo=click.echo)


@commands.command()
@click.argument("to")
@click.argument("text")
@click.option("--rate-type", required=True, type=click.Choice(["transaction", "promotion", "session"]))
@click.option("--button", nargs=2, metavar="CAPTION URL", help="A button below the text.")
@click.option("--image", metavar="URL", help="A picture, with a button.")
@click.option("--context", help="Comes back on callbacks, at most 125 characters.")
@click.option("--yes", is_flag=True, help="Do not ask before sending.")
@ARCHIVE
def send(
    to: str,
    text: str,
    rate_type: str,
    button: tuple[str, str] | None,
    image: str | None,
    context: str | None,
    yes: bool,
    archive: str,
) -> None:
    """Send TEXT to the number TO (E.164) and keep it in the archive."""
    from viberkit.models.phone import mask

    content: Content = Text(text, image=Image(image) if image else None, button=Button(*button) if button else None)
    if not yes:
        click.confirm(f"Send this {rate_type} message to {mask(to)}? It will be charged", abort=True)
    with _client(archive) as client:
        try:
            click.echo(client.send(to, content, rate_type=rate_type, context=context).message_id)
        except KeyboardInterrupt:
            raise UnknownOutcome("stopped while the server was asked", to=mask(to), context=context) from None


@commands.command()
@click.argument("message_id")
@ARCHIVE
def status(message_id: str, archive: str) -> None:
    """Where a message stands, and since when."""
    with _client(archive) as client:
        told = client.status(message_id)
    click.echo(f"{told.state}" + (f" since {told.since:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC" if told.since else ""))


@commands.command()
@click.argument("message_id")
@ARCHIVE
def events(message_id: str, archive: str) -> None:
    """The trail of a message: each state and when it was entered."""
    with _client(archive) as client:
        for event in client.events(message_id):
            told = "  ".join(filter(None, [event.code, event.detail]))
            click.echo(f"{event.happened_at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + f"  {event.state:<15}{told}".rstrip())


@commands.command()
@click.argument("message_id")
@ARCHIVE
def message(message_id: str, archive: str) -> None:
    """A message as the server keeps it (48 hours long)."""
    from viberkit.models.phone import mask

    with _client(archive) as client:
        stored = client.message(message_id)
    for name in ("message_id", "to", "service_id", "rate_type", "content"):
        value = getattr(stored, name)
        click.echo(f"{name:<12}{mask(value or '') if name == 'to' else value}")


@commands.command()
@click.option("--per-second", type=float, help="At most so many requests a second.")
@click.option("--workers", default=32, show_default=True, type=click.IntRange(1, 256))
@click.option("--include-final", is_flag=True, help="Ask about messages that are final, too.")
@ARCHIVE
def collect(per_second: float | None, workers: int, include_final: bool, archive: str) -> None:
    """Bring every message of the archive that is not final up to date."""
    from viberkit.campaigns.collector import collect as bring_up_to_date

    with _client(archive) as client:
        assert client.archive is not None  # noqa: S101 - _client gives one
        summary = bring_up_to_date(
            client,
            client.archive,
            workers=workers,
            per_second=per_second,
            include_final=include_final,
            progress=sys.stderr.isatty(),
        )
    click.echo(summary.to_string(index=False))
    if summary["failed"].item():
        sys.exit(1)


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs a secret or a header.")
@click.option("--port", default=8766, show_default=True, type=click.IntRange(0, 65_535), help="0 takes a free one.")
@click.option("--path", default="/callbacks", show_default=True, help="The one path that is answered.")
@click.option("--public-url", metavar="URL", help="The https address by which the world reaches this listener.")
@click.option("--configure", is_flag=True, help="Have the provider call here, for every event.")
@click.option("--service-id", metavar="ID", help="Configure this service id instead of the account.")
@ARCHIVE
def listen(
    host: str, port: int, path: str, public_url: str | None, configure: bool, service_id: str | None, archive: str
) -> None:
    """Receive callbacks and keep them in the archive, until Ctrl-C.

    The secret that the provider signs with is read from VIBERKIT_CALLBACK_SECRET (while it is being changed, the old
    one from VIBERKIT_CALLBACK_SECRET_OLD), a header that every callback must carry from VIBERKIT_CALLBACK_HEADER
    (name: value); in the environment or a .env file.
    """
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive
    from viberkit.callbacks.listener import Listener

    if service_id and not configure:
        raise click.UsageError("--service-id: says whose callbacks to configure; add --configure")
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("viberkit.callbacks.listener").setLevel(logging.INFO)
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
    client = Client() if configure else None
    listener = Listener(Archive(archive), host=host, port=port, path=path, public_url=public_url)
    stop = threading.Event()
    with listener:
        for one in ends:
            signal.signal(one, lambda *_: stop.set())
        if client is not None:
            listener.configure(client, service_id=service_id)
        told = f"; the provider was told {listener.url}" if configure else ""
        click.echo(f"listening at {listener.local_url}{told}; kept in {archive}; Ctrl-C stops")
        while not stop.wait(3600):
            pass
    click.echo(f"{listener.stored:,} kept, {listener.late:,} of them late; turned away: {_counts(listener.rejected)}")


def _counts(refused: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} × {why}" for why, count in refused.items()) or "none"


@commands.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False))
@click.option("--by", multiple=True, help="One table a group, e.g. rate_type (may be given several times).")
def latency(source: str, by: tuple[str, ...]) -> None:
    """The latency table of SOURCE: an archive (.db), or a file of events (.jsonl, .parquet, .csv)."""
    from viberkit.analysis import latency as latencies
    from viberkit.cli.demo import table

    click.echo(table(latencies.latency(_events(source), by=list(by) or None)))


@commands.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--what",
    default="events",
    show_default=True,
    type=click.Choice(["events", "messages", "statuses", "inbound", "journeys", "callbacks", "gaps", "unreadable"]),
)
@ARCHIVE
def export(target: Path, what: str, archive: str) -> None:
    """Write a frame of the archive to TARGET (.parquet or .csv). Phone numbers are masked."""
    from viberkit.analysis import journeys as timing
    from viberkit.archive.archive import Archive

    if target.suffix not in (".parquet", ".csv"):
        what_to_do = "it is the file to write; name the archive with --archive"
        raise click.UsageError(f"TARGET: {target.name!r} ends in neither .parquet nor .csv; {what_to_do}")
    with Archive(_existing(archive)) as kept:
        frame = timing.journeys(kept.events()) if what == "journeys" else getattr(kept, what)()
    if target.suffix == ".parquet":
        frame.to_parquet(target, index=False)
    else:
        frame.to_csv(target, index=False)
    click.echo(f"{len(frame):,} rows to {target}")


@commands.command()
@click.option(
    "--folder", default="viberkit-tutorials", show_default=True, type=click.Path(file_okay=False, path_type=Path)
)
@click.option("--port", default=8888, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--browser/--no-browser", default=True, help="Open a browser.")
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED)
def lab(folder: Path, port: int, browser: bool, jupyter_args: tuple[str, ...]) -> None:
    """Open JupyterLab on the tutorials, with a sandbox behind `vk.Client()`.

    What stands after `--` goes to JupyterLab, e.g. `viberkit lab -- --allow-root`.
    """
    from viberkit.sandbox.sandbox import Sandbox

    copied = _tutorials(folder)
    with Sandbox(speed=1.0) as served:
        settings = {
            "VIBERKIT_BASE_URL": served.base_url,
            "TYNTEC_API_KEY": served.api_key,
            "VIBER_SERVICE_ID": served.service_id,
        }
        click.echo(f"The tutorials are in {copied}; vk.Client() there talks to a sandbox. Ctrl-C ends both.")
        asked = [sys.executable, "-m", "jupyterlab", f"--port={port}", "--ServerApp.root_dir", str(folder.resolve())]
        asked += [] if browser else ["--no-browser"]
        code = subprocess.call([*asked, *jupyter_args], env={**os.environ, **settings})  # noqa: S603 - our own words
    sys.exit(code)


def _tutorials(folder: Path) -> Path:
    """Copy the tutorials and their data to a folder, leaving what is there alone."""
    here = Path(__file__).parent.parent
    for source in (here / "tutorials", here.parent):
        if (source / "notebooks").is_dir():
            break
    else:
        raise click.ClickException("this installation came without the tutorials; clone the project to have them")
    for name in ("notebooks", "data"):
        target = folder / name
        if not target.exists():
            shutil.copytree(source / name, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return folder / "notebooks"


def _client(archive: str) -> Any:
    from viberkit.api.client import Client
    from viberkit.archive.archive import Archive

    client = Client()
    client.archive = Archive(archive)
    return client


def _existing(archive: str) -> str:
    if not Path(archive).exists():
        raise click.UsageError(f"--archive: {archive!r} is not there; name the file of an archive")
    return archive


def _events(source: str) -> Any:
    from viberkit.archive.archive import Archive
    from viberkit.frames.reader import read_events

    if Path(source).suffix in (".db", ".sqlite", ".sqlite3"):
        with Archive(source) as kept:
            return kept.events()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        events = read_events(source)
    for one in told:
        click.echo(f"warning: {one.message}", err=True)
    if events.empty and events.attrs["set_aside"]:
        raise UnreadableRecord(
            f"{source}: holds no event; pass an archive (.db), or events as .jsonl, .parquet or .csv"
        )
    return events
