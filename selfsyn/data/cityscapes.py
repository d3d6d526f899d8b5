"""Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png (label ids)."""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.dataset import DataSet
from selfsyn.labels import CITYSCAPES_IDS, TRAIN_ID_OF_LABEL_ID


def _with_ending(folder: Path, ending: str) -> dict[str, Path]:
    return {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*/*{ending}"))}


def _images(root: Path, split: str) -> dict[str, Path]:
    return _with_ending(root / "leftImg8bit" / split, "_leftImg8bit.png")


def _labels(root: Path, split: str) -> dict[str, Path]:
    return _with_ending(root / "gtFine" / split, "_gtFine_labelIds.png")


CITYSCAPES = DataSet(
    find_images=_images,
    find_labels=_labels,
    table=TRAIN_ID_OF_LABEL_ID,
    known=CITYSCAPES_IDS,
    expects="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
)
