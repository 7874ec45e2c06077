"""Which process and thread is sending: a lock that the operating system ends with the process.

Process ids and host names do not identify a process across containers, and clocks differ. Every process therefore holds
a lock on one byte of a file beside the archive, from its first send on; its number is the position of the byte. These
are the locks that SQLite uses, so they work wherever the archive does.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from functools import cache
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    _MODES = (msvcrt.LK_NBLCK, msvcrt.LK_UNLCK)

    def _lock(file: int, mode: int, number: int) -> None:
        os.lseek(file, number, os.SEEK_SET)
        msvcrt.locking(file, mode, 1)

else:
    import fcntl

    _MODES = (fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN)

    def _lock(file: int, mode: int, number: int) -> None:
        fcntl.lockf(file, mode, 1, number)


def _try_lock(file: int, number: int, *, probe: bool) -> bool:
    """Lock a byte, or only test whether that is possible."""
    try:
        for mode in _MODES[: 1 + probe]:
            _lock(file, mode, number)
    except (BlockingIOError, PermissionError):
        return False
    return True


class ProcessLock:
    """The number of this process among those that use an archive; others see it as held until this one ends.

    The file stays open: closing any descriptor of it would release the lock. Used in transactions that write only.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(f"{path}-owners", os.O_CREAT | os.O_RDWR, stat.S_IMODE(path.stat().st_mode))
        self.number = 0
        while not self.number:
            number = secrets.randbelow(2**31 - 1) + 1
            self.number = number if _try_lock(self._file, number, probe=False) else 0

    def is_held(self, number: int) -> bool:
        """Whether the process with this number runs."""
        return number == self.number or not _try_lock(self._file, number, probe=True)


@cache
def process_lock(path: Path, pid: int) -> ProcessLock:
    """Return the lock of this process, which has this id, for the archive at a resolved path."""
    return ProcessLock(path)
