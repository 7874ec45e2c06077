"""What the archive's rows say together: one row an event with the facts of its message, times known only from polls,
what one way of telling missed, what a reply answers.

Frames in, frames out; no SQL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from viberkit.frames import columns as frames
from viberkit.models.phone import country
from viberkit.models.states import parse_state, rank
from viberkit.models.validation import EVENTS as CALLED_BACK

__all__ = ["FACTS", "SENT", "SOURCES", "countries", "gaps", "joined", "once", "paired", "polled"]

#: What every event says of its message.
FACTS = ("rate_type", "content_type", "service_id", "campaign", "country")
#: What is read of a message to say that; the number itself stays here.
SENT = frames.Schema(
    "sent", tuple(frames.MESSAGES[name] for name in ("message_id", "to", "sent_at", "observed_until", *FACTS))
)

#: Who is believed first about when a message entered a state.
SOURCES = ("history", "callback", "status", "send")
#: States that callbacks have a word for.
_CALLED_BACK = frozenset(parse_state(word) for word in CALLED_BACK)
_KEY = ["message_id", "state"]
#: Since when a message is known not to have been in a state, where nothing is known.
_EVER = pd.Timestamp(0, tz="UTC")
_LIVING = rank("deleted")  # states before this one come one after the other


def countries(numbers: pd.Series[Any]) -> pd.Series[Any]:
    """The country of each number (:func:`~viberkit.models.phone.country`), as a category."""
    codes, texts = pd.factorize(numbers)
    found = pd.Series([*map(country, texts), None], dtype="str")
    return frames.MESSAGES["country"].cast(found.take(codes).set_axis(numbers.index))


def joined(told: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Events (of messages that are known) with the facts of their message, in the order that messages were sent, then
    of time."""
    place = pd.Index(sent["message_id"]).get_indexer(pd.Index(told["message_id"]))
    ties = [told[name].cat.codes.to_numpy() for name in ("source", "state")]
    order = np.lexsort((*ties, told["happened_at"].astype("int64").to_numpy(), place))
    order = order[np.searchsorted(place[order], 0) :]
    made = told.take(order).reset_index(drop=True)
    for name in ("observed_until", *FACTS):
        made[name] = sent[name].array.take(place[order])
    return made


def polled(told: pd.DataFrame, polls: pd.DataFrame, looks: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """The states (frames.EVENTS) that nothing told of but a poll whose answer had no time.

    ``happened_at`` is when a poll first found it, ``not_before`` the last time before that the message is known to
    have been in an earlier state: by another poll (``polls``, frames.STATUSES, has all of them), a history that did
    not tell of it, an event, or its send (``sent``). The same answer again is one row of ``looks``: ``message_id``,
    ``kind``, ``first_seen``, ``last_seen``.
    """
    polls = polls.astype({"state": "str"})
    found = polls[(polls["since"] == polls["observed_at"]).to_numpy()]
    told = told.loc[told["message_id"].isin(found["message_id"]), [*_KEY, "happened_at"]].astype({"state": "str"})
    found = found[~pd.MultiIndex.from_frame(found[_KEY]).isin(pd.MultiIndex.from_frame(told[_KEY]))]
    found = found.sort_values("observed_at", kind="stable").drop_duplicates(_KEY).reset_index(drop=True)
    for each in (told, found, polls):
        each["place"] = each["state"].map(rank).astype("int64")
    # What shows that it was not there yet: a history shows it by not telling of it, whatever state it tells.
    by_status = looks[looks["kind"] == "status"].drop_duplicates(["message_id", "first_seen"], keep=False)
    again = polls.merge(by_status, left_on=["message_id", "observed_at"], right_on=["message_id", "first_seen"])
    histories = looks[looks["kind"] == "events"].assign(place=-1)
    shown = {"first_seen": histories, "last_seen": histories, "observed_at": polls, "happened_at": told}
    marks = [(each, name) for name, each in shown.items()] + [(again, "last_seen"), (sent.assign(place=-1), "sent_at")]
    columns = [
        each[["message_id", "place"]].assign(at=each[name], exact=name in ("happened_at", "sent_at"))
        for each, name in marks
    ]
    mine = found[["message_id", "place", "observed_at"]].reset_index(names="row")
    pairs = mine.merge(pd.concat(columns, ignore_index=True), on="message_id", suffixes=("", "_then"))
    after = pairs["exact"] & (pairs["place_then"] > pairs["place"]) & (pairs["place_then"] < _LIVING)
    by_then = pairs["at"].where(after).groupby(pairs["row"]).transform("min")  # a later state shows that it was there
    until = pairs["observed_at"].where(~(by_then < pairs["observed_at"]), by_then)
    before = (pairs["at"] < until) | (pairs["exact"] & (pairs["at"] == until))
    last = pairs[before & (pairs["place_then"] < pairs["place"])].groupby("row")["at"].max()
    found["not_before"] = last.reindex(found.index).astype(frames.INSTANT).fillna(_EVER)
    return frames.EVENTS.frame(
        found[[*_KEY, "channel", "not_before"]].assign(
            happened_at=found["observed_at"], received_at=found["observed_at"], source="status"
        )
    )


def once(told: pd.DataFrame) -> pd.DataFrame:
    """Events as each source told them, to one row an event.

    The instant is that of the source believed most; ``source`` names all that told of it ("history+callback"),
    ``received_at`` is when it was first heard of.
    """
    belief = told["source"].map({source: place for place, source in enumerate(SOURCES)}).astype("int64").to_numpy()
    event = told.groupby(_KEY, observed=True, sort=False).ngroup().to_numpy()
    count = int(event.max(initial=-1)) + 1
    best, tellers, heard = np.full(count, len(SOURCES)), np.zeros(count, dtype="int64"), np.full(count, 2**62)
    np.minimum.at(best, event, belief)
    np.bitwise_or.at(tellers, event, 1 << belief)
    received = told["received_at"]
    np.minimum.at(heard, event, received.astype("int64").to_numpy())
    names = ["+".join(s for place, s in enumerate(SOURCES) if bits >> place & 1) for bits in range(1 << len(SOURCES))]
    shown = belief == best[event]
    merged: pd.DataFrame = told[shown].reset_index(drop=True)
    merged["source"] = frames.EVENTS["source"].cast(pd.Series(np.array(names, dtype=object)[tellers[event[shown]]]))
    heard_at = pd.Series(pd.to_datetime(heard[event[shown]], unit="us", utc=True))
    merged["received_at"] = heard_at.astype(frames.INSTANT)
    return merged


def gaps(told: pd.DataFrame, looked: pd.Series[Any]) -> pd.DataFrame:
    """What one way told and the other did not (frames.GAPS), from events as each source told them.

    ``looked`` is when the history of a message was fetched last, by its id.
    """
    told = told.assign(way=told["source"].astype("str").replace({"status": "history"}))
    told = told[told["way"].isin(["history", "callback"])]
    ways = told.groupby(_KEY, observed=True)["way"].transform("nunique")
    alone = told[ways == 1].drop_duplicates([*_KEY, "happened_at"])
    looked_at = looked.reindex(alone["message_id"]).set_axis(alone.index)
    by_history = alone["way"] == "history"
    can_be_called_back = alone["state"].isin(list(_CALLED_BACK))
    asked_later = looked_at >= alone["happened_at"]
    alone = alone[(by_history & can_be_called_back) | (~by_history & asked_later)]
    missed_by = np.where(alone["way"] == "history", "callback", "history")
    # A way can be expected to tell of a state once it has told of it before.
    first = told.groupby(["way", "state"], observed=True)["happened_at"].min()
    known_since = first.reindex(pd.MultiIndex.from_arrays([missed_by, alone["state"].astype("str")]))
    expected = known_since.to_numpy() <= alone["happened_at"].to_numpy()
    rows = alone.assign(reported_by=alone["way"], missed_by=missed_by, expected=expected)
    rows = rows.sort_values(["happened_at", "message_id", "state"])[list(frames.GAPS.names)]
    return frames.GAPS.frame(rows.reset_index(drop=True))


def paired(inbound: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Inbound messages with the sent message that each answers: ``answers``, ``paired_by``, ``response_s``.

    What an inbound message itself names (``reply_to``) counts; else it is the last message that was sent to this
    number from this service id before. ``response_s`` runs from when the provider accepted that message.
    """
    began = sent["accepted_at"].fillna(sent["sent_at"])
    happened = inbound["happened_at"].fillna(inbound["received_at"])
    offers = pd.DataFrame({"at": began, "pair": _pair(sent["to"], sent["service_id"]), "answers": sent["message_id"]})
    wanted = pd.DataFrame({"at": happened, "pair": _pair(inbound["sender"], inbound["to"]), "place": inbound.index})
    talk = pd.concat([offers, wanted]).dropna(subset=["at", "pair"]).sort_values("at", kind="stable")
    talk["answers"] = talk.groupby("pair")["answers"].ffill()
    guess = talk.dropna(subset=["place"]).set_index("place")["answers"].reindex(inbound.index)
    ours = pd.Series(sent["message_id"].to_numpy(), index=sent["message_id"].str.lower())
    ours = ours[~ours.index.duplicated()].reindex(inbound["reply_to"].str.lower()).set_axis(inbound.index)
    named = ours.where(ours.notna(), inbound["reply_to"])  # an id is the same in capitals
    answers = named.where(named.notna(), guess)
    how = pd.Series("number", index=inbound.index, dtype="str").where(guess.notna()).mask(named.notna(), "reply")
    began_at = began.set_axis(sent["message_id"]).reindex(answers).set_axis(inbound.index)
    return inbound.assign(answers=answers, paired_by=how, response_s=(happened - began_at).dt.total_seconds())


def _pair(numbers: pd.Series[Any], service_ids: pd.Series[Any]) -> pd.Series[Any]:
    """Who talks to whom. Numbers are written with a plus, two noughts or neither; here with neither."""
    digits = numbers.astype("str").str.replace(r"^\s*(tel:)?(\+|00)|[\s\u00a0()./-]", "", regex=True)
    return digits + " " + service_ids.astype("str").str.lower()
