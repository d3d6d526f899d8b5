"""What each stage learns from, and the net that it starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from selfsyn.config import RunConfig
from selfsyn.data import sources
from selfsyn.data.frames import Frame, LabelledFrame, labelled
from selfsyn.data.mixing import Mix, by_source, mix_of
from selfsyn.flow import stage_before
from selfsyn.layout import ORACLE, SOURCE_ONLY, Layout
from selfsyn.pseudo_labels import LabelStore
from selfsyn.randomness import torch_seed
from selfsyn.task import TaskNet, build, load_weights
from selfsyn.task.examples import LabelledExample, Mixture, PseudoLabelledExample
from selfsyn.task.schedule import Schedule
from selfsyn.task.train import WEIGHTS


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
        return _mixture(config, stage, frames, mix=mix_of(frames, config.synthetic)), {"synthetic": digest}
    if stage == ORACLE:
        frames, digest = sources.oracle(layout, config)
        return _mixture(config, stage, frames, mix=mix_of(frames, config.real)), {"real with labels": digest}
    adapted = by_source(labelled(layout.adapted, layout="adapted"), config.synthetic)
    mix = mix_of(adapted, config.synthetic)
    round_ = int(stage.removeprefix("round-"))
    if round_ == 0:
        return _mixture(config, stage, adapted, mix=mix), {}
    store = LabelStore(layout.labels(round_))
    real_frames, digest = _labelled_frames(layout, config, store)
    real = round(config.train.batch * config.rounds.real_share_of(round_))
    plain = _mixture(config, stage, adapted, mix=mix)
    pseudo = [PseudoLabelledExample(frame, store, config.rounds.portion_of(round_)) for frame in real_frames]
    return replace(plain, pseudo=pseudo, pseudo_mix=mix_of(real_frames, config.real), real=real), {"real": digest}


def _labelled_frames(layout: Layout, config: RunConfig, store: LabelStore) -> tuple[list[Frame], str]:
    """The real images of the store, and the digest of the listing. InputError when one is missing that was not skipped."""
    frames, digest = sources.listed_real(layout, config)
    left = [frame for frame in frames if frame.name not in store.skipped]
    for frame in left:
        store.entry(frame.name)
    return left, digest


def _mixture(config: RunConfig, stage: str, frames: Sequence[LabelledFrame], *, mix: Mix) -> Mixture:
    return Mixture(
        labelled=[LabelledExample(frame) for frame in frames],
        labelled_mix=mix,
        batch=config.train.batch,
        size=config.size,
        augment=config.train.augment,
        seed=config.seed,
        purpose=f"train {stage}",
        class_mix=config.rounds.class_mix,
    )
