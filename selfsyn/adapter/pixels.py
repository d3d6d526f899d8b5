"""Conversions between the ranges of an image: bytes on disk, [-1, 1] in generators, normalised in the task net."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsyn.config import Task


def signed(image_HWC: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float() / 127.5 - 1


def bytes_of(image_CHW: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) float in [-1, 1] -> (H, W, 3) uint8, rounded; bytes_of(signed(x)) is x."""
    levels_HWC = ((image_CHW.detach() + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0)
    return levels_HWC.to(device="cpu", dtype=torch.uint8).contiguous().numpy()


def main_logits(net: nn.Module, image_BCHW: Tensor, *, task: Task) -> Tensor:
    """(B, 3, H, W) images in [-1, 1] -> (B, K, H, W) logits of a task net's main head."""
    mean = image_BCHW.new_tensor(task.mean)[:, None, None]
    std = image_BCHW.new_tensor(task.std)[:, None, None]
    main_BKHW: Tensor = net(((image_BCHW + 1) / 2 - mean) / std)[0]
    return main_BKHW
