"""Export of a task net as one self-contained ONNX file (export.contract). The same weights give the same bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from export import contract
from export.contract import Golden, Metadata
from export.traced import exported
from selfsyn.config import Task
from selfsyn.config import Teacher as TeacherConfig
from selfsyn.images import read_image
from selfsyn.progress import say
from selfsyn.task.scores import TaskNet, normalised

GOLDEN_IMAGE = Path(__file__).with_name("golden.png")  # rendered by selfsyn.world, so anybody may have it
PLAIN = TeacherConfig()  # neither mirrored nor at other scales


class Segmenter(nn.Module):
    """A net with the contract's input and outputs: uint8 images in, label and confidence out."""

    def __init__(self, net: TaskNet, *, task: Task, teacher: TeacherConfig = PLAIN) -> None:
        """net: built for `task` by selfsyn.task.build.  teacher: flip and scales of its views."""
        super().__init__()
        self.net = net
        self.task = task
        self.views = [(scale, mirrored) for scale in teacher.scales for mirrored in ((False, True) if teacher.flip else (False,))]

    def scores(self, image_BHWC: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, K, H, W) float logits, the mean over the views.

        A mean of logits is the geometric mean of the views' probabilities, up to a factor.
        """
        image_BCHW = normalised(image_BHWC, mean=self.task.mean, std=self.task.std)
        first, *others = [self._view(image_BCHW, scale=scale, mirrored=mirrored) for scale, mirrored in self.views]
        return sum(others, first) / len(self.views) if others else first

    def _view(self, image_BCHW: Tensor, *, scale: float, mirrored: bool) -> Tensor:
        """Scores of the scaled or mirrored image, mapped back to the image's pixels."""
        seen = resized(image_BCHW, size=_scaled(image_BCHW, scale)) if scale != 1 else image_BCHW
        scores_BKHW = self.net.fused(seen.flip(3) if mirrored else seen, auxiliary=self.task.auxiliary_at_inference)
        scores_BKHW = scores_BKHW.flip(3) if mirrored else scores_BKHW
        return resized(scores_BKHW, size=image_BCHW.shape[-2:]) if scale != 1 else scores_BKHW

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> label and confidence, each (B, H, W) uint8; see export.contract."""
        return label_and_confidence(self.scores(image_BHWC))


def resized(planes_BCHW: Tensor, *, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear, pixel centres on pixel centres; size is (height, width)."""
    return functional.interpolate(planes_BCHW, size=tuple(size), mode="bilinear", align_corners=False)


def _scaled(image_BCHW: Tensor, scale: float) -> tuple[int, int]:
    # In integers: the exporter cannot express float arithmetic on dynamic sizes.
    share = Fraction(str(scale))
    height, width = image_BCHW.shape[-2:]
    return height * share.numerator // share.denominator, width * share.numerator // share.denominator


def label_and_confidence(scores_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Logits -> arg-max label and softmax maximum times 255, each (B, H, W) uint8; confidence 0 where not finite.

    The loop over planes is six times faster on a CPU than ONNX's Softmax, ReduceMax and ArgMax over the planes of 19 classes.
    Of equal scores the lowest class wins. Every label is one of the constants, so it is always a class.
    """
    planes = torch.split(scores_BKHW, 1, dim=1)
    best, label = planes[0], torch.zeros_like(planes[0], dtype=torch.uint8)
    for train_id, plane in enumerate(planes[1:], start=1):
        label = torch.where(plane > best, torch.tensor(train_id, dtype=torch.uint8), label)
        best = torch.maximum(best, plane)
    total = torch.exp(planes[0] - best)
    for plane in planes[1:]:
        total = total + torch.exp(plane - best)
    # A comparison with NaN is false, so NaN becomes 0; casting NaN to an integer is undefined.
    confidence = torch.where(total >= 1, 255 / total, torch.zeros_like(total)).round().to(torch.uint8)
    return label.squeeze(1), confidence.squeeze(1)


def to_onnx(segmenter: Segmenter, *, metadata: Metadata, graphs: Path | None = None) -> bytes:
    """-> the bytes of the ONNX file, weights inside, with dynamic batch, height and width.

    graphs: a folder that caches graphs without weights, so that each kind of net is traced once (export.traced).
    Logs the time: backbones whose padding depends on the size (timm's tf_*) take minutes.
    """
    began = time.monotonic()
    model = exported(segmenter.eval(), size=metadata.size, folder=graphs)
    data = _anonymous(model, properties=contract.to_properties(metadata, golden=golden(segmenter)))
    seconds = time.monotonic() - began
    say(f"exported {len(data) / 1e6:.1f} MB of ONNX in {seconds:.1f} s")
    return data


def golden(segmenter: Segmenter) -> Golden:
    """GOLDEN_IMAGE and the net's answer to it."""
    image = read_image(GOLDEN_IMAGE)
    with torch.inference_mode():
        label, confidence = (answer[0].numpy() for answer in segmenter.eval()(torch.tensor(image)[None]))
    return Golden(image, label, confidence)


def _anonymous(model: onnx.ModelProto, *, properties: dict[str, str]) -> bytes:
    # The exporter stores stack traces and source paths in every node: they leak local paths and change the bytes.
    for node in _nodes(model.graph):
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    for holder in (model, model.graph):
        holder.doc_string = ""
        del holder.metadata_props[:]
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)
