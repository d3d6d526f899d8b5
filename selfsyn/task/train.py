"""The training of a task model, the same for synthetic, mixed and real images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from selfsyn import checkpoint, devices, processes
from selfsyn.classes import ClassList
from selfsyn.config import RunConfig, Train, to_toml
from selfsyn.errors import FaultError, InputError
from selfsyn.files import write_atomic
from selfsyn.images import encode_png
from selfsyn.labels import colourise
from selfsyn.progress import say, track
from selfsyn.randomness import torch_seed
from selfsyn.stopping import EXIT_CODE, Stopping
from selfsyn.task.examples import label_counts
from selfsyn.task.forward import Forward
from selfsyn.task.log import Log
from selfsyn.task.losses import class_weights
from selfsyn.task.mixture import PSEUDO, Batch, Mixture, batches
from selfsyn.task.objective import ExtraTerm, losses_of, passes, seen_by, total_of, weights_of
from selfsyn.task.schedule import Schedule, learning_rate
from selfsyn.task.scores import Scores, TaskNet

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
HISTORY = "history.jsonl"
SAMPLE = "sample.png"
HISTORY_EVERY = 10


@dataclass
class TrainState:
    """The state of a training."""

    net: TaskNet
    forward: nn.Module  # Forward of the net; with several processes DistributedDataParallel around it
    average: AveragedModel  # the EMA net, of parameters and batch-norm buffers; it is exported
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    weights_K: Tensor
    precision: str  # 'fp32' or 'bf16'; after a resume in another precision 'fp32, from step 400 bf16'
    extra: Sequence[ExtraTerm] = ()
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def new_state(
    net: TaskNet,
    *,
    config: Train,
    schedule: Schedule,
    weights_K: Tensor,
    device: torch.device,
    extra: Sequence[ExtraTerm] = (),
) -> TrainState:
    """A state at step 0. The backbone has the learning rate of the schedule, other layers `head_lr_factor` times it."""
    # Depthwise convolutions run twice as fast with channels last, on CPUs and GPUs alike.
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if torch.are_deterministic_algorithms_enabled() and net.attends:
        devices.set_deterministic(strict=True)
    if config.activation_checkpointing:
        net.recompute_activations()
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
    # Not in the EMA net: process 0 alone re-estimates its statistics (rounds.adabn_share); SyncBatchNorm would wait for others.
    if processes.count() > 1 and device.type == "cuda":
        net = convert_sync_batchnorm(net)
    groups = net.parameter_groups(config)
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=config.weight_decay, fused=True)
    half = devices.half(config.precision, device=device)
    forward = Forward(_compiled(net, device=device) if config.compile else net, device=device, half=half)
    precision = "bf16" if half else "fp32"
    return TrainState(net, processes.together(forward), average, optimizer, schedule, weights_K.to(device), precision, extra)


def _compiled(net: TaskNet, *, device: torch.device) -> Callable[[Tensor], Scores]:
    devices.require_compiler(device)
    compiled: Callable[[Tensor], Scores] = torch.compile(net)
    return compiled


def train_step(state: TrainState, batch: Batch, config: RunConfig) -> dict[str, float]:
    """Update the net and its EMA; returns the loss terms. FaultError, before the update, for a non-finite loss."""
    rate = learning_rate(state.step, schedule=state.schedule)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    seen = seen_by(state.forward, batch, config, weights_K=state.weights_K, average=cast(TaskNet, state.average.module))
    scores = {part: one.scores for part, one in seen.items()}
    losses, weights = losses_of(seen, config), weights_of(batch)
    for term in state.extra:
        losses |= term.losses(scores)
        weights |= term.weights
    total = total_of(losses, weights)
    terms = _numbers({**losses, "loss": total})
    _refuse_non_finite(terms, step=state.step, names=batch.names)
    state.optimizer.zero_grad(set_to_none=True)
    total.backward()
    if config.train.clip_norm:
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.train.clip_norm)
    state.optimizer.step()
    processes.average_buffers(state.net)
    state.average.update_parameters(state.net)
    for term in state.extra:
        terms |= term.update(scores, progress=state.step / state.schedule.steps)
    state.step += 1
    return {**terms, "learning_rate": rate}


def _numbers(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of each term over all processes, in one transfer because each transfer stalls the GPU."""
    values = processes.mean(torch.stack([term.detach().float() for term in terms.values()]))
    return dict(zip(terms, values.tolist(), strict=True))


def _refuse_non_finite(terms: dict[str, float], *, step: int, names: list[str]) -> None:
    for name, value in terms.items():
        if not np.isfinite(value):
            raise FaultError(
                f"{name} is {value} at step {step} on {', '.join(names)}; expected a finite number;"
                " lower train.learning_rate or remove the images"
            )


def fit(
    net: TaskNet,
    mixture: Mixture,
    *,
    schedule: Schedule,
    config: RunConfig,
    folder: Path,
    device: torch.device,
    workers: int,
    before: Path | None = None,
    extra: Sequence[ExtraTerm] = (),
) -> TrainState:
    """Train `net` to the last step, from the checkpoint in `folder` if there is one; writes weights, history and a sample there.

    before: the folder of the training to continue: its net, EMA and optimizer state replace `net`.
    Several processes share each batch and end with the same net; process 0 writes. On SIGTERM: a checkpoint, then exit 143.
    """
    stopping = Stopping()
    refuse_unshared(mixture.sizes, config, ranks=processes.count(), device=device)
    counts = label_counts(mixture.labelled, classes=len(config.class_list))
    if schedule.steps and not counts.any():
        raise InputError(
            f"{mixture.labelled[0].name}: its label and {len(mixture.labelled) - 1} more have no pixel of any class; expected"
            " labels of the layout in run.toml; set `ids`, or another layout"
        )
    weights_K = class_weights(counts, power=config.train.class_weight_power)
    state = new_state(net, config=config.train, schedule=schedule, weights_K=weights_K, device=device, extra=extra)
    _resume(state, config=config, folder=folder, before=before)
    _learn(state, mixture, config=config, folder=folder, workers=workers, stopping=stopping)
    if not schedule.steps:
        _save(state, config=config, folder=folder)
    if processes.rank() == 0:
        write_weights(state, folder=folder)
    return state


def _learn(state: TrainState, mixture: Mixture, *, config: RunConfig, folder: Path, workers: int, stopping: Stopping) -> None:
    """Run the remaining steps with periodic checkpoints. On SIGTERM: a checkpoint, then SystemExit(143)."""
    rank, ranks, schedule, device = processes.rank(), processes.count(), state.schedule, state.weights_K.device
    log = Log(folder, batch=config.train.batch, first=state.step, device=device, tensorboard=config.train.tensorboard)
    if state.step == 0 and rank == 0:
        write_atomic(folder / SAMPLE, _sample(mixture, config.class_list))
    state.net.train()
    steps = batches(mixture.shared(rank, ranks=ranks), first=state.step, last=schedule.steps, workers=workers)
    if rank == 0:
        steps = track(steps, total=schedule.steps, label=f"train {folder.parent.name}", first=state.step, note=log.speed)
    for batch in steps:
        own = [rank] if ranks > 1 else []  # dropout differs between processes
        torch.manual_seed(torch_seed(config.seed, mixture.purpose, state.step, *own))
        _note(train_step(state, batch, config), state, log=log)
        stop = processes.any_of(stopping.requested)
        if state.step % config.train.checkpoint_every == 0 or state.step == schedule.steps or stop:
            _save(state, config=config, folder=folder)
            log.save()
        if stop:
            raise SystemExit(EXIT_CODE)


def _note(terms: Mapping[str, float], state: TrainState, *, log: Log) -> None:
    if state.step % HISTORY_EVERY == 0 or state.step == state.schedule.steps:
        state.history.append({"step": state.step, **{name: round(value, 6) for name, value in terms.items()}})
        log.add(state.history[-1])


def refuse_unshared(sizes: Mapping[str, int], config: RunConfig, *, ranks: int, device: torch.device) -> None:
    """InputError when `ranks` processes cannot share a batch with parts of these sizes on this device."""
    real = sizes.get(PSEUDO, 0)
    if any(size % ranks for size in sizes.values()):
        raise InputError(
            f"a batch of {config.train.batch} images, {real} of them real, cannot be shared by {ranks} processes;"
            " start fewer, or set train.batch and rounds.real_share so that both numbers are multiples of the process count"
        )
    least = min(passes({part: size // ranks for part, size in sizes.items()}))
    # DeepLabV3+ pools each image to one pixel, too few values for batch norm; SyncBatchNorm over processes needs a GPU.
    if ranks > 1 and device.type == "cpu" and config.task.architecture == "deeplabv3plus" and least < 2:
        raise InputError(
            f"train.batch is {config.train.batch}, {real} of them real, shared by {ranks} processes on a CPU: a pass would hold"
            " one image; deeplabv3plus needs at least 2; start fewer processes, or set train.batch higher"
        )


def _resume(state: TrainState, *, config: RunConfig, folder: Path, before: Path | None) -> None:
    """Restore the checkpoint of `folder`, or without it the final state of the training `before`."""
    saved = checkpoint.load(folder / CHECKPOINT, configuration=to_toml(config))
    if saved is None and before is not None:
        _restore(state, _finished(before))
    if saved is not None:
        _restore(state, saved)
        for term, values in zip(state.extra, saved["extra"], strict=True):
            term.load_state_dict(values)
        state.step, state.history = saved["step"], saved["history"]
        if processes.rank() == 0:
            say(f"{folder}: resumes at step {state.step} of {state.schedule.steps}")
        state.precision = _precisions(saved.get("precision", state.precision), state, folder=folder)
    processes.refuse_different(state.step, what=f"the step of {folder / CHECKPOINT}")


def _precisions(before: str, state: TrainState, *, folder: Path) -> str:
    """The precision of the steps so far and of the next ones, as text."""
    if before.endswith(state.precision):
        return before
    # A message, not an error: a cluster's next node may have another CPU, and the saved state is float32 in both precisions.
    both = f"{before}, from step {state.step} {state.precision}"
    if processes.rank() == 0:
        say(f"{folder}: resumes in another precision ({both}): train.precision is auto, and this machine is of another kind")
    return both


def _restore(state: TrainState, saved: Mapping[str, Any]) -> None:
    """Restore the net, the EMA and the optimizer, but neither the step nor the extra terms."""
    state.net.load_state_dict(saved["net"])
    state.average.load_state_dict(saved["average"])
    state.optimizer.load_state_dict(saved["optimizer"])


def _finished(folder: Path) -> Mapping[str, Any]:
    saved = checkpoint.load(folder / CHECKPOINT, configuration=None)
    if saved is None:
        raise InputError(f"{folder / CHECKPOINT}: not found, but rounds.start is 'continue'; train that stage again with --force")
    return saved


def _save(state: TrainState, *, config: RunConfig, folder: Path) -> None:
    """Process 0 writes the checkpoint and the history; the other processes wait for it."""
    with processes.first_before_others():
        if processes.rank() == 0:
            _write_state(state, config=config, folder=folder)


def _write_state(state: TrainState, *, config: RunConfig, folder: Path) -> None:
    parts: dict[str, Any] = {name: getattr(state, name).state_dict() for name in ("net", "average", "optimizer")}
    parts["extra"] = [term.state_dict() for term in state.extra]
    numbers = {"step": state.step, "precision": state.precision, "history": state.history}
    checkpoint.save(folder / CHECKPOINT, {**parts, **numbers}, configuration=to_toml(config))
    write_atomic(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in state.history).encode())


def write_weights(state: TrainState, *, folder: Path) -> None:
    """Write the EMA net as weights.safetensors."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.average.module.state_dict().items()}
    write_atomic(folder / WEIGHTS, to_safetensors(tensors))


def _sample(mixture: Mixture, classes: ClassList) -> bytes:
    """PNG of the first batch after augmentation: images above, labels below."""
    batch = mixture.read_batch(0)
    images = np.concatenate(list(batch.whole("image").numpy()), axis=1)
    labels = np.concatenate([colourise(label, classes) for label in batch.whole("label").numpy()], axis=1)
    return encode_png(np.concatenate([images, labels]))
