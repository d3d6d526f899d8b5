"""What each stage learns from, and the net that it starts with."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selfsyn.config import RunConfig
from selfsyn.data import sources
from selfsyn.data.frames import LabelledFrame, labelled
from selfsyn.flow import stage_before
from selfsyn.layout import ORACLE, SOURCE_ONLY, Layout
from selfsyn.pseudo_labels import LabelStore
from selfsyn.randomness import torch_seed
from selfsyn.task import TaskNet, build, load_weights
from selfsyn.task.examples import LabelledExample, Mixture, PseudoLabelledExample
from selfsyn.task.train import WEIGHTS, Schedule


def first_net(layout: Layout, config: RunConfig, *, stage: str) -> TaskNet:
    """The net that a stage starts with: the stage before, or else the pretrained backbone and new layers from (seed, stage).

    A checkpoint of the stage's own goes before both; `fit` looks for it. InputError when the weights cannot be had.
    """
    torch.manual_seed(torch_seed(config.seed, f"new net {stage}"))
    before = stage_before(stage)
    net = build(config.task, pretrained=before is None)
    if before is not None:
        load_weights(net, layout.task(before) / WEIGHTS)
    return net


def schedule_of(config: RunConfig, *, stage: str) -> Schedule:
    """How long a stage trains, and how fast."""
    train, rounds = config.train, config.rounds
    if stage == SOURCE_ONLY:
        return Schedule(steps=train.steps, learning_rate=train.learning_rate, warmup_steps=train.warmup_steps)
    if stage == ORACLE:
        return Schedule(steps=train.oracle_steps, learning_rate=train.learning_rate, warmup_steps=train.warmup_steps)
    return Schedule(steps=rounds.steps, learning_rate=rounds.learning_rate, warmup_steps=train.warmup_steps)


def mixture_of(layout: Layout, config: RunConfig, *, stage: str) -> tuple[Mixture, dict[str, str]]:
    """The training mixture of a stage, and the digests of the data sets that it reads.

    source-only: synthetic images as they are.  oracle: real images with their labels, a bound.  round-0: adapted images.
    round-K: adapted images and the pseudo-labelled real images of label store K.
    """
    if stage == SOURCE_ONLY:
        frames, digest = sources.synthetic(layout, config)
        return _mixture(config, stage, labelled_frames=frames), {"synthetic": digest}
    if stage == ORACLE:
        frames, digest = sources.oracle(layout, config)
        return _mixture(config, stage, labelled_frames=frames), {"real with labels": digest}
    adapted = labelled(layout.adapted, layout="adapted")
    round_ = int(stage.removeprefix("round-"))
    if round_ == 0:
        return _mixture(config, stage, labelled_frames=adapted), {}
    pseudo, digest = _pseudo_labelled(layout, config, round_=round_)
    real = round(config.train.batch * config.rounds.real_share_of(round_))
    return _mixture(config, stage, labelled_frames=adapted, pseudo=pseudo, real=real), {"real": digest}


def _pseudo_labelled(layout: Layout, config: RunConfig, *, round_: int) -> tuple[list[PseudoLabelledExample], str]:
    frames, digest = sources.real(layout, config)
    store = LabelStore(layout.labels(round_))
    portion = config.rounds.portion_of(round_)
    return [PseudoLabelledExample(frame, store, portion) for frame in frames], digest


def _mixture(
    config: RunConfig,
    stage: str,
    *,
    labelled_frames: Sequence[LabelledFrame],
    pseudo: Sequence[PseudoLabelledExample] = (),
    real: int = 0,
) -> Mixture:
    return Mixture(
        labelled=[LabelledExample(frame) for frame in labelled_frames],
        pseudo=pseudo,
        batch=config.train.batch,
        real=real,
        size=config.size,
        augment=config.train.augment,
        seed=config.seed,
        purpose=f"train {stage}",
        class_mix=config.rounds.class_mix,
    )
