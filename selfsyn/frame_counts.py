"""The confusion counts of each held-out frame, as a file: what a test over frames needs (compare.lead)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.files import digest_file
from selfsyn.progress import say

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


def read_frames(path: Path) -> dict[str, NDArray[np.int64]]:
    """{name: (K, K) confusion counts, rows true}. InputError when the file is something else, OSError when it cannot be read."""
    try:
        found = json.loads(path.read_text())
        classes = int(found["classes"])
        return {str(name): _counts(some, classes) for name, some in found["frames"].items()}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{path}: not the counts of frames ({type(error).__name__}: {error}); run `selfsyn evaluate --force` again"
        ) from error


def frames_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, NDArray[np.int64]] | None:
    """The counts in the folder of a finished evaluation. None if it wrote none, as earlier versions; None, and a line, if the
    file is no longer the one that it wrote.

    manifest: of the evaluation.
    """
    path, wrote = folder / FRAMES, manifest.get("outputs", {}).get(FRAMES)
    if wrote is None:
        return None
    try:
        if digest_file(path) == wrote:
            return read_frames(path)
        why = "changed since the evaluation wrote it"
    except OSError as error:
        why = error.strerror or type(error).__name__
    say(f"{path}: {why}; no probability of being ahead is shown; to write it again, run `selfsyn evaluate --force` in that run")
    return None


def _counts(some: Cells, classes: int) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), np.int64)
    true, predicted, pixels = np.array(some, np.int64).reshape(-1, 3).T
    np.add.at(counts, (true, predicted), pixels)
    return counts
