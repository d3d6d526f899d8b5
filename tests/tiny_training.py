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
from selfsyn.data.mixing import Mix
from selfsyn.task import train
from selfsyn.task.mixture import Mixture
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

    @property
    def name(self) -> str:
        return f"{self.number}.png"

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.number)
        label = np.kron(rng.integers(0, 2, (4, 6)), np.ones((8, 8))).astype(np.uint8)
        image = np.repeat((60 + 120 * label + rng.integers(0, 20, label.shape))[..., None], 3, axis=2).astype(np.uint8)
        return image, label if self.labelled else np.zeros_like(label)

    def read_label(self) -> np.ndarray:
        return self.read()[1]


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


def tiny_mixture(config: RunConfig, **changes: object) -> Mixture:
    """Two labelled and two pseudo-labelled images a batch, and bare ones when the configuration looks at real images."""
    plain = Mixture(
        labelled=[Shown(number) for number in range(5)],
        labelled_mix=Mix((5,)),
        batch=config.train.batch,
        size=config.size,
        augment=config.train.augment,
        seed=config.seed,
        purpose="train test",
        pseudo=[Shown(number) for number in range(10, 14)],
        pseudo_mix=Mix((4,)),
        real=2,
    )
    unlabelled = [Shown(number, labelled=False) for number in range(20, 23)]
    bare, online = config.looks_at_bare, config.rounds.online
    plain = replace(plain, unlabelled=unlabelled, unlabelled_mix=Mix((3,)), bare=bare, online=online)
    return replace(plain, **changes)  # type: ignore[arg-type]


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
