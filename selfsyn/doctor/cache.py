"""What an earlier look said, kept in the run folder as long as what it depends on is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsyn.files import digest_bytes, digest_lines, write_json

if TYPE_CHECKING:
    from selfsyn.doctor.listing import Listing

FOLDER = "doctor"
FORMAT = 2  # raised when a look says something else about the same files, or says it in another form


def recall(path: Path, *, key: str) -> dict[str, Any] | None:
    """What `keep` of this version wrote under the same key, or None."""
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return kept["contents"] if (kept.get("format"), kept.get("key")) == (FORMAT, key) else None


def keep(path: Path, contents: Mapping[str, Any], *, key: str) -> None:
    """Write `contents`, atomically. FaultError when there is no room."""
    write_json(path, {"format": FORMAT, "key": key, "contents": contents})


def key_of(listings: Sequence[Listing]) -> str:
    """The digest of what a look depends on: each data set's table of ids, and the names, sizes and times of its files."""
    return digest_lines(line for listing in listings for line in _lines(listing))


def _lines(listing: Listing) -> Iterator[str]:
    role, kind = listing.role, listing.kind
    yield f"{role.where}\t{role.folder.layout}\t{listing.root}\t{listing.to_come}\t{sorted(kind.known)}"
    yield digest_bytes(kind.table.tobytes())
    for files in (listing.images, listing.labels):
        for name, path in sorted(files.items()):
            yield f"{name}\t{path}\t{_stamp(path)}"


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return str(error.strerror)
    return f"{found.st_size}\t{found.st_mtime_ns}"
