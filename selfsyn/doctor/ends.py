"""Checks on the first and last bytes of files: is the file complete, how large is the picture, is it a copy of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from selfsyn.ahead import ahead
from selfsyn.files import digest_file
from selfsyn.images import TRUNCATED, UnreadableError, decodes, fault_of, geometry, read_ends

CHUNK = 64  # files that a thread reads at a time
THREADS = 8  # they wait for the disk


@dataclass(frozen=True, slots=True)
class Ends:
    """The result of reading a file's first and last bytes.

    length: in bytes.  size: (width, height) in pixels; (0, 0) of a faulty file.  fault: why it cannot be read, or ''.
    tail: its last 64 bytes: the end marker of a PNG or JPEG, and a PNG's checksum of its pixels.
    orientation: of EXIF, 1..8; 1 if the pixels are stored upright.
    """

    path: Path
    length: int
    size: tuple[int, int]
    fault: str
    tail: bytes
    orientation: int = 1


def ends_of(paths: Sequence[Path]) -> Iterator[Ends]:
    """The ends of each file, in order. Faults are results, not exceptions."""
    chunks = (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))
    with ThreadPoolExecutor(THREADS) as threads:
        for chunk in ahead(lambda some: [_ends(path) for path in some], chunks, threads=threads, most=2 * THREADS):
            yield from chunk


def same_files(files: Iterable[Ends]) -> list[list[Ends]]:
    """Groups of two or more intact files with the same bytes. Only files of equal length and tail are read."""
    alike: dict[tuple[int, bytes], list[Ends]] = defaultdict(list)
    for file in files:
        if not file.fault:
            alike[file.length, file.tail].append(file)
    same: dict[str, list[Ends]] = defaultdict(list)
    suspects = [file for group in alike.values() if len(group) > 1 for file in group]
    with ThreadPoolExecutor(THREADS) as threads:
        for file, digest in zip(suspects, threads.map(digest_file, (file.path for file in suspects)), strict=True):
            same[digest].append(file)
    return [group for group in same.values() if len(group) > 1]


def _ends(path: Path) -> Ends:
    try:
        head, tail, length = read_ends(path)
        fault = fault_of(head, tail)
        fault = "" if fault == TRUNCATED and decodes(path) else fault
        size, orientation = ((0, 0), 1) if fault else geometry(path)
        return Ends(path, length, size, fault, tail, orientation)
    except OSError as error:
        return Ends(path, 0, (0, 0), error.strerror or type(error).__name__, b"")
    except UnreadableError as error:
        return Ends(path, length, (0, 0), error.reason, tail)
