"""The entries of the table: for each net, row and seed an ordinary run folder with its configuration and phases."""

from __future__ import annotations

import contextlib
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
from selfsyn.flow import Phase, phases
from selfsyn.layout import Layout
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage

FOLDER = "compare"

D = TypeVar("D", bound=DataFolder)
T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Entry:
    """A row for one net and seed: a run in the folder `root`, of which `stage` is scored."""

    net: str
    row: Row
    seed: int
    root: Path
    config: RunConfig
    stage: Stage
    phases: tuple[Phase, ...]

    @property
    def name(self) -> str:
        """The name in logs."""
        return f"{self.net} {self.row.name} seed {self.seed}"

    @property
    def layout(self) -> Layout:
        """The paths of the entry's run."""
        return Layout(self.root)

    @property
    def cost(self) -> Cost:
        """Its updates and training images."""
        return cost(self.config, self.phases, stage=self.stage)


def chosen(config: RunConfig, *, names: Sequence[str], ablate: bool) -> tuple[Row, ...]:
    """The rows called `names`, or all but ablations; `ablate` adds our row and all ablations. InputError for an unknown name."""
    known = {row.name: row for row in (*ROWS, *ablations(config)) if row.fits(config)}
    for name in names:
        if name not in known:
            raise InputError(f"--rows {name!r}: no such row; expected some of {', '.join(known)}")
    plain = [row for row in known.values() if row.name in names or (not names and not row.ablates)]
    wanted = {row.name for row in plain} | ({OURS} | {row.name for row in known.values() if row.ablates} if ablate else set())
    return tuple(row for row in known.values() if row.name in wanted)


def entries(
    layout: Layout, config: RunConfig, *, rows: Sequence[Row], nets: Sequence[str], seeds: Sequence[int], rounds: int
) -> list[Entry]:
    """All entries to compute, ordered by seed, so that the first complete table is ready early.

    InputError without held-out labels, or when `rounds` does not fit the schedule of the run.
    """
    if config.held_out is None:
        raise InputError(f"{layout.configuration}: no held_out data set; a comparison needs labelled real images to score on")
    _refuse_half_a_schedule(config, rounds=rounds)
    places = [(net, row, seed) for seed in seeds for net in nets for row in rows]
    return [entry(layout, config, row=row, net=net, seed=seed, rounds=rounds) for net, row, seed in places]


def _refuse_half_a_schedule(config: RunConfig, *, rounds: int) -> None:
    """InputError when `rounds` is not the last round of a schedule over several rounds (rounds.start = 'continue'), or ends
    before the student's round.
    """
    planned = len(config.rounds.real_share) - 1
    if config.student is not None and rounds < planned:
        raise InputError(f"--rounds {rounds}: the net of [student] is trained in round {planned}; give --rounds {planned}")
    if config.rounds.start_of(rounds) == "continue" and rounds != planned:
        raise InputError(
            f"--rounds {rounds}: with rounds.start = 'continue' the learning-rate schedule ends with round {planned}, the last"
            f" in rounds.real_share; give --rounds {planned}, or list the shares of rounds 0 to {rounds} there"
        )


def entry(layout: Layout, config: RunConfig, *, row: Row, net: str, seed: int, rounds: int) -> Entry:
    """The entry for a net, row and seed, in the compare folder of the run."""
    root = layout.root / FOLDER / net / row.name / f"seed-{seed}"
    own = row.settings(based(layout, config, net=net, seed=seed, root=root), rounds)
    stage = row.stage(rounds)
    flow = phases(own, rounds=max(1, rounds), with_bounds=True)  # at least 1: Seg-Uncertainty always has two rounds
    return Entry(net, row, seed, root, own, stage, needed(flow, goal=f"{stage}/evaluation"))


def present(layout: Layout, config: RunConfig, *, rounds: int) -> tuple[list[Entry], list[Path]]:
    """(entries that have a folder, ordered by net, row and seed; folders made with other settings)."""
    found, others = [], []
    for net, row in ((net, row) for net in ARCHITECTURES for row in (*ROWS, *ablations(config)) if row.fits(config)):
        folders = (layout.root / FOLDER / net / row.name).glob("seed-*/run.toml")
        for seed in sorted(int(path.parent.name.removeprefix("seed-")) for path in folders):
            one = entry(layout, config, row=row, net=net, seed=seed, rounds=rounds)
            if _changes(one):
                others.append(one.root)
            else:
                found.append(one)
    return found, others


def donors(layout: Layout, config: RunConfig, *, rounds: int) -> list[Entry]:
    """The entries whose finished phases others may reuse: those `present`, and the run itself as our row and both bounds."""
    run = []
    for row in (row for row in ROWS if row.name in (OURS, SOURCE_ONLY.name, ORACLE.name)):
        one = entry(layout, config, row=row, net=config.task.architecture, seed=config.seed, rounds=rounds)
        # The run trained with its own settings, for example its own train.steps, not with those of the row.
        own = based(layout, config, net=config.task.architecture, seed=config.seed, root=one.root)
        run.append(replace(one, root=layout.root, config=own))
    return [*present(layout, config, rounds=rounds)[0], *run]


def based(layout: Layout, config: RunConfig, *, net: str, seed: int, root: Path) -> RunConfig:
    """The run's configuration with another seed and net, and with paths relative to `root`. A student is unchanged."""

    def moved(folder: D) -> D:
        place = folder.root if config.renders(folder) else _moved(folder.root, layout, root)  # each entry renders its own
        return replace(folder, root=place, files=_moved(folder.files, layout, root))

    def moved_net(task: T) -> T:
        file = task.weights not in WEIGHTS
        return replace(task, weights=_moved(task.weights, layout, root)) if file else task

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
    """The task with another architecture. SegNet gets the backbone vgg16_bn, from scratch unless weights are downloaded.

    InputError when `net` cannot use the backbone of a SegNet run.
    """
    if net == task.architecture:
        return task
    if "vit" in (net, task.architecture):
        raise InputError(f"--net {net}: the run's net is {task.architecture} with {task.backbone}; set another [task] for it")
    if net == "segnet":
        weights = "download" if task.weights == "download" else "scratch"
        return replace(task, architecture="segnet", backbone="vgg16_bn", weights=weights)
    if task.architecture == "segnet":
        raise InputError(f"--net {net}: the run uses segnet with {task.backbone}, which {net} cannot use; set another [task]")
    return replace(task, architecture=cast(Architecture, net))


def lay_out(entry: Entry) -> None:
    """Write the entry's run.toml. InputError when a different run.toml exists, because results would not be comparable."""
    path = entry.layout.configuration
    if not path.exists():
        write_atomic(path, configuration.to_toml(entry.config).encode())
        return
    changes = _changes(entry)
    if changes:
        raise InputError(
            f"{path}: exists with other settings ({'; '.join(changes)});"
            " use the same --rounds and run.toml as before, or delete the folder to compute it again"
        )


def share_caches(entry: Entry, *, run: Layout) -> None:
    """Let the entry and `run` share what they know of the data sets and the traced nets, so that both are read or made once."""
    for link, cache in ((entry.layout.inputs, run.inputs), (entry.layout.graphs, run.graphs)):
        cache.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # there already, or no links in this file system: the entry has its own
            link.symlink_to(os.path.relpath(cache.resolve(), link.parent.resolve()), target_is_directory=True)


def _changes(entry: Entry) -> list[str]:
    try:
        return configuration.difference(configuration.load(entry.layout.configuration), entry.config)
    except InputError as error:  # written by an earlier version
        return [str(error)]


def _moved(path: str, layout: Layout, root: Path) -> str:
    """A path of the run's configuration relative to `root`."""
    if not path or expanded(path).is_absolute():
        return path
    return os.path.relpath(layout.root / path, root)
