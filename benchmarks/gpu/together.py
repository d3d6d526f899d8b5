"""A process that `correctness.py` starts. It compares a training step in one process with the step in several processes.

Each process computes the step alone on the whole batch, then together with the others on its part of the batch, on the same
device. The distance of the joint gradient from float64 may be four times that of the single gradient. On CUDA, the nets use
SyncBatchNorm; a CPU has none, so the batch-norm statistics are fixed there. A single process with NCCL runs the code for
several processes, as far as one GPU allows: in a single process, torch's SyncBatchNorm is plain batch norm.
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
    """Compare the gradients as process `rank` of `count`; process 0 writes folder/together.json.

    folder: an empty folder, through which the processes connect.  kind: 'cuda' or 'cpu'.  backend: 'gloo' or 'nccl'.
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
        found = f"gradient of {count} processes {together:.1e} from float64's, of one process {alone:.1e}"
        (folder / "together.json").write_text(json.dumps({"good": together <= tolerated(alone), "found": found}))
    dist.destroy_process_group()


def state_of_several(*arguments: Any, **named: Any) -> TrainState:
    """selfsyn.task.train.new_state for more than one process: with DistributedDataParallel and SyncBatchNorm."""
    with mock.patch.object(processes, "count", return_value=max(2, dist.get_world_size())):
        return new_state(*arguments, **named)
