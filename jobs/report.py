"""report: one page about everything that is finished in a run."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.options import force_option, run_option


@click.command("report")
@run_option
@force_option
def command(root: Path, *, force: bool) -> None:
    """Write report/index.html: numbers, curves, pictures, and how they were made. Made anew when a phase was added."""
    from selfsyn.files import digest_bytes, write_atomic
    from selfsyn.flow import report_phase
    from selfsyn.manifest import read_manifest
    from selfsyn.phase import begin, finish, is_done, open_run
    from selfsyn.progress import say
    from selfsyn.report.collect import collect, manifest_digests

    layout, config = open_run(root)
    run = collect(layout, config)
    sources = manifest_digests(run)
    page = layout.report / "index.html"
    phase = report_phase(tuple(score.stage for score in run.scores))
    # A report may follow its run: other inputs are what it is for, so they never make it refuse.
    force = force or set(sources.items()) != _reported(read_manifest(layout.report))
    if is_done(layout, phase, sources=lambda: sources, force=force):
        say(f"already done: {page}")
        return

    from selfsyn.report.page import render

    started = begin(layout, config, phase, sources=sources, force=force)
    html = render(run).encode()
    write_atomic(page, html)
    counts = {"stages": len(run.scores), "phases": len(run.finished), "bytes": len(html)}
    finish(started, outputs={"index.html": digest_bytes(html)}, counts=counts)
    say(f"report: {page}, {len(html) / 1e6:.1f} MB")


def _reported(manifest: dict[str, dict[str, str]] | None) -> set[tuple[str, str]]:
    inputs = manifest["inputs"] if manifest else {}
    return {(name, digest) for name, digest in inputs.items() if name.endswith("manifest.json")}
