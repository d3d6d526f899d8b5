"""`selfsyn round`: runs the unfinished phases of a run in order, each in its own process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click

from jobs.options import bounds_option, device_option, dry_run_option, processes_option, run_option, workers_option
from jobs.running import run_phase, start_server
from selfsyn.flow import Phase, phases
from selfsyn.layout import Layout
from selfsyn.manifest import read_manifest
from selfsyn.phase import is_current, open_run
from selfsyn.progress import say

REPORT = "report"


@click.command()
@run_option
@click.option(
    "--rounds", type=click.IntRange(0), help="The last round: 2 means rounds 0, 1 and 2. Default: the last of rounds.real_share."
)
@bounds_option
@device_option
@workers_option
@processes_option
@dry_run_option
def command(
    root: Path, rounds: int | None, with_bounds: bool, device: str, workers: int | None, count: int, dry_run: bool
) -> None:
    """Run all unfinished phases of a run, in order.

    The phases are adapter, rounds, evaluation and report. Run it again to continue after an interruption.
    """
    run_phases(root, rounds=rounds, with_bounds=with_bounds, device=device, workers=workers, count=count, dry_run=dry_run)


def run_phases(
    root: Path,
    *,
    rounds: int | None,
    with_bounds: bool,
    device: str,
    workers: int | None,
    count: int = 1,
    dry_run: bool = False,
) -> None:
    """Run each unfinished phase in its own process; exit with the code of the first phase that fails."""
    layout, config = open_run(root)
    flow = phases(config, rounds=config.last_round if rounds is None else rounds, with_bounds=with_bounds)
    todo = [phase for phase in flow if not is_current(layout, phase)]
    for phase in flow:
        if phase not in todo and corrected_since(layout, phase):
            command = f"selfsyn {phase.name} --run {root} --force"
            say(f"{phase.folder}: trained without the latest corrections; to use them: `{command}`, then this command again")
    if todo and todo[-1].verb != REPORT:
        todo.append(flow[-1])  # new stages make the page outdated
    if not todo:
        say(f"{root}: all {len(flow)} phases are done; the report is {layout.report / 'index.html'}")
        return

    from selfsyn.data import sources

    sources.check(layout, config)
    if not dry_run:
        start_server(todo)
    seconds: dict[str, float] = {}
    for number, phase in enumerate(todo, start=1):
        say(f"phase {number} of {len(todo)}: {phase.name}")
        if not dry_run:
            began = time.monotonic()
            run_phase(root, phase, device=device, workers=workers, count=count)
            seconds[phase.name] = time.monotonic() - began
    if dry_run:
        say(f"{root}: these {len(todo)} phases would run; nothing was done")
        return
    if seconds:
        say("\n".join(["time of each phase:", *table_of_times(seconds)]))
    say(f"{root}: done; the report is {layout.report / 'index.html'}")


def corrected_since(layout: Layout, phase: Phase) -> bool:
    """Whether people's corrections for the round of a finished training are others than those that it was trained with."""
    if phase.verb != "train" or phase.stage is None or not phase.stage.round:
        return False
    if not any(layout.corrections(earlier).exists() for earlier in range(1, phase.stage.round + 1)):
        return False

    from selfsyn import corrections
    from selfsyn.data.sources import CORRECTIONS

    manifest = read_manifest(layout.task(phase.stage)) or {}
    return corrections.digest(layout, phase.stage.round) != manifest.get("inputs", {}).get(CORRECTIONS)


def table_of_times(seconds: Mapping[str, float]) -> list[str]:
    """{phase: seconds of wall time, process start included} -> a line for each phase with its share, and a line for the sum."""
    whole = sum(seconds.values())
    lines = [f"{spent:9.1f} s {spent / whole:6.1%}  {name}" for name, spent in seconds.items()]
    return [*lines, f"{whole:9.1f} s         all phases"]
