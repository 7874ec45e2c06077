"""Campaigns: one content to many recipients, planned, confirmed, and sent at most once each."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from numbers import Real
from typing import TYPE_CHECKING, Any

import pandas as pd
from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from viberkit.api.transport import RateLimiter
from viberkit.archive import outbox as box
from viberkit.archive.archive import Archive
from viberkit.archive.derive import content_facts, micros
from viberkit.archive.tables import campaigns, outbox
from viberkit.campaigns.plan import Planned, problems, table
from viberkit.campaigns.plan import plan as plan_rows
from viberkit.errors import CampaignError, InvalidRequest, Violation
from viberkit.models import validation as rules
from viberkit.models.content import Content, to_wire
from viberkit.models.keys import KEY_LENGTH, canonical_json, make_key
from viberkit.models.phone import mask

if TYPE_CHECKING:
    from viberkit.api.client import Client

__all__ = ["Campaign", "Preview"]

_WORDS = {
    "planned": "not confirmed, not sent",
    "queued": "confirmed, not sent yet",
    "in_flight": "being sent",
    "accepted": "accepted",
    "rejected": "refused by the server, not charged",
    "unknown": "may have been sent and charged",
    "requeued": "may have been sent and charged; sent again by decision",
    "abandoned": "may have been sent and charged; left so by decision",
}
_numbers = count()
_running: set[str] = set()
_running_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Preview:
    """What a campaign would send: how many, a sample, the longest text, what is refused, the cost, what to confirm."""

    planned: int
    sample: pd.DataFrame
    longest: int
    refused: pd.DataFrame
    cost: str
    confirm: str

    def __repr__(self) -> str:
        lines = [f"{self.planned:,} messages to send, the longest text has {self.longest:,} characters"]
        lines += [f"cost: {self.cost}"] if self.cost else ["cost: no price was given"]
        lines += ["", self.sample.to_string(index=False, max_colwidth=60)] if len(self.sample) else []
        if len(self.refused):
            lines += ["", f"left out: {self.refused['row'].nunique():,} rows"]
            lines += [self.refused[["row", "field", "rule"]].head(10).to_string(index=False, max_colwidth=60)]
        ending = f"to send, confirm: {self.confirm!r}" if self.planned else "nothing new is planned"
        return "\n".join([*lines, "", ending])


class Campaign:
    """One content to many recipients, in the outbox of an archive.

    ``problems`` is a frame of the rows that are left out: row (from 1), field, value, rule, remedy.

    >>> with vk.Sandbox(seed=1) as sandbox, vk.Archive("deliveries.db") as archive:
    ...     people = [{"to": "+491701234567", "name": "Ada"}, {"to": "+491701234568", "name": "Bo"}]
    ...     spring = vk.Campaign.plan(archive, "spring", people, vk.Text("Hi {name}"), rate_type="promotion", price=0.03)
    ...     confirm = spring.preview().confirm
    ...     sent = spring.send(sandbox.client(), confirm=confirm, progress=False)
    ...     again = spring.send(sandbox.client(), confirm=confirm, progress=False)
    ...     confirm, sent["words"].tolist(), len(sandbox.requests)
    ('send 2 for at most 0.06 [9bc2ff]', ['2 accepted (0.06)'], 2)
    """

    def __init__(self, archive: Archive, name: str, problems: pd.DataFrame) -> None:
        self.archive, self.name, self.problems = archive, name, problems

    def __repr__(self) -> str:
        told = ", ".join(f"{n:,} {state}" for state, n in self._counts().items())
        return f"Campaign({self.name!r}: {told or 'empty'})"

    @classmethod
    def plan(
        cls,
        archive: Archive,
        name: str,
        recipients: Any,
        content: Content,
        *,
        rate_type: str,
        to: str | None = None,
        context: str | None = None,
        callback_url: str | None = None,
        price: float | tuple[float, float] | None = None,
        currency: str = "",
        cost_cap: float | None = None,
    ) -> Campaign:
        """Check every recipient and plan the messages; nothing is sent."""
        _check(name, recipients, content, rate_type, context, callback_url, price, cost_cap)
        made, wrong = plan_rows(name, table(recipients), content, rate_type, to=to)
        low, high = (
            None if one is None else float(one) for one in (price if isinstance(price, tuple) else (price, price))
        )
        now = _now()
        fixed = {
            "content": canonical_json(to_wire(content)),
            "rate_type": rate_type,
            "context": context,
            "callback_url": callback_url,
        }
        row = {"name": name, **fixed, "price_low": low, "price_high": high, "currency": currency, "cost_cap": cost_cap}
        with archive.writing() as connection:
            known = connection.execute(select(campaigns).where(campaigns.c.name == name)).mappings().first()
            if known and (changed := [each for each, value in fixed.items() if known[each] != value]):
                raise CampaignError(
                    f"campaign {name!r}: is planned already with another {' and '.join(changed)}; under one name goes out "
                    "one content, so that nobody gets it twice: choose another name"
                )
            named = ("price_low", "price_high", "currency", "cost_cap")
            terms = {each: row[each] for each in named if row[each] not in (None, "")}
            if known and any(known[each] != value for each, value in terms.items()):
                _unconfirm(connection, name)
            added = insert(campaigns).values(**row, planned_at=now)
            connection.execute(added.on_conflict_do_update(["name"], set_={**terms, "name": name}))
            there = set(connection.execute(select(outbox.c.to).where(outbox.c.campaign == name)).scalars())
            new = [one for one in made if one.to not in there]  # a recipient gets one message of a campaign
            salt = box.salt(connection)
            for start in range(0, len(new), 5000):
                box.enter(connection, [_row(name, one, fixed, now, salt) for one in new[start : start + 5000]])
        return cls(archive, name, wrong)

    @classmethod
    def open(cls, archive: Archive, name: str) -> Campaign:
        """Open a planned campaign by its name."""
        campaign = cls(archive, name, problems([]))
        with archive.reading() as connection:
            campaign._told(connection)
        return campaign

    @property
    def confirmed(self) -> str | None:
        """What was confirmed last; to go on with it, pass it to :meth:`send` again."""
        with self.archive.reading() as connection:
            told: str | None = self._told(connection)["confirmed"]
        return told

    # --- looking -----------------------------------------------------------------------------------------

    def preview(self, sample: int = 5) -> Preview:
        """What would be sent now: only what is planned and not yet confirmed counts."""
        mine = outbox.c.campaign == self.name, outbox.c.state == "planned"
        with self.archive.reading() as connection:
            asked = select(outbox.c.to, outbox.c.content).where(*mine).order_by(outbox.c.row).limit(sample)
            rows = connection.execute(asked).all()
            texts = connection.execute(select(outbox.c.content).where(*mine)).scalars()
            longest = max((len(content_facts(json.loads(one))["text"] or "") for one in texts), default=0)
            told = self._told(connection)
            planned, confirm = self._to_confirm(connection, told)
        shown = [(mask(to), content_facts(json.loads(content))["text"] or content) for to, content in rows]
        frame = pd.DataFrame(shown, columns=["to", "text"], dtype="str")
        return Preview(planned, frame, longest, self.problems, _cost(told, planned), confirm)

    def messages(self, *, unmask: bool = False) -> pd.DataFrame:
        """One row a send: key, row, to, state, message_id, reason, and when it was claimed and settled."""
        frame = self.archive.outbox(unmask=unmask)
        return frame[frame["campaign"] == self.name].reset_index(drop=True)

    def status(self) -> pd.DataFrame:
        """One row a state: ``state``, ``n``, ``share``, and ``words`` that say what it means and may have cost."""
        counts = self._counts()
        with self.archive.reading() as connection:
            told = self._told(connection)
        rows = []
        for state, n in counts.items():
            name = state.replace("_", " ")
            words = f"{n:,} {name}" + ("" if _WORDS[state] == name else f": {_WORDS[state]}")
            cost = _cost(told, n) if state in box.CHARGED else ""
            rows.append((state, n, n / sum(counts.values()), words + (f" ({cost})" if cost else "")))
        frame = pd.DataFrame(rows, columns=["state", "n", "share", "words"])
        return frame.astype({"state": "str", "n": "int64", "share": "float64", "words": "str"})

    # --- acting ------------------------------------------------------------------------------------------

    def send(
        self,
        client: Client,
        *,
        confirm: str,
        workers: int = 32,
        per_second: float | None = None,
        max_unknown_share: float = 0.01,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Send what was confirmed, each at most once; gives :meth:`status`, and why it stopped early in ``attrs``.

        ``confirm`` is the text that :meth:`preview` gives: it holds the count, the cost and a digest of what goes out,
        so another content needs another confirmation, and running a cell again sends nothing again. Interrupted or
        killed, the same call goes on with what was not sent; what was in flight then is unknown and is left alone.

        It stops by itself after 5 unknown outcomes in a row, above ``max_unknown_share`` of them in this run (of at
        least 100), when the server cannot be reached, and before the cost would pass the cap. Raises
        :class:`~viberkit.errors.CampaignError` where the confirmation is of something else or another one is at it.
        """
        from viberkit.campaigns.run import run

        found = rules.service_id_violations(client.service_id)
        if not 1 <= workers <= 1000:
            found.append(Violation("workers", repr(workers), "is no number of workers", "pass e.g. 32"))
        if found:
            raise InvalidRequest(found)
        RateLimiter(per_second)  # refuses a pace that is none
        with self._alone():
            with self.archive.writing() as connection:
                told = self._told(connection)
                self._confirm(connection, told, confirm)
                box.orphans(connection, _now(), campaign=self.name)
            try:
                stopped = run(
                    self.archive,
                    client,
                    told,
                    workers=workers,
                    per_second=per_second,
                    max_unknown_share=max_unknown_share,
                    progress=progress,
                )
            finally:  # whatever broke off, nothing of it is in flight any more
                with self.archive.writing() as connection:
                    box.orphans(connection, _now(), campaign=self.name)
        status = self.status()
        status.attrs["stopped"] = stopped
        return status

    def release(self) -> None:
        """Let go of a campaign whose holder is gone on another computer; never of one that is still being sent."""
        with self.archive.writing() as connection:
            connection.execute(update(campaigns).where(campaigns.c.name == self.name).values(owner=None))

    def resolve(self, keys: Iterable[str], decision: str, *, reason: str) -> int:
        """Decide on unknown sends: "resend" (with a new key, by the next :meth:`send`) or "abandon"; gives how many."""
        keys, mine = list(keys), set(self.messages()["key"])
        if strange := [key for key in keys if key not in mine]:
            raise CampaignError(f"{strange[0]!r} is no key of the campaign {self.name!r}; see campaign.messages()")
        return self.archive.resolve(keys, decision, reason=reason)

    def _confirm(self, connection: Connection, told: Mapping[str, Any], confirm: str) -> None:
        planned, wanted = self._to_confirm(connection, told)
        if confirm == told["confirmed"]:
            return  # what it confirmed is queued or gone; what was planned since needs a confirmation of its own
        if told["confirmed"] is None and not planned:
            raise CampaignError(f"campaign {self.name!r}: nothing is planned; see campaign.problems")
        if not planned:
            raise CampaignError(
                f"campaign {self.name!r}: nothing is planned that could be confirmed; to go on with what was, "
                f"pass confirm={told['confirmed']!r}"
            )
        if confirm != wanted:
            raise CampaignError(
                f"campaign {self.name!r}: confirm is {confirm!r}, but what would go out is another: look at "
                f"campaign.preview(), and if that is meant pass confirm={wanted!r}"
            )
        mine = outbox.c.campaign == self.name, outbox.c.state == "planned"
        connection.execute(update(outbox).where(*mine).values(state="queued"))
        connection.execute(update(campaigns).where(campaigns.c.name == self.name).values(confirmed=confirm))

    def _to_confirm(self, connection: Connection, told: Mapping[str, Any]) -> tuple[int, str]:
        planned = select(outbox.c.to, outbox.c.content).where(outbox.c.campaign == self.name)
        rows = connection.execute(planned.where(outbox.c.state == "planned").order_by(outbox.c.to))
        keys = [[to, content] for to, content in rows]
        terms = ("content", "rate_type", "context", "callback_url", "price_low", "price_high", "currency", "cost_cap")
        facts = json.dumps([*(told[name] for name in terms), *keys])
        digest = hashlib.sha256(facts.encode()).hexdigest()[:6]
        high = told["price_high"]
        cost = [] if high is None else [len(keys) * high]
        cost += [] if told["cost_cap"] is None else [told["cost_cap"]]
        words = f" for at most {_money(told, math.ceil(min(cost) * 100 - 1e-6) / 100)}" if cost else ""
        return len(keys), f"send {len(keys)}{words} [{digest}]"

    def _told(self, connection: Connection) -> Mapping[str, Any]:
        found = connection.execute(select(campaigns).where(campaigns.c.name == self.name)).mappings().first()
        if found is None:
            raise CampaignError(f"campaign {self.name!r}: is not in the archive; plan it with recipients and content")
        return dict(found)

    def _counts(self) -> dict[str, int]:
        states = select(outbox.c.state, func.count()).where(outbox.c.campaign == self.name).group_by(outbox.c.state)
        with self.archive.reading() as connection:
            found = {state: int(n) for state, n in connection.execute(states)}
        return {state: found[state] for state in box.STATES if state in found}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the campaign: no other process, and no other cell, works it meanwhile. A dead holder does not count."""
        token = f"{box.me()}/{next(_numbers)}"
        with _running_lock:
            _running.add(token)
        row = campaigns.c.name == self.name
        try:
            with self.archive.writing() as connection:
                owner = self._told(connection)["owner"]
                if box.is_alive(owner) and (owner in _running or not owner.startswith(box.me())):
                    raise CampaignError(
                        f"campaign {self.name!r}: is being sent by another cell or process ({owner}); wait for it, or "
                        "stop it; if it was another computer's and is gone, call campaign.release()"
                    )
                connection.execute(update(campaigns).where(row).values(owner=token))
            try:
                yield
            finally:
                with self.archive.writing() as connection:
                    connection.execute(update(campaigns).where(row, campaigns.c.owner == token).values(owner=None))
        finally:
            with _running_lock:
                _running.discard(token)


def _unconfirm(connection: Connection, name: str) -> None:
    """Other prices or another cap: what has not gone out wants a new confirmation."""
    queued = outbox.c.campaign == name, outbox.c.state == "queued"
    connection.execute(update(outbox).where(*queued).values(state="planned"))
    connection.execute(update(campaigns).where(campaigns.c.name == name).values(confirmed=None))


def _row(name: str, one: Planned, fixed: Mapping[str, Any], now: int, salt: str) -> dict[str, Any]:
    told = {each: fixed[each] for each in ("rate_type", "context", "callback_url")}
    key = make_key(name, one.to, one.content, 0, salt)
    row = {"key": key, "campaign": name, "row": one.row, "to": one.to, "content": one.content, "ordinal": 0}
    return {**row, **told, "state": "planned", "planned_at": now}


def _check(
    name: str,
    recipients: Any,
    content: Any,
    rate_type: str | None,
    context: str | None,
    callback_url: str | None,
    price: Any,
    cost_cap: Any,
) -> None:
    """What is wrong with the campaign as a whole; what is wrong with a row is for the plan to say."""
    found = list(rules.text_rule("name", name, 128))
    if recipients is None:
        remedy = "pass a DataFrame, the path of a CSV file, or a list of numbers"
        found.append(Violation("recipients", "", "are missing", remedy))
    if not isinstance(content, Content):
        found += rules.violations(content)
    found += rules.choice_rule("rate_type", rate_type, rules.RATE_TYPES)
    if context is not None:
        found += rules.text_rule("context", context, 124 - KEY_LENGTH)
    if callback_url is not None:
        found += rules.callback_url_rule("callback_url", callback_url)
    remedy = "pass e.g. 0.03, or (0.03, 0.06) for a range"
    prices = price if isinstance(price, tuple) else (price, price)
    if len(prices) != 2 or (prices[0] is None) != (prices[-1] is None):
        found.append(Violation("price", repr(price), "is no range of two amounts", remedy))
    for field, value in (*(("price", one) for one in prices), ("cost_cap", cost_cap)):
        if value is not None and not (_is_amount(value) and 0 <= value < float("inf")):
            found.append(Violation(field, repr(value), "is no amount", remedy))
    if all(map(_is_amount, prices)) and list(prices) != sorted(prices):
        found.append(Violation("price", repr(price), "is a range whose end is below its beginning", remedy))
    if cost_cap is not None and price is None:
        found.append(Violation("cost_cap", repr(cost_cap), "cannot be held without a price", "pass price=… too"))
    if found:
        raise InvalidRequest(list(dict.fromkeys(found)))


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _cost(told: Mapping[str, Any], n: int) -> str:
    low, high = told["price_low"], told["price_high"]
    if low is None or high is None:
        return ""
    return _money(told, n * low) if low == high else f"{_money(told, n * low)}–{n * high:,.2f}"


def _money(told: Mapping[str, Any], amount: float) -> str:
    return f"{told['currency'] or ''}{amount:,.2f}"


def _now() -> int:
    return micros(datetime.now(UTC))
