"""SYNTHIA-RAND-CITYSCAPES: RGB/NNNNNNN.png and GT/LABELS/NNNNNNN.png, 16-bit RGB with the class in the first channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures
from selfsyn.errors import InputError
from selfsyn.images import read_unchanged

# The 16 classes that every published result uses, as Cityscapes names them; terrain (16), truck (18) and train (20) never occur
# (the data set's README, and the readers of AdaptSegNet and ProDA).
NAMES = dict(
    enumerate(
        (
            *("void", "sky", "building", "road", "sidewalk", "fence", "vegetation", "pole", "car", "traffic sign", "person"),
            *("bicycle", "motorcycle", "parking", "road work", "traffic light", "void", "rider", "void", "bus", "void", "wall"),
            "lane marking",
        )
    )
)
LARGEST_ID = max(NAMES)


def read_class_channel(path: Path) -> NDArray[np.uint8]:
    """-> (H, W) uint8 classes. InputError unless the file is a 16-bit RGB PNG with classes up to 22."""
    image_HWC = read_unchanged(path)
    if image_HWC.dtype != np.uint16 or image_HWC.ndim != 3:
        found = f"{8 * image_HWC.dtype.itemsize} bits, {image_HWC.shape[2] if image_HWC.ndim == 3 else 1} channels"
        raise InputError(f"{path}: {found}; expected a 16-bit RGB label of SYNTHIA-RAND-CITYSCAPES (GT/LABELS, not GT/COLOR)")
    classes = image_HWC[..., 2]  # red
    if classes.max(initial=0) > LARGEST_ID:
        raise InputError(f"{path}: class {classes.max()} in the first channel; expected 0..{LARGEST_ID}; is it another data set?")
    return classes.astype(np.uint8)


SYNTHIA_RAND = DataSet(
    find_images=lambda root, split: pictures(root / "RGB"),
    find_labels=lambda root, split: pictures(root / "GT" / "LABELS"),
    names=NAMES,
    expects="RGB/NNNNNNN.png and GT/LABELS/NNNNNNN.png",
    read=read_class_channel,
    areas=lambda root, split: [root / "RGB"],
)
