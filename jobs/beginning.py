"""How the command of every phase begins. The order: finished already? device, finished inputs, data, nets, `begin`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfsyn.config import RunConfig
from selfsyn.errors import InputError
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
    """A phase that is not finished, in a run whose configuration is valid. Device and inputs are not checked yet."""

    layout: Layout
    config: RunConfig
    phase: Phase
    force: bool

    def torch_device(self, device: str) -> torch.device:
        """'auto', 'cpu' or 'cuda' -> the torch device. Checks the earlier phases and makes torch deterministic.

        InputError when the device is missing, NotReadyError when an earlier phase is not finished.
        """
        from selfsyn import devices

        found = devices.resolve(device)  # before `require`: a missing device is the more basic error
        require(self.layout, self.phase)
        devices.set_deterministic()
        return found

    def teacher_device(self, device: str) -> None:
        """Check the device (also 'tensorrt') of a verb that uses an exported teacher, then the earlier phases. Needs no torch."""
        from export.teacher import usable_device

        if device not in ("auto", "cpu"):
            usable_device(device)  # before `require`, as above
        require(self.layout, self.phase)

    def teacher(self, stage: Stage, *, device: str, workers: int | None) -> Teacher:
        """Load the exported teacher of `stage`, with threads for the cores that `workers` leave. Raises as teacher.load."""
        from export.pipeline import lanes
        from export.teacher import load
        from selfsyn.cores import usable_cores

        threads = max(1, usable_cores() // lanes(workers=workers))
        teacher = load(self.layout.teacher(stage), device=device, threads=threads, precision=self.config.teacher.precision)
        difference = self.config.class_list.difference(teacher.metadata.classes)
        if difference:
            raise InputError(
                f"{self.layout.teacher(stage)}: a teacher of {difference}; export it again with --force, or use another run"
            )
        return teacher

    def begin(self, sources: Mapping[str, str] | None = None) -> Started:
        """Start or resume the phase (selfsyn.phase.begin). sources: digests of the data sets that it reads."""
        return begin(self.layout, self.config, self.phase, sources=sources, force=self.force)


def opened(
    root: Path, phase_of: Callable[[RunConfig], Phase], *, force: bool, dry_run: bool = False, wanted: str = ""
) -> Job | None:
    """The unfinished phase of the run at `root`. None when it is finished or for a dry run, with a line that says so.

    wanted: a count that the manifest must have; a finished phase without it starts over. InputError when an input changed.
    """
    from selfsyn.data import sources

    layout, config = open_run(root)
    phase = phase_of(config)
    data = sources.of_phase(config, phase)
    if dry_run:
        reads = ", ".join([*phase.needs, *(f"data set {name!r}" for name in data)]) or "nothing"
        click.echo(f"{phase.name}: reads {reads}; writes {layout.root / phase.folder}")
        return None
    digests = partial(sources.digests_of, layout, config, phase)
    return job_of(layout, config, phase, digests=digests, force=force, wanted=wanted)


def job_of(
    layout: Layout, config: RunConfig, phase: Phase, *, digests: Callable[[], Mapping[str, str]], force: bool, wanted: str = ""
) -> Job | None:
    """As `opened`, for an open run. digests: returns the digests of the inputs that no phase of the run makes."""
    if not is_done(layout, phase, sources=digests, force=force):
        return Job(layout, config, phase, force)
    folder = layout.root / (phase.folder if (layout.root / phase.folder).exists() else phase.whole)
    if wanted and wanted not in (read_manifest(folder) or {})["counts"]:
        say(f"{phase.name}: was finished without {wanted}; starts over to write them")
        return Job(layout, config, phase, force=True)
    say(f"{phase.name}: already done, in {folder}")
    return None
