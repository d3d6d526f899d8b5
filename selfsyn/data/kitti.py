"""KITTI: the 200 labelled frames of the semantics benchmark, and the raw drives as unlabelled images.

There is no official validation split. Ours: `val` is every fifth labelled frame (000000_10, 000005_10, ...), 40 in all; `train`
is the other 160. Labels are Cityscapes label ids.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from selfsyn.data.cityscapes import LABEL_IDS, refuse_train_ids
from selfsyn.data.dataset import DataSet, named
from selfsyn.data.plain import pictures
from selfsyn.errors import InputError
from selfsyn.files import read_text
from selfsyn.progress import say

VAL_EVERY = 5
FRAME = re.compile(r"\d+_10")  # NNNNNN_11 is the next frame of the pair, which has no label
MAPPING = "train_mapping.txt"  # from KITTI's scene-flow devkit: the raw drive of each labelled frame
HALVES = ("train", "val", "all")
SPLITS = (*HALVES, "test")


def _of_split(found: dict[str, Path], split: str) -> dict[str, Path]:
    if split == "all":
        return found
    # By the number in the name, not by the position: a missing frame must not move the others into another split.
    return {name: path for name, path in found.items() if (int(name[:-3]) % VAL_EVERY == 0) == (split == "val")}


def _frames(root: Path, folder: str, split: str) -> dict[str, Path]:
    if split not in SPLITS:
        raise InputError(f"{root}: split {split!r} of layout kitti; expected one of {', '.join(SPLITS)}")
    if split == "test":
        return pictures(root / "testing" / folder)
    found = {name: path for name, path in pictures(root / "training" / folder).items() if FRAME.fullmatch(name)}
    return _of_split(found, split)


def _second_of_pair(path: Path) -> str:
    return "of the second moment of a pair, which has no label" if path.stem.endswith("_11") else ""


def _raw(root: Path, split: str) -> dict[str, Path]:
    labelled = _drives_of_labelled_frames(root)
    found = root.glob("*/*_sync/image_02/data/*.[pP][nN][gG]")
    return named((f"{path.parents[2].name}_{path.stem}", path) for path in found if path.parents[2].name not in labelled)


def _cameras(root: Path, split: str) -> list[Path]:
    labelled = _drives_of_labelled_frames(root)
    return [folder for folder in sorted(root.glob("*/*_drive_*/image_02")) if folder.parent.name not in labelled]


def _unrectified(path: Path) -> str:
    return "of an unrectified drive (_extract)" if path.parents[2].name.endswith("_extract") else ""


def _drives_of_labelled_frames(root: Path) -> frozenset[str]:
    mapping = root / MAPPING
    if not mapping.is_file():
        _say_no_mapping(root)
        return frozenset()
    lines = (line.split() for line in read_text(mapping).splitlines())
    drives = frozenset(words[1] for words in lines if len(words) == 3)
    if not drives:
        raise InputError(f"{mapping}: no drive in it; expected lines of date, drive and frame; copy it again from the devkit")
    return drives


@cache  # a job lists its images several times
def _say_no_mapping(root: Path) -> None:
    say(f"{root}: no {MAPPING} (from KITTI's scene-flow devkit): drives of labelled frames may be among the unlabelled ones")


KITTI = DataSet(
    find_images=lambda root, split: _frames(root, "image_2", split),
    find_labels=lambda root, split: _frames(root, "semantic", split),
    names=LABEL_IDS,
    expects="training/image_2/NNNNNN_10.png and training/semantic/NNNNNN_10.png",
    unlabelled=frozenset({"test"}),
    verify=refuse_train_ids,
    areas=lambda root, split: [root / ("testing" if split == "test" else "training") / "image_2"],
    halves=HALVES,
    reason=_second_of_pair,
)

KITTI_RAW = DataSet(
    find_images=_raw,
    find_labels=lambda root, split: {},
    names=LABEL_IDS,
    areas=_cameras,
    reason=_unrectified,
    expects="DATE/DATE_drive_NNNN_sync/image_02/data/NNNNNNNNNN.png, without labels",
)
