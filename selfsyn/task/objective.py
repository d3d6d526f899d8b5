"""What a task model learns to do, as one number: the loss terms of a batch and their weighted sum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from selfsyn.config import RunConfig
from selfsyn.task.losses import pixel_weights, segmentation_loss
from selfsyn.task.mixture import BARE, PSEUDO, SYNTHETIC, Batch
from selfsyn.task.scores import Scores, TaskNet, normalised


class Seen(NamedTuple):
    """What the net says about one part of a batch, and what it should have said.

    label_BHW: int64 train ids.  weight_BHW: how much each pixel's label counts.
    """

    scores: Scores
    label_BHW: Tensor
    weight_BHW: Tensor


def seen_by(net: TaskNet, batch: Batch, config: RunConfig, *, weights_K: Tensor) -> dict[str, Seen]:
    """The batch's parts as the net sees them: one forward for all, so that they share their batch statistics."""
    device = weights_K.device
    images = normalised(batch.images.to(device), mean=config.task.mean, std=config.task.std)
    labels = batch.labels.to(device).long()
    weights = pixel_weights(labels, batch.true.to(device), weights_K=weights_K)
    scores: Scores = net(images)
    parts = zip(*(tensor.split(list(batch.parts.values())) for tensor in (*scores, labels, weights)), strict=True)
    return {
        name: Seen(Scores(main, auxiliary), label, weight)
        for name, (main, auxiliary, label, weight) in zip(batch.parts, parts, strict=True)
    }


def losses_of(seen: Mapping[str, Seen], config: RunConfig) -> dict[str, Tensor]:
    """The loss on each part that has labels, by the name of its history column."""
    return {
        f"loss_{name}": segmentation_loss(
            part.scores, part.label_BHW, weight_BHW=part.weight_BHW, auxiliary=config.train.auxiliary
        )
        for name, part in seen.items()
        if name != BARE
    }


def total_of(losses: Mapping[str, Tensor], batch: Batch, config: RunConfig) -> Tensor:
    """The weighted sum. Labelled parts weigh by their share of the batch, pseudo-labels by `train.pseudo_label` on top."""
    synthetic, pseudo = batch.parts.get(SYNTHETIC, 0), batch.parts.get(PSEUDO, 0)
    share = synthetic / (synthetic + pseudo)
    weights = {"loss_synthetic": share, "loss_pseudo": (1 - share) * config.train.pseudo_label}
    weights |= {f"align_{name}": weight for name, weight in config.rounds.align.weights.items()}
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
