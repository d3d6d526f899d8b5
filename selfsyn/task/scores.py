"""What every task model returns: main and auxiliary class scores at image size, and how they become one answer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scores(NamedTuple):
    """Logits (B, 19, H, W) of the main and of the auxiliary head."""

    main: Tensor
    auxiliary: Tensor


class TaskNet(nn.Module):
    """A segmentation net: (B, 3, H, W) normalised -> Scores. `backbone` is the part that pretrained weights fill."""

    backbone: nn.Module


def upsampled(main_BKhw: Tensor, auxiliary_BKhw: Tensor, *, like: Tensor) -> Scores:
    """Both heads' logits, bilinearly enlarged to the size of `like` (B, 3, H, W)."""
    height, width = like.shape[-2:]
    enlarge = [F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False) for x in (main_BKhw, auxiliary_BKhw)]
    return Scores(*enlarge)


def fused(scores: Scores, *, auxiliary: float) -> Tensor:
    """main + auxiliary * aux logits (B, 19, H, W): both heads vote at inference (Zheng & Yang 2021, section 4)."""
    return scores.main + auxiliary * scores.auxiliary


def normalised(image_BHWC: Tensor, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, (x / 255 - mean) / std, channels last in memory."""
    scale = 1 / (255 * torch.tensor(std, device=image_BHWC.device))
    shift = -torch.tensor(mean, device=image_BHWC.device) / torch.tensor(std, device=image_BHWC.device)
    return (image_BHWC.float() * scale + shift).permute(0, 3, 1, 2)
