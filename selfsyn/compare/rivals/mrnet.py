"""MRNet (Zheng & Yang 2020), the first stage of Seg-Uncertainty: AdaptSegNet, whose heads also agree on real images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from selfsyn.compare.rivals import adaptsegnet
from selfsyn.compare.row import Row, first_round, one_round
from selfsyn.config import Rounds, RunConfig
from selfsyn.task.mixture import BARE
from selfsyn.task.objective import ExtraTerm
from selfsyn.task.pseudo_label_losses import divergence, rows
from selfsyn.task.scores import Scores

WEIGHT = 0.1


def head_agreement(scores: Scores, *, auxiliary: float) -> Tensor:
    """KL(both || main) + KL(both || auxiliary), mean over pixels: the heads shall agree on images without labels.

    `both` are main + `auxiliary` * auxiliary scores (Zheng & Yang 2020, memory regularization). Gradients flow through all.
    """
    both_PK = rows(scores.main + auxiliary * scores.auxiliary)
    return (divergence(both_PK, rows(scores.main)) + divergence(both_PK, rows(scores.auxiliary))).mean()


class HeadAgreement(ExtraTerm):
    """The term on real images without labels: `head_agreement`."""

    def __init__(self, *, auxiliary: float) -> None:
        """auxiliary: share of the auxiliary scores in what both heads say."""
        self.auxiliary, self.weights = auxiliary, {"loss_memory": WEIGHT}

    def losses(self, scores: Mapping[str, Scores]) -> dict[str, Tensor]:
        """See ExtraTerm."""
        return {"loss_memory": head_agreement(scores[BARE], auxiliary=self.auxiliary)}


def terms(config: RunConfig, device: torch.device) -> list[ExtraTerm]:
    """The heads' agreement, and AdaptSegNet's discriminators."""
    return [HeadAgreement(auxiliary=config.task.auxiliary_at_inference), *adaptsegnet.terms(config, device)]


ROW = Row(
    "mrnet",
    "Seg-Uncertainty, stage 1",
    "as AdaptSegNet, and the two heads agree on real images (MRNet: Zheng & Yang 2020)",
    partial(one_round, plan=Rounds(adapted=False), method="mrnet"),
    first_round,
    terms,
)
