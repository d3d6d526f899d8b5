"""Sample images of a fit for inspection, and the frozen net's predictions on them before and after adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from selfsyn.adapter.adapt import Example, read_example, read_sized
from selfsyn.adapter.generator import Generator
from selfsyn.adapter.pixels import main_logits, signed
from selfsyn.adapter.tiles import translate
from selfsyn.classes import ClassList
from selfsyn.config import RunConfig
from selfsyn.data import Frame, LabelledFrame
from selfsyn.images import encode_png, resize_image, resize_label
from selfsyn.labels import IGNORE

EXAMPLES = 8  # synthetic frames for `content`
ROWS = 4  # of the sheet
DIFFERENCE_GAIN = 2  # of the sheet's difference column, around middle grey

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Fixed frames at the size of adaptation: synthetic frames with labels, and real images for comparison."""

    synthetic: Sequence[Example]
    real: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Content:
    """The frozen net's predictions on the synthetic samples.

    agreement: pixel accuracy on labelled pixels, 0..1.  shares: (K,) share of all pixels predicted as each of the classes.
    """

    agreement: float
    shares: NDArray[np.float64]

    def moved(self, other: Content) -> float:
        """Total variation distance of the class shares, 0 to 1: the share of pixels that must change class to match `other`."""
        return float(np.abs(self.shares - other.shares).sum() / 2)

    def by_class(self, classes: ClassList) -> dict[str, float]:
        """The shares by class name, rounded."""
        return {name: round(float(share), 5) for name, share in zip(classes.names, self.shares, strict=True)}


def read_samples(synthetic: Sequence[LabelledFrame], real: Sequence[Frame], *, config: RunConfig) -> Samples:
    """Read evenly spaced frames of both domains."""
    size = config.adapted_size
    examples = [read_example(frame, size=size) for frame in _spaced(synthetic, EXAMPLES)]
    return Samples(examples, [read_sized(frame, size=size) for frame in _spaced(real, ROWS)])


def content(frozen: nn.Module, samples: Samples, *, config: RunConfig, generator: Generator | None = None) -> Content:
    """The frozen net's predictions on the samples at config.size, adapted if `generator` is given."""
    right = counted = 0
    pixels = np.zeros(len(config.class_list), np.int64)
    for example in samples.synthetic:
        adapted_HWC = translate(generator, example.image, seed=config.seed, name=example.name) if generator else example.image
        predicted_HW = _predicted(frozen, resize_image(adapted_HWC, size=config.size), config=config)
        label_HW = resize_label(example.label, size=config.size)
        valid_HW = label_HW != IGNORE
        right += int((predicted_HW == label_HW)[valid_HW].sum())
        counted += int(valid_HW.sum())
        pixels += np.bincount(predicted_HW.ravel(), minlength=len(pixels))
    return Content(right / max(1, counted), pixels / pixels.sum())


def sheet(generator: Generator, samples: Samples, *, seed: int) -> bytes:
    """PNG with rows of: a synthetic image, its adapted version, their difference around grey, a real image."""
    pairs = zip(_spaced(samples.synthetic, ROWS), samples.real, strict=False)
    rows = [_row(generator, example, real_HWC, seed=seed) for example, real_HWC in pairs]
    return encode_png(np.concatenate([resize_image(row, size=rows[0].shape[1::-1]) for row in rows]))


def _row(generator: Generator, example: Example, real_HWC: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    adapted_HWC = translate(generator, example.image, seed=seed, name=example.name)
    difference_HWC = DIFFERENCE_GAIN * (adapted_HWC.astype(np.int16) - example.image) + 128
    height, width = example.image.shape[:2]
    columns = [example.image, adapted_HWC, difference_HWC.clip(0, 255).astype(np.uint8)]
    return np.concatenate([*columns, resize_image(real_HWC, size=(width, height))], axis=1)


@torch.no_grad()
def _predicted(frozen: nn.Module, image_HWC: NDArray[np.uint8], *, config: RunConfig) -> NDArray[np.int64]:
    device = next(frozen.parameters()).device
    logits_BKHW = main_logits(frozen, signed(image_HWC)[None].to(device), task=config.task)
    classes_HW: NDArray[np.int64] = logits_BKHW[0].argmax(0).cpu().numpy()
    return classes_HW


def _spaced(items: Sequence[T], most: int) -> list[T]:
    return list(items[:: max(1, len(items) // most)][:most])
