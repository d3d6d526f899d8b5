"""The 19 classes, their colours, id tables of data sets, and evaluation protocols. Never imports torch.

Ids, names and colours are Cityscapes' (cityscapesScripts, helpers/labels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError

IGNORE: Final = 255

# (name, Cityscapes label id, colour); the position is the train id.
_TABLE: Final = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)

CLASSES: Final = tuple(name for name, _, _ in _TABLE)
CLASS_COUNT: Final = len(CLASSES)
PALETTE: Final = np.array([colour for _, _, colour in _TABLE], dtype=np.uint8)


def id_table(train_ids: Mapping[int, int]) -> NDArray[np.uint8]:
    """-> (256,) uint8 table from an id on disk to a train id; ids missing in `train_ids` become IGNORE."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    for label_id, train_id in train_ids.items():
        table[label_id] = train_id
    return table


def overlaid(table: NDArray[np.uint8], ids: Mapping[str, str]) -> NDArray[np.uint8]:
    """`table` (256,) overridden by the user's ids, {"20": "road", "7": "ignore"}. InputError for an invalid id or class."""
    result = table.copy()
    for text, name in ids.items():
        if not (text.isdecimal() and int(text) < 256):
            raise InputError(f"ids: {text!r} is not an id; expected a number from 0 to 255 in quotes")
        if name not in (*CLASSES, "ignore"):
            raise InputError(f"ids: {text} = {name!r} is not a class; expected one of {', '.join(CLASSES)}, or ignore")
        result[int(text)] = IGNORE if name == "ignore" else CLASSES.index(name)
    return result


TRAIN_ID_OF_LABEL_ID: Final = id_table({label_id: train_id for train_id, (_, label_id, _) in enumerate(_TABLE)})
LABEL_ID_OF_TRAIN_ID: Final = np.array([label_id for _, label_id, _ in _TABLE] + [0] * (256 - CLASS_COUNT), dtype=np.uint8)
# Ids that Cityscapes defines: 0..33, and 255 for the licence plate's -1 in eight bits.
CITYSCAPES_IDS: Final = frozenset(range(34)) | {255}

# CamVid, the 11-class SegNet form: sky building pole road pavement tree sign fence car pedestrian bicyclist void.
# A bicyclist covers rider and bicycle: in training it is a rider, and the protocol merges both.
CAMVID_IDS: Final = frozenset(range(12))
TRAIN_ID_OF_CAMVID_ID: Final = id_table({0: 10, 1: 2, 2: 5, 3: 0, 4: 1, 5: 8, 6: 7, 7: 4, 8: 13, 9: 11, 10: 12})


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol: how counts of train ids become scores.

    names: its classes, in order.  merge: (19,) position in `names` of each train id.
    left_out: classes without a score; predicting them is wrong.  ignored: classes whose true pixels do not count.
    variants: protocols whose scores are shown as well.
    """

    key: str
    names: tuple[str, ...]
    merge: NDArray[np.int64]
    left_out: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    variants: tuple[Protocol, ...] = ()

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes with a score, in order."""
        return tuple(name for name in self.names if name not in self.left_out)


def _camvid() -> Protocol:
    names = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    merged = {
        "sky": "sky", "building": "building", "pole": "pole", "road": "road", "sidewalk": "pavement",
        "vegetation": "tree", "terrain": "tree", "traffic sign": "sign", "traffic light": "sign", "fence": "fence",
        "wall": "fence", "car": "car", "truck": "car", "bus": "car", "train": "car", "person": "pedestrian",
        "rider": "bicyclist", "bicycle": "bicyclist", "motorcycle": "bicyclist",
    }  # fmt: skip
    return Protocol("camvid-11", names, np.array([names.index(merged[name]) for name in CLASSES]))


# SYNTHIA-RAND-CITYSCAPES lacks three of the 19 classes. The 13-class mIoU is the mean of 13 of the 16 IoUs; the other three
# classes are neither merged nor ignored. Published code treats true pixels of the three missing classes in two ways, and both
# are shown: A in AdaptSegNet, Seg-Uncertainty and DAFormer, B in CRST and ProDA (its 16-class data set).
_NOT_IN_SYNTHIA: Final = ("terrain", "truck", "train")
_NOT_IN_13: Final = (*_NOT_IN_SYNTHIA, "wall", "fence", "pole")
VARIANTS: Final = (
    f"A: true pixels of {', '.join(_NOT_IN_SYNTHIA)} count as false positives of the predicted class; B: they are ignored"
)


def _synthia(key: str, *, left_out: tuple[str, ...], ignored: tuple[str, ...] = ()) -> Protocol:
    return Protocol(key, CLASSES, np.arange(CLASS_COUNT), left_out, ignored)


_SYNTHIA_VARIANTS: Final = (
    _synthia("synthia-16 A", left_out=_NOT_IN_SYNTHIA),
    _synthia("synthia-16 B", left_out=_NOT_IN_SYNTHIA, ignored=_NOT_IN_SYNTHIA),
    _synthia("synthia-13 A", left_out=_NOT_IN_13),
    _synthia("synthia-13 B", left_out=_NOT_IN_13, ignored=_NOT_IN_SYNTHIA),
)

PROTOCOLS: Final = {
    "cityscapes-19": Protocol("cityscapes-19", CLASSES, np.arange(CLASS_COUNT)),
    "camvid-11": _camvid(),
    "synthia-16": replace(_SYNTHIA_VARIANTS[0], key="synthia-16", variants=_SYNTHIA_VARIANTS),
    "synthia-13": replace(_SYNTHIA_VARIANTS[2], key="synthia-13", variants=_SYNTHIA_VARIANTS),
}


def protocol(key: str) -> Protocol:
    """The protocol named `key`. InputError for an unknown one."""
    if key not in PROTOCOLS:
        raise InputError(f"protocol {key!r} is not known; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[key]


def colourise(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) train ids -> (H, W, 3) RGB in Cityscapes' colours; IGNORE is black."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[:CLASS_COUNT] = PALETTE
    return colours[label]
