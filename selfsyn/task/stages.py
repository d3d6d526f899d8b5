"""What each stage learns from, and the net that it starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from selfsyn.config import RunConfig
from selfsyn.data import sources
from selfsyn.data.frames import Frame, LabelledFrame, labelled
from selfsyn.data.mixing import Mix, by_source, mix_of, prefix
from selfsyn.data.sampling import rare_classes
from selfsyn.flow import stage_before
from selfsyn.layout import Layout
from selfsyn.pseudo_labels import LabelStore
from selfsyn.randomness import torch_seed
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage
from selfsyn.task import TaskNet, build, load_weights
from selfsyn.task.examples import BareExample, Border, LabelledExample, PseudoLabelledExample, class_counts, colours_of_frames
from selfsyn.task.mixture import Mask, Mixture
from selfsyn.task.train import WEIGHTS


def first_net(layout: Layout, config: RunConfig, *, stage: Stage) -> TaskNet:
    """The net that a stage starts with: the stage before's (rounds.start), or the pretrained backbone and new layers from
    (seed, stage).

    A checkpoint of the stage's own goes before both; `fit` looks for it. InputError when the weights cannot be had.
    A fresh round 0 starts with the very net that source-only starts with: chance in new layers is no difference of methods.
    """
    torch.manual_seed(torch_seed(config.seed, f"new net {SOURCE_ONLY if stage == round_stage(0) else stage}"))
    before = stage_before(config, stage=stage)
    net = build(config.task_of(stage), pretrained=before is None)
    if before is not None:
        load_weights(net, layout.task(before) / WEIGHTS)
    return net


def check_student(config: RunConfig) -> None:
    """InputError when the student's net or weights cannot be had: said by the first training, not by the last."""
    if config.student is not None:
        build(config.student, pretrained=True)


def mixture_of(layout: Layout, config: RunConfig, *, stage: Stage) -> tuple[Mixture, dict[str, str]]:
    """The training mixture of a stage, and the digests of the data sets that it reads.

    source-only: synthetic images as they are.  oracle: real images with their labels, a bound.  round-0: adapted images.
    round-K: adapted images and the pseudo-labelled real images of label store K; both with bare real images, if asked for.
    Where `rounds.adapted` is false, synthetic images as they are stand for adapted ones.
    """
    if stage == SOURCE_ONLY:
        frames, digest = sources.synthetic(layout, config)
        return _mixture(config, stage, frames, mix=mix_of(frames, config.synthetic)), {"synthetic": digest}
    if stage == ORACLE:
        frames, digest = sources.oracle(layout, config)
        return _mixture(config, stage, frames, mix=mix_of(frames, config.real)), {"real with labels": digest}
    frames, mix, digests = _rounds_synthetic(layout, config)
    plain = _mixture(config, stage, frames, mix=mix)
    if not stage.round:
        if not (config.rounds.looks_at_real or config.rounds.colours):
            return plain, digests
        bare_frames, digest = sources.real(layout, config)
        return _with_unlabelled(plain, config, bare_frames), {**digests, "real": digest}
    store = LabelStore(layout.labels(stage.round))
    real_frames, digest = _labelled_frames(layout, config, store)
    real = config.real_in_batch(stage.round)
    portion = config.rounds.portion_of(stage.round)
    pseudo = [PseudoLabelledExample(frame, store, portion, _border(frame, config)) for frame in real_frames]
    mixture = replace(plain, pseudo=pseudo, pseudo_mix=mix_of(real_frames, config.real), real=real, mask=_mask(config, stage))
    return _with_unlabelled(mixture, config, real_frames), {**digests, "real": digest}


def _rounds_synthetic(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], Mix, dict[str, str]]:
    """The synthetic frames that a round learns from, how they are mixed, and the digests of the data sets read."""
    if config.rounds.adapted:
        adapted = by_source(labelled(layout.adapted, layout="adapted"), config.synthetic)
        return adapted, mix_of(adapted, config.synthetic), {}
    frames, digest = sources.synthetic(layout, config)
    return frames, mix_of(frames, config.synthetic), {"synthetic": digest}


def statistics_images(layout: Layout, config: RunConfig, *, stage: Stage) -> tuple[list[Frame], dict[str, str]]:
    """The real images on which the stage's net re-estimates its batch-norm statistics, and their digest; none for a bound."""
    if not config.rounds.statistics or stage.is_bound:
        return [], {}
    frames, digest = sources.real(layout, config)
    return frames, {"real": digest}


def with_rare_classes(mixture: Mixture, config: RunConfig, *, folder: Path, workers: int) -> Mixture:
    """The mixture, its labelled frames and its pseudo-labelled ones drawn by rare classes as far as run.toml asks for it.

    All their labels are counted once, and the counts kept in the stage's `folder`.
    """
    if config.train.rare:
        counts = class_counts(mixture.labelled, file=folder / "class_counts.npy", workers=workers)
        often = mixture.labelled_mix.frequencies()
        mixture = replace(mixture, labelled_rare=rare_classes(counts, temperature=config.train.rare, frequencies=often))
    if config.rounds.rare and mixture.pseudo:
        counts = class_counts(mixture.pseudo, file=folder / "pseudo_class_counts.npy", workers=workers)
        often = mixture.pseudo_mix.frequencies()
        mixture = replace(mixture, pseudo_rare=rare_classes(counts, temperature=config.rounds.rare, frequencies=often))
    return mixture


def with_colours_of_real(
    mixture: Mixture, layout: Layout, config: RunConfig, *, stage: Stage, folder: Path, workers: int
) -> Mixture:
    """The mixture of a round, its labelled frames in colours of the real images as far as run.toml asks for it.

    Those are looked at once, and what was found kept in the stage's `folder`.
    """
    if not config.rounds.colours or stage.is_bound:
        return mixture
    frames, _ = sources.listed_real(layout, config)  # mixture_of has said which are truncated
    found = colours_of_frames(frames, size=config.size, file=folder / "colours.npy", workers=workers)
    return replace(mixture, colours=found, recoloured=config.rounds.colours)


def _mask(config: RunConfig, stage: Stage) -> Mask | None:
    red, green, blue = (round(255 * share) for share in config.task_of(stage).mean)  # what the net sees as zeros
    return Mask(config.rounds.mask, config.rounds.mask_block, (red, green, blue)) if config.rounds.mask else None


def _border(frame: Frame, config: RunConfig) -> Border:
    source = next(source for source in config.real if frame.name.startswith(prefix(source, config.real)))
    return Border(source.border, config.size)


def _with_unlabelled(mixture: Mixture, config: RunConfig, frames: Sequence[Frame]) -> Mixture:
    if not config.rounds.looks_at_real or mixture.real == mixture.batch:  # nothing to align with, nothing to lay over them
        return mixture
    return replace(
        mixture,
        unlabelled=[BareExample(frame, _border(frame, config)) for frame in frames],
        unlabelled_mix=mix_of(frames, config.real),
        bare=config.rounds.bare,
        online=config.rounds.online,
    )


def _labelled_frames(layout: Layout, config: RunConfig, store: LabelStore) -> tuple[list[Frame], str]:
    """The real images of the store, and the digest of the listing. InputError when one is missing that was not skipped."""
    frames, digest = sources.listed_real(layout, config)
    left = [frame for frame in frames if frame.name not in store.skipped]
    for frame in left:
        store.entry(frame.name)
    return left, digest


def _mixture(config: RunConfig, stage: Stage, frames: Sequence[LabelledFrame], *, mix: Mix) -> Mixture:
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
