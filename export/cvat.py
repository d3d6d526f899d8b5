"""The teacher as an auto-annotation function of CVAT: masks of each class, with a threshold. Needs the package cvat-sdk.

    cvat-cli task auto-annotate TASK --function-file export/cvat.py -p model=str:model.onnx --conf-threshold 0.8
    cvat-cli function create-native NAME --function-file export/cvat.py -p model=str:model.onnx     (then: run-agent)

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.teacher import Teacher
from selfsyn.images import resize_image, resize_label

if TYPE_CHECKING:
    from PIL import Image

SMALLEST = 3  # corners of a polygon
SMOOTH = 1.0  # pixels that a polygon may be away from its mask's edge


class Function:
    """What `cvat_sdk.auto_annotation` calls a detection function: a `spec` with the labels, and `detect`."""

    def __init__(self, model: str, device: str = "auto", threshold: float = 0.0) -> None:
        """model: an exported teacher (model.onnx).  device: 'cpu', 'cuda' or 'auto'.

        threshold: lowest confidence of a pixel, 0..1, unless CVAT asks for another (its `conf_threshold`).
        """
        import cvat_sdk.auto_annotation as auto

        self.teacher = Teacher(Path(model), device=device)
        self.teacher.check()
        self.threshold = threshold
        labels = [auto.label_spec(name, number, type="mask") for number, name in enumerate(self.teacher.metadata.classes)]
        self.spec = auto.DetectionFunctionSpec(labels=labels)

    def detect(self, context: Any, image: Image.Image) -> list[Any]:
        """-> one mask for each class in the image, or its polygons if CVAT wants polygons; `score` is the mean confidence."""
        import cvat_sdk.auto_annotation as auto
        from cvat_sdk.masks import encode_mask

        label, confidence = self._maps(np.asarray(image.convert("RGB")))
        threshold = self.threshold if context.conf_threshold is None else context.conf_threshold
        found = []
        for train_id, pixels, score in segments(label, confidence, threshold=threshold):
            if context.conv_mask_to_poly:
                shapes = [auto.polygon(train_id, points) for points in polygons(pixels)]
            else:
                shapes = [auto.mask(train_id, encode_mask(pixels))]
            for shape in shapes:
                shape.score = score
            found += shapes
        return found

    def _maps(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(H, W, 3) RGB -> (H, W) labels and confidences, computed at the teacher's size."""
        size = (image.shape[1], image.shape[0])
        small = resize_image(image, size=self.teacher.size)
        labels, confidences = self.teacher.predict(np.repeat(small[None], self.teacher.batch, axis=0))
        return resize_label(labels[0], size=size), resize_label(confidences[0], size=size)


def segments(
    label: NDArray[np.uint8], confidence: NDArray[np.uint8], *, threshold: float
) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
    """(train id, its pixels (H, W), their mean confidence 0..1) of each class with pixels of at least `threshold`, 0..1."""
    sure = confidence >= 255 * threshold
    for train_id in np.unique(label[sure]).tolist():
        pixels = sure & (label == train_id)
        yield train_id, pixels, round(float(confidence[pixels].mean()) / 255, 4)


def polygons(pixels: NDArray[np.bool_]) -> Iterator[list[float]]:
    """The outlines of a mask (H, W) as [x, y, x, y, ...]. Holes are lost: a polygon of CVAT has none."""
    outlines, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines:
        points = cv2.approxPolyDP(outline, SMOOTH, closed=True)
        if len(points) >= SMALLEST:
            yield points.ravel().astype(float).tolist()


create = Function  # what cvat-cli calls with the values of -p
