"""Ablation of the adapter: fits that lack a loss each. No round trains on their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from selfsyn.adapter.adapt import adapt, load_generator
from selfsyn.adapter.fit import WEIGHTS, fit
from selfsyn.config import RunConfig
from selfsyn.data import Frame, LabelledFrame
from selfsyn.stopping import Stopping

# The configuration refuses an identity weight of 0; 1e-9 is too small to change the fit.
WEIGHT_OF_NOTHING = {"semantic": 0.0, "identity": 1e-9, "cycle": 0.0}
ABLATIONS = tuple(WEIGHT_OF_NOTHING)


def without(config: RunConfig, *, loss: str) -> RunConfig:
    """The configuration with `loss`, one of ABLATIONS, switched off in the adapter's objective."""
    weights = {loss: WEIGHT_OF_NOTHING[loss]}
    return replace(config, adapter=replace(config.adapter, **weights))  # type: ignore[arg-type]


def adapt_without(
    frozen: nn.Module,
    *,
    loss: str,
    synthetic: Sequence[LabelledFrame],
    chosen: Sequence[LabelledFrame],
    real: Sequence[Frame],
    config: RunConfig,
    folder: Path,
    device: torch.device,
    workers: int,
    stopping: Stopping,
) -> dict[str, float]:
    """Fit an adapter without `loss` and adapt the `chosen` frames with it; returns the 'agreement_...' columns of its last
    history row.

    Writes folder/adapter and folder/adapted as `fit` and `adapt` do, and resumes as they do.
    """
    ablated = without(config, loss=loss)
    state = fit(
        frozen, synthetic=synthetic, real=real, config=ablated, folder=folder / "adapter", device=device, stopping=stopping
    )
    generator = load_generator(folder / "adapter" / WEIGHTS, adapter=ablated.adapter, device=device)
    adapt(
        generator,
        chosen,
        size=config.adapted_size,
        seed=config.seed,
        folder=folder / "adapted",
        workers=workers,
        stopping=stopping,
        classes=config.class_list,
    )
    return {name: value for name, value in state.history[-1].items() if name.startswith("agreement")}
