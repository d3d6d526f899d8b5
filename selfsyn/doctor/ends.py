"""Checks of files without decoding them: is the file complete, how large is the picture, is it a copy of another."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from selfsyn.ahead import ahead
from selfsyn.contents import Contents
from selfsyn.images import TRUNCATED, UnreadableError, decodes, fault_of, geometry_of, read_ends_of

CHUNK = 64  # files that a thread reads at a time
SMALL = 1 << 17  # bytes of a file that is read whole; each thread holds a chunk of them
THREADS = 8  # they wait for the disk


@dataclass(frozen=True, slots=True)
class Ends:
    """The result of reading a file without decoding it.

    length: in bytes.  size: (width, height) in pixels; (0, 0) of a faulty file.  fault: why it cannot be read, or ''.
    digest: of all bytes.  orientation: of EXIF, 1..8; 1 if the pixels are stored upright.
    """

    path: Path
    length: int
    size: tuple[int, int]
    fault: str
    digest: str
    orientation: int = 1


def ends_of(paths: Sequence[Path], *, contents: Contents) -> Iterator[Ends]:
    """The ends of each file, in order. Faults are results, not exceptions. contents: remembers digests; save it at the end."""
    chunks = (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))
    with ThreadPoolExecutor(THREADS) as threads:
        for chunk in ahead(lambda some: _chunk(some, contents), chunks, threads=threads, most=2 * THREADS):
            yield from chunk
            contents.save_now_and_then()


def same_files(files: Iterable[Ends]) -> list[list[Ends]]:
    """Groups of two or more intact files with the same bytes."""
    same: dict[str, list[Ends]] = defaultdict(list)
    for file in files:
        if not file.fault:
            same[file.digest].append(file)
    return [group for group in same.values() if len(group) > 1]


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that has been read. data: its bytes if it is small.  fault: why it cannot be read, or ''."""

    path: Path
    length: int = 0
    digest: str = ""
    data: bytes | None = None
    fault: str = ""


def _chunk(paths: Sequence[Path], contents: Contents) -> list[Ends]:
    # First reading, then parsing: threads that alternate at each file spend half of their time waiting for Python's lock.
    return [_ends(read) for read in [_read(path, contents) for path in paths]]


def _read(path: Path, contents: Contents) -> _Read:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(found.st_size) if found.st_size <= SMALL else None
            digest = contents.of_open(path, file if data is None else io.BytesIO(data), found)
            return _Read(path, found.st_size, digest, data)
    except OSError as error:
        return _Read(path, fault=_why(error))


def _ends(read: _Read) -> Ends:
    size, orientation, fault = (0, 0), 1, read.fault
    try:
        if not fault:
            with open(read.path, "rb") if read.data is None else io.BytesIO(read.data) as stream:
                fault = _fault(read.path, stream)
                size, orientation = (size, orientation) if fault else geometry_of(stream, name=str(read.path))
    except OSError as error:
        fault = _why(error)
    except UnreadableError as error:
        fault = error.reason
    return Ends(read.path, read.length, size, fault, read.digest, orientation)


def _fault(path: Path, stream: BinaryIO) -> str:
    """`fault_of` an open file, and the stream back at its start."""
    fault = fault_of(*read_ends_of(stream)[:2])
    stream.seek(0)
    return "" if fault == TRUNCATED and decodes(path) else fault


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
