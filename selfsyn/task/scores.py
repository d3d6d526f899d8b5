"""The output of every task model: main and auxiliary class scores at image size, and their fusion at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Scores(NamedTuple):
    """Logits (B, 19, H, W) of the main and of the auxiliary head."""

    main: Tensor
    auxiliary: Tensor


class TaskNet(nn.Module):
    """A segmentation net. `backbone` is the part with pretrained weights."""

    backbone: nn.Module

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits, each (B, 19, h, w) at the stride of the head."""
        raise NotImplementedError

    def forward(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits (B, 19, H, W), bilinearly upsampled."""
        return Scores(*(_enlarged(head.to(image_BCHW.dtype), like=image_BCHW) for head in self.heads(image_BCHW)))

    def fused(self, image_BCHW: Tensor, *, auxiliary: float) -> Tensor:
        """(B, 3, H, W) normalised -> logits (B, 19, H, W): main + auxiliary * aux (Zheng & Yang 2021, section 4).

        The sum is taken at the stride of the main head: upsampling one map instead of two makes the whole net a tenth faster
        on a CPU.
        """
        main, other = self.heads(image_BCHW)
        return _enlarged(main + auxiliary * _enlarged(other, like=main) if auxiliary else main, like=image_BCHW)


def _enlarged(logits_BKhw: Tensor, *, like: Tensor) -> Tensor:
    return resized(logits_BKhw, size=like.shape[-2:])


def resized(planes_BChw: Tensor, *, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear, align_corners=False. size: (H, W).

    Deterministic CUDA uses two products with small matrices. torch's deterministic interpolation sorts every pixel to add up
    gradients, which takes longer than the rest of a training step.
    """
    if planes_BChw.is_cuda and torch.are_deterministic_algorithms_enabled():
        return by_matrices(planes_BChw, size=size)
    return F.interpolate(planes_BChw, size=tuple(size), mode="bilinear", align_corners=False)


def by_matrices(planes_BChw: Tensor, *, size: Sequence[int]) -> Tensor:
    """Equal to torch.nn.functional.interpolate in `resized` up to rounding; in the precision of the planes."""
    rows_Hh, columns_Ww = (
        _shares(before, after, like=planes_BChw) for before, after in zip(planes_BChw.shape[-2:], size, strict=True)
    )
    with torch.autocast(planes_BChw.device.type, enabled=False):
        return rows_Hh @ planes_BChw @ columns_Ww.T


def _shares(before: int, after: int, *, like: Tensor) -> Tensor:
    """(after, before): the weight of each input pixel of a line in each output pixel."""
    places = ((torch.arange(after, device=like.device) + 0.5) * (before / after) - 0.5).clamp(0, before - 1)
    return (1 - (places[:, None] - torch.arange(before, device=like.device)).abs()).clamp(min=0).to(like.dtype)


def normalised(image_BHWC: Tensor, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, (x / 255 - mean) / std, channels last in memory."""
    # Channels first before the arithmetic: on a CPU onnxruntime is several times faster on planes than on interleaved RGB.
    mean_311, std_311 = (torch.tensor(values, device=image_BHWC.device).view(3, 1, 1) for values in (mean, std))
    return image_BHWC.permute(0, 3, 1, 2).float() * (1 / (255 * std_311)) - mean_311 / std_311
