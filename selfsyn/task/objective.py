"""What a task model learns to do, as one number: the loss terms of a batch and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from selfsyn.config import RunConfig
from selfsyn.task.losses import pixel_weights, segmentation_loss
from selfsyn.task.mixture import BARE, PSEUDO, SYNTHETIC, Batch
from selfsyn.task.noisy import memory_loss, pseudo_label_loss
from selfsyn.task.scores import Scores, normalised


class Seen(NamedTuple):
    """What the net says about one part of a batch, and what it should have said.

    label_BHW: int64 train ids.  weight_BHW: how much each pixel's label counts.  true_BHW: where it is no pseudo-label.
    confidence_BHW: the teacher's, 0..1.
    """

    scores: Scores
    label_BHW: Tensor
    weight_BHW: Tensor
    true_BHW: Tensor
    confidence_BHW: Tensor


def seen_by(net: Callable[[Tensor], Scores], batch: Batch, config: RunConfig, *, weights_K: Tensor) -> dict[str, Seen]:
    """The batch's parts as the net sees them: one forward for all, so that they share their batch statistics."""
    device = weights_K.device
    images = normalised(batch.images.to(device), mean=config.task.mean, std=config.task.std)
    labels, true = batch.labels.to(device).long(), batch.true.to(device)
    weights = pixel_weights(labels, true, weights_K=weights_K)
    scores = net(images)
    of_pixels = (*scores, labels, weights, true, batch.confidences.to(device) / 255)
    parts = zip(*(tensor.split(list(batch.parts.values())) for tensor in of_pixels), strict=True)
    return {name: Seen(Scores(main, auxiliary), *rest) for name, (main, auxiliary, *rest) in zip(batch.parts, parts, strict=True)}


def losses_of(seen: Mapping[str, Seen], config: RunConfig) -> dict[str, Tensor]:
    """The terms, unweighted, by the name of their history column: on each part that has labels, and on bare images."""
    losses = {f"loss_{name}": _loss_of(name, part, config) for name, part in seen.items() if name != BARE}
    if BARE in seen and config.rounds.memory:
        losses["loss_memory"] = memory_loss(seen[BARE].scores, auxiliary=config.task.auxiliary_at_inference)
    return losses


def _loss_of(name: str, part: Seen, config: RunConfig) -> Tensor:
    scores, label, weight, true, confidence = part
    heads = config.train.auxiliary
    if name == SYNTHETIC:
        return segmentation_loss(scores, label, weight_BHW=weight, auxiliary=heads)
    return pseudo_label_loss(
        scores, label, weight_BHW=weight, true_BHW=true, confidence_BHW=confidence, auxiliary=heads, how=config.rounds
    )


def total_of(losses: Mapping[str, Tensor], batch: Batch, config: RunConfig) -> Tensor:
    """The weighted sum. Labelled parts weigh by their share of the batch, pseudo-labels by `train.pseudo_label` on top.

    Masked copies weigh as much as what they are copies of (MIC: lambda 1).
    """
    synthetic, pseudo = batch.parts.get(SYNTHETIC, 0), batch.parts.get(PSEUDO, 0)
    share = synthetic / (synthetic + pseudo)
    of_pseudo = (1 - share) * config.train.pseudo_label
    weights = {"loss_synthetic": share, "loss_pseudo": of_pseudo, "loss_masked": of_pseudo, "loss_memory": config.rounds.memory}
    weights |= {f"align_{name}": weight for name, weight in config.rounds.align.weights.items()}
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
