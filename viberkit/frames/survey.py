"""The lines of a file: where they are, and which hold something that DuckDB reads more leniently than JSON allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Lines", "as_array", "survey"]


def as_array(column: Any) -> npt.NDArray[Any]:
    """An Arrow column as numpy has it, copied where it must be."""
    made: npt.NDArray[Any] = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(False)
    return made


_BLOCK = 1 << 20
# Each begins with a plain character, for which the expression engine leaps ahead; one expression of all would not.
_SUSPECT = (
    r",[ \t\r]*[}\]]",  # a trailing comma
    r"N[aA][nN]",  # numbers that are none
    r"I[nN][fF]",
    r"\v",  # spaces that are none
    r"\f",
    r"\\u00[0-7]",  # a plain character written as an escape: NUL, or a key in disguise
    r'history"[ \t\r]*:[ \t\r]*[^\[n \t\r]',  # a history that is no list
    r'vents"[ \t\r]*:[ \t\r]*[^\[n \t\r]',
)


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines that are not blank: their numbers (from 1), where they start and end, and which are suspect."""

    numbers: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    suspect: npt.NDArray[np.int64]


def survey(path: Path) -> Lines:
    """Where the lines of a file are; ``ends`` leaves the line feed out."""
    starts, ends, numbers, suspects = [], [], [], []
    lines = 0
    with path.open("rb") as file:
        for offset, block in _blocks(file):
            view = np.frombuffer(block, dtype=np.uint8)
            stops = np.flatnonzero(view == ord("\n"))
            if not len(stops) or stops[-1] != len(view) - 1:
                stops = np.append(stops, len(view))
            begins = np.concatenate([[0], stops[:-1] + 1])
            blank = np.isin(view[np.minimum(begins, len(view) - 1)], _SPACES) | (begins == stops)
            for place in np.flatnonzero(blank):
                blank[place] = not block[begins[place] : stops[place]].strip()
            suspects.append(_suspects(block, begins)[~blank])
            starts.append(begins[~blank] + offset)
            ends.append(stops[~blank] + offset)
            numbers.append(np.flatnonzero(~blank) + lines + 1)
            lines += len(begins)
    joined = [np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in (numbers, starts, ends, suspects)]
    return Lines(joined[0], joined[1], joined[2], np.flatnonzero(joined[3]))


def _suspects(block: bytes, begins: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which lines of a block are suspect: the block is searched as a whole, its lines only where something is found."""
    whole = _texts(block, np.zeros(1, np.int64))
    suspect = np.zeros(len(begins), dtype=bool)
    for sign in _SUSPECT:
        if pc.match_substring_regex(whole, sign)[0].as_py():
            suspect |= as_array(pc.match_substring_regex(_texts(block, begins), sign))
    return suspect


def _texts(block: bytes, begins: npt.NDArray[np.int64]) -> Any:
    """Parts of a block, where it lies."""
    bounds = pa.py_buffer(np.append(begins, len(block)))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(begins), [None, bounds, pa.py_buffer(block)])


_SPACES = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The file in blocks of whole lines, and where each begins."""
    offset, parts = 0, list[bytes]()
    while read := file.read(_BLOCK):
        cut = read.rfind(b"\n") + 1
        if cut:
            block = b"".join([*parts, read[:cut]])
            yield offset, block
            offset += len(block)
            parts = []
        if cut < len(read):
            parts.append(read[cut:])
    if parts:
        yield offset, b"".join(parts)
