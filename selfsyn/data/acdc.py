"""ACDC, fog, night, rain and snow: rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png, gt/.../*_gt_labelIds.png (label ids).

A split is train, val, test or train_ref, val_ref, test_ref (the same places in good weather, without labels); 'night/train' takes
one condition. Not checked against files of the data set: folders and names are those of its users' readers.
"""

from __future__ import annotations

from pathlib import Path

from selfsyn.data.cityscapes import LABEL_IDS, refuse_train_ids
from selfsyn.data.dataset import DataSet, named

CONDITIONS = ("fog", "night", "rain", "snow")
HALVES = ("train", "val", "test")
_WITHOUT = ("test", *(f"{half}_ref" for half in HALVES))
UNLABELLED = frozenset((*_WITHOUT, *(f"{condition}/{half}" for condition in CONDITIONS for half in _WITHOUT)))
IMAGE, REFERENCE, LABEL = "_rgb_anon.png", "_rgb_ref_anon.png", "_gt_labelIds.png"


def _areas(root: Path, part: str, split: str) -> list[Path]:
    condition, slash, half = split.rpartition("/")
    return [root / part / each / half for each in ((condition,) if slash else CONDITIONS)]


def _with_ending(root: Path, part: str, split: str, ending: str) -> dict[str, Path]:
    paths = (
        path for area in _areas(root, part, split) for path in area.glob("*/*") if path.name.lower().endswith(ending.lower())
    )
    return named((path.name[: -len(ending)], path) for path in paths)


ACDC = DataSet(
    find_images=lambda root, split: _with_ending(root, "rgb_anon", split, REFERENCE if split.endswith("_ref") else IMAGE),
    find_labels=lambda root, split: _with_ending(root, "gt", split, LABEL),
    names=LABEL_IDS,
    expects="rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png and gt/CONDITION/SPLIT/SEQUENCE/*_gt_labelIds.png",
    unlabelled=UNLABELLED,
    verify=refuse_train_ids,
    areas=lambda root, split: _areas(root, "rgb_anon", split),
)
