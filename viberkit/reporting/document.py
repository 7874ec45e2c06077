"""The report of a log as one HTML page without scripts and without requests."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from viberkit import charts
from viberkit.analysis import formatting
from viberkit.analysis.grouping import BY
from viberkit.archive.archive import Archive
from viberkit.charts.svg import as_svg
from viberkit.errors import escape
from viberkit.models.phone import mask_numbers
from viberkit.reporting.log import Log

#: A blank before a unit, at which no line is to break.
_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b|%)")


def _show(value: Any, most: int = 2_000) -> Any:
    """A value of a template: without control characters and phone numbers, cut, and escaped by the template."""
    if isinstance(value, Markup):
        return value
    text = mask_numbers(escape(str(value)))
    return text if len(text) <= most else f"{text[:most]}…"


def _chart(chart: Callable[..., Any], *results: Any, description: str, **options: Any) -> Markup:
    text = description.unescape() if isinstance(description, Markup) else description
    return Markup(as_svg(chart, *results, description=_show(text), **options))  # noqa: S704 - as_svg escapes


_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    extensions=["jinja2.ext.do"],
    finalize=_show,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals |= vars(formatting) | {"chart": _chart, "charts": charts, "rows": lambda frame: frame.itertuples()}
_environment.tests |= {"missing": pd.isna, "empty": lambda frame: not len(frame)}
_environment.filters |= {"short": partial(_show, most=200), "units": lambda text: type(text)(_UNIT.sub("\u00a0", text))}
_sentences: Any = _environment.get_template("sentences.html.j2").module
_sections: Any = _environment.get_template("sections.html.j2").module


def sentence(name: str, *values: Any) -> str:
    """A sentence of the templates as one line of text."""
    return " ".join(Markup(getattr(_sentences, name)(*values)).unescape().split())  # noqa: S704 - of a template


@dataclass(frozen=True)
class Report:
    """A report, as :func:`viberkit.report` returns it.

    ``html`` is the page, ``path`` the file to which it was written, or None. ``answers`` are the sentences at the top
    of the page. ``results`` has the frames that the report is made from, such as ``results.delivery_curve``.
    """

    answers: list[str]
    path: Path | None
    html: str = field(repr=False)
    results: Log = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return the key figures: counts of messages, the share delivered in time, and quantiles.

        Returns
        -------
        DataFrame
            - ``figure``: sent, delivered, failed, open; share_within; p50_s, p90_s, p95_s, p99_s
            - ``value``, ``low``, ``high``: the figure, and its interval
            - ``unit``: messages, share or s
        """
        return self.results.figures()

    def __repr__(self) -> str:
        return "\n".join([f"Report ({len(self.html) / 1000:,.0f} kB, {self.path or 'not written'})", *self.answers])

    def _repr_html_(self) -> str:
        style = "width: 100%; height: 640px; border: 0"  # a frame, whose styles are its own, and which runs no script
        return f'<iframe sandbox srcdoc="{Markup.escape(self.html)}" title="Report" style="{style}"></iframe>'


def report(
    source: Archive | pd.DataFrame,
    *,
    out: str | Path | None = None,
    since: Any = None,
    until: Any = None,
    by: BY = None,
    start: str = "accepted",
    within: float = 60,
    target: float = 0.95,
    prices: float | Mapping[str, float] | None = None,
    sms_within: float = 600,
    sms_curve: pd.DataFrame | None = None,
    tz: str = "UTC",
    compare: bool = False,
    title: str = "Delivery report",
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
    within, target : float, default 60 and 0.95
        The promise: which share of all messages is to be delivered within how many seconds.
    prices : float, or mapping of str to float, optional
        The price of one message, or the price by rate type; in a mapping, ``sms`` is the price of an SMS.
    sms_within : float, default 600
        Time in seconds within which the share ``target`` of the recipients is to be reached by message or SMS.
    sms_curve : DataFrame, optional
        How fast SMS arrive, as for :func:`viberkit.fallback`.
    tz : str, default "UTC"
        The time zone of dates without one, of windows, and of all times in the report.
    compare : bool, default False
        Whether to compare with the period of the same length before; without ``since``, the second half of the log
        with the first.
    title : str, default "Delivery report"
        The title of the page.

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
        If ``since``, ``until``, ``within``, ``target`` or ``tz`` is invalid.

    See Also
    --------
    digest : The same in five lines.

    Examples
    --------
    >>> at = pd.date_range("2026-03-01T09:00:00Z", periods=60, freq="1min")
    >>> journeys = pd.DataFrame({"message_id": map(str, range(60)), "accepted_at": at, "outcome": "delivered",
    ...     "delivered_at": at + pd.Timedelta("2s"), "observed_until": at.max() + pd.Timedelta("1h")})
    >>> result = vk.report(journeys, within=60, target=0.9)
    >>> print(result.answers[0])
    Half of the messages were delivered within 2 s (0 ms – 2 s), and 95 % within 2 s (0 ms or more).
    >>> result.to_frame().head(2)
          figure  value  low  high      unit
    0       sent   60.0  NaN   NaN  messages
    1  delivered   60.0  NaN   NaN  messages
    """
    options: dict[str, Any] = {"start": start, "within": within, "target": target, "tz": tz, "by": by}
    options |= {"since": since, "until": until, "compare": compare, "prices": prices}
    log = Log.read(source, "report", **options, sms={"within": sms_within, "sms_curve": sms_curve})
    is_timed, known = log.started.notna().any(), ["what_matters"] if len(log.journeys) else []
    names = ["how_long", "verdict", *known, "against"][: 3 + compare] if is_timed else ["nothing", *known]
    attempts = [_attempt(partial(sentence, name, log), str) for name in names]
    answers = list(dict.fromkeys(text for text, _ in attempts))

    def section(name: str) -> Markup:
        content, notes = _attempt(partial(getattr(_sections, name), log), _sections.error)
        return Markup().join([content, *map(_sections.note, notes)])

    html = _environment.get_template("report.html.j2").render(
        title=title,
        log=log,
        answers=answers,
        notes=dict.fromkeys(note for _, notes in attempts for note in notes),
        section=section,
        versions={name: metadata.version(name) for name in ("viberkit", "pandas", "numpy")},
    )
    html = re.sub(r"(?<=>)[^<]+(?=<)", lambda text: mask_numbers(escape(text[0])), html)  # in charts, too
    if out is not None:
        Path(out).write_text(html, encoding="utf-8")
    return Report(answers, None if out is None else Path(out), html, log)


def _attempt(make: Callable[[], Any], show: Callable[[str], Any]) -> tuple[Any, list[str]]:
    """What a function returns, or the error that it raises; and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = make()
        except Exception as error:  # noqa: BLE001 - what else is known is to be shown
            result = show(f"This is not available: {type(error).__name__}: {error}")
    own = (f"{warning.message}." for warning in caught if warning.category.__module__.startswith("viberkit."))
    return result, list(dict.fromkeys(own))
