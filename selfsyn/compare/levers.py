"""The levers of our loop: what each one is, and the configuration without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from selfsyn.config import Augment, RunConfig, Task
from selfsyn.config.rounds import Start


@dataclass(frozen=True)
class Lever:
    """One thing that our loop does. off: a configuration -> the same without it; the same one where it is not used."""

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
    # As many rounds as before: a schedule that runs through them ends with the last one that is named.
    return replace(config, rounds=replace(config.rounds, real_share=(0.0,) * len(config.rounds.real_share)))


def _warm(config: RunConfig) -> RunConfig:
    # A student is another net and cannot go on from the round before.
    before: list[Start] = ["warm"] * config.last_round
    start: Start | tuple[Start, ...] = "warm" if config.student is None else (*before, "fresh")
    return replace(config, rounds=replace(config.rounds, start=start))


def _small_teacher(config: RunConfig) -> RunConfig:
    # The scored net stays what it is: a larger one would say what the student costs, not what its teacher is worth.
    return config if config.student is None else replace(config, task=Task(**vars(config.student)), student=None)


NO_AUGMENT = Augment(flip=False, zoom=1.0, color_jitter=0.0, blur=0.0, noise=0.0, jpeg=0, weather=0.0)

LEVERS = (
    _rounds(
        "adapter",
        "the adapter",
        "the rounds learn from the synthetic images as they are",
        adapted=False,
    ),
    Lever("pseudo-labels", "pseudo-labels", "the rounds learn from adapted images alone", _no_pseudo_labels),
    _rounds("portions", "class-balanced portions", "every pseudo-labelled pixel counts", kept_fraction=(1.0,)),
    _rounds("class-mix", "ClassMix", "no classes of synthetic images are laid over real ones", classmix=0.0),
    _rounds("colours", "colours of real images", "synthetic images keep their own exposure and contrast", color_transfer=0.0),
    _train("rare-classes", "rare-class sampling", "every synthetic frame is as likely as any", rcs_temperature=0.0),
    _rounds("rare-labels", "rare-class sampling of pseudo-labels", "every real frame is as likely as any", rcs_temperature=0.0),
    _rounds("rectified", "the rectified loss", "pseudo-labels weigh alike where the heads differ", rectify=False),
    _rounds("robust", "the robust loss", "pseudo-labels are learned by cross-entropy", symmetric_cross_entropy=False),
    _rounds("masks", "masked images", "no masked copy of a pseudo-labelled image is learned from", mask_ratio=0.0),
    _rounds("online", "labels as it goes", "the training's own average labels no real images", ema_pseudo_labels=False),
    _rounds("warm-start", "the start from the round before", "every round begins from the pretrained backbone", start="fresh"),
    Lever(
        "plain-start", "continued or fresh starts", "every round goes on from the one before, with a schedule of its own", _warm
    ),
    _rounds("statistics", "re-estimated statistics", "batch norms keep the statistics of the training batches", adabn_share=0.0),
    _train("class-weights", "class weights", "every class weighs alike", class_weight_power=0.0),
    _train("augmentation", "augmentation", "images are trained on as they are", augment=NO_AUGMENT),
    _augment("jpeg", "JPEG as augmentation", "no training image is compressed", jpeg=0),
    _augment("weather", "weather as augmentation", "no haze, rain or snow is laid over training images", weather=0.0),
    _train("average", "the weight average", "the teacher is the last net, not an average over updates", ema=0.0),
    Lever("larger-teacher", "the larger teacher", "every stage, the semantic net too, has the student's net", _small_teacher),
    Lever("views", "mirrored and scaled views", "the teacher sees each image once, as it is", _one_view),
)
