"""Results of an earlier check, kept in the run folder and reused while everything that they depend on is unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfsyn.files import digest_bytes, digest_lines, write_json

if TYPE_CHECKING:
    from selfsyn.doctor.listing import Listing

FOLDER = "doctor"
FORMAT = 5  # raised when a check finds other facts in the same files, or writes them in another form


def recall(path: Path, *, key: str) -> dict[str, Any] | None:
    """The contents that `keep` of this version wrote with the same key, or None."""
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return kept["contents"] if (kept.get("format"), kept.get("key")) == (FORMAT, key) else None


def keep(path: Path, contents: Mapping[str, Any], *, key: str) -> None:
    """Write `contents`, atomically. FaultError when there is no room."""
    write_json(path, {"format": FORMAT, "key": key, "contents": contents})


def key_of(listings: Sequence[Listing]) -> str:
    """A digest of what a check depends on: each data set's id table, and the names, sizes and times of its files."""
    return digest_lines(line for listing in listings for line in _lines(listing))


def _lines(listing: Listing) -> Iterator[str]:
    role, kind = listing.role, listing.kind
    yield f"{role.where}\t{role.folder.layout}\t{listing.root}\t{listing.to_come}\t{sorted(kind.known)}"
    yield digest_bytes(kind.table.tobytes())
    yield "\t".join((*kind.classes.names, *(f"{k} {name}" for k, name in sorted(kind.name_of.items()))))
    for files in (listing.images, listing.labels):
        for name, path in sorted(files.items()):
            yield f"{name}\t{path}\t{_stamp(path)}"


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        return str(error.strerror)
    return f"{found.st_size}\t{found.st_mtime_ns}\t{found.st_ctime_ns}"
