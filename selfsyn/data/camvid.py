"""CamVid with 11 classes and void, ids 0..11: SPLIT/images + SPLIT/labels, or SegNet's SPLIT + SPLITannot."""

from __future__ import annotations

from selfsyn.data.dataset import DataSet, Sample
from selfsyn.data.plain import pictures
from selfsyn.data.plausible import replaced
from selfsyn.errors import InputError
from selfsyn.labels import CAMVID_NAMES

ROAD = 3


def refuse_shifted_ids(sample: Sample) -> None:
    """InputError when the ids are counted from 1, behind a void of 0: every id would be known, and mean its neighbour."""
    if replaced(sample, road=ROAD) == ROAD + 1:
        raise InputError(
            f"{sample[0][0]}: the lowest third of {len(sample)} labels is mostly id {ROAD + 1}, hardly id {ROAD} (road),"
            " so the ids are counted from 1; expected sky 0 to bicyclist 10 and void 11; subtract 1, with 11 for 0"
        )


CAMVID = DataSet(
    find_images=lambda root, split: pictures(root / split / "images") or pictures(root / split),
    find_labels=lambda root, split: pictures(root / split / "labels") or pictures(root / f"{split}annot"),
    names=CAMVID_NAMES,
    verify=refuse_shifted_ids,
    areas=lambda root, split: [folder for folder in (root / split / "images", root / split) if folder.is_dir()][:1],
    expects="SPLIT/images/NAME.jpg and SPLIT/labels/NAME.png, or SPLIT/NAME.png and SPLITannot/NAME.png",
)
