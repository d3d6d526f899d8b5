"""Knowledge distillation: a net learns the class probabilities of a frozen net on the same augmented images.

Both nets see the same crop with the same colours, so that each pixel has a pair of probabilities (Beyer et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from selfsyn.config import Task
from selfsyn.task.mixture import BARE, MASKED, Batch
from selfsyn.task.scores import TaskNet, normalised

UNTAUGHT = (MASKED, BARE)  # parts whose images the frozen net would not see as they are, or which belong to another method


@dataclass(frozen=True)
class Tutor:
    """The frozen net. half: whether it computes in bfloat16 under autocast."""

    net: TaskNet
    task: Task
    half: bool

    @torch.no_grad()
    def log_shares(self, image_BHWC: Tensor, *, device: torch.device) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, K, H, W) logarithms of the class probabilities."""
        image_BCHW = normalised(image_BHWC.to(device), mean=self.task.mean, std=self.task.std)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.half):
            logits_BKHW = self.net.eval().fused(image_BCHW, auxiliary=self.task.auxiliary_at_inference)
        return logits_BKHW.float().log_softmax(dim=1)

    def answers(self, batch: Batch, *, device: torch.device) -> dict[str, Tensor]:
        """{part: log_shares of its images}, without UNTAUGHT parts."""
        return {
            part: self.log_shares(arrays["image"], device=device) for part, arrays in batch.parts.items() if part not in UNTAUGHT
        }


def distillation_loss(logits: Mapping[str, Tensor], taught: Mapping[str, Tensor]) -> Tensor:
    """KL(taught || softmax(logits)), the mean over all pixels of the parts in `taught`.

    logits: (B, K, H, W) of each part.  taught: (B, K, H, W) logarithms of probabilities.
    """
    pixels = sum(log_BKHW[:, 0].numel() for log_BKHW in taught.values())
    total = [(log_BKHW.exp() * (log_BKHW - logits[part].log_softmax(dim=1))).sum() for part, log_BKHW in taught.items()]
    return torch.stack(total).sum() / pixels
