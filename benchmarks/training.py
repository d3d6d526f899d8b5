"""Time of a training step, compared with torchvision's reference loop for segmentation on the same net.

    python benchmarks/training.py [ROUNDS [WIDTHxHEIGHT [BATCH [KEY=VALUE ...]]]]

Alternates ROUNDS (20) steps of each loop on batches of BATCH (8) random images of WIDTHxHEIGHT (192x128). The images are in
memory, so that decoding is not timed. The net is the demo's (DeepLabV3+, EfficientNet-Lite0), changed by KEY=VALUE of
run.toml. Uses a GPU if there is one.

torchvision: a step of its references/segmentation. Gets normalised float images, channels first, from the loader; forward
pass; cross-entropy of `out` plus half the cross-entropy of `aux`, without IGNORE; SGD with momentum; PolynomialLR; reads the
loss for the log.
ours: selfsyn.task.train.train_step. Gets uint8 images and normalises them, channels last; class-weighted cross-entropy of
both heads; stops at a non-finite loss before the update; AdamW with a learning rate for each parameter group; average of
weights and batch-norm statistics.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selfsyn import config as configuration
from selfsyn import devices, recipes
from selfsyn.config import RunConfig
from selfsyn.labels import IGNORE
from selfsyn.task import TaskNet, build
from selfsyn.task.mixture import SYNTHETIC, Batch
from selfsyn.task.schedule import Schedule
from selfsyn.task.scores import normalised
from selfsyn.task.train import new_state, train_step

WARM_UP = 3


def main(rounds: int, size: tuple[int, int], batch: int, settings: Sequence[str]) -> None:
    """Time the loops in turn; print the median and the fastest step of each, and the ratios to torchvision's."""
    config = configuration.from_mapping(configuration.with_settings(recipes.read("demo"), settings))
    device = devices.resolve("auto")
    torch.manual_seed(0)
    net = build(config.task, pretrained=True)
    data = examples(batch, size)
    steps: dict[str, Callable[[], None]] = {
        "torchvision": torchvisions(copy.deepcopy(net), data, config, device=device),
        "ours fp32": ours(copy.deepcopy(net), data, config, precision="fp32", device=device),
        "ours bf16": ours(copy.deepcopy(net), data, config, precision="bf16", device=device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM_UP + rounds):
        for name, step in steps.items():
            took = timed(step, device)
            if number >= WARM_UP:
                seconds[name].append(took)
    for name, found in seconds.items():
        middle, least = statistics.median(found), min(found)
        ratios = middle / statistics.median(seconds["torchvision"]), least / min(seconds["torchvision"])
        print(
            f"{name}: median {1000 * middle:.0f} ms per step ({batch / middle:.1f} images/s), ratio {ratios[0]:.2f};"
            f" fastest {1000 * least:.0f} ms, ratio {ratios[1]:.2f}"
        )


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step, including the GPU's work."""
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def examples(batch: int, size: tuple[int, int]) -> Batch:
    """Random images and labels, a tenth of them IGNORE."""
    shape = (batch, size[1], size[0])
    labels = torch.randint(0, 19, shape, dtype=torch.uint8)
    labels[torch.rand(shape) < 0.1] = IGNORE
    images = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
    arrays = {"image": images, "label": labels, "true": torch.ones(shape, dtype=torch.bool)}
    return Batch({SYNTHETIC: arrays}, ["random"] * batch)


def ours(net: TaskNet, data: Batch, config: RunConfig, *, precision: str, device: torch.device) -> Callable[[], None]:
    """-> a function that runs our training step."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, precision=precision))
    schedule = Schedule(steps=10_000, learning_rate=1e-4, warmup_steps=10)
    state = new_state(net.train(), config=config.train, schedule=schedule, weights_K=torch.ones(19), device=device)

    def step() -> None:
        train_step(state, data, config)

    return step


def torchvisions(net: TaskNet, data: Batch, config: RunConfig, *, device: torch.device) -> Callable[[], None]:
    """-> a function that runs torchvision's training step."""
    net = net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10_000, power=0.9)
    images = normalised(data.whole("image"), mean=config.task.mean, std=config.task.std).contiguous()
    targets = data.whole("label").long()
    return lambda: their_step(net, images.to(device), targets.to(device), optimizer, schedule)


def their_step(
    net: nn.Module,
    image: Tensor,
    target: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Forward pass, both losses, backward pass, update, learning rate, loss for the log."""
    scores = net(image)
    loss = F.cross_entropy(scores.main, target, ignore_index=IGNORE)
    loss = loss + 0.5 * F.cross_entropy(scores.auxiliary, target, ignore_index=IGNORE)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    loss.item()


if __name__ == "__main__":
    wide, high = map(int, (sys.argv[2] if len(sys.argv) > 2 else "192x128").split("x"))
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 20,
        (wide, high),
        int(sys.argv[3]) if len(sys.argv) > 3 else 8,
        sys.argv[4:],
    )
