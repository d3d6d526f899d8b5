"""Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png (label ids)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsyn.data.dataset import DataSet, Sample
from selfsyn.errors import InputError
from selfsyn.labels import CITYSCAPES_IDS, CLASS_COUNT, IGNORE, TRAIN_ID_OF_LABEL_ID

# Common as train ids (sidewalk, building, wall, fence, pole, light), rare as label ids (ego vehicle, rectification border, out of
# roi, static, dynamic, ground).
LOW_IDS = range(1, 7)


def _with_ending(folder: Path, ending: str) -> dict[str, Path]:
    return {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*/*{ending}"))}


def refuse_train_ids(sample: Sample) -> None:
    """InputError when the labels look like train ids instead of label ids: both use 0..18, so no other check would notice."""
    ids = {int(k) for _, array in sample for k in np.unique(array)} - {IGNORE}
    if len(ids) > 4 and max(ids) < CLASS_COUNT and ids & set(LOW_IDS):
        raise InputError(
            f"{sample[0][0]}: ids {sorted(ids)} in {len(sample)} labels look like train ids; expected label ids (car is 26,"
            " not 13); use the *_labelIds.png files, or layout 'plain' with a table of ids"
        )


CITYSCAPES = DataSet(
    find_images=lambda root, split: _with_ending(root / "leftImg8bit" / split, "_leftImg8bit.png"),
    find_labels=lambda root, split: _with_ending(root / "gtFine" / split, "_gtFine_labelIds.png"),
    table=TRAIN_ID_OF_LABEL_ID,
    known=CITYSCAPES_IDS,
    expects="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
    unusable={"troisdorf_000000_000073": "an all-black image"},
    unlabelled=frozenset({"test"}),  # gtFine/test holds dummies
    verify=refuse_train_ids,
)
