"""`selfsyn doctor`: finds all problems of a run's data, configuration and machine. Never imports torch."""

from __future__ import annotations

import atexit
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.options import run_option
from selfsyn.errors import InputError

if TYPE_CHECKING:
    from selfsyn.config import RunConfig
    from selfsyn.doctor.data import Data
    from selfsyn.doctor.findings import Finding
    from selfsyn.doctor.listing import Listing
    from selfsyn.doctor.machine import Probe
    from selfsyn.doctor.outlook import Outlook
    from selfsyn.doctor.speed import Speed

T = TypeVar("T")
REPORT = "report.json"
PAGE = "index.html"
DIED = "the process that tried to load it crashed"


@click.command()
@run_option
@click.option(
    "--all", "everything", is_flag=True, help="Check the pixels of every frame. Default: of at most 550 frames of each data set."
)
def command(root: Path, everything: bool) -> None:
    """Check data, configuration and machine before a long run.

    Lists every problem, estimates times and disk space, and ends with `ready` or `not ready` (exit code 2). Starts no
    phase, and never reads labels of real training images. DIR/doctor keeps the results and a page with charts,
    index.html. Unchanged data is not checked again.
    """
    from selfsyn.phase import open_run

    layout, config = open_run(root)
    probe = probed(layout.root, config)  # first: it needs 0.7 GB for a process with torch, and this process grows later

    from selfsyn.doctor.cache import FOLDER
    from selfsyn.doctor.changed import changed
    from selfsyn.doctor.data import look
    from selfsyn.doctor.findings import verdict
    from selfsyn.doctor.listing import listed, roles
    from selfsyn.doctor.outlook import foreseen
    from selfsyn.doctor.summary import borders
    from selfsyn.files import write_json

    listings = [listed(layout, role) for role in roles(config)]
    data = look(layout, config, listings, everything=everything)
    outlook = foreseen(layout, config, listings, probe)
    findings = [*data.findings, *changed(layout, config), *outlook.findings]
    last = verdict(findings, root=root)
    write_json(layout.root / FOLDER / REPORT, _report(data, outlook, findings, verdict=last, everything=everything))
    page = [] if any(finding.stops for finding in data.findings) else _page(layout.root, config, listings, data)
    click.echo("\n".join([*_lines(data, outlook, findings), *borders(config), *page, "", last]))
    if any(finding.stops for finding in findings):
        raise SystemExit(InputError.exit_code)


def _page(root: Path, config: RunConfig, listings: list[Listing], data: Data) -> list[str]:
    """Write the page with charts unless the data is unchanged -> the lines that name it; none when there are no images."""
    from selfsyn.doctor.cache import FOLDER
    from selfsyn.doctor.charted import domains, words
    from selfsyn.files import write_atomic
    from selfsyn.report.page import render_data

    path = root / FOLDER / PAGE
    found = [listing for listing in listings if listing.images]
    if found and not (data.cached and path.exists()):
        write_atomic(path, render_data(config, words(data.facts), domains(found, size=config.size)).encode())
    return ["", f"the data in charts: {path}"] if found else []


def probed(root: Path, config: RunConfig) -> Probe:
    """Try onnxruntime and torch in other processes, because their libraries are large and may crash.

    DIR/doctor keeps the measured speed of the nets until the configuration, torch or the devices change.
    """
    from dataclasses import asdict

    from selfsyn.doctor.cache import FOLDER, keep, recall
    from selfsyn.doctor.machine import Probe
    from selfsyn.doctor.speed import Speed, depends_on

    providers, no_cuda = _in_other_process(_providers) or ((), DIED)
    labels_on = "cpu" if no_cuda else "cuda"
    path, key = root / FOLDER / "speed.json", depends_on(config, labels_on=labels_on)
    kept = recall(path, key=key)
    if kept is not None:
        return Probe(providers, no_cuda, Speed(**kept))
    speed, no_speed, fault = _in_other_process(partial(_speed, config, labels_on)) or (None, DIED, "")
    if speed is not None:
        keep(path, asdict(speed), key=key)
    return Probe(providers, no_cuda, speed, no_speed, fault)


def _in_other_process(work: Callable[[], T]) -> T | None:
    """Run `work` in a new process -> its result, or None when the process died."""
    context = multiprocessing.get_context("spawn")
    # Exit without cleaning up, which would load another 90 MB of CUDA's libraries.
    with ProcessPoolExecutor(1, mp_context=context, initializer=atexit.register, initargs=(os._exit, 0)) as process:
        try:
            return process.submit(work).result()
        except BrokenProcessPool:
            return None


def _providers() -> tuple[tuple[str, ...], str]:
    """The onnxruntime providers that load, and why CUDA does not load, or ''. Gives no reason for a missing TensorRT."""
    try:
        from export.teacher import CPU, CUDA, TENSORRT, why_no_cuda
        from export.tensorrt import why_no_tensorrt
    except ImportError as error:
        return (), str(error)
    reason = why_no_cuda()
    if reason:
        return (CPU,), reason
    return (CUDA, CPU) if why_no_tensorrt() else (TENSORRT, CUDA, CPU), ""


def _speed(config: RunConfig, labels_on: str) -> tuple[Speed | None, str, str]:
    """-> the nets' speed or None, the reason for None, and a mistake in the configuration or ''."""
    from selfsyn.doctor.speed import measured

    try:
        return measured(config, labels_on=labels_on), "", ""
    except InputError as error:
        return None, "a net cannot be built", str(error)
    except (ImportError, OSError, RuntimeError) as error:  # torch does not work, or the net needs more memory
        return None, str(error).splitlines()[0], ""


def _lines(data: Data, outlook: Outlook, findings: list[Finding]) -> list[str]:
    from selfsyn.doctor import summary

    sampled = any(one.looked_at < one.images for one in data.facts)
    note = ["sizes and copies are checked for all files; pixels for a sample and the smallest files (--all: for all)"] * sampled
    shares = summary.class_shares(data.facts)
    tables = [*summary.data_sets(data.facts), *note, *([""] * bool(shares)), *shares]
    return [*tables, "", *outlook.lines, *summary.findings(findings)]


def _report(data: Data, outlook: Outlook, findings: list[Finding], *, verdict: str, everything: bool) -> dict[str, Any]:
    """The contents of report.json: the printed findings with all paths."""
    return {
        "verdict": verdict,
        "ready": not any(finding.stops for finding in findings),
        "all": everything,
        "cached": data.cached,
        "findings": [vars(finding) for finding in findings],
        "data_sets": [vars(one) for one in data.facts],
        "machine": outlook.machine,
        "bytes_to_write": outlook.to_write,
        "estimates": [vars(one) for one in outlook.estimates],
    }
