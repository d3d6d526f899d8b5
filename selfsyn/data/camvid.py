"""CamVid with 11 classes and void, ids 0..11: SPLIT/images + SPLIT/labels, or SegNet's SPLIT + SPLITannot."""

from __future__ import annotations

from selfsyn.data.dataset import DataSet
from selfsyn.data.plain import pictures
from selfsyn.labels import CAMVID_IDS, TRAIN_ID_OF_CAMVID_ID

CAMVID = DataSet(
    find_images=lambda root, split: pictures(root / split / "images") or pictures(root / split),
    find_labels=lambda root, split: pictures(root / split / "labels") or pictures(root / f"{split}annot"),
    table=TRAIN_ID_OF_CAMVID_ID,
    known=CAMVID_IDS,
    expects="SPLIT/images/NAME.jpg and SPLIT/labels/NAME.png, or SPLIT/NAME.png and SPLITannot/NAME.png",
)
