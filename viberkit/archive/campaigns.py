"""The rows of a campaign: its terms, its messages in the outbox, and which process is sending it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, update

from viberkit.archive import ingest, outbox
from viberkit.archive.archive import Archive
from viberkit.archive.dialect import insert
from viberkit.archive.engine import CommitUnknown, lock, transaction
from viberkit.archive.ingest import SettledSend
from viberkit.archive.tables import campaigns, outbox as sends
from viberkit.errors import ArchiveError, CampaignError, suggestion
from viberkit.models.keys import make_key
from viberkit.models.records import SendOutcome

#: States in which a message may have been charged.
CHARGED = ("in_flight", "accepted", "unknown", "requeued", "abandoned")
_FIXED = ("content", "rate_type", "context", "callback_url")
_PRICING = ("price_low", "price_high", "currency", "cost_cap")


@dataclass(frozen=True, slots=True)
class CampaignTerms:
    """What is sent, under one name: the content with its placeholders (JSON), the prices of a message, the cost cap."""

    name: str
    content: str
    rate_type: str
    context: str | None
    callback_url: str | None
    price_low: float | None
    price_high: float | None
    currency: str
    cost_cap: float | None
    confirmed: str | None = None

    def cost(self, n: int) -> str:
        """Return the cost of ``n`` messages as text; empty without a price."""
        if self.price_low is None or self.price_high is None:
            return ""
        low, high = self._amount(n * self.price_low), n * self.price_high
        return low if self.price_low == self.price_high else f"{low}–{high:,.2f}"

    def confirmation(self, planned: Iterable[tuple[str, str]]) -> str:
        """Return the text that confirms the planned messages: their number, the highest cost, a digest of all facts."""
        messages = sorted(planned)
        facts = json.dumps([*(getattr(self, name) for name in (*_FIXED, *_PRICING)), *messages])
        costs = [] if self.price_high is None else [len(messages) * self.price_high]
        costs += [] if self.cost_cap is None else [self.cost_cap]
        cost = f" for at most {self._amount(math.ceil(min(costs) * 100 - 1e-6) / 100)}" if costs else ""
        return f"send {len(messages)}{cost} [{hashlib.sha256(facts.encode()).hexdigest()[:6]}]"

    def _amount(self, amount: float) -> str:
        return f"{self.currency or ''}{amount:,.2f}"


def campaign_counts(archive: Archive) -> dict[str, dict[str, int]]:
    """Return the number of messages by state, of each campaign by name."""
    query = select(sends.c.campaign, sends.c.state, func.count().label("n")).where(sends.c.campaign.is_not(None))
    counts: dict[str, dict[str, int]] = {}
    for row in archive._database.fetch(query.group_by(sends.c.campaign, sends.c.state)):
        counts.setdefault(row.campaign, {})[row.state] = row.n
    return counts


class CampaignStore:
    """The rows of one campaign in an archive; each method is one transaction."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._database = archive._database
        self._name = name
        self._row = campaigns.c.name == name

    @transaction
    def plan(
        self,
        connection: Connection,
        terms: CampaignTerms,
        messages: Iterable[tuple[int, str, str]],
        *,
        replace: bool = False,
    ) -> None:
        """Insert or update the campaign and insert its new messages: row, recipient and content of each.

        Other prices or another cap than before withdraw the confirmation of what was not sent. With ``replace``, a plan
        of which nothing was confirmed is deleted before.
        """
        lock(connection, "campaign", self._name)
        planned_at = outbox.now()
        known = self._find_terms(connection)
        begun = select(sends.c.key).where(sends.c.campaign == self._name, sends.c.state != "planned").limit(1)
        if replace and known and known.confirmed is None and connection.execute(begun).first() is None:
            connection.execute(delete(sends).where(self._in_state("planned")))
            connection.execute(delete(campaigns).where(self._row))
            known = None
        if known and (changed := [name for name in _FIXED if getattr(known, name) != getattr(terms, name)]):
            raise CampaignError(
                f"campaign {self._name!r}: is already planned with different terms ({', '.join(changed)}); a "
                "campaign has one content, so that no recipient gets it twice: choose another name"
            )
        pricing = {name: value for name in _PRICING if (value := getattr(terms, name)) not in (None, "")}
        if known and any(getattr(known, name) != value for name, value in pricing.items()):
            connection.execute(update(sends).where(self._in_state("queued")).values(state="planned"))
            connection.execute(update(campaigns).where(self._row).values(confirmed=None))
        campaign = insert(campaigns).values(**asdict(terms), planned_at=planned_at)
        connection.execute(
            campaign.on_conflict_do_update(index_elements=["name"], set_={**pricing, "name": self._name})
        )
        existing = select(sends.c.to).where(sends.c.campaign == self._name)
        recipients = set(connection.execute(existing).scalars())
        new = [message for message in messages if message[1] not in recipients]  # one message per recipient
        salt = outbox.salt(connection)
        shared = {name: getattr(terms, name) for name in ("rate_type", "context", "callback_url")}
        shared |= {"campaign": self._name, "ordinal": 0, "state": "planned", "planned_at": planned_at}
        for start in range(0, len(new), 5000):
            rows = [
                {"key": make_key(self._name, to, content, 0, salt), "row": row, "to": to, "content": content}
                for row, to, content in new[start : start + 5000]
            ]
            connection.execute(outbox.INSERT, [{**row, **shared} for row in rows])

    def terms(self) -> CampaignTerms:
        """Return the campaign's terms; raise :class:`~viberkit.errors.CampaignError` if it is not planned."""
        return self._database.run(self._terms, write=False)

    def counts(self) -> dict[str, int]:
        """Return the number of messages by state."""
        query = select(sends.c.state, func.count().label("n")).where(sends.c.campaign == self._name)
        return {row.state: row.n for row in self._database.fetch(query.group_by(sends.c.state))}

    def planned(self) -> list[tuple[str, str]]:
        """Return the recipient and content of each message that is not confirmed, in the order of the rows."""
        return self._database.run(self._planned, write=False)

    @transaction
    def confirm(self, connection: Connection, confirmation: str) -> None:
        """Queue the planned messages if this is the text that confirms them.

        The last confirmation is accepted again and queues nothing: what was planned since needs its own.
        """
        lock(connection, "campaign", self._name)
        terms, planned = self._terms(connection), self._planned(connection)
        if confirmation == terms.confirmed:
            return
        if not planned:
            remedy = f"to continue, pass confirm={terms.confirmed!r}" if terms.confirmed else "see campaign.problems"
            raise CampaignError(f"campaign {self._name!r}: no message is waiting for a confirmation; {remedy}")
        if confirmation != (expected := terms.confirmation(planned)):
            raise CampaignError(
                f"campaign {self._name!r}: confirm is {confirmation!r}, but what would be sent differs: check "
                f"campaign.preview(), and if it is right pass confirm={expected!r}"
            )
        connection.execute(update(sends).where(self._in_state("planned")).values(state="queued"))
        connection.execute(update(campaigns).where(self._row).values(confirmed=confirmation))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the campaign, so that no other process or notebook cell sends it; its lost sends become unknown.

        An owner that has ended is ignored.
        """
        self._set_owner(release=False)
        try:
            yield
        finally:
            with suppress(ArchiveError, CampaignError):  # another call sees that this one has ended
                self._set_owner(release=True)

    @transaction
    def _set_owner(self, connection: Connection, *, release: bool) -> None:
        lock(connection, "campaign", self._name)
        owner = connection.execute(select(campaigns.c.owner).where(self._row)).scalar()
        if outbox.is_sending(connection, owner):
            raise CampaignError(f"campaign {self._name!r}: is being sent by another cell or process; wait for it")
        owner = None if release else outbox.current_owner(connection)
        connection.execute(update(campaigns).where(self._row).values(owner=owner))
        outbox.mark_lost(connection, campaign=self._name)

    def reserve(self, sends: int) -> None:
        """Reserve disk space for the outcomes of sends."""
        self._database.reserve(sends)

    def settle(self, settled: Sequence[SettledSend]) -> None:
        """Store outcomes, in the reserved space if the disk is full."""
        self._database.settle(lambda connection: ingest.settle(connection, settled))

    def exchange(
        self, settled: Sequence[SettledSend], limit: int, *, service_id: str | None
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """Settle sends, then claim at most ``limit`` queued messages.

        Returns the claimed rows, and whether queued messages remain that could exceed the cost cap.
        """
        keys: list[str] = []
        try:
            return self._exchange(keys, settled, limit, service_id)
        except CommitUnknown:  # what was claimed is not sent
            self.settle([(key, SendOutcome("queued", "interrupted before it was sent"), {}, None) for key in keys])
            raise

    @transaction
    def _exchange(
        self, connection: Connection, keys: list[str], settled: Sequence[SettledSend], limit: int, service: str | None
    ) -> tuple[list[Mapping[str, Any]], bool]:
        ingest.settle(connection, settled)
        if limit <= 0:
            return [], False
        affordable = self._affordable(connection)
        size = limit if affordable is None else max(1, min(limit, affordable))
        query = select(sends).where(self._in_state("queued")).order_by(sends.c.row).limit(size)
        query = query.with_for_update(skip_locked=True)
        rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
        if affordable is not None and affordable <= 0:
            return [], bool(rows)
        keys[:] = [row["key"] for row in rows]
        outbox.claim(connection, keys, service_id=service)
        return rows, False

    def _affordable(self, connection: Connection) -> int | None:
        """Return how many more messages can be sent before the cost could exceed the cap; None without a cap."""
        terms = self._terms(connection)
        if terms.cost_cap is None or not terms.price_high:
            return None
        lock(connection, "campaign", self._name)
        charged = select(func.count()).where(sends.c.campaign == self._name, sends.c.state.in_(CHARGED))
        allowed = int((terms.cost_cap + terms.price_high * 1e-9) // terms.price_high)
        return allowed - int(connection.execute(charged).scalar_one())

    def _in_state(self, state: str) -> ColumnElement[bool]:
        return and_(sends.c.campaign == self._name, sends.c.state == state)

    def _planned(self, connection: Connection) -> list[tuple[str, str]]:
        query = select(sends.c.to, sends.c.content).where(self._in_state("planned")).order_by(sends.c.row)
        return [(to, content) for to, content in connection.execute(query)]

    def _terms(self, connection: Connection) -> CampaignTerms:
        if terms := self._find_terms(connection):
            return terms
        hint = suggestion(self._name, connection.execute(select(campaigns.c.name)).scalars())
        raise CampaignError(
            f"campaign {self._name!r}: is not in the archive; {hint}plan it with recipients and content"
        )

    def _find_terms(self, connection: Connection) -> CampaignTerms | None:
        columns = [campaigns.c[name] for name in CampaignTerms.__slots__]
        row = connection.execute(select(*columns).where(self._row)).mappings().first()
        return CampaignTerms(**row) if row else None
