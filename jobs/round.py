"""`selfsyn round`: every phase of a run that is not finished, in order, each as the command that a cluster would run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from jobs.options import bounds_option, device_option, dry_run_option, processes_option, run_option, workers_option
from selfsyn.data import sources
from selfsyn.flow import Phase, phases
from selfsyn.phase import is_current, open_run
from selfsyn.progress import say

REPORT = "report"


@click.command()
@run_option
@click.option("--rounds", type=click.IntRange(0), required=True, help="The last round: 2 means rounds 0, 1 and 2.")
@bounds_option
@device_option
@workers_option
@processes_option
@dry_run_option
def command(root: Path, rounds: int, with_bounds: bool, device: str, workers: int | None, count: int, dry_run: bool) -> None:
    """Run what is not finished: adapter, rounds, evaluation, report. Run it again to go on after an interruption."""
    run_phases(root, rounds=rounds, with_bounds=with_bounds, device=device, workers=workers, count=count, dry_run=dry_run)


def run_phases(
    root: Path, *, rounds: int, with_bounds: bool, device: str, workers: int | None, count: int = 1, dry_run: bool = False
) -> None:
    """Run each unfinished phase as its own process; leave with the exit code of the first that fails."""
    layout, config = open_run(root)
    flow = phases(config, rounds=rounds, with_bounds=with_bounds)
    todo = [phase for phase in flow if not is_current(layout, phase)]
    if todo and todo[-1].verb != REPORT:
        todo.append(flow[-1])  # new stages make the page old
    if not todo:
        say(f"{root}: all {len(flow)} phases are done; the report is {layout.report / 'index.html'}")
        return
    sources.check(layout, config)
    for number, phase in enumerate(todo, start=1):
        say(f"phase {number} of {len(todo)}: {phase.name}")
        if not dry_run:
            _run(root, phase, where=_where(phase, device, workers, count))
    say(f"{root}: done; the report is {layout.report / 'index.html'}")


def _run(root: Path, phase: Phase, *, where: Sequence[str]) -> None:
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
