"""The generators of pixel-level adaptation: a local change of the image, plus grain. Images are float, RGB in [-1, 1]."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from selfsyn.adapter.planes import NOISES, PLACES
from selfsyn.config import Adapter

ALIGNMENT = 4  # pixels: heights, widths and tile positions are multiples of it, because the generator halves twice
RESIDUAL_SCALE = 0.3  # of a residual block's output, so that features keep their magnitude without normalisation
GRAIN_AT_FIRST = 0.01  # of the range -1..1, about one grey level; at 0 the gradient averages to zero over the noise's sign
SPEED = 3.0  # multiplies the last layer: Adam's steps have a fixed size, and a blur filter needs large weights
COLOURS = 3


class Translated(NamedTuple):
    """A generator's output, both (B, 3, H, W): the image without grain, in [-1, 1], and the grain to add."""

    clean_BCHW: Tensor
    grain_BCHW: Tensor

    @property
    def grainy_BCHW(self) -> Tensor:
        """The image with grain, (B, 3, H, W) in [-1, 1]."""
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
    """x + scale * conv(relu(conv(x))), reflection-padded, without normalisation (Lim et al. 2017, section 3.1)."""

    def __init__(self, channels: int) -> None:
        """channels: of input and output."""
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), nn.ReLU(), *_convolution(channels, channels))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return features_BCHW + RESIDUAL_SCALE * self.body(features_BCHW)


class Generator(nn.Module):
    """Translates images: G(x, n) = clamp(clamp(x + gain * (x + 1) + offset) + grain(n)).

    CycleGAN's generator (Zhu et al. 2017, appendix 7.2) synthesises the whole image. This generator predicts a change. Its
    last layer starts at zero, so training starts at the identity: no steps are spent on learning to copy, and labels stay
    aligned from the first step. A gain per pixel and an offset model exposure, haze and lens. The last layer also gets the
    image, so a 3 x 3 filter of the image needs no other layer.

    The generator has no normalisation: instance norm would make each pixel depend on the whole image, so that tiles would
    not match, and would remove the brightness that the generator has to change. An output pixel depends only on the pixels
    within `reach`, on its position (selfsyn.adapter.planes) and on noise. The noise planes model sensor noise: each is scaled
    by a gain predicted from the features, and a 3 x 3 filter turns them into the grain.
    """

    def __init__(self, *, channels: int, blocks: int) -> None:
        """channels: at full resolution, doubled at each of two halvings.  blocks: residual blocks at 1/4 resolution."""
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
        """Radius of the receptive field in pixels, along rows or columns.

        Each block adds 2 pixels at 1/4 resolution, so 8; the layers around the blocks add at most 11.
        """
        return 8 * self.blocks + 11

    def forward(self, image_BCHW: Tensor, place_BCHW: Tensor, noise_BCHW: Tensor | None = None) -> Translated:
        """Translate each image independently. H and W are multiples of 4.

        image_BCHW: (B, 3, H, W) in [-1, 1].  place_BCHW, noise_BCHW: see selfsyn.adapter.planes. Without noise the grain is 0.
        On CUDA the features are computed in bfloat16.
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
    """Build a generator, initially the identity, on `device`; on CUDA with channels last, where its convolutions are faster."""
    net = Generator(channels=adapter.generator_channels, blocks=adapter.generator_blocks).to(device)
    return net.to(memory_format=torch.channels_last) if device.type == "cuda" else net


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [Reflect(1), nn.Conv2d(before, after, 3)]


def _halving(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]


def _doubling(before: int, after: int) -> list[nn.Module]:
    # Upsample, then convolve: transposed convolutions leave checkerboard artifacts (Odena et al. 2016). Channels are halved
    # before the upsampling, where this costs a quarter.
    narrow = nn.Conv2d(before, after, 1)
    return [narrow, nn.Upsample(scale_factor=2, mode="nearest"), *_convolution(after, after), nn.ReLU()]


def _initialise(net: nn.Module) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
