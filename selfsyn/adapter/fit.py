"""The fit of the adapter: resume from a checkpoint or start anew, and train to the last step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from selfsyn import checkpoint
from selfsyn.adapter.crops import Crops, batches
from selfsyn.adapter.samples import Samples, content, read_samples, sheet
from selfsyn.adapter.state import AdapterState, contents, new_state, restore
from selfsyn.adapter.step import fit_step
from selfsyn.config import Adapter, RunConfig, to_toml
from selfsyn.data import Frame, LabelledFrame
from selfsyn.files import write_atomic
from selfsyn.progress import say, track
from selfsyn.stopping import Stopping

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
HISTORY = "history.jsonl"
SAMPLES = "samples.png"
HISTORY_ROWS = 100  # in a fit, in addition to the rows at checkpoints


def fit(
    frozen: nn.Module,
    *,
    synthetic: Sequence[LabelledFrame],
    real: Sequence[Frame],
    config: RunConfig,
    folder: Path,
    device: torch.device,
    stopping: Stopping,
) -> AdapterState:
    """Fit the adapter in `folder`; writes weights.safetensors (the source-to-target generator), history.jsonl, samples.png.

    frozen: f_S, a task net trained on the synthetic frames, unadapted or (from a round) adapted.
    On SIGTERM: a checkpoint, then exit 143. FaultError for a loss that is not finite.
    """
    samples = read_samples(synthetic, real, config=config)
    state = _resumed(frozen, config=config, folder=folder, device=device)
    crops = [Crops(frames, config=config, domain=domain) for domain, frames in (("synthetic", synthetic), ("real", real))]
    steps = config.adapter.steps
    for batch in track(batches(*crops, first=state.step), total=steps, label="fit-adapter", first=state.step):
        state.recent.append(fit_step(state, batch, config))
        _record(state, samples, config=config)
        if _is_checkpoint(state.step, config.adapter) or stopping.requested:
            _save(state, samples, config=config, folder=folder)
            stopping.exit_if_requested()
    average = {name: tensor.cpu().contiguous() for name, tensor in state.average.state_dict().items()}
    write_atomic(folder / WEIGHTS, to_safetensors(average))
    return state


def _is_checkpoint(step: int, adapter: Adapter) -> bool:
    return step % adapter.checkpoint_every == 0 or step == adapter.steps


def _resumed(frozen: nn.Module, *, config: RunConfig, folder: Path, device: torch.device) -> AdapterState:
    state = new_state(frozen, config=config, device=device)
    saved = checkpoint.load(folder / CHECKPOINT, configuration=to_toml(config))
    if saved is not None:
        restore(state, saved)
        say(f"{folder}: resumes at step {state.step} of {config.adapter.steps}")
    return state


def _record(state: AdapterState, samples: Samples, *, config: RunConfig) -> None:
    """Add a history row with the mean of the terms since the last row; at a checkpoint also the `content` of the samples."""
    at_checkpoint = _is_checkpoint(state.step, config.adapter)
    if state.step % max(1, config.adapter.steps // HISTORY_ROWS) and not at_checkpoint:
        return
    means = {name: sum(terms[name] for terms in state.recent) / len(state.recent) for name in state.recent[0]}
    row: dict[str, Any] = {"step": state.step} | {name: round(value, 6) for name, value in means.items()}
    if at_checkpoint:
        row |= _content_row(state, samples, config=config)
    state.history.append(row)
    state.recent = []


def _content_row(state: AdapterState, samples: Samples, *, config: RunConfig) -> dict[str, Any]:
    """The frozen net's predictions on the samples before and after adaptation, also logged. They reveal hallucination early."""
    before = content(state.frozen, samples, config=config)
    after = content(state.frozen, samples, config=config, generator=state.average)
    classes = config.class_list
    most = int(np.abs(after.shares - before.shares).argmax())
    say(
        f"fit-adapter: step {state.step}: pixel accuracy of the frozen net {before.agreement:.1%} on source images,"
        f" {after.agreement:.1%} on adapted images; adaptation moves {before.moved(after):.1%} of the pixels to other classes,"
        f" most in {classes.names[most]} ({before.shares[most]:.1%} -> {after.shares[most]:.1%})"
    )
    return {
        "agreement_source": round(before.agreement, 6),
        "agreement_adapted": round(after.agreement, 6),
        "moved": round(before.moved(after), 6),
        "shares_source": before.by_class(classes),
        "shares_adapted": after.by_class(classes),
    }


def _save(state: AdapterState, samples: Samples, *, config: RunConfig, folder: Path) -> None:
    # The checkpoint last: a resume from an older checkpoint rewrites the other files.
    write_atomic(folder / HISTORY, "".join(json.dumps(row) + "\n" for row in state.history).encode())
    write_atomic(folder / SAMPLES, sheet(state.average, samples, seed=config.seed))
    checkpoint.save(folder / CHECKPOINT, contents(state), configuration=to_toml(config))
