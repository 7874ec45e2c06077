"""Logs for the tests of event logs: as frames, and with times as an event log takes them."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd

import viberkit as vk

HOUR = 3_600_000_000


def lake_frame(events: pd.DataFrame) -> pd.DataFrame:
    """Events with the columns of a lake: instants as whole numbers of microseconds."""
    frame = events.astype({"state": "str"})
    for name, column in {
        "happened_at": "happened_us",
        "observed_until": "observed_until_us",
        "received_at": "received_us",
        "observed_from": "observed_from_us",
    }.items():
        if name in frame:
            values = pd.to_datetime(frame.pop(name), utc=True).astype("datetime64[us, UTC]")
            frame[column] = values.astype("int64").astype("Int64").where(values.notna())
    return frame.drop(columns=[name for name in ("source", "naive", "channel", "code", "detail", "not_before") if name in frame])


def event_log(events: pd.DataFrame) -> vk.EventLog:
    return vk.EventLog(duckdb.connect().from_df(lake_frame(events)))


def rounded(microseconds: Any) -> Any:
    """Durations in whole milliseconds, above an hour in whole seconds."""
    step = np.where(microseconds < HOUR, 1_000, 1_000_000)
    return microseconds // step * step


def round_journeys(journeys: pd.DataFrame, start: str = "accepted") -> pd.DataFrame:
    """Journeys whose times since the start are rounded as those of an event log."""
    result = journeys.copy()
    begin = result[f"{start}_at"]
    names = [name for name in result if str(name).endswith("_at") and name != f"{start}_at"]
    for name in [*names, *({"observed_until", "observed_from"} & {*result})]:
        since = (result[name] - begin) / pd.Timedelta("1us")
        value = begin + pd.to_timedelta(rounded(since), unit="us").astype("timedelta64[us]")
        result[name] = value.where(since >= 0, result[name]).astype("datetime64[us, UTC]")
    return result
