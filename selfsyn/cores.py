"""The number of cores that this process may use, and thread settings. Never imports torch.

Libraries ignore a container's CPU quota: torch starts 64 threads in a pod limited to two of 64 cores.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
THREADS: Final = "OMP_NUM_THREADS"  # read by OpenMP (torch, oneDNN), MKL and OpenBLAS (numpy) when they are loaded


def usable_cores() -> int:
    """The smaller of CPU affinity and container quota, rounded down, at least 1.

    Processes that train together on a machine (torchrun's LOCAL_WORLD_SIZE) get equal shares.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Threads beyond the quota gain nothing: the kernel pauses all of them once the quota is used up.
    return share(math.floor(min(affinity, _quota(CGROUPS))), of=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def share(cores: int, *, of: int) -> int:
    """Whole cores for each of `of` processes, at least 1."""
    return max(1, cores // of)


def openmp() -> dict[str, str]:
    """Environment variables for OpenMP, which reads them when torch is imported: the number of threads, and short spinning.

    On busy cores, a thread that spins while it waits takes its core from the thread that it waits for (benchmarks/busy.py).
    """
    return {THREADS: str(usable_cores()), "GOMP_SPINCOUNT": "1000"}


def _quota(root: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        limit, period = (root / "cpu.max").read_text().split()  # cgroup v2
        return math.inf if limit == "max" else int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota = int((root / "cpu" / "cpu.cfs_quota_us").read_text())  # cgroup v1
        return quota / int((root / "cpu" / "cpu.cfs_period_us").read_text()) if quota > 0 else math.inf
    return math.inf
