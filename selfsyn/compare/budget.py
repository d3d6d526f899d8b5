"""The training budget of a row and its actual cost, in updates of task models and training images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from selfsyn.config import RunConfig
from selfsyn.flow import Phase
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC
from selfsyn.task.stages import sizes_of

ADAPTER = ("adapter", "adapted")


@dataclass(frozen=True)
class Cost:
    """The cost of a row for one seed.

    updates: of the scored net and of the nets that it depends on (initial weights, pseudo-labels).
    synthetic, pseudo, unlabelled, labelled: images in the batches of these updates, with repetitions: synthetic, real with
    pseudo-labels, real without stored labels, real with ground truth.
    besides: updates of the adapter's frozen net, if it is none of these nets.
    """

    updates: int
    synthetic: int
    pseudo: int
    unlabelled: int
    labelled: int
    besides: int


def budget(config: RunConfig, *, rounds: int) -> int:
    """The number of updates that lead to the net of round `rounds`: the budget of every row.

    It includes the source-only training, unless round 0 starts from the pretrained backbone. With a [student], it is the budget
    of the net of [task]: the updates of the student come on top in our row, as its rounds' labels come from the larger net.
    """
    rounds = rounds if config.student is None else min(rounds, config.last_round - 1)
    before = 0 if config.rounds.start_of(0) == "fresh" else config.train.steps
    return before + sum(config.rounds.steps_of(round_) for round_ in range(rounds + 1))


def steps_of(config: RunConfig, stage: Stage) -> int:
    """The number of updates of a stage."""
    if stage.round is not None:
        return config.rounds.steps_of(stage.round)
    return config.train.steps if stage == SOURCE_ONLY else config.train.oracle_steps


def cost(config: RunConfig, flow: Sequence[Phase], *, stage: Stage) -> Cost:
    """The cost of the net of `stage`, trained by the phases `flow` of a row."""
    chain = needed(flow, goal=f"{stage}/task", beyond=ADAPTER)
    own, all_ = ([phase.stage for phase in some if phase.verb == "train" and phase.stage] for some in (chain, flow))
    updates = sum(steps_of(config, one) for one in own)
    images: Counter[str] = Counter()
    for one in own:
        for part, size in sizes_of(config, stage=one).items():
            images["labelled" if one == ORACLE else part] += steps_of(config, one) * size
    return Cost(
        updates,
        synthetic=images[SYNTHETIC],
        pseudo=images[PSEUDO] + images[MASKED],
        unlabelled=images[ONLINE] + images[BARE],
        labelled=images["labelled"],
        besides=sum(steps_of(config, one) for one in all_ if one not in own),
    )


def needed(flow: Sequence[Phase], *, goal: str, beyond: Sequence[str] = ()) -> tuple[Phase, ...]:
    """The phases of `flow` that fill the folder `goal`, and all that they need, except through the folders `beyond`."""
    wanted, kept = {goal}, []
    for phase in reversed(flow):
        if phase.whole in wanted:
            kept.append(phase)
            wanted |= set(phase.needs) - set(beyond)
    return tuple(reversed(kept))
