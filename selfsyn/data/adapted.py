"""Adapted images: images/NAME.png and labels/NAME.png with train ids, in one folder or in a folder for each shard."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.manifest import finished_parts


def _found(root: Path, part: str) -> dict[str, Path]:
    """The files of all shards, by name. NotReadyError when a shard is missing."""
    folders = finished_parts(root) if any(root.glob("shard-*-of-*")) else [root]
    found = {path.stem: path for folder in folders for path in (folder / part).glob("[!.]*.png")}
    return dict(sorted(found.items()))


ADAPTED = DataSet(
    find_images=lambda root, split: _found(root, "images"),
    find_labels=lambda root, split: _found(root, "labels"),
    names=None,
    expects="images/NAME.png and labels/NAME.png with train ids, as `selfsyn adapt` writes them",
)
