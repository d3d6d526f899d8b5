"""The levers of our rounds, for ablations: the configuration without each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from selfsyn.config import Augment, RunConfig, Task
from selfsyn.config.rounds import Start
from selfsyn.config.train import OF_VIT_IN_TRAIN


@dataclass(frozen=True)
class Lever:
    """A component of our rounds. off: configuration -> the configuration without it, unchanged if it was not used."""

    name: str
    title: str
    words: str
    off: Callable[[RunConfig], RunConfig]


def _rounds(name: str, title: str, words: str, **off: Any) -> Lever:
    return Lever(name, title, words, lambda config: replace(config, rounds=replace(config.rounds, **off)))


def _train(name: str, title: str, words: str, **off: Any) -> Lever:
    return Lever(name, title, words, lambda config: replace(config, train=replace(config.train, **off)))


def _augment(name: str, title: str, words: str, **off: Any) -> Lever:
    def without(config: RunConfig) -> RunConfig:
        return replace(config, train=replace(config.train, augment=replace(config.train.augment, **off)))

    return Lever(name, title, words, without)


def _one_view(config: RunConfig) -> RunConfig:
    return replace(config, teacher=replace(config.teacher, flip=False, scales=(1.0,)))


def _no_pseudo_labels(config: RunConfig) -> RunConfig:
    # Keep the number of rounds: a learning-rate schedule over several rounds ends with the last round in real_share.
    return replace(config, rounds=replace(config.rounds, real_share=(0.0,) * len(config.rounds.real_share)))


def _fresh(config: RunConfig) -> RunConfig:
    starts: list[Start] = ["fresh"] * (config.last_round + 1)
    return _started(config, tuple(starts))


def _warm(config: RunConfig) -> RunConfig:
    # Round 0 begins as it did, or source-only would be trained on top. A student is another net, so it cannot start from the net
    # of the round before.
    first: Start = "fresh" if config.rounds.start_of(0) == "fresh" else "warm"
    starts: list[Start] = [first, *["warm"] * config.last_round]  # type: ignore[list-item]
    if config.student is not None:
        starts[-1] = "fresh"
    return _started(config, tuple(starts))


def _started(config: RunConfig, starts: tuple[Start, ...]) -> RunConfig:
    """The configuration with these starts by round; unchanged where it has them already."""
    if starts == tuple(map(config.rounds.start_of, range(len(starts)))):
        return config
    return replace(config, rounds=replace(config.rounds, start=starts))


def _small_teacher(config: RunConfig) -> RunConfig:
    # The scored net stays the student's net, so that the row measures the larger teacher and not the size of the scored net.
    if config.student is None:
        return config
    train = replace(config.train, **OF_VIT_IN_TRAIN) if config.student.architecture != "vit" else config.train
    rounds = replace(config.rounds, learning_rate=config.rounds.learning_rate_of(config.last_round))  # the student's
    return replace(config.without_student, task=Task(**vars(config.student)), train=train, rounds=rounds)


NO_AUGMENT = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0, jpeg=0, weather=0.0)

LEVERS = (
    _rounds(
        "adapter",
        "the adapter",
        "the rounds train on unadapted synthetic images",
        adapted=False,
    ),
    Lever("pseudo-labels", "pseudo-labels", "the rounds train on no stored pseudo-labels", _no_pseudo_labels),
    _rounds("portions", "class-balanced portions", "all pseudo-labelled pixels are trained on", kept_fraction=(1.0,)),
    _rounds("class-mix", "ClassMix", "no classes of synthetic images are pasted onto real images", classmix=0.0),
    _rounds("colours", "color transfer", "synthetic images keep their exposure and contrast", color_transfer=0.0),
    _train("rare-classes", "rare-class sampling", "all synthetic frames are equally likely", rcs_temperature=0.0),
    _rounds("rare-labels", "rare-class sampling of pseudo-labels", "all real frames are equally likely", rcs_temperature=0.0),
    _rounds("rectified", "the rectified loss", "pseudo-labels keep their weight where the two heads disagree", rectify=False),
    _rounds("robust", "the symmetric cross-entropy", "the loss on pseudo-labels is cross-entropy", symmetric_cross_entropy=False),
    _rounds("masks", "masked images", "batches have no masked copies of pseudo-labelled images", mask_ratio=0.0),
    _rounds("online", "EMA pseudo-labels", "the EMA net labels no real images during training", ema_pseudo_labels=False),
    Lever("warm-start", "the start from the previous round", "every round starts from the pretrained backbone", _fresh),
    Lever(
        "plain-start",
        "continued or fresh starts",
        "every round starts from the net of the previous round, with its own schedule",
        _warm,
    ),
    _rounds("statistics", "AdaBN", "batch norm keeps the statistics of the training batches", adabn_share=0.0),
    _train("class-weights", "class weights", "all classes have equal weight in the loss", class_weight_power=0.0),
    _train("augmentation", "augmentation", "training images are not augmented", augment=NO_AUGMENT),
    _augment("jpeg", "JPEG augmentation", "no training image is compressed", jpeg=0),
    _augment("weather", "weather augmentation", "training images get no haze, rain or snow", weather=0.0),
    _train("average", "the EMA", "the teacher is the net after the last update, not the EMA net", ema=0.0),
    Lever(
        "larger-teacher",
        "the larger teacher",
        "every stage and the adapter's semantic loss use the student's net",
        _small_teacher,
    ),
    Lever("views", "test-time augmentation", "the teacher predicts each image once, not mirrored or scaled", _one_view),
)
