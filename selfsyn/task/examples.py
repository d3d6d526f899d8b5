"""Training examples: which image stands where in which batch, read and augmented by worker threads.

Everything about an example follows from its position (step, slot), so a resumed training sees what an unbroken one would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsyn.ahead import ahead
from selfsyn.config import Augment
from selfsyn.data.augment import augmented, class_mixed
from selfsyn.data.frames import Frame, LabelledFrame
from selfsyn.data.mixing import NOTHING, Mix
from selfsyn.errors import InputError
from selfsyn.images import read_image
from selfsyn.pseudo_labels import LabelStore
from selfsyn.randomness import generator

Picture = NDArray[np.uint8]
READ_AHEAD = 4  # batches


class Example(Protocol):
    """Something to learn from: an image and its label."""

    @property
    def name(self) -> str:
        """Where it came from, for messages."""
        ...

    def read(self) -> tuple[Picture, Picture]:
        """-> (H, W, 3) RGB and (H, W) train ids as they are on disk; the two may differ in size, not in what they show."""
        ...

    def read_label(self) -> Picture:
        """-> (H, W) train ids alone."""
        ...


@dataclass(frozen=True)
class LabelledExample:
    """A frame with its own label."""

    frame: LabelledFrame

    @property
    def name(self) -> str:
        """The image file."""
        return str(self.frame.image)

    def read(self) -> tuple[Picture, Picture]:
        """See Example."""
        return read_image(self.frame.image), self.read_label()

    def read_label(self) -> Picture:
        """See Example."""
        return self.frame.read_label()


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

    def read(self) -> tuple[Picture, Picture]:
        """See Example."""
        return read_image(self.frame.image), self.read_label()

    def read_label(self) -> Picture:
        """See Example."""
        return self.store.read(self.frame.name, portion=self.portion)


class Batch(NamedTuple):
    """images (B, H, W, 3) uint8, labels (B, H, W) uint8; the first `synthetic` items are synthetic, the rest real.

    true (B, H, W) bool: where the label is no pseudo-label.
    """

    images: Tensor
    labels: Tensor
    true: Tensor
    names: list[str]
    synthetic: int


@dataclass(frozen=True)
class Mixture:
    """What a training learns from, and how a batch is made of it.

    labelled: frames with their own labels.  pseudo: pseudo-labelled frames; `real` of each batch's images are such.
    labelled_mix, pseudo_mix: which of them stands at which position.
    class_mix: the share of those over which half the classes of a labelled frame are laid.
    rank, ranks: which part of each batch this is, of how many: each `ranks`-th image from the `rank`-th on.
    """

    labelled: Sequence[Example]
    labelled_mix: Mix
    batch: int
    size: tuple[int, int]
    augment: Augment
    seed: int
    purpose: str
    pseudo: Sequence[Example] = ()
    pseudo_mix: Mix = NOTHING
    real: int = 0
    class_mix: float = 0.0
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.real and not self.pseudo:
            raise InputError("rounds.real_share asks for real images, but there are no pseudo-labels; run pseudo-label first")

    def part(self, rank: int, *, of: int) -> Mixture:
        """The part that process `rank` of so many learns from. InputError when a batch cannot be shared by so many."""
        if self.batch % of or self.real % of:
            raise InputError(
                f"a batch of {self.batch} images, {self.real} of them real, cannot be shared by {of} processes;"
                " start fewer, or set train.batch and rounds.real_share so that both numbers are multiples of it"
            )
        return replace(self, rank=rank, ranks=of)

    def example(self, step: int, slot: int) -> tuple[Picture, Picture, NDArray[np.bool_], str]:
        """The augmented image, its label, where the label is true, and its name, at a slot of a step's batch: synthetic first."""
        synthetic = self.batch - self.real
        rng = generator(self.seed, f"{self.purpose} augment", step, slot)
        if slot < synthetic:
            chosen = self._synthetic(step * synthetic + slot)
            image, label = self._augmented(chosen, rng)
            return image, label, np.ones(label.shape, dtype=bool), chosen.name
        chosen = self._real(step * self.real + slot - synthetic)
        image, label = self._augmented(chosen, rng)
        if rng.random() >= self.class_mix:
            return image, label, np.zeros(label.shape, dtype=bool), chosen.name
        above = self._augmented(self.labelled[int(rng.integers(len(self.labelled)))], rng)
        return *class_mixed(*above, onto=(image, label), rng=rng), chosen.name

    def _augmented(self, example: Example, rng: np.random.Generator) -> tuple[Picture, Picture]:
        return augmented(*example.read(), size=self.size, augment=self.augment, rng=rng)

    def _synthetic(self, position: int) -> Example:
        return self.labelled[self.labelled_mix.item(position, seed=self.seed, purpose=f"{self.purpose} synthetic")]

    def _real(self, position: int) -> Example:
        return self.pseudo[self.pseudo_mix.item(position, seed=self.seed, purpose=f"{self.purpose} real")]

    def read_batch(self, step: int) -> Batch:
        """This part of the batch of `step`."""
        *arrays, names = zip(*(self.example(step, slot) for slot in range(self.rank, self.batch, self.ranks)), strict=True)
        images, labels, true = (torch.from_numpy(np.stack(array)) for array in arrays)
        return Batch(images, labels, true, list(names), (self.batch - self.real) // self.ranks)


def batches(mixture: Mixture, *, first: int, last: int, workers: int) -> Iterator[Batch]:
    """The batches of steps first..last-1 in order, read ahead by `workers` threads."""
    with ThreadPoolExecutor(max(1, workers)) as threads:
        yield from ahead(mixture.read_batch, range(first, last), threads=threads, most=READ_AHEAD)


def label_counts(examples: Sequence[Example], *, most: int = 500) -> NDArray[np.int64]:
    """(19,) pixel counts by class over at most `most` evenly spaced examples."""
    stride = max(1, len(examples) // most)
    counts = np.zeros(256, dtype=np.int64)
    for example in examples[::stride]:
        counts += np.bincount(example.read_label().ravel(), minlength=256)
    return counts[:19]
