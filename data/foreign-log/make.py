"""Create the log: ``python data/foreign-log/make.py`` (offline, less than a second)."""

from __future__ import annotations

import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

SEED, MESSAGES = 2025, 240
BERLIN = ZoneInfo("Europe/Berlin")
START = pd.Timestamp("2025-10-25T16:00Z")  # clocks go back in the night that follows


def make(folder: Path) -> None:
    """Write ``versand.csv``."""
    rng = np.random.default_rng(SEED)
    rows = [("Kennung", "Zustand", "Zeitpunkt", "System", "Land", "Bemerkung")]
    for number in range(MESSAGES):
        name, country = f"{rng.integers(16**6, 16**7):07X}-{number:04}", str(rng.choice(["DE", "AT", "CH"]))
        accepted = START + pd.Timedelta(seconds=float(rng.uniform(0, 11 * 3_600)))
        delivered = accepted + pd.Timedelta(seconds=float(rng.lognormal(2.5, 1.4)))
        seen = delivered + pd.Timedelta(seconds=float(rng.lognormal(5, 1.5)))
        local = accepted.tz_convert(BERLIN).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        rows.append((f"{{{name}}}", "Angenommen", local, "Versand", country, ""))
        failed = rng.random() < 0.08
        minute = delivered.tz_convert(BERLIN).strftime("%Y-%m-%d %H:%M")
        rows.append(
            (
                name.lower(),
                "FEHLER" if failed else "Zugestellt",
                minute,
                "Betreiber",
                country,
                "" if not failed else "Gerät nicht erreichbar",
            )
        )
        if not failed and rng.random() < 0.6:  # the portal's clock is in UTC, two hours behind in summer
            rows.append((name.lower(), "gelesen", seen.strftime("%Y-%m-%d %H:%M:%S") + "+02:00", "Portal", country, ""))
        if number in (40, 90):
            later = (delivered + pd.Timedelta(minutes=7)).tz_convert(BERLIN).strftime("%Y-%m-%d %H:%M")
            rows.append((name.lower(), "FEHLER", later, "Betreiber", country, "zweites Gerät"))
    rows.append(("5.463481551745434E+18", "Zugestellt", "2025-10-25 20:15", "Betreiber", "DE", ""))
    rows += [
        (f"call-{number}", "CallStatus::ringing", "2025-10-25 20:15", "Betreiber", "DE", "") for number in range(3)
    ]
    text = "".join(";".join(row) + "\r\n" for row in rows)
    (folder / "versand.csv").write_bytes(text.encode("cp1252"))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
