"""The life of a phase: check whether it is done, begin, work, finish. The manifest, written last, marks it as finished.

A repeated command does nothing if the phase is finished with the same inputs, resumes a killed attempt, and refuses changed
inputs or a changed configuration with the difference.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsyn import config as configuration
from selfsyn import contents
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
    """A phase that has begun in `folder`.

    inputs: {name: digest}.  began: time.monotonic() of the start, in seconds.
    """

    phase: Phase
    folder: Path
    config: RunConfig
    inputs: Mapping[str, str]
    began: float = field(default_factory=time.monotonic)


def open_run(root: Path) -> tuple[Layout, RunConfig]:
    """The layout and configuration of a run. InputError when run.toml is missing, invalid, or differs from sealed.toml."""
    layout = Layout(root)
    config = configuration.load(layout.configuration)
    if layout.sealed.exists():
        changes = configuration.difference(configuration.load(layout.sealed), config)
        if changes:
            raise InputError(
                f"{layout.configuration}: changed since this run began ({'; '.join(changes)});"
                f" restore it from {layout.sealed.name}, or use another run folder"
            )
    return layout, config


def require(layout: Layout, phase: Phase) -> None:
    """NotReadyError with the folder that is missing, unless all folders that `phase` needs are finished."""
    for need in phase.needs:
        _digest_of(layout.root / need, phase)


def is_done(layout: Layout, phase: Phase, *, sources: Callable[[], Mapping[str, str]] = dict, force: bool = False) -> bool:
    """Whether `phase` is finished with the current inputs. Always False with `force`, which starts it over.

    Every job calls this first, because a finished phase needs no device, weights or libraries.
    sources: returns the digests of the data sets among the inputs; called only if the phase has a manifest. InputError
    when an input has changed since. Inputs that are gone are not compared; a line says so.
    """
    folders = () if force else _finished(layout, phase)
    if not folders:
        return False
    manifests = [(folder, read_manifest(folder) or {}) for folder in folders]
    for folder, manifest in manifests:
        if "inputs" not in manifest:
            raise InputError(f"{folder / MANIFEST}: not a manifest, it has no 'inputs'; run the phase again with --force")
    try:
        now = _inputs(layout, phase, sources())
    except (InputError, NotReadyError) as error:
        say(f"{phase.name}: finished; its inputs are not compared: {error}")
        return True
    for folder, manifest in manifests:
        _refuse_changed(layout, folder, manifest["inputs"], now)
    return True


def _finished(layout: Layout, phase: Phase) -> Sequence[Path]:
    """The folders with the output of `phase`: its own, or all shards of the whole, in whatever number. Empty if unfinished."""
    own, whole = layout.root / phase.folder, layout.root / phase.whole
    if read_manifest(own) is not None:
        return [own]
    try:
        return finished_parts(whole) if whole.name in SHARDED else []
    except NotReadyError:
        return []


def begin(
    layout: Layout, config: RunConfig, phase: Phase, *, sources: Mapping[str, str] | None = None, force: bool = False
) -> Started:
    """Start `phase`, or resume an earlier attempt. Call `is_done` first.

    sources: digests of the data sets among the inputs.  force: delete the folder and start over. Raises NotReadyError when a
    phase that it needs is unfinished, InputError when an input has changed since an earlier attempt began.
    """
    inputs = _inputs(layout, phase, sources or {})
    folder = layout.root / phase.folder
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    before = read_manifest(folder) or read_json(folder / STARTED)
    if before is not None:
        _refuse_changed(layout, folder, before["inputs"], inputs)
    if not layout.sealed.exists():
        write_atomic(layout.sealed, configuration.to_toml(config).encode())
    if before is None:
        write_json(folder / STARTED, {"inputs": inputs})
    return Started(phase, folder, config, inputs)


def _inputs(layout: Layout, phase: Phase, sources: Mapping[str, str]) -> dict[str, str]:
    return {need: _digest_of(layout.root / need, phase) for need in phase.needs} | dict(sources)


def finish(started: Started, *, outputs: Mapping[str, str], counts: Mapping[str, Any] | None = None, device: str = "cpu") -> None:
    """Write the manifest. outputs: {name: digest} of all that a later phase may read."""
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
            "classes": list(started.config.class_list.names),
            "version": importlib.metadata.version("selfsyn"),
            "device": device,
            "python": platform.python_version(),
            "libraries": installed(LIBRARIES),
            "wall_seconds": round(time.monotonic() - started.began, 2),
        },
    )
    (started.folder / STARTED).unlink(missing_ok=True)


def is_current(layout: Layout, phase: Phase) -> bool:
    """Whether the phase is finished with the current outputs of the phases that it needs. Data sets are not checked."""
    manifests = [read_manifest(folder) for folder in _finished(layout, phase)]
    return bool(manifests) and all(manifest is not None and made_from(layout, phase, manifest) for manifest in manifests)


def made_from(layout: Layout, phase: Phase, manifest: Mapping[str, Any]) -> bool:
    """Whether the inputs in `manifest`, of this phase in this or another run, equal the current outputs in this run of the phases
    that it needs."""
    try:
        return all(manifest["inputs"].get(need) == _digest_of(layout.root / need, phase) for need in phase.needs)
    except NotReadyError:
        return False


def inputs_of(layout: Layout, phase: Phase) -> list[Mapping[str, str]]:
    """The recorded inputs {name: digest} of a phase: of each finished folder, or of an unfinished attempt. [] when not begun."""
    records = [read_manifest(folder) for folder in _finished(layout, phase)] or [read_json(layout.root / phase.folder / STARTED)]
    return [record["inputs"] for record in records if record is not None and "inputs" in record]


def _digest_of(folder: Path, phase: Phase) -> str:
    manifest = read_manifest(folder)
    if manifest is None and folder.name in SHARDED and any(folder.glob("shard-*-of-*")):
        return digest_lines(_digest_of(shard, phase) for shard in finished_parts(folder))
    if manifest is None:
        raise NotReadyError(f"{folder}: not finished, but `selfsyn {phase.name}` needs it; run the phase that fills it first")
    return str(manifest["digest"])


def _refuse_changed(layout: Layout, folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    both = [name for name in changed if name in before and name in now]
    old = [name for name in both if contents.by_names_and_sizes(layout.inputs, now[name]) == before[name]]
    if old and changed == old:
        say(f"{folder}: from before contents were compared; names and sizes are unchanged ({', '.join(old)})")
    elif changed:
        told = ", ".join(_told(layout, name, before.get(name, ""), now.get(name, "")) for name in changed if name not in old)
        raise InputError(f"{folder}: made from other inputs ({told}); use --force to start over")


def _told(layout: Layout, name: str, before: str, now: str) -> str:
    what = contents.changes(layout.inputs, before, now)
    return f"{name} changed: {what}" if what else f"{name} changed"
