"""SegNet (Badrinarayanan et al. 2017): VGG16's 13 convolutions, a mirrored decoder, and max-pooling indices between them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import vgg16_bn
from torchvision.models.segmentation.fcn import FCNHead

from selfsyn.config import Task
from selfsyn.errors import InputError
from selfsyn.task.scores import Scores, TaskNet

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)
AUXILIARY_LEVEL = 3  # the decoder stage at stride 8


class Encoder(nn.Module):
    """VGG16's convolutions with their published parameter names. SegNet does the pooling, because it needs the indices."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__()
        self.features = vgg16_bn(weights=None).features

    def stages(self) -> list[nn.Sequential]:
        """The five blocks between the pooling layers."""
        blocks: list[list[nn.Module]] = [[]]
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                blocks.append([])
            else:
                blocks[-1].append(layer)
        return [nn.Sequential(*block) for block in blocks if block]


class SegNet(TaskNet):
    """Encoder-decoder; the auxiliary head sits on the decoder at stride 8."""

    backbone: Encoder

    def __init__(self, task: Task, *, classes: int) -> None:
        """Build with random weights. InputError for a backbone other than vgg16_bn."""
        super().__init__()
        if task.backbone != "vgg16_bn":
            name = f"{task.section}.backbone"
            raise InputError(f"{name} {task.backbone!r}: segnet needs vgg16_bn; set {name} to 'vgg16_bn'")
        self.backbone = Encoder()
        outputs = (WIDTHS[0], *WIDTHS[:-1])
        self.decoders = nn.ModuleList(
            _decoder(width, output, depth=depth) for width, output, depth in zip(WIDTHS, outputs, DEPTHS, strict=True)
        )
        self.classifier = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)
        self.auxiliary = FCNHead(outputs[AUXILIARY_LEVEL], classes)

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised, H and W at least 32 -> see TaskNet."""
        value, pooled = image_BCHW, []
        for stage in self.backbone.stages():
            full = stage(value)
            value, indices = F.max_pool2d(full, 2, return_indices=True)
            pooled.append((indices, full))
        auxiliary = value
        for level in reversed(range(len(pooled))):
            value = self.decoders[level](_unpool(value, *pooled[level]))
            if level == AUXILIARY_LEVEL:
                auxiliary = self.auxiliary(value)
        return Scores(self.classifier(value), auxiliary)


def _unpool(value_BCHW: Tensor, indices_BCHW: Tensor, full_BCHW: Tensor) -> Tensor:
    # scatter instead of F.max_unpool2d, whose ONNX form not every runtime runs on a GPU.
    batch, channels, height, width = full_BCHW.shape
    flat = torch.zeros(batch, channels, height * width, dtype=value_BCHW.dtype, device=value_BCHW.device)
    return flat.scatter(2, indices_BCHW.flatten(2), value_BCHW.flatten(2)).view(batch, channels, height, width)


def _decoder(inputs: int, outputs: int, *, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for position in range(depth):
        width = outputs if position == depth - 1 else inputs
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
