"""How many cores this process may use, and the threads that follow from it. Never imports torch.

Libraries count the cores for themselves and overlook a container's quota: torch starts 64 threads in a pod that is limited
to two cores of 64.
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
    """Cores this process may use, at least 1: its affinity or its container's quota, whichever is less, rounded down.

    Processes that train together on one machine (torchrun's LOCAL_WORLD_SIZE) get equal shares.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A thread beyond the quota gives no time: the kernel takes it from the others, which then wait for each other.
    return share(math.floor(min(affinity, _quota(CGROUPS))), of=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def share(cores: int, *, of: int) -> int:
    """Whole cores for each of so many processes, at least 1."""
    return max(1, cores // of)


def openmp() -> dict[str, str]:
    """The environment that OpenMP reads when torch is imported: how many threads, and how often they look before they sleep.

    A thread that spins while it waits takes its core from whoever it waits for, where others want the cores too
    (benchmarks/busy.py).
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
