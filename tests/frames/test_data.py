"""The data files: small, described, and reproduced by their script."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from support.scripted import DATA

import viberkit as vk
from viberkit.sandbox.delivery_model import DeliveryModel

CAMPAIGN = DATA / "campaign"
MESSAGES = 5_000


@pytest.fixture(scope="module", params=[100, pytest.param(MESSAGES, marks=pytest.mark.slow)])
def reproduced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the first messages of the campaign, or all of them, created by the script."""
    spec = importlib.util.spec_from_file_location("make", CAMPAIGN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("campaign")
    module.make(folder, request.param)
    return folder


def test_the_script_reproduces_the_responses(reproduced: Path) -> None:
    lines = (CAMPAIGN / "events.jsonl").read_bytes().splitlines(keepends=True)
    created = (reproduced / "events.jsonl").read_bytes().splitlines(keepends=True)
    assert len(created) in (100, len(lines))
    assert created == lines[: len(created)]


def test_the_script_reproduces_the_table(reproduced: Path) -> None:
    created, table = (pd.read_parquet(folder / "events.parquet") for folder in (reproduced, CAMPAIGN))
    same_messages = table[table["message_id"].isin(created["message_id"])]
    all_messages = created["message_id"].nunique() == MESSAGES
    pd.testing.assert_frame_equal(created, same_messages, check_categorical=all_messages)


def test_the_responses_and_the_table_have_the_same_events() -> None:
    responses = vk.read_events(CAMPAIGN / "events.jsonl")
    table = vk.read_events(CAMPAIGN / "events.parquet")
    assert responses.attrs["skipped"] == table.attrs["skipped"] == []
    same = responses.columns.drop("observed_until")
    pd.testing.assert_frame_equal(table[same], responses[same], check_categorical=False)
    facts = ["observed_until", "rate_type", "content_type", "country"]
    assert not table[facts].isna().any(axis=None)
    assert (table.groupby("message_id")[facts].nunique() == 1).all(axis=None)


def test_a_file_without_its_last_newline_is_read_in_the_same_order(tmp_path: Path) -> None:
    """DuckDB reads such a line on another thread; a query that does not preserve the order then loses lines."""
    path = tmp_path / "events.jsonl"
    path.write_bytes((CAMPAIGN / "events.jsonl").read_bytes().removesuffix(b"\n"))
    pd.testing.assert_frame_equal(vk.read_events(path), vk.read_events(CAMPAIGN / "events.jsonl"))


def test_the_data_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 3_000_000


def test_every_column_is_described_with_its_dtype_and_in_order() -> None:
    lines = (CAMPAIGN / "README.md").read_text(encoding="utf-8").split("## Columns")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    table = pd.read_parquet(CAMPAIGN / "events.parquet")
    dtypes = {"str": "text", "category": "category", "datetime64[us, UTC]": "instant", "bool": "boolean"}
    assert [(name.strip("`"), dtype) for name, dtype, *_ in rows] == [
        (name, dtypes[str(table[name].dtype)]) for name in table.columns
    ]
    assert all(unit == ("UTC" if dtype == "instant" else "") and text for _, dtype, unit, text in rows)


def test_the_counts_in_the_description_are_correct() -> None:
    text = " ".join((CAMPAIGN / "README.md").read_text(encoding="utf-8").split())
    table = pd.read_parquet(CAMPAIGN / "events.parquet")
    responses = (CAMPAIGN / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert f"{table['message_id'].nunique():,} messages, {len(table):,} events" in text
    for dialect, key in (("the guide", "happendAt"), ("version 2", "happenedAt")):
        assert f"dialect of {dialect} ({sum(key in line for line in responses):,} messages)" in text
    assert {path.name for path in CAMPAIGN.iterdir() if path.is_file()} == {
        "README.md",
        "make.py",
        "events.jsonl",
        "events.parquet",
    }


def test_the_parameters_in_the_description_are_those_of_the_model() -> None:
    text = (CAMPAIGN / "README.md").read_text(encoding="utf-8")
    model = DeliveryModel()
    for duration in (model.routing, model.dispatching, model.delivery, model.seeing, model.refusal, model.late_failure):
        assert f"median {duration.median_s:g} s, sigma {duration.sigma:g}" in text
    assert f"median {model.final_failure.median_s:g} s, sigma {model.final_failure.sigma:g}" in text
    assert f"promotions {model.promotion_factor:g} times" in text
    assert (
        f"Pareto from {model.away_s:g} s, exponent {model.away_shape:g}, cut off at {model.lifetime.days} days" in text
    )
    for name, share in (
        ("of all that fail", model.failed_share),
        ("stay dispatched", model.open_share),
        ("was away", model.away_share),
        ("that are seen", model.seen_share),
    ):
        assert f"{name} | {share:.2%}".replace(".00%", " %").replace("0%", " %") in text
    reasons = ", ".join(f"{failure.code.rpartition('::')[2]} {failure.weight}" for failure in model.failures)
    assert reasons in text


def test_the_responses_contain_no_message_text() -> None:
    assert b"parcel" not in (CAMPAIGN / "events.jsonl").read_bytes()


def test_the_script_reproduces_the_foreign_log(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_log", DATA / "foreign-log" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(tmp_path)
    assert (tmp_path / "versand.csv").read_bytes() == (DATA / "foreign-log" / "versand.csv").read_bytes()
