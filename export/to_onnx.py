"""Task net -> one self-contained ONNX file that keeps the contract. The same weights give the same bytes."""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export import contract
from export.contract import Golden, Metadata
from selfsyn.config import Task
from selfsyn.config import Teacher as TeacherConfig
from selfsyn.progress import say
from selfsyn.task.scores import TaskNet, normalised
from selfsyn.world import render

EXAMPLE_BATCH = 2  # the exporter takes a size of 0 or 1 for a constant
SLOW_SECONDS = 90.0
GOLDEN_SIZE = (128, 96)
PLAIN = TeacherConfig()  # neither mirrored nor at other scales


class Segmenter(nn.Module):
    """The net between the contract's input and outputs: uint8 in, label and confidence out."""

    def __init__(
        self, net: TaskNet, *, task: Task, teacher: TeacherConfig = PLAIN, added: NDArray[np.float32] | None = None
    ) -> None:
        """net: what selfsyn.task.build makes for `task`; its weights are used as they are.  teacher: its flip and scales.

        added: (19,) what is added to the scores of each class; see export.prior.
        """
        super().__init__()
        self.added_1K11 = None if added is None else nn.Buffer(torch.tensor(added)[None, :, None, None])
        self.net = net
        self.task = task
        self.views = [(scale, mirrored) for scale in teacher.scales for mirrored in ((False, True) if teacher.flip else (False,))]

    def scores(self, image_BHWC: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, K, H, W) float logits, the mean over the views, and what is added to it.

        A mean of logits is the geometric mean of the views' probabilities, up to a factor.
        """
        image_BCHW = normalised(image_BHWC, mean=self.task.mean, std=self.task.std)
        first, *others = [self._view(image_BCHW, scale=scale, mirrored=mirrored) for scale, mirrored in self.views]
        scores_BKHW = sum(others, first) / len(self.views) if others else first
        return scores_BKHW if self.added_1K11 is None else scores_BKHW + self.added_1K11

    def _view(self, image_BCHW: Tensor, *, scale: float, mirrored: bool) -> Tensor:
        """Scores of the image at another scale or mirrored, put back where the image has its pixels."""
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
    # In whole numbers: the exporter keeps no float arithmetic on sizes that are not yet known.
    share = Fraction(str(scale))
    height, width = image_BCHW.shape[-2:]
    return height * share.numerator // share.denominator, width * share.numerator // share.denominator


def label_and_confidence(scores_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Logits -> arg-max label and softmax maximum times 255, each (B, H, W) uint8; confidence 0 where not finite.

    One plane after another: on a CPU this runs six times faster than ONNX's Softmax, ReduceMax and ArgMax over 19 planes.
    Of equal scores the lowest class wins. The label is one of the constants, so it is always a class.
    """
    planes = torch.split(scores_BKHW, 1, dim=1)
    best, label = planes[0], torch.zeros_like(planes[0], dtype=torch.uint8)
    for train_id, plane in enumerate(planes[1:], start=1):
        label = torch.where(plane > best, torch.tensor(train_id, dtype=torch.uint8), label)
        best = torch.maximum(best, plane)
    total = torch.exp(planes[0] - best)
    for plane in planes[1:]:
        total = total + torch.exp(plane - best)
    # A comparison with NaN is false, so NaN becomes 0; a cast of NaN to an integer would be anything.
    confidence = torch.where(total >= 1, 255 / total, torch.zeros_like(total)).round().to(torch.uint8)
    return label.squeeze(1), confidence.squeeze(1)


def to_onnx(segmenter: Segmenter, *, metadata: Metadata) -> bytes:
    """-> the bytes of the ONNX file, weights inside, with dynamic batch, height and width.

    Says how long it took: backbones whose padding depends on the size (timm's tf_*) take minutes.
    """
    began = time.monotonic()
    width, height = metadata.size
    example = torch.zeros(EXAMPLE_BATCH, height, width, 3, dtype=torch.uint8)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            segmenter.eval(),
            (example,),
            input_names=[contract.IMAGE],
            output_names=[contract.LABEL, contract.CONFIDENCE],
            opset_version=contract.OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch", 1: "height", 2: "width"},),
            verbose=False,
        )
    assert program is not None
    data = _anonymous(program.model_proto, properties=contract.to_properties(metadata, golden=golden(segmenter)))
    seconds = time.monotonic() - began
    slow = "; a backbone with static padding would take seconds" if seconds > SLOW_SECONDS * len(segmenter.views) else ""
    say(f"exported {len(data) / 1e6:.1f} MB of ONNX in {seconds:.1f} s{slow}")
    return data


def golden(segmenter: Segmenter) -> Golden:
    """A street that we render, so that whoever gets the file may have it, and the net's answer to it."""
    image, _ = render("camera", seed=0, index=1, size=GOLDEN_SIZE)
    with torch.inference_mode():
        label, confidence = (answer[0].numpy() for answer in segmenter.eval()(torch.tensor(image)[None]))
    return Golden(image, label, confidence)


def _anonymous(model: onnx.ModelProto, *, properties: dict[str, str]) -> bytes:
    # The exporter notes stack traces and source paths at every node: they leak local paths and change the bytes.
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Progress marks on stdout, and warnings about packages that we do not need.
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
