"""Several processes (gloo, on the CPU) train what one does; one that dies ends them all; resumed, they end the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_killed import contents
from tiny_run import command_line, make, selfsyn, selfsyn_here
from tiny_training import tiny_config, tiny_fit, tiny_mixture
from torch import multiprocessing as mp

from jobs.launch import exit_code
from selfsyn import processes
from selfsyn.config import Align, RunConfig, Task, from_mapping
from selfsyn.labels import IGNORE
from selfsyn.recipes import read
from selfsyn.task import build
from selfsyn.task.alignment import Alignment
from selfsyn.task.mixture import BARE, PSEUDO, SYNTHETIC, Batch, Mask
from selfsyn.task.schedule import Schedule
from selfsyn.task.train import TrainState, new_state, train_step

STEPS = 3
TASK = Task(backbone="efficientnet_lite0", weights="scratch", decoder_channels=16)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def recipe() -> RunConfig:
    values = read("demo")
    values |= {"train": {"batch": 4, "clip_norm": 1.0, "warmup_steps": 1, "precision": "fp32"}}
    return from_mapping(values | {"rounds": {"rectify": True, "memory": 0.1, "align": {"main": 0.01, "channels": 4}}})


def batch_of(step: int) -> Batch:
    """Two synthetic images, two pseudo-labelled and two bare; the processes' shares of pixels that count are far from equal."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 19, (6, 64, 64), dtype=torch.uint8, generator=generator)
    labels[1, 8:] = IGNORE
    labels[2] = IGNORE
    labels[4:] = IGNORE
    true = torch.zeros(6, 64, 64, dtype=torch.bool)
    true[:2] = True
    confidences = torch.full((6, 64, 64), 200, dtype=torch.uint8)
    return Batch(images, labels, confidences, true, list("abcdef"), {SYNTHETIC: 2, PSEUDO: 2, BARE: 2})


def shared(batch: Batch) -> Batch:
    rank, count = processes.rank(), processes.count()
    own = [values[rank::count] for values in batch[:5]]
    return Batch(*own, {name: size // count for name, size in batch.parts.items()})


def learned() -> tuple[TrainState, list[float]]:
    """Some steps in float64, in which no rounding grows into a difference, and their losses."""
    torch.manual_seed(0)
    net = build(TASK, pretrained=False).double()
    net.register_forward_pre_hook(lambda _, images: (images[0].double(),))
    schedule = Schedule(steps=STEPS, learning_rate=1e-3, warmup_steps=1)
    config = recipe()
    state = new_state(
        net.train(), config=config.train, schedule=schedule, weights_K=torch.linspace(0.5, 2, 19), device=torch.device("cpu")
    )
    state.alignment = Alignment(config.rounds.align, device=torch.device("cpu"))
    losses = []
    for step in range(STEPS):
        torch.manual_seed(step)
        losses.append(train_step(state, shared(batch_of(step)), config)["loss"])
    return state, losses


def fitted(folder: Path) -> None:
    """A whole training by `fit`: its own batches, masked copies and bare images, and all that its history tells."""
    config = tiny_config(mask=0.5, mask_block=8, align=Align(main=0.1, features=0.1, gate=0.4, channels=2))
    tiny_fit(folder, config, tiny_mixture(config, mask=Mask(0.5, 8, (1, 2, 3)), class_mix=0.5))


def worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    with processes.joined():
        state, losses = learned()
        fitted(Path(folder) / "together")
    assert state.alignment is not None
    torch.save(
        (state.net.state_dict(), state.average.state_dict(), losses, state.alignment.critics.state_dict()), f"{folder}/{rank}.pt"
    )


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    mp.spawn(worker, args=(free_port(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    state, losses = learned()
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)  # to the bit, or they would drift apart
    assert first[2] == second[2] == pytest.approx(losses, rel=1e-6)
    assert state.alignment is not None
    for module, found in ((state.net, first[0]), (state.average, first[1]), (state.alignment.critics, first[3])):
        for key, value in module.state_dict().items():
            close = {"rtol": 1e-6, "atol": 1e-8} if value.dtype != torch.float32 else {"rtol": 1e-4, "atol": 1e-6}
            torch.testing.assert_close(found[key], value, **close, msg=lambda text, key=key: f"{key}: {text}")
    fitted(tmp_path / "alone")
    for together, alone in zip(history(tmp_path / "together"), history(tmp_path / "alone"), strict=True):
        assert {"loss_masked", "align_main", "critic_main", "accuracy_main"} <= set(alone)
        assert together == pytest.approx(alone, rel=1e-4, abs=1e-5)


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
    root = make(tmp_path_factory.mktemp("whole") / "run", "train.steps=14", "task.output_stride=32")
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
        return launcher.wait(timeout=60)
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
    assert done.returncode == 0 and "goes on at step" in done.stderr, done.stderr
    assert contents(folder) == contents(whole / "source-only/task")


def test_a_batch_that_cannot_be_shared_is_one_line(whole: Path) -> None:
    code, said = selfsyn_here("train", "--run", whole, "--bound", "oracle", "--processes", 3, "--device", "cpu")
    assert code == 2 and "a batch of 2 images, 0 of them real, cannot be shared by 3 processes" in said
    assert len(said.splitlines()) == 1
