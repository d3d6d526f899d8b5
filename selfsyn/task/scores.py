"""What every task model returns: main and auxiliary class scores at image size, and how they become one answer."""

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
    """A segmentation net. `backbone` is the part that pretrained weights fill."""

    backbone: nn.Module

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits, each (B, 19, h, w) at its head's own stride."""
        raise NotImplementedError

    def forward(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits (B, 19, H, W), bilinearly enlarged."""
        return Scores(*(_enlarged(head.to(image_BCHW.dtype), like=image_BCHW) for head in self.heads(image_BCHW)))

    def fused(self, image_BCHW: Tensor, *, auxiliary: float) -> Tensor:
        """(B, 3, H, W) normalised -> logits (B, 19, H, W): both heads vote at inference (Zheng & Yang 2021, section 4).

        main + auxiliary * aux, added up where the main head has its pixels: enlarging one map instead of two takes a tenth
        off a CPU's time for the whole net.
        """
        main, other = self.heads(image_BCHW)
        return _enlarged(main + auxiliary * _enlarged(other, like=main) if auxiliary else main, like=image_BCHW)


def _enlarged(logits_BKhw: Tensor, *, like: Tensor) -> Tensor:
    return resized(logits_BKhw, size=like.shape[-2:])


def resized(planes_BChw: Tensor, *, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear, pixel centres on pixel centres. size: (H, W).

    Where CUDA has to give the same bits twice, as two products with small matrices: torch then gathers each of the four
    neighbours, and adds up their gradients by sorting every pixel, which took longer than all the rest of a training step.
    """
    if planes_BChw.is_cuda and torch.are_deterministic_algorithms_enabled():
        return by_matrices(planes_BChw, size=size)
    return F.interpolate(planes_BChw, size=tuple(size), mode="bilinear", align_corners=False)


def by_matrices(planes_BChw: Tensor, *, size: Sequence[int]) -> Tensor:
    """What torch.nn.functional.interpolate gives for `resized`, but for rounding; in the planes' precision."""
    rows_Hh, columns_Ww = (
        _shares(before, after, like=planes_BChw) for before, after in zip(planes_BChw.shape[-2:], size, strict=True)
    )
    with torch.autocast(planes_BChw.device.type, enabled=False):
        return rows_Hh @ planes_BChw @ columns_Ww.T


def _shares(before: int, after: int, *, like: Tensor) -> Tensor:
    """(after, before): what each old pixel of a line gives to each new one."""
    places = ((torch.arange(after, device=like.device) + 0.5) * (before / after) - 0.5).clamp(0, before - 1)
    return (1 - (places[:, None] - torch.arange(before, device=like.device)).abs()).clamp(min=0).to(like.dtype)


def normalised(image_BHWC: Tensor, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, (x / 255 - mean) / std, channels last in memory."""
    # Planes first: on a CPU onnxruntime is several times faster on whole planes than on the three values of a pixel.
    mean_311, std_311 = (torch.tensor(values, device=image_BHWC.device).view(3, 1, 1) for values in (mean, std))
    return image_BHWC.permute(0, 3, 1, 2).float() * (1 / (255 * std_311)) - mean_311 / std_311
