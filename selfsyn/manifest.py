"""The manifest in the folder of a finished phase, and the shards of a folder. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsyn.errors import NotReadyError
from selfsyn.files import read_json
from selfsyn.stage import parse
from selfsyn.verbs import VERBS

MANIFEST = "manifest.json"
SHARDED = {verb.writes: verb.name for verb in VERBS.values() if verb.sharded}  # {folder that may hold shards: verb that fills it}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished phase, or None. InputError for a file that is no JSON object."""
    return read_json(folder / MANIFEST)


def finished_manifest(folder: Path, *, verb: str) -> dict[str, Any]:
    """The manifest of a finished phase. NotReadyError with the verb to run if the phase is unfinished."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise NotReadyError(f"{folder}: not finished; run `{_command(folder, verb)}` first")
    return manifest


def finished_parts(folder: Path) -> Sequence[Path]:
    """The folders with the output of a phase: `folder` itself, or all its shards.

    NotReadyError when a shard is missing, or when there are shards of different shard counts.
    """
    if read_manifest(folder) is not None:
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"shard-*-of-*/{MANIFEST}"))
    if not found:
        raise NotReadyError(f"{folder}: no finished shard; run `{_command(folder, SHARDED.get(folder.name, 'round'))}` first")
    totals = {int(path.name.rsplit("-", 1)[1]) for path in found}
    if len(totals) > 1 or len(found) != totals.pop():
        raise NotReadyError(f"{folder}: {len(found)} finished shards {[p.name for p in found]}; finish or delete the rest")
    return found


def _command(folder: Path, verb: str) -> str:
    """The command that fills a folder of a run: RUN/round-1/labels -> 'selfsyn pseudo-label --run RUN --round 1'."""
    stage = parse(folder.parent.name)
    return f"selfsyn {verb}" + (f" --run {folder.parent.parent} {' '.join(stage.arguments)}" if stage else "")
