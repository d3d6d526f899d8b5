"""Pseudo-label selection: confidence histograms -> class-wise thresholds -> labels with IGNORE. numpy only.

The store keeps class and confidence of every pixel, so the portion can change without labelling again.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from selfsyn import packed_maps
from selfsyn.classes import CITYSCAPES_19, ClassList
from selfsyn.errors import InputError
from selfsyn.files import digest_bytes, digest_lines
from selfsyn.images import decode_ids, read_ids
from selfsyn.label_rows import INDEX as INDEX
from selfsyn.label_rows import Place, Rows, row_at
from selfsyn.labels import CLASS_COUNT, IGNORE
from selfsyn.manifest import finished_parts, read_manifest

LEVELS: Final = 256
NEVER: Final = LEVELS  # above every confidence
HISTOGRAM: Final = "histogram.npz"


def no_counts(classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """-> (K, 256) zeros for K classes, the start of a sum of histograms."""
    return np.zeros((classes, LEVELS), dtype=np.int64)


def histogram(label: NDArray[np.uint8], confidence: NDArray[np.uint8], *, classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """Classes and confidences 0..255 of the same shape -> (K, 256) joint pixel counts for K classes."""
    joint = label.astype(np.int64).ravel() * LEVELS + confidence.ravel()
    return np.bincount(joint, minlength=classes * LEVELS).reshape(classes, LEVELS)


def thresholds(counts: NDArray[np.int64], *, portion: float) -> NDArray[np.int64]:
    """(K, 256) joint counts -> (K,) the lowest confidence 0..255 that is kept, for each class.

    Class-balanced self-training (Zou et al. 2018): of the N pixels predicted as a class, most confident first, the pixel at
    rank floor(portion * N), counted from 1, sets the threshold, so rare and common classes keep the same share.
    Ties: all pixels at the threshold are kept, so a class keeps its portion, or more if many pixels share that level.
    A class with rank 0 (never predicted, or too rare for the portion) gets NEVER: no label at all.
    """
    # Exact decimal, not the nearest float: 0.29 of 100 pixels is 29.
    share = Fraction(str(portion))
    ranks = [math.floor(share * int(count)) for count in counts.sum(axis=1)]
    at_least = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at this level or above
    return np.array([np.flatnonzero(row >= rank)[-1] if rank else NEVER for row, rank in zip(at_least, ranks, strict=True)])


def select(label: NDArray[np.uint8], confidence: NDArray[np.uint8], *, thresholds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Classes and confidences -> the classes where the confidence reaches the class's threshold, IGNORE elsewhere."""
    return np.where(confidence >= thresholds[label], label, np.uint8(IGNORE))


def without_border(label: NDArray[np.uint8], *, border: tuple[int, int, int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W) train ids -> the same with IGNORE along the edges.

    border: top, right, bottom, left in pixels of `size` (width, height); the label may be of another size.
    """
    height, width = label.shape
    top, right, bottom, left = (
        round(pixels * side / whole)
        for pixels, side, whole in zip(border, (height, width) * 2, (size[1], size[0]) * 2, strict=True)
    )
    kept = np.full_like(label, IGNORE)
    inside = slice(top, height - bottom), slice(left, width - right)
    kept[inside] = label[inside]
    return kept


def encode_histogram(counts: NDArray[np.int64]) -> bytes:
    """(K, 256) counts -> bytes of histogram.npz, the same for the same counts."""
    member, buffer = io.BytesIO(), io.BytesIO()
    np.save(member, counts)
    # np.savez gives other bytes, and so another digest, in Python 3.11.2 than in 3.11.7.
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("counts.npy", date_time=(1980, 1, 1, 0, 0, 0)), member.getvalue())
    return buffer.getvalue()


def read_histogram(path: Path, *, classes: int = CLASS_COUNT) -> NDArray[np.int64]:
    """histogram.npz -> (K, 256) counts of K classes. InputError when it is something else."""
    try:
        with np.load(path) as archive:
            counts: NDArray[np.int64] = archive["counts"]
    except Exception as error:  # a damaged archive may make numpy raise anything
        raise InputError(
            f"{path}: not a histogram ({type(error).__name__}); delete the shard's folder and label it again"
        ) from error
    if counts.shape != (classes, LEVELS):
        raise InputError(f"{path}: counts of shape {counts.shape}; expected {(classes, LEVELS)}; label the shard again")
    return counts


def maps_of(shard: Path, name: str) -> tuple[Path, Path]:
    """The paths of an image's class map and confidence map in the folder of its unpacked shard."""
    label, confidence = packed_maps.members_of(name)
    return shard / label, shard / confidence


class LabelStore:
    """The finished label store of a round, with all its shards.

    skipped: {name of an unreadable image: why it cannot be read}.
    counts: (K, 256) joint histogram of all labelled images.  teacher: digest of the model.  classes: of the run.
    """

    def __init__(self, folder: Path, classes: ClassList = CITYSCAPES_19) -> None:
        """folder: round-K/labels.  classes: of the run that reads the store.

        NotReadyError when a shard is missing; InputError when shards come from different teachers, from different images or
        from a teacher of other classes, or when more images than allowed could not be read.
        """
        shards = finished_parts(folder)
        self.folder = folder
        self.shards = tuple(shards)
        self.classes = classes
        manifests = {shard.name: read_manifest(shard) or {} for shard in shards}
        _refuse_other_classes(folder, manifests, classes=classes)
        self.teacher = _one_origin(folder, manifests)
        self.counts = sum((read_histogram(shard / HISTOGRAM, classes=len(classes)) for shard in shards), no_counts(len(classes)))
        self._rows = Rows(shards)
        self.skipped = self._rows.skipped

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labelled images, sorted. Reads all indices; training does without."""
        return tuple(sorted(set(self._rows.names())))

    def content(self) -> str:
        """A digest of all rows, sorted by name, and of the counts: independent of the number of shards and of packing."""
        return digest_lines(chain(self._rows.sorted_lines(), [digest_bytes(encode_histogram(self.counts))]))

    def thresholds(self, *, portion: float) -> NDArray[np.int64]:
        """(K,) thresholds over all images of the store; see `thresholds` above."""
        return thresholds(self.counts, portion=portion)

    def has(self, name: str) -> bool:
        """Whether an image is labelled."""
        return name not in self.skipped and self._rows.place(name) is not None

    def require(self, names: Iterable[str]) -> None:
        """InputError, naming the first, for images that were not labelled. Faster than to look up each."""
        missing = self._rows.missing(names)
        if missing is not None:
            self.place(missing)

    def place(self, name: str) -> Place:
        """The row of a labelled image. InputError for an image that was not labelled."""
        if name in self.skipped:
            raise InputError(f"{self.folder}: image {name!r} has no pseudo-label: {self.skipped[name]}; replace the file")
        place = self._rows.place(name)
        if place is None:
            raise InputError(f"{self.folder}: no pseudo-label for image {name!r}; label the real images again with --force")
        return place

    def rows(self) -> Iterator[dict[str, Any]]:
        """The index rows of all shards, of labelled and skipped images."""
        for shard in self.shards:
            yield from rows_of(shard)

    def row(self, name: str) -> tuple[Path, dict[str, Any]]:
        """The shard's folder and the index row of a labelled or skipped image. InputError for another image."""
        place = self._rows.place(name)
        if place is None:
            raise InputError(f"{self.folder}: no image {name!r}; label the real images again with --force")
        return place.shard, row_at(place)

    def maps(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """-> (H, W) uint8 train ids and (H, W) uint8 confidences 0..255 of all pixels."""
        place = self.place(name)
        paths = maps_of(place.shard, name)
        if packed_maps.is_packed(place.shard):
            files = packed_maps.read(place.shard, place.number)
            label, confidence = (decode_ids(data, name=str(path)) for data, path in zip(files, paths, strict=True))
        else:
            label, confidence = read_ids(paths[0]), read_ids(paths[1])
        if label.shape != confidence.shape or label.max() >= len(self.classes):
            raise InputError(f"{paths[0]}: does not belong to {paths[1]}; label the shard again with --force")
        return label, confidence

    def read(self, name: str, *, portion: float) -> NDArray[np.uint8]:
        """-> (H, W) uint8 train ids of the most confident portion, IGNORE elsewhere."""
        return select(*self.maps(name), thresholds=self.thresholds(portion=portion))


def rows_of(shard: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard's index, one for each image; see export.pipeline.Row and Skipped."""
    try:
        with open(shard / INDEX) as stream:
            for row in map(json.loads, stream):
                if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                    raise ValueError("a row without a name")
                yield row
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{shard / INDEX}: cannot be read ({error}); label the shard again with --force") from error


def _refuse_other_classes(folder: Path, manifests: dict[str, dict[str, Any]], *, classes: ClassList) -> None:
    """InputError when a shard has pseudo-labels of other classes. Early manifests do not name them: they are Cityscapes'."""
    for shard, manifest in manifests.items():
        difference = classes.difference(manifest.get("classes", CITYSCAPES_19.names))
        if difference:
            raise InputError(f"{folder}: {shard} has pseudo-labels of {difference}; label again with --force, or use another run")


def _one_origin(folder: Path, manifests: dict[str, dict[str, Any]]) -> str:
    """The teacher of all shards. InputError when teachers or inputs differ, or too many images were skipped."""
    for shard, manifest in manifests.items():
        if not isinstance(manifest.get("counts"), dict) or "teacher" not in manifest["counts"]:
            raise InputError(f"{folder / shard}: its manifest names no teacher; label the shard again with --force")
    first, *others = manifests
    teacher, inputs = manifests[first]["counts"]["teacher"], manifests[first].get("inputs", {})
    for other in others:
        if manifests[other]["counts"]["teacher"] != teacher:
            raise InputError(f"{folder}: {first} and {other} were labelled by different teachers; label one again with --force")
        if manifests[other].get("inputs", {}) != inputs:
            raise InputError(f"{folder}: {first} and {other} were made from different images; label one again with --force")
    counts = [manifest["counts"] for manifest in manifests.values()]
    skipped, spoiled = (sum(c.get("skipped", 0) for c in counts), max(c.get("skipped_at_most", 0) for c in counts))
    if skipped > spoiled:
        raise InputError(
            f"{folder}: {skipped} images of all shards could not be read, teacher.unreadable allows {spoiled};"
            ' the indices name them ("skipped"); replace or remove the files and label again with --force'
        )
    return str(teacher)
