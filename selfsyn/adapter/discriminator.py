"""The patch discriminators of the pixel level (Zhu et al. 2017, appendix 7.2). Images are float, RGB in [-1, 1]."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsyn.config import Adapter

LARGE_CROP = 200  # from this crop size on, the discriminator sees 70 x 70 pixels (the paper's size), below it 34 x 34
SLOPE = 0.2  # of the discriminators' leaky ReLU
LOOK_GAIN = 4.0  # brings detail and colour to the image's own range


class Look(nn.Module):
    """The image, and what a look consists of: the size of each pixel's fine detail and of its colour.

    Noise, blur and saturation tell a camera from a renderer. Plain filters must grow these magnitudes first, which takes
    hundreds of steps: on the built-in world a discriminator told the domains apart in 60 steps with them, in 120 hardly.
    """

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 9, H, W)."""
        detail_BCHW = image_BCHW - F.avg_pool2d(image_BCHW, 3, stride=1, padding=1, count_include_pad=False)
        colour_BCHW = image_BCHW - image_BCHW.mean(dim=1, keepdim=True)
        return torch.cat([image_BCHW, LOOK_GAIN * detail_BCHW.abs(), LOOK_GAIN * colour_BCHW.abs()], dim=1)


class Discriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): one score for each overlapping patch; near 1 means real, near 0 translated.

    Without normalisation: an instance's norm would hide its brightness, contrast and saturation, most of a look.
    """

    def __init__(self, *, channels: int, halvings: int) -> None:
        """channels: of the first layer.  halvings: 3 for patches of 70 x 70 pixels, 2 for 34 x 34 (and 2 more for Look)."""
        super().__init__()
        widths = [9] + [channels * min(2**i, 8) for i in range(halvings + 1)]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(before, after, 4, stride=2 if i < halvings else 1, padding=1), nn.LeakyReLU(SLOPE)]
        last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.score = nn.Sequential(Look(), *layers, last)
        _initialise(self.score)
        nn.init.normal_(last.weight, 0.0, 0.01)  # near 0 at first: a loud critic pushes the generators anywhere

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1, h, w) scores, unbounded."""
        scores: Tensor = self.score(image_BCHW)
        return scores


def build_discriminator(adapter: Adapter) -> Discriminator:
    """A discriminator whose patches suit the crops."""
    return Discriminator(channels=adapter.discriminator_channels, halvings=3 if adapter.crop >= LARGE_CROP else 2)


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
