"""What the archive's rows say together: one row an event, what one way of telling missed, what a reply answers.

Frames in, frames out; no SQL.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from viberkit import frames
from viberkit.rules import EVENTS as CALLED_BACK
from viberkit.states import state_of

__all__ = ["SOURCES", "gaps", "once", "paired"]

#: Who is believed first about when a message entered a state.
SOURCES = ("history", "callback", "status", "send")
#: States that callbacks have a word for.
_CALLED_BACK = frozenset(state_of(word) for word in CALLED_BACK)
_KEY = ["message_id", "state"]


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
    rows = alone.assign(told_by=alone["way"], missed_by=missed_by, expected=expected)
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
