"""The number of updates of a task model, and the learning rate of each."""

from __future__ import annotations

from dataclasses import dataclass

from selfsyn.config import RunConfig
from selfsyn.errors import InputError
from selfsyn.flow import stage_before
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage

DECAY_POWER = 0.9  # of the poly schedule (Chen et al. 2018)


@dataclass(frozen=True)
class Schedule:
    """The schedule of a stage.

    steps: updates.  learning_rate: of the backbone, at its peak.  warmup_steps: updates of linear warm-up.
    done, whole: where several stages share a schedule, the updates before this stage and those of all stages; whole 0: the
    stage has a schedule of its own.
    """

    steps: int
    learning_rate: float
    warmup_steps: int
    done: int = 0
    whole: int = 0


def learning_rate(step: int, *, schedule: Schedule) -> float:
    """The backbone's rate: (1 - t) ** 0.9 of the peak, t the share of the steps that are done, times a linear warm-up."""
    position = schedule.done + step
    warm = min(1.0, (position + 1) / max(1, schedule.warmup_steps))
    done = position / (schedule.whole or schedule.steps)
    return schedule.learning_rate * warm * (1 - done) ** DECAY_POWER


def schedule_of(config: RunConfig, *, stage: Stage) -> Schedule:
    """The schedule of a stage. InputError for a round that would continue a schedule that has ended."""
    train, rounds = config.train, config.rounds
    if stage == ORACLE:
        return Schedule(steps=train.oracle_steps, learning_rate=train.learning_rate, warmup_steps=train.warmup_steps)
    together = _one_schedule(config, stage=stage)
    before = together[: together.index(stage)]
    first = together[0]
    rate = train.learning_rate if first.round is None else rounds.learning_rate_of(first.round)
    return Schedule(
        steps=_steps_of(config, stage),
        learning_rate=rate,
        warmup_steps=train.warmup_steps,
        done=sum(_steps_of(config, other) for other in before),
        whole=sum(_steps_of(config, other) for other in together),
    )


def continued(config: RunConfig, *, stage: Stage) -> Stage | None:
    """The stage whose training `stage` continues with its optimizer state; None if it starts a new training (rounds.start)."""
    if stage.round is None or config.rounds.start_of(stage.round) != "continue":
        return None
    return stage_before(config, stage=stage)


def _one_schedule(config: RunConfig, *, stage: Stage) -> list[Stage]:
    """All stages that share the learning-rate schedule of `stage`, itself included."""
    planned = [round_stage(round_) for round_ in range(len(config.rounds.real_share))]
    groups: list[list[Stage]] = []
    for one in (SOURCE_ONLY, *planned):
        if continued(config, stage=one) is None:
            groups.append([one])
        else:
            groups[-1].append(one)
    found = next((group for group in groups if stage in group), [stage])
    if found == [stage] and continued(config, stage=stage) is not None:
        raise InputError(
            f"run.toml: {stage} would continue a schedule that ends with {planned[-1]}, the last round in rounds.real_share;"
            " list more rounds there before the first training, or set rounds.start to 'warm' for {stage}"
        )
    return found


def _steps_of(config: RunConfig, stage: Stage) -> int:
    return config.train.steps if stage.round is None else config.rounds.steps_of(stage.round)
