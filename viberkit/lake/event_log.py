"""An event log that outgrows memory: the functions of the analysis take it in place of a frame."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import is_list_like
from tqdm import tqdm

from viberkit.analysis.counts import Request
from viberkit.analysis.durations import IntervalTimesWarning
from viberkit.analysis.grouping import check_name_clash
from viberkit.analysis.journeys import ERROR_STATES, JOURNEY_STATES, outcomes
from viberkit.analysis.ordering import MINUTE, NEVER, SECOND, instants
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS
from viberkit.frames.schema import INSTANT
from viberkit.lake import sql
from viberkit.lake.engines import Engine, engine_of
from viberkit.models.secret import hide_url
from viberkit.models.states import ORDER, is_of_message, rank

_REQUIRED = ("message_id", "state", "happened_us")
#: The columns of instants in a lake, and in a frame.
INSTANTS = {"happened_us": "happened_at", "received_us": "received_at", "observed_until_us": "observed_until"}
INSTANTS |= {"not_before_us": "not_before", "observed_from_us": "observed_from"}
#: The columns that are no facts of the message; the code is that of its last failure.
_OF_EVENT = {*EVENTS.names, *INSTANTS, "state_rank", "source_rank", "inbound", "bucket", "month"} - {"code"}
_OF_FACTS = ("string", "large_string", "dictionary", "bool")  # types in Arrow
#: The columns of counts, which facts are next to.
_COUNTED = """cluster started time duration cause earliest entry entered informative until n dependent is_coarse
state_code next_code""".split()
_EXACT = 4_000_000  # events up to which dependence is estimated from each message
_SLOTS, _SLOTS_OF_WINDOW = 256, 64  # stretches of time in a log, and in each of many windows
_PARTS = 4  # classes of time in an octave
_FEW = 10  # times of a clock whose resolution is not judged
_MOST_STATES = 4_000  # so that an instant times their number fits into 64 bits
_DECADE = pd.Timedelta(3_653, unit="D") // pd.Timedelta("1us")


class EventLog:
    """Events in Parquet files, DuckDB, Spark or PostgreSQL, for the functions that otherwise take a frame.

    The functions of the analysis take it as their first argument. For ``latency``, ``time_to``, ``delivery_curve``,
    ``compare``, ``over_time``, ``profile``, ``slo`` and ``fallback`` the engine counts how many messages have a
    duration, and only these counts are read; for others one row per message, or the events.

    Parameters
    ----------
    source : str, Path, duckdb relation, Spark data frame or psycopg connection
        Parquet files as a folder or a pattern such as ``"lake/**/*.parquet"``, the address of a PostgreSQL database
        (``"postgresql://…"``), or an object of the engine, whose connection or session is used. Each row is an event
        with ``message_id``, ``state`` and ``happened_us`` (microseconds since 1970, UTC). Optional columns are
        ``observed_until_us``, ``received_us``, ``observed_from_us``, ``source``, ``channel``, ``inbound``, and facts
        of the messages, which are the same in all events of a message.
    table : str, default "events"
        The table of a PostgreSQL database, e.g. ``"schema.events"``. By default that of an archive, if the database
        has one: the events of ``archive.events()``, also for a role that sees masked numbers only.
    memory_limit : str, default "600MB"
        The memory that DuckDB uses at most for Parquet files; beyond it uses a temporary folder.
    progress : bool, default False
        Whether to show a progress bar over the buckets of Parquet files.

    Attributes
    ----------
    columns : list of str
        The columns of the log.

    Raises
    ------
    MissingColumn
        If a column is missing.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    viberkit.export : Writes the events of an archive as Parquet.

    Notes
    -----
    Durations that are counted are rounded down to whole milliseconds, and above an hour to whole seconds. All times are
    taken as exact, those of polls and of coarse clocks, too, with a warning, except by functions of events.
    ``docs/big-logs.md`` says what differs from a frame, and what has to fit into memory.

    Examples
    --------
    >>> import duckdb
    >>> rows = [("a", "accepted", 0), ("a", "delivered", 2_000_000), ("b", "accepted", 0), ("b", "failed", 4_000_000)]
    >>> events = duckdb.from_df(pd.DataFrame(rows, columns=["message_id", "state", "happened_us"]))
    >>> vk.time_to(vk.EventLog(events), quantiles=0.5)["value_s"].tolist()
    [2.0]
    """

    def __init__(
        self, source: Any, *, table: str = "events", memory_limit: str = "600MB", progress: bool = False
    ) -> None:
        source = hide_url(source)  # before anything can fail
        self._engine: Engine = engine_of(source, table, memory_limit)
        self._progress = progress
        self._filters: list[tuple[str, list[Any]]] = []
        self._started: tuple[int | None, int | None] = (None, None)
        schema = self._engine.query(f"select * from {self._engine.parts()[0]} limit 0").schema
        self.columns: list[str] = schema.names
        self._booleans = {field.name for field in schema if pa.types.is_boolean(field.type)}
        if missing := [name for name in _REQUIRED if name not in self.columns]:
            raise MissingColumn("EventLog", missing, self.columns)
        for name, kind in zip(schema.names, map(str, schema.types), strict=True):
            if name in INSTANTS and not kind.startswith(("int", "float", "double", "null")):
                remedy = f"convert it, e.g. epoch_us({name}) of a timestamp, or cast({name} as bigint)"
                raise ValueError(f"EventLog: {name} is {kind}, and not int64, microseconds since 1970; {remedy}")
            if name == "state" and kind.startswith(("int", "binary")):
                raise ValueError(f"EventLog: state is {kind}, and no text; convert it, e.g. cast(state as varchar)")

    def __repr__(self) -> str:
        if not hasattr(self, "_filters"):  # in a traceback of what failed before
            return "EventLog()"
        texts = [f"{name}={values[0] if len(values) == 1 else values!r}" for name, values in self._filters]
        texts += [
            f"{name}={instants(pd.Series([at]).to_numpy())[0].isoformat()}"
            for name, at in zip(("since", "until"), self._started, strict=True)
            if at is not None
        ]
        return f"EventLog({', '.join([self._engine.name, *texts])})"

    def where(self, *, since: Any = None, until: Any = None, **columns: Any) -> EventLog:
        """Return the log of some of the messages.

        Parameters
        ----------
        since, until : instant, optional
            Messages whose first event is at or after ``since``, and before ``until``.
        **columns : value or list of values
            Values of columns, such as ``country="AT"`` or ``country=["AT", "DE"]``; None for a missing value.

        Returns
        -------
        EventLog
            The same log with this condition, too.

        Raises
        ------
        MissingColumn
            If there is no such column.

        Examples
        --------
        >>> import duckdb
        >>> rows = [("a", "accepted", 0, "AT"), ("b", "accepted", 0, "DE")]
        >>> events = pd.DataFrame(rows, columns=["message_id", "state", "happened_us", "country"])
        >>> vk.EventLog(duckdb.from_df(events)).where(country="AT").values("country")
          country  n_events
        0      AT         1
        """
        self._check_columns("where", columns)
        log = EventLog.__new__(EventLog)
        log._engine, log._progress, log.columns = self._engine, self._progress, self.columns
        log._booleans = self._booleans
        added = [(name, [*values] if is_list_like(values) else [values]) for name, values in columns.items()]
        log._filters = self._filters + [(name, [None if pd.isna(v) else v for v in values]) for name, values in added]
        given = [EVENTS["happened_at"].cast(pd.Series([at], dtype=object)).astype("int64")[0] for at in (since, until)]
        first, last = ([] if pd.isna(at) else [int(number)] for at, number in zip((since, until), given, strict=True))
        before = [[] if at is None else [at] for at in self._started]
        log._started = max(first + before[0], default=None), min(last + before[1], default=None)
        return log

    def values(self, column: str) -> pd.DataFrame:
        """Return the distinct values of a column and the number of events of each, the most frequent first.

        Parameters
        ----------
        column : str
            A column of the log.

        Returns
        -------
        DataFrame
            ``column`` and ``n_events``.

        Raises
        ------
        MissingColumn
            If there is no such column.
        """
        self._check_columns("values", [column])
        name = self._engine.identifier(column)
        queries = (f"select {name} as f0, count(*) as n from ({rows}) rows group by {name}" for rows in self._parts())
        table = (
            self._concatenated(queries).group_by("f0").aggregate([("n", "sum")]).rename_columns([column, "n_events"])
        )
        counts: pd.DataFrame = table.to_pandas()
        return counts.sort_values(["n_events", column], ascending=[False, True], ignore_index=True)

    def to_frame(self) -> pd.DataFrame:
        """Return the events as a frame, for functions that need one; it has to fit into memory.

        Returns
        -------
        DataFrame
            The columns of the log, with instants as such, sorted by message and time.
        """
        return _events_of(self._concatenated(self._queries(self.columns)))

    def _frames(self) -> Iterator[pd.DataFrame]:
        """Return the events; see :class:`viberkit.analysis.counts.EventCounts`."""
        queries = self._queries([name for name in self.columns if name in {*_OF_EVENT, "code"}])
        return map(_events_of, self._engine.queries(self._bar(queries)))

    def _queries(self, columns: list[str]) -> list[str]:
        """The queries for columns of the events of each part, also those that are not of sent messages."""
        names = ", ".join(map(self._engine.identifier, columns))
        return [f"select {names} from ({rows}) rows" for rows in self._parts(is_complete=None)]

    def _count_durations(self, request: Request) -> tuple[pd.DataFrame, int]:
        """Return the counts of durations; see :class:`viberkit.analysis.counts.EventCounts`."""
        steps = self._steps(request)
        classes = ("duration", "earliest", "entered")
        table, now = self._counts(sql.durations, request, steps, classes, self._now), 0
        if request.late and table.num_rows and (now := pc.max(table["until"]).as_py()) != self._now:
            table = self._counts(sql.durations, request, steps, classes, now)
        is_dropped = pc.is_null(table["duration"])
        dropped = table.filter(pc.and_(is_dropped, pc.equal(table["is_coarse"], 0)))
        frame = self._frame(table.filter(pc.invert(is_dropped)), request, steps)
        frame = frame.rename(columns={"duration": "time", "entered": "entry"})
        return frame.astype({"informative": bool}), int(pc.sum(dropped["n"]).as_py() or 0)

    def _count_transitions(self, request: Request) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the counts of transitions and waits; see :class:`viberkit.analysis.counts.EventCounts`."""
        steps, names = self._steps(request), ("state_code", "next_code")
        table = self._counts(sql.transitions, request, steps, ["duration"], self._now)
        if pc.any(pc.equal(table["next_code"], -2)).as_py():
            source = self._source("", self._now)
            repeated = self._concatenated(
                sql.repeated(events, source, request, steps) for events in self._events(request)
            )
            tables = table, self._shaped(repeated, request, steps, ["duration"])
            table = pa.concat_tables(tables, promote_options="permissive")
        transitions = table.filter(pc.greater_equal(table["next_code"], 0))
        waiting = table.filter(pc.and_(pc.equal(table["next_code"], -1), pc.equal(table["is_coarse"], 0)))
        frames = []
        for part in (transitions, waiting):
            frame = self._frame(part, request, steps).rename(columns={"duration": "time"})
            for name, column in zip(names, ("from_state", "to_state"), strict=False):
                frame[column] = self._named(frame.pop(name))
            frames.append(frame)
        return frames[0], frames[1]

    def _journeys(self, function: str, columns: Iterable[str | None]) -> pd.DataFrame:
        """Return journeys; see :class:`viberkit.analysis.counts.EventCounts`."""
        names = {*columns}
        facts = [name for name in self.columns if name in names and name not in _OF_EVENT]
        request, source = Request(function, facts), self._source("", self._now)
        queries = (sql.journeys(events, source, len(facts)) for events in self._events(request))
        table = self._shaped(self._concatenated(queries), request, None, ())
        table = table.sort_by([("first_us", "ascending"), ("id", "ascending")])
        table = table if "message_id" in names else table.drop_columns(["id"])
        read = dict(zip(table.column_names, table.columns, strict=True))
        del table  # each column is freed once it is converted

        def times(name: str) -> pd.Series[Any]:
            return instants(pc.fill_null(read.pop(name).cast(pa.int64()), NEVER).to_numpy())

        frame: dict[str, Any] = {"message_id": read.pop("id").to_pandas()} if "message_id" in names else {}
        frame |= {f"{state}_at": times(state) for state in JOURNEY_STATES if state in self._codes}
        frame["outcome"] = outcomes(frame, len(read["last_code"]))
        frame["last_state"] = self._named(read.pop("last_code").to_pandas())
        frame |= {name: read.pop(f"f{index}").to_pandas() for index, name in enumerate(facts)}
        frame |= {"observed_until": times("until")}
        frame |= {"observed_from": times("since")} if "observed_from_us" in self.columns else {}
        return pd.DataFrame(frame, copy=False)

    def _facts(self, largest: int) -> list[str]:
        """Return names of columns; see :class:`viberkit.analysis.counts.EventCounts`."""

        def values(name: str) -> pa.ChunkedArray:
            query = f"select distinct {self._engine.identifier(name)} as f0 from ("
            return self._concatenated(f"{query}{rows}) rows limit {largest + 1}" for rows in self._parts())["f0"]

        columns = {name: values(name) for name in self.columns if name not in _OF_EVENT}
        few = [name for name, column in columns.items() if len(column.unique()) <= largest]
        return [name for name in few if str(columns[name].type).startswith(_OF_FACTS)]

    def _with_codes(self, rows: str) -> str:
        """The query for events with the code of the last failure of their message."""
        states = ", ".join(map(self._engine.literal, ERROR_STATES))
        last = "row_number() over (partition by message_id order by happened_us desc, code desc)"
        failures = f"select message_id as failed_id, code as failed_code, {last} as failed_nth from ({rows}) rows"
        failures += f" where state in ({states}) and code is not null"
        return f"select * from ({rows}) rows left join ({failures}) failed on message_id = failed_id and failed_nth = 1"

    def _named(self, codes: pd.Series[Any]) -> Any:
        """The states of codes."""
        states = EVENTS["state"].cast(pd.Series([*self._codes], [*self._codes.values()]))
        return states.reindex(codes).array

    def _check_columns(self, function: str, names: Iterable[str]) -> None:
        if missing := [name for name in names if name not in self.columns]:
            raise MissingColumn(f"EventLog.{function}", missing, self.columns)

    def _rows(self, part: str, *, is_complete: bool | None = True) -> str:
        """The query for the events of a part that belong to the log; with None, also those not of sent messages."""
        quote, literal = self._engine.identifier, self._engine.literal
        conditions = [f"{name} is not null" for name in _REQUIRED]
        if "inbound" in self.columns and is_complete is not None:
            conditions.append("coalesce(inbound, false) = false")
        for name, values in self._filters:
            known = ", ".join(literal(value) for value in values if value is not None)
            texts = [f"{quote(name)} in ({known})"] if known else []
            texts += [f"{quote(name)} is null"] if None in values else []
            conditions.append(f"({' or '.join(texts or ['false'])})")
        groups = [
            f"min(happened_us) {sign} {at}"
            for sign, at in zip((">=", "<"), self._started, strict=True)
            if at is not None
        ]
        if is_complete:
            if others := [state for state in self._states["state"].unique() if not is_of_message(state)]:
                conditions.append(f"state not in ({', '.join(map(literal, others))})")
            if self._has_other_channels:
                groups.append("max(case when lower(channel) like 'viber%' then 1 when channel is null then 0 end) = 1")
                groups[-1] = f"({groups[-1]} or count(channel) = 0)"
        text = f"select * from {part} part where {' and '.join(conditions)}"
        if groups:
            ids = f"select message_id from ({text}) part group by message_id having {' and '.join(groups)}"
            text += f" and message_id in ({ids})"
        return text

    def _parts(self, *, is_complete: bool | None = True) -> list[str]:
        """The queries for the events of each part that belong to the log."""
        return [self._rows(part, is_complete=is_complete) for part in self._engine.parts()]

    def _bar(self, queries: Sequence[str]) -> Iterable[str]:
        bar: Iterable[str] = tqdm(queries, disable=not self._progress or len(queries) == 1, unit="bucket", leave=False)
        return bar

    def _concatenated(self, queries: Iterable[str]) -> pa.Table:
        """The results of queries of the parts, one below the other."""
        tables = [*self._engine.queries(self._bar([*queries]))]
        return pa.concat_tables(tables, promote_options="permissive")

    @cached_property
    def _states(self) -> pd.DataFrame:
        """The states of all events."""
        return self._states_of(is_complete=False)

    @cached_property
    def _sent(self) -> pd.DataFrame:
        """The states of sent messages on Viber, whose last event is the end of the log."""
        is_all = self._states["state"].map(is_of_message).all() and not self._has_other_channels
        return self._states if is_all else self._states_of(is_complete=True)

    def _states_of(self, *, is_complete: bool) -> pd.DataFrame:
        """The number of events, their first and last instant and the last observation, by state, source and channel."""
        keys = {name: name if name in self.columns else f"'' as {name}" for name in ("source", "channel")}
        polled = "count(not_before_us)" if "not_before_us" in self.columns else "0"
        has_rank = "state_rank" in self.columns
        ranks = ", ".join(f"{name}({'state_rank' if has_rank else -1}) as {name}_rank" for name in ("min", "max"))
        query = f"""select state, {", ".join(keys.values())}, count(*) as n_events, min(happened_us) as first,
  max(happened_us) as last, max({self._observed}) as observed, {polled} as n_polled,
  max(happened_us % {SECOND}) as of_second, max(happened_us % {MINUTE}) as of_minute, {ranks}
from ({{rows}}) rows group by {", ".join(["state", *(name for name in keys if name in self.columns)])}"""
        table = self._concatenated(query.format(rows=rows) for rows in self._parts(is_complete=is_complete))
        how = {"n_events": "sum", "n_polled": "sum", "first": "min", "min_rank": "min"}
        grouped = table.to_pandas().groupby(["state", *keys], dropna=False, as_index=False, sort=False)
        states: pd.DataFrame = grouped.agg({name: how.get(name, "max") for name in table.column_names[3:]})
        if len(states) and states["last"].max() - states["first"].min() > _DECADE:
            raise ValueError("EventLog: happened_us: the events span more than ten years; pass log.where(since=…)")
        return states

    @cached_property
    def _codes(self) -> dict[str, int]:
        """The states with their codes, in the order in which events of one instant happened."""
        states = sorted(filter(is_of_message, self._states["state"].unique()), key=lambda state: (rank(state), state))
        if len(states) > _MOST_STATES:
            remedy = "state has to be a state of a message, not a text that is different in each event"
            raise ValueError(f"EventLog: state: has {len(states):,} different values; {remedy}")
        self._warn_of_inexact_times()
        if self._has_ranks:
            return {state: rank(state) for state in states}
        return {state: code for code, state in enumerate(states)}

    @property
    def _has_ranks(self) -> bool:
        """Whether the column of ranks has the code of each state."""
        known = self._states["state"].map(rank)
        is_same = (self._states["min_rank"] == known) & (self._states["max_rank"] == known)
        return len(known) > 0 and bool((is_same & (known < len(ORDER))).all())

    @property
    def _has_other_channels(self) -> bool:
        """Whether some events are on Viber and some are not."""
        channels = [str(name).lower().startswith("viber") for name in self._states["channel"].dropna() if name]
        return any(channels) and not all(channels)

    @property
    def _observed(self) -> str:
        """The last observation by an event."""
        names = [name for name in ("observed_until_us", "received_us") if name in self.columns]
        if len(names) < 2:
            return names[0] if names else "cast(null as bigint)"
        return "greatest(coalesce({0}, {1}), coalesce({1}, {0}))".format(*names)

    @property
    def _now(self) -> int:
        """The last observation of all."""
        if not len(self._sent):
            return 0
        last = int(self._sent["last"].max())
        observed = self._sent["observed"].fillna(last).max()
        return int(observed if observed <= last + _DECADE else last)

    def _warn_of_inexact_times(self) -> None:
        """Warn of times that a frame would take as intervals."""
        many = self._states[(self._states["n_events"] >= _FEW) & (self._states["n_polled"] < self._states["n_events"])]
        is_coarse = (many["of_minute"] == 0) | (many["of_second"] == 0) & (many["of_second"].max() > 0)
        finest = many.groupby("source")["of_second"].transform("max")
        is_coarse &= (many["state"] != "accepted") | (finest == many["of_second"])  # of a schedule
        kinds = [*many["state"][is_coarse].unique(), *self._states["state"][self._states["n_polled"] > 0].unique()]
        if kinds:
            text = f"EventLog: times of {', '.join(map(repr, kinds[:3]))} are from polls or from a coarse clock and are"
            remedy = "functions take vk.journeys(log.to_frame()) as intervals"
            warnings.warn(f"{text} taken as exact; {remedy}", IntervalTimesWarning, stacklevel=7)

    def _steps(self, request: Request) -> sql.Steps | None:
        """The steps of what dependence is estimated from; None for a small log."""
        if self._states["n_events"].sum() <= _EXACT:
            return None
        if not request.is_dependent:
            return sql.Steps(0, 0)
        slot = int(self._states["last"].max() - self._states["first"].min()) // _SLOTS + 1
        lengths = [length for length, period in request.split if period is None]
        return sql.Steps(min([slot, *(length // _SLOTS_OF_WINDOW + 1 for length in lengths)]), _PARTS)

    def _counts(
        self,
        query: Callable[[sql.Source, Request, sql.Steps | None], str],
        request: Request,
        steps: sql.Steps | None,
        classes: Sequence[str],
        now: int,
    ) -> pa.Table:
        """The counts of a query, with the values of classes in the columns of exact ones."""
        check_name_clash(request.by, _COUNTED)
        queries = [sql.messages(events, self._codes, len(request.by)) for events in self._events(request)]
        source = self._source(self._engine.messages(queries, self._bar), now)
        return self._shaped(self._engine.query(query(source, request, steps)), request, steps, classes)

    def _shaped(self, table: pa.Table, request: Request, steps: sql.Steps | None, classes: Sequence[str]) -> pa.Table:
        for name in (f"f{index}" for index, name in enumerate(request.by) if name in self._booleans):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.bool_()))
        table = table.drop_columns([f"w{index}" for index in range(len(request.split) + request.late)])
        if not (steps and steps.slot):
            return table
        for name in classes:
            column = pc.coalesce(table[name], table[f"{name}_class"])
            table = table.set_column(table.column_names.index(name), name, column)
        return table.drop_columns(["slot", *(f"{name}_class" for name in classes)])

    def _source(self, messages: str, now: int) -> sql.Source:
        times = (self._sent["first"].min(), self._sent["last"].max()) if len(self._sent) else (0, 0)
        return sql.Source(messages, self._codes, int(times[0]), int(times[1]), now)

    def _events(self, request: Request) -> list[str]:
        """The queries for the events of each part, with the columns of a request."""
        names = [*request.by, *([request.cluster] if request.cluster else [])]
        self._check_columns(request.function, names)
        if wrong := [name for name in names if name in _OF_EVENT]:
            raise ValueError(f"by: {wrong[0]!r} is a column of events; pass a column of facts of the messages")
        quote, literal = self._engine.identifier, self._engine.literal
        cases = " ".join(f"when {literal(state)} then {code}" for state, code in self._codes.items())
        cases = cases or "when '' then 0"  # of a log without events
        code = "state_rank" if self._has_ranks else f"case state {cases} end"
        numbers = {name: f"cast({quote(name)} as int)" for name in self._booleans}  # booleans have no least value
        columns = ["failed_code" if name == "code" else numbers.get(name, quote(name)) for name in request.by]
        facts = "".join(f", {column} as f{index}" for index, column in enumerate(columns))
        cluster = numbers.get(request.cluster, quote(request.cluster)) if request.cluster else "0"
        since = "observed_from_us" if "observed_from_us" in self.columns else "cast(null as bigint)"
        parts = (self._with_codes(rows) if "code" in request.by else rows for rows in self._parts())
        events = f"select message_id as id, happened_us as us, {code} as state_code, {self._observed} as observed,"
        return [f"{events} {since} as since, {cluster} as cluster{facts} from ({rows}) rows" for rows in parts]

    def _frame(self, table: pa.Table, request: Request, steps: sql.Steps | None) -> pd.DataFrame:
        """The counts as a frame: of a small log a row per message, else the numbers in two columns."""
        frame: pd.DataFrame = table.to_pandas().rename(
            columns={f"f{index}": name for index, name in enumerate(request.by)}
        )
        is_coarse = frame.pop("is_coarse").to_numpy() > 0
        if steps is None:
            frame = frame.loc[frame.index.repeat(frame["n"])]
            order = [name for name in ("started", "duration", "cause", *request.by) if name in frame]
            return frame.sort_values(order, kind="stable", ignore_index=True).assign(n=1)
        if not is_coarse.any():
            return frame
        return frame.assign(n=frame["n"].where(~is_coarse, 0), dependent=frame["n"].where(is_coarse, 0))


def _events_of(table: pa.Table) -> pd.DataFrame:
    """The events of a table, sorted."""
    order = [(name, "ascending") for name in ("message_id", "happened_us", "state")]
    frame: pd.DataFrame = table.sort_by(order).to_pandas()
    for name in {*INSTANTS} & {*frame.columns}:
        values = frame.pop(name)
        frame[INSTANTS[name]] = pd.to_datetime(values.astype("Int64"), unit="us", utc=True).astype(INSTANT)
    return frame
