"""The device to compute on, its precision, and deterministic computation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import torch

from selfsyn import processes
from selfsyn.cores import usable_cores
from selfsyn.errors import InputError
from selfsyn.packages import remedy

CPUS: Final = Path("/proc/cpuinfo")


def resolve(device: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> a device; 'auto' prefers cuda. InputError when cuda is requested and absent."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError(
            f"--device cuda: torch {torch.__version__} sees no CUDA device; expected a GPU and its driver; "
            + remedy(
                "use --device cpu",
                in_image="give the container a GPU (nvidia.com/gpu, docker run --gpus all), or use --device cpu",
            )
        )
    if device == "auto":
        device = "cuda" if available else "cpu"
    return _own_gpu() if device == "cuda" else torch.device(device)


def _own_gpu() -> torch.device:
    """The GPU of this process. InputError when the machine has fewer GPUs than processes."""
    number, found = processes.local_rank(), torch.cuda.device_count()
    if number >= found:
        raise InputError(f"process {number} of this machine has no GPU: torch sees {found}; start at most {found} processes")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def describe(device: torch.device) -> str:
    """The device in a manifest: 'cpu' or the GPU's name, with several processes '2 x cpu'."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{processes.count()} x {name}" if processes.count() > 1 else name


def half(precision: str, *, device: torch.device) -> bool:
    """Whether 'auto', 'fp32' or 'bf16' means bfloat16 on this device.

    'auto' does if the hardware of every process computes in it: GPUs since Ampere, and CPUs with AMX. Every process must
    call this. InputError for 'bf16' on a GPU without it.
    """
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else has_amx()
    if precision == "bf16" and device.type == "cuda" and not native:
        raise InputError(
            f"train.precision bf16: {describe(device)} does not support it; expected Ampere or later; use auto or fp32"
        )
    return not processes.any_of(not native) if precision == "auto" else precision == "bf16"


def has_amx() -> bool:
    """Whether oneDNN may use this CPU's bfloat16 matrix units (AMX): depends on CPU, kernel and environment."""
    cap = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    allowed = (cap in ("ALL", "DEFAULT") or "AMX" in cap) and torch.backends.cpu.get_cpu_capability() == "AVX512"
    # _init_amx asks the Linux kernel for the registers; /proc/cpuinfo exists wherever that succeeds.
    return allowed and torch.cpu._init_amx() and "amx_bf16" in CPUS.read_text().split()


def require_compiler(device: torch.device) -> None:
    """InputError without the compiler that torch.compile needs: C++ for a CPU, C for a GPU."""
    variable, usual = ("CXX", "g++ clang++ c++") if device.type == "cpu" else ("CC", "gcc clang cc")
    names = os.environ.get(variable) or usual
    if not any(shutil.which(name) for name in names.split()):
        install = remedy("install one, or set", in_image="our images have none: set")
        raise InputError(f"train.compile: no compiler found (looked for {names}); {install} train.compile = false")


def set_deterministic(*, strict: bool = False) -> None:
    """Make training deterministic on a machine. Call it before the first CUDA computation.

    An operation without a deterministic form (on CUDA: the gradient of a reflection pad) warns; our nets avoid them. With
    `strict` it is a RuntimeError. Flash attention, which a ViT uses in half precision, is deterministic only then.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when its first handle is made
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    # Filling new memory is for debugging, and costs time at each allocation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # Attention: flash (half precision) and plain matrix products (float32) have deterministic gradients; these two have none.
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def worker_count(asked: int | None) -> int:
    """The number of worker threads or processes: `asked`, or the usable cores."""
    return usable_cores() if asked is None else asked
