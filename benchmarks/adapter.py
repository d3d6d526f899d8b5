"""Time of a training step of the adapter, compared with a plain CycleGAN, and time of `adapt` on whole images.

    python benchmarks/adapter.py [RECIPE [STEPS]]

Both steps use our generator, discriminator, batch and optimizer, and alternate in one process. The plain step has only
CycleGAN's losses: two adversarial, two cycle and two identity losses. Our step adds the semantic losses (the frozen net on
four images without and two with gradients), image pools, the weight average, and checks for non-finite numbers.

Arithmetic: the multiply-adds of all convolutions in one step, counted by forward hooks. A backward pass counts as two forward
passes: one for the inputs, one for the weights. The frozen net's backward pass counts as one, because only the inputs get
gradients. The frozen net's depthwise and pointwise layers take longer for a multiply-add than the generator's 3x3
convolutions. So its passes are also timed separately, and "both together" is the time of a plain step plus these passes. If
our step takes longer than "both together", the rest of our code costs the difference.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from selfsyn import config as configuration
from selfsyn import recipes
from selfsyn.adapter.crops import Batch, Views
from selfsyn.adapter.generator import Generator
from selfsyn.adapter.losses import fooling, reconstruction, semantic, telling_apart
from selfsyn.adapter.pixels import main_logits
from selfsyn.adapter.planes import NOISES, Window, place
from selfsyn.adapter.state import AdapterState, new_state
from selfsyn.adapter.step import backward, fit_step
from selfsyn.adapter.tiles import TILE, translate
from selfsyn.config import RunConfig
from selfsyn.task import build

SIZES = ((512, 256), (2048, 1024))  # (width, height) of whole images


def main(recipe: str, steps: int) -> None:
    """Print Markdown tables: time and arithmetic of the steps; time and memory of whole images."""
    config = configuration.from_mapping(recipes.read(recipe))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = batch_of(config).to(device)
    ours, plain = (state_of(config, device) for _ in range(2))
    runs: dict[str, tuple[AdapterState, Callable[[], object]]] = {
        "CycleGAN": (plain, lambda: plain_step(plain, batch, config)),
        "the semantic terms alone": (plain, lambda: _semantic_alone(plain, batch, config)),
        "ours": (ours, lambda: fit_step(ours, batch, config)),
    }
    work = {name: _arithmetic(state, run) for name, (state, run) in runs.items()}
    seconds = {name: min(times) for name, times in _timed({name: run for name, (_, run) in runs.items()}, steps).items()}
    print(f"{recipe}: batch {config.adapter.batch}, crop {config.adapter.crop}, {device}, {torch.get_num_threads()} threads\n")
    print("| step | seconds | ratio | multiply-adds, 1e9 | ratio |\n|---|---|---|---|---|")
    for name in runs:
        ratios = (seconds[name] / seconds["CycleGAN"], work[name] / work["CycleGAN"])
        print(f"| {name} | {seconds[name]:.3f} | {ratios[0]:.2f} | {work[name] / 1e9:.2f} | {ratios[1]:.2f} |")
    together = seconds["CycleGAN"] + seconds["the semantic terms alone"]
    print(f"\nboth together {together:.3f} s; ours / both together {seconds['ours'] / together:.2f}")
    _whole_images(ours.average)


def _whole_images(generator: Generator) -> None:
    print(f"\n| whole image, tiles of {TILE} | seconds | peak memory of the process, MiB |\n|---|---|---|")
    for width, height in SIZES:
        image_HWC = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        began = time.perf_counter()
        translate(generator, image_HWC, seed=0, name="a")
        took, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"| {width}x{height} | {took:.2f} | {peak / 1024:.0f} |")


def state_of(config: RunConfig, device: torch.device) -> AdapterState:
    return new_state(build(config.task, pretrained=False), config=config, device=device)


def batch_of(config: RunConfig) -> Batch:
    count, side = config.adapter.batch, config.adapter.crop
    place_CHW = place(Window(0, 0, side, side), whole=(side, side))

    def views() -> Views:
        image_BCHW = torch.rand(count, 3, side, side) * 2 - 1
        return Views(image_BCHW, place_CHW.expand(count, -1, -1, -1), torch.randn(count, NOISES, side, side))

    return Batch(views(), views(), ["random"])


def plain_step(state: AdapterState, batch: Batch, config: RunConfig) -> None:
    """A step of Zhu et al. 2017, eq. 3 and section 5.2, in its plainest form: six generator calls, one for each output."""
    (source, place_, noise), (target, *_) = batch.source, batch.target

    def through(generator: Generator, image_BCHW: Tensor) -> Tensor:
        return generator(image_BCHW, place_, noise).grainy_BCHW

    adapted, unadapted = through(state.to_target, source), through(state.to_source, target)
    adapter = config.adapter
    objective = (
        adapter.gan * (fooling(state.target_critic(adapted)) + fooling(state.source_critic(unadapted)))
        + adapter.cycle * reconstruction(through(state.to_source, adapted), source)
        + adapter.cycle * reconstruction(through(state.to_target, unadapted), target)
        + adapter.identity * reconstruction(through(state.to_target, target), target)
        + adapter.identity * reconstruction(through(state.to_source, source), source)
    )
    backward(objective, state.generator_parameters)
    critic = telling_apart(state.target_critic(target), state.target_critic(adapted.detach()))
    critic = critic + telling_apart(state.source_critic(source), state.source_critic(unadapted.detach()))
    backward(critic, state.critic_parameters)
    state.generator_optimizer.step()
    state.critic_optimizer.step()


def _semantic_alone(state: AdapterState, batch: Batch, config: RunConfig) -> None:
    """The frozen net's passes of one step, as in selfsyn.adapter.objective, on images that need no generator."""
    images = [views.image_BCHW.clone().requires_grad_() for views in (batch.source, batch.target)]
    with torch.no_grad():
        labels_BHW = main_logits(state.frozen, torch.cat(images), task=config.task).argmax(dim=1)
    after_BKHW = main_logits(state.frozen, torch.cat(images), task=config.task)
    count = len(images[0])
    terms = semantic(after_BKHW[:count], labels_BHW[:count]) + semantic(after_BKHW[count:], labels_BHW[count:])
    torch.autograd.backward(terms, inputs=images)


def _timed(runs: dict[str, Callable[[], object]], steps: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(steps):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return times


def _arithmetic(state: AdapterState, run: Callable[[], object]) -> float:
    """Multiply-adds of one step. Passes of generators and discriminators count 3 times, of the frozen net 2 times or once."""
    translating_and_judging = (state.to_target, state.to_source, state.target_critic, state.source_critic)
    with _counted(state.frozen, passes=2) as frozen, _counted(*translating_and_judging, passes=3) as learning:
        run()
    return sum(frozen) + sum(learning)


@contextmanager
def _counted(*nets: nn.Module, passes: int) -> Iterator[list[float]]:
    found: list[float] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        size = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
        found.append(output.numel() * size * (passes if output.requires_grad else 1))

    hooks = [layer.register_forward_hook(count) for net in nets for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo", int(sys.argv[2]) if len(sys.argv) > 2 else 20)
