"""What rows have in common is computed once: a finished phase of one row is hard-linked into another that would do the same."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from selfsyn import config as configuration
from selfsyn.compare.plan import Entry
from selfsyn.config import Rival, Rounds, RunConfig
from selfsyn.errors import FaultError
from selfsyn.files import TEMPORARY, digest_lines
from selfsyn.flow import Phase
from selfsyn.manifest import read_manifest
from selfsyn.phase import made_from
from selfsyn.stage import ORACLE, SOURCE_ONLY
from selfsyn.task.schedule import schedule_of

# The sections of run.toml in which rows differ: a verb reads those in its `settings` alone, and all others.
CHANGED = ("adapter.", "task.", "student.", "train.", "rounds.", "rival.", "teacher.")
OF_STORED_LABELS = ("classmix", "rcs_temperature", "mask_ratio", "mask_block_size")  # what acts on them alone
OF_PSEUDO_LABELS = ("symmetric_cross_entropy", "rectify")  # what acts on them and on online ones


def fingerprints(entry: Entry) -> dict[str, str]:
    """{folder of a phase: a digest of everything that decides what it writes}: its verb, what it reads, and what it needs."""
    prints: dict[str, str] = {}
    for phase in entry.phases:
        read = phase.facts.settings
        leaves = configuration.flat(_seen_by(entry.config, phase)).items()
        lines = [f"{key}={value!r}" for key, value in leaves if not key.startswith(CHANGED) or key.startswith(read)]
        if phase.verb == "train" and phase.stage:
            lines.append(str(schedule_of(entry.config, stage=phase.stage)))
        before = [prints[folder] for folder in prints if any(_fills(folder, need) for need in phase.needs)]
        prints[phase.folder] = digest_lines([phase.name, *lines, *before])
    return prints


def shared(entry: Entry, phase: Phase, others: Iterable[Entry]) -> Path | None:
    """Link the phase's folder from an entry that has finished the same phase; -> where from, or None when nobody has."""
    folder = entry.root / phase.folder
    if folder.exists():  # an attempt of its own, which goes on
        return None
    wanted = fingerprints(entry)[phase.folder]
    for other in others:
        manifest = read_manifest(other.root / phase.folder)
        if manifest is None or fingerprints(other).get(phase.folder) != wanted:
            continue
        if made_from(entry.layout, phase, manifest):
            _link(other.root / phase.folder, folder)
            return other.root / phase.folder
    return None


def _seen_by(config: RunConfig, phase: Phase) -> RunConfig:
    """The configuration without what a training does not read: the bounds no rounds, a round only what is said about it.

    A stage's own net stands for both: what a student reads is its own, what all others read has no student.
    """
    stage = phase.stage
    if stage is None or phase.verb not in ("train", "export-teacher"):
        return replace(config, student=None)
    config = replace(config.of_stage(stage), student=None)
    if phase.verb == "export-teacher":  # what the views are, not how run.toml says it
        return replace(config, teacher=replace(config.teacher_of(stage), views="every"))
    steps = config.train.steps if stage == SOURCE_ONLY else 0
    train = replace(config.train, steps=steps, oracle_steps=config.train.oracle_steps if stage == ORACLE else 0)
    if stage.round is None:
        return replace(config, train=train, rounds=Rounds(), rival=Rival())
    rival = config.rival if config.rival.method else Rival()
    return replace(config, train=train, rounds=_of_round(config.rounds, stage.round), rival=rival)


def _of_round(rounds: Rounds, round_: int) -> Rounds:
    rate, start = rounds.learning_rate_of(round_), (rounds.start_of(round_),)
    one = replace(rounds, steps=rounds.steps_of(round_), learning_rate=rate, start=start)
    if round_ == 0:  # it has no pseudo-labels but online ones
        idle = OF_STORED_LABELS if rounds.ema_pseudo_labels else OF_STORED_LABELS + OF_PSEUDO_LABELS
        plain = {name: getattr(Rounds(), name) for name in idle}
        return replace(one, real_share=(0.0,), kept_fraction=(1.0,), **plain)
    return replace(one, real_share=(0.0, rounds.real_share_of(round_)), kept_fraction=(rounds.kept_fraction_of(round_),))


def _fills(folder: str, need: str) -> bool:
    return folder == need or folder.startswith(f"{need}/")


def _link(source: Path, target: Path) -> None:
    """`target` becomes a folder of hard links to the files of `source`, at once. Nothing of ours writes into a file in place."""
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
        temporary.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise FaultError(f"{target}: no hard links to {source} ({error}); the comparison needs a disk that has them") from error
