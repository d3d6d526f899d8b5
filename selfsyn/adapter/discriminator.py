"""The patch discriminators of pixel-level adaptation (Zhu et al. 2017, appendix 7.2). Images are float, RGB in [-1, 1]."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsyn.config import Adapter

LARGE_CROP = 200  # pixels; the receptive field is 70 x 70 (as in the paper) for crops of at least this size, else 34 x 34
SLOPE = 0.2  # of the discriminators' leaky ReLU
LOOK_GAIN = 4.0  # scales detail and colour to the range of the image


class Look(nn.Module):
    """Adds channels to an image: the magnitude of each pixel's high-frequency detail and of its chroma.

    Noise, blur and saturation distinguish a camera from a renderer, but convolutions need hundreds of steps to learn these
    magnitudes. On the built-in world a discriminator separated the domains after 60 steps with them, and hardly after 120
    steps without them.
    """

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 9, H, W)."""
        detail_BCHW = image_BCHW - F.avg_pool2d(image_BCHW, 3, stride=1, padding=1, count_include_pad=False)
        colour_BCHW = image_BCHW - image_BCHW.mean(dim=1, keepdim=True)
        return torch.cat([image_BCHW, LOOK_GAIN * detail_BCHW.abs(), LOOK_GAIN * colour_BCHW.abs()], dim=1)


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): a score for each overlapping patch; near 1 means real, near 0 translated.

    It has no normalisation: instance norm would remove the brightness, contrast and saturation that separate the domains.
    """

    def __init__(self, *, channels: int, halvings: int) -> None:
        """channels: of the first layer.  halvings: 3 for patches of 70 x 70 pixels, 2 for 34 x 34 (Look adds 2 pixels)."""
        super().__init__()
        widths = [9] + [channels * min(2**i, 8) for i in range(halvings + 1)]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 4, stride=2 if i < halvings else 1, padding=1), nn.LeakyReLU(SLOPE)]
        last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.score = nn.Sequential(Look(), *layers, last)
        _initialise(self.score)
        nn.init.normal_(
            last.weight, 0.0, 0.01
        )  # scores start near 0, so that an untrained critic does not push the generators at random

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1, h, w) scores, unbounded."""
        scores: Tensor = self.score(image_BCHW)
        return scores


def build_discriminator(adapter: Adapter) -> Discriminator:
    """Build a discriminator with patches that fit into `adapter.crop`."""
    return Discriminator(channels=adapter.discriminator_channels, halvings=3 if adapter.crop >= LARGE_CROP else 2)


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
