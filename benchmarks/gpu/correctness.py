"""Part 1: the GPU computes what the CPU computes, and two runs give the same bytes.

    python benchmarks/gpu/correctness.py FOLDER [--rehearse] [--prepare]

step         A training step of each net and of the adapter in float32, without TF32 and without the generators' bfloat16.
             Error = distance between the gradient and the float64 gradient on the CPU, relative to the norm of the latter.
             The GPU's error may be four times the usual error. The usual error is the largest of: float32 on the CPU, and
             float64 with weights changed by a relative 1e-6, three times (a ReLU that flips makes a jump, which a single
             try may miss).
bf16         Forty steps on the same frames. The loss must fall by at least 90 % of its fall in float32.
compile      torch.compile of the demo's net. The first loss must agree with the eager net's within 1 %, and fall.
processes    Two processes share the batch and the GPU (gloo, SyncBatchNorm); and a single process uses NCCL.
runs         `selfsyn train` and `selfsyn fit-adapter`: two undisturbed runs, and a run that is resumed after SIGTERM.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar
from unittest import mock

import numpy as np
import server
import torch
from given import BENCHMARKS, TESTS, Given, arguments
from record import FAILED, OK, Record
from torch import Tensor, nn

sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(BENCHMARKS))

from adapter import batch_of, state_of
from safetensors.numpy import load_file
from tiny_training import TinyNet
from training import examples

from jobs.running import run_verb
from selfsyn import config as configuration
from selfsyn import devices, progress, recipes
from selfsyn.adapter import generator
from selfsyn.adapter.crops import Batch as Crops
from selfsyn.adapter.crops import Views
from selfsyn.adapter.state import AdapterState
from selfsyn.adapter.step import fit_step
from selfsyn.config import RunConfig
from selfsyn.files import digest_file
from selfsyn.task import TaskNet, build
from selfsyn.task.mixture import SYNTHETIC, Batch
from selfsyn.task.schedule import Schedule
from selfsyn.task.train import TrainState, new_state, train_step
from selfsyn.world import render

N = TypeVar("N", bound=nn.Module)
NETS = {
    "DeepLabV3+ EfficientNet-Lite0": (),
    "DeepLabV3+ ResNet-50": ("task.backbone=resnet50", "task.weights=scratch"),
    "FCN ResNet-50": ("task.architecture=fcn", "task.backbone=resnet50", "task.weights=scratch"),
    "SegNet VGG-16": ("task.architecture=segnet", "task.backbone=vgg16_bn", "task.weights=scratch"),
    "ViT-S/14": ("task.architecture=vit", "task.backbone=vit_small_patch14_dinov2", "task.weights=scratch"),
}
LIGHT = {"resnet50": "resnet18", "vit_small_patch14_dinov2": "test_vit"}  # backbones of a rehearsal
FARTHER = 4.0  # times the CPU's distance from float64
OFF, TRIES = 1e-6, 3
LEAST = 1e-5  # a distance that is always accepted
STEADY = Schedule(steps=10_000, learning_rate=5e-4, warmup_steps=10)


def main(given: Given) -> None:
    """Run every check and record a row for each."""
    if given.prepare:
        return
    record = Record(given.folder, "correctness")
    steps = {f"step: {name}": partial(step_of_net, name=name, settings=settings) for name, settings in NETS.items()}
    checks = {"step: adapter": step_of_adapter, "bf16 trains": bf16, "torch.compile trains": compiled}
    for what, check in {"runs": runs, **steps, **checks, "processes": processes}.items():
        if record.has(what=what):
            continue
        try:
            check(given, record)
        except Exception as error:  # a check that fails becomes a row; the other checks still run
            record.add(what=what, verdict=FAILED, found=f"{type(error).__name__}: {error}")


def demo(*settings: str) -> RunConfig:
    """The demo's configuration, changed by `settings` (KEY=VALUE)."""
    return configuration.from_mapping(configuration.with_settings(recipes.read("demo"), settings))


def step_of_net(given: Given, record: Record, *, name: str, settings: tuple[str, ...]) -> None:
    """Compare the gradients of a training step of a net."""
    light = [f"task.backbone={small}" for large, small in LIGHT.items() if f"task.backbone={large}" in settings]
    config = demo("train.precision=fp32", *settings, *(light if given.rehearse else []))
    torch.manual_seed(0)
    net = build(config.task, pretrained=config.task.weights == "package").train()
    small = (32, 32) if settings else (64, 64)  # the lightest net reduces the sides of an image to 1/32
    data = examples(2, small) if given.rehearse else examples(4, (128, 96))

    def gradient(device: str, dtype: torch.dtype, off: int = 0) -> Tensor:
        return gradient_of(_off(copy.deepcopy(net), off), data, config, device=torch.device(device), dtype=dtype)

    _compare(given, record, f"step: {name}", gradient)


def gradient_of(net: TaskNet, data: Batch, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The gradient of a training step of `net`: a float64 tensor with one dimension, on the CPU."""
    state = _state(_in(net, dtype), config, device=device, dtype=dtype)
    with _exact():
        train_step(state, data, config)
    return _flat(state.net)


def step_of_adapter(given: Given, record: Record) -> None:
    """Compare the gradients of the generators and discriminators in a step of the adapter."""
    small = ("adapter.crop=32", "adapter.generator_channels=8") if given.rehearse else ("adapter.crop=96",)
    config = demo(*small)
    torch.manual_seed(0)
    data = batch_of(config)

    def gradient(device: str, dtype: torch.dtype, off: int = 0) -> Tensor:
        torch.manual_seed(0)
        state = state_of(config, torch.device("cpu"))
        for net in (state.frozen, state.to_target, state.to_source, state.target_critic, state.source_critic):
            _off(net, off)
        _move(state, device, dtype)
        with _exact():
            fit_step(state, _crops(data, dtype), config)
        return torch.cat([_flat(net) for net in (state.to_target, state.to_source, state.target_critic, state.source_critic)])

    _compare(given, record, "step: adapter", gradient)


def _compare(given: Given, record: Record, what: str, gradient: Callable[..., Tensor]) -> None:
    tries = 1 if given.rehearse else TRIES
    true = gradient("cpu", torch.float64)
    moved = [distance(gradient("cpu", torch.float64, off=number), true) for number in range(1, 1 + tries)]
    far = {place: distance(gradient(place, torch.float32), true) for place in dict.fromkeys(("cpu", given.device))}
    far["cpu"] = max(far["cpu"], *moved)
    record.add(
        what=what,
        verdict=_verdict(far[given.device] <= tolerated(far["cpu"])),
        found=f"gradient {far[given.device]:.1e} from float64's, rounding moves it by {far['cpu']:.1e}",
    )


def bf16(given: Given, record: Record) -> None:
    """Check that the loss falls in bfloat16 as in float32. A rehearsal uses a net with three layers."""
    steps = 3 if given.rehearse else 40
    losses = {precision: _losses(given, f"train.precision={precision}", steps=steps) for precision in ("fp32", "bf16")}
    (first, full), (_, half) = ((found[0], float(np.mean(found[-5:]))) for found in losses.values())
    good = first - half >= 0.9 * (first - full) or given.rehearse
    record.add(
        what="bf16 trains",
        verdict=_verdict(good),
        found=f"loss {first:.3f}, after {steps} steps fp32 {full:.3f}, bf16 {half:.3f}",
    )


def compiled(given: Given, record: Record) -> None:
    """Check that a compiled net trains like the eager net. A rehearsal uses a net with three layers."""
    steps = 2 if given.rehearse else 20
    eager = _losses(given, steps=steps)
    began = time.monotonic()
    found = _losses(given, "train.compile=true", steps=steps)
    good = abs(found[0] - eager[0]) < 1e-2 * eager[0] and (found[-1] < found[0] or given.rehearse)
    said = f"loss {found[0]:.3f} (eager {eager[0]:.3f}), after {steps} steps {found[-1]:.3f} ({eager[-1]:.3f})"
    record.add(
        what="torch.compile trains", verdict=_verdict(good), found=f"{said}; {time.monotonic() - began:.0f} s with compiling"
    )


def _losses(given: Given, *settings: str, steps: int) -> list[float]:
    config = demo("train.precision=fp32", *settings)
    torch.manual_seed(0)
    net = TinyNet() if given.rehearse else build(config.task, pretrained=True)
    state = _state(net.train(), config, device=torch.device(given.device), dtype=torch.float32)
    data = _frames(given)
    return [train_step(state, data, config)["loss"] for _ in range(steps)]


def _frames(given: Given) -> Batch:
    """Eight rendered frames with their labels."""
    size = (64, 48) if given.rehearse else (192, 128)
    images, labels = (
        torch.from_numpy(np.stack(part))
        for part in zip(*(render("engine", seed=0, index=i, size=size) for i in range(8)), strict=True)
    )
    arrays = {"image": images, "label": labels, "true": torch.ones(labels.shape, dtype=torch.bool)}
    return Batch({SYNTHETIC: arrays}, ["rendered"] * 8)


def processes(given: Given, record: Record) -> None:
    """Check training with several processes, as far as one GPU allows."""
    import together  # here, because it imports this file

    for backend, count in (("gloo", 2), ("nccl", 1)):
        what = f"{count} process{'es' * (count > 1)}, {backend}"
        if record.has(what=what) or (backend == "nccl" and given.device == "cpu"):
            continue
        folder = given.folder / "together" / backend
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = [
            forked(together.main, folder, kind=given.device, backend=backend, rank=rank, count=count) for rank in range(count)
        ]
        codes = [_exit_code(process) for process in started]
        answer = folder / "together.json"
        said = json.loads(answer.read_text()) if answer.exists() else {"good": False, "found": "no answer"}
        good = said["good"] and not any(codes)
        record.add(what=what, verdict=_verdict(good), found=said["found"] + (f", exit codes {codes}" if any(codes) else ""))


def forked(target: Callable[..., None], *arguments: object, **named: object) -> ForkServerProcess:
    """Start `target` as `selfsyn round` starts a phase: as a fork of a server that has imported torch."""
    process = server.context().Process(target=target, args=arguments, kwargs=named)
    process.start()
    return process


def runs(given: Given, record: Record) -> None:
    """Compare two undisturbed runs, and a run that is resumed after SIGTERM; for the demo's nets, and for a ViT."""
    compare_runs(given, record, given.folder / "correctness", PHASES[:1] if given.rehearse else PHASES, ())
    if not given.rehearse:
        compare_runs(given, record, given.folder / "correctness-vit", PHASES_OF_VIT, NETS["ViT-S/14"])


def compare_runs(given: Given, record: Record, root: Path, phases: Sequence[Phase], net: Sequence[str]) -> None:
    """`runs` for a net, in the folder `root`. net: settings."""
    if all(record.has(what=f"{phase.name}, {what}") for phase in phases for what in ("two runs", "SIGTERM and again")):
        return
    shutil.rmtree(root, ignore_errors=True)
    first = root / "first"
    sizes = (
        "size=[64, 48]",
        "world.engine=4",
        "train.steps=8",
        "adapter.steps=8",
        "adapter.crop=32",
        "adapter.generator_channels=8",
    )
    many = ("world.engine=48", "train.steps=120", "adapter.steps=60")
    settings = [
        *(sizes if given.rehearse else many),
        "world.camera=2",
        "world.held_out=1",
        "adapter.checkpoint_every=4",
        "train.checkpoint_every=4",
        *net,
    ]
    recipes.write_run(first, recipe="demo", settings=settings)
    command = [sys.executable, "-m", "jobs", "world", "--run", str(first)]
    subprocess.run(command, check=True)
    for other in ("second", "stopped"):
        shutil.copytree(first, root / other)
    for phase in phases:
        _thrice(given, record, root, phase)
        for other in ("second", "stopped"):  # the next phase starts from the same files in all runs
            shutil.rmtree(root / other / phase.folder.split("/")[0])
            shutil.copytree(first / phase.folder.split("/")[0], root / other / phase.folder.split("/")[0])


@dataclass(frozen=True)
class Phase:
    """A verb with its arguments, and the folder that it writes to."""

    name: str
    arguments: tuple[str, ...]
    folder: str


PHASES = (
    Phase("train", ("train", "--bound", "source-only"), "source-only/task"),
    Phase("fit-adapter", ("fit-adapter",), "adapter"),
)
PHASES_OF_VIT = (Phase("train a ViT", ("train", "--bound", "source-only"), "source-only/task"),)


def _thrice(given: Given, record: Record, root: Path, phase: Phase) -> None:
    """Run the phase in all three runs at once. They slow each other down, but change no bytes."""
    running = {name: _begun(given, root / name, phase) for name in ("first", "second", "stopped")}
    checkpoint = root / "stopped" / phase.folder / "checkpoint.pt"
    while not checkpoint.exists() and running["stopped"].is_alive():
        time.sleep(0.01)
    running["stopped"].terminate()
    code = _exit_code(running["stopped"])
    again = _exit_code(_begun(given, root / "stopped", phase))
    codes = [_exit_code(running[name]) for name in ("first", "second")]
    digests = [digest_file(root / name / phase.folder / "weights.safetensors") for name in running]
    alike = digests[0] == digests[1]
    difference = "" if alike else f": {_difference(*(root / name / phase.folder for name in ('first', 'second')))}"
    record.add(
        what=f"{phase.name}, two runs",
        verdict=_verdict(not any(codes) and alike),
        found=f"weights {'the same bytes' if alike else 'differ'}{difference}",
    )
    same = digests[0] == digests[2]
    good = (code == 143 or given.rehearse) and again == 0 and same
    record.add(
        what=f"{phase.name}, SIGTERM and again",
        verdict=_verdict(good),
        found=f"exit codes {code}, {again}; weights {'the same bytes' if same else 'differ'}",
    )


def _begun(given: Given, run: Path, phase: Phase) -> ForkServerProcess:
    command = [*phase.arguments, "--run", str(run), "--device", given.device]
    return forked(run_verb, command, progress.clock())


def _exit_code(process: ForkServerProcess) -> int | None:
    process.join()
    return process.exitcode


def _difference(first: Path, second: Path) -> str:
    """Text: the tensor that differs most between two trainings, and by how much."""
    one, other = (load_file(folder / "weights.safetensors") for folder in (first, second))
    worst = max(one, key=lambda name: float(np.abs(one[name].astype(np.float64) - other[name]).max()))
    return f"most in {worst}, by {np.abs(one[worst].astype(np.float64) - other[worst]).max():.1e}"


def _state(net: TaskNet, config: RunConfig, *, device: torch.device, dtype: torch.dtype) -> TrainState:
    weights = torch.ones(19, dtype=dtype)
    return new_state(net, config=config.train, schedule=STEADY, weights_K=weights, device=device)


def _off(net: N, number: int) -> N:
    """Change the weights of the net by a relative OFF, with random seed `number`; 0 changes nothing."""
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in net.parameters() if number else ():
            parameter.mul_(1 + OFF * torch.randn(parameter.shape, generator=draw))
    return net


def _in(net: TaskNet, dtype: torch.dtype) -> TaskNet:
    """Convert the net to `dtype`; it still takes float32 images. Removes dropout, which is different on each device."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    net.register_forward_pre_hook(lambda _, given: (given[0].to(dtype),))
    return net.to(dtype)


def _move(state: AdapterState, device: str, dtype: torch.dtype) -> None:
    for net in (state.frozen, state.to_target, state.to_source, state.target_critic, state.source_critic, state.average):
        net.to(torch.device(device), dtype)
    state.frozen.register_forward_pre_hook(lambda _, given: (given[0].to(dtype),))


def _crops(data: Crops, dtype: torch.dtype) -> Crops:
    source, target = (Views(*(part.to(dtype) for part in views)) for views in (data.source, data.target))
    return data._replace(source=source, target=target)


def _flat(net: nn.Module) -> Tensor:
    return torch.cat([p.grad.detach().flatten().cpu().double() for p in net.parameters() if p.grad is not None])


def distance(found: Tensor, true: Tensor) -> float:
    """|found - true| / |true|."""
    return float((found - true).norm() / true.norm())


def tolerated(usual: float) -> float:
    """The largest accepted distance from float64, given the usual distance."""
    return max(LEAST, FARTHER * usual)


@contextmanager
def _exact() -> Iterator[None]:
    """Compute in full float32 inside the block: no TF32 in convolutions, no bfloat16 in generators."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with mock.patch.object(generator.torch, "autocast", return_value=nullcontext()):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _verdict(good: bool) -> str:
    return OK if good else FAILED


if __name__ == "__main__":
    devices.set_deterministic()
    main(arguments(__doc__))
