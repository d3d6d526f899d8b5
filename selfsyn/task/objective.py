"""What a task model learns to do, as one number: the loss terms of a batch and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from selfsyn.config import RunConfig
from selfsyn.task.examples import Batch
from selfsyn.task.losses import pixel_weights, segmentation_loss
from selfsyn.task.scores import Scores, normalised


def losses_of(net: Callable[[Tensor], Scores], batch: Batch, config: RunConfig, *, weights_K: Tensor) -> dict[str, Tensor]:
    """The loss on synthetic images and, where a batch has real ones, on those. One forward for both."""
    device = weights_K.device
    images = normalised(batch.images.to(device), mean=config.task.mean, std=config.task.std)
    labels = batch.labels.to(device).long()
    weights = pixel_weights(labels, batch.true.to(device), weights_K=weights_K)
    scores = net(images)
    sizes = {"loss_synthetic": batch.synthetic, "loss_pseudo": len(labels) - batch.synthetic}
    present = {name: size for name, size in sizes.items() if size}
    parts = zip(*(tensor.split(list(present.values())) for tensor in (*scores, labels, weights)), strict=True)
    return {
        name: segmentation_loss(Scores(main, auxiliary), label, weight_BHW=weight, auxiliary=config.train.auxiliary)
        for name, (main, auxiliary, label, weight) in zip(present, parts, strict=True)
    }


def total_of(losses: dict[str, Tensor], batch: Batch, config: RunConfig) -> Tensor:
    """Each part weighs by its share of the batch, pseudo-labels by `train.pseudo_label` on top."""
    share = batch.synthetic / len(batch.names)
    total = losses.get("loss_synthetic", torch.zeros(())) * share
    if "loss_pseudo" in losses:
        total = total + losses["loss_pseudo"] * (1 - share) * config.train.pseudo_label
    return total
