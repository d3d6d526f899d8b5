"""Losses on labels that may be wrong. Rows are pixels: logits (P, K), labels (P,), losses (P,)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsyn.config import Rounds
from selfsyn.labels import IGNORE
from selfsyn.task.losses import labelled_pixels
from selfsyn.task.scores import Scores

REVERSE = -math.log(1e-4)  # stands for -log 0 in the reverse cross-entropy (Zhang et al. 2021)
FORWARD_SHARE = 0.1  # weight of the cross-entropy beside the reverse cross-entropy (Zhang et al. 2021)


def rows(picture_BKHW: Tensor) -> Tensor:
    """(B, K, H, W) -> (P, K); a view if channels are last in memory."""
    return picture_BKHW.permute(0, 2, 3, 1).flatten(0, 2)


def symmetric(ce_P: Tensor) -> Tensor:
    """Cross-entropies -> 0.1 CE + RCE; RCE = -sum_c p_c log(one-hot_c) = (1 - p_y) * -log(1e-4) (Wang et al. 2019, eq. 5)."""
    return FORWARD_SHARE * ce_P + REVERSE * (1 - torch.exp(-ce_P))


def divergence(logits_PK: Tensor, other_PK: Tensor) -> Tensor:
    """(P,) KL(softmax(logits_PK) || softmax(other_PK)) of each pixel."""
    log_PK, other_log_PK = logits_PK.log_softmax(dim=1), other_PK.log_softmax(dim=1)
    return (log_PK.exp() * (log_PK - other_log_PK)).sum(dim=1)


def pseudo_label_loss(scores: Scores, maps: Mapping[str, Tensor], *, auxiliary: float, how: Rounds) -> Tensor:
    """Loss of the main head plus `auxiliary` times the loss of the auxiliary head, if there is one.

    maps: (B, H, W) 'label', 'weight', and 'true' where the label is ground truth and plain cross-entropy applies.
    how: `symmetric_cross_entropy` and `rectify` act on pseudo-labels; without both this equals losses.segmentation_loss.
    """
    heads = [rows(scores.main)] + ([rows(scores.auxiliary)] if scores.auxiliary is not None else [])
    label_P, true_P, weight_P = (maps[name].flatten() for name in ("label", "true", "weight"))
    losses = []
    for own_PK, other_PK in zip(heads, reversed(heads), strict=True):
        plain_P = F.cross_entropy(own_PK, label_P, ignore_index=IGNORE, reduction="none")
        treated_P = symmetric(plain_P) if how.symmetric_cross_entropy else plain_P
        loss_P = weight_P * torch.where(true_P | (label_P == IGNORE), plain_P, treated_P)
        doubt_P = torch.where(true_P, 0.0, divergence(own_PK, other_PK)) if how.rectify else None
        losses.append(_over_pixels(loss_P, label_P, doubt_P=doubt_P))
    return losses[0] + auxiliary * losses[1] if len(losses) > 1 else losses[0]


def _over_pixels(loss_P: Tensor, label_P: Tensor, *, doubt_P: Tensor | None) -> Tensor:
    """Mean over labelled pixels of L, or with `doubt_P` = D the mean of exp(-D) L plus the mean over all pixels of D
    (Zheng & Yang 2021, eq. 12)."""
    labelled = labelled_pixels(label_P)
    if doubt_P is None:
        return loss_P.sum() / labelled
    return (torch.exp(-doubt_P) * loss_P).sum() / labelled + doubt_P.mean()
