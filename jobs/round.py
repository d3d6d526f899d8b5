"""`selfsyn round`: every phase of a run that is not finished, in order, each as the command that a cluster would run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click

from jobs.options import bounds_option, device_option, dry_run_option, processes_option, run_option, workers_option
from jobs.running import run_phase, start_server
from selfsyn.config import RunConfig
from selfsyn.flow import Phase, phases
from selfsyn.layout import Layout
from selfsyn.phase import is_current, open_run
from selfsyn.progress import say

REPORT = "report"
LEARNING = ("fit-adapter", "train")  # what a round that has nothing new to learn is spared


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
    """Run what is not finished: adapter, rounds, evaluation, report. Run it again to go on after an interruption.

    With rounds.stop_agreement it ends with an earlier round, when a teacher's labels are all but those of the one before.
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
    took: Mapping[str, float] | None = None,
) -> None:
    """Run each unfinished phase as its own process; leave with the exit code of the first that fails.

    took: the seconds of phases that were run before, for the table at the end.
    """
    layout, config = open_run(root)
    flow = phases(config, rounds=config.last_round if rounds is None else rounds, with_bounds=with_bounds)
    todo = [phase for phase in flow if not is_current(layout, phase)]
    if todo and todo[-1].verb != REPORT:
        todo.append(flow[-1])  # new stages make the page old
    if not todo:
        say(f"{root}: all {len(flow)} phases are done; the report is {layout.report / 'index.html'}")
        return

    from selfsyn.data import sources

    sources.check(layout, config)
    if not dry_run:
        start_server(todo)
    seconds = dict(took or {})
    for number, phase in enumerate(todo, start=1):
        if not dry_run and _settled(layout, config, phase):
            last = _round_of(phase) - 1
            run_phases(root, rounds=last, with_bounds=with_bounds, device=device, workers=workers, count=count, took=seconds)
            return
        say(f"phase {number} of {len(todo)}: {phase.name}")
        if not dry_run:
            began = time.monotonic()
            run_phase(root, phase, device=device, workers=workers, count=count)
            seconds[phase.name] = time.monotonic() - began
    if seconds:
        say("\n".join(["where the time went:", *table_of_times(seconds)]))
    say(f"{root}: done; the report is {layout.report / 'index.html'}")


def table_of_times(seconds: Mapping[str, float]) -> list[str]:
    """{phase: seconds of wall time, its start included} -> a line for each, with its share, and one for all."""
    whole = sum(seconds.values())
    lines = [f"{spent:9.1f} s {spent / whole:6.1%}  {name}" for name, spent in seconds.items()]
    return [*lines, f"{whole:9.1f} s         all phases"]


def _round_of(phase: Phase) -> int:
    """The round that a training, or a re-fit of the adapter, is about; 0 for every other phase."""
    return int(phase.arguments[1]) if phase.verb in LEARNING and "--round" in phase.arguments else 0


def _settled(layout: Layout, config: RunConfig, phase: Phase) -> bool:
    """Whether the rounds end before this phase, because its round's labels are the last one's (rounds.stop_agreement)."""
    round_ = _round_of(phase)
    if round_ < 2 or not config.rounds.stop_agreement:
        return False
    from selfsyn.pseudo_labels import LabelStore
    from selfsyn.rounds import change, settled

    found = change(LabelStore(layout.labels(round_ - 1)), LabelStore(layout.labels(round_)))
    over = settled(found, stop_agreement=config.rounds.stop_agreement)
    said = f"stop before round {round_}" if over else "go on"
    say(f"labels of round {round_} against round {round_ - 1}: {found}; {said} (stop at {config.rounds.stop_agreement:.1%})")
    return over
