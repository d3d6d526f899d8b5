"""SYNTHIA-RAND-CITYSCAPES: RGB/NNNNNNN.png and GT/LABELS/NNNNNNN.png, 16-bit RGB with the class in the first channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures
from selfsyn.errors import InputError
from selfsyn.images import read_unchanged
from selfsyn.labels import id_table

# The 16 classes that every published result uses; terrain, truck and train never occur, and void, parking, road work and
# lane marking are ignored (the data set's README, and the readers of AdaptSegNet and ProDA).
TRAIN_ID_OF_SYNTHIA_ID = id_table(
    {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 1: 10, 10: 11, 17: 12, 8: 13, 19: 15, 12: 17, 11: 18}
)
LARGEST_ID = 22


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
    table=TRAIN_ID_OF_SYNTHIA_ID,
    known=frozenset(range(LARGEST_ID + 1)),
    expects="RGB/NNNNNNN.png and GT/LABELS/NNNNNNN.png",
    read=read_class_channel,
    areas=lambda root, split: [root / "RGB"],
)
