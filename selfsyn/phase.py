"""The life of a phase: see whether it is done, begin, work, finish. A manifest, written last, means finished.

This is where "run it again" is decided: the same inputs and configuration mean nothing to do; others are refused with
the difference; a killed attempt goes on from what it left.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsyn import config as configuration
from selfsyn.config import RunConfig
from selfsyn.errors import InputError, NotReadyError
from selfsyn.files import digest_lines, read_json, remove_temporaries, write_atomic, write_json
from selfsyn.flow import Phase
from selfsyn.layout import Layout
from selfsyn.manifest import MANIFEST, SHARDED, finished_parts, read_manifest
from selfsyn.packages import installed
from selfsyn.progress import say

STARTED = "started.json"  # the inputs of an attempt that has not finished
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "pillow",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Started:
    """A phase that is to be worked on in `folder`."""

    phase: Phase
    folder: Path
    config: RunConfig
    inputs: Mapping[str, str]
    began: float = field(default_factory=time.monotonic)


def open_run(root: Path) -> tuple[Layout, RunConfig]:
    """The layout and configuration of a run. InputError when run.toml is missing, wrong, or differs from the sealed one."""
    layout = Layout(root)
    config = configuration.load(layout.configuration)
    if layout.sealed.exists():
        changes = configuration.difference(configuration.load(layout.sealed), config)
        if changes:
            raise InputError(
                f"{layout.configuration}: changed since this run began ({'; '.join(changes)});"
                f" put it back as in {layout.sealed.name}, or start another run folder"
            )
    return layout, config


def require(layout: Layout, phase: Phase) -> None:
    """NotReadyError, naming the phase to run first, unless everything that `phase` needs is finished."""
    for need in phase.needs:
        _digest_of(layout.root / need, phase)


def is_done(layout: Layout, phase: Phase, *, sources: Callable[[], Mapping[str, str]] = dict, force: bool = False) -> bool:
    """Whether `phase` is finished, with the inputs that there are now; never with `force`, which starts it over.

    A verb asks before all else: a finished phase needs no device, no weights and no libraries.
    sources: the digests of inputs that no phase of ours made (data sets); not called for an unfinished phase. InputError
    when an input changed since the phase began. Inputs that are gone are not compared, which is said.
    """
    manifest = None if force else read_manifest(layout.root / phase.folder)
    if manifest is None:
        return False
    try:
        now = _inputs(layout, phase, sources())
    except (InputError, NotReadyError) as error:
        say(f"{phase.name}: finished; its inputs are not compared: {error}")
        return True
    _refuse_changed(layout.root / phase.folder, manifest["inputs"], now)
    return True


def begin(
    layout: Layout, config: RunConfig, phase: Phase, *, sources: Mapping[str, str] | None = None, force: bool = False
) -> Started:
    """Start `phase`, or resume what an attempt left; one that `is_done` is not begun.

    sources: digests of inputs that no phase of ours made (data sets). force: start over. Raises NotReadyError when a
    phase that it needs is unfinished, InputError when an input changed since it began.
    """
    inputs = _inputs(layout, phase, sources or {})
    folder = layout.root / phase.folder
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    before = read_manifest(folder) or read_json(folder / STARTED)
    if before is not None:
        _refuse_changed(folder, before["inputs"], inputs)
    if not layout.sealed.exists():
        write_atomic(layout.sealed, configuration.to_toml(config).encode())
    if before is None:
        write_json(folder / STARTED, {"inputs": inputs})
    return Started(phase, folder, config, inputs)


def _inputs(layout: Layout, phase: Phase, sources: Mapping[str, str]) -> dict[str, str]:
    return {need: _digest_of(layout.root / need, phase) for need in phase.needs} | dict(sources)


def finish(started: Started, *, outputs: Mapping[str, str], counts: Mapping[str, Any] | None = None, device: str = "cpu") -> None:
    """Write the manifest. outputs: digest of each thing that a later phase may read."""
    remove_temporaries(started.folder)
    write_json(
        started.folder / MANIFEST,
        {
            "phase": started.phase.name,
            "digest": digest_lines(f"{name}\t{digest}" for name, digest in sorted(outputs.items())),
            "inputs": dict(started.inputs),
            "outputs": dict(outputs),
            "counts": dict(counts or {}),
            "configuration": configuration.flat(started.config),
            "version": importlib.metadata.version("selfsyn"),
            "device": device,
            "python": platform.python_version(),
            "libraries": installed(LIBRARIES),
            "wall_seconds": round(time.monotonic() - started.began, 2),
        },
    )
    (started.folder / STARTED).unlink(missing_ok=True)


def is_current(layout: Layout, phase: Phase) -> bool:
    """Whether the phase is finished, and made from what its predecessors hold now. Data sets are not looked at."""
    folder = layout.root / phase.folder
    try:
        manifests = [read_manifest(part) for part in (finished_parts(folder) if folder.name in SHARDED else [folder])]
    except NotReadyError:
        return False
    return all(manifest is not None and made_from(layout, phase, manifest) for manifest in manifests)


def made_from(layout: Layout, phase: Phase, manifest: Mapping[str, Any]) -> bool:
    """Whether `manifest`, of this phase here or in another run, says it was made from what its predecessors hold here."""
    try:
        return all(manifest["inputs"].get(need) == _digest_of(layout.root / need, phase) for need in phase.needs)
    except NotReadyError:
        return False


def _digest_of(folder: Path, phase: Phase) -> str:
    manifest = read_manifest(folder)
    if manifest is None and folder.name in SHARDED and any(folder.glob("shard-*-of-*")):
        return digest_lines(_digest_of(shard, phase) for shard in finished_parts(folder))
    if manifest is None:
        raise NotReadyError(f"{folder}: not finished, and `selfsyn {phase.name}` needs it; run that phase first")
    return str(manifest["digest"])


def _refuse_changed(folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if changed:
        raise InputError(f"{folder}: made from other inputs ({', '.join(changed)} changed); use --force to make it anew")
