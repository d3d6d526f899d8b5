"""A phase as a process of its own: the command that a cluster would run, here on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from selfsyn.flow import Phase
from selfsyn.progress import say


def run_phase(root: Path, phase: Phase, *, device: str, workers: int | None, count: int = 1) -> None:
    """Run one phase of the run at `root` to its end; leave with its exit code when it fails. SIGTERM is handed on to it."""
    where = _where(phase, device, workers, count)
    code = _call([sys.executable, "-m", "jobs", phase.verb, "--run", str(root), *phase.arguments, *where])
    if code:
        say(f"{phase.name}: exit code {code}; the same command goes on from here")
        raise SystemExit(code if code > 0 else 128 - code)


def _where(phase: Phase, device: str, workers: int | None, count: int) -> list[str]:
    reads = phase.verb in ("world", "train", "adapt", "pseudo-label", "evaluate")
    found = ["--device", device] if phase.computes else []
    found += ["--workers", str(workers)] if reads and workers is not None else []
    return [*found, "--processes", str(count)] if phase.verb == "train" and count > 1 else found


def _call(command_line: Sequence[str]) -> int:
    """Run a phase and hand SIGTERM on to it, so that it can write its checkpoint."""
    with subprocess.Popen(command_line) as process:

        def hand_on(number: int, frame: FrameType | None) -> None:
            process.send_signal(number)

        before = signal.signal(signal.SIGTERM, hand_on)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
