"""What a task model learns to do, as one number: the loss terms of a batch and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from selfsyn import processes
from selfsyn.config import RunConfig
from selfsyn.labels import IGNORE
from selfsyn.task.losses import pixel_weights, segmentation_loss
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC, Batch
from selfsyn.task.noisy import pseudo_label_loss
from selfsyn.task.scores import Scores, TaskNet, normalised

SURE = 0.968  # confidence from which the average counts as sure of a pixel (Tranheden et al. 2021)


class Labels(NamedTuple):
    """What the net should say of a batch, or of a part of it.

    label_BHW: int64 train ids.  weight_BHW: how much each pixel's label counts.  true_BHW: where it is no pseudo-label.
    """

    label_BHW: Tensor
    weight_BHW: Tensor
    true_BHW: Tensor


class Seen(NamedTuple):
    """What the net says about one part of a batch, and what it should have said."""

    scores: Scores
    labels: Labels


class ExtraTerm(Protocol):
    """Loss terms beside those on labels. It may learn too, as a discriminator does.

    weights: of its terms, by the name of their history column.
    """

    weights: Mapping[str, float]

    def losses(self, scores: Mapping[str, Scores]) -> dict[str, Tensor]:
        """The terms, unweighted, by name, of the net's scores of each part of a batch; the net gets their gradient."""
        ...

    def update(self, scores: Mapping[str, Scores], *, progress: float) -> dict[str, float]:
        """An update of its own, after the net's -> what the history tells of it.  progress: share of the training done, 0..1."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint must hold."""
        return {}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Put a checkpoint's state_dict back."""


def seen_by(
    forward: Callable[[Tensor, Sequence[int]], Scores], batch: Batch, config: RunConfig, *, weights_K: Tensor, average: TaskNet
) -> dict[str, Seen]:
    """The batch's parts as the net sees them: one forward for all that have labels, so that they share their batch statistics.

    Bare images go through by themselves (Tsai et al. 2018): normalised together with synthetic ones, the net would answer them
    by what stands beside them, and nothing does when it is used.

    forward: the net's, see forward.Forward.  weights_K: of the classes.  average: the net that labels the online part.
    """
    labels = labels_of(batch, config, weights_K=weights_K, average=average)
    images = _normalised(batch.images, config, device=weights_K.device)
    scores = forward(images, passes(batch.parts))
    parts = zip(*(tensor.split(list(batch.parts.values())) for tensor in (*scores, *labels)), strict=True)
    return {
        name: Seen(Scores(main, auxiliary), Labels(*rest))
        for name, (main, auxiliary, *rest) in zip(batch.parts, parts, strict=True)
    }


def passes(parts: Mapping[str, int]) -> list[int]:
    """How many of a batch's images go through the net with one another, one pass after the next."""
    bare = parts.get(BARE, 0)
    return [count for count in (sum(parts.values()) - bare, bare) if count]


def labels_of(batch: Batch, config: RunConfig, *, weights_K: Tensor, average: TaskNet) -> Labels:
    """The batch's labels; where the online part has none, those that `average` gives it.

    They weigh as much as the share of the part's pixels of which it is sure (Tranheden et al. 2021, eq. 3).
    """
    device = weights_K.device
    label_BHW, true_BHW = batch.labels.to(device).long(), batch.true.to(device)
    if batch.undisturbed is None:
        return Labels(label_BHW, pixel_weights(label_BHW, true_BHW, weights_K=weights_K), true_BHW)
    found_BHW, sure_BHW = answer_of(average, _normalised(batch.undisturbed, config, device=device), config)
    place, share = batch.place_of(ONLINE), processes.mean((sure_BHW >= SURE).float().mean())
    given_BHW = true_BHW[place] | (label_BHW[place] == IGNORE)
    label_BHW[place] = torch.where(given_BHW, label_BHW[place], found_BHW)
    weight_BHW = pixel_weights(label_BHW, true_BHW, weights_K=weights_K)
    weight_BHW[place] = torch.where(true_BHW[place], weight_BHW[place], share)
    return Labels(label_BHW, weight_BHW, true_BHW)


@torch.no_grad()
def answer_of(average: TaskNet, images: Tensor, config: RunConfig) -> tuple[Tensor, Tensor]:
    """The teacher's answer as both heads give it together: (B, H, W) int64 train ids and float confidences 0..1."""
    logits_BKHW = average.eval().fused(images, auxiliary=config.task.auxiliary_at_inference)
    confidence_BHW, label_BHW = logits_BKHW.float().softmax(dim=1).max(dim=1)
    return label_BHW, confidence_BHW


def _normalised(images: Tensor, config: RunConfig, *, device: torch.device) -> Tensor:
    return normalised(images.to(device), mean=config.task.mean, std=config.task.std)


def losses_of(seen: Mapping[str, Seen], config: RunConfig) -> dict[str, Tensor]:
    """The terms, unweighted, by the name of their history column: one on each part that has labels."""
    return {f"loss_{name}": _loss_of(name, part, config) for name, part in seen.items() if name != BARE}


def _loss_of(name: str, part: Seen, config: RunConfig) -> Tensor:
    label, weight, true = part.labels
    heads = config.train.auxiliary
    if name == SYNTHETIC:
        return segmentation_loss(part.scores, label, weight_BHW=weight, auxiliary=heads)
    return pseudo_label_loss(part.scores, label, weight_BHW=weight, true_BHW=true, auxiliary=heads, how=config.rounds)


def weights_of(batch: Batch, config: RunConfig) -> dict[str, float]:
    """The weights of the terms of `losses_of`: a part's share of the labelled images, `train.pseudo_label` times it for
    pseudo-labels.

    Masked copies weigh as much as what they are copies of (MIC: lambda 1).
    """
    labelled = sum(batch.parts.get(part, 0) for part in (SYNTHETIC, PSEUDO, ONLINE))
    shares = {part: batch.parts.get(PSEUDO if part == MASKED else part, 0) / labelled for part in (PSEUDO, MASKED, ONLINE)}
    weights = {f"loss_{part}": share * config.train.pseudo_label for part, share in shares.items()}
    return weights | {"loss_synthetic": batch.parts.get(SYNTHETIC, 0) / labelled}


def total_of(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
