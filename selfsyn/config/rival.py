"""[rival]: what the rivals of `compare` need beyond the other sections."""

from __future__ import annotations

from dataclasses import dataclass

from selfsyn.config.bounds import Count


@dataclass(frozen=True)
class Rival:
    """The rival method of a run.

    method: a name of selfsyn.compare.rivals, whose loss terms the rounds have; '' is none. From round 0 on, a batch then has
    as many real images without labels as it has labelled ones.
    discriminator_channels: width of the first layer of its discriminators.
    """

    method: str = ""
    discriminator_channels: Count = 64
