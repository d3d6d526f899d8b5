"""`selfsyn round`: every phase of a run that is not finished, in order, each as the command that a cluster would run."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import bounds_option, device_option, dry_run_option, run_option, workers_option
from jobs.running import run_phase
from selfsyn.data import sources
from selfsyn.flow import phases
from selfsyn.phase import is_current, open_run
from selfsyn.progress import say

REPORT = "report"


@click.command()
@run_option
@click.option("--rounds", type=click.IntRange(0), required=True, help="The last round: 2 means rounds 0, 1 and 2.")
@bounds_option
@device_option
@workers_option
@dry_run_option
def command(root: Path, rounds: int, with_bounds: bool, device: str, workers: int | None, dry_run: bool) -> None:
    """Run what is not finished: adapter, rounds, evaluation, report. Run it again to go on after an interruption."""
    run_phases(root, rounds=rounds, with_bounds=with_bounds, device=device, workers=workers, dry_run=dry_run)


def run_phases(root: Path, *, rounds: int, with_bounds: bool, device: str, workers: int | None, dry_run: bool = False) -> None:
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
            run_phase(root, phase, device=device, workers=workers)
    say(f"{root}: done; the report is {layout.report / 'index.html'}")
