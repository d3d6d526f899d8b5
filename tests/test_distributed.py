"""Several processes (gloo, on the CPU) train what one does that normalises their parts of a batch apart; one that dies ends them
all; resumed, they end the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
from test_killed import contents
from tiny_run import command_line, make, selfsyn, selfsyn_here
from tiny_training import TinyNet, tiny_config, tiny_fit, tiny_mixture
from torch import multiprocessing as mp
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from jobs.launch import exit_code
from selfsyn import processes
from selfsyn.compare.rivals import extra_terms
from selfsyn.compare.rivals.discriminators import Discriminators
from selfsyn.config import RunConfig, Task, from_mapping
from selfsyn.labels import IGNORE
from selfsyn.randomness import torch_seed
from selfsyn.recipes import read
from selfsyn.task import Scores, build, train
from selfsyn.task.forward import Forward
from selfsyn.task.mixture import BARE, PSEUDO, SYNTHETIC, Batch
from selfsyn.task.schedule import Schedule
from selfsyn.task.train import new_state, train_step

STEPS = 3
TASK = Task(backbone="efficientnet_lite0", weights="scratch", decoder_channels=16)
CPU = torch.device("cpu")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def recipe() -> RunConfig:
    values = read("demo")
    values |= {"train": {"batch": 4, "clip_norm": 1.0, "warmup_steps": 1, "precision": "fp32"}}
    return from_mapping(values | {"rounds": {"rectify": True}, "rival": {"method": "mrnet", "discriminator_channels": 4}})


def batch_of(step: int) -> Batch:
    """Two synthetic images, two pseudo-labelled and four bare; the processes' shares of pixels that count are far from equal."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 19, (8, 32, 32), dtype=torch.uint8, generator=generator)
    labels[1, 4:] = IGNORE
    labels[2] = IGNORE
    labels[4:] = IGNORE
    true = torch.zeros(8, 32, 32, dtype=torch.bool)
    true[:2] = True
    places = {SYNTHETIC: slice(0, 2), PSEUDO: slice(2, 4), BARE: slice(4, 8)}
    arrays = {"image": images, "label": labels, "true": true}
    return Batch(
        {part: {name: array[place] for name, array in arrays.items()} for part, place in places.items()}, list("abcdefgh")
    )


def shared(batch: Batch) -> Batch:
    rank, count = processes.rank(), processes.count()
    parts = {part: {name: array[rank::count] for name, array in arrays.items()} for part, arrays in batch.parts.items()}
    return Batch(parts, batch.names[rank::count])


class Halves(Forward):
    """What two processes on CPUs do, in one: each half of a batch normalised by itself, from the same running statistics."""

    def forward(self, image_BCHW: torch.Tensor, passes: Sequence[int]) -> Scores:
        whole: list[list[torch.Tensor]] = [[], []]
        buffers = [{name: buffer.clone() for name, buffer in self.net.named_buffers()} for _ in range(2)]
        for half, own in enumerate(buffers):
            images = image_BCHW[half::2].split([size // 2 for size in passes])
            scores = [functional_call(self.net, own, (some,)) for some in images]
            for head, values in zip(whole, zip(*scores, strict=True), strict=True):
                head.append(torch.cat(values))
        for name, buffer in self.net.named_buffers():
            buffer.copy_((buffers[0][name] + buffers[1][name]) / 2)
        return Scores(*(torch.stack(halves, dim=1).flatten(0, 1) for halves in whole))


def learned(*, frozen: bool, halves: bool = False) -> Learned:
    """Some steps in float64, in which no rounding grows into a difference, without dropout, which each process draws itself.

    frozen: batch norm by its running statistics, which no other image of a batch touches.
    """
    torch.manual_seed(0)
    net = build(TASK, pretrained=False).double().train()
    net.register_forward_pre_hook(lambda _, images: (images[0].double(),))
    for layer in net.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(not frozen)
        if isinstance(layer, _DropoutNd):
            layer.p = 0.0
    schedule = Schedule(steps=STEPS, learning_rate=1e-3, warmup_steps=1)
    config = recipe()
    state = new_state(net, config=config.train, schedule=schedule, weights_K=torch.linspace(0.5, 2, 19), device=CPU)
    if halves:
        state.forward = Halves(net, device=CPU, half=False)
    state.extra = extra_terms(config, purpose="train test", device=CPU)
    losses = [train_step(state, shared(batch_of(step)), config)["loss"] for step in range(STEPS)]
    (discriminators,) = (term for term in state.extra if isinstance(term, Discriminators))
    modules = {"net": state.net, "average": state.average, "critics": discriminators.critics}
    return Learned({f"{name}.{key}": v for name, part in modules.items() for key, v in part.state_dict().items()}, losses)


class Learned(NamedTuple):
    """Parameters and buffers of net, average and discriminators, and the loss of each step."""

    tensors: dict[str, torch.Tensor]
    losses: list[float]


class Grouped(TinyNet):
    """A net in which no image of a batch touches another, and whose gradients come in another order than DDP expects."""

    def __init__(self) -> None:
        super().__init__()
        first = self.backbone[0]
        del self.backbone  # to come after the heads
        self.backbone = nn.Sequential(first, nn.GroupNorm(2, 8), nn.ReLU())


def fitted(folder: Path, *, dies_at: int | None = None) -> list[dict[str, float]] | None:
    """A whole training by `fit`: its own batches, masked copies, online and bare images -> the history of each step."""
    config = tiny_config(mask_ratio=0.5, mask_block_size=8, ema_pseudo_labels=True, rival="mrnet")
    config = replace(config, train=replace(config.train, batch=12))
    mixture = tiny_mixture(config, class_mix=0.5, real=6)
    with mock.patch.multiple("selfsyn.task.train", HISTORY_EVERY=1), mock.patch("tiny_training.TinyNet", Grouped):
        torch.manual_seed(0)
        gated = Discriminators({"main": 0.1, "auxiliary": 0.1}, gate=0.4, channels=2, device=CPU)
        state = tiny_fit(folder, config, mixture, dies_at=dies_at, extra=[gated])
    return state and state.history


def in_processes(work: Callable[[Path], object], folder: Path, *, count: int) -> list[Any]:
    """What each of so many processes that train together returns from `work(folder)`."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = int(found.getsockname()[1])
    mp.spawn(_worker, args=(count, port, work, folder), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _worker(rank: int, count: int, port: int, work: Callable[[Path], object], folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with processes.joined(CPU):
        torch.save(work(folder), folder / f"{rank}.pt")


def _both_forms(folder: Path) -> list[Learned]:
    return [learned(frozen=True), learned(frozen=False)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[list[Learned]]:
    """What each of two processes has learned, with frozen and with real batch norm."""
    return in_processes(_both_forms, tmp_path_factory.mktemp("two"), count=2)


def same(ours: Learned, theirs: Learned) -> None:
    assert ours.losses == pytest.approx(theirs.losses, rel=1e-6)
    assert list(ours.tensors) == list(theirs.tensors)
    for key, value in theirs.tensors.items():
        close = {"rtol": 1e-4, "atol": 1e-6} if key.startswith("critics") else {"rtol": 1e-6, "atol": 1e-8}
        torch.testing.assert_close(ours.tensors[key], value, **close, msg=lambda text, key=key: f"{key}: {text}")


def test_two_processes_learn_what_one_does_where_no_image_touches_another(two: list[list[Learned]]) -> None:
    """In float64 to 1e-6; the discriminators, in float32, to 1e-4."""
    same(two[0][0], learned(frozen=True))


def test_with_batch_norm_they_learn_what_one_does_that_normalises_the_halves_apart(two: list[list[Learned]]) -> None:
    """On CPUs there is no SyncBatchNorm: what two processes learn is not what one learns from the whole batch."""
    same(two[0][1], learned(frozen=False, halves=True))
    whole = learned(frozen=False).tensors["net.classifier.weight"]
    assert not torch.allclose(two[0][1].tensors["net.classifier.weight"], whole, rtol=1e-3)


def test_both_end_with_the_same_parameters_and_buffers(two: list[list[Learned]]) -> None:
    for first, second in zip(*two, strict=True):
        assert first.losses == second.losses
        assert [key for key in first.tensors if not torch.equal(first.tensors[key], second.tensors[key])] == []


def _noted(folder: Path) -> tuple[list[dict[str, float]] | None, list[int]]:
    """The history of a training, and torch's seed at each of its steps."""
    seeds, step = [], train.train_step
    with mock.patch.object(train, "train_step", lambda *given: (seeds.append(torch.initial_seed()), step(*given))[1]):
        return fitted(folder / f"{processes.count()}"), seeds


def test_a_whole_training_is_that_of_one_process_but_for_dropout(tmp_path: Path) -> None:
    (history, seeds), (theirs, other_seeds) = in_processes(_noted, tmp_path, count=2)
    assert history == theirs and not set(seeds) & set(other_seeds)
    alone, own_seeds = _noted(tmp_path)
    assert alone is not None and own_seeds == [torch_seed(0, "train test", step) for step in range(6)]
    assert {"loss_masked", "loss_online", "align_main", "critic_main", "accuracy_main"} <= set(alone[-1])
    for together, row in zip(history, alone, strict=True):
        assert together == pytest.approx(row, rel=1e-4, abs=1e-5)


def _broken_and_resumed(folder: Path) -> None:
    fitted(folder / "unbroken")
    assert fitted(folder / "resumed", dies_at=5) is None
    fitted(folder / "resumed")


def test_three_processes_resume_to_the_bit(tmp_path: Path) -> None:
    """Of two, the order of additions could not tell; the optimizer holds sums of gradients, where their last bits show."""
    in_processes(_broken_and_resumed, tmp_path, count=3)
    found, wanted = (torch.load(tmp_path / name / "checkpoint.pt")["state"] for name in ("resumed", "unbroken"))
    for part in ("net", "average"):
        assert all(torch.equal(found[part][key], value) for key, value in wanted[part].items()), part
    for number, sums in wanted["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][number][key], value) for key, value in sums.items()), number


def _plain(folder: Path, *, compile_: bool = False) -> list[dict[str, float]]:
    """Two steps of images that go through the net in one pass: each shape of a pass takes a compiler long."""
    config = tiny_config(steps=2)
    config = replace(config, train=replace(config.train, compile=compile_))
    with mock.patch.multiple("selfsyn.task.train", HISTORY_EVERY=1), mock.patch("tiny_training.TinyNet", Grouped):
        state = tiny_fit(folder, config, tiny_mixture(config))
    assert state is not None
    return state.history


def _compiled(folder: Path) -> list[dict[str, float]]:
    return _plain(folder / "compiled", compile_=True)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_a_compiled_net_learns_in_two_processes_what_it_learns_otherwise(tmp_path: Path) -> None:
    histories = in_processes(_compiled, tmp_path, count=2)
    assert histories[0] == histories[1]
    for compiled, row in zip(histories[0], _plain(tmp_path / "plain"), strict=True):
        assert compiled == pytest.approx(row, rel=1e-3, abs=1e-4)


def test_the_exit_code_of_all_tells_what_to_do() -> None:
    assert exit_code([143, 143]) == 143
    assert exit_code([1, 2]) == 2  # wrong input, whoever found it: not to be tried again
    assert exit_code([-9, 1]) == 137
    assert exit_code([1, -15]) == 1


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes have: threads that wait for each other spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose source-only net two processes have trained, undisturbed."""
    root = make(tmp_path_factory.mktemp("whole") / "run", "train.steps=14", "train.batch=4", "task.output_stride=32")
    assert selfsyn("world", "--run", root).returncode == 0
    done = selfsyn(*training(root), **ONE_THREAD)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("14/14") == 1, done.stderr  # one of them speaks
    return root


def training(root: Path) -> list[object]:
    return ["train", "--run", root, "--bound", "source-only", "--device", "cpu", "--processes", 2]


def killed(root: Path, number: int) -> int:
    """Start the training, send `number` to its second process once there is a (newer) checkpoint, -> the exit code of all."""
    checkpoint = root / "source-only/task/checkpoint.pt"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    launcher = subprocess.Popen(command_line(*training(root)), stderr=subprocess.DEVNULL, env=os.environ | ONE_THREAD)
    try:
        for _ in range(3000):
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                break
            time.sleep(0.02)
        os.kill(second_of(launcher.pid), number)
        return launcher.wait(timeout=120)  # on a busy machine; the launcher itself gives them 110
    finally:
        launcher.kill()


def second_of(launcher: int) -> int:
    """The process id of the second process."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(child) for child in children if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes())


def test_killed_and_stopped_and_resumed_equals_uninterrupted(whole: Path, tmp_path: Path) -> None:
    root, folder = tmp_path / "run", tmp_path / "run/source-only/task"
    shutil.copytree(whole, root, ignore=shutil.ignore_patterns("source-only"))
    assert killed(root, signal.SIGKILL) not in (0, 2, 3, 143)
    assert not (folder / "manifest.json").exists()
    assert killed(root, signal.SIGTERM) == 143  # to one of them: all agree to stop, after the same step
    assert not (folder / "manifest.json").exists()
    done = selfsyn(*training(root), **ONE_THREAD)
    assert done.returncode == 0 and "resumes at step" in done.stderr, done.stderr
    assert contents(folder) == contents(whole / "source-only/task")


def test_a_batch_that_cannot_be_shared_is_one_line(whole: Path) -> None:
    code, said = selfsyn_here("train", "--run", whole, "--bound", "oracle", "--processes", 3, "--device", "cpu")
    assert code == 2 and "a batch of 4 images, 0 of them real, cannot be shared by 3 processes" in said
    assert len(said.splitlines()) == 1


def test_one_image_for_each_process_is_refused_on_a_cpu(whole: Path) -> None:
    code, said = selfsyn_here("train", "--run", whole, "--bound", "oracle", "--processes", 4, "--device", "cpu")
    assert code == 2 and "train.batch is 4, 0 of them real, shared by 4 processes on a CPU: a pass would hold one image" in said
    assert len(said.splitlines()) == 1
