"""Labels drawn over their image. Never imports torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import CITYSCAPES_19, IGNORE, ClassList
from selfsyn.labels import colourise

OPACITY = 0.55
DIMMED = 0.25  # brightness of a pixel without a label


def overlay(image: NDArray[np.uint8], label: NDArray[np.uint8], classes: ClassList = CITYSCAPES_19) -> NDArray[np.uint8]:
    """(H, W, 3) RGB and (H, W) train ids -> (H, W, 3): the classes' colours over the image, dark where the label is IGNORE."""
    blended = (1 - OPACITY) * image + OPACITY * colourise(label, classes)
    return np.where((label == IGNORE)[..., None], DIMMED * image, blended).round().astype(np.uint8)
