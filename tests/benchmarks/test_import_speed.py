"""What ``import viberkit`` costs beside ``import pandas``.

The figure: ``python -m pytest tests/benchmarks/test_import_speed.py -s``
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time


def seconds(code: str, times: int = 3) -> float:
    """The median time of a fresh interpreter that runs some code."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def test_importing_loads_nothing_that_is_not_used() -> None:
    pandas, ours, all_used = (
        seconds(code)
        for code in (
            "import pandas",
            "import viberkit",
            "import viberkit as vk; vk.Client, vk.Archive, vk.read_events, vk.transitions",
        )
    )
    print(f"\nimport viberkit: {ours / pandas:.2f} × import pandas; all of it used {all_used / pandas:.2f} ×")
    code = "import sys, viberkit; print(len({'pandas', 'requests', 'matplotlib', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"0"
