"""[adapter]: the image translation from synthetic to real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from selfsyn.config.bounds import Count, NonNegative, Positive, Whole


@dataclass(frozen=True)
class Adapter:
    """CyCADA's pixel level (Hoffman et al. 2018, eq. 1-6).

    steps: generator updates.
    batch: images of each domain per update.
    crop: side of the square training crops, in pixels, a multiple of 4.
    generator_channels, generator_blocks, discriminator_channels: widths of the first layers, and number of residual blocks.
    learning_rate: of Adam, for both generators and both discriminators.
    cycle, identity, semantic, gan: weights of the cycle-consistency, identity, semantic-consistency and adversarial losses.
    identity must be above 0: without it, colours drift.
    image_pool: adapted images kept for the discriminators to see again.
    checkpoint_every: updates between two checkpoints.
    full_resolution: learn from images and adapt them at their own sizes, instead of the working size.
    """

    steps: Count = 20_000
    batch: Count = 1
    crop: Annotated[int, Meta(ge=4, multiple_of=4)] = 400
    generator_channels: Count = 64
    generator_blocks: Whole = 9
    discriminator_channels: Count = 64
    learning_rate: Positive = 2e-4
    cycle: NonNegative = 10.0
    identity: Positive = 5.0
    semantic: NonNegative = 1.0
    gan: NonNegative = 1.0
    image_pool: Whole = 50
    checkpoint_every: Count = 500
    full_resolution: bool = False
