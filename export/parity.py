"""Parity of the exported teacher with the trained net: onnxruntime against torch, on real images.

Where they choose different classes for a pixel, rounding must explain it: if a pixel's scores differ by at most d, then the class
that onnxruntime chose scores at most 2 d below torch's best. The check uses each pixel's own d and limits d itself; a model with
an unexplained difference is not written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from export import contract, graph
from export.teacher import Teacher
from export.to_onnx import Segmenter, label_and_confidence
from selfsyn.data.sample import evenly_spaced
from selfsyn.errors import FaultError
from selfsyn.images import UnreadableError, read_image, resize_image
from selfsyn.progress import say

IMAGES: Final = 4
SLACK: Final = 1e-5  # of the largest score: float32 sums in another order, here and in the model's own arg-max
Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Limits:
    """The largest differences that a model may have.

    score_error: of a score, as a share of the largest.  beyond_share: of pixels with a larger score error.
    mismatch_share: of pixels with another class.
    """

    score_error: float
    beyond_share: float
    mismatch_share: float


# Measured (benchmarks/parity.py): score errors of 3e-6 in float32 and 3e-3 in float16, mismatches of 0 and 2e-3.
LIMITS: Final = {contract.FP32: Limits(1e-4, 0.0, 1e-4), contract.FP16: Limits(2e-2, 0.0, 5e-3)}
# A net that unpools by index is discontinuous where two values of a pooling window tie: there torch in float32 differs from torch
# in float64 as much as onnxruntime does. Measured: 8 % of a picture's scores were off by up to 6e-3 (float16: 2e-2), and up to
# 9e-5 of the classes differed (float16: 1e-3).
JUMPING: Final = ("segnet",)
LIMITS_OF_JUMPING: Final = {contract.FP32: Limits(2e-2, 5e-3, 5e-4), contract.FP16: Limits(5e-2, 5e-3, 5e-3)}


def limits_of(segmenter: Segmenter, *, precision: str) -> Limits:
    """The limits for an export of this net in `precision`."""
    return (LIMITS_OF_JUMPING if segmenter.task.architecture in JUMPING else LIMITS)[precision]


def examples(paths: Sequence[Path], *, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Real images for `compare`: a batch of two at the working size, and one image each at two odd sizes.

    -> arrays (B, H, W, 3) uint8. Fewer than four images are repeated; an unreadable image is replaced by the next readable
    one. UnreadableError when there is none.
    """
    width, height = size
    chosen = itertools.islice(itertools.cycle(evenly_spaced(range(len(paths)), count=IMAGES)), IMAGES)
    first, second, third, fourth = [_readable(paths, first=position) for position in chosen]
    batch = np.stack([resize_image(first, size=size), resize_image(second, size=size)])
    odd = resize_image(third, size=(width + 1, height + 3))
    large = resize_image(fourth, size=(width * 5 // 4 | 1, height * 4 // 3 | 1))
    return [batch, odd[None], large[None]]


def _readable(paths: Sequence[Path], *, first: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: the first readable image from position `first` on; the search wraps around."""
    for path in (*paths[first:], *paths[:first]):
        try:
            return read_image(path)
        except UnreadableError as error:
            say(f"{error}; the parity check uses the next image")
            last = error
    raise last


@dataclass(frozen=True)
class Answer:
    """Torch's answer to a batch.

    images_BHWC: uint8.  scores_BKHW: float logits.  label, confidence: (B, H, W) uint8.
    """

    images_BHWC: NDArray[np.uint8]
    scores_BKHW: Tensor
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


def answers(segmenter: Segmenter, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
    """Torch's answers to (B, H, W, 3) uint8 images; `compare` uses them for each exported file."""
    return [_answer(segmenter.eval(), images_BHWC) for images_BHWC in images]


def _answer(segmenter: Segmenter, images_BHWC: NDArray[np.uint8]) -> Answer:
    with torch.inference_mode():
        scores_BKHW = segmenter.scores(torch.tensor(images_BHWC))
        label, confidence = (answer.numpy() for answer in label_and_confidence(scores_BKHW))
    return Answer(images_BHWC, scores_BKHW, label, confidence)


def scorer(model: bytes, *, device: str = "cpu") -> Scorer:
    """A function: (B, H, W, 3) uint8 images -> the model's (B, K, H, W) float32 scores before post-processing."""
    session = Teacher(graph.scored(model), device=device).session
    return lambda images_BHWC: session.run([graph.SCORES], {contract.IMAGE: images_BHWC})[0]


def compare(net: Sequence[Answer], teacher: Teacher, *, scores: Scorer, limits: Limits) -> dict[str, Any]:
    """The answers of net and teacher -> the content of parity.json: limits, versions, a case for each image shape.

    scores: of the teacher's model. A case counts pixels: mismatches have another class; beyond_share have a score error above
    the limit; unexplained have a class or a confidence that the pixel's own score difference does not explain.
    """
    return {
        "limits": asdict(limits),
        "torch": torch.__version__,
        "onnxruntime": ort.__version__,
        "provider": teacher.provider,
        "model": teacher.digest,
        "cases": [_case(answer, teacher, scores, limits=limits) for answer in net],
    }


def fault_of(parity: dict[str, Any]) -> str | None:
    """The first case beyond the limits, in words; None when all are within them."""
    for case in parity["cases"]:
        for key, limit in (*((key, parity["limits"][key]) for key in ("mismatch_share", "beyond_share")), ("unexplained", 0)):
            if not case[key] <= limit:
                return f"ONNX differs from torch at {case['width']}x{case['height']} ({key} {case[key]:.3g}, allowed {limit:.3g})"
    return None


def refuse_difference(parity: dict[str, Any], *, name: str) -> None:
    """FaultError, naming the teacher, when a case is beyond the limits."""
    fault = fault_of(parity)
    if fault is not None:
        raise FaultError(f"{name}: {fault}; no model was written; try other versions of torch and onnxruntime")


def _case(net: Answer, teacher: Teacher, scores: Scorer, *, limits: Limits) -> dict[str, Any]:
    ours_BKHW, label, confidence = net.scores_BKHW, net.label, net.confidence
    labels, confidences = teacher.predict(net.images_BHWC)
    difference = (torch.from_numpy(scores(net.images_BHWC)) - ours_BKHW).abs().amax(1).numpy()
    largest = max(1.0, float(ours_BKHW.abs().max()))
    levels = np.abs(confidences.astype(np.int16) - confidence)
    margin, reach = _margin(ours_BKHW, labels), 2 * (difference + SLACK * largest)
    unexplained = (margin > reach) | (levels > _levels(confidence, reach)) | ~np.isfinite(difference)
    batch, height, width = label.shape
    return {
        "batch": batch,
        "height": height,
        "width": width,
        "classes": len(np.unique(label)),
        "mismatches": int((labels != label).sum()),
        "mismatch_share": float((labels != label).mean()),
        "beyond_share": float((difference > limits.score_error * largest).mean()),
        "unexplained": int(unexplained.sum()),
        "largest_score": largest,
        "largest_score_difference": float(difference.max()),
        "largest_margin": float(margin.max()),
        "largest_confidence_difference": int(levels.max()),
    }


def _margin(scores_BKHW: Tensor, labels_BHW: NDArray[np.uint8]) -> NDArray[np.float32]:
    # Torch's best score minus torch's score of the class that onnxruntime chose: 0 where they agree.
    chosen = scores_BKHW.gather(1, torch.from_numpy(labels_BHW.astype(np.int64))[:, None]).squeeze(1)
    margin: NDArray[np.float32] = (scores_BKHW.amax(1) - chosen).numpy()
    return margin


def _levels(confidence: NDArray[np.uint8], reach: NDArray[np.floating]) -> NDArray[np.floating]:
    # Scores that move by d each change a softmax share by a factor of at most exp(2 d). Both sides are rounded: one level.
    return 1 + (confidence + np.float32(0.5)) * np.expm1(np.minimum(reach, 20))
