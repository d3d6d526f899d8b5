"""Time of counting a confusion matrix, compared with evaluatePair of cityscapesScripts, on 2048x1024 PNG files.

    python benchmarks/metrics.py

shipped      evaluatePair as `csEvalPixelLevelSemanticLabeling` calls it, with instance scores (it has no option)
pixel level  evaluatePair without instance scores
ours         the counts of `selfsyn evaluate`, from which class IoU, mIoU and pixel accuracy follow; no instance scores

Each is timed with and without decoding the PNG files. Pillow decodes for both.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from numpy.typing import NDArray
from PIL import Image

from selfsyn.images import encode_png, read_ids
from selfsyn.labels import CLASS_COUNT, IGNORE, LABEL_ID_OF_TRAIN_ID, TRAIN_ID_OF_LABEL_ID
from selfsyn.metrics import folded, joint_counts
from selfsyn.world import render

SIZE = (2048, 1024)
PAIRS = 3
ROUNDS = 7
SHIPPED = argparse.Namespace(**(vars(official.args) | {"quiet": True}))
PIXEL_LEVEL = argparse.Namespace(**(vars(SHIPPED) | {"evalInstLevelScore": False}))
INSTANCES = [label.id for label in official.labels if label.hasInstances and label.id > 0]
SMALLEST = 100  # pixels of the smallest instance

Pairs = list[tuple[Path, Path]]


def main() -> None:
    """Time all in turn, so that load on the machine slows all alike, and print the best round of each."""
    if not hasattr(np, "in1d"):  # numpy 2.4 removed it and recommends np.isin
        np.in1d = lambda one, two, invert=False: np.isin(one.ravel(), two, invert=invert)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        pairs = [write_pair(Path(folder), index=index) for index in range(PAIRS)]
        assert np.array_equal(shipped(pairs), ours(pairs)), "the two disagree"
        best = dict.fromkeys((shipped, pixel_level, ours, all_decoded, decoded), float("inf"))
        for _ in range(ROUNDS):
            for contender in best:
                best[contender] = min(best[contender], milliseconds(contender, pairs))
    tool = f"cityscapesScripts {importlib.metadata.version('cityscapesScripts')}"
    print(f"{tool} {'with' if official.CSUPPORT else 'without'} its Cython extension, numpy {np.__version__}")
    own = best[ours] - best[decoded]
    for name, whole, files in (
        ("shipped", best[shipped], best[all_decoded]),
        ("pixel level", best[pixel_level], best[decoded]),
    ):
        print(
            f"{name}: {whole:.1f} ms per pair, ours {best[ours]:.1f}, ratio {whole / best[ours]:.1f};"
            f" without decoding {whole - files:.1f} ms, ours {own:.1f}, ratio {(whole - files) / own:.1f}"
        )
    print(f"decoding: label and prediction {best[decoded]:.1f} ms, instances {best[all_decoded] - best[decoded]:.1f} ms")


def write_pair(folder: Path, *, index: int) -> tuple[Path, Path]:
    """Write a label with Cityscapes ids from the street world, and a prediction: the shifted label with wrong blocks."""
    label = render("camera", seed=0, index=index, size=SIZE)[1]
    guess, draw = np.roll(np.where(label == IGNORE, 0, label), (3, 5), axis=(0, 1)), np.random.default_rng(index)
    for _ in range(200):
        top, left, side = draw.integers(SIZE[1]), draw.integers(SIZE[0]), draw.integers(4, 80)
        guess[top : top + side, left : left + side] = draw.integers(CLASS_COUNT)
    paths = folder / f"world_000000_{index:06d}_gtFine_labelIds.png", folder / f"world_000000_{index:06d}.png"
    for path, ids in zip(paths, (label, guess), strict=True):
        path.write_bytes(encode_png(LABEL_ID_OF_TRAIN_ID[ids]))
    Image.fromarray(instances(LABEL_ID_OF_TRAIN_ID[label])).save(instances_of(paths[0]))
    return paths


def instances(ids: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Label ids -> Cityscapes instance ids: 1000 * id + number for each connected part of a class that has instances."""
    result = ids.astype(np.uint16)
    for label_id in INSTANCES:
        _, parts, facts, _ = cv2.connectedComponentsWithStats((ids == label_id).astype(np.uint8))
        large = [part for part in range(1, len(facts)) if facts[part, cv2.CC_STAT_AREA] >= SMALLEST]
        for number, part in enumerate(large):
            result[parts == part] = 1000 * label_id + number
    return result


def instances_of(truth: Path) -> Path:
    """The path at which the official tool expects the instance ids."""
    return Path(str(truth).replace("labelIds", "instanceIds"))


def shipped(pairs: Pairs) -> NDArray[np.int64]:
    """(19, 19) counts by the official tool with its default options."""
    return official_counts(pairs, SHIPPED)


def pixel_level(pairs: Pairs) -> NDArray[np.int64]:
    """(19, 19) counts by the official tool without instance scores."""
    return official_counts(pairs, PIXEL_LEVEL)


def official_counts(pairs: Pairs, args: argparse.Namespace) -> NDArray[np.int64]:
    """(19, 19) counts by the official tool."""
    counts, of_instances = official.generateMatrix(args), official.generateInstanceStats(args)
    for truth, prediction in pairs:
        official.evaluatePair(str(prediction), str(truth), counts, of_instances, {}, args)
    ids = LABEL_ID_OF_TRAIN_ID[:CLASS_COUNT]
    return counts[np.ix_(ids, ids)].astype(np.int64)


def ours(pairs: Pairs) -> NDArray[np.int64]:
    """(19, 19) counts as `selfsyn evaluate` makes them, the prediction read from a file too."""
    table = TRAIN_ID_OF_LABEL_ID
    counts = [joint_counts(read_ids(truth), read_ids(prediction)) for truth, prediction in pairs]
    return np.sum([folded(one, rows=table, columns=table, classes=CLASS_COUNT) for one in counts], axis=0)


def decoded(pairs: Pairs) -> list[NDArray[np.uint8]]:
    """Labels and predictions as arrays."""
    return [read_ids(path) for pair in pairs for path in pair]


def all_decoded(pairs: Pairs) -> list[object]:
    """Labels, predictions and instance ids as arrays."""
    return [*decoded(pairs), *(np.asarray(Image.open(instances_of(truth))) for truth, _ in pairs)]


def milliseconds(contender: Callable[[Pairs], object], pairs: Pairs) -> float:
    """Milliseconds for each pair."""
    start = time.perf_counter()
    contender(pairs)
    return 1000 * (time.perf_counter() - start) / len(pairs)


if __name__ == "__main__":
    main()
