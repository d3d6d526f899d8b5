"""What a run folder holds so far: its phases, its scores, its curves. Only finished phases count. Never imports torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsyn.config import RunConfig
from selfsyn.errors import NotReadyError
from selfsyn.files import digest_file
from selfsyn.flow import Phase, adapt_phase, phases, pseudo_label_phase
from selfsyn.layout import ORACLE, SOURCE_ONLY, Layout, round_stage
from selfsyn.manifest import ADAPTED, MANIFEST, adapted_parts, read_manifest
from selfsyn.pseudo_labels import LabelStore

Curves = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


@dataclass(frozen=True)
class Step:
    """A phase of the run with its manifest, None while it is unfinished."""

    phase: Phase
    manifest: Mapping[str, Any] | None


@dataclass(frozen=True)
class Score:
    """A stage's metrics.json (ARCHITECTURE, section 3) and the manifest of the evaluation that wrote it."""

    stage: str
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
        if folder.name != ADAPTED:
            return (folder / MANIFEST).exists()
        try:
            return bool(adapted_parts(folder))
        except NotReadyError:
            return False

    @property
    def adapters(self) -> tuple[int, ...]:
        """The rounds before which an adapter was fitted (Rounds.adapters), as far as that is finished."""
        return tuple(k for k in self.config.rounds.adapters(self.last_round) if self.has(self.layout.adapter(k)))

    @property
    def adaptations(self) -> tuple[int, ...]:
        """The same of the adapted images."""
        return tuple(k for k in self.config.rounds.adapters(self.last_round) if self.has(self.layout.adapted(k)))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages whose training is finished, in the order of the flow."""
        return tuple(stage for stage in _stages(self.last_round) if self.has(self.layout.task(stage)))


def collect(layout: Layout, config: RunConfig) -> Run:
    """Look through the run folder. NotReadyError when no phase is finished yet."""
    last_round = _last_round(layout.root)
    steps = tuple(_steps(layout, config, last_round))
    if all(step.manifest is None for step in steps):
        raise NotReadyError(f"{layout.root}: no phase is finished, so there is nothing to report; run `selfsyn round` first")
    scores = tuple(_scores(layout, last_round))
    return Run(layout, config, last_round, steps, scores, _complete_stores(layout, last_round))


def manifest_digests(run: Run) -> dict[str, str]:
    """{'round-0/task/manifest.json': digest} of every finished phase: what the page is made from."""
    names = [f"{step.phase.folder}/{MANIFEST}" for step in run.finished]
    return {name: digest_file(run.layout.root / name) for name in names}


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


def _last_round(root: Path) -> int:
    found = [*root.glob(f"round-*/*/{MANIFEST}"), *root.glob(f"round-*/labels/shard-*/{MANIFEST}")]
    names = [path.relative_to(root).parts[0].removeprefix("round-") for path in found]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _stages(last_round: int) -> tuple[str, ...]:
    return (SOURCE_ONLY, *(round_stage(k) for k in range(last_round + 1)), ORACLE)


def _steps(layout: Layout, config: RunConfig, last_round: int) -> Iterator[Step]:
    with_bounds = (layout.root / ORACLE).exists()
    for phase in phases(config, rounds=last_round, with_bounds=with_bounds):
        round_ = int(phase.arguments[1]) if "--round" in phase.arguments else 0
        if phase.verb == "pseudo-label":
            yield from _shard_steps(layout.labels(round_), partial(pseudo_label_phase, config, round_=round_))
        elif phase.verb == "adapt" and not (layout.adapted(round_) / MANIFEST).exists():
            yield from _shard_steps(layout.adapted(round_), partial(adapt_phase, config, round_=round_))
        elif phase.verb != "report":
            yield Step(phase, read_manifest(layout.root / phase.folder))


def _shard_steps(folder: Path, cut: Callable[..., Phase]) -> Iterator[Step]:
    # The flow knows one shard; how many there are is decided when the job is started, so the folders say it.
    finished = sorted(path.parent for path in folder.glob(f"shard-*-of-*/{MANIFEST}"))
    for shard_folder in finished:
        _, shard, _, shards = shard_folder.name.split("-")
        yield Step(cut(shard=int(shard), shards=int(shards)), read_manifest(shard_folder))
    if not finished:
        yield Step(cut(), None)


def _scores(layout: Layout, last_round: int) -> Iterator[Score]:
    for stage in _stages(last_round):
        manifest = read_manifest(layout.evaluation(stage))
        if manifest is not None:
            metrics = json.loads((layout.evaluation(stage) / "metrics.json").read_text())
            yield Score(stage, metrics, manifest)


def _complete_stores(layout: Layout, last_round: int) -> dict[int, LabelStore]:
    stores = {}
    for round_ in range(1, last_round + 1):
        try:
            stores[round_] = LabelStore(layout.labels(round_))
        except NotReadyError:  # still being labelled: the list of phases says so
            continue
    return stores
