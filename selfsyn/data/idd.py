"""India Driving Dataset: leftImg8bit/SPLIT/DRIVE/*_leftImg8bit.* and gtFine/SPLIT/DRIVE/*_gtFine_labellevel3Ids.png, 26 ids.

The files with the ids of level 3 are made by the data set's own tool (AutoNUE, preperation/createLabels.py --id-type level3Id).
IDD Lite: leftImg8bit/SPLIT/DRIVE/*_image.jpg and gtFine/SPLIT/DRIVE/*_label.png, the seven ids of level 1.
Not checked against files of the data sets: folders, names and ids are those of AutoNUE and of users' readers.
"""

from __future__ import annotations

from pathlib import Path

from selfsyn.classes import IDD_LITE_7
from selfsyn.data.dataset import DataSet, named
from selfsyn.labels import IGNORE

# Level 3 of AutoNUE's table, in Cityscapes' words where both mean the same.
LEVEL_3 = (
    *("road", "drivable fallback", "sidewalk", "non-drivable fallback", "person", "rider", "motorcycle", "bicycle"),
    *("autorickshaw", "car", "truck", "bus", "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard"),
    *("traffic sign", "traffic light", "pole", "obstacle fallback", "building", "bridge", "vegetation", "sky", "void"),
)
VOID = {IGNORE: "void", 254: "void"}


def _ends(path: Path, ending: str) -> bool:
    return path.name.lower().endswith(ending.lower())


def _found(area: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """{DRIVE_NAME: path}: names repeat in other drives."""
    paths = ((path, ending) for path in area.glob("*/*") for ending in endings if _ends(path, ending))
    return named((f"{path.parent.name}_{path.name[: -len(ending)]}", path) for path, ending in paths)


IDD = DataSet(
    find_images=lambda root, split: _found(root / "leftImg8bit" / split, ("_leftImg8bit.png", "_leftImg8bit.jpg")),
    find_labels=lambda root, split: _found(root / "gtFine" / split, ("_gtFine_labellevel3Ids.png",)),
    names=dict(enumerate(LEVEL_3)) | VOID,
    expects="leftImg8bit/SPLIT/DRIVE/*_leftImg8bit.png (or .jpg) and gtFine/SPLIT/DRIVE/*_gtFine_labellevel3Ids.png",
    unlabelled=frozenset({"test"}),
    areas=lambda root, split: [root / "leftImg8bit" / split],
)
IDD_LITE = DataSet(
    find_images=lambda root, split: _found(root / "leftImg8bit" / split, ("_image.jpg", "_image.png")),
    find_labels=lambda root, split: _found(root / "gtFine" / split, ("_label.png",)),
    names=dict(enumerate(IDD_LITE_7.names)) | VOID,
    expects="leftImg8bit/SPLIT/DRIVE/*_image.jpg and gtFine/SPLIT/DRIVE/*_label.png",
    unlabelled=frozenset({"test"}),
    areas=lambda root, split: [root / "leftImg8bit" / split],
)
