"""What a run folder holds so far: its phases, its scores, its curves. Only finished phases count. Never imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.classes import ClassList
from selfsyn.config import RunConfig
from selfsyn.errors import NotReadyError
from selfsyn.files import digest_file
from selfsyn.flow import Phase, phases
from selfsyn.layout import Layout
from selfsyn.manifest import MANIFEST, SHARDED, finished_parts, read_manifest
from selfsyn.pseudo_labels import LabelStore
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage

COMPARISON = "compare/table.json"  # written by `selfsyn compare`
Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class Step:
    """A phase of the run with its manifest, None while it is unfinished."""

    phase: Phase
    manifest: Mapping[str, Any] | None


@dataclass(frozen=True)
class Score:
    """A stage's metrics.json (ARCHITECTURE, section 3) and the manifest of the evaluation that wrote it."""

    stage: Stage
    metrics: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def miou(self) -> float:
        """The mean over the classes that have a ground truth, in 0..1."""
        return float(self.metrics["miou"])


@dataclass(frozen=True)
class Run:
    """A run as far as it is finished.

    last_round: the highest round with a finished phase.  steps: every phase up to it, in the order of the flow.
    scores: the evaluated stages, in the order of the flow.  stores: the complete label stores by round.
    """

    layout: Layout
    config: RunConfig
    last_round: int
    steps: tuple[Step, ...]
    scores: tuple[Score, ...]
    stores: Mapping[int, LabelStore]

    @property
    def finished(self) -> tuple[Step, ...]:
        """The steps that have a manifest."""
        return tuple(step for step in self.steps if step.manifest is not None)

    def has(self, folder: Path) -> bool:
        """Whether the phase that fills `folder` is finished, in all its shards."""
        if folder.name not in SHARDED:
            return (folder / MANIFEST).exists()
        try:
            return bool(finished_parts(folder))
        except NotReadyError:
            return False

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose training is finished, in the order of the flow."""
        return tuple(stage for stage in _stages(self.last_round) if self.has(self.layout.task(stage)))


def collect(layout: Layout, config: RunConfig) -> Run:
    """Look through the run folder. NotReadyError when no phase is finished yet."""
    last_round = layout.last_round(f"*/{MANIFEST}", f"labels/shard-*/{MANIFEST}") or 0
    steps = tuple(_steps(layout, config, last_round))
    if all(step.manifest is None for step in steps):
        raise NotReadyError(f"{layout.root}: no phase is finished, so there is nothing to report; run `selfsyn round` first")
    scores = tuple(_scores(layout, last_round))
    return Run(layout, config, last_round, steps, scores, _complete_stores(layout, last_round, config.class_list))


def manifest_digests(run: Run) -> dict[str, str]:
    """{'round-0/task/manifest.json': digest} of every finished phase, and of the comparison: what the page is made from."""
    names = [f"{step.phase.folder}/{MANIFEST}" for step in run.finished]
    names += [COMPARISON] if (run.layout.root / COMPARISON).exists() else []
    return {name: digest_file(run.layout.root / name) for name in names}


def packed(folder: str) -> str:
    """The place of a phase's manifest in a report, which keeps a copy of each: a copied report opens with its links."""
    return f"manifests/{folder}.json"


def manifests(run: Run) -> dict[str, bytes]:
    """{place in the report: bytes of the manifest} of every finished phase."""
    folders = [step.phase.folder for step in run.finished]
    return {packed(folder): (run.layout.root / folder / MANIFEST).read_bytes() for folder in folders}


def read_curves(path: Path) -> Curves:
    """history.jsonl -> {key: (steps, values)}, both (N,) float64; keys in the order of their first appearance.

    A step written twice (a resumed training) counts once, the later row. Values that are no finite number are left out.
    """
    if not path.exists():
        return {}
    rows = {row["step"]: row for row in map(json.loads, path.read_text().splitlines())}
    points: dict[str, list[tuple[float, float]]] = {}
    for step in sorted(rows):
        for key, value in rows[step].items():
            if key != "step" and _is_number(value):
                points.setdefault(key, []).append((float(step), float(value)))
    return {key: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for key, pairs in points.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _stages(last_round: int) -> tuple[Stage, ...]:
    return (SOURCE_ONLY, *(round_stage(k) for k in range(last_round + 1)), ORACLE)


def _steps(layout: Layout, config: RunConfig, last_round: int) -> Iterator[Step]:
    with_bounds = (layout.root / ORACLE.name).exists()
    for phase in phases(config, rounds=last_round, with_bounds=with_bounds)[:-1]:  # without the report
        if phase.facts.sharded and read_manifest(layout.root / phase.whole) is None:
            yield from _shard_steps(layout, phase)
        else:
            yield Step(phase, read_manifest(layout.root / phase.folder))


def _shard_steps(layout: Layout, phase: Phase) -> Iterator[Step]:
    # The flow knows one shard; how many there are is decided when the job is started, so the folders say it.
    finished = sorted((layout.root / phase.whole).glob(f"shard-*-of-*/{MANIFEST}"))
    for manifest in finished:
        _, shard, _, shards = manifest.parent.name.split("-")
        yield Step(replace(phase, shard=(int(shard), int(shards))), read_manifest(manifest.parent))
    if not finished:
        yield Step(phase, None)


def _scores(layout: Layout, last_round: int) -> Iterator[Score]:
    for stage in _stages(last_round):
        manifest = read_manifest(layout.evaluation(stage))
        if manifest is not None:
            metrics = json.loads((layout.evaluation(stage) / "metrics.json").read_text())
            yield Score(stage, metrics, manifest)


def _complete_stores(layout: Layout, last_round: int, classes: ClassList) -> dict[int, LabelStore]:
    stores = {}
    for round_ in range(1, last_round + 1):
        try:
            stores[round_] = LabelStore(layout.labels(round_), classes)
        except NotReadyError:  # still being labelled: the list of phases says so
            continue
    return stores
