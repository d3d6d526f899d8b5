"""The nets of the pixel level: two generators and two patch discriminators (Zhu et al. 2017, appendix 7.2).

Images are float, RGB in [-1, 1].
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsyn.config import Adapter

LARGE_CROP = 200  # from this crop size on, the discriminator sees 70 x 70 pixels (the paper's size), below it 34 x 34
SLOPE = 0.2  # of the discriminators' leaky ReLU
LOOK_GAIN = 4.0  # brings detail and colour to the image's own range


class Reflect(nn.Module):
    """Reflection padding from slices: nn.ReflectionPad2d has no deterministic gradient on CUDA."""

    def __init__(self, margin: int) -> None:
        """margin: pixels on each side, smaller than the image."""
        super().__init__()
        self.margin = margin

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H + 2 margin, W + 2 margin)."""
        m = self.margin
        wide = torch.cat([image_BCHW[..., 1 : m + 1].flip(-1), image_BCHW, image_BCHW[..., -m - 1 : -1].flip(-1)], dim=-1)
        return torch.cat([wide[..., 1 : m + 1, :].flip(-2), wide, wide[..., -m - 1 : -1, :].flip(-2)], dim=-2)


class Residual(nn.Module):
    """x + conv(relu(conv(x))), each convolution reflected and instance-normalised."""

    def __init__(self, channels: int) -> None:
        """channels: of input and output."""
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), nn.ReLU(), *_convolution(channels, channels))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return features_BCHW + self.body(features_BCHW)


class Generator(nn.Module):
    """Translates images: G(x) = clamp(x + delta(x), -1, 1).

    The paper's generator paints the image anew. Ours adds to it, and its last layer starts at zero, so that training
    starts at the identity: a short training is spent on the look alone, never on learning to copy, and the labels stay
    where they are from the first step on. The last layer sees the image beside the features, so that what most of a
    change of look is, a change of colours and a filter of three pixels, is one layer away. First and last kernel are
    3 x 3 (the paper: 7 x 7), because the large ones at full resolution would cost a third of the step.
    """

    def __init__(self, *, channels: int, blocks: int) -> None:
        """channels: at full resolution (doubled at each of two halvings).  blocks: residual blocks at a quarter."""
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(3, channels),
            nn.ReLU(),
            *_halving(channels, 2 * channels),
            *_halving(2 * channels, 4 * channels),
            *(Residual(4 * channels) for _ in range(blocks)),
            *_doubling(4 * channels, 2 * channels),
            *_doubling(2 * channels, channels),
        )
        self.reflect = Reflect(1)
        self.last = nn.Conv2d(channels + 3, 3, kernel_size=3)
        _initialise(self.features)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 4 -> the same. Each image is translated on its own."""
        seen_BCHW = torch.cat([self.features(image_BCHW), image_BCHW], dim=1)
        return (image_BCHW + self.last(self.reflect(seen_BCHW))).clamp(-1, 1)


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
        _initialise_critic(self.score)
        nn.init.normal_(last.weight, 0.0, 0.01)  # near 0 at first: a loud critic pushes the generators anywhere

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1, h, w) scores, unbounded."""
        scores: Tensor = self.score(image_BCHW)
        return scores


def build_generator(adapter: Adapter) -> Generator:
    """A generator that is still the identity."""
    return Generator(channels=adapter.generator_channels, blocks=adapter.generator_blocks)


def build_discriminator(adapter: Adapter) -> Discriminator:
    """A discriminator whose patches suit the crops."""
    return Discriminator(channels=adapter.discriminator_channels, halvings=3 if adapter.crop >= LARGE_CROP else 2)


def _convolution(before: int, after: int) -> list[nn.Module]:
    # No bias: the normalisation would take it away.
    return [Reflect(1), nn.Conv2d(before, after, 3, bias=False), nn.InstanceNorm2d(after)]


def _halving(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.InstanceNorm2d(after), nn.ReLU()]


def _doubling(before: int, after: int) -> list[nn.Module]:
    # Enlarge, then convolve: a transposed convolution leaves checkerboards (Odena et al. 2016). Channels are halved
    # before the enlargement, where it costs a quarter.
    narrow = nn.Conv2d(before, after, 1, bias=False)
    return [narrow, nn.Upsample(scale_factor=2, mode="nearest"), *_convolution(after, after), nn.ReLU()]


def _initialise_critic(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _initialise(net: nn.Module) -> None:
    # N(0, 0.02), the paper's.
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
