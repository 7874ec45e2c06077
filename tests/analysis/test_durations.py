"""Duration counts: an entry that stands for n messages gives the results of n equal messages."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import viberkit as vk
from viberkit.analysis.comparison import UnequalFollowUpWarning, estimate_differences, gray, log_rank, p_value
from viberkit.analysis.curves import estimate_curve, estimate_quantiles
from viberkit.analysis.durations import COMPETING, OPEN, REACHED, Durations, durations, estimate_rows
from viberkit.analysis.ordering import SECOND
from viberkit.analysis.windows import estimate_slo, estimate_windows, group_by_window
from viberkit.frames.columns import EVENTS, JOURNEYS

EXAMPLES = int(os.environ.get("VIBERKIT_EXAMPLES", "8"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
START = 1_772_452_800 * SECOND

entries = st.tuples(
    st.one_of(st.integers(0, 6).map(lambda seconds: seconds * SECOND), st.integers(0, 10**9)),  # time
    st.sampled_from([OPEN, REACHED, REACHED, COMPETING]),
    st.integers(0, 3 * SECOND),  # width of the interval of the time
    st.one_of(st.just(-1), st.integers(1, 4 * SECOND)),  # entry
    st.integers(0, 1),  # group
    st.integers(0, 3),  # hour of the start
    st.integers(1, 5),  # n
)


def weighted_and_repeated(rows: list[tuple[int, ...]], late: bool) -> tuple[Durations, Durations]:
    time, cause, width, entry, group, hour, n = np.array(rows, dtype=np.int64).reshape(-1, 7).T
    earliest = np.where(cause == REACHED, np.maximum(time - width, 0), time)
    groups = pd.DataFrame({"kind": pd.Series(["a", "b"], dtype="str")})
    attrs = {"by": ["kind"], "start": "accepted", "end": "delivered", "confidence": 0.95, "tz": "UTC"}
    index, started = np.arange(len(n)), START + hour * 3_600 * SECOND
    weighted = Durations(
        started, time, cause, earliest, entry if late else None, group, groups, JOURNEYS.empty(), index, attrs, n
    )
    return weighted, replace(weighted.take(np.repeat(index, n)), n=None)


def assert_equal(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first, second, check_exact=False, rtol=1e-12, atol=1e-12)


@many
@given(st.lists(entries, min_size=1, max_size=14), st.booleans())
def test_counts_equal_repeated_messages(rows: list[tuple[int, ...]], late: bool) -> None:
    weighted, repeated = weighted_and_repeated(rows, late)
    assert weighted.count() == repeated.count() == len(repeated)
    assert_equal(estimate_curve(weighted), estimate_curve(repeated))
    levels, limits = [0.1, 0.5, 0.9], [2 * SECOND, 60 * SECOND]
    assert_equal(estimate_quantiles(weighted, levels), estimate_quantiles(repeated, levels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnequalFollowUpWarning)
        differences = [
            estimate_differences(observed, None, [*limits, np.inf], levels) for observed in (weighted, repeated)
        ]
    assert_equal(*differences)
    windows = [group_by_window(observed, "1h") for observed in (weighted, repeated)]
    assert_equal(*(estimate_windows(observed, limits, levels) for observed in windows))
    assert_equal(*(estimate_slo(observed, limits[0], 0.8) for observed in windows))


@many
@given(st.lists(entries, min_size=2, max_size=14), st.booleans())
def test_tests_of_counts_equal_those_of_repeated_messages(rows: list[tuple[int, ...]], late: bool) -> None:
    for test in (gray, log_rank):
        p_values = []
        for observed in weighted_and_repeated(rows, late):
            first, second = (observed.take(observed.group == group) for group in (0, 1))
            p_values.append(p_value(test, first, second))
        assert p_values[0] == pytest.approx(p_values[1], rel=1e-12, abs=1e-12, nan_ok=True)


def test_the_follow_up_counts_messages_not_entries() -> None:
    rows = [(time, OPEN, 0, -1, group, 0, 5) for group, time in ((0, SECOND), (1, 60 * SECOND))]
    for observed in weighted_and_repeated(rows, late=False):
        with pytest.warns(UnequalFollowUpWarning, match="b was observed for 1 min, a for 1 s"):
            estimate_differences(observed, None, [], [0.5])


def test_durations_of_a_frame_have_no_counts() -> None:
    at = pd.to_datetime(["2026-03-01T09:00:00Z"] * 2)
    frame = pd.DataFrame({"message_id": ["a", "b"], "accepted_at": at, "outcome": "open", "observed_until": at})
    observed = durations(frame, "test")
    assert observed.n is None
    assert (observed.count(), observed.count(observed.time > 0)) == (2, 0)
    with pytest.raises(ValueError, match=r"by: .n. is also a column of the result; rename it first, e\.g\. to .my_n."):
        vk.time_to(frame.assign(n=1), by="n")
    assert list(estimate_rows(observed, {"x": "int64"}, lambda part: [{"x": len(part)}])["x"]) == [2]


@pytest.mark.parametrize("tz", ["Nowhere", "Europe", "", None, 5, "dateutil/Nowhere"])  # "Europe" is a folder
@pytest.mark.parametrize(
    ("function", "options"),
    [
        (vk.changes, {}),
        (vk.compare, {"by": "weekday"}),
        (vk.delivery_curve, {}),
        (vk.fallback, {"viber_price": 0.01, "sms_price": 0.05}),
        (vk.latency, {}),
        (vk.over_time, {}),
        (vk.profile, {}),
        (vk.slo, {"within": 60, "target": 0.9}),
        (vk.time_to, {}),
    ],
)
def test_an_unknown_time_zone_is_a_value_error(function: Any, options: dict[str, Any], tz: object) -> None:
    times = ("accepted", "2026-01-05"), ("delivered", "2026-01-06")
    log = EVENTS.frame([{"message_id": "a", "state": state, "happened_at": at} for state, at in times])
    with pytest.raises(ValueError, match=r"tz: .* is not the name of a time zone; pass e.g. 'Europe/Berlin'"):
        function(log, tz=tz, **options)
