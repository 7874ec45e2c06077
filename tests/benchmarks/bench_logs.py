"""Seeded logs for the benchmarks: histories in three dialects, and a timer."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: 1,000,000 for the published figures.
MESSAGES = int(os.environ.get("VIBERKIT_BENCH_MESSAGES", "2000"))
#: From this number of messages on, times are asserted; below, only results.
MEASURED = 200_000

GUIDE = ("message-accepted", "message-routing-success", "message-dispatching-success", "message-delivered")
V2 = ("accepted", "routed", "dispatched", "success")
V3 = ("accepted", "routed", "dispatched", "delivered")
BROKEN = ('{"messageId": "x", "hist', "not json", '{"a": 1}', "[1, 2]", '{"messageId": 12')


def write(path: Path, messages: int, broken: float = 0.0, seed: int = 1) -> Path:
    """Write a file of histories, one per line, with a share of broken lines."""
    dice = random.Random(seed)
    with path.open("w") as file:
        for number in range(messages):
            bad = dice.random() < broken
            file.write((dice.choice(BROKEN) if bad else json.dumps(history(dice, number))) + "\n")
    return path


def history(dice: random.Random, number: int) -> dict[str, Any]:
    start = 1_594_642_757_606 + number * 1_000
    ends = [0, dice.randint(10, 60), dice.randint(100, 300), dice.randint(500, 9_000)]
    times = [format_time(start + end) for end in (ends if dice.random() > 0.05 else ends[:3])]
    message_id = str(uuid.UUID(int=dice.getrandbits(128)))
    kind = dice.random()
    if kind < 0.34:
        items: list[dict[str, Any]] = [
            {"deliveryChannel": "viber", "happendAt": at, "state": state}
            for at, state in zip(times, GUIDE, strict=False)
        ]
        items[-1]["details"] = {"from": "123456789"}
        return {"messageId": message_id, "history": items}
    if kind < 0.67:
        items = [{"happenedAt": at, "state": state, "channel": "viber"} for at, state in zip(times, V2, strict=False)]
        return {"messageId": message_id, "history": items}
    items = [
        {"timestamp": at, "event": f"MessageStatus::{state}", "channel": "viber"}
        for at, state in zip(times, V3, strict=False)
    ]
    return {"messageId": message_id, "events": items}


def format_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1_000:03}Z"


def fastest(*calls: Callable[[], Any], rounds: int = 3) -> list[float]:
    """The shortest time of each call, in seconds; the calls alternate, so that other load affects all of them."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - start)
    return best
