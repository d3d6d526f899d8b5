"""CyCADA (Hoffman et al. 2018): adapted images, and the main head's scores on real images aligned with those on adapted ones."""

from __future__ import annotations

import torch

from selfsyn.compare.rivals.discriminators import Discriminators
from selfsyn.compare.row import Row, first_round, one_round
from selfsyn.config import Rounds, RunConfig
from selfsyn.task.objective import ExtraTerm

WEIGHTS = {"features": 0.1}
GATE = 0.6


def _settings(config: RunConfig, rounds: int) -> RunConfig:
    return one_round(config, rounds, Rounds(), method=ROW.name)


def _terms(config: RunConfig, device: torch.device) -> list[ExtraTerm]:
    return [Discriminators(WEIGHTS, gate=GATE, channels=config.rival.discriminator_channels, device=device)]


ROW = Row(
    "cycada",
    "CyCADA",
    "adapted images, and the scores on real images aligned with theirs, gated by accuracy (Hoffman et al. 2018)",
    _settings,
    first_round,
    _terms,
)
