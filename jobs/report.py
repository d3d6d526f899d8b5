"""`selfsyn report`: writes a page about all finished phases of a run."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.beginning import job_of
from jobs.options import force_option, run_option


@click.command("report")
@run_option
@force_option
def command(root: Path, *, force: bool) -> None:
    """Write report/index.html: scores, curves and pictures.

    The report names the origin of each number, and the folder holds a copy of each manifest, so it can be copied as a whole.
    The command writes it again when more phases or a comparison are finished.
    """
    from selfsyn.files import digest_bytes, write_atomic
    from selfsyn.flow import report_phase
    from selfsyn.manifest import read_manifest
    from selfsyn.phase import finish, open_run
    from selfsyn.progress import say
    from selfsyn.report.collect import collect, manifest_digests, manifests

    layout, config = open_run(root)
    run = collect(layout, config)
    sources = manifest_digests(run)
    # New inputs start the report over. They are no error, because the run goes on after a report.
    force = force or set(sources.items()) != _reported(read_manifest(layout.report))
    job = job_of(layout, config, report_phase(score.stage for score in run.scores), digests=lambda: sources, force=force)
    if job is None:
        return

    from selfsyn.report.page import render

    page, started = layout.report / "index.html", job.begin(sources)
    html = render(run).encode()
    files = manifests(run) | {page.name: html}
    for name, data in files.items():
        (layout.report / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(layout.report / name, data)
    counts = {"stages": len(run.scores), "phases": len(run.finished), "bytes": len(html)}
    finish(started, outputs={name: digest_bytes(data) for name, data in files.items()}, counts=counts)
    say(f"report: {page}, {len(html) / 1e6:.1f} MB")


def _reported(manifest: dict[str, dict[str, str]] | None) -> set[tuple[str, str]]:
    from selfsyn.report.collect import COMPARISON

    inputs = manifest["inputs"] if manifest else {}
    return {(name, digest) for name, digest in inputs.items() if name.endswith(("manifest.json", COMPARISON))}
