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

    precision: of the ONNX file that labels and is evaluated. 'fp16' needs half the memory on a GPU; it is not always faster.
    flip: test-time augmentation: also look at the mirrored image, and average the logits.
    scales: test-time augmentation: factors of the working size at which the teacher looks at an image; 1.0 is that size.
    views: which nets use this test-time augmentation. 'every' net, or 'labelling': only those of the rounds before the last.
    The last round's net, which is delivered, and the bounds then look at an image once.
    unreadable: share of the real images that may be unreadable, rounded up; such images are recorded and left out.
    """

    precision: Literal["fp32", "fp16"] = "fp32"
    flip: bool = False
    scales: Annotated[tuple[Scale, ...], Meta(min_length=1)] = (1.0,)
    views: Literal["every", "labelling"] = "every"
    unreadable: Below1 = 0.01

    def spoiled_of(self, images: int) -> int:
        """ceil(unreadable x images): how many may be unreadable."""
        return math.ceil(fractions.Fraction(str(self.unreadable)) * images)  # the decimal as written, not its float
