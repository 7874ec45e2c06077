"""The schemas: exact dtypes for any input."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from viberkit.errors import MissingColumn, ViberkitError
from viberkit.frames import columns as frames
from viberkit.frames.columns import EVENTS
from viberkit.frames.schema import Schema, require
from viberkit.models.states import ORDER

ALL = [schema for schema in vars(frames).values() if isinstance(schema, Schema)]
NOON = datetime(2020, 7, 13, 12, tzinfo=UTC)


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_an_empty_frame_has_every_dtype(schema: Schema) -> None:
    empty = schema.empty()
    assert tuple(empty.columns) == schema.names
    assert [str(dtype) for dtype in empty.dtypes] == [column.dtype for column in schema]
    assert len(empty) == 0


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema.name)
def test_every_column_is_described(schema: Schema) -> None:
    columns = schema.describe()
    assert (columns["description"] != "").all()
    assert set(columns.loc[columns["name"].str.endswith("_at"), "unit"]) <= {"UTC"}
    assert set(columns.loc[columns["name"].str.endswith("_s"), "unit"]) <= {"s"}


def test_rows_and_columns_build_the_same_frame() -> None:
    rows = [{"message_id": "1", "state": "seen", "happened_at": NOON}, {"message_id": "2"}]
    columns = {"message_id": ["1", "2"], "state": ["seen", None], "happened_at": [NOON, None]}
    from_rows, from_columns = EVENTS.frame(rows), EVENTS.frame(columns)
    pd.testing.assert_frame_equal(from_rows, from_columns)
    pd.testing.assert_frame_equal(from_rows, EVENTS.frame(from_rows))
    assert from_rows["naive"].tolist() == [False, False]
    assert from_rows["state"].isna().tolist() == [False, True]


def test_states_are_in_the_order_of_the_life_cycle_then_of_appearance() -> None:
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
def test_instants_of_any_form_are_converted(given: object) -> None:
    result = EVENTS.frame({"happened_at": given})["happened_at"]
    assert result.dtype == "datetime64[us, UTC]"
    assert result[0] == NOON


def test_ids_are_text() -> None:
    result = EVENTS.frame({"message_id": [5463481551745434076, "5463481551745434077", None]})["message_id"]
    assert result.tolist()[:2] == ["5463481551745434076", "5463481551745434077"]
    assert result.isna().tolist() == [False, False, True]


def test_other_columns_are_preserved_and_the_input_is_unchanged() -> None:
    given = pd.DataFrame({"rate_type": ["session"], "state": ["seen"]})
    given.attrs["skipped"] = ["x"]
    before = given.copy()
    result = EVENTS.frame(given)
    assert tuple(result.columns) == (*EVENTS.names, "rate_type")
    assert result.attrs == given.attrs
    pd.testing.assert_frame_equal(given, before)


def test_a_value_that_cannot_be_converted_names_its_column() -> None:
    with pytest.raises(ValueError, match="happened_at: cannot be read"):
        EVENTS.frame({"happened_at": ["soon"]})
    with pytest.raises(ValueError, match="naive: cannot be read as bool"):
        EVENTS.frame({"naive": ["perhaps"]})


def test_an_error_names_the_missing_and_the_available_columns() -> None:
    with pytest.raises(MissingColumn) as raised:
        require(pd.DataFrame({"a": [1]}), ["a", "b"], "function")
    assert str(raised.value) == "function: no column 'b'; the columns are: 'a'"
    assert isinstance(raised.value, KeyError)
    assert isinstance(raised.value, ViberkitError)
    with pytest.raises(TypeError, match="expected a DataFrame, not list"):
        require([], ["a"], "function")  # type: ignore[arg-type]
    with pytest.raises(MissingColumn):
        EVENTS["nonsense"]
