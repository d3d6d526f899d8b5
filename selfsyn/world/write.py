"""Write frames of the street world in the layout of a known data set: `engine` and `town` as GTA5, `camera` as Cityscapes.

The files are the same whatever the number of processes, and a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsyn.errors import InputError
from selfsyn.files import write_atomic
from selfsyn.images import encode_palette_png, encode_png
from selfsyn.labels import CLASS_COUNT, LABEL_ID_OF_TRAIN_ID, PALETTE
from selfsyn.world.frame import render
from selfsyn.world.looks import LOOKS

Image = NDArray[np.uint8]
_FRAMES_PER_TASK = 4
AS_GTA5 = ("engine", "town")  # the synthetic looks


class Frame(NamedTuple):
    """One frame: its number, image (H, W, 3) uint8 RGB, label (H, W) uint8 train ids."""

    number: int
    image: Image
    label: Image


class FrameFiles(NamedTuple):
    image: Path
    label: Path

    def complete(self) -> bool:
        return self.image.is_file() and self.label.is_file()


def gta5_files(root: Path, *, index: int) -> FrameFiles:
    """Where GTA5's layout keeps a frame: images/00001.png and labels/00001.png for index 0."""
    name = f"{index + 1:05d}.png"
    return FrameFiles(root / "images" / name, root / "labels" / name)


def cityscapes_files(root: Path, *, index: int, seed: int, split: str) -> FrameFiles:
    """Where Cityscapes' layout keeps a frame of the city `world`; the seed is its sequence number."""
    name = f"world_{seed:06d}_{index:06d}"
    image = root / "leftImg8bit" / split / "world" / f"{name}_leftImg8bit.png"
    return FrameFiles(image, root / "gtFine" / split / "world" / f"{name}_gtFine_labelIds.png")


def write_gta5(root: Path, frames: Iterable[Frame]) -> None:
    """Write frames as GTA5 does: the label is a palette PNG whose index is the Cityscapes label id, 0 for IGNORE."""
    for frame in frames:
        label = encode_palette_png(LABEL_ID_OF_TRAIN_ID[frame.label], palette=_label_id_palette())
        _write(gta5_files(root, index=frame.number), image=frame.image, label=label)


def write_cityscapes(root: Path, frames: Iterable[Frame], *, seed: int, split: str) -> None:
    """Write frames as Cityscapes does: the label is an 8-bit grey PNG of Cityscapes label ids, 0 for IGNORE."""
    for frame in frames:
        files = cityscapes_files(root, index=frame.number, seed=seed, split=split)
        _write(files, image=frame.image, label=encode_png(LABEL_ID_OF_TRAIN_ID[frame.label]))


def write_world(
    root: Path,
    *,
    look: str,
    seed: int,
    first: int,
    count: int,
    size: tuple[int, int],
    split: str = "train",
    workers: int = 1,
    on_frame: Callable[[int], None] | None = None,
) -> None:
    """Render frames first .. first + count - 1 of a look into `root`; size is (width, height).

    `engine` and `town` become GTA5's layout (which has no splits), `camera` Cityscapes' with the given split. Frames whose
    files are there are kept. Each frame's image is written after its label: an image never lacks its label.
    `on_frame` is called with each index when its files are there. Raises InputError for an unknown look, a negative
    number, no workers, or more frames than the names can count.
    """
    _check(look, seed=seed, first=first, count=count, workers=workers)
    write_one = partial(_write_frame, root, look=look, seed=seed, size=size, split=split)
    for index in _in_order(write_one, range(first, first + count), workers=workers):
        if on_frame is not None:
            on_frame(index)


def _in_order(write_one: Callable[[int], int], indices: range, *, workers: int) -> Iterator[int]:
    if workers == 1:
        yield from map(write_one, indices)
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(max_workers=min(workers, max(1, len(indices))), mp_context=context)
    try:
        yield from executor.map(write_one, indices, chunksize=_FRAMES_PER_TASK)
    finally:  # when a frame fails or the caller is interrupted, do not render the rest first
        executor.shutdown(cancel_futures=True)


def _write_frame(root: Path, index: int, *, look: str, seed: int, size: tuple[int, int], split: str) -> int:
    as_gta5 = look in AS_GTA5
    files = gta5_files(root, index=index) if as_gta5 else cityscapes_files(root, index=index, seed=seed, split=split)
    if files.complete():
        return index
    frame = Frame(index, *render(look, seed=seed, index=index, size=size))
    if as_gta5:
        write_gta5(root, [frame])
    else:
        write_cityscapes(root, [frame], seed=seed, split=split)
    return index


def _write(files: FrameFiles, *, image: Image, label: bytes) -> None:
    write_atomic(files.label, label)
    write_atomic(files.image, encode_png(image))


def _label_id_palette() -> NDArray[np.uint8]:
    """Cityscapes' colours by label id, (256, 3); ids without a class are black."""
    palette = np.zeros((256, 3), np.uint8)
    palette[LABEL_ID_OF_TRAIN_ID[:CLASS_COUNT]] = PALETTE
    return palette


def _check(look: str, *, seed: int, first: int, count: int, workers: int) -> None:
    if look not in LOOKS:
        raise InputError(f"look {look!r} is not known; expected one of {', '.join(LOOKS)}")
    if min(seed, first, count) < 0 or workers < 1:
        raise InputError(f"seed {seed}, first {first}, count {count}, workers {workers}: expected 0 or more, and a worker")
    if look in AS_GTA5 and first + count > 99_999:
        raise InputError(f"frames up to {first + count}: GTA5's five-digit names end at 99999; ask for fewer")
    if max(seed, first + count) > 999_999:
        raise InputError(f"seed {seed}, frames up to {first + count}: six-digit names end at 999999; choose smaller numbers")
