"""What a task model learns to do, as one number: the loss terms of a batch and their weighted sum."""

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
SURE = 0.968  # confidence from which the average counts as sure of a pixel (Tranheden et al. 2021)


class Seen(NamedTuple):
    """What the net says about one part of a batch, and what it should have said: see `maps_of`."""

    scores: Scores
    maps: Mapping[str, Tensor]


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
        return None


def seen_by(
    forward: Callable[[Tensor, Sequence[int]], Scores], batch: Batch, config: RunConfig, *, weights_K: Tensor, average: TaskNet
) -> dict[str, Seen]:
    """The batch's parts as the net sees them: one forward for all that have labels, so that they share their batch statistics.

    Bare images go through by themselves (Tsai et al. 2018): normalised together with synthetic ones, the net would answer them
    by what stands beside them, and nothing does when it is used.

    forward: the net's, see forward.Forward.  weights_K: of the classes.  average: the net that labels the online part.
    """
    maps = {part: maps_of(arrays, config, weights_K=weights_K, average=average) for part, arrays in batch.parts.items()}
    images = _normalised(batch.whole("image"), config, device=weights_K.device)
    main, auxiliary = (head.split(list(batch.sizes.values())) for head in forward(images, passes(batch.sizes)))
    return {part: Seen(Scores(main[place], auxiliary[place]), maps[part]) for place, part in enumerate(batch.parts)}


def passes(sizes: Mapping[str, int]) -> list[int]:
    """How many of a batch's images go through the net with one another, one pass after the next."""
    bare = sizes.get(BARE, 0)
    return [count for count in (sum(sizes.values()) - bare, bare) if count]


def maps_of(arrays: Mapping[str, Tensor], config: RunConfig, *, weights_K: Tensor, average: TaskNet) -> dict[str, Tensor]:
    """What the net should say of a part of a batch: its maps, (B, H, W) on the device of `weights_K`.

    'label': int64 train ids.  'true': where they are no pseudo-labels.  'weight': how much each pixel's label counts.
    Where the part has labels 'to_label', `average` gives them. They weigh as much as the share of the part's pixels of which
    it is sure (Tranheden et al. 2021, eq. 3).
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
    maps = part.maps
    if name == SYNTHETIC:
        return segmentation_loss(part.scores, maps["label"], weight_BHW=maps["weight"], auxiliary=AUXILIARY)
    return pseudo_label_loss(part.scores, maps, auxiliary=AUXILIARY, how=config.rounds)


def weights_of(batch: Batch) -> dict[str, float]:
    """The weights of the terms of `losses_of`: a part's share of the labelled images.

    Masked copies weigh as much as the images that they are copies of (MIC: lambda 1).
    """
    sizes = batch.sizes
    labelled = sum(sizes.get(part, 0) for part in (SYNTHETIC, PSEUDO, ONLINE))
    images = {part: sizes.get(PSEUDO if part == MASKED else part, 0) for part in (SYNTHETIC, PSEUDO, MASKED, ONLINE)}
    return {f"loss_{part}": count / labelled for part, count in images.items()}


def total_of(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms."""
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
