"""The rows of a label store's indices, found by name: 20 bytes a row in memory, whatever the names. Never imports torch.

A name is kept as the first 8 bytes of its BLAKE2b digest. Among 10 million names, two share them with a probability of 3 in a
million; such rows are told apart by reading them.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError

INDEX: Final = "index.jsonl"
BLOCK: Final = 64 * 1024  # bytes that are read at once from each of the runs that are merged
MOST_RUNS: Final = 10_000  # ascending runs that are merged; beyond it, rows are sorted in memory


class _Named(msgspec.Struct):
    name: str
    skipped: str | None = None


_fast = msgspec.json.Decoder(_Named).decode


@dataclass(frozen=True)
class Place:
    """Where a row is. number: from 0, among the rows of its shard.  offset: bytes, in the shard's index."""

    shard: Path
    number: int
    offset: int


@dataclass(frozen=True)
class _Run:
    """Successive rows of a shard in the order of their names: the bytes from `begin` to `end` of its index."""

    shard: Path
    begin: int
    end: int


class Rows:
    """The rows of all shards of a store. skipped: {name of an unreadable image: why it cannot be read}."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Read all indices once. InputError for an index that cannot be read."""
        self.shards, self.skipped = tuple(shards), dict[str, str]()
        self._runs: list[_Run] = []
        hashes, offsets, firsts = bytearray(), array("Q"), [0]
        for shard in self.shards:
            self._scan(shard, hashes=hashes, offsets=offsets)
            firsts.append(len(offsets))
        self._firsts = np.array(firsts)
        self._offsets: NDArray[np.uint64] = np.frombuffer(offsets, np.uint64) if offsets else np.zeros(0, np.uint64)
        keys = np.frombuffer(bytes(hashes), np.uint64)
        self._order = np.argsort(keys, kind="stable").astype(np.uint32)
        self._keys = keys[self._order]

    def __len__(self) -> int:
        """The number of rows, of labelled and skipped images."""
        return len(self._keys)

    def place(self, name: str) -> Place | None:
        """Where the row of a labelled or skipped image is; the last one where a name has several. None for another image."""
        key = np.frombuffer(_key(name), np.uint64)
        first, last = (int(np.searchsorted(self._keys, key, side=side)[0]) for side in ("left", "right"))  # type: ignore[call-overload]
        places = [self._place(int(self._order[rank])) for rank in range(last - 1, first - 1, -1)]
        if len(places) < 2:
            return places[0] if places else None
        return next((place for place in places if row_at(place)["name"] == name), None)

    def missing(self, names: Iterable[str]) -> str | None:
        """The first of `names` without a row, or None. A name counts as there with a probability of 1e-12 although it is not."""
        names = list(names)
        keys = np.frombuffer(b"".join(map(_key, names)), np.uint64)
        ranks = np.searchsorted(self._keys, keys)
        there = np.zeros(len(keys), bool)
        inside = ranks < len(self._keys)
        there[inside] = self._keys[ranks[inside]] == keys[inside]
        return None if there.all() else names[int(np.argmin(there))]

    def names(self) -> Iterator[str]:
        """The names of the labelled images, shard by shard."""
        for shard in self.shards:
            with _readable(shard), open(shard / INDEX, "rb") as stream:
                yield from (row.name for row in map(_named, stream) if row.skipped is None)

    def sorted_lines(self) -> Iterator[str]:
        """The lines of all indices, sorted by name, in memory that does not grow with the number of images.

        Shards follow the order of the data set, so they are ascending runs, which are merged.
        """
        if len(self._runs) > MOST_RUNS:
            lines = [(name, line) for run in self._runs for name, line in _lines_of(run)]
            yield from (line for _, line in sorted(lines))
        else:
            yield from (line for _, line in heapq.merge(*map(_lines_of, self._runs)))

    def _place(self, row: int) -> Place:
        shard = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return Place(self.shards[shard], row - int(self._firsts[shard]), int(self._offsets[row]))

    def _scan(self, shard: Path, *, hashes: bytearray, offsets: array[int]) -> None:
        """Add a shard's rows to `hashes` and `offsets`, and to the skipped images and the ascending runs."""
        begin = position = 0
        before = ""
        with _readable(shard), open(shard / INDEX, "rb") as stream:
            for line in stream:
                row = _named(line)
                hashes += _key(row.name)
                offsets.append(position)
                if row.skipped is not None:
                    self.skipped[row.name] = row.skipped
                if row.name < before:
                    self._runs.append(_Run(shard, begin, position))
                    begin = position
                before = row.name
                position += len(line)
        self._runs.append(_Run(shard, begin, position))


def row_at(place: Place) -> dict[str, Any]:
    """The row at a place. InputError when the index cannot be read."""
    with _readable(place.shard), open(place.shard / INDEX, "rb") as stream:
        stream.seek(place.offset)
        return dict(json.loads(stream.readline()))


def _named(line: bytes) -> _Named:
    """The name in a row. msgspec is ten times as fast as json, but refuses the names of files that are not UTF-8."""
    try:
        return _fast(line)
    except msgspec.DecodeError:
        row = json.loads(line)
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise ValueError("a row without a name") from None
        return _Named(row["name"], row.get("skipped"))


def _key(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()


def _lines_of(run: _Run) -> Iterator[tuple[str, str]]:
    """(name, line) of the rows of a run. Opens the file for each block, because a store may have more shards than a process
    may have open files."""
    position, rest = run.begin, b""
    while position < run.end:
        with _readable(run.shard), open(run.shard / INDEX, "rb") as stream:
            stream.seek(position)
            block = stream.read(min(BLOCK, run.end - position))
            if not block:
                raise ValueError("shorter than it was")
        position += len(block)
        *lines, rest = (rest + block).split(b"\n")
        if position >= run.end and rest:
            lines.append(rest)
        with _readable(run.shard):
            yield from ((_named(line).name, line.decode()) for line in lines)


@contextlib.contextmanager
def _readable(shard: Path) -> Iterator[None]:
    """Turns the errors of an index that is missing or damaged into InputError."""
    try:
        yield
    except (OSError, ValueError, KeyError, RecursionError, msgspec.MsgspecError) as error:
        raise InputError(f"{shard / INDEX}: cannot be read ({error}); label the shard again with --force") from error
