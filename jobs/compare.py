"""`selfsyn compare`: rivals, bounds and our own rounds at the same budget, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.options import device_option, dry_run_option, run_option, workers_option
from selfsyn.config.task import ARCHITECTURES
from selfsyn.errors import FaultError, InputError

if TYPE_CHECKING:
    from selfsyn.compare.plan import Entry
    from selfsyn.config import RunConfig
    from selfsyn.layout import Layout

PAGE = "index.html"
TABLE = "table.json"


def _listed(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


@click.command()
@run_option
@click.option(
    "--rounds",
    type=click.IntRange(0),
    help="The last round of ours; it makes the budget. Default: the last of rounds.real_share.",
)
@click.option("--rows", callback=_listed, default="", metavar="ROW,...", help="Some rows only; default: all but the ablation.")
@click.option("--seeds", callback=_listed, default="", metavar="N,...", help="Seeds of nets and world; default: the run's.")
@click.option("--net", "nets", multiple=True, type=click.Choice(ARCHITECTURES), help="Other nets; default: the run's.")
@click.option("--ablate", is_flag=True, help="Also our rounds with one lever off, for each lever that the run uses.")
@device_option
@workers_option
@dry_run_option
def command(
    root: Path,
    rounds: int | None,
    rows: tuple[str, ...],
    seeds: tuple[str, ...],
    nets: tuple[str, ...],
    ablate: bool,
    device: str,
    workers: int | None,
    dry_run: bool,
) -> None:
    """Compare our rounds with rivals and bounds: the same data, net, augmentation, budget and seeds in every row.

    Each row and seed is a run of its own in DIR/compare/NET/ROW/seed-N; what rows share is computed once. DIR needs
    nothing but its run.toml; what it has finished is used. Stopped and run again, or with other rows and seeds, it goes on.
    The page DIR/compare/index.html shows all that is finished; nothing is chosen by its scores.
    """
    from selfsyn.compare.plan import chosen, entries
    from selfsyn.phase import open_run

    layout, config = open_run(root)
    last = config.last_round if rounds is None else rounds
    todo = entries(
        layout,
        config,
        rows=chosen(config, names=rows, ablate=ablate),
        nets=nets or (config.task.architecture,),
        seeds=_numbers(seeds) or (config.seed,),
        rounds=last,
    )
    if dry_run:
        click.echo("\n".join(_announced(entry) for entry in todo))
        return
    _compute_all(todo, layout, config, rounds=last, device=device, workers=workers)


def _compute_all(todo: list[Entry], layout: Layout, config: RunConfig, *, rounds: int, device: str, workers: int | None) -> None:
    """Compute the entries, the page anew after each. FaultError at the end names those that are not finished."""
    from selfsyn.data import sources
    from selfsyn.progress import say

    sources.check(layout, config)
    failed = []
    for number, entry in enumerate(todo, start=1):
        say(f"{number} of {len(todo)}: {entry.name}")
        if not _computed(entry, layout, config, rounds=rounds, device=device, workers=workers):
            failed.append(entry.name)
        table = _write_page(layout, config, rounds=rounds)
    say(f"{layout.root}: the page is {layout.root / 'compare' / PAGE}")
    click.echo(table)
    if failed:
        raise FaultError(
            f"{layout.root}: not finished: {', '.join(failed)}; the lines above say why, the same command tries them again"
        )


def _numbers(seeds: tuple[str, ...]) -> tuple[int, ...]:
    wrong = [seed for seed in seeds if not seed.isdecimal()]
    if wrong:
        raise InputError(f"--seeds {wrong[0]!r} is no seed; expected whole numbers with commas, for example 0,1,2")
    return tuple(int(seed) for seed in seeds)


def _announced(entry: Entry) -> str:
    cost, phases = entry.cost, ", ".join(phase.name for phase in entry.phases)
    kinds = {name: count for name, count in vars(cost).items() if name not in ("updates", "besides") and count}
    images = ", ".join(f"{count} {name.replace('pseudo', 'pseudo-labelled')}" for name, count in kinds.items())
    return f"{entry.name}: {cost.updates} updates on {images} images: {phases}"


def _computed(entry: Entry, layout: Layout, config: RunConfig, *, rounds: int, device: str, workers: int | None) -> bool:
    """Whether the entry is finished now. A fault of one row does not keep the others from being computed; all else stops."""
    try:
        _compute(entry, layout, config, rounds=rounds, device=device, workers=workers)
    except SystemExit as end:
        if end.code != FaultError.exit_code:
            raise
        return False
    return True


def _compute(entry: Entry, layout: Layout, config: RunConfig, *, rounds: int, device: str, workers: int | None) -> None:
    """Run what the entry lacks, or link it from where it is finished: in another row, or in the run itself."""
    from jobs.running import run_phase
    from selfsyn.compare.plan import donors, lay_out
    from selfsyn.compare.sharing import shared
    from selfsyn.phase import is_current
    from selfsyn.progress import say

    lay_out(entry)
    others = donors(layout, config, rounds=rounds)
    for phase in entry.phases:
        if is_current(entry.layout, phase):
            continue
        source = shared(entry, phase, others)
        if source is not None:
            say(f"{phase.name}: as in {source}")
        else:
            say(f"{phase.name}: {phase.folder}")
            run_phase(entry.root, phase, device=device, workers=workers)


def _write_page(layout: Layout, config: RunConfig, *, rounds: int) -> str:
    """Write the page and table.json about all that is finished -> the table for a terminal."""
    from selfsyn.compare.board import as_json, text
    from selfsyn.compare.page import render
    from selfsyn.compare.plan import FOLDER, present
    from selfsyn.compare.results import collect
    from selfsyn.files import write_atomic, write_json

    entries, others = present(layout, config, rounds=rounds)
    lines = collect(entries)
    write_json(layout.root / FOLDER / TABLE, as_json(lines))
    write_atomic(layout.root / FOLDER / PAGE, render(config, lines, rounds=rounds).encode())
    left_out = [f"{folder}: made with other settings or another --rounds, and left out" for folder in others]
    return "\n\n".join([*(f"{net}\n\n{text(found)}" for net, found in lines.items()), *left_out])
