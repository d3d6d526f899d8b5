"""AdaptSegNet (Tsai et al. 2018): adversarial alignment of both heads' outputs on real images with those on synthetic images."""

from __future__ import annotations

from functools import partial

import torch

from selfsyn.compare.rivals.discriminators import Discriminators
from selfsyn.compare.row import Row, first_round, one_round
from selfsyn.config import Rounds, RunConfig
from selfsyn.task.objective import ExtraTerm

WEIGHTS = {"main": 0.001, "auxiliary": 0.0002}


def terms(config: RunConfig, device: torch.device) -> list[ExtraTerm]:
    """A discriminator for each head."""
    return [Discriminators(WEIGHTS, channels=config.rival.discriminator_channels, device=device, classes=len(config.class_list))]


ROW = Row(
    "adaptsegnet",
    "AdaptSegNet",
    "unadapted synthetic images; the outputs of both heads on real images are aligned with them (Tsai et al. 2018)",
    partial(one_round, plan=Rounds(adapted=False), method="adaptsegnet"),
    first_round,
    terms,
)
