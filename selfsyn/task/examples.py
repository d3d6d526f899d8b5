"""Training examples: which image stands where in which batch, read and augmented by worker threads.

Everything about an example follows from its position (step, slot), so a resumed training sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsyn.ahead import ahead
from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed
from selfsyn.data.frames import Frame, LabelledFrame
from selfsyn.errors import InputError
from selfsyn.images import read_image, resize_image, resize_label
from selfsyn.pseudo_labels import LabelStore
from selfsyn.randomness import generator, item_at

Picture = NDArray[np.uint8]
READ_AHEAD = 4  # batches


class Example(Protocol):
    """Something to learn from: an image and its label, at any sizes that agree in shape."""

    @property
    def name(self) -> str:
        """Where it came from, for messages."""
        ...

    def read(self, size: tuple[int, int]) -> tuple[Picture, Picture]:
        """-> (H, W, 3) RGB and (H, W) train ids at `size` (width, height)."""
        ...


@dataclass(frozen=True)
class LabelledExample:
    """A frame with its own label."""

    frame: LabelledFrame

    @property
    def name(self) -> str:
        """The image file."""
        return str(self.frame.image)

    def read(self, size: tuple[int, int]) -> tuple[Picture, Picture]:
        """See Example."""
        image, label = read_image(self.frame.image), self.frame.read_label()
        return resize_image(image, size=size), resize_label(label, size=size)


@dataclass(frozen=True)
class PseudoLabelledExample:
    """A real image with the teacher's label, of which the most confident `portion` of each class counts."""

    frame: Frame
    store: LabelStore
    portion: float

    @property
    def name(self) -> str:
        """The image file."""
        return str(self.frame.image)

    def read(self, size: tuple[int, int]) -> tuple[Picture, Picture]:
        """See Example."""
        label = self.store.read(self.frame.name, portion=self.portion)
        return resize_image(read_image(self.frame.image), size=size), resize_label(label, size=size)


class Batch(NamedTuple):
    """images (B, H, W, 3) uint8, labels (B, H, W) uint8; the first `synthetic` items are synthetic, the rest pseudo-labelled."""

    images: Tensor
    labels: Tensor
    names: list[str]
    synthetic: int


@dataclass(frozen=True)
class Mixture:
    """What a training learns from, and how a batch is made of it.

    labelled: frames with their own labels.  pseudo: pseudo-labelled frames; `real` of each batch's images are such.
    class_mix: the share of those over which half the classes of a labelled frame are laid.
    """

    labelled: Sequence[Example]
    pseudo: Sequence[Example]
    batch: int
    real: int
    size: tuple[int, int]
    augment: Augment
    seed: int
    purpose: str
    class_mix: float = 0.0

    def __post_init__(self) -> None:
        if self.real and not self.pseudo:
            raise InputError("rounds.real_share asks for real images, but there are no pseudo-labels; run pseudo-label first")

    def example(self, step: int, slot: int) -> tuple[Picture, Picture, str]:
        """The augmented example at a slot of a step's batch: synthetic slots first."""
        synthetic = self.batch - self.real
        is_real = slot >= synthetic
        pool, place = (self.pseudo, step * self.real + slot - synthetic) if is_real else (self.labelled, step * synthetic + slot)
        which = item_at(place, count=len(pool), seed=self.seed, purpose=f"{self.purpose} {'real' if is_real else 'synthetic'}")
        image, label = pool[which].read(self.size)
        rng = generator(self.seed, f"{self.purpose} augment", step, slot)
        if is_real and rng.random() < self.class_mix:
            donor = self.labelled[int(rng.integers(len(self.labelled)))]
            image, label = class_mixed(*donor.read(self.size), onto=(image, label), rng=rng)
        return *augmented(image, label, augment=self.augment, rng=rng), pool[which].name

    def read_batch(self, step: int) -> Batch:
        """The batch of `step`."""
        images, labels, names = zip(*(self.example(step, slot) for slot in range(self.batch)), strict=True)
        return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), list(names), self.batch - self.real)


def batches(mixture: Mixture, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """The batches of steps first..last-1 in order, read ahead by `workers` threads."""
    with ThreadPoolExecutor(max(1, workers)) as threads:
        yield from ahead(mixture.read_batch, range(first, last), threads=threads, most=READ_AHEAD)


def label_counts(examples: Sequence[Example], *, size: tuple[int, int], most: int = 500) -> NDArray[np.int64]:
    """(19,) pixel counts by class over at most `most` evenly spaced examples."""
    stride = max(1, len(examples) // most)
    counts = np.zeros(256, dtype=np.int64)
    for example in examples[::stride]:
        counts += np.bincount(example.read(size)[1].ravel(), minlength=256)
    return counts[:19]
