"""Scores from counts: a confusion matrix -> class IoU, mIoU, pixel accuracy. numpy only.

Pixels are counted by train id; a protocol merges, leaves out and ignores classes of the complete counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.labels import IGNORE, Protocol

_IDS = 256
WHOLE = "confusion_19"  # its name since there were other classes than Cityscapes' too: programs that read metrics.json know it


def joint_counts(label: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Two (H, W) uint8 id maps -> (256, 256) pixel counts by both ids, rows of `label`. ValueError when shapes differ."""
    if label.shape != prediction.shape:
        raise ValueError(f"label {label.shape} and prediction {prediction.shape}; expected one shape; resize the prediction")
    rows, columns = label.ravel(), prediction.ravel()
    # Count runs of equal pairs instead of pixels: a label map has a hundred times fewer. A run ends where an id changes.
    changes = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    ends = np.append(np.flatnonzero(changes), rows.size - 1)
    pairs = rows[ends].astype(np.uint16) << 8 | columns[ends]
    counts = np.bincount(pairs, weights=np.diff(ends, prepend=-1), minlength=_IDS**2)
    return counts.astype(np.int64).reshape(_IDS, _IDS)


def folded(
    counts: NDArray[np.int64], *, rows: NDArray[np.integer], columns: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """(R, C) counts of ids -> (K, K) counts of classes; rows (R,) and columns (C,): the class of each id, or IGNORE.

    Pixels with true class IGNORE do not count. ValueError when a counted pixel's class is K = `classes` or above.
    """
    row, column = np.nonzero(counts)
    by_class = np.zeros((_IDS, _IDS), np.int64)
    np.add.at(by_class, (rows[row], columns[column]), counts[row, column])
    largest = max((int(axis.max()) for axis in np.nonzero(by_class[:IGNORE]) if axis.size), default=0)
    if largest >= classes:
        raise ValueError(f"classes up to {largest}; expected below {classes}; translate the ids first")
    return by_class[:classes, :classes]


def confusion(label: NDArray[np.uint8], prediction: NDArray[np.uint8], *, classes: int) -> NDArray[np.int64]:
    """True and predicted classes of the same shape -> (K, K) pixel counts, rows true, columns predicted.

    Pixels with true class IGNORE do not count. ValueError when shapes differ or a counted pixel has no class.
    """
    same = np.arange(_IDS)
    return folded(joint_counts(label, prediction), rows=same, columns=same, classes=classes)


def scores(counts: NDArray[np.int64], *, protocol: Protocol) -> dict[str, Any]:
    """(K, K) counts of train ids, rows true -> the content of metrics.json; see `figures` for each number.

    confusion: of the scored classes only.  WHOLE: `counts`.  variants: the figures of each of the protocol's
    variants, by name. InputError when no pixel has a scored class.
    """
    scored = [protocol.names.index(name) for name in protocol.scored]
    result = {"protocol": protocol.key, **figures(counts, protocol=protocol)}
    result |= {"confusion": _by_class(counts, protocol)[np.ix_(scored, scored)].tolist(), WHOLE: counts.tolist()}
    if protocol.variants:
        result["variants"] = {variant.key: figures(counts, protocol=variant) for variant in protocol.variants}
    return result


def figures(counts: NDArray[np.int64], *, protocol: Protocol) -> dict[str, Any]:
    """(K, K) counts of train ids, rows true -> miou, pixel_accuracy and class_iou by name, each in 0..1.

    IoU = true positives / (true + predicted - true positives), over the whole data set, not averaged over images.
    mIoU is the mean over scored classes with ground truth; the IoU of the others is None.
    Pixel accuracy = trace / sum over the counted pixels: all with a class, including left-out classes (which
    can be predicted rightly), but without the ignored classes of variant B.
    InputError when no pixel has a scored class.
    """
    by_class = _by_class(counts, protocol)
    by_class[[name in protocol.ignored for name in protocol.names]] = 0
    true, predicted, hits = by_class.sum(axis=1), by_class.sum(axis=0), np.diag(by_class)
    iou = dict(zip(protocol.names, hits / np.maximum(true + predicted - hits, 1), strict=True))
    present = {name for name, pixels in zip(protocol.names, true, strict=True) if pixels}
    class_iou = {name: float(iou[name]) if name in present else None for name in protocol.scored}
    known = [value for value in class_iou.values() if value is not None]
    if not known:
        raise InputError(f"protocol {protocol.key}: no pixel has a scored class; are these the labels of another data set?")
    return {
        "miou": float(np.mean(known)),
        "pixel_accuracy": float(hits.sum() / by_class.sum()),
        "class_iou": class_iou,
    }


def _by_class(counts: NDArray[np.int64], protocol: Protocol) -> NDArray[np.int64]:
    return folded(counts, rows=protocol.merge, columns=protocol.merge, classes=len(protocol.names))
