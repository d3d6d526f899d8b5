"""Translation of every synthetic frame to the real domain; labels are resized to the same size."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from selfsyn.adapter.generator import Generator, build_generator
from selfsyn.adapter.tiles import translate
from selfsyn.ahead import ahead
from selfsyn.classes import CITYSCAPES_19, ClassList
from selfsyn.config import Adapter
from selfsyn.data import Frame, LabelledFrame
from selfsyn.errors import InputError
from selfsyn.files import digest_file, digest_lines, write_atomic
from selfsyn.images import encode_label_png, encode_png, read_ids, read_image, resize_image, resize_label
from selfsyn.progress import track
from selfsyn.stopping import Stopping

IMAGES, LABELS = "images", "labels"
WAITING = 8  # most frames read ahead, and most frames waiting to be written


class Example(NamedTuple):
    """A frame at the size of adaptation: image (H, W, 3) RGB, label (H, W) train ids, both uint8."""

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]


def load_generator(path: Path, *, adapter: Adapter, device: torch.device) -> Generator:
    """Load the generator that `fit` wrote to weights.safetensors. InputError unless every weight fits."""
    generator = build_generator(adapter, device=device)
    try:
        generator.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: not this adapter's weights ({str(error).splitlines()[0]}); run `selfsyn fit-adapter --force`"
        ) from error
    return generator.eval().requires_grad_(False)


def adapt(
    generator: Generator,
    frames: Sequence[LabelledFrame],
    *,
    size: tuple[int, int] | None,
    seed: int,
    folder: Path,
    workers: int,
    stopping: Stopping,
    classes: ClassList = CITYSCAPES_19,
) -> dict[str, str]:
    """Write images/NAME.png and labels/NAME.png of every frame; returns the digest of each folder.

    size: (width, height), or None to keep each frame's size. A frame's grain depends only on `seed` and its name.
    classes: of the labels, for their colours.

    Frames that an earlier attempt wrote are kept. `workers` threads read and write, the calling thread translates. On
    SIGTERM: the frames in progress are written, then exit 143.
    """
    with ThreadPoolExecutor(max(1, workers)) as threads:
        done = list(threads.map(lambda frame: _is_written(frame, folder), frames))
        todo = [frame for frame, written in zip(frames, done, strict=True) if not written]
        examples = ahead(lambda frame: read_example(frame, size=size), todo, threads=threads, most=WAITING)
        writes: deque[Future[None]] = deque()
        for example in track(examples, total=len(frames), label="adapt", first=len(frames) - len(todo)):
            adapted = translate(generator, example.image, seed=seed, name=example.name)
            writes.append(threads.submit(_write, example._replace(image=adapted), folder, classes))
            _wait(writes, most=0 if stopping.requested else WAITING)
            stopping.exit_if_requested()
        _wait(writes, most=0)
        return {part: _folder_digest(frames, folder / part, threads) for part in (IMAGES, LABELS)}


def read_example(frame: LabelledFrame, *, size: tuple[int, int] | None) -> Example:
    """The frame's image and label at `size` (width, height), or at their size on disk."""
    return Example(frame.name, read_sized(frame, size=size), _sized_label(frame, size=size))


def read_sized(frame: Frame, *, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The frame's image at `size` (width, height), or at its size on disk."""
    image = read_image(frame.image)
    return resize_image(image, size=size) if size else image


def _sized_label(frame: LabelledFrame, *, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    label = frame.read_label()
    return resize_label(label, size=size) if size else label


def _paths(name: str, folder: Path) -> tuple[Path, Path]:
    return folder / IMAGES / f"{name}.png", folder / LABELS / f"{name}.png"


def _write(example: Example, folder: Path, classes: ClassList) -> None:
    # The label first, so that no image exists without its label.
    image, label = _paths(example.name, folder)
    write_atomic(label, encode_label_png(example.label, classes))
    write_atomic(image, encode_png(example.image))


def _is_written(frame: Frame, folder: Path) -> bool:
    image, label = _paths(frame.name, folder)
    if not (image.exists() and label.exists()):
        return False
    try:
        return read_image(image).shape[:2] == read_ids(label).shape
    except InputError:
        return False


def _wait(writes: deque[Future[None]], *, most: int) -> None:
    while len(writes) > most:
        writes.popleft().result()


def _folder_digest(frames: Sequence[Frame], folder: Path, threads: ThreadPoolExecutor) -> str:
    digests = threads.map(lambda frame: digest_file(folder / f"{frame.name}.png"), frames)
    return digest_lines(f"{frame.name}\t{digest}" for frame, digest in zip(frames, digests, strict=True))
