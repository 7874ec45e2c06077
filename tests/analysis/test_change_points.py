"""Change points: no more false alarms than promised, and changes found where they are, on logs from the model.

Small by default. The figures of the documentation (some minutes)::

    VIBERKIT_LOGS=200 python -m pytest tests/test_shifts.py -s
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from support.delivery_logs import BEGIN, NEVER, SECOND, Truth, draw

import viberkit as vk
from viberkit.errors import MissingColumn
from viberkit.frames.columns import JOURNEYS
from viberkit.sandbox.delivery_model import DeliveryModel, Failure

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "40"))
LOGS = int(os.environ.get("VIBERKIT_LOGS", "20"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SIZE = 20_000
COLUMNS = "since metric unit before after p_value n_before n_after text".split()


def looked_at(truth: Truth, minutes_after: float = 10, **facts: Any) -> pd.DataFrame:
    """A log as it is known so many minutes after its last message."""
    end = truth.started[-1] + int(minutes_after * 60 * SECOND)
    return truth.seen(end - truth.started, **facts)


def cut_of(log: pd.DataFrame, since: pd.Timestamp) -> int:
    return int((log["accepted_at"] < since).sum())


def test_false_alarms_are_rare_and_changes_are_found() -> None:
    false, hit, off = 0, 0, []
    for seed in range(LOGS):
        rng = np.random.default_rng([31, seed])
        false += len(vk.changes(looked_at(draw(SIZE, rng)))) > 0
        place = int(rng.integers(SIZE // 4, 3 * SIZE // 4))
        log = looked_at(draw(SIZE, rng, slower=1.5, since=place))
        found = vk.changes(log)
        assert (found["p_value"] <= 0.05).all()
        if len(found):
            off.append(min(abs(cut_of(log, since) - place) for since in found["since"]))
            hit += off[-1] <= 0.02 * SIZE
    print(
        f"\n{LOGS} logs of {SIZE:,}: false alarms in {false / LOGS:.1%}; x1.5 found within 2 % in {hit / LOGS:.1%}, "
        f"median distance {np.median(off):.0f} messages"
    )
    assert false <= stats.binom.ppf(0.999, LOGS, 0.05)  # what 5 % give in so many logs
    assert hit >= stats.binom.ppf(0.001, LOGS, 0.9)


def test_nights_are_no_changes() -> None:
    model = DeliveryModel(hourly_factors=(3.0,) * 8 + (1.0,) * 16)
    for seed in range(max(LOGS // 5, 4)):
        log = looked_at(draw(8_000, np.random.default_rng([5, seed]), model, days=7))
        found = vk.changes(log, alpha=0.001)
        assert len(found) == 0, found["text"].tolist()


def test_more_failures_are_reported_as_failures() -> None:
    rng = np.random.default_rng(6)
    refused = (Failure("viber::error::NOT_VIBER_USER", "no user", 1, True),)
    calm = draw(6_000, rng, DeliveryModel(failures=refused))
    worse = draw(6_000, rng, DeliveryModel(failures=refused, failed_share=0.15))
    later = 6_000 * np.ones(1, dtype=np.int64)[0]
    joined = Truth(
        *(np.concatenate([one, other]) for one, other in zip(vars(calm).values(), vars(worse).values(), strict=True))
    )
    joined.started[later:] += 14 * 86_400 * SECOND
    log = looked_at(joined)
    found = vk.changes(log)
    assert list(found) == COLUMNS
    assert found["metric"].tolist() == ["failed"]
    row = found.iloc[0]
    assert row["unit"] == "share"
    assert abs(cut_of(log, row["since"]) - later) <= 240
    assert row["before"] == pytest.approx(0.04, abs=0.02)
    assert row["after"] == pytest.approx(0.15, abs=0.02)
    assert " failed rose from " in row["text"]
    assert row["n_before"] + row["n_after"] == 12_000


def test_slower_and_faster_again_are_two_changes() -> None:
    n, rng = 12_000, np.random.default_rng(2)
    truth = draw(n, rng, DeliveryModel(away_share=0.0))
    slow = (np.arange(n) >= 5_000) & (np.arange(n) < 8_000) & (truth.delivered < NEVER)
    truth.delivered[slow] += 2 * (truth.delivered - truth.dispatched)[slow]
    log = looked_at(truth)
    found = vk.changes(log, tz="Europe/Kyiv")
    assert len(found) == 2
    assert [abs(cut_of(log, since) - at) <= 240 for since, at in zip(found["since"], (5_000, 8_000), strict=True)] == [
        True
    ] * 2
    assert found["since"].is_monotonic_increasing
    assert (found["before"] < found["after"]).tolist() == [True, False]
    assert [" rose from " in found["text"][0], " fell from " in found["text"][1]] == [True, True]
    local = found["since"][0].tz_convert("Europe/Kyiv")
    assert found["text"][0].startswith(f"since {local.day} {local:%b %H:%M} p")
    assert found["n_after"][0] == found["n_before"][1]
    assert found["n_before"][0] + found["n_after"][0] + found["n_after"][1] == n
    assert len(vk.changes(log, most=1)) == 1


def test_times_before_and_after_are_those_of_the_messages() -> None:
    log = looked_at(draw(4_000, np.random.default_rng(3), DeliveryModel(failed_share=0.0), slower=3.0, since=2_000))
    found = vk.changes(log, quantiles=(0.5,))
    assert found["metric"].tolist() == ["p50"]
    cut = cut_of(log, found["since"][0])
    for name, part in (("before", log[:cut]), ("after", log[cut:])):
        assert found[name][0] == pytest.approx(vk.time_to(part, quantiles=[0.5])["time_s"][0])


def test_open_messages_are_no_change() -> None:
    """At the end of a log more are open, for they are young: nothing has changed."""
    for seed in range(max(LOGS // 5, 4)):
        truth = draw(4_000, np.random.default_rng([9, seed]), DeliveryModel(hourly_factors=(1.0,) * 24), days=0.05)
        log = looked_at(truth, minutes_after=0)
        assert (log["outcome"] == "open").iloc[-50:].mean() > (log["outcome"] == "open").iloc[:2_000].mean()
        assert len(vk.changes(log, alpha=0.001)) == 0


def test_groups_are_searched_one_by_one() -> None:
    rng = np.random.default_rng(12)
    same, slower = draw(3_000, rng), draw(3_000, rng, slower=2.5, since=1_500)
    log = pd.concat([looked_at(same, rate_type="session"), looked_at(slower, rate_type="promotion")], ignore_index=True)
    log["message_id"] = [f"m{place}" for place in range(len(log))]
    before = log.copy(deep=True)
    found = vk.changes(log, by="rate_type", alpha=0.01)
    pd.testing.assert_frame_equal(log, before)
    assert list(found) == ["rate_type", *COLUMNS]
    assert found["rate_type"].tolist() == ["promotion"]
    alone = vk.changes(log[log["rate_type"] == "promotion"], alpha=0.01)
    assert found["text"].tolist() == ["promotion: " + text for text in alone["text"]]
    pd.testing.assert_frame_equal(found.drop(columns=["rate_type", "text"]), alone.drop(columns="text"))
    mixed = vk.changes(log.sample(frac=1, random_state=1), by="rate_type", alpha=0.01)
    assert mixed["since"].tolist() == found["since"].tolist()


def test_few_messages_tell_of_no_change() -> None:
    for n in (0, 1, 2, 79):
        found = vk.changes(looked_at(draw(n, np.random.default_rng(1))) if n else JOURNEYS.empty())
        assert len(found) == 0
        assert list(found) == COLUMNS
        assert str(found["since"].dtype) == "datetime64[us, UTC]"
    empty = vk.changes(JOURNEYS.empty().assign(kind=pd.Series([], dtype="str")), by="kind")
    assert list(empty) == ["kind", *COLUMNS]


kinds = st.sampled_from(["delivered", "delivered", "failed", "open"])
message = st.tuples(st.integers(0, 10), st.sampled_from([0.0, 1.0, 1.0, 2.5, 400.0, 1e6]), kinds)


@many
@given(
    st.lists(message, min_size=1, max_size=12),
    st.integers(1, 40),
    st.sampled_from([1, 60, 3_600, 86_400]),
    st.sampled_from([(0.5,), (0.5, 0.95), (0.01, 0.999)]),
)
def test_no_log_is_too_odd(pattern: list[Any], times: int, step: int, quantiles: tuple[float, ...]) -> None:
    rows = [pattern[(place * place) % len(pattern)] for place in range(len(pattern) * times)]
    made = []
    for place, (gap, took, kind) in enumerate(rows):
        at = BEGIN + pd.Timedelta(seconds=step * (place // 3) + gap)
        ended = at + pd.Timedelta(seconds=took)
        told = {f"{kind}_at": ended} if kind != "open" else {}
        made.append({"message_id": f"m{place}", "accepted_at": at, "outcome": kind, "observed_until": ended, **told})
    log = JOURNEYS.frame(made)
    found = vk.changes(log, quantiles, most=3)
    assert len(found) <= 3
    assert found["p_value"].between(0, 0.05).all()
    assert (found[["n_before", "n_after"]] >= 1).all().all()
    assert found["since"].isin(log["accepted_at"]).all()
    assert found["since"].is_monotonic_increasing
    assert found["text"].str.startswith("since ").all()
    assert set(found["metric"]) <= {*(f"p{100 * one:g}" for one in quantiles), "failed"}


def test_mistakes_are_named() -> None:
    log = looked_at(draw(100, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="quantiles: 50 is not between 0 and 1"):
        vk.changes(log, (50,))
    with pytest.raises(ValueError, match="alpha: 5 is not between 0 and 1"):
        vk.changes(log, alpha=5)
    with pytest.raises(MissingColumn, match="changes: no column 'rate_typ'"):
        vk.changes(log, by="rate_typ")
    with pytest.raises(ValueError, match="start: 'sent' is not a state"):
        vk.changes(log, start="sent")
