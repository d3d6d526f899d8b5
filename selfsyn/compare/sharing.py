"""Rows share equal phases: a finished phase is hard-linked into the run folders of other rows that need the same phase."""

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
from selfsyn.data.sources import CORRECTIONS
from selfsyn.errors import FaultError
from selfsyn.files import TEMPORARY, digest_lines
from selfsyn.flow import Phase
from selfsyn.manifest import read_manifest
from selfsyn.phase import made_from
from selfsyn.stage import ORACLE, SOURCE_ONLY
from selfsyn.task.schedule import schedule_of

# The sections of run.toml in which rows differ. A verb depends on those in its `settings`, and on all other sections.
CHANGED = ("adapter.", "task.", "student.", "train.", "rounds.", "rival.", "teacher.")
OF_STORED_LABELS = (
    "classmix",
    "rcs_temperature",
    "mask_ratio",
    "mask_block_size",
)  # levers that act only on stored pseudo-labels
OF_PSEUDO_LABELS = ("symmetric_cross_entropy", "rectify")  # levers that act on stored and on EMA pseudo-labels


def fingerprints(entry: Entry) -> dict[str, str]:
    """{folder of a phase: digest of its name, its settings, and the fingerprints of the phases that it needs}.

    Phases with equal fingerprints write the same output.
    """
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
    """Link the phase's folder from an entry that has finished the same phase -> the folder of that entry, or None.

    A training with corrections is not shared: every row of a comparison trains without real labels, except the oracle.
    """
    folder = entry.root / phase.folder
    if folder.exists():  # the entry's own attempt, to be resumed
        return None
    wanted = fingerprints(entry)[phase.folder]
    for other in others:
        manifest = read_manifest(other.root / phase.folder)
        if manifest is None or fingerprints(other).get(phase.folder) != wanted:
            continue
        if CORRECTIONS not in manifest["inputs"] and made_from(entry.layout, phase, manifest):
            _link(other.root / phase.folder, folder)
            return other.root / phase.folder
    return None


def _seen_by(config: RunConfig, phase: Phase) -> RunConfig:
    """The configuration without the settings that the phase does not read, so that equal phases have equal settings.

    [task] is the net of the stage, the student's in its round, and there is no [student]. A bound has no rounds; a round has
    only its own values.
    """
    stage = phase.stage
    if stage is None or phase.verb not in ("train", "export-teacher"):
        return config.without_student
    config = config.of_stage(stage).without_student
    if phase.verb == "export-teacher":  # the effective views, however run.toml gives them
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
    if round_ == 0:  # round 0 has no stored pseudo-labels
        idle = OF_STORED_LABELS if rounds.ema_pseudo_labels else OF_STORED_LABELS + OF_PSEUDO_LABELS
        plain = {name: getattr(Rounds(), name) for name in idle}
        return replace(one, real_share=(0.0,), kept_fraction=(1.0,), **plain)
    return replace(one, real_share=(0.0, rounds.real_share_of(round_)), kept_fraction=(rounds.kept_fraction_of(round_),))


def _fills(folder: str, need: str) -> bool:
    return folder == need or folder.startswith(f"{need}/")


def _link(source: Path, target: Path) -> None:
    """Make `target` a folder of hard links to the files of `source`, atomically. Safe because no job edits a file in place."""
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
        temporary.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise FaultError(
            f"{target}: cannot make hard links to {source} ({error}); put the run folder on a file system with hard links"
        ) from error
