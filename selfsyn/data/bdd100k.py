"""BDD100K's 10,000 images: images/10k/SPLIT/NAME.jpg, labels/sem_seg/masks/SPLIT/NAME.png with Cityscapes' train ids and 255.

Not checked against files of the data set: folders and ids are those of its documentation. The test split has no labels.
"""

from __future__ import annotations

from selfsyn.classes import CITYSCAPES_19
from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures
from selfsyn.labels import IGNORE

BDD100K = DataSet(
    find_images=lambda root, split: pictures(root / "images" / "10k" / split),
    find_labels=lambda root, split: pictures(root / "labels" / "sem_seg" / "masks" / split),
    names=dict(enumerate(CITYSCAPES_19.names)) | {IGNORE: "void"},
    expects="images/10k/SPLIT/NAME.jpg and labels/sem_seg/masks/SPLIT/NAME.png",
    unlabelled=frozenset({"test"}),
    areas=lambda root, split: [root / "images" / "10k" / split],
)
