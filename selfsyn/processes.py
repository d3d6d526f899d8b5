"""Distributed data-parallel training: several processes train one net, each on its part of every batch.

With one process every function here is the identity, so training code is the same for one process and for several.
torchrun, or `selfsyn train --processes N`, starts the processes and sets RANK, WORLD_SIZE and LOCAL_RANK.
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

# How long a process waits for the others: between two steps, the first may write a checkpoint to a slow volume.
PATIENCE = timedelta(minutes=10)


def started_together() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the process group, if there is one, while the block runs. FaultError when the processes do not connect.

    device: this process's GPU, or a CPU; exchanged tensors lie there or on a CPU.
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
        raise FaultError(
            f"the {os.environ['WORLD_SIZE']} processes did not connect ({str(error).splitlines()[0]}); start again"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The rank of this process; only rank 0 writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """The rank of this process on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def total(values: Tensor) -> Tensor:
    """The sum of `values` over the processes, the same bits in each, without gradient. Every process must call it."""
    if count() > 1:
        values = values.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """The mean of `values` (floats) over the processes; see `total`."""
    return total(values) / count() if count() > 1 else values


def any_of(flag: bool) -> bool:
    """Whether `flag` is true in any process."""
    return bool(total(torch.tensor(int(flag)))) if count() > 1 else flag


def wait() -> None:
    """Wait until all processes get here."""
    any_of(False)


@contextmanager
def first_before_others() -> Iterator[None]:
    """The first process runs the block, then the others do."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def refuse_different(value: int, *, what: str) -> None:
    """FaultError unless `value` is the same in each process: on a network volume, one may see an older file."""
    first = int(total(torch.tensor(value if rank() == 0 else 0)))
    if any_of(value != first):
        raise FaultError(f"{what} is {value} for process {rank()} of {count()} and {first} for the first; start again")


def together(module: nn.Module) -> nn.Module:
    """`module` in DistributedDataParallel: gradients are means over the processes. With one process, the module itself.

    Call the result once for each backward pass: a forward copies the first process's buffers to the others, and the backward
    of an earlier forward would then fail.
    """
    if count() == 1:
        return module
    # Without find_unused_parameters, or with static_graph, DDP rebuilds its buckets after its first step, which is another step
    # for a resumed training. With three or more processes, the order of additions, and so the last bits, depend on the buckets.
    # Besides, the graph is not static: a loss term may start in the middle of training (the gate of a rival's discriminators).
    return DistributedDataParallel(module, find_unused_parameters=True)


def average_buffers(module: nn.Module) -> None:
    """Replace each float buffer of `module` by its mean over the processes. Do not call it between forward and backward.

    On CPUs each process has running statistics of its own images. DDP would copy the first process's to the others, and only
    at the next forward: too late for the EMA and the checkpoint.
    """
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    if count() > 1 and buffers:
        vector_to_parameters(mean(parameters_to_vector(buffers)), buffers)
