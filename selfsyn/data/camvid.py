"""CamVid with 11 classes and void, ids 0..11: SPLIT/images + SPLIT/labels, or SegNet's SPLIT + SPLITannot."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures
from selfsyn.labels import CAMVID_IDS, TRAIN_ID_OF_CAMVID_ID


def _images(root: Path, split: str) -> dict[str, Path]:
    return pictures(root / split / "images") or pictures(root / split)


def _labels(root: Path, split: str) -> dict[str, Path]:
    return pictures(root / split / "labels") or pictures(root / f"{split}annot")


CAMVID = DataSet(
    find_images=_images,
    find_labels=_labels,
    table=TRAIN_ID_OF_CAMVID_ID,
    known=CAMVID_IDS,
    expects="SPLIT/images/NAME.jpg and SPLIT/labels/NAME.png, or SPLIT/NAME.png and SPLITannot/NAME.png",
)
