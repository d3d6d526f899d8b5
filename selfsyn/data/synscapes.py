"""Synscapes, 25,000 frames: img/rgb/N.png and img/class/N.png with Cityscapes' label ids.

Not checked against files of the data set: folders are those of its home page, which says that the classes follow Cityscapes;
labels that look like train ids are refused. img/rgb-2k holds the same frames at the size of Cityscapes, without such labels.
"""

from __future__ import annotations

from selfsyn.data.cityscapes import LABEL_IDS, refuse_train_ids
from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures

SYNSCAPES = DataSet(
    find_images=lambda root, split: pictures(root / "img" / "rgb"),
    find_labels=lambda root, split: pictures(root / "img" / "class"),
    names=LABEL_IDS,
    expects="img/rgb/N.png and img/class/N.png",
    verify=refuse_train_ids,
    areas=lambda root, split: [root / "img" / "rgb"],
)
