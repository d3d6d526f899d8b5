"""Which of a teacher's answers count: histograms -> thresholds -> labels with IGNORE. numpy only.

The store keeps every pixel's class and confidence, so another portion costs no labelling.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.images import read_ids
from selfsyn.labels import CLASS_COUNT, IGNORE
from selfsyn.phase import label_shards, read_manifest

LEVELS: Final = 256
NEVER: Final = LEVELS  # a threshold that no confidence reaches
INDEX: Final = "index.jsonl"
HISTOGRAM: Final = "histogram.npz"


def no_counts() -> NDArray[np.int64]:
    """-> (19, 256) zeros, to which histograms are added."""
    return np.zeros((CLASS_COUNT, LEVELS), dtype=np.int64)


def histogram(label: NDArray[np.uint8], confidence: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Classes and confidences 0..255 of the same shape -> (19, 256) joint pixel counts."""
    joint = label.astype(np.int64).ravel() * LEVELS + confidence.ravel()
    return np.bincount(joint, minlength=CLASS_COUNT * LEVELS).reshape(CLASS_COUNT, LEVELS)


def thresholds(counts: NDArray[np.int64], *, portion: float) -> NDArray[np.int64]:
    """(19, 256) joint counts -> (19,) the lowest confidence 0..255 that counts, class by class.

    Class-balanced self-training (Zou et al. 2018): of the N pixels predicted as a class, most confident first, the one at
    rank floor(portion * N), counted from 1, sets the threshold; so a rare class keeps the same share as a common one.
    Ties: all pixels at the threshold count, so a class keeps at least its portion, and more where many pixels share that
    level. A class whose rank is 0 (never predicted, or too rare for the portion) gets NEVER: no label at all.
    """
    # The decimal that was written, not its binary neighbour: 0.29 of 100 pixels is 29.
    share = Fraction(str(portion))
    ranks = [math.floor(share * int(count)) for count in counts.sum(axis=1)]
    at_least = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at this level or above
    return np.array([np.flatnonzero(row >= rank)[-1] if rank else NEVER for row, rank in zip(at_least, ranks, strict=True)])


def select(label: NDArray[np.uint8], confidence: NDArray[np.uint8], *, thresholds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Classes and confidences -> the classes whose confidence reaches their class's threshold; IGNORE elsewhere."""
    return np.where(confidence >= thresholds[label], label, np.uint8(IGNORE))


def encode_histogram(counts: NDArray[np.int64]) -> bytes:
    """(19, 256) counts -> bytes of histogram.npz, the same for the same counts."""
    member, buffer = io.BytesIO(), io.BytesIO()
    np.save(member, counts)
    # Not np.savez: what it asks of zipfile came out differently in Python 3.11.2 and 3.11.7, and with it a store's digest.
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("counts.npy", date_time=(1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def read_histogram(path: Path) -> NDArray[np.int64]:
    """histogram.npz -> (19, 256) counts. InputError when it is something else."""
    try:
        with np.load(path) as archive:
            counts: NDArray[np.int64] = archive["counts"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a histogram ({error}); delete the shard's folder and label it again") from error
    if counts.shape != (CLASS_COUNT, LEVELS):
        raise InputError(f"{path}: counts of shape {counts.shape}; expected {(CLASS_COUNT, LEVELS)}; label the shard again")
    return counts


@dataclass(frozen=True)
class Entry:
    """One labelled image: where its class map and its confidence map lie."""

    label: Path
    confidence: Path


class LabelStore:
    """The finished label store of one round, all its shards together.

    names: the labelled images, sorted.  counts: (19, 256) joint histogram of all of them.  teacher: digest of the model.
    """

    def __init__(self, folder: Path) -> None:
        """folder: round-K/labels. NotReadyError when a shard is missing, InputError when two teachers made them."""
        shards = label_shards(folder)
        self.folder = folder
        self.teacher = _one_teacher(folder, [(shard.name, read_manifest(shard) or {}) for shard in shards])
        self.counts = sum((read_histogram(shard / HISTOGRAM) for shard in shards), no_counts())
        self._entries = {name: entry for shard in shards for name, entry in _entries(shard)}
        self.names = tuple(sorted(self._entries))

    def thresholds(self, *, portion: float) -> NDArray[np.int64]:
        """(19,) thresholds over all images of the store; see the function of this name."""
        return thresholds(self.counts, portion=portion)

    def entry(self, name: str) -> Entry:
        """Where an image's maps lie. InputError for an image that was not labelled."""
        if name not in self._entries:
            raise InputError(f"{self.folder}: no pseudo-label for image {name!r}; label the real images again with --force")
        return self._entries[name]

    def read(self, name: str, *, portion: float) -> NDArray[np.uint8]:
        """-> (H, W) uint8 train ids of the portion that counts, IGNORE elsewhere."""
        entry = self.entry(name)
        label, confidence = read_ids(entry.label), read_ids(entry.confidence)
        if label.shape != confidence.shape or label.max() >= CLASS_COUNT:
            raise InputError(f"{entry.label}: does not belong to {entry.confidence}; label the shard again with --force")
        return select(label, confidence, thresholds=self.thresholds(portion=portion))


def _one_teacher(folder: Path, manifests: list[tuple[str, dict[str, Any]]]) -> str:
    teachers = {name: str(manifest["counts"]["teacher"]) for name, manifest in manifests}
    (first, teacher), *others = teachers.items()
    for name, other in others:
        if other != teacher:
            raise InputError(f"{folder}: {first} and {name} were labelled by different teachers; label one again with --force")
    return teacher


def _entries(shard: Path) -> list[tuple[str, Entry]]:
    try:
        rows = [json.loads(line) for line in (shard / INDEX).read_text().splitlines()]
    except OSError as error:
        raise InputError(f"{shard / INDEX}: cannot be read ({error.strerror}); label the shard again with --force") from error
    return [(row["name"], Entry(shard / row["label"], shard / row["confidence"])) for row in rows]
