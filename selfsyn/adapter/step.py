"""An update of the adapter: generators, discriminators and the EMA."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from selfsyn.adapter.crops import Batch
from selfsyn.adapter.objective import critic_terms, generator_terms, translate_batch, weighted
from selfsyn.adapter.state import AdapterState
from selfsyn.config import Adapter, RunConfig
from selfsyn.errors import FaultError

RISE = 0.1  # share of the fit in which the learning rate rises
HALF_LIVES = 20  # of the EMA in a fit of any length: enough to forget the start, few enough to smooth oscillations


def fit_step(state: AdapterState, batch: Batch, config: RunConfig) -> dict[str, float]:
    """Update the four nets and the EMA; returns the loss terms.

    FaultError with the term, the step and the files, before any update, when a term or a gradient is not finite.
    """
    _set_learning_rate(state, learning_rate(state.step, adapter=config.adapter))
    batch = batch.to(state.device)
    pictures = translate_batch(state, batch)
    terms = generator_terms(state, batch, pictures, config=config)
    critic = critic_terms(state, batch, pictures, seed=config.seed)
    numbers = _numbers({**terms, **critic, "generators": weighted(terms, adapter=config.adapter)})
    _refuse_non_finite(numbers, step=state.step, names=batch.names)
    norms = {
        "the generators' gradient": backward(weighted(terms, adapter=config.adapter), state.generator_parameters),
        "the discriminators' gradient": backward(torch.stack(list(critic.values())).sum(), state.critic_parameters),
    }
    _refuse_non_finite(_numbers(norms), step=state.step, names=batch.names)
    state.generator_optimizer.step()
    state.critic_optimizer.step()
    _follow(state.average, state.to_target, decay=average_decay(config.adapter))
    state.step += 1
    return numbers


def learning_rate(step: int, *, adapter: Adapter) -> float:
    """Linear warm-up, constant until half of the fit, then linear to zero after the last step (Zhu et al. 2017, section 7.1).

    Without the warm-up the first steps of the demo's fit moved the generators 1.3 to 5 times as far from the identity (three
    seeds). The final results showed no difference beyond chance.
    """
    half, rise = adapter.steps / 2, adapter.steps * RISE
    return adapter.learning_rate * min(1.0, (step + 1) / rise, (adapter.steps - step) / half)


def average_decay(adapter: Adapter) -> float:
    """The decay per step of the EMA: its half-life is 1/20 of the fit."""
    return float(0.5 ** (HALF_LIVES / adapter.steps))


def backward(objective: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """Compute the gradient of `objective` for `parameters` alone; returns its norm.

    The generators' objective passes through the discriminators and the frozen net, whose weights get no gradient.
    """
    for parameter in parameters:
        parameter.grad = None
    objective.backward(inputs=parameters)
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _set_learning_rate(state: AdapterState, rate: float) -> None:
    for group in chain(state.generator_optimizer.param_groups, state.critic_optimizer.param_groups):
        group["lr"] = rate


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, *, decay: float) -> None:
    for ours, theirs in zip(average.parameters(), net.parameters(), strict=True):
        ours.lerp_(theirs, 1 - decay)


def _numbers(values: Mapping[str, Tensor]) -> dict[str, float]:
    # A single transfer from the device.
    return dict(zip(values, torch.stack([value.detach() for value in values.values()]).tolist(), strict=True))


def _refuse_non_finite(numbers: Mapping[str, float], *, step: int, names: list[str]) -> None:
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise FaultError(
                f"{name} is {number} at adapter step {step} on {', '.join(names)};"
                f" expected a finite number; lower adapter.learning_rate or remove the images"
            )
