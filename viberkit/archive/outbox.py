"""The outbox: every send is a row here, durably, before the first byte of it leaves.

::

    planned ─► queued ─► in_flight ─┬─► accepted
                  ▲                 ├─► rejected      the server refused it (4xx)
                  └── not accepted ─┤
                                    └─► unknown ─┬─► accepted    a callback tells its key
                                                 ├─► requeued    a person's decision: a new row is queued
                                                 └─► abandoned   a person's decision

A row is posted once. Only what certainly was not accepted (no byte left, 429) is queued again; what may have been
accepted is ``unknown``, and no machine sends it again. A row whose process died while it was in flight is unknown too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import psutil
from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from viberkit.archive.tables import identity, in_flight_now, outbox
from viberkit.models.keys import make_key
from viberkit.models.records import AcceptanceEvidence, SendOutcome

__all__ = [
    "CHARGED",
    "STATES",
    "claim",
    "enter",
    "evidence",
    "is_alive",
    "me",
    "next_ordinal",
    "orphans",
    "resolve",
    "salt",
    "settle",
    "twin",
]

#: Those of which a message may have been charged.
CHARGED = ("in_flight", "accepted", "unknown", "requeued", "abandoned")
#: Where a send may stand.
STATES = ("planned", "queued", "in_flight", "accepted", "rejected", "unknown", "requeued", "abandoned")
_CLOCK_S = 60  #: so far the computer's clock may be set while a process lives
DIED = "the process ended while it was being sent"


# --- who works it ------------------------------------------------------------------------------------------


def me() -> str:
    """This process, so that others can tell whether it lives: host, pid, and when it began."""
    return f"{socket.gethostname()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def is_alive(owner: str | None) -> bool:
    """Whether the process that calls itself so may still be at work; one on another host may always."""
    if not owner:
        return False
    host, pid, began = owner.split("/")[:3]
    if host != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(began)) < _CLOCK_S
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # somebody else's process, which tells nothing
        return True


# --- one send ----------------------------------------------------------------------------------------------


def twin(connection: Connection, to: str, content: str, *states: str) -> RowMapping | None:
    """The latest send of the same content to the same recipient, a campaign's too, in one of these states."""
    same = and_(outbox.c.to == to, outbox.c.content == content)
    asked = select(outbox).where(same, outbox.c.state.in_(states)).order_by(outbox.c.ordinal.desc()).limit(1)
    return connection.execute(asked).mappings().first()


def next_ordinal(connection: Connection, campaign: str | None, to: str, content: str) -> int:
    """The ordinal of one more send; one that is queued still, and so was never sent, is taken up again."""
    same = and_(outbox.c.campaign.is_not_distinct_from(campaign), outbox.c.to == to, outbox.c.content == content)
    sent = and_(same, outbox.c.state != "queued")
    ordinal = select(func.coalesce(func.max(outbox.c.ordinal) + 1, 0)).where(sent)
    return int(connection.execute(ordinal).scalar_one())


def salt(connection: Connection) -> str:
    """What tells this archive's keys from another's."""
    return str(connection.execute(select(identity.c.salt)).scalar_one())


def enter(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows in; what is there already stays as it is."""
    connection.execute(insert(outbox).on_conflict_do_nothing(), list(rows))


def claim(connection: Connection, keys: Iterable[str], *, service_id: str | None, now: int) -> None:
    """Take queued rows in hand: from the commit on they count as perhaps sent."""
    taken = [{"this": key, "by": service_id, "who": me(), "at": now} for key in keys]
    if taken:
        connection.execute(_claiming(), taken)


@cache
def _claiming() -> Any:
    row = update(outbox).where(outbox.c.key == bindparam("this"), outbox.c.state == "queued")
    return row.values(state="in_flight", service_id=bindparam("by"), owner=bindparam("who"), claimed_at=bindparam("at"))


def settle(connection: Connection, outcomes: Mapping[str, SendOutcome], now: int) -> None:
    """What became of rows in flight. One that evidence has settled already stays accepted."""
    rows = [
        {
            "this": key,
            "to_state": one.state,
            "why": one.reason or None,
            "id": one.message_id,
            "status": one.http_status,
            "at": None if one.state == "queued" else now,
        }
        for key, one in outcomes.items()
    ]
    if rows:
        connection.execute(_settling(), rows)


@cache
def _settling() -> Any:
    mine = update(outbox).where(outbox.c.key == bindparam("this"), outbox.c.state == "in_flight")
    return mine.values(
        state=bindparam("to_state"),
        reason=bindparam("why"),
        message_id=func.coalesce(outbox.c.message_id, bindparam("id")),
        http_status=bindparam("status"),
        settled_at=bindparam("at"),
        owner=None,
    )


def evidence(connection: Connection, told: Mapping[str, AcceptanceEvidence]) -> Sequence[RowMapping]:
    """Settle what callbacks prove to be accepted; gives the rows of which that is news.

    Where somebody had decided to send such a message again, and it is not yet sent, that is taken back.
    """
    if not told:
        return []
    news_of = and_(outbox.c.key.in_(list(told)), outbox.c.state != "accepted", outbox.c.claimed_at.is_not(None))
    rows = connection.execute(select(outbox).where(news_of)).mappings().all()
    for row in rows:
        proof = told[row["key"]]
        if row["state"] == "requeued":
            same = [outbox.c[name].is_not_distinct_from(row[name]) for name in ("campaign", "to", "content")]
            again = and_(*same, outbox.c.ordinal > row["ordinal"], outbox.c.state.in_(["planned", "queued"]))
            connection.execute(delete(outbox).where(again))
        reason = "; ".join(filter(None, [row["reason"], "a callback tells that it was accepted"]))
        news = {"state": "accepted", "message_id": proof.message_id, "settled_at": proof.at, "reason": reason}
        connection.execute(update(outbox).where(outbox.c.key == row["key"]).values(**news, owner=None))
    return rows


# --- what a process left behind, and what a person decides -------------------------------------------------


def orphans(connection: Connection, now: int, *, campaign: str | None = None) -> int:
    """Rows in flight whose process is gone become unknown; gives how many. Of a campaign that the caller holds, all."""
    in_flight = in_flight_now if campaign is None else and_(outbox.c.campaign == campaign, in_flight_now)
    owners = connection.execute(select(outbox.c.owner).where(in_flight).distinct()).scalars().all()
    gone = [owner for owner in owners if campaign is not None or not is_alive(owner)]
    if not gone:
        return 0
    lost = update(outbox).where(in_flight, outbox.c.owner.in_(gone))
    return connection.execute(lost.values(state="unknown", reason=DIED, owner=None, settled_at=now)).rowcount


def resolve(connection: Connection, keys: Sequence[str], *, resend: bool, reason: str, now: int) -> int:
    """A person's decision on unknown rows; gives how many there were. To send again is a new row with a new key.

    What was refused may be sent again, too, as it is: nobody got it, and nothing was charged.
    """
    open_to = ["unknown", "rejected"] if resend else ["unknown"]
    count = 0
    for key in keys:
        open_row = and_(outbox.c.key == key, outbox.c.state.in_(open_to))
        row = connection.execute(select(outbox).where(open_row)).mappings().first()
        if row is None:
            continue
        count += 1
        refused = row["state"] == "rejected"
        state = "queued" if refused else "requeued" if resend else "abandoned"
        decided = {"state": state, "reason": f"{row['reason']}; decided: {reason}"}
        connection.execute(update(outbox).where(outbox.c.key == key).values(**decided))
        if resend and not refused:
            ordinal = next_ordinal(connection, row["campaign"], row["to"], row["content"])
            again = make_key(row["campaign"], row["to"], row["content"], ordinal, salt(connection))
            blank = dict.fromkeys(["message_id", "http_status", "reason", "owner", "claimed_at", "settled_at"])
            enter(
                connection,
                [{**row, **blank, "key": again, "ordinal": ordinal, "state": "queued", "planned_at": now}],
            )
    return count
