"""Seg-Uncertainty (Zheng & Yang 2021): MRNet, then a second stage on its pseudo-labels with the rectified loss."""

from __future__ import annotations

from selfsyn.compare.budget import budget
from selfsyn.compare.rivals import mrnet
from selfsyn.compare.row import Row, with_rounds
from selfsyn.config import Rounds, RunConfig
from selfsyn.stage import round_stage


def _settings(config: RunConfig, rounds: int) -> RunConfig:
    # Half of the budget for each stage, as in the paper. Stage 2 uses all pseudo-labels and no synthetic images.
    whole = budget(config, rounds=rounds)
    # A student's rounds have the student's rate; stage 2 trains the net of stage 1.
    second = config.rounds.learning_rate_of(1) if config.student is None else config.train.learning_rate
    plan = Rounds(
        steps=(whole - whole // 2, whole // 2),
        learning_rate=(config.train.learning_rate, second),
        start=("fresh", "warm"),
        adapted=False,
        real_share=(0.0, 1.0),
        kept_fraction=(1.0,),
        rectify=True,
    )
    return with_rounds(config, plan, method=ROW.name)


ROW = Row(
    "seg-uncertainty",
    "Seg-Uncertainty, both stages",
    "half of the budget is stage 1, half trains only on its pseudo-labels with the rectified loss (Zheng & Yang 2021)",
    _settings,
    lambda last: round_stage(1),
    mrnet.terms,
)
