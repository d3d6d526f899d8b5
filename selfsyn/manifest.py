"""The manifest that a finished phase leaves in its folder, and the shards that a folder may be cut into. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsyn.errors import NotReadyError
from selfsyn.files import read_json

MANIFEST = "manifest.json"
ADAPTED = "adapted"  # the folder of adapted images, which may be cut into shards


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished phase, or None."""
    return read_json(folder / MANIFEST)


def finished_manifest(folder: Path, *, verb: str) -> dict[str, Any]:
    """The manifest of a finished phase. NotReadyError, naming the verb to run, without one."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise NotReadyError(f"{folder}: not finished; run `selfsyn {verb}` first")
    return manifest


def label_shards(labels: Path) -> Sequence[Path]:
    """The finished shard folders of a label store, all of one partition. NotReadyError when a shard is missing."""
    return _finished_shards(labels, verb="pseudo-label")


def adapted_parts(adapted: Path) -> Sequence[Path]:
    """The folders that hold the adapted images: one of them all, or finished shards. NotReadyError when one is missing."""
    return [adapted] if read_manifest(adapted) is not None else _finished_shards(adapted, verb="adapt")


def _finished_shards(folder: Path, *, verb: str) -> Sequence[Path]:
    found = sorted(path.parent for path in folder.glob(f"shard-*-of-*/{MANIFEST}"))
    if not found:
        raise NotReadyError(f"{folder}: no finished shard; run `selfsyn {verb}` first")
    totals = {int(path.name.rsplit("-", 1)[1]) for path in found}
    if len(totals) > 1 or len(found) != totals.pop():
        raise NotReadyError(f"{folder}: {len(found)} finished shards {[p.name for p in found]}; finish or delete the rest")
    return found
