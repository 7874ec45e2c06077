"""The schemas: exact dtypes, whatever comes in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from viberkit.errors import MissingColumn, ViberkitError
from viberkit.frames import columns as frames
from viberkit.frames.columns import EVENTS, INBOUND, JOURNEYS, LATENCY, MESSAGES, STATUSES, TRANSITIONS, Schema
from viberkit.models.states import ORDER

ALL = [EVENTS, MESSAGES, STATUSES, INBOUND, TRANSITIONS, JOURNEYS, LATENCY]
NOON = datetime(2020, 7, 13, 12, tzinfo=UTC)


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_an_empty_frame_has_every_dtype(schema: Schema) -> None:
    empty = schema.empty()
    assert tuple(empty.columns) == schema.names
    assert [str(dtype) for dtype in empty.dtypes] == [column.dtype for column in schema]
    assert len(empty) == 0


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_a_column_says_what_it_means(schema: Schema) -> None:
    told = schema.describe()
    assert (told["description"] != "").all()
    assert set(told.loc[told["name"].str.endswith("_at"), "unit"]) <= {"UTC"}
    assert set(told.loc[told["name"].str.endswith("_s"), "unit"]) <= {"s"}


def test_rows_columns_and_records_make_the_same_frame() -> None:
    rows = [{"message_id": "1", "state": "seen", "happened_at": NOON}, {"message_id": "2"}]
    columns = {"message_id": ["1", "2"], "state": ["seen", None], "happened_at": [NOON, None]}
    by_rows, by_columns = EVENTS.frame(rows), EVENTS.frame(columns)
    pd.testing.assert_frame_equal(by_rows, by_columns)
    pd.testing.assert_frame_equal(by_rows, EVENTS.frame(by_rows))
    assert by_rows["naive"].tolist() == [False, False]
    assert by_rows["state"].isna().tolist() == [False, True]


def test_states_come_in_the_order_of_life_then_of_appearance() -> None:
    events = EVENTS.frame({"state": ["zeta", "seen", "alpha", "accepted", "zeta"]})
    assert events["state"].cat.categories.tolist() == [*ORDER, "zeta", "alpha"]
    assert not events["state"].cat.ordered
    again = EVENTS.frame({"state": pd.Categorical(["zeta", "seen"], categories=["gone", "seen", "zeta"])})
    assert again["state"].cat.categories.tolist() == [*ORDER, "zeta"]
    assert again["state"].tolist() == ["zeta", "seen"]


@pytest.mark.parametrize(
    "given",
    [
        [NOON],
        [NOON.astimezone(timezone(timedelta(hours=2)))],
        [NOON.replace(tzinfo=None)],
        ["2020-07-13T12:00:00Z"],
        ["2020-07-13T14:00:00.000+02:00"],
        pd.Series([NOON]).dt.as_unit("ns"),
        pd.Series([NOON]).dt.tz_convert("Europe/Berlin"),
    ],
)
def test_every_way_to_say_an_instant(given: object) -> None:
    made = EVENTS.frame({"happened_at": given})["happened_at"]
    assert made.dtype == "datetime64[us, UTC]"
    assert made[0] == NOON


def test_ids_are_text() -> None:
    made = EVENTS.frame({"message_id": [5463481551745434076, "5463481551745434077", None]})["message_id"]
    assert made.tolist()[:2] == ["5463481551745434076", "5463481551745434077"]
    assert made.isna().tolist() == [False, False, True]


def test_columns_of_your_own_stay_and_nothing_is_changed() -> None:
    given = pd.DataFrame({"rate_type": ["session"], "state": ["seen"]})
    given.attrs["skipped"] = ["x"]
    before = given.copy()
    made = EVENTS.frame(given)
    assert tuple(made.columns) == (*EVENTS.names, "rate_type")
    assert made.attrs == given.attrs
    pd.testing.assert_frame_equal(given, before)


def test_what_cannot_be_read_names_its_column() -> None:
    with pytest.raises(ValueError, match="happened_at: cannot be read"):
        EVENTS.frame({"happened_at": ["soon"]})
    with pytest.raises(ValueError, match="naive: cannot be read as bool"):
        EVENTS.frame({"naive": ["perhaps"]})


def test_a_missing_column_is_named_with_those_there() -> None:
    with pytest.raises(MissingColumn) as told:
        frames.require(pd.DataFrame({"a": [1]}), ["a", "b"], "somebody")
    assert str(told.value) == "somebody: no column 'b'; the columns are: 'a'"
    assert isinstance(told.value, KeyError)
    assert isinstance(told.value, ViberkitError)
    with pytest.raises(TypeError, match="a DataFrame is needed, not list"):
        frames.require([], ["a"], "somebody")  # type: ignore[arg-type]
    with pytest.raises(MissingColumn):
        EVENTS["nonsense"]
