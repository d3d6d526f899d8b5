"""The training objective of a task model: the loss terms of a batch and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from selfsyn import processes
from selfsyn.config import RunConfig
from selfsyn.task.losses import pixel_weights, segmentation_loss
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC, Batch
from selfsyn.task.pseudo_label_losses import pseudo_label_loss
from selfsyn.task.scores import Scores, TaskNet, normalised

AUXILIARY = 0.4  # weight of the auxiliary head's loss (Zhao et al. 2017)
SURE = 0.968  # least confidence of a pixel that counts as sure (Tranheden et al. 2021)


class Seen(NamedTuple):
    """The scores of one part of a batch, and its target maps: see `maps_of`."""

    scores: Scores
    maps: Mapping[str, Tensor]


class ExtraTerm(Protocol):
    """Loss terms that need no labels. A term may have trainable weights, as a discriminator has.

    weights: {history column of a term: its weight}.
    """

    weights: Mapping[str, float]

    def losses(self, scores: Mapping[str, Scores]) -> dict[str, Tensor]:
        """{history column: unweighted term}. scores: the net's scores by part; gradients flow into the net."""
        ...

    def update(self, scores: Mapping[str, Scores], *, progress: float) -> dict[str, float]:
        """Update the term's own weights, after the net -> history columns.  progress: share of the training done, 0..1."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state to write into a checkpoint."""
        return {}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        return None


def seen_by(
    forward: Callable[[Tensor, Sequence[int]], Scores], batch: Batch, config: RunConfig, *, weights_K: Tensor, average: TaskNet
) -> dict[str, Seen]:
    """Run the net on a batch -> the scores and target maps of each part.

    All images with labels share batch statistics. Unlabelled images get a pass of their own (Tsai et al. 2018): with shared
    statistics the net's answer would depend on the synthetic images in the batch, which are absent at inference.

    forward: of the net, see forward.Forward.  weights_K: class weights.  average: the EMA net, which labels the online part.
    """
    maps = {part: maps_of(arrays, config, weights_K=weights_K, average=average) for part, arrays in batch.parts.items()}
    images = _normalised(batch.whole("image"), config, device=weights_K.device)
    scores = forward(images, passes(batch.sizes)).split(list(batch.sizes.values()))
    return {part: Seen(one, maps[part]) for part, one in zip(batch.parts, scores, strict=True)}


def passes(sizes: Mapping[str, int]) -> list[int]:
    """The number of images in each pass of a batch: those with labels together, then the unlabelled ones."""
    bare = sizes.get(BARE, 0)
    return [count for count in (sum(sizes.values()) - bare, bare) if count]


def maps_of(arrays: Mapping[str, Tensor], config: RunConfig, *, weights_K: Tensor, average: TaskNet) -> dict[str, Tensor]:
    """The target maps of a part of a batch, (B, H, W) on the device of `weights_K`.

    'label': int64 train ids.  'true': bool, ground truth.  'weight': float, of the pixel in the loss.
    `average` labels the pixels 'to_label', if the part has that map. Their weight is the share of the part's pixels whose
    confidence is at least SURE (Tranheden et al. 2021, eq. 3).
    """
    device = weights_K.device
    maps = {name: array.to(device) for name, array in arrays.items() if name not in ("image", "undisturbed")}
    maps["label"] = maps["label"].long()
    if "to_label" not in maps:
        return maps | {"weight": pixel_weights(maps["label"], maps["true"], weights_K=weights_K)}
    found_BHW, sure_BHW = answer_of(average, _normalised(arrays["undisturbed"], config, device=device), config)
    share = processes.mean((sure_BHW >= SURE).float().mean())
    maps["label"] = torch.where(maps["to_label"], found_BHW, maps["label"])
    weight_BHW = pixel_weights(maps["label"], maps["true"], weights_K=weights_K)
    return maps | {"weight": torch.where(maps["true"], weight_BHW, share)}


@torch.no_grad()
def answer_of(average: TaskNet, images: Tensor, config: RunConfig) -> tuple[Tensor, Tensor]:
    """The EMA net's prediction from both heads: (B, H, W) int64 train ids and float confidences 0..1."""
    logits_BKHW = average.eval().fused(images, auxiliary=config.task.auxiliary_at_inference)
    confidence_BHW, label_BHW = logits_BKHW.float().softmax(dim=1).max(dim=1)
    return label_BHW, confidence_BHW


def _normalised(images: Tensor, config: RunConfig, *, device: torch.device) -> Tensor:
    return normalised(images.to(device), mean=config.task.mean, std=config.task.std)


def losses_of(seen: Mapping[str, Seen], config: RunConfig) -> dict[str, Tensor]:
    """{history column: unweighted term}, with a term for each part that has labels."""
    return {f"loss_{name}": _loss_of(name, part, config) for name, part in seen.items() if name != BARE}


def _loss_of(name: str, part: Seen, config: RunConfig) -> Tensor:
    maps = part.maps
    if name == SYNTHETIC:
        return segmentation_loss(part.scores, maps["label"], weight_BHW=maps["weight"], auxiliary=AUXILIARY)
    return pseudo_label_loss(part.scores, maps, auxiliary=AUXILIARY, how=config.rounds)


def weights_of(batch: Batch) -> dict[str, float]:
    """The weight of each term of `losses_of`: its part's share of the images with labels.

    Masked copies weigh as much as their originals and are not counted in the total (MIC: lambda 1).
    """
    sizes = batch.sizes
    labelled = sum(sizes.get(part, 0) for part in (SYNTHETIC, PSEUDO, ONLINE))
    images = {part: sizes.get(PSEUDO if part == MASKED else part, 0) for part in (SYNTHETIC, PSEUDO, MASKED, ONLINE)}
    return {f"loss_{part}": count / labelled for part, count in images.items()}


def total_of(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
