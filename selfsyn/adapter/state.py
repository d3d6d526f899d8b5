"""The state of the adapter's fit: four nets, two optimizers, an EMA, two pools; and its form in a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import nn

from selfsyn.adapter.discriminator import Discriminator, build_discriminator
from selfsyn.adapter.generator import Generator, build_generator
from selfsyn.adapter.pool import Pool
from selfsyn.config import RunConfig
from selfsyn.randomness import torch_seed

BETAS = (0.5, 0.999)  # Adam's, for GANs (Radford et al. 2016)
MODULES = ("to_target", "to_source", "target_critic", "source_critic", "average", "generator_optimizer", "critic_optimizer")
POOLS = ("target_pool", "source_pool")


@dataclass
class AdapterState:
    """The state of a fit, and the frozen task net f_S of the semantic loss.

    to_target, to_source: G_ST and G_TS.  target_critic: D_T, separates real from adapted images; source_critic: D_S.
    average: exponential moving average of to_target, used by `adapt`.  recent: terms since the last history row.
    """

    frozen: nn.Module
    to_target: Generator
    to_source: Generator
    target_critic: Discriminator
    source_critic: Discriminator
    average: Generator
    generator_optimizer: torch.optim.Adam
    critic_optimizer: torch.optim.Adam
    target_pool: Pool
    source_pool: Pool
    step: int = 0
    recent: list[dict[str, float]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """The device of the nets."""
        return next(self.average.parameters()).device

    @property
    def generator_parameters(self) -> list[nn.Parameter]:
        """The parameters of both generators."""
        return [*self.to_target.parameters(), *self.to_source.parameters()]

    @property
    def critic_parameters(self) -> list[nn.Parameter]:
        """The parameters of both discriminators."""
        return [*self.target_critic.parameters(), *self.source_critic.parameters()]


def new_state(frozen: nn.Module, *, config: RunConfig, device: torch.device) -> AdapterState:
    """A state at step 0: both generators are the identity. Puts `frozen` in evaluation mode, without gradients."""
    torch.manual_seed(torch_seed(config.seed, "adapter-init"))
    adapter = config.adapter
    to_target, to_source = build_generator(adapter, device=device), build_generator(adapter, device=device)
    target_critic, source_critic = build_discriminator(adapter).to(device), build_discriminator(adapter).to(device)
    return AdapterState(
        frozen=frozen.to(device).eval().requires_grad_(False),
        to_target=to_target,
        to_source=to_source,
        target_critic=target_critic,
        source_critic=source_critic,
        average=copy.deepcopy(to_target).requires_grad_(False),
        generator_optimizer=_optimizer(to_target, to_source, rate=adapter.learning_rate),
        critic_optimizer=_optimizer(target_critic, source_critic, rate=adapter.learning_rate),
        target_pool=Pool(adapter.image_pool),
        source_pool=Pool(adapter.image_pool),
    )


def contents(state: AdapterState) -> dict[str, Any]:
    """The state to write into a checkpoint."""
    parts: dict[str, Any] = {name: getattr(state, name).state_dict() for name in MODULES}
    pools = {name: getattr(state, name).images for name in POOLS}
    return {**parts, **pools, "step": state.step, "recent": state.recent, "history": state.history}


def restore(state: AdapterState, saved: Mapping[str, Any]) -> None:
    """Restore the `contents` of a checkpoint."""
    for name in MODULES:
        getattr(state, name).load_state_dict(saved[name])
    for name in POOLS:
        getattr(state, name).images = [image.to(state.device) for image in saved[name]]
    state.step, state.recent, state.history = saved["step"], saved["recent"], saved["history"]


def _optimizer(*nets: nn.Module, rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(chain(*(net.parameters() for net in nets)), lr=rate, betas=BETAS)
