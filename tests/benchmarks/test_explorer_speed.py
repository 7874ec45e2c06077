"""The time from changing a filter of an explorer to the redrawn view.

Small by default, to see that it runs. The real figures::

    VIBERKIT_BENCH_MESSAGES=100000 python -m pytest tests/benchmarks/test_explorer_speed.py -s -p no:cacheprovider
"""

from __future__ import annotations

import os
import time
from statistics import median

import numpy as np
import pandas as pd
import pytest
from support.delivery_logs import SECOND, draw

import viberkit as vk
from viberkit.widgets.explorer import Explorer

MESSAGES = int(os.environ.get("VIBERKIT_BENCH_MESSAGES", "2000"))
COLUMNS = {"rate_type": ("transaction", "promotion"), "country": ("DE", "AT", "FR", "GB")}


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    rng = np.random.default_rng(1)
    facts = {name: rng.choice(values, MESSAGES) for name, values in COLUMNS.items()}
    facts["campaign"] = rng.choice([f"week {number}" for number in range(40)], MESSAGES)
    seen = draw(MESSAGES, rng).seen(np.full(MESSAGES, 20 * 86_400 * SECOND), **facts)
    times = [f"{state}_at" for state in ("accepted", "dispatched", "delivered", "failed")]
    events = seen.melt(["message_id", "code", "observed_until", *facts], times, "state", "happened_at").dropna(
        subset="happened_at"
    )
    events["state"] = events["state"].str.removesuffix("_at")
    began = time.perf_counter()
    explorer = Explorer(vk.read_events(pd.DataFrame(events)))
    explorer.wait()
    print(f"\n{MESSAGES:,} messages: shown after {time.perf_counter() - began:.2f} s")
    return explorer


@pytest.mark.parametrize("view", range(6))
def test_a_change_of_a_filter(explorer: Explorer, view: int) -> None:
    explorer.tabs.selected_index = view
    explorer.wait()
    times = []
    for name in ("rate_type", "country", "campaign", "outcome"):
        for _, value in [*explorer.filters[name].options[1:5], ("all", "")]:
            began = time.perf_counter()
            explorer.filters[name].value = value
            assert explorer.wait(60)
            times.append(time.perf_counter() - began)
            assert not explorer._status.value
    print(f"\n{explorer.tabs.titles[view]}: median {median(times):.2f} s, longest {max(times):.2f} s")
