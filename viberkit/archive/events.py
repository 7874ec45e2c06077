"""Frames of events from the archive's rows; no SQL.

Facts of the message, states known only from status requests, one row per event, gaps of a source, paired replies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from viberkit.frames.columns import EVENTS, GAPS, MESSAGES
from viberkit.frames.schema import INSTANT, Schema
from viberkit.models.states import FINAL, parse_state, rank
from viberkit.models.validation import EVENTS as CALLBACK_EVENTS

_FACTS = ("rate_type", "content_type", "service_id", "campaign", "country")
#: The columns of messages that are read to add facts to events.
MESSAGE_FACTS = Schema(
    "messages", tuple(MESSAGES[name] for name in ("message_id", "sent_at", "observed_until", *_FACTS))
)
_CALLBACK_STATES = [parse_state(text) for text in CALLBACK_EVENTS]
_KEY = ["message_id", "state"]
_CLOCK_DIFFERENCE_S = 60.0  # between this computer and the API, at most
_NEVER_OBSERVED = pd.Timestamp(0, tz="UTC")
_FIRST_UNORDERED = rank("deleted")  # states with a lower rank follow one another


def observed_until(
    messages: pd.DataFrame, events: pd.DataFrame, listening: pd.DataFrame, final: pd.DataFrame | None = None
) -> pd.Series[Any]:
    """Return until when messages were observed: by the API, or by a listener that would have received callbacks.

    That is the end of the listening period in which the API was last seen to report the message, if callbacks are
    received about it, or callbacks of final states about other messages of its service id in the same period. These are
    in ``final`` (service_id, received_at) if there are more messages than those that are passed.
    """
    until: pd.Series[Any] = messages["observed_until"]
    if listening.empty:
        return until
    period = (listening["began_at"] > listening["last_at"].cummax().shift()).cumsum()  # overlapping ones are one
    ends = listening["last_at"].groupby(period).transform("max")

    def find(instants: pd.Series[Any]) -> tuple[Any, Any]:
        """The period of each instant, or -1, and its end."""
        index = np.searchsorted(listening["began_at"], instants.fillna(_NEVER_OBSERVED), side="right") - 1
        end = ends.take(index).to_numpy()
        return np.where((index >= 0) & (instants <= end), period.take(index), -1), end

    callbacks = events[events["source"] == "callback"]
    service_id = messages["service_id"].astype("str").set_axis(messages["message_id"])
    if final is None:
        final = callbacks[callbacks["state"].isin(FINAL)]
        final = final.assign(service_id=service_id.reindex(final["message_id"]).array)
    reporting = pd.MultiIndex.from_arrays([final["service_id"], find(final["received_at"])[0]])
    last, end = find(until)
    called = messages["message_id"].isin(callbacks["message_id"])
    called |= pd.MultiIndex.from_arrays([service_id, last]).isin(reporting)
    return until.mask(called & (last >= 0), pd.Series(end, index=until.index))


def suggest_outcomes(
    sends: pd.DataFrame, messages: pd.DataFrame, events: pd.DataFrame, within_s: float
) -> pd.DataFrame:
    """Return pairs of unknown sends and messages of unknown origin whose first event soon follows the send."""
    unsent = messages.loc[messages["sent_at"].isna(), ["message_id", "to"]].rename(columns={"to": "recipient"})
    pairs = sends[["key", "to", "claimed_at"]].merge(unsent, how="cross")
    first = events.groupby("message_id")["happened_at"].min()
    pairs["happened_at"] = first.reindex(pairs["message_id"]).array
    pairs["after_s"] = (pairs["happened_at"] - pairs["claimed_at"]).dt.total_seconds()
    pairs["same_recipient"] = _digits(pairs["to"]) == _digits(pairs["recipient"])
    is_possible = pairs["same_recipient"] | pairs["recipient"].isna()
    pairs = pairs[is_possible & pairs["after_s"].between(-_CLOCK_DIFFERENCE_S, within_s)]
    return pairs.drop(columns="recipient").sort_values(["claimed_at", "happened_at"], ignore_index=True)


def add_message_facts(events: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Return the events of known messages with facts of the message, in the order of the messages and of time."""
    index = pd.Index(messages["message_id"]).get_indexer(pd.Index(events["message_id"]))
    ties = [events[name].cat.codes.to_numpy() for name in ("source", "state")]
    order = np.lexsort((*ties, events["happened_at"].astype("int64").to_numpy(), index))
    order = order[np.searchsorted(index[order], 0) :]
    result = events.take(order).reset_index(drop=True)
    for name in ("observed_until", *_FACTS):
        result[name] = messages[name].array.take(index[order])
    # Events that were stored after the messages were read show them later.
    if (result["received_at"] > result["observed_until"]).any():
        last = result.groupby("message_id", observed=True)["received_at"].transform("max")
        result["observed_until"] = result["observed_until"].mask(last > result["observed_until"], last)
    return result


def polled_states(
    events: pd.DataFrame, statuses: pd.DataFrame, responses: pd.DataFrame, messages: pd.DataFrame
) -> pd.DataFrame:
    """Return the states (EVENTS) that only status responses without a time reported.

    ``happened_at`` is the first response with the state; ``not_before`` is the last time before it at which the
    message is known to have been in an earlier state: by another of the ``statuses`` (all are passed), a history
    without the state, an event, or the send. The same response repeated is one row of ``responses``: message_id, kind,
    first_seen, last_seen.
    """
    statuses = statuses.astype({"state": "str"})
    polled = statuses[(statuses["since"] == statuses["observed_at"]).to_numpy()]
    events = events.loc[events["message_id"].isin(polled["message_id"]), [*_KEY, "happened_at"]]
    events = events.astype({"state": "str"})
    polled = polled[~pd.MultiIndex.from_frame(polled[_KEY]).isin(pd.MultiIndex.from_frame(events[_KEY]))]
    polled = polled.sort_values("observed_at", kind="stable").drop_duplicates(_KEY).reset_index(drop=True)
    for frame in (events, polled, statuses):
        frame["rank"] = frame["state"].map(rank).astype("int64")
    # Observations of earlier states: a history without the state shows that it was not entered, whatever it reports.
    repeated = responses[responses["kind"] == "status"].drop_duplicates(["message_id", "first_seen"], keep=False)
    repeated = statuses.merge(repeated, left_on=["message_id", "observed_at"], right_on=["message_id", "first_seen"])
    histories = responses[responses["kind"] == "events"].assign(rank=-1)
    times = [(histories, "first_seen"), (histories, "last_seen"), (statuses, "observed_at"), (repeated, "last_seen")]
    times += [(events, "happened_at"), (messages.assign(rank=-1), "sent_at")]
    observations = pd.concat(
        [
            frame[["message_id", "rank"]].assign(at=frame[column], exact=column in ("happened_at", "sent_at"))
            for frame, column in times
        ],
        ignore_index=True,
    )
    states = polled[["message_id", "rank", "observed_at"]].reset_index(names="row")
    pairs = states.merge(observations, on="message_id", suffixes=("", "_then"))
    later = pairs["exact"] & (pairs["rank_then"] > pairs["rank"]) & (pairs["rank_then"] < _FIRST_UNORDERED)
    # An event of a later state shows that the message was in the polled state by then.
    entered_by = pairs["at"].where(later).groupby(pairs["row"]).transform("min")
    until = pairs["observed_at"].where(~(entered_by < pairs["observed_at"]), entered_by)
    before = (pairs["at"] < until) | (pairs["exact"] & (pairs["at"] == until))
    last = pairs[before & (pairs["rank_then"] < pairs["rank"])].groupby("row")["at"].max()
    polled["not_before"] = last.reindex(polled.index).astype(INSTANT).fillna(_NEVER_OBSERVED)
    at = polled["observed_at"]
    polled = polled[[*_KEY, "channel", "not_before"]]
    return EVENTS.frame(polled.assign(happened_at=at, received_at=at, source="status"))


def merge_sources(events: pd.DataFrame) -> pd.DataFrame:
    """Return one row per event from events with one row per source.

    The time is that of the most reliable source; ``source`` names all ("history+callback"), ``received_at`` is the
    first receipt.
    """
    sources = events["source"].cat.categories  # the most reliable first
    source = events["source"].cat.codes.astype("int64").to_numpy()
    event = events.groupby(_KEY, observed=True, sort=False).ngroup().to_numpy()
    n_events = int(event.max(initial=-1)) + 1
    best, reported_by = np.full(n_events, len(sources)), np.zeros(n_events, dtype="int64")
    received_at = np.full(n_events, np.iinfo("int64").max)
    np.minimum.at(best, event, source)
    np.bitwise_or.at(reported_by, event, 1 << source)
    np.minimum.at(received_at, event, events["received_at"].astype("int64").to_numpy())
    names = ["+".join(s for index, s in enumerate(sources) if bits >> index & 1) for bits in range(1 << len(sources))]
    is_best = source == best[event]
    event = event[is_best]
    merged: pd.DataFrame = events[is_best].reset_index(drop=True)
    merged["source"] = EVENTS["source"].cast(pd.Series(np.array(names, dtype=object)[reported_by[event]]))
    merged["received_at"] = pd.Series(pd.to_datetime(received_at[event], unit="us", utc=True)).astype(INSTANT)
    return merged


def find_gaps(events: pd.DataFrame, fetched_at: pd.Series[Any]) -> pd.DataFrame:
    """Return the events that one source reported and the other did not (GAPS), from events with one row per source.

    ``fetched_at`` is when the history of a message was fetched last, by its id.
    """
    events = events.assign(reported_by=events["source"].astype("str").replace({"status": "history"}))
    events = events[events["reported_by"].isin(["history", "callback"])]
    n_sources = events.groupby(_KEY, observed=True)["reported_by"].transform("nunique")
    single = events[n_sources == 1].drop_duplicates([*_KEY, "happened_at"])
    fetched_later = fetched_at.reindex(single["message_id"]).set_axis(single.index) >= single["happened_at"]
    by_history = single["reported_by"] == "history"
    single = single[(by_history & single["state"].isin(_CALLBACK_STATES)) | (~by_history & fetched_later)]
    missed_by = single["reported_by"].map({"history": "callback", "callback": "history"})
    # A source is expected to report a state that it has reported before.
    first = events.groupby(["reported_by", "state"], observed=True)["happened_at"].min()
    reported_since = first.reindex(pd.MultiIndex.from_arrays([missed_by, single["state"].astype("str")]))
    expected = reported_since.to_numpy() <= single["happened_at"].to_numpy()
    rows = single.assign(missed_by=missed_by, expected=expected)
    rows = rows.sort_values(["happened_at", "message_id", "state"])[list(GAPS.names)]
    return GAPS.frame(rows.reset_index(drop=True))


def pair_replies(inbound: pd.DataFrame, messages: pd.DataFrame) -> pd.DataFrame:
    """Return inbound messages with the sent message that each answers: ``answers``, ``paired_by``, ``response_s``.

    That is the message that it names (``reply_to``), else the last one sent before to this number from this service id.
    """
    accepted_at = messages["accepted_at"].fillna(messages["sent_at"])
    happened_at = inbound["happened_at"].fillna(inbound["received_at"])
    sent_pair, reply_pair = _pair(messages["to"], messages["service_id"]), _pair(inbound["sender"], inbound["to"])
    sent = pd.DataFrame({"at": accepted_at, "pair": sent_pair, "answers": messages["message_id"]})
    replies = pd.DataFrame({"at": happened_at, "pair": reply_pair, "row": inbound.index})
    ordered = pd.concat([sent, replies]).dropna(subset=["at", "pair"]).sort_values("at", kind="stable")
    ordered["answers"] = ordered.groupby("pair")["answers"].ffill()
    by_number = ordered.dropna(subset=["row"]).set_index("row")["answers"].reindex(inbound.index)
    ids = pd.Series(messages["message_id"].to_numpy(), index=messages["message_id"].str.lower())
    known = ids[~ids.index.duplicated()].reindex(inbound["reply_to"].str.lower()).set_axis(inbound.index)
    by_reply = known.where(known.notna(), inbound["reply_to"])  # ids differ in case
    answers = by_reply.where(by_reply.notna(), by_number)
    paired_by = pd.Series("number", index=inbound.index, dtype="str").where(by_number.notna())
    paired_by = paired_by.mask(by_reply.notna(), "reply")
    answered_at = accepted_at.set_axis(messages["message_id"]).reindex(answers).set_axis(inbound.index)
    response_s = (happened_at - answered_at).dt.total_seconds()
    return inbound.assign(answers=answers, paired_by=paired_by, response_s=response_s)


def _pair(numbers: pd.Series[Any], service_ids: pd.Series[Any]) -> pd.Series[Any]:
    """Return number and service id as one text."""
    return _digits(numbers) + " " + service_ids.astype("str").str.lower()


def _digits(numbers: pd.Series[Any]) -> pd.Series[Any]:
    """Return numbers without a leading plus or two zeros, and without separators."""
    return numbers.astype("str").str.replace(r"^\s*(tel:)?(\+|00)|[\s\u00a0()./-]", "", regex=True)
