"""Calibration of a teacher: joint counts -> reliability, expected calibration error, coverage. numpy only."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.labels import CLASS_COUNT, Protocol
from selfsyn.pseudo_labels import LEVELS, thresholds

DENSE: Final = 8  # cells a pixel: with more, sorting the pixels is faster than counting into all cells
BINS: Final = 15  # of equal width, as in Guo et al. 2017
_MIDDLES: Final = np.arange(LEVELS) / (LEVELS - 1)
_BIN_OF: Final = np.maximum(-(-np.arange(LEVELS) * BINS // (LEVELS - 1)) - 1, 0)  # ((m - 1) / M, m / M], and 0 in the first


def joint_counts(
    label: NDArray[np.uint8], prediction: NDArray[np.uint8], confidence: NDArray[np.uint8], *, classes: int = CLASS_COUNT
) -> NDArray[np.int64]:
    """True and predicted train ids and confidences 0..255 of one shape -> (K, K, 256) pixel counts, without IGNORE."""
    places, pixels = joint_places(label, prediction, confidence, classes=classes)
    counts = np.zeros(classes**2 * LEVELS, np.int64)
    counts[places] = pixels
    return counts.reshape(classes, classes, LEVELS)


def joint_places(
    label: NDArray[np.uint8], prediction: NDArray[np.uint8], confidence: NDArray[np.uint8], *, classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of `joint_counts`, flattened, that are not 0, and their pixels: an image has few, even of 254 classes."""
    known = label < classes
    index = (label[known].astype(np.int64) * classes + prediction[known]) * LEVELS + confidence[known]
    if classes**2 * LEVELS > DENSE * index.size:
        places, pixels = np.unique(index, return_counts=True)
        return places, pixels
    counts = np.bincount(index)
    places = np.flatnonzero(counts)
    return places, counts[places]


def calibration(counts: NDArray[np.int64], *, protocol: Protocol, portion: float) -> dict[str, Any]:
    """(K, K, 256) joint counts, rows true -> what metrics.json holds as "calibration".

    A prediction is right if the protocol merges it and the truth into one class. reliability: for each bin of confidence, its
    pixels, mean confidence and accuracy, null for an empty bin. ece, class_ece: `calibration_error` of all pixels, and of
    those predicted as each class, null if never predicted. portion, class_coverage: the shares of each class's true pixels
    that are `labelled`, and labelled `rightly`, if the most confident portion of each predicted class is kept; null without
    ground truth.
    """
    considered = counts.copy()
    considered[np.isin(protocol.merge, [protocol.names.index(name) for name in protocol.ignored])] = 0
    right = (protocol.merge[:, None] == protocol.merge[None, :])[..., None] * considered
    by_class = {name: protocol.merge == position for position, name in enumerate(protocol.names) if name in protocol.scored}
    return {
        "bins": BINS,
        "ece": calibration_error(considered.sum(axis=(0, 1)), right.sum(axis=(0, 1))),
        "reliability": reliability(considered.sum(axis=(0, 1)), right.sum(axis=(0, 1))),
        "class_ece": {
            name: calibration_error(considered[:, of].sum(axis=(0, 1)), right[:, of].sum(axis=(0, 1)))
            for name, of in by_class.items()
        },
        "portion": portion,
        "class_coverage": _coverage(considered, right, by_class=by_class, portion=portion),
    }


def reliability(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> list[dict[str, float | int | None]]:
    """(256,) pixels by confidence, and right ones among them -> a row for each bin."""
    total, hits, confidence = _binned(pixels, right)
    rows: list[dict[str, float | int | None]] = []
    for n, hit, summed in zip(total.tolist(), hits.tolist(), confidence.tolist(), strict=True):
        rows.append({"pixels": int(n), "confidence": summed / n if n else None, "accuracy": hit / n if n else None})
    return rows


def calibration_error(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> float | None:
    """Expected calibration error (Guo et al. 2017, eq. 3): the mean over pixels of |accuracy - mean confidence| of their bin.

    (256,) pixels by confidence, and right ones among them -> 0..1; None without pixels.
    """
    total, hits, confidence = _binned(pixels, right)
    return float(np.abs(hits - confidence).sum() / total.sum()) if total.sum() else None


def _binned(pixels: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Pixels, right pixels and summed confidence of each bin."""
    return tuple(np.bincount(_BIN_OF, weights=values, minlength=BINS) for values in (pixels, right, pixels * _MIDDLES))


def _coverage(
    counts: NDArray[np.int64], right: NDArray[np.int64], *, by_class: dict[str, NDArray[np.bool_]], portion: float
) -> dict[str, dict[str, float] | None]:
    kept = np.arange(LEVELS) >= thresholds(counts.sum(axis=0), portion=portion)[:, None]
    found: dict[str, dict[str, float] | None] = {}
    for name, of in by_class.items():
        true = int(counts[of].sum())
        shares = {"labelled": float(counts[of][:, kept].sum()), "rightly": float(right[of][:, kept].sum())}
        found[name] = {key: pixels / true for key, pixels in shares.items()} if true else None
    return found
