"""Free space on the run folder's disk, and an estimate (rather too large) of what the run will write."""

from __future__ import annotations

import shutil

from selfsyn.config import RunConfig
from selfsyn.doctor.codec import Codec
from selfsyn.doctor.findings import Finding
from selfsyn.doctor.machine import amount
from selfsyn.doctor.speed import Speed
from selfsyn.errors import NotReadyError
from selfsyn.flow import world_phase
from selfsyn.layout import Layout
from selfsyn.manifest import finished_parts, read_manifest
from selfsyn.stage import SOURCE_ONLY, round_stage

TASK_BYTES = 24  # per parameter of a task net: weights, average and two moments in the checkpoint, weights again, and ONNX
ADAPTER_BYTES = 32  # per parameter of a generator or discriminator: two of each, with moments, and the average


def to_write(
    layout: Layout, config: RunConfig, *, synthetic: int, real: int, codec: Codec | None, speed: Speed | None
) -> dict[str, int]:
    """Bytes of each unfinished part, up to the last round of the configuration.

    Assumes that adapted images are as large as the synthetic ones at working size, and confidences uncompressed. Without a
    codec everything counts uncompressed; without a speed the models are left out.
    """
    pixels = config.size[0] * config.size[1]
    image, label = (codec.image_bytes, codec.label_bytes) if codec else (3 * pixels, pixels)
    parts = {}
    if world_phase(config) and read_manifest(layout.world) is None:
        parts["world"] = sum(vars(config.rendered).values()) * 4 * pixels
    if config.rounds.adapted and read_manifest(layout.adapted) is None:
        parts["adapted"] = round(synthetic * (image + label))
    parts["labels"] = round(sum(not _labelled(layout, k) for k in range(1, config.last_round + 1)) * real * (label + pixels))
    return parts | ({"models": _models(layout, config, speed)} if speed else {})


def lacking(layout: Layout, parts: dict[str, int]) -> list[Finding]:
    """A finding if the disk is too small for `parts`."""
    free, need = shutil.disk_usage(layout.root).free, sum(parts.values())
    if free >= need:
        return []
    remedy = "make room, or put the run folder on another disk"
    return [Finding("machine", f"{layout.root}: {amount(free)} free, the run will write about {amount(need)}", remedy)]


def described(layout: Layout, parts: dict[str, int], *, last: int) -> str:
    """'66 GB; the run will write about 3 GB up to round 2 (adapted 2 GB, labels 1 GB)'. last: the last round."""
    named = ", ".join(f"{name} {amount(size)}" for name, size in parts.items() if size)
    models = "" if "models" in parts else ", and checkpoints and models in addition"
    need = f"about {amount(sum(parts.values()))} up to round {last} ({named})" if named else "nothing more"
    return f"{amount(shutil.disk_usage(layout.root).free)}; the run will write {need}{models}"


def _labelled(layout: Layout, round_: int) -> bool:
    try:
        return bool(finished_parts(layout.labels(round_)))
    except NotReadyError:
        return False


def _models(layout: Layout, config: RunConfig, speed: Speed) -> int:
    stages = [SOURCE_ONLY, *(round_stage(k) for k in range(config.last_round + 1))]
    unfinished = sum(read_manifest(layout.task(stage)) is None for stage in stages)
    unfitted = config.rounds.adapted and read_manifest(layout.adapter) is None
    return unfinished * speed.task_parameters * TASK_BYTES + unfitted * speed.adapter_parameters * ADAPTER_BYTES
