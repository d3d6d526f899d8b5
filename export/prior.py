"""Scores moved towards the class shares of the synthetic labels, for teachers that label (ReMixMatch, Berthelot et al. 2020).

A net that learned with class weights, on another domain, calls some classes too often and others too rarely, and rounds make that
worse. Shares of the synthetic labels are known, those of its answers on real images too: neither needs a real label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.pipeline import evenly_spaced
from export.to_onnx import Segmenter
from selfsyn.errors import InputError
from selfsyn.images import UnreadableError, read_image, resize_image
from selfsyn.progress import track

LOOKED_AT = 200  # real images
FURTHEST = 10.0  # the largest factor between the two shares that counts


def moved(wanted: NDArray[np.float64], found: NDArray[np.float64], *, strength: float) -> NDArray[np.float32]:
    """(19,) shares that classes should have and (19,) that they have -> (19,) what is added to the scores.

    strength: 1 multiplies each probability by wanted / found, within FURTHEST of 1; 0 changes nothing. A class that the
    labels never show keeps its score.
    """
    ratio = np.clip(wanted / np.maximum(found, 1e-12), 1 / FURTHEST, FURTHEST)
    return np.where(wanted > 0, strength * np.log(ratio), 0.0).astype(np.float32)


def mean_probabilities(segmenter: Segmenter, paths: Sequence[Path], *, size: tuple[int, int]) -> NDArray[np.float64]:
    """(19,) mean probability of each class over the pixels of at most LOOKED_AT evenly spaced images, seen at `size`.

    Images that cannot be read are left out. UnreadableError when none can.
    """
    chosen = evenly_spaced(paths, count=min(LOOKED_AT, len(paths)))
    means, last = [], None
    with torch.inference_mode():
        for path in track(chosen, total=len(chosen), label="class shares of real images"):
            try:
                image = resize_image(read_image(path), size=size)
            except UnreadableError as error:
                last = error
                continue
            means.append(segmenter.scores(torch.tensor(image)[None]).softmax(dim=1).mean(dim=(0, 2, 3)).double().numpy())
    if not means:
        raise last or InputError("no real image to find the class shares of")
    return np.mean(means, axis=0)
