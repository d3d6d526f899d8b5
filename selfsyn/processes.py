"""Several processes that train one net, each on its part of every batch: who am I, and what do all of us say?

Without others every function here is the identity, so the code of a training is the same for one process and for many.
torchrun, or `selfsyn train --processes N`, starts them and says so in the environment (RANK, WORLD_SIZE, LOCAL_RANK).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from selfsyn.errors import FaultError

# How long one may wait for the others before it counts them as lost: a checkpoint on a slow volume lies between two steps.
PATIENCE = timedelta(minutes=10)


def started_together() -> bool:
    """Whether a launcher has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the others, where there are any, for as long as the body runs. FaultError when they do not come.

    device: this process's own, on which what they exchange lies, or a CPU.
    """
    if not started_together():
        yield
        return
    try:
        if device.type == "cuda":
            dist.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise FaultError(f"the {os.environ['WORLD_SIZE']} processes did not meet ({str(error).splitlines()[0]})") from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0: the first, which alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """Which of those on this machine this one is, and so which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def total(values: Tensor) -> Tensor:
    """The sum of the processes' `values`, the same bits in each; no gradient. Every process has to ask."""
    if count() > 1:
        values = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """The mean of the processes' `values` (floats), see `total`."""
    return total(values) / count() if count() > 1 else values


def any_of(flag: bool) -> bool:
    """Whether one of the processes says so."""
    return bool(total(torch.tensor(int(flag)))) if count() > 1 else flag


def wait() -> None:
    """Go on when all have come so far."""
    any_of(False)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process runs the body, and when it is through the others do."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def refuse_different(value: int, *, what: str) -> None:
    """FaultError unless `value` is the same in each process: a network volume may show one of them an older file."""
    first = int(total(torch.tensor(value if rank() == 0 else 0)))
    if any_of(value != first):
        raise FaultError(f"{what} is {value} for process {rank()} of {count()} and {first} for the first; start again")


def together(module: nn.Module) -> nn.Module:
    """`module` with gradients that are the mean over the processes, sent while the backward pass still runs.

    Where there is one process, the module itself. Call the result once for each backward pass: as a forward begins, DDP writes
    the first process's buffers over the others', and the backward of an earlier forward would refuse to run.
    """
    if count() == 1:
        return module
    # With find_unused_parameters DDP keeps its buckets. Without it, or with static_graph, it lays them out anew after its first
    # step, which is not the same step for a resumed training as for an unbroken one. Among three or more processes the order
    # of additions, and so the last bits, depend on that layout. A static graph is no promise of ours either: a term may begin
    # to count in the middle of a training (the gate of a rival's discriminators).
    return DistributedDataParallel(module, find_unused_parameters=True)


def average_buffers(module: nn.Module) -> None:
    """Replace each float buffer of `module` by its mean over the processes, in every one of them.

    On CPUs each has running statistics of its own images. DDP would let the first process's win, and only at the next forward:
    too late for the average and the checkpoint. Not between a forward and its backward.
    """
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    if count() > 1 and buffers:
        vector_to_parameters(mean(parameters_to_vector(buffers)), buffers)
