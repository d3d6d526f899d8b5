"""Frames of a data set: images for whoever asks, labels only through `labelled`.

The training side calls `images` for a real data set, and so cannot see its labels. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsyn.data.adapted import ADAPTED
from selfsyn.data.camvid import CAMVID
from selfsyn.data.cityscapes import CITYSCAPES
from selfsyn.data.dataset import DataSet
from selfsyn.data.gta5 import GTA5
from selfsyn.errors import InputError
from selfsyn.files import digest_listing
from selfsyn.images import image_size, read_ids, to_train_ids

LAYOUTS = {"gta5": GTA5, "cityscapes": CITYSCAPES, "camvid": CAMVID, "adapted": ADAPTED}


@dataclass(frozen=True)
class Frame:
    """One image of a data set. name is unique in it."""

    name: str
    image: Path


@dataclass(frozen=True)
class LabelledFrame(Frame):
    """An image with its label file and the data set that knows the file's ids."""

    label: Path
    dataset: DataSet

    def read_label(self) -> NDArray[np.uint8]:
        """-> (H, W) uint8 train ids. InputError for an unreadable file or an id that the data set does not define."""
        return to_train_ids(read_ids(self.label), table=self.dataset.table, known=self.dataset.known, path=self.label)


def dataset(layout: str) -> DataSet:
    """The layout called `layout`; InputError names the known ones."""
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is not known; expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def images(root: Path, *, layout: str, split: str = "train") -> list[Frame]:
    """The images of a data set, sorted by name, each one complete on disk. InputError when there are none."""
    kind = dataset(layout)
    found = kind.find_images(root, split)
    if not found:
        raise InputError(f"{root}: no image of layout {layout} (split {split}); expected {kind.expects}")
    _refuse_incomplete(list(found.values()))
    return [Frame(name, path) for name, path in sorted(found.items())]


def labelled(root: Path, *, layout: str, split: str = "train") -> list[LabelledFrame]:
    """The images of a data set with their labels. InputError when one lacks its label, or their sizes differ."""
    kind = dataset(layout)
    frames = images(root, layout=layout, split=split)
    labels = kind.find_labels(root, split)
    without = [frame for frame in frames if frame.name not in labels]
    if without:
        raise InputError(
            f"{root}: {len(without)} of {len(frames)} images have no label, first {without[0].image};"
            f" expected {kind.expects}; add the labels or remove the images"
        )
    pairs = [LabelledFrame(frame.name, frame.image, labels[frame.name], kind) for frame in frames]
    _refuse_incomplete([pair.label for pair in pairs])
    _refuse_other_sizes(pairs)
    return pairs


def digest(frames: Sequence[Frame], *, root: Path) -> str:
    """The data set's digest: names and byte sizes of images and labels."""
    labels = [frame.label for frame in frames if isinstance(frame, LabelledFrame)]
    return digest_listing([frame.image for frame in frames] + labels, root=root)


def _refuse_incomplete(paths: Sequence[Path]) -> None:
    # Reads a few bytes of each file, not its pixels: a truncated PNG or JPEG lacks its end marker.
    with ThreadPoolExecutor() as threads:
        for path, complete in zip(paths, threads.map(_is_complete, paths), strict=True):
            if not complete:
                raise InputError(f"{path}: truncated, or not a PNG or JPEG; copy the file again or remove the frame")


def _is_complete(path: Path) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(8)
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 64))
        tail = stream.read()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" in tail
    return head.startswith(b"\xff\xd8") and b"\xff\xd9" in tail


def _refuse_other_sizes(pairs: Sequence[LabelledFrame]) -> None:
    with ThreadPoolExecutor() as threads:
        sizes = threads.map(lambda pair: (image_size(pair.image), image_size(pair.label)), pairs)
        for pair, (image, label) in zip(pairs, sizes, strict=True):
            if image != label:
                raise InputError(
                    f"{pair.label}: {label[0]}x{label[1]}, but {pair.image} is {image[0]}x{image[1]}; remove the frame"
                )
