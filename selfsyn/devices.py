"""Where to compute, and how to compute the same thing twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import torch

from selfsyn import processes
from selfsyn.cores import usable_cores
from selfsyn.errors import InputError

CPUS: Final = Path("/proc/cpuinfo")


def resolve(device: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> a device; 'auto' is cuda where there is one. InputError when cuda is asked for and absent."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device; expected a GPU and its driver; use --device cpu"
        )
    if device == "auto":
        device = "cuda" if available else "cpu"
    return _own_gpu() if device == "cuda" else torch.device(device)


def _own_gpu() -> torch.device:
    """The GPU of this process, one of several perhaps. InputError when there are fewer GPUs than processes on this machine."""
    number, found = processes.local_rank(), torch.cuda.device_count()
    if number >= found:
        raise InputError(f"process {number} of this machine has no GPU: torch sees {found}; start as many processes as GPUs")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """What a manifest says about the device: 'cpu', or the GPU's name; of several processes '2 x cpu'."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{processes.count()} x {name}" if processes.count() > 1 else name


def half(precision: str, *, device: torch.device) -> bool:
    """Whether 'auto', 'fp32' or 'bf16' means bfloat16 on this device.

    'auto' does where it is computed in hardware, on GPUs since Ampere and on CPUs with AMX, by every process that trains:
    all of them have to ask. InputError for 'bf16' on a GPU that does not compute in it.
    """
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else has_amx()
    if precision == "bf16" and device.type == "cuda" and not native:
        raise InputError(
            f"train.precision bf16: {describe(device)} does not compute in it; expected an Ampere or later; use auto or fp32"
        )
    return not processes.any_of(not native) if precision == "auto" else precision == "bf16"


def has_amx() -> bool:
    """Whether oneDNN may multiply bfloat16 with this CPU's matrix units (AMX): CPU, kernel and user all have a say."""
    cap = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    allowed = (cap in ("ALL", "DEFAULT") or "AMX" in cap) and torch.backends.cpu.get_cpu_capability() == "AVX512"
    # The kernel grants the units' registers to each process; only there /proc/cpuinfo is sure to be.
    return allowed and torch.cpu._init_amx() and "amx_bf16" in CPUS.read_text().split()


def require_compiler(device: torch.device) -> None:
    """InputError unless there is the compiler that torch.compile wants: C++ for a CPU, C for a GPU's launchers."""
    variable, usual = ("CXX", "g++ clang++ c++") if device.type == "cpu" else ("CC", "gcc clang cc")
    names = os.environ.get(variable) or usual
    if not any(shutil.which(name) for name in names.split()):
        raise InputError(f"train.compile: no compiler here (looked for {names}); install one, or set train.compile = false")


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
    return usable_cores() if asked is None else asked
