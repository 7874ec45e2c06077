"""What messages cost, by outcome and failure code: charged, for delivered messages, and wasted on failed ones."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from viberkit.analysis.durations import as_journeys, check_number, check_time_zone
from viberkit.analysis.grouping import BY, check_name_clash, group_columns, group_names
from viberkit.analysis.ordering import column_of, instants_of
from viberkit.analysis.result import as_result
from viberkit.errors import quote, suggestion
from viberkit.frames.columns import JOURNEYS

_AMOUNTS = ("charged", "delivered_charge", "wasted", "undecided")


def cost(
    journeys: pd.DataFrame,
    *,
    by: BY = None,
    prices: float | Decimal | Mapping[str, float | Decimal],
    viber_charged: str = "sent",
    messages: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> pd.DataFrame:
    """Sum up what messages cost, and what of it was wasted, by outcome and failure code.

    Parameters
    ----------
    journeys : DataFrame or EventLog
        Journeys as returned by ``vk.journeys``, or events.
    by : str or sequence of str, optional
        Columns to group by: columns of ``journeys`` or ``messages``, ``hour`` or ``weekday`` of acceptance.
    prices : float, Decimal, or mapping of str to float or Decimal
        The price of one message, or the price by rate type, in one currency. With a mapping, ``rate_type`` is a column
        of ``journeys`` or ``messages``.
    viber_charged : {"sent", "delivered"}, default "sent"
        Which Viber messages are charged.
    messages : DataFrame, optional
        Further columns, joined by ``message_id``, for example ``archive.messages()``.
    tz : str, default "UTC"
        Time zone of ``hour`` and ``weekday``.

    Returns
    -------
    DataFrame
        One row per group, outcome and failure code, with the columns of ``by`` and:

        - ``outcome``: delivered, failed or open
        - ``code``: failure code of failed messages, NaN where there is none
        - ``n``: number of messages
        - ``charged``: amount charged for them
        - ``delivered_charge``, ``wasted``, ``undecided``: the part of it for messages that were delivered, that failed,
          and that are still open
        - ``charged_share``: part of the amount charged for all messages of the group

        ``attrs`` hold ``by``, ``viber_charged`` and ``tz``.

    Raises
    ------
    MissingColumn
        A column of ``by`` or of the journeys is missing, or ``rate_type`` where ``prices`` is a mapping.
    ValueError
        A price is not a number from 0 up, a rate type has no price, or ``viber_charged`` or ``tz`` is invalid.

    See Also
    --------
    advise : What to do about each failure code.
    fallback : The cost of an SMS fallback.

    Examples
    --------
    >>> at = pd.Timestamp("2026-03-01T09:00:00Z")
    >>> journeys = pd.DataFrame({"message_id": list("abcd"), "accepted_at": at, "observed_until": at,
    ...     "outcome": ["delivered", "delivered", "failed", "open"], "code": [None, None, "TIMEOUT", None],
    ...     "rate_type": ["promotion", "transaction", "promotion", "promotion"]})
    >>> vk.cost(journeys, prices={"promotion": 0.05, "transaction": 0.02}).drop(columns="charged_share")
         outcome     code  n  charged  delivered_charge  wasted  undecided
    0  delivered      NaN  2     0.07              0.07    0.00       0.00
    1     failed  TIMEOUT  1     0.05              0.00    0.05       0.00
    2       open      NaN  1     0.05              0.00    0.00       0.05
    """
    names = group_names(by)
    check_name_clash(names, ("outcome", "code", "n", *_AMOUNTS, "charged_share"))
    check_time_zone(tz)
    if viber_charged not in ("sent", "delivered"):
        raise ValueError(f"viber_charged: {viber_charged!r} is not valid; pass 'sent' or 'delivered'")
    rate_type = ["rate_type"] if isinstance(prices, Mapping) else []
    needed = list(dict.fromkeys([*names, *rate_type]))
    read = [*needed, "code", *([] if messages is None else ["message_id"])]
    journeys = as_journeys(journeys, "cost", read).reset_index(drop=True)
    columns = group_columns(journeys, needed, instants_of(journeys, "accepted_at"), messages, "cost", tz)
    outcome = journeys["outcome"].astype("str")
    price = _price_of(columns["rate_type"], prices) if isinstance(prices, Mapping) else _price("prices", prices)
    table = columns[names].assign(outcome=outcome, code=column_of(journeys, JOURNEYS["code"]).astype("str"))
    table.loc[outcome != "failed", "code"] = np.nan
    charged = np.where((outcome == "delivered") | (viber_charged == "sent"), price, 0.0)
    table = table.assign(n=1, charged=charged)
    for name, of in zip(_AMOUNTS[1:], ("delivered", "failed", "open"), strict=True):
        table[name] = np.where(outcome == of, charged, 0.0)
    groups = table.groupby([*names, "outcome", "code"], dropna=False, observed=True)
    result = groups[["n", *_AMOUNTS]].sum().reset_index()
    total = result.groupby(names or (lambda _: 0), dropna=False, observed=True)["charged"].transform("sum")
    result["charged_share"] = result["charged"] / total
    result[[*_AMOUNTS]] = result[[*_AMOUNTS]].round(9)
    return as_result(result, {"by": names, "viber_charged": viber_charged, "tz": tz})


def _price_of(rate_type: pd.Series[Any], prices: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    known = {str(name): _price(f"prices[{name!r}]", price) for name, price in prices.items()}
    codes, types = pd.factorize(rate_type.astype("category"), use_na_sentinel=False)
    for name in types:
        if name not in known:
            text = "messages without a rate type" if pd.isna(name) else f"rate type {quote(name)}"
            raise ValueError(f"prices: no price for {text}; {suggestion(name, known)}pass one for each rate type")
    return np.array([known[name] for name in types])[codes]


def _price(field: str, price: Any) -> float:
    return check_number(price, field, "a number from 0 up", "0.05", 0.0, 1e11)
