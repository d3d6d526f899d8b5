"""CamVid, 11 classes: SPLIT/images/NAME.jpg (or .png) and SPLIT/labels/NAME.png with ids 0..11."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.labels import CAMVID_IDS, TRAIN_ID_OF_CAMVID_ID


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*")) if path.suffix.lower() in (".png", ".jpg", ".jpeg")}


def _images(root: Path, split: str) -> dict[str, Path]:
    return _pictures(root / split / "images")


def _labels(root: Path, split: str) -> dict[str, Path]:
    return _pictures(root / split / "labels")


CAMVID = DataSet(
    find_images=_images,
    find_labels=_labels,
    table=TRAIN_ID_OF_CAMVID_ID,
    known=CAMVID_IDS,
    expects="SPLIT/images/NAME.jpg and SPLIT/labels/NAME.png",
)
