"""The generators of the pixel level: a local change of the image, and grain. Images are float, RGB in [-1, 1]."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from selfsyn.adapter.planes import NOISES, PLACES
from selfsyn.config import Adapter

ALIGNMENT = 4  # pixels: heights, widths and the places of tiles are multiples of it, for there are two halvings
RESIDUAL_SCALE = 0.3  # of what a block adds, so that features keep their size without normalisation
GRAIN_AT_FIRST = 0.01  # of the range -1..1, about one grey level: at zero the sign of noise has no gradient
SPEED = 3.0  # of the last layer: Adam moves each weight by its rate, and a filter that blurs needs half of a weight's range
COLOURS = 3


class Translated(NamedTuple):
    """What a generator makes of images, both (B, 3, H, W): the picture without grain, in [-1, 1], and the grain to add."""

    clean_BCHW: Tensor
    grain_BCHW: Tensor

    @property
    def grainy_BCHW(self) -> Tensor:
        """The picture as a camera gives it, (B, 3, H, W) in [-1, 1]."""
        return (self.clean_BCHW + self.grain_BCHW).clamp(-1, 1)


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
    """x + scale * conv(relu(conv(x))), reflected, without normalisation (Lim et al. 2017, section 3.1)."""

    def __init__(self, channels: int) -> None:
        """channels: of input and output."""
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), nn.ReLU(), *_convolution(channels, channels))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return features_BCHW + RESIDUAL_SCALE * self.body(features_BCHW)


class Generator(nn.Module):
    """Translates images: G(x, n) = clamp(clamp(x + gain * (x + 1) + offset) + grain(n)).

    CycleGAN's generator (Zhu et al. 2017, appendix 7.2) paints the image anew. Ours changes it, and its last layer starts at
    zero, so that training starts at the identity: a short training is spent on the look alone, never on learning to copy,
    and the labels stay where they are from the first step on. A gain on each pixel's light and an offset are what exposure,
    air and a lens do; the last layer sees the image beside the features, so that a filter of three pixels is one layer away.

    No normalisation: an instance's norm ties every pixel to the whole image, so that tiles would differ from the whole, and
    it takes away the brightness that is to be changed. What a pixel becomes depends on the pixels within `reach`, on its
    place (selfsyn.adapter.planes) and on noise. A net without a source of chance cannot make a sensor's noise: its planes,
    each with a gain that follows the features and together through a filter of three pixels, are the grain.
    """

    def __init__(self, *, channels: int, blocks: int) -> None:
        """channels: at full resolution (doubled at each of two halvings).  blocks: residual blocks at a quarter."""
        super().__init__()
        self.blocks = blocks
        self.features = nn.Sequential(
            *_convolution(COLOURS + PLACES, channels),
            nn.ReLU(),
            *_halving(channels, 2 * channels),
            *_halving(2 * channels, 4 * channels),
            *(Residual(4 * channels) for _ in range(blocks)),
            *_doubling(4 * channels, 2 * channels),
            *_doubling(2 * channels, channels),
        )
        self.reflect = Reflect(1)
        self.last = nn.Conv2d(channels + COLOURS, 2 * COLOURS + NOISES, kernel_size=3)
        self.grain = nn.Conv2d(NOISES, COLOURS, kernel_size=3, bias=False)
        _initialise(self.features)
        for parameter in (*self.last.parameters(), *self.grain.parameters()):
            nn.init.zeros_(parameter)
        with torch.no_grad():
            self.grain.weight[:, :, 1, 1] = GRAIN_AT_FIRST * torch.eye(COLOURS)

    @property
    def reach(self) -> int:
        """How many pixels away, along rows or columns, an input pixel can still matter to an output pixel.

        Each block looks 2 pixels far at a quarter of the resolution; the layers around them look 11 at most.
        """
        return 8 * self.blocks + 11

    def forward(self, image_BCHW: Tensor, place_BCHW: Tensor, noise_BCHW: Tensor | None = None) -> Translated:
        """Each image on its own, H and W multiples of 4.

        image_BCHW: (B, 3, H, W) in [-1, 1].  place_BCHW, noise_BCHW: see selfsyn.adapter.planes; without noise no grain.
        On CUDA the features are bfloat16.
        """
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=image_BCHW.is_cuda):
            features_BCHW = self.features(torch.cat([image_BCHW, place_BCHW], dim=1))
        seen_BCHW = torch.cat([features_BCHW.float(), image_BCHW], dim=1)
        offset, gain, loud = (SPEED * self.last(self.reflect(seen_BCHW))).split([COLOURS, COLOURS, NOISES], dim=1)
        clean_BCHW = (image_BCHW + gain * (image_BCHW + 1) + offset).clamp(-1, 1)
        if noise_BCHW is None:
            return Translated(clean_BCHW, torch.zeros_like(clean_BCHW))
        return Translated(clean_BCHW, self.grain(self.reflect((1 + loud) * noise_BCHW)))


def build_generator(adapter: Adapter, *, device: torch.device) -> Generator:
    """A generator that is still the identity, on `device`; on CUDA with the channels last, as its convolutions want them."""
    net = Generator(channels=adapter.generator_channels, blocks=adapter.generator_blocks).to(device)
    return net.to(memory_format=torch.channels_last) if device.type == "cuda" else net


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [Reflect(1), nn.Conv2d(before, after, 3)]


def _halving(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]


def _doubling(before: int, after: int) -> list[nn.Module]:
    # Enlarge, then convolve: a transposed convolution leaves checkerboards (Odena et al. 2016). Channels are halved
    # before the enlargement, where it costs a quarter.
    narrow = nn.Conv2d(before, after, 1)
    return [narrow, nn.Upsample(scale_factor=2, mode="nearest"), *_convolution(after, after), nn.ReLU()]


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
