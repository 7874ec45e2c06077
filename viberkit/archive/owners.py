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
import threading
from functools import cache
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int, number: int, *, probe: bool) -> bool:
        try:
            for mode in (msvcrt.LK_NBLCK, msvcrt.LK_UNLCK)[: 1 + probe]:
                os.lseek(file, number, os.SEEK_SET)
                msvcrt.locking(file, mode, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int, number: int, *, probe: bool) -> bool:
        """Lock a byte, or only test whether that is possible."""
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        if probe:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
        return True


class ProcessLock:
    """The number of this process among those that use an archive, and whether other processes still run.

    Its file stays open until the process ends: closing any descriptor of the file would release the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._mutex = path, threading.Lock()
        self._file, self._number = -1, 0

    @property
    def number(self) -> int:
        """The number of this process, which other processes see as held until it ends."""
        with self._mutex:
            while not self._number:
                number = secrets.randbelow(2**31 - 1) + 1
                self._number = number if _try_lock(self._descriptor(), number, probe=False) else 0
        return self._number

    def is_held(self, number: int) -> bool:
        """Whether the process with this number runs."""
        with self._mutex:
            return number == self._number or not _try_lock(self._descriptor(), number, probe=True)

    def _descriptor(self) -> int:
        if self._file < 0:
            mode = stat.S_IMODE(self._path.stat().st_mode)
            self._file = os.open(f"{self._path}-owners", os.O_CREAT | os.O_RDWR, mode)
        return self._file


@cache
def process_lock(path: Path, pid: int) -> ProcessLock:
    """Return the lock of the process with this id, which is this one, for an archive."""
    return ProcessLock(path.resolve())
