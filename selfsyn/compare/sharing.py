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
from selfsyn.config import Rounds, RunConfig
from selfsyn.errors import FaultError
from selfsyn.files import TEMPORARY, digest_lines
from selfsyn.flow import Phase
from selfsyn.layout import ORACLE, SOURCE_ONLY
from selfsyn.phase import made_from, read_manifest

# Of the sections that rows may change, those that a verb reads; every other section counts for every verb.
CHANGED = ("adapter.", "task.", "train.", "rounds.", "teacher.")
READ = {
    "world": (),
    "train": ("task.", "train.", "rounds."),
    "fit-adapter": ("adapter.", "task."),
    "adapt": ("adapter.",),
    "export-teacher": ("task.", "teacher."),
    "pseudo-label": ("teacher.",),
    "evaluate": ("teacher.", "rounds.portion"),  # the portion is what its calibration reports on
}
OF_PSEUDO_LABELS = ("class_mix", "rare", "robust", "soft", "rectify", "confidence")  # what acts on them alone


def fingerprint(entry: Entry, phase: Phase) -> str:
    """A digest of everything that decides what `phase` writes: its verb, what it reads of the configuration, what it needs."""
    read = READ[phase.verb]
    leaves = configuration.flat(_seen_by(entry.config, phase)).items()
    lines = [f"{key}={value!r}" for key, value in leaves if not key.startswith(CHANGED) or key.startswith(read)]
    before = [other for other in entry.phases if any(_fills(other, need) for need in phase.needs)]
    return digest_lines([phase.name, *lines, *(fingerprint(entry, other) for other in before)])


def shared(entry: Entry, phase: Phase, others: Iterable[Entry]) -> Path | None:
    """Link the phase's folder from an entry that has finished the same phase; -> where from, or None when nobody has."""
    folder = entry.root / phase.folder
    if folder.exists():  # an attempt of its own, which goes on
        return None
    wanted = fingerprint(entry, phase)
    for other in others:
        theirs = next((one for one in other.phases if one.folder == phase.folder), None)
        manifest = read_manifest(other.root / phase.folder) if theirs else None
        if theirs and manifest and fingerprint(other, theirs) == wanted and made_from(entry.layout, phase, manifest):
            _link(other.root / phase.folder, folder)
            return other.root / phase.folder
    return None


def _seen_by(config: RunConfig, phase: Phase) -> RunConfig:
    """The configuration without what a training does not read: the bounds no rounds, a round only what is said about it."""
    if phase.verb != "train":
        return config
    stage = phase.folder.split("/")[0]
    steps = config.train.steps if stage == SOURCE_ONLY else 0
    train = replace(config.train, steps=steps, oracle_steps=config.train.oracle_steps if stage == ORACLE else 0)
    rounds = Rounds() if stage in (SOURCE_ONLY, ORACLE) else _of_round(config.rounds, int(stage.removeprefix("round-")))
    return replace(config, train=train, rounds=rounds)


def _of_round(rounds: Rounds, round_: int) -> Rounds:
    rate, start = rounds.learning_rate_of(round_), (rounds.start_of(round_),)
    one = replace(rounds, steps=rounds.steps_of(round_), learning_rate=rate, start=start)
    if round_ == 0:  # it has no pseudo-labels
        plain = {name: getattr(Rounds(), name) for name in OF_PSEUDO_LABELS}
        return replace(one, real_share=(0.0,), portion=(1.0,), **plain)
    return replace(one, real_share=(0.0, rounds.real_share_of(round_)), portion=(rounds.portion_of(round_),))


def _fills(phase: Phase, need: str) -> bool:
    return phase.folder == need or phase.folder.startswith(f"{need}/")


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
