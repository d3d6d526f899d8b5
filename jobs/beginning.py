"""How the command of every phase begins, in one order: done already? the device, what it needs, its inputs, its nets, `begin`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfsyn.config import RunConfig
from selfsyn.flow import Phase
from selfsyn.layout import Layout
from selfsyn.manifest import read_manifest
from selfsyn.phase import Started, begin, is_done, open_run, require
from selfsyn.progress import say
from selfsyn.stage import Stage

if TYPE_CHECKING:
    import torch

    from export.teacher import Teacher


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

    def teacher_device(self, device: str) -> None:
        """The same for a verb that computes with an exported teacher: 'tensorrt' is a device too, and torch is not needed."""
        from export.teacher import usable_device

        if device not in ("auto", "cpu"):
            usable_device(device)  # first, as above
        require(self.layout, self.phase)

    def teacher(self, stage: Stage, *, device: str, workers: int | None) -> Teacher:
        """The exported teacher of `stage` on `device`; its threads leave cores for `workers`. Raises as export.teacher.load."""
        from export.pipeline import lanes
        from export.teacher import load
        from selfsyn.cores import usable_cores

        threads = max(1, usable_cores() // lanes(workers=workers))
        return load(self.layout.teacher(stage), device=device, threads=threads, precision=self.config.teacher.precision)

    def begin(self, sources: Mapping[str, str] | None = None) -> Started:
        """Start the phase, or resume it. sources: the digests of the data sets that it reads. See selfsyn.phase.begin."""
        return begin(self.layout, self.config, self.phase, sources=sources, force=self.force)


def opened(
    root: Path, phase_of: Callable[[RunConfig], Phase], *, force: bool, dry_run: bool = False, wanted: str = ""
) -> Job | None:
    """The job of the run at `root` that a command is to do; None, which is said, where there is nothing to do.

    wanted: what the manifest must count; a finished phase without it is started over. InputError when an input changed.
    """
    from selfsyn.data import sources

    layout, config = open_run(root)
    phase = phase_of(config)
    data = sources.of_phase(config, phase)
    if dry_run:
        reads = ", ".join([*phase.needs, *(f"data set {name!r}" for name in data)]) or "nothing"
        click.echo(f"{phase.name}: reads {reads}; writes {layout.root / phase.folder}")
        return None
    digests = partial(sources.digests, layout, config, data)
    return job_of(layout, config, phase, digests=digests, force=force, wanted=wanted)


def job_of(
    layout: Layout, config: RunConfig, phase: Phase, *, digests: Callable[[], Mapping[str, str]], force: bool, wanted: str = ""
) -> Job | None:
    """As `opened`, of a run that is open. digests: of the inputs that are not finished phases."""
    if not is_done(layout, phase, sources=digests, force=force):
        return Job(layout, config, phase, force)
    folder = layout.root / phase.folder
    if wanted and wanted not in (read_manifest(folder) or {})["counts"]:
        say(f"{phase.name}: finished without {wanted}; starting over to write them")
        return Job(layout, config, phase, force=True)
    say(f"{phase.name}: already done, in {folder}")
    return None
