"""Scores from counts: a confusion matrix -> class IoU, mIoU, pixel accuracy. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.labels import IGNORE, Protocol


def confusion(label: NDArray[np.uint8], prediction: NDArray[np.uint8], *, classes: int) -> NDArray[np.int64]:
    """True and predicted classes of the same shape -> (K, K) pixel counts, rows true, columns predicted.

    Pixels whose true class is IGNORE do not count. ValueError when shapes differ or a counted pixel has no class.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"label {label.shape} and prediction {prediction.shape}; expected one shape")
    counted = label != IGNORE
    true, predicted = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
    if true.size and max(true.max(), predicted.max()) >= classes:
        raise ValueError(f"classes up to {max(true.max(), predicted.max())}; expected below {classes}")
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def merged(protocol: Protocol, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Train ids -> positions of the protocol's scored classes; IGNORE stays."""
    table = np.full(IGNORE + 1, IGNORE, dtype=np.uint8)
    table[: len(protocol.merge)] = protocol.merge
    return table[label]


def scores(counts: NDArray[np.int64], *, protocol: Protocol) -> dict[str, Any]:
    """(K, K) counts of the protocol's classes -> what metrics.json holds.

    IoU = true positives / (true + predicted - true positives), of the whole data set at once, not averaged over images.
    mIoU is the mean over the classes that have ground truth; the others' IoU is None. InputError when no pixel counts.
    """
    true, predicted, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    present = true > 0
    if not present.any():
        raise InputError(f"protocol {protocol.key}: no pixel has a scored class; are these labels of another data set?")
    iou = hits / np.maximum(true + predicted - hits, 1)
    return {
        "protocol": protocol.key,
        "miou": float(iou[present].mean()),
        "pixel_accuracy": float(hits.sum() / counts.sum()),
        "class_iou": {name: float(iou[k]) if present[k] else None for k, name in enumerate(protocol.names)},
        "confusion": counts.tolist(),
    }
