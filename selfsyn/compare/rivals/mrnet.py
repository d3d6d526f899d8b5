"""MRNet (Zheng & Yang 2020), stage 1 of Seg-Uncertainty: AdaptSegNet, and a loss on the heads' disagreement on real images."""

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
    """KL(both || main) + KL(both || auxiliary), mean over pixels -> scalar; it is 0 when the heads agree.

    both = main + `auxiliary` * auxiliary scores (Zheng & Yang 2020, memory regularization). All three get gradients.
    """
    main, other = scores.both
    both_PK = rows(main + auxiliary * other)
    return (divergence(both_PK, rows(main)) + divergence(both_PK, rows(other))).mean()


class HeadAgreement(ExtraTerm):
    """`head_agreement` on unlabelled real images as a loss term."""

    def __init__(self, *, auxiliary: float) -> None:
        """auxiliary: weight of the auxiliary scores in the fused scores."""
        self.auxiliary, self.weights = auxiliary, {"loss_memory": WEIGHT}

    def losses(self, scores: Mapping[str, Scores]) -> dict[str, Tensor]:
        """See ExtraTerm."""
        return {"loss_memory": head_agreement(scores[BARE], auxiliary=self.auxiliary)}


def terms(config: RunConfig, device: torch.device) -> list[ExtraTerm]:
    """Head agreement, and AdaptSegNet's discriminators."""
    return [HeadAgreement(auxiliary=config.task.auxiliary_at_inference), *adaptsegnet.terms(config, device)]


ROW = Row(
    "mrnet",
    "Seg-Uncertainty, stage 1",
    "AdaptSegNet plus a loss on the disagreement of the heads on real images (MRNet: Zheng & Yang 2020)",
    partial(one_round, plan=Rounds(adapted=False), method="mrnet"),
    first_round,
    terms,
)
