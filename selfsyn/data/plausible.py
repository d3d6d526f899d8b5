"""Evidence that labels are drawn in other ids than their table says: what a street shows in its lowest third.

A camera on a car sees the road there. In CamVid's 468 labelled frames, road covers 28 % or more of the lowest third of each, and
71 % or more of any six that are spread over a split; sidewalk covers 18 % on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, ClassList
from selfsyn.data.dataset import Sample

MOST, HARDLY = 0.3, 0.05  # shares of the lowest third
ROAD = "road"
ENOUGH = 3  # labels; with fewer, nothing can be told


def in_lowest_third(sample: Sample) -> NDArray[np.float64]:
    """-> (256,) share of each id on disk in the lowest third of the labels, 0..1."""
    counts = np.zeros(256)
    for _, ids in sample:
        counts += np.bincount(ids[2 * len(ids) // 3 :].ravel(), minlength=256)
    return counts / max(1.0, counts.sum())


def replaced(sample: Sample, *, road: int) -> int | None:
    """The id that lies where streets have their road, if the labels hardly have `road` there; None otherwise."""
    shares = in_lowest_third(sample)
    other = int(shares.argmax())
    return other if len(sample) >= ENOUGH and shares[other] > MOST and shares[road] < HARDLY else None


def doubt(sample: Sample, *, table: NDArray[np.uint8], classes: ClassList = CITYSCAPES_19) -> str:
    """Why labels that `table` (256,) turns into train ids may be drawn in other ids, or ''; '' too for classes without a road."""
    names = classes.names
    if ROAD not in names:
        return ""
    by_train_id = np.bincount(table, weights=in_lowest_third(sample), minlength=256)[: len(names)]
    other, road = int(by_train_id.argmax()), by_train_id[names.index(ROAD)]
    if len(sample) < ENOUGH or road >= HARDLY or by_train_id[other] <= MOST:
        return ""
    found = f"{100 * by_train_id[other]:.0f} % {names[other]} and {100 * road:.0f} % {ROAD}"
    return f"the lowest third of {len(sample)} labels is {found}"
