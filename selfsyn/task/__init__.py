"""Task models: image -> class scores. Each architecture has its own file; `build` makes the net that the configuration names."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from selfsyn.config import Task
from selfsyn.errors import InputError
from selfsyn.labels import CLASS_COUNT
from selfsyn.task.backbones import load_pretrained
from selfsyn.task.deeplabv3plus import DeepLabV3Plus
from selfsyn.task.fcn import FCN
from selfsyn.task.scores import Scores, TaskNet, normalised
from selfsyn.task.segnet import SegNet
from selfsyn.task.vit import ViT

__all__ = ["Scores", "TaskNet", "build", "load_weights", "normalised"]


def build(task: Task, *, pretrained: bool, classes: int = CLASS_COUNT) -> TaskNet:
    """Build the net of `task` for K = `classes` classes on the CPU.

    pretrained: whether its backbone holds `task.weights` instead of random weights.
    forward: (B, 3, H, W) normalised float -> Scores of (B, K, H, W). InputError when the weights cannot be loaded or do not fit.
    """
    net: TaskNet = {"deeplabv3plus": DeepLabV3Plus, "fcn": FCN, "segnet": SegNet, "vit": ViT}[task.architecture](
        task, classes=classes
    )
    if pretrained:
        load_pretrained(net.backbone, task, renamed=net.renamed)
    return net


def load_weights(net: nn.Module, path: Path) -> None:
    """Load the weights.safetensors that `train` wrote. InputError unless every key fits."""
    from safetensors.torch import load_file

    try:
        net.load_state_dict(load_file(path), strict=True)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: not this net's weights ({str(error).splitlines()[0]}); train the stage again") from error
