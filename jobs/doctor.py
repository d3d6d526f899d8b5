"""`selfsyn doctor`: everything that is wrong with a run's data, configuration and machine, in one go. Never imports torch."""

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
DIED = "the process that tried it died"


@click.command()
@run_option
@click.option("--all", "everything", is_flag=True, help="Look at the pixels of every frame, instead of at most 550 a data set.")
def command(root: Path, everything: bool) -> None:
    """Look at all that a run will read, and at the machine, before hours are spent.

    Names every fault, not only the first; estimates times and the room on the disk; ends with `ready` or `not ready`
    (exit code 2). Begins no phase, and never looks at the labels of real sources. What was found is kept in DIR/doctor,
    with a page of charts, index.html: unchanged data is not looked at again.
    """
    from selfsyn.phase import open_run

    layout, config = open_run(root)
    probe = probed(layout.root, config)  # before all else: the process that tries torch takes 0.7 GB, and this one grows

    from selfsyn.doctor.cache import FOLDER
    from selfsyn.doctor.data import look
    from selfsyn.doctor.findings import verdict
    from selfsyn.doctor.listing import listed, roles
    from selfsyn.doctor.outlook import foreseen
    from selfsyn.doctor.summary import borders
    from selfsyn.files import write_json

    listings = [listed(layout, role) for role in roles(config)]
    data = look(layout, config, listings, everything=everything)
    outlook = foreseen(layout, config, listings, probe)
    findings = [*data.findings, *outlook.findings]
    last = verdict(findings, root=root)
    write_json(layout.root / FOLDER / REPORT, _report(data, outlook, findings, verdict=last, everything=everything))
    page = [] if any(finding.stops for finding in data.findings) else _page(layout.root, config, listings, data)
    click.echo("\n".join([*_lines(data, outlook, findings), *borders(config), *page, "", last]))
    if any(finding.stops for finding in findings):
        raise SystemExit(InputError.exit_code)


def _page(root: Path, config: RunConfig, listings: list[Listing], data: Data) -> list[str]:
    """Draw the data sets, unless nothing has changed since they were drawn; the lines that say where, or none without images."""
    from selfsyn.doctor.cache import FOLDER
    from selfsyn.doctor.charted import domains, words
    from selfsyn.files import write_atomic
    from selfsyn.report.page import render_data

    path = root / FOLDER / PAGE
    found = [listing for listing in listings if listing.images]
    if found and not (data.cached and path.exists()):
        write_atomic(path, render_data(config.recipe, words(data.facts), domains(found, size=config.size)).encode())
    return ["", f"the data in charts: {path}"] if found else []


def probed(root: Path, config: RunConfig) -> Probe:
    """What other processes find out about onnxruntime and torch, whose libraries are large and may break.

    The nets' speed is measured once for the same configuration, torch and devices; it is kept in DIR/doctor.
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
    """What `work` returns, or None when it took its process down."""
    context = multiprocessing.get_context("spawn")
    # It ends without tidying up: CUDA's libraries would read all of themselves for that, 90 MB more.
    with ProcessPoolExecutor(1, mp_context=context, initializer=atexit.register, initargs=(os._exit, 0)) as process:
        try:
            return process.submit(work).result()
        except BrokenProcessPool:
            return None


def _providers() -> tuple[tuple[str, ...], str]:
    """onnxruntime's providers that load, and why CUDA is not among them, or ''. TensorRT may be absent without a word."""
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
    """The nets' speed, or None with the reason; and a fault of the configuration, or ''."""
    from selfsyn.doctor.speed import measured

    try:
        return measured(config, labels_on=labels_on), "", ""
    except InputError as error:
        return None, "a net cannot be built", str(error)
    except (ImportError, OSError, RuntimeError) as error:  # no torch that works, or too little memory for the net
        return None, str(error).splitlines()[0], ""


def _lines(data: Data, outlook: Outlook, findings: list[Finding]) -> list[str]:
    from selfsyn.doctor import summary

    sampled = any(one.looked_at < one.images for one in data.facts)
    note = ["sizes and copies: of all files; pixels: of a sample, and of the smallest files; --all looks at all"] * sampled
    shares = summary.class_shares(data.facts)
    tables = [*summary.data_sets(data.facts), *note, *([""] * bool(shares)), *shares]
    return [*tables, "", *outlook.lines, *summary.findings(findings)]


def _report(data: Data, outlook: Outlook, findings: list[Finding], *, verdict: str, everything: bool) -> dict[str, Any]:
    """What report.json holds: what is printed, with every path."""
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
