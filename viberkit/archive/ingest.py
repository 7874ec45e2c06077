"""How answers and callbacks are written: verbatim first, then the rows that they mean, within one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, Update, and_, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError

from viberkit.archive import derive as derived
from viberkit.archive import outbox
from viberkit.archive import tables as schema
from viberkit.archive.derive import micros
from viberkit.models.callback import Callback
from viberkit.models.records import AcceptanceEvidence, Response
from viberkit.models.states import FINAL, rank

__all__ = ["answer_row", "callback_row", "chunks", "derive", "known_digests", "write_raw"]

_BATCH = 500
#: What a value that no column takes raises; a full disk or a lock is none of these.
_UNFIT = (IntegrityError, DataError, InterfaceError, ProgrammingError, OverflowError, ValueError, TypeError)


def answer_row(what: str, message_id: str, answer: Response, request: bytes | None = None) -> dict[str, Any]:
    """An answer as a row of ``raw``."""
    seen = micros(answer.observed_at)
    row = _raw_row(what, message_id, answer.status, answer.body, seen)
    return {**row, "request": request, "signed_at": None, "late": False}


def callback_row(callback: Callback) -> dict[str, Any]:
    """A callback as a row of ``raw``."""
    row = _raw_row("callback", "", 200, callback.body, micros(callback.received_at))
    signed_at = micros(callback.signed_at) if callback.signed_at else None
    return {**row, "request": None, "signed_at": signed_at, "late": callback.late}


def _raw_row(what: str, message_id: str, status: int, body: bytes, seen: int) -> dict[str, Any]:
    row = {"kind": what, "message_id": message_id, "http_status": status, "digest": hashlib.sha256(body).hexdigest()}
    return {**row, "body": body, "first_seen": seen, "last_seen": seen, "derived": False}


def write_raw(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Keep raw rows. What is there already only notes when it came first and last.

    An answer that comes again shows its message at a later instant, and is derived again; a callback that
    comes again shows nothing new.
    """
    if rows:
        connection.execute(_writing_raw(), rows)


@cache  # making a statement takes longer than running it
def _writing_raw() -> Insert:
    raw = schema.raw
    added = insert(raw)
    again = added.excluded
    news = and_(raw.c.kind != "callback", again.last_seen > raw.c.last_seen)
    changed = {
        "first_seen": func.min(raw.c.first_seen, again.first_seen),
        "last_seen": func.max(raw.c.last_seen, again.last_seen),
        "late": func.min(raw.c.late, again.late),
        "derived": and_(raw.c.derived, ~news, again.first_seen >= raw.c.first_seen),
    }
    return added.on_conflict_do_update(["kind", "message_id", "http_status", "digest"], set_=changed)


def known_digests(connection: Connection, ids: Sequence[str]) -> set[str]:
    """What is already known verbatim of some messages."""
    found: set[str] = set()
    for chunk in chunks(ids):
        asked = select(schema.raw.c.digest).where(schema.raw.c.message_id.in_(chunk))
        found |= set(connection.execute(asked).scalars())
    return found


def derive(connection: Connection, limit: int | None = None) -> dict[str, str | None]:
    """Make the rows of raw answers that have none yet, the oldest first; gives what cannot be read of each, by digest.

    What no column takes is set aside alone, and does not stop the others.
    """
    unreadable: dict[str, str | None] = {}
    left = limit
    while left is None or left > 0:
        size = _BATCH if left is None else min(left, _BATCH)
        pending = connection.execute(_pending(), {"size": size}).fetchall()
        made = [(one, derived.rows(one)) for one in (derived.Raw(*row[1:]) for row in pending)]
        try:
            with connection.begin_nested():
                _write(connection, made)
        except _UNFIT:
            for one, rows in made:
                _write_alone(connection, one, rows)
        unreadable |= {row[0]: each.unreadable for row, (_, each) in zip(pending, made, strict=True)}
        left = None if left is None else left - size
        if len(pending) < size:
            break
    return unreadable


@cache
def _pending() -> Select[Any]:
    raw = schema.raw
    columns = [raw.c.digest, *(raw.c[name] for name in derived.Raw.__slots__)]
    return select(*columns).where(schema.pending).order_by(raw.c.id).limit(bindparam("size"))


def _write_alone(connection: Connection, one: derived.Raw, rows: derived.Rows) -> None:
    try:
        with connection.begin_nested():
            _write(connection, [(one, rows)])
    except _UNFIT as fault:
        rows.unreadable = f"cannot be put into the tables: {type(fault).__name__}"
        _write(connection, [(one, derived.Rows(unreadable=rows.unreadable))])


def _write(connection: Connection, made: Sequence[tuple[derived.Raw, derived.Rows]]) -> None:
    for table in (schema.messages, schema.statuses, schema.events, schema.inbound):
        rows = [row for _, each in made for row in getattr(each, table.name)]
        if not rows:
            continue
        if table is schema.messages:
            _know(connection, rows)
        elif table is schema.statuses:
            connection.execute(insert(table).on_conflict_do_nothing(), rows)
        else:
            connection.execute(_telling(table), rows)
    _prove(connection, {key: told for _, each in made for key, told in each.keys.items()})
    _refresh(connection, made)
    done = [{"this": one.id, "why": each.unreadable} for one, each in made]
    if done:
        connection.execute(_marking(), done)


@cache
def _marking() -> Update:
    mark = update(schema.raw).where(schema.raw.c.id == bindparam("this"))
    return mark.values(derived=True, unreadable=bindparam("why"))


def _prove(connection: Connection, told: Mapping[str, AcceptanceEvidence]) -> None:
    """Sends that callbacks prove: settled in the outbox, their facts in the messages' rows; and the campaigns of those
    that were just answered."""
    answered = [{"name": key, "this": one.message_id} for key, one in told.items() if not one.called_back]
    if answered:
        connection.execute(_naming_campaign(), answered)
    proofs = {key: one for key, one in told.items() if one.called_back}
    for chunk in chunks(proofs):
        for row in outbox.evidence(connection, {key: proofs[key] for key in chunk}):
            content = json.loads(row["content"])
            facts = {name: row[name] for name in ("to", "rate_type", "service_id", "context", "campaign")}
            if isinstance(content, dict):  # of a bulk it is not told which part this is
                facts |= derived.content_facts(content)
            _know(connection, [{"message_id": proofs[row["key"]].message_id, "sent_at": row["claimed_at"], **facts}])


@cache
def _naming_campaign() -> Update:
    mine = select(schema.outbox.c.campaign).where(schema.outbox.c.key == bindparam("name")).scalar_subquery()
    table = schema.messages
    return update(table).where(table.c.message_id == bindparam("this")).values(campaign=mine)


def _know(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Messages' rows, or the facts of them that were not known yet."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(row)
    for names, several in alike.items():
        connection.execute(_knowing(names), several)


@cache
def _knowing(names: tuple[str, ...]) -> Insert:
    table = schema.messages
    added = insert(table)
    news = {name: func.coalesce(table.c[name], added.excluded[name]) for name in names if name != "message_id"}
    return added.on_conflict_do_update(["message_id"], set_=news)


@cache
def _telling(table: Table) -> Insert:
    """To write events or inbound messages; of one told twice, what was known stays, what was not is added.

    Which of two tellings came first does not matter: the earliest receipt and, of two texts, the greater one stay.
    """
    added = insert(table)
    again = added.excluded
    changed: dict[str, Any] = {}
    for column in table.c:
        if column.primary_key:
            continue
        known, told = table.c[column.name], again[column.name]
        pick = func.min if column.name in ("received_at", "naive") else func.max
        changed[column.name] = pick(func.coalesce(known, told), func.coalesce(told, known))
    return added.on_conflict_do_update(list(table.primary_key), set_=changed)


def _refresh(connection: Connection, made: Sequence[tuple[derived.Raw, derived.Rows]]) -> None:
    """Bring the messages' latest state and observation up to date with their events."""
    observed: dict[str, int] = {}
    for raw, rows in made:
        for message_id in rows.observed:
            observed[message_id] = max(observed.get(message_id, 0), raw.observed_at)
    entered: dict[str, list[tuple[bool, bool, int, int, str]]] = {}
    for chunk in chunks(list(observed)):
        for message_id, state, at, source in connection.execute(_entered(), {"ids": chunk}):
            entered.setdefault(message_id, []).append((source != "send", state in FINAL, at, rank(state), state))
    news = [_latest(message_id, entered.get(message_id, []), seen) for message_id, seen in observed.items()]
    gone = [{"message_id": raw.message_id, "final": False, "gone_at": raw.last_seen} for raw, rows in made if rows.gone]
    if news:
        connection.execute(_seeing("observed_until", "state", "state_at", "final"), news)
    if gone:
        connection.execute(_seeing("gone_at"), gone)


@cache
def _entered() -> Select[Any]:
    told = schema.events
    columns = (told.c.message_id, told.c.state, told.c.happened_at, told.c.source)
    return select(*columns).where(told.c.message_id.in_(bindparam("ids", expanding=True)))


@cache
def _seeing(latest: str, *news: str) -> Insert:
    """To write a message's row: an instant that only moves forward, and what is replaced."""
    table = schema.messages
    added = insert(table)
    later = func.max(func.coalesce(table.c[latest], 0), added.excluded[latest])
    changed = {name: added.excluded[name] for name in news}
    return added.on_conflict_do_update(["message_id"], set_={latest: later, **changed})


def _latest(message_id: str, entered: list[tuple[bool, bool, int, int, str]], seen: int) -> dict[str, Any]:
    """What others tell comes before our own note of the send; a final state is never hidden by one that is not, however
    late that is told; then the latest, then the life cycle decides."""
    _, final, at, _, state = max(entered, default=(False, False, None, 0, None))
    row = {"message_id": message_id, "state": state, "state_at": at, "final": final}
    return {**row, "observed_until": seen}


def chunks(ids: Iterable[str], size: int = _BATCH) -> Iterator[Sequence[str]]:
    """Lists of at most ``size`` ids: more than so many parameters no statement takes."""
    listed = list(ids)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
