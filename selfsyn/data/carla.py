"""CARLA's semantic camera: images/NAME.* with labels/NAME.png, or CameraRGB/NAME.png with CameraSeg/NAME.png.

The tag of a pixel is the first channel of an RGB label, as CARLA saves it, or the value of an 8-bit label. CARLA 0.9.14
renumbered the tags (its CHANGELOG): there are two layouts, and labels of the other numbering are recognised and refused. Splits
are ours, because neighbouring frames look alike: `val` is every fifth clip, `train` the others; a gap of more than 50 in the
frame numbers begins a clip.

Checked against files of others: 850 frames of CARLA 0.9.11 (8-bit) and six of the Lyft challenge (RGB). Not checked against
files: the newer numbering, which is that of CARLA's ObjectLabel.h and CityScapesPalette.h.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from selfsyn.classes import CITYSCAPES_19
from selfsyn.data.dataset import DataSet, Sample
from selfsyn.data.plain import pictures
from selfsyn.data.plausible import HARDLY, MOST, in_lowest_third
from selfsyn.data.synthia_sf import read_first_channel
from selfsyn.errors import InputError

# CARLA calls all its vehicles by one tag, and people with bicycles pedestrians.
OLD = dict(
    enumerate(
        (
            *("unlabeled", "building", "fence", "other", "person", "pole", "road line", "road", "sidewalk", "vegetation", "car"),
            *("wall", "traffic sign", "sky", "ground", "bridge", "rail track", "guard rail", "traffic light", "static"),
            *("dynamic", "water", "terrain"),
        )
    )
)
NEW = dict(
    enumerate(
        (
            *("unlabeled", *CITYSCAPES_19.names, "static", "dynamic", "other", "water", "road line", "ground", "bridge"),
            *("rail track", "guard rail"),
        )
    )
)
OLD_LAYOUT, NEW_LAYOUT = "carla-0.9.11", "carla-0.9.14"
SPLITS = ("train", "val", "all")
VAL_EVERY = 5  # clips
LARGEST_GAP = 50  # between the numbers of neighbouring frames of a clip
FOLDERS = (("images", "labels"), ("CameraRGB", "CameraSeg"))


def _of_split(found: dict[str, Path], split: str) -> dict[str, Path]:
    if split == "all":
        return found
    clips = clips_of(list(found))
    return {name: path for name, path in found.items() if (clips[name] % VAL_EVERY == 0) == (split == "val")}


def clips_of(names: list[str]) -> dict[str, int]:
    """The clip of each frame, counted from 0 in the order of the last numbers in the names; names without a number are clip 0."""
    numbers = {name: int((re.findall(r"\d+", name) or ["0"])[-1]) for name in names}
    clips, clip, before = {}, 0, None
    for name in sorted(names, key=lambda name: (numbers[name], name)):
        clip += before is not None and numbers[name] - before > LARGEST_GAP
        clips[name], before = clip, numbers[name]
    return clips


def _images(root: Path, split: str) -> dict[str, Path]:
    if split not in SPLITS:
        raise InputError(f"{root}: split {split!r} of CARLA's layouts; expected one of {', '.join(SPLITS)}")
    return _of_split(next((found for folder, _ in FOLDERS if (found := pictures(root / folder))), {}), split)


def _labels(root: Path, split: str) -> dict[str, Path]:
    # All of them: which frames a split has follows from its images.
    return next((found for _, folder in FOLDERS if (found := pictures(root / folder))), {})


def _refuse(sample: Sample, *, names: dict[int, str], others: dict[int, str], instead: str) -> None:
    """InputError when the tags are of the other numbering: the lowest third of a street is road, in one or the other tag."""
    shares = in_lowest_third(sample)
    ours, theirs = (sum(shares[tag] for tag, name in table.items() if name in ("road", "road line")) for table in (names, others))
    if theirs > MOST and ours < HARDLY:
        raise InputError(
            f"{sample[0][0]}: {100 * theirs:.0f} % of the lowest third of {len(sample)} labels is road in the other numbering of"
            f" CARLA's tags, {100 * ours:.0f} % in this one; expected labels of the layout; set layout = {instead!r}"
        )


def refuse_new_tags(sample: Sample) -> None:
    """InputError when labels of the old numbering look like the new one."""
    _refuse(sample, names=OLD, others=NEW, instead=NEW_LAYOUT)


def refuse_old_tags(sample: Sample) -> None:
    """InputError when labels of the new numbering look like the old one."""
    _refuse(sample, names=NEW, others=OLD, instead=OLD_LAYOUT)


def _areas(root: Path, split: str) -> list[Path]:
    return [root / folder for folder, _ in FOLDERS if (root / folder).is_dir()]


EXPECTS = "images/NAME.png (or .jpg) and labels/NAME.png, or CameraRGB/NAME.png and CameraSeg/NAME.png"
CARLA_OLD = DataSet(
    find_images=_images,
    find_labels=_labels,
    names=OLD,
    expects=EXPECTS,
    read=read_first_channel,
    verify=refuse_new_tags,
    areas=_areas,
    halves=SPLITS,
)
CARLA_NEW = replace(CARLA_OLD, names=NEW, verify=refuse_old_tags)
