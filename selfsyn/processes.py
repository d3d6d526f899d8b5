"""Several processes that train one net, each on its part of every batch: who am I, and what do all of us say?

Without others every function here is the identity, so the code of a training is the same for one process and for many.
torchrun, or `selfsyn train --processes N`, starts them and says so in the environment (RANK, WORLD_SIZE, LOCAL_RANK).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfsyn.errors import FaultError

# How long one may wait for the others before it counts them as lost: a checkpoint on a slow volume lies between two steps.
PATIENCE = timedelta(minutes=10)


def started_together() -> bool:
    """Whether a launcher has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Meet the others, where there are any, for as long as the body runs. FaultError when they do not come."""
    if not started_together():
        yield
        return
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)
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


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; every process must have the same ones."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if count() == 1 or not gradients:
        return
    flat = mean(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
