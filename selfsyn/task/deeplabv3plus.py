"""DeepLabV3+ (Chen et al. 2018) on any timm backbone that timm can dilate to `task.output_stride`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead

from selfsyn.config import Task
from selfsyn.task.backbones import channels, features
from selfsyn.task.scores import Scores, TaskNet, resized

LOW_LEVEL_CHANNELS = 48
RATES = (6, 12, 18)  # at output stride 16; scaled at other strides to keep the receptive field (Chen et al., section 4)


class DeepLabV3Plus(TaskNet):
    """Encoder with atrous pyramid pooling, decoder at stride 4, auxiliary head on the stage before the last."""

    def __init__(self, task: Task, *, classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.backbone = features(task, output_stride=task.output_stride, out_indices=(1, 3, 4))
        low, middle, high = channels(self.backbone)
        width = task.decoder_channels
        self.pyramid = ASPP(high, [rate * 16 // task.output_stride for rate in RATES], width)
        self.low_level = _conv_bn_relu(low, LOW_LEVEL_CHANNELS, kernel=1)
        self.decoder = nn.Sequential(
            _conv_bn_relu(width + LOW_LEVEL_CHANNELS, width, kernel=3), _conv_bn_relu(width, width, kernel=3)
        )
        self.classifier = nn.Conv2d(width, classes, 1)
        self.auxiliary = FCNHead(middle, classes)

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> see TaskNet."""
        low, middle, high = self.backbone(image_BCHW)
        context = resized(self.pyramid(high), size=low.shape[-2:])
        decoded = self.decoder(torch.cat([self.low_level(low), context], dim=1))
        return Scores(self.classifier(decoded), self.auxiliary(middle))


def _conv_bn_relu(inputs: int, outputs: int, *, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
