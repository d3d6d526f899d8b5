"""Where one stage loses what another has: recall of held-out pixels by class and by the size of the object that they belong to.

    python benchmarks/segments.py RUN STAGE OTHER     (for example: runs/vit round-0 round-1)

Both stages need predictions: `selfsyn evaluate --run RUN --round K --write-predictions --force`. An object is a connected region
of a class in the ground truth; its size is its area as a share of the image. Recall: the share of its pixels that the stage
predicts rightly. Classes are those of the run's protocol.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from selfsyn.data import sources
from selfsyn.images import read_ids
from selfsyn.labels import IGNORE, TRAIN_ID_OF_LABEL_ID, Protocol
from selfsyn.phase import open_run

EDGES = (0.0003, 0.001, 0.003, 0.01, 0.1)  # shares of the image; 52, 173, 518, 1728 and 17,280 pixels of CamVid's 480x360


def main(run: Path, stages: tuple[str, str]) -> None:
    """Print a table of recalls: a row for each class, and for each size of object."""
    layout, config = open_run(run)
    frames, _ = sources.held_out(layout, config)
    rules, bins = config.protocol, len(EDGES) + 1
    true = np.zeros((len(rules.names), bins), np.int64)
    right = np.zeros((2, len(rules.names), bins), np.int64)
    for frame in frames:
        label = merged(rules, frame.dataset.table[frame.dataset.read(frame.label)])
        hits = [label == merged(rules, prediction(layout.root / stage / "evaluation", frame.name)) for stage in stages]
        for place in range(len(rules.names)):
            _, segments = cv2.connectedComponents((label == place).astype(np.uint8), connectivity=8)
            size = np.bincount(segments.ravel())
            bin_of = np.digitize(size / label.size, EDGES)
            inside = label == place
            pixels = bin_of[segments[inside]]
            true[place] += np.bincount(pixels, minlength=bins)
            for number, hit in enumerate(hits):
                right[number, place] += np.bincount(pixels, weights=hit[inside], minlength=bins).astype(np.int64)
    print(f"| objects | pixels | {stages[0]} | {stages[1]} |\n|---|---|---|---|")
    for place, name in enumerate(rules.names):
        shown(name, true[place].sum(), right[:, place].sum(axis=1))
    between = [f"{100 * low:g} to {100 * high:g} %" for low, high in pairwise(EDGES)]
    names = [f"below {100 * EDGES[0]:g} %", *between]
    for number, name in enumerate([*names, f"above {100 * EDGES[-1]:g} %"]):
        shown(f"{name} of the image", true[:, number].sum(), right[:, :, number].sum(axis=1))


def shown(name: str, true: np.int64, right: NDArray[np.int64]) -> None:
    """Print a row, if there are such pixels."""
    if true:
        print(f"| {name} | {true:,} | " + " | ".join(f"{one / true:.2f}" for one in right) + " |")


def prediction(folder: Path, name: str) -> NDArray[np.uint8]:
    """(H, W) predicted train ids of a frame, from the Cityscapes label ids that `evaluate` writes."""
    return TRAIN_ID_OF_LABEL_ID[read_ids(folder / "predictions" / f"{name}.png")]


def merged(rules: Protocol, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) train ids -> positions in the classes of the protocol; IGNORE stays."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(rules.merge)] = rules.merge
    return table[label]


if __name__ == "__main__":
    main(Path(sys.argv[1]), (sys.argv[2], sys.argv[3]))
