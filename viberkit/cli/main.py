"""The command line. Errors are printed on standard error, without a traceback.

Exit codes: 0 done, 1 refused or failed, 2 usage error, 3 a message was sent or may have been sent although the
command failed: do not run it again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from viberkit import __version__, errors
from viberkit.cli import options, output
from viberkit.cli.archive import archive
from viberkit.cli.campaign import campaign
from viberkit.frames.csvfiles import write_csv

if TYPE_CHECKING:
    import pandas as pd

    from viberkit.sandbox.sandbox import Sandbox


_message_id = click.argument("message_id")
_folder = click.Path(file_okay=False, path_type=Path)
_port = click.IntRange(0, 65_535)
_dialect = click.Choice(["guide", "v2", "v3", "mixed"])
_table = click.Choice("events messages statuses inbound journeys callbacks gaps listening unreadable outbox".split())


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; default those of the process.

    Raises
    ------
    SystemExit
        Always, with the exit code of the command.
    """
    with output.escaped_output(), warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
        code: object = 1
        try:
            code = commands.main(args=args, prog_name="viberkit", standalone_mode=False)
        except click.exceptions.Abort:
            click.echo("stopped", err=True)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (errors.ViberkitError, ValueError) as error:
            click.echo("error: " + str(error).replace("\n", "\n       "), err=True)
            code = 3 if isinstance(error, errors.UnknownOutcome | errors.ArchiveWriteError) else 1
        except OSError as error:
            click.echo(f"error: {error.filename or 'output'}: {error.strerror or error}", err=True)
        except Exception:  # noqa: BLE001 - the interpreter would print it without escapes
            traceback.print_exc()
        sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True})
@click.version_option(__version__)
def commands() -> None:
    """Send Viber Business messages, store what the API reports, and measure delivery times.

    The API key and the service id are read from TYNTEC_API_KEY and VIBER_SERVICE_ID, or from a .env file.
    `viberkit demo` and `viberkit sandbox` need neither.

    Exit codes: 0 done, 1 refused or failed, 2 usage error, 3 a message was sent or may have been sent although the
    command failed: do not run it again.
    """


commands.add_command(archive)
commands.add_command(campaign)


@commands.command()
@click.option("--out", default="demo", type=_folder, help="Folder to write to.")
@click.option("--messages", default=500, type=click.IntRange(1, 100_000), help="Number of messages to send.")
@click.option("--seed", default=7, help="Seed of the sandbox.")
def demo(out: Path, messages: int, seed: int) -> None:
    """Send messages to a sandbox over two virtual weeks and measure their delivery times.

    The messages are sent over HTTP to a simulated API on this computer; the two weeks pass in seconds.
    """
    from viberkit.cli.demo import run

    run(out, messages, seed)


@commands.command()
@click.option("--port", default=8765, type=_port, help="Port to listen on; 0 selects a free one.")
@click.option("--seed", default=0, help="The same seed gives the same deliveries.")
@click.option("--speed", default=1.0, type=click.FloatRange(0, 1e5), help="Virtual seconds per second; 0 stops it.")
@click.option("--dialect", default="v3", type=_dialect, help="Format of the responses.")
@click.option("--now", is_flag=True, help="Start the virtual clock now instead of on 5 January 2026.")
def sandbox(now: bool, **settings: Any) -> None:
    """Serve a simulation of the API on loopback until Ctrl-C."""
    from viberkit.sandbox.sandbox import PREFIX, START, Sandbox

    start = datetime.now(UTC) if now else START
    with contextlib.suppress(KeyboardInterrupt), Sandbox(start=start, **settings) as server:
        click.echo("\n".join(f"export {name}={value}" for name, value in _settings(server).items()))
        url = f"{server.base_url.removesuffix(PREFIX)}/sandbox/advance"
        click.echo(f'# virtual time is {server.now:%F %T}; POST {{"seconds": 60}} to {url} to advance it')
        click.echo("# Ctrl-C stops the sandbox")
        threading.Event().wait()


@commands.command()
@click.argument("to")
@click.argument("text")
@options.rate_type
@options.button
@options.image
@options.context
@click.option("--yes", is_flag=True, help="Send without asking for confirmation.")
@options.archive
def send(to: str, text: str, yes: bool, archive_path: str, **arguments: Any) -> None:
    """Send TEXT to the phone number TO (E.164), store it in the archive and print the message id."""
    from viberkit.api.client import Client
    from viberkit.models.phone import mask, normalize
    from viberkit.models.validation import service_id_violations, violations

    number, rate_type = normalize(to), arguments["rate_type"]
    content = options.text_content(text, arguments.pop("image"), arguments.pop("button"))
    with Client() as client:  # everything is checked before the question, and no archive is created before the answer
        if isinstance(number, errors.Violation):
            raise errors.InvalidRequest([number])
        errors.raise_violations([*violations(content, rate_type), *service_id_violations(client.service_id)])
        if not yes:
            click.confirm(f"Send this {rate_type} message to {number}? It will be charged", abort=True)
        client.archive = options.any_archive(archive_path)
        try:
            sent = client.send(number, content, **arguments)
        except KeyboardInterrupt:
            reason = "interrupted during the request"
            raise errors.UnknownOutcome(reason, to=mask(number), context=arguments["context"]) from None
    click.echo(output.inline(sent.message_id))


@commands.command()
@options.decision
def resolve(archive_path: str, **decision: Any) -> None:
    """List the sends with an unknown outcome; with KEYS or --all, decide on them: resend or abandon, and --reason.

    After "resend", `viberkit send` or `viberkit campaign send` may send once more; "abandon" marks the send as settled.
    """
    with options.existing_archive(archive_path) as archive:
        options.list_or_resolve(archive.outbox(), archive.resolve, **decision)


@commands.command()
@_message_id
@options.archive
def status(message_id: str, archive_path: str) -> None:
    """Print the current state of a message, and since when."""
    with options.new_client(archive_path) as client:
        current = client.status(message_id)
    since = f" since {_timestamp(current.since)} UTC" if current.since else ""
    click.echo(output.inline(current.state) + since)


@commands.command()
@_message_id
@options.archive
def events(message_id: str, archive_path: str) -> None:
    """Print the history of a message: each state and when it was entered."""
    with options.new_client(archive_path) as client:
        for event in client.events(message_id):
            detail = "  ".join(filter(None, [event.code, event.detail]))
            click.echo(output.inline(f"{_timestamp(event.happened_at)}  {event.state:<15}{detail}".rstrip()))


@commands.command()
@_message_id
@options.archive
def message(message_id: str, archive_path: str) -> None:
    """Print a message as the server stores it, until 48 hours after its final state."""
    from viberkit.models.phone import mask

    with options.new_client(archive_path) as client:
        stored = client.message(message_id)
    for name in ("message_id", "to", "service_id", "rate_type", "content"):
        value = getattr(stored, name)
        click.echo(output.inline(f"{name:<12}{mask(value or '') if name == 'to' else value}"))


@commands.command()
@options.per_second
@options.workers
@click.option("--include-final", is_flag=True, help="Request the histories of all final messages again.")
@options.archive
def collect(archive_path: str, **settings: Any) -> None:
    """Request the histories of messages that are not final, and of final messages whose history was never fetched.

    Exit code 1 if a request failed.
    """
    from viberkit.api.client import Client
    from viberkit.campaigns.collector import collect as collect_histories

    with Client() as client, options.existing_archive(archive_path) as archive:
        result = collect_histories(client, archive, progress=sys.stderr.isatty(), **settings)
    click.echo(result.to_frame().to_string(index=False))
    if result.failed:
        sys.exit(1)


@commands.command()
@click.option("--host", default="127.0.0.1", help="Address; all but loopback addresses need a secret or a header.")
@click.option("--port", default=8766, type=_port, help="Port to listen on; 0 selects a free one.")
@click.option("--path", default="/callbacks", help="Path that receives callbacks.")
@click.option("--public-url", metavar="URL", help="The https address that reaches this listener from the internet.")
@click.option("--configure", is_flag=True, help="Configure the account to send every event to this listener.")
@click.option("--service-id", metavar="ID", help="Configure this service id instead of the account.")
@options.archive
def listen(configure: bool, service_id: str | None, archive_path: str, **address: Any) -> None:
    """Receive callbacks and store them in the archive until Ctrl-C.

    The signing secret is read from VIBERKIT_CALLBACK_SECRET (and the previous one from VIBERKIT_CALLBACK_SECRET_OLD
    while it is being replaced), a header that every callback must carry from VIBERKIT_CALLBACK_HEADER (name: value);
    in the environment or a .env file.
    """
    from viberkit.api.client import Client
    from viberkit.callbacks.listener import Listener

    if service_id and not configure:
        raise click.UsageError("--service-id: selects what to configure; add --configure")
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("viberkit.callbacks.listener").setLevel(logging.INFO)
    client = Client() if configure else None
    stop = threading.Event()
    with Listener(options.any_archive(archive_path), **address) as listener:
        numbers = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}  # Windows has no SIGHUP
        for number in numbers:
            signal.signal(number, lambda *_: stop.set())
        if client is not None:
            listener.configure(client, service_id=service_id)
        configured = f"; callbacks are configured to {listener.url}" if configure else ""
        click.echo(f"listening at {listener.local_url}{configured}; archive {listener.archive.name}; Ctrl-C stops")
        shown = 0
        while not stop.wait(1):
            if new := listener.stored - shown:
                shown += new
                with contextlib.suppress(OSError):  # a closed pipe does not end the listener
                    click.echo(f"{datetime.now():%H:%M:%S} {new:,} stored, {shown:,} in all")  # noqa: DTZ005 - local
    rejected = "; ".join(f"{count:,} × {reason}" for reason, count in listener.rejected.items()) or "none"
    click.echo(f"{listener.stored:,} stored, {listener.late:,} of them late; rejected: {rejected}")


@commands.command()
@click.argument("file", required=False, type=options.event_file)
@click.option("--by", multiple=True, help="Column to group by, e.g. rate_type; may be repeated.")
@options.archive
def latency(file: Path | None, by: tuple[str, ...], archive_path: str) -> None:
    """Print the latency table of the archive, or of a FILE of events (.jsonl, .parquet, .csv; - for standard input)."""
    from viberkit.analysis.latency import latency as latency_table
    from viberkit.cli.demo import format_latency

    if file is not None:
        events = _read_events(file)
    else:
        with options.existing_archive(archive_path) as archive:
            events = archive.events()
    click.echo(format_latency(latency_table(events, by=list(by) or None)))


@commands.command()
@options.log(since=None)
@click.option("--out", default="report.html", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--compare", is_flag=True, help="Compare with the period of the same length before.")
@click.option("--prices", multiple=True, type=options.Price(), help="Price of a rate type, or of an sms; repeatable.")
def report(prices: tuple[tuple[str, float], ...], **arguments: Any) -> None:
    """Write a report of deliveries as one HTML page, which needs no network."""
    from viberkit.reporting.document import report as write_report

    with _open_log(arguments) as log:
        try:
            result = write_report(log, prices=dict(prices) or None, **arguments)
        except errors.ViberkitError:
            raise
        except ValueError as error:  # of an option
            raise click.UsageError(str(error)) from None
    click.echo(repr(result))


@commands.command()
@options.log(since="1d")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def digest(as_json: bool, **arguments: Any) -> None:
    """Print five lines about a period: messages, times, the promise, failures, and what needs action.

    Exit codes: 0 the promise was met, or it is not certain; 1 it was missed; 2 there is no digest because of an error,
    which is printed to standard error.
    """
    from viberkit.reporting.digest import digest as make_digest

    try:
        with _open_log(arguments) as log:
            result = make_digest(log, **arguments)
        click.echo(json.dumps(result.figures, indent=2, allow_nan=False) if as_json else repr(result))
    except Exception as error:  # noqa: BLE001 - the exit code 1 is that of a missed promise
        raise click.UsageError(str(error)) from None
    sys.exit(result.missed)


def _open_log(arguments: dict[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Take the archive or the file of events from the arguments of a command, and open it."""
    path, file, arguments["by"] = arguments.pop("archive_path"), arguments.pop("events"), [*arguments["by"]] or None
    return options.existing_archive(path) if file is None else contextlib.nullcontext(_read_events(file))


@commands.command()
@click.argument("target", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--what", default="events", type=_table, help="Table to write.")
@click.option(
    "--lake", type=_folder, help="Folder to write events and messages to, for vk.EventLog; instead of TARGET."
)
@click.option("--since", help="With --lake: only messages from this instant on, e.g. 2026-03-01.")
@click.option("--raw", is_flag=True, help="Write texts to CSV unchanged, for programs that are no spreadsheets.")
@click.option("--bom", is_flag=True, help="Begin a CSV file with a byte order mark, so that Excel reads it as UTF-8.")
@options.archive
def export(
    target: Path | None, what: str, lake: Path | None, since: str | None, archive_path: str, raw: bool, bom: bool
) -> None:
    """Write a table of the archive to TARGET (.parquet or .csv), or all events to a folder. Phone numbers are masked.

    In CSV files, an apostrophe precedes texts that a spreadsheet would execute as formulas, unless --raw is passed.
    """
    from viberkit.analysis.journeys import journeys

    if lake is not None:
        from viberkit.lake.parquet import export as export_lake

        with options.existing_archive(archive_path) as archive:
            click.echo(repr(export_lake(archive, lake, since=since)))
        return
    if target is None:
        raise click.UsageError("TARGET: is missing; pass a file (.parquet or .csv), or --lake FOLDER")
    if target.suffix not in (".parquet", ".csv"):
        rule = "does not end in .parquet or .csv; the archive is passed as --archive"
        raise click.UsageError(f"TARGET: {target.name!r} {rule}")
    with options.existing_archive(archive_path) as archive:
        frame = journeys(archive.events()) if what == "journeys" else getattr(archive, what)()
    if target.suffix == ".parquet":
        frame.to_parquet(target, index=False)
    else:
        write_csv(frame, target, raw=raw, bom=bom)
    click.echo(f"{len(frame):,} rows written to {target}")


@commands.command()
@click.option("--folder", default="viberkit-tutorials", type=_folder, help="Folder to copy the tutorials to.")
@click.option("--port", default=8888, type=click.IntRange(1, 65_535), help="Port of JupyterLab.")
@click.option("--browser/--no-browser", default=True, help="Open a browser.")
@click.argument("jupyter_args", nargs=-1, type=click.UNPROCESSED)
def lab(folder: Path, port: int, browser: bool, jupyter_args: tuple[str, ...]) -> None:
    """Open JupyterLab on the tutorials, with a sandbox for `vk.Client()`.

    Arguments after `--` are passed to JupyterLab, e.g. `viberkit lab -- --allow-root`.
    """
    from viberkit.sandbox.sandbox import Sandbox

    notebooks = copy_tutorials(folder)
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", "--ServerApp.root_dir", str(folder.resolve())]
    command += [] if browser else ["--no-browser"]
    with Sandbox(speed=1.0) as server:
        click.echo(f"The tutorials are in {notebooks}; vk.Client() there uses a sandbox. Ctrl-C stops both.")
        environment = os.environ | _settings(server)
        with subprocess.Popen([*command, *jupyter_args], env=environment) as process:  # noqa: S603 - no shell
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())
            try:
                code = process.wait()
            finally:
                process.terminate()
    sys.exit(abs(code))


def copy_tutorials(folder: Path) -> Path:
    """Copy the tutorials and their data to a folder, without replacing what exists, and return the notebooks' path."""
    package = Path(__file__).parent.parent
    folders = (package / "tutorials", package.parent)  # of an installation, or of a clone of the project
    source = next((source for source in folders if (source / "notebooks").is_dir()), None)
    if source is None:
        raise click.ClickException("this installation has no tutorials; clone the project to get them")
    for name in ("notebooks", "data"):
        target = folder / name
        if not target.exists():
            shutil.copytree(source / name, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return folder / "notebooks"


def _settings(server: Sandbox) -> dict[str, str]:
    """The environment in which ``vk.Client()`` uses a sandbox."""
    names = ("VIBERKIT_BASE_URL", "TYNTEC_API_KEY", "VIBER_SERVICE_ID")
    return dict(zip(names, (server.base_url, server.api_key, server.service_id), strict=True))


def _timestamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03d}"


def _read_events(file: Path) -> pd.DataFrame:
    from viberkit.frames.reader import read_events

    if file.suffix == ".db":
        raise click.UsageError(f"FILE: {file.name!r} is an archive; pass it as --archive {file}")
    events = read_events(file)
    if events.empty:
        raise errors.UnreadableRecord(f"{file}: contains no event; pass events as .jsonl, .parquet or .csv")
    return events
