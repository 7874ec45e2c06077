"""The report of a log as one HTML page without scripts and without requests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from viberkit.analysis.formatting import percent
from viberkit.analysis.grouping import BY
from viberkit.archive.archive import Archive
from viberkit.errors import escape
from viberkit.models.phone import mask_numbers
from viberkit.reporting.log import Log, Promise
from viberkit.reporting.sections import SECTIONS, Analysis, Block, answer


class Report:
    """A report: its HTML page, its figures, and the results that it is made from.

    Returned by :func:`viberkit.report`.

    Parameters
    ----------
    html : str
        The page.
    path : pathlib.Path or None
        The file to which it was written.
    figures : DataFrame
        The key figures.
    results : dict of str to DataFrame
        The results of the analyses, by name.
    answers : list of str
        The sentences at the top of the page.
    """

    def __init__(
        self, html: str, path: Path | None, figures: pd.DataFrame, results: dict[str, pd.DataFrame], answers: list[str]
    ) -> None:
        self.html, self.path, self.results, self.answers = html, path, results, answers
        self._figures = figures

    def to_frame(self) -> pd.DataFrame:
        """Return the key figures: counts of messages, the share delivered in time, and quantiles.

        Returns
        -------
        DataFrame
            - ``figure``: sent, delivered, failed, open; share_within; p50_s, p90_s, p95_s, p99_s
            - ``value``, ``low``, ``high``: the figure, and its interval
            - ``unit``: messages, share or s
        """
        return self._figures.copy()

    def __repr__(self) -> str:
        where = f"{len(self.html) / 1000:,.0f} kB, " + (f"in {self.path}" if self.path else "not written to a file")
        return "\n".join([f"Report ({where})", *self.answers])

    def _repr_html_(self) -> str:
        page = Markup.escape(self.html)  # in a frame, whose styles are its own, and which executes no script
        return f'<iframe sandbox srcdoc="{page}" title="Delivery report" style="width:100%;height:640px;border:0"></iframe>'


def report(
    source: Archive | pd.DataFrame,
    *,
    out: str | Path | None = None,
    since: Any = None,
    until: Any = None,
    by: BY = None,
    start: str = "accepted",
    within: float = 60,
    objective: float = 0.95,
    prices: float | Decimal | Mapping[str, float | Decimal] | None = None,
    sms_within: float = 600,
    sms_curve: pd.DataFrame | None = None,
    compare: bool = False,
    title: str = "Delivery report",
    tz: str = "UTC",
) -> Report:
    """Write a report of deliveries as one HTML page: the answer first, then charts, tables and methods.

    The page contains everything it needs: it has no scripts, and loads nothing. A section that cannot be made says why.

    Parameters
    ----------
    source : Archive or DataFrame
        An archive, events, or journeys. Of journeys, what needs events is left out.
    out : str or pathlib.Path, optional
        The file to write; by default none is written.
    since, until : str or instant, optional
        The period in which the messages were sent (entered ``start``): an instant such as ``"2026-03-01"``, or a
        duration such as ``"7d"`` before the last observation of the log, which may be earlier than now.
    by : str or sequence of str, optional
        Columns to group by; by default ``rate_type`` or ``country``, if there are at least two of them.
    start : str, default "accepted"
        The state from which time is measured.
    within, objective : float, default 60 and 0.95
        The promise: which share of all messages is to be delivered within how many seconds.
    prices : float, Decimal, or mapping of str to float or Decimal, optional
        The price of one message, or the price by rate type; in a mapping, ``sms`` is the price of an SMS.
    sms_within : float, default 600
        Time in seconds within which the share ``objective`` of the recipients is to be reached by message or SMS.
    sms_curve : DataFrame, optional
        How fast SMS arrive, as for :func:`viberkit.fallback`.
    compare : bool, default False
        Whether to compare with the period of the same length before; without ``since``, the second half of the log
        with the first.
    title : str, default "Delivery report"
        The title of the page.
    tz : str, default "UTC"
        The time zone of dates without one, of windows, and of all times in the report.

    Returns
    -------
    Report
        The report, with ``html``, ``path``, ``results``, ``answers`` and ``to_frame()``.

    Raises
    ------
    MissingColumn
        If the frame has neither the columns of events nor those of journeys.
    TypeError
        If ``source`` is neither an archive nor a frame.
    ValueError
        If ``since``, ``until``, ``within``, ``objective`` or ``tz`` is invalid.

    See Also
    --------
    digest : The same in five lines.

    Examples
    --------
    >>> at = pd.date_range("2026-03-01T09:00:00Z", periods=60, freq="1min")
    >>> journeys = pd.DataFrame({"message_id": map(str, range(60)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.Timedelta("2s"), "observed_until": at.max() + pd.Timedelta("1h")})
    >>> result = vk.report(journeys, within=60, objective=0.9)
    >>> print(result.answers[0])
    Half of the messages were delivered within 2 s (2 s – 2 s), and 95 % within 2 s (2 s – 2 s).
    >>> result.to_frame().head(2)
          figure  value  low  high      unit
    0       sent     60  NaN   NaN  messages
    1  delivered     60  NaN   NaN  messages
    """
    whole = Log.read(source, Promise(within, objective, start, tz), "report")
    log, before = whole.since(since, until), None
    if compare and len(whole.journeys):
        if since is None:
            log = log.between(log.begin + (log.end - log.begin) / 2, log.end)
        before = whole.between(log.begin - (log.end - log.begin), log.begin)
    sms_price = prices.get("sms") if isinstance(prices, Mapping) else None
    if isinstance(prices, Mapping):
        prices = {name: price for name, price in prices.items() if name != "sms"}
    amounts: Any = (prices, sms_price)
    analysis = Analysis(log, before, by, *amounts, sms_within, sms_curve)
    empty = not len(log.journeys)
    top = [("answer", f"No message was sent in this period: {log.period}.")] if empty else _blocks(answer, analysis)
    sections = [(heading, name, _blocks(make, analysis)) for heading, name, make in SECTIONS if not empty or name == "methods"]
    figures = log.figures()
    html = _TEMPLATE.render(
        title=title,
        period=log.period,
        promise=str(log.promise),
        top=top,
        tiles=_tiles(figures),
        sections=[section for section in sections if section[2]],
    )
    path = None if out is None else Path(out)
    if path is not None:
        path.write_text(html, encoding="utf-8")
    return Report(html, path, figures, analysis.results, [str(text) for kind, text, *_ in top if kind == "answer"])


def _blocks(make: Callable[[Analysis], Iterator[Block]], analysis: Analysis) -> list[Block]:
    """What a section yields, and its warnings; if it raises an error, what it yielded before, and the error."""
    blocks: list[Block] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            blocks.extend(make(analysis))
        except Exception as error:  # noqa: BLE001 - the other sections are to be shown
            blocks.append(("error", f"This section could not be made: {type(error).__name__}: {error}"))
    texts = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    return [*blocks, *(("note", f"Note: {text}.") for text in texts)]


def _tiles(figures: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The figures at the top of the page: label, value and a note."""
    rows = figures.set_index("figure")
    n = rows.loc["sent", "value"]
    tiles = [("sent", f"{n:,.0f}", "messages")]
    for name in ("delivered", "failed", "open"):
        count = rows.loc[name, "value"]
        tiles.append((name, percent(count / max(n, 1)), f"{count:,.0f} messages"))
    return tiles


def _show(value: Any) -> Any:
    """What the template shows of a value, before it escapes it: no control characters and no phone numbers."""
    return value if isinstance(value, Markup) else mask_numbers(escape(str(value)))


_TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_show,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("report.html.j2")
