"""CyCADA (Hoffman et al. 2018): adapted images, and adversarial alignment of the main head's scores on real images."""

from __future__ import annotations

from functools import partial

import torch

from selfsyn.compare.rivals.discriminators import Discriminators
from selfsyn.compare.row import Row, first_round, one_round
from selfsyn.config import Rounds, RunConfig
from selfsyn.task.objective import ExtraTerm

WEIGHTS = {"features": 0.1}
GATE = 0.6


def _terms(config: RunConfig, device: torch.device) -> list[ExtraTerm]:
    return [
        Discriminators(
            WEIGHTS, gate=GATE, channels=config.rival.discriminator_channels, device=device, classes=len(config.class_list)
        )
    ]


ROW = Row(
    "cycada",
    "CyCADA",
    "adapted images; the scores on real images are aligned with them, gated by accuracy (Hoffman et al. 2018)",
    partial(one_round, plan=Rounds(), method="cycada"),
    first_round,
    _terms,
)
