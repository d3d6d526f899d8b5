"""Speed and memory of a training, which differ between machines and so are kept out of history.jsonl; TensorBoard events."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selfsyn import processes
from selfsyn.errors import InputError
from selfsyn.files import write_atomic
from selfsyn.packages import remedy

SPEED = "speed.jsonl"
EVENTS = "tensorboard"
GIB = 2**30


class Log:
    """Images per second since the last row, and peak memory of the GPU or of this process. Only process 0 writes files."""

    def __init__(self, folder: Path, *, batch: int, first: int, device: torch.device, tensorboard: bool) -> None:
        """Continue after step `first`.  batch: images in a step over all processes.  InputError without tensorboardX."""
        self.path, self.batch, self.device = folder / SPEED, batch, device
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.rows: list[dict[str, float]] = [row for row in map(json.loads, lines) if row["step"] <= first]
        self.step, self.since = first, time.monotonic()
        self.events = _writer(folder / EVENTS, first=first) if tensorboard and processes.rank() == 0 else None

    def add(self, row: Mapping[str, float]) -> None:
        """Add the speed and memory of a history row, and its TensorBoard events."""
        now, step = time.monotonic(), int(row["step"])
        rate = (step - self.step) * self.batch / max(now - self.since, 1e-9)
        self.step, self.since = step, now
        speed = {"images_per_second": round(rate, 2), "peak_memory_gib": round(self._peak() / GIB, 3)}
        self.rows.append({"step": step, **speed})
        if self.events is not None:
            for name, value in {**row, **speed}.items():
                self.events.add_scalar(name, value, step)

    def save(self) -> None:
        """Write the rows."""
        if processes.rank() == 0:
            write_atomic(self.path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
        if self.events is not None:
            self.events.flush()

    def speed(self) -> str:
        """The last row as text for the progress line; empty before the first row."""
        if not self.rows:
            return ""
        return f"{self.rows[-1]['images_per_second']:.3g} images/s, {self.rows[-1]['peak_memory_gib']:.2f} GiB"

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def _writer(folder: Path, *, first: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError(
            "train.tensorboard: the package tensorboardX is not installed; "
            + remedy("pip install 'selfsyn[tensorboard]', or set", in_image="our images do not have it: set")
            + " train.tensorboard to false"
        ) from None
    return SummaryWriter(str(folder), purge_step=first + 1)  # drops the events that a killed attempt wrote after `first`
