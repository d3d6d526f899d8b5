"""Losses of the task model, on logits and labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from selfsyn import processes
from selfsyn.labels import IGNORE
from selfsyn.task.scores import Scores

LARGEST_WEIGHT = 10.0


def class_weights(pixel_counts: NDArray[np.int64], *, power: float) -> Tensor:
    """(K,) pixel counts -> (K,) float32 weights ~ share ** -power with mean 1 over pixels, then clipped at 10.

    A class without pixels weighs 1. With power 0 all weights are 1.
    """
    share = pixel_counts / max(1, pixel_counts.sum())
    raw = np.where(share > 0, np.maximum(share, 1e-12) ** -power, 0.0)
    mean = float((share * raw).sum()) or 1.0
    weights = np.where(share > 0, np.minimum(raw / mean, LARGEST_WEIGHT), 1.0)
    return torch.from_numpy(weights.astype(np.float32))


def pixel_weights(label_BHW: Tensor, true_BHW: Tensor, *, weights_K: Tensor) -> Tensor:
    """(B, H, W) weights: the class weight on ground truth, 1 on pseudo-labels.

    The teacher learned with class weights. On its labels they would count twice: rare classes would grow in every round.
    """
    return torch.where(true_BHW, weights_K[label_BHW.clamp(max=len(weights_K) - 1)], 1.0)


def weighted_cross_entropy(logits_BKHW: Tensor, label_BHW: Tensor, *, weight_BHW: Tensor) -> Tensor:
    """Sum of weighted cross-entropies divided by the number of labelled pixels (not IGNORE); 0 when there are none.

    The divisor is the pixel count, not the sum of weights, so that a batch of rare classes counts for more.
    """
    # Pixels as rows: a view with channels last in memory, and twice as fast because the softmax reads contiguous memory.
    logits_PK, label_P = logits_BKHW.permute(0, 2, 3, 1).flatten(0, 2), label_BHW.flatten()
    losses_P = F.cross_entropy(logits_PK, label_P, ignore_index=IGNORE, reduction="none")
    return (losses_P * weight_BHW.flatten()).sum() / labelled_pixels(label_P)


def labelled_pixels(label_P: Tensor) -> Tensor:
    """Number of labels that are not IGNORE, at least 1. The mean over processes, so that the mean of their losses is exact."""
    return processes.total((label_P != IGNORE).sum()).clamp(min=1) / processes.count()


def segmentation_loss(scores: Scores, label_BHW: Tensor, *, weight_BHW: Tensor, auxiliary: float) -> Tensor:
    """Cross-entropy of the main head plus `auxiliary` times the cross-entropy of the auxiliary head, if there is one."""
    main = weighted_cross_entropy(scores.main, label_BHW, weight_BHW=weight_BHW)
    if scores.auxiliary is None:
        return main
    return main + auxiliary * weighted_cross_entropy(scores.auxiliary, label_BHW, weight_BHW=weight_BHW)
