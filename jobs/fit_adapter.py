"""`selfsyn fit-adapter`: trains the generator that translates synthetic images into the style of the real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.beginning import Job, opened
from jobs.options import device_option, dry_run_option, force_option, run_option
from selfsyn.flow import fit_adapter_phase
from selfsyn.stage import SOURCE_ONLY
from selfsyn.verbs import REAL, SYNTHETIC

if TYPE_CHECKING:
    import torch

UNREADABLE = "unreadable.json"


@click.command()
@run_option
@device_option
@force_option
@dry_run_option
def command(root: Path, device: str, force: bool, dry_run: bool) -> None:
    """Fit the adapter on synthetic and real images.

    The adapter is the pixel level of CyCADA. Reads no label of a real image. The semantic loss needs the source-only net:
    train it first. Unreadable real images are skipped and listed in unreadable.json; teacher.unreadable in run.toml limits
    how many there may be.
    """
    job = opened(root, fit_adapter_phase, force=force, dry_run=dry_run)
    if job is not None:
        _fit(job, job.torch_device(device))


def _fit(job: Job, device: torch.device) -> None:
    from selfsyn import devices
    from selfsyn.adapter.fit import HISTORY, WEIGHTS, fit
    from selfsyn.data import sources
    from selfsyn.data.unreadable import readable
    from selfsyn.files import digest_file
    from selfsyn.phase import finish
    from selfsyn.stopping import Stopping
    from selfsyn.task import build, load_weights

    layout, config = job.layout, job.config
    synthetic, synthetic_digest = sources.synthetic(layout, config)
    listed, real_digest = sources.listed_real(layout, config)
    frozen = build(config.task, pretrained=False, classes=len(config.class_list))
    load_weights(frozen, layout.task(SOURCE_ONLY) / WEIGHTS)
    started = job.begin({SYNTHETIC: synthetic_digest, REAL: real_digest})
    spoiled = config.teacher.spoiled_of(len(listed))
    real = readable(listed, record=started.folder / UNREADABLE, spoiled=spoiled)
    state = fit(
        frozen,
        synthetic=synthetic,
        real=real,
        config=config,
        folder=started.folder,
        device=device,
        stopping=Stopping(),
    )
    outputs = {name: digest_file(started.folder / name) for name in (WEIGHTS, HISTORY)}
    agreements = {name: value for name, value in state.history[-1].items() if name.startswith("agreement")}
    counts = {"steps": state.step, "synthetic": len(synthetic), "real": len(real), **agreements}
    if len(real) < len(listed):
        counts |= {"skipped": len(listed) - len(real), "skipped_at_most": spoiled}
    finish(started, outputs=outputs, counts=counts, device=devices.describe(device))
