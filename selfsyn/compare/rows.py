"""The rows of the table, in order: source-only, rivals, our rounds, the oracle; and the ablations of our rounds."""

from __future__ import annotations

from dataclasses import replace

from selfsyn.compare.budget import budget
from selfsyn.compare.levers import LEVERS
from selfsyn.compare.rivals import RIVALS
from selfsyn.compare.row import WITHOUT, Row, source_only
from selfsyn.config import RunConfig
from selfsyn.stage import ORACLE, SOURCE_ONLY, round_stage

OURS, TEACHER = "ours", "ours-teacher"


def _oracle(config: RunConfig, rounds: int) -> RunConfig:
    return replace(config.without_student, train=replace(config.train, oracle_steps=budget(config, rounds=rounds)))


ROWS = (
    Row("source-only", "source-only", "unadapted synthetic images", source_only, lambda last: SOURCE_ONLY),
    *RIVALS,
    Row(OURS, "ours", "the rounds of the run", lambda config, rounds: config, round_stage),
    Row(
        TEACHER,
        "ours, the student's teacher",
        "our rounds before the student's: the net of [task] that labels for it",
        lambda config, rounds: config,
        lambda last: round_stage(last - 1),
        fits=lambda config: config.student is not None,
    ),
    Row("oracle", "oracle", "real images with ground truth: an upper bound, not a method", _oracle, lambda last: ORACLE),
)


def ablations(config: RunConfig) -> tuple[Row, ...]:
    """An ablation for each lever that `config` uses: our rounds without it."""
    return tuple(
        Row(
            f"{WITHOUT}{lever.name}",
            f"without {lever.title}",
            lever.words,
            lambda config, rounds, off=lever.off: off(config),  # type: ignore[misc]
            round_stage,
        )
        for lever in LEVERS
        if lever.off(config) != config
    )
