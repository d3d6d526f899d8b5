"""Our own adapted images: images/NAME.png, labels/NAME.png with train ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsyn.data.dataset import DataSet
from selfsyn.labels import CLASS_COUNT, IGNORE


def _images(root: Path, split: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((root / "images").glob("[!.]*.png"))}


def _labels(root: Path, split: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((root / "labels").glob("[!.]*.png"))}


ADAPTED = DataSet(
    find_images=_images,
    find_labels=_labels,
    table=np.arange(256, dtype=np.uint8),
    known=frozenset(range(CLASS_COUNT)) | {IGNORE},
    expects="images/NAME.png and labels/NAME.png with train ids, as `selfsyn adapt` writes them",
)
