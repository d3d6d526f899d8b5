"""The output of every task model: main and auxiliary class scores at image size, and their fusion at inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsyn.config import Train


class Scores(NamedTuple):
    """Logits (B, K, H, W) of the main head, and of the auxiliary head where the net has one."""

    main: Tensor
    auxiliary: Tensor | None

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """The logits of both heads, for a loss that compares them; run.toml has been checked, so the net has both."""
        assert self.auxiliary is not None
        return self.main, self.auxiliary

    def split(self, sizes: Sequence[int]) -> list[Scores]:
        """The scores of the parts of a batch. sizes: images of each part."""
        mains = self.main.split(list(sizes))
        others = [None] * len(sizes) if self.auxiliary is None else self.auxiliary.split(list(sizes))
        return [Scores(main, other) for main, other in zip(mains, others, strict=True)]


class TaskNet(nn.Module):
    """A segmentation net. `backbone` is the part with pretrained weights. attends: whether it has attention."""

    backbone: Any
    attends = False

    def heads(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits, each (B, K, h, w) at the stride of the head."""
        raise NotImplementedError

    def to_image(self, logits_BKhw: Tensor, *, like: Tensor) -> Tensor:
        """Logits at the stride of the main head -> (B, K, H, W), bilinear. like: the image."""
        return resized(logits_BKhw, size=like.shape[-2:])

    def forward(self, image_BCHW: Tensor) -> Scores:
        """(B, 3, H, W) normalised -> main and auxiliary logits (B, K, H, W), bilinearly upsampled."""

        def seen(logits_BKhw: Tensor) -> Tensor:
            return self.to_image(logits_BKhw.to(image_BCHW.dtype), like=image_BCHW)

        main, other = self.heads(image_BCHW)
        return Scores(seen(main), None if other is None else seen(other))

    def fused(self, image_BCHW: Tensor, *, auxiliary: float) -> Tensor:
        """(B, 3, H, W) normalised -> logits (B, K, H, W): main + auxiliary * aux (Zheng & Yang 2021, section 4).

        The sum is taken at the stride of the main head: upsampling one map instead of two makes the whole net a tenth faster
        on a CPU.
        """
        main, other = self.heads(image_BCHW)
        if auxiliary and other is not None:
            main = main + auxiliary * resized(other, size=main.shape[-2:])
        return self.to_image(main, like=image_BCHW)

    def renamed(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Published weights of the encoder with the names that `backbone` has."""
        return state

    def recompute_activations(self) -> None:
        """Compute activations again in the backward pass instead of keeping them (train.activation_checkpointing)."""

    def parameter_groups(self, train: Train) -> list[dict[str, Any]]:
        """The optimizer's groups of parameters. 'factor': of the learning rate; the encoder has 1, all else `head_lr_factor`."""
        encoder = {id(parameter) for parameter in self.backbone.parameters()}
        return [
            {"params": [p for p in self.parameters() if id(p) in encoder], "factor": 1.0},
            {"params": [p for p in self.parameters() if id(p) not in encoder], "factor": train.head_lr_factor},
        ]


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
        line_shares(before, after, step=before / after, like=planes_BChw)
        for before, after in zip(planes_BChw.shape[-2:], size, strict=True)
    )
    return products(rows_Hh, planes_BChw, columns_Ww)


def products(rows_Hh: Tensor, planes_BChw: Tensor, columns_Ww: Tensor) -> Tensor:
    """(B, C, H, W): every plane resampled by the weights of its rows and columns, in the precision of the planes."""
    with torch.autocast(planes_BChw.device.type, enabled=False):
        return rows_Hh @ planes_BChw @ columns_Ww.T


def line_shares(before: int, after: int, *, step: float, like: Tensor) -> Tensor:
    """(after, before): the weight of each input pixel of a line in each output pixel, bilinear; edge pixels continue.

    step: input pixels from an output pixel to the next.
    """
    places = ((torch.arange(after, device=like.device) + 0.5) * step - 0.5).clamp(0, before - 1)
    return (1 - (places[:, None] - torch.arange(before, device=like.device)).abs()).clamp(min=0).to(like.dtype)


def normalised(image_BHWC: Tensor, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, H, W) float32, (x / 255 - mean) / std, channels last in memory."""
    # Channels first before the arithmetic: on a CPU onnxruntime is several times faster on planes than on interleaved RGB.
    mean_311, std_311 = (torch.tensor(values, device=image_BHWC.device).view(3, 1, 1) for values in (mean, std))
    return image_BHWC.permute(0, 3, 1, 2).float() * (1 / (255 * std_311)) - mean_311 / std_311
