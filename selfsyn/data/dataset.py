"""What a data set's file must say: where images and labels lie, and what the ids on disk mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.images import read_ids

Finder = Callable[[Path, str], dict[str, Path]]
IdReader = Callable[[Path], NDArray[np.uint8]]
Sample = Sequence[tuple[Path, NDArray[np.uint8]]]  # label files and their ids on disk


def nothing_to_verify(sample: Sample) -> None:
    """For layouts whose labels cannot be mistaken."""


@dataclass(frozen=True)
class DataSet:
    """A layout.

    find_images, find_labels: (root, split) -> {frame name: path}; a name is unique and can be a file name.
    table: (256,) uint8, id on disk -> train id.  known: the ids that may occur; another one is refused.
    expects: what the folder should look like, for messages.
    read: a label file -> (H, W) uint8 ids.
    unusable: published frames that teach nothing, and why: left out.  mis_sized: published frames whose label may have
    another size than the image: left out when it has.
    unlabelled: splits whose labels are no labels.
    verify: looks at a few labels; InputError when they are not what this layout holds.
    """

    find_images: Finder
    find_labels: Finder
    table: NDArray[np.uint8]
    known: frozenset[int]
    expects: str
    read: IdReader = read_ids
    unusable: Mapping[str, str] = field(default_factory=dict)
    mis_sized: frozenset[str] = frozenset()
    unlabelled: frozenset[str] = frozenset()
    verify: Callable[[Sample], None] = nothing_to_verify
