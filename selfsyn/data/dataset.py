"""What a data set's file must say: where images and labels lie, and what the ids on disk mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Finder = Callable[[Path, str], dict[str, Path]]


@dataclass(frozen=True)
class DataSet:
    """A layout.

    find_images, find_labels: (root, split) -> {frame name: path}; a name is unique and can be a file name.
    table: (256,) uint8, id on disk -> train id.  known: the ids that may occur; another one is refused.
    expects: what the folder should look like, for messages.
    """

    find_images: Finder
    find_labels: Finder
    table: NDArray[np.uint8]
    known: frozenset[int]
    expects: str
