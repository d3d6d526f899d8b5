"""How long a task model trains, and how fast at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

DECAY_POWER = 0.9  # of the poly schedule (Chen et al. 2018)


@dataclass(frozen=True)
class Schedule:
    """How long a stage trains and how fast: updates, the backbone's first learning rate, updates of linear warm-up."""

    steps: int
    learning_rate: float
    warmup_steps: int


def learning_rate(step: int, *, schedule: Schedule, decay: str = "poly") -> float:
    """Linear warm-up, then decay to zero at the last step: (1 - t) ** 0.9, or half a cosine (Loshchilov & Hutter 2017, eq. 5)."""
    warm = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    done = step / schedule.steps
    left = (1 - done) ** DECAY_POWER if decay == "poly" else (1 + math.cos(math.pi * done)) / 2
    return schedule.learning_rate * warm * left
