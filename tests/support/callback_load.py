"""A load of signed callbacks over plain sockets and many connections, with the time of every response.

As a program, it prints a report as JSON: ``python callback_load.py URL --secret S --seconds 10``. It calls loopback
addresses only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from viberkit.models.callback import sign

STATES = ("accepted", "dispatched", "delivered", "seen")


@dataclass
class Report:
    """The outcome of a load; times in seconds."""

    answered: int = 0
    refused: int = 0
    broken: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def quantile(self, share: float) -> float:
        return sorted(self.times)[min(int(share * len(self.times)), len(self.times) - 1)]


def body(number: int, prefix: str = "m") -> bytes:
    """The status callback with a number: each message has four, in order."""
    index = number % len(STATES)
    callback = {
        "event": f"MessageStatus::{STATES[index]}",
        "messageId": f"{prefix}-{number // len(STATES):08d}",
        "channel": "viber",
        "timestamp": f"2026-01-05T08:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}Z",
        "from": "VIBERKIT",
        "userContext": f"order {number}",
    }
    return json.dumps(callback).encode()


def request(url: str, payload: bytes, secret: str, *, close: bool = False) -> bytes:
    """The bytes of a callback as the provider posts it, signed now."""
    parts = urlsplit(url)
    stamp = str(int(time.time() * 1000))
    head = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        f"X-Signature: {sign(secret, stamp, payload)}",
        f"X-Request-Timestamp: {stamp}",
        "X-Signature-Version: V1.0",
        *(["Connection: close"] if close else []),
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + payload


async def load(
    url: str,
    secret: str,
    *,
    seconds: float,
    connections: int = 32,
    fresh: bool = False,
    prefix: str = "m",
    per_second: float | None = None,
) -> Report:
    """Post callbacks over concurrent connections; with ``fresh``, each callback has a new connection."""
    report, numbers = Report(), count()
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    started_at = time.perf_counter()

    async def worker() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (now := time.perf_counter()) < started_at + seconds:
            number = next(numbers)
            if per_second and (delay_s := started_at + number / per_second - now) > 0:
                await asyncio.sleep(delay_s)
            payload = body(number, prefix)
            started = time.perf_counter()
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", parts.port)
                reader, writer = connection
                writer.write(request(url, payload, secret, close=fresh))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                report.broken += 1
                if connection is not None:
                    connection[1].close()
                connection = None
                await asyncio.sleep(0.01)
                continue
            status = int(head[9:12])
            if status == 204:
                report.answered += 1
                report.times.append(time.perf_counter() - started)
                report.acknowledged.append(payload.decode())
            else:
                report.refused += 1
            if fresh or status != 204:
                writer.close()
                connection = None
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    report.seconds = time.perf_counter() - started_at
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--secret", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--prefix", default="m")
    parser.add_argument("--per-second", type=float)
    parser.add_argument("--acknowledged", type=Path, help="a file for the bodies answered with 204, one per line")
    options = parser.parse_args()
    report = asyncio.run(
        load(
            options.url,
            options.secret,
            seconds=options.seconds,
            connections=options.connections,
            fresh=options.fresh,
            prefix=options.prefix,
            per_second=options.per_second,
        )
    )
    if options.acknowledged:
        options.acknowledged.write_text("".join(f"{body}\n" for body in report.acknowledged), encoding="utf-8")
    summary = {name: value for name, value in asdict(report).items() if name not in ("times", "acknowledged")}
    summary |= {
        f"p{share:g}_ms": round(1000 * report.quantile(share / 100), 1) for share in (50, 99, 100) if report.times
    }
    json.dump(summary | {"per_second": round(report.per_second)}, sys.stdout)


if __name__ == "__main__":
    main()
