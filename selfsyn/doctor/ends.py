"""Checks of files without decoding them: is the file complete, how large is the picture, is it a copy of another."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from selfsyn.ahead import ahead
from selfsyn.contents import Contents
from selfsyn.images import TRUNCATED, UnreadableError, decodes, fault_of, geometry_of, read_ends_of

CHUNK = 64  # files that a thread reads at a time
SMALL = 1 << 20  # bytes
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
        for chunk in ahead(lambda some: [_ends(path, contents) for path in some], chunks, threads=threads, most=2 * THREADS):
            yield from chunk
            contents.save_now_and_then()


def same_files(files: Iterable[Ends]) -> list[list[Ends]]:
    """Groups of two or more intact files with the same bytes."""
    same: dict[str, list[Ends]] = defaultdict(list)
    for file in files:
        if not file.fault:
            same[file.digest].append(file)
    return [group for group in same.values() if len(group) > 1]


def _ends(path: Path, contents: Contents) -> Ends:
    length = 0
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            length = found.st_size
            # Reading small files whole is faster than reading parts of them.
            stream = file if length > SMALL else io.BytesIO(file.read(length))
            fault = fault_of(*read_ends_of(stream)[:2])
            fault = "" if fault == TRUNCATED and decodes(path) else fault
            stream.seek(0)
            size, orientation = ((0, 0), 1) if fault else geometry_of(stream, name=str(path))
            return Ends(path, length, size, fault, contents.of_open(path, stream, found), orientation)
    except OSError as error:
        return Ends(path, 0, (0, 0), error.strerror or type(error).__name__, "")
    except UnreadableError as error:
        return Ends(path, length, (0, 0), error.reason, "")
