"""The training data of each stage, and its initial net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from selfsyn.config import RunConfig, Task
from selfsyn.corrections import CorrectedStore, corrected_store
from selfsyn.data import sources
from selfsyn.data.color_transfer import Colours
from selfsyn.data.frames import Frame, LabelledFrame, labelled
from selfsyn.data.mixing import Mix, by_source, mix_of, prefix
from selfsyn.data.sampling import rare_classes
from selfsyn.errors import InputError
from selfsyn.flow import stage_before
from selfsyn.layout import Layout
from selfsyn.randomness import torch_seed
from selfsyn.stage import ORACLE, SOURCE_ONLY, Stage, round_stage
from selfsyn.task import TaskNet, build, load_weights
from selfsyn.task.examples import (
    BareExample,
    Border,
    Example,
    LabelledExample,
    PseudoLabelledExample,
    class_counts,
    colours_of_frames,
)
from selfsyn.task.makers import Bare, ExampleSource, Labelled, Maker, Masked, Online, Pseudo
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC, Mixture
from selfsyn.task.train import WEIGHTS


def first_net(layout: Layout, config: RunConfig, *, stage: Stage) -> TaskNet:
    """The initial net of a stage: the net of the stage before (rounds.start), or the pretrained backbone with new layers
    initialised from (seed, stage).

    `fit` replaces both by the stage's own checkpoint, if there is one. InputError when the weights cannot be loaded.
    A fresh round 0 starts with the same net as source-only, so that comparisons do not depend on the initialisation.
    """
    torch.manual_seed(torch_seed(config.seed, f"new net {SOURCE_ONLY if stage == round_stage(0) else stage}"))
    before = stage_before(config, stage=stage)
    net = build(located(config.task_of(stage), layout), pretrained=before is None, classes=len(config.class_list))
    if before is not None:
        load_weights(net, layout.task(before) / WEIGHTS)
    return net


def located(task: Task, layout: Layout) -> Task:
    """The task with the absolute path of its weights file, if it has one. InputError when the file does not exist."""
    file = task.weights_file(layout.root)
    return task if file is None else replace(task, weights=str(file))


def check_student(layout: Layout, config: RunConfig) -> None:
    """InputError when the student cannot be built or its weights cannot be loaded; the first training checks this already."""
    if config.student is not None:
        build(located(config.student, layout), pretrained=True, classes=len(config.class_list))


@dataclass(frozen=True)
class Sources:
    """The training data of a stage: frames with ground truth, real images with pseudo-labels, unlabelled real images.

    corrected: how many images and pixels of `pseudo` people have corrected, by name for the manifest.
    """

    labelled: ExampleSource
    pseudo: ExampleSource | None = None
    unlabelled: ExampleSource | None = None
    corrected: Mapping[str, int] = field(default_factory=dict)


def sizes_of(config: RunConfig, *, stage: Stage) -> dict[str, int]:
    """{part: images of it in a batch of the stage}, without empty parts."""
    if stage.round is None:
        return {SYNTHETIC: config.train.batch}
    real = config.real_in_batch(stage.round)
    sizes = {SYNTHETIC: config.train.batch - real, PSEUDO: real, MASKED: real * bool(config.rounds.mask_ratio)}
    online = config.rounds.ema_pseudo_labels and config.task_of(stage) is not config.student  # it learns from stored labels
    sizes |= {ONLINE: sizes[SYNTHETIC] * online, BARE: sizes[SYNTHETIC] * config.looks_at_bare}
    return {part: size for part, size in sizes.items() if size}


def sources_of(layout: Layout, config: RunConfig, *, stage: Stage) -> tuple[Sources, dict[str, str]]:
    """The training data of a stage, and the digests of the data sets that it reads.

    source-only: unadapted synthetic images.  oracle: real images with ground truth, as an upper bound.
    round 0: adapted images.  round K: adapted images, and real images with the pseudo-labels of label store K.
    Rounds also get unlabelled real images if the configuration uses them. With rounds.adapted = false the synthetic images
    of the rounds are unadapted.
    """
    if stage == SOURCE_ONLY:
        frames, digest = sources.synthetic(layout, config)
        return Sources(_labelled(config, stage, frames, mix_of(frames, config.synthetic))), {"synthetic": digest}
    if stage == ORACLE:
        frames, digest = sources.oracle(layout, config)
        return Sources(_labelled(config, stage, frames, mix_of(frames, config.real))), {"real with labels": digest}
    frames, mix, digests = _rounds_synthetic(layout, config)
    labelled_frames = _labelled(config, stage, frames, mix)
    if not stage.round:
        if not (config.looks_at_real or config.rounds.color_transfer):
            return Sources(labelled_frames), digests
        real_frames, digest = sources.real(layout, config)
        return Sources(labelled_frames, None, _unlabelled(config, stage, real_frames)), {**digests, "real": digest}
    store = corrected_store(layout, stage.round, config.class_list)
    real_frames, digest = _labelled_frames(layout, config, store)
    pseudo, given = _pseudo(config, stage, real_frames, store), sources.correction_digests(layout, stage.round)
    drawn = Sources(labelled_frames, pseudo, _unlabelled(config, stage, real_frames), store.counted)
    return drawn, {**digests, "real": digest, **given}


def mixture_of(drawn: Sources, layout: Layout, config: RunConfig, *, stage: Stage, folder: Path, workers: int) -> Mixture:
    """The batches of a stage, made from its training data `drawn`.

    Class counts and colour statistics need many files to be read, so they are cached in the stage's `folder`.
    """
    train, rounds = config.train, config.rounds
    rare = partial(_with_rare, classes=len(config.class_list), workers=workers)
    source = rare(drawn.labelled, temperature=train.rcs_temperature, file=folder / "class_counts.npy")
    above = Labelled(source, _colours_of_real(layout, config, stage=stage, folder=folder, workers=workers), rounds.color_transfer)
    makers: dict[str, Maker] = {SYNTHETIC: above}
    if drawn.pseudo is not None:
        file = folder / "pseudo_class_counts.npy"
        pseudo = rare(drawn.pseudo, temperature=rounds.rcs_temperature, file=file)
        red, green, blue = (round(255 * share) for share in config.task_of(stage).mean)  # 0 after normalisation
        makers |= {PSEUDO: Pseudo(pseudo, above, rounds.classmix)}
        makers |= {MASKED: Masked(pseudo, rounds.mask_ratio, rounds.mask_block_size, (red, green, blue))}
    if drawn.unlabelled is not None:
        named = {part: replace(drawn.unlabelled, purpose=f"train {stage} {part}") for part in (ONLINE, BARE)}
        makers |= {ONLINE: Online(named[ONLINE], above), BARE: Bare(named[BARE])}
    return Mixture(makers, sizes_of(config, stage=stage), source.examples, config.seed, f"train {stage}")


def _rounds_synthetic(layout: Layout, config: RunConfig) -> tuple[list[LabelledFrame], Mix, dict[str, str]]:
    """The synthetic frames of a round, their mix, and the digests of the data sets that were read."""
    if config.rounds.adapted:
        adapted = by_source(labelled(layout.adapted, layout="adapted", classes=config.class_list), config.synthetic)
        return adapted, mix_of(adapted, config.synthetic), {}
    frames, digest = sources.synthetic(layout, config)
    return frames, mix_of(frames, config.synthetic), {"synthetic": digest}


def statistics_images(layout: Layout, config: RunConfig, *, stage: Stage) -> tuple[list[Frame], dict[str, str]]:
    """The real images for AdaBN in this stage, and their digest; none for a bound, for a vit or without rounds.adabn_share."""
    if not config.rounds.adabn_share or stage.is_bound or config.task_of(stage).architecture == "vit":
        return [], {}
    frames, digest = sources.real(layout, config)
    return frames, {"real": digest}


def _with_rare(source: ExampleSource, *, temperature: float, file: Path, classes: int, workers: int) -> ExampleSource:
    """The source with rare-class sampling; unchanged if the temperature is 0. Counts the labels once, into `file`."""
    if not (temperature and source.examples):
        return source
    counts = class_counts(source.examples, file=file, workers=workers, classes=classes)
    return replace(source, rare=rare_classes(counts, temperature=temperature, frequencies=source.mix.frequencies()))


def _colours_of_real(layout: Layout, config: RunConfig, *, stage: Stage, folder: Path, workers: int) -> Sequence[Colours]:
    """The colour statistics of real images for rounds.color_transfer; empty for a bound or without color_transfer."""
    if not config.rounds.color_transfer or stage.is_bound:
        return ()
    frames, _ = sources.listed_real(layout, config)  # sources_of has already reported truncated images
    return colours_of_frames(frames, size=config.size, file=folder / "colours.npy", workers=workers)


def _border(frame: Frame, config: RunConfig) -> Border:
    source = next(source for source in config.real if frame.name.startswith(prefix(source, config.real)))
    return Border(source.border, config.size)


def _labelled_frames(layout: Layout, config: RunConfig, store: CorrectedStore) -> tuple[list[Frame], str]:
    """The real images that the store labelled, and the digest of the listing. InputError when a label is missing."""
    frames, digest = sources.listed_real(layout, config)
    left = [frame for frame in frames if frame.name not in store.skipped]
    store.require(frame.name for frame in left)
    return left, digest


def _source(config: RunConfig, stage: Stage, examples: Sequence[Example], mix: Mix, *, kind: str) -> ExampleSource:
    return ExampleSource(examples, mix, config.seed, f"train {stage} {kind}", config.size, config.train.augment)


def _labelled(config: RunConfig, stage: Stage, frames: Sequence[LabelledFrame], mix: Mix) -> ExampleSource:
    return _source(config, stage, [LabelledExample(frame) for frame in frames], mix, kind="synthetic")


def _pseudo(config: RunConfig, stage: Stage, frames: Sequence[Frame], store: CorrectedStore) -> ExampleSource:
    assert stage.round is not None
    if config.real_in_batch(stage.round) and not frames:
        raise InputError(
            "rounds.real_share asks for real images, but there are no pseudo-labels; run `selfsyn pseudo-label` first"
        )
    portion = config.rounds.kept_fraction_of(stage.round)
    examples = [PseudoLabelledExample(frame, store, portion, _border(frame, config)) for frame in frames]
    return _source(config, stage, examples, mix_of(frames, config.real), kind="real")


def _unlabelled(config: RunConfig, stage: Stage, frames: Sequence[Frame]) -> ExampleSource:
    examples = [BareExample(frame, _border(frame, config)) for frame in frames]
    return _source(config, stage, examples, mix_of(frames, config.real), kind="bare")
