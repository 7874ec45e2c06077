"""What messages cost: amounts by outcome and code, prices by rate type, groups, and what is refused."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import viberkit as vk

AT = pd.Timestamp("2026-03-01T09:00:00Z")
PRICES = {"promotion": 0.05, "transaction": Decimal("0.02"), "session": 0}


def journeys(*rows: tuple[str, str | None, str | None]) -> pd.DataFrame:
    """Journeys with outcome, code and rate type."""
    frame = pd.DataFrame(rows, columns=["outcome", "code", "rate_type"])
    ids = [f"m{number}" for number in range(len(frame))]
    return frame.assign(
        message_id=ids, accepted_at=AT, observed_until=AT, rate_type=frame["rate_type"].astype("category")
    )


LOG = journeys(
    ("delivered", None, "promotion"),
    ("delivered", "late", "transaction"),
    ("failed", "TIMEOUT", "promotion"),
    ("failed", None, "transaction"),
    ("open", None, "promotion"),
)


def test_every_amount_has_its_outcome_and_code() -> None:
    result = vk.cost(LOG, prices=PRICES)
    rows = result.fillna("-")[["outcome", "code", "n", "charged", "delivered_charge", "wasted", "undecided"]]
    assert rows.to_numpy().tolist() == [
        ["delivered", "-", 2, 0.07, 0.07, 0.0, 0.0],
        ["failed", "TIMEOUT", 1, 0.05, 0.0, 0.05, 0.0],
        ["failed", "-", 1, 0.02, 0.0, 0.02, 0.0],
        ["open", "-", 1, 0.05, 0.0, 0.0, 0.05],
    ]
    assert result["charged_share"].tolist() == pytest.approx([7 / 19, 5 / 19, 2 / 19, 5 / 19])


def test_only_delivered_messages_are_charged() -> None:
    result = vk.cost(LOG, prices=0.1, viber_charged="delivered")
    assert result["charged"].tolist() == [0.2, 0, 0, 0]
    assert result["wasted"].sum() == 0


def test_groups_have_shares_of_their_own() -> None:
    result = vk.cost(LOG, by="rate_type", prices=PRICES)
    totals = result.groupby("rate_type", observed=True)[["charged", "charged_share"]].sum()
    assert totals["charged"].round(9).to_dict() == {"promotion": 0.15, "transaction": 0.04}
    assert totals["charged_share"].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("rate_type", "options", "message"),
    [
        ("promo", {}, "prices: no price for rate type 'promo'; did you mean 'promotion'"),
        (None, {}, "prices: no price for messages without a rate type"),
        ("promotion", {"prices": -1}, "prices: -1"),
        ("promotion", {"prices": {"promotion": float("nan")}}, "prices['promotion']: nan"),
        ("promotion", {"viber_charged": "seen"}, "viber_charged: 'seen'"),
    ],
)
def test_what_is_refused(rate_type: str | None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        vk.cost(journeys(("delivered", None, rate_type)), **{"prices": PRICES, **options})
    assert message in str(caught.value)


def test_a_rate_type_that_no_message_has_needs_no_price() -> None:
    assert vk.cost(LOG[LOG["rate_type"] == "promotion"], prices={"promotion": 1})["charged"].sum() == 3


@settings(max_examples=int(os.environ.get("VIBERKIT_EXAMPLES", "20")), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["delivered", "failed", "open"]), st.none(), st.sampled_from([*PRICES])), min_size=1
    )
)
def test_the_parts_are_the_whole(rows: list[Any]) -> None:
    result = vk.cost(journeys(*rows), prices=PRICES)
    assert result["n"].sum() == len(rows)
    whole = sum(float(PRICES[rate_type]) for *_, rate_type in rows)
    assert result["charged"].sum() == pytest.approx(whole)
    parts = result[["delivered_charge", "wasted", "undecided"]].sum(axis=1)
    np.testing.assert_allclose(parts, result["charged"])
