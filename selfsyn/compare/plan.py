"""What the table is made of: for each net, row and seed an ordinary run folder, its configuration and its phases."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from selfsyn import config as configuration
from selfsyn.compare.budget import Cost, cost, needed
from selfsyn.compare.row import Row
from selfsyn.compare.rows import OURS, ROWS, ablations
from selfsyn.config import DataFolder, RunConfig, Task
from selfsyn.config.task import ARCHITECTURES, WEIGHTS, Architecture
from selfsyn.errors import InputError
from selfsyn.files import expanded, write_atomic
from selfsyn.flow import Phase, phases, world_phase
from selfsyn.layout import Layout
from selfsyn.stage import Stage

FOLDER = "compare"
WORLD = "world"

D = TypeVar("D", bound=DataFolder)
T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Entry:
    """A row with one net and one seed: a run of its own in `root`, whose `stage` is scored."""

    net: str
    row: Row
    seed: int
    root: Path
    config: RunConfig
    stage: Stage
    phases: tuple[Phase, ...]

    @property
    def name(self) -> str:
        """What a person reads in a log."""
        return f"{self.net} {self.row.name} seed {self.seed}"

    @property
    def layout(self) -> Layout:
        """The paths of the entry's run."""
        return Layout(self.root)

    @property
    def cost(self) -> Cost:
        """Its updates and images."""
        return cost(self.config, self.phases, stage=self.stage)


def chosen(config: RunConfig, *, names: Sequence[str], ablate: bool) -> tuple[Row, ...]:
    """The rows called `names`, or all; with `ablate` also ours with one lever off each. InputError for an unknown name."""
    known = {row.name: row for row in (*ROWS, *ablations(config))}
    for name in names:
        if name not in known:
            raise InputError(f"--rows {name!r}: no such row; expected some of {', '.join(known)}")
    plain = [row for row in known.values() if row.name in names or (not names and not row.ablates)]
    wanted = {row.name for row in plain} | ({OURS} | {row.name for row in known.values() if row.ablates} if ablate else set())
    return tuple(row for row in known.values() if row.name in wanted)


def entries(
    layout: Layout, config: RunConfig, *, rows: Sequence[Row], nets: Sequence[str], seeds: Sequence[int], rounds: int
) -> list[Entry]:
    """Everything that is to be computed, seed after seed, so that a first table is soon there."""
    if config.held_out is None:
        raise InputError(f"{layout.configuration}: no held_out data set; a comparison needs labelled real images to score on")
    _refuse_half_a_schedule(config, rounds=rounds)
    places = [(net, row, seed) for seed in seeds for net in nets for row in rows]
    return [entry(layout, config, row=row, net=net, seed=seed, rounds=rounds) for net, row, seed in places]


def _refuse_half_a_schedule(config: RunConfig, *, rounds: int) -> None:
    """InputError where one schedule runs through our rounds (rounds.start = 'continue') and does not end with the last one.

    Likewise where the rounds end before the student's.
    """
    planned = len(config.rounds.real_share) - 1
    if config.student is not None and rounds < planned:
        raise InputError(f"--rounds {rounds}: the net of [student] is trained in round {planned}; give --rounds {planned}")
    if config.rounds.start_of(rounds) == "continue" and rounds != planned:
        raise InputError(
            f"--rounds {rounds}: with rounds.start = 'continue' one schedule runs to round {planned}, the last that"
            f" rounds.real_share names; give --rounds {planned}, or name as many shares as there are rounds"
        )


def entry(layout: Layout, config: RunConfig, *, row: Row, net: str, seed: int, rounds: int) -> Entry:
    """One net, row and seed of the table of the run in `layout`."""
    root = layout.root / FOLDER / net / row.name / f"seed-{seed}"
    own = row.settings(based(layout, config, net=net, seed=seed, root=root), rounds)
    stage = row.stage(rounds)
    flow = phases(own, rounds=max(1, rounds), with_bounds=True)  # Seg-Uncertainty has two stages, whatever ours has
    return Entry(net, row, seed, root, own, stage, needed(flow, goal=f"{stage}/evaluation"))


def present(layout: Layout, config: RunConfig, *, rounds: int) -> tuple[list[Entry], list[Path]]:
    """(every entry that has a folder, in the order of nets, rows and seeds; folders that were made with other settings)."""
    found, others = [], []
    for net, row in ((net, row) for net in ARCHITECTURES for row in (*ROWS, *ablations(config))):
        folders = (layout.root / FOLDER / net / row.name).glob("seed-*/run.toml")
        for seed in sorted(int(path.parent.name.removeprefix("seed-")) for path in folders):
            one = entry(layout, config, row=row, net=net, seed=seed, rounds=rounds)
            if _changes(one):
                others.append(one.root)
            else:
                found.append(one)
    return found, others


def donors(layout: Layout, config: RunConfig, *, rounds: int) -> list[Entry]:
    """The entries that may have finished what another one needs: those present, and the run itself, which is ours."""
    ours = next(row for row in ROWS if row.name == OURS)
    run = entry(layout, config, row=ours, net=config.task.architecture, seed=config.seed, rounds=rounds)
    return [*present(layout, config, rounds=rounds)[0], replace(run, root=layout.root)]


def based(layout: Layout, config: RunConfig, *, net: str, seed: int, root: Path) -> RunConfig:
    """The run's configuration with another seed and net, as it reads in the folder `root`. A student stays what it is."""
    rendered = bool(world_phase(config))

    def moved(folder: D) -> D:
        places = [_moved(path, layout, root, rendered=rendered) for path in (folder.root, folder.files)]
        return replace(folder, root=places[0], files=places[1])

    def moved_net(task: T) -> T:
        file = task.weights not in WEIGHTS
        return replace(task, weights=_moved(task.weights, layout, root, rendered=False)) if file else task

    return replace(
        config,
        seed=seed,
        task=with_net(moved_net(config.task), net),
        student=moved_net(config.student) if config.student else None,
        synthetic=tuple(moved(source) for source in config.synthetic),
        real=tuple(moved(source) for source in config.real),
        held_out=moved(config.held_out) if config.held_out else None,
    )


def with_net(task: Task, net: str) -> Task:
    """The task with another architecture. SegNet has its own backbone: from scratch, unless weights are downloaded."""
    if net == task.architecture:
        return task
    if net == "segnet":
        weights = "download" if task.weights == "download" else "scratch"
        return replace(task, architecture="segnet", backbone="vgg16_bn", weights=weights)
    if task.architecture == "segnet":
        raise InputError(f"--net {net}: the run's net is segnet on {task.backbone}, which {net} cannot use; set another task")
    return replace(task, architecture=cast(Architecture, net))


def lay_out(entry: Entry) -> None:
    """Write the entry's run.toml, or find the same one there. InputError when another one is: its results would not compare."""
    path = entry.layout.configuration
    if not path.exists():
        write_atomic(path, configuration.to_toml(entry.config).encode())
        return
    changes = _changes(entry)
    if changes:
        raise InputError(
            f"{path}: there already, and differs ({'; '.join(changes)});"
            " give the same --rounds and run.toml as before, or delete the folder to compute it anew"
        )


def _changes(entry: Entry) -> list[str]:
    try:
        return configuration.difference(configuration.load(entry.layout.configuration), entry.config)
    except InputError as error:  # an earlier version wrote it
        return [str(error)]


def _moved(path: str, layout: Layout, root: Path, *, rendered: bool) -> str:
    """A path of the run's configuration as it reads in `root`; frames that the run renders lie in each entry."""
    if not path or expanded(path).is_absolute() or (rendered and Path(path).parts[0] == WORLD):
        return path
    return os.path.relpath(layout.root / path, root)
