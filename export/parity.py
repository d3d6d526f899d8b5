"""The teacher that is exported is the net that was trained: torch against onnxruntime, on real images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.pipeline import evenly_spaced
from export.teacher import Teacher
from export.to_onnx import Segmenter, label_and_confidence
from selfsyn.errors import FaultError
from selfsyn.images import read_image, resize_image

MISMATCH_SHARE: Final = 1e-4  # of the pixels; measured nets stay below 2e-5
CONFIDENCE_LEVELS: Final = 1
# A pixel may change its class only where two classes tie: where their scores differ by no more than twice the error of
# one score. That error grows with the scores: 3e-5 of the largest was measured, 1e-4 is allowed.
SCORE_ERROR: Final = 1e-4
# A net that unpools by index jumps where two values of a pooling window tie, and no bound holds at those pixels: torch in
# float32 is as far from torch in float64 there (4e-4 of SegNet's pixels) as onnxruntime is (6e-4).
JUMPING: Final = ("segnet",)
JUMP_SHARE: Final = 5e-3
IMAGES: Final = 4


def examples(paths: Sequence[Path], *, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Real images for `compare`: two in a batch at the working size, and one each at two odd sizes.

    -> arrays (B, H, W, 3) uint8. Fewer than four images are taken in turn.
    """
    width, height = size
    chosen = list(itertools.islice(itertools.cycle(evenly_spaced(paths, count=IMAGES)), IMAGES))
    first, second, third, fourth = [read_image(path) for path in chosen]
    batch = np.stack([resize_image(first, size=size), resize_image(second, size=size)])
    odd = resize_image(third, size=(width + 1, height + 3))
    large = resize_image(fourth, size=(width * 5 // 4 | 1, height * 4 // 3 | 1))
    return [batch, odd[None], large[None]]


def compare(segmenter: Segmenter, teacher: Teacher, *, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Both answers to (B, H, W, 3) uint8 images -> what parity.json holds: limits, versions, one case for each shape.

    mismatch_share: pixels of another class.  beyond_share: pixels that differ by more than rounding explains: another
    class without a tie, or a confidence more than one level away.
    """
    jumping = segmenter.task.architecture in JUMPING
    return {
        "limits": {"mismatch_share": MISMATCH_SHARE, "beyond_share": JUMP_SHARE if jumping else 0.0},
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
        "provider": teacher.provider,
        "model": teacher.digest,
        "cases": [_case(segmenter, teacher, images_BHWC) for images_BHWC in images],
    }


def refuse_difference(parity: dict[str, Any], *, name: str) -> None:
    """FaultError, naming the teacher, when a case of compare's result is beyond the limits."""
    for case in parity["cases"]:
        for key, limit in parity["limits"].items():
            if not case[key] <= limit:
                raise FaultError(
                    f"{name}: ONNX differs from torch at {case['width']}x{case['height']} ({key} {case[key]:.3g},"
                    f" allowed {limit:.3g}); no model was written; try other versions of torch and onnxruntime"
                )


def _case(segmenter: Segmenter, teacher: Teacher, images_BHWC: NDArray[np.uint8]) -> dict[str, Any]:
    with torch.inference_mode():
        scores_BKHW = segmenter.eval().scores(torch.tensor(images_BHWC))
        label, confidence = (answer.numpy() for answer in label_and_confidence(scores_BKHW))
    labels, confidences = teacher.predict(images_BHWC)
    margin = _margin(scores_BKHW, labels)
    largest = float(scores_BKHW.abs().max())
    levels = np.abs(confidences.astype(np.int16) - confidence)
    beyond = (levels > CONFIDENCE_LEVELS) | (margin > 2 * SCORE_ERROR * max(1.0, largest))
    batch, height, width = label.shape
    return {
        "batch": batch,
        "height": height,
        "width": width,
        "classes": len(np.unique(label)),
        "mismatches": int((labels != label).sum()),
        "mismatch_share": float((labels != label).mean()),
        "beyond_share": float(beyond.mean()),
        "largest_margin": float(margin.max()),
        "largest_score": largest,
        "largest_confidence_difference": int(levels.max()),
    }


def _margin(scores_BKHW: Tensor, labels_BHW: NDArray[np.uint8]) -> NDArray[np.float32]:
    # How far torch's score of the class that onnxruntime chose lies below torch's best: 0 where they agree.
    chosen = scores_BKHW.gather(1, torch.from_numpy(labels_BHW.astype(np.int64))[:, None]).squeeze(1)
    margin: NDArray[np.float32] = (scores_BKHW.amax(1) - chosen).numpy()
    return margin
