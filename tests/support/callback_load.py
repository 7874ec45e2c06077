"""A load of callbacks over plain sockets: signed bodies, many connections, the time of every answer.

Run as a program it prints what it did as JSON: ``python callback_load.py URL --secret S --seconds 10``. It stops by
itself, and calls this machine only.
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
    """What a load came to; times in seconds."""

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
    """The status callback of this number: four for each message, in order."""
    place = number % len(STATES)
    told = {
        "event": f"MessageStatus::{STATES[place]}",
        "messageId": f"{prefix}-{number // len(STATES):08d}",
        "channel": "viber",
        "timestamp": f"2026-01-05T08:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}Z",
        "from": "VIBERKIT",
        "userContext": f"order {number}",
    }
    return json.dumps(told).encode()


def request(url: str, payload: bytes, secret: str, *, close: bool = False) -> bytes:
    """A callback as the provider would post it, signed now."""
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
    """Post callbacks over so many connections, each waiting for its answer; ``fresh`` opens a new one for each."""
    report, numbers = Report(), count()
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    began = time.perf_counter()

    async def worker() -> None:
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (now := time.perf_counter()) < began + seconds:
            number = next(numbers)
            if per_second and (early := began + number / per_second - now) > 0:
                await asyncio.sleep(early)
            payload = body(number, prefix)
            started = time.perf_counter()
            try:
                if link is None:
                    link = await asyncio.open_connection("127.0.0.1", parts.port)
                reader, writer = link
                writer.write(request(url, payload, secret, close=fresh))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                report.broken += 1
                if link is not None:
                    link[1].close()
                link = None
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
                link = None
        if link is not None:
            link[1].close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    report.seconds = time.perf_counter() - began
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
    parser.add_argument("--acknowledged", type=Path, help="a file for the bodies that were answered 204, one a line")
    given = parser.parse_args()
    report = asyncio.run(
        load(
            given.url,
            given.secret,
            seconds=given.seconds,
            connections=given.connections,
            fresh=given.fresh,
            prefix=given.prefix,
            per_second=given.per_second,
        )
    )
    if given.acknowledged:
        given.acknowledged.write_text("".join(f"{one}\n" for one in report.acknowledged), encoding="utf-8")
    told = {name: value for name, value in asdict(report).items() if name not in ("times", "acknowledged")}
    told |= {f"p{share:g}_ms": round(1000 * report.quantile(share / 100), 1) for share in (50, 99, 100) if report.times}
    json.dump(told | {"per_second": round(report.per_second)}, sys.stdout)


if __name__ == "__main__":
    main()
