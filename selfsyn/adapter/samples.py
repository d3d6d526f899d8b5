"""What a person looks at while the adapter learns: a few pictures, and whether the frozen net still sees the same street."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from selfsyn.adapter.adapt import Example, read_example, translate
from selfsyn.adapter.networks import Generator
from selfsyn.adapter.pixels import main_logits, signed
from selfsyn.config import RunConfig, Task
from selfsyn.data import Frame, LabelledFrame
from selfsyn.images import encode_png, read_image, resize_image
from selfsyn.labels import IGNORE

EXAMPLES = 8  # synthetic frames on which agreement is measured
ROWS = 4  # of the sheet

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """Fixed frames at working size: synthetic ones with labels, and real images for comparison."""

    synthetic: Sequence[Example]
    real: Sequence[NDArray[np.uint8]]


def read_samples(synthetic: Sequence[LabelledFrame], real: Sequence[Frame], *, config: RunConfig) -> Samples:
    """Evenly spaced frames of both domains."""
    examples = [read_example(frame, size=config.size) for frame in _spaced(synthetic, EXAMPLES)]
    return Samples(examples, [resize_image(read_image(frame.image), size=config.size) for frame in _spaced(real, ROWS)])


def agreement(frozen: nn.Module, samples: Samples, *, task: Task, generator: Generator | None = None) -> float:
    """Share of the labelled pixels that the frozen net gets right, on the images as they are or adapted by `generator`."""
    right = counted = 0
    for example in samples.synthetic:
        image_HWC = translate(generator, example.image) if generator is not None else example.image
        valid_HW = example.label != IGNORE
        right += int((_predicted(frozen, image_HWC, task=task) == example.label)[valid_HW].sum())
        counted += int(valid_HW.sum())
    return right / max(1, counted)


def sheet(generator: Generator, samples: Samples) -> bytes:
    """PNG: in each row a synthetic image, the same adapted, and a real image."""
    rows = [
        np.concatenate([example.image, translate(generator, example.image), real_HWC], axis=1)
        for example, real_HWC in zip(_spaced(samples.synthetic, ROWS), samples.real, strict=False)
    ]
    return encode_png(np.concatenate(rows))


@torch.no_grad()
def _predicted(frozen: nn.Module, image_HWC: NDArray[np.uint8], *, task: Task) -> NDArray[np.int64]:
    device = next(frozen.parameters()).device
    classes_HW: NDArray[np.int64] = main_logits(frozen, signed(image_HWC)[None].to(device), task=task)[0].argmax(0).cpu().numpy()
    return classes_HW


def _spaced(items: Sequence[T], most: int) -> list[T]:
    return list(items[:: max(1, len(items) // most)][:most])
