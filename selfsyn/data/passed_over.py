"""Picture files among the images of a data set that are no frame of it, by reason: no picture is lost without a word."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.files import printable

# ruff: noqa: PTH118, PTH119, PTH120, PTH122  (text is several times faster than Path)
PICTURES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".avif", ".heic", ".ppm", ".pgm",
    ".pnm", ".exr", ".hdr", ".tga", ".dng", ".raw",
))  # fmt: skip


def passed_over(kind: DataSet, root: Path, *, split: str, found: Mapping[str, Path] | None = None) -> dict[str, list[Path]]:
    """{reason: picture files, sorted} of the files in the folders of a split's images that are no frame. No file is opened.

    Hidden files are no pictures (macOS writes ._NAME beside each file).  found: the frames of the split, if they are known.
    """
    others = [each for each in kind.halves if each != split] if split in kind.halves else []
    mine = kind.find_images(root, split) if found is None else found
    frames = {os.fspath(path) for part in (mine, *(kind.find_images(root, each) for each in others)) for path in part.values()}
    left = [
        place for area in kind.areas(root, split) for place in _files_below(area) if place not in frames and _is_picture(place)
    ]
    if not left:
        return {}
    endings, folders = {os.path.splitext(path)[1].lower() for path in frames}, {os.path.dirname(path) for path in frames}
    endings = endings or {ending for ending in PICTURES if ending in kind.expects}
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for path in map(Path, left):
        by_reason[kind.reason(path) or _reason(path, endings, folders)].append(path)
    return {reason: sorted(paths) for reason, paths in sorted(by_reason.items())}


def words(by_reason: Mapping[str, list[Path]]) -> str:
    """'2 with the ending .tif, first PATH; 1 in a folder that the layout does not read, first PATH'; '' without files."""
    return "; ".join(f"{len(paths)} {reason}, first {printable(paths[0])}" for reason, paths in by_reason.items())


def _reason(path: Path, endings: set[str], folders: set[str]) -> str:
    if endings and path.suffix.lower() not in endings:
        return f"with the ending {printable(Path(path.suffix))}"
    if folders and os.fspath(path.parent) not in folders:
        return "in a folder that the layout does not read"
    return "with a name that the layout does not use"


def _is_picture(path: str) -> bool:
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURES


def _files_below(area: Path) -> Iterator[str]:
    """The paths of the files in a folder and its folders, links followed once. Text: 25,000 Paths take a second."""
    seen = set()
    for folder, folders, files in os.walk(area, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (os.path.join(folder, name) for name in files)
