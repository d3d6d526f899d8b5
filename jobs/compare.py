"""`selfsyn compare`: other methods, bounds and our rounds with the same training budget, in one table."""

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
DIGITS = 6  # of a seed, as in the names of the built-in world's frames


def _listed(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


@click.command()
@run_option
@click.option(
    "--rounds",
    type=click.IntRange(0),
    help="Our last round; it sets the budget of all rows. Default: the last of rounds.real_share.",
)
@click.option(
    "--rows",
    callback=_listed,
    default="",
    metavar="ROW,...",
    help="Compute these rows only. Default: all rows without the ablation.",
)
@click.option(
    "--seeds", callback=_listed, default="", metavar="N,...", help="Seeds of the nets and the world. Default: the run's seed."
)
@click.option(
    "--net",
    "nets",
    multiple=True,
    type=click.Choice(ARCHITECTURES),
    help="Architecture of the task net; may be repeated. Default: the run's.",
)
@click.option(
    "--ablate", is_flag=True, help="Also train our rounds with one option switched off, for each option that the run uses."
)
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
    """Compare our rounds with other methods and bounds. All rows have the same data, net, augmentation, budget and seeds.

    Each row and seed is a separate run in DIR/compare/NET/ROW/seed-N. Phases that rows share are computed once. DIR needs
    only its run.toml; phases that are finished in DIR are reused. Run the command again to continue after an interruption,
    or to add rows and seeds. DIR/compare/index.html shows all finished rows. Its scores decide nothing in training.
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
    """Compute the entries and rewrite the page after each. FaultError at the end names the unfinished entries."""
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
            f"{layout.root}: not finished: {', '.join(failed)}; see the lines above, then run the same command again"
        )


def _numbers(seeds: tuple[str, ...]) -> tuple[int, ...]:
    wrong = [seed for seed in seeds if not (seed.isdecimal() and len(seed) <= DIGITS)]
    if wrong:
        raise InputError(
            f"--seeds: got {wrong[0]!r:.50}; expected whole numbers of at most {DIGITS} digits with commas between them, for"
            " example 0,1,2"
        )
    return tuple(int(seed) for seed in seeds)


def _announced(entry: Entry) -> str:
    cost, phases = entry.cost, ", ".join(phase.name for phase in entry.phases)
    kinds = {name: count for name, count in vars(cost).items() if name not in ("updates", "besides") and count}
    images = ", ".join(f"{count} {name.replace('pseudo', 'pseudo-labelled')}" for name, count in kinds.items())
    return f"{entry.name}: {cost.updates} updates on {images} images: {phases}"


def _computed(entry: Entry, layout: Layout, config: RunConfig, *, rounds: int, device: str, workers: int | None) -> bool:
    """Compute an entry -> whether it is finished. A fault (exit code 1) returns False, so that the other rows go on."""
    try:
        _compute(entry, layout, config, rounds=rounds, device=device, workers=workers)
    except SystemExit as end:
        if end.code != FaultError.exit_code:
            raise
        return False
    return True


def _compute(entry: Entry, layout: Layout, config: RunConfig, *, rounds: int, device: str, workers: int | None) -> None:
    """Run the unfinished phases of the entry, or link them from another row or from the run if they are finished there."""
    from jobs.running import run_phase
    from selfsyn.compare.plan import donors, lay_out, share_caches
    from selfsyn.compare.sharing import shared
    from selfsyn.phase import is_current
    from selfsyn.progress import say

    lay_out(entry)
    share_caches(entry, run=layout)
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
    """Write the page and table.json of all finished rows -> the table as text."""
    from selfsyn.compare.board import as_json, text
    from selfsyn.compare.page import render
    from selfsyn.compare.plan import FOLDER, present
    from selfsyn.compare.results import collect
    from selfsyn.files import write_atomic, write_json

    entries, others = present(layout, config, rounds=rounds)
    lines = collect(entries)
    write_json(layout.root / FOLDER / TABLE, as_json(lines))
    write_atomic(layout.root / FOLDER / PAGE, render(config, lines, rounds=rounds).encode())
    left_out = [f"{folder}: left out, because its settings or --rounds differ" for folder in others]
    return "\n\n".join([*(f"{net}\n\n{text(found)}" for net, found in lines.items()), *left_out])
