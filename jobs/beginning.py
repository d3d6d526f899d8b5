"""How the command of every phase begins, in one order: done already? the device, what it needs, its inputs, its nets, `begin`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfsyn.config import RunConfig
from selfsyn.flow import Phase
from selfsyn.layout import Layout
from selfsyn.phase import Started, begin, is_done, open_run, read_manifest, require
from selfsyn.progress import say
from selfsyn.stage import Stage
from selfsyn.verbs import HELD_OUT, REAL, REAL_WITH_LABELS, SYNTHETIC

if TYPE_CHECKING:
    import torch

    from export.teacher import Teacher

WORDS = {
    SYNTHETIC: "the synthetic images and labels",
    REAL: "the real images",
    REAL_WITH_LABELS: "the real images with their labels",
    HELD_OUT: "the held-out images and labels",
}


@dataclass(frozen=True)
class Job:
    """A phase that is not finished, of a run whose configuration is right; nothing else was looked at."""

    layout: Layout
    config: RunConfig
    phase: Phase
    force: bool

    def torch_device(self, device: str) -> torch.device:
        """'auto', 'cpu' or 'cuda' -> where to compute, deterministic from here on; then what the phase needs is looked for.

        InputError for a device that is not there, NotReadyError for a phase that is not finished.
        """
        from selfsyn import devices

        found = devices.resolve(device)  # first: whatever else is missing, without the device it will not go
        require(self.layout, self.phase)
        devices.set_deterministic()
        return found

    def teacher(self, stage: Stage, *, device: str, workers: int | None) -> Teacher:
        """The exported teacher of `stage` on 'auto', 'cpu', 'cuda' or 'tensorrt'; its threads leave cores for `workers`.

        Raises as `torch_device` does, and as export.teacher.load.
        """
        from export.pipeline import lanes
        from export.teacher import load, usable_device
        from selfsyn.cores import usable_cores

        if device not in ("auto", "cpu"):
            usable_device(device)  # first, as above
        require(self.layout, self.phase)
        threads = max(1, usable_cores() // lanes(workers=workers))
        return load(self.layout.teacher(stage), device=device, threads=threads, precision=self.config.teacher.precision)

    def begin(self, sources: Mapping[str, str] | None = None) -> Started:
        """Start the phase, or resume it. sources: the digests of the data sets that it reads. See selfsyn.phase.begin."""
        return begin(self.layout, self.config, self.phase, sources=sources, force=self.force)


def opened(
    root: Path, phase_of: Callable[[RunConfig], Phase], *, force: bool, dry_run: bool = False, wanted: str = ""
) -> Job | None:
    """The job of the run at `root` that a command is to do; None where nothing is to be done, which is said."""
    layout, config = open_run(root)
    return job_of(layout, config, phase_of(config), force=force, dry_run=dry_run, wanted=wanted)


def job_of(
    layout: Layout,
    config: RunConfig,
    phase: Phase,
    *,
    sources: Mapping[str, str] | None = None,
    force: bool,
    dry_run: bool = False,
    wanted: str = "",
) -> Job | None:
    """As `opened`, of a run that is open.

    sources: digests of inputs beside finished phases; by default those of the data sets that the phase reads.
    wanted: what the manifest must count; a finished phase without it is started over. InputError when an input changed.
    """
    if dry_run:
        click.echo(f"{phase.name}: reads {', '.join(_reads(config, phase)) or 'nothing'}; writes {layout.root / phase.folder}")
        return None
    if is_done(layout, phase, sources=lambda: _digests(layout, config, phase) if sources is None else sources, force=force):
        if not wanted or wanted in (read_manifest(layout.root / phase.folder) or {})["counts"]:
            say(f"{phase.name}: already done, in {layout.root / phase.folder}")
            return None
        say(f"{phase.name}: finished without {wanted}; starting over to write them")
        force = True
    return Job(layout, config, phase, force)


def _reads(config: RunConfig, phase: Phase) -> tuple[str, ...]:
    from selfsyn.data.sources import of_phase

    return (*phase.needs, *(WORDS[name] for name in of_phase(config, phase)))


def _digests(layout: Layout, config: RunConfig, phase: Phase) -> Mapping[str, str]:
    from selfsyn.data.sources import digests, of_phase

    return digests(layout, config, of_phase(config, phase))
