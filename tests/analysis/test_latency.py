"""Latency of transitions: against numpy on random logs, and on small examples."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from viberkit.analysis import latency as module
from viberkit.analysis.journeys import transitions
from viberkit.analysis.latency import latency
from viberkit.errors import MissingColumn
from viberkit.frames.columns import EVENTS
from viberkit.models.states import ORDER, rank

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "6"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2020, 7, 13, 12, tzinfo=UTC)
WAITING = ["n_waiting", "waiting_median_s", "waiting_max_s"]
DTYPES = {
    "from_state": "category",
    "to_state": "category",
    "quantile": "float64",
    "value_s": "float64",
    "low_s": "float64",
    "high_s": "float64",
    "n": "int64",
    "n_waiting": "float64",
    "max_s": "float64",
    "total_s": "float64",
    "time_share": "float64",
    "slowest_share": "float64",
    "waiting_median_s": "float64",
    "waiting_max_s": "float64",
}


def log(*rows: tuple[Any, ...], **columns: Any) -> pd.DataFrame:
    """Events from rows of message, state and seconds."""
    events = [
        {"message_id": message, "state": state, "happened_at": START + timedelta(seconds=after)}
        for message, state, after in rows
    ]
    return EVENTS.frame(events).assign(**columns)


instants = st.one_of(
    st.integers(0, 5).map(float),
    st.floats(0, 2e8, allow_nan=False).map(lambda after: round(after, 6)),
    st.just(-1e8),
)
rows = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*ORDER, "zeta", "alpha"]), instants), max_size=14)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=4, unique_by=lambda share: f"{share * 100:.10g}")


@many
@given(rows, shares)
@example([("a", "accepted", 1.0), ("a", "accepted", -1e8), ("a", "accepted", 0.0)], [0.0078125])
def test_quantiles_equal_those_of_numpy(rows: list[tuple[Any, ...]], quantiles: list[float]) -> None:
    all_transitions = transitions(log(*rows))
    result = latency(log(*rows), quantiles=quantiles)
    ended = result[result["n"] > 0].reset_index(drop=True)
    of_transitions = latency(all_transitions, quantiles=quantiles)
    assert of_transitions[WAITING].isna().all(axis=None)
    pd.testing.assert_frame_equal(
        ended.drop(columns=WAITING), of_transitions.drop(columns=WAITING), check_categorical=False
    )
    assert (result["n"] + result["n_waiting"] > 0).all()
    assert result["quantile"].tolist() == quantiles * (len(result) // len(quantiles))
    assert ended["n"].sum() == len(all_transitions) * len(quantiles)
    ranks = [[rank(str(state)) for state in ended[name]] for name in ("from_state", "to_state")]
    assert ranks[0] == sorted(ranks[0])
    for from_state in ended["from_state"].unique():
        entered = [to for to, state in zip(ranks[1], ended["from_state"], strict=True) if state == from_state]
        assert entered == sorted(entered)
    for row in ended.to_dict("records"):
        same = all_transitions["from_state"].astype("str") == row["from_state"]
        same &= all_transitions["to_state"].astype("str") == row["to_state"]
        seconds = all_transitions.loc[same, "latency_s"].to_numpy()
        assert row["n"] == len(seconds)
        assert row["max_s"] == seconds.max()
        assert row["total_s"] == pytest.approx(seconds.sum(), rel=1e-12)
        assert row["value_s"] == pytest.approx(np.quantile(seconds, row["quantile"]), rel=1e-14)
        assert row["low_s"] <= row["value_s"] * (1 + 1e-12)
        assert row["high_s"] >= row["value_s"] * (1 - 1e-12)
    if (all_transitions["latency_s"] > 0).any():
        assert ended["time_share"].sum() == pytest.approx(len(quantiles))
        assert ended["slowest_share"].sum() == pytest.approx(len(quantiles))


@many
@given(rows, shares, st.lists(st.integers(1, 5), min_size=4, max_size=4), st.sampled_from([[], ["rate_type"]]))
def test_weighted_transitions_equal_repeated_messages(
    rows: list[tuple[Any, ...]], quantiles: list[float], weights: list[int], by: list[str]
) -> None:
    weight = dict(zip("abcd", weights, strict=True))
    repeated = log(*((f"{m}{copy}", state, after) for m, state, after in rows for copy in range(weight[m])))
    events = log(*rows)
    for frame in (events, repeated):
        frame["rate_type"] = frame["message_id"].str[0].isin(["a", "b"]).map({True: "session", False: "promotion"})
    ended, waiting = module._prepare(events, by, None, "UTC")
    assert waiting is not None
    n, n_waiting = (frame["message_id"].map(weight).to_numpy(dtype=np.int64) for frame in (ended, waiting))
    weighted = module._estimate(ended, waiting, by, quantiles, 0.9, n, n_waiting)
    expected = latency(repeated, by=by, quantiles=quantiles, confidence=0.9)
    pd.testing.assert_frame_equal(weighted, expected, rtol=1e-12, atol=1e-12, check_categorical=False)


def test_share_of_the_slowest_messages() -> None:
    rows = [(f"m{n}", state, after) for n in range(40) for state, after in (("accepted", 0), ("routed", 1))]
    rows += [(f"m{n}", "delivered", 10 if n < 2 else 2) for n in range(40)]
    result = latency(log(*rows), quantiles=0.5)
    assert result["time_share"].tolist() == pytest.approx([40 / 96, 56 / 96])
    assert result["slowest_share"].tolist() == pytest.approx([0.1, 0.9])
    slower = log(*rows).assign(happened_at=lambda frame: frame["happened_at"].where(frame["message_id"] != "m0", START))
    assert latency(slower, quantiles=0.5)["slowest_share"].tolist() == pytest.approx([2 / 12, 10 / 12])


def test_groups_are_in_order_and_each_has_its_shares() -> None:
    events = log(
        *[
            (message, state, after)
            for message in "abc"
            for state, after in [("accepted", 0), ("routed", 1), ("delivered", 4)]
        ],
        rate_type=[*["session"] * 3, *["promotion"] * 3, *[None] * 3],
        channel=pd.Categorical([None, "viber", "sms"] * 3),
    )
    result = latency(events, by=["rate_type"], quantiles=0.5)
    assert result["rate_type"].fillna("-").tolist() == ["promotion", "promotion", "session", "session", "-", "-"]
    assert result["time_share"].tolist() == [0.25, 0.75] * 3
    assert result.attrs == {"by": ["rate_type"], "confidence": 0.95, "cluster": "auto", "tz": "UTC"}
    by_channel = latency(events, by="channel", quantiles=0.5)  # of the event that ends the transition
    assert by_channel["n_waiting"].isna().all()
    assert by_channel[["channel", "to_state"]].astype("str").to_numpy().tolist() in (
        [["viber", "routed"], ["sms", "delivered"]],
        [["sms", "delivered"], ["viber", "routed"]],
    )
    by_state = latency(transitions(events), by=("rate_type", "to_state"), quantiles=0.5)
    assert by_state["n"].sum() == 6
    assert list(by_state)[:3] == ["rate_type", "to_state", "from_state"]


def test_states_that_no_message_has_left_have_a_row_per_quantile() -> None:
    events = log(
        ("b", "delivered", 4), ("a", "accepted", 0), ("b", "accepted", 0), rate_type=["session", "promotion", None]
    )
    result = latency(events, by="rate_type", quantiles=[0.5, 0.9])
    assert result["rate_type"].tolist() == ["promotion", "promotion", "session", "session"]
    assert result[["n", "n_waiting"]].to_numpy().tolist() == [[0, 1]] * 2 + [[1, 0]] * 2
    assert result["quantile"].tolist() == [0.5, 0.9] * 2
    waiting = result.iloc[0]
    assert waiting["from_state"] == "accepted"
    assert waiting[["to_state", "value_s", "low_s", "high_s", "max_s"]].isna().all()
    assert waiting[["total_s", "time_share", "slowest_share"]].tolist() == [0, 0, 0]
    assert waiting[["waiting_median_s", "waiting_max_s"]].tolist() == [4, 4]


def test_messages_that_wait() -> None:
    events = log(
        *[("a", "accepted", 0), ("b", "accepted", 2), ("c", "accepted", 3), ("d", "accepted", 0), ("d", "routed", 10)],
        *[("e", "accepted", 0), ("e", "delivered", 1), ("f", "accepted", 0), ("f", "failed", 1)],
    )
    result = latency(events, quantiles=0.5).set_index(["from_state", "to_state"])
    assert result.loc[("accepted", "routed"), WAITING].tolist() == [3, 8, 10]
    assert result.loc[("accepted", "failed"), WAITING].tolist() == [3, 8, 10]
    assert result.xs("routed")[["n", *WAITING]].to_numpy().tolist() == [[0, 1, 0, 0]]
    assert "delivered" not in result.index.get_level_values("from_state")  # no message was seen
    seen = log(*[("a", "delivered", 0), ("b", "delivered", 3), ("b", "seen", 5)])
    assert latency(seen, quantiles=0.5)[["n", *WAITING]].to_numpy().tolist() == [[1, 1, 5, 5]]


@pytest.mark.parametrize("by", [None, "rate_type", ["rate_type", "channel"]])
def test_empty_and_single_logs_have_every_dtype(by: Any) -> None:
    empty = EVENTS.empty().assign(rate_type=pd.Series([], dtype="str"))
    result = latency(empty, by=by)
    assert len(result) == 0
    assert {name: str(result[name].dtype) for name in DTYPES} == DTYPES
    waiting = latency(log(("a", "accepted", 0), rate_type="session"), by=by, quantiles=0.5)
    if by == ["rate_type", "channel"]:  # a column of the transition, which a waiting message does not have
        assert len(waiting) == 0
    else:
        assert waiting[["n", "n_waiting", "waiting_max_s"]].to_numpy().tolist() == [[0, 1, 0]]


def test_mistakes_are_named() -> None:
    events = log(("a", "accepted", 0), ("a", "seen", 1))
    with pytest.raises(MissingColumn, match="latency: no column 'rate_typ'; the columns are: 'message_id'"):
        latency(events, by="rate_typ")
    with pytest.raises(MissingColumn, match="latency: no column 'to_state'"):
        latency(transitions(events).drop(columns="to_state"))
    with pytest.raises(ValueError, match=r"quantiles: 95 is not between 0 and 1; pass e\.g\. 0\.95"):
        latency(events, quantiles=[95])
    with pytest.raises(ValueError, match=r"quantiles: is empty; pass e\.g\. 0\.95"):
        latency(events, quantiles=[])
    with pytest.raises(ValueError, match="by: 'n' is also a column of the result"):
        latency(events.assign(n=1), by="n")


def test_many_groups_are_sorted_together() -> None:
    rows = [(f"m{n}", state, after) for n in range(5000) for state, after in (("accepted", 0), ("seen", n % 7))]
    result = latency(log(*rows), by="message_id", quantiles=0.5)
    assert len(result) == 5000
    assert (result["value_s"] == result["max_s"]).all()
