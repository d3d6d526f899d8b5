"""One of the processes that `correctness.py` starts: the same step alone and together.

Each process computes the step on the whole batch alone, then on its part of the batch with the others, on the same device. The
gradient together may be four times as far from float64's as the gradient alone is. On CUDA the batch norm is SyncBatchNorm's; on
a CPU, which has none, its statistics are fixed. One process with NCCL is given the engine of
several, as far as one GPU shows it: torch's SyncBatchNorm is plain batch norm where there is nobody to ask.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from unittest import mock

import correctness
import torch
import torch.distributed as dist
from correctness import demo, distance, gradient_of, tolerated
from training import examples

from selfsyn import devices, processes
from selfsyn.task import build
from selfsyn.task.mixture import SYNTHETIC, Batch
from selfsyn.task.train import TrainState, new_state

IMAGES = 8


def main(folder: Path, *, kind: str, backend: str, rank: int, count: int) -> None:
    """Compare the gradients as process `rank` of `count`; the first one writes folder/together.json.

    folder: an empty one, where the processes meet.  kind: 'cuda' or 'cpu'.  backend: 'gloo' or 'nccl'.
    """
    devices.set_deterministic()
    device = torch.device("cuda", 0) if kind == "cuda" else torch.device("cpu")
    torch.manual_seed(0)
    config = demo("train.precision=fp32")
    net = build(config.task, pretrained=True).train(device.type == "cuda")
    data = examples(IMAGES, (128, 96) if device.type == "cuda" else (64, 48))
    true = gradient_of(copy.deepcopy(net), data, config, device=torch.device("cpu"), dtype=torch.float64)
    alone = distance(gradient_of(copy.deepcopy(net), data, config, device=device, dtype=torch.float32), true)
    meeting = f"file://{folder.resolve()}/meeting"
    own = device if backend == "nccl" else None
    dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=count, device_id=own)
    arrays = {name: array[rank::count] for name, array in data.parts[SYNTHETIC].items()}
    part = Batch({SYNTHETIC: arrays}, data.names[rank::count])
    with mock.patch.object(correctness, "new_state", state_of_several):
        together = distance(gradient_of(net, part, config, device=device, dtype=torch.float32), true)
    if rank == 0:
        found = f"gradient of {count} {together:.1e} from float64's, of one {alone:.1e}"
        (folder / "together.json").write_text(json.dumps({"good": together <= tolerated(alone), "found": found}))
    dist.destroy_process_group()


def state_of_several(*arguments: Any, **named: Any) -> TrainState:
    """selfsyn.task.train.new_state as for more than one process: DistributedDataParallel and SyncBatchNorm."""
    with mock.patch.object(processes, "count", return_value=max(2, dist.get_world_size())):
        return new_state(*arguments, **named)
