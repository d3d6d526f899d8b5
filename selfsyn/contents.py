"""The contents of data sets: a digest of each file, read once and remembered, and the list of files behind a data set's digest.

A run keeps both in its folder `inputs/`, so that every phase of the run, on any machine, reads a file's bytes once. Nothing is
written beside the data. Several processes may work in the folder at once: each file is replaced as a whole, and what a process
does not find there it reads again. Never imports torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final

from selfsyn.ahead import ahead
from selfsyn.errors import FaultError, InputError
from selfsyn.files import digest_bytes, digest_lines, digest_stream, write_atomic
from selfsyn.progress import say, track

KNOWN: Final = "files.json"
FORMAT: Final = 1
UNREADABLE: Final = "unreadable"  # in place of a digest; the reader of the file says why
# A file that changed so recently may change again without another time: clocks of file systems are coarse.
RECENT_NS: Final = 2_000_000_000
CHUNK: Final = 64  # files that a thread reads at a time
THREADS: Final = 8  # they wait for the disk
MANY: Final = 2000  # files, of which reading takes some time
SAVE_SECONDS: Final = 30.0  # of reading are lost at most when the process is killed

Stamp = tuple[int, int, int]  # size in bytes, times of the last change of contents and of anything, in ns


@dataclass
class Contents:
    """The digests of files, remembered in `folder` for as long as size and times of a file stay the same.

    The second time is st_ctime, which no program can set: copying an older file over another one changes it.
    """

    folder: Path
    fresh: dict[str, tuple[Stamp, str]] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    @cached_property
    def known(self) -> dict[str, tuple[Stamp, str]]:
        """{path: (stamp, digest)} of an earlier process."""
        return _remembered(self.folder / KNOWN)

    def of(self, path: Path) -> tuple[int, str]:
        """-> size in bytes and digest ('sha256:...') of a file; (0, UNREADABLE) where it cannot be read."""
        try:
            found = path.stat()
            known = self._recalled(path, _stamp(found))
            if known is None:
                with open(path, "rb") as stream:
                    found = os.fstat(stream.fileno())
                    known = self.of_open(path, stream, found)
            return found.st_size, known
        except OSError:
            return 0, UNREADABLE

    def of_open(self, path: Path, stream: BinaryIO, found: os.stat_result) -> str:
        """The digest of the file at `path`. stream: it, or its bytes.  found: its state before a byte was read."""
        stamp = _stamp(found)
        known = self._recalled(path, stamp)
        if known is not None:
            return known
        stream.seek(0)
        digest = digest_stream(stream)
        if time.time_ns() - stamp[2] > RECENT_NS:
            self.fresh[str(path)] = stamp, digest
        return digest

    def of_all(self, paths: Sequence[Path]) -> list[tuple[int, str]]:
        """`of` for each path, in order, in threads. Shows its progress if there is much to read."""
        unknown = sum(str(path) not in self.known for path in paths)
        found = self._read(paths)
        return list(track(found, total=len(paths), label="contents of the data") if unknown > MANY else found)

    def save(self) -> None:
        """Remember what was read since the last call, together with what other processes have written meanwhile."""
        if not self.fresh:
            return
        kept = _remembered(self.folder / KNOWN) | self.fresh
        files = {path: [*stamp, digest] for path, (stamp, digest) in kept.items()}
        data = json.dumps({"format": FORMAT, "files": files}, separators=(",", ":"))
        _write(self.folder / KNOWN, data.encode())
        self.known.update(self.fresh)
        self.fresh = {}
        self.saved = time.monotonic()

    def save_now_and_then(self) -> None:
        """`save`, unless that was less than SAVE_SECONDS ago: writing what is known of 50,000 files takes a second."""
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def _recalled(self, path: Path, stamp: Stamp) -> str | None:
        kept = self.fresh.get(str(path)) or self.known.get(str(path))
        return kept[1] if kept is not None and kept[0] == stamp else None

    def _read(self, paths: Sequence[Path]) -> Iterator[tuple[int, str]]:
        chunks = (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))
        with ThreadPoolExecutor(THREADS) as threads:
            for chunk in ahead(lambda some: [self.of(path) for path in some], chunks, threads=threads, most=2 * THREADS):
                yield from chunk
                self.save_now_and_then()
        self.save()


def recorded(paths: Iterable[Path], *, root: Path, contents: Contents) -> str:
    """-> the digest of a data set: of the list of its files, each with its name below `root`, size and digest.

    The list is kept under the digest, so that a later difference can be named. A file that cannot be read has the
    digest UNREADABLE.
    """
    files = list(paths)
    found = zip(files, contents.of_all(files), strict=True)
    return _put(contents.folder, sorted(f"{json.dumps(_name(path, root))}\t{size}\t{digest}" for path, (size, digest) in found))


def combined(digests: Sequence[str], *, contents: Contents) -> str:
    """-> the digest of several data sets in their order; that of a single one is its own."""
    return digests[0] if len(digests) == 1 else _put(contents.folder, digests)


def changes(folder: Path, before: str, now: str) -> str:
    """What differs between two recorded digests: '2 files changed, first labels/1.png'. '' where a list was not kept."""
    old, new = _files(folder, before), _files(folder, now)
    if old is None or new is None:
        return ""
    kinds = {
        "changed": [name for name in old if name in new and old[name] != new[name]],
        "added": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
    }
    return ", ".join(f"{_count(names)} {kind}, first {names[0]}" for kind, names in kinds.items() if names)


def by_names_and_sizes(folder: Path, digest: str) -> str | None:
    """The digest that earlier versions recorded for the same data set, which did not read contents; None without its list."""
    lines = _lines(folder, digest)
    if lines is None:
        return None
    if lines and "\t" not in lines[0]:
        parts = [by_names_and_sizes(folder, line) for line in lines]
        return None if None in parts else digest_lines(str(part) for part in parts)
    rows = [line.split("\t") for line in lines]
    return digest_lines(sorted(f"{json.loads(name)}\t{size}" for name, size, _ in rows))


def _count(names: Sequence[str]) -> str:
    return "1 file" if len(names) == 1 else f"{len(names)} files"


def _files(folder: Path, digest: str) -> dict[str, str] | None:
    """{name: size and digest} of the list behind a digest. With several data sets, their number is part of the names."""
    lines = _lines(folder, digest)
    if lines is None:
        return None
    if lines and "\t" not in lines[0]:
        parts = [_files(folder, line) for line in lines]
        named = (
            (f"{name} of source {place}", kept) for place, part in enumerate(parts, 1) for name, kept in (part or {}).items()
        )
        return None if None in parts else dict(named)
    return {json.loads(name): kept for name, _, kept in (line.partition("\t") for line in lines)}


def _put(folder: Path, lines: Sequence[str]) -> str:
    data = "".join(f"{line}\n" for line in lines).encode()
    digest = digest_bytes(data)
    path = _list_of(folder, digest)
    if not path.exists():
        _write(path, data)
    return digest


def _lines(folder: Path, digest: str) -> list[str] | None:
    try:
        return _list_of(folder, digest).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None


def _list_of(folder: Path, digest: str) -> Path:
    return folder / f"{digest.partition(':')[2]}.txt"


def _name(path: Path, root: Path) -> str:
    whole, start = str(path), f"{root}{os.sep}"
    return whole[len(start) :] if whole.startswith(start) else str(path.relative_to(root))


def _remembered(path: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["format"] != FORMAT:
            return {}
        return {name: ((size, modified, changed), digest) for name, (size, modified, changed, digest) in kept["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none yet, or damaged: the files are read again
        return {}


def _write(path: Path, data: bytes) -> None:
    """Write it, if the run folder can be written: what is kept here only saves time and names differences."""
    try:
        write_atomic(path, data)
    except (FaultError, InputError) as error:
        say(f"contents of the data are not remembered: {error}")


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
