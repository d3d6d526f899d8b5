"""Cityscapes: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png (label ids)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selfsyn.classes import CITYSCAPES_19, CITYSCAPES_NAMES
from selfsyn.data.dataset import DataSet, Sample, named
from selfsyn.errors import InputError
from selfsyn.labels import IGNORE

# Common as train ids (sidewalk, building, wall, fence, pole, light), rare as label ids (ego vehicle, rectification border, out of
# roi, static, dynamic, ground).
LOW_IDS, ROAD = range(1, 7), 7
LABEL_IDS = CITYSCAPES_NAMES | {IGNORE: "license plate"}  # -1 in eight bits
LARGEST_TRAIN_ID = len(CITYSCAPES_19) + 1  # of an encoding of train ids, where void or an offset is counted in
FEW = 3  # ids in all labels that are looked at; with fewer, nothing can be told


def _with_ending(folder: Path, ending: str) -> dict[str, Path]:
    paths = (path for path in folder.glob("*/*") if path.name.lower().endswith(ending.lower()))
    return named((path.name[: -len(ending)], path) for path in paths)


def refuse_train_ids(sample: Sample) -> None:
    """InputError when the labels look like train ids instead of label ids: both use 0..18, so no other check would notice.

    The evidence: vegetation (21), sky (23) and car (26) are in every street, and no label has an id above 20; and there are ids
    that label ids hardly use (1 to 6), or 0 without a road (7).
    """
    ids = {int(k) for _, array in sample for k in np.unique(array)} - {IGNORE}
    unusual = bool(ids & set(LOW_IDS)) or (0 in ids and ROAD not in ids)
    if len(ids) >= FEW and max(ids) <= LARGEST_TRAIN_ID and unusual:
        raise InputError(
            f"{sample[0][0]}: ids {sorted(ids)} in {len(sample)} labels look like train ids; expected label ids (car is 26,"
            " not 13); use the *_labelIds.png files, or layout 'plain' with a table of ids"
        )


CITYSCAPES = DataSet(
    find_images=lambda root, split: _with_ending(root / "leftImg8bit" / split, "_leftImg8bit.png"),
    find_labels=lambda root, split: _with_ending(root / "gtFine" / split, "_gtFine_labelIds.png"),
    names=LABEL_IDS,
    expects="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
    unusable={"troisdorf_000000_000073": "an all-black image"},
    unlabelled=frozenset({"test"}),  # gtFine/test holds dummies
    verify=refuse_train_ids,
    areas=lambda root, split: [root / "leftImg8bit" / split],
)
