"""FCN (Long et al. 2015) in its current form: a backbone dilated to output stride 8 and a head on its last stage."""

from __future__ import annotations

from torch import Tensor
from torchvision.models.segmentation.fcn import FCNHead

from selfsyn.config import Task
from selfsyn.task.backbones import channels, features
from selfsyn.task.scores import Scores, TaskNet


class FCN(TaskNet):
    """Heads on the last stage (main) and the one before (auxiliary), both at stride 8."""

    def __init__(self, task: Task, *, classes: int) -> None:
        """Build with random weights."""
        super().__init__()
        self.backbone = features(task, output_stride=8, out_indices=(3, 4))
        middle, high = channels(self.backbone)
        self.classifier = FCNHead(high, classes)
        self.auxiliary = FCNHead(middle, classes)

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> see TaskNet."""
        middle, high = self.backbone(image_BCHW)
        return Scores(self.classifier(high), self.auxiliary(middle))
