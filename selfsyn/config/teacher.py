"""[teacher]: how a trained net becomes the teacher, and how the teacher labels."""

from __future__ import annotations

import fractions
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from selfsyn.config.bounds import Below1

Scale = Annotated[float, Meta(ge=0.25, le=4)]


@dataclass(frozen=True)
class Teacher:
    """The exported net.

    precision: of the exported ONNX model, which pseudo-labels and is evaluated. 'fp16' needs half the memory on a GPU; it is
    not always faster.
    flip: test-time augmentation: also run on the mirrored image. The logits of all views are averaged.
    scales: test-time augmentation: run at each of these factors of the working size; 1.0 is that size.
    views: which nets have this test-time augmentation in their ONNX graph.
      'every': all of them.
      'labelling': those that label for a later round. The last round's net, which is delivered, source-only and the oracle
      run once per image.
    unreadable: share of the real images that may be unreadable, rounded up. Such images are recorded and left out; more of
    them stop the run.
    """

    precision: Literal["fp32", "fp16"] = "fp32"
    flip: bool = False
    scales: Annotated[tuple[Scale, ...], Meta(min_length=1)] = (1.0,)
    views: Literal["every", "labelling"] = "every"
    unreadable: Below1 = 0.01

    def spoiled_of(self, images: int) -> int:
        """ceil(unreadable x images): how many may be unreadable."""
        return math.ceil(fractions.Fraction(str(self.unreadable)) * images)  # the decimal as written, not its float
