"""One training of a task model: the same steps, batch and schedule whether it learns from synthetic, mixed or real images."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from selfsyn import checkpoint
from selfsyn.config import RunConfig, Train, to_toml
from selfsyn.errors import FaultError
from selfsyn.files import write_atomic
from selfsyn.images import encode_png
from selfsyn.labels import colourise
from selfsyn.progress import say, track
from selfsyn.randomness import torch_seed
from selfsyn.stopping import Stopping
from selfsyn.task.alignment import Alignment
from selfsyn.task.examples import label_counts
from selfsyn.task.losses import class_weights
from selfsyn.task.mixture import BARE, SYNTHETIC, Batch, Mixture, batches
from selfsyn.task.objective import losses_of, seen_by, total_of
from selfsyn.task.scores import TaskNet

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
HISTORY = "history.jsonl"
SAMPLE = "sample.png"
HISTORY_EVERY = 10
DECAY_POWER = 0.9  # of the poly schedule (Chen et al. 2018)


@dataclass(frozen=True)
class Schedule:
    """How long a stage trains and how fast: updates, the backbone's first learning rate, updates of linear warm-up."""

    steps: int
    learning_rate: float
    warmup_steps: int


@dataclass
class TrainState:
    """What changes while a task model learns."""

    net: TaskNet
    average: AveragedModel  # EMA of parameters and of batch-norm buffers: what is exported
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    weights_K: Tensor
    alignment: Alignment | None = None
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def new_state(net: TaskNet, *, config: Train, schedule: Schedule, weights_K: Tensor, device: torch.device) -> TrainState:
    """A state at step 0. The backbone learns at the schedule's rate, other layers `head_factor` times faster."""
    # Depthwise convolutions run twice as fast with channels last, on CPUs and GPUs alike.
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbone = {id(parameter) for parameter in net.backbone.parameters()}
    groups = [
        {"params": [p for p in net.parameters() if id(p) in backbone], "factor": 1.0},
        {"params": [p for p in net.parameters() if id(p) not in backbone], "factor": config.head_factor},
    ]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=config.weight_decay, fused=True)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    return TrainState(net, average, optimizer, schedule, weights_K.to(device))


def learning_rate(step: int, *, schedule: Schedule) -> float:
    """Linear warm-up, then poly decay to zero at the last step."""
    warm = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    return schedule.learning_rate * warm * (1 - step / schedule.steps) ** DECAY_POWER


def train_step(state: TrainState, batch: Batch, config: RunConfig) -> dict[str, float]:
    """One update of the net and of its average; returns the loss terms. FaultError, before the update, for a non-finite loss."""
    rate = learning_rate(state.step, schedule=state.schedule)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    seen = seen_by(state.net, batch, config, weights_K=state.weights_K)
    losses = losses_of(seen, config)
    if state.alignment is not None:
        losses |= state.alignment.fooling(seen[BARE].scores)
    total = total_of(losses, batch, config)
    terms = {name: float(value.detach()) for name, value in {**losses, "loss": total}.items()}
    _refuse_non_finite(terms, step=state.step, names=batch.names)
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    state.optimizer.step()
    state.average.update_parameters(state.net)
    if state.alignment is not None:
        progress = state.step / state.schedule.steps
        terms |= state.alignment.learn(seen[SYNTHETIC].scores, seen[BARE].scores, progress=progress)
    state.step += 1
    return {**terms, "learning_rate": rate}


def _refuse_non_finite(terms: dict[str, float], *, step: int, names: list[str]) -> None:
    for name, value in terms.items():
        if not np.isfinite(value):
            raise FaultError(
                f"{name} is {value} at step {step} on {', '.join(names)}; lower train.learning_rate or remove the images"
            )


def fit(
    net: TaskNet, mixture: Mixture, *, schedule: Schedule, config: RunConfig, folder: Path, device: torch.device, workers: int
) -> TrainState:
    """Train `net` in `folder` from its checkpoint, or from the start, to the last step; writes weights, history, a sample.

    SIGTERM writes a checkpoint and exits 143.
    """
    stopping = Stopping()
    state = _resumed(net, mixture, schedule=schedule, config=config, folder=folder, device=device)
    if state.step == 0:
        write_atomic(folder / SAMPLE, _sample(mixture))
    every = config.train.checkpoint_every
    state.net.train()
    steps = batches(mixture, first=state.step, last=schedule.steps, workers=workers)
    for batch in track(steps, total=schedule.steps, label=f"train {folder.parent.name}", first=state.step):
        torch.manual_seed(torch_seed(config.seed, mixture.purpose, state.step))
        terms = train_step(state, batch, config)
        if state.step % HISTORY_EVERY == 0 or state.step == schedule.steps:
            state.history.append({"step": state.step, **{name: round(value, 6) for name, value in terms.items()}})
        if state.step % every == 0 or state.step == schedule.steps or stopping.requested:
            _save(state, config=config, folder=folder)
            stopping.exit_if_requested()
    if not schedule.steps:
        _save(state, config=config, folder=folder)
    write_weights(state, folder=folder)
    return state


def _resumed(
    net: TaskNet, mixture: Mixture, *, schedule: Schedule, config: RunConfig, folder: Path, device: torch.device
) -> TrainState:
    counts = label_counts(mixture.labelled)
    weights_K = class_weights(counts, power=config.train.class_weight_power)
    state = new_state(net, config=config.train, schedule=schedule, weights_K=weights_K, device=device)
    if mixture.bare and config.rounds.align.wanted:
        torch.manual_seed(torch_seed(config.seed, f"{mixture.purpose} discriminators"))
        state.alignment = Alignment(config.rounds.align, device=device)
    saved = checkpoint.load(folder / CHECKPOINT, configuration=to_toml(config))
    if saved is not None:
        state.net.load_state_dict(saved["net"])
        state.average.load_state_dict(saved["average"])
        state.optimizer.load_state_dict(saved["optimizer"])
        if state.alignment is not None:
            state.alignment.load_state_dict(saved["alignment"])
        state.step, state.history = saved["step"], saved["history"]
        say(f"{folder}: goes on at step {state.step} of {schedule.steps}")
    return state


def _save(state: TrainState, *, config: RunConfig, folder: Path) -> None:
    parts: dict[str, Any] = {name: getattr(state, name).state_dict() for name in ("net", "average", "optimizer")}
    if state.alignment is not None:
        parts["alignment"] = state.alignment.state_dict()
    checkpoint.save(folder / CHECKPOINT, {**parts, "step": state.step, "history": state.history}, configuration=to_toml(config))
    write_atomic(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in state.history).encode())


def write_weights(state: TrainState, *, folder: Path) -> None:
    """Write the averaged net as weights.safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.average.module.state_dict().items()}
    write_atomic(folder / WEIGHTS, to_safetensors(tensors))


def _sample(mixture: Mixture) -> bytes:
    """PNG of the first batch as the net sees it: images above, labels below."""
    batch = mixture.read_batch(0)
    images = np.concatenate(list(batch.images.numpy()), axis=1)
    labels = np.concatenate([colourise(label) for label in batch.labels.numpy()], axis=1)
    return encode_png(np.concatenate([images, labels]))
