"""Where to compute, and how to compute the same thing twice."""

from __future__ import annotations

import os

import torch

from selfsyn.errors import InputError


def resolve(device: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> a device; 'auto' is cuda where there is one. InputError when cuda is asked for and absent."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device; expected a GPU and its driver; use --device cpu"
        )
    if device == "auto":
        device = "cuda" if available else "cpu"
    return torch.device(device)


def describe(device: torch.device) -> str:
    """What a manifest says about the device: 'cpu', or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def set_deterministic() -> None:
    """The same weights twice on the same machine. Call it before the first CUDA computation.

    An operation that has no deterministic form (on CUDA: the gradient of a reflection pad) warns: ours avoid them.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when its first handle is made
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling new memory is a debugging aid that costs time at each allocation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def worker_count(asked: int | None) -> int:
    """The number of worker threads or processes: as asked, else the cores this process may use."""
    return len(os.sched_getaffinity(0)) if asked is None else asked
