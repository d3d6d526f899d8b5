"""Adversarial alignment: discriminators learn to separate the net's outputs on adapted and on real images, and the net learns
to make them indistinguishable (Tsai et al. 2018; Hoffman et al. 2018, feature level)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsyn import processes
from selfsyn.labels import CLASS_COUNT
from selfsyn.task.mixture import BARE, SYNTHETIC
from selfsyn.task.objective import ExtraTerm
from selfsyn.task.scores import Scores

SLOPE = 0.2  # of the leaky ReLU
LEARNING_RATE = 1e-4  # Adam's, as its betas (Tsai et al. 2018)
BETAS = (0.9, 0.99)
DECAY_POWER = 0.9
WINDOW = 100  # updates over which the gate averages the accuracy (Hoffman et al. 2018)
STRIDE = 8  # at which the pixel critic gets scores: about their stride before upsampling
ADAPTED, REAL = 0.0, 1.0


def patch_critic(*, channels: int, classes: int = CLASS_COUNT) -> nn.Sequential:
    """Five convolutions of 4 x 4 pixels, each halving: (B, K, H, W) -> (B, 1, H / 32, W / 32) (Tsai et al. 2018)."""
    widths = [classes] + [channels * factor for factor in (1, 2, 4, 8)]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))


def pixel_critic(*, channels: int, classes: int = CLASS_COUNT) -> nn.Sequential:
    """Three convolutions of one pixel with dropout: (B, K, H, W) -> (B, 1, H, W) (Hoffman et al. 2018)."""
    widths = (classes, 8 * channels, 4 * channels)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 1), nn.Dropout2d(), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))


def view(scores: Scores, name: str) -> Tensor:
    """The input of the discriminator `name`: (B, K, h, w)."""
    if name == "features":
        return F.avg_pool2d(scores.main.float(), STRIDE)
    logits: Tensor = getattr(scores, name)
    return logits.float().softmax(dim=1)


def judgement(verdict: Tensor, domain: float) -> Tensor:
    """Mean binary cross-entropy of the logits `verdict` with the label `domain` -> scalar."""
    return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, domain))


def accuracy(adapted: Tensor, real: Tensor) -> Tensor:
    """Accuracy of a discriminator from its logits, mean of both domains, 0..1."""
    return ((adapted < 0).float().mean() + (real > 0).float().mean()) / 2


class Critics(nn.ModuleDict):
    """Discriminators by name, run in a single call."""

    def forward(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{name: input, see `view`} -> {name: logits (B, 1, h, w)}."""
        return {name: self[name](seen) for name, seen in views.items()}


class Discriminators(ExtraTerm):
    """The discriminators of a training, their optimizer, and their recent accuracies."""

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        channels: int,
        device: torch.device,
        gate: float = 0.0,
        learning_rate: float = LEARNING_RATE,
        classes: int = CLASS_COUNT,
    ) -> None:
        """Untrained discriminators, initialised from torch's random state.

        weights: of the terms: 'main' and 'auxiliary', on the class probabilities of these heads; 'features', on each pixel's
        scores of the main head.  channels: of the first layer.  classes: number of channels of the scores.
        gate: a term counts only while its discriminator's mean accuracy over the last 100 updates exceeds it; 0: always.
        """
        self.weights = {f"align_{name}": weight for name, weight in weights.items()}
        self.gate, self.learning_rate = gate, learning_rate
        build = {"main": patch_critic, "auxiliary": patch_critic, "features": pixel_critic}
        self.critics = Critics({name: build[name](channels=channels, classes=classes) for name in weights}).to(device)
        self.learners = processes.together(self.critics)
        # Gradients are on only in `update`: the net's loss passes through the discriminators without changing them.
        self.critics.requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.critics.parameters(), lr=learning_rate, betas=BETAS)
        self.accuracies: dict[str, list[float]] = {name: [] for name in weights}

    def pushes(self, name: str) -> bool:
        """Whether the term counts now: the discriminator's mean accuracy over its last 100 updates exceeds the gate."""
        lately = self.accuracies[name]
        return self.gate == 0 or (len(lately) > 0 and sum(lately) / len(lately) > self.gate)

    def losses(self, scores: Mapping[str, Scores]) -> dict[str, Tensor]:
        """The task net's terms: the discriminators should take real images for adapted ones. No term while its gate is closed.

        Gradients reach the scores of the unlabelled real images, but not the discriminators.
        """
        verdicts = self.critics({name: view(scores[BARE], name) for name in self.critics if self.pushes(name)})
        return {f"align_{name}": judgement(verdict, ADAPTED) for name, verdict in verdicts.items()}

    def update(self, scores: Mapping[str, Scores], *, progress: float) -> dict[str, float]:
        """Update the discriminators -> their losses and accuracies. The scores get no gradient.

        The learning rate decays to zero with `progress`.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * (1 - progress) ** DECAY_POWER
        self.critics.requires_grad_(True)
        losses, accuracies = self._told_apart(scores[SYNTHETIC], scores[BARE])
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        self.critics.requires_grad_(False)
        for name, value in accuracies.items():
            self.accuracies[name] = [*self.accuracies[name], float(processes.mean(value))][-WINDOW:]
        terms = {f"critic_{name}": float(processes.mean(loss.detach())) for name, loss in losses.items()}
        return terms | {f"accuracy_{name}": lately[-1] for name, lately in self.accuracies.items()}

    def _told_apart(self, adapted: Scores, real: Scores) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses, the mean of both domains (Tsai et al. 2018), and accuracies, by discriminator."""
        losses, accuracies = {}, {}
        views = {name: torch.cat([view(adapted, name), view(real, name)]).detach() for name in self.critics}
        for name, verdict in self.learners(views).items():
            of_adapted, of_real = verdict.split([len(adapted.main), len(real.main)])
            losses[name] = (judgement(of_adapted, ADAPTED) + judgement(of_real, REAL)) / 2
            accuracies[name] = accuracy(of_adapted.detach(), of_real.detach())
        return losses, accuracies

    def state_dict(self) -> dict[str, Any]:
        """The state to write into a checkpoint."""
        parts = {"critics": self.critics.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**parts, "accuracies": self.accuracies}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.critics.load_state_dict(saved["critics"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.accuracies = {name: list(values) for name, values in saved["accuracies"].items()}
