"""A training that takes a second: a net of three layers, pictures made of arrays, and `fit` itself around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn

from selfsyn.config import Adapter, Augment, Rival, Rounds, RunConfig, Source, Train
from selfsyn.data.augment import Record
from selfsyn.data.color_transfer import Colours
from selfsyn.data.mixing import Mix
from selfsyn.data.sampling import RareClasses
from selfsyn.labels import IGNORE
from selfsyn.task import train
from selfsyn.task.makers import Bare, ExampleSource, Labelled, Masked, Online, Pseudo
from selfsyn.task.mixture import BARE, MASKED, ONLINE, PSEUDO, SYNTHETIC, Mixture
from selfsyn.task.objective import ExtraTerm
from selfsyn.task.schedule import Schedule
from selfsyn.task.scores import Scores, TaskNet
from selfsyn.task.train import TrainState, fit

SIZE = (48, 32)
SCHEDULE = Schedule(steps=6, learning_rate=1e-3, warmup_steps=1)


class TinyNet(TaskNet):
    """Half the resolution, a batch norm, two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.main, self.auxiliary = nn.Conv2d(8, 19, 1), nn.Conv2d(8, 19, 1)

    def heads(self, image_BCHW: torch.Tensor) -> Scores:
        features = self.backbone(image_BCHW)
        return Scores(self.main(features), self.auxiliary(features))


@dataclass(frozen=True)
class Shown:
    """An example in memory: class 0 is dark, class 1 bright, and the label can be kept back."""

    number: int
    labelled: bool = True
    certain: bool = False

    @property
    def name(self) -> str:
        return f"{self.number}.png"

    def read(self) -> Record:
        rng = np.random.default_rng(self.number)
        label = np.kron(rng.integers(0, 2, (4, 6)), np.ones((8, 8))).astype(np.uint8)
        image = np.repeat((60 + 120 * label + rng.integers(0, 20, label.shape))[..., None], 3, axis=2).astype(np.uint8)
        if self.labelled:
            return {"image": image, "label": label}
        return {"image": image, "label": np.full_like(label, IGNORE), "open": np.ones_like(label)}

    def read_label(self) -> np.ndarray:
        return self.read()["label"]


def tiny_config(
    *, steps: int = SCHEDULE.steps, augment: Augment | None = None, precision: str = "fp32", rival: str = "", **rounds: object
) -> RunConfig:
    return RunConfig(
        "test",
        0,
        SIZE,
        synthetic=(Source("gta5", "a"),),
        real=(Source("cityscapes", "b"),),
        adapter=Adapter(crop=32),
        train=Train(steps=steps, batch=4, checkpoint_every=2, ema=0.9, augment=augment or Augment(), precision=precision),
        rounds=Rounds(steps=steps, **rounds),  # type: ignore[arg-type]
        rival=Rival(rival, discriminator_channels=4),
    )


def tiny_mixture(
    config: RunConfig,
    *,
    real: int = 2,
    class_mix: float = 0.0,
    colours: Sequence[Colours] = (),
    recoloured: float = 0.0,
    rare: RareClasses | None = None,
    bare: bool | None = None,
) -> Mixture:
    """A batch of four, `real` of them pseudo-labelled, and what else the configuration asks for."""

    def source(numbers: range, kind: str, *, labelled: bool = True, rare: RareClasses | None = None) -> ExampleSource:
        examples = [Shown(number, labelled=labelled) for number in numbers]
        mix, purpose = Mix((len(examples),)), f"train test {kind}"
        return ExampleSource(examples, mix, config.seed, purpose, config.size, config.train.augment, rare)

    labelled, pseudo = source(range(5), "synthetic", rare=rare), source(range(10, 14), "real")
    above, rounds = Labelled(labelled, colours, recoloured), config.rounds
    makers = {
        SYNTHETIC: above,
        PSEUDO: Pseudo(pseudo, above, class_mix),
        MASKED: Masked(pseudo, rounds.mask_ratio, rounds.mask_block_size, (1, 2, 3)),
        ONLINE: Online(source(range(20, 23), "online", labelled=False), above),
        BARE: Bare(source(range(20, 23), "bare", labelled=False)),
    }
    rest = config.train.batch - real
    wanted = {SYNTHETIC: rest, PSEUDO: real, MASKED: real * bool(rounds.mask_ratio), ONLINE: rest * rounds.ema_pseudo_labels}
    sizes = wanted | {BARE: rest * (config.looks_at_bare if bare is None else bare)}
    return Mixture(makers, {part: size for part, size in sizes.items() if size}, labelled.examples, config.seed, "train test")


def tiny_fit(
    folder: Path,
    config: RunConfig,
    mixture: Mixture,
    *,
    dies_at: int | None = None,
    before: Path | None = None,
    extra: Sequence[ExtraTerm] = (),
) -> TrainState | None:
    """Train from the folder's checkpoint, from that of `before` or the start; with `dies_at`, until that step, and None."""
    torch.manual_seed(1)
    step = train.train_step

    def mortal(state: TrainState, *arguments: object) -> dict[str, float]:
        if state.step == dies_at:
            raise KeyboardInterrupt
        return step(state, *arguments)  # type: ignore[arg-type]

    folder.mkdir(parents=True, exist_ok=True)
    schedule = replace(SCHEDULE, steps=config.rounds.steps)
    with mock.patch.object(train, "train_step", mortal):
        try:
            return fit(
                TinyNet(),
                mixture,
                schedule=schedule,
                config=config,
                folder=folder,
                device=torch.device("cpu"),
                workers=1,
                before=before,
                extra=extra,
            )
        except KeyboardInterrupt:
            return None
