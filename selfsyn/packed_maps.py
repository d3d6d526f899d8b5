"""The maps of a shard's images as one file: an uncompressed tar, and a table of the places in it. Never imports torch.

`tar xf maps.tar` makes the files of an unpacked shard. Two small files an image are 20 million inodes for 10 million images, and
a network volume needs one round trip for each.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.files import TEMPORARY, adopt, explained, locked, temporary_of, write_atomic

TAR: Final = "maps.tar"
TABLE: Final = "maps.npy"  # (N, 4) int64, a row of the index each: offset and size of class map and confidence map; size 0: none
ABSENT: Final = (0, 0, 0, 0)
OPEN: Final = 256  # shards whose files a process keeps open

Where = tuple[int, ...]  # a row of the table
Maps = tuple[bytes, bytes]  # the PNG files of class map and confidence map


class Packer:
    """Writes the maps of a shard, in the order of its index.

    Each attempt writes a file of its own, so two attempts at once do no harm. `recalled` reads what a killed attempt has left.
    """

    def __init__(self, folder: Path) -> None:
        """folder: of the shard."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._left = _best_of(folder)
        self._temporary = temporary_of(folder / TAR)
        self._rows: list[Where] = []
        self._stream = locked(self._temporary)
        self._tar = tarfile.open(fileobj=self._stream, mode="w")  # noqa: SIM115

    def recalled(self, name: str) -> Maps | None:
        """The maps that an earlier attempt has written, if it has; safe to call in threads."""
        path, places = self._left
        if name in places:
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:  # gone: another attempt has finished
                return _read(stream.fileno(), places[name])
        return None

    def add(self, name: str, maps: Maps | None) -> None:
        """Append the maps of the next row of the index; None for an image without. FaultError when it cannot be written."""
        if maps is None:
            self._rows.append(ABSENT)
            return
        row: list[int] = []
        try:
            for path, data in zip(members_of(name), maps, strict=True):
                member = tarfile.TarInfo(path)
                member.size = len(data)
                self._tar.addfile(member, io.BytesIO(data))
                row += [self._tar.offset - _padded(len(data)), len(data)]
        except OSError as error:
            raise explained(error, path=self.folder / TAR) from error
        self._rows.append(tuple(row))

    def finish(self) -> None:
        """Give the tar its name, and write the table. FaultError when it cannot be written."""
        try:
            self._tar.close()
            self._stream.flush()
            os.fsync(self._stream.fileno())
            adopt(self._temporary, self.folder / TAR)
            self._stream.close()
        except OSError as error:
            raise explained(error, path=self.folder / TAR) from error
        table = io.BytesIO()
        np.save(table, np.array(self._rows, np.int64).reshape(-1, 4))
        write_atomic(self.folder / TABLE, table.getvalue())


class _Shard:
    """The open files of a packed shard."""

    def __init__(self, folder: Path) -> None:
        self.stream = open(folder / TAR, "rb")  # noqa: SIM115
        self.table: NDArray[np.int64] = np.load(folder / TABLE, mmap_mode="r")

    def __del__(self) -> None:
        if hasattr(self, "stream"):
            self.stream.close()


def members_of(name: str) -> tuple[str, str]:
    """The paths of an image's class map and confidence map, in the tar or below the folder of an unpacked shard."""
    return f"labels/{name}.png", f"confidence/{name}.png"


def is_packed(shard: Path) -> bool:
    """Whether the maps of a finished shard are in one file."""
    return (shard / TABLE).exists()


def read(shard: Path, number: int) -> Maps:
    """The maps of row `number` of a packed shard's index. Safe in threads and forked processes. InputError when they cannot be
    read."""
    try:
        files = _opened(shard)
        return _read(files.stream.fileno(), tuple(map(int, files.table[number])))
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise InputError(f"{shard / TAR}: cannot be read ({error}); label the shard again with --force") from error


@functools.lru_cache(maxsize=OPEN)
def _opened(shard: Path) -> _Shard:
    return _Shard(shard)


def _read(descriptor: int, place: Where) -> Maps:
    """One read for both maps, which are neighbours."""
    begin, first, second, size = place
    end = second + size
    data = os.pread(descriptor, end - begin, begin)
    if not first or len(data) < end - begin:
        raise EOFError(f"no maps at byte {begin}")
    return data[:first], data[second - begin :]


def _best_of(folder: Path) -> tuple[Path, dict[str, Where]]:
    """The file of a killed attempt that holds the most images, and the places of their maps; nothing without such a file."""
    found = [(path, _places_in(path)) for path in [folder / TAR, *sorted(folder.glob(f"{TEMPORARY}*-{TAR}"))]]
    return max(found, key=lambda left: len(left[1]), default=(folder, {}))


def _places_in(path: Path) -> dict[str, Where]:
    """{name: offset and size of class map and confidence map} of the images that are whole in the file of an attempt."""
    try:
        size, members = path.stat().st_size, list(_members(path))
    except OSError:  # the other attempt has just finished
        return {}
    whole = [member for member in members if member.offset_data + member.size <= size]
    found: dict[str, Where] = {}
    for label, confidence in zip(whole[::2], whole[1::2], strict=False):
        name = label.name.removeprefix("labels/").removesuffix(".png")
        found[name] = (label.offset_data, label.size, confidence.offset_data, confidence.size)
    return found


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar up to where it ends or breaks off."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            yield from tar
    except tarfile.TarError:
        return


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
