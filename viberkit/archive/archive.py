"""The archive: a database that stores what the API deletes after 48 hours (bodies) or 90 days (histories).

Every response and callback is stored verbatim before it is read; messages, statuses, events and inbound messages are
derived from it in the same transaction. The API key is never stored.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import ColumnElement, Select, Table, and_, func, select, true

from viberkit.archive import events, outbox, roles, tables
from viberkit.archive.derive import RawRecord, derive_rows
from viberkit.archive.dialect import json_each, rowid
from viberkit.archive.engine import Database
from viberkit.archive.recorder import Recorder
from viberkit.errors import ArchiveError, CampaignError
from viberkit.frames.columns import CALLBACKS, EVENTS, INBOUND, MESSAGES, OUTBOX, STATUSES
from viberkit.frames.schema import INSTANT, Schema
from viberkit.models.html import facts_table
from viberkit.models.phone import mask, mask_numbers
from viberkit.models.secret import Secret, hide_url
from viberkit.models.states import FINAL

_CHANGES = 10_000  # messages and events in one part of the changes
_IDS = 500  # messages whose rows are read in one transaction, in milliseconds
_RECENT = 500  # callbacks whose times are read
_RANGE = 20_000  # rows in one part of a table


class Changes(NamedTuple):
    """The messages that are new or have new events after a position, all their events, and the next position."""

    position: tuple[int, int]
    messages: pd.DataFrame
    events: pd.DataFrame
    is_last: bool


class Archive:
    """A SQLite file or a PostgreSQL database that stores sends, histories, statuses and callbacks.

    The file is created with mode 0600 if it is missing; one that cannot be written is only read. An archive may be used
    by many threads and processes at the same time. A response or callback that arrives twice is stored once. Sending
    creates two more files: ``-owners`` holds a lock of each process that sends, ``-reserve`` disk space for the
    outcomes. A PostgreSQL database is for several computers at once (``docs/team-archive.md``), and needs
    ``pip install 'viberkit[postgres]'``.

    Parameters
    ----------
    path_or_url : str or Path
        Path of the file, or ``sqlite:///`` and the path; or ``postgresql://user@host/database``. A password in it is
        shown nowhere; PGPASSWORD, ~/.pgpass and services of libpq work, too.
    create : bool, default None
        Whether a file that is missing is created, or tables in an empty database. None creates them with a warning,
        because the path may be mistyped.
    allow_network : bool, default False
        Whether a SQLite file may be on a network file system (NFS, SMB, …), whose locks can fail between computers.
        VIBERKIT_ALLOW_NETWORK=1 allows it, too.

    Attributes
    ----------
    path : Path or None
        Path of the file; None for PostgreSQL.
    name : str
        Path, or URL without the password.
    is_closed : bool
        Whether :meth:`close` was called.
    recorder : Recorder
        Writes to the archive; for the client, the callback receiver and :func:`viberkit.collect`.

    Raises
    ------
    ArchiveError
        If the archive cannot be opened, is not one, or was written by a newer viberkit, or if it is missing and
        ``create=False``; or if the server does not make commits durable.

    Warns
    -----
    UserWarning
        If a missing file is created without ``create=True``.

    See Also
    --------
    viberkit.collect : Fetches histories into an archive.

    Examples
    --------
    >>> with vk.Archive("deliveries.db", create=True) as archive:
    ...     len(archive.messages()), list(archive.events().columns[:3])
    (0, ['message_id', 'state', 'happened_at'])
    """

    def __init__(self, path_or_url: str | Path, *, create: bool | None = None, allow_network: bool = False) -> None:
        path_or_url = hide_url(path_or_url)
        self.path: Path | None = None
        self.is_closed = False
        self.name = "postgresql"  # in repr, until the URL is read
        self._database: Database
        if isinstance(path_or_url, Secret):
            from viberkit.archive.postgres import PostgresDatabase

            self._database = database = PostgresDatabase(path_or_url)
            self.name = database.name
            self._check_exists(create, database.exists)
        else:
            text = str(path_or_url).removeprefix("sqlite:///")
            if "://" in text or text in ("", ":memory:"):
                raise ArchiveError(
                    f"archive: {text.split('@')[-1]!r} is not the path of a SQLite file; pass e.g. 'a.db'"
                )
            self.path, self.name = Path(text), text
            self._check_exists(create, self.path.exists())
            allow_network = allow_network or os.environ.get("VIBERKIT_ALLOW_NETWORK") == "1"
            self._database = Database(self.path, allow_network=allow_network)
        self._database.run(tables.migrate, write=not self._database.read_only)
        self.recorder = Recorder(self._database)
        if not self._database.read_only:
            self._database.run(outbox.mark_lost, write=True)
            while self.recorder.derive(500):  # what a process that ended had stored and not derived
                pass

    def _check_exists(self, create: bool | None, exists: bool) -> None:
        if create or exists:
            return
        if create is False:
            raise ArchiveError(f"archive: {self.name!r} does not exist; pass the path of an archive, or create=True")
        warnings.warn(f"archive: {self.name!r} is a new archive; pass create=True if intended", stacklevel=3)

    def __repr__(self) -> str:
        return f"Archive({self.name!r})"

    def _repr_html_(self) -> str:
        message, send = tables.messages.c, tables.outbox.c
        queries = (
            select(func.count()).select_from(tables.messages),
            select(func.max(message.sent_at)),
            select(func.count()).where(message.final.is_(False)),
            select(func.count()).where(send.state == "unknown"),
        )
        n, last, n_open, n_unknown = (self._database.fetch(query)[0][0] for query in queries)
        heard = self.listening()["last_at"].max()
        facts = {
            "stored in": self._database.name,
            "messages": n,
            "not final": n_open,
            "sends with unknown outcome": n_unknown,
        }
        times = {"last sent": _instants([last])[0], "last heartbeat of a listener": heard}
        return facts_table("Archive", {**facts, **{name: None if pd.isna(at) else at for name, at in times.items()}})

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the archive may be used again."""
        self.is_closed = True
        self._database.engine.dispose()

    def messages(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return the messages, one row per message, in the order in which they were sent.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers.

        Returns
        -------
        pandas.DataFrame
            - ``message_id``: id of the message
            - ``to``: phone number of the recipient, masked
            - ``country``: country of the full number (ISO 3166, two letters)
            - ``rate_type``, ``content_type``, ``service_id``, ``channel``: as sent
            - ``campaign``, ``context``, ``bulk_id``: as sent; missing if not used
            - ``sent_at``, ``accepted_at``: time of the send and of its acceptance
            - ``state``, ``state_at``: latest known state and its time
            - ``observed_until``: last time at which the message was observed; of messages about which callbacks are
              received, the last heartbeat of the listener (:meth:`listening`)
            - ``text``, ``content``: the text, and the whole content as JSON
            - ``final``: whether the state is final
            - ``gone_at``: when the server reported that it no longer has the message
        """
        self._check_unmask(unmask)
        frame = self._messages()
        return frame if unmask else _masked(frame, "to")

    def _messages(self) -> pd.DataFrame:
        listening = self.listening()
        frame = self._frame(select(tables.messages), tables.messages, MESSAGES, "sent_at")
        if len(listening):
            event = tables.events.c
            query = select(event.message_id, event.state, event.source, event.received_at)
            callbacks = self._frame(query.where(event.source == "callback"), tables.events, EVENTS)
            frame["observed_until"] = events.observed_until(frame, callbacks, listening)
        return frame

    def statuses(self) -> pd.DataFrame:
        """Return every different response to a status request, one row per response.

        Returns
        -------
        pandas.DataFrame
            - ``message_id``: id of the message
            - ``state``: reported state
            - ``since``: time of the state, or of the observation if none was reported
            - ``channel``: reported channel
            - ``observed_at``: time of the observation
            - ``naive``: whether the time was reported without a zone
        """
        return self._frame(select(tables.statuses), tables.statuses, STATUSES, "observed_at")

    def inbound(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return what recipients wrote, one row per message or pressed button, with the message that it answers.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers of the senders.

        Returns
        -------
        pandas.DataFrame
            - ``message_id``: id of the inbound message
            - ``sender``: phone number of the sender, masked
            - ``to``, ``channel``: service id and channel that received it
            - ``happened_at``, ``received_at``: time of the message and of its callback
            - ``kind``, ``text``, ``media_id``, ``media_url``, ``postback``: its content
            - ``reply_to``: id of the message that it names
            - ``answers``: id of the sent message that it answers
            - ``paired_by``: "reply" if it names that message, "number" if it is the last message sent before to this
              number from the same service id
            - ``response_s``: time since that message was accepted, in seconds
            - ``naive``: whether the time was reported without a zone

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     archive.inbound()[["text", "answers", "response_s"]].empty
        True
        """
        self._check_unmask(unmask)
        inbound = self._frame(select(tables.inbound), tables.inbound, INBOUND, "received_at", "message_id")
        messages = self._messages()
        if self._database.is_masked:  # masked numbers of different people may be equal
            messages["to"] = pd.Series(None, index=messages.index, dtype="str")
        frame = INBOUND.frame(events.pair_replies(inbound, messages))
        return frame if unmask else _masked(frame, "sender")

    def events(self, *, all_sources: bool = False) -> pd.DataFrame:
        """Return the events of all messages, one row per event, in the order of the sends and of time.

        Parameters
        ----------
        all_sources : bool, default False
            Whether each source of an event (history, callback, status, send) has its own row.

        Returns
        -------
        pandas.DataFrame
            - ``message_id``, ``state``: message and the state that it entered
            - ``happened_at``: time of the event, by the most reliable source
            - ``source``: sources that reported it, the most reliable first, e.g. "history+callback"
            - ``channel``, ``code``, ``detail``: as reported; code and detail of a failure
            - ``received_at``: when it was first received here
            - ``observed_until``: last time at which the message was observed (see :meth:`messages`)
            - ``naive``: whether the time was reported without a zone
            - ``not_before``: lower bound of ``happened_at`` for a state known only from status responses without a
              time: the last time at which the message was not in it yet; NaT for other events
            - ``rate_type``, ``content_type``, ``service_id``, ``campaign``, ``country``: facts of the message

        See Also
        --------
        viberkit.transitions : The time between consecutive events.
        viberkit.journeys : One row per message.
        """
        frame = self._events()
        return frame if all_sources else events.merge_sources(frame)

    def _events(self, ids: Sequence[str] | None = None, listening: Any = None, final: Any = None) -> pd.DataFrame:
        """Return the events of all messages or of some, one row per event and source."""
        event, message = tables.events, tables.messages
        columns = [event.c[name] for name in EVENTS.names if name in event.c]
        facts = [message.c[name] for name in events.MESSAGE_FACTS.names if name in message.c]
        # The messages first: events that are stored meanwhile were then observed later than the messages.
        # The listening periods before both: a callback that is stored meanwhile is not within them.
        listening = self.listening() if listening is None else listening
        messages = self._frame(select(*facts), message, events.MESSAGE_FACTS, "sent_at", "message_id", ids=ids)
        reported = self._frame(select(*columns), event, EVENTS, ids=ids)
        messages["observed_until"] = events.observed_until(messages, reported, listening, final)
        statuses = self._frame(select(tables.statuses), tables.statuses, STATUSES, "observed_at", ids=ids)
        untimed = statuses.loc[statuses["since"] == statuses["observed_at"], "message_id"].unique()
        if len(untimed):
            observed, polls = (frame[frame["message_id"].isin(untimed)] for frame in (statuses, self._polls(ids)))
            polled = events.polled_states(reported, observed, polls, messages)
            reported = pd.concat([reported, polled], ignore_index=True)
        return events.add_message_facts(EVENTS.frame(reported), messages)

    def _parts(self, since: int | None, *, unmask: bool) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield messages and their events, some thousand messages at a time.

        Messages whose first event is certainly before ``since``, in microseconds, are left out.
        """
        self._check_unmask(unmask)
        event, message, period, listening = tables.events.c, tables.messages.c, tables.listening.c, self.listening()
        # Final states that were called back, by service id, at the beginning of the listening period of the callback.
        called = and_(event.message_id == message.message_id, event.source == "callback", event.state.in_(FINAL))
        heard = event.received_at.between(period.began_at, period.last_at)
        query = select(message.service_id, period.began_at).where(called, heard).distinct()
        ranges = self._ranges(tables.events) if len(listening) else ()
        rows = [tuple(row) for part in ranges for row in self._database.fetch(query.where(part))]
        final = pd.DataFrame({"service_id": pd.Series([row[0] for row in rows], dtype="str")})
        final["received_at"] = _instants([row[1] for row in rows])
        earlier = select(event.state).where(event.message_id == message.message_id).group_by(event.state)
        chosen = true() if since is None else ~earlier.having(func.max(event.happened_at) < since).exists()
        for part in self._ranges(tables.messages):
            query = select(message.message_id).where(part, chosen)
            ids = [row.message_id for row in self._database.fetch(query)]
            frame = self._frame(select(tables.messages), tables.messages, MESSAGES, ids=ids)
            reported = self._events(ids, listening, final)
            frame["observed_until"] = events.observed_until(frame, reported, listening, final)
            yield frame if unmask else _masked(frame, "to"), events.merge_sources(reported)

    def _ranges(self, table: Table) -> Iterator[ColumnElement[bool]]:
        """Yield conditions that each select some thousand rows, in the order of insertion."""
        for start in range(0, self._database.newest(table), _RANGE):
            yield and_(rowid(table) > start, rowid(table) <= start + _RANGE)

    def changes(self, since: tuple[int, int] | None = None, *, last: int = 100_000) -> Changes:
        """Return messages that are new, or have new events, and their events; for views that follow an archive.

        Parameters
        ----------
        since : tuple of int, optional
            The position of the previous changes; default the beginning of the last messages.
        last : int, default 100_000
            Number of messages, the last ones stored, with which to begin.

        Returns
        -------
        Changes
            - ``position``: position after these changes
            - ``messages``: as :meth:`messages`, without content; ``observed_until`` as the API or a callback showed
            - ``events``: all events of these messages, as :meth:`events`
            - ``is_last``: whether there are no further changes now

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     changes = archive.changes()
        ...     changes.is_last, archive.changes(changes.position).messages.empty
        (True, True)
        """
        sources = tables.messages, tables.events
        newest = [self._database.newest(table) for table in sources]
        position, ids = [], dict[str, None]()
        for start, end, table in zip(since or (newest[0] - last, newest[1]), newest, sources, strict=True):
            position.append(min(max(start, 0) + _CHANGES, end))
            query = select(table.c.message_id).where(rowid(table) > start, rowid(table) <= position[-1])
            ids |= dict.fromkeys(row.message_id for row in self._database.fetch(query))
        columns = [column for column in tables.messages.c if column.name not in ("text", "content")]
        frame = self._frame(select(*columns), tables.messages, MESSAGES, "sent_at", ids=list(ids))
        merged = events.merge_sources(self._events(list(ids)))
        return Changes((position[0], position[1]), _masked(frame, "to"), merged, position == newest)

    def callback_times(self) -> pd.Series[Any]:
        """Return when the last callbacks were received, the latest 500 at most, in order.

        Returns
        -------
        Series of instants
            Last time of receipt of each callback.

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     archive.callback_times().empty
        True
        """
        raw = tables.raw.c
        query = select(raw.last_seen).where(tables.raw_kind == "callback").order_by(raw.id.desc()).limit(_RECENT)
        newest = select(func.coalesce(func.max(raw.id), 0) - 20 * _RECENT).scalar_subquery()
        rows = self._database.fetch(query.where(raw.id > newest))
        return _instants(sorted(row.last_seen for row in rows))

    def answers(self, message_id: str, *, unmask: bool = False) -> pd.DataFrame:
        """Return the responses and callbacks about one message as they were received, one row each.

        Parameters
        ----------
        message_id : str
            Id of the message.
        unmask : bool, default False
            Whether to show full phone numbers in the bodies.

        Returns
        -------
        pandas.DataFrame
            - ``kind``: send, bulk, status, events, message or callback
            - ``http_status``: of the response
            - ``received_at``: first time of receipt
            - ``body``: the body as text

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     archive.answers("no such message").empty
        True
        """
        self._check_unmask(unmask)
        raw, event = tables.raw, tables.events.c
        columns = [raw.c[name] for name in RawRecord.__slots__]
        kinds = ("send", "bulk", "status", "events", "message")
        rows = list(self._database.fetch(select(*columns).where(raw.c.kind.in_(kinds), raw.c.message_id == message_id)))
        called = select(event.received_at).where(event.message_id == message_id, event.source == "callback")
        if times := [row.received_at for row in self._database.fetch(called)]:
            query = select(*columns).where(tables.raw_kind == "callback", raw.c.first_seen.in_(times))
            found = self._database.fetch_table(query, raw)
            rows += [row for row in found if message_id in derive_rows(RawRecord(*tuple(row))).observed]
        bodies = [row.body.decode("utf-8", "backslashreplace") for row in rows]
        frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in ("kind", "http_status")})
        frame["received_at"] = _instants([row.first_seen for row in rows])
        frame["body"] = pd.Series(bodies if unmask else [mask_numbers(body) for body in bodies], dtype="str")
        return frame.sort_values("received_at", kind="stable", ignore_index=True)

    def listening(self) -> pd.DataFrame:
        """Return when a listener ran and could store callbacks, one row per period.

        A listener stores a heartbeat every 10 seconds. A period ends with the last one before the listener stopped, or
        could not store callbacks for half a minute.

        Returns
        -------
        pandas.DataFrame
            - ``began_at``, ``last_at``: first and last heartbeat

        Notes
        -----
        A message about which a callback was received, or one of the same service id for which callbacks of final
        states are received in the period, is observed until the end of the period in which it was last observed: its
        callback could have been missed afterwards. A status or history that is requested later extends that.

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     list(archive.listening().columns)
        ['began_at', 'last_at']
        """
        table = tables.listening
        columns = self._columns(select(table.c.began_at, table.c.last_at), table)
        periods = pd.DataFrame({name: _instants(values) for name, values in columns.items()})
        return periods.sort_values("began_at", ignore_index=True)

    def suggest_outcomes(self, *, within_s: float = 600.0) -> pd.DataFrame:
        """Return which messages that are known from callbacks only may be sends whose outcome is unknown.

        The API returns no context of a bulk, so that callbacks do not name the send. These are suggestions for a
        person: nothing is settled, and another system may have sent the message.

        Parameters
        ----------
        within_s : float, default 600.0
            Longest time in seconds from the send to the first event of the message.

        Returns
        -------
        pandas.DataFrame
            One row per send and message:

            - ``key``, ``to``, ``claimed_at``: the send, its masked recipient, and when it was sent
            - ``message_id``, ``happened_at``: the message and its first event
            - ``after_s``: time between the two in seconds
            - ``same_recipient``: whether the message is known to be to the same recipient; False if that is not known,
              see :meth:`viberkit.Client.message`. Messages to others are left out

        See Also
        --------
        resolve : Stores the decision.

        Examples
        --------
        >>> with vk.Archive("deliveries.db") as archive:
        ...     archive.suggest_outcomes().empty
        True
        """
        sends = self.outbox(unmask=True)
        unknown = sends[sends["state"] == "unknown"]
        pairs = events.suggest_outcomes(unknown, self.messages(unmask=True), self.events(), within_s)
        return _masked(pairs, "to")

    def gaps(self) -> pd.DataFrame:
        """Return the events that only callbacks or only histories reported, one row per event.

        An event is listed if the other source could have reported it: callbacks never report *routed*, and a history
        must have been fetched after the event.

        Returns
        -------
        pandas.DataFrame
            - ``message_id``, ``state``, ``happened_at``: the event
            - ``reported_by``, ``missed_by``: "history" or "callback"
            - ``received_at``: when it was first received here
            - ``expected``: whether the other source had reported this state before; False may mean that the callback
              was not configured, or the receiver not running yet

        See Also
        --------
        viberkit.collect : With ``include_final=True`` fetches the histories again, so that later callbacks can be
            compared with them.
        """
        polls = self._polls()
        fetched_at = polls[polls["kind"] == "events"].groupby("message_id")["last_seen"].max()
        return events.find_gaps(self.events(all_sources=True), fetched_at)

    def callbacks(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return every callback as it was received, one row per different body.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers in the bodies.

        Returns
        -------
        pandas.DataFrame
            - ``received_at``, ``last_received_at``: first and last time of receipt
            - ``signed_at``: time of the signature; NaT without a signature
            - ``late``: whether it was signed correctly, but too long ago for the receiver, or at an unknown time
            - ``unreadable``: why it, or a part of it, could not be read
            - ``body``: the body as text
        """
        self._check_unmask(unmask)
        raw = tables.raw
        instants = raw.c.first_seen.label("received_at"), raw.c.last_seen.label("last_received_at"), raw.c.signed_at
        query = select(*instants, raw.c.late, raw.c.unreadable, raw.c.body).where(tables.raw_kind == "callback")
        columns = self._columns(query, raw)
        bodies = [body.decode("utf-8", "backslashreplace") for body in columns["body"]]
        frame = _shape({**columns, "body": bodies if unmask else [mask_numbers(body) for body in bodies]}, CALLBACKS)
        return frame.sort_values("received_at", kind="stable", ignore_index=True)

    def raw_bodies(self, kind: str) -> list[bytes]:
        """Return the bodies of responses or callbacks as they were received, the oldest first.

        Parameters
        ----------
        kind : {"send", "bulk", "status", "events", "message", "callback"}
            Kind of the bodies.

        Returns
        -------
        list of bytes
            Every different body.
        """
        query = select(tables.raw.c.body).where(tables.raw_kind == kind)
        return [row.body for row in self._database.fetch_table(query, tables.raw)]

    def unreadable(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return the responses and callbacks that could not be read, as a whole or in part, one row each.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers in the bodies.

        Returns
        -------
        pandas.DataFrame
            - ``kind``: send, bulk, status, events, message or callback
            - ``message_id``: id of the message; empty for callbacks
            - ``reason``: why it could not be read
            - ``body``: the body, in bytes
        """
        self._check_unmask(unmask)
        raw = tables.raw
        columns = raw.c.kind, raw.c.message_id, raw.c.unreadable.label("reason"), raw.c.body
        rows = self._columns(select(*columns).where(raw.c.unreadable.is_not(None)), raw)
        bodies = [body if unmask else mask_numbers(body.decode("latin-1")).encode("latin-1") for body in rows["body"]]
        return pd.DataFrame({**rows, "body": bodies})

    def outbox(self, *, unmask: bool = False) -> pd.DataFrame:
        """Return the sends through this archive, one row per send.

        Parameters
        ----------
        unmask : bool, default False
            Whether to show full phone numbers.

        Returns
        -------
        pandas.DataFrame
            - ``key``: key of the send, at the start of its context
            - ``campaign``, ``row``: campaign, and row of its recipients (from 1)
            - ``to``, ``rate_type``: recipient, masked, and rate type
            - ``state``: planned, queued, in_flight, accepted, rejected, unknown, requeued or abandoned
            - ``message_id``, ``http_status``: of the response
            - ``reason``: why it was rejected or is unknown, and decisions about it
            - ``planned_at``, ``claimed_at``, ``settled_at``: when it was planned, was about to be sent, got its outcome
        """
        self._check_unmask(unmask)
        table = tables.outbox
        frame = self._frame(select(*(table.c[name] for name in OUTBOX.names)), table, OUTBOX, "planned_at")
        return frame if unmask else _masked(frame, "to")

    def resolve(self, keys: Iterable[str], decision: str, *, reason: str) -> int:
        """Decide on sends whose outcome is unknown.

        Parameters
        ----------
        keys : iterable of str
            Keys of sends, the column ``key`` of :meth:`outbox`.
        decision : {"resend", "abandon"}
            "resend" lets an unknown or rejected message be sent once more: ``campaign.send`` sends a campaign's message
            again with a new key; call ``client.send`` again for a single message. "abandon" marks it as settled.
        reason : str
            Reason, stored with the send.

        Returns
        -------
        int
            Number of the sends that were unknown, or rejected for "resend".

        Raises
        ------
        CampaignError
            If the decision is neither of the two, or the reason is empty.
        """
        if decision not in ("resend", "abandon") or not reason.strip():
            raise CampaignError(
                f"decision: {decision!r} with the reason {reason!r} is not valid; pass 'resend' or 'abandon', and "
                "a reason"
            )
        return self.recorder.resolve(keys, resend=decision == "resend", reason=reason)

    def grant(self, role: str, access: str) -> None:
        """Grant a role of PostgreSQL access to this archive, as its owner.

        Parameters
        ----------
        role : str
            Name of the role.
        access : {"read", "write"}
            "read" is for notebooks: views in which phone numbers are masked, without bodies of requests and callbacks;
            replies are paired only with messages that they name. "write" is for senders, listeners and collectors.

        Raises
        ------
        ArchiveError
            If the archive is a SQLite file, or this role may not grant it.
        ValueError
            If the access is neither of the two.
        """
        if access not in ("read", "write"):
            raise ValueError(f"access: {access!r} is neither 'read' nor 'write'")
        if self.path is not None:
            raise ArchiveError(f"{self.name}: a SQLite file has no roles; set the permissions of the file")
        grant = partial(roles.grant, metadata=tables.metadata, role=role, write=access == "write")
        self._database.run(grant, write=True)

    def _check_unmask(self, unmask: bool) -> None:
        if unmask and self._database.is_masked:
            raise ArchiveError(f"{self.name}: this role sees masked phone numbers only; use another role")

    def _polls(self, ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Return when each status and history was first and last received."""
        raw = tables.raw
        kind = tables.raw_kind if ids is None else raw.c.kind
        observed = and_(kind.in_(["status", "events"]), raw.c.http_status.between(200, 299))
        columns = raw.c.message_id, raw.c.kind, raw.c.first_seen, raw.c.last_seen
        rows = self._columns(select(*columns).where(observed), raw, ids)
        responses = pd.DataFrame({name: pd.Series(rows[name], dtype="str") for name in ("message_id", "kind")})
        return responses.assign(**{name: _instants(rows[name]) for name in ("first_seen", "last_seen")})

    def _frame(
        self, query: Select[Any], table: Table, schema: Schema, *order: str, ids: Sequence[str] | None = None
    ) -> pd.DataFrame:
        frame = _shape(self._columns(query, table, ids), schema)
        by = list(order)
        return frame.sort_values(by, kind="stable", na_position="first", ignore_index=True) if by else frame

    def _columns(self, query: Select[Any], table: Table, ids: Sequence[str] | None = None) -> dict[str, Sequence[Any]]:
        """Return the columns of the rows of a query, of all messages or of those with some ids."""
        names, rows = query.selected_columns.keys(), list[Any]()
        if ids is None:
            rows = self._database.fetch_table(query, table)
        for start in range(0, len(ids or ()), _IDS):
            part = json_each(json.dumps((ids or ())[start : start + _IDS])).table_valued("value")
            rows += self._database.fetch(query.where(table.c.message_id.in_(select(part.c.value))))
        return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())


def _shape(columns: Mapping[str, Sequence[Any]], schema: Schema) -> pd.DataFrame:
    instants = [column.name for column in schema if column.dtype == INSTANT and column.name in columns]
    return schema.frame({**columns, **{name: _instants(columns[name]) for name in instants}})


def _masked(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].map(mask, na_action="ignore").astype("str")})


def _instants(micros: Sequence[int | None]) -> pd.Series[Any]:
    return pd.to_datetime(pd.Series(list(micros), dtype="Int64"), unit="us", utc=True).astype(INSTANT)
