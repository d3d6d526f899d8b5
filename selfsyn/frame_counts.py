"""The confusion counts of each held-out frame, as a file: what a test over frames needs (compare.lead)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.files import read_json

FRAMES = "frames.json"

Cells = list[list[int]]


def cells(counts: NDArray[np.int64]) -> Cells:
    """(K, K) confusion counts of a frame, rows true -> [true class, predicted class, pixels] of each that is not 0."""
    true, predicted = np.nonzero(counts)
    return np.stack([true, predicted, counts[true, predicted]], axis=1).tolist()


def encode_frames(frames: Mapping[str, Cells], *, classes: int) -> bytes:
    """{name: cells of the frame} -> bytes of frames.json, a frame a line, the same for the same counts."""
    lines = [f"{json.dumps(name)}: {json.dumps(found, separators=(',', ':'))}" for name, found in frames.items()]
    return f'{{"classes": {classes}, "frames": {{\n'.encode() + ",\n".join(lines).encode() + b"\n}}\n"


def read_frames(path: Path) -> dict[str, NDArray[np.int64]] | None:
    """{name: (K, K) confusion counts, rows true}; None without the file, as in evaluations by earlier versions.

    InputError when it is something else.
    """
    found = read_json(path)
    if found is None:
        return None
    try:
        classes, frames = int(found["classes"]), dict(found["frames"])
        return {str(name): _counts(some, classes) for name, some in frames.items()}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: not the counts of frames ({type(error).__name__}: {error}); delete the evaluation's folder and run"
            " `selfsyn evaluate` again"
        ) from error


def _counts(some: Cells, classes: int) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), np.int64)
    true, predicted, pixels = np.array(some, np.int64).reshape(-1, 3).T
    np.add.at(counts, (true, predicted), pixels)
    return counts
