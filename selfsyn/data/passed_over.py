"""Picture files among the images of a data set that are no frame of it, by reason: no picture is lost without a word."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.files import printable

PICTURES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".avif", ".heic", ".ppm", ".pgm",
    ".pnm", ".exr", ".hdr", ".tga", ".dng", ".raw",
))  # fmt: skip


def passed_over(kind: DataSet, root: Path, *, split: str) -> dict[str, list[Path]]:
    """{reason: picture files, sorted} of the files in the folders of a split's images that are no frame. No file is opened.

    Hidden files are no pictures (macOS writes ._NAME beside each file).
    """
    splits = kind.halves if split in kind.halves else (split,)
    frames = {path for each in splits for path in kind.find_images(root, each).values()}
    endings, folders = {path.suffix.lower() for path in frames}, {path.parent for path in frames}
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for path in (path for area in kind.areas(root, split) for path in _pictures_below(area) if path not in frames):
        by_reason[kind.reason(path) or _reason(path, endings, folders)].append(path)
    return {reason: sorted(paths) for reason, paths in sorted(by_reason.items())}


def words(by_reason: Mapping[str, list[Path]]) -> str:
    """'2 with the ending .tif, first PATH; 1 in a folder that the layout does not read, first PATH'; '' without files."""
    return "; ".join(f"{len(paths)} {reason}, first {printable(paths[0])}" for reason, paths in by_reason.items())


def _reason(path: Path, endings: set[str], folders: set[Path]) -> str:
    if endings and path.suffix.lower() not in endings:
        return f"with the ending {printable(Path(path.suffix))}"
    if folders and path.parent not in folders:
        return "in a folder that the layout does not read"
    return "with a name that the layout does not use"


def _pictures_below(area: Path) -> Iterator[Path]:
    """The picture files in a folder and its folders, links followed once."""
    seen = set()
    for folder, folders, files in os.walk(area, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURES:
                yield path
