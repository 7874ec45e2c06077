"""The data that is shipped: small, described, and made again by its own script."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from support.scripted import DATA

import viberkit as vk
from viberkit.sandbox.delivery_model import DeliveryModel

CAMPAIGN = DATA / "campaign"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the campaign, made again."""
    spec = importlib.util.spec_from_file_location("make", CAMPAIGN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("campaign")
    module.make(folder)
    return folder


def test_the_script_makes_the_same_answers(made: Path) -> None:
    assert (made / "events.jsonl").read_bytes() == (CAMPAIGN / "events.jsonl").read_bytes()


def test_the_script_makes_the_same_table(made: Path) -> None:
    again, kept = (pd.read_parquet(folder / "events.parquet") for folder in (made, CAMPAIGN))
    pd.testing.assert_frame_equal(again, kept)


def test_the_answers_and_the_table_tell_the_same() -> None:
    told = vk.read_events(CAMPAIGN / "events.jsonl")
    kept = vk.read_events(CAMPAIGN / "events.parquet")
    assert told.attrs["set_aside"] == kept.attrs["set_aside"] == []
    same = told.columns.drop("observed_until")
    pd.testing.assert_frame_equal(kept[same], told[same], check_categorical=False)
    facts = ["observed_until", "rate_type", "content_type", "country"]
    assert not kept[facts].isna().any(axis=None)
    assert (kept.groupby("message_id")[facts].nunique() == 1).all(axis=None)


def test_a_file_cut_off_before_its_last_newline_is_read_in_the_same_order(tmp_path: Path) -> None:
    """DuckDB reads such a line on a thread of its own; a query that does not keep the order loses lines then."""
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes((CAMPAIGN / "events.jsonl").read_bytes().removesuffix(b"\n"))
    pd.testing.assert_frame_equal(vk.read_events(cut), vk.read_events(CAMPAIGN / "events.jsonl"))


def test_the_data_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 3_000_000


def test_every_column_is_described_with_its_kind_and_in_order() -> None:
    lines = (CAMPAIGN / "README.md").read_text(encoding="utf-8").split("## Columns")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    kept = pd.read_parquet(CAMPAIGN / "events.parquet")
    kinds = {"str": "text", "category": "category", "datetime64[us, UTC]": "instant", "bool": "yes or no"}
    assert [(name.strip("`"), kind) for name, kind, *_ in rows] == [
        (name, kinds[str(kept[name].dtype)]) for name in kept.columns
    ]
    assert all(unit == ("UTC" if kind == "instant" else "") and meaning for _, kind, unit, meaning in rows)


def test_the_counts_that_the_description_gives_are_true() -> None:
    text = " ".join((CAMPAIGN / "README.md").read_text(encoding="utf-8").split())
    kept = pd.read_parquet(CAMPAIGN / "events.parquet")
    answers = (CAMPAIGN / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert f"{kept['message_id'].nunique():,} messages, {len(kept):,} events" in text
    for dialect, key in (("guide's", "happendAt"), ("second version's", "happenedAt")):
        assert f"{dialect} dialect ({sum(key in line for line in answers):,} messages)" in text
    assert {path.name for path in CAMPAIGN.iterdir() if path.is_file()} == {
        "README.md",
        "make.py",
        "events.jsonl",
        "events.parquet",
    }


def test_the_truth_that_the_description_gives_is_the_model() -> None:
    text = (CAMPAIGN / "README.md").read_text(encoding="utf-8")
    model = DeliveryModel()
    for hop in (model.routing, model.dispatching, model.delivery, model.seeing, model.refusal, model.late_failure):
        assert f"median {hop.median_s:g} s, sigma {hop.sigma:g}" in text
    assert f"median {model.final_failure.median_s:g} s, sigma {model.final_failure.sigma:g}" in text
    assert f"promotions {model.promotion_factor:g} times" in text
    days = model.lifetime.days
    assert f"Pareto from {model.away_s:g} s, exponent {model.away_shape:g}, cut off at {days} days" in text
    for what, share in (
        ("of all that fail", model.failed_share),
        ("stay dispatched", model.open_share),
        ("was away", model.away_share),
        ("that are seen", model.seen_share),
    ):
        assert f"{what} | {share:.2%}".replace(".00%", " %").replace("0%", " %") in text
    reasons = ", ".join(f"{one.code.rpartition('::')[2]} {one.weight}" for one in model.failures)
    assert reasons in text


def test_no_message_text_is_kept() -> None:
    assert b"parcel" not in (CAMPAIGN / "events.jsonl").read_bytes()
