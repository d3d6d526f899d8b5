"""Which of the known encodings a few labels are drawn in: ids are trusted only if they make a street.

The shares are rounded from Cityscapes' labels; KITTI's, CamVid's and CARLA's streets differ from them by less than the margins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, CITYSCAPES_NAMES
from selfsyn.data.carla import NEW, OLD
from selfsyn.data.dataset import DataSet, Sample
from selfsyn.data.idd import LEVEL_3
from selfsyn.data.plausible import ENOUGH
from selfsyn.errors import InputError
from selfsyn.labels import CAMVID_NAMES

# Shares of pixels in the upper and in the lowest third of a street; the other classes share the rest.
UPPER = {"building": 0.36, "vegetation": 0.34, "sky": 0.2, "pole": 0.02, "traffic sign": 0.01, "car": 0.01}
LOWEST = {"road": 0.7, "sidewalk": 0.08, "car": 0.06, "terrain": 0.04, "person": 0.01, "vegetation": 0.02, "building": 0.02}
REST = 0.003
MAIN = frozenset({"road", "building", "vegetation", "sky", "car"})  # a table without them is no street's
TYPICAL = -2.5  # nats a pixel: a street in its right encoding is above
FEW = 3  # ids in the labels; with fewer, nothing can be told
MARGIN = 1.25  # nats a pixel by which another encoding must be better


def refuse_other_encoding(sample: Sample, kind: DataSet) -> None:
    """InputError when the labels are no street by the layout's table of ids, and are one by another table or counted from 1."""
    ours = _classes_of(kind.name_of)
    if len(sample) < ENOUGH or not set(ours.values()) >= MAIN:
        return
    shares = _shares(sample)
    if np.count_nonzero(shares.any(axis=0)) < FEW:
        return
    scores = {name: _score(shares, table) for name, table in _others(ours)}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] > TYPICAL and scores[best] > _score(shares, ours) + MARGIN:
        raise InputError(
            f"{sample[0][0]}: ids {np.flatnonzero(shares.any(axis=0)).tolist()} in {len(sample)} labels make a street as {best},"
            f" and none as the ids of this data set; expected road as id {_id_of('road', ours)}, sky as {_id_of('sky', ours)};"
            " use the right label files or layout, or 'plain' with a table of ids"
        )


def _others(ours: Mapping[int, str]) -> Iterator[tuple[str, dict[int, str]]]:
    train_ids = dict(enumerate(CITYSCAPES_19.names))
    yield "Cityscapes' label ids", _classes_of(CITYSCAPES_NAMES)
    yield "train ids", train_ids
    yield "train ids counted from 1", _moved(train_ids, 1)
    yield "CamVid's ids", _classes_of(CAMVID_NAMES)
    yield "CARLA's older tags", _classes_of(OLD)
    yield "CARLA's newer tags", _classes_of(NEW)
    yield "IDD's ids of level 3", _classes_of(dict(enumerate(LEVEL_3)))
    yield "ids that are larger by 1", _moved(ours, 1)
    yield "ids that are smaller by 1", _moved(ours, -1)


def _classes_of(names: Mapping[int, str]) -> dict[int, str]:
    return {label_id: CITYSCAPES_19.class_of(name) for label_id, name in names.items()}


def _moved(table: Mapping[int, str], step: int) -> dict[int, str]:
    return {label_id + step: name for label_id, name in table.items()}


def _id_of(name: str, table: Mapping[int, str]) -> int:
    return next(label_id for label_id, other in table.items() if other == name)


def _shares(sample: Sample) -> NDArray[np.float64]:
    """-> (2, 256) share of each id in the upper and in the lowest third of the labels."""
    counts = np.zeros((2, 256))
    for _, ids in sample:
        third = max(1, len(ids) // 3)
        counts += [np.bincount(part.ravel(), minlength=256) for part in (ids[:third], ids[-third:])]
    return counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True))


def _score(shares: NDArray[np.float64], table: Mapping[int, str]) -> float:
    """The mean log-likelihood of a pixel, in nats, were the labels drawn by this table of classes."""
    likely = np.array([[band.get(table.get(label_id, ""), REST) for label_id in range(256)] for band in (UPPER, LOWEST)])
    return float((shares * np.log(likely)).sum() / 2)
